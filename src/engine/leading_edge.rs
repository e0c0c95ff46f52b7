//! Where the windows of a tiled stream view end in what is served now: at the wall clock, or at the newest event.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use granary_catalog::{LeadingEdge, ObjectId, ViewKind};

use super::relation::BoundView;
use super::tables::events::EventTails;

/// The time of the newest event of a stream that was taken in; shared by who takes events in with who looks up.
#[derive(Debug)]
pub struct NewestEvent(AtomicI64);

impl Default for NewestEvent {
    fn default() -> NewestEvent {
        NewestEvent(AtomicI64::new(i64::MIN))
    }
}

impl NewestEvent {
    pub fn saw(&self, time_us: i64) {
        self.0.fetch_max(time_us, Ordering::AcqRel);
    }

    /// None if there was no event.
    pub fn time_us(&self) -> Option<i64> {
        let time_us = self.0.load(Ordering::Acquire);
        (time_us != i64::MIN).then_some(time_us)
    }
}

/// When a lookup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub now_us: i64,
    /// what is asked for in the place of what the views say
    pub edge: Option<Edge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    WallClock,
    LatestEvent,
    /// as if this were the time of the newest event
    At(i64),
}

impl From<i64> for Moment {
    fn from(now_us: i64) -> Moment {
        Moment { now_us, edge: None }
    }
}

/// Of a tiled stream view.
#[derive(Debug, Clone)]
pub struct ViewEdge {
    newest: Arc<NewestEvent>,
    default: LeadingEdge,
}

impl ViewEdge {
    /// None of a view that ends at the wall clock whatever is asked for.
    pub fn of(view: &BoundView, stream: ObjectId, tails: &EventTails) -> Option<ViewEdge> {
        if view.kind() != ViewKind::StreamTiled {
            return None;
        }
        Some(ViewEdge { newest: tails.newest_event(stream), default: view.leading_edge })
    }

    /// The time that the view is asked for. Events of the future are not seen before their time; without any event it
    /// is now.
    pub fn asked_us(&self, moment: Moment) -> i64 {
        let edge = moment.edge.unwrap_or(match self.default {
            LeadingEdge::WallClock => Edge::WallClock,
            LeadingEdge::LatestEvent => Edge::LatestEvent,
        });
        let time_us = match edge {
            Edge::WallClock => None,
            Edge::LatestEvent => self.newest.time_us(),
            Edge::At(time_us) => Some(time_us),
        };
        time_us.map_or(moment.now_us, |time_us| time_us.min(moment.now_us))
    }
}

/// The earliest time that a view over a stream is served as of at `now_us` or later, if requests do not ask for another.
pub fn served_from_us(view: &BoundView, stream: Option<ObjectId>, tails: &EventTails, now_us: i64) -> i64 {
    let edge = stream.and_then(|stream| ViewEdge::of(view, stream, tails));
    edge.map_or(now_us, |edge| edge.asked_us(now_us.into()))
}
