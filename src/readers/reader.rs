//! One stream's reader: from where its log ends to the end of its topic, and on.
//!
//! Whatever fails, it begins anew with what the log says. What the brokers or the disk refuse now is tried again; a message
//! that cannot be an event is a dead letter, and the next one is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use granary_catalog::{Snapshot, Stream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::rows::{Read, Row, Rows};
use crate::engine::{DeadLetter, PartitionFigures, Reading, ReadingState};
use crate::error::{Error, Kind, Result};
use crate::ingest::{Positions, ReadLog, Refused};
use crate::kafka::{Message, Options, Problem, Topic};
use crate::metrics::{self, StreamMetrics};
use crate::row::array_of;
use crate::statement::topic_options;
use crate::time::Stopwatch;
use crate::warehouse::Warehouse;

/// A batch has no more messages, or bytes of them but for the last.
const BATCH_MESSAGES: usize = 4096;
const BATCH_BYTES: usize = 4 << 20;
/// How long a message may wait for the first look at whether the reader is to stop.
const WAIT: Duration = Duration::from_millis(100);
/// Between two attempts after something failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// So often the topic is asked for new partitions.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);
/// So much is kept of a message that is no event.
const LETTER_BYTES: usize = 4096;
const REASON_CHARS: usize = 1000;

pub struct Reader {
    warehouse: Arc<Warehouse>,
    stream: Arc<Stream>,
    stop: CancellationToken,
    metrics: Arc<StreamMetrics>,
    schema: SchemaRef,
    runtime: Handle,
}

