//! `DROP kind [IF EXISTS] name, … [CASCADE | RESTRICT]` of feature objects.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::object_kind::ObjectKind;
use crate::option::join;
use crate::signature::{Signature, take_signature};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    pub kind: ObjectKind,
    pub if_exists: bool,
    /// At least one.
    pub names: Vec<ObjectName>,
    /// By name, the arguments of a function, where they are said.
    pub signatures: Vec<Option<Signature>>,
    /// Drop what depends on it too; without it (RESTRICT) that is an error.
    pub cascade: bool,
}

pub(crate) fn parse(cursor: &mut Cursor, kind: ObjectKind) -> Result<Drop> {
    cursor.expect(&["drop"])?;
    ObjectKind::take(cursor);
    let if_exists = cursor.take(&["if", "exists"]);
    let named = cursor.list(|cursor| Ok((cursor.object_name()?, take_signature(cursor, kind)?)))?;
    let (names, signatures) = named.into_iter().unzip();
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
    Ok(Drop { kind, if_exists, names, signatures, cascade })
}

impl Display for Drop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let if_exists = if self.if_exists { "IF EXISTS " } else { "" };
        let cascade = if self.cascade { " CASCADE" } else { "" };
        let signature =
            |signature: &Option<Signature>| signature.as_ref().map_or_else(String::new, ToString::to_string);
        let named = self.names.iter().zip(&self.signatures);
        let named: Vec<String> = named.map(|(name, own)| format!("{name}{}", signature(own))).collect();
        write!(formatter, "DROP {} {if_exists}{}{cascade}", self.kind, join(&named))
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
