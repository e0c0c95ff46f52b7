//! One write: new files, then what a replaced range leaves of old ones, then the commit. And the sweeping after it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use deltalake::kernel::Add;
use deltalake::protocol::SaveMode;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use tokio_util::sync::CancellationToken;

use super::durable::UNFINISHED;
use super::errors::{damaged, table_error};
use super::log::{self, Change, ChangeKind, Snapshot};
use super::places::{self, Places};
use super::reader::StoredFile;
use super::writer::{Limits, Partition, TableWriter};
use super::{BUCKET_COLUMN, BatchStream, DataFile, Layout, MONTH_COLUMN, Rewrite, Write, WriteKind, WriteOutcome};
use crate::error::{Error, Kind, Result};

/// Files on disk that wait for their commit.
pub(super) struct Prepared {
    pub(super) change: Change,
    /// that came in
    pub(super) rows: u64,
}

/// What a write does to the files that are there.
#[derive(Debug, PartialEq, Eq)]
struct Fate<'a> {
    removed: Vec<&'a DataFile>,
    /// Removed too, but some of their rows stay.
    cut: Vec<&'a DataFile>,
}

/// Writes all files of `write`. `None`: its application transaction has been applied before.
pub(super) async fn prepare(snapshot: &Snapshot, write: Write, limits: Limits) -> Result<Option<Prepared>> {
    let Write { kind, batches, transaction, removed, cancel } = write;
    if let Some((app_id, version)) = &transaction
        && snapshot.transaction_version(app_id).await?.is_some_and(|applied| applied >= *version)
    {
        return Ok(None);
    }
    let mut fate = fate(snapshot, kind)?;
    fate.cut.extend(places::files_of(snapshot, &removed)?);
    let mut writer = TableWriter::new(Arc::clone(&snapshot.table), snapshot.files(), limits);
    let written = write_files(snapshot, &mut writer, (kind, &removed), &fate, batches, &cancel).await;
    let add = match written {
        Ok(add) => add,
        Err(error) => {
            writer.abort().await;
            return Err(error);
        }
    };
    let rows = writer.rows();
    let remove: HashSet<PathBuf> = fate.removed.iter().chain(&fate.cut).map(|file| file.path.clone()).collect();
    let mode = if remove.is_empty() && kind == WriteKind::Append { SaveMode::Append } else { SaveMode::Overwrite };
    Ok(Some(Prepared { change: Change { kind: ChangeKind::Write(mode), add, remove, transaction }, rows }))
}

