//! The numbers of the catalog: object ids, versions and job ids. It knows nothing of what they name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names one object for ever: it survives renames and replacements and is never given to another object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(pub u64);

impl ObjectId {
    /// The first id an empty catalog gives. Zero stays free, so that a zeroed field is never a valid id.
    pub const FIRST: ObjectId = ObjectId(1);

    /// The first id of temporary objects, which are of one session and in no file. Those of others stay below.
    pub const FIRST_TEMPORARY: ObjectId = ObjectId(3_000_000_000);

    pub fn is_temporary(self) -> bool {
        self >= ObjectId::FIRST_TEMPORARY
    }

    /// The id `n` places after this one: how one statement numbers several new objects.
    pub fn after(self, n: u64) -> ObjectId {
        ObjectId(self.0.checked_add(n).expect("2^64 objects cannot have been made"))
    }
}

/// Counts the commits of a catalog. An empty catalog is at version 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    pub const ZERO: Version = Version(0);

    pub fn next(self) -> Version {
        Version(self.0.checked_add(1).expect("2^64 commits cannot have been made"))
    }
}

/// Names one job of the ledger for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// Names one plan for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlanId(pub u64);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }
    )*};
}

display_number!(ObjectId, Version, JobId, PlanId);
