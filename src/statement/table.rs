//! `INSERT`, into ordinary tables, feature tables and streams: rows that wait for the commit. How tables are made is in
//! `create`.

mod checks;
mod conflicts;
mod create;
mod defaults;
mod unique;
mod values;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Column, FeatureTable, Object, ObjectKind, PolicyCommand, Snapshot, Stream, Table};
use granary_sql::Statement;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::changing::{Removing, Seen, check_current};
use super::context::{StatementContext, Writing};
use super::execute::{Parameters, Response};
use super::{policy, select};
use crate::engine::{
    BoundView, LogicalPlan, Passed, Passing, Staged, TableWrite, bind_parameters, cast_batches, events_table,
    insert_input, is_system_schema, run, storage_of_table, stream_of_table, table_id, view_of_table,
};
use crate::error::{Error, Kind, Result};
use crate::ingest::check_pushed;
use crate::offline::{BatchStream, Layout, Write, WriteKind};
use crate::warehouse::{LockMode, STAGED};
pub use checks::{CallRows, CallStream, Fault, Faults, LeftOut};
pub use conflicts::plan as plan_returning_insert;
pub use create::{
    Declared, add_constraint, check_constraints, column_names, columns_of, create, declared_column,
    declared_constraint, default, fill_table, free_name, has_subquery, make_table,
};
pub use defaults::{Defaults, default_expression, parse_expression};
pub use unique::{ExistingKeys, UniqueKey, check_existing};

pub use checks::{Checks, numbered};
use values::constant_rows;

/// A number that no table has had: drawn, because tables of concurrent transactions must not meet.
pub fn new_storage_id() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
    Ok(u64::from_be_bytes(bytes) >> 1)
}

/// The schema of rows on their way into a table.
pub fn schema_of(columns: &[Column]) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), column.nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The table, stream or feature table whose stored rows have that name.
pub fn object_of_rows<'a>(snapshot: &'a Snapshot, stored: &str) -> Option<&'a Object> {
    let (table, stream) = (storage_of_table(stored), stream_of_table(stored));
    let of_table = |storage_id| snapshot.all::<Table>().into_iter().find(|table| table.storage_id == storage_id);
    let id = table.and_then(of_table).map(|table| table.header.id).or(stream).or_else(|| view_of_table(stored))?;
    let object = snapshot.get(id)?.as_ref();
    let has_rows = match object {
        Object::Table(_) | Object::Stream(_) => true,
        Object::FeatureTable(table) => {
            BoundView::of_feature_table(table).is_ok_and(|view| view.offline_table() == stored)
        }
        _ => false,
    };
    has_rows.then_some(object)
}

/// What rows are written to.
#[derive(Debug, Clone)]
pub struct Target {
    pub name: String,
    /// the name of its stored rows
    pub stored: String,
    pub columns: Vec<Column>,
    /// places of its join keys, if it is a feature table
    join_keys: Vec<usize>,
    /// whose events the rows are
    stream: Option<Arc<Stream>>,
    /// the table, if it is an ordinary one
    pub table: Option<Arc<Table>>,
}

impl Target {
    /// What rows are written to by `verb`; an error that says what the object is, if they cannot be.
    fn of(object: &Object, verb: &str) -> Result<Target> {
        match object {
            Object::Table(table) if table.materialized.is_some() => {
                let message = format!("cannot change materialized view \"{}\"", table.header.name);
                Err(Error::new(Kind::WrongObjectType, message))
            }
            Object::Table(table) => Ok(Target::of_table(table)),
            Object::FeatureTable(table) if verb == INSERT || verb == COPY => Target::of_feature_table(table),
            Object::Stream(stream) if verb == INSERT || verb == COPY => Target::of_stream(stream),
            other => {
                let target = format!("{} \"{}\"", other.kind().as_str(), other.name());
                let is_later = match other.kind() {
                    ObjectKind::FeatureTable => true,
                    ObjectKind::Stream => verb == DELETE,
                    _ => false,
                };
                let kind = match other.kind() {
                    ObjectKind::View if verb != "TRUNCATE" => Kind::ObjectNotInPrerequisiteState,
                    _ => Kind::WrongObjectType,
                };
                let refused = || Error::new(kind, format!("cannot {} {target}", verb.to_lowercase()));
                Err(match other.kind() {
                    _ if is_later => Error::not_supported(format!("{verb} {target}")),
                    ObjectKind::Dataset => refused().with_detail("The rows of a dataset never change.").with_hint(
                        format!("make a new version of it: CREATE OR REPLACE DATASET {} AS …", other.name()),
                    ),
                    _ => refused(),
                })
            }
        }
    }

