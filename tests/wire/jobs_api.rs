//! The jobs API, as an orchestrator sees it: HTTP by hand against the real server.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::features::{Connection, api_key};
use crate::server::Server;

const NOW: &str = "2024-01-05 00:10:00";
const SETUP: &[&str] = &[
    "CREATE ENTITY customer (user_id text)",
    "CREATE TABLE tx (user_id text, ts timestamptz, amount bigint)",
    "INSERT INTO tx VALUES ('u1', '2023-12-30', 1), ('u1', '2024-01-01 10:00', 1), ('u1', '2024-01-03 11:00', 2)",
    "CREATE SOURCE transactions AS SELECT * FROM tx TIMESTAMP ts",
    "CREATE FEATURE VIEW spend ENTITY customer TIMESTAMP ts WITH (start = '2024-01-01') \
     AS SELECT user_id, ts, 10 / amount AS share FROM transactions",
    "CREATE FEATURE VIEW online_only ENTITY customer TIMESTAMP ts WITH (offline = false, trigger = manual) \
     AS SELECT user_id, ts, amount FROM transactions",
    "CREATE FEATURE SERVICE fraud AS spend",
    "CREATE ROLE airflow",
    "CREATE ROLE other",
    "GRANT operator TO airflow",
];

struct Asked {
    server: Server,
    sql: tokio_postgres::Client,
    key: String,
}

