//! Files that are not as they were written: torn ends are cut off, damage is an error with file and byte, and never is
//! an entry that was acknowledged missing or another.

use super::format::{HEADER_BYTES, Mark, Turn, encode_header, encode_mark};
use super::tail::Frame;
use super::*;

const SALT: u64 = 0x5A17_5A17_5A17_5A17;
/// Two groups of one entry, one of three.
const GROUPS: [&[(&str, u32)]; 3] = [&[("first", 2)], &[("second", 1)], &[("", 3), ("a longer payload", 1), ("x", 1)]];

/// A log's files by name, as they are after each of the groups, and what is in them.
struct Written {
    states: Vec<Files>,
    entries: Vec<Vec<Entry>>,
}

type Files = Vec<(String, Vec<u8>)>;

fn files(folder: &Path) -> Files {
    segments(folder)
        .into_iter()
        .map(|first_offset| {
            let path = segment::path_of(folder, first_offset);
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(path).expect("reads"))
        })
        .collect()
}

/// Writes the groups, without threads, so that it is known what is in which. Those in `new_segments` begin one.
fn write(groups: &[&[(&str, u32)]], new_segments: &[usize]) -> Written {
    let folder = folder();
    let disk = Disk::default();
    let identity = Identity { stream: STREAM, first_offset: 0, previous: 0, salt: SALT };
    let segment = Segment::create(&disk, folder.path(), identity).expect("creates");
    let mut tail = Tail::new(disk, folder.path(), 1 << 20, segment);
    let mut written = Written { states: vec![files(folder.path())], entries: vec![Vec::new()] };
    let mut all = Vec::new();
    for (number, group) in groups.iter().enumerate() {
        if new_segments.contains(&number) {
            tail.begin_segment().expect("begins");
        }
        let mut frames = Vec::new();
        for (payload, events) in *group {
            let entry = entry(all.last().map_or(0, Entry::end_offset), payload, *events);
            all.push(entry.clone());
            frames.push(Frame { payload_checksum: format::payload_checksum(&entry.payload), entry });
        }
        tail.write(&frames, &mut Vec::new()).expect("writes");
        tail.mark();
        // the bytes that count, without room
        tail.close();
        written.states.push(files(folder.path()));
        written.entries.push(all.clone());
    }
    written
}

fn put(files: &Files) -> tempfile::TempDir {
    let folder = folder();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("writes");
    }
    folder
}

/// Opens a log of these files and reads all of it.
fn entries_of(files: &Files) -> Result<Vec<Entry>> {
    let folder = put(files);
    let log = IngestLog::open(options(folder.path()), 0, nobody())?;
    log.read(0)?.collect()
}

/// The file and the byte that an error of damage names.
fn place_of(error: &Error) -> (String, u64) {
    assert_eq!(error.kind(), Kind::DataCorrupted, "{error:?}");
    let (path, rest) = error.message().split_once("\" is damaged at byte ").expect("names a byte");
    let byte = rest.split_once(':').expect("and says what").0.parse().expect("a number");
    (path.rsplit('/').next().expect("a file").to_owned(), byte)
}

/// What holds for any one damage to a log at rest.
fn all_there_or_an_error(files: &Files, entries: &[Entry], damaged_file: &str, what: std::fmt::Arguments<'_>) -> bool {
    match entries_of(files) {
        Ok(found) => {
            assert_eq!(found, entries, "{what}");
            false
        }
        Err(error) => {
            assert_eq!(place_of(&error).0, damaged_file, "{what}: {error:?}");
            true
        }
    }
}

