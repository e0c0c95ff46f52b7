//! Arrays.

use std::sync::Arc;

use super::{casts, int, text};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::text::parse;
use crate::types::{self as t, Type};
use crate::value::{Array, Value, compare};

fn array(value: &Value) -> Arc<Array> {
    value.as_array().cloned().unwrap_or_else(|| Arc::new(Array::of(Vec::new())))
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn one_dimension(array: &Array) -> Result<()> {
    if array.dimensions.len() > 1 {
        return Err(Error::new("0A000", "searching for elements in multidimensional arrays is not supported"));
    }
    Ok(())
}

fn same(left: &Value, right: &Value) -> bool {
    compare(left, right).is_eq()
}

pub fn function(proc: &Proc, arguments: &[Type], result: &Type) -> Option<Function> {
    let dimension = |array: &Array, number: i64| {
        usize::try_from(number - 1).ok().and_then(|number| array.dimensions.get(number).copied())
    };
    let result = result.clone();
    Some(match proc.source {
        "array_length" => Function::new("array_length", move |_, values| {
            Ok(dimension(&array(&values[0]), int(&values[1])).map_or(Value::Null, |(length, _)| count(length)))
        }),
        "array_lower" => Function::new("array_lower", move |_, values| {
            Ok(dimension(&array(&values[0]), int(&values[1]))
                .map_or(Value::Null, |(_, lower)| Value::Int(i64::from(lower))))
        }),
        "array_upper" => Function::new("array_upper", move |_, values| {
            let found = dimension(&array(&values[0]), int(&values[1]));
            Ok(found.map_or(Value::Null, |(length, lower)| {
                Value::Int(i64::from(lower) + i64::try_from(length).unwrap_or(0) - 1)
            }))
        }),
        "array_ndims" => Function::new("array_ndims", |_, values| {
            let n = array(&values[0]).dimensions.len();
            Ok(if n == 0 { Value::Null } else { count(n) })
        }),
        "array_dims" => Function::new("array_dims", |_, values| {
            let array = array(&values[0]);
            let dims = array.dimensions.iter().map(|(length, lower)| {
                format!("[{lower}:{}]", i64::from(*lower) + i64::try_from(*length).unwrap_or(0) - 1)
            });
            Ok(if array.dimensions.is_empty() { Value::Null } else { Value::text(dims.collect::<String>()) })
        }),
        "array_cardinality" => Function::new("cardinality", |_, values| Ok(count(array(&values[0]).items.len()))),
        "array_append" => Function::new("array_append", |_, values| longer(&array(&values[0]), None, Some(&values[1]))),
        "array_prepend" => {
            Function::new("array_prepend", |_, values| longer(&array(&values[1]), Some(&values[0]), None))
        }
        "array_cat" => Function::new("array_cat", |_, values| match (&values[0], &values[1]) {
            (Value::Null, other) | (other, Value::Null) => Ok(other.clone()),
            (left, right) => cat(&array(left), &array(right)),
        }),
        "array_position" | "array_position_start" => Function::new("array_position", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let array = array(&values[0]);
            one_dimension(&array)?;
            let lower = array.dimensions.first().map_or(1, |(_, lower)| i64::from(*lower));
            if values.get(2).is_some_and(Value::is_null) {
                return Err(Error::new("22004", "initial position must not be null"));
            }
            let from = values.get(2).map_or(0, |start| usize::try_from(int(start) - lower).unwrap_or(0));
            let found = array.items.iter().enumerate().skip(from).find(|(_, item)| same(item, &values[1]));
            Ok(found.map_or(Value::Null, |(place, _)| Value::Int(i64::try_from(place).unwrap_or(0) + lower)))
        }),
        "array_positions" => Function::new("array_positions", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let array = array(&values[0]);
            one_dimension(&array)?;
            let places = array
                .items
                .iter()
                .zip(array.dimensions.first().map_or(1, |(_, lower)| i64::from(*lower))..)
                .filter(|(item, _)| same(item, &values[1]))
                .map(|(_, place)| Value::Int(place));
            Ok(Value::array(places.collect()))
        }),
        "array_remove" => Function::new("array_remove", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let array = array(&values[0]);
            if array.dimensions.len() > 1 {
                return Err(Error::new("0A000", "removing elements from multidimensional arrays is not supported"));
            }
            let items: Vec<Value> = array.items.iter().filter(|item| !same(item, &values[1])).cloned().collect();
            if items.is_empty() {
                return Ok(Value::array(items));
            }
            let dimensions = array.dimensions.iter().map(|(_, lower)| (items.len(), *lower)).collect();
            Ok(Value::Array(Arc::new(Array { dimensions, items })))
        }),
        "array_replace" => Function::new("array_replace", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let array = array(&values[0]);
            let items = array
                .items
                .iter()
                .map(|item| if same(item, &values[1]) { values[2].clone() } else { item.clone() })
                .collect();
            Ok(Value::Array(Arc::new(Array { dimensions: array.dimensions.clone(), items })))
        }),
        "array_fill" | "array_fill_with_lower_bounds" => Function::new("array_fill", |_, values| {
            if values[1..].iter().any(Value::is_null) {
                return Err(Error::new("22004", "dimension array or low bound array cannot be null"));
            }
            let numbers = |value: &Value| -> Result<Vec<i64>> {
                let array = array(value);
                if array.dimensions.len() > 1 {
                    return Err(Error::new("2202E", "wrong number of array subscripts")
                        .with_detail("Dimension array must be one dimensional."));
                }
                if array.items.iter().any(Value::is_null) {
                    return Err(Error::new("22004", "dimension values cannot be null"));
                }
                Ok(array.items.iter().map(int).collect())
            };
            let lengths = numbers(&values[1])?;
            let bounds = values.get(2).map_or_else(|| Ok(Vec::new()), numbers)?;
            if values.len() > 2 && bounds.len() != lengths.len() {
                return Err(Error::new("2202E", "wrong number of array subscripts")
                    .with_detail("Low bound array has different size than dimensions array."));
            }
            let too_large = || Error::new("54000", "array size exceeds the maximum allowed (134217727)");
            let mut n = 1_usize;
            for length in &lengths {
                n = n.saturating_mul(usize::try_from(*length).map_err(|_| too_large())?);
            }
            if n > 10_000_000 {
                return Err(too_large());
            }
            let lower = |index: usize| bounds.get(index).and_then(|bound| i32::try_from(*bound).ok()).unwrap_or(1);
            let dimensions =
                lengths.iter().enumerate().map(|(index, length)| (usize::try_from(*length).unwrap_or(0), lower(index)));
            Ok(if n == 0 {
                Value::array(Vec::new())
            } else {
                Value::Array(Arc::new(Array { dimensions: dimensions.collect(), items: vec![values[0].clone(); n] }))
            })
        }),
        "array_trim" | "trim_array" => Function::new("trim_array", |_, values| {
            let array = array(&values[0]);
            let length = array.dimensions.first().map_or(0, |(length, _)| *length);
            let n = usize::try_from(int(&values[1])).ok().filter(|n| *n <= length);
            let n = n.ok_or_else(|| {
                Error::new("2202E", format!("number of elements to trim must be between 0 and {length}"))
            })?;
            if n == length {
                return Ok(Value::array(Vec::new()));
            }
            let size = array.items.len() / length;
            let items = array.items[..size * (length - n)].to_vec();
            let mut dimensions = array.dimensions.clone();
            // slices count from one
            dimensions.iter_mut().for_each(|(_, lower)| *lower = 1);
            dimensions[0].0 = length - n;
            Ok(Value::Array(Arc::new(Array { dimensions, items })))
        }),
        "array_to_text" | "array_to_text_null" => {
            let element = arguments[0].element().unwrap_or(Type::of(t::TEXT));
            Function::new("array_to_string", move |context, values| {
                if values[0].is_null() || values[1].is_null() {
                    return Ok(Value::Null);
                }
                let null = values.get(2).and_then(Value::as_text);
                let array = array(&values[0]);
                let items = array.items.iter().filter_map(|item| match item {
                    Value::Null => null.map(str::to_owned),
                    item => casts::shown(context.world, item, &element, context.clock),
                });
                Ok(Value::text(items.collect::<Vec<_>>().join(text(&values[1]))))
            })
        }
        "text_to_array" | "text_to_array_null" => Function::new("string_to_array", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let whole = text(&values[0]);
            let parts: Vec<String> = match &values[1] {
                _ if whole.is_empty() => Vec::new(),
                Value::Null => whole.chars().map(String::from).collect(),
                separator if text(separator).is_empty() => vec![whole.to_owned()],
                separator => whole.split(text(separator)).map(str::to_owned).collect(),
            };
            let null = values.get(2).and_then(Value::as_text);
            Ok(Value::array(
                parts
                    .into_iter()
                    .map(|part| if Some(part.as_str()) == null { Value::Null } else { Value::text(part) })
                    .collect(),
            ))
        }),
        "arraycontains" => Function::new("array_contains", |_, values| {
            Ok(Value::Bool(contains(&array(&values[0]), &array(&values[1]))))
        }),
        "arraycontained" => Function::new("array_contained", |_, values| {
            Ok(Value::Bool(contains(&array(&values[1]), &array(&values[0]))))
        }),
        "arrayoverlap" => Function::new("array_overlap", |_, values| {
            let (left, right) = (array(&values[0]), array(&values[1]));
            let meets =
                left.items.iter().any(|item| !item.is_null() && right.items.iter().any(|other| same(item, other)));
            Ok(Value::Bool(meets))
        }),
        "array_in" => Function::new("array_in", move |context, values| parse(text(&values[0]), &result, context.clock)),
        "array_larger" | "array_smaller" => {
            let is_larger = proc.source == "array_larger";
            Function::new("array_extreme", move |_, values| {
                let first = (compare(&values[0], &values[1]).is_ge()) == is_larger;
                Ok(values[usize::from(!first)].clone())
            })
        }
        _ => return None,
    })
}

