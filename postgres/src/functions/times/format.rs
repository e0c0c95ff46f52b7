//! `to_char` of dates, times and intervals, and the templates that it shares with what reads them.

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::parts::iso_week;
use crate::datetime::{DAY_US, HOUR_US, MINUTE_US, SECOND_US, Zone};
use crate::error::{Error, Result};
use crate::value::Interval;

pub const MONTHS: [&str; 12] = [
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
/// From Sunday on.
pub const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
pub const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// Patterns as they have to be written, the longer before the shorter.
const PATTERNS: [&str; 112] = [
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "Day", "Dy", "D", "FF1", "FF2", "FF3",
    "FF4", "FF5", "FF6", "FX", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM",
    "MONTH", "MON", "MS", "Month", "Mon", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ",
    "US", "WW", "W", "Y,YYY", "YYYY", "YYY", "YY", "Y", "a.d.", "a.m.", "ad", "am", "b.c.", "bc", "cc", "day", "ddd",
    "dd", "dy", "d", "ff1", "ff2", "ff3", "ff4", "ff5", "ff6", "fx", "hh24", "hh12", "hh", "iddd", "id", "iw", "iyyy",
    "iyy", "iy", "i", "j", "mi", "mm", "month", "mon", "ms", "of", "p.m.", "pm", "q", "rm", "sssss", "ssss", "ss",
    "tzh", "tzm", "tz", "us", "ww", "w", "y,yyy", "yyyy", "yyy", "yy", "y",
];

/// One piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Pattern {
        /// as it is written
        name: &'static str,
        /// FM
        is_short: bool,
        /// TM
        is_local: bool,
        /// TH, or th
        ordinal: Option<bool>,
    },
    Space(char),
    Separator(char),
    Text(char),
}

pub fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let (mut is_short, mut is_local) = (false, false);
    'next: while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            (is_short, rest) = (true, after);
            continue;
        }
        if let Some(after) = rest.strip_prefix("TM").or_else(|| rest.strip_prefix("tm")) {
            (is_local, rest) = (true, after);
            continue;
        }
        for name in PATTERNS {
            let Some(after) = rest.strip_prefix(name) else { continue };
            let (mut ordinal, mut after) = (None, after);
            if let Some(behind) = after.strip_prefix("TH") {
                (ordinal, after) = (Some(true), behind);
            } else if let Some(behind) = after.strip_prefix("th") {
                (ordinal, after) = (Some(false), behind);
            }
            if let Some(behind) = after.strip_prefix("SP") {
                after = behind;
            }
            pieces.push(Piece::Pattern { name, is_short, is_local, ordinal });
            (is_short, is_local, rest) = (false, false, after);
            continue 'next;
        }
        (is_short, is_local) = (false, false);
        if first == '"' {
            let mut characters = rest[1..].chars();
            while let Some(character) = characters.next() {
                match character {
                    '"' => break,
                    '\\' => pieces.extend(characters.next().map(Piece::Text)),
                    other => pieces.push(Piece::Text(other)),
                }
            }
            rest = characters.as_str();
            continue;
        }
        if first == '\\' && rest[1..].starts_with('"') {
            pieces.push(Piece::Text('"'));
            rest = &rest[2..];
            continue;
        }
        pieces.push(if first.is_ascii_whitespace() {
            Piece::Space(first)
        } else if is_separator(first) {
            Piece::Separator(first)
        } else {
            Piece::Text(first)
        });
        rest = &rest[first.len_utf8()..];
    }
    pieces
}

pub fn is_separator(character: char) -> bool {
    character.is_ascii_graphic() && !character.is_ascii_alphanumeric()
}

/// What patterns show of a time or an interval.
pub struct Moment {
    is_interval: bool,
    /// 0 is the year before 1
    year: i64,
    month: i64,
    day: i64,
    /// of an interval all, which may be negative
    hour: i64,
    minute: i64,
    second: i64,
    us: i64,
    /// since 1970
    days: i64,
    day_of_year: i64,
    zone: Option<(Zone, i64)>,
}

impl Moment {
    /// A local time, and the zone that it is of with its UTC time.
    pub fn of_time(local: i64, zone: Option<(Zone, i64)>) -> Moment {
        let (days, of_day) = (local.div_euclid(DAY_US), local.rem_euclid(DAY_US));
        let (year, month, day) = civil_from_days(days);
        Moment {
            is_interval: false,
            year,
            month,
            day,
            hour: of_day / HOUR_US,
            minute: of_day % HOUR_US / MINUTE_US,
            second: of_day % MINUTE_US / SECOND_US,
            us: of_day % SECOND_US,
            days,
            day_of_year: days - days_from_civil(year, 1, 1) + 1,
            zone,
        }
    }

