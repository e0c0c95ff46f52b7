//! A year of real flights: six feature views, 10,000 labels, and the answers of an independent brute force.
//! The comparison is SQL too: a count of differing rows for every feature.

use serde_json::Value as Json;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::runner::failed;
use crate::server::{Program, Server};

const VIEWS: &str = include_str!("../../data/flights/views.sql");
const SPECS: &str = include_str!("../../data/flights/specs.json");
const LABELS: &str = "10000";

async fn execute(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}", failed(sql, &error)));
}

/// What a feature is without a key: semantics.md, section 5.
fn empty_value(feature: &Json) -> String {
    let plain = |name: &str| match name {
        "count" | "approx_count_distinct" => "0",
        name if name.ends_with("_n") => "{}",
        _ => "NULL",
    };
    let name = feature["fn"].as_str().expect("a function");
    match feature.get("series") {
        None => plain(name).to_owned(),
        Some(series) => {
            let number = |field: &str| series[field].as_i64().expect("seconds");
            let windows = (number("end_s") - number("window_s") - number("start_s")).div_euclid(number("step_s")) + 1;
            let values: Vec<&str> = (0..windows).map(|_| plain(name)).collect();
            format!("{{{}}}", values.join(","))
        }
    }
}

/// True where the answer `a` differs from what is expected, `e`.
fn differs(name: &str, function: &str, is_float: bool) -> String {
    let near = |tolerance: &str| {
        format!("NOT coalesce(abs(a.{name} - e.{name}) <= {tolerance}, a.{name} IS NULL AND e.{name} IS NULL)")
    };
    match function {
        "var_samp" | "var_pop" | "stddev_samp" | "stddev_pop" => near(&format!("1e-6 * abs(e.{name}) + 1e-12")),
        // four standard errors of 256 registers
        "approx_count_distinct" => near(&format!("greatest(2.0, 0.26 * e.{name})")),
        "mean" => near(&format!("1e-9 * abs(e.{name})")),
        "approx_percentile" => near(&format!("1e-9 * abs(e.{name}) + 1e-9")),
        "sum" | "min" | "max" | "last" | "attribute" if is_float => near(&format!("1e-9 * abs(e.{name})")),
        _ => format!("a.{name} IS DISTINCT FROM e.{name}"),
    }
}

struct View {
    name: String,
    key: String,
    /// name, function, whether it is a float, value without a key
    features: Vec<(String, String, bool, String)>,
}

fn views() -> Vec<View> {
    let specs: Json = serde_json::from_str(SPECS).expect("the file is JSON");
    let is_float = |column: &Json| specs["types"][column.as_str().expect("a column")] == "float64";
    let text = |json: &Json| json.as_str().expect("a text").to_owned();
    let view = |view: &Json| {
        let aggregates = view["features"].as_array().into_iter().flatten().map(|feature| {
            let is_list = feature.get("series").is_some();
            let float = is_float(&feature["col"]) && !is_list;
            let function = if is_list { "series".to_owned() } else { text(&feature["fn"]) };
            (text(&feature["name"]), function, float, empty_value(feature))
        });
        let attributes = view["attributes"].as_array().into_iter().flatten();
        let attributes = attributes.map(|name| (text(name), "attribute".to_owned(), is_float(name), "NULL".to_owned()));
        let features = aggregates.chain(attributes).collect();
        View { name: text(&view["fv"]), key: text(&view["keys"][0]), features }
    };
    specs["views"].as_array().expect("views").iter().map(view).collect()
}

/// The only row of a query, by column.
async fn row(client: &Client, sql: &str) -> Vec<(String, Option<String>)> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{}", failed(sql, &error)));
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let column = |index: usize| (row.columns()[index].name().to_owned(), row.get(index).map(str::to_owned));
            return (0..row.len()).map(column).collect();
        }
    }
    panic!("no row: {sql}");
}

async fn compare(client: &Client, view: &View, store: &str) -> Vec<String> {
    let View { name, key, features } = view;
    let count = |(feature, function, is_float, _): &(String, String, bool, String)| {
        format!(
            "count(*) FILTER (WHERE e.{key} IS NOT NULL AND {}) AS {feature}",
            differs(feature, function, *is_float)
        )
    };
    let counts: Vec<String> = features.iter().map(count).collect();
    let sql = format!(
        "WITH a AS (SELECT l.spine_id, f.* FROM labels l
           LEFT JOIN {name} FOR SYSTEM_TIME AS OF l.timestamp AS f ON f.{key} = l.{key}),
         e AS (SELECT x.*, l.{key} FROM expected_{name} x JOIN labels l ON l.spine_id = x.spine_id)
         SELECT count(*) AS compared, {} FROM a JOIN e ON e.spine_id = a.spine_id",
        counts.join(", ")
    );
    let mut failures = Vec::new();
    for (column, value) in row(client, &sql).await {
        let expected = if column == "compared" { LABELS } else { "0" };
        if value.as_deref() != Some(expected) {
            failures.push(format!("{name}.{column} {store}: {value:?} rows, not {expected}"));
        }
    }
    failures.extend(without_key(client, view, store).await);
    failures
}

/// Labels without a key have the empty values of the law.
async fn without_key(client: &Client, view: &View, store: &str) -> Vec<String> {
    let View { name, key, features } = view;
    let columns: Vec<String> = features.iter().map(|(feature, ..)| format!("f.{feature}")).collect();
    let sql = format!(
        "SELECT {} FROM labels l JOIN {name} FOR SYSTEM_TIME AS OF l.timestamp AS f ON f.{key} = l.{key}
         WHERE l.{key} IS NULL",
        columns.join(", ")
    );
    let messages = client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{}", failed(&sql, &error)));
    let mut failures = Vec::new();
    let mut rows = 0;
    for message in messages {
        let SimpleQueryMessage::Row(row) = message else { continue };
        rows += 1;
        for (index, (feature, _, _, empty)) in features.iter().enumerate() {
            let found = row.get(index).unwrap_or("NULL");
            if found != empty {
                failures.push(format!("{name}.{feature} {store} without a key: {found}, not {empty}"));
            }
        }
    }
    let expected = if key == "tailnum" { 100 } else { 0 };
    if rows != expected {
        failures.push(format!("{name} {store}: {rows} labels without a key, not {expected}"));
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_flights_from_source_and_from_the_offline_store() {
    let server = Server::start(Program::Granary, None, false);
    let connection = server.connect("granary").await;
    let client = &connection.client;
    execute(client, VIEWS).await;
    let views = views();
    assert_eq!(views.iter().map(|view| view.features.len()).sum::<usize>(), 80);
    for View { name, .. } in &views {
        execute(
            client,
            &format!("CREATE SOURCE expected_{name} FROM PARQUET 'tests/data/flights/expected_{name}.parquet'"),
        )
        .await;
    }
    let mut failures = Vec::new();
    execute(client, "SET from_source = on").await;
    for view in &views {
        failures.extend(compare(client, view, "from source").await);
    }
    execute(client, "SET from_source = off").await;
    for view in &views {
        execute(client, &format!("REFRESH FEATURE VIEW {} FROM '2012-01-01' TO '2014-06-01'", view.name)).await;
        failures.extend(compare(client, view, "from the store").await);
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
