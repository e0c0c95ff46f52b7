//! Time windows of aggregates, relative to a leading edge. Pure arithmetic in microseconds.
//!
//! Spans here are half-open `[start, end)` and relative: add the leading edge to place them. A continuous window is
//! closed at the other end, `(start, end]`; who evaluates it knows which of the two it is.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    /// The last `size_us`, moved back by `offset_us`, which is zero or negative.
    Last { size_us: i64, offset_us: i64 },
    /// Everything since the view's lifetime start.
    Lifetime,
    /// Windows of `size_us` that start every `step_us` from `from_us` on and end by `to_us`; both are relative to
    /// the leading edge, so zero or negative.
    Series { from_us: i64, to_us: i64, size_us: i64, step_us: i64 },
}

/// A stretch of time relative to a leading edge; `start_us` is `None` where it reaches back without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativeSpan {
    pub start_us: Option<i64>,
    pub end_us: i64,
}

/// How far back from the leading edge rows still matter. `Bounded` orders before `Unbounded`, so `max` works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    Bounded(i64),
    Unbounded,
}

impl Reach {
    /// The reach in microseconds, `None` if it has no limit.
    pub fn bounded_us(self) -> Option<i64> {
        match self {
            Reach::Bounded(reach_us) => Some(reach_us),
            Reach::Unbounded => None,
        }
    }
}

impl Window {
    /// The span that covers the whole window; of a series, all its windows.
    pub fn span(&self) -> RelativeSpan {
        match *self {
            Window::Last { size_us, offset_us } => {
                RelativeSpan { start_us: Some(offset_us.saturating_sub(size_us)), end_us: offset_us }
            }
            Window::Lifetime => RelativeSpan { start_us: None, end_us: 0 },
            Window::Series { from_us, size_us, step_us, .. } => {
                let steps = i128::from(self.series_len().saturating_sub(1)) * i128::from(step_us);
                let end_us = i128::from(from_us) + steps + i128::from(size_us);
                RelativeSpan {
                    start_us: Some(from_us),
                    // No window at all, so nothing is covered.
                    end_us: if self.series_len() == 0 {
                        from_us
                    } else {
                        i64::try_from(end_us).expect("the last window ends by to_us")
                    },
                }
            }
        }
    }

    /// How far back from the leading edge the window reaches.
    pub fn reach(&self) -> Reach {
        match self.span().start_us {
            Some(start_us) => Reach::Bounded(start_us.saturating_neg()),
            None => Reach::Unbounded,
        }
    }

    /// The windows of a series, earliest first; nothing for the other forms.
    pub fn series(&self) -> SeriesWindows {
        match *self {
            Window::Series { from_us, to_us, size_us, step_us } if size_us > 0 && step_us > 0 => {
                SeriesWindows { next_start_us: Some(from_us), to_us, size_us, step_us }
            }
            _ => SeriesWindows { next_start_us: None, to_us: 0, size_us: 1, step_us: 1 },
        }
    }

    /// How many windows a series has; zero for the other forms. Computed, not counted: a careless step may make
    /// billions of them.
    pub fn series_len(&self) -> u64 {
        match *self {
            Window::Series { from_us, to_us, size_us, step_us } if size_us > 0 && step_us > 0 => {
                let room_us = i128::from(to_us) - i128::from(from_us) - i128::from(size_us);
                if room_us < 0 {
                    return 0;
                }
                u64::try_from(room_us / i128::from(step_us) + 1).expect("an i64 span has fewer than 2^64 windows + 1")
            }
            _ => 0,
        }
    }

    /// Every length that must be a multiple of the aggregation interval in a tiled view.
    pub fn lengths_us(&self) -> Vec<i64> {
        match *self {
            Window::Last { size_us, offset_us } => vec![size_us, offset_us],
            Window::Lifetime => Vec::new(),
            Window::Series { from_us, to_us, size_us, step_us } => vec![from_us, to_us, size_us, step_us],
        }
    }

    pub fn is_aligned_to(&self, interval_us: i64) -> bool {
        interval_us > 0 && self.lengths_us().iter().all(|length_us| length_us % interval_us == 0)
    }
}

/// Walks the windows of a series.
#[derive(Debug, Clone)]
pub struct SeriesWindows {
    next_start_us: Option<i64>,
    to_us: i64,
    size_us: i64,
    step_us: i64,
}

impl Iterator for SeriesWindows {
    type Item = RelativeSpan;

    fn next(&mut self) -> Option<RelativeSpan> {
        let start_us = self.next_start_us.take()?;
        let end_us = start_us.checked_add(self.size_us).filter(|&end_us| end_us <= self.to_us)?;
        // At the end of the number line there is no next window, and the walk stops.
        self.next_start_us = start_us.checked_add(self.step_us);
        Some(RelativeSpan { start_us: Some(start_us), end_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start_us: i64, end_us: i64) -> RelativeSpan {
        RelativeSpan { start_us: Some(start_us), end_us }
    }

    #[test]
    fn last_reaches_back_by_size_and_offset() {
        let window = Window::Last { size_us: 7, offset_us: -3 };
        assert_eq!(window.span(), span(-10, -3));
        assert_eq!(window.reach(), Reach::Bounded(10));
        assert_eq!(window.series().count(), 0);
    }

    #[test]
    fn lifetime_has_no_limit() {
        assert_eq!(Window::Lifetime.span(), RelativeSpan { start_us: None, end_us: 0 });
        assert_eq!(Window::Lifetime.reach(), Reach::Unbounded);
        assert!(Reach::Bounded(i64::MAX) < Reach::Unbounded);
    }

    #[test]
    fn series_stops_where_a_window_would_pass_the_end() {
        let window = Window::Series { from_us: -10, to_us: -1, size_us: 4, step_us: 3 };
        let windows: Vec<_> = window.series().collect();
        assert_eq!(windows, [span(-10, -6), span(-7, -3)]);
        assert_eq!(window.span(), span(-10, -3));
        assert_eq!(window.reach(), Reach::Bounded(10));
    }

    #[test]
    fn series_length_is_what_a_walk_counts() {
        for from_us in -9..0 {
            for to_us in from_us..=0 {
                for size_us in -1..5 {
                    for step_us in -1..5 {
                        let window = Window::Series { from_us, to_us, size_us, step_us };
                        assert_eq!(window.series().count() as u64, window.series_len(), "{window:?}");
                        let last_end = window.series().last().map_or(from_us, |last| last.end_us);
                        assert_eq!(window.span(), span(from_us, last_end), "{window:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn extreme_lengths_do_not_overflow() {
        let window = Window::Last { size_us: i64::MAX, offset_us: i64::MIN };
        assert_eq!(window.reach(), Reach::Bounded(i64::MAX));
        let window = Window::Series { from_us: i64::MIN, to_us: 0, size_us: 1, step_us: 1 };
        assert_eq!(window.series_len(), 1 << 63);
        assert_eq!(window.span(), span(i64::MIN, 0));
        let window = Window::Series { from_us: -1, to_us: i64::MAX, size_us: i64::MAX, step_us: i64::MAX };
        assert_eq!(window.series().count(), 1);
    }

    #[test]
    fn alignment_looks_at_every_length() {
        assert!(Window::Last { size_us: 6, offset_us: -3 }.is_aligned_to(3));
        assert!(!Window::Last { size_us: 6, offset_us: -2 }.is_aligned_to(3));
        assert!(!Window::Series { from_us: -6, to_us: 0, size_us: 3, step_us: 2 }.is_aligned_to(3));
        assert!(Window::Lifetime.is_aligned_to(3));
        assert!(!Window::Lifetime.is_aligned_to(0));
    }
}
