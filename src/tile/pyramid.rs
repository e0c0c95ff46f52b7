//! The one order in which states are merged, so that a value depends on the items and the window alone, and comes out
//! the same from items, from stored spans of them, or from both.
//!
//! Time is cut into aligned spans on the levels that [`super::Timing::levels`] gives. The state of a span is that of
//! the spans of the next finer level inside it (on the finest: of the items), merged from left to right. The state of
//! a window is that of the longest spans that fit, from left to right: items up to the first 20 ms, these up to the first
//! second, and so on by minutes and hours up to the first day, whole days, and down again. So even a year is few merges, and windows that
//! overlap share the states of their spans. A stored span that stands as one item at its start changes nothing: it
//! alone makes up its span on each level.

use std::fmt::Debug;
use std::ops::Range;

use super::Bounds;
use super::window::{ceil, floor};
use crate::error::Result;

/// How items are merged into states.
pub(super) trait Folding {
    type State: Clone + Debug;

    fn empty(&self) -> Self::State;

    /// Merges an item into `state`.
    fn add(&self, state: &mut Self::State, item: usize) -> Result<()>;

    /// Merges `other` into `state`, which stands before it in time.
    fn merge(&self, state: &mut Self::State, other: &Self::State) -> Result<()>;
}

/// Which items make up the aligned spans of each level.
#[derive(Debug)]
pub(super) struct Spans {
    /// ascending by width
    levels: Vec<Level>,
}

/// The spans of one width that have items.
#[derive(Debug)]
struct Level {
    width_us: i64,
    /// where each span starts in time, ascending inside of a run
    anchors: Vec<i64>,
    /// the spans of the next finer level, or the items, that each is made of
    children: Vec<Range<u32>>,
    /// the spans of each run
    runs: Vec<Range<u32>>,
}

/// Neighbouring spans of one level, or items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// `None` for items
    level: Option<usize>,
    members: Range<usize>,
}

impl Spans {
    /// `times` ascend inside of each of `runs`, which do not overlap; each of `widths` is a multiple of the one before.
    pub fn new(
        widths: impl IntoIterator<Item = i64>,
        times: &[i64],
        runs: impl Iterator<Item = Range<usize>> + Clone,
    ) -> Spans {
        let mut levels: Vec<Level> = Vec::new();
        for width_us in widths {
            let mut level = Level { width_us, anchors: Vec::new(), children: Vec::new(), runs: Vec::new() };
            match levels.last() {
                None => runs.clone().for_each(|run| level.add_run(times, run)),
                Some(finer) => {
                    let runs = finer.runs.iter().map(|run| run.start as usize..run.end as usize);
                    runs.for_each(|run| level.add_run(&finer.anchors, run));
                }
            }
            levels.push(level);
        }
        Spans { levels }
    }

    /// What the state of a window is merged from, in this order. `items` are those inside of `bounds`, of the run with
    /// the number `run`.
    pub fn parts(&self, run: usize, bounds: &Bounds, items: &Range<usize>, parts: &mut Vec<Part>) {
        parts.clear();
        if items.is_empty() {
            return;
        }
        let mut push = |level: Option<usize>, members: Range<usize>| {
            if members.start < members.end {
                parts.push(Part { level, members });
            }
        };
        let inside = |level: &&Level| ceil(bounds.start_us, level.width_us) < floor(bounds.end_us, level.width_us);
        let coarsest = self.levels.iter().take_while(inside).count();
        // going up: on each level what is before the first span of the next
        let mut first = items.start;
        for (index, level) in self.levels[..coarsest].iter().enumerate() {
            let found = level.position(run, ceil(bounds.start_us, level.width_us));
            // without a span from there on, everything is before it
            let end = level.first_child(run, found).unwrap_or_else(|| self.end_of_finer(index, run, items));
            push(index.checked_sub(1), first..end);
            first = found;
        }
        // the whole spans of the coarsest level, then down again: on each level what is behind the last span of it
        let mut rest = first;
        for (index, level) in self.levels[..coarsest].iter().enumerate().rev() {
            let end = level.position(run, floor(bounds.end_us, level.width_us));
            push(Some(index), rest..end);
            rest = level.first_child(run, end).unwrap_or_else(|| self.end_of_finer(index, run, items));
        }
        push(None, rest..items.end);
    }

    /// Where the spans (or items) end that the spans of a level are made of, of those that can be in the window.
    fn end_of_finer(&self, level: usize, run: usize, items: &Range<usize>) -> usize {
        match level.checked_sub(1) {
            None => items.end,
            Some(finer) => self.levels[finer].runs[run].end as usize,
        }
    }
}

impl Level {
    fn add_run(&mut self, times: &[i64], run: Range<usize>) {
        let first = self.anchors.len();
        let mut children = run.start;
        let mut item = run.start;
        while item < run.end {
            let anchor = floor(times[item], self.width_us);
            let end_us = anchor.saturating_add(self.width_us);
            while item < run.end && times[item] < end_us {
                item += 1;
            }
            // a span that reaches the end of time has everything that is left
            if item == children {
                item = run.end;
            }
            self.anchors.push(anchor);
            self.children.push(index(children)..index(item));
            children = item;
        }
        self.runs.push(index(first)..index(self.anchors.len()));
    }

    /// The first span of a run that does not start before `time_us`; the run's end if there is none.
    fn position(&self, run: usize, time_us: i64) -> usize {
        let Range { start, end } = self.runs[run];
        let anchors = &self.anchors[start as usize..end as usize];
        start as usize + anchors.partition_point(|anchor| *anchor < time_us)
    }

    /// Where the span begins on the next finer level; `None` behind the last one of a run.
    fn first_child(&self, run: usize, span: usize) -> Option<usize> {
        (span < self.runs[run].end as usize).then(|| self.children[span].start as usize)
    }
}

fn index(position: usize) -> u32 {
    u32::try_from(position).expect("a block has fewer than 2^32 items")
}

/// The states of spans, computed when they are first asked for.
#[derive(Debug)]
pub(super) struct Pyramid<F: Folding> {
    folding: F,
    /// by level, then by span
    states: Vec<Vec<Option<F::State>>>,
}

impl<F: Folding> Pyramid<F> {
    pub fn new(spans: &Spans, folding: F) -> Pyramid<F> {
        let states = spans.levels.iter().map(|level| vec![None; level.anchors.len()]).collect();
        Pyramid { folding, states }
    }

    /// The state of a window that consists of `parts` of `spans`, those that this was made for.
    pub fn state(&mut self, spans: &Spans, parts: &[Part]) -> Result<F::State> {
        let mut state = self.folding.empty();
        for Part { level, members } in parts {
            self.merge_all(spans, *level, members.clone(), &mut state)?;
        }
        Ok(state)
    }

    fn merge_all(
        &mut self,
        spans: &Spans,
        level: Option<usize>,
        members: Range<usize>,
        into: &mut F::State,
    ) -> Result<()> {
        let Some(level) = level else {
            for item in members {
                self.folding.add(into, item)?;
            }
            return Ok(());
        };
        for span in members {
            if self.states[level][span].is_none() {
                let mut state = self.folding.empty();
                let Range { start, end } = spans.levels[level].children[span];
                self.merge_all(spans, level.checked_sub(1), start as usize..end as usize, &mut state)?;
                self.states[level][span] = Some(state);
            }
            if let Some(state) = &self.states[level][span] {
                self.folding.merge(into, state)?;
            }
        }
        Ok(())
    }
}
