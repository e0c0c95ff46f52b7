//! Backups of a server that works: what is restored is the state of one moment, whatever was written meanwhile; what is
//! damaged is found; and nothing is half done when either side is killed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const BACKUPS: usize = 8;
const KILLS: usize = 12;

/// Up to then views are refreshed.
const NOW: &str = "2024-01-05 00:00:01";

fn start(folder: &Path) -> Process {
    Process::start_with(folder, &["--scheduler", "off", "--now", NOW])
}

async fn new_with_client() -> (tempfile::TempDir, Process, Client) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let process = start(folder.path());
    let client = process.connect().await;
    (folder, process, client)
}

async fn declare(client: &Client) {
    client
        .batch_execute(
            "CREATE ENTITY thing (k text);
             CREATE TABLE rows (k text, ts timestamptz, n bigint);
             CREATE TABLE others (n bigint);
             CREATE SOURCE source AS SELECT * FROM rows TIMESTAMP ts;
             CREATE FEATURE VIEW sums ENTITY thing TIMESTAMP ts
               FEATURES (sum(n) OVER (LAST '3 days') AS total, count(*) OVER (LAST '3 days') AS counted)
               WITH (start = '2024-01-01', trigger = manual) AS SELECT k, ts, n FROM source;
             CREATE FEATURE VIEW newest ENTITY thing TIMESTAMP ts
               WITH (start = '2024-01-01', trigger = manual) AS SELECT k, ts, n FROM source;
             CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
             CREATE FEATURE VIEW of_live ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, last(n) OVER (LIFETIME) AS last_n)
               WITH (lifetime_start = '2020-01-01') AS SELECT k, ts, n FROM live;
             CREATE FEATURE TABLE pushed (k text, ts timestamptz, n bigint) ENTITY thing TIMESTAMP ts;
             INSERT INTO rows SELECT 'k' || i % 7, '2024-01-01'::timestamptz + i * interval '20 minutes', i
               FROM generate_series(0, 719) AS g(i);
             REFRESH FEATURE VIEW sums FROM '2024-01-01' TO '2024-01-05';
             REFRESH FEATURE VIEW newest FROM '2024-01-01' TO '2024-01-05';
             CREATE DATASET labels AS SELECT k, ts, n FROM rows;",
        )
        .await
        .expect("declares");
}

/// 2024-01-03, and so many seconds.
fn time(seconds: i64) -> String {
    granary_sql::timestamp::format_timestamp(1_704_240_000_000_000 + seconds * 1_000_000)
}

/// What has been acknowledged: the last number of `rows`, `live` and `pushed`.
#[derive(Default)]
struct Written {
    last: watch::Sender<[i64; 3]>,
    stopped: AtomicBool,
}

impl Written {
    /// Writes ten rows at a time, one kind after the other, until it is to stop.
    async fn go_on(self: Arc<Written>, client: Client) {
        let mut n = 1000;
        while !self.stopped.load(Ordering::SeqCst) {
            let values = |n: i64| {
                let row = |i: i64| format!("('k{}', '{}', {i})", i % 7, time(i));
                (n..n + 10).map(row).collect::<Vec<_>>().join(", ")
            };
            for (place, table) in ["rows", "live", "pushed"].into_iter().enumerate() {
                client.batch_execute(&format!("INSERT INTO {table} VALUES {}", values(n))).await.expect("inserts");
                self.last.send_modify(|last| last[place] = n + 9);
            }
            n += 10;
        }
    }

    fn now(&self) -> [i64; 3] {
        *self.last.borrow()
    }

    /// Refreshes and forgets ranges, again and again, and defines things in between.
    async fn change(self: Arc<Written>, client: Client) {
        let mut number: usize = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            let sql = [
                "REFRESH FEATURE VIEW sums FROM '2024-01-01' TO '2024-01-05' OVERWRITE".to_owned(),
                format!(
                    "CREATE TABLE t{number} AS SELECT {number} AS n; DROP TABLE IF EXISTS t{}",
                    number.saturating_sub(8)
                ),
                "OPTIMIZE rows".to_owned(),
                "REFRESH FEATURE VIEW newest FROM '2024-01-01' TO '2024-01-05' OVERWRITE".to_owned(),
            ];
            let sql = &sql[number % sql.len()];
            client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            number += 1;
        }
    }
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
}

