//! Which stored spans of time can stand for the items inside them, so that long windows read few rows.

use granary_catalog::object::RelativeSpan;

use super::window::{ceil, floor, spans};
use super::{Bounds, Timing, Window};

/// A stretch of time and what to read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// the width of the stored spans, one of [`Timing::levels`]; `None`: the view's own items
    pub level_us: Option<i64>,
    pub bounds: Bounds,
}

/// So many spans must fit into the longest window for them to be worth storing.
const SPANS_OF_A_WINDOW: i64 = 4;

/// Shorter ones are not worth a table of their own.
const SHORTEST_STORED_US: i64 = 60_000_000;

/// The widths of the timing's levels that can stand for items of some window, of those that the offline store keeps.
pub fn useful_levels(timing: &Timing, windows: &[Window]) -> Vec<i64> {
    let longest_us = longest(windows);
    let is_useful =
        |width_us: &i64| *width_us >= SHORTEST_STORED_US && width_us.saturating_mul(SPANS_OF_A_WINDOW) <= longest_us;
    timing.levels().filter(is_useful).collect()
}

/// The widths of spans that surely lie inside of some window, ascending: of the tiles, if the view has some, and of the
/// timing's levels.
pub fn item_levels(timing: &Timing, windows: &[Window]) -> Vec<i64> {
    let longest_us = longest(windows);
    // wherever it begins, a window of two of them has a whole one inside
    let levels = timing.levels().filter(|width_us| width_us.saturating_mul(2) <= longest_us);
    (timing.interval_us > 0).then_some(timing.interval_us).into_iter().chain(levels).collect()
}

fn longest(windows: &[Window]) -> i64 {
    let size = |span: RelativeSpan| span.start_us.map_or(i64::MAX, |start_us| span.end_us.saturating_sub(start_us));
    windows.iter().flat_map(spans).map(size).max().unwrap_or(0)
}

/// What to read to answer `windows` at any of the times from `first_us` to `last_us`, ascending and without overlap.
/// Longer spans are read only where no window begins or ends inside of one, whatever time is asked; so the answers are
/// those from the view's items, bit for bit. What no window can see is left out.
pub fn stretches(timing: &Timing, windows: &[Window], first_us: i64, last_us: i64) -> Vec<Stretch> {
    let placed: Vec<(Bounds, Bounds)> = windows
        .iter()
        .flat_map(spans)
        .map(|span| {
            let place = |asked_us| timing.place(span, timing.leading_edge(asked_us));
            (place(first_us), place(last_us))
        })
        .filter(|(first, last)| first.start_us < last.end_us)
        .collect();
    // where some window begins or ends for some of the times; bounds ascend with the asked time
    let mut edges: Vec<Bounds> = placed
        .iter()
        .flat_map(|(first, last)| [(first.start_us, last.start_us), (first.end_us, last.end_us)])
        .map(|(start_us, end_us)| Bounds { start_us, end_us })
        .collect();
    edges.sort_by_key(|edge| (edge.start_us, edge.end_us));
    let is_seen =
        |from_us: i64, to_us: i64| placed.iter().any(|(first, last)| first.start_us < to_us && from_us < last.end_us);
    let levels: Vec<i64> = timing.levels().collect();
    let mut stretches = Vec::new();
    let mut reached_us = edges.first().map_or(i64::MIN, |edge| edge.start_us);
    for edge in edges {
        if reached_us < edge.start_us && is_seen(reached_us, edge.start_us) {
            push_spans(&levels, Bounds { start_us: reached_us, end_us: edge.start_us }, &mut stretches);
        }
        let start_us = edge.start_us.max(reached_us);
        if start_us < edge.end_us {
            push(None, start_us, edge.end_us, &mut stretches);
        }
        reached_us = reached_us.max(edge.end_us);
    }
    stretches
}

/// The longest spans that fit, in between what is left.
fn push_spans(levels: &[i64], bounds: Bounds, stretches: &mut Vec<Stretch>) {
    let Bounds { start_us, end_us } = bounds;
    let Some((width_us, finer)) = levels.split_last() else {
        push(None, start_us, end_us, stretches);
        return;
    };
    let (first_us, last_us) = (ceil(start_us, *width_us), floor(end_us, *width_us));
    if first_us >= last_us {
        push_spans(finer, bounds, stretches);
        return;
    }
    push_spans(finer, Bounds { start_us, end_us: first_us }, stretches);
    push(Some(*width_us), first_us, last_us, stretches);
    push_spans(finer, Bounds { start_us: last_us, end_us }, stretches);
}

/// Joins what is read alike.
fn push(level_us: Option<i64>, start_us: i64, end_us: i64, stretches: &mut Vec<Stretch>) {
    if start_us >= end_us {
        return;
    }
    if let Some(last) = stretches.last_mut()
        && last.level_us == level_us
        && last.bounds.end_us == start_us
    {
        last.bounds.end_us = end_us;
        return;
    }
    stretches.push(Stretch { level_us, bounds: Bounds { start_us, end_us } });
}
