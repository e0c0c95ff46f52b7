//! Result rows from Arrow batches into DataRow messages, column by column in the format that the client asked for.
//!
//! A batch is brought to a few canonical array types by Arrow's kernels; then rows are written straight from the
//! arrays into the outbox. Knows no sockets: the caller stops when the outbox is full.

mod binary;
mod block;
mod calendar;
mod json;
mod lines;
mod plain;
mod text;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, DurationMicrosecondArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    IntervalMonthDayNanoArray, LargeBinaryArray, LargeStringArray, ListArray, RecordBatch, StringArray,
    StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, IntervalUnit, Schema, TimeUnit};
use bytes::{BufMut, BytesMut};
use granary_postgres::datetime::Zone;
use std::ops::Range;
use std::sync::Arc;

pub use binary::{EPOCH_DAYS, EPOCH_US};
pub use calendar::{Civil, MICROS_PER_DAY, days_from_civil, days_in_month};
pub use lines::LineForm;

use super::output::Outbox;
use super::types::{Column, Form, ShownType};
use crate::engine::ValueRows;
use crate::error::{Error, Kind, Result};
use crate::row::array_of;
use plain::Plain;

/// The two formats of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Binary,
}

impl Format {
    pub fn of_code(code: i16) -> Result<Format> {
        match code {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            _ => Err(Error::new(Kind::InvalidParameterValue, format!("unsupported format code: {code}"))),
        }
    }

    pub fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// The formats of columns or parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Formats {
    All(Format),
    Each(Vec<Format>),
}

impl Formats {
    pub fn of(&self, index: usize) -> Format {
        match self {
            Formats::All(format) => *format,
            Formats::Each(formats) => formats[index],
        }
    }
}

/// The formats of `count` columns or parameters, from the codes of a Bind message: none, one, or one each.
pub fn formats_of(codes: &[i16], count: usize, mismatch: impl FnOnce() -> String) -> Result<Formats> {
    match codes {
        [] => Ok(Formats::All(Format::Text)),
        [code] => Ok(Formats::All(Format::of_code(*code)?)),
        _ if codes.len() == count => {
            Ok(Formats::Each(codes.iter().map(|&code| Format::of_code(code)).collect::<Result<_>>()?))
        }
        _ => Err(Error::new(Kind::ProtocolViolation, mismatch())),
    }
}

/// Rows ready to be written one after the other.
pub struct Rows {
    cells: RowCells,
    count: usize,
    next: usize,
}

enum RowCells {
    /// by column
    Arrays(Vec<(Cells, Format)>),
    Values {
        rows: ValueRows,
        /// where the next row begins
        place: usize,
        columns: Vec<Plain>,
    },
}

impl Rows {
    /// Of a batch.
    pub fn new(batch: &RecordBatch, columns: &[Column], formats: &Formats) -> Result<Rows> {
        if batch.num_columns() != columns.len() {
            return Err(Error::internal(format!(
                "a batch of {} columns came for a result of {}",
                batch.num_columns(),
                columns.len()
            )));
        }
        let cells = of_arrays(batch.columns().iter().map(|array| Ok(Arc::clone(array))), columns, formats)?;
        Ok(Rows { cells, count: batch.num_rows(), next: 0 })
    }

    /// Of what a lookup found. `schema` has the types of the values.
    pub fn of_values(rows: ValueRows, schema: &Schema, columns: &[Column], formats: &Formats) -> Result<Rows> {
        if rows.n_columns() != columns.len() {
            return Err(Error::internal("a lookup found other columns than were described"));
        }
        let count = rows.count();
        let types = schema.fields().iter().map(|field| field.data_type());
        let plain = types.clone().zip(columns).enumerate();
        let plain = plain.map(|(index, (data_type, column))| Plain::of(data_type, column.shown, formats.of(index)));
        let cells = match plain.collect::<Option<Vec<Plain>>>() {
            Some(columns) => RowCells::Values { rows, place: 0, columns },
            None => {
                let values = rows.columns()?;
                let arrays = types.zip(&values);
                let arrays = arrays.map(|(data_type, values)| array_of(data_type, values.iter().map(Option::as_ref)));
                of_arrays(arrays, columns, formats)?
            }
        };
        Ok(Rows { cells, count, next: 0 })
    }

    /// How many rows are not written yet.
    pub fn left(&self) -> usize {
        self.count - self.next
    }

