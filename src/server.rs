//! Composes a server: opens the data folder, makes the first workspace and superuser, listens, and stops in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{Author, Change, Header, Home, Role, Schema, SealedText, Workspace};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::access::{make_verifier, random_bytes};
use crate::alerting::{self, Couriers};
use crate::error::{Error, Kind, Result};
use crate::flight::{self, FlightLimits};
use crate::http::{self, HttpLimits};
use crate::materialize;
use crate::openlineage::{self, Moment, OpenLineageConfig, Waiting};
use crate::outbound::OutboundConfig;
use crate::priority::{Threads, let_others_go_first};
use crate::readers;
use crate::scheduler::{self, Limits};
use crate::sinks;
use crate::warehouse::{Warehouse, WarehouseConfig};
use crate::wire::{self, MockSecret, WireLimits};

/// The superuser, the first workspace and its name, all the same.
pub const FIRST_NAME: &str = "granary";

/// How a server is to run.
#[derive(Clone)]
pub struct ServerConfig {
    pub warehouse: WarehouseConfig,
    /// for Postgres clients
    pub listen: SocketAddr,
    /// for HTTP clients; None: no such door
    pub http: Option<SocketAddr>,
    /// for Flight SQL clients; None: no such door
    pub flight: Option<SocketAddr>,
    pub flight_limits: FlightLimits,
    /// None: nothing is encrypted
    pub tls: Option<TlsFiles>,
    pub http_limits: HttpLimits,
    /// where alerts may be sent to, and by whom
    pub outbound: OutboundConfig,
    /// the superuser's password, for the first start; None: a random one
    pub password: Option<String>,
    /// who is told of jobs
    pub openlineage: Option<OpenLineageConfig>,
    /// how often rows that nobody can see any more go out of the online store
    pub expiry_interval: Duration,
    /// how many jobs run at a time
    pub jobs: Limits,
    /// how often the stores are looked at for what would do them good
    pub maintenance_interval: Duration,
    /// without the log-in secret, which is the data folder's
    pub limits: WireLimits,
}

/// PEM files of a certificate and its private key.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificates: PathBuf,
    pub key: PathBuf,
}

/// A server that listens.
pub struct Server {
    warehouse: Arc<Warehouse>,
    listener: TcpListener,
    http: Option<TcpListener>,
    flight: Option<TcpListener>,
    flight_limits: FlightLimits,
    tls: Option<http::TlsAcceptor>,
    http_limits: HttpLimits,
    openlineage: Option<(OpenLineageConfig, Waiting)>,
    couriers: Couriers,
    expiry_interval: Duration,
    jobs: Limits,
    maintenance_interval: Duration,
    limits: WireLimits,
    /// made up at the first start, to be shown once
    pub new_password: Option<String>,
}

impl Server {
    /// Opens everything; connections are accepted by the system from here on, and answered by [`Server::run`].
    pub async fn start(config: &ServerConfig) -> Result<Server> {
        let couriers = Couriers::new(config.outbound.clone())?;
        let warehouse = Arc::new(Warehouse::open(&config.warehouse)?);
        let openlineage = config.openlineage.clone().map(|config| {
            let (outbox, waiting) = openlineage::outbox();
            // nobody has set it before
            let _ = warehouse.lineage.set(outbox);
            (config, waiting)
        });
        warehouse.alerts.sends_mail.store(couriers.sends_mail(), std::sync::atomic::Ordering::Relaxed);
        for job in warehouse.catalog.ledger().interrupted_at_open() {
            let statement = &job.request.author.statement;
            tracing::warn!(job = %job.id, statement, "a job was interrupted by the last stop; run its statement again");
            warehouse.tell_lineage(job, job.attempts, Moment::Cancelled);
        }
        let acceptor = |protocols: &[&[u8]]| match &config.tls {
            Some(files) => http::acceptor(&files.certificates, &files.key, protocols).map(Some),
            None => Ok(None),
        };
        let (tls, wire_tls) = (acceptor(&http::HTTP_PROTOCOLS)?, acceptor(&[b"postgresql"])?);
        // before anybody can ask: what a crash left between the two stores
        materialize::catch_up(&warehouse).await;
        warehouse.ingest.start().await?;
        let listener = listen(config.listen, "--listen").await?;
        let http = match config.http {
            Some(address) => Some(listen(address, "--http").await?),
            None => None,
        };
        let flight = match config.flight {
            Some(address) => Some(listen(address, "--flight-listen").await?),
            None => None,
        };
        let mock_secret = mock_secret(&config.warehouse.data_folder)?;
        // Last, when nothing else can fail: a password that was made up must reach the one who started the server.
        let new_password = make_first_objects(&warehouse, config.password.as_deref())?;
        let limits = WireLimits { mock_secret: Some(mock_secret), tls: wire_tls, ..config.limits.clone() };
        let (http_limits, expiry_interval) = (config.http_limits, config.expiry_interval);
        let flight_limits = config.flight_limits;
        Ok(Server {
            warehouse,
            listener,
            http,
            flight,
            flight_limits,
            tls,
            http_limits,
            openlineage,
            couriers,
            expiry_interval,
            jobs: config.jobs,
            maintenance_interval: config.maintenance_interval,
            limits,
            new_password,
        })
    }

