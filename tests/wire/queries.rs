//! Statements by the simple and by the extended protocol.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{
    Bind, Client, Target, bind, close, describe, execute, flush, message, parse, run, series, sync, within,
};

pub async fn simple_statements_are_answered_one_by_one(target: Target) {
    let mut client = Client::login(&target).await;
    let expected = ["T", "D 1", "C SELECT 1", "E 22012", "Z I"];
    assert_eq!(client.query("SELECT 1; SELECT 1/0; SELECT 3").await[..2], expected[..2]);
    let replies = client.query("SELECT 1; SELECT 2").await;
    assert_eq!(replies, ["T", "D 1", "C SELECT 1", "T", "D 2", "C SELECT 1", "Z I"]);
    let replies = client.query("SELECT 10/(5-g) FROM generate_series(1,10) AS t(g)").await;
    assert_eq!(replies.first().map(String::as_str), Some("T"));
    assert_eq!(replies[replies.len() - 2..], ["E 22012", "Z I"]);
}

pub async fn an_error_position_counts_from_the_start_of_the_text(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', "SELECT 1; SELECT * FROM no_such_table\0".as_bytes()).await;
    let replies = client.replies().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    assert_eq!(error.field('C').as_deref(), Some("42P01"));
    assert_eq!(error.field('P').as_deref(), Some("25"));
}

pub async fn an_empty_query_has_its_own_answer(target: Target) {
    let mut client = Client::login(&target).await;
    for sql in ["", " ", ";", " ; ;"] {
        assert_eq!(client.query(sql).await, ["I", "Z I"], "{sql:?}");
    }
    let messages = [parse("", "", &[]), bind("", ""), describe('P', ""), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "n", "I", "Z I"]);
}

pub async fn any_max_rows_is_safe(target: Target) {
    let mut client = Client::login(&target).await;
    for max_rows in [0, -1, i32::MIN, i32::MAX] {
        let messages = [parse("", &series(3), &[]), bind("", ""), execute("", max_rows), sync()];
        assert_eq!(run(&mut client, &messages).await, ["1", "2", "D 1", "D 2", "D 3", "C SELECT 3", "Z I"]);
    }
}

pub async fn a_portal_goes_on_where_it_stopped(target: Target) {
    let mut client = Client::login(&target).await;
    let start = [parse("", &series(5), &[]), bind("", "")];
    let messages = [start.concat(), execute("", 2), execute("", 2), execute("", 2), sync()];
    let expected = ["1", "2", "D 1", "D 2", "s", "D 3", "D 4", "s", "D 5", "C SELECT 1", "Z I"];
    assert_eq!(run(&mut client, &messages).await, expected);
    // as many as there are is not yet the end
    let messages = [start.concat(), execute("", 5), execute("", 5), sync()];
    let expected = ["1", "2", "D 1", "D 2", "D 3", "D 4", "D 5", "s", "C SELECT 0", "Z I"];
    assert_eq!(run(&mut client, &messages).await, expected);
}

pub async fn a_portal_lives_as_long_as_its_transaction(target: Target) {
    let mut client = Client::login(&target).await;
    let start = [parse("s", &series(3), &[]), bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &start).await, ["1", "2", "D 1", "s", "Z I"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 34000", "Z I"]);
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(run(&mut client, &[bind("p", "s"), execute("p", 1), sync()]).await, ["2", "D 1", "s", "Z T"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["D 2", "s", "Z T"]);
    assert_eq!(run(&mut client, &[execute("p", 0), sync()]).await, ["D 3", "C SELECT 1", "Z T"]);
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 34000", "Z I"]);
    // COMMIT by the extended protocol
    let begin = [parse("", "BEGIN", &[]), bind("", ""), execute("", 0), bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &begin).await, ["1", "2", "C BEGIN", "2", "D 1", "s", "Z T"]);
    let commit = [parse("", "COMMIT", &[]), bind("", ""), execute("", 0), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &commit).await, ["1", "2", "C COMMIT", "E 34000", "Z I"]);
}

pub async fn a_finished_portal_gives_no_more(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("", &series(1), &[]), bind("", ""), execute("", 0), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "D 1", "C SELECT 1", "C SELECT 0", "Z I"]);
    let set = "SET application_name = 'x'";
    let messages = [parse("", set, &[]), bind("", ""), execute("", 0), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "C SET", "E 55000", "Z I"]);
}

