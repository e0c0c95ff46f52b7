//! The value of an expression in the surroundings of a row.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Context, Env, run};
use crate::error::{Error, Result};
use crate::plan::{Expr, ExprKind, SetCall};
use crate::value::{Array, Row, Value, compare};

pub fn is_true(expr: &Expr, context: &Context<'_>, env: &Env<'_>) -> Result<bool> {
    Ok(matches!(eval(expr, context, env)?, Value::Bool(true)))
}

fn all(exprs: &[Expr], context: &Context<'_>, env: &Env<'_>) -> Result<Row> {
    exprs.iter().map(|expr| eval(expr, context, env)).collect()
}

pub fn eval(expr: &Expr, context: &Context<'_>, env: &Env<'_>) -> Result<Value> {
    Ok(match &expr.kind {
        ExprKind::Constant(value) => value.clone(),
        ExprKind::Parameter(index) => context.parameters.get(*index).cloned().unwrap_or(Value::Null),
        ExprKind::Column { level, slot } => {
            let mut at = env;
            for _ in 0..*level {
                at = at.outer.ok_or_else(|| Error::new("XX000", "a column of a row that is not there"))?;
            }
            at.row.get(*slot).cloned().unwrap_or(Value::Null)
        }
        ExprKind::Call { function, arguments, is_strict, .. } => {
            let values = all(arguments, context, env)?;
            if *is_strict && values.iter().any(Value::is_null) {
                return Ok(Value::Null);
            }
            (function.call)(context, &values)?
        }
        ExprKind::Sql { query, arguments, is_strict } => {
            let values = all(arguments, context, env)?;
            if *is_strict && values.iter().any(Value::is_null) {
                return Ok(Value::Null);
            }
            let inner = Context::new(context.world, values);
            let rows = run(query, &inner, None)?;
            rows.first().and_then(|row| row.first()).cloned().unwrap_or(Value::Null)
        }
        ExprKind::And(parts) => logical(parts, false, context, env)?,
        ExprKind::Or(parts) => logical(parts, true, context, env)?,
        ExprKind::Not(inner) => match eval(inner, context, env)? {
            Value::Bool(truth) => Value::Bool(!truth),
            other => other,
        },
        ExprKind::IsNull { inner, negated } => {
            let value = eval(inner, context, env)?;
            let is_null = match &value {
                Value::Record(items) if *negated => !items.iter().all(|item| !item.is_null()),
                Value::Record(items) => items.iter().all(Value::is_null),
                other => other.is_null(),
            };
            Value::Bool(is_null != *negated)
        }
        ExprKind::IsTruth { inner, truth, negated } => {
            let value = eval(inner, context, env)?.as_bool();
            Value::Bool((value == *truth) != *negated)
        }
        ExprKind::IsDistinct { left, right, negated } => {
            let (left, right) = (eval(left, context, env)?, eval(right, context, env)?);
            Value::Bool(compare(&left, &right).is_ne() != *negated)
        }
        ExprKind::Case { branches, otherwise } => {
            for (condition, result) in branches {
                if is_true(condition, context, env)? {
                    return eval(result, context, env);
                }
            }
            match otherwise {
                Some(otherwise) => eval(otherwise, context, env)?,
                None => Value::Null,
            }
        }
        ExprKind::Coalesce(items) => {
            for item in items {
                let value = eval(item, context, env)?;
                if !value.is_null() {
                    return Ok(value);
                }
            }
            Value::Null
        }
        ExprKind::NullIf { left, equal, .. } => {
            if is_true(equal, context, env)? {
                Value::Null
            } else {
                eval(left, context, env)?
            }
        }
        ExprKind::Extreme { items, is_greatest } => {
            let values = all(items, context, env)?.into_iter().filter(|value| !value.is_null());
            let wanted = if *is_greatest { Ordering::Greater } else { Ordering::Less };
            // of equal ones the first
            let best = values.reduce(|best, value| if compare(&value, &best) == wanted { value } else { best });
            best.unwrap_or(Value::Null)
        }
        ExprKind::Array(items) => array(all(items, context, env)?, expr)?,
        ExprKind::Row(items) => Value::record(all(items, context, env)?),
        ExprKind::Field { record, index } => match eval(record, context, env)? {
            Value::Record(items) => items.get(*index).cloned().unwrap_or(Value::Null),
            _ => Value::Null,
        },
        ExprKind::Subscript { array, indexes } => {
            let (array, indexes) = (eval(array, context, env)?, all(indexes, context, env)?);
            subscript(&array, &indexes)
        }
        ExprKind::Slice { array, bounds } => {
            let array = eval(array, context, env)?;
            let mut values = Vec::with_capacity(bounds.len());
            for (lower, upper) in bounds {
                let bound = |bound: &Option<Expr>| bound.as_ref().map(|bound| eval(bound, context, env)).transpose();
                values.push((bound(lower)?, bound(upper)?));
            }
            slice(&array, &values)
        }
        ExprKind::OverArray { left, array, comparison, all: must_all } => {
            let (left, array) = (eval(left, context, env)?, eval(array, context, env)?);
            let Value::Array(array) = array else { return Ok(Value::Null) };
            quantified(array.items.iter(), *must_all, |item| {
                let operands = [left.clone(), item.clone()];
                eval(comparison, context, &Env { operands: &operands, ..*env })
            })?
        }
        ExprKind::Operand(index) => env.operands.get(*index).cloned().unwrap_or(Value::Null),
        ExprKind::Exists(query) => Value::Bool(!run(query, context, Some(env))?.is_empty()),
        ExprKind::Scalar(query) => {
            let rows = run(query, context, Some(env))?;
            match rows.as_slice() {
                [] => Value::Null,
                [row] => row.first().cloned().unwrap_or(Value::Null),
                _ => return Err(Error::new("21000", "more than one row returned by a subquery used as an expression")),
            }
        }
        ExprKind::ArrayOf(query) => {
            let rows = run(query, context, Some(env))?;
            array(rows.iter().map(|row| row.first().cloned().unwrap_or(Value::Null)).collect(), expr)?
        }
        ExprKind::OverQuery { left, query, comparison, all: must_all } => {
            let left = all(left, context, env)?;
            let rows = run(query, context, Some(env))?;
            quantified(rows.iter(), *must_all, |row| {
                let operands: Row =
                    left.iter().zip(row).flat_map(|(left, right)| [left.clone(), right.clone()]).collect();
                eval(comparison, context, &Env { operands: &operands, ..*env })
            })?
        }
        ExprKind::Aggregate(index) => env.group.map_or(Value::Null, |group| group.aggregates[*index].clone()),
        ExprKind::GroupKey(index) => env.group.map_or(Value::Null, |group| group.keys[*index].clone()),
        ExprKind::Grouping(keys) => {
            let in_set = |key: &usize| env.group.is_some_and(|group| group.set.contains(key));
            Value::Int(keys.iter().fold(0, |bits, key| (bits << 1) | i64::from(!in_set(key))))
        }
        ExprKind::Window(index) => env.windows.get(*index).cloned().unwrap_or(Value::Null),
        ExprKind::SetResult(index) => env.sets.get(*index).cloned().unwrap_or(Value::Null),
    })
}

