//! One stream's reader: from where its log ends to the end of what it reads, and on.
//!
//! Whatever fails, it begins anew with what the log says. What a server or the disk refuses now is tried again; a message
//! that cannot be an event is a dead letter, and the next one is read. Where messages come from is said by `topic` and
//! `table`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use granary_catalog::{Snapshot, Stream, StreamIngest};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::rows::{Read, Row};
use crate::engine::{DeadLetter, ReadingState};
use crate::error::{Error, Kind, Result};
use crate::ingest::{Positions, ReadLog, Refused};
use crate::metrics::{self, StreamMetrics};
use crate::row::array_of;
use crate::warehouse::Warehouse;

/// A batch has no more messages, or bytes of them but for the last.
pub const BATCH_MESSAGES: usize = 4096;
pub const BATCH_BYTES: usize = 4 << 20;
/// How long a message may wait for the first look at whether the reader is to stop.
pub const WAIT: Duration = Duration::from_millis(100);
/// Between two attempts after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So much is kept of a message that is no event.
const LETTER_BYTES: usize = 4096;
const REASON_CHARS: usize = 1000;

/// Messages of one kind: which rows they are, and where they stand.
pub trait Messages {
    type Message;

    /// What each message is.
    fn read(&self, messages: &[Self::Message]) -> Result<Vec<Read>>;

    /// What is known of a message that is no event.
    fn origin(&self, message: &Self::Message) -> Origin;

    /// Moves positions behind a message.
    fn pass(&self, message: &Self::Message, positions: &mut Positions);
}

/// See [`Messages::origin`].
pub struct Origin {
    pub partition: i32,
    pub offset: i64,
    pub time_us: Option<i64>,
    pub payload: Vec<u8>,
}

pub struct Reader {
    pub(super) warehouse: Arc<Warehouse>,
    pub(super) stream: Arc<Stream>,
    pub(super) stop: CancellationToken,
    pub(super) metrics: Arc<StreamMetrics>,
    pub(super) runtime: Handle,
    schema: SchemaRef,
    /// what a server keeps for the stream
    pub(super) slot: RefCell<Option<String>>,
}

/// Why a reader begins anew, or ends.
pub enum Trouble {
    /// who is read does not answer, or not yet as they should
    Away(String),
    /// somebody has to do something
    Failed(String),
    Ours(Error),
    Stopped,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Ours(error)
    }
}

impl Reader {
    /// To be made where there is a runtime.
    pub fn new(warehouse: Arc<Warehouse>, stream: Arc<Stream>, workspace: String, stop: CancellationToken) -> Reader {
        let field = |column: &granary_catalog::Column| Field::new(&column.name, column.data_type.clone(), true);
        let schema = Arc::new(Schema::new(stream.columns.iter().map(field).collect::<Vec<_>>()));
        let metrics = metrics::of_stream(&workspace, &stream.header.name);
        Reader { warehouse, stream, stop, metrics, runtime: Handle::current(), schema, slot: RefCell::default() }
    }

    /// Reads until it is stopped. Blocks.
    pub fn run(self) {
        let mut told = String::new();
        while !self.stop.is_cancelled() {
            let trouble = match self.read() {
                Ok(()) => break,
                Err(trouble) => trouble,
            };
            let (state, text) = match trouble {
                Trouble::Stopped => break,
                Trouble::Away(text) => (ReadingState::Reconnecting, text),
                Trouble::Failed(text) => (ReadingState::Failing, text),
                Trouble::Ours(error) => (ReadingState::Failing, error.to_string()),
            };
            if told != text {
                tracing::warn!(
                    stream = self.stream.header.name,
                    error = text,
                    "a stream cannot be read, and is tried again"
                );
                told.clone_from(&text);
            }
            self.note(state, Some(text));
            let stopped = self.stop.cancelled();
            // the time passes or somebody stops it
            let _ = self.runtime.block_on(async { tokio::time::timeout(RETRY_AFTER, stopped).await });
        }
        metrics::forget_stream(&self.metrics);
        self.let_go();
    }

    fn read(&self) -> Result<(), Trouble> {
        match &self.stream.ingest {
            StreamIngest::Push => Err(Error::internal("a stream is read from nowhere").into()),
            StreamIngest::Kafka { .. } => self.read_topic(),
            StreamIngest::Postgres { dsn, publication, table } => {
                self.read_table(dsn.expose(), publication.as_deref(), table)
            }
        }
    }

