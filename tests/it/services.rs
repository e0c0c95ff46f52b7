//! The laws of services and realtime views, over random views, events and questions: a service's features are those
//! of its views read one by one, as of a time and as of now, from the source and from the stores; and a realtime
//! feature is its expression written by hand over the joined views, with what functions and templates stand for.

use crate::laws::{Case, create_view_named, declare_sources, literal, quoted, random_case_at};
use crate::oracle::{HOUR, Kind};
use crate::random::Random;
use crate::world::{Row, World};

const CASES: u64 = 12;
const BASE: i64 = 1_704_067_200_000_000;

/// Three views of one entity, of which the first has a second, renamed key as well.
const SERVICE: &str = "CREATE FEATURE SERVICE svc AS a, b AS second, a AS again KEYS (k = other), r, c";

fn feature(case: &Case, index: usize) -> String {
    match case.view.kind {
        Kind::BatchAttributes | Kind::StreamAttributes => ["v", "n", "s"][index % 3].to_owned(),
        _ => format!("f{}", index % case.view.features.len()),
    }
}

/// An expression of the realtime view, and what it is without functions of users and templates. `{amount}` and `{time}`
/// are what a question brings.
#[derive(Debug)]
struct Expression {
    in_view: String,
    by_hand: String,
}

const FUNCTIONS: [&str; 2] = [
    "CREATE FUNCTION signed(missing bool, x float8) RETURNS float8 LANGUAGE sql
     AS 'SELECT CASE WHEN missing THEN -x ELSE x / 3 END'",
    "CREATE FUNCTION signed_twice(missing bool, double precision) RETURNS double precision STRICT
     RETURN signed(missing, signed(NOT missing, $2)) + 1",
];

fn expressions(cases: &[Case], random: &mut Random) -> Vec<Expression> {
    let mut pick = |alias: &str, case: &Case| {
        let index = usize::try_from(random.below(8)).expect("small");
        format!("{alias}.{}", feature(case, index))
    };
    let (x, y) = (pick("a", &cases[0]), pick("b", &cases[1]));
    let same = |text: String| Expression { in_view: text.clone(), by_hand: text };
    vec![
        same(x.clone()),
        same(format!("{x} IS NULL AND {y} IS NOT NULL")),
        Expression {
            in_view: format!("signed({y} IS NULL, {{amount}})"),
            by_hand: format!("CASE WHEN {y} IS NULL THEN -{{amount}} ELSE {{amount}} / 3 END"),
        },
        same("extract(epoch FROM {time}) + {amount}".to_owned()),
        Expression {
            in_view: format!("signed_twice({x} IS NULL, {{amount}} + 1)"),
            by_hand: format!(
                "CASE WHEN {x} IS NULL THEN -(({{amount}} + 1) / 3) ELSE (-({{amount}} + 1)) / 3 END + 1"
            ),
        },
        Expression {
            in_view: format!(
                "render_template('{{{{ amount }}}}: {{% if x is none %}}none{{% else %}}some{{% endif %}} at {{{{ at }}}}',
                 amount => {{amount}}, x => {x}, at => {{time}})"
            ),
            by_hand: format!(
                "coalesce(CAST(CAST({{amount}} AS bigint) AS text), '') || CASE WHEN {x} IS NULL THEN ': none' ELSE ': some' END
                 || ' at ' || coalesce(render_template('{{{{ t }}}}', t => {{time}}), '')"
            ),
        },
    ]
}

fn by_hand(expression: &Expression, time: &str) -> String {
    expression.by_hand.replace("{amount}", "q.amount").replace("{time}", time)
}

