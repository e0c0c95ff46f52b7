//! Dates, times and intervals: read as PostgreSQL reads them with DateStyle ISO, MDY, printed as it prints them, and its
//! arithmetic with them. The calendar is the proleptic Gregorian one.

mod interval;
mod parse;

use chrono_tz::{OffsetComponents, OffsetName, Tz};
use granary_sql::timestamp::{civil_from_days, days_from_civil};

use crate::error::{Error, Result};
use crate::value::Interval;

pub use interval::{format_interval, parse_interval, parse_interval_within, without_fields};
pub use parse::{parse_date, parse_time, parse_timestamp};

pub const SECOND_US: i64 = 1_000_000;
pub const MINUTE_US: i64 = 60 * SECOND_US;
pub const HOUR_US: i64 = 60 * MINUTE_US;
pub const DAY_US: i64 = 24 * HOUR_US;

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

    /// The UTC time of a local one. Where clocks were set back, the later of the two; in a gap, as if the old offset went on.
    pub fn to_utc(self, local_us: i64) -> i64 {
        match self {
            Zone::Fixed(offset) => local_us.saturating_sub(i64::from(offset) * SECOND_US),
            Zone::Named(_) => {
                let guess = |offset: i32| local_us.saturating_sub(i64::from(offset) * SECOND_US);
                let before = self.offset_at(guess(0).saturating_sub(DAY_US));
                let after = self.offset_at(guess(0).saturating_add(DAY_US));
                let fits = |offset: i32| self.offset_at(guess(offset)) == offset;
                if fits(after) { guess(after) } else { guess(before) }
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

/// From 4713 BC on, up to what 64 bits can count from 1970: 294247 AD, thirty years less than PostgreSQL.
pub fn is_in_range(time_us: i64) -> bool {
    (-210_866_803_200_000_000..i64::MAX).contains(&time_us)
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

/// Errors: 22008 for what is no timestamp.
pub fn in_range(time_us: i64) -> Result<i64> {
    is_in_range(time_us).then_some(time_us).ok_or_else(timestamp_out_of_range)
}

fn timestamp_out_of_range() -> Error {
    Error::new("22008", "timestamp out of range")
}

pub fn interval_out_of_range() -> Error {
    Error::new("22008", "interval out of range")
}

/// A time moved by an interval: months first, by the calendar, then days, then the rest. Errors: 22008.
pub fn add_interval(time_us: i64, interval: Interval, zone: Option<Zone>) -> Result<i64> {
    if time_us == i64::MAX || time_us == i64::MIN {
        return Ok(time_us);
    }
    let out_of_range = timestamp_out_of_range;
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
    let days = i64::from(interval.days).checked_mul(DAY_US);
    local = days.and_then(|days| local.checked_add(days)).ok_or_else(out_of_range)?;
    let utc = zone.map_or(local, |zone| zone.to_utc(local));
    in_range(utc.checked_add(interval.microseconds).ok_or_else(out_of_range)?)
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
        // borrowed from the month that the earlier one lies in
        days += days_in_month(months.div_euclid(12), months.rem_euclid(12) + 1);
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
