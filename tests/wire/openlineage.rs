//! What a server of OpenLineage is told: a receiver of HTTP in the test, and the real server, which runs jobs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};

use crate::server::Server;

/// Longer than anything takes here.
const LONG: Duration = Duration::from_secs(60);

struct Event {
    head: String,
    json: Json,
}

/// Takes events; what it answers is said beforehand, and else 201.
struct Receiver {
    port: u16,
    events: mpsc::UnboundedReceiver<Event>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start(port: u16) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, events) = mpsc::unbounded_channel();
        let answers: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let said = Arc::clone(&answers);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, sender.clone(), Arc::clone(&said)));
            }
        });
        Receiver { port, events, answers, task }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn next(&mut self) -> Json {
        self.event().await.json
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(LONG, self.events.recv()).await.expect("an event comes").expect("the receiver runs")
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The requests of one connection. An event counts that is answered with success.
async fn serve(connection: TcpStream, events: mpsc::UnboundedSender<Event>, answers: Arc<Mutex<VecDeque<u16>>>) {
    let mut connection = BufReader::new(connection);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let lower = line.to_lowercase();
            if let Some(said) = lower.strip_prefix("content-length:") {
                length = said.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&lower);
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.expect("a body");
        let status = answers.lock().await.pop_front().unwrap_or(201);
        if status == 201 {
            let json = serde_json::from_slice(&body).expect("JSON");
            let _ = events.send(Event { head, json });
        }
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(answer.as_bytes()).await.expect("an answer");
    }
}

const SETUP: &str = "
    CREATE ENTITY customer (user_id text);
    CREATE TABLE tx (user_id text, ts timestamptz, amount float8, status text);
    INSERT INTO tx VALUES ('u1', '2024-01-01 10:00', 10, 'ok'), ('u2', '2024-01-02 10:00', 20, 'no'),
      ('u1', '2024-01-03 10:00', 7, 'ok');
    CREATE SOURCE paid AS SELECT user_id, ts, amount FROM tx WHERE status = 'ok' TIMESTAMP ts;
    CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts FEATURES (sum(amount) OVER (LAST '7 days') AS total)
      WITH (trigger = manual) AS SELECT user_id, ts, amount FROM paid;
    COMMENT ON FEATURE VIEW spend IS 'what was paid';
    CREATE FEATURE SERVICE scoring AS spend;
    CREATE TABLE labels (user_id text, at timestamptz);
    INSERT INTO labels VALUES ('u1', '2024-01-03')";

