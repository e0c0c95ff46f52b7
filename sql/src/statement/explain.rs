//! `EXPLAIN [ANALYZE] [VERBOSE] statement` and `EXPLAIN (option [value], …) statement`, over any statement.

use std::fmt::{self, Display};

use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::parser::{Parsed, parse_one};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ExplainFormat {
    #[default]
    Text,
    Json,
    Xml,
    Yaml,
}

impl ExplainFormat {
    const ALL: [ExplainFormat; 4] = [ExplainFormat::Text, ExplainFormat::Json, ExplainFormat::Xml, ExplainFormat::Yaml];

    fn word(self) -> &'static str {
        match self {
            ExplainFormat::Text => "TEXT",
            ExplainFormat::Json => "JSON",
            ExplainFormat::Xml => "XML",
            ExplainFormat::Yaml => "YAML",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    pub analyze: bool,
    pub verbose: bool,
    pub format: ExplainFormat,
    /// PostgreSQL's other switches as far as they are said, each once: costs, buffers, timing, summary, settings, wal,
    /// memory, generic_plan.
    pub switches: Vec<(&'static str, bool)>,
    pub statement: Box<Parsed>,
}

const SWITCHES: [&str; 8] = ["costs", "buffers", "timing", "summary", "settings", "wal", "memory", "generic_plan"];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Explain> {
    cursor.expect(&["explain"])?;
    let mut explain = Settings::default();
    if is_option_list(cursor) {
        let options = cursor.parenthesized(|cursor| parse_option(cursor))?;
        options.into_iter().for_each(|option| explain.apply(option));
    } else {
        explain.analyze = cursor.take(&["analyze"]) || cursor.take(&["analyse"]);
        explain.verbose = cursor.take(&["verbose"]);
    }
    if cursor.at_end() || cursor.sees(&["explain"]) {
        return Err(cursor.expected("a statement to explain"));
    }
    let Settings { analyze, verbose, format, switches } = explain;
    Ok(Explain { analyze, verbose, format, switches, statement: Box::new(parse_one(cursor)?) })
}

#[derive(Default)]
struct Settings {
    analyze: bool,
    verbose: bool,
    format: ExplainFormat,
    switches: Vec<(&'static str, bool)>,
}

enum Setting {
    Switch(&'static str, bool),
    Format(ExplainFormat),
    /// Accepted and without meaning here, such as SERIALIZE.
    Ignored,
}

impl Settings {
    fn apply(&mut self, setting: Setting) {
        match setting {
            Setting::Switch("analyze", on) => self.analyze = on,
            Setting::Switch("verbose", on) => self.verbose = on,
            Setting::Switch(name, on) => {
                self.switches.retain(|(earlier, _)| *earlier != name);
                self.switches.push((name, on));
            }
            Setting::Format(format) => self.format = format,
            Setting::Ignored => {}
        }
    }
}

/// `EXPLAIN (SELECT …)` is a query in parentheses.
fn is_option_list(cursor: &Cursor) -> bool {
    let is_query = |word| crate::source::is_word(cursor.peek_nth(1), word);
    let begins_query = ["select", "with", "values", "table"].into_iter().any(is_query);
    *cursor.peek() == Token::LParen && !begins_query && *cursor.peek_nth(1) != Token::LParen
}

fn parse_option(cursor: &mut Cursor) -> Result<Setting> {
    if cursor.take(&["format"]) {
        let quoted = cursor.take_string();
        let found = ExplainFormat::ALL.into_iter().find(|format| match &quoted {
            Some(text) => text.eq_ignore_ascii_case(format.word()),
            None => cursor.sees(&[format.word()]),
        });
        let Some(format) = found else {
            return Err(cursor.expected("TEXT, JSON, XML or YAML"));
        };
        if quoted.is_none() {
            cursor.advance();
        }
        return Ok(Setting::Format(format));
    }
    if cursor.take(&["serialize"]) {
        if !matches!(cursor.peek(), Token::Comma | Token::RParen) {
            cursor.advance();
        }
        return Ok(Setting::Ignored);
    }
    let mut known = ["analyze", "verbose"].into_iter().chain(SWITCHES);
    let Some(name) = known.find(|name| cursor.sees(&[name])) else {
        let message = match cursor.peek() {
            Token::Word(word) => format!("unrecognized EXPLAIN option \"{}\"", word.value.to_lowercase()),
            _ => return Err(cursor.expected("an option of EXPLAIN")),
        };
        return Err(cursor.error(ParseErrorKind::Syntax, message).with_hint("type EXPLAIN (ANALYZE, FORMAT JSON) …"));
    };
    cursor.advance();
    Ok(Setting::Switch(name, parse_switch(cursor)?))
}

/// `[true | false | on | off | 1 | 0]`; on if there is none.
fn parse_switch(cursor: &mut Cursor) -> Result<bool> {
    if matches!(cursor.peek(), Token::Comma | Token::RParen) {
        return Ok(true);
    }
    let (on, off) = (["true", "on"], ["false", "off"]);
    let text = match cursor.peek() {
        Token::Word(word) => word.value.to_lowercase(),
        Token::SingleQuotedString(text) => text.to_lowercase(),
        Token::Number(digits, _) => digits.clone(),
        _ => String::new(),
    };
    let value = match text.as_str() {
        word if on.contains(&word) || word == "1" => true,
        word if off.contains(&word) || word == "0" => false,
        _ => return Err(cursor.expected("a boolean")),
    };
    cursor.advance();
    Ok(value)
}

impl Explain {
    /// What the statement says of a switch; None if it does not.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.switches.iter().find(|(known, _)| *known == name).map(|(_, on)| *on)
    }
}

impl Display for Explain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = Vec::new();
        if self.analyze {
            options.push("ANALYZE".to_string());
        }
        if self.verbose {
            options.push("VERBOSE".to_string());
        }
        let switch = |(name, on): &(&str, bool)| format!("{}{}", name.to_uppercase(), if *on { "" } else { " OFF" });
        options.extend(self.switches.iter().map(switch));
        if self.format != ExplainFormat::Text {
            options.push(format!("FORMAT {}", self.format.word()));
        }
        match options.as_slice() {
            [] => write!(formatter, "EXPLAIN {}", self.statement.statement),
            options => write!(formatter, "EXPLAIN ({}) {}", options.join(", "), self.statement.statement),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("explain select 1", "EXPLAIN select 1");
        check("EXPLAIN ANALYZE VERBOSE SELECT 1", "EXPLAIN (ANALYZE, VERBOSE) SELECT 1");
        check(
            "EXPLAIN (FORMAT JSON, ANALYZE on, COSTS false, buffers) SELECT 1",
            "EXPLAIN (ANALYZE, COSTS OFF, BUFFERS, FORMAT JSON) SELECT 1",
        );
        check("EXPLAIN (SELECT 1)", "EXPLAIN (SELECT 1)");
        check("EXPLAIN refresh feature view v", "EXPLAIN REFRESH FEATURE VIEW v");
    }

    #[test]
    fn inner_statement_keeps_its_text() {
        let parsed = crate::parse(" explain  SELECT 1 ; ").unwrap();
        let crate::Statement::Explain(explain) = &parsed[0].statement else { panic!("{parsed:?}") };
        assert_eq!((explain.statement.text.as_str(), explain.statement.offset), ("SELECT 1", 10));
    }

    #[test]
    fn errors_have_places() {
        check_error("EXPLAIN", "syntax error at end of input", 8);
        check_error("EXPLAIN EXPLAIN SELECT 1", "syntax error at or near \"EXPLAIN\"", 9);
        check_error("EXPLAIN (COLOR) SELECT 1", "unrecognized EXPLAIN option \"color\"", 10);
        check_error("EXPLAIN (FORMAT CSV) SELECT 1", "syntax error at or near \"CSV\"", 17);
    }
}
