//! Ordinary tables: `CREATE TABLE [AS]`. And `INSERT`, into them and into feature tables: rows that wait for the commit.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Change, Column, FeatureTable, Object, ObjectKind, Snapshot, Stream, Table};
use granary_sql::SqlText;
use granary_sql::name::fold;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::{NewObject, StatementContext};
use super::execute::Parameters;
use super::select::{self, PlannedQuery};
use super::{types, view};
use crate::engine::{
    BoundView, LogicalPlan, Staged, TableWrite, bind_parameters, cast_batches, declared_columns, events_table,
    insert_input, is_system_schema, max_length, run, table_id,
};
use crate::error::{Error, Kind, Result};
use crate::ingest::check_pushed;
use crate::offline::{BatchStream, Layout, Write, WriteKind};
use crate::row::{Key, normalize_type, values_of};
use crate::warehouse::STAGED;

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
        Some(query) => fill(context, &Target::of_table(&table), query.plan, cancel).await.map(Some),
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

/// The columns of the stored table of that name, if a table of the catalog has it.
pub fn schema_of_table(snapshot: &Snapshot, stored: &str) -> Option<SchemaRef> {
    let table = snapshot.all::<Table>().into_iter().find(|table| table_id(table) == stored);
    let stream = || stream_of_events(snapshot, stored).map(|stream| schema_of(&stream.columns));
    let table = table.map(|table| schema_of(&table.columns));
    table.or_else(|| feature_table(snapshot, stored).map(declared_columns)).or_else(stream)
}

/// The stream whose stored events have that name.
pub fn stream_of_events<'a>(snapshot: &'a Snapshot, stored: &str) -> Option<&'a Stream> {
    snapshot.all::<Stream>().into_iter().find(|stream| events_table(stream.header.id) == stored)
}

