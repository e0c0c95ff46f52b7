//! The catalog's file: a redb database with a few tables of tagged JSON records. The only place that knows redb; it
//! knows no object and no job.

mod file;
mod image;

use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::migrate::{self, FORMAT, Step};
pub use image::Image;

/// Objects are held in memory, so the cache only serves commits and the history.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Keys are unsigned numbers, big-endian one after the other, so that they sort by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// id → object
    Objects,
    /// version → audit entry
    Log,
    /// id → job
    Jobs,
    /// job id, attempt → attempt
    Attempts,
    /// view id, store → materialized intervals
    Ranges,
    /// view id → folded spans
    Folded,
    /// storage id of a sequence → up to where its numbers may have been given
    Sequences,
    /// kind, number → a refusal, or a change of rows
    Records,
    /// job id, attempt, number → a line of its log
    JobLogs,
    /// view id → ranges that jobs have not done
    Unfinished,
    /// plan id → plan
    Plans,
}

impl Table {
    const ALL: [Table; 11] = [
        Table::Objects,
        Table::Log,
        Table::Jobs,
        Table::Attempts,
        Table::Ranges,
        Table::Folded,
        Table::Sequences,
        Table::Records,
        Table::JobLogs,
        Table::Unfinished,
        Table::Plans,
    ];

    fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(match self {
            Table::Objects => "objects",
            Table::Log => "log",
            Table::Jobs => "jobs",
            Table::Attempts => "attempts",
            Table::Ranges => "ranges",
            Table::Folded => "folded",
            Table::Sequences => "sequences",
            Table::Records => "records",
            Table::JobLogs => "job_logs",
            Table::Unfinished => "unfinished",
            Table::Plans => "plans",
        })
    }
}

/// The numbers of the `meta` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Format,
    /// The latest committed version.
    Version,
    NextObject,
    NextJob,
    /// Not there before the first plan.
    NextPlan,
}

impl Number {
    fn key(self) -> &'static str {
        match self {
            // Named for what it also tells: that this redb file is a catalog.
            Number::Format => "granary catalog format",
            Number::Version => "version",
            Number::NextObject => "next object",
            Number::NextJob => "next job",
            Number::NextPlan => "next plan",
        }
    }
}

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

pub(crate) struct Store {
    database: Database,
    path: PathBuf,
}

