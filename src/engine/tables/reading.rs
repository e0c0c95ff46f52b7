//! What is known of streams that are read from elsewhere, for those who look: how far, and what could not be taken in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};

use granary_catalog::ObjectId;

use super::events::EventTails;

/// How far the reader of a stream is.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub state: ReadingState,
    pub partitions: BTreeMap<i32, PartitionFigures>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadingState {
    /// not connected yet
    #[default]
    Connecting,
    Reading,
    /// who is read does not answer; they are asked again and again
    Reconnecting,
    /// something must be done about the last error; it is tried again and again
    Failing,
    Paused,
}

impl ReadingState {
    pub fn as_str(self) -> &'static str {
        match self {
            ReadingState::Connecting => "connecting",
            ReadingState::Reading => "reading",
            ReadingState::Reconnecting => "reconnecting",
            ReadingState::Failing => "failing",
            ReadingState::Paused => "paused",
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionFigures {
    /// The offset behind the last message that is taken in; None before the first.
    pub next_offset: Option<i64>,
    /// The offset behind the last message that there is, as far as is known.
    pub high_watermark: Option<i64>,
}

impl PartitionFigures {
    /// How many messages are still to be read, as far as is known.
    pub fn lag(&self) -> Option<i64> {
        Some((self.high_watermark? - self.next_offset?).max(0))
    }
}

impl Reading {
    /// Of all partitions; None if one is not known, or none.
    pub fn lag(&self) -> Option<i64> {
        if self.partitions.is_empty() {
            return None;
        }
        self.partitions.values().map(PartitionFigures::lag).sum()
    }
}

/// A message that is no event of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    /// the message's own, microseconds
    pub time_us: Option<i64>,
    pub reason: String,
    /// as much of it as is kept
    pub payload: Vec<u8>,
    pub payload_bytes: u64,
}

/// The newest dead letters of a stream.
#[derive(Debug, Clone, Default)]
pub struct DeadLetters {
    pub newest: VecDeque<Arc<DeadLetter>>,
    /// that there ever were
    pub total: u64,
    /// the offset, in the stream's log, up to which they are here
    pub end: u64,
}

/// So many of a stream are kept.
const MOST_LETTERS: usize = 1000;

impl DeadLetters {
    fn add(&mut self, letters: Vec<DeadLetter>) {
        self.total += letters.len() as u64;
        self.newest.extend(letters.into_iter().map(Arc::new));
        let excess = self.newest.len().saturating_sub(MOST_LETTERS);
        self.newest.drain(..excess);
    }
}

impl EventTails {
    fn letters(&self) -> MutexGuard<'_, std::collections::HashMap<u64, DeadLetters>> {
        self.2.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn open_letters(&self, stream: ObjectId, letters: DeadLetters) {
        self.letters().insert(stream.0, letters);
    }

    /// The offset, in the stream's log, up to which its letters are here.
    pub fn dead_letters_end(&self, stream: ObjectId) -> u64 {
        self.letters().get(&stream.0).map_or(0, |letters| letters.end)
    }

    /// Adds those letters of the log up to `end` that are behind [`EventTails::dead_letters_end`].
    pub fn push_letters(&self, stream: ObjectId, letters: Vec<DeadLetter>, end: u64) {
        let mut all = self.letters();
        let known = all.entry(stream.0).or_default();
        if known.end < end {
            known.end = end;
            known.add(letters);
        }
    }

    pub fn dead_letters(&self, stream: ObjectId) -> DeadLetters {
        self.letters().get(&stream.0).cloned().unwrap_or_default()
    }

    pub(super) fn close_letters(&self, stream: ObjectId) {
        self.letters().remove(&stream.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(offsets: std::ops::Range<i64>) -> Vec<DeadLetter> {
        let letter = |offset| DeadLetter {
            partition: 0,
            offset,
            time_us: None,
            reason: "bad".into(),
            payload: vec![],
            payload_bytes: 0,
        };
        offsets.map(letter).collect()
    }

    #[test]
    fn the_newest_letters_are_kept_each_once() {
        let (tails, stream) = (EventTails::default(), ObjectId(1));
        tails.push_letters(stream, letters(0..600), 600);
        tails.push_letters(stream, letters(0..600), 600);
        tails.push_letters(stream, letters(600..1200), 1200);
        let kept = tails.dead_letters(stream);
        assert_eq!((kept.total, kept.newest.len(), kept.newest[0].offset), (1200, 1000, 200));
    }

    #[test]
    fn the_lag_is_known_when_that_of_every_partition_is() {
        let known = PartitionFigures { next_offset: Some(3), high_watermark: Some(10) };
        let unknown = PartitionFigures { next_offset: Some(3), high_watermark: None };
        let reading = |partitions| Reading { partitions, ..Reading::default() };
        assert_eq!(reading(BTreeMap::from([(0, known), (1, known)])).lag(), Some(14));
        assert_eq!(reading(BTreeMap::from([(0, known), (1, unknown)])).lag(), None);
        assert_eq!(reading(BTreeMap::new()).lag(), None);
    }
}
