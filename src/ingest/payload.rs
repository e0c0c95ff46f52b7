//! Events as bytes of the ingest log. Format 1, of events that were pushed:
//!
//! ```text
//! 1 | of every event: a count of columns, and their values as `row` writes them, in the order of the stream's columns
//! ```
//!
//! Format 2, of events that were read from elsewhere: how far the reader was after them, and what could not be taken in,
//! are in one entry with the events, so that no crash comes between them.
//!
//! ```text
//! 2 | values: of every partition its number and next offset | values: how many dead letters
//!   | of every dead letter, values: partition, offset, time or NULL, reason, payload, length of the whole payload
//!   | events as in format 1
//! ```
//!
//! Formats 3 and 4 are 1 and 2 with one more value in front of those of each event: what joined views have made of it, bytes
//! as `engine/joined_rows` writes them.
//!
//! A payload does not say how many events it has: the log's entry does. It counts dead letters, too, behind the events:
//! their offsets are those of no event. Columns that a stream gets later are NULL in events of before.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use crate::engine::{DeadLetter, ROWS};
use crate::error::{Error, Kind, Result};
use crate::row::{Reader, Value, array_of, put_values, values_of};

const PUSHED: u8 = 1;
const READ: u8 = 2;
const PUSHED_WITH_ROWS: u8 = 3;
const READ_WITH_ROWS: u8 = 4;

/// By partition, the offset behind the last message that was taken in.
pub type Positions = BTreeMap<i32, i64>;

/// Events on their way into one entry.
#[derive(Default)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub events: u32,
    /// of events that were added
    has_rows: Option<bool>,
}

impl Payload {
    /// For events that were read up to these positions; the letters are all there will be.
    pub fn of_read(positions: &Positions, letters: &[DeadLetter]) -> Result<Payload> {
        let mut payload = Payload { bytes: vec![READ], ..Payload::default() };
        let flat = positions.iter().flat_map(|(partition, next)| [i64::from(*partition), *next]);
        put_values(&mut payload.bytes, &flat.map(|number| Some(Value::Int(number))).collect::<Vec<_>>());
        let integer = |number: u64| i64::try_from(number).map(Value::Int).map_err(|_| too_many());
        put_values(&mut payload.bytes, &[Some(integer(letters.len() as u64)?)]);
        for letter in letters {
            let values = [
                Some(Value::Int(letter.partition.into())),
                Some(Value::Int(letter.offset)),
                letter.time_us.map(Value::Int),
                Some(Value::Text(letter.reason.as_str().into())),
                Some(Value::Bytes(letter.payload.as_slice().into())),
                Some(integer(letter.payload_bytes)?),
            ];
            put_values(&mut payload.bytes, &values);
        }
        payload.count(letters.len())?;
        Ok(payload)
    }

