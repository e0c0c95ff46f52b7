//! Rows by their place: a file of the table and a number in it. Files never change, so a place is that of one row as long
//! as its file is part of the table. Rows at some places go out of a plain table in one commit.

use std::collections::HashMap;
use std::path::PathBuf;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt as _;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use tokio_util::sync::CancellationToken;

use super::errors::{damaged, table_error};
use super::log::Snapshot;
use super::write::{canceled, stored_file};
use super::writer::TableWriter;
use super::{BatchStream, DataFile, OfflineTable};
use crate::error::{Error, Kind, Result};

/// Some rows of one file, by their numbers in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowNumbers {
    bits: Vec<u64>,
    count: u64,
}

impl RowNumbers {
    /// False if it was there already.
    pub fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = (usize::try_from(number / 64).unwrap_or(usize::MAX), 1 << (number % 64));
        if word >= self.bits.len() {
            self.bits.resize(word + 1, 0);
        }
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub fn contains(&self, number: u64) -> bool {
        let word = usize::try_from(number / 64).ok().and_then(|word| self.bits.get(word));
        word.is_some_and(|word| word & (1 << (number % 64)) != 0)
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn extend(&mut self, other: &RowNumbers) {
        if other.bits.len() > self.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        self.bits.iter_mut().zip(&other.bits).for_each(|(word, other)| *word |= other);
        self.count = self.bits.iter().map(|word| u64::from(word.count_ones())).sum();
    }

    /// Which of `rows` rows from `first` on are others.
    pub fn others(&self, first: u64, rows: usize) -> BooleanArray {
        BooleanArray::from_iter((0..rows as u64).map(|row| Some(!self.contains(first + row))))
    }
}

/// Rows of a table, by file.
pub type Places = HashMap<PathBuf, RowNumbers>;

/// What was there when a statement looked at it is not there any more.
pub fn changed_meanwhile() -> Error {
    Error::new(Kind::SerializationFailure, "could not serialize access due to concurrent update")
}

impl OfflineTable {
    /// The rows of one file in its order, in file form: those of its columns that are named.
    pub async fn file_rows(&self, file: &DataFile, columns: &[&str]) -> Result<BatchStream> {
        let table = self;
        let path = file.path.clone();
        let opened = tokio::fs::File::open(&path).await;
        let opened = opened.map_err(|error| crate::error::io_error("read", &path, error))?;
        let fail = move |error| table_error("read", &path, error);
        let builder = ParquetRecordBatchStreamBuilder::new(opened).await.map_err(&fail)?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let rows = builder.with_projection(mask).build().map_err(&fail)?;
        let wanted = columns.iter().map(|name| table.file_schema.index_of(name));
        let wanted = wanted.collect::<std::result::Result<Vec<_>, _>>();
        let wanted = wanted.map_err(|error| damaged(&table.path, error.to_string()))?;
        let names: Vec<String> = wanted.iter().map(|place| table.file_schema.field(*place).name().to_owned()).collect();
        let folder = table.path.clone();
        let in_order = move |batch: RecordBatch| {
            let places = names.iter().map(|name| batch.schema().index_of(name)).collect::<Result<Vec<_>, _>>();
            places.and_then(|places| batch.project(&places)).map_err(|error| damaged(&folder, error.to_string()))
        };
        Ok(Box::pin(rows.map_err(fail).and_then(move |batch| futures::future::ready(in_order(batch)))))
    }
}

/// The files that have rows at the places. Errors: `SerializationFailure` if one is not part of the table any more.
pub(super) fn files_of<'a>(snapshot: &'a Snapshot, places: &Places) -> Result<Vec<&'a DataFile>> {
    let files: Vec<&DataFile> = snapshot.table.files.iter().filter(|file| places.contains_key(&file.path)).collect();
    if files.len() < places.len() { Err(changed_meanwhile()) } else { Ok(files) }
}

/// Writes the rows of `file` at other places again, in their order.
pub(super) async fn copy_others(
    snapshot: &Snapshot,
    writer: &mut TableWriter,
    (file, gone): (&DataFile, &RowNumbers),
    cancel: &CancellationToken,
) -> Result<()> {
    if file.rows > 0 && gone.count() >= file.rows {
        return Ok(());
    }
    let fail = |error| table_error("read", &file.path, error);
    let stored = stored_file(snapshot, file);
    let mut rows = ParquetRecordBatchStreamBuilder::new(stored).await.map_err(fail)?.build().map_err(fail)?;
    let mut first = 0;
    while let Some(batch) = rows.try_next().await.map_err(fail)? {
        if cancel.is_cancelled() {
            return Err(canceled());
        }
        let kept = filter_record_batch(&batch, &gone.others(first, batch.num_rows()))
            .and_then(|kept| kept.with_schema(std::sync::Arc::clone(&snapshot.table.file_schema)))
            .map_err(|error| damaged(&snapshot.table.path, error.to_string()).with_source(error))?;
        first += batch.num_rows() as u64;
        if kept.num_rows() > 0 {
            writer.write_part(None, &kept, None).await?;
            writer.bound_memory().await?;
        }
    }
    Ok(())
}
