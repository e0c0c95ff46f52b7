//! The feature server, as applications see it: HTTP by hand against the real server.

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::server::Server;

const NOW: &str = "2024-01-05";

/// What there is to be served. `spend` of u1: 70 in 3 rows; of u2: 80 in one.
const SETUP: &[&str] = &[
    "CREATE ENTITY customer (user_id text)",
    "CREATE ENTITY shop (shop_id bigint)",
    "CREATE TABLE tx (user_id text, shop_id bigint, ts timestamptz, amount float8)",
    "INSERT INTO tx VALUES ('u1', 1, '2024-01-01 10:00', 10), ('u1', 2, '2024-01-02 11:00', 20), \
     ('u1', 1, '2024-01-03 12:00', 40), ('u2', 2, '2024-01-02 01:00', 80)",
    "CREATE SOURCE transactions AS SELECT * FROM tx TIMESTAMP ts",
    "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts \
     FEATURES (sum(amount) OVER (LAST '7 days') AS total COMMENT 'of a week', count(*) OVER (LAST '7 days') AS n) \
     WITH (trigger = manual, tags = ('team' = 'risk')) AS SELECT user_id, ts, amount FROM transactions",
    "CREATE FEATURE VIEW newest ENTITY customer TIMESTAMP ts WITH (trigger = manual) \
     AS SELECT user_id, ts, amount, shop_id, 'NaN'::float8 AS odd, ARRAY[shop_id, NULL] AS shops, ts AS seen \
     FROM transactions",
    "CREATE FEATURE VIEW visits ENTITY customer, shop TIMESTAMP ts \
     FEATURES (count(*) OVER (LAST '7 days') AS n) WITH (trigger = manual) \
     AS SELECT user_id, shop_id, ts FROM transactions",
    "REFRESH FEATURE VIEW spend",
    "REFRESH FEATURE VIEW newest",
    "REFRESH FEATURE VIEW visits",
    "CREATE REALTIME FEATURE VIEW amount_check REQUEST (amount float8) \
     AS SELECT amount > s.total AS is_large, amount / 0.5 AS doubled FROM spend s",
    "CREATE FEATURE SERVICE fraud AS spend, newest (odd, amount) AS latest, amount_check",
    "CREATE FEATURE SERVICE kept AS spend (total), amount_check (is_large) WITH (cache = '1 hour')",
    "CREATE ROLE app",
    "CREATE ROLE other",
    "GRANT SELECT ON fraud, kept, visits, newest TO app",
];

/// A server with something to serve.
pub struct Served {
    pub server: Server,
    pub sql: tokio_postgres::Client,
    pub key: String,
}

impl Served {
    pub async fn start(settings: &str) -> Served {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), settings).expect("it can be written");
        let config = file.path().to_str().expect("a plain path");
        let server = Server::start(&["--http", "127.0.0.1:0", "--now", NOW, "--config", config]);
        let sql = server.connect().await;
        for statement in SETUP {
            sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let key = api_key(&sql, "app").await;
        Served { server, sql, key }
    }

    pub async fn run(&self, statement: &str) {
        self.sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }

    /// Status and body of one request with the application's key.
    pub async fn post(&self, call: &str, params: Json) -> (u16, Json) {
        self.post_as(&format!("Tecton-key {}", self.key), call, params).await
    }

    pub async fn post_as(&self, authorization: &str, call: &str, params: Json) -> (u16, Json) {
        let body = json!({ "params": params }).to_string();
        self.send(&[("Authorization", authorization)], call, body.as_bytes()).await
    }

    pub async fn send(&self, headers: &[(&str, &str)], call: &str, body: &[u8]) -> (u16, Json) {
        let mut connection = Connection::open(&self.server).await;
        connection.ask("POST", &format!("/api/v1/feature-service/{call}"), headers, body).await
    }

    /// The answer to a request that has to succeed.
    pub async fn answer(&self, call: &str, params: Json) -> Json {
        let (status, body) = self.post(call, params).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// A new key of a role.
pub async fn api_key(sql: &tokio_postgres::Client, role: &str) -> String {
    let messages = sql.simple_query(&format!("CREATE API KEY FOR {role}")).await.expect("a key");
    let row = messages.into_iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.expect("a row");
    let key = (0..row.len()).filter_map(|column| row.get(column)).find(|value| value.starts_with("granary_"));
    key.expect("a key").to_owned()
}

/// A connection that is kept alive.
pub struct Connection(pub BufReader<TcpStream>);

impl Connection {
    pub async fn open(server: &Server) -> Connection {
        Connection(BufReader::new(TcpStream::connect(server.http_address()).await.expect("connects")))
    }

    pub async fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Json) {
        let (status, body) = self.text(method, path, headers, body).await;
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    pub async fn text(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: granary\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.0.get_mut().write_all(request.as_bytes()).await.expect("the head is sent");
        self.0.get_mut().write_all(body).await.expect("the body is sent");
        self.response().await
    }

    /// Of the answer; `None` if the server closes without one.
    pub async fn status(&mut self) -> Option<u16> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(length) if length > 0 => line.split(' ').nth(1)?.parse().ok(),
            _ => None,
        }
    }

    pub async fn response(&mut self) -> (u16, String) {
        let mut status = None;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.expect("a line of the head");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().expect("a number");
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("the body");
        (status.expect("a status line"), String::from_utf8(body).expect("text"))
    }
}

