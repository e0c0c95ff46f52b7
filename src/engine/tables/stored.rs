//! Tables of the offline store: ordinary tables, and the stored rows of feature views.

mod key_index;
mod merge;
mod placed;
mod reach;
mod rows;
mod scan;
mod traced;

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use granary_catalog::{Column, DatasetVersion, FeatureTable, Object, Table};

use super::pending::TableWrite;
use crate::engine::Engine;
use crate::engine::query::QueryPlanner;
use crate::error::Result;
use crate::offline::{DataFile, OfflineStore, OfflineTable, Places};
pub use key_index::{KeyIndex, KeyIndexes, keys_of};
pub use merge::{merged_rows, sorted_rows};
pub use placed::{PLACE_FILE, PLACE_ROW, PlacedRows};
use reach::says_something;
pub use reach::{KeyValues, Reach};
pub use rows::{Pruned, StoredRows};
use scan::Scan;

/// An ordinary table.
pub async fn table(planner: &QueryPlanner, table: &Table) -> Result<Arc<dyn TableProvider>> {
    offline_table(planner, &table_id(table), schema_of(&table.columns)).await
}

/// A version of a dataset.
pub async fn dataset(planner: &QueryPlanner, version: &DatasetVersion) -> Result<Arc<dyn TableProvider>> {
    offline_table(planner, &dataset_table(version), schema_of(&version.columns)).await
}

