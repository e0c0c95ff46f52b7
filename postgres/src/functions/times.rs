//! Dates, times and intervals.

mod format;
mod parts;
mod read;

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::{float, int, text, whole, wrong_argument};
use crate::datetime::{self, Clock, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Zone, interval_out_of_range};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::{Interval, Value, compare};

use parts::{part, truncated, truncated_interval};

/// A date or timestamp as microseconds, of UTC if `to_utc`, local otherwise.
pub fn moment(value: &Value, is_utc: bool, to_utc: bool, clock: Clock) -> i64 {
    let local = match value {
        Value::Date(i32::MAX) => return i64::MAX,
        Value::Date(i32::MIN) => return i64::MIN,
        // what is no timestamp is behind all of them, and before infinity
        Value::Date(days) => i64::from(*days).saturating_mul(DAY_US).clamp(i64::MIN + 1, i64::MAX - 1),
        Value::Timestamp(time) => *time,
        _ => 0,
    };
    match (is_utc, to_utc) {
        _ if local == i64::MAX || local == i64::MIN => local,
        (false, true) => clock.zone.to_utc(local),
        (true, false) => clock.zone.to_local(local),
        _ => local,
    }
}

fn interval(value: &Value) -> Interval {
    match value {
        Value::Interval(interval) => *interval,
        Value::Time(time) => Interval { microseconds: *time, ..Interval::default() },
        _ => Interval::default(),
    }
}

fn time(value: &Value) -> i64 {
    match value {
        Value::Timestamp(time) | Value::Time(time) | Value::TimeZoned(time, _) => *time,
        _ => 0,
    }
}

fn negated(interval: Interval) -> Result<Interval> {
    let wrong = interval_out_of_range;
    Ok(Interval {
        months: interval.months.checked_neg().ok_or_else(wrong)?,
        days: interval.days.checked_neg().ok_or_else(wrong)?,
        microseconds: interval.microseconds.checked_neg().ok_or_else(wrong)?,
    })
}

fn sum(left: Interval, right: Interval) -> Result<Value> {
    let wrong = interval_out_of_range;
    Ok(Value::Interval(Interval {
        months: left.months.checked_add(right.months).ok_or_else(wrong)?,
        days: left.days.checked_add(right.days).ok_or_else(wrong)?,
        microseconds: left.microseconds.checked_add(right.microseconds).ok_or_else(wrong)?,
    }))
}

fn multiplied(interval: Interval, by: f64) -> Result<Value> {
    combined(interval, |part| part * by)
}

/// Errors: 22012, 22008.
pub fn divided(interval: Interval, by: f64) -> Result<Value> {
    if by == 0.0 {
        return Err(crate::numeric::division_by_zero());
    }
    combined(interval, |part| part / by)
}

/// So much of the way from one to another.
pub fn between(low: Interval, high: Interval, part: f64) -> Result<Value> {
    let Value::Interval(way) = sum(high, negated(low)?)? else { return Ok(Value::Null) };
    let Value::Interval(way) = multiplied(way, part)? else { return Ok(Value::Null) };
    sum(low, way)
}

