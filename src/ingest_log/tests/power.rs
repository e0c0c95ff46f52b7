//! The power goes while several threads append and segments are removed. What was synced is on the disk; of everything
//! else any part is, in pieces. Whatever was acknowledged before is found in what is left.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use super::disk::testing::names;
use super::*;

const THREADS: u64 = 4;
/// As small as no disk tears.
const PIECE_BYTES: usize = 64;

/// The files that a power cut leaves.
fn cut_power(folder: &Path, disk: &Disk, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
    let _between_operations = lock(&disk.testing.operation);
    let synced = disk.testing.on_disk();
    let now = names(folder);
    // file systems keep the order of changes to a folder: they are all there, or none since it was synced
    let named = if random.chance(50) { &now } else { &synced.names };
    let segments = named.iter().filter(|(name, _)| name.ends_with(".log"));
    segments
        .map(|(name, inode)| {
            let on_disk = synced.contents.get(inode).cloned().unwrap_or_default();
            let current = if now.get(name) == Some(inode) {
                std::fs::read(folder.join(name)).expect("reads")
            } else {
                on_disk.clone()
            };
            (name.clone(), torn(on_disk, &current, random))
        })
        .collect()
}

fn torn(mut bytes: Vec<u8>, current: &[u8], random: &mut Random) -> Vec<u8> {
    let longest = bytes.len().max(current.len());
    if longest > bytes.len() && random.chance(70) {
        bytes.resize(bytes.len() + random.below((longest - bytes.len()) as u64 + 1) as usize, 0);
    }
    let written = random.below(101);
    let length = bytes.len().min(current.len());
    for start in (0..length).step_by(PIECE_BYTES) {
        let end = (start + PIECE_BYTES).min(length);
        if random.chance(written) {
            bytes[start..end].copy_from_slice(&current[start..end]);
        }
    }
    bytes
}

fn append_until_told(log: &IngestLog, thread: u64, acknowledged: &Sender<Entry>) {
    let mut random = Random::new(thread);
    for number in 0.. {
        let length = usize::try_from(random.below(700)).expect("small");
        let payload = format!("{thread} {number} {}", "x".repeat(length));
        let events = 1 + u32::try_from(number % 4).expect("small");
        let offsets = append(log, &payload, events).expect("appends");
        if acknowledged.send(entry(offsets.start, &payload, events)).is_err() {
            return;
        }
    }
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let folder = folder();
    let disk = Disk::default();
    let options = || Options { segment_bytes: 4096 + 10_000, waiting_bytes: 5000, ..options(folder.path()) };
    let mut random = Random::new(3);
    let log = IngestLog::open_on(disk.clone(), options(), 0, nobody()).expect("opens");
    let (send, acknowledged) = mpsc::channel();
    let mut expected: BTreeMap<u64, Entry> = BTreeMap::new();
    let (mut torn_ends, mut removals) = (0, 0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, send) = (&log, send.clone());
            scope.spawn(move || append_until_told(log, thread, &send));
        }
        let acknowledged = acknowledged;
        for cut in 0..400 {
            for _ in 0..1 + random.below(10) {
                let entry = acknowledged.recv().expect("they go on");
                expected.insert(entry.offset, entry);
            }
            expected.extend(acknowledged.try_iter().map(|entry| (entry.offset, entry)));
            if random.chance(10) {
                removals += 1;
                log.remove_before(log.end().saturating_sub(random.below(50))).expect("removes");
            }
            let left = cut_power(folder.path(), &disk, &mut random);
            let (first, found) = found_in(&left, cut);
            torn_ends += usize::from(found.len() > expected.range(first..).count());
            for (offset, entry) in expected.range(first..) {
                assert_eq!(found.get(offset), Some(entry), "cut {cut}");
            }
            // what was removed stays so, or comes back whole
            assert!(first <= log.first(), "cut {cut}: {first}");
            expected.retain(|offset, _| *offset >= first);
        }
    });
    assert!(torn_ends > 0 && removals > 0, "{torn_ends} cuts left more than was acknowledged, {removals} removals");
}

/// The first offset, and the entries by theirs, of a log that is opened with these files.
fn found_in(left: &BTreeMap<String, Vec<u8>>, cut: usize) -> (u64, BTreeMap<u64, Entry>) {
    let folder = folder();
    for (name, bytes) in left {
        std::fs::write(folder.path().join(name), bytes).expect("writes");
    }
    let first = *segments(folder.path()).first().expect("a segment");
    let log = IngestLog::open(options(folder.path()), first, nobody()).unwrap_or_else(|e| panic!("cut {cut}: {e:?}"));
    let found = read(&log, first).into_iter().map(|entry| (entry.offset, entry)).collect();
    (first, found)
}
