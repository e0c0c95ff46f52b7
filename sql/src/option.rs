//! `WITH (name = value, …)`: options as typed, and getters that say where a wrong value stands.
//! Which options an object has is not known here; the caller names them.

mod parse;

use std::fmt::{self, Display};

use crate::cursor::Result;
use crate::error::{ParseError, ParseErrorKind};
use crate::interval::{Interval, IntervalError, parse_interval};
use crate::name::{quote, quote_literal};
use crate::timestamp::{TimestampError, parse_timestamp};

pub(crate) use parse::parse_options;

#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    String(String),
    /// As typed, with its sign.
    Number(String),
    Bool(bool),
    /// A bare word, in lower case: `trigger = manual`.
    Ident(String),
    /// `('a', 'b')`
    List(Vec<OptionValue>),
    /// `('a' = 'b', …)`, as in `tags`.
    Pairs(Vec<(String, String)>),
}

impl Display for OptionValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionValue::String(text) => formatter.write_str(&quote_literal(text)),
            OptionValue::Number(number) => formatter.write_str(number),
            OptionValue::Bool(value) => write!(formatter, "{value}"),
            OptionValue::Ident(word) => formatter.write_str(&quote(word)),
            OptionValue::List(items) => write!(formatter, "({})", join(items)),
            OptionValue::Pairs(pairs) => {
                let pairs: Vec<String> = pairs
                    .iter()
                    .map(|(key, value)| format!("{} = {}", quote_literal(key), quote_literal(value)))
                    .collect();
                write!(formatter, "({})", pairs.join(", "))
            }
        }
    }
}

pub(crate) fn join<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// One option; two are equal wherever they stand.
#[derive(Debug, Clone)]
pub struct OptionEntry {
    /// Lower case unless it was quoted.
    pub name: String,
    pub value: OptionValue,
    /// Of its name, in characters of the input from 1; none if it was not parsed.
    pub position: Option<usize>,
}

impl PartialEq for OptionEntry {
    fn eq(&self, other: &OptionEntry) -> bool {
        self.name == other.name && self.value == other.value
    }
}

/// `name = value`
impl Display for OptionEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}", option_name(&self.name), self.value)
    }
}

/// Words may stand dotted, `sasl.mechanism`; anything else is quoted.
fn option_name(name: &str) -> String {
    let is_plain = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.bytes().all(|next| next.is_ascii_lowercase() || next.is_ascii_digit() || next == b'_')
    };
    if name.split('.').all(is_plain) { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Options in the order in which they were given; no name is there twice.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    pub entries: Vec<OptionEntry>,
}

/// What a word says as a boolean, in any case.
pub fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "t" | "y" | "1" => Some(true),
        "false" | "off" | "no" | "f" | "n" | "0" => Some(false),
        _ => None,
    }
}

