//! `granary quickstart`: a server in its own data folder, and the flights example run against it as a user would:
//! over a Postgres connection, with the files that are in the source tree.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use granary_sql::Statement;
use granary_sql::timestamp::parse_timestamp;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::client::{self, Answer, Notices};
use super::script::Script;
use super::serve::{parse_address, stop_signal};
use crate::config::Config;
use crate::error::{Error, Kind, Result, io_error};
use crate::flight::FlightLimits;
use crate::http::HttpLimits;
use crate::outbound::OutboundConfig;
use crate::scheduler::Limits;
use crate::server::{FIRST_NAME, Server, ServerConfig};
use crate::time::{Clock, Stopwatch};
use crate::warehouse::WarehouseConfig;
use crate::wire::WireLimits;

#[derive(Debug, Args)]
pub struct QuickstartArguments {
    /// Folder of the data: made at the first run, gone on with at the next
    #[arg(long, value_name = "DIR", default_value = "granary-quickstart")]
    data: PathBuf,
    /// Address for Postgres clients [default: 127.0.0.1:5433, or a free port if that is taken]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    listen: Option<SocketAddr>,
    /// Folder of the example; its .sql files read their data relative to the folder two above it
    /// [default: examples/flights, here or in the source tree that this program was built from]
    #[arg(long, value_name = "DIR")]
    example: Option<PathBuf>,
}

/// The time in the quickstart's server: shortly after the last flight.
const NOW: &str = "2014-01-01 08:00:00+00";
/// Marks a folder as the quickstart's own, and keeps the password that its superuser was made with.
const PASSWORD_FILE: &str = "quickstart.password";
const LOOKUPS: usize = 200;

pub async fn quickstart(arguments: QuickstartArguments) -> Result<()> {
    let folder = std::path::absolute(&arguments.data).map_err(|error| io_error("find", &arguments.data, error))?;
    let example = find_example(arguments.example.as_deref())?;
    let scripts = read_scripts(&example)?;
    let is_new = !folder.join(PASSWORD_FILE).exists();
    let password = own_folder(&folder)?;
    enter_root_of(&example)?;
    let server = Server::start(&server_config(&arguments, folder.clone(), &password)?).await?;
    let address = server.address()?;
    println!("Granary {}: flights out of New York in 2013\n", env!("CARGO_PKG_VERSION"));
    println!("  data folder  {}{}", folder.display(), if is_new { "" } else { " (of an earlier run)" });
    println!("  example      {}", example.display());
    println!("  listens on   {address}");
    println!("  clock        {NOW}: the data is of 2013, so in this server \"now\" is shortly after its end\n");

    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let stopped = stop_signal();
    tokio::spawn(async move {
        stopped.await;
        stop.cancel();
    });
    let mut running = tokio::spawn(server.run(shutdown.clone()));
    let shown = tokio::select! {
        shown = show(&scripts, address, &password, is_new) => shown,
        () = shutdown.cancelled() => Ok(()),
    };
    if shown.is_ok() && !shutdown.is_cancelled() {
        say_how_to_go_on(address, &password);
    } else {
        shutdown.cancel();
    }
    let stopped = (&mut running).await.map_err(|error| Error::internal("the server's task died").with_source(error))?;
    shown?;
    stopped?;
    println!("\nstopped; the data is kept in {}", folder.display());
    Ok(())
}

fn find_example(named: Option<&Path>) -> Result<PathBuf> {
    const EXAMPLE: &str = "examples/flights";
    let candidates = match named {
        Some(folder) => vec![folder.to_owned()],
        None => vec![PathBuf::from(EXAMPLE), Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE)],
    };
    let found = candidates.iter().find(|folder| folder.join("01_entities.sql").is_file()).ok_or_else(|| {
        let tried: Vec<String> = candidates.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
        Error::new(Kind::UndefinedFile, "the flights example is not found")
            .with_detail(format!("there is no 01_entities.sql in {}", tried.join(" or ")))
            .with_hint("name its folder: granary quickstart --example DIR")
    })?;
    std::fs::canonicalize(found).map_err(|error| io_error("find", found, error))
}