pub fn fraud(user: &str) -> Json {
    json!({
        "workspaceName": "granary",
        "featureServiceName": "fraud",
        "joinKeyMap": {"user_id": user},
        "requestContextMap": {"amount": 75},
    })
}

pub fn with(mut params: Json, field: &str, value: Json) -> Json {
    params[field] = value;
    params
}

fn everything() -> Json {
    json!({
        "includeNames": true,
        "includeDataTypes": true,
        "includeEffectiveTimes": true,
        "includeServingStatus": true,
        "includeSloInfo": true,
        "includeFeatureDescriptions": true,
        "includeFeatureTags": true,
    })
}

pub async fn vectors_have_values_and_what_is_known_of_them(served: &Served) {
    let plain = served.answer("get-features", fraud("u1")).await;
    assert_eq!(plain, json!({"result": {"features": [true, 150.0, 40.0, "NaN", "3", 70.0]}}));

    let told = served.answer("get-features", with(fraud("u1"), "metadataOptions", everything())).await;
    let features = told["metadata"]["features"].as_array().expect("features");
    let names: Vec<&str> = features.iter().map(|feature| feature["name"].as_str().expect("a name")).collect();
    let expected =
        ["amount_check.is_large", "amount_check.doubled", "latest.amount", "latest.odd", "spend.n", "spend.total"];
    assert_eq!(names, expected, "realtime first and as declared, then by view and name");
    assert_eq!(
        features[5],
        json!({
            "name": "spend.total",
            "effectiveTime": features[5]["effectiveTime"],
            "dataType": {"type": "float64"},
            "status": "PRESENT",
            "description": "of a week",
            "tags": {"team": "risk"},
        })
    );
    assert_eq!(features[2]["effectiveTime"], "2024-01-04T00:00:00Z");
    assert_eq!(features[0].get("effectiveTime"), None, "it is computed");
    assert_eq!(told["metadata"]["sloInfo"]["sloEligible"], true);
    assert!(told["metadata"]["sloInfo"]["serverTimeSeconds"].as_f64().expect("a time") > 0.0);
    assert_eq!(told["metadata"].get("partialResults"), None);

    let statuses = json!({"includeServingStatus": true});
    let unknown = served.answer("get-features", with(fraud("who"), "metadataOptions", statuses)).await;
    let statuses: Vec<&Json> = unknown["metadata"]["features"].as_array().expect("features").iter().collect();
    assert_eq!(statuses[0], &json!({"status": "PRESENT"}));
    assert_eq!(statuses[5], &json!({"status": "MISSING_DATA"}));
    assert_eq!(unknown["result"]["features"][2], Json::Null);

    let by_itself = json!({
        "workspace_name": "granary", "feature_service_name": "public.newest", "join_key_map": {"user_id": "u2"},
        "metadata_options": {"include_names": true, "include_data_types": true},
    });
    let newest = served.answer("get-features", by_itself).await;
    assert_eq!(newest["result"]["features"], json!([80.0, "NaN", "2024-01-02T01:00:00Z", "2", ["2", null]]));
    assert_eq!(newest["metadata"]["features"][4]["name"], "newest.shops");
    assert_eq!(
        newest["metadata"]["features"][4]["dataType"],
        json!({"type": "array", "elementType": {"type": "int64"}})
    );
}

