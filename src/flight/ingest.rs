//! Rows of a client into a table, which may be made for them: CREATE TABLE and the way of COPY … FROM STDIN.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use futures::StreamExt;
use granary_sql::name::quote as quote_name;

use super::parameters::broken;
use super::service::{prepare, run_text};
use super::sessions::FlightSession;
use super::types::{cast, sql_type};
use crate::error::{Error, Kind, Result};
use crate::session::{CallRows, CopyIn, DeclaredTypes, Response};

/// Gives the number of rows.
pub async fn ingest(
    session: &Arc<FlightSession>,
    command: CommandStatementIngest,
    mut batches: FlightRecordBatchStream,
) -> Result<i64> {
    if command.temporary {
        return Err(Error::not_supported("to ingest into a temporary table"));
    }
    let first = batches.next().await.transpose().map_err(broken)?;
    let schema = match &first {
        Some(batch) => batch.schema(),
        None => Arc::clone(
            batches.schema().ok_or_else(|| Error::new(Kind::ProtocolViolation, "rows came without their schema"))?,
        ),
    };
    let names = [command.catalog.as_deref(), command.schema.as_deref(), Some(command.table.as_str())];
    let names: Vec<String> = names.into_iter().flatten().filter(|name| !name.is_empty()).map(quote_name).collect();
    let table = names.join(".");
    let options = command.table_definition_options.unwrap_or_default();
    let batches = futures::stream::iter(first.map(Ok)).chain(batches).boxed();
    all_or_nothing(session, async {
        make_table(session, &table, &schema, options.if_not_exist, options.if_exists).await?;
        let columns: Vec<String> = schema.fields().iter().map(|field| quote_name(field.name())).collect();
        let sql = format!("COPY {table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
        let prepared = prepare(session, &sql).await?;
        let token = session.closed.child_token();
        let mut session = session.session.lock().await;
        let copied = match session.execute(&prepared, Vec::new(), &token).await? {
            Response::CopyIn(copy) => {
                let target = Target::of(&copy);
                let mut next = 1;
                let rows = batches.map(move |batch| {
                    let rows = target.rows(&batch.map_err(broken)?)?;
                    let numbers = next..next + rows.num_rows() as u64;
                    next = numbers.end;
                    Ok(CallRows { rows, numbers: numbers.collect() })
                });
                session.copy_in(copy, rows.boxed(), token).await?
            }
            _ => return Err(Error::internal("a COPY asked for no rows")),
        };
        copied
            .rsplit(' ')
            .next()
            .and_then(|count| count.parse().ok())
            .ok_or_else(|| Error::internal("a COPY did not count its rows"))
    })
    .await
}

/// Makes the table as the client wants it, or finds it.
async fn make_table(
    session: &Arc<FlightSession>,
    table: &str,
    schema: &SchemaRef,
    if_not_exist: i32,
    if_exists: i32,
) -> Result<()> {
    let exists = match prepare_in_peace(session, &format!("SELECT FROM {table} LIMIT 0")).await {
        Ok(()) => true,
        Err(error) if error.kind() == Kind::UndefinedTable => false,
        Err(error) => return Err(error),
    };
    let (if_not_exist, if_exists) =
        (TableNotExistOption::try_from(if_not_exist), TableExistsOption::try_from(if_exists));
    match (exists, if_not_exist, if_exists) {
        (true, _, Ok(TableExistsOption::Append)) => return Ok(()),
        (true, _, Ok(TableExistsOption::Replace)) => {
            run_text(session, &format!("DROP TABLE {table}")).await?;
        }
        (true, ..) => {
            return Err(Error::new(Kind::DuplicateTable, format!("relation {table} already exists")));
        }
        (false, Ok(TableNotExistOption::Create), _) => {}
        (false, ..) => return Err(Error::new(Kind::UndefinedTable, format!("relation {table} does not exist"))),
    }
    let columns = schema.fields().iter().map(|field| {
        let constraint = if field.is_nullable() { "" } else { " NOT NULL" };
        Ok(format!("{} {}{constraint}", quote_name(field.name()), sql_type(field.data_type())?))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    run_text(session, &format!("CREATE TABLE {table} ({})", columns.join(", "))).await?;
    Ok(())
}

/// Whether a text can be prepared, without ending a transaction if not.
async fn prepare_in_peace(session: &Arc<FlightSession>, sql: &str) -> Result<()> {
    session.session.lock().await.prepare(sql, DeclaredTypes::none()).await.map(drop)
}

/// Does work of several statements in one transaction: that of the client, or one of its own.
pub async fn all_or_nothing<T>(session: &Arc<FlightSession>, work: impl Future<Output = Result<T>>) -> Result<T> {
    let is_own = session.state().transaction.is_none();
    if is_own {
        run_text(session, "BEGIN").await?;
    }
    let done = work.await;
    if done.is_err() {
        session.session.lock().await.fail_transaction();
    }
    if is_own {
        let ending = run_text(session, if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
        if done.is_ok() {
            ending?;
        }
    }
    done
}

/// The columns of a table that rows are brought into.
struct Target {
    schema: SchemaRef,
    /// by column of the rows, its place
    places: Vec<usize>,
}

impl Target {
    fn of(copy: &CopyIn) -> Target {
        Target { schema: copy.schema(), places: copy.columns.clone() }
    }

    fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        if batch.num_columns() != self.places.len() {
            return Err(Error::new(Kind::ProtocolViolation, "rows of different columns came in one call"));
        }
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for (column, place) in batch.columns().iter().zip(&self.places) {
            columns[*place] = Some(cast(column, self.schema.field(*place).data_type())?);
        }
        let columns = columns.into_iter().zip(self.schema.fields()).map(|(column, field)| {
            // what is not given is NULL
            column.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        });
        RecordBatch::try_new(Arc::clone(&self.schema), columns.collect())
            .map_err(|error| Error::internal("ingested rows do not fit their table").with_source(error))
    }
}
