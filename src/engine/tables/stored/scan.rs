//! The files of one version of a stored table as a plan.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;

use super::traced::traced;
use crate::error::{Error, Result};
use crate::offline::{DataFile, OfflineTable};

/// A scan of some files: which, in which partitions of the plan, and what of them is wanted.
pub struct Scan<'a> {
    pub table: &'a Arc<OfflineTable>,
    /// The table's columns, in the types that the plan gives.
    pub schema: &'a SchemaRef,
    /// Of `schema`.
    pub columns: &'a [usize],
    /// Each partition gives its files one after the other.
    pub groups: Vec<Vec<&'a DataFile>>,
    /// Whether partitions that have ended may read on in the files of others.
    pub shared: bool,
    /// Over the table's `file_schema`. Rows that do not satisfy it may come all the same.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Whether the predicate is looked at row by row, before other columns are read.
    pub row_by_row: bool,
    pub limit: Option<usize>,
}

impl Scan<'_> {
    pub fn plan(self, runtime: &RuntimeEnv) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let place = ObjectStoreUrl::local_filesystem();
        // files never change, so that their footers need not be read for every query
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(runtime.object_store(&place)?, footers);
        let mut source = ParquetSource::new(Arc::clone(&self.table.file_schema))
            .with_parquet_file_reader_factory(traced(Arc::new(reader), &self.table.id))
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true);
        if let Some(predicate) = &self.predicate {
            source = source.with_predicate(Arc::clone(predicate)).with_pushdown_filters(self.row_by_row);
        }
        let stored = self
            .columns
            .iter()
            .map(|&column| self.table.file_schema.index_of(self.schema.field(column).name()))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let groups = self
            .groups
            .iter()
            .map(|files| files.iter().map(|file| self.file(file)).collect::<Result<Vec<_>>>().map(FileGroup::new))
            .collect::<Result<Vec<_>>>()?;
        let config = FileScanConfigBuilder::new(place, Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(Some(stored))?
            .with_limit(self.limit)
            .with_preserve_order(!self.shared)
            .build();
        self.typed(DataSourceExec::from_data_source(config))
    }

    fn file(&self, file: &DataFile) -> Result<PartitionedFile> {
        let path = file.path.to_str().ok_or_else(|| Error::internal("a data file's path is not UTF-8"))?;
        let file = PartitionedFile::new(path.trim_start_matches('/'), file.size_bytes);
        // as long as the plan lives, so do the version's files
        Ok(file.with_extension(Arc::clone(self.table)))
    }

    /// Casts what the files hold to the types of the table, where they differ.
    fn typed(&self, scan: Arc<dyn ExecutionPlan>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = scan.schema();
        let mut exprs: Vec<(Arc<dyn PhysicalExpr>, String)> = Vec::with_capacity(self.columns.len());
        let mut differs = false;
        for (index, &column) in self.columns.iter().enumerate() {
            let field = self.schema.field(column);
            let stored: Arc<dyn PhysicalExpr> = Arc::new(Column::new(field.name(), index));
            if schema.field(index).data_type() == field.data_type() {
                exprs.push((stored, field.name().clone()));
            } else {
                differs = true;
                exprs.push((Arc::new(CastExpr::new(stored, field.data_type().clone(), None)), field.name().clone()));
            }
        }
        if differs { Ok(Arc::new(ProjectionExec::try_new(exprs, scan)?)) } else { Ok(scan) }
    }
}
