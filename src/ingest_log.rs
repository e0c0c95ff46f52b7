//! The durable truth behind a stream: an append-only log of entries, in segment files of a folder of its own.
//!
//! An entry is bytes and the number of events in them; what they mean is not known here, nor are SQL, Arrow and views.
//! Offsets count events, from 0, without gaps, and are never given twice to entries that count.
//!
//! * **Acknowledged is on disk and consumed.** Appends that wait are written together, with one sync. Then the group is
//!   handed to the consumer, in order, while the next one is written; and only when it has returned do the appends.
//! * **Refused is not in the log.** A full disk, a failed write or a failed sync refuses the whole group, and the next
//!   append tries anew. The one exception: if the group could neither be trusted nor cut off, and the log is closed or
//!   killed before anything else could be written, the group may be found whole when it is opened. It counts then, as
//!   one does that a crash kept from being acknowledged.
//! * **A consumer that fails** loses nothing: the group stays in the log, its appends get the error and hear that their
//!   events are stored. Until [`IngestLog::catch_up`] succeeds, which the next append tries first, nothing more is
//!   written; it gives the consumer all that it has not had, from the log, in order. The same happens on opening. So a
//!   consumer may be given an entry twice: if it failed after it had taken it in, or forgot it in a crash.
//! * **Damage is an error** with file and byte, on opening or when it is read: see `ingest_log/format.rs`.
//!
//! A log at rest has no threads: two begin with an append and end when there was none for a while.

mod disk;
mod errors;
mod file;
mod format;
mod queue;
mod reader;
mod segment;
mod tail;

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

pub use self::file::LogFile;
pub use self::reader::Reader;

use self::disk::Disk;
use self::format::Identity;
use self::queue::{Files, Shared};
use self::reader::{Extent, Stored};
use self::segment::{Opened, Segment};
use self::tail::Tail;
use crate::error::{Error, Kind, Result, io_error};

/// A longer payload is refused.
pub const PAYLOAD_MAX_BYTES: usize = 32 << 20;
const LOCK: &str = "lock";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of its first event.
    pub offset: u64,
    pub events: NonZeroU32,
    /// Microseconds UTC since 1970, by the clock of who appended it.
    pub appended_us: i64,
    pub payload: Bytes,
}

impl Entry {
    /// The offset behind its last event.
    pub fn end_offset(&self) -> u64 {
        let end = self.offset.checked_add(u64::from(self.events.get()));
        end.expect("there are never 2^64 events")
    }
}

/// Takes in entries, in the order of their offsets. Called by one thread at a time, not always the same. It must not
/// own the log, which waits for it when it is dropped.
pub type Consumer = Box<dyn FnMut(&[Entry]) -> Result<()> + Send>;

#[derive(Debug, Clone)]
pub struct Options {
    pub folder: PathBuf,
    /// Written into every segment, so that those of another stream are not taken for ours.
    pub stream: u64,
    /// A segment that has reached this length gets no more groups.
    pub segment_bytes: u64,
    /// How many bytes may be on their way from `append` to being acknowledged; who wants to append more waits in line.
    pub waiting_bytes: u32,
    /// How long the threads wait for another append before they end.
    pub idle: Duration,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>, stream: u64) -> Options {
        Options {
            folder: folder.into(),
            stream,
            segment_bytes: 64 << 20,
            waiting_bytes: 64 << 20,
            idle: Duration::from_secs(1),
        }
    }
}

/// What a log has done since it was opened, but for `waiting_bytes`, which is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub groups: u64,
    pub entries: u64,
    pub events: u64,
    /// Payloads and the headers of their frames.
    pub bytes: u64,
    /// One for each group, two for a segment, and one whenever the threads end.
    pub syncs: u64,
    /// Appends that got an error.
    pub refused: u64,
    pub waiting_bytes: u64,
}

#[derive(Debug)]
pub struct IngestLog {
    shared: Arc<Shared>,
}

impl IngestLog {
    /// Opens the log in a folder, or makes a new one. Gives `consumer` whatever is in it from `consumed` on, which is the
    /// offset up to which it has had everything (0, or where an entry began).
    ///
    /// Blocks. `ObjectInUse` if the log is open elsewhere; `DataCorrupted` with file and byte if it is damaged, also if
    /// it ends before `consumed`; `ObjectNotInPrerequisiteState` if it begins behind it; the consumer's error.
    pub fn open(options: Options, consumed: u64, consumer: Consumer) -> Result<IngestLog> {
        Self::open_on(Disk::default(), options, consumed, consumer)
    }

    fn open_on(disk: Disk, mut options: Options, consumed: u64, consumer: Consumer) -> Result<IngestLog> {
        assert!(options.waiting_bytes > 0, "with no room nothing can be appended");
        options.folder =
            std::path::absolute(&options.folder).map_err(|error| io_error("find", &options.folder, error))?;
        let folder = &options.folder;
        create_folder(&disk, folder)?;
        let folder_lock = lock_folder(folder)?;
        let (segment, extent) = open_segments(&disk, &options, consumed)?;
        if consumed > extent.end_offset {
            let what = format!("the log ends here at offset {}, but had events up to {consumed}", extent.end_offset);
            return Err(errors::damaged(&segment.path, segment.durable.durable_bytes, what));
        }
        let tail = Tail::new(disk, folder, options.segment_bytes, segment);
        let files = Files { folder_lock, extent, tail };
        let log = IngestLog { shared: Arc::new(Shared::new(options, files, consumed, consumer)) };
        log.catch_up()?;
        Ok(log)
    }

