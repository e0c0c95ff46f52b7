//! kill -9 in the middle of writes to feature tables and of DELETEs from them, many times. Every row that was
//! acknowledged is there after the next start, every key that was forgotten is not, and both stores answer the same.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const KILLS: u64 = 25;
const KEYS: i64 = 5;
/// How long a server runs at most before it is killed; more on a machine where nothing gets done in that.
const LONGEST_RUN_MS: u64 = 400;
const MOST_PATIENT_RUN_MS: u64 = 10_000;

fn at(number: i64) -> String {
    granary_sql::timestamp::format_timestamp(1_704_067_200_000_000 + number * 1_000_000)
}

/// Writes row after row; gives the number of the first that was not acknowledged.
async fn write(client: Client, first: i64) -> i64 {
    for number in first.. {
        let row = format!("('k{}', '{}', {number})", number % KEYS, at(number));
        if client.batch_execute(&format!("INSERT INTO written VALUES {row}")).await.is_err() {
            return number;
        }
    }
    unreachable!("the numbers do not run out")
}

/// Writes keys and forgets them; gives the number of the first that was not forgotten for sure.
async fn forget(client: Client, first: i64) -> i64 {
    for number in first.. {
        let row = format!(
            "INSERT INTO forgotten VALUES ('g{number}', '{}', {number}), ('stays', '2024-01-01', 1)",
            at(number)
        );
        let forgotten = format!("DELETE FROM forgotten WHERE k = 'g{number}'");
        if client.batch_execute(&row).await.is_err() || client.batch_execute(&forgotten).await.is_err() {
            return number;
        }
    }
    unreachable!("the numbers do not run out")
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_rows_are_in_both_stores_and_forgotten_keys_in_none() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(4);
    let process = Process::start(folder.path());
    let client = process.connect().await;
    let declared = client.batch_execute(
        "CREATE ENTITY thing (k text);
         CREATE FEATURE TABLE written (k text, ts timestamptz, v bigint) ENTITY thing TIMESTAMP ts;
         CREATE FEATURE TABLE forgotten (k text, ts timestamptz, v bigint) ENTITY thing TIMESTAMP ts;",
    );
    declared.await.expect("declares");
    process.kill();
    let (mut written, mut forgotten) = (0, 0);
    let mut longest_run_ms = LONGEST_RUN_MS;
    for _ in 0..KILLS {
        let process = Process::start(folder.path());
        let client = process.connect().await;
        check(&client, written, forgotten).await;
        // what was cut short is written once more, which changes no answer, or forgotten once more
        let writing = tokio::spawn(write(process.connect().await, written));
        let forgetting = tokio::spawn(forget(process.connect().await, forgotten));
        let run = Duration::from_millis(random.below(longest_run_ms));
        process.kill_after(run).await;
        written = writing.await.expect("only the server's end ends it");
        forgotten = forgetting.await.expect("only the server's end ends it");
        if written == 0 || forgotten == 0 {
            longest_run_ms = MOST_PATIENT_RUN_MS.min(longest_run_ms + longest_run_ms / 4);
        }
    }
    assert!(written > 0 && forgotten > 0, "the kills left no time for any work");
    let process = Process::start(folder.path());
    check(&process.connect().await, written, forgotten).await;
    process.kill();
}

async fn check(client: &Client, written: i64, forgotten: i64) {
    let differences = client.query("VERIFY FEATURE VIEW written", &[]).await.expect("verifies");
    assert!(differences.is_empty(), "after {written} rows: {differences:?}");
    let online = client.query("SELECT k, v FROM written", &[]).await.expect("reads");
    let online: HashMap<String, i64> = online.iter().map(|row| (row.get(0), row.get(1))).collect();
    for number in (written - KEYS).max(0)..written {
        let found = online.get(&format!("k{}", number % KEYS));
        // the one that was cut short may be there, too
        let expected = if number + KEYS == written { [number, written] } else { [number, number] };
        assert!(found.is_some_and(|found| expected.contains(found)), "row {number} of {written}: {found:?}");
    }
    let history = "SELECT count(DISTINCT v) FROM written FOR SYSTEM_TIME FROM '2024-01-01' TO '2025-01-01'";
    let versions: i64 = client.query_one(history, &[]).await.expect("counts").get(0);
    assert!(versions == written || versions == written + 1, "{versions} of {written} rows are offline");
    // a DELETE that was cut short ends the same when it is run again
    client.batch_execute(&format!("DELETE FROM forgotten WHERE k = 'g{forgotten}'")).await.expect("forgets");
    let differences = client.query("VERIFY FEATURE VIEW forgotten", &[]).await.expect("verifies");
    assert!(differences.is_empty(), "after {forgotten} keys: {differences:?}");
    for sql in ["SELECT k FROM forgotten", "SELECT k FROM forgotten FOR SYSTEM_TIME AS OF now()"] {
        let keys = client.query(sql, &[]).await.expect("reads");
        let keys: Vec<String> = keys.iter().map(|row| row.get(0)).collect();
        assert!(keys.iter().all(|key| key == "stays"), "{sql}: {keys:?} after {forgotten} keys");
        assert!(forgotten == 0 || keys.len() == 1, "{sql}: {keys:?} after {forgotten} keys");
    }
}
