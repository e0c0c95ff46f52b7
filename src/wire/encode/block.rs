//! Many rows in the binary format, column by column into one buffer: where each row's next field goes is known before any
//! of them is written, so that a column is one loop over one type.

use std::ops::Range;

use bytes::BytesMut;

use super::binary;
use super::{Cells, Format, Values};
use crate::error::{Error, Kind, Result};
use crate::wire::output::Outbox;

/// So many rows are written at a time: their places stay in the processor's caches.
const MOST_ROWS: usize = 1024;
/// Fewer are written one by one.
pub const FEWEST_ROWS: usize = 16;
/// The type byte, the length and the number of fields.
const HEAD: usize = 1 + 4 + 2;

/// Writes rows as messages, at least one, until they have so many bytes; gives their number.
pub fn put(
    columns: &[(Cells, Format)],
    tag: u8,
    rows: Range<usize>,
    most_bytes: usize,
    out: &mut Outbox,
) -> Result<usize> {
    let mut rows = rows.start..rows.end.min(rows.start + MOST_ROWS);
    let mut lengths = vec![HEAD + 4 * columns.len(); rows.len()];
    let mut made = Vec::with_capacity(columns.len());
    for (cells, _) in columns {
        let (own, count) = measure(cells, rows.clone(), most_bytes, &mut lengths)?;
        made.push(own);
        rows.end = rows.start + count;
        lengths.truncate(count);
    }
    let (mut total, mut count) = (0, 0);
    for length in &lengths {
        if count > 0 && total + length > most_bytes {
            break;
        }
        total += length;
        count += 1;
    }
    rows.end = rows.start + count;
    let n_fields = i16::try_from(columns.len()).expect("columns_of counted them").to_be_bytes();
    out.framed(total, |body| {
        let mut place = 0;
        let mut places = Vec::with_capacity(count);
        for length in &lengths[..count] {
            // the length counts itself, but not the type
            let said = i32::try_from(length - 1)
                .map_err(|_| Error::new(Kind::OutOfMemory, "a message to the client would be longer than 2 GiB"))?;
            body[place] = tag;
            body[place + 1..place + 5].copy_from_slice(&said.to_be_bytes());
            body[place + 5..place + HEAD].copy_from_slice(&n_fields);
            places.push(place + HEAD);
            place += length;
        }
        for ((cells, _), made) in columns.iter().zip(&made) {
            put_column(cells, made.as_ref(), rows.start, &mut places, body)?;
        }
        Ok(())
    })?;
    Ok(count)
}

/// Values that are encoded before their places are known: where each ends, and all of them.
struct Made {
    ends: Vec<usize>,
    bytes: BytesMut,
}

/// Adds what the fields of a column are long; gives for how many rows.
fn measure(
    cells: &Cells,
    rows: Range<usize>,
    most_bytes: usize,
    lengths: &mut [usize],
) -> Result<(Option<Made>, usize)> {
    let count = rows.len();
    let mut add = |length: &dyn Fn(usize) -> usize| {
        for (row, sum) in rows.clone().zip(lengths.iter_mut()) {
            if !cells.is_null(row) {
                *sum += length(row);
            }
        }
    };
    match &cells.values {
        Values::Null => {}
        Values::Bool(_) => add(&|_| 1),
        Values::Int2(_) => add(&|_| 2),
        Values::Int4(_) | Values::Float4(_) | Values::Date(_) => add(&|_| 4),
        Values::Int8(_) | Values::Float8(_) | Values::Timestamp { .. } => add(&|_| 8),
        Values::Text(values) => add_spans(values.value_offsets(), &cells.nulls, rows, lengths),
        Values::LargeText(values) => add(&|row| values.value(row).len()),
        Values::TextView(values) => add(&|row| values.value(row).len()),
        Values::Bytes(values) => add_spans(values.value_offsets(), &cells.nulls, rows, lengths),
        Values::LargeBytes(values) => add(&|row| values.value(row).len()),
        Values::BytesView(values) => add(&|row| values.value(row).len()),
        values => {
            let mut made = Made { ends: Vec::with_capacity(count), bytes: BytesMut::new() };
            for (row, sum) in rows.zip(lengths.iter_mut()) {
                let start = made.bytes.len();
                if start > most_bytes {
                    break;
                }
                if !cells.is_null(row) {
                    binary::put(values, row, &mut made.bytes)?;
                }
                *sum += made.bytes.len() - start;
                made.ends.push(made.bytes.len());
            }
            let count = made.ends.len();
            return Ok((Some(made), count));
        }
    }
    Ok((None, count))
}

