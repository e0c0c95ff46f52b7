//! What the history of commits does not know: who was refused what, and who changed rows of tables. The newest records
//! of each kind are kept.

use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::store::{Order, Store, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// somebody was not let in, or lacked a right
    Refused,
    /// rows of a table have changed
    Changed,
}

impl RecordKind {
    const ALL: [RecordKind; 2] = [RecordKind::Refused, RecordKind::Changed];

    pub const fn as_str(self) -> &'static str {
        match self {
            RecordKind::Refused => "refused",
            RecordKind::Changed => "changed rows",
        }
    }
}

/// Something that happened once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub kind: RecordKind,
    pub at_us: i64,
    /// who it was, or said to be
    pub role: String,
    /// the workspace's name
    pub database: String,
    /// the client's address; empty if it has none
    pub client: String,
    /// what was asked, without secrets; none at a log-in
    pub statement: Option<String>,
    /// the kind and the name of the relation whose rows have changed
    pub relation: Option<(String, String)>,
    /// SQLSTATE and message of a refusal
    pub error: Option<(String, String)>,
    /// how many rows have come and gone
    pub rows: Option<(u64, u64)>,
}

/// The records of one catalog.
pub struct Records {
    store: Arc<Store>,
    /// the number of the next record, by kind; held while records are written
    next: Mutex<[u64; RecordKind::ALL.len()]>,
    kept: u64,
}

#[derive(Serialize, Deserialize)]
struct Numbered {
    number: u64,
    #[serde(flatten)]
    record: Record,
}

impl Records {
    /// So many of each kind are kept.
    pub const KEPT: u64 = 100_000;

    pub(crate) fn open(store: Arc<Store>, kept: u64) -> Result<Records, Error> {
        let mut next = [0; RecordKind::ALL.len()];
        for kind in RecordKind::ALL {
            visit(&store, kind, Order::Descending, |newest| {
                next[kind as usize] = newest.number + 1;
                ControlFlow::Break(())
            })?;
        }
        Ok(Records { store, next: Mutex::new(next), kept })
    }

    /// Durable when it returns; the oldest go.
    pub fn add(&self, records: Vec<Record>) -> Result<(), Error> {
        let mut known = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = *known;
        let mut batch = self.store.batch();
        for record in records {
            let kind = record.kind as usize;
            let number = next[kind];
            next[kind] += 1;
            batch.put(Table::Records, &[kind as u64, number], &Numbered { number, record })?;
            if let Some(old) = number.checked_sub(self.kept) {
                batch.delete(Table::Records, &[kind as u64, old]);
            }
        }
        batch.commit()?;
        *known = next;
        Ok(())
    }

    /// All that are kept, by kind, the oldest first.
    pub fn all(&self) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        for kind in RecordKind::ALL {
            visit(&self.store, kind, Order::Ascending, |numbered| {
                records.push(numbered.record);
                ControlFlow::Continue(())
            })?;
        }
        Ok(records)
    }
}

fn visit(
    store: &Store,
    kind: RecordKind,
    order: Order,
    mut seen: impl FnMut(Numbered) -> ControlFlow<()>,
) -> Result<(), Error> {
    let (first, last) = ([kind as u64, 0], [kind as u64, u64::MAX]);
    let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
    store.scan(Table::Records, range, order, |numbered| seen(numbered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: RecordKind, at_us: i64) -> Record {
        let (role, database) = ("ada".to_owned(), "granary".to_owned());
        let client = "127.0.0.1".to_owned();
        Record { kind, at_us, role, database, client, statement: None, relation: None, error: None, rows: None }
    }

    #[test]
    fn the_newest_of_each_kind_are_kept_over_a_restart() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("catalog.redb");
        let open = || Records::open(Arc::new(Store::open(&path, &[]).unwrap()), 3).unwrap();
        let records = open();
        records.add(vec![record(RecordKind::Changed, 1)]).unwrap();
        records.add((2..6).map(|at_us| record(RecordKind::Refused, at_us)).collect()).unwrap();
        drop(records);
        let records = open();
        records.add(vec![record(RecordKind::Refused, 6), record(RecordKind::Changed, 7)]).unwrap();
        let times: Vec<i64> = records.all().unwrap().iter().map(|record| record.at_us).collect();
        assert_eq!(times, [4, 5, 6, 1, 7]);
    }
}
