//! What the server counts of itself: requests and their times by service and door, the cache, reads of the online store.
//!
//! Counters are atomics that any thread may raise; nothing waits for a reader. They belong to the process, which is one
//! server, and begin at zero with it. Whoever serves keeps the [`ServiceMetrics`] of what it serves, so that a request
//! looks up no name. Knows neither catalog nor clients.

mod work;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

pub use work::{Ended, Phase, attempt_ended, backed_up, job_moved, phase_took, statement_ended};

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Postgres,
    Http,
}

impl Door {
    const ALL: [Door; 2] = [Door::Postgres, Door::Http];

    pub const fn as_str(self) -> &'static str {
        match self {
            Door::Postgres => "pg",
            Door::Http => "http",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    Failed,
}

/// Upper bounds in microseconds; above the last one there is no bound.
const BOUNDS_US: [u64; 15] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000];

#[derive(Debug, Default)]
struct Histogram {
    /// by bound, not summed up; the last is above all bounds
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    const fn new() -> Histogram {
        Histogram { counts: [const { AtomicU64::new(0) }; BOUNDS_US.len() + 1], sum_us: AtomicU64::new(0) }
    }

    fn add(&self, elapsed: Duration) {
        let elapsed_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let bound = BOUNDS_US.partition_point(|bound| *bound < elapsed_us);
        self.counts[bound].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(elapsed_us, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct DoorMetrics {
    answered: AtomicU64,
    failed: AtomicU64,
    times: Histogram,
}

impl DoorMetrics {
    const fn new() -> DoorMetrics {
        DoorMetrics { answered: AtomicU64::new(0), failed: AtomicU64::new(0), times: Histogram::new() }
    }

    fn add(&self, elapsed: Duration, outcome: Outcome) {
        match outcome {
            Outcome::Answered => self.answered.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed => self.failed.fetch_add(1, Ordering::Relaxed),
        };
        self.times.add(elapsed);
    }
}

/// The counters of one feature service, or of a view that is served by itself.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    doors: [DoorMetrics; Door::ALL.len()],
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    /// feature vectors for the log of requests
    logged: AtomicU64,
    log_dropped: AtomicU64,
}

impl ServiceMetrics {
    /// One request, however many feature vectors it asked for.
    pub fn served(&self, door: Door, elapsed: Duration, outcome: Outcome) {
        self.doors[door as usize].add(elapsed, outcome);
    }

    /// Feature vectors that wait to be logged, and others that are not logged for want of room.
    pub fn logged(&self, logged: usize, dropped: usize) {
        self.logged.fetch_add(logged as u64, Ordering::Relaxed);
        self.log_dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    /// Some that waited could not be written.
    pub fn log_lost(&self, lost: usize) {
        self.logged.fetch_sub(lost as u64, Ordering::Relaxed);
        self.log_dropped.fetch_add(lost as u64, Ordering::Relaxed);
    }

    /// Those that were logged, and dropped.
    pub fn log_counts(&self) -> (u64, u64) {
        (self.logged.load(Ordering::Relaxed), self.log_dropped.load(Ordering::Relaxed))
    }

    /// Feature vectors that were looked for in the cache.
    pub fn cache_looked_up(&self, hits: usize, misses: usize) {
        self.cache_hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.cache_misses.fetch_add(misses as u64, Ordering::Relaxed);
    }
}

/// The counters of a stream that is read from elsewhere.
#[derive(Debug)]
pub struct StreamMetrics {
    workspace: String,
    stream: String,
    events: AtomicU64,
    dead_letters: AtomicU64,
    /// messages that are still to be read, by partition
    lags: RwLock<BTreeMap<i32, i64>>,
}

impl StreamMetrics {
    pub fn read(&self, events: u64, dead_letters: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.dead_letters.fetch_add(dead_letters, Ordering::Relaxed);
    }

    pub fn lags(&self, partition: i32, messages: i64) {
        self.lags.write().unwrap_or_else(PoisonError::into_inner).insert(partition, messages);
    }
}

/// Statuses of HTTP that have a counter of their own; others are counted as the last.
const HTTP_STATUSES: [u16; 12] = [200, 400, 401, 403, 404, 405, 408, 413, 429, 500, 503, 504];

/// The counters of one stream.
#[derive(Debug, Default)]
struct IngestMetrics {
    stored: AtomicU64,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Registry {
    /// by workspace and name
    services: RwLock<BTreeMap<(String, String), Arc<ServiceMetrics>>>,
    ingested: RwLock<BTreeMap<(String, String), IngestMetrics>>,
    ingest_requests: DoorMetrics,
    streams: RwLock<Vec<Arc<StreamMetrics>>>,
    store_reads: AtomicU64,
    http_responses: [AtomicU64; HTTP_STATUSES.len() + 1],
    cache_entries: AtomicI64,
    cache_bytes: AtomicI64,
    lineage_sent: AtomicU64,
    lineage_dropped: AtomicU64,
}

static REGISTRY: Registry = Registry {
    services: RwLock::new(BTreeMap::new()),
    ingested: RwLock::new(BTreeMap::new()),
    ingest_requests: DoorMetrics::new(),
    streams: RwLock::new(Vec::new()),
    store_reads: AtomicU64::new(0),
    http_responses: [const { AtomicU64::new(0) }; HTTP_STATUSES.len() + 1],
    cache_entries: AtomicI64::new(0),
    cache_bytes: AtomicI64::new(0),
    lineage_sent: AtomicU64::new(0),
    lineage_dropped: AtomicU64::new(0),
};

/// The counters of a service, to be kept by who serves it. A service made anew under its old name counts on.
pub fn of_service(workspace: &str, service: &str) -> Arc<ServiceMetrics> {
    let name = (workspace.to_owned(), service.to_owned());
    if let Some(known) = REGISTRY.services.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return Arc::clone(known);
    }
    Arc::clone(REGISTRY.services.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_default())
}

/// The counters of a stream, from zero on, to be kept by its reader until it forgets them.
pub fn of_stream(workspace: &str, stream: &str) -> Arc<StreamMetrics> {
    let metrics = Arc::new(StreamMetrics {
        workspace: workspace.to_owned(),
        stream: stream.to_owned(),
        events: AtomicU64::new(0),
        dead_letters: AtomicU64::new(0),
        lags: RwLock::default(),
    });
    REGISTRY.streams.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&metrics));
    metrics
}

pub fn forget_stream(metrics: &Arc<StreamMetrics>) {
    let mut streams = REGISTRY.streams.write().unwrap_or_else(PoisonError::into_inner);
    streams.retain(|known| !Arc::ptr_eq(known, metrics));
}

/// Rows or ranges of one key that were read out of the online store.
pub fn read_from_store(reads: u64) {
    REGISTRY.store_reads.fetch_add(reads, Ordering::Relaxed);
}

/// Events that a stream of a workspace has stored, or refused.
pub fn ingested(workspace: &str, stream: &str, stored: u64, refused: u64) {
    let name = (workspace.to_owned(), stream.to_owned());
    let add = |counts: &IngestMetrics| {
        counts.stored.fetch_add(stored, Ordering::Relaxed);
        counts.refused.fetch_add(refused, Ordering::Relaxed);
    };
    if let Some(known) = REGISTRY.ingested.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
        return add(known);
    }
    add(REGISTRY.ingested.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_default());
}

