//! The log-in: what is negotiated, and who is kept out.

use crate::client::{Client, Target, text_of};

pub async fn encryption_is_refused_and_the_login_goes_on(target: Target) {
    let mut client = Client::open(&target).await;
    assert_eq!(client.negotiate(80_877_103).await, b'N');
    client.start(&target, 3 << 16).await;
    assert_eq!(client.authenticate(&target.password).await.shown(), "Z I");
    assert!(client.statuses.iter().any(|(name, value)| name == "server_version" && value.starts_with("15")));
    assert!(client.process_id > 0);
}

pub async fn a_newer_minor_protocol_is_negotiated(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, (3 << 16) + 2).await;
    let negotiate = client.next().await;
    assert_eq!((negotiate.tag, &negotiate.body[..]), (b'v', &b"\0\x03\0\0\0\0\0\0"[..]));
    assert_eq!(client.authenticate(&target.password).await.shown(), "Z I");
}

pub async fn an_older_major_protocol_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, 4 << 16).await;
    client.expect_end(Some("0A000")).await;
}

pub async fn a_startup_without_user_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.packet(b"\0\x03\0\0\0").await;
    client.expect_end(Some("28000")).await;
    let mut client = Client::open(&target).await;
    client.packet(b"\0\x03\0\0user\0x\0").await;
    client.expect_end(Some("08P01")).await;
    let mut client = Client::open(&target).await;
    client.raw(b"\0\0\0\x07abc").await;
    client.expect_end(None).await;
}

pub async fn a_wrong_password_and_an_unknown_user_look_the_same(target: Target) {
    for user in [target.user.as_str(), "nobody_at_all"] {
        let other = Target { user: user.to_owned(), ..target.clone() };
        let mut client = Client::open(&other).await;
        client.start(&other, 3 << 16).await;
        let error = client.authenticate("not the password").await;
        assert_eq!(error.shown(), "E 28P01");
        assert_eq!(error.field('V').as_deref(), Some("FATAL"));
        let expected = format!("password authentication failed for user \"{user}\"");
        assert_eq!(error.field('M'), Some(expected));
        assert_eq!(client.try_next().await, None);
    }
}

pub async fn an_unknown_users_salt_does_not_change(target: Target) {
    let mut salts = Vec::new();
    for user in ["nobody_at_all", "nobody_at_all", "nobody_else"] {
        let other = Target { user: user.to_owned(), ..target.clone() };
        let mut client = Client::open(&other).await;
        client.start(&other, 3 << 16).await;
        client.next().await;
        client.send(b'p', b"SCRAM-SHA-256\0\0\0\0\x0fn,,n=,r=abcdefg").await;
        let challenge = text_of(&client.next().await.body[4..]);
        let salt = challenge.split(',').find(|part| part.starts_with("s=")).expect("a salt").to_owned();
        assert!(challenge.ends_with(",i=4096"));
        salts.push(salt);
    }
    assert_eq!(salts[0], salts[1]);
    assert_ne!(salts[0], salts[2]);
}

pub async fn a_huge_message_before_the_login_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.raw(&0x3fff_ffff_i32.to_be_bytes()).await;
    client.expect_end(None).await;
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    client.next().await;
    client.raw(b"p\x3f\xff\xff\xff").await;
    // how it ends differs; that nobody keeps a gigabyte for it does not
    while client.try_next().await.is_some() {}
}

pub async fn an_unknown_sasl_mechanism_is_refused(target: Target) {
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    client.next().await;
    client.send(b'p', b"SCRAM-SHA-1\0\0\0\0\x0fn,,n=,r=abcdefg").await;
    client.expect_end(Some("08P01")).await;
}