    /// Adds the rows of a batch, which has the stream's columns and behind them, in all batches of a payload or in none,
    /// what joined views have made.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows = batch.schema_ref().index_of(ROWS).ok();
        if self.bytes.is_empty() {
            self.bytes.push(PUSHED);
        }
        let has_rows = *self.has_rows.get_or_insert(rows.is_some());
        assert!(has_rows == rows.is_some(), "the events of an entry are taken in by one catalog");
        if has_rows {
            self.bytes[0] =
                if matches!(self.bytes[0], PUSHED | PUSHED_WITH_ROWS) { PUSHED_WITH_ROWS } else { READ_WITH_ROWS };
        }
        // what was made comes first: streams get columns at their end
        let others = (0..batch.num_columns()).filter(|place| Some(*place) != rows);
        let columns = rows.into_iter().chain(others).map(|place| values_of(batch.column(place).as_ref()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let mut row = Vec::with_capacity(columns.len());
        for number in 0..batch.num_rows() {
            row.clear();
            row.extend(columns.iter().map(|column| column[number].clone()));
            put_values(&mut self.bytes, &row);
        }
        self.count(batch.num_rows())
    }

    fn count(&mut self, added: usize) -> Result<()> {
        let added = u32::try_from(added).ok().and_then(|added| self.events.checked_add(added));
        self.events = added.ok_or_else(too_many)?;
        Ok(())
    }
}

fn too_many() -> Error {
    Error::internal("more events in an entry than can be counted")
}

/// What an entry has beside its events, if they were read from elsewhere.
#[derive(Debug)]
pub struct ReadPart {
    pub letters: Vec<DeadLetter>,
    pub positions: Positions,
}

/// Of an entry whose events were pushed: none.
pub fn read_part(payload: &[u8], events: u32) -> Result<Option<ReadPart>> {
    Ok(read_header(&mut Reader::new(payload), events)?.0)
}

/// The part, and whether events have rows of joined views in front.
fn read_header(reader: &mut Reader<'_>, events: u32) -> Result<(Option<ReadPart>, bool)> {
    match reader.u8()? {
        format @ (PUSHED | PUSHED_WITH_ROWS) => Ok((None, format == PUSHED_WITH_ROWS)),
        format @ (READ | READ_WITH_ROWS) => {
            let positions = read_positions(reader)?;
            let part = ReadPart { letters: read_letters(reader, events)?, positions };
            Ok((Some(part), format == READ_WITH_ROWS))
        }
        _ => Err(Error::new(Kind::DataCorrupted, "an entry of an ingest log has an unknown format")
            .with_hint("use a newer server")),
    }
}

fn read_positions(reader: &mut Reader<'_>) -> Result<Positions> {
    let values = reader.values()?;
    let pair = |pair: &[Option<Value>]| match pair {
        [Some(Value::Int(partition)), Some(Value::Int(next))] => Some((i32::try_from(*partition).ok()?, *next)),
        _ => None,
    };
    let positions = values.chunks(2).map(pair).collect::<Option<Positions>>();
    positions.ok_or_else(|| damaged("positions"))
}

/// There are no more of them than `most`.
fn read_letters(reader: &mut Reader<'_>, most: u32) -> Result<Vec<DeadLetter>> {
    let count = match reader.values()?.as_slice() {
        [Some(Value::Int(count))] if (0..=i64::from(most)).contains(count) => *count,
        _ => return Err(damaged("a count of dead letters")),
    };
    (0..count).map(|_| letter_of(&reader.values()?).ok_or_else(|| damaged("a dead letter"))).collect()
}

fn letter_of(values: &[Option<Value>]) -> Option<DeadLetter> {
    let [
        Some(Value::Int(partition)),
        Some(Value::Int(offset)),
        time,
        Some(Value::Text(reason)),
        Some(Value::Bytes(payload)),
        Some(Value::Int(payload_bytes)),
    ] = values
    else {
        return None;
    };
    let time_us = match time {
        Some(Value::Int(time_us)) => Some(*time_us),
        None => None,
        Some(_) => return None,
    };
    Some(DeadLetter {
        partition: i32::try_from(*partition).ok()?,
        offset: *offset,
        time_us,
        reason: reason.to_string(),
        payload: payload.to_vec(),
        payload_bytes: u64::try_from(*payload_bytes).ok()?,
    })
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::DataCorrupted, format!("an entry of an ingest log has {what} that cannot be read"))
}

/// Entries on their way into one batch.
pub struct Events {
    /// the stream's columns, the offset, and what joined views have made
    schema: SchemaRef,
    columns: Vec<Vec<Option<Value>>>,
    offsets: Vec<i64>,
    rows: Vec<Option<Value>>,
}

impl Events {
    pub fn new(schema: SchemaRef) -> Events {
        let columns = vec![Vec::new(); schema.fields().len() - 2];
        Events { schema, columns, offsets: Vec::new(), rows: Vec::new() }
    }

    /// Adds the events of an entry; gives what it has beside them.
    pub fn add(&mut self, payload: &[u8], first_offset: u64, events: u32) -> Result<Option<ReadPart>> {
        let mut reader = Reader::new(payload);
        let (read, has_rows) = read_header(&mut reader, events)?;
        let letters = read.as_ref().map_or(0, |read| read.letters.len());
        let events = events - u32::try_from(letters).map_err(|_| too_many())?;
        for _ in 0..events {
            let mut row = reader.values()?.into_iter();
            self.rows.push(if has_rows { row.next().flatten() } else { None });
            self.columns.iter_mut().for_each(|column| column.push(row.next().flatten()));
        }
        if !reader.is_empty() {
            return Err(Error::new(Kind::DataCorrupted, "an entry of an ingest log has more bytes than events"));
        }
        let first = i64::try_from(first_offset).map_err(|_| Error::internal("offsets have run out"))?;
        self.offsets.extend((0..i64::from(events)).map(|place| first + place));
        Ok(read)
    }

