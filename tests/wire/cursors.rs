//! Cursors and prepared statements by SQL, and portals beside each other.

use crate::client::{Bind, Client, Target, bind, close, describe, execute, parse, run, series, sync};

/// The rows and the tag of one statement.
async fn shown(client: &mut Client, sql: &str) -> String {
    let replies = client.query(sql).await;
    let shown = replies.iter().filter(|reply| reply.as_str() != "T" && !reply.starts_with('Z'));
    shown.map(|reply| reply.trim_start_matches("D ").to_owned()).collect::<Vec<_>>().join(" ")
}

pub async fn rows_are_fetched_either_way(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("BEGIN").await;
    assert_eq!(shown(&mut client, &format!("DECLARE c SCROLL CURSOR FOR {}", series(5))).await, "C DECLARE CURSOR");
    for (sql, answer) in [
        ("FETCH c", "1 C FETCH 1"),
        ("FETCH 2 FROM c", "2 3 C FETCH 2"),
        ("FETCH 0 c", "3 C FETCH 1"),
        ("FETCH PRIOR FROM c", "2 C FETCH 1"),
        ("FETCH ALL IN c", "3 4 5 C FETCH 3"),
        ("FETCH NEXT c", "C FETCH 0"),
        ("FETCH 0 c", "C FETCH 0"),
        ("FETCH BACKWARD 2 c", "5 4 C FETCH 2"),
        ("FETCH BACKWARD ALL c", "3 2 1 C FETCH 3"),
        ("FETCH PRIOR c", "C FETCH 0"),
        ("FETCH LAST c", "5 C FETCH 1"),
        ("FETCH FIRST c", "1 C FETCH 1"),
        ("FETCH ABSOLUTE 4 c", "4 C FETCH 1"),
        ("FETCH ABSOLUTE -2 c", "4 C FETCH 1"),
        ("FETCH RELATIVE -2 c", "2 C FETCH 1"),
        ("FETCH RELATIVE 2 c", "4 C FETCH 1"),
        ("FETCH RELATIVE 0 c", "4 C FETCH 1"),
        ("FETCH -2 c", "3 2 C FETCH 2"),
        ("FETCH ABSOLUTE 0 c", "C FETCH 0"),
        ("FETCH ABSOLUTE 9 c", "C FETCH 0"),
        ("FETCH ABSOLUTE -9 c", "C FETCH 0"),
        ("MOVE 3 c", "C MOVE 3"),
        ("MOVE 0 c", "C MOVE 1"),
        ("MOVE FORWARD ALL c", "C MOVE 2"),
        ("MOVE BACKWARD ALL c", "C MOVE 5"),
        ("MOVE ABSOLUTE 2 c", "C MOVE 1"),
        ("FETCH FORWARD c", "3 C FETCH 1"),
        ("CLOSE c", "C CLOSE CURSOR"),
        ("FETCH c", "E 34000"),
        ("COMMIT", "C ROLLBACK"),
    ] {
        assert_eq!(shown(&mut client, sql).await, answer, "{sql}");
    }
}

pub async fn a_cursor_lives_as_long_as_its_transaction_or_is_held(target: Target) {
    let mut client = Client::login(&target).await;
    let declare = |name: &str, hold: &str| format!("DECLARE {name} CURSOR {hold} FOR {}", series(9));
    for (sql, answer) in [
        (declare("c", "").as_str(), "E 25P01"),
        (declare("h", "WITH HOLD").as_str(), "C DECLARE CURSOR"),
        (declare("h", "WITH HOLD").as_str(), "E 42P03"),
        ("FETCH h", "1 C FETCH 1"),
        ("BEGIN", "C BEGIN"),
        (declare("c", "").as_str(), "C DECLARE CURSOR"),
        (declare("i", "WITH HOLD").as_str(), "C DECLARE CURSOR"),
        ("COMMIT", "C COMMIT"),
        ("FETCH c", "E 34000"),
        ("FETCH i", "1 C FETCH 1"),
        ("BEGIN", "C BEGIN"),
        (declare("j", "WITH HOLD").as_str(), "C DECLARE CURSOR"),
        ("FETCH 2 h", "2 3 C FETCH 2"),
        ("ROLLBACK", "C ROLLBACK"),
        ("FETCH j", "E 34000"),
        ("FETCH h", "4 C FETCH 1"),
        ("CLOSE ALL", "C CLOSE CURSOR ALL"),
        ("FETCH h", "E 34000"),
        ("CLOSE h", "E 34000"),
        (declare("h", "WITH HOLD").as_str(), "C DECLARE CURSOR"),
        ("DISCARD ALL", "C DISCARD ALL"),
        ("FETCH h", "E 34000"),
        // the statements of one text are a transaction
        (&format!("{}; FETCH 2 c", declare("c", "")), "C DECLARE CURSOR 1 2 C FETCH 2"),
        ("FETCH c", "E 34000"),
    ] {
        assert_eq!(shown(&mut client, sql).await, answer, "{sql}");
    }
}

