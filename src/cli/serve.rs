//! `granary serve`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use granary_sql::timestamp::parse_timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::access::HostRules;
use crate::config::{Config, parse_size};
use crate::error::{Error, Kind, Result};
use crate::flight::FlightLimits;
use crate::http::{FeatureLimits, HttpLimits};
use crate::openlineage::OpenLineageConfig;
use crate::outbound::OutboundConfig;
use crate::scheduler::Limits;
use crate::server::{FIRST_NAME, Server, ServerConfig, TlsFiles};
use crate::time::Clock;
use crate::warehouse::WarehouseConfig;
use crate::wire::WireLimits;

const AFTER_HELP: &str = "\
The first start on a data folder makes the superuser \"granary\" and the database \"granary\". Its password is that of
the environment variable GRANARY_PASSWORD; without one a random password is made, and printed this once.
GRANARY_LOG sets what is logged, such as debug or warn,granary=info.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct ServeArguments {
    /// Folder of the data; made if it does not exist [default: granary-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address for Postgres clients; port 0 is any free one [default: 127.0.0.1:5433]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Address for HTTP: the feature server, /health and /ready, /metrics; without it there is no HTTP
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    http: Option<SocketAddr>,
    /// Address for Flight SQL: rows as Arrow, by ADBC and other clients; without it there is no such door
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    flight_listen: Option<SocketAddr>,
    /// The certificate of all ports and those that vouch for it, a PEM file; without it nothing is encrypted
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Rules of who may connect from where, in the form of pg_hba.conf [default: everybody with a password]
    #[arg(long, value_name = "FILE")]
    hba: Option<PathBuf>,
    /// Settings file (TOML); flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Memory that queries may hold before they spill to disk, such as 4GiB [default: half of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<String>,
    /// Memory in which the online store keeps rows and pages [default: an eighth of the machine's]
    #[arg(long, value_name = "SIZE")]
    online_cache: Option<String>,
    /// Whether views are materialized by themselves, period by period; off: only when somebody asks [default: on]
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    scheduler: Option<bool>,
    /// Whom to tell of jobs and their columns, by OpenLineage, such as http://marquez:5000; a key is that of the environment variable OPENLINEAGE_API_KEY
    #[arg(long, value_name = "URL")]
    openlineage_url: Option<String>,
    /// The namespace of jobs and datasets there [default: granary]
    #[arg(long, value_name = "NAME")]
    openlineage_namespace: Option<String>,
    /// Hosts that alerts may send webhooks to, apart by commas; *.example.com is all in one domain [default: every host]
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    alert_hosts: Option<Vec<String>>,
    /// The mail server of alerts, such as smtps://user:password@host:465; GRANARY_SMTP_URL keeps its password to itself
    #[arg(long, value_name = "URL")]
    smtp_url: Option<String>,
    /// Whom mails of alerts come from
    #[arg(long, value_name = "ADDRESS")]
    smtp_from: Option<String>,
    /// Run as if it were this time now, to serve data of the past, such as 2014-01-01 [default: the machine's clock]
    #[arg(long, value_name = "TIMESTAMP")]
    now: Option<String>,
}

pub async fn serve(arguments: ServeArguments) -> Result<()> {
    let config = server_config(&arguments)?;
    let server = Server::start(&config).await?;
    // before anybody is told that there is something to stop
    let stopped = stop_signal();
    announce(&server, &config)?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        stopped.await;
        stop.cancel();
        tracing::info!("stopping: running statements may end");
    });
    server.run(shutdown).await?;
    // perhaps nobody reads it any more
    let _ = writeln!(std::io::stderr(), "granary has stopped");
    Ok(())
}

