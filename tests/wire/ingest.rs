//! The ingest server, as applications see it: HTTP by hand against the real server.

use serde_json::{Value as Json, json};

use crate::features::{Connection, api_key};
use crate::server::Server;

const NOW: &str = "2024-03-01 12:00:00";
const PATH: &str = "/ingest";

const SETUP: &[&str] = &[
    "CREATE ENTITY customer (user_id text)",
    "CREATE STREAM tx (user_id text, ts timestamptz, amount float8, n bigint, tags text[]) FROM PUSH TIMESTAMP ts",
    "CREATE STREAM visits (user_id text, ts timestamptz, page text) FROM PUSH TIMESTAMP ts",
    "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts \
     FEATURES (sum(amount) OVER (LAST '1 day') AS total, count(*) OVER (LAST '1 day') AS n) \
     AS SELECT user_id, ts, amount FROM tx WHERE amount >= 0",
    "CREATE FEATURE VIEW share ENTITY customer TIMESTAMP ts AS SELECT user_id, ts, 100 / n AS part FROM tx",
    "CREATE FEATURE VIEW views ENTITY customer TIMESTAMP ts \
     FEATURES (count(*) OVER (LAST '1 day') AS n) AS SELECT user_id, ts FROM visits",
    "CREATE FEATURE TABLE plan (user_id text, ts timestamptz, plan text) ENTITY customer TIMESTAMP ts",
    "CREATE TABLE plain (user_id text)",
    "CREATE ROLE app",
    "CREATE ROLE half",
    "GRANT INSERT ON tx, visits, plan, plain, spend TO app",
    "GRANT INSERT ON visits TO half",
    "GRANT INSERT (user_id, ts) ON tx TO half",
];

pub struct Pushed {
    server: Server,
    sql: tokio_postgres::Client,
    key: String,
}

impl Pushed {
    pub async fn start() -> Pushed {
        let server = Server::start(&["--http", "127.0.0.1:0", "--now", NOW]);
        let sql = server.connect().await;
        for statement in SETUP {
            sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let key = api_key(&sql, "app").await;
        Pushed { server, sql, key }
    }

    async fn send_as(&self, key: &str, body: &[u8]) -> (u16, Json) {
        let mut connection = Connection::open(&self.server).await;
        connection.ask("POST", PATH, &[("Authorization", &format!("Tecton-key {key}"))], body).await
    }

    async fn send(&self, body: &Json) -> (u16, Json) {
        self.send_as(&self.key, body.to_string().as_bytes()).await
    }

    /// Columns of one row, as text.
    async fn row(&self, sql: &str) -> String {
        let messages = self.sql.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let rows = messages.into_iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        });
        rows.collect::<Vec<_>>().join("; ")
    }
}

fn of(records: Json) -> Json {
    json!({"workspace_name": "granary", "records": records})
}

fn with(mut body: Json, field: &str, value: Json) -> Json {
    body[field] = value;
    body
}

fn counted(body: &Json) -> Vec<String> {
    let metrics = body["ingestMetrics"]["featureViewIngestMetrics"].as_array().unwrap_or_else(|| panic!("{body}"));
    let text = |value: &Json| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let shown = |view: &Json| {
        let (online, offline) = (text(&view["onlineRecordIngestCount"]), text(&view["offlineRecordIngestCount"]));
        assert!(text(&view["featureViewId"]).parse::<u64>().is_ok());
        format!("{} {online} {offline}", text(&view["featureViewName"]))
    };
    metrics.iter().map(shown).collect()
}

