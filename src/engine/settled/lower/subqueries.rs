//! Queries in expressions.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Spans;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, Subquery};
use granary_postgres::Value as Pg;
use granary_postgres::plan::{self, Body, ExprKind, Query};

use super::{Lower, Lowered, Lowering, Stop};

impl Lower<'_> {
    fn subquery(&mut self, query: &Query) -> Lowering<(Subquery, Vec<Lowered>)> {
        self.may_be_refused = true;
        let (plan, columns) = self.query(query)?;
        let outer_ref_columns = outer_columns(&plan);
        Ok((Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() }, columns))
    }

    pub(super) fn exists(&mut self, query: &Query) -> Lowering<Lowered> {
        let (subquery, _) = self.subquery(query)?;
        Ok(Lowered::new(Expr::Exists(Exists { subquery, negated: false }), DataType::Boolean))
    }

    /// One that cannot have two rows: more are an error that DataFusion does not always see.
    pub(super) fn scalar(&mut self, query: &Query) -> Lowering<Lowered> {
        let is_one_group = match &query.body {
            Body::Select(select) => {
                select.sets.is_empty()
                    && select.grouping.as_ref().is_some_and(|grouping| {
                        grouping.keys.is_empty() && grouping.sets.len() == 1 && grouping.having.is_none()
                    })
            }
            _ => false,
        };
        let is_limited =
            query.is_fixed && matches!(&query.limit, Some(plan::Expr { kind: ExprKind::Constant(Pg::Int(0 | 1)), .. }));
        if !is_one_group && !is_limited || query.offset.is_some() {
            return Err(Stop::NoEqual("a subquery that may have several rows"));
        }
        let (subquery, columns) = self.subquery(query)?;
        let data_type = columns.first().ok_or(Stop::NoEqual("a subquery without columns"))?.data_type.clone();
        Ok(Lowered::new(Expr::ScalarSubquery(subquery), data_type))
    }

    pub(super) fn over_query(
        &mut self,
        left: &[plan::Expr],
        query: &Query,
        (comparison, all): (&plan::Expr, bool),
    ) -> Lowering<Lowered> {
        let name = match &comparison.kind {
            ExprKind::Call { function, .. } => function.name,
            _ => "",
        };
        let negated = match (name, all) {
            ("equal", false) => false,
            ("ne", true) => true,
            _ => return Err(Stop::NoEqual("this comparison with a subquery")),
        };
        let [left] = left else { return Err(Stop::NoEqual("several columns IN a subquery")) };
        let data_type = left.data_type.clone();
        let left = self.expr(left)?;
        let (subquery, columns) = self.subquery(query)?;
        let column = columns.first().ok_or(Stop::NoEqual("a subquery without columns"))?;
        if column.data_type != left.data_type || !super::is_groupable(&left.data_type, &data_type) {
            return Err(Stop::NoEqual("IN over values of two types"));
        }
        let expr = Expr::InSubquery(InSubquery { expr: Box::new(left.expr), subquery, negated });
        Ok(Lowered::new(expr, DataType::Boolean))
    }
}

fn outer_columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.all_out_ref_exprs()
}
