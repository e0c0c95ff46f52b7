//! The lines, or binary rows, of a COPY into batches of the table's columns. Errors say the line, and the column, as PostgreSQL does.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use bytes::Bytes;
use granary_postgres::datetime::Zone;

use super::lines::{Lines, fields};
use super::tuples::Tuples;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, array_of, value_at};
use crate::session::{CallRows, CopyForm, CopyFormat, CopyIn, Fault, Header, LeftOut, NullFields};
use crate::wire::decode::{Raw, decode};
use crate::wire::encode::Format;
use crate::wire::types::ShownType;

/// Rows of a batch, and the bytes after which it ends earlier.
const BATCH_ROWS: usize = 8 * 1024;
const BATCH_BYTES: usize = 8 << 20;
/// As much of a line or field as an error shows.
const MOST_SHOWN: usize = 100;

pub struct CopyRows {
    table: String,
    source: Source,
    fields: Vec<Field>,
    /// columns that cannot be NULL
    required: Vec<(usize, Error)>,
    schema: SchemaRef,
    /// where rows are noted that are no values of their columns, if they do not fail the COPY
    left_out: Option<Arc<LeftOut>>,
    /// so many rows have come
    count: u64,
    /// of the batch at hand, by column of the table
    values: Vec<Vec<Option<Value>>>,
    /// their numbers in the COPY
    numbers: Vec<u64>,
    bytes: usize,
}

/// Where rows are cut out of the bytes.
enum Source {
    Lines {
        format: CopyFormat,
        lines: Lines,
        /// whether the next line names the columns
        header: Header,
    },
    Binary(Tuples),
}

impl Source {
    /// Of the last row.
    fn number(&self) -> u64 {
        match self {
            Source::Lines { lines, .. } => lines.number,
            Source::Binary(tuples) => tuples.number,
        }
    }

    fn format(&self) -> Format {
        match self {
            Source::Lines { .. } => Format::Text,
            Source::Binary(_) => Format::Binary,
        }
    }
}

/// A field of each row.
struct Field {
    name: String,
    /// its place in the table
    place: usize,
    shown: ShownType,
    data_type: DataType,
    nulls: NullFields,
}

impl CopyRows {
    /// `zone`: of times that say none.
    pub fn new(copy: &CopyIn, zone: Zone) -> Result<CopyRows> {
        let schema = copy.schema();
        let field = |(place, nulls): (&usize, &NullFields)| -> Result<Field> {
            let field = schema.field(*place);
            let (name, data_type) = (field.name().clone(), field.data_type().clone());
            Ok(Field {
                name,
                place: *place,
                shown: ShownType::of_data_type(&data_type)?.in_zone(zone),
                data_type,
                nulls: *nulls,
            })
        };
        Ok(CopyRows {
            table: copy.table().to_owned(),
            source: match &copy.format {
                CopyForm::Lines(format) => {
                    Source::Lines { format: format.clone(), lines: Lines::new(format.clone()), header: format.header }
                }
                CopyForm::Binary => Source::Binary(Tuples::new(copy.columns.len())),
            },
            fields: copy.columns.iter().zip(&copy.null_fields).map(field).collect::<Result<_>>()?,
            required: copy.required(),
            values: vec![Vec::new(); schema.fields().len()],
            schema,
            left_out: copy.left_out.clone(),
            count: 0,
            numbers: Vec::new(),
            bytes: 0,
        })
    }

