//! `EXPLAIN`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use granary_sql::Statement;
use granary_sql::statement::{Explain, ExplainFormat};
use sqlparser::ast;

use super::context::StatementContext;
use super::execute::{Parameters, Response, RowsTag};
use super::{select, table};
use crate::engine::{ExplainOptions, Serving, Shape, bind_parameters};
use crate::error::{Error, Kind, Result};
use crate::time::Stopwatch;

/// PostgreSQL's switches that there is nothing to show for.
const UNKNOWN: [&str; 4] = ["generic_plan", "memory", "settings", "wal"];

/// What the answer looks like.
pub fn explain_schema(explain: &Explain) -> SchemaRef {
    // so that drivers decode it
    let shown: HashMap<String, String> = match explain.format {
        ExplainFormat::Json => [("pg.type".to_owned(), "json".to_owned())].into(),
        _ => HashMap::new(),
    };
    Arc::new(Schema::new(vec![Field::new("QUERY PLAN", DataType::Utf8, false).with_metadata(shown)]))
}

pub async fn explain(context: &StatementContext, explain: &Explain, parameters: &Parameters) -> Result<Response> {
    let options = options(explain)?;
    let query = match &explain.statement.statement {
        Statement::Query(query) => query,
        Statement::Postgres(statement) if !explain.analyze => {
            return answer(explain, changing(context, &statement.ast, options)?);
        }
        _ => return Err(Error::not_supported("EXPLAIN of such a statement")),
    };
    let planning = Stopwatch::start();
    if let Some(lines) = lookup(context, query.ast.as_ref(), parameters, options, planning).await? {
        return answer(explain, lines);
    }
    let (plan, _) = select::plan_labeled(context, query.ast.clone(), parameters).await?;
    let plan = bind_parameters(plan, &parameters.values)?;
    let lines = crate::engine::explain(&context.planner(), &plan, options, planning).await?;
    answer(explain, lines)
}

/// What changes rows is one step on top of a query that is planned when it is carried out.
fn changing(context: &StatementContext, statement: &ast::Statement, options: ExplainOptions) -> Result<Vec<String>> {
    let named = |factor: &ast::TableFactor| match factor {
        ast::TableFactor::Table { name, .. } => Some(name.clone()),
        _ => None,
    };
    let (operation, name) = match statement {
        ast::Statement::Insert(ast::Insert { table: ast::TableObject::TableName(name), .. }) => {
            ("Insert", Some(name.clone()))
        }
        ast::Statement::Update(update) => ("Update", named(&update.table.relation)),
        ast::Statement::Delete(delete) => {
            let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
            ("Delete", from.first().and_then(|from| named(&from.relation)))
        }
        _ => ("", None),
    };
    let Some(name) = name else { return Err(Error::not_supported("EXPLAIN of such a statement")) };
    let target = table::writable(context, &name, "EXPLAIN a change of")?;
    Ok(match options.json {
        true => {
            let node =
                serde_json::json!({ "Node Type": "ModifyTable", "Operation": operation, "Relation Name": target.name });
            let plan = serde_json::json!([{ "Plan": node }]);
            vec![serde_json::to_string_pretty(&plan).unwrap_or_default()]
        }
        false => vec![format!("{operation} on {}", target.name)],
    })
}

/// A query that is answered without a plan. None: it needs one.
async fn lookup(
    context: &StatementContext,
    query: &ast::Query,
    parameters: &Parameters,
    options: ExplainOptions,
    planning: Stopwatch,
) -> Result<Option<Vec<String>>> {
    let is_committed = context.scope.snapshot.version() == context.warehouse.catalog.snapshot().version();
    let Some(shape) = Shape::of(query).filter(|_| is_committed) else { return Ok(None) };
    let Some(lookup) = Serving::bind(&context.planner(), &shape, &parameters.types).await? else { return Ok(None) };
    let planning = planning.elapsed();
    let mut rows = None;
    if options.analyze {
        let execution = Stopwatch::start();
        let Some(found) = lookup.answer(&parameters.values, context.now_us)? else { return Ok(None) };
        rows = Some((found.count(), execution.elapsed()));
    }
    Ok(Some(crate::engine::explain_lookup(&lookup, rows, options, planning)))
}

fn answer(explain: &Explain, lines: Vec<String>) -> Result<Response> {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(lines));
    let batch = RecordBatch::try_new(explain_schema(explain), vec![column])
        .map_err(|error| Error::internal("the lines of a plan").with_source(error))?;
    Ok(Response::batch(batch, RowsTag::Explain))
}

fn options(explain: &Explain) -> Result<ExplainOptions> {
    let json = match explain.format {
        ExplainFormat::Text => false,
        ExplainFormat::Json => true,
        ExplainFormat::Xml | ExplainFormat::Yaml => {
            return Err(Error::not_supported("EXPLAIN in a format other than text and JSON"));
        }
    };
    if let Some(name) = UNKNOWN.iter().find(|name| explain.switch(name) == Some(true)) {
        return Err(Error::not_supported(format!("EXPLAIN ({})", name.to_uppercase()))
            .with_hint("ANALYZE shows what was read from files, held in memory and written to disk"));
    }
    if !explain.analyze && explain.switch("timing") == Some(true) {
        return Err(Error::new(Kind::InvalidParameterValue, "EXPLAIN option TIMING requires ANALYZE"));
    }
    Ok(ExplainOptions {
        analyze: explain.analyze,
        verbose: explain.verbose,
        costs: explain.switch("costs").unwrap_or(true),
        timing: explain.switch("timing").unwrap_or(true),
        summary: explain.switch("summary").unwrap_or(explain.analyze),
        json,
    })
}