    /// What events, or rows of a feature table, are pushed to.
    pub fn pushed(object: &Object) -> Result<Target> {
        match object {
            Object::Stream(_) | Object::FeatureTable(_) => Target::of(object, INSERT),
            other => {
                let message = format!("\"{}\" is a {}", other.name(), other.kind().as_str());
                Err(Error::new(Kind::WrongObjectType, message).with_hint("push to a stream or a feature table"))
            }
        }
    }

    fn of_table(table: &Table) -> Target {
        let (name, columns) = (table.header.name.clone(), table.columns.clone());
        let own = Some(Arc::new(table.clone()));
        Target { name, stored: table_id(table), columns, join_keys: Vec::new(), stream: None, table: own }
    }

    /// Every event has a time.
    fn of_stream(stream: &Stream) -> Result<Target> {
        check_pushed(stream)?;
        let column =
            |column: &Column| Column { nullable: column.nullable && column.name != stream.timestamp, ..column.clone() };
        let columns = stream.columns.iter().map(column).collect();
        let (name, stored) = (stream.header.name.clone(), events_table(stream.header.id));
        Ok(Target { name, stored, columns, join_keys: Vec::new(), stream: Some(Arc::new(stream.clone())), table: None })
    }

    /// Its keys and its time cannot be NULL.
    fn of_feature_table(table: &FeatureTable) -> Result<Target> {
        let view = BoundView::of_feature_table(table)?;
        let is_key = |name: &str| name == table.timestamp || table.join_keys.iter().any(|key| key.name == name);
        let column = |column: &Column| Column { nullable: !is_key(&column.name), ..column.clone() };
        let columns = table.columns.iter().map(column).collect();
        let place = |key: &Column| {
            let place = table.columns.iter().position(|column| column.name == key.name);
            place.ok_or_else(|| Error::internal("a join key is no column of its feature table"))
        };
        let join_keys = table.join_keys.iter().map(place).collect::<Result<_>>()?;
        let (name, stored) = (table.header.name.clone(), view.offline_table());
        Ok(Target { name, stored, columns, join_keys, stream: None, table: None })
    }

    pub fn schema(&self) -> SchemaRef {
        schema_of(&self.columns)
    }

    /// The same without NOT NULL, which is checked when the rows are there, with the names of the column and its table.
    pub fn nullable_schema(&self) -> SchemaRef {
        let nullable = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
        Arc::new(Schema::new(self.columns.iter().map(nullable).collect::<Vec<_>>()))
    }

    /// The schema of an ordinary table.
    pub fn schema_name<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a str> {
        snapshot.get(self.table.as_ref()?.header.home.schema()?).map(|schema| schema.name())
    }

    pub fn null_in(&self, column: &Column) -> Error {
        let (column, table) = (&column.name, &self.name);
        let message = format!("null value in column \"{column}\" of relation \"{table}\" violates not-null constraint");
        Error::new(Kind::NotNullViolation, message).of_column(table, column)
    }

    /// Under which an INSERT is planned, whose query may read the target, too.
    fn planned_name(&self) -> String {
        format!("{}@rows", self.name)
    }
}

/// What a transaction holds of one table's new rows; more are staged in the offline store.
const HELD_BYTES: usize = 16 << 20;
/// The same of a stream's events, which are held in memory anyhow once they are committed.
const HELD_EVENT_BYTES: usize = 64 << 20;

/// Leaves the plan's rows in the context, as rows of `target`; gives their number.
async fn fill(
    context: &mut StatementContext,
    target: &Target,
    (plan, passing, writing): (LogicalPlan, Vec<Passing>, Writing),
    cancel: &CancellationToken,
) -> Result<u64> {
    let state = context.planner().state();
    let rows = run(&state, &cast_batches(plan, &target.schema())?).await?;
    let call = Call::new(numbered(rows.map_err(Error::from).boxed()), passing, writing);
    gather(context, target, call, cancel).await
}

