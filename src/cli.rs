//! The command line: words and flags into a configuration, and the commands.

mod backup;
mod client;
mod plan_text;
mod quickstart;
mod repository;
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
    Serve(Box<serve::ServeArguments>),
    /// Start a server with the flights example: declared, materialized, served, ready for psql
    Quickstart(quickstart::QuickstartArguments),
    /// Run files of SQL against a server and print what they answer
    Sql(sql::SqlArguments),
    /// Show what a repository of .sql files would change in a workspace
    Plan(repository::PlanArguments),
    /// Make a workspace what a repository of .sql files declares
    Apply(repository::ApplyArguments),
    /// Run the tests of a repository
    Test(repository::TestArguments),
    /// Show what was applied to a workspace
    Log(repository::LogArguments),
    /// Write the files that were applied to a workspace into a folder; or make a data folder of a backup
    Restore(repository::RestoreArguments),
    /// Make a small repository that works as it is
    Init(repository::InitArguments),
    /// Have a server take a backup of all its data, while it works
    Backup(backup::BackupArguments),
    /// Read a backup, and say whether it is whole
    Verify(backup::VerifyArguments),
}

/// Runs what the process was called with. Gives the exit code.
pub async fn run() -> Result<u8> {
    match Cli::parse().command {
        Command::Serve(arguments) => serve::serve(*arguments).await,
        Command::Quickstart(arguments) => quickstart::quickstart(arguments).await,
        Command::Sql(arguments) => sql::sql(arguments).await,
        Command::Plan(arguments) => return repository::plan(arguments).await,
        Command::Apply(arguments) => repository::apply(arguments).await,
        Command::Test(arguments) => return repository::test(arguments).await,
        Command::Log(arguments) => repository::log(arguments).await,
        Command::Restore(arguments) => repository::restore(arguments).await,
        Command::Backup(arguments) => backup::backup(arguments).await,
        Command::Verify(arguments) => backup::verify(arguments).await,
        Command::Init(arguments) => repository::init(arguments),
    }?;
    Ok(0)
}
