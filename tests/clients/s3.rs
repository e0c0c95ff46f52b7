//! Sources and COPY on `s3://`, against a stand-in for S3 that checks keys.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::server::Server;
use crate::tools;

/// The stand-in, with bucket `lake`. Stopped when dropped.
struct Store {
    process: Child,
    endpoint: String,
    key: String,
    secret: String,
}

impl Store {
    fn start(files: &[(&str, &str)]) -> Store {
        let mut process = Command::new(tools().join("venv/bin/python"))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/s3.py"))
            .args(files.iter().map(|(key, path)| format!("{key}={path}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the stand-in starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("text");
        let words: Vec<&str> = line.split_whitespace().collect();
        let [endpoint, key, secret] = words[..] else { panic!("the stand-in says {line:?}") };
        Store { process, endpoint: endpoint.to_owned(), key: key.to_owned(), secret: secret.to_owned() }
    }

    /// A server that may read it, if the secret is the right one.
    fn reader(&self, secret: &str) -> Server {
        Server::start_with(&["--now", "2024-01-10"], &self.environment(secret))
    }

    fn environment<'a>(&'a self, secret: &'a str) -> [(&'a str, &'a str); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", self.key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The rows as text, values apart by spaces.
async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {:?}", error.as_db_error()));
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|index| row.get(index).unwrap_or("NULL")).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    messages.into_iter().filter_map(row).collect()
}

/// SQLSTATE and message.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.expect_err(sql);
    let error = error.as_db_error().expect("an answer");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_on_s3_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_str().expect("a plain path").to_owned()
    };
    let one = file("one.csv", "user_id,ts,amount\nu1,2024-01-01 10:00:00,5\n");
    let two = file("two.csv", "user_id,ts,amount\nu1,2024-01-03 10:00:00,7\nu2,2024-01-03 11:00:00,1\n");
    let labels = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flights/data/labels.parquet");
    let store = Store::start(&[("tx/one.csv", &one), ("tx/two.csv", &two), ("labels/a.parquet", labels)]);
    let server = store.reader(&store.secret);
    let client = server.connect().await;
    let endpoint = &store.endpoint;
    for sql in [
        "CREATE SOURCE tx FROM CSV 's3://lake/tx/*.csv' TIMESTAMP ts",
        "CREATE SOURCE one FROM CSV 's3://lake/tx/one.csv' TIMESTAMP ts",
        "CREATE SOURCE folder FROM CSV 's3://lake/tx/' TIMESTAMP ts",
        "CREATE SOURCE labels FROM PARQUET 's3://lake/labels/*.parquet'",
        &format!(
            "CREATE SOURCE said FROM CSV 's3://lake/tx/t*.csv' WITH (endpoint = '{endpoint}', region = 'us-east-1')"
        ),
        "CREATE ENTITY customer (user_id text)",
        "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts FEATURES (sum(amount) OVER (LAST '7 days') AS spend_7d)
         WITH (schedule = '1 day', start = '2024-01-01', trigger = manual) AS SELECT user_id, ts, amount FROM tx",
        "REFRESH FEATURE VIEW spend",
    ] {
        rows(&client, sql).await;
    }
    assert_eq!(rows(&client, "SELECT count(*), sum(amount) FROM tx").await, ["3 13"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM one").await, ["1"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM folder").await, ["3"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM said").await, ["2"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM labels").await, ["10000"]);
    let as_of = "SELECT spend_7d FROM spend FOR SYSTEM_TIME AS OF '2024-01-05' WHERE user_id = 'u1'";
    assert_eq!(rows(&client, as_of).await, ["12"]);
    assert_eq!(rows(&client, "SELECT spend_7d FROM spend WHERE user_id = 'u1'").await, ["7"]);

