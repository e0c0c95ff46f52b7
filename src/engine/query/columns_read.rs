//! Which columns of a relation a statement names: what rights on single columns are checked against.
//!
//! As in PostgreSQL a column counts wherever it is named, also where the answer does not depend on it: `SELECT *` names
//! all of them, `count(*)` none. So the plan is looked at as it was made of the statement, before it is optimized.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, TableSource};

use crate::error::Result;

/// The columns that the plan names of a relation; `None` if it does not read it.
pub fn columns_read(plan: &LogicalPlan, relation: &Arc<dyn TableSource>) -> Result<Option<BTreeSet<String>>> {
    // a view's own plan stands in the place of its scan
    let inlined = relation.get_logical_plan().map(|plan| plan.into_owned());
    let mut reader = Reader { relation, inlined, is_read: false, named: BTreeSet::new() };
    reader.walk(plan, &[])?;
    Ok(reader.is_read.then_some(reader.named))
}

struct Reader<'a> {
    relation: &'a Arc<dyn TableSource>,
    inlined: Option<LogicalPlan>,
    is_read: bool,
    named: BTreeSet<String>,
}

/// What a plan gives: which of its columns are the relation's own, as they are.
#[derive(Debug, Clone)]
struct Output {
    schema: DFSchemaRef,
    /// by column of the schema
    origins: Vec<Option<String>>,
}

impl Output {
    fn find(&self, column: &Column) -> Option<usize> {
        self.schema.index_of_column_by_name(column.relation.as_ref(), &column.name)
    }
}

impl Reader<'_> {
    /// `outer`: what subqueries may refer to, the nearest last.
    fn walk(&mut self, plan: &LogicalPlan, outer: &[Output]) -> DataFusionResult<Output> {
        if self.is_relation(plan) {
            self.is_read = true;
            let origins = plan.schema().fields().iter().map(|field| Some(field.name().clone())).collect();
            return Ok(Output { schema: Arc::clone(plan.schema()), origins });
        }
        let mut inputs: Vec<Output> = Vec::new();
        for input in plan.inputs() {
            // the right side of a lateral join sees the left
            let seen: Vec<Output> = match plan {
                LogicalPlan::Join(_) => outer.iter().chain(&inputs).cloned().collect(),
                _ => outer.to_vec(),
            };
            inputs.push(self.walk(input, &seen)?);
        }
        for expr in plan.expressions() {
            self.name(&expr, &inputs, outer)?;
        }
        let mut origins: Vec<Option<String>> = match plan {
            LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Distinct(Distinct::All(_))
            | LogicalPlan::Join(_)
            | LogicalPlan::Window(_) => inputs.iter().flat_map(|input| input.origins.iter().cloned()).collect(),
            LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(Distinct::On(_)) => {
                Vec::new()
            }
            // what anything else does with its input is not known: it reads all of it
            _ => {
                let columns = inputs.iter().flat_map(|input| input.origins.iter().flatten());
                self.named.extend(columns.cloned());
                Vec::new()
            }
        };
        let n_columns = plan.schema().fields().len();
        if origins.len() > n_columns {
            // a join that leaves columns of its inputs out
            self.named.extend(origins.drain(..).flatten());
        }
        origins.resize(n_columns, None);
        Ok(Output { schema: Arc::clone(plan.schema()), origins })
    }

    fn is_relation(&self, plan: &LogicalPlan) -> bool {
        match (plan, &self.inlined) {
            (LogicalPlan::TableScan(scan), None) => Arc::ptr_eq(&scan.source, self.relation),
            (LogicalPlan::SubqueryAlias(alias), Some(inlined)) => alias.input.as_ref() == inlined,
            _ => false,
        }
    }

    /// Names the columns of an expression over `inputs`.
    fn name(&mut self, expr: &Expr, inputs: &[Output], outer: &[Output]) -> DataFusionResult<()> {
        expr.apply(|expr| {
            let subquery = match expr {
                Expr::Column(column) => {
                    self.name_column(column, inputs.iter());
                    None
                }
                Expr::OuterReferenceColumn(_, column) => {
                    self.name_column(column, outer.iter().rev());
                    None
                }
                Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
                Expr::Exists(exists) => Some(&exists.subquery.subquery),
                Expr::InSubquery(within) => Some(&within.subquery.subquery),
                Expr::SetComparison(comparison) => Some(&comparison.subquery.subquery),
                _ => None,
            };
            if let Some(subquery) = subquery {
                let seen: Vec<Output> = outer.iter().chain(inputs).cloned().collect();
                let output = self.walk(subquery, &seen)?;
                self.named.extend(output.origins.into_iter().flatten());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn name_column<'o>(&mut self, column: &Column, mut places: impl Iterator<Item = &'o Output>) {
        let found = places.find_map(|output| Some(&output.origins[output.find(column)?]));
        match found {
            Some(origin) => self.named.extend(origin.clone()),
            // nobody knows whose it is: as if it were each of that name
            None => self.named.extend([column.name.clone()]),
        }
    }
}
