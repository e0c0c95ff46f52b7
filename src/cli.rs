//! The command line: words and flags into a configuration, and the three commands.

mod client;
mod quickstart;
mod script;
mod serve;
mod sql;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// A SQL-native feature warehouse that speaks the Postgres wire protocol.
#[derive(Debug, Parser)]
#[command(name = "granary", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server on a data folder, until SIGTERM or Ctrl-C
    Serve(serve::ServeArguments),
    /// Start a server with the flights example: declared, materialized, served, ready for psql
    Quickstart(quickstart::QuickstartArguments),
    /// Run files of SQL against a server and print what they answer
    Sql(sql::SqlArguments),
}

/// Runs what the process was called with.
pub async fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::serve(arguments).await,
        Command::Quickstart(arguments) => quickstart::quickstart(arguments).await,
        Command::Sql(arguments) => sql::sql(arguments).await,
    }
}
