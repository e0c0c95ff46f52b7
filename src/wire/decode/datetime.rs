//! Dates, times and intervals from text. ISO 8601 order only, which is what drivers send; a zone is an offset or UTC.

use granary_postgres::datetime::{self, Zone};
use granary_postgres::{Type, Value, text, types};

use crate::engine::converted;
use crate::error::{Error, Kind, Result};
use crate::time::Clock;
use crate::wire::encode::{Civil, MICROS_PER_DAY, days_from_civil, days_in_month};

const MICROS_PER_SECOND: i64 = 1_000_000;

/// What a reader may find wrong; the caller knows the type and the whole text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Syntax,
    FieldRange,
    Range,
    Months,
}

type Read<T> = std::result::Result<T, Fault>;

fn error(fault: Fault, type_name: &str, text: &str) -> Error {
    match fault {
        Fault::Syntax => {
            let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
            Error::new(Kind::InvalidDatetimeFormat, message)
        }
        Fault::FieldRange => {
            let message = format!("date/time field value out of range: \"{text}\"");
            Error::new(Kind::DatetimeFieldOverflow, message)
        }
        Fault::Range => {
            let short = type_name.split(' ').next().unwrap_or(type_name);
            Error::new(Kind::DatetimeFieldOverflow, format!("{short} out of range: \"{text}\""))
        }
        Fault::Months => {
            Error::not_supported("an interval of months or years as a parameter").with_hint("a number of days or hours")
        }
    }
}

/// Days since 1970. A time of day after the date is left out, as PostgreSQL does.
pub fn date(text: &str) -> Result<i32> {
    if let Ok(moment) = Moment::read(text)
        && let Ok(days) = i32::try_from(moment.days)
    {
        return Ok(days);
    }
    match otherwise(text, types::DATE, Zone::UTC)? {
        Value::Date(days) => Ok(days),
        _ => Err(Error::internal("a date is none")),
    }
}

/// Microseconds since 1970. `zone`: where the time is if the text does not say it; without one it does not count, and may
/// still be there.
pub fn timestamp(text: &str, zone: Option<Zone>) -> Result<i64> {
    let read = || {
        let moment = Moment::read(text).ok()?;
        let offset_us = match (zone, moment.offset_seconds) {
            (None, _) | (Some(Zone::UTC), None) => 0,
            (Some(_), Some(offset_seconds)) => offset_seconds * MICROS_PER_SECOND,
            (Some(_), None) => return None,
        };
        moment.days.checked_mul(MICROS_PER_DAY)?.checked_add(moment.time_us - offset_us)
    };
    if let Some(time_us) = read() {
        return Ok(time_us);
    }
    let oid = if zone.is_some() { types::TIMESTAMPTZ } else { types::TIMESTAMP };
    match otherwise(text, oid, zone.unwrap_or(Zone::UTC))? {
        Value::Timestamp(time_us) => Ok(time_us),
        _ => Err(Error::internal("a time is none")),
    }
}

/// Microseconds since midnight.
pub fn time(text: &str) -> Result<i64> {
    let read = || {
        let mut scan = Scan::new(text);
        let time_us = scan.time()?;
        scan.spaces();
        if !scan.is_done() {
            scan.zone()?;
        }
        scan.finish()?;
        Ok::<i64, Fault>(time_us)
    };
    if let Ok(time_us) = read() {
        return Ok(time_us);
    }
    match otherwise(text, types::TIME, Zone::UTC)? {
        Value::Time(time_us) => Ok(time_us),
        _ => Err(Error::internal("a time of day is none")),
    }
}

/// What is not in the form that drivers send: infinities, names of months and zones, `now`, and what is wrong.
fn otherwise(text: &str, oid: u32, zone: Zone) -> Result<Value> {
    let clock = datetime::Clock { now_us: Clock::system().now_us(), zone };
    text::parse(text, &Type::of(oid), clock).map_err(|error| converted(error, ""))
}

