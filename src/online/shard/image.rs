//! One committed state of a shard's file.

use super::claims::CLAIMS;
use super::{KEYS, META, ROWS, Shard};
use crate::error::Result;
use crate::online::errors::storage_error;
use crate::store_file::{CopyTables, FileImage, copy_table};

impl Shard {
    /// What the last commit left. Items in front of the file are not in it: their log has them.
    pub(in crate::online) fn image(&self) -> Result<FileImage> {
        let copy: CopyTables = |from, into| {
            copy_table(from, ROWS, into)?;
            copy_table(from, KEYS, into)?;
            copy_table(from, META, into)?;
            copy_table(from, CLAIMS, into)
        };
        FileImage::take(&self.path, &self.database, copy, storage_error)
    }
}
