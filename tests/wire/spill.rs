//! A point-in-time join with far less memory than its rows need goes to disk, and answers the same.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::Server;

const DECLARATIONS: &str = "
    CREATE TABLE raw AS
      SELECT value % 5000 AS k, to_timestamp(1704067200 + (value * 7919) % 2592000) AS ts, value % 1000 AS v, 'x' || value AS t
      FROM generate_series(1, 200000::bigint) AS g (value);
    CREATE TABLE labels AS
      SELECT CASE WHEN value % 100 = 0 THEN NULL ELSE value % 5500 END AS k,
             CASE WHEN value % 90 = 0 THEN NULL ELSE to_timestamp(1704067200 + (value * 104729) % 2592000) END AS ts
      FROM generate_series(1, 60000::bigint) AS g (value);
    CREATE ENTITY thing (k bigint);
    CREATE SOURCE source AS SELECT k, ts, v, t FROM raw TIMESTAMP ts;
    CREATE STREAM stream (k bigint, ts timestamptz, v bigint, t text) TIMESTAMP ts
      FROM PUSH BACKFILL FROM source UNTIL '2024-03-01';
    CREATE FEATURE VIEW sums ENTITY thing TIMESTAMP ts
      FEATURES (count(*) OVER (LAST '3 days') AS n, sum(v) OVER (LAST '7 days') AS total, max(v) OVER (LAST '1 day') AS most,
                last(t) OVER (LAST '2 days') AS newest, count_distinct(v) OVER (LAST '4 days') AS sorts)
      AS SELECT k, ts, v, t FROM stream;
    CREATE FEATURE VIEW even ENTITY thing TIMESTAMP ts
      AS SELECT k, ts, v, t FROM stream WHERE v % 2 = 0;
    SET from_source = on;";

const JOIN: &str = "
    SELECT count(*) AS labels, sum(s.n) AS n, sum(s.total) AS total, sum(s.most) AS most, sum(length(s.newest)) AS newest,
           sum(s.sorts) AS sorts, sum(e.v) AS even, count(e.t) AS found
    FROM labels l
    LEFT JOIN sums FOR SYSTEM_TIME AS OF l.ts AS s ON s.k = l.k
    LEFT JOIN even FOR SYSTEM_TIME AS OF l.ts AS e ON e.k = l.k";

/// The answers, and what EXPLAIN ANALYZE says of the operator.
async fn joined(server: &Server) -> (Vec<i64>, String) {
    let client = server.connect().await;
    client.batch_execute(DECLARATIONS).await.expect("declares");
    answers(&client).await
}

async fn answers(client: &tokio_postgres::Client) -> (Vec<i64>, String) {
    let row = client.query_one(JOIN, &[]).await.expect("joins");
    let answers = (0..row.len()).map(|column| row.get::<_, i64>(column)).collect();
    let plan = client.query(&format!("EXPLAIN ANALYZE {JOIN}"), &[]).await.expect("explains");
    let plan: Vec<&str> = plan.iter().map(|row| row.get(0)).collect();
    let joins = plan.iter().filter(|line| line.contains("Point-in-Time Join")).count();
    assert_eq!(joins, 1, "both views are read by one operator: {plan:?}");
    let of_join = plan.iter().skip_while(|line| !line.contains("Point-in-Time Join")).skip(1);
    let of_join: Vec<&str> = of_join.copied().take_while(|line| !line.contains("->")).collect();
    (answers, of_join.join("\n"))
}

pub async fn a_join_beyond_its_memory_goes_to_disk_and_answers_the_same() {
    let (in_memory, plan) = joined(&Server::start(&[])).await;
    assert!(!plan.contains("Spills: "), "{plan}");
    let (on_disk, plan) = joined(&Server::start(&["--memory-limit", "10MiB"])).await;
    assert!(plan.contains("Spills: "), "{plan}");
    assert_eq!(in_memory, on_disk);
    assert_eq!(in_memory[0], 60_000);
    assert!(in_memory.iter().all(|answer| *answer > 0), "{in_memory:?}");
}

/// Nine rows of ten are of one key.
const HOT_KEY: &str = "
    CREATE TABLE raw AS
      SELECT CASE WHEN value % 10 = 0 THEN value % 5000 ELSE 7 END AS k,
             to_timestamp(1704067200 + (value * 7919) % 2592000) AS ts, value % 1000 AS v, 'x' || value AS t
      FROM generate_series(1, 600000::bigint) AS g (value);
    CREATE TABLE labels AS
      SELECT CASE WHEN value % 2 = 0 THEN 7 ELSE value % 5500 END AS k,
             CASE WHEN value % 90 = 0 THEN NULL ELSE to_timestamp(1704067200 + (value * 104729) % 2592000) END AS ts
      FROM generate_series(1, 3000::bigint) AS g (value);";

