//! Which rows or tiles an asked time sees. Pure arithmetic on microseconds; nothing here overflows, it saturates.
//!
//! Notation: `T` the asked time, `E` the leading edge, `I` the tile width, `B` the schedule, `D` the data delay, `W`
//! and `O` size and offset (<= 0) of a window. All spans are half-open; the continuous window `(T-W+O, T+O]` is
//! `[T-W+O+1, T+O+1)`. An item at `i64::MAX`, which stands for infinity, is in no window.

use granary_catalog::object::RelativeSpan;

use super::{ViewKind, Window};

/// How a feature view's values depend on time. Lengths are microseconds; those that a kind does not have are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    pub kind: ViewKind,
    /// `I`, of tiled aggregates.
    pub interval_us: i64,
    /// `B`, of batch views; a multiple of `I`.
    pub schedule_us: i64,
    /// `D`, of batch views; stream views ignore it.
    pub delay_us: i64,
    /// The feature start time: values before it are NULL.
    pub start_us: Option<i64>,
    /// Where LIFETIME windows begin; without it at `start_us`. In a tiled view a tile that it cuts does not
    /// count, so it should be a multiple of `I`.
    pub lifetime_start_us: Option<i64>,
    /// Of attributes.
    pub ttl_us: Option<i64>,
    /// Of continuous views: long windows begin at `floor(T, s) - W`, inclusive, so that their trailing edge moves in
    /// steps (a sawtooth). Off: every window is exact.
    pub compaction: bool,
}

/// A half-open span `[start_us, end_us)` of event times, or of tile anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub start_us: i64,
    pub end_us: i64,
}

impl Bounds {
    pub fn is_empty(&self) -> bool {
        self.start_us >= self.end_us
    }

    pub fn contains(&self, time_us: i64) -> bool {
        self.start_us <= time_us && time_us < self.end_us
    }
}

impl Timing {
    /// Where windows end for the asked time: `floor(T - D, B)` of batch aggregates (and where the periods end whose
    /// rows batch attributes see), `floor(T, I)` of tiled streams, `T` itself otherwise.
    pub fn leading_edge(&self, asked_us: i64) -> i64 {
        match self.kind {
            ViewKind::BatchAggregates | ViewKind::BatchAttributes => {
                floor(asked_us.saturating_sub(self.delay_us), self.schedule_us)
            }
            ViewKind::StreamTiled => floor(asked_us, self.interval_us),
            ViewKind::StreamContinuous | ViewKind::StreamAttributes => asked_us,
        }
    }

    /// Whether every feature is NULL because the window's end is before the feature start time. Never of attributes:
    /// there it is rows before the start that do not exist.
    pub fn is_before_start(&self, asked_us: i64) -> bool {
        self.is_edge_before_start(self.leading_edge(asked_us))
    }

    /// The same of a window that ends at `edge_us`.
    pub(super) fn is_edge_before_start(&self, edge_us: i64) -> bool {
        self.kind.has_aggregates() && self.start_us.is_some_and(|start_us| edge_us < start_us)
    }

    /// The widths of the levels by which states are merged, ascending: those of 20 ms, a second, a minute, an hour and a
    /// day that are proper multiples of the tiles' width. Each is a multiple of the one before it.
    pub fn levels(&self) -> impl Iterator<Item = i64> + use<> {
        const LEVELS_US: [i64; 5] = [20_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000];
        let item_us = match self.kind {
            ViewKind::BatchAggregates | ViewKind::StreamTiled => self.interval_us,
            _ => 0,
        };
        let is_level = move |width_us: &i64| *width_us > item_us && (item_us <= 0 || width_us % item_us == 0);
        LEVELS_US.into_iter().filter(is_level)
    }

    /// From when on an attribute row of time `ts_us` can be seen: the end of its schedule period plus the delay for
    /// batch views, at once for streams.
    pub fn effective(&self, ts_us: i64) -> i64 {
        match self.kind {
            ViewKind::BatchAttributes => {
                let period = floor(ts_us, self.schedule_us);
                period.saturating_add(self.schedule_us).saturating_add(self.delay_us)
            }
            _ => ts_us,
        }
    }

    /// Whether an attribute row of time `ts_us` has outlived its TTL at `asked_us`.
    pub fn is_expired(&self, ts_us: i64, asked_us: i64) -> bool {
        self.ttl_us.is_some_and(|ttl_us| asked_us >= self.effective(ts_us.saturating_add(ttl_us)))
    }

