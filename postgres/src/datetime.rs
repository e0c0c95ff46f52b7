//! Dates, times and intervals: read as PostgreSQL reads them with DateStyle ISO, MDY, printed as it prints them, and its
//! arithmetic with them. The calendar is the proleptic Gregorian one.

use chrono_tz::{OffsetComponents, OffsetName, Tz};
use granary_sql::timestamp::{civil_from_days, days_from_civil};

use crate::error::{Error, Result};
use crate::value::Interval;

pub const SECOND_US: i64 = 1_000_000;
pub const MINUTE_US: i64 = 60 * SECOND_US;
pub const HOUR_US: i64 = 60 * MINUTE_US;
pub const DAY_US: i64 = 24 * HOUR_US;

/// What a text of a date or time says; fields that it does not say are None.
#[derive(Debug, Default, Clone)]
struct Fields {
    date: Option<(i64, i64, i64)>,
    /// microseconds of the day
    time_us: Option<i64>,
    zone: Option<Zone>,
    special: Option<Special>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Special {
    Infinity,
    NegativeInfinity,
    Now,
    Today,
    Tomorrow,
    Yesterday,
    Epoch,
}

/// A fixed offset or a place with its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// seconds east of UTC
    Fixed(i32),
    Named(Tz),
}

impl Zone {
    pub const UTC: Zone = Zone::Fixed(0);

    /// `UTC`, `Europe/Berlin`, `+02`, `EST`. None if there is no such zone.
    pub fn named(name: &str) -> Option<Zone> {
        let upper = name.to_ascii_uppercase();
        let fixed = |hours: i32| Some(Zone::Fixed(hours * 3600));
        match upper.as_str() {
            "UTC" | "GMT" | "Z" | "ZULU" | "UCT" | "UT" | "ETC/UTC" => return Some(Zone::UTC),
            "EST" => return fixed(-5),
            "EDT" | "AST" => return fixed(-4),
            "CST" => return fixed(-6),
            "CDT" => return fixed(-5),
            "MST" => return fixed(-7),
            "MDT" => return fixed(-6),
            "PST" => return fixed(-8),
            "PDT" => return fixed(-7),
            "CET" | "MEZ" | "BST" => return fixed(1),
            "CEST" | "MESZ" | "EET" => return fixed(2),
            "MSK" => return fixed(3),
            "JST" => return fixed(9),
            _ => {}
        }
        if let Some(offset) = offset_seconds(name) {
            return Some(Zone::Fixed(offset));
        }
        let found = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
        found.copied().map(Zone::Named)
    }

    /// Seconds east of UTC at a time of UTC.
    pub fn offset_at(self, utc_us: i64) -> i32 {
        match self {
            Zone::Fixed(offset) => offset,
            Zone::Named(zone) => {
                use chrono_tz::TzOffset;
                let offset: Option<TzOffset> = utc_date_time(utc_us).map(|time| offset_of(zone, time));
                offset.map_or(0, |offset| {
                    let total = offset.base_utc_offset() + offset.dst_offset();
                    i32::try_from(total.num_seconds()).unwrap_or(0)
                })
            }
        }
    }

    /// The abbreviation at a time of UTC.
    pub fn abbreviation_at(self, utc_us: i64) -> String {
        match self {
            Zone::Fixed(0) => "UTC".to_owned(),
            Zone::Fixed(offset) => format_offset(offset),
            Zone::Named(zone) => {
                let name =
                    utc_date_time(utc_us).and_then(|time| offset_of(zone, time).abbreviation().map(str::to_owned));
                name.unwrap_or_default()
            }
        }
    }

