//! Spans against their items, whatever was put, put again, replaced, removed or expired; and which of them are kept.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;
use granary_catalog::object::AggregateFunction;

use super::fold::Folder;
use super::*;
use crate::online::{Item, ItemRow, OnlineReader, OnlineStore};
use crate::row::{Key, put_values};

const MINUTE: i64 = 60_000_000;
const VIEW: u64 = 7;

/// SplitMix64: a test is its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn signed(&mut self, bound: i64) -> i64 {
        i64::try_from(self.below(2 * bound.unsigned_abs())).expect("small") - bound
    }
}

fn plan(functions: &[AggregateFunction], has_secondary: bool, has_tiles: bool) -> SpanPlan {
    let specs = functions.iter().map(|function| PartialSpec::new(function, &[DataType::Float64]).expect("a state"));
    SpanPlan {
        form: functions.len() as u64,
        widths_us: vec![20_000, 1_000_000, MINUTE, 60 * MINUTE],
        partials: specs.collect(),
        inputs: vec![vec![0]; functions.len()],
        has_secondary,
        has_tiles,
    }
}

fn exact() -> Vec<AggregateFunction> {
    use AggregateFunction::*;
    vec![Count, Sum, Min, LastN { n: 3 }, CountDistinct, Mode, ApproxPercentile { p: 0.5, precision: 100 }]
}

fn with_rounded() -> Vec<AggregateFunction> {
    use AggregateFunction::*;
    vec![Count, StddevPop, Kurtosis, Ewma { half_life_us: MINUTE }]
}

fn key(name: &str) -> Key {
    Key::encode([Some(&Value::Text(name.into()))]).expect("not null")
}

fn payload_of(value: f64) -> Vec<u8> {
    let mut payload = Vec::new();
    put_values(&mut payload, &[Some(Value::Float(value))]);
    payload
}

/// Many in one hour, minute, second and moment, before 1970 and after.
fn random_time(random: &mut Random) -> i64 {
    let hour = [-60 * MINUTE, 0, 0, 0, 60 * MINUTE, 26 * 60 * MINUTE][random.below(6) as usize];
    let minute = [0, 0, 7, 59][random.below(4) as usize] * MINUTE;
    hour + minute
        + match random.below(5) {
            0 => random.signed(MINUTE),
            1 => random.signed(1_000_000),
            2 => random.signed(20_000),
            3 => [-1, 0, 0, 1][random.below(4) as usize],
            _ => 30_000_000,
        }
}

fn random_row(random: &mut Random, plan: &SpanPlan, arrival: i64) -> ItemRow {
    let value = random.signed(400) as f64 / 7.0;
    let time_us = random_time(random);
    let mut row = ItemRow {
        key: key(["a", "a", "a", "b"][random.below(4) as usize]),
        time_us,
        sequence: FIRST_PUSHED + arrival,
        secondary: (plan.has_secondary && random.below(8) > 0).then(|| Value::Int(random.signed(3))),
        payload: payload_of(value),
    };
    if plan.has_tiles && random.below(5) == 0 {
        row.sequence = 0;
        let states = plan.states_of_item(time_us, FIRST_PUSHED, &row.payload).expect("states");
        row.payload = Vec::new();
        plan.put_states(&states, &mut row.payload);
    }
    row
}

/// By secondary key, a state's bytes; for `None`, of a view with such keys, nothing.
type Stored = BTreeMap<Option<Value>, Vec<u8>>;

fn spans(reader: &OnlineReader, key: &Key, width_us: i64) -> BTreeMap<i64, Stored> {
    let mut spans: BTreeMap<i64, Stored> = BTreeMap::new();
    let visit = |span: crate::online::Span| {
        spans.entry(span.start_us).or_default().insert(span.secondary, span.payload);
        Ok(())
    };
    reader.visit_spans(VIEW, key, (width_us, i64::MIN..i64::MAX), visit).expect("spans");
    spans
}

