//! What a new connection asks for before it is one: encryption by SSLRequest, or at once as PostgreSQL 17's clients may.

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::startup::SSL_REQUEST;

/// A connection's two directions, encrypted or not.
pub struct Channel {
    pub reading: Reading,
    pub writing: Writing,
    /// what came before it was known that there is no encryption
    pub before: BytesMut,
    pub is_encrypted: bool,
}

pub type Reading = Box<dyn AsyncRead + Send + Unpin>;
pub type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// What a handshake must agree on that comes without SSLRequest, so that no other protocol's is taken for ours.
const PROTOCOL: &[u8] = b"postgresql";
const REQUEST_BYTES: usize = 8;

/// The channel that the client wants, if there is a certificate. None: it has gone, or broke off.
pub async fn negotiate(mut stream: TcpStream, tls: Option<&TlsAcceptor>) -> Option<Channel> {
    let Some(tls) = tls else { return Some(plain(stream, BytesMut::new())) };
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] == HANDSHAKE {
        return encrypted(stream, tls, true).await;
    }
    let mut before = BytesMut::zeroed(REQUEST_BYTES);
    stream.read_exact(&mut before).await.ok()?;
    if before[..4] != (REQUEST_BYTES as i32).to_be_bytes() || before[4..] != SSL_REQUEST.to_be_bytes() {
        return Some(plain(stream, before));
    }
    stream.write_all(b"S").await.ok()?;
    // whatever comes now is the handshake: nothing unencrypted is kept that somebody may have put before it
    encrypted(stream, tls, false).await
}

fn plain(stream: TcpStream, before: BytesMut) -> Channel {
    let (reading, writing) = stream.into_split();
    Channel { reading: Box::new(reading), writing: Box::new(writing), before, is_encrypted: false }
}

async fn encrypted(stream: TcpStream, tls: &TlsAcceptor, needs_protocol: bool) -> Option<Channel> {
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a client did not agree on encryption");
            return None;
        }
    };
    if needs_protocol && stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
        return None;
    }
    let (reading, writing) = tokio::io::split(stream);
    Some(Channel {
        reading: Box::new(reading),
        writing: Box::new(writing),
        before: BytesMut::new(),
        is_encrypted: true,
    })
}
