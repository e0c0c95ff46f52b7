//! Lookups that ask for very much, for what is not there, or for what is gone, and statements of ten megabytes: each is
//! answered or refused, and the connection goes on.

use crate::client::{Bind, Client, Target, bind, describe, execute, message, parse, run, sync};

const INT8: u32 = 20;
const TEXT: u32 = 25;
const FLOAT8: u32 = 701;
const BOOL: u32 = 16;
const INT8_ARRAY: u32 = 1016;
const MANY: i64 = 10_000;

/// A client, and a feature table of its own with `MANY` keys: `v` is twice the key, `t` its text.
async fn with_keys(target: &Target, name: &str) -> Client {
    let mut client = Client::login(target).await;
    done(&mut client, &format!("CREATE ENTITY of_{name} (k bigint)")).await;
    let columns = "k bigint, ts timestamptz, v bigint, t text";
    done(&mut client, &format!("CREATE FEATURE TABLE {name} ({columns}) ENTITY of_{name} TIMESTAMP ts")).await;
    client.send_query(&format!("COPY {name} FROM STDIN")).await;
    assert_eq!(client.take(1).await, ["G"]);
    let rows: String = (1..=MANY).map(|key| format!("{key}\t2024-01-01\t{}\tt{key}\n", 2 * key)).collect();
    client.raw(&[message(b'd', rows.as_bytes()), message(b'c', b"")].concat()).await;
    assert_eq!(client.until_ready().await, [format!("C COPY {MANY}"), "Z I".to_owned()]);
    client
}

async fn done(client: &mut Client, sql: &str) {
    let replies = client.query(sql).await;
    assert!(!replies.iter().any(|reply| reply.starts_with('E')), "{sql}: {replies:?}");
}

/// An array of bigint as a driver sends it in binary.
fn binary_array(keys: impl ExactSizeIterator<Item = i64>) -> Vec<u8> {
    let mut bytes = [1, 0, INT8 as i32, keys.len() as i32, 1].map(i32::to_be_bytes).concat();
    for key in keys {
        bytes.extend(8_i32.to_be_bytes());
        bytes.extend(key.to_be_bytes());
    }
    bytes
}

fn text_array(keys: impl Iterator<Item = i64>) -> String {
    format!("{{{}}}", keys.map(|key| key.to_string()).collect::<Vec<_>>().join(","))
}

/// What comes of one value, text or binary, for the statement `s`.
async fn ask(client: &mut Client, format: i16, value: Option<&[u8]>) -> Vec<String> {
    let bind = Bind { statement: "s", formats: &[format], values: &[value], ..Bind::default() };
    run(client, &[bind.bytes(), execute("", 0), sync()]).await
}

async fn prepare(client: &mut Client, sql: &str, oids: &[u32]) {
    assert_eq!(run(client, &[close_s(), parse("s", sql, oids), sync()]).await, ["3", "1", "Z I"], "{sql}");
}

fn close_s() -> Vec<u8> {
    crate::client::close('S', "s")
}

/// The rows of an answer that has as many as were asked for, in the order of the keys.
fn check_rows(replies: &[String], what: &str) {
    let mut rows: Vec<(i64, String)> = replies
        .iter()
        .filter_map(|reply| reply.strip_prefix("D ")?.split_once('|'))
        .map(|(key, rest)| (key.parse().expect("a key"), rest.to_owned()))
        .collect();
    rows.sort_unstable();
    let row =
        |key: i64| (key, if key <= MANY { format!("{}|PRESENT", 2 * key) } else { "NULL|MISSING_DATA".to_owned() });
    let expected: Vec<_> = (2..=MANY + 1).map(row).collect();
    assert!(rows == expected, "{what}: {} rows, {:?} …", rows.len(), rows.first());
    assert_eq!(replies[replies.len() - 2..], [format!("C SELECT {MANY}"), "Z I".to_owned()], "{what}");
}

async fn store_reads(client: &mut Client) -> f64 {
    let replies = client.query("SELECT value FROM granary.metrics WHERE name = 'granary_store_reads_total'").await;
    replies[1].strip_prefix("D ").and_then(|value| value.parse().ok()).expect("a number")
}

