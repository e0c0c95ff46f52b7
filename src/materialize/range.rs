//! Which range a REFRESH means: aligned to the view's schedule, ended by the last complete period.

use granary_catalog::{ObjectId, StoreKind, ViewKind};
use granary_sql::timestamp::format_timestamp;

use crate::engine::{BoundView, QueryPlanner, has_rows_before};
use crate::error::{Error, Kind, Result};
use crate::time::{ceil_us, floor_us};

/// The range as typed, microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct RangeRequest {
    pub start_us: Option<i64>,
    pub end_us: Option<i64>,
}

/// What the job will cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRange {
    /// `i64::MIN`: everything before the end
    pub start_us: i64,
    pub end_us: i64,
    /// said to the user if the range was cut at the last complete period
    pub notice: Option<String>,
}

/// Aligns and completes a requested range at wall time `now_us`.
pub async fn resolve_range(
    planner: &QueryPlanner,
    view: &BoundView,
    request: RangeRequest,
    now_us: i64,
) -> Result<ResolvedRange> {
    let unit_us = period_us(view);
    for (bound, name) in [(request.start_us, "FROM"), (request.end_us, "TO")] {
        if let Some(bound) = bound
            && floor_us(bound, unit_us) != bound
        {
            return Err(misaligned(view, request, name, unit_us));
        }
    }
    let last_us = floor_us(now_us.saturating_sub(delay_us(view)), unit_us);
    let asked_end_us = request.end_us.unwrap_or(last_us);
    let end_us = asked_end_us.min(last_us);
    let notice = (end_us < asked_end_us).then(|| {
        format!(
            "the range ends at {}, where the last complete period does, not at {}",
            format_timestamp(end_us),
            format_timestamp(asked_end_us)
        )
    });
    let first_us = view.plan.timing.materialized_from(&view.plan.windows());
    let start_us = match request.start_us {
        None => first_us.map_or(i64::MIN, |first_us| floor_us(first_us, unit_us)),
        Some(start_us) => start_us,
    };
    if start_us >= end_us {
        let message = match notice {
            Some(_) => {
                format!("no period of the range is complete yet: the last one ends at {}", format_timestamp(last_us))
            }
            None if request.start_us.is_none() => format!(
                "there is nothing to materialize before {}: the view needs no rows from before {}",
                format_timestamp(end_us),
                format_timestamp(start_us)
            ),
            None => "the range is empty: FROM must be before TO".to_owned(),
        };
        return Err(Error::new(Kind::InvalidParameterValue, message));
    }
    let start_us = if start_us != i64::MIN && !has_rows_before(planner, view, start_us).await? {
        after_earlier_ranges(planner, view, start_us)
    } else {
        start_us
    };
    Ok(ResolvedRange { start_us, end_us, notice })
}

/// With no rows before it, a range is as good as one that begins where the one before it ends, or one without a
/// beginning: no later question meets a gap there.
fn after_earlier_ranges(planner: &QueryPlanner, view: &BoundView, start_us: i64) -> i64 {
    let (ledger, groups) = (planner.catalog.ledger(), view.group_numbers());
    [StoreKind::Offline, StoreKind::Online]
        .into_iter()
        .flat_map(|store| ledger.ranges_of_all(ObjectId(view.id), &groups, store).iter().collect::<Vec<_>>())
        .filter(|range| range.start_us < start_us)
        .map(|range| range.end_us.min(start_us))
        .max()
        .unwrap_or(i64::MIN)
}

/// The unit that ranges of a view are made of.
fn period_us(view: &BoundView) -> i64 {
    let timing = &view.plan.timing;
    match timing.kind {
        ViewKind::BatchAttributes | ViewKind::BatchAggregates => timing.schedule_us,
        ViewKind::StreamTiled => timing.interval_us,
        ViewKind::StreamAttributes | ViewKind::StreamContinuous => 1,
    }
}

fn delay_us(view: &BoundView) -> i64 {
    if view.kind().is_batch() { view.plan.timing.delay_us } else { 0 }
}

fn misaligned(view: &BoundView, request: RangeRequest, bound: &str, unit_us: i64) -> Error {
    let unit = granary_sql::interval::format_interval(unit_us);
    let from = request.start_us.map(|us| format!(" FROM '{}'", format_timestamp(floor_us(us, unit_us))));
    let to = request.end_us.map(|us| format!(" TO '{}'", format_timestamp(ceil_us(us, unit_us))));
    Error::new(
        Kind::InvalidParameterValue,
        format!("{bound} is not a multiple of the schedule of \"{}\", which is {unit}", view.name),
    )
    .with_hint(format!("REFRESH FEATURE VIEW {}{}{}", view.name, from.unwrap_or_default(), to.unwrap_or_default()))
}
