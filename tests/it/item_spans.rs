//! Stream views over keys with many events: what the online store answers out of spans and items is what AS OF answers,
//! to the last bit, and what the brute force does; whatever comes late, at one time, or of the future, across restarts.

use granary::engine::BoundView;
use granary::online::{FIRST_PUSHED, ItemRow};
use granary::row::{Key, Value};
use granary_catalog::FeatureView;

use crate::laws::{create_view_named, declare_sources_until, insert_into, literal, random_event};
use crate::oracle::{Event, FUNCTIONS, Feature, HOUR, Kind, View, Window};
use crate::random::Random;
use crate::world::{Row, World, agree};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * HOUR;
/// 1970-01-01 is in the middle of these days, or they are in 2024.
const BASES: [i64; 2] = [-2 * DAY, 1_704_067_200_000_000];
const KEYS: [&str; 4] = ["a", "b", "c", "nobody"];

/// Every function, each over some window.
fn view_of_all(random: &mut Random, kind: Kind, base: i64) -> View {
    let interval = *random.pick(&[10 * SECOND, MINUTE, HOUR]);
    let mut view = View {
        kind,
        interval,
        schedule: interval,
        delay: 0,
        start: random.chance(30).then(|| base + DAY + HOUR * random.between(0, 20)),
        lifetime_start: random.chance(50).then_some(base + HOUR),
        ttl: None,
        compaction: kind == Kind::StreamContinuous && random.chance(25),
        known_at: false,
        by_s: random.chance(30),
        features: Vec::new(),
    };
    let functions = (0..FUNCTIONS.len()).filter(|function| !view.by_s || FUNCTIONS[*function].1);
    for function in functions.collect::<Vec<_>>() {
        let unit = if kind == Kind::StreamTiled { interval } else { 1 };
        let window = match random.below(8) {
            0 => Window::Lifetime,
            1 if FUNCTIONS[function].1 && !view.by_s => {
                Window::Series { from: -2 * DAY, to: -6 * HOUR, size: DAY, step: 6 * HOUR }
            }
            2 => Window::Last { size: DAY, offset: -DAY },
            3 => Window::Last { size: interval * random.between(1, 5), offset: 0 },
            4 => Window::Last { size: 3 * DAY, offset: 0 },
            _ => Window::Last { size: (random.between(HOUR, 80 * HOUR) / unit).max(1) * unit, offset: 0 },
        };
        view.features.push(Feature { function, is_filtered: random.chance(20), window });
    }
    if view.start.is_some() && kind == Kind::StreamTiled && view.lifetime_start.is_none() {
        view.start = view.start.map(|start| start - start.rem_euclid(interval));
    }
    view
}

/// Around `base`, over some days: many around the ends of minutes, hours and days, in one second, at one time.
fn random_time(random: &mut Random, base: i64) -> i64 {
    let day = base + DAY * random.between(0, 4);
    match random.below(6) {
        0 => base + random.between(0, 5 * DAY),
        1 => day + HOUR * random.between(0, 2) + random.between(-2, 2),
        2 => day + random.between(-30, 30) * SECOND,
        3 => day + HOUR + MINUTE * random.between(0, 2) + random.between(-40_000, 40_000),
        4 => day + 30 * MINUTE,
        _ => day + random.between(0, 10 * MINUTE),
    }
}

fn events(random: &mut Random, n: u64, base: i64) -> Vec<Event> {
    let mut events: Vec<Event> = (0..n).map(|_| random_event(random, |random| random_time(random, base))).collect();
    for event in &mut events {
        // seldom enough for sums of many
        event.v = event.v.filter(|v| v.is_finite() || random.chance(2));
    }
    // mostly in order, some late
    events.sort_by_key(|event| event.ts);
    for _ in 0..n / 10 {
        let (from, to) = (random.below(n), random.below(n));
        events.swap(usize::try_from(from).expect("small"), usize::try_from(to).expect("small"));
    }
    events
}

fn keys_of_spans(world: &World, view: u64) -> usize {
    let reader = world.warehouse.online.reader().expect("reads");
    let has_spans = |key: &&&str| {
        let key = Key::encode([Some(&Value::Text((***key).into()))]).expect("not null");
        reader.spans_form(view, &key).expect("reads").is_some()
    };
    KEYS.iter().filter(has_spans).count()
}

