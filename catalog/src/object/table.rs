//! Ordinary tables and views, for labels, models and reports.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Header};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub header: Header,
    pub columns: Vec<Column>,
    /// Which stored rows are the table's; rewriting the table as a whole gives it a new one.
    pub storage_id: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub header: Header,
    pub query: String,
    pub columns: Vec<Column>,
    pub depends_on: Vec<ObjectId>,
}

impl View {
    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Anything, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