pub fn date_of_binary(days: i32, epoch_days: i32) -> Result<i32> {
    if matches!(days, i32::MIN | i32::MAX) {
        return Ok(days);
    }
    days.checked_add(epoch_days).ok_or_else(|| Error::new(Kind::DatetimeFieldOverflow, "date out of range"))
}

pub fn timestamp_of_binary(micros: i64, epoch_us: i64) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    micros.checked_add(epoch_us).ok_or_else(|| Error::new(Kind::DatetimeFieldOverflow, "timestamp out of range"))
}

/// Microseconds of an interval whose days have 24 hours.
pub fn interval_of_parts(months: i32, days: i32, micros: i64) -> Result<i64> {
    if months != 0 {
        return Err(error(Fault::Months, "interval", ""));
    }
    i64::from(days)
        .checked_mul(MICROS_PER_DAY)
        .and_then(|of_days| of_days.checked_add(micros))
        .ok_or_else(|| Error::new(Kind::DatetimeFieldOverflow, "interval out of range"))
}

struct Moment {
    days: i64,
    time_us: i64,
    /// as far as the text says one
    offset_seconds: Option<i64>,
}

impl Moment {
    fn read(text: &str) -> Read<Moment> {
        let word = text.trim().to_ascii_lowercase();
        match word.as_str() {
            "epoch" => return Ok(Moment { days: 0, time_us: 0, offset_seconds: Some(0) }),
            "infinity" | "-infinity" | "+infinity" => return Err(Fault::Syntax),
            _ => {}
        }
        let mut scan = Scan::new(text);
        let (mut year, month, day) = scan.date()?;
        let (mut time_us, mut offset_seconds) = (0, None);
        if scan.next_if(b'T') || scan.next_if(b't') || scan.spaces() {
            if scan.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                time_us = scan.time()?;
                scan.spaces();
            }
            if !scan.is_done() && !scan.sees_era() {
                offset_seconds = Some(scan.zone()?);
                scan.spaces();
            }
        }
        if scan.era()? {
            year = 1 - year;
        }
        scan.finish()?;
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month).into() {
            return Err(Fault::FieldRange);
        }
        let civil = Civil { year, month, day: day as u8 };
        Ok(Moment { days: days_from_civil(civil), time_us, offset_seconds })
    }
}

struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn new(text: &'a str) -> Self {
        Scan { rest: text.trim().as_bytes() }
    }

    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn next_if(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, wanted: u8) -> Read<()> {
        if self.next_if(wanted) { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn spaces(&mut self) -> bool {
        let length = self.rest.len();
        self.rest = self.rest.trim_ascii_start();
        self.rest.len() < length
    }

    fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    fn finish(&self) -> Read<()> {
        if self.is_done() { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn digits(&mut self, most: usize) -> Read<&'a [u8]> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 || count > most {
            return Err(Fault::Syntax);
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits)
    }

    fn number(&mut self, most: usize) -> Read<i64> {
        self.digits(most).map(value_of)
    }

    /// `2024-02-29`, `2024/02/29` or `20240229`.
    fn date(&mut self) -> Read<(i64, u8, i64)> {
        let year = self.digits(8)?;
        let small = |number: i64| u8::try_from(number).map_err(|_| Fault::FieldRange);
        if year.len() == 8 {
            return Ok((value_of(&year[..4]), small(value_of(&year[4..6]))?, value_of(&year[6..])));
        }
        // two digits could be a month or a short year
        if year.len() < 3 || year.len() > 7 {
            return Err(Fault::Syntax);
        }
        let between = if self.next_if(b'/') {
            b'/'
        } else {
            self.expect(b'-')?;
            b'-'
        };
        let month = small(self.number(2)?)?;
        self.expect(between)?;
        let day = self.number(2)?;
        if value_of(year) == 0 {
            return Err(Fault::FieldRange);
        }
        Ok((value_of(year), month, day))
    }

    /// `23:59`, `23:59:59.999999`, `235959`, `24:00:00`; more than six decimals are rounded.
    fn time(&mut self) -> Read<i64> {
        let first = self.digits(6)?;
        let (mut seconds, mut micros) = (0, 0);
        let (hours, minutes) = match first.len() {
            6 => (value_of(&first[..2]), value_of(&first[2..4])),
            1 | 2 => {
                self.expect(b':')?;
                (value_of(first), self.number(2)?)
            }
            _ => return Err(Fault::Syntax),
        };
        let is_compact = first.len() == 6;
        if is_compact || self.next_if(b':') {
            seconds = if is_compact { value_of(&first[4..]) } else { self.number(2)? };
            if self.next_if(b'.') && self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                micros = micros_of(self.digits(usize::MAX)?);
            }
        }
        let time_us = (hours * 3_600 + minutes * 60 + seconds) * MICROS_PER_SECOND + micros;
        if minutes > 59 || seconds > 60 || time_us > MICROS_PER_DAY {
            return Err(Fault::FieldRange);
        }
        Ok(time_us)
    }

    /// Seconds east of Greenwich: `Z`, `UTC`, `+05`, `+05:30`, `-0530`, `+05:30:15`.
    fn zone(&mut self) -> Read<i64> {
        for name in [&b"utc"[..], b"gmt", b"zulu", b"z"] {
            if self.rest.len() >= name.len() && self.rest[..name.len()].eq_ignore_ascii_case(name) {
                self.rest = &self.rest[name.len()..];
                return Ok(0);
            }
        }
        let sign = if self.next_if(b'-') {
            -1
        } else {
            self.expect(b'+')?;
            1
        };
        let digits = self.digits(4)?;
        let (hours, mut minutes, mut seconds) = match digits.len() {
            1 | 2 => (value_of(digits), 0, 0),
            3 | 4 => (value_of(digits) / 100, value_of(digits) % 100, 0),
            _ => return Err(Fault::Syntax),
        };
        if digits.len() <= 2 && self.next_if(b':') {
            minutes = self.number(2)?;
            if self.next_if(b':') {
                seconds = self.number(2)?;
            }
        }
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Fault::FieldRange);
        }
        Ok(sign * (hours * 3_600 + minutes * 60 + seconds))
    }

    fn sees_era(&self) -> bool {
        self.rest.eq_ignore_ascii_case(b"BC") || self.rest.eq_ignore_ascii_case(b"AD")
    }

    /// Whether the year is one before Christ.
    fn era(&mut self) -> Read<bool> {
        self.spaces();
        if !self.sees_era() {
            return Ok(false);
        }
        let is_before_christ = self.rest.eq_ignore_ascii_case(b"BC");
        self.rest = &[];
        Ok(is_before_christ)
    }
}

fn value_of(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

/// A decimal fraction of a second, rounded to microseconds.
fn micros_of(digits: &[u8]) -> i64 {
    let digit = |place: usize| digits.get(place).map_or(0, |digit| i64::from(digit - b'0'));
    let micros = (0..6).fold(0, |micros, place| micros * 10 + digit(place));
    micros + i64::from(digit(6) >= 5)
}

/// Microseconds of `1 day 02:03:04.5`, `90 minutes`, `-1 days +01:00`, `P1DT2H30M` and the like.
pub fn interval(text: &str) -> Result<i64> {
    read_interval(text).map_err(|fault| match fault {
        Fault::Range | Fault::FieldRange => {
            Error::new(Kind::DatetimeFieldOverflow, format!("interval field value out of range: \"{text}\""))
        }
        fault => error(fault, "interval", text),
    })
}

fn read_interval(text: &str) -> Read<i64> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(iso) = lower.strip_prefix('p') {
        return read_iso_interval(iso);
    }
    let mut words = lower.trim_start_matches('@').split_ascii_whitespace().flat_map(split_unit).peekable();
    let mut total: i128 = 0;
    let mut any = false;
    while let Some(word) = words.next() {
        if word == "ago" && any && words.peek().is_none() {
            total = -total;
            break;
        }
        any = true;
        if word.contains(':') {
            total += clock(word)?;
        } else {
            let unit = match words.peek() {
                Some(next) if unit_us(next).is_ok() || is_month_unit(next) => words.next().unwrap_or_default(),
                Some(next) if next.bytes().all(|byte| byte.is_ascii_alphabetic()) && *next != "ago" => {
                    return Err(Fault::Syntax);
                }
                _ => "s",
            };
            total += amount(word, unit)?;
        }
    }
    if !any {
        return Err(Fault::Syntax);
    }
    i64::try_from(total).map_err(|_| Fault::Range)
}

