//! Feature tables and the online store over time: what expires and what must not, what VERIFY finds, and random
//! histories of writes against a brute force.

use granary::engine::BoundView;
use granary::materialize::expire;
use granary::online::ItemRow;
use granary::row::{Key, Value, put_values};
use granary_catalog::{FeatureTable, FeatureView};

use crate::random::Random;
use crate::world::{Row, World};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2024-01-10
const NOW: i64 = 1_704_844_800_000_000;

fn time(time_us: i64) -> String {
    granary_sql::timestamp::format_timestamp(time_us)
}

fn text(text: &str) -> Option<Value> {
    Some(Value::Text(text.into()))
}

fn key(name: &str) -> Key {
    Key::encode([text(name).as_ref()]).expect("not null")
}

/// Asks both stores for some keys; they must agree.
async fn answers(world: &mut World, view: &str, keys: &[&str]) -> Vec<Row> {
    let keys: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    let online = world.run(&format!("SELECT * FROM {view} WHERE k IN ({}) ORDER BY k", keys.join(", "))).await;
    let as_of = format!("{view} FOR SYSTEM_TIME AS OF now()");
    let offline = world.run(&format!("SELECT * FROM {as_of} WHERE k IN ({}) ORDER BY k", keys.join(", "))).await;
    assert_eq!(online, offline, "{view}");
    assert_eq!(world.run(&format!("VERIFY FEATURE VIEW {view}")).await, Vec::<Row>::new(), "{view}");
    online
}

fn items(world: &World, view: u64, name: &str) -> Vec<i64> {
    let reader = world.warehouse.online.reader().expect("reads");
    let items = reader.items(view, &key(name), i64::MIN..i64::MAX).expect("items");
    items.iter().map(|item| item.time_us).collect()
}

fn table_id(world: &World, name: &str) -> u64 {
    let snapshot = world.warehouse.catalog.snapshot();
    let table = snapshot.all::<FeatureTable>().into_iter().find(|table| table.header.name == name);
    BoundView::of_feature_table(table.expect("a feature table")).expect("binds").id
}

