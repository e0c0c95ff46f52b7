//! tests/data/semantics_vectors.json over the wire: every case as a feature view, asked from its source and from the
//! offline store.

use serde_json::Value as Json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::runner::failed;
use crate::server::{Program, Server};

const VECTORS: &str = include_str!("../../data/semantics_vectors.json");
const CASES: usize = 32;

/// The range that is materialized, around all events and spine rows; seconds since 1970.
const FROM_S: i64 = 1_698_796_800;
const TO_S: i64 = 1_751_328_000;

fn text<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("{name} of {json}"))
}

fn items(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

/// A value of the file as an SQL literal.
fn literal(json: &Json) -> String {
    match json {
        Json::Null => "NULL".to_owned(),
        Json::String(text) => format!("'{text}'"),
        other => other.to_string(),
    }
}

fn seconds(json: &Json) -> String {
    format!("'{} seconds'", json.as_i64().expect("seconds"))
}

fn feature(json: &Json) -> String {
    let n = &json["n"];
    let column = text(json, "col");
    let call = match text(json, "fn") {
        "mean" => format!("avg({column})"),
        "last_n" => format!("last({column}, {n})"),
        "first_n" => format!("first({column}, {n})"),
        "last_distinct_n" => format!("last_distinct({column}, {n})"),
        "first_distinct_n" => format!("first_distinct({column}, {n})"),
        plain => format!("{plain}({column})"),
    };
    let window = match json.get("series") {
        Some(series) => format!(
            "SERIES FROM {} TO {} SIZE {} STEP {}",
            seconds(&series["start_s"]),
            seconds(&series["end_s"]),
            seconds(&series["window_s"]),
            seconds(&series["step_s"])
        ),
        None if json["lifetime"] == true => "LIFETIME".to_owned(),
        None => format!("LAST {} OFFSET {}", seconds(&json["window_s"]), seconds(&json["offset_s"])),
    };
    format!("{call} OVER ({window}) AS {}", text(json, "name"))
}

/// The statements that make a case's tables and its view.
fn definitions(case: &Json) -> Vec<String> {
    let (name, spec) = (text(case, "name"), &case["spec"]);
    let columns: Vec<&str> = items(&case["columns"]).iter().filter_map(Json::as_str).collect();
    let typed = |column: &&str| match *column {
        "ts" => "ts timestamptz".to_owned(),
        "v" => "v float8".to_owned(),
        other => format!("{other} text"),
    };
    let typed = columns.iter().map(typed).collect::<Vec<_>>().join(", ");
    let row = |row: &Json| format!("({})", items(row).iter().map(literal).collect::<Vec<_>>().join(", "));
    let rows = items(&case["events"]).iter().map(row).collect::<Vec<_>>().join(", ");
    let spine = items(&case["spine"]).iter().enumerate();
    let spine = spine.map(|(index, row)| format!("({index}, {}, {})", literal(&row[0]), literal(&row[1])));
    let spine = spine.collect::<Vec<_>>().join(", ");
    let mut statements = vec![
        format!("CREATE TABLE events_{name} ({typed})"),
        format!("INSERT INTO events_{name} VALUES {rows}"),
        format!("CREATE TABLE spine_{name} (i int, k text, t timestamptz)"),
        format!("INSERT INTO spine_{name} VALUES {spine}"),
        format!("CREATE SOURCE source_{name} AS SELECT * FROM events_{name} TIMESTAMP ts"),
    ];
    let is_stream = text(spec, "mode").contains("stream");
    if is_stream {
        statements.push(format!(
            "CREATE STREAM stream_{name} ({typed}) FROM PUSH TIMESTAMP ts BACKFILL FROM source_{name} UNTIL '2030-01-01'"
        ));
    }
    let mut options = vec!["trigger = manual".to_owned(), "online = false".to_owned()];
    for (option, key) in [
        ("aggregation_interval", "interval_s"),
        ("schedule", "schedule_s"),
        ("data_delay", "delay_s"),
        ("ttl", "ttl_s"),
    ] {
        if let Some(value) = spec.get(key).filter(|value| value.as_i64() != Some(0)) {
            options.push(format!("{option} = {}", seconds(value)));
        }
    }
    for (option, key) in [("start", "feature_start"), ("lifetime_start", "lifetime_start")] {
        if let Some(value) = spec.get(key) {
            options.push(format!("{option} = {}", literal(value)));
        }
    }
    let features = items(&spec["features"]).iter().map(feature).collect::<Vec<_>>().join(", ");
    statements.push(format!(
        "CREATE FEATURE VIEW view_{name} ENTITY thing TIMESTAMP ts {} {} WITH ({}) AS SELECT * FROM {}_{name}",
        spec["secondary_key"].as_str().map_or_else(String::new, |key| format!("AGGREGATE BY {key}")),
        if features.is_empty() { String::new() } else { format!("FEATURES ({features})") },
        options.join(", "),
        if is_stream { "stream" } else { "source" },
    ));
    statements
}

/// `[start, end)` aligned to the view's schedule.
fn refresh(case: &Json) -> String {
    let schedule = case["spec"]["schedule_s"].as_i64().unwrap_or(86_400);
    let time = |seconds: i64| {
        let aligned = chrono::DateTime::from_timestamp(seconds - seconds.rem_euclid(schedule), 0).expect("a time");
        aligned.format("%Y-%m-%d %H:%M:%S").to_string()
    };
    format!("REFRESH FEATURE VIEW view_{} FROM '{}' TO '{}'", text(case, "name"), time(FROM_S), time(TO_S))
}

/// Whether a value's text is the expected one.
fn same(expected: &Json, found: Option<&str>) -> bool {
    match (expected, found) {
        (Json::Null, None) => true,
        (Json::Number(expected), Some(found)) => {
            let expected = expected.as_f64().expect("a number");
            found.parse::<f64>().is_ok_and(|found| (found - expected).abs() <= 1e-12 * expected.abs())
        }
        (Json::String(expected), Some(found)) => expected == found,
        (Json::Array(expected), Some(found)) => {
            let Some(inner) = found.strip_prefix('{').and_then(|found| found.strip_suffix('}')) else { return false };
            let found: Vec<&str> = if inner.is_empty() { Vec::new() } else { inner.split(',').collect() };
            let value = |item: &'_ str| item != "NULL";
            expected.len() == found.len()
                && expected.iter().zip(found).all(|(expected, found)| same(expected, Some(found).filter(|f| value(f))))
        }
        _ => false,
    }
}

async fn execute(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}", failed(sql, &error)));
}

