//! RETURNING: expressions over the rows that a statement has stored or removed, and over what it has joined them with.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use granary_sql::name::quote;
use sqlparser::ast;

use super::changing::{Changed, parse_query};
use super::context::StatementContext;
use super::execute::{Parameters, Response, RowsTag};
use super::select;
use super::table::has_subquery;
use crate::engine::{
    GivenRelation, LabeledPlan, Labels, LogicalPlan, OtherColumns, bind_parameters, memory_table, output_schema,
    returned_rows, run,
};
use crate::error::{Error, Result};

/// What a statement returns of its rows.
pub struct Returning {
    /// as they were typed
    typed: Vec<ast::SelectItem>,
    /// without labels
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
        let typed = match query.body.as_ref() {
            ast::SetExpr::Select(select) => select.projection.clone(),
            _ => Vec::new(),
        };
        let mut statement = ast::Statement::Query(Box::new(query));
        let labels = Labels::take(&mut statement);
        let ast::Statement::Query(query) = statement else { return Ok(None) };
        let ast::SetExpr::Select(select) = *query.body else { return Ok(None) };
        Ok(Some(Returning { typed, items: select.projection, labels }))
    }

    /// What is returned of rows in the target's columns, and those of `others`.
    pub async fn plan(
        &self,
        context: &StatementContext,
        changed: &Changed,
        (others, parameters): (&OtherColumns, &Parameters),
        rows: Vec<RecordBatch>,
    ) -> Result<Returned> {
        if others.is_empty()
            && let Some(settled) = self.settled(context, changed, parameters, &rows).await?
        {
            let (plan, labels) = (bind_parameters(settled.plan, &parameters.values)?, settled.labels);
            return Ok(Returned { schema: labels.apply(&output_schema(&plan)), plan });
        }
        let planner = context.planner().with_parameters(parameters.types.clone(), &parameters.values);
        let alias = granary_sql::name::fold(&changed.alias);
        let own = (alias.as_str(), changed.target.nullable_schema());
        let plan = returned_rows(&planner, &self.items, (own, others), (rows, &context.text))?;
        let plan = bind_parameters(plan, &parameters.values)?;
        Ok(Returned { schema: self.labels.apply(&output_schema(&plan)), plan })
    }

    /// As PostgreSQL means it; None if only the engine knows what it calls.
    async fn settled(
        &self,
        context: &StatementContext,
        changed: &Changed,
        parameters: &Parameters,
        rows: &[RecordBatch],
    ) -> Result<Option<LabeledPlan>> {
        let name = granary_sql::name::fold(&changed.alias);
        let mut query = parse_query(&format!("SELECT 1 FROM {}", quote(&name)))?;
        if let ast::SetExpr::Select(select) = query.body.as_mut() {
            select.projection.clone_from(&self.typed);
        }
        let columns = changed.target.columns.clone();
        let schema = changed.target.nullable_schema();
        let rows = rows.iter().map(|rows| RecordBatch::try_new(Arc::clone(&schema), rows.columns().to_vec()));
        let rows = rows.collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = GivenRelation { name, rows: memory_table(schema, rows)?, columns };
        select::plan_settled(context, &query, parameters, rows).await
    }
}

/// What a statement returns, as a plan.
pub struct Returned {
    pub plan: LogicalPlan,
    pub schema: SchemaRef,
}

impl Returned {
    pub async fn response(self, context: &StatementContext, tag: RowsTag) -> Result<Response> {
        let Returned { plan, schema } = self;
        // whatever fails now fails the statement
        let rows: Vec<RecordBatch> =
            run(&context.planner().state(), &plan).await?.map_err(Error::from).try_collect().await?;
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
        Ok(Response::Rows { schema: Arc::clone(&schema), rows, tag })
    }
}