/// Of the last of which there is nothing.
pub async fn ten_thousand_keys_are_one_lookup(target: Target) {
    let mut client = with_keys(&target, "abuse_many").await;
    let select = "SELECT k, v, _status FROM abuse_many WHERE k";
    let keys = || 2..=MANY + 1;
    let texts = text_array(keys());
    let binary = binary_array((2..MANY + 2).collect::<Vec<_>>().into_iter());
    for oids in [&[][..], &[INT8_ARRAY]] {
        prepare(&mut client, &format!("{select} = ANY($1)"), oids).await;
        check_rows(&ask(&mut client, 0, Some(texts.as_bytes())).await, "an array as text");
        check_rows(&ask(&mut client, 1, Some(&binary)).await, "an array in binary");
    }
    let reads = store_reads(&mut client).await;
    ask(&mut client, 0, Some(b"{1,2,3}")).await;
    assert_eq!(store_reads(&mut client).await - reads, 3.0);
    let twice = text_array(keys().chain(keys()));
    check_rows(&ask(&mut client, 0, Some(twice.as_bytes())).await, "every key twice");
    // the same by a list, as one text and as parameters
    let list = texts.trim_matches(['{', '}']);
    check_rows(&client.query(&format!("{select} IN ({list})")).await, "a list");
    let numbers: Vec<String> = (1..=MANY).map(|number| format!("${number}")).collect();
    prepare(&mut client, &format!("{select} IN ({})", numbers.join(",")), &[]).await;
    let values: Vec<String> = keys().map(|key| key.to_string()).collect();
    let values: Vec<Option<&[u8]>> = values.iter().map(|value| Some(value.as_bytes())).collect();
    let bind = Bind { statement: "s", values: &values, ..Bind::default() };
    check_rows(&run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await, "parameters");
    // by a planner
    check_rows(&client.query(&format!("{select} = ANY(ARRAY[{list}]) ORDER BY v")).await, "a planned array");

    for sql in [format!("{select} = ANY(ARRAY[{list}])"), format!("{select} IN ({list})")] {
        let plan = client.query(&format!("EXPLAIN (COSTS OFF) {sql}")).await;
        assert!(plan.len() < 40 && plan[1].len() < 4_000_000, "{} lines", plan.len());
    }
}

pub async fn values_that_are_no_keys_are_told_apart(target: Target) {
    let mut client = with_keys(&target, "abuse_values").await;
    let none = ["2", "C SELECT 0", "Z I"];
    prepare(&mut client, "SELECT k, v FROM abuse_values WHERE k = $1", &[]).await;
    assert_eq!(ask(&mut client, 0, Some(b"7")).await, ["2", "D 7|14", "C SELECT 1", "Z I"]);
    assert_eq!(ask(&mut client, 0, Some(b"-7")).await, ["2", "D -7|NULL", "C SELECT 1", "Z I"]);
    assert_eq!(ask(&mut client, 0, None).await, none);
    for (value, code) in [("x", "22P02"), ("", "22P02"), ("1.5", "22P02"), ("9223372036854775808", "22003")] {
        assert_eq!(ask(&mut client, 0, Some(value.as_bytes())).await, [&format!("E {code}"), "Z I"], "{value}");
    }
    for (value, code) in [(&b"\0\0\0\0"[..], "08P01"), (b"\0\0\0\0\0\0\0\0\0", "22P03"), (b"", "08P01")] {
        assert_eq!(ask(&mut client, 1, Some(value)).await, [&format!("E {code}"), "Z I"], "{value:?}");
    }

    prepare(&mut client, "SELECT k, v FROM abuse_values WHERE k = ANY($1)", &[]).await;
    assert_eq!(ask(&mut client, 0, None).await, none);
    assert_eq!(ask(&mut client, 0, Some(b"{}")).await, none);
    assert_eq!(ask(&mut client, 0, Some(b"{NULL,7,NULL}")).await, ["2", "D 7|14", "C SELECT 1", "Z I"]);
    for (value, code) in [("7", "22P02"), ("{7", "22P02"), ("{x}", "22P02"), ("{9223372036854775808}", "22003")] {
        assert_eq!(ask(&mut client, 0, Some(value.as_bytes())).await, [&format!("E {code}"), "Z I"], "{value}");
    }
    let good = binary_array([7].into_iter());
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    // the number of dimensions, the type of the items, how many there are, how long one is
    for bytes in [changed(3, 9), changed(0, 0xff), changed(11, TEXT as u8), changed(15, 2), changed(12, 0x7f)] {
        let refused = ask(&mut client, 1, Some(&bytes)).await;
        assert!(
            refused[0].starts_with("E 08P01") || refused[0].starts_with("E 22") || refused[0] == "E 42804",
            "{refused:?}"
        );
        assert_eq!(refused[1..], ["Z I"]);
    }
    assert_eq!(ask(&mut client, 1, Some(&changed(23, 9))).await[1..], ["Z I"]);
    assert_eq!(ask(&mut client, 1, Some(&good[..good.len() - 1])).await[1..], ["Z I"]);

    // types that a key is not compared with
    let select = "SELECT k, v FROM abuse_values WHERE k = $1";
    prepare(&mut client, select, &[BOOL]).await;
    assert_eq!(ask(&mut client, 0, Some(b"t")).await, ["2", "E 42883", "Z I"]);
    for oid in [TEXT, FLOAT8] {
        prepare(&mut client, select, &[oid]).await;
        assert_eq!(ask(&mut client, 0, Some(b"7")).await, ["2", "D 7|14", "C SELECT 1", "Z I"]);
    }
    for sql in ["SELECT v FROM abuse_values WHERE k = 'x'", "SELECT v FROM abuse_values WHERE k IN (1, 'x')"] {
        assert_eq!(client.query(sql).await, ["E 22P02", "Z I"], "{sql}");
    }
    assert_eq!(client.query("SELECT k FROM abuse_values WHERE k = NULL").await, ["T", "C SELECT 0", "Z I"]);
}

