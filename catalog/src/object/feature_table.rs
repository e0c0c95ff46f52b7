//! A feature table: features whose rows users write.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Feature, Header};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureTable {
    pub header: Header,
    /// All columns as declared: join keys, timestamp and features.
    pub columns: Vec<Column>,
    pub entities: Vec<ObjectId>,
    pub join_keys: Vec<Column>,
    pub timestamp: String,
    pub features: Vec<Feature>,
    #[serde(default)]
    pub start_us: Option<i64>,
    #[serde(default)]
    pub ttl_us: Option<i64>,
    pub online: bool,
    pub offline: bool,
    pub buckets: u32,
}

impl FeatureTable {
    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Entity, &self.entities).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.entities.iter_mut().for_each(map);
    }
}
