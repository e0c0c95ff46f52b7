//! A realtime feature view: an expression over request columns and other views' features, computed when asked.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Feature, Header};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealtimeView {
    pub header: Header,
    /// The join keys of all that it reads, each once.
    #[serde(default)]
    pub join_keys: Vec<Column>,
    /// What the caller has to bring: the view's own columns, then those of the realtime views that it reads.
    pub request: Vec<Column>,
    pub query: String,
    pub features: Vec<Feature>,
    /// What stands in the query's FROM, in that order, then the functions that it calls.
    pub depends_on: Vec<ObjectId>,
}

impl RealtimeView {
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Anything, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
