//! kill -9 while a feature that a view was given is filled, and while groups of columns are joined: what answered before
//! answers the same all the while, and what is run again ends as if nothing had happened.

use std::time::Duration;

use tokio_postgres::Client;

use crate::crash::Process;
use crate::random::Random;

const ROUNDS: u64 = 6;
/// A server runs so long before it is killed; longer after each round in which nothing got done.
const RUN_MS: u64 = 400;

fn view(name: &str, features: usize) -> String {
    let all = [
        "sum(v) OVER (LAST '40 days') AS f0",
        "count(*) OVER (LAST '3 days') AS f1",
        "max(w) OVER (LAST '40 days') AS f2",
        "last(w, 3) OVER (LAST '40 days') AS f3",
        "count_distinct(w) OVER (LAST '40 days') AS f4",
        "min(w) OVER (LAST '9 days') AS f5",
        "stddev(w) OVER (LAST '40 days') AS f6",
        "approx_percentile(w, 0.5) OVER (LAST '40 days') AS f7",
    ];
    let columns = if features > 2 { "v, w" } else { "v" };
    format!(
        "CREATE OR REPLACE FEATURE VIEW {name} ENTITY thing TIMESTAMP ts FEATURES ({})
           WITH (schedule = '1 day', aggregation_interval = '1 hour', start = '2024-02-01')
           AS SELECT k, ts, {columns} FROM source",
        all[..features].join(", ")
    )
}

async fn answers(client: &Client, name: &str, features: usize) -> Result<Vec<String>, tokio_postgres::Error> {
    let columns: Vec<String> = (0..features).map(|feature| format!("v.f{feature}::text")).collect();
    let columns = columns.join(", ");
    let of_keys = "FROM (SELECT DISTINCT k FROM events) e JOIN";
    let on = "ON v.k = e.k ORDER BY v.k";
    let mut found = Vec::new();
    for time in ["2024-02-03", "2024-02-20 07:00"] {
        let sql =
            format!("SELECT concat_ws('|', v.k, {columns}) {of_keys} {name} FOR SYSTEM_TIME AS OF '{time}' AS v {on}");
        found.extend(client.query(&sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
    }
    let sql = format!("SELECT concat_ws('|', v.k, {columns}) {of_keys} {name} AS v {on}");
    found.extend(client.query(&sql, &[]).await?.iter().map(|row| row.get::<_, String>(0)));
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fill_and_a_killed_join_are_run_again() {
    let (folder, process, client) = Process::new_with_client().await;
    client
        .batch_execute(
            "CREATE TABLE events AS SELECT 'k' || value % 40 AS k, to_timestamp(1704067200 + (value * 7919) % 5184000) AS ts,
               value % 89 AS v, value % 13 AS w FROM generate_series(1, 40000::bigint) AS g (value);
             CREATE ENTITY thing (k text);
             CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts;",
        )
        .await
        .expect("declares");
    client.batch_execute(&view("v", 2)).await.expect("is made");
    client.batch_execute("REFRESH FEATURE VIEW v").await.expect("is filled");
    drop(client);
    let mut process = Some(process);
    let mut random = Random::new(12);
    let (mut features, mut run_ms, mut killed) = (2, RUN_MS, 0);
    for _ in 0..ROUNDS {
        let server = process.take().unwrap_or_else(|| Process::start(folder.path()));
        let client = server.connect().await;
        // the features that were filled are as the source has them
        let found = answers(&client, "v", features).await.expect("answers");
        client.batch_execute("SET from_source = on").await.expect("sets");
        assert_eq!(answers(&client, "v", features).await.expect("answers")[..80], found[..80], "{features} features");
        client.batch_execute("RESET from_source").await.expect("resets");
        let wanted = (features + 1).min(8);
        client.batch_execute(&view("v", wanted)).await.expect("is given a feature");
        assert_eq!(answers(&client, "v", features).await.expect("answers"), found, "before it is filled");
        let work = tokio::spawn(async move {
            let filled = client.batch_execute("REFRESH FEATURE VIEW v").await;
            // what was filled in another round is no more to do
            let is_done = filled.as_ref().is_err_and(|error| error.code().is_some_and(|code| code.code() == "55000"));
            if filled.is_ok() || is_done {
                let _ = client.batch_execute("OPTIMIZE FEATURE VIEW v").await;
            }
            filled.is_ok() || is_done
        });
        server.kill_after(Duration::from_millis(random.below(run_ms))).await;
        if work.await.expect("ends") {
            features = wanted;
        } else {
            run_ms *= 2;
            killed += 1;
        }
    }
    assert!(killed > 0 && features > 2, "{killed} kills came in between, {features} features were filled");
    let server = Process::start(folder.path());
    let client = server.connect().await;
    client.batch_execute(&view("v", 8)).await.expect("is given the rest");
    let _ = client.batch_execute("REFRESH FEATURE VIEW v").await;
    client.batch_execute(&view("w", 8)).await.expect("is made at once");
    client.batch_execute("REFRESH FEATURE VIEW w").await.expect("is filled");
    let expected = answers(&client, "w", 8).await.expect("answers");
    assert_eq!(answers(&client, "v", 8).await.expect("answers"), expected);
    client.batch_execute("OPTIMIZE FEATURE VIEW v").await.expect("joins what is left");
    assert_eq!(answers(&client, "v", 8).await.expect("answers"), expected, "in one table");
    let tables = std::fs::read_dir(folder.path().join("offline")).expect("the offline store");
    let mut of_views: Vec<String> = tables
        .map(|table| table.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("view-") && !name.contains("spans"))
        .collect();
    of_views.sort_unstable();
    assert_eq!(of_views.len(), 2, "one table each: {of_views:?}");
    server.kill();
}