/// Asks for the case's spine and tells what is not as expected.
async fn compare(client: &Client, case: &Json, store: &str) -> Vec<String> {
    let name = text(case, "name");
    let expected = case["expected"].as_object().expect("expected columns");
    let columns = expected.keys().map(|column| format!("f.{column}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {columns} FROM spine_{name} s LEFT JOIN view_{name} FOR SYSTEM_TIME AS OF s.t AS f ON f.k = s.k ORDER BY s.i"
    );
    let rows: Vec<_> = match client.simple_query(&sql).await {
        Err(error) => return vec![format!("{store} {}", failed(&sql, &error))],
        Ok(messages) => {
            let row = |message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None };
            messages.into_iter().filter_map(row).collect()
        }
    };
    let mut failures = Vec::new();
    if rows.len() != items(&case["spine"]).len() {
        failures.push(format!("{name} {store}: {} rows", rows.len()));
    }
    for (index, row) in rows.iter().enumerate() {
        for (place, (column, values)) in expected.iter().enumerate() {
            if !same(&values[index], row.get(place)) {
                let spine = &case["spine"][index];
                failures.push(format!(
                    "{name} {store} {column} of {spine}: expected {}, found {:?}",
                    values[index],
                    row.get(place)
                ));
            }
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_vector_from_source_and_from_the_offline_store() {
    let cases: Json = serde_json::from_str(VECTORS).expect("the file is JSON");
    let cases = items(&cases);
    assert_eq!(cases.len(), CASES);
    let server = Server::start(Program::Granary, None, false);
    let connection = server.connect("granary").await;
    let client = &connection.client;
    execute(client, "CREATE ENTITY thing (k text)").await;
    let mut failures = Vec::new();
    for case in cases {
        for statement in definitions(case) {
            execute(client, &statement).await;
        }
        execute(client, "SET from_source = on").await;
        failures.extend(compare(client, case, "from source").await);
        let refresh = refresh(case);
        execute(client, &refresh).await;
        execute(client, "SET from_source = off").await;
        failures.extend(compare(client, case, "from the store").await);
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
