//! The only clock of the house, and arithmetic on UTC microseconds.
//!
//! All time is UTC microseconds since 1970, signed. Nothing else may ask the operating system what time it is;
//! a warehouse can be started at another time (`--now`), which is how 2013's flights can be served "now".

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub const MICROS_PER_SECOND: i64 = 1_000_000;

/// Wall time for the whole warehouse, shifted by a constant from the machine's own.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    /// the machine's clock, moved by so many microseconds
    Running { offset_us: i64 },
    /// always the same time: what tests need to ask two stores about one moment
    Standing { at_us: i64 },
}

impl Clock {
    pub fn system() -> Self {
        Clock(Source::Running { offset_us: 0 })
    }

    /// A clock that says `start_us` now and runs on from there.
    pub fn starting_at(start_us: i64) -> Self {
        Clock(Source::Running { offset_us: start_us - system_now_us() })
    }

    /// A clock that always says `at_us`.
    pub fn standing_at(at_us: i64) -> Self {
        Clock(Source::Standing { at_us })
    }

    /// Microseconds since 1970, UTC.
    pub fn now_us(&self) -> i64 {
        match self.0 {
            Source::Running { offset_us } => system_now_us() + offset_us,
            Source::Standing { at_us } => at_us,
        }
    }
}

fn system_now_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).expect("the year 294247 is far"),
        Err(before) => -i64::try_from(before.duration().as_micros()).expect("the year -290308 is far"),
    }
}

/// For durations shown to people and in metrics; never for a decision about data.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long it is until a time, if it is known; a millisecond at least, `longest` at most.
pub fn until(now_us: i64, wake_us: Option<i64>, longest: Duration) -> Duration {
    let wait_us = wake_us.map_or(u64::MAX, |wake_us| u64::try_from(wake_us.saturating_sub(now_us)).unwrap_or(0));
    Duration::from_micros(wait_us).clamp(Duration::from_millis(1), longest)
}

/// `floor(t, width)` on the Unix epoch, also before 1970. `width_us` > 0.
pub fn floor_us(t_us: i64, width_us: i64) -> i64 {
    debug_assert!(width_us > 0);
    t_us.saturating_sub(t_us.rem_euclid(width_us))
}

/// The smallest multiple of `width_us` that is not before `t_us`.
pub fn ceil_us(t_us: i64, width_us: i64) -> i64 {
    let floor = floor_us(t_us, width_us);
    if floor == t_us { floor } else { floor.saturating_add(width_us) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_goes_down_before_1970() {
        assert_eq!(floor_us(-1, 10), -10);
        assert_eq!(floor_us(-10, 10), -10);
        assert_eq!(floor_us(9, 10), 0);
        assert_eq!(ceil_us(-1, 10), 0);
        assert_eq!(ceil_us(11, 10), 20);
    }

    #[test]
    fn a_shifted_clock_starts_where_it_was_told() {
        let clock = Clock::starting_at(0);
        assert!(clock.now_us() < 60 * MICROS_PER_SECOND);
        assert_eq!(Clock::standing_at(5).now_us(), 5);
    }
}
