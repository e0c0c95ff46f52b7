//! kill -9 in the middle of INSERTs into a stream, many times. Every acknowledged event is counted once, and none twice:
//! online, as of now, and in the stream itself.

use std::collections::BTreeSet;
use std::time::Duration;

use granary::online::OnlineStore;
use granary::row::{Key, Value};
use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

/// `STREAM_KILLS=100 cargo test --test it stream_crash` is the long test.
const KILLS: u64 = 25;
const KEYS: i64 = 5;
/// How long a server runs at most before it is killed; more on a machine where nothing gets done in that.
const LONGEST_RUN_MS: u64 = 400;
const MOST_PATIENT_RUN_MS: u64 = 10_000;

/// Pushes event after event of so many keys, in calls of one up to `most`; gives those that were acknowledged, and those
/// that may be there.
pub async fn push(client: Client, first: i64, keys: i64, most: i64) -> (Vec<i64>, Vec<i64>) {
    let mut acknowledged = Vec::new();
    for call in 0.. {
        let start = first + i64::try_from(acknowledged.len()).expect("few");
        let numbers: Vec<i64> = (start..start + 1 + call % most).collect();
        let rows: Vec<String> =
            numbers.iter().map(|n| format!("('k{}', now() - INTERVAL '1 minute', {n})", n % keys)).collect();
        if client.batch_execute(&format!("INSERT INTO live VALUES {}", rows.join(", "))).await.is_err() {
            return (acknowledged, numbers);
        }
        acknowledged.extend(numbers);
    }
    unreachable!("the numbers do not run out")
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_events_are_counted_once_everywhere() {
    let kills = std::env::var("STREAM_KILLS").ok().map(|kills| kills.parse().expect("a number"));
    kill_again_and_again(kills.unwrap_or(KILLS)).await;
}

async fn kill_again_and_again(kills: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(11);
    let process = Process::start(folder.path());
    let declared = "CREATE ENTITY thing (k text);
         CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
         CREATE FEATURE VIEW continuous ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LAST '1 day') AS total, last(n) OVER (LIFETIME) AS n,
             count(*) OVER (LAST '30 days') AS of_month, count_distinct(n) OVER (LAST '30 days') AS different,
             stddev_pop(n) OVER (LAST '30 days') AS spread)
           AS SELECT k, ts, n FROM live;
         CREATE FEATURE VIEW tiled ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LAST '30 days') AS total)
           WITH (aggregation_interval = '1 second') AS SELECT k, ts, n FROM live;
         CREATE FEATURE VIEW newest ENTITY thing TIMESTAMP ts AS SELECT k, ts, n FROM live";
    process.connect().await.batch_execute(declared).await.expect("declares");
    process.kill();
    let (mut acknowledged, mut possible) = (BTreeSet::new(), BTreeSet::new());
    let mut next = 0;
    let mut longest_run_ms = LONGEST_RUN_MS;
    for _ in 0..kills {
        let process = Process::start(folder.path());
        check(&process.connect().await, &acknowledged, &possible).await;
        let pushing = tokio::spawn(push(process.connect().await, next, KEYS, 3));
        let run = Duration::from_millis(random.below(longest_run_ms));
        process.kill_after(run).await;
        let (done, cut_short) = pushing.await.expect("only the server's end ends it");
        acknowledged.extend(done);
        next = cut_short.last().map_or(next, |last| last + 1);
        possible.extend(cut_short);
        if acknowledged.is_empty() {
            longest_run_ms = MOST_PATIENT_RUN_MS.min(longest_run_ms + longest_run_ms / 4);
        }
    }
    assert!(!acknowledged.is_empty(), "the kills left no time for any work");
    let process = Process::start(folder.path());
    check(&process.connect().await, &acknowledged, &possible).await;
    process.kill();
    // it was long windows over many events that were read
    let online = OnlineStore::open(&folder.path().join("online"), 1, 1 << 20).expect("opens");
    let reader = online.reader().expect("reads");
    let key = Key::encode([Some(&Value::Text("k0".into()))]).expect("not null");
    let n_views = (0..100).filter(|view| reader.spans_form(*view, &key).expect("reads").is_some()).count();
    assert!(n_views >= 2 || acknowledged.len() < 2000, "spans of {n_views} views, of {} events", acknowledged.len());
}

async fn check(client: &Client, acknowledged: &BTreeSet<i64>, possible: &BTreeSet<i64>) {
    let rows = client.query("SELECT n FROM live", &[]).await.expect("reads");
    let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let known: BTreeSet<i64> = found.iter().copied().collect();
    assert_eq!(known.len(), found.len(), "an event is there twice");
    assert!(acknowledged.is_subset(&known), "lost: {:?}", acknowledged.difference(&known));
    let strange: Vec<&i64> = known.iter().filter(|n| !acknowledged.contains(n) && !possible.contains(n)).collect();
    assert!(strange.is_empty(), "never pushed: {strange:?}");
    for view in ["continuous", "continuous FOR SYSTEM_TIME AS OF now()"] {
        let sql = format!("SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(total), 0)::bigint FROM {view}");
        let row = client.query_one(&sql, &[]).await.expect("reads");
        let (events, total): (i64, i64) = (row.get(0), row.get(1));
        assert_eq!((events, total), (known.len() as i64, known.iter().sum()), "{view}");
    }
    let sql = "SELECT coalesce(sum(of_month), 0)::bigint, coalesce(sum(different), 0)::bigint FROM continuous";
    let row = client.query_one(sql, &[]).await.expect("reads");
    let (of_month, different): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!((of_month, different), (known.len() as i64, known.len() as i64), "over a month");
    // events are a minute old: their tiles are complete
    let sql = "SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(total), 0)::bigint FROM tiled";
    let row = client.query_one(sql, &[]).await.expect("reads");
    let (events, total): (i64, i64) = (row.get(0), row.get(1));
    assert_eq!((events, total), (known.len() as i64, known.iter().sum()), "tiled");
    for view in ["continuous", "tiled", "newest"] {
        let differences = client.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies");
        assert!(differences.is_empty(), "{view}: {differences:?}");
    }
}

