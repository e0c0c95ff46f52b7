//! What a log promises while nothing is wrong. Its parts: damaged files, failing disks, killed processes.

mod crash;
mod damage;
mod faults;
mod figures;
mod power;
#[path = "../../tests/it/random.rs"]
#[allow(dead_code)]
mod random;

use std::sync::mpsc;

use futures::FutureExt as _;
use futures::executor::block_on;

use super::disk::Operation;
use super::*;
use random::Random;

const STREAM: u64 = 7;

/// A folder in memory, if there is one: most tests open a log very many times, and only look at its bytes.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a temporary folder")
}

fn options(folder: &Path) -> Options {
    Options { idle: Duration::ZERO, ..Options::new(folder, STREAM) }
}

/// What a consumer was given.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Entry>>>);

impl Seen {
    fn consumer(&self) -> Consumer {
        let seen = Arc::clone(&self.0);
        Box::new(move |entries| {
            lock(&seen).extend_from_slice(entries);
            Ok(())
        })
    }

    fn entries(&self) -> Vec<Entry> {
        lock(&self.0).clone()
    }
}

fn nobody() -> Consumer {
    Box::new(|_| Ok(()))
}

fn open(folder: &Path) -> IngestLog {
    IngestLog::open(options(folder), 0, nobody()).expect("opens")
}

fn count(events: u32) -> NonZeroU32 {
    NonZeroU32::new(events).expect("not none")
}

fn append(log: &IngestLog, payload: &str, events: u32) -> Result<Range<u64>> {
    block_on(log.append(Bytes::copy_from_slice(payload.as_bytes()), count(events), 1_000))
}

fn entry(offset: u64, payload: &str, events: u32) -> Entry {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Entry { offset, events: count(events), appended_us: 1_000, payload }
}

fn read(log: &IngestLog, from: u64) -> Vec<Entry> {
    log.read(from).expect("begins").collect::<Result<_>>().expect("reads")
}

fn segments(folder: &Path) -> Vec<u64> {
    segment::list(folder).expect("lists")
}

fn kind<T>(result: Result<T>) -> Kind {
    result.err().expect("an error").kind()
}

#[test]
fn entries_are_read_and_consumed_as_they_were_appended() {
    let folder = folder();
    let seen = Seen::default();
    let expected = [entry(0, "a", 3), entry(3, "", 1), entry(4, "ccc", 2)];
    let log = IngestLog::open(options(folder.path()), 0, seen.consumer()).expect("opens");
    assert_eq!((log.first(), log.end(), log.consumed()), (0, 0, 0));
    assert_eq!(append(&log, "a", 3).expect("appends"), 0..3);
    assert_eq!(append(&log, "", 1).expect("appends"), 3..4);
    assert_eq!(read(&log, 0), expected[..2]);
    drop(log);
    let log = IngestLog::open(options(folder.path()), 4, seen.consumer()).expect("opens");
    assert_eq!(append(&log, "ccc", 2).expect("appends"), 4..6);
    assert_eq!((log.first(), log.end(), log.consumed()), (0, 6, 6));
    assert_eq!(read(&log, 0), expected);
    assert_eq!(seen.entries(), expected);
    // from the middle of an entry: it is given whole
    assert_eq!(read(&log, 2), expected);
    assert_eq!(read(&log, 3), expected[1..]);
    assert_eq!(read(&log, 5), expected[2..]);
    assert_eq!(read(&log, 6), []);
    assert_eq!(kind(log.read(7)), Kind::InvalidParameterValue);
    let counts = log.counts();
    assert_eq!((counts.groups, counts.entries, counts.events, counts.refused), (1, 1, 2, 0));
    assert_eq!(counts.bytes, 48 + 3);
    assert_eq!(log.size_bytes(), 4096 + 3 * 48 + 4);
}

#[test]
fn opening_gives_the_consumer_what_it_has_not_had() {
    let folder = folder();
    let log = open(folder.path());
    for payload in ["a", "b", "c"] {
        append(&log, payload, 2).expect("appends");
    }
    drop(log);
    let seen = Seen::default();
    let log = IngestLog::open(options(folder.path()), 2, seen.consumer()).expect("opens");
    assert_eq!(seen.entries(), [entry(2, "b", 2), entry(4, "c", 2)]);
    assert_eq!(log.consumed(), 6);
    drop(log);
    let failing: Consumer = Box::new(|_| Err(Error::new(Kind::DiskFull, "no room")));
    assert_eq!(kind(IngestLog::open(options(folder.path()), 2, failing)), Kind::DiskFull);
    open(folder.path());
}

#[test]
fn a_folder_is_open_once() {
    let folder = folder();
    let log = open(folder.path());
    let again = IngestLog::open(options(folder.path()), 0, nobody());
    assert_eq!(kind(again), Kind::ObjectInUse);
    append(&log, "a", 1).expect("appends");
    drop(log);
    open(folder.path());
}