/// A cast to the type that a parameter has anyway takes nothing from the short way; any other means what it says.
pub async fn casts_of_keys_are_looked_up_too(target: Target) {
    let mut client = with_keys(&target, "abuse_casts").await;
    let select = "SELECT v FROM abuse_casts WHERE k";
    let found = ["2", "D 14", "C SELECT 1", "Z I"];
    let short = [
        ("= $1::bigint", &[][..], "7"),
        ("= CAST($1 AS int)", &[], "7"),
        ("= $1::bigint", &[INT8], "7"),
        ("IN ($1::bigint, 7)", &[], "7"),
        ("= ANY ($1::bigint[])", &[], "{7,7}"),
    ];
    for (condition, oids, value) in short {
        prepare(&mut client, &format!("{select} {condition}"), oids).await;
        let before = lookups_of(&mut client, "abuse_casts").await;
        assert_eq!(ask(&mut client, 0, Some(value.as_bytes())).await, found, "{condition}");
        assert_eq!(lookups_of(&mut client, "abuse_casts").await - before, 1.0, "{condition} is no lookup");
    }
    prepare(&mut client, &format!("{select} = $1::bigint"), &[TEXT]).await;
    assert_eq!(ask(&mut client, 0, Some(b"7")).await, found);
    assert_eq!(ask(&mut client, 0, Some(b"x")).await, ["2", "E 22P02", "Z I"]);
    prepare(&mut client, &format!("{select} = $1::smallint"), &[INT8]).await;
    assert_eq!(ask(&mut client, 0, Some(b"70000")).await, ["2", "E 22003", "Z I"]);
    prepare(&mut client, "SELECT $1::text, v FROM abuse_casts WHERE k = $2::int", &[]).await;
    let bind = Bind { statement: "s", values: &[Some(b"a"), Some(b"7")], ..Bind::default() };
    assert_eq!(run(&mut client, &[bind.bytes(), execute("", 0), sync()]).await, ["2", "D a|14", "C SELECT 1", "Z I"]);
}

async fn lookups_of(client: &mut Client, name: &str) -> f64 {
    let sql = "SELECT coalesce(sum(value), 0) FROM granary.metrics WHERE name = 'granary_requests_total' AND service";
    let replies = client.query(&format!("{sql} = '{name}'")).await;
    replies[1].strip_prefix("D ").and_then(|value| value.parse().ok()).expect("a number")
}

pub async fn ten_megabytes_are_taken_or_refused(target: Target) {
    let mut client = with_keys(&target, "abuse_long").await;
    let long = "x".repeat(10 << 20);
    // a text of SQL
    let length = client.query(&format!("SELECT length('{long}')")).await;
    assert_eq!(length, ["T", "D 10485760", "C SELECT 1", "Z I"]);
    let shorter = &long[..1 << 20];
    assert_eq!(client.query(shorter).await, ["E 42601", "Z I"]);
    assert_eq!(client.query(&format!("SELECT 1 /* {shorter}")).await, ["E 42601", "Z I"]);
    for many in ["(", "+1", ",1"] {
        let refused = client.query(&format!("SELECT 1{}", many.repeat((10 << 20) / many.len()))).await;
        assert_eq!(refused, ["E 54001", "Z I"], "{many}");
    }
    let columns = client.query(&format!("SELECT 1{}", ",1".repeat(100_000))).await;
    assert_eq!(columns, ["E 54011", "Z I"]);
    assert_eq!(client.query(&format!("SELECT v FROM abuse_long WHERE k = '{shorter}'")).await, ["E 22P02", "Z I"]);
    assert_eq!(client.query(&format!("SELECT v FROM {shorter}")).await, ["E 42P01", "Z I"]);
    // a parameter
    prepare(&mut client, "SELECT length($1::text)", &[]).await;
    assert_eq!(ask(&mut client, 0, Some(long.as_bytes())).await, ["2", "D 10485760", "C SELECT 1", "Z I"]);
    prepare(&mut client, "SELECT v FROM abuse_long WHERE k = $1", &[]).await;
    assert_eq!(ask(&mut client, 0, Some(long.as_bytes())).await, ["E 22P02", "Z I"]);
    assert_eq!(ask(&mut client, 1, Some(long.as_bytes())).await, ["E 22P03", "Z I"]);
    assert_eq!(ask(&mut client, 0, Some(b"7")).await, ["2", "D 14", "C SELECT 1", "Z I"]);
    // names
    assert_eq!(run(&mut client, &[parse(&long, "SELECT 1", &[]), bind("", &long), sync()]).await, ["1", "2", "Z I"]);
    client.raw(&describe('S', &long[1..])).await;
    client.expect_end(Some("08P01")).await;
}

