//! Dates, times and timestamps from their texts.

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::{
    Clock, DAY_US, HOUR_US, MINUTE_US, SECOND_US, Zone, days_in_month, field_range, fraction_us, is_in_range,
    offset_seconds, syntax,
};
use crate::error::{Error, Result};

/// What a text of a date or time says; fields that it does not say are None.
#[derive(Debug, Default, Clone)]
struct Fields {
    date: Option<(i64, i64, i64)>,
    /// of the year, which is not of this century if it has more than two
    year_digits: usize,
    /// microseconds of the day
    time_us: Option<i64>,
    zone: Option<Zone>,
    /// a number of a day
    julian: Option<i64>,
    special: Option<Special>,
    /// whether a word was read as a date, or part of one
    has_date_word: bool,
}

impl Fields {
    fn days(&self) -> Option<i64> {
        self.julian.or_else(|| self.date.map(|(year, month, day)| days_from_civil(year, month, day)))
    }
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
                _ => fields.zone = Some(zone_of(rest, (name, text))?),
            }
        } else if first.is_ascii_digit() {
            let word = match of_clock(word, &mut fields, name) {
                Some("") => continue,
                Some(zone) => {
                    fields.zone = Some(zone_of(zone, (name, text))?);
                    continue;
                }
                None => word,
            };
            let (number, rest) = word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len()));
            if !rest.is_empty()
                && !rest.eq_ignore_ascii_case("z")
                && !["bc", "ad", "am", "pm"].contains(&rest.to_ascii_lowercase().as_str())
            {
                // 31-Jan-2024
                let parts: Vec<&str> = word.split(['-', '/', '.']).collect();
                match parts.as_slice() {
                    [first, name, last] if month_named(name).is_some() => {
                        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
                        let month = month_named(name).unwrap_or(1);
                        fields.date = Some(if first.len() > 2 {
                            fields.year_digits = first.len();
                            (number(first)?, month, number(last)?)
                        } else {
                            fields.year_digits = last.len();
                            (number(last)?, month, number(first)?)
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
            fields.zone = Some(zone_of(word, (name, text))?);
        } else if let Some(days) = word.strip_prefix(['j', 'J']).and_then(|digits| digits.parse::<i64>().ok()) {
            fields.julian = Some(days - 2_440_588);
        } else if let [month, day, year] = word.split('-').collect::<Vec<_>>().as_slice()
            && let Some(month) = month_named(month)
        {
            // Jan-31-2024
            let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
            fields.year_digits = year.len();
            fields.date = Some((number(year)?, month, number(day)?));
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
                _ => fields.zone = Some(zone_of(word, (name, text))?),
            }
        }
    }
    for (word, _) in &loose {
        read_date_word(&mut fields, month, word, (name, text))?;
    }
    if let (None, Some(month), [first, second]) = (fields.date, month, loose.as_slice()) {
        let number = |text: &str| text.parse::<i64>().map_err(|_| wrong());
        fields.date = Some(if first.0.len() > 2 {
            fields.year_digits = first.0.len();
            (number(&first.0)?, month, number(&second.0)?)
        } else {
            fields.year_digits = second.0.len();
            (number(&second.0)?, month, number(&first.0)?)
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
        let (is_zero, year) =
            (year == 0 && fields.year_digits != 2, if is_bc { 1 - year } else { full_year(year, fields.year_digits) });
        if is_zero || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(field_range(text));
        }
        fields.date = Some((year, month, day));
    }
    Ok(fields)
}

/// A zone behind a time. Errors: 22009 for an offset that is too large, 22023 for a place that there is not.
fn zone_of(word: &str, (name, text): (&str, &str)) -> Result<Zone> {
    if word.starts_with(['+', '-']) {
        return match offset_seconds(word) {
            Some(offset) => Ok(Zone::Fixed(offset)),
            None if word[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && word.len() > 1 => {
                Err(Error::new("22009", format!("time zone displacement out of range: \"{text}\"")))
            }
            None => Err(syntax(name, text)),
        };
    }
    Zone::named(word).ok_or_else(|| {
        if word.contains('/') {
            Error::new("22023", format!("time zone \"{}\" not recognized", word.to_lowercase()))
        } else {
            syntax(name, text)
        }
    })
}

/// Reads `040506`, `040506.5` or, of a time alone, `0405`, and gives the zone behind it. None if it is something else.
fn of_clock<'w>(word: &'w str, fields: &mut Fields, name: &str) -> Option<&'w str> {
    let is_time = name.starts_with("time") && !name.starts_with("timestamp");
    if fields.time_us.is_some() || (!is_time && fields.date.is_none() && !fields.has_date_word) {
        fields.has_date_word = true;
        return None;
    }
    let end = word.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(word.len());
    let (clock, zone) = word.split_at(end);
    let (digits, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if zone.len() > 1 && zone[1..].contains('-') {
        fields.has_date_word = true;
        return None;
    }
    if !(digits.len() == 6 || (digits.len() == 4 && is_time && fraction.is_empty())) {
        fields.has_date_word = true;
        return None;
    }
    let number = |from: usize| digits.get(from..from + 2).map_or(Some(0), |part| part.parse::<i64>().ok());
    let (hours, minutes, seconds) = (number(0)?, number(2)?, if digits.len() == 6 { number(4)? } else { 0 });
    if hours > 24 || minutes > 59 || seconds > 60 {
        return None;
    }
    fields.time_us = Some(hours * HOUR_US + minutes * MINUTE_US + seconds * SECOND_US + fraction_us(fraction)?);
    Some(zone)
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
        [year, month, day] if year.len() > 2 => {
            fields.year_digits = year.len();
            fields.date = Some((number(year)?, number(month)?, number(day)?));
        }
        [month, day, year] => {
            let (month, day) = (number(month)?, number(day)?);
            fields.year_digits = year.len();
            fields.date = Some((number(year)?, month, day));
        }
        [year, day] if year.len() > 2 && day.len() == 3 => {
            let (year, day) = (number(year)?, number(day)?);
            let (_, month, of_month) = civil_from_days(days_from_civil(year, 1, 1) + day - 1);
            fields.year_digits = 4;
            fields.date = Some((year, month, of_month));
        }
        [all] if all.len() == 8 && month.is_none() => {
            fields.year_digits = 4;
            fields.date = Some((number(&all[..4])?, number(&all[4..6])?, number(&all[6..])?));
        }
        [all] if all.len() == 6 && month.is_none() && name != "time" => {
            fields.year_digits = 2;
            fields.date = Some((number(&all[..2])?, number(&all[2..4])?, number(&all[4..])?));
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
    let days = fields.days().ok_or_else(|| syntax(name, text))?;
    let total = i128::from(days) * i128::from(DAY_US) + i128::from(time);
    let out_of_range = || Error::new("22008", format!("timestamp out of range: \"{text}\""));
    let local = i64::try_from(total).ok().filter(|local| is_in_range(*local)).ok_or_else(out_of_range)?;
    Ok(match (is_zoned, fields.zone) {
        (false, _) => local,
        (true, Some(zone)) => zone.to_utc(local),
        (true, None) => clock.zone.to_utc(local),
    })
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
        None => fields.days().ok_or_else(|| syntax("date", text))?,
    };
    let in_range = (-2_440_588..2_145_042_906).contains(&days);
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
    // a place has its offset of that day, or of today
    let at = read.days().map_or(clock.now_us, |days| zone.to_utc(days.saturating_mul(DAY_US).saturating_add(time)));
    Ok((time, zone.offset_at(at)))
}
