//! `to_date` and `to_timestamp`: texts read by a template.

use granary_sql::timestamp::{civil_from_days, days_from_civil};

use super::format::{MONTHS, Piece, ROMAN, WEEKDAYS, is_separator, pieces};
use crate::datetime::{HOUR_US, MINUTE_US, SECOND_US};
use crate::error::{Error, Result};

/// What was read.
pub struct Read {
    /// since 1970
    pub days: i64,
    /// microseconds
    pub of_day: i64,
    /// seconds east of UTC
    pub offset: Option<i32>,
}

/// Fields that patterns have filled; 0 is nothing.
#[derive(Default)]
struct Fields {
    iso: Option<bool>,
    hour: i64,
    minute: i64,
    second: i64,
    of_day: i64,
    ms: i64,
    us: i64,
    is_12_hours: bool,
    pm: bool,
    bc: bool,
    weekday: i64,
    day: i64,
    day_of_year: i64,
    month: i64,
    year: i64,
    year_digits: usize,
    century: i64,
    week: i64,
    week_of_month: i64,
    julian: i64,
    zone_sign: i32,
    zone_hours: i64,
    zone_minutes: i64,
}

fn wrong(message: String) -> Error {
    Error::new("22007", message)
}

struct Reader<'t> {
    whole: &'t str,
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn skip_blanks(&mut self) -> i64 {
        let trimmed = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let n = self.rest.len() - trimmed.len();
        self.rest = trimmed;
        i64::try_from(n).unwrap_or(0)
    }

    fn last(&self) -> Option<char> {
        self.whole[..self.whole.len() - self.rest.len()].chars().next_back()
    }

    /// A number of at most so many characters, or of as many as there are if something else follows.
    fn number(&mut self, width: usize, name: &str, is_open: bool) -> Result<(i64, usize)> {
        self.skip_blanks();
        let within: &str = if is_open {
            self.rest
        } else {
            let end = self.rest.char_indices().nth(width).map_or(self.rest.len(), |(at, _)| at);
            if self.rest[..end].chars().count() < width {
                return Err(wrong(format!("source string too short for \"{name}\" formatting field"))
                    .with_detail(format!(
                        "Field requires {width} characters, but only {} remain.",
                        self.rest.chars().count()
                    ))
                    .with_hint("If your source string is not fixed-width, try using the \"FM\" modifier."));
            }
            &self.rest[..end]
        };
        let sign = usize::from(within.starts_with(['+', '-']));
        let digits = within[sign..].find(|c: char| !c.is_ascii_digit()).unwrap_or(within.len() - sign);
        if digits == 0 {
            let shown: String = self.rest.chars().take(width).collect();
            return Err(
                wrong(format!("invalid value \"{shown}\" for \"{name}\"")).with_detail("Value must be an integer.")
            );
        }
        if !is_open && digits + sign < width {
            let shown = within;
            return Err(wrong(format!("invalid value \"{shown}\" for \"{name}\""))
                .with_detail(format!("Field requires {width} characters, but only {} could be parsed.", digits + sign))
                .with_hint("If your source string is not fixed-width, try using the \"FM\" modifier."));
        }
        let number: i32 = within[..sign + digits].parse().map_err(|_| {
            Error::new("22008", format!("value for \"{name}\" in source string is out of range"))
                .with_detail("Value must be in the range -2147483648 to 2147483647.")
        })?;
        self.rest = &self.rest[sign + digits..];
        Ok((i64::from(number), sign + digits))
    }

    /// One of these words, in any case.
    fn word(&mut self, words: &[&str], name: &str) -> Result<usize> {
        let lower = self.rest.to_ascii_lowercase();
        let found = words.iter().position(|word| lower.starts_with(&word.to_ascii_lowercase()));
        let found = found.ok_or_else(|| {
            let end = self.rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(self.rest.len());
            wrong(format!("invalid value \"{}\" for \"{name}\"", &self.rest[..end]))
                .with_detail("The given value did not match any of the allowed values for this field.")
        })?;
        self.rest = &self.rest[words[found].len()..];
        Ok(found)
    }
}

/// Whether what follows a pattern ends its number.
fn ends_number(pieces: &[Piece], index: usize) -> bool {
    if matches!(&pieces[index], Piece::Pattern { ordinal: Some(_), .. }) {
        return true;
    }
    match pieces.get(index + 1) {
        None => true,
        Some(Piece::Pattern { name, .. }) => {
            let upper = name.to_ascii_uppercase();
            matches!(
                upper.as_str(),
                "A.D."
                    | "A.M."
                    | "AD"
                    | "AM"
                    | "B.C."
                    | "BC"
                    | "DAY"
                    | "DY"
                    | "MONTH"
                    | "MON"
                    | "P.M."
                    | "PM"
                    | "RM"
                    | "TZ"
                    | "OF"
                    | "FX"
                    | "TZH"
            )
        }
        Some(Piece::Text(character) | Piece::Space(character) | Piece::Separator(character)) => {
            !character.is_ascii_digit()
        }
    }
}

