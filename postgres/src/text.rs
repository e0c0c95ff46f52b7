//! Values as text and back: PostgreSQL's input and output functions of every type that values here can have.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use crate::datetime::{self, Clock};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::numeric::Numeric;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};

/// An identifier as SQL has to spell it.
pub fn quote_identifier(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if is_plain && !is_keyword(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Words that are no names without quotes.
fn is_keyword(word: &str) -> bool {
    const WORDS: &str = " all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char \
        character check coalesce collate collation column concurrently constraint create cross current_catalog current_date \
        current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else end except \
        exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner inout \
        int integer intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national \
        natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position precision \
        primary real references returning right row select session_user setof similar smallint some substring symmetric table tablesample \
        then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where window with \
        xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable ";
    WORDS.contains(&format!(" {word} "))
}

/// A string literal as SQL has to spell it.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

fn syntax(name: &str, text: &str) -> Error {
    Error::new("22P02", format!("invalid input syntax for type {name}: \"{text}\""))
}

/// Reads a value of a base or array type; `reg…` types are read by whoever knows names.
/// Errors: 22P02, 22003, 22007, 22008 as PostgreSQL's.
pub fn parse(text: &str, data_type: &Type, clock: Clock) -> Result<Value> {
    let name = || t::format_type(data_type.oid, None);
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    Ok(match data_type.oid {
        t::BOOL => Value::Bool(parse_bool(trimmed).ok_or_else(|| syntax("boolean", text))?),
        t::INT2 => Value::Int(whole(text, i64::from(i16::MIN), i64::from(i16::MAX), "smallint")?),
        t::INT4 => Value::Int(whole(text, i64::from(i32::MIN), i64::from(i32::MAX), "integer")?),
        t::INT8 => Value::Int(whole(text, i64::MIN, i64::MAX, "bigint")?),
        t::OID | t::XID | t::CID | t::XID8 => Value::Int(oid_number(text, &name())?),
        t::FLOAT4 => {
            let number = float(text, "real")?;
            Value::Float(narrowed(number, text)?)
        }
        t::FLOAT8 => Value::Float(float(text, "double precision")?),
        t::NUMERIC => Value::Numeric(Numeric::from_str(text)?),
        t::CHAR => Value::text(char_of(text)),
        t::NAME => Value::text(name_of(text)),
        t::TEXT
        | t::VARCHAR
        | t::BPCHAR
        | t::CSTRING
        | t::UNKNOWN
        | t::XML
        | t::REFCURSOR
        | t::PG_NODE_TREE
        | t::ACLITEM => Value::text(text),
        t::INET | t::CIDR => crate::functions::network::parse(text, data_type.oid == t::CIDR)?,
        t::BYTEA => Value::Bytes(parse_bytes(text)?.into()),
        t::DATE => Value::Date(datetime::parse_date(text, clock)?),
        t::TIME => Value::Time(datetime::parse_time(text, false, clock)?.0),
        t::TIMETZ => {
            let (time, zone) = datetime::parse_time(text, true, clock)?;
            Value::TimeZoned(time, zone)
        }
        t::TIMESTAMP => Value::Timestamp(datetime::parse_timestamp(text, false, clock)?),
        t::TIMESTAMPTZ => Value::Timestamp(datetime::parse_timestamp(text, true, clock)?),
        t::INTERVAL => Value::Interval(datetime::parse_interval_within(text, data_type.modifier)?),
        t::UUID => Value::Uuid(parse_uuid(text).ok_or_else(|| syntax("uuid", text))?),
        t::JSON => {
            if !Json::is_valid(text) {
                return Err(invalid_json());
            }
            Value::text(text)
        }
        t::JSONB => Value::jsonb(Json::parse(text).ok_or_else(|| {
            if Json::is_valid(text) {
                Error::new("22P05", "unsupported Unicode escape sequence")
                    .with_detail("\\u0000 cannot be converted to text.")
            } else {
                invalid_json()
            }
        })?),
        t::JSONPATH => Value::text(crate::json::path::parse(text)?.to_string()),
        t::INT2VECTOR | t::OIDVECTOR => {
            let item = Type::of(if data_type.oid == t::INT2VECTOR { t::INT2 } else { t::OID });
            let items = text.split_whitespace().map(|item_text| parse(item_text, &item, clock));
            Value::vector(items.collect::<Result<_>>()?)
        }
        t::VOID => Value::text(""),
        t::BIT | t::VARBIT => crate::functions::bits::parse(text)?,
        // records have no input, but none of them has
        t::RECORD_ARRAY if trimmed == "{}" => Value::array(Vec::new()),
        _ => match data_type.element() {
            Some(element) => parse_array(text, &element, clock)?,
            None if matches!(data_type.row().map(|row| row.kind), Some('d')) => Value::text(text),
            None => return Err(Error::not_supported(format!("input of type {}", name()))),
        },
    })
}

fn invalid_json() -> Error {
    Error::new("22P02", "invalid input syntax for type json")
}

/// In braces or not, with dashes behind any group of four digits.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let mut rest = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => text,
    };
    let mut bytes = [0; 16];
    for (place, byte) in bytes.iter_mut().enumerate() {
        let digits = rest.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
        rest = &rest[2..];
        if place % 2 == 1 && place < 15 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
    }
    rest.is_empty().then_some(bytes)
}

