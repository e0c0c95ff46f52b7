//! COPY … TO STDOUT, message by message.

use crate::cancel::cancel;
use crate::client::{Client, Reply, Target, bind, describe, execute, parse, run, series, sync, text_of, within};

const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const END: &[u8] = &[0xff, 0xff];

fn data(replies: &[Reply]) -> Vec<Vec<u8>> {
    replies.iter().filter(|reply| reply.tag == b'd').map(|reply| reply.body.clone()).collect()
}

fn tags(replies: &[Reply]) -> String {
    replies.iter().map(|reply| reply.tag as char).collect()
}

async fn copied(client: &mut Client, sql: &str) -> Vec<Reply> {
    client.send_query(sql).await;
    client.replies().await
}

pub async fn rows_go_out_by_either_protocol(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = "COPY (VALUES (1, 'a\tb'), (2, NULL)) TO STDOUT";
    let replies = copied(&mut client, sql).await;
    assert_eq!(tags(&replies), "HddcCZ");
    assert_eq!(replies[0].body, [0, 0, 2, 0, 0, 0, 0]);
    assert_eq!(data(&replies), [&b"1\ta\\tb\n"[..], b"2\t\\N\n"]);
    assert_eq!(replies[4].shown(), "C COPY 2");
    client.raw(&[parse("", sql, &[]), bind("", ""), describe('P', ""), execute("", 1), sync()].concat()).await;
    let replies = client.replies().await;
    assert_eq!(tags(&replies), "12nHddcCZ");
    assert_eq!(replies[7].shown(), "C COPY 2");
    // all of a text is one transaction, and answered one by one
    client.send_query("SELECT 1; COPY (SELECT 2) TO STDOUT; SELECT 3").await;
    assert_eq!(
        client.until_ready().await,
        ["T", "D 1", "C SELECT 1", "H", "d", "c", "C COPY 1", "T", "D 3", "C SELECT 1", "Z I"]
    );
}

pub async fn binary_rows_are_framed_as_postgres_frames_them(target: Target) {
    let mut client = Client::login(&target).await;
    let replies = copied(&mut client, "COPY (SELECT 7::int4, 'x'::text, NULL::int4) TO STDOUT (FORMAT binary)").await;
    assert_eq!(tags(&replies), "HddcCZ");
    assert_eq!(replies[0].body, [1, 0, 3, 0, 1, 0, 1, 0, 1]);
    let row = [HEADER, &[0, 3, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 1, b'x', 0xff, 0xff, 0xff, 0xff]].concat();
    assert_eq!(data(&replies), [&row[..], END]);
    // without rows the header comes alone with the end
    let replies = copied(&mut client, "COPY (SELECT 1 WHERE false) TO STDOUT WITH BINARY").await;
    assert_eq!(data(&replies), [[HEADER, END].concat()]);
    assert_eq!(replies[3].shown(), "C COPY 0");
    // many rows are written column by column, to the same bytes
    let select = "SELECT i.value::int4, CASE WHEN i.value % 3 > 0 THEN repeat('é', (i.value % 40)::int4) END, i.value::float8, \
         i.value::numeric(9, 2), i.value % 2 = 0 FROM generate_series(1, 5000) AS i(value)";
    let replies = copied(&mut client, &format!("COPY ({select}) TO STDOUT (FORMAT binary)")).await;
    let many = data(&replies);
    assert_eq!(many.len(), 5001);
    for (index, row) in many[..5000].iter().enumerate().skip(1) {
        let number = index as i32 + 1;
        let text = (number % 3 > 0).then(|| "é".repeat(number as usize % 40));
        let mut expected = vec![0, 5, 0, 0, 0, 4];
        expected.extend(number.to_be_bytes());
        expected.extend(text.as_ref().map_or(-1, |text| text.len() as i32).to_be_bytes());
        expected.extend(text.unwrap_or_default().bytes());
        expected.extend([0, 0, 0, 8]);
        expected.extend(f64::from(number).to_be_bytes());
        assert_eq!(row[..expected.len()], expected, "{number}");
        assert_eq!(row[row.len() - 5..], [0, 0, 0, 1, u8::from(number % 2 == 0)]);
    }
}

