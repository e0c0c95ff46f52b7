//! Where the columns of a query's answer come from: clients are told of which relation's column one is, and of the type
//! that it was declared as.

use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan};

/// The relation of a column, as the query names it, and the column's name there.
pub type Origin = Option<(TableReference, String)>;

/// One for each output column; `is_view` says which names are views, whose own columns they are.
pub fn origins(plan: &LogicalPlan, is_view: &dyn Fn(&TableReference) -> bool) -> Vec<Origin> {
    let n_columns = plan.schema().fields().len();
    let of_input = |input: &LogicalPlan| origins(input, is_view);
    let of_expr = |expr: &Expr, input: &LogicalPlan, inner: &[Origin]| -> Origin {
        let column = column_of(expr)?;
        inner.get(input.schema().maybe_index_of_column(column)?).cloned().flatten()
    };
    match plan {
        LogicalPlan::TableScan(scan) => {
            let fields = scan.projected_schema.fields().iter();
            fields.map(|field| Some((scan.table_name.clone(), field.name().clone()))).collect()
        }
        LogicalPlan::SubqueryAlias(alias) if is_view(&alias.alias) && !is_relation(&alias.input) => {
            plan.schema().fields().iter().map(|field| Some((alias.alias.clone(), field.name().clone()))).collect()
        }
        LogicalPlan::SubqueryAlias(alias) => of_input(&alias.input),
        LogicalPlan::Projection(projection) => {
            let inner = of_input(&projection.input);
            projection.expr.iter().map(|expr| of_expr(expr, &projection.input, &inner)).collect()
        }
        LogicalPlan::Filter(filter) => of_input(&filter.input),
        LogicalPlan::Sort(sort) => of_input(&sort.input),
        LogicalPlan::Limit(limit) => of_input(&limit.input),
        LogicalPlan::Distinct(datafusion::logical_expr::Distinct::All(input)) => of_input(input),
        LogicalPlan::Aggregate(aggregate) => {
            let inner = of_input(&aggregate.input);
            let keys = aggregate.group_expr.iter().map(|expr| of_expr(expr, &aggregate.input, &inner));
            keys.chain(std::iter::repeat(None)).take(n_columns).collect()
        }
        LogicalPlan::Window(window) => {
            of_input(&window.input).into_iter().chain(std::iter::repeat(None)).take(n_columns).collect()
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => of_input(&join.left),
            JoinType::RightSemi | JoinType::RightAnti => of_input(&join.right),
            JoinType::LeftMark | JoinType::RightMark => vec![None; n_columns],
            _ => of_input(&join.left).into_iter().chain(of_input(&join.right)).collect(),
        },
        _ => vec![None; n_columns],
    }
}

/// Whether it stands for a relation under its own name or another.
fn is_relation(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::TableScan(_) | LogicalPlan::SubqueryAlias(_))
}

fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => column_of(&alias.expr),
        _ => None,
    }
}