    /// Writes rows until `most` are written, none is left or the outbox has so many bytes; returns how many.
    pub fn write(&mut self, most: u64, high_water: usize, shape: &mut Shape, out: &mut Outbox) -> Result<u64> {
        let mut written = 0;
        while written < most && self.next < self.count && out.len() < high_water {
            let count = match self.block(most - written, shape) {
                Some((columns, tag, rows)) => block::put(columns, tag, rows, high_water - out.len(), out)?,
                None => {
                    self.write_row(shape, out)?;
                    1
                }
            };
            self.next += count;
            written += count as u64;
        }
        Ok(written)
    }

    /// The next rows, if they are many and all columns binary.
    fn block(&self, most: u64, shape: &Shape) -> Option<(&[(Cells, Format)], u8, Range<usize>)> {
        let RowCells::Arrays(columns) = &self.cells else { return None };
        let tag = match shape {
            Shape::Data => b'D',
            Shape::CopyBinary { begun: true } => b'd',
            Shape::CopyBinary { begun: false } | Shape::CopyLines(_) => return None,
        };
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(self.left());
        let is_fit = count >= block::FEWEST_ROWS && columns.iter().all(|(_, format)| *format == Format::Binary);
        is_fit.then_some((columns, tag, self.next..self.next + count))
    }

    fn write_row(&mut self, shape: &mut Shape, out: &mut Outbox) -> Result<()> {
        let row = self.next;
        match &mut self.cells {
            RowCells::Arrays(columns) => match shape {
                Shape::Data => out.message(b'D', |body| put_row(columns, row, body)),
                Shape::CopyBinary { begun } => out.message(b'd', |body| {
                    if !std::mem::replace(begun, true) {
                        body.put_slice(COPY_HEADER);
                    }
                    put_row(columns, row, body)
                }),
                Shape::CopyLines(form) => out.message(b'd', |body| form.put_row(columns, row, body)),
            },
            RowCells::Values { rows, place, columns } => out.message(b'D', |body| {
                put_count(columns.len(), body);
                let mut reader = rows.reader(*place);
                for column in columns.iter() {
                    column.put(reader.value_ref()?, body)?;
                }
                *place = rows.place_of(&reader);
                Ok(())
            }),
        }
    }
}

/// What the rows of a binary COPY begin with: a signature, flags and the length of an extension, none.
pub const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The messages that rows become.
pub enum Shape {
    /// DataRow
    Data,
    /// CopyData, the header with the first row
    CopyBinary {
        begun: bool,
    },
    CopyLines(LineForm),
}

fn put_row(columns: &[(Cells, Format)], row: usize, body: &mut BytesMut) -> Result<()> {
    put_count(columns.len(), body);
    columns.iter().try_for_each(|(cells, format)| cells.put(row, *format, body))
}

fn put_count(columns: usize, body: &mut BytesMut) {
    body.put_i16(i16::try_from(columns).expect("columns_of counted them"));
}

fn of_arrays(
    arrays: impl Iterator<Item = Result<ArrayRef>>,
    columns: &[Column],
    formats: &Formats,
) -> Result<RowCells> {
    let cells = arrays.zip(columns).enumerate().map(|(index, (array, column))| {
        let (cells, format) = (Cells::new(&array?, column.shown)?, formats.of(index));
        if format == Format::Binary {
            cells.check_binary(column.shown)?;
        }
        Ok((cells, format))
    });
    Ok(RowCells::Arrays(cells.collect::<Result<_>>()?))
}