#[test]
fn a_log_at_rest_that_lacks_its_end_is_damaged() {
    for new_segments in [&[][..], &[2]] {
        let written = write(&GROUPS, new_segments);
        let whole = written.states.last().expect("a state");
        for file in 0..whole.len() {
            for length in 0..whole[file].1.len() {
                let mut cut = whole.clone();
                cut[file].1.truncate(length);
                let error = entries_of(&cut).expect_err("is damaged");
                let (name, byte) = place_of(&error);
                assert_eq!(name, whole[file].0);
                assert!(byte <= length as u64, "{error:?} for {length}");
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_log_at_rest_is_an_error_or_changes_nothing() {
    for new_segments in [&[][..], &[1]] {
        let written = write(&GROUPS, new_segments);
        let (whole, entries) = (written.states.last().expect("a state"), written.entries.last().expect("all"));
        for (file, (name, bytes)) in whole.iter().enumerate() {
            for byte in (0..48).chain(512..532).chain(1024..1044).chain(HEADER_BYTES as usize..bytes.len()) {
                // all bits of a log in one file; of several files one bit of each byte
                for bit in if whole.len() == 1 { 0..8 } else { byte % 8..byte % 8 + 1 } {
                    let mut flipped = whole.clone();
                    flipped[file].1[byte] ^= 1 << bit;
                    let noticed = all_there_or_an_error(
                        &flipped,
                        entries,
                        name,
                        format_args!("byte {byte} of {name}, bit {bit}"),
                    );
                    // all but the marks matters
                    assert_eq!(noticed, !(512..2048).contains(&byte), "byte {byte} of {name}");
                }
            }
        }
    }
}

#[test]
fn every_overwritten_or_inserted_byte_of_a_log_at_rest_is_an_error_or_changes_nothing() {
    let written = write(&GROUPS, &[1]);
    let (whole, entries) = (written.states.last().expect("a state"), written.entries.last().expect("all"));
    let mut random = Random::new(1);
    for (file, (name, bytes)) in whole.iter().enumerate() {
        for byte in (0..48).chain(HEADER_BYTES as usize..bytes.len()) {
            let random_byte = random.below(256) as u8;
            let value = *random.pick(&[0, 255, random_byte]);
            let mut changed = whole.clone();
            changed[file].1[byte] = value;
            all_there_or_an_error(&changed, entries, name, format_args!("byte {byte} of {name} is {value}"));
            let mut longer = whole.clone();
            longer[file].1.insert(byte, 1);
            assert!(all_there_or_an_error(&longer, entries, name, format_args!("before byte {byte} of {name}")));
            let mut shorter = whole.clone();
            shorter[file].1.remove(byte);
            assert!(all_there_or_an_error(&shorter, entries, name, format_args!("without byte {byte} of {name}")));
        }
    }
}

/// A byte too many where it is not noticed by itself moves both marks, and the frames behind them.
#[test]
fn a_marked_segment_without_a_frame_is_damaged() {
    let written = write(&GROUPS, &[]);
    let (name, bytes) = &written.states.last().expect("a state")[0];
    for byte in 47..512 {
        let mut longer = bytes.clone();
        longer.insert(byte, bytes[byte]);
        let error = entries_of(&vec![(name.clone(), longer)]).expect_err("is damaged");
        assert_eq!(place_of(&error), (name.clone(), HEADER_BYTES), "before byte {byte}: {error:?}");
    }
}

/// The last group was being written when the power went: of its bytes any part is there, in pieces as small as a byte,
/// and the file has any length. What was acknowledged before is whole, the group's entries are there from its first
/// on, or not, and the log goes on.
#[test]
fn a_torn_group_is_cut_off_and_nothing_before_it() {
    let written = write(&GROUPS, &[]);
    let mut random = Random::new(2);
    let mut kept = [0; 4];
    for case in 0..3000 {
        let acknowledged = 1 + case % 2;
        let before = &written.states[acknowledged];
        let (name, new) = &written.states[acknowledged + 1][0];
        let old_bytes = before[0].1.len();
        let piece_bytes = 1 + random.below(60) as usize;
        let lost = random.below(100);
        let mut torn = before[0].1.clone();
        let most_bytes = new.len() - old_bytes + random.below(40) as usize;
        torn.resize(old_bytes + random.below(most_bytes as u64 + 1) as usize, 0);
        for start in (old_bytes..torn.len().min(new.len())).step_by(piece_bytes) {
            let end = (start + piece_bytes).min(torn.len()).min(new.len());
            if !random.chance(lost) {
                torn[start..end].copy_from_slice(&new[start..end]);
            }
        }
        if random.chance(50) {
            // there was room, and the group did not fill it
            torn.resize(torn.len() + random.below(100_000) as usize, 0);
        }
        if random.chance(50) {
            // the newest mark did not get to the disk, or was torn
            let position = 512 * (1 + (acknowledged + 1) % 2);
            let byte = position + random.below(20) as usize;
            torn[byte] ^= 1 + random.below(255) as u8;
        }
        let folder = put(&vec![(name.clone(), torn)]);
        let log = open(folder.path());
        let found = read(&log, 0);
        let (least, most) = (&written.entries[acknowledged], &written.entries[acknowledged + 1]);
        assert!(found.len() >= least.len() && most.starts_with(&found), "case {case}: {found:?}");
        kept[found.len() - least.len()] += 1;
        let next = append(&log, "next", 1).expect("appends");
        drop(log);
        let again = read(&open(folder.path()), 0);
        assert_eq!(again[..found.len()], found);
        assert_eq!(again[found.len()..], [entry(next.start, "next", 1)]);
    }
    assert!(kept.iter().all(|cases| *cases > 0), "all kinds of torn groups were tried: {kept:?}");
}

/// Without any mark, frames of later groups still tell what was on disk. Only of the last group it cannot be known.
#[test]
fn damage_before_a_later_group_is_never_taken_for_a_torn_end() {
    let mut written = write(&GROUPS, &[]);
    let first_of_group: Vec<usize> = written.states.iter().map(|files| files[0].1.len()).collect();
    let (whole, entries) = (&mut written.states[3], &written.entries);
    let name = whole[0].0.clone();
    whole[0].1[512..2048].fill(0);
    assert_eq!(entries_of(whole).expect("reads"), entries[3]);
    whole[0].1.resize(first_of_group[3] + 100, 0);
    assert_eq!(entries_of(whole).expect("reads"), entries[3]);
    for byte in HEADER_BYTES as usize..first_of_group[3] {
        let mut flipped = whole.clone();
        flipped[0].1[byte] ^= 16;
        let group = first_of_group.iter().rposition(|start| *start <= byte).expect("behind the header");
        match entries_of(&flipped) {
            Ok(found) => {
                assert_eq!(group, 2, "byte {byte}");
                assert!(found.len() >= entries[2].len() && entries[3].starts_with(&found), "byte {byte}");
            }
            Err(error) => assert_eq!(place_of(&error), (name.clone(), first_of_group[group] as u64), "byte {byte}"),
        }
    }
}

/// A payload may be anything, also what looks like the frames of a later group, at their right place.
#[test]
fn a_payload_that_looks_like_frames_is_not_taken_for_them() {
    let other = write(&GROUPS, &[]).states.pop().expect("a state").remove(0).1;
    let text: String = other[HEADER_BYTES as usize..].iter().map(|byte| char::from(byte & 0x7F)).collect();
    let written = write(&[&[("first", 1)], &[(&text, 1)]], &[]);
    let (name, bytes) = &written.states[2][0];
    for length in written.states[1][0].1.len()..bytes.len() {
        let mut torn = bytes[..length].to_vec();
        // as of the first group
        torn[..HEADER_BYTES as usize].copy_from_slice(&written.states[1][0].1[..HEADER_BYTES as usize]);
        assert_eq!(entries_of(&vec![(name.clone(), torn)]).expect("is torn"), written.entries[1]);
    }
}

#[test]
fn missing_and_foreign_files_are_noticed() {
    let written = write(&GROUPS, &[1, 2]);
    let (whole, entries) = (&written.states[3], &written.entries[3]);
    let names: Vec<&str> = whole.iter().map(|file| file.0.as_str()).collect();
    assert_eq!(names, ["00000000000000000000.log", "00000000000000000002.log", "00000000000000000003.log"]);
    assert_eq!(&entries_of(whole).expect("reads"), entries);

    let mut lacks_middle = whole.clone();
    lacks_middle.remove(1);
    let error = entries_of(&lacks_middle).expect_err("is noticed");
    assert_eq!(place_of(&error), ("00000000000000000003.log".to_owned(), 32));
    assert!(error.message().contains("it follows \"00000000000000000002.log\", which is missing"), "{error:?}");

    // the last one, or all of them: who consumed knows better
    let mut lacks_last = whole.clone();
    lacks_last.pop();
    for files in [lacks_last, Vec::new()] {
        let folder = put(&files);
        let error = IngestLog::open(options(folder.path()), 8, nobody()).expect_err("is noticed");
        place_of(&error);
    }

    let mut misnamed = whole.clone();
    misnamed[2].0 = "00000000000000000004.log".to_owned();
    assert_eq!(place_of(&entries_of(&misnamed).expect_err("is noticed")), ("00000000000000000004.log".to_owned(), 24));
    misnamed[2].0 = "3.log".to_owned();
    assert_eq!(place_of(&entries_of(&misnamed).expect_err("is noticed")), ("3.log".to_owned(), 0));

    let foreign = Identity { stream: STREAM + 1, first_offset: 3, previous: 2, salt: SALT };
    let later_format = {
        let mut bytes = whole[2].1.clone();
        bytes[8] = 2;
        bytes
    };
    for (place, bytes, byte) in [(1, later_format.clone(), 24), (2, encode_header(&foreign), 16), (2, later_format, 8)]
    {
        let mut files = whole.clone();
        let byte = if place == 1 { 8 } else { byte };
        files[place].1 = bytes;
        assert_eq!(place_of(&entries_of(&files).expect_err("is noticed")), (names[place].to_owned(), byte));
    }
}

/// A gap that no single file shows: a segment ends whole, but before the next one begins.
#[test]
fn a_gap_between_segments_is_noticed_when_it_is_read() {
    let written = write(&GROUPS, &[2]);
    let mut files = written.states[3].clone();
    files[0] = written.states[1][0].clone();
    let length = files[0].1.len() as u64;
    assert_eq!(place_of(&entries_of(&files).expect_err("is noticed")), (files[0].0.clone(), length));
}

/// Frames that hold, but do not follow each other: no crash leaves that.
#[test]
fn frames_out_of_order_are_noticed() {
    let written = write(&GROUPS, &[]);
    let mut files = written.states[1].clone();
    let position = files[0].1.len() as u64;
    let durable_bytes = HEADER_BYTES;
    for first_offset in [0, 1, 3, u64::MAX - 1] {
        let header = format::FrameHeader {
            payload_checksum: format::payload_checksum(b""),
            payload_bytes: 0,
            events: 1,
            first_offset,
            durable_bytes,
            appended_us: 0,
        };
        files[0].1.truncate(position as usize);
        format::encode_frame(&header, SALT, position, b"", &mut files[0].1);
        let expected = (files[0].0.clone(), position);
        assert_eq!(place_of(&entries_of(&files).expect_err("is noticed")), expected);
        // and below a mark, where only a reader looks
        let mark = Mark { durable_bytes: files[0].1.len() as u64, end_offset: 3 };
        let mut marked = files.clone();
        marked[0].1[1024..1044].copy_from_slice(&encode_mark(mark, SALT, Turn::FIRST.next()));
        assert_eq!(place_of(&entries_of(&marked).expect_err("is noticed")), expected);
    }
}

/// After a kill, what is in the file need not be on the disk: before anybody gets it, it must be.
#[test]
fn what_is_kept_after_a_crash_is_on_disk_before_it_is_consumed() {
    let written = write(&GROUPS, &[]);
    let mut files = written.states[3].clone();
    // as after the second group
    files[0].1[..HEADER_BYTES as usize].copy_from_slice(&written.states[2][0].1[..HEADER_BYTES as usize]);
    let folder = put(&files);
    let disk = Disk::default();
    let testing = Arc::clone(&disk.testing);
    let length = files[0].1.len();
    let consumer: Consumer = Box::new(move |_| {
        let synced = testing.on_disk().contents.into_values().next().expect("a file");
        assert_eq!(synced.len(), length);
        Ok(())
    });
    let log = IngestLog::open_on(disk, options(folder.path()), 3, consumer).expect("opens");
    assert_eq!(log.consumed(), 8);
}

#[test]
fn leftovers_of_a_crash_are_swept() {
    let written = write(&GROUPS, &[]);
    let folder = put(&written.states[3]);
    std::fs::write(folder.path().join("next.unfinished"), "half a header").expect("writes");
    assert_eq!(read(&open(folder.path()), 0), written.entries[3]);
    assert!(!folder.path().join("next.unfinished").exists());
}

/// Bytes of format 1, as they were written by the first version that had them.
#[test]
fn stored_bytes_are_a_promise() {
    const STORED: &[u8] = include_bytes!("../../../tests/data/ingest_log/format_1.log");
    let written = write(&GROUPS, &[]);
    let (name, bytes) = &written.states[3][0];
    if std::env::var_os("WRITE_INGEST_LOG").is_some() {
        std::fs::write("tests/data/ingest_log/format_1.log", bytes).expect("writes");
    }
    assert!(STORED == bytes, "the bytes of format 1 are not what they were");
    assert_eq!(entries_of(&vec![(name.clone(), STORED.to_vec())]).expect("reads"), written.entries[3]);
    let mark = Mark { durable_bytes: STORED.len() as u64, end_offset: 8 };
    assert_eq!(STORED[512..532], encode_mark(mark, SALT, Turn::FIRST));
}
