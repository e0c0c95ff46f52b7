//! Intervals from their texts and back.

use super::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, format_fraction, fraction_us, syntax};
use crate::error::{Error, Result};
use crate::value::Interval;

// fields that a type may limit an interval to, as its modifier has them
const YEAR: i32 = 0x0004;
const MONTH: i32 = 0x0002;
const DAY: i32 = 0x0008;
const MINUTE: i32 = 0x0800;
const SECOND: i32 = 0x1000;
/// no limit
const ALL: i32 = 0x7fff;

/// `1 year 2 mons 3 days 04:05:06.7`.
pub fn format_interval(interval: Interval) -> String {
    let Interval { months, days, microseconds } = interval;
    let mut parts: Vec<String> = Vec::new();
    let mut is_before = false;
    let mut count = |number: i64, unit: &str, parts: &mut Vec<String>| {
        if number != 0 {
            // a plus tells that a part does not go on with the minus before it
            let sign = if is_before && number > 0 { "+" } else { "" };
            parts.push(format!("{sign}{number} {unit}{}", if number == 1 { "" } else { "s" }));
            is_before = number < 0;
        }
    };
    count(i64::from(months / 12), "year", &mut parts);
    count(i64::from(months % 12), "mon", &mut parts);
    count(i64::from(days), "day", &mut parts);
    if microseconds != 0 || parts.is_empty() {
        let sign = if microseconds < 0 {
            "-"
        } else if is_before {
            "+"
        } else {
            ""
        };
        let us = microseconds.unsigned_abs();
        let unit = |unit: i64| unit.unsigned_abs();
        let (hours, minutes, seconds) =
            (us / unit(HOUR_US), us % unit(HOUR_US) / unit(MINUTE_US), us % unit(MINUTE_US) / unit(SECOND_US));
        let fraction = i64::try_from(us % unit(SECOND_US)).unwrap_or(0);
        parts.push(format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", format_fraction(fraction)));
    }
    parts.join(" ")
}

/// Errors: 22007, 22015, 22008.
pub fn parse_interval(text: &str) -> Result<Interval> {
    parse_interval_within(text, -1)
}

/// The same for a type with a modifier, whose fields say what numbers without a unit are.
pub fn parse_interval_within(text: &str, modifier: i32) -> Result<Interval> {
    let fields = if modifier < 0 { ALL } else { (modifier >> 16) & ALL };
    let mut parts = Parts::default();
    let found = match text.trim().strip_prefix(['P', 'p']) {
        Some(rest) => read_iso(rest, &mut parts),
        None => read_words(text.trim(), fields, &mut parts),
    };
    match found {
        Some(is_ago) => {
            let interval = parts.interval(text)?;
            Ok(if is_ago {
                Interval { months: -interval.months, days: -interval.days, microseconds: -interval.microseconds }
            } else {
                interval
            })
        }
        None if parts.is_out_of_range => Err(out_of_range(text)),
        None => Err(syntax("interval", text)),
    }
}

fn out_of_range(text: &str) -> Error {
    Error::new("22015", format!("interval field value out of range: \"{text}\""))
}

/// Without what the type's fields leave out.
pub fn without_fields(interval: Interval, modifier: i32) -> Interval {
    let Interval { months, days, microseconds } = interval;
    let cut = |unit: i64| Interval { microseconds: microseconds / unit * unit, ..interval };
    let fields = (modifier >> 16) & ALL;
    match fields {
        YEAR => Interval { months: months / 12 * 12, days: 0, microseconds: 0 },
        fields if fields == MONTH || fields == YEAR | MONTH => Interval { months, days: 0, microseconds: 0 },
        DAY => Interval { months, days, microseconds: 0 },
        fields if fields & ALL != ALL && fields & SECOND == 0 && fields & MINUTE == 0 => cut(HOUR_US),
        fields if fields & ALL != ALL && fields & SECOND == 0 => cut(MINUTE_US),
        _ => interval,
    }
}

#[derive(Default)]
struct Parts {
    months: i128,
    days: i128,
    microseconds: i128,
    /// what was said before, of which nothing may be said twice
    said: u32,
    is_out_of_range: bool,
}

/// Units, each with a bit of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Millennium,
    Century,
    Decade,
    Year,
    Month,
    Week,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

fn unit_named(word: &str) -> Option<Unit> {
    Some(match word {
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "w" | "week" | "weeks" => Unit::Week,
        "d" | "day" | "days" => Unit::Day,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "ms" | "msec" | "msecs" | "millisecon" | "millisecond" | "milliseconds" => Unit::Millisecond,
        "us" | "usec" | "usecs" | "microsecon" | "microsecond" | "microseconds" => Unit::Microsecond,
        _ => return None,
    })
}

impl Parts {
    fn say(&mut self, bits: u32) -> Option<()> {
        let is_new = self.said & bits == 0;
        self.said |= bits;
        is_new.then_some(())
    }

    /// A whole number and what is behind its point. Parts of a month become days, those of a day microseconds.
    fn add(&mut self, (whole, fraction): (i64, f64), unit: Unit) -> Option<()> {
        // seconds with a fraction say those of smaller units, too
        let bits = match unit {
            Unit::Second if fraction != 0.0 => 0b1110_0000_0000,
            unit => 1 << (unit as u32),
        };
        self.say(bits)?;
        let whole = i128::from(whole);
        let months = |n: i32| (whole * i128::from(n), (fraction * f64::from(n)).round_ties_even() as i128);
        match unit {
            Unit::Millennium | Unit::Century | Unit::Decade | Unit::Year => {
                let n = match unit {
                    Unit::Millennium => 12_000,
                    Unit::Century => 1200,
                    Unit::Decade => 120,
                    _ => 12,
                };
                let (whole, part) = months(n);
                self.months += whole + part;
            }
            Unit::Month => {
                self.months += whole;
                self.add_days(fraction * 30.0);
            }
            Unit::Week => {
                self.days += whole * 7;
                self.add_days(fraction * 7.0);
            }
            Unit::Day => {
                self.days += whole;
                self.add_us(fraction, DAY_US);
            }
            Unit::Hour | Unit::Minute | Unit::Second | Unit::Millisecond | Unit::Microsecond => {
                let us = match unit {
                    Unit::Hour => HOUR_US,
                    Unit::Minute => MINUTE_US,
                    Unit::Second => SECOND_US,
                    Unit::Millisecond => 1000,
                    _ => 1,
                };
                self.microseconds += whole * i128::from(us);
                self.add_us(fraction, us);
            }
        }
        Some(())
    }

    fn add_days(&mut self, days: f64) {
        self.days += days.trunc() as i128;
        self.add_us(days - days.trunc(), DAY_US);
    }

    fn add_us(&mut self, fraction: f64, unit: i64) {
        self.microseconds += (fraction * unit as f64).round_ties_even() as i128;
    }

    fn interval(&self, text: &str) -> Result<Interval> {
        let months = i32::try_from(self.months);
        let days = i32::try_from(self.days).map_err(|_| out_of_range(text))?;
        Ok(Interval {
            months: months.map_err(|_| {
                // years that a field holds, and months that it does not
                if i32::try_from(self.months / 12).is_ok() {
                    super::interval_out_of_range()
                } else {
                    out_of_range(text)
                }
            })?,
            days,
            microseconds: i64::try_from(self.microseconds).map_err(|_| out_of_range(text))?,
        })
    }
}

/// A number with a sign, and a point and what is behind it.
fn number(text: &str, parts: &mut Parts) -> Option<(i64, f64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = whole.starts_with('-');
    let digits = whole.trim_start_matches(['+', '-']);
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(digits) || !all_digits(fraction) || (digits.is_empty() && fraction.is_empty()) {
        return None;
    }
    let number = if digits.is_empty() { Some(0) } else { digits.parse::<i64>().ok() };
    let Some(number) = number else {
        parts.is_out_of_range = true;
        return None;
    };
    let fraction = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
    Some(if is_negative { (-number, -fraction) } else { (number, fraction) })
}

/// Numbers with units, from the last to the first: whether all of it is turned by an `ago`.
fn read_words(text: &str, fields: i32, parts: &mut Parts) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let mut words = tokens(lower.strip_prefix('@').unwrap_or(&lower))?;
    let is_ago = words.last().is_some_and(|word| word == "ago");
    if is_ago {
        words.pop();
    }
    if words.is_empty() {
        return None;
    }
    // what a number is if no unit follows
    let own = match fields {
        YEAR => Unit::Year,
        fields if fields != ALL && fields & MONTH != 0 => Unit::Month,
        DAY => Unit::Day,
        fields if fields != ALL && fields & (MINUTE | SECOND) == 0 => Unit::Hour,
        fields if fields != ALL && fields & SECOND == 0 => Unit::Minute,
        _ => Unit::Second,
    };
    let mut unit: Option<Unit> = None;
    for word in words.iter().rev() {
        if word.starts_with(|c: char| c.is_alphabetic()) {
            unit = Some(unit_named(word)?);
            continue;
        }
        let sign = if word.starts_with('-') { -1 } else { 1 };
        let unsigned = word.trim_start_matches(['+', '-']);
        if unsigned.contains(':') {
            parts.say(0b0011_1000_0000)?;
            parts.microseconds += sign * clock_us(unsigned, fields, parts)?;
            unit = Some(Unit::Day);
        } else if let Some((years, months)) = unsigned.split_once('-') {
            parts.say((1 << (Unit::Year as u32)) | (1 << (Unit::Month as u32)))?;
            let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
            if months >= 12 {
                parts.is_out_of_range = true;
                return None;
            }
            parts.months += sign * i128::from(years * 12 + months);
            unit = Some(Unit::Day);
        } else {
            let own_unit = unit.unwrap_or(own);
            let amount = number(word, parts)?;
            parts.add(amount, own_unit)?;
            // a number in front of hours without a unit is one of days
            unit = if own_unit == Unit::Hour { Some(Unit::Day) } else { Some(own_unit) };
        }
    }
    (parts.said != 0).then_some(is_ago)
}