    /// The UTC time of a local one. Where clocks were set back, the earlier of the two; in a gap, as if the old offset went on.
    pub fn to_utc(self, local_us: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => local_us - i64::from(offset) * SECOND_US,
            Zone::Named(_) => {
                let guess = |offset: i32| local_us - i64::from(offset) * SECOND_US;
                let before = self.offset_at(guess(0) - DAY_US);
                let after = self.offset_at(guess(0) + DAY_US);
                let fits = |offset: i32| self.offset_at(guess(offset)) == offset;
                if fits(before) {
                    guess(before)
                } else if fits(after) {
                    guess(after)
                } else {
                    guess(before)
                }
            }
        }
    }

    pub fn to_local(self, utc_us: i64) -> i64 {
        utc_us.saturating_add(i64::from(self.offset_at(utc_us)) * SECOND_US)
    }
}

type NaiveUtc = chrono::NaiveDateTime;

fn utc_date_time(utc_us: i64) -> Option<NaiveUtc> {
    chrono::DateTime::from_timestamp_micros(utc_us).map(|time| time.naive_utc())
}

fn offset_of(zone: Tz, time: NaiveUtc) -> chrono_tz::TzOffset {
    use chrono::TimeZone;
    zone.offset_from_utc_datetime(&time)
}

