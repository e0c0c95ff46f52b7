//! The stored rows of a feature view, to be read in parts by somebody who knows what is needed of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::reach::Reach;
use super::scan::Scan;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::BoundView;
use crate::error::Result;
use crate::offline::{DataFile, Layout, OfflineTable};

/// One version of a view's stored rows. Cheap to clone.
#[derive(Clone)]
pub struct StoredRows {
    /// None if nothing was ever stored
    version: Option<Arc<OfflineTable>>,
    schema: SchemaRef,
    bucket_count: u32,
    runtime: Arc<RuntimeEnv>,
}

/// How much of a table a plan reads, for EXPLAIN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    pub files_total: usize,
    pub files_read: usize,
    /// Rows and bytes of the files that are read; of them, row groups and pages may be left out.
    pub rows: u64,
    pub bytes: u64,
}

impl fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.version.as_ref().map(|table| (&table.id, table.version));
        f.debug_struct("StoredRows").field("table", &table).finish_non_exhaustive()
    }
}

impl StoredRows {
    /// The newest version.
    pub async fn open(planner: &QueryPlanner, view: &BoundView) -> Result<StoredRows> {
        let version = planner.offline.table(&view.offline_table()).await?;
        // as it was stored, whatever the view says: the fingerprint covers it
        let bucket_count = match version.as_ref().map(|table| &table.layout) {
            Some(Layout::Keyed { bucket_count, .. }) => *bucket_count,
            _ => view.buckets,
        };
        let schema = view.row_schema(view.stored_layout());
        let runtime = Arc::clone(planner.state().runtime_env());
        Ok(StoredRows { version, schema, bucket_count, runtime })
    }

    /// The columns of the view's stored layout.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub fn bucket_count(&self) -> u32 {
        self.bucket_count
    }

    /// Whether the rows of every file are sorted by (keys, time); then those of one key and time are in the order of
    /// their arrival. Several files of a bucket and month are each sorted by itself.
    pub fn is_sorted(&self) -> bool {
        self.version.iter().flat_map(|version| &version.files).all(|file| file.sorted)
    }

    /// Whether the files of each bucket are sorted and do not overlap in time: then the rows of a key are in the order
    /// of time and arrival if one file after the other is read by time.
    pub fn is_in_order(&self) -> bool {
        let Some(table) = &self.version else { return true };
        let mut times: HashMap<Option<u32>, Vec<(i64, i64)>> = HashMap::new();
        for file in &table.files {
            match (file.sorted, file.min_time_us, file.max_time_us) {
                (true, Some(min_us), Some(max_us)) => times.entry(file.bucket).or_default().push((min_us, max_us)),
                _ => return false,
            }
        }
        times.values_mut().all(|times| {
            times.sort_unstable();
            times.windows(2).all(|pair| pair[0].1 < pair[1].0)
        })
    }

    /// How many files the bucket has that has the most.
    pub fn most_files_of_a_bucket(&self) -> usize {
        let mut counts: HashMap<Option<u32>, usize> = HashMap::new();
        for file in self.version.iter().flat_map(|table| &table.files) {
            *counts.entry(file.bucket).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }

    /// As [`StoredRows::plan`], with one partition for each file, by time.
    pub fn files_in_order(&self, columns: &[usize], reach: &Reach) -> Result<(Arc<dyn ExecutionPlan>, Pruned)> {
        let Some(table) = &self.version else { return Ok((self.nothing(columns, 0)?, Pruned::default())) };
        let mut files = reach.files(table)?;
        let of_bucket = |file: &&DataFile| reach.bucket.is_none() || file.bucket == reach.bucket;
        let pruned = pruned(table.files.iter().filter(of_bucket).count(), &files);
        if files.is_empty() {
            return Ok((self.nothing(columns, 0)?, pruned));
        }
        files.sort_by_key(|file| file.min_time_us);
        let groups = files.into_iter().map(|file| vec![file]).collect();
        let predicate = reach.predicate(table)?;
        let scan = Scan { table, schema: &self.schema, columns, groups, shared: false, predicate, limit: None };
        Ok((scan.plan(&self.runtime)?, pruned))
    }

    fn nothing(&self, columns: &[usize], partitions: usize) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema.project(columns).map_err(datafusion::error::DataFusionError::from)?;
        Ok(Arc::new(EmptyExec::new(Arc::new(schema)).with_partitions(partitions)))
    }

    /// The rows in reach, most likely with others, in the `columns` of the schema. If the reach names a bucket the
    /// plan has one partition, else one for each bucket; its files come by (month, path), one after the other.
    pub fn plan(&self, columns: &[usize], reach: &Reach) -> Result<(Arc<dyn ExecutionPlan>, Pruned)> {
        let partitions = if reach.bucket.is_some() { 1 } else { self.bucket_count as usize };
        let Some(table) = &self.version else { return Ok((self.nothing(columns, partitions)?, Pruned::default())) };
        let files = reach.files(table)?;
        let pruned = pruned(table.files.len(), &files);
        let mut groups: Vec<Vec<&DataFile>> = vec![Vec::new(); partitions];
        for file in files {
            let place = if partitions == 1 { 0 } else { file.bucket.unwrap_or(0) as usize };
            groups[place].push(file);
        }
        let predicate = reach.predicate(table)?;
        let scan = Scan { table, schema: &self.schema, columns, groups, shared: false, predicate, limit: None };
        Ok((scan.plan(&self.runtime)?, pruned))
    }
}

fn pruned(files_total: usize, files: &[&DataFile]) -> Pruned {
    Pruned {
        files_total,
        files_read: files.len(),
        rows: files.iter().map(|file| file.rows).sum(),
        bytes: files.iter().map(|file| file.size_bytes).sum(),
    }
}