fn view_id(world: &World, name: &str) -> u64 {
    let snapshot = world.warehouse.catalog.snapshot();
    let view = snapshot.all::<FeatureView>().into_iter().find(|view| view.header.name == name);
    BoundView::of_feature_view(view.expect("a feature view")).expect("binds").id
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_expire_that_no_answer_can_see_and_no_others() {
    let mut world = World::at(NOW).await;
    // transactions of the last hour may still ask as of their beginning
    let asked = NOW - HOUR;
    world.run("CREATE ENTITY thing (k text)").await;
    world.run("CREATE FEATURE TABLE for_ever (k text, ts timestamptz, v bigint) ENTITY thing TIMESTAMP ts").await;
    world
        .run("CREATE FEATURE TABLE for_a_day (k text, ts timestamptz, v bigint) ENTITY thing TIMESTAMP ts WITH (ttl = '1 day')")
        .await;
    for table in ["for_ever", "for_a_day"] {
        let times = [asked - DAY - 1, asked - DAY, asked - DAY + 1, asked - 1, asked, asked + 1, NOW, NOW + DAY];
        for (number, at) in times.iter().enumerate() {
            let rows = format!("('all', '{0}', {number}), ('k{number}', '{0}', {number})", time(*at));
            world.run(&format!("INSERT INTO {table} VALUES {rows}")).await;
        }
    }
    world.run("CREATE TABLE events (k text, ts timestamptz, v bigint)").await;
    let hours: Vec<String> = (0..100).map(|hour| format!("('a', '{}', 1)", time(NOW - hour * HOUR))).collect();
    world.run(&format!("INSERT INTO events VALUES {}", hours.join(", "))).await;
    world.run("CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts").await;
    for (name, window, delay) in [
        ("bounded", "LAST '2 days'", "0"),
        ("late", "LAST '2 days' OFFSET '-1 day'", "6 hours"),
        ("lifetime", "LIFETIME", "0"),
    ] {
        world
            .run(&format!(
                "CREATE FEATURE VIEW {name} ENTITY thing TIMESTAMP ts FEATURES (count(*) OVER ({window}) AS n)
                 WITH (trigger = manual, schedule = '1 hour', aggregation_interval = '1 hour', data_delay = '{delay}')
                 AS SELECT k, ts, v FROM source"
            ))
            .await;
        world.run(&format!("REFRESH FEATURE VIEW {name}")).await;
    }
    let names = ["all", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];
    let before = (answers(&mut world, "for_ever", &names).await, answers(&mut world, "for_a_day", &names).await);
    let mut of_views = Vec::new();
    for view in ["bounded", "late", "lifetime"] {
        of_views.push(answers(&mut world, view, &["a"]).await);
        // older than any window, as if it had been written long ago
        let (id, old) = (view_id(&world, view), NOW - 100 * DAY);
        let payload = world.warehouse.online.reader().expect("reads").items(id, &key("a"), i64::MIN..i64::MAX);
        let payload = payload.expect("items")[0].payload.clone();
        let row = ItemRow { key: key("old"), time_us: old, sequence: 0, secondary: None, payload };
        world.warehouse.online.put_items(id, vec![row], None).expect("writes");
    }

    expire(&world.warehouse).await;

    let after = (answers(&mut world, "for_ever", &names).await, answers(&mut world, "for_a_day", &names).await);
    assert_eq!(after, before);
    for (view, before) in ["bounded", "late"].iter().zip(&of_views) {
        assert_eq!(&answers(&mut world, view, &["a"]).await, before);
        let id = view_id(&world, view);
        assert!(items(&world, id, "old").is_empty(), "{view}");
        let earliest = *items(&world, id, "a").iter().min().expect("items");
        let bounds = if *view == "late" {
            (asked - 6 * HOUR - 3 * DAY, asked - 6 * HOUR - 2 * DAY)
        } else {
            (asked - 2 * DAY, asked)
        };
        assert!((bounds.0..bounds.1).contains(&earliest), "{view} begins at {}", time(earliest));
    }
    assert_eq!(items(&world, view_id(&world, "lifetime"), "old"), [NOW - 100 * DAY]);

    // of each key the row that held an hour ago, and all later ones
    let for_ever = table_id(&world, "for_ever");
    assert_eq!(items(&world, for_ever, "all"), [asked, asked + 1, NOW, NOW + DAY]);
    assert_eq!(items(&world, for_ever, "k0"), [asked - DAY - 1]);
    // ts + ttl is when a row is seen no more
    let for_a_day = table_id(&world, "for_a_day");
    assert_eq!(items(&world, for_a_day, "all"), [asked, asked + 1, NOW, NOW + DAY]);
    let left = ["k0", "k1", "k2", "k3"].map(|name| items(&world, for_a_day, name).len());
    assert_eq!(left, [0, 0, 1, 1]);

    let shown = world.run("SELECT view, rows_removed, runs, expired_before FROM granary.expiry ORDER BY view").await;
    let row = |view: &str, rows: i64, before: Option<i64>| -> Row {
        vec![text(view), Some(Value::Int(rows)), Some(Value::Int(1)), before.map(Value::Int)]
    };
    assert!(shown.contains(&row("for_ever", 4, None)), "{shown:?}");
    assert!(shown.contains(&row("for_a_day", 6, Some(asked - DAY + 1))), "{shown:?}");
    assert!(shown.contains(&row("lifetime", 0, None)), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_was_damaged() {
    let mut world = World::at(NOW).await;
    world.run("CREATE ENTITY thing (k text)").await;
    world
        .run("CREATE FEATURE TABLE written (k text, ts timestamptz, v bigint, w text[]) ENTITY thing TIMESTAMP ts")
        .await;
    let rows: Vec<String> = (0..2000).map(|n| format!("('k{n:04}', '2024-01-01', {n}, '{{a,b}}')")).collect();
    world.run(&format!("INSERT INTO written VALUES {}", rows.join(", "))).await;
    assert_eq!(world.run("VERIFY FEATURE VIEW written").await, Vec::<Row>::new());

    let id = table_id(&world, "written");
    let online = &world.warehouse.online;
    let damaged = |name: &str, v: i64| {
        let mut payload = Vec::new();
        put_values(&mut payload, &[Some(Value::Int(v)), Some(Value::List(vec![text("a"), text("b")].into()))]);
        ItemRow { key: key(name), time_us: NOW - DAY, sequence: 99_999, secondary: None, payload }
    };
    // another value, a key that nobody has written, and one that is lost
    online.put_items(id, vec![damaged("k0007", -7), damaged("ghost", 1)], None).expect("writes");
    online.remove_key(id, &key("k1999")).expect("removes");
    let mut found = world.run("VERIFY FEATURE VIEW written").await;
    found.sort();
    let row = |key: &str, feature: &str, online: Option<&str>, offline: Option<&str>| -> Row {
        vec![text(key), text(feature), online.and_then(text), offline.and_then(text)]
    };
    let expected = [
        row("ghost", "v", Some("1"), None),
        row("ghost", "w", Some("{a,b}"), None),
        row("k0007", "v", Some("-7"), Some("7")),
        row("k1999", "v", None, Some("1999")),
        row("k1999", "w", None, Some("{a,b}")),
    ];
    assert_eq!(found, expected);
    // a sample is of keys of both stores, always the same ones
    let mut all = world.run("VERIFY FEATURE VIEW written SAMPLE 1000000").await;
    all.sort();
    assert_eq!(all, expected);
    let some = world.run("VERIFY FEATURE VIEW written SAMPLE 700").await;
    assert!(some.iter().all(|row| expected.contains(row)), "{some:?}");
    assert_eq!(world.run("VERIFY FEATURE VIEW written SAMPLE 700").await, some);
}

/// A row as it was written: key, time, value. Its arrival is its place.
type Written = (String, i64, i64);

/// What the newest row of a key says at a time, by eye.
fn newest(rows: &[Written], key: &str, at: i64, ttl: Option<i64>) -> Option<i64> {
    let seen = rows.iter().enumerate().filter(|(_, row)| row.0 == key && row.1 <= at);
    let (_, row) = seen.max_by_key(|(arrival, row)| (row.1, *arrival))?;
    ttl.is_none_or(|ttl| at < row.1 + ttl).then_some(row.2)
}

#[tokio::test(flavor = "multi_thread")]
async fn random_writes_are_answered_alike_by_both_stores_and_by_eye() {
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let ttl = (seed % 2 == 1).then_some(5 * HOUR);
        let mut world = World::at(NOW).await;
        world.run("CREATE ENTITY thing (k text)").await;
        let option = if ttl.is_some() { "WITH (ttl = '5 hours')" } else { "" };
        world
            .run(&format!(
                "CREATE FEATURE TABLE written (k text, ts timestamptz, v bigint) ENTITY thing TIMESTAMP ts {option}"
            ))
            .await;
        let mut rows: Vec<Written> = Vec::new();
        for step in 0..25 {
            let count = 1 + random.below(4);
            let mut values = Vec::new();
            for _ in 0..count {
                let key = format!("k{}", random.below(4));
                // few times, so that many are the same, and some in the future
                let at = NOW + (i64::try_from(random.below(14)).expect("small") - 10) * HOUR;
                let value = i64::try_from(rows.len()).expect("small");
                values.push(format!("('{key}', '{}', {value})", time(at)));
                rows.push((key, at, value));
            }
            world.run(&format!("INSERT INTO written VALUES {}", values.join(", "))).await;
            match random.below(6) {
                0 => expire(&world.warehouse).await,
                1 => drop(world.run("OPTIMIZE written").await),
                2 => {
                    let key = format!("k{}", random.below(4));
                    world.run(&format!("DELETE FROM written WHERE k = '{key}'")).await;
                    rows.retain(|row| row.0 != key);
                }
                _ => {}
            }
            let now = answers(&mut world, "written", &["k0", "k1", "k2", "k3"]).await;
            for row in &now {
                let Some(Value::Text(key)) = &row[0] else { panic!("{row:?}") };
                assert_eq!(row[1], newest(&rows, key, NOW, ttl).map(Value::Int), "seed {seed}, step {step}, {key}");
            }
        }
        for hours in -12..6 {
            let at = NOW + hours * HOUR;
            let sql = format!(
                "SELECT * FROM written FOR SYSTEM_TIME AS OF '{}' WHERE k IN ('k0', 'k1', 'k2', 'k3')",
                time(at)
            );
            for row in world.run(&sql).await {
                let Some(Value::Text(key)) = &row[0] else { panic!("{row:?}") };
                assert_eq!(row[1], newest(&rows, key, at, ttl).map(Value::Int), "seed {seed}, {key} at {}", time(at));
            }
        }
    }
}
