//! kill -9 in the middle of runs that are profiled, some of which are held: no row is ever counted twice, and of a held run
//! nothing is ever seen.

use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const KILLS: u64 = 15;
const DAYS: i64 = 20;
const ROWS_OF_A_DAY: i64 = 48;
/// How long a server runs at most before it is killed; more on a machine where nothing gets done in that.
const LONGEST_RUN_MS: u64 = 400;

fn day(number: i64) -> String {
    granary_sql::timestamp::format_timestamp(1_704_067_200_000_000 + number * 86_400_000_000)
}

async fn declare(client: &Client) {
    let sql = format!(
        "CREATE TABLE events (k text, ts timestamptz, v bigint);
         INSERT INTO events SELECT 'k' || i % 7, timestamptz '2024-01-01' + i * interval '30 minutes', i
           FROM generate_series(0, {} - 1) AS g (i);
         CREATE ENTITY thing (k text);
         CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts;
         CREATE FEATURE VIEW served ENTITY thing TIMESTAMP ts WITH (start = '2024-01-01') AS SELECT k, ts, v FROM source;
         CREATE FEATURE VIEW held ENTITY thing TIMESTAMP ts WITH (start = '2024-01-01') AS SELECT k, ts, v FROM source;
         CREATE EXPECTATION all_there ON served CHECK (rows() = {ROWS_OF_A_DAY}) ON FAILURE HOLD;
         CREATE EXPECTATION never ON held CHECK (max(v) < 0) ON FAILURE HOLD;",
        DAYS * ROWS_OF_A_DAY
    );
    client.batch_execute(&sql).await.expect("declares");
}

/// Refreshes day after day, each day of both views; gives how many were acknowledged.
async fn refresh(client: Client, done: i64) -> i64 {
    let mut acknowledged = 0;
    for number in done..DAYS {
        let range = format!("FROM '{}' TO '{}' OVERWRITE", day(number), day(number + 1));
        let held = client.batch_execute(&format!("REFRESH FEATURE VIEW held {range}")).await;
        match held.expect_err("it is held").as_db_error() {
            Some(error) => assert_eq!(error.code().code(), "23514", "{error:?}"),
            None => return acknowledged,
        }
        if client.batch_execute(&format!("REFRESH FEATURE VIEW served {range}")).await.is_err() {
            return acknowledged;
        }
        acknowledged += 1;
    }
    acknowledged
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

async fn check(client: &Client, done: i64) {
    assert_eq!(number(client, "SELECT count(*) FROM held").await, 0);
    let error = client.query("SELECT * FROM held FOR SYSTEM_TIME AS OF '2024-01-02'", &[]).await;
    assert_eq!(error.expect_err("not materialized").code().expect("an SQLSTATE").code(), "55000");
    assert_eq!(
        number(client, "SELECT count(*) FROM granary.quality WHERE view = 'held' AND state = 'succeeded'").await,
        0
    );
    // every run that counts has its figures, once
    let sql = format!(
        "SELECT count(*) FROM granary.jobs j LEFT JOIN granary.quality_of_runs q ON q.job = j.id
         WHERE j.feature_view = 'served' AND j.state = 'succeeded' AND q.rows IS DISTINCT FROM {ROWS_OF_A_DAY}"
    );
    assert_eq!(number(client, &sql).await, 0);
    if done > 0 {
        let (from, to) = (day(0), day(done));
        let sql = format!("SELECT baseline_rows FROM granary.drift('served', '{from}', '{to}', '{from}', '{to}')");
        assert_eq!(number(client, &sql).await, done * ROWS_OF_A_DAY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_counted_twice_and_nothing_of_a_held_run_is_seen() {
    let (folder, process, client) = Process::new_with_client().await;
    declare(&client).await;
    process.kill();
    let mut random = Random::new(11);
    let (mut done, mut longest_run_ms) = (0, LONGEST_RUN_MS);
    for _ in 0..KILLS {
        let process = Process::start(folder.path());
        check(&process.connect().await, done).await;
        let refreshing = tokio::spawn(refresh(process.connect().await, done));
        process.kill_after(Duration::from_millis(random.below(longest_run_ms))).await;
        done += refreshing.await.expect("ends");
        if done == 0 {
            longest_run_ms += longest_run_ms / 2;
        }
    }
    let process = Process::start(folder.path());
    assert_eq!(refresh(process.connect().await, done).await, DAYS - done);
    check(&process.connect().await, DAYS).await;
    process.stop();
}
