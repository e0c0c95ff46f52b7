//! Sinks to topics of a real broker: what is sent last of each key is what a lookup gives, whatever dies in between.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;
use tokio_postgres::Client;

use crate::asking::{PATIENCE, free_port, one, run, until};
use crate::crash::Process;
use crate::kafka::broker::{Broker, Reader, Way, client, create_topic};
use crate::random::Random;

const KILLS: u64 = 5;
const LONGEST_RUN_MS: u64 = 1_500;
const KEYS: i64 = 5;

const DECLARED: &str = "CREATE ENTITY thing (k text);
     CREATE STREAM s (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts;
     CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts
       FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total, last(n) OVER (LIFETIME) AS newest)
       AS SELECT k, ts, n FROM s";

fn sink(broker: &str) -> String {
    format!("CREATE SINK out FROM v TO KAFKA (brokers '{broker}', topic 't', format json)")
}

/// What lookups give, by key.
async fn lookups(sql: &Client) -> BTreeMap<String, String> {
    let rows = sql.query("SELECT k, events, total, newest FROM v", &[]).await.expect("reads");
    let row = |row: &tokio_postgres::Row| {
        let (k, events, total, newest): (String, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        (k, format!("{events} {total} {newest}"))
    };
    rows.iter().map(row).collect()
}

/// The same of the last message of each key.
fn sent(reader: &mut Reader) -> BTreeMap<String, String> {
    let message = |(key, payload): (&Vec<u8>, &Vec<u8>)| {
        let key = String::from_utf8(key.clone()).expect("text");
        let fields: Json = serde_json::from_slice(payload).expect("JSON");
        assert_eq!(fields["k"], Json::String(key.clone()));
        assert!(fields["_time"].is_string(), "{fields}");
        (key, format!("{} {} {}", fields["events"], fields["total"], fields["newest"]))
    };
    reader.newest().iter().map(message).collect()
}

/// Reads until the last messages are what lookups give.
async fn agree(sql: &Client, reader: &mut Reader) -> BTreeMap<String, String> {
    let expected = lookups(sql).await;
    let mut found = BTreeMap::new();
    let asked = async {
        while found != expected {
            found = sent(reader);
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, asked).await.is_err() {
        let state =
            one(sql, "SELECT s::text FROM (SELECT state || ' ' || coalesce(last_error, '') AS s FROM granary.sinks) q")
                .await;
        panic!("found    {found:?}\nexpected {expected:?}\n{state}");
    }
    expected
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_values_arrive_and_are_those_of_lookups() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 2).await;
    let (folder, process, sql) = Process::new_with_client().await;
    run(&sql, DECLARED).await;
    // before there is a sink
    run(&sql, "INSERT INTO s VALUES ('old', '2024-01-01', 1)").await;
    run(&sql, &sink(&broker.address())).await;
    run(&sql, "INSERT INTO s VALUES ('a', '2024-01-01', 1), ('b', '2024-01-01', 2), ('a', '2024-01-02', 4)").await;
    let mut reader = Reader::new(&config, "t");
    until(&sql, "SELECT lag::text || ' ' || state FROM granary.sinks", "0 sending").await;
    assert_eq!(one(&sql, "SELECT position::text || ' ' || messages::text FROM granary.sinks").await, "4 2");
    let expected = [("a", "2 5 4"), ("b", "1 2 2")].map(|(key, values)| (key.to_owned(), values.to_owned()));
    let asked = async {
        while sent(&mut reader) != BTreeMap::from(expected.clone()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("arrives");
    // the next ones, and those of a sink that begins with the first event
    run(&sql, "INSERT INTO s VALUES ('old', '2024-01-03', 8), ('a', '2023-01-01', 16)").await;
    agree(&sql, &mut reader).await;
    create_topic(&config, "u", 1).await;
    let whole = sink(&broker.address()).replace("SINK out", "SINK whole").replace("'t'", "'u', start earliest");
    run(&sql, &whole).await;
    agree(&sql, &mut Reader::new(&config, "u")).await;
    let metric =
        "SELECT value::bigint::text FROM granary.metrics WHERE name = 'granary_sink_messages_total' AND sink = 'out'";
    until(&sql, metric, "4").await;
    // it goes on where it was after a stop, and is gone when it is dropped
    process.stop();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, "SELECT position::text FROM granary.sinks WHERE name = 'out'", "6").await;
    assert_eq!(one(&sql, "SELECT messages::text FROM granary.sinks WHERE name = 'out'").await, "0");
    let error = sql.batch_execute("DROP FEATURE VIEW v").await.expect_err("a sink needs it");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("2BP01".into()));
    run(&sql, "DROP SINK out, whole; DROP FEATURE VIEW v").await;
    process.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_message_of_each_key_is_the_lookup_whenever_the_server_is_killed() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 3).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(21);
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    run(&sql, &format!("{DECLARED}; {}", sink(&broker.address()))).await;
    drop(sql);
    process.stop();
    let mut next = 0;
    for _ in 0..KILLS {
        let process = Process::start(folder.path());
        let pushing = tokio::spawn(push(process.connect().await, next));
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
        next = pushing.await.expect("only the server's end ends it");
    }
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    let rows = (0..KEYS).map(|k| format!("('k{k}', '2024-01-02', 1)")).collect::<Vec<_>>().join(", ");
    run(&sql, &format!("INSERT INTO s VALUES {rows}")).await;
    let mut reader = Reader::new(&config, "t");
    let expected = agree(&sql, &mut reader).await;
    assert_eq!(expected.len() as i64, KEYS);
    // and once no more comes
    until(&sql, "SELECT lag::text FROM granary.sinks", "0").await;
    assert_eq!(agree(&sql, &mut reader).await, expected);
    process.kill();
}