pub async fn what_is_answered_is_seen(pushed: &Pushed) {
    let records = json!({
        "tx": [
            {"record": {"user_id": "u1", "timestamp": null}},
        ],
    });
    let (status, body) = pushed.send(&of(records)).await;
    assert_eq!((status, &body["recordErrors"][0]["sqlstate"]), (400, &json!("42703")), "{body}");
    let records = json!({
        "tx": [
            {"record": {"user_id": "u1", "ts": "2024-03-01T10:00:00Z", "amount": 12.5, "n": "4", "tags": ["a", null]}},
            {"record": {"user_id": "u1", "ts": "2024-03-01T11:00:00.123456789+00:00", "amount": "7.5", "n": 5}},
            {"record": {"user_id": "u2", "ts": "2024-03-01T11:00:00Z", "amount": -1, "n": 2}},
        ],
        "visits": [{"record": {"user_id": "u1", "ts": "2024-03-01T11:59:00Z", "page": "/"}}],
        "public.plan": [{"record": {"user_id": "u1", "ts": "2024-02-01T00:00:00Z", "plan": "free"}}],
    });
    let (status, body) = pushed.send(&of(records.clone())).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["workspaceName"], "granary");
    assert!(body.get("recordErrors").is_none(), "{body}");
    let mut counts = counted(&body);
    counts.sort_unstable();
    assert_eq!(counts, ["plan 1 1", "share 3 3", "spend 2 2", "views 1 1"]);
    assert_eq!(pushed.row("SELECT total, n FROM spend WHERE user_id = 'u1'").await, "20 2");
    assert_eq!(pushed.row("SELECT part FROM share WHERE user_id = 'u1'").await, "20");
    assert_eq!(pushed.row("SELECT n FROM views WHERE user_id = 'u1'").await, "1");
    assert_eq!(pushed.row("SELECT plan FROM plan WHERE user_id = 'u1'").await, "free");
    let events = "SELECT ts, n, tags FROM tx WHERE user_id = 'u1' ORDER BY ts";
    // microseconds are kept
    let shown = "2024-03-01 10:00:00+00 4 {a,NULL}; 2024-03-01 11:00:00.123457+00 5 NULL";
    assert_eq!(pushed.row(events).await, shown);

    // a dry run tells the same and stores nothing
    let (status, dry) = pushed.send(&with(of(records), "dry_run", json!(true))).await;
    assert_eq!(status, 200, "{dry}");
    assert_eq!(dry, body);
    assert_eq!(pushed.row("SELECT total, n FROM spend WHERE user_id = 'u1'").await, "20 2");
    assert_eq!(pushed.row("SELECT count(*) FROM tx").await, "3");
}

