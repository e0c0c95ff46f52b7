//! One committed state of a shard's file, to be written elsewhere while the file itself goes on.

use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::claims::CLAIMS;
use super::{KEYS, META, ROWS, Shard};
use crate::error::Result;
use crate::online::errors::storage_error;
use crate::table_copy::{CopyError, copy_table};

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
        let copied = copy_table(&self.transaction, ROWS, &copy)
            .and_then(|()| copy_table(&self.transaction, KEYS, &copy))
            .and_then(|()| copy_table(&self.transaction, META, &copy))
            .and_then(|()| copy_table(&self.transaction, CLAIMS, &copy));
        copied.map_err(|error| match error {
            CopyError::Read(error) => storage_error(&self.path, error),
            CopyError::Write(error) => storage_error(path, error),
        })
    }
}
