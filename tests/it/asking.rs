//! Questions to a server that is at work: answers are awaited, and an answer is a text.

use std::time::Duration;

use tokio_postgres::Client;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Asks until the first column of the answer is `expected`.
pub async fn until(client: &Client, sql: &str, expected: &str) {
    let mut last = String::new();
    let asked = async {
        while last != expected {
            let row = client.query_opt(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            last = row.map_or_else(|| "(none)".into(), |row| row.get::<_, Option<String>>(0).unwrap_or_default());
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, asked).await;
    if in_time.is_err() {
        let rows = client.query("SELECT state, last_error FROM granary.streams", &[]).await.expect("reads");
        let states: Vec<(String, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        panic!("{sql}\nfound    {last}\nexpected {expected}\nstreams {states:?}");
    }
}

pub async fn one(client: &Client, sql: &str) -> String {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

pub async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}
