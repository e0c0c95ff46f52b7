//! What Delta, the object store and Parquet say, in our words.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use crate::error::{Error, Kind, io_error};

/// Anything that failed while `action` ("read", "write") was done to the table in folder `path`.
///
/// A missing file is damage, since only files that the log names are asked for. Else what the operating system
/// said decides; else it is Delta's conflict; else the bytes are not what they should be.
pub(super) fn table_error(action: &str, path: &Path, error: impl StdError + Send + Sync + 'static) -> Error {
    let shown = path.display();
    if let Some(object_store::Error::NotFound { path: missing, .. }) = find::<object_store::Error>(&error) {
        return Error::new(Kind::DataCorrupted, format!("the offline table \"{shown}\" lacks the file \"{missing}\""))
            .with_hint("restore the file from a backup, or rebuild the view with REFRESH FEATURE VIEW … OVERWRITE")
            .with_source(error);
    }
    if let Some(DeltaTableError::VersionAlreadyExists(_)) = find::<DeltaTableError>(&error) {
        return conflict(path).with_source(error);
    }
    if let Some(TransactionError::CommitConflict(_) | TransactionError::MaxCommitAttempts(_)) =
        find::<TransactionError>(&error)
    {
        return conflict(path).with_source(error);
    }
    if let Some(met) = chain(&error).filter_map(|error| error.downcast_ref::<io::Error>()).last() {
        let copy = io::Error::new(met.kind(), met.to_string());
        let copy = met.raw_os_error().map_or(copy, io::Error::from_raw_os_error);
        return io_error(action, path, copy).with_source(error);
    }
    Error::new(Kind::DataCorrupted, format!("could not {action} the offline table \"{shown}\": {error}"))
        .with_hint("restore the folder from a backup, or rebuild the view with REFRESH FEATURE VIEW … OVERWRITE")
        .with_source(error)
}

pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::DataCorrupted, format!("the offline table \"{}\" is damaged: {what}", path.display()))
}

fn conflict(path: &Path) -> Error {
    Error::new(
        Kind::SerializationFailure,
        format!("the offline table \"{}\" was changed by another program meanwhile", path.display()),
    )
    .with_hint("run it again")
}

/// The error, its source, the source of that, and so on.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| -> Option<&'a (dyn StdError + 'static)> {
        let error = *error;
        // io::Error hides what it wraps from `source`
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

#[cfg(test)]
mod tests {
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_full_disk_is_told_through_every_layer() {
        let full = || object_store::Error::Generic {
            store: "local",
            source: io::Error::from(io::ErrorKind::StorageFull).into(),
        };
        let kind = |error: Error| error.kind();
        let path = Path::new("/t");
        assert_eq!(kind(table_error("write", path, full())), Kind::DiskFull);
        assert_eq!(kind(table_error("write", path, DeltaTableError::ObjectStore { source: full() })), Kind::DiskFull);
        assert_eq!(kind(table_error("write", path, ParquetError::External(full().into()))), Kind::DiskFull);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(
            kind(table_error("write", path, ParquetError::External(denied.into()))),
            Kind::InsufficientPrivilege
        );
        let wrapped = io::Error::other(full());
        assert_eq!(kind(table_error("write", path, ParquetError::External(wrapped.into()))), Kind::DiskFull);
        let missing = object_store::Error::NotFound { path: "f".into(), source: "gone".into() };
        assert_eq!(kind(table_error("read", path, missing)), Kind::DataCorrupted);
        assert_eq!(kind(table_error("read", path, ParquetError::EOF("short".into()))), Kind::DataCorrupted);
        let conflict = DeltaTableError::Transaction { source: TransactionError::MaxCommitAttempts(3) };
        assert_eq!(kind(table_error("write", path, conflict)), Kind::SerializationFailure);
    }
}
