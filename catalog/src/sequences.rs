//! The numbers that sequences have given: outside of commits, since a number is never given twice, whoever rolls back.
//!
//! The file is ahead of what was given, so that not every number is written: a crash leaves a gap.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::object::{Sequence, SequenceState};
use crate::store::{Store, Table};

/// So many numbers the file is ahead, at most.
const AHEAD: u32 = 32;

pub struct Sequences {
    store: Arc<Store>,
    counters: Mutex<HashMap<u64, Counter>>,
}

#[derive(Debug, Clone, Copy)]
struct Counter {
    state: SequenceState,
    /// how many more numbers the file covers, at this distance
    covered: u32,
    increment: i64,
}

impl Sequence {
    /// Where it is before it has given any number.
    pub fn initial(&self) -> SequenceState {
        SequenceState { last_value: self.start, is_called: false }
    }

    /// The state behind the next number; `None` if there is none.
    fn after(&self, state: SequenceState) -> Option<SequenceState> {
        let called = |last_value| Some(SequenceState { last_value, is_called: true });
        if !state.is_called {
            return called(state.last_value);
        }
        let next = state.last_value.checked_add(self.increment);
        match next.filter(|next| (self.min_value..=self.max_value).contains(next)) {
            Some(next) => called(next),
            None if self.cycle => called(if self.increment > 0 { self.min_value } else { self.max_value }),
            None => None,
        }
    }
}

impl Sequences {
    pub(crate) fn new(store: Arc<Store>) -> Sequences {
        Sequences { store, counters: Mutex::default() }
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<u64, Counter>> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, known: &HashMap<u64, Counter>, sequence: &Sequence) -> Result<Counter, Error> {
        if let Some(counter) = known.get(&sequence.storage_id) {
            return Ok(*counter);
        }
        let stored = self.store.get(Table::Sequences, &[sequence.storage_id])?;
        Ok(Counter { state: stored.unwrap_or_else(|| sequence.initial()), covered: 0, increment: sequence.increment })
    }

    fn put(&self, sequence: &Sequence, state: SequenceState) -> Result<(), Error> {
        let mut batch = self.store.batch();
        batch.put(Table::Sequences, &[sequence.storage_id], &state)?;
        batch.commit()
    }

    /// The next number, durable: it is never given again. `None`: the sequence is at its end.
    pub fn next(&self, sequence: &Sequence) -> Result<Option<i64>, Error> {
        let mut counters = self.counters();
        let mut counter = self.counter(&counters, sequence)?;
        let Some(state) = sequence.after(counter.state) else { return Ok(None) };
        if counter.covered == 0 || counter.increment != sequence.increment {
            let (mut ahead, mut covered) = (state, 0);
            while let (true, Some(next)) = (covered < AHEAD && !sequence.cycle, sequence.after(ahead)) {
                (ahead, covered) = (next, covered + 1);
            }
            self.put(sequence, ahead)?;
            (counter.covered, counter.increment) = (covered, sequence.increment);
        } else {
            counter.covered -= 1;
        }
        counter.state = state;
        counters.insert(sequence.storage_id, counter);
        Ok(Some(state.last_value))
    }

    /// Where the sequence is.
    pub fn state(&self, sequence: &Sequence) -> Result<SequenceState, Error> {
        let counters = self.counters();
        self.counter(&counters, sequence).map(|counter| counter.state)
    }

    pub fn set(&self, sequence: &Sequence, state: SequenceState) -> Result<(), Error> {
        let mut counters = self.counters();
        self.put(sequence, state)?;
        counters.insert(sequence.storage_id, Counter { state, covered: 0, increment: sequence.increment });
        Ok(())
    }
}
