//! Rows of a stored table with their places, for statements that change them; and the rows that an open transaction has
//! left of files that it has removed rows of.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt};

use super::key_index::{KeyIndex, KeyIndexes, keys_of};
use crate::engine::error::into_datafusion;
use crate::engine::query::QueryPlanner;
use crate::engine::tables::pending::TableWrite;
use crate::error::{Error, Result};
use crate::offline::{DataFile, OfflineTable, RowNumbers};

/// The number of a row's file among those of [`PlacedRows`].
pub const PLACE_FILE: &str = "@file";
/// Its number in it.
pub const PLACE_ROW: &str = "@row";

/// Where rows come from.
#[derive(Debug, Clone)]
enum Origin {
    File {
        table: Arc<OfflineTable>,
        file: DataFile,
        removed: Option<RowNumbers>,
    },
    /// those that the open transaction holds
    Held(Vec<RecordBatch>),
}

/// The rows of a table as the open transaction sees it, each with its place behind its columns.
#[derive(Debug, Clone)]
pub struct PlacedRows {
    schema: SchemaRef,
    n_columns: usize,
    origins: Arc<Vec<Origin>>,
}

impl PlacedRows {
    /// The rows of the stored table `id`, in the columns of `schema`.
    pub async fn of(planner: &QueryPlanner, id: &str, schema: &SchemaRef) -> Result<PlacedRows> {
        let versions = super::versions(planner, id).await?;
        let write = planner.pending.iter().find(|write| write.table == id);
        let mut origins = Vec::new();
        for table in &versions {
            origins.extend(table.files.iter().map(|file| origin(table, file, write)));
        }
        origins.extend(write.map(|write| Origin::Held(write.batches.clone())));
        Ok(PlacedRows::new(schema, origins))
    }

    fn new(schema: &SchemaRef, origins: Vec<Origin>) -> PlacedRows {
        let places = [Field::new(PLACE_FILE, DataType::Int32, false), Field::new(PLACE_ROW, DataType::Int64, false)];
        let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain(places);
        let with_places = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        PlacedRows { schema: with_places, n_columns: schema.fields().len(), origins: Arc::new(origins) }
    }

    /// The path of a file by its number; `None` for the rows that the transaction holds.
    pub fn path(&self, file: i32) -> Option<&PathBuf> {
        match self.origins.get(usize::try_from(file).ok()?)? {
            Origin::File { file, .. } => Some(&file.path),
            Origin::Held(_) => None,
        }
    }

    /// The keys of all rows: for each origin, in its order.
    pub async fn keys(&self, kept: &KeyIndexes, columns: &[String]) -> Result<Vec<Arc<KeyIndex>>> {
        let places = columns.iter().map(|name| self.schema.index_of(name)).collect::<Result<Vec<_>, _>>()?;
        let mut indexes = Vec::with_capacity(self.origins.len());
        for (number, origin) in self.origins.iter().enumerate() {
            let name = match origin {
                Origin::File { file, .. } => Some((file.path.clone(), columns.to_vec())),
                Origin::Held(_) => None,
            };
            if let Some(known) = name.as_ref().and_then(|name| kept.get(name)) {
                indexes.push(known);
                continue;
            }
            // rows that are gone, too: what is kept is of the file
            let mut rows = self.clone().read((number, false), places.clone()).await?;
            let (mut index, mut first) = (KeyIndex::default(), 0);
            while let Some(batch) = rows.try_next().await? {
                index.add(first, &keys_of(&batch)?);
                first += batch.num_rows();
            }
            let index = Arc::new(index.finish());
            if let Some(name) = name {
                kept.put(name, Arc::clone(&index));
            }
            indexes.push(index);
        }
        Ok(indexes)
    }

    /// Whether the open transaction has removed a row.
    pub fn is_removed(&self, origin: usize, row: u64) -> bool {
        matches!(&self.origins[origin], Origin::File { removed: Some(removed), .. } if removed.contains(row))
    }

    /// The same rows of these origins alone; places stay as they are.
    pub fn only(&self, origins: impl Fn(i32) -> bool) -> PlacedRows {
        let kept = self.origins.iter().enumerate().map(|(number, origin)| match i32::try_from(number) {
            Ok(number) if origins(number) => origin.clone(),
            _ => Origin::Held(Vec::new()),
        });
        PlacedRows { origins: Arc::new(kept.collect()), ..self.clone() }
    }

