//! What is defined besides features: entities, sources, streams, tables, views, services.

use granary_catalog::{FileFormat, Object, SourceDefinition, StreamIngest};

use super::super::names::type_name;
use super::{Rows, SystemContext, column_names, row};
use crate::error::Result;

pub fn entities(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Entity(entity) = object else { continue };
        row!(rows,
            schema: context.schema_of(&entity.header),
            name: &entity.header.name,
            join_keys: column_names(&entity.join_keys),
            types: entity.join_keys.iter().map(|key| type_name(&key.data_type)).collect::<Vec<_>>(),
            owner: &entity.header.owner,
            description: entity.header.comment.clone(),
        );
    }
    Ok(())
}

pub fn sources(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Source(source) = object else { continue };
        let (kind, format, paths, query) = match &source.definition {
            SourceDefinition::Files { format, paths, .. } => ("files", Some(format_name(*format)), Some(paths), None),
            SourceDefinition::Query { sql } => ("query", None, None, Some(sql)),
            SourceDefinition::Postgres { .. } => ("postgres", None, None, None),
        };
        row!(rows,
            schema: context.schema_of(&source.header),
            name: &source.header.name,
            type: kind,
            format: format,
            paths: paths.cloned(),
            query: query,
            timestamp: source.timestamp.clone(),
            data_delay: source.data_delay_us,
            columns: source.columns.len(),
            owner: &source.header.owner,
            description: source.header.comment.clone(),
        );
    }
    Ok(())
}

fn format_name(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Parquet => "parquet",
        FileFormat::Csv => "csv",
        FileFormat::Json => "json",
        FileFormat::Delta => "delta",
    }
}

pub fn streams(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Stream(stream) = object else { continue };
        let kind = match &stream.ingest {
            StreamIngest::Push => "push",
            StreamIngest::Kafka { .. } => "kafka",
            StreamIngest::Postgres { .. } => "postgres",
        };
        let source = stream.backfill.and_then(|backfill| context.scope.snapshot.get(backfill.source));
        row!(rows,
            schema: context.schema_of(&stream.header),
            name: &stream.header.name,
            type: kind,
            timestamp: &stream.timestamp,
            deduplicate_by: stream.deduplicate_by.clone(),
            backfill_source: source.map(|source| source.name()),
            backfill_until: stream.backfill.map(|backfill| backfill.until_us),
            columns: stream.columns.len(),
            owner: &stream.header.owner,
            description: stream.header.comment.clone(),
        );
    }
    Ok(())
}

pub fn tables(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Table(table) = object else { continue };
        row!(rows,
            schema: context.schema_of(&table.header),
            name: &table.header.name,
            columns: table.columns.len(),
            owner: &table.header.owner,
            description: table.header.comment.clone(),
        );
    }
    Ok(())
}

pub fn views(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::View(view) = object else { continue };
        row!(rows,
            schema: context.schema_of(&view.header),
            name: &view.header.name,
            query: &view.query,
            owner: &view.header.owner,
            description: view.header.comment.clone(),
        );
    }
    Ok(())
}

pub fn services(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::FeatureService(service) = object else { continue };
        row!(rows,
            schema: context.schema_of(&service.header),
            name: &service.header.name,
            members: service.members.iter().map(|member| member.alias.clone()).collect::<Vec<_>>(),
            cache: service.cache_us,
            log_sample: service.log_sample,
            owner: &service.header.owner,
            description: service.header.comment.clone(),
        );
    }
    Ok(())
}