/// One request to the ingest server.
pub fn ingested_http(elapsed: Duration, outcome: Outcome) {
    REGISTRY.ingest_requests.add(elapsed, outcome);
}

pub fn answered_http(status: u16) {
    let place = HTTP_STATUSES.iter().position(|known| *known == status).unwrap_or(HTTP_STATUSES.len());
    REGISTRY.http_responses[place].fetch_add(1, Ordering::Relaxed);
}

/// The serving cache has got, or lost, so much.
pub fn cache_changed(entries: i64, bytes: i64) {
    REGISTRY.cache_entries.fetch_add(entries, Ordering::Relaxed);
    REGISTRY.cache_bytes.fetch_add(bytes, Ordering::Relaxed);
}

/// An event that the server of OpenLineage has taken.
pub fn lineage_sent() {
    REGISTRY.lineage_sent.fetch_add(1, Ordering::Relaxed);
}

/// Events that it will never get.
pub fn lineage_dropped(events: u64) {
    REGISTRY.lineage_dropped.fetch_add(events, Ordering::Relaxed);
}

/// One number, as Prometheus names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub metric: &'static Metric,
    /// `_bucket`, `_sum` or `_count` of a histogram
    pub suffix: &'static str,
    pub workspace: Option<String>,
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
}

static REQUESTS: Metric = Metric {
    name: "granary_requests_total",
    kind: "counter",
    help: "Requests for feature vectors, by door, service and outcome.",
};
static TIMES: Metric = Metric {
    name: "granary_request_duration_seconds",
    kind: "histogram",
    help: "How long requests for feature vectors took in the server.",
};
static INGESTED: Metric = Metric {
    name: "granary_ingest_events_total",
    kind: "counter",
    help: "Events that streams have stored, or refused.",
};
static INGEST_REQUESTS: Metric = Metric {
    name: "granary_ingest_requests_total",
    kind: "counter",
    help: "Requests to ingest over HTTP, by outcome.",
};
static INGEST_TIMES: Metric = Metric {
    name: "granary_ingest_request_duration_seconds",
    kind: "histogram",
    help: "How long requests to ingest over HTTP took in the server.",
};
static CACHE_LOOKUPS: Metric = Metric {
    name: "granary_cache_lookups_total",
    kind: "counter",
    help: "Feature vectors, or parts of them, that were looked for in the serving cache.",
};
static LOGGED: Metric = Metric {
    name: "granary_logged_requests_total",
    kind: "counter",
    help: "Feature vectors of services that log requests, logged or dropped, by service and outcome.",
};
static CACHE_ENTRIES: Metric =
    Metric { name: "granary_cache_entries", kind: "gauge", help: "Entries of the serving cache." };
