//! A disk that is full: what cannot be kept is refused, what was kept stays, and after a restart with room all goes on.
//! The disk is a small tmpfs, which only root may mount: for others the test says so and ends.

use std::path::Path;
use std::process::Command;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::server::Server;

struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(SmallDisk { folder })
    }

    fn filler(&self) -> std::path::PathBuf {
        self.folder.path().join("filler")
    }

    /// Leaves no byte free.
    fn fill(&self) {
        use std::io::Write;
        let mut filler = std::fs::File::create(self.filler()).expect("a file");
        while filler.write_all(&[0; 4096]).is_ok() {}
        while filler.write_all(&[0]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("can be removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
}

async fn refused_for_space(client: &Client, sql: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    assert_eq!(error.code(), Some(&SqlState::DISK_FULL), "{sql}: {error:?}");
    let message = error.as_db_error().expect("of the server").message();
    assert!(message.contains("No space left on device"), "{sql}: {message}");
}

fn server_on(folder: &Path) -> Server {
    Server::start(&["--data", folder.to_str().expect("a plain path")])
}

const FIRST_DAY: &str = "REFRESH FEATURE VIEW v FROM '2024-01-01' TO '2024-01-02'";
const SECOND_DAY: &str = "REFRESH FEATURE VIEW v FROM '2024-01-02' TO '2024-01-03'";

pub async fn a_full_disk_is_an_error_and_not_the_end() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a small disk cannot be mounted here, which takes root");
        return;
    };
    let data = disk.folder.path().join("data");
    let server = server_on(&data);
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE TABLE events AS SELECT value % 50 AS k, to_timestamp(1704067200 + value * 60) AS ts, value AS v
               FROM generate_series(1, 20000) AS g (value);
             CREATE ENTITY thing (k bigint);
             CREATE SOURCE source AS SELECT k, ts, v FROM events TIMESTAMP ts;
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER (LAST '1 day') AS n)
               WITH (schedule = '1 day', start = '2024-01-01') AS SELECT k, ts, v FROM source;",
        )
        .await
        .expect("declares");
    client.batch_execute(FIRST_DAY).await.expect("refreshes");
    let as_of = "SELECT count(*) FROM v FOR SYSTEM_TIME AS OF '2024-01-02' WHERE n > 0";
    assert_eq!(number(&client, as_of).await, 50);

    disk.fill();
    refused_for_space(
        &client,
        "INSERT INTO events SELECT 1, now(), value FROM generate_series(1, 100000) AS g (value)",
    )
    .await;
    refused_for_space(&client, SECOND_DAY).await;
    assert_eq!(number(&client, "SELECT count(*) FROM events").await, 20_000);
    assert_eq!(number(&client, as_of).await, 50);

    // a store that has met the full disk wants to be opened anew
    drop(client);
    drop(server);
    disk.free();
    let server = server_on(&data);
    let client = server.connect().await;
    client.batch_execute("INSERT INTO events VALUES (1, '2024-01-01', 1)").await.expect("inserts");
    client.batch_execute(SECOND_DAY).await.expect("refreshes");
    let as_of = "SELECT count(*) FROM v FOR SYSTEM_TIME AS OF '2024-01-03' WHERE n > 0";
    assert_eq!(number(&client, as_of).await, 50);
    assert_eq!(number(&client, "SELECT count(*) FROM v WHERE k = 1").await, 1);

    // and what is on the disk is whole
    drop(client);
    drop(server);
    let server = server_on(&data);
    let client = server.connect().await;
    assert_eq!(number(&client, "SELECT count(*) FROM events").await, 20_001);
    assert_eq!(number(&client, as_of).await, 50);
}

/// Events that cannot be logged are refused, and taken again as soon as there is room: the log needs no restart.
pub async fn a_stream_goes_on_when_there_is_room_again() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a small disk cannot be mounted here, which takes root");
        return;
    };
    let data = disk.folder.path().join("data");
    let server = server_on(&data);
    let client = server.connect().await;
    client
        .batch_execute(
            "CREATE ENTITY thing (k bigint);
             CREATE STREAM events (k bigint, ts timestamptz, v text) FROM PUSH TIMESTAMP ts;
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER (LIFETIME) AS n)
               AS SELECT k, ts, v FROM events;
             INSERT INTO events VALUES (1, '2024-01-01', 'first');",
        )
        .await
        .expect("declares");
    let counted = "SELECT n FROM v WHERE k = 1";
    disk.fill();
    // longer than what a segment may have to spare
    let many =
        format!("INSERT INTO events SELECT 1, '2024-01-01', '{}' FROM generate_series(1, 5000) g", "x".repeat(200));
    for _ in 0..3 {
        refused_for_space(&client, &many).await;
        assert_eq!(number(&client, counted).await, 1);
        assert_eq!(number(&client, "SELECT count(*) FROM events").await, 1);
    }
    disk.free();
    client.batch_execute("INSERT INTO events VALUES (1, '2024-01-02', 'second')").await.expect("inserts");
    assert_eq!(number(&client, counted).await, 2);
    assert_eq!(number(&client, "SELECT count(*) FROM events").await, 2);

    drop(client);
    drop(server);
    let server = server_on(&data);
    let client = server.connect().await;
    assert_eq!(number(&client, counted).await, 2);
    let events = "SELECT count(*) FROM events WHERE v IN ('first', 'second')";
    assert_eq!(number(&client, events).await, 2);
}
