//! Events that a reader brings from elsewhere: exactly once, since how far it is stands in the same entry of the log.
//!
//! * **Where to go on** is what the last entry of the log says. So the log never lets go of its last entry, unless that
//!   must be forgotten: then it is in a file beside the segments, with the end that the log had.
//! * **Where to begin**, if that is not at the beginning, is found out once and kept in a file beside the segments before
//!   the first message is read; else messages that arrive between two starts would be left out.
//! * **Dead letters**, the newest ones, are in memory and in a file beside the segments, which is written before the log
//!   may let go of the entries that they came in.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use granary_catalog::{ObjectId, Stream};
use serde::{Deserialize, Serialize};

use super::payload::{Payload, Positions, read_part};
use super::{Appending, Ingest, StreamLog, blocking};
use crate::engine::{DeadLetter, DeadLetters, Doing, Reading};
use crate::error::{Error, Kind, Result, io_error};
use crate::ingest_log::{Entry, IngestLog, PAYLOAD_MAX_BYTES};

const LETTERS: &str = "dead_letters.json";
const STARTS: &str = "starts.json";
const POSITIONS: &str = "positions.json";
const FILE_FORMAT: u32 = 1;

/// The log of a stream, for the one who reads its events from elsewhere.
pub struct ReadLog {
    log: Arc<StreamLog>,
    /// up to where messages are in the log
    pub positions: Positions,
    /// where partitions begin that were there at the first start; None if there was no first start yet
    pub starts: Option<Positions>,
}

impl ReadLog {
    pub fn stream(&self) -> ObjectId {
        self.log.id
    }
}

#[derive(Serialize, Deserialize)]
struct StoredStarts {
    format: u32,
    starts: Positions,
}

#[derive(Serialize, Deserialize)]
struct StoredPositions {
    format: u32,
    /// of the log, which had nothing any more
    end: u64,
    positions: Positions,
}

#[derive(Serialize, Deserialize)]
struct StoredLetters {
    format: u32,
    end: u64,
    total: u64,
    newest: Vec<StoredLetter>,
}

#[derive(Serialize, Deserialize)]
struct StoredLetter {
    partition: i32,
    offset: i64,
    time_us: Option<i64>,
    reason: String,
    /// base64
    payload: String,
    payload_bytes: u64,
}

impl Ingest {
    /// Opens the log for the one reader of a stream.
    pub async fn open_reading(&self, stream: &Stream) -> Result<ReadLog> {
        if self.stores.catalog.snapshot().get_as::<Stream>(stream.header.id).is_none() {
            let message = format!("stream \"{}\" was dropped", stream.header.name);
            return Err(Error::new(Kind::UndefinedTable, message));
        }
        let log = self.log(stream).await?;
        let reading = Arc::clone(&log);
        let folder = self.folder_of(stream.header.id);
        let (positions, starts) = blocking(move || {
            let positions = match last_entry(&reading.log)? {
                Some(entry) => {
                    reading.kept_from.store(entry.offset, Ordering::Release);
                    positions_of(&entry)?
                }
                None if reading.log.end() == 0 => Positions::new(),
                None => {
                    let path = folder.join(POSITIONS);
                    let stored = read_file::<StoredPositions>(&path)?.filter(|stored| stored.end == reading.log.end());
                    let lost = || format!("\"{}\" does not say how far stream {} was read", path.display(), reading.id);
                    stored.ok_or_else(|| Error::new(Kind::DataCorrupted, lost()))?.positions
                }
            };
            let starts = read_file::<StoredStarts>(&folder.join(STARTS))?.map(|stored| stored.starts);
            Ok((positions, starts))
        })
        .await?;
        Ok(ReadLog { log, positions, starts })
    }

