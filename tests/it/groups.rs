//! Groups of columns: a view that is given features while it has rows keeps them, and answers like one that was made at
//! once. Meanwhile its old features answer as before, and the new ones never answer wrongly.

use std::collections::BTreeMap;
use std::path::PathBuf;

use granary::row::Value;

use crate::laws::{Case, create_view_named, declare_sources, literal, quoted, random_case};
use crate::oracle::{Kind, View};
use crate::random::Random;
use crate::world::{Row, World};

const CASES: u64 = 40;
const ONLINE: &str = "k IN ('a', 'b', 'c', 'nobody') ORDER BY k";

/// A view of a case with some of what it may have, under names that stay.
struct Version<'a> {
    case: &'a Case,
    /// features of the case's view, by number; of attributes, columns
    chosen: Vec<usize>,
}

const ATTRIBUTES: [&str; 4] = ["v", "n", "s", "p"];

impl Version<'_> {
    fn has_aggregates(&self) -> bool {
        !self.case.view.features.is_empty()
    }

    fn name(&self, chosen: usize) -> String {
        if self.has_aggregates() { format!("f{chosen}") } else { ATTRIBUTES[chosen].to_owned() }
    }

    fn names(&self) -> Vec<String> {
        self.chosen.iter().map(|chosen| self.name(*chosen)).collect()
    }

    /// `CREATE FEATURE VIEW`, with only those columns in its query that it needs.
    fn create(&self, name: &str) -> String {
        let view = &self.case.view;
        let features = self.chosen.iter().filter_map(|chosen| view.features.get(*chosen).cloned());
        let mut text = create_view_named(name, &View { features: features.collect(), ..view.clone() });
        if self.has_aggregates() {
            // names by number, in an order that no other text of theirs has
            for (place, chosen) in self.chosen.iter().enumerate() {
                text = text.replace(&format!(" AS f{place}"), &format!(" AS @{chosen}@"));
            }
            for chosen in &self.chosen {
                text = text.replace(&format!("@{chosen}@"), &format!("f{chosen}"));
            }
        }
        let (head, query) = text.split_once(" AS SELECT ").expect("a query");
        let (list, from) = query.split_once(" FROM ").expect("a list");
        let words: Vec<&str> = head.split(|letter: char| !letter.is_alphanumeric()).collect();
        let is_needed = |item: &&str| {
            let column = item.rsplit(' ').next().expect("a word");
            match self.has_aggregates() {
                true => words.contains(&column),
                false => self.names().iter().any(|name| name == column),
            }
        };
        let fixed = ["k", "ts"].into_iter();
        // of attributes it would be one more of them
        let known = list.split(", ").filter(|item| *item == "known");
        let by = list.split(", ").filter(|item| *item == "s" && view.by_s);
        let rest = list.split(", ").filter(|item| !["k", "ts", "known"].contains(item)).filter(is_needed);
        let mut items: Vec<&str> = fixed.chain(known).chain(by).collect();
        for item in rest {
            if !items.contains(&item) {
                items.push(item);
            }
        }
        format!("{head} AS SELECT {} FROM {from}", items.join(", "))
    }
}

fn columns(names: &[String]) -> String {
    names.iter().map(|name| format!("f.{name}")).collect::<Vec<_>>().join(", ")
}

/// The questions' answers, by feature.
async fn ask(world: &mut World, view: &str, names: &[String]) -> granary::error::Result<Vec<Row>> {
    let ask = format!(
        "SELECT q.id, {} FROM questions q LEFT JOIN {view} FOR SYSTEM_TIME AS OF q.t AS f ON f.k = q.k ORDER BY q.id",
        columns(names)
    );
    world.try_run(&ask).await
}

async fn online(world: &mut World, view: &str, names: &[String]) -> Vec<Row> {
    world.run(&format!("SELECT k, {} FROM {view} AS f WHERE {ONLINE}", columns(names))).await
}