fn parse_bool(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let is_prefix = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if is_prefix("true", 1) || is_prefix("yes", 1) || lower == "on" || lower == "1" {
        Some(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || lower == "0" {
        Some(false)
    } else {
        None
    }
}

fn whole(text: &str, least: i64, most: i64, name: &str) -> Result<i64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(syntax(name, text));
    }
    let number = trimmed.parse::<i64>().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Error::new("22003", format!("value \"{text}\" is out of range for type {name}")))
}

fn oid_number(text: &str, name: &str) -> Result<i64> {
    let number = whole(text, -i64::from(u32::MAX), i64::from(u32::MAX), name)?;
    Ok(if number < 0 { number + (1 << 32) } else { number })
}

fn float(text: &str, name: &str) -> Result<f64> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let is_word = trimmed.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_alphabetic());
    let number: f64 = match trimmed.to_ascii_lowercase().as_str() {
        "nan" => f64::NAN,
        "infinity" | "+infinity" | "inf" | "+inf" => f64::INFINITY,
        "-infinity" | "-inf" => f64::NEG_INFINITY,
        lower if !is_word => lower.parse().map_err(|_| syntax(name, text))?,
        _ => return Err(syntax(name, text)),
    };
    if !is_word
        && (number.is_infinite()
            || (number == 0.0
                && trimmed.bytes().take_while(|b| *b != b'e' && *b != b'E').any(|b| matches!(b, b'1'..=b'9'))))
    {
        return Err(Error::new("22003", format!("\"{trimmed}\" is out of range for type {name}")));
    }
    Ok(number)
}

fn narrowed(number: f64, text: &str) -> Result<f64> {
    let narrow = number as f32;
    if (narrow.is_infinite() && number.is_finite()) || (narrow == 0.0 && number != 0.0) {
        return Err(Error::new("22003", format!("\"{text}\" is out of range for type real")));
    }
    Ok(f64::from(narrow))
}

/// What `"char"` keeps of a text: one character, or the ASCII one that `\101` says.
fn char_of(text: &str) -> String {
    let octal = text.strip_prefix('\\').filter(|digits| {
        digits.len() == 3
            && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
            && digits.starts_with(['0', '1'])
    });
    let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
    match code {
        Some(0) => String::new(),
        Some(code) => char::from(code).to_string(),
        None => text.chars().next().map_or_else(String::new, String::from),
    }
}

/// At most 63 bytes, as identifiers are kept.
pub fn name_of(text: &str) -> &str {
    let mut end = text.len().min(63);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub(crate) fn parse_bytes(text: &str) -> Result<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: String = digits.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if let Some(wrong) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(Error::new("22023", format!("invalid hexadecimal digit: \"{wrong}\"")));
        }
        if digits.len() % 2 == 1 {
            return Err(Error::new("22023", "invalid hexadecimal data: odd number of digits"));
        }
        return Ok((0..digits.len())
            .step_by(2)
            .filter_map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
            .collect());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let invalid = || Error::new("22P02", "invalid input syntax for type bytea");
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().ok_or_else(invalid)? {
            b'\\' => bytes.push(b'\\'),
            first @ b'0'..=b'3' => {
                let mut digit = || {
                    rest.next().filter(|byte| (b'0'..=b'7').contains(byte)).map(|byte| byte - b'0').ok_or_else(invalid)
                };
                let (second, third) = (digit()?, digit()?);
                bytes.push(((first - b'0') << 6) | (second << 3) | third);
            }
            _ => return Err(invalid()),
        }
    }
    Ok(bytes)
}

