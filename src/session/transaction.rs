//! The session's transaction: changes of the catalog and rows of tables, kept until COMMIT makes all of them or none.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Author, Change, Object, Snapshot, Table, Version};
use granary_sql::Statement;
use sqlparser::ast;

use crate::engine::{MadeOfCall, Staged, TableWrite, rows_in_order, stream_of_table, table_id};
use crate::error::{Error, Kind, Result};
use crate::materialize;
use crate::metrics;
use crate::offline::{BatchStream, Layout, Write, WriteKind};
use crate::statement::{after_commit, object_of_rows, schema_of};
use crate::warehouse::Warehouse;

/// Events up to so many bytes are appended from a client's own thread, which others wait for meanwhile.
const FEW_BYTES: usize = 64 << 10;

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
    /// one a table
    writes: Arc<Vec<TableWrite>>,
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
        Arc::clone(&self.writes)
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
        self.working = Some(match changes.is_empty() {
            true => Arc::clone(snapshot),
            false => Arc::new(snapshot.apply(&changes)?),
        });
        self.changes.extend(changes);
        if !writes.is_empty() {
            let (known, waits) = (Arc::make_mut(&mut self.writes), self.block == Block::Explicit);
            for mut write in writes {
                if waits {
                    // other relations may be others at the COMMIT
                    write.made = MadeOfCall::default();
                }
                add_write(known, write);
            }
        }
        self.texts.push(text);
        Ok(())
    }

    pub fn rollback(&mut self) {
        *self = Transaction::default();
    }

    /// Makes everything durable, or nothing. Rows of new tables are written first: nobody sees them until the catalog
    /// has the table. Rows of tables that exist, and of feature tables, follow, one atomic append a table; those that were
    /// staged are copied.
    pub async fn commit(&mut self, warehouse: &Arc<Warehouse>, role: &str) -> Result<()> {
        if self.base.is_none() {
            self.rollback();
            return Ok(());
        }
        if self.is_of_few_events() {
            return std::mem::take(self).commit_all(warehouse, role).await;
        }
        let (transaction, warehouse, role) = (std::mem::take(self), Arc::clone(warehouse), role.to_owned());
        let engine = Arc::clone(&warehouse.engine);
        // writing takes its time, apart from the threads that listen to clients; on the heap: it has a large state
        engine.work(Box::pin(async move { transaction.commit_all(&warehouse, &role).await })).await?
    }

    /// Whether to commit it is no long work.
    fn is_of_few_events(&self) -> bool {
        let is_of_few = |write: &TableWrite| {
            write.staged.is_none() && write.held_bytes <= FEW_BYTES && stream_of_table(&write.table).is_some()
        };
        self.changes.is_empty() && self.writes.iter().all(is_of_few)
    }

    async fn commit_all(self, warehouse: &Arc<Warehouse>, role: &str) -> Result<()> {
        let Transaction { base, working, changes, writes, texts, .. } = self;
        let Some(base) = base else { return Ok(()) };
        let before = warehouse.catalog.snapshot();
        let working = working.unwrap_or_else(|| Arc::clone(&before));
        let made: HashSet<String> = changes.iter().filter_map(table_made).collect();
        // A table that the transaction has dropped needs no rows.
        let writes = Arc::unwrap_or_clone(writes).into_iter();
        let writes = writes.filter(|write| object_of_rows(&working, &write.table).is_some());
        let (new, existing): (Vec<_>, Vec<_>) = writes.partition(|write| made.contains(&write.table));
        let mut kept = Vec::new();
        for mut write in new {
            // The table goes again if this is not committed.
            let staged = write.staged.take();
            kept.push(staged.unwrap_or_else(|| Arc::new(Staged::new(&warehouse.offline, write.table.clone()))));
            append(warehouse, &working, write).await?;
        }
        let mut after = Arc::clone(&before);
        let is_change = !changes.is_empty();
        if is_change {
            let author =
                Author { role: role.to_owned(), at_us: warehouse.clock.now_us(), statement: texts.join(";\n") };
            after = warehouse.catalog.commit(base, &author, changes)?;
            kept.iter().for_each(|table| table.keep());
        }
        let mut stored = Vec::new();
        for write in existing {
            let name = object_of_rows(&after, &write.table).map(|object| object.name().to_owned());
            append(warehouse, &after, write).await.map_err(|error| stored_before(error, &stored))?;
            stored.extend(name);
        }
        if is_change {
            after_commit(warehouse, &before, &after).await?;
        }
        Ok(())
    }
}

fn add_write(known: &mut Vec<TableWrite>, write: TableWrite) {
    match known.iter_mut().find(|known| known.table == write.table) {
        None => known.push(write),
        Some(known) if write.staged.is_some() => *known = write,
        Some(known) => {
            known.batches.extend(write.batches);
            known.held_bytes += write.held_bytes;
            known.made = MadeOfCall::default();
        }
    }
}

/// The stored table that a change makes.
fn table_made(change: &Change) -> Option<String> {
    match change {
        Change::Put(object) => object.downcast::<Table>().map(table_id),
        _ => None,
    }
}

/// The error of a write, for who has written elsewhere in the same transaction.
fn stored_before(error: Error, stored: &[String]) -> Error {
    if stored.is_empty() {
        return error;
    }
    let mut detail = error.detail().map_or_else(String::new, |detail| format!("{detail} "));
    detail.push_str(&format!("The rows of these are stored: {}.", stored.join(", ")));
    error.with_detail(detail)
}

/// Appends the write's rows, in one step. Errors: `SerializationFailure` if the table is gone.
async fn append(warehouse: &Arc<Warehouse>, snapshot: &Snapshot, mut write: TableWrite) -> Result<()> {
    let schema = match object_of_rows(snapshot, &write.table) {
        Some(Object::FeatureTable(table)) => return materialize::append(warehouse, table, write).await,
        Some(Object::Stream(stream)) => {
            let schema = schema_of(&stream.columns);
            let _staged = write.staged.clone();
            let made = std::mem::take(&mut write.made);
            let rows = rows_of(warehouse, write, schema).await?;
            let stored = warehouse.ingest.append(stream, rows, made).await?;
            if let Some(workspace) = stream.header.home.workspace().and_then(|id| snapshot.get(id)) {
                metrics::ingested(workspace.name(), &stream.header.name, stored, 0);
            }
            return Ok(());
        }
        Some(Object::Table(table)) => schema_of(&table.columns),
        _ => {
            let message = "could not commit: another session dropped a table that this one has written to";
            return Err(Error::new(Kind::SerializationFailure, message));
        }
    };
    warehouse.offline.create_table(&write.table, Arc::clone(&schema), Layout::Plain).await?;
    let table = write.table.clone();
    // until its rows are copied
    let _staged = write.staged.clone();
    let rows = rows_of(warehouse, write, schema).await?;
    warehouse.offline.write(&table, Write::new(WriteKind::Append, rows)).await?;
    Ok(())
}

/// The write's rows, the staged ones first.
async fn rows_of(warehouse: &Warehouse, write: TableWrite, schema: SchemaRef) -> Result<BatchStream> {
    let held = futures::stream::iter(write.batches.into_iter().map(Ok));
    let Some(staged) = &write.staged else { return Ok(held.boxed()) };
    let staged = rows_in_order(&warehouse.engine, &warehouse.offline, staged.table(), schema).await?;
    Ok(staged.map_err(Error::from).chain(held).boxed())
}
