//! The session's transaction: changes of the catalog and rows of tables, kept until COMMIT makes all of them or none.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Author, Change, Object, ObjectId, Snapshot, Step, Table, Version};
use granary_sql::Statement;
use sqlparser::ast;

use super::listening::Wish;
use crate::audit::Actor;
use crate::engine::{MadeOfCall, Staged, TableWrite, rows_in_order, stream_of_table, table_id};
use crate::error::{Error, Kind, Result};
use crate::materialize;
use crate::metrics;
use crate::offline::{BatchStream, Layout, Places, ReadVersions, RowNumbers, Write, WriteKind};
use crate::statement::{Isolation, after_commit, object_of_rows, schema_of};
use crate::trace;
use crate::warehouse::{LockHolder, LockMode, Warehouse};

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
    gathered: Gathered,
    /// by name, the newest last: what was gathered before
    savepoints: Vec<(String, Gathered)>,
    /// `now()` of all its statements
    now_us: Option<i64>,
    isolation: Isolation,
    /// the state of the tables that all its statements read, if it is one
    read_versions: Option<Arc<ReadVersions>>,
    /// whether it has read or written anything
    has_begun: bool,
    locks: OnceLock<Arc<LockHolder>>,
}

/// What a transaction wants done. Cheap to clone but for its changes.
#[derive(Debug, Clone, Default)]
struct Gathered {
    base: Option<Version>,
    /// the catalog as the transaction's own statements see it
    working: Option<Arc<Snapshot>>,
    /// what the last statement has left of it
    seen: Option<Arc<Snapshot>>,
    changes: Vec<Change>,
    /// one a table
    writes: Arc<Vec<TableWrite>>,
    texts: Vec<String>,
    /// in the order in which they were said, the same notification once
    wishes: Vec<Wish>,
}

