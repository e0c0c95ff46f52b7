//! CREATE DATASET as a job: seen from another session while it runs, cancelled, and killed with its server.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::server::Server;

/// More rows than anybody waits for here.
const ENDLESS: &str = "CREATE DATASET d AS SELECT i, repeat('x', 100) AS t FROM generate_series(1, 2000000000) AS g(i)";

/// The newest job's number, state and rows so far.
async fn newest_job(client: &Client) -> Option<(i64, String, i64)> {
    let sql = "SELECT id, state, rows_written FROM granary.jobs WHERE kind = 'dataset' AND dataset = 'd' \
               ORDER BY id DESC LIMIT 1";
    let row = client.query_opt(sql, &[]).await.expect("reads")?;
    Some((row.get(0), row.get(1), row.get(2)))
}

/// Waits until the job has written rows; gives its number.
async fn wait_for_rows(client: &Client) -> i64 {
    let begun = Instant::now();
    loop {
        if let Some((job, state, rows)) = newest_job(client).await
            && (state.as_str(), rows > 0) == ("running", true)
        {
            return job;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no rows are written");
        tokio::task::yield_now().await;
    }
}

/// Removal goes on behind the answer.
async fn wait_for_empty_store(folder: &Path) {
    let begun = Instant::now();
    while std::fs::read_dir(folder.join("offline")).expect("the offline store").count() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "rows without a name are left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_is_made_by_a_job_that_can_be_watched_cancelled_and_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a plain path");
    let server = Server::start(&["--data", data]);
    let (maker, watcher) = (server.connect().await, server.connect().await);

    let (made, job) = tokio::join!(maker.simple_query(ENDLESS), async {
        let job = wait_for_rows(&watcher).await;
        let refused = watcher.simple_query(ENDLESS).await.expect_err("one job a name");
        assert_eq!(refused.code().map(|code| code.code()), Some("55006"), "{refused}");
        watcher.batch_execute(&format!("CANCEL JOB {job}")).await.expect("asks to cancel");
        job
    });
    let error = made.expect_err("is cancelled");
    let error = error.as_db_error().expect("an answer");
    assert_eq!((error.code().code(), error.message()), ("57014", "the job was cancelled"));
    let (newest, state, _) = newest_job(&watcher).await.expect("a job");
    assert_eq!((newest, state.as_str()), (job, "cancelled"));
    wait_for_empty_store(folder.path()).await;

    // the statement's own cancel, as Ctrl-C in psql
    let cancel = maker.cancel_token();
    let (made, cancelled) = tokio::join!(maker.simple_query(ENDLESS), async {
        wait_for_rows(&watcher).await;
        cancel.cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("asks to cancel");
    let error = made.expect_err("is cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    wait_for_empty_store(folder.path()).await;

    let making = tokio::spawn(async move { maker.simple_query(ENDLESS).await });
    let job = wait_for_rows(&watcher).await;
    drop(server);
    making.await.expect("a task").expect_err("the server is gone");
    let server = Server::start(&["--data", data]);
    let client = server.connect().await;
    let row =
        client.query_one("SELECT state, error_sqlstate FROM granary.jobs WHERE id = $1", &[&job]).await.expect("reads");
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("failed", "57P02"));
    let error = client.simple_query("SELECT * FROM d").await.expect_err("there is none");
    assert_eq!(error.code().map(|code| code.code()), Some("42P01"), "{error}");
    wait_for_empty_store(folder.path()).await;
    client.batch_execute("CREATE DATASET d AS SELECT 1 AS a").await.expect("the name is free");

    client.batch_execute("CREATE OR REPLACE DATASET d AS SELECT 2 AS a").await.expect("a version");
    let times = client.query("SELECT created_at::text FROM granary.datasets ORDER BY version", &[]).await;
    let times: Vec<String> = times.expect("reads").iter().map(|row| row.get(0)).collect();
    for (time, expected) in times.iter().zip([1, 2]) {
        let sql = format!("SELECT a FROM d FOR SYSTEM_TIME AS OF '{time}'");
        assert_eq!(client.query_one(&sql, &[]).await.expect("reads").get::<_, i64>(0), expected, "{times:?}");
    }
}