/// `{1,2}`, `{{1,2},{3,4}}`, `[2:3]={1,2}`, with quoted items.
fn parse_array(text: &str, element: &Type, clock: Clock) -> Result<Value> {
    let malformed = |detail: &str| {
        Error::new("22P02", format!("malformed array literal: \"{text}\"")).with_detail(detail.to_owned())
    };
    let mut rest = text.trim();
    let mut bounds = Vec::new();
    while let Some(inner) = rest.strip_prefix('[') {
        let (range, after) = inner.split_once(']').ok_or_else(|| malformed("Missing \"]\" after array dimensions."))?;
        let (lower, upper) = range.split_once(':').unwrap_or(("1", range));
        let number = |text: &str| {
            text.trim()
                .parse::<i32>()
                .map_err(|_| malformed("\"[\" must introduce explicitly-specified array dimensions."))
        };
        let (lower, upper) = (number(lower)?, number(upper)?);
        if upper < lower {
            return Err(Error::new("2202E", "upper bound cannot be less than lower bound"));
        }
        if bounds.len() >= MOST_DIMENSIONS {
            return Err(too_deep(bounds.len() + 1));
        }
        bounds.push((lower, usize::try_from(i64::from(upper) - i64::from(lower) + 1).unwrap_or(0)));
        rest = after.trim_start();
    }
    if !bounds.is_empty() {
        rest = rest.strip_prefix('=').ok_or_else(|| malformed("Missing \"=\" after array dimensions."))?.trim_start();
    }
    if !rest.starts_with('{') {
        return Err(malformed(if bounds.is_empty() {
            "Array value must start with \"{\" or dimension information."
        } else {
            "Array contents must start with \"{\"."
        }));
    }
    let mut reader = ArrayReader { rest, items: Vec::new(), lengths: Vec::new(), leaf: None, is_too_deep: false };
    if reader.level(0).is_none() {
        if reader.is_too_deep {
            return Err(too_deep(MOST_DIMENSIONS + 1));
        }
        return Err(malformed("Unexpected array element."));
    }
    if !reader.rest.trim().is_empty() {
        return Err(malformed("Junk after closing right brace."));
    }
    if reader.items.is_empty() && (reader.lengths.len() > 1 || !bounds.is_empty()) {
        return Err(malformed("Unexpected \"}\" character."));
    }
    let items = reader.items.into_iter().map(|item| match item {
        Some(text) => parse(&text, element, clock),
        None => Ok(Value::Null),
    });
    let lengths = reader.lengths;
    if !bounds.is_empty() && lengths != bounds.iter().map(|(_, length)| *length).collect::<Vec<_>>() {
        return Err(malformed("Specified array dimensions do not match array contents."));
    }
    let items = items.collect::<Result<Vec<_>>>()?;
    if items.is_empty() {
        return Ok(Value::array(items));
    }
    let lower = |index: usize| bounds.get(index).map_or(1, |(lower, _)| *lower);
    let dimensions = lengths.into_iter().enumerate().map(|(index, length)| (length, lower(index))).collect();
    Ok(Value::Array(Arc::new(Array { dimensions, items })))
}

const MOST_DIMENSIONS: usize = 6;

fn too_deep(n: usize) -> Error {
    Error::new("54000", format!("number of array dimensions ({n}) exceeds the maximum allowed ({MOST_DIMENSIONS})"))
}

struct ArrayReader<'a> {
    rest: &'a str,
    items: Vec<Option<String>>,
    lengths: Vec<usize>,
    /// how deep the items stand
    leaf: Option<usize>,
    is_too_deep: bool,
}

