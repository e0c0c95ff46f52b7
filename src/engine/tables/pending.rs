//! Rows that an open transaction has written, and that nobody else sees before its COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;

use crate::engine::joined_rows::MadeOfCall;
use crate::offline::OfflineStore;

/// Rows that a transaction will append to one stored table: the staged ones come first.
#[derive(Debug, Clone)]
pub struct TableWrite {
    pub table: String,
    /// those that were too many to be held in memory
    pub staged: Option<Arc<Staged>>,
    pub batches: Vec<RecordBatch>,
    /// what `batches` take
    pub held_bytes: usize,
    /// of events that are appended at once: what joined views have made of them when they were checked
    pub made: MadeOfCall,
}

/// A table of the offline store that no catalog names. It goes with its last owner, unless it is kept; one that a crash
/// leaves behind goes at the next start.
#[derive(Debug)]
pub struct Staged {
    offline: Arc<OfflineStore>,
    table: String,
    is_kept: AtomicBool,
}

impl Staged {
    /// `table` need not exist yet.
    pub fn new(offline: &Arc<OfflineStore>, table: String) -> Staged {
        Staged { offline: Arc::clone(offline), table, is_kept: AtomicBool::new(false) }
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// A catalog names it now.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        let (offline, table) = (Arc::clone(&self.offline), std::mem::take(&mut self.table));
        runtime.spawn(async move {
            if let Err(error) = offline.drop_table(&table).await {
                tracing::warn!(table, %error, "rows that were not committed could not be removed");
            }
        });
    }
}