/// AND, or OR: what `decisive` decides.
fn logical(parts: &[Expr], decisive: bool, context: &Context<'_>, env: &Env<'_>) -> Result<Value> {
    let mut is_unknown = false;
    for part in parts {
        match eval(part, context, env)? {
            Value::Bool(truth) if truth == decisive => return Ok(Value::Bool(decisive)),
            Value::Bool(_) => {}
            _ => is_unknown = true,
        }
    }
    Ok(if is_unknown { Value::Null } else { Value::Bool(!decisive) })
}

/// ANY, or ALL, over comparisons.
fn quantified<T>(
    items: impl Iterator<Item = T>,
    all: bool,
    mut compare: impl FnMut(T) -> Result<Value>,
) -> Result<Value> {
    let mut is_unknown = false;
    for item in items {
        match compare(item)? {
            Value::Bool(truth) if truth != all => return Ok(Value::Bool(!all)),
            Value::Bool(_) => {}
            _ => is_unknown = true,
        }
    }
    Ok(if is_unknown { Value::Null } else { Value::Bool(all) })
}

/// What rows a function gives.
pub fn set(call: &SetCall, context: &Context<'_>, env: &Env<'_>) -> Result<Vec<Value>> {
    let values = all(&call.arguments, context, env)?;
    if call.is_strict && values.iter().any(Value::is_null) {
        return Ok(Vec::new());
    }
    (call.function.call)(context, &values)
}

