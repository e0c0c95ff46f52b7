//! `COPY … TO 'file'`: rows into a Parquet, CSV or JSON file on the server or in an object store.

use granary_catalog::FileFormat;
use sqlparser::ast;

use super::context::StatementContext;
use super::execute::Parameters;
use super::select;
use crate::engine::{ExportRequest, cast_batches, export, output_schema};
use crate::error::{Error, Kind, Result};

/// Gives the number of rows.
pub async fn copy_to(context: &StatementContext, copy: &ast::Statement) -> Result<u64> {
    let ast::Statement::Copy { source, to: true, target, options, legacy_options, .. } = copy else {
        return Err(Error::not_supported("COPY FROM"));
    };
    let ast::CopyTarget::File { filename } = target else {
        return Err(
            Error::not_supported(format!("COPY TO {target}")).with_hint("name a file: COPY (…) TO '/data/x.parquet'")
        );
    };
    if !legacy_options.is_empty() {
        return Err(Error::not_supported("options of COPY without parentheses").with_hint("write them as (FORMAT csv)"));
    }
    let request = request(filename, options)?;
    let query = match source {
        ast::CopySource::Query(query) => query.as_ref().clone(),
        ast::CopySource::Table { table_name, columns } => query_of(table_name, columns, &context.text)?,
    };
    let (plan, labels) = select::plan_labeled(context, Box::new(query), &Parameters::default()).await?;
    let state = context.planner().state();
    let schema = labels.apply(&output_schema(&plan));
    export(&state, cast_batches(plan, &schema)?, &request).await
}

/// `SELECT columns FROM table`.
fn query_of(table: &ast::ObjectName, columns: &[ast::Ident], text: &str) -> Result<ast::Query> {
    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
    let parsed = granary_sql::parse(&format!("SELECT {columns} FROM {table}"))?;
    match parsed.into_iter().next().map(|parsed| parsed.statement) {
        Some(granary_sql::Statement::Query(query)) => Ok(*query.ast),
        _ => Err(Error::internal("COPY of a table is no query").with_detail(text)),
    }
}

fn request(path: &str, options: &[ast::CopyOption]) -> Result<ExportRequest> {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let (mut format, mut header, mut delimiter) = (format_of(&ending), false, b',');
    for option in options {
        match option {
            ast::CopyOption::Format(name) => {
                let name = name.value.to_ascii_lowercase();
                format = format_of(&name);
                if format.is_none() {
                    return Err(Error::new(
                        Kind::InvalidParameterValue,
                        format!("COPY format \"{name}\" not recognized"),
                    )
                    .with_hint("use FORMAT parquet, csv or json"));
                }
            }
            ast::CopyOption::Header(wanted) => header = *wanted,
            ast::CopyOption::Delimiter(wanted) => {
                delimiter = u8::try_from(*wanted).map_err(|_| {
                    Error::new(Kind::InvalidParameterValue, "COPY delimiter must be a single one-byte character")
                })?;
            }
            other => return Err(Error::not_supported(format!("COPY option {other}"))),
        }
    }
    let format = format.ok_or_else(|| {
        Error::new(Kind::InvalidParameterValue, format!("\"{path}\" does not say in which format it is to be"))
            .with_hint("add (FORMAT parquet), csv or json, or a name that ends so")
    })?;
    Ok(ExportRequest { path: path.to_owned(), format, header, delimiter })
}

fn format_of(name: &str) -> Option<FileFormat> {
    match name {
        "parquet" => Some(FileFormat::Parquet),
        "csv" => Some(FileFormat::Csv),
        "json" | "ndjson" => Some(FileFormat::Json),
        _ => None,
    }
}
