//! A stream that reads a topic: where to go on in each partition, and how far that is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{BATCH_BYTES, BATCH_MESSAGES, Reader, Trouble, WAIT};
use super::rows::Rows;
use crate::engine::{PartitionFigures, Reading, ReadingState};
use crate::error::Error;
use crate::ingest::{Positions, ReadLog};
use crate::kafka::{Message, Options, Problem, Topic};
use crate::statement::topic_options;
use crate::time::Stopwatch;

/// So often the topic is asked for new partitions.
const PARTITIONS_INTERVAL: Duration = Duration::from_secs(30);

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        match problem {
            Problem::Away(text) => Trouble::Away(text),
            Problem::Failed(text) => Trouble::Failed(text),
        }
    }
}

impl Reader {
    pub(super) fn read_topic(&self) -> Result<(), Trouble> {
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
