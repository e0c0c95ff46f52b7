//! Dates, times and intervals.

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::{float, int, text, whole, wrong_argument};
use crate::datetime::{self, Clock, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Zone};
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::{Interval, Value};

/// A date or timestamp as microseconds, of UTC if `to_utc`, local otherwise.
pub fn moment(value: &Value, is_utc: bool, to_utc: bool, clock: Clock) -> i64 {
    let local = match value {
        Value::Date(i32::MAX) => return i64::MAX,
        Value::Date(i32::MIN) => return i64::MIN,
        Value::Date(days) => i64::from(*days) * DAY_US,
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
    let wrong = || Error::new("22008", "interval out of range");
    Ok(Interval {
        months: interval.months.checked_neg().ok_or_else(wrong)?,
        days: interval.days.checked_neg().ok_or_else(wrong)?,
        microseconds: interval.microseconds.checked_neg().ok_or_else(wrong)?,
    })
}

fn sum(left: Interval, right: Interval) -> Result<Value> {
    let wrong = || Error::new("22008", "interval out of range");
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
    let wrong = || Error::new("22008", "interval out of range");
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
            let between = left.checked_sub(right).ok_or_else(|| Error::new("22008", "interval out of range"))?;
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
                let zone = if is_zoned { context.clock.zone } else { Zone::UTC };
                truncated(time(&values[1]), &text(&values[0]).to_lowercase(), zone).map(Value::Timestamp)
            })
        }
        "timestamptz_trunc_zone" => Function::new("date_trunc", |_, values| {
            let zone = zone_named(text(&values[2]))?;
            truncated(time(&values[1]), &text(&values[0]).to_lowercase(), zone).map(Value::Timestamp)
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
                Ok(Value::Timestamp(time(&values[1]) + sign * interval(&values[0]).microseconds))
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
                return Err(Error::new("22008", format!("timestamp out of range: \"{seconds}\"")));
            }
            Ok(Value::Timestamp(us as i64))
        }),
        "make_date" => Function::new("make_date", |_, values| {
            let (year, month, day) = (int(&values[0]), int(&values[1]), int(&values[2]));
            checked_date(year, month, day).map(Value::Date).ok_or_else(|| {
                Error::new("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"))
            })
        }),
        "make_time" => Function::new("make_time", |_, values| {
            of_day(int(&values[0]), int(&values[1]), float(&values[2])).map(Value::Time)
        }),
        "make_timestamp" | "make_timestamptz" => {
            let is_zoned = source == "make_timestamptz";
            Function::new("make_timestamp", move |context, values| {
                let (year, month, day) = (int(&values[0]), int(&values[1]), int(&values[2]));
                let days = checked_date(year, month, day).ok_or_else(|| {
                    Error::new("22008", format!("date field value out of range: {year}-{month:02}-{day:02}"))
                })?;
                let local = i64::from(days) * DAY_US + of_day(int(&values[3]), int(&values[4]), float(&values[5]))?;
                Ok(Value::Timestamp(if is_zoned { context.clock.zone.to_utc(local) } else { local }))
            })
        }
        "make_interval" => Function::new("make_interval", |_, values| {
            let number = |index: usize| values.get(index).map_or(0, int);
            let seconds = values.get(6).map_or(0.0, float);
            let wrong = || Error::new("22008", "interval out of range");
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
            Function::new("justify_days", |_, values| Ok(Value::Interval(justify_days(interval(&values[0])))))
        }
        "interval_justify_hours" => {
            Function::new("justify_hours", |_, values| Ok(Value::Interval(justify_hours(interval(&values[0])))))
        }
        "interval_justify_interval" => Function::new("justify_interval", |_, values| {
            Ok(Value::Interval(justify_days(justify_hours(interval(&values[0])))))
        }),
        "timestamp_bin" | "timestamptz_bin" => Function::new("date_bin", |_, values| {
            let stride = interval(&values[0]);
            if stride.months != 0 {
                return Err(Error::new(
                    "0A000",
                    "timestamps cannot be binned into intervals containing months or years",
                ));
            }
            let stride = i64::from(stride.days) * DAY_US + stride.microseconds;
            if stride <= 0 {
                return Err(Error::new("22008", "stride must be greater than zero"));
            }
            let (at, origin) = (time(&values[1]), time(&values[2]));
            Ok(Value::Timestamp(origin + (at - origin).div_euclid(stride) * stride))
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
                let (local, zone) = if is_zoned {
                    (context.clock.zone.to_local(at), Some((context.clock.zone, at)))
                } else {
                    (at, None)
                };
                Ok(Value::text(to_char(local, text(&values[1]), zone)))
            })
        }
        _ => return None,
    })
}

