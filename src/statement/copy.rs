//! `COPY … TO 'file'`: rows into a Parquet, CSV or JSON file on the server or in an object store. `COPY … FROM STDIN`:
//! which rows a client is asked for, and where they go; what they look like on the wire is not known here.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use granary_catalog::FileFormat;
use granary_sql::name::fold;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::{StatementContext, Writing};
use super::execute::Parameters;
use super::select;
use super::table::{self, COPY, Call, CallStream, Defaults, LeftOut, Target};
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

/// Rows that a client is asked for.
#[derive(Debug, Clone)]
pub struct CopyIn {
    target: Target,
    /// as typed
    pub text: String,
    /// the places in the table of the columns that each line has
    pub columns: Vec<usize>,
    pub format: CopyForm,
    /// where rows are noted that do not fit, if those shall not fail the COPY
    pub left_out: Option<Arc<LeftOut>>,
    is_dry_run: bool,
}

impl CopyIn {
    /// The columns of the table, which its rows must come with.
    pub fn schema(&self) -> SchemaRef {
        self.target.nullable_schema()
    }

    pub fn table(&self) -> &str {
        &self.target.name
    }

    /// The places in the table of columns that cannot be NULL, each with the error of a row where it is.
    pub fn required(&self) -> Vec<(usize, Error)> {
        let columns =
            self.target.columns.iter().enumerate().filter(|(place, column)| {
                !column.nullable && (column.default.is_none() || self.columns.contains(place))
            });
        columns.map(|(place, column)| (place, self.target.null_in(column))).collect()
    }
}

/// What rows look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyForm {
    Lines(CopyFormat),
    Binary,
}

/// PostgreSQL's text format, or its CSV.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    pub is_csv: bool,
    /// the first line has the names of the columns, and is left out
    pub header: bool,
    pub delimiter: u8,
    /// what stands for NULL
    pub null: String,
    /// CSV only, as is the escape
    pub quote: u8,
    pub escape: u8,
}

impl CopyFormat {
    pub fn text() -> CopyFormat {
        let (quote, escape) = (b'"', b'"');
        CopyFormat { is_csv: false, header: false, delimiter: b'\t', null: "\\N".to_owned(), quote, escape }
    }

    pub fn csv() -> CopyFormat {
        CopyFormat { is_csv: true, delimiter: b',', null: String::new(), ..CopyFormat::text() }
    }
}

/// `COPY t [(columns)] FROM STDIN`.
pub fn copy_from(context: &StatementContext, copy: &ast::Statement) -> Result<CopyIn> {
    let ast::Statement::Copy { source, to: false, target, options, legacy_options, .. } = copy else {
        return Err(Error::internal("a COPY FROM is none"));
    };
    let ast::CopySource::Table { table_name, columns } = source else {
        return Err(Error::new(Kind::Syntax, "COPY FROM cannot be used with a query"));
    };
    let into = table::writable(context, table_name, COPY)?;
    match target {
        ast::CopyTarget::Stdin => {}
        other => {
            let hint = "send the rows: COPY … FROM STDIN, or \\copy in psql; or read files as a SOURCE";
            return Err(Error::not_supported(format!("COPY FROM {other}")).with_hint(hint));
        }
    }
    let mut places = Vec::new();
    for name in columns {
        let column = fold(name);
        let Some(place) = into.columns.iter().position(|known| known.name == column) else {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", into.name);
            return Err(context.at_ident(name, Error::new(Kind::UndefinedColumn, message)));
        };
        if places.contains(&place) {
            let message = format!("column \"{column}\" specified more than once");
            return Err(context.at_ident(name, Error::new(Kind::DuplicateColumn, message)));
        }
        places.push(place);
    }
    if places.is_empty() {
        places = (0..into.columns.len()).collect();
    }
    let format = format(options, legacy_options)?;
    let Writing { is_dry_run, leaves_out } = context.writing;
    let left_out = leaves_out.then(Arc::default);
    Ok(CopyIn { target: into, text: context.text.clone(), columns: places, format, left_out, is_dry_run })
}

/// What options say of the format, in PostgreSQL's new form or its old one.
#[derive(Default)]
struct FormatOptions {
    is_csv: bool,
    is_binary: bool,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
}

