//! Ordinary tables: `CREATE TABLE [AS]`. And `INSERT`, into them and into feature tables: rows that wait for the commit.

mod checks;
mod values;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Change, Column, FeatureTable, Object, ObjectKind, Snapshot, Stream, Table};
use granary_sql::name::fold;
use granary_sql::{SqlText, Statement};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::{NewObject, StatementContext, Writing};
use super::execute::Parameters;
use super::select::{self, PlannedQuery};
use super::{types, view};
use crate::engine::{
    BoundView, LogicalPlan, MadeOfCall, Staged, TableWrite, bind_parameters, cast_batches, events_table, insert_input,
    is_system_schema, max_length, run, storage_of_table, stream_of_table, table_id, view_of_table,
};
use crate::error::{Error, Kind, Result};
use crate::ingest::check_pushed;
use crate::offline::{BatchStream, Layout, Write, WriteKind};
use crate::row::normalize_type;
use crate::warehouse::STAGED;
pub use checks::{CallRows, CallStream, Fault, Faults, LeftOut};

use checks::{Checks, numbered};
use values::constant_rows;

/// `CREATE TABLE t (…)`; gives the number of rows for `CREATE TABLE t AS …`.
pub async fn create(
    context: &mut StatementContext,
    create: &ast::CreateTable,
    statement: &str,
    cancel: &CancellationToken,
) -> Result<Option<u64>> {
    if create.temporary {
        return Err(Error::not_supported("CREATE TEMPORARY TABLE"));
    }
    if let Some(constraint) = create.constraints.first() {
        return Err(Error::not_supported(format!("the table constraint {constraint}")));
    }
    let query = match &create.query {
        None => None,
        Some(query) => {
            let query = SqlText::new(query.clone(), view::query_text(statement, query));
            Some(select::plan_definition(context, &query).await?)
        }
    };
    let columns = match &query {
        None => {
            let columns = declared(context, &create.columns)?;
            check_distinct(&columns)?;
            columns
        }
        Some(query) => columns_of(query)?,
    };
    let anew = match &create.query {
        Some(query) => format!("CREATE TABLE {} AS {}", create.name, view::query_text(statement, query)),
        None => ast::CreateTable { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Table,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: anew,
    })?;
    let Some(header) = header else { return Ok(None) };
    let table = Table { header, columns, storage_id: new_storage_id()? };
    context.changes.push(Change::put(table.clone()));
    // a taken name is refused before there are rows
    context.snapshot().apply(&context.changes)?;
    match query {
        None => Ok(None),
        Some(query) => {
            let rows = (query.plan, Writing::default());
            fill(context, &Target::of_table(&table), rows, cancel).await.map(Some)
        }
    }
}

/// The columns that keep the rows of a query.
pub fn columns_of(query: &PlannedQuery) -> Result<Vec<Column>> {
    let columns = query.columns.iter().map(|column| match normalize_type(&column.data_type) {
        Some(data_type) => Ok(Column::new(&column.name, data_type, true)),
        None => Err(Error::not_supported(format!("a table column of type {}", column.data_type))),
    });
    let columns = columns.collect::<Result<Vec<Column>>>()?;
    check_distinct(&columns)?;
    Ok(columns)
}

fn check_distinct(columns: &[Column]) -> Result<()> {
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            Err(Error::new(Kind::DuplicateColumn, format!("column \"{}\" specified more than once", pair[0])))
        }
        None => Ok(()),
    }
}

/// A number that no table has had: drawn, because tables of concurrent transactions must not meet.
pub fn new_storage_id() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
    Ok(u64::from_be_bytes(bytes) >> 1)
}

fn declared(context: &StatementContext, columns: &[ast::ColumnDef]) -> Result<Vec<Column>> {
    columns
        .iter()
        .map(|column| {
            let data_type =
                types::data_type(&column.data_type).map_err(|error| context.at_ident(&column.name, error))?;
            let mut nullable = true;
            for option in &column.options {
                match option.option {
                    ast::ColumnOption::Null => {}
                    ast::ColumnOption::NotNull => nullable = false,
                    ref other => {
                        let error = Error::not_supported(format!("the column constraint {other}"));
                        return Err(context.at_ident(&column.name, error));
                    }
                }
            }
            let max_length = max_length(&column.data_type);
            Ok(Column { max_length, ..Column::new(fold(&column.name), data_type, nullable) })
        })
        .collect()
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
}

