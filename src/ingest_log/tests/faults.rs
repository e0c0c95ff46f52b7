//! A disk that fails: what is refused is not there, what was acknowledged stays, and all goes on when it is cured.

use std::io::ErrorKind;
use std::process::Command;

use super::*;

struct Faulty {
    disk: Disk,
    folder: tempfile::TempDir,
    seen: Seen,
}

impl Faulty {
    fn new() -> Faulty {
        Faulty { disk: Disk::default(), folder: folder(), seen: Seen::default() }
    }

    fn fails(&self, faults: &[(Operation, ErrorKind)]) {
        lock(&self.disk.testing.faults).extend_from_slice(faults);
    }

    fn all_met(&self) {
        assert_eq!(*lock(&self.disk.testing.faults), []);
    }

    /// Its threads stay, so that no sync but those of the appends meets a fault.
    fn open(&self, segment_bytes: u64) -> IngestLog {
        let idle = Duration::from_secs(3600);
        let options = Options { segment_bytes, idle, ..options(self.folder.path()) };
        IngestLog::open_on(self.disk.clone(), options, 0, self.seen.consumer()).expect("opens")
    }
}

#[test]
fn a_write_that_fails_is_refused_and_leaves_nothing() {
    for (error, expected) in [
        (ErrorKind::StorageFull, Kind::DiskFull),
        (ErrorKind::QuotaExceeded, Kind::DiskFull),
        (ErrorKind::Other, Kind::IoError),
    ] {
        let faulty = Faulty::new();
        let log = faulty.open(1 << 20);
        append(&log, "a", 2).expect("appends");
        faulty.fails(&[(Operation::Write, error)]);
        let refused = append(&log, "refused", 3).expect_err("is refused");
        assert_eq!(refused.kind(), expected, "{refused:?}");
        assert!(refused.message().contains("00000000000000000000.log"), "{refused:?}");
        assert_eq!(read(&log, 0), [entry(0, "a", 2)]);
        assert_eq!(append(&log, "b", 1).expect("appends"), 2..3);
        assert_eq!(segments(faulty.folder.path()), [0], "the same segment goes on");
        drop(log);
        assert_eq!(read(&open(faulty.folder.path()), 0), [entry(0, "a", 2), entry(2, "b", 1)]);
        assert_eq!(faulty.seen.entries(), [entry(0, "a", 2), entry(2, "b", 1)]);
        faulty.all_met();
    }
}

/// After a failed sync, or a failed write that could not be cut off, the segment is left as it is, and the next group
/// begins a new one; the bytes of the refused group are still in the old one, and nobody believes them.
#[test]
fn a_segment_of_unknown_state_is_never_written_again() {
    let io = ErrorKind::Other;
    for faults in [
        &[(Operation::Sync, io)][..],
        &[(Operation::Sync, ErrorKind::StorageFull), (Operation::Cut, io)],
        &[(Operation::Write, io), (Operation::Cut, io)],
    ] {
        let faulty = Faulty::new();
        let log = faulty.open(1 << 20);
        append(&log, "a", 2).expect("appends");
        faulty.fails(faults);
        append(&log, "refused", 3).expect_err("is refused");
        assert_eq!(read(&log, 0), [entry(0, "a", 2)]);
        assert_eq!(append(&log, "b", 1).expect("appends"), 2..3);
        append(&log, "c", 1).expect("appends");
        let expected = [entry(0, "a", 2), entry(2, "b", 1), entry(3, "c", 1)];
        assert_eq!(segments(faulty.folder.path()), [0, 2]);
        assert_eq!(read(&log, 0), expected);
        drop(log);
        assert_eq!(read(&open(faulty.folder.path()), 0), expected);
        assert_eq!(faulty.seen.entries(), expected);
        faulty.all_met();
    }
}

#[test]
fn a_segment_without_events_is_replaced_by_one_of_the_same_name() {
    let faulty = Faulty::new();
    let log = faulty.open(1 << 20);
    faulty.fails(&[(Operation::Sync, ErrorKind::Other), (Operation::Cut, ErrorKind::Other)]);
    append(&log, "refused", 3).expect_err("is refused");
    assert_eq!(append(&log, "a", 1).expect("appends"), 0..1);
    assert_eq!(segments(faulty.folder.path()), [0]);
    assert_eq!(read(&log, 0), [entry(0, "a", 1)]);
    drop(log);
    assert_eq!(read(&open(faulty.folder.path()), 0), [entry(0, "a", 1)]);
}

#[test]
fn a_new_segment_that_cannot_be_made_is_tried_again() {
    for operation in [Operation::Create, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncFolder] {
        let faulty = Faulty::new();
        let log = faulty.open(0);
        append(&log, "a", 2).expect("appends");
        for _ in 0..2 {
            faulty.fails(&[(operation, ErrorKind::StorageFull)]);
            assert_eq!(kind(append(&log, "refused", 3)), Kind::DiskFull, "{operation:?}");
        }
        assert_eq!(append(&log, "b", 1).expect("appends"), 2..3);
        let expected = [entry(0, "a", 2), entry(2, "b", 1)];
        assert_eq!(read(&log, 0), expected);
        drop(log);
        assert_eq!(read(&open(faulty.folder.path()), 0), expected);
        assert_eq!(segments(faulty.folder.path()), [0, 2]);
        faulty.all_met();
    }
}

