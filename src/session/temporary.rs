//! Temporary objects: in no catalog but the session's own, and gone with it.

use std::sync::Arc;

use granary_catalog::{Change, Object, OnCommit, Table};

use super::Session;
use super::transaction::Temporary;
use crate::engine::{table_id, tables_of};
use crate::error::Result;
use crate::warehouse::Warehouse;

/// What a commit leaves of them; those that end with a transaction end now.
pub async fn take_over(session: &mut Session, committed: Option<Temporary>) -> Result<()> {
    let mut now = committed.unwrap_or_else(|| session.temporary.clone());
    let ends =
        |object: &Arc<Object>| object.downcast::<Table>().and_then(|table| Some((table.on_commit?, table.clone())));
    for (on_commit, table) in now.iter().filter_map(ends).collect::<Vec<_>>() {
        match on_commit {
            OnCommit::DeleteRows => session.warehouse.offline.drop_table(&table_id(&table)).await?,
            OnCommit::Drop => {
                let snapshot = session.warehouse.catalog.snapshot().with_temporary(&now);
                let dropped = [Change::Drop { id: table.header.id, cascade: true }];
                now = snapshot.apply(&dropped)?.temporary();
            }
        }
    }
    let gone = std::mem::replace(&mut session.temporary, now);
    let kept: Vec<String> = session.temporary.iter().flat_map(|object| tables_of(object)).collect();
    drop_tables(&session.warehouse, &gone, &kept).await;
    Ok(())
}

pub async fn drop_all(session: &mut Session) {
    let gone = std::mem::take(&mut session.temporary);
    drop_tables(&session.warehouse, &gone, &[]).await;
}

async fn drop_tables(warehouse: &Warehouse, gone: &[Arc<Object>], kept: &[String]) {
    for table in gone.iter().flat_map(|object| tables_of(object)).filter(|table| !kept.contains(table)) {
        // what stays is swept at the next start
        if let Err(error) = warehouse.offline.drop_table(&table).await {
            tracing::warn!(table, %error, "a temporary table could not be removed");
        }
    }
}
