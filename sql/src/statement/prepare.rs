//! `PREPARE name [(types)] AS statement` and `EXECUTE name [(arguments)]`.

use std::fmt::{self, Display};

use sqlparser::ast::{DataType, Expr, Ident};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::parser::{Parsed, parse_one};
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct Prepare {
    pub name: Ident,
    /// Of the first parameters.
    pub types: Vec<SqlText<DataType>>,
    pub statement: Box<Parsed>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Execute {
    pub name: Ident,
    pub arguments: Vec<SqlText<Expr>>,
}

const PREPARED: [&str; 7] = ["select", "insert", "update", "delete", "merge", "values", "with"];

pub(crate) fn parse_prepare(cursor: &mut Cursor) -> Result<Prepare> {
    cursor.expect(&["prepare"])?;
    let name = cursor.any_name("a name")?;
    let has_types = *cursor.peek() == Token::LParen;
    let types = if has_types { cursor.parenthesized(Cursor::data_type)? } else { Vec::new() };
    cursor.expect(&["as"])?;
    if !PREPARED.iter().any(|word| cursor.sees(&[word])) && *cursor.peek() != Token::LParen {
        return Err(cursor.expected("SELECT, INSERT, UPDATE, DELETE, MERGE or VALUES"));
    }
    Ok(Prepare { name, types, statement: Box::new(parse_one(cursor)?) })
}

pub(crate) fn parse_execute(cursor: &mut Cursor) -> Result<Execute> {
    cursor.expect(&["execute"])?;
    let name = cursor.any_name("a prepared statement's name")?;
    let has_arguments = *cursor.peek() == Token::LParen;
    let arguments = if has_arguments { cursor.parenthesized(Cursor::expression)? } else { Vec::new() };
    Ok(Execute { name, arguments })
}

fn list<T: Display>(items: &[T]) -> String {
    match items {
        [] => String::new(),
        _ => format!(" ({})", items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")),
    }
}

impl Display for Prepare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PREPARE {}{} AS {}", self.name, list(&self.types), self.statement.statement)
    }
}

impl Display for Execute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "EXECUTE {}{}", self.name, list(&self.arguments))
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("prepare P as select 1", "PREPARE p AS select 1");
        check(
            "PREPARE p(int, text) AS INSERT INTO t VALUES ($1, $2)",
            "PREPARE p (int, text) AS INSERT INTO t VALUES ($1, $2)",
        );
        check("execute P", "EXECUTE p");
        check("EXECUTE p(1 + 1, 'x')", "EXECUTE p (1 + 1, 'x')");
    }

    #[test]
    fn errors_have_places() {
        check_error("PREPARE p AS DROP TABLE t", "syntax error at or near \"DROP\"", 14);
        check_error("EXECUTE", "syntax error at end of input", 8);
    }
}
