//! EXPLAIN reads like PostgreSQL's. One task a query, so that plans are the same on every machine.
//!
//! `explain.txt` has the queries and their plans; `EXPLAIN_BLESS=1` writes what the server answers: read the diff.

use tokio_postgres::{Client, SimpleQueryMessage};

const DECLARATIONS: &str = "
    CREATE TABLE labels AS
      SELECT i % 10 AS k, to_timestamp(1704067200 + i * 3600) AS ts FROM generate_series(1, 100) AS g(i);
    CREATE TABLE raw AS
      SELECT i % 10 AS k, to_timestamp(1704067200 + i * 600) AS ts, i AS v FROM generate_series(1, 500) AS g(i);
    CREATE ENTITY thing (k bigint);
    CREATE SOURCE source AS SELECT * FROM raw TIMESTAMP ts;
    CREATE FEATURE VIEW sums ENTITY thing TIMESTAMP ts FEATURES (sum(v) OVER (LAST '1 day') AS total)
      WITH (trigger = manual) AS SELECT * FROM source;";

const EXPECTED: &str = include_str!("explain.txt");

/// A plan's text without the figures that vary: times, and sizes of memory and files.
fn steady(line: &str) -> String {
    let is_figure = |text: &str| {
        ["time=", "Time: ", "Time\": ", "Memory: ", "Read: ", "Read\": "].iter().any(|end| text.ends_with(end))
    };
    let mut steady = String::new();
    let mut in_figure = false;
    for character in line.chars() {
        in_figure &= character.is_ascii_digit() || character == '.';
        if !in_figure {
            steady.push(character);
            in_figure = is_figure(&steady);
        }
    }
    steady
}

async fn plan(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    rows.flat_map(str::lines).map(|line| steady(line) + "\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_reads_like_postgresql() {
    let server = crate::server_with("parallelism = 1");
    let client = server.connect().await;
    client.batch_execute(DECLARATIONS).await.expect("declares");
    let files = tempfile::tempdir().expect("a folder");
    let folder = files.path().display();
    for sql in [
        format!("COPY (SELECT * FROM raw ORDER BY v) TO '{folder}/raw.parquet'"),
        format!("COPY raw TO '{folder}/raw.csv' (HEADER)"),
        format!("CREATE SOURCE parquet FROM PARQUET '{folder}/*.parquet'"),
        format!("CREATE SOURCE csv FROM CSV '{folder}/raw.csv'"),
        "REFRESH FEATURE VIEW sums".to_owned(),
    ] {
        client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    }
    let mut found = String::new();
    for sql in EXPECTED.lines().filter(|line| line.starts_with("EXPLAIN")) {
        found += &format!("{sql}\n{}\n", plan(&client, sql).await);
    }
    if std::env::var_os("EXPLAIN_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/explain.txt");
        std::fs::write(path, &found).expect("the file of plans");
    } else {
        assert_eq!(found, EXPECTED, "{found}");
    }
}
