//! COPY … FROM STDIN, message by message.

use crate::client::{Client, Target, bind, execute, message, parse, sync, within};

async fn with_table(target: &Target, name: &str) -> Client {
    let mut client = Client::login(target).await;
    assert_eq!(client.query(&format!("CREATE TABLE {name} (a int, b text)")).await, ["C CREATE TABLE", "Z I"]);
    client
}

fn data(text: &str) -> Vec<u8> {
    message(b'd', text.as_bytes())
}

fn done() -> Vec<u8> {
    message(b'c', b"")
}

async fn count(client: &mut Client, table: &str) -> String {
    client.query(&format!("SELECT count(*) FROM {table}")).await[1].clone()
}

pub async fn rows_come_in_by_either_protocol(target: Target) {
    let mut client = with_table(&target, "copy_either").await;
    client.send_query("COPY copy_either FROM STDIN").await;
    let asked = client.next().await;
    // text, and so are the two columns
    assert_eq!((asked.tag, asked.body), (b'G', vec![0, 0, 2, 0, 0, 0, 0]));
    client.raw(&[data("1\to"), data("ne\n2"), data("\ttwo"), done()].concat()).await;
    assert_eq!(client.until_ready().await, ["C COPY 2", "Z I"]);
    // a Sync before the rows, as a client sends that does not know that it copies, counts for nothing
    let start = [parse("", "COPY copy_either (b) FROM STDIN CSV", &[]), bind("", ""), execute("", 0), sync()];
    client.raw(&start.concat()).await;
    assert_eq!(client.take(3).await, ["1", "2", "G"]);
    client.raw(&[data("\"x\ny\"\n"), done(), sync()].concat()).await;
    assert_eq!(client.until_ready().await, ["C COPY 1", "Z I"]);
    let rows = client.query("SELECT * FROM copy_either ORDER BY a").await;
    assert_eq!(rows, ["T", "D 1|one", "D 2|two", "D NULL|x\ny", "C SELECT 3", "Z I"]);
    // the statements around it are one transaction
    client.send_query("INSERT INTO copy_either VALUES (9, 'x'); COPY copy_either FROM STDIN; SELECT 1").await;
    assert_eq!(client.take(2).await, ["C INSERT 0 1", "G"]);
    client.raw(&[data("3\tthree\n"), done()].concat()).await;
    assert_eq!(client.until_ready().await, ["C COPY 1", "T", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(count(&mut client, "copy_either").await, "D 5");
}

pub async fn a_failed_copy_keeps_nothing_and_the_connection_goes_on(target: Target) {
    let mut client = with_table(&target, "copy_failed").await;
    client.send_query("COPY copy_failed FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.raw(&[data("1\tone\n"), message(b'f', b"no more\0")].concat()).await;
    let replies = client.replies().await;
    assert_eq!(replies[0].field('C').as_deref(), Some("57014"));
    assert_eq!(replies[0].field('M').as_deref(), Some("COPY from stdin failed: no more"));
    assert_eq!(replies[1].shown(), "Z I");
    // what the client still sends when the fault is known counts for nothing
    client.send_query("COPY copy_failed FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.raw(&[data("1\tone\nx\ttwo\n"), data("3\tthree\n"), done()].concat()).await;
    let replies = client.replies().await;
    assert_eq!(replies[0].field('C').as_deref(), Some("22P02"));
    assert_eq!(replies[0].field('W').as_deref(), Some("COPY copy_failed, line 2, column a: \"x\""));
    assert_eq!(replies[1].shown(), "Z I");
    let start = [parse("", "COPY copy_failed FROM STDIN", &[]), bind("", ""), execute("", 0)];
    client.raw(&[start.concat(), data("1\n"), data("2\ttwo\n"), done(), sync()].concat()).await;
    assert_eq!(client.until_ready().await, ["1", "2", "G", "E 22P04", "Z I"]);
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    client.send_query("COPY copy_failed FROM STDIN").await;
    client.raw(&[data("1\tone\t\n"), done()].concat()).await;
    assert_eq!(client.until_ready().await, ["G", "E 22P04", "Z E"]);
    assert_eq!(client.query("ROLLBACK").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(count(&mut client, "copy_failed").await, "D 0");
}

pub async fn rows_that_do_not_fit_are_left_out(target: Target) {
    let mut client = Client::login(&target).await;
    let create = "CREATE ENTITY copy_parts (k text);
        CREATE STREAM copy_events (k text, ts timestamptz, v int8) FROM PUSH TIMESTAMP ts;
        CREATE FEATURE VIEW copy_shares ENTITY copy_parts TIMESTAMP ts AS SELECT k, ts, 10 / v AS share FROM copy_events";
    client.query(create).await;
    let lines = "a\t2024-01-01\t5\nb\tsoon\t1\nc\t2024-01-01\tmany\nd\t2024-01-01\t0\ne\t\\N\t1\nf\t2024-01-01\t2\n";
    client.send_query("COPY copy_events FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.raw(&[data(lines), done()].concat()).await;
    let replies = client.replies().await;
    assert_eq!(replies[0].field('C').as_deref(), Some("22007"));
    assert_eq!(count(&mut client, "copy_events").await, "D 0");

    assert_eq!(client.query("SET ingest_on_error = ignore").await, ["C SET", "Z I"]);
    for (dry, stored) in [("on", "D 0"), ("off", "D 2")] {
        client.query(&format!("SET ingest_dry_run = {dry}")).await;
        client.send_query("COPY copy_events FROM STDIN").await;
        assert_eq!(client.take(1).await, ["G"]);
        client.raw(&[data(lines), done()].concat()).await;
        let replies = client.replies().await;
        let notice = replies.iter().rfind(|reply| reply.tag == b'N').expect("a notice");
        assert_eq!(notice.field('M').as_deref(), Some("4 rows were left out"));
        let detail = notice.field('D').expect("a detail");
        for part in [
            "Row 2: invalid input syntax for type timestamp",
            "Row 3: invalid input syntax for type bigint",
            "Row 4: division by zero (feature view \"copy_shares\").",
            "Row 5: null value in column \"ts\"",
        ] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
        assert_eq!(
            replies.iter().filter(|reply| reply.tag == b'C').map(|reply| reply.shown()).next(),
            Some("C COPY 2".into())
        );
        assert_eq!(count(&mut client, "copy_events").await, stored);
    }
    assert_eq!(client.query("SELECT k, share FROM copy_shares ORDER BY k").await[1..3], ["D a|2", "D f|5"]);
    // a line of another form is no row
    client.send_query("COPY copy_events FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.raw(&[data("g\t2024-01-01\t5\ng\n"), done()].concat()).await;
    assert_eq!(client.replies().await[0].field('C').as_deref(), Some("22P04"));
    assert_eq!(count(&mut client, "copy_events").await, "D 2");
}

pub async fn a_client_that_leaves_keeps_nothing(target: Target) {
    let mut watcher = with_table(&target, "copy_left").await;
    for leave in [b"".to_vec(), message(b'X', b"")] {
        let mut client = Client::login(&target).await;
        client.send_query("COPY copy_left FROM STDIN").await;
        assert_eq!(client.take(1).await, ["G"]);
        client.raw(&[data("1\tone\n"), leave].concat()).await;
        let sql = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {}", client.process_id);
        client.hang_up().await;
        within("the session's end", async { while watcher.query(&sql).await.len() > 3 {} }).await;
    }
    assert_eq!(count(&mut watcher, "copy_left").await, "D 0");
}

pub async fn other_messages_end_a_copy(target: Target) {
    let mut client = with_table(&target, "copy_other").await;
    client.send_query("COPY copy_other FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.send_query("SELECT 1").await;
    let replies = client.replies().await;
    assert_eq!(replies[0].field('C').as_deref(), Some("08P01"));
    assert_eq!(replies[0].field('M').as_deref(), Some("unexpected message type 0x51 during COPY from stdin"));
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(count(&mut client, "copy_other").await, "D 0");
}

pub async fn many_rows_come_in_a_few_at_a_time(target: Target) {
    let mut client = with_table(&target, "copy_many").await;
    client.send_query("COPY copy_many FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    let text = "x".repeat(200);
    for pack in 0..200 {
        let rows: String = (0..1000).map(|row| format!("{}\t{text}\n", pack * 1000 + row)).collect();
        client.raw(&data(&rows)).await;
    }
    client.raw(&done()).await;
    assert_eq!(client.until_ready().await, ["C COPY 200000", "Z I"]);
    let rows = client.query("SELECT count(DISTINCT a), min(length(b)) FROM copy_many").await;
    assert_eq!(rows[1], "D 200000|200");
}

/// More than a transaction holds in memory.
pub async fn many_rows_come_into_both_stores_of_a_feature_table(target: Target) {
    let mut client = Client::login(&target).await;
    let create = "CREATE ENTITY copied (k int8);
        CREATE FEATURE TABLE copy_features (k int8, ts timestamptz, b text) ENTITY copied TIMESTAMP ts";
    assert_eq!(client.query(create).await, ["C CREATE ENTITY", "C CREATE FEATURE TABLE", "Z I"]);
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    client.send_query("COPY copy_features FROM STDIN CSV").await;
    assert_eq!(client.take(1).await, ["G"]);
    let text = "x".repeat(200);
    for pack in 0..100 {
        // each key twice at one time: the later one counts
        let rows: String =
            (0..1000).map(|row| format!("{},2024-01-01,{pack} {text}\n", pack / 2 * 1000 + row)).collect();
        client.raw(&data(&rows)).await;
    }
    client.raw(&done()).await;
    assert_eq!(client.until_ready().await, ["C COPY 100000", "Z T"]);
    let more = "INSERT INTO copy_features VALUES (7, '2024-01-01', 'last')";
    assert_eq!(client.query(more).await, ["C INSERT 0 1", "Z T"]);
    assert_eq!(count(&mut client, "copy_features").await, "D 0");
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(count(&mut client, "copy_features").await, "D 50000");
    let of_key = "SELECT left(b, 4) FROM copy_features WHERE k IN (7, 8, 49999) ORDER BY k";
    assert_eq!(client.query(of_key).await[1..4], ["D last", "D 1 xx", "D 99 x"]);
    assert_eq!(client.query("VERIFY FEATURE VIEW copy_features SAMPLE 2000").await, ["T", "C SELECT 0", "Z I"]);
}

pub async fn rows_come_in_binary(target: Target) {
    let mut client = Client::login(&target).await;
    let create = "CREATE TABLE copy_binary (a int4, b text, c int8[])";
    assert_eq!(client.query(create).await, ["C CREATE TABLE", "Z I"]);
    let header = [b"PGCOPY\n\xff\r\n\0".as_slice(), &[0; 8]].concat();
    let field = |bytes: &[u8]| [(bytes.len() as u32).to_be_bytes().as_slice(), bytes].concat();
    let null = || vec![0xff; 4];
    let row = |fields: &[Vec<u8>]| [&(fields.len() as u16).to_be_bytes(), fields.concat().as_slice()].concat();
    let whole = |number: i32| row(&[field(&number.to_be_bytes()), field(b"text"), null()]);
    client.send_query("COPY copy_binary (a, b, c) FROM STDIN (FORMAT binary)").await;
    let asked = client.next().await;
    assert_eq!((asked.tag, asked.body), (b'G', vec![1, 0, 3, 0, 1, 0, 1, 0, 1]));
    // {7,NULL}: one dimension, with a NULL, of int8, two items from 1
    let list = [1_u32, 1, 20, 2, 1].map(u32::to_be_bytes).concat();
    let list = [list, field(&7_i64.to_be_bytes()), null()].concat();
    let rows = [header.clone(), whole(1), row(&[null(), null(), field(&list)]), vec![0xff, 0xff]].concat();
    for byte in rows.chunks(5) {
        client.raw(&message(b'd', byte)).await;
    }
    client.raw(&done()).await;
    assert_eq!(client.until_ready().await, ["C COPY 2", "Z I"]);
    let rows = client.query("SELECT * FROM copy_binary ORDER BY a").await;
    assert_eq!(rows[1..3], ["D 1|text|NULL", "D NULL|NULL|{7,NULL}"]);

    let bad = [
        (b"1\ttext\t{}\n".to_vec(), "22P04", "COPY file signature not recognized", "COPY copy_binary, line 0"),
        (
            [header.clone(), row(&[null()])].concat(),
            "22P04",
            "row field count is 1, expected 3",
            "COPY copy_binary, line 1",
        ),
        (
            [header.clone(), whole(1), whole(2)[..9].to_vec()].concat(),
            "22P04",
            "unexpected EOF in COPY data",
            "COPY copy_binary, line 2",
        ),
        (
            [header.clone(), whole(1), row(&[field(&[0; 5]), null(), null()])].concat(),
            "22P03",
            "incorrect binary data format",
            "COPY copy_binary, line 2, column a",
        ),
        (
            [header.clone(), row(&[null(), field(&[0xff]), null()])].concat(),
            "22021",
            "invalid byte sequence for encoding \"UTF8\": 0xff",
            "COPY copy_binary, line 1, column b",
        ),
        (
            [header.clone(), row(&[null(), null(), field(&[1, 2])])].concat(),
            "08P01",
            "insufficient data left in message",
            "COPY copy_binary, line 1, column c",
        ),
    ];
    for (bytes, sqlstate, text, context) in bad {
        client.send_query("COPY copy_binary FROM STDIN BINARY").await;
        assert_eq!(client.take(1).await, ["G"]);
        client.raw(&[message(b'd', &bytes), done()].concat()).await;
        let replies = client.replies().await;
        let shown = ['C', 'M', 'W'].map(|name| replies[0].field(name).unwrap_or_default());
        assert_eq!(shown, [sqlstate, text, context].map(str::to_owned));
    }
    assert_eq!(count(&mut client, "copy_binary").await, "D 2");
}
