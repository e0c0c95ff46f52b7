//! The store against a map: random writes, damage, other processes, and kill -9.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// SplitMix64: a test is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn signed(&mut self, bound: i64) -> i64 {
        self.below(2 * bound as u64) as i64 - bound
    }
}

const CACHE: usize = 16 << 20;

fn text_key(text: &str) -> Key {
    Key::encode([Some(&Value::Text(text.into()))]).expect("not null")
}

fn number_key(number: i64) -> Key {
    Key::encode([Some(&Value::Int(number))]).expect("not null")
}

fn item(key: &Key, time_us: i64, sequence: i64, secondary: Option<&str>, payload: u8) -> ItemRow {
    let secondary = secondary.map(|text| Value::Text(text.into()));
    ItemRow { key: key.clone(), time_us, sequence, secondary, payload: vec![payload] }
}

fn latest(key: &Key, ts_us: i64, arrival: i64, value: i64) -> LatestRow {
    let values = vec![Some(Value::Int(value)), None];
    LatestRow { key: key.clone(), ts_us, arrival, effective_us: ts_us + 1, values }
}

/// Keys that are prefixes of each other, alone and with what comes behind them in a row key.
fn nasty_keys() -> Vec<Key> {
    let mut keys: Vec<Key> =
        ["", "\0", "\0\0", "a", "a\0", "a\0\u{1}", "aa", "b\u{ff}"].iter().map(|text| text_key(text)).collect();
    keys.extend([i64::MIN, -1, 0, 1, 256, i64::MAX].map(number_key));
    let (one, zero) = (Value::Int(1), Value::Int(0));
    keys.push(Key::encode([Some(&one), Some(&zero)]).expect("not null"));
    keys.push(Key::encode([Some(&Value::Bytes(vec![0, 1, 0].into())), Some(&one)]).expect("not null"));
    keys
}

type ItemId = (u64, Key, i64, i64, Option<Value>);

#[derive(Default, Clone)]
struct Model {
    latest: BTreeMap<(u64, Key), LatestRow>,
    items: BTreeMap<ItemId, Vec<u8>>,
}

impl Model {
    fn put_latest(&mut self, view: u64, row: LatestRow) {
        let stored = self.latest.entry((view, row.key.clone())).or_insert_with(|| row.clone());
        if (row.ts_us, row.arrival) >= (stored.ts_us, stored.arrival) {
            *stored = row;
        }
    }

    fn put_item(&mut self, view: u64, row: ItemRow) {
        self.items.insert((view, row.key, row.time_us, row.sequence, row.secondary), row.payload);
    }

    fn check(&self, reader: &OnlineReader, views: &[u64], keys: &[Key]) {
        for view in views {
            let mut listed: Vec<Key> = reader.keys(*view).expect("keys").map(|key| key.expect("key")).collect();
            listed.sort();
            let mut expected: Vec<Key> = self.latest.keys().filter(|id| id.0 == *view).map(|id| id.1.clone()).collect();
            expected.extend(self.items.keys().filter(|id| id.0 == *view).map(|id| id.1.clone()));
            expected.sort();
            expected.dedup();
            assert_eq!(listed, expected, "keys of view {view}");
            for key in keys {
                let expected = self.latest.get(&(*view, key.clone())).map(|row| Latest {
                    ts_us: row.ts_us,
                    arrival: row.arrival,
                    effective_us: row.effective_us,
                    values: row.values.clone(),
                });
                assert_eq!(reader.latest(*view, key).expect("latest"), expected);
                for times in [i64::MIN..i64::MAX, -3..4, 2..2] {
                    let expected: Vec<Item> = self
                        .items
                        .iter()
                        .filter(|(id, _)| id.0 == *view && id.1 == *key && times.contains(&id.2))
                        .map(|(id, payload)| Item {
                            time_us: id.2,
                            sequence: id.3,
                            secondary: id.4.clone(),
                            payload: payload.clone(),
                        })
                        .collect();
                    assert_eq!(reader.items(*view, key, times).expect("items"), expected);
                }
            }
        }
    }
}

