//! Transactions and settings, as far as the protocol shows them.

use crate::client::{Client, Target, bind, execute, parse, run, series, sync};

pub async fn transaction_status_is_shown(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(client.query("SELEKT").await, ["E 42601", "Z E"]);
    assert_eq!(client.query("SELECT 1").await, ["E 25P02", "Z E"]);
    assert_eq!(client.query("ROLLBACK").await, ["C ROLLBACK", "Z I"]);
}

pub async fn a_failed_transaction_refuses(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(run(&mut client, &[parse("s", &series(3), &[]), sync()]).await, ["1", "Z I"]);
    client.query("BEGIN").await;
    let rows = [bind("p", "s"), execute("p", 1), sync()];
    assert_eq!(run(&mut client, &rows).await, ["2", "D 1", "s", "Z T"]);
    // an error of the protocol fails the transaction too
    assert_eq!(run(&mut client, &[bind("q", "nothing"), sync()]).await, ["E 26000", "Z E"]);
    assert_eq!(run(&mut client, &[execute("p", 1), sync()]).await, ["E 25P02", "Z E"]);
    assert_eq!(run(&mut client, &[parse("", "SELECT 1", &[]), sync()]).await, ["E 25P02", "Z E"]);
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
}

pub async fn settings_are_reported(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'Q', b"SET application_name = 'wire test'\0").await;
    assert_eq!(client.take(1).await, ["C SET"]);
    let status = client.next().await;
    assert_eq!((status.tag, &status.body[..17]), (b'S', &b"application_name\0"[..]));
    assert_eq!(client.take(1).await, ["Z I"]);
}

