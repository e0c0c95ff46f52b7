//! The law, done the slow way: for one asked time, look at every event and decide. Nothing here is shared with the
//! warehouse but the words.

use std::cmp::Ordering;

use granary::row::Value;

pub const HOUR: i64 = 3_600_000_000;

#[derive(Debug, Clone)]
pub struct Event {
    pub key: Option<&'static str>,
    pub ts: i64,
    pub v: Option<f64>,
    pub n: Option<i64>,
    pub s: Option<&'static str>,
    /// since when it is known; matters in bitemporal views only
    pub known: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    BatchAggregates,
    BatchAttributes,
    StreamTiled,
    StreamContinuous,
    StreamAttributes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Last { size: i64, offset: i64 },
    Lifetime,
    Series { from: i64, to: i64, size: i64, step: i64 },
}

#[derive(Debug, Clone)]
pub struct View {
    pub kind: Kind,
    pub interval: i64,
    pub schedule: i64,
    pub delay: i64,
    pub start: Option<i64>,
    pub lifetime_start: Option<i64>,
    pub ttl: Option<i64>,
    /// of continuous aggregates: the trailing edge of long windows moves in steps
    pub compaction: bool,
    /// nothing is seen before it was known
    pub known_at: bool,
    /// of aggregates: by s, too
    pub by_s: bool,
    /// of aggregates
    pub features: Vec<Feature>,
}

#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// the number of a function below
    pub function: usize,
    /// counts only events for which [`FILTER`] is true
    pub is_filtered: bool,
    pub window: Window,
}

/// Of an event: n > 1.
pub const FILTER: &str = "FILTER (WHERE n > 1)";

fn passes(event: &Event) -> bool {
    event.n.is_some_and(|n| n > 1)
}

fn floor(t: i64, width: i64) -> i64 {
    t - t.rem_euclid(width)
}

/// The functions: how they are written in SQL, and whether they give one value that a series can hold.
pub const FUNCTIONS: [(&str, bool); 39] = [
    ("count(*)", true),
    ("count(v)", true),
    ("sum(v)", true),
    ("sum(n)", true),
    ("avg(v)", true),
    ("avg(n)", true),
    ("min(v)", true),
    ("max(v)", true),
    ("max(n)", true),
    ("min(s)", true),
    ("max(s)", true),
    ("bool_and(p)", true),
    ("bool_or(p)", true),
    ("var_pop(v)", true),
    ("var_samp(n)", true),
    ("stddev_pop(v)", true),
    ("stddev_samp(v)", true),
    ("skewness(v)", true),
    ("kurtosis(n)", true),
    ("last(v)", true),
    ("first(s)", true),
    ("last(s, 3)", false),
    ("first(v, 2)", false),
    ("last_distinct(s, 2)", false),
    ("first_distinct(s, 2)", false),
    ("ewma(v, INTERVAL '2 hours')", true),
    ("count_distinct(s)", true),
    ("count_distinct(v)", true),
    ("approx_count_distinct(s)", true),
    ("median(v)", true),
    ("approx_percentile(v, 0.9)", true),
    ("mode(s)", true),
    ("mode(n)", true),
    ("entropy(s)", true),
    ("arg_max(s, v)", true),
    ("arg_min(n, v)", true),
    ("arg_max(v, s)", true),
    ("top_k(s, 2)", false),
    ("histogram(v, -5, 5, 4)", false),
];

impl View {
    fn edge(&self, t: i64) -> i64 {
        match self.kind {
            Kind::BatchAggregates | Kind::BatchAttributes => floor(t - self.delay, self.schedule),
            Kind::StreamTiled => floor(t, self.interval),
            Kind::StreamContinuous | Kind::StreamAttributes => t,
        }
    }

    fn effective(&self, ts: i64) -> i64 {
        match self.kind {
            Kind::BatchAttributes => floor(ts, self.schedule) + self.schedule + self.delay,
            _ => ts,
        }
    }

