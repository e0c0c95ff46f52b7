//! Pushed events: after every call the online store, AS OF now from both stores and from the source, and the brute force
//! say the same, whatever comes late, twice at one time, or of the future; across flushes, restarts and refreshes.

use granary::access::Asker;
use granary::engine::{BoundView, EventProgram};
use granary::row::Value;
use granary_catalog::FeatureView;

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
        // what an event makes is decided by a gate as it comes
        let is_gated = until.is_none() && random.chance(60);
        let create = |name: &str| match (create_view_named(name, &case.view), is_gated) {
            (create, false) => create,
            (create, true) => {
                assert!(create.contains("FROM stream"), "{create}");
                create.replace("FROM stream", "FROM (SELECT s.* FROM stream s JOIN gate ON gate.closed = 0) stream")
            }
        };
        let mut is_open = true;
        let mut world = World::at(now).await;
        declare_sources_until(&mut world, &mirror, until).await;
        world.run("CREATE TABLE turns (n bigint)").await;
        world.run("CREATE VIEW gate AS SELECT count(*) % 2 AS closed FROM turns").await;
        world.run(&create("v")).await;
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
            events.extend(call.iter().filter(|event| event.ts >= cut && is_open).cloned());
            n_rows += call.iter().filter(|event| event.ts >= cut).count();
            match random.below(8) {
                0 | 1 => world.warehouse.ingest.flush().await,
                2 => world.warehouse.ingest.shorten().await.expect("shortens"),
                3 => world = world.again().await,
                4 if until.is_some() => drop(world.run("REFRESH FEATURE VIEW v OVERWRITE").await),
                5 => granary::materialize::expire(&world.warehouse).await,
                6 if is_gated => {
                    world.run("INSERT INTO turns VALUES (1)").await;
                    is_open = !is_open;
                }
                _ => {}
            }
            step += 1;
            let what = format!("seed {seed}, call {step}, until {until:?}");
            check(&mut world, &what, "v", &case.view, &events, now).await;
            let count = world.run("SELECT count(*) FROM stream").await;
            assert_eq!(count, [[Some(Value::Int(i64::try_from(n_rows).expect("few")))]], "{what}");
        }
        // one that is made when all events are there already
        world.run(&create("w")).await;
        if until.is_some() {
            world.run("REFRESH FEATURE VIEW w").await;
        }
        let what = format!("seed {seed}, made last, until {until:?}");
        let of_last = match is_gated {
            true => case.events.iter().filter(|_| is_open).cloned().collect(),
            false => events,
        };
        check(&mut world, &what, "w", &case.view, &of_last, now).await;
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

/// Events that come one by one must not be planned one by one.
#[tokio::test(flavor = "multi_thread")]
async fn queries_are_compiled_unless_the_time_decides() {
    let mut world = World::at(1_704_067_200_000_000).await;
    world.run("CREATE ENTITY e (k text)").await;
    world.run("CREATE STREAM s (k text, ts timestamptz, v float8, n bigint, tags text[]) FROM PUSH TIMESTAMP ts").await;
    world.run("CREATE FUNCTION half(x float8) RETURNS float8 LANGUAGE sql RETURN x / 2").await;
    world.run("CREATE FUNCTION late() RETURNS boolean LANGUAGE sql RETURN now() > '2024-01-01'").await;
    let queries = [
        ("SELECT * FROM s", true),
        ("SELECT k, ts, v FROM s WHERE v > 0 AND n < 5 OR k LIKE 'a%'", true),
        ("SELECT lower(k) AS k, ts, CASE WHEN v > 1 THEN v / n ELSE half(v) END AS w, tags[1] AS tag FROM s", true),
        ("SELECT k, ts, w + 1 AS x FROM (SELECT k, ts, v * 2 AS w FROM s WHERE n > 1) AS t WHERE w > 3", true),
        ("SELECT k, ts, v FROM s WHERE ts < now()", false),
        ("SELECT k, ts, v FROM s WHERE late()", false),
        ("SELECT k, ts, random() AS v FROM s", false),
    ];
    for (number, (query, is_compiled)) in queries.into_iter().enumerate() {
        world.run(&format!("CREATE FEATURE VIEW v{number} ENTITY e TIMESTAMP ts AS {query}")).await;
        let snapshot = world.warehouse.catalog.snapshot();
        let name = format!("v{number}");
        let view = snapshot.all::<FeatureView>().into_iter().find(|view| view.header.name == name).expect("the view");
        let workspace = view.header.home.workspace().expect("a workspace");
        let scope = world.warehouse.scope(workspace, vec!["public".to_owned()], Asker::Server);
        let planner = world.warehouse.planner(scope, world.now_us());
        let view = BoundView::of_feature_view(view).expect("bound");
        let program = EventProgram::compile(&planner, &view).await.expect("compiles");
        assert_eq!(program.is_some(), is_compiled, "{query}");
    }
    world.run("INSERT INTO s VALUES ('aB', '2023-12-31', 4, 2, '{x,y}'), ('aB', '2023-12-30', 0, 0, NULL)").await;
    let found = world.run("SELECT w, tag FROM v2 WHERE k = 'ab'").await;
    assert_eq!(found, [[Some(Value::Float(2.0)), Some(Value::Text("x".into()))]]);
    let found = world.run("SELECT x FROM v3 WHERE k = 'aB'").await;
    assert_eq!(found, [[Some(Value::Float(9.0))]]);
    // an event without a key makes no row, also beside others and where nothing is computed
    world.run("INSERT INTO s VALUES (NULL, '2023-12-31', 1, 1, NULL), ('c', '2023-12-31', 1, NULL, NULL)").await;
    let found = world.run("SELECT k, n FROM v0 WHERE n IS NULL OR n < 9 ORDER BY k").await;
    let text = |text: &str| Some(Value::Text(text.into()));
    assert_eq!(found, [[text("aB"), Some(Value::Int(2))], [text("c"), None]]);
}