pub async fn batches_and_queries_have_many(served: &Served) {
    let row =
        |user: Json, amount: Json| json!({"joinKeyMap": {"user_id": user}, "requestContextMap": {"amount": amount}});
    let batch = json!({
        "workspaceName": "granary",
        "featureServiceName": "fraud",
        "requestData": [row(json!("u1"), json!(75)), row(json!("who"), json!("75")), row(Json::Null, Json::Null)],
        "metadataOptions": {"includeServingStatus": true, "includeEffectiveTimes": true, "includeSloInfo": true},
    });
    let answer = served.answer("get-features-batch", batch).await;
    let spent: Vec<&Json> = (0..3).map(|row| &answer["result"][row]["features"][5]).collect();
    assert_eq!(spent, [&json!(70.0), &Json::Null, &Json::Null]);
    assert_eq!(answer["result"][2]["features"][0], Json::Null);
    let of_newest = &answer["metadata"]["features"][2];
    assert_eq!(of_newest["status"], json!(["PRESENT", "MISSING_DATA", "MISSING_DATA"]));
    assert_eq!(of_newest["effectiveTime"], "2024-01-04T00:00:00Z");
    assert_eq!(answer["metadata"]["sloInfo"].as_array().map(Vec::len), Some(3));
    assert_eq!(answer["metadata"]["batchSloInfo"]["sloEligible"], true);
    let none = json!({"workspaceName": "granary", "featureServiceName": "fraud", "requestData": []});
    assert_eq!(served.answer("get-features-batch", none).await, json!({"result": []}));

    let query = |keys: Json| {
        json!({
            "workspaceName": "granary",
            "featureServiceName": "visits",
            "joinKeyMap": keys,
            "metadataOptions": {"includeNames": true, "includeDataTypes": true},
        })
    };
    let found = served.answer("query-features", query(json!({"user_id": "u1"}))).await;
    let rows = json!([{"features": ["2"], "joinKeys": ["1"]}, {"features": ["1"], "joinKeys": ["2"]}]);
    assert_eq!(found["results"], rows);
    assert_eq!(found["metadata"]["joinKeys"], json!([{"name": "shop_id", "dataType": {"type": "int64"}}]));
    let found = served.answer("query-features", query(json!({"shop_id": "2"}))).await;
    assert_eq!(found["results"][1], json!({"features": ["1"], "joinKeys": ["u2"]}));
    let found = served.answer("query-features", query(json!({"shop_id": 2, "user_id": "u2"}))).await;
    assert_eq!(found["results"], json!([{"features": ["1"], "joinKeys": []}]));
    assert_eq!(served.answer("query-features", query(json!({"user_id": "who"}))).await["results"], json!([]));
    assert_eq!(served.post("query-features", query(json!({}))).await.0, 400);

    let metadata = json!({"workspaceName": "granary", "featureServiceName": "fraud"});
    let metadata = served.answer("metadata", metadata).await;
    assert_eq!(metadata["featureServiceType"], "DEFAULT");
    assert_eq!(metadata["inputJoinKeys"], json!([{"name": "user_id", "dataType": {"type": "string"}}]));
    assert_eq!(metadata["inputRequestContextKeys"], json!([{"name": "amount", "dataType": {"type": "float64"}}]));
    let total = json!({"name": "spend.total", "dataType": {"type": "float64"}, "description": "of a week", "tags": {"team": "risk"}});
    assert_eq!(metadata["featureValues"][5], total);
}

