//! A process that commits in a loop is killed, again and again: what it was told is durable is there afterwards, and
//! nothing is there by half.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use granary_catalog::*;

use crate::fixture::*;
use crate::random::Random;

/// Tells the test binary, run again as another process, which catalog to work on.
const CATALOG_VARIABLE: &str = "GRANARY_TEST_CRASH_CATALOG";
const KILLS: usize = 25;
/// The objects that one commit changes together.
const TOGETHER: [ObjectId; 3] = [SOURCE, SPEND, SERVICE];
/// Longer than a commit takes, so that kills fall into every part of one.
const COMMIT_US: i64 = 20_000;

/// Does nothing in an ordinary run of the tests.
#[test]
fn a_process_commits_until_it_is_killed() {
    if let Some(path) = std::env::var_os(CATALOG_VARIABLE) {
        work(path.as_ref());
    }
}

/// Each turn makes generation `n` of everything: three comments and a view in one commit, then a job over [n, n+1).
fn work(path: &Path) {
    let catalog = Catalog::open(path).unwrap();
    let mut output = std::io::stdout();
    let ledger = catalog.ledger();
    if catalog.snapshot().is_empty() {
        catalog.commit(Version::ZERO, &author("shop"), shop()).unwrap();
    }
    loop {
        let snapshot = catalog.snapshot();
        let generation = generation(&snapshot) + 1;
        let mut changes: Vec<Change> = TOGETHER.iter().map(|&id| comment(id, generation)).collect();
        let name = format!("generation_{generation}");
        changes.push(Change::put(view(snapshot.next_id(), PUBLIC, &name, &[SOURCE])));
        let version = catalog.commit(snapshot.version(), &author("…"), changes).unwrap().version();
        writeln!(output, "committed {version}").unwrap();
        output.flush().unwrap();

        let end_us = materialized_until(ledger) + 1;
        let job = ledger.create_job(job(end_us)).unwrap().id;
        ledger.start_attempt(job, 0).unwrap();
        ledger.finish(job, Outcome::Succeeded, 0).unwrap();
        writeln!(output, "materialized {end_us}").unwrap();
        output.flush().unwrap();
    }
}

fn comment(id: ObjectId, generation: u64) -> Change {
    Change::SetComment { id, comment: Some(generation.to_string()) }
}

fn job(end_us: i64) -> NewJob {
    let refresh = RefreshWork {
        view: SPEND,
        view_name: "user_spend".to_owned(),
        range: Interval::new(end_us - 1, end_us),
        online: true,
        offline: true,
        overwrite: false,
        groups: Vec::new(),
    };
    NewJob::new(JobWork::Refresh(refresh), WORKSPACE, author("…"))
}

/// The generation of the objects, which must be the same for all that change together.
fn generation(snapshot: &Snapshot) -> u64 {
    let generations = TOGETHER.map(|id| {
        let comment = snapshot.get(id).unwrap().header().comment.as_deref();
        comment.map_or(0, |generation| generation.parse().unwrap())
    });
    assert!(generations.iter().all(|&generation| generation == generations[0]), "{generations:?}");
    let views = snapshot.all::<View>();
    assert_eq!(views.len() as u64, generations[0]);
    generations[0]
}

fn materialized_until(ledger: &Ledger) -> i64 {
    let [offline, online] = StoreKind::ALL.map(|store| ledger.ranges(SPEND, store).iter().collect::<Vec<_>>());
    assert_eq!(offline, online);
    match offline.as_slice() {
        [] => 0,
        [Interval { start_us: 0, end_us }] => *end_us,
        other => panic!("{other:?}"),
    }
}

/// Runs the child and kills it some time after it acknowledged `after_lines` lines; tells what it acknowledged.
fn run_and_kill(path: &Path, after_lines: usize, then_us: i64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::a_process_commits_until_it_is_killed", "--nocapture"]);
    let mut child = child.env(CATALOG_VARIABLE, path).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        lines.filter(|line| line.starts_with("committed ") || line.starts_with("materialized ")).for_each(|line| {
            // After the kill nobody waits any more, but what was written before it still counts.
            let _ = sender.send(line);
        });
    });
    let mut acknowledged: Vec<String> = receiver.iter().take(after_lines).collect();
    // Not at the next acknowledgement but at any moment between two of them.
    let kill_at = Instant::now() + Duration::from_micros(then_us as u64);
    loop {
        match receiver.recv_timeout(kill_at.saturating_duration_since(Instant::now())) {
            Ok(line) => acknowledged.push(line),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    acknowledged.extend(receiver.iter());
    acknowledged
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut random = Random::new(11);
    let place = place();
    let (mut version, mut until) = (0, 0);
    let mut interrupted = 0;
    for _ in 0..KILLS {
        let after_lines = random.below(12);
        let then_us = random.between(0, COMMIT_US);
        for line in run_and_kill(&place.path, after_lines, then_us) {
            let (what, number) = line.split_once(' ').unwrap();
            match what {
                "committed" => version = number.parse().unwrap(),
                _ => until = number.parse().unwrap(),
            }
        }
        let catalog = Catalog::open(&place.path).unwrap();
        let snapshot = catalog.snapshot();
        let found = snapshot.version().0;
        assert!(found >= version, "acknowledged {version}, found {found}");
        if !snapshot.is_empty() {
            // Version 1 made the shop, each one after it a generation.
            assert_eq!(generation(&snapshot), found - 1);
        }
        assert_eq!(catalog.history(&HistoryFilter::default()).unwrap().len() as u64, found);
        let found = materialized_until(catalog.ledger());
        assert!(found >= until, "acknowledged {until}, found {found}");
        let in_flight = catalog.ledger().interrupted_at_open().len();
        assert!(in_flight <= 1);
        interrupted += in_flight;
        (version, until) = (snapshot.version().0, found);
    }
    // Else the kills come at the wrong moments and the test shows nothing.
    assert!(interrupted > 0);
    assert!(version > 25, "the child hardly ever got to commit: {version}");
}