#[test]
fn random_writes_end_like_a_map() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().expect("folder");
        let shards = 1 + seed as u32 % 4;
        let mut store = OnlineStore::open(dir.path(), shards, CACHE).expect("opens");
        let mut model = Model::default();
        // readers of older states, and what they saw
        let mut older: Vec<(OnlineReader, Model)> = Vec::new();
        let keys = nasty_keys();
        let views = [0, 1, 255, 256, u64::MAX];
        let secondaries =
            [None, Some(Value::Text("".into())), Some(Value::Text("a\0".into())), Some(Value::Text("b".into()))];
        for step in 0..120 {
            let view = views[random.below(5) as usize];
            let rows = |random: &mut Random, times: Range<i64>| -> Vec<ItemRow> {
                (0..random.below(30))
                    .map(|_| ItemRow {
                        key: keys[random.below(keys.len() as u64) as usize].clone(),
                        time_us: times.start + random.below((times.end - times.start) as u64) as i64,
                        sequence: random.signed(2),
                        secondary: secondaries[random.below(4) as usize].clone(),
                        payload: vec![random.next() as u8; random.below(4) as usize],
                    })
                    .collect()
            };
            match random.below(12) {
                0..4 => {
                    let rows = rows(&mut random, -10..10);
                    rows.iter().cloned().for_each(|row| model.put_item(view, row));
                    store.put_items(view, rows, None).expect("puts");
                }
                4..7 => {
                    let rows: Vec<LatestRow> = (0..random.below(30))
                        .map(|_| {
                            let key = &keys[random.below(keys.len() as u64) as usize];
                            latest(key, random.signed(5), random.signed(3), random.signed(1000))
                        })
                        .collect();
                    rows.iter().cloned().for_each(|row| model.put_latest(view, row));
                    store.put_latest(view, rows).expect("puts");
                }
                7 => {
                    let start = random.signed(8);
                    let end = start + random.below(6) as i64;
                    let before = model.items.len();
                    model.items.retain(|id, _| id.0 != view || !(start..end).contains(&id.2));
                    let removed = store.remove_items(view, start..end, None).expect("removes");
                    assert_eq!(removed as usize, before - model.items.len());
                }
                8 => {
                    let start = random.signed(8);
                    let range = start..start + 1 + random.below(6) as i64;
                    let rows = rows(&mut random, range.clone());
                    model.items.retain(|id, _| id.0 != view || !range.contains(&id.2));
                    rows.iter().cloned().for_each(|row| model.put_item(view, row));
                    store.replace_items(view, range, rows.into_iter().map(Ok), None).expect("replaces");
                }
                9 => {
                    let key = &keys[random.below(keys.len() as u64) as usize];
                    model.items.retain(|id, _| id.0 != view || id.1 != *key);
                    model.latest.retain(|id, _| id.0 != view || id.1 != *key);
                    store.remove_key(view, key).expect("removes");
                }
                10 => {
                    let bound = random.signed(10);
                    let before = model.items.len() + model.latest.len();
                    model.items.retain(|id, _| id.0 != view || id.2 >= bound);
                    model.latest.retain(|id, row| id.0 != view || row.ts_us >= bound);
                    let removed = store.expire(view, bound).expect("expires");
                    assert_eq!(removed as usize, before - model.items.len() - model.latest.len());
                }
                _ if step % 3 == 0 => {
                    model.items.retain(|id, _| id.0 != view);
                    model.latest.retain(|id, _| id.0 != view);
                    store.remove_view(view).expect("removes");
                }
                _ => {
                    store.sync().expect("syncs");
                    older.drain(..).for_each(|(reader, model)| model.check(&reader, &views, &keys));
                    drop(store);
                    store = OnlineStore::open(dir.path(), 9, CACHE).expect("opens again");
                }
            }
            if step % 10 == 9 {
                model.check(&store.reader().expect("reads"), &views, &keys);
            }
            if random.below(8) == 0 {
                older.push((store.reader().expect("reads"), model.clone()));
            }
            if random.below(4) == 0 {
                store.settle().expect("settles");
            }
        }
        older.drain(..).for_each(|(reader, model)| model.check(&reader, &views, &keys));
        model.check(&store.reader().expect("reads"), &views, &keys);
    }
}

