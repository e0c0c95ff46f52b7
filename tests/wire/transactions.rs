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
