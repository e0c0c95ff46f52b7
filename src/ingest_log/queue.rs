//! Appends on their way: the line in which they wait, the thread that writes them in groups, and the one that has them
//! consumed. Knows nothing of files.
//!
//! The threads begin when something is put in line and nobody works on it, and end when nothing came for a while. Locks
//! are taken in this order: consumption, tail, line, extent. None is held while another thread is waited for.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::num::NonZeroU32;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::file::LogFile;
use super::format::{FRAME_HEADER_BYTES, payload_checksum};
use super::reader::{Extent, Reader, Stored};
use super::tail::{Frame, Tail};
use super::{Consumer, Counts, Entry, Options, errors, lock, segment};
use crate::error::{Error, Kind, Result, io_error};

/// A group that has reached this gets no more entries, nor does what is given to a consumer that catches up.
const GROUP_BYTES: usize = 8 << 20;
/// Groups on disk that wait for the consumer. With one, a group can be written while another is consumed.
const GROUPS_WAITING: usize = 1;
/// A group up to so long is consumed by the thread that has written it: to wake another thread would take longer.
const GROUP_BYTES_OF_WRITER: usize = 4 << 10;
/// The same if there is no other to be written.
const LAST_GROUP_BYTES_OF_WRITER: usize = 64 << 10;

/// What the callers and the threads of a log share.
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) extent: Arc<Mutex<Extent>>,
    pub(super) tail: Mutex<Tail>,
    consumption: Mutex<Consumption>,
    /// Whether the consumer has failed and not caught up since; changed under the lock of `consumption`.
    behind: AtomicBool,
    consumed: AtomicU64,
    /// Groups that were handed to the consuming thread and that it has not finished.
    handed_over: AtomicUsize,
    line: Mutex<Line>,
    /// Something was put in line, or it was closed.
    arrived: Condvar,
    /// A permit is a byte that may be on its way.
    room: Arc<Semaphore>,
    counters: Counters,
    /// Keeps others out of the folder.
    folder_lock: File,
}

/// The files of a log, as it was opened.
pub(super) struct Files {
    /// Keeps others out of the folder.
    pub(super) folder_lock: File,
    pub(super) extent: Extent,
    pub(super) tail: Tail,
}

struct Consumption {
    consumer: Consumer,
    /// The last error of the consumer, if it has not caught up since.
    failure: Option<Error>,
    /// It has panicked: nobody knows what it would do now.
    broken: bool,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// Whether a writer takes what waits. Nothing waits without one.
    working: bool,
    closed: bool,
    writer: Option<JoinHandle<()>>,
}

/// An append that is not written yet.
struct Waiting {
    payload: Bytes,
    payload_checksum: u32,
    events: NonZeroU32,
    appended_us: i64,
    caller: Caller,
}

/// Who waits for an append. Has its room until he is told.
struct Caller {
    tell: oneshot::Sender<Result<Range<u64>>>,
    room: OwnedSemaphorePermit,
}

impl Caller {
    fn told(self, result: Result<Range<u64>>) {
        drop(self.room);
        // who has gone does not want to know
        let _ = self.tell.send(result);
    }
}

/// Entries on disk, and who waits for them.
struct Group {
    entries: Vec<Entry>,
    callers: Vec<Caller>,
    bytes: usize,
}

#[derive(Default)]
struct Counters {
    groups: AtomicU64,
    entries: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    refused: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestLog").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    /// The consumer is behind until it has caught up with the files.
    pub(super) fn new(options: Options, files: Files, consumed: u64, consumer: Consumer) -> Shared {
        let Files { folder_lock, extent, tail } = files;
        Shared {
            room: Arc::new(Semaphore::new(options.waiting_bytes as usize)),
            options,
            extent: Arc::new(Mutex::new(extent)),
            tail: Mutex::new(tail),
            consumption: Mutex::new(Consumption { consumer, failure: None, broken: false }),
            behind: AtomicBool::new(true),
            consumed: AtomicU64::new(consumed),
            handed_over: AtomicUsize::new(0),
            line: Mutex::default(),
            arrived: Condvar::new(),
            counters: Counters::default(),
            folder_lock,
        }
    }