    pub fn finish(self) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(self.schema.fields());
        let mut arrays: Vec<ArrayRef> = columns
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)))
            .collect::<Result<_>>()?;
        arrays.push(Arc::new(Int64Array::from(self.offsets)));
        arrays.push(array_of(&DataType::Binary, self.rows.iter().map(Option::as_ref))?);
        RecordBatch::try_new(self.schema, arrays)
            .map_err(|error| Error::internal("events do not fit their stream").with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema, TimeUnit};

    use super::*;
    use crate::engine::rows_field;

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("ts", time, true),
            Field::new("v", DataType::Float64, true),
            Field::new("_offset", DataType::Int64, false),
            rows_field(),
        ]))
    }

    fn events(made: [Option<&[u8]>; 3]) -> RecordBatch {
        let text = |text: &str| Some(Value::Text(text.into()));
        let columns = [
            vec![text("a"), None, text("häh")],
            vec![Some(Value::Int(1)), Some(Value::Int(-1)), Some(Value::Int(1_704_067_200_000_000))],
            vec![Some(Value::Float(0.5)), Some(Value::Float(f64::NAN)), None],
            vec![Some(Value::Int(7)), Some(Value::Int(8)), Some(Value::Int(9))],
            made.map(|made| made.map(|made| Value::Bytes(made.into()))).to_vec(),
        ];
        let schema = schema();
        let arrays = columns
            .iter()
            .zip(schema.fields())
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)).expect("an array"));
        RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).expect("a batch")
    }

    /// What no joined view has made.
    const NONE: [Option<&[u8]>; 3] = [None; 3];
    const MADE: [Option<&[u8]>; 3] = [Some(&[1, 2, 3]), Some(&[]), Some(&[0])];

    /// Written by the first release with streams; never to be changed.
    const GOLDEN: &[u8] = include_bytes!("../../tests/data/ingest_log/payload-1.bin");
    /// Written by the first release with joined views; never to be changed.
    const GOLDEN_WITH_ROWS: &[u8] = include_bytes!("../../tests/data/ingest_log/payload-3.bin");

    fn decode(bytes: &[u8], count: u32) -> Result<(RecordBatch, Option<ReadPart>)> {
        let mut events = Events::new(schema());
        let part = events.add(bytes, 7, count)?;
        Ok((events.finish()?, part))
    }

    #[test]
    fn bytes_are_those_of_formats_1_and_3_and_come_back() {
        for (golden, columns, made) in [(GOLDEN, vec![0, 1, 2], NONE), (GOLDEN_WITH_ROWS, vec![0, 1, 2, 4], MADE)] {
            let mut payload = Payload::default();
            payload.add(&events(made).project(&columns).expect("projects")).expect("encodes");
            assert_eq!((payload.bytes.as_slice(), payload.events), (golden, 3));
            let (read, part) = decode(golden, 3).expect("reads");
            assert_eq!((format!("{read:?}"), part.is_none()), (format!("{:?}", events(made)), true));
            for end in 0..golden.len() {
                assert_eq!(decode(&golden[..end], 3).expect_err("cut").kind(), Kind::DataCorrupted);
            }
            assert!(decode(golden, 2).is_err());
        }
    }

    fn letter() -> DeadLetter {
        let (payload, reason) = (b"{".to_vec(), "22P02: no".to_owned());
        DeadLetter { partition: 1, offset: 4, time_us: Some(-5), reason, payload, payload_bytes: 70_000 }
    }

    /// Written by the first release that read topics; never to be changed.
    const GOLDEN_READ: &[u8] = include_bytes!("../../tests/data/ingest_log/payload-2.bin");
    /// Written by the first release with joined views; never to be changed.
    const GOLDEN_READ_WITH_ROWS: &[u8] = include_bytes!("../../tests/data/ingest_log/payload-4.bin");

    #[test]
    fn bytes_are_those_of_formats_2_and_4_and_come_back() {
        let positions = Positions::from([(0, 17), (1, 5)]);
        let letters = [letter(), DeadLetter { time_us: None, ..letter() }];
        for (golden, columns, made) in
            [(GOLDEN_READ, vec![0, 1, 2], NONE), (GOLDEN_READ_WITH_ROWS, vec![0, 1, 2, 4], MADE)]
        {
            let mut payload = Payload::of_read(&positions, &letters).expect("encodes");
            payload.add(&events(made).project(&columns).expect("projects")).expect("encodes");
            assert_eq!((payload.bytes.as_slice(), payload.events), (golden, 5));
            let (read, part) = decode(golden, 5).expect("reads");
            assert_eq!(format!("{read:?}"), format!("{:?}", events(made)));
            let part = part.expect("was read");
            assert_eq!((part.letters.as_slice(), &part.positions), (letters.as_slice(), &positions));
            for end in 0..golden.len() {
                assert_eq!(decode(&golden[..end], 5).expect_err("cut").kind(), Kind::DataCorrupted);
            }
            for count in [1, 4, 6] {
                assert!(decode(golden, count).is_err(), "{count}");
            }
        }
    }

    #[test]
    fn dead_letters_need_no_events() {
        let payload = Payload::of_read(&Positions::from([(0, 1)]), &[letter()]).expect("encodes");
        let (read, part) = decode(&payload.bytes, payload.events).expect("reads");
        assert_eq!((read.num_rows(), part.map(|part| part.letters.len())), (0, Some(1)));
    }
}
