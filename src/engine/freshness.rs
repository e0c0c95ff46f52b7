//! How fresh feature views are: up to when they know what has happened.

use granary_catalog::{
    Alert, Catalog, FeatureView, Ledger, Object, Sink, Snapshot, StoreKind, Stream, Trigger, Workspace,
};

use super::tables::events::EventTails;
use crate::alerts::{AlertStore, Phase};
use crate::metrics::{
    self, ALERT_FIRING, EVENTS_PER_SECOND, FRESHNESS, SINK_LAG, SINK_MESSAGES, STREAM_PAUSED, Sample, VIEW_STALE,
};
use crate::time::ceil_us;

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

    /// Whether the view of a live workspace knows less than it is expected to. None without an expectation, and of one that
    /// nothing is done for. An event of an interval counts as its end, since it is not complete before.
    pub fn is_stale(&self, view: &FeatureView, now_us: i64) -> Option<bool> {
        let expected_us = view.expected_freshness_us?;
        let interval_us = view.aggregation_interval_us.filter(|_| view.kind.is_stream()).unwrap_or(1).max(1);
        let event_us = self.newest_event_us.map(|event_us| ceil_us(event_us, interval_us));
        match event_us.max(self.materialized_until_us) {
            Some(known_us) => Some(now_us.saturating_sub(known_us) > expected_us),
            None => {
                let is_owed = view.kind.is_stream() || view.online || view.offline;
                (is_owed && view.trigger != Trigger::None).then_some(true)
            }
        }
    }
}

/// How many events a sink has still to tell of; None where it is not known where it is.
pub fn sink_lag(snapshot: &Snapshot, sink: &Sink, tails: &EventTails) -> Option<u64> {
    let view = snapshot.get_as::<FeatureView>(sink.view)?;
    let stream = snapshot.stream_among(&view.depends_on)?;
    let position = tails.sink(sink.header.id)?.position?;
    Some(tails.end(stream.header.id).saturating_sub(position))
}

/// Which alerts of live workspaces fire, as metrics.
pub fn alert_samples(snapshot: &Snapshot, alerts: &AlertStore) -> Vec<Sample> {
    let live = |alert: &Alert| {
        let workspace = alert.header.home.workspace().and_then(|id| snapshot.get_as::<Workspace>(id))?;
        workspace.live.then(|| workspace.header.name.clone())
    };
    let sample = |alert: &Alert| {
        let fires = alerts.state(alert.header.id.0).phase == Phase::Firing;
        let labels = vec![("alert", alert.header.name.clone())];
        Some(metrics::sample(&ALERT_FIRING, Some(&live(alert)?), labels, f64::from(u8::from(fires))))
    };
    snapshot.all::<Alert>().into_iter().filter_map(sample).collect()
}

/// What the stores of live workspaces say of streams, views and sinks, as metrics.
pub fn samples(catalog: &Catalog, tails: &EventTails, now_us: i64) -> Vec<Sample> {
    let (snapshot, ledger) = (catalog.snapshot(), catalog.ledger());
    let live = |object: &Object| {
        let workspace = object.home().workspace().and_then(|id| snapshot.get_as::<Workspace>(id))?;
        workspace.live.then(|| workspace.header.name.clone())
    };
    let (mut rates, mut paused, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
    let (mut sent, mut lags, mut stale) = (Vec::new(), Vec::new(), Vec::new());
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
                let known = Freshness::of(view, stream, ledger, tails);
                if let Some(is_stale) = known.is_stale(view, now_us) {
                    let is_stale = f64::from(u8::from(is_stale));
                    stale.push(metrics::sample(&VIEW_STALE, Some(&workspace), labels("view"), is_stale));
                }
                if let Some(age_us) = known.age_us(now_us) {
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
    [rates, paused, fresh, stale, sent, lags].concat()
}
