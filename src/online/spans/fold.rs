//! Items, ascending by time, merged into spans of every level at once, in the order of `tile`'s pyramid: a span is merged
//! from the spans of the next shorter level inside of it, the shortest from items.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{DIVIDED, LEAST, SpanPlan, start_of};
use crate::error::Result;
use crate::row::Value;
use crate::tile::{Partial, PartialSpec};

/// The states of some items.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Folded {
    pub items: u64,
    /// By secondary key, those without one left out; in a view without such keys by `None`.
    pub states: BTreeMap<Option<Value>, Vec<Partial>>,
}

impl Folded {
    /// Those of one item.
    pub fn of_item(plan: &SpanPlan, secondary: Option<Value>, states: Vec<Partial>) -> Folded {
        let mut folded = Folded { items: 1, ..Folded::default() };
        if secondary.is_some() || !plan.has_secondary {
            folded.states.insert(secondary, states);
        }
        folded
    }

    /// Merges the states of one item, which comes later.
    pub fn add(&mut self, plan: &SpanPlan, secondary: &Option<Value>, states: &[Partial]) -> Result<()> {
        self.items += 1;
        if secondary.is_none() && plan.has_secondary {
            return Ok(());
        }
        self.merge_states(plan, secondary, states)
    }

    /// Merges what comes later.
    pub fn merge(&mut self, plan: &SpanPlan, later: &Folded) -> Result<()> {
        self.items += later.items;
        for (secondary, states) in &later.states {
            self.merge_states(plan, secondary, states)?;
        }
        Ok(())
    }

    fn merge_states(&mut self, plan: &SpanPlan, secondary: &Option<Value>, later: &[Partial]) -> Result<()> {
        let states = match self.states.entry(secondary.clone()) {
            // merging into nothing changes no bit, too
            Entry::Vacant(vacant) => vacant.insert(plan.partials.iter().map(PartialSpec::empty).collect()),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        for ((state, spec), later) in states.iter_mut().zip(&plan.partials).zip(later) {
            state.merge(spec, later)?;
        }
        Ok(())
    }
}

/// One span of a level.
#[derive(Debug)]
pub struct Span {
    pub level: usize,
    pub start_us: i64,
    pub folded: Folded,
}

/// See the module.
pub struct Folder<'a> {
    plan: &'a SpanPlan,
    /// by level, the span that is being folded
    open: Vec<Option<Open>>,
    /// Whether spans inside of the longest are wanted.
    divides: bool,
    done: Vec<Span>,
}

struct Open {
    span: Span,
    /// shorter ones that are kept if this comes to hold enough
    inside: Vec<Span>,
}

impl<'a> Folder<'a> {
    /// Up to the level `longest`, whose spans are given whatever is in them if they are not divided.
    pub fn new(plan: &'a SpanPlan, longest: usize, divides: bool) -> Folder<'a> {
        Folder { plan, open: (0..=longest).map(|_| None).collect(), divides, done: Vec::new() }
    }

    /// The next item, or a whole span that starts at this time.
    pub fn add(&mut self, time_us: i64, folded: Folded) -> Result<()> {
        for level in 0..self.open.len() {
            let start_us = start_of(time_us, self.plan.widths_us[level]);
            if self.open[level].as_ref().is_some_and(|open| Some(open.span.start_us) != start_us) {
                self.close(level)?;
            }
        }
        self.merge(0, time_us, folded, Vec::new())
    }

    /// The spans that are finished.
    pub fn take(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.done)
    }

    pub fn finish(mut self) -> Result<Vec<Span>> {
        for level in 0..self.open.len() {
            self.close(level)?;
        }
        Ok(self.done)
    }

    fn close(&mut self, level: usize) -> Result<()> {
        let Some(Open { span, inside }) = self.open[level].take() else { return Ok(()) };
        let is_longest = level + 1 == self.open.len();
        let mut kept = Vec::new();
        if self.divides && span.folded.items >= DIVIDED as u64 {
            kept = inside;
        }
        if is_longest {
            self.done.extend(kept);
            if !self.divides || span.folded.items >= LEAST as u64 {
                self.done.push(span);
            }
            return Ok(());
        }
        if !self.divides || span.folded.items < LEAST as u64 {
            return self.merge(level + 1, span.start_us, span.folded, kept);
        }
        let folded = span.folded.clone();
        let start_us = span.start_us;
        kept.push(span);
        self.merge(level + 1, start_us, folded, kept)
    }

    fn merge(&mut self, level: usize, time_us: i64, folded: Folded, inside: Vec<Span>) -> Result<()> {
        let Some(start_us) = start_of(time_us, self.plan.widths_us[level]) else { return Ok(()) };
        let open = match &mut self.open[level] {
            Some(open) => {
                open.span.folded.merge(self.plan, &folded)?;
                open
            }
            empty => empty.insert(Open { span: Span { level, start_us, folded }, inside: Vec::new() }),
        };
        open.inside.extend(inside);
        if open.span.folded.items >= DIVIDED as u64 {
            self.done.append(&mut open.inside);
        }
        Ok(())
    }
}
