//! `COPY … TO STDOUT`: the rows that a client is sent; `COPY … TO 'file'`: rows into a Parquet, CSV or JSON file on the
//! server or in an object store. `COPY … FROM STDIN`: which rows a client is asked for, and where they go. What rows look
//! like on the wire is not known here.

mod options;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use granary_catalog::{FileFormat, Object, PolicyCommand};
use granary_sql::name::fold;
use granary_sql::statement::{Copy, CopyOption, CopySource, CopyTarget, CopyValue};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::{StatementContext, Writing};
use super::execute::{BatchStream, Parameters, Response, answer};
use super::select;
use super::table::{self, COPY, Call, CallStream, Defaults, LeftOut, Target};
use crate::engine::{
    ExportRequest, Passed, Passing, cast_batches, export, output_schema, parameter_types, table_reference,
};
use crate::error::{Error, Kind, Result};
use options::FormatOptions;

pub use options::{CopyForm, CopyFormat, Header};

/// Rows that a client is sent.
pub struct CopyOut {
    pub schema: SchemaRef,
    pub rows: BatchStream,
    pub form: CopyForm,
    /// by column, whether CSV puts its values in quotes that need none
    pub force_quote: Vec<bool>,
}

pub async fn copy(context: &mut StatementContext, copy: &Copy, cancel: &CancellationToken) -> Result<Response> {
    if copy.is_from {
        return Ok(Response::CopyIn(copy_from(context, copy)?));
    }
    let form = match &copy.target {
        CopyTarget::File(path) => Err(request(path, &copy.options)?),
        CopyTarget::Client => Ok(FormatOptions::read(&copy.options)?.to_client()?),
        CopyTarget::Program(_) => return Err(Error::not_supported("COPY TO PROGRAM")),
    };
    let query = match &copy.source {
        CopySource::Query(query) => query.ast.clone(),
        CopySource::Relation { name, columns } => {
            check_copied(context, name, columns)?;
            Box::new(query_of(name, columns, &context.text)?)
        }
    };
    let parameters = || Error::new(Kind::UndefinedParameter, "COPY cannot have parameters, such as $1");
    match form {
        Err(request) => {
            let (plan, labels) = select::plan_labeled(context, query, &Parameters::default()).await?;
            if !parameter_types(&plan, &[])?.is_empty() {
                return Err(parameters());
            }
            let schema = labels.apply(&output_schema(&plan));
            let rows = export(&context.planner().state(), cast_batches(plan, &schema)?, &request).await?;
            Ok(Response::done(format!("COPY {rows}")))
        }
        Ok((form, quoted)) => {
            if has_parameters(&query) {
                return Err(parameters());
            }
            let (schema, rows) = answer(context, &query, &Parameters::default(), cancel).await?;
            let force_quote = quoted.of(&schema, &copy.source)?;
            Ok(Response::CopyOut(CopyOut { schema, rows, form, force_quote }))
        }
    }
}