#[test]
fn late_rows_never_overwrite_newer_ones() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
    let key = text_key("k");
    let value = |ts, arrival, value| {
        store.put_latest(1, vec![latest(&key, ts, arrival, value)]).expect("puts");
        store.reader().expect("reads").latest(1, &key).expect("latest").expect("there").values[0].clone()
    };
    assert_eq!(value(10, 1, 1), Some(Value::Int(1)));
    assert_eq!(value(9, 5, 2), Some(Value::Int(1)), "older by time");
    assert_eq!(value(10, 0, 3), Some(Value::Int(1)), "older by arrival");
    assert_eq!(value(10, 1, 4), Some(Value::Int(4)), "the same row again");
    assert_eq!(value(10, 2, 5), Some(Value::Int(5)));
    assert_eq!(value(11, -7, 6), Some(Value::Int(6)));
}

#[test]
fn what_is_put_during_a_replacement_stays() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
    let key = text_key("k");
    store
        .put_items(1, vec![item(&key, 1, 0, None, 1), item(&key, 2, 0, None, 1), item(&key, 9, 0, None, 1)], None)
        .expect("puts");
    let mut rows = vec![item(&key, 2, 0, None, 2)].into_iter();
    let rows = std::iter::from_fn(|| {
        let row = rows.next();
        if row.is_none() {
            store.put_items(1, vec![item(&key, 3, 7, None, 3)], None).expect("puts meanwhile");
        }
        row.map(Ok)
    });
    store.replace_items(1, 0..5, rows, None).expect("replaces");
    let items = store.reader().expect("reads").items(1, &key, i64::MIN..i64::MAX).expect("items");
    let found: Vec<(i64, u8)> = items.iter().map(|item| (item.time_us, item.payload[0])).collect();
    assert_eq!(found, [(2, 2), (3, 3), (9, 1)]);
    let outside = store.replace_items(1, 0..5, [Ok(item(&key, 5, 0, None, 1))], None);
    assert_eq!(outside.expect_err("outside").kind(), Kind::Internal);
}

#[test]
fn more_rows_than_a_batch() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 3, CACHE).expect("opens");
    let rows = |payload| (0..70_000).map(move |n| item(&number_key(n / 7), n % 7, 0, None, payload));
    store.replace_items(1, 0..7, rows(1).map(Ok), None).expect("replaces");
    store.put_items(2, rows(9).take(100).collect(), None).expect("puts");
    assert_eq!(store.reader().expect("reads").keys(1).expect("keys").count(), 10_000);
    store.replace_items(1, 0..7, rows(2).filter(|row| row.time_us != 3).map(Ok), None).expect("replaces");
    let reader = store.reader().expect("reads");
    for number in 0..10_000 {
        let items = reader.items(1, &number_key(number), 0..7).expect("items");
        assert!(items.len() == 6 && items.iter().all(|item| item.payload == [2]));
    }
    assert_eq!(store.expire(1, 6).expect("expires"), 50_000);
    store.remove_view(1).expect("removes");
    let reader = store.reader().expect("reads");
    assert_eq!(reader.keys(1).expect("keys").count(), 0);
    assert_eq!(reader.keys(2).expect("keys").count(), 15);
}

