//! Reads of stored files as spans of the statement or job that plans them, where somebody asks for spans.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tracing::{Instrument as _, Span};

use crate::trace;

/// The readers of a scan of a table. With spans, one is of the whole scan, from its plan to its end, and tells how long
/// its reads took.
pub fn traced(readers: Arc<dyn ParquetFileReaderFactory>, table: &str) -> Arc<dyn ParquetFileReaderFactory> {
    let span = trace::store("offline read", || table.to_owned());
    if span.is_none() { readers } else { Arc::new(TracedReaders { readers, span }) }
}

struct TracedReaders {
    readers: Arc<dyn ParquetFileReaderFactory>,
    span: Span,
}

impl fmt::Debug for TracedReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.readers.fmt(f)
    }
}

impl ParquetFileReaderFactory for TracedReaders {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let reader = self.readers.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(TracedReader { reader, span: self.span.clone() }))
    }
}

struct TracedReader {
    reader: Box<dyn AsyncFileReader + Send>,
    span: Span,
}

impl AsyncFileReader for TracedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.reader.get_bytes(range).instrument(self.span.clone()).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.reader.get_byte_ranges(ranges).instrument(self.span.clone()).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        self.reader.get_metadata(options).instrument(self.span.clone()).boxed()
    }
}