impl Options {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&OptionEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    pub fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.read(name, |value| {
            let word = match value {
                OptionValue::Bool(value) => return Ok(*value),
                OptionValue::Ident(word) | OptionValue::String(word) | OptionValue::Number(word) => word,
                _ => return Err(wanted("a boolean", "true")),
            };
            boolean(word).ok_or_else(|| wanted("a boolean", "true"))
        })
    }

    /// A fixed duration.
    pub fn interval(&self, name: &str) -> Result<Option<Interval>> {
        self.read(name, |value| match value {
            OptionValue::String(text) => parse_interval(text).map_err(interval_error),
            _ => Err(wanted("an interval", "'1 day'")),
        })
    }

    /// UTC microseconds.
    pub fn timestamp_us(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, |value| match value {
            OptionValue::String(text) => parse_timestamp(text).map_err(timestamp_error),
            _ => Err(wanted("a timestamp", "'2024-01-31'")),
        })
    }

    /// A string, or a bare word.
    pub fn string(&self, name: &str) -> Result<Option<String>> {
        self.read(name, |value| match value {
            OptionValue::String(text) | OptionValue::Ident(text) => Ok(text.clone()),
            _ => Err(wanted("a string", "'text'")),
        })
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>> {
        self.read(name, |value| match value {
            OptionValue::String(text) | OptionValue::Number(text) => {
                text.parse().map_err(|_| wanted("a whole number", "1000"))
            }
            _ => Err(wanted("a whole number", "1000")),
        })
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        self.read(name, |value| {
            let text = match value {
                OptionValue::String(text) | OptionValue::Number(text) => text,
                _ => return Err(wanted("a number", "0.1")),
            };
            let number: Option<f64> = text.parse().ok();
            number.filter(|number| number.is_finite()).ok_or_else(|| wanted("a number", "0.1"))
        })
    }

    /// One of these words, bare or quoted, in any case.
    pub fn choice<'a>(&self, name: &str, allowed: &[&'a str]) -> Result<Option<&'a str>> {
        self.read(name, |value| {
            let word = match value {
                OptionValue::String(word) | OptionValue::Ident(word) => word.as_str(),
                OptionValue::Bool(true) => "true",
                OptionValue::Bool(false) => "false",
                _ => "",
            };
            let found = allowed.iter().find(|choice| choice.eq_ignore_ascii_case(word));
            found
                .copied()
                .ok_or_else(|| wanted(&format!("one of {}", allowed.join(", ")), allowed.first().unwrap_or(&"")))
        })
    }

    /// Strings or words: a list, or one alone.
    pub fn strings(&self, name: &str) -> Result<Option<Vec<String>>> {
        let one = |value: &OptionValue| match value {
            OptionValue::String(text) | OptionValue::Ident(text) | OptionValue::Number(text) => Ok(text.clone()),
            _ => Err(wanted("a list of strings", "('a', 'b')")),
        };
        self.read(name, |value| match value {
            OptionValue::List(items) => items.iter().map(one).collect(),
            value => Ok(vec![one(value)?]),
        })
    }

    /// Pairs as in `tags = ('team' = 'risk')`; also read from one string, `'team=risk, tier=1'`.
    pub fn pairs(&self, name: &str) -> Result<Option<Vec<(String, String)>>> {
        self.read(name, |value| match value {
            OptionValue::Pairs(pairs) => Ok(pairs.clone()),
            OptionValue::String(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Ok(parts
                    .map(|part| {
                        let (key, value) = part.split_once('=').unwrap_or((part, ""));
                        (key.trim().to_string(), value.trim().to_string())
                    })
                    .collect())
            }
            _ => Err(wanted("pairs", "('team' = 'risk')")),
        })
    }

    /// The error of the first option that is not among `allowed`, with the likeliest name in the hint.
    pub fn unknown(&self, allowed: &[&str]) -> Option<ParseError> {
        let entry = self.entries.iter().find(|entry| !allowed.contains(&entry.name.as_str()))?;
        let message = format!("unrecognized option \"{}\"", entry.name);
        let mut error = ParseError::new(ParseErrorKind::InvalidParameter, message);
        error.position = entry.position;
        let closest = closest(&entry.name, allowed);
        Some(match closest {
            Some(name) => error.with_hint(format!("did you mean {name}?")),
            None => error.with_hint(format!("options here are {}", allowed.join(", "))),
        })
    }

    /// Reads an option if it is there; an error gets the option's name and place.
    fn read<T>(&self, name: &str, read: impl FnOnce(&OptionValue) -> Result<T>) -> Result<Option<T>> {
        let Some(entry) = self.get(name) else {
            return Ok(None);
        };
        match read(&entry.value) {
            Ok(value) => Ok(Some(value)),
            Err(mut error) => {
                if error.kind == ParseErrorKind::InvalidParameter {
                    let value = &entry.value;
                    error.message = format!("invalid value for option \"{name}\": {value}");
                    error.hint = error.hint.map(|example| format!("{name} = {example}"));
                } else {
                    error.detail = Some(format!("it is the value of option \"{name}\""));
                }
                error.position = entry.position;
                Err(error)
            }
        }
    }
}

fn wanted(what: &str, example: &str) -> ParseError {
    let error = ParseError::new(ParseErrorKind::InvalidParameter, "");
    error.with_detail(format!("expected {what}")).with_hint(example)
}

pub(crate) fn interval_error(error: IntervalError) -> ParseError {
    let kind = match &error {
        IntervalError::Syntax(_) => ParseErrorKind::InvalidDatetime,
        IntervalError::NotFixed { .. } => ParseErrorKind::InvalidDatetime,
        IntervalError::OutOfRange(_) => ParseErrorKind::DatetimeOverflow,
    };
    ParseError::new(kind, error.to_string()).with_hint(error.hint())
}

pub(crate) fn timestamp_error(error: TimestampError) -> ParseError {
    let kind = match &error {
        TimestampError::Syntax(_) | TimestampError::Infinite(_) => ParseErrorKind::InvalidDatetime,
        TimestampError::FieldOutOfRange(_) | TimestampError::OutOfRange(_) => ParseErrorKind::DatetimeOverflow,
    };
    ParseError::new(kind, error.to_string()).with_hint(error.hint())
}

/// `(name = value, …)`
impl Display for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({})", join(&self.entries))
    }
}