/// `+02`, `-0530`, `+05:30:15`.
fn offset_seconds(text: &str) -> Option<i32> {
    let sign = match text.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let parts: Vec<&str> = digits.split(':').collect();
    let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (hours, minutes, seconds) = match parts.as_slice() {
        [both] if both.len() == 4 => (number(&both[..2])?, number(&both[2..])?, 0),
        [hours] if (1..=2).contains(&hours.len()) => (number(hours)?, 0, 0),
        [hours, minutes] => (number(hours)?, number(minutes)?, 0),
        [hours, minutes, seconds] => (number(hours)?, number(minutes)?, number(seconds)?),
        _ => return None,
    };
    (hours < 16 && minutes < 60 && seconds < 60).then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

fn syntax(name: &str, text: &str) -> Error {
    Error::new("22007", format!("invalid input syntax for type {name}: \"{text}\""))
}

fn field_range(text: &str) -> Error {
    Error::new("22008", format!("date/time field value out of range: \"{text}\""))
}

fn month_named(word: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let lower = word.to_ascii_lowercase();
    let found = MONTHS.iter().position(|month| {
        (lower.len() >= 3 && month.starts_with(&lower)) || (lower == "sept" && *month == "september")
    });
    found.and_then(|index| i64::try_from(index + 1).ok())
}

fn is_day_name(word: &str) -> bool {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let lower = word.to_ascii_lowercase();
    lower.len() >= 3 && DAYS.iter().any(|day| day.starts_with(&lower))
}

/// Reads the parts of a date or time in any order.
fn fields(name: &str, text: &str) -> Result<Fields> {
    let wrong = || syntax(name, text);
    let mut fields = Fields::default();
    let mut loose: Vec<(String, bool)> = Vec::new();
    let (mut is_bc, mut is_pm, mut month) = (false, None, None);
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.len() > 128 {
        return Err(wrong());
    }
    // `2024-01-31T10:00` is two words
    let bytes = trimmed.as_bytes();
    let mut spaced = String::with_capacity(trimmed.len());
    for (index, character) in trimmed.char_indices() {
        let between_digits =
            index > 0 && bytes[index - 1].is_ascii_digit() && bytes.get(index + 1).is_some_and(u8::is_ascii_digit);
        match character {
            'T' | 't' if between_digits => spaced.push(' '),
            ',' => spaced.push(' '),
            other => spaced.push(other),
        }
    }
    for word in spaced.split_whitespace() {
        let first = word.chars().next().unwrap_or(' ');
        if first.is_ascii_digit() && word.contains(':') {
            if fields.time_us.is_some() {
                return Err(wrong());
            }
            let (time, rest) = split_time(word).ok_or_else(wrong)?;
            fields.time_us = Some(time.ok_or_else(|| field_range(text))?);
            match rest.to_ascii_lowercase().as_str() {
                "" => {}
                "am" => is_pm = Some(false),
                "pm" => is_pm = Some(true),
                _ => fields.zone = Some(Zone::named(rest).ok_or_else(wrong)?),
            }
        } else if first.is_ascii_digit() {
            let (number, rest) = word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len()));
            if !rest.is_empty()
                && !rest.eq_ignore_ascii_case("z")
                && !["bc", "ad", "am", "pm"].contains(&rest.to_ascii_lowercase().as_str())
            {
                // 31-Jan-2024
                let parts: Vec<&str> = word.split(['-', '/', '.']).collect();
                match parts.as_slice() {
                    [day, name, year] if month_named(name).is_some() => {
                        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
                        let first = number(day)?;
                        fields.date = Some(if day.len() > 2 {
                            (first, month_named(name).unwrap_or(1), number(year)?)
                        } else {
                            (full_year(number(year)?, year.len()), month_named(name).unwrap_or(1), first)
                        });
                        continue;
                    }
                    _ => return Err(wrong()),
                }
            }
            loose.push((number.to_owned(), false));
            match rest.to_ascii_lowercase().as_str() {
                "bc" => is_bc = true,
                "pm" => is_pm = Some(true),
                "am" => is_pm = Some(false),
                "z" => fields.zone = Some(Zone::UTC),
                _ => {}
            }
        } else if matches!(first, '+' | '-') && word.len() > 1 && word.as_bytes()[1].is_ascii_digit() {
            fields.zone = Some(Zone::Fixed(offset_seconds(word).ok_or_else(wrong)?));
        } else {
            let lower = word.to_ascii_lowercase();
            let special = match lower.as_str() {
                "infinity" | "+infinity" => Some(Special::Infinity),
                "-infinity" => Some(Special::NegativeInfinity),
                "now" => Some(Special::Now),
                "today" => Some(Special::Today),
                "tomorrow" => Some(Special::Tomorrow),
                "yesterday" => Some(Special::Yesterday),
                "epoch" => Some(Special::Epoch),
                _ => None,
            };
            match lower.as_str() {
                _ if special.is_some() => fields.special = special,
                "bc" => is_bc = true,
                "ad" | "at" | "on" => {}
                "am" => is_pm = Some(false),
                "pm" => is_pm = Some(true),
                "allballs" => {
                    fields.time_us = Some(0);
                    fields.zone = Some(Zone::UTC);
                }
                _ if month_named(&lower).is_some() && lower.len() >= 3 => month = month_named(&lower),
                _ if is_day_name(&lower) => {}
                _ => fields.zone = Some(Zone::named(word).ok_or_else(wrong)?),
            }
        }
    }
    for (word, _) in &loose {
        read_date_word(&mut fields, month, word, (name, text))?;
    }
    if let (None, Some(month), [first, second]) = (fields.date, month, loose.as_slice()) {
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        fields.date = Some(if first.0.len() > 2 {
            (number(&first.0)?, month, number(&second.0)?)
        } else {
            (full_year(number(&second.0)?, second.0.len()), month, number(&first.0)?)
        });
    }
    if let Some(is_pm) = is_pm {
        let time = fields.time_us.ok_or_else(wrong)?;
        let hour = time / HOUR_US;
        if !(1..=12).contains(&hour) {
            return Err(field_range(text));
        }
        let hour_now = hour % 12 + if is_pm { 12 } else { 0 };
        fields.time_us = Some(time % HOUR_US + hour_now * HOUR_US);
    }
    if let Some((year, month, day)) = fields.date {
        let year = if is_bc { 1 - year } else { year };
        if !is_bc && year == 0 || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(field_range(text));
        }
        fields.date = Some((year, month, day));
    }
    Ok(fields)
}

fn full_year(year: i64, digits: usize) -> i64 {
    match year {
        _ if digits > 2 => year,
        0..70 => year + 2000,
        _ => year + 1900,
    }
}