async fn declare(world: &mut World, cases: &[Case], expressions: &[Expression], random: &mut Random) {
    let now = world.now_us();
    let events: Vec<_> = cases[0].events.iter().filter(|event| event.ts < now).cloned().collect();
    declare_sources(world, &events).await;
    for (name, case) in ["a", "b", "c"].iter().zip(cases) {
        world.run(&create_view_named(name, &case.view)).await;
    }
    let outputs: Vec<String> = expressions
        .iter()
        .enumerate()
        .map(|(index, expression)| {
            let expression = expression.in_view.replace("{amount}", "amount").replace("{time}", "request_timestamp()");
            format!("{expression} AS r{index}")
        })
        .collect();
    for function in FUNCTIONS {
        world.run(function).await;
    }
    world
        .run(&format!(
            "CREATE REALTIME FEATURE VIEW r REQUEST (amount float8) AS SELECT {} FROM a, b",
            outputs.join(", ")
        ))
        .await;
    world.run(SERVICE).await;
    world.run("CREATE TABLE questions (id bigint, k text, other text, t timestamptz, amount float8)").await;
    let rows: Vec<String> = cases[0]
        .questions
        .iter()
        .enumerate()
        .map(|(id, (key, t))| {
            let other = *random.pick(&[Some("a"), Some("b"), Some("nobody"), None]);
            let amount = if random.chance(10) { "NULL".to_owned() } else { random.between(-9, 9).to_string() };
            let t = t.map_or("NULL".to_owned(), literal);
            format!("({id}, {}, {}, {t}, {amount})", quoted(*key), quoted(other))
        })
        .collect();
    world.run(&format!("INSERT INTO questions VALUES {}", rows.join(", "))).await;
}

/// The service for every question; `at` is how its time is asked for.
fn ask_service(at: &str) -> String {
    format!(
        "SELECT q.id, f.* FROM questions q LEFT JOIN svc {at} AS f
         ON f.k = q.k AND f.other = q.other AND f.amount = q.amount ORDER BY q.id"
    )
}

/// The service's rows, and the same from its views.
async fn both(world: &mut World, expressions: &[Expression], at: &str, time: &str) -> (Vec<Row>, Vec<Row>) {
    let computed: Vec<String> = expressions.iter().map(|expression| by_hand(expression, time)).collect();
    let views = format!(
        "SELECT q.id, q.k, q.other, q.amount, a.*, b.*, again.*, {}, c.*
         FROM questions q LEFT JOIN a {at} AS a ON a.k = q.k LEFT JOIN b {at} AS b ON b.k = q.k
         LEFT JOIN a {at} AS again ON again.k = q.other LEFT JOIN c {at} AS c ON c.k = q.k ORDER BY q.id",
        computed.join(", ")
    );
    (world.run(&ask_service(at)).await, world.run(&views).await)
}

/// A row of the views without the keys that each of them repeats.
fn without_keys(cases: &[Case], expressions: &[Expression], row: &Row) -> Row {
    let width = |case: &Case| match case.view.kind {
        Kind::BatchAttributes | Kind::StreamAttributes => 4,
        _ => case.view.features.len(),
    };
    let mut left = row[..4].to_vec();
    let mut at = 4;
    for (case, skip) in [(0, 1), (1, 1), (0, 1), (usize::MAX, 0), (2, 1)] {
        let n = cases.get(case).map_or(expressions.len(), width);
        left.extend_from_slice(&row[at + skip..at + skip + n]);
        at += skip + n;
    }
    assert_eq!(at, row.len());
    left
}

fn check(seed: u64, what: &str, cases: &[Case], expressions: &[Expression], (service, views): (Vec<Row>, Vec<Row>)) {
    assert_eq!(service.len(), cases[0].questions.len(), "seed {seed}: {what}: one row for every question");
    for (service, views) in service.iter().zip(&views) {
        assert_eq!(*service, without_keys(cases, expressions, views), "seed {seed}: {what}: {expressions:?}");
    }
}

