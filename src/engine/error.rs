//! The one function that reads a `DataFusionError`, and the way back.
//!
//! It unwraps to one of our own errors where there is one inside, and else decides by variant. Only constant
//! words of DataFusion itself are ever looked at in a message, never what a user wrote.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;

use sqlparser::tokenizer::Location;

use crate::error::{Error, Kind};

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        convert(error, None)
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Error::from(DataFusionError::from(error))
    }
}

/// Our error inside DataFusion's, for our own operators.
pub fn into_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Like `From`, with the position of the error in `text`, the statement that was planned.
pub fn convert(error: DataFusionError, text: Option<&str>) -> Error {
    match error {
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let position = text.and_then(|text| position_of(&diagnostic, text));
            let error = convert(*inner, text);
            match position {
                Some(position) if error.position().is_none() => error.at(position),
                _ => error,
            }
        }
        DataFusionError::Context(_, inner) => convert(*inner, text),
        DataFusionError::Shared(inner) => match find_ours(inner.as_ref()) {
            Some(error) => error,
            None => by_variant(inner.as_ref()),
        },
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => convert(first, text),
            None => Error::internal("an empty collection of errors"),
        },
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => match find_ours(other.as_ref()) {
                Some(ours) => ours,
                None => Error::internal(other.to_string()),
            },
        },
        DataFusionError::ArrowError(inner, _) => match *inner {
            ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => match other.downcast::<DataFusionError>() {
                    Ok(inner) => convert(*inner, text),
                    Err(other) => Error::internal(other.to_string()),
                },
            },
            other => by_arrow(&other),
        },
        other => by_variant(&other),
    }
}

/// A copy of the first error of ours in a chain of sources.
fn find_ours(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours.duplicate());
        }
        next = error.source();
    }
    None
}

fn by_variant(error: &DataFusionError) -> Error {
    let text = error.strip_backtrace();
    match error {
        DataFusionError::SchemaError(inner, _) => by_schema(inner),
        DataFusionError::ArrowError(inner, _) => by_arrow(inner),
        DataFusionError::SQL(inner, _) => Error::new(Kind::Syntax, inner.to_string()),
        DataFusionError::NotImplemented(message) => Error::new(Kind::FeatureNotSupported, first_line(message)),
        DataFusionError::Plan(message) => by_plan_message(message),
        DataFusionError::Configuration(message) => Error::new(Kind::InvalidParameterValue, first_line(message)),
        // who holds how much stands in the lines below the first
        DataFusionError::ResourcesExhausted(message) => Error::new(Kind::OutOfMemory, first_line(message))
            .with_detail(message.lines().skip(1).map(str::trim).collect::<Vec<_>>().join(" "))
            .with_hint("start the server with a larger --memory-limit, or ask for fewer rows"),
        DataFusionError::IoError(inner) => match inner.kind() {
            std::io::ErrorKind::StorageFull => Error::new(Kind::DiskFull, text),
            std::io::ErrorKind::NotFound => Error::new(Kind::UndefinedFile, text),
            _ => Error::new(Kind::IoError, text),
        },
        DataFusionError::ObjectStore(inner) => by_object_store(inner.as_ref()),
        DataFusionError::ParquetError(_) => Error::new(Kind::DataCorrupted, text),
        DataFusionError::Execution(message) => by_execution_message(message),
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => by_variant(inner),
        DataFusionError::Shared(inner) => by_variant(inner),
        DataFusionError::ExecutionJoin(_) => Error::internal("a task of the query stopped"),
        DataFusionError::Internal(_)
        | DataFusionError::External(_)
        | DataFusionError::Substrait(_)
        | DataFusionError::Ffi(_)
        | DataFusionError::Collection(_) => Error::internal(first_line(&text)),
    }
}

fn by_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            if let Some(relation) = &field.relation
                && valid_fields.iter().any(|valid| valid.relation.is_some())
                && valid_fields.iter().all(|valid| valid.relation.as_ref() != Some(relation))
            {
                let message = format!("missing FROM-clause entry for table {}", quoted(relation.table()));
                return Error::new(Kind::UndefinedTable, message);
            }
            let mut result =
                Error::new(Kind::UndefinedColumn, format!("column {} does not exist", quoted(&field.flat_name())));
            let nearest = valid_fields
                .iter()
                .map(|valid| (distance(&valid.name, &field.name), valid))
                .min_by_key(|(distance, _)| *distance);
            if let Some((distance, valid)) = nearest
                && distance <= 2
            {
                result = result.with_hint(format!("perhaps you meant {}", quoted(&valid.flat_name())));
            }
            result
        }
        SchemaError::AmbiguousReference { field } => {
            Error::new(Kind::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
                .with_hint("put the relation's name or alias in front of it")
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(Kind::DuplicateColumn, format!("column name \"{name}\" is used more than once"))
                .with_hint("give the columns different names with AS")
        }
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', ""))
}

/// Levenshtein distance, for "perhaps you meant".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == *y { diagonal } else { 1 + diagonal.min(above).min(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