/// Rows on their way into a target.
pub struct Call {
    pub rows: CallStream,
    /// what policies of the target ask of them; nothing of rows that policies have seen, or that nobody sends
    pub passing: Vec<Passing>,
    /// rows of the target that go when these come
    pub removing: Option<Arc<Removing>>,
    /// keeps them as they are stored, for who is to see them
    pub seen: Option<Arc<Seen>>,
    /// those that do not fit are noted here, if they shall not fail the call
    pub left_out: Option<Arc<LeftOut>>,
    /// all is checked, and nothing kept
    pub is_dry_run: bool,
}

impl Call {
    /// Rows that are kept, all or none.
    pub fn plain(rows: CallStream, passing: Vec<Passing>) -> Call {
        Call { rows, passing, removing: None, seen: None, left_out: None, is_dry_run: false }
    }

    pub fn new(rows: CallStream, passing: Vec<Passing>, writing: Writing) -> Call {
        let left_out = writing.leaves_out.then(Arc::default);
        Call { left_out, is_dry_run: writing.is_dry_run, ..Call::plain(rows, passing) }
    }
}

/// Leaves rows, which have the target's columns, in the context; gives their number.
pub async fn gather(
    context: &mut StatementContext,
    target: &Target,
    call: Call,
    cancel: &CancellationToken,
) -> Result<u64> {
    let Call { rows, passing, removing, seen, left_out, is_dry_run } = call;
    let checks = Arc::new(Checks::new(context, target, left_out, &passing)?);
    let mut rows = checks.applied_to(rows);
    if let Some(seen) = seen {
        rows = rows.and_then(move |batch| futures::future::ready(seen.add(batch))).boxed();
    }
    let gathered = gather_checked(context, (target, removing), (rows, is_dry_run), cancel).await;
    checks.count_refused(gathered.as_ref().err());
    let n_rows = gathered?;
    context.notices.extend(checks.notice());
    checks.keep_counts(context);
    if let Some(write) = context.writes.last_mut().filter(|write| !is_dry_run && write.staged.is_empty()) {
        write.made = checks.take_made();
    }
    Ok(n_rows)
}

async fn gather_checked(
    context: &mut StatementContext,
    (target, removing): (&Target, Option<Arc<Removing>>),
    (mut rows, is_dry_run): (BatchStream, bool),
    cancel: &CancellationToken,
) -> Result<u64> {
    if is_dry_run {
        let mut n_rows = 0;
        while let Some(batch) = rows.try_next().await? {
            n_rows += batch.num_rows() as u64;
        }
        context.notices.push(Error::new(Kind::SuccessfulCompletion, "nothing is stored: this is a dry run"));
        return Ok(n_rows);
    }
    let n_rows = hold(context, (target, removing), rows, cancel).await?;
    if let Some(write) = context.writes.pop() {
        check_current(context, &write).await?;
        unique::check(context, target, &write).await?;
        context.writes.push(write);
    }
    Ok(n_rows)
}

