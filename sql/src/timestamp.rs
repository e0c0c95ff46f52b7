//! Timestamps as UTC microseconds since 1970: read from PostgreSQL's ISO texts and printed as PostgreSQL prints them.
//! The calendar is the proleptic Gregorian one; no clock, no time zones but fixed offsets.

use thiserror::Error;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimestampError {
    #[error("invalid input syntax for type timestamp: \"{0}\"")]
    Syntax(String),
    #[error("date/time field value out of range: \"{0}\"")]
    FieldOutOfRange(String),
    #[error("timestamp out of range: \"{0}\"")]
    OutOfRange(String),
    #[error("timestamp must be finite: \"{0}\"")]
    Infinite(String),
}

impl TimestampError {
    /// Something to type instead.
    pub fn hint(&self) -> &'static str {
        "type it as '2024-01-31', '2024-01-31 10:00' or '2024-01-31T10:00:00Z'"
    }
}

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Days since 1970-01-01 of a civil date. Formula: Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// `(year, month, day)` of a number of days since 1970-01-01. Formula: the same page, `civil_from_days`.
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// UTC microseconds of a finite timestamp; without a zone it is UTC.
pub fn parse_timestamp(text: &str) -> Result<i64, TimestampError> {
    match infinity(text) {
        Some(_) => Err(TimestampError::Infinite(text.to_string())),
        None => parse_finite(text),
    }
}

/// As `parse_timestamp`, with `infinity` as the largest number and `-infinity` as the smallest, as PostgreSQL stores them.
pub fn parse_timestamp_or_infinity(text: &str) -> Result<i64, TimestampError> {
    match infinity(text) {
        Some(bound) => Ok(bound),
        None => parse_finite(text),
    }
}

fn infinity(text: &str) -> Option<i64> {
    match text.trim().to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" | "inf" => Some(i64::MAX),
        "-infinity" | "-inf" => Some(i64::MIN),
        _ => None,
    }
}

fn parse_finite(text: &str) -> Result<i64, TimestampError> {
    let wrong = || TimestampError::Syntax(text.to_string());
    let out_of_field = || TimestampError::FieldOutOfRange(text.to_string());
    let mut reader = Reader { rest: text.trim() };

    let year = reader.number(4, 6).ok_or_else(wrong)?;
    reader.symbol("-").ok_or_else(wrong)?;
    let month = reader.number(1, 2).ok_or_else(wrong)?;
    reader.symbol("-").ok_or_else(wrong)?;
    let day = reader.number(1, 2).ok_or_else(wrong)?;
    let time = reader.time().ok_or_else(wrong)?;
    let offset = reader.zone().ok_or_else(wrong)?;
    reader.blanks();
    let year = match reader.rest.to_ascii_uppercase().as_str() {
        "" | "AD" => year,
        // There is no year 0 in the calendar: 1 BC is year 0 in the formulas.
        "BC" => 1 - year,
        _ => return Err(wrong()),
    };

    let is_era_year = year != 0 || reader.rest.eq_ignore_ascii_case("bc");
    if !is_era_year || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return Err(out_of_field());
    }
    let of_day = time.microseconds().ok_or_else(out_of_field)?;
    let offset = offset.microseconds().filter(|offset| offset.abs() < 16 * HOUR).ok_or_else(out_of_field)?;
    let total = i128::from(days_from_civil(year, month, day)) * i128::from(DAY) + i128::from(of_day - offset);
    // The two ends are what PostgreSQL keeps for infinity.
    let finite = i64::try_from(total).ok().filter(|total| *total != i64::MAX && *total != i64::MIN);
    finite.ok_or_else(|| TimestampError::OutOfRange(text.to_string()))
}

/// A time of day, or the offset of a zone.
#[derive(Default)]
struct Clock {
    sign: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    microseconds: i64,
}

impl Clock {
    /// None if a field is out of range. 24:00:00 is the end of the day, and a leap second the next minute.
    fn microseconds(&self) -> Option<i64> {
        let total = self.hours * HOUR + self.minutes * MINUTE + self.seconds * SECOND + self.microseconds;
        let is_valid = self.hours <= 24 && self.minutes < 60 && self.seconds <= 60 && total <= DAY;
        is_valid.then_some(if self.sign < 0 { -total } else { total })
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// A number of at least and at most so many digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(least..=most).contains(&length) {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok()
    }

    fn symbol(&mut self, symbol: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(symbol)?;
        Some(())
    }

    /// `[T| ]hours[:minutes[:seconds[.fraction]]]`; midnight if there is none. None if it does not read.
    fn time(&mut self) -> Option<Clock> {
        let begins = self.rest.strip_prefix(['T', 't']).unwrap_or_else(|| self.rest.trim_start());
        let is_time = begins.starts_with(|first: char| first.is_ascii_digit());
        if !is_time {
            return Some(Clock::default());
        }
        self.rest = begins;
        let mut clock = Clock { hours: self.number(1, 2)?, ..Clock::default() };
        if self.symbol(":").is_some() {
            clock.minutes = self.number(2, 2)?;
            if self.symbol(":").is_some() {
                clock.seconds = self.number(2, 2)?;
                clock.microseconds = self.fraction()?;
            }
        }
        Some(clock)
    }

    /// Microseconds, rounded.
    fn fraction(&mut self) -> Option<i64> {
        if self.symbol(".").is_none() {
            return Some(0);
        }
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let kept: i64 = format!("{digits:0<7}").get(..7)?.parse().ok()?;
        Some((kept + 5) / 10)
    }