fn by_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(Kind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => {
            Error::new(Kind::NumericValueOutOfRange, format!("value out of range: {}", first_line(message)))
        }
        ArrowError::CastError(message) | ArrowError::ParseError(message) => by_cast_message(message),
        ArrowError::CsvError(message) | ArrowError::JsonError(message) => {
            Error::new(Kind::InvalidTextRepresentation, first_line(message))
        }
        ArrowError::ParquetError(message) => Error::new(Kind::DataCorrupted, first_line(message)),
        ArrowError::IoError(message, inner) => match inner.kind() {
            std::io::ErrorKind::StorageFull => Error::new(Kind::DiskFull, first_line(message)),
            _ => Error::new(Kind::IoError, first_line(message)),
        },
        ArrowError::NotYetImplemented(message) => Error::new(Kind::FeatureNotSupported, first_line(message)),
        // As `abs` says it: "Int16Array overflow on abs(-32768)".
        ArrowError::ComputeError(message) if message.contains("Array overflow on abs(") => {
            let name = match message.split_once("Array").map(|(name, _)| name) {
                Some("Int16") => "smallint",
                Some("Int32") => "integer",
                _ => "bigint",
            };
            Error::new(Kind::NumericValueOutOfRange, format!("{name} out of range"))
        }
        ArrowError::InvalidArgumentError(message) | ArrowError::ComputeError(message) => {
            Error::new(Kind::InvalidParameterValue, first_line(message))
        }
        ArrowError::ExternalError(inner) => match find_ours(inner.as_ref()) {
            Some(ours) => ours,
            None => Error::internal(inner.to_string()),
        },
        other => Error::internal(other.to_string()),
    }
}

const CAST_TARGETS: [(&str, &str); 3] = [("Int16", "smallint"), ("Int32", "integer"), ("Int64", "bigint")];

fn by_cast_message(message: &str) -> Error {
    // "Can't cast value 40000 to type Int16"
    let target = message.strip_prefix("Can't cast value ").and_then(|rest| rest.rsplit_once(" to type "));
    if let Some((_, target)) = target
        && let Some((_, name)) = CAST_TARGETS.iter().find(|(arrow, _)| *arrow == target)
    {
        return Error::new(Kind::NumericValueOutOfRange, format!("{name} out of range"));
    }
    let kind = if message.contains("timestamp") || message.contains("Timestamp") || message.contains("date") {
        Kind::InvalidDatetimeFormat
    } else if message.contains("overflow") || message.contains("Can't cast value") {
        Kind::NumericValueOutOfRange
    } else {
        Kind::InvalidTextRepresentation
    };
    Error::new(kind, first_line(message))
}

fn by_object_store(error: &(dyn StdError + 'static)) -> Error {
    let text = error.to_string();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let kind = match io.kind() {
                std::io::ErrorKind::StorageFull => Kind::DiskFull,
                std::io::ErrorKind::NotFound => Kind::UndefinedFile,
                std::io::ErrorKind::PermissionDenied => Kind::InsufficientPrivilege,
                _ => Kind::IoError,
            };
            return Error::new(kind, text);
        }
        next = error.source();
    }
    Error::new(Kind::IoError, text)
}

fn by_plan_message(message: &str) -> Error {
    let line = first_line(message);
    let kind = if message.contains("must appear in the GROUP BY clause")
        || message.contains("in GROUP BY")
        || message.starts_with("Aggregate functions are not allowed")
    {
        Kind::GroupingError
    } else if message.contains("different number of columns") {
        Kind::Syntax
    } else if message.starts_with("Invalid placeholder") {
        Kind::UndefinedParameter
    } else if message.starts_with("Invalid function") {
        Kind::UndefinedFunction
    } else if message.contains("No function matches")
        || message.starts_with("Cannot coerce")
        || message.starts_with("Cannot infer common argument type")
        || message.contains("failed to match any signature")
        || message.contains("does not support")
    {
        Kind::UndefinedFunction
    } else if message.contains("table") && message.contains("not found") {
        Kind::UndefinedTable
    } else if message.contains("has duplicate expression") || message.contains("duplicate") {
        Kind::DuplicateColumn
    } else {
        Kind::DatatypeMismatch
    };
    Error::new(kind, line)
}

fn by_execution_message(message: &str) -> Error {
    if message.contains("Scalar subquery returned more than one row") {
        let message = "more than one row returned by a subquery used as an expression";
        return Error::new(Kind::CardinalityViolation, message);
    }
    let kind = if message.contains("Placeholder") { Kind::UndefinedParameter } else { Kind::InvalidParameterValue };
    Error::new(kind, first_line(message))
}

/// DataFusion appends lists of candidates and help texts below the first line.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}

fn position_of(diagnostic: &Diagnostic, text: &str) -> Option<u32> {
    let start = diagnostic.span?.start;
    position_at(text, start.line, start.column)
}

/// The error with the place of a node of `text`, unless it has one already.
pub fn placed(error: Error, text: &str, start: Location) -> Error {
    match position_at(text, start.line, start.column) {
        Some(position) if error.position().is_none() => error.at(position),
        _ => error,
    }
}

/// The 1-based character position of a 1-based line and column of `text`.
fn position_at(text: &str, line: u64, column: u64) -> Option<u32> {
    if line == 0 {
        return None;
    }
    let lines_before = usize::try_from(line - 1).ok()?;
    let before: usize = text.split_inclusive('\n').take(lines_before).map(|line| line.chars().count()).sum();
    u32::try_from(before as u64 + column).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        assert_eq!(position_at("select ä\nfrom x", 2, 6), Some(15));
        assert_eq!(position_at("select 1", 1, 8), Some(8));
    }

    #[test]
    fn our_own_error_survives_the_engine() {
        let error = Error::new(Kind::NumericValueOutOfRange, "bigint out of range").with_hint("h");
        let wrapped = DataFusionError::Shared(std::sync::Arc::new(into_datafusion(error)));
        let back = Error::from(wrapped.context("while reading"));
        assert_eq!((back.kind(), back.hint()), (Kind::NumericValueOutOfRange, Some("h")));
    }
}