    /// The features of `key` at `t`, in the order declared; attributes v, n, s, p, which is n > 0, and known if it
    /// matters.
    pub fn answer(&self, events: &[Event], key: Option<&str>, t: Option<i64>) -> Vec<Option<Value>> {
        let mut own: Vec<&Event> = events
            .iter()
            .filter(|event| key.is_some() && event.key.is_some() && event.key == key)
            .filter(|event| self.is_known(event, t))
            .collect();
        // Stable: ties stay in the order of arrival.
        own.sort_by_key(|event| event.ts);
        match self.kind {
            Kind::BatchAttributes | Kind::StreamAttributes => self.attributes(&own, t),
            _ if self.by_s => self.lists_by_s(&own, t),
            _ => self.features.iter().map(|feature| self.feature(&own, feature, t)).collect(),
        }
    }

    fn is_known(&self, event: &Event, t: Option<i64>) -> bool {
        !self.known_at || matches!((event.known, t), (Some(known), Some(t)) if known <= t)
    }

    /// The keys that a scan at `t` finds, ascending: those with an event that any answer at or before `t` can see.
    pub fn keys(&self, events: &[Event], t: i64) -> Vec<&'static str> {
        let seen = |event: &&Event| {
            let passed = match self.kind {
                Kind::StreamContinuous | Kind::StreamAttributes => event.ts <= t,
                _ => event.ts < self.edge(t),
            };
            let counts = !self.by_s || event.s.is_some();
            passed && counts && event.ts >= self.first_seen() && self.is_known(event, Some(t))
        };
        let mut keys: Vec<&str> = events.iter().filter(seen).filter_map(|event| event.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The earliest event that is in some window at the feature start time, or later.
    fn first_seen(&self) -> i64 {
        let Some(start) = self.start else { return i64::MIN };
        let edge = match self.kind {
            Kind::BatchAttributes | Kind::StreamAttributes => return start,
            Kind::BatchAggregates => -floor(-start, self.schedule),
            Kind::StreamTiled => -floor(-start, self.interval),
            Kind::StreamContinuous => start,
        };
        let first = |window: &Window| match *window {
            Window::Last { size, offset } => self.window_start(edge, offset - size, offset),
            Window::Series { from, size, .. } => self.window_start(edge, from, from + size),
            Window::Lifetime => self.lifetime_start.unwrap_or(start),
        };
        self.features.iter().map(|feature| first(&feature.window)).min().unwrap_or(start)
    }

    /// The first time inside of the window `from` to `to`, relative to `edge`.
    fn window_start(&self, edge: i64, from: i64, to: i64) -> i64 {
        let size = to - from;
        match self.kind {
            Kind::StreamContinuous if self.compaction && size >= 48 * HOUR => {
                let step = if size <= 240 * HOUR { HOUR } else { 24 * HOUR };
                floor(edge + to, step) - size
            }
            Kind::StreamContinuous => edge + from + 1,
            _ => edge + from,
        }
    }

    fn attributes(&self, own: &[&Event], t: Option<i64>) -> Vec<Option<Value>> {
        let mut nothing = vec![None; 4];
        nothing.extend(self.known_at.then_some(None));
        let Some(t) = t else { return nothing };
        let chosen = own
            .iter()
            .filter(|event| self.start.is_none_or(|start| event.ts >= start))
            .filter(|event| self.effective(event.ts) <= t)
            .next_back();
        let Some(chosen) = chosen else { return nothing };
        if self.ttl.is_some_and(|ttl| t >= self.effective(chosen.ts + ttl)) {
            return nothing;
        }
        let p = chosen.n.map(|n| Value::Bool(n > 0));
        let mut row =
            vec![chosen.v.map(Value::Float), chosen.n.map(Value::Int), chosen.s.map(|s| Value::Text(s.into())), p];
        row.extend(self.known_at.then_some(chosen.known.map(Value::Int)));
        row
    }

    fn feature(&self, own: &[&Event], feature: &Feature, t: Option<i64>) -> Option<Value> {
        let Feature { function, is_filtered, window } = *feature;
        let counts = |event: &&&Event| !is_filtered || passes(event);
        let own: Vec<&Event> = own.iter().filter(counts).copied().collect();
        // Without a time there is no window and no start: the value of an empty window.
        let Some(t) = t else {
            return match window {
                Window::Series { .. } => series(window, |_, _| aggregate(function, &[])),
                _ => aggregate(function, &[]),
            };
        };
        let edge = self.edge(t);
        if self.start.is_some_and(|start| edge < start) {
            return None;
        }
        match window {
            Window::Series { .. } => series(window, |from, to| aggregate(function, &self.inside(&own, edge, from, to))),
            _ => aggregate(function, &self.rows_in(&own, window, edge)),
        }
    }

    /// Those of a window that is no series.
    fn rows_in<'a>(&self, own: &[&'a Event], window: Window, edge: i64) -> Vec<&'a Event> {
        match window {
            Window::Last { size, offset } => self.inside(own, edge, offset - size, offset),
            Window::Lifetime => {
                let from = self.lifetime_start.or(self.start).unwrap_or(i64::MIN);
                let passed = |ts: i64| if self.kind == Kind::StreamContinuous { ts <= edge } else { ts < edge };
                own.iter().filter(|event| event.ts >= from && passed(event.ts)).copied().collect()
            }
            Window::Series { .. } => unreachable!("a series has many windows"),
        }
    }

    fn inside<'a>(&self, own: &[&'a Event], edge: i64, from: i64, to: i64) -> Vec<&'a Event> {
        own.iter()
            .filter(|event| event.ts >= self.window_start(edge, from, to))
            .filter(|event| match self.kind {
                Kind::StreamContinuous => event.ts <= edge + to,
                _ => event.ts < edge + to,
            })
            .copied()
            .collect()
    }

    /// Of every window the values of s in it, in front of its first feature; then of every feature one value for each
    /// of those.
    fn lists_by_s(&self, own: &[&Event], t: Option<i64>) -> Vec<Option<Value>> {
        let before_start = t.is_some_and(|t| self.start.is_some_and(|start| self.edge(t) < start));
        let mut windows: Vec<Window> = Vec::new();
        let mut row = Vec::new();
        for Feature { function, is_filtered, window } in &self.features {
            let rows = t.map_or(Vec::new(), |t| self.rows_in(own, *window, self.edge(t)));
            let mut keys: Vec<&str> = rows.iter().filter_map(|event| event.s).collect();
            keys.sort_unstable();
            keys.dedup();
            if !windows.contains(window) {
                windows.push(*window);
                row.push(list(keys.iter().map(|key| text(key))).filter(|_| !before_start));
            }
            let values: Vec<Option<Value>> = keys
                .iter()
                .map(|key| rows.iter().filter(|event| event.s == Some(key)))
                .map(|rows| rows.filter(|event| !is_filtered || passes(event)).copied().collect::<Vec<_>>())
                .map(|rows| aggregate(*function, &rows))
                .collect();
            row.push(Some(Value::List(values.into())).filter(|_| !before_start));
        }
        row
    }
}

