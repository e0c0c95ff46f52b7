//! Stored rows read in parts: whatever is asked for, all of it comes, and most of the rest is not even read.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::{ExecutionPlan, collect_partitioned};
use granary::access::Asker;
use granary::engine::{BoundView, KeyValues, Pruned, Reach, StoredRows};
use granary_catalog::{FeatureView, Home};

use crate::random::Random;
use crate::world::World;

const START: i64 = 1_704_067_200_000_000;
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const DAYS: i64 = 45;
const EVENTS: i64 = 160_000;
const BUCKETS: u32 = 4;
const CITIES: [&str; 3] = ["Basel", "Bern", "Chur"];

/// An event: a driver, a city, a time, and what makes it different from all others.
type Row = (i64, String, i64, i64);

async fn world() -> (World, StoredRows) {
    let mut world = World::at(START + 100 * DAY).await;
    for sql in [
        format!(
            "CREATE TABLE rides AS
               SELECT value % 300 AS driver,
                      CASE value % 7 WHEN 0 THEN 'Basel' WHEN 1 THEN 'Chur' ELSE 'Bern' END AS city,
                      to_timestamp(1704067200 + (value * 7919) % {}) AS ts, value AS number
               FROM generate_series(1, {EVENTS}::bigint) AS g (value)",
            DAYS * DAY / 1_000_000
        ),
        "CREATE ENTITY driver_in_city (driver bigint, city text)".to_owned(),
        "CREATE SOURCE rides_source AS SELECT * FROM rides TIMESTAMP ts".to_owned(),
        format!(
            "CREATE FEATURE VIEW newest ENTITY driver_in_city TIMESTAMP ts
               WITH (schedule = '1 day', start = '2024-01-01', buckets = {BUCKETS})
               AS SELECT driver, city, ts, number FROM rides_source"
        ),
    ] {
        world.run(&sql).await;
    }
    for day in (0..DAYS).step_by(15) {
        let at = |day: i64| granary_sql::timestamp::format_timestamp(START + day * DAY);
        world.run(&format!("REFRESH FEATURE VIEW newest FROM '{}' TO '{}'", at(day), at(day + 15))).await;
    }
    let rows = open(&world).await;
    (world, rows)
}

async fn open(world: &World) -> StoredRows {
    let snapshot = world.warehouse.catalog.snapshot();
    let views = snapshot.all::<FeatureView>();
    let view = views.first().expect("the view");
    let Home::Schema { workspace, .. } = view.header.home else { panic!("a view lives in a schema") };
    let planner = world.warehouse.planner(world.warehouse.scope(workspace, Vec::new(), Asker::Server), 0);
    let bound = BoundView::of_feature_view(view).expect("is bound");
    StoredRows::open(&planner, &bound).await.expect("opens")
}