pub async fn a_pipeline_goes_on_after_its_sync(target: Target) {
    let mut client = Client::login(&target).await;
    let good = [parse("", "SELECT 7", &[]), bind("", ""), execute("", 0), sync()].concat();
    let bad = [parse("", "SELEKT", &[]), bind("", ""), execute("", 0), sync()].concat();
    client.raw(&[good.clone(), bad, good].concat()).await;
    assert_eq!(client.until_ready().await, ["1", "2", "D 7", "C SELECT 1", "Z I"]);
    assert_eq!(client.until_ready().await, ["E 42601", "Z I"]);
    assert_eq!(client.until_ready().await, ["1", "2", "D 7", "C SELECT 1", "Z I"]);
}

pub async fn after_an_error_messages_are_discarded(target: Target) {
    let mut client = Client::login(&target).await;
    let good = [parse("", "SELECT 7", &[]), bind("", ""), execute("", 0)].concat();
    let query = message(b'Q', b"SELECT 8\0");
    let messages = [parse("", "SELEKT", &[]), good, query, flush(), message(b'X', b"")[..0].to_vec(), sync()];
    assert_eq!(run(&mut client, &messages).await, ["E 42601", "Z I"]);
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn an_error_is_sent_without_waiting_for_sync(target: Target) {
    let mut client = Client::login(&target).await;
    client.raw(&parse("", "SELEKT", &[])).await;
    assert_eq!(client.take(1).await, ["E 42601"]);
    assert_eq!(run(&mut client, &[sync()]).await, ["Z I"]);
    client.raw(&[parse("", "SELECT 7", &[]), flush()].concat()).await;
    assert_eq!(client.take(1).await, ["1"]);
    assert_eq!(run(&mut client, &[sync()]).await, ["Z I"]);
}

pub async fn names_must_exist_and_be_new(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(run(&mut client, &[bind("", "nothing"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[describe('S', "nothing"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[describe('P', "nothing"), sync()]).await, ["E 34000", "Z I"]);
    assert_eq!(run(&mut client, &[execute("nothing", 0), sync()]).await, ["E 34000", "Z I"]);
    let prepare = parse("twice", "SELECT 1", &[]);
    assert_eq!(run(&mut client, &[prepare.clone(), prepare, sync()]).await, ["1", "E 42P05", "Z I"]);
    let twice = [bind("p", "twice"), bind("p", "twice"), sync()];
    assert_eq!(run(&mut client, &twice).await, ["2", "E 42P03", "Z I"]);
    let unnamed = [parse("", "SELECT 1", &[]), parse("", "SELECT 2", &[]), bind("", ""), bind("", ""), sync()];
    assert_eq!(run(&mut client, &unnamed).await, ["1", "1", "2", "2", "Z I"]);
    // a simple query takes the unnamed statement away
    client.query("SELECT 1").await;
    assert_eq!(run(&mut client, &[bind("", ""), sync()]).await, ["E 26000", "Z I"]);
}

pub async fn formats_must_fit(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = "SELECT $1::int4, $2::int4, $3::int4";
    let one = Some(&b"1"[..]);
    assert_eq!(run(&mut client, &[parse("s", sql, &[]), sync()]).await, ["1", "Z I"]);
    let mut bound = async |formats: &[i16], result_formats: &[i16]| {
        let values = [one, one, one];
        let bind = Bind { statement: "s", formats, values: &values, result_formats, ..Bind::default() };
        run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await
    };
    let good = ["2", "D 1|1|1", "C SELECT 1", "Z I"];
    assert_eq!(bound(&[], &[]).await, good);
    assert_eq!(bound(&[0], &[0]).await, good);
    assert_eq!(bound(&[0, 0, 0], &[0, 0, 0]).await, good);
    assert_eq!(bound(&[0, 0], &[]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[0, 0, 0, 0], &[]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[], &[0, 0]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[], &[0, 0, 0, 0]).await, ["E 08P01", "Z I"]);
    assert_eq!(bound(&[7], &[]).await, ["E 22023", "Z I"]);
    assert_eq!(bound(&[], &[0, 1, 0]).await[1], "D 1|\0\0\0\x01|1");
}

pub async fn parameters_must_fit(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("s", "SELECT $1::int4", &[]), parse("t", "SELECT $1::text", &[]), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "1", "Z I"]);
    let mut bound = async |statement: &str, formats: &[i16], values: &[Option<&[u8]>]| {
        let bind = Bind { statement, formats, values, ..Bind::default() };
        run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await.remove(0)
    };
    assert_eq!(bound("s", &[], &[]).await, "E 08P01");
    assert_eq!(bound("s", &[], &[None, None]).await, "E 08P01");
    assert_eq!(bound("s", &[], &[Some(b"x")]).await, "E 22P02");
    assert_eq!(bound("s", &[], &[Some(b"2147483648")]).await, "E 22003");
    assert_eq!(bound("s", &[1], &[Some(b"\0\0")]).await, "E 08P01");
    assert_eq!(bound("s", &[1], &[Some(b"\0\0\0\0\0")]).await, "E 22P03");
    assert_eq!(bound("s", &[], &[None]).await, "2");
    assert_eq!(bound("t", &[], &[Some("grün".as_bytes())]).await, "2");
}

pub async fn closing_is_always_complete(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [close('S', "nothing"), close('P', "nothing"), close('S', ""), sync()];
    assert_eq!(run(&mut client, &messages).await, ["3", "3", "3", "Z I"]);
    let messages = [parse("s", "SELECT 1", &[]), close('S', "s"), bind("", "s"), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "3", "E 26000", "Z I"]);
}

pub async fn deallocate_forgets_statements(target: Target) {
    let mut client = Client::login(&target).await;
    let prepare = [parse("one", "SELECT 1", &[]), parse("two", "SELECT 1", &[]), sync()];
    assert_eq!(run(&mut client, &prepare).await, ["1", "1", "Z I"]);
    assert_eq!(client.query("DEALLOCATE one").await, ["C DEALLOCATE", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "one"), sync()]).await, ["E 26000", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "two"), sync()]).await, ["2", "Z I"]);
    assert_eq!(client.query("DEALLOCATE ALL").await, ["C DEALLOCATE ALL", "Z I"]);
    assert_eq!(run(&mut client, &[bind("", "two"), sync()]).await, ["E 26000", "Z I"]);
}

