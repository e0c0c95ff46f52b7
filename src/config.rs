//! Settings of the process: the file, its defaults, and the only places where the environment is read.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Kind, Result, io_error};

/// The settings file, with defaults for what it leaves out. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// folder of the data
    pub data: PathBuf,
    /// address for Postgres clients
    pub listen: SocketAddr,
    /// address for HTTP clients; default: no such door
    pub http: Option<SocketAddr>,
    /// address for Flight SQL clients; default: no such door
    pub flight_listen: Option<SocketAddr>,
    /// how long a session of Flight SQL may ask for nothing
    pub flight_idle_timeout_seconds: u64,
    /// PEM files of the certificate of all ports and its key; default: nothing is encrypted
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// clients of HTTP that are connected at a time
    pub http_max_connections: usize,
    /// requests for features over HTTP that are answered at a time
    pub http_max_requests: usize,
    /// memory of the serving cache
    pub serving_cache_bytes: u64,
    /// memory that queries may hold, with a unit: "4GiB"; default: half of the machine's
    pub memory_limit: Option<String>,
    /// tasks of one query side by side; default: the machine's cores
    pub parallelism: usize,
    pub max_connections: usize,
    /// of these, so many are kept for superusers
    pub superuser_reserved_connections: usize,
    /// rules of who may connect from where, in the form of PostgreSQL's pg_hba.conf; default: everybody with a password
    pub hba: Option<PathBuf>,
    /// how long a client may take to log in
    pub login_timeout_seconds: u64,
    /// how long running statements may go on when the server stops
    pub drain_timeout_seconds: u64,
    /// how often rows that nobody can see any more go out of the online store
    pub expiry_interval_seconds: u64,
    /// who is told of jobs by OpenLineage, such as http://marquez:5000; default: nobody
    pub openlineage_url: Option<String>,
    /// of jobs and datasets there; default: granary
    pub openlineage_namespace: Option<String>,
    /// jobs are made by themselves: views are materialized period by period
    pub scheduler: bool,
    /// jobs of the scheduler that run at a time; default: the machine's cores, and at least two
    pub max_jobs: Option<usize>,
    /// of these, of one view; default: half
    pub max_jobs_per_view: Option<usize>,
    /// how often the stores are looked at for files to merge or to remove
    pub maintenance_interval_seconds: u64,
    /// files of the online store; fixed when the data folder is made
    pub online_shards: u32,
    /// memory in which the online store keeps rows and pages, with a unit; default: an eighth of the machine's
    pub online_cache: Option<String>,
    /// hosts that alerts may send webhooks to, `*.domain` for all in one; default: every host
    pub alert_hosts: Option<Vec<String>>,
    /// the mail server of alerts, with user and password; default: no mails
    pub smtp_url: Option<String>,
    /// whom mails come from
    pub smtp_from: Option<String>,
    /// run as if it were this time now
    pub now: Option<String>,
    #[serde(skip)]
    pub memory_limit_bytes: Option<usize>,
    #[serde(skip)]
    pub online_cache_bytes: Option<usize>,
}

const MIB: usize = 1 << 20;

impl Default for Config {
    fn default() -> Self {
        Config {
            data: PathBuf::from("granary-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 5433)),
            http: None,
            flight_listen: None,
            flight_idle_timeout_seconds: 1800,
            tls_cert: None,
            tls_key: None,
            http_max_connections: 1024,
            http_max_requests: 256,
            serving_cache_bytes: 64 * MIB as u64,
            memory_limit: None,
            parallelism: std::thread::available_parallelism().map_or(2, std::num::NonZeroUsize::get),
            max_connections: 100,
            superuser_reserved_connections: 3,
            hba: None,
            login_timeout_seconds: 60,
            drain_timeout_seconds: 30,
            expiry_interval_seconds: 300,
            openlineage_url: None,
            openlineage_namespace: None,
            scheduler: true,
            max_jobs: None,
            max_jobs_per_view: None,
            maintenance_interval_seconds: 3600,
            online_shards: 4,
            online_cache: None,
            alert_hosts: None,
            smtp_url: None,
            smtp_from: None,
            now: None,
            memory_limit_bytes: None,
            online_cache_bytes: None,
        }
    }
}

impl Config {
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).map_err(|error| io_error("read", path, error))?;
        let config: Config = toml::from_str(&text).map_err(|error| {
            Error::new(Kind::InvalidParameterValue, format!("\"{}\" has a wrong setting", path.display()))
                .with_detail(error.to_string().trim_end().replace('\n', "\n  "))
        })?;
        let counts = [
            ("parallelism", config.parallelism),
            ("max_connections", config.max_connections),
            ("http_max_connections", config.http_max_connections),
            ("http_max_requests", config.http_max_requests),
            ("online_shards", config.online_shards as usize),
            (
                "maintenance_interval_seconds",
                usize::try_from(config.maintenance_interval_seconds).unwrap_or(usize::MAX),
            ),
            ("max_jobs", config.max_jobs.unwrap_or(1)),
            ("max_jobs_per_view", config.max_jobs_per_view.unwrap_or(1)),
            ("expiry_interval_seconds", usize::try_from(config.expiry_interval_seconds).unwrap_or(usize::MAX)),
        ];
        match counts.into_iter().find(|(_, count)| *count == 0) {
            None => Ok(config),
            Some((name, _)) => {
                let message = format!("\"{}\" has a wrong setting: {name} must be at least 1", path.display());
                Err(Error::new(Kind::InvalidParameterValue, message))
            }
        }
    }

    /// How many jobs of the scheduler run at a time, and how many of one view.
    pub fn job_limits(&self) -> (usize, usize) {
        let total = self.max_jobs.unwrap_or(self.parallelism.max(2));
        (total, self.max_jobs_per_view.unwrap_or(total.div_ceil(2)).min(total))
    }

    /// Bytes that all queries together may hold.
    pub fn memory_limit(&self) -> Result<usize> {
        size(self.memory_limit_bytes, self.memory_limit.as_deref(), 2)
    }

    /// Bytes in which the online store keeps what was read.
    pub fn online_cache(&self) -> Result<usize> {
        size(self.online_cache_bytes, self.online_cache.as_deref(), 8)
    }
}

