//! REPLAY STREAM: what is missing or wrong online is as it was, what is right stays, and twice is once.

use granary::online::ItemRow;
use granary::row::{Key, Value};
use granary_catalog::FeatureView;

use crate::world::{Row, World, agree};

const DAY_US: i64 = 86_400_000_000;
/// 2024-03-01.
const NOW_US: i64 = 1_709_251_200_000_000;
const EVENTS: i64 = 4_000;
const KEYS: i64 = 4;
const ANSWER: &str = "SELECT * FROM v WHERE k IN ('k0', 'k1', 'k2', 'k3') ORDER BY k";

fn key(name: &str) -> Key {
    Key::encode([Some(&Value::Text(name.into()))]).expect("not null")
}

/// A stream with events over four days, so many that there are spans.
async fn filled() -> (World, u64) {
    let mut world = World::at(NOW_US).await;
    world.run("CREATE ENTITY thing (k text)").await;
    world.run("CREATE STREAM live (k text, ts timestamptz, n bigint) FROM PUSH TIMESTAMP ts").await;
    world
        .run(
            "CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER (LIFETIME) AS events,
               sum(n) OVER (LAST '30 days') AS total, count_distinct(n) OVER (LAST '30 days') AS different,
               last(n) OVER (LAST '30 days') AS newest) AS SELECT k, ts, n FROM live",
        )
        .await;
    for start in (0..EVENTS).step_by(1000) {
        let row = |n: i64| format!("('k{}', '2024-02-24'::timestamptz + INTERVAL '{} seconds', {n})", n % KEYS, n * 86);
        let rows: Vec<String> = (start..start + 1000).map(row).collect();
        world.run(&format!("INSERT INTO live VALUES {}", rows.join(", "))).await;
    }
    let snapshot = world.warehouse.catalog.snapshot();
    let id = snapshot.all::<FeatureView>().first().expect("the view").header.id.0;
    (world, id)
}

fn same(found: &[Row], expected: &[Row]) -> bool {
    found.len() == expected.len() && found.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| agree(a, b))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_makes_good_what_is_damaged() {
    let (mut world, view) = filled().await;
    let expected = world.run(ANSWER).await;
    let online = std::sync::Arc::clone(&world.warehouse.online);
    let has_spans = |name: &str| {
        let form = online.reader().expect("reads").spans_form(view, &key(name)).expect("reads");
        form.is_some()
    };
    assert!(has_spans("k1"), "there are too few events");
    for flushed in [false, true] {
        if flushed {
            world.warehouse.ingest.flush().await;
            world.warehouse.ingest.shorten().await.expect("shortens");
        }
        // a key, and a day of all keys, are gone, and an item is another
        online.remove_key(view, &key("k0")).expect("removes");
        let day = NOW_US - 5 * DAY_US..NOW_US - 4 * DAY_US;
        assert!(online.remove_items(view, day, None).expect("removes") > 0);
        let items = online.reader().expect("reads").items(view, &key("k2"), i64::MIN..i64::MAX).expect("reads");
        let first = items.first().expect("an item");
        let wrong = ItemRow {
            key: key("k2"),
            time_us: first.time_us,
            sequence: first.sequence,
            secondary: None,
            payload: {
                let mut payload = Vec::new();
                granary::row::put_values(&mut payload, &[Some(Value::Int(1_000_000))]);
                payload
            },
        };
        online.put_items(view, vec![wrong], None).expect("puts");
        let damaged = world.run(ANSWER).await;
        assert!(!same(&damaged, &expected), "nothing was damaged: {damaged:?}");
        for _ in 0..2 {
            world.run("REPLAY STREAM live").await;
            let found = world.run(ANSWER).await;
            assert!(same(&found, &expected), "flushed: {flushed}\nfound    {found:?}\nexpected {expected:?}");
            assert_eq!(world.run("VERIFY FEATURE VIEW v").await, Vec::<Row>::new());
            assert!((0..KEYS).all(|n| has_spans(&format!("k{n}"))), "spans are made anew");
        }
    }
    drop(online);
    let mut world = world.again().await;
    assert!(same(&world.run(ANSWER).await, &expected), "it is durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_begins_where_it_is_told_to() {
    let (mut world, view) = filled().await;
    let online = std::sync::Arc::clone(&world.warehouse.online);
    let expected = world.run(ANSWER).await;
    // of k0 are the events with offsets 0, 4, 8, …
    for (from, count) in [
        ("OFFSET 3996", 1),
        ("OFFSET 3000", 250),
        ("'2024-02-24'::timestamptz + INTERVAL '257999 seconds'", 250),
        ("OFFSET 4000", 0),
        ("now()", 0),
    ] {
        online.remove_key(view, &key("k0")).expect("removes");
        world.run(&format!("REPLAY STREAM live FROM {from}")).await;
        let found = world.run("SELECT coalesce(events, 0) FROM v WHERE k = 'k0'").await;
        let found = found.first().and_then(|row| row[0].clone()).unwrap_or(Value::Int(0));
        assert_eq!(found, Value::Int(count), "{from}");
        world.run("REPLAY STREAM live").await;
        assert!(same(&world.run(ANSWER).await, &expected), "{from}");
    }
}
