//! EXPLAIN reads like PostgreSQL's. One task a query, so that plans are the same on every machine.

use tokio_postgres::{Client, SimpleQueryMessage};

const DECLARATIONS: &str = "
    CREATE TABLE labels AS SELECT i % 10 AS k, to_timestamp(1704067200 + i * 3600) AS ts FROM generate_series(1, 100) AS g(i);
    CREATE TABLE raw AS SELECT i % 10 AS k, to_timestamp(1704067200 + i * 600) AS ts, i AS v FROM generate_series(1, 500) AS g(i);
    CREATE ENTITY thing (k bigint);
    CREATE SOURCE source AS SELECT * FROM raw TIMESTAMP ts;
    CREATE FEATURE VIEW sums ENTITY thing TIMESTAMP ts FEATURES (sum(v) OVER (LAST '1 day') AS total)
      WITH (trigger = manual) AS SELECT * FROM source;
    SET from_source = on;";

/// The lines of a plan, without the figures that vary.
async fn plan(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    let lines = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let mut plan = String::new();
    for line in lines {
        let mut number = false;
        for character in line.chars() {
            match character {
                '0'..='9' | '.' if number => {}
                _ => {
                    plan.push(character);
                    // a time in milliseconds, a size in kilobytes
                    number = plan.ends_with("time=")
                        || plan.ends_with("Time: ")
                        || plan.ends_with("Memory: ")
                        || plan.ends_with("Read: ");
                }
            }
        }
        plan.push('\n');
    }
    plan
}

async fn check(client: &Client, sql: &str, expected: &str) {
    let found = plan(client, sql).await;
    assert_eq!(found.trim(), expected.trim(), "\n{sql}\n{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_reads_like_postgresql() {
    let server = crate::server_with("parallelism = 1");
    let client = server.connect().await;
    client.batch_execute(DECLARATIONS).await.expect("declares");
    check(&client, "EXPLAIN (COSTS OFF) SELECT k, ts FROM labels WHERE k > 3 ORDER BY ts DESC, k LIMIT 5", "").await;
}
