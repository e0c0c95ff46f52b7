//! Which keys of a feature relation a condition names: values of all join keys, and nothing else.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::point_in_time::MAX_CONSTANT_KEYS;
use super::query::QueryPlanner;
use super::relation::{Bindings, BoundView, binding};
use crate::error::{Error, Kind, Result};
use crate::row::{Key, value_at};

/// The keys that the condition of `plan`, a query of one relation, leaves. `None` if it says anything else, or leaves a
/// key open. NULL is no key.
pub fn named_keys(planner: &QueryPlanner, view: &BoundView, plan: &LogicalPlan) -> Result<Option<Vec<Key>>> {
    let state = planner.state();
    let plan = state.analyzer().execute_and_check(plan.clone(), state.config_options(), |_, _| {})?;
    let mut conditions = Vec::new();
    let mut is_plain = true;
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(filter) => {
                conditions.push((filter.predicate.clone(), Arc::clone(filter.input.schema())));
            }
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::TableScan(_) => {}
            _ => is_plain = false,
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let [(predicate, schema)] = conditions.as_slice() else { return Ok(None) };
    if !is_plain {
        return Ok(None);
    }
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(schema))
        .with_config_options(Arc::clone(state.config_options()))
        .with_query_execution_start_time(state.execution_props().query_execution_start_time)
        .build();
    let predicate = ExprSimplifier::new(context).simplify(predicate.clone())?;
    let conjuncts = split_conjunction_owned(predicate);
    if let [Expr::Literal(ScalarValue::Boolean(Some(false) | None), _)] = conjuncts.as_slice() {
        return Ok(Some(Vec::new()));
    }
    let type_of = |name: &str| view.keys.iter().find(|key| key.name == name).map(|key| key.data_type.clone());
    let binds = |conjunct: &Expr| binding(conjunct, &type_of).is_some();
    if !conjuncts.iter().all(binds) {
        return Ok(None);
    }
    let bindings = Bindings::of(&conjuncts, type_of);
    let values: Option<Vec<&Vec<ScalarValue>>> = view.keys.iter().map(|key| bindings.get(&key.name)).collect();
    let Some(values) = values else { return Ok(None) };
    combinations(&values).map(Some)
}

fn combinations(values: &[&Vec<ScalarValue>]) -> Result<Vec<Key>> {
    let count = values.iter().try_fold(1usize, |product, of_key| product.checked_mul(of_key.len()));
    let Some(count) = count.filter(|count| *count <= MAX_CONSTANT_KEYS) else {
        return Err(Error::new(
            Kind::ConfigurationLimitExceeded,
            format!("more than {MAX_CONSTANT_KEYS} keys are named"),
        )
        .with_hint("name them in several statements"));
    };
    let key = |number: usize| {
        let mut rest = number;
        let mut of_row = Vec::with_capacity(values.len());
        for of_key in values {
            of_row.push(value_at(of_key[rest % of_key.len()].to_array()?.as_ref(), 0)?);
            rest /= of_key.len();
        }
        Key::encode(of_row.iter().map(Option::as_ref)).ok_or_else(|| Error::internal("a named key is NULL"))
    };
    (0..count).map(key).collect()
}
