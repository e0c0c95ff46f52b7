//! kill -9 in the middle of INSERTs into a stream whose views join other relations, while these change and while such a view
//! is made anew. Every acknowledged event is counted once, and what it has made of itself once stays as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_postgres::Client;

use crate::asking::{one, run, until};
use crate::crash::Process;
use crate::random::Random;
use crate::stream_crash::push;

/// `JOINED_KILLS=100 cargo test --test it joined_crash` is the long test.
const KILLS: u64 = 12;
const KEYS: i64 = 3;
/// How long a server runs at most before it is killed; more on a machine where nothing gets done in that.
const LONGEST_RUN_MS: u64 = 1_500;
const MOST_PATIENT_RUN_MS: u64 = 20_000;

const DECLARED: &str = "CREATE ENTITY thing (k text);
     CREATE ENTITY event (n bigint);
     CREATE TABLE versions (k text, v bigint);
     CREATE VIEW newest_versions AS SELECT k, max(v) AS v FROM versions GROUP BY k;
     CREATE FEATURE TABLE prices (k text, ts timestamptz, price bigint) ENTITY thing TIMESTAMP ts;
     CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
     CREATE FEATURE VIEW joined ENTITY thing TIMESTAMP ts
       FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total, sum(price) OVER (LIFETIME) AS paid,
         max(v) OVER (LAST '30 days') AS newest)
       AS SELECT l.k, l.ts, l.n, p.price, w.v FROM live l JOIN newest_versions w ON w.k = l.k JOIN prices p ON p.k = l.k;
     CREATE FEATURE VIEW of_event ENTITY event TIMESTAMP ts
       AS SELECT l.n, l.ts, w.v, p.price FROM live l JOIN newest_versions w ON w.k = l.k JOIN prices p ON p.k = l.k";

/// Its rows are made anew for each round.
fn late(round: u64) -> String {
    format!(
        "CREATE OR REPLACE FEATURE VIEW late ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total, max(r) OVER (LIFETIME) AS r)
           AS SELECT l.k, l.ts, l.n, {round} + w.v - w.v AS r FROM newest_versions w JOIN live l USING (k)"
    )
}