#[test]
fn a_reader_sees_one_state() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
    let keys: Vec<Key> = (0..50).map(number_key).collect();
    let round = |payload: u8| -> Vec<ItemRow> {
        keys.iter().flat_map(|key| (0..5).map(move |time| item(key, time, 0, None, payload))).collect()
    };
    store.put_items(1, round(0), None).expect("puts");
    let early = store.reader().expect("reads");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let reader = store.reader().expect("reads");
                    for key in &keys {
                        let items = reader.items(1, key, 0..5).expect("items");
                        assert_eq!(items.len(), 5);
                        assert!(items.iter().all(|item| item.payload == items[0].payload), "{items:?}");
                        assert_eq!(reader.items(1, key, 0..5).expect("items"), items, "the same again");
                    }
                    let first = reader.items(1, &keys[0], 0..5).expect("items")[0].payload[0];
                    assert!(first >= newest, "time runs forward");
                    newest = first;
                }
            });
        }
        for payload in 1..=200 {
            store.put_items(1, round(payload), None).expect("puts");
            if payload % 7 == 0 {
                store.settle().expect("settles");
            }
            if payload % 50 == 0 {
                store.sync().expect("syncs");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(early.items(1, &keys[7], 0..1).expect("items")[0].payload, [0]);
}

/// What is kept in memory of a row must never be shown to a reader of an older or a newer state.
#[test]
fn rows_in_memory_are_those_of_the_readers_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = OnlineStore::open(folder.path(), 1, CACHE).expect("opens");
    let key = number_key(1);
    let value =
        |reader: &OnlineReader| reader.latest(7, &key).expect("reads").and_then(|latest| latest.values[0].clone());
    let mut readers = vec![(store.reader().expect("reads"), None)];
    for number in 1..6 {
        // half of the states are read before the next write, half of them only behind all writes
        if number % 2 == 0 {
            let (reader, expected) = readers.last().expect("one");
            assert_eq!(value(reader), *expected);
        }
        store.put_latest(7, vec![latest(&key, number, 0, number)]).expect("writes");
        readers.push((store.reader().expect("reads"), Some(Value::Int(number))));
    }
    store.remove_key(7, &key).expect("removes");
    readers.push((store.reader().expect("reads"), None));
    for _ in 0..2 {
        for (reader, expected) in readers.iter().rev().chain(&readers) {
            assert_eq!(value(reader), *expected);
        }
    }
}

#[test]
fn rows_in_memory_keep_up_with_writers() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = OnlineStore::open(folder.path(), 1, CACHE).expect("opens");
    let keys = [number_key(1), number_key(2), number_key(3)];
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                let (mut newest, mut states) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let reader = store.reader().expect("reads");
                    let found = keys
                        .each_ref()
                        .map(|key| reader.latest(7, key).expect("reads").map_or(0, |latest| latest.ts_us));
                    assert!(found.iter().all(|ts_us| *ts_us == found[0]), "one commit wrote all: {found:?}");
                    assert!(found[0] >= newest, "{} came behind {newest}", found[0]);
                    states += usize::from(found[0] > newest);
                    newest = found[0];
                }
                states
            })
        });
        for number in 1..2_000 {
            store.put_latest(7, keys.iter().map(|key| latest(key, number, 0, number)).collect()).expect("writes");
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("no reader panics") > 0);
        }
    });
}

#[test]
fn wrong_folders_are_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let zero = OnlineStore::open(&dir.path().join("zero"), 0, CACHE).expect_err("no shards");
    assert_eq!(zero.kind(), Kind::InvalidParameterValue);

    let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
    store.put_items(1, vec![item(&number_key(1), 1, 0, None, 1)], None).expect("puts");
    store.sync().expect("syncs");
    let second = OnlineStore::open(dir.path(), 2, CACHE).expect_err("in use");
    assert_eq!(second.kind(), Kind::ObjectInUse);
    assert!(second.hint().is_some());
    drop(store);

    let meta = dir.path().join(META_FILE);
    let text = fs::read(&meta).expect("meta");
    fs::remove_file(&meta).expect("removes");
    assert_eq!(OnlineStore::open(dir.path(), 2, CACHE).expect_err("no meta").kind(), Kind::DataCorrupted);
    for bad in ["", "{", r#"{"format":3,"shards":2}"#] {
        fs::write(&meta, bad).expect("writes");
        assert_eq!(OnlineStore::open(dir.path(), 2, CACHE).expect_err("bad meta").kind(), Kind::DataCorrupted);
    }
    // a store from before there were spans
    fs::write(&meta, r#"{"format":1,"shards":2}"#).expect("writes");
    drop(OnlineStore::open(dir.path(), 7, CACHE).expect("opens"));
    assert_eq!(fs::read(&meta).expect("meta"), text);
    drop(OnlineStore::open(dir.path(), 7, CACHE).expect("opens"));
    fs::remove_file(shard_path(dir.path(), 1)).expect("removes");
    assert_eq!(OnlineStore::open(dir.path(), 2, CACHE).expect_err("no shard").kind(), Kind::UndefinedFile);
}