    pub fn address(&self) -> Result<SocketAddr> {
        address_of(&self.listener)
    }

    pub fn http_address(&self) -> Result<Option<SocketAddr>> {
        self.http.as_ref().map(address_of).transpose()
    }

    pub fn flight_address(&self) -> Result<Option<SocketAddr>> {
        self.flight.as_ref().map(address_of).transpose()
    }

    pub fn warehouse(&self) -> &Arc<Warehouse> {
        &self.warehouse
    }

    /// Serves until `shutdown` is cancelled, then drains and stops.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let stopped = CancellationToken::new();
        let flight = self.flight.map(|listener| {
            let warehouse = Arc::clone(&self.warehouse);
            let limits = (self.flight_limits, self.limits.rules.clone());
            tokio::spawn(flight::serve(listener, self.tls.clone(), warehouse, limits, shutdown.clone()))
        });
        let http = self.http.map(|listener| {
            let (warehouse, stop) = (Arc::clone(&self.warehouse), stopped.clone());
            tokio::spawn(http::serve(listener, self.tls, warehouse, self.http_limits, shutdown.clone(), stop))
        });
        let (warehouse, stop) = (Arc::clone(&self.warehouse), shutdown.clone());
        // beside the clients, who wait for none of it
        let threads = Threads::new("granary-store", STORE_THREADS, let_others_go_first)?;
        let store = threads.handle();
        let sweep = store.spawn(async move { stop.run_until_cancelled(warehouse.sweep()).await });
        let expiry = store.spawn(expire(Arc::clone(&self.warehouse), self.expiry_interval, shutdown.clone()));
        let flushing = store.spawn(flush(Arc::clone(&self.warehouse), stopped.clone()));
        let scheduling = store.spawn(scheduler::run(Arc::clone(&self.warehouse), self.jobs, shutdown.clone()));
        let keeping = scheduler::keep(Arc::clone(&self.warehouse), self.maintenance_interval, shutdown.clone());
        let keeping = store.spawn(keeping);
        let logging = store.spawn(log_requests(Arc::clone(&self.warehouse), stopped.clone()));
        let telling = self.openlineage.map(|(config, waiting)| {
            let stores = self.warehouse.stores().clone();
            tokio::spawn(openlineage::run(stores, config, waiting, stopped.clone()))
        });
        let reading = tokio::spawn(readers::run(Arc::clone(&self.warehouse), shutdown.clone()));
        let sending = tokio::spawn(sinks::run(Arc::clone(&self.warehouse), shutdown.clone()));
        let alerting = store.spawn(alerting::run(Arc::clone(&self.warehouse), self.couriers, shutdown.clone()));
        let served = wire::serve(self.listener, self.warehouse, shutdown, self.limits).await;
        if let Some(flight) = flight {
            flight.await.map_err(|error| Error::internal("the Flight SQL listener's task died").with_source(error))?;
        }
        alerting.await.map_err(|error| Error::internal("the alerts' task died").with_source(error))?;
        // what they have read is flushed with the rest
        reading.await.map_err(|error| Error::internal("the readers' task died").with_source(error))?;
        sending.await.map_err(|error| Error::internal("the sinks' task died").with_source(error))?;
        stopped.cancel();
        flushing.await.map_err(|error| Error::internal("the flusher died").with_source(error))?;
        logging.await.map_err(|error| Error::internal("what logs requests died").with_source(error))?;
        sweep.await.map_err(|error| Error::internal("the sweep died").with_source(error))?;
        expiry.await.map_err(|error| Error::internal("the expiry died").with_source(error))?;
        keeping.await.map_err(|error| Error::internal("the maintenance died").with_source(error))?;
        scheduling.await.map_err(|error| Error::internal("the scheduler died").with_source(error))?;
        if let Some(telling) = telling {
            telling.await.map_err(|error| Error::internal("what tells OpenLineage died").with_source(error))?;
        }
        if let Some(http) = http {
            http.await.map_err(|error| Error::internal("the HTTP listener's task died").with_source(error))?;
        }
        served
    }
}