    /// Keeps in a file what the last entry of the log says, so that the log may let go of it. Nothing may be appended
    /// meanwhile.
    pub(super) async fn keep_positions(&self, log: &Arc<StreamLog>) -> Result<()> {
        let (path, log) = (self.folder_of(log.id).join(POSITIONS), Arc::clone(log));
        blocking(move || {
            let Some(entry) = last_entry(&log.log)? else { return Ok(()) };
            let (end, positions) = (entry.end_offset(), positions_of(&entry)?);
            write_file(&path, &StoredPositions { format: FILE_FORMAT, end, positions })?;
            log.kept_from.store(end, Ordering::Release);
            Ok(())
        })
        .await
    }

    /// Keeps where partitions begin.
    pub async fn keep_starts(&self, log: &mut ReadLog, starts: Positions) -> Result<()> {
        let path = self.folder_of(log.log.id).join(STARTS);
        let stored = StoredStarts { format: FILE_FORMAT, starts: starts.clone() };
        blocking(move || write_file(&path, &stored)).await?;
        log.starts = Some(starts);
        Ok(())
    }

    /// Appends what was read up to `positions`: events, in the stream's columns, and letters, all in one entry.
    ///
    /// False if that is more than an entry can hold: nothing is done. After an error nobody knows whether they are stored:
    /// the reader must open the log again.
    pub async fn append_read(
        &self,
        stream: &Stream,
        log: &mut ReadLog,
        (events, letters): (&RecordBatch, &[DeadLetter]),
        positions: Positions,
    ) -> Result<bool> {
        let of_stream = Arc::clone(&log.log);
        let appending = Appending::begin(&self.stores, &of_stream).await;
        let events = self.with_rows(&appending.snapshot, stream, events.clone(), |_| None).await?;
        let mut payload = Payload::of_read(&positions, letters)?;
        payload.add(&events)?;
        if payload.bytes.len() > PAYLOAD_MAX_BYTES {
            return Ok(false);
        }
        let appended = self.append_entry(stream, &appending, payload).await?;
        let end = log.log.log.end();
        log.log.kept_from.store(end - appended, Ordering::Release);
        log.positions = positions;
        Ok(true)
    }

    /// Notes for those who look how far a reader is.
    pub fn note_reading(&self, stream: ObjectId, change: impl FnOnce(&mut Reading)) {
        self.stores.tails.note(stream, |figures| change(figures.reading.get_or_insert_default()));
    }

    /// Notes for those who look why nothing can be read; without an error all is well.
    pub fn note_read(&self, stream: ObjectId, error: Option<String>) {
        let now_us = self.clock.now_us();
        self.stores.tails.note(stream, |figures| figures.troubles.note(Doing::Reading, now_us, error));
    }

    /// Notes for those who look what no event tells; only a restart clears it.
    pub fn note_untold(&self, stream: ObjectId, what: String) {
        let now_us = self.clock.now_us();
        self.stores.tails.note(stream, |figures| figures.troubles.note(Doing::Telling, now_us, Some(what)));
    }

    pub fn reading(&self, stream: ObjectId) -> Option<Reading> {
        self.stores.tails.figures(stream)?.reading
    }

    /// Puts the dead letters of a stream into memory that are on disk.
    pub(super) async fn open_letters(&self, stream: ObjectId) -> Result<()> {
        let path = self.folder_of(stream).join(LETTERS);
        let stored = blocking(move || read_file::<StoredLetters>(&path)).await?;
        let letters = match stored {
            None => DeadLetters::default(),
            Some(stored) => {
                let newest = stored.newest.into_iter().map(|letter| letter.read().map(Arc::new));
                DeadLetters { newest: newest.collect::<Result<_>>()?, total: stored.total, end: stored.end }
            }
        };
        self.stores.tails.open_letters(stream, letters);
        Ok(())
    }

    /// Puts the dead letters on disk that are in memory.
    pub(super) async fn keep_letters(&self, log: &StreamLog) -> Result<()> {
        let letters = self.stores.tails.dead_letters(log.id);
        if letters.total == log.letters_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.folder_of(log.id).join(LETTERS);
        let newest = letters.newest.iter().map(|letter| StoredLetter::of(letter)).collect();
        let stored = StoredLetters { format: FILE_FORMAT, end: letters.end, total: letters.total, newest };
        blocking(move || write_file(&path, &stored)).await?;
        log.letters_kept.store(letters.total, Ordering::Release);
        Ok(())
    }
}