/// A length word and what `put` writes.
fn put_sized(body: &mut BytesMut, put: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
    let start = body.len();
    body.put_i32(0);
    put(body)?;
    let length = i32::try_from(body.len() - start - 4)
        .map_err(|_| Error::new(Kind::OutOfMemory, "a value is longer than 2 GiB"))?;
    body[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// One column, or the items of a list, in a canonical array type.
struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    Bool(BooleanArray),
    Int2(Int16Array),
    Int4(Int32Array),
    Int8(Int64Array),
    Oid(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal(Decimal128Array),
    WideDecimal(Decimal256Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    TextView(StringViewArray),
    Uuid(StringArray),
    Bytes(BinaryArray),
    LargeBytes(LargeBinaryArray),
    BytesView(BinaryViewArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp {
        values: TimestampMicrosecondArray,
        /// in which a text shows them
        zone: Option<Zone>,
    },
    Interval(IntervalMonthDayNanoArray),
    Duration(DurationMicrosecondArray),
    List(List),
    Json {
        node: Box<json::Node>,
        version: bool,
    },
    JsonText {
        values: StringArray,
        version: bool,
    },
    /// of a type that Arrow lacks, as it is printed
    Printed {
        values: StringArray,
        oid: u32,
    },
    /// numbers that are shown as names
    Named {
        numbers: Int64Array,
        names: StringArray,
    },
}

impl Values {
    /// No number's text needs quotes.
    fn is_number(&self) -> bool {
        matches!(
            self,
            Values::Int2(_)
                | Values::Int4(_)
                | Values::Int8(_)
                | Values::Oid(_)
                | Values::Float4(_)
                | Values::Float8(_)
                | Values::Decimal(_)
                | Values::WideDecimal(_)
        )
    }

    fn is_text(&self) -> bool {
        matches!(self, Values::Text(_) | Values::LargeText(_) | Values::TextView(_))
    }
}

struct List {
    offsets: ListArray,
    items: Box<Cells>,
    item_oid: u32,
    style: ListStyle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListStyle {
    Array,
    Vector,
}

impl Cells {
    fn new(array: &ArrayRef, shown: ShownType) -> Result<Cells> {
        let values = if matches!(array.data_type(), DataType::Null) {
            Values::Null
        } else if shown.is_array {
            list_values(array, shown, ListStyle::Array)?
        } else {
            scalar_values(array, shown)?
        };
        let nulls = match &values {
            Values::Null => None,
            // a dictionary's values may be null where its keys are not
            _ => array.logical_nulls().filter(|nulls| nulls.null_count() > 0),
        };
        Ok(Cells { nulls, values })
    }

    fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Null => true,
            _ => self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    /// A length word and the value.
    fn put(&self, row: usize, format: Format, body: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            body.put_i32(-1);
            return Ok(());
        }
        put_sized(body, |body| match format {
            Format::Text => text::put(&self.values, row, body),
            Format::Binary => binary::put(&self.values, row, body),
        })
    }

    /// Some types are shown by a name or a notation whose binary form is not ours to make.
    fn check_binary(&self, shown: ShownType) -> Result<()> {
        let is_text = match &self.values {
            Values::List(list) => list.items.values.is_text(),
            values => values.is_text(),
        };
        let no_binary = match shown.item.form {
            Form::TextOnly | Form::Oid | Form::Vector { .. } => is_text,
            _ => false,
        };
        if no_binary {
            let message = format!("no binary output function available for type {}", shown.item.name);
            return Err(Error::new(Kind::UndefinedFunction, message));
        }
        Ok(())
    }
}

fn scalar_values(array: &ArrayRef, shown: ShownType) -> Result<Values> {
    let (item, zone) = (shown.item, shown.zone);
    let us = TimeUnit::Microsecond;
    Ok(match item.form {
        Form::Bool => Values::Bool(to(array, &DataType::Boolean)?.as_boolean().clone()),
        Form::Int2 => Values::Int2(to(array, &DataType::Int16)?.as_primitive().clone()),
        Form::Int4 => Values::Int4(to(array, &DataType::Int32)?.as_primitive().clone()),
        Form::Int8 => Values::Int8(to(array, &DataType::Int64)?.as_primitive().clone()),
        Form::Oid if matches!(array.data_type(), DataType::Struct(_)) => {
            let both = array.as_struct();
            Values::Named { numbers: both.column(0).as_primitive().clone(), names: both.column(1).as_string().clone() }
        }
        Form::Oid if !is_text(array.data_type()) => Values::Oid(to(array, &DataType::Int64)?.as_primitive().clone()),
        Form::Float4 => Values::Float4(to(array, &DataType::Float32)?.as_primitive().clone()),
        Form::Float8 => Values::Float8(to(array, &DataType::Float64)?.as_primitive().clone()),
        Form::Numeric | Form::TextOnly if is_text(array.data_type()) => printed(array, item.oid)?,
        Form::Numeric => decimal_values(array)?,
        Form::Oid | Form::Text | Form::TextOnly => text_values(array)?,
        Form::Uuid => Values::Uuid(to(array, &DataType::Utf8)?.as_string().clone()),
        Form::Bytes => bytes_values(array)?,
        Form::Date => Values::Date(to(array, &DataType::Date32)?.as_primitive().clone()),
        Form::Time => Values::Time(to(array, &DataType::Time64(us))?.as_primitive().clone()),
        Form::Timestamp => Values::Timestamp { values: to_timestamp(array)?.as_primitive().clone(), zone: None },
        Form::TimestampZoned => {
            Values::Timestamp { values: to_timestamp(array)?.as_primitive().clone(), zone: Some(zone) }
        }
        Form::Interval if is_text(array.data_type()) => printed(array, item.oid)?,
        Form::Interval if matches!(value_type(array.data_type()), DataType::Duration(_)) => {
            Values::Duration(to(array, &DataType::Duration(us))?.as_primitive().clone())
        }
        Form::Interval => {
            let canonical = DataType::Interval(IntervalUnit::MonthDayNano);
            Values::Interval(to(array, &canonical)?.as_primitive().clone())
        }
        Form::Json | Form::Jsonb => {
            let version = item.form == Form::Jsonb;
            if is_text(array.data_type()) {
                Values::JsonText { values: to(array, &DataType::Utf8)?.as_string().clone(), version }
            } else {
                Values::Json { node: Box::new(json::Node::new(array)?), version }
            }
        }
        Form::Vector { item } if matches!(array.data_type(), DataType::List(_)) => {
            let shown = ShownType::of_oid(item).expect("vectors are over known types");
            list_values(array, shown, ListStyle::Vector)?
        }
        Form::Vector { .. } => printed(array, item.oid)?,
    })
}

fn printed(array: &ArrayRef, oid: u32) -> Result<Values> {
    Ok(Values::Printed { values: to(array, &DataType::Utf8)?.as_string().clone(), oid })
}

fn decimal_values(array: &ArrayRef) -> Result<Values> {
    Ok(match value_type(array.data_type()) {
        DataType::Decimal256(..) => {
            Values::WideDecimal(to(array, value_type(array.data_type()))?.as_primitive().clone())
        }
        DataType::Decimal128(..) => Values::Decimal(to(array, value_type(array.data_type()))?.as_primitive().clone()),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => {
            Values::Decimal(to(array, &DataType::Decimal128(*p, *s))?.as_primitive().clone())
        }
        _ => Values::Decimal(to(array, &DataType::Decimal128(20, 0))?.as_primitive().clone()),
    })
}

fn text_values(array: &ArrayRef) -> Result<Values> {
    Ok(match array.data_type() {
        DataType::LargeUtf8 => Values::LargeText(array.as_string().clone()),
        DataType::Utf8View => Values::TextView(array.as_string_view().clone()),
        _ => Values::Text(to(array, &DataType::Utf8)?.as_string().clone()),
    })
}

fn bytes_values(array: &ArrayRef) -> Result<Values> {
    Ok(match array.data_type() {
        DataType::LargeBinary => Values::LargeBytes(array.as_binary().clone()),
        DataType::BinaryView => Values::BytesView(array.as_binary_view().clone()),
        _ => Values::Bytes(to(array, &DataType::Binary)?.as_binary().clone()),
    })
}

fn list_values(array: &ArrayRef, shown: ShownType, style: ListStyle) -> Result<Values> {
    let item = shown.item;
    let field = match array.data_type() {
        DataType::List(field) => Arc::clone(field),
        DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => Arc::clone(field),
        // an array that is printed already
        _ => return printed(array, item.array),
    };
    let offsets = to(array, &DataType::List(field))?.as_list::<i32>().clone();
    let items = Box::new(Cells::new(offsets.values(), ShownType::scalar(item).in_zone(shown.zone))?);
    Ok(Values::List(List { offsets, items, item_oid: item.oid, style }))
}

/// Timestamps in microseconds, whatever zone they name: the number is UTC in any case.
fn to_timestamp(array: &ArrayRef) -> Result<ArrayRef> {
    let zone = match value_type(array.data_type()) {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    to(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))
}

fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => value,
        DataType::RunEndEncoded(_, value) => value.data_type(),
        other => other,
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(value_type(data_type), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn to(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options).map_err(|error| {
        let kind = match data_type {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Time64(_) => Kind::DatetimeFieldOverflow,
            _ => Kind::NumericValueOutOfRange,
        };
        Error::new(kind, format!("a value of type {} is out of range of {data_type}", array.data_type()))
            .with_source(error)
    })
}

#[cfg(test)]
mod tests;
