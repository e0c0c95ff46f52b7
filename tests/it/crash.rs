//! kill -9 in the middle of refreshes, merges of files and catalog commits, many times. What was acknowledged is there after the next
//! start; no answer is ever wrong; and running an interrupted refresh again gives what an undisturbed one gives.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::random::Random;
use crate::ready::port_when_ready;

const KILLS: u64 = 50;
const PASSWORD: &str = "crash";
/// The days that are refreshed one by one.
const DAYS: i64 = 50;
/// How long a server runs at most before it is killed; more on a machine where nothing gets done in that.
const LONGEST_RUN_MS: u64 = 250;
const MOST_PATIENT_RUN_MS: u64 = 10_000;

pub struct Process {
    child: Child,
    port: u16,
}

impl Process {
    /// A server with a new folder, and a client of it.
    pub async fn new_with_client() -> (tempfile::TempDir, Process, Client) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = Process::start(folder.path());
        let client = process.connect().await;
        (folder, process, client)
    }

    pub fn start(folder: &Path) -> Process {
        Process::start_with(folder, &["--scheduler", "off"])
    }

    /// With arguments of its own.
    pub fn start_with(folder: &Path, arguments: &[&str]) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .arg("--data")
            .arg(folder)
            .env("GRANARY_PASSWORD", PASSWORD)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let port = port_when_ready(&mut child);
        Process { child, port }
    }

    /// For other programs.
    pub fn dsn(&self) -> String {
        format!("host=127.0.0.1 port={} user=granary dbname=granary password={PASSWORD}", self.port)
    }

    pub async fn connect(&self) -> Client {
        self.connect_as("granary", PASSWORD).await
    }

    pub async fn connect_as(&self, role: &str, password: &str) -> Client {
        let dsn = format!("host=127.0.0.1 port={} user={role} dbname=granary password={password}", self.port);
        let (client, connection) = tokio_postgres::connect(&dsn, NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }

    pub fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("ends");
    }

    /// As an administrator stops it: what is under way is done.
    pub fn stop(mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(asked.success());
        assert!(self.child.wait().expect("ends").success(), "it stops in order");
    }

    /// The moment of the kill is the test's random input, not a wait for something.
    pub async fn kill_after(self, run: Duration) {
        let kill = move || {
            std::thread::park_timeout(run);
            self.kill();
        };
        tokio::task::spawn_blocking(kill).await.expect("kills");
    }
}

/// A test that fails leaves nothing running.
impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn day(number: i64) -> String {
    granary_sql::timestamp::format_timestamp(1_704_067_200_000_000 + number * 86_400_000_000)
}

async fn declare(client: &Client) {
    client
        .batch_execute(
            "CREATE TABLE events (k text, ts timestamptz, v bigint);
             CREATE ENTITY thing (k text);
             CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts;
             CREATE FEATURE VIEW sums ENTITY thing TIMESTAMP ts
               FEATURES (sum(v) OVER (LAST '1 day') AS day_sum, count(*) OVER (LIFETIME) AS total)
               WITH (schedule = '1 day', aggregation_interval = '1 hour', lifetime_start = '2024-01-01', start = '2024-01-01')
               AS SELECT k, ts, v FROM source;
             CREATE FEATURE VIEW newest ENTITY thing TIMESTAMP ts WITH (schedule = '1 day', start = '2024-01-01')
               AS SELECT k, ts, v FROM source;",
        )
        .await
        .expect("declares");
    let rows: Vec<String> = (0..DAYS * 24 * 2)
        .map(|i| {
            let ts = granary_sql::timestamp::format_timestamp(1_704_067_200_000_000 + i * 1_800_000_000);
            format!("('k{}', '{ts}', {i})", i % 7)
        })
        .collect();
    for rows in rows.chunks(500) {
        client.batch_execute(&format!("INSERT INTO events VALUES {}", rows.join(", "))).await.expect("inserts");
    }
}