fn schema_of(columns: &[Column]) -> SchemaRef {
    // NOT NULL is checked where rows are written, which knows the column's and the table's name.
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The columns that a feature table declares, in their order.
pub fn declared_columns(table: &FeatureTable) -> SchemaRef {
    schema_of(&table.columns)
}

/// The name of an ordinary table in the offline store.
pub fn table_id(table: &Table) -> String {
    format!("{TABLE}{}", table.storage_id)
}

/// The storage of the ordinary table that has that name there.
pub fn storage_of_table(name: &str) -> Option<u64> {
    name.strip_prefix(TABLE)?.parse().ok()
}

/// The name of a dataset's version in the offline store.
pub fn dataset_table(version: &DatasetVersion) -> String {
    format!("{DATASET}{}", version.storage_id)
}

const TABLE: &str = "table-";
const DATASET: &str = "dataset-";

/// The tables of the offline store that hold the rows of a table or dataset.
pub fn tables_of(object: &Object) -> Vec<String> {
    match object {
        Object::Table(table) => vec![table_id(table)],
        Object::Dataset(dataset) => dataset.versions().map(dataset_table).collect(),
        _ => Vec::new(),
    }
}

/// Whether a name in the offline store is one that [`tables_of`] gives.
pub fn is_named_by_objects(table: &str) -> bool {
    table.starts_with(TABLE) || table.starts_with(DATASET)
}

/// The name and version of the stored table that a provider reads, if it does and there is one.
pub fn version_of(provider: &dyn TableProvider) -> Option<(String, u64)> {
    let table = provider.downcast_ref::<StoredTable>()?;
    let version = table.versions.iter().find(|version| version.id == table.id)?;
    Some((table.id.clone(), u64::try_from(version.version).ok()?))
}

/// A table of the offline store, as the open transaction sees it; empty if nothing was ever written to it.
pub async fn offline_table(planner: &QueryPlanner, id: &str, schema: SchemaRef) -> Result<Arc<dyn TableProvider>> {
    let versions = versions(planner, id).await?;
    Ok(Arc::new(StoredTable { id: id.to_owned(), schema, versions, pending: Arc::clone(&planner.pending) }))
}

/// The version of a table that a statement reads, and what its transaction has staged for it.
async fn versions(planner: &QueryPlanner, id: &str) -> Result<Vec<Arc<OfflineTable>>> {
    let stored = match &planner.read_versions {
        Some(versions) => planner.offline.table_in(id, versions).await?,
        None => planner.offline.table(id).await?,
    };
    let mut versions = Vec::from_iter(stored);
    let write = planner.pending.iter().find(|write| write.table == id);
    for staged in write.iter().flat_map(|write| &write.staged).filter(|staged| staged.table() != id) {
        versions.extend(planner.offline.table(staged.table()).await?);
    }
    Ok(versions)
}

/// One version of a table of the offline store.
pub fn version_table(id: &str, schema: SchemaRef, version: Arc<OfflineTable>) -> Arc<dyn TableProvider> {
    Arc::new(StoredTable { id: id.to_owned(), schema, versions: vec![version], pending: Arc::default() })
}

/// The rows of an ordinary table of the offline store but for some, in the order in which they were written.
pub async fn rows_in_order(
    engine: &Engine,
    offline: &OfflineStore,
    (id, removed): (&str, &Arc<Places>),
    schema: SchemaRef,
) -> Result<SendableRecordBatchStream> {
    let versions = Vec::from_iter(offline.table(id).await?);
    let write = TableWrite { table: id.to_owned(), removed: Arc::clone(removed), ..TableWrite::default() };
    let table = StoredTable { id: id.to_owned(), schema, versions, pending: Arc::new(vec![write]) };
    let state = engine.ordered_state(0);
    Ok(execute_stream(table.scan(&state, None, &[], None).await?, state.task_ctx())?)
}

/// The rows of a write that a transaction has gathered, in order.
pub async fn written_table(
    offline: &OfflineStore,
    write: TableWrite,
    schema: SchemaRef,
) -> Result<Arc<dyn TableProvider>> {
    let mut versions = Vec::new();
    for staged in &write.staged {
        versions.extend(offline.table(staged.table()).await?);
    }
    let id = write.table.clone();
    Ok(Arc::new(StoredTable { id, schema, versions, pending: Arc::new(vec![write]) }))
}

/// One version of a stored table.
#[derive(Debug)]
struct StoredTable {
    id: String,
    schema: SchemaRef,
    /// the table's own, and rows that the open transaction has staged
    versions: Vec<Arc<OfflineTable>>,
    /// rows that the open transaction holds, behind the stored ones
    pending: Arc<Vec<TableWrite>>,
}

#[async_trait]
impl TableProvider for StoredTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let layout = self.versions.first().map(|table| &table.layout);
        let prunes = |filter: &&Expr| layout.is_some_and(|layout| says_something(filter, &self.schema, layout));
        let answer = |filter| match prunes(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(answer).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let partitions = state.config().target_partitions();
        let mut parts = Vec::with_capacity(self.versions.len() + 1);
        for table in &self.versions {
            let reach = Reach::of_filters(filters, &self.schema, &table.layout);
            let files = reach.files(table)?;
            let write = self.pending.iter().find(|write| write.table == self.id);
            let is_cut = |file: &&DataFile| write.is_some_and(|write| write.removed.contains_key(&file.path));
            let (cut, files): (Vec<_>, Vec<_>) = files.into_iter().partition(is_cut);
            if !cut.is_empty() {
                parts.push(PlacedRows::left(&self.schema, table, cut, (write, &columns, partitions))?);
            }
            if files.is_empty() {
                continue;
            }
            // one after the other they keep the order of the files
            let size = files.len().div_ceil(partitions.max(1));
            let groups = files.chunks(size).map(<[_]>::to_vec).collect();
            let predicate = reach.predicate(table)?;
            let scan = Scan {
                table,
                schema: &self.schema,
                columns: &columns,
                groups,
                shared: true,
                predicate,
                row_by_row: false,
                limit,
            };
            parts.push(scan.plan(state.runtime_env())?);
        }
        let held = self.pending.iter().filter(|write| write.table == self.id && !write.batches.is_empty());
        for write in held {
            let (rows, schema) = (std::slice::from_ref(&write.batches), Arc::clone(&self.schema));
            parts.push(MemorySourceConfig::try_new_exec(rows, schema, Some(columns.clone()))?);
        }
        match parts.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(&columns)?)))),
            1 => Ok(parts.remove(0)),
            _ => UnionExec::try_new(parts),
        }
    }
}
