//! INSERT, UPDATE, DELETE, TRUNCATE and savepoints of an ordinary table, against a list of rows that a reader can check by
//! eye; and restarts, which must change nothing.

use granary::row::Value;

use crate::random::Random;
use crate::world::{Row, World};

const STEPS: usize = 220;
const NOW_US: i64 = 1_704_067_200_000_000;

type Model = Vec<(i64, i64)>;

fn shown(rows: Vec<Row>) -> Model {
    let number = |value: &Option<Value>| match value {
        Some(Value::Int(number)) => *number,
        other => panic!("{other:?} is no number"),
    };
    rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
}

async fn check(world: &mut World, model: &Model, done: &str) {
    let found = shown(world.run("SELECT k, v FROM t ORDER BY k, v").await);
    let mut expected = model.clone();
    expected.sort_unstable();
    assert_eq!(found, expected, "after {done}");
}

/// One random statement on the table, and what it does to the list.
fn step(random: &mut Random, model: &mut Model, next: &mut i64) -> String {
    let key = i64::try_from(random.below(40)).expect("small");
    match random.below(6) {
        0 | 1 => {
            let rows: Vec<(i64, i64)> =
                (0..=random.below(6)).map(|_| (key, std::mem::replace(next, *next + 1))).collect();
            model.extend(&rows);
            let rows: Vec<String> = rows.iter().map(|(k, v)| format!("({k}, {v})")).collect();
            format!("INSERT INTO t VALUES {}", rows.join(", "))
        }
        2 => {
            model.retain(|(k, _)| *k != key);
            format!("DELETE FROM t WHERE k = {key}")
        }
        3 => {
            model.iter_mut().filter(|(k, _)| *k < key).for_each(|(k, v)| (*k, *v) = (*k + 1, *v * 2 % 1000));
            format!("UPDATE t SET k = k + 1, v = v * 2 % 1000 WHERE k < {key}")
        }
        4 => {
            model.retain(|(_, v)| *v % 3 != 0 || *v == 0);
            "DELETE FROM t USING (VALUES (0)) AS z (n) WHERE v % 3 = z.n AND v <> 0".to_owned()
        }
        _ => {
            model.iter_mut().filter(|(_, v)| *v % 2 == 0).for_each(|(_, v)| *v += 7);
            "UPDATE t SET v = v + u.n FROM (VALUES (7), (7)) AS u (n) WHERE v % 2 = 0".to_owned()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_a_list() {
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let mut world = World::at(NOW_US).await;
        world.run("CREATE TABLE t (k int, v int)").await;
        let (mut model, mut next) = (Model::new(), 1);
        // what the list was before BEGIN, and at each savepoint
        let mut before: Option<Model> = None;
        let mut savepoints: Vec<Model> = Vec::new();
        for number in 0..STEPS {
            let done = match (random.below(12), &before) {
                (0, None) => {
                    before = Some(model.clone());
                    "BEGIN".to_owned()
                }
                (0, Some(_)) => {
                    (before, savepoints) = (None, Vec::new());
                    "COMMIT".to_owned()
                }
                (1, Some(committed)) => {
                    model.clone_from(committed);
                    (before, savepoints) = (None, Vec::new());
                    "ROLLBACK".to_owned()
                }
                (2, Some(_)) => {
                    savepoints.push(model.clone());
                    format!("SAVEPOINT s{}", savepoints.len())
                }
                (3, Some(_)) if !savepoints.is_empty() => {
                    let place = usize::try_from(random.below(savepoints.len() as u64)).expect("small");
                    savepoints.truncate(place + 1);
                    model.clone_from(&savepoints[place]);
                    format!("ROLLBACK TO s{}", place + 1)
                }
                (4, None) if number % 3 == 0 => {
                    world = world.again().await;
                    "a restart".to_owned()
                }
                (5, _) if number % 40 == 0 => {
                    model.clear();
                    "TRUNCATE t".to_owned()
                }
                _ => step(&mut random, &mut model, &mut next),
            };
            if done != "a restart" {
                world.run(&done).await;
            }
            check(&mut world, &model, &format!("{done}, seed {seed}")).await;
        }
    }
}
