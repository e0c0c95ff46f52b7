//! A dataset: the immutable results of a query, a version each, with the definitions that made them.

use serde::{Deserialize, Serialize};

use super::{Column, Header, ObjectKind};
use crate::id::{JobId, ObjectId, Version};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub header: Header,
    /// Stored beside the header: at first a dataset had one version.
    #[serde(flatten)]
    pub newest: DatasetVersion,
    /// In the order they were made.
    #[serde(default)]
    pub earlier: Vec<DatasetVersion>,
}

/// The rows of one query at one time. It never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetVersion {
    /// 1, 2, …
    #[serde(default = "first")]
    pub number: u64,
    pub query: String,
    pub columns: Vec<Column>,
    pub storage_id: u64,
    pub rows: u64,
    /// What the stored rows take.
    #[serde(default)]
    pub bytes: u64,
    /// The catalog version the query ran against.
    pub made_at: Version,
    /// Wall time from which on it can be read, in microseconds.
    #[serde(default)]
    pub created_at_us: i64,
    #[serde(default)]
    pub created_by: String,
    #[serde(default)]
    pub job: Option<JobId>,
    /// The session's settings that the rows depend on: name and value.
    #[serde(default)]
    pub settings: Vec<(String, String)>,
    /// What the query read, directly or through others.
    #[serde(default)]
    pub inputs: Vec<DatasetInput>,
}

/// An object as a dataset's query met it. Kept for lineage only: the object may be dropped and the dataset stays, so
/// the id may lead nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetInput {
    pub id: ObjectId,
    pub kind: ObjectKind,
    pub schema: String,
    pub name: String,
    /// The SQL text that made it.
    pub definition: String,
    /// The header's revision.
    pub revision: u64,
    /// Which of its stored rows were read: the number of a dataset's version, else the version in the offline store.
    #[serde(default)]
    pub rows_version: Option<u64>,
}

fn first() -> u64 {
    1
}

impl Dataset {
    /// All versions, in the order they were made.
    pub fn versions(&self) -> impl Iterator<Item = &DatasetVersion> {
        self.earlier.iter().chain([&self.newest])
    }

    /// The version of that number.
    pub fn version(&self, number: u64) -> Option<&DatasetVersion> {
        self.versions().find(|version| version.number == number)
    }

    /// The version that was the newest at that time.
    pub fn version_at(&self, time_us: i64) -> Option<&DatasetVersion> {
        self.versions().filter(|version| version.created_at_us <= time_us).last()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        let versions = self.earlier.iter_mut().chain([&mut self.newest]);
        versions.flat_map(|version| &mut version.inputs).for_each(|input| map(&mut input.id));
    }
}