fn zone_named(name: &str) -> Result<Zone> {
    Zone::named(name).ok_or_else(|| wrong_argument(format!("time zone \"{name}\" not recognized")))
}

fn add_days(date: &Value, days: i64) -> Result<Value> {
    match date {
        Value::Date(i32::MAX | i32::MIN) => Ok(date.clone()),
        Value::Date(from) => {
            let days = i64::from(*from).checked_add(days).filter(|days| (-2_440_588..2_145_042_542).contains(days));
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
    if !(0..=24).contains(&hours) || !(0..60).contains(&minutes) || !(0.0..=6e7).contains(&us) {
        return Err(Error::new("22008", format!("time field value out of range: {hours}:{minutes:02}:{seconds:02}")));
    }
    Ok(hours * HOUR_US + minutes * MINUTE_US + us as i64)
}

fn unit_error(unit: &str, type_name: &str) -> Error {
    let is_known = [
        "microseconds",
        "milliseconds",
        "second",
        "minute",
        "hour",
        "day",
        "week",
        "month",
        "quarter",
        "year",
        "decade",
        "century",
        "millennium",
        "timezone",
        "epoch",
        "isoyear",
        "dow",
        "isodow",
        "doy",
        "julian",
        "timezone_hour",
        "timezone_minute",
    ];
    if is_known.iter().any(|known| known.trim_end_matches('s') == unit.trim_end_matches('s')) {
        Error::new("0A000", format!("unit \"{unit}\" not supported for type {type_name}"))
    } else {
        Error::new("22023", format!("unit \"{unit}\" not recognized for type {type_name}"))
    }
}

fn singular(unit: &str) -> &str {
    match unit {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" | "microsecon" => "microseconds",
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" | "millisecon" => "milliseconds",
        "s" | "sec" | "secs" | "second" | "seconds" => "second",
        "m" | "min" | "mins" | "minute" | "minutes" => "minute",
        "h" | "hr" | "hrs" | "hour" | "hours" => "hour",
        "d" | "day" | "days" => "day",
        "w" | "week" | "weeks" => "week",
        "mon" | "mons" | "month" | "months" => "month",
        "qtr" | "quarter" => "quarter",
        "y" | "yr" | "yrs" | "year" | "years" => "year",
        "decade" | "decades" | "dec" | "decs" => "decade",
        "c" | "cent" | "century" | "centuries" => "century",
        "mil" | "mils" | "millennium" | "millennia" => "millennium",
        other => other,
    }
}

fn truncated(at: i64, unit: &str, zone: Zone) -> Result<i64> {
    if at == i64::MAX || at == i64::MIN {
        return Ok(at);
    }
    let local = zone.to_local(at);
    let (days, of_day) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US));
    let (year, month, _) = civil_from_days(days);
    let start = |year: i64, month: i64| days_from_civil(year, month, 1) * DAY_US;
    let unit = singular(unit);
    let floor_year = |span: i64, first: i64| (year - first).div_euclid(span) * span + first;
    let truncated = match unit {
        "microseconds" => local,
        "milliseconds" => local.div_euclid(1000) * 1000,
        "second" => local.div_euclid(SECOND_US) * SECOND_US,
        "minute" => local.div_euclid(MINUTE_US) * MINUTE_US,
        "hour" => local - of_day % HOUR_US,
        "day" => days * DAY_US,
        "week" => (days - (days + 3).rem_euclid(7)) * DAY_US,
        "month" => start(year, month),
        "quarter" => start(year, (month - 1) / 3 * 3 + 1),
        "year" => start(year, 1),
        "decade" => start(floor_year(10, 0), 1),
        "century" => start(floor_year(100, 1), 1),
        "millennium" => start(floor_year(1000, 1), 1),
        other => return Err(unit_error(other, "timestamp with time zone")),
    };
    // shorter than a day, the offset stays what it is
    let is_short = matches!(unit, "microseconds" | "milliseconds" | "second" | "minute" | "hour");
    Ok(if is_short { at - (local - truncated) } else { zone.to_utc(truncated) })
}