    pub fn of_interval(interval: Interval) -> Moment {
        let us = interval.microseconds;
        let (months, day) = (i64::from(interval.months), i64::from(interval.days));
        Moment {
            is_interval: true,
            year: months / 12,
            month: months % 12,
            day,
            hour: us / HOUR_US,
            minute: us % HOUR_US / MINUTE_US,
            second: us % MINUTE_US / SECOND_US,
            us: us % SECOND_US,
            days: days_from_civil(months / 12, (months % 12).max(1), 1) + day - 1,
            day_of_year: months * 30 + day,
            zone: None,
        }
    }

    fn shown_year(&self) -> i64 {
        if self.is_interval || self.year > 0 { self.year } else { 1 - self.year }
    }

    fn weekday(&self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }
}

pub fn to_char(moment: &Moment, template: &str) -> Result<String> {
    let mut result = String::new();
    for piece in pieces(template) {
        match piece {
            Piece::Space(character) | Piece::Separator(character) | Piece::Text(character) => result.push(character),
            Piece::Pattern { name, is_short, is_local, ordinal } => {
                let shown = of_pattern(moment, name, is_short || is_local)?;
                result.push_str(&shown);
                if let Some(upper) = ordinal.filter(|_| !is_wordy(name)) {
                    let ending = ending(&shown);
                    result.push_str(&if upper { ending.to_uppercase() } else { ending.to_owned() });
                }
            }
        }
    }
    Ok(result)
}

/// Whether a pattern stands for a word, which has no ordinal.
fn is_wordy(name: &str) -> bool {
    matches!(
        name.to_ascii_uppercase().as_str(),
        "A.D."
            | "AD"
            | "B.C."
            | "BC"
            | "A.M."
            | "AM"
            | "P.M."
            | "PM"
            | "DAY"
            | "DY"
            | "MONTH"
            | "MON"
            | "RM"
            | "TZ"
            | "TZH"
            | "TZM"
            | "OF"
            | "FX"
    )
}

fn ending(number: &str) -> &'static str {
    let digits = number.trim_start_matches('-');
    let is_teen = digits.len() > 1 && digits.as_bytes()[digits.len() - 2] == b'1';
    match digits.bytes().last() {
        Some(b'1') if !is_teen => "st",
        Some(b'2') if !is_teen => "nd",
        Some(b'3') if !is_teen => "rd",
        _ => "th",
    }
}