/// Parts of a month become days of 30 to one, those of a day microseconds.
fn combined(interval: Interval, scale: impl Fn(f64) -> f64) -> Result<Value> {
    let wrong = interval_out_of_range;
    // to whole microseconds
    let rounded = |number: f64| (number * 1e6).round_ties_even() / 1e6;
    let (months, days) = (scale(f64::from(interval.months)), scale(f64::from(interval.days)));
    let fits = |number: f64| (-2_147_483_648.0..2_147_483_648.0).contains(&number);
    if !fits(months) || !fits(days) {
        return Err(wrong());
    }
    let month_days = rounded((months - months.trunc()) * 30.0);
    let mut seconds = rounded((days - days.trunc() + month_days - month_days.trunc()) * 86_400.0);
    let mut day = days.trunc();
    if seconds.abs() >= 86_400.0 {
        day += (seconds / 86_400.0).trunc();
        seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
    }
    day += month_days.trunc();
    let us = (scale(interval.microseconds as f64) + seconds * 1e6).round_ties_even();
    if !fits(day) || !(-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(&us) {
        return Err(wrong());
    }
    Ok(Value::Interval(Interval { months: months.trunc() as i32, days: day as i32, microseconds: us as i64 }))
}

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    let is_zoned = |index: usize| arguments.get(index).is_some_and(|argument| argument.oid == t::TIMESTAMPTZ);
    let result = proc.result;
    let source = proc.source;
    Some(match source {
        "now" => Function::new("now", |context, _| Ok(Value::Timestamp(context.clock.now_us))),
        "statement_timestamp" | "clock_timestamp" => {
            Function::new("now", |context, _| Ok(Value::Timestamp(context.clock.now_us)))
        }
        "timeofday" => return None,
        "date_pli" | "integer_pl_date" => Function::new("date_add", |_, values| {
            let (date, days) = if matches!(values[0], Value::Date(_)) {
                (&values[0], int(&values[1]))
            } else {
                (&values[1], int(&values[0]))
            };
            add_days(date, days)
        }),
        "date_mii" => Function::new("date_sub", |_, values| add_days(&values[0], -int(&values[1]))),
        "date_mi" => Function::new("date_diff", |_, values| match (&values[0], &values[1]) {
            (Value::Date(left), Value::Date(right)) => {
                if [*left, *right].iter().any(|days| *days == i32::MAX || *days == i32::MIN) {
                    return Err(Error::new("22008", "cannot subtract infinite dates"));
                }
                whole(i128::from(*left) - i128::from(*right), t::INT4)
            }
            _ => Ok(Value::Null),
        }),
        "timestamp_mi" => Function::new("timestamp_diff", |_, values| {
            let (left, right) = (time(&values[0]), time(&values[1]));
            if [left, right].iter().any(|time| *time == i64::MAX || *time == i64::MIN) {
                return Err(Error::new("22008", "cannot subtract infinite timestamps"));
            }
            let between = left.checked_sub(right).ok_or_else(interval_out_of_range)?;
            let days = between / DAY_US;
            Ok(Value::Interval(Interval {
                months: 0,
                days: i32::try_from(days).unwrap_or(0),
                microseconds: between - days * DAY_US,
            }))
        }),
        "timestamp_pl_interval"
        | "timestamptz_pl_interval"
        | "timestamp_mi_interval"
        | "timestamptz_mi_interval"
        | "date_pl_interval"
        | "date_mi_interval" => {
            let (is_zoned, is_minus, is_date) =
                (source.starts_with("timestamptz"), source.contains("_mi_"), source.starts_with("date"));
            Function::new("add_interval", move |context, values| {
                let by = if is_minus { negated(interval(&values[1]))? } else { interval(&values[1]) };
                let from = if is_date { moment(&values[0], false, false, context.clock) } else { time(&values[0]) };
                datetime::add_interval(from, by, is_zoned.then_some(context.clock.zone)).map(Value::Timestamp)
            })
        }
        "interval_pl_timestamp" | "interval_pl_timestamptz" | "interval_pl_date" => {
            let is_zoned = source.ends_with("tz");
            let is_date = source.ends_with("date");
            Function::new("add_interval", move |context, values| {
                let from = if is_date { moment(&values[1], false, false, context.clock) } else { time(&values[1]) };
                datetime::add_interval(from, interval(&values[0]), is_zoned.then_some(context.clock.zone))
                    .map(Value::Timestamp)
            })
        }
        "interval_pl" => Function::new("interval_add", |_, values| sum(interval(&values[0]), interval(&values[1]))),
        "interval_mi" => {
            Function::new("interval_sub", |_, values| sum(interval(&values[0]), negated(interval(&values[1]))?))
        }
        "interval_um" => Function::new("interval_neg", |_, values| negated(interval(&values[0])).map(Value::Interval)),
        "interval_mul" => {
            Function::new("interval_mul", |_, values| multiplied(interval(&values[0]), float(&values[1])))
        }
        "mul_d_interval" => {
            Function::new("interval_mul", |_, values| multiplied(interval(&values[1]), float(&values[0])))
        }
        "interval_div" => Function::new("interval_div", |_, values| divided(interval(&values[0]), float(&values[1]))),
        "time_pl_interval" | "time_mi_interval" => {
            let sign = if source.contains("_mi_") { -1 } else { 1 };
            Function::new("time_add", move |_, values| {
                let by = interval(&values[1]).microseconds % DAY_US;
                Ok(Value::Time((time(&values[0]) + sign * by).rem_euclid(DAY_US)))
            })
        }
        "time_mi_time" => Function::new("time_diff", |_, values| {
            Ok(Value::Interval(Interval { microseconds: time(&values[0]) - time(&values[1]), ..Interval::default() }))
        }),
        "datetime_timestamp" | "timedate_pl" => Function::new("datetime", |context, values| {
            let (date, of_day) =
                if matches!(values[0], Value::Date(_)) { (&values[0], &values[1]) } else { (&values[1], &values[0]) };
            Ok(Value::Timestamp(moment(date, false, false, context.clock) + time(of_day)))
        }),
        "timestamp_age" | "timestamptz_age" | "age" => {
            let is_zoned = (0..2).any(is_zoned);
            Function::new("age", move |context, values| {
                let local = |value: &Value| moment(value, is_zoned, false, context.clock);
                let (later, earlier) = match values {
                    [only] => {
                        (context.clock.zone.to_local(context.clock.now_us).div_euclid(DAY_US) * DAY_US, local(only))
                    }
                    [later, earlier, ..] => (local(later), local(earlier)),
                    [] => (0, 0),
                };
                Ok(Value::Interval(datetime::age(later, earlier)))
            })
        }
        "timestamp_trunc" | "timestamptz_trunc" => {
            let is_zoned = source == "timestamptz_trunc";
            Function::new("date_trunc", move |context, values| {
                let zone = is_zoned.then_some(context.clock.zone);
                truncated(time(&values[1]), &text(&values[0]).to_lowercase(), zone).map(Value::Timestamp)
            })
        }
        "timestamptz_trunc_zone" => Function::new("date_trunc", |_, values| {
            let zone = zone_named(text(&values[2]))?;
            truncated(time(&values[1]), &text(&values[0]).to_lowercase(), Some(zone)).map(Value::Timestamp)
        }),
        "interval_trunc" => Function::new("date_trunc", |_, values| {
            truncated_interval(interval(&values[1]), &text(&values[0]).to_lowercase()).map(Value::Interval)
        }),
        "extract_timestamp"
        | "extract_timestamptz"
        | "extract_date"
        | "extract_time"
        | "extract_timetz"
        | "extract_interval"
        | "timestamp_part"
        | "timestamptz_part"
        | "time_part"
        | "timetz_part"
        | "interval_part" => {
            let data_type = arguments.get(1).cloned().unwrap_or(Type::of(t::TIMESTAMP));
            Function::new("extract", move |context, values| {
                let part = part(&text(&values[0]).to_lowercase(), &values[1], &data_type, context.clock)?;
                Ok(match part {
                    None => Value::Null,
                    Some(number) if result == t::NUMERIC => Value::Numeric(number),
                    Some(number) => Value::Float(number.to_f64()),
                })
            })
        }
        // a date is a timestamp to this one
        "date_part" if arguments.get(1).is_some_and(|argument| argument.oid == t::DATE) => {
            Function::new("extract", |context, values| {
                let at = Value::Timestamp(moment(&values[1], false, false, context.clock));
                let part = part(&text(&values[0]).to_lowercase(), &at, &Type::of(t::TIMESTAMP), context.clock)?;
                Ok(part.map_or(Value::Null, |number| Value::Float(number.to_f64())))
            })
        }
        "timestamptz_zone" => Function::new("timezone", |_, values| {
            Ok(Value::Timestamp(zone_named(text(&values[0]))?.to_local(time(&values[1]))))
        }),
        "timestamp_zone" => Function::new("timezone", |_, values| {
            Ok(Value::Timestamp(zone_named(text(&values[0]))?.to_utc(time(&values[1]))))
        }),
        "timestamptz_izone" | "timestamp_izone" => {
            let sign = if source == "timestamptz_izone" { 1 } else { -1 };
            Function::new("timezone", move |_, values| {
                let offset = zone_of_interval(interval(&values[0]))?;
                Ok(Value::Timestamp(time(&values[1]).saturating_add(sign * offset * SECOND_US)))
            })
        }
        "timetz_zone" => Function::new("timezone", |context, values| {
            let offset = zone_named(text(&values[0]))?.offset_at(context.clock.now_us);
            Ok(time_in_zone(&values[1], i64::from(offset)))
        }),
        "timetz_izone" => {
            Function::new("timezone", |_, values| Ok(time_in_zone(&values[1], zone_of_interval(interval(&values[0]))?)))
        }
        "timetz_pl_interval" | "timetz_mi_interval" => {
            let sign = if source == "timetz_mi_interval" { -1 } else { 1 };
            Function::new("time_add", move |_, values| {
                let Value::TimeZoned(time, zone) = values[0] else { return Ok(Value::Null) };
                let by = interval(&values[1]).microseconds % DAY_US;
                Ok(Value::TimeZoned((time + sign * by).rem_euclid(DAY_US), zone))
            })
        }
        "datetimetz_timestamptz" => Function::new("datetime", |context, values| {
            let Value::TimeZoned(time, zone) = values[1] else { return Ok(Value::Null) };
            let start = moment(&values[0], false, false, context.clock);
            Ok(Value::Timestamp(start.saturating_add(time - i64::from(zone) * SECOND_US)))
        }),
        _ if matches!(proc.name, "timetzdate_pl" | "timedate_pl" | "interval_pl_time" | "interval_pl_timetz") => {
            let turned = match proc.name {
                "timetzdate_pl" => "datetimetz_timestamptz",
                "timedate_pl" => "datetime_timestamp",
                "interval_pl_time" => "time_pl_interval",
                _ => "timetz_pl_interval",
            };
            let proc = crate::resolve::all_procs().iter().find(|proc| proc.source == turned)?;
            let types: Vec<Type> = arguments.iter().rev().cloned().collect();
            let inner = function(proc, &types)?;
            Function::new("turned", move |context, values| {
                (inner.call)(context, &[values[1].clone(), values[0].clone()])
            })
        }
        // those with an interval are written in SQL there
        _ if proc.name == "overlaps" => {
            let types = arguments.to_vec();
            Function::new("overlaps", move |context, values| {
                let end = |start: usize| -> Result<Value> {
                    let (from, to) = (&values[start], &values[start + 1]);
                    if types.get(start + 1).is_none_or(|to| to.oid != t::INTERVAL) || from.is_null() || to.is_null() {
                        return Ok(to.clone());
                    }
                    match from {
                        Value::Time(from) => {
                            Ok(Value::Time((from + interval(to).microseconds % DAY_US).rem_euclid(DAY_US)))
                        }
                        from => {
                            let zone = types[start].oid == t::TIMESTAMPTZ;
                            let zone = zone.then_some(context.clock.zone);
                            datetime::add_interval(time(from), interval(to), zone).map(Value::Timestamp)
                        }
                    }
                };
                let (first, second) = (end(0)?, end(2)?);
                Ok(overlap([[&values[0], &first], [&values[2], &second]]).map_or(Value::Null, Value::Bool))
            })
        }
        "float8_timestamptz" => Function::new("to_timestamp", |_, values| {
            let seconds = float(&values[0]);
            if seconds.is_nan() {
                return Err(Error::new("22008", "timestamp cannot be NaN"));
            }
            if seconds.is_infinite() {
                return Ok(Value::Timestamp(if seconds > 0.0 { i64::MAX } else { i64::MIN }));
            }
            let us = (seconds * 1e6).round();
            if us.abs() > 9.2e18 {
                let shown = crate::text::format_float(seconds, false);
                return Err(Error::new("22008", format!("timestamp out of range: \"{shown}\"")));
            }
            Ok(Value::Timestamp(us as i64))
        }),
        "make_date" => Function::new("make_date", |_, values| {
            let (year, month, day) = (int(&values[0]), int(&values[1]), int(&values[2]));
            checked_date(year, month, day).map(Value::Date).ok_or_else(|| {
                let what = if year.abs() > 5_874_897 { "date" } else { "date field value" };
                Error::new("22008", format!("{what} out of range: {year}-{month:02}-{day:02}"))
            })
        }),
        "make_time" => Function::new("make_time", |_, values| {
            of_day(int(&values[0]), int(&values[1]), float(&values[2])).map(Value::Time)
        }),
        "make_timestamp" | "make_timestamptz" | "make_timestamptz_at_timezone" => {
            let is_zoned = source != "make_timestamp";
            Function::new("make_timestamp", move |context, values| {
                let (year, month, day) = (int(&values[0]), int(&values[1]), int(&values[2]));
                let days = checked_date(year, month, day).ok_or_else(|| {
                    Error::new("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"))
                })?;
                let local = i64::from(days).saturating_mul(DAY_US).saturating_add(of_day(
                    int(&values[3]),
                    int(&values[4]),
                    float(&values[5]),
                )?);
                let zone = match values.get(6).map(text) {
                    None => context.clock.zone,
                    // an offset counts to the east here
                    Some(name) if name.starts_with(['+', '-']) => Zone::named(name).ok_or_else(|| {
                        wrong_argument(format!("invalid input syntax for type numeric time zone: \"{name}\""))
                    })?,
                    Some(name) => zone_named(name)?,
                };
                let at = if is_zoned { zone.to_utc(local) } else { local };
                if !datetime::is_in_range(local) || !datetime::is_in_range(at) {
                    let (hour, minute, second) = (int(&values[3]), int(&values[4]), float(&values[5]));
                    let message =
                        format!("timestamp out of range: {year}-{month:02}-{day:02} {hour}:{minute:02}:{second:02}");
                    return Err(Error::new("22008", message));
                }
                Ok(Value::Timestamp(at))
            })
        }
        "make_interval" => Function::new("make_interval", |_, values| {
            let number = |index: usize| values.get(index).map_or(0, int);
            let seconds = values.get(6).map_or(0.0, float);
            let wrong = interval_out_of_range;
            let months = number(0)
                .checked_mul(12)
                .and_then(|months| months.checked_add(number(1)))
                .and_then(|months| i32::try_from(months).ok());
            let days = number(2)
                .checked_mul(7)
                .and_then(|days| days.checked_add(number(3)))
                .and_then(|days| i32::try_from(days).ok());
            Ok(Value::Interval(Interval {
                months: months.ok_or_else(wrong)?,
                days: days.ok_or_else(wrong)?,
                microseconds: number(4) * HOUR_US + number(5) * MINUTE_US + (seconds * 1e6).round() as i64,
            }))
        }),
        "interval_justify_days" => {
            Function::new("justify_days", |_, values| justify_days(interval(&values[0])).map(Value::Interval))
        }
        "interval_justify_hours" => {
            Function::new("justify_hours", |_, values| justify_hours(interval(&values[0])).map(Value::Interval))
        }
        "interval_justify_interval" => {
            Function::new("justify_interval", |_, values| justify(interval(&values[0])).map(Value::Interval))
        }
        "timestamp_bin" | "timestamptz_bin" => Function::new("date_bin", |_, values| {
            let stride = interval(&values[0]);
            if stride.months != 0 {
                return Err(Error::new(
                    "0A000",
                    "timestamps cannot be binned into intervals containing months or years",
                ));
            }
            let days = i64::from(stride.days).checked_mul(DAY_US);
            let stride =
                days.and_then(|days| days.checked_add(stride.microseconds)).ok_or_else(interval_out_of_range)?;
            if stride <= 0 {
                return Err(Error::new("22008", "stride must be greater than zero"));
            }
            let (at, origin) = (time(&values[1]), time(&values[2]));
            if at == i64::MAX || at == i64::MIN {
                return Ok(Value::Timestamp(at));
            }
            if origin == i64::MAX || origin == i64::MIN {
                return Err(Error::new("22008", "origin out of range"));
            }
            let since = at.checked_sub(origin).ok_or_else(interval_out_of_range)?;
            Ok(Value::Timestamp(at - since.rem_euclid(stride)))
        }),
        "date_finite" | "timestamp_finite" => Function::new("isfinite", |_, values| {
            Ok(Value::Bool(!matches!(
                values[0],
                Value::Date(i32::MAX | i32::MIN) | Value::Timestamp(i64::MAX | i64::MIN)
            )))
        }),
        "interval_finite" => Function::new("isfinite", |_, _| Ok(Value::Bool(true))),
        "timestamptz_to_char" | "timestamp_to_char" => {
            let is_zoned = source == "timestamptz_to_char";
            Function::new("to_char", move |context, values| {
                let at = time(&values[0]);
                if text(&values[1]).is_empty() || at == i64::MAX || at == i64::MIN {
                    return Ok(Value::Null);
                }
                let zone = is_zoned.then_some((context.clock.zone, at));
                let local = if is_zoned { context.clock.zone.to_local(at) } else { at };
                format::to_char(&format::Moment::of_time(local, zone), text(&values[1])).map(Value::text)
            })
        }
        "interval_to_char" => Function::new("to_char", |_, values| {
            if text(&values[1]).is_empty() {
                return Ok(Value::Null);
            }
            format::to_char(&format::Moment::of_interval(interval(&values[0])), text(&values[1])).map(Value::text)
        }),
        "to_date" => Function::new("to_date", |_, values| {
            let read = read::read(text(&values[0]), text(&values[1]))?;
            i32::try_from(read.days)
                .ok()
                .filter(|days| (-2_440_588..2_145_042_906).contains(days))
                .map(Value::Date)
                .ok_or_else(|| Error::new("22008", format!("date out of range: \"{}\"", text(&values[0]))))
        }),
        "to_timestamp" => Function::new("to_timestamp", |context, values| {
            let read = read::read(text(&values[0]), text(&values[1]))?;
            let local = read.days.saturating_mul(DAY_US).saturating_add(read.of_day);
            let local = datetime::in_range(local)?;
            let zone = read.offset.map_or(context.clock.zone, Zone::Fixed);
            Ok(Value::Timestamp(zone.to_utc(local)))
        }),
        _ => return None,
    })
}