/// Answers at the end of a day, for every key, from the stores or from the source.
async fn answers(client: &Client, from_source: bool, number: i64) -> Vec<(String, Option<i64>, i64, Option<i64>)> {
    let at = day(number);
    client
        .batch_execute(if from_source { "SET from_source = on" } else { "SET from_source = off" })
        .await
        .expect("sets");
    let sql = format!(
        "SELECT s.k, s.day_sum, s.total, n.v
         FROM (SELECT DISTINCT k FROM events) e
         JOIN sums FOR SYSTEM_TIME AS OF '{at}' AS s ON s.k = e.k
         JOIN newest FOR SYSTEM_TIME AS OF '{at}' AS n ON n.k = e.k
         ORDER BY s.k"
    );
    let rows = client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_and_what_was_not_can_be_run_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(9);
    let process = Process::start(folder.path());
    declare(&process.connect().await).await;
    process.kill();
    let mut done = 0;
    let mut tables: Vec<String> = Vec::new();
    let mut longest_run_ms = LONGEST_RUN_MS;
    for round in 0..KILLS {
        let process = Process::start(folder.path());
        check(&process.connect().await, done, &tables).await;
        let run = Duration::from_millis(random.below(longest_run_ms));
        let optimizing = tokio::spawn(optimize(process.connect().await));
        let work = (refresh(process.connect().await, done), create(process.connect().await, round));
        let (refreshed, created) = disturbed(work, run, process).await;
        optimizing.await.expect("only the server's end ends it");
        done += refreshed;
        tables.extend(created);
        if done == 0 || tables.is_empty() {
            longest_run_ms = MOST_PATIENT_RUN_MS.min(longest_run_ms + longest_run_ms / 4);
        }
    }
    assert!(done > 0 && !tables.is_empty(), "the kills left no time for any work");
    finish(folder.path(), done).await;
}

/// Refreshes day after day; gives how many were acknowledged.
async fn refresh(client: Client, done: i64) -> i64 {
    let mut acknowledged = 0;
    for number in done..DAYS {
        let range = format!("FROM '{}' TO '{}' OVERWRITE", day(number), day(number + 1));
        for view in ["sums", "newest"] {
            if client.batch_execute(&format!("REFRESH FEATURE VIEW {view} {range}")).await.is_err() {
                return acknowledged;
            }
        }
        acknowledged += 1;
    }
    acknowledged
}

/// Merges files beside the refreshes, which wait for it.
async fn optimize(client: Client) {
    for _ in 0..20 {
        if let Err(error) = client.batch_execute("OPTIMIZE sums; OPTIMIZE newest; VACUUM RETAIN '0'").await {
            assert!(error.as_db_error().is_none(), "{error:?}");
            return;
        }
    }
}

/// Creates tables until the server is gone; gives the names that were acknowledged.
async fn create(client: Client, round: u64) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let name = format!("t_{round}_{number}");
        // Two changes in one transaction: both or none.
        let sql = format!("BEGIN; CREATE TABLE {name} (a int); CREATE VIEW v_{name} AS SELECT * FROM {name}; COMMIT");
        if client.batch_execute(&sql).await.is_err() {
            break;
        }
        acknowledged.push(name);
    }
    acknowledged
}

/// Runs both until the server is killed under them.
async fn disturbed(
    (refreshing, creating): (
        impl Future<Output = i64> + Send + 'static,
        impl Future<Output = Vec<String>> + Send + 'static,
    ),
    run: Duration,
    process: Process,
) -> (i64, Vec<String>) {
    let refreshing = tokio::spawn(refreshing);
    let creating = tokio::spawn(creating);
    process.kill_after(run).await;
    (refreshing.await.expect("ends"), creating.await.expect("ends"))
}

async fn check(client: &Client, done: i64, tables: &[String]) {
    if done > 0 {
        assert_eq!(answers(client, false, done).await, answers(client, true, done).await, "after {done} days");
    }
    let sql = "SELECT count(*) FROM ";
    for name in tables.iter().rev().take(20) {
        client.query(&format!("{sql} v_{name}"), &[]).await.unwrap_or_else(|error| panic!("{name} is lost: {error:?}"));
    }
}

/// Finishes the rest undisturbed: every day and the online stores are as if nothing had happened.
async fn finish(folder: &Path, done: i64) {
    let process = Process::start(folder);
    let client = process.connect().await;
    assert_eq!(refresh(process.connect().await, done).await, DAYS - done);
    for number in [1, DAYS / 2, DAYS] {
        assert_eq!(answers(&client, false, number).await, answers(&client, true, number).await, "day {number}");
    }
    client.batch_execute("RESET from_source").await.expect("resets");
    let online = client.query("SELECT k, v FROM newest ORDER BY k", &[]).await.expect("reads");
    let online: Vec<(String, Option<i64>)> = online.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<(String, Option<i64>)> =
        answers(&client, true, DAYS).await.into_iter().map(|(k, _, _, v)| (k, v)).collect();
    assert_eq!(online, expected);
    process.kill();
}
