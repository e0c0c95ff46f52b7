//! Aggregates: from the values of all rows of a group to one.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{casts, float, int, json, text, times, whole};
use crate::error::{Error, Result};
use crate::execute::Context;
use crate::json::Json;
use crate::numeric::Numeric;
use crate::plan::Aggregate;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::{Array, Interval, Row, Value, compare};

type Call = Arc<dyn Fn(&Context<'_>, &[Row], &[Value]) -> Result<Value> + Send + Sync>;

fn given(rows: &[Row]) -> impl Iterator<Item = &Value> {
    rows.iter().filter_map(|row| row.first()).filter(|value| !value.is_null())
}

fn numeric(value: &Value) -> Numeric {
    match value {
        Value::Numeric(number) => number.clone(),
        Value::Int(number) => Numeric::from(*number),
        _ => Numeric::NaN,
    }
}

pub fn function(proc: &'static Proc, arguments: &[Type], result: &Type) -> Option<Aggregate> {
    let first = arguments.first().map_or(0, |argument| argument.oid);
    let result = result.clone();
    let types = arguments.to_vec();
    let call: Call = match proc.name {
        "count" => {
            let counts_rows = arguments.is_empty();
            Arc::new(move |_, rows, _| {
                let n = if counts_rows { rows.len() } else { given(rows).count() };
                Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
            })
        }
        "sum" => Arc::new(move |_, rows, _| sum(rows, first, result.oid)),
        "avg" => Arc::new(move |_, rows, _| average(rows, first)),
        "min" | "max" => {
            let wanted = if proc.name == "max" { Ordering::Greater } else { Ordering::Less };
            Arc::new(move |_, rows, _| {
                let mut best: Option<&Value> = None;
                for value in given(rows) {
                    let order = |left: &Value, right: &Value| {
                        if first == t::INET {
                            super::network::compare(text(left), text(right))
                        } else {
                            compare(left, right)
                        }
                    };
                    if best.is_none_or(|best| order(value, best) == wanted) {
                        best = Some(value);
                    }
                }
                Ok(best.cloned().unwrap_or(Value::Null))
            })
        }
        "bool_and" | "every" | "bool_or" => {
            let decisive = proc.name == "bool_or";
            Arc::new(move |_, rows, _| {
                let mut values = given(rows).filter_map(Value::as_bool).peekable();
                if values.peek().is_none() {
                    return Ok(Value::Null);
                }
                Ok(Value::Bool(if values.any(|truth| truth == decisive) { decisive } else { !decisive }))
            })
        }
        "bit_and" | "bit_or" | "bit_xor" if first == t::BIT => {
            let operator =
                ["&", "|", "#"][["bit_and", "bit_or", "bit_xor"].iter().position(|name| *name == proc.name)?];
            let operator = crate::resolve::operator(operator, Some(t::BIT), t::BIT).ok()?;
            let function = super::bits::function(crate::resolve::proc_of(operator.function)?, arguments)?;
            Arc::new(move |context, rows, _| {
                let mut values = given(rows);
                let Some(mut result) = values.next().cloned() else { return Ok(Value::Null) };
                for value in values {
                    result = (function.call)(context, &[result, value.clone()])?;
                }
                Ok(result)
            })
        }
        "bit_and" | "bit_or" | "bit_xor" if matches!(first, t::INT2 | t::INT4 | t::INT8) => {
            let operation: fn(i64, i64) -> i64 = match proc.name {
                "bit_and" => |left, right| left & right,
                "bit_or" => |left, right| left | right,
                _ => |left, right| left ^ right,
            };
            Arc::new(move |_, rows, _| Ok(given(rows).map(int).reduce(operation).map_or(Value::Null, Value::Int)))
        }
        "array_agg" => {
            let is_nested = types.first().is_some_and(Type::is_array);
            Arc::new(move |_, rows, _| {
                let items: Vec<Value> = rows.iter().filter_map(|row| row.first()).cloned().collect();
                if items.is_empty() {
                    return Ok(Value::Null);
                }
                if !is_nested {
                    return Ok(Value::array(items));
                }
                let mut all = Vec::new();
                let mut inner: Option<Vec<(usize, i32)>> = None;
                for item in &items {
                    let Value::Array(array) = item else {
                        return Err(Error::new("22004", "cannot accumulate null arrays"));
                    };
                    if inner.as_ref().is_some_and(|inner| *inner != array.dimensions) {
                        return Err(Error::new("2202E", "cannot accumulate arrays of different dimensionality"));
                    }
                    inner = Some(array.dimensions.clone());
                    all.extend(array.items.iter().cloned());
                }
                let dimensions = std::iter::once((items.len(), 1)).chain(inner.unwrap_or_default()).collect();
                Ok(Value::Array(Arc::new(Array { dimensions, items: all })))
            })
        }
        "string_agg" if first == t::BYTEA => Arc::new(|_, rows, _| {
            let mut joined: Option<Vec<u8>> = None;
            for row in rows.iter().filter(|row| !row[0].is_null()) {
                match &mut joined {
                    None => joined = Some(super::bytes::bytes(&row[0]).to_vec()),
                    Some(joined) => {
                        joined.extend(super::bytes::bytes(&row[1]));
                        joined.extend(super::bytes::bytes(&row[0]));
                    }
                }
            }
            Ok(joined.map_or(Value::Null, |joined| Value::Bytes(joined.into())))
        }),
        "string_agg" if first == t::TEXT => Arc::new(|_, rows, _| {
            let mut joined: Option<String> = None;
            for row in rows.iter().filter(|row| !row[0].is_null()) {
                match &mut joined {
                    None => joined = Some(text(&row[0]).to_owned()),
                    Some(joined) => {
                        joined.push_str(text(&row[1]));
                        joined.push_str(text(&row[0]));
                    }
                }
            }
            Ok(joined.map_or(Value::Null, Value::text))
        }),
        "json_agg" | "jsonb_agg" => {
            let is_jsonb = proc.name == "jsonb_agg";
            let data_type = types.first()?.clone();
            Arc::new(move |context, rows, _| {
                if rows.is_empty() {
                    return Ok(Value::Null);
                }
                if is_jsonb {
                    let items =
                        rows.iter().map(|row| json::to_json(context, &row[0], &data_type)).collect::<Result<_>>()?;
                    return Ok(Value::jsonb(Json::List(items)));
                }
                let items =
                    rows.iter().map(|row| json::to_text(context, &row[0], &data_type)).collect::<Result<Vec<_>>>()?;
                // records stand in lines of their own
                let between = if rows.iter().any(|row| matches!(row[0], Value::Record(_))) { ", \n " } else { ", " };
                Ok(Value::text(format!("[{}]", items.join(between))))
            })
        }
        "json_object_agg" | "jsonb_object_agg" => {
            let is_jsonb = proc.name == "jsonb_object_agg";
            Arc::new(move |context, rows, _| {
                if rows.is_empty() {
                    return Ok(Value::Null);
                }
                let mut fields = Vec::new();
                for row in rows {
                    let key = casts::shown(context.world, &row[0], &types[0], context.clock)
                        .ok_or_else(|| Error::new("22023", "field name must not be null"))?;
                    if is_jsonb {
                        fields.push((key, json::to_json(context, &row[1], &types[1])?, String::new()));
                    } else {
                        fields.push((key, Json::Null, json::to_text(context, &row[1], &types[1])?));
                    }
                }
                if is_jsonb {
                    return Ok(Value::jsonb(Json::object(
                        fields.into_iter().map(|(key, value, _)| (key, value)).collect(),
                    )));
                }
                let shown: Vec<String> =
                    fields.iter().map(|(key, _, value)| format!("{} : {value}", crate::json::quote(key))).collect();
                Ok(Value::text(format!("{{ {} }}", shown.join(", "))))
            })
        }
        "variance" | "var_samp" | "var_pop" | "stddev" | "stddev_samp" | "stddev_pop" => {
            let is_population = proc.name.ends_with("pop");
            let is_root = proc.name.starts_with("stddev");
            Arc::new(move |_, rows, _| variance(rows, first, is_population, is_root))
        }
        "percentile_cont" | "percentile_disc" => {
            let is_continuous = proc.name == "percentile_cont";
            Arc::new(move |_, rows, direct| {
                let values: Vec<&Value> = given(rows).collect();
                let at = |share: &Value| percentile(&values, share, is_continuous);
                match direct.first() {
                    Some(Value::Array(shares)) => {
                        // errors come first
                        shares.items.iter().try_for_each(|share| checked_share(share).map(|_| ()))?;
                        if values.is_empty() {
                            return Ok(Value::Null);
                        }
                        let items = shares.items.iter().map(at).collect::<Result<_>>()?;
                        Ok(Value::Array(Arc::new(Array { dimensions: shares.dimensions.clone(), items })))
                    }
                    Some(share) => at(share),
                    None => Ok(Value::Null),
                }
            })
        }
        "mode" => Arc::new(|_, rows, _| {
            let mut best: Option<(&Value, usize)> = None;
            let mut run: Option<(&Value, usize)> = None;
            for value in given(rows) {
                run = match run {
                    Some((last, n)) if compare(last, value).is_eq() => Some((last, n + 1)),
                    _ => Some((value, 1)),
                };
                if let Some((value, n)) = run
                    && best.is_none_or(|(_, most)| n > most)
                {
                    best = Some((value, n));
                }
            }
            Ok(best.map_or(Value::Null, |(value, _)| value.clone()))
        }),
        "corr" | "covar_pop" | "covar_samp" | "regr_slope" | "regr_intercept" | "regr_count" | "regr_r2"
        | "regr_avgx" | "regr_avgy" | "regr_sxx" | "regr_syy" | "regr_sxy" => {
            let name = proc.name;
            Arc::new(move |_, rows, _| Ok(regression(name, rows)))
        }
        _ => return None,
    };
    Some(Aggregate { name: proc.name, call })
}

fn sum(rows: &[Row], first: u32, result: u32) -> Result<Value> {
    let mut values = given(rows).peekable();
    if values.peek().is_none() {
        return Ok(Value::Null);
    }
    Ok(match first {
        t::INT2 | t::INT4 => whole(values.map(|value| i128::from(int(value))).sum(), result)?,
        t::INT8 => Value::Numeric(Numeric::from(values.map(|value| i128::from(int(value))).sum::<i128>())),
        t::FLOAT4 => Value::Float(f64::from(values.fold(0.0_f32, |sum, value| sum + float(value) as f32))),
        t::FLOAT8 => Value::Float(values.map(float).sum()),
        t::NUMERIC => {
            let mut total = Numeric::from(0_i64);
            for value in values {
                total = total.add(&numeric(value))?;
            }
            Value::Numeric(total)
        }
        t::INTERVAL | t::TIME => Value::Interval(interval_sum(values)?),
        _ => return Err(Error::not_supported("a sum of these values")),
    })
}

fn interval_sum<'v>(values: impl Iterator<Item = &'v Value>) -> Result<Interval> {
    let wrong = crate::datetime::interval_out_of_range;
    let mut total = Interval::default();
    for value in values {
        let Value::Interval(interval) = value else { continue };
        total = Interval {
            months: total.months.checked_add(interval.months).ok_or_else(wrong)?,
            days: total.days.checked_add(interval.days).ok_or_else(wrong)?,
            microseconds: total.microseconds.checked_add(interval.microseconds).ok_or_else(wrong)?,
        };
    }
    Ok(total)
}

