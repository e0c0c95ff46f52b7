//! `VACUUM [options] [FEATURE VIEW | FEATURE TABLE | TABLE] [name, …] [RETAIN interval]`: unlink files that are no
//! longer needed. Options are PostgreSQL's, in both of its forms; what they mean is not known here.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;
use sqlparser::tokenizer::Token;

use super::optimize::StoredKind;
use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::interval::Interval;
use crate::window::parse_duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuum {
    pub options: Vec<VacuumOption>,
    /// None: whichever the names are of.
    pub kind: Option<StoredKind>,
    /// None at all: everything stored.
    pub names: Vec<ObjectName>,
    /// Not below zero.
    pub retain: Option<Interval>,
}

/// One of PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VacuumOption {
    /// In upper case.
    pub name: String,
    /// In lower case.
    pub value: Option<String>,
}

/// The options that may stand without parentheses, in this order.
const PLAIN_OPTIONS: [&str; 5] = ["full", "freeze", "verbose", "analyze", "analyse"];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Vacuum> {
    cursor.expect(&["vacuum"])?;
    let options = if *cursor.peek() == Token::LParen {
        cursor.parenthesized(parse_option)?
    } else {
        let plain = |word: &str| VacuumOption { name: option_name(word), value: None };
        PLAIN_OPTIONS.into_iter().filter(|word| cursor.take(&[word])).map(plain).collect()
    };
    let kind = StoredKind::take(cursor);
    let names = match kind.is_none() && (cursor.at_end() || sees_retain(cursor)) {
        true => Vec::new(),
        false => cursor.list(Cursor::object_name)?,
    };
    let retain = if cursor.take(&["retain"]) { Some(parse_retain(cursor)?) } else { None };
    Ok(Vacuum { options, kind, names, retain })
}

/// Without a name before it; a table may be called so.
fn sees_retain(cursor: &Cursor) -> bool {
    cursor.sees(&["retain", "interval"])
        || cursor.sees(&["retain"]) && matches!(cursor.peek_nth(1), Token::SingleQuotedString(_))
}

fn option_name(word: &str) -> String {
    word.to_uppercase().replace("ANALYSE", "ANALYZE")
}

fn parse_option(cursor: &mut Cursor) -> Result<VacuumOption> {
    let name = option_name(&cursor.word("an option")?);
    if let Some(number) = cursor.take_number() {
        return Ok(VacuumOption { name, value: Some(number) });
    }
    let has_value = !matches!(cursor.peek(), Token::Comma | Token::RParen);
    let value = if has_value { Some(cursor.word("a value")?) } else { None };
    Ok(VacuumOption { name, value })
}

fn parse_retain(cursor: &mut Cursor) -> Result<Interval> {
    let position = cursor.position();
    let retain = parse_duration(cursor)?;
    if retain.microseconds < 0 {
        let error = cursor.error(ParseErrorKind::InvalidParameter, "files cannot be retained for less than no time");
        return Err(error.at(position).with_hint("RETAIN '0'"));
    }
    Ok(retain)
}

impl Display for VacuumOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        match &self.value {
            Some(value) => write!(formatter, " {value}"),
            None => Ok(()),
        }
    }
}

impl Display for Vacuum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("VACUUM")?;
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(VacuumOption::to_string).collect();
            write!(formatter, " ({})", options.join(", "))?;
        }
        if let Some(kind) = self.kind {
            write!(formatter, " {kind}")?;
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(ObjectName::to_string).collect();
            write!(formatter, " {}", names.join(", "))?;
        }
        match &self.retain {
            Some(retain) => write!(formatter, " RETAIN {retain}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("vacuum", "VACUUM");
        check("VACUUM RETAIN interval '1 day'", "VACUUM RETAIN '1 day'");
        check("vacuum V, public.w retain '0'", "VACUUM v, public.w RETAIN '0'");
        check("VACUUM feature view v", "VACUUM FEATURE VIEW v");
        check("VACUUM TABLE retain", "VACUUM TABLE retain");
        check("VACUUM retain", "VACUUM retain");
        check("VACUUM FULL VERBOSE ANALYZE t", "VACUUM (FULL, VERBOSE, ANALYZE) t");
        check("VACUUM (full off, PARALLEL 2, analyse) t", "VACUUM (FULL off, PARALLEL 2, ANALYZE) t");
    }

    #[test]
    fn errors_have_places() {
        check_error("VACUUM FEATURE VIEW", "syntax error at end of input", 20);
        check_error("VACUUM t RETAIN", "syntax error at end of input", 16);
        check_error("VACUUM t RETAIN 'soon'", "invalid input syntax for type interval: \"soon\"", 17);
        check_error("VACUUM t RETAIN '-1 day'", "files cannot be retained for less than no time", 17);
        check_error("VACUUM () t", "syntax error at or near \")\"", 9);
    }
}