    /// `Z`, `UTC`, `+02`, `+0530`, `+05:30`, `+05:30:15`; UTC if there is none.
    fn zone(&mut self) -> Option<Clock> {
        self.blanks();
        let word: String = self.rest.chars().take_while(char::is_ascii_alphabetic).collect();
        if ["Z", "UTC", "GMT", "ZULU", "UT"].iter().any(|zone| word.eq_ignore_ascii_case(zone)) {
            self.rest = &self.rest[word.len()..];
            return Some(Clock::default());
        }
        let sign = match self.rest.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            _ => return Some(Clock::default()),
        };
        self.rest = &self.rest[1..];
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let mut clock = Clock { sign, ..Clock::default() };
        if length == 4 {
            let both = self.number(4, 4)?;
            (clock.hours, clock.minutes) = (both / 100, both % 100);
            return Some(clock);
        }
        clock.hours = self.number(1, 2)?;
        if self.symbol(":").is_some() {
            clock.minutes = self.number(2, 2)?;
            if self.symbol(":").is_some() {
                clock.seconds = self.number(2, 2)?;
            }
        }
        Some(clock)
    }
}

/// `2024-01-31 10:00:00.5+00`, as PostgreSQL prints a timestamptz in UTC.
pub fn format_timestamp(microseconds: i64) -> String {
    if microseconds == i64::MAX {
        return "infinity".to_string();
    }
    if microseconds == i64::MIN {
        return "-infinity".to_string();
    }
    let (year, month, day) = civil_from_days(microseconds.div_euclid(DAY));
    let of_day = microseconds.rem_euclid(DAY);
    let (hours, minutes, seconds) = (of_day / HOUR, of_day % HOUR / MINUTE, of_day % MINUTE / SECOND);
    let fraction = match of_day % SECOND {
        0 => String::new(),
        fraction => format!(".{fraction:06}").trim_end_matches('0').to_string(),
    };
    let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{seconds:02}{fraction}+00{era}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_go_round() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(1969, 12, 31), -1);
        for days in (-1_000_000..1_000_000).step_by(37) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=days_in_month(year, month)).contains(&day));
        }
    }

    #[test]
    fn timestamp_texts() {
        let new_year = 1_704_067_200 * SECOND;
        for (text, microseconds) in [
            ("1970-01-01", 0),
            ("1969-12-31 23:59:59.999999", -1),
            ("2024-01-01", new_year),
            (" 2024-1-1 ", new_year),
            ("2024-01-01 10:00", new_year + 10 * HOUR),
            ("2024-01-01T10:00:00.5Z", new_year + 10 * HOUR + SECOND / 2),
            ("2024-01-01 10:00:00+02", new_year + 8 * HOUR),
            ("2024-01-01 10:00:00 +05:30", new_year + 4 * HOUR + 30 * MINUTE),
            ("2024-01-01 10:00:00-0530", new_year + 15 * HOUR + 30 * MINUTE),
            ("2024-01-01 10:00:00 UTC", new_year + 10 * HOUR),
            ("2024-01-01 10:00:00.1234567", new_year + 10 * HOUR + 123_457),
            ("2024-01-01 24:00:00", new_year + DAY),
            ("2024-01-01+02", new_year - 2 * HOUR),
            ("2024-02-29", new_year + 59 * DAY),
            ("0001-01-01", -62_135_596_800 * SECOND),
            ("0001-12-31 BC", -62_135_596_800 * SECOND - DAY),
            ("12024-01-01", 317_273_587_200 * SECOND),
        ] {
            assert_eq!(parse_timestamp(text), Ok(microseconds), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_timestamp() {
        for text in [
            "",
            "now",
            "2024",
            "2024-01",
            "24-01-01",
            "2024-01-01 10:0",
            "2024-01-01x",
            "2024-01-01 10:00 Europe/Berlin",
            "2024-01-01T",
        ] {
            assert_eq!(parse_timestamp(text), Err(TimestampError::Syntax(text.to_string())), "{text}");
        }
        for text in [
            "2023-02-29",
            "2024-02-30",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "2024-01-01 25:00",
            "2024-01-01 10:60",
            "0000-01-01",
            "2024-01-01 10:00+17",
            "1900-02-29",
        ] {
            assert_eq!(parse_timestamp(text), Err(TimestampError::FieldOutOfRange(text.to_string())), "{text}");
        }
        assert!(matches!(parse_timestamp("294277-01-01"), Err(TimestampError::OutOfRange(_))));
        assert!(matches!(parse_timestamp("infinity"), Err(TimestampError::Infinite(_))));
        assert_eq!(parse_timestamp_or_infinity("-infinity"), Ok(i64::MIN));
    }

    #[test]
    fn printed_timestamps_parse_back() {
        for (microseconds, text) in [
            (0, "1970-01-01 00:00:00+00"),
            (-1, "1969-12-31 23:59:59.999999+00"),
            (1_704_103_200 * SECOND + SECOND / 2, "2024-01-01 10:00:00.5+00"),
            (-62_135_596_800 * SECOND - DAY, "0001-12-31 00:00:00+00 BC"),
            (i64::MAX - 1, "294247-01-10 04:00:54.775806+00"),
            (i64::MIN + 1, "290309-12-21 19:59:05.224193+00 BC"),
        ] {
            assert_eq!(format_timestamp(microseconds), text);
            assert_eq!(parse_timestamp(text), Ok(microseconds), "{text}");
        }
    }
}
