//! What a client says after the start-up: bytes of one whole message into [`Message`].
//!
//! pgwire's own decoders panic on short bodies and read past a message's end, so the bodies are read here, every
//! length checked. The errors are PostgreSQL's: a malformed body is an ERROR, a malformed frame ends the connection.

use bytes::{Buf, Bytes};

use crate::error::{Error, Kind, Result};

/// One message, its texts checked to be UTF-8.
#[derive(Debug)]
pub enum Message {
    Query {
        sql: String,
    },
    Parse {
        name: String,
        sql: String,
        parameter_oids: Vec<u32>,
    },
    Bind(Bind),
    Describe(Target),
    Execute {
        portal: String,
        max_rows: i32,
    },
    Close(Target),
    Flush,
    Sync,
    FunctionCall,
    /// COPY data outside of a COPY: PostgreSQL ignores it, since it may be what was under way when the COPY failed
    Copy,
    Terminate,
}

#[derive(Debug)]
pub struct Bind {
    pub portal: String,
    pub statement: String,
    pub parameter_formats: Vec<i16>,
    pub parameters: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

#[derive(Debug)]
pub enum Target {
    Statement(String),
    Portal(String),
}

/// A message's type byte, known to be one that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(u8);

/// Messages that carry no statement and no data need no more than this, as in PostgreSQL's `PQ_SMALL_MESSAGE_LIMIT`.
const SMALL_MESSAGE: usize = 10_000;

impl Tag {
    /// An unknown type byte means that client and server lost each other: nothing after it can be trusted.
    pub fn new(byte: u8) -> Result<Tag> {
        match byte {
            b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'S' | b'F' | b'd' | b'c' | b'f' | b'X' => Ok(Tag(byte)),
            _ => Err(Error::new(Kind::ProtocolViolation, format!("invalid frontend message type {byte}"))),
        }
    }

    pub fn byte(self) -> u8 {
        self.0
    }

    pub fn most_bytes(self, limit: usize) -> usize {
        match self.0 {
            b'Q' | b'P' | b'B' | b'F' | b'd' => limit,
            _ => SMALL_MESSAGE.min(limit),
        }
    }

    /// After an error in one of these, everything up to the next Sync is discarded.
    pub fn is_extended(self) -> bool {
        matches!(self.0, b'P' | b'B' | b'D' | b'E' | b'C' | b'H')
    }

    pub fn is_sync(self) -> bool {
        self.0 == b'S'
    }

    pub fn is_terminate(self) -> bool {
        self.0 == b'X'
    }
}

impl Message {
    /// `body`: exactly the bytes after the length word.
    pub fn read(tag: Tag, body: Bytes) -> Result<Message> {
        let mut body = Body(body);
        let message = match tag.0 {
            b'Q' => Message::Query { sql: body.text()? },
            b'P' => Message::Parse { name: body.text()?, sql: body.text()?, parameter_oids: body.list(Body::u32)? },
            b'B' => Message::Bind(Bind {
                portal: body.text()?,
                statement: body.text()?,
                parameter_formats: body.list(Body::i16)?,
                parameters: body.list(Body::value)?,
                result_formats: body.list(Body::i16)?,
            }),
            b'D' => Message::Describe(body.target("DESCRIBE")?),
            b'E' => Message::Execute { portal: body.text()?, max_rows: body.i32()? },
            b'C' => Message::Close(body.target("CLOSE")?),
            b'H' => Message::Flush,
            b'S' => Message::Sync,
            b'F' => return Ok(Message::FunctionCall),
            b'd' | b'c' | b'f' => return Ok(Message::Copy),
            b'X' => return Ok(Message::Terminate),
            _ => unreachable!("Tag::new lets no other byte through"),
        };
        if body.0.has_remaining() {
            return Err(Error::new(Kind::ProtocolViolation, "invalid message format"));
        }
        Ok(message)
    }
}

/// Checked reads from a message's body.
pub struct Body(pub Bytes);

impl Body {
    fn need(&self, bytes: usize) -> Result<()> {
        if self.0.remaining() < bytes {
            return Err(Error::new(Kind::ProtocolViolation, "insufficient data left in message"));
        }
        Ok(())
    }

    fn u8(&mut self) -> Result<u8> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    fn i16(&mut self) -> Result<i16> {
        self.need(2)?;
        Ok(self.0.get_i16())
    }

