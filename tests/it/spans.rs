//! Folded spans of time change no answer: over dense events, random long windows and random parts of refreshing, what
//! is read with spans in the place of rows equals, to the last bit, what the source gives.

use crate::laws::{create_view_named, declare_sources, literal, random_event};
use crate::oracle::{Event, FUNCTIONS, Feature, HOUR, Kind, View, Window};
use crate::random::Random;
use crate::world::{Row, World};

const KINDS: [Kind; 3] = [Kind::BatchAggregates, Kind::StreamTiled, Kind::StreamContinuous];
const MINUTE: i64 = HOUR / 60;
const DAY: i64 = 24 * HOUR;
const DAYS: i64 = 8;
/// 1970-01-01 is in the middle of these days, or they are in 2024.
const BASES: [i64; 2] = [-2 * DAY, 1_704_067_200_000_000];

fn random_view(random: &mut Random, kind: Kind, base: i64) -> View {
    let interval = *random.pick(&[MINUTE / 6, MINUTE, 20 * MINUTE, HOUR]);
    let mut view = View {
        kind,
        interval,
        schedule: *random.pick(&[HOUR, 6 * HOUR, DAY]),
        delay: *random.pick(&[0, 0, 40 * MINUTE]),
        start: random.chance(30).then(|| base + DAY + HOUR * random.between(0, 30)),
        lifetime_start: None,
        ttl: None,
        compaction: kind == Kind::StreamContinuous && random.chance(30),
        known_at: false,
        by_s: random.chance(25),
        features: Vec::new(),
    };
    for _ in 0..random.between(3, 6) {
        let function = usize::try_from(random.below(FUNCTIONS.len() as u64)).expect("small");
        if view.by_s && !FUNCTIONS[function].1 {
            continue;
        }
        view.features.push(Feature {
            function,
            is_filtered: random.chance(20),
            window: random_window(random, &view, FUNCTIONS[function].1),
        });
    }
    // there is always a window that is long enough for days
    view.features.push(Feature { function: 0, is_filtered: false, window: Window::Last { size: 7 * DAY, offset: 0 } });
    view
}

fn random_window(random: &mut Random, view: &View, gives_one: bool) -> Window {
    match random.below(8) {
        0 => Window::Lifetime,
        1 if gives_one && !view.by_s => Window::Series { from: -2 * DAY, to: -6 * HOUR, size: DAY, step: 6 * HOUR },
        2 => Window::Last { size: DAY, offset: -DAY },
        3 => Window::Last { size: view.interval * random.between(1, 5), offset: 0 },
        _ => Window::Last { size: HOUR * random.between(4, 150), offset: 0 },
    }
}

/// Spread over the days, and many within some minutes.
fn random_events(random: &mut Random, base: i64) -> Vec<Event> {
    let bursts: Vec<i64> = (0..30).map(|_| base + random.between(0, DAYS * 24 * 60) * MINUTE).collect();
    (0..6000)
        .map(|event| {
            random_event(random, |random| match event % 4 {
                0..=2 => base + random.between(0, DAYS * DAY),
                _ => *random.pick(&bursts) + random.between(0, MINUTE),
            })
        })
        .collect()
}

/// What everybody asks: all keys as of a time, and the keys of a spine around it.
async fn ask(world: &mut World, time: i64, from_source: &str) -> Vec<Row> {
    world.run(&format!("SET from_source = {from_source}")).await;
    let mut rows = world.run(&format!("SELECT * FROM v FOR SYSTEM_TIME AS OF {} ORDER BY k", literal(time))).await;
    rows.extend(world.run(&spine(time)).await);
    rows
}