/// The numbered files, in their order.
fn read_scripts(example: &Path) -> Result<Vec<Script>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(example).map_err(|error| io_error("read", example, error))? {
        let path = entry.map_err(|error| io_error("read", example, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(|first: char| first.is_ascii_digit()) && name.ends_with(".sql") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| Script::read(path)).collect()
}

/// Makes the folder, or finds that it is the quickstart's; gives the superuser's password.
fn own_folder(folder: &Path) -> Result<String> {
    let file = folder.join(PASSWORD_FILE);
    match std::fs::read_to_string(&file) {
        Ok(password) => return Ok(password.trim_end().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error("read", &file, error)),
    }
    std::fs::create_dir_all(folder).map_err(|error| io_error("create folder", folder, error))?;
    let mut entries = std::fs::read_dir(folder).map_err(|error| io_error("read", folder, error))?;
    if entries.next().is_some() {
        return Err(Error::new(
            Kind::ObjectInUse,
            format!("\"{}\" is not empty, and not of an earlier quickstart: it is left as it is", folder.display()),
        )
        .with_hint("name another folder: granary quickstart --data DIR"));
    }
    let password = match crate::config::password() {
        Some(password) if password.is_empty() || password.contains('\n') => {
            return Err(Error::new(
                Kind::InvalidPassword,
                "GRANARY_PASSWORD is not a password: it is empty or has lines",
            )
            .with_hint("set it to something, or leave it out for a random one"));
        }
        Some(password) => password,
        None => Uuid::new_v4().simple().to_string(),
    };
    write_private(&file, &password)?;
    Ok(password)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| writeln!(file, "{text}")).map_err(|error| io_error("write", path, error))
}

/// Relative paths in the example's sources begin at the folder two above it.
fn enter_root_of(example: &Path) -> Result<()> {
    let root = example.parent().and_then(Path::parent).unwrap_or(example);
    std::env::set_current_dir(root).map_err(|error| io_error("go to", root, error))
}

fn server_config(arguments: &QuickstartArguments, folder: PathBuf, password: &str) -> Result<ServerConfig> {
    let config = Config::default();
    let now_us = parse_timestamp(NOW).map_err(|error| Error::internal(error.to_string()))?;
    let (total, per_view) = config.job_limits();
    Ok(ServerConfig {
        warehouse: WarehouseConfig {
            data_folder: folder,
            memory_limit_bytes: config.memory_limit()?,
            parallelism: config.parallelism,
            online_shards: config.online_shards,
            online_cache_bytes: config.online_cache()?,
            clock: Clock::starting_at(now_us),
            schedules: config.scheduler,
        },
        listen: arguments.listen.unwrap_or_else(|| free_address(config.listen)),
        http: None,
        flight: None,
        flight_limits: FlightLimits::default(),
        tls: None,
        http_limits: HttpLimits::default(),
        outbound: OutboundConfig::default(),
        password: Some(password.to_owned()),
        openlineage: None,
        expiry_interval: Duration::from_secs(config.expiry_interval_seconds),
        jobs: Limits { total, per_view },
        maintenance_interval: Duration::from_secs(config.maintenance_interval_seconds),
        limits: WireLimits::default(),
    })
}

/// The usual address, or any free port of it.
fn free_address(usual: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(usual) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            println!("port {} is taken by another program, so a free one is used\n", usual.port());
            SocketAddr::new(usual.ip(), 0)
        }
        _ => usual,
    }
}

