//! The condition of an alert: planned when it is made, evaluated as its owner in its workspace by the ordinary way of a query.
//!
//! A boolean holds if it is true. A query in parentheses holds while it gives rows; of one with a single boolean column only
//! rows count in which that is true, so that `(SELECT count(*) > 3 FROM t)` is what it looks like.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Schema};
use futures::TryStreamExt;
use granary_catalog::{Alert, ObjectId};
use granary_sql::{Parsed, Statement};
use serde_json::Value as Json;
use sqlparser::ast::{self, Expr};
use tokio_util::sync::CancellationToken;

use super::super::context::StatementContext;
use super::super::execute::{Parameters, Response, catalog_query, execute, writing_word};
use super::super::select;
use crate::access::Asker;
use crate::alerts::{Found, SHOWN_ROWS, ShownRow};
use crate::engine::{SessionFacts, output_schema};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, normalize_type, text_of, type_name, value_at};
use crate::warehouse::Warehouse;

/// So long a condition may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// So many rows are counted.
const MOST_ROWS: u64 = 100_000;
/// So many characters are shown of a value.
const SHOWN_CHARACTERS: usize = 500;
const SHOWN_COLUMNS: usize = 50;

/// What a condition says, and the first rows that it gives.
#[derive(Debug)]
pub struct Evaluated {
    pub found: Found,
    pub rows: Vec<ShownRow>,
}

/// A condition as a query.
struct Query {
    parsed: Parsed,
    /// it was a boolean
    is_value: bool,
}

fn query_of(condition: &str) -> Result<Query> {
    let read = |text: String| -> Result<Parsed> {
        let mut parsed = granary_sql::parse(&text)?;
        match (parsed.pop(), parsed.is_empty()) {
            (Some(parsed), true) if matches!(parsed.statement, Statement::Query(_)) => Ok(parsed),
            _ => Err(Error::new(Kind::Syntax, "the condition of an alert only reads")),
        }
    };
    let parsed = read(format!("SELECT {condition}"))?;
    let Statement::Query(query) = &parsed.statement else { return Err(Error::internal("a query is not one")) };
    let is_plain = query.ast.order_by.is_none() && query.ast.limit_clause.is_none();
    let value = match query.ast.body.as_ref() {
        ast::SetExpr::Select(select)
            if is_plain && select.from.is_empty() && select.selection.is_none() && select.having.is_none() =>
        {
            match select.projection.as_slice() {
                [ast::SelectItem::UnnamedExpr(value)] => value,
                _ => return Err(Error::new(Kind::Syntax, "the condition of an alert is one expression")),
            }
        }
        _ => return Err(Error::new(Kind::Syntax, "the condition of an alert is one expression")),
    };
    let (mut value, mut text) = (value, condition.trim());
    while let Expr::Nested(inner) = value {
        value = inner;
        text = within(text)?;
    }
    let Expr::Subquery(_) = value else { return Ok(Query { parsed, is_value: true }) };
    Ok(Query { parsed: read(within(text)?.to_owned())?, is_value: false })
}

/// The text in parentheses.
fn within(text: &str) -> Result<&str> {
    let inner = text.trim().strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inner
        .map(str::trim)
        .ok_or_else(|| Error::new(Kind::Syntax, "comments stand inside of the parentheses of a condition"))
}

/// Plans a condition; gives what it reads. Errors: `DatatypeMismatch` for a value that is no boolean, those of the query,
/// and `FeatureNotSupported` for one that changes something.
pub async fn check(context: &StatementContext, condition: &str) -> Result<Vec<ObjectId>> {
    let query = query_of(condition)?;
    if let Some(word) = writing_word(&query.parsed.statement) {
        return Err(Error::not_supported(format!("{word} in the condition of an alert")));
    }
    let Statement::Query(found) = &query.parsed.statement else { return Err(Error::internal("a query is not one")) };
    let (schema, has_parameters) = match catalog_query(context, &found.ast, &[]) {
        Some(planned) => {
            let planned = planned?;
            (planned.schema(), !planned.parameters().is_empty())
        }
        None => {
            let planned = select::plan_query(context, found.ast.clone(), &Parameters::default()).await?;
            let parameters = crate::engine::parameter_types(&planned.plan, &[])?;
            (output_schema(&planned.plan), !parameters.is_empty())
        }
    };
    if has_parameters {
        return Err(Error::new(Kind::UndefinedParameter, "a definition cannot have parameters, such as $1"));
    }
    let value_type = schema.fields().first().map(|field| field.data_type().clone());
    match value_type {
        Some(data_type) if query.is_value && !matches!(data_type, DataType::Boolean) => {
            let message = format!("the condition of an alert must be boolean, not {}", type_name(&data_type));
            Err(Error::new(Kind::DatatypeMismatch, message)
                .with_hint("compare it with something, or write a query of rows in parentheses"))
        }
        _ => select::dependencies(context, found.ast.as_ref()),
    }
}

/// What the condition says now. An error, and a condition that takes too long, is what it says, too.
pub async fn evaluate(warehouse: &Arc<Warehouse>, alert: &Alert) -> Evaluated {
    let cancel = CancellationToken::new();
    let (own, definition, token) = (Arc::clone(warehouse), alert.clone(), cancel.clone());
    let work = warehouse.engine.work(async move { rows_of(&own, &definition, &token).await });
    let found = match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let message = format!("the condition takes longer than {} seconds", TIMEOUT.as_secs());
            Err(Error::new(Kind::QueryCanceled, message))
        }
    };
    // whatever goes on in the background is told to stop
    cancel.cancel();
    found.unwrap_or_else(|error| {
        let (sqlstate, message) = (error.sqlstate().to_owned(), error.message().to_owned());
        Evaluated { found: Found::Failed { sqlstate, message }, rows: Vec::new() }
    })
}