    pub(super) async fn append(
        self: &Arc<Self>,
        payload: Bytes,
        events: NonZeroU32,
        appended_us: i64,
    ) -> Result<Range<u64>> {
        let payload_checksum = payload_checksum(&payload);
        // one that is longer than all the room takes all of it
        let bytes = u32::try_from(FRAME_HEADER_BYTES + payload.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(bytes.min(self.options.waiting_bytes)).await;
        let (tell, told) = oneshot::channel();
        let caller = Caller { tell, room: room.expect("the room is never closed") };
        self.put_in_line(Waiting { payload, payload_checksum, events, appended_us, caller })?;
        told.await.unwrap_or_else(|_| Err(Error::internal("the writer of an ingest log has panicked")))
    }

    fn put_in_line(self: &Arc<Self>, waiting: Waiting) -> Result<()> {
        let mut line = lock(&self.line);
        if line.closed {
            return Err(errors::closed(&self.options.folder));
        }
        if !line.working {
            assert!(line.waiting.is_empty(), "nothing waits without a writer");
            let shared = Arc::clone(self);
            let started = thread::Builder::new().name("ingest-log".to_owned()).spawn(move || work(&shared));
            // one that worked before has nothing left to do but to end
            line.writer = Some(started.map_err(|error| no_thread(&error))?);
            line.working = true;
        }
        line.waiting.push_back(waiting);
        drop(line);
        self.arrived.notify_one();
        Ok(())
    }

    /// The next appends to be written together; `None` if none came for a while, or none will come.
    fn take_from_line(&self) -> Option<Vec<Waiting>> {
        let line = lock(&self.line);
        let idle = |line: &mut Line| line.waiting.is_empty() && !line.closed;
        let waited = self.arrived.wait_timeout_while(line, self.options.idle, idle);
        let (mut line, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < GROUP_BYTES {
            let Some(next) = line.waiting.pop_front() else { break };
            bytes += FRAME_HEADER_BYTES + next.payload.len();
            taken.push(next);
        }
        (!taken.is_empty()).then_some(taken)
    }

    /// Puts a group on disk. Without one if that failed: its callers know.
    fn write(&self, waiting: Vec<Waiting>, buffer: &mut Vec<u8>) -> Option<Group> {
        if self.behind.load(Ordering::Acquire)
            && let Err(error) = self.catch_up()
        {
            self.refuse(waiting.into_iter().map(|waiting| waiting.caller), &error);
            return None;
        }
        let mut tail = lock(&self.tail);
        let mut offset = tail.end().1.end_offset;
        let mut callers = Vec::with_capacity(waiting.len());
        let mut frames = Vec::with_capacity(waiting.len());
        for Waiting { payload, payload_checksum, events, appended_us, caller } in waiting {
            let entry = Entry { offset, events, appended_us, payload };
            offset = entry.end_offset();
            frames.push(Frame { entry, payload_checksum });
            callers.push(caller);
        }
        let written = tail.write(&frames, buffer);
        if lock(&self.line).waiting.is_empty() {
            tail.mark();
        }
        // also after a failure: there may be a new segment
        self.publish(&tail);
        drop(tail);
        let bytes = match written {
            Ok(bytes) => bytes,
            Err(error) => {
                self.refuse(callers, &error);
                return None;
            }
        };
        let entries: Vec<Entry> = frames.into_iter().map(|frame| frame.entry).collect();
        let first_offset = entries.first().expect("a group has an entry").offset;
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        self.counters.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
        self.counters.events.fetch_add(offset - first_offset, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Some(Group { entries, callers, bytes })
    }

    /// Lets readers see what is on disk.
    fn publish(&self, tail: &Tail) {
        self.counters.syncs.store(tail.syncs, Ordering::Relaxed);
        let (first_offset, durable) = tail.end();
        let stored = Stored { first_offset, bytes: durable.durable_bytes };
        let mut extent = lock(&self.extent);
        match extent.segments.back_mut().filter(|last| last.first_offset == first_offset) {
            Some(last) => *last = stored,
            None => extent.segments.push_back(stored),
        }
        extent.end_offset = durable.end_offset;
    }

    /// Has a group consumed and tells its callers.
    fn finish(&self, group: Group) {
        let Group { entries, callers, .. } = group;
        if let Err(error) = self.consume_group(&entries) {
            self.refuse(callers, &error);
            return;
        }
        for (entry, caller) in entries.iter().zip(callers) {
            caller.told(Ok(entry.offset..entry.end_offset()));
        }
    }

    fn consume_group(&self, entries: &[Entry]) -> Result<()> {
        let (first, last) = entries.first().zip(entries.last()).expect("a group has an entry");
        let mut consumption = lock(&self.consumption);
        if last.end_offset() <= self.consumed() {
            // it caught up meanwhile
            return Ok(());
        }
        match &consumption.failure {
            Some(failure) => Err(stored_nevertheless(failure)),
            None => {
                assert_eq!(first.offset, self.consumed(), "groups are consumed in order");
                self.consume(&mut consumption, entries).map_err(|error| stored_nevertheless(&error))
            }
        }
    }

    fn consume(&self, consumption: &mut Consumption, entries: &[Entry]) -> Result<()> {
        let consumer = &mut consumption.consumer;
        let result = catch_unwind(AssertUnwindSafe(|| consumer(entries))).unwrap_or_else(|_| {
            consumption.broken = true;
            Err(Error::internal("the consumer of an ingest log has panicked").with_hint("restart the server"))
        });
        match result {
            Ok(()) => {
                let end_offset = entries.last().map_or(self.consumed(), Entry::end_offset);
                self.consumed.store(end_offset, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                consumption.failure = Some(error.duplicate());
                self.behind.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    pub(super) fn catch_up(&self) -> Result<()> {
        let mut consumption = lock(&self.consumption);
        if let Some(failure) = consumption.failure.as_ref().filter(|_| consumption.broken) {
            return Err(failure.duplicate());
        }
        if !self.behind.load(Ordering::Acquire) {
            // a group may be on its way to the consumer, in its turn
            return Ok(());
        }
        let mut reader = Reader::new(&self.options.folder, self.options.stream, &self.extent, self.consumed())?;
        loop {
            let mut entries = Vec::new();
            let mut bytes = 0;
            while bytes < GROUP_BYTES {
                let Some(entry) = reader.next().transpose()? else { break };
                bytes += FRAME_HEADER_BYTES + entry.payload.len();
                entries.push(entry);
            }
            if entries.is_empty() {
                // a group that has come since is handed over after this, and follows
                consumption.failure = None;
                self.behind.store(false, Ordering::Release);
                return Ok(());
            }
            self.consume(&mut consumption, &entries)?;
        }
    }

    pub(super) fn remove_before(&self, offset: u64) -> Result<()> {
        let offset = offset.min(self.consumed());
        let mut tail = lock(&self.tail);
        // before there is a new segment, which a full disk may have no room for
        self.remove_followed(&tail, offset)?;
        let (first_offset, durable) = tail.end();
        if durable.end_offset <= offset && first_offset < durable.end_offset {
            // the numbers go on from its name
            tail.begin_segment()?;
            self.publish(&tail);
            self.remove_followed(&tail, offset)?;
        }
        Ok(())
    }

    /// Removes segments that are followed by one which begins at `offset` or before.
    fn remove_followed(&self, tail: &Tail, offset: u64) -> Result<()> {
        loop {
            let first = {
                let mut extent = lock(&self.extent);
                if extent.segments.get(1).is_none_or(|next| next.first_offset > offset) {
                    return Ok(());
                }
                // first out of sight, so that whoever looks for it hears that it was removed
                extent.segments.pop_front().expect("there are two")
            };
            let path = segment::path_of(&self.options.folder, first.first_offset);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    lock(&self.extent).segments.push_front(first);
                    return Err(io_error("remove", &path, error));
                }
                // one after the other, so that no crash leaves a gap
                _ => tail.sync_folder_of(&path)?,
            }
        }
    }

    pub(super) fn files(&self) -> Result<Vec<(String, LogFile)>> {
        let extent = lock(&self.extent);
        let last = extent.segments.len() - 1;
        let opened = extent.segments.iter().enumerate().map(|(number, stored)| {
            let path = segment::path_of(&self.options.folder, stored.first_offset);
            let name = path.file_name().expect("it was joined").to_string_lossy().into_owned();
            Ok((name, LogFile::open(&path, stored.bytes, number == last)?))
        });
        opened.collect()
    }

    /// After this nothing is put in line, and what was is done.
    pub(super) fn close(&self) {
        let writer = {
            let mut line = lock(&self.line);
            line.closed = true;
            line.writer.take()
        };
        self.arrived.notify_all();
        if let Some(writer) = writer {
            // if it panicked, its callers were told
            let _ = writer.join();
        }
        lock(&self.tail).close();
        // not by dropping it: a thread that worked before may still be about to end
        let _ = self.folder_lock.unlock();
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Acquire)
    }

    pub(super) fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            groups: count(&self.counters.groups),
            entries: count(&self.counters.entries),
            events: count(&self.counters.events),
            bytes: count(&self.counters.bytes),
            syncs: count(&self.counters.syncs),
            refused: count(&self.counters.refused),
            waiting_bytes: u64::from(self.options.waiting_bytes) - self.room.available_permits() as u64,
        }
    }

    fn refuse(&self, callers: impl IntoIterator<Item = Caller>, error: &Error) {
        for caller in callers {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            caller.told(Err(error.duplicate()));
        }
    }

    /// Waits until the threads have ended by themselves.
    #[cfg(test)]
    pub(super) fn wait_for_rest(&self) {
        let writer = lock(&self.line).writer.take();
        if let Some(writer) = writer {
            writer.join().expect("no panic");
        }
        assert!(!lock(&self.line).working);
    }
}

/// What the writing thread does: groups out of the line, onto the disk and to the thread that has them consumed.
fn work(shared: &Shared) {
    let _guard = Working(shared);
    loop {
        work_until_idle(shared);
        let mut line = lock(&shared.line);
        if line.waiting.is_empty() {
            line.working = false;
            return;
        }
    }
}

fn work_until_idle(shared: &Shared) {
    let (hand_over, groups) = sync_channel(GROUPS_WAITING);
    thread::scope(|scope| {
        let consuming = thread::Builder::new().name("ingest-consume".to_owned());
        if let Err(error) = consuming.spawn_scoped(scope, move || finish_all(shared, groups)) {
            let waiting = std::mem::take(&mut lock(&shared.line).waiting);
            shared.refuse(waiting.into_iter().map(|waiting| waiting.caller), &no_thread(&error));
            return;
        }
        let mut buffer = Vec::new();
        while let Some(waiting) = shared.take_from_line() {
            if let Some(group) = shared.write(waiting, &mut buffer) {
                // only this thread hands over, so that nothing comes before one that it consumes itself
                let is_next = shared.handed_over.load(Ordering::Acquire) == 0;
                let is_last = || lock(&shared.line).waiting.is_empty();
                let is_small = group.bytes <= GROUP_BYTES_OF_WRITER;
                if is_next && (is_small || group.bytes <= LAST_GROUP_BYTES_OF_WRITER && is_last()) {
                    shared.finish(group);
                } else {
                    shared.handed_over.fetch_add(1, Ordering::Relaxed);
                    hand_over.send(group).expect("it takes groups as long as there are any");
                }
            }
            if buffer.capacity() > 2 * GROUP_BYTES {
                buffer = Vec::new();
            }
        }
        // the last mark, so that a log at rest is safe against damage up to its end
        let mut tail = lock(&shared.tail);
        tail.rest();
        shared.publish(&tail);
        drop(tail);
        drop(hand_over);
    });
}

fn finish_all(shared: &Shared, groups: Receiver<Group>) {
    for group in groups {
        shared.finish(group);
        shared.handed_over.fetch_sub(1, Ordering::Release);
    }
}

/// If the writer panics, nobody waits for it forever.
struct Working<'a>(&'a Shared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let mut line = lock(&self.0.line);
            line.closed = true;
            line.working = false;
            line.waiting.clear();
        }
    }
}

/// The error of who failed to consume an entry, for who appended it.
fn stored_nevertheless(error: &Error) -> Error {
    let mut detail = error.detail().map_or_else(String::new, |detail| format!("{detail} "));
    detail.push_str("The events are stored, but not to be seen yet; they will be once this is cured.");
    error.duplicate().with_detail(detail)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(Kind::OutOfMemory, format!("could not start a thread for an ingest log: {error}"))
}