    /// The anchor of the tile that a row of time `ts_us` belongs to.
    pub fn tile_anchor(&self, ts_us: i64) -> i64 {
        floor(ts_us, self.interval_us)
    }

    /// The anchors (tiled) or event times (continuous) inside `window`; of a series, from its first to its last.
    /// Both ends ascend with `asked_us`.
    pub fn bounds(&self, window: &Window, asked_us: i64) -> Bounds {
        let edge_us = self.leading_edge(asked_us);
        match window {
            Window::Series { .. } => {
                let whole = self.place(window.span(), edge_us);
                let first = window.series().next().map(|span| self.place(span, edge_us));
                Bounds { start_us: first.unwrap_or(whole).start_us, end_us: whole.end_us }
            }
            _ => self.place(window.span(), edge_us),
        }
    }

    /// The windows of a series, earliest first; of any other window, just that.
    pub fn sub_bounds(&self, window: &Window, asked_us: i64) -> impl Iterator<Item = Bounds> {
        let edge_us = self.leading_edge(asked_us);
        spans(window).map(move |span| self.place(span, edge_us))
    }

    /// Where a span lies for the leading edge `edge_us`.
    pub(super) fn place(&self, span: RelativeSpan, edge_us: i64) -> Bounds {
        // (a, b] of whole microseconds is [a + 1, b + 1)
        let closed_end_us = match self.kind {
            ViewKind::StreamContinuous => 1,
            _ => 0,
        };
        let end_us = add(edge_us, span.end_us, closed_end_us);
        let Some(start_us) = span.start_us else { return Bounds { start_us: self.lifetime_start(), end_us } };
        let size_us = span.end_us.saturating_sub(start_us);
        let start_us = match self.sawtooth_step(size_us) {
            Some(step_us) => floor(edge_us.saturating_add(span.end_us), step_us).saturating_sub(size_us),
            None => add(edge_us, start_us, closed_end_us),
        };
        Bounds { start_us, end_us }
    }

    /// By how much the trailing edge of a window of this size moves at a time; `None` if it does not move in steps.
    pub(super) fn sawtooth_step(&self, size_us: i64) -> Option<i64> {
        const HOUR_US: i64 = 3_600_000_000;
        const DAY_US: i64 = 24 * HOUR_US;
        match size_us {
            _ if !self.compaction || self.kind != ViewKind::StreamContinuous => None,
            _ if size_us < 2 * DAY_US => None,
            _ if size_us <= 10 * DAY_US => Some(HOUR_US),
            _ => Some(DAY_US),
        }
    }

    /// Where LIFETIME windows begin; `i64::MIN` without limit. Of tiles, the first whole one.
    fn lifetime_start(&self) -> i64 {
        let start_us = self.lifetime_start_us.or(self.start_us).unwrap_or(i64::MIN);
        match self.kind {
            ViewKind::BatchAggregates | ViewKind::StreamTiled if start_us > i64::MIN => {
                ceil(start_us, self.interval_us)
            }
            _ => start_us,
        }
    }

    /// The event times of the attribute rows among which the newest decides: it is the answer unless it is older than
    /// these. Follows from section 4 of the semantics: `effective(ts) <= T` is `ts < E` for batch, and
    /// `T < effective(ts + ttl)` is `ts >= E - ttl`; for streams `T - ttl < ts <= T`.
    pub fn attribute_bounds(&self, asked_us: i64) -> Bounds {
        let edge_us = self.leading_edge(asked_us);
        let closed_end_us = if self.kind.is_stream() { 1 } else { 0 };
        let oldest_us = self.ttl_us.map_or(i64::MIN, |ttl_us| add(edge_us, ttl_us.saturating_neg(), closed_end_us));
        let start_us = oldest_us.max(self.start_us.unwrap_or(i64::MIN));
        Bounds { start_us, end_us: edge_us.saturating_add(closed_end_us) }
    }

