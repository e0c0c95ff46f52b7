//! The law, done the slow way: for one asked time, look at every event and decide. Nothing here is shared with the
//! warehouse but the words.

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
    /// of aggregates: the number of a function below, and its window
    pub features: Vec<(usize, Window)>,
}

fn floor(t: i64, width: i64) -> i64 {
    t - t.rem_euclid(width)
}

/// The functions: how they are written in SQL, and whether they give one value that a series can hold.
pub const FUNCTIONS: [(&str, bool); 23] = [
    ("count(*)", true),
    ("count(v)", true),
    ("sum(v)", true),
    ("sum(n)", true),
    ("avg(v)", true),
    ("min(v)", true),
    ("max(n)", true),
    ("min(s)", true),
    ("var_pop(v)", true),
    ("stddev_samp(v)", true),
    ("last(v)", true),
    ("first(s)", true),
    ("last(s, 3)", false),
    ("first(v, 2)", false),
    ("last_distinct(s, 2)", false),
    ("first_distinct(s, 2)", false),
    ("count_distinct(s)", true),
    ("median(v)", true),
    ("mode(s)", true),
    ("arg_max(s, v)", true),
    ("top_k(s, 2)", false),
    ("sum(v) FILTER (WHERE n > 1)", true),
    ("count(*) FILTER (WHERE s = 'x')", true),
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

    /// The features of `key` at `t`, in the order declared; attributes v, n, s, and known if it matters.
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
            _ => self.features.iter().map(|(function, window)| self.feature(&own, *function, *window, t)).collect(),
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
        self.features.iter().map(|(_, window)| first(window)).min().unwrap_or(start)
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
        let mut nothing = vec![None, None, None];
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
        let mut row =
            vec![chosen.v.map(Value::Float), chosen.n.map(Value::Int), chosen.s.map(|s| Value::Text(s.into()))];
        row.extend(self.known_at.then_some(chosen.known.map(Value::Int)));
        row
    }

    fn feature(&self, own: &[&Event], function: usize, window: Window, t: Option<i64>) -> Option<Value> {
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
            Window::Series { .. } => series(window, |from, to| aggregate(function, &self.inside(own, edge, from, to))),
            _ => aggregate(function, &self.rows_in(own, window, edge)),
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
        for (function, window) in &self.features {
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
                .map(|key| rows.iter().filter(|event| event.s == Some(key)).copied().collect::<Vec<_>>())
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

fn aggregate(function: usize, rows: &[&Event]) -> Option<Value> {
    let v: Vec<f64> = rows.iter().filter_map(|row| row.v).collect();
    let n: Vec<i64> = rows.iter().filter_map(|row| row.n).collect();
    let s: Vec<&str> = rows.iter().filter_map(|row| row.s).collect();
    let count = |count: usize| Some(Value::Int(count as i64));
    let mean = || v.iter().sum::<f64>() / v.len() as f64;
    let squares = || v.iter().map(|x| (x - mean()) * (x - mean())).sum::<f64>();
    let some = |there: bool, value: f64| there.then_some(Value::Float(value));
    match FUNCTIONS[function].0 {
        "count(*)" => count(rows.len()),
        "count(v)" => count(v.len()),
        "sum(v)" => some(!v.is_empty(), v.iter().sum()),
        "sum(n)" => (!n.is_empty()).then(|| Value::Int(n.iter().sum())),
        "avg(v)" => some(!v.is_empty(), mean()),
        "min(v)" => v.iter().copied().reduce(f64::min).map(Value::Float),
        "max(n)" => n.iter().copied().max().map(Value::Int),
        "min(s)" => s.iter().min().map(|s| text(s)),
        "var_pop(v)" => some(!v.is_empty(), squares() / v.len() as f64),
        "stddev_samp(v)" => some(v.len() > 1, (squares() / (v.len() as f64 - 1.0)).sqrt()),
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
        "count_distinct(s)" => {
            let mut distinct = s.clone();
            distinct.sort_unstable();
            distinct.dedup();
            count(distinct.len())
        }
        "median(v)" => {
            let mut sorted = v.clone();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.len() / 2;
            match sorted.len() {
                0 => None,
                length if length % 2 == 1 => Some(Value::Float(sorted[middle])),
                _ => Some(Value::Float((sorted[middle - 1] + sorted[middle]) / 2.0)),
            }
        }
        "mode(s)" => by_frequency(&s).first().map(|s| text(s)),
        "arg_max(s, v)" => {
            let pairs = rows.iter().filter_map(|row| Some((row.v?, row.s?)));
            let best = pairs.fold(None, |best: Option<(f64, &str)>, pair| match best {
                Some(best) if best.0 > pair.0 => Some(best),
                _ => Some(pair),
            });
            best.map(|(_, s)| text(s))
        }
        "top_k(s, 2)" => list(by_frequency(&s).into_iter().take(2).map(text)),
        "sum(v) FILTER (WHERE n > 1)" => {
            let v: Vec<f64> = rows.iter().filter(|row| row.n.is_some_and(|n| n > 1)).filter_map(|row| row.v).collect();
            some(!v.is_empty(), v.iter().sum())
        }
        "count(*) FILTER (WHERE s = 'x')" => count(rows.iter().filter(|row| row.s == Some("x")).count()),
        other => unreachable!("{other} has no oracle"),
    }
}

/// Most frequent first, ties in the order of values.
fn by_frequency<'a>(s: &[&'a str]) -> Vec<&'a str> {
    let mut distinct: Vec<&str> = s.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.sort_by_key(|value| std::cmp::Reverse(s.iter().filter(|other| *other == value).count()));
    distinct
}
