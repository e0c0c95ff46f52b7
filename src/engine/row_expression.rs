//! An expression over the rows of one table, outside of any query: a CHECK, a DEFAULT.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ExprSchemable, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;
use sqlparser::ast;

use super::arithmetic::checked;
use super::query::QueryPlanner;
use crate::error::Result;

/// Made once, for any number of batches.
#[derive(Debug, Clone)]
pub struct RowExpression(Arc<dyn PhysicalExpr>);

impl RowExpression {
    /// `expr` over the columns of `table`; `data_type`: what its values are cast to.
    pub fn of(
        planner: &QueryPlanner,
        expr: ast::Expr,
        (table, columns): (&str, &SchemaRef),
        data_type: Option<&DataType>,
    ) -> Result<RowExpression> {
        let schema = DFSchema::try_from_qualified_schema(TableReference::bare(table), columns)?;
        let text = expr.to_string();
        let mut planned = planner.plan_expression(expr, &schema, &text)?;
        if let Some(data_type) = data_type {
            planned = cast(planned, data_type.clone());
        }
        let state = planner.state();
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        // the time of now() is that of the statement
        let simplifier = ExprSimplifier::new(context);
        let planned = simplifier.simplify(checked(simplifier.coerce(planned, &schema)?, &schema)?.data)?;
        Ok(RowExpression(state.create_physical_expr(planned, &schema)?))
    }

    /// The type of an expression over these columns.
    pub fn type_of(planner: &QueryPlanner, expr: ast::Expr, (table, columns): (&str, &SchemaRef)) -> Result<DataType> {
        let schema = DFSchema::try_from_qualified_schema(TableReference::bare(table), columns)?;
        let text = expr.to_string();
        Ok(planner.plan_expression(expr, &schema, &text)?.get_type(&schema)?)
    }

    pub fn values(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        Ok(self.0.evaluate(rows)?.into_array(rows.num_rows())?)
    }
}