async fn rows_of(warehouse: &Arc<Warehouse>, alert: &Alert, cancel: &CancellationToken) -> Result<Evaluated> {
    let query = query_of(&alert.condition)?;
    let mut context = context_of(warehouse, alert, &query.parsed.text)?;
    let response = execute(&mut context, &query.parsed, &Parameters::default(), cancel).await?;
    let Response::Rows { schema, mut rows, .. } = response else {
        return Err(Error::internal("a condition has no rows"));
    };
    let is_flag = matches!(schema.fields().as_ref(), [only] if only.data_type() == &DataType::Boolean);
    let (mut n_rows, mut first) = (0, Vec::new());
    while let Some(batch) = rows.try_next().await? {
        for row in 0..batch.num_rows() {
            if is_flag && value_at(batch.column(0), row)? != Some(Value::Bool(true)) {
                continue;
            }
            n_rows += 1;
            if first.len() < SHOWN_ROWS && !query.is_value {
                first.push(shown_row(&schema, &batch, row)?);
            }
        }
        if n_rows >= MOST_ROWS {
            break;
        }
    }
    let found = if n_rows == 0 { Found::HoldsNot } else { Found::Holds { rows: n_rows } };
    Ok(Evaluated { found, rows: first })
}

fn shown_row(schema: &Schema, batch: &arrow::array::RecordBatch, row: usize) -> Result<ShownRow> {
    let mut shown = Vec::with_capacity(batch.num_columns().min(SHOWN_COLUMNS));
    for (field, column) in schema.fields().iter().zip(batch.columns()).take(SHOWN_COLUMNS) {
        shown.push((field.name().clone(), shown_value(column, row)?));
    }
    Ok(shown)
}

/// Numbers and booleans as they are, everything else as its text.
fn shown_value(column: &arrow::array::ArrayRef, row: usize) -> Result<Json> {
    let data_type = column.data_type();
    let Some(data_type) = normalize_type(data_type) else {
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let formatter =
            arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &options).map_err(Error::from)?;
        return Ok(Json::String(shortened(formatter.value(row).to_string())));
    };
    let cast = arrow::compute::cast(&column.slice(row, 1), &data_type).map_err(Error::from)?;
    let is_plain = matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64);
    Ok(match value_at(&cast, 0)? {
        None => Json::Null,
        Some(Value::Bool(value)) => Json::Bool(value),
        Some(Value::Int(value)) if is_plain => Json::from(value),
        Some(Value::Float(value)) if value.is_finite() => Json::from(value),
        Some(value) => Json::String(shortened(text_of(&value, &data_type))),
    })
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A statement's surroundings, of the alert's owner in its workspace. Names mean what they meant when it was made.
fn context_of(warehouse: &Arc<Warehouse>, alert: &Alert, text: &str) -> Result<StatementContext> {
    let home = alert.header.home;
    let workspace = home.workspace().ok_or_else(|| Error::internal("an alert without a workspace"))?;
    let owner = alert.header.owner.as_str();
    let snapshot = warehouse.catalog.snapshot();
    let name_of = |id| snapshot.get(id).map_or_else(String::new, |object| object.name().to_owned());
    if snapshot.role(owner).is_none() {
        return Err(Error::new(Kind::UndefinedObject, format!("role \"{owner}\" does not exist")));
    }
    let search_path = home.schema().map(name_of).into_iter().chain(["public".to_owned()]).collect();
    let mut scope = warehouse.scope(workspace, search_path, Asker::role(owner));
    scope.mean(alert.depends_on.clone());
    let facts = SessionFacts {
        user: owner.to_owned(),
        database: name_of(workspace),
        activity: Arc::clone(&warehouse.activity),
        expiry: Arc::clone(&warehouse.expiry),
        late: Arc::clone(&warehouse.late),
        alerts: Some(Arc::clone(&warehouse.alerts)),
        samples: warehouse.samples_reader(),
        ..SessionFacts::default()
    };
    Ok(StatementContext {
        read_versions: Some(warehouse.offline.read_versions()),
        facts: Arc::new(facts),
        ..StatementContext::without_session(warehouse, scope, owner, text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_value_or_a_query() {
        let of = |text: &str| query_of(text).map(|query| (query.parsed.text.clone(), query.is_value));
        assert_eq!(of("1 > 2").expect("reads"), ("SELECT 1 > 2".to_owned(), true));
        assert_eq!(of("EXISTS (SELECT 1)").expect("reads"), ("SELECT EXISTS (SELECT 1)".to_owned(), true));
        assert_eq!(of("(SELECT 1) > 2").expect("reads"), ("SELECT (SELECT 1) > 2".to_owned(), true));
        assert_eq!(of("(SELECT 1 )").expect("reads"), ("SELECT 1".to_owned(), false));
        assert_eq!(of("( (SELECT 1) )").expect("reads"), ("(SELECT 1)".to_owned(), false));
        assert_eq!(of("(WITH a AS (SELECT 1) SELECT * FROM a)").expect("reads").1, false);
        for wrong in ["1, 2", "1 FROM t", "true; SELECT 1", "true AS x", "*"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