/// Events are taken as long as their log can be written, whatever the offline store does; what it lacks it gets when it is
/// well again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_offline_store_loses_nothing() {
    let (folder, process, client) = Process::new_with_client().await;
    let declared = "CREATE ENTITY thing (k text);
         CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
         CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER (LIFETIME) AS events) AS SELECT k, ts FROM live;
         INSERT INTO live VALUES ('a', '2024-01-01', 0)";
    client.batch_execute(declared).await.expect("declares");
    let logs = std::fs::read_dir(folder.path().join("ingest")).expect("lists");
    let name = logs.map(|log| log.expect("lists").file_name()).next().expect("a log");
    let stored = folder.path().join("offline").join(&name);
    // a file where the table's folder would be: nothing can be written there
    std::fs::create_dir_all(folder.path().join("offline")).expect("makes");
    std::fs::write(&stored, "in the way").expect("writes");
    for n in 1..100 {
        client.batch_execute(&format!("INSERT INTO live VALUES ('a', '2024-01-01', {n})")).await.expect("inserts");
    }
    let seen = "SELECT events::text || ' ' || (SELECT count(*) FROM live)::text FROM v WHERE k = 'a'";
    // stopped in order, it tries to write them and cannot
    process.stop();
    let refused = std::process::Command::new(env!("CARGO_BIN_EXE_granary"))
        .args(["serve", "--listen", "127.0.0.1:0", "--scheduler", "off", "--data"])
        .arg(folder.path())
        .output()
        .expect("runs");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains(&name.to_string_lossy().into_owned()), "{told}");
    std::fs::remove_file(&stored).expect("removes");
    for _ in 0..2 {
        let process = Process::start(folder.path());
        let client = process.connect().await;
        assert_eq!(client.query_one(seen, &[]).await.expect("reads").get::<_, String>(0), "100 100");
        assert!(client.query("VERIFY FEATURE VIEW v", &[]).await.expect("verifies").is_empty());
        process.stop();
        assert!(stored.join("_delta_log").is_dir(), "the events are in the offline store");
    }
}

/// Killed anywhere while a key is forgotten, the server forgets it when it is asked once more, and counts all others once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_under_kills_is_forgotten_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(23);
    let process = Process::start(folder.path());
    let declared = "CREATE ENTITY thing (k text);
         CREATE ENTITY group_of (g bigint);
         CREATE STREAM live (k text, g bigint, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
         CREATE FEATURE VIEW by_key ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM live;
         CREATE FEATURE VIEW by_group ENTITY group_of TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT g, ts, n FROM live;
         CREATE TABLE names (k text, name text);
         CREATE FEATURE VIEW joined ENTITY thing TIMESTAMP ts
           FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total)
           AS SELECT l.k, l.ts, l.n, name FROM live l LEFT JOIN names USING (k)";
    process.connect().await.batch_execute(declared).await.expect("declares");
    process.kill();
    let mut others = (0_i64, 0_i64);
    // the kills follow the time that forgetting takes on this machine: half of them fall into it
    let (mut longest_ms, mut n_cut_short) = (300, 0);
    for round in 0..12_i64 {
        let process = Process::start(folder.path());
        let client = process.connect().await;
        let rows: Vec<String> = (0..300)
            .map(|n| {
                let key = if n % 3 == 0 { "gone".to_owned() } else { format!("k{}", n % 7) };
                others = if n % 3 == 0 { others } else { (others.0 + 1, others.1 + round * 1000 + n) };
                format!("('{key}', {}, '2024-01-01', {})", n % 2, round * 1000 + n)
            })
            .collect();
        client.batch_execute(&format!("INSERT INTO live VALUES {}", rows.join(", "))).await.expect("inserts");
        let forgetting = tokio::spawn(async move { client.batch_execute("DELETE FROM joined WHERE k = 'gone'").await });
        process.kill_after(Duration::from_millis(random.below(longest_ms))).await;
        let was_cut_short = forgetting.await.expect("ends").is_err();
        n_cut_short += i32::from(was_cut_short);
        longest_ms = if was_cut_short { longest_ms * 5 / 4 + 1 } else { (longest_ms / 2).max(1) };
        let process = Process::start(folder.path());
        let client = process.connect().await;
        client.batch_execute("DELETE FROM joined WHERE k = 'gone'").await.expect("forgets");
        for view in ["by_key", "by_group", "joined"] {
            for time in ["", " FOR SYSTEM_TIME AS OF now()"] {
                let sums = format!("SELECT sum(events)::bigint, sum(total)::bigint FROM {view}{time}");
                let row = client.query_one(&sums, &[]).await.expect("reads");
                assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), others, "{view}{time}, round {round}");
            }
        }
        let left = client.query_one("SELECT count(*) FROM live WHERE k = 'gone'", &[]).await.expect("reads");
        assert_eq!(left.get::<_, i64>(0), 0);
        for view in ["by_key", "by_group", "joined"] {
            assert!(client.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies").is_empty());
        }
        process.kill();
    }
    assert!(n_cut_short > 2, "only {n_cut_short} were cut short");
}