/// Numbers with their signs, colons and points, and words.
fn tokens(text: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphabetic();
        let body = usize::from(matches!(first, '+' | '-'));
        let is_part =
            |c: char| if is_word { c.is_alphabetic() } else { c.is_ascii_digit() || matches!(c, ':' | '.' | '-') };
        // blanks may stand behind a sign
        let unsigned = if body > 0 { rest[body..].trim_start() } else { rest };
        let length = unsigned.find(|c| !is_part(c)).unwrap_or(unsigned.len());
        if length == 0 {
            return None;
        }
        tokens.push(format!("{}{}", &rest[..body], &unsigned[..length]));
        rest = unsigned[length..].trim_start();
    }
    Some(tokens)
}

/// `hours:minutes[:seconds[.fraction]]`, with any number of hours; `minutes:seconds` where these are all fields.
fn clock_us(text: &str, fields: i32, parts: &mut Parts) -> Option<i128> {
    let words: Vec<&str> = text.split(':').collect();
    let whole = |text: &str| text.parse::<i128>().ok();
    let seconds = |text: &str| -> Option<(i128, i64)> {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        Some((whole(seconds)?, fraction_us(fraction)?))
    };
    let (hours, minutes, (seconds, fraction)) = match words.as_slice() {
        [minutes, rest] if fields == MINUTE | SECOND || rest.contains('.') => (0, whole(minutes)?, seconds(rest)?),
        [hours, minutes] => (whole(hours)?, whole(minutes)?, (0, 0)),
        [hours, minutes, rest] => (whole(hours)?, whole(minutes)?, seconds(rest)?),
        _ => return None,
    };
    if minutes > 59 || seconds > 60 {
        parts.is_out_of_range = true;
        return None;
    }
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + i128::from(fraction))
}

