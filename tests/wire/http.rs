//! The HTTP door, as a load balancer sees it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, SLOW_STATEMENT, Target, until_active, within};

/// The status line and the body of an answer.
async fn ask(address: &str, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!("{method} {path} HTTP/1.1\r\nhost: granary\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

/// A server with `--http` that is told to stop by `stop`.
pub async fn load_balancers_learn_when_the_server_drains(target: Target, http: &str, stop: impl FnOnce()) {
    let (status, body) = ask(http, "GET", "/health").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains(r#""status":"ok""#), "{body}");
    assert_eq!(ask(http, "GET", "/ready").await.0, "HTTP/1.1 200 OK");
    assert_eq!(ask(http, "POST", "/ready").await.0, "HTTP/1.1 405 Method Not Allowed");
    let (status, body) = ask(http, "GET", "/").await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert!(body.contains("/health"), "{body}");

    let mut watcher = Client::login(&target).await;
    let mut running = Client::login(&target).await;
    running.send_query(SLOW_STATEMENT).await;
    until_active(&mut watcher, running.process_id).await;
    stop();
    watcher.expect_end(Some("57P01")).await;
    assert_eq!(ask(http, "GET", "/health").await.0, "HTTP/1.1 200 OK");
    assert_eq!(ask(http, "GET", "/ready").await.0, "HTTP/1.1 503 Service Unavailable");
}

/// A server that lets one client of HTTP in.
pub async fn one_client_too_many_is_sent_away(http: &str) {
    let mut first = TcpStream::connect(http).await.expect("connects");
    let request = b"GET /health HTTP/1.1\r\nhost: granary\r\n\r\n";
    let mut byte = [0];
    first.write_all(request).await.expect("is sent");
    first.read_exact(&mut byte).await.expect("is answered, and kept alive");

    let mut second = TcpStream::connect(http).await.expect("the system connects");
    // it may be closed before or after it has said anything
    let answer = async {
        second.write_all(request).await?;
        second.read(&mut byte).await
    };
    assert_eq!(answer.await.unwrap_or(0), 0);

    drop(first);
    let let_in = async {
        loop {
            let mut next = TcpStream::connect(http).await.expect("the system connects");
            if next.write_all(request).await.is_ok() && matches!(next.read(&mut byte).await, Ok(1)) {
                break;
            }
        }
    };
    within("a free seat", let_in).await;
}