pub async fn a_cursor_that_cannot_go_back_says_so(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("BEGIN").await;
    shown(&mut client, &format!("DECLARE c NO SCROLL CURSOR FOR {}", series(3_000_000))).await;
    for (sql, answer) in [
        ("FETCH FIRST c", "1 C FETCH 1"),
        ("MOVE 2999998 c", "C MOVE 2999998"),
        ("FETCH 5 c", "3000000 C FETCH 1"),
        ("FETCH PRIOR c", "E 55000"),
        ("ROLLBACK", "C ROLLBACK"),
        ("BEGIN", "C BEGIN"),
        // what was not said is had for few rows
        (&format!("DECLARE c CURSOR FOR {}", series(3)), "C DECLARE CURSOR"),
        ("FETCH ALL c", "1 2 3 C FETCH 3"),
        ("FETCH PRIOR c", "3 C FETCH 1"),
        ("ROLLBACK", "C ROLLBACK"),
    ] {
        assert_eq!(shown(&mut client, sql).await, answer, "{sql}");
    }
    let wrong = "DECLARE c SCROLL NO SCROLL CURSOR FOR SELECT 1";
    assert_eq!(shown(&mut client, wrong).await, "E 42P11");
}

pub async fn binary_cursors_are_binary_in_simple_queries(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("BEGIN").await;
    client.query("DECLARE c BINARY CURSOR FOR SELECT 7::int4 UNION ALL SELECT 7::int4").await;
    client.send_query("FETCH c").await;
    let replies = client.replies().await;
    assert_eq!(replies[0].described()[0].3, 1);
    assert_eq!(replies[1].columns(), [Some(vec![0, 0, 0, 7])]);
    // in the extended protocol a client says for itself what it wants
    let messages = [parse("", "FETCH c", &[]), bind("", ""), describe('P', ""), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "T", "D 7", "C FETCH 1", "Z T"]);
}

pub async fn a_cursor_is_described_as_a_portal(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("BEGIN").await;
    let declare = parse("", "DECLARE \"C\" CURSOR FOR SELECT $1::int4 AS n", &[]);
    let given = Bind { values: &[Some(b"5")], ..Bind::default() }.bytes();
    let messages = [declare, given, execute("", 0), describe('P', "C"), sync()];
    assert_eq!(run(&mut client, &messages).await, ["1", "2", "C DECLARE CURSOR", "T", "Z T"]);
    assert_eq!(client.query("FETCH ALL FROM \"C\"").await, ["T", "D 5", "C FETCH 1", "Z T"]);
    assert_eq!(run(&mut client, &[close('P', "C"), sync()]).await, ["3", "Z T"]);
    assert_eq!(client.query("FETCH \"C\"").await, ["E 34000", "Z E"]);
}

pub async fn two_portals_take_turns(target: Target) {
    let mut client = Client::login(&target).await;
    let prepare = |name: &str, rows| [parse(name, &series(rows), &[]), bind(name, name)].concat();
    let turns = [("a", 2), ("b", 1), ("a", 1), ("b", 2), ("a", i32::MAX), ("b", -1)];
    let turns: Vec<Vec<u8>> = turns.iter().map(|(name, most)| execute(name, *most)).collect();
    let messages = [prepare("a", 4), prepare("b", 4), turns.concat(), sync()];
    let answers = run(&mut client, &messages).await;
    let expected = "1 2 1 2 D 1|D 2|s|D 1|s|D 3|s|D 2|D 3|s|D 4|C SELECT 1|D 4|C SELECT 1|Z I";
    assert_eq!(answers[..4].join(" ") + " " + &answers[4..].join("|"), expected);
    // a Sync outside of a transaction ends them, named or not
    assert_eq!(run(&mut client, &[execute("a", 0), sync()]).await, ["E 34000", "Z I"]);
}

pub async fn statements_are_prepared_by_sql(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("CREATE TABLE by_sql (a int, b text)").await;
    for (sql, answer) in [
        ("PREPARE p (int, text) AS INSERT INTO by_sql VALUES ($1, $2)", "C PREPARE"),
        ("PREPARE p AS SELECT 1", "E 42P05"),
        ("EXECUTE p (1 + 1, 'two')", "C INSERT 0 1"),
        ("EXECUTE p (1)", "E 42601"),
        ("EXECUTE p ('x', 'y')", "E 22P02"),
        ("PREPARE q AS SELECT b FROM by_sql WHERE a = $1", "C PREPARE"),
        ("EXECUTE q (2)", "two C SELECT 1"),
        ("DEALLOCATE p", "C DEALLOCATE"),
        ("DEALLOCATE p", "E 26000"),
        ("EXECUTE p (3, 'x')", "E 26000"),
    ] {
        assert_eq!(shown(&mut client, sql).await, answer, "{sql}");
    }
    // both ways have the same names
    let given = Bind { statement: "q", values: &[Some(b"2")], ..Bind::default() }.bytes();
    let messages = [given, describe('P', ""), execute("", 0), sync()];
    assert_eq!(run(&mut client, &messages).await, ["2", "T", "D two", "C SELECT 1", "Z I"]);
    assert_eq!(run(&mut client, &[parse("r", "SELECT 5", &[]), sync()]).await, ["1", "Z I"]);
    assert_eq!(shown(&mut client, "EXECUTE r").await, "5 C SELECT 1");
    assert_eq!(run(&mut client, &[close('S', "r"), sync()]).await, ["3", "Z I"]);
    assert_eq!(shown(&mut client, "EXECUTE r").await, "E 26000");
    assert_eq!(shown(&mut client, "DISCARD ALL").await, "C DISCARD ALL");
    assert_eq!(shown(&mut client, "EXECUTE q (2)").await, "E 26000");
}