    /// Takes bytes; gives the batches that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<CallRows>> {
        match &mut self.source {
            Source::Lines { lines, .. } => lines.push(bytes),
            Source::Binary(tuples) => tuples.push(bytes),
        }
        self.read(false)
    }

    /// No more bytes will come.
    pub fn finish(&mut self) -> Result<Vec<CallRows>> {
        let mut batches = self.read(true)?;
        if !self.numbers.is_empty() {
            batches.push(self.batch()?);
        }
        Ok(batches)
    }

    fn read(&mut self, is_last: bool) -> Result<Vec<CallRows>> {
        let mut batches = Vec::new();
        while self.next(is_last)? {
            if self.numbers.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
                batches.push(self.batch()?);
            }
        }
        Ok(batches)
    }

    /// Reads one row, or header; false if none is whole.
    fn next(&mut self, is_last: bool) -> Result<bool> {
        match &mut self.source {
            Source::Binary(tuples) => {
                let fields = tuples.next(is_last);
                let fields = fields.map_err(|error| self.at_row(error))?;
                let Some(fields) = fields else { return Ok(false) };
                let bytes = fields.iter().flatten().map(Bytes::len).sum();
                self.add(fields, None, bytes)?;
            }
            Source::Lines { lines, header, format } => {
                let line = lines.next(is_last);
                let (header, fields) = match &line {
                    Ok(Some(line)) => (std::mem::replace(header, Header::No), fields(line, format)),
                    _ => (Header::No, Ok(Vec::new())),
                };
                let null = format.null.clone();
                let line = line.map_err(|error| self.at_row(error))?;
                let Some(line) = line else { return Ok(false) };
                if header == Header::Yes {
                    return Ok(true);
                }
                let mut fields = fields.map_err(|error| self.at_line(&line, error))?;
                if header == Header::Match {
                    self.check_header(&fields, &null).map_err(|error| self.at_line(&line, error))?;
                    return Ok(true);
                }
                if fields.len() > self.fields.len() {
                    let error = Error::new(Kind::BadCopyFormat, "extra data after last expected column");
                    return Err(self.at_line(&line, error));
                }
                if let Some(missing) = self.fields.get(fields.len()) {
                    let message = format!("missing data for column \"{}\"", missing.name);
                    return Err(self.at_line(&line, Error::new(Kind::BadCopyFormat, message)));
                }
                for (field, bytes) in self.fields.iter().zip(&mut fields) {
                    if field.nulls.never && bytes.is_none() {
                        *bytes = Some(null.clone().into_bytes());
                    } else if field.nulls.quoted && bytes.as_ref().is_some_and(|bytes| bytes == null.as_bytes()) {
                        *bytes = None;
                    }
                }
                let fields = fields.into_iter().map(|field| field.map(Bytes::from)).collect();
                self.add(fields, Some(&line), line.len())?;
            }
        }
        Ok(true)
    }

    /// Refuses a first line that does not name the columns, in their order.
    fn check_header(&self, names: &[Option<Vec<u8>>], null: &str) -> Result<()> {
        let wrong = |message: String| Err(Error::new(Kind::BadCopyFormat, message));
        if names.len() != self.fields.len() {
            let (got, expected) = (names.len(), self.fields.len());
            return wrong(format!("wrong number of fields in header line: got {got}, expected {expected}"));
        }
        for (index, (name, field)) in names.iter().zip(&self.fields).enumerate() {
            let place = format!("column name mismatch in header line field {}: got", index + 1);
            match name {
                Some(name) if name == field.name.as_bytes() => {}
                Some(name) => return wrong(format!("{place} \"{}\", expected \"{}\"", shown(name), field.name)),
                None => return wrong(format!("{place} null value (\"{null}\"), expected \"{}\"", field.name)),
            }
        }
        Ok(())
    }

    /// Adds a row; one that does not fit is noted, or is an error.
    fn add(&mut self, fields: Vec<Option<Bytes>>, line: Option<&Bytes>, bytes: usize) -> Result<()> {
        self.count += 1;
        let rows = self.numbers.len();
        let (error, place) = match self.take(fields) {
            Ok(()) => {
                self.numbers.push(self.count);
                self.bytes += bytes;
                return Ok(());
            }
            Err(fault) => fault,
        };
        let error = match (place, line) {
            (Some(place), _) => error.with_context(place),
            (None, Some(line)) => self.at_line(line, error),
            (None, None) => self.at_row(error),
        };
        let Some(left_out) = &self.left_out else { return Err(error) };
        // what of the row was read before its fault
        self.values.iter_mut().for_each(|values| values.truncate(rows));
        left_out.add(Fault { number: self.count, refused: error.into() });
        Ok(())
    }

    fn at_row(&self, error: Error) -> Error {
        error.with_context(format!("COPY {}, line {}", self.table, self.source.number()))
    }

    fn at_line(&self, line: &[u8], error: Error) -> Error {
        error.with_context(format!("COPY {}, line {}: \"{}\"", self.table, self.source.number(), shown(line)))
    }

    /// Adds the values of a row. An error comes with its own place, if that is a field.
    fn take(&mut self, fields: Vec<Option<Bytes>>) -> Result<(), (Error, Option<String>)> {
        let format = self.source.format();
        for (field, bytes) in self.fields.iter().zip(fields) {
            let value = match bytes {
                None => None,
                Some(bytes) => field.value(bytes.clone(), format).map_err(|error| {
                    let (table, number, name) = (&self.table, self.source.number(), &field.name);
                    let place = format!("COPY {table}, line {number}, column {name}");
                    match format {
                        Format::Text => (error, Some(format!("{place}: \"{}\"", shown(&bytes)))),
                        Format::Binary => (error, Some(place)),
                    }
                })?,
            };
            self.values[field.place].push(value);
        }
        let row = self.numbers.len();
        let is_null = |place: &usize| self.values[*place].get(row).is_none_or(Option::is_none);
        match self.required.iter().find(|(place, _)| is_null(place)) {
            Some((_, error)) => Err((error.duplicate(), None)),
            None => Ok(()),
        }
    }

    fn batch(&mut self) -> Result<CallRows> {
        let numbers = std::mem::take(&mut self.numbers);
        let rows = numbers.len();
        self.bytes = 0;
        let columns = self.values.iter_mut().zip(self.schema.fields()).map(|(values, field)| {
            // columns that no field names are NULL
            values.resize(rows, None);
            let array = array_of(field.data_type(), values.iter().map(Option::as_ref));
            values.clear();
            array
        });
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns.collect::<Result<Vec<_>>>()?)
            .map_err(|error| Error::internal("copied rows do not fit their table").with_source(error))?;
        Ok(CallRows { rows, numbers })
    }
}

impl Field {
    fn value(&self, bytes: Bytes, format: Format) -> Result<Option<Value>> {
        let raw = Raw { number: self.place + 1, format, bytes: Some(bytes) };
        let decoded = decode(raw, self.shown, &self.data_type).map_err(|error| match error.kind() {
            // it would speak of a parameter
            Kind::InvalidBinaryRepresentation => Error::new(error.kind(), "incorrect binary data format"),
            _ => error,
        })?;
        let item = match &self.data_type {
            DataType::List(item) => item.data_type(),
            own => own,
        };
        if !matches!(item, DataType::Decimal128(..)) || decoded.0 == self.data_type {
            return Ok(decoded.1);
        }
        // more digits than the column has: it rounds, or refuses
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let array = array_of(&decoded.0, [decoded.1.as_ref()])?;
        let cast = cast_with_options(&array, &self.data_type, &options)
            .map_err(|error| Error::new(Kind::NumericValueOutOfRange, "numeric field overflow").with_source(error))?;
        value_at(cast.as_ref(), 0)
    }
}

/// A line or field as an error shows it.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(MOST_SHOWN) {
        None => text.into_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