/// Items as an array; arrays of one form become one of more dimensions.
fn array(items: Row, expr: &Expr) -> Result<Value> {
    let of_arrays = match &expr.kind {
        ExprKind::Array(exprs) => exprs.first().is_some_and(|first| first.data_type.is_array()),
        _ => false,
    };
    let nested = of_arrays || items.iter().any(|item| matches!(item, Value::Array(_)));
    let is_vectors = expr.data_type.element().is_some_and(|element| element.is_array());
    if !nested || is_vectors {
        return Ok(Value::array(items));
    }
    let mismatch =
        || Error::new("2202E", "multidimensional arrays must have array expressions with matching dimensions");
    let mut inner: Option<Vec<(usize, i32)>> = None;
    let mut all = Vec::new();
    let n_items = items.len();
    for item in items {
        // NULL is an array of nothing here
        let item = match item {
            Value::Array(item) => item,
            _ => Arc::new(Array::of(Vec::new())),
        };
        match &inner {
            None => inner = Some(item.dimensions.clone()),
            Some(inner) if *inner == item.dimensions => {}
            Some(_) => return Err(mismatch()),
        }
        all.extend(item.items.iter().cloned());
    }
    let inner = inner.unwrap_or_default();
    if all.is_empty() {
        return Ok(Value::array(all));
    }
    let dimensions = std::iter::once((n_items, 1)).chain(inner).collect();
    Ok(Value::Array(Arc::new(Array { dimensions, items: all })))
}

fn subscript(array: &Value, indexes: &[Value]) -> Value {
    let Value::Array(array) = array else { return Value::Null };
    if indexes.len() != array.dimensions.len() {
        return Value::Null;
    }
    let mut place = 0;
    for (index, (length, lower)) in indexes.iter().zip(&array.dimensions) {
        let Value::Int(index) = index else { return Value::Null };
        match usize::try_from(index - i64::from(*lower)) {
            Ok(offset) if offset < *length => place = place * length + offset,
            _ => return Value::Null,
        }
    }
    array.items.get(place).cloned().unwrap_or(Value::Null)
}

fn slice(array: &Value, bounds: &[(Option<Value>, Option<Value>)]) -> Value {
    let Value::Array(array) = array else { return Value::Null };
    let empty = || Value::array(Vec::new());
    if bounds.len() > array.dimensions.len() {
        return empty();
    }
    let mut ranges = Vec::with_capacity(array.dimensions.len());
    for (dimension, (length, lower)) in array.dimensions.iter().enumerate() {
        let (first, last) = (i64::from(*lower), i64::from(*lower) + i64::try_from(*length).unwrap_or(i64::MAX) - 1);
        let (from, to) = match bounds.get(dimension) {
            None => (first, last),
            Some((from, to)) => {
                let bound = |bound: &Option<Value>, otherwise: i64| match bound {
                    None => Some(otherwise),
                    Some(Value::Int(bound)) => Some(*bound),
                    Some(_) => None,
                };
                match (bound(from, first), bound(to, last)) {
                    (Some(from), Some(to)) => (from.max(first), to.min(last)),
                    _ => return Value::Null,
                }
            }
        };
        if from > to {
            return empty();
        }
        ranges.push((usize::try_from(from - first).unwrap_or(0), usize::try_from(to - first).unwrap_or(0)));
    }
    let mut places = vec![0_usize];
    for ((length, _), (from, to)) in array.dimensions.iter().zip(&ranges) {
        places = places.iter().flat_map(|place| (*from..=*to).map(move |offset| place * length + offset)).collect();
    }
    let items = places.into_iter().map(|place| array.items[place].clone()).collect();
    let dimensions = ranges.iter().map(|(from, to)| (to - from + 1, 1)).collect();
    Value::Array(Arc::new(Array { dimensions, items }))
}
