//! Events as bytes of the ingest log. Format 1:
//!
//! ```text
//! 1 | of every event: a count of columns, and their values as `row` writes them, in the order of the stream's columns
//! ```
//!
//! A payload does not say how many events it has: the log's entry does. Columns that a stream gets later are NULL in
//! events of before.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Kind, Result};
use crate::row::{Reader, Value, array_of, put_values, values_of};

const FORMAT: u8 = 1;

/// Events on their way into one entry.
#[derive(Default)]
pub struct Payload {
    pub bytes: Vec<u8>,
    pub events: u32,
}

impl Payload {
    /// Adds the rows of a batch, which has the stream's columns.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.bytes.is_empty() {
            self.bytes.push(FORMAT);
        }
        let columns = batch.columns().iter().map(|column| values_of(column.as_ref())).collect::<Result<Vec<_>>>()?;
        let mut row = Vec::with_capacity(columns.len());
        for number in 0..batch.num_rows() {
            row.clear();
            row.extend(columns.iter().map(|column| column[number].clone()));
            put_values(&mut self.bytes, &row);
        }
        let added = u32::try_from(batch.num_rows()).ok().and_then(|added| self.events.checked_add(added));
        self.events = added.ok_or_else(|| Error::internal("more events in an entry than can be counted"))?;
        Ok(())
    }
}

/// Entries on their way into one batch.
pub struct Events {
    /// the stream's columns, and the offset
    schema: SchemaRef,
    columns: Vec<Vec<Option<Value>>>,
    offsets: Vec<i64>,
}

impl Events {
    pub fn new(schema: SchemaRef) -> Events {
        let columns = vec![Vec::new(); schema.fields().len() - 1];
        Events { schema, columns, offsets: Vec::new() }
    }

    /// Adds the events of an entry.
    pub fn add(&mut self, payload: &[u8], first_offset: u64, events: u32) -> Result<()> {
        let mut reader = Reader::new(payload);
        if reader.u8()? != FORMAT {
            return Err(Error::new(Kind::DataCorrupted, "an entry of an ingest log has an unknown format")
                .with_hint("use a newer server"));
        }
        for _ in 0..events {
            let mut row = reader.values()?.into_iter();
            self.columns.iter_mut().for_each(|column| column.push(row.next().flatten()));
        }
        if !reader.is_empty() {
            return Err(Error::new(Kind::DataCorrupted, "an entry of an ingest log has more bytes than events"));
        }
        let first = i64::try_from(first_offset).map_err(|_| Error::internal("offsets have run out"))?;
        self.offsets.extend((0..i64::from(events)).map(|place| first + place));
        Ok(())
    }

    pub fn finish(self) -> Result<RecordBatch> {
        let columns = self.columns.iter().zip(self.schema.fields());
        let mut arrays: Vec<ArrayRef> = columns
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)))
            .collect::<Result<_>>()?;
        arrays.push(Arc::new(Int64Array::from(self.offsets)));
        RecordBatch::try_new(self.schema, arrays)
            .map_err(|error| Error::internal("events do not fit their stream").with_source(error))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;

    fn schema() -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("ts", time, true),
            Field::new("v", DataType::Float64, true),
            Field::new("_offset", DataType::Int64, false),
        ]))
    }

    fn events() -> RecordBatch {
        let text = |text: &str| Some(Value::Text(text.into()));
        let columns = [
            vec![text("a"), None, text("häh")],
            vec![Some(Value::Int(1)), Some(Value::Int(-1)), Some(Value::Int(1_704_067_200_000_000))],
            vec![Some(Value::Float(0.5)), Some(Value::Float(f64::NAN)), None],
            vec![Some(Value::Int(7)), Some(Value::Int(8)), Some(Value::Int(9))],
        ];
        let schema = schema();
        let arrays = columns
            .iter()
            .zip(schema.fields())
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)).expect("an array"));
        RecordBatch::try_new(Arc::clone(&schema), arrays.collect()).expect("a batch")
    }

    /// Written by the first release with streams; never to be changed.
    const GOLDEN: &[u8] = include_bytes!("../../tests/data/ingest_log/payload-1.bin");

    #[test]
    fn bytes_are_those_of_format_1_and_come_back() {
        let mut payload = Payload::default();
        payload.add(&events().project(&[0, 1, 2]).expect("projects")).expect("encodes");
        assert_eq!((payload.bytes.as_slice(), payload.events), (GOLDEN, 3));
        let decode = |bytes: &[u8], count: u32| {
            let mut events = Events::new(schema());
            events.add(bytes, 7, count)?;
            events.finish()
        };
        assert_eq!(format!("{:?}", decode(GOLDEN, 3).expect("reads")), format!("{:?}", events()));
        for end in 0..GOLDEN.len() {
            assert_eq!(decode(&GOLDEN[..end], 3).expect_err("cut").kind(), Kind::DataCorrupted);
        }
        assert!(decode(GOLDEN, 2).is_err());
    }
}