/// A word of digits: a date with separators, `20240131`, or a part of one.
fn read_date_word(fields: &mut Fields, month: Option<i64>, word: &str, (name, text): (&str, &str)) -> Result<()> {
    let wrong = || syntax(name, text);
    // `2024-01-31-05`: a zone behind a date is read as one by PostgreSQL
    let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
    let parts: Vec<&str> = word.split(['-', '/', '.']).collect();
    match parts.as_slice() {
        [year, month, day] if year.len() > 2 => fields.date = Some((number(year)?, number(month)?, number(day)?)),
        [month, day, year] => {
            let (month, day) = (number(month)?, number(day)?);
            fields.date = Some((full_year(number(year)?, year.len()), month, day));
        }
        [year, day] if year.len() > 2 && day.len() == 3 => {
            let (year, day) = (number(year)?, number(day)?);
            let (_, month, of_month) = civil_from_days(days_from_civil(year, 1, 1) + day - 1);
            fields.date = Some((year, month, of_month));
        }
        [all] if all.len() == 8 && month.is_none() => {
            fields.date = Some((number(&all[..4])?, number(&all[4..6])?, number(&all[6..])?));
        }
        [all] if all.len() == 6 && fields.date.is_some() && fields.time_us.is_none() => {
            let (hours, minutes, seconds) = (number(&all[..2])?, number(&all[2..4])?, number(&all[4..])?);
            fields.time_us = Some(hours * HOUR_US + minutes * MINUTE_US + seconds * SECOND_US);
        }
        [all] if all.len() == 6 && month.is_none() && name != "time" => {
            let year = full_year(number(&all[..2])?, 2);
            fields.date = Some((year, number(&all[2..4])?, number(&all[4..])?));
        }
        [all] if all.len() == 6 => {
            let (hours, minutes, seconds) = (number(&all[..2])?, number(&all[2..4])?, number(&all[4..])?);
            fields.time_us = Some(hours * HOUR_US + minutes * MINUTE_US + seconds * SECOND_US);
        }
        [_] if month.is_some() => {}
        _ => return Err(wrong()),
    }
    Ok(())
}

/// `10:00[:00[.5]]` and what follows without a blank. The time is None if a field is out of range.
fn split_time(word: &str) -> Option<(Option<i64>, &str)> {
    let end = word.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(word.len());
    let (clock, rest) = word.split_at(end);
    let mut parts = clock.split(':');
    let whole = |text: &str| text.parse::<i64>().ok().filter(|_| !text.is_empty() && text.len() <= 2);
    let hours = whole(parts.next()?)?;
    let minutes = whole(parts.next()?)?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (whole(seconds)?, fraction_us(fraction)?)
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let total = hours * HOUR_US + minutes * MINUTE_US + seconds * SECOND_US + fraction;
    let is_valid = hours <= 24 && minutes < 60 && seconds <= 60 && total <= DAY_US;
    Some((is_valid.then_some(total), rest))
}

/// Digits behind a point as microseconds, rounded.
fn fraction_us(digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept: i64 = format!("{digits:0<7}").get(..7)?.parse().ok()?;
    Some((kept + 5) / 10)
}

/// What times of texts are read and printed by.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// UTC, when the transaction began
    pub now_us: i64,
    pub zone: Zone,
}

/// A timestamp, of UTC if it `is_zoned`. Infinities are the ends of the range.
pub fn parse_timestamp(text: &str, is_zoned: bool, clock: Clock) -> Result<i64> {
    let name = if is_zoned { "timestamp with time zone" } else { "timestamp" };
    let fields = fields(name, text)?;
    let today = clock.zone.to_local(clock.now_us).div_euclid(DAY_US) * DAY_US;
    let of_zone = |local: i64| if is_zoned { clock.zone.to_utc(local) } else { local };
    let time = fields.time_us.unwrap_or(0);
    match fields.special {
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::NegativeInfinity) => return Ok(i64::MIN),
        Some(Special::Epoch) => return Ok(0),
        Some(Special::Now) => return Ok(if is_zoned { clock.now_us } else { clock.zone.to_local(clock.now_us) }),
        Some(Special::Today) => return Ok(of_zone(today + time)),
        Some(Special::Tomorrow) => return Ok(of_zone(today + DAY_US + time)),
        Some(Special::Yesterday) => return Ok(of_zone(today - DAY_US + time)),
        None => {}
    }
    let (year, month, day) = fields.date.ok_or_else(|| syntax(name, text))?;
    let total = i128::from(days_from_civil(year, month, day)) * i128::from(DAY_US) + i128::from(time);
    let out_of_range = || Error::new("22008", format!("timestamp out of range: \"{text}\""));
    let local = i64::try_from(total).ok().filter(|local| is_in_range(*local)).ok_or_else(out_of_range)?;
    Ok(match (is_zoned, fields.zone) {
        (false, _) => local,
        (true, Some(zone)) => zone.to_utc(local),
        (true, None) => clock.zone.to_utc(local),
    })
}

