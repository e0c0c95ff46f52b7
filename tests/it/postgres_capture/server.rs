//! The server whose tables are captured: PostgreSQL, with a log that can be decoded.

use tokio_postgres::{Client, NoTls};

use crate::postgres::Cluster;

const USER: &str = "ada";
const PASSWORD: &str = "pass 'word";
const SETTINGS: &[&str] =
    &["wal_level=logical", "wal_sender_timeout=60s", "max_wal_senders=20", "max_replication_slots=20"];

pub struct Server {
    cluster: Cluster,
}

impl Server {
    pub fn start() -> Server {
        Server { cluster: Cluster::start(USER, PASSWORD, SETTINGS) }
    }

    pub fn start_again(&self) {
        self.cluster.start_again();
    }

    /// At once, as if it had crashed.
    pub fn stop(&self) {
        self.cluster.stop();
    }

    /// How a stream reaches it, as a literal of SQL.
    pub fn dsn(&self) -> String {
        format!("'{}'", self.address().replace('\'', "''"))
    }

    fn address(&self) -> String {
        let password = PASSWORD.replace('\'', "\\'");
        let port = self.cluster.port();
        format!("host=127.0.0.1 port={port} user={USER} dbname=postgres password='{password}' sslmode=disable")
    }

    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.address(), NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }
}
