//! What has expired out of the online store since the start: noted by who removes it, read by `granary.expiry`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use granary_catalog::ObjectId;

/// By view or feature table.
#[derive(Debug, Default)]
pub struct Expiry(Mutex<BTreeMap<ObjectId, ExpiryRecord>>);

/// One look at the rows of a view.
#[derive(Debug, Clone, Copy)]
pub struct Expired {
    pub at_us: i64,
    /// rows of earlier times are gone; None: none can be told by their time alone
    pub before_us: Option<i64>,
    pub rows: u64,
}

/// The last look, and all of them together.
#[derive(Debug, Clone, Copy)]
pub struct ExpiryRecord {
    pub last: Expired,
    pub runs: u64,
    pub rows_total: u64,
}

impl Expiry {
    pub fn note(self: &Arc<Self>, view: ObjectId, expired: Expired) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.entry(view).or_insert(ExpiryRecord { last: expired, runs: 0, rows_total: 0 });
        record.last = expired;
        record.runs += 1;
        record.rows_total += expired.rows;
    }

    pub fn of(&self, view: ObjectId) -> Option<ExpiryRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&view).copied()
    }
}
