//! A table of a redb file, of one state of it, into another file.

use redb::{Database, Key, ReadTransaction, ReadableTable, TableDefinition, TableError, Value};

/// Rows that are copied in one commit: more would hold too many pages in memory.
const ROWS_AT_ONCE: usize = 200_000;

/// Which of the two files it was.
#[derive(Debug)]
pub enum CopyError {
    Read(redb::Error),
    Write(redb::Error),
}

/// Copies all rows. A table that does not exist yet stays so.
pub fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
    into: &Database,
) -> Result<(), CopyError> {
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