fn set(place: &mut i64, value: i64, name: &str) -> Result<()> {
    if *place != 0 && *place != value {
        return Err(wrong(format!("conflicting values for \"{name}\" field in formatting string"))
            .with_detail("This value contradicts a previous setting for the same field type."));
    }
    *place = value;
    Ok(())
}

/// Errors: 22007, 22008, 0A000, as PostgreSQL's.
pub fn read(text: &str, template: &str) -> Result<Read> {
    let fields = fill(text, template)?;
    settle(&fields, text)
}

fn fill(text: &str, template: &str) -> Result<Fields> {
    let pieces = pieces(template);
    let mut fields = Fields::default();
    let mut reader = Reader { whole: text, rest: text };
    let (mut is_exact, mut extra) = (false, 0_i64);
    for (index, piece) in pieces.iter().enumerate() {
        if reader.rest.is_empty() {
            break;
        }
        let is_pattern = matches!(piece, Piece::Pattern { .. });
        if !is_exact && (is_pattern || index == 0) {
            extra += reader.skip_blanks();
        }
        match piece {
            Piece::Space(_) | Piece::Separator(_) => {
                let next = reader.rest.chars().next();
                let is_match = next.is_some_and(|next| next.is_ascii_whitespace() || is_separator(next));
                if !is_exact {
                    extra -= 1;
                }
                if is_exact || is_match {
                    reader.rest = &reader.rest[next.map_or(0, char::len_utf8)..];
                    if !is_exact {
                        extra += 1;
                    }
                }
            }
            Piece::Text(_) => {
                if !is_exact && extra > 0 {
                    extra -= 1;
                } else {
                    reader.rest = &reader.rest[reader.rest.chars().next().map_or(0, char::len_utf8)..];
                }
            }
            Piece::Pattern { name, is_short, ordinal, .. } => {
                let is_open = *is_short || ends_number(&pieces, index);
                one(&mut fields, &mut reader, name, (is_open, extra))?;
                if name.eq_ignore_ascii_case("FX") {
                    is_exact = true;
                }
                if ordinal.is_some() {
                    let end = reader.rest.char_indices().nth(2).map_or(reader.rest.len(), |(at, _)| at);
                    reader.rest = &reader.rest[end..];
                }
                if !is_exact {
                    extra = reader.skip_blanks();
                }
            }
        }
    }
    Ok(fields)
}

