//! Rows as lines: what `COPY … TO STDOUT` writes in PostgreSQL's text format and in its CSV.

use bytes::{BufMut, BytesMut};

use super::{Cells, Format, text};
use crate::error::Result;
use crate::session::CopyFormat;

/// How lines are written.
pub struct LineForm {
    pub format: CopyFormat,
    /// by column, whether CSV puts its values in quotes that need none
    pub force_quote: Vec<bool>,
}

impl LineForm {
    pub(super) fn put_row(&self, columns: &[(Cells, Format)], row: usize, out: &mut BytesMut) -> Result<()> {
        for (index, (cells, _)) in columns.iter().enumerate() {
            if index > 0 {
                out.put_u8(self.format.delimiter);
            }
            if cells.is_null(row) {
                out.put_slice(self.format.null.as_bytes());
                continue;
            }
            let start = out.len();
            text::put(&cells.values, row, out)?;
            self.mask(start, self.force_quote.get(index).is_some_and(|force| *force), columns.len() == 1, out);
        }
        out.put_u8(b'\n');
        Ok(())
    }

    pub fn put_header<'n>(&self, names: impl ExactSizeIterator<Item = &'n str>, out: &mut BytesMut) {
        let is_single = names.len() == 1;
        for (index, name) in names.enumerate() {
            if index > 0 {
                out.put_u8(self.format.delimiter);
            }
            let start = out.len();
            out.put_slice(name.as_bytes());
            self.mask(start, false, is_single, out);
        }
        out.put_u8(b'\n');
    }

    /// Takes a field's bytes, from `start` on, for what they are.
    fn mask(&self, start: usize, force: bool, is_single: bool, out: &mut BytesMut) {
        match self.format.is_csv {
            true => self.quote(start, force, is_single, out),
            false => self.escape(start, out),
        }
    }

    fn escape(&self, start: usize, out: &mut BytesMut) {
        let needs = |byte: &u8| *byte == b'\\' || *byte == self.format.delimiter || (8..=13).contains(byte);
        let Some(first) = out[start..].iter().position(needs) else { return };
        let rest = out.split_off(start + first);
        for byte in rest {
            let letter = match byte {
                8 => b'b',
                9 => b't',
                10 => b'n',
                11 => b'v',
                12 => b'f',
                13 => b'r',
                _ if byte == b'\\' || byte == self.format.delimiter => byte,
                _ => {
                    out.put_u8(byte);
                    continue;
                }
            };
            out.put_slice(&[b'\\', letter]);
        }
    }

    fn quote(&self, start: usize, force: bool, is_single: bool, out: &mut BytesMut) {
        let CopyFormat { delimiter, quote, escape, .. } = self.format;
        let field = &out[start..];
        let needs = |byte: &u8| *byte == delimiter || *byte == quote || *byte == b'\n' || *byte == b'\r';
        // alone on its line, \. would end the data
        let is_end = is_single && field == b"\\.";
        if !force && !is_end && field != self.format.null.as_bytes() && !field.iter().any(needs) {
            return;
        }
        let field = out.split_off(start);
        out.put_u8(quote);
        for byte in field {
            if byte == quote || byte == escape {
                out.put_u8(escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(quote);
    }
}