/// From 4713 BC on, up to what 64 bits can count from 1970: 294247 AD, thirty years less than PostgreSQL.
pub fn is_in_range(time_us: i64) -> bool {
    (-210_866_803_200_000_000..i64::MAX).contains(&time_us)
}

/// Days since 1970; infinities are the ends of the range.
pub fn parse_date(text: &str, clock: Clock) -> Result<i32> {
    let fields = fields("date", text)?;
    let today = clock.zone.to_local(clock.now_us).div_euclid(DAY_US);
    let days = match fields.special {
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::NegativeInfinity) => return Ok(i32::MIN),
        Some(Special::Epoch) => 0,
        Some(Special::Now | Special::Today) => today,
        Some(Special::Tomorrow) => today + 1,
        Some(Special::Yesterday) => today - 1,
        None => {
            let (year, month, day) = fields.date.ok_or_else(|| syntax("date", text))?;
            days_from_civil(year, month, day)
        }
    };
    let in_range = (-2_440_588..2_145_042_542).contains(&days);
    i32::try_from(days)
        .ok()
        .filter(|_| in_range)
        .ok_or_else(|| Error::new("22008", format!("date out of range: \"{text}\"")))
}

/// Microseconds of the day, and seconds east of UTC.
pub fn parse_time(text: &str, is_zoned: bool, clock: Clock) -> Result<(i64, i32)> {
    let name = if is_zoned { "time with time zone" } else { "time" };
    let read =
        fields("time", text).map_err(|error| if error.sqlstate == "22007" { syntax(name, text) } else { error })?;
    let now = clock.zone.to_local(clock.now_us);
    let time = match read.special {
        Some(Special::Now) => now.rem_euclid(DAY_US),
        _ => read.time_us.ok_or_else(|| syntax(name, text))?,
    };
    let zone = read.zone.unwrap_or(clock.zone);
    Ok((time, zone.offset_at(clock.now_us)))
}

/// `2024-01-31`, with BC for years before 1.
pub fn format_date(days: i32) -> String {
    match days {
        i32::MAX => return "infinity".to_owned(),
        i32::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let (year, month, day) = civil_from_days(i64::from(days));
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02}{era}")
}

/// `10:00:00.5`.
pub fn format_time(of_day_us: i64) -> String {
    let (hours, minutes, seconds) =
        (of_day_us / HOUR_US, of_day_us % HOUR_US / MINUTE_US, of_day_us % MINUTE_US / SECOND_US);
    format!("{hours:02}:{minutes:02}:{seconds:02}{}", format_fraction(of_day_us % SECOND_US))
}

fn format_fraction(us: i64) -> String {
    if us == 0 { String::new() } else { format!(".{:06}", us.abs()).trim_end_matches('0').to_owned() }
}