pub async fn mistakes_are_told_apart(served: &Served) {
    let body = json!({ "params": fraud("u1") }).to_string();
    let (status, refused) = served.send(&[], "get-features", body.as_bytes()).await;
    assert_eq!((status, &refused["code"], &refused["sqlstate"]), (401, &json!(16), &json!("28000")));
    for authorization in ["Tecton-key granary_wrong", "Tecton-key", "Basic eDp5", "Bearer x"] {
        assert_eq!(served.post_as(authorization, "get-features", fraud("u1")).await.0, 401, "{authorization}");
    }
    let bearer = format!("Bearer {}", served.key);
    assert_eq!(served.post_as(&bearer, "get-features", fraud("u1")).await.0, 200);

    let other = format!("Tecton-key {}", api_key(&served.sql, "other").await);
    let (status, refused) = served.post_as(&other, "get-features", fraud("u1")).await;
    assert_eq!((status, &refused["code"]), (403, &json!(7)), "{refused}");
    assert_eq!(served.post_as(&other, "metadata", fraud_name()).await.0, 403);
    served.run("GRANT SELECT (user_id, spend__total) ON fraud TO other").await;
    assert_eq!(served.post_as(&other, "get-features", fraud("u1")).await.0, 403, "a part of the columns is not enough");
    served.run("GRANT SELECT ON fraud TO other").await;
    assert_eq!(served.post_as(&other, "get-features", fraud("u1")).await.0, 200);

    for (field, value) in
        [("workspaceName", "nowhere"), ("featureServiceName", "nothing"), ("featureServiceName", "a.b")]
    {
        let (status, refused) = served.post("get-features", with(fraud("u1"), field, json!(value))).await;
        assert_eq!((status, &refused["code"]), (404, &json!(5)), "{value}: {refused}");
    }

    let wrong = [
        (with(fraud("u1"), "workspaceName", Json::Null), "workspaceName"),
        (with(fraud("u1"), "featureServiceName", json!("")), "featureServiceName"),
        (with(fraud("u1"), "featureServiceName", json!("tx")), "tx"),
        (with(fraud("u1"), "joinKeysMap", json!({})), "joinKeysMap"),
        (with(fraud("u1"), "joinKeyMap", json!({})), "user_id"),
        (with(fraud("u1"), "joinKeyMap", json!({"user_id": 1})), "user_id"),
        (with(fraud("u1"), "joinKeyMap", json!({"user_id": "u1", "who": 1})), "who"),
        (with(fraud("u1"), "requestContextMap", json!({})), "amount"),
        (with(fraud("u1"), "requestContextMap", json!({"amount": "much"})), "amount"),
        (with(fraud("u1"), "requestContextMap", json!({"amount": 1, "more": 1})), "more"),
        (with(fraud("u1"), "requestData", json!([])), "requestData"),
        (with(fraud("u1"), "requestOptions", json!({"latencyBudgetMs": 5})), "latencyBudgetMs"),
        (with(fraud("u1"), "requestOptions", json!({"aggregationLeadingEdge": "x"})), "WALL_CLOCK_TIME"),
        (with(fraud("u1"), "requestOptions", json!({"highWatermarkOverride": "soon"})), "highWatermarkOverride"),
        (with(fraud("u1"), "metadataOptions", json!({"includeEverything": true})), "includeEverything"),
    ];
    for (params, named) in wrong {
        let (status, refused) = served.post("get-features", params).await;
        let message = refused["message"].as_str().expect("a message");
        assert!(status == 400 && message.contains(named), "{named}: {status} {message}");
    }
    let options = json!({"ignoreExtraRequestContextFields": true});
    let extra = with(fraud("u1"), "requestContextMap", json!({"amount": 1, "more": 1}));
    assert_eq!(served.post("get-features", with(extra, "requestOptions", options)).await.0, 200);

    let key = format!("Tecton-key {}", served.key);
    for body in ["", "{", "[]", "\u{0}", "{\"params\": 1}"] {
        let (status, refused) = served.send(&[("Authorization", &key)], "get-features", body.as_bytes()).await;
        assert_eq!((status, &refused["sqlstate"]), (400, &json!("22P02")), "{body}");
    }
    let rows = json!({"workspaceName": "granary", "featureServiceName": "fraud", "requestData": vec![json!({}); 1001]});
    let (status, refused) = served.post("get-features-batch", rows).await;
    assert_eq!((status, &refused["sqlstate"]), (400, &json!("53400")), "{refused}");

    served.run("CREATE WORKSPACE lab DEVELOPMENT").await;
    assert_eq!(served.post("get-features", with(fraud("u1"), "workspaceName", json!("lab"))).await.0, 404);
}

fn fraud_name() -> Json {
    json!({"workspaceName": "granary", "featureServiceName": "fraud"})
}