fn series(window: Window, value: impl Fn(i64, i64) -> Option<Value>) -> Option<Value> {
    let Window::Series { from, to, size, step } = window else { unreachable!("asked of a series only") };
    let mut values = Vec::new();
    let mut start = from;
    while start + size <= to {
        values.push(value(start, start + size));
        start += step;
    }
    Some(Value::List(values.into()))
}

fn text(s: &str) -> Value {
    Value::Text(s.into())
}

fn list(values: impl IntoIterator<Item = Value>) -> Option<Value> {
    Some(Value::List(values.into_iter().map(Some).collect::<Vec<_>>().into()))
}

/// PostgreSQL's order: NaN is greater than every number.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn aggregate(function: usize, rows: &[&Event]) -> Option<Value> {
    let v: Vec<f64> = rows.iter().filter_map(|row| row.v).collect();
    let n: Vec<i64> = rows.iter().filter_map(|row| row.n).collect();
    let p: Vec<bool> = n.iter().map(|n| *n > 0).collect();
    let s: Vec<&str> = rows.iter().filter_map(|row| row.s).collect();
    let n_as_floats: Vec<f64> = n.iter().map(|n| *n as f64).collect();
    let count = |count: usize| Some(Value::Int(count as i64));
    match FUNCTIONS[function].0 {
        "count(*)" => count(rows.len()),
        "count(v)" => count(v.len()),
        "sum(v)" => some(!v.is_empty(), v.iter().sum()),
        "sum(n)" => (!n.is_empty()).then(|| Value::Int(n.iter().sum())),
        "avg(v)" => some(!v.is_empty(), mean(&v)),
        "avg(n)" => some(!n.is_empty(), mean(&n_as_floats)),
        "min(v)" => v.iter().copied().min_by(|a, b| order(*a, *b)).map(Value::Float),
        "max(v)" => v.iter().copied().max_by(|a, b| order(*a, *b)).map(Value::Float),
        "max(n)" => n.iter().copied().max().map(Value::Int),
        "min(s)" => s.iter().min().map(|s| text(s)),
        "max(s)" => s.iter().max().map(|s| text(s)),
        "bool_and(p)" => (!p.is_empty()).then(|| Value::Bool(p.iter().all(|p| *p))),
        "bool_or(p)" => (!p.is_empty()).then(|| Value::Bool(p.iter().any(|p| *p))),
        "var_pop(v)" => some(!v.is_empty(), power_sum(&v, 2) / v.len() as f64),
        "var_samp(n)" => some(n.len() > 1, power_sum(&n_as_floats, 2) / (n.len() as f64 - 1.0)),
        "stddev_pop(v)" => some(!v.is_empty(), (power_sum(&v, 2) / v.len() as f64).sqrt()),
        "stddev_samp(v)" => some(v.len() > 1, (power_sum(&v, 2) / (v.len() as f64 - 1.0)).sqrt()),
        "skewness(v)" => {
            let (m2, m3) = (power_sum(&v, 2) / v.len() as f64, power_sum(&v, 3) / v.len() as f64);
            some(differ(&v), m3 / m2.powf(1.5))
        }
        "kurtosis(n)" => {
            let (m2, m4) = (power_sum(&n_as_floats, 2) / n.len() as f64, power_sum(&n_as_floats, 4) / n.len() as f64);
            some(differ(&n_as_floats), m4 / m2.powi(2) - 3.0)
        }
        "last(v)" => v.last().copied().map(Value::Float),
        "first(s)" => s.first().map(|s| text(s)),
        "last(s, 3)" => list(s[s.len().saturating_sub(3)..].iter().map(|s| text(s))),
        "first(v, 2)" => list(v.iter().take(2).copied().map(Value::Float)),
        "last_distinct(s, 2)" => {
            let mut newest: Vec<&str> = Vec::new();
            for s in s.iter().rev() {
                if !newest.contains(s) {
                    newest.push(s);
                }
            }
            newest.truncate(2);
            newest.reverse();
            list(newest.into_iter().map(text))
        }
        "first_distinct(s, 2)" => {
            let mut oldest: Vec<&str> = Vec::new();
            for s in &s {
                if !oldest.contains(s) {
                    oldest.push(s);
                }
            }
            oldest.truncate(2);
            list(oldest.into_iter().map(text))
        }
        "ewma(v, INTERVAL '2 hours')" => {
            let newest = rows.iter().filter(|row| row.v.is_some()).map(|row| row.ts).max()?;
            let weight = |row: &Event| 0.5_f64.powf((newest - row.ts) as f64 / (2 * HOUR) as f64);
            let of_rows = || rows.iter().filter_map(|row| Some((row.v?, weight(row))));
            some(true, of_rows().map(|(v, weight)| v * weight).sum::<f64>() / of_rows().map(|pair| pair.1).sum::<f64>())
        }
        "count_distinct(s)" | "approx_count_distinct(s)" => count(by_frequency(&s).len()),
        "count_distinct(v)" => {
            let mut distinct: Vec<f64> = Vec::new();
            for v in v {
                if !distinct.iter().any(|other| order(*other, v).is_eq()) {
                    distinct.push(v);
                }
            }
            count(distinct.len())
        }
        "median(v)" => percentile(&v, 0.5),
        "approx_percentile(v, 0.9)" => percentile(&v, 0.9),
        "mode(s)" => by_frequency(&s).first().map(|s| text(s)),
        "mode(n)" => by_frequency(&n).first().copied().map(Value::Int),
        "entropy(s)" => {
            let share = |value: &&str| s.iter().filter(|s| *s == value).count() as f64 / s.len() as f64;
            let bits = by_frequency(&s).iter().map(share).map(|share| -share * share.log2()).sum();
            some(!s.is_empty(), bits)
        }
        "arg_max(s, v)" => {
            let pairs = rows.iter().filter_map(|row| Some((row.v?, text(row.s?))));
            best(pairs, |a, b| order(*a, *b))
        }
        "arg_min(n, v)" => {
            let pairs = rows.iter().filter_map(|row| Some((row.v?, Value::Int(row.n?))));
            best(pairs, |a, b| order(*b, *a))
        }
        "arg_max(v, s)" => {
            let pairs = rows.iter().filter_map(|row| Some((row.s?, Value::Float(row.v?))));
            best(pairs, |a, b| a.cmp(b))
        }
        "top_k(s, 2)" => list(by_frequency(&s).into_iter().take(2).map(text)),
        "histogram(v, -5, 5, 4)" if v.is_empty() => list([]),
        "histogram(v, -5, 5, 4)" => {
            // below, [-5, -2.5), [-2.5, 0), [0, 2.5), [2.5, 5), from there on
            let bucket = |v: &f64| [-5.0, -2.5, 0.0, 2.5, 5.0].iter().filter(|from| order(**from, *v).is_le()).count();
            let counts = (0..6).map(|number| v.iter().filter(|v| bucket(v) == number).count() as i64);
            list(counts.map(Value::Int))
        }
        other => unreachable!("{other} has no oracle"),
    }
}

