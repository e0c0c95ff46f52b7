//! Runs tests: each over rows that it makes up, in a workspace that stores nothing, at the time that it says.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use granary_catalog::{Change, Object, Snapshot, Test, Workspace};
use granary_sql::Statement;
use granary_sql::name::fold;
use granary_sql::statement::{CreateTest, Expected, GivenRows};
use granary_sql::timestamp::parse_timestamp;

use super::super::alter::own_statement;
use super::texts::Texts;
use crate::engine::{FromSource, MadeUp, QueryPlanner, own_columns, rows_with_lists, run, table_reference, with_lists};
use crate::error::{Error, Kind, Result};
use crate::statement::context::StatementContext;

/// What became of a test.
#[derive(Debug)]
pub struct Tested {
    pub schema: String,
    pub name: String,
    /// why it has not passed
    pub failure: Option<String>,
    pub file: Option<String>,
}

/// Runs the tests of a workspace as `snapshot` has it, in the order in which they were made.
pub async fn run_tests(
    context: &StatementContext,
    snapshot: &Arc<Snapshot>,
    texts: &Texts,
    only: Option<&str>,
) -> Result<Vec<Tested>> {
    let workspace = context.scope.workspace;
    let mut stores_nothing = Arc::clone(snapshot);
    if let Some(own) = snapshot.get_as::<Workspace>(workspace).filter(|own| own.live) {
        let change = Change::put(Workspace { live: false, ..own.clone() });
        stores_nothing = Arc::new(snapshot.apply(&[change])?);
    }
    let is_wanted = |test: &&Test| {
        test.header.home.workspace() == Some(workspace) && only.is_none_or(|only| only == test.header.name)
    };
    let tests: Vec<&Test> = snapshot.all::<Test>().into_iter().filter(is_wanted).collect();
    if let (Some(only), true) = (only, tests.is_empty()) {
        return Err(Error::new(Kind::UndefinedObject, format!("test \"{only}\" does not exist")));
    }
    let mut tested = Vec::with_capacity(tests.len());
    for test in tests {
        let header = &test.header;
        let schema = header.home.schema().and_then(|id| snapshot.get(id));
        let schema = schema.map_or_else(String::new, |schema| schema.name().to_owned());
        let place = texts.declarations.iter().find(|declaration| {
            declaration.kind == granary_sql::declaration::DeclaredKind::Test
                && declaration.name == header.name
                && declaration.schema.as_ref().is_none_or(|own| *own == schema)
        });
        let failure = Box::pin(failure_of(context, &stores_nothing, &test.clone().into())).await?;
        let file = place.map(|declaration| texts.shown(declaration.place));
        tested.push(Tested { schema, name: header.name.clone(), failure, file });
    }
    Ok(tested)
}

