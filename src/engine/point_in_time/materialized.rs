//! Which ranges of time a read of the offline store needs, and the refusal where one is missing.

use granary_catalog::{Interval, IntervalSet};
use granary_sql::timestamp::format_timestamp;

use super::exec::Read;
use crate::engine::relation::BoundView;
use crate::error::{Error, Kind, Result};
use crate::tile::ViewPlan;
use crate::time::floor_us;

/// What a view has in the offline store; no limit for rows that come from a source.
pub struct Materialized<'a> {
    view: &'a BoundView,
    /// with the windows that are asked for only
    plan: &'a ViewPlan,
    ranges: Option<&'a IntervalSet>,
}

impl<'a> Materialized<'a> {
    pub fn of(read: &'a Read) -> Materialized<'a> {
        Materialized { view: &read.view, plan: read.answerer.plan(), ranges: read.materialized.as_ref() }
    }

    /// Refuses to answer at any of these times if the store lacks a part of what it needs.
    pub fn check_all(&self, times: &[i64]) -> Result<()> {
        let (Some(ranges), Some(first), Some(last)) = (self.ranges, times.iter().min(), times.iter().max()) else {
            return Ok(());
        };
        // mostly all is there between the first and the last; if not, it may still be that nobody asks for the gap
        let reach = self.plan.reach(*first, *last);
        if reach.is_empty() || ranges.first_gap(&Interval::new(reach.start, reach.end)).is_none() {
            return Ok(());
        }
        times.iter().try_for_each(|time_us| match self.plan.required_range([*time_us]) {
            Some(needed) => self.check(needed),
            None => Ok(()),
        })
    }

    pub fn check_history(&self, start_us: i64, end_us: i64) -> Result<()> {
        match self.view.plan.required_range([start_us, end_us.saturating_sub(1)]) {
            Some(needed) => self.check(needed),
            None => Ok(()),
        }
    }

    /// A scan of all keys needs everything that says which keys there are.
    pub fn check_scan(&self, time_us: i64) -> Result<()> {
        let plan = &self.view.plan;
        let Some((_, end_us)) = plan.required_range([time_us]) else { return Ok(()) };
        let start_us = plan.timing.materialized_from(&plan.windows()).unwrap_or(i64::MIN);
        self.check((start_us, end_us))
    }

    fn check(&self, needed: (i64, i64)) -> Result<()> {
        match self.ranges {
            Some(ranges) => check_materialized(self.view, ranges, needed),
            None => Ok(()),
        }
    }
}

/// Refuses a range of which the store, which has `ranges`, lacks a part.
pub fn check_materialized(view: &BoundView, ranges: &IntervalSet, (start_us, end_us): (i64, i64)) -> Result<()> {
    if start_us >= end_us {
        return Ok(());
    }
    match ranges.first_gap(&Interval::new(start_us, end_us)) {
        None => Ok(()),
        Some(gap) => Err(not_materialized(view, gap)),
    }
}

fn not_materialized(view: &BoundView, gap: Interval) -> Error {
    let timing = &view.plan.timing;
    let unit_us = if timing.schedule_us > 0 { timing.schedule_us } else { timing.interval_us.max(1) };
    let end_us = crate::time::ceil_us(gap.end_us, unit_us);
    let end = format_timestamp(end_us);
    let (since, command) = if gap.start_us == i64::MIN {
        ("its beginning".to_owned(), format!("REFRESH FEATURE VIEW {}", view.name))
    } else {
        let start = format_timestamp(floor_us(gap.start_us, unit_us));
        let command = format!("REFRESH FEATURE VIEW {} FROM '{start}' TO '{end}'", view.name);
        (start, command)
    };
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("feature view \"{}\" is not materialized from {since} to {end}", view.name),
    )
    .with_hint(format!("{command}; or compute from the source: SET from_source = on"))
}