fn format(options: &[ast::CopyOption], legacy_options: &[ast::CopyLegacyOption]) -> Result<CopyForm> {
    let mut said = FormatOptions::default();
    for option in options {
        match option {
            ast::CopyOption::Format(name) => match name.value.to_ascii_lowercase().as_str() {
                "text" => said.is_csv = false,
                "csv" => said.is_csv = true,
                "binary" => said.is_binary = true,
                other => {
                    let message = format!("COPY format \"{other}\" not recognized");
                    return Err(
                        Error::new(Kind::InvalidParameterValue, message).with_hint("use FORMAT text, csv or binary")
                    );
                }
            },
            ast::CopyOption::Header(header) => said.header = *header,
            ast::CopyOption::Delimiter(delimiter) => said.delimiter = Some(*delimiter),
            ast::CopyOption::Null(null) => said.null = Some(null.clone()),
            ast::CopyOption::Quote(quote) => said.quote = Some(*quote),
            ast::CopyOption::Escape(escape) => said.escape = Some(*escape),
            ast::CopyOption::Encoding(name) if is_utf8(name) => {}
            other => return Err(Error::not_supported(format!("COPY option {other}"))),
        }
    }
    for option in legacy_options {
        match option {
            ast::CopyLegacyOption::Delimiter(delimiter) => said.delimiter = Some(*delimiter),
            ast::CopyLegacyOption::Null(null) => said.null = Some(null.clone()),
            ast::CopyLegacyOption::Header => said.header = true,
            ast::CopyLegacyOption::Binary => said.is_binary = true,
            ast::CopyLegacyOption::Csv(options) => {
                said.is_csv = true;
                for option in options {
                    match option {
                        ast::CopyLegacyCsvOption::Header => said.header = true,
                        ast::CopyLegacyCsvOption::Quote(quote) => said.quote = Some(*quote),
                        ast::CopyLegacyCsvOption::Escape(escape) => said.escape = Some(*escape),
                        other => return Err(Error::not_supported(format!("COPY option {other}"))),
                    }
                }
            }
            other => return Err(Error::not_supported(format!("COPY option {other}"))),
        }
    }
    said.checked()
}

fn is_utf8(encoding: &str) -> bool {
    ["utf8", "utf-8"].contains(&encoding.to_ascii_lowercase().as_str())
}

impl FormatOptions {
    fn checked(self) -> Result<CopyForm> {
        let FormatOptions { is_csv, is_binary, header, delimiter, null, quote, escape } = self;
        if is_binary {
            let said = [
                ("CSV", is_csv),
                ("HEADER", header),
                ("DELIMITER", delimiter.is_some()),
                ("NULL", null.is_some()),
                ("QUOTE", quote.is_some()),
                ("ESCAPE", escape.is_some()),
            ];
            return match said.iter().find(|(_, said)| *said) {
                Some((name, _)) => Err(Error::new(Kind::Syntax, format!("cannot specify {name} in BINARY mode"))),
                None => Ok(CopyForm::Binary),
            };
        }
        let wrong = |message: String| Err(Error::new(Kind::InvalidParameterValue, message));
        let one_byte = |name: &str, character: Option<char>, default: u8| match character.map(u8::try_from) {
            None => Ok(default),
            Some(Ok(byte)) if byte.is_ascii() => Ok(byte),
            Some(_) => {
                Err(Error::new(Kind::InvalidParameterValue, format!("COPY {name} must be a single one-byte character")))
            }
        };
        if !is_csv
            && let Some((name, _)) = [("quote", quote), ("escape", escape)].iter().find(|(_, said)| said.is_some())
        {
            return Err(Error::new(Kind::FeatureNotSupported, format!("COPY {name} available only in CSV mode")));
        }
        let default = if is_csv { CopyFormat::csv() } else { CopyFormat::text() };
        let delimiter = one_byte("delimiter", delimiter, default.delimiter)?;
        let quote = one_byte("quote", quote, default.quote)?;
        let escape = one_byte("escape", escape, quote)?;
        let null = null.unwrap_or(default.null);
        if delimiter == b'\n' || delimiter == b'\r' {
            return wrong("COPY delimiter cannot be newline or carriage return".to_owned());
        }
        if null.contains(['\n', '\r']) {
            return wrong("COPY null representation cannot use newline or carriage return".to_owned());
        }
        if !is_csv && (b"\\.".contains(&delimiter) || delimiter.is_ascii_lowercase() || delimiter.is_ascii_digit()) {
            return wrong(format!("COPY delimiter cannot be \"{}\"", char::from(delimiter)));
        }
        if is_csv && delimiter == quote {
            return wrong("COPY delimiter and quote must be different".to_owned());
        }
        if null.as_bytes().contains(&delimiter) {
            return wrong("COPY delimiter must not appear in the NULL specification".to_owned());
        }
        if is_csv && null.as_bytes().contains(&quote) {
            return wrong("CSV quote character must not appear in the NULL specification".to_owned());
        }
        Ok(CopyForm::Lines(CopyFormat { is_csv, header, delimiter, null, quote, escape }))
    }
}

/// Leaves the client's rows in the context; gives their number.
pub async fn copy_rows(
    context: &mut StatementContext,
    copy: &CopyIn,
    rows: CallStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    table::lock_written(context, &copy.target).await?;
    let rows = Defaults::of(context, &copy.target, |place| !copy.columns.contains(&place))?.put_into(rows);
    let call = Call { left_out: copy.left_out.clone(), is_dry_run: copy.is_dry_run, ..Call::plain(rows) };
    table::gather(context, &copy.target, call, cancel).await
}