pub async fn records_that_do_not_fit_are_told_one_by_one(pushed: &Pushed) {
    let record = |user: &str, n: Json| json!({"record": {"user_id": user, "ts": "2024-03-01T11:00:00Z", "n": n}});
    let records = json!({
        "tx": [
            record("v1", json!(1)),
            record("v2", json!(0)),
            record("v3", json!("many")),
            {"record": {"user_id": "v4", "n": 1}},
            record("v5", json!(5)),
            {"record": {"user_id": "v6", "ts": "2024-03-01T11:00:00Z", "no_column": 1}},
        ],
        "visits": [
            {"record": {"user_id": "v1", "ts": "2024-03-01T11:00:00Z", "page": 7}},
            {"record": {"user_id": "v2", "ts": "2024-03-01T11:00:00Z", "page": "/"}},
        ],
    });
    let errors = |body: &Json| -> Vec<String> {
        let errors = body["recordErrors"].as_array().unwrap_or_else(|| panic!("{body}"));
        let shown = |error: &Json| {
            assert_eq!(error["errorType"], "RecordValidationError");
            assert!(error["errorMessage"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
            let view = error["featureViewName"].as_str().unwrap_or("-");
            let [source, state] = ["pushSourceName", "sqlstate"].map(|field| error[field].as_str().expect("a text"));
            format!("{source} {} {state} {view}", error["position"])
        };
        errors.iter().map(shown).collect()
    };
    let expected = ["tx 2 22012 share", "tx 3 22P02 -", "tx 4 23502 -", "tx 6 42703 -", "visits 1 42804 -"];
    for field in ["partial", "dry_run"] {
        // neither does a dry run store anything, nor a request that does not allow parts
        let (status, body) = pushed.send(&with(of(records.clone()), field, json!(field == "dry_run"))).await;
        assert_eq!((status, errors(&body)), (400, expected.map(str::to_owned).to_vec()), "{body}");
        assert_eq!(body["recordErrorCount"], 5);
        assert_eq!(body["message"], "5 records do not fit: none is stored");
    }
    assert_eq!(pushed.row("SELECT count(*) FROM tx WHERE user_id LIKE 'v%'").await, "0");
    let (status, body) = pushed.send(&with(of(records), "partial", json!(true))).await;
    assert_eq!((status, errors(&body)), (200, expected.map(str::to_owned).to_vec()), "{body}");
    let mut counts = counted(&body);
    counts.sort_unstable();
    assert_eq!(counts, ["share 2 2", "spend 0 0", "views 1 1"]);
    assert_eq!(pushed.row("SELECT user_id, n FROM tx WHERE user_id LIKE 'v%' ORDER BY user_id").await, "v1 1; v5 5");
    assert_eq!(pushed.row("SELECT part FROM share WHERE user_id = 'v5'").await, "20");
    assert_eq!(pushed.row("SELECT n FROM views WHERE user_id = 'v2'").await, "1");

    // so many errors are told, and all are counted
    let bad: Vec<Json> = (0..1000).map(|number| record("w", json!(number % 2))).collect();
    let (status, body) = pushed.send(&with(of(json!({"tx": bad})), "partial", json!(true))).await;
    assert_eq!((status, &body["recordErrorCount"]), (200, &json!(500)), "{}", body["requestError"]);
    let told = body["recordErrors"].as_array().expect("errors");
    assert_eq!((told.len(), &told[99]["position"]), (100, &json!(199)));
    assert_eq!(pushed.row("SELECT count(*), sum(n) FROM tx WHERE user_id = 'w'").await, "500 500");
}

pub async fn who_may_not_push_is_refused(pushed: &Pushed) {
    let visit = |user: &str| json!([{"record": {"user_id": user, "ts": "2024-03-01T11:00:00Z"}}]);
    let cases = [
        (json!({"visits": visit("x"), "plain": visit("x")}), 400, "42809"),
        (json!({"spend": visit("x")}), 400, "42809"),
        (json!({"visits": visit("x"), "nothing": visit("x")}), 404, "42P01"),
        (json!({"visits": []}), 400, "22023"),
    ];
    for (records, status, sqlstate) in cases {
        let (answered, body) = pushed.send(&of(records.clone())).await;
        assert_eq!((answered, body["sqlstate"].as_str()), (status, Some(sqlstate)), "{records}: {body}");
        assert_eq!(body["requestError"]["errorType"], "RequestValidationError");
        assert_eq!(body["requestError"]["errorMessage"], body["message"]);
    }
    let body = with(of(json!({"visits": visit("x")})), "workspace_name", json!("elsewhere"));
    assert_eq!(pushed.send(&body).await.0, 404);
    let good = of(json!({"visits": visit("x")})).to_string();
    let (status, body) = pushed.send_as("granary_0", good.as_bytes()).await;
    assert_eq!((status, &body["requestError"]["errorType"]), (401, &json!("AuthenticationError")));
    let half = api_key(&pushed.sql, "half").await;
    for is_dry in [true, false] {
        let both = of(json!({"visits": visit("h"), "plan": visit("h")}));
        let (status, body) = pushed.send_as(&half, with(both, "dry_run", json!(is_dry)).to_string().as_bytes()).await;
        assert_eq!((status, &body["requestError"]["errorType"]), (403, &json!("AuthorizationError")), "{body}");
    }
    let own = of(json!({"tx": visit("h")})).to_string();
    assert_eq!(pushed.send_as(&half, own.as_bytes()).await.0, 200);
    let more = of(json!({"tx": [{"record": {"user_id": "h", "ts": "2024-03-01T11:00:00Z", "n": 1}}]})).to_string();
    assert_eq!(pushed.send_as(&half, more.as_bytes()).await.0, 403);
    assert_eq!(pushed.row("SELECT count(*) FROM visits WHERE user_id IN ('h', 'x')").await, "0");
    assert_eq!(pushed.row("SELECT count(*) FROM tx WHERE user_id = 'h'").await, "1");
    let (status, body) = Connection::open(&pushed.server).await.ask("GET", PATH, &[], b"").await;
    assert_eq!((status, body["message"].as_str()), (405, Some("ask /ingest with POST")));
}

pub async fn bodies_that_are_not_what_they_should_be(pushed: &Pushed) {
    let good = of(json!({"visits": [{"record": {"user_id": "b", "ts": "2024-03-01T11:00:00Z", "page": "/"}}]}));
    let good = good.to_string();
    let put = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to).into_bytes()
    };
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let mut bad_text = put("\"b\"", "\"b\u{1}\"");
    let place = bad_text.iter().position(|byte| *byte == 1).expect("the mark");
    bad_text[place] = 0xff;
    let cases = [
        ("nothing", b"".to_vec()),
        ("deep arrays", put("\"b\"", &nested)),
        ("deep objects", put("\"b\"", &objects)),
        ("invalid UTF-8", bad_text),
        ("more than JSON", [good.as_bytes(), b"{}"].concat()),
        ("a field twice", put("\"records\":", "\"workspace_name\":\"w\",\"records\":")),
        ("a field in both spellings", put("\"records\":", "\"workspaceName\":\"w\",\"records\":")),
        ("an unknown field", put("\"records\":", "\"dryrun\":true,\"records\":")),
        ("a relation twice", put("\"visits\":", "\"visits\":[],\"visits\":")),
        ("a column twice", put("\"page\":", "\"page\":\"a\",\"page\":")),
        ("an array for a record", put("{\"page\"", "[{\"page\"").into_iter().collect()),
        ("a text for a flag", put("\"records\":", "\"dry_run\":\"yes\",\"records\":")),
        ("a number beyond all", put("\"/\"", "1e400")),
    ];
    for (what, body) in cases {
        let (status, answer) = pushed.send_as(&pushed.key, &body).await;
        assert_eq!((status, answer["sqlstate"].as_str()), (400, Some("22P02")), "{what}: {answer}");
    }
    for (what, body, sqlstate) in [
        ("a NUL in a text", put("\"/\"", "\"a\\u0000b\""), "22021"),
        ("an object for a text", put("\"/\"", "{}"), "42804"),
        ("no time", put("2024-03-01T11:00:00Z", "soon"), "22007"),
        ("a time beyond all", put("2024-03-01T11:00:00Z", "999999-01-01T00:00:00Z"), "22008"),
    ] {
        let (status, answer) = pushed.send_as(&pushed.key, &body).await;
        let error = &answer["recordErrors"][0];
        assert_eq!((status, error["sqlstate"].as_str()), (400, Some(sqlstate)), "{what}: {answer}");
    }
    // a text of ten megabytes is more than a request may have; one of three is kept
    let (status, _) = pushed.send_as(&pushed.key, &put("\"/\"", &format!("\"{}\"", "x".repeat(10 << 20)))).await;
    assert_eq!(status, 413);
    let (status, answer) = pushed.send_as(&pushed.key, &put("\"/\"", &format!("\"{}\"", "x".repeat(3 << 20)))).await;
    assert_eq!(status, 200, "{answer}");
    // a key that the online store cannot take
    let long = put("\"b\"", &format!("\"{}\"", "x".repeat(70_000)));
    let (status, answer) = pushed.send_as(&pushed.key, &long).await;
    assert_eq!((status, answer["recordErrors"][0]["sqlstate"].as_str()), (400, Some("22001")), "{answer}");
    let many = vec![r#"{"record":{}}"#; 60_000].join(",");
    let many = format!(r#"{{"workspace_name":"granary","records":{{"visits":[{many}]}}}}"#);
    let (status, answer) = pushed.send_as(&pushed.key, many.as_bytes()).await;
    assert_eq!((status, answer["sqlstate"].as_str()), (400, Some("53400")), "{answer}");
    assert_eq!(pushed.row("SELECT count(*), max(length(page)) FROM visits WHERE user_id = 'b'").await, "1 3145728");
}

pub async fn what_happened_is_counted(pushed: &Pushed) {
    let (_, text) = Connection::open(&pushed.server).await.text("GET", "/metrics", &[], b"").await;
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    };
    let events: f64 = pushed.row("SELECT count(*) FROM tx").await.parse().expect("a number");
    let of_tx = "granary_ingest_events_total{workspace=\"granary\",stream=\"tx\",outcome=";
    assert_eq!(value(&format!("{of_tx}\"stored\"}}")), events);
    assert!(value(&format!("{of_tx}\"refused\"}}")) >= 500.0);
    assert!(value("granary_ingest_requests_total{outcome=\"answered\"}") >= 5.0);
    assert!(value("granary_ingest_requests_total{outcome=\"failed\"}") >= 10.0);
    assert!(value("granary_ingest_request_duration_seconds_count") >= 15.0);
}