/// `+02`, `-05:30`.
pub fn format_offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{sign}{hours:02}"),
        (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// With the offset of a zone, if one is given.
pub fn format_timestamp(time_us: i64, zone: Option<Zone>) -> String {
    match time_us {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let local = zone.map_or(time_us, |zone| zone.to_local(time_us));
    let days = i32::try_from(local.div_euclid(DAY_US)).unwrap_or(0);
    let date = format_date(days);
    let (date, era) = date.strip_suffix(" BC").map_or((date.as_str(), ""), |date| (date, " BC"));
    let offset = zone.map_or_else(String::new, |zone| format_offset(zone.offset_at(time_us)));
    format!("{date} {}{offset}{era}", format_time(local.rem_euclid(DAY_US)))
}

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

/// Errors: 22007, 22015.
pub fn parse_interval(text: &str) -> Result<Interval> {
    let wrong = || syntax("interval", text);
    let out_of_range = || Error::new("22015", "interval field value out of range: \"".to_owned() + text + "\"");
    let trimmed = text.trim();
    let mut total = Parts::default();
    if let Some(rest) = trimmed.strip_prefix(['P', 'p']) {
        read_iso(rest, &mut total).ok_or_else(wrong)?;
        return total.interval().ok_or_else(out_of_range);
    }
    let (words, is_ago) = match trimmed.to_ascii_lowercase().strip_suffix("ago") {
        Some(rest) => (rest.trim().to_owned(), true),
        None => (trimmed.to_ascii_lowercase(), false),
    };
    let words = words.strip_prefix('@').unwrap_or(&words).trim().to_owned();
    let tokens = tokens(&words).ok_or_else(wrong)?;
    if tokens.is_empty() {
        return Err(wrong());
    }
    let mut at = 0;
    while at < tokens.len() {
        let number = &tokens[at];
        at += 1;
        if !number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
            return Err(wrong());
        }
        let sign = if number.starts_with('-') { -1 } else { 1 };
        let unsigned = number.trim_start_matches(['+', '-']);
        if unsigned.contains(':') {
            total.microseconds += sign * clock_us(unsigned).ok_or_else(wrong)?;
            continue;
        }
        if let Some((years, months)) = unsigned.split_once('-') {
            let whole = |text: &str| text.parse::<i128>().map_err(|_| wrong());
            total.months += f64_of(sign * (whole(years)? * 12 + whole(months)?));
            continue;
        }
        let amount: f64 = unsigned.parse().map_err(|_| wrong())?;
        let amount = if sign < 0 { -amount } else { amount };
        let unit = tokens.get(at).filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic() || c == 'µ'));
        let unit = match unit {
            Some(unit) => {
                at += 1;
                unit.as_str()
            }
            // a number before a clock is days, a last one seconds
            None if tokens.get(at).is_some_and(|next| next.contains(':')) => "day",
            None if at == tokens.len() => "second",
            None => return Err(wrong()),
        };
        total.add(amount, unit).ok_or_else(wrong)?;
    }
    let mut interval = total.interval().ok_or_else(out_of_range)?;
    if is_ago {
        interval = Interval { months: -interval.months, days: -interval.days, microseconds: -interval.microseconds };
    }
    Ok(interval)
}

fn f64_of(number: i128) -> f64 {
    number as f64
}

#[derive(Default)]
struct Parts {
    months: f64,
    days: f64,
    microseconds: i128,
}

impl Parts {
    /// Parts of a month become days, those of a day microseconds.
    fn add(&mut self, amount: f64, unit: &str) -> Option<()> {
        let unit = if unit.len() > 3 || matches!(unit, "yrs" | "hrs" | "min" | "mins" | "mon" | "mons") {
            unit.strip_suffix('s').unwrap_or(unit)
        } else {
            unit
        };
        match unit {
            "millennium" | "millennia" | "mil" => self.add_months(amount * 12_000.0),
            "century" | "centurie" | "cent" | "c" => self.add_months(amount * 1200.0),
            "decade" | "dec" => self.add_months(amount * 120.0),
            "year" | "yr" | "y" => self.add_months(amount * 12.0),
            "month" | "mon" => {
                let whole = amount.trunc();
                self.months += whole;
                self.add_days((amount - whole) * 30.0);
            }
            "week" | "w" => self.add_days(amount * 7.0),
            "day" | "d" => self.add_days(amount),
            "hour" | "hr" | "h" => self.add_us(amount * 3.6e9),
            "minute" | "min" | "m" => self.add_us(amount * 6e7),
            "second" | "sec" | "s" => self.add_us(amount * 1e6),
            "millisecond" | "msec" | "ms" | "millisecon" => self.add_us(amount * 1e3),
            "microsecond" | "usec" | "us" | "µs" => self.add_us(amount),
            _ => return None,
        }
        Some(())
    }

