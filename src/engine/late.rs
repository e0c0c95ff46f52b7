//! Rows that came into a range after it was materialized: noted by who looks, read by `granary.late_rows`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use granary_catalog::{Interval, ObjectId};

/// By view: what the last look has found.
#[derive(Debug, Default)]
pub struct LateRows(Mutex<BTreeMap<ObjectId, Looked>>);

/// One look at the recent ranges of a view.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    pub at_us: i64,
    /// only those that are not as they were
    pub ranges: Vec<LateRange>,
}

/// A range of which the view's query has another number of rows than when its job ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateRange {
    pub range: Interval,
    pub rows_then: u64,
    pub rows_now: u64,
}

impl LateRows {
    pub fn note(self: &Arc<Self>, view: ObjectId, looked: Looked) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(view, looked);
    }

    pub fn of(&self, view: ObjectId) -> Option<Looked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&view).cloned()
    }
}
