//! What redb says, in our words.

use std::path::Path;

use crate::error::{Error, Kind, io_error};

/// An error that redb met in the shard file `path`.
pub(super) fn storage_error(path: &Path, error: impl Into<redb::Error>) -> Error {
    let shown = path.display();
    match error.into() {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            Error::new(Kind::ObjectInUse, format!("the online store \"{shown}\" is open in another process"))
                .with_hint("stop the other server, or start this one with another data folder")
        }
        redb::Error::Io(error) => io_error("use the online store", path, error),
        error @ redb::Error::PreviousIo => {
            Error::new(Kind::IoError, format!("the online store \"{shown}\" met an I/O error before"))
                .with_hint("restart the server once the disk is well")
                .with_source(error)
        }
        redb::Error::DatabaseClosed => {
            Error::new(Kind::AdminShutdown, format!("the online store \"{shown}\" has been closed"))
        }
        error @ redb::Error::ValueTooLarge(_) => {
            Error::new(Kind::StringTooLong, format!("a row is too long for the online store: {error}"))
        }
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. }) => Error::new(
            Kind::DataCorrupted,
            format!("the online store \"{shown}\" is damaged: {error}"),
        )
        .with_hint("restore the file from a backup, or remove the online store and rebuild it with REFRESH … OVERWRITE")
        .with_source(error),
        error => Error::internal(format!("the online store \"{shown}\" failed: {error}")).with_source(error),
    }
}

/// A stored row that cannot be what we wrote.
pub(super) fn damaged(what: &str) -> Error {
    Error::new(Kind::DataCorrupted, format!("the online store has a damaged {what}"))
        .with_hint("rebuild the view with REFRESH FEATURE VIEW … OVERWRITE")
}
