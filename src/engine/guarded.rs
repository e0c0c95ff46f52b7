//! `a AND b` and `a OR b` where `b` may fail: DataFusion evaluates both for all rows of a batch, so that
//! `i <> 0 AND 10 / i > 1` divides by zero. Here `b` is asked only where `a` does not decide.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray};
use datafusion::arrow::compute::kernels::boolean::{and_kleene, or_kleene};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, Operator};
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

/// Guards what filters, projections and joins evaluate.
#[derive(Debug)]
pub struct GuardedConditions;

impl PhysicalOptimizerRule for GuardedConditions {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            Ok(match with_guards(&plan)? {
                Some(guarded) => Transformed::yes(guarded),
                None => Transformed::no(plan),
            })
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "guarded_conditions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The operator with guards; None: it needs none.
fn with_guards(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let Some(predicate) = guarded(filter.predicate())? else { return Ok(None) };
        let guarded = FilterExecBuilder::from(filter).with_predicate(predicate).build()?;
        return Ok(Some(Arc::new(guarded)));
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let mut is_changed = false;
        let mut exprs = Vec::with_capacity(projection.expr().len());
        for own in projection.expr() {
            let expr = guarded(&own.expr)?;
            is_changed |= expr.is_some();
            let expr = expr.unwrap_or_else(|| Arc::clone(&own.expr));
            exprs.push(ProjectionExpr { expr, alias: own.alias.clone() });
        }
        if !is_changed {
            return Ok(None);
        }
        return Ok(Some(Arc::new(ProjectionExec::try_new(exprs, Arc::clone(projection.input()))?)));
    }
    let join_filter = |filter: Option<&JoinFilter>| -> Result<Option<JoinFilter>> {
        let Some(filter) = filter else { return Ok(None) };
        let Some(expr) = guarded(filter.expression())? else { return Ok(None) };
        Ok(Some(JoinFilter::new(expr, filter.column_indices().to_vec(), Arc::clone(filter.schema()))))
    };
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let Some(filter) = join_filter(join.filter())? else { return Ok(None) };
        return join.builder().with_filter(Some(filter)).build_exec().map(Some);
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let Some(filter) = join_filter(join.filter())? else { return Ok(None) };
        let builder =
            NestedLoopJoinExecBuilder::new(Arc::clone(join.left()), Arc::clone(join.right()), *join.join_type());
        let join = builder.with_projection_ref(join.projection().clone()).with_filter(Some(filter)).build()?;
        return Ok(Some(Arc::new(join)));
    }
    Ok(None)
}

/// The expression with guards; None: it needs none.
fn guarded(expr: &Arc<dyn PhysicalExpr>) -> Result<Option<Arc<dyn PhysicalExpr>>> {
    // what cannot fail goes first, wherever it stood: an outer query's conditions are put before an inner one's
    let conjuncts = split_conjunction(expr);
    if conjuncts.len() > 1 && conjuncts.iter().any(|part| may_fail(part)) {
        let (failing, safe): (Vec<_>, Vec<_>) = conjuncts.into_iter().partition(|part| may_fail(part));
        let mut parts = Vec::with_capacity(safe.len() + failing.len());
        for part in safe.into_iter().chain(failing) {
            parts.push(guarded(part)?.unwrap_or_else(|| Arc::clone(part)));
        }
        return Ok(parts.into_iter().reduce(|left, right| both(left, right, Operator::And)));
    }
    let mut is_changed = false;
    let mut children = Vec::new();
    for child in expr.children() {
        let own = guarded(child)?;
        is_changed |= own.is_some();
        children.push(own.unwrap_or_else(|| Arc::clone(child)));
    }
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && *binary.op() == Operator::Or
        && (may_fail(&children[1]) || may_fail(&children[0]))
    {
        let right = children.remove(1);
        let left = children.remove(0);
        let in_order = may_fail(&right) || !may_fail(&left);
        let (left, right) = if in_order { (left, right) } else { (right, left) };
        return Ok(Some(both(left, right, Operator::Or)));
    }
    if is_changed { Arc::clone(expr).with_new_children(children).map(Some) } else { Ok(None) }
}

fn both(left: Arc<dyn PhysicalExpr>, right: Arc<dyn PhysicalExpr>, operator: Operator) -> Arc<dyn PhysicalExpr> {
    if may_fail(&right) {
        Arc::new(Guarded { left, right, operator })
    } else {
        Arc::new(BinaryExpr::new(left, operator, right))
    }
}

/// Whether a value of it may be an error.
fn may_fail(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let own = match expr.downcast_ref::<BinaryExpr>() {
        Some(binary) => {
            use Operator as O;
            let compares = matches!(
                binary.op(),
                O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::IsDistinctFrom | O::IsNotDistinctFrom
            );
            !compares && !binary.op().is_logic_operator()
        }
        None => expr.downcast_ref::<CastExpr>().is_some() || expr.downcast_ref::<ScalarFunctionExpr>().is_some(),
    };
    own || expr.children().into_iter().any(may_fail)
}

/// `left AND right`, or `left OR right`, with `right` evaluated where it is needed.
#[derive(Debug)]
struct Guarded {
    left: Arc<dyn PhysicalExpr>,
    right: Arc<dyn PhysicalExpr>,
    operator: Operator,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Guarded) -> bool {
        self.operator == other.operator && self.left.eq(&other.left) && self.right.eq(&other.right)
    }
}

impl Eq for Guarded {}

impl Hash for Guarded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.left.hash(state);
        self.operator.hash(state);
        self.right.hash(state);
    }
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} {} {})", self.left, self.operator, self.right)
    }
}

impl PhysicalExpr for Guarded {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        Ok(self.left.nullable(schema)? || self.right.nullable(schema)?)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let left = self.left.evaluate(batch)?.into_array(batch.num_rows())?;
        let left = as_boolean_array(&left)?;
        let decides = self.operator == Operator::Or;
        let needed: BooleanArray =
            (0..left.len()).map(|row| Some(left.is_null(row) || left.value(row) != decides)).collect();
        if needed.true_count() == 0 {
            return Ok(ColumnarValue::Array(Arc::new(left.clone())));
        }
        let right = self.right.evaluate_selection(batch, &needed)?.into_array(batch.num_rows())?;
        let right = as_boolean_array(&right)?;
        let both = if decides { or_kleene(left, right)? } else { and_kleene(left, right)? };
        Ok(ColumnarValue::Array(Arc::new(both)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.left, &self.right]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let operator = self.operator;
        let mut children = children.into_iter();
        let left = children.next().unwrap_or_else(|| Arc::clone(&self.left));
        let right = children.next().unwrap_or_else(|| Arc::clone(&self.right));
        Ok(Arc::new(Guarded { left, right, operator }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.left.fmt_sql(f)?;
        write!(f, " {} ", self.operator)?;
        self.right.fmt_sql(f)
    }
}