    fn u32(&mut self) -> Result<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    pub fn i32(&mut self) -> Result<i32> {
        self.need(4)?;
        Ok(self.0.get_i32())
    }

    /// A length word and that many bytes; -1 stands for NULL.
    pub fn value(&mut self) -> Result<Option<Bytes>> {
        let length = self.i32()?;
        match usize::try_from(length) {
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(Error::new(Kind::ProtocolViolation, "invalid message format")),
            Ok(length) => {
                self.need(length)?;
                Ok(Some(self.0.split_to(length)))
            }
        }
    }

    /// A count and that many items. The count is believed only as far as the bytes go.
    fn list<T>(&mut self, read: impl Fn(&mut Body) -> Result<T>) -> Result<Vec<T>> {
        let count = self.i16()? as u16;
        let mut items = Vec::with_capacity(usize::from(count).min(self.0.remaining() / 2));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// Text up to a NUL byte.
    pub fn text(&mut self) -> Result<String> {
        let Some(end) = self.0.iter().position(|&byte| byte == 0) else {
            return Err(Error::new(Kind::ProtocolViolation, "invalid string in message"));
        };
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        Ok(utf8(&bytes)?.to_owned())
    }

    fn target(&mut self, message: &str) -> Result<Target> {
        match self.u8()? {
            b'S' => Ok(Target::Statement(self.text()?)),
            b'P' => Ok(Target::Portal(self.text()?)),
            other => Err(Error::new(Kind::ProtocolViolation, format!("invalid {message} message subtype {other}"))),
        }
    }
}

/// Text from a client, or PostgreSQL's error that names the first bytes that are none.
pub fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let bad = &bytes[error.valid_up_to()..];
        let shown = bad.iter().take(error.error_len().unwrap_or(bad.len()).min(4));
        let shown: Vec<String> = shown.map(|byte| format!("0x{byte:02x}")).collect();
        invalid_text(&shown.join(" "))
    })
}

pub fn invalid_text(shown: &str) -> Error {
    Error::new(Kind::CharacterNotInRepertoire, format!("invalid byte sequence for encoding \"UTF8\": {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tag: u8, body: &[u8]) -> Result<Message> {
        Message::read(Tag::new(tag)?, Bytes::copy_from_slice(body))
    }

    fn message_of(tag: u8, body: &[u8]) -> String {
        match read(tag, body) {
            Ok(message) => format!("{message:?}"),
            Err(error) => format!("{} {}", error.sqlstate(), error.message()),
        }
    }

    #[test]
    fn every_prefix_of_a_message_is_an_error_and_none_panics() {
        let bind = b"portal\0statement\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0";
        let parse = b"name\0SELECT $1\0\0\x01\0\0\0\x17";
        for (tag, whole) in [(b'B', &bind[..]), (b'P', &parse[..]), (b'E', b"p\0\0\0\0\x01"), (b'D', b"Sx\0")] {
            assert!(read(tag, whole).is_ok(), "{}", message_of(tag, whole));
            for length in 0..whole.len() {
                let error = read(tag, &whole[..length]).expect_err("a prefix is no message");
                assert_eq!(error.kind(), Kind::ProtocolViolation);
            }
            let longer = [whole, b"\0"].concat();
            assert_eq!(message_of(tag, &longer), "08P01 invalid message format");
        }
    }

    #[test]
    fn lengths_are_not_believed() {
        assert_eq!(message_of(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"), "08P01 insufficient data left in message");
        assert_eq!(message_of(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe"), "08P01 invalid message format");
        assert_eq!(message_of(b'P', b"\0\0\xff\xff"), "08P01 insufficient data left in message");
    }

    #[test]
    fn texts_must_be_utf8() {
        assert_eq!(message_of(b'Q', b"SELECT '\xff'\0"), "22021 invalid byte sequence for encoding \"UTF8\": 0xff");
        assert_eq!(message_of(b'Q', b"SELECT 1"), "08P01 invalid string in message");
    }

    #[test]
    fn subtypes_and_types_are_checked() {
        assert_eq!(message_of(b'D', b"Xname\0"), "08P01 invalid DESCRIBE message subtype 88");
        assert_eq!(message_of(b'C', b"Xname\0"), "08P01 invalid CLOSE message subtype 88");
        assert_eq!(message_of(b'p', b""), "08P01 invalid frontend message type 112");
    }
}
