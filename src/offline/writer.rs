//! Rows into Parquet files, one per (bucket, month), with bounded memory.
//!
//! A file may lie around half written or unnamed at any time: only the commit that follows makes it count. If there
//! is none, [`TableWriter::abort`] removes what was written, or the sweep after a crash does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, make_comparator};
use arrow::compute::{CastOptions, SortOptions, cast_with_options, take_record_batch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, SchemaRef, TimestampMicrosecondType};
use chrono::{Datelike as _, NaiveDate};
use deltalake::kernel::Add;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use uuid::Uuid;

use super::errors::table_error;
use super::schema::BUCKET_COLUMN;
use super::{Layout, OfflineTable, log, statistics};
use crate::error::{Error, Kind, Result};
use crate::row::{Key, bucket_of, compare_floats, normalize_type, value_at};
use crate::time::{Clock, floor_us};

/// Rows of a row group, at most.
pub const ROW_GROUP_ROWS: usize = 1024 * 1024;
/// So that the pages of a few keys are few; reading all of them costs the same down to about half of this.
const PAGE_ROWS: usize = 8 * 1024;
const BLOOM_FALSE_POSITIVES: f64 = 0.01;
/// Bloom filters are made for so many keys, and written only as large as needed; the memory is taken for every open
/// file. With many more keys a filter says "maybe" too often, which costs time only.
const BLOOM_KEYS: u64 = 128 * 1024;
const DAY_US: i64 = 86_400_000_000;

/// How much a writer may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Encoded rows of all open files together; beyond it the largest end their row groups early.
    pub(super) buffered_bytes: usize,
    /// Files open at a time; beyond it the largest is closed, and another one begun when its month comes again.
    pub(super) open_files: usize,
    /// Plain tables begin a new file after this much.
    pub(super) file_bytes: usize,
}

pub(super) const LIMITS: Limits = Limits { buffered_bytes: 256 << 20, open_files: 512, file_bytes: 512 << 20 };

/// The part of a batch that goes to the object store at a time, per file.
const UPLOAD_BYTES: usize = 1 << 20;
const PARALLEL_CLOSES: usize = 8;

/// The partition of a keyed table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    pub(super) bucket: u32,
    /// First day of the month, in days since 1970.
    pub(super) month: i32,
}

/// Writes files of one table for one commit.
pub(super) struct TableWriter {
    table: Arc<OfflineTable>,
    store: Arc<dyn ObjectStore>,
    properties: WriterProperties,
    limits: Limits,
    open: BTreeMap<Option<Partition>, FileWriter>,
    order: Order,
    /// Every file begun.
    begun: Vec<Path>,
    done: Vec<Add>,
    rows: u64,
}

struct FileWriter {
    partition: Option<Partition>,
    location: Path,
    writer: AsyncArrowWriter<BufWriter>,
    times: Option<(i64, i64)>,
}

/// The last row seen, to check that the next one is not before it.
struct Order {
    keys: Vec<usize>,
    time: usize,
    last: Option<(u32, RecordBatch)>,
}

impl TableWriter {
    pub(super) fn new(table: Arc<OfflineTable>, store: Arc<dyn ObjectStore>, limits: Limits) -> TableWriter {
        let properties = writer_properties(&table.file_schema, &table.layout);
        let column = |name: &String| table.file_schema.index_of(name).expect("checked when the table was made");
        let order = match &table.layout {
            Layout::Plain => Order { keys: Vec::new(), time: 0, last: None },
            Layout::Keyed { time_column, key_columns, .. } => {
                Order { keys: key_columns.iter().map(column).collect(), time: column(time_column), last: None }
            }
        };
        let (open, begun, done) = (BTreeMap::new(), Vec::new(), Vec::new());
        TableWriter { table, store, properties, limits, open, order, begun, done, rows: 0 }
    }

