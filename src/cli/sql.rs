//! `granary sql`.

use std::path::PathBuf;

use clap::Args;
use tokio_postgres::config::Config;

use super::client::{self, Notices};
use super::script::Script;
use crate::error::{Error, Kind, Result};
use crate::server::FIRST_NAME;

#[derive(Debug, Args)]
pub struct SqlArguments {
    /// Files of SQL, run in this order; - is the standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The server; without a password in it, that of GRANARY_PASSWORD or PGPASSWORD
    #[arg(long, value_name = "DSN", default_value = "postgres://granary@127.0.0.1:5433/granary")]
    dsn: String,
    /// Print neither rows nor command tags, only notices and errors
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the files statement by statement and stops at the first error. All of them must parse before any is run.
pub async fn sql(arguments: SqlArguments) -> Result<()> {
    let scripts: Vec<Script> = arguments.files.iter().map(|path| Script::read(path)).collect::<Result<_>>()?;
    let client = client::connect(&config(&arguments.dsn)?, Notices::Shown).await?;
    for script in &scripts {
        for statement in &script.statements {
            let answer =
                client::run(&client, &statement.text).await.map_err(|error| script.error(statement, &error))?;
            if arguments.quiet {
                continue;
            }
            match &answer.table {
                Some(table) => print(&format!("{}\n", table.aligned()))?,
                None => print(&format!("{}\n", client::tag(statement, answer.rows)))?,
            }
        }
    }
    Ok(())
}

/// To the standard output, which may be closed by whoever reads it.
pub fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| Error::new(Kind::IoError, format!("could not write to the standard output: {error}")))
}

/// What a DSN says, with the usual server where it says nothing.
pub fn config(dsn: &str) -> Result<Config> {
    let mut config: Config = dsn.parse().map_err(|error: tokio_postgres::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        Error::new(Kind::InvalidParameterValue, format!("--dsn is not a connection string: {cause}"))
            .with_hint("write it as postgres://granary@127.0.0.1:5433/granary")
    })?;
    if config.get_hosts().is_empty() {
        config.host("127.0.0.1");
    }
    if config.get_ports().is_empty() {
        config.port(5433);
    }
    if config.get_user().is_none() {
        config.user(FIRST_NAME);
    }
    if config.get_dbname().is_none() {
        config.dbname(FIRST_NAME);
    }
    if config.get_password().is_none()
        && let Some(password) = crate::config::password().or_else(crate::config::postgres_password)
    {
        config.password(password);
    }
    config.application_name("granary sql").connect_timeout(std::time::Duration::from_secs(10));
    Ok(config)
}
