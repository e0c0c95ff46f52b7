//! The PostgreSQL wire protocol: a listener's connections, each from its first byte to its last.
//!
//! The loop and the codec are our own; of pgwire only SCRAM is used, since its handlers buffer whole results and its
//! decoders can be crashed. Knows sessions and bytes, not SQL: what a statement means is the session's.

mod cancel;
mod connection;
mod copy_in;
mod copy_out;
mod decode;
mod description;
mod encode;
mod extended;
mod frontend;
mod input;
mod link;
mod output;
mod portal;
mod scram;
mod simple;
mod startup;
mod threads;
mod tls;
mod types;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::BufMut;
use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use copy_in::fields_of_line;
pub use decode::value_of_text;
pub use scram::MockSecret;
pub use types::{COLUMN_KEY, TABLE_OID_KEY, TYPE_KEY};

use crate::access::{HostRules, Knock, Method};
use crate::audit::Actor;
use crate::error::{Error, Kind, Result};
use crate::session::{Login, Session};
use crate::warehouse::Warehouse;
use cancel::Registry;
use connection::Connection;
use link::Link;
use output::Severity;
use startup::{LoginProof, Opening, Start};
use threads::ClientThreads;

/// What a listener allows its clients.
#[derive(Clone)]
pub struct WireLimits {
    /// clients that are logged in or logging in at a time; one more is refused with 53300
    pub max_connections: usize,
    /// from the connection's first byte to the end of the log-in
    pub startup_timeout: Duration,
    /// how long running statements may go on when the server stops
    pub drain_timeout: Duration,
    /// the longest message of a client that has logged in
    pub max_message_bytes: usize,
    /// how many threads listen to clients and answer lookups
    pub threads: usize,
    /// a stable secret of the installation, so that users that do not exist look the same after a restart;
    /// `None` draws a new one
    pub mock_secret: Option<MockSecret>,
    /// how connections are encrypted; None: not at all
    pub tls: Option<TlsAcceptor>,
    /// who may connect from where; None: everybody, with a password
    pub rules: Option<Arc<HostRules>>,
    /// of the connections, so many are kept for superusers
    pub reserved_connections: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        WireLimits {
            max_connections: 100,
            startup_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            max_message_bytes: 256 * 1024 * 1024,
            threads: std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
            mock_secret: None,
            tls: None,
            rules: None,
            reserved_connections: 3,
        }
    }
}

/// After the drain, how long cancelled statements have to end by themselves.
const CANCEL_GRACE: Duration = Duration::from_secs(5);
/// The kernel may be out of sockets for a while.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections of a listener share.
struct Server {
    warehouse: Arc<Warehouse>,
    limits: WireLimits,
    mock_secret: MockSecret,
    registry: Arc<Registry>,
    seats: Semaphore,
    /// no new work
    soft_stop: CancellationToken,
    /// no more work
    hard_stop: CancellationToken,
}

/// Serves until `shutdown`: then idle connections end at once, running statements may finish within the drain
/// timeout, and what is left is cancelled.
pub async fn serve(
    listener: TcpListener,
    warehouse: Arc<Warehouse>,
    shutdown: CancellationToken,
    limits: WireLimits,
) -> Result<()> {
    let mock_secret = match &limits.mock_secret {
        Some(secret) => secret.clone(),
        None => MockSecret::random()?,
    };
    let server = Arc::new(Server {
        warehouse,
        mock_secret,
        registry: Arc::default(),
        seats: Semaphore::new(limits.max_connections),
        soft_stop: shutdown.clone(),
        hard_stop: CancellationToken::new(),
        limits,
    });
    // cancel requests and refusals need sockets beside those of the clients
    let most_sockets = server.limits.max_connections.saturating_mul(2).saturating_add(16);
    let mut threads = ClientThreads::start(server.limits.threads)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => log_if_panicked(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < most_sockets => match stream.into_std() {
                    Ok(stream) => {
                        connections.spawn_on(handle(Arc::clone(&server), stream, peer), threads.next());
                    }
                    Err(error) => tracing::warn!(%peer, %error, "could not hand a connection to its thread"),
                },
                Ok((_, peer)) => tracing::warn!(%peer, "refused a connection: there are too many sockets"),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drain(&server, connections).await;
    Ok(())
}

async fn drain(server: &Server, mut connections: JoinSet<()>) {
    if all_ended(&mut connections, server.limits.drain_timeout).await {
        return;
    }
    tracing::warn!(connections = connections.len(), "statements still run after the drain timeout: cancelling them");
    server.hard_stop.cancel();
    if !all_ended(&mut connections, CANCEL_GRACE).await {
        tracing::warn!(connections = connections.len(), "statements did not stop when cancelled: dropping them");
        connections.shutdown().await;
    }
}

async fn all_ended(connections: &mut JoinSet<()>, patience: Duration) -> bool {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            log_if_panicked(ended);
        }
    };
    tokio::time::timeout(patience, all).await.is_ok()
}

