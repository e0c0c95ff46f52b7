//! Pushed events of streams: from a call into the stream's log, from there online and into the tail that queries read,
//! and by and by into the offline store.
//!
//! * **Appended** is: every dependent view has computed its rows of the events, so none can fail later; they are in the
//!   log, on disk; their rows are online; and queries see them. Only then is the call answered.
//! * **Flushed** is: one Delta commit has the events with their offsets, under an application transaction that says up to
//!   which offset. What a crash interrupts is done again or was done. Then the log lets go of them.
//! * **Marks** beside the online rows say up to which event they are durable there. At the start the log is read from
//!   where the offline store ends, and what a mark lacks before that comes from the offline store.
//!
//! Nothing is known here of sessions and statements, nor how the log keeps what it is given.

mod capture;
mod check;
mod consumer;
mod files;
mod flush;
mod forget;
mod joined;
mod newest;
mod online;
mod payload;
mod reading;
mod repeats;
mod replay;
mod sinks;
mod views;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use granary_catalog::{FeatureView, Object, ObjectId, Snapshot, Stream, StreamIngest};
use tokio::sync::Notify;

pub use self::capture::{Begun, Capture, Spooled};
pub use self::check::{Refused, ViewCount};
pub use self::files::IngestFile;
pub use self::payload::Positions;
pub use self::reading::ReadLog;
pub use self::replay::ReplayStart;

use self::consumer::Consumer;
use self::online::{events_mark, item_rows, views_of};
use self::payload::Payload;
use self::views::Compiled;
use crate::access::Asker;
use crate::engine::{
    BoundView, Doing, MadeOfCall, NameScope, QueryPlanner, ReadStores, event_rows, events_table, offset_of_arrival,
    schemas_of,
};
use crate::error::{Error, Kind, Result, io_error};
use crate::ingest_log::{IngestLog, Options};
use crate::offline::BatchStream;
use crate::priority::blocking;
use crate::time::Clock;

/// An entry of the log gets no more events when it is so long.
const ENTRY_BYTES: usize = 8 << 20;
/// Events are flushed when so many bytes of them wait in memory, if their time has not come before.
const TAIL_BYTES: usize = 64 << 20;
/// No more events are taken while so many wait, because they cannot be flushed.
const TAIL_MAX_BYTES: usize = 1 << 30;

/// The logs of all streams that have events.
pub struct Ingest {
    stores: ReadStores,
    clock: Clock,
    folder: PathBuf,
    compiled: Arc<Compiled>,
    logs: Mutex<HashMap<u64, Arc<StreamLog>>>,
    /// held while a log is opened or closed
    opening: tokio::sync::Mutex<()>,
    /// told when a tail has grown long
    pub wants_flush: Arc<Notify>,
    /// told when the catalog has changed: streams that are read from elsewhere may have come or gone
    pub changed: Arc<Notify>,
    /// the same for sinks
    pub sinks_changed: Arc<Notify>,
}

struct StreamLog {
    id: ObjectId,
    log: IngestLog,
    /// up to which offset the offline store has the events
    flushed: AtomicU64,
    /// what is in the log from here on stays there, flushed or not
    kept_from: AtomicU64,
    /// how many dead letters there were when they were put on disk
    letters_kept: AtomicU64,
    /// held to append; alone by who wants the log to stand still
    appending: tokio::sync::RwLock<()>,
    /// held by who flushes, or sets marks
    flushing: tokio::sync::Mutex<()>,
    /// held by the consumer, from its look at the catalog on
    taking: Arc<Mutex<()>>,
}

/// From which event on rows are put online.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// up to which the view has them
    Mark,
    Beginning,
}

/// While entries are made and appended: by which catalog their events have rows of joined views. Whoever gets the lock alone
/// knows that later entries are made by a catalog that is not older.
struct Appending<'a> {
    log: &'a StreamLog,
    snapshot: Arc<Snapshot>,
    _lock: tokio::sync::RwLockReadGuard<'a, ()>,
}

