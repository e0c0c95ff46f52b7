//! Tables as others see them: files read back with a plain Parquet reader, against a list of rows kept beside.

mod copies;
mod crash;
mod long_log;
mod rewrite;

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, ListArray, StringArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use futures::{FutureExt as _, StreamExt as _, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use super::*;
use crate::row::{Key, Value, bucket_of};

const DAY_US: i64 = 86_400_000_000;
const BUCKETS: u32 = 3;

/// SplitMix64: a test is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A row of the tests' own table: key, time, value.
type Row = (String, i64, i64);

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, false),
        Field::new("ts", utc(), false),
        Field::new("v", DataType::Int64, true),
    ]))
}

fn layout() -> Layout {
    Layout::Keyed { time_column: "ts".into(), bucket_count: BUCKETS, key_columns: vec!["k".into()] }
}

fn bucket(key: &str) -> u32 {
    bucket_of(&Key::encode([Some(&Value::Text(key.into()))]).expect("not null"), BUCKETS)
}

fn batch_of(rows: &[Row]) -> RecordBatch {
    let keys = StringArray::from_iter_values(rows.iter().map(|row| &row.0));
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC");
    let values = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    RecordBatch::try_new(schema(), vec![Arc::new(keys), Arc::new(times), Arc::new(values)]).expect("a batch")
}

/// Sorted as a keyed table wants it, in batches of three.
fn keyed_stream(rows: &[Row]) -> BatchStream {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| (bucket(&row.0), row.0.clone(), row.1));
    let batches: Vec<Result<RecordBatch>> = rows.chunks(3).map(|rows| Ok(batch_of(rows))).collect();
    stream::iter(batches).boxed()
}

fn stream_of(batches: Vec<RecordBatch>) -> BatchStream {
    stream::iter(batches.into_iter().map(Ok)).boxed()
}

fn read_file(file: &DataFile) -> Vec<RecordBatch> {
    let opened = File::open(&file.path).expect("a data file");
    assert_eq!(opened.metadata().expect("metadata").len(), file.size_bytes);
    let reader = ParquetRecordBatchReaderBuilder::try_new(opened).expect("Parquet").build().expect("Parquet");
    reader.map(|batch| batch.expect("rows")).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let (keys, times) = (batch["k"].as_string::<i32>(), batch["ts"].as_primitive::<TimestampMicrosecondType>());
    let values = batch["v"].as_primitive::<Int64Type>();
    (0..batch.num_rows()).map(|row| (keys.value(row).to_owned(), times.value(row), values.value(row))).collect()
}

/// The rows of one file, after checking all that is promised of it.
fn checked_rows(table: &OfflineTable, file: &DataFile) -> Vec<Row> {
    let batches = read_file(file);
    let rows = rows_of(&concat_batches(&table.file_schema, &batches).expect("one schema"));
    assert_eq!(rows.len() as u64, file.rows);
    assert!(file.sorted && rows.is_sorted_by_key(|row| (row.0.clone(), row.1)), "sorted by key and time");
    assert!(rows.iter().all(|row| Some(bucket(&row.0)) == file.bucket), "one bucket");
    assert!(rows.iter().all(|row| writer::month_of(row.1).ok() == file.month), "one month");
    assert_eq!(file.min_time_us, rows.iter().map(|row| row.1).min());
    assert_eq!(file.max_time_us, rows.iter().map(|row| row.1).max());
    rows
}

fn all_rows(table: &OfflineTable) -> Vec<Row> {
    let mut rows: Vec<Row> = table.files.iter().flat_map(|file| checked_rows(table, file)).collect();
    rows.sort();
    rows
}

async fn table(store: &OfflineStore, id: &str) -> Arc<OfflineTable> {
    store.table(id).await.expect("reads").expect("is there")
}

fn data_files(folder: &Path) -> usize {
    fs::read_dir(folder).expect("lists").fold(0, |count, entry| {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        count
            + if path.is_dir() && name != "_delta_log" {
                data_files(&path)
            } else {
                usize::from(name.ends_with(".parquet") && path.is_file())
            }
    })
}

