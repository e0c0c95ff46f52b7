//! The stored rows of a feature view, to be read in parts by somebody who knows what is needed of them.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use granary_catalog::IntervalSet;

use super::merge::within;
use super::reach::Reach;
use super::scan::Scan;
use crate::engine::query::QueryPlanner;
use crate::engine::relation::{BoundView, RowLayout};
use crate::error::Result;
use crate::offline::{DataFile, Layout, OfflineTable};

/// One version of a view's stored rows, or of spans folded from them. Cheap to clone.
#[derive(Clone)]
pub struct StoredRows {
    /// None if nothing was ever stored
    version: Option<Arc<OfflineTable>>,
    schema: SchemaRef,
    bucket_count: u32,
    runtime: Arc<RuntimeEnv>,
    /// by width, ascending
    spans: Arc<[StoredSpans]>,
}

/// Spans of one width that can stand for the rows inside of them, a state a key.
#[derive(Debug, Clone)]
pub struct StoredSpans {
    pub width_us: i64,
    /// where every span is folded
    pub covered: IntervalSet,
    /// in the columns of `row_schema(RowLayout::Tiles)`
    pub rows: StoredRows,
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
    /// The newest version, and the spans that were folded from just these rows. `view` has one group of columns, as in
    /// all that follows.
    pub async fn open(planner: &QueryPlanner, view: &BoundView) -> Result<StoredRows> {
        let ledger = planner.catalog.ledger();
        let folded = || ledger.folded(view.group_id()).filter(|folded| folded.form == view.span_form());
        let before = folded();
        let rows = StoredRows::open_without_spans(planner, view).await?;
        let Some(before) = before else { return Ok(rows) };
        let mut spans = Vec::new();
        for width_us in view.span_widths() {
            let Some(covered) = before.of_width(width_us) else { continue };
            let rows = StoredRows::open_spans(planner, view, width_us).await?;
            if rows.is_in_order() {
                spans.push(StoredSpans { width_us, covered: covered.clone(), rows });
            }
        }
        // with the same revision before and after, both tables are as they were folded
        let unchanged = folded().is_some_and(|after| after.revision == before.revision);
        if !unchanged || spans.iter().any(|spans| spans.rows.bucket_count != rows.bucket_count) {
            return Ok(rows);
        }
        Ok(StoredRows { spans: spans.into(), ..rows })
    }

    /// The newest version of the rows alone.
    pub async fn open_without_spans(planner: &QueryPlanner, view: &BoundView) -> Result<StoredRows> {
        let schema = view.row_schema(view.stored_layout());
        StoredRows::open_table(planner, view, &view.offline_table(), schema).await
    }

    /// The newest version of the folded spans of one width, whichever are there.
    pub async fn open_spans(planner: &QueryPlanner, view: &BoundView, width_us: i64) -> Result<StoredRows> {
        StoredRows::open_table(planner, view, &view.span_table(width_us), view.row_schema(RowLayout::Tiles)).await
    }

    async fn open_table(
        planner: &QueryPlanner,
        view: &BoundView,
        table: &str,
        schema: SchemaRef,
    ) -> Result<StoredRows> {
        let version = planner.offline.table(table).await?;
        // as it was stored, whatever the view says: the fingerprint covers it
        let bucket_count = match version.as_ref().map(|table| &table.layout) {
            Some(Layout::Keyed { bucket_count, .. }) => *bucket_count,
            _ => view.buckets,
        };
        let runtime = Arc::clone(planner.state().runtime_env());
        Ok(StoredRows { version, schema, bucket_count, runtime, spans: Arc::default() })
    }

    pub(super) fn version(&self) -> Option<&Arc<OfflineTable>> {
        self.version.as_ref()
    }

    /// What can be read in the place of rows, by width, ascending.
    pub fn spans(&self) -> &[StoredSpans] {
        &self.spans
    }

    /// About how many rows have a time in the range, if they lie evenly in their files. `width_us`: of how much time each
    /// is, from its own on.
    pub fn estimated_rows(&self, times: &Range<i64>, width_us: i64) -> f64 {
        let files = self.version.iter().flat_map(|table| &table.files);
        files
            .map(|file| {
                let (Some(min_us), Some(max_us)) = (file.min_time_us, file.max_time_us) else {
                    return file.rows as f64;
                };
                let past_us = max_us.saturating_add(width_us.max(1));
                let (start_us, end_us) = (min_us.max(times.start), past_us.min(times.end));
                let part = end_us.saturating_sub(start_us).max(0) as f64 / past_us.saturating_sub(min_us) as f64;
                file.rows as f64 * part
            })
            .sum()
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
        Ok((self.scan(table, columns, groups, reach)?, pruned))
    }

    fn scan(
        &self,
        table: &Arc<OfflineTable>,
        columns: &[usize],
        groups: Vec<Vec<&DataFile>>,
        reach: &Reach,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (schema, predicate, row_by_row) = (&self.schema, reach.predicate(table)?, reach.row_by_row);
        let scan = Scan { table, schema, columns, groups, shared: false, predicate, row_by_row, limit: None };
        Ok(scan.plan(&self.runtime)?)
    }

    /// Of a plan of these rows just those with a time in the range: files have others, too.
    pub fn within(&self, rows: Arc<dyn ExecutionPlan>, times: &Range<i64>) -> Result<Arc<dyn ExecutionPlan>> {
        match self.version.as_ref().map(|table| &table.layout) {
            Some(Layout::Keyed { time_column, .. }) => within(rows, time_column, times),
            _ => Ok(rows),
        }
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
        Ok((self.scan(table, columns, groups, reach)?, pruned))
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