    /// What the files have left of these rows, without their places.
    pub(super) fn left(
        schema: &SchemaRef,
        table: &Arc<OfflineTable>,
        files: Vec<&DataFile>,
        (write, columns, partitions): (Option<&TableWrite>, &[usize], usize),
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let origins = files.into_iter().map(|file| origin(table, file, write)).collect();
        PlacedRows::new(schema, origins).plan(columns, partitions)
    }

    fn plan(&self, columns: &[usize], partitions: usize) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = Arc::new(self.schema.project(columns)?);
        let numbers: Vec<usize> = (0..self.origins.len()).collect();
        let size = numbers.len().div_ceil(partitions.max(1)).max(1);
        let mut parts: Vec<Arc<dyn PartitionStream>> = Vec::new();
        for origins in numbers.chunks(size) {
            let (rows, columns, schema) = (self.clone(), columns.to_vec(), Arc::clone(&schema));
            parts.push(Arc::new(Part { rows, origins: origins.to_vec(), columns, schema }));
        }
        if parts.is_empty() {
            return Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)));
        }
        Ok(Arc::new(StreamingTableExec::try_new(schema, parts, None, [], false, None)?))
    }

    /// The rows of one origin, in some of the columns.
    async fn read(
        self,
        (number, leaves_out): (usize, bool),
        columns: Vec<usize>,
    ) -> Result<crate::offline::BatchStream> {
        let schema = Arc::new(self.schema.project(&columns).map_err(Error::from)?);
        let own: Vec<usize> = columns.iter().copied().filter(|column| *column < self.n_columns).collect();
        let (rows, removed) = match &self.origins[number] {
            Origin::File { table, file, removed } => {
                let names: Vec<&str> = own.iter().map(|column| self.schema.field(*column).name().as_str()).collect();
                // as long as the rows are read, the version is held, and with it its files
                let held = Arc::clone(table);
                let rows = table.file_rows(file, &names).await?.inspect(move |_| drop(Arc::clone(&held)));
                (rows.boxed(), removed.clone().filter(|_| leaves_out))
            }
            Origin::Held(batches) => {
                let batches: Vec<Result<RecordBatch>> =
                    batches.iter().map(|batch| batch.project(&own).map_err(Error::from)).collect();
                (futures::stream::iter(batches).boxed(), None)
            }
        };
        let mut first = 0;
        let placed = move |batch: RecordBatch| {
            let n_rows = batch.num_rows();
            let mut stored = batch.columns().iter();
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(columns.len());
            for (column, field) in columns.iter().zip(schema.fields()) {
                arrays.push(match column.checked_sub(self.n_columns) {
                    None => {
                        let array = stored.next().ok_or_else(|| Error::internal("a file has fewer columns"))?;
                        cast(array, field.data_type()).map_err(Error::from)?
                    }
                    Some(0) => {
                        let number = i32::try_from(number).map_err(|_| Error::internal("too many files"))?;
                        Arc::new(Int32Array::from(vec![number; n_rows]))
                    }
                    Some(_) => Arc::new(Int64Array::from_iter_values(first..first + n_rows as i64)),
                });
            }
            let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
            let rows = RecordBatch::try_new_with_options(Arc::clone(&schema), arrays, &options);
            let rows = rows.map_err(Error::from)?;
            let rows = match &removed {
                Some(removed) => filter_record_batch(&rows, &removed.others(first.unsigned_abs(), n_rows)),
                None => Ok(rows),
            };
            first += n_rows as i64;
            rows.map_err(Error::from)
        };
        let mut placed = placed;
        Ok(rows.map(move |batch| batch.and_then(&mut placed)).boxed())
    }
}

fn origin(table: &Arc<OfflineTable>, file: &DataFile, write: Option<&TableWrite>) -> Origin {
    let removed = write.and_then(|write| write.removed.get(&file.path)).cloned();
    Origin::File { table: Arc::clone(table), file: file.clone(), removed }
}

#[async_trait]
impl TableProvider for PlacedRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        self.plan(&columns, state.config().target_partitions())
    }
}

/// Some origins, one after the other.
struct Part {
    rows: PlacedRows,
    origins: Vec<usize>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("origins", &self.origins).finish_non_exhaustive()
    }
}

impl PartitionStream for Part {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (rows, columns) = (self.rows.clone(), self.columns.clone());
        let read = futures::stream::iter(self.origins.clone())
            .then(move |number| rows.clone().read((number, true), columns.clone()))
            .try_flatten()
            .map_err(into_datafusion);
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), read))
    }
}