fn average(rows: &[Row], first: u32) -> Result<Value> {
    let n = given(rows).count();
    if n == 0 {
        return Ok(Value::Null);
    }
    let count = i64::try_from(n).unwrap_or(i64::MAX);
    Ok(match first {
        t::FLOAT4 | t::FLOAT8 => Value::Float(given(rows).map(float).sum::<f64>() / n as f64),
        t::INTERVAL => times::divided(interval_sum(given(rows))?, n as f64)?,
        _ => {
            let mut total = Numeric::from(0_i64);
            for value in given(rows) {
                total = total.add(&numeric(value))?;
            }
            Value::Numeric(total.divide(&Numeric::from(count))?)
        }
    })
}

fn variance(rows: &[Row], first: u32, is_population: bool, is_root: bool) -> Result<Value> {
    let n = given(rows).count();
    if n == 0 || (n == 1 && !is_population) {
        return Ok(Value::Null);
    }
    let divisor = if is_population { n } else { n - 1 };
    if matches!(first, t::FLOAT4 | t::FLOAT8) {
        let (mut count, mut total, mut squares) = (0.0, 0.0, 0.0);
        for number in given(rows).map(float) {
            count += 1.0;
            total += number;
            if count > 1.0 {
                let difference = number * count - total;
                squares += difference * difference / (count * (count - 1.0));
            } else if !number.is_finite() {
                squares = f64::NAN;
            }
        }
        let variance = squares / divisor as f64;
        return Ok(Value::Float(if is_root { variance.sqrt() } else { variance }));
    }
    // n·Σx² − (Σx)², exactly, over n·divisor
    let (mut total, mut squares) = (Numeric::from(0_i64), Numeric::from(0_i64));
    for value in given(rows) {
        let number = numeric(value);
        squares = squares.add(&number.multiply(&number)?)?;
        total = total.add(&number)?;
    }
    let count = |n: usize| Numeric::from(i64::try_from(n).unwrap_or(i64::MAX));
    let above = count(n).multiply(&squares)?.subtract(&total.multiply(&total)?)?;
    let variance = above.divide(&count(n).multiply(&count(divisor))?)?;
    if !is_root {
        return Ok(Value::Numeric(variance));
    }
    let scale = variance.scale();
    Ok(Value::Numeric(variance.square_root_with_scale(scale)))
}