impl ArrayReader<'_> {
    /// One pair of braces; None if it is malformed or ragged.
    fn level(&mut self, depth: usize) -> Option<()> {
        if depth >= MOST_DIMENSIONS {
            self.is_too_deep = true;
            return None;
        }
        self.rest = self.rest.trim_start().strip_prefix('{')?;
        let mut count = 0;
        if self.lengths.len() <= depth {
            self.lengths.resize(depth + 1, usize::MAX);
        }
        loop {
            self.rest = self.rest.trim_start();
            if count == 0
                && let Some(rest) = self.rest.strip_prefix('}')
            {
                self.rest = rest;
                break;
            }
            if self.rest.starts_with('{') {
                if self.leaf.is_some_and(|leaf| leaf <= depth) {
                    return None;
                }
                self.level(depth + 1)?;
            } else {
                if *self.leaf.get_or_insert(depth) != depth || self.lengths.len() > depth + 1 {
                    return None;
                }
                let item = self.item()?;
                self.items.push(item);
            }
            count += 1;
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else {
                self.rest = self.rest.strip_prefix('}')?;
                break;
            }
        }
        if self.lengths[depth] == usize::MAX {
            self.lengths[depth] = count;
        }
        (self.lengths[depth] == count).then_some(())
    }

    fn item(&mut self) -> Option<Option<String>> {
        let mut text = String::new();
        if let Some(rest) = self.rest.strip_prefix('"') {
            let mut characters = rest.chars();
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => text.push(characters.next()?),
                    other => text.push(other),
                }
            }
            self.rest = characters.as_str();
            return Some(Some(text));
        }
        let mut characters = self.rest.chars();
        let (mut escaped, mut kept) = (false, 0);
        while let Some(character) = characters.clone().next() {
            match character {
                ',' | '}' => break,
                '{' | '"' => return None,
                '\\' => {
                    characters.next();
                    text.push(characters.next()?);
                    escaped = true;
                    kept = text.len();
                }
                other => {
                    characters.next();
                    text.push(other);
                    if !other.is_ascii_whitespace() {
                        kept = text.len();
                    }
                }
            }
        }
        self.rest = characters.as_str();
        // escaped blanks stay
        text.truncate(kept);
        if text.is_empty() {
            return None;
        }
        Some((escaped || !text.eq_ignore_ascii_case("null")).then_some(text))
    }
}

/// A value as PostgreSQL's output function prints it; None for NULL. `reg…` numbers are printed as numbers.
pub fn format(value: &Value, data_type: &Type, clock: Clock) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(truth) => if *truth { "t" } else { "f" }.to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if data_type.oid == t::FLOAT4 => format_float(*number, true),
        Value::Float(number) => format_float(*number, false),
        Value::Numeric(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        Value::Bytes(bytes) => {
            let mut text = String::with_capacity(2 + bytes.len() * 2);
            text.push_str("\\x");
            for byte in bytes.iter() {
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
        Value::Date(days) => datetime::format_date(*days),
        Value::Time(time) => datetime::format_time(*time),
        Value::TimeZoned(time, zone) => format!("{}{}", datetime::format_time(*time), datetime::format_offset(*zone)),
        Value::Timestamp(time) => {
            let zone = (data_type.oid != t::TIMESTAMP).then_some(clock.zone);
            datetime::format_timestamp(*time, zone)
        }
        Value::Interval(interval) => datetime::format_interval(*interval),
        Value::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).to_string(),
        Value::Jsonb(json) => json.to_string(),
        Value::Array(array) if matches!(data_type.oid, t::INT2VECTOR | t::OIDVECTOR) => {
            let items: Vec<String> =
                array.items.iter().filter_map(|item| format(item, &Type::of(t::INT8), clock)).collect();
            items.join(" ")
        }
        Value::Array(array) => {
            let element = data_type.element().unwrap_or(Type::of(t::TEXT));
            format_array(array, &element, clock)
        }
        Value::Record(items) => format_record(items, data_type, clock),
    })
}

/// The shortest digits that make the number again, with an exponent where PostgreSQL has one.
pub fn format_float(number: f64, is_narrow: bool) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = if is_narrow { format!("{:e}", number as f32) } else { format!("{number:e}") };
    let scientific = off_the_edge(number, is_narrow, &scientific).unwrap_or(scientific);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let most = if is_narrow { 6 } else { 15 };
    if exponent < -4 || exponent >= most {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    if is_narrow { format!("{}", number as f32) } else { format!("{number}") }
}

/// Digits that lie in the middle between two floats do not say which one is meant: with one more, they do.
fn off_the_edge(number: f64, is_narrow: bool, scientific: &str) -> Option<String> {
    let size = number.abs();
    let (least, most) = if is_narrow { (16_777_216.0, 1e15) } else { (9_007_199_254_740_992.0, 1e23) };
    if !(least..most).contains(&size) {
        return None;
    }
    let (mantissa, exponent) = scientific.trim_start_matches('-').split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = exponent.parse::<usize>().ok()?.checked_sub(fraction.len())?;
    let shown: i128 = format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()?;
    let step = if is_narrow {
        f64::from(f32::from_bits((size as f32).to_bits() + 1)) - size
    } else {
        f64::from_bits(size.to_bits() + 1) - size
    };
    let is_edge = (shown - size as i128).abs() * 2 == step as i128;
    let digits = fraction.len() + 1;
    is_edge.then(|| if is_narrow { format!("{:.digits$e}", number as f32) } else { format!("{number:.digits$e}") })
}

