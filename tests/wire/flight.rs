//! Flight SQL from a client's side.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetTables, CommandStatementIngest, EndTransaction, TableDefinitionOptions, TableExistsOption,
    TableNotExistOption,
};
use arrow_flight::{Action, FlightInfo};
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

use crate::client::{Client, Target};

type Flight = FlightSqlServiceClient<Channel>;

async fn connect(address: &str) -> Flight {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    FlightSqlServiceClient::new(endpoint.connect().await.expect("the server listens"))
}

async fn login(address: &str, target: &Target) -> Flight {
    let mut client = connect(address).await;
    client.handshake(&target.user, &target.password).await.expect("the login");
    client
}

async fn fetched(client: &mut Flight, info: FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let rows = client.do_get(endpoint.ticket.expect("a ticket")).await.map_err(FlightError::from)?;
        batches.extend(rows.try_collect::<Vec<_>>().await?);
    }
    Ok(batches)
}

async fn rows(client: &mut Flight, sql: &str) -> Result<Vec<RecordBatch>, String> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| error.to_string())?;
    fetched(client, info).await.map_err(|error| error.to_string())
}

async fn number(client: &mut Flight, sql: &str) -> i64 {
    let column = rows(client, sql).await.expect("rows")[0].column(0).clone();
    cast(&column, &DataType::Int64).expect("a number").as_primitive::<Int64Type>().value(0)
}

fn refused<T>(result: Result<T, impl std::fmt::Display>, code: &str) {
    let error = result.err().expect("it is refused").to_string();
    assert!(error.contains(code), "{code}: {error}");
}

pub async fn who_is_not_known_is_refused(address: &str, target: &Target) {
    let mut nobody = connect(address).await;
    refused(nobody.execute("SELECT 1".to_owned(), None).await, "28000");
    let mut wrong = connect(address).await;
    let known = wrong.handshake(&target.user, "wrong").await.expect_err("refused").to_string();
    let unknown = wrong.handshake("nobody", "wrong").await.expect_err("refused").to_string();
    assert!(known.contains("28P01"), "{known}");
    assert_eq!(known.replace(&target.user, "nobody"), unknown);
    wrong.set_header("database", "nowhere");
    refused(wrong.handshake(&target.user, &target.password).await, "3D000");
    wrong.set_token("made up".to_owned());
    refused(wrong.execute("SELECT 1".to_owned(), None).await, "28000");
    // a session that was closed is nobody's
    let mut client = login(address, target).await;
    assert_eq!(number(&mut client, "SELECT 1").await, 1);
    let close = Action { r#type: "CloseSession".to_owned(), body: Default::default() };
    client.do_action(tonic::Request::new(close)).await.expect("closes");
    refused(client.execute("SELECT 1".to_owned(), None).await, "28000");
}

pub async fn statements_are_answered_in_arrow(address: &str, target: &Target) {
    let mut client = login(address, target).await;
    let sql = "SELECT 'x' AS t, 1::int8 AS i, timestamptz '2024-01-01 00:00:00+00' AS z, ARRAY['a'] AS l";
    let batch = rows(&mut client, sql).await.expect("rows").remove(0);
    let types: Vec<String> = batch.schema().fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types[..3], ["Utf8", "Int64", "Timestamp(µs, \"UTC\")"]);
    assert!(matches!(batch.column(3).data_type(), DataType::List(_)));
    let many = rows(&mut client, "SELECT value FROM generate_series(1, 300000) AS g (value)").await.expect("rows");
    assert_eq!(many.iter().map(RecordBatch::num_rows).sum::<usize>(), 300_000);
    // a definition is carried out though nobody fetches what it gives
    client.execute("CREATE TABLE flight_t (a bigint, b text)".to_owned(), None).await.expect("creates");
    let inserted = client.execute_update("INSERT INTO flight_t VALUES (1, 'one'), (2, 'two')".to_owned(), None).await;
    assert_eq!(inserted.expect("inserts"), 2);
    for (sql, code) in [
        ("SELEC", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("COPY flight_t TO STDOUT", "0A000"),
        ("SELECT $1::int8", "42P02"),
    ] {
        refused(rows(&mut client, sql).await, code);
    }
    assert_eq!(number(&mut client, "SELECT count(*) FROM flight_t").await, 2);
    // a ticket is good once
    let info = client.execute("SELECT 1".to_owned(), None).await.expect("runs");
    fetched(&mut client, info.clone()).await.expect("rows");
    refused(fetched(&mut client, info).await, "34000");
}

fn parameters(values: &[i64], texts: &[&str]) -> RecordBatch {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)]);
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(Int64Array::from(values.to_vec())), Arc::new(StringArray::from(texts.to_vec()))];
    RecordBatch::try_new(Arc::new(schema), columns).expect("a batch")
}