    /// The event times `[start, end)` that must be materialized to answer at all of `asked`; `None` if nothing is
    /// needed. `i64::MIN` as start means without limit.
    ///
    /// * Aggregates: from the earliest start to the latest end of any window at any asked time, since tiles and rows
    ///   outside of the windows are not read. Bounds of tiles are bounds of their rows too: a tile `[a, a + I)` with
    ///   `a < E` ends by `E`, both being multiples of `I`. Asked times before the feature start time need nothing, as
    ///   their answer is NULL; all others have `E >= start`, so nothing before `start - longest window` (or the
    ///   lifetime start) is ever asked for.
    /// * Attributes: the rows of [`Timing::attribute_bounds`], never before the feature start time.
    pub fn required_range(&self, windows: &[Window], asked: impl IntoIterator<Item = i64>) -> Option<(i64, i64)> {
        let mut range: Option<(i64, i64)> = None;
        let mut need = |bounds: Bounds| {
            if !bounds.is_empty() {
                let (start_us, end_us) = range.unwrap_or((bounds.start_us, bounds.end_us));
                range = Some((start_us.min(bounds.start_us), end_us.max(bounds.end_us)));
            }
        };
        for asked_us in asked {
            if !self.kind.has_aggregates() {
                need(self.attribute_bounds(asked_us));
            } else if !self.is_before_start(asked_us) {
                windows.iter().for_each(|window| need(self.bounds(window, asked_us)));
            }
        }
        range
    }

    /// The first event time that any value can depend on, floored to a whole tile: from here a view is materialized.
    /// `None`: there is no limit.
    pub fn materialized_from(&self, windows: &[Window]) -> Option<i64> {
        let start_us = self.start_us?;
        let first_asked_us = match self.kind {
            ViewKind::BatchAttributes | ViewKind::StreamAttributes => return Some(start_us),
            ViewKind::BatchAggregates => ceil(start_us, self.schedule_us).saturating_add(self.delay_us),
            ViewKind::StreamTiled => ceil(start_us, self.interval_us),
            ViewKind::StreamContinuous => start_us,
        };
        // bounds ascend with the asked time, so the first one reaches back farthest
        let first_us = windows.iter().map(|window| self.bounds(window, first_asked_us).start_us).min()?;
        let limited = first_us > i64::MIN;
        limited.then(|| if self.kind == ViewKind::StreamContinuous { first_us } else { self.tile_anchor(first_us) })
    }
}

/// The windows of a series, earliest first; of any other window, just that.
pub(super) fn spans(window: &Window) -> impl Iterator<Item = RelativeSpan> + use<> {
    let single = (!matches!(window, Window::Series { .. })).then(|| window.span());
    single.into_iter().chain(window.series())
}

/// The name of a window inside column names: `7d`, `1h`, `7d_offset_7d`, `lifetime`.
pub fn window_label(window: &Window) -> String {
    match *window {
        Window::Last { size_us, offset_us: 0 } => duration_label(size_us),
        Window::Last { size_us, offset_us } => {
            format!("{}_offset_{}", duration_label(size_us), duration_label(offset_us))
        }
        Window::Lifetime => "lifetime".to_owned(),
        Window::Series { from_us, to_us, size_us, step_us } => format!(
            "series_{}_to_{}_size_{}_step_{}",
            duration_label(from_us),
            duration_label(to_us),
            duration_label(size_us),
            duration_label(step_us)
        ),
    }
}

/// A length without its sign, in the greatest unit that it is a multiple of.
fn duration_label(length_us: i64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
    let length_us = length_us.unsigned_abs();
    let fits = |(unit_us, _): &&(u64, &str)| length_us.is_multiple_of(*unit_us);
    let (unit_us, name) = UNITS.iter().find(fits).unwrap_or(&(1, "us"));
    format!("{}{name}", length_us / unit_us)
}

/// `floor(t, width)`; `t` itself where there is no width.
pub(super) fn floor(t_us: i64, width_us: i64) -> i64 {
    if width_us <= 0 {
        return t_us;
    }
    t_us.saturating_sub(t_us.rem_euclid(width_us))
}

pub(super) fn ceil(t_us: i64, width_us: i64) -> i64 {
    let floored = floor(t_us, width_us);
    if floored == t_us || width_us <= 0 { t_us } else { floored.saturating_add(width_us) }
}

/// The sum of three, saturated once.
fn add(a: i64, b: i64, c: i64) -> i64 {
    if let Some(sum) = a.checked_add(b).and_then(|sum| sum.checked_add(c)) {
        return sum;
    }
    let sum = i128::from(a) + i128::from(b) + i128::from(c);
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}
