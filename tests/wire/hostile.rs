//! Messages that no good client sends.

use crate::client::{Client, Target, message, parse, run, sync};

pub async fn malformed_bodies_are_errors(target: Target) {
    let mut client = Client::login(&target).await;
    let bodies: [(u8, &[u8]); 9] = [
        (b'P', b""),
        (b'P', b"name"),
        (b'P', b"\0SELECT 1\0\x7f\xff"),
        (b'B', b"\0\0\0\x01"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        (b'B', b"\0\0\x7f\xff\0\0\0\0"),
        (b'E', b"\0\0"),
        (b'D', b"Q\0"),
        (b'C', b""),
    ];
    for (tag, body) in bodies {
        let messages = [parse("", "SELECT 1", &[]), message(tag, body), sync()];
        assert_eq!(run(&mut client, &messages).await, ["1", "E 08P01", "Z I"], "{} {body:?}", tag as char);
    }
    client.send(b'Q', b"SELECT 1").await;
    assert_eq!(client.until_ready().await, ["E 08P01", "Z I"]);
    client.send(b'S', b"x").await;
    assert_eq!(client.until_ready().await, ["E 08P01", "Z I"]);
}

pub async fn malformed_frames_end_the_connection(target: Target) {
    for frame in [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"S\x3f\xff\xff\xff", b"E\0\x01\0\0"] {
        let mut client = Client::login(&target).await;
        client.raw(frame).await;
        // PostgreSQL says nothing
        if let Some(reply) = client.try_next().await {
            assert_eq!(reply.shown(), "E 08P01");
            assert_eq!(client.try_next().await, None);
        }
    }
}

pub async fn an_unknown_message_type_ends_the_connection(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'!', b"").await;
    client.expect_end(Some("08P01")).await;
}

pub async fn copy_messages_outside_of_copy_are_ignored(target: Target) {
    let mut client = Client::login(&target).await;
    let messages = [message(b'd', b"data"), message(b'c', b""), message(b'f', b"why\0")].concat();
    client.raw(&messages).await;
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
}

pub async fn function_calls_are_answered(target: Target) {
    let mut client = Client::login(&target).await;
    client.send(b'F', b"\x7f\xff\xff\xff\0\0\0\0\0\0").await;
    let replies = client.until_ready().await;
    assert!(replies[0].starts_with('E'));
    assert_eq!(replies[1..], ["Z I"]);
}
