//! `DROP kind [IF EXISTS] name, … [CASCADE | RESTRICT]` of feature objects.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::object_kind::ObjectKind;
use crate::option::join;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    pub kind: ObjectKind,
    pub if_exists: bool,
    /// At least one.
    pub names: Vec<ObjectName>,
    /// Drop what depends on it too; without it (RESTRICT) that is an error.
    pub cascade: bool,
}

pub(crate) fn parse(cursor: &mut Cursor, kind: ObjectKind) -> Result<Drop> {
    cursor.expect(&["drop"])?;
    ObjectKind::take(cursor);
    let if_exists = cursor.take(&["if", "exists"]);
    let names = cursor.list(Cursor::object_name)?;
    if kind == ObjectKind::Workspace && cursor.sees(&["with"]) || *cursor.peek() == Token::LParen {
        // PostgreSQL's DROP DATABASE … WITH (FORCE): sessions of a dropped workspace end anyway.
        cursor.take(&["with"]);
        cursor.parenthesized(|cursor| cursor.expect(&["force"]))?;
    }
    let cascade = cursor.take(&["cascade"]);
    if !cascade {
        cursor.take(&["restrict"]);
    }
    if !cursor.at_end() {
        return Err(cursor.expected("\",\", CASCADE, RESTRICT or end of statement"));
    }
    Ok(Drop { kind, if_exists, names, cascade })
}

impl Display for Drop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = if self.if_exists { "IF EXISTS " } else { "" };
        let cascade = if self.cascade { " CASCADE" } else { "" };
        write!(formatter, "DROP {} {if_exists}{}{cascade}", self.kind, join(&self.names))
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("drop feature view if exists A, b.c cascade", "DROP FEATURE VIEW IF EXISTS a, b.c CASCADE");
        check("DROP REALTIME FEATURE VIEW r RESTRICT", "DROP REALTIME FEATURE VIEW r");
        check("DROP DATABASE dev WITH (FORCE)", "DROP WORKSPACE dev");
        check("DROP API KEY ci", "DROP API KEY ci");
    }

    #[test]
    fn errors_have_places() {
        check_error("DROP ENTITY", "syntax error at end of input", 12);
        check_error("DROP ENTITY a b", "syntax error at or near \"b\"", 15);
        check_error("DROP ENTITY IF a", "syntax error at or near \"a\"", 16);
    }
}
