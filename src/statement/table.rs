//! Ordinary tables: `CREATE TABLE [AS]`, `INSERT`. Their rows are in the offline store.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use granary_catalog::{Change, Column, ObjectKind, Table};
use granary_sql::SqlText;
use granary_sql::name::fold;
use sqlparser::ast;

use super::context::{NewObject, StatementContext, TableWrite};
use super::execute::Parameters;
use super::{select, types, view};
use crate::engine::{LogicalPlan, bind_parameters, cast_batches, insert_input, max_length, run, table_id};
use crate::error::{Error, Kind, Result};
use crate::row::normalize_type;

/// `CREATE TABLE t (…)`; gives the number of rows for `CREATE TABLE t AS …`.
pub async fn create(context: &mut StatementContext, create: &ast::CreateTable, statement: &str) -> Result<Option<u64>> {
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
        None => declared(context, &create.columns)?,
        Some(query) => query
            .columns
            .iter()
            .map(|column| match normalize_type(&column.data_type) {
                Some(data_type) => Ok(Column::new(&column.name, data_type, true)),
                None => Err(Error::not_supported(format!("a table column of type {}", column.data_type))),
            })
            .collect::<Result<_>>()?,
    };
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(Kind::DuplicateColumn, format!("column \"{}\" specified more than once", pair[0])));
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::Table,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: statement.to_owned(),
    })?;
    let Some(header) = header else { return Ok(None) };
    let table = Table { header, columns, storage_id: new_storage_id()? };
    let rows = match query {
        None => None,
        Some(query) => Some(fill(context, &table, query.plan).await?),
    };
    context.changes.push(Change::put(table));
    Ok(rows)
}

/// A number that no table has had: drawn, because tables of concurrent transactions must not meet.
fn new_storage_id() -> Result<u64> {
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

fn schema_of(table: &Table) -> SchemaRef {
    let field = |column: &Column| Field::new(&column.name, column.data_type.clone(), column.nullable);
    Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()))
}

/// The columns of the stored table of that name, if a table of the catalog has it.
pub fn schema_of_table(snapshot: &granary_catalog::Snapshot, stored: &str) -> Option<SchemaRef> {
    snapshot.all::<Table>().into_iter().find(|table| table_id(table) == stored).map(schema_of)
}

async fn fill(context: &mut StatementContext, table: &Table, plan: LogicalPlan) -> Result<u64> {
    let schema = schema_of(table);
    let state = context.planner().state();
    let rows = run(&state, &cast_batches(plan, &schema)?).await?;
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    check_nulls(table, &batches)?;
    let batches = batches.into_iter().map(|batch| fit_lengths(table, batch)).collect::<Result<Vec<_>>>()?;
    let n_rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    context.writes.push(TableWrite { table: table_id(table), batches });
    Ok(n_rows)
}

/// `INSERT INTO t …`; gives the number of rows.
pub async fn insert(context: &mut StatementContext, insert: &ast::Insert, parameters: &Parameters) -> Result<u64> {
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(Error::not_supported("INSERT into something other than a table"));
    };
    let table = writable(context, name)?;
    let insert = ast::Statement::Insert(with_columns(context, insert, &table)?);
    let plan = select::plan_query(context, insert, &parameters.types()).await?;
    let plan = insert_input(bind_parameters(plan, &parameters.values)?)?;
    fill(context, &table, plan).await
}

/// An INSERT as it is to be planned. Errors: its target cannot be written to.
pub fn checked_insert(context: &StatementContext, insert: &ast::Insert) -> Result<ast::Insert> {
    match &insert.table {
        ast::TableObject::TableName(name) => with_columns(context, insert, &writable(context, name)?),
        _ => Ok(insert.clone()),
    }
}

/// Rows of VALUES may be shorter than the table: its last columns are NULL then.
fn with_columns(context: &StatementContext, insert: &ast::Insert, table: &Table) -> Result<ast::Insert> {
    for (unsupported, what) in
        [(insert.on.is_some(), "INSERT … ON CONFLICT"), (insert.returning.is_some(), "INSERT … RETURNING")]
    {
        if unsupported {
            return Err(Error::not_supported(what));
        }
    }
    let mut insert = insert.clone();
    let Some(ast::SetExpr::Values(values)) = insert.source.as_ref().map(|source| source.body.as_ref()) else {
        return Ok(insert);
    };
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

/// The table of that name; an error that says what else it is.
pub fn writable(context: &StatementContext, name: &ast::ObjectName) -> Result<Table> {
    let reference = crate::engine::table_reference(name)
        .ok_or_else(|| Error::new(Kind::InvalidName, format!("\"{name}\" is not a table's name")))?;
    let found = context.scope.relation(&reference)?;
    let object = found.ok_or_else(|| {
        let error = Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
        context.at(name, error)
    })?;
    match object.as_ref() {
        granary_catalog::Object::Table(table) => Ok(table.clone()),
        other if matches!(other.kind(), ObjectKind::Stream | ObjectKind::FeatureTable) => {
            Err(context.at(name, Error::not_supported(format!("writing to a {}", other.kind().as_str()))))
        }
        other => {
            let message = format!("cannot write to the {} \"{}\"", other.kind().as_str(), other.name());
            Err(context.at(name, Error::new(Kind::WrongObjectType, message)))
        }
    }
}

/// Refuses texts that are too long for their columns. Blanks at the end do not count: they are cut.
fn fit_lengths(table: &Table, batch: RecordBatch) -> Result<RecordBatch> {
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
            Some(_) => Err(Error::new(
                Kind::StringTooLong,
                format!("value too long for type character varying({max_length})"),
            )),
        };
        *array = Arc::new(texts.iter().map(fit).collect::<Result<StringArray>>()?);
    }
    RecordBatch::try_new(batch.schema(), columns)
        .map_err(|error| Error::internal("rows cut to length").with_source(error))
}

fn check_nulls(table: &Table, batches: &[RecordBatch]) -> Result<()> {
    for (index, column) in table.columns.iter().enumerate() {
        if !column.nullable && batches.iter().any(|batch| batch.column(index).null_count() > 0) {
            return Err(Error::new(
                Kind::NotNullViolation,
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, table.header.name
                ),
            ));
        }
    }
    Ok(())
}
