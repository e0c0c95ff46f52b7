//! RETURNING: expressions over the rows that a statement has stored or removed, and over what it has joined them with.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use sqlparser::ast;

use super::changing::{Changed, parse_query};
use super::context::StatementContext;
use super::execute::{Parameters, Response, RowsTag};
use super::table::has_subquery;
use crate::engine::{Labels, LogicalPlan, OtherColumns, bind_parameters, output_schema, returned_rows, run};
use crate::error::{Error, Result};

/// What a statement returns of its rows.
pub struct Returning {
    items: Vec<ast::SelectItem>,
    labels: Labels,
}

impl Returning {
    pub fn of(changed: &Changed, items: Option<&Vec<ast::SelectItem>>) -> Result<Option<Returning>> {
        let Some(items) = items else { return Ok(None) };
        if items.iter().any(has_subquery) {
            return Err(Error::not_supported("a subquery in RETURNING"));
        }
        let mut query = parse_query("SELECT 1")?;
        if let ast::SetExpr::Select(select) = query.body.as_mut() {
            select.projection.clone_from(items);
        }
        changed.unqualify(&mut query);
        let mut statement = ast::Statement::Query(Box::new(query));
        let labels = Labels::take(&mut statement);
        let ast::Statement::Query(query) = statement else { return Ok(None) };
        let ast::SetExpr::Select(select) = *query.body else { return Ok(None) };
        Ok(Some(Returning { items: select.projection, labels }))
    }

    /// The plan of what is returned of rows in the target's columns, and those of `others`.
    pub fn plan(
        &self,
        context: &StatementContext,
        changed: &Changed,
        (others, parameters): (&OtherColumns, &Parameters),
        rows: Vec<RecordBatch>,
    ) -> Result<LogicalPlan> {
        let planner = context.planner().with_parameters(parameters.types.clone(), &parameters.values);
        let alias = granary_sql::name::fold(&changed.alias);
        let own = (alias.as_str(), changed.target.nullable_schema());
        let plan = returned_rows(&planner, &self.items, (own, others), (rows, &context.text))?;
        bind_parameters(plan, &parameters.values)
    }

    pub fn schema(&self, plan: &LogicalPlan) -> SchemaRef {
        self.labels.apply(&output_schema(plan))
    }

    pub async fn response(&self, context: &StatementContext, plan: LogicalPlan, tag: RowsTag) -> Result<Response> {
        let schema = self.schema(&plan);
        // whatever fails now fails the statement
        let rows: Vec<RecordBatch> =
            run(&context.planner().state(), &plan).await?.map_err(Error::from).try_collect().await?;
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
        Ok(Response::Rows { schema: Arc::clone(&schema), rows, tag })
    }
}
