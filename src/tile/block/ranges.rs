//! Phase A: which items each asked time sees, by pointers that only move forward inside of a run.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::buffer::NullBuffer;
use granary_catalog::object::RelativeSpan;

use super::{AskedBlock, Run, index};
use crate::tile::{Bounds, Timing, Window};

/// Where the windows of every asked time end: the same for all windows.
#[derive(Debug)]
pub(super) struct Edges<'a> {
    pub timing: &'a Timing,
    pub asked: &'a AskedBlock<'a>,
    /// by asked time; without meaning where none is asked
    pub edges_us: Vec<i64>,
    /// whether a time is asked, and it is not before the feature start
    pub is_open: Vec<bool>,
    /// NULL before the feature start
    pub after_start: Option<NullBuffer>,
}

/// For every asked time, the items of one window.
#[derive(Debug)]
pub(super) struct Ranges<'a> {
    pub runs: &'a [Run],
    pub start: Vec<u32>,
    pub end: Vec<u32>,
    /// NULL before the feature start
    pub after_start: Option<NullBuffer>,
    pub timing: &'a Timing,
    pub edges_us: &'a [i64],
    pub span: RelativeSpan,
}

/// Asked times that see the same items.
#[derive(Debug)]
pub(super) struct SeenWindow {
    pub rows: Range<usize>,
    pub items: Range<usize>,
}

impl<'a> Edges<'a> {
    pub fn new(timing: &'a Timing, asked: &'a AskedBlock<'a>) -> Edges<'a> {
        let edges_us: Vec<i64> = asked.times.iter().map(|time_us| timing.leading_edge(*time_us)).collect();
        let is_before_start = |row: usize| asked.is_known(row) && timing.is_edge_before_start(edges_us[row]);
        let after_start =
            timing.start_us.is_some().then(|| (0..asked.len()).map(|row| !is_before_start(row)).collect::<Vec<_>>());
        let is_open = match &after_start {
            None => (0..asked.len()).map(|row| asked.is_known(row)).collect(),
            Some(after) => after.iter().enumerate().map(|(row, after)| *after && asked.is_known(row)).collect(),
        };
        let after_start = after_start.filter(|after| after.contains(&false)).map(NullBuffer::from);
        Edges { timing, asked, edges_us, is_open, after_start }
    }

    /// The items inside of `span`, out of all whose places in time are `anchors`.
    pub fn resolve(&self, anchors: &[i64], span: RelativeSpan) -> Ranges<'_> {
        let (mut start, mut end) = (vec![0; self.asked.len()], vec![0; self.asked.len()]);
        self.slide(
            anchors,
            |row| self.timing.place(span, self.edges_us[row]),
            |row, range| {
                start[row] = index(range.start);
                end[row] = index(range.end);
            },
        );
        Ranges {
            runs: self.asked.runs,
            start,
            end,
            after_start: self.after_start.clone(),
            timing: self.timing,
            edges_us: &self.edges_us,
            span,
        }
    }

    /// Sets those that have an item inside of `window`; of a series, from its first window to its last.
    pub fn note_present(&self, anchors: &[i64], window: &Window, present: &mut [bool]) {
        let bounds = |row: usize| self.timing.bounds(window, self.asked.times[row]);
        self.slide(anchors, bounds, |row, range| present[row] |= !range.is_empty());
    }

    /// Calls `found` with the items inside of the bounds of each asked time that has a window.
    fn slide(&self, anchors: &[i64], bounds: impl Fn(usize) -> Bounds, mut found: impl FnMut(usize, Range<usize>)) {
        for run in self.asked.runs {
            let mut window = Sliding::over(&run.items);
            for row in run.asked.clone().filter(|row| self.is_open[*row]) {
                found(row, window.move_to(anchors, bounds(row)));
            }
        }
    }
}

impl Ranges<'_> {
    pub fn len(&self) -> usize {
        self.start.len()
    }

    pub fn at(&self, row: usize) -> Range<usize> {
        self.start[row] as usize..self.end[row] as usize
    }

    /// The windows of a run that have items; neighbouring rows that see the same items are one.
    pub fn windows(&self, run: &Run) -> Vec<SeenWindow> {
        let mut windows: Vec<SeenWindow> = Vec::new();
        for row in run.asked.clone() {
            let items = self.at(row);
            match windows.last_mut() {
                Some(last) if last.items == items && last.rows.end == row => last.rows.end += 1,
                _ if items.is_empty() => {}
                _ => windows.push(SeenWindow { rows: row..row + 1, items }),
            }
        }
        windows
    }

    /// From when to when the window of a row goes.
    pub fn bounds(&self, row: usize) -> Bounds {
        self.timing.place(self.span, self.edges_us[row])
    }

    pub fn is_before_start(&self, row: usize) -> bool {
        self.after_start.as_ref().is_some_and(|after_start| after_start.is_null(row))
    }

    /// Counts as an array: 0 of an empty window, NULL before the feature start.
    pub fn counts(&self, counts: Vec<i64>) -> ArrayRef {
        Arc::new(Int64Array::new(counts.into(), self.after_start.clone()))
    }

    /// Sets those whose window has items.
    pub fn note_present(&self, present: &mut [bool]) {
        for ((present, start), end) in present.iter_mut().zip(&self.start).zip(&self.end) {
            *present |= start < end;
        }
    }
}

/// The item that answers each asked time, the newest in reach.
pub(super) fn resolve_attributes<'a>(
    timing: &'a Timing,
    times: &'a [i64],
    asked: &'a AskedBlock<'a>,
) -> impl Iterator<Item = Option<u32>> + 'a {
    asked.runs.iter().flat_map(move |run| {
        let mut window = Sliding::over(&run.items);
        run.asked.clone().map(move |row| {
            if !asked.is_known(row) {
                return None;
            }
            let range = window.move_to(times, timing.attribute_bounds(asked.times[row]));
            (!range.is_empty()).then(|| index(range.end - 1))
        })
    })
}

/// A window whose bounds ascend, over one run's items.
pub(super) struct Sliding {
    low: usize,
    high: usize,
    limit: usize,
}

impl Sliding {
    pub fn over(items: &Range<usize>) -> Sliding {
        Sliding { low: items.start, high: items.start, limit: items.end }
    }

    pub fn move_to(&mut self, times: &[i64], bounds: Bounds) -> Range<usize> {
        self.low = advance(times, self.low, self.limit, bounds.start_us);
        self.high = advance(times, self.high.max(self.low), self.limit, bounds.end_us);
        self.low..self.high
    }
}

/// The first of `times[from..limit]`, ascending, that is not before `bound_us`; `limit` if there is none.
pub(super) fn advance(times: &[i64], from: usize, limit: usize, bound_us: i64) -> usize {
    let mut step = 1;
    let mut low = from;
    while low < limit && times[low] < bound_us {
        // gallop: asked times may lie far apart
        let next = (low + step).min(limit);
        if next == limit || times[next - 1] >= bound_us {
            return low + 1 + times[low + 1..next].partition_point(|time_us| *time_us < bound_us);
        }
        low = next;
        step *= 2;
    }
    low
}
