//! Cancel requests, and clients that leave.

use crate::client::{
    Client, SHORT_STATEMENT, SLOW_STATEMENT, Target, bind, execute, message, parse, series, sync, until_active,
};

pub async fn cancel(target: &Target, process_id: i32, secret: i32) {
    let mut other = Client::open(target).await;
    let packet = [80_877_102_i32, process_id, secret].map(i32::to_be_bytes).concat();
    other.packet(&packet).await;
    assert_eq!(other.try_next().await, None, "a cancel request is not answered");
}

pub async fn a_running_statement_can_be_cancelled(target: Target) {
    let mut watcher = Client::login(&target).await;
    let mut client = Client::login(&target).await;
    client.send_query(SLOW_STATEMENT).await;
    until_active(&mut watcher, client.process_id).await;
    cancel(&target, client.process_id, client.secret).await;
    let replies = client.replies().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    assert_eq!(error.field('C').as_deref(), Some("57014"));
    assert_eq!(error.field('M').as_deref(), Some("canceling statement due to user request"));
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn streaming_rows_can_be_cancelled(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [parse("", &series(3_000_000), &[]), bind("", ""), execute("", 0), sync()];
    client.raw(&messages.concat()).await;
    // more than fits into the sockets: the server comes to wait for a client that does not read
    assert_eq!(client.take(3).await, ["1", "2", "D 1"]);
    cancel(&target, client.process_id, client.secret).await;
    let mut rows = 1;
    let error = loop {
        let reply = client.next().await;
        match reply.tag {
            b'D' => rows += 1,
            b'E' => break reply,
            b'C' => panic!("the statement ended before it could be cancelled"),
            _ => {}
        }
    };
    assert_eq!(error.field('C').as_deref(), Some("57014"));
    assert!(rows < 3_000_000, "{rows}");
    assert_eq!(client.until_ready().await, ["Z I"]);
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn a_cancel_needs_the_secret(target: Target) {
    let mut watcher = Client::login(&target).await;
    let mut client = Client::login(&target).await;
    client.send_query(SHORT_STATEMENT).await;
    until_active(&mut watcher, client.process_id).await;
    cancel(&target, client.process_id, client.secret ^ 1).await;
    assert_eq!(client.until_ready().await, ["T", "D 20000000", "C SELECT 1", "Z I"]);
}

pub async fn a_late_cancel_hits_nothing(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("SELECT 1").await;
    cancel(&target, client.process_id, client.secret).await;
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn a_terminate_after_a_statement_lets_it_end(target: Target) {
    let mut client = Client::login(&target).await;
    client.raw(&[message(b'Q', b"SELECT 1\0"), message(b'X', b"")].concat()).await;
    assert_eq!(client.until_ready().await, ["T", "D 1", "C SELECT 1", "Z I"]);
    assert_eq!(client.try_next().await, None);
}