    fn add_months(&mut self, months: f64) {
        self.months += months.round();
    }

    fn add_days(&mut self, days: f64) {
        let whole = days.trunc();
        self.days += whole;
        self.add_us((days - whole) * 8.64e10);
    }

    fn add_us(&mut self, us: f64) {
        self.microseconds += us.round() as i128;
    }

    fn interval(&self) -> Option<Interval> {
        let whole = |number: f64| (number.abs() <= f64::from(i32::MAX)).then_some(number as i32);
        Some(Interval {
            months: whole(self.months)?,
            days: whole(self.days)?,
            microseconds: i64::try_from(self.microseconds).ok()?,
        })
    }
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
        let length = rest[body..].find(|c| !is_part(c)).map_or(rest.len(), |length| length + body);
        if length == body {
            return None;
        }
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// `hours:minutes[:seconds[.fraction]]`, with any number of hours.
fn clock_us(text: &str) -> Option<i128> {
    let mut parts = text.split(':');
    let hours: i128 = parts.next()?.parse().ok()?;
    let minutes: i128 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (seconds.parse().ok()?, fraction_us(fraction)?)
        }
    };
    let valid = minutes < 60 && seconds <= 60 && parts.next().is_none();
    valid.then(|| ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + i128::from(fraction))
}

/// `1Y2M3DT4H5M6.7S` behind its P.
fn read_iso(text: &str, total: &mut Parts) -> Option<()> {
    let (mut rest, mut is_time, mut any) = (text, false, false);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(['T', 't']) {
            (rest, is_time) = (after, true);
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let amount: f64 = rest[..end].parse().ok()?;
        let unit = rest[end..].chars().next()?.to_ascii_uppercase();
        rest = &rest[end + 1..];
        any = true;
        let unit = match (is_time, unit) {
            (false, 'Y') => "year",
            (false, 'M') => "mon",
            (false, 'W') => "week",
            (false, 'D') => "day",
            (true, 'H') => "hour",
            (true, 'M') => "minute",
            (true, 'S') => "second",
            _ => return None,
        };
        total.add(amount, unit)?;
    }
    any.then_some(())
}

/// A time moved by an interval: months first, by the calendar, then days, then the rest. Errors: 22008.
pub fn add_interval(time_us: i64, interval: Interval, zone: Option<Zone>) -> Result<i64> {
    if time_us == i64::MAX || time_us == i64::MIN {
        return Ok(time_us);
    }
    let out_of_range = || Error::new("22008", "timestamp out of range");
    let zone = zone.filter(|_| interval.months != 0 || interval.days != 0);
    let mut local = zone.map_or(time_us, |zone| zone.to_local(time_us));
    if interval.months != 0 {
        let (year, month, day) = civil_from_days(local.div_euclid(DAY_US));
        let months = year * 12 + (month - 1) + i64::from(interval.months);
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let day = day.min(days_in_month(year, month));
        let days = days_from_civil(year, month, day);
        local = days
            .checked_mul(DAY_US)
            .and_then(|start| start.checked_add(local.rem_euclid(DAY_US)))
            .ok_or_else(out_of_range)?;
    }
    let days = i64::from(interval.days) * DAY_US;
    local = local.checked_add(days).ok_or_else(out_of_range)?;
    let utc = zone.map_or(local, |zone| zone.to_utc(local));
    utc.checked_add(interval.microseconds).filter(|time| is_in_range(*time)).ok_or_else(out_of_range)
}