fn row(key: &str, time_us: i64, value: i64) -> Row {
    (key.to_owned(), time_us, value)
}

async fn new_store(folder: &Path) -> OfflineStore {
    let store = OfflineStore::open(folder).expect("opens");
    store.create_table("t", schema(), layout()).await.expect("creates");
    store
}

async fn append(store: &OfflineStore, rows: &[Row]) -> WriteOutcome {
    store.write("t", Write::new(WriteKind::Append, keyed_stream(rows))).await.expect("appends")
}

#[tokio::test]
async fn what_is_prepared_and_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    append(&store, &[row("a", 0, 1)]).await;
    let before = table(&store, "t").await;
    let whole = WriteKind::ReplaceRange { start_us: 0, end_us: i64::MAX };
    let rows = [row("a", 0, 2), row("b", 40 * DAY_US, 3)];
    let prepared = store.prepare("t", Write::new(whole, keyed_stream(&rows))).await.expect("prepares");
    assert_eq!(data_files(&before.path), 3, "a file for each month");
    assert_eq!(all_rows(&*table(&store, "t").await), all_rows(&before), "not seen yet");
    drop(prepared);
    assert_eq!(data_files(&before.path), 1);
    assert_eq!(append(&store, &[row("c", 0, 4)]).await.version, before.version + 1, "and others go on");
}

#[tokio::test]
async fn every_type_comes_back() {
    // with a space: locations are URLs inside
    let dir = tempfile::Builder::new().prefix("with space").tempdir().expect("folder");
    let store = OfflineStore::open(dir.path()).expect("opens");
    let us = TimeUnit::Microsecond;
    let times = TimestampMicrosecondArray::from_iter_values([-1, 0, 5 * DAY_US, 40 * DAY_US]).with_timezone("UTC");
    let items = || Time64MicrosecondArray::from(vec![Some(1), None, Some(3)]);
    let list = |items: ArrayRef| {
        let field = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1, 0, 2, 0]);
        let valid = arrow::buffer::NullBuffer::from(vec![true, true, true, false]);
        Arc::new(ListArray::try_new(field, offsets, items, Some(valid)).expect("a list")) as ArrayRef
    };
    let pair = StructArray::from(vec![
        (
            Arc::new(Field::new("x", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![Some(1), None, Some(3), None])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("y", DataType::Time64(us), true)),
            Arc::new(Time64MicrosecondArray::from(vec![4, 3, 2, 1])) as ArrayRef,
        ),
    ]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("pair", Arc::new(pair)),
        ("ts", Arc::new(times)),
        ("n", Arc::new(Int64Array::from(vec![7, 7, 7, 8]))),
        ("key", Arc::new(StringArray::from(vec!["a", "a", "b", "b"]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None]))),
        ("i2", Arc::new(Int16Array::from(vec![Some(-1), None, Some(3), None]))),
        ("i4", Arc::new(Int32Array::from(vec![Some(-1), None, Some(3), None]))),
        ("f4", Arc::new(Float32Array::from(vec![Some(0.5), None, Some(f32::NAN), None]))),
        ("f8", Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::INFINITY), None]))),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![Some(-5), None, Some(12345), None])
                    .with_precision_and_scale(20, 2)
                    .expect("fits"),
            ),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("é\0"), None, Some(""), Some(&"x".repeat(200))]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b""), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(-1), None, Some(20_000), None]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(0), None, Some(DAY_US - 1), None]))),
        ("local", Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), None, Some(i64::MAX), None]))),
        ("numbers", list(Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])))),
        ("words", list(Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])))),
        ("times", list(Arc::new(items()))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), !["ts", "n", "key"].contains(name)))
        .collect();
    let asked = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&asked), columns.into_iter().map(|(_, column)| column).collect())
        .expect("a batch");
    let key_columns = vec!["key".to_owned(), "n".to_owned()];
    let layout = Layout::Keyed { time_column: "ts".into(), bucket_count: 1, key_columns };
    for (id, layout) in [("keyed", layout), ("plain", Layout::Plain)] {
        store.create_table(id, Arc::clone(&asked), layout.clone()).await.expect("creates");
        store.create_table(id, Arc::clone(&asked), layout.clone()).await.expect("is there");
        let other = store.create_table(id, schema(), Layout::Plain).await.expect_err("another");
        assert_eq!(other.kind(), Kind::DuplicateTable);
        let outcome =
            store.write(id, Write::new(WriteKind::Append, stream_of(vec![batch.clone()]))).await.expect("writes");
        assert_eq!((outcome.rows_written, outcome.applied), (4, true));
        for store in [&store, &OfflineStore::open(dir.path()).expect("opens again")] {
            let table = table(store, id).await;
            assert_eq!((&table.schema, &table.layout), (&asked, &layout));
            // months: 1969-12, 1970-01, 1970-02
            assert_eq!(table.files.len(), if layout == Layout::Plain { 1 } else { 3 });
            let parts: Vec<RecordBatch> = table.files.iter().flat_map(read_file).collect();
            let found = concat_batches(&table.file_schema, &parts).expect("one schema");
            for (index, field) in asked.fields().iter().enumerate() {
                let column = cast(found.column(index), field.data_type()).expect("casts");
                assert_eq!(&column, batch.column(index), "column {}", field.name());
            }
        }
    }
    let table = table(&store, "keyed").await;
    for file in &table.files {
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let reader =
            SerializedFileReader::new_with_options(File::open(&file.path).expect("opens"), options).expect("reads");
        let metadata = reader.metadata();
        assert!(metadata.column_index().is_some() && metadata.offset_index().is_some());
        let group = metadata.row_group(0);
        let sorting = group.sorting_columns().expect("sorting columns");
        // leaves: pair.x 0, pair.y 1, ts 2, n 3, key 4
        assert_eq!(sorting.iter().map(|column| column.column_idx).collect::<Vec<_>>(), [4, 3, 2]);
        for leaf in 0..group.num_columns() {
            let column = group.column(leaf);
            assert_eq!(column.compression(), Compression::LZ4_RAW);
            assert_eq!(column.bloom_filter_offset().is_some(), [3, 4].contains(&leaf), "leaf {leaf}");
        }
    }
}

