//! One state of the file, to be written elsewhere while the file itself goes on.

use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError};

use super::{META, Store, Table, storage_error};
use crate::error::Error;

/// One state of a catalog. Holding it keeps the pages that it needs in the file.
pub struct Image {
    transaction: ReadTransaction,
    path: PathBuf,
}

impl Store {
    /// The state as it is while `meanwhile` runs, which no commit begins or ends in.
    pub(crate) fn image_while<T>(&self, meanwhile: impl FnOnce() -> T) -> Result<(Image, T), Error> {
        let only = self.database.begin_write().map_err(self.failed("read"))?;
        let transaction = self.database.begin_read().map_err(self.failed("read"))?;
        let done = meanwhile();
        only.abort().map_err(self.failed("read"))?;
        Ok((Image { transaction, path: self.path.clone() }, done))
    }
}

impl Image {
    /// Makes a file of it, which a catalog can be opened from. Errors: of either file; what was written is of no use then.
    pub fn write_to(&self, path: &Path) -> Result<(), Error> {
        let database = Database::create(path).map_err(|error| storage_error(path, "create", error))?;
        let transaction = database.begin_write().map_err(|error| storage_error(path, "write", error))?;
        for table in Table::ALL {
            let records = match self.transaction.open_table(table.definition()) {
                Ok(records) => records,
                // Tables come to be with their first record.
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(self.failed(error)),
            };
            let mut copy =
                transaction.open_table(table.definition()).map_err(|error| storage_error(path, "write", error))?;
            for record in records.iter().map_err(|error| self.failed(error))? {
                let (key, bytes) = record.map_err(|error| self.failed(error))?;
                copy.insert(key.value(), bytes.value()).map_err(|error| storage_error(path, "write", error))?;
            }
        }
        {
            let numbers = self.transaction.open_table(META).map_err(|error| self.failed(error))?;
            let mut copy = transaction.open_table(META).map_err(|error| storage_error(path, "write", error))?;
            for number in numbers.iter().map_err(|error| self.failed(error))? {
                let (name, value) = number.map_err(|error| self.failed(error))?;
                copy.insert(name.value(), value.value()).map_err(|error| storage_error(path, "write", error))?;
            }
        }
        transaction.commit().map_err(|error| storage_error(path, "write", error))
    }

    fn failed(&self, error: impl Into<redb::Error>) -> Error {
        storage_error(&self.path, "read", error)
    }
}
