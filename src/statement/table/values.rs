//! Rows that a statement has as constants or parameters, each in the type of its column: they need no planner. Whatever
//! would be cast, computed or refused is left to it, so that there is one way to do so.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, TimeUnit};
use granary_sql::name::parts;
use granary_sql::timestamp::parse_timestamp;
use sqlparser::ast;

use super::Target;
use crate::row::{Value, array_of};
use crate::statement::execute::Parameters;

/// A number of so many digits is a float64 exactly as it is written, however it is read.
const EXACT_DIGITS: usize = 15;

/// The rows of `INSERT … VALUES`, in the columns of the target; `None` if a planner has to make them, or to refuse them.
pub fn constant_rows(insert: &ast::Insert, target: &Target, parameters: &Parameters) -> Option<RecordBatch> {
    let query = insert.source.as_deref()?;
    let ast::SetExpr::Values(values) = query.body.as_ref() else { return None };
    if insert.on.is_some()
        || insert.returning.is_some()
        || query.with.is_some()
        || query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
    {
        return None;
    }
    let n_rows = values.rows.len();
    let places = places(insert, target, values.rows.first()?.content.len())?;
    // what a column has by default is for a planner
    if target.columns.iter().enumerate().any(|(place, column)| column.default.is_some() && !places.contains(&place))
        || target.columns.iter().any(|column| column.default.as_ref().is_some_and(|default| default.identity.is_some()))
    {
        return None;
    }
    let mut columns = vec![Vec::with_capacity(n_rows); target.columns.len()];
    for row in &values.rows {
        if row.content.len() != places.len() {
            return None;
        }
        for (expr, place) in row.content.iter().zip(&places) {
            columns[*place].push(constant(expr, &target.columns[*place].data_type, parameters)?);
        }
    }
    let schema = target.nullable_schema();
    let arrays = columns.iter_mut().zip(schema.fields()).map(|(values, field)| {
        // columns that are not named are NULL
        values.resize_with(n_rows, || None);
        array_of(field.data_type(), values.iter().map(Option::as_ref)).ok()
    });
    RecordBatch::try_new(Arc::clone(&schema), arrays.collect::<Option<Vec<_>>>()?).ok()
}

/// The places in the target of the columns that so many values of a row are for.
pub fn places(insert: &ast::Insert, target: &Target, n_values: usize) -> Option<Vec<usize>> {
    if insert.columns.is_empty() {
        return (n_values <= target.columns.len()).then(|| (0..n_values).collect());
    }
    let mut places = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let [name] = parts(name).try_into().ok()?;
        let place = target.columns.iter().position(|column| column.name == name)?;
        if places.contains(&place) {
            return None;
        }
        places.push(place);
    }
    Some(places)
}

/// A constant of just this type. The outer `None`: it is something else.
fn constant(expr: &ast::Expr, data_type: &DataType, parameters: &Parameters) -> Option<Option<Value>> {
    let (value, is_negative) = match expr {
        ast::Expr::Value(value) => (&value.value, false),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => match expr.as_ref() {
            ast::Expr::Value(value) => (&value.value, true),
            _ => return None,
        },
        _ => return None,
    };
    match value {
        ast::Value::Number(digits, _) => number(digits, is_negative, data_type).map(Some),
        _ if is_negative => None,
        ast::Value::Null => Some(None),
        ast::Value::Boolean(value) if *data_type == DataType::Boolean => Some(Some(Value::Bool(*value))),
        ast::Value::SingleQuotedString(text) => match data_type {
            DataType::Utf8 => Some(Some(Value::Text(text.as_str().into()))),
            DataType::Timestamp(TimeUnit::Microsecond, _) => parse_timestamp(text).ok().map(|us| Some(Value::Int(us))),
            _ => None,
        },
        ast::Value::Placeholder(name) => {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            let (own, value) = parameters.values.get(number.checked_sub(1)?)?;
            match value {
                None => Some(None),
                Some(value) if own == data_type || is_wider(own, data_type) => Some(Some(value.clone())),
                Some(_) => None,
            }
        }
        _ => None,
    }
}

fn number(digits: &str, is_negative: bool, data_type: &DataType) -> Option<Value> {
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let value: i64 = digits.parse().ok()?;
            let value = if is_negative { -value } else { value };
            let fits = match data_type {
                DataType::Int16 => i16::try_from(value).is_ok(),
                DataType::Int32 => i32::try_from(value).is_ok(),
                _ => true,
            };
            fits.then_some(Value::Int(value))
        }
        DataType::Float64 => {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let value: f64 = digits.parse().ok().filter(|_| is_plain && digits.len() <= EXACT_DIGITS)?;
            // zero has no sign before it is a float
            Some(Value::Float(if is_negative && value != 0.0 { -value } else { value }))
        }
        _ => None,
    }
}

/// Whether every value of one type is the same value of the other.
fn is_wider(from: &DataType, to: &DataType) -> bool {
    matches!((from, to), (DataType::Int16, DataType::Int32 | DataType::Int64) | (DataType::Int32, DataType::Int64))
}
