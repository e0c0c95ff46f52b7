//! Spans of time of a key's items, each folded into one state, so that a long window need not read every item.
//!
//! **What holds**: a span that is there is the state of exactly the items inside of it, in the order of merging that
//! `tile` has. So a reader may take a span or its items, as it likes, and which spans are there is a matter of speed alone.
//!
//! **Why nothing counts twice**: items and spans of a key are in one file and change in one commit, of which a crash leaves
//! all or nothing. An item that is put again is found under its key and is not added again. So spans need no offset up to
//! which they count, and a log may be replayed from anywhere.
//!
//! **Which are kept**, so that few events cost nothing and many are never read one by one: those of at least [`LEAST`]
//! items, inside of a longer span of at least [`DIVIDED`] items (on the longest level: of a key with so many). So between
//! the spans of a level, and inside of those that have none, lie few items, however many there are in all. Spans are as
//! short as 20 ms; items of one such moment are read one by one.
//!
//! **What a write costs**: a span is read and written once for each batch that has items in it, its states as large as they
//! are: those of count_distinct, mode, entropy, top_k and the percentiles grow with the distinct values. States whose
//! merging rounds are those of the next shorter spans merged anew, in order, so up to some hundred of them; on the shortest
//! level, all items of the span, unless the new ones come last.

mod fold;
#[cfg(test)]
mod tests;
mod writer;

pub(super) use fold::Folded;
pub(super) use writer::{SpanWriter, Written, clear, clear_before};

use super::FIRST_PUSHED;
use super::errors::damaged;
use crate::error::Result;
use crate::row::{Reader, Value};
use crate::tile::{Order, Partial, PartialSpec};

/// A span is of at least so many items.
pub(super) const LEAST: usize = 8;
/// A span of at least so many is divided into shorter ones.
pub(super) const DIVIDED: usize = 64;

/// The spans that are kept of a view's items.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanPlan {
    /// A fingerprint of all that follows: spans of another form are not read.
    pub form: u64,
    /// Ascending; each a multiple of the one before.
    pub widths_us: Vec<i64>,
    pub partials: Vec<PartialSpec>,
    /// For every partial, the values of an item that it takes.
    pub inputs: Vec<Vec<usize>>,
    /// Whether states are apart by secondary key.
    pub has_secondary: bool,
    /// Whether items that nobody has pushed are states already.
    pub has_tiles: bool,
}

impl SpanPlan {
    fn is_rounded(&self) -> bool {
        self.partials.iter().any(PartialSpec::is_rounded)
    }

    /// The states of one item.
    fn states_of_item(&self, time_us: i64, sequence: i64, payload: &[u8]) -> Result<Vec<Partial>> {
        if self.has_tiles && sequence < FIRST_PUSHED {
            return self.read_states(payload);
        }
        let values = Reader::new(payload).values()?;
        let order = Order { ts_us: time_us, arrival: sequence };
        let state = |(spec, taken): (&PartialSpec, &Vec<usize>)| {
            if taken.iter().any(|input| *input >= values.len()) {
                // stored before the view had it
                return Ok(Partial::unknown());
            }
            let inputs: Vec<Option<Value>> = taken.iter().map(|input| values.get(*input).cloned().flatten()).collect();
            let mut state = spec.empty();
            state.update(spec, &inputs, order)?;
            Ok(state)
        };
        self.partials.iter().zip(&self.inputs).map(state).collect()
    }

    /// States, each behind its length, as tiles have them.
    fn read_states(&self, payload: &[u8]) -> Result<Vec<Partial>> {
        let mut reader = Reader::new(payload);
        let read = |spec| {
            if reader.is_empty() {
                // stored before the view had it
                return Ok(Partial::unknown());
            }
            let length = reader.length()?;
            Partial::decode(spec, reader.take(length)?)
        };
        let states = self.partials.iter().map(read).collect::<Result<Vec<_>>>()?;
        if reader.is_empty() { Ok(states) } else { Err(damaged("span")) }
    }

    fn put_states(&self, states: &[Partial], out: &mut Vec<u8>) {
        for (spec, state) in self.partials.iter().zip(states) {
            let at = out.len();
            out.extend_from_slice(&[0; 4]);
            state.encode(spec, out);
            let length = u32::try_from(out.len() - at - 4).expect("a state of 4 GiB does not fit into a row");
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// The start of the span of this width that `time_us` lies in; `None` near the ends of time, where a whole one may not fit.
fn start_of(time_us: i64, width_us: i64) -> Option<i64> {
    let start_us = time_us.checked_sub(time_us.rem_euclid(width_us))?;
    start_us.checked_add(width_us).map(|_| start_us)
}