/// Errors: 22003.
fn checked_share(share: &Value) -> Result<Option<f64>> {
    match share {
        Value::Float(share) if (0.0..=1.0).contains(share) => Ok(Some(*share)),
        Value::Float(share) => {
            let shown = crate::text::format_float(*share, false);
            Err(Error::new("22003", format!("percentile value {shown} is not between 0 and 1")))
        }
        _ => Ok(None),
    }
}

/// The value at a share of sorted ones, or what lies between the two around it.
fn percentile(values: &[&Value], share: &Value, is_continuous: bool) -> Result<Value> {
    let Some(share) = checked_share(share)? else { return Ok(Value::Null) };
    if values.is_empty() {
        return Ok(Value::Null);
    }
    if !is_continuous {
        let place = (share * values.len() as f64).ceil().max(1.0) as usize;
        return Ok(values[place.min(values.len()) - 1].clone());
    }
    let place = share * (values.len() - 1) as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    let part = place - place.floor();
    match (low, high) {
        (Value::Interval(low), Value::Interval(high)) => times::between(*low, *high, part),
        (Value::Float(low), Value::Float(high)) if part > 0.0 => Ok(Value::Float(low + (high - low) * part)),
        _ => Ok(low.clone()),
    }
}

/// What a row would be among sorted ones: each key with whether it descends and whether NULLs come first.
pub fn hypothetical(name: &'static str, keys: Vec<(bool, bool)>) -> Aggregate {
    let call: Call = Arc::new(move |_, rows, direct| {
        let compare_rows = |row: &Row, other: &[Value]| {
            let pairs = keys.iter().zip(row.iter().zip(other));
            let differing = pairs.map(|((descending, nulls_first), (left, right))| {
                crate::execute::order(left, right, *descending, *nulls_first)
            });
            differing.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        let before: Vec<&Row> = rows.iter().filter(|row| compare_rows(row, direct).is_lt()).collect();
        let n = rows.len() as f64;
        let int = |n: usize| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
        Ok(match name {
            "rank" => int(before.len() + 1),
            "dense_rank" => {
                let n_other = before.windows(2).filter(|pair| compare_rows(pair[0], pair[1]).is_ne()).count();
                int(if before.is_empty() { 1 } else { n_other + 2 })
            }
            "percent_rank" => Value::Float(if rows.is_empty() { 0.0 } else { before.len() as f64 / n }),
            _ => {
                let not_behind = rows.iter().filter(|row| compare_rows(row, direct).is_le()).count();
                Value::Float((not_behind as f64 + 1.0) / (n + 1.0))
            }
        })
    });
    Aggregate { name, call }
}

fn regression(name: &str, rows: &[Row]) -> Value {
    let pairs: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| !row[0].is_null() && !row[1].is_null())
        .map(|row| (float(&row[0]), float(&row[1])))
        .collect();
    if name == "regr_count" {
        return Value::Int(i64::try_from(pairs.len()).unwrap_or(0));
    }
    if pairs.is_empty() || (pairs.len() == 1 && name == "covar_samp") {
        return Value::Null;
    }
    // sums and sums of squares of differences, value by value
    let (mut n, mut sx, mut sxx, mut sy, mut syy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (y, x) in pairs {
        n += 1.0;
        sx += x;
        sy += y;
        if n > 1.0 {
            let (dx, dy, scale) = (x * n - sx, y * n - sy, 1.0 / (n * (n - 1.0)));
            sxx += dx * dx * scale;
            syy += dy * dy * scale;
            sxy += dx * dy * scale;
        }
    }
    let defined = |number: f64, is_defined: bool| if is_defined { Value::Float(number) } else { Value::Null };
    match name {
        "corr" => defined(sxy / (sxx * syy).sqrt(), sxx != 0.0 && syy != 0.0),
        "covar_pop" => Value::Float(sxy / n),
        "covar_samp" => Value::Float(sxy / (n - 1.0)),
        "regr_slope" => defined(sxy / sxx, sxx != 0.0),
        "regr_intercept" => defined((sy - sx * sxy / sxx) / n, sxx != 0.0),
        "regr_r2" => {
            if sxx == 0.0 {
                Value::Null
            } else if syy == 0.0 {
                Value::Float(1.0)
            } else {
                Value::Float((sxy * sxy) / (sxx * syy))
            }
        }
        "regr_avgx" => Value::Float(sx / n),
        "regr_avgy" => Value::Float(sy / n),
        "regr_sxx" => Value::Float(sxx),
        "regr_syy" => Value::Float(syy),
        _ => Value::Float(sxy),
    }
}