/// An error of tests that have not passed.
pub fn failed(tested: &[Tested]) -> Result<()> {
    let failed: Vec<String> = tested
        .iter()
        .filter_map(|test| {
            let failure = test.failure.as_ref()?;
            let place = test.file.as_ref().map_or_else(String::new, |file| format!(" ({file})"));
            Some(format!("{}{place}: {failure}", test.name))
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} tests failed", failed.len(), tested.len());
    Err(Error::new(Kind::CheckViolation, message)
        .with_detail(failed.join("\n"))
        .with_hint("granary.test(…) runs them alone; tests => false goes on without them"))
}

/// `None` if it passes. Errors: of the statement around it, as when it is cancelled.
async fn failure_of(context: &StatementContext, snapshot: &Arc<Snapshot>, test: &Object) -> Result<Option<String>> {
    let Statement::CreateTest(test) = own_statement(test)? else { return Err(Error::internal("a test is not one")) };
    match Box::pin(judge(context, snapshot, &test)).await {
        Ok(failure) => Ok(failure),
        Err(error) if error.kind() == Kind::QueryCanceled => Err(error),
        Err(error) => Ok(Some(shown_error(&error))),
    }
}

fn shown_error(error: &Error) -> String {
    let detail = error.detail().map_or_else(String::new, |detail| format!(" {detail}"));
    format!("{} ({}){detail}", error.message(), error.sqlstate())
}

async fn judge(context: &StatementContext, snapshot: &Arc<Snapshot>, test: &CreateTest) -> Result<Option<String>> {
    let mut planner = context.planner().with_from_source(FromSource::Unset);
    planner.scope.snapshot = Arc::clone(snapshot);
    if let Some(at) = &test.at {
        planner.now_us =
            parse_timestamp(at).map_err(|error| Error::new(Kind::InvalidDatetimeFormat, error.to_string()))?;
    }
    let mut made_up = MadeUp::default();
    for given in &test.given {
        give(&planner, &mut made_up, given).await?;
    }
    let planner = planner.with_made_up(Arc::new(made_up));
    let found = rows(&planner, &test.query.text).await;
    match (&test.expected, found) {
        (Expected::Error(expected), Err(error)) => Ok(expected.as_ref().and_then(|expected| {
            let is_it = expected.eq_ignore_ascii_case(error.sqlstate());
            (!is_it).then(|| format!("it fails with {}, not with {expected}", shown_error(&error)))
        })),
        (_, Err(error)) => Err(error),
        (Expected::Error(_), Ok(found)) => Ok(Some(format!("it does not fail: it returns {}", shown_rows(&found)?))),
        (Expected::Nothing, Ok(found)) => {
            Ok((found.num_rows() > 0).then(|| shown_rows(&found)).transpose()?.map(|rows| format!("it returns {rows}")))
        }
        (Expected::Rows { query, in_order }, Ok(found)) => {
            let expected = rows(&planner, &query.text).await?;
            differences(&found, &expected, *in_order)
        }
    }
}

async fn give(planner: &QueryPlanner, made_up: &mut MadeUp, given: &GivenRows) -> Result<()> {
    let name = granary_sql::name::shown(&given.relation);
    let undefined = || Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
    let reference = table_reference(&given.relation).ok_or_else(undefined)?;
    let object: Arc<Object> = planner.scope.relation(&reference)?.cloned().ok_or_else(undefined)?;
    let batch = rows(planner, &given.query.text).await?;
    let n_columns = batch.num_columns();
    let names: Vec<String> = match &given.columns {
        Some(columns) => columns.iter().map(fold).collect(),
        None => {
            own_columns(&object).unwrap_or_default().iter().map(|column| column.name.clone()).take(n_columns).collect()
        }
    };
    if names.len() != n_columns && own_columns(&object).is_some() {
        let message = format!("rows for \"{name}\" have {n_columns} columns, and {} are meant", names.len());
        return Err(Error::new(Kind::InvalidColumnReference, message));
    }
    made_up.give(&object, &[batch], &names)
}

/// All rows of a query.
async fn rows(planner: &QueryPlanner, sql: &str) -> Result<RecordBatch> {
    let parsed = granary_sql::parse(sql)?.pop().map(|parsed| parsed.statement);
    let Some(Statement::Query(query)) = parsed else { return Err(Error::internal("a test's query is not one")) };
    let planned = planner.plan_labeled(sqlparser::ast::Statement::Query(query.ast), &[], sql).await?;
    let mut found = run(&planner.state(), &planned.plan).await?;
    let (schema, mut batches) = (found.schema(), Vec::new());
    while let Some(batch) = found.try_next().await.map_err(Error::from)? {
        batches.push(batch);
    }
    let found = concat_batches(&schema, &batches).map_err(Error::from)?;
    rows_with_lists(&found, &with_lists(&schema))
}

/// The rows as texts that are the same if the rows are: floats up to their twelfth digit.
fn keys(rows: &RecordBatch) -> Result<Vec<Vec<u8>>> {
    let columns: Vec<Arc<dyn Array>> = rows.columns().iter().map(rounded).collect::<Result<_>>()?;
    if columns.is_empty() {
        return Ok(vec![Vec::new(); rows.num_rows()]);
    }
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(Error::from)?;
    let encoded = converter.convert_columns(&columns).map_err(Error::from)?;
    Ok(encoded.iter().map(|row| row.as_ref().to_vec()).collect())
}

fn rounded(array: &Arc<dyn Array>) -> Result<Arc<dyn Array>> {
    let floats = match array.data_type() {
        DataType::Float32 | DataType::Float64 => cast(array, &DataType::Float64).map_err(Error::from)?,
        _ => return Ok(Arc::clone(array)),
    };
    let round = |value: f64| match value.is_finite() {
        true => format!("{value:.11e}").parse().map_or(value, |rounded: f64| rounded + 0.0),
        false => value,
    };
    let values = floats.as_primitive::<Float64Type>();
    Ok(Arc::new(values.iter().map(|value| value.map(round)).collect::<Float64Array>()))
}

/// What differs between what was found and what was expected, whose values take the types of those that were found.
fn differences(found: &RecordBatch, expected: &RecordBatch, in_order: bool) -> Result<Option<String>> {
    if found.num_columns() != expected.num_columns() {
        let (found, expected) = (found.num_columns(), expected.num_columns());
        return Ok(Some(format!("it returns {found} columns, and {expected} are expected")));
    }
    let mut columns = Vec::with_capacity(expected.num_columns());
    let found_schema = found.schema();
    for (expected, found) in expected.columns().iter().zip(found_schema.fields()) {
        columns.push(cast(expected, found.data_type()).map_err(Error::from)?);
    }
    let fields = found_schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(expected.num_rows()));
    let expected = RecordBatch::try_new_with_options(schema, columns, &options).map_err(Error::from)?;
    let (of_found, of_expected) = (keys(found)?, keys(&expected)?);
    if in_order && of_found.len() == of_expected.len() {
        let first = of_found.iter().zip(&of_expected).position(|(found, expected)| found != expected);
        return first
            .map(|row| {
                let (found, expected) = (shown_row(found, row)?, shown_row(&expected, row)?);
                Ok(format!("row {} is {found}, and {expected} is expected", row + 1))
            })
            .transpose();
    }
    let surplus = without(&of_found, &of_expected);
    let missing = without(&of_expected, &of_found);
    if surplus.is_empty() && missing.is_empty() {
        return Ok(None);
    }
    let list = |rows: &RecordBatch, places: &[usize]| -> Result<String> {
        let shown = places.iter().take(SHOWN).map(|row| shown_row(rows, *row)).collect::<Result<Vec<_>>>()?;
        let more = if places.len() > SHOWN { format!(" and {} more", places.len() - SHOWN) } else { String::new() };
        Ok(format!("{}{more}", shown.join(", ")))
    };
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("expected and not returned: {}", list(&expected, &missing)?));
    }
    if !surplus.is_empty() {
        parts.push(format!("returned and not expected: {}", list(found, &surplus)?));
    }
    Ok(Some(parts.join("; ")))
}