#[test]
fn a_key_that_is_too_long_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 1, CACHE).expect("opens");
    let key = text_key(&"x".repeat(70_000));
    let refused = store.put_items(1, vec![item(&key, 1, 0, None, 1)], None).expect_err("too long");
    assert_eq!(refused.kind(), Kind::StringTooLong);
    let row = ItemRow { secondary: Some(Value::List(Vec::new().into())), ..item(&number_key(1), 1, 0, None, 1) };
    assert_eq!(store.put_items(1, vec![row], None).expect_err("a list").kind(), Kind::FeatureNotSupported);
}

const CRASH_DIR: &str = "GRANARY_TEST_ONLINE_CRASH_DIR";
const CRASH_KEYS: i64 = 40;

/// Round `n` upserts items at time `n % 5` of all keys and the latest row, and replaces time 100..105.
fn crash_round(store: &OnlineStore, round: i64) {
    let keys = || (0..CRASH_KEYS).map(number_key);
    let payload = |key: Key, time_us| ItemRow {
        key,
        time_us,
        sequence: 0,
        secondary: None,
        payload: round.to_be_bytes().to_vec(),
    };
    store.put_items(1, keys().map(|key| payload(key, round % 5)).collect(), None).expect("puts");
    store.put_latest(1, keys().map(|key| latest(&key, round, 0, round)).collect()).expect("puts");
    let replaced = keys().map(|key| Ok(payload(key, 100 + round % 5)));
    store.replace_items(2, 100..105, replaced, None).expect("replaces");
}

/// Not a test by itself: the process that `nothing_synced_is_lost` kills.
#[test]
fn crash_child() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let store = OnlineStore::open(Path::new(&dir), 3, CACHE).expect("opens");
    let last = store.reader().expect("reads").latest(1, &number_key(0)).expect("latest").map_or(-1, |row| row.ts_us);
    for round in last + 1.. {
        crash_round(&store, round);
        println!("\nwrote {round}");
        if round % 3 == 0 {
            store.sync().expect("syncs");
            println!("\nsynced {round}");
        }
    }
}

#[test]
fn nothing_synced_is_lost() {
    let dir = tempfile::tempdir().expect("folder");
    let mut random = Random(42);
    let mut synced = -1;
    for _ in 0..15 {
        let name = module_path!().split_once("::").expect("inside the crate").1.to_owned() + "::crash_child";
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &name, "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        // the pipe runs behind the writer, so the kill lands anywhere in a later round
        let lines = 2 + random.below(12) as usize;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        // not dropped before the kill: a closed pipe would end the child in its own way
        let mut output = output.lines().map(|line| line.expect("a line"));
        for line in output.by_ref().filter(|line| line.contains(' ')).take(lines) {
            if let Some(round) = line.strip_prefix("synced ") {
                synced = round.parse().expect("a number");
            }
        }
        child.kill().expect("kills");
        child.wait().expect("is gone");

        let store = OnlineStore::open(dir.path(), 3, CACHE).expect("opens after a kill");
        let reader = store.reader().expect("reads");
        for key in (0..CRASH_KEYS).map(number_key) {
            let row = reader.latest(1, &key).expect("latest").map_or(-1, |row| row.ts_us);
            assert!(row >= synced, "key {key:?} is at {row}, {synced} was synced");
            // each key is in the state of one round: its own last one
            for item in reader.items(1, &key, 0..5).expect("items") {
                let written = i64::from_be_bytes(item.payload.as_slice().try_into().expect("eight bytes"));
                assert!(
                    written >= synced - 4 && written % 5 == item.time_us && written <= row + 1,
                    "{item:?} at {row}"
                );
            }
            assert!(!reader.items(2, &key, 100..105).expect("items").is_empty() || synced < 0);
        }
        // running the rounds again from the synced one mends what was cut
        crash_round(&store, synced.max(0));
        let reader = store.reader().expect("reads");
        for key in (0..CRASH_KEYS).map(number_key) {
            let items = reader.items(2, &key, 100..105).expect("items");
            assert_eq!(items.len(), 1);
            assert_eq!(items[0].payload, synced.max(0).to_be_bytes());
        }
    }
    assert!(synced > 0, "the test has seen a sync");
}