async fn show(scripts: &[Script], address: SocketAddr, password: &str, is_new: bool) -> Result<()> {
    let mut config = tokio_postgres::Config::new();
    config.host(address.ip().to_string()).port(address.port()).user(FIRST_NAME).dbname(FIRST_NAME).password(password);
    let client = client::connect(&config, Notices::Hidden).await?;
    for script in scripts {
        let name = Path::new(&script.name).file_name().unwrap_or_default().to_string_lossy();
        println!("== {name}");
        let watch = Stopwatch::start();
        let mut changes = 0;
        for statement in &script.statements {
            if let Statement::Refresh(refresh) = &statement.statement {
                println!("{:<50} {}", refresh.to_string(), materialize(&client, script, statement).await?);
                continue;
            }
            let answer =
                client::run(&client, &statement.text).await.map_err(|error| script.error(statement, &error))?;
            match answer.table {
                None if answer.rows > 0 => {
                    println!("{};", statement.text);
                    println!("{}\n{}\n", client::tag(statement, answer.rows), duration(answer.took));
                }
                None => changes += 1,
                Some(_) => print_rows(&statement.text, &answer),
            }
        }
        if changes > 0 {
            let known = if is_new { "" } else { "   (what an earlier run has made is left as it is)" };
            println!(
                "{changes} statement{}   {}{known}",
                if changes == 1 { "" } else { "s" },
                duration(watch.elapsed())
            );
        }
        println!();
    }
    measure_lookups(&client).await
}

/// Runs a REFRESH; a range that an earlier run has done is no error here.
async fn materialize(client: &Client, script: &Script, statement: &granary_sql::Parsed) -> Result<String> {
    match client::run(client, &statement.text).await {
        Ok(answer) => Ok(duration(answer.took)),
        Err(error) if error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE) => {
            Ok("materialized by an earlier run".to_owned())
        }
        Err(error) => Err(script.error(statement, &error)),
    }
}

fn print_rows(text: &str, answer: &Answer) {
    println!("{text};");
    if let Some(table) = &answer.table {
        print!("{}", table.aligned());
    }
    println!("{}\n", duration(answer.took));
}

/// The way of an application: one prepared statement, a key at a time.
async fn measure_lookups(client: &Client) -> Result<()> {
    const LOOKUP: &str = "SELECT * FROM aircraft_daily WHERE tailnum = $1";
    let failed = |error: tokio_postgres::Error| match error.as_db_error() {
        Some(refused) => client::database_error(refused, refused.message().to_owned()),
        None => Error::new(Kind::IoError, error.to_string()),
    };
    let statement = client.prepare(LOOKUP).await.map_err(failed)?;
    let keys = client.query("SELECT DISTINCT tailnum FROM labels WHERE tailnum IS NOT NULL", &[]).await;
    let keys: Vec<String> = keys.map_err(failed)?.iter().take(LOOKUPS).map(|row| row.get(0)).collect();
    let mut times = Vec::with_capacity(keys.len());
    for key in &keys {
        let watch = Stopwatch::start();
        client.query_one(&statement, &[key]).await.map_err(failed)?;
        times.push(watch.elapsed());
    }
    times.sort();
    if let (Some(median), Some(slowest)) = (times.get(times.len() / 2), times.last()) {
        println!("== prepared: {LOOKUP}");
        println!(
            "{} lookups, one after the other: median {}, slowest {}\n",
            times.len(),
            duration(*median),
            duration(*slowest)
        );
    }
    Ok(())
}

fn say_how_to_go_on(address: SocketAddr, password: &str) {
    println!("Go on with psql, in another terminal:\n");
    println!(
        "  PGPASSWORD={} psql -h {} -p {} -U {FIRST_NAME} {FIRST_NAME}\n",
        shell_word(password),
        address.ip(),
        address.port()
    );
    println!("The server runs until Ctrl-C.");
}

fn shell_word(text: &str) -> String {
    if text.chars().all(|character| character.is_ascii_alphanumeric()) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn duration(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds >= 1.0 { format!("{seconds:.1} s") } else { format!("{:.1} ms", seconds * 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_quoted_for_the_shell() {
        assert_eq!(shell_word("abc1"), "abc1");
        assert_eq!(shell_word("it's $1"), r"'it'\''s $1'");
    }
}