#[tokio::test]
async fn other_forms_of_a_type_are_converted_and_other_types_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let write = |columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        store.write("t", Write::new(WriteKind::Append, stream_of(vec![batch])))
    };
    let keys = || Arc::new(StringViewArray::from(vec!["a"])) as ArrayRef;
    let nanos =
        || Arc::new(arrow::array::TimestampNanosecondArray::from(vec![7000]).with_timezone("+00:00")) as ArrayRef;
    let values = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    // in any order of columns, with the bucket given
    let buckets = |bucket: i32| Arc::new(Int32Array::from(vec![bucket])) as ArrayRef;
    write(vec![("v", values()), ("_bucket", buckets(bucket("a") as i32)), ("ts", nanos()), ("k", keys())])
        .await
        .expect("writes");
    assert_eq!(all_rows(&*table(&store, "t").await), [row("a", 7, 1)]);
    let refused = |error: Result<WriteOutcome>| error.expect_err("refused").kind();
    assert_eq!(refused(write(vec![("k", keys()), ("ts", nanos())]).await), Kind::UndefinedColumn);
    assert_eq!(
        refused(write(vec![("k", keys()), ("ts", nanos()), ("v", values()), ("w", values())]).await),
        Kind::UndefinedColumn
    );
    assert_eq!(refused(write(vec![("k", keys()), ("ts", nanos()), ("v", keys())]).await), Kind::DatatypeMismatch);
    assert_eq!(
        refused(write(vec![("k", keys()), ("ts", nanos()), ("v", values()), ("_bucket", buckets(3))]).await),
        Kind::Internal
    );
    let wrong = (bucket("a") as i32 + 1) % BUCKETS as i32;
    assert_eq!(
        refused(write(vec![("k", keys()), ("ts", nanos()), ("v", values()), ("_bucket", buckets(wrong))]).await),
        Kind::Internal
    );
    let null = || Arc::new(StringArray::from(vec![None::<&str>])) as ArrayRef;
    assert_eq!(refused(write(vec![("k", null()), ("ts", nanos()), ("v", values())]).await), Kind::NotNullViolation);
    let far = Arc::new(TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC")) as ArrayRef;
    assert_eq!(refused(write(vec![("k", keys()), ("ts", far), ("v", values())]).await), Kind::DatetimeFieldOverflow);
    assert_eq!(table(&store, "t").await.files.len(), 1);
    assert_eq!(data_files(&dir.path().join("t")), 1, "what a failed write began is removed");
}