/// What was given, or this part of the machine's memory.
fn size(bytes: Option<usize>, text: Option<&str>, part: usize) -> Result<usize> {
    match (bytes, text) {
        (Some(bytes), _) => Ok(bytes),
        (None, Some(text)) => parse_size(text),
        (None, None) => Ok(machine_memory_bytes().unwrap_or(2048 * MIB) / part),
    }
}

/// `512MiB`, `4GiB`, `1GB`, or bytes.
pub fn parse_size(text: &str) -> Result<usize> {
    let wrong = || {
        Error::new(Kind::InvalidParameterValue, format!("\"{text}\" is not a size of memory"))
            .with_hint("write it with a unit, such as 512MiB or 4GiB")
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|character: char| !character.is_ascii_digit()).unwrap_or(trimmed.len());
    let number: usize = trimmed[..digits].parse().map_err(|_| wrong())?;
    let unit = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "kb" => 1_000,
        "mib" | "m" => MIB,
        "mb" => 1_000_000,
        "gib" | "g" => 1 << 30,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// The machine's memory, where the system says it.
fn machine_memory_bytes() -> Option<usize> {
    said_bytes("/proc/meminfo", "MemTotal:")
}

/// The memory that the process holds, where the system says it.
pub fn resident_bytes() -> Option<usize> {
    said_bytes("/proc/self/status", "VmRSS:")
}

/// What a file of Linux says of memory in the line that begins so.
fn said_bytes(file: &str, begin: &str) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(begin))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// `GRANARY_PASSWORD`: the superuser's password at the first start, and the client's in `granary sql`.
pub fn password() -> Option<String> {
    std::env::var("GRANARY_PASSWORD").ok()
}

/// `GRANARY_SMTP_URL`: the mail server of alerts, whose password then stands in no file and no list of processes.
pub fn smtp_url() -> Option<String> {
    std::env::var("GRANARY_SMTP_URL").ok().filter(|url| !url.is_empty())
}

/// `PGPASSWORD`: the client's password in `granary sql`, if GRANARY_PASSWORD does not set it.
pub fn postgres_password() -> Option<String> {
    std::env::var("PGPASSWORD").ok()
}

/// `OPENLINEAGE_API_KEY`: what the server of OpenLineage knows this one by.
pub fn openlineage_api_key() -> Option<String> {
    std::env::var("OPENLINEAGE_API_KEY").ok().filter(|key| !key.is_empty())
}

/// The variables `AWS_…`, in lower case: credentials, region and endpoint of sources on `s3://`.
pub fn aws_settings() -> Vec<(String, String)> {
    let readable =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    readable
        .filter(|(name, _)| name.starts_with("AWS_"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}

/// What to log: `GRANARY_LOG`, in the syntax of tracing's filters. What a connection to a captured server ends with is told
/// by who reads it.
pub fn log_filter() -> String {
    std::env::var("GRANARY_LOG").unwrap_or_else(|_| "warn,granary=info,pgwire_replication=off".to_owned())
}

/// The form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogForm {
    Text,
    /// an object a line
    Json,
}

/// `GRANARY_LOG_FORMAT`: `text`, which is the default, or `json`.
pub fn log_form() -> Result<LogForm> {
    match std::env::var("GRANARY_LOG_FORMAT").as_deref() {
        Err(_) | Ok("" | "text") => Ok(LogForm::Text),
        Ok("json") => Ok(LogForm::Json),
        Ok(other) => {
            let message = format!("GRANARY_LOG_FORMAT is \"{other}\", and not text or json");
            Err(Error::new(Kind::InvalidParameterValue, message))
        }
    }
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSettings {
    pub endpoint: String,
    pub service: String,
    /// of statements that belong to no other's span, from 0 to 1
    pub share: f64,
}

/// OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, an address of gRPC, without which there are no spans;
/// `OTEL_SERVICE_NAME`; `OTEL_TRACES_SAMPLER_ARG`, the share of statements.
pub fn trace_settings() -> Result<Option<TraceSettings>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let traces = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let Some(endpoint) = traces.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT")) else { return Ok(None) };
    let share = match variable("OTEL_TRACES_SAMPLER_ARG") {
        None => 1.0,
        Some(text) => text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
            let message = format!("OTEL_TRACES_SAMPLER_ARG is \"{text}\", and not a share from 0 to 1");
            Error::new(Kind::InvalidParameterValue, message)
        })?,
    };
    let service = variable("OTEL_SERVICE_NAME").unwrap_or_else(|| "granary".to_owned());
    Ok(Some(TraceSettings { endpoint, service, share }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("512MiB").expect("size"), 512 * MIB);
        assert_eq!(parse_size("2 gb").expect("size"), 2_000_000_000);
        for wrong in ["", "x", "1 parsec", "0", "99999999999999999999"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<Config>("lisen = '127.0.0.1:1'").is_err());
        let config: Config = toml::from_str("listen = '127.0.0.1:1'").expect("reads");
        assert_eq!(config.listen.port(), 1);
    }
}
