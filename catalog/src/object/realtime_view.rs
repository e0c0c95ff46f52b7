//! A realtime feature view: an expression over request columns and other views' features, computed when asked.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Feature, Header};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RealtimeView {
    pub header: Header,
    /// What the caller has to bring.
    pub request: Vec<Column>,
    pub query: String,
    pub features: Vec<Feature>,
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