/// Each reads what the other writes: one after the other, one of them would have seen it.
pub async fn serializable_transactions_are_as_one_after_the_other(target: Target) {
    let (mut one, mut two) = (Client::login(&target).await, Client::login(&target).await);
    for sql in ["CREATE TABLE on_call (name text, here bool)", "INSERT INTO on_call VALUES ('a', true), ('b', true)"] {
        one.query(sql).await;
    }
    let here = "SELECT count(*) FROM on_call WHERE here";
    for client in [&mut one, &mut two] {
        client.query("BEGIN ISOLATION LEVEL SERIALIZABLE").await;
        assert_eq!(client.query(here).await, ["T", "D 2", "C SELECT 1", "Z T"]);
    }
    assert_eq!(one.query("INSERT INTO on_call VALUES ('c', true)").await, ["C INSERT 0 1", "Z T"]);
    assert_eq!(two.query("INSERT INTO on_call VALUES ('d', true)").await, ["C INSERT 0 1", "Z T"]);
    assert_eq!(one.query("COMMIT").await, ["E 40001", "Z I"]);
    assert_eq!(two.query("COMMIT").await, ["C COMMIT", "Z I"]);
    // who has read before another's commit, and writes elsewhere
    one.query("CREATE TABLE noted (n int)").await;
    one.query("BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    one.query(here).await;
    two.query("UPDATE on_call SET here = false WHERE name = 'a'").await;
    assert_eq!(one.query("INSERT INTO noted VALUES (3)").await, ["C INSERT 0 1", "Z T"]);
    assert_eq!(one.query("COMMIT").await, ["E 40001", "Z I"]);
    // who only reads is never refused, nor is who has read what nobody changes
    one.query("BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    assert_eq!(one.query(here).await, ["T", "D 2", "C SELECT 1", "Z T"]);
    two.query("UPDATE on_call SET here = false WHERE name = 'b'").await;
    assert_eq!(one.query(here).await, ["T", "D 2", "C SELECT 1", "Z T"]);
    assert_eq!(one.query("COMMIT").await, ["C COMMIT", "Z I"]);
    one.query("BEGIN ISOLATION LEVEL SERIALIZABLE").await;
    assert_eq!(one.query(here).await, ["T", "D 1", "C SELECT 1", "Z T"]);
    one.query("INSERT INTO noted VALUES (1)").await;
    assert_eq!(one.query("COMMIT").await, ["C COMMIT", "Z I"]);
    assert_eq!(one.query("SELECT * FROM noted").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

/// Each makes, fills, swaps and drops tables of its own, as dbt's threads do: none is in another's way.
pub async fn tables_are_swapped_beside_each_other(target: Target) {
    let one = |number: usize| {
        let target = target.clone();
        async move {
            let mut client = Client::login(&target).await;
            let (live, next, old) = (format!("swap_{number}"), format!("next_{number}"), format!("old_{number}"));
            client.query(&format!("CREATE TABLE {live} AS SELECT 0 AS n")).await;
            for round in 1..=20 {
                for (sql, tag) in [
                    ("BEGIN".to_owned(), "C BEGIN"),
                    (format!("CREATE TABLE {next} AS SELECT {round} AS n"), "C SELECT 1"),
                    (format!("ALTER TABLE {live} RENAME TO {old}"), "C ALTER TABLE"),
                    (format!("ALTER TABLE {next} RENAME TO {live}"), "C ALTER TABLE"),
                    (format!("DROP TABLE {old}"), "C DROP TABLE"),
                    ("COMMIT".to_owned(), "C COMMIT"),
                ] {
                    assert_eq!(client.query(&sql).await.first().map(String::as_str), Some(tag), "{sql}");
                }
                let row = client.query(&format!("SELECT * FROM {live}")).await;
                assert_eq!(row, ["T".to_owned(), format!("D {round}"), "C SELECT 1".to_owned(), "Z I".to_owned()]);
            }
        }
    };
    futures::future::join_all((0..6).map(one)).await;
}

pub async fn notifications_come_at_the_commit(target: Target) {
    let (mut listener, mut sender) = (Client::login(&target).await, Client::login(&target).await);
    assert_eq!(listener.query("LISTEN news").await, ["C LISTEN", "Z I"]);
    sender.query("BEGIN").await;
    assert_eq!(sender.query("NOTIFY news, 'one'").await, ["C NOTIFY", "Z T"]);
    sender.query("NOTIFY news, 'one'").await;
    sender.query("SAVEPOINT s").await;
    sender.query("NOTIFY news, 'never'").await;
    sender.query("ROLLBACK TO s").await;
    sender.query("NOTIFY other, 'elsewhere'").await;
    assert_eq!(listener.query("BEGIN").await, ["C BEGIN", "Z T"]);
    assert_eq!(sender.query("COMMIT").await, ["C COMMIT", "Z I"]);
    // not in the middle of a transaction
    assert_eq!(listener.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z T"]);
    assert_eq!(listener.query("COMMIT").await, ["C COMMIT", "A", "Z I"]);
    // to who waits it comes at once
    sender.query("NOTIFY news").await;
    let heard = listener.next().await;
    assert_eq!((heard.tag, &heard.body[..4]), (b'A', &sender.process_id.to_be_bytes()[..]));
    assert_eq!(&heard.body[4..], b"news\0\0");
    assert_eq!(listener.query("NOTIFY news, 'myself'").await, ["C NOTIFY", "A", "Z I"]);
    assert_eq!(listener.query("UNLISTEN *").await, ["C UNLISTEN", "Z I"]);
    assert_eq!(listener.query("NOTIFY news").await, ["C NOTIFY", "Z I"]);
    // a rollback forgets what was to be listened to
    listener.query("BEGIN").await;
    listener.query("LISTEN news").await;
    listener.query("ROLLBACK").await;
    assert_eq!(listener.query("NOTIFY news").await, ["C NOTIFY", "Z I"]);
    let long = format!("NOTIFY news, '{}'", "x".repeat(8000));
    assert_eq!(listener.query(&long).await, ["E 22023", "Z I"]);
}

pub async fn who_does_not_read_is_not_notified_for_ever(target: Target) {
    let (mut listener, mut sender) = (Client::login(&target).await, Client::login(&target).await);
    listener.query("LISTEN flood").await;
    listener.query("BEGIN").await;
    let mut refused = None;
    for number in 0..5000 {
        let answer = sender.query(&format!("NOTIFY flood, '{number}'")).await;
        if answer[0] == "E 54000" {
            refused = Some(number);
            break;
        }
    }
    assert_eq!(refused, Some(4096));
    assert_eq!(listener.query("COMMIT").await.iter().filter(|reply| *reply == "A").count(), 4096);
    assert_eq!(sender.query("NOTIFY flood").await, ["C NOTIFY", "Z I"]);
}

pub async fn errors_say_what_they_are_about(target: Target) {
    let mut client = Client::login(&target).await;
    client
        .query("CREATE SCHEMA subjects; CREATE TABLE subjects.t (a int PRIMARY KEY, b int NOT NULL CHECK (b > 0))")
        .await;
    client.query("INSERT INTO subjects.t VALUES (1, 1)").await;
    for (row, column, constraint) in
        [("(1, 1)", None, Some("t_pkey")), ("(2, NULL)", Some("b"), None), ("(2, -1)", None, Some("t_b_check"))]
    {
        client.send_query(&format!("INSERT INTO subjects.t VALUES {row}")).await;
        let error = client.replies().await.remove(0);
        assert_eq!((error.field('s').as_deref(), error.field('t').as_deref()), (Some("subjects"), Some("t")));
        assert_eq!((error.field('c').as_deref(), error.field('n').as_deref()), (column, constraint));
    }
    client.query("DROP SCHEMA subjects CASCADE").await;
}