/// Windows that never let go of a row.
const LIFETIMES: &str = "
    CREATE FEATURE VIEW continuous ENTITY thing TIMESTAMP ts
      FEATURES (count(*) OVER (LIFETIME) AS n, stddev_samp(v) OVER (LIFETIME) AS deviation, last(t) OVER (LIFETIME) AS newest,
                sum(v) OVER (LAST '1 day') AS recent, last(v, 5) OVER (LIFETIME) AS last5,
                ewma(v, '2 days') OVER (LIFETIME) AS mean)
      AS SELECT k, ts, v, t FROM stream;
    CREATE FEATURE VIEW tiled ENTITY thing TIMESTAMP ts WITH (aggregation_interval = '10 minutes')
      FEATURES (count(*) OVER (LIFETIME) AS n, kurtosis(v) OVER (LIFETIME) AS tails, max(v) OVER (LAST '2 days') AS most)
      AS SELECT k, ts, v FROM stream WHERE v % 3 > 0;
    CREATE FEATURE VIEW sorts ENTITY thing TIMESTAMP ts WITH (aggregation_interval = '1 hour')
      AGGREGATE BY sort FEATURES (count(*) OVER (LIFETIME) AS n, avg(v) OVER (LIFETIME) AS mean)
      AS SELECT k, ts, v, v % 7 AS sort FROM stream;
    CREATE FEATURE VIEW learned ENTITY thing TIMESTAMP ts WITH (known_at = known)
      FEATURES (count(*) OVER (LIFETIME) AS n, var_pop(v) OVER (LIFETIME) AS variance)
      AS SELECT k, ts, v, ts + CASE v % 5 WHEN 0 THEN INTERVAL '5 hours' ELSE INTERVAL '1 minute' END AS known FROM stream;";

/// The answers of those views, every value as text, so that no bit is lost.
async fn over_lifetime(client: &tokio_postgres::Client) -> Vec<(&'static str, Vec<Option<String>>)> {
    let mut rows = Vec::new();
    // a bitemporal view answers each time by itself, so few are asked
    let few = "WHERE date_part('hour', l.ts) = 3";
    for (view, asked) in [("continuous", ""), ("tiled", ""), ("sorts", ""), ("learned", few)] {
        let join = format!(
            "SELECT l.k, l.ts, v.* FROM labels l LEFT JOIN {view} FOR SYSTEM_TIME AS OF l.ts AS v ON v.k = l.k {asked}"
        );
        let messages = client.simple_query(&join).await.expect(view);
        let texts = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        rows.extend(texts.map(|row| (view, (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())));
    }
    // a sort in the server would need memory, too
    rows.sort();
    rows
}

pub async fn a_key_with_more_rows_than_memory_is_answered_time_by_time() {
    let (mut all, mut of_lifetime) = (Vec::new(), Vec::new());
    for arguments in [&[][..], &["--memory-limit", "16MiB"]] {
        let server = Server::start(arguments);
        let client = server.connect().await;
        let (_, views) = DECLARATIONS.split_once("CREATE ENTITY").expect("views behind the tables");
        client.batch_execute(&format!("{HOT_KEY} CREATE ENTITY{views}{LIFETIMES}")).await.expect("declares");
        all.push(answers(&client).await.0);
        of_lifetime.push(over_lifetime(&client).await);
        client.batch_execute("SET from_source = off").await.expect("sets");
        for view in ["sums", "even", "continuous", "tiled", "sorts", "learned"] {
            client.batch_execute(&format!("REFRESH FEATURE VIEW {view} OFFLINE")).await.expect("refreshes");
        }
        all.push(answers(&client).await.0);
        of_lifetime.push(over_lifetime(&client).await);
    }
    assert!(all.iter().all(|answers| *answers == all[0]), "{all:?}");
    assert!(all[0].iter().all(|answer| *answer > 0), "{all:?}");
    assert!(of_lifetime[0].len() > 3 * 3000);
    for other in &of_lifetime[1..] {
        assert_eq!(of_lifetime[0].len(), other.len());
        let different = of_lifetime[0].iter().zip(other).find(|(a, b)| a != b);
        assert!(different.is_none(), "{different:?}");
    }
}

pub async fn a_cancelled_join_gives_its_disk_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&["--memory-limit", "10MiB", "--data", data.to_str().expect("a plain path")]);
    let (client, other) = (server.connect().await, server.connect().await);
    client.batch_execute(DECLARATIONS).await.expect("declares");
    let spill = data.join("spill");
    assert_eq!(bytes_below(&spill), 0);
    let token = client.cancel_token();
    let running = tokio::spawn(async move { client.query_one(JOIN, &[]).await });
    until(&other, || bytes_below(&spill) > 0).await;
    token.cancel_query(tokio_postgres::NoTls).await.expect("the request is heard");
    let error = running.await.expect("runs").expect_err("it was cancelled");
    assert_eq!(error.code().map(tokio_postgres::error::SqlState::code), Some("57014"), "{error}");
    until(&other, || bytes_below(&spill) == 0).await;
    assert_eq!(other.query_one("SELECT count(*) FROM labels", &[]).await.expect("goes on").get::<_, i64>(0), 60_000);
}

/// Asks the server small things until a condition holds.
async fn until(client: &tokio_postgres::Client, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        client.batch_execute("SELECT 1").await.expect("answers");
        assert!(since.elapsed() < Duration::from_secs(60), "it never came to be");
    }
}

/// The sizes of all files; those that go meanwhile count nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |path: &Path| match path.is_dir() {
        true => bytes_below(path),
        false => path.metadata().map_or(0, |file| file.len()),
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}
