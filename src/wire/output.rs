//! Bytes on their way to a client: whole backend messages in one buffer, and the buffer into the socket.
//!
//! Nothing is sent before someone flushes. Only complete messages ever leave, so that after an error or a panic in
//! the middle of a row the stream is still in step. Knows no statements and no rows.

use bytes::{BufMut, BytesMut};
use tokio::io::AsyncWriteExt;

use super::tls::Writing;
use crate::error::{Error, Kind, Result};
use crate::session::Notification;

/// Past this many waiting bytes whoever produces more must flush first.
pub const HIGH_WATER: usize = 64 * 1024;
/// So many bytes of rows are sent at once, if as many rows follow.
pub const FIRST_BYTES: usize = 8 * 1024;
/// A buffer that one huge row made this big is given back.
const KEEP_CAPACITY: usize = 4 * HIGH_WATER;

/// The messages that have not been sent.
#[derive(Default)]
pub struct Outbox {
    buffer: BytesMut,
    /// bytes that are complete messages
    complete: usize,
}

impl Outbox {
    /// Appends one message whose body `write` makes; nothing remains of it if `write` fails.
    #[inline]
    pub fn message(&mut self, tag: u8, write: impl FnOnce(&mut BytesMut) -> Result<()>) -> Result<()> {
        self.buffer.truncate(self.complete);
        self.buffer.put_u8(tag);
        self.buffer.put_u32(0);
        write(&mut self.buffer)?;
        let length = self.buffer.len() - self.complete - 1;
        let Ok(length) = i32::try_from(length) else {
            self.drop_unfinished();
            return Err(Error::new(Kind::OutOfMemory, "a message to the client would be longer than 2 GiB"));
        };
        self.buffer[self.complete + 1..self.complete + 5].copy_from_slice(&length.to_be_bytes());
        self.complete = self.buffer.len();
        Ok(())
    }

    /// Appends whole messages of so many bytes, which `write` makes out of zeros; nothing remains of them if it fails.
    pub fn framed(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        self.buffer.truncate(self.complete);
        self.buffer.resize(self.complete + length, 0);
        write(&mut self.buffer[self.complete..])?;
        self.complete += length;
        Ok(())
    }

    /// A message that cannot fail, being small.
    #[inline]
    pub fn small(&mut self, tag: u8, write: impl FnOnce(&mut BytesMut)) {
        let written = self.message(tag, |body| {
            write(body);
            Ok(())
        });
        debug_assert!(written.is_ok());
    }

    /// A single byte outside of any message: the answer to SSLRequest.
    pub fn raw(&mut self, byte: u8) {
        self.drop_unfinished();
        self.buffer.put_u8(byte);
        self.complete += 1;
    }

    pub fn drop_unfinished(&mut self) {
        self.buffer.truncate(self.complete);
    }

    pub fn is_empty(&self) -> bool {
        self.complete == 0
    }

    /// The bytes of complete messages.
    pub fn len(&self) -> usize {
        self.complete
    }

    pub fn is_high(&self) -> bool {
        self.complete >= HIGH_WATER
    }

    /// One write to the socket. Cancel safe: what was not written stays.
    pub async fn write_some(&mut self, socket: &mut Writing) -> std::io::Result<()> {
        self.drop_unfinished();
        let written = socket.write_buf(&mut self.buffer).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.complete -= written;
        if self.complete == 0 && self.buffer.capacity() > KEEP_CAPACITY {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }
}

/// Text and its closing NUL; a NUL inside would end it early for the client, so it is left out.
pub fn put_text(body: &mut BytesMut, text: &str) {
    if text.contains('\0') {
        body.extend(text.bytes().filter(|&byte| byte != 0));
    } else {
        body.extend_from_slice(text.as_bytes());
    }
    body.put_u8(0);
}

/// How an error ends: the statement, or the connection with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Fatal,
}

impl Outbox {
    pub fn error(&mut self, severity: Severity, error: &Error) {
        let severity = match severity {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        };
        self.small(b'E', |body| put_report(body, severity, error));
    }

    /// `severity`: NOTICE, WARNING and so on.
    pub fn notice(&mut self, severity: &str, error: &Error) {
        self.small(b'N', |body| put_report(body, severity, error));
    }

    pub fn notification(&mut self, notification: &Notification) {
        self.small(b'A', |body| {
            body.put_i32(notification.process_id);
            put_text(body, &notification.channel);
            put_text(body, &notification.payload);
        });
    }

    pub fn parameter_status(&mut self, name: &str, value: &str) {
        self.small(b'S', |body| {
            put_text(body, name);
            put_text(body, value);
        });
    }

    pub fn command_complete(&mut self, tag: &str) {
        self.small(b'C', |body| put_text(body, tag));
    }
}

/// The texts of an error are cut here: a message about a value must not be as long as the value.
const LONGEST_TEXT: usize = 8 * 1024;

fn put_report(body: &mut BytesMut, severity: &str, error: &Error) {
    let mut field = |code: u8, text: &str| {
        body.put_u8(code);
        put_text(body, cut(text));
    };
    field(b'S', severity);
    field(b'V', severity);
    field(b'C', error.sqlstate());
    field(b'M', error.message());
    if let Some(detail) = error.detail() {
        field(b'D', detail);
    }
    if let Some(hint) = error.hint() {
        field(b'H', hint);
    }
    if let Some(context) = error.context() {
        field(b'W', context);
    }
    let subject = error.subject();
    let parts =
        [(b's', &subject.schema), (b't', &subject.relation), (b'c', &subject.column), (b'n', &subject.constraint)];
    for (code, text) in parts {
        if let Some(text) = text {
            field(code, text);
        }
    }
    if let Some(position) = error.position() {
        field(b'P', &position.to_string());
    }
    body.put_u8(0);
}

fn cut(text: &str) -> &str {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_message_leaves_no_trace() {
        let mut out = Outbox::default();
        out.command_complete("SELECT 1");
        let whole = out.buffer.clone();
        let failed = out.message(b'D', |body| {
            body.put_u64(1);
            Err(Error::internal("half way"))
        });
        assert!(failed.is_err());
        out.drop_unfinished();
        assert_eq!(out.buffer, whole);
        assert_eq!(&whole[..], b"C\0\0\0\x0dSELECT 1\0");
    }

    #[test]
    fn errors_carry_their_fields_and_no_nul() {
        let mut out = Outbox::default();
        let error = Error::new(Kind::Syntax, "bad\0 word").with_detail("d").with_hint("h").at(7);
        out.error(Severity::Fatal, &error);
        assert_eq!(&out.buffer[5..], b"SFATAL\0VFATAL\0C42601\0Mbad word\0Dd\0Hh\0P7\0\0");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "é".repeat(LONGEST_TEXT);
        assert_eq!(cut(&text).len(), LONGEST_TEXT);
        assert_eq!(cut(&format!("a{text}")).len(), LONGEST_TEXT - 1);
    }
}