fn add_days(date: &Value, days: i64) -> Result<Value> {
    match date {
        Value::Date(i32::MAX | i32::MIN) => Ok(date.clone()),
        Value::Date(from) => {
            let days = i64::from(*from).checked_add(days).filter(|days| (-2_440_588..2_145_042_906).contains(days));
            let days = days.and_then(|days| i32::try_from(days).ok());
            days.map(Value::Date).ok_or_else(|| Error::new("22008", "date out of range"))
        }
        _ => Ok(Value::Null),
    }
}

fn checked_date(year: i64, month: i64, day: i64) -> Option<i32> {
    if year == 0 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let year = if year < 0 { year + 1 } else { year };
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then(|| i32::try_from(days).ok()).flatten()
}

fn of_day(hours: i64, minutes: i64, seconds: f64) -> Result<i64> {
    let us = (seconds * 1e6).round();
    let total = (hours * 60 + minutes).saturating_mul(MINUTE_US).saturating_add(us as i64);
    if !(0..=24).contains(&hours) || !(0..60).contains(&minutes) || !(0.0..=6e7).contains(&us) || total > DAY_US {
        return Err(Error::new("22008", format!("time field value out of range: {hours}:{minutes:02}:{seconds:02}")));
    }
    Ok(hours * HOUR_US + minutes * MINUTE_US + us as i64)
}

