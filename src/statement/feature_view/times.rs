//! What a feature view's options say of time.

use granary_catalog::{LeadingEdge, ViewKind};
use granary_sql::interval::format_interval;
use granary_sql::statement::CreateFeatureView;

use super::super::context::StatementContext;
use super::super::select::PlannedQuery;
use super::super::source::longest_delay;
use super::positive_interval;
use crate::error::{Error, Kind, Result};
use crate::tile::Timing;

/// The schedule of a batch view that does not name one.
const DEFAULT_SCHEDULE_US: i64 = 86_400_000_000;

/// Everything about time that the options say.
pub struct Times {
    pub kind: ViewKind,
    pub schedule_us: Option<i64>,
    pub interval_us: Option<i64>,
    pub delay_us: i64,
    pub start_us: Option<i64>,
    pub lifetime_start_us: Option<i64>,
    pub ttl_us: Option<i64>,
    pub compaction: bool,
    pub leading_edge: LeadingEdge,
}

impl Times {
    pub fn of(
        context: &StatementContext,
        create: &CreateFeatureView,
        query: &PlannedQuery,
        is_stream: bool,
    ) -> Result<Times> {
        let options = &create.options;
        let schedule_us = positive_interval(options, "schedule")?;
        let interval_us = positive_interval(options, "aggregation_interval")?;
        let ttl_us = positive_interval(options, "ttl")?;
        let has_features = create.features.is_some();
        let kind = match (is_stream, has_features) {
            (false, false) => ViewKind::BatchAttributes,
            (false, true) => ViewKind::BatchAggregates,
            (true, false) => ViewKind::StreamAttributes,
            (true, true) if interval_us.is_some() => ViewKind::StreamTiled,
            (true, true) => ViewKind::StreamContinuous,
        };
        let schedule_us = if is_stream { schedule_us } else { Some(schedule_us.unwrap_or(DEFAULT_SCHEDULE_US)) };
        let interval_us = if kind == ViewKind::BatchAggregates { interval_us.or(schedule_us) } else { interval_us };
        if !has_features && interval_us.is_some() {
            return Err(misplaced("aggregation_interval", "a view with FEATURES"));
        }
        let compaction = options.bool("compaction")?.unwrap_or(false);
        if compaction && kind != ViewKind::StreamContinuous {
            return Err(misplaced(
                "compaction",
                "continuous windows: a view with FEATURES over a stream, without aggregation_interval",
            ));
        }
        let leading_edge = match options.choice("leading_edge", &["wall_clock", "latest_event"])? {
            Some("latest_event") if kind != ViewKind::StreamTiled => {
                return Err(misplaced(
                    "leading_edge",
                    "tiled windows over a stream: a view with FEATURES and aggregation_interval",
                ));
            }
            Some("latest_event") => LeadingEdge::LatestEvent,
            _ => LeadingEdge::WallClock,
        };
        if has_features && ttl_us.is_some() {
            return Err(misplaced("ttl", "a view without FEATURES, since windows end by themselves"));
        }
        if let (ViewKind::BatchAggregates, Some(interval), Some(schedule)) = (kind, interval_us, schedule_us)
            && schedule % interval != 0
        {
            return Err(not_a_multiple("schedule", schedule, "the aggregation interval", interval));
        }
        let lifetime_start_us = options.timestamp_us("lifetime_start")?;
        if let (Some(start), Some(interval)) = (lifetime_start_us, interval_us)
            && start.rem_euclid(interval) != 0
        {
            return Err(Error::new(
                Kind::InvalidParameterValue,
                format!("lifetime_start is not a multiple of the aggregation interval, {}", format_interval(interval)),
            ));
        }
        let delay_us = match options.interval("data_delay")? {
            Some(delay) if delay.microseconds < 0 => {
                return Err(Error::new(Kind::InvalidParameterValue, "data_delay must not be negative"));
            }
            Some(delay) => delay.microseconds,
            None => longest_delay(context, &query.depends_on),
        };
        Ok(Times {
            kind,
            schedule_us,
            interval_us,
            delay_us: if is_stream { 0 } else { delay_us },
            start_us: options.timestamp_us("start")?,
            lifetime_start_us,
            ttl_us,
            compaction,
            leading_edge,
        })
    }

    /// What ranges of the view are made of.
    pub fn period_us(&self) -> i64 {
        match self.kind {
            ViewKind::BatchAttributes | ViewKind::BatchAggregates => self.schedule_us.unwrap_or(1),
            ViewKind::StreamTiled => self.interval_us.unwrap_or(1),
            ViewKind::StreamAttributes | ViewKind::StreamContinuous => 1,
        }
    }

    pub fn timing(&self) -> Timing {
        Timing {
            kind: self.kind,
            interval_us: self.interval_us.unwrap_or(0),
            schedule_us: self.schedule_us.unwrap_or(0),
            delay_us: self.delay_us,
            start_us: self.start_us,
            lifetime_start_us: self.lifetime_start_us,
            ttl_us: self.ttl_us,
            compaction: self.compaction,
        }
    }
}

fn misplaced(option: &str, place: &str) -> Error {
    Error::new(Kind::InvalidParameterValue, format!("option {option} is for {place}"))
}

pub fn not_a_multiple(what: &str, length_us: i64, of: &str, unit_us: i64) -> Error {
    Error::new(
        Kind::InvalidParameterValue,
        format!("{what} {} is not a multiple of {of}, {}", format_interval(length_us), format_interval(unit_us)),
    )
}
