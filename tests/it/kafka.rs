//! Streams that read topics of a real broker: what arrives is in every reader once, whatever dies in between.

pub mod broker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use crate::asking::{free_port, one, run, until};
use crate::crash::Process;
use crate::random::Random;
use broker::{Broker, Producer, Way, client, create_topic};

const KILLS: u64 = 10;
const LONGEST_RUN_MS: u64 = 1_500;

/// A number in Avro: zigzag, seven bits a byte, the lowest first.
fn avro_long(number: i64) -> Vec<u8> {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 128 {
        bytes.push((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A string in Avro: its length, and it.
fn avro_text(text: &str) -> Vec<u8> {
    let length = i64::try_from(text.len()).expect("short");
    [avro_long(length), text.as_bytes().to_vec()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_csv_and_avro_become_events() {
    let broker = Broker::start();
    let config = client(&broker.address());
    for topic in ["json", "csv", "avro"] {
        create_topic(&config, topic, 2).await;
    }
    let (_folder, process, sql) = Process::new_with_client().await;
    let producer = Producer::new(&config);
    let from = format!("FROM KAFKA (brokers '{}', ", broker.address());
    run(
        &sql,
        &format!(
            r#"CREATE ENTITY thing (k text);
             CREATE STREAM j (k text, ts timestamptz, n bigint) {from} topic 'json', format json, key 'k') TIMESTAMP ts;
             CREATE STREAM c (k text, ts timestamptz, n bigint) {from} topic 'csv', format csv) TIMESTAMP ts;
             CREATE STREAM a (k text, ts timestamptz, n bigint) {from} topic 'avro', format avro, schema_id = 7, schema = '
               {{"type": "record", "name": "r", "fields": [
                 {{"name": "n", "type": ["null", "long"]}},
                 {{"name": "ts", "type": {{"type": "long", "logicalType": "timestamp-millis"}}}},
                 {{"name": "k", "type": "string"}}, {{"name": "more", "type": "boolean"}}]}}') TIMESTAMP ts;
             CREATE FEATURE VIEW vj ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM j;
             CREATE FEATURE VIEW vc ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM c;
             CREATE FEATURE VIEW va ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM a"#
        ),
    )
    .await;
    for n in 0..100_i64 {
        let partition = i32::try_from(n % 2).expect("small");
        let json = format!(r#"{{"ts": "2024-01-01 00:00:00+00", "n": {n}, "more": {{"is": "ignored"}}}}"#);
        producer.send("json", partition, Some("x"), Some(json.as_bytes()));
        let csv = format!("x,2024-01-01T00:00:00Z,{n}\n");
        producer.send("csv", partition, None, Some(csv.as_bytes()));
        // of schema 7, the second branch of the union, the fields in their order
        let prefix = vec![0, 0, 0, 0, 7];
        let fields = [vec![2], avro_long(n), avro_long(1_704_067_200_000), avro_text("x"), vec![1]];
        producer.send("avro", partition, None, Some(&[prefix, fields.concat()].concat()));
    }
    // a tombstone is nothing
    producer.send("json", 0, Some("x"), None);
    producer.flush();
    for (stream, view) in [("j", "vj"), ("c", "vc"), ("a", "va")] {
        until(&sql, &format!("SELECT events::text || ' ' || total::text FROM {view} WHERE k = 'x'"), "100 4950").await;
        let past = format!(
            "SELECT events::text || ' ' || total::text FROM {view} FOR SYSTEM_TIME AS OF '2024-01-02' WHERE k = 'x'"
        );
        assert_eq!(one(&sql, &past).await, "100 4950", "{view}");
        let rows = format!("SELECT count(DISTINCT n)::text || ' ' || (min(ts) = '2024-01-01')::text FROM {stream}");
        assert_eq!(one(&sql, &rows).await, "100 true", "{stream}");
        let lag = format!(
            "SELECT state || ' ' || lag::text || ' ' || dead_letters::text FROM granary.streams WHERE name = '{stream}'"
        );
        until(&sql, &lag, "reading 0 0").await;
    }
    let partitions =
        "SELECT string_agg(partition::text || ':' || next_offset::text || ':' || lag::text, ' ' ORDER BY partition)
                      FROM granary.stream_partitions WHERE stream = 'c'";
    until(&sql, partitions, "0:50:0 1:50:0").await;
    let metric = "SELECT value::bigint::text FROM granary.metrics WHERE name = 'granary_stream_messages_total' AND outcome = 'event' AND stream = 'c'";
    assert_eq!(one(&sql, metric).await, "100");
    let error = sql.batch_execute("INSERT INTO j VALUES ('x', now(), 1)").await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("42809".into()));
    run(&sql, "DROP FEATURE VIEW vj; DROP STREAM j").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM granary.stream_partitions WHERE stream = 'j'").await, "0");
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_is_a_dead_letter_once() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 1).await;
    let (folder, process, sql) = Process::new_with_client().await;
    run(
        &sql,
        &format!(
            "CREATE ENTITY thing (k text);
             CREATE STREAM s (k text, ts timestamptz, n bigint, d varchar(3)) FROM KAFKA (brokers '{}', topic 't', format json) TIMESTAMP ts;
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (sum(q) OVER (LIFETIME) AS q)
               AS SELECT k, ts, 100 / n AS q FROM s",
            broker.address()
        ),
    )
    .await;
    let producer = Producer::new(&config);
    let long = format!(r#"{{"k": "{}"}}"#, "x".repeat(10_000));
    let sent = [
        r#"{"k": "x", "ts": "2024-01-01", "n": 4, "d": "abc  "}"#,
        "no json",
        r#"{"k": "x", "n": 4}"#,
        r#"{"k": "x", "ts": "2024-01-01", "n": 0}"#,
        r#"{"k": "x", "ts": "2024-01-01", "n": 1.5}"#,
        r#"{"k": "x", "ts": "2024-01-01", "n": 5, "d": "abcd"}"#,
        &long,
        r#"{"k": "x", "ts": "2024-01-01", "n": 5}"#,
    ];
    for message in sent {
        producer.send("t", 0, None, Some(message.as_bytes()));
    }
    producer.flush();
    let letters = r#"SELECT string_agg("offset"::text || ' ' || left(reason, 5), ', ' ORDER BY "offset") FROM granary.dead_letters WHERE stream = 's'"#;
    let expected = "1 22P02, 2 23502, 3 22012, 4 22P02, 5 22001, 6 23502";
    until(&sql, "SELECT q::text FROM v WHERE k = 'x'", "45").await;
    until(&sql, letters, expected).await;
    let payload =
        r#"SELECT length(payload)::text || ' ' || payload_bytes::text FROM granary.dead_letters WHERE "offset" = 6"#;
    let sizes = format!("4096 {}", long.len());
    assert_eq!(one(&sql, payload).await, sizes);
    // killed: out of the log
    process.kill();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    assert_eq!(one(&sql, letters).await, expected);
    // stopped: flushed, and the log let go of
    process.stop();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    assert_eq!(one(&sql, letters).await, expected);
    assert_eq!(one(&sql, payload).await, sizes);
    assert_eq!(one(&sql, "SELECT q::text FROM v WHERE k = 'x'").await, "45");
    producer.send("t", 0, None, Some(br#"{"k": "x", "ts": "2024-01-01", "n": 10}"#));
    producer.send("t", 0, None, Some(b"?"));
    producer.flush();
    until(&sql, "SELECT q::text FROM v WHERE k = 'x'", "55").await;
    until(&sql, letters, "1 22P02, 2 23502, 3 22012, 4 22P02, 5 22001, 6 23502, 9 22P02").await;
    // who may not read the stream may not read what was to be in it
    run(&sql, "CREATE ROLE stranger LOGIN PASSWORD 'x'; GRANT CONNECT ON DATABASE granary TO stranger").await;
    let stranger = process.connect_as("stranger", "x").await;
    assert_eq!(one(&stranger, "SELECT count(*)::text FROM granary.dead_letters").await, "0");
    process.kill();
}

/// A byte of Avro becomes nine of an event: batches, and single messages, that are too long for an entry of the log.
#[tokio::test(flavor = "multi_thread")]
async fn events_may_be_longer_than_their_messages() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 1).await;
    let (_folder, process, sql) = Process::new_with_client().await;
    let create = format!(
        r#"CREATE STREAM s (ts timestamptz, ns bigint[]) FROM KAFKA (brokers '{}', topic 't', paused = true,
             receive.message.max.bytes = 20000000, fetch.message.max.bytes = 8000000, format avro, schema = '
             {{"type": "record", "name": "r", "fields": [
               {{"name": "ts", "type": {{"type": "long", "logicalType": "timestamp-micros"}}}},
               {{"name": "ns", "type": {{"type": "array", "items": "long"}}}}]}}') TIMESTAMP ts"#,
        broker.address()
    );
    run(&sql, &create).await;
    let producer = Producer::new(config.clone().set("message.max.bytes", "8000000"));
    for items in [900_000, 900_000, 5_000_000, 900_000, 900_000, 900_000] {
        let message =
            [avro_long(0), avro_long(items), vec![2; usize::try_from(items).expect("small")], vec![0]].concat();
        producer.send("t", 0, None, Some(&message));
    }
    producer.flush();
    run(&sql, &create.replace("CREATE", "CREATE OR REPLACE").replace("paused = true", "paused = false")).await;
    until(&sql, "SELECT lag::text FROM granary.streams", "0").await;
    assert_eq!(
        one(&sql, "SELECT count(*)::text || ' ' || sum(cardinality(ns))::bigint::text FROM s").await,
        "5 4500000"
    );
    assert_eq!(
        one(&sql, "SELECT \"offset\"::text || ' ' || left(reason, 5) FROM granary.dead_letters").await,
        "2 53400"
    );
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_counts_once_whenever_the_server_is_killed() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 3).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(12);
    let process = Process::start(folder.path());
    run(
        &process.connect().await,
        &format!(
            "CREATE ENTITY thing (k text);
             CREATE STREAM s (k text, ts timestamptz, n bigint) FROM KAFKA (brokers '{0}', topic 't', format csv) TIMESTAMP ts;
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM s;
             CREATE STREAM once (k text, ts timestamptz, n bigint) FROM KAFKA (brokers '{0}', topic 't', format csv)
               TIMESTAMP ts DEDUPLICATE BY (k);
             CREATE FEATURE VIEW first_ones ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(n) OVER (LIFETIME) AS total) AS SELECT k, ts, n FROM once",
            broker.address()
        ),
    )
    .await;
    let (sent, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let producing = std::thread::spawn({
        let (sent, stop, producer) = (Arc::clone(&sent), Arc::clone(&stop), Producer::new(&config));
        move || {
            while !stop.load(Ordering::SeqCst) {
                for n in sent.load(Ordering::SeqCst)..sent.load(Ordering::SeqCst) + 50 {
                    // one in ten is no event
                    let line = if n % 10 == 9 { format!("{n}") } else { format!("k{},2024-01-01,{n}", n % 4) };
                    producer.send("t", i32::try_from(n % 3).expect("small"), None, Some(line.as_bytes()));
                }
                producer.flush();
                sent.fetch_add(50, Ordering::SeqCst);
            }
        }
    });
    process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    let mut grew = 0;
    for _ in 1..KILLS {
        let process = Process::start(folder.path());
        let sql = process.connect().await;
        let seen = one(&sql, "SELECT count(*)::text || ' ' || count(DISTINCT n)::text FROM s").await;
        let (rows, different) = seen.split_once(' ').expect("two numbers");
        assert_eq!(rows, different, "an event is there twice");
        grew = grew.max(rows.parse::<i64>().expect("a number"));
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    }
    assert!(grew > 0, "the kills left no time for any work");
    stop.store(true, Ordering::SeqCst);
    producing.join().expect("produces");
    let sent = sent.load(Ordering::SeqCst);
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    let events = sent - sent / 10;
    until(&sql, "SELECT count(*)::text FROM s", &events.to_string()).await;
    until(&sql, "SELECT dead_letters::text FROM granary.streams WHERE name = 's'", &(sent / 10).to_string()).await;
    let total: i64 = (0..sent).filter(|n| n % 10 != 9).sum();
    let expected = format!("{events} {total}");
    for view in ["v", "v FOR SYSTEM_TIME AS OF '2024-01-02'"] {
        let sums = format!("SELECT sum(events)::bigint::text || ' ' || sum(total)::bigint::text FROM {view}");
        assert_eq!(one(&sql, &sums).await, expected, "{view}");
    }
    let rows = "SELECT count(DISTINCT n)::text || ' ' || sum(n)::bigint::text FROM s";
    assert_eq!(one(&sql, rows).await, expected);
    // of the stream with DEDUPLICATE BY, one event of each key, the same one everywhere
    until(&sql, "SELECT lag::text FROM granary.streams WHERE name = 'once'", "0").await;
    let expected = format!("4 {}", one(&sql, "SELECT sum(n)::bigint::text FROM once").await);
    assert_eq!(one(&sql, "SELECT count(*)::text || ' ' || sum(n)::bigint::text FROM once").await, expected);
    for view in ["first_ones", "first_ones FOR SYSTEM_TIME AS OF '2024-01-02'"] {
        let sums = format!("SELECT sum(events)::bigint::text || ' ' || sum(total)::bigint::text FROM {view}");
        assert_eq!(one(&sql, &sums).await, expected, "{view}");
    }
    for view in ["v", "first_ones"] {
        let differences = sql.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies");
        assert!(differences.is_empty(), "{view}: {differences:?}");
    }
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_may_be_away() {
    let (port, advertised) = (free_port(), free_port());
    let (_folder, process, sql) = Process::new_with_client().await;
    // nobody is there yet
    run(
        &sql,
        &format!(
            "CREATE STREAM s (k text, ts timestamptz) FROM KAFKA (brokers '127.0.0.1:{advertised}', topic 't', format csv) TIMESTAMP ts"
        ),
    )
    .await;
    let state = "SELECT state FROM granary.streams";
    until(&sql, state, "reconnecting").await;
    let error = one(&sql, "SELECT last_error FROM granary.streams").await;
    assert!(error.contains(&advertised.to_string()), "{error}");
    let broker = Broker::start_at(port, advertised, &[]);
    let way = Way::open(advertised, port).await;
    let config = client(&format!("127.0.0.1:{advertised}"));
    create_topic(&config, "t", 1).await;
    let producer = Producer::new(&config);
    producer.send("t", 0, None, Some(b"x,2024-01-01"));
    producer.flush();
    until(&sql, "SELECT count(*)::text FROM s", "1").await;
    until(&sql, state, "reading").await;
    way.cut().await;
    until(&sql, state, "reconnecting").await;
    let _way = Way::open(advertised, port).await;
    producer.send("t", 0, None, Some(b"y,2024-01-01"));
    producer.flush();
    until(&sql, "SELECT count(*)::text FROM s", "2").await;
    until(&sql, state, "reading").await;
    drop(broker);
    process.stop();
}

/// The broker itself speaks no TLS: the way to it does.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_known_by_their_certificates() {
    let (port, advertised) = (free_port(), free_port());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (certificate, key) = broker::certificate(folder.path(), "broker");
    let (other, _) = broker::certificate(folder.path(), "nobody");
    let _broker = Broker::start_at(port, advertised, &[]);
    let acceptor = granary::http::acceptor(&certificate, &key, &[]).expect("a certificate");
    let _way = Way::open_tls(advertised, port, acceptor).await;
    let mut config = client(&format!("127.0.0.1:{advertised}"));
    config.set("security.protocol", "ssl").set("ssl.ca.location", certificate.to_str().expect("UTF-8"));
    create_topic(&config, "t", 1).await;
    let producer = Producer::new(&config);
    producer.send("t", 0, None, Some(b"x,2024-01-01"));
    producer.flush();
    let process = Process::start(&folder.path().join("data"));
    let sql = process.connect().await;
    let create = |name: &str, ca: &str| {
        format!(
            "CREATE STREAM {name} (k text, ts timestamptz) FROM KAFKA (brokers '127.0.0.1:{advertised}', topic 't',
             format csv, security_protocol ssl, ssl_ca = '{ca}') TIMESTAMP ts"
        )
    };
    run(&sql, &create("trusting", certificate.to_str().expect("UTF-8"))).await;
    let pem = std::fs::read_to_string(&certificate).expect("reads");
    run(&sql, &create("inline", &pem)).await;
    run(&sql, &create("doubting", other.to_str().expect("UTF-8"))).await;
    for stream in ["trusting", "inline"] {
        until(&sql, &format!("SELECT count(*)::text FROM {stream}"), "1").await;
    }
    until(&sql, "SELECT state FROM granary.streams WHERE name = 'doubting'", "failing").await;
    let error = one(&sql, "SELECT last_error FROM granary.streams WHERE name = 'doubting'").await;
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(one(&sql, "SELECT count(*)::text FROM doubting").await, "0");
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_where_it_says_and_goes_on_there() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 1).await;
    let producer = Producer::new(&config);
    producer.send("t", 0, None, Some(b"old,2024-01-01"));
    producer.flush();
    let (folder, process, sql) = Process::new_with_client().await;
    let create = |name: &str, options: &str| {
        format!(
            "CREATE OR REPLACE STREAM {name} (k text, ts timestamptz) FROM KAFKA (brokers '{}', topic 't', format csv, {options}) TIMESTAMP ts",
            broker.address()
        )
    };
    run(&sql, &create("late", "start latest")).await;
    run(&sql, &create("early", "paused = true")).await;
    until(&sql, "SELECT next_offset::text FROM granary.stream_partitions WHERE stream = 'late'", "1").await;
    until(&sql, "SELECT state FROM granary.streams WHERE name = 'early'", "paused").await;
    process.kill();
    // the place was found out once, and what comes while nobody reads is read
    producer.send("t", 0, None, Some(b"new,2024-01-01"));
    producer.flush();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, "SELECT string_agg(k, ' ' ORDER BY k) FROM late", "new").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM early").await, "0");
    run(&sql, &create("early", "paused = false")).await;
    until(&sql, "SELECT string_agg(k, ' ' ORDER BY k) FROM early", "new old").await;
    // with events the topic cannot change, but how it is read can
    let other = create("early", "paused = true").replace("topic 't'", "topic 'u'");
    let error = sql.batch_execute(&other).await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("0A000".into()));
    run(&sql, &create("early", "paused = true")).await;
    until(&sql, "SELECT state FROM granary.streams WHERE name = 'early'", "paused").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM early").await, "2");
    // the same by ALTER, for good
    run(&sql, "ALTER STREAM early RESUME; ALTER STREAM late PAUSE").await;
    until(&sql, "SELECT state FROM granary.streams WHERE name = 'late'", "paused").await;
    producer.send("t", 0, None, Some(b"newest,2024-01-01"));
    producer.flush();
    until(&sql, "SELECT string_agg(k, ' ' ORDER BY k) FROM early", "new newest old").await;
    process.kill();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    assert_eq!(one(&sql, "SELECT state FROM granary.streams WHERE name = 'late'").await, "paused");
    assert_eq!(one(&sql, "SELECT string_agg(k, ' ' ORDER BY k) FROM late").await, "new");
    run(&sql, "ALTER STREAM late RESUME").await;
    until(&sql, "SELECT string_agg(k, ' ' ORDER BY k) FROM late", "new newest").await;
    process.kill();
}