    /// Puts messages into the log: events, and letters of those that are none.
    pub(super) fn take<M: Messages>(&self, kind: &M, log: &mut ReadLog, messages: &[M::Message]) -> Result<()> {
        let mut parts = vec![messages];
        while let Some(part) = parts.pop() {
            if !self.take_part(kind, log, part, None)? {
                match part.split_at(part.len() / 2) {
                    ([], alone) => {
                        let error = Error::new(Kind::ConfigurationLimitExceeded, "the event is too long for the log");
                        self.take_part(kind, log, alone, Some(&error))?;
                    }
                    (first, second) => parts.extend([second, first]),
                }
            }
        }
        Ok(())
    }

    /// The same for messages that fit into one entry; false if they do not. With an error all of them are letters.
    fn take_part<M: Messages>(
        &self,
        kind: &M,
        log: &mut ReadLog,
        messages: &[M::Message],
        error: Option<&Error>,
    ) -> Result<bool> {
        let letter = |message: &M::Message, error: &Error| letter(kind.origin(message), error);
        let (mut good, mut from, mut letters) = (Vec::new(), Vec::new(), Vec::new());
        for (message, read) in messages.iter().zip(kind.read(messages)?) {
            match read {
                Read::Row(_) if error.is_some() => letters.extend(error.map(|error| letter(message, error))),
                Read::Row(row) => {
                    good.push(row);
                    from.push(message);
                }
                Read::Tombstone => {}
                Read::Bad(error) => letters.push(letter(message, &error)),
            }
        }
        let mut positions = log.positions.clone();
        messages.iter().for_each(|message| kind.pass(message, &mut positions));
        let mut events = self.batch(&good)?;
        let refused = self.runtime.block_on(self.refused(&events))?;
        if !refused.is_empty() {
            letters.extend(refused.iter().map(|(place, error)| letter(from[*place], error)));
            let stays = |place: &usize| !refused.contains_key(place);
            good = good.into_iter().enumerate().filter(|(place, _)| stays(place)).map(|(_, row)| row).collect();
            events = self.batch(&good)?;
        }
        if good.is_empty() && letters.is_empty() {
            // no events: to read them again after a crash is nothing
            log.positions = positions;
            return Ok(true);
        }
        let appended = self.warehouse.ingest.append_read(&self.stream, log, (&events, &letters), positions);
        let fits = self.runtime.block_on(appended)?;
        if fits {
            self.metrics.read(good.len() as u64, letters.len() as u64);
        }
        Ok(fits)
    }

    fn batch(&self, rows: &[Row]) -> Result<RecordBatch> {
        let column = |(place, field): (usize, &Arc<Field>)| {
            array_of(field.data_type(), rows.iter().map(|row| row[place].as_ref()))
        };
        let columns = self.schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::internal("messages do not fit their stream").with_source(error))
    }

    /// The places of events that some view cannot take, found by halves. Other errors are not the events' fault.
    async fn refused(&self, events: &RecordBatch) -> Result<BTreeMap<usize, Error>> {
        let snapshot: Arc<Snapshot> = self.warehouse.catalog.snapshot();
        let mut refused = BTreeMap::new();
        let mut parts = vec![(0, events.num_rows())];
        while let Some((start, rows)) = parts.pop() {
            let part = events.slice(start, rows);
            let checked = self.warehouse.ingest.check(&snapshot, &self.stream, &part).await;
            let Err(Refused { error, .. }) = checked else { continue };
            if !is_of_event(&error) {
                return Err(error);
            }
            match rows {
                0 | 1 => drop(refused.insert(start, error)),
                _ => parts.extend([(start, rows / 2), (start + rows / 2, rows - rows / 2)]),
            }
        }
        Ok(refused)
    }

    pub(super) fn note(&self, state: ReadingState, error: Option<String>) {
        let id = self.stream.header.id;
        self.warehouse.ingest.note_reading(id, |reading| reading.state = state);
        self.warehouse.ingest.note_read(id, error);
    }
}

/// Whether an error says that an event is wrong, rather than that something is wrong here or now.
fn is_of_event(error: &Error) -> bool {
    let class = &error.sqlstate()[..2];
    matches!(class, "22" | "23")
}

fn letter(origin: Origin, error: &Error) -> DeadLetter {
    let Origin { partition, offset, time_us, mut payload } = origin;
    let reason = format!("{}: {}", error.sqlstate(), error.message());
    let payload_bytes = payload.len() as u64;
    payload.truncate(LETTER_BYTES);
    let reason = reason.chars().take(REASON_CHARS).collect();
    DeadLetter { partition, offset, time_us, reason, payload, payload_bytes }
}