/// What the span should be.
fn folded(plan: &SpanPlan, level: usize, items: &[Item]) -> Stored {
    let mut folder = Folder::new(plan, level, false);
    for item in items {
        let states = plan.states_of_item(item.time_us, item.sequence, &item.payload).expect("states");
        folder.add(item.time_us, Folded::of_item(plan, item.secondary.clone(), states)).expect("folds");
    }
    let span = folder.finish().expect("folds").pop().expect("a span has items");
    let mut stored = Stored::new();
    if plan.has_secondary {
        stored.insert(None, Vec::new());
    }
    for (secondary, states) in &span.folded.states {
        let mut payload = Vec::new();
        plan.put_states(states, &mut payload);
        stored.insert(secondary.clone(), payload);
    }
    stored
}

/// Every span is of its items, to the last bit, unless a reader is told that it lacks some; gives how many there are.
/// `complete`: those that should be are there.
fn check(what: &str, store: &OnlineStore, plan: &SpanPlan, complete: bool) -> usize {
    let reader = store.reader().expect("reads");
    let mut n_spans = 0;
    for name in ["a", "b"] {
        let key = key(name);
        let items = reader.items(VIEW, &key, i64::MIN..i64::MAX).expect("items");
        let within = |start_us: i64, width_us: i64| -> Vec<Item> {
            items.iter().filter(|item| (start_us..start_us + width_us).contains(&item.time_us)).cloned().collect()
        };
        let lacking = reader.times_without_spans(VIEW, &key);
        let complete = complete && lacking.is_empty();
        let mut wanted: BTreeSet<i64> = BTreeSet::new();
        for (level, &width_us) in plan.widths_us.iter().enumerate().rev() {
            let stored = spans(&reader, &key, width_us);
            n_spans += stored.len();
            for (start_us, stored) in &stored {
                if lacking.iter().any(|time_us| (*start_us..start_us + width_us).contains(time_us)) {
                    continue;
                }
                let expected = folded(plan, level, &within(*start_us, width_us));
                assert_eq!(*stored, expected, "{what}: {name}, {width_us} from {start_us}");
            }
            let starts: BTreeSet<i64> = items.iter().map(|item| item.time_us.div_euclid(width_us) * width_us).collect();
            let is_wanted = |start_us: &i64| {
                let longer = plan.widths_us.get(level + 1);
                let inside = longer.map_or(items.len() >= DIVIDED, |longer_us| {
                    let start_us = start_us.div_euclid(*longer_us) * longer_us;
                    wanted.contains(&start_us) && within(start_us, *longer_us).len() >= DIVIDED
                });
                inside && within(*start_us, width_us).len() >= LEAST
            };
            let now_wanted: BTreeSet<i64> = starts.into_iter().filter(is_wanted).collect();
            if complete {
                let there: BTreeSet<i64> = stored.keys().copied().collect();
                assert_eq!(there, now_wanted, "{what}: {name}, spans of {width_us}");
            }
            wanted = now_wanted;
        }
    }
    n_spans
}