fn truncated_interval(interval: Interval, unit: &str) -> Result<Interval> {
    let Interval { months, days, microseconds } = interval;
    let by_us = |unit: i64| Interval { months, days, microseconds: microseconds / unit * unit };
    let by_months = |unit: i32| Interval { months: months / unit * unit, days: 0, microseconds: 0 };
    Ok(match singular(unit) {
        "microseconds" => interval,
        "milliseconds" => by_us(1000),
        "second" => by_us(SECOND_US),
        "minute" => by_us(MINUTE_US),
        "hour" => by_us(HOUR_US),
        "day" => Interval { months, days, microseconds: 0 },
        "month" => by_months(1),
        "quarter" => by_months(3),
        "year" => by_months(12),
        "decade" => by_months(120),
        "century" => by_months(1200),
        "millennium" => by_months(12_000),
        other => return Err(unit_error(other, "interval")),
    })
}

/// A part of a date, time or interval; None of an infinite one's smaller parts.
fn part(unit: &str, value: &Value, data_type: &Type, clock: Clock) -> Result<Option<Numeric>> {
    let unit = singular(unit);
    let scaled = |us: i64, scale: i64| Numeric::Finite(bigdecimal::BigDecimal::new(us.into(), scale));
    let whole = |number: i64| Ok(Some(Numeric::from(number)));
    let seconds = |of_day: i64| scaled(of_day % MINUTE_US, 6);
    if let Value::Interval(interval) = value {
        let us = interval.microseconds;
        return match unit {
            "microseconds" => whole(us % MINUTE_US),
            "milliseconds" => Ok(Some(scaled(us % MINUTE_US, 3))),
            "second" => Ok(Some(seconds(us))),
            "minute" => whole(us % HOUR_US / MINUTE_US),
            "hour" => whole(us / HOUR_US),
            "day" => whole(i64::from(interval.days)),
            "month" => whole(i64::from(interval.months % 12)),
            "quarter" => whole(i64::from(interval.months % 12 / 3 + 1)),
            "year" => whole(i64::from(interval.months / 12)),
            "decade" => whole(i64::from(interval.months / 120)),
            "century" => whole(i64::from(interval.months / 1200)),
            "millennium" => whole(i64::from(interval.months / 12_000)),
            "epoch" => {
                // a year is 365.25 days, a month 30
                let days = i64::from(interval.months / 12) * 1461;
                let rest = i64::from(interval.months % 12) * 30 + i64::from(interval.days);
                let total = i128::from(days) * 86_400_000_000 / 4 + i128::from(rest) * 86_400_000_000 + i128::from(us);
                Ok(Some(Numeric::Finite(bigdecimal::BigDecimal::new(total.into(), 6))))
            }
            other => Err(unit_error(other, "interval")),
        };
    }
    let is_date = data_type.oid == t::DATE;
    let type_name = t::format_type(data_type.oid, None);
    let (local, utc) = match value {
        Value::Time(time) | Value::TimeZoned(time, _) => {
            return match unit {
                "microseconds" => whole(time % MINUTE_US),
                "milliseconds" => Ok(Some(scaled(time % MINUTE_US, 3))),
                "second" => Ok(Some(seconds(*time))),
                "minute" => whole(time % HOUR_US / MINUTE_US),
                "hour" => whole(time / HOUR_US),
                "epoch" => {
                    let zone = if let Value::TimeZoned(_, zone) = value { i64::from(*zone) } else { 0 };
                    Ok(Some(scaled(time - zone * SECOND_US, 6)))
                }
                "timezone" => match value {
                    Value::TimeZoned(_, zone) => whole(i64::from(*zone)),
                    _ => Err(unit_error(unit, &type_name)),
                },
                other => Err(unit_error(other, &type_name)),
            };
        }
        Value::Date(_) => (moment(value, false, false, clock), moment(value, false, false, clock)),
        Value::Timestamp(time) => {
            let is_zoned = data_type.oid == t::TIMESTAMPTZ;
            (if is_zoned { moment(value, true, false, clock) } else { *time }, *time)
        }
        _ => return Ok(None),
    };
    if local == i64::MAX || local == i64::MIN {
        let endless = ["year", "decade", "century", "millennium", "epoch", "isoyear", "julian"];
        let infinite = if local > 0 { Numeric::Infinity } else { Numeric::NegativeInfinity };
        return Ok(endless.contains(&unit).then_some(infinite));
    }
    let (days, of_day) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US));
    let (year, month, day) = civil_from_days(days);
    let weekday = (days + 3).rem_euclid(7);
    let shown_year = if year > 0 { year } else { year - 1 };
    let up = |span: i64| if year > 0 { (year + span - 1) / span } else { -((span - 1 - (year - 1)) / span) };
    if is_date
        && matches!(
            unit,
            "microseconds"
                | "milliseconds"
                | "second"
                | "minute"
                | "hour"
                | "timezone"
                | "timezone_hour"
                | "timezone_minute"
        )
    {
        return Err(unit_error(unit, "date"));
    }
    match unit {
        "microseconds" => whole(of_day % MINUTE_US),
        "milliseconds" => Ok(Some(scaled(of_day % MINUTE_US, 3))),
        "second" => Ok(Some(seconds(of_day))),
        "minute" => whole(of_day % HOUR_US / MINUTE_US),
        "hour" => whole(of_day / HOUR_US),
        "day" => whole(day),
        "dow" => whole((weekday + 1) % 7),
        "isodow" => whole(weekday + 1),
        "doy" => whole(days - days_from_civil(year, 1, 1) + 1),
        "week" | "isoyear" => {
            let (iso_year, week) = iso_week(days);
            whole(if unit == "week" {
                week
            } else if iso_year > 0 {
                iso_year
            } else {
                iso_year - 1
            })
        }
        "month" => whole(month),
        "quarter" => whole((month - 1) / 3 + 1),
        "year" => whole(shown_year),
        "decade" => whole(year.div_euclid(10)),
        "century" => whole(up(100)),
        "millennium" => whole(up(1000)),
        "julian" if is_date => whole(days + 2_440_588),
        "julian" => {
            Ok(Some(Numeric::from(days + 2_440_588).add(&scaled(of_day, 6).divide(&Numeric::from(86_400_i64))?)?))
        }
        "epoch" if is_date => whole(days * 86_400),
        "epoch" => Ok(Some(scaled(utc, 6))),
        "timezone" | "timezone_hour" | "timezone_minute" if data_type.oid == t::TIMESTAMPTZ => {
            let offset = i64::from(clock.zone.offset_at(utc));
            whole(match unit {
                "timezone" => offset,
                "timezone_hour" => offset / 3600,
                _ => offset % 3600 / 60,
            })
        }
        other => Err(unit_error(other, &type_name)),
    }
}

