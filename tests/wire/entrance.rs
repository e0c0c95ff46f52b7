//! Who gets in and how, and who is sent away again: encryption, rules of hosts, silence, and administrators.

use std::process::Command;

use crate::client::{Client, SLOW_STATEMENT, Target, until_active, within};

/// A certificate and its key, in a folder.
pub fn certificate(folder: &std::path::Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().expect("a plain path").to_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"])
        .args(["-subj", "/CN=granary", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success());
    (certificate, key)
}

/// What psql says to one question, over a connection of this mode.
fn asked(target: &Target, mode: &str) -> String {
    let (address, user, database) = (target.address, &target.user, &target.database);
    let connection =
        format!("host={} port={} user={user} dbname={database} sslmode={mode}", address.ip(), address.port());
    let output = Command::new("psql")
        .args(["-X", "-At", "-c", "SELECT 'in'", &connection])
        .env("PGPASSWORD", &target.password)
        .output()
        .expect("psql is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

/// A server with a certificate, and rules that want it of all but one address range.
pub async fn encryption_is_had_and_asked_for(target: Target) {
    assert_eq!(asked(&target, "require"), "in");
    let refused = asked(&target, "disable");
    assert!(refused.contains("no pg_hba.conf entry for host \"127.0.0.1\""), "{refused}");
    assert!(refused.contains("no encryption"), "{refused}");
    let mut client = Client::open(&target).await;
    assert_eq!(client.negotiate(80_877_103).await, b'S');
    // what is no handshake ends it
    client.raw(b"no handshake at all").await;
    within("the end", async { while client.try_next().await.is_some() {} }).await;
    // another protocol's clients, who send a handshake at once, are not taken for ours
    let mut client = Client::open(&target).await;
    client.raw(&[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9]).await;
    within("the end", async { while client.try_next().await.is_some() {} }).await;
}

/// A server whose rules refuse one user and believe another.
pub async fn rules_decide_by_their_order(mut target: Target) {
    let mut admin = Client::login(&target).await;
    admin.query("CREATE ROLE eve LOGIN PASSWORD 'x'; CREATE ROLE ada LOGIN PASSWORD 'x'").await;
    target.user = "eve".to_owned();
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    let refused = client.next().await;
    assert_eq!(refused.field('C').as_deref(), Some("28000"));
    assert!(refused.field('M').expect("a message").starts_with("pg_hba.conf rejects connection for host"));
    target.user = "ada".to_owned();
    let mut client = Client::open(&target).await;
    client.start(&target, 3 << 16).await;
    // AuthenticationOk without a question
    let trusted = client.next().await;
    assert_eq!((trusted.tag, trusted.body), (b'R', vec![0, 0, 0, 0]));
}

pub async fn silence_has_its_time(target: Target) {
    let mut client = Client::login(&target).await;
    assert_eq!(client.query("SET idle_in_transaction_session_timeout = 100").await, ["C SET", "Z I"]);
    assert_eq!(client.query("BEGIN").await, ["C BEGIN", "Z T"]);
    client.expect_end(Some("25P03")).await;
    let mut client = Client::login(&target).await;
    client.send_query("SET idle_session_timeout = 100").await;
    assert_eq!(client.until_ready().await, ["C SET", "Z I"]);
    client.expect_end(Some("57P05")).await;
}

pub async fn a_slow_reader_is_not_waited_for_longer_than_its_statement_may_take(target: Target) {
    let mut client = Client::login(&target).await;
    client.query("SET statement_timeout = 500").await;
    client.send_query("SELECT repeat('x', 1000) FROM generate_series(1, 3000000)").await;
    let mut watcher = Client::login(&target).await;
    // it reads nothing: the server waits for it, and gives up
    let sql = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {} AND state <> 'active'", client.process_id);
    within("the timeout", async { while watcher.query(&sql).await.len() < 4 {} }).await;
    let error = loop {
        let reply = client.next().await;
        if reply.tag == b'E' {
            break reply;
        }
    };
    assert_eq!(error.field('M').as_deref(), Some("canceling statement due to statement timeout"));
}

pub async fn administrators_stop_statements_and_connections(target: Target) {
    let mut admin = Client::login(&target).await;
    let mut client = Client::login(&target).await;
    let process_id = client.process_id;
    client.send_query(SLOW_STATEMENT).await;
    until_active(&mut admin, process_id).await;
    assert_eq!(admin.query(&format!("SELECT pg_cancel_backend({process_id})")).await[1], "D t");
    let replies = client.replies().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    assert_eq!(error.field('M').as_deref(), Some("canceling statement due to user request"));
    assert_eq!(client.query("SELECT 1").await, ["T", "D 1", "C SELECT 1", "Z I"]);
    // idle, and in the middle of a statement
    assert_eq!(admin.query(&format!("SELECT pg_terminate_backend({process_id})")).await[1], "D t");
    client.expect_end(Some("57P01")).await;
    let mut client = Client::login(&target).await;
    client.send_query(SLOW_STATEMENT).await;
    until_active(&mut admin, client.process_id).await;
    admin.query(&format!("SELECT pg_terminate_backend({})", client.process_id)).await;
    let last = loop {
        let reply = client.next().await;
        if reply.tag == b'E' {
            break reply;
        }
    };
    assert_eq!((last.field('C').as_deref(), last.field('V').as_deref()), (Some("57P01"), Some("FATAL")));
    assert_eq!(admin.query("SELECT pg_terminate_backend(1073000000)").await[1], "D f");
    // others may not, but for their own
    admin.query("CREATE ROLE signal_low LOGIN PASSWORD 'low'").await;
    let low = Target { user: "signal_low".to_owned(), password: "low".to_owned(), ..target.clone() };
    let mut low_one = Client::login(&low).await;
    let mut low_two = Client::login(&low).await;
    let refused = low_one.query(&format!("SELECT pg_terminate_backend({})", admin.process_id)).await;
    assert_eq!(refused, ["E 42501", "Z I"]);
    assert_eq!(low_one.query(&format!("SELECT pg_terminate_backend({})", low_two.process_id)).await[1], "D t");
    low_two.expect_end(Some("57P01")).await;
}
