//! Alerts against a receiver of HTTP: what it is told, how often, and what a server that is killed tells again.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_postgres::Client;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::server::Server;

/// A request that the receiver has taken.
#[derive(Debug, Clone)]
struct Taken {
    path: String,
    head: String,
    body: Json,
}

/// Takes requests of HTTP and answers them all the same.
struct Receiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start(answer: &'static str) -> Receiver {
        Receiver::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    async fn start_at(address: SocketAddr, answer: &'static str) -> Receiver {
        Receiver::start_over(address, answer, None).await
    }

    /// Over TLS, if there is an acceptor.
    async fn start_over(address: SocketAddr, answer: &'static str, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let taken: Arc<Mutex<Vec<Taken>>> = Arc::default();
        let into = Arc::clone(&taken);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (into, tls) = (Arc::clone(&into), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => take(stream, &into, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                take(stream, &into, answer).await;
                            }
                        }
                    }
                });
            }
        });
        Receiver { address, taken, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("nobody panics while holding it").clone()
    }

    /// What it was told, in order.
    fn events(&self) -> Vec<String> {
        self.taken().iter().map(|taken| taken.body["event"].as_str().expect("an event").to_owned()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(stream: impl AsyncRead + AsyncWrite + Unpin, into: &Mutex<Vec<Taken>>, answer: &str) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("a body");
    let path = head.split(' ').nth(1).expect("a path").to_owned();
    let body = serde_json::from_slice(&body).expect("JSON");
    into.lock().expect("nobody panics while holding it").push(Taken { path, head, body });
    let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Asks again until it is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::task::yield_now().await;
    }
}

async fn is(client: &Client, condition: &str) -> bool {
    client.query_one(&format!("SELECT coalesce(({condition}), false)"), &[]).await.expect("an answer").get(0)
}

