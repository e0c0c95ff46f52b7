//! Functions over windows of rows.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use super::eval::{eval, is_true};
use super::{Context, Env, order};
use crate::error::{Error, Result};
use crate::plan::{Bound, Exclude, FrameUnits, WindowCall, WindowFunction};
use crate::value::{Key, Row, Value};

/// For each row, the values of all calls; nothing if there are none.
pub fn values<'e>(
    calls: &[WindowCall],
    n_rows: usize,
    env_of: &dyn Fn(usize) -> Env<'e>,
    context: &Context<'_>,
) -> Result<Vec<Row>> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = vec![Row::with_capacity(calls.len()); n_rows];
    for call in calls {
        for (row, value) in all.iter_mut().zip(of_call(call, n_rows, env_of, context)?) {
            row.push(value);
        }
    }
    Ok(all)
}

fn of_call<'e>(
    call: &WindowCall,
    n_rows: usize,
    env_of: &dyn Fn(usize) -> Env<'e>,
    context: &Context<'_>,
) -> Result<Vec<Value>> {
    let mut partitions: HashMap<Key, Vec<usize>> = HashMap::new();
    let mut keys = Vec::with_capacity(n_rows);
    let mut arguments = Vec::with_capacity(n_rows);
    let mut is_counted = Vec::with_capacity(n_rows);
    for index in 0..n_rows {
        let env = env_of(index);
        let partition = call.partition_by.iter().map(|expr| eval(expr, context, &env)).collect::<Result<Row>>()?;
        keys.push(call.order_by.iter().map(|(expr, ..)| eval(expr, context, &env)).collect::<Result<Row>>()?);
        arguments.push(call.arguments.iter().map(|expr| eval(expr, context, &env)).collect::<Result<Row>>()?);
        is_counted.push(call.filter.as_ref().map_or(Ok(true), |filter| is_true(filter, context, &env))?);
        partitions.entry(Key(partition)).or_default().push(index);
    }
    let by_keys = |left: usize, right: usize| {
        let pairs = call.order_by.iter().zip(keys[left].iter().zip(&keys[right]));
        let differing =
            pairs.map(|((_, descending, nulls_first), (left, right))| order(left, right, *descending, *nulls_first));
        differing.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    };
    let range_keys = match &call.frame.range {
        Some(range) => {
            (0..n_rows).map(|index| eval(&range.key, context, &env_of(index))).collect::<Result<Vec<_>>>()?
        }
        None => Vec::new(),
    };
    let mut values = vec![Value::Null; n_rows];
    for mut members in partitions.into_values() {
        members.sort_by(|left, right| by_keys(*left, *right).then(left.cmp(right)));
        let n = members.len();
        // where the peers of each row begin and end
        let mut starts = vec![0; n];
        for place in 1..n {
            starts[place] = if by_keys(members[place - 1], members[place]).is_eq() { starts[place - 1] } else { place };
        }
        let mut ends = vec![n; n];
        for place in (0..n.saturating_sub(1)).rev() {
            ends[place] = if starts[place + 1] == starts[place] { ends[place + 1] } else { place + 1 };
        }
        let mut groups = vec![0_usize; n];
        for place in 1..n {
            groups[place] = groups[place - 1] + usize::from(starts[place] == place);
        }
        // NULLs stand before or behind all values
        let is_known = |place: &usize| range_keys.get(members[*place]).is_none_or(|key| !key.is_null());
        let first = (0..n).find(is_known).unwrap_or(n);
        let known = first..(first..n).rev().find(is_known).map_or(first, |last| last + 1);
        for place in 0..n {
            let index = members[place];
            let bound = |bound: &Bound, is_start: bool| -> Result<usize> {
                let which = if is_start { "starting" } else { "ending" };
                let offset = |expr| match eval(expr, context, &env_of(index))? {
                    Value::Int(offset) if offset >= 0 => Ok(usize::try_from(offset).unwrap_or(usize::MAX)),
                    Value::Int(_) => Err(Error::new("22013", format!("frame {which} offset must not be negative"))),
                    _ => Err(Error::new("22004", format!("frame {which} offset must not be null"))),
                };
                if let (Some(range), Bound::Preceding(by) | Bound::Following(by)) = (&call.frame.range, bound)
                    && let Some(at) = if is_start { &range.start } else { &range.end }
                {
                    let precedes = matches!(bound, Bound::Preceding(_));
                    let by = eval(by, context, &env_of(index))?;
                    check_offset(&by, which)?;
                    if range_keys[index].is_null() {
                        return Ok(if is_start { starts[place] } else { ends[place] });
                    }
                    let at = match eval(at, context, &env_of(index)) {
                        Ok(at) => at,
                        // beyond all values
                        Err(error) if matches!(error.sqlstate, "22003" | "22008") => {
                            return Ok(if precedes { known.start } else { known.end });
                        }
                        Err(error) => return Err(error),
                    };
                    let descends = call.order_by.first().is_some_and(|(_, descends, _)| *descends);
                    let within = members[known.clone()].partition_point(|other| {
                        let order = crate::value::compare(&range_keys[*other], &at);
                        let order = if descends { order.reverse() } else { order };
                        order.is_lt() || (!is_start && order.is_eq())
                    });
                    return Ok(known.start + within);
                }
                // of rows, or of groups of peers
                let moved = |by: usize, back: bool| match call.frame.units {
                    FrameUnits::Groups => {
                        let target = if back { groups[place].checked_sub(by) } else { groups[place].checked_add(by) };
                        match target {
                            None => {
                                if back {
                                    0
                                } else {
                                    n
                                }
                            }
                            Some(target) if is_start => groups.iter().position(|group| *group >= target).unwrap_or(n),
                            Some(target) => groups.iter().position(|group| *group > target).unwrap_or(n),
                        }
                    }
                    _ => {
                        let edge = usize::from(!is_start);
                        if back {
                            (place + edge).saturating_sub(by)
                        } else {
                            place.saturating_add(edge).saturating_add(by).min(n)
                        }
                    }
                };
                Ok(match bound {
                    Bound::UnboundedPreceding => 0,
                    Bound::UnboundedFollowing => n,
                    Bound::CurrentRow if call.frame.units == FrameUnits::Rows => place + usize::from(!is_start),
                    Bound::CurrentRow => {
                        if is_start {
                            starts[place]
                        } else {
                            ends[place]
                        }
                    }
                    Bound::Preceding(edge) | Bound::Following(edge) if call.frame.units == FrameUnits::Range => {
                        let (_, descending, nulls_first) = &call.order_by[0];
                        if keys[index][0].is_null() {
                            // NULLs are peers, and nobody else is near them
                            if is_start { starts[place] } else { ends[place] }
                        } else {
                            let edge = eval(edge, context, &env_of(index))?;
                            members.partition_point(|other| {
                                let order = order(&keys[*other][0], &edge, *descending, *nulls_first);
                                if is_start { order.is_lt() } else { order.is_le() }
                            })
                        }
                    }
                    Bound::Preceding(by) => moved(offset(by)?, true),
                    Bound::Following(by) => moved(offset(by)?, false),
                })
            };
            let (start, end) = (bound(&call.frame.start, true)?, bound(&call.frame.end, false)?);
            let within = if start < end { start..end } else { 0..0 };
            let peers = starts[place]..ends[place];
            let frame: Cow<'_, [usize]> = match call.frame.exclude {
                Exclude::Nothing => Cow::Borrowed(&members[within]),
                exclude => {
                    let is_left_out = |other: usize| match exclude {
                        Exclude::Nothing => false,
                        Exclude::CurrentRow => other == place,
                        Exclude::Group => peers.contains(&other),
                        Exclude::Ties => other != place && peers.contains(&other),
                    };
                    within.filter(|other| !is_left_out(*other)).map(|other| members[other]).collect()
                }
            };
            let argument = |index: usize, number: usize| arguments[index].get(number).cloned().unwrap_or(Value::Null);
            let int = |number: usize| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
            let float = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
            values[index] = match &call.function {
                WindowFunction::Aggregate(aggregate) => {
                    let rows: Vec<Row> = frame
                        .iter()
                        .filter(|index| is_counted[**index])
                        .map(|index| arguments[*index].clone())
                        .collect();
                    (aggregate.call)(context, &rows, &[])?
                }
                WindowFunction::RowNumber => int(place + 1),
                WindowFunction::Rank => int(starts[place] + 1),
                WindowFunction::DenseRank => int(groups[place] + 1),
                WindowFunction::PercentRank => {
                    Value::Float(if n > 1 { float(starts[place]) / float(n - 1) } else { 0.0 })
                }
                WindowFunction::CumeDist => Value::Float(float(ends[place]) / float(n)),
                WindowFunction::Ntile => match argument(index, 0) {
                    Value::Int(buckets) if buckets > 0 => {
                        let buckets = usize::try_from(buckets).unwrap_or(usize::MAX);
                        let (size, larger) = (n / buckets, n % buckets);
                        let in_larger = larger * (size + 1);
                        int(if place < in_larger {
                            place / (size + 1)
                        } else {
                            larger + (place - in_larger) / size.max(1)
                        } + 1)
                    }
                    Value::Null => Value::Null,
                    _ => return Err(Error::new("22014", "argument of ntile must be greater than zero")),
                },
                WindowFunction::Lag | WindowFunction::Lead => {
                    let by = match arguments[index].get(1) {
                        None => 1,
                        Some(Value::Int(by)) => *by,
                        Some(_) => {
                            values[index] = Value::Null;
                            continue;
                        }
                    };
                    let by = if matches!(call.function, WindowFunction::Lag) { -by } else { by };
                    let target = i64::try_from(place)
                        .unwrap_or(i64::MAX)
                        .checked_add(by)
                        .and_then(|target| usize::try_from(target).ok());
                    match target.and_then(|target| members.get(target)) {
                        Some(other) => argument(*other, 0),
                        None => argument(index, 2),
                    }
                }
                WindowFunction::FirstValue => frame.first().map_or(Value::Null, |first| argument(*first, 0)),
                WindowFunction::LastValue => frame.last().map_or(Value::Null, |last| argument(*last, 0)),
                WindowFunction::NthValue => match argument(index, 1) {
                    Value::Int(nth) if nth > 0 => {
                        let nth = usize::try_from(nth).unwrap_or(usize::MAX);
                        frame.get(nth - 1).map_or(Value::Null, |found| argument(*found, 0))
                    }
                    Value::Null => Value::Null,
                    _ => return Err(Error::new("22016", "argument of nth_value must be greater than zero")),
                },
            };
        }
    }
    Ok(values)
}

/// Errors: 22004, 22013.
fn check_offset(offset: &Value, which: &str) -> Result<()> {
    let zero = match offset {
        Value::Null => return Err(Error::new("22004", format!("frame {which} offset must not be null"))),
        Value::Int(_) => Value::Int(0),
        Value::Float(_) => Value::Float(0.0),
        Value::Interval(_) => Value::Interval(crate::value::Interval::default()),
        Value::Numeric(_) => Value::Numeric("0".parse()?),
        _ => return Ok(()),
    };
    if crate::value::compare(offset, &zero).is_lt() {
        return Err(Error::new("22013", "invalid preceding or following size in window function"));
    }
    Ok(())
}