impl Store {
    /// Opens the file, or makes it with these first numbers; brings an older format up to date.
    pub(crate) fn open(path: &Path, first: &[(Number, u64)]) -> Result<Store, Error> {
        let created = file::prepare(path)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create(path);
        let database = database.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen | redb::DatabaseError::LockProtocolMismatch => {
                Error::InUse { path: path.to_owned() }
            }
            error => storage_error(path, "open", error),
        })?;
        let store = Store { database, path: path.to_owned() };
        match store.format()? {
            None => store.initialize(first)?,
            Some(format) if format > u64::from(FORMAT) => {
                return Err(Error::NewerFormat { path: store.path, found: format, known: u64::from(FORMAT) });
            }
            Some(format) if format < u64::from(FORMAT) => {
                let from = u8::try_from(format).expect("it is less than a u8");
                store.migrate(from, migrate::STEPS, FORMAT)?;
            }
            Some(_) => {}
        }
        if created {
            // Without this a power failure could lose the file's name, and with it what was acknowledged.
            file::sync_folder_of(path)?;
        }
        Ok(store)
    }

    /// The format of the file, `None` if nothing was ever written to it.
    fn format(&self) -> Result<Option<u64>, Error> {
        let format = self.number(Number::Format)?;
        if format.is_some() {
            return Ok(format);
        }
        let transaction = self.database.begin_read().map_err(self.failed("read"))?;
        let mut tables = transaction.list_tables().map_err(self.failed("read"))?;
        match tables.next() {
            Some(_) => Err(Error::NotACatalog { path: self.path.clone() }),
            None => Ok(None),
        }
    }

    fn initialize(&self, first: &[(Number, u64)]) -> Result<(), Error> {
        let mut batch = self.batch();
        batch.set(Number::Format, u64::from(FORMAT));
        for &(number, value) in first {
            batch.set(number, value);
        }
        batch.commit()
    }

    /// Rewrites every record in one transaction, so that a crash leaves either format and never both.
    fn migrate(&self, from: u8, steps: &[Step], to: u8) -> Result<(), Error> {
        let mut batch = self.batch();
        for table in Table::ALL {
            self.scan_raw(table, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |key, bytes| {
                let record = self.decode(bytes, from)?;
                let record = migrate::upgrade(steps, from, table, record);
                batch.put_bytes(table, key.to_owned(), self.encode(&record, to)?);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        batch.set(Number::Format, u64::from(to));
        batch.commit()
    }

    pub(crate) fn number(&self, number: Number) -> Result<Option<u64>, Error> {
        let transaction = self.database.begin_read().map_err(self.failed("read"))?;
        match transaction.open_table(META) {
            Ok(table) => {
                let value = table.get(number.key()).map_err(self.failed("read"))?;
                Ok(value.map(|value| value.value()))
            }
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            // A redb file of somebody else may have a table of that name.
            Err(TableError::TableTypeMismatch { .. } | TableError::TableIsMultimap(_)) => {
                Err(Error::NotACatalog { path: self.path.clone() })
            }
            Err(error) => Err(self.failed("read")(error)),
        }
    }

    /// A number that an initialized file must have.
    pub(crate) fn required_number(&self, number: Number) -> Result<u64, Error> {
        self.number(number)?.ok_or_else(|| self.damaged(format!("it has no {}", number.key())))
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, table: Table, key: &[u64]) -> Result<Option<T>, Error> {
        let key = encode_key(key);
        let mut found = None;
        let only = (Bound::Included(key.as_slice()), Bound::Included(key.as_slice()));
        self.scan_raw(table, only, Order::Ascending, |_, bytes| {
            found = Some(self.decode(bytes, FORMAT)?);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    pub(crate) fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<T>, Error> {
        let mut records = Vec::new();
        self.scan(table, (Bound::Unbounded, Bound::Unbounded), Order::Ascending, |record| {
            records.push(record);
            ControlFlow::Continue(())
        })?;
        Ok(records)
    }

    /// Shows the records whose keys are in the range to `visit`, until it breaks. All from one point in time.
    pub(crate) fn scan<T: DeserializeOwned>(
        &self,
        table: Table,
        range: (Bound<&[u64]>, Bound<&[u64]>),
        order: Order,
        mut visit: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let start = range.0.map(encode_key);
        let end = range.1.map(encode_key);
        let range = (as_slice(&start), as_slice(&end));
        self.scan_raw(table, range, order, |_, bytes| Ok(visit(self.decode(bytes, FORMAT)?)))
    }

    fn scan_raw(
        &self,
        table: Table,
        range: (Bound<&[u8]>, Bound<&[u8]>),
        order: Order,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let transaction = self.database.begin_read().map_err(self.failed("read"))?;
        let table = match transaction.open_table(table.definition()) {
            Ok(table) => table,
            // Tables come to be with their first record.
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(self.failed("read")(error)),
        };
        let mut records = ReadableTable::range::<&[u8]>(&table, range).map_err(self.failed("read"))?;
        loop {
            let record = match order {
                Order::Ascending => records.next(),
                Order::Descending => records.next_back(),
            };
            let Some(record) = record else { return Ok(()) };
            let (key, bytes) = record.map_err(self.failed("read"))?;
            if visit(key.value(), bytes.value())?.is_break() {
                return Ok(());
            }
        }
    }

    /// Collects writes that happen together or not at all.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch { store: self, records: Vec::new(), numbers: Vec::new() }
    }

    fn encode(&self, record: &impl Serialize, format: u8) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![format];
        serde_json::to_writer(&mut bytes, record).map_err(|source| Error::Record {
            path: self.path.clone(),
            action: "write",
            source,
        })?;
        Ok(bytes)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8], format: u8) -> Result<T, Error> {
        match bytes.split_first() {
            Some((&tag, json)) if tag == format => serde_json::from_slice(json).map_err(|source| Error::Record {
                path: self.path.clone(),
                action: "read",
                source,
            }),
            Some((tag, _)) => Err(self.damaged(format!("a record of format {tag} in a file of format {format}"))),
            None => Err(self.damaged("an empty record".to_owned())),
        }
    }

    pub(crate) fn damaged(&self, what: String) -> Error {
        Error::Damaged { path: self.path.clone(), what }
    }

    fn failed<E: Into<redb::Error>>(&self, action: &'static str) -> impl Fn(E) -> Error {
        move |error| storage_error(&self.path, action, error)
    }
}

/// Writes to be made in one durable transaction.
pub(crate) struct Batch<'a> {
    store: &'a Store,
    /// `None` deletes the record.
    records: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    numbers: Vec<(Number, u64)>,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, table: Table, key: &[u64], record: &impl Serialize) -> Result<(), Error> {
        let bytes = self.store.encode(record, FORMAT)?;
        self.put_bytes(table, encode_key(key), bytes);
        Ok(())
    }

    fn put_bytes(&mut self, table: Table, key: Vec<u8>, bytes: Vec<u8>) {
        self.records.push((table, key, Some(bytes)));
    }

    pub(crate) fn delete(&mut self, table: Table, key: &[u64]) {
        self.records.push((table, encode_key(key), None));
    }

    pub(crate) fn set(&mut self, number: Number, value: u64) {
        self.numbers.push((number, value));
    }

    /// Durable once this returns.
    pub(crate) fn commit(self) -> Result<(), Error> {
        let store = self.store;
        let mut transaction = store.database.begin_write().map_err(store.failed("write"))?;
        // Costs a second fsync and saves the walk over the whole file when it is opened after a crash.
        transaction.set_quick_repair(true);
        for table in Table::ALL {
            let mut records = self.records.iter().filter(|(of, ..)| *of == table).peekable();
            if records.peek().is_none() {
                continue;
            }
            let mut table = transaction.open_table(table.definition()).map_err(store.failed("write"))?;
            for (_, key, bytes) in records {
                match bytes {
                    Some(bytes) => table.insert(key.as_slice(), bytes.as_slice()),
                    None => table.remove(key.as_slice()),
                }
                .map_err(store.failed("write"))?;
            }
        }
        if !self.numbers.is_empty() {
            let mut meta = transaction.open_table(META).map_err(store.failed("write"))?;
            for (number, value) in &self.numbers {
                meta.insert(number.key(), value).map_err(store.failed("write"))?;
            }
        }
        transaction.commit().map_err(store.failed("write"))
    }
}

