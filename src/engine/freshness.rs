//! How fresh feature views are: up to when they know what has happened.

use granary_catalog::{Catalog, FeatureView, Ledger, Object, Sink, Snapshot, StoreKind, Stream, Workspace};

use super::tables::events::EventTails;
use crate::metrics::{self, EVENTS_PER_SECOND, FRESHNESS, SINK_LAG, SINK_MESSAGES, STREAM_PAUSED, Sample};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// the stream that the view reads
    pub stream: Option<String>,
    /// the latest time of its events, of those that were not of the future when they came
    pub newest_event_us: Option<i64>,
    pub newest_arrival_us: Option<i64>,
    /// in the store that answers as of now
    pub materialized_until_us: Option<i64>,
}

impl Freshness {
    pub fn of(view: &FeatureView, stream: Option<&Stream>, ledger: &Ledger, tails: &EventTails) -> Freshness {
        let store = if view.online { StoreKind::Online } else { StoreKind::Offline };
        let stream = stream.filter(|_| view.kind.is_stream());
        let figures = stream.and_then(|stream| tails.figures(stream.header.id)).unwrap_or_default();
        Freshness {
            stream: stream.map(|stream| stream.header.name.clone()),
            newest_event_us: figures.newest_event.time_us(),
            newest_arrival_us: figures.newest_arrival_us,
            materialized_until_us: ledger
                .ranges_of_all(view.header.id, &view.group_numbers(), store)
                .iter()
                .last()
                .map(|range| range.end_us),
        }
    }

    /// How long ago that is.
    pub fn age_us(&self, now_us: i64) -> Option<i64> {
        let known_us = self.newest_event_us.max(self.materialized_until_us)?;
        Some(now_us.saturating_sub(known_us).max(0))
    }
}

/// How many events a sink has still to tell of; None where it is not known where it is.
pub fn sink_lag(snapshot: &Snapshot, sink: &Sink, tails: &EventTails) -> Option<u64> {
    let view = snapshot.get_as::<FeatureView>(sink.view)?;
    let stream = snapshot.stream_among(&view.depends_on)?;
    let position = tails.sink(sink.header.id)?.position?;
    Some(tails.end(stream.header.id).saturating_sub(position))
}

/// What the stores of live workspaces say of streams, views and sinks, as metrics.
pub fn samples(catalog: &Catalog, tails: &EventTails, now_us: i64) -> Vec<Sample> {
    let (snapshot, ledger) = (catalog.snapshot(), catalog.ledger());
    let live = |object: &Object| {
        let workspace = object.home().workspace().and_then(|id| snapshot.get_as::<Workspace>(id))?;
        workspace.live.then(|| workspace.header.name.clone())
    };
    let (mut rates, mut paused, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sent, mut lags) = (Vec::new(), Vec::new());
    for object in snapshot.objects() {
        let Some(workspace) = live(object) else { continue };
        let labels = |name| vec![(name, object.name().to_owned())];
        match object.as_ref() {
            Object::Stream(stream) => {
                let figures = tails.figures(stream.header.id).unwrap_or_default();
                let rate = figures.rate.per_second(now_us);
                rates.push(metrics::sample(&EVENTS_PER_SECOND, Some(&workspace), labels("stream"), rate));
                let is_paused = f64::from(u8::from(stream.paused));
                paused.push(metrics::sample(&STREAM_PAUSED, Some(&workspace), labels("stream"), is_paused));
            }
            Object::FeatureView(view) => {
                let stream = snapshot.stream_among(&view.depends_on);
                if let Some(age_us) = Freshness::of(view, stream, ledger, tails).age_us(now_us) {
                    let seconds = age_us as f64 / 1e6;
                    fresh.push(metrics::sample(&FRESHNESS, Some(&workspace), labels("view"), seconds));
                }
            }
            Object::Sink(sink) => {
                let messages = tails.sink(sink.header.id).map_or(0, |figures| figures.messages) as f64;
                sent.push(metrics::sample(&SINK_MESSAGES, Some(&workspace), labels("sink"), messages));
                if let Some(lag) = sink_lag(&snapshot, sink, tails) {
                    lags.push(metrics::sample(&SINK_LAG, Some(&workspace), labels("sink"), lag as f64));
                }
            }
            _ => {}
        }
    }
    [rates, paused, fresh, sent, lags].concat()
}
