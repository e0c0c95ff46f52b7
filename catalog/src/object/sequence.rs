//! Sequences: numbers that are given once. The catalog has what a sequence is; which number is the next one is kept beside
//! the objects, since it is no part of any transaction.

use serde::{Deserialize, Serialize};

use super::Header;
use super::reference::{Reference, Wanted};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    pub header: Header,
    /// Under which its numbers are kept.
    pub storage_id: u64,
    /// `smallint`, `integer` or `bigint`.
    pub data_type: String,
    pub increment: i64,
    pub min_value: i64,
    pub max_value: i64,
    pub start: i64,
    pub cycle: bool,
    /// The table that it goes with, and its column.
    #[serde(default)]
    pub owned_by: Option<(ObjectId, String)>,
}

impl Sequence {
    pub(crate) fn references(&self) -> Vec<Reference> {
        self.owned_by.iter().map(|(table, _)| Reference { id: *table, wanted: Wanted::Anything }).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.owned_by.iter_mut().map(|(table, _)| table).for_each(map);
    }
}

/// Where a sequence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceState {
    pub last_value: i64,
    /// Whether the last value was given; else it is the next one.
    pub is_called: bool,
}
