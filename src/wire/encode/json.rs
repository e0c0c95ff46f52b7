//! Structs, maps and nested lists as JSON text, spaced as `jsonb` is shown.
//!
//! Keys stay in the order of the type. Numbers that JSON has no words for are strings, as `to_json` makes them.

use std::fmt::Write;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray};
use arrow::datatypes::DataType;
use bytes::{BufMut, BytesMut};

use super::text::{self, item_rows};
use super::{Cells, Values, to};
use crate::error::Result;
use crate::wire::types::ShownType;

/// A tree of arrays, ready to be written.
pub(super) enum Node {
    Scalar(Box<Cells>),
    List { offsets: ListArray, items: Box<Node> },
    Struct { array: StructArray, members: Vec<(String, Node)> },
    Map { array: MapArray, keys: Cells, items: Box<Node> },
}

impl Node {
    pub fn new(array: &ArrayRef) -> Result<Node> {
        Ok(match array.data_type() {
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field) => {
                let offsets = to(array, &DataType::List(field.clone()))?.as_list::<i32>().clone();
                let items = Box::new(Node::new(offsets.values())?);
                Node::List { offsets, items }
            }
            DataType::Struct(fields) => {
                let array = array.as_struct().clone();
                let members = fields.iter().zip(array.columns());
                let members = members.map(|(field, column)| Ok((field.name().clone(), Node::new(column)?)));
                Node::Struct { members: members.collect::<Result<_>>()?, array }
            }
            DataType::Map(..) => {
                let array = array.as_map().clone();
                let keys = Cells::new(array.keys(), ShownType::of_data_type(array.key_type())?)?;
                let items = Box::new(Node::new(array.values())?);
                Node::Map { array, keys, items }
            }
            DataType::Dictionary(_, value) => Node::new(&to(array, value)?)?,
            scalar => Node::Scalar(Box::new(Cells::new(array, ShownType::of_data_type(scalar)?)?)),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Node::Scalar(cells) => cells.is_null(row),
            Node::List { offsets, .. } => offsets.is_null(row),
            Node::Struct { array, .. } => array.is_null(row),
            Node::Map { array, .. } => array.is_null(row),
        }
    }

    pub fn put(&self, row: usize, out: &mut BytesMut) -> Result<()> {
        if self.is_null(row) {
            out.put_slice(b"null");
            return Ok(());
        }
        match self {
            Node::Scalar(cells) => put_scalar(&cells.values, row, out),
            Node::List { offsets, items } => {
                put_apart(out, [b'[', b']'], item_rows(offsets, row), |item, out| items.put(item, out))
            }
            Node::Struct { members, .. } => put_apart(out, [b'{', b'}'], 0..members.len(), |member, out| {
                let (name, node) = &members[member];
                put_string(out, name.as_bytes());
                out.put_slice(b": ");
                node.put(row, out)
            }),
            Node::Map { array, keys, items } => {
                let offsets = array.value_offsets();
                let rows = offsets[row] as usize..offsets[row + 1] as usize;
                put_apart(out, [b'{', b'}'], rows, |item, out| {
                    let mut key = BytesMut::new();
                    text::put(&keys.values, item, &mut key)?;
                    put_string(out, &key);
                    out.put_slice(b": ");
                    items.put(item, out)
                })
            }
        }
    }
}

fn put_apart(
    out: &mut BytesMut,
    [open, close]: [u8; 2],
    rows: std::ops::Range<usize>,
    put: impl Fn(usize, &mut BytesMut) -> Result<()>,
) -> Result<()> {
    out.put_u8(open);
    for (index, row) in rows.enumerate() {
        if index > 0 {
            out.put_slice(b", ");
        }
        put(row, out)?;
    }
    out.put_u8(close);
    Ok(())
}

fn put_scalar(values: &Values, row: usize, out: &mut BytesMut) -> Result<()> {
    match values {
        Values::Bool(values) => out.put_slice(if values.value(row) { b"true" } else { b"false" }),
        Values::Int2(_) | Values::Int4(_) | Values::Int8(_) | Values::Decimal(_) | Values::WideDecimal(_) => {
            text::put(values, row, out)?;
        }
        Values::Float4(array) if array.value(row).is_finite() => text::put(values, row, out)?,
        Values::Float8(array) if array.value(row).is_finite() => text::put(values, row, out)?,
        Values::Timestamp { values, zone } => {
            out.put_u8(b'"');
            text::put_moment(out, values.value(row), ('T', zone.map(|_| "+00:00")));
            out.put_u8(b'"');
        }
        _ => {
            let mut shown = BytesMut::new();
            text::put(values, row, &mut shown)?;
            put_string(out, &shown);
        }
    }
    Ok(())
}

/// `text` is UTF-8; what RFC 8259 wants escaped is.
fn put_string(out: &mut BytesMut, text: &[u8]) {
    out.put_u8(b'"');
    for &byte in text {
        match byte {
            b'"' => out.put_slice(b"\\\""),
            b'\\' => out.put_slice(b"\\\\"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            0..0x20 => write!(out, "\\u{byte:04x}").expect("a buffer takes any text"),
            _ => out.put_u8(byte),
        }
    }
    out.put_u8(b'"');
}
