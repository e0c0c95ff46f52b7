//! The laws, as properties over random views, windows, events and questions: the warehouse equals the brute force
//! from the source and from the store; nothing later is ever seen; a refresh run twice is a refresh run once; and the
//! online store answers at its time what AS OF answers.

use granary::row::Value;

use crate::oracle::{Event, FILTER, FUNCTIONS, Feature, HOUR, Kind, View, Window};
use crate::random::Random;
use crate::world::{Row, World, agree};

const CASES: u64 = 24;
const KINDS: [Kind; 5] =
    [Kind::BatchAggregates, Kind::BatchAttributes, Kind::StreamTiled, Kind::StreamContinuous, Kind::StreamAttributes];
/// 1969-12-31 and 2024-01-01: before 1970 floors go the other way.
const BASES: [i64; 2] = [-24 * HOUR, 1_704_067_200_000_000];

pub struct Case {
    pub view: View,
    pub events: Vec<Event>,
    pub questions: Vec<(Option<&'static str>, Option<i64>)>,
    /// after everything
    pub end: i64,
}

pub fn random_case(random: &mut Random) -> Case {
    let base = *random.pick(&BASES);
    random_case_at(random, base)
}

/// Its times are around `base`.
pub fn random_case_at(random: &mut Random, base: i64) -> Case {
    let kind = *random.pick(&KINDS);
    let compaction = kind == Kind::StreamContinuous && random.chance(50);
    // with compaction windows matter that are longer than two days, and than ten
    let intervals = if compaction { [12 * HOUR, 24 * HOUR, 48 * HOUR] } else { [HOUR, 10 * HOUR / 60, 6 * HOUR] };
    let interval = *random.pick(&intervals);
    let schedule = interval * random.between(1, 3);
    let tick = interval / 4;
    let time = |random: &mut Random| {
        let jitter = *random.pick(&[0, 0, 0, 1, -1, tick / 7]);
        base + tick * random.between(-20, 60) + jitter
    };
    let mut events: Vec<Event> = (0..random.below(70)).map(|_| random_event(random, time)).collect();
    for event in &mut events {
        event.known = random_known(random, event.ts, tick);
    }
    let mut view = View {
        kind,
        interval,
        schedule,
        delay: if random.chance(50) { 0 } else { tick * random.between(1, 9) },
        start: random.chance(30).then(|| time(random)),
        lifetime_start: None,
        ttl: random.chance(60).then(|| tick * random.between(1, 20)),
        compaction,
        known_at: random.chance(40),
        by_s: false,
        features: Vec::new(),
    };
    if matches!(kind, Kind::BatchAggregates | Kind::StreamTiled | Kind::StreamContinuous) {
        view.ttl = None;
        if random.chance(40) {
            view.lifetime_start = Some((base / interval + random.between(-5, 10)) * interval);
        }
        view.by_s = random.chance(30);
        for _ in 0..random.between(3, 8) {
            let function = usize::try_from(random.below(FUNCTIONS.len() as u64)).expect("small");
            let gives_one = FUNCTIONS[function].1;
            // Arrays of arrays there are none.
            if view.by_s && !gives_one {
                continue;
            }
            let window = random_window(random, interval, gives_one && !view.by_s);
            view.features.push(Feature { function, is_filtered: random.chance(20), window });
        }
        if view.features.is_empty() {
            let window = random_window(random, interval, false);
            view.features.push(Feature { function: 0, is_filtered: false, window });
        }
        // LIFETIME begins at a tile's border; without lifetime_start that is start.
        let has_lifetime = view.features.iter().any(|feature| matches!(feature.window, Window::Lifetime));
        if has_lifetime && kind != Kind::StreamContinuous && view.lifetime_start.is_none() {
            view.start = view.start.map(|start| start - start.rem_euclid(interval));
        }
    }
    let mut questions: Vec<_> = (0..50)
        .map(|_| {
            let key = *random.pick(&[Some("a"), Some("b"), Some("c"), Some("nobody"), None]);
            let t = if random.chance(5) { None } else { Some(time(random) + view.delay * random.between(0, 1)) };
            (key, t)
        })
        .collect();
    questions.push(questions[0]);
    Case { view, events, questions, end: base + tick * 100 + 12 * schedule }
}

pub fn random_event(random: &mut Random, time: impl Fn(&mut Random) -> i64) -> Event {
    Event {
        key: *random.pick(&[Some("a"), Some("a"), Some("b"), Some("c"), None]),
        ts: time(random),
        v: random.chance(80).then(|| match random.below(100) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            _ => random.between(-40, 40) as f64 / 4.0,
        }),
        n: random.chance(80).then(|| random.between(-3, 5)),
        s: random.chance(80).then(|| *random.pick(&["x", "y", "z", ""])),
        known: None,
    }
}