/// The feature table whose stored rows have that name.
pub fn feature_table<'a>(snapshot: &'a Snapshot, stored: &str) -> Option<&'a FeatureTable> {
    let is_its =
        |table: &&FeatureTable| BoundView::of_feature_table(table).is_ok_and(|view| view.offline_table() == stored);
    snapshot.all::<FeatureTable>().into_iter().find(is_its)
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
    fn of_table(table: &Table) -> Target {
        let (name, columns) = (table.header.name.clone(), table.columns.clone());
        Target { name, stored: table_id(table), columns, join_keys: Vec::new(), stream: None }
    }

    /// Every event has a time.
    fn of_stream(stream: &Stream) -> Result<Target> {
        check_pushed(stream)?;
        if !stream.deduplicate_by.is_empty() {
            return Err(Error::not_supported("writing to a stream with DEDUPLICATE BY"));
        }
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

/// Leaves the plan's rows in the context, as rows of `target`; gives their number.
async fn fill(
    context: &mut StatementContext,
    target: &Target,
    plan: LogicalPlan,
    cancel: &CancellationToken,
) -> Result<u64> {
    let state = context.planner().state();
    let rows = run(&state, &cast_batches(plan, &target.schema())?).await?;
    gather(context, target, rows.map_err(Error::from).boxed(), cancel).await
}

/// Leaves rows, which have the target's columns, in the context; gives their number.
pub async fn gather(
    context: &mut StatementContext,
    target: &Target,
    rows: BatchStream,
    cancel: &CancellationToken,
) -> Result<u64> {
    let checked = target.clone();
    let mut first = 1;
    let check = move |batch: RecordBatch| {
        let fits = check_nulls(&checked, &batch, first);
        first += batch.num_rows() as u64;
        let fits = fits.and_then(|()| check_keys(&checked, &batch));
        std::future::ready(fits.and_then(|()| fit_lengths(&checked, batch)))
    };
    let mut rows = rows.and_then(check).boxed();
    if let Some(stream) = &target.stream {
        rows = checked_events(context, Arc::clone(stream), rows);
    }
    let id = &target.stored;
    let pending = Arc::clone(&context.pending);
    let before = pending.iter().find(|write| write.table == *id);
    let mut write = TableWrite { table: id.clone(), staged: None, batches: Vec::new(), held_bytes: 0 };
    while before.map_or(0, |before| before.held_bytes) + write.held_bytes <= HELD_BYTES {
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

/// Events that every view of the stream can take.
fn checked_events(context: &StatementContext, stream: Arc<Stream>, rows: BatchStream) -> BatchStream {
    let (ingest, snapshot) = (Arc::clone(&context.warehouse.ingest), Arc::clone(context.snapshot()));
    let checked = futures::stream::try_unfold((rows, 1), move |(mut rows, first)| {
        let (ingest, snapshot, stream) = (Arc::clone(&ingest), Arc::clone(&snapshot), Arc::clone(&stream));
        async move {
            let Some(batch) = rows.try_next().await? else { return Ok(None) };
            ingest.check(&snapshot, &stream, &batch, first).await?;
            let next = first + batch.num_rows() as u64;
            Ok::<_, Error>(Some((batch, (rows, next))))
        }
    });
    checked.boxed()
}

fn count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}

/// A new table can take its rows at once, since nobody can name it. Rows of one that others see wait beside it, and so
/// do those of a feature table, which have an order of their own.
fn new_staged(context: &StatementContext, target: &Target) -> Result<Staged> {
    let is_new = schema_of_table(&context.warehouse.catalog.snapshot(), &target.stored).is_none();
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
    let (target, plan) = plan_insert(context, insert, parameters).await?;
    let plan = insert_input(bind_parameters(plan, &parameters.values)?)?;
    fill(context, &target, plan, cancel).await
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
    match object.as_ref() {
        Object::Table(table) => Ok(Target::of_table(table)),
        Object::FeatureTable(table) if verb == INSERT || verb == COPY => Target::of_feature_table(table),
        Object::Stream(stream) if verb == INSERT || verb == COPY => {
            Target::of_stream(stream).map_err(|error| context.at(name, error))
        }
        other => {
            let target = format!("{} \"{}\"", other.kind().as_str(), other.name());
            let is_later = match other.kind() {
                ObjectKind::FeatureTable => true,
                ObjectKind::Stream => verb == DELETE,
                _ => false,
            };
            let refused = || Error::new(Kind::WrongObjectType, format!("cannot {} {target}", verb.to_lowercase()));
            let error = match other.kind() {
                _ if is_later => Error::not_supported(format!("{verb} {target}")),
                ObjectKind::Dataset => refused()
                    .with_detail("The rows of a dataset never change.")
                    .with_hint(format!("make a new version of it: CREATE OR REPLACE DATASET {} AS …", other.name())),
                _ => refused(),
            };
            Err(context.at(name, error))
        }
    }
}

/// Refuses texts that are too long for their columns. Blanks at the end do not count: they are cut.
fn fit_lengths(table: &Target, batch: RecordBatch) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for (column, array) in table.columns.iter().zip(&mut columns) {
        let (Some(max_length), Some(texts)) = (column.max_length, array.as_string_opt::<i32>()) else { continue };
        let end_of = |text: &str| usize::try_from(max_length).ok().and_then(|end| text.char_indices().nth(end));
        let is_long = |text: Option<&str>| text.is_some_and(|text| end_of(text).is_some());
        if !texts.iter().any(is_long) {
            continue;
        }
        let fit = |text: Option<&str>| match text.and_then(|text| Some((text, end_of(text)?.0))) {
            None => Ok(text.map(str::to_owned)),
            Some((text, end)) if text[end..].bytes().all(|byte| byte == b' ') => Ok(Some(text[..end].to_owned())),
            Some(_) => {
                Err(Error::new(Kind::StringTooLong, format!("value too long for type character varying({max_length})")))
            }
        };
        *array = Arc::new(texts.iter().map(fit).collect::<Result<StringArray>>()?);
    }
    RecordBatch::try_new(batch.schema(), columns)
        .map_err(|error| Error::internal("rows cut to length").with_source(error))
}

/// `first`: the number of the batch's first row in the call.
fn check_nulls(table: &Target, batch: &RecordBatch, first: u64) -> Result<()> {
    for (index, column) in table.columns.iter().enumerate() {
        let values = batch.column(index);
        if column.nullable || values.null_count() == 0 {
            continue;
        }
        let error = table.null_in(column);
        let place = (0..values.len()).find(|row| values.is_null(*row)).map(|row| first + row as u64);
        return Err(match (&table.stream, place) {
            (Some(_), Some(place)) => error.with_detail(format!("Event {place} has no time. None is stored.")),
            _ => error,
        });
    }
    Ok(())
}

/// Refuses join keys that the online store cannot take: once the rows are in the offline one it would be too late.
fn check_keys(table: &Target, batch: &RecordBatch) -> Result<()> {
    let keys: Vec<&ArrayRef> = table.join_keys.iter().map(|place| batch.column(*place)).collect();
    let most: usize = keys.iter().map(|key| most_key_bytes(key)).sum();
    if most <= u16::MAX.into() {
        return Ok(());
    }
    let keys = keys.into_iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
    for row in 0..batch.num_rows() {
        if let Some(key) = Key::encode(keys.iter().map(|values| values[row].as_ref())) {
            key.length()?;
        }
    }
    Ok(())
}

/// No value of the column takes more bytes in a key.
fn most_key_bytes(column: &ArrayRef) -> usize {
    let longest = |offsets: &[i32]| offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0);
    match column.data_type() {
        DataType::Utf8 => 2 * longest(column.as_string::<i32>().value_offsets()) + 2,
        DataType::Binary => 2 * longest(column.as_binary::<i32>().value_offsets()) + 2,
        _ => 16,
    }
}