/// The places of those that the others do not have, each as often as it is there too often.
fn without(rows: &[Vec<u8>], others: &[Vec<u8>]) -> Vec<usize> {
    let mut left: std::collections::HashMap<&[u8], usize> = std::collections::HashMap::new();
    for other in others {
        *left.entry(other.as_slice()).or_default() += 1;
    }
    let mut surplus = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        match left.get_mut(row.as_slice()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => surplus.push(place),
        }
    }
    surplus
}

/// So many rows are shown of those that differ.
const SHOWN: usize = 10;

fn shown_rows(rows: &RecordBatch) -> Result<String> {
    let shown: Vec<String> = (0..rows.num_rows().min(SHOWN)).map(|row| shown_row(rows, row)).collect::<Result<_>>()?;
    match rows.num_rows() {
        0 => Ok("no rows".to_owned()),
        n if n > SHOWN => Ok(format!("{} and {} more rows", shown.join(", "), n - SHOWN)),
        _ => Ok(shown.join(", ")),
    }
}

/// `(u1, 5.0, NULL)`
fn shown_row(rows: &RecordBatch, row: usize) -> Result<String> {
    let options = FormatOptions::default().with_null("NULL");
    let values = rows.columns().iter().map(|column| {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(Error::from)?;
        Ok(formatter.value(row).to_string())
    });
    Ok(format!("({})", values.collect::<Result<Vec<_>>>()?.join(", ")))
}
