//! The arguments that a statement names a function with: `f(int, text)`. Their names, if it says any, tell nothing.

use std::fmt::{self, Display};

use sqlparser::ast::DataType;
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::object_kind::ObjectKind;
use crate::option::join;
use crate::source::is_word;
use crate::text::SqlText;

/// Types by argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature(pub Vec<SqlText<DataType>>);

impl Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({})", join(&self.0))
    }
}

/// Behind the name of a function; none behind that of anything else.
pub(crate) fn take_signature(cursor: &mut Cursor, kind: ObjectKind) -> Result<Option<Signature>> {
    if kind != ObjectKind::Function || !cursor.take_symbol(&Token::LParen) {
        return Ok(None);
    }
    if cursor.take_symbol(&Token::RParen) {
        return Ok(Some(Signature(Vec::new())));
    }
    let types = cursor.list(|cursor| {
        cursor.take(&["in"]);
        if is_named(cursor) {
            cursor.any_name("an argument's name")?;
        }
        cursor.data_type()
    })?;
    if !cursor.take_symbol(&Token::RParen) {
        return Err(cursor.expected("\",\" or \")\""));
    }
    Ok(Some(Signature(types)))
}

/// Whether the next word is an argument's name: another comes behind it, and the two are no type.
pub(crate) fn is_named(cursor: &Cursor) -> bool {
    const TYPES_OF_SEVERAL_WORDS: [(&str, &[&str]); 8] = [
        ("double", &["precision"]),
        ("character", &["varying", "large"]),
        ("char", &["varying", "large"]),
        ("bit", &["varying"]),
        ("binary", &["varying", "large"]),
        ("national", &["char", "character"]),
        ("timestamp", &["with", "without"]),
        ("time", &["with", "without"]),
    ];
    let (Token::Word(_), Token::Word(_)) = (cursor.peek(), cursor.peek_nth(1)) else { return false };
    let is = |nth: usize, word: &str| is_word(cursor.peek_nth(nth), word);
    let is_type =
        TYPES_OF_SEVERAL_WORDS.iter().any(|(first, second)| is(0, first) && second.iter().any(|second| is(1, second)));
    !is_type && !is(1, "default") && !is(0, "interval")
}
