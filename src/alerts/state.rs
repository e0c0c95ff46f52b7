//! When an alert tells somebody: pending, firing and resolved, and how often it repeats itself. Pure: the time is given.

use granary_catalog::AlertRepeat;
use serde::{Deserialize, Serialize};

/// After so many evaluations in a row that fail it is told that an alert cannot be evaluated.
pub const FAILURES_TOLD: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// the condition does not hold, or was never looked at
    #[default]
    Inactive,
    /// it holds, and not for long enough
    Pending,
    Firing,
}

/// What is known of an alert. Kept, since what was told must not be told again after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertState {
    pub phase: Phase,
    /// since when the condition holds
    pub since_us: Option<i64>,
    pub checked_us: Option<i64>,
    /// when somebody was told last that it fires, or that it does no more
    pub told_us: Option<i64>,
    /// how often it was told since it fires; the last number stays when it is resolved
    pub times_told: u32,
    /// when it was resolved last
    pub resolved_us: Option<i64>,
    /// how many rows the condition gave
    pub rows: u64,
    /// the last evaluations have failed
    pub failing: Option<Failing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    pub sqlstate: String,
    pub message: String,
    pub since_us: i64,
    /// evaluations in a row
    pub count: u32,
    pub told_us: Option<i64>,
    pub times_told: u32,
}

/// What an alert says of when to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    pub for_us: i64,
    /// None: it is told once
    pub repeat: Option<AlertRepeat>,
}

/// What an evaluation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Holds { rows: u64 },
    HoldsNot,
    Failed { sqlstate: String, message: String },
}

/// What somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Firing,
    /// it still fires
    Repeated,
    Resolved,
    /// the condition cannot be evaluated
    Failing,
    /// it can be again
    Recovered,
}

impl Event {
    /// As `granary.alert_deliveries` shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::Firing => "FIRING",
            Event::Repeated => "REPEATED",
            Event::Resolved => "RESOLVED",
            Event::Failing => "FAILING",
            Event::Recovered => "RECOVERED",
        }
    }
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Inactive => "inactive",
            Phase::Pending => "pending",
            Phase::Firing => "firing",
        }
    }
}

impl AlertState {
    /// Whether two are the same but for when they were looked at.
    pub fn is_same_but_checked(&self, other: &AlertState) -> bool {
        AlertState { checked_us: other.checked_us, rows: other.rows, ..self.clone() } == *other
    }
}

/// What becomes of an alert by an evaluation, and what is to be told, in order.
pub fn step(before: &AlertState, rules: Rules, found: &Found, now_us: i64) -> (AlertState, Vec<Event>) {
    let mut state = AlertState { checked_us: Some(now_us), ..before.clone() };
    let mut events = Vec::new();
    let rows = match found {
        // it is not known whether it holds: what was stays
        Found::Failed { sqlstate, message } => {
            let mut failing = Failing {
                sqlstate: sqlstate.clone(),
                message: message.clone(),
                ..before.failing.clone().unwrap_or(Failing {
                    sqlstate: String::new(),
                    message: String::new(),
                    since_us: now_us,
                    count: 0,
                    told_us: None,
                    times_told: 0,
                })
            };
            failing.count = failing.count.saturating_add(1);
            let is_due = match failing.told_us {
                None => failing.count >= FAILURES_TOLD,
                Some(told_us) => repeats(rules, told_us, failing.times_told, now_us),
            };
            if is_due {
                failing.told_us = Some(now_us);
                failing.times_told = failing.times_told.saturating_add(1);
                events.push(Event::Failing);
            }
            state.failing = Some(failing);
            return (state, events);
        }
        Found::Holds { rows } => Some(*rows),
        Found::HoldsNot => None,
    };
    if state.failing.take().is_some_and(|failing| failing.told_us.is_some()) {
        events.push(Event::Recovered);
    }
    let Some(rows) = rows else {
        if state.phase == Phase::Firing {
            (state.told_us, state.resolved_us) = (Some(now_us), Some(now_us));
            events.push(Event::Resolved);
        }
        (state.phase, state.since_us, state.rows) = (Phase::Inactive, None, 0);
        return (state, events);
    };
    state.rows = rows;
    if state.phase == Phase::Firing {
        let told_us = state.told_us.unwrap_or(now_us);
        if repeats(rules, told_us, state.times_told, now_us) {
            state.told_us = Some(now_us);
            state.times_told = state.times_told.saturating_add(1);
            events.push(Event::Repeated);
        }
        return (state, events);
    }
    // a clock that was set back begins anew
    let since_us = state.since_us.filter(|since_us| *since_us <= now_us).unwrap_or(now_us);
    state.since_us = Some(since_us);
    if now_us.saturating_sub(since_us) < rules.for_us {
        state.phase = Phase::Pending;
        return (state, events);
    }
    (state.phase, state.told_us, state.times_told) = (Phase::Firing, Some(now_us), 1);
    events.push(Event::Firing);
    (state, events)
}