const CHECKED: &str = "SELECT last_checked_at FROM granary.alerts WHERE name = 'a'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_fires_repeats_no_more_than_said_and_resolves() {
    let (server, receiver) = (Server::start(&[]), Receiver::start("200 OK").await);
    let client = server.connect().await;
    let create = format!(
        "CREATE TABLE t (what text, n int8, x float8); INSERT INTO t VALUES ('disk \"1\"', 3, 0.5), (NULL, 4, 'NaN');
         CREATE ALERT a WHEN (SELECT what, n, x, n > 3 AS many, date '2024-01-31' AS d FROM t ORDER BY n)
         SEVERITY CRITICAL REPEAT EVERY '1 second' AT MOST 2 TIMES CHECK EVERY '1 second'
         DO WEBHOOK '{}' HEADERS ('X-Key' = 'hush') COMMENT 'call somebody'",
        receiver.url("services/T0/secret?token=y")
    );
    client.batch_execute(&create).await.expect("an alert");
    eventually("three times told", async || receiver.taken().len() >= 3).await;
    // looked at for longer than two repeats would take
    let last = format!("({CHECKED}) > (SELECT last_told_at + interval '3 seconds' FROM granary.alerts)");
    eventually("more looks", async || is(&client, &last).await).await;
    assert_eq!(receiver.events(), ["firing", "repeated", "repeated"]);
    client.batch_execute("DELETE FROM t").await.expect("no rows");
    eventually("the end is told", async || receiver.taken().len() >= 4).await;
    let later = format!("({CHECKED}) > (SELECT resolved_at + interval '2 seconds' FROM granary.alerts)");
    eventually("more looks", async || is(&client, &later).await).await;
    assert_eq!(receiver.events(), ["firing", "repeated", "repeated", "resolved"]);

    let taken = receiver.taken();
    let first = &taken[0];
    assert_eq!(first.path, "/services/T0/secret?token=y");
    let head = first.head.to_ascii_lowercase();
    for line in ["post ", "x-key: hush", "content-type: application/json", "user-agent: granary/"] {
        assert!(head.contains(line), "{head}");
    }
    let body = &first.body;
    for (name, value) in [
        ("status", "firing"),
        ("alert", "a"),
        ("schema", "public"),
        ("workspace", "granary"),
        ("severity", "critical"),
        ("description", "call somebody"),
    ] {
        assert_eq!(body[name], value, "{body}");
    }
    let rows = serde_json::json!([
        { "what": "disk \"1\"", "n": 3, "x": 0.5, "many": false, "d": "2024-01-31" },
        { "what": null, "n": 4, "x": "NaN", "many": true, "d": "2024-01-31" },
    ]);
    assert_eq!((&body["rows"], &body["row_count"]), (&rows, &Json::from(2)));
    assert!(body["text"].as_str().expect("text").starts_with("[FIRING] a (critical, granary)\ncall somebody\nsince "));
    assert_eq!(taken[3].body["status"], "resolved");
    let ids: std::collections::HashSet<&Json> = taken.iter().map(|taken| &taken.body["id"]).collect();
    assert_eq!(ids.len(), 4, "each has an id of its own");

    // whoever looks into logs and views finds no secret
    for sql in [
        "SELECT count(*) FROM granary.audit_log WHERE statement LIKE '%secret%' OR statement LIKE '%hush%'",
        "SELECT count(*) FROM granary.alert_deliveries WHERE target LIKE '%secret%'",
        "SELECT count(*) FROM granary.alerts WHERE actions::text LIKE '%secret%' OR actions::text LIKE '%hush%'",
    ] {
        assert_eq!(client.query_one(sql, &[]).await.expect("an answer").get::<_, i64>(0), 0, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_tells_nothing_anew_and_nothing_too_little() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a plain path").to_owned();
    // two receivers: one is there, the other is not yet
    let receiver = Receiver::start("204 No Content").await;
    let away = Receiver::start("200 OK").await;
    let away_url = away.url("x");
    let away_address = away.address;
    away.task.abort();
    drop(away);

    let server = Server::start(&["--data", &data]);
    let client = server.connect().await;
    let create = format!(
        "CREATE TABLE t (what text); INSERT INTO t VALUES ('disk');
         CREATE ALERT a WHEN (SELECT what FROM t) REPEAT EVERY '1 hour' CHECK EVERY '1 second'
         DO WEBHOOK '{}', WEBHOOK '{away_url}'",
        receiver.url("x")
    );
    client.batch_execute(&create).await.expect("an alert");
    let noted = "SELECT bool_and(state = 'delivered' OR attempts > 1) AND count(*) = 2 FROM granary.alert_deliveries";
    eventually("one is delivered and one tried twice", async || is(&client, noted).await).await;
    let failed =
        "SELECT error LIKE 'it could not be connected to%' FROM granary.alert_deliveries WHERE state = 'pending'";
    assert!(is(&client, failed).await);
    // SIGKILL
    drop(server);

    let server = Server::start(&["--data", &data]);
    let client = server.connect().await;
    eventually("it looks again", async || {
        is(&client, &format!("({CHECKED}) > (SELECT last_told_at + interval '2 seconds' FROM granary.alerts)")).await
    })
    .await;
    assert!(is(&client, "SELECT state = 'firing' AND times_told = 1 FROM granary.alerts").await);
    assert_eq!(receiver.events(), ["firing"]);
    // the one that was away comes back
    let back = Receiver::start_at(away_address, "200 OK").await;
    eventually("what waited is delivered", async || !back.taken().is_empty()).await;
    let noted = "SELECT count(*) = 0 FROM granary.alert_deliveries WHERE state = 'pending'";
    eventually("that is noted", async || is(&client, noted).await).await;
    assert_eq!(back.events(), ["firing"]);
    client.batch_execute("DELETE FROM t").await.expect("no rows");
    eventually("the end is told", async || receiver.taken().len() + back.taken().len() >= 4).await;
    eventually("that is noted", async || is(&client, noted).await).await;
    drop(server);

    let server = Server::start(&["--data", &data]);
    let client = server.connect().await;
    eventually("it looks again", async || {
        is(&client, &format!("({CHECKED}) > (SELECT resolved_at + interval '2 seconds' FROM granary.alerts)")).await
    })
    .await;
    assert!(is(&client, "SELECT state = 'inactive' FROM granary.alerts").await);
    assert_eq!((receiver.events(), back.events()), (vec!["firing".to_owned(), "resolved".to_owned()], back.events()));
    assert_eq!(back.events(), ["firing", "resolved"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_say_no_are_not_followed_and_hosts_can_be_named() {
    let moved = Receiver::start("302 Found\r\nLocation: http://169.254.169.254/").await;
    let refusing = Receiver::start("500 Oh no").await;
    let server = Server::start(&["--alert-hosts", "127.0.0.1,*.example.invalid"]);
    let client = server.connect().await;
    let create = format!(
        "CREATE ALERT a WHEN true CHECK EVERY '1 day' DO WEBHOOK '{}', WEBHOOK '{}', WEBHOOK 'http://localhost:9/', NOTIFY ops",
        moved.url("x"),
        refusing.url("x")
    );
    client.batch_execute("LISTEN ops").await.expect("listens");
    client.batch_execute(&create).await.expect("an alert");
    let tried = "SELECT bool_and(attempts > 0) AND count(*) = 4 FROM granary.alert_deliveries";
    eventually("all are tried", async || is(&client, tried).await).await;
    let rows = client.query("SELECT error FROM granary.alert_deliveries ORDER BY id", &[]).await.expect("rows");
    let errors: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(errors[0].as_deref(), Some("HTTP 302 Found"));
    assert_eq!(errors[1].as_deref(), Some("HTTP 500 Internal Server Error"));
    assert_eq!(errors[2].as_deref(), Some("this server may not send to \"localhost\""));
    assert_eq!(errors[3], None);
}

/// Makes an authority and a certificate of `localhost` in a folder; gives the authority's file.
fn certificates(folder: &Path) -> String {
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").expect("a file");
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request -subj /CN=localhost",
        "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out certificate.pem",
    ] {
        let output =
            Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    folder.join("ca.pem").to_str().expect("a plain path").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_over_https_must_show_who_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = certificates(folder.path());
    let certificate = CertificateDer::from_pem_file(folder.path().join("certificate.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).expect("a key");
    let config =
        ServerConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
    let tls = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
    let receiver = Receiver::start_over(SocketAddr::from(([127, 0, 0, 1], 0)), "200 OK", Some(tls)).await;
    let url = format!("https://localhost:{}/x", receiver.address.port());
    let create = format!("CREATE ALERT a WHEN true CHECK EVERY '1 day' DO WEBHOOK '{url}'");

    let stranger = Server::start(&[]);
    let client = stranger.connect().await;
    client.batch_execute(&create).await.expect("an alert");
    let refused =
        "SELECT count(*) = 1 FROM granary.alert_deliveries WHERE state = 'pending' AND error LIKE '%certificate%'";
    eventually("it is not believed", async || is(&client, refused).await).await;
    assert!(receiver.taken().is_empty());

    let server = Server::start_with(&[], &[("SSL_CERT_FILE", &authority)]);
    let client = server.connect().await;
    client.batch_execute(&create).await.expect("an alert");
    eventually("it is told", async || !receiver.taken().is_empty()).await;
    assert_eq!(receiver.events(), ["firing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_is_told_in_a_payload_that_fits() {
    let server = Server::start(&[]);
    let mut listener = crate::client::Client::login(&crate::target(&server)).await;
    assert_eq!(listener.query("LISTEN ops").await, ["C LISTEN", "Z I"]);
    let client = server.connect().await;
    let create = "CREATE ALERT a WHEN (SELECT i, repeat('x', 490) AS x FROM generate_series(1, 50) AS g (i) ORDER BY i) \
                  CHECK EVERY '1 day' DO NOTIFY ops";
    client.batch_execute(create).await.expect("an alert");
    let heard = listener.next().await;
    // the server itself has no number
    assert_eq!((heard.tag, &heard.body[..8]), (b'A', &b"\0\0\0\0ops\0"[..]));
    let payload = heard.body[8..].strip_suffix(b"\0").expect("a text");
    assert!(payload.len() < 8000);
    let told: Json = serde_json::from_slice(payload).expect("JSON");
    assert_eq!((&told["status"], &told["row_count"]), (&Json::from("firing"), &Json::from(50)));
    let rows = told["rows"].as_array().expect("rows");
    assert!((1..20).contains(&rows.len()) && rows[0]["i"] == 1, "{}", rows.len());
}
