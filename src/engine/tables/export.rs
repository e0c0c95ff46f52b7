//! `COPY … TO 'file'`: a plan whose rows go into one file.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::{CsvOptions, ParquetColumnOptions, TableParquetOptions};
use datafusion::datasource::file_format::csv::CsvFormatFactory;
use datafusion::datasource::file_format::json::JsonFormatFactory;
use datafusion::datasource::file_format::parquet::ParquetFormatFactory;
use datafusion::datasource::file_format::{FileFormatFactory, format_as_file_type};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use granary_catalog::FileFormat;

use super::files::{parse_path, register_store};
use crate::error::{Error, Kind, Result};

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

/// A plan that writes the rows of `plan` and gives their number. The file appears when it is whole.
pub fn export_plan(state: &SessionState, plan: LogicalPlan, request: &ExportRequest) -> Result<LogicalPlan> {
    let url = parse_path(&request.path)?;
    if url.get_glob().is_some() || url.is_collection() {
        return Err(Error::new(Kind::InvalidParameterValue, format!("\"{}\" is not the path of a file", request.path))
            .with_hint("name the file that is to be written, such as '/data/training.parquet'"));
    }
    register_store(state, &url, &[])?;
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
    let plan =
        LogicalPlanBuilder::copy_to(plan, url.as_str().to_owned(), format_as_file_type(factory), options, Vec::new())?;
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