/// Keeps rows in memory, or staged if they are many; notes which rows go, once all have come.
async fn hold(
    context: &mut StatementContext,
    (target, removing): (&Target, Option<Arc<Removing>>),
    mut rows: BatchStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    let id = &target.stored;
    let pending = Arc::clone(&context.pending);
    let before = pending.iter().find(|write| write.table == *id);
    let mut write = TableWrite { table: id.clone(), ..TableWrite::default() };
    let most_bytes = if target.stream.is_some() { HELD_EVENT_BYTES } else { HELD_BYTES };
    let mut n_rows = 0;
    let mut is_staged = false;
    while let Some(batch) = rows.try_next().await? {
        n_rows += batch.num_rows() as u64;
        write.held_bytes += batch.get_array_memory_size();
        write.batches.push(batch);
        if before.map_or(0, |before| before.held_bytes) + write.held_bytes > most_bytes {
            is_staged = true;
            break;
        }
    }
    if is_staged {
        // a table that this statement makes takes its rows at once, since nobody can name it
        let is_new = before.is_none() && object_of_rows(context.snapshot(), id).is_none();
        let name = if is_new { id.clone() } else { format!("{STAGED}{}", new_storage_id()?) };
        let staged = Arc::new(Staged::new(&context.warehouse.offline, name));
        let first = std::mem::take(&mut write.batches);
        let held = before.cloned().unwrap_or_default();
        let n_held = held.held_rows();
        // which of them stay is known behind the last row
        let removed = removing.clone();
        let held = futures::stream::once(async move {
            let gone = removed.map(|removing| removing.taken().1).unwrap_or_default();
            Ok::<_, Error>(futures::stream::iter(held.held_without(&gone)?.into_iter().map(Ok)))
        });
        let new = futures::stream::iter(first.into_iter().map(Ok)).chain(rows);
        // rows that are in an order of their own stay in it
        let rows = match target.join_keys.is_empty() && target.stream.is_none() {
            true => new.chain(held.try_flatten()).boxed(),
            false => held.try_flatten().chain(new).boxed(),
        };
        let n_written = stage(context, Arc::clone(&staged), target.schema(), rows, cancel).await?;
        let gone = removing.as_ref().map_or(0, |removing| removing.taken().1.count());
        n_rows = n_written - (n_held - gone);
        write.held_bytes = 0;
        write.staged.push(staged);
        (0..n_held).for_each(|row| {
            write.removed_held.insert(row);
        });
    }
    if let Some(removing) = &removing {
        let (removed, removed_held) = removing.taken();
        write.removed = Arc::new(removed);
        write.removed_held.extend(&removed_held);
    }
    context.writes.push(write);
    Ok(n_rows)
}

async fn stage(
    context: &StatementContext,
    staged: Arc<Staged>,
    schema: SchemaRef,
    rows: BatchStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    let offline = Arc::clone(&context.warehouse.offline);
    let stop = cancel.child_token();
    let write = Write::new(WriteKind::Append, rows).with_cancel(stop.clone());
    let _stop = stop.drop_guard();
    // In a task of its own, so that it takes away what it has begun also if nobody waits for it any more.
    let task = tokio::spawn(async move {
        offline.create_table(staged.table(), schema, Layout::Plain).await?;
        Ok(offline.write(staged.table(), write).await?.rows_written)
    });
    task.await.map_err(|error| Error::internal("a task that writes rows died").with_source(error))?
}

/// `INSERT INTO t …`.
pub async fn insert(
    context: &mut StatementContext,
    insert: &ast::Insert,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    lock_inserted(context, insert).await?;
    if insert.on.is_some() || insert.returning.is_some() {
        return conflicts::insert(context, insert, parameters, cancel).await;
    }
    let n_rows = match constant_insert(context, insert, parameters)? {
        Some(rows) => insert_constant(context, rows, cancel).await?,
        None => {
            let writing = context.writing;
            let (target, plan) = plan_insert(context, insert, parameters).await?;
            let plan = insert_input(bind_parameters(plan, &parameters.values)?)?;
            fill(context, &target, (plan, inserted_passing(insert), writing), cancel).await?
        }
    };
    Ok(Response::done(format!("INSERT 0 {n_rows}")))
}

/// Rows may come beside those of others, unless they must not be there already.
pub async fn lock_written(context: &mut StatementContext, target: &Target) -> Result<()> {
    let is_unique = target.table.as_ref().is_some_and(|table| table.unique_keys().next().is_some());
    lock(context, target, if is_unique { LockMode::Modify } else { LockMode::Append }).await
}

async fn lock_inserted(context: &mut StatementContext, insert: &ast::Insert) -> Result<()> {
    let ast::TableObject::TableName(name) = &insert.table else { return Ok(()) };
    let target = writable(context, name, INSERT)?;
    lock_written(context, &target).await
}

/// Rows of an INSERT that may be taken in on a client's own thread, which others wait for meanwhile.
const MOST_ROWS_AT_ONCE: usize = 16;