static CACHE_BYTES: Metric =
    Metric { name: "granary_cache_bytes", kind: "gauge", help: "Bytes that the serving cache holds." };
static STORE_READS: Metric =
    Metric { name: "granary_store_reads_total", kind: "counter", help: "Keys that were read in the online store." };
static HTTP_RESPONSES: Metric =
    Metric { name: "granary_http_responses_total", kind: "counter", help: "Answers over HTTP, by status." };
static LINEAGE_EVENTS: Metric = Metric {
    name: "granary_openlineage_events_total",
    kind: "counter",
    help: "Events for OpenLineage that were sent, or dropped.",
};
static STREAM_MESSAGES: Metric = Metric {
    name: "granary_stream_messages_total",
    kind: "counter",
    help: "Messages that streams have read since their readers began, by stream and outcome.",
};
static STREAM_LAG: Metric = Metric {
    name: "granary_stream_lag",
    kind: "gauge",
    help: "Messages, or bytes of the log of a captured table's server, that are still to be read, by stream and partition.",
};

/// Told by who knows the stores.
pub static EVENTS_PER_SECOND: Metric = Metric {
    name: "granary_stream_events_per_second",
    kind: "gauge",
    help: "Events that came in the last minute, by the second, by stream.",
};
pub static STREAM_PAUSED: Metric =
    Metric { name: "granary_stream_paused", kind: "gauge", help: "Whether a stream takes no events, by stream." };
pub static FRESHNESS: Metric = Metric {
    name: "granary_feature_view_freshness_seconds",
    kind: "gauge",
    help: "How long ago it is up to when a feature view knows what has happened.",
};

pub static VIEW_STALE: Metric = Metric {
    name: "granary_feature_view_stale",
    kind: "gauge",
    help: "Whether a feature view knows less than it is expected to, 1 or 0.",
};
pub static ALERT_FIRING: Metric =
    Metric { name: "granary_alert_firing", kind: "gauge", help: "Whether an alert fires, 1 or 0." };
pub static SINK_MESSAGES: Metric = Metric {
    name: "granary_sink_messages_total",
    kind: "counter",
    help: "Messages of sinks that brokers have acknowledged since the sinks began, by sink.",
};
pub static SINK_LAG: Metric =
    Metric { name: "granary_sink_lag", kind: "gauge", help: "Events that a sink has still to tell of, by sink." };