pub async fn long_pipelines_and_long_texts_are_answered(target: Target) {
    let mut client = Client::login(&target).await;
    let set = [parse("s", "SET application_name = 'x'", &[])];
    let one = [bind("", "s"), execute("", 0)].concat();
    let pipeline = [set.concat(), one.repeat(5_000), sync()].concat();
    let (mut reader, mut writer) = client.stream.split();
    let reading = async {
        // C 8 + "SET" and NUL, 2 5: what 5,000 answers take
        let mut bytes = vec![0; 5 + 5_000 * (5 + 9)];
        reader.read_exact(&mut bytes).await.expect("all answers");
        assert_eq!(&bytes[..5], b"1\0\0\0\x04");
    };
    let writing = async { writer.write_all(&pipeline).await.expect("the server reads") };
    within("a pipeline", async { tokio::join!(reading, writing) }).await;
    client.until_ready().await;
    let many = "SELECT 1;".repeat(3_000);
    assert_eq!(client.query(&many).await.len(), 3 * 3_000 + 1);
}

pub async fn described_statements_tell_their_types(target: Target) {
    let mut client = Client::login(&target).await;
    let sql = "SELECT $1::int8, $2::text, $3::bool";
    let messages = [parse("s", sql, &[0, 1043, 0]), describe('S', "s"), sync()];
    client.raw(&messages.concat()).await;
    let replies = client.replies().await;
    assert_eq!((replies[1].tag, &replies[1].body[..]), (b't', &b"\0\x03\0\0\0\x14\0\0\x04\x13\0\0\0\x10"[..]));
    let described: Vec<_> =
        replies[2].described().into_iter().map(|(_, oid, length, code)| (oid, length, code)).collect();
    assert_eq!(described, [(20, 8, 0), (25, -1, 0), (16, 1, 0)]);
    let values = [None, None, None];
    let bind = Bind { statement: "s", values: &values, result_formats: &[1], ..Bind::default() };
    client.raw(&[bind.bytes(), describe('P', ""), sync()].concat()).await;
    let described = client.replies().await[1].described();
    assert_eq!(
        described.into_iter().map(|(_, oid, _, code)| (oid, code)).collect::<Vec<_>>(),
        [(20, 1), (25, 1), (16, 1)]
    );
    let nothing = [parse("", "BEGIN", &[]), describe('S', ""), sync()];
    assert_eq!(run(&mut client, &nothing).await, ["1", "t", "n", "Z I"]);
}