/// The log lets go of everything, and still it is known how far the topic was read: without new messages, and with some.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_not_read_again() {
    let broker = Broker::start();
    let config = client(&broker.address());
    create_topic(&config, "t", 2).await;
    let producer = Producer::new(&config);
    let send = |partition: i32, key: &str| {
        producer.send("t", partition, None, Some(format!("{key},2024-01-01").as_bytes()));
        producer.flush();
    };
    ["gone", "stays", "gone"].iter().for_each(|key| send(0, key));
    send(1, "gone");
    let (folder, mut process, sql) = Process::new_with_client().await;
    let declared = format!(
        "CREATE ENTITY thing (k text);
         CREATE STREAM s (k text, ts timestamptz) FROM KAFKA (brokers '{}', topic 't', format csv) TIMESTAMP ts;
         CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER (LIFETIME) AS events) AS SELECT k, ts FROM s",
        broker.address()
    );
    run(&sql, &declared).await;
    until(&sql, "SELECT count(*)::text FROM s", "4").await;
    for round in 1..4 {
        let sql = process.connect().await;
        run(&sql, "DELETE FROM v WHERE k = 'gone'").await;
        assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, round.to_string());
        process.kill();
        process = Process::start(folder.path());
        if round == 2 {
            // once more without anything to read
            process.kill();
            process = Process::start(folder.path());
        }
        send(1, "gone");
        send(round % 2, "stays");
        until(&process.connect().await, "SELECT count(*)::text FROM s", &(round + 2).to_string()).await;
    }
    let sql = process.connect().await;
    assert_eq!(one(&sql, "SELECT events::text FROM v WHERE k = 'stays'").await, "4");
    assert!(sql.query("VERIFY FEATURE VIEW v", &[]).await.expect("verifies").is_empty());
    process.kill();
}

