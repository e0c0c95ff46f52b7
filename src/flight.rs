//! The Flight SQL door: the same sessions, statements and rights as over the Postgres protocol, with rows as the Arrow
//! batches that they are. A listener of its own; TLS, seats and HTTP/2 are those of [`crate::http`].

mod ingest;
mod metadata;
mod parameters;
mod results;
mod service;
mod sessions;
mod status;
mod types;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::access::HostRules;
use crate::http::{Port, TlsAcceptor};
use crate::warehouse::Warehouse;
use service::Door;
use sessions::{Entrance, Sessions};

/// What the port allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct FlightLimits {
    /// open connections; one more is closed at once
    pub max_connections: usize,
    /// clients that are logged in at a time
    pub max_sessions: usize,
    /// a session that asks for nothing so long has ended
    pub idle_timeout: Duration,
    /// how long running statements may go on when the server stops
    pub drain_timeout: Duration,
}

impl Default for FlightLimits {
    fn default() -> Self {
        FlightLimits {
            max_connections: 100,
            max_sessions: 100,
            idle_timeout: Duration::from_secs(1800),
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// A message of a client: a batch that it sends.
const MOST_MESSAGE_BYTES: usize = 256 << 20;
/// So often sessions are looked at that may have ended.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Answers until `stop`, who fits the rules if there are any; then what runs may end within its time.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    warehouse: Arc<Warehouse>,
    (limits, rules): (FlightLimits, Option<Arc<HostRules>>),
    stop: CancellationToken,
) {
    let sessions = Arc::new(Sessions::new(warehouse, limits, Entrance { rules, is_encrypted: tls.is_some() }));
    let door = FlightServiceServer::new(Door::new(Arc::clone(&sessions)));
    let router = Routes::new(door.max_decoding_message_size(MOST_MESSAGE_BYTES)).into_axum_router();
    let port = Port { router, tls, max_connections: limits.max_connections, stop_grace: limits.drain_timeout };
    let sweeping = async {
        let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
        loop {
            ticks.tick().await;
            sessions.sweep();
        }
    };
    tokio::select! {
        () = port.serve(listener, stop) => {}
        () = sweeping => {}
    }
    sessions.close_all();
}
