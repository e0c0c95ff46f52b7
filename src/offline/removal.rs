//! Rows of some keys out of a table: the files that have such rows are written again without them, in one commit.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use deltalake::kernel::Add;
use deltalake::protocol::SaveMode;
use futures::TryStreamExt as _;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use tokio_util::sync::CancellationToken;

use super::errors::{damaged, table_error};
use super::log::{Change, ChangeKind, Snapshot};
use super::write::{Prepared, canceled, copy_rows, stored_file};
use super::writer::{Limits, TableWriter};
use super::{DataFile, Layout, OfflineTable};
use crate::error::{Error, Result};
use crate::row::{Key, bucket_of, values_of};

/// What a removal took away.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Those of the keys that had rows.
    pub keys: HashSet<Key>,
    pub rows: u64,
}

/// Writes all files anew that have rows of the keys. No change is prepared if there are none.
pub(super) async fn prepare_removal(
    snapshot: &Snapshot,
    keys: &HashSet<Key>,
    cancel: &CancellationToken,
    limits: Limits,
) -> Result<(Option<Prepared>, Removed)> {
    let table = &snapshot.table;
    let Layout::Keyed { bucket_count, key_columns, .. } = &table.layout else {
        return Err(Error::internal("only keyed offline tables have keys"));
    };
    let buckets: HashSet<u32> = keys.iter().map(|key| bucket_of(key, *bucket_count)).collect();
    let (mut removed, mut cut) = (Removed::default(), Vec::new());
    // a file without a bucket is damaged, and the copy says so
    for file in table.files.iter().filter(|file| file.bucket.is_none_or(|bucket| buckets.contains(&bucket))) {
        let before = removed.rows;
        find_rows(snapshot, file, (key_columns, keys), cancel, &mut removed).await?;
        if removed.rows > before {
            cut.push(file);
        }
    }
    if cut.is_empty() {
        return Ok((None, removed));
    }
    let mut writer = TableWriter::new(Arc::clone(table), snapshot.files(), limits);
    match copy_others(snapshot, &mut writer, &cut, (key_columns, keys), cancel).await {
        Ok(add) => {
            let remove: HashSet<PathBuf> = cut.iter().map(|file| file.path.clone()).collect();
            let change = Change { kind: ChangeKind::Write(SaveMode::Overwrite), add, remove, transaction: None };
            Ok((Some(Prepared { change, rows: 0 }), removed))
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// The key columns of a table, and the keys that shall go.
type Doomed<'a> = (&'a [String], &'a HashSet<Key>);

/// Counts the doomed rows of a file; reads its key columns only.
async fn find_rows(
    snapshot: &Snapshot,
    file: &DataFile,
    doomed: Doomed<'_>,
    cancel: &CancellationToken,
    removed: &mut Removed,
) -> Result<()> {
    let fail = |error| table_error("read", &file.path, error);
    let builder = ParquetRecordBatchStreamBuilder::new(stored_file(snapshot, file)).await.map_err(fail)?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), doomed.0.iter().map(String::as_str));
    let mut rows = builder.with_projection(columns).build().map_err(fail)?;
    while let Some(batch) = rows.try_next().await.map_err(fail)? {
        if cancel.is_cancelled() {
            return Err(canceled());
        }
        for key in keys_of(&snapshot.table, doomed.0, &batch)? {
            if doomed.1.contains(&key) {
                removed.rows += 1;
                removed.keys.insert(key);
            }
        }
    }
    Ok(())
}

async fn copy_others(
    snapshot: &Snapshot,
    writer: &mut TableWriter,
    cut: &[&DataFile],
    doomed: Doomed<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Add>> {
    let stays = |batch: &RecordBatch, _: &[i64]| -> Result<BooleanArray> {
        let keys = keys_of(&snapshot.table, doomed.0, batch)?;
        Ok(BooleanArray::from_iter(keys.iter().map(|key| Some(!doomed.1.contains(key)))))
    };
    let mut add = Vec::new();
    for file in cut {
        copy_rows(snapshot, writer, file, cancel, &stays).await?;
        // each into its own file: the rows of two need not be in order together
        add.extend(writer.finish().await?);
    }
    if cancel.is_cancelled() { Err(canceled()) } else { Ok(add) }
}

/// The keys of a file's rows.
fn keys_of(table: &OfflineTable, key_columns: &[String], batch: &RecordBatch) -> Result<Vec<Key>> {
    let columns = key_columns.iter().map(|name| match batch.column_by_name(name) {
        Some(column) => values_of(column.as_ref()),
        None => Err(damaged(&table.path, format!("a file has no column \"{name}\""))),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let key = |row: usize| {
        Key::encode(columns.iter().map(|column| column[row].as_ref()))
            .ok_or_else(|| damaged(&table.path, "a stored row has a NULL key"))
    };
    (0..batch.num_rows()).map(key).collect()
}