/// Nobody has a key that the store could not take.
pub async fn a_key_longer_than_any_is_nobodys(target: Target) {
    let mut client = Client::login(&target).await;
    done(&mut client, "CREATE ENTITY abuse_user (user_id text)").await;
    let columns = "user_id text, ts timestamptz, v int";
    done(&mut client, &format!("CREATE FEATURE TABLE abuse_keys ({columns}) ENTITY abuse_user TIMESTAMP ts")).await;
    let long = "x".repeat(70_000);
    // neither by COPY nor by a prepared INSERT is such a key written, and what comes with it is not either
    client.send_query("COPY abuse_keys FROM STDIN").await;
    assert_eq!(client.take(1).await, ["G"]);
    let rows = format!("u1\t2024-01-01\t1\n{long}\t2024-01-01\t2\n");
    client.raw(&[message(b'd', rows.as_bytes()), message(b'c', b"")].concat()).await;
    assert_eq!(client.until_ready().await, ["E 22001", "Z I"]);
    prepare(&mut client, "INSERT INTO abuse_keys VALUES ($1, '2024-01-01', 3)", &[]).await;
    let refused = ask(&mut client, 0, Some(long.as_bytes())).await;
    assert_eq!(refused[refused.len() - 2..], ["E 22001", "Z I"]);
    let rows = client.query("SELECT user_id FROM abuse_keys FOR SYSTEM_TIME AS OF now()").await;
    assert_eq!(rows, ["T", "C SELECT 0", "Z I"]);
    assert_eq!(ask(&mut client, 0, Some(b"u1")).await, ["2", "C INSERT 0 1", "Z I"]);
    client.send_query("COPY abuse_keys FROM STDIN").await;
    client.raw(&[message(b'd', b"u2\t2024-01-01\t4\n"), message(b'c', b"")].concat()).await;
    assert_eq!(client.until_ready().await, ["G", "C COPY 1", "Z I"]);

    for sql in [
        "SELECT v, _status FROM abuse_keys WHERE user_id = $1",
        "SELECT v + 1, _status FROM abuse_keys WHERE user_id = $1",
    ] {
        prepare(&mut client, sql, &[]).await;
        let found = ask(&mut client, 0, Some(long.as_bytes())).await;
        assert_eq!(found, ["2", "D NULL|MISSING_DATA", "C SELECT 1", "Z I"], "{sql}");
    }
    prepare(&mut client, "SELECT v FROM abuse_keys WHERE user_id = $1", &[]).await;
    for (value, code) in [(&b"a\0b"[..], "22021"), (b"\xff\xfe", "22021"), (b"\xed\xa0\x80", "22021")] {
        for format in [0, 1] {
            assert_eq!(ask(&mut client, format, Some(value)).await, [&format!("E {code}"), "Z I"], "{value:?}");
        }
    }
    assert_eq!(ask(&mut client, 0, Some(b"u2")).await, ["2", "D 4", "C SELECT 1", "Z I"]);
}

