//! Values as the extended protocol sends them, in binary, shown as PostgreSQL's text.

use bytes::BytesMut;
use chrono::{DateTime, NaiveDate, TimeDelta};
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
    if let Kind::Array(item) = ty.kind() {
        return array(item, raw);
    }
    Ok(match *ty {
        Type::BOOL => (if wire::bool_from_sql(raw)? { "t" } else { "f" }).to_owned(),
        Type::INT2 => wire::int2_from_sql(raw)?.to_string(),
        Type::INT4 => wire::int4_from_sql(raw)?.to_string(),
        Type::INT8 => wire::int8_from_sql(raw)?.to_string(),
        Type::OID => wire::oid_from_sql(raw)?.to_string(),
        Type::FLOAT4 => wire::float4_from_sql(raw)?.to_string(),
        Type::FLOAT8 => float(wire::float8_from_sql(raw)?),
        Type::NUMERIC => numeric(raw),
        Type::DATE => {
            let day = NaiveDate::from_ymd_opt(2000, 1, 1).expect("a day");
            (day + TimeDelta::days(i64::from(wire::date_from_sql(raw)?))).to_string()
        }
        Type::TIMESTAMP => timestamp(wire::timestamp_from_sql(raw)?),
        Type::TIMESTAMPTZ => timestamp(wire::timestamp_from_sql(raw)?) + "+00",
        Type::BYTEA => raw.iter().fold("\\x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
        _ => std::str::from_utf8(raw)?.to_owned(),
    })
}

/// One dimension: count of dimensions, flags, item type, length and lower bound; then each item with its length.
fn array(item: &Type, raw: &[u8]) -> Result<String, Failure> {
    const HEADER: usize = 20;
    let mut items = Vec::new();
    let mut rest = raw.get(HEADER..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        rest = after;
        match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => items.push("NULL".to_owned()),
            Ok(length) => {
                items.push(quoted(&text(item, &rest[..length])?));
                rest = &rest[length..];
            }
        }
    }
    Ok(format!("{{{}}}", items.join(",")))
}

/// An element as PostgreSQL writes it in an array.
fn quoted(text: &str) -> String {
    let special = |character: char| character.is_whitespace() || "{},\"\\".contains(character);
    if !text.is_empty() && !text.contains(special) && !text.eq_ignore_ascii_case("null") {
        return text.to_owned();
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn float(value: f64) -> String {
    let size = value.abs();
    if value.is_infinite() {
        return (if value > 0.0 { "Infinity" } else { "-Infinity" }).to_owned();
    }
    if size == 0.0 || (1e-4..1e15).contains(&size) || value.is_nan() {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn timestamp(us_since_2000: i64) -> String {
    const US_1970_TO_2000: i64 = 946_684_800_000_000;
    let time = DateTime::from_timestamp_micros(us_since_2000 + US_1970_TO_2000).expect("a time");
    let whole = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let micros = time.timestamp_subsec_micros();
    if micros == 0 { whole } else { format!("{whole}.{micros:06}").trim_end_matches('0').to_owned() }
}

fn numeric(raw: &[u8]) -> String {
    let word = |index: usize| u16::from_be_bytes([raw[2 * index], raw[2 * index + 1]]);
    let (n_digits, weight, sign, scale) = (word(0), word(1).cast_signed(), word(2), usize::from(word(3)));
    if sign == 0xC000 {
        return "NaN".to_owned();
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
