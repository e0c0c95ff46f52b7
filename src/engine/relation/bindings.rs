//! What a query binds of a feature relation by equality: keys and the time, read off its pushed-down filters.

use std::collections::HashSet;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast};

/// The values that one column is bound to; empty if nothing can match.
pub type KeyBinding = Vec<ScalarValue>;

/// By column name: what the filters leave of it.
#[derive(Debug, Default, Clone)]
pub struct Bindings {
    columns: Vec<(String, KeyBinding)>,
}

impl Bindings {
    /// Reads conjuncts; those that bind nothing are left for a filter above.
    pub fn of(filters: &[Expr], data_type_of: impl Fn(&str) -> Option<DataType>) -> Bindings {
        let mut bindings = Bindings::default();
        for filter in filters {
            if let Some((column, values)) = binding(filter, &data_type_of) {
                bindings.add(column, values);
            }
        }
        bindings
    }

    /// Takes `column IS NULL` for a binding, too: to NULL.
    pub fn with_nulls(mut self, filters: &[Expr], data_type_of: impl Fn(&str) -> Option<DataType>) -> Bindings {
        for filter in filters {
            if let Some((column, null)) = null_binding(filter, &data_type_of) {
                self.add(column, vec![null]);
            }
        }
        self
    }

    fn add(&mut self, column: String, values: KeyBinding) {
        match self.columns.iter_mut().find(|(name, _)| *name == column) {
            Some((_, known)) => known.retain(|value| values.contains(value)),
            None => {
                let mut seen = HashSet::new();
                let unique = values.into_iter().filter(|value| seen.insert(value.clone())).collect();
                self.columns.push((column, unique));
            }
        }
    }

    pub fn get(&self, column: &str) -> Option<&KeyBinding> {
        self.columns.iter().find(|(name, _)| name == column).map(|(_, values)| values)
    }
}

/// The column that a conjunct binds, and its values in the column's own type; NULL matches nothing.
pub fn binding(filter: &Expr, data_type_of: &impl Fn(&str) -> Option<DataType>) -> Option<(String, KeyBinding)> {
    let (column, literals) = equalities(filter)?;
    let data_type = data_type_of(&column.name)?;
    let values = literals.iter().filter_map(|literal| same_value(literal, &data_type)).collect();
    Some((column.name.clone(), values))
}

/// The column that a conjunct says is NULL, and NULL in its type.
pub fn null_binding(filter: &Expr, data_type_of: &impl Fn(&str) -> Option<DataType>) -> Option<(String, ScalarValue)> {
    let Expr::IsNull(inner) = filter else { return None };
    let column = column_of(inner)?;
    let null = ScalarValue::try_new_null(&data_type_of(&column.name)?).ok()?;
    Some((column.name.clone(), null))
}

fn equalities(expr: &Expr) -> Option<(&Column, Vec<ScalarValue>)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (column_of(left), column_of(right)) {
            (Some(column), None) => Some((column, vec![literal_of(right)?.clone()])),
            (None, Some(column)) => Some((column, vec![literal_of(left)?.clone()])),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (column, mut values) = equalities(left)?;
            let (other, more) = equalities(right)?;
            values.extend(more);
            (column == other).then_some((column, values))
        }
        Expr::InList(list) if !list.negated => {
            let column = column_of(&list.expr)?;
            let values = list.list.iter().map(|item| literal_of(item).cloned()).collect::<Option<_>>()?;
            Some((column, values))
        }
        Expr::ScalarFunction(call) if call.name() == "array_has" && call.args.len() == 2 => {
            let column = column_of(&call.args[1])?;
            Some((column, list_items(literal_of(&call.args[0])?)?))
        }
        _ => None,
    }
}

fn list_items(list: &ScalarValue) -> Option<Vec<ScalarValue>> {
    let ScalarValue::List(array) = list else { return None };
    if array.is_empty() || array.is_null(0) {
        return Some(Vec::new());
    }
    let items = array.value(0);
    (0..items.len()).map(|index| ScalarValue::try_from_array(&items, index).ok()).collect()
}

/// The column itself, or one that type coercion has wrapped.
pub fn column_of(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => column_of(expr),
        Expr::Alias(alias) => column_of(&alias.expr),
        _ => None,
    }
}

fn literal_of(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        Expr::Alias(alias) => literal_of(&alias.expr),
        _ => None,
    }
}

/// The literal in the column's type; None if no value of that type equals it.
fn same_value(literal: &ScalarValue, data_type: &DataType) -> Option<ScalarValue> {
    if literal.is_null() {
        return None;
    }
    let cast = literal.cast_to(data_type).ok()?;
    let back = cast.cast_to(&literal.data_type()).ok()?;
    (back == *literal && !cast.is_null()).then_some(cast)
}
