//! A clock that is believed with care. A period that a clock has run past too early counts as complete for ever, so a
//! time that jumps ahead is believed only once it has stayed so for a while; one that goes back is believed at once.

use std::time::Duration;

/// The machine's clock is corrected by so much without a word.
const TOLERATED_US: i64 = 60 * 1_000_000;
/// So long a time that has jumped ahead has to stay.
const DOUBT: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct SteadyTime {
    believed_us: i64,
    at: Duration,
    doubted_since: Option<Duration>,
}

impl SteadyTime {
    /// `now_us`: what the clock says; `at`: of a stopwatch that runs on whatever the clock does.
    pub fn new(now_us: i64, at: Duration) -> SteadyTime {
        SteadyTime { believed_us: now_us, at, doubted_since: None }
    }

    /// The time to go by, at what the clock says now.
    pub fn believe(&mut self, now_us: i64, at: Duration) -> i64 {
        let passed = at.saturating_sub(self.at);
        let expected_us = self.believed_us.saturating_add(i64::try_from(passed.as_micros()).unwrap_or(i64::MAX));
        let has_jumped = now_us > expected_us.saturating_add(TOLERATED_US);
        let doubted_since = self.doubted_since.filter(|_| has_jumped).or_else(|| has_jumped.then_some(at));
        let is_believed = doubted_since.is_none_or(|since| at.saturating_sub(since) >= DOUBT);
        self.believed_us = if is_believed { now_us } else { expected_us };
        self.doubted_since = doubted_since.filter(|_| !is_believed);
        self.at = at;
        self.believed_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_jump_ahead_is_believed_once_it_has_stayed() {
        let at = Duration::from_secs;
        let mut time = SteadyTime::new(0, at(0));
        assert_eq!(time.believe(10 * SECOND, at(10)), 10 * SECOND);
        assert_eq!(time.believe(60 * SECOND, at(11)), 60 * SECOND, "a small correction");
        let ahead_us = 86_400 * SECOND;
        assert_eq!(time.believe(ahead_us + 20 * SECOND, at(20)), 69 * SECOND);
        assert_eq!(time.believe(ahead_us + 100 * SECOND, at(100)), 149 * SECOND);
        // it was a mistake
        assert_eq!(time.believe(150 * SECOND, at(101)), 150 * SECOND);
        assert_eq!(time.believe(ahead_us, at(110)), 159 * SECOND);
        assert_eq!(time.believe(ahead_us + 290 * SECOND, at(400)), 449 * SECOND);
        assert_eq!(time.believe(ahead_us + 300 * SECOND, at(410)), ahead_us + 300 * SECOND);
        assert_eq!(time.believe(ahead_us + 310 * SECOND, at(420)), ahead_us + 310 * SECOND);
        // back
        assert_eq!(time.believe(5 * SECOND, at(430)), 5 * SECOND);
    }
}
