//! Our errors as gRPC has them: a code of its own for each class, and our SQLSTATE in the message and beside it.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::error::{Error, Kind};

/// SQLSTATE first, as clients show only the message.
pub fn status(error: Error) -> Status {
    if error.kind() == Kind::Internal {
        tracing::error!(?error, "a statement over Flight SQL failed inside");
    }
    let mut text = format!("{}: {}", error.sqlstate(), error.message());
    for (word, more) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(more) = more {
            text.push_str(&format!("\n{word}: {more}"));
        }
    }
    let mut status = Status::new(code(error.kind()), text);
    if let Ok(value) = MetadataValue::try_from(error.sqlstate()) {
        status.metadata_mut().insert("sqlstate", value);
    }
    status
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::InsufficientPrivilege => Code::PermissionDenied,
        Kind::QueryCanceled => Code::Cancelled,
        Kind::UndefinedTable | Kind::UndefinedObject | Kind::InvalidCatalogName | Kind::InvalidSchemaName => {
            Code::NotFound
        }
        Kind::DuplicateTable | Kind::DuplicateObject | Kind::DuplicateSchema | Kind::DuplicateDatabase => {
            Code::AlreadyExists
        }
        Kind::ObjectNotInPrerequisiteState | Kind::ObjectInUse => Code::FailedPrecondition,
        _ => match &kind.sqlstate()[..2] {
            "0A" => Code::Unimplemented,
            "28" => Code::Unauthenticated,
            "25" => Code::FailedPrecondition,
            "40" => Code::Aborted,
            "53" | "54" => Code::ResourceExhausted,
            "57" => Code::Unavailable,
            "58" | "XX" => Code::Internal,
            _ => Code::InvalidArgument,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_code_and_the_message_its_sqlstate() {
        let shown = |kind| {
            let status = status(Error::new(kind, "why").with_hint("what"));
            assert_eq!(status.message(), format!("{}: why\nHINT: what", kind.sqlstate()));
            status.code()
        };
        assert_eq!(shown(Kind::InvalidPassword), Code::Unauthenticated);
        assert_eq!(shown(Kind::InsufficientPrivilege), Code::PermissionDenied);
        assert_eq!(shown(Kind::FeatureNotSupported), Code::Unimplemented);
        assert_eq!(shown(Kind::Syntax), Code::InvalidArgument);
        assert_eq!(shown(Kind::OutOfMemory), Code::ResourceExhausted);
        assert_eq!(shown(Kind::SerializationFailure), Code::Aborted);
    }
}