#[test]
fn full_segments_are_followed_by_new_ones_and_removed_as_a_whole() {
    let folder = folder();
    let small = || Options { segment_bytes: 4096 + 100, ..options(folder.path()) };
    let log = IngestLog::open(small(), 0, nobody()).expect("opens");
    let payload = "x".repeat(60);
    for number in 0..6 {
        assert_eq!(append(&log, &payload, 10).expect("appends"), number * 10..number * 10 + 10);
    }
    // one frame is 108 bytes, and a segment is full with one
    assert_eq!(segments(folder.path()), [0, 10, 20, 30, 40, 50]);
    let reader = log.read(5).expect("begins");
    log.remove_before(29).expect("removes");
    assert_eq!(segments(folder.path()), [20, 30, 40, 50]);
    assert_eq!((log.first(), log.end()), (20, 60));
    assert_eq!(log.size_bytes(), 4 * (4096 + 108));
    assert_eq!(kind(log.read(19)), Kind::ObjectNotInPrerequisiteState);
    assert_eq!(kind(reader.collect::<Result<Vec<_>>>()), Kind::ObjectNotInPrerequisiteState);
    assert_eq!(read(&log, 20).len(), 4);
    drop(log);
    assert_eq!(kind(IngestLog::open(small(), 19, nobody())), Kind::ObjectNotInPrerequisiteState);
    let log = IngestLog::open(small(), 20, nobody()).expect("opens");
    assert_eq!((log.first(), log.end(), log.consumed()), (20, 60, 60));
    // all of it: the numbers go on
    log.remove_before(u64::MAX).expect("removes");
    assert_eq!((log.first(), log.end()), (60, 60));
    log.remove_before(60).expect("removes nothing");
    assert_eq!(segments(folder.path()), [60]);
    drop(log);
    let log = IngestLog::open(small(), 60, nobody()).expect("opens");
    assert_eq!(read(&log, 60), []);
    assert_eq!(append(&log, "on", 1).expect("appends"), 60..61);
    assert_eq!(read(&log, 60), [entry(60, "on", 1)]);
}

#[test]
fn nothing_is_removed_that_was_not_consumed() {
    let folder = folder();
    let failing: Consumer = Box::new(|_| Err(Error::new(Kind::DiskFull, "no room")));
    let log = IngestLog::open(options(folder.path()), 0, failing).expect("opens");
    append(&log, "a", 1).expect_err("is not consumed");
    log.remove_before(1).expect("removes nothing");
    assert_eq!(read(&log, 0), [entry(0, "a", 1)]);
}

#[test]
fn who_appends_too_much_waits_in_line() {
    let folder = folder();
    let (release, released) = mpsc::channel::<()>();
    let slow: Consumer = Box::new(move |_| {
        released.recv().expect("is released");
        Ok(())
    });
    let room = Options { waiting_bytes: 200, ..options(folder.path()) };
    let log = IngestLog::open(room, 0, slow).expect("opens");
    let payload = || Bytes::from(vec![1; 100]);
    let mut first = Box::pin(log.append(payload(), count(1), 0));
    let mut second = Box::pin(log.append(payload(), count(1), 0));
    let mut gone = Box::pin(log.append(payload(), count(1), 0));
    for waiting in [&mut first, &mut second, &mut gone] {
        assert!(waiting.now_or_never().is_none());
    }
    // the second has not got its room yet, nor the one that goes away
    assert_eq!(log.counts().waiting_bytes, 200);
    drop(gone);
    release.send(()).expect("is waited for");
    assert_eq!(block_on(first).expect("appends"), 0..1);
    release.send(()).expect("is waited for");
    assert_eq!(block_on(second).expect("appends"), 1..2);
    // more than all the room is let in alone
    release.send(()).expect("is waited for");
    assert_eq!(block_on(log.append(Bytes::from(vec![1; 1000]), count(1), 0)).expect("appends"), 2..3);
    assert_eq!((log.end(), log.counts().waiting_bytes), (3, 0));
    let too_long = block_on(log.append(Bytes::from(vec![0; PAYLOAD_MAX_BYTES + 1]), count(1), 0));
    assert_eq!(kind(too_long), Kind::ConfigurationLimitExceeded);
}

#[test]
fn an_append_that_is_dropped_in_line_is_stored_all_the_same() {
    let folder = folder();
    let seen = Seen::default();
    let log = IngestLog::open(options(folder.path()), 0, seen.consumer()).expect("opens");
    let mut dropped = Box::pin(log.append(Bytes::from_static(b"dropped"), count(2), 1_000));
    let _ = (&mut dropped).now_or_never();
    drop(dropped);
    assert_eq!(append(&log, "kept", 1).expect("appends"), 2..3);
    assert_eq!(seen.entries(), [entry(0, "dropped", 2), entry(2, "kept", 1)]);
    let _ = log.append(Bytes::from_static(b"last"), count(1), 1_000).now_or_never();
    drop(log);
    assert_eq!(read(&open(folder.path()), 3), [entry(3, "last", 1)], "closing waits for what is on its way");
}

