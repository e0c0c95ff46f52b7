//! The bytes of a COPY in PostgreSQL's binary format into fields: a header, then of every row a count of fields and each
//! with its length, then a trailer.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Error, Kind, Result};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// The signature, the flags and the length of what the header has beside.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// The flag that says that rows have an OID each, which no version of today writes.
const WITH_OIDS: u32 = 1 << 16;
/// Whoever does not know one of these flags cannot read the rest.
const CRITICAL: u32 = 0xFFFF_0000;
/// A longer field is refused, as it would be held in memory whole.
const LONGEST_FIELD: usize = 1 << 30;

/// Cuts bytes into rows as they come.
pub struct Tuples {
    n_fields: usize,
    buffer: BytesMut,
    /// what of the header is still to come, once its fixed part was read
    header: Option<usize>,
    /// rows so far
    pub number: u64,
    /// the trailer was read: nothing may follow
    ended: bool,
    /// where in the buffer the row at hand is known to go on
    scanned: usize,
    fields_scanned: usize,
}

impl Tuples {
    pub fn new(n_fields: usize) -> Tuples {
        let buffer = BytesMut::new();
        Tuples { n_fields, buffer, header: None, number: 0, ended: false, scanned: 0, fields_scanned: 0 }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The fields of the next row; `None` stands for NULL. `is_last`: no more bytes will come.
    pub fn next(&mut self, is_last: bool) -> Result<Option<Vec<Option<Bytes>>>> {
        if !self.read_header(is_last)? {
            return Ok(None);
        }
        if self.ended {
            return match self.buffer.is_empty() {
                true => Ok(None),
                false => Err(wrong("received copy data after EOF marker")),
            };
        }
        if self.buffer.is_empty() && is_last {
            // a client may leave the trailer out
            return Ok(None);
        }
        let found = self.find_end();
        if !matches!(found, Ok(None)) {
            self.number += 1;
        }
        if found?.is_none() {
            if self.ended {
                return self.next(is_last);
            }
            if is_last {
                self.number += 1;
                return Err(wrong("unexpected EOF in COPY data"));
            }
            return Ok(None);
        }
        let mut row = self.buffer.split_to(std::mem::take(&mut self.scanned)).freeze();
        self.fields_scanned = 0;
        row.advance(2);
        let field = |row: &mut Bytes| usize::try_from(row.get_i32()).ok().map(|length| row.split_to(length));
        Ok(Some((0..self.n_fields).map(|_| field(&mut row)).collect()))
    }

    /// Whether all of the header was read.
    fn read_header(&mut self, is_last: bool) -> Result<bool> {
        let begins = self.buffer.len().min(SIGNATURE.len());
        if self.header.is_none() {
            if self.buffer[..begins] != SIGNATURE[..begins] || is_last && self.buffer.len() < SIGNATURE.len() {
                return Err(wrong("COPY file signature not recognized"));
            }
            if self.buffer.len() < HEADER_BYTES {
                return if is_last { Err(wrong("invalid COPY file header (missing length)")) } else { Ok(false) };
            }
            self.buffer.advance(SIGNATURE.len());
            let (flags, length) = (self.buffer.get_u32(), self.buffer.get_i32());
            if flags & WITH_OIDS != 0 {
                return Err(wrong("invalid COPY file header (WITH OIDS)"));
            }
            if flags & CRITICAL != 0 {
                return Err(wrong("unrecognized critical flags in COPY file header"));
            }
            let length = usize::try_from(length).map_err(|_| wrong("invalid COPY file header (missing length)"))?;
            self.header = Some(length);
        }
        // nobody knows what it is, and so nobody needs it
        let left = self.header.unwrap_or(0);
        let skipped = left.min(self.buffer.len());
        self.buffer.advance(skipped);
        self.header = Some(left - skipped);
        match left > skipped {
            true if is_last => Err(wrong("invalid COPY file header (wrong length)")),
            is_more => Ok(!is_more),
        }
    }

    /// Where the row at the front ends, if all of it is there. Looks at no field twice.
    fn find_end(&mut self) -> Result<Option<usize>> {
        if self.scanned == 0 {
            let Some(mut count) = self.buffer.get(..2) else { return Ok(None) };
            match count.get_i16() {
                -1 => {
                    self.buffer.advance(2);
                    self.ended = true;
                    return Ok(None);
                }
                count if usize::try_from(count).ok() != Some(self.n_fields) => {
                    return Err(wrong(format!("row field count is {count}, expected {}", self.n_fields)));
                }
                _ => self.scanned = 2,
            }
        }
        while self.fields_scanned < self.n_fields {
            let Some(mut length) = self.buffer.get(self.scanned..self.scanned + 4) else { return Ok(None) };
            let length = match length.get_i32() {
                -1 => 0,
                length => usize::try_from(length).map_err(|_| wrong("invalid field size"))?,
            };
            if length > LONGEST_FIELD {
                return Err(Error::new(Kind::OutOfMemory, "a field of COPY is longer than 1 GiB"));
            }
            if self.buffer.len() - self.scanned - 4 < length {
                return Ok(None);
            }
            self.scanned += 4 + length;
            self.fields_scanned += 1;
        }
        Ok(Some(self.scanned))
    }
}

fn wrong(message: impl Into<String>) -> Error {
    Error::new(Kind::BadCopyFormat, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u32, more: &[u8]) -> Vec<u8> {
        [SIGNATURE, &flags.to_be_bytes(), &(more.len() as u32).to_be_bytes(), more].concat()
    }

    fn row(fields: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = (fields.len() as i16).to_be_bytes().to_vec();
        for field in fields {
            bytes.extend(field.map_or(-1, |field| field.len() as i32).to_be_bytes());
            bytes.extend(field.unwrap_or_default());
        }
        bytes
    }

    /// All rows of two fields, `-` being NULL, whatever pieces the bytes come in.
    fn read(bytes: &[u8]) -> String {
        let answers: Vec<String> = [1, 2, 3, usize::MAX].map(|size| read_in_pieces(bytes, size)).into();
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        answers[0].clone()
    }

    fn read_in_pieces(bytes: &[u8], size: usize) -> String {
        let (mut tuples, mut shown) = (Tuples::new(2), Vec::new());
        let mut take = |tuples: &mut Tuples, is_last: bool| -> Result<()> {
            while let Some(fields) = tuples.next(is_last)? {
                let text =
                    |field: Option<Bytes>| field.map_or("-".into(), |field| String::from_utf8_lossy(&field).into());
                let fields: Vec<String> = fields.into_iter().map(text).collect();
                shown.push(format!("{}:{}", tuples.number, fields.join("|")));
            }
            Ok(())
        };
        let mut read = || -> Result<()> {
            for piece in bytes.chunks(size.min(bytes.len().max(1))) {
                tuples.push(piece);
                take(&mut tuples, false)?;
            }
            take(&mut tuples, true)
        };
        let failed = read().err().map(|error| format!("{} {}", error.sqlstate(), error.message()));
        shown.extend(failed);
        shown.join(" ")
    }

    const TRAILER: &[u8] = &[0xff, 0xff];

    #[test]
    fn rows_are_cut_into_fields() {
        let rows = [row(&[Some(b"a"), None]), row(&[Some(b""), Some(b"bcd")])].concat();
        assert_eq!(read(&[&header(0, b""), &rows, TRAILER].concat()), "1:a|- 2:|bcd");
        assert_eq!(read(&[&header(1, b"more"), &rows, TRAILER].concat()), "1:a|- 2:|bcd");
        assert_eq!(read(&[header(0, b""), rows].concat()), "1:a|- 2:|bcd");
        assert_eq!(read(&header(0, b"")), "");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let good = row(&[Some(b"a"), None]);
        let after = |rest: &[u8]| read(&[&header(0, b""), good.as_slice(), rest].concat());
        assert_eq!(read(b""), "22P04 COPY file signature not recognized");
        assert_eq!(read(b"a\tb\n"), "22P04 COPY file signature not recognized");
        assert_eq!(read(SIGNATURE), "22P04 invalid COPY file header (missing length)");
        assert_eq!(read(&header(WITH_OIDS, b"")), "22P04 invalid COPY file header (WITH OIDS)");
        assert_eq!(read(&header(1 << 31, b"")), "22P04 unrecognized critical flags in COPY file header");
        assert_eq!(read(&header(0, b"more")[..20]), "22P04 invalid COPY file header (wrong length)");
        let negative = [SIGNATURE, &[0; 4], &[0xff; 4]].concat();
        assert_eq!(read(&negative), "22P04 invalid COPY file header (missing length)");
        assert_eq!(after(&row(&[None])), "1:a|- 22P04 row field count is 1, expected 2");
        assert_eq!(after(&[0xff, 0xfe]), "1:a|- 22P04 row field count is -2, expected 2");
        assert_eq!(after(&[0, 2, 0xff, 0xff, 0xff, 0xfe]), "1:a|- 22P04 invalid field size");
        assert_eq!(after(&[0, 2, 0x7f, 0xff, 0xff, 0xff]), "1:a|- 53200 a field of COPY is longer than 1 GiB");
        assert_eq!(after(&good[..6]), "1:a|- 22P04 unexpected EOF in COPY data");
        assert_eq!(after(&[TRAILER, b"x"].concat()), "1:a|- 22P04 received copy data after EOF marker");
    }
}
