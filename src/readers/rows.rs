//! Messages into rows of a stream's columns. What is no event says why.
//!
//! JSON is an object, its fields named as the columns, their values as over HTTP: a column without a field is NULL, a field
//! without a column is ignored. CSV is one line, as COPY reads it, of all columns in their order. Avro is a record. A column
//! for the key is none of these. A message without payload, a tombstone, is nothing: a stream is of what has happened, and
//! nothing of that can be taken back.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use granary_catalog::{Column, Stream};
use serde_json::Value as Json;

use super::reader::{Messages, Origin};
use crate::error::{Error, Kind, Result};
use crate::http::value_of;
use crate::ingest::Positions;
use crate::kafka::{AvroRows, Format, Message, Options};
use crate::row::Value;
use crate::session::CopyFormat;
use crate::wire::{fields_of_line, value_of_text};

/// A message with a longer payload is no event.
const LONGEST_PAYLOAD: usize = 8 << 20;

pub type Row = Vec<Option<Value>>;

/// What a message is.
#[derive(Debug)]
pub enum Read {
    Row(Row),
    Tombstone,
    Bad(Error),
}

/// See the module.
pub struct Rows {
    columns: Vec<Column>,
    /// the place of the column for the key
    key: Option<usize>,
    timestamp: usize,
    /// the places of the columns that payloads have
    body: Vec<usize>,
    payload: Payload,
}

enum Payload {
    Json,
    Csv(CopyFormat),
    Avro(Box<AvroRows>),
}

impl Rows {
    pub fn new(stream: &Stream, options: &Options) -> Result<Rows> {
        let columns = stream.columns.clone();
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let timestamp = place(&stream.timestamp).ok_or_else(|| Error::internal("a stream has no time"))?;
        let key = options.key.as_deref().and_then(place);
        let body: Vec<usize> = (0..columns.len()).filter(|place| Some(*place) != key).collect();
        let payload = match &options.format {
            Format::Json => Payload::Json,
            Format::Csv => Payload::Csv(CopyFormat::csv()),
            Format::Avro { schema, schema_id } => {
                let fields = body.iter().map(|place| (columns[*place].name.clone(), columns[*place].data_type.clone()));
                Payload::Avro(Box::new(AvroRows::new(schema.clone(), *schema_id, fields.collect())))
            }
        };
        Ok(Rows { columns, key, timestamp, body, payload })
    }
}

impl Messages for Rows {
    type Message = Message;

    fn read(&self, messages: &[Message]) -> Result<Vec<Read>> {
        let long = |message: &Message| message.payload.as_ref().is_some_and(|payload| payload.len() > LONGEST_PAYLOAD);
        let payloads: Vec<&[u8]> =
            messages.iter().filter(|message| !long(message)).filter_map(|message| message.payload.as_deref()).collect();
        let mut bodies = self.bodies(&payloads)?.into_iter();
        let mut read = |message: &Message| {
            if message.payload.is_none() {
                return Ok(Read::Tombstone);
            }
            if long(message) {
                let text = format!("the message has more than {LONGEST_PAYLOAD} bytes");
                return Ok(Read::Bad(Error::new(Kind::ConfigurationLimitExceeded, text)));
            }
            let body = bodies.next().ok_or_else(|| Error::internal("a message has no row"))?;
            Ok(match body.and_then(|body| self.row(body, message.key.as_deref())) {
                Ok(row) => Read::Row(row),
                Err(error) => Read::Bad(error),
            })
        };
        messages.iter().map(&mut read).collect()
    }

    fn origin(&self, message: &Message) -> Origin {
        let payload = message.payload.clone().unwrap_or_default();
        Origin { partition: message.partition, offset: message.offset, time_us: message.time_us, payload }
    }

    fn pass(&self, message: &Message, positions: &mut Positions) {
        positions.insert(message.partition, message.offset + 1);
    }
}

impl Rows {
    /// The values of columns of payloads.
    fn bodies(&self, payloads: &[&[u8]]) -> Result<Vec<Result<Row>>> {
        Ok(match &self.payload {
            Payload::Json => payloads.iter().map(|payload| self.json(payload)).collect(),
            Payload::Csv(format) => payloads.iter().map(|payload| self.csv(payload, format)).collect(),
            Payload::Avro(rows) => rows.rows(payloads)?,
        })
    }