    /// Appends rows that came from outside: checks types, NULLs and order.
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        let rows = conform(&self.table, batch)?;
        let Layout::Keyed { bucket_count, .. } = self.table.layout else {
            self.write_part(None, &rows, None).await?;
            return self.bound_memory().await;
        };
        for column in self.order.keys.iter().chain([&self.order.time]) {
            not_null(rows.schema_ref().field(*column).name(), rows.column(*column))?;
        }
        let buckets = match batch.column_by_name(BUCKET_COLUMN) {
            Some(given) => given_buckets(given, bucket_count)?,
            None => (0..rows.num_rows()).map(|row| self.bucket_at(&rows, row, bucket_count)).collect::<Result<_>>()?,
        };
        self.order.check(&self.table.id, &rows, &buckets)?;
        let mut start = 0;
        for run in buckets.chunk_by(|a, b| a == b) {
            // a sample: rows in a wrong bucket would never be found again
            if self.bucket_at(&rows, start, bucket_count)? != run[0] {
                return Err(Error::internal(format!(
                    "a row for offline table \"{}\" is in a wrong bucket",
                    self.table.id
                )));
            }
            self.write_bucket(run[0], &rows.slice(start, run.len())).await?;
            start += run.len();
        }
        self.bound_memory().await
    }

    async fn write_bucket(&mut self, bucket: u32, rows: &RecordBatch) -> Result<()> {
        if self.open.keys().flatten().any(|open| open.bucket != bucket) {
            self.close_all().await?;
        }
        let times = Arc::clone(rows.column(self.order.time));
        let times = times.as_primitive::<TimestampMicrosecondType>().values();
        let mut months: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (row, time_us) in (0..).zip(times.iter()) {
            months.entry(month_of(*time_us)?).or_default().push(row);
        }
        let one = months.len() == 1;
        for (month, indices) in months {
            let bounds = indices.iter().map(|row| times[*row as usize]);
            let bounds = bounds.fold((i64::MAX, i64::MIN), |(min, max), time| (min.min(time), max.max(time)));
            let partition = Some(Partition { bucket, month });
            if one {
                self.write_part(partition, rows, Some(bounds)).await?;
            } else {
                let part = take_record_batch(rows, &UInt32Array::from(indices))
                    .map_err(|error| Error::internal("rows could not be split by month").with_source(error))?;
                self.write_part(partition, &part, Some(bounds)).await?;
            }
        }
        Ok(())
    }

    /// Appends rows in file form, all of one partition, in order; `bounds` of their time.
    pub(super) async fn write_part(
        &mut self,
        partition: Option<Partition>,
        rows: &RecordBatch,
        bounds: Option<(i64, i64)>,
    ) -> Result<()> {
        if !self.open.contains_key(&partition) {
            if self.open.len() >= self.limits.open_files {
                self.close_largest().await?;
            }
            let file = self.begin(partition)?;
            self.open.insert(partition, file);
        }
        let file = self.open.get_mut(&partition).expect("begun above");
        if let Some((min, max)) = bounds {
            let so_far = file.times.unwrap_or((min, max));
            file.times = Some((so_far.0.min(min), so_far.1.max(max)));
        }
        file.writer.write(rows).await.map_err(|error| table_error("write", &self.table.path, error))?;
        let bytes = file.writer.bytes_written() + file.writer.in_progress_size();
        if partition.is_none() && bytes >= self.limits.file_bytes {
            self.close_all().await?;
        }
        Ok(())
    }

    /// Ends the largest row groups once the buffered rows take more than they may, until they take half of that.
    pub(super) async fn bound_memory(&mut self) -> Result<()> {
        let mut buffered: usize = self.open.values().map(|file| file.writer.memory_size()).sum();
        if buffered <= self.limits.buffered_bytes {
            return Ok(());
        }
        let mut files: Vec<&mut FileWriter> = self.open.values_mut().collect();
        files.sort_by_key(|file| std::cmp::Reverse(file.writer.memory_size()));
        for file in files {
            if buffered <= self.limits.buffered_bytes / 2 {
                break;
            }
            buffered -= file.writer.memory_size();
            file.writer.flush().await.map_err(|error| table_error("write", &self.table.path, error))?;
        }
        Ok(())
    }

    async fn close_largest(&mut self) -> Result<()> {
        let largest = self.open.iter().max_by_key(|(_, file)| file.writer.bytes_written() + file.writer.memory_size());
        let Some(partition) = largest.map(|(partition, _)| *partition) else { return Ok(()) };
        let file = self.open.remove(&partition).expect("just found");
        self.done.push(file.close(&self.table).await?);
        Ok(())
    }

    async fn close_all(&mut self) -> Result<()> {
        let files: Vec<FileWriter> = std::mem::take(&mut self.open).into_values().collect();
        let table = &self.table;
        let closed = stream::iter(files).map(|file| file.close(table)).buffered(PARALLEL_CLOSES);
        let closed: Vec<Add> = closed.try_collect().await?;
        self.done.extend(closed);
        Ok(())
    }

    /// Rows given to [`TableWriter::write`].
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Completes all files, durably.
    pub(super) async fn finish(&mut self) -> Result<Vec<Add>> {
        self.close_all().await?;
        Ok(std::mem::take(&mut self.done))
    }

    /// Removes what was written. What cannot be removed now is swept after the next start.
    pub(super) async fn abort(self) {
        drop(self.open);
        let begun = stream::iter(self.begun.into_iter().map(Ok)).boxed();
        let removed = self.store.delete_stream(begun);
        removed.for_each(|_| async {}).await;
    }

    fn begin(&mut self, partition: Option<Partition>) -> Result<FileWriter> {
        // the version in front keeps plain files in the order of their commits
        let (version, number) = (self.table.version + 1, self.begun.len());
        let name = format!("part-{version:020}-{number:06}-{}.parquet", Uuid::new_v4().simple());
        let folders = partition.map(|partition| log::partition_values(partition.bucket, partition.month));
        let folders = folders.iter().flatten().map(|(column, value)| format!("{column}={value}/")).collect::<String>();
        let location = Path::from(folders + &name);
        self.begun.push(location.clone());
        let output = BufWriter::with_capacity(Arc::clone(&self.store), location.clone(), UPLOAD_BYTES);
        let writer =
            AsyncArrowWriter::try_new(output, Arc::clone(&self.table.file_schema), Some(self.properties.clone()));
        let writer = writer.map_err(|error| table_error("write", &self.table.path, error))?;
        Ok(FileWriter { partition, location, writer, times: None })
    }

    /// The bucket of one row, whose keys are not NULL.
    fn bucket_at(&self, rows: &RecordBatch, row: usize, bucket_count: u32) -> Result<u32> {
        let values = self.order.keys.iter().map(|key| value_at(rows.column(*key), row));
        let values = values.collect::<Result<Vec<_>>>()?;
        let key = Key::encode(values.iter().map(Option::as_ref)).expect("keys are checked for NULL before");
        Ok(bucket_of(&key, bucket_count))
    }
}

