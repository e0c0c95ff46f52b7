//! Rows that an open transaction has written, and that nobody else sees before its COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::{concat_batches, filter_record_batch};

use crate::engine::joined_rows::MadeOfCall;
use crate::error::Result;
use crate::offline::{OfflineStore, Places, RowNumbers};

/// What a transaction will do to one stored table: rows that go, and rows that come; the staged ones come first.
///
/// A statement's own write is what it adds to that of the transaction.
#[derive(Debug, Clone, Default)]
pub struct TableWrite {
    pub table: String,
    /// those that were too many to be held in memory; each table is written once
    pub staged: Vec<Arc<Staged>>,
    pub batches: Vec<RecordBatch>,
    /// what `batches` take
    pub held_bytes: usize,
    /// rows of files, also of staged ones, that go
    pub removed: Arc<Places>,
    /// of a statement: which of the rows that the transaction holds go, by number
    pub removed_held: RowNumbers,
    /// of events that are appended at once: what joined views have made of them when they were checked
    pub made: MadeOfCall,
}

/// More batches than so many are made one.
const MOST_BATCHES: usize = 128;

impl TableWrite {
    pub fn held_rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }

    /// The held rows without those that a statement removes.
    pub fn held_without(&self, removed: &RowNumbers) -> Result<Vec<RecordBatch>> {
        if removed.count() == 0 {
            return Ok(self.batches.clone());
        }
        let mut first = 0;
        let mut kept = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            let rows = filter_record_batch(batch, &removed.others(first, batch.num_rows()))?;
            first += batch.num_rows() as u64;
            if rows.num_rows() > 0 {
                kept.push(rows);
            }
        }
        Ok(kept)
    }

    /// Takes in what a statement adds.
    pub fn add(&mut self, more: TableWrite) -> Result<()> {
        if more.removed_held.count() > 0 {
            self.batches = self.held_without(&more.removed_held)?;
            self.held_bytes = self.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        }
        self.staged.extend(more.staged);
        self.batches.extend(more.batches);
        self.held_bytes += more.held_bytes;
        if self.batches.len() > MOST_BATCHES {
            self.batches = vec![concat_batches(&self.batches[0].schema(), &self.batches)?];
        }
        if !more.removed.is_empty() {
            let removed = Arc::make_mut(&mut self.removed);
            for (file, numbers) in more.removed.iter() {
                removed.entry(file.clone()).or_default().extend(numbers);
            }
        }
        self.made = MadeOfCall::default();
        Ok(())
    }
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
