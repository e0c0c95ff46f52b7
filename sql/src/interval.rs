//! Fixed durations in microseconds: read from PostgreSQL's interval texts, printed in one canonical form.
//! Months and years have no fixed length and are refused; no calendar, no clock.

use std::fmt::{self, Display};

use thiserror::Error;

use crate::name::quote_literal;

/// A fixed duration, as typed. Two are equal when they last equally long.
#[derive(Debug, Clone)]
pub struct Interval {
    pub microseconds: i64,
    pub text: String,
}

impl Interval {
    pub fn from_microseconds(microseconds: i64) -> Interval {
        Interval { microseconds, text: format_interval(microseconds) }
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Interval) -> bool {
        self.microseconds == other.microseconds
    }
}

impl Eq for Interval {}

/// As a string literal.
impl Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&quote_literal(&self.text))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IntervalError {
    #[error("invalid input syntax for type interval: \"{0}\"")]
    Syntax(String),
    #[error("a fixed duration is needed, and \"{text}\" is not one")]
    NotFixed { text: String, unit: &'static str, days: i64 },
    #[error("interval out of range: \"{0}\"")]
    OutOfRange(String),
}

impl IntervalError {
    /// Something to type instead.
    pub fn hint(&self) -> String {
        match self {
            IntervalError::Syntax(_) => "type it as '7 days', '1 hour 30 minutes' or '90 s'".to_string(),
            IntervalError::NotFixed { unit, days, .. } => {
                format!("say it in days: 1 {unit} is about '{days} days'")
            }
            IntervalError::OutOfRange(_) => "an interval has at most 106751991 days".to_string(),
        }
    }
}

const MILLISECOND: i64 = 1_000;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Reads `'1 day'`, `'1 hour 30 minutes'`, `'90s'`, `'01:30:00'`, `'PT1H'`, `'-7 days'`, `'0'` and their like.
pub fn parse_interval(text: &str) -> Result<Interval, IntervalError> {
    let trimmed = text.trim();
    let total = match trimmed.strip_prefix(['P', 'p']) {
        Some(rest) => parse_iso(text, rest)?,
        None => parse_words(text, trimmed)?,
    };
    let microseconds = i64::try_from(total).map_err(|_| IntervalError::OutOfRange(text.to_string()))?;
    Ok(Interval { microseconds, text: trimmed.to_string() })
}

/// What an interval's text is made of.
enum Piece<'a> {
    Number(&'a str),
    Word(&'a str),
}

/// Numbers (with their sign, colons and dots) and words, blanks left out.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphabetic() || first == 'µ';
        let body = if matches!(first, '+' | '-') { 1 } else { 0 };
        let length = rest[body..]
            .find(|next: char| if is_word { !(next.is_alphabetic()) } else { !matches!(next, '0'..='9' | ':' | '.') })
            .map_or(rest.len(), |length| length + body);
        if length == body {
            return None;
        }
        let (piece, next) = rest.split_at(length);
        pieces.push(if is_word { Piece::Word(piece) } else { Piece::Number(piece) });
        rest = next.trim_start();
    }
    Some(pieces)
}

fn parse_words(text: &str, trimmed: &str) -> Result<i128, IntervalError> {
    let wrong = || IntervalError::Syntax(text.to_string());
    let (trimmed, sign) = match trimmed.strip_suffix("ago").filter(|rest| rest.ends_with(' ')) {
        Some(rest) => (rest, -1),
        None => (trimmed, 1),
    };
    let pieces = pieces(trimmed.strip_prefix('@').unwrap_or(trimmed)).ok_or_else(wrong)?;
    if pieces.is_empty() {
        return Err(wrong());
    }
    let mut total = 0i128;
    let mut pieces = pieces.into_iter().peekable();
    while let Some(piece) = pieces.next() {
        let Piece::Number(number) = piece else {
            return Err(wrong());
        };
        let part = if number.contains(':') {
            clock_time(number).ok_or_else(wrong)?
        } else {
            let unit = match pieces.next_if(|next| matches!(next, Piece::Word(_))) {
                Some(Piece::Word(word)) => unit(text, word)?,
                // A number without a unit is seconds, but only at the end.
                _ if pieces.peek().is_none() => SECOND,
                _ => return Err(wrong()),
            };
            times(number, unit).ok_or_else(wrong)?
        };
        total = total.saturating_add(part);
    }
    Ok(total.saturating_mul(sign))
}