pub async fn statements_are_prepared(address: &str, target: &Target) {
    let mut client = login(address, target).await;
    client.execute("CREATE TABLE flight_p (a bigint, b text)".to_owned(), None).await.expect("creates");
    let mut insert = client.prepare("INSERT INTO flight_p VALUES ($1, $2)".to_owned(), None).await.expect("prepares");
    assert_eq!(insert.parameter_schema().expect("a schema").fields().len(), 2);
    insert.set_parameters(parameters(&[1, 2, 3], &["one", "two", "three"])).expect("fits");
    assert_eq!(insert.execute_update().await.expect("inserts"), 3);
    let sql = "SELECT a FROM flight_p WHERE a > $1 AND b <> $2 ORDER BY a";
    let mut select = client.prepare(sql.to_owned(), None).await.expect("prepares");
    assert_eq!(select.dataset_schema().expect("a schema").fields().len(), 1);
    select.set_parameters(parameters(&[1], &["two"])).expect("fits");
    let info = select.execute().await.expect("runs");
    let found = fetched(&mut client, info).await.expect("rows");
    assert_eq!(found[0].column(0).as_primitive::<Int64Type>().values(), &[3]);
    select.close().await.expect("closes");
}

pub async fn transactions_are_all_or_nothing(address: &str, target: &Target) {
    let mut client = login(address, target).await;
    client.execute("CREATE TABLE flight_x (a bigint)".to_owned(), None).await.expect("creates");
    for (end, count) in [(EndTransaction::Rollback, 0), (EndTransaction::Commit, 1)] {
        let id = client.begin_transaction().await.expect("begins");
        refused(client.begin_transaction().await, "25001");
        client.execute_update("INSERT INTO flight_x VALUES (1)".to_owned(), Some(id.clone())).await.expect("inserts");
        // what says no transaction is none of it
        refused(client.execute("SELECT 1".to_owned(), None).await, "25001");
        client.end_transaction(id.clone(), end).await.expect("ends");
        refused(client.execute("SELECT 1".to_owned(), Some(id)).await, "25P01");
        assert_eq!(number(&mut client, "SELECT count(*) FROM flight_x").await, count);
    }
}

fn command(table: &str, if_not_exist: TableNotExistOption, if_exists: TableExistsOption) -> CommandStatementIngest {
    let options = TableDefinitionOptions { if_not_exist: if_not_exist as i32, if_exists: if_exists as i32 };
    CommandStatementIngest {
        table_definition_options: Some(options),
        table: table.to_owned(),
        schema: None,
        catalog: None,
        temporary: false,
        transaction_id: None,
        options: Default::default(),
    }
}