fn log_if_panicked(ended: std::result::Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// One socket, from accept to close.
async fn handle(server: Arc<Server>, stream: std::net::TcpStream, peer: SocketAddr) {
    // from here on this thread hears of it
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%peer, %error, "could not listen to a connection"),
    };
    prepare_socket(&stream);
    let until = tokio::time::Instant::now() + server.limits.startup_timeout;
    let negotiating = tokio::time::timeout_at(until, tls::negotiate(stream, server.limits.tls.as_ref()));
    let channel = tokio::select! {
        biased;
        channel = negotiating => channel,
        () = server.soft_stop.cancelled() => return,
    };
    let Ok(Some(channel)) = channel else { return };
    let is_encrypted = channel.is_encrypted;
    // somebody may end this connection alone
    let mut link = Link::new(channel, server.hard_stop.child_token());
    let opening = tokio::select! {
        biased;
        opening = tokio::time::timeout_at(until, open(&server, &mut link, (peer, is_encrypted))) => opening,
        () = server.soft_stop.cancelled() => Ok(Err(cancel::shutting_down())),
    };
    match opening {
        Ok(Ok(Some(opened))) => run(&server, link, opened).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => {
            tracing::info!(%peer, sqlstate = error.sqlstate(), %error, "refused a log-in");
            link.out.error(Severity::Fatal, &error);
            link.close().await;
        }
        Err(_) => tracing::info!(%peer, "a client did not log in in time"),
    }
}

fn prepare_socket(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    // without them the connection is slower or outlives its client, but it works
    let _ = stream.set_nodelay(true);
    let _ = socket.set_keepalive(true);
}

/// A logged-in client with its seat.
struct Opened<'server> {
    session: Session,
    registration: cancel::Registration,
    seat: tokio::sync::SemaphorePermit<'server>,
}

/// `None`: there is nobody to serve, and nothing to say.
async fn open<'server>(
    server: &'server Server,
    link: &mut Link,
    (peer, is_encrypted): (SocketAddr, bool),
) -> Result<Option<Opened<'server>>> {
    let start = match startup::open(&mut link.inbox, &mut link.out, &mut link.socket).await? {
        Opening::Start(start) => start,
        Opening::Cancel { process_id, secret } => {
            server.registry.cancel(process_id, secret);
            return Ok(None);
        }
        Opening::Nothing => return Ok(None),
    };
    let actor = Actor { role: start.user.clone(), database: start.database.clone(), client: peer.ip().to_string() };
    let admitted = admit(server, link, start, (peer, is_encrypted)).await;
    if let Err(error) = &admitted {
        server.warehouse.audit.refused(&actor, None, error).await;
    }
    admitted
}

/// Lets a client in that may be. `None`: it has gone.
async fn admit<'server>(
    server: &'server Server,
    link: &mut Link,
    Start { user, database, options }: Start,
    (peer, is_encrypted): (SocketAddr, bool),
) -> Result<Option<Opened<'server>>> {
    let seat = server
        .seats
        .try_acquire()
        .map_err(|_| Error::new(Kind::TooManyConnections, "sorry, too many clients already"))?;
    let method = match &server.limits.rules {
        Some(rules) => rules.method(&Knock { user: &user, database: &database, peer, is_encrypted })?,
        None => Method::Scram,
    };
    if method == Method::Trust {
        startup::put_trusted(&mut link.out);
    } else {
        let stored = server.warehouse.scram_verifier(&user);
        let proof = LoginProof { user: &user, stored: stored.as_deref(), mock_secret: &server.mock_secret };
        let proven = startup::authenticate(&mut link.inbox, &mut link.out, &mut link.socket, &proof).await?;
        if proven.is_none() {
            return Ok(None);
        }
    }
    let reserved = server.limits.reserved_connections.min(server.limits.max_connections.saturating_sub(1));
    if server.seats.available_permits() < reserved && !server.warehouse.is_superuser(&user) {
        let message = "remaining connection slots are reserved for non-replication superuser connections";
        return Err(Error::new(Kind::TooManyConnections, message));
    }
    let registration = server.registry.register(i32::from_be_bytes(crate::access::random_bytes()?));
    let process_id = registration.process_id();
    let login = Login { user, database, options, process_id, peer, ended: link.hard_stop.clone() };
    let session = Session::start(Arc::clone(&server.warehouse), login).await?;
    Ok(Some(Opened { session, registration, seat }))
}

async fn run(server: &Server, link: Link, opened: Opened<'_>) {
    let Opened { session, registration, seat } = opened;
    let mut connection = Connection {
        link,
        session,
        registration,
        named: portal::Named::default(),
        soft_stop: server.soft_stop.clone(),
        most_message_bytes: server.limits.max_message_bytes,
        discarding: false,
        in_pipeline: false,
    };
    greet(&mut connection);
    let served = AssertUnwindSafe(async {
        if connection.link.flush(None).await.is_ok() {
            connection.serve().await;
        }
    });
    let panicked = served.catch_unwind().await.is_err();
    let Connection { mut link, session, registration, named, .. } = connection;
    drop(named);
    if panicked {
        // what the session holds may be half done: it is dropped, not closed
        tracing::error!(process_id = registration.process_id(), "a statement panicked: its connection ends");
        link.out.drop_unfinished();
        link.out
            .error(Severity::Fatal, &Error::internal("the statement failed in a way that the server did not expect"));
        drop(session);
    } else {
        session.close().await;
    }
    drop((registration, seat));
    link.close().await;
}

/// What a client is told when it is in.
fn greet(connection: &mut Connection) {
    for (name, value) in connection.session.parameter_statuses() {
        connection.link.out.parameter_status(&name, &value);
    }
    let (process_id, secret) = (connection.registration.process_id(), connection.registration.secret());
    connection.link.out.small(b'K', |body| {
        body.put_i32(process_id);
        body.put_i32(secret);
    });
    connection.put_notices();
    connection.put_ready();
}