/// `1Y2M3DT4H5M6.7S` or `0001-02-03T04:05:06` behind its P.
fn read_iso(text: &str, parts: &mut Parts) -> Option<bool> {
    let (date, time) = match text.find(['T', 't']) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let is_plain = |text: &str| !text.contains(|c: char| c.is_ascii_alphabetic());
    if is_plain(date) && is_plain(time) && (date.contains('-') || time.contains(':')) {
        let numbers: Vec<&str> = date.split('-').filter(|part| !part.is_empty()).collect();
        for (part, unit) in numbers.iter().zip([Unit::Year, Unit::Month, Unit::Day]) {
            let amount = number(part, parts)?;
            parts.add(amount, unit)?;
        }
        if !time.is_empty() {
            parts.microseconds += clock_us(time, ALL, parts)?;
        }
        return Some(false);
    }
    let mut any = false;
    for (mut rest, is_time) in [(date, false), (time, true)] {
        while !rest.is_empty() {
            let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let amount = number(&rest[..end], parts)?;
            let unit = match (is_time, rest[end..].chars().next()?.to_ascii_uppercase()) {
                (false, 'Y') => Unit::Year,
                (false, 'M') => Unit::Month,
                (false, 'W') => Unit::Week,
                (false, 'D') => Unit::Day,
                (true, 'H') => Unit::Hour,
                (true, 'M') => Unit::Minute,
                (true, 'S') => Unit::Second,
                _ => return None,
            };
            rest = &rest[end + 1..];
            parts.add(amount, unit)?;
            any = true;
        }
    }
    any.then_some(false)
}
