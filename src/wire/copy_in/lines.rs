//! The bytes of a COPY into lines, and lines into fields, as PostgreSQL reads its text and CSV formats.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Error, Kind, Result};
use crate::session::CopyFormat;

/// A longer line is refused, as it would be held in memory whole.
const LONGEST_LINE: usize = 1 << 30;

/// Cuts bytes into lines as they come.
pub struct Lines {
    format: CopyFormat,
    buffer: BytesMut,
    /// what of the buffer holds no end of a line
    scanned: usize,
    in_quotes: bool,
    ending: Option<Ending>,
    /// lines of the data so far, from 1, those inside of quotes too
    pub number: u64,
    embedded: u64,
    /// `\.` was read: what follows does not count
    ended: bool,
}

/// How lines end: as the first one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Newline,
    Return,
    Both,
}

impl Lines {
    pub fn new(format: CopyFormat) -> Lines {
        let buffer = BytesMut::new();
        Lines { format, buffer, scanned: 0, in_quotes: false, ending: None, number: 0, embedded: 0, ended: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if !self.ended {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next line without its end. `is_last`: no more bytes will come, so what is left is a line, too.
    pub fn next(&mut self, is_last: bool) -> Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        let Some((length, end)) = self.find_end(is_last)? else {
            if self.buffer.len() > LONGEST_LINE {
                self.number += 1;
                return Err(Error::new(Kind::OutOfMemory, "a line of COPY is longer than 1 GiB"));
            }
            return Ok(None);
        };
        self.number += 1 + std::mem::take(&mut self.embedded);
        let line = self.buffer.split_to(length).freeze();
        self.buffer.advance(end);
        (self.scanned, self.in_quotes) = (0, false);
        if line.as_ref() == b"\\." {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(line))
    }

    /// The length of the line at the front, and that of its end.
    fn find_end(&mut self, is_last: bool) -> Result<Option<(usize, usize)>> {
        let CopyFormat { is_csv, quote, escape, .. } = self.format;
        let mut at = self.scanned;
        while let Some(&byte) = self.buffer.get(at) {
            let next = self.buffer.get(at + 1).copied();
            let escapes = if is_csv { self.in_quotes && escape != quote && byte == escape } else { byte == b'\\' };
            if escapes {
                match next {
                    Some(next) => {
                        self.embedded += u64::from(next == b'\n');
                        at += 2;
                        continue;
                    }
                    None if !is_last => break,
                    None => {}
                }
            }
            if is_csv && byte == quote {
                self.in_quotes = !self.in_quotes;
            } else if self.in_quotes {
                self.embedded += u64::from(byte == b'\n');
            } else if byte == b'\n' || byte == b'\r' {
                if byte == b'\r' && next.is_none() && !is_last {
                    break;
                }
                let length = self.end_of_line(byte, next)?;
                return Ok(Some((at, length)));
            }
            at += 1;
        }
        self.scanned = at;
        Ok((is_last && !self.buffer.is_empty()).then_some((self.buffer.len(), 0)))
    }

    fn end_of_line(&mut self, byte: u8, next: Option<u8>) -> Result<usize> {
        let found = match (byte, next) {
            (b'\n', _) => Ending::Newline,
            (_, Some(b'\n')) => Ending::Both,
            _ => Ending::Return,
        };
        let ending = *self.ending.get_or_insert(found);
        if ending != found && !(ending == Ending::Return && found == Ending::Both) {
            self.number += 1;
            let (what, code) = if byte == b'\n' { ("newline", "\\n") } else { ("carriage return", "\\r") };
            let (kind, hint) = match self.format.is_csv {
                true => ("unquoted", format!("Use quoted CSV field to represent {what}.")),
                false => ("literal", format!("Use \"{code}\" to represent {what}.")),
            };
            return Err(Error::new(Kind::BadCopyFormat, format!("{kind} {what} found in data")).with_hint(hint));
        }
        Ok(if ending == Ending::Both { 2 } else { 1 })
    }
}

/// The fields of a line; `None` is NULL.
pub fn fields(line: &[u8], format: &CopyFormat) -> Result<Vec<Option<Vec<u8>>>> {
    if format.is_csv { csv_fields(line, format) } else { Ok(text_fields(line, format)) }
}

/// The fields of bytes that are one line, with or without its end.
pub fn fields_of_line(bytes: &[u8], format: &CopyFormat) -> Result<Vec<Option<Vec<u8>>>> {
    let mut lines = Lines::new(format.clone());
    lines.push(bytes);
    let line = lines.next(true)?.ok_or_else(|| Error::new(Kind::BadCopyFormat, "there is no line"))?;
    match lines.next(true)? {
        Some(_) => Err(Error::new(Kind::BadCopyFormat, "there is more than one line")),
        None => fields(&line, format),
    }
}

fn text_fields(line: &[u8], format: &CopyFormat) -> Vec<Option<Vec<u8>>> {
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let mut end = start;
        while end < line.len() && line[end] != format.delimiter {
            end += if line[end] == b'\\' { 2 } else { 1 };
        }
        let end_of_field = end.min(line.len());
        let raw = &line[start..end_of_field];
        fields.push((raw != format.null.as_bytes()).then(|| unescaped(raw)));
        if end >= line.len() {
            return fields;
        }
        start = end + 1;
    }
}

/// A field of the text format without its backslashes.
fn unescaped(mut raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    while let [byte, rest @ ..] = raw {
        raw = rest;
        let [escaped, after @ ..] = rest else {
            out.push(*byte);
            break;
        };
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        raw = after;
        match escaped {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let digits = rest.iter().take(3).take_while(|digit| (b'0'..=b'7').contains(*digit)).count();
                let value = rest[..digits].iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                out.push((value & 0xFF) as u8);
                raw = &rest[digits..];
            }
            b'x' if after.first().is_some_and(u8::is_ascii_hexdigit) => {
                let digits = after.iter().take(2).take_while(|digit| digit.is_ascii_hexdigit()).count();
                let digit_of = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default();
                out.push(after[..digits].iter().fold(0u32, |value, digit| value * 16 + digit_of(digit)) as u8);
                raw = &after[digits..];
            }
            other => out.push(*other),
        }
    }
    out
}