/// Mostly at once or soon; sometimes much later, before the event, or never.
fn random_known(random: &mut Random, ts: i64, tick: i64) -> Option<i64> {
    match random.below(10) {
        0 => None,
        1..=4 => Some(ts),
        5 => Some(ts - tick),
        6 => Some(ts + 1),
        _ => Some(ts + tick * random.between(1, 30)),
    }
}

fn random_window(random: &mut Random, interval: i64, may_be_series: bool) -> Window {
    match random.below(10) {
        0 | 1 => Window::Lifetime,
        2 | 3 if may_be_series => {
            let size = interval * random.between(1, 3);
            let to = -interval * random.between(0, 2);
            Window::Series {
                from: to - size - interval * random.between(0, 4),
                to,
                size,
                step: interval * random.between(1, 2),
            }
        }
        _ => Window::Last {
            size: interval * random.between(1, 9),
            offset: -interval * random.between(0, 3).max(0) * random.between(0, 1),
        },
    }
}

pub fn literal(us: i64) -> String {
    format!("'{}'", granary_sql::timestamp::format_timestamp(us))
}

fn interval_text(us: i64) -> String {
    format!("'{us} microseconds'")
}

fn sql_value<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or("NULL".to_owned(), |value| value.to_string())
}

pub fn quoted(value: Option<&str>) -> String {
    value.map_or("NULL".to_owned(), |value| format!("'{value}'"))
}

fn create_view(view: &View) -> String {
    create_view_named("v", view)
}

pub fn create_view_named(name: &str, view: &View) -> String {
    let mut options = vec!["buckets = 2".to_owned()];
    let is_stream = matches!(view.kind, Kind::StreamTiled | Kind::StreamContinuous | Kind::StreamAttributes);
    if !is_stream {
        options.push(format!("schedule = {}", interval_text(view.schedule)));
        options.push(format!("data_delay = {}", interval_text(view.delay)));
    }
    if matches!(view.kind, Kind::BatchAggregates | Kind::StreamTiled) {
        options.push(format!("aggregation_interval = {}", interval_text(view.interval)));
    }
    for (name, value) in [("start", view.start), ("lifetime_start", view.lifetime_start)] {
        options.extend(value.map(|us| format!("{name} = {}", literal(us))));
    }
    options.extend(view.ttl.map(|us| format!("ttl = {}", interval_text(us))));
    options.extend(view.compaction.then(|| "compaction = true".to_owned()));
    options.extend(view.known_at.then(|| "known_at = known".to_owned()));
    let features: Vec<String> = view
        .features
        .iter()
        .enumerate()
        .map(|(index, feature)| {
            let window = match feature.window {
                Window::Last { size, offset: 0 } => format!("LAST {}", interval_text(size)),
                Window::Last { size, offset } => {
                    format!("LAST {} OFFSET {}", interval_text(size), interval_text(offset))
                }
                Window::Lifetime => "LIFETIME".to_owned(),
                Window::Series { from, to, size, step } => format!(
                    "SERIES FROM {} TO {} SIZE {} STEP {}",
                    interval_text(from),
                    interval_text(to),
                    interval_text(size),
                    interval_text(step)
                ),
            };
            let filter = if feature.is_filtered { FILTER } else { "" };
            format!("{} {filter} OVER ({window}) AS f{index}", FUNCTIONS[feature.function].0)
        })
        .collect();
    let features = if features.is_empty() { String::new() } else { format!("FEATURES ({})", features.join(", ")) };
    let by = if view.by_s { "AGGREGATE BY s" } else { "" };
    let source = if is_stream { "stream" } else { "source" };
    // of attributes it is a feature, too
    let known = if view.known_at { ", known" } else { "" };
    format!(
        "CREATE FEATURE VIEW {name} ENTITY thing TIMESTAMP ts {by} {features} WITH ({}) AS SELECT k, ts, v, n, s, n > 0 AS p{known} FROM {source}",
        options.join(", ")
    )
}