/// The new segment may have its name already, so that nothing behind its first offset counts in the old one.
#[test]
fn a_removal_that_fails_leaves_a_log_that_goes_on() {
    for operation in [Operation::Create, Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncFolder] {
        let faulty = Faulty::new();
        let log = faulty.open(1 << 20);
        append(&log, "a", 2).expect("appends");
        faulty.fails(&[(operation, ErrorKind::Other)]);
        log.remove_before(2).expect_err("fails");
        assert_eq!(append(&log, "b", 1).expect("appends"), 2..3);
        let expected = [entry(0, "a", 2), entry(2, "b", 1)];
        assert_eq!(read(&log, 0), expected, "{operation:?}");
        drop(log);
        let log = open(faulty.folder.path());
        assert_eq!(read(&log, 0), expected, "{operation:?}");
        log.remove_before(2).expect("removes");
        assert_eq!(read(&log, 2), expected[1..]);
        faulty.all_met();
    }
}

/// Any faults at any time, and openings in between. What was refused may be there only if the log was opened before
/// anything else could be stored.
#[test]
fn under_any_faults_what_was_acknowledged_stays_and_what_was_refused_does_not_come_back() {
    const OPERATIONS: [Operation; 6] = [
        Operation::Write,
        Operation::Sync,
        Operation::Cut,
        Operation::Create,
        Operation::Rename,
        Operation::SyncFolder,
    ];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let faulty = Faulty::new();
        let mut log = faulty.open(4096 + 300);
        let mut expected: Vec<Entry> = Vec::new();
        // since the last that was not
        let mut refused: Vec<Entry> = Vec::new();
        for number in 0..20 {
            if random.chance(40) {
                faulty.fails(&[(*random.pick(&OPERATIONS), ErrorKind::Other)]);
            }
            let payload = format!("{number} {}", "x".repeat(usize::try_from(random.below(200)).expect("small")));
            let offset = expected.last().map_or(0, Entry::end_offset);
            match append(&log, &payload, 2) {
                Ok(offsets) => {
                    assert_eq!(offsets.start, offset, "seed {seed}");
                    expected.push(entry(offset, &payload, 2));
                    refused.clear();
                }
                Err(_) => refused.push(entry(offset, &payload, 2)),
            }
            assert_eq!(read(&log, 0), expected, "seed {seed}");
            if random.chance(20) {
                drop(log);
                lock(&faulty.disk.testing.faults).clear();
                log = faulty.open(4096 + 300);
                let found = read(&log, 0);
                if found.len() == expected.len() + 1 {
                    let last = found.last().expect("one more");
                    assert!(refused.contains(last), "seed {seed}: {last:?}");
                    expected.push(last.clone());
                    refused.clear();
                }
                assert_eq!(found, expected, "seed {seed}");
            }
        }
    }
}

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(folder.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(SmallDisk(folder))
    }

    fn resize(&self, size: &str) {
        let resized = Command::new("mount").arg("-o").arg(format!("remount,size={size}")).arg(self.0.path()).status();
        assert!(resized.expect("mount runs").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: a small disk cannot be mounted here, which takes root");
        return;
    };
    let folder = disk.0.path().join("log");
    // once in the middle of a segment, and once where each group begins a new one
    for segment_bytes in [1 << 20, 0] {
        let open = || IngestLog::open(Options { segment_bytes, ..options(&folder) }, 0, nobody()).expect("opens");
        let log = open();
        let mut expected = Vec::new();
        let payload = "x".repeat(10_000);
        let error = loop {
            match append(&log, &payload, 1) {
                Ok(offsets) => expected.push(entry(offsets.start, &payload, 1)),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), Kind::DiskFull);
        assert!(error.message().contains("No space left on device"), "{error:?}");
        assert_eq!(kind(append(&log, &payload, 1)), Kind::DiskFull);
        assert_eq!(read(&log, 0), expected);
        drop(log);

        // opening needs no room
        let log = open();
        assert_eq!(read(&log, 0), expected);
        assert_eq!(kind(append(&log, &payload, 1)), Kind::DiskFull);
        if segment_bytes > 0 {
            disk.resize("512k");
        } else {
            // nor does a removal
            log.remove_before(log.end() - 1).expect("removes");
            expected.drain(..expected.len() - 1);
        }
        let offset = append(&log, &payload, 1).expect("there is room again").start;
        expected.push(entry(offset, &payload, 1));
        assert_eq!(read(&log, log.first()), expected);
        log.remove_before(log.end()).expect("removes");
        assert_eq!((log.first(), read(&log, log.end())), (offset + 1, Vec::new()));
        drop(log);
        std::fs::remove_dir_all(&folder).expect("removes");
        disk.resize("256k");
    }
}