/// `1h30m` is four words; what has a colon or starts with a letter is one.
fn split_unit(word: &str) -> impl Iterator<Item = &str> {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic();
    let is_plain = word.contains(':') || word.bytes().next().is_none_or(is_letter);
    let mut rest = word;
    std::iter::from_fn(move || {
        let first = rest.bytes().next()?;
        let end = if is_plain { None } else { rest.bytes().position(|byte| is_letter(byte) != is_letter(first)) };
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(part)
    })
}

fn read_iso_interval(text: &str) -> Read<i64> {
    let mut total: i128 = 0;
    let mut rest = text;
    let mut in_time = false;
    let mut any = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('t').filter(|_| !in_time) {
            (rest, in_time) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or(Fault::Syntax)?;
        let unit = match (&rest[end..=end], in_time) {
            ("y", false) => "year",
            ("m", false) => "month",
            ("w", false) => "week",
            ("d", false) => "day",
            ("h", true) => "hour",
            ("m", true) => "minute",
            ("s", true) => "second",
            _ => return Err(Fault::Syntax),
        };
        total += amount(&rest[..end], unit)?;
        rest = &rest[end + 1..];
        any = true;
    }
    if !any {
        return Err(Fault::Syntax);
    }
    i64::try_from(total).map_err(|_| Fault::Range)
}

fn is_month_unit(unit: &str) -> bool {
    let units = ["month", "mon", "year", "yr", "y", "decade", "century", "centuries", "millennium", "millennia"];
    units.contains(&unit.strip_suffix('s').unwrap_or(unit)) || units.contains(&unit)
}

fn unit_us(unit: &str) -> Read<i128> {
    Ok(match unit {
        "us" | "usec" | "usecs" | "microsecond" | "microseconds" => 1,
        "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => 1_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000,
        "d" | "day" | "days" => 86_400_000_000,
        "w" | "week" | "weeks" => 604_800_000_000,
        _ => return Err(Fault::Syntax),
    })
}

/// A signed decimal number of a unit, in microseconds.
fn amount(number: &str, unit: &str) -> Read<i128> {
    let (negative, unsigned) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits_only(whole) || !digits_only(fraction) {
        return Err(Fault::Syntax);
    }
    if whole.len() > 18 {
        return Err(Fault::FieldRange);
    }
    let nothing = whole.bytes().chain(fraction.bytes()).all(|digit| digit == b'0');
    if is_month_unit(unit) {
        return if nothing { Ok(0) } else { Err(Fault::Months) };
    }
    let unit_us = unit_us(unit)?;
    let fraction = &fraction[..fraction.len().min(12)];
    let part = i128::from(value_of(fraction.as_bytes())) * unit_us;
    let power = 10_i128.pow(fraction.len() as u32);
    let total = i128::from(value_of(whole.as_bytes())) * unit_us + (part + power / 2) / power;
    Ok(if negative { -total } else { total })
}

/// `[-]hours:minutes[:seconds[.fraction]]`, any number of hours.
fn clock(word: &str) -> Read<i128> {
    let (negative, unsigned) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut parts = unsigned.split(':');
    let (hours, minutes) = (parts.next().ok_or(Fault::Syntax)?, parts.next().ok_or(Fault::Syntax)?);
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() || hours.contains('.') || minutes.contains('.') || minutes.starts_with(['-', '+']) {
        return Err(Fault::Syntax);
    }
    let (minutes, seconds) = (amount(minutes, "minute")?, amount(seconds, "second")?);
    if minutes >= 3_600_000_000 || !(0..=60_000_000).contains(&seconds) {
        return Err(Fault::FieldRange);
    }
    let total = amount(hours, "hour")? + minutes + seconds;
    Ok(if negative { -total } else { total })
}