/// Removes rows that nobody can see any more from the online store, again and again. Feature tables whose stores do not
/// agree since a write has failed are made to agree on the way.
async fn expire(warehouse: Arc<Warehouse>, interval: Duration, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let work = async {
            materialize::catch_up(&warehouse).await;
            materialize::expire(&warehouse).await;
        };
        if shutdown.run_until_cancelled(work).await.is_none() {
            return;
        }
    }
}

/// Threads that keep the stores in order: flush, expire, sweep.
const STORE_THREADS: usize = 2;
/// So often events go from memory into the offline store, if they are not many before.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Brings the events of streams into the offline store, again and again, and a last time at the end.
async fn flush(warehouse: Arc<Warehouse>, stopped: CancellationToken) {
    let mut ticks = tokio::time::interval(FLUSH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let wants_flush = Arc::clone(&warehouse.ingest.wants_flush);
    loop {
        let is_last = tokio::select! {
            () = stopped.cancelled() => true,
            _ = ticks.tick() => false,
            () = wants_flush.notified() => false,
        };
        warehouse.ingest.flush().await;
        if let Err(error) = warehouse.ingest.shorten().await {
            tracing::warn!(%error, "an ingest log could not be shortened");
        }
        if is_last {
            return;
        }
    }
}

/// So often served feature vectors go into the offline store, if they are not many before: each time is a commit a service.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Brings feature vectors that were served into the logs of their services, and a last time at the end.
async fn log_requests(warehouse: Arc<Warehouse>, stopped: CancellationToken) {
    let mut ticks = tokio::time::interval(LOG_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_last = tokio::select! {
            () = stopped.cancelled() => true,
            _ = ticks.tick() => false,
            () = warehouse.requests.wants_flush.notified() => false,
        };
        if let Err(error) = warehouse.requests.flush(&warehouse.offline).await {
            tracing::warn!(%error, "served feature vectors could not be logged");
        }
        if is_last {
            return;
        }
    }
}

/// Takes the address that `flag` chose.
async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let (kind, hint) = match error.kind() {
            std::io::ErrorKind::AddrInUse => (Kind::ObjectInUse, "another program listens there: choose another port"),
            std::io::ErrorKind::PermissionDenied => (Kind::InsufficientPrivilege, "choose a port from 1024 on"),
            _ => (Kind::IoError, "choose an address of this machine"),
        };
        Error::new(kind, format!("could not listen on {address}: {error}")).with_hint(format!("{hint} with {flag}"))
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|error| Error::internal("a listener without address").with_source(error))
}

/// At the first start: the workspace `granary` with its schema, and the superuser. Gives a password that was made up.
fn make_first_objects(warehouse: &Warehouse, password: Option<&str>) -> Result<Option<String>> {
    let snapshot = warehouse.catalog.snapshot();
    if !snapshot.is_empty() {
        return Ok(None);
    }
    let (password, made_up) = match password {
        Some("") => {
            return Err(Error::new(Kind::InvalidPassword, "the password is empty")
                .with_hint("set GRANARY_PASSWORD to something, or leave it out for a random one"));
        }
        Some(password) => (password.to_owned(), None),
        None => {
            let random = random_password()?;
            (random.clone(), Some(random))
        }
    };
    let workspace = snapshot.next_id();
    let header = |id, home, name: &str| Header::new(id, home, name, FIRST_NAME);
    let changes = vec![
        Change::put(Workspace {
            header: header(workspace, Home::Server, FIRST_NAME).with_statement("CREATE WORKSPACE granary LIVE"),
            live: true,
            applied_plan: None,
        }),
        Change::put(Schema { header: header(workspace.after(1), Home::Workspace(workspace), "public") }),
        Change::put(Role {
            superuser: true,
            login: true,
            scram_verifier: Some(SealedText::new(make_verifier(&password)?)),
            ..Role::new(header(workspace.after(2), Home::Server, FIRST_NAME))
        }),
    ];
    let at_us = warehouse.clock.now_us();
    let author = Author { role: FIRST_NAME.to_owned(), at_us, statement: "first start".to_owned() };
    warehouse.catalog.commit(snapshot.version(), &author, changes)?;
    Ok(made_up)
}

const PASSWORD_LENGTH: usize = 24;

fn random_password() -> Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes = random_bytes::<PASSWORD_LENGTH>()?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

/// The installation's secret behind the fake log-ins of unknown users: the same after every restart.
fn mock_secret(folder: &std::path::Path) -> Result<MockSecret> {
    let path = folder.join("login.secret");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let damaged = || Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged", path.display()));
            bytes.try_into().map(MockSecret).map_err(|_| damaged())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = MockSecret(random_bytes()?);
            std::fs::write(&path, secret.0).map_err(|error| crate::error::io_error("write", &path, error))?;
            Ok(secret)
        }
        Err(error) => Err(crate::error::io_error("read", &path, error)),
    }
}