/// PostgreSQL's `age`: years, months, days and the rest between two local times.
pub fn age(later: i64, earlier: i64) -> Interval {
    let (sign, later, earlier) = if later < earlier { (-1, earlier, later) } else { (1, later, earlier) };
    let split = |time: i64| {
        let (year, month, day) = civil_from_days(time.div_euclid(DAY_US));
        (year * 12 + month - 1, day, time.rem_euclid(DAY_US))
    };
    let ((later_months, later_day, later_us), (months, day, us)) = (split(later), split(earlier));
    let (mut months_between, mut days, mut rest) = (later_months - months, later_day - day, later_us - us);
    if rest < 0 {
        rest += DAY_US;
        days -= 1;
    }
    if days < 0 {
        // borrowed from the month that the earlier one lies in if time runs on, of the later one if it is turned
        let of = if sign > 0 { months } else { later_months - 1 };
        let of = if sign > 0 { of } else { of };
        days += days_in_month(of.div_euclid(12), of.rem_euclid(12) + 1);
        months_between -= 1;
    }
    let whole = |number: i64| i32::try_from(number * sign).unwrap_or(0);
    Interval { months: whole(months_between), days: whole(days), microseconds: rest * sign }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock { now_us: 1_700_000_000_000_000, zone: Zone::UTC };

    #[test]
    fn timestamps_are_read_in_many_forms() {
        for (text, shown) in [
            ("2024-01-31", "2024-01-31 00:00:00+00"),
            ("2024-01-31 10:00:00.5+02", "2024-01-31 08:00:00.5+00"),
            ("2024-01-31T10:00:00Z", "2024-01-31 10:00:00+00"),
            ("Jan 5, 2024 3:04 PM", "2024-01-05 15:04:00+00"),
            ("31-Jan-2024", "2024-01-31 00:00:00+00"),
            ("01/02/2024", "2024-01-02 00:00:00+00"),
            ("20240131", "2024-01-31 00:00:00+00"),
            ("2024-06-01 12:00 Europe/Berlin", "2024-06-01 10:00:00+00"),
            ("2024-01-31 10:00 EST", "2024-01-31 15:00:00+00"),
            ("0044-03-15 BC", "0044-03-15 00:00:00+00 BC"),
            ("infinity", "infinity"),
            ("epoch", "1970-01-01 00:00:00+00"),
            ("today", "2023-11-14 00:00:00+00"),
        ] {
            let time = parse_timestamp(text, true, CLOCK).expect(text);
            assert_eq!(format_timestamp(time, Some(Zone::UTC)), shown, "{text}");
        }
        for (text, sqlstate) in [
            ("", "22007"),
            ("2024-02-30", "22008"),
            ("2024-13-01", "22008"),
            ("nonsense", "22007"),
            ("2024-01-01 25:00", "22008"),
        ] {
            assert_eq!(parse_timestamp(text, true, CLOCK).expect_err(text).sqlstate, sqlstate, "{text}");
        }
    }

    #[test]
    fn intervals_go_round() {
        for (text, shown) in [
            ("1 year 2 months 3 days 04:05:06.7", "1 year 2 mons 3 days 04:05:06.7"),
            ("1.5 months", "1 mon 15 days"),
            ("-1 day +02:00", "-1 days +02:00:00"),
            ("1 hour ago", "-01:00:00"),
            ("P1Y2M3DT4H5M6S", "1 year 2 mons 3 days 04:05:06"),
            ("1-2", "1 year 2 mons"),
            ("90 s", "00:01:30"),
            ("0", "00:00:00"),
            ("2 weeks", "14 days"),
            ("36:00", "36:00:00"),
        ] {
            assert_eq!(format_interval(parse_interval(text).expect(text)), shown, "{text}");
        }
        assert_eq!(parse_interval("soon").expect_err("no interval").sqlstate, "22007");
    }

    #[test]
    fn months_are_added_by_the_calendar() {
        let time = |text| parse_timestamp(text, false, CLOCK).expect(text);
        let month = Interval { months: 1, ..Interval::default() };
        assert_eq!(add_interval(time("2024-01-31"), month, None).expect("in range"), time("2024-02-29"));
        assert_eq!(format_interval(age(time("2001-04-10"), time("1957-06-13"))), "43 years 9 mons 27 days");
    }
}
