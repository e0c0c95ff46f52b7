//! What is defined besides features: entities, sources, tables, views, services.

use granary_catalog::{FileFormat, Object, SourceDefinition};

use super::super::names::type_name;
use super::{Rows, SystemContext, column_names, object_row, row};
use crate::engine::relation::Interface;
use crate::error::Result;

pub fn entities(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Entity(entity) = object else { continue };
        object_row!(context, rows, &entity.header,
            join_keys: column_names(&entity.join_keys),
            types: entity.join_keys.iter().map(|key| type_name(&key.data_type)).collect::<Vec<_>>(),
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
        object_row!(context, rows, &source.header,
            type: kind,
            format: format,
            paths: paths.cloned(),
            query: query,
            timestamp: source.timestamp.clone(),
            data_delay: source.data_delay_us,
            columns: source.columns.len(),
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

pub fn tables(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Table(table) = object else { continue };
        object_row!(context, rows, &table.header,
            columns: table.columns.len(),
        );
    }
    Ok(())
}

pub fn views(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::View(view) = object else { continue };
        object_row!(context, rows, &view.header,
            query: &view.query,
        );
    }
    Ok(())
}

pub fn services(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::FeatureService(service) = object else { continue };
        let interface = Interface::of(&context.scope.snapshot, object)?;
        object_row!(context, rows, &service.header,
            members: service.members.iter().map(|member| member.alias.clone()).collect::<Vec<_>>(),
            cache: service.cache_us,
            log_sample: service.log_sample,
            keys: column_names(&interface.keys),
            request: column_names(&interface.request),
            features: interface.features.len(),
        );
    }
    Ok(())
}
