//! Connections of the HTTP port: HTTP/1.1 and HTTP/2 on one port, encrypted or not, and no more of them than allowed.
//! Knows nothing of what is asked.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// From the connection's first byte to the end of its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take for the head of a request, and be silent before and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A client of HTTP/2 that does not answer is given up after both.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that one connection of HTTP/2 may have open at a time.
const MAX_STREAMS: u32 = 256;
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The kernel may be out of sockets for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of the port share.
pub struct Port {
    pub router: Router,
    pub tls: Option<TlsAcceptor>,
    pub max_connections: usize,
    /// how long connections may go on after the stop
    pub stop_grace: Duration,
}

/// Who a request comes from, as it finds it among its extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Port {
    /// Answers until `stop`; then connections end with the request that they are in.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let seats = Arc::new(Semaphore::new(self.max_connections));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection over HTTP ended by a panic");
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => match Arc::clone(&seats).try_acquire_owned() {
                        Ok(seat) => {
                            let router = self.router.clone().layer(Extension(Peer(peer)));
                            let connection = handle(stream, router, self.tls.clone(), stop.clone());
                            connections.spawn(async move {
                                connection.await;
                                drop(seat);
                            });
                        }
                        Err(_) => tracing::warn!(%peer, "refused a connection over HTTP: there are too many"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "could not accept a connection over HTTP");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.stop_grace, all_ended).await;
    }
}

async fn handle(stream: TcpStream, router: Router, tls: Option<TlsAcceptor>, stop: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection over HTTP ended before it began");
        return;
    }
    // whoever says nothing at all does not keep its seat
    let first_byte = tokio::select! {
        first_byte = tokio::time::timeout(HEAD_TIMEOUT, stream.readable()) => first_byte,
        () = stop.cancelled() => return,
    };
    if !matches!(first_byte, Ok(Ok(()))) {
        return;
    }
    let Some(tls) = tls else { return talk(stream, router, stop).await };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on encryption"),
        Err(_) => tracing::debug!("a client took too long to agree on encryption"),
    }
}

async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, stop: CancellationToken) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection over HTTP broke off");
    }
}
