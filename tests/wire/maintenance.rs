//! Maintenance by itself: many small files of a view become few, as a job that can be seen.

use std::time::{Duration, Instant};

use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_view_are_merged_by_a_job() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "maintenance_interval_seconds = 1\nmax_jobs = 2").expect("it can be written");
    let config = file.path().to_str().expect("a plain path");
    let server = Server::start(&["--now", "2024-03-01", "--scheduler", "on", "--config", config]);
    let sql = server.connect().await;
    for statement in [
        "CREATE ENTITY customer (user_id text)",
        "CREATE TABLE tx (user_id text, ts timestamptz, amount bigint)",
        "INSERT INTO tx SELECT 'u' || i % 50, '2024-02-01'::timestamptz + i * interval '20 minutes', i \
         FROM generate_series(0, 1439) AS g(i)",
        "CREATE SOURCE transactions AS SELECT * FROM tx TIMESTAMP ts",
        "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts \
         WITH (start = '2024-02-10', max_backfill_interval = '1 day') AS SELECT user_id, ts, amount FROM transactions",
    ] {
        sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let begun = Instant::now();
    let job: i64 = loop {
        let done = "SELECT id FROM granary.jobs WHERE kind = 'optimize' AND state = 'succeeded'";
        if let Some(row) = sql.query_opt(&format!("{done} ORDER BY id LIMIT 1"), &[]).await.expect("reads") {
            break row.get(0);
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "no files are merged");
        tokio::task::yield_now().await;
    };
    let row = sql
        .query_one("SELECT feature_view, trigger, statement, role FROM granary.jobs WHERE id = $1", &[&job])
        .await
        .expect("reads");
    let told: (&str, &str, &str, &str) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(told, ("spend", "maintenance", "OPTIMIZE spend", "granary"));
    let logged = format!("SELECT message FROM granary.job_logs WHERE job = {job} AND message LIKE '%files became%'");
    assert!(sql.query_opt(&logged, &[]).await.expect("reads").is_some());
    // the view answers as before, and nothing waits for the merge
    let rows = sql
        .query("SELECT user_id, amount FROM spend WHERE user_id = ANY (ARRAY['u0', 'u49'])", &[])
        .await
        .expect("reads");
    let mut rows: Vec<(String, Option<i64>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    rows.sort();
    assert_eq!(rows, [("u0".to_owned(), Some(1400)), ("u49".to_owned(), Some(1399))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_too_late_are_counted_and_healed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a plain path");
    let arguments = |file: &tempfile::NamedTempFile| {
        let config = file.path().to_str().expect("a plain path").to_owned();
        ["--data".to_owned(), data.to_owned(), "--now".to_owned(), "2024-03-04".to_owned(), "--scheduler".to_owned()]
            .into_iter()
            .chain(["on".to_owned(), "--config".to_owned(), config])
            .collect::<Vec<String>>()
    };
    let config = |interval: u64| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("maintenance_interval_seconds = {interval}")).expect("it can be written");
        file
    };
    let start = |file: &tempfile::NamedTempFile| {
        let arguments = arguments(file);
        Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let first = config(3600);
    let server = start(&first);
    let sql = server.connect().await;
    for statement in [
        "CREATE ENTITY customer (user_id text)",
        "CREATE TABLE tx (user_id text, ts timestamptz, amount bigint)",
        "INSERT INTO tx VALUES ('u1', '2024-03-01 10:00', 1), ('u1', '2024-03-02 10:00', 2)",
        "CREATE SOURCE transactions AS SELECT * FROM tx TIMESTAMP ts",
        "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts \
         FEATURES (sum(amount) OVER (LAST '3 days') AS total) WITH (start = '2024-03-04') \
         AS SELECT user_id, ts, amount FROM transactions",
    ] {
        sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let begun = Instant::now();
    let done = "SELECT count(*) FROM granary.jobs WHERE state = 'succeeded'";
    while sql.query_one(done, &[]).await.expect("reads").get::<_, i64>(0) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the view is not materialized");
        tokio::task::yield_now().await;
    }
    // of the same tile as a row that was on time
    sql.batch_execute("INSERT INTO tx VALUES ('u1', '2024-03-02 11:00', 30)").await.expect("inserts");
    // a new feature is filled by itself, and has seen it
    let more = "CREATE OR REPLACE FEATURE VIEW spend ENTITY customer TIMESTAMP ts \
                FEATURES (sum(amount) OVER (LAST '3 days') AS total, max(amount) OVER (LAST '3 days') AS most) \
                WITH (start = '2024-03-04') AS SELECT user_id, ts, amount FROM transactions";
    sql.batch_execute(more).await.expect("adds a feature");
    let most = "SELECT most FROM spend WHERE user_id = 'u1'";
    while sql.query_one(most, &[]).await.expect("reads").get::<_, Option<i64>>(0) != Some(30) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the new feature is not materialized");
        tokio::task::yield_now().await;
    }
    drop(server);

    let soon = config(1);
    let server = start(&soon);
    let sql = server.connect().await;
    let late = "SELECT view::text, range_start = '2024-03-02', range_end = '2024-03-03', rows_then, rows_now, late_rows, statement \
                FROM granary.late_rows";
    let row = loop {
        if let Some(row) = sql.query_opt(late, &[]).await.expect("reads") {
            break row;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing is late");
        tokio::task::yield_now().await;
    };
    assert_eq!((row.get::<_, &str>(0), row.get(1), row.get(2)), ("spend", true, true));
    assert_eq!((row.get::<_, i64>(3), row.get::<_, i64>(4), row.get::<_, i64>(5)), (1, 2, 1));
    let total = || async {
        let row = sql.query_one("SELECT total FROM spend WHERE user_id = 'u1'", &[]).await.expect("reads");
        row.get::<_, Option<i64>>(0)
    };
    assert_eq!(total().await, Some(3));
    sql.batch_execute(row.get(6)).await.expect("the statement heals");
    assert_eq!(total().await, Some(33));
}