fn justify_days(interval: Interval) -> Result<Interval> {
    let Interval { mut months, mut days, microseconds } = interval;
    months = months.checked_add(days / 30).ok_or_else(interval_out_of_range)?;
    days %= 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Ok(Interval { months, days, microseconds })
}

fn justify_hours(interval: Interval) -> Result<Interval> {
    let Interval { months, mut days, mut microseconds } = interval;
    let more = i32::try_from(microseconds / DAY_US).unwrap_or(0);
    days = days.checked_add(more).ok_or_else(interval_out_of_range)?;
    microseconds %= DAY_US;
    if days > 0 && microseconds < 0 {
        (days, microseconds) = (days - 1, microseconds + DAY_US);
    } else if days < 0 && microseconds > 0 {
        (days, microseconds) = (days + 1, microseconds - DAY_US);
    }
    Ok(Interval { months, days, microseconds })
}

/// All parts of one sign.
fn justify(interval: Interval) -> Result<Interval> {
    let Interval { mut months, mut days, mut microseconds } = interval;
    let more = i32::try_from(microseconds / DAY_US).unwrap_or(0);
    days = days.checked_add(more).ok_or_else(interval_out_of_range)?;
    microseconds %= DAY_US;
    months = months.checked_add(days / 30).ok_or_else(interval_out_of_range)?;
    days %= 30;
    if months > 0 && (days < 0 || (days == 0 && microseconds < 0)) {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && (days > 0 || (days == 0 && microseconds > 0)) {
        (months, days) = (months + 1, days - 30);
    }
    if days > 0 && microseconds < 0 {
        (days, microseconds) = (days - 1, microseconds + DAY_US);
    } else if days < 0 && microseconds > 0 {
        (days, microseconds) = (days + 1, microseconds - DAY_US);
    }
    Ok(Interval { months, days, microseconds })
}

/// A zone as `AT TIME ZONE` takes it: an offset alone has the sign of POSIX, which counts to the west. Errors: 22023.
pub fn zone_named(name: &str) -> Result<Zone> {
    let posix = || {
        let start = name.find(['+', '-']).or_else(|| name.find(|c: char| c.is_ascii_digit()))?;
        let (word, offset) = name.split_at(start);
        let word_is_name = word.is_empty() || (word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_alphabetic()));
        let offset = if offset.starts_with(['+', '-']) { offset.to_owned() } else { format!("+{offset}") };
        match Zone::named(&offset) {
            Some(Zone::Fixed(offset)) if word_is_name => Some(Zone::Fixed(-offset)),
            _ => None,
        }
    };
    let found = if name.starts_with(['+', '-']) { posix() } else { Zone::named(name).or_else(posix) };
    found.ok_or_else(|| wrong_argument(format!("time zone \"{name}\" not recognized")))
}

