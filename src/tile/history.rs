//! When the answer of one key changes: the times at which a row comes into some window, leaves it, takes effect,
//! expires or becomes known. Between two of them the answer stays the same, which is what a history is made of.

use std::collections::BTreeSet;
use std::ops::Range;

use super::ViewKind;
use super::plan::ViewPlan;
use crate::time::ceil_us;

/// The times in `[start_us, end_us)` at which the answer of a key may differ from the one just before, ascending;
/// `start_us` itself is always the first. `times` are those of the key's items or rows, `known_at` since when they are
/// known in a bitemporal view. None for an empty range.
pub fn change_times(
    plan: &ViewPlan,
    times: &[i64],
    known_at: Option<&[i64]>,
    Range { start: start_us, end: end_us }: Range<i64>,
) -> Vec<i64> {
    let mut changes = BTreeSet::new();
    let mut add = |time_us: i64| {
        if time_us > start_us && time_us < end_us {
            changes.insert(time_us);
        }
    };
    let timing = &plan.timing;
    known_at.into_iter().flatten().for_each(|known_us| add(*known_us));
    for &time_us in times {
        if !timing.kind.has_aggregates() {
            add(timing.effective(time_us));
            if let Some(ttl_us) = timing.ttl_us {
                add(timing.effective(time_us.saturating_add(ttl_us)));
            }
            continue;
        }
        for window in plan.windows() {
            let single = (window.series_len() == 0).then(|| window.span());
            for span in single.into_iter().chain(window.series()) {
                // A row is inside from the moment that the window's end has passed it until its start has.
                add(first_time_past(plan, time_us.saturating_sub(span.end_us)));
                if let Some(span_start_us) = span.start_us {
                    add(first_time_left(plan, time_us, span_start_us, span.end_us));
                }
            }
        }
    }
    if timing.kind.has_aggregates()
        && let Some(first_us) = timing.start_us
    {
        // From here on the features are no longer NULL.
        add(first_time_past(plan, first_us.saturating_sub(before(plan))));
    }
    let first = (start_us < end_us).then_some(start_us);
    first.into_iter().chain(changes).collect()
}

/// The first asked time whose leading edge is past `edge_us`: greater for tiles `[a, a + I)`, at least as great for
/// continuous windows, which are closed at their end.
fn first_time_past(plan: &ViewPlan, edge_us: i64) -> i64 {
    let timing = &plan.timing;
    match timing.kind {
        ViewKind::BatchAggregates => {
            ceil_us(edge_us.saturating_add(1), timing.schedule_us).saturating_add(timing.delay_us)
        }
        ViewKind::StreamTiled => ceil_us(edge_us.saturating_add(1), timing.interval_us),
        ViewKind::StreamContinuous | ViewKind::BatchAttributes | ViewKind::StreamAttributes => edge_us,
    }
}

/// The first asked time at which a row is before the window `[start, end)`, relative to the leading edge.
fn first_time_left(plan: &ViewPlan, time_us: i64, start_us: i64, end_us: i64) -> i64 {
    let size_us = end_us.saturating_sub(start_us);
    match plan.timing.sawtooth_step(size_us) {
        // floor(T + end, s) - size is past the row
        Some(step_us) => {
            let past_us = time_us.saturating_add(size_us).saturating_add(1);
            ceil_us(past_us, step_us).saturating_sub(end_us)
        }
        None => first_time_past(plan, time_us.saturating_sub(start_us)),
    }
}

/// By how much an edge that must only be reached lies before one that must be passed.
fn before(plan: &ViewPlan) -> i64 {
    match plan.timing.kind {
        ViewKind::BatchAggregates | ViewKind::StreamTiled => 1,
        ViewKind::StreamContinuous | ViewKind::BatchAttributes | ViewKind::StreamAttributes => 0,
    }
}
