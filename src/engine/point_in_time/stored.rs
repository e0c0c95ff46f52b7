//! Rows of the offline store whose files lie as a part of the keys needs them: sorted by key, in its bucket alone.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use super::collect::Resources;
use super::exec::Figures;
use super::matching::Matching;
use crate::engine::tables::stored::{KeyValues, Reach, StoredRows};
use crate::error::Result;

/// So many keys are looked for in statistics and bloom filters.
const FEW_KEYS: usize = 20;

/// More files of a bucket than this are not read side by side.
const MOST_FILES: usize = 32;

/// The columns of stored rows that an input has.
#[derive(Debug, Clone)]
pub struct StoredInput {
    rows: StoredRows,
    columns: Vec<usize>,
}

impl StoredInput {
    /// `None` where the rows are better read like any others.
    pub fn of(rows: &StoredRows, columns: Vec<usize>, key_types: &[DataType]) -> Option<StoredInput> {
        // files order floats otherwise than keys are ordered in memory
        let is_float = |key: &DataType| matches!(key, DataType::Float32 | DataType::Float64);
        let in_order = rows.is_in_order() && rows.most_files_of_a_bucket() <= MOST_FILES;
        (in_order && !key_types.iter().any(is_float)).then(|| StoredInput { rows: rows.clone(), columns })
    }

    pub fn bucket_count(&self) -> u32 {
        self.rows.bucket_count()
    }

    /// The rows of a bucket that may be wanted: one stream for each file; their times ascend from file to file.
    pub fn streams(&self, bucket: usize, wanted: &Matching, resources: &Resources) -> Result<StoredStreams> {
        let keys = wanted.keys.few(FEW_KEYS).map(|values| KeyValues { key: 0, values });
        let reach =
            Reach { times: wanted.reach.clone(), bucket: u32::try_from(bucket).ok(), keys: keys.into_iter().collect() };
        let (plan, pruned) = self.rows.files_in_order(&self.columns, &reach)?;
        wanted.figures.files_pruned.add(pruned.files_total - pruned.files_read);
        wanted.figures.files_read.add(pruned.files_read);
        let n_files = plan.output_partitioning().partition_count();
        let streams = (0..n_files).map(|file| Ok(plan.execute(file, Arc::clone(&resources.context))?));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        Ok(StoredStreams { streams, scan: StoredScan { plan, figures: wanted.figures.clone() } })
    }
}

/// The files of a bucket on their way.
pub struct StoredStreams {
    pub streams: Vec<SendableRecordBatchStream>,
    pub scan: StoredScan,
}

/// Adds up what a scan has read when it ends.
pub struct StoredScan {
    plan: Arc<dyn ExecutionPlan>,
    figures: Figures,
}

impl Drop for StoredScan {
    fn drop(&mut self) {
        let bytes = self.plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
        self.figures.bytes_read.add(bytes.map_or(0, |bytes| bytes.as_usize()));
    }
}
