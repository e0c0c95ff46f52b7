//! A writer killed with SIGKILL at any point: the table is in the state after one of its writes, and clean after a sweep.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CRASH_DIR: &str = "GRANARY_TEST_OFFLINE_CRASH_DIR";

/// Write `number` as the crash test makes it: mostly appends, now and then a range is replaced.
fn crash_write(number: i64) -> (WriteKind, Vec<Row>) {
    let day = (number % 50) * DAY_US;
    let rows = |count: i64| (0..count).map(|key| row(&format!("k{key}"), day + key, number)).collect();
    if number % 4 == 3 {
        (WriteKind::ReplaceRange { start_us: day - 2 * DAY_US, end_us: day + 2 }, rows(2))
    } else {
        (WriteKind::Append, rows(5))
    }
}

/// Not a test by itself: the process that `a_killed_writer_leaves_a_prefix` kills.
#[test]
fn crash_child() {
    let Ok(dir) = std::env::var(CRASH_DIR) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = new_store(Path::new(&dir)).await;
        for number in 0.. {
            let (kind, rows) = crash_write(number);
            println!("\nbegins {number}");
            let write = Write::new(kind, keyed_stream(&rows)).with_transaction("crash", number);
            store.write("t", write).await.expect("writes");
            println!("\nwrote {number}");
            if number % 5 == 4 {
                // a rewrite changes no state, wherever it is killed
                rewrite::merge_all(&store).await;
            }
        }
    });
}

#[tokio::test]
async fn a_killed_writer_leaves_a_prefix() {
    let dir = tempfile::tempdir().expect("folder");
    let mut random = Random(7);
    // the rows after every write, computed as they are needed
    let mut states: Vec<Vec<Row>> = vec![Vec::new()];
    let mut by_value: BTreeMap<i64, usize> = BTreeMap::new();
    let mut swept = 0;
    let mut least = 0;
    for _ in 0..15 {
        let name = module_path!().split_once("::").expect("inside the crate").1.to_owned() + "::crash_child";
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &name, "--nocapture"])
            .env(CRASH_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        // known ones are told again in no time; then a few real ones
        let (start, more) = (least, random.below(6) as usize);
        let output = BufReader::new(child.stdout.take().expect("piped"));
        // not dropped before the kill: a closed pipe would end the child in its own way
        let mut output = output.lines().map(|line| line.expect("a line"));
        let mut seen = 0;
        for line in output.by_ref() {
            if let Some(number) = line.strip_prefix("wrote ") {
                least = least.max(number.parse::<usize>().expect("a number") + 1);
            }
            if least > start && (line.starts_with("begins ") || line.starts_with("wrote ")) {
                seen += 1;
                if seen > more {
                    break;
                }
            }
        }
        // anywhere between two lines: a random share of the time that a write takes
        let pause = std::time::Duration::from_micros(random.below(20_000));
        std::thread::park_timeout(pause);
        child.kill().expect("kills");
        child.wait().expect("is gone");

        let store = OfflineStore::open(dir.path()).expect("opens");
        let found = all_rows(&*table(&store, "t").await);
        while states.len() < least + 60 {
            let (kind, rows) = crash_write(states.len() as i64 - 1);
            let mut state = states.last().expect("begins empty").clone();
            if let WriteKind::ReplaceRange { start_us, end_us } = kind {
                state.retain(|row| !(start_us..end_us).contains(&row.1));
            }
            state.extend(rows);
            state.sort();
            states.push(state);
        }
        let prefix = states.iter().skip(least).position(|state| *state == found);
        let prefix = least + prefix.unwrap_or_else(|| panic!("{} rows are no state from {least} on", found.len()));
        by_value.insert(prefix as i64, found.len());
        least = prefix;
        swept += store.sweep_orphans("t").await.expect("sweeps");
        store.vacuum("t", i64::MAX).await.expect("vacuums");
        let table = table(&store, "t").await;
        assert_eq!(data_files(&table.path), table.files.len(), "no file but those of the table");
        let unfinished = fs::read_dir(table.path.join("_delta_log")).expect("lists");
        let unfinished = unfinished.filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(durable::UNFINISHED))
        });
        assert_eq!(unfinished.count(), 0);
        assert_eq!(all_rows(&table), found);
    }
    assert!(least > 15 && by_value.len() > 10, "the writer got on between the kills: {by_value:?}");
    assert!(swept > 0, "at least one kill left files behind");
}