pub async fn long_requests_are_refused_and_the_server_goes_on(served: &Served) {
    let key = format!("Tecton-key {}", served.key);
    let long = vec![b' '; 10 << 20];
    let (status, refused) = served.send(&[("Authorization", &key)], "get-features", &long).await;
    assert_eq!((status, &refused["sqlstate"]), (413, &json!("53400")), "{refused}");

    // one that does not say how long it is
    let mut connection = Connection::open(&served.server).await;
    let head = format!(
        "POST /api/v1/feature-service/get-features HTTP/1.1\r\nhost: granary\r\nauthorization: {key}\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        long.len()
    );
    let sender = connection.0.get_mut();
    sender.write_all(head.as_bytes()).await.expect("the head is sent");
    sender.write_all(&long).await.expect("the body is sent");
    sender.write_all(b"\r\n0\r\n\r\n").await.expect("its end is sent");
    assert_eq!(connection.response().await.0, 413);
    assert_eq!(served.post("get-features", fraud("u1")).await.0, 200);
}

pub async fn a_connection_takes_many_requests(served: &Served) {
    let mut connection = Connection::open(&served.server).await;
    let key = format!("Tecton-key {}", served.key);
    let body = json!({ "params": fraud("u2") }).to_string();
    for _ in 0..3 {
        let path = "/api/v1/feature-service/get-features";
        let (status, answer) = connection.ask("POST", path, &[("Authorization", &key)], body.as_bytes()).await;
        assert_eq!((status, &answer["result"]["features"][5]), (200, &json!(80.0)));
        assert_eq!(connection.ask("GET", path, &[], b"").await.0, 405);
        assert_eq!(connection.ask("GET", "/api/v1/feature-service/nothing", &[], b"").await.0, 404);
    }
    let (status, description) = connection.ask("GET", "/openapi.json", &[], b"").await;
    assert_eq!((status, &description["openapi"]), (200, &json!("3.1.0")));
}

pub async fn a_change_of_the_catalog_is_noticed(served: &Served) {
    served.run("CREATE FEATURE SERVICE changing AS spend (total)").await;
    served.run("GRANT SELECT ON changing TO app").await;
    let params = json!({"workspaceName": "granary", "featureServiceName": "changing", "joinKeyMap": {"user_id": "u1"}});
    assert_eq!(served.answer("get-features", params.clone()).await, json!({"result": {"features": [70.0]}}));
    served.run("CREATE OR REPLACE FEATURE SERVICE changing AS spend (total, n)").await;
    assert_eq!(served.answer("get-features", params.clone()).await, json!({"result": {"features": ["3", 70.0]}}));
    served.run("DROP FEATURE SERVICE changing").await;
    assert_eq!(served.post("get-features", params.clone()).await.0, 404);
    served.run("CREATE FEATURE SERVICE changing AS spend (n)").await;
    assert_eq!(served.post("get-features", params.clone()).await.0, 403, "rights do not outlive what they were on");
    served.run("GRANT SELECT ON changing TO app").await;
    assert_eq!(served.answer("get-features", params).await, json!({"result": {"features": ["3"]}}));
}