impl Asked {
    async fn start() -> Asked {
        let server = Server::start(&["--http", "127.0.0.1:0", "--now", NOW]);
        let sql = server.connect().await;
        for statement in SETUP {
            sql.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        let key = api_key(&sql, "airflow").await;
        Asked { server, sql, key }
    }

    async fn ask_as(&self, key: &str, call: &str, body: &Json) -> (u16, Json) {
        let mut connection = Connection::open(&self.server).await;
        let headers = [("Authorization", format!("Tecton-key {key}"))];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        connection.ask("POST", &format!("/api/v1/jobs/{call}"), &headers, body.to_string().as_bytes()).await
    }

    /// Asks for a workspace's own, with these fields more.
    async fn ask(&self, call: &str, fields: Json) -> (u16, Json) {
        let mut body = json!({"workspace": "granary"});
        body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        self.ask_as(&self.key, call, &body).await
    }

    async fn job(&self, job: &Json) -> Json {
        let (status, answer) = self.ask("get-materialization-job", json!({"job_id": job})).await;
        assert_eq!(status, 200, "{answer}");
        answer["job"].clone()
    }

    /// The job when it has come to that.
    async fn job_once(&self, job: &Json, reached: impl Fn(&Json) -> bool) -> Json {
        let begun = Instant::now();
        loop {
            let known = self.job(job).await;
            if reached(&known) {
                return known;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{known}");
            tokio::task::yield_now().await;
        }
    }

    async fn refused(&self, call: &str, fields: Json, status: u16, part: &str) {
        let (found, answer) = self.ask(call, fields.clone()).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(found == status && message.contains(part), "{call} {fields}: {found} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_submitted_watched_and_retried() {
    let asked = Asked::start().await;
    let fields = json!({"feature_view": "spend", "start_time": "2024-01-01T00:00:00Z", "endTime": "2024-01-03"});
    let (status, answer) = asked.ask("submit-materialization-job", fields.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let id = answer["job"]["id"].clone();
    let job = asked.job_once(&id, |job| job["state"] != "RUNNING").await;
    for (field, expected) in [
        ("state", json!("SUCCESS")),
        ("workspace", json!("granary")),
        ("feature_view", json!("spend")),
        ("online", json!(true)),
        ("offline", json!(true)),
        ("start_time", json!("2024-01-01T00:00:00Z")),
        ("end_time", json!("2024-01-03T00:00:00Z")),
        ("job_type", json!("refresh")),
        ("trigger", json!("manual")),
        ("next_attempt_at", Json::Null),
        ("error", Json::Null),
    ] {
        assert_eq!(job[field], expected, "{field}: {job}");
    }
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    assert_eq!(job["attempts"][0]["state"], "SUCCESS");
    assert_eq!(job["attempts"][0]["id"], format!("{}.1", id.as_str().expect("a text")));

    // SQL tells the same
    let row = asked.sql.query_one("SELECT state, role, max_attempts FROM granary.jobs WHERE id = 1", &[]).await;
    let row = row.expect("a job");
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("succeeded", "airflow", 10));

    // a service is as ready as its least member, in the store that is asked for
    let ready = |name: &str| json!({ name: if name == "feature_view" { "spend" } else { "fraud" } });
    for name in ["feature_view", "feature_service"] {
        let (status, answer) = asked.ask("get-latest-ready-time", ready(name)).await;
        let expected = json!({"online_latest_ready_time": "2024-01-03T00:00:00Z",
                              "offline_latest_ready_time": "2024-01-03T00:00:00Z"});
        assert_eq!((status, answer), (200, expected));
    }
    let (_, answer) = asked.ask("get-latest-ready-time", json!({"feature_view": "online_only"})).await;
    assert_eq!(answer, json!({"online_latest_ready_time": null, "offline_latest_ready_time": null}));

    // what fails is tried again, unless it is not to be
    asked.sql.batch_execute("INSERT INTO tx VALUES ('u2', '2024-01-04 01:00', 0)").await.expect("inserts");
    let fields = json!({"feature_view": "public.spend", "start_time": "2024-01-04", "end_time": "2024-01-05"});
    let (_, answer) = asked.ask("submit-materialization-job", fields.clone()).await;
    let failing = answer["job"]["id"].clone();
    let waits = asked.job_once(&failing, |job| job["next_attempt_at"].is_string()).await;
    assert_eq!((&waits["state"], &waits["attempts"][0]["state"]), (&json!("RUNNING"), &json!("ERROR")), "{waits}");
    assert_eq!(waits["error"]["sqlstate"], "22012", "{waits}");
    let (status, cancelled) = asked.ask("cancel-materialization-job", json!({"job_id": failing})).await;
    assert_eq!((status, &cancelled["job"]["state"]), (200, &json!("MANUALLY_CANCELLED")));
    let once = json!({"feature_view": "spend", "start_time": "2024-01-04", "end_time": "2024-01-05",
                      "use_tecton_managed_retries": false, "online": false});
    let (_, answer) = asked.ask("submit-materialization-job", once).await;
    let failed = asked.job_once(&answer["job"]["id"], |job| job["state"] != "RUNNING").await;
    assert_eq!((&failed["state"], &failed["online"]), (&json!("FAILURE"), &json!(false)), "{failed}");
    asked.sql.batch_execute("UPDATE tx SET amount = 5 WHERE amount = 0").await.expect("updates");
    let (status, answer) = asked.ask("retry-materialization-job", json!({"job_id": failing})).await;
    assert_eq!(status, 200, "{answer}");
    let done = asked.job_once(&failing, |job| job["state"] != "RUNNING").await;
    assert_eq!((&done["state"], done["attempts"].as_array().map(Vec::len)), (&json!("SUCCESS"), Some(2)), "{done}");

    let (status, answer) = asked.ask("list-materialization-jobs", json!({"featureView": "spend"})).await;
    let states: Vec<&str> =
        answer["jobs"].as_array().expect("a list").iter().filter_map(|job| job["state"].as_str()).collect();
    assert_eq!((status, states), (200, vec!["FAILURE", "SUCCESS", "SUCCESS"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused() {
    let asked = Asked::start().await;
    let submit = "submit-materialization-job";
    let fields = json!({"feature_view": "spend", "start_time": "2024-01-01", "end_time": "2024-01-03"});
    let (_, answer) = asked.ask(submit, fields.clone()).await;
    asked.job_once(&answer["job"]["id"], |job| job["state"] == "SUCCESS").await;
    asked.refused(submit, fields, 400, "already materialized").await;
    asked.refused(submit, json!({"feature_view": "spend", "start_time": "2024-01-01 05:00"}), 400, "multiple").await;
    asked.refused(submit, json!({"feature_view": "spend", "start_time": "soon"}), 400, "start_time").await;
    asked.refused(submit, json!({"feature_view": "nope"}), 404, "does not exist").await;
    asked.refused(submit, json!({"feature_view": "tx"}), 400, "not a feature view").await;
    asked.refused(submit, json!({}), 400, "\"feature_view\" is missing").await;
    asked.refused(submit, json!({"feature_view": "spend", "colour": 1}), 400, "colour").await;
    asked.refused(submit, json!({"feature_view": "spend", "online": false, "offline": false}), 400, "neither").await;
    asked.refused("get-materialization-job", json!({"job_id": 99}), 404, "does not exist").await;
    asked.refused("get-materialization-job", json!({"job_id": "x"}), 400, "job_id").await;
    asked.refused("get-materialization-job", json!({}), 400, "\"job_id\" is missing").await;
    asked.refused("retry-materialization-job", json!({"job_id": 1}), 400, "succeeded").await;
    asked.refused("cancel-materialization-job", json!({"job_id": "1"}), 400, "succeeded").await;
    asked.refused("list-materialization-jobs", json!({"feature_view": "fraud"}), 400, "not a feature view").await;
    asked.refused("get-latest-ready-time", json!({}), 400, "one of").await;
    asked.refused("get-latest-ready-time", json!({"feature_service": "spend"}), 400, "not a feature service").await;

    // who may not operate may look, if they may connect
    let other = api_key(&asked.sql, "other").await;
    let body = json!({"workspace": "granary", "feature_view": "spend", "overwrite": true});
    let (status, answer) = asked.ask_as(&other, submit, &body).await;
    assert_eq!((status, &answer["sqlstate"]), (403, &json!("42501")), "{answer}");
    let body = json!({"workspace": "granary", "job_id": "1"});
    for call in ["cancel-materialization-job", "retry-materialization-job"] {
        let (status, answer) = asked.ask_as(&other, call, &body).await;
        assert_eq!(status, 403, "{answer}");
    }
    assert_eq!(asked.ask_as(&other, "get-materialization-job", &body).await.0, 200);
    asked.sql.batch_execute("REVOKE CONNECT ON DATABASE granary FROM PUBLIC").await.expect("revokes");
    assert_eq!(asked.ask_as(&other, "get-materialization-job", &body).await.0, 403);
    assert_eq!(asked.ask_as("granary_wrong", "get-materialization-job", &body).await.0, 401);
    let elsewhere = json!({"workspace": "nowhere", "job_id": "1"});
    assert_eq!(asked.ask_as(&asked.key, "get-materialization-job", &elsewhere).await.0, 404);
}