/// Whether it is time to tell again what was told so often, the last time at `told_us`.
fn repeats(rules: Rules, told_us: i64, times_told: u32, now_us: i64) -> bool {
    let Some(repeat) = rules.repeat else { return false };
    let is_allowed = repeat.at_most.is_none_or(|at_most| times_told <= at_most);
    is_allowed && now_us.saturating_sub(told_us) >= repeat.every_us
}

const SECOND_US: i64 = 1_000_000;
/// The longest wait between two attempts to deliver.
pub const LONGEST_WAIT_US: i64 = 300 * SECOND_US;
/// So long it is tried to deliver something.
pub const GIVEN_UP_US: i64 = 86_400 * SECOND_US;

/// When to try again, after so many attempts to deliver what was to be told at `created_us`; None: no more.
pub fn next_attempt_us(created_us: i64, attempts: u32, now_us: i64) -> Option<i64> {
    let wait_us = SECOND_US.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(LONGEST_WAIT_US);
    let next_us = now_us.saturating_add(wait_us);
    (next_us.saturating_sub(created_us) <= GIVEN_UP_US).then_some(next_us)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(for_us: i64, repeat: Option<(i64, Option<u32>)>) -> Rules {
        Rules { for_us, repeat: repeat.map(|(every_us, at_most)| AlertRepeat { every_us, at_most }) }
    }

    fn failed() -> Found {
        Found::Failed { sqlstate: "42P01".to_owned(), message: "no such relation".to_owned() }
    }

    /// The events of evaluations, one a time unit.
    fn told(rules: Rules, found: &str) -> Vec<(i64, Event)> {
        let mut state = AlertState::default();
        let mut told = Vec::new();
        for (now_us, found) in (0..).zip(found.chars()) {
            let found = match found {
                '+' => Found::Holds { rows: 1 },
                '-' => Found::HoldsNot,
                _ => failed(),
            };
            let (after, events) = step(&state, rules, &found, now_us);
            // what is kept is what goes on
            state = serde_json::from_str(&serde_json::to_string(&after).expect("JSON")).expect("its own JSON");
            assert_eq!(state, after);
            told.extend(events.into_iter().map(|event| (now_us, event)));
        }
        told
    }

    #[test]
    fn it_fires_once_and_resolves_once() {
        assert_eq!(
            told(rules(0, None), "-++++--+-"),
            [(1, Event::Firing), (5, Event::Resolved), (7, Event::Firing), (8, Event::Resolved)]
        );
        assert_eq!(told(rules(3, None), "+++-++++++-"), [(7, Event::Firing), (10, Event::Resolved)]);
        assert_eq!(told(rules(3, None), "++-"), []);
    }

    #[test]
    fn it_repeats_no_more_than_said() {
        let repeated = told(rules(0, Some((2, Some(2)))), "+++++++++-");
        assert_eq!(repeated, [(0, Event::Firing), (2, Event::Repeated), (4, Event::Repeated), (9, Event::Resolved)]);
        assert_eq!(told(rules(0, Some((3, None))), "++++++++").len(), 3);
    }

    #[test]
    fn what_cannot_be_evaluated_is_told_and_changes_nothing_else() {
        assert_eq!(
            told(rules(0, None), "+xxxxx+-"),
            [(0, Event::Firing), (3, Event::Failing), (6, Event::Recovered), (7, Event::Resolved)]
        );
        assert_eq!(told(rules(0, None), "xx-xx-"), []);
        assert_eq!(told(rules(0, Some((2, Some(1)))), "xxxxxxxxx"), [(2, Event::Failing), (4, Event::Failing)]);
    }

    #[test]
    fn a_clock_that_is_set_back_does_no_harm() {
        let (every, holds) = (rules(5, Some((5, None))), Found::Holds { rows: 1 });
        let (state, _) = step(&AlertState::default(), every, &holds, 1000);
        let (state, events) = step(&state, every, &holds, 10);
        assert_eq!((state.phase, state.since_us, events), (Phase::Pending, Some(10), Vec::new()));
    }

    #[test]
    fn attempts_are_ever_further_apart_up_to_a_day() {
        assert_eq!(next_attempt_us(0, 1, 0), Some(SECOND_US));
        assert_eq!(next_attempt_us(0, 4, 0), Some(8 * SECOND_US));
        assert_eq!(next_attempt_us(0, u32::MAX, 0), Some(LONGEST_WAIT_US));
        assert_eq!(next_attempt_us(0, 9, GIVEN_UP_US), None);
        assert_eq!(next_attempt_us(i64::MIN, 9, i64::MAX), None);
    }

    proptest! {
        /// Whatever an alert finds and whenever it is looked at: it is told in turns, and repeats keep their distance and number.
        #[test]
        fn told_in_turns(
            for_us in 0i64..6,
            repeat in prop::option::of((1i64..6, prop::option::of(1u32..4))),
            looks in prop::collection::vec((0i64..4, 0u8..8), 0..80),
        ) {
            let rules = rules(for_us, repeat);
            let (mut state, mut now_us) = (AlertState::default(), 0);
            let (mut fires, mut held_since, mut last_us, mut n_repeats) = (false, None, 0, 0);
            for (pause_us, found) in looks {
                now_us += pause_us;
                let found = match found {
                    0..=4 => Found::Holds { rows: 1 },
                    5 | 6 => Found::HoldsNot,
                    _ => failed(),
                };
                match found {
                    Found::Holds { .. } => held_since = held_since.or(Some(now_us)),
                    Found::HoldsNot => held_since = None,
                    Found::Failed { .. } => {}
                }
                let (after, events) = step(&state, rules, &found, now_us);
                state = after;
                prop_assert!(events.len() <= 2);
                for event in events {
                    match event {
                        Event::Firing => {
                            prop_assert!(!fires);
                            prop_assert!(held_since.is_some_and(|since| now_us - since >= for_us));
                            (fires, last_us, n_repeats) = (true, now_us, 0);
                        }
                        Event::Repeated => {
                            let (every_us, at_most) = repeat.expect("it repeats only if it is said");
                            prop_assert!(fires && now_us - last_us >= every_us);
                            n_repeats += 1;
                            prop_assert!(at_most.is_none_or(|at_most| n_repeats <= at_most));
                            last_us = now_us;
                        }
                        Event::Resolved => {
                            prop_assert!(fires && found == Found::HoldsNot);
                            fires = false;
                        }
                        Event::Failing => prop_assert!(state.failing.as_ref().is_some_and(|failing| failing.count >= FAILURES_TOLD)),
                        Event::Recovered => prop_assert!(state.failing.is_none()),
                    }
                }
                prop_assert_eq!(fires, state.phase == Phase::Firing);
                // nothing is kept back: what holds for long enough fires
                if let Found::Holds { .. } = found {
                    prop_assert_eq!(fires || now_us - held_since.expect("it holds") < for_us, true);
                }
            }
        }
    }
}