fn server_config(arguments: &ServeArguments) -> Result<ServerConfig> {
    let mut config = match &arguments.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if arguments.http.is_some() {
        config.http = arguments.http;
    }
    if arguments.flight_listen.is_some() {
        config.flight_listen = arguments.flight_listen;
    }
    if arguments.tls_cert.is_some() {
        config.tls_cert.clone_from(&arguments.tls_cert);
        config.tls_key.clone_from(&arguments.tls_key);
    }
    if arguments.hba.is_some() {
        config.hba.clone_from(&arguments.hba);
    }
    if let Some(scheduler) = arguments.scheduler {
        config.scheduler = scheduler;
    }
    if arguments.openlineage_url.is_some() {
        config.openlineage_url.clone_from(&arguments.openlineage_url);
    }
    if arguments.openlineage_namespace.is_some() {
        config.openlineage_namespace.clone_from(&arguments.openlineage_namespace);
    }
    let openlineage = config.openlineage_url.as_deref().map(|url| {
        let namespace = config.openlineage_namespace.as_deref();
        OpenLineageConfig::new(url, namespace, crate::config::openlineage_api_key())
    });
    let openlineage = openlineage.transpose()?;
    if arguments.alert_hosts.is_some() {
        config.alert_hosts.clone_from(&arguments.alert_hosts);
    }
    config.smtp_url = arguments.smtp_url.clone().or_else(crate::config::smtp_url).or(config.smtp_url);
    if arguments.smtp_from.is_some() {
        config.smtp_from.clone_from(&arguments.smtp_from);
    }
    let rules = config.hba.as_deref().map(HostRules::read).transpose()?.map(Arc::new);
    let tls = tls_files(&config)?;
    if let Some(size) = &arguments.memory_limit {
        config.memory_limit_bytes = Some(parse_size(size)?);
    }
    if let Some(size) = &arguments.online_cache {
        config.online_cache_bytes = Some(parse_size(size)?);
    }
    let now = arguments.now.as_ref().or(config.now.as_ref());
    let clock = match now {
        None => Clock::system(),
        Some(text) => Clock::starting_at(parse_timestamp(text).map_err(|error| {
            Error::new(Kind::InvalidDatetimeFormat, format!("--now \"{text}\" is not a timestamp: {error}"))
        })?),
    };
    let (total, per_view) = config.job_limits();
    Ok(ServerConfig {
        warehouse: WarehouseConfig {
            data_folder: config.data.clone(),
            memory_limit_bytes: config.memory_limit()?,
            parallelism: config.parallelism,
            online_shards: config.online_shards,
            online_cache_bytes: config.online_cache()?,
            clock,
            schedules: config.scheduler,
        },
        listen: config.listen,
        http: config.http,
        flight: config.flight_listen,
        flight_limits: FlightLimits {
            max_connections: config.max_connections,
            max_sessions: config.max_connections,
            idle_timeout: Duration::from_secs(config.flight_idle_timeout_seconds),
            drain_timeout: Duration::from_secs(config.drain_timeout_seconds),
        },
        tls,
        http_limits: HttpLimits {
            max_connections: config.http_max_connections,
            features: FeatureLimits { max_requests: config.http_max_requests, cache_bytes: config.serving_cache_bytes },
        },
        outbound: OutboundConfig { hosts: config.alert_hosts, smtp_url: config.smtp_url, smtp_from: config.smtp_from },
        password: crate::config::password(),
        openlineage,
        expiry_interval: Duration::from_secs(config.expiry_interval_seconds),
        jobs: Limits { total, per_view },
        maintenance_interval: Duration::from_secs(config.maintenance_interval_seconds),
        limits: WireLimits {
            max_connections: config.max_connections,
            startup_timeout: Duration::from_secs(config.login_timeout_seconds),
            drain_timeout: Duration::from_secs(config.drain_timeout_seconds),
            reserved_connections: config.superuser_reserved_connections,
            rules,
            ..WireLimits::default()
        },
    })
}

/// Certificate and key, which are nothing without each other.
fn tls_files(config: &Config) -> Result<Option<TlsFiles>> {
    match (&config.tls_cert, &config.tls_key) {
        (None, None) => Ok(None),
        (Some(certificates), Some(key)) => Ok(Some(TlsFiles { certificates: certificates.clone(), key: key.clone() })),
        _ => {
            let message = "a certificate and its private key belong together";
            Err(Error::new(Kind::InvalidParameterValue, message).with_hint("set tls_cert and tls_key"))
        }
    }
}

fn announce(server: &Server, config: &ServerConfig) -> Result<()> {
    let address = server.address()?;
    if let Some(password) = &server.new_password {
        eprintln!("superuser \"{FIRST_NAME}\" has the password {password} (shown once; GRANARY_PASSWORD sets another)");
    }
    let http = server.http_address()?;
    let flight = server.flight_address()?;
    let is_plain = |door: Option<SocketAddr>| door.filter(|_| config.tls.is_none());
    for open in [is_plain(Some(address)), is_plain(http), is_plain(flight)]
        .into_iter()
        .flatten()
        .filter(|address| !address.ip().is_loopback())
    {
        eprintln!("warning: {open} is reachable from other machines, and connections are not encrypted");
    }
    eprintln!("data folder: {}", config.warehouse.data_folder.display());
    if let Some(http) = http {
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        eprintln!("http: {scheme}://{http}/health");
    }
    if let Some(flight) = flight {
        let scheme = if config.tls.is_some() { "grpc+tls" } else { "grpc" };
        eprintln!("flight: {scheme}://{flight}");
    }
    eprintln!(
        "granary {} is ready: psql -h {} -p {} -U {FIRST_NAME} {FIRST_NAME}",
        env!("CARGO_PKG_VERSION"),
        address.ip(),
        address.port()
    );
    Ok(())
}

/// A switch as typed after `--scheduler`.
fn parse_switch(text: &str) -> std::result::Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it is on or off".to_owned()),
    }
}

/// An address as typed after `--listen`.
pub fn parse_address(text: &str) -> std::result::Result<SocketAddr, String> {
    text.parse().map_err(|_| "it is an IP address and a port, such as 127.0.0.1:5433".to_owned())
}

/// SIGTERM or Ctrl-C, from now on.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let (terminate, interrupt) = (caught(SignalKind::terminate()), caught(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

fn caught(kind: SignalKind) -> impl Future<Output = ()> + Send + 'static {
    let signals = signal(kind);
    async move {
        match signals {
            Ok(mut signals) => drop(signals.recv().await),
            Err(error) => {
                tracing::warn!(%error, ?kind, "a signal cannot be caught");
                std::future::pending().await
            }
        }
    }
}
