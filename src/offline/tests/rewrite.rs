//! Files written anew: the same rows in fewer files or in better order, or nothing at all.

use parquet::arrow::ArrowWriter;

use super::*;

fn same_partition(a: &DataFile, b: &DataFile) -> bool {
    (a.bucket, a.month) == (b.bucket, b.month)
}

/// Some files of one partition and their rows in order.
fn rewrite_of(files: &[DataFile], cancel: CancellationToken) -> (Rewrite, Vec<Row>) {
    let batches: Vec<RecordBatch> = files.iter().flat_map(read_file).collect();
    let mut rows = rows_of(&concat_batches(batches[0].schema_ref(), &batches).expect("one schema"));
    rows.sort_by_key(|row| (row.0.clone(), row.1));
    let batches = rows.chunks(3).map(batch_of).collect();
    let files = files.iter().map(|file| file.path.clone()).collect();
    (Rewrite { files, batches: stream_of(batches), cancel }, rows)
}

/// Leaves one sorted file in each partition; returns how many were rewritten.
pub(super) async fn merge_all(store: &OfflineStore) -> usize {
    let mut rewritten = 0;
    loop {
        let version = table(store, "t").await;
        let mut partitions = version.files.chunk_by(same_partition);
        let Some(files) = partitions.find(|files| files.len() > 1 || !files[0].sorted) else { return rewritten };
        let (rewrite, _) = rewrite_of(files, CancellationToken::new());
        let outcome = store.rewrite("t", rewrite).await.expect("rewrites").expect("nobody else writes");
        assert_eq!((outcome.files_removed, outcome.files_added), (files.len(), 1));
        rewritten += files.len();
    }
}

/// The newest commit of the log.
fn newest_commit(table: &OfflineTable) -> PathBuf {
    table.path.join(format!("_delta_log/{:020}.json", table.version))
}

/// Replaces a file by one with its rows in the opposite order, as a program may that knows nothing of ours.
fn rewritten_by_others(table: &OfflineTable, file: &DataFile) {
    let batches = read_file(file);
    let mut rows = rows_of(&concat_batches(batches[0].schema_ref(), &batches).expect("one schema"));
    rows.reverse();
    let relative = file.path.strip_prefix(&table.path).expect("inside").to_str().expect("UTF-8");
    let renamed = relative.replace("part-", "other-");
    let output = File::create(table.path.join(&renamed)).expect("creates");
    let mut writer = ArrowWriter::try_new(output, schema(), None).expect("begins");
    writer.write(&batch_of(&rows)).expect("writes");
    writer.close().expect("closes");
    let size = fs::metadata(table.path.join(&renamed)).expect("is there").len();
    let [bucket, month] = log::partition_values(file.bucket.expect("keyed"), file.month.expect("keyed"));
    let partition = serde_json::json!({ bucket.0: bucket.1, month.0: month.1 });
    let remove = serde_json::json!({ "remove": { "path": relative, "deletionTimestamp": 1, "dataChange": false,
        "extendedFileMetadata": true, "size": file.size_bytes, "partitionValues": partition } });
    let add = serde_json::json!({ "add": { "path": renamed, "size": size, "modificationTime": 1, "dataChange": false,
        "partitionValues": partition } });
    let commit = table.path.join(format!("_delta_log/{:020}.json", table.version + 1));
    fs::write(commit, format!("{remove}\n{add}\n")).expect("commits");
}