/// Seconds east of UTC that an interval says. Errors: 22023.
fn zone_of_interval(interval: Interval) -> Result<i64> {
    if interval.months != 0 || interval.days != 0 {
        let shown = datetime::format_interval(interval);
        return Err(wrong_argument(format!("interval time zone \"{shown}\" must not include months or days")));
    }
    Ok(interval.microseconds / SECOND_US)
}

/// A time of day at another offset.
fn time_in_zone(value: &Value, offset: i64) -> Value {
    let Value::TimeZoned(time, zone) = value else { return Value::Null };
    let moved = (time - i64::from(*zone) * SECOND_US + offset * SECOND_US).rem_euclid(DAY_US);
    Value::TimeZoned(moved, i32::try_from(offset).unwrap_or(0))
}

/// Whether two spans meet; each ends at a time, or is one time if it has no end. None if that is not known.
fn overlap(spans: [[&Value; 2]; 2]) -> Option<bool> {
    let mut ordered = Vec::new();
    for [start, end] in spans {
        ordered.push(match (start.is_null(), end.is_null()) {
            (true, true) => return None,
            (true, false) => (end, None),
            (false, true) => (start, None),
            (false, false) if compare(start, end).is_gt() => (end, Some(start)),
            (false, false) => (start, Some(end)),
        });
    }
    let ((first, first_end), (second, second_end)) = (ordered[0], ordered[1]);
    let one_after = |later: &Value, later_end: Option<&Value>, earlier_end: Option<&Value>| {
        let earlier_end = earlier_end?;
        if compare(later, earlier_end).is_lt() { Some(true) } else { later_end.map(|_| false) }
    };
    match compare(first, second) {
        std::cmp::Ordering::Greater => one_after(first, first_end, second_end),
        std::cmp::Ordering::Less => one_after(second, second_end, first_end),
        std::cmp::Ordering::Equal => first_end.and(second_end).map(|_| true),
    }
}
