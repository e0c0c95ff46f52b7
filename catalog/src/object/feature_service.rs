//! A feature service: a named set of features of several views, served as one vector.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted};
use super::{Header, exact_float};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureService {
    pub header: Header,
    pub members: Vec<ServiceMember>,
    /// How long a served vector may be answered again from the cache.
    #[serde(default)]
    pub cache_us: Option<i64>,
    /// The share of requests that is logged, 0 to 1.
    #[serde(default, with = "exact_float::option")]
    pub log_sample: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceMember {
    /// A feature view, feature table or realtime view.
    pub view: ObjectId,
    /// The name of the member inside the service: the view's, unless `AS` says otherwise.
    pub alias: String,
    /// The chosen features in their order; `None` means all.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// Renamed keys, as (join key of the view, key of the service).
    #[serde(default)]
    pub keys: Vec<(String, String)>,
}

impl ServiceMember {
    /// The service's name of a join key of the view.
    pub fn service_key<'a>(&'a self, key: &'a str) -> &'a str {
        self.keys.iter().find(|(own, _)| own == key).map_or(key, |(_, renamed)| renamed)
    }
}

impl FeatureService {
    pub(crate) fn references(&self) -> Vec<Reference> {
        let views = self.members.iter().map(|member| Reference { id: member.view, wanted: Wanted::Features });
        views.collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.members.iter_mut().map(|member| &mut member.view).for_each(map);
    }
}