#[tokio::test]
async fn unsorted_rows_are_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let same: Vec<&str> =
        ["a", "b", "c", "d", "e", "f", "g", "h"].into_iter().filter(|key| bucket(key) == bucket("a")).collect();
    let (first, second) = (same[0], same[1]);
    let lower = ["a", "b", "c", "d", "e", "f"].into_iter().min_by_key(|key| bucket(key)).expect("some");
    let higher = ["a", "b", "c", "d", "e", "f"].into_iter().max_by_key(|key| bucket(key)).expect("some");
    for (before, after) in [
        (row(second, 1, 0), row(first, 2, 0)),
        (row(first, 2, 0), row(first, 1, 0)),
        (row(higher, 1, 0), row(lower, 1, 0)),
    ] {
        let together = vec![batch_of(&[before.clone(), after.clone()])];
        for batches in [together, vec![batch_of(&[before]), batch_of(&[after])]] {
            let refused =
                store.write("t", Write::new(WriteKind::Append, stream_of(batches))).await.expect_err("unsorted");
            assert_eq!(refused.kind(), Kind::Internal);
        }
    }
    append(&store, &[row(first, 1, 0), row(first, 1, 1), row(second, 0, 0), row(higher, 0, 0)]).await;
}

/// Around the first instants of months, before and after 1970.
fn random_time(random: &mut Random) -> i64 {
    const MONTH_STARTS: [i64; 6] = [-62, -31, 0, 31, 59, 19_783];
    let near = [-1, 0, 1, 999, -1001, DAY_US, -DAY_US, 5 * DAY_US];
    MONTH_STARTS[random.below(6) as usize] * DAY_US + near[random.below(8) as usize]
}

