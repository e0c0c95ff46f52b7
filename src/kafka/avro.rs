//! Messages in Avro, as rows. The schema is the stream's; what a message says of a registry must be its number.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use arrow_avro::reader::{Decoder, ReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};

use crate::error::{Error, Kind, Result};
use crate::row::{Value, values_of};

/// In front of a message that names its schema in a registry: a zero and the number.
const PREFIX_BYTES: usize = 5;

/// Reads records of one schema into columns.
pub struct AvroRows {
    schema: String,
    /// that messages must name, if they name one
    schema_id: Option<u32>,
    columns: Vec<(String, DataType)>,
}

impl AvroRows {
    /// Refuses a schema that cannot be read.
    pub fn check(schema: &str) -> Result<SchemaRef> {
        Ok(decoder(schema, 0, 1)?.schema())
    }

    /// For columns, each by its name and type, all of which the record has.
    pub fn new(schema: String, schema_id: Option<u32>, columns: Vec<(String, DataType)>) -> AvroRows {
        AvroRows { schema, schema_id, columns }
    }

    /// The row of each message, or why it has none.
    pub fn rows(&self, messages: &[&[u8]]) -> Result<Vec<Result<Vec<Option<Value>>>>> {
        match self.try_rows(messages) {
            Ok(rows) => Ok(rows.into_iter().map(Ok).collect()),
            // one after the other, to see whose fault it is
            Err(_) if messages.len() > 1 => Ok(messages.iter().map(|message| self.row(message)).collect()),
            Err(error) => Ok(messages.iter().map(|_| Err(error_again(&error))).collect()),
        }
    }

    fn row(&self, message: &[u8]) -> Result<Vec<Option<Value>>> {
        self.try_rows(&[message])?.pop().ok_or_else(|| malformed("no record"))
    }

    fn try_rows(&self, messages: &[&[u8]]) -> Result<Vec<Vec<Option<Value>>>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let mut decoder = decoder(&self.schema, self.schema_id.unwrap_or(0), messages.len())?;
        let mut framed = Vec::new();
        for message in messages {
            let framed = match self.schema_id {
                Some(id) => {
                    check_prefix(message, id)?;
                    *message
                }
                None => {
                    framed.clear();
                    framed.extend_from_slice(&[0; PREFIX_BYTES]);
                    framed.extend_from_slice(message);
                    framed.as_slice()
                }
            };
            let before = decoder.capacity();
            let read = decoder.decode(framed).map_err(malformed)?;
            if decoder.capacity() + 1 != before || read != framed.len() {
                let what =
                    if read < framed.len() { "it does not end where its record does" } else { "it is cut short" };
                return Err(malformed(what));
            }
        }
        let batch = decoder.flush().map_err(malformed)?.ok_or_else(|| malformed("no record"))?;
        let columns = self.columns.iter().map(|column| values_in(&batch, column)).collect::<Result<Vec<_>>>()?;
        Ok((0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect())
    }
}

fn values_in(batch: &RecordBatch, (name, data_type): &(String, DataType)) -> Result<Vec<Option<Value>>> {
    let array = batch.column_by_name(name).ok_or_else(|| Error::internal(format!("a record lacks field {name}")))?;
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast: ArrayRef = cast_with_options(array, data_type, &options).map_err(|error| {
        Error::new(Kind::NumericValueOutOfRange, format!("field \"{name}\" does not fit its column: {error}"))
    })?;
    values_of(cast.as_ref())
}

fn check_prefix(message: &[u8], id: u32) -> Result<()> {
    match message.split_first_chunk::<PREFIX_BYTES>() {
        Some(([0, number @ ..], _)) => match u32::from_be_bytes(*number) {
            named if named == id => Ok(()),
            named => Err(malformed(format!("it is of schema {named}, not {id}"))),
        },
        _ => Err(malformed("it does not begin with the number of its schema")),
    }
}

fn decoder(schema: &str, id: u32, rows: usize) -> Result<Decoder> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(Kind::InvalidParameterValue, format!("the Avro schema cannot be read: {error}"))
            .with_hint("it is a record: schema = '{\"type\": \"record\", \"name\": \"r\", \"fields\": […]}'")
    };
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store.set(Fingerprint::Id(id), AvroSchema::new(schema.to_owned())).map_err(|error| wrong(&error))?;
    let builder = ReaderBuilder::new().with_batch_size(rows).with_writer_schema_store(store);
    builder.with_active_fingerprint(Fingerprint::Id(id)).build_decoder().map_err(|error| wrong(&error))
}

fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::InvalidBinaryRepresentation, format!("the message is no Avro record: {what}"))
}

fn error_again(error: &Error) -> Error {
    Error::new(error.kind(), error.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [
        {"name": "more", "type": "int"}, {"name": "n", "type": ["null", "long"]}, {"name": "s", "type": "string"}]}"#;

    fn rows(schema_id: Option<u32>, n: DataType) -> AvroRows {
        AvroRows::new(SCHEMA.to_owned(), schema_id, vec![("s".to_owned(), DataType::Utf8), ("n".to_owned(), n)])
    }

    #[test]
    fn records_become_rows_by_name() {
        let (text, ten) = (Some(Value::Text("hi".into())), Some(Value::Int(10)));
        let messages: [&[u8]; 2] = [b"\x02\x02\x14\x04hi", b"\x02\x00\x04hi"];
        let read = rows(None, DataType::Int64).rows(&messages).expect("reads");
        let read: Vec<_> = read.into_iter().map(|row| row.expect("is fine")).collect();
        assert_eq!(read, [vec![text.clone(), ten.clone()], vec![text.clone(), None]]);
        let framed: &[u8] = b"\0\0\0\x01\x02\x02\x02\x14\x04hi";
        let read = rows(Some(258), DataType::Int32).rows(&[framed]).expect("reads").remove(0);
        assert_eq!(read.expect("is fine"), [text, ten]);
    }

    #[test]
    fn a_bad_message_spoils_no_other() {
        let good: &[u8] = b"\0\0\0\0\x07\x02\x02\x14\x04hi";
        let bad: [&[u8]; 7] = [
            b"",
            b"\0\0\0\0",
            b"\x01\0\0\0\x07\x02\x02\x14\x04hi",
            b"\0\0\0\0\x08\x02\x02\x14\x04hi",
            b"\0\0\0\0\x07\x02\x02\x14\x04h",
            b"\0\0\0\0\x07\x02\x02\x14\x04hi!",
            b"\0\0\0\0\x07\x02\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x04hi",
        ];
        let rows = rows(Some(7), DataType::Int16);
        for message in bad {
            let read = rows.rows(&[good, message, good]).expect("reads");
            assert!(read[0].is_ok() && read[1].is_err() && read[2].is_ok(), "{message:?}: {read:?}");
        }
        assert!(rows.rows(&bad[..1]).expect("reads")[0].is_err());
        let large: &[u8] = b"\0\0\0\0\x07\x02\x02\x80\x80\x08\x04hi";
        let error = rows.rows(&[large]).expect("reads").remove(0).expect_err("no smallint");
        assert_eq!(error.sqlstate(), "22003");
    }

    #[test]
    fn a_schema_must_be_a_record() {
        for schema in ["", "{", r#"{"type": "nothing"}"#, r#""long""#] {
            assert_eq!(AvroRows::check(schema).expect_err("is none").sqlstate(), "22023", "{schema}");
        }
    }
}