/// The nearest of some names, if it is near enough to be what was meant.
pub(crate) fn closest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &&&str| edit_distance(name, candidate);
    let best = known.iter().min_by_key(distance)?;
    let is_near = edit_distance(name, best) <= 1 + best.len() / 4;
    is_near.then_some(*best)
}

/// Levenshtein's distance: insertions, deletions and replacements, by rows.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, character) in left.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Statement;

    /// The options of `WITH (…)`.
    fn options(text: &str) -> Options {
        let statement = format!("CREATE ENTITY e (id text) WITH ({text})");
        match crate::parse(&statement).unwrap().remove(0).statement {
            Statement::CreateEntity(entity) => entity.options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn getters_read_what_was_typed() {
        let read = options(
            "a = true, b = off, c, d = '1 hour', e = '2024-01-01', f = Word, g = -3, h = 0.5, \
             i = ('x', y), j = ('k' = 'v', l = 2), k = 'a=b, c', m = interval '1 day', \"N\" = 'N'",
        );
        assert_eq!(read.bool("a"), Ok(Some(true)));
        assert_eq!(read.bool("b"), Ok(Some(false)));
        assert_eq!(read.bool("c"), Ok(Some(true)));
        assert_eq!(read.bool("z"), Ok(None));
        assert_eq!(read.interval("d").unwrap().unwrap().microseconds, 3_600_000_000);
        assert_eq!(read.interval("m").unwrap().unwrap().text, "1 day");
        assert_eq!(read.timestamp_us("e"), Ok(Some(1_704_067_200_000_000)));
        assert_eq!(read.string("f"), Ok(Some("word".to_string())));
        assert_eq!(read.string("N"), Ok(Some("N".to_string())));
        assert_eq!(read.choice("f", &["other", "WORD"]), Ok(Some("WORD")));
        assert_eq!(read.integer("g"), Ok(Some(-3)));
        assert_eq!(read.number("h"), Ok(Some(0.5)));
        assert_eq!(read.strings("i").unwrap().unwrap(), ["x", "y"]);
        assert_eq!(read.strings("f").unwrap().unwrap(), ["word"]);
        let pairs = |name: &str| read.pairs(name).unwrap().unwrap();
        let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
        assert_eq!(pairs("j"), [pair("k", "v"), pair("l", "2")]);
        assert_eq!(pairs("k"), [pair("a", "b"), pair("c", "")]);
    }

    #[test]
    fn getters_say_what_is_wrong() {
        let read = options("online = maybe, ttl = '1 month', start = '2024-02-30', n = 'x', trigger = always");
        let bool = read.bool("online").unwrap_err();
        assert_eq!(bool.message, "invalid value for option \"online\": maybe");
        assert_eq!(bool.hint.as_deref(), Some("online = true"));
        assert_eq!((bool.kind.sqlstate(), bool.position), ("22023", Some(33)));
        let interval = read.interval("ttl").unwrap_err();
        assert_eq!((interval.kind.sqlstate(), interval.position), ("22007", Some(49)));
        let timestamp = read.timestamp_us("start").unwrap_err();
        assert_eq!(timestamp.message, "date/time field value out of range: \"2024-02-30\"");
        assert_eq!(timestamp.detail.as_deref(), Some("it is the value of option \"start\""));
        assert_eq!(read.integer("n").unwrap_err().hint.as_deref(), Some("n = 1000"));
        let choice = read.choice("trigger", &["scheduled", "manual", "none"]).unwrap_err();
        assert_eq!(choice.detail.as_deref(), Some("expected one of scheduled, manual, none"));
    }

    #[test]
    fn unknown_options_are_told_with_the_likeliest_name() {
        let known = ["schedule", "ttl", "online"];
        let unknown = |text: &str| options(text).unknown(&known);
        assert_eq!(unknown("schedule = '1 day', ttl = '1 day'"), None);
        let near = unknown("ttl = '1 day', shedule = '1 day'").unwrap();
        assert_eq!(near.message, "unrecognized option \"shedule\"");
        assert_eq!(near.hint.as_deref(), Some("did you mean schedule?"));
        assert_eq!(near.position, Some(48));
        let far = unknown("colour = 'red'").unwrap();
        assert_eq!(far.hint.as_deref(), Some("options here are schedule, ttl, online"));
    }

    #[test]
    fn names_print_so_that_they_parse() {
        for text in ["a.b.c = 1", "\"group.id\" = 'x'", "\"A b\" = 1", "select = 1", "a = \"B\""] {
            let read = options(text);
            assert_eq!(options(&join(&read.entries)), read, "{text}");
        }
    }
}