/// Writes all files of `rewrite`. `None`: one of its files is not there any more, or a plain table has grown since.
pub(super) async fn prepare_rewrite(snapshot: &Snapshot, rewrite: Rewrite, limits: Limits) -> Result<Option<Prepared>> {
    let Rewrite { files, batches, cancel } = rewrite;
    let remove: HashSet<PathBuf> = files.into_iter().collect();
    let found: Vec<&DataFile> = snapshot.table.files.iter().filter(|file| remove.contains(&file.path)).collect();
    let last = snapshot.table.files.iter().rev().take(remove.len());
    let in_place = snapshot.table.layout != Layout::Plain || last.eq(found.iter().rev().copied());
    if found.len() < remove.len() || !in_place {
        return Ok(None);
    }
    let mut writer = TableWriter::new(Arc::clone(&snapshot.table), snapshot.files(), limits);
    let written = async {
        write_batches(&mut writer, batches, &cancel).await?;
        let add = writer.finish().await?;
        check_rewritten(&found, &add, writer.rows())?;
        if cancel.is_cancelled() { Err(canceled()) } else { Ok(add) }
    };
    match written.await {
        Ok(mut add) => {
            add.iter_mut().for_each(|file| file.data_change = false);
            let change = Change { kind: ChangeKind::Rewrite, add, remove, transaction: None };
            Ok(Some(Prepared { change, rows: writer.rows() }))
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// The last look before files are given up: as many rows, in the same partition.
fn check_rewritten(found: &[&DataFile], add: &[Add], rows: u64) -> Result<()> {
    // a program that rewrote a file need not have said how many rows it has
    let known = found.iter().all(|file| file.rows > 0);
    let before: u64 = found.iter().map(|file| file.rows).sum();
    if known && before != rows {
        return Err(Error::internal(format!("{before} rows were to be rewritten, and {rows} have come")));
    }
    let partition = |file: &&DataFile| Some(log::partition_values(file.bucket?, file.month?).map(|(_, value)| value));
    let old: HashSet<_> = found.iter().filter_map(partition).collect();
    let value = |file: &Add, column: &str| file.partition_values.get(column).cloned().flatten();
    let new = |file: &Add| Some([value(file, BUCKET_COLUMN)?, value(file, MONTH_COLUMN)?]);
    if add.iter().filter_map(new).any(|partition| !old.contains(&partition)) {
        return Err(Error::internal("rewritten rows are in another bucket or month"));
    }
    Ok(())
}

/// Makes the files count. The second value is the new version; `None` if it has to be loaded.
pub(super) async fn commit(snapshot: &Snapshot, prepared: Prepared) -> Result<(WriteOutcome, Option<Snapshot>)> {
    let Prepared { change, rows } = prepared;
    let (files_added, files_removed) = (change.add.len(), change.remove.len());
    let outcome = |version| WriteOutcome { version, applied: true, rows_written: rows, files_added, files_removed };
    if files_added == 0 && files_removed == 0 && change.transaction.is_none() {
        return Ok((outcome(snapshot.table.version), Some(snapshot.clone())));
    }
    let (version, after) = snapshot.commit(change).await?;
    Ok((outcome(version), after))
}

fn fate(snapshot: &Snapshot, kind: WriteKind) -> Result<Fate<'_>> {
    let files = &snapshot.table.files;
    match kind {
        WriteKind::Append => Ok(Fate { removed: Vec::new(), cut: Vec::new() }),
        WriteKind::ReplaceAll => Ok(Fate { removed: files.iter().collect(), cut: Vec::new() }),
        WriteKind::ReplaceRange { .. } if snapshot.table.layout == Layout::Plain => {
            Err(Error::internal("only keyed offline tables have ranges of time"))
        }
        WriteKind::ReplaceRange { start_us, end_us } => Ok(split_by_range(files, start_us, end_us)),
    }
}

fn split_by_range(files: &[DataFile], start_us: i64, end_us: i64) -> Fate<'_> {
    let mut fate = Fate { removed: Vec::new(), cut: Vec::new() };
    for file in files {
        // an unknown bound may be anywhere
        let min = file.min_time_us.unwrap_or(i64::MIN);
        let max = file.max_time_us.unwrap_or(i64::MAX);
        let known = file.min_time_us.is_some() && file.max_time_us.is_some();
        if max < start_us || min >= end_us || start_us >= end_us {
            continue;
        } else if known && min >= start_us && max < end_us {
            fate.removed.push(file);
        } else {
            fate.cut.push(file);
        }
    }
    fate
}

async fn write_files(
    snapshot: &Snapshot,
    writer: &mut TableWriter,
    (kind, gone): (WriteKind, &Places),
    fate: &Fate<'_>,
    batches: BatchStream,
    cancel: &CancellationToken,
) -> Result<Vec<Add>> {
    // what stays is listed before what is new
    for file in &fate.cut {
        if let Some(gone) = gone.get(&file.path) {
            places::copy_others(snapshot, writer, (file, gone), cancel).await?;
        }
    }
    write_batches(writer, batches, cancel).await?;
    let mut add = writer.finish().await?;
    if let WriteKind::ReplaceRange { start_us, end_us } = kind {
        for file in &fate.cut {
            copy_outside(snapshot, writer, file, start_us, end_us, cancel).await?;
            // each into its own file: the rows of two need not be in order together
            add.extend(writer.finish().await?);
        }
    }
    if cancel.is_cancelled() {
        return Err(canceled());
    }
    Ok(add)
}

async fn write_batches(writer: &mut TableWriter, mut batches: BatchStream, cancel: &CancellationToken) -> Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            next = batches.try_next() => next?,
        };
        match next {
            Some(batch) => writer.write(&batch).await?,
            None => return Ok(()),
        }
    }
}

pub(super) fn canceled() -> Error {
    Error::new(Kind::QueryCanceled, "the offline write was cancelled")
}

/// Writes the rows of `file` whose time is not in `[start_us, end_us)` again, in their order.
async fn copy_outside(
    snapshot: &Snapshot,
    writer: &mut TableWriter,
    file: &DataFile,
    start_us: i64,
    end_us: i64,
    cancel: &CancellationToken,
) -> Result<()> {
    let stays = |time_us: &i64| Some(*time_us < start_us || *time_us >= end_us);
    let outside = |_: &RecordBatch, times: &[i64]| Ok(BooleanArray::from_iter(times.iter().map(stays)));
    copy_rows(snapshot, writer, file, cancel, &outside).await
}

/// Which rows of a batch are to be copied, by the batch in file form and the times of its rows.
pub(super) type Stays<'a> = &'a (dyn Fn(&RecordBatch, &[i64]) -> Result<BooleanArray> + Sync);

