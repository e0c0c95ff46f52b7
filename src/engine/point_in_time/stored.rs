//! Rows of the offline store whose files lie as a part of the keys needs them: sorted by key, in its bucket alone.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::collect::Resources;
use super::exec::Figures;
use super::matching::Matching;
use super::spans::Piece;
use crate::engine::relation::BoundView;
use crate::engine::tables::stored::{KeyValues, StoredRows};
use crate::error::{Error, Result};

/// So many keys are looked for in statistics and bloom filters.
const FEW_KEYS: usize = 20;

/// More files of a bucket than this are not read side by side.
const MOST_FILES: usize = 32;

/// Rows of the offline store, in stretches of time that ascend.
#[derive(Debug, Clone)]
pub struct StoredInput {
    pieces: Vec<Piece>,
    bucket_count: u32,
}

impl StoredInput {
    /// `None` where the rows are better read like any others.
    pub fn of(rows: &StoredRows, columns: Vec<usize>, view: &BoundView) -> Option<StoredInput> {
        let in_order = rows.is_in_order() && rows.most_files_of_a_bucket() <= MOST_FILES;
        let usable = in_order && !view.has_float_key();
        let bucket_count = rows.bucket_count();
        usable.then(|| StoredInput { pieces: vec![Piece::all(rows.clone(), columns)], bucket_count })
    }

    /// The same rows in other pieces.
    pub fn of_pieces(&self, pieces: Vec<Piece>) -> StoredInput {
        StoredInput { pieces, bucket_count: self.bucket_count }
    }

    pub fn bucket_count(&self) -> u32 {
        self.bucket_count
    }

    /// The rows of a bucket that may be wanted: one stream for each file; their times ascend from file to file.
    pub fn streams(&self, bucket: usize, wanted: &Matching, resources: &Resources) -> Result<StoredStreams> {
        let mut found = StoredStreams { streams: Vec::new(), scans: Vec::new() };
        let bucket = u32::try_from(bucket).map_err(|_| Error::internal("there are not so many buckets"))?;
        for piece in &self.pieces {
            let keys = wanted.keys.few(FEW_KEYS).map(|values| KeyValues { key: 0, values });
            let (plan, pruned) = piece.in_bucket(bucket, &wanted.reach, keys.into_iter().collect())?;
            wanted.figures.files_pruned.add(pruned.files_total - pruned.files_read);
            wanted.figures.files_read.add(pruned.files_read);
            for file in 0..plan.output_partitioning().partition_count() {
                found.streams.push(plan.execute(file, Arc::clone(&resources.context))?);
            }
            let (figures, is_folded) = (wanted.figures.clone(), piece.is_folded());
            found.scans.push(StoredScan { plan, figures, is_folded });
        }
        Ok(found)
    }
}

/// The files of a bucket on their way.
pub struct StoredStreams {
    pub streams: Vec<SendableRecordBatchStream>,
    pub scans: Vec<StoredScan>,
}

/// Adds up what a scan has read when it ends.
pub struct StoredScan {
    pub plan: Arc<dyn ExecutionPlan>,
    pub figures: Figures,
    /// spans of time, not rows
    pub is_folded: bool,
}

impl Drop for StoredScan {
    fn drop(&mut self) {
        self.figures.bytes_read.add(bytes_of(&self.plan));
        if self.is_folded {
            self.figures.spans_read.add(rows_of(&self.plan));
        }
    }
}

/// How many bytes the scans below a plan have read.
fn bytes_of(plan: &Arc<dyn ExecutionPlan>) -> usize {
    if plan.children().is_empty() {
        let bytes = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
        return bytes.map_or(0, |bytes| bytes.as_usize());
    }
    plan.children().into_iter().map(bytes_of).sum()
}

/// How many rows a plan has given.
pub fn rows_of(plan: &Arc<dyn ExecutionPlan>) -> usize {
    plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0)
}