/// ISO 8601: `P7D`, `PT1H30M`, `P1W`; the `P` is already gone.
fn parse_iso(text: &str, rest: &str) -> Result<i128, IntervalError> {
    let wrong = || IntervalError::Syntax(text.to_string());
    let (date, time) = match rest.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    let mut total = 0i128;
    let mut count = 0;
    for (part, is_time) in [(Some(date), false), (time, true)] {
        let mut pieces = pieces(part.unwrap_or_default()).ok_or_else(wrong)?.into_iter();
        while let Some(piece) = pieces.next() {
            let (Piece::Number(number), Some(Piece::Word(word))) = (piece, pieces.next()) else {
                return Err(wrong());
            };
            let unit = match (word.to_ascii_uppercase().as_str(), is_time) {
                ("W", false) => 7 * DAY,
                ("D", false) => DAY,
                ("H", true) => HOUR,
                ("M", true) => MINUTE,
                ("S", true) => SECOND,
                ("M", false) => unit(text, "month")?,
                ("Y", false) => unit(text, "year")?,
                _ => return Err(wrong()),
            };
            total = total.saturating_add(times(number, unit).ok_or_else(wrong)?);
            count += 1;
        }
    }
    if count == 0 { Err(wrong()) } else { Ok(total) }
}

fn unit(text: &str, word: &str) -> Result<i64, IntervalError> {
    let not_fixed = |unit, days| Err(IntervalError::NotFixed { text: text.to_string(), unit, days });
    Ok(match word.to_lowercase().as_str() {
        "us" | "µs" | "μs" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => 1,
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => MILLISECOND,
        "s" | "sec" | "secs" | "second" | "seconds" => SECOND,
        "m" | "min" | "mins" | "minute" | "minutes" => MINUTE,
        "h" | "hr" | "hrs" | "hour" | "hours" => HOUR,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7 * DAY,
        "mon" | "mons" | "month" | "months" => return not_fixed("month", 30),
        "qtr" | "quarter" | "quarters" => return not_fixed("quarter", 90),
        "y" | "yr" | "yrs" | "year" | "years" => return not_fixed("year", 365),
        "dec" | "decs" | "decade" | "decades" => return not_fixed("decade", 3_652),
        "c" | "cent" | "century" | "centuries" => return not_fixed("century", 36_524),
        "mil" | "mils" | "millennium" | "millennia" => return not_fixed("millennium", 365_242),
        _ => return Err(IntervalError::Syntax(text.to_string())),
    })
}

/// A decimal number of units, rounded to microseconds.
fn times(number: &str, unit: i64) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10i128.pow(u32::try_from(fraction.len()).ok()?);
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let unit = i128::from(unit);
    let rounded = (2 * part * unit + scale) / (2 * scale);
    Some(sign * whole.saturating_mul(unit).saturating_add(rounded))
}

/// `hours:minutes[:seconds[.fraction]]`
fn clock_time(number: &str) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let mut fields = digits.split(':');
    let (hours, minutes, seconds) = (fields.next()?, fields.next()?, fields.next().unwrap_or("0"));
    let is_small = |field: &str| {
        let whole = field.split('.').next().unwrap_or_default();
        (1..=2).contains(&whole.len()) && whole < "60"
    };
    let is_whole = |field: &str| !field.is_empty() && !field.contains('.');
    if fields.next().is_some() || !is_whole(hours) || !is_whole(minutes) || !is_small(minutes) || !is_small(seconds) {
        return None;
    }
    let total = times(hours, HOUR)?.saturating_add(times(minutes, MINUTE)? + times(seconds, SECOND)?);
    Some(sign * total)
}

