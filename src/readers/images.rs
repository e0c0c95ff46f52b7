//! Changes of a table into rows of a stream's columns, by their names; reserved columns say what the change was.
//!
//! An insert and an update are the new row, a delete the old one, as far as the server knows it. Without a column for what
//! the change was, deletes are nothing.

use std::sync::Arc;

use granary_catalog::{Column, Stream};

use super::reader::{Messages, Origin};
use super::rows::{Read, Row, finish, in_column, value_of_bytes};
use crate::capture::{Captured, Change, Field, Op};
use crate::error::{Error, Kind, Result};
use crate::ingest::Positions;
use crate::row::Value;
use crate::statement::{COMMIT_TIME, LSN, OP};

/// The positions of a capture: the place behind the last commit that is taken in whole; rows of the snapshot; the commit of a
/// transaction that is taken in in part, and how many of its changes.
pub const PLACE: i32 = 0;
pub const ROWS: i32 = 1;
const PART_COMMIT: i32 = 2;
const PART_CHANGES: i32 = 3;

/// See the module.
pub struct Images {
    columns: Vec<Column>,
    timestamp: usize,
    has_op: bool,
}

impl Images {
    pub fn new(stream: &Stream) -> Result<Images> {
        let columns = stream.columns.clone();
        let timestamp = columns.iter().position(|column| column.name == stream.timestamp);
        let timestamp = timestamp.ok_or_else(|| Error::internal("a stream has no time"))?;
        let has_op = columns.iter().any(|column| column.name == OP);
        Ok(Images { columns, timestamp, has_op })
    }

    /// The columns that the table has.
    pub fn of_table(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| ![OP, COMMIT_TIME, LSN].contains(&column.name.as_str()))
    }

    fn row(&self, change: &Change) -> Result<Row> {
        let value = |column: &Column| match column.name.as_str() {
            OP => Ok(Some(Value::Text(change.op.as_str().into()))),
            COMMIT_TIME => Ok(Some(Value::Int(change.time_us))),
            LSN => integer(change.lsn).map(|lsn| Some(Value::Int(lsn))),
            name => {
                let place = change.columns.iter().position(|known| known == name);
                let field = place.and_then(|place| change.values.get(place));
                match field.ok_or_else(|| Error::new(Kind::UndefinedColumn, "the table does not have it any more"))? {
                    Field::Null => Ok(None),
                    Field::Text(text) => value_of_bytes(text, &column.data_type).map(Some),
                    Field::Unchanged => Err(Error::new(Kind::ObjectNotInPrerequisiteState, UNCHANGED)),
                }
            }
        };
        let value = |column| value(column).map_err(|error| in_column(&error, column));
        let mut row = self.columns.iter().map(value).collect::<Result<Row>>()?;
        finish(&self.columns, self.timestamp, &mut row)?;
        Ok(row)
    }
}

const UNCHANGED: &str =
    "the server does not send again what is large and not changed; ALTER TABLE … REPLICA IDENTITY FULL makes it";

impl Messages for Images {
    type Message = Captured;

    fn read(&self, messages: &[Captured]) -> Result<Vec<Read>> {
        let read = |captured: &Captured| match captured {
            Captured::Commit(_) | Captured::Truncate(_) => Read::Tombstone,
            Captured::Change(change) if change.op == Op::Delete && !self.has_op => Read::Tombstone,
            Captured::Change(change) => self.row(change).map_or_else(Read::Bad, Read::Row),
        };
        Ok(messages.iter().map(read).collect())
    }

    /// The payload is the row as JSON, all values as texts.
    fn origin(&self, captured: &Captured) -> Origin {
        let (lsn, time_us, payload) = match captured {
            Captured::Commit(lsn) | Captured::Truncate(lsn) => (*lsn, None, Vec::new()),
            Captured::Change(change) => (change.lsn, Some(change.time_us), json(change)),
        };
        match captured {
            Captured::Change(Change { op: Op::Snapshot, number, .. }) => {
                Origin { partition: ROWS, offset: number - 1, time_us, payload }
            }
            _ => Origin { partition: PLACE, offset: integer(lsn).unwrap_or(i64::MAX), time_us, payload },
        }
    }

