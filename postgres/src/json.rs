//! JSON as PostgreSQL's `jsonb` keeps it: numbers with all their digits, keys once and in order.

pub mod path;
pub mod raw;

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::str::FromStr;

use crate::numeric::Numeric;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Numeric),
    Text(String),
    List(Vec<Json>),
    /// by length of the key, then its bytes
    Object(Vec<(String, Json)>),
}

/// How deep a text may nest.
const DEPTH_LIMIT: usize = 512;

impl Json {
    /// None if the text is no JSON.
    pub fn parse(text: &str) -> Option<Json> {
        let mut parser = Parser { rest: text, depth: 0, allows_zero: false };
        let value = parser.value()?;
        parser.blanks();
        parser.rest.is_empty().then_some(value)
    }

    /// Whether the text is JSON, which `json` keeps as it is: it may have the character 0, which nothing else can.
    pub fn is_valid(text: &str) -> bool {
        let mut parser = Parser { rest: text, depth: 0, allows_zero: true };
        let found = parser.value();
        parser.blanks();
        found.is_some() && parser.rest.is_empty()
    }

    /// An object of these, of which the last with a key counts.
    pub fn object(fields: Vec<(String, Json)>) -> Json {
        let mut kept: Vec<(String, Json)> = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            match kept.iter_mut().find(|(other, _)| *other == key) {
                Some(place) => place.1 = value,
                None => kept.push((key, value)),
            }
        }
        kept.sort_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
        Json::Object(kept)
    }

    pub fn field(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// From the end if negative.
    pub fn item(&self, index: i64) -> Option<&Json> {
        let Json::List(items) = self else { return None };
        let index = if index < 0 { index + i64::try_from(items.len()).ok()? } else { index };
        items.get(usize::try_from(index).ok()?)
    }

    /// What `->>` gives: text without quotes; None for null.
    pub fn unquoted(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::Text(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "boolean",
            Json::Number(_) => "number",
            Json::Text(_) => "string",
            Json::List(_) => "array",
            Json::Object(_) => "object",
        }
    }

    /// `@>`. A list has what is no list as its items have it.
    pub fn contains(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::List(items), other) if !matches!(other, Json::List(_) | Json::Object(_)) => items.contains(other),
            (own, other) => own.has_inside(other),
        }
    }

    fn has_inside(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::Object(_), Json::Object(others)) => {
                others.iter().all(|(key, value)| self.field(key).is_some_and(|own| own.has_inside(value)))
            }
            (Json::List(items), Json::List(others)) => {
                others.iter().all(|other| items.iter().any(|item| item.has_inside(other)))
            }
            (own, other) => own == other,
        }
    }

    /// With line breaks, as `jsonb_pretty`.
    pub fn pretty(&self, indent: usize) -> String {
        let pad = |depth: usize| "    ".repeat(depth);
        match self {
            Json::List(items) if !items.is_empty() => {
                let items: Vec<String> =
                    items.iter().map(|item| format!("{}{}", pad(indent + 1), item.pretty(indent + 1))).collect();
                format!("[\n{}\n{}]", items.join(",\n"), pad(indent))
            }
            Json::Object(fields) if !fields.is_empty() => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(key, value)| format!("{}{}: {}", pad(indent + 1), quote(key), value.pretty(indent + 1)))
                    .collect();
                format!("{{\n{}\n{}}}", fields.join(",\n"), pad(indent))
            }
            Json::List(_) => "[\n".to_owned() + &pad(indent) + "]",
            Json::Object(_) => "{\n".to_owned() + &pad(indent) + "}",
            other => other.to_string(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Json::Null => 0,
            Json::Text(_) => 1,
            Json::Number(_) => 2,
            Json::Bool(_) => 3,
            Json::List(_) => 4,
            Json::Object(_) => 5,
        }
    }

    /// `jsonb`'s order, in which an empty list alone is before all that is no list or object.
    pub fn cmp(&self, other: &Json) -> Ordering {
        let is_plain = |json: &Json| !matches!(json, Json::List(_) | Json::Object(_));
        match (self, other) {
            (Json::List(items), other) if items.is_empty() && is_plain(other) => Ordering::Less,
            (own, Json::List(items)) if items.is_empty() && is_plain(own) => Ordering::Greater,
            _ => self.order(other),
        }
    }

    fn order(&self, other: &Json) -> Ordering {
        match (self, other) {
            (Json::Bool(left), Json::Bool(right)) => left.cmp(right),
            (Json::Number(left), Json::Number(right)) => left.cmp(right),
            (Json::Text(left), Json::Text(right)) => left.cmp(right),
            (Json::List(left), Json::List(right)) => left.len().cmp(&right.len()).then_with(|| {
                left.iter()
                    .zip(right)
                    .map(|(left, right)| left.order(right))
                    .find(|order| order.is_ne())
                    .unwrap_or(Ordering::Equal)
            }),
            (Json::Object(left), Json::Object(right)) => left.len().cmp(&right.len()).then_with(|| {
                let pairs = left.iter().zip(right);
                let differs = pairs
                    .map(|((key, value), (other, other_value))| key.cmp(other).then_with(|| value.order(other_value)));
                differs.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            }),
            (left, right) => left.rank().cmp(&right.rank()),
        }
    }
}