impl Target {
    /// What rows are written to by `verb`; an error that says what the object is, if they cannot be.
    fn of(object: &Object, verb: &str) -> Result<Target> {
        match object {
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
                let refused = || Error::new(Kind::WrongObjectType, format!("cannot {} {target}", verb.to_lowercase()));
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
        Target { name, stored: table_id(table), columns, join_keys: Vec::new(), stream: None }
    }

    /// Every event has a time.
    fn of_stream(stream: &Stream) -> Result<Target> {
        check_pushed(stream)?;
        let column =
            |column: &Column| Column { nullable: column.nullable && column.name != stream.timestamp, ..column.clone() };
        let columns = stream.columns.iter().map(column).collect();
        let (name, stored) = (stream.header.name.clone(), events_table(stream.header.id));
        Ok(Target { name, stored, columns, join_keys: Vec::new(), stream: Some(Arc::new(stream.clone())) })
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
        Ok(Target { name, stored, columns, join_keys, stream: None })
    }

    pub fn schema(&self) -> SchemaRef {
        schema_of(&self.columns)
    }

    /// The same without NOT NULL, which is checked when the rows are there, with the names of the column and its table.
    pub fn nullable_schema(&self) -> SchemaRef {
        let nullable = |column: &Column| Field::new(&column.name, column.data_type.clone(), true);
        Arc::new(Schema::new(self.columns.iter().map(nullable).collect::<Vec<_>>()))
    }

    pub fn null_in(&self, column: &Column) -> Error {
        let (column, table) = (&column.name, &self.name);
        let message = format!("null value in column \"{column}\" of relation \"{table}\" violates not-null constraint");
        Error::new(Kind::NotNullViolation, message)
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
    (plan, writing): (LogicalPlan, Writing),
    cancel: &CancellationToken,
) -> Result<u64> {
    let state = context.planner().state();
    let rows = run(&state, &cast_batches(plan, &target.schema())?).await?;
    let call = Call::new(numbered(rows.map_err(Error::from).boxed()), writing);
    gather(context, target, call, cancel).await
}

/// Rows on their way into a target.
pub struct Call {
    pub rows: CallStream,
    /// those that do not fit are noted here, if they shall not fail the call
    pub left_out: Option<Arc<LeftOut>>,
    /// all is checked, and nothing kept
    pub is_dry_run: bool,
}

impl Call {
    pub fn new(rows: CallStream, writing: Writing) -> Call {
        Call { rows, left_out: writing.leaves_out.then(Arc::default), is_dry_run: writing.is_dry_run }
    }
}

/// Leaves rows, which have the target's columns, in the context; gives their number.
pub async fn gather(
    context: &mut StatementContext,
    target: &Target,
    call: Call,
    cancel: &CancellationToken,
) -> Result<u64> {
    let Call { rows, left_out, is_dry_run } = call;
    let checks = Arc::new(Checks::new(context, target, left_out));
    let gathered = gather_checked(context, target, (checks.applied_to(rows), is_dry_run), cancel).await;
    checks.count_refused(gathered.as_ref().err());
    let n_rows = gathered?;
    context.notices.extend(checks.notice());
    checks.keep_counts(context);
    if let Some(write) = context.writes.last_mut().filter(|write| !is_dry_run && write.staged.is_none()) {
        write.made = checks.take_made();
    }
    Ok(n_rows)
}

async fn gather_checked(
    context: &mut StatementContext,
    target: &Target,
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
    hold(context, target, rows, cancel).await
}

/// Keeps rows in memory, or staged if they are many.
async fn hold(
    context: &mut StatementContext,
    target: &Target,
    mut rows: BatchStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    let id = &target.stored;
    let pending = Arc::clone(&context.pending);
    let before = pending.iter().find(|write| write.table == *id);
    let made = MadeOfCall::default();
    let mut write = TableWrite { table: id.clone(), staged: None, batches: Vec::new(), held_bytes: 0, made };
    let most_bytes = if target.stream.is_some() { HELD_EVENT_BYTES } else { HELD_BYTES };
    while before.map_or(0, |before| before.held_bytes) + write.held_bytes <= most_bytes {
        let Some(batch) = rows.try_next().await? else {
            let n_rows = count(&write.batches);
            context.writes.push(write);
            return Ok(n_rows);
        };
        write.held_bytes += batch.get_array_memory_size();
        write.batches.push(batch);
    }
    let held = before.map_or_else(Vec::new, |before| before.batches.clone());
    let n_held = count(&held);
    let held = held.into_iter().chain(std::mem::take(&mut write.batches));
    let rows = futures::stream::iter(held.map(Ok)).chain(rows).boxed();
    let staged = match before.and_then(|before| before.staged.clone()) {
        Some(staged) => staged,
        None => Arc::new(new_staged(context, target)?),
    };
    write.held_bytes = 0;
    write.staged = Some(Arc::clone(&staged));
    let n_written = stage(context, staged, target.schema(), rows, cancel).await?;
    context.writes.push(write);
    Ok(n_written - n_held)
}

fn count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// A new table can take its rows at once, since nobody can name it. Rows of one that others see wait beside it, and so
/// do those of a feature table, which have an order of their own.
fn new_staged(context: &StatementContext, target: &Target) -> Result<Staged> {
    let is_new = object_of_rows(&context.warehouse.catalog.snapshot(), &target.stored).is_none();
    let name = if is_new && target.join_keys.is_empty() && target.stream.is_none() {
        target.stored.clone()
    } else {
        format!("{STAGED}{}", new_storage_id()?)
    };
    Ok(Staged::new(&context.warehouse.offline, name))
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

/// `INSERT INTO t …`; gives the number of rows.
pub async fn insert(
    context: &mut StatementContext,
    insert: &ast::Insert,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<u64> {
    if let Some(rows) = constant_insert(context, insert, parameters)? {
        return insert_constant(context, rows, cancel).await;
    }
    let writing = context.writing;
    let (target, plan) = plan_insert(context, insert, parameters).await?;
    let plan = insert_input(bind_parameters(plan, &parameters.values)?)?;
    fill(context, &target, (plan, writing), cancel).await
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
    gather(context, &target, Call::new(numbered(rows), writing), cancel).await
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
    let mut insert = with_columns(context, insert, &target)?;
    let planned_name = target.planned_name();
    insert.table = ast::TableObject::TableName(ast::Ident::with_quote('"', &planned_name).into());
    let statement = ast::Statement::Insert(insert);
    let relation = (planned_name, target.nullable_schema());
    let plan = select::plan_write(context, statement, parameters, relation).await?;
    Ok((target, plan))
}

/// Rows of VALUES may be shorter than the table: its last columns are NULL then. So is what is said to be the DEFAULT.
fn with_columns(context: &StatementContext, insert: &ast::Insert, table: &Target) -> Result<ast::Insert> {
    for (unsupported, what) in
        [(insert.on.is_some(), "INSERT … ON CONFLICT"), (insert.returning.is_some(), "INSERT … RETURNING")]
    {
        if unsupported {
            return Err(Error::not_supported(what));
        }
    }
    let mut insert = insert.clone();
    let Some(ast::SetExpr::Values(values)) = insert.source.as_mut().map(|source| source.body.as_mut()) else {
        return Ok(insert);
    };
    for value in values.rows.iter_mut().flat_map(|row| &mut row.content) {
        if let ast::Expr::Identifier(word) = value
            && word.quote_style.is_none()
            && word.value.eq_ignore_ascii_case("default")
        {
            *value = ast::Expr::Value(ast::Value::Null.with_empty_span());
        }
    }
    let Some(longest) = values.rows.iter().max_by_key(|row| row.content.len()) else { return Ok(insert) };
    let n_values = longest.content.len();
    let n_columns = if insert.columns.is_empty() { table.columns.len() } else { insert.columns.len() };
    if n_values > n_columns {
        let error = Error::new(Kind::Syntax, "INSERT has more expressions than target columns");
        return Err(context.at(&longest.content[n_columns], error));
    }
    if values.rows.iter().any(|row| row.content.len() != n_values) {
        return Err(Error::new(Kind::Syntax, "VALUES lists must all be the same length"));
    }
    if n_values < n_columns && !insert.columns.is_empty() {
        let error = Error::new(Kind::Syntax, "INSERT has more target columns than expressions");
        return Err(context.at(&insert.columns[n_values], error));
    }
    if n_values < n_columns {
        let named = |column: &Column| ast::ObjectName::from(ast::Ident::with_quote('"', &column.name));
        insert.columns = table.columns[..n_values].iter().map(named).collect();
    }
    Ok(insert)
}

const INSERT: &str = "INSERT into";
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
    let found = context.scope.relation(&reference)?;
    let object = found.ok_or_else(|| {
        let error = Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
        context.at(name, error)
    })?;
    Target::of(object, verb).map_err(|error| context.at(name, error))
}
