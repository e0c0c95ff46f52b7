//! `CREATE ALERT name WHEN condition … DO action, …` and `CHECK ALERT name`: what is looked for again and again, and who is told.

use std::fmt::{self, Display};

use sqlparser::ast::{Expr, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::head::{Head, parse_head, print_head};
use crate::interval::Interval;
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::Options;
use crate::text::SqlText;
use crate::window::parse_duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertSeverity {
    Info,
    Warning,
    Critical,
}

/// How often an alert that goes on is told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub every: Interval,
    /// As often as it goes on, if nothing is said.
    pub at_most: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum AlertAction {
    Webhook {
        url: String,
        /// Names and values.
        headers: Vec<(String, String)>,
    },
    /// Addresses, at least one.
    Email(Vec<String>),
    Notify(Ident),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateAlert {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// A boolean, or a query in parentheses.
    pub when: SqlText<Expr>,
    /// How long it must hold before anybody is told.
    pub hold: Option<Interval>,
    pub severity: Option<AlertSeverity>,
    pub repeat: Option<Repeat>,
    pub check_every: Option<Interval>,
    pub actions: Vec<AlertAction>,
    pub options: Options,
    pub comment: Option<String>,
}

/// An alert that is looked at now.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckAlert {
    pub name: ObjectName,
}

impl AlertSeverity {
    /// As it is typed.
    pub fn words(self) -> &'static str {
        match self {
            AlertSeverity::Info => "INFO",
            AlertSeverity::Warning => "WARNING",
            AlertSeverity::Critical => "CRITICAL",
        }
    }
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];
const SYNOPSIS: &str = "an alert is: WHEN condition [FOR '…'] [SEVERITY …] [REPEAT EVERY '…' [AT MOST n TIMES]] [CHECK EVERY '…'] DO action, …";

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateAlert> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    if !cursor.take(&["when"]) {
        return Err(cursor.expected("WHEN").with_hint(SYNOPSIS));
    }
    let when = cursor.expression()?;
    let (mut hold, mut severity, mut repeat, mut check_every) = (None, None, None, None);
    loop {
        if cursor.sees(&["for"]) {
            once(cursor, "FOR", hold.is_some())?;
            cursor.advance();
            hold = Some(parse_time(cursor, "FOR", 0)?);
        } else if cursor.sees(&["severity"]) {
            once(cursor, "SEVERITY", severity.is_some())?;
            cursor.advance();
            severity = Some(parse_severity(cursor)?);
        } else if cursor.sees(&["repeat", "every"]) {
            once(cursor, "REPEAT EVERY", repeat.is_some())?;
            cursor.take(&["repeat", "every"]);
            repeat = Some(parse_repeat(cursor)?);
        } else if cursor.sees(&["check", "every"]) {
            once(cursor, "CHECK EVERY", check_every.is_some())?;
            cursor.take(&["check", "every"]);
            check_every = Some(parse_time(cursor, "CHECK EVERY", 1)?);
        } else {
            break;
        }
    }
    if !cursor.take(&["do"]) {
        return Err(cursor.expected("FOR, SEVERITY, REPEAT EVERY, CHECK EVERY or DO").with_hint(SYNOPSIS));
    }
    let actions = parse_actions(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateAlert {
        or_replace,
        if_not_exists,
        name,
        when,
        hold,
        severity,
        repeat,
        check_every,
        actions,
        options,
        comment,
    })
}

pub(crate) fn parse_check(cursor: &mut Cursor) -> Result<CheckAlert> {
    cursor.expect(&["check", "alert"])?;
    let name = cursor.object_name()?;
    cursor.expect_end()?;
    Ok(CheckAlert { name })
}

fn once(cursor: &Cursor, title: &str, is_given: bool) -> Result<()> {
    if !is_given {
        return Ok(());
    }
    let error = cursor.error(ParseErrorKind::Syntax, format!("{title} is given more than once"));
    Err(error.with_hint(format!("keep one {title}")))
}