/// An array of one dimension with an item more at either end. Errors: 22000.
fn longer(array: &Array, before: Option<&Value>, behind: Option<&Value>) -> Result<Value> {
    if array.dimensions.len() > 1 {
        return Err(Error::new("22000", "argument must be empty or one-dimensional array"));
    }
    let items: Vec<Value> = before.into_iter().chain(&array.items).chain(behind).cloned().collect();
    let lower = array.dimensions.first().map_or(1, |(_, lower)| *lower);
    Ok(Value::Array(Arc::new(Array { dimensions: vec![(items.len(), lower)], items })))
}

fn cat(left: &Array, right: &Array) -> Result<Value> {
    if right.items.is_empty() {
        return Ok(Value::Array(Arc::new(left.clone())));
    }
    if left.items.is_empty() {
        return Ok(Value::Array(Arc::new(right.clone())));
    }
    let incompatible = || Error::new("2202E", "cannot concatenate incompatible arrays");
    let items = || left.items.iter().chain(&right.items).cloned().collect::<Vec<_>>();
    let (outer, rest) = match left.dimensions.len().cmp(&right.dimensions.len()) {
        std::cmp::Ordering::Equal if left.dimensions[1..] == right.dimensions[1..] => {
            ((left.dimensions[0].0 + right.dimensions[0].0, left.dimensions[0].1), left.dimensions[1..].to_vec())
        }
        std::cmp::Ordering::Greater if left.dimensions[1..] == right.dimensions[..] => {
            ((left.dimensions[0].0 + 1, left.dimensions[0].1), right.dimensions.clone())
        }
        std::cmp::Ordering::Less if right.dimensions[1..] == left.dimensions[..] => {
            ((right.dimensions[0].0 + 1, right.dimensions[0].1), left.dimensions.clone())
        }
        _ => return Err(incompatible()),
    };
    Ok(Value::Array(Arc::new(Array { dimensions: std::iter::once(outer).chain(rest).collect(), items: items() })))
}

fn contains(array: &Array, part: &Array) -> bool {
    part.items.iter().all(|item| !item.is_null() && array.items.iter().any(|other| same(item, other)))
}