fn encode_key(parts: &[u64]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.to_be_bytes()).collect()
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn storage_error(path: &Path, action: &'static str, error: impl Into<redb::Error>) -> Error {
    let path = path.to_owned();
    match error.into() {
        redb::Error::Io(source) => Error::File { path, action, source },
        redb::Error::PreviousIo => Error::Unusable { path },
        error => Error::Storage { path, action, source: Box::new(error) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("catalog.redb");
        (folder, path)
    }

    fn write(store: &Store, table: Table, key: &[u64], record: Value) {
        let mut batch = store.batch();
        batch.put(table, key, &record).unwrap();
        batch.commit().unwrap();
    }

    #[test]
    fn records_come_in_the_order_of_their_numbers() {
        let (_folder, path) = place();
        let store = Store::open(&path, &[]).unwrap();
        for n in [300, 2, 1, 256] {
            write(&store, Table::Jobs, &[n], json!(n));
        }
        assert_eq!(store.all::<u64>(Table::Jobs).unwrap(), [1, 2, 256, 300]);
        let mut found = Vec::new();
        let (first, last) = ([1], [300]);
        let range = (Bound::Excluded(first.as_slice()), Bound::Excluded(last.as_slice()));
        store
            .scan(Table::Jobs, range, Order::Descending, |record: u64| {
                found.push(record);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, [256, 2]);
        assert_eq!(store.get::<u64>(Table::Jobs, &[2]).unwrap(), Some(2));
        assert_eq!(store.get::<u64>(Table::Jobs, &[3]).unwrap(), None);
        assert_eq!(store.get::<u64>(Table::Log, &[2]).unwrap(), None);
    }

    #[test]
    fn a_migration_rewrites_every_record_and_the_format() {
        let (_folder, path) = place();
        let store = Store::open(&path, &[(Number::Version, 9)]).unwrap();
        write(&store, Table::Objects, &[1], json!({"name": "a"}));
        write(&store, Table::Attempts, &[1, 2], json!({"state": "failed"}));
        let rewrite = |table: Table, mut record: Value| {
            record["was in"] = json!(format!("{table:?}"));
            record
        };
        let steps = [Step { from: FORMAT, rewrite }];
        store.migrate(FORMAT, &steps, FORMAT + 1).unwrap();
        assert_eq!(store.format().unwrap(), Some(u64::from(FORMAT) + 1));
        assert_eq!(store.number(Number::Version).unwrap(), Some(9));
        let mut found: Vec<Value> = Vec::new();
        for table in [Table::Objects, Table::Attempts] {
            let everything = (Bound::Unbounded, Bound::Unbounded);
            let visit = |_: &[u8], bytes: &[u8]| {
                found.push(store.decode(bytes, FORMAT + 1)?);
                Ok(ControlFlow::Continue(()))
            };
            store.scan_raw(table, everything, Order::Ascending, visit).unwrap();
        }
        let expected = [json!({"name": "a", "was in": "Objects"}), json!({"state": "failed", "was in": "Attempts"})];
        assert_eq!(found, expected);
        // This program does not know that format.
        assert!(matches!(store.all::<Value>(Table::Objects), Err(Error::Damaged { .. })));
        drop(store);
        assert!(matches!(Store::open(&path, &[]), Err(Error::NewerFormat { .. })));
    }

    #[test]
    fn a_record_that_does_not_read_is_an_error() {
        let (_folder, path) = place();
        let store = Store::open(&path, &[]).unwrap();
        write(&store, Table::Objects, &[1], json!("text"));
        assert!(matches!(store.all::<u64>(Table::Objects), Err(Error::Record { .. })));
        assert!(matches!(store.required_number(Number::NextJob), Err(Error::Damaged { .. })));
    }
}
