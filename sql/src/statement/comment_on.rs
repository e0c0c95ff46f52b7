//! `COMMENT ON object IS 'text' | NULL`, of feature objects and of everything that PostgreSQL comments on.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::signature::{Signature, take_signature};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommentTarget {
    Object {
        kind: ObjectKind,
        name: ObjectName,
        /// The arguments of a function, where they are said.
        signature: Option<Signature>,
    },
    /// Of a table, a view or a feature relation: `relation.column`.
    Column { relation: ObjectName, column: Ident },
    /// Of one of PostgreSQL's own kinds, in upper case.
    Postgres { kind: &'static str, name: ObjectName },
    /// `CONSTRAINT name ON relation`, and the other kinds that live on a relation.
    OnRelation { kind: &'static str, name: Ident, relation: ObjectName },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentOn {
    pub target: CommentTarget,
    /// None takes the comment away.
    pub comment: Option<String>,
}

const POSTGRES_KINDS: [&str; 26] = [
    "TABLE",
    "VIEW",
    "MATERIALIZED VIEW",
    "INDEX",
    "SCHEMA",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "ROLE",
    "EXTENSION",
    "COLLATION",
    "CONVERSION",
    "FOREIGN TABLE",
    "FOREIGN DATA WRAPPER",
    "SERVER",
    "PUBLICATION",
    "SUBSCRIPTION",
    "STATISTICS",
    "TABLESPACE",
    "EVENT TRIGGER",
    "ACCESS METHOD",
    "LANGUAGE",
    "PROCEDURE",
    "ROUTINE",
    "AGGREGATE",
    "USER",
];
const RELATION_KINDS: [&str; 4] = ["CONSTRAINT", "TRIGGER", "POLICY", "RULE"];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CommentOn> {
    cursor.expect(&["comment", "on"])?;
    let target = parse_target(cursor)?;
    if !cursor.take(&["is"]) {
        return Err(cursor.expected("IS").with_hint("type IS 'text', or IS NULL to take the comment away"));
    }
    let comment = if cursor.take(&["null"]) { None } else { Some(cursor.string("a text in quotes, or NULL")?) };
    Ok(CommentOn { target, comment })
}

fn parse_target(cursor: &mut Cursor) -> Result<CommentTarget> {
    if cursor.take(&["column"]) {
        return parse_column(cursor);
    }
    if let Some(kind) = ObjectKind::take(cursor) {
        let name = cursor.object_name()?;
        let signature = take_signature(cursor, kind)?;
        return Ok(CommentTarget::Object { kind, name, signature });
    }
    if let Some(kind) = take_kind(cursor, &RELATION_KINDS) {
        let name = cursor.name()?;
        cursor.expect(&["on"])?;
        cursor.take(&["domain"]);
        return Ok(CommentTarget::OnRelation { kind, name, relation: cursor.object_name()? });
    }
    match take_kind(cursor, &POSTGRES_KINDS) {
        Some(kind) => {
            let name = cursor.object_name()?;
            skip_arguments(cursor)?;
            Ok(CommentTarget::Postgres { kind, name })
        }
        None => Err(cursor.expected("a kind of object").with_hint("type COMMENT ON FEATURE VIEW name IS 'text'")),
    }
}

fn take_kind(cursor: &mut Cursor, kinds: &[&'static str]) -> Option<&'static str> {
    kinds.iter().copied().find(|kind| {
        let words: Vec<String> = kind.split(' ').map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        cursor.take(&words)
    })
}

fn parse_column(cursor: &mut Cursor) -> Result<CommentTarget> {
    let mut parts = vec![cursor.name()?];
    while cursor.take_symbol(&Token::Period) {
        parts.push(cursor.any_name("a column's name")?);
    }
    match parts.pop() {
        Some(column) if (1..=3).contains(&parts.len()) => {
            Ok(CommentTarget::Column { relation: ObjectName::from(parts), column })
        }
        _ => Err(cursor.expected("relation.column").with_hint("type COMMENT ON COLUMN relation.column IS 'text'")),
    }
}

/// The argument types of a function. Names are not overloaded here, so they tell nothing.
fn skip_arguments(cursor: &mut Cursor) -> Result<()> {
    if !cursor.take_symbol(&Token::LParen) {
        return Ok(());
    }
    let mut depth = 1usize;
    while depth > 0 {
        match cursor.peek() {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::EOF => return Err(cursor.expected("\")\"")),
            _ => {}
        }
        cursor.advance();
    }
    Ok(())
}

impl Display for CommentOn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            CommentTarget::Object { kind, name, signature } => {
                write!(formatter, "COMMENT ON {kind} {name}")?;
                if let Some(signature) = signature {
                    write!(formatter, "{signature}")?;
                }
            }
            CommentTarget::Column { relation, column } => write!(formatter, "COMMENT ON COLUMN {relation}.{column}")?,
            CommentTarget::Postgres { kind, name } => write!(formatter, "COMMENT ON {kind} {name}")?,
            CommentTarget::OnRelation { kind, name, relation } => {
                write!(formatter, "COMMENT ON {kind} {name} ON {relation}")?;
            }
        }
        match &self.comment {
            Some(comment) => write!(formatter, " IS {}", quote_literal(comment)),
            None => write!(formatter, " IS NULL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("comment on feature view V is 'it''s'", "COMMENT ON FEATURE VIEW v IS 'it''s'");
        check("COMMENT ON COLUMN s.v.spend_7d IS NULL", "COMMENT ON COLUMN s.v.spend_7d IS NULL");
        check("COMMENT ON DATABASE d IS 'x'", "COMMENT ON WORKSPACE d IS 'x'");
        check("COMMENT ON FUNCTION f(int, numeric(3,2)) IS 'x'", "COMMENT ON FUNCTION f(int, numeric(3,2)) IS 'x'");
        check("COMMENT ON CONSTRAINT c ON t IS 'x'", "COMMENT ON CONSTRAINT c ON t IS 'x'");
        check("COMMENT ON MATERIALIZED VIEW m IS 'x'", "COMMENT ON MATERIALIZED VIEW m IS 'x'");
    }

    #[test]
    fn errors_have_places() {
        check_error("COMMENT ON COLUMN a IS 'x'", "syntax error at or near \"IS\"", 21);
        check_error("COMMENT ON GADGET a IS 'x'", "syntax error at or near \"GADGET\"", 12);
        check_error("COMMENT ON TABLE t IS x", "syntax error at or near \"x\"", 23);
    }
}