fn one(fields: &mut Fields, reader: &mut Reader<'_>, name: &'static str, (is_open, extra): (bool, i64)) -> Result<()> {
    let upper = name.to_ascii_uppercase();
    let iso = match upper.as_str() {
        "IDDD" | "ID" | "IW" | "IYYY" | "IYY" | "IY" | "I" => Some(true),
        "DDD" | "DD" | "D" | "MM" | "MONTH" | "MON" | "RM" | "WW" | "W" | "Y,YYY" | "YYYY" | "YYY" | "YY" | "Y" => {
            Some(false)
        }
        _ => None,
    };
    if let Some(iso) = iso {
        if fields.iso.is_some_and(|other| other != iso) {
            return Err(wrong("invalid combination of date conventions".to_owned())
                .with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template."));
        }
        fields.iso = Some(iso);
    }
    match upper.as_str() {
        "FX" => {}
        "A.M." | "P.M." => {
            fields.pm = reader.word(&["a.m.", "p.m."], name)? == 1;
            fields.is_12_hours = true;
        }
        "AM" | "PM" => {
            fields.pm = reader.word(&["am", "pm"], name)? == 1;
            fields.is_12_hours = true;
        }
        "HH" | "HH12" => {
            let (hour, _) = reader.number(2, name, is_open)?;
            set(&mut fields.hour, hour, name)?;
            fields.is_12_hours = true;
        }
        "HH24" => {
            let (hour, _) = reader.number(2, name, is_open)?;
            set(&mut fields.hour, hour, name)?;
        }
        "MI" => {
            let (minute, _) = reader.number(2, name, is_open)?;
            set(&mut fields.minute, minute, name)?;
        }
        "SS" => {
            let (second, _) = reader.number(2, name, is_open)?;
            set(&mut fields.second, second, name)?;
        }
        "MS" => {
            let (ms, n) = reader.number(3, name, is_open)?;
            let scaled = ms * [1, 100, 10, 1][n.min(3)];
            set(&mut fields.ms, scaled, name)?;
        }
        "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
            let width = if upper == "US" { 6 } else { usize::from(name.as_bytes()[2] - b'0') };
            let (us, n) = reader.number(width, name, is_open)?;
            set(&mut fields.us, us * 10_i64.pow(u32::try_from(6 - n.min(6)).unwrap_or(0)), name)?;
        }
        "SSSS" | "SSSSS" => {
            let (seconds, _) = reader.number(name.len(), name, is_open)?;
            set(&mut fields.of_day, seconds, name)?;
        }
        "TZ" | "OF" => {
            return Err(Error::new("0A000", format!("formatting field \"{name}\" is only supported in to_char")));
        }
        "TZH" => {
            if let Some(after) = reader.rest.strip_prefix(['+', '-', ' ']) {
                fields.zone_sign = if reader.rest.starts_with('-') { -1 } else { 1 };
                reader.rest = after;
            } else {
                fields.zone_sign = if extra > 0 && reader.last() == Some('-') { -1 } else { 1 };
            }
            fields.zone_hours = reader.number(2, name, is_open)?.0;
        }
        "TZM" => {
            if fields.zone_sign == 0 {
                fields.zone_sign = 1;
            }
            fields.zone_minutes = reader.number(2, name, is_open)?.0;
        }
        "A.D." | "B.C." => fields.bc = reader.word(&["a.d.", "b.c."], name)? == 1,
        "AD" | "BC" => fields.bc = reader.word(&["ad", "bc"], name)? == 1,
        "MONTH" | "MON" => {
            let short: Vec<&str> = MONTHS.iter().map(|month| &month[..3]).collect();
            let found = reader.word(if upper == "MON" { &short } else { &MONTHS }, name)?;
            set(&mut fields.month, i64::try_from(found + 1).unwrap_or(0), name)?;
        }
        "MM" => {
            let (month, _) = reader.number(2, name, is_open)?;
            set(&mut fields.month, month, name)?;
        }
        "DAY" | "DY" => {
            let short: Vec<&str> = WEEKDAYS.iter().map(|day| &day[..3]).collect();
            let found = reader.word(if upper == "DY" { &short } else { &WEEKDAYS }, name)?;
            set(&mut fields.weekday, i64::try_from(found + 1).unwrap_or(0), name)?;
        }
        "DDD" | "IDDD" => {
            let (day, _) = reader.number(3, name, is_open)?;
            set(&mut fields.day_of_year, day, name)?;
        }
        "DD" => {
            let (day, _) = reader.number(2, name, is_open)?;
            set(&mut fields.day, day, name)?;
        }
        "D" => {
            let (day, _) = reader.number(1, name, is_open)?;
            set(&mut fields.weekday, day, name)?;
        }
        "ID" => {
            let (day, _) = reader.number(1, name, is_open)?;
            // Sunday is the first one elsewhere
            set(&mut fields.weekday, if day >= 7 { 1 } else { day + 1 }, name)?;
        }
        "WW" | "IW" => {
            let (week, _) = reader.number(2, name, is_open)?;
            set(&mut fields.week, week, name)?;
        }
        "Q" => {
            reader.number(1, name, is_open)?;
        }
        "CC" => {
            let (century, _) = reader.number(2, name, is_open)?;
            set(&mut fields.century, century, name)?;
        }
        "Y,YYY" => {
            let invalid = || wrong("invalid input string for \"Y,YYY\"".to_owned());
            let (thousands, after) = reader.rest.split_once(',').ok_or_else(invalid)?;
            let n = after.bytes().take(3).take_while(u8::is_ascii_digit).count();
            let thousands: i64 = thousands.trim().parse().map_err(|_| invalid())?;
            let rest: i64 = after[..n].parse().map_err(|_| invalid())?;
            set(&mut fields.year, thousands * 1000 + rest, name)?;
            fields.year_digits = 4;
            reader.rest = &after[n..];
        }
        "YYYY" | "IYYY" => {
            let (year, _) = reader.number(4, name, is_open)?;
            set(&mut fields.year, year, name)?;
            fields.year_digits = 4;
        }
        "YYY" | "IYY" | "YY" | "IY" | "Y" | "I" => {
            let width = match upper.as_str() {
                "YYY" | "IYY" => 3,
                "YY" | "IY" => 2,
                _ => 1,
            };
            let (year, n) = reader.number(width, name, is_open)?;
            let year = if n < 4 { full_year(year) } else { year };
            set(&mut fields.year, year, name)?;
            fields.year_digits = width;
        }
        "RM" => {
            // longer ones first
            let mut order: Vec<usize> = (0..12).collect();
            order.sort_by_key(|index| std::cmp::Reverse(ROMAN[*index].len()));
            let words: Vec<&str> = order.iter().map(|index| ROMAN[*index]).collect();
            let found = order[reader.word(&words, name)?];
            set(&mut fields.month, i64::try_from(found + 1).unwrap_or(0), name)?;
        }
        "W" => {
            let (week, _) = reader.number(1, name, is_open)?;
            set(&mut fields.week_of_month, week, name)?;
        }
        "J" => {
            let (julian, _) = reader.number(1, name, true)?;
            set(&mut fields.julian, julian, name)?;
        }
        _ => {}
    }
    Ok(())
}