#[test]
fn appends_that_wait_are_written_together() {
    let folder = folder();
    let log = open(folder.path());
    let tail = lock(&log.shared.tail);
    let mut waiting: Vec<_> =
        (0..50).map(|number| Box::pin(log.append(Bytes::from(vec![number]), count(1), 0))).collect();
    for append in &mut waiting {
        assert!(append.now_or_never().is_none());
    }
    drop(tail);
    for (number, append) in (0..).zip(waiting) {
        assert_eq!(block_on(append).expect("appends"), number..number + 1);
    }
    // the writer may have taken some before it had to wait for us
    assert!(log.counts().groups <= 2, "{:?}", log.counts());
}

#[test]
fn a_log_at_rest_has_no_threads() {
    let folder = folder();
    let log = open(folder.path());
    log.shared.wait_for_rest();
    for round in 0..3 {
        assert_eq!(append(&log, "a", 1).expect("appends"), round..round + 1);
        log.shared.wait_for_rest();
    }
}

#[test]
fn what_a_consumer_failed_at_is_given_to_it_again_before_anything_else() {
    let folder = folder();
    let seen = Seen::default();
    let failing = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (mut inner, fails) = (seen.consumer(), Arc::clone(&failing));
    let consumer: Consumer = Box::new(move |entries| {
        if fails.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(Error::new(Kind::DiskFull, "no room").with_detail("All of it."));
        }
        inner(entries)
    });
    let log = IngestLog::open(options(folder.path()), 0, consumer).expect("opens");
    append(&log, "a", 1).expect("appends");
    failing.store(true, std::sync::atomic::Ordering::SeqCst);
    let error = append(&log, "b", 1).expect_err("is not consumed");
    assert_eq!(error.kind(), Kind::DiskFull);
    assert!(error.detail().is_some_and(|detail| detail.starts_with("All of it. The events are stored")), "{error:?}");
    // this one is not written
    let error = append(&log, "c", 1).expect_err("is not consumed");
    assert_eq!(error.detail(), Some("All of it."));
    assert_eq!(kind(log.catch_up()), Kind::DiskFull);
    assert_eq!((log.consumed(), log.end(), log.counts().refused), (1, 2, 2));
    failing.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(append(&log, "d", 1).expect("appends"), 2..3);
    let expected = [entry(0, "a", 1), entry(1, "b", 1), entry(2, "d", 1)];
    assert_eq!(seen.entries(), expected);
    assert_eq!(read(&log, 0), expected);
    assert_eq!(log.consumed(), 3);
}

#[test]
fn a_consumer_that_panics_is_not_called_again() {
    let folder = folder();
    let panicking: Consumer = Box::new(|_| panic!("a test's panic"));
    let log = IngestLog::open(options(folder.path()), 0, panicking).expect("opens");
    for _ in 0..2 {
        assert_eq!(kind(append(&log, "a", 1)), Kind::Internal);
    }
    drop(log);
    assert_eq!(read(&open(folder.path()), 0), [entry(0, "a", 1)]);
}

/// Threads append, then the log is closed and opened again, sometimes with a torn write behind its end: whatever was
/// acknowledged is there once, in the order of its offsets, and was consumed like that.
#[test]
fn many_threads_and_many_openings_keep_every_entry() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let folder = folder();
        let mut expected: Vec<Entry> = Vec::new();
        for round in 0..5 {
            let consumed = expected.last().map_or(0, Entry::end_offset);
            let seen = Seen::default();
            let options = Options {
                segment_bytes: 4096 + random.below(4000),
                waiting_bytes: 50 + u32::try_from(random.below(5000)).expect("small"),
                idle: Duration::from_micros(random.below(200)),
                ..options(folder.path())
            };
            let log = IngestLog::open(options, consumed, seen.consumer()).unwrap_or_else(|e| panic!("{seed}: {e:?}"));
            let appended = append_from_threads(&log, &mut random, round);
            expected.extend(appended.iter().cloned());
            assert_eq!(read(&log, 0), expected, "seed {seed}, round {round}");
            assert_eq!(seen.entries(), appended, "seed {seed}, round {round}");
            drop(log);
            if random.chance(50) {
                let last = segments(folder.path()).pop().expect("one at least");
                let torn: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
                let file = File::options().append(true).open(segment::path_of(folder.path(), last)).expect("opens");
                std::io::Write::write_all(&mut &file, &torn).expect("writes");
            }
        }
    }
}

fn append_from_threads(log: &IngestLog, random: &mut Random, round: u64) -> Vec<Entry> {
    let seeds: Vec<u64> = (0..1 + random.below(6)).map(|_| random.next()).collect();
    let mut appended: Vec<Entry> = std::thread::scope(|scope| {
        let threads: Vec<_> = seeds
            .iter()
            .enumerate()
            .map(|(thread, seed)| {
                scope.spawn(move || {
                    let mut random = Random::new(*seed);
                    (0..random.below(20))
                        .map(|number| {
                            let length = usize::try_from(random.below(500)).expect("small");
                            let payload = format!("{round} {thread} {number} {}", "x".repeat(length));
                            let events = 1 + u32::try_from(random.below(5)).expect("small");
                            let offsets = append(log, &payload, events).expect("appends");
                            assert_eq!(offsets.end - offsets.start, u64::from(events));
                            entry(offsets.start, &payload, events)
                        })
                        .collect::<Vec<Entry>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    appended.sort_by_key(|entry| entry.offset);
    appended
}