#[tokio::test]
async fn rewritten_files_have_the_same_rows() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    let mut random = Random(3);
    let mut model = Vec::new();
    for number in 0..30 {
        let key = ["a", "b", "c", "dd"][random.below(4) as usize];
        let rows: Vec<Row> = (0..6).map(|_| row(key, random_time(&mut random), number)).collect();
        append(&store, &rows).await;
        model.extend(rows);
    }
    model.sort();
    let before = table(&store, "t").await;
    let merged = before.files.chunk_by(same_partition).map(<[_]>::len).filter(|files| *files > 1).sum::<usize>();
    assert!(merged > 60);
    assert_eq!(merge_all(&store).await, merged);
    let after = table(&store, "t").await;
    assert_eq!(after.files.chunk_by(same_partition).count(), after.files.len());
    assert_eq!((all_rows(&after), all_rows(&before)), (model.clone(), model.clone()));
    let commit = fs::read_to_string(newest_commit(&after)).expect("a commit");
    assert!(commit.contains("\"dataChange\":false") && !commit.contains("\"dataChange\":true"), "{commit}");
    assert_eq!(merge_all(&store).await, 0);

    // a version that somebody holds stays whole
    assert_eq!(store.vacuum("t", i64::MAX).await.expect("vacuums"), 0);
    assert_eq!(all_rows(&before), model);
    drop(before);
    assert_eq!(store.vacuum("t", i64::MAX).await.expect("vacuums"), merged);
    assert_eq!(data_files(&after.path), after.files.len());
    let store = OfflineStore::open(dir.path()).expect("opens again");
    assert_eq!(all_rows(&*table(&store, "t").await), model);
}

#[tokio::test]
async fn what_is_no_rewrite_leaves_the_table_as_it_was() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    for value in 0..2 {
        append(&store, &[row("a", 1, value), row("a", 40 * DAY_US, value)]).await;
    }
    let before = table(&store, "t").await;
    let january: Vec<DataFile> = before.files.iter().filter(|file| file.month == Some(0)).cloned().collect();
    let rewrite = || rewrite_of(&january, CancellationToken::new()).0;
    let rows = rewrite_of(&january, CancellationToken::new()).1;

    let fewer = Rewrite { batches: stream_of(vec![batch_of(&rows[..1])]), ..rewrite() };
    let moved = [row("a", 40 * DAY_US, 0), row("a", 40 * DAY_US, 1)];
    let moved = Rewrite { batches: stream_of(vec![batch_of(&moved)]), ..rewrite() };
    for wrong in [fewer, moved] {
        assert_eq!(store.rewrite("t", wrong).await.expect_err("is refused").kind(), Kind::Internal);
    }
    let canceled = rewrite();
    canceled.cancel.cancel();
    assert_eq!(store.rewrite("t", canceled).await.expect_err("is cancelled").kind(), Kind::QueryCanceled);
    let endless = Rewrite { batches: stream_of(vec![batch_of(&rows)]).chain(stream::pending()).boxed(), ..rewrite() };
    let cancel = endless.cancel.clone();
    let (canceled, ()) = futures::join!(store.rewrite("t", endless), async { cancel.cancel() });
    assert_eq!(canceled.expect_err("is cancelled").kind(), Kind::QueryCanceled);
    let after = table(&store, "t").await;
    assert_eq!((after.version, data_files(&after.path)), (before.version, before.files.len()));

    // somebody was faster
    let late = rewrite();
    store.rewrite("t", rewrite()).await.expect("rewrites").expect("is there");
    assert!(store.rewrite("t", late).await.expect("nothing to do").is_none());
    assert_eq!(all_rows(&*table(&store, "t").await), all_rows(&before));
}

#[tokio::test]
async fn files_of_others_are_sorted_again() {
    let dir = tempfile::tempdir().expect("folder");
    let store = new_store(dir.path()).await;
    append(&store, &[row("a", 1, 1), row("a", 2, 2), row("a", 3, 3)]).await;
    let before = table(&store, "t").await;
    rewritten_by_others(&before, &before.files[0]);
    let store = OfflineStore::open(dir.path()).expect("opens again");
    let found = table(&store, "t").await;
    assert_eq!((found.version, found.files.len(), found.files[0].sorted), (before.version + 1, 1, false));
    assert_eq!((found.files[0].min_time_us, found.files[0].max_time_us), (None, None), "nothing was said of times");
    let cut = || Write::new(WriteKind::ReplaceRange { start_us: 2, end_us: 3 }, keyed_stream(&[]));
    let refused = store.write("t", cut()).await.expect_err("has no order");
    assert_eq!(refused.kind(), Kind::ObjectNotInPrerequisiteState);
    assert_eq!(merge_all(&store).await, 1);
    assert_eq!(all_rows(&*table(&store, "t").await), all_rows(&before));
    store.write("t", cut()).await.expect("replaces");
    assert_eq!(all_rows(&*table(&store, "t").await), [row("a", 1, 1), row("a", 3, 3)]);
}