/// What a transaction leaves of the session's temporary objects.
pub type Temporary = Vec<Arc<Object>>;

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
        self.gathered.working.clone()
    }

    pub fn now_us(&self) -> Option<i64> {
        self.now_us
    }

    pub fn pending(&self) -> Arc<Vec<TableWrite>> {
        Arc::clone(&self.gathered.writes)
    }

    /// The tables that it keeps others from writing to.
    pub fn locks(&self, warehouse: &Warehouse) -> Arc<LockHolder> {
        Arc::clone(self.locks.get_or_init(|| Arc::new(LockHolder::new(&warehouse.locks))))
    }

    /// The objects that it has changed.
    pub fn changed(&self) -> Arc<HashSet<ObjectId>> {
        Arc::new(self.gathered.changes.iter().map(Change::id).collect())
    }

    /// Adds a statement's changes, made on `snapshot`. Errors: those of the changes, seen at once.
    pub fn add(
        &mut self,
        snapshot: &Arc<Snapshot>,
        changes: Vec<Change>,
        writes: Vec<TableWrite>,
        text: String,
    ) -> Result<()> {
        let gathered = &mut self.gathered;
        gathered.base.get_or_insert(snapshot.version());
        let is_change = !changes.is_empty();
        // who reads what others commit meanwhile does so up to its own first change
        if is_change || gathered.working.is_some() {
            gathered.working = Some(match is_change {
                false => Arc::clone(snapshot),
                true => Arc::new(snapshot.apply(&changes)?),
            });
        }
        gathered.seen = gathered.working.clone().or_else(|| Some(Arc::clone(snapshot)));
        gathered.changes.extend(changes);
        if !writes.is_empty() {
            let (known, waits) = (Arc::make_mut(&mut gathered.writes), self.block == Block::Explicit);
            for mut write in writes {
                if waits {
                    // other relations may be others at the COMMIT
                    write.made = MadeOfCall::default();
                }
                add_write(known, write)?;
            }
        }
        gathered.texts.push(text);
        Ok(())
    }

    /// Before each statement of a transaction. One with a snapshot takes it with its first.
    pub fn begin_statement(&mut self, warehouse: &Warehouse, temporary: &[Arc<Object>]) {
        if self.isolation != Isolation::ReadCommitted && self.read_versions.is_none() && self.is_explicit() {
            let snapshot = warehouse.catalog.snapshot();
            self.read_versions = Some(warehouse.offline.read_versions());
            self.gathered.base.get_or_insert(snapshot.version());
            self.gathered.working.get_or_insert_with(|| Arc::new(snapshot.with_temporary(temporary)));
        }
        self.has_begun = self.is_open();
    }

    pub fn wish(&mut self, wish: Wish) {
        let is_said = matches!(wish, Wish::Notify { .. }) && self.gathered.wishes.contains(&wish);
        if !is_said {
            self.gathered.wishes.push(wish);
        }
    }

    pub fn take_wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.gathered.wishes)
    }

    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Errors: `ActiveTransaction` if it has read anything before.
    pub fn set_isolation(&mut self, isolation: Isolation) -> Result<()> {
        if self.has_begun && self.isolation != isolation {
            let message = "SET TRANSACTION ISOLATION LEVEL must be called before any query";
            return Err(Error::new(Kind::ActiveTransaction, message));
        }
        self.isolation = isolation;
        Ok(())
    }

    pub fn has_gathered(&self) -> bool {
        self.gathered.base.is_some()
    }

    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn read_versions(&self) -> Option<Arc<ReadVersions>> {
        self.read_versions.clone()
    }

    pub fn savepoint(&mut self, name: String) {
        self.savepoints.push((name, self.gathered.clone()));
    }

    /// RELEASE SAVEPOINT: it goes, and those behind it.
    pub fn release(&mut self, name: &str) -> Result<()> {
        let place = self.place_of_savepoint(name)?;
        self.savepoints.truncate(place);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: what came behind it is forgotten; the savepoint stays.
    pub fn rollback_to(&mut self, name: &str) -> Result<()> {
        let place = self.place_of_savepoint(name)?;
        self.savepoints.truncate(place + 1);
        self.gathered = self.savepoints[place].1.clone();
        self.failed = false;
        Ok(())
    }

    fn place_of_savepoint(&self, name: &str) -> Result<usize> {
        let place = self.savepoints.iter().rposition(|(known, _)| known == name);
        place.ok_or_else(|| Error::new(Kind::InvalidSavepoint, format!("savepoint \"{name}\" does not exist")))
    }

    pub fn rollback(&mut self) {
        *self = Transaction::default();
    }

    /// Makes everything durable, or nothing. Rows of new tables are written first: nobody sees them until the catalog
    /// has the table. Rows of tables that exist, and of feature tables, follow, one atomic append a table; those that were
    /// staged are copied.
    ///
    /// Gives the session's temporary objects, if it may have changed them.
    pub async fn commit(&mut self, warehouse: &Arc<Warehouse>, actor: Actor) -> Result<Option<Temporary>> {
        if self.gathered.base.is_none() {
            self.rollback();
            return Ok(None);
        }
        if self.is_of_few_events() {
            return std::mem::take(self).commit_all(warehouse, &actor).await;
        }
        let (transaction, warehouse) = (std::mem::take(self), Arc::clone(warehouse));
        let engine = Arc::clone(&warehouse.engine);
        // writing takes its time, apart from the threads that listen to clients; on the heap: it has a large state
        engine.work(Box::pin(async move { transaction.commit_all(&warehouse, &actor).await })).await?
    }

    /// Whether to commit it is no long work.
    fn is_of_few_events(&self) -> bool {
        let is_of_few = |write: &TableWrite| {
            write.staged.is_empty() && write.held_bytes <= FEW_BYTES && stream_of_table(&write.table).is_some()
        };
        self.gathered.changes.is_empty() && self.gathered.writes.iter().all(is_of_few)
    }

    /// Refuses the commit of a serializable transaction if others have changed a table that it has read, or are about to.
    /// From here on they wait. So each such transaction is as if it had happened at its commit.
    fn check_serializable(&self, warehouse: &Warehouse) -> Result<()> {
        let Some(versions) = self.read_versions.as_ref().filter(|_| self.isolation == Isolation::Serializable) else {
            return Ok(());
        };
        let Gathered { working: Some(working), changes, writes, .. } = &self.gathered else { return Ok(()) };
        if changes.is_empty() && writes.is_empty() {
            return Ok(());
        }
        let locks = self.locks(warehouse);
        for stored in versions.read() {
            let Some(object) = object_of_rows(working, &stored).filter(|object| !object.id().is_temporary()) else {
                continue;
            };
            let is_ours = locks.lock_at_once(object.id(), object.name(), LockMode::Alter).is_ok();
            if !is_ours || versions.has_changed(&stored) {
                let message = "could not serialize access due to read/write dependencies among transactions";
                let detail = format!("Another transaction writes to \"{}\", which this one has read.", object.name());
                return Err(Error::new(Kind::SerializationFailure, message)
                    .with_detail(detail)
                    .with_hint("The transaction might succeed if retried."));
            }
        }
        Ok(())
    }

    async fn commit_all(self, warehouse: &Arc<Warehouse>, actor: &Actor) -> Result<Option<Temporary>> {
        self.check_serializable(warehouse)?;
        // others wait until all is done
        let Transaction { gathered, locks: _locks, .. } = self;
        let Gathered { base, working, seen, changes, writes, texts, wishes: _ } = gathered;
        let Some(base) = base else { return Ok(None) };
        let current = warehouse.catalog.snapshot();
        let temporary = working.as_ref().map(|working| working.temporary());
        let working = working.or(seen).unwrap_or_else(|| Arc::clone(&current));
        let made: HashSet<String> = changes.iter().filter_map(table_made).collect();
        // A table that the transaction has dropped needs no rows.
        let writes = Arc::unwrap_or_clone(writes).into_iter();
        let writes = writes.filter(|write| object_of_rows(&working, &write.table).is_some());
        let (new, existing): (Vec<_>, Vec<_>) = writes.partition(|write| made.contains(&write.table));
        let mut kept = Vec::new();
        for mut write in new {
            // The table goes again if this is not committed.
            let own = write.staged.iter().position(|staged| staged.table() == write.table);
            let own = own.map(|place| write.staged.remove(place));
            kept.push(own.unwrap_or_else(|| Arc::new(Staged::new(&warehouse.offline, write.table.clone()))));
            append(warehouse, &working, write).await?;
        }
        let mut step = Step { before: Arc::clone(&current), after: current };
        let changes: Vec<Change> = changes.into_iter().filter(|change| !change.id().is_temporary()).collect();
        let is_change = !changes.is_empty();
        if is_change {
            let (role, at_us, statement) = (actor.role.clone(), warehouse.clock.now_us(), texts.join(";\n"));
            let author = Author { role, at_us, statement };
            let span = trace::store("catalog commit", String::new);
            step = span.in_scope(|| warehouse.catalog.commit_step(base, &author, changes))?;
        }
        kept.iter().for_each(|table| table.keep());
        let (mut stored, mut changed, mut failed) = (Vec::new(), Vec::new(), None);
        for write in existing {
            let own = object_of_rows(&working, &write.table).filter(|object| object.id().is_temporary());
            let snapshot = if own.is_some() { &working } else { &step.after };
            let object = object_of_rows(snapshot, &write.table);
            let name = object.map(|object| object.name().to_owned());
            let audited = object.filter(|object| own.is_none() && matches!(object, Object::Table(_)));
            let relation = audited.map(|object| (object.kind().as_str().to_owned(), object.name().to_owned()));
            match append(warehouse, snapshot, write).await {
                Ok(rows) => changed.extend(relation.zip(rows)),
                Err(error) => {
                    failed = Some(stored_before(error, &stored));
                    break;
                }
            }
            stored.extend(name);
        }
        if !changed.is_empty() {
            warehouse.audit.changed(actor, &texts.join(";\n"), changed).await;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if is_change {
            after_commit(warehouse, &step.before, &step.after).await?;
        }
        Ok(temporary)
    }
}

fn add_write(known: &mut Vec<TableWrite>, write: TableWrite) -> Result<()> {
    match known.iter_mut().find(|known| known.table == write.table) {
        Some(known) => known.add(write),
        None => {
            known.push(write);
            Ok(())
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

/// How many rows have come to an ordinary table, and gone from it; `None` of other relations, which have logs of their own.
type RowCounts = Option<(u64, u64)>;

/// Appends the write's rows, in one step. Errors: `SerializationFailure` if the table is gone.
async fn append(warehouse: &Arc<Warehouse>, snapshot: &Snapshot, mut write: TableWrite) -> Result<RowCounts> {
    let schema = match object_of_rows(snapshot, &write.table) {
        Some(Object::FeatureTable(table)) => return materialize::append(warehouse, table, write).await.map(|()| None),
        Some(Object::Stream(stream)) => {
            let schema = schema_of(&stream.columns);
            let _staged = write.staged.clone();
            let made = std::mem::take(&mut write.made);
            let rows = rows_of(warehouse, write, schema).await?;
            let stored = warehouse.ingest.append(stream, rows, made).await?;
            if let Some(workspace) = stream.header.home.workspace().and_then(|id| snapshot.get(id)) {
                metrics::ingested(workspace.name(), &stream.header.name, stored, 0);
            }
            return Ok(None);
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
    let staged = write.staged.clone();
    let mut removed = Places::clone(&write.removed);
    for staged in &staged {
        let version = warehouse.offline.table(staged.table()).await?;
        version.iter().flat_map(|version| &version.files).for_each(|file| drop(removed.remove(&file.path)));
    }
    let gone = removed.values().map(RowNumbers::count).sum();
    let come = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&come);
    let count = move |rows: &RecordBatch| {
        counter.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
    };
    let rows = rows_of(warehouse, write, schema).await?.inspect_ok(count).boxed();
    warehouse.offline.write(&table, Write::new(WriteKind::Append, rows).without(removed)).await?;
    Ok(Some((come.load(Ordering::Relaxed), gone)))
}

/// The write's rows, the staged ones first.
async fn rows_of(warehouse: &Warehouse, write: TableWrite, schema: SchemaRef) -> Result<BatchStream> {
    let mut rows: BatchStream = futures::stream::empty().boxed();
    for staged in &write.staged {
        let stored = (staged.table(), &write.removed);
        let staged = rows_in_order(&warehouse.engine, &warehouse.offline, stored, Arc::clone(&schema)).await?;
        rows = rows.chain(staged.map_err(Error::from)).boxed();
    }
    Ok(rows.chain(futures::stream::iter(write.batches.into_iter().map(Ok))).boxed())
}