/// What an INSERT writes to, and its rows, if it is of few events and to take them in is no long work.
pub fn few_events(
    context: &StatementContext,
    statement: &Statement,
    parameters: &Parameters,
) -> Option<(Target, RecordBatch)> {
    let Statement::Postgres(statement) = statement else { return None };
    let ast::Statement::Insert(insert) = statement.ast.as_ref() else { return None };
    let ast::SetExpr::Values(values) = insert.source.as_ref()?.body.as_ref() else { return None };
    if values.rows.len() > MOST_ROWS_AT_ONCE {
        return None;
    }
    let ast::TableObject::TableName(name) = &insert.table else { return None };
    // what is wrong is told by who carries it out
    let target = writable(context, name, INSERT).ok()?;
    let stream = target.stream.as_ref()?;
    if !context.warehouse.ingest.is_ready(context.snapshot(), stream.header.id) {
        return None;
    }
    constant_rows(insert, &target, parameters).map(|rows| (target, rows))
}

/// Leaves rows that need no planner in the context; gives their number.
pub async fn insert_constant(
    context: &mut StatementContext,
    (target, rows): (Target, RecordBatch),
    cancel: &CancellationToken,
) -> Result<u64> {
    let writing = context.writing;
    let rows = futures::stream::once(async move { Ok(rows) }).boxed();
    // without RETURNING and conflicts
    let passing = vec![Passing { command: PolicyCommand::Insert, what: Passed::Check }];
    gather(context, &target, Call::new(numbered(rows), passing, writing), cancel).await
}

/// What policies ask of the rows of an INSERT.
pub fn inserted_passing(insert: &ast::Insert) -> Vec<Passing> {
    let check = Passing { command: PolicyCommand::Insert, what: Passed::Check };
    let seen = Passing { command: PolicyCommand::Select, what: Passed::Seen };
    let looks = match &insert.on {
        Some(ast::OnInsert::OnConflict(conflict)) => conflict.conflict_target.is_some(),
        other => other.is_some(),
    };
    match looks || insert.returning.iter().flatten().any(policy::returns_columns) {
        true => vec![check, seen],
        false => vec![check],
    }
}

/// What an INSERT writes to, and its rows, if it needs no planner.
pub fn constant_insert(
    context: &StatementContext,
    insert: &ast::Insert,
    parameters: &Parameters,
) -> Result<Option<(Target, RecordBatch)>> {
    let ast::TableObject::TableName(name) = &insert.table else { return Ok(None) };
    let target = writable(context, name, INSERT)?;
    Ok(constant_rows(insert, &target, parameters).map(|rows| (target, rows)))
}

/// What an INSERT writes to, and its plan. Errors: its target cannot be written to; those of its query.
pub async fn plan_insert(
    context: &StatementContext,
    insert: &ast::Insert,
    parameters: &Parameters,
) -> Result<(Target, LogicalPlan)> {
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(Error::not_supported("INSERT into something other than a table"));
    };
    let target = writable(context, name, INSERT)?;
    let mut insert = defaults::with_columns(context, insert, &target, parameters).await?;
    (insert.on, insert.returning, insert.table_alias) = (None, None, None);
    let mut parameters = parameters.clone();
    expect_types(&mut parameters, &insert, &target);
    if let Some(plan) = assigned(context, &insert, &target, &parameters).await? {
        return Ok((target, plan));
    }
    let planned_name = target.planned_name();
    insert.table = ast::TableObject::TableName(ast::Ident::with_quote('"', &planned_name).into());
    let statement = ast::Statement::Insert(insert);
    let relation = (planned_name, target.nullable_schema());
    let plan = select::plan_write(context, statement, &parameters, relation).await?;
    Ok((target, plan))
}

