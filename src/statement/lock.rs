//! `LOCK TABLE`: readers never wait here, so that the weakest modes do nothing.

use sqlparser::ast::{self, LockTableMode};

use super::context::StatementContext;
use super::table;
use crate::error::Result;
use crate::warehouse::LockMode;

pub async fn lock(context: &mut StatementContext, lock: &ast::Lock) -> Result<()> {
    let mode = match lock.lock_mode {
        Some(LockTableMode::AccessShare | LockTableMode::RowShare) => None,
        Some(LockTableMode::RowExclusive) => Some(LockMode::Append),
        _ => Some(LockMode::Alter),
    };
    for named in &lock.tables {
        let is_system = crate::engine::table_reference(&named.name)
            .is_some_and(|reference| crate::engine::is_system_schema(reference.schema()));
        if is_system && mode.is_none() {
            continue;
        }
        let target = table::writable(context, &named.name, "LOCK")?;
        let (Some(mode), Some(own)) = (mode, &target.table) else { continue };
        if lock.nowait {
            context.locks.lock_at_once(own.header.id, &own.header.name, mode)?;
        } else {
            context.lock(own, mode).await?;
        }
    }
    Ok(())
}
