//! Up to when a feature relation answers with all that there is: what somebody waits for who goes on with it then.

use granary_catalog::{FeatureView, Interval, IntervalSet, Ledger, Object, ObjectId, Snapshot, StoreKind};

use super::relation::BoundView;
use crate::error::Result;

/// Both NULL of a relation that is not kept, or not all of what its newest answers stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    pub online_us: Option<i64>,
    pub offline_us: Option<i64>,
}

/// What is known of all of them.
pub struct Readiness<'a> {
    pub snapshot: &'a Snapshot,
    pub ledger: &'a Ledger,
    pub now_us: i64,
}

impl Readiness<'_> {
    /// None of what is no feature view or service.
    pub fn of(&self, object: &Object) -> Result<Option<Ready>> {
        match object {
            Object::FeatureView(view) => self.of_view(view).map(Some),
            Object::FeatureService(service) => self.least(service.members.iter().map(|member| member.view)).map(Some),
            _ => Ok(None),
        }
    }

    fn of_view(&self, view: &FeatureView) -> Result<Ready> {
        if !self.snapshot.is_live(view.header.home.workspace()) {
            return Ok(Ready::default());
        }
        let bound = BoundView::of_feature_view(view)?;
        let until = |store, is_kept: bool| {
            let mut ranges = self.ledger.ranges_of_all(view.header.id, &view.group_numbers(), store);
            if view.kind.is_stream() {
                // from the end of its mirror on the stream itself has all
                let stream = self.snapshot.stream_among(&view.depends_on);
                let backfill = stream.and_then(|stream| stream.backfill);
                ranges.insert(Interval::new(backfill.map_or(i64::MIN, |backfill| backfill.until_us), i64::MAX));
            }
            is_kept.then(|| self.ready_until(&bound, &ranges)).flatten()
        };
        Ok(Ready {
            online_us: until(StoreKind::Online, view.online),
            offline_us: until(StoreKind::Offline, view.offline),
        })
    }

    /// The end of the newest range that has all that an answer at its end stands on.
    fn ready_until(&self, view: &BoundView, ranges: &IntervalSet) -> Option<i64> {
        let mut newest: Vec<Interval> = ranges.iter().collect();
        newest.reverse();
        let delay_us = if view.kind().is_batch() { view.plan.timing.delay_us } else { 0 };
        let is_whole = |range: &Interval| {
            let asked_us = range.end_us.min(self.now_us).saturating_add(delay_us);
            let needed = view.plan.required_range([asked_us]);
            needed.is_none_or(|(start_us, end_us)| start_us >= end_us || range.start_us <= start_us)
        };
        newest.into_iter().find(is_whole).map(|range| range.end_us.min(self.now_us))
    }

    /// Of relations that are answered together: the least of them.
    fn least(&self, relations: impl Iterator<Item = ObjectId>) -> Result<Ready> {
        let now_us = Some(self.now_us);
        let mut least = Ready { online_us: now_us, offline_us: now_us };
        for id in relations {
            let ready = match self.snapshot.get(id).map(AsRef::as_ref) {
                Some(Object::FeatureView(view)) => self.of_view(view)?,
                Some(Object::RealtimeView(view)) => self.least(view.depends_on.iter().copied())?,
                // rows of a feature table are there when they are written
                _ => continue,
            };
            let both = |a: Option<i64>, b: Option<i64>| a.zip(b).map(|(a, b)| a.min(b));
            least = Ready {
                online_us: both(least.online_us, ready.online_us),
                offline_us: both(least.offline_us, ready.offline_us),
            };
        }
        Ok(least)
    }
}
