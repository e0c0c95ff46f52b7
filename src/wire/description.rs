//! RowDescription: what a client is told of a result's columns. Made once for a statement, since drivers ask for it with
//! every execution.

use std::ops::Deref;
use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use granary_postgres::datetime::Zone;

use super::encode::Formats;
use super::output::put_text;
use super::types::{Column, columns_of};
use crate::error::Result;

/// The columns of a result, and the body of the message that tells of them.
#[derive(Debug)]
pub struct Columns {
    columns: Vec<Column>,
    /// with all formats text
    body: Vec<u8>,
    /// by column, where its format stands in the body
    format_places: Vec<usize>,
}

impl Columns {
    pub fn of(schema: &Schema) -> Result<Columns> {
        let columns = columns_of(schema)?;
        let mut body = BytesMut::new();
        let mut format_places = Vec::with_capacity(columns.len());
        body.put_u16(u16::try_from(columns.len()).expect("columns_of counted them"));
        for column in &columns {
            put_text(&mut body, &column.name);
            body.put_u32(column.table_oid);
            body.put_i16(column.number);
            body.put_u32(column.shown.oid());
            body.put_i16(column.shown.length());
            body.put_i32(column.modifier);
            format_places.push(body.len());
            body.put_i16(0);
        }
        Ok(Columns { columns, body: body.to_vec(), format_places })
    }

    /// The same, shown in a session of that zone.
    pub fn in_zone(self: &Arc<Self>, zone: Zone) -> Arc<Columns> {
        if zone == Zone::UTC {
            return Arc::clone(self);
        }
        let column = |column: &Column| Column { shown: column.shown.in_zone(zone), ..column.clone() };
        let (body, format_places) = (self.body.clone(), self.format_places.clone());
        Arc::new(Columns { columns: self.columns.iter().map(column).collect(), body, format_places })
    }

    /// Appends the message's body.
    pub fn describe(&self, formats: &Formats, body: &mut BytesMut) {
        let start = body.len();
        body.extend_from_slice(&self.body);
        for (index, place) in self.format_places.iter().enumerate() {
            let code = formats.of(index).code().to_be_bytes();
            body[start + place..start + place + code.len()].copy_from_slice(&code);
        }
    }
}

impl Deref for Columns {
    type Target = [Column];

    fn deref(&self) -> &[Column] {
        &self.columns
    }
}
