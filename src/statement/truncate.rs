//! `TRUNCATE`: a table gets a new, empty place for its rows; its readers keep the old one.

use granary_catalog::{Change, Sequence, Table};
use sqlparser::ast;

use super::context::StatementContext;
use super::table;
use crate::error::{Error, Result};
use crate::warehouse::LockMode;

pub async fn truncate(context: &mut StatementContext, truncate: &ast::Truncate) -> Result<()> {
    if truncate.partitions.is_some() || truncate.if_exists || truncate.on_cluster.is_some() {
        return Err(Error::not_supported(format!("{truncate}")));
    }
    for named in &truncate.table_names {
        let target = table::writable(context, &named.name, "TRUNCATE")?;
        table::lock(context, &target, LockMode::Alter).await?;
        let Some(own) = &target.table else { return Err(Error::not_supported("TRUNCATE")) };
        let table = Table { storage_id: table::new_storage_id()?, ..own.as_ref().clone() };
        if matches!(truncate.identity, Some(ast::TruncateIdentityOption::Restart)) {
            restart(context, &table)?;
        }
        context.changes.push(Change::put(table));
    }
    Ok(())
}

/// RESTART IDENTITY: as ROLLBACK would have to take it back, each sequence gets a new number to be kept under.
fn restart(context: &mut StatementContext, table: &Table) -> Result<()> {
    let snapshot = std::sync::Arc::clone(context.snapshot());
    for sequence in snapshot.objects().filter_map(|object| object.downcast::<Sequence>()) {
        if sequence.owned_by.as_ref().is_some_and(|(owner, _)| *owner == table.header.id) {
            let storage_id = table::new_storage_id()?;
            context.changes.push(Change::put(Sequence { storage_id, ..sequence.clone() }));
        }
    }
    Ok(())
}