impl FileWriter {
    async fn close(mut self, table: &OfflineTable) -> Result<Add> {
        let metadata = self.writer.finish().await.map_err(|error| table_error("write", &table.path, error))?;
        let partition_values = self.partition.map(|partition| log::partition_values(partition.bucket, partition.month));
        let partition_values: HashMap<String, Option<String>> =
            partition_values.into_iter().flatten().map(|(column, value)| (column.to_owned(), Some(value))).collect();
        Ok(Add {
            path: self.location.to_string(),
            partition_values,
            size: i64::try_from(self.writer.bytes_written()).expect("a file is smaller than 8 EiB"),
            modification_time: Clock::system().now_us() / 1000,
            data_change: true,
            stats: Some(statistics::delta_statistics(&table.file_schema, &metadata)?),
            tags: log::tags(self.times),
            ..Add::default()
        })
    }
}

impl Order {
    /// Rows must ascend by (bucket, keys, time).
    fn check(&mut self, id: &str, rows: &RecordBatch, buckets: &[u32]) -> Result<()> {
        let same_bucket = (1..buckets.len()).filter(|row| buckets[row - 1] == buckets[*row]);
        let mut sorted = buckets.is_sorted() && self.ascends(rows, rows, same_bucket.map(|row| (row - 1, row)))?;
        if let Some((bucket, last)) = &self.last {
            sorted &=
                *bucket < buckets[0] || (*bucket == buckets[0] && self.ascends(last, rows, [(0, 0)].into_iter())?);
        }
        if !sorted {
            return Err(Error::internal(format!(
                "rows for offline table \"{id}\" do not come sorted by (bucket, keys, time)"
            )));
        }
        let end = buckets.len() - 1;
        self.last = Some((buckets[end], rows.slice(end, 1)));
        Ok(())
    }

