//! What a client is told of a failure. The engine above gives it its place among its own errors.

/// A result of this package.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// SQLSTATE and texts in PostgreSQL's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// line and column in the statement, from 1
    pub place: Option<(u64, u64)>,
}

impl Error {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Error {
        Error { sqlstate, message: message.into(), detail: None, hint: None, place: None }
    }

    /// 0A000.
    pub fn not_supported(what: impl std::fmt::Display) -> Error {
        Error::new("0A000", format!("{what} is not supported"))
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    /// Keeps the place that it has.
    pub fn at(mut self, place: Option<(u64, u64)>) -> Error {
        self.place = self.place.or(place);
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