/// Both stores say the same of everything.
async fn verify(client: &Client) {
    for view in ["sums", "newest", "of_live", "pushed"] {
        let differences = client.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies");
        assert_eq!(differences.len(), 0, "{view}");
    }
}

/// A restored server has all that was acknowledged `before`, nothing that was sent after `after`, each group of rows whole,
/// and both stores of everything say the same.
async fn check(folder: &Path, before: [i64; 3], after: [i64; 3]) {
    let process = start(folder);
    let client = process.connect().await;
    for (place, table) in ["rows", "live", "pushed"].into_iter().enumerate() {
        let sql = format!("SELECT coalesce(max(n), 0) FROM {table} WHERE n >= 1000");
        let last = number(&client, &sql).await;
        // what was on its way when the backup was taken may have got in, and been acknowledged later
        assert!(last >= before[place] && last <= after[place] + 10, "{table}: {before:?} {last} {after:?}");
        let count = number(&client, &format!("SELECT count(*) FROM {table} WHERE n >= 1000")).await;
        // of a feature table the newest row of each key is seen
        let expected = if table == "pushed" { (last - 999).clamp(0, 7) } else { (last - 999).max(0) };
        assert_eq!(count, expected, "{table}: each once, and groups are whole");
    }
    let events = number(&client, "SELECT coalesce(sum(events), 0)::bigint FROM of_live").await;
    assert_eq!(events, number(&client, "SELECT count(*) FROM live").await, "a view has all events");
    for view in ["sums", "newest"] {
        // a job that ran at that moment is one that a crash has ended: its statement is run again
        let ended = format!("SELECT state FROM granary.jobs WHERE feature_view = '{view}' ORDER BY id DESC LIMIT 1");
        if client.query_one(&ended, &[]).await.expect("reads").get::<_, String>(0) != "succeeded" {
            let again = format!("REFRESH FEATURE VIEW {view} FROM '2024-01-01' TO '2024-01-05' OVERWRITE");
            client.batch_execute(&again).await.expect("refreshes");
        }
    }
    verify(&client).await;
    assert_eq!(number(&client, "SELECT count(*) FROM labels").await, 720);
    // and it goes on
    client
        .batch_execute(
            "INSERT INTO live VALUES ('k1', '2024-01-04', 1); INSERT INTO pushed VALUES ('k1', '2024-01-04', 1);
             REFRESH FEATURE VIEW sums FROM '2024-01-01' TO '2024-01-05' OVERWRITE",
        )
        .await
        .expect("goes on");
    assert_eq!(number(&client, "SELECT count(*) FROM live").await, events + 1);
    process.stop();
}

fn granary(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_granary")).args(arguments).output().expect("runs")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a name that is text")
}