pub async fn what_goes_out_binary_comes_in_again(target: Target) {
    let mut client = Client::login(&target).await;
    let columns = "(a int, b text, c numeric(9, 2), d timestamptz, e bytea, f int8[])";
    for table in ["out_again", "in_again"] {
        assert_eq!(client.query(&format!("CREATE TABLE {table} {columns}")).await, ["C CREATE TABLE", "Z I"]);
    }
    let rows =
        "(1, 'x', -1.5, '2024-01-02 03:04:05.000006+00', '\\x00ff', '{1,NULL}'), (NULL, NULL, NULL, NULL, NULL, NULL)";
    client.query(&format!("INSERT INTO out_again VALUES {rows}")).await;
    let out = data(&copied(&mut client, "COPY BINARY out_again TO STDOUT").await).concat();
    client.send_query("COPY BINARY in_again FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    client.send(b'd', &out).await;
    client.send(b'c', b"").await;
    assert_eq!(client.until_ready().await, ["C COPY 2", "Z I"]);
    let read = client.query("SELECT * FROM in_again ORDER BY a").await;
    assert_eq!(read, client.query("SELECT * FROM out_again ORDER BY a").await);
    assert_eq!(read.len(), 5);
}

pub async fn an_error_ends_the_rows(target: Target) {
    let mut client = Client::login(&target).await;
    let fails = "SELECT 1 / (200000 - value) FROM generate_series(1, 300000) AS g (value)";
    let replies = copied(&mut client, &format!("COPY ({fails}) TO STDOUT")).await;
    let shown = tags(&replies);
    assert!(shown.starts_with("Hd") && shown.ends_with("EZ") && !shown.contains('c'), "{}", &shown[shown.len() - 9..]);
    assert_eq!(replies[replies.len() - 2].field('C').as_deref(), Some("22012"));
    let messages = [parse("", &format!("COPY ({fails}) TO STDOUT (FORMAT binary)"), &[]), bind("", ""), execute("", 0)];
    client.raw(&[messages.concat(), parse("", "SELECT 1", &[]), sync()].concat()).await;
    let shown = tags(&client.replies().await);
    assert!(shown.starts_with("12Hd") && shown.ends_with("EZ") && !shown.contains('c'));
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn a_copy_can_be_cancelled_and_left(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = format!("COPY ({}) TO STDOUT (FORMAT binary)", series(2_000_000_000));
    client.send_query(&sql).await;
    assert_eq!(client.take(3).await, ["H", "d", "d"]);
    cancel(&target, client.process_id, client.secret).await;
    let error = loop {
        let reply = client.next().await;
        if reply.tag != b'd' {
            break reply;
        }
    };
    assert_eq!(error.field('C').as_deref(), Some("57014"));
    assert_eq!(client.next().await.shown(), "Z I");
    assert_eq!(client.query("SET statement_timeout = 300").await, ["C SET", "Z I"]);
    let replies = copied(&mut client, &sql).await;
    assert_eq!(replies[replies.len() - 2].field('M').as_deref(), Some("canceling statement due to statement timeout"));
    // who leaves in the middle keeps nothing running
    client.query("RESET statement_timeout").await;
    client.send_query(&sql).await;
    assert_eq!(client.take(2).await, ["H", "d"]);
    let gone = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {}", client.process_id);
    client.hang_up().await;
    let mut watcher = Client::login(&target).await;
    within("the session's end", async { while watcher.query(&gone).await.len() > 3 {} }).await;
}

pub async fn options_are_refused_as_postgres_refuses_them(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("CREATE TABLE copy_options (a int, b text)").await;
    for (options, code) in [
        ("(FORMAT xml)", "22023"),
        ("(FORMAT csv, FORMAT text)", "42601"),
        ("(FORMAT binary, HEADER)", "0A000"),
        ("(FORMAT binary, NULL 'x')", "42601"),
        ("(HEADER match)", "0A000"),
        ("(HEADER maybe)", "42601"),
        ("(DELIMITER 'ab')", "0A000"),
        ("(DELIMITER 'a')", "22023"),
        ("(QUOTE '|')", "0A000"),
        ("(FORCE_QUOTE *)", "0A000"),
        ("(FORMAT csv, FORCE_QUOTE (z))", "42703"),
        ("(FORMAT csv, FORCE_NULL (a))", "0A000"),
        ("(FORMAT csv, QUOTE ',')", "22023"),
        ("(ENCODING 'nonsense')", "22023"),
        ("(ENCODING 'latin1')", "0A000"),
        ("(FREEZE)", "0A000"),
        ("(OVERSIZE 1)", "42601"),
    ] {
        let replies = copied(&mut client, &format!("COPY copy_options TO STDOUT {options}")).await;
        assert_eq!(replies[0].field('C').as_deref(), Some(code), "{options}");
    }
    let replies =
        copied(&mut client, "COPY (SELECT 1 AS a, ',' AS \"b,c\") TO STDOUT CSV HEADER QUOTE '''' FORCE QUOTE a").await;
    let lines: Vec<String> = data(&replies).iter().map(|line| text_of(line)).collect();
    assert_eq!(lines, ["a,'b,c'\n", "'1',','\n"]);
    let messages = [parse("", "COPY (SELECT $1::int) TO STDOUT", &[]), bind("", ""), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "E 42P02", "Z I"]);
}
