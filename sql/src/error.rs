//! The one error of this crate: what went wrong, where, and what to type instead.
//! It knows kinds of mistakes, not SQLSTATE classes beyond its own; the caller maps `kind` to its client-facing error.

use thiserror::Error;

/// What kind of mistake a text has; each kind is one SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParseErrorKind {
    /// 42601: the text does not follow the grammar.
    Syntax,
    /// 0A000: the grammar knows it, this release does not do it.
    FeatureNotSupported,
    /// 22023: an option has a value that it cannot have, or is not known.
    InvalidParameter,
    /// 22007: not a timestamp, or not an interval.
    InvalidDatetime,
    /// 22008: a timestamp or an interval beyond the range of 64-bit microseconds.
    DatetimeOverflow,
    /// 42701: a name that must be unique is there twice.
    DuplicateColumn,
    /// 22P02: a text that does not read as the type asked for.
    InvalidText,
    /// 42602: a name that cannot be a name, such as `""`.
    InvalidName,
    /// 42P11: a cursor that contradicts itself.
    InvalidCursorDefinition,
    /// 42P13: a function that lacks what every function has.
    InvalidFunctionDefinition,
    /// 54001: longer, or nested or chained deeper, than can be handled safely.
    TooComplex,
    /// 54011: more columns than a row may have.
    TooManyColumns,
}

impl ParseErrorKind {
    /// The five characters that PostgreSQL would send.
    pub fn sqlstate(self) -> &'static str {
        match self {
            ParseErrorKind::Syntax => "42601",
            ParseErrorKind::FeatureNotSupported => "0A000",
            ParseErrorKind::InvalidParameter => "22023",
            ParseErrorKind::InvalidDatetime => "22007",
            ParseErrorKind::DatetimeOverflow => "22008",
            ParseErrorKind::DuplicateColumn => "42701",
            ParseErrorKind::InvalidText => "22P02",
            ParseErrorKind::InvalidName => "42602",
            ParseErrorKind::InvalidCursorDefinition => "42P11",
            ParseErrorKind::InvalidFunctionDefinition => "42P13",
            ParseErrorKind::TooComplex => "54001",
            ParseErrorKind::TooManyColumns => "54011",
        }
    }
}

/// A text that is not a statement of the language.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ParseError {
    pub kind: ParseErrorKind,
    /// One line, lower case, no full stop.
    pub message: String,
    /// What was expected, if that is known.
    pub detail: Option<String>,
    /// Something to type.
    pub hint: Option<String>,
    /// Where, counted in characters of the whole input from 1, as PostgreSQL's `P` field.
    pub position: Option<usize>,
}

impl ParseError {
    pub fn new(kind: ParseErrorKind, message: impl Into<String>) -> ParseError {
        ParseError { kind, message: message.into(), detail: None, hint: None, position: None }
    }

    #[must_use]
    pub fn at(mut self, position: usize) -> ParseError {
        self.position = Some(position);
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> ParseError {
        self.detail = Some(detail.into());
        self
    }

    /// A hint, if there is none yet.
    #[must_use]
    pub(crate) fn or_hint(mut self, hint: impl Into<String>) -> ParseError {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> ParseError {
        self.hint = Some(hint.into());
        self
    }
}
