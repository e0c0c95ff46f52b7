//! `granary backup` and `granary verify`, and `granary restore` of a backup: backups in folders and object stores.

use std::path::Path;

use clap::Args;
use granary_sql::name::quote_literal;
use granary_sql::timestamp::format_timestamp;
use serde_json::{Value, json};

use super::client::{self, Notices};
use super::sql::{config, print};
use crate::backup::{self, Checked, Manifest, Target};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Where to: s3://bucket/folder, as the server's environment reaches it, or a folder of the server's machine
    #[arg(value_name = "URL")]
    to: String,
    /// How many backups stay there; older ones go [default: all]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// The server; without a password in it, that of GRANARY_PASSWORD or PGPASSWORD
    #[arg(long, value_name = "DSN", default_value = "postgres://granary@127.0.0.1:5433/granary")]
    dsn: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Where the backups are: s3://bucket/folder, or a folder
    #[arg(value_name = "URL")]
    from: String,
    /// The backup [default: the newest]
    #[arg(long, value_name = "BACKUP")]
    id: Option<String>,
    /// Only list the backups that there are
    #[arg(long, conflicts_with = "id")]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Has a server take a backup of itself.
pub async fn backup(arguments: BackupArguments) -> Result<()> {
    let client = client::connect(&config(&arguments.dsn)?, Notices::Shown).await?;
    let keep = arguments.keep.map_or_else(String::new, |keep| format!(" KEEP {keep}"));
    let sql = format!("BACKUP TO {}{keep}", quote_literal(&arguments.to));
    let answer = client::run(&client, &sql).await.map_err(|error| match error.as_db_error() {
        Some(told) => client::database_error(told, told.message().to_owned()),
        None => Error::new(Kind::IoError, format!("the server has gone: {error}")),
    })?;
    let row = answer.table.and_then(|table| table.rows.into_iter().next());
    let row = row.ok_or_else(|| Error::internal("a backup that says nothing"))?;
    let text = |place: usize| row[place].as_deref().unwrap_or_default();
    if arguments.json {
        let number = |place: usize| text(place).parse::<u64>().ok();
        let shown = json!({
            "backup": text(0), "taken_at": text(1), "files": number(2), "bytes": number(3), "new_files": number(4),
            "new_bytes": number(5), "removed_backups": number(6),
        });
        return print_json(&shown);
    }
    print(&format!("backup {} of {}\n", text(0), text(1)))?;
    print(&format!("{} files of {} bytes, {} of them copied, as {} bytes\n", text(2), text(3), text(4), text(5)))?;
    if text(6) != "0" {
        print(&format!("older backups that were removed: {}\n", text(6)))?;
    }
    Ok(())
}

/// Reads backups, without a server.
pub async fn verify(arguments: VerifyArguments) -> Result<()> {
    let target = open(&arguments.from)?;
    if arguments.list {
        let backups = target.backups().await?;
        if arguments.json {
            let shown = backups.iter().map(|backup| {
                json!({
                    "backup": backup.id, "taken_at": format_timestamp(backup.taken_us), "files": backup.files.len(),
                    "bytes": backup.bytes(), "catalog_version": backup.catalog_version,
                })
            });
            return print_json(&Value::from_iter(shown));
        }
        return backups.iter().try_for_each(|backup| print(&line(backup)));
    }
    let checked = backup::verify(&target, arguments.id.as_deref()).await?;
    report(&checked, "is whole", arguments.json)
}

fn line(backup: &Manifest) -> String {
    let (taken_at, files) = (format_timestamp(backup.taken_us), backup.files.len());
    format!("{}  {taken_at}  {files} files of {} bytes\n", backup.id, backup.bytes())
}

/// Makes a data folder of a backup.
pub async fn restore(from: &str, id: Option<&str>, folder: &Path, json: bool) -> Result<()> {
    let checked = backup::restore(&open(from)?, id, folder).await?;
    report(&checked, &format!("is restored: granary serve --data {}", folder.display()), json)
}

fn report(checked: &Checked, said: &str, json: bool) -> Result<()> {
    let taken_at = format_timestamp(checked.taken_us);
    if json {
        return print_json(&json!({
            "backup": checked.id, "taken_at": taken_at, "files": checked.files, "bytes": checked.bytes,
            "catalog_version": checked.catalog_version,
        }));
    }
    let (files, bytes) = (checked.files, checked.bytes);
    print(&format!("backup {} of {taken_at}, {files} files of {bytes} bytes, {said}\n", checked.id))
}

/// A path is one of this machine, from here on.
fn open(text: &str) -> Result<Target> {
    if text.contains("://") {
        return Target::open(text);
    }
    let path = std::path::absolute(text).map_err(|error| crate::error::io_error("find", Path::new(text), error))?;
    Target::open(&path.display().to_string())
}

fn print_json(shown: &Value) -> Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(shown).unwrap_or_default()))
}
