//! `ALTER kind [IF EXISTS] name SET (…) | RESET (…) | RENAME TO … | OWNER TO … | PAUSE | RESUME` of feature objects.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join, parse_options};
use crate::signature::{Signature, take_signature};

#[derive(Debug, Clone, PartialEq)]
pub enum AlterAction {
    /// At least one.
    Set(Options),
    /// Back to their defaults; at least one.
    Reset(Vec<Ident>),
    RenameTo(Ident),
    OwnerTo(Ident),
    /// Of a stream: no more events. Of a feature view: nothing by the scheduler. Of an alert: it is not looked at.
    Pause,
    Resume,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Alter {
    pub kind: ObjectKind,
    pub if_exists: bool,
    pub name: ObjectName,
    /// The arguments of a function, where they are said.
    pub signature: Option<Signature>,
    pub action: AlterAction,
}

pub(crate) fn parse(cursor: &mut Cursor, kind: ObjectKind) -> Result<Alter> {
    cursor.expect(&["alter"])?;
    ObjectKind::take(cursor);
    let if_exists = cursor.take(&["if", "exists"]);
    let name = cursor.object_name()?;
    let signature = take_signature(cursor, kind)?;
    let action = parse_action(cursor, kind)?;
    cursor.expect_end()?;
    Ok(Alter { kind, if_exists, name, signature, action })
}

fn parse_action(cursor: &mut Cursor, kind: ObjectKind) -> Result<AlterAction> {
    let can_pause = matches!(kind, ObjectKind::Stream | ObjectKind::FeatureView | ObjectKind::Alert);
    if cursor.take(&["set"]) {
        let position = cursor.index();
        let options = parse_options(cursor)?;
        if options.is_empty() {
            return Err(cursor.expected_at(position, "at least one option").with_hint("type SET (owner = 'me')"));
        }
        Ok(AlterAction::Set(options))
    } else if cursor.take(&["reset"]) {
        Ok(AlterAction::Reset(cursor.parenthesized(Cursor::name)?))
    } else if cursor.take(&["rename", "to"]) {
        Ok(AlterAction::RenameTo(cursor.name()?))
    } else if cursor.take(&["owner", "to"]) {
        Ok(AlterAction::OwnerTo(parse_role(cursor)?))
    } else if can_pause && cursor.take(&["pause"]) {
        Ok(AlterAction::Pause)
    } else if can_pause && cursor.take(&["resume"]) {
        Ok(AlterAction::Resume)
    } else {
        let error = cursor.expected(match can_pause {
            true => "SET (…), RESET (…), RENAME TO, OWNER TO, PAUSE or RESUME",
            false => "SET (…), RESET (…), RENAME TO or OWNER TO",
        });
        Err(error.with_hint("to change a definition, type CREATE OR REPLACE …"))
    }
}

/// A role; the words that PostgreSQL has for the present one stay words.
fn parse_role(cursor: &mut Cursor) -> Result<Ident> {
    for word in ["current_user", "current_role", "session_user"] {
        if cursor.take(&[word]) {
            return Ok(Ident::new(word));
        }
    }
    cursor.any_name("a role's name")
}

impl Display for Alter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = if self.if_exists { "IF EXISTS " } else { "" };
        write!(formatter, "ALTER {} {if_exists}{}", self.kind, self.name)?;
        if let Some(signature) = &self.signature {
            write!(formatter, "{signature}")?;
        }
        formatter.write_str(" ")?;
        match &self.action {
            AlterAction::Set(options) => write!(formatter, "SET {options}"),
            AlterAction::Reset(names) => write!(formatter, "RESET ({})", join(names)),
            AlterAction::RenameTo(name) => write!(formatter, "RENAME TO {name}"),
            AlterAction::OwnerTo(role) => write!(formatter, "OWNER TO {role}"),
            AlterAction::Pause => formatter.write_str("PAUSE"),
            AlterAction::Resume => formatter.write_str("RESUME"),
        }
    }
}

/// Whether `ALTER DATABASE name` is followed by something that only PostgreSQL's own has: SET parameter, RESET parameter, …
pub(crate) fn is_database_setting(cursor: &Cursor) -> bool {
    let word = |nth, word| crate::source::is_word(cursor.peek_nth(nth), word);
    let is_setting = (word(3, "set") || word(3, "reset")) && *cursor.peek_nth(4) != Token::LParen;
    cursor.sees(&["alter", "database"])
        && (is_setting || word(3, "with") || word(3, "connection") || word(3, "refresh"))
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "alter feature view V set (schedule = '1 hour', tags = ('a' = 'b'))",
            "ALTER FEATURE VIEW v SET (schedule = '1 hour', tags = ('a' = 'b'))",
        );
        check("ALTER ENTITY IF EXISTS e RESET (owner, tags)", "ALTER ENTITY IF EXISTS e RESET (owner, tags)");
        check("ALTER SOURCE s RENAME TO \"T\"", "ALTER SOURCE s RENAME TO \"T\"");
        check("alter stream if exists S pause", "ALTER STREAM IF EXISTS s PAUSE");
        check("alter feature view V pause", "ALTER FEATURE VIEW v PAUSE");
        check("ALTER STREAM pause RESUME", "ALTER STREAM pause RESUME");
        check("ALTER DATABASE d OWNER TO CURRENT_USER", "ALTER WORKSPACE d OWNER TO current_user");
    }

    #[test]
    fn errors_have_places() {
        check_error("ALTER FEATURE VIEW v", "syntax error at end of input", 21);
        check_error("ALTER ENTITY v PAUSE", "syntax error at or near \"PAUSE\"", 16);
        check_error("ALTER FEATURE VIEW v SET ()", "syntax error at or near \"(\"", 26);
        check_error("ALTER FEATURE VIEW v SET (a = 1, a = 2)", "option \"a\" is given more than once", 34);
    }
}