#[test]
fn the_newest_item_takes_the_place_of_older_ones() {
    let dir = tempfile::tempdir().expect("folder");
    let store = OnlineStore::open(dir.path(), 3, CACHE).expect("opens");
    let keys = nasty_keys();
    let item = |key: &Key, time_us: i64, sequence: i64| ItemRow {
        key: key.clone(),
        time_us,
        sequence,
        secondary: None,
        payload: vec![1],
    };
    let orders = [(-5, 1), (0, 2), (0, 300), (7, 4), (9, 5)];
    let rows = keys.iter().flat_map(|key| orders.map(|(time_us, sequence)| item(key, time_us, sequence)));
    store.put_items(1, rows.clone().collect(), None).expect("writes");
    store.put_items(2, rows.collect(), None).expect("writes");
    let newest = |view: u64, key: &Key, times: Range<i64>| {
        let found = store.reader().expect("reads").newest_item(view, key, times).expect("reads");
        found.map(|item| (item.time_us, item.sequence))
    };
    for key in &keys {
        let until = [-6, -4, 1, 8, i64::MAX].map(|end| newest(1, key, i64::MIN..end));
        assert_eq!(until, [None, Some((-5, 1)), Some((0, 300)), Some((7, 4)), Some((9, 5))]);
        assert_eq!(
            (newest(1, key, 1..7), newest(1, key, 5..5), newest(3, key, i64::MIN..i64::MAX)),
            (None, None, None)
        );
    }
    let superseded = store.remove_superseded(1, 8).expect("removes");
    assert_eq!(superseded, 3 * keys.len() as u64);
    assert_eq!(store.remove_superseded(1, 8).expect("removes"), 0);
    let reader = store.reader().expect("reads");
    for key in &keys {
        let left = reader.items(1, key, i64::MIN..i64::MAX).expect("items");
        assert_eq!(left.iter().map(|item| item.time_us).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(reader.items(2, key, i64::MIN..i64::MAX).expect("items").len(), orders.len());
        assert!(reader.has(1, key).expect("reads") && !reader.has(3, key).expect("reads"));
    }
    let stranger = Key::encode([Some(&Value::Text("a stranger".into()))]).expect("not null");
    let found = store.remove_keys(1, keys.iter().chain([&stranger])).expect("removes");
    assert_eq!(found.len(), keys.len());
    assert!(!found.contains(&&stranger));
    assert_eq!(store.reader().expect("reads").keys(1).expect("keys").count(), 0);
    assert_eq!(store.reader().expect("reads").keys(2).expect("keys").count(), keys.len());
}

#[test]
fn marks_last_like_rows() {
    let dir = tempfile::tempdir().expect("folder");
    let mark = |name: &str, mark: Option<u64>| (name.to_owned(), mark);
    {
        let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
        assert_eq!(store.mark("a").expect("reads"), None);
        store.set_marks(&[mark("a", Some(7)), mark("b", Some(8)), mark("c", None)]).expect("writes");
        store.set_marks(&[mark("b", None)]).expect("writes");
        store.sync().expect("syncs");
    }
    let store = OnlineStore::open(dir.path(), 2, CACHE).expect("opens");
    let marks = ["a", "b", "c"].map(|name| store.mark(name).expect("reads"));
    assert_eq!(marks, [Some(7), None, None]);
}