fn subset(random: &mut Random, all: &[usize], least: usize) -> Vec<usize> {
    loop {
        let chosen: Vec<usize> = all.iter().copied().filter(|_| random.chance(50)).collect();
        if chosen.len() >= least {
            return chosen;
        }
    }
}

fn shuffled(random: &mut Random, mut items: Vec<usize>) -> Vec<usize> {
    for place in (1..items.len()).rev() {
        items.swap(place, usize::try_from(random.below(place as u64 + 1)).expect("small"));
    }
    items
}

/// By table of stored rows, the data files and their sizes.
async fn files(world: &World) -> BTreeMap<String, BTreeMap<PathBuf, u64>> {
    let offline = &world.warehouse.offline;
    let mut tables = BTreeMap::new();
    for name in offline.tables_beginning("view-").expect("the offline store") {
        let table = offline.table(&name).await.expect("opens").expect("is there");
        tables.insert(name, table.files.iter().map(|file| (file.path.clone(), file.size_bytes)).collect());
    }
    tables
}

async fn declare(world: &mut World, case: &Case) {
    declare_sources(world, &case.events).await;
    world.run("CREATE TABLE questions (id bigint, k text, t timestamptz)").await;
    let rows: Vec<String> = case
        .questions
        .iter()
        .enumerate()
        .map(|(id, (key, t))| format!("({id}, {}, {})", quoted(*key), t.map_or("NULL".to_owned(), literal)))
        .collect();
    world.run(&format!("INSERT INTO questions VALUES {}", rows.join(", "))).await;
}