/// All numbers as they are now; those of one metric stand together.
pub fn samples() -> Vec<Sample> {
    let services: Vec<((String, String), Arc<ServiceMetrics>)> = {
        let services = REGISTRY.services.read().unwrap_or_else(PoisonError::into_inner);
        services.iter().map(|(name, metrics)| (name.clone(), Arc::clone(metrics))).collect()
    };
    let by_door = || {
        services.iter().flat_map(|(name, metrics)| Door::ALL.map(|door| (name, door, &metrics.doors[door as usize])))
    };
    let mut samples = Vec::new();
    for (name, door, counted) in by_door() {
        for (outcome, count) in [("answered", &counted.answered), ("failed", &counted.failed)] {
            let labels = vec![("service", name.1.clone()), ("door", door.as_str().to_owned()), outcome_label(outcome)];
            samples.push(sample(&REQUESTS, Some(&name.0), labels, count_of(count)));
        }
    }
    for (name, door, counted) in by_door() {
        let labels = vec![("service", name.1.clone()), ("door", door.as_str().to_owned())];
        add_histogram(&mut samples, &TIMES, (Some(name.0.as_str()), labels), &counted.times);
    }
    for ((workspace, stream), counts) in REGISTRY.ingested.read().unwrap_or_else(PoisonError::into_inner).iter() {
        for (outcome, count) in [("stored", &counts.stored), ("refused", &counts.refused)] {
            let labels = vec![("stream", stream.clone()), outcome_label(outcome)];
            samples.push(sample(&INGESTED, Some(workspace), labels, count_of(count)));
        }
    }
    let requests = &REGISTRY.ingest_requests;
    for (outcome, count) in [("answered", &requests.answered), ("failed", &requests.failed)] {
        samples.push(sample(&INGEST_REQUESTS, None, vec![outcome_label(outcome)], count_of(count)));
    }
    add_histogram(&mut samples, &INGEST_TIMES, (None, Vec::new()), &requests.times);
    for ((workspace, service), metrics) in &services {
        for (outcome, count) in [("hit", &metrics.cache_hits), ("miss", &metrics.cache_misses)] {
            let labels = vec![("service", service.clone()), outcome_label(outcome)];
            samples.push(sample(&CACHE_LOOKUPS, Some(workspace), labels, count_of(count)));
        }
    }
    for ((workspace, service), metrics) in &services {
        let (logged, dropped) = metrics.log_counts();
        // of services that do not log there is nothing to tell
        for (outcome, count) in [("logged", logged), ("dropped", dropped)].into_iter().filter(|_| logged + dropped > 0)
        {
            let labels = vec![("service", service.clone()), outcome_label(outcome)];
            samples.push(sample(&LOGGED, Some(workspace), labels, count as f64));
        }
    }
    for (metric, gauge) in [(&CACHE_ENTRIES, &REGISTRY.cache_entries), (&CACHE_BYTES, &REGISTRY.cache_bytes)] {
        samples.push(sample(metric, None, Vec::new(), gauge.load(Ordering::Relaxed) as f64));
    }
    samples.push(sample(&STORE_READS, None, Vec::new(), count_of(&REGISTRY.store_reads)));
    let statuses = HTTP_STATUSES.iter().map(u16::to_string).chain(["other".to_owned()]);
    for (status, count) in statuses.zip(&REGISTRY.http_responses) {
        samples.push(sample(&HTTP_RESPONSES, None, vec![("status", status)], count_of(count)));
    }
    let (sent, dropped) = (count_of(&REGISTRY.lineage_sent), count_of(&REGISTRY.lineage_dropped));
    // where nobody is told there is nothing to count
    for (outcome, count) in [("sent", sent), ("dropped", dropped)].into_iter().filter(|_| sent + dropped > 0.0) {
        samples.push(sample(&LINEAGE_EVENTS, None, vec![outcome_label(outcome)], count));
    }
    add_streams(&mut samples);
    work::add_samples(&mut samples);
    samples
}

fn add_streams(samples: &mut Vec<Sample>) {
    let streams = REGISTRY.streams.read().unwrap_or_else(PoisonError::into_inner).clone();
    for metrics in &streams {
        for (outcome, count) in [("event", &metrics.events), ("dead_letter", &metrics.dead_letters)] {
            let labels = vec![("stream", metrics.stream.clone()), outcome_label(outcome)];
            samples.push(sample(&STREAM_MESSAGES, Some(&metrics.workspace), labels, count_of(count)));
        }
    }
    for metrics in &streams {
        for (partition, lag) in metrics.lags.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = vec![("stream", metrics.stream.clone()), ("partition", partition.to_string())];
            samples.push(sample(&STREAM_LAG, Some(&metrics.workspace), labels, *lag as f64));
        }
    }
}

fn outcome_label(outcome: &str) -> (&'static str, String) {
    ("outcome", outcome.to_owned())
}