    /// Whether of every pair of rows the one of `left` is not behind that of `right`.
    fn ascends(
        &self,
        left: &RecordBatch,
        right: &RecordBatch,
        mut pairs: impl Iterator<Item = (usize, usize)>,
    ) -> Result<bool> {
        let columns = self.keys.iter().chain([&self.time]);
        let comparators = columns
            .map(|column| comparator(left.column(*column), right.column(*column)))
            .collect::<Result<Vec<Comparator>>>()?;
        Ok(pairs.all(|(a, b)| {
            let unequal = comparators.iter().map(|compare| compare(a, b)).find(|order| order.is_ne());
            unequal.is_none_or(|order| order.is_lt())
        }))
    }
}

type Comparator = Box<dyn Fn(usize, usize) -> std::cmp::Ordering + Send + Sync>;

/// Like Arrow's, but with SQL's order of floats, in which -0 equals 0.
fn comparator(left: &ArrayRef, right: &ArrayRef) -> Result<Comparator> {
    match left.data_type() {
        DataType::Float64 => {
            let (left, right) =
                (left.as_primitive::<Float64Type>().clone(), right.as_primitive::<Float64Type>().clone());
            Ok(Box::new(move |a, b| compare_floats(left.value(a), right.value(b))))
        }
        DataType::Float32 => {
            let (left, right) =
                (left.as_primitive::<Float32Type>().clone(), right.as_primitive::<Float32Type>().clone());
            Ok(Box::new(move |a, b| compare_floats(left.value(a).into(), right.value(b).into())))
        }
        _ => make_comparator(left, right, SortOptions::default())
            .map_err(|error| Error::internal("key columns cannot be compared").with_source(error)),
    }
}

/// The table's columns of `batch`, by name, in the types of its files. Only types that are stored alike are
/// converted into each other, such as the several forms of text.
fn conform(table: &OfflineTable, batch: &RecordBatch) -> Result<RecordBatch> {
    for field in batch.schema_ref().fields() {
        if field.name() != BUCKET_COLUMN && table.schema.field_with_name(field.name()).is_err() {
            return Err(Error::new(
                Kind::UndefinedColumn,
                format!("column \"{}\" is not in the offline table", field.name()),
            ));
        }
    }
    let columns = table.schema.fields().iter().zip(table.file_schema.fields()).map(|(asked, in_file)| {
        let name = asked.name();
        let column = batch.column_by_name(name).ok_or_else(|| {
            Error::new(Kind::UndefinedColumn, format!("column \"{name}\" of the offline table is missing"))
        })?;
        if !asked.is_nullable() {
            not_null(name, column)?;
        }
        let given = column.data_type();
        let alike = matches!(given, DataType::Struct(_) | DataType::List(_))
            || normalize_type(given).as_ref() == Some(asked.data_type());
        let mismatch = || {
            let message = format!("column \"{name}\" is of type {given}, not {}", asked.data_type());
            Error::new(Kind::DatatypeMismatch, message)
        };
        if !alike {
            return Err(mismatch());
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, asked.data_type(), &options)
            .and_then(|column| cast_with_options(&column, in_file.data_type(), &options))
            .map_err(|error| mismatch().with_source(error))
    });
    RecordBatch::try_new(Arc::clone(&table.file_schema), columns.collect::<Result<Vec<_>>>()?).map_err(|error| {
        Error::new(Kind::NotNullViolation, format!("rows do not fit the offline table: {error}")).with_source(error)
    })
}