/// The canonical text: the largest unit that needs no fraction, `'7 days'`, `'36 hours'`, `'90 seconds'`.
pub fn format_interval(microseconds: i64) -> String {
    const UNITS: [(i64, &str); 6] = [
        (DAY, "day"),
        (HOUR, "hour"),
        (MINUTE, "minute"),
        (SECOND, "second"),
        (MILLISECOND, "millisecond"),
        (1, "microsecond"),
    ];
    if microseconds == 0 {
        return "0".to_string();
    }
    let exact = UNITS.into_iter().find(|(unit, _)| microseconds % unit == 0);
    let (unit, name) = exact.expect("every interval is a number of microseconds");
    let count = microseconds / unit;
    let plural = if count == 1 || count == -1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// A short label for generated names: `7d`, `1h`, `10m`, `30s`, `1h30m`; a negative one begins with `minus_`.
pub fn interval_label(microseconds: i64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (DAY as u64, "d"),
        (HOUR as u64, "h"),
        (MINUTE as u64, "m"),
        (SECOND as u64, "s"),
        (MILLISECOND as u64, "ms"),
        (1, "us"),
    ];
    if microseconds == 0 {
        return "0s".to_string();
    }
    let mut label = if microseconds < 0 { "minus_".to_string() } else { String::new() };
    let mut rest = microseconds.unsigned_abs();
    for (unit, name) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            label.push_str(&format!("{count}{name}"));
        }
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_texts() {
        for (text, microseconds) in [
            ("1 day", DAY),
            ("7 days", 7 * DAY),
            ("  7 DAYS ", 7 * DAY),
            ("1 hour 30 minutes", 90 * MINUTE),
            ("01:30:00", 90 * MINUTE),
            ("01:30", 90 * MINUTE),
            ("1 day 02:00", 26 * HOUR),
            ("-01:30:00.5", -90 * MINUTE - SECOND / 2),
            ("-7 days", -7 * DAY),
            ("- 7 days", 0),
            ("7 days ago", -7 * DAY),
            ("@ 1 min", MINUTE),
            ("90s", 90 * SECOND),
            ("60 s", MINUTE),
            ("1h30m", 90 * MINUTE),
            ("PT1H", HOUR),
            ("P1DT12H", 36 * HOUR),
            ("P2W", 14 * DAY),
            ("0", 0),
            ("5", 5 * SECOND),
            ("2 weeks", 14 * DAY),
            ("1.5 hours", 90 * MINUTE),
            (".5 s", SECOND / 2),
            ("100 ms", 100_000),
            ("5 microseconds", 5),
            ("0.0000005 s", 1),
            ("1 day -1 hour", 23 * HOUR),
            ("106751991 days", 106_751_991 * DAY),
        ] {
            if text == "- 7 days" {
                assert!(parse_interval(text).is_err());
            } else {
                assert_eq!(parse_interval(text).map(|interval| interval.microseconds), Ok(microseconds), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_a_fixed_duration() {
        for text in [
            "", " ", "day", "1 dayz", "1 2 days", "1:60", "1::2", "1:2:3:4", "P", "PT", "P1H", "--1 s", "1 day,",
            "ago", "1..2 s", ".",
        ] {
            assert_eq!(parse_interval(text), Err(IntervalError::Syntax(text.to_string())), "{text}");
        }
        for (text, unit) in [
            ("1 month", "month"),
            ("2 years", "year"),
            ("P1M", "month"),
            ("1 decade", "decade"),
            ("1 century", "century"),
        ] {
            let error = parse_interval(text).unwrap_err();
            assert!(matches!(&error, IntervalError::NotFixed { unit: found, .. } if *found == unit), "{text}");
            assert!(error.hint().contains("days"));
        }
        for text in [
            "106751992 days",
            "99999999999999999999999999 days",
            "9223372036854775808 us",
            "99999999999999999999999999999999999999 days 99999999999999999999999999999999999999 days",
        ] {
            assert_eq!(parse_interval(text), Err(IntervalError::OutOfRange(text.to_string())), "{text}");
        }
    }

    #[test]
    fn canonical_text_parses_back() {
        for (microseconds, text) in [
            (7 * DAY, "7 days"),
            (HOUR, "1 hour"),
            (90 * SECOND, "90 seconds"),
            (36 * HOUR, "36 hours"),
            (-DAY, "-1 day"),
            (0, "0"),
            (1_500, "1500 microseconds"),
            (i64::MIN, "-9223372036854775808 microseconds"),
            (i64::MAX, "9223372036854775807 microseconds"),
        ] {
            assert_eq!(format_interval(microseconds), text);
            assert_eq!(parse_interval(text).unwrap().microseconds, microseconds);
        }
    }

    #[test]
    fn labels() {
        for (microseconds, label) in [
            (7 * DAY, "7d"),
            (HOUR, "1h"),
            (10 * MINUTE, "10m"),
            (30 * SECOND, "30s"),
            (90 * MINUTE, "1h30m"),
            (100 * MILLISECOND, "100ms"),
            (-7 * DAY, "minus_7d"),
            (0, "0s"),
        ] {
            assert_eq!(interval_label(microseconds), label);
        }
    }
}
