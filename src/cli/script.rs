//! A file of SQL: its statements, and places in it for people.

use std::io::Read;
use std::path::Path;

use granary_sql::Parsed;

use super::client;
use crate::error::{Error, Kind, Result, io_error};

/// A text of SQL and where it came from.
#[derive(Debug)]
pub struct Script {
    /// as the user named it
    pub name: String,
    pub text: String,
    pub statements: Vec<Parsed>,
}

impl Script {
    /// Reads and parses a file; `-` is the standard input. Nothing of a text with a syntax error is run.
    pub fn read(path: &Path) -> Result<Script> {
        let (name, bytes) = if path == Path::new("-") {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|error| Error::new(Kind::IoError, format!("could not read the standard input: {error}")))?;
            ("-".to_owned(), bytes)
        } else {
            let bytes = std::fs::read(path).map_err(|error| io_error("read", path, error))?;
            (path.display().to_string(), bytes)
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(Kind::InvalidTextRepresentation, format!("\"{name}\" is not text in UTF-8")))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let mut script = Script { name, text, statements: Vec::new() };
        match granary_sql::parse(&script.text) {
            Ok(statements) => script.statements = statements,
            Err(error) => {
                let message = script.located(error.position, &error.message, error.kind.sqlstate());
                let mut told = Error::new(Kind::Syntax, message);
                if let Some(detail) = error.detail {
                    told = told.with_detail(detail);
                }
                if let Some(hint) = error.hint {
                    told = told.with_hint(hint);
                }
                return Err(told);
            }
        }
        Ok(script)
    }

    /// An error of one of the statements, with its place in the file.
    pub fn error(&self, statement: &Parsed, error: &tokio_postgres::Error) -> Error {
        // A statement without position is pointed at by its first word.
        let start = self.text[..statement.offset].chars().count();
        let Some(refused) = error.as_db_error() else {
            let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
            return Error::new(Kind::IoError, self.located(Some(start + 1), &cause, "08006"))
                .with_hint("the connection is gone: does the server still run?");
        };
        let position = start + client::position(refused).unwrap_or(1);
        let message = self.located(Some(position), refused.message(), refused.code().code());
        client::database_error(refused, message)
    }

    /// `file:line:column: message (SQLSTATE)`, the line, and a caret. `position` is in characters from 1.
    fn located(&self, position: Option<usize>, message: &str, sqlstate: &str) -> String {
        let Some(position) = position else { return format!("{}: {message} ({sqlstate})", self.name) };
        let byte = self.text.char_indices().nth(position.saturating_sub(1)).map_or(self.text.len(), |(byte, _)| byte);
        let before = &self.text[..byte];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        // Tabs stay, so that the caret stands below its character.
        let blanks: String = before[line_start..].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{}:{number}:{column}: {message} ({sqlstate})\n  {line}\n  {blanks}^", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_shown_with_a_caret() {
        let script =
            Script { name: "f.sql".to_owned(), text: "SELECT 1;\nSELECT ü, x;\n".to_owned(), statements: Vec::new() };
        assert_eq!(
            script.located(Some(21), "no x", "42703"),
            "f.sql:2:11: no x (42703)\n  SELECT ü, x;\n            ^"
        );
        assert_eq!(script.located(Some(99), "end", "42601"), "f.sql:3:1: end (42601)\n  \n  ^");
        assert_eq!(script.located(None, "all", "42601"), "f.sql: all (42601)");
    }
}