    for (path, message) in [
        ("s3://lake/tx/three.csv", "no file matches \"s3://lake/tx/three.csv\""),
        ("s3://lake/none/*.csv", "no file matches \"s3://lake/none/*.csv\""),
        ("s3://nolake/tx/*.csv", "could not read \"s3://nolake/tx/*.csv\": the bucket does not exist"),
    ] {
        let answer = refused(&client, &format!("CREATE SOURCE missing FROM CSV '{path}'")).await;
        assert_eq!(answer, ("58P01".to_owned(), message.to_owned()));
    }
    let stranger = store.reader("not the secret");
    let client = stranger.connect().await;
    for path in ["s3://lake/tx/*.csv", "s3://lake/tx/one.csv"] {
        let answer = refused(&client, &format!("CREATE SOURCE tx FROM CSV '{path}'")).await;
        let message = format!("could not read \"{path}\": the server's credentials do not allow it");
        assert_eq!(answer, ("42501".to_owned(), message));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_to_s3_works() {
    let store = Store::start(&[]);
    let server = store.reader(&store.secret);
    let client = server.connect().await;
    let numbers = "SELECT i, 'x' || i AS t FROM generate_series(1, 1000) AS g(i)";
    for (key, options) in [("out/a.parquet", ""), ("out/b.csv", " (HEADER)"), ("out/c", " (FORMAT csv, HEADER)")] {
        rows(&client, &format!("COPY ({numbers}) TO 's3://lake/{key}'{options}")).await;
    }
    for (name, source) in [("a", "PARQUET 's3://lake/out/a.parquet'"), ("b", "CSV 's3://lake/out/b.csv'")] {
        rows(&client, &format!("CREATE SOURCE {name} FROM {source}")).await;
        assert_eq!(rows(&client, &format!("SELECT count(*), sum(i), max(t) FROM {name}")).await, ["1000 500500 x999"]);
    }
    rows(&client, "CREATE SOURCE c FROM CSV 's3://lake/out/c'").await;
    assert_eq!(rows(&client, "SELECT count(*) FROM c").await, ["1000"]);

    // several parts, one of which is there when the query fails, or is cancelled
    let many = "SELECT i, md5(i::text) AS t FROM generate_series(1, 800000) AS g(i)";
    let answer =
        refused(&client, &format!("COPY ({many} WHERE 1 / (i - 799999) < 2) TO 's3://lake/none/a.parquet'")).await;
    assert_eq!(answer.0, "22012");
    let cancel = client.cancel_token();
    let endless = "COPY (SELECT i, md5(i::text) AS t FROM generate_series(1, 2000000000) AS g(i)) \
                   TO 's3://lake/none/b.parquet'";
    let (answer, cancelled) = tokio::join!(refused(&client, endless), async {
        let watcher = server.connect().await;
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY%'";
        while rows(&watcher, running).await != ["1"] {
            tokio::task::yield_now().await;
        }
        cancel.cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("asks to cancel");
    assert_eq!(answer.0, "57014");
    let (code, message) = refused(&client, "CREATE SOURCE none FROM PARQUET 's3://lake/none/*.parquet'").await;
    assert_eq!((code.as_str(), message.as_str()), ("58P01", "no file matches \"s3://lake/none/*.parquet\""));

    let answer = refused(&client, "COPY (SELECT 1 AS a) TO 's3://nolake/a.parquet'").await;
    let message = "could not write \"s3://nolake/a.parquet\": the bucket does not exist";
    assert_eq!(answer, ("58P01".to_owned(), message.to_owned()));
    let stranger = store.reader("not the secret");
    let client = stranger.connect().await;
    let answer = refused(&client, "COPY (SELECT 1 AS a) TO 's3://lake/a.parquet'").await;
    let message = "could not write \"s3://lake/a.parquet\": the server's credentials do not allow it";
    assert_eq!(answer, ("42501".to_owned(), message.to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_go_to_s3_and_come_back() {
    let store = Store::start(&[]);
    let server = store.reader(&store.secret);
    let client = server.connect().await;
    // more than one part of an upload
    rows(&client, "CREATE TABLE t AS SELECT i, md5(i::text) AS h FROM generate_series(1, 400000) AS g(i)").await;
    let taken = rows(&client, "BACKUP TO 's3://lake/backups/granary'").await;
    assert_eq!(taken.len(), 1);
    rows(&client, "CREATE TABLE u AS SELECT 1 AS n").await;
    let again = rows(&client, "BACKUP TO 's3://lake/backups/granary/' KEEP 1").await;
    assert!(again[0].ends_with(" 1"), "the first has gone: {again:?}");

    let granary = |arguments: &[&str], secret: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_granary"));
        command.args(arguments).envs(store.environment(secret));
        let output = command.output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_whole, told) = granary(&["verify", "s3://lake/backups/granary"], &store.secret);
    assert!(is_whole && told.contains("is whole"), "{told}");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("a plain path");
    let (is_done, told) = granary(&["restore", data, "--backup", "s3://lake/backups/granary"], &store.secret);
    assert!(is_done, "{told}");
    let restored = Server::start(&["--data", data, "--now", "2024-01-10"]);
    let sum = "SELECT count(*), sum(i), max(h) FROM t";
    assert_eq!(rows(&restored.connect().await, sum).await, rows(&client, sum).await);

    let (is_done, told) = granary(&["verify", "s3://lake/backups/granary"], "not the secret");
    assert!(!is_done && told.contains("s3://lake/backups/granary"), "{told}");
    let (code, _) = refused(&client, "BACKUP TO 's3://nolake/backups'").await;
    assert_eq!(code, "58P01");
    let stranger = store.reader("not the secret");
    let (code, _) = refused(&stranger.connect().await, "BACKUP TO 's3://lake/strange'").await;
    assert_eq!(code, "42501");
}