    /// Stores an entry; gives the offsets of its events once it is on disk and consumed. Waits for its turn if too much
    /// is on its way already. `now_us` is stored with it.
    ///
    /// May be dropped at any point: the entry is then either not stored, or stored and consumed like any other.
    ///
    /// `ConfigurationLimitExceeded` for a payload of more than [`PAYLOAD_MAX_BYTES`]; `DiskFull`, `IoError` and others
    /// of the disk if it could not be stored; the consumer's error, with a detail, if it is stored but not consumed.
    pub async fn append(&self, payload: Bytes, events: NonZeroU32, now_us: i64) -> Result<Range<u64>> {
        if payload.len() > PAYLOAD_MAX_BYTES {
            let message = format!("an entry of {} bytes is too long for an ingest log", payload.len());
            return Err(Error::new(Kind::ConfigurationLimitExceeded, message)
                .with_hint(format!("send at most {PAYLOAD_MAX_BYTES} bytes at a time")));
        }
        self.shared.append(payload, events, now_us).await
    }

    /// The entries from the one that holds event `from` on, up to where the log ends on disk now: the last ones may not
    /// be consumed yet. Blocks as it reads.
    ///
    /// `ObjectNotInPrerequisiteState` if they were removed; `InvalidParameterValue` if `from` is behind the end.
    pub fn read(&self, from: u64) -> Result<Reader> {
        let options = &self.shared.options;
        Reader::new(&options.folder, options.stream, &self.shared.extent, from)
    }

    /// The offset of the first event that can still be read; [`IngestLog::end`] if there is none.
    pub fn first(&self) -> u64 {
        lock(&self.shared.extent).first_offset()
    }

    /// The offset behind the last event on disk: that of the next.
    pub fn end(&self) -> u64 {
        lock(&self.shared.extent).end_offset
    }

    /// The offset up to which everything was consumed.
    pub fn consumed(&self) -> u64 {
        self.shared.consumed()
    }

    pub fn size_bytes(&self) -> u64 {
        lock(&self.shared.extent).segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The files of the log as they are on disk now, by name, to be read while it goes on: also when they are removed
    /// meanwhile.
    pub fn files(&self) -> Result<Vec<(String, LogFile)>> {
        self.shared.files()
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// Gives the consumer what is in the log and it has not had, if it failed before. Blocks; gives its error.
    pub fn catch_up(&self) -> Result<()> {
        self.shared.catch_up()
    }

    /// Removes segments that have only events before `offset`, and were consumed. Blocks. What stays goes on with the
    /// same numbers, also if nothing stays.
    pub fn remove_before(&self, offset: u64) -> Result<()> {
        self.shared.remove_before(offset)
    }
}

/// Waits for what is on its way.
impl Drop for IngestLog {
    fn drop(&mut self) {
        self.shared.close();
    }
}

fn open_segments(disk: &Disk, options: &Options, consumed: u64) -> Result<(Segment, Extent)> {
    let folder = &options.folder;
    let first_offsets = segment::list(folder)?;
    let Some((&last, earlier)) = first_offsets.split_last() else {
        if consumed > 0 {
            let path = segment::path_of(folder, 0);
            return Err(errors::damaged(&path, 0, format!("the log has no files, but had events up to {consumed}")));
        }
        let identity = Identity { stream: options.stream, first_offset: 0, previous: 0, salt: tail::random_salt()? };
        let segment = Segment::create(disk, folder, identity)?;
        let stored = Stored { first_offset: 0, bytes: segment.durable.durable_bytes };
        return Ok((segment, Extent { segments: [stored].into(), end_offset: 0 }));
    };
    let mut segments = VecDeque::new();
    for &first_offset in earlier {
        let path = segment::path_of(folder, first_offset);
        let Opened { file, identity, .. } = segment::open(&path, false, options.stream, first_offset)?;
        follows(&path, &identity, &segments)?;
        let bytes = file.metadata().map_err(|error| io_error("read", &path, error))?.len();
        segments.push_back(Stored { first_offset, bytes });
    }
    let segment = Segment::recover(disk, folder, options.stream, last)?;
    follows(&segment.path, &segment.identity, &segments)?;
    segments.push_back(Stored { first_offset: last, bytes: segment.durable.durable_bytes });
    let end_offset = segment.durable.end_offset;
    Ok((segment, Extent { segments, end_offset }))
}

/// An error if the segment before is not the one that was there when this one was made. That of the first may be gone.
fn follows(path: &Path, identity: &Identity, before: &VecDeque<Stored>) -> Result<()> {
    match before.back() {
        Some(before) if before.first_offset != identity.previous => {
            let missing = segment::path_of(Path::new(""), identity.previous);
            let what = format!("it follows \"{}\", which is missing", missing.display());
            Err(errors::damaged(path, 32, what))
        }
        _ => Ok(()),
    }
}

/// Makes a folder and those above it, each durable in its own.
fn create_folder(disk: &Disk, folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create_folder(disk, above)?;
    }
    let fail = |error| io_error("create", folder, error);
    match fs::create_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => made.map_err(fail)?,
    }
    disk.sync_folder_of(folder).map_err(fail)
}

/// The folder is ours until the file is dropped.
fn lock_folder(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let fail = |error| io_error("lock", &path, error);
    let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(errors::in_use(folder)),
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Also after a panic of who held it: what is behind our locks is changed in steps that each leave it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
