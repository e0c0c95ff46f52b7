//! A feature view: a query over sources or streams, and the features made of its rows.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Feature, Header, Reach, ViewStorage};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureView {
    pub header: Header,
    pub kind: ViewKind,
    pub entities: Vec<ObjectId>,
    /// The join keys of all entities, in their order.
    pub join_keys: Vec<Column>,
    pub timestamp: String,
    /// The column of `AGGREGATE BY`.
    #[serde(default)]
    pub secondary_key: Option<Column>,
    pub features: Vec<Feature>,
    pub query: String,
    #[serde(default)]
    pub schedule_us: Option<i64>,
    /// The tile width.
    #[serde(default)]
    pub aggregation_interval_us: Option<i64>,
    #[serde(default)]
    pub data_delay_us: i64,
    /// The feature start time: values before it are NULL.
    #[serde(default)]
    pub start_us: Option<i64>,
    /// Where LIFETIME windows begin.
    #[serde(default)]
    pub lifetime_start_us: Option<i64>,
    #[serde(default)]
    pub ttl_us: Option<i64>,
    pub trigger: Trigger,
    pub online: bool,
    pub offline: bool,
    /// The query reads its sources whole rather than one range at a time.
    #[serde(default)]
    pub unfiltered: bool,
    /// Into how many files a key's hash spreads the rows of one range.
    pub buckets: u32,
    /// Where the windows of a tiled stream view end.
    #[serde(default)]
    pub leading_edge: LeadingEdge,
    /// Long continuous windows are served with a trailing edge that moves in steps.
    #[serde(default)]
    pub compaction: bool,
    /// How long a served answer may be given again from the cache.
    #[serde(default)]
    pub cache_us: Option<i64>,
    /// The column that tells when a row became known, for bitemporal joins.
    #[serde(default)]
    pub known_at: Option<String>,
    /// What the query makes of an event hangs on other relations, too: its rows are stored as the event comes.
    #[serde(default)]
    pub joins: bool,
    /// The scheduler makes no jobs for it and starts none.
    #[serde(default)]
    pub paused: bool,
    /// How long a range of the past is that one job of the scheduler does; by itself a tenth of what is missing.
    #[serde(default)]
    pub max_backfill_interval_us: Option<i64>,
    /// After so many failures a job of the scheduler has failed.
    #[serde(default)]
    pub max_attempts: Option<u32>,
    /// How old what it knows may become before it is stale.
    #[serde(default)]
    pub expected_freshness_us: Option<i64>,
    /// Whether runs are profiled.
    #[serde(default = "yes")]
    pub quality: bool,
    /// Where rows are stored that are older than the definition; without it its features say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<ViewStorage>,
    pub depends_on: Vec<ObjectId>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewKind {
    BatchAttributes,
    BatchAggregates,
    StreamAttributes,
    StreamTiled,
    StreamContinuous,
}

impl ViewKind {
    pub fn is_stream(self) -> bool {
        match self {
            ViewKind::BatchAttributes | ViewKind::BatchAggregates => false,
            ViewKind::StreamAttributes | ViewKind::StreamTiled | ViewKind::StreamContinuous => true,
        }
    }

    pub fn is_batch(self) -> bool {
        !self.is_stream()
    }

    pub fn has_aggregates(self) -> bool {
        match self {
            ViewKind::BatchAttributes | ViewKind::StreamAttributes => false,
            ViewKind::BatchAggregates | ViewKind::StreamTiled | ViewKind::StreamContinuous => true,
        }
    }
}

/// What starts the jobs of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    Scheduled,
    Manual,
    /// Nothing does: REFRESH is refused.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeadingEdge {
    #[default]
    WallClock,
    LatestEvent,
}

impl FeatureView {
    /// How far back from a leading edge the longest window reaches; zero without windows.
    pub fn longest_reach(&self) -> Reach {
        let reaches = self.features.iter().filter_map(Feature::window).map(|window| window.reach());
        reaches.max().unwrap_or(Reach::Bounded(0))
    }

    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// The numbers of the groups of columns that its stored rows have.
    pub fn group_numbers(&self) -> Vec<u64> {
        match &self.storage {
            None => vec![0],
            Some(storage) => storage.groups.iter().map(|group| group.number).collect(),
        }
    }

    pub(crate) fn references(&self) -> Vec<Reference> {
        let entities = each(Wanted::Entity, &self.entities);
        entities.chain(each(Wanted::Anything, &self.depends_on)).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.entities.iter_mut().chain(&mut self.depends_on).for_each(map);
    }
}