fn bound(world: &World, name: &str) -> BoundView {
    let snapshot = world.warehouse.catalog.snapshot();
    let view = snapshot.all::<FeatureView>().into_iter().find(|view| view.header.name == name).expect("the view");
    BoundView::of_feature_view(view).expect("binds")
}

async fn check(world: &mut World, what: &str, name: &str, view: &View, events: &[Event]) {
    let now = world.now_us();
    let keys = "WHERE k IN ('a', 'b', 'c', 'nobody') ORDER BY k";
    let online = world.run(&format!("SELECT * FROM {name} {keys}")).await;
    let as_of = format!("SELECT * FROM {name} FOR SYSTEM_TIME AS OF {} {keys}", literal(now));
    let declared = create_view_named(name, view);
    for from_source in ["off", "on"] {
        world.run(&format!("SET from_source = {from_source}")).await;
        let found = world.run(&as_of).await;
        assert_eq!(online, found, "{what}: as of {}, from_source = {from_source}\n{declared}", literal(now));
    }
    world.run("RESET from_source").await;
    for (key, found) in KEYS.iter().zip(&online) {
        let expected = view.answer(events, Some(key), Some(now));
        let found = &found[1..];
        let same = found.len() == expected.len() && found.iter().zip(&expected).all(|(a, b)| agree(a, b));
        assert!(same, "{what}: {key} at {}\n{declared}\nfound    {found:?}\nexpected {expected:?}", literal(now));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_of_a_key_are_answered_as_if_each_were_read() {
    for seed in 0..10 {
        let mut random = Random::new(7000 + seed);
        let base = *random.pick(&BASES);
        let kind = [Kind::StreamContinuous, Kind::StreamTiled][usize::try_from(seed).expect("small") % 2];
        let view = view_of_all(&mut random, kind, base);
        // some are of the future
        let now = base + 4 * DAY + HOUR + *random.pick(&[-1, 0, 1, 12_345_678]);
        let all = events(&mut random, 2400, base);
        let mut world = World::at(now).await;
        declare_sources_until(&mut world, &[], None).await;
        world.run(&create_view_named("v", &view)).await;
        let id = bound(&world, "v").id;
        let mut n_pushed = 0;
        for step in 0.. {
            let rest = &all[n_pushed..];
            if rest.is_empty() {
                break;
            }
            let call = &rest[..rest.len().min(usize::try_from(random.between(1, 700)).expect("small"))];
            insert_into(&mut world, "stream", call).await;
            n_pushed += call.len();
            match random.below(6) {
                0 => world.warehouse.ingest.flush().await,
                1 => world = world.again().await,
                2 => granary::materialize::expire(&world.warehouse).await,
                _ => {}
            }
            check(&mut world, &format!("seed {seed}, call {step}"), "v", &view, &all[..n_pushed]).await;
        }
        let what = format!("seed {seed}");
        assert_eq!(keys_of_spans(&world, id), 3, "{what}");
        for later in [DAY / 2 + 1, DAY, 2 * DAY] {
            world = world.again_at(now + later).await;
            granary::materialize::expire(&world.warehouse).await;
            check(&mut world, &format!("{what}, {later} later"), "v", &view, &all).await;
        }
        assert_eq!(world.run("VERIFY FEATURE VIEW v").await, Vec::<Row>::new(), "{what}");
    }
}

/// Other features over the same rows need other states, which are made when the view is changed.
#[tokio::test(flavor = "multi_thread")]
async fn spans_follow_the_view() {
    let mut random = Random::new(7100);
    let base = BASES[1];
    let mut view = View {
        kind: Kind::StreamContinuous,
        interval: HOUR,
        schedule: HOUR,
        delay: 0,
        start: None,
        lifetime_start: None,
        ttl: None,
        compaction: false,
        known_at: false,
        by_s: false,
        features: Vec::new(),
    };
    let feature = |name: &str, size: i64| Feature {
        function: FUNCTIONS.iter().position(|(function, _)| *function == name).expect("a function"),
        is_filtered: false,
        window: Window::Last { size, offset: 0 },
    };
    view.features = vec![feature("sum(v)", 3 * DAY), feature("stddev_pop(v)", DAY)];
    let all = events(&mut random, 1500, base);
    let mut world = World::at(base + 4 * DAY).await;
    declare_sources_until(&mut world, &[], None).await;
    world.run(&create_view_named("v", &view)).await;
    insert_into(&mut world, "stream", &all).await;
    let id = bound(&world, "v").id;
    check(&mut world, "first", "v", &view, &all).await;
    // another window, then another state, of the same rows
    for features in [
        vec![feature("sum(v)", 30 * MINUTE), feature("stddev_pop(v)", DAY)],
        vec![feature("sum(v)", 3 * DAY), feature("stddev_pop(v)", DAY), feature("kurtosis(n)", 2 * DAY)],
    ] {
        view.features = features;
        world.run(&create_view_named("v", &view).replacen("CREATE", "CREATE OR REPLACE", 1)).await;
        check(&mut world, "changed", "v", &view, &all).await;
        let form = bound(&world, "v").item_spans().expect("has spans").form;
        let reader = world.warehouse.online.reader().expect("reads");
        let key = Key::encode([Some(&Value::Text("a".into()))]).expect("not null");
        assert_eq!(reader.spans_form(id, &key).expect("reads"), Some(form), "spans of another view");
    }
    world.run("DROP FEATURE VIEW v").await;
    assert_eq!(keys_of_spans(&world, id), 0);
    world.run(&create_view_named("w", &view)).await;
    check(&mut world, "made when all events were there", "w", &view, &all).await;
    let id = bound(&world, "w").id;
    assert_eq!(keys_of_spans(&world, id), 3);
}

/// `REFRESH … ONLINE OVERWRITE` makes all that a stream view has online again, out of log, offline store and mirror.
#[tokio::test(flavor = "multi_thread")]
async fn one_statement_rebuilds_what_is_online() {
    for (seed, kind) in [(7200, Kind::StreamContinuous), (7201, Kind::StreamTiled)] {
        let mut random = Random::new(seed);
        let base = BASES[1];
        let mut view = view_of_all(&mut random, kind, base);
        view.start = None;
        view.by_s = false;
        let until = base + 2 * DAY;
        let (mirror, pushed): (Vec<Event>, Vec<Event>) =
            events(&mut random, 1500, base).into_iter().partition(|event| event.ts < until);
        let mut world = World::at(base + 4 * DAY + HOUR).await;
        declare_sources_until(&mut world, &mirror, Some(until)).await;
        world.run(&create_view_named("v", &view)).await;
        world.run("REFRESH FEATURE VIEW v").await;
        let (flushed, logged) = pushed.split_at(pushed.len() / 2);
        insert_into(&mut world, "stream", flushed).await;
        world.warehouse.ingest.flush().await;
        insert_into(&mut world, "stream", logged).await;
        let view = bound(&world, "v");
        let keys = ["a", "b", "c"].map(|key| Key::encode([Some(&Value::Text(key.into()))]).expect("not null"));
        let stored = |world: &World| {
            let reader = world.warehouse.online.reader().expect("reads");
            let items = |key: &Key| reader.items(view.id, key, i64::MIN..i64::MAX).expect("items");
            let forms = keys.iter().map(|key| reader.spans_form(view.id, key).expect("reads")).collect::<Vec<_>>();
            (keys.iter().map(items).collect::<Vec<_>>(), forms)
        };
        let answers = "SELECT * FROM v WHERE k IN ('a', 'b', 'c') ORDER BY k";
        let before = (world.run(answers).await, stored(&world));
        let online = std::sync::Arc::clone(&world.warehouse.online);
        // a key is lost, some rows of another, and one is there that nobody pushed
        online.remove_keys(view.id, [&keys[1]]).expect("removes");
        online.remove_items(view.id, base + DAY..base + 3 * DAY, view.item_spans().as_ref()).expect("removes");
        let mut strange = before.1.0[0].iter().rfind(|item| item.sequence >= FIRST_PUSHED).expect("an event").clone();
        strange.sequence += 1;
        let strange = ItemRow {
            key: keys[0].clone(),
            time_us: strange.time_us,
            sequence: strange.sequence,
            secondary: strange.secondary,
            payload: strange.payload,
        };
        online.put_items(view.id, vec![strange], view.item_spans().as_ref()).expect("puts");
        drop(online);
        assert_ne!(stored(&world).0, before.1.0);
        world.run("REFRESH FEATURE VIEW v ONLINE OVERWRITE").await;
        assert_eq!((world.run(answers).await, stored(&world)), before, "seed {seed}");
        assert_eq!(world.run("VERIFY FEATURE VIEW v").await, Vec::<Row>::new(), "seed {seed}");
    }
}
