//! A PostgreSQL server of a test's own, with a log that can be decoded.

use tokio_postgres::{Client, NoTls};

#[path = "../../support/postgres.rs"]
mod postgres;

use postgres::Postgres;

const PASSWORD: &str = "pass 'word";

pub struct Server(Postgres);

impl Server {
    pub fn start() -> Server {
        let options =
            "-c wal_level=logical -c wal_sender_timeout=60s -c max_wal_senders=20 -c max_replication_slots=20";
        Server(Postgres::start("ada", PASSWORD, options))
    }

    pub fn start_again(&self) {
        self.0.start_again();
    }

    /// At once, as if it had crashed.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// How a stream reaches it, as a literal of SQL.
    pub fn dsn(&self) -> String {
        format!("'{}'", self.address().replace('\'', "''"))
    }

    fn address(&self) -> String {
        let password = PASSWORD.replace('\'', "\\'");
        format!("host=127.0.0.1 port={} user=ada dbname=postgres password='{password}' sslmode=disable", self.0.port)
    }

    pub async fn connect(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.address(), NoTls).await.expect("connects");
        tokio::spawn(connection);
        client
    }
}
