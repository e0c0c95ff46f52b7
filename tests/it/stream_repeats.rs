//! A producer that sends again whatever it is not sure of, while the server is killed: with DEDUPLICATE BY every event is
//! counted once, also when the online store is lost in between.

use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const KILLS: u64 = 10;
const KEYS: u64 = 5;
const LONGEST_RUN_MS: u64 = 1_500;
/// So many acknowledged events are sent again behind a kill.
const OVERLAP: u64 = 40;
/// The kill behind which the online store is gone.
const LOSS: u64 = 5;

/// Sends event after event from `first` on, some twice in one call; gives the number of the first one that was not
/// acknowledged, by the end of the server.
async fn send(client: Client, first: u64) -> u64 {
    let mut next = first;
    for call in 0.. {
        let numbers = (next..=next + call % 3).chain([next]);
        let rows: Vec<String> =
            numbers.map(|n| format!("('k{}', now() - INTERVAL '1 minute', {n}, 'id-{n}')", n % KEYS)).collect();
        if client.batch_execute(&format!("INSERT INTO live VALUES {}", rows.join(", "))).await.is_err() {
            break;
        }
        next += 1 + call % 3;
    }
    next
}

async fn check(client: &Client, acknowledged: u64) {
    let rows = client.query("SELECT n FROM live ORDER BY n", &[]).await.expect("reads");
    let found: Vec<u64> = rows.iter().map(|row| row.get::<_, i64>(0).cast_unsigned()).collect();
    assert!(found.len() as u64 >= acknowledged, "{} of {acknowledged}", found.len());
    assert!(found.iter().copied().eq(0..found.len() as u64), "an event is missing or there twice: {found:?}");
    let expected = (found.len() as i64, found.iter().sum::<u64>().cast_signed());
    for view in ["totals", "totals FOR SYSTEM_TIME AS OF now()"] {
        let sql = format!("SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(total), 0)::bigint FROM {view}");
        let row = client.query_one(&sql, &[]).await.expect("reads");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), expected, "{view}");
    }
    let differences = client.query("VERIFY FEATURE VIEW totals", &[]).await.expect("verifies");
    assert!(differences.is_empty(), "{differences:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_sent_again_are_counted_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(12);
    let process = Process::start(folder.path());
    let declared = "CREATE ENTITY thing (k text);
         CREATE STREAM live (k text, ts timestamptz, n bigint, id text) FROM PUSH TIMESTAMP ts DEDUPLICATE BY (id);
         CREATE FEATURE VIEW totals ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LAST '1 day') AS total) AS SELECT k, ts, n FROM live";
    process.connect().await.batch_execute(declared).await.expect("declares");
    process.kill();
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        if kill == LOSS {
            // which puts the events into the offline store
            Process::start(folder.path()).stop();
            std::fs::remove_dir_all(folder.path().join("online")).expect("is there");
        }
        let process = Process::start(folder.path());
        check(&process.connect().await, acknowledged).await;
        let sending = tokio::spawn(send(process.connect().await, acknowledged.saturating_sub(OVERLAP)));
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
        acknowledged = sending.await.expect("only the server's end ends it").max(acknowledged);
    }
    assert!(acknowledged > OVERLAP, "the kills left no time for any work: {acknowledged}");
    let process = Process::start(folder.path());
    check(&process.connect().await, acknowledged).await;
    process.kill();
}