fn of_pattern(moment: &Moment, name: &'static str, is_short: bool) -> Result<String> {
    let is_upper = name.starts_with(|c: char| c.is_ascii_uppercase());
    let upper = name.to_ascii_uppercase();
    // a sign takes a place of its own
    let number = |number: i64, width: usize| {
        if is_short {
            number.to_string()
        } else if number < 0 {
            format!("-{:0width$}", -number)
        } else {
            format!("{number:0width$}")
        }
    };
    let refuse = |refused: bool| {
        if refused && moment.is_interval {
            return Err(Error::new("22007", "invalid format specification for an interval value")
                .with_hint("Intervals are not tied to specific calendar dates."));
        }
        Ok(())
    };
    let cased = |word: &str| {
        if name.bytes().skip(1).any(|byte| byte.is_ascii_lowercase()) && is_upper {
            word.to_owned()
        } else if is_upper {
            word.to_uppercase()
        } else {
            word.to_lowercase()
        }
    };
    let padded = |word: String, width: usize| if is_short { word } else { format!("{word:<width$}") };
    let year = moment.shown_year();
    let offset = moment.zone.map_or(0, |(zone, utc)| zone.offset_at(utc));
    let month_name = usize::try_from(moment.month - 1).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or("");
    let day_name = WEEKDAYS[usize::try_from(moment.weekday()).unwrap_or(0)];
    let iso = || iso_week(moment.days);
    Ok(match upper.as_str() {
        "A.M." | "P.M." | "AM" | "PM" => {
            let is_after = moment.hour.rem_euclid(24) >= 12;
            let word = match (upper.contains('.'), is_after) {
                (true, false) => "A.M.",
                (true, true) => "P.M.",
                (false, false) => "AM",
                (false, true) => "PM",
            };
            if is_upper { word.to_owned() } else { word.to_lowercase() }
        }
        "HH" | "HH12" => number(if moment.hour % 12 == 0 { 12 } else { moment.hour % 12 }, 2),
        "HH24" => number(moment.hour, 2),
        "MI" => number(moment.minute, 2),
        "SS" => number(moment.second, 2),
        "MS" => format!("{:03}", moment.us / 1000),
        "US" => format!("{:06}", moment.us),
        "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            let digits = usize::from(name.as_bytes()[2] - b'0');
            let scale = 10_i64.pow(u32::try_from(6 - digits).unwrap_or(0));
            format!("{:0digits$}", moment.us / scale)
        }
        "SSSS" | "SSSSS" => (moment.hour * 3600 + moment.minute * 60 + moment.second).to_string(),
        "TZ" => {
            refuse(true)?;
            let name = moment.zone.map_or_else(String::new, |(zone, utc)| zone.abbreviation_at(utc));
            if is_upper { name } else { name.to_lowercase() }
        }
        "TZH" => {
            refuse(true)?;
            format!("{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600)
        }
        "TZM" => {
            refuse(true)?;
            format!("{:02}", offset.abs() % 3600 / 60)
        }
        "OF" => {
            refuse(true)?;
            let hours = offset.abs() / 3600;
            let sign = if offset < 0 { '-' } else { '+' };
            let hours = if is_short { format!("{sign}{hours}") } else { format!("{sign}{hours:02}") };
            match offset.abs() % 3600 / 60 {
                0 => hours,
                minutes => format!("{hours}:{minutes:02}"),
            }
        }
        "A.D." | "B.C." | "AD" | "BC" => {
            refuse(true)?;
            let word = match (upper.contains('.'), moment.year <= 0) {
                (true, true) => "B.C.",
                (true, false) => "A.D.",
                (false, true) => "BC",
                (false, false) => "AD",
            };
            if is_upper { word.to_owned() } else { word.to_lowercase() }
        }
        "MONTH" | "MON" => {
            refuse(true)?;
            if upper == "MON" { cased(&month_name[..3]) } else { padded(cased(month_name), 9) }
        }
        "MM" => number(moment.month, 2),
        "DAY" | "DY" => {
            refuse(true)?;
            if upper == "DY" { cased(&day_name[..3]) } else { padded(cased(day_name), 9) }
        }
        "DDD" => number(moment.day_of_year, 3),
        "IDDD" => number((iso().1 - 1) * 7 + (moment.weekday() + 6) % 7 + 1, 3),
        "DD" => number(moment.day, 2),
        "D" => {
            refuse(true)?;
            (moment.weekday() + 1).to_string()
        }
        "ID" => {
            refuse(true)?;
            ((moment.weekday() + 6) % 7 + 1).to_string()
        }
        "WW" => number((moment.day_of_year - 1) / 7 + 1, 2),
        "IW" => number(iso().1, 2),
        "Q" if moment.month == 0 => String::new(),
        "Q" => ((moment.month - 1) / 3 + 1).to_string(),
        "CC" => {
            let century = if moment.is_interval {
                moment.year / 100
            } else if moment.year > 0 {
                (moment.year - 1) / 100 + 1
            } else {
                moment.year / 100 - 1
            };
            if (-99..=99).contains(&century) { number(century, 2) } else { century.to_string() }
        }
        "Y,YYY" => format!("{},{:03}", year / 1000, year % 1000),
        "YYYY" => number(year, 4),
        "YYY" => number(year % 1000, 3),
        "YY" => number(year % 100, 2),
        "Y" => (year % 10).to_string(),
        "IYYY" | "IYY" | "IY" | "I" => {
            let own = iso().0;
            let own = if own > 0 { own } else { 1 - own };
            match upper.len() {
                4 => number(own, 4),
                3 => number(own % 1000, 3),
                2 => number(own % 100, 2),
                _ => (own % 10).to_string(),
            }
        }
        "RM" => {
            if moment.month == 0 && moment.year == 0 {
                return Ok(String::new());
            }
            let month =
                if moment.month == 0 { if moment.year >= 0 { 12 } else { 1 } } else { moment.month.rem_euclid(13) };
            let roman = ROMAN[usize::try_from(month - 1).unwrap_or(0).min(11)];
            padded(if is_upper { roman.to_owned() } else { roman.to_lowercase() }, 4)
        }
        "W" => ((moment.day - 1) / 7 + 1).to_string(),
        "J" => (moment.days + 2_440_588).to_string(),
        _ => String::new(),
    })
}