/// Why a reader begins anew.
enum Trouble {
    Topic(Problem),
    Ours(Error),
}

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        Trouble::Topic(problem)
    }
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
        Reader { warehouse, stream, stop, metrics, schema, runtime: Handle::current() }
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
                Trouble::Topic(Problem::Away(text)) => (ReadingState::Reconnecting, text),
                Trouble::Topic(Problem::Failed(text)) => (ReadingState::Failing, text),
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
    }

    fn read(&self) -> Result<(), Trouble> {
        let options = topic_options(&self.stream.ingest)?.ok_or_else(|| Error::internal("a stream has no topic"))?;
        let rows = Rows::new(&self.stream, &options)?;
        let ingest = &self.warehouse.ingest;
        let mut log = self.runtime.block_on(ingest.open_reading(&self.stream))?;
        if options.paused || self.stream.paused {
            self.show(ReadingState::Paused, None, &log.positions, &BTreeMap::new());
            self.runtime.block_on(self.stop.cancelled());
            return Ok(());
        }
        let topic = Topic::open(&options)?;
        let mut begun = self.assign(&topic, &options, &mut log)?;
        let (mut asked, mut shown) = (Stopwatch::start(), None);
        while !self.stop.is_cancelled() {
            let messages = topic.read(WAIT, BATCH_MESSAGES, BATCH_BYTES)?;
            let next = |message: &Message| log.positions.get(&message.partition).copied();
            let is_new = |message: &Message| next(message).is_none_or(|next| message.offset >= next);
            let messages: Vec<Message> = messages.into_iter().filter(is_new).collect();
            if !messages.is_empty() {
                self.take(&rows, &mut log, &messages)?;
            }
            let highs = topic.high_watermarks();
            check_ends(&begun, &highs)?;
            let problem = topic.problem();
            if !messages.is_empty() || shown.as_ref() != Some(&(highs.clone(), problem.clone())) {
                let (state, error) = match problem.clone() {
                    None => (ReadingState::Reading, None),
                    Some(Problem::Away(text)) => (ReadingState::Reconnecting, Some(text)),
                    Some(Problem::Failed(text)) => (ReadingState::Failing, Some(text)),
                };
                self.show(state, error, &log.positions, &highs);
                shown = Some((highs, problem));
            }
            if asked.elapsed() >= PARTITIONS_INTERVAL {
                asked = Stopwatch::start();
                // what is away will be heard of
                if topic.partitions().is_ok_and(|partitions| partitions.len() > self.known_partitions()) {
                    begun = self.assign(&topic, &options, &mut log)?;
                }
            }
        }
        Ok(())
    }

    /// Finds out where to go on in each partition, and goes there.
    fn assign(
        &self,
        topic: &Topic,
        options: &Options,
        log: &mut ReadLog,
    ) -> Result<BTreeMap<i32, Option<i64>>, Trouble> {
        let partitions = topic.partitions()?;
        if log.starts.is_none() {
            let starts = topic.starts(options.start, &partitions)?;
            let known = starts.into_iter().filter_map(|(partition, start)| Some((partition, start?))).collect();
            self.runtime.block_on(self.warehouse.ingest.keep_starts(log, known))?;
        }
        let begins = |partition: &i32| {
            let start = || log.starts.as_ref().and_then(|starts| starts.get(partition));
            log.positions.get(partition).or_else(start).copied()
        };
        let offsets: BTreeMap<i32, Option<i64>> =
            partitions.iter().map(|partition| (*partition, begins(partition))).collect();
        topic.assign(&offsets)?;
        let figures = offsets
            .iter()
            .map(|(partition, next)| (*partition, PartitionFigures { next_offset: *next, high_watermark: None }));
        let reading = Reading { state: ReadingState::Reading, partitions: figures.collect() };
        self.warehouse.ingest.note_reading(self.stream.header.id, |known| *known = reading);
        Ok(offsets)
    }

    /// Puts messages into the log: events, and letters of those that are none.
    fn take(&self, rows: &Rows, log: &mut ReadLog, messages: &[Message]) -> Result<(), Trouble> {
        let mut parts = vec![messages];
        while let Some(part) = parts.pop() {
            if !self.take_part(rows, log, part, None)? {
                match part.split_at(part.len() / 2) {
                    ([], alone) => {
                        let error = Error::new(Kind::ConfigurationLimitExceeded, "the event is too long for the log");
                        self.take_part(rows, log, alone, Some(&error))?;
                    }
                    (first, second) => parts.extend([second, first]),
                }
            }
        }
        Ok(())
    }

    /// The same for messages that fit into one entry; false if they do not. With an error all of them are letters.
    fn take_part(
        &self,
        rows: &Rows,
        log: &mut ReadLog,
        messages: &[Message],
        error: Option<&Error>,
    ) -> Result<bool, Trouble> {
        let (mut good, mut from, mut letters) = (Vec::new(), Vec::new(), Vec::new());
        for (message, read) in messages.iter().zip(rows.read(messages)?) {
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
        for message in messages {
            positions.insert(message.partition, message.offset + 1);
        }
        let mut events = self.batch(&good)?;
        let refused = self.runtime.block_on(self.refused(&events))?;
        if !refused.is_empty() {
            letters.extend(refused.iter().map(|(place, error)| letter(from[*place], error)));
            let stays = |place: &usize| !refused.contains_key(place);
            good = good.into_iter().enumerate().filter(|(place, _)| stays(place)).map(|(_, row)| row).collect();
            events = self.batch(&good)?;
        }
        if good.is_empty() && letters.is_empty() {
            // tombstones: to read them again after a crash is nothing
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

    fn known_partitions(&self) -> usize {
        let figures = self.warehouse.ingest.reading(self.stream.header.id);
        figures.map_or(0, |reading| reading.partitions.len())
    }

    fn show(&self, state: ReadingState, error: Option<String>, positions: &Positions, highs: &BTreeMap<i32, i64>) {
        self.warehouse.ingest.note_reading(self.stream.header.id, |reading| {
            for (partition, next) in positions {
                reading.partitions.entry(*partition).or_default().next_offset = Some(*next);
            }
            for (partition, high) in highs {
                let figures = reading.partitions.entry(*partition).or_default();
                figures.high_watermark = Some(*high);
                // nothing has come yet from a partition that begins with its first message
                figures.next_offset = figures.next_offset.or((*high == 0).then_some(0));
            }
            for (partition, figures) in &reading.partitions {
                if let Some(lag) = figures.lag() {
                    self.metrics.lags(*partition, lag);
                }
            }
        });
        self.note(state, error);
    }

    fn note(&self, state: ReadingState, error: Option<String>) {
        let id = self.stream.header.id;
        self.warehouse.ingest.note_reading(id, |reading| reading.state = state);
        self.warehouse.ingest.note_read(id, error);
    }
}

/// Refuses to wait behind the end of a partition, as if nothing had come: it has lost what it had. Not all brokers say so.
fn check_ends(begun: &BTreeMap<i32, Option<i64>>, highs: &BTreeMap<i32, i64>) -> Result<(), Problem> {
    for (partition, begun) in begun {
        if let (Some(begun), Some(high)) = (begun, highs.get(partition))
            && high < begun
        {
            let what =
                format!("partition {partition} ends at offset {high}, and was to be read from offset {begun} on");
            return Err(Problem::Failed(what));
        }
    }
    Ok(())
}

/// Whether an error says that an event is wrong, rather than that something is wrong here or now.
fn is_of_event(error: &Error) -> bool {
    let class = &error.sqlstate()[..2];
    matches!(class, "22" | "23")
}

fn letter(message: &Message, error: &Error) -> DeadLetter {
    let payload = message.payload.as_deref().unwrap_or_default();
    let reason = format!("{}: {}", error.sqlstate(), error.message());
    DeadLetter {
        partition: message.partition,
        offset: message.offset,
        time_us: message.time_us,
        reason: reason.chars().take(REASON_CHARS).collect(),
        payload: payload[..payload.len().min(LETTER_BYTES)].to_vec(),
        payload_bytes: payload.len() as u64,
    }
}