/// The year and week that a day belongs to by ISO 8601.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, _, _) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

fn justify_days(interval: Interval) -> Interval {
    let Interval { mut months, mut days, microseconds } = interval;
    months += days / 30;
    days %= 30;
    if months > 0 && days < 0 {
        (months, days) = (months - 1, days + 30);
    } else if months < 0 && days > 0 {
        (months, days) = (months + 1, days - 30);
    }
    Interval { months, days, microseconds }
}

fn justify_hours(interval: Interval) -> Interval {
    let Interval { months, mut days, mut microseconds } = interval;
    days += i32::try_from(microseconds / DAY_US).unwrap_or(0);
    microseconds %= DAY_US;
    if days > 0 && microseconds < 0 {
        (days, microseconds) = (days - 1, microseconds + DAY_US);
    } else if days < 0 && microseconds > 0 {
        (days, microseconds) = (days + 1, microseconds - DAY_US);
    }
    Interval { months, days, microseconds }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// PostgreSQL's template patterns for dates and times.
pub fn to_char(local: i64, template: &str, zone: Option<(Zone, i64)>) -> String {
    let (days, of_day) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US));
    let (year, month, day) = civil_from_days(days);
    let (shown_year, is_bc) = if year > 0 { (year, false) } else { (1 - year, true) };
    let (hour, minute, second, us) =
        (of_day / HOUR_US, of_day % HOUR_US / MINUTE_US, of_day % MINUTE_US / SECOND_US, of_day % SECOND_US);
    let weekday = (days + 3).rem_euclid(7);
    let month_name = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let day_name = WEEKDAYS[usize::try_from(weekday).unwrap_or(0)];
    let (iso_year, iso_week) = iso_week(days);
    let day_of_year = days - days_from_civil(year, 1, 1) + 1;
    let mut result = String::new();
    let mut rest = template;
    let mut fill = true;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('"') {
            let end = after.find('"').unwrap_or(after.len());
            result.push_str(&after[..end]);
            rest = after.get(end + 1..).unwrap_or("");
            continue;
        }
        if rest.starts_with("FM") || rest.starts_with("fm") {
            fill = false;
            rest = &rest[2..];
            continue;
        }
        let number = |number: i64, width: usize| if fill { format!("{number:0width$}") } else { number.to_string() };
        let named = |name: &str, pattern: &str| {
            let cased = match pattern {
                pattern if pattern.chars().all(|c| c.is_uppercase()) => name.to_uppercase(),
                pattern if pattern.starts_with(char::is_uppercase) => name.to_owned(),
                _ => name.to_lowercase(),
            };
            if fill && pattern.len() > 3 { format!("{cased:<9}") } else { cased }
        };
        let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
        let half = |pattern: &str| {
            let name = if pattern.contains('.') {
                if hour < 12 { "a.m." } else { "p.m." }
            } else if hour < 12 {
                "am"
            } else {
                "pm"
            };
            if pattern.starts_with(char::is_uppercase) { name.to_uppercase() } else { name.to_owned() }
        };
        let era = |pattern: &str| {
            let name = if pattern.contains('.') {
                if is_bc { "b.c." } else { "a.d." }
            } else if is_bc {
                "bc"
            } else {
                "ad"
            };
            if pattern.starts_with(char::is_uppercase) { name.to_uppercase() } else { name.to_owned() }
        };
        let zone_name = |upper: bool| {
            let name = zone.map_or_else(String::new, |(zone, utc)| zone.abbreviation_at(utc));
            if upper { name } else { name.to_lowercase() }
        };
        let offset = zone.map_or(0, |(zone, utc)| zone.offset_at(utc));
        let upper: String = rest.chars().take(6).collect::<String>().to_uppercase();
        let case = |length: usize| rest[..length].to_owned();
        let (length, shown) = if upper.starts_with("HH24") {
            (4, number(hour, 2))
        } else if upper.starts_with("HH12") {
            (4, number(hour12, 2))
        } else if upper.starts_with("HH") {
            (2, number(hour12, 2))
        } else if upper.starts_with("MI") {
            (2, number(minute, 2))
        } else if upper.starts_with("SSSSS") {
            (5, (of_day / SECOND_US).to_string())
        } else if upper.starts_with("SSSS") {
            (4, (of_day / SECOND_US).to_string())
        } else if upper.starts_with("SS") {
            (2, number(second, 2))
        } else if upper.starts_with("MS") {
            (2, number(us / 1000, 3))
        } else if upper.starts_with("US") {
            (2, number(us, 6))
        } else if upper.starts_with("FF") && rest[2..].starts_with(|c: char| ('1'..='6').contains(&c)) {
            let digits = usize::try_from(rest.as_bytes()[2] - b'0').unwrap_or(6);
            (3, format!("{us:06}")[..digits].to_owned())
        } else if upper.starts_with("Y,YYY") {
            (5, format!("{},{:03}", shown_year / 1000, shown_year % 1000))
        } else if upper.starts_with("YYYY") {
            (4, number(shown_year, 4))
        } else if upper.starts_with("YYY") {
            (3, number(shown_year % 1000, 3))
        } else if upper.starts_with("YY") {
            (2, number(shown_year % 100, 2))
        } else if upper.starts_with("IYYY") {
            (4, number(iso_year, 4))
        } else if upper.starts_with("IYY") {
            (3, number(iso_year % 1000, 3))
        } else if upper.starts_with("IY") {
            (2, number(iso_year % 100, 2))
        } else if upper.starts_with("IDDD") {
            (4, number((iso_week - 1) * 7 + weekday + 1, 3))
        } else if upper.starts_with("ID") {
            (2, (weekday + 1).to_string())
        } else if upper.starts_with("IW") {
            (2, number(iso_week, 2))
        } else if upper.starts_with("MONTH") {
            (5, named(month_name, &case(5)))
        } else if upper.starts_with("MON") {
            (3, named(&month_name[..3], &case(3)))
        } else if upper.starts_with("MM") {
            (2, number(month, 2))
        } else if upper.starts_with("DDD") {
            (3, number(day_of_year, 3))
        } else if upper.starts_with("DD") {
            (2, number(day, 2))
        } else if upper.starts_with("DAY") {
            // longer than its pattern
            let cased = named(day_name, &case(3));
            (3, if fill { format!("{cased:<9}") } else { cased })
        } else if upper.starts_with("DY") {
            let name = &day_name[..3];
            (
                2,
                match rest.as_bytes() {
                    [b'D', b'Y', ..] => name.to_uppercase(),
                    [b'D', ..] => name.to_owned(),
                    _ => name.to_lowercase(),
                },
            )
        } else if upper.starts_with('D') {
            (1, ((weekday + 1) % 7 + 1).to_string())
        } else if upper.starts_with("WW") {
            (2, number((day_of_year - 1) / 7 + 1, 2))
        } else if upper.starts_with('W') {
            (1, ((day - 1) / 7 + 1).to_string())
        } else if upper.starts_with("CC") {
            (2, number((shown_year + 99) / 100, 2))
        } else if upper.starts_with('Q') {
            (1, ((month - 1) / 3 + 1).to_string())
        } else if upper.starts_with('J') {
            (1, (days + 2_440_588).to_string())
        } else if upper.starts_with("A.M.") || upper.starts_with("P.M.") {
            (4, half(&case(4)))
        } else if upper.starts_with("AM") || upper.starts_with("PM") {
            (2, half(&case(2)))
        } else if upper.starts_with("B.C.") || upper.starts_with("A.D.") {
            (4, era(&case(4)))
        } else if upper.starts_with("BC") || upper.starts_with("AD") {
            (2, era(&case(2)))
        } else if upper.starts_with("TZH") {
            (3, format!("{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600))
        } else if upper.starts_with("TZM") {
            (3, format!("{:02}", offset.abs() % 3600 / 60))
        } else if upper.starts_with("TZ") {
            (2, zone_name(rest.starts_with('T')))
        } else if upper.starts_with("OF") {
            (2, datetime::format_offset(offset))
        } else if upper.starts_with('Y') {
            (1, (shown_year % 10).to_string())
        } else {
            let character = rest.chars().next().unwrap_or(' ');
            let after = &rest[character.len_utf8()..];
            if character == '\\' && after.starts_with('"') {
                result.push('"');
                rest = &after[1..];
            } else {
                result.push(character);
                rest = after;
            }
            continue;
        };
        let is_numeric = shown.bytes().all(|byte| byte.is_ascii_digit());
        result.push_str(&shown);
        fill = true;
        rest = &rest[length..];
        if is_numeric {
            let (ordinal, upper) = (rest.get(..2), rest.starts_with("TH"));
            if matches!(ordinal, Some("TH" | "th")) {
                let n: i64 = shown.parse().unwrap_or(0);
                let suffix = match (n % 100, n % 10) {
                    (11..=13, _) => "th",
                    (_, 1) => "st",
                    (_, 2) => "nd",
                    (_, 3) => "rd",
                    _ => "th",
                };
                result.push_str(&if upper { suffix.to_uppercase() } else { suffix.to_owned() });
                rest = &rest[2..];
            }
        }
    }
    result
}