/// Declares the case's view over `events`.
async fn declare(world: &mut World, case: &Case, events: &[Event]) {
    declare_sources(world, events).await;
    world.run("CREATE TABLE questions (id bigint, k text, t timestamptz)").await;
    let rows: Vec<String> = case
        .questions
        .iter()
        .enumerate()
        .map(|(id, (key, t))| format!("({id}, {}, {})", quoted(*key), t.map_or("NULL".to_owned(), literal)))
        .collect();
    world.run(&format!("INSERT INTO questions VALUES {}", rows.join(", "))).await;
    world.run(&create_view(&case.view)).await;
}

/// The entity, a source that reads `events`, and a stream whose mirror is the source.
pub async fn declare_sources(world: &mut World, events: &[Event]) {
    let end_of_mirrors = 2_208_988_800_000_000;
    declare_sources_until(world, events, Some(end_of_mirrors)).await;
}

/// The same with a cut-over; without one the stream has no mirror.
pub async fn declare_sources_until(world: &mut World, events: &[Event], until: Option<i64>) {
    world.run("CREATE TABLE events (k text, ts timestamptz, v float8, n bigint, s text, known timestamptz)").await;
    insert(world, events).await;
    world.run("CREATE ENTITY thing (k text)").await;
    world.run("CREATE SOURCE source AS SELECT * FROM events TIMESTAMP ts").await;
    let backfill = until.map(|until| format!("BACKFILL FROM source UNTIL {}", literal(until)));
    let columns = "k text, ts timestamptz, v float8, n bigint, s text, known timestamptz";
    let backfill = backfill.unwrap_or_default();
    world.run(&format!("CREATE STREAM stream ({columns}) FROM PUSH TIMESTAMP ts {backfill}")).await;
}

async fn insert(world: &mut World, events: &[Event]) {
    insert_into(world, "events", events).await;
}

pub async fn insert_into(world: &mut World, table: &str, events: &[Event]) {
    if events.is_empty() {
        return;
    }
    let rows: Vec<String> = events
        .iter()
        .map(|event| {
            format!(
                "({}, {}, {}, {}, {}, {})",
                quoted(event.key),
                literal(event.ts),
                event.v.map_or("NULL".to_owned(), |v| format!("'{v}'")),
                sql_value(event.n),
                quoted(event.s),
                event.known.map_or("NULL".to_owned(), literal)
            )
        })
        .collect();
    world.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
}

const ASK: &str =
    "SELECT q.id, f.* FROM questions q LEFT JOIN v FOR SYSTEM_TIME AS OF q.t AS f ON f.k = q.k ORDER BY q.id";

/// All questions' answers without id and key.
async fn ask(world: &mut World, from_source: bool) -> Vec<Row> {
    world.run(if from_source { "SET from_source = on" } else { "SET from_source = off" }).await;
    world.run(ASK).await.into_iter().map(|row| row[2..].to_vec()).collect()
}

#[track_caller]
fn check(case: &Case, seed: u64, what: &str, answers: &[Row], expected: &[Row]) {
    assert_eq!(answers.len(), expected.len(), "seed {seed}: {what}: one row for every question");
    for ((question, answer), expected) in case.questions.iter().zip(answers).zip(expected) {
        let same = answer.len() == expected.len() && answer.iter().zip(expected).all(|(a, b)| agree(a, b));
        assert!(
            same,
            "seed {seed}: {what}: {question:?}\n{}\nanswered {answer:?}\nexpected {expected:?}\nevents {:#?}",
            create_view(&case.view),
            case.events
        );
    }
}

