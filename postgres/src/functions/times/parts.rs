//! Parts of dates, times and intervals, and what is left of them without their smaller parts.

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::moment;
use crate::datetime::{self, Clock, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Zone};
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::types::{self as t, Type};
use crate::value::{Interval, Value};

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

fn truncation_error(unit: &str, type_name: &str) -> Error {
    if ["week", "timezone", "timezone_hour", "timezone_minute"].contains(&unit) {
        return Error::new("0A000", format!("unit \"{unit}\" not supported for type {type_name}"));
    }
    Error::new("22023", format!("unit \"{unit}\" not recognized for type {type_name}"))
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

pub fn truncated(at: i64, unit: &str, zone: Option<Zone>) -> Result<i64> {
    if at == i64::MAX || at == i64::MIN {
        return Ok(at);
    }
    let type_name = if zone.is_some() { "timestamp with time zone" } else { "timestamp without time zone" };
    let zone = zone.unwrap_or(Zone::UTC);
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
        other => return Err(truncation_error(other, type_name)),
    };
    // shorter than a day, the offset stays what it is
    let is_short = matches!(unit, "microseconds" | "milliseconds" | "second" | "minute" | "hour");
    let truncated = if is_short { at - (local - truncated) } else { zone.to_utc(truncated) };
    // the earliest year begins before the earliest time
    datetime::in_range(truncated)
}

pub fn truncated_interval(interval: Interval, unit: &str) -> Result<Interval> {
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
        other => return Err(truncation_error(other, "interval")),
    })
}

/// A part of a date, time or interval; None of an infinite one's smaller parts.
pub fn part(unit: &str, value: &Value, data_type: &Type, clock: Clock) -> Result<Option<Numeric>> {
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
                "timezone" | "timezone_hour" | "timezone_minute" => match value {
                    Value::TimeZoned(_, zone) => whole(i64::from(match unit {
                        "timezone" => *zone,
                        "timezone_hour" => zone / 3600,
                        _ => zone % 3600 / 60,
                    })),
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
pub fn iso_week(days: i64) -> (i64, i64) {
    let thursday = days - (days + 3).rem_euclid(7) + 3;
    let (year, _, _) = civil_from_days(thursday);
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}