#[test]
fn spans_are_their_items_after_every_change() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let functions = if seed % 2 == 0 { exact() } else { with_rounded() };
        let plan = plan(&functions, seed % 3 == 0, seed % 4 > 1);
        let dir = tempfile::tempdir().expect("folder");
        let store = OnlineStore::open(dir.path(), 2, 16 << 20).expect("opens");
        let mut put: Vec<ItemRow> = Vec::new();
        // once items have gone some longer spans may be missing
        let (mut complete, mut most) = (true, 0);
        for step in 0..30_i64 {
            let what = format!("seed {seed}, step {step}");
            match random.below(10) {
                0 => {
                    // the log is replayed
                    let from = random.below(put.len() as u64 + 1) as usize;
                    store.put_items(VIEW, put[from..].to_vec(), Some(&plan)).expect("puts again");
                }
                1 if !put.is_empty() => {
                    let mut changed = put[random.below(put.len() as u64) as usize].clone();
                    if changed.sequence >= FIRST_PUSHED {
                        changed.payload = payload_of(1.5);
                        put.push(changed.clone());
                        store.put_items(VIEW, vec![changed], Some(&plan)).expect("puts another in its place");
                    }
                }
                2 => {
                    let range = -60 * MINUTE..8 * MINUTE;
                    let tiles: Vec<ItemRow> = (0..20).map(|_| random_row(&mut random, &plan, 0)).collect();
                    let tiles = tiles.into_iter().filter(|row| row.sequence == 0 && range.contains(&row.time_us));
                    store.replace_items(VIEW, range.clone(), tiles.map(Ok), Some(&plan)).expect("replaces");
                    put.retain(|row| row.sequence >= FIRST_PUSHED);
                }
                3 if step > 20 => {
                    let bound = random_time(&mut random);
                    store.expire(VIEW, bound).expect("expires");
                    put.retain(|row| row.time_us >= bound);
                    complete = false;
                }
                4 if step > 10 => {
                    store.remove_keys(VIEW, [&key("b")]).expect("removes");
                    put.retain(|row| row.key != key("b"));
                }
                _ => {
                    let rows: Vec<ItemRow> = (0..random.below(150))
                        .map(|row| random_row(&mut random, &plan, step * 1000 + row as i64))
                        .collect();
                    put.extend(rows.iter().cloned());
                    store.put_items(VIEW, rows, Some(&plan)).expect("puts");
                }
            }
            most = most.max(check(&what, &store, &plan, complete));
            if random.below(2) == 0 {
                store.settle().expect("settles");
                most = most.max(check(&what, &store, &plan, complete));
            }
        }
        assert!(most > 20, "seed {seed}: {most} spans at most");
        // the same whatever the way that led there
        store.keep_spans(VIEW, None).expect("removes");
        assert_eq!(check("none", &store, &plan, false), 0);
        store.keep_spans(VIEW, Some(&plan)).expect("makes");
        check("made anew", &store, &plan, true);
    }
}

#[test]
fn spans_of_another_form_are_made_anew_and_items_without_spans_have_none() {
    let (first, second) = (plan(&exact(), false, false), plan(&with_rounded(), false, false));
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 1, 16 << 20).expect("opens");
    let mut random = Random(5);
    let rows: Vec<ItemRow> = (0..300).map(|arrival| random_row(&mut random, &first, arrival)).collect();
    store.put_items(VIEW, rows.clone(), Some(&first)).expect("puts");
    store.settle().expect("settles");
    assert!(check("first", &store, &first, true) > 0);
    // one that was there already
    let of_a: Vec<ItemRow> = rows.iter().filter(|row| row.key == key("a")).take(1).cloned().collect();
    store.put_items(VIEW, of_a.clone(), Some(&second)).expect("puts");
    store.settle().expect("settles");
    let form = |name| store.reader().expect("reads").spans_form(VIEW, &key(name)).expect("reads");
    assert_eq!(form("b"), Some(first.form));
    assert_eq!(form("a"), Some(second.form));
    store.keep_spans(VIEW, Some(&second)).expect("makes");
    assert!(check("second", &store, &second, true) > 0);
    store.put_items(VIEW, of_a, None).expect("puts");
    store.settle().expect("settles");
    assert_eq!((form("a"), form("b")), (None, Some(second.form)));
    assert_eq!(store.reader().expect("reads").keys(VIEW).expect("keys").count(), 2);
    store.remove_view(VIEW).expect("removes");
    assert_eq!((form("a"), form("b")), (None, None));
}

#[test]
fn items_at_the_ends_of_time_are_in_no_span() {
    let plan = plan(&exact(), false, false);
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 1, 16 << 20).expect("opens");
    let row = |time_us, arrival| ItemRow {
        key: key("a"),
        time_us,
        sequence: FIRST_PUSHED + arrival,
        secondary: None,
        payload: payload_of(1.0),
    };
    let rows = |from: i64| (from..from + 100).flat_map(|n| [row(i64::MIN + n, n), row(i64::MAX - n, n), row(n, n)]);
    store.put_items(VIEW, rows(0).collect(), Some(&plan)).expect("puts");
    store.put_items(VIEW, rows(100).collect(), Some(&plan)).expect("puts");
    store.settle().expect("settles");
    let reader = store.reader().expect("reads");
    for width_us in &plan.widths_us {
        assert_eq!(spans(&reader, &key("a"), *width_us).into_keys().collect::<Vec<_>>(), [0], "{width_us}");
    }
}