fn spine(time: i64) -> String {
    let asked: Vec<String> = ["a", "b", "c", "nobody"]
        .iter()
        .zip([0, 1, 90 * MINUTE, 7 * MINUTE])
        .map(|(key, later)| format!("('{key}', timestamptz {})", literal(time + later)))
        .collect();
    format!(
        "SELECT q.k AS asked, q.t, f.* FROM (VALUES {}) AS q(k, t) LEFT JOIN v FOR SYSTEM_TIME AS OF q.t AS f ON f.k = q.k ORDER BY 1",
        asked.join(", ")
    )
}

/// Whether spans are read for all keys as of a time, and for the spine.
async fn uses_spans(world: &mut World, time: i64) -> [bool; 2] {
    let mut uses = [false; 2];
    let all = format!("SELECT * FROM v FOR SYSTEM_TIME AS OF {}", literal(time));
    for (used, query) in uses.iter_mut().zip([all, spine(time)]) {
        let explained = world.run(&format!("EXPLAIN ANALYZE {query}")).await;
        *used = explained.iter().any(|line| format!("{line:?}").contains("Spans Read"));
    }
    uses
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_folded_spans_are_those_of_the_source() {
    let mut used = [[0; 2]; KINDS.len()];
    for seed in 0..12 {
        let mut random = Random::new(9000 + seed);
        let kind = usize::try_from(seed).expect("small") % KINDS.len();
        let base = *random.pick(&BASES);
        let view = random_view(&mut random, KINDS[kind], base);
        let events = random_events(&mut random, base);
        let mut world = World::at(base + (DAYS + 3) * DAY).await;
        declare_sources(&mut world, &events).await;
        world.run(&create_view_named("v", &view)).await;
        let what = format!("seed {seed}\n{}", create_view_named("v", &view));
        refresh_in_parts(&mut world, &view, base, &mut random).await;
        for _ in 0..2 {
            let time = base + random.between(4 * DAY, (DAYS + 1) * DAY);
            let expected = ask(&mut world, time, "on").await;
            assert_eq!(ask(&mut world, time, "off").await, expected, "{} {what}", literal(time));
            for (used, uses) in used[kind].iter_mut().zip(uses_spans(&mut world, time).await) {
                *used += usize::from(uses);
            }
        }
        // late events change spans in the middle
        let late = base + random.between(DAY, 3 * DAY);
        world.run(&format!("INSERT INTO events VALUES ('a', {}, 7.25, 2, 'x', NULL)", literal(late))).await;
        let day = late - late.rem_euclid(DAY);
        let (from, to) = (literal(day), literal(day + DAY));
        world.run("SET from_source = off").await;
        let refresh = format!("REFRESH FEATURE VIEW v FROM {from} TO {to} OVERWRITE");
        if world.try_run(&refresh).await.is_err() {
            world.run("REFRESH FEATURE VIEW v OVERWRITE").await;
        }
        let time = base + (DAYS * DAY) + random.between(0, DAY);
        let expected = ask(&mut world, time, "on").await;
        assert_eq!(ask(&mut world, time, "off").await, expected, "after a late event: {what}");
    }
    for (kind, [all_keys, of_spine]) in KINDS.iter().zip(used) {
        assert!(all_keys > 0 && of_spine > 0, "spans of {kind:?} were read {all_keys} and {of_spine} times");
    }
}

/// In some steps, so that days are completed by the job that writes their last rows.
async fn refresh_in_parts(world: &mut World, view: &View, base: i64, random: &mut Random) {
    let unit = if view.kind == Kind::BatchAggregates { view.schedule } else { view.interval };
    let border = |time: i64| literal(time - time.rem_euclid(unit));
    let first = base + 2 * DAY + random.between(0, DAY);
    let second = first + random.between(2 * HOUR, DAY).max(unit);
    world.run(&format!("REFRESH FEATURE VIEW v FROM {} TO {}", border(first), border(second))).await;
    // a view without a start is refreshed from its first row on
    world.run(&format!("REFRESH FEATURE VIEW v TO {}", border(first))).await;
    world.run(&format!("REFRESH FEATURE VIEW v FROM {}", border(second))).await;
}
