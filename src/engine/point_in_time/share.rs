//! Views over one source read it once: their queries, as long as they go row by row, are taken apart down to what they
//! read, and put together again as one plan with the columns of all.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection, when};

/// A plan's rows as expressions over the rows of `base`, one for one but for those that `filter` leaves out.
#[derive(Debug, Clone)]
pub struct RowByRow {
    pub base: LogicalPlan,
    /// by output column
    pub columns: Vec<Expr>,
    pub filter: Option<Expr>,
}

impl RowByRow {
    pub fn of(plan: &LogicalPlan) -> Result<RowByRow> {
        let columns = columns_of(plan.schema());
        RowByRow { base: plan.clone(), columns, filter: None }.taken_apart()
    }

    fn taken_apart(mut self) -> Result<RowByRow> {
        loop {
            let next = match &self.base {
                LogicalPlan::Projection(projection) => {
                    let by_column = projected(projection);
                    let input = Arc::unwrap_or_clone(Arc::clone(&projection.input));
                    self.over(input, &by_column)?
                }
                LogicalPlan::SubqueryAlias(alias) => {
                    let input = Arc::unwrap_or_clone(Arc::clone(&alias.input));
                    let by_column = by_position(&alias.schema, columns_of(input.schema()));
                    self.over(input, &by_column)?
                }
                LogicalPlan::Filter(filter) => {
                    let predicate = filter.predicate.clone();
                    let filter_so_far = match self.filter.take() {
                        Some(so_far) => predicate.and(so_far),
                        None => predicate,
                    };
                    let base = Arc::unwrap_or_clone(Arc::clone(&filter.input));
                    RowByRow { base, columns: self.columns, filter: Some(filter_so_far) }
                }
                LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
                    let view = source_as_provider(&scan.source)?.get_logical_plan().map(|plan| plan.into_owned());
                    let Some(view) = view else { return Ok(self) };
                    let all = columns_of(view.schema());
                    let outputs = match &scan.projection {
                        Some(places) => places.iter().map(|place| all[*place].clone()).collect(),
                        None => all,
                    };
                    let by_column = by_position(&scan.projected_schema, outputs);
                    self.over(view, &by_column)?
                }
                _ => return Ok(self),
            };
            self = next;
        }
    }

    fn over(&self, base: LogicalPlan, by_column: &HashMap<Column, Expr>) -> Result<RowByRow> {
        Ok(RowByRow {
            base,
            columns: self.columns.iter().map(|column| replace_columns(column, by_column)).collect::<Result<_>>()?,
            filter: self.filter.as_ref().map(|filter| replace_columns(filter, by_column)).transpose()?,
        })
    }
}

/// The rows of several plans as those of one: its columns, and for each plan where its columns stand and which column
/// says that a row is one of its own (none: every row is).
pub struct Shared {
    pub plan: LogicalPlan,
    pub places: Vec<(Vec<usize>, Option<usize>)>,
}

impl RowByRow {
    /// What is not a column alone is calculated for the rows of the filter only: for others it might fail.
    pub fn guarded(self) -> Result<RowByRow> {
        let Some(filter) = &self.filter else { return Ok(self) };
        let guard = |expr: Expr| match expr {
            Expr::Column(_) => Ok(expr),
            expr => when(filter.clone(), expr).end(),
        };
        let columns = self.columns.iter().cloned().map(guard).collect::<Result<_>>()?;
        Ok(RowByRow { columns, ..self })
    }

    /// Whether both can be read at once: of the same rows, with the same first `n_fixed` columns.
    pub fn goes_with(&self, other: &RowByRow, n_fixed: usize) -> bool {
        self.base == other.base && self.columns[..n_fixed] == other.columns[..n_fixed]
    }
}

/// One plan for all of `parts`, which go with each other.
pub fn share(parts: &[RowByRow]) -> Result<Shared> {
    let first = parts.first().ok_or_else(|| DataFusionError::Internal("nothing is shared".into()))?;
    let mut columns: Vec<Expr> = Vec::new();
    let mut place_of = |expr: &Expr| {
        columns.iter().position(|known| known == expr).unwrap_or_else(|| {
            columns.push(expr.clone());
            columns.len() - 1
        })
    };
    let mut places = Vec::with_capacity(parts.len());
    for part in parts {
        let of_part: Vec<usize> = part.columns.iter().map(&mut place_of).collect();
        places.push((of_part, part.filter.as_ref().map(&mut place_of)));
    }
    let any = parts.iter().map(|part| part.filter.clone()).collect::<Option<Vec<_>>>();
    let mut plan = LogicalPlanBuilder::from(first.base.clone());
    if let Some(any) = any.and_then(|filters| filters.into_iter().reduce(Expr::or)) {
        plan = plan.filter(any)?;
    }
    let named = columns.into_iter().enumerate().map(|(place, expr)| expr.alias(format!("_{place}")));
    Ok(Shared { plan: plan.project(named)?.build()?, places })
}

/// The columns of a schema as expressions.
pub fn columns_of(schema: &DFSchema) -> Vec<Expr> {
    schema.iter().map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name()))).collect()
}

fn by_position(schema: &DFSchema, exprs: Vec<Expr>) -> HashMap<Column, Expr> {
    schema
        .iter()
        .zip(exprs)
        .map(|((qualifier, field), expr)| (Column::new(qualifier.cloned(), field.name()), expr))
        .collect()
}

/// What each output column of a projection is, over its input.
pub fn projected(projection: &Projection) -> HashMap<Column, Expr> {
    by_position(&projection.schema, projection.expr.iter().map(|expr| expr.clone().unalias()).collect())
}

pub fn replace_columns(expr: &Expr, by_column: &HashMap<Column, Expr>) -> Result<Expr> {
    let replaced = expr.clone().transform(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match by_column.get(column) {
                Some(replacement) => Transformed::yes(replacement.clone()),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    })?;
    Ok(replaced.data)
}
