//! kill -9 in the middle of UPDATEs and DELETEs, many times: of each commit all rows are changed or none, and those that
//! were acknowledged are. And sessions that change the same rows at once: no change is lost.

use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const KILLS: u64 = 20;
const ROWS: i64 = 200;
const LONGEST_RUN_MS: u64 = 500;

/// Raises all rows, and moves one from one table to the other, over and over; gives how often it was acknowledged.
async fn change(client: Client) -> i64 {
    for done in 0.. {
        let changes = "UPDATE raised SET n = n + 1;";
        if client.batch_execute(changes).await.is_err() {
            return done;
        }
        let moves =
            "BEGIN; DELETE FROM here WHERE k = (SELECT min(k) FROM here); INSERT INTO here VALUES (1000, 1); COMMIT";
        if client.batch_execute(moves).await.is_err() {
            return done;
        }
    }
    unreachable!("the numbers do not run out")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_changes_all_of_its_rows_or_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(9);
    let process = Process::start(folder.path());
    let declared = format!(
        "CREATE TABLE raised (k int PRIMARY KEY, n bigint);
         INSERT INTO raised SELECT i, 0 FROM generate_series(1, {ROWS}) AS g (i);
         CREATE TABLE here (k int, n int);
         INSERT INTO here SELECT i, 1 FROM generate_series(1, {ROWS}) AS g (i);"
    );
    process.connect().await.batch_execute(&declared).await.expect("declares");
    process.kill();
    let mut acknowledged = 0;
    for _ in 0..KILLS {
        let process = Process::start(folder.path());
        let client = process.connect().await;
        let at_least = acknowledged;
        acknowledged = check(&client, at_least).await;
        let changing = tokio::spawn(change(client));
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
        acknowledged += changing.await.expect("only the server's end ends it");
    }
    let process = Process::start(folder.path());
    check(&process.connect().await, acknowledged).await;
    process.kill();
}

/// Gives how often all rows were raised.
async fn check(client: &Client, at_least: i64) -> i64 {
    let row = client.query_one("SELECT count(*), min(n), max(n) FROM raised", &[]).await.expect("reads");
    let (count, min, max): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((count, min), (ROWS, max), "a part of the rows was raised");
    assert!(min >= at_least, "{min} of {at_least} changes are there");
    let count: i64 = client.query_one("SELECT count(*) FROM here", &[]).await.expect("reads").get(0);
    assert_eq!(count, ROWS, "a row went without the other that came");
    min
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_change_the_same_rows_lose_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = Process::start(folder.path());
    let client = process.connect().await;
    client
        .batch_execute("CREATE TABLE c (k int PRIMARY KEY, n int); INSERT INTO c VALUES (1, 0), (2, 0)")
        .await
        .expect("declares");
    let raise = |client: Client, key: i32| async move {
        for _ in 0..10 {
            let raised = format!("BEGIN; UPDATE c SET n = n + 1 WHERE k = {key}; COMMIT");
            client.batch_execute(&raised).await.expect("waits for the others");
            let inserted = format!("INSERT INTO c VALUES ({key} + 10, 1) ON CONFLICT (k) DO UPDATE SET n = c.n + 1");
            client.batch_execute(&inserted).await.expect("waits for the others");
        }
    };
    let mut running = Vec::new();
    for key in [1, 1, 2] {
        running.push(tokio::spawn(raise(process.connect().await, key)));
    }
    for one in running {
        one.await.expect("it ends");
    }
    let rows = client.query("SELECT k, n FROM c ORDER BY k", &[]).await.expect("reads");
    let rows: Vec<(i32, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(1, 20), (2, 10), (11, 20), (12, 10)]);
    snapshots(&process).await;
    deadlock(&process).await;
    process.kill();
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().map_or(String::new(), |code| code.code().to_owned())
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM c", &[]).await.expect("reads").get(0)
}

/// REPEATABLE READ reads one state of all tables, and does not change what another session has changed since.
async fn snapshots(process: &Process) {
    let (one, two) = (process.connect().await, process.connect().await);
    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("begins");
    assert_eq!(count(&one).await, 4);
    two.batch_execute("DELETE FROM c WHERE k = 12").await.expect("deletes");
    assert_eq!((count(&one).await, count(&two).await), (4, 3));
    let error = one.batch_execute("UPDATE c SET n = 0 WHERE k = 12").await.expect_err("it is not there any more");
    assert_eq!(code(&error), "40001");
    one.batch_execute("ROLLBACK").await.expect("rolls back");
    // READ COMMITTED sees what is committed when a statement begins
    one.batch_execute("BEGIN").await.expect("begins");
    assert_eq!(count(&one).await, 3);
    two.batch_execute("INSERT INTO c VALUES (13, 1)").await.expect("inserts");
    assert_eq!(count(&one).await, 4);
    one.batch_execute("COMMIT").await.expect("commits");
    // readers of a table keep it when it is another
    one.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await.expect("begins");
    assert_eq!(count(&one).await, 4);
    two.batch_execute("TRUNCATE c; INSERT INTO c VALUES (1, 1), (2, 2)").await.expect("empties");
    assert_eq!((count(&one).await, count(&two).await), (4, 2));
    one.batch_execute("COMMIT").await.expect("commits");
    assert_eq!(count(&one).await, 2);
}

async fn deadlock(process: &Process) {
    let (one, two) = (process.connect().await, process.connect().await);
    one.batch_execute("CREATE TABLE d (a int); INSERT INTO d VALUES (1)").await.expect("declares");
    one.batch_execute("BEGIN; UPDATE c SET n = 5").await.expect("holds one");
    two.batch_execute("BEGIN; UPDATE d SET a = 5").await.expect("holds the other");
    let waits = tokio::spawn(async move { one.batch_execute("UPDATE d SET a = 6; COMMIT").await });
    // whoever comes second is told, and the other goes on
    let second = two.batch_execute("UPDATE c SET n = 6").await;
    if second.is_err() {
        two.batch_execute("ROLLBACK").await.expect("rolls back");
    } else {
        two.batch_execute("COMMIT").await.expect("commits");
    }
    let first = waits.await.expect("it ends");
    let codes: Vec<String> = [first.err(), second.err()].iter().flatten().map(code).collect();
    assert_eq!(codes, ["40P01"]);
}