#[tokio::test]
async fn plain_tables_are_rewritten_at_their_end_only() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OfflineStore::open(dir.path()).expect("opens");
    store.create_table("t", schema(), Layout::Plain).await.expect("creates");
    let write = |number: i64| Write::new(WriteKind::Append, stream_of(vec![batch_of(&[row("a", -number, number)])]));
    let values = async |store: &OfflineStore| {
        let batches: Vec<RecordBatch> = table(store, "t").await.files.iter().flat_map(read_file).collect();
        batches.iter().flat_map(rows_of).map(|row| row.2).collect::<Vec<_>>()
    };
    let rewrite = |files: &[DataFile]| {
        let batches: Vec<RecordBatch> = files.iter().flat_map(read_file).collect();
        let files = files.iter().map(|file| file.path.clone()).collect();
        Rewrite { files, batches: stream_of(batches), cancel: CancellationToken::new() }
    };
    for number in 0..3 {
        store.write("t", write(number)).await.expect("appends");
    }
    let early = rewrite(&table(&store, "t").await.files);
    store.write("t", write(3)).await.expect("appends");
    assert!(store.rewrite("t", early).await.expect("is left alone").is_none());
    let end = rewrite(&table(&store, "t").await.files[1..]);
    store.rewrite("t", end).await.expect("rewrites").expect("is done");
    assert_eq!((values(&store).await, table(&store, "t").await.files.len()), (vec![0, 1, 2, 3], 2));
}

#[tokio::test]
async fn removed_keys_are_gone_and_all_else_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = OfflineStore::open(folder.path()).expect("opens");
    store.create_table("t", schema(), layout()).await.expect("creates");
    let key_of = |key: &str| Key::encode([Some(&Value::Text(key.into()))]).expect("not null");
    let mut expected: Vec<Row> = Vec::new();
    for round in 0..4 {
        let rows: Vec<Row> = (0..60).map(|n| (format!("k{}", n % 9), n * 86_400_000_000 + round, n)).collect();
        let kind = WriteKind::Append;
        store.write("t", Write::new(kind, keyed_stream(&rows))).await.expect("writes");
        expected.extend(rows);
    }
    let doomed: HashSet<Key> = ["k3", "k7", "nobody"].into_iter().map(key_of).collect();
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let before = table(&store, "t").await;
    let refused = store.remove_keys("t", &doomed, &cancelled).await.expect_err("it is cancelled");
    assert_eq!(refused.kind(), Kind::QueryCanceled);
    assert_eq!(table(&store, "t").await.version, before.version);

    let removed = store.remove_keys("t", &doomed, &CancellationToken::new()).await.expect("removes");
    let gone = |row: &Row| row.0 == "k3" || row.0 == "k7";
    let rows = expected.iter().filter(|row| gone(row)).count() as u64;
    assert_eq!((removed.keys, removed.rows), (["k3", "k7"].into_iter().map(key_of).collect(), rows));
    expected.retain(|row| !gone(row));
    expected.sort();
    let after = table(&store, "t").await;
    assert_eq!(all_rows(&after), expected);
    // files of other buckets are the same ones
    let buckets = [bucket("k3"), bucket("k7"), bucket("nobody")];
    let others = |table: &OfflineTable| -> Vec<DataFile> {
        table.files.iter().filter(|file| file.bucket.is_none_or(|bucket| !buckets.contains(&bucket))).cloned().collect()
    };
    assert_eq!(others(&before), others(&after));
    drop((before, after));
    assert!(store.vacuum("t", i64::MAX).await.expect("vacuums") > 0);
    assert_eq!(data_files(&folder.path().join("t")), table(&store, "t").await.files.len());
    let again = store.remove_keys("t", &doomed, &CancellationToken::new()).await.expect("removes");
    let newest = table(&store, "t").await;
    assert_eq!((again, all_rows(&newest)), (Removed::default(), expected));
    let nothing = store.remove_keys("other", &doomed, &CancellationToken::new()).await.expect("there is no such table");
    assert_eq!(nothing, Removed::default());
}