impl Display for Json {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => formatter.write_str("null"),
            Json::Bool(truth) => write!(formatter, "{truth}"),
            Json::Number(number) => write!(formatter, "{number}"),
            Json::Text(text) => formatter.write_str(&quote(text)),
            Json::List(items) => {
                formatter.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(formatter, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                formatter.write_str("]")
            }
            Json::Object(fields) => {
                formatter.write_str("{")?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    write!(formatter, "{}{}: {value}", if index == 0 { "" } else { ", " }, quote(key))?;
                }
                formatter.write_str("}")
            }
        }
    }
}

/// A JSON string.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if u32::from(control) < 0x20 => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    allows_zero: bool,
}

impl Parser<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn take(&mut self, word: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
    }

    fn value(&mut self) -> Option<Json> {
        self.blanks();
        match self.rest.bytes().next()? {
            b'n' => self.take("null").map(|()| Json::Null),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => self.nested(Parser::list),
            b'{' => self.nested(Parser::object),
            _ => self.number(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Option<Json>) -> Option<Json> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return None;
        }
        self.rest = &self.rest[1..];
        self.blanks();
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Option<Json> {
        let mut items = Vec::new();
        if self.take("]").is_some() {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value()?);
            self.blanks();
            if self.take("]").is_some() {
                return Some(Json::List(items));
            }
            self.take(",")?;
        }
    }

    fn object(&mut self) -> Option<Json> {
        let mut fields = Vec::new();
        if self.take("}").is_some() {
            return Some(Json::object(fields));
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.blanks();
            self.take(":")?;
            fields.push((key, self.value()?));
            self.blanks();
            if self.take("}").is_some() {
                return Some(Json::object(fields));
            }
            self.take(",")?;
        }
    }

    fn number(&mut self) -> Option<Json> {
        let is_part = |character: char| matches!(character, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let length = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(length);
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        let whole = unsigned.bytes().take_while(u8::is_ascii_digit).count();
        let fraction_is_empty =
            unsigned[whole..].strip_prefix('.').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()));
        if whole == 0 || (whole > 1 && unsigned.starts_with('0')) || fraction_is_empty {
            return None;
        }
        self.rest = rest;
        Some(Json::Number(Numeric::from_str(digits).ok()?))
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut text = String::new();
        loop {
            let mut characters = self.rest.chars();
            let character = characters.next()?;
            self.rest = characters.as_str();
            match character {
                '"' => return Some(text),
                '\\' => {
                    let escaped = characters.next()?;
                    self.rest = characters.as_str();
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        '"' | '\\' | '/' => escaped,
                        'u' => self.code_point()?,
                        _ => return None,
                    });
                }
                control if u32::from(control) < 0x20 => return None,
                other => text.push(other),
            }
        }
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        let unit = u32::from_str_radix(digits, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(unit)
    }

    fn code_point(&mut self) -> Option<char> {
        let high = self.code_unit()?;
        if !(0xd800..0xdc00).contains(&high) {
            let allows_zero = self.allows_zero;
            return char::from_u32(high).filter(|character| allows_zero || *character != '\0');
        }
        self.take("\\u")?;
        let low = self.code_unit()?.checked_sub(0xdc00)?;
        char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_jsonb_shows_them() {
        for (text, shown) in [
            (r#" { "bb":1.50, "a" : [true,null,"x\n\u00e9"], "a":2 } "#, Some(r#"{"a": 2, "bb": 1.50}"#)),
            ("[]", Some("[]")),
            ("1e2", Some("100")),
            ("-0.5", Some("-0.5")),
            ("01", None),
            ("1.", None),
            ("[1,]", None),
            ("{\"a\":}", None),
            ("\"\u{1}\"", None),
            ("1 2", None),
            ("", None),
        ] {
            assert_eq!(Json::parse(text).map(|json| json.to_string()).as_deref(), shown, "{text}");
        }
        assert_eq!(Json::parse(&"[".repeat(100_000)), None);
    }
}
