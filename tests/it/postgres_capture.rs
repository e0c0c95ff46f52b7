//! Streams that capture a table of a real PostgreSQL server: its rows, and every change after, are in every reader once,
//! whatever dies in between.

mod server;

use std::time::Duration;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::asking::{one, run, until};
use crate::crash::Process;
use crate::random::Random;
use server::Server;

const KILLS: u64 = 12;
const LONGEST_RUN_MS: u64 = 2_500;
/// How much work there is in the time of each run.
const ROUNDS: i64 = 25;
/// Of the table that is captured while the server is killed.
const FIRST_ROWS: i64 = 20_000;
/// Of one transaction: several entries of a log.
const MANY_ROWS: i64 = 15_000;

/// Rows as text, as either server writes them.
async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect()),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

const STATE: &str = "SELECT state FROM granary.streams WHERE name = 's'";
const LAST_ERROR: &str = "SELECT last_error FROM granary.streams WHERE name = 's'";

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_their_changes_arrive_with_their_values() {
    let server = Server::start();
    let table = server.connect().await;
    run(
        &table,
        r#"SET timezone = 'UTC';
         CREATE TABLE "Odd" (id bigint PRIMARY KEY, i int, s smallint, f float8, r real, n numeric(12, 3), "Text" text, ok boolean,
           at timestamptz, d date, tags text[], ns bigint[], raw bytea, u uuid, more text);
         INSERT INTO "Odd" VALUES
           (1, -2147483648, 32767, 0.1, 1.5, 123456789.125, E'tab\t back\\slash \n line "quoted" ''ö'' 🙂 ,', true,
            '2024-02-29 23:59:59.123456+02', '1969-12-31', ARRAY['a', NULL, '', '{"x,y"}'], ARRAY[1, NULL, -9223372036854775808],
            '\x00ff27', '0e37df36-f698-11e6-8dd4-cb9ced3df976', 'ignored'),
           (2, NULL, NULL, 'NaN', 'Infinity', -0.001, '', false, '1900-01-01', '2400-02-29', '{}', NULL, '', NULL, NULL),
           (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"#,
    )
    .await;
    let (folder, process, sql) = Process::new_with_client().await;
    run(
        &sql,
        &format!(
            r#"CREATE ENTITY thing (id bigint);
             CREATE STREAM s (_op text, id bigint, i int, s smallint, f float8, r real, n numeric(12, 3), "Text" text, ok boolean,
               at timestamptz, d date, tags text[], ns bigint[], raw bytea, u text, _commit_time timestamptz, _lsn bigint)
               FROM POSTGRES {0} TABLE '"Odd"' TIMESTAMP _commit_time;
             CREATE STREAM quiet (id bigint, f float8, at timestamptz)
               FROM POSTGRES {0} TABLE '"Odd"' TIMESTAMP at DEDUPLICATE BY (id);
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP _commit_time
               FEATURES (count(*) OVER (LIFETIME) AS events, last(_op) OVER (LIFETIME) AS op) AS SELECT id, _commit_time, _op FROM s"#,
            server.dsn()
        ),
    )
    .await;
    let columns = r#"id, i, s, f, r, n, "Text", ok, at, d, tags, ns, raw, u"#;
    let of_table = format!(r#"SELECT {columns} FROM "Odd" ORDER BY id"#);
    let of_stream = |op: &str| format!("SELECT {columns} FROM s WHERE _op = '{op}' ORDER BY id");
    until(&sql, "SELECT count(*)::text FROM s", "3").await;
    until(&sql, STATE, "reading").await;
    assert_eq!(rows(&sql, &of_stream("snapshot")).await, rows(&table, &of_table).await);
    // an update gives the new row, a delete the key of the old one
    run(
        &table,
        r#"BEGIN; UPDATE "Odd" SET i = 7, tags = '{b}' WHERE id = 1; UPDATE "Odd" SET id = 20 WHERE id = 2; COMMIT;
         BEGIN; INSERT INTO "Odd" (id) VALUES (99); ROLLBACK"#,
    )
    .await;
    run(&table, r#"DELETE FROM "Odd" WHERE id = 3"#).await;
    until(&sql, "SELECT count(*)::text FROM s", "6").await;
    assert_eq!(rows(&sql, &of_stream("update")).await, rows(&table, &of_table).await);
    run(&table, r#"INSERT INTO "Odd" SELECT id + 100, i, s, f, r, n, "Text", ok, at, d, tags, ns, raw, u FROM "Odd""#)
        .await;
    until(&sql, "SELECT count(*)::text FROM s", "8").await;
    let inserted = format!(r#"SELECT {columns} FROM "Odd" WHERE id > 100 ORDER BY id"#);
    assert_eq!(rows(&sql, &of_stream("insert")).await, rows(&table, &inserted).await);
    let deleted =
        "SELECT id::text || ' ' || (i IS NULL)::text || ' ' || (_commit_time > now() - INTERVAL '1 hour')::text || ' '
      || (_lsn > (SELECT max(_lsn) FROM s WHERE _op = 'update'))::text FROM s WHERE _op = 'delete'";
    assert_eq!(one(&sql, deleted).await, "3 true true true");
    for (id, expected) in [(1, "2 update"), (3, "2 delete"), (120, "1 insert")] {
        let asked = format!("SELECT events::text || ' ' || op FROM v WHERE id = {id}");
        until(&sql, &asked, expected).await;
    }
    assert!(sql.query("VERIFY FEATURE VIEW v", &[]).await.expect("verifies").is_empty());
    // without a column for what happened, deletes are nothing; a row without the event's time is none
    until(&sql, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM quiet", "1 2 20 101 120").await;
    let letters = r#"SELECT string_agg(partition::text || ' ' || "offset"::text || ' ' || left(reason, 5), ', ') FROM granary.dead_letters"#;
    assert_eq!(one(&sql, letters).await, "1 2 23502");
    let error = sql.batch_execute("INSERT INTO quiet VALUES (1, 1, now())").await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("42809".into()));
    // the password is nowhere
    for shown in ["SHOW CREATE STREAM s", "SELECT string_agg(definition, ' ') FROM granary.history"] {
        if let Ok(shown) = sql.query_one(shown, &[]).await {
            let text: Option<String> = shown.get(0);
            assert!(!text.unwrap_or_default().contains("word"), "the password is shown");
        }
    }
    // what is forgotten is gone from the log, too, which still knows how far it is
    run(&sql, "DELETE FROM v WHERE id = 3").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, "6");
    process.stop();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, STATE, "reading").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, "6");
    run(&table, r#"INSERT INTO "Odd" (id) VALUES (3)"#).await;
    until(&sql, "SELECT events::text || ' ' || op FROM v WHERE id = 3", "1 insert").await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, "7");
    let kept = "SELECT (SELECT count(*) FROM pg_replication_slots)::text || ' ' || (SELECT count(*) FROM pg_publication)::text";
    assert_eq!(one(&table, kept).await, "2 2");
    run(&sql, "DROP FEATURE VIEW v; DROP STREAM s; DROP STREAM quiet").await;
    until(&table, kept, "0 0").await;
    process.stop();
}

/// What reads another relation, too: views from before the events and from after them, and an event that none of them can take.
#[tokio::test(flavor = "multi_thread")]
async fn captured_rows_join_other_relations() {
    let server = Server::start();
    let table = server.connect().await;
    run(&table, "CREATE TABLE t (id bigint PRIMARY KEY, n bigint); INSERT INTO t VALUES (1, 10), (2, 20)").await;
    let (folder, process, sql) = Process::new_with_client().await;
    run(
        &sql,
        &format!(
            "CREATE ENTITY thing (id bigint);
             CREATE TABLE parts (id bigint, parts bigint);
             INSERT INTO parts VALUES (1, 2), (2, 5), (3, 0);
             CREATE STREAM s (_op text, id bigint, n bigint, _commit_time timestamptz)
               FROM POSTGRES {} TABLE t TIMESTAMP _commit_time;
             CREATE FEATURE VIEW before ENTITY thing TIMESTAMP ts FEATURES (sum(part) OVER (LIFETIME) AS total)
               AS SELECT s.id, s._commit_time AS ts, s.n / p.parts AS part FROM s JOIN parts p ON p.id = s.id",
            server.dsn()
        ),
    )
    .await;
    let totals =
        |view: &str| format!("SELECT string_agg(id::text || ' ' || total::text, ', ' ORDER BY id) FROM {view}");
    until(&sql, &totals("before"), "1 5, 2 4").await;
    run(&sql, "INSERT INTO parts VALUES (2, 1)").await;
    run(
        &sql,
        "CREATE FEATURE VIEW after ENTITY thing TIMESTAMP ts FEATURES (sum(part) OVER (LIFETIME) AS total)
           AS SELECT s.id, s._commit_time AS ts, s.n / p.parts AS part FROM s JOIN parts p ON p.id = s.id",
    )
    .await;
    assert_eq!(one(&sql, &totals("after")).await, "1 5, 2 24");
    run(&table, "INSERT INTO t VALUES (3, 30); UPDATE t SET n = 40 WHERE id = 2").await;
    until(&sql, &totals("before"), "1 5, 2 52").await;
    let letters = "SELECT string_agg(left(reason, 5), ', ') FROM granary.dead_letters";
    assert_eq!(one(&sql, letters).await, "22012");
    // read on by a server that was killed
    process.kill();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    for (view, expected) in [("before", "1 5, 2 52"), ("after", "1 5, 2 72")] {
        assert_eq!(one(&sql, &totals(view)).await, expected);
        let of_past = format!("{view} FOR SYSTEM_TIME AS OF now()");
        assert_eq!(one(&sql, &totals(&of_past)).await, expected);
        assert!(sql.query(&format!("VERIFY FEATURE VIEW {view}"), &[]).await.expect("verifies").is_empty());
    }
    run(&table, "UPDATE t SET n = 2 WHERE id = 1").await;
    until(&sql, &totals("after"), "1 6, 2 72").await;
    process.stop();
}

/// Three kinds of work on three ranges of rows: what comes, what changes, and what goes.
async fn work(table: &Client, round: i64) {
    let (new, half) = (1_000_000 + round * 50, FIRST_ROWS / 2);
    run(
        table,
        &format!(
            "BEGIN; INSERT INTO t SELECT g, 0, '2024-01-01' FROM generate_series({new}, {new} + 49) g; COMMIT;
             UPDATE t SET v = v + 1 WHERE n >= {0} AND n < {0} + 20;
             DELETE FROM t WHERE n >= {1} AND n < {1} + 3",
            (round * 7) % (half - 20),
            half + (round * 3) % (half - 3),
        ),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_counts_once_whoever_is_killed() {
    let server = Server::start();
    let table = server.connect().await;
    run(
        &table,
        &format!(
            "CREATE TABLE t (n bigint PRIMARY KEY, v bigint, ts timestamptz); ALTER TABLE t REPLICA IDENTITY FULL;
             INSERT INTO t SELECT g, 0, '2024-01-01' FROM generate_series(0, {FIRST_ROWS} - 1) g"
        ),
    )
    .await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(21);
    let process = Process::start(folder.path());
    run(
        &process.connect().await,
        &format!(
            "CREATE ENTITY thing (n bigint);
             CREATE STREAM s (n bigint, v bigint, ts timestamptz, _op text) FROM POSTGRES {} TABLE t TIMESTAMP ts;
             CREATE FEATURE VIEW f ENTITY thing TIMESTAMP ts
               FEATURES (count(*) OVER (LIFETIME) AS events, sum(v) OVER (LIFETIME) AS total) AS SELECT n, ts, v FROM s",
            server.dsn()
        ),
    )
    .await;
    let (permit, mut permitted) = tokio::sync::mpsc::unbounded_channel();
    let worker = server.connect().await;
    let working = tokio::spawn(async move {
        while let Some(round) = permitted.recv().await {
            work(&worker, round).await;
        }
    });
    let allow = |kill: u64| {
        let first = i64::try_from(kill).expect("small") * ROUNDS;
        (first..first + ROUNDS).for_each(|round| permit.send(round).expect("it works"));
    };
    allow(0);
    process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    let mut grew = 0;
    for kill in 1..KILLS {
        allow(kill);
        if kill == KILLS / 2 {
            let from = 10_000_000;
            let many = format!(
                "INSERT INTO t SELECT g, 0, '2024-01-01' FROM generate_series({from}, {from} + {MANY_ROWS} - 1) g"
            );
            run(&table, &many).await;
        }
        let process = Process::start(folder.path());
        let sql = process.connect().await;
        let seen = "SELECT count(*)::text || ' ' || count(DISTINCT n)::text FROM s WHERE _op IN ('snapshot', 'insert')";
        let seen = one(&sql, seen).await;
        let (rows, different) = seen.split_once(' ').expect("two numbers");
        assert_eq!(rows, different, "an event is there twice");
        grew = grew.max(rows.parse::<i64>().expect("a number"));
        process.kill_after(Duration::from_millis(random.below(LONGEST_RUN_MS))).await;
    }
    assert!(grew > 0, "the kills left no time for any work");
    drop(permit);
    working.await.expect("works");
    run(&table, "INSERT INTO t VALUES (-1, 0, '2024-01-01')").await;
    // the other one dies, too
    server.stop();
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, STATE, "reconnecting").await;
    server.start_again();
    let table = server.connect().await;
    until(&sql, "SELECT count(*)::text FROM s WHERE n = -1", "1").await;
    // every row has each of its values from the first that was seen to the last, once
    let of_rows = "(SELECT n, max(v) AS last, max(v) - min(v) + 1 AS steps, count(DISTINCT v) AS different,
       sum(CASE WHEN _op = 'delete' THEN 0 ELSE 1 END) AS images, sum(CASE WHEN _op = 'delete' THEN 1 ELSE 0 END) AS gone
       FROM s GROUP BY n) r";
    let wrong =
        format!("SELECT count(*)::text FROM {of_rows} WHERE steps <> images OR different <> images OR gone > 1");
    assert_eq!(one(&sql, &wrong).await, "0");
    let live = format!("SELECT count(*)::text || ' ' || sum(last)::bigint::text FROM {of_rows} WHERE gone = 0");
    assert_eq!(
        one(&sql, &live).await,
        one(&table, "SELECT count(*)::text || ' ' || sum(v)::bigint::text FROM t").await
    );
    assert_eq!(one(&sql, "SELECT dead_letters::text FROM granary.streams").await, "0");
    let expected = one(&sql, "SELECT count(*)::text || ' ' || sum(v)::bigint::text FROM s").await;
    for view in ["f", "f FOR SYSTEM_TIME AS OF '2024-01-02'"] {
        let sums = format!("SELECT sum(events)::bigint::text || ' ' || sum(total)::bigint::text FROM {view}");
        assert_eq!(one(&sql, &sums).await, expected, "{view}");
    }
    assert!(sql.query("VERIFY FEATURE VIEW f", &[]).await.expect("verifies").is_empty());
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_captured_says_why() {
    let server = Server::start();
    let table = server.connect().await;
    run(
        &table,
        "CREATE TABLE t (k text PRIMARY KEY, n bigint, big text, ts timestamptz DEFAULT '2024-01-01');
         ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE other (k text);
         CREATE PUBLICATION part FOR TABLE t WHERE (k <> 'left out'); CREATE PUBLICATION none;
         INSERT INTO t VALUES ('a', 1, repeat('x', 10000)), ('left out', 2, '')",
    )
    .await;
    let (folder, process, sql) = Process::new_with_client().await;
    let create = |columns: &str, from: &str| {
        format!(
            "CREATE OR REPLACE STREAM s ({columns}, ts timestamptz) FROM POSTGRES {} {from} TIMESTAMP ts",
            server.dsn()
        )
    };
    let columns = "k text, n smallint, big text";
    for (columns, from, error) in [
        (columns, "TABLE nothing", "no table nothing"),
        (columns, "PUBLICATION unknown TABLE t", "no publication unknown"),
        (columns, "PUBLICATION none TABLE t", "no publication none"),
        ("k text, more text", "TABLE t", "no column \"more\""),
        ("k bigint", "TABLE t", "cannot become bigint"),
    ] {
        run(&sql, &create(columns, from)).await;
        let said = format!(
            "SELECT (state = 'failing' AND strpos(last_error, '{error}') > 0)::text FROM granary.streams WHERE name = 's'"
        );
        until(&sql, &said, "true").await;
    }
    run(&sql, &create(columns, "PUBLICATION part TABLE t")).await;
    until(&sql, "SELECT string_agg(k, ' ') FROM s", "a").await;
    // what is large and not changed is not sent again, unless all of the old row is
    run(
        &table,
        "UPDATE t SET n = 3 WHERE k = 'a'; INSERT INTO t VALUES ('b', 40000, ''), ('left out too', 4, '');
         ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET n = 5 WHERE k = 'a'",
    )
    .await;
    until(
        &sql,
        "SELECT string_agg(k || n::text || '-' || length(big)::text, ' ' ORDER BY n) FROM s",
        "a1-10000 left out too4-0 a5-10000",
    )
    .await;
    let letters = "SELECT string_agg(left(reason, 5), ', ' ORDER BY reason) FROM granary.dead_letters";
    assert_eq!(one(&sql, letters).await, "22003, 55000");
    run(&table, "TRUNCATE t").await;
    until(&sql, "SELECT (strpos(last_error, 'truncated') > 0)::text FROM granary.streams WHERE name = 's'", "true")
        .await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, "3");
    // with events the table cannot change, but the way to it can
    let error = sql.batch_execute(&create(columns, "TABLE other")).await.expect_err("is refused");
    assert_eq!(error.code().map(|code| code.code().to_owned()), Some("0A000".into()));
    run(&sql, &create(columns, "PUBLICATION part TABLE t").replace("dbname", "application_name=feed dbname")).await;
    run(&table, "INSERT INTO t VALUES ('c', 6, '')").await;
    until(&sql, "SELECT count(*)::text FROM s", "4").await;
    // a slot that has lost changes is not read on as if there had been none
    process.stop();
    until(&table, "SELECT count(*)::text FROM pg_replication_slots WHERE NOT active", "1").await;
    run(&table, "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'").await;
    one(&table, "SELECT pg_reload_conf()::text").await;
    let mut status = String::new();
    for _ in 0..50 {
        one(&table, "SELECT pg_logical_emit_message(false, 'a', 'b')::text").await;
        one(&table, "SELECT pg_switch_wal()::text").await;
        run(&table, "CHECKPOINT").await;
        status = one(&table, "SELECT wal_status FROM pg_replication_slots").await;
        if status == "lost" {
            break;
        }
    }
    assert_eq!(status, "lost");
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, STATE, "failing").await;
    assert!(one(&sql, LAST_ERROR).await.contains("invalidated"), "{}", one(&sql, LAST_ERROR).await);
    process.stop();
    let drop = "SELECT pg_drop_replication_slot(slot_name)::text FROM pg_replication_slots";
    let name = one(&table, "SELECT slot_name::text FROM pg_replication_slots").await;
    one(&table, drop).await;
    let process = Process::start(folder.path());
    let sql = process.connect().await;
    until(&sql, STATE, "failing").await;
    assert!(one(&sql, LAST_ERROR).await.contains("is gone"), "{}", one(&sql, LAST_ERROR).await);
    run(
        &table,
        &format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput'); INSERT INTO t VALUES ('d', 7, '')"),
    )
    .await;
    until(
        &sql,
        "SELECT (strpos(last_error, 'moved on by somebody else') > 0)::text FROM granary.streams WHERE name = 's'",
        "true",
    )
    .await;
    assert_eq!(one(&sql, "SELECT count(*)::text FROM s").await, "4");
    // a publication that is not the stream's stays
    run(&sql, "DROP STREAM s").await;
    let kept = "SELECT (SELECT count(*) FROM pg_replication_slots)::text || ' ' || (SELECT count(*) FROM pg_publication)::text";
    until(&table, kept, "0 2").await;
    process.kill();
}
