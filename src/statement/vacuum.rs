//! `VACUUM`: files go that no version in use needs, once they have been given up for long enough.

use std::sync::Arc;

use granary_sql::statement::{Vacuum, VacuumOption};
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use super::stored::{self, Stored};
use crate::error::{Error, Kind, Result};
use crate::warehouse::{LONGEST_READ_US, Warehouse};

/// PostgreSQL's options; what they do has no meaning here.
const OPTIONS: [&str; 12] = [
    "ANALYZE",
    "BUFFER_USAGE_LIMIT",
    "DISABLE_PAGE_SKIPPING",
    "FREEZE",
    "FULL",
    "INDEX_CLEANUP",
    "PARALLEL",
    "PROCESS_MAIN",
    "PROCESS_TOAST",
    "SKIP_LOCKED",
    "TRUNCATE",
    "VERBOSE",
];

pub async fn vacuum(context: &mut StatementContext, statement: &Vacuum, cancel: &CancellationToken) -> Result<()> {
    statement.options.iter().try_for_each(check_option)?;
    let all: Vec<Stored> = match statement.names.as_slice() {
        [] => stored::all(context)?,
        names => names.iter().map(|name| stored::find(context, statement.kind, name)).collect::<Result<_>>()?,
    };
    let retain_us = statement.retain.as_ref().map_or(LONGEST_READ_US, |retain| retain.microseconds);
    let (warehouse, token) = (Arc::clone(&context.warehouse), cancel.child_token());
    // a task of its own, since reading logs takes more room than a session's task should have
    let task = context
        .warehouse
        .engine
        .threads()
        .spawn(async move { remove_files(&warehouse, &all, retain_us, &token).await });
    let removed =
        task.await.map_err(|error| Error::internal("a task that removes files died").with_source(error))??;
    let files = if removed == 1 { "file was" } else { "files were" };
    context.notices.push(Error::new(Kind::SuccessfulCompletion, format!("{removed} {files} removed")));
    Ok(())
}

async fn remove_files(
    warehouse: &Warehouse,
    all: &[Stored],
    retain_us: i64,
    cancel: &CancellationToken,
) -> Result<usize> {
    let mut removed = 0;
    for table in all.iter().flat_map(|stored| &stored.tables) {
        if cancel.is_cancelled() {
            return Err(Error::new(Kind::QueryCanceled, "VACUUM was cancelled"));
        }
        removed += warehouse.remove_files(table, retain_us).await?;
    }
    Ok(removed)
}

/// An option that is switched off asks for nothing.
fn check_option(option: &VacuumOption) -> Result<()> {
    let name = option.name.as_str();
    if !OPTIONS.contains(&name) {
        return Err(Error::new(Kind::Syntax, format!("unrecognized VACUUM option \"{}\"", name.to_lowercase())));
    }
    if matches!(option.value.as_deref(), Some("false" | "off" | "0")) {
        return Ok(());
    }
    let error = Error::not_supported(format!("VACUUM with {name}"));
    Err(match name {
        "FULL" => error.with_hint("OPTIMIZE merges the files of a view or table"),
        _ => error.with_hint("VACUUM, without it, removes files that are no longer needed"),
    })
}