/// One whose columns are those of its features.
fn plain_case(random: &mut Random) -> Case {
    let mut case = random_case_at(random, BASE);
    (case.view.known_at, case.view.by_s) = (false, false);
    case
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_has_the_features_of_its_views() {
    for seed in 400..400 + CASES {
        let mut random = Random::new(seed);
        let cases: Vec<Case> = (0..3).map(|_| plain_case(&mut random)).collect();
        let expressions = expressions(&cases, &mut random);
        let end = cases.iter().map(|case| case.end).max().expect("cases");
        let mut world = World::at(end).await;
        declare(&mut world, &cases, &expressions, &mut random).await;
        let at = "FOR SYSTEM_TIME AS OF q.t";
        world.run("SET from_source = on").await;
        let from_source = both(&mut world, &expressions, at, "q.t").await;
        let now = both(&mut world, &expressions, "", &literal_time(end)).await;
        check(seed, "as of now from the source", &cases, &expressions, now);
        let plan = world.run(&format!("EXPLAIN {}", ask_service(at))).await;
        let joins = plan.iter().filter(|line| format!("{line:?}").contains("Point-in-Time Join")).count();
        assert_eq!(joins, 2, "seed {seed}: one pass over the questions for each key that they are bound by\n{plan:#?}");
        for name in ["a", "b", "c"] {
            world.run(&format!("REFRESH FEATURE VIEW {name}")).await;
        }
        world.run("SET from_source = off").await;
        let stored = both(&mut world, &expressions, at, "q.t").await;
        assert_eq!(stored.0, from_source.0, "seed {seed}: the store answers as the source");
        check(seed, "from the source", &cases, &expressions, from_source);
        check(seed, "from the store", &cases, &expressions, stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_answers_as_of_now_what_its_views_answer() {
    for seed in 500..500 + CASES {
        let mut random = Random::new(seed);
        let cases: Vec<Case> = (0..3).map(|_| plain_case(&mut random)).collect();
        let expressions = expressions(&cases, &mut random);
        // Now is among the events, with some periods before it.
        let now = BASE + HOUR * random.between(30, 60);
        let mut world = World::at(now).await;
        declare(&mut world, &cases, &expressions, &mut random).await;
        for name in ["a", "b", "c"] {
            match world.try_run(&format!("REFRESH FEATURE VIEW {name}")).await {
                Ok(_) => {}
                // Before the first complete period there is nothing to refresh.
                Err(error) if error.sqlstate() == "22023" => {}
                Err(error) => panic!("seed {seed}: {error:?}"),
            }
        }
        let online = both(&mut world, &expressions, "", &literal_time(now)).await;
        check(seed, "online", &cases, &expressions, online.clone());
        // One question alone, by constants, is the same as all of them joined.
        let (service, _) = online;
        let asked = "SELECT * FROM svc WHERE k IN ('a', 'nobody') AND other = 'b' AND amount = 2.5";
        let at_now = format!("svc FOR SYSTEM_TIME AS OF {}", literal(now));
        let lookup = world.run(&format!("{asked} ORDER BY k")).await;
        for lookup in [
            asked,
            "SELECT second__f0, amount AS sum, r__r2 FROM svc WHERE amount = 1 AND other = 'a' AND k = 'b'",
            "SELECT * FROM r WHERE k IN ('a', 'b') AND amount = 7",
            "SELECT *, _status, _effective_time FROM a WHERE k IN ('a', 'b', 'nobody')",
            "SELECT * FROM b WHERE 'a' = k LIMIT 3",
        ] {
            // columns of this name are only there where the view has aggregates
            if lookup.contains("second__f0")
                && matches!(cases[1].view.kind, Kind::BatchAttributes | Kind::StreamAttributes)
            {
                continue;
            }
            check_direct(&mut world, seed, lookup).await;
        }
        world.run("SET from_source = on").await;
        let as_of = world.run(&format!("{} ORDER BY k", asked.replace("svc", &at_now))).await;
        assert_eq!((lookup.len(), service.len()), (2, cases[0].questions.len()), "seed {seed}");
        assert_eq!(lookup, as_of, "seed {seed}: as of now is as of the time that is now");
    }
}

/// A lookup without a plan gives the rows of the planned one.
async fn check_direct(world: &mut World, seed: u64, lookup: &str) {
    let explained = format!("{:?}", world.run(&format!("EXPLAIN {lookup}")).await);
    assert!(explained.contains("Direct Lookup"), "seed {seed}: {lookup}: {explained}");
    let mut direct = world.run(lookup).await;
    let mut planned = world.run(&format!("WITH planned AS ({lookup}) SELECT * FROM planned")).await;
    let text = |row: &Row| format!("{row:?}");
    direct.sort_by_key(text);
    planned.sort_by_key(text);
    assert!(!direct.is_empty(), "seed {seed}: {lookup}");
    assert_eq!(direct, planned, "seed {seed}: {lookup}");
}

fn literal_time(us: i64) -> String {
    format!("timestamptz {}", literal(us))
}