    fn json(&self, payload: &[u8]) -> Result<Row> {
        let object: BTreeMap<String, Json> = serde_json::from_slice(payload).map_err(|error| {
            Error::new(Kind::InvalidTextRepresentation, format!("the message is no JSON object: {error}"))
        })?;
        let field = |place: &usize| {
            let column = &self.columns[*place];
            let value = object.get(&column.name).map(|json| value_of(json, &column.data_type));
            value.transpose().map(Option::flatten).map_err(|error| in_column(&error, column))
        };
        self.body.iter().map(field).collect()
    }

    fn csv(&self, payload: &[u8], format: &CopyFormat) -> Result<Row> {
        let fields = fields_of_line(payload, format)?;
        if fields.len() != self.body.len() {
            let message = format!("the line has {} fields, not {}", fields.len(), self.body.len());
            return Err(Error::new(Kind::BadCopyFormat, message));
        }
        let field = |(field, place): (Option<Vec<u8>>, &usize)| {
            let column = &self.columns[*place];
            let value = field.map(|bytes| value_of_bytes(&bytes, &column.data_type)).transpose();
            value.map_err(|error| in_column(&error, column))
        };
        fields.into_iter().zip(&self.body).map(field).collect()
    }

    /// The body with the key in its place, as it must be to be an event.
    fn row(&self, mut row: Row, key: Option<&[u8]>) -> Result<Row> {
        if let Some(place) = self.key {
            let column = &self.columns[place];
            let value = match (key, &column.data_type) {
                (Some(key), DataType::Binary) => Some(Value::Bytes(key.into())),
                (Some(key), data_type) => {
                    Some(value_of_bytes(key, data_type).map_err(|error| in_column(&error, column))?)
                }
                (None, _) => None,
            };
            row.insert(place, value);
        }
        finish(&self.columns, self.timestamp, &mut row)?;
        Ok(row)
    }
}