/// The rows of an INSERT into a table as PostgreSQL assigns them: all columns of the table, NULL where nothing is said.
/// None if only the engine knows what they are made of.
async fn assigned(
    context: &StatementContext,
    insert: &ast::Insert,
    target: &Target,
    parameters: &Parameters,
) -> Result<Option<LogicalPlan>> {
    let (Some(source), true) = (&insert.source, target.table.is_some()) else { return Ok(None) };
    let Some(places) = values::places(insert, target, target.columns.len()) else { return Ok(None) };
    let columns: Vec<Column> = places.iter().map(|place| target.columns[*place].clone()).collect();
    let Some(plan) = select::plan_rows(context, source, &columns, parameters).await? else { return Ok(None) };
    let n_columns = plan.schema().fields().len();
    if n_columns < columns.len() && !insert.columns.is_empty() {
        return Err(Error::new(Kind::Syntax, "INSERT has more target columns than expressions"));
    }
    let given = |place: usize| places.iter().take(n_columns).position(|own| *own == place);
    let given: Vec<Option<usize>> = (0..target.columns.len()).map(given).collect();
    crate::engine::inserted(plan, &given, &target.nullable_schema()).map(Some)
}

/// Parameters that stand for values of columns have their types.
fn expect_types(parameters: &mut Parameters, insert: &ast::Insert, target: &Target) {
    let Some(ast::SetExpr::Values(values)) = insert.source.as_deref().map(|source| source.body.as_ref()) else {
        return;
    };
    let Some(places) = values::places(insert, target, values.rows.first().map_or(0, |row| row.content.len())) else {
        return;
    };
    for row in &values.rows {
        for (expr, place) in row.content.iter().zip(&places) {
            let column = &target.columns[*place];
            // what Arrow has no type for is told apart later
            if column.declared.is_none() || target.table.is_none() {
                parameters.expect(expr, &column.data_type);
            }
        }
    }
}

pub const INSERT: &str = "INSERT into";
pub const COPY: &str = "COPY to";
pub const DELETE: &str = "DELETE from";

/// Refuses to write to what cannot be written to, for the statements that write to nothing yet.
pub fn check_written(context: &StatementContext, statement: &ast::Statement) -> Result<()> {
    let (verb, name) = match statement {
        ast::Statement::Update(update) => ("UPDATE", table_name(&update.table.relation)),
        ast::Statement::Delete(delete) => {
            let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
            (DELETE, from.first().and_then(|from| table_name(&from.relation)))
        }
        ast::Statement::Merge(merge) => ("MERGE into", table_name(&merge.table)),
        ast::Statement::AlterTable(alter) if is_dataset(context, &alter.name) => ("ALTER", Some(&alter.name)),
        ast::Statement::Truncate(truncate) => ("TRUNCATE", truncate.table_names.first().map(|table| &table.name)),
        _ => return Ok(()),
    };
    name.map_or(Ok(()), |name| writable(context, name, verb).map(|_| ()))
}

fn is_dataset(context: &StatementContext, name: &ast::ObjectName) -> bool {
    let found = crate::engine::table_reference(name).and_then(|name| context.scope.relation(&name).ok().flatten());
    found.is_some_and(|object| object.kind() == ObjectKind::Dataset)
}

/// Keeps others from changing a table up to the end of the transaction.
pub async fn lock(context: &mut StatementContext, target: &Target, mode: LockMode) -> Result<()> {
    match &target.table {
        Some(table) => context.lock(&Arc::clone(table), mode).await,
        None => Ok(()),
    }
}

pub fn table_name(factor: &ast::TableFactor) -> Option<&ast::ObjectName> {
    match factor {
        ast::TableFactor::Table { name, .. } => Some(name),
        _ => None,
    }
}

/// The table or feature table of that name; an error that says what else it is.
pub fn writable(context: &StatementContext, name: &ast::ObjectName, verb: &str) -> Result<Target> {
    let reference = crate::engine::table_reference(name)
        .ok_or_else(|| Error::new(Kind::InvalidName, format!("\"{name}\" is not a table's name")))?;
    if is_system_schema(reference.schema()) {
        let message = format!("permission denied: \"{name}\" is a system relation");
        return Err(context.at(name, Error::new(Kind::InsufficientPrivilege, message)));
    }
    let found = context.scope.read_relation(&reference)?;
    let object = found.ok_or_else(|| {
        let shown = granary_sql::name::parts(name).join(".");
        let error = Error::new(Kind::UndefinedTable, format!("relation \"{shown}\" does not exist"));
        context.at(name, error)
    })?;
    Target::of(object, verb).map_err(|error| context.at(name, error))
}
