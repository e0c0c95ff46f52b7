//! One committed state of a shard's file, to be written elsewhere while the file itself goes on.

use std::path::{Path, PathBuf};

use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError, Value};

use super::claims::CLAIMS;
use super::{KEYS, META, ROWS, Shard};
use crate::error::Result;
use crate::online::errors::storage_error;

/// Rows that are copied in one commit: more would hold too many pages in memory.
const ROWS_AT_ONCE: usize = 200_000;

pub(in crate::online) struct ShardImage {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl Shard {
    /// What the last commit left. Items in front of the file are not in it: their log has them.
    pub(in crate::online) fn image(&self) -> Result<ShardImage> {
        let transaction = self.database.begin_read().map_err(|error| storage_error(&self.path, error))?;
        Ok(ShardImage { transaction, path: self.path.clone() })
    }
}

impl ShardImage {
    pub(in crate::online) fn write_to(&self, path: &Path) -> Result<()> {
        let copy = Database::create(path).map_err(|error| storage_error(path, error))?;
        self.copy_table(ROWS, &copy, path)?;
        self.copy_table(KEYS, &copy, path)?;
        self.copy_table(META, &copy, path)?;
        self.copy_table(CLAIMS, &copy, path)
    }

    fn copy_table<K: Key + 'static, V: Value + 'static>(
        &self,
        table: TableDefinition<'static, K, V>,
        copy: &Database,
        path: &Path,
    ) -> Result<()> {
        let write = |error: redb::Error| storage_error(path, error);
        let rows = match self.transaction.open_table(table) {
            Ok(rows) => rows,
            // it comes to be with its first row
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(storage_error(&self.path, error)),
        };
        let mut rows = rows.iter().map_err(|error| storage_error(&self.path, error))?.peekable();
        loop {
            let transaction = copy.begin_write().map_err(|error| write(error.into()))?;
            {
                let mut written = transaction.open_table(table).map_err(|error| write(error.into()))?;
                for row in rows.by_ref().take(ROWS_AT_ONCE) {
                    let (key, value) = row.map_err(|error| storage_error(&self.path, error))?;
                    written.insert(key.value(), value.value()).map_err(|error| write(error.into()))?;
                }
            }
            transaction.commit().map_err(|error| write(error.into()))?;
            if rows.peek().is_none() {
                return Ok(());
            }
        }
    }
}