/// All columns of everything that a plan gives, by partition.
async fn read(world: &World, rows: &StoredRows, reach: &Reach) -> (Vec<Vec<Row>>, Arc<dyn ExecutionPlan>, Pruned) {
    let columns: Vec<usize> = (0..rows.schema().fields().len()).collect();
    let (plan, pruned) = rows.plan(&columns, reach).expect("is planned");
    let context = world.warehouse.engine.state(0).task_ctx();
    let parts = collect_partitioned(Arc::clone(&plan), context).await.expect("is read");
    (parts.iter().map(|batches| batches.iter().flat_map(rows_of).collect()).collect(), plan, pruned)
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let integers = |name: &str| batch[name].as_primitive::<Int64Type>();
    let (cities, times) = (batch["city"].as_string::<i32>(), batch["ts"].as_primitive::<TimestampMicrosecondType>());
    let row = |row: usize| {
        let city = cities.value(row).to_owned();
        (integers("driver").value(row), city, times.value(row), integers("number").value(row))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn numbers(values: impl IntoIterator<Item = i64>) -> KeyValues {
    KeyValues { key: 0, values: values.into_iter().map(|value| ScalarValue::Int64(Some(value))).collect() }
}

fn texts(values: &[&str]) -> KeyValues {
    KeyValues { key: 1, values: values.iter().map(|value| ScalarValue::from(*value)).collect() }
}

fn wants(reach: &Reach, row: &Row) -> bool {
    let key = |key: usize, value: ScalarValue| {
        reach.keys.iter().filter(|keys| keys.key == key).all(|keys| keys.values.contains(&value))
    };
    reach.times.contains(&row.2) && key(0, ScalarValue::Int64(Some(row.0))) && key(1, ScalarValue::from(row.1.as_str()))
}

fn random_reach(random: &mut Random) -> Reach {
    let time = |random: &mut Random| START + random.between(-5 * 24, (DAYS + 5) * 24) * HOUR + random.between(-1, 1);
    let (a, b) = (time(random), time(random));
    let times: Range<i64> = match random.below(5) {
        0 => i64::MIN..a,
        1 => a..i64::MAX,
        2 => i64::MIN..i64::MAX,
        _ => a.min(b)..a.max(b),
    };
    let mut keys = Vec::new();
    match random.below(4) {
        0 => {}
        1 => keys.push(numbers((0..random.between(1, 60)).map(|_| random.between(-3, 305)).collect::<BTreeSet<_>>())),
        2 => keys.push(texts(&CITIES[..usize::try_from(random.between(1, 3)).expect("small")])),
        _ => {
            keys.push(numbers([random.between(0, 299)]));
            keys.push(texts(&[*random.pick(&CITIES)]));
        }
    }
    let bucket = random.chance(40).then(|| u32::try_from(random.below(u64::from(BUCKETS))).expect("small"));
    Reach { times, bucket, keys, ..Reach::EVERYTHING }
}

/// Of all scans below, how many pages were left out.
fn pages_left_out(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let metrics = plan.metrics().into_iter().flat_map(|metrics| metrics.iter().cloned().collect::<Vec<_>>());
    let own: usize = metrics
        .filter_map(|metric| match metric.value() {
            MetricValue::PruningMetrics { name, pruning_metrics } if name == "page_index_pages_pruned" => {
                Some(pruning_metrics.pruned())
            }
            _ => None,
        })
        .sum();
    own + plan.children().into_iter().map(pages_left_out).sum::<usize>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_in_reach_is_read() {
    let (mut world, rows) = world().await;
    assert!(rows.is_sorted());
    let (all, _, everything) = read(&world, &rows, &Reach::EVERYTHING).await;
    assert_eq!((all.len(), everything.files_read, everything.rows), (4, everything.files_total, EVENTS as u64));
    assert_eq!(everything.files_total, 4 * 4, "days 0 to 15, 15 to 30, 30, 31 to 45 in each bucket");

    let mut left_out = [0, 0];
    let mut random = Random::new(11);
    for case in 0..50 {
        if case == 25 {
            // merged files are read the same
            world.run("OPTIMIZE FEATURE VIEW newest").await;
        }
        let rows = open(&world).await;
        let reach = random_reach(&mut random);
        let (found, plan, pruned) = read(&world, &rows, &reach).await;
        let of_bucket = reach.bucket.map_or(0..all.len(), |bucket| bucket as usize..bucket as usize + 1);
        assert_eq!(found.len(), of_bucket.len(), "{reach:?}");
        for (found, all) in found.iter().zip(&all[of_bucket]) {
            let wanted = |rows: &[Row]| rows.iter().filter(|row| wants(&reach, row)).cloned().collect::<BTreeSet<_>>();
            assert_eq!(wanted(found), wanted(all), "{reach:?}");
            assert!(found.len() as u64 <= pruned.rows);
        }
        left_out[0] += pruned.files_total - pruned.files_read;
        left_out[1] += pages_left_out(&plan);
    }
    assert!(left_out.iter().all(|count| *count > 0), "files and pages: {left_out:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_reach_is_not_read() {
    let (mut world, rows) = world().await;
    // one key is in one bucket; a day is in one file of it
    let one_key = Reach { keys: vec![numbers([7]), texts(&["Bern"])], ..Reach::EVERYTHING };
    let (_, _, pruned) = read(&world, &rows, &one_key).await;
    assert_eq!((pruned.files_total, pruned.files_read), (16, 4));
    let one_day = Reach { times: START + 3 * DAY..START + 4 * DAY, ..one_key.clone() };
    let (_, _, pruned) = read(&world, &rows, &one_day).await;
    assert_eq!(pruned.files_read, 1);
    let nothing = Reach { times: START + 80 * DAY..START + 81 * DAY, ..Reach::EVERYTHING };
    let (found, _, pruned) = read(&world, &rows, &nothing).await;
    assert_eq!((found.iter().map(Vec::len).sum::<usize>(), pruned.files_read, pruned.rows), (0, 0, 0));

    // merged, January has more than a page in each bucket, of which a key needs few
    world.run("OPTIMIZE newest").await;
    let rows = open(&world).await;
    let (found, plan, pruned) = read(&world, &rows, &one_key).await;
    assert_eq!((pruned.files_total, pruned.files_read), (8, 2));
    let read: usize = found.iter().map(Vec::len).sum();
    assert!((read as u64) < pruned.rows, "{read} rows of {pruned:?}");
    assert!(pages_left_out(&plan) > 0);
}