fn format_array(array: &Array, element: &Type, clock: Clock) -> String {
    if array.items.is_empty() {
        return "{}".to_owned();
    }
    let items: Vec<String> = array
        .items
        .iter()
        .map(|item| format(item, element, clock).map_or_else(|| "NULL".to_owned(), |text| quote_item(&text)))
        .collect();
    let mut text = String::new();
    if array.dimensions.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &array.dimensions {
            let _ = write!(text, "[{lower}:{}]", i64::from(*lower) + i64::try_from(*length).unwrap_or(0) - 1);
        }
        text.push('=');
    }
    brace(&array.dimensions, &items, &mut text);
    text
}

fn brace(dimensions: &[(usize, i32)], items: &[String], text: &mut String) {
    text.push('{');
    match dimensions {
        [] | [_] => text.push_str(&items.join(",")),
        [(length, _), inner @ ..] => {
            let size = items.len() / (*length).max(1);
            for (index, part) in items.chunks(size.max(1)).enumerate() {
                if index > 0 {
                    text.push(',');
                }
                brace(inner, part, text);
            }
        }
    }
    text.push('}');
}

fn quote_item(text: &str) -> String {
    let needs = text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text.contains(|c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace());
    if needs { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) } else { text.to_owned() }
}

fn format_record(items: &[Value], data_type: &Type, clock: Clock) -> String {
    let mut text = String::from("(");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let field = data_type.fields.as_ref().and_then(|fields| fields.get(index));
        let field_type = field.map_or(Type::of(t::TEXT), |(_, field_type)| field_type.clone());
        if let Some(item) = format(item, &field_type, clock) {
            let needs = item.is_empty()
                || item.contains(|c: char| matches!(c, '(' | ')' | ',' | '"' | '\\') || c.is_ascii_whitespace());
            if needs {
                let _ = write!(text, "\"{}\"", item.replace('\\', "\\\\").replace('"', "\"\""));
            } else {
                text.push_str(&item);
            }
        }
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::Zone;

    const CLOCK: Clock = Clock { now_us: 0, zone: Zone::UTC };

    #[test]
    fn values_go_round() {
        for (text, type_name, shown) in [
            (" 12 ", "int4", Ok("12")),
            ("99999999999", "int4", Err("22003")),
            ("1.5", "int4", Err("22P02")),
            ("yes", "bool", Ok("t")),
            ("of", "bool", Ok("f")),
            ("maybe", "bool", Err("22P02")),
            ("1e300", "float8", Ok("1e+300")),
            ("123456789.125", "float8", Ok("123456789.125")),
            ("1e400", "float8", Err("22003")),
            ("0.1", "float4", Ok("0.1")),
            ("{1,NULL,3}", "int4[]", Ok("{1,NULL,3}")),
            ("{{a,b},{\"c d\",\"\"}}", "text[]", Ok("{{a,b},{\"c d\",\"\"}}")),
            ("[0:1]={7,8}", "int8[]", Ok("[0:1]={7,8}")),
            ("{{1},{2,3}}", "int4[]", Err("22P02")),
            ("{1", "int4[]", Err("22P02")),
            ("{}", "text[]", Ok("{}")),
            ("\\xDEad", "bytea", Ok("\\xdead")),
            ("1 2 3", "int2vector", Ok("1 2 3")),
            ("{\"b\":1,\"a\":2}", "jsonb", Ok("{\"a\": 2, \"b\": 1}")),
            ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "uuid", Ok("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
            ("10:11:12.5+02", "timetz", Ok("10:11:12.5+02")),
        ] {
            let data_type = t::parse_type(type_name).expect(type_name);
            let parsed = parse(text, &data_type, CLOCK);
            let result = parsed.map(|value| format(&value, &data_type, CLOCK).expect("not NULL"));
            assert_eq!(result.as_deref().map_err(|error| error.sqlstate), shown, "{text}::{type_name}");
        }
        assert_eq!(quote_identifier("Order"), "\"Order\"");
        assert_eq!(quote_identifier("order"), "\"order\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
    }
}