fn some(is_there: bool, value: f64) -> Option<Value> {
    is_there.then_some(Value::Float(value))
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// Of the differences from the mean.
fn power_sum(x: &[f64], power: i32) -> f64 {
    x.iter().map(|value| (value - mean(x)).powi(power)).sum()
}

/// Whether not all are the same number; NaN and infinities are not.
fn differ(x: &[f64]) -> bool {
    x.iter().any(|value| *value != x[0] || !value.is_finite())
}

/// As percentile_cont, over what is finite.
fn percentile(x: &[f64], p: f64) -> Option<Value> {
    let mut sorted: Vec<f64> = x.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let place = p * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(Value::Float(low + (high - low) * place.fract()))
}

/// The value beside the greatest, of equals the latest.
fn best<T>(pairs: impl Iterator<Item = (T, Value)>, compare: impl Fn(&T, &T) -> Ordering) -> Option<Value> {
    pairs.reduce(|best, pair| if compare(&best.0, &pair.0).is_gt() { best } else { pair }).map(|(_, value)| value)
}

/// Most frequent first, ties in the order of values.
fn by_frequency<T: Ord + Copy>(values: &[T]) -> Vec<T> {
    let mut distinct = values.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.sort_by_key(|value| std::cmp::Reverse(values.iter().filter(|other| *other == value).count()));
    distinct
}