/// Writes those rows of `file` that stay again, in their order.
pub(super) async fn copy_rows(
    snapshot: &Snapshot,
    writer: &mut TableWriter,
    file: &DataFile,
    cancel: &CancellationToken,
    stays: Stays<'_>,
) -> Result<()> {
    let table = &snapshot.table;
    let Layout::Keyed { time_column, .. } = &table.layout else { return Ok(()) };
    let (Some(bucket), Some(month)) = (file.bucket, file.month) else {
        return Err(damaged(&table.path, format!("\"{}\" is in no bucket or month", file.path.display())));
    };
    if !file.sorted {
        return Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("\"{}\" was rewritten by another program, which did not keep its order", file.path.display()),
        )
        .with_hint("OPTIMIZE the view, which sorts it again"));
    }
    let fail = |error| table_error("read", &file.path, error);
    let stored = stored_file(snapshot, file);
    let mut rows = ParquetRecordBatchStreamBuilder::new(stored).await.map_err(fail)?.build().map_err(fail)?;
    while let Some(batch) = rows.try_next().await.map_err(fail)? {
        if cancel.is_cancelled() {
            return Err(canceled());
        }
        let times = batch
            .column_by_name(time_column)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
            .ok_or_else(|| damaged(&table.path, format!("\"{}\" has no time column", file.path.display())))?;
        let mask = stays(&batch, times.values())?;
        let bounds = times.values().iter().zip(mask.values()).filter(|(_, stays)| *stays).map(|(time_us, _)| *time_us);
        let bounds = bounds.fold(None, |bounds: Option<(i64, i64)>, time_us| {
            let (min, max) = bounds.unwrap_or((time_us, time_us));
            Some((min.min(time_us), max.max(time_us)))
        });
        if bounds.is_none() {
            continue;
        }
        let kept = filter_record_batch(&batch, &mask)
            .and_then(|kept| kept.with_schema(Arc::clone(&table.file_schema)))
            .map_err(|error| {
                damaged(&table.path, format!("\"{}\": {error}", file.path.display())).with_source(error)
            })?;
        writer.write_part(Some(Partition { bucket, month }), &kept, bounds).await?;
        writer.bound_memory().await?;
    }
    Ok(())
}

pub(super) fn stored_file(snapshot: &Snapshot, file: &DataFile) -> StoredFile {
    let path = file.path.strip_prefix(&snapshot.table.path).unwrap_or(&file.path);
    let location = Path::from(path.to_string_lossy().as_ref());
    StoredFile { store: snapshot.files(), location, size_bytes: file.size_bytes }
}

/// Unlinks files that no commit names, last changed before `older_than_us`, except those in use.
pub(super) async fn sweep_orphans(snapshot: &Snapshot, older_than_us: i64, in_use: &HashSet<PathBuf>) -> Result<usize> {
    let mut named = relative_paths(snapshot, in_use);
    named.extend(snapshot.removed().await?.into_iter().map(|removed| removed.path));
    let orphan = |file: &ObjectMeta| {
        let path = file.location.as_ref();
        let ours = if path.starts_with("_delta_log/") { path.ends_with(UNFINISHED) } else { !named.contains(path) };
        ours && file.last_modified.timestamp_micros() < older_than_us
    };
    unlink(snapshot, orphan).await
}

/// Unlinks files that commits removed before `older_than_us`, except those in use.
pub(super) async fn vacuum(snapshot: &Snapshot, older_than_us: i64, in_use: &HashSet<PathBuf>) -> Result<usize> {
    let needed = relative_paths(snapshot, in_use);
    let removed = snapshot.removed().await?.into_iter().filter(|file| file.at_us < older_than_us);
    let removed: HashSet<String> = removed.map(|file| file.path).filter(|path| !needed.contains(path)).collect();
    unlink(snapshot, |file| removed.contains(file.location.as_ref())).await
}

/// The paths of the version's files, and of those in use, within the table.
fn relative_paths(snapshot: &Snapshot, in_use: &HashSet<PathBuf>) -> HashSet<String> {
    let table = &snapshot.table;
    let paths = table.files.iter().map(|file| &file.path).chain(in_use);
    let relative = paths.filter_map(|path| path.strip_prefix(&table.path).ok());
    relative.map(|path| path.to_string_lossy().into_owned()).collect()
}

async fn unlink(snapshot: &Snapshot, doomed: impl Fn(&ObjectMeta) -> bool) -> Result<usize> {
    let store = snapshot.files();
    let fail = |error| table_error("clean", &snapshot.table.path, error);
    let files: Vec<ObjectMeta> = store.list(None).try_collect().await.map_err(fail)?;
    let doomed: Vec<_> = files.into_iter().filter(doomed).map(|file| Ok(file.location)).collect();
    let unlinked = store.delete_stream(stream::iter(doomed).boxed());
    unlinked.try_fold(0, |count, _| async move { Ok(count + 1) }).await.map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_removes_cuts_or_leaves_a_file() {
        let file = |name: &str, times: Option<(i64, i64)>| DataFile {
            path: name.into(),
            size_bytes: 1,
            rows: 1,
            bucket: Some(0),
            month: Some(0),
            min_time_us: times.map(|times| times.0),
            max_time_us: times.map(|times| times.1),
            sorted: true,
        };
        let files = [
            file("before", Some((-9, 9))),
            file("over the start", Some((9, 10))),
            file("inside", Some((10, 19))),
            file("over the end", Some((10, 20))),
            file("around", Some((0, 30))),
            file("after", Some((20, 21))),
            file("unknown", None),
        ];
        let names =
            |files: Vec<&DataFile>| files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>();
        let fate = split_by_range(&files, 10, 20);
        assert_eq!(names(fate.removed), ["inside"]);
        assert_eq!(names(fate.cut), ["over the start", "over the end", "around", "unknown"]);
        let all = split_by_range(&files, i64::MIN, i64::MAX);
        assert_eq!((all.removed.len(), all.cut.len()), (6, 1));
        let none = split_by_range(&files, 20, 20);
        assert!(none.removed.is_empty() && none.cut.is_empty());
    }
}