/// Near 2020.
fn full_year(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        other => other,
    }
}

fn settle(fields: &Fields, text: &str) -> Result<Read> {
    let out_of_range = || Error::new("22008", format!("date/time field value out of range: \"{text}\""));
    let (mut hour, mut minute, mut second) = (0, 0, 0);
    if fields.of_day != 0 {
        (hour, minute, second) = (fields.of_day / 3600, fields.of_day % 3600 / 60, fields.of_day % 60);
    }
    let or = |own: i64, other: i64| if own == 0 { other } else { own };
    (second, minute, hour) = (or(fields.second, second), or(fields.minute, minute), or(fields.hour, hour));
    if fields.is_12_hours {
        if !(1..=12).contains(&hour) {
            return Err(wrong(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
        }
        hour = hour % 12 + if fields.pm { 12 } else { 0 };
    }
    let century = if fields.bc { -fields.century } else { fields.century };
    let mut year = 0;
    if fields.year != 0 {
        if fields.century != 0 && fields.year_digits <= 2 {
            year = fields.year % 100;
            year = if year != 0 {
                if century < 0 { (century + 1) * 100 - year + 1 } else { year + (century - 1) * 100 }
            } else {
                century * 100 + i64::from(century < 0)
            };
        } else {
            year = if fields.bc { -fields.year } else { fields.year };
            if year < 0 {
                year += 1;
            }
        }
    } else if fields.century != 0 {
        year = if century >= 0 { (century - 1) * 100 + 1 } else { century * 100 + 1 };
    }
    let (mut month, mut day) = (1, 1);
    let mut day_of_year = fields.day_of_year;
    if fields.julian != 0 {
        (year, month, day) = civil_from_days(fields.julian - 2_440_588);
    }
    let is_iso = fields.iso == Some(true);
    let first_iso_day = |year: i64| {
        let january = days_from_civil(year, 1, 4);
        january - (january + 3).rem_euclid(7)
    };
    if fields.week != 0 {
        if is_iso {
            let weekday = if fields.weekday == 0 { 0 } else { (fields.weekday + 5) % 7 };
            (year, month, day) = civil_from_days(first_iso_day(year) + (fields.week - 1) * 7 + weekday);
        } else {
            day_of_year = (fields.week - 1) * 7 + 1;
        }
    }
    if fields.week_of_month != 0 {
        day = (fields.week_of_month - 1) * 7 + 1;
    }
    (day, month) = (or(fields.day, day), or(fields.month, month));
    if day_of_year != 0 && (month <= 1 || day <= 1) && fields.julian == 0 {
        if year == 0 && !fields.bc {
            return Err(wrong("cannot calculate day of year without year information".to_owned()));
        }
        let start = if is_iso { first_iso_day(year) } else { days_from_civil(year, 1, 1) };
        if !is_iso && start + day_of_year > days_from_civil(year + 1, 1, 1) {
            return Err(out_of_range());
        }
        (year, month, day) = civil_from_days(start + day_of_year - 1);
    }
    if !(1..=12).contains(&month) || day < 1 {
        return Err(out_of_range());
    }
    let days = days_from_civil(year, month, day);
    if civil_from_days(days) != (year, month, day) {
        return Err(out_of_range());
    }
    let us = fields.ms * 1000 + fields.us;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) || us >= SECOND_US {
        return Err(out_of_range());
    }
    let offset = if fields.zone_sign == 0 {
        None
    } else {
        if !(0..=15).contains(&fields.zone_hours) || !(0..60).contains(&fields.zone_minutes) {
            return Err(out_of_range());
        }
        i32::try_from(fields.zone_hours * 3600 + fields.zone_minutes * 60).ok().map(|offset| offset * fields.zone_sign)
    };
    Ok(Read { days, of_day: hour * HOUR_US + minute * MINUTE_US + second * SECOND_US + us, offset })
}
