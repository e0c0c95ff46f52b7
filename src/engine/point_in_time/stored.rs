//! Rows of the offline store whose files lie as a part of the keys needs them: sorted by key, in its bucket alone.

use std::ops::Range;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SendableRecordBatchStream;

use super::collect::Resources;
use crate::engine::tables::stored::{Reach, StoredRows};
use crate::error::Result;

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

    /// One stream for each file of a bucket that may have rows of these times; their times ascend from file to file.
    pub fn streams(
        &self,
        bucket: usize,
        times: &Range<i64>,
        resources: &Resources,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let bucket = u32::try_from(bucket).ok();
        let reach = Reach { times: times.clone(), bucket, ..Reach::EVERYTHING };
        let plan = self.rows.files_in_order(&self.columns, &reach)?;
        let n_files = datafusion::physical_plan::ExecutionPlanProperties::output_partitioning(&plan).partition_count();
        (0..n_files).map(|file| Ok(plan.execute(file, std::sync::Arc::clone(&resources.context))?)).collect()
    }
}