pub async fn what_happened_is_counted(served: &Served) {
    for user in ["u1", "u2"] {
        served.answer("get-features", fraud(user)).await;
    }
    assert_eq!(served.post("get-features", with(fraud("u1"), "joinKeyMap", json!({}))).await.0, 400);
    let mut connection = Connection::open(&served.server).await;
    let (status, text) = connection.text("GET", "/metrics", &[], b"").await;
    assert_eq!(status, 200);
    let value = |line: &str| {
        let found = text.lines().find_map(|written| written.strip_prefix(line)?.trim().parse::<f64>().ok());
        found.unwrap_or_else(|| panic!("{line} is not in {text}"))
    };
    let labels = r#"{workspace="granary",service="fraud",door="http""#;
    let answered = value(&format!("granary_requests_total{labels},outcome=\"answered\"}}"));
    assert!(answered >= 2.0);
    let failed = value(&format!("granary_requests_total{labels},outcome=\"failed\"}}"));
    assert!(failed >= 1.0);
    let counted = value(&format!("granary_request_duration_seconds_count{labels}}}"));
    assert_eq!(counted, answered + failed);
    assert!(value("granary_store_reads_total") >= 4.0);
    assert!(value(r#"granary_http_responses_total{status="400"}"#) >= 1.0);
    let hit = r#"granary_cache_lookups_total{workspace="granary",service="kept",outcome="hit"}"#;
    assert!(value(hit) >= 1.0);
    assert!(value("granary_cache_bytes") > 0.0);

    let sql = "SELECT value FROM granary.metrics WHERE name = 'granary_requests_total' AND service = 'fraud' \
               AND door = 'http' AND outcome = 'answered'";
    let row = served.sql.query_one(sql, &[]).await.expect("a row");
    assert!(row.get::<_, f64>(0) >= answered);
}

/// A server that answers one request at a time.
pub async fn what_is_not_ready_in_time_is_left_out(served: Served) {
    served
        .run(
            "CREATE REALTIME FEATURE VIEW slow REQUEST (word text, times bigint) \
             AS SELECT length(md5(repeat(word, times))) AS hashed",
        )
        .await;
    served.run("CREATE FEATURE SERVICE waits AS slow, spend (total) WITH (cache = '1 hour')").await;
    served.run("GRANT SELECT ON waits TO app").await;
    let ask = |times: i64, options: Json| {
        json!({
            "workspaceName": "granary", "featureServiceName": "waits", "joinKeyMap": {"user_id": "u1"},
            "requestContextMap": {"word": "abcdefgh", "times": times}, "requestOptions": options,
            "metadataOptions": {"includeServingStatus": true},
        })
    };
    let quick = served.answer("get-features", ask(1, json!({}))).await;
    assert_eq!(quick["result"]["features"], json!(["32", 70.0]));
    // far more than can be done in the time
    let late = served.answer("get-features", ask(30_000_000, json!({"latencyBudgetMs": 100}))).await;
    assert_eq!(late["result"]["features"], json!([null, 70.0]), "what the cache has is there");
    assert_eq!(late["metadata"]["features"], json!([{"status": "TIME_OUT"}, {"status": "CACHED_PRESENT"}]));
    assert_eq!(late["metadata"]["partialResults"], true);
    // its work goes on, and holds the only seat
    let (status, refused) = served.post("get-features", ask(1, json!({}))).await;
    assert_eq!((status, &refused["code"]), (429, &json!(8)), "{refused}");
}

/// Windows of tiled stream views end where a request says, if it says so.
pub async fn windows_end_where_a_request_says(served: &Served) {
    for statement in [
        "CREATE STREAM clicks (user_id text, ts timestamptz) FROM PUSH TIMESTAMP ts",
        "CREATE FEATURE VIEW by_clock ENTITY customer TIMESTAMP ts FEATURES (count(*) OVER (LAST '2 hours') AS n) \
         WITH (aggregation_interval = '1 hour', cache = '1 hour') AS SELECT user_id, ts FROM clicks",
        "CREATE FEATURE VIEW by_event ENTITY customer TIMESTAMP ts FEATURES (count(*) OVER (LAST '2 hours') AS n) \
         WITH (aggregation_interval = '1 hour', leading_edge = latest_event) AS SELECT user_id, ts FROM clicks",
        "CREATE FEATURE SERVICE edges AS by_clock, by_event",
        "GRANT SELECT ON edges TO app",
        "INSERT INTO clicks VALUES ('u1', '2024-01-04 08:00'), ('u1', '2024-01-04 09:30'), ('u1', '2024-01-04 10:30')",
    ] {
        served.run(statement).await;
    }
    let of = |options: Json| async move {
        let ask = json!({"workspaceName": "granary", "featureServiceName": "edges", "joinKeyMap": {"user_id": "u1"},
            "requestOptions": options});
        served.answer("get-features", ask).await["result"]["features"].clone()
    };
    // twice: what is kept for one question is not given for another
    for _ in 0..2 {
        assert_eq!(of(json!({})).await, json!(["0", "2"]));
        assert_eq!(of(json!({"aggregationLeadingEdge": "LATEST_EVENT_TIME"})).await, json!(["2", "2"]));
        assert_eq!(of(json!({"aggregation_leading_edge": "WALL_CLOCK_TIME"})).await, json!(["0", "0"]));
        let at =
            json!({"aggregationLeadingEdge": "LATEST_EVENT_TIME", "highWatermarkOverride": "2024-01-04T09:15:00Z"});
        assert_eq!(of(at).await, json!(["1", "1"]));
        assert_eq!(of(json!({"highWatermarkOverride": "2024-01-04T11:00:00Z"})).await, json!(["2", "2"]));
    }
}