fn add_spans(offsets: &[i32], nulls: &Option<arrow::buffer::NullBuffer>, rows: Range<usize>, lengths: &mut [usize]) {
    for (row, sum) in rows.zip(lengths) {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
            *sum += (offsets[row + 1] - offsets[row]) as usize;
        }
    }
}

/// Writes a column's fields at their places, which move behind them.
fn put_column(cells: &Cells, made: Option<&Made>, first: usize, places: &mut [usize], body: &mut [u8]) -> Result<()> {
    let mut target = Target { cells, first, places, body };
    match &cells.values {
        Values::Null => target.put::<0>(|_| Ok([])),
        Values::Bool(values) => target.put(|row| Ok([values.value(row).into()])),
        Values::Int2(values) => target.put(|row| Ok(values.value(row).to_be_bytes())),
        Values::Int4(values) => target.put(|row| Ok(values.value(row).to_be_bytes())),
        Values::Int8(values) => target.put(|row| Ok(values.value(row).to_be_bytes())),
        Values::Float4(values) => target.put(|row| Ok(values.value(row).to_be_bytes())),
        Values::Float8(values) => target.put(|row| Ok(values.value(row).to_be_bytes())),
        Values::Date(values) => target.put(|row| binary::date(values.value(row)).map(i32::to_be_bytes)),
        Values::Timestamp { values, .. } => {
            target.put(|row| binary::timestamp(values.value(row)).map(i64::to_be_bytes))
        }
        Values::Text(values) => target.put_slices(|row| values.value(row).as_bytes()),
        Values::LargeText(values) => target.put_slices(|row| values.value(row).as_bytes()),
        Values::TextView(values) => target.put_slices(|row| values.value(row).as_bytes()),
        Values::Bytes(values) => target.put_slices(|row| values.value(row)),
        Values::LargeBytes(values) => target.put_slices(|row| values.value(row)),
        Values::BytesView(values) => target.put_slices(|row| values.value(row)),
        _ => {
            let made = made.ok_or_else(|| Error::internal("values that were to be encoded are not"))?;
            target.put_slices(|row| {
                let nth = row - first;
                let start = nth.checked_sub(1).map_or(0, |before| made.ends[before]);
                &made.bytes[start..made.ends[nth]]
            })
        }
    }
}

/// The fields of one column on their way into the rows' bytes.
struct Target<'a> {
    cells: &'a Cells,
    first: usize,
    places: &'a mut [usize],
    body: &'a mut [u8],
}

impl Target<'_> {
    fn put<const N: usize>(&mut self, value: impl Fn(usize) -> Result<[u8; N]>) -> Result<()> {
        for (row, place) in (self.first..).zip(self.places.iter_mut()) {
            let field = &mut self.body[*place..];
            if self.cells.is_null(row) {
                field[..4].copy_from_slice(&(-1_i32).to_be_bytes());
                *place += 4;
                continue;
            }
            field[..4].copy_from_slice(&(N as i32).to_be_bytes());
            field[4..4 + N].copy_from_slice(&value(row)?);
            *place += 4 + N;
        }
        Ok(())
    }

    fn put_slices<'v>(&mut self, value: impl Fn(usize) -> &'v [u8]) -> Result<()> {
        for (row, place) in (self.first..).zip(self.places.iter_mut()) {
            let field = &mut self.body[*place..];
            if self.cells.is_null(row) {
                field[..4].copy_from_slice(&(-1_i32).to_be_bytes());
                *place += 4;
                continue;
            }
            let bytes = value(row);
            // a row that is longer was refused with its length
            field[..4].copy_from_slice(&(bytes.len() as i32).to_be_bytes());
            field[4..4 + bytes.len()].copy_from_slice(bytes);
            *place += 4 + bytes.len();
        }
        Ok(())
    }
}