/// A duration of at least so many microseconds.
fn parse_time(cursor: &mut Cursor, title: &str, least_us: i64) -> Result<Interval> {
    let position = cursor.position();
    let time = parse_duration(cursor)?;
    if time.microseconds < least_us {
        let what = if least_us > 0 { "must be longer than zero" } else { "must not be below zero" };
        let error = ParseError::new(ParseErrorKind::InvalidParameter, format!("the time of {title} {what}"));
        return Err(error.at(position).with_hint(format!("{title} '5 minutes'")));
    }
    Ok(time)
}

fn parse_severity(cursor: &mut Cursor) -> Result<AlertSeverity> {
    for severity in [AlertSeverity::Info, AlertSeverity::Warning, AlertSeverity::Critical] {
        if cursor.take(&[&severity.words().to_ascii_lowercase()]) {
            return Ok(severity);
        }
    }
    Err(cursor.expected("INFO, WARNING or CRITICAL"))
}

fn parse_repeat(cursor: &mut Cursor) -> Result<Repeat> {
    let every = parse_time(cursor, "REPEAT EVERY", 1)?;
    if !cursor.take(&["at", "most"]) {
        return Ok(Repeat { every, at_most: None });
    }
    let position = cursor.position();
    let at_most = cursor.whole_number("how many times")?;
    if at_most == 0 || u32::try_from(at_most).is_err() {
        let message = "an alert is repeated from 1 to 4294967295 times";
        let error = ParseError::new(ParseErrorKind::InvalidParameter, message).at(position);
        return Err(error.with_hint("leave REPEAT out to be told once"));
    }
    if !cursor.take(&["times"]) && !cursor.take(&["time"]) {
        return Err(cursor.expected("TIMES"));
    }
    Ok(Repeat { every, at_most: Some(at_most) })
}

/// Actions end where another word than that of an action follows: addresses are a list themselves.
fn parse_actions(cursor: &mut Cursor) -> Result<Vec<AlertAction>> {
    let mut actions = vec![parse_action(cursor)?];
    while cursor.take_symbol(&Token::Comma) {
        actions.push(parse_action(cursor)?);
    }
    Ok(actions)
}

fn parse_action(cursor: &mut Cursor) -> Result<AlertAction> {
    if cursor.take(&["webhook"]) {
        let url = cursor.string("a URL in quotes")?;
        let headers = match cursor.take(&["headers"]) {
            true => cursor.parenthesized(parse_header)?,
            false => Vec::new(),
        };
        return Ok(AlertAction::Webhook { url, headers });
    }
    if cursor.take(&["email"]) {
        let mut addresses = vec![cursor.string("an address in quotes")?];
        while *cursor.peek() == Token::Comma && is_string(cursor.peek_nth(1)) {
            cursor.advance();
            addresses.push(cursor.string("an address in quotes")?);
        }
        return Ok(AlertAction::Email(addresses));
    }
    if cursor.take(&["notify"]) {
        return Ok(AlertAction::Notify(cursor.any_name("a channel's name")?));
    }
    Err(cursor
        .expected("WEBHOOK, EMAIL or NOTIFY")
        .with_hint("DO WEBHOOK 'https://…', EMAIL 'a@b.example', NOTIFY channel"))
}

fn is_string(token: &Token) -> bool {
    matches!(token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_))
}

/// `'name' = 'value'`
fn parse_header(cursor: &mut Cursor) -> Result<(String, String)> {
    let name = cursor.string("a header's name in quotes")?;
    cursor.expect_symbol(&Token::Eq)?;
    Ok((name, cursor.string("a header's value in quotes")?))
}

impl Display for Repeat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EVERY {}", self.every)?;
        match self.at_most {
            Some(times) => write!(formatter, " AT MOST {times} TIMES"),
            None => Ok(()),
        }
    }
}

impl Display for AlertAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AlertAction::Webhook { url, headers } => {
                write!(formatter, "WEBHOOK {}", quote_literal(url))?;
                if headers.is_empty() {
                    return Ok(());
                }
                let headers: Vec<String> = headers
                    .iter()
                    .map(|(name, value)| format!("{} = {}", quote_literal(name), quote_literal(value)))
                    .collect();
                write!(formatter, " HEADERS ({})", headers.join(", "))
            }
            AlertAction::Email(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(|address| quote_literal(address)).collect();
                write!(formatter, "EMAIL {}", addresses.join(", "))
            }
            AlertAction::Notify(channel) => write!(formatter, "NOTIFY {channel}"),
        }
    }
}