/// The price of every thing grows.
async fn reprice(client: Client, first: i64) {
    for price in first.. {
        let rows: Vec<String> = (0..KEYS).map(|k| format!("('k{k}', now() - INTERVAL '1 minute', {price})")).collect();
        if client.batch_execute(&format!("INSERT INTO prices VALUES {}", rows.join(", "))).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_rows_of_events_are_made_once() {
    let kills = std::env::var("JOINED_KILLS").ok().map(|kills| kills.parse().expect("a number")).unwrap_or(KILLS);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(31);
    let process = Process::start(folder.path());
    process.connect().await.batch_execute(DECLARED).await.expect("declares");
    process.connect().await.batch_execute(&late(0)).await.expect("declares");
    process.kill();
    let mut made = Made::default();
    let mut next = 0;
    let mut longest_run_ms = LONGEST_RUN_MS;
    for round in 0..kills {
        let process = Process::start(folder.path());
        let client = process.connect().await;
        made.check(&client).await;
        let versions: Vec<String> = (0..KEYS).map(|k| format!("('k{k}', {round})")).collect();
        client.batch_execute(&format!("INSERT INTO versions VALUES {}", versions.join(", "))).await.expect("inserts");
        let repricing = tokio::spawn(reprice(process.connect().await, i64::try_from(round).expect("few") * 1_000_000));
        let pushing = tokio::spawn(push(process.connect().await, next, KEYS, 4));
        let replacing = tokio::spawn(async move { client.batch_execute(&late(round)).await });
        process.kill_after(Duration::from_millis(random.below(longest_run_ms))).await;
        let (done, cut_short) = pushing.await.expect("only the server's end ends it");
        repricing.await.expect("only the server's end ends it");
        let _cut_short = replacing.await.expect("ends");
        next = cut_short.last().map_or(next, |last| last + 1);
        if done.is_empty() {
            longest_run_ms = MOST_PATIENT_RUN_MS.min(longest_run_ms * 5 / 4);
        }
        made.acknowledged.extend(done);
        made.possible.extend(cut_short);
    }
    assert!(!made.acknowledged.is_empty(), "the kills left no time for any work");
    let process = Process::start(folder.path());
    made.check(&process.connect().await).await;
    process.kill();
}

/// As after a crash while a view was created, and what it reads is damaged meanwhile: the server starts, says why, shows no
/// rows that are not all, and makes them when it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_relation_that_is_damaged_keeps_nobody_from_starting() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rates = folder.path().join("rates.csv");
    std::fs::write(&rates, "k,rate\na,3\n").expect("writes");
    let process = Process::start(folder.path());
    let client = process.connect().await;
    let declared = format!(
        "CREATE ENTITY thing (k text);
         CREATE SOURCE rates (k text, rate bigint) FROM CSV '{}';
         CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
         CREATE FEATURE VIEW plain ENTITY thing TIMESTAMP ts FEATURES (sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM live;
         CREATE FEATURE VIEW rated ENTITY thing TIMESTAMP ts FEATURES (sum(n * rate) OVER (LIFETIME) AS total)
           AS SELECT l.k, l.ts, l.n, r.rate FROM live l JOIN rates r ON r.k = l.k;
         INSERT INTO live VALUES ('a', '2024-01-01', 7)",
        rates.display()
    );
    run(&client, &declared).await;
    process.stop();
    let offline = folder.path().join("offline");
    let tables = std::fs::read_dir(&offline).expect("lists").map(|table| table.expect("lists").path());
    let made: Vec<_> = tables.filter(|path| path.to_string_lossy().ends_with("-events")).collect();
    assert_eq!(made.len(), 1);
    std::fs::remove_dir_all(&made[0]).expect("removes");
    std::fs::write(&rates, "k,rate\na,x\n").expect("writes");
    let process = Process::start(folder.path());
    let client = process.connect().await;
    assert_eq!(one(&client, "SELECT total::text FROM plain WHERE k = 'a'").await, "7");
    let past = "SELECT total::text FROM rated FOR SYSTEM_TIME AS OF now() WHERE k = 'a'";
    let error = client.query(past, &[]).await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"));
    assert_ne!(one(&client, "SELECT last_error FROM granary.streams").await, "");
    assert!(client.batch_execute("INSERT INTO live VALUES ('a', '2024-01-01', 1)").await.is_err());
    std::fs::write(&rates, "k,rate\na,5\n").expect("writes");
    until(&client, "SELECT coalesce(last_error, 'none') FROM granary.streams", "none").await;
    assert_eq!(one(&client, past).await, "35");
    assert_eq!(one(&client, "SELECT total::text FROM plain WHERE k = 'a'").await, "7");
    run(&client, "INSERT INTO live VALUES ('a', '2024-01-01', 1)").await;
    assert_eq!(one(&client, past).await, "40");
    // the crash that this stands for had left none online
    run(&client, "REFRESH FEATURE VIEW rated ONLINE OVERWRITE").await;
    for view in ["plain", "rated"] {
        let differences = client.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies");
        assert!(differences.is_empty(), "{view}: {differences:?}");
    }
    process.stop();
}

#[derive(Default)]
struct Made {
    acknowledged: BTreeSet<i64>,
    possible: BTreeSet<i64>,
    /// of every event that was seen, its version and price
    known: BTreeMap<i64, (i64, Option<i64>)>,
}

impl Made {
    async fn check(&mut self, client: &Client) {
        let rows = client.query("SELECT n FROM live", &[]).await.expect("reads");
        let found: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found.len(), rows.len(), "an event is there twice");
        assert!(self.acknowledged.is_subset(&found), "lost: {:?}", self.acknowledged.difference(&found));
        let strange: Vec<_> =
            found.iter().filter(|n| !self.acknowledged.contains(n) && !self.possible.contains(n)).collect();
        assert!(strange.is_empty(), "never pushed: {strange:?}");
        for (relation, time) in
            ["joined", "late"].iter().flat_map(|view| [(view, ""), (view, " FOR SYSTEM_TIME AS OF now()")])
        {
            let sums = "coalesce(sum(events), 0)::bigint, coalesce(sum(total), 0)::bigint";
            let row = client.query_one(&format!("SELECT {sums} FROM {relation}{time}"), &[]).await.expect("reads");
            let expected = (found.len() as i64, found.iter().sum());
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), expected, "{relation}{time}");
        }
        for time in ["", " FOR SYSTEM_TIME AS OF now()"] {
            let rows = client.query(&format!("SELECT n, v, price FROM of_event{time}"), &[]).await.expect("reads");
            let made: BTreeMap<i64, (i64, Option<i64>)> =
                rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
            assert_eq!(made.keys().copied().collect::<BTreeSet<_>>(), found, "{time}");
            let changed: Vec<_> = self.known.iter().filter(|(n, known)| made[n] != **known).collect();
            assert!(changed.is_empty(), "{time}: {changed:?}");
            self.known = made;
        }
        for view in ["joined", "of_event", "late"] {
            let differences = client.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies");
            assert!(differences.is_empty(), "{view}: {differences:?}");
        }
    }
}
