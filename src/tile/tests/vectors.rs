//! The handmade cases of tests/data/semantics_vectors.json, from rows and through tiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use serde_json::Value as Json;

use super::windows::timing;
use super::*;

const VECTORS: &str = include_str!("../../../tests/data/semantics_vectors.json");

/// Microseconds of `2024-01-01T00:00[:00[.000001]]`.
fn micros(text: &str) -> i64 {
    let (date, time) = text.split_once('T').unwrap();
    let date: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    // days since 1970 of the proleptic Gregorian calendar, counting years from March
    let (year, month) = if date[1] > 2 { (date[0], date[1] - 3) } else { (date[0] - 1, date[1] + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + date[2] - 719_469;
    let mut parts = time.split(':');
    let mut next = || parts.next().unwrap_or("0").to_owned();
    let (hours, minutes, seconds): (i64, i64, f64) =
        (next().parse().unwrap(), next().parse().unwrap(), next().parse().unwrap());
    ((days * 24 + hours) * 60 + minutes) * 60_000_000 + (seconds * 1e6).round() as i64
}

fn seconds(json: &Json) -> i64 {
    json.as_i64().map_or(0, |seconds| seconds * 1_000_000)
}

fn view_timing(spec: &Json) -> Timing {
    let kind = match spec["mode"].as_str().unwrap() {
        "batch" => ViewKind::BatchAggregates,
        "stream_tiled" => ViewKind::StreamTiled,
        "stream_cont" => ViewKind::StreamContinuous,
        "attr_batch" => ViewKind::BatchAttributes,
        "attr_stream" => ViewKind::StreamAttributes,
        mode => panic!("mode {mode}"),
    };
    Timing {
        interval_us: seconds(&spec["interval_s"]),
        schedule_us: seconds(&spec["schedule_s"]),
        delay_us: seconds(&spec["delay_s"]),
        start_us: spec["feature_start"].as_str().map(micros),
        lifetime_start_us: spec["lifetime_start"].as_str().map(micros),
        ttl_us: spec.get("ttl_s").map(seconds),
        ..timing(kind)
    }
}

fn feature(json: &Json) -> FeatureInput {
    use AggregateFunction::*;
    let n = json["n"].as_u64().unwrap_or(0) as u32;
    let function = match json["fn"].as_str().unwrap() {
        "sum" => Sum,
        "count" => Count,
        "mean" => Avg,
        "min" => Min,
        "max" => Max,
        "stddev_samp" => StddevSamp,
        "stddev_pop" => StddevPop,
        "var_samp" => VarSamp,
        "var_pop" => VarPop,
        "last" => Last,
        "last_n" => LastN { n },
        "first_n" => FirstN { n },
        "last_distinct_n" => LastDistinct { n },
        "first_distinct_n" => FirstDistinct { n },
        name => panic!("function {name}"),
    };
    let window = match json.get("series") {
        Some(series) => Window::Series {
            from_us: seconds(&series["start_s"]),
            to_us: seconds(&series["end_s"]),
            size_us: seconds(&series["window_s"]),
            step_us: seconds(&series["step_s"]),
        },
        None if json["lifetime"] == true => Window::Lifetime,
        None => Window::Last { size_us: seconds(&json["window_s"]), offset_us: seconds(&json["offset_s"]) },
    };
    FeatureInput { function, inputs: vec![(0, DataType::Float64)], window }
}

/// One key's events, in the order of the file.
#[derive(Default)]
struct Events {
    times: Vec<i64>,
    numbers: Vec<Option<f64>>,
    groups: Vec<Option<Value>>,
}

fn events_by_key(case: &Json) -> BTreeMap<String, Events> {
    let columns: Vec<&str> = case["columns"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let mut events: Vec<&Json> = case["events"].as_array().unwrap().iter().collect();
    events.sort_by_key(|event| micros(event[column("ts").unwrap()].as_str().unwrap()));
    let mut by_key: BTreeMap<String, Events> = BTreeMap::new();
    for event in events {
        let of_key = by_key.entry(event[column("k").unwrap()].as_str().unwrap().to_owned()).or_default();
        of_key.times.push(micros(event[column("ts").unwrap()].as_str().unwrap()));
        of_key.numbers.push(event[column("v").unwrap()].as_f64());
        of_key.groups.push(column("g").and_then(|index| event[index].as_str()).map(text));
    }
    by_key
}

fn raw_rows(plan: &ViewPlan, events: &Events) -> RawRows {
    let numbers: ArrayRef = Arc::new(Float64Array::from(events.numbers.clone()));
    RawRows {
        times: events.times.clone(),
        arrivals: (0..events.times.len() as i64).collect(),
        secondary: plan.secondary_key.is_some().then(|| events.groups.clone()),
        inputs: vec![vec![numbers]; plan.partials.len()],
    }
}

fn same(expected: &Json, found: Option<&Value>) -> bool {
    match (expected, found) {
        (Json::Null, None) => true,
        (Json::Number(expected), Some(Value::Float(found))) => {
            let expected = expected.as_f64().unwrap();
            (expected - found).abs() <= 1e-12 * expected.abs()
        }
        (Json::Number(expected), Some(Value::Int(found))) => expected.as_i64() == Some(*found),
        (Json::String(expected), Some(Value::Text(found))) => **expected == **found,
        (Json::Array(expected), Some(Value::List(found))) => {
            expected.len() == found.len() && expected.iter().zip(found.iter()).all(|(a, b)| same(a, b.as_ref()))
        }
        _ => false,
    }
}

/// The columns of a case with their names, each way of evaluating it.
fn answers(case: &Json, key: &str, times: &[i64]) -> Vec<Vec<(String, Vec<Option<Value>>)>> {
    let spec = &case["spec"];
    let timing = view_timing(spec);
    let by_key = events_by_key(case);
    let none = Events::default();
    let events = by_key.get(key).unwrap_or(&none);
    if let Some(names) = spec["attributes"].as_array() {
        let plan = ViewPlan::for_attributes(timing, vec![DataType::Float64; names.len()]);
        let rows = evaluate_attributes(&plan, &events.times, times);
        let values = rows.into_iter().map(|row| row.and_then(|row| events.numbers[row]).map(Value::Float)).collect();
        return vec![vec![(names[0].as_str().unwrap().to_owned(), values)]];
    }
    let features = spec["features"].as_array().unwrap();
    let secondary_key = spec["secondary_key"].as_str().map(|_| DataType::Utf8);
    let declared: Vec<FeatureInput> = features.iter().map(feature).collect();
    let (plan, _) = ViewPlan::for_features(timing, secondary_key, &declared).unwrap();
    let rows = raw_rows(&plan, events);
    let mut ways = Vec::new();
    if plan.timing.kind == ViewKind::StreamContinuous {
        ways.push(raw_items(&plan, &rows).unwrap());
    } else {
        ways.push(tile_rows(&plan, &rows).unwrap());
        ways.push(fold_tiles(&plan, &raw_items(&plan, &rows).unwrap()).unwrap());
    }
    let name = |column: &OutputColumn| match column {
        OutputColumn::Feature { index } => features[*index]["name"].as_str().unwrap().to_owned(),
        OutputColumn::Keys { window } => {
            format!("{}_keys_{}", spec["secondary_key"].as_str().unwrap(), window_label(window))
        }
    };
    let columns = plan.output_columns();
    let evaluate = |items: AggregateItems| {
        let values = evaluate_aggregates(&plan, &items, times).unwrap();
        columns.iter().map(name).zip(values).collect()
    };
    ways.into_iter().map(evaluate).collect()
}

#[test]
fn every_vector() {
    let cases: Json = serde_json::from_str(VECTORS).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 32);
    for case in cases {
        let spine: Vec<(&str, i64)> = case["spine"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row[0].as_str().unwrap(), micros(row[1].as_str().unwrap())))
            .collect();
        for (index, (key, time)) in spine.iter().enumerate() {
            // alone, and among all the times, in the given order and backwards
            let times: Vec<i64> = spine.iter().map(|(_, time)| *time).collect();
            let backwards: Vec<i64> = times.iter().rev().copied().collect();
            for (times, at) in [(vec![*time], 0), (times.clone(), index), (backwards, spine.len() - 1 - index)] {
                for columns in answers(case, key, &times) {
                    let expected = case["expected"].as_object().unwrap();
                    assert_eq!(columns.len(), expected.len(), "{}", case["name"]);
                    for (name, found) in columns {
                        let (expected, found) = (&expected[&name][index], found[at].as_ref());
                        assert!(
                            same(expected, found),
                            "{} {name} row {index}: {found:?}, not {expected}",
                            case["name"]
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn micros_are_micros() {
    assert_eq!(micros("1970-01-01T00:00"), 0);
    assert_eq!(micros("2024-01-01T00:00:00.000001"), 1_704_067_200_000_001);
    assert_eq!(micros("1969-12-31T23:59:59"), -1_000_000);
}
