//! Which rows have a key, by file: files never change, so what was looked at once is kept as long as memory is given.
//!
//! Keys are told apart by 128 bits of two hashes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::row::{RowConverter, SortField};

use crate::error::Result;

/// What all of them take together.
const MOST_BYTES: usize = 256 << 20;

/// The keys of a file's rows, sorted, and the row of each.
#[derive(Debug, Default)]
pub struct KeyIndex {
    keys: Vec<(u128, u32)>,
}

/// The keys of rows whose columns are just those of the key; `None` where one of them is NULL.
pub fn keys_of(rows: &RecordBatch) -> Result<Vec<Option<u128>>> {
    let fields = rows.schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converted = RowConverter::new(fields)?.convert_columns(rows.columns())?;
    let is_null = |row: usize| rows.columns().iter().any(|column| column.is_null(row));
    let key = |row: usize| {
        let half = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(seed);
            hasher.write(converted.row(row).as_ref());
            u128::from(hasher.finish())
        };
        (!is_null(row)).then(|| half(0) << 64 | half(1))
    };
    Ok((0..rows.num_rows()).map(key).collect())
}

impl KeyIndex {
    pub fn add(&mut self, first: usize, keys: &[Option<u128>]) {
        let rows = (first..).map(|row| u32::try_from(row).unwrap_or(u32::MAX));
        self.keys.extend(keys.iter().zip(rows).filter_map(|(key, row)| Some(((*key)?, row))));
    }

    pub fn finish(mut self) -> KeyIndex {
        self.keys.sort_unstable();
        self.keys.shrink_to_fit();
        self
    }

    /// The rows that have it.
    pub fn rows(&self, key: u128) -> impl Iterator<Item = u64> {
        let start = self.keys.partition_point(|(known, _)| *known < key);
        self.keys[start..].iter().take_while(move |(known, _)| *known == key).map(|(_, row)| u64::from(*row))
    }
}

/// Those of files that were looked at.
#[derive(Debug, Default)]
pub struct KeyIndexes(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    indexes: HashMap<(PathBuf, Vec<String>), Arc<KeyIndex>>,
    bytes: usize,
}

impl KeyIndexes {
    pub fn get(&self, file: &(PathBuf, Vec<String>)) -> Option<Arc<KeyIndex>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).indexes.get(file).cloned()
    }

    pub fn put(&self, file: (PathBuf, Vec<String>), index: Arc<KeyIndex>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += index.keys.len() * size_of::<(u128, u32)>() + 256;
        if kept.bytes > MOST_BYTES {
            *kept = Kept::default();
        }
        kept.indexes.insert(file, index);
    }
}