    fn pass(&self, captured: &Captured, positions: &mut Positions) {
        match captured {
            Captured::Change(Change { op: Op::Snapshot, number, .. }) => drop(positions.insert(ROWS, *number)),
            Captured::Change(change) => {
                positions.insert(PART_COMMIT, integer(change.lsn).unwrap_or(i64::MAX));
                positions.insert(PART_CHANGES, change.number);
            }
            Captured::Commit(end) => {
                let end = integer(*end).unwrap_or(i64::MAX);
                let known = positions.entry(PLACE).or_insert(end);
                *known = end.max(*known);
                positions.remove(&PART_COMMIT);
                positions.remove(&PART_CHANGES);
            }
            Captured::Truncate(_) => {}
        }
    }
}

/// Whether a change is not in the log yet.
pub fn is_new(captured: &Captured, positions: &Positions) -> bool {
    let at = |position: i32| positions.get(&position).copied();
    let is_behind = |lsn: u64| at(PLACE).is_none_or(|place| integer(lsn).is_ok_and(|lsn| lsn >= place));
    match captured {
        Captured::Commit(_) => true,
        Captured::Truncate(lsn) => is_behind(*lsn),
        Captured::Change(change) => {
            let is_of_part = at(PART_COMMIT) == integer(change.lsn).ok();
            let is_taken = is_of_part && at(PART_CHANGES).is_some_and(|taken| change.number <= taken);
            is_behind(change.lsn) && !is_taken
        }
    }
}

fn json(change: &Change) -> Vec<u8> {
    let value = |field: &Field| match field {
        Field::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        Field::Null | Field::Unchanged => serde_json::Value::Null,
    };
    let fields = change.columns.iter().zip(&change.values).map(|(column, field)| (column.clone(), value(field)));
    let op = (OP.to_owned(), change.op.as_str().into());
    let object: serde_json::Map<String, serde_json::Value> = fields.chain([op]).collect();
    serde_json::Value::Object(object).to_string().into_bytes()
}

fn integer(lsn: u64) -> Result<i64> {
    i64::try_from(lsn).map_err(|_| Error::internal("places in a server's log have run out"))
}

/// A row of the snapshot as a change.
pub fn of_snapshot(
    columns: &Arc<Vec<String>>,
    row: Vec<Option<Vec<u8>>>,
    (lsn, time_us): (u64, i64),
    number: i64,
) -> Captured {
    let values = row.into_iter().map(|value| value.map_or(Field::Null, |text| Field::Text(text.into()))).collect();
    Captured::Change(Change { op: Op::Snapshot, columns: Arc::clone(columns), values, lsn, time_us, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Images {
        let columns = vec![Column::new("k", arrow::datatypes::DataType::Utf8, true)];
        Images { columns, timestamp: 1, has_op: false }
    }

    fn change(lsn: u64, number: i64) -> Captured {
        let columns = Arc::new(vec!["k".to_owned()]);
        let values = vec![Field::Unchanged];
        Captured::Change(Change { op: Op::Insert, columns, values, lsn, time_us: 0, number })
    }

    #[test]
    fn what_is_taken_is_not_taken_again() {
        let (images, mut positions) = (images(), Positions::new());
        let log =
            [change(10, 1), change(10, 2), Captured::Commit(12), change(20, 1), change(20, 2), Captured::Commit(22)];
        for taken in 0..log.len() {
            let again = |captured: &&Captured| matches!(captured, Captured::Change(_)) && is_new(captured, &positions);
            let left: Vec<&Captured> = log.iter().filter(again).collect();
            let expected = log[taken..].iter().filter(|captured| matches!(captured, Captured::Change(_)));
            assert_eq!(left, expected.collect::<Vec<_>>(), "{taken}");
            images.pass(&log[taken], &mut positions);
        }
        assert_eq!(positions, Positions::from([(PLACE, 22)]));
    }

    #[test]
    fn what_was_not_sent_says_how_it_would_be() {
        let read = images().read(&[change(1, 1), Captured::Commit(2)]).expect("reads");
        let [Read::Bad(error), Read::Tombstone] = read.as_slice() else { panic!("{read:?}") };
        assert!(error.message().contains("REPLICA IDENTITY FULL"), "{}", error.message());
    }
}