fn count_of(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

/// A number of a metric.
pub fn sample(
    metric: &'static Metric,
    workspace: Option<&str>,
    labels: Vec<(&'static str, String)>,
    value: f64,
) -> Sample {
    Sample { metric, suffix: "", workspace: workspace.map(str::to_owned), labels, value }
}

fn add_histogram(
    samples: &mut Vec<Sample>,
    metric: &'static Metric,
    (workspace, labels): (Option<&str>, Vec<(&'static str, String)>),
    times: &Histogram,
) {
    let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound).to_string()).chain(["+Inf".to_owned()]);
    let mut up_to = 0.0;
    for (bound, count) in bounds.zip(&times.counts) {
        up_to += count_of(count);
        let mut labels = labels.clone();
        labels.push(("le", bound));
        samples.push(Sample { suffix: "_bucket", ..sample(metric, workspace, labels, up_to) });
    }
    let sum = seconds(times.sum_us.load(Ordering::Relaxed));
    samples.push(Sample { suffix: "_sum", ..sample(metric, workspace, labels.clone(), sum) });
    samples.push(Sample { suffix: "_count", ..sample(metric, workspace, labels, up_to) });
}

fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

/// The numbers, and then `more` of other metrics, in Prometheus' text format, version 0.0.4.
pub fn prometheus(more: Vec<Sample>) -> String {
    let mut text = String::new();
    let mut last: Option<&Metric> = None;
    for sample in samples().into_iter().chain(more) {
        let metric = sample.metric;
        if last != Some(metric) {
            put(
                &mut text,
                format_args!("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name, metric.kind),
            );
            last = Some(metric);
        }
        put(&mut text, format_args!("{}{}", metric.name, sample.suffix));
        let workspace = sample.workspace.iter().map(|workspace| ("workspace", workspace));
        let labels = workspace.chain(sample.labels.iter().map(|(name, value)| (*name, value)));
        for (number, (name, value)) in labels.enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            put(&mut text, format_args!("{}{name}=\"{value}\"", if number == 0 { '{' } else { ',' }));
        }
        let end = if sample.workspace.is_some() || !sample.labels.is_empty() { "}" } else { "" };
        put(&mut text, format_args!("{end} {}\n", sample.value));
    }
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a text takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_up_to_their_bounds() {
        let metrics = of_service("unit", "times\"\\");
        for elapsed_us in [50, 51, 2_500_000, 2_500_001] {
            metrics.served(Door::Http, Duration::from_micros(elapsed_us), Outcome::Answered);
        }
        metrics.served(Door::Postgres, Duration::ZERO, Outcome::Failed);
        metrics.cache_looked_up(3, 1);
        let text = prometheus(Vec::new());
        let labels = r#"{workspace="unit",service="times\"\\""#;
        for line in [
            format!("granary_requests_total{labels},door=\"http\",outcome=\"answered\"}} 4"),
            format!("granary_requests_total{labels},door=\"pg\",outcome=\"failed\"}} 1"),
            format!("granary_request_duration_seconds_bucket{labels},door=\"http\",le=\"0.00005\"}} 1"),
            format!("granary_request_duration_seconds_bucket{labels},door=\"http\",le=\"0.0001\"}} 2"),
            format!("granary_request_duration_seconds_bucket{labels},door=\"http\",le=\"2.5\"}} 3"),
            format!("granary_request_duration_seconds_bucket{labels},door=\"http\",le=\"+Inf\"}} 4"),
            format!("granary_request_duration_seconds_count{labels},door=\"http\"}} 4"),
            format!("granary_request_duration_seconds_sum{labels},door=\"http\"}} 5.000102"),
            format!("granary_cache_lookups_total{labels},outcome=\"hit\"}} 3"),
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
    }

    #[test]
    fn each_metric_is_described_once() {
        of_service("unit", "described");
        ingested("unit", "described", 1, 0);
        let stream = of_stream("unit", "described");
        stream.read(2, 1);
        stream.lags(0, 7);
        let text = prometheus(Vec::new());
        let mut described: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = described.len();
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), count, "{text}");
        let lag = "granary_stream_lag{workspace=\"unit\",stream=\"described\",partition=\"0\"} 7";
        assert!(text.lines().any(|line| line == lag), "{text}");
        forget_stream(&stream);
        assert!(!prometheus(Vec::new()).contains(lag));
    }

    #[test]
    fn unusual_statuses_are_counted_together() {
        let before = samples();
        answered_http(418);
        let other = |samples: &[Sample]| {
            let found = samples.iter().find(|sample| sample.labels == [("status", "other".to_owned())]);
            found.map(|sample| sample.value)
        };
        assert_eq!(other(&samples()), other(&before).map(|count| count + 1.0));
    }
}
