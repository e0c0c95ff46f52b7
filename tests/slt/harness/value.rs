//! Values as the extended protocol sends them, in binary, shown as PostgreSQL's text.

use bytes::BytesMut;
use postgres_protocol::types as wire;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

type Failure = Box<dyn std::error::Error + Sync + Send>;

/// Any value, as text.
pub struct Shown(pub String);

impl<'a> FromSql<'a> for Shown {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        text(ty, raw).map(Shown)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A parameter sent as text, whatever its type.
#[derive(Debug)]
pub struct TextParameter(pub Option<String>);

impl ToSql for TextParameter {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn text(ty: &Type, raw: &[u8]) -> Result<String, Failure> {
    match ty.kind() {
        Kind::Array(item) => return array(item, raw),
        Kind::Composite(_) => return record(raw),
        _ => {}
    }
    Ok(match *ty {
        Type::BOOL => (if wire::bool_from_sql(raw)? { "t" } else { "f" }).to_owned(),
        Type::INT2 => wire::int2_from_sql(raw)?.to_string(),
        Type::INT4 => wire::int4_from_sql(raw)?.to_string(),
        Type::INT8 => wire::int8_from_sql(raw)?.to_string(),
        Type::OID => wire::oid_from_sql(raw)?.to_string(),
        Type::FLOAT4 => {
            let value = wire::float4_from_sql(raw)?;
            float(f64::from(value), 6, (value.to_string(), format!("{value:e}")))
        }
        Type::FLOAT8 => {
            let value = wire::float8_from_sql(raw)?;
            float(value, 15, (value.to_string(), format!("{value:e}")))
        }
        Type::NUMERIC => numeric(raw),
        Type::DATE => match wire::date_from_sql(raw)? {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => {
                let (date, era) = date(i64::from(days));
                date + era
            }
        },
        Type::TIME => time(wire::time_from_sql(raw)?),
        Type::TIMETZ => time(wire::time_from_sql(&raw[..8])?) + &zone(wire::int4_from_sql(&raw[8..])?),
        Type::TIMESTAMP => timestamp(wire::timestamp_from_sql(raw)?, ""),
        Type::TIMESTAMPTZ => timestamp(wire::timestamp_from_sql(raw)?, "+00"),
        Type::INTERVAL => interval(raw)?,
        Type::UUID => uuid(&wire::uuid_from_sql(raw)?),
        Type::BYTEA => raw.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
        // behind the version of its format
        Type::JSONB => std::str::from_utf8(&raw[1..])?.to_owned(),
        Type::RECORD => record(raw)?,
        _ => std::str::from_utf8(raw)?.to_owned(),
    })
}

/// The numbers at the head of an array or a record, one after the other.
fn take_int(rest: &mut &[u8]) -> Result<i32, Failure> {
    let (int, after) = rest.split_first_chunk::<4>().ok_or("too short")?;
    *rest = after;
    Ok(i32::from_be_bytes(*int))
}

/// A value behind its length; NULL has -1.
fn take_value<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Failure> {
    let Ok(length) = usize::try_from(take_int(rest)?) else { return Ok(None) };
    let (value, after) = rest.split_at_checked(length).ok_or("too short")?;
    *rest = after;
    Ok(Some(value))
}

/// Count of dimensions, flags, item type; length and lower bound of each; then each item with its length.
fn array(item: &Type, raw: &[u8]) -> Result<String, Failure> {
    let rest = &mut &raw[..];
    let dimensions = take_int(rest)?;
    let (_flags, _item) = (take_int(rest)?, take_int(rest)?);
    let mut lengths = Vec::new();
    let mut bounds = String::new();
    for _ in 0..dimensions {
        let (length, lower) = (take_int(rest)?, take_int(rest)?);
        lengths.push(usize::try_from(length)?);
        bounds += &format!("[{lower}:{}]", lower + length - 1);
    }
    if lengths.is_empty() {
        return Ok("{}".to_owned());
    }
    let mut items = Vec::new();
    while !rest.is_empty() {
        items.push(match take_value(rest)? {
            None => "NULL".to_owned(),
            Some(value) => array_item(&text(item, value)?),
        });
    }
    for length in lengths.into_iter().rev() {
        items = items.chunks(length).map(|items| format!("{{{}}}", items.join(","))).collect();
    }
    let plain = bounds.split('[').skip(1).all(|bound| bound.starts_with("1:"));
    Ok(if plain { items.concat() } else { format!("{bounds}={}", items.concat()) })
}

/// An item as PostgreSQL writes it in an array.
fn array_item(text: &str) -> String {
    let special = |character: char| character.is_ascii_whitespace() || "{},\"\\".contains(character);
    if !text.is_empty() && !text.contains(special) && !text.eq_ignore_ascii_case("null") {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Count of fields; then of each its type and its value.
fn record(raw: &[u8]) -> Result<String, Failure> {
    let rest = &mut &raw[..];
    let mut fields = Vec::new();
    for _ in 0..take_int(rest)? {
        let oid = take_int(rest)?.cast_unsigned();
        let field = Type::from_oid(oid).ok_or_else(|| format!("a field of type {oid}"))?;
        fields.push(match take_value(rest)? {
            None => String::new(),
            Some(value) => record_field(&text(&field, value)?),
        });
    }
    Ok(format!("({})", fields.join(",")))
}

fn record_field(text: &str) -> String {
    let special = |character: char| character.is_ascii_whitespace() || "(),\"\\".contains(character);
    if !text.is_empty() && !text.contains(special) {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\"\""))
}

/// `digits`: from this power of ten on, and below a ten thousandth, it is written with an exponent. `texts`: without
/// and with one, as Rust does.
fn float(value: f64, digits: i32, (plain, exponential): (String, String)) -> String {
    if value.is_infinite() {
        return (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned();
    }
    if value == 0.0 || value.is_nan() {
        return plain;
    }
    let (mantissa, exponent) = exponential.split_once('e').expect("an exponent");
    if (-4..digits).contains(&exponent.parse::<i32>().expect("a number")) {
        return plain;
    }
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{mantissa}e{sign}{exponent:0>2}")
}

/// A day, and ` BC` if it is before the first year.
fn date(days_since_2000: i64) -> (String, &'static str) {
    // Days from the first of March of year 0, of which each 400 years have the same number.
    const DAYS_TO_2000: i64 = 730_425;
    const DAYS_OF_ERA: i64 = 146_097;
    let days = days_since_2000 + DAYS_TO_2000;
    let (era, day) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    if year > 0 {
        return (format!("{year:04}-{month:02}-{day:02}"), "");
    }
    (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
}

fn time(us: i64) -> String {
    const SECOND: i64 = 1_000_000;
    let seconds = us / SECOND;
    let whole = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let us = us % SECOND;
    if us == 0 { whole } else { format!("{whole}.{us:06}").trim_end_matches('0').to_owned() }
}

fn zone(seconds_west: i32) -> String {
    let sign = if seconds_west > 0 { '-' } else { '+' };
    let seconds = seconds_west.abs();
    let mut text = format!("{sign}{:02}", seconds / 3_600);
    if seconds % 3_600 != 0 {
        text += &format!(":{:02}", seconds / 60 % 60);
    }
    if seconds % 60 != 0 {
        text += &format!(":{:02}", seconds % 60);
    }
    text
}

fn timestamp(us_since_2000: i64, zone: &str) -> String {
    const DAY: i64 = 86_400_000_000;
    match us_since_2000 {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let (date, era) = date(us_since_2000.div_euclid(DAY));
    format!("{date} {}{zone}{era}", time(us_since_2000.rem_euclid(DAY)))
}

/// Microseconds, days, months: in words, each with its own sign.
fn interval(raw: &[u8]) -> Result<String, Failure> {
    let us = wire::int8_from_sql(&raw[..8])?;
    let (days, months) = (wire::int4_from_sql(&raw[8..12])?, wire::int4_from_sql(&raw[12..])?);
    let mut parts = Vec::new();
    let mut after_negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let sign = if after_negative && count > 0 { "+" } else { "" };
            parts.push(format!("{sign}{count} {unit}{}", if count == 1 { "" } else { "s" }));
            after_negative = count < 0;
        }
    }
    if us != 0 || parts.is_empty() {
        let sign = match us {
            ..0 => "-",
            _ if after_negative => "+",
            _ => "",
        };
        // the least number has no positive one
        parts.push(format!("{sign}{}", time(i64::try_from(us.unsigned_abs()).unwrap_or(i64::MAX))));
    }
    Ok(parts.join(" "))
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn numeric(raw: &[u8]) -> String {
    let word = |index: usize| u16::from_be_bytes([raw[2 * index], raw[2 * index + 1]]);
    let (n_digits, weight, sign, scale) = (word(0), word(1).cast_signed(), word(2), usize::from(word(3)));
    match sign {
        0xC000 => return "NaN".to_owned(),
        0xD000 => return "Infinity".to_owned(),
        0xF000 => return "-Infinity".to_owned(),
        _ => {}
    }
    // Groups of four decimal digits; the first stands for 10000^weight.
    let group = |place: i16| {
        let index = i32::from(weight) - i32::from(place);
        (0..i32::from(n_digits)).contains(&index).then(|| word(4 + index.unsigned_abs() as usize)).unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let places = i16::try_from(scale.div_ceil(4)).expect("a small scale");
    let fraction: String = (1..=places).map(|place| format!("{:04}", group(-place))).collect();
    let sign = if sign == 0x4000 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", &fraction[..scale]) }
}