fn csv_fields(line: &[u8], format: &CopyFormat) -> Result<Vec<Option<Vec<u8>>>> {
    let CopyFormat { delimiter, quote, escape, .. } = *format;
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (mut field, mut is_quoted, mut in_quotes) = (Vec::new(), false, false);
        let is_end = loop {
            let Some(&byte) = line.get(at) else { break true };
            at += 1;
            let next = line.get(at).copied();
            if in_quotes && byte == escape && next.is_some_and(|next| next == escape || next == quote) {
                field.extend(next);
                at += 1;
            } else if byte == quote {
                in_quotes = !in_quotes;
                is_quoted = true;
            } else if byte == delimiter && !in_quotes {
                break false;
            } else {
                field.push(byte);
            }
        };
        if in_quotes {
            return Err(Error::new(Kind::BadCopyFormat, "unterminated CSV quoted field"));
        }
        let is_null = !is_quoted && field == format.null.as_bytes();
        fields.push((!is_null).then_some(field));
        if is_end {
            return Ok(fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> CopyFormat {
        CopyFormat::text()
    }

    fn csv() -> CopyFormat {
        CopyFormat::csv()
    }

    /// All fields, `-` being NULL, whatever pieces the bytes come in.
    fn read(format: CopyFormat, bytes: &[u8]) -> String {
        let answers: Vec<String> = [1, 2, 3, usize::MAX].map(|size| read_in_pieces(&format, bytes, size)).into();
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        answers[0].clone()
    }

    fn read_in_pieces(format: &CopyFormat, bytes: &[u8], size: usize) -> String {
        let mut lines = Lines::new(format.clone());
        let mut shown = Vec::new();
        let mut take = |lines: &mut Lines, is_last: bool| -> Result<()> {
            while let Some(line) = lines.next(is_last)? {
                let fields = fields(&line, format)?.into_iter();
                let fields =
                    fields.map(|field| field.map_or("-".into(), |field| String::from_utf8_lossy(&field).into_owned()));
                shown.push(format!("{}:{}", lines.number, fields.collect::<Vec<_>>().join("|")));
            }
            Ok(())
        };
        let mut read = || -> Result<()> {
            for piece in bytes.chunks(size.min(bytes.len().max(1))) {
                lines.push(piece);
                take(&mut lines, false)?;
            }
            take(&mut lines, true)
        };
        let failed = read().err().map(|error| format!("{} {}", error.sqlstate(), error.message()));
        shown.extend(failed);
        shown.join(" ")
    }

    #[test]
    fn text_fields_are_unescaped() {
        assert_eq!(read(text(), b"a\tb\n\\N\t\n"), "1:a|b 2:-|");
        assert_eq!(read(text(), b"a\\tb\\n\\\\\\x41\\101\\q\tz"), "1:a\tb\n\\AAq|z");
        assert_eq!(read(text(), b"a\\\nb\nc\n"), "2:a\nb 3:c");
        assert_eq!(read(text(), b"a\\\tb\tc\n"), "1:a\tb|c");
        assert_eq!(read(text(), b"\\\\N\n\\"), "1:\\N 2:\\");
    }

    #[test]
    fn lines_end_as_the_first_one_does() {
        assert_eq!(read(text(), b"a\r\nb\r\nc"), "1:a 2:b 3:c");
        assert_eq!(read(text(), b"a\rb\r"), "1:a 2:b");
        assert_eq!(read(text(), b"a\nb\rc\n"), "1:a 22P04 literal carriage return found in data");
        assert_eq!(read(text(), b"a\r\nb\nc\n"), "1:a 22P04 literal newline found in data");
        assert_eq!(read(csv(), b"a\nb\rc\n"), "1:a 22P04 unquoted carriage return found in data");
        assert_eq!(read(text(), b"a\n\\.\nrest\n"), "1:a");
        assert_eq!(read(text(), b""), "");
    }

    #[test]
    fn csv_fields_may_hold_anything_in_quotes() {
        assert_eq!(read(csv(), b"a,\"b,\"\"c\"\"\",\"\"\n,d,\n"), "1:a|b,\"c\"| 2:-|d|-");
        assert_eq!(read(csv(), b"\"a\nb\",c\nd,e"), "2:a\nb|c 3:d|e");
        assert_eq!(read(csv(), b"a\"b,c\"d,e\n"), "1:ab,cd|e");
        assert_eq!(read(csv(), b"\"a,b\n"), "22P04 unterminated CSV quoted field");
        let escaped = CopyFormat { escape: b'\\', ..csv() };
        assert_eq!(read(escaped, b"\"a\\\"b\\\\\",c\n"), "1:a\"b\\|c");
    }
}
