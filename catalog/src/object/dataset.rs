//! A dataset: the immutable result of a query, with the definitions that made it.

use serde::{Deserialize, Serialize};

use super::{Column, Header};
use crate::id::{ObjectId, Version};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub header: Header,
    pub query: String,
    pub columns: Vec<Column>,
    pub storage_id: u64,
    pub rows: u64,
    /// The catalog version the query ran against.
    pub made_at: Version,
    /// What the query read. Kept for lineage only: these objects may be dropped and the dataset stays, so the ids
    /// may lead nowhere.
    #[serde(default)]
    pub lineage: Vec<ObjectId>,
    /// The SQL text of those objects at that version.
    #[serde(default)]
    pub definitions: Vec<String>,
}

impl Dataset {
    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.lineage.iter_mut().for_each(map);
    }
}