fn expected(case: &Case) -> Vec<Row> {
    case.questions.iter().map(|(key, t)| case.view.answer(&case.events, *key, *t)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_equal_the_brute_force_from_source_and_store_and_a_second_refresh_changes_nothing() {
    for seed in 0..CASES {
        let mut random = Random::new(seed);
        let case = random_case(&mut random);
        let mut world = World::at(case.end).await;
        declare(&mut world, &case, &case.events).await;
        let expected = expected(&case);
        let from_source = ask(&mut world, true).await;
        check(&case, seed, "from the source", &from_source, &expected);
        refresh_in_parts(&mut world, &case, &mut random).await;
        let stored = ask(&mut world, false).await;
        check(&case, seed, "from the store", &stored, &expected);
        assert_eq!(stored, from_source, "seed {seed}: to the last bit\n{}", create_view(&case.view));
        let rows = stored_rows(&world).await;
        world.run("REFRESH FEATURE VIEW v OVERWRITE").await;
        assert_eq!(ask(&mut world, false).await, stored, "seed {seed}: run twice = once");
        assert_eq!(stored_rows(&world).await, rows, "seed {seed}: run twice stores the same rows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_has_the_keys_that_exist_and_their_answers_from_source_and_store() {
    for seed in 400..400 + CASES {
        let mut random = Random::new(seed);
        let case = random_case(&mut random);
        let mut world = World::at(case.end).await;
        declare(&mut world, &case, &case.events).await;
        refresh_in_parts(&mut world, &case, &mut random).await;
        for time in case.questions.iter().filter_map(|(_, t)| *t).take(6) {
            let expected: Vec<Row> = case
                .view
                .keys(&case.events, time)
                .into_iter()
                .map(|key| {
                    let mut row = vec![Some(Value::Text(key.into()))];
                    row.extend(case.view.answer(&case.events, Some(key), Some(time)));
                    row
                })
                .collect();
            let scan = format!("SELECT * FROM v FOR SYSTEM_TIME AS OF {} ORDER BY k", literal(time));
            for from_source in ["on", "off"] {
                world.run(&format!("SET from_source = {from_source}")).await;
                let found = world.run(&scan).await;
                let same = found.len() == expected.len()
                    && found.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| agree(a, b));
                assert!(
                    same,
                    "seed {seed} at {time}, from_source = {from_source}\n{}\nfound {found:?}\nexpected {expected:?}",
                    create_view(&case.view)
                );
            }
        }
    }
}

/// Two ranges that meet at a period's border.
async fn refresh_in_parts(world: &mut World, case: &Case, random: &mut Random) {
    let unit = case.view.schedule;
    let border = (case.end / unit - random.between(12, 30)) * unit;
    // Before the view's start there may be nothing to refresh.
    let border = border.max(case.view.start.map_or(i64::MIN, |start| (start / unit + 2) * unit));
    world.run(&format!("REFRESH FEATURE VIEW v TO {}", literal(border))).await;
    world.run(&format!("REFRESH FEATURE VIEW v FROM {}", literal(border))).await;
    let error = world.try_run("REFRESH FEATURE VIEW v").await.expect_err("the range is done");
    assert_eq!(error.sqlstate(), "55000", "{error:?}");
}

async fn stored_rows(world: &World) -> u64 {
    let snapshot = world.warehouse.catalog.snapshot();
    let view = snapshot.all::<granary_catalog::FeatureView>()[0];
    let table = granary::engine::BoundView::of_feature_view(view).expect("binds").offline_table();
    let table = world.warehouse.offline.table(&table).await.expect("opens").expect("is there");
    table.files.iter().map(|file| file.rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_later_than_the_asked_time_is_ever_seen() {
    for seed in 100..100 + CASES / 2 {
        let mut random = Random::new(seed);
        let mut case = random_case(&mut random);
        let mut world = World::at(case.end).await;
        declare(&mut world, &case, &case.events).await;
        // Only questions up to a time, and then events from after it.
        let times: Vec<i64> = case.questions.iter().filter_map(|(_, t)| *t).collect();
        let limit = times[times.len() / 2];
        world.run(&format!("CREATE VIEW early AS SELECT * FROM questions WHERE t <= {}", literal(limit))).await;
        world.run("SET from_source = on").await;
        let ask = ASK.replace("questions", "early");
        let before = world.run(&ask).await;
        let mut later: Vec<Event> =
            (0..40).map(|_| random_event(&mut random, |random| limit + random.between(1, 100) * HOUR / 4)).collect();
        // Known before they happened, even.
        later.iter_mut().for_each(|event| event.known = Some(limit - HOUR));
        insert(&mut world, &later).await;
        assert_eq!(world.run(&ask).await, before, "seed {seed}");
        case.events.extend(later);
        if case.view.known_at {
            // Rows of any time that get known later.
            let mut late: Vec<Event> = (0..40)
                .map(|_| random_event(&mut random, |random| limit + random.between(-100, 100) * HOUR / 4))
                .collect();
            for event in &mut late {
                event.known = random.chance(80).then(|| limit + random.between(1, 1000) * HOUR / 100);
            }
            insert(&mut world, &late).await;
            assert_eq!(world.run(&ask).await, before, "seed {seed}: rows that were not known");
            case.events.extend(late);
        }
        check(&case, seed, "with later events", &self::ask(&mut world, true).await, &expected(&case));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_store_answers_at_its_time_what_as_of_answers() {
    for seed in 200..200 + CASES {
        let mut random = Random::new(seed);
        let case = random_case(&mut random);
        // Now is among the events, so that windows are neither empty nor whole. A stream's mirror ends before now.
        let now = case.questions.iter().find_map(|(_, t)| *t).expect("a time");
        let mut world = World::at(now).await;
        let events: Vec<Event> = case.events.iter().filter(|event| event.ts < now).cloned().collect();
        declare(&mut world, &case, &events).await;
        match world.try_run("REFRESH FEATURE VIEW v").await {
            Ok(_) => {}
            // Before the first complete period there is nothing to refresh.
            Err(error) if error.sqlstate() == "22023" => continue,
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
        let online = world.run("SELECT * FROM v WHERE k IN ('a', 'b', 'c', 'nobody') ORDER BY k").await;
        world.run("SET from_source = on").await;
        let as_of = format!(
            "SELECT * FROM v FOR SYSTEM_TIME AS OF {} WHERE k IN ('a', 'b', 'c', 'nobody') ORDER BY k",
            literal(now)
        );
        let expected = world.run(&as_of).await;
        assert_eq!(online, expected, "seed {seed} at {now}: {}", create_view(&case.view));
        assert_eq!(online.len(), 4, "one row a key, known or not");
        let brute: Vec<Row> = ["a", "b", "c", "nobody"]
            .iter()
            .map(|key| {
                let mut row = vec![Some(Value::Text((*key).into()))];
                row.extend(case.view.answer(&events, Some(key), Some(now)));
                row
            })
            .collect();
        for (online, brute) in online.iter().zip(&brute) {
            assert!(online.iter().zip(brute).all(|(a, b)| agree(a, b)), "seed {seed}: {online:?} {brute:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_joined_on_its_validity_equals_as_of() {
    for seed in 300..300 + CASES {
        let mut random = Random::new(seed);
        let case = random_case(&mut random);
        let mut world = World::at(case.end).await;
        declare(&mut world, &case, &case.events).await;
        world.run("SET from_source = on").await;
        let times: Vec<i64> = case.questions.iter().filter_map(|(_, t)| *t).collect();
        let (first, last) = (*times.iter().min().expect("times"), *times.iter().max().expect("times"));
        let (a, b) = (literal(first - random.between(0, 1)), literal(last + 1));
        let history = format!("v FOR SYSTEM_TIME FROM {a} TO {b} AS h");
        let joined = format!(
            "SELECT q.id, h.* FROM questions q LEFT JOIN {history}
             ON h.k = q.k AND q.t >= h._valid_from AND q.t < h._valid_to ORDER BY q.id"
        );
        let joined = world.run(&joined).await;
        let expected = expected(&case);
        assert_eq!(joined.len(), expected.len(), "seed {seed}: at most one row of the history holds");
        for (((key, t), row), expected) in case.questions.iter().zip(&joined).zip(&expected) {
            let answer = &row[2..row.len() - 2];
            // Where no row holds, the answer is that of an empty window, or NULL before the start.
            let filled = if row[1].is_none() { case.view.answer(&[], Some("nobody"), *t) } else { answer.to_vec() };
            let same = filled.iter().zip(expected).all(|(a, b)| agree(a, b));
            assert!(same, "seed {seed}: {key:?} {t:?}\n{}\n{row:?}\n{expected:?}", create_view(&case.view));
        }
        let ends =
            world.run(&format!("SELECT count(*) FROM {history} WHERE _valid_from < {a} OR _valid_to > {b}")).await;
        assert_eq!(ends, [[Some(Value::Int(0))]], "seed {seed}: trimmed to the range");
    }
}