impl Display for CreateAlert {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::new(print_head(ObjectKind::Alert, self.or_replace, self.if_not_exists, &self.name));
        printed.line(format!("WHEN {}", self.when));
        if let Some(hold) = &self.hold {
            printed.line(format!("FOR {hold}"));
        }
        if let Some(severity) = self.severity {
            printed.line(format!("SEVERITY {}", severity.words()));
        }
        if let Some(repeat) = &self.repeat {
            printed.line(format!("REPEAT {repeat}"));
        }
        if let Some(check_every) = &self.check_every {
            printed.line(format!("CHECK EVERY {check_every}"));
        }
        let actions: Vec<String> = self.actions.iter().map(AlertAction::to_string).collect();
        printed.line(format!("DO {}", actions.join(",\n    ")));
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

impl Display for CheckAlert {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CHECK ALERT {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create or replace alert A when (select view from granary.freshness where is_stale) check every '30 s' for '5 minutes' \
             repeat every '1 hour' at most 3 times severity critical do webhook 'https://h/x' headers ('A' = 'b', 'C' = 'd''e'), \
             email 'a@b', 'c@d', notify Ops comment 'x' with (owner = 'me')",
            "CREATE OR REPLACE ALERT a\n  WHEN (select view from granary.freshness where is_stale)\n  FOR '5 minutes'\n  \
             SEVERITY CRITICAL\n  REPEAT EVERY '1 hour' AT MOST 3 TIMES\n  CHECK EVERY '30 s'\n  \
             DO WEBHOOK 'https://h/x' HEADERS ('A' = 'b', 'C' = 'd''e'),\n    EMAIL 'a@b', 'c@d',\n    NOTIFY ops\n  \
             WITH (owner = 'me')\n  COMMENT 'x'",
        );
        check(
            "CREATE ALERT IF NOT EXISTS a WHEN EXISTS (SELECT 1 FROM t) OR 1 > 2 FOR '0' DO NOTIFY \"Ops\"",
            "CREATE ALERT IF NOT EXISTS a\n  WHEN EXISTS (SELECT 1 FROM t) OR 1 > 2\n  FOR '0'\n  DO NOTIFY \"Ops\"",
        );
        check("DROP ALERT IF EXISTS a, b CASCADE", "DROP ALERT IF EXISTS a, b CASCADE");
        check("SHOW CREATE ALERT a", "SHOW CREATE ALERT a");
        check("COMMENT ON ALERT a IS 'x'", "COMMENT ON ALERT a IS 'x'");
        check("alter alert a pause", "ALTER ALERT a PAUSE");
        check("ALTER ALERT IF EXISTS a RESUME", "ALTER ALERT IF EXISTS a RESUME");
        check("check alert Public.A", "CHECK ALERT public.a");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE ALERT a DO NOTIFY c", "syntax error at or near \"DO\"", 16);
        check_error("CREATE ALERT a WHEN true", "syntax error at end of input", 25);
        check_error("CREATE ALERT a WHEN true DO CALL 'x'", "syntax error at or near \"CALL\"", 29);
        check_error("CREATE ALERT a WHEN true DO EMAIL", "syntax error at end of input", 34);
        check_error("CREATE ALERT a WHEN true SEVERITY bad DO NOTIFY c", "syntax error at or near \"bad\"", 35);
        check_error("CREATE ALERT a WHEN true FOR '1 s' FOR '2 s' DO NOTIFY c", "FOR is given more than once", 36);
        check_error(
            "CREATE ALERT a WHEN true CHECK EVERY '0' DO NOTIFY c",
            "the time of CHECK EVERY must be longer than zero",
            38,
        );
        check_error(
            "CREATE ALERT a WHEN true REPEAT EVERY '1 h' AT MOST 0 TIMES DO NOTIFY c",
            "an alert is repeated from 1 to 4294967295 times",
            53,
        );
        check_error("CHECK ALERT", "syntax error at end of input", 12);
    }
}
