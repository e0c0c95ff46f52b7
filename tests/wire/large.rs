//! Results larger than the memory of the server: they go through it, and nothing is left of what is not committed.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_postgres::NoTls;

use crate::server::Server;

/// A result of more than 600 MB.
const LARGE: &str = "SELECT i, repeat('x', 100) || i AS t FROM generate_series(1, 6000000) AS g(i)";
const ROWS: u64 = 6_000_000;
const MOST_KIB: u64 = 440 << 10;

fn stored_tables(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("offline")).expect("the offline store").count()
}

/// Removal goes on behind the answer.
async fn wait_for_tables(folder: &Path, count: usize) {
    let begun = Instant::now();
    while stored_tables(folder) != count {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} stored tables, not {count}", stored_tables(folder));
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_larger_than_memory_is_written_as_it_comes() {
    let server = Server::start(&["--memory-limit", "64MiB"]);
    let client = server.connect().await;
    let run = async |sql: &str| client.execute(sql, &[]).await;

    let error = run(&format!("CREATE TABLE t AS {LARGE} WHERE 1 / (i - 5900000) <> 2")).await.expect_err("fails");
    assert_eq!(error.code().map(|code| code.code()), Some("22012"), "{error}");
    wait_for_tables(server.folder(), 0).await;

    assert_eq!(run(&format!("CREATE TABLE t AS {LARGE}")).await.expect("writes"), ROWS);
    assert_eq!(run("INSERT INTO t SELECT i + 6000000, t FROM t").await.expect("writes"), ROWS);
    wait_for_tables(server.folder(), 1).await;

    let cancel = client.cancel_token();
    let (written, cancelled) = tokio::join!(run("INSERT INTO t SELECT * FROM t"), async {
        // not before it writes
        wait_for_tables(server.folder(), 2).await;
        cancel.cancel_query(NoTls).await
    });
    cancelled.expect("asks to cancel");
    let error = written.expect_err("is cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    wait_for_tables(server.folder(), 1).await;

    let row = client.query_one("SELECT count(*), count(DISTINCT i % 1000) FROM t", &[]).await.expect("reads");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (12_000_000, 1000));
    assert!(server.peak_memory_kb() < MOST_KIB, "the server took {} KiB", server.peak_memory_kb());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_and_a_file_larger_than_memory_are_written_as_they_come() {
    let server = Server::start(&["--memory-limit", "64MiB"]);
    let client = server.connect().await;
    let run = async |sql: &str| client.execute(sql, &[]).await;
    let files = tempfile::tempdir().expect("a folder");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(files.path()).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name")).collect()
    };

    assert_eq!(run(&format!("CREATE DATASET d AS {LARGE}")).await.expect("writes"), ROWS);
    let row = client.query_one("SELECT rows, bytes FROM granary.datasets", &[]).await.expect("reads");
    assert_eq!(row.get::<_, i64>(0), i64::try_from(ROWS).expect("fits"));
    assert!(row.get::<_, i64>(1) > 1 << 20);
    let row = client.query_one("SELECT count(*), count(DISTINCT i % 1000) FROM d", &[]).await.expect("reads");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (6_000_000, 1000));

    let path = files.path().join("d.parquet");
    let copy = format!("COPY d TO '{}'", path.display());
    std::fs::write(&path, "an older file").expect("a file");
    let failing = format!("COPY (SELECT 1 / (i - 5900000) AS x, t FROM d) TO '{}'", path.display());
    let error = run(&failing).await.expect_err("fails");
    assert_eq!(error.code().map(|code| code.code()), Some("22012"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("the older file stays"), "an older file");
    wait_for_names(names, &["d.parquet"]).await;

    let cancel = client.cancel_token();
    let (written, cancelled) = tokio::join!(run(&copy), async {
        // not before it writes
        let begun = Instant::now();
        while names().len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "nothing is written");
            tokio::task::yield_now().await;
        }
        cancel.cancel_query(NoTls).await
    });
    cancelled.expect("asks to cancel");
    let error = written.expect_err("is cancelled");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
    wait_for_names(names, &["d.parquet"]).await;
    assert_eq!(std::fs::read_to_string(&path).expect("the older file stays"), "an older file");

    assert_eq!(run(&copy).await.expect("writes"), ROWS);
    assert!(std::fs::metadata(&path).expect("the file").len() > 1 << 20);
    assert_eq!(names(), ["d.parquet"]);
    assert!(server.peak_memory_kb() < MOST_KIB, "the server took {} KiB", server.peak_memory_kb());
}

/// Waits until a folder has just these files.
async fn wait_for_names(names: impl Fn() -> Vec<String>, expected: &[&str]) {
    let begun = Instant::now();
    while names() != expected {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}, not {expected:?}", names());
        tokio::task::yield_now().await;
    }
}