/// Pushes call after call until the server is gone; gives the next number.
async fn push(client: Client, first: i64) -> i64 {
    for call in 0.. {
        let start = first + call * 20;
        let row = |n: i64| format!("('k{}', '2024-01-01'::timestamptz + INTERVAL '{n} seconds', {n})", n % KEYS);
        let rows: Vec<String> = (start..start + 20).map(row).collect();
        if client.batch_execute(&format!("INSERT INTO s VALUES {}", rows.join(", "))).await.is_err() {
            return start + 20;
        }
    }
    unreachable!("the numbers do not run out")
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_may_be_away() {
    let (port, advertised) = (free_port(), free_port());
    let (_folder, process, sql) = Process::new_with_client().await;
    run(&sql, &format!("{DECLARED}; {}", sink(&format!("127.0.0.1:{advertised}")))).await;
    run(&sql, "INSERT INTO s VALUES ('a', '2024-01-01', 1)").await;
    let state = "SELECT state FROM granary.sinks";
    // nobody is there yet
    until(&sql, state, "reconnecting").await;
    assert!(one(&sql, "SELECT last_error FROM granary.sinks").await.contains(&advertised.to_string()));
    let broker = Broker::start_at(port, advertised, &[]);
    let way = Way::open(advertised, port).await;
    let config = client(&format!("127.0.0.1:{advertised}"));
    // which makes topics that are asked for
    until(&sql, "SELECT state || ' ' || coalesce(last_error, '') || lag::text FROM granary.sinks", "sending 0").await;
    way.cut().await;
    run(&sql, "INSERT INTO s VALUES ('a', '2024-01-02', 2), ('b', '2024-01-02', 2)").await;
    until(&sql, state, "reconnecting").await;
    assert_eq!(one(&sql, "SELECT lag::text FROM granary.sinks").await, "2");
    let _way = Way::open(advertised, port).await;
    until(&sql, "SELECT state || ' ' || lag::text FROM granary.sinks", "sending 0").await;
    agree(&sql, &mut Reader::new(&config, "t")).await;
    drop(broker);
    process.stop();
}
