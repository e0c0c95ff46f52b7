//! `CREATE SOURCE`: the files or the query are looked at when the source is made.

use granary_catalog::{Change, Column, ObjectKind, Source, SourceDefinition};
use granary_sql::name::fold;
use granary_sql::statement::{CreateSource, FileFormat, SourceOrigin};

use super::context::{COMMON_OPTIONS, NewObject, StatementContext, check_options};
use super::{select, types};
use crate::engine::{FileSourceRequest, check_time_type, infer_file_source};
use crate::error::{Error, Kind, Result};

pub const OPTIONS: [&str; 10] =
    ["data_delay", "header", "delimiter", "quote", "escape", "comment", "null", "region", "endpoint", "compression"];

pub async fn create(context: &mut StatementContext, create: &CreateSource) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let data_delay = create.options.interval("data_delay")?;
    let timestamp = create.timestamp.as_ref().map(fold);
    let mut data_delay_us = data_delay.as_ref().map_or(0, |delay| delay.microseconds);
    if data_delay_us < 0 {
        return Err(Error::new(Kind::InvalidParameterValue, "data_delay must not be negative"));
    }
    let (definition, columns, depends_on) = match &create.origin {
        SourceOrigin::Files { format, path, .. } => {
            let (definition, columns) = files(context, create, *format, path, timestamp.clone()).await?;
            (definition, columns, Vec::new())
        }
        SourceOrigin::Postgres { .. } => return Err(Error::not_supported("CREATE SOURCE … FROM POSTGRES")),
        SourceOrigin::Query(query) => {
            let planned = select::plan_definition(context, query).await?;
            check_reads_sources(context, &planned.depends_on)?;
            if data_delay.is_none() {
                data_delay_us = longest_delay(context, &planned.depends_on);
            }
            (SourceDefinition::Query { sql: query.text.clone() }, planned.columns, planned.depends_on)
        }
    };
    if let Some(ident) = &create.timestamp {
        let name = fold(ident);
        match columns.iter().find(|column| column.name == name) {
            None => {
                let error = Error::new(Kind::UndefinedColumn, format!("the source has no column \"{name}\""))
                    .with_hint("name the column that holds the event time with TIMESTAMP");
                return Err(context.at_ident(ident, error));
            }
            Some(column) => check_time_type(&name, &column.data_type, "the source")
                .map_err(|error| context.at_ident(ident, error))?,
        }
    }
    if create.or_replace
        && let Ok(object) = context.find(ObjectKind::Source, &create.name)
        && let Some(existing) = object.downcast::<Source>()
    {
        context.check_replaced_columns(&object, &existing.columns, &columns)?;
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::Source,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateSource { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    if let Some(header) = header {
        context.changes.push(Change::put(Source { header, definition, columns, timestamp, data_delay_us, depends_on }));
    }
    Ok(())
}

async fn files(
    context: &StatementContext,
    create: &CreateSource,
    format: FileFormat,
    path: &str,
    timestamp: Option<String>,
) -> Result<(SourceDefinition, Vec<Column>)> {
    let format = match format {
        FileFormat::Parquet => granary_catalog::FileFormat::Parquet,
        FileFormat::Csv => granary_catalog::FileFormat::Csv,
        FileFormat::Json => granary_catalog::FileFormat::Json,
        FileFormat::Delta => return Err(Error::not_supported("CREATE SOURCE … FROM DELTA")),
        FileFormat::Iceberg => return Err(Error::not_supported("CREATE SOURCE … FROM ICEBERG")),
    };
    let own = |name: &str| name != "data_delay" && !COMMON_OPTIONS.contains(&name);
    let mut options = Vec::new();
    for entry in create.options.entries.iter().filter(|entry| own(&entry.name)) {
        let value = match entry.name.as_str() {
            "header" => create.options.bool("header")?.map(|value| value.to_string()),
            name => create.options.string(name)?,
        };
        options.extend(value.map(|value| (entry.name.clone(), value)));
    }
    let declared = match &create.columns {
        Some(columns) => Some(types::columns(context, columns)?),
        None => None,
    };
    let request =
        FileSourceRequest { format, paths: vec![path.to_owned()], options, declared: declared.clone(), timestamp };
    let state = context.planner().state();
    let columns = infer_file_source(&state, &request).await?;
    let definition = SourceDefinition::Files {
        format,
        paths: request.paths,
        declared: declared.is_some(),
        format_options: request.options,
    };
    Ok((definition, columns))
}

fn check_reads_sources(context: &StatementContext, depends_on: &[granary_catalog::ObjectId]) -> Result<()> {
    for id in depends_on {
        let Some(object) = context.snapshot().get(*id) else { continue };
        match object.kind() {
            ObjectKind::Source | ObjectKind::Table | ObjectKind::View | ObjectKind::Function => {}
            other => {
                return Err(Error::new(
                    Kind::WrongObjectType,
                    format!("a source cannot read the {} \"{}\"", other.as_str(), object.name()),
                )
                .with_hint("a source reads other sources, tables and views"));
            }
        }
    }
    Ok(())
}

/// The longest delay among the sources read.
pub fn longest_delay(context: &StatementContext, depends_on: &[granary_catalog::ObjectId]) -> i64 {
    depends_on
        .iter()
        .filter_map(|id| context.snapshot().get_as::<Source>(*id))
        .map(|source| source.data_delay_us)
        .max()
        .unwrap_or(0)
}
