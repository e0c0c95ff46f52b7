//! The dashboard and the rules of examples/monitoring ask for metrics that a server has.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::{granary, ready, root};

/// What a text names that may be a metric of ours.
fn metrics_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let ours = words.filter(|word| word.starts_with("granary_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn the_dashboard_and_the_rules_name_metrics_that_there_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = granary()
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--scheduler", "off", "--data"])
        .arg(folder.path())
        .env("GRANARY_LOG", "error")
        .env("GRANARY_LOG_FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let (port, said) = ready::when_ready(&mut process);
    let url = said.lines().find_map(|line| line.strip_prefix("http: http://")).expect("an HTTP address");
    let address = url.trim_end_matches("/health").to_owned();
    // something of every kind, so that there is something to count
    let file = folder.path().join("work.sql");
    let sql = "CREATE ENTITY thing (k text);
        CREATE TABLE t (k text, ts timestamptz, v bigint);
        INSERT INTO t VALUES ('a', '2024-01-01', 1);
        CREATE SOURCE source AS SELECT * FROM t TIMESTAMP ts;
        CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts WITH (start = '2024-01-01', trigger = manual)
          AS SELECT k, ts, v FROM source;
        REFRESH FEATURE VIEW v FROM '2024-01-01' TO '2024-01-02';
        CREATE FEATURE SERVICE s AS v;
        SELECT * FROM s WHERE k = 'a';
        CREATE STREAM live (k text, ts timestamptz) FROM PUSH TIMESTAMP ts;
        INSERT INTO live VALUES ('a', '2024-01-01');";
    std::fs::write(&file, sql).expect("writes");
    let dsn = format!("postgres://granary@127.0.0.1:{port}/granary");
    let run = granary().args(["sql", "--quiet", "--dsn", &dsn]).arg(&file).output().expect("runs");
    let text = get(&address, "/metrics");
    process.kill().expect("stops");
    process.wait().expect("ends");
    assert!(run.status.success(), "{run:?}");

    let of_line = |line: &str| line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let mut known: BTreeSet<String> = text.lines().filter_map(of_line).collect();
    assert!(known.len() > 20, "{text}");
    // only there while a stream reads a topic
    known.extend(["granary_stream_lag", "granary_stream_messages_total"].map(str::to_owned));
    // only there while a job has not ended
    known.insert("granary_jobs".to_owned());
    for file in ["grafana.json", "alerts.yml"] {
        let path = root().join("examples/monitoring").join(file);
        let text = std::fs::read_to_string(&path).expect("reads");
        let named = metrics_of(&text);
        assert!(named.len() >= 8, "{file}: {named:?}");
        for name in named {
            let base = name.strip_suffix("_bucket").unwrap_or(&name);
            assert!(known.contains(base), "{file} asks for {name}, which no server has");
        }
    }
    let dashboard = std::fs::read_to_string(root().join("examples/monitoring/grafana.json")).expect("reads");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 20));
}