pub async fn tables_are_made_of_rows(address: &str, target: &Target) {
    let mut client = login(address, target).await;
    let batch = || futures::stream::iter([Ok(parameters(&[1, 2], &["one", "two"])), Ok(parameters(&[3], &["three"]))]);
    let (create, keep) = (TableNotExistOption::Create, TableNotExistOption::Fail);
    refused(client.execute_ingest(command("flight_i", keep, TableExistsOption::Append), batch()).await, "42P01");
    for (options, rows) in [
        (command("flight_i", create, TableExistsOption::Fail), 3),
        (command("flight_i", keep, TableExistsOption::Append), 6),
        (command("flight_i", create, TableExistsOption::Replace), 3),
    ] {
        assert_eq!(client.execute_ingest(options, batch()).await.expect("ingests"), 3);
        assert_eq!(number(&mut client, "SELECT count(*) FROM flight_i").await, rows);
    }
    refused(client.execute_ingest(command("flight_i", create, TableExistsOption::Fail), batch()).await, "42P07");
    assert_eq!(number(&mut client, "SELECT count(DISTINCT a) FROM flight_i").await, 3);
    // what does not fit leaves nothing, not even the table
    client.execute("CREATE TABLE flight_n (a bigint NOT NULL, b bigint)".to_owned(), None).await.expect("creates");
    refused(client.execute_ingest(command("flight_n", keep, TableExistsOption::Append), batch()).await, "22P02");
    assert_eq!(number(&mut client, "SELECT count(*) FROM flight_n").await, 0);
    let tables = CommandGetTables {
        table_name_filter_pattern: Some("flight_i".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(tables).await.expect("asks");
    let found = fetched(&mut client, info).await.expect("rows");
    assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
    for info in [client.get_catalogs().await, client.get_table_types().await, client.get_sql_info(Vec::new()).await] {
        assert!(!fetched(&mut client, info.expect("asks")).await.expect("rows").is_empty());
    }
}

pub async fn policies_hold(address: &str, target: &Target) {
    let mut owner = login(address, target).await;
    for sql in [
        "CREATE USER flight_ann PASSWORD 'x'",
        "CREATE TABLE flight_policed (a bigint, b text)",
        "INSERT INTO flight_policed VALUES (1, 'flight_ann'), (2, 'other')",
        "CREATE POLICY own ON flight_policed USING (b = current_user)",
        "ALTER TABLE flight_policed ENABLE ROW LEVEL SECURITY",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON flight_policed TO flight_ann",
    ] {
        owner.execute(sql.to_owned(), None).await.expect(sql);
    }
    let mut ann = connect(address).await;
    ann.set_header("database", &target.database);
    ann.handshake("flight_ann", "x").await.expect("the login");
    assert_eq!(number(&mut ann, "SELECT count(*) FROM flight_policed").await, 1);
    assert_eq!(number(&mut ann, "SELECT max(1 / (a - 2)) FROM flight_policed").await, -1);
    let sql = "SELECT count(*) FROM flight_policed WHERE a > $1 AND b <> $2";
    let mut select = ann.prepare(sql.to_owned(), None).await.expect("prepares");
    select.set_parameters(parameters(&[0], &["x"])).expect("fits");
    let info = select.execute().await.expect("runs");
    assert_eq!(fetched(&mut ann, info).await.expect("rows")[0].column(0).as_primitive::<Int64Type>().values(), &[1]);
    refused(ann.execute_update("INSERT INTO flight_policed VALUES (3, 'other')".to_owned(), None).await, "42501");
    let mut insert =
        ann.prepare("INSERT INTO flight_policed VALUES ($1, $2)".to_owned(), None).await.expect("prepares");
    insert.set_parameters(parameters(&[3], &["other"])).expect("fits");
    refused(insert.execute_update().await, "42501");
    let ingest = command("flight_policed", TableNotExistOption::Fail, TableExistsOption::Append);
    let batch = futures::stream::iter([Ok(parameters(&[3], &["flight_ann"]))]);
    refused(ann.execute_ingest(ingest, batch).await, "0A000");
    assert_eq!(ann.execute_update("DELETE FROM flight_policed".to_owned(), None).await.expect("deletes"), 1);
    assert_eq!(number(&mut owner, "SELECT count(*) FROM flight_policed").await, 1);
}

pub async fn sessions_are_seen_and_ended(address: &str, target: &Target) {
    let mut client = login(address, target).await;
    let process_id = number(&mut client, "SELECT pg_backend_pid()::int8").await;
    let mut watcher = Client::login(target).await;
    let seen = watcher.query(&format!("SELECT usename FROM pg_stat_activity WHERE pid = {process_id}")).await;
    assert_eq!(seen[1], format!("D {}", target.user));
    assert_eq!(watcher.query(&format!("SELECT pg_terminate_backend({process_id})")).await[1], "D t");
    refused(client.execute("SELECT 1".to_owned(), None).await, "28000");
}