pub async fn a_view_may_have_300_columns(target: Target) {
    let mut client = Client::login(&target).await;
    done(&mut client, "CREATE ENTITY abuse_wide_key (k bigint)").await;
    let columns: Vec<String> = (0..300).map(|number| format!("c{number} bigint")).collect();
    let table = format!("abuse_wide (k bigint, ts timestamptz, {})", columns.join(", "));
    done(&mut client, &format!("CREATE FEATURE TABLE {table} ENTITY abuse_wide_key TIMESTAMP ts")).await;
    let values: Vec<String> = (0..300).map(|number| number.to_string()).collect();
    done(&mut client, &format!("INSERT INTO abuse_wide VALUES (1, '2024-01-01', {})", values.join(", "))).await;
    prepare(&mut client, "SELECT * FROM abuse_wide WHERE k = $1", &[]).await;
    let row = format!("D 1|{}", values.join("|"));
    assert_eq!(ask(&mut client, 0, Some(b"1")).await, ["2", &row, "C SELECT 1", "Z I"]);
    assert_eq!(ask(&mut client, 0, Some(b"2")).await[1], format!("D 2{}", "|NULL".repeat(300)));
    let bind = Bind { statement: "s", values: &[Some(b"1")], result_formats: &[1], ..Bind::default() };
    client.raw(&[bind.bytes(), execute("", 0), sync()].concat()).await;
    let row = client.replies().await[1].columns();
    let expected: Vec<_> = [1].into_iter().chain(0..300).map(|value: i64| Some(value.to_be_bytes().to_vec())).collect();
    assert_eq!(row, expected);
    // 300 of them planned, and in another order
    let mixed: Vec<String> = (0..300).rev().map(|number| format!("c{number}")).collect();
    let planned = client
        .query(&format!("SELECT {}, v FROM (SELECT *, 1 AS v FROM abuse_wide WHERE k = 1) AS w", mixed.join(", ")))
        .await;
    let reversed: Vec<&str> = values.iter().rev().map(String::as_str).collect();
    assert_eq!(planned[1], format!("D {}|1", reversed.join("|")));
}

/// A prepared lookup asks the view that has the name when it is executed, as its rows were described.
pub async fn a_view_may_go_between_prepare_and_execute(target: Target) {
    let mut client = Client::login(&target).await;
    let mut other = Client::login(&target).await;
    done(&mut client, "CREATE ENTITY abuse_gone_key (k bigint)").await;
    let create = |columns: &str| {
        format!("FEATURE TABLE abuse_gone (k bigint, ts timestamptz, {columns}) ENTITY abuse_gone_key TIMESTAMP ts")
    };
    done(&mut client, &format!("CREATE {}", create("v int"))).await;
    done(&mut client, "INSERT INTO abuse_gone VALUES (1, '2024-01-01', 10)").await;
    let statements = ["SELECT * FROM abuse_gone WHERE k = $1", "SELECT v + 1 FROM abuse_gone WHERE k = $1"];
    let name = |number: usize| format!("s{number}");
    for (number, sql) in statements.iter().enumerate() {
        assert_eq!(run(&mut client, &[parse(&name(number), sql, &[]), sync()]).await, ["1", "Z I"]);
    }
    let asked = async |client: &mut Client, number: usize| {
        let bind = Bind { statement: &name(number), values: &[Some(b"1")], ..Bind::default() };
        let replies = run(client, &[bind.bytes(), execute("", 0), sync()]).await;
        replies.into_iter().filter(|reply| reply.starts_with(['D', 'E'])).collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut client, 0).await, ["D 1|10"]);
    assert_eq!(asked(&mut client, 1).await, ["D 11"]);
    done(&mut other, "DROP FEATURE TABLE abuse_gone").await;
    for number in 0..2 {
        assert_eq!(asked(&mut client, number).await, ["E 42P01"]);
    }
    // the same once more: it answers, from its own rows
    done(&mut other, &format!("CREATE {}", create("v int"))).await;
    assert_eq!(asked(&mut client, 0).await, ["D 1|NULL"]);
    done(&mut other, "INSERT INTO abuse_gone VALUES (1, '2024-01-01', 20)").await;
    assert_eq!(asked(&mut client, 0).await, ["D 1|20"]);
    assert_eq!(asked(&mut client, 1).await, ["D 21"]);
    // columns that were not described
    done(&mut other, &format!("CREATE OR REPLACE {}", create("v int, w int"))).await;
    assert_eq!(asked(&mut client, 0).await, ["E 0A000"]);
    done(&mut other, &format!("CREATE OR REPLACE {}", create("v text"))).await;
    for number in 0..2 {
        assert!(["E 0A000", "E 42883"].contains(&asked(&mut client, number).await[0].as_str()));
    }
    done(&mut other, &format!("CREATE OR REPLACE {}", create("w int"))).await;
    assert!(["E 0A000", "E 42703"].contains(&asked(&mut client, 1).await[0].as_str()));
    // a name that means something else
    done(&mut other, "DROP FEATURE TABLE abuse_gone").await;
    done(&mut other, "CREATE TABLE abuse_gone (k bigint, v int)").await;
    done(&mut other, "INSERT INTO abuse_gone VALUES (1, 30), (1, 31)").await;
    assert_eq!(asked(&mut client, 0).await, ["D 1|30", "D 1|31"]);
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}
