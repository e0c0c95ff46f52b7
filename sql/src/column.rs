//! `name type`: the columns of entities, declared sources, streams, feature tables and requests.
//! Which types there are is not known here.

use std::fmt::{self, Display};

use sqlparser::ast::{DataType, Ident};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: Ident,
    pub data_type: SqlText<DataType>,
}

impl Display for Column {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.data_type)
    }
}

/// `(name type, …)`; no name twice.
pub(crate) fn parse_columns(cursor: &mut Cursor) -> Result<Vec<Column>> {
    let columns = cursor.parenthesized(|cursor| Ok((cursor.position(), parse_column(cursor)?)))?;
    for (index, (position, column)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(_, earlier)| earlier.name == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name.value);
            let error = ParseError::new(ParseErrorKind::DuplicateColumn, message).at(*position);
            return Err(error.with_hint("give each column a name of its own"));
        }
    }
    Ok(columns.into_iter().map(|(_, column)| column).collect())
}

fn parse_column(cursor: &mut Cursor) -> Result<Column> {
    let name = cursor.any_name("a column's name")?;
    if matches!(cursor.peek(), Token::Comma | Token::RParen) {
        let hint = format!("type {name} text");
        return Err(cursor.expected("a type").with_hint(hint));
    }
    let data_type = cursor.data_type()?;
    if !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
        let hint = "a column here is a name and a type, without DEFAULT, NOT NULL or other constraints";
        return Err(cursor.expected("\",\" or \")\"").with_hint(hint));
    }
    Ok(Column { name, data_type })
}