#[tokio::test]
async fn random_writes_end_like_a_list() {
    for seed in 0..5 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().expect("folder");
        let mut store = new_store(dir.path()).await;
        let mut model: Vec<Row> = Vec::new();
        for step in 0..45 {
            let rows: Vec<Row> = (0..random.below(25))
                .map(|_| {
                    row(
                        ["", "a", "b", "c", "dd", "\0", "é"][random.below(7) as usize],
                        random_time(&mut random),
                        random.below(1000) as i64,
                    )
                })
                .collect();
            let kind = match random.below(10) {
                0..5 => WriteKind::Append,
                9 if step > 20 => WriteKind::ReplaceAll,
                _ => {
                    let (a, b) = (random_time(&mut random), random_time(&mut random));
                    let start_us = if random.below(5) == 0 { i64::MIN } else { a.min(b) };
                    WriteKind::ReplaceRange { start_us, end_us: a.max(b) }
                }
            };
            let rows: Vec<Row> = match kind {
                WriteKind::ReplaceRange { start_us, end_us } => {
                    rows.into_iter().filter(|row| (start_us..end_us).contains(&row.1)).collect()
                }
                _ => rows,
            };
            let limits = if seed == 0 {
                writer::Limits { buffered_bytes: 1, open_files: 2, file_bytes: 1 }
            } else {
                writer::LIMITS
            };
            let snapshot = store.newest("t", &store.slot("t")).await.expect("reads").expect("is there");
            let prepared =
                write::prepare(&snapshot, Write::new(kind, keyed_stream(&rows)), limits).await.expect("writes");
            let old = Arc::clone(&snapshot.table);
            let (outcome, after) =
                write::commit(&snapshot, prepared.expect("not applied before")).await.expect("commits");
            store.slot("t").publish(after);
            assert_eq!(outcome.rows_written, rows.len() as u64);
            let before = model.clone();
            model.retain(|row| match kind {
                WriteKind::Append => true,
                WriteKind::ReplaceRange { start_us, end_us } => !(start_us..end_us).contains(&row.1),
                WriteKind::ReplaceAll => false,
            });
            model.extend(rows);
            model.sort();
            assert_eq!(all_rows(&*table(&store, "t").await), model, "seed {seed} step {step} {kind:?}");
            assert_eq!(all_rows(&old), before, "the version before is still readable");
            drop((old, snapshot));
            match random.below(8) {
                0 => store = OfflineStore::open(dir.path()).expect("opens again"),
                1 => {
                    store.vacuum("t", i64::MAX).await.expect("vacuums");
                    assert_eq!(data_files(&dir.path().join("t")), table(&store, "t").await.files.len());
                }
                _ => {}
            }
        }
        let version = table(&store, "t").await.version;
        assert!(version > 20, "checkpoints were made");
        let store = OfflineStore::open(dir.path()).expect("opens again");
        assert_eq!(all_rows(&*table(&store, "t").await), model);
        assert!(dir.path().join("t/_delta_log/00000000000000000019.checkpoint.parquet").exists());
    }
}

#[tokio::test]
async fn plain_tables_keep_the_order_of_their_commits() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OfflineStore::open(dir.path()).expect("opens");
    store.create_table("t", schema(), Layout::Plain).await.expect("creates");
    for number in 0..25 {
        let batches = vec![batch_of(&[row("z", -number, number), row("a", i64::MAX, number)])];
        store.write("t", Write::new(WriteKind::Append, stream_of(batches))).await.expect("appends");
    }
    for store in [&store, &OfflineStore::open(dir.path()).expect("opens again")] {
        let table = table(store, "t").await;
        let batches: Vec<RecordBatch> = table.files.iter().flat_map(read_file).collect();
        let all = concat_batches(&schema(), &batches).expect("one schema");
        let expected: Vec<i64> = (0..25).flat_map(|number| [number, number]).collect();
        assert_eq!(all["v"].as_primitive::<Int64Type>().values().to_vec(), expected);
    }
    let range = WriteKind::ReplaceRange { start_us: 0, end_us: 1 };
    let refused = store.write("t", Write::new(range, stream_of(Vec::new()))).await.expect_err("has no time");
    assert_eq!(refused.kind(), Kind::Internal);
    store.write("t", Write::new(WriteKind::ReplaceAll, stream_of(Vec::new()))).await.expect("empties");
    assert!(table(&store, "t").await.files.is_empty());
}

#[tokio::test]
async fn a_transaction_is_applied_once() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let polled = Arc::new(AtomicUsize::new(0));
    let write = |app: &str, version: i64| {
        let polled = Arc::clone(&polled);
        let batches = stream::once(async move {
            polled.fetch_add(1, Ordering::Relaxed);
            Ok(batch_of(&[row("a", version, version)]))
        });
        Write::new(WriteKind::Append, batches.boxed()).with_transaction(app, version)
    };
    assert!(store.write("t", write("log", 5)).await.expect("writes").applied);
    for version in [5, 4, -1] {
        let outcome = store.write("t", write("log", version)).await.expect("is known");
        assert_eq!((outcome.applied, outcome.version, outcome.rows_written), (false, 1, 0));
    }
    assert_eq!(polled.load(Ordering::Relaxed), 1, "a known one is not even read");
    for _ in 0..30 {
        append(&store, &[]).await;
        append(&store, &[row("b", 0, 0)]).await;
    }
    let store = OfflineStore::open(dir.path()).expect("opens again");
    assert!(!store.write("t", write("log", 5)).await.expect("survives a checkpoint").applied);
    assert!(store.write("t", write("other", 5)).await.expect("writes").applied);
    let empty = Write::new(WriteKind::Append, stream_of(Vec::new())).with_transaction("log", 6);
    assert!(store.write("t", empty).await.expect("commits without rows").applied);
    assert!(!store.write("t", write("log", 6)).await.expect("is known").applied);
}