/// What the specification asks of every event, as far as no schema is needed to say it.
fn check_form(event: &Json) {
    for (name, value) in [("/producer", "urn:granary:"), ("/schemaURL", "https://openlineage.io/spec/2-0-2/")] {
        assert!(event.pointer(name).and_then(Json::as_str).is_some_and(|text| text.starts_with(value)), "{event}");
    }
    let run = event["run"]["runId"].as_str().expect("a run");
    assert!(uuid::Uuid::parse_str(run).is_ok(), "{run}");
    assert!(event["eventTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{event}");
    for place in ["/job", "/outputs/0"] {
        let named = event.pointer(place).expect("it is there");
        assert!(named["namespace"].is_string() && named["name"].is_string(), "{named}");
    }
    let mut facets = vec![&event["run"]["facets"], &event["job"]["facets"]];
    for datasets in ["inputs", "outputs"] {
        facets.extend(event[datasets].as_array().expect("a list").iter().map(|dataset| &dataset["facets"]));
    }
    for facet in facets.into_iter().flat_map(|facets| facets.as_object().expect("facets").values()) {
        assert!(facet["_producer"].is_string(), "{facet}");
        assert!(facet["_schemaURL"].as_str().is_some_and(|url| url.starts_with("https://openlineage.io/spec/facets/")));
    }
}

fn names(datasets: &Json) -> Vec<&str> {
    datasets.as_array().expect("a list").iter().map(|dataset| dataset["name"].as_str().expect("a name")).collect()
}

/// `input.field SUBTYPE, …` of a column that comes out.
fn made_of(event: &Json, column: &str) -> String {
    let fields = &event["outputs"][0]["facets"]["columnLineage"]["fields"][column]["inputFields"];
    let mut all = Vec::new();
    for field in fields.as_array().unwrap_or_else(|| panic!("{column} in {event}")) {
        for how in field["transformations"].as_array().expect("transformations") {
            let text = |json: &Json| json.as_str().expect("a text").to_owned();
            all.push(format!("{}.{} {}", text(&field["name"]), text(&field["field"]), text(&how["subtype"])));
        }
    }
    all.join(", ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_told_to_openlineage() {
    let mut receiver = Receiver::start(0).await;
    let url = receiver.url();
    let arguments = ["--now", "2024-01-05", "--openlineage-url", &url, "--openlineage-namespace", "shop"];
    let server = Server::start_with(&arguments, &[("OPENLINEAGE_API_KEY", "let-me")]);
    let sql = server.connect().await;
    sql.batch_execute(SETUP).await.expect("a view");

    // a job that succeeds: two events of one run
    sql.batch_execute("REFRESH FEATURE VIEW spend FROM '2024-01-02' TO '2024-01-04'").await.expect("a refresh");
    let begun = receiver.event().await;
    assert!(begun.head.starts_with("post /api/v1/lineage "), "{}", begun.head);
    assert!(begun.head.contains("authorization: bearer let-me\r\n"), "{}", begun.head);
    let (begun, ended) = (begun.json, receiver.next().await);
    for (event, kind) in [(&begun, "START"), (&ended, "COMPLETE")] {
        check_form(event);
        assert_eq!(event["eventType"], kind);
        assert_eq!(
            (&event["job"]["namespace"], &event["job"]["name"]),
            (&"shop".into(), &"granary.public.spend".into())
        );
        let time = &event["run"]["facets"]["nominalTime"];
        assert_eq!(time["nominalStartTime"], "2024-01-02T00:00:00.000000Z");
        assert_eq!(time["nominalEndTime"], "2024-01-04T00:00:00.000000Z");
        // down to the table, through the source that is a query
        assert_eq!(names(&event["inputs"]), ["granary.public.tx"]);
        assert_eq!(names(&event["outputs"]), ["granary.public.spend"]);
        let (tx, filter) = ("granary.public.tx", "granary.public.tx.status FILTER");
        assert_eq!(made_of(event, "user_id"), format!("{filter}, {tx}.user_id IDENTITY"));
        let total = format!("{tx}.amount AGGREGATION, {filter}, {tx}.ts WINDOW, {tx}.user_id GROUP_BY");
        assert_eq!(made_of(event, "total"), total);
        assert_eq!(event["job"]["facets"]["sql"]["query"], "SELECT user_id, ts, amount FROM paid");
        assert_eq!(event["outputs"][0]["facets"]["documentation"]["description"], "what was paid");
        let fields = &event["inputs"][0]["facets"]["schema"]["fields"];
        assert_eq!((&fields[2]["name"], &fields[2]["type"]), (&"amount".into(), &"double precision".into()));
    }
    assert_eq!(begun["run"]["runId"], ended["run"]["runId"]);
    assert_eq!(ended["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"], 1);

    // a range without a beginning has no time
    sql.batch_execute("REFRESH FEATURE VIEW spend TO '2024-01-02'").await.expect("a refresh");
    for kind in ["START", "COMPLETE"] {
        let event = receiver.next().await;
        assert_eq!(event["eventType"], kind);
        assert!(event["run"]["facets"].get("nominalTime").is_none(), "{event}");
        assert_ne!(event["run"]["runId"], ended["run"]["runId"]);
    }

    // a dataset, through a service
    sql.batch_execute(
        "CREATE DATASET training AS SELECT l.user_id, f.spend__total FROM labels l
         JOIN scoring FOR SYSTEM_TIME AS OF l.at AS f ON f.user_id = l.user_id",
    )
    .await
    .expect("a dataset");
    let (begun, ended) = (receiver.next().await, receiver.next().await);
    // before it is there it has a name
    assert_eq!((&begun["eventType"], names(&begun["outputs"])), (&"START".into(), vec!["granary.public.training"]));
    check_form(&begun);
    check_form(&ended);
    assert_eq!(ended["eventType"], "COMPLETE");
    assert_eq!(names(&ended["inputs"]), ["granary.public.labels", "granary.public.spend"]);
    assert_eq!(
        made_of(&ended, "spend__total"),
        "granary.public.labels.at JOIN, granary.public.labels.user_id JOIN, granary.public.spend.total IDENTITY, \
         granary.public.spend.user_id JOIN"
    );

    // a job that fails says why; the next one is another run
    sql.batch_execute(
        "CREATE FEATURE VIEW broken ENTITY customer TIMESTAMP ts WITH (trigger = manual)
         AS SELECT user_id, ts, (amount::int8 / (amount::int8 - 10))::float8 AS share FROM paid",
    )
    .await
    .expect("a view");
    sql.batch_execute("REFRESH FEATURE VIEW broken").await.expect_err("a division by zero");
    let (begun, failed) = (receiver.next().await, receiver.next().await);
    check_form(&failed);
    assert_eq!((&begun["eventType"], &failed["eventType"]), (&"START".into(), &"FAIL".into()));
    let error = &failed["run"]["facets"]["errorMessage"];
    assert_eq!(error["programmingLanguage"], "SQL");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("SQLSTATE 22012")), "{error}");
    assert_ne!(failed["run"]["runId"], ended["run"]["runId"]);

    // a job without columns: what it is about, and what it does
    sql.batch_execute("DELETE FROM spend WHERE user_id = 'u1'").await.expect("it is forgotten");
    let (begun, ended) = (receiver.next().await, receiver.next().await);
    check_form(&ended);
    assert_eq!((&begun["eventType"], &ended["eventType"]), (&"START".into(), &"COMPLETE".into()));
    assert_eq!(ended["job"]["name"], "granary.public.spend.forget");
    assert!(ended["inputs"].as_array().is_some_and(Vec::is_empty));

    // the receiver fails for a while: the events come all the same, in their order. What it refuses is dropped
    receiver.answers.lock().await.extend([503, 429, 201, 400]);
    sql.batch_execute("REFRESH FEATURE VIEW spend FROM '2024-01-01' TO '2024-01-04' OVERWRITE")
        .await
        .expect("a refresh");
    sql.batch_execute("REFRESH FEATURE VIEW spend FROM '2024-01-01' TO '2024-01-04' OVERWRITE")
        .await
        .expect("a refresh");
    let kinds =
        [receiver.next().await, receiver.next().await, receiver.next().await].map(|event| event["eventType"].clone());
    assert_eq!(kinds, ["START", "START", "COMPLETE"]);
    let counted =
        "SELECT outcome, value FROM granary.metrics WHERE name = 'granary_openlineage_events_total' ORDER BY 1";
    let all = async {
        loop {
            let rows = sql.query(counted, &[]).await.expect("metrics");
            let counts: Vec<(String, f64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            // the last one is counted when its answer is there
            if counts.iter().map(|(_, count)| count).sum::<f64>() >= 14.0 {
                return counts;
            }
        }
    };
    let counts = tokio::time::timeout(LONG, all).await.expect("all are counted");
    assert_eq!(counts, [("dropped".to_owned(), 1.0), ("sent".to_owned(), 13.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_receiver_that_is_not_there() {
    // a port that nobody listens on
    let receiver = Receiver::start(0).await;
    let (url, port) = (receiver.url(), receiver.port);
    drop(receiver);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path");
    let arguments = ["--data", data, "--now", "2024-01-05", "--openlineage-url", &url];
    let server = Server::start(&arguments);
    let sql = server.connect().await;
    sql.batch_execute(SETUP).await.expect("a view");
    sql.batch_execute("REFRESH FEATURE VIEW spend").await.expect("a refresh");
    sql.batch_execute("DELETE FROM spend WHERE user_id = 'u1'").await.expect("it is forgotten");
    // once it is there, it gets all of them
    let mut receiver = Receiver::start(port).await;
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(receiver.next().await);
    }
    let shown: Vec<(&str, &str)> = events
        .iter()
        .map(|event| (event["eventType"].as_str().expect("a kind"), event["job"]["name"].as_str().expect("a name")))
        .collect();
    let (refresh, forget) = ("granary.public.spend", "granary.public.spend.forget");
    assert_eq!(shown, [("START", refresh), ("COMPLETE", refresh), ("START", forget), ("COMPLETE", forget)]);
    // an attempt that a crash ends is told of when the server is back
    let long =
        "CREATE DATASET endless AS SELECT count(*) AS n FROM generate_series(1, 100000000000) AS s(i) WHERE i % 7 = 3";
    tokio::spawn(async move { sql.batch_execute(long).await });
    let begun = receiver.next().await;
    assert_eq!((&begun["eventType"], &begun["job"]["name"]), (&"START".into(), &"granary.public.endless".into()));
    drop(server);
    let server = Server::start(&arguments);
    let ended = receiver.next().await;
    check_form(&ended);
    assert_eq!((&ended["eventType"], &ended["run"]["runId"]), (&"ABORT".into(), &begun["run"]["runId"]));
    drop(server);
}

#[tokio::test]
async fn a_url_must_be_one() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_granary"))
        .args(["serve", "--listen", "127.0.0.1:0", "--openlineage-url", "marquez:5000"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is no URL of HTTP"), "{said}");
}