/// A row as it must be to be an event: with a time, and without what no text has.
pub fn finish(columns: &[Column], timestamp: usize, row: &mut Row) -> Result<()> {
    for (place, (column, value)) in columns.iter().zip(row).enumerate() {
        match value {
            None if place == timestamp || !column.nullable => {
                let message = format!("null value in column \"{}\" violates not-null constraint", column.name);
                return Err(Error::new(Kind::NotNullViolation, message));
            }
            Some(Value::Text(text)) if text.contains('\0') => {
                let message = "invalid byte sequence for encoding \"UTF8\": 0x00";
                return Err(in_column(&Error::new(Kind::CharacterNotInRepertoire, message), column));
            }
            Some(Value::Text(text)) => {
                if let Some(most) = column.max_length
                    && let Some(cut) = cut(text, most)?
                {
                    *value = Some(Value::Text(cut.into()));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// A text that is too long without its blanks at the end, which do not count; None if it is not too long.
fn cut(text: &str, most: u64) -> Result<Option<&str>> {
    let end = usize::try_from(most).ok().and_then(|most| text.char_indices().nth(most));
    match end {
        None => Ok(None),
        Some((end, _)) if text[end..].bytes().all(|byte| byte == b' ') => Ok(Some(&text[..end])),
        Some(_) => Err(Error::new(Kind::StringTooLong, format!("value too long for type character varying({most})"))),
    }
}

pub fn value_of_bytes(bytes: &[u8], data_type: &DataType) -> Result<Value> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::new(Kind::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\""))?;
    value_of_text(text, data_type)
}

pub fn in_column(error: &Error, column: &Column) -> Error {
    Error::new(error.kind(), format!("column \"{}\": {}", column.name, error.message()))
}

#[cfg(test)]
mod tests {
    use granary_catalog::{Header, Home, ObjectId, StreamIngest};

    use super::*;

    fn rows(options: &[(&'static str, &'static str)]) -> Rows {
        let column = |name: &str, data_type| Column::new(name, data_type, true);
        let time = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into()));
        let stream = Stream {
            header: Header::new(ObjectId(1), Home::Server, "s", "ada"),
            columns: vec![
                column("k", DataType::Utf8),
                column("ts", time),
                Column { max_length: Some(2), ..column("v", DataType::Utf8) },
                column("n", DataType::Int32),
            ],
            timestamp: "ts".to_owned(),
            deduplicate_by: Vec::new(),
            ingest: StreamIngest::Push,
            backfill: None,
            paused: false,
            depends_on: Vec::new(),
        };
        let least = [("brokers", "b"), ("topic", "t")];
        let options = Options::of(least.into_iter().chain(options.iter().copied())).expect("options");
        Rows::new(&stream, &options).expect("fit")
    }

    fn read(rows: &Rows, key: Option<&[u8]>, payload: Option<&[u8]>) -> String {
        let (key, payload) = (key.map(<[u8]>::to_vec), payload.map(<[u8]>::to_vec));
        let message = Message { partition: 0, offset: 0, time_us: None, key, payload };
        match rows.read(&[message]).expect("reads").remove(0) {
            Read::Tombstone => "tombstone".to_owned(),
            Read::Bad(error) => format!("{} {}", error.sqlstate(), error.message()),
            Read::Row(row) => {
                let cell = |value: &Option<Value>| match value {
                    None => "-".to_owned(),
                    Some(Value::Int(number)) => number.to_string(),
                    Some(Value::Text(text)) => text.to_string(),
                    Some(other) => format!("{other:?}"),
                };
                row.iter().map(cell).collect::<Vec<_>>().join("|")
            }
        }
    }

    #[test]
    fn json_is_read_by_the_names_of_columns() {
        let rows = rows(&[("format", "json")]);
        let read = |payload: &[u8]| read(&rows, None, Some(payload));
        assert_eq!(read(br#"{"ts": "1970-01-01T00:00:01Z", "k": "a", "n": "7", "x": [1]}"#), "a|1000000|-|7");
        assert_eq!(read(br#"{"ts": "1970-01-01", "v": "ab   ", "n": null}"#), "-|0|ab|-");
        for (payload, said) in [
            (&b""[..], "22P02 the message is no JSON object"),
            (b"[1]", "22P02 the message is no JSON object"),
            (b"{} {}", "22P02 the message is no JSON object"),
            (b"\xff", "22P02 the message is no JSON object"),
            (b"{}", "23502 null value in column \"ts\""),
            (br#"{"ts": "1970-01-01", "n": 1.5}"#, "22P02 column \"n\""),
            (br#"{"ts": "1970-01-01", "n": 3000000000}"#, "22003 column \"n\""),
            (br#"{"ts": "1970-01-01", "k": 7}"#, "42804 column \"k\""),
            (br#"{"ts": "1970-01-01", "k": "a\u0000"}"#, "22021 "),
            (br#"{"ts": "1970-13-01"}"#, "22008 column \"ts\""),
            (br#"{"ts": "1970-01-01", "v": "abc"}"#, "22001 value too long"),
        ] {
            assert!(read(payload).starts_with(said), "{}: {}", String::from_utf8_lossy(payload), read(payload));
        }
    }

    #[test]
    fn csv_is_one_line() {
        let rows = rows(&[("format", "csv")]);
        let read = |payload: &[u8]| read(&rows, None, Some(payload));
        assert_eq!(read(b"a,1970-01-01,,7"), "a|0|-|7");
        assert_eq!(read(b"\"a\n,b\",1970-01-01,\"\",\r\n"), "a\n,b|0||-");
        for (payload, said) in [
            (&b""[..], "22P04 there is no line"),
            (b"a,1970-01-01,,7\nb,1970-01-01,,7", "22P04 there is more than one line"),
            (b"a,1970-01-01", "22P04 the line has 2 fields, not 4"),
            (b"\"a,1970-01-01,,7", "22P04 unterminated"),
            (b"a,,,7", "23502 "),
            (b"a,1970-01-01,,x", "22P02 column \"n\""),
            (b"\xff,1970-01-01,,7", "22021 column \"k\""),
        ] {
            assert!(read(payload).starts_with(said), "{}: {}", String::from_utf8_lossy(payload), read(payload));
        }
    }

    #[test]
    fn a_key_has_a_column_of_its_own() {
        let rows = rows(&[("format", "csv"), ("key", "n")]);
        let line = Some(&b"a,1970-01-01,v"[..]);
        assert_eq!(read(&rows, Some(b"12"), line), "a|0|v|12");
        assert_eq!(read(&rows, None, line), "a|0|v|-");
        assert!(read(&rows, Some(b"x"), line).starts_with("22P02 column \"n\""));
        assert_eq!(read(&rows, Some(b"12"), None), "tombstone");
    }
}
