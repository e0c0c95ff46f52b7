//! One-dimensional arrays, from `{1,NULL,"a b"}` and from their binary form.

use arrow::datatypes::DataType;
use bytes::{Buf, Bytes};

use super::number::{self, Numeric};
use super::{checked_text, data_type_of, need, of_binary, of_text, wrong_length};
use crate::error::{Error, Kind, Result};
use crate::row::Value;
use crate::session::Parameter;
use crate::wire::encode::Format;
use crate::wire::frontend::utf8;
use crate::wire::types::{Form, ShownType};

/// As PostgreSQL's `MAXDIM`.
const MOST_DIMENSIONS: i32 = 6;

pub fn decode(bytes: Bytes, shown: ShownType, format: Format, number: usize) -> Result<Parameter> {
    let items = match format {
        Format::Text => items_of_text(checked_text(&bytes)?)?,
        Format::Binary => items_of_binary(bytes, shown, number)?,
    };
    let form = shown.item.form;
    if form == Form::Numeric {
        return numerics(items, format, number);
    }
    let values = items.into_iter().map(|item| {
        item.map(|item| match format {
            Format::Text => of_text(shown, checked_text(&item)?),
            Format::Binary => of_binary(form, item, number),
        })
        .transpose()
    });
    let values: Vec<Option<Value>> = values.collect::<Result<_>>()?;
    let data_type = DataType::new_list(data_type_of(form), true);
    Ok((data_type, Some(Value::List(values.into()))))
}

/// Decimals share one scale: the greatest among them.
fn numerics(items: Vec<Option<Bytes>>, format: Format, number: usize) -> Result<Parameter> {
    let numbers = items.into_iter().map(|item| {
        item.map(|item| match format {
            Format::Text => number::numeric_of_text(utf8(&item)?),
            Format::Binary => number::numeric_of_binary(item, number),
        })
        .transpose()
    });
    let numbers: Vec<Option<Numeric>> = numbers.collect::<Result<_>>()?;
    let scale = numbers.iter().flatten().map(|number| number.scale).max().unwrap_or(0);
    let values = numbers.into_iter().map(|number| {
        let Some(number) = number else { return Ok(None) };
        let unscaled = number.at_scale(scale).ok_or_else(|| {
            Error::new(Kind::NumericValueOutOfRange, "the numbers of an array do not fit 38 digits together")
        })?;
        Ok(Some(Value::Decimal(unscaled)))
    });
    let values: Vec<Option<Value>> = values.collect::<Result<_>>()?;
    let data_type = DataType::new_list(DataType::Decimal128(38, scale as i8), true);
    Ok((data_type, Some(Value::List(values.into()))))
}

fn more_dimensions() -> Error {
    Error::not_supported("a parameter that is an array of more than one dimension")
}

/// As array_in() in PostgreSQL, for one dimension.
fn items_of_text(text: &str) -> Result<Vec<Option<Bytes>>> {
    let malformed = || Error::new(Kind::InvalidTextRepresentation, format!("malformed array literal: \"{text}\""));
    let is_space = |character: char| character.is_ascii_whitespace() || character == '\x0b';
    let mut trimmed = text.trim_matches(is_space);
    if trimmed.starts_with('[') {
        let (bounds, literal) = trimmed.split_once('=').ok_or_else(malformed)?;
        if bounds.matches('[').count() > 1 {
            return Err(more_dimensions());
        }
        trimmed = literal.trim_start_matches(is_space);
    }
    let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?;
    if inner.trim_matches(is_space).is_empty() {
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    let mut characters = inner.chars().peekable();
    loop {
        while characters.next_if(|character| is_space(*character)).is_some() {}
        let mut item = String::new();
        // how much of the item must stay: spaces after it are not part of it
        let mut kept = 0;
        let mut is_quoted = false;
        let mut is_escaped = false;
        let ended = loop {
            match characters.next() {
                None => break true,
                Some(',') => break false,
                Some('{') if item.is_empty() => return Err(more_dimensions()),
                Some('{' | '}') => return Err(malformed()),
                Some('"') if item.is_empty() && !is_quoted && !is_escaped => {
                    is_quoted = true;
                    loop {
                        match characters.next().ok_or_else(malformed)? {
                            '"' => break,
                            '\\' => item.push(characters.next().ok_or_else(malformed)?),
                            other => item.push(other),
                        }
                    }
                    kept = item.len();
                }
                Some('"') => return Err(malformed()),
                Some(other) if is_quoted && !is_space(other) => return Err(malformed()),
                Some('\\') => {
                    item.push(characters.next().ok_or_else(malformed)?);
                    kept = item.len();
                    is_escaped = true;
                }
                Some(other) => {
                    item.push(other);
                    if !is_space(other) {
                        kept = item.len();
                    }
                }
            }
        };
        item.truncate(kept);
        if item.is_empty() && !is_quoted {
            return Err(malformed());
        }
        let is_null = !is_quoted && !is_escaped && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then(|| Bytes::from(item)));
        if ended {
            return Ok(items);
        }
    }
}

/// As array_recv() in PostgreSQL, for one dimension.
fn items_of_binary(mut bytes: Bytes, shown: ShownType, number: usize) -> Result<Vec<Option<Bytes>>> {
    let invalid = |message: String| Error::new(Kind::InvalidBinaryRepresentation, message);
    let header = need(&mut bytes, 12)?;
    let (dimensions, flags, item_oid) = (header.get_i32(), header.get_i32(), header.get_u32());
    if !(0..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(invalid(format!("invalid number of dimensions: {dimensions}")));
    }
    if !matches!(flags, 0 | 1) {
        return Err(invalid("invalid array flags".into()));
    }
    let is_text = |oid| ShownType::of_oid(oid).is_some_and(|item| item.item.form == Form::Text);
    if item_oid != shown.item.oid && !(is_text(item_oid) && is_text(shown.item.oid)) {
        let message = format!(
            "binary data has array element type {item_oid} instead of expected {} ({})",
            shown.item.oid, shown.item.name
        );
        return Err(Error::new(Kind::DatatypeMismatch, message));
    }
    if dimensions > 1 {
        return Err(more_dimensions());
    }
    let mut items = Vec::new();
    if dimensions == 1 {
        let header = need(&mut bytes, 8)?;
        let (count, _first_index) = (header.get_i32(), header.get_i32());
        let count = usize::try_from(count).map_err(|_| invalid(format!("invalid array size: {count}")))?;
        items.reserve(count.min(bytes.remaining() / 4));
        for _ in 0..count {
            let length = need(&mut bytes, 4)?.get_i32();
            items.push(match usize::try_from(length) {
                Ok(length) => {
                    need(&mut bytes, length)?;
                    Some(bytes.split_to(length))
                }
                Err(_) if length == -1 => None,
                Err(_) => return Err(need(&mut Bytes::new(), 1).expect_err("there is nothing left")),
            });
        }
    }
    if bytes.has_remaining() {
        return Err(wrong_length(number));
    }
    Ok(items)
}