impl<'a> Appending<'a> {
    async fn begin(stores: &ReadStores, log: &'a StreamLog) -> Appending<'a> {
        let lock = log.appending.read().await;
        Appending { log, snapshot: stores.catalog.snapshot(), _lock: lock }
    }
}

impl Ingest {
    /// Logs are in folders of `folder`.
    pub fn new(stores: ReadStores, clock: Clock, folder: PathBuf) -> Ingest {
        Ingest {
            stores,
            clock,
            folder,
            compiled: Arc::default(),
            logs: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            wants_flush: Arc::default(),
            changed: Arc::default(),
            sinks_changed: Arc::default(),
        }
    }

    /// Opens the logs that there are, so that all events are seen; removes those of streams that are gone.
    pub async fn start(&self) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        let fail = |error| io_error("list the folder", &self.folder, error);
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let name = entry.map_err(fail)?.file_name();
            let id = name.to_string_lossy().strip_prefix("stream-").and_then(|id| id.parse().ok()).map(ObjectId);
            let Some(id) = id else { continue };
            match snapshot.get_as::<Stream>(id) {
                Some(stream) => drop(self.log(stream).await?),
                None => {
                    if let Some(slot) = capture::left_slot(&self.folder_of(id)) {
                        tracing::warn!(slot, "a stream is gone, and nobody has dropped its replication slot");
                    }
                    self.remove(id).await?;
                }
            }
        }
        Ok(())
    }

    /// Appends events, in the stream's columns; gives their number when all of them are durable and seen. Those of one
    /// entry, which has some megabytes, are there all or none; of more an error may leave the first ones.
    ///
    /// `made` is what joined views have made of them when they were checked just now; what is missing is made.
    pub async fn append(&self, stream: &Stream, mut rows: BatchStream, made: MadeOfCall) -> Result<u64> {
        // as it is by now: a transaction may have begun before it was paused
        let snapshot = self.stores.catalog.snapshot();
        check_pushed(snapshot.get_as::<Stream>(stream.header.id).unwrap_or(stream))?;
        let log = self.log(stream).await?;
        let (mut payload, mut count, mut taken) = (Payload::default(), 0, 0);
        let mut appending = Appending::begin(&self.stores, &log).await;
        while let Some(batch) = rows.try_next().await? {
            let mut start = 0;
            while start < batch.num_rows() {
                let rows = rows_at_once(&batch).min(batch.num_rows() - start);
                let known = |view: &BoundView| made.of(view, taken, rows);
                let events = self.with_rows(&appending.snapshot, stream, batch.slice(start, rows), known).await?;
                for part in joined::parts(&events, ENTRY_BYTES) {
                    payload.add(&part)?;
                    if payload.bytes.len() >= ENTRY_BYTES {
                        count += self.append_entry(stream, &appending, std::mem::take(&mut payload)).await?;
                    }
                }
                start += rows;
                taken += rows;
                if payload.events == 0 {
                    appending = Appending::begin(&self.stores, &log).await;
                }
            }
        }
        Ok(count + self.append_entry(stream, &appending, payload).await?)
    }

    async fn append_entry(&self, stream: &Stream, appending: &Appending<'_>, payload: Payload) -> Result<u64> {
        let log = appending.log;
        let Some(events) = NonZeroU32::new(payload.events) else { return Ok(0) };
        if self.stores.tails.bytes(log.id) > TAIL_MAX_BYTES {
            self.wants_flush.notify_one();
            let message = format!("too many events of stream \"{}\" wait for the offline store", stream.header.name);
            return Err(Error::new(Kind::ConfigurationLimitExceeded, message)
                .with_hint("the server's log says why they cannot be written there"));
        }
        let appended = log.log.append(payload.bytes.into(), events, self.clock.now_us()).await;
        self.note(log);
        self.note_outcome(log.id, Doing::Appending, appended.as_ref().err());
        appended.map(|_| u64::from(events.get()))
    }

    /// Whether taking events of a stream is no long work: its log is open, and no view of it needs a planner.
    pub fn is_ready(&self, snapshot: &Arc<Snapshot>, stream: ObjectId) -> bool {
        self.compiled.is_ready(snapshot, stream) && self.opened(stream).is_some()
    }

    /// Whether a stream ever had events.
    pub fn has_events(&self, stream: ObjectId) -> bool {
        self.opened(stream).is_some_and(|log| log.log.end() > 0)
    }

    /// Frees what a commit has dropped, and gives views that it has made or changed the events that there are.
    pub async fn after_change(&self, before: &Snapshot, after: &Snapshot) -> Result<()> {
        self.changed.notify_one();
        self.sinks_changed.notify_one();
        let is_same = |object: &Arc<Object>| after.get(object.id()).is_some_and(|now| Arc::ptr_eq(now, object));
        for object in before.objects().filter(|object| !is_same(object)) {
            match object.as_ref() {
                Object::Stream(stream) if after.get_as::<Stream>(stream.header.id).is_none() => {
                    self.remove(stream.header.id).await?;
                }
                Object::FeatureView(view) if view.kind.is_stream() => {
                    let mark = events_mark(&BoundView::of_feature_view(view)?);
                    self.stores.online.set_marks(&[(mark, None)])?;
                }
                _ => {}
            }
        }
        let was_same = |view: &&FeatureView| before.get_as::<FeatureView>(view.header.id) == Some(*view);
        for view in after.all::<FeatureView>().into_iter().filter(|view| !was_same(view)) {
            let stream = after.stream_among(&view.depends_on);
            let Some(stream) = stream.filter(|_| view.kind.is_stream()) else { continue };
            if after.is_live(view.header.home.workspace()) {
                let log = self.opened(stream.header.id);
                if let Some(log) = log.as_ref().filter(|_| view.joins) {
                    self.complete_rows(log, stream).await?;
                }
                if !view.online {
                    continue;
                }
                let view = Arc::new(BoundView::of_feature_view(view)?);
                if let Some(log) = log {
                    self.bring_online(&log, stream, &view, Since::Beginning).await?;
                }
                // other features may need other states of the same rows, those of the mirror, too
                let online = Arc::clone(&self.stores.online);
                blocking(move || online.keep_spans(view.id, view.item_spans().as_ref())).await?;
            }
        }
        Ok(())
    }

    fn opened(&self, stream: ObjectId) -> Option<Arc<StreamLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).get(&stream.0).cloned()
    }

    fn all_opened(&self) -> Vec<Arc<StreamLog>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn folder_of(&self, stream: ObjectId) -> PathBuf {
        self.folder.join(format!("stream-{}", stream.0))
    }

    /// The log of a stream, which begins with the first call.
    async fn log(&self, stream: &Stream) -> Result<Arc<StreamLog>> {
        let id = stream.header.id;
        if let Some(log) = self.opened(id) {
            return Ok(log);
        }
        let _opening = self.opening.lock().await;
        if let Some(log) = self.opened(id) {
            return Ok(log);
        }
        let name = events_table(id);
        let stored = self.stores.offline.table_since(&name, &name).await?;
        let flushed = stored.and_then(|(_, end)| end).and_then(|end| u64::try_from(end).ok()).unwrap_or(0);
        self.stores.tails.open(id, flushed);
        self.recall_newest(stream, flushed).await.inspect_err(|_| self.stores.tails.close(id))?;
        // before the log is read: its events are held against those before them
        let snapshot = self.stores.catalog.snapshot();
        let known = repeats::catch_up(&self.stores, &snapshot, stream, flushed, self.clock.now_us());
        known.await.inspect_err(|_| self.stores.tails.close(id))?;
        let kept_from = match stream.ingest {
            StreamIngest::Push => u64::MAX,
            // the last entry says how far the reader was; who opens the log to read says where that begins
            _ => {
                self.open_letters(id).await?;
                0
            }
        };
        let letters_kept = self.stores.tails.dead_letters(id).total;
        let consumer = Consumer {
            stores: self.stores.clone(),
            clock: self.clock.clone(),
            stream: id,
            compiled: Arc::clone(&self.compiled),
            wants_flush: Arc::clone(&self.wants_flush),
            taking: Arc::default(),
        };
        let taking = Arc::clone(&consumer.taking);
        let options = Options::new(self.folder_of(id), id.0);
        let opened =
            blocking(move || IngestLog::open(options, flushed, Box::new(move |entries| consumer.take(entries))));
        let log = opened.await.inspect_err(|_| self.stores.tails.close(id))?;
        let log = Arc::new(StreamLog {
            id,
            log,
            flushed: AtomicU64::new(flushed),
            kept_from: AtomicU64::new(kept_from),
            letters_kept: AtomicU64::new(letters_kept),
            appending: tokio::sync::RwLock::default(),
            flushing: tokio::sync::Mutex::default(),
            taking,
        });
        for (view, is_online) in views_of(&self.stores.catalog.snapshot(), stream)? {
            let mark = self.stores.online.mark(&events_mark(&view))?;
            match is_online && mark.is_none_or(|mark| mark < flushed) {
                // when all of its rows are there
                true if view.joins => self.stores.online.set_marks(&[(events_mark(&view), None)])?,
                true => self.bring_online(&log, stream, &view, Since::Mark).await?,
                false => {}
            }
        }
        self.complete_rows_at_start(&log, stream).await?;
        self.note(&log);
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).insert(id.0, Arc::clone(&log));
        Ok(log)
    }

    /// Puts the rows that a view makes of all events into the online store. What comes meanwhile does the consumer, under
    /// the same keys.
    async fn bring_online(&self, log: &StreamLog, stream: &Stream, view: &Arc<BoundView>, since: Since) -> Result<()> {
        let _flushing = log.flushing.lock().await;
        if since == Since::Beginning {
            // now that no flush is under way, which might set it again; without a mark a crash does not end this
            self.stores.online.set_marks(&[(events_mark(view), None)])?;
        }
        // events that are on their way by an older catalog, which may not have the view, are in the tail afterwards
        let taking = Arc::clone(&log.taking);
        blocking(move || {
            drop(taking.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        })
        .await?;
        let end = log.log.consumed();
        let snapshot = self.stores.catalog.snapshot();
        let planner = planner(&self.stores, &snapshot, stream, self.clock.now_us())?;
        let mark = events_mark(view);
        let from = self.stores.online.mark(&mark)?.unwrap_or(0);
        let online = Arc::clone(&self.stores.online);
        if let Some(mut rows) = event_rows(&planner, view).await? {
            while let Some(batch) = rows.try_next().await? {
                let mut rows = item_rows(view, &batch)?;
                rows.retain(|row| offset_of_arrival(row.sequence) >= from.cast_signed());
                let (online, view) = (Arc::clone(&online), Arc::clone(view));
                blocking(move || online.put_items(view.id, rows, view.item_spans().as_ref())).await?;
            }
        }
        blocking(move || {
            online.sync()?;
            online.set_marks(&[(mark, Some(end))])
        })
        .await
    }

    /// Makes what the mirror of a stream with DEDUPLICATE BY has now known to its events.
    pub async fn claim_mirror(&self, stream: &Stream) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        repeats::claim_mirror(&self.stores, &snapshot, stream, self.clock.now_us()).await
    }

    /// Makes the online rows of a view's events anew, out of the log and the offline store: what is missing or damaged is put
    /// again, what no event has made goes, and all spans of them are folded again. Readers see every event all the while.
    pub async fn rebuild(&self, view: &Arc<BoundView>) -> Result<()> {
        let snapshot = self.stores.catalog.snapshot();
        let stream = snapshot.stream_among(&view.depends_on);
        let Some(stream) = stream else { return Ok(()) };
        let online = Arc::clone(&self.stores.online);
        let since = blocking(move || online.next_generation()).await?;
        if let Some(log) = self.opened(stream.header.id) {
            self.bring_online(&log, stream, view, Since::Beginning).await?;
        }
        let (online, view) = (Arc::clone(&self.stores.online), Arc::clone(view));
        blocking(move || {
            online.remove_old_pushed(view.id, &since, view.item_spans().as_ref())?;
            online.sync()
        })
        .await
    }

    /// Everything of a stream that is gone.
    async fn remove(&self, stream: ObjectId) -> Result<()> {
        let _opening = self.opening.lock().await;
        let log = self.logs.lock().unwrap_or_else(PoisonError::into_inner).remove(&stream.0);
        let (folder, online) = (self.folder_of(stream), Arc::clone(&self.stores.online));
        blocking(move || {
            drop(log);
            remove_folder(&folder)?;
            online.set_marks(&newest::marks(stream, None))?;
            online.set_marks(&[(repeats::claims_mark(stream), None)])?;
            online.remove_claims(stream.0)
        })
        .await?;
        self.compiled.forget(stream);
        self.stores.tails.close(stream);
        self.stores.offline.drop_table(&events_table(stream)).await
    }
}

