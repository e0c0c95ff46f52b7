//! What redb files of ours have in common: an image of one, to be written elsewhere while the file itself goes on; and of
//! small ones, records of tagged JSON.

use std::path::{Path, PathBuf};

use redb::{
    Database, Key, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, Value,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result, io_error};

/// Rows that are copied in one commit: more would hold too many pages in memory.
const ROWS_AT_ONCE: usize = 200_000;

/// Which of the two files it was.
#[derive(Debug)]
pub enum CopyError {
    Read(redb::Error),
    Write(redb::Error),
}

/// Copies all tables of a file into another.
pub type CopyTables = fn(&ReadTransaction, &Database) -> std::result::Result<(), CopyError>;

/// One state of a file. Holding it keeps the pages that it needs in the file.
pub struct FileImage {
    path: PathBuf,
    transaction: ReadTransaction,
    copy: CopyTables,
    fail: fn(&Path, redb::Error) -> Error,
}

impl FileImage {
    /// The state as it is now. `fail` says what is wrong with either file.
    pub fn take(
        path: &Path,
        database: &Database,
        copy: CopyTables,
        fail: fn(&Path, redb::Error) -> Error,
    ) -> Result<FileImage> {
        let transaction = database.begin_read().map_err(|error| fail(path, error.into()))?;
        Ok(FileImage { path: path.to_owned(), transaction, copy, fail })
    }

    /// Makes a new file of it.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        let copy = Database::create(path).map_err(|error| (self.fail)(path, error.into()))?;
        (self.copy)(&self.transaction, &copy).map_err(|error| match error {
            CopyError::Read(error) => (self.fail)(&self.path, error),
            CopyError::Write(error) => (self.fail)(path, error),
        })
    }
}

/// Copies all rows. A table that does not exist yet stays so.
pub fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
    into: &Database,
) -> std::result::Result<(), CopyError> {
    let rows = match from.open_table(table) {
        Ok(rows) => rows,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(CopyError::Read(error.into())),
    };
    let mut rows = rows.iter().map_err(|error| CopyError::Read(error.into()))?.peekable();
    loop {
        let transaction = into.begin_write().map_err(|error| CopyError::Write(error.into()))?;
        {
            let mut written = transaction.open_table(table).map_err(|error| CopyError::Write(error.into()))?;
            for row in rows.by_ref().take(ROWS_AT_ONCE) {
                let (key, value) = row.map_err(|error| CopyError::Read(error.into()))?;
                written.insert(key.value(), value.value()).map_err(|error| CopyError::Write(error.into()))?;
            }
        }
        transaction.commit().map_err(|error| CopyError::Write(error.into()))?;
        if rows.peek().is_none() {
            return Ok(());
        }
    }
}

/// The records of a small file, by what errors call them.
#[derive(Debug)]
pub struct Records {
    /// `a profile`
    pub one: &'static str,
    /// `profiles`
    pub many: &'static str,
    /// begins every record; the rest is JSON
    pub format: u8,
}

impl Records {
    pub fn encode(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        let mut bytes = vec![self.format];
        serde_json::to_writer(&mut bytes, value).map_err(|error| Error::internal(self.one).with_source(error))?;
        Ok(bytes)
    }

    /// Errors: `DataCorrupted` with the file.
    pub fn decode<T: DeserializeOwned>(&self, path: &Path, bytes: &[u8]) -> Result<T> {
        let damaged =
            || Error::new(Kind::DataCorrupted, format!("\"{}\" has {} that does not read", path.display(), self.one));
        match bytes.split_first() {
            Some((&format, json)) if format == self.format => {
                serde_json::from_slice(json).map_err(|error| damaged().with_source(error))
            }
            _ => Err(damaged()),
        }
    }

    /// What redb says of their file, in our words.
    pub fn error(&self, path: &Path, error: redb::Error) -> Error {
        match error {
            redb::Error::Io(error) => io_error(&format!("use the file of {}", self.many), path, error),
            redb::Error::DatabaseAlreadyOpen => {
                Error::new(Kind::ObjectInUse, format!("\"{}\" is in use by another process", path.display()))
            }
            error => Error::new(Kind::IoError, format!("\"{}\" cannot be used", path.display())).with_source(error),
        }
    }
}
