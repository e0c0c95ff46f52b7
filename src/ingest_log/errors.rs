//! What can be wrong with an ingest log, in our words.

use std::path::Path;

use crate::error::{Error, Kind};

/// A place in a file of a log that is not as it was written. `position`: a byte of the file.
pub(super) fn damaged(path: &Path, position: u64, what: impl std::fmt::Display) -> Error {
    Error::new(
        Kind::DataCorrupted,
        format!("the ingest log file \"{}\" is damaged at byte {position}: {what}", path.display()),
    )
    .with_hint("restore the file from a backup")
}

pub(super) fn in_use(folder: &Path) -> Error {
    Error::new(Kind::ObjectInUse, format!("the ingest log \"{}\" is open in another process", folder.display()))
        .with_hint("stop the other server, or start this one with another data folder")
}

pub(super) fn closed(folder: &Path) -> Error {
    Error::new(Kind::AdminShutdown, format!("the ingest log \"{}\" has been closed", folder.display()))
}

pub(super) fn removed(folder: &Path, offset: u64, first: u64) -> Error {
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!(
            "events from offset {offset} on are asked for, but the ingest log \"{}\" begins at {first}",
            folder.display()
        ),
    )
    .with_detail("The entries before were removed from the log.")
}
