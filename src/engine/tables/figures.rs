//! What is known of a stream for those who look: how far its log is, how many events come, and what went wrong last.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::reading::Reading;
use crate::engine::leading_edge::NewestEvent;

/// How far a stream's log is, and what comes in.
#[derive(Debug, Clone, Default)]
pub struct StreamFigures {
    /// of the first event that is still in the log
    pub first_offset: u64,
    /// behind the last event
    pub end_offset: u64,
    /// behind the last event in the offline store
    pub flushed_offset: u64,
    pub log_bytes: u64,
    pub troubles: Troubles,
    pub rate: EventRate,
    /// of those that were not of the future when they came; lookups hold it, too
    pub newest_event: Arc<NewestEvent>,
    /// when the last event came
    pub newest_arrival_us: Option<i64>,
    /// of a stream whose events are read from elsewhere
    pub reading: Option<Reading>,
}

impl StreamFigures {
    /// Notes events that came at `arrival_us`, of which the latest has this time.
    pub fn came(&mut self, events: u64, arrival_us: i64, newest_event_us: Option<i64>) {
        newest_event_us.into_iter().for_each(|time_us| self.newest_event.saw(time_us));
        self.rate.add(arrival_us, events);
        self.newest_arrival_us = self.newest_arrival_us.max(Some(arrival_us));
    }
}

const SECOND_US: i64 = 1_000_000;
/// Over so many seconds a rate is told.
const RATE_SECONDS: i64 = 60;

/// Events by the second in which they came, of the last minute.
#[derive(Debug, Clone, Default)]
pub struct EventRate(VecDeque<(i64, u64)>);

impl EventRate {
    fn add(&mut self, now_us: i64, events: u64) {
        let second = now_us.div_euclid(SECOND_US);
        match self.0.back_mut() {
            // a clock that is set back adds to what it was at
            Some((last, count)) if *last >= second => *count += events,
            _ => self.0.push_back((second, events)),
        }
        while self.0.front().is_some_and(|(first, _)| *first <= second - RATE_SECONDS) {
            self.0.pop_front();
        }
    }

    /// Of the minute before `now_us`.
    pub fn per_second(&self, now_us: i64) -> f64 {
        let now = now_us.div_euclid(SECOND_US);
        let counted = self.0.iter().filter(|(second, _)| *second > now - RATE_SECONDS);
        counted.map(|(_, count)| count).sum::<u64>() as f64 / RATE_SECONDS as f64
    }
}

/// What may go wrong, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    Appending,
    Flushing,
    Reading,
    /// what happens elsewhere, as events
    Telling,
}

/// What has failed and has not been done since.
#[derive(Debug, Clone, Default)]
pub struct Troubles(BTreeMap<Doing, (i64, String)>);

impl Troubles {
    /// Without an error it was done.
    pub fn note(&mut self, doing: Doing, now_us: i64, error: Option<String>) {
        match error {
            Some(error) => drop(self.0.insert(doing, (now_us, error))),
            None => drop(self.0.remove(&doing)),
        }
    }

    /// The newest one, and when it was.
    pub fn last(&self) -> Option<(i64, &str)> {
        self.0.values().max_by_key(|(at_us, _)| *at_us).map(|(at_us, error)| (*at_us, error.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_minute() {
        let mut rate = EventRate::default();
        assert_eq!(rate.per_second(0), 0.0);
        for second in 0..100 {
            rate.add(second * SECOND_US, 2);
            rate.add(second * SECOND_US + 1, 1);
        }
        assert_eq!(rate.0.len(), 60);
        assert_eq!(rate.per_second(99 * SECOND_US), 3.0);
        assert_eq!(rate.per_second(129 * SECOND_US), 1.5);
        assert_eq!(rate.per_second(200 * SECOND_US), 0.0);
        // a clock that is set back
        rate.add(0, 60);
        assert_eq!(rate.per_second(99 * SECOND_US), 4.0);
    }

    #[test]
    fn an_error_is_over_when_the_same_has_succeeded() {
        let mut troubles = Troubles::default();
        troubles.note(Doing::Flushing, 1, Some("disk full".to_owned()));
        troubles.note(Doing::Reading, 2, Some("away".to_owned()));
        assert_eq!(troubles.last(), Some((2, "away")));
        troubles.note(Doing::Appending, 3, None);
        troubles.note(Doing::Reading, 3, None);
        assert_eq!(troubles.last(), Some((1, "disk full")));
        troubles.note(Doing::Flushing, 4, None);
        assert_eq!(troubles.last(), None);
    }
}