#[tokio::test]
async fn readers_do_not_wait_and_writers_queue() {
    let dir = tempfile::tempdir().expect("folder");
    let store = Arc::new(new_store(dir.path()).await);
    append(&store, &[row("a", 1, 1)]).await;
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    let slow = async move {
        receiver.await.expect("told to go on");
        Ok(batch_of(&[row("a", 2, 2)]))
    };
    let cancel = CancellationToken::new();
    let slow = Write::new(WriteKind::Append, stream::once(slow).boxed());
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.write("t", slow).await }
    });
    let mut others = Vec::new();
    for value in 10..16 {
        let store = Arc::clone(&store);
        others.push(tokio::spawn(async move { append(&store, &[row("b", value, value)]).await }));
    }
    tokio::task::yield_now().await;
    let fresh = OfflineStore::open(dir.path()).expect("opens beside");
    assert_eq!(all_rows(&*table(&store, "t").await), all_rows(&*table(&fresh, "t").await));
    sender.send(()).expect("it waits");
    let first = writing.await.expect("runs").expect("writes");
    let mut versions = vec![first.version];
    for other in others {
        versions.push(other.await.expect("runs").version);
    }
    versions.sort_unstable();
    assert_eq!(versions, [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(table(&store, "t").await.files.iter().map(|file| file.rows).sum::<u64>(), 8);

    // cancelled, failed and forgotten writes leave nothing, and the next one is free to go
    let before = data_files(&dir.path().join("t"));
    let rows = stream_of(vec![batch_of(&[row("a", 3, 3)])]).chain(stream::pending()).boxed();
    let canceled = store.write("t", Write::new(WriteKind::ReplaceAll, rows).with_cancel(cancel.clone()));
    let (canceled, ()) = futures::join!(canceled, async { cancel.cancel() });
    assert_eq!(canceled.expect_err("cancelled").kind(), Kind::QueryCanceled);
    let failing = stream::iter([Ok(batch_of(&[row("a", 3, 3)])), Err(Error::new(Kind::DivisionByZero, "no"))]).boxed();
    let failed = store.write("t", Write::new(WriteKind::ReplaceAll, failing)).await;
    assert_eq!(failed.expect_err("fails").kind(), Kind::DivisionByZero);
    assert_eq!(data_files(&dir.path().join("t")), before);
    let forgotten = store.write("t", Write::new(WriteKind::ReplaceAll, stream::pending().boxed())).now_or_never();
    assert!(forgotten.is_none());
    append(&store, &[row("c", 1, 1)]).await;
    assert_eq!(table(&store, "t").await.version, 9);
}

#[tokio::test]
async fn dropped_tables_and_odd_names() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    append(&store, &[row("a", 1, 1)]).await;
    store.drop_table("t").await.expect("drops");
    store.drop_table("t").await.expect("is gone");
    assert!(store.table("t").await.expect("reads").is_none());
    assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 0);
    let write = Write::new(WriteKind::Append, keyed_stream(&[]));
    assert_eq!(store.write("t", write).await.expect_err("no table").kind(), Kind::UndefinedTable);
    assert_eq!(store.sweep_orphans("t").await.expect("nothing to do"), 0);
    for id in ["", "..", ".x", "a/b", "a b", "ä"] {
        assert_eq!(store.table(id).await.expect_err("no name").kind(), Kind::InvalidName, "{id}");
    }
    store.create_table("t", schema(), Layout::Plain).await.expect("may come back different");
    fs::create_dir_all(dir.path().join(".dropped-x/deep")).expect("what a crash leaves");
    // a folder without a commit is no table yet
    fs::create_dir_all(dir.path().join("half/_delta_log")).expect("what a crash leaves");
    let store = OfflineStore::open(dir.path()).expect("opens again");
    assert!(!dir.path().join(".dropped-x").exists());
    assert!(store.table("half").await.expect("reads").is_none());
    store.create_table("half", schema(), layout()).await.expect("creates");
}

