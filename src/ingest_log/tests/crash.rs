//! kill -9 while several threads append, many times. The killed process is this test's own program, told by a variable
//! to be the one that appends; it says on its output what was acknowledged.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use super::*;

const KILLS: u64 = 40;
const THREADS: u64 = 4;
const FOLDER_VARIABLE: &str = "INGEST_LOG_CRASH_FOLDER";
const ROUND_VARIABLE: &str = "INGEST_LOG_CRASH_ROUND";
/// Small, so that kills meet new segments as well.
const SEGMENT_BYTES: u64 = 4096 + 20_000;

fn crash_options(folder: &Path) -> Options {
    Options { segment_bytes: SEGMENT_BYTES, waiting_bytes: 3000, ..options(folder) }
}

fn payload(thread: u64, round: u64, number: u64) -> String {
    let mut random = Random::new(thread * 1_000_003 + round * 1009 + number);
    format!("{thread} {round} {number} {}", "x".repeat(usize::try_from(random.below(800)).expect("small")))
}

/// The process that is killed; with no variable set, there is nothing to do.
#[test]
fn appends_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE) else { return };
    let round = std::env::var(ROUND_VARIABLE).expect("a round").parse().expect("a number");
    let log = IngestLog::open(crash_options(Path::new(&folder)), 0, nobody()).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for number in 0.. {
                    let events = 1 + u32::try_from(number % 3).expect("small");
                    let offsets = append(log, &payload(thread, round, number), events).expect("appends");
                    let line = format!("acknowledged {thread} {number} {} {}\n", offsets.start, offsets.end);
                    // fails once the other end of the pipe is gone
                    if std::io::stdout().write_all(line.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

fn start(folder: &Path, round: u64) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "ingest_log::tests::crash::appends_until_it_is_killed", "--nocapture"])
        .env(FOLDER_VARIABLE, folder)
        .env(ROUND_VARIABLE, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// Thread, number, first offset, end.
fn acknowledged(line: &str) -> Option<[u64; 4]> {
    // the harness may have written something before, on the same line
    let (_, numbers) = line.split_once("acknowledged ")?;
    let numbers: Option<Vec<u64>> = numbers.split(' ').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[test]
fn what_was_acknowledged_survives_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::new(11);
    // where each acknowledged payload is
    let mut expected: HashMap<u64, (String, u64)> = HashMap::new();
    let mut unacknowledged = HashSet::new();
    for round in 0..KILLS {
        let mut child = start(folder.path(), round);
        let lives = random.below(150);
        let mut output = BufReader::new(child.stdout.take().expect("is piped"));
        let mut line = String::new();
        let mut seen = 0;
        while output.read_line(&mut line).expect("text") > 0 {
            if let Some([thread, number, start, end]) = acknowledged(line.trim_end()).filter(|_| line.ends_with('\n')) {
                let before = expected.insert(start, (payload(thread, round, number), end));
                assert_eq!(before, None, "offset {start} was given twice");
                seen += 1;
                if seen == lives + 1 {
                    child.kill().expect("SIGKILL");
                }
            }
            line.clear();
        }
        child.kill().expect("SIGKILL");
        child.wait().expect("ends");
        assert!(seen > lives, "the process ended by itself");

        let log = IngestLog::open(crash_options(folder.path()), 0, nobody()).expect("opens");
        let mut found = 0;
        let mut numbers: HashMap<(String, String), u64> = HashMap::new();
        for entry in log.read(0).expect("begins") {
            let entry = entry.expect("reads");
            let text = String::from_utf8(entry.payload.to_vec()).expect("text");
            let words: Vec<&str> = text.split(' ').collect();
            // each thread's entries are there once, in its order
            let next = numbers.entry((words[0].to_owned(), words[1].to_owned())).or_default();
            assert_eq!(words[2], next.to_string(), "of thread {} in round {}", words[0], words[1]);
            *next += 1;
            match expected.get(&entry.offset) {
                Some((payload, end)) => {
                    assert_eq!((&text, entry.end_offset()), (payload, *end));
                    found += 1;
                }
                None => drop(unacknowledged.insert(entry.offset)),
            }
        }
        assert_eq!(found, expected.len(), "round {round}");
    }
    let segments = segments(folder.path()).len();
    let (acknowledged, others) = (expected.len(), unacknowledged.len());
    eprintln!("{acknowledged} entries acknowledged, {others} found that were not, {segments} segments");
    assert!(segments > 10, "the kills met new segments, too");
}
