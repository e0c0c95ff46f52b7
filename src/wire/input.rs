//! Bytes from a client: whole messages, and the news that the client has gone.
//!
//! A length word only sets how many bytes a message may grow to; memory is taken as bytes arrive.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use super::frontend::Tag;
use super::tls::Reading;
use crate::error::{Error, Kind, Result};

/// How far a client may run ahead of the statement that is running.
const READ_AHEAD: usize = 64 * 1024;

pub struct Inbox {
    socket: Reading,
    buffer: BytesMut,
    /// the client will send nothing more
    ended: bool,
}

/// What came when a message was waited for.
#[derive(Debug)]
pub enum Incoming {
    Message(Tag, Bytes),
    /// the connection is over: nothing to answer
    Gone,
}

impl Inbox {
    /// `before`: what was read of it already.
    pub fn new(socket: Reading, before: &[u8]) -> Self {
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        buffer.extend_from_slice(before);
        Inbox { socket, buffer, ended: false }
    }

    /// A whole message if its bytes are here; an error means that client and server lost each other.
    pub fn take(&mut self, limit: usize) -> Result<Option<(Tag, Bytes)>> {
        let Some(&first) = self.buffer.first() else { return Ok(None) };
        let tag = Tag::new(first)?;
        let Some(length) = self.buffer.get(1..5) else { return Ok(None) };
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let body = body_length(length, tag.most_bytes(limit))?;
        if self.buffer.len() < 5 + body {
            return Ok(None);
        }
        self.buffer.advance(5);
        Ok(Some((tag, self.buffer.split_to(body).freeze())))
    }

    /// Waits for a whole message. Cancel safe.
    pub async fn next(&mut self, limit: usize) -> Result<Incoming> {
        loop {
            if let Some((tag, body)) = self.take(limit)? {
                return Ok(Incoming::Message(tag, body));
            }
            if !self.fill().await {
                return Ok(Incoming::Gone);
            }
        }
    }

    /// Waits for more bytes; false if none will come. Cancel safe.
    async fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.buffer.reserve(4 * 1024);
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => {
                self.ended = true;
                false
            }
            Ok(_) => true,
        }
    }

    /// Resolves when the client has gone without having asked for more than is being answered. Until then it reads
    /// ahead, a bounded number of bytes. A client that sent its last messages and closed is still answered.
    pub async fn gone(&mut self) {
        while self.buffer.len() < READ_AHEAD && self.fill().await {}
        if !self.is_gone() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_gone(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }

    /// Reads and forgets, until the client closes or has sent a lot.
    pub async fn drain(&mut self) {
        const MOST_READS: usize = 64;
        for _ in 0..MOST_READS {
            self.buffer.clear();
            if !self.fill().await {
                return;
            }
        }
    }

    /// The packet that opens a connection: a length word and a code, no type byte. `None`: the client has gone.
    pub async fn startup_packet(&mut self, most: usize) -> Result<Option<(i32, Bytes)>> {
        loop {
            if let Some(head) = self.buffer.get(..4) {
                let length = i32::from_be_bytes(head.try_into().expect("four bytes"));
                let body = body_length(length, most)?;
                if body < 4 {
                    return Err(Error::new(Kind::ProtocolViolation, "invalid length of startup packet"));
                }
                if self.buffer.len() >= 4 + body {
                    self.buffer.advance(4);
                    let mut packet = self.buffer.split_to(body).freeze();
                    let code = packet.get_i32();
                    return Ok(Some((code, packet)));
                }
            }
            if !self.fill().await {
                return Ok(None);
            }
        }
    }

    /// A password message, the only one that a client may send while it logs in. `None`: the client has gone.
    pub async fn password_packet(&mut self, most: usize) -> Result<Option<Bytes>> {
        loop {
            if let Some(&first) = self.buffer.first()
                && first != b'p'
            {
                let message = format!("expected SASL response, got message type {first}");
                return Err(Error::new(Kind::ProtocolViolation, message));
            }
            if let Some(head) = self.buffer.get(1..5) {
                let length = i32::from_be_bytes(head.try_into().expect("four bytes"));
                let body = body_length(length, most)?;
                if self.buffer.len() >= 5 + body {
                    self.buffer.advance(5);
                    return Ok(Some(self.buffer.split_to(body).freeze()));
                }
            }
            if !self.fill().await {
                return Ok(None);
            }
        }
    }
}

/// Bytes after a length word, which counts itself.
fn body_length(length: i32, most: usize) -> Result<usize> {
    match usize::try_from(length) {
        Ok(length) if (4..=most).contains(&length) => Ok(length - 4),
        _ => Err(Error::new(Kind::ProtocolViolation, "invalid message length")),
    }
}