/// Both ranges, or one; false if there is nothing to refresh.
async fn refresh(world: &mut World, view: &str) -> bool {
    match world.try_run(&format!("REFRESH FEATURE VIEW {view}")).await {
        Ok(_) => true,
        Err(error) if error.sqlstate() == "22023" => false,
        Err(error) => panic!("{view}: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn features_that_come_later_change_no_others_and_answer_as_if_they_had_always_been_there() {
    let (mut groups, mut waiting) = (0, 0);
    for seed in 0..CASES {
        let mut random = Random::new(77_000 + seed);
        let case = random_case(&mut random);
        let all: Vec<usize> = match case.view.features.len() {
            0 => (0..ATTRIBUTES.len()).collect(),
            n => (0..n).collect(),
        };
        let first = subset(&mut random, &all, 1);
        // some go, others come, in any order
        let mut second: Vec<usize> = first.iter().copied().filter(|_| !random.chance(20)).collect();
        second.extend(all.iter().copied().filter(|chosen| !first.contains(chosen) && random.chance(70)));
        if second.is_empty() {
            second = all.clone();
        }
        let first = Version { case: &case, chosen: first };
        let second = Version { case: &case, chosen: shuffled(&mut random, second) };
        let what = format!("seed {seed}\n{}\n{}", first.create("v"), second.create("v"));
        let now = case.questions.iter().find_map(|(_, t)| *t).expect("a time");
        let mut world = World::at(now.max(case.end)).await;
        declare(&mut world, &case).await;
        world.run(&first.create("v")).await;
        if !refresh(&mut world, "v").await {
            continue;
        }
        let kept: Vec<String> = first.names().into_iter().filter(|name| second.names().contains(name)).collect();
        let stored = files(&world).await;
        let (before, served) = match kept.is_empty() {
            true => (Vec::new(), Vec::new()),
            false => (ask(&mut world, "v", &kept).await.expect(&what), online(&mut world, "v", &kept).await),
        };
        world.run(&second.create("v").replace("CREATE FEATURE", "CREATE OR REPLACE FEATURE")).await;
        if !kept.is_empty() {
            assert_eq!(ask(&mut world, "v", &kept).await.expect(&what), before, "old features are as before: {what}");
            assert_eq!(online(&mut world, "v", &kept).await, served, "old features are served as before: {what}");
        }
        let tables: Vec<String> = stored.keys().filter(|table| table.starts_with("view-")).cloned().collect();
        let left = files(&world).await;
        let is_new = ask(&mut world, "v", &second.names()).await;
        if let Err(error) = &is_new {
            assert_eq!(error.sqlstate(), "55000", "{error:?} {what}");
            let hint = error.hint().expect("a hint");
            assert!(hint.contains("REFRESH FEATURE VIEW v"), "{hint}");
            waiting += 1;
        }
        // what is served of new features is NULL, or what it will be
        let waiting_rows = online(&mut world, "v", &second.names()).await;
        let refreshed = world.try_run("REFRESH FEATURE VIEW v").await;
        if let Err(error) = &refreshed {
            assert_eq!(error.sqlstate(), "55000", "nothing is missing: {error:?} {what}");
            assert!(is_new.is_ok(), "{what}");
        } else {
            groups += 1;
            let after = files(&world).await;
            for table in tables.iter().filter(|table| left.contains_key(*table)) {
                // a longer window may need an earlier range, of the others as well
                let (known, now) = (&stored[table], &after[table]);
                assert!(known.iter().all(|file| now.get(file.0) == Some(file.1)), "{table} stays: {what}");
            }
        }
        world.run(&second.create("w")).await;
        world.run("REFRESH FEATURE VIEW w").await;
        let names = second.names();
        let expected = ask(&mut world, "w", &names).await.expect(&what);
        assert_eq!(ask(&mut world, "v", &names).await.expect(&what), expected, "{what}");
        let served = online(&mut world, "w", &names).await;
        assert_eq!(online(&mut world, "v", &names).await, served, "{what}");
        for (waiting, served) in waiting_rows.iter().flatten().zip(served.iter().flatten()) {
            assert!(is_known(waiting, served), "{waiting:?} was served instead of {served:?}: {what}");
        }
        let mut world = world.again().await;
        assert_eq!(ask(&mut world, "v", &names).await.expect(&what), expected, "after a restart: {what}");
        assert_eq!(online(&mut world, "v", &names).await, served, "after a restart: {what}");
        check_all(&mut world, &case, &names, &what).await;
        if second.has_aggregates() {
            continue;
        }
        // attributes of the source once more
        world.run("SET from_source = on").await;
        assert_eq!(ask(&mut world, "v", &names).await.expect(&what), expected, "from the source: {what}");
    }
    assert!(groups > CASES / 3 && waiting > CASES / 4, "{groups} views had a new group, {waiting} had to wait for it");
}

/// Whether an answer says nothing else than what it will be; it may say that it does not know.
fn is_known(waiting: &Option<Value>, served: &Option<Value>) -> bool {
    match (waiting, served) {
        (None, _) => true,
        (Some(Value::List(waiting)), Some(Value::List(served))) => {
            waiting.len() == served.len() && waiting.iter().zip(served.iter()).all(|(a, b)| is_known(a, b))
        }
        _ => waiting == served,
    }
}

/// Scans, histories, single features, statuses, partial aggregates and VERIFY of `v` are those of `w`.
async fn check_all(world: &mut World, case: &Case, names: &[String], what: &str) {
    let times: Vec<i64> = case.questions.iter().filter_map(|(_, t)| *t).take(2).collect();
    let (first, last) = (*times.iter().min().expect("times"), *times.iter().max().expect("times") + 1);
    let mut queries = Vec::new();
    for time in times {
        queries.push(format!("SELECT * FROM @ FOR SYSTEM_TIME AS OF {} ORDER BY k", literal(time)));
        let only = &names[names.len() - 1];
        queries.push(format!("SELECT k, {only}, _status FROM @ FOR SYSTEM_TIME AS OF {} ORDER BY k", literal(time)));
    }
    queries.push(format!(
        "SELECT * FROM @ FOR SYSTEM_TIME FROM {} TO {} ORDER BY k, _valid_from",
        literal(first),
        literal(last)
    ));
    queries.push(format!("SELECT k, _status, _effective_time FROM @ WHERE {ONLINE}"));
    if matches!(case.view.kind, Kind::BatchAggregates | Kind::StreamTiled) && !case.view.known_at {
        let by = if case.view.by_s { ", s" } else { "" };
        let order = if case.view.by_s { ", 3" } else { "" };
        queries.push(format!(
            "SELECT k, _interval_start_time{by} FROM partial_aggregates('@', {}, {}) ORDER BY 1, 2{order}",
            literal(first),
            literal(last)
        ));
    }
    queries.push("VERIFY FEATURE VIEW @".to_owned());
    for query in queries {
        let of = |view: &str| query.replace('@', view);
        let (expected, found) = (world.try_run(&of("w")).await, world.try_run(&of("v")).await);
        match (expected, found) {
            (Ok(expected), Ok(found)) => assert_eq!(found, expected, "{query}\n{what}"),
            (Err(expected), Err(found)) => assert_eq!(found.sqlstate(), expected.sqlstate(), "{query}\n{what}"),
            (expected, found) => panic!("{query}\n{expected:?}\n{found:?}\n{what}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_files_of_a_new_feature_are_written() {
    let mut world = World::at(1_704_067_200_000_000 + 90 * 86_400_000_000).await;
    for sql in [
        "CREATE TABLE rides AS SELECT value % 500 AS driver,
           to_timestamp(1704067200 + (value * 7919) % 7776000) AS ts, value % 97 AS fare, value % 13 AS tip
           FROM generate_series(1, 60000::bigint) AS g (value)",
        "CREATE ENTITY driver (driver bigint)",
        "CREATE SOURCE rides_source AS SELECT * FROM rides TIMESTAMP ts",
    ] {
        world.run(sql).await;
    }
    let view = |features: &[&str], columns: &str| {
        format!(
            "CREATE OR REPLACE FEATURE VIEW v ENTITY driver TIMESTAMP ts FEATURES ({})
               WITH (schedule = '1 day', aggregation_interval = '1 hour', start = '2024-01-10')
               AS SELECT driver, ts, {columns} FROM rides_source",
            features.join(", ")
        )
    };
    let first = [
        "count(*) OVER (LAST '7 days') AS rides",
        "sum(fare) OVER (LAST '7 days') AS fares",
        "avg(fare) OVER (LAST '2 days') AS mean",
        "last(fare, 10) OVER (LAST '7 days') AS newest",
        "approx_percentile(fare, 0.9) OVER (LAST '7 days') AS dear",
        "stddev(fare) OVER (LAST '7 days') AS spread",
    ];
    world.run(&view(&first, "fare")).await;
    world.run("REFRESH FEATURE VIEW v").await;
    let before = files(&world).await;
    let mut more = vec!["max(tip) OVER (LAST '7 days') AS best_tip"];
    more.extend(first);
    world.run(&view(&more, "fare, tip")).await;
    world.run("REFRESH FEATURE VIEW v").await;
    let after = files(&world).await;
    let mut written = 0;
    for (table, now) in &after {
        match before.get(table) {
            Some(known) => assert_eq!(now, known, "{table} is as it was"),
            None => written += now.values().sum::<u64>(),
        }
    }
    let all: u64 =
        before.iter().filter(|(table, _)| table.starts_with("view-")).flat_map(|(_, files)| files.values()).sum();
    println!("a view of {} features has {all} bytes; one more feature wrote {written}", first.len());
    assert!(written > 0 && written < all / 2, "{written} of {all} bytes");
    assert_eq!(world.run("SELECT rides, best_tip FROM v WHERE driver = 7").await.len(), 1);
    assert!(matches!(world.run("SELECT best_tip FROM v WHERE driver = 7").await[0][0], Some(Value::Int(_))));
}