fn not_null(name: &str, column: &ArrayRef) -> Result<()> {
    if column.null_count() == 0 {
        return Ok(());
    }
    Err(Error::new(Kind::NotNullViolation, format!("column \"{name}\" of an offline table may not be NULL")))
}

fn given_buckets(column: &ArrayRef, bucket_count: u32) -> Result<Vec<u32>> {
    let wrong = || Error::internal(format!("column {BUCKET_COLUMN} is not an Int32 from 0 to {bucket_count}"));
    let buckets = column.as_primitive_opt::<Int32Type>().filter(|column| column.null_count() == 0).ok_or_else(wrong)?;
    let checked =
        buckets.values().iter().map(|bucket| u32::try_from(*bucket).ok().filter(|bucket| *bucket < bucket_count));
    checked.collect::<Option<Vec<u32>>>().ok_or_else(wrong)
}

/// The first day of the month of `time_us`, in days since 1970.
pub(super) fn month_of(time_us: i64) -> Result<i32> {
    let days = floor_us(time_us, DAY_US) / DAY_US;
    let date = i32::try_from(days).ok().and_then(NaiveDate::from_epoch_days);
    // what Delta and the file formats around it can write down
    let date = date.filter(|date| (1..=9999).contains(&date.year())).ok_or_else(|| {
        Error::new(Kind::DatetimeFieldOverflow, "a timestamp outside of the years 1 to 9999 cannot be stored offline")
    })?;
    Ok(date.with_day(1).expect("every month has a first day").to_epoch_days())
}

/// Files are read far more often than they are written, and mostly decoded: 1 M rows of a key, a time, an arrival, two
/// floats and a word took half the time of ZSTD with dictionaries for 4 % more bytes.
fn writer_properties(file_schema: &SchemaRef, layout: &Layout) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::LZ4_RAW)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_created_by(format!("granary {}", env!("CARGO_PKG_VERSION")));
    for field in file_schema.fields() {
        let path = ColumnPath::new(vec![field.name().clone()]);
        let encoding = match field.data_type() {
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => {
                Encoding::DELTA_BINARY_PACKED
            }
            // numbers and states seldom repeat
            DataType::Float32 | DataType::Float64 | DataType::Binary => Encoding::PLAIN,
            _ => continue,
        };
        builder = builder.set_column_dictionary_enabled(path.clone(), false).set_column_encoding(path, encoding);
    }
    let Layout::Keyed { time_column, key_columns, .. } = layout else { return builder.build() };
    for key in key_columns {
        let path = ColumnPath::new(vec![key.clone()]);
        builder = builder
            .set_column_bloom_filter_fpp(path.clone(), BLOOM_FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(path, BLOOM_KEYS);
    }
    let sorting = key_columns.iter().chain([time_column]).map(|name| SortingColumn {
        column_idx: leaf_index(file_schema, name),
        descending: false,
        nulls_first: false,
    });
    builder.set_sorting_columns(Some(sorting.collect())).build()
}

/// Parquet counts leaves, not columns.
fn leaf_index(schema: &SchemaRef, name: &str) -> i32 {
    fn leaves(data_type: &DataType) -> usize {
        match data_type {
            DataType::List(item) => leaves(item.data_type()),
            DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
            _ => 1,
        }
    }
    let before = schema.fields().iter().take_while(|field| field.name() != name);
    i32::try_from(before.map(|field| leaves(field.data_type())).sum::<usize>()).expect("a table has fewer columns")
}
