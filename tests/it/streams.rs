//! Pushed events: after every call the online store, AS OF now from both stores and from the source, and the brute force
//! say the same, whatever comes late, twice at one time, or of the future; across flushes, restarts and refreshes.

use granary::row::Value;

use crate::laws::{create_view_named, declare_sources_until, insert_into, literal, random_case};
use crate::oracle::{Event, Kind, View};
use crate::random::Random;
use crate::world::{Row, World, agree};

const CASES: u64 = 20;
const KEYS: [&str; 4] = ["a", "b", "c", "nobody"];

fn is_stream(view: &View) -> bool {
    matches!(view.kind, Kind::StreamTiled | Kind::StreamContinuous | Kind::StreamAttributes)
}

fn expected(view: &View, events: &[Event], keys: &[&str], now: i64) -> Vec<Row> {
    let answer = |key: &&str| {
        let mut row = vec![Some(Value::Text((*key).into()))];
        row.extend(view.answer(events, Some(key), Some(now)));
        row
    };
    keys.iter().map(answer).collect()
}

#[track_caller]
fn same(what: &str, view: &View, events: &[Event], found: &[Row], expected: &[Row]) {
    let same = found.len() == expected.len()
        && found.iter().flatten().zip(expected.iter().flatten()).all(|(a, b)| agree(a, b));
    let view = create_view_named("v", view);
    assert!(same, "{what}\n{view}\nfound    {found:?}\nexpected {expected:?}\nevents {events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_read_a_stream_view_says_the_same_after_every_call() {
    let mut n_cases = 0;
    for seed in 500.. {
        let mut random = Random::new(seed);
        let case = random_case(&mut random);
        if !is_stream(&case.view) {
            continue;
        }
        let now = case.questions.iter().find_map(|(_, t)| *t).expect("a time");
        // all events count that are in the mirror before the cut-over, or are pushed and not of before it
        let until = random.chance(50).then(|| now - random.between(0, 40) * case.view.interval / 4);
        let (mirror, pushed): (Vec<Event>, Vec<Event>) = match until {
            None => (Vec::new(), case.events.clone()),
            Some(_) => case.events.iter().cloned().partition(|_| random.chance(50)),
        };
        let mut world = World::at(now).await;
        declare_sources_until(&mut world, &mirror, until).await;
        world.run(&create_view_named("v", &case.view)).await;
        if until.is_some() {
            match world.try_run("REFRESH FEATURE VIEW v").await {
                Ok(_) => {}
                // Before the first complete period there is nothing to refresh.
                Err(error) if error.sqlstate() == "22023" => continue,
                Err(error) => panic!("seed {seed}: {error:?}"),
            }
        }
        let cut = until.unwrap_or(i64::MIN);
        let mut events: Vec<Event> = mirror.iter().filter(|event| event.ts < cut).cloned().collect();
        let mut n_rows = events.len();
        let mut rest = pushed.as_slice();
        let mut step = 0;
        while !rest.is_empty() {
            let call;
            (call, rest) = rest.split_at(usize::try_from(random.between(1, 9)).expect("small").min(rest.len()));
            insert_into(&mut world, "stream", call).await;
            events.extend(call.iter().filter(|event| event.ts >= cut).cloned());
            n_rows += call.iter().filter(|event| event.ts >= cut).count();
            match random.below(8) {
                0 | 1 => world.warehouse.ingest.flush().await,
                2 => world.warehouse.ingest.shorten().await.expect("shortens"),
                3 => world = world.again().await,
                4 if until.is_some() => drop(world.run("REFRESH FEATURE VIEW v OVERWRITE").await),
                5 => granary::materialize::expire(&world.warehouse).await,
                _ => {}
            }
            step += 1;
            let what = format!("seed {seed}, call {step}, until {until:?}");
            check(&mut world, &what, "v", &case.view, &events, now).await;
            let count = world.run("SELECT count(*) FROM stream").await;
            assert_eq!(count, [[Some(Value::Int(i64::try_from(n_rows).expect("few")))]], "{what}");
        }
        // one that is made when all events are there already
        world.run(&create_view_named("w", &case.view)).await;
        if until.is_some() {
            world.run("REFRESH FEATURE VIEW w").await;
        }
        let what = format!("seed {seed}, made last, until {until:?}");
        check(&mut world, &what, "w", &case.view, &events, now).await;
        let differences = world.run("VERIFY FEATURE VIEW v").await;
        assert_eq!(differences, Vec::<Row>::new(), "seed {seed}\n{}", create_view_named("v", &case.view));
        n_cases += 1;
        if n_cases == CASES {
            break;
        }
    }
}

async fn check(world: &mut World, what: &str, name: &str, view: &View, events: &[Event], now: i64) {
    let of_keys = expected(view, events, &KEYS, now);
    let keys = "WHERE k IN ('a', 'b', 'c', 'nobody') ORDER BY k";
    let online = world.run(&format!("SELECT * FROM {name} {keys}")).await;
    same(&format!("{what}: online"), view, events, &online, &of_keys);
    let as_of = format!("SELECT * FROM {name} FOR SYSTEM_TIME AS OF {} {keys}", literal(now));
    for from_source in ["off", "on"] {
        world.run(&format!("SET from_source = {from_source}")).await;
        let found = world.run(&as_of).await;
        same(&format!("{what}: as of now, from_source = {from_source}"), view, events, &found, &of_keys);
    }
    world.run("SET from_source = off").await;
    let seen = view.keys(events, now);
    let scan = format!("SELECT * FROM {name} FOR SYSTEM_TIME AS OF {} ORDER BY k", literal(now));
    let found = world.run(&scan).await;
    same(&format!("{what}: a scan as of now"), view, events, &found, &expected(view, events, &seen, now));
    world.run("RESET from_source").await;
}
