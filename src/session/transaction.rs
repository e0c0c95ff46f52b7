//! The session's transaction: changes of the catalog and rows of tables, kept until COMMIT makes all of them or none.

use std::sync::Arc;

use granary_catalog::{Author, Change, Snapshot, Version};
use granary_sql::Statement;
use sqlparser::ast;

use crate::error::Result;
use crate::offline::{Layout, Write, WriteKind};
use crate::statement::{TableWrite, after_commit, schema_of_table};
use crate::warehouse::Warehouse;

/// As ReadyForQuery says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    Idle,
    InTransaction,
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Block {
    /// every statement by itself
    #[default]
    None,
    /// the statements of one simple query
    Implicit,
    /// BEGIN was said
    Explicit,
}

/// What is open, and what it has gathered.
#[derive(Debug, Default)]
pub struct Transaction {
    block: Block,
    failed: bool,
    base: Option<Version>,
    /// the catalog as the transaction's own statements see it
    working: Option<Arc<Snapshot>>,
    changes: Vec<Change>,
    writes: Vec<TableWrite>,
    texts: Vec<String>,
    /// `now()` of all its statements
    now_us: Option<i64>,
}

/// Whether a statement may run in a failed transaction.
pub fn ends_transaction(statement: &Statement) -> bool {
    matches!(statement, Statement::Postgres(statement)
        if matches!(statement.ast.as_ref(), ast::Statement::Commit { .. } | ast::Statement::Rollback { .. }))
}

impl Transaction {
    pub fn status(&self) -> TransactionStatus {
        match (self.block, self.failed) {
            (Block::Explicit, true) => TransactionStatus::Failed,
            (Block::Explicit, false) => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    pub fn is_explicit(&self) -> bool {
        self.block == Block::Explicit
    }

    pub fn is_open(&self) -> bool {
        self.block != Block::None
    }

    /// BEGIN; false if one is open already.
    pub fn begin(&mut self, now_us: i64) -> bool {
        let was_explicit = self.is_explicit();
        self.block = Block::Explicit;
        self.now_us.get_or_insert(now_us);
        !was_explicit
    }

    pub fn begin_implicit(&mut self) {
        if self.block == Block::None {
            self.block = Block::Implicit;
        }
    }

    pub fn fail(&mut self) {
        match self.block {
            Block::Explicit => self.failed = true,
            Block::Implicit | Block::None => self.rollback(),
        }
    }

    pub fn is_failed(&self) -> bool {
        self.failed
    }

    pub fn working(&self) -> Option<Arc<Snapshot>> {
        self.working.clone()
    }

    pub fn now_us(&self) -> Option<i64> {
        self.now_us
    }

    pub fn pending(&self) -> Arc<Vec<TableWrite>> {
        Arc::new(self.writes.clone())
    }

    /// Adds a statement's changes, made on `snapshot`. Errors: those of the changes, seen at once.
    pub fn add(
        &mut self,
        snapshot: &Arc<Snapshot>,
        changes: Vec<Change>,
        writes: Vec<TableWrite>,
        text: String,
    ) -> Result<()> {
        self.base.get_or_insert(snapshot.version());
        self.working = Some(Arc::new(snapshot.apply(&changes)?));
        self.changes.extend(changes);
        self.writes.extend(writes);
        self.texts.push(text);
        Ok(())
    }

    pub fn rollback(&mut self) {
        *self = Transaction::default();
    }

    /// Makes everything durable, or nothing. Rows of new tables are written first: nobody sees them until the catalog
    /// has the table. Rows of tables that exist follow, one atomic append a table.
    pub async fn commit(&mut self, warehouse: &Arc<Warehouse>, role: &str) -> Result<()> {
        let Transaction { base, working, changes, writes, texts, .. } = std::mem::take(self);
        let Some(base) = base else { return Ok(()) };
        let before = warehouse.catalog.snapshot();
        let (new, existing): (Vec<_>, Vec<_>) =
            merged(writes).into_iter().partition(|write| schema_of_table(&before, &write.table).is_none());
        if let Some(working) = &working {
            for write in new {
                append(warehouse, working, write).await?;
            }
        }
        if !changes.is_empty() {
            let author =
                Author { role: role.to_owned(), at_us: warehouse.clock.now_us(), statement: texts.join(";\n") };
            let after = warehouse.catalog.commit(base, &author, changes)?;
            for write in existing {
                append(warehouse, &after, write).await?;
            }
            return after_commit(warehouse, &before, &after).await;
        }
        for write in existing {
            append(warehouse, &before, write).await?;
        }
        Ok(())
    }
}

/// One write a table.
fn merged(writes: Vec<TableWrite>) -> Vec<TableWrite> {
    let mut merged: Vec<TableWrite> = Vec::new();
    for write in writes {
        match merged.iter_mut().find(|known| known.table == write.table) {
            Some(known) => known.batches.extend(write.batches),
            None => merged.push(write),
        }
    }
    merged
}

async fn append(warehouse: &Arc<Warehouse>, snapshot: &Snapshot, write: TableWrite) -> Result<()> {
    // A table that the same transaction dropped again has no schema, and needs no rows.
    let Some(schema) = schema_of_table(snapshot, &write.table) else { return Ok(()) };
    warehouse.offline.create_table(&write.table, schema, Layout::Plain).await?;
    let batches = Box::pin(futures::stream::iter(write.batches.into_iter().map(Ok)));
    warehouse.offline.write(&write.table, Write::new(WriteKind::Append, batches)).await?;
    Ok(())
}