impl StoredLetter {
    fn of(letter: &DeadLetter) -> StoredLetter {
        use base64::Engine;
        StoredLetter {
            partition: letter.partition,
            offset: letter.offset,
            time_us: letter.time_us,
            reason: letter.reason.clone(),
            payload: base64::engine::general_purpose::STANDARD.encode(&letter.payload),
            payload_bytes: letter.payload_bytes,
        }
    }

    fn read(self) -> Result<DeadLetter> {
        use base64::Engine;
        let payload = base64::engine::general_purpose::STANDARD.decode(&self.payload);
        let payload =
            payload.map_err(|_| Error::new(Kind::DataCorrupted, "a dead letter is damaged: it is not base64"))?;
        Ok(DeadLetter {
            partition: self.partition,
            offset: self.offset,
            time_us: self.time_us,
            reason: self.reason,
            payload,
            payload_bytes: self.payload_bytes,
        })
    }
}

/// The last entry on disk, if the log has one.
fn last_entry(log: &IngestLog) -> Result<Option<Entry>> {
    let (first, end) = (log.first(), log.end());
    if first == end { Ok(None) } else { log.read(end - 1)?.last().transpose() }
}

fn positions_of(entry: &Entry) -> Result<Positions> {
    let part = read_part(&entry.payload, entry.events.get())?;
    Ok(part.ok_or_else(|| Error::internal("pushed events in a stream that is read"))?.positions)
}

pub(super) fn read_file<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| io_error("read", path, error))?,
    };
    let damaged = |what: String| Error::new(Kind::DataCorrupted, format!("\"{}\" is damaged: {what}", path.display()));
    let stored: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if stored.get("format").and_then(serde_json::Value::as_u64) != Some(FILE_FORMAT.into()) {
        return Err(damaged("it has an unknown format".to_owned()).with_hint("use a newer server"));
    }
    serde_json::from_value(stored).map(Some).map_err(|error| damaged(error.to_string()))
}

/// Whole or not at all.
pub(super) fn write_file(path: &Path, stored: &impl Serialize) -> Result<()> {
    let fail = |error| io_error("write", path, error);
    let bytes = serde_json::to_vec(stored).map_err(|error| Error::internal("a file of a stream").with_source(error))?;
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished).map_err(fail)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(fail)?;
    fs::rename(&unfinished, path).map_err(fail)?;
    let folder = path.parent().ok_or_else(|| Error::internal("a file of a stream is in no folder"))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first release that read topics; never to be changed.
    const GOLDEN: &[u8] = include_bytes!("../../tests/data/ingest_log/dead_letters.json");

    #[test]
    fn files_are_those_of_format_1_and_come_back() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(LETTERS);
        assert!(read_file::<StoredLetters>(&path).expect("nothing").is_none());
        let letter = DeadLetter {
            partition: 1,
            offset: 4,
            time_us: None,
            reason: "22P02: \"no\"".into(),
            payload: vec![0, 255],
            payload_bytes: 9,
        };
        let stored = StoredLetters { format: 1, end: 7, total: 2, newest: vec![StoredLetter::of(&letter)] };
        write_file(&path, &stored).expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), GOLDEN);
        let mut back = read_file::<StoredLetters>(&path).expect("reads").expect("is there");
        assert_eq!((back.end, back.total, back.newest.remove(0).read().expect("decodes")), (7, 2, letter));
        for damaged in [&GOLDEN[..9], br#"{"format":2}"#, br#"{"format":1}"#] {
            fs::write(&path, damaged).expect("writes");
            let error = read_file::<StoredLetters>(&path).err().expect("damaged");
            assert_eq!(error.kind(), Kind::DataCorrupted);
        }
    }
}
