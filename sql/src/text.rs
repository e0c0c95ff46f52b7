//! A piece of somebody's SQL inside a statement: its tree, and its text exactly as typed.
//! It prints as typed, because sqlparser prints `FOR SYSTEM_TIME` where it cannot be parsed again,
//! and because a user who asks for a definition wants to see their own.

use std::fmt::{self, Display};

/// Equality is that of the trees, which ignore places, blanks and comments.
#[derive(Debug, Clone)]
pub struct SqlText<T> {
    pub ast: T,
    pub text: String,
}

impl<T> SqlText<T> {
    pub fn new(ast: T, text: impl Into<String>) -> SqlText<T> {
        SqlText { ast, text: text.into() }
    }
}

impl<T: PartialEq> PartialEq for SqlText<T> {
    fn eq(&self, other: &SqlText<T>) -> bool {
        self.ast == other.ast
    }
}

impl<T: Eq> Eq for SqlText<T> {}

impl<T> Display for SqlText<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}
