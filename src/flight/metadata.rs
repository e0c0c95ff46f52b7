//! What there is, for clients that ask by the calls of Flight SQL instead of by SQL: answered out of information_schema,
//! with the rights of the session.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables, SqlInfo,
    SqlSupportedTransaction,
};
use futures::TryStreamExt;
use granary_sql::name::{quote as quote_name, quote_literal};

use super::service::{Answer, run_text};
use super::sessions::FlightSession;
use super::types::plain_schema;
use crate::error::{Error, Result};
use crate::session::DeclaredTypes;

fn built(batch: std::result::Result<RecordBatch, arrow_flight::error::FlightError>) -> Result<RecordBatch> {
    batch.map_err(|error| Error::internal("rows of the catalog").with_source(error))
}

/// The rows of a query whose columns are all texts; NULL is empty.
async fn texts(session: &Arc<FlightSession>, sql: &str) -> Result<Vec<Vec<String>>> {
    let Answer::Rows(_, rows, _) = run_text(session, sql).await? else {
        return Err(Error::internal("a question about the catalog has no rows"));
    };
    let batches: Vec<RecordBatch> = rows.try_collect().await?;
    let mut texts = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            let text = |column: &arrow::array::ArrayRef| {
                let column = column.as_string_opt::<i32>();
                column
                    .filter(|column| column.is_valid(row))
                    .map_or_else(String::new, |column| column.value(row).to_owned())
            };
            texts.push(batch.columns().iter().map(text).collect());
        }
    }
    Ok(texts)
}

/// `AND column LIKE pattern`, for what is said.
fn like(column: &str, pattern: Option<&str>) -> String {
    pattern.map_or_else(String::new, |pattern| format!(" AND {column} LIKE {}", quote_literal(pattern)))
}

pub async fn catalogs(session: &Arc<FlightSession>, query: CommandGetCatalogs) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for row in texts(session, "SELECT current_database()").await? {
        builder.append(row[0].clone());
    }
    built(builder.build().map_err(Into::into))
}

pub async fn schemas(session: &Arc<FlightSession>, query: CommandGetDbSchemas) -> Result<RecordBatch> {
    let pattern = like("schema_name", query.db_schema_filter_pattern.as_deref());
    let sql =
        format!("SELECT catalog_name::text, schema_name::text FROM information_schema.schemata WHERE true{pattern}");
    let mut builder = query.into_builder();
    for row in texts(session, &sql).await? {
        builder.append(&row[0], &row[1]);
    }
    built(builder.build().map_err(Into::into))
}

pub async fn tables(session: &Arc<FlightSession>, query: CommandGetTables) -> Result<RecordBatch> {
    let patterns = like("table_schema", query.db_schema_filter_pattern.as_deref())
        + &like("table_name", query.table_name_filter_pattern.as_deref());
    let sql = format!(
        "SELECT table_catalog::text, table_schema::text, table_name::text, table_type::text \
         FROM information_schema.tables WHERE true{patterns}"
    );
    let include_schema = query.include_schema;
    let mut builder = query.into_builder();
    for row in texts(session, &sql).await? {
        let schema = match include_schema {
            true => columns_of(session, &row[1], &row[2]).await,
            false => Arc::new(Schema::empty()),
        };
        let appended = builder.append(&row[0], &row[1], &row[2], &row[3], &schema);
        appended.map_err(|error| Error::internal("rows of the catalog").with_source(error))?;
    }
    built(builder.build().map_err(Into::into))
}

/// The columns of a relation; none of one that cannot be read as it is.
async fn columns_of(session: &Arc<FlightSession>, schema: &str, table: &str) -> SchemaRef {
    let sql = format!("SELECT * FROM {}.{}", quote_name(schema), quote_name(table));
    let prepared = session.session.lock().await.prepare(&sql, DeclaredTypes::none()).await;
    let columns = prepared.ok().and_then(|prepared| prepared.description().columns.clone());
    columns.map_or_else(|| Arc::new(Schema::empty()), |columns| plain_schema(&crate::engine::with_lists(&columns)))
}

pub async fn table_types(session: &Arc<FlightSession>, query: CommandGetTableTypes) -> Result<RecordBatch> {
    let mut builder = query.into_builder();
    for row in texts(session, "SELECT DISTINCT table_type::text FROM information_schema.tables").await? {
        builder.append(&row[0]);
    }
    built(builder.build().map_err(Into::into))
}

pub fn primary_keys_schema() -> Schema {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        text("key_name", true),
        Field::new("key_sequence", DataType::Int32, false),
    ])
}

pub async fn primary_keys(session: &Arc<FlightSession>, query: CommandGetPrimaryKeys) -> Result<RecordBatch> {
    let is_schema = query.db_schema.as_deref();
    let is_schema = is_schema.map_or_else(String::new, |name| format!(" AND c.table_schema = {}", quote_literal(name)));
    let sql = format!(
        "SELECT k.table_catalog::text, k.table_schema::text, k.table_name::text, k.column_name::text, \
         k.constraint_name::text FROM information_schema.table_constraints AS c \
         JOIN information_schema.key_column_usage AS k \
         ON c.constraint_schema = k.constraint_schema AND c.constraint_name = k.constraint_name \
         WHERE c.constraint_type = 'PRIMARY KEY' AND c.table_name = {}{is_schema} ORDER BY k.ordinal_position",
        quote_literal(&query.table)
    );
    let rows = texts(session, &sql).await?;
    let column = |at: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row[at]))) as _;
    let numbers = Int32Array::from_iter_values((1..).take(rows.len()));
    let columns = vec![column(0), column(1), column(2), column(3), column(4), Arc::new(numbers) as _];
    RecordBatch::try_new(Arc::new(primary_keys_schema()), columns)
        .map_err(|error: ArrowError| Error::internal("rows of keys").with_source(error))
}

/// What the server can.
pub fn sql_info() -> Result<SqlInfoData> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Granary");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    info.append(SqlInfo::FlightSqlServerReadOnly, false);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::Transaction as i32);
    info.append(SqlInfo::FlightSqlServerCancel, true);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, true);
    info.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, true);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, true);
    info.append(SqlInfo::SqlDdlTable, true);
    info.build().map_err(|error| Error::internal("what the server can").with_source(error))
}
