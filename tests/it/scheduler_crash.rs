//! kill -9 while the scheduler makes jobs and runs them, many times. In the end every period of every view was done by
//! exactly one job, and both stores answer as the source does.

use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const KILLS: u64 = 15;
const VIEWS: usize = 4;
/// Views begin forty days before.
const NOW: &str = "2024-02-10 00:10:00";
const ARGUMENTS: [&str; 4] = ["--scheduler", "on", "--now", NOW];
const LONGEST_RUN_MS: u64 = 4000;

async fn declare(client: &Client) {
    client
        .batch_execute(
            "CREATE TABLE events (k text, ts timestamptz, v bigint);
             INSERT INTO events SELECT 'k' || i % 5, '2024-01-01'::timestamptz + i * interval '1 hour', i
               FROM generate_series(0, 959) AS g(i);
             CREATE ENTITY thing (k text);
             CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts;",
        )
        .await
        .expect("declares");
    for number in 0..VIEWS {
        let features = match number % 2 {
            0 => "FEATURES (sum(v) OVER (LAST '3 days') AS total)",
            _ => "",
        };
        let sql = format!(
            "CREATE FEATURE VIEW v{number} ENTITY thing TIMESTAMP ts {features}
               WITH (start = '2024-01-01', max_backfill_interval = '{} days') AS SELECT k, ts, v FROM source",
            number + 2
        );
        client.batch_execute(&sql).await.expect("a view");
    }
}

/// How many jobs have not ended, and how many have succeeded.
async fn counts(client: &Client) -> (i64, i64) {
    let sql = "SELECT count(*) FILTER (WHERE state IN ('queued', 'running')), \
               count(*) FILTER (WHERE state = 'succeeded') FROM granary.jobs";
    let row = client.query_one(sql, &[]).await.expect("reads");
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_period_is_done_once_whenever_the_server_is_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(21);
    let process = Process::start_with(folder.path(), &ARGUMENTS);
    declare(&process.connect().await).await;
    process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    for _ in 0..KILLS {
        let process = Process::start_with(folder.path(), &ARGUMENTS);
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    }

    let process = Process::start_with(folder.path(), &ARGUMENTS);
    let client = process.connect().await;
    let begun = std::time::Instant::now();
    let whole =
        "SELECT count(*) FROM granary.materialized_ranges WHERE start <= '2024-01-01' AND \"end\" = '2024-02-10'";
    // a range counts a moment before its job has ended
    let (mut ranges, mut open, mut succeeded) = (0, 1, 0);
    while ranges < 2 * VIEWS as i64 || open > 0 {
        ranges = client.query_one(whole, &[]).await.expect("reads").get(0);
        (open, succeeded) = counts(&client).await;
        assert!(begun.elapsed() < Duration::from_secs(240), "{ranges} ranges are whole, {open} jobs are open");
        tokio::task::yield_now().await;
    }
    let ready = "SELECT count(*) FROM granary.ready WHERE online_ready_until = '2024-02-10' \
                 AND offline_ready_until = '2024-02-10'";
    assert_eq!(client.query_one(ready, &[]).await.expect("reads").get::<_, i64>(0), VIEWS as i64);
    let row = client
        .query_one("SELECT count(*) FROM granary.jobs WHERE state IN ('failed', 'cancelled')", &[])
        .await
        .expect("reads");
    assert_eq!(row.get::<_, i64>(0), 0, "a stop fails no job");
    let attempts = client.query_one("SELECT count(*) FROM granary.job_attempts", &[]).await.expect("reads");
    assert!(attempts.get::<_, i64>(0) > succeeded, "no kill has met an attempt: make the runs longer");
    check_periods(&client).await;
    check_answers(&client).await;
    process.kill();
}

/// Jobs that succeeded follow on each other without a gap and without an overlap.
async fn check_periods(client: &Client) {
    for number in 0..VIEWS {
        let (first, days) = if number % 2 == 0 { ("2023-12-29", 43) } else { ("2024-01-01", 40) };
        let sql = format!(
            "SELECT sum(extract(epoch FROM range_end - range_start) / 86400)::bigint,
                    min(range_start) = '{first}', max(range_end) = '2024-02-10'
             FROM granary.jobs WHERE feature_view = 'v{number}' AND state = 'succeeded'"
        );
        let row = client.query_one(&sql, &[]).await.expect("reads");
        assert_eq!((row.get::<_, i64>(0), row.get(1), row.get(2)), (days, true, true), "v{number}");
        let ranges = client
            .query_one(&format!("SELECT count(*) FROM granary.materialized_ranges WHERE view = 'v{number}'"), &[])
            .await
            .expect("reads");
        assert_eq!(ranges.get::<_, i64>(0), 2, "one range in each store");
    }
}

async fn check_answers(client: &Client) {
    for number in 0..VIEWS {
        let column = if number % 2 == 0 { "total" } else { "v" };
        for at in ["2024-01-03", "2024-01-20", "2024-02-10"] {
            let sql = format!("SELECT k, {column} FROM v{number} FOR SYSTEM_TIME AS OF '{at}' ORDER BY k");
            let mut answers = Vec::new();
            for from_source in ["off", "on"] {
                client.batch_execute(&format!("SET from_source = {from_source}")).await.expect("sets");
                let rows = client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                answers.push(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<(String, Option<i64>)>>());
            }
            assert!(!answers[0].is_empty() && answers[0] == answers[1], "{sql}: {answers:?}");
        }
        let differences = client.query(&format!("VERIFY FEATURE VIEW v{number}"), &[]).await.expect("verifies");
        assert!(differences.is_empty(), "v{number}: the stores differ: {differences:?}");
    }
}