/// A broker that keeps its topics in memory has lost them when it is killed: what was to be read next is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_has_lost_messages_is_not_read_on_unsaid() {
    let broker = Broker::start();
    let port = broker.port;
    let config = client(&broker.address());
    let send = |letters: &str| {
        let producer = Producer::new(&config);
        letters.chars().for_each(|k| producer.send("t", 0, None, Some(format!("{k},2024-01-01").as_bytes())));
        producer.flush();
    };
    create_topic(&config, "t", 1).await;
    send("abc");
    let (_folder, process, sql) = Process::new_with_client().await;
    run(
        &sql,
        &format!(
            "CREATE STREAM s (k text, ts timestamptz) FROM KAFKA (brokers '127.0.0.1:{port}', topic 't', format csv) TIMESTAMP ts"
        ),
    )
    .await;
    let events = "SELECT string_agg(k, '' ORDER BY k) FROM s";
    until(&sql, events, "abc").await;
    drop(broker);
    until(&sql, "SELECT state FROM granary.streams", "reconnecting").await;
    let _broker = Broker::start_at(port, port, &[]);
    create_topic(&config, "t", 1).await;
    send("x");
    until(&sql, "SELECT state FROM granary.streams", "failing").await;
    let error = one(&sql, "SELECT last_error FROM granary.streams").await;
    assert!(error.to_lowercase().contains("offset"), "{error}");
    assert_eq!(one(&sql, events).await, "abc");
    process.kill();
}
