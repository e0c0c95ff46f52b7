//! `COPY … TO 'file'`: the rows of a plan go into one file.

mod held;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::common::config::{CsvOptions, ParquetColumnOptions, TableParquetOptions};
use datafusion::datasource::file_format::csv::CsvFormatFactory;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::file_format::{FileFormatFactory, format_as_file_type};
use datafusion::datasource::listing::ListingTableUrl;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use futures::TryStreamExt;
use granary_catalog::FileFormat;
use object_store::ObjectStore;

use super::files::{parse_path, register_store, unwritable};
use crate::engine::plans::run;
use crate::error::{Error, Kind, Result};

use held::HeldStore;

/// What is written where.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// a path, or a URL of an object store
    pub path: String,
    pub format: FileFormat,
    /// of CSV: whether the first line names the columns
    pub header: bool,
    /// of CSV
    pub delimiter: u8,
}

/// Rows that a row group of an exported file has at most; a writer holds so many of each file.
const ROW_GROUP_ROWS: usize = 128 * 1024;

/// The name under which one export's store is known to the engine; forgotten when it is dropped.
struct Place {
    url: ListingTableUrl,
    store: Arc<HeldStore>,
    runtime: Arc<RuntimeEnv>,
}

static EXPORTS: AtomicU64 = AtomicU64::new(0);

impl Place {
    fn new(state: &SessionState, url: &ListingTableUrl) -> Result<Place> {
        let runtime = Arc::clone(state.runtime_env());
        let store = Arc::new(HeldStore::new(runtime.object_store(url.object_store())?));
        let behind_scheme = url.as_str().split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let path = behind_scheme.split_once('/').map_or("", |(_, path)| path);
        let number = EXPORTS.fetch_add(1, Ordering::Relaxed);
        let url = ListingTableUrl::parse(format!("export://{number}/{path}"))?;
        let known: Arc<dyn ObjectStore> = store.clone();
        runtime.register_object_store(url.object_store().as_ref(), known);
        Ok(Place { url, store, runtime })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.runtime.deregister_object_store(self.url.object_store().as_ref()) {
            tracing::warn!(%error, "the store of a COPY is not known");
        }
    }
}

/// Writes the rows of a plan; gives their number. The file appears when it is whole, in place of an older one.
pub async fn export(state: &SessionState, plan: LogicalPlan, request: &ExportRequest) -> Result<u64> {
    let url = parse_path(&request.path)?;
    if url.get_glob().is_some() || url.is_collection() {
        return Err(Error::new(Kind::InvalidParameterValue, format!("\"{}\" is not the path of a file", request.path))
            .with_hint("name the file that is to be written, such as '/data/training.parquet'"));
    }
    register_store(state, &url, &[])?;
    let place = Place::new(state, &url)?;
    let plan = export_plan(plan, request, place.url.as_str())?;
    let written = async {
        let batches: Vec<_> = run(state, &plan).await?.try_collect().await?;
        place.store.release().await.map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
        let counts = batches.iter().filter_map(|batch| batch.column(0).as_primitive_opt::<UInt64Type>());
        Ok(counts.flat_map(|counts| counts.values().iter()).sum())
    };
    written.await.map_err(|error| unwritable(&request.path, error))
}

/// A plan that writes the rows of `plan` to `url`, and gives their number.
fn export_plan(plan: LogicalPlan, request: &ExportRequest, url: &str) -> Result<LogicalPlan> {
    let factory: Arc<dyn FileFormatFactory> = match request.format {
        FileFormat::Parquet => Arc::new(ParquetFormatFactory::new_with_options(parquet_options(&plan))),
        FileFormat::Csv => {
            let options = CsvOptions::default().with_has_header(request.header).with_delimiter(request.delimiter);
            Arc::new(CsvFormatFactory::new_with_options(options))
        }
        FileFormat::Json => Arc::new(JsonFormatFactory::new()),
        FileFormat::Delta => return Err(Error::not_supported("COPY to a Delta table")),
    };
    // one file, whatever its name ends with
    let options = HashMap::from([("single_file_output".to_owned(), "true".to_owned())]);
    let plan = LogicalPlanBuilder::copy_to(plan, url.to_owned(), format_as_file_type(factory), options, Vec::new())?;
    Ok(plan.build()?)
}

fn parquet_options(plan: &LogicalPlan) -> TableParquetOptions {
    let mut options = TableParquetOptions::new();
    options.global.compression = Some("zstd(1)".to_owned());
    options.global.max_row_group_size = ROW_GROUP_ROWS;
    for field in plan.schema().fields() {
        // values that hardly repeat only pay for a dictionary
        if matches!(field.data_type(), DataType::Float32 | DataType::Float64 | DataType::Timestamp(_, _)) {
            let column = ParquetColumnOptions { dictionary_enabled: Some(false), ..ParquetColumnOptions::default() };
            options.column_specific_options.insert(field.name().clone(), column);
        }
    }
    options
}
