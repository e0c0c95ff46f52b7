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

use crate::error::{Error, Kind, Result};
use crate::http::value_of;
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

    /// What each message is.
    pub fn read(&self, messages: &[Message]) -> Result<Vec<Read>> {
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
        for (place, (column, value)) in self.columns.iter().zip(&mut row).enumerate() {
            match value {
                None if place == self.timestamp || !column.nullable => {
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
        Ok(row)
    }
}

/// A text that is too long without its blanks at the end, which do not count; None if it is not too long.
fn cut(text: &str, most: u64) -> Result<Option<&str>> {
    let end = usize::try_from(most).ok().and_then(|most| text.char_indices().nth(most));
    match end {
        None => Ok(None),
        Some((end, _)) if text[end..].bytes().all(|byte| byte == b' ') => Ok(Some(&text[..end])),
        Some(_) => {
            Err(Error::new(Kind::StringTooLong, format!("value too long for type character varying({most})")))
        }
    }
}

fn value_of_bytes(bytes: &[u8], data_type: &DataType) -> Result<Value> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::new(Kind::CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\""))?;
    value_of_text(text, data_type)
}

fn in_column(error: &Error, column: &Column) -> Error {
    Error::new(error.kind(), format!("column \"{}\": {}", column.name, error.message()))
}