fn restored(backups: &Path, id: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let output = granary(&["restore", text(&data), "--backup", text(backups), "--id", id]);
    assert!(output.status.success(), "{output:?}");
    (folder, data)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment_whatever_is_written_meanwhile() {
    let (_data, process, client) = new_with_client().await;
    declare(&client).await;
    let backups = tempfile::tempdir().expect("a temporary folder");
    let written = Arc::new(Written::default());
    let mut writing = tokio::spawn(Arc::clone(&written).go_on(process.connect().await));
    let mut changing = tokio::spawn(Arc::clone(&written).change(process.connect().await));
    let mut acknowledged = written.last.subscribe();
    let mut taken = Vec::new();
    let mut random = Random::new(5);
    for _ in 0..BACKUPS {
        // a different moment each time: so many more rows are acknowledged
        let until = written.now()[2] + 10 * random.below(4) as i64;
        tokio::select! {
            enough = acknowledged.wait_for(|last| last[2] >= until) => drop(enough),
            ended = &mut writing => panic!("who writes has ended: {ended:?}"),
            ended = &mut changing => panic!("who changes has ended: {ended:?}"),
        }
        let before = written.now();
        let sql = format!("BACKUP TO '{}'", text(backups.path()));
        let row = client.query_one(&sql, &[]).await.expect("backs up");
        taken.push((row.get::<_, String>(0), before, written.now()));
    }
    written.stopped.store(true, Ordering::SeqCst);
    writing.await.expect("writes");
    changing.await.expect("changes");
    for (id, before, after) in &taken {
        let (_folder, data) = restored(backups.path(), id);
        check(&data, *before, *after).await;
    }
    process.stop();
}

/// The objects of a target.
fn objects(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_new_is_copied_and_only_what_is_needed_is_kept() {
    let (_data, process, client) = new_with_client().await;
    declare(&client).await;
    let target = tempfile::tempdir().expect("a temporary folder");
    let dsn = process.dsn();
    let backup = |more: &[&str]| {
        let arguments = [&["backup", text(target.path()), "--dsn", &dsn, "--json"], more].concat();
        let output = granary(&arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON")
    };
    let count = |backup: &serde_json::Value, name: &str| backup[name].as_u64().expect("a number");
    let first = backup(&[]);
    assert_eq!(count(&first, "files"), count(&first, "new_files"));
    let second = backup(&[]);
    assert_eq!(count(&second, "files"), count(&first, "files"));
    let of_offline = |path: &PathBuf| path.to_string_lossy().contains("/offline/");
    let first_id = first["backup"].as_str().expect("an id");
    let n_offline = objects(&target.path().join(first_id)).iter().filter(|path| of_offline(path)).count();
    assert_eq!(count(&second, "new_files"), count(&first, "files") - n_offline as u64, "nothing of the offline store");
    client.batch_execute("INSERT INTO rows VALUES ('k1', '2024-01-03', 5)").await.expect("inserts");
    let third = backup(&["--keep", "1"]);
    assert_eq!(count(&third, "removed_backups"), 2);
    let listed = granary(&["verify", text(target.path()), "--list"]);
    let listed = String::from_utf8(listed.stdout).expect("text");
    let third_id = third["backup"].as_str().expect("an id");
    assert!(listed.starts_with(third_id) && listed.lines().count() == 1, "{listed}");
    // what it needs of the first is there, and nothing else
    assert_eq!(objects(target.path()).len() as u64, count(&third, "files") + 1);
    let verified = granary(&["verify", text(target.path())]);
    assert!(verified.status.success(), "{verified:?}");

    // whatever is damaged or missing is found, and named
    for path in objects(target.path()) {
        let bytes = std::fs::read(&path).expect("reads");
        let is_empty = bytes.is_empty();
        for damage in 0..2 {
            match damage {
                0 if is_empty => continue,
                0 => {
                    let mut damaged = bytes.clone();
                    damaged[bytes.len() / 2] ^= 1;
                    std::fs::write(&path, damaged).expect("writes");
                }
                _ => std::fs::remove_file(&path).expect("removes"),
            }
            let verified = granary(&["verify", text(target.path())]);
            let told = String::from_utf8_lossy(&verified.stderr).into_owned();
            assert!(!verified.status.success(), "{}", path.display());
            let is_manifest = path.starts_with(target.path().join("backups"));
            let name = text(&path).strip_prefix(text(target.path())).expect("is below");
            assert!(is_manifest || told.contains(name), "{name}: {told}");
            std::fs::write(&path, &bytes).expect("writes");
        }
    }

    let refused = [
        (vec!["restore", text(target.path()), "--backup", text(target.path())], "is not empty"),
        (vec!["restore", "/tmp/granary-never", "--backup", text(target.path()), "--id", "x"], "there is no backup x"),
        (vec!["verify", "gs://bucket/x"], "gs://"),
        (vec!["verify", "/tmp/granary-nothing-is-here"], "there is no backup at"),
    ];
    for (arguments, reason) in refused {
        let output = granary(&arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(reason), "{arguments:?}: {told}");
    }
    // another data folder does not mix its backups with these
    let (_other_data, other, other_client) = new_with_client().await;
    let error = other_client.query(&format!("BACKUP TO '{}'", text(target.path())), &[]).await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{error:?}");
    other.stop();
    process.stop();
}

/// Kills the server while it takes a backup, and the program that restores one: either there is a whole backup, or none;
/// either a whole data folder, or none.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_half_done_when_it_is_killed() {
    let (data, process, client) = new_with_client().await;
    declare(&client).await;
    process.stop();
    let target = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(31);
    let mut finished = 0;
    for _ in 0..KILLS {
        let process = start(data.path());
        let client = process.connect().await;
        let run = Duration::from_millis(random.below(400));
        let sql = format!("BACKUP TO '{}'", text(target.path()));
        let backing_up = tokio::spawn(async move { client.query(&sql, &[]).await.is_ok() });
        process.kill_after(run).await;
        finished += i64::from(backing_up.await.expect("ends"));
    }
    let process = start(data.path());
    let client = process.connect().await;
    let last = client.query_one(&format!("BACKUP TO '{}'", text(target.path())), &[]).await.expect("backs up");
    process.stop();
    let listed = granary(&["verify", text(target.path()), "--list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let listed = listed.as_array().expect("a list");
    // one that was killed before its answer may be there as well
    assert!(listed.len() as i64 > finished, "{listed:?}");
    for backup in listed {
        let id = backup["backup"].as_str().expect("an id");
        assert!(granary(&["verify", text(target.path()), "--id", id]).status.success(), "{id}");
    }

    let folder = tempfile::tempdir().expect("a temporary folder");
    let place = folder.path().join("data");
    let mut killed = 0;
    while killed < KILLS {
        let mut restoring = Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["restore", text(&place), "--backup", text(target.path())])
            .spawn()
            .expect("starts");
        std::thread::park_timeout(Duration::from_millis(random.below(120)));
        let _ = restoring.kill();
        restoring.wait().expect("ends");
        killed += 1;
        if place.exists() {
            check(&place, [0; 3], [0; 3]).await;
            std::fs::remove_dir_all(&place).expect("removes");
        }
    }
    let id: String = last.get(0);
    let (_folder, restored) = restored(target.path(), &id);
    check(&restored, [0; 3], [0; 3]).await;
}

/// Taken by the first program that took backups, and never to be taken again: whatever the formats of its files are, later
/// programs open them. `GRANARY_WRITE_STORED=1` takes one where there is none.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_backup_is_restored_for_ever() {
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/backup_1"));
    if std::env::var_os("GRANARY_WRITE_STORED").is_some() && !stored.exists() {
        let (_data, process, client) = new_with_client().await;
        declare(&client).await;
        let events: Vec<String> = (1..=30).map(|i| format!("('k{}', '{}', {i})", i % 3, time(60 * i))).collect();
        let events = events.join(", ");
        client
            .batch_execute(&format!(
                "INSERT INTO live VALUES {events};
                 INSERT INTO pushed VALUES ('k1', '2024-01-03', 7), ('k2', '2024-01-03', 8);
                 CREATE FEATURE SERVICE everything AS sums, newest, of_live, pushed;
                 CREATE USER app PASSWORD 'secret'; GRANT SELECT ON everything TO app;
                 CREATE EXPECTATION has_rows ON sums CHECK (rows() > 0);
                 CREATE SEQUENCE numbers START 5"
            ))
            .await
            .expect("declares");
        let taken = client.query_one(&format!("BACKUP TO '{}'", text(stored)), &[]).await.expect("backs up");
        assert!(taken.get::<_, i64>(2) > 10);
        process.stop();
    }
    let (_folder, data) = restored_newest(stored);
    let process = start(&data);
    let client = process.connect().await;
    let facts = [
        ("SELECT count(*) FROM rows", 720),
        ("SELECT sum(n)::bigint FROM rows", 720 * 719 / 2),
        ("SELECT sum(counted)::bigint FROM sums FOR SYSTEM_TIME AS OF '2024-01-05'", 216),
        ("SELECT max(n) FROM newest FOR SYSTEM_TIME AS OF '2024-01-05'", 287),
        ("SELECT events FROM of_live WHERE k = 'k1'", 10),
        ("SELECT last_n FROM of_live WHERE k = 'k1'", 28),
        ("SELECT n FROM pushed WHERE k = 'k2'", 8),
        ("SELECT count(*) FROM labels", 720),
        ("SELECT count(*) FROM granary.jobs WHERE state = 'succeeded' AND kind = 'refresh'", 2),
        ("SELECT count(*) FROM granary.quality WHERE view = 'newest'", 1),
        ("SELECT nextval('numbers')", 5),
    ];
    for (sql, expected) in facts {
        assert_eq!(number(&client, sql).await, expected, "{sql}");
    }
    verify(&client).await;
    let app = process.connect_as("app", "secret").await;
    assert_eq!(number(&app, "SELECT pushed__n FROM everything WHERE k = 'k1'").await, 7);
    // and it goes on
    client
        .batch_execute(
            "INSERT INTO live VALUES ('k1', '2024-01-04', 99); INSERT INTO rows VALUES ('k1', '2024-01-04', 1)",
        )
        .await
        .expect("inserts");
    assert_eq!(number(&client, "SELECT events FROM of_live WHERE k = 'k1'").await, 11);
    process.stop();
}

fn restored_newest(backups: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let output = granary(&["restore", text(&data), "--backup", text(backups)]);
    assert!(output.status.success(), "{output:?}");
    (folder, data)
}