fn has_parameters(query: &ast::Query) -> bool {
    let found = ast::visit_expressions(query, |expr| match expr {
        ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// As PostgreSQL: a view has no rows of its own, and a column comes once.
fn check_copied(context: &StatementContext, name: &ast::ObjectName, columns: &[ast::Ident]) -> Result<()> {
    if let Some(reference) = table_reference(name)
        && let Some(object) = context.scope.relation(&reference)?
        && matches!(object.as_ref(), Object::View(_))
    {
        let message = format!("cannot copy from view \"{}\"", object.name());
        let error = Error::new(Kind::WrongObjectType, message).with_hint("Try the COPY (SELECT ...) TO variant.");
        return Err(context.at(name, error));
    }
    let repeated =
        columns.iter().enumerate().find(|(at, column)| columns[..*at].iter().any(|other| fold(other) == fold(column)));
    match repeated {
        Some((_, column)) => {
            let message = format!("column \"{}\" specified more than once", fold(column));
            Err(context.at_ident(column, Error::new(Kind::DuplicateColumn, message)))
        }
        None => Ok(()),
    }
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

fn request(path: &str, options: &[CopyOption]) -> Result<ExportRequest> {
    let ending = path.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let (mut format, mut header, mut delimiter) = (format_of(&ending), false, b',');
    for option in options {
        match (option.name.as_str(), &option.value) {
            ("format", CopyValue::Text(name)) => {
                let name = name.to_ascii_lowercase();
                format = format_of(&name);
                if format.is_none() {
                    let message = format!("COPY format \"{name}\" not recognized");
                    return Err(
                        Error::new(Kind::InvalidParameterValue, message).with_hint("use FORMAT parquet, csv or json")
                    );
                }
            }
            ("header", _) => header = options::header(option)? == Header::Yes,
            ("delimiter", CopyValue::Text(wanted)) => delimiter = options::one_byte("delimiter", wanted)?,
            _ => return Err(Error::not_supported(format!("COPY option {option}"))),
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
    /// by column of the line, how CSV reads what stands for NULL
    pub null_fields: Vec<NullFields>,
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

/// `COPY t [(columns)] FROM STDIN`.
fn copy_from(context: &StatementContext, copy: &Copy) -> Result<CopyIn> {
    let CopySource::Relation { name, columns } = &copy.source else {
        return Err(Error::internal("a COPY FROM has a query"));
    };
    let into = table::writable(context, name, COPY)?;
    check_unpoliced(context, &into)?;
    let hint = "send the rows: COPY … FROM STDIN, or \\copy in psql; or read files as a SOURCE";
    match &copy.target {
        CopyTarget::Client => {}
        CopyTarget::File(path) => return Err(Error::not_supported(format!("COPY FROM '{path}'")).with_hint(hint)),
        CopyTarget::Program(_) => return Err(Error::not_supported("COPY FROM PROGRAM").with_hint(hint)),
    }
    let mut places = Vec::new();
    for name in columns {
        let place = place_of(context, &into, name)?;
        if places.contains(&place) {
            let message = format!("column \"{}\" specified more than once", fold(name));
            return Err(context.at_ident(name, Error::new(Kind::DuplicateColumn, message)));
        }
        places.push(place);
    }
    if places.is_empty() {
        places = (0..into.columns.len()).collect();
    }
    let options = FormatOptions::read(&copy.options)?;
    let named = |option: &str, columns: &[ast::Ident]| -> Result<Vec<bool>> {
        let forced = columns.iter().map(|column| {
            let place = place_of(context, &into, column)?;
            match places.iter().position(|known| *known == place) {
                Some(at) => Ok(at),
                None => Err(options::not_copied(option, &fold(column))),
            }
        });
        let forced = forced.collect::<Result<Vec<usize>>>()?;
        Ok((0..places.len()).map(|at| forced.contains(&at)).collect())
    };
    let never = named("FORCE_NOT_NULL", options.force_not_null())?;
    let quoted = named("FORCE_NULL", options.force_null())?;
    let null_fields = never.into_iter().zip(quoted).map(|(never, quoted)| NullFields { never, quoted }).collect();
    let format = options.of_client()?;
    let Writing { is_dry_run, leaves_out } = context.writing;
    let left_out = leaves_out.then(Arc::default);
    let text = context.text.clone();
    Ok(CopyIn { target: into, text, columns: places, format, null_fields, left_out, is_dry_run })
}

/// As in PostgreSQL, rows that are copied are not looked at one by one.
fn check_unpoliced(context: &StatementContext, into: &Target) -> Result<()> {
    if into.table.as_ref().is_some_and(|table| context.planner().is_policed(table)) {
        return Err(Error::new(Kind::FeatureNotSupported, "COPY FROM not supported with row-level security")
            .with_hint("Use INSERT statements instead."));
    }
    Ok(())
}

fn place_of(context: &StatementContext, into: &Target, name: &ast::Ident) -> Result<usize> {
    let column = fold(name);
    into.columns.iter().position(|known| known.name == column).ok_or_else(|| {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", into.name);
        context.at_ident(name, Error::new(Kind::UndefinedColumn, message))
    })
}

/// How CSV reads fields that look like NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NullFields {
    /// FORCE_NOT_NULL: they are texts
    pub never: bool,
    /// FORCE_NULL: they are NULL in quotes, too
    pub quoted: bool,
}

/// Leaves the client's rows in the context; gives their number.
pub async fn copy_rows(
    context: &mut StatementContext,
    copy: &CopyIn,
    rows: CallStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    check_unpoliced(context, &copy.target)?;
    table::lock_written(context, &copy.target).await?;
    let rows = Defaults::of(context, &copy.target, |place| !copy.columns.contains(&place))?.put_into(rows);
    let passing = vec![Passing { command: PolicyCommand::Insert, what: Passed::Check }];
    let call = Call { left_out: copy.left_out.clone(), is_dry_run: copy.is_dry_run, ..Call::plain(rows, passing) };
    table::gather(context, &copy.target, call, cancel).await
}
