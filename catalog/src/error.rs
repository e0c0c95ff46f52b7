//! What can go wrong in the catalog, as facts. What a client is told about it is decided elsewhere.

use std::fmt;
use std::path::PathBuf;

use crate::id::{JobId, ObjectId, Version};
use crate::ledger::{Interval, JobState, StoreKind};
use crate::object::ObjectKind;

/// An object as a message names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    pub kind: ObjectKind,
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} \"{}\"", self.kind, self.name)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    // The file.
    #[error("catalog {path:?} is in use by another process")]
    InUse { path: PathBuf },
    #[error("{path:?} is not a catalog")]
    NotACatalog { path: PathBuf },
    #[error("catalog {path:?} has format {found}, this program knows formats up to {known}")]
    NewerFormat { path: PathBuf, found: u64, known: u64 },
    #[error("catalog {path:?} is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error("cannot {action} catalog {path:?}")]
    Storage { path: PathBuf, action: &'static str, source: Box<redb::Error> },
    #[error("cannot {action} catalog {path:?}")]
    File { path: PathBuf, action: &'static str, source: std::io::Error },
    /// An I/O error was met before; what is on disk is whole, but must be opened anew.
    #[error("catalog {path:?} met an I/O error before")]
    Unusable { path: PathBuf },
    #[error("cannot {action} a record of catalog {path:?}")]
    Record { path: PathBuf, action: &'static str, source: serde_json::Error },

    // Commits.
    /// Somebody else changed what this commit touches or rests on since `base`; trying again may help.
    #[error("object {id} was changed after version {base}")]
    Conflict { id: ObjectId, base: Version },
    #[error("version {version} does not exist, the latest is {latest}")]
    UndefinedVersion { version: Version, latest: Version },

    // Changes.
    /// `existing` is the object that has the name.
    #[error("{existing} already exists")]
    DuplicateObject { existing: ObjectName },
    #[error("object {id} does not exist")]
    UndefinedObject { id: ObjectId },
    #[error("{object} is not a {wanted}")]
    WrongKind { object: ObjectName, wanted: &'static str },
    /// The home is of the wrong sort for the kind, or lies in another workspace than before.
    #[error("{object} cannot live there")]
    Misplaced { object: ObjectName },
    #[error("{object} cannot depend on {dependency} of another workspace")]
    OtherWorkspace { object: ObjectName, dependency: ObjectName },
    /// The path begins and ends with the same object.
    #[error("dependency cycle: {}", list(path, " -> "))]
    DependencyCycle { path: Vec<ObjectName> },
    #[error("{object} is needed by {}", list(dependents, ", "))]
    DependentObjects { object: ObjectName, dependents: Vec<ObjectName> },
    #[error("{object} must not be destroyed")]
    PreventDestroy { object: ObjectName },
    #[error("{object} is not defined by a query")]
    NoQuery { object: ObjectName },

    // The ledger.
    #[error("job {job} does not exist")]
    UndefinedJob { job: JobId },
    #[error("range [{}, {}) is empty", range.start_us, range.end_us)]
    EmptyRange { range: Interval },
    #[error("[{}, {}) is already materialized in the {store} store", overlap.start_us, overlap.end_us)]
    AlreadyMaterialized { store: StoreKind, overlap: Interval },
    /// A job that has not ended covers part of the range, or works on the view.
    #[error("job {job} has not ended")]
    JobConflict { job: JobId },
    #[error("job {job} is {state}")]
    JobState { job: JobId, state: JobState },
}

fn list(names: &[ObjectName], separator: &str) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(separator)
}