#[tokio::test]
async fn damage_names_the_table() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    append(&store, &[row("a", 1, 1), row("a", 5, 1)]).await;
    let commit = dir.path().join("t/_delta_log/00000000000000000001.json");
    let text = fs::read(&commit).expect("a commit");
    for damage in [&text[..text.len() / 2], b"not JSON", b"{}{"] {
        fs::write(&commit, damage).expect("damages");
        let store = OfflineStore::open(dir.path()).expect("opens");
        let error = store.table("t").await.expect_err("damaged");
        assert_eq!(error.kind(), Kind::DataCorrupted, "{error:?}");
        assert!(error.message().contains("/t\""), "{error:?}");
    }
    fs::write(&commit, text).expect("mends");
    let store = OfflineStore::open(dir.path()).expect("opens");
    let file = table(&store, "t").await.files[0].path.clone();
    let cut = || Write::new(WriteKind::ReplaceRange { start_us: 0, end_us: 3 }, keyed_stream(&[]));
    fs::write(&file, "PAR1").expect("damages");
    assert_eq!(store.write("t", cut()).await.expect_err("damaged").kind(), Kind::DataCorrupted);
    fs::remove_file(&file).expect("removes");
    let error = store.write("t", cut()).await.expect_err("missing");
    assert_eq!(error.kind(), Kind::DataCorrupted, "{error:?}");
}

#[tokio::test]
async fn only_orphans_from_before_are_swept() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    append(&store, &[row("a", 1, 1)]).await;
    append(&store, &[row("b", 1, 1)]).await;
    let removed = table(&store, "t").await.files[0].path.clone();
    let range = WriteKind::ReplaceRange { start_us: 1, end_us: 2 };
    store.write("t", Write::new(range, keyed_stream(&[row("c", 1, 1)]))).await.expect("replaces");
    let table = table(&store, "t").await;
    let old = ["_bucket=0/_month=1970-01-01/part-x.parquet", "part-y.parquet", "_delta_log/.z.json.1.unfinished"];
    for (name, time) in [(old[0], 1), (old[1], 1), (old[2], 1), ("young.parquet", i64::MAX)] {
        let path = table.path.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        let file = File::create(&path).expect("creates");
        if time == 1 {
            file.set_modified(std::time::UNIX_EPOCH).expect("makes it old");
        }
    }
    // as if all that the table knows were old, too
    for path in table.files.iter().map(|file| &file.path).chain([&removed]) {
        File::options()
            .append(true)
            .open(path)
            .expect("opens")
            .set_modified(std::time::UNIX_EPOCH)
            .expect("makes it old");
    }
    assert_eq!(store.sweep_orphans("t").await.expect("sweeps"), 3);
    assert!(table.path.join("young.parquet").exists() && old.iter().all(|name| !table.path.join(name).exists()));
    assert!(removed.exists(), "a reader may still need what a commit removed");
    assert_eq!(store.vacuum("t", 0).await.expect("nothing is that old"), 0);
    assert_eq!(store.vacuum("t", i64::MAX).await.expect("vacuums"), 2);
    assert!(!removed.exists());
    assert_eq!(all_rows(&table), [row("c", 1, 1)]);
}