/// How a stream's queries are planned: with the names and rights of the server itself.
fn planner(stores: &ReadStores, snapshot: &Arc<Snapshot>, stream: &Stream, now_us: i64) -> Result<QueryPlanner> {
    let workspace = stream.header.home.workspace();
    let workspace = workspace.ok_or_else(|| Error::internal("a stream is in no workspace"))?;
    // the only relation that a view's query over events may name is the stream, unless the view joins
    let search_path = schemas_of(snapshot, [stream.header.id]);
    let (snapshot, asker) = (Arc::clone(snapshot), Asker::Server);
    let scope = NameScope { snapshot, workspace, search_path, process_id: 0, meant: Vec::new(), asker };
    Ok(QueryPlanner::new(stores.clone(), scope, now_us))
}

/// How the query of a joined view is planned: its names mean what it depends on, and what that depends on, wherever these are.
fn planner_of_view(
    stores: &ReadStores,
    snapshot: &Arc<Snapshot>,
    stream: &Stream,
    view: &BoundView,
    now_us: i64,
) -> Result<QueryPlanner> {
    let mut planner = planner(stores, snapshot, stream, now_us)?;
    let (mut meant, mut waiting) = (Vec::new(), view.depends_on.clone());
    while let Some(id) = waiting.pop() {
        if let Some(object) = snapshot.get(id).filter(|_| !meant.contains(&id)) {
            meant.push(id);
            waiting.extend(object.depends_on());
        }
    }
    planner.scope.search_path = schemas_of(snapshot, std::iter::once(stream.header.id).chain(meant.iter().copied()));
    planner.scope.meant = meant;
    Ok(planner)
}

/// How many rows of a batch make up a good part of an entry.
fn rows_at_once(batch: &RecordBatch) -> usize {
    let row_bytes = (batch.get_array_memory_size() / batch.num_rows().max(1)).max(1);
    (ENTRY_BYTES / 8 / row_bytes).max(1)
}

/// Refuses what is to be pushed to a stream that is paused, or read from elsewhere.
pub fn check_pushed(stream: &Stream) -> Result<()> {
    let name = &stream.header.name;
    match stream.ingest {
        StreamIngest::Push if stream.paused => {
            Err(Error::new(Kind::ObjectNotInPrerequisiteState, format!("stream \"{name}\" is paused"))
                .with_detail("It takes no events until it is resumed.")
                .with_hint(format!("ALTER STREAM {name} RESUME")))
        }
        StreamIngest::Push => Ok(()),
        StreamIngest::Kafka { .. } | StreamIngest::Postgres { .. } => {
            let message = format!("cannot write to stream \"{name}\", which is read from elsewhere");
            Err(Error::new(Kind::WrongObjectType, message).with_hint("send events to where it reads them"))
        }
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", folder, error)),
        _ => Ok(()),
    }
}
