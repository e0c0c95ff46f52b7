//! What a lookup of a stream view costs, by how many events of the key a window of 30 days holds. Run by hand:
//! `cargo bench --workspace --bench stream_reads`. Events go straight into the online store; a lookup is a statement.

#[allow(dead_code)]
#[path = "../../tests/it/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../../tests/it/world.rs"]
mod world;

use std::time::Instant;

use arrow::datatypes::DataType;
use granary::engine::BoundView;
use granary::online::{FIRST_PUSHED, ItemRow};
use granary::row::{Key, Value, put_values};
use granary_catalog::FeatureView;

use random::Random;
use world::World;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const NOW: i64 = 1_706_790_896_789_012;
const SIZES: [i64; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const READS: usize = 500;
const AT_ONCE: i64 = 50_000;

#[tokio::main]
async fn main() {
    let mut world = World::at(NOW).await;
    world.run("CREATE ENTITY thing (k text)").await;
    world.run("CREATE STREAM stream (k text, ts timestamptz, v float8, n bigint, s text) FROM PUSH TIMESTAMP ts").await;
    let functions =
        ["count(*)", "sum(v)", "avg(n)", "min(v)", "max(n)", "last(v)", "stddev_pop(v)", "approx_count_distinct(s)"];
    let features: Vec<String> =
        functions.iter().enumerate().map(|(n, name)| format!("{name} OVER (LAST '30 days') AS f{n}")).collect();
    let create = format!(
        "CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES ({}) AS SELECT k, ts, v, n, s FROM stream",
        features.join(", ")
    );
    world.run(&create).await;
    let snapshot = world.warehouse.catalog.snapshot();
    let view = BoundView::of_feature_view(snapshot.all::<FeatureView>()[0]).expect("binds");
    let most = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000);
    for events in SIZES.into_iter().filter(|size| *size <= most) {
        for (spread, from) in [("over 30 days", NOW - 30 * DAY - HOUR), ("in the last hour", NOW - HOUR)] {
            let name = format!("{events} {spread}");
            let began = Instant::now();
            put(&world, &view, &name, events, from);
            let put = began.elapsed();
            let reads = reads(&mut world, &name).await;
            println!(
                "{name}: put in {:.1} s ({:.0} a second); a read p50 {} us, p99 {} us",
                put.as_secs_f64(),
                events as f64 / put.as_secs_f64(),
                reads[READS / 2],
                reads[READS * 99 / 100]
            );
        }
    }
    println!("of nobody: a read p50 {} us", reads(&mut world, "nobody").await[READS / 2]);
}

/// Events of one key, in order, evenly from `from` on until now.
fn put(world: &World, view: &BoundView, name: &str, events: i64, from: i64) {
    let key = Key::encode([Some(&Value::Text(name.into()))]).expect("not null");
    let spans = view.item_spans();
    let mut random = Random::new(1);
    for first in (0..events).step_by(AT_ONCE as usize) {
        let row = |event: i64| {
            let value = random.between(0, 100_000);
            let value_of = |data_type: &DataType| match data_type {
                DataType::Boolean => Value::Bool(true),
                DataType::Float64 => Value::Float(value as f64 / 100.0),
                DataType::Int64 => Value::Int(value),
                _ => Value::Text(format!("merchant {}", value % 200).into()),
            };
            let values: Vec<Option<Value>> = view.inputs.iter().map(|input| Some(value_of(&input.data_type))).collect();
            let mut payload = Vec::new();
            put_values(&mut payload, &values);
            ItemRow {
                key: key.clone(),
                time_us: from + (NOW - from) / events * event + random.between(0, 1000),
                sequence: FIRST_PUSHED + (event << 16),
                secondary: None,
                payload,
            }
        };
        let rows: Vec<ItemRow> = (first..(first + AT_ONCE).min(events)).map(row).collect();
        world.warehouse.online.put_items(view.id, rows, spans.as_ref()).expect("puts");
    }
}

/// How long lookups of a key take, microseconds, ascending.
async fn reads(world: &mut World, name: &str) -> Vec<u128> {
    let sql = format!("SELECT * FROM v WHERE k = '{name}'");
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let began = Instant::now();
        world.run(&sql).await;
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    times
}
