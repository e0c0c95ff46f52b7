//! Half-open stretches of time and sets of them. Pure; it knows nothing of views or stores.

use serde::{Deserialize, Serialize};

/// `[start_us, end_us)` in microseconds. Empty if the end is not after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Interval {
    pub start_us: i64,
    pub end_us: i64,
}

impl Interval {
    pub fn new(start_us: i64, end_us: i64) -> Interval {
        Interval { start_us, end_us }
    }

    pub fn is_empty(&self) -> bool {
        self.start_us >= self.end_us
    }

    /// What both have in common, if anything.
    pub fn intersection(&self, other: &Interval) -> Option<Interval> {
        let common = Interval { start_us: self.start_us.max(other.start_us), end_us: self.end_us.min(other.end_us) };
        (!common.is_empty()).then_some(common)
    }

    /// The shortest interval around this one that begins and ends at multiples of `width_us`.
    pub fn widened_to(&self, width_us: i64) -> Interval {
        let start_us = self.start_us.saturating_sub(self.start_us.rem_euclid(width_us));
        let past = self.end_us.rem_euclid(width_us);
        let end_us = if past == 0 { self.end_us } else { self.end_us.saturating_add(width_us - past) };
        Interval { start_us, end_us }
    }

    /// The longest interval inside this one that begins and ends at multiples of `width_us`; it may be empty. An end
    /// of time stays.
    pub fn narrowed_to(&self, width_us: i64) -> Interval {
        let past = self.start_us.rem_euclid(width_us);
        let start_us = match self.start_us {
            i64::MIN => i64::MIN,
            start_us if past == 0 => start_us,
            start_us => start_us.saturating_add(width_us - past),
        };
        let end_us = match self.end_us {
            i64::MAX => i64::MAX,
            end_us => end_us.saturating_sub(end_us.rem_euclid(width_us)),
        };
        Interval { start_us, end_us }
    }
}

/// A set of points in time, kept as the fewest intervals: ordered, apart from each other, none empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IntervalSet {
    intervals: Vec<Interval>,
}

impl IntervalSet {
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// The intervals in order; between two of them there is a gap.
    pub fn iter(&self) -> impl Iterator<Item = Interval> {
        self.intervals.iter().copied()
    }

    /// Adds all points of the interval, joining it with those it touches.
    pub fn insert(&mut self, added: Interval) {
        if added.is_empty() {
            return;
        }
        let first = self.intervals.partition_point(|interval| interval.end_us < added.start_us);
        let past = self.intervals.partition_point(|interval| interval.start_us <= added.end_us);
        let joined = self.intervals[first..past].iter().fold(added, |joined, interval| Interval {
            start_us: joined.start_us.min(interval.start_us),
            end_us: joined.end_us.max(interval.end_us),
        });
        self.intervals.splice(first..past, [joined]);
    }

    /// Takes all points of the interval out.
    pub fn remove(&mut self, removed: Interval) {
        if removed.is_empty() {
            return;
        }
        let kept = self.intervals.iter().flat_map(|interval| {
            let before = Interval::new(interval.start_us, interval.end_us.min(removed.start_us));
            let after = Interval::new(interval.start_us.max(removed.end_us), interval.end_us);
            [before, after]
        });
        self.intervals = kept.filter(|interval| !interval.is_empty()).collect();
    }

    /// What the set has of the interval.
    pub fn intersection(&self, interval: &Interval) -> IntervalSet {
        self.intervals.iter().filter_map(|member| member.intersection(interval)).collect()
    }

    /// What both sets have.
    pub fn common(&self, other: &IntervalSet) -> IntervalSet {
        self.intervals.iter().flat_map(|member| other.intersection(member).intervals).collect()
    }

    /// The first stretch of the interval that the set has.
    pub fn first_overlap(&self, interval: &Interval) -> Option<Interval> {
        let first = self.intervals.partition_point(|member| member.end_us <= interval.start_us);
        self.intervals.get(first)?.intersection(interval)
    }

    /// The first stretch of the interval that the set lacks, `None` if it has all of it.
    pub fn first_gap(&self, interval: &Interval) -> Option<Interval> {
        if interval.is_empty() {
            return None;
        }
        let next = self.intervals.partition_point(|member| member.end_us <= interval.start_us);
        let mut start_us = interval.start_us;
        let mut rest = self.intervals[next..].iter();
        let mut following = rest.next();
        if let Some(member) = following
            && member.start_us <= start_us
        {
            start_us = member.end_us;
            following = rest.next();
        }
        let end_us = following.map_or(interval.end_us, |member| member.start_us.min(interval.end_us));
        let gap = Interval { start_us, end_us };
        (!gap.is_empty()).then_some(gap)
    }
}

impl FromIterator<Interval> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = Interval>>(intervals: I) -> IntervalSet {
        let mut set = IntervalSet::default();
        set.extend(intervals);
        set
    }
}

impl Extend<Interval> for IntervalSet {
    fn extend<I: IntoIterator<Item = Interval>>(&mut self, intervals: I) {
        intervals.into_iter().for_each(|interval| self.insert(interval));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::Random;

    const LOW: i64 = -12;
    const HIGH: i64 = 12;

    /// The brute force: one entry per point.
    fn points(interval: Interval) -> BTreeSet<i64> {
        (interval.start_us..interval.end_us).collect()
    }

    /// The first unbroken run of points inside the interval for which `wanted` holds.
    fn first_run(interval: Interval, wanted: impl Fn(i64) -> bool) -> Option<Interval> {
        let start_us = points(interval).into_iter().find(|&point| wanted(point))?;
        let end_us = (start_us..interval.end_us).find(|&point| !wanted(point)).unwrap_or(interval.end_us);
        Some(Interval { start_us, end_us })
    }

    #[test]
    fn agrees_with_a_set_of_points() {
        let mut random = Random::new(7);
        for _ in 0..400 {
            let mut set = IntervalSet::default();
            let mut model = BTreeSet::new();
            for _ in 0..14 {
                let interval = Interval::new(random.between(LOW, HIGH), random.between(LOW, HIGH));
                if random.one_in(4) {
                    set.remove(interval);
                    model.retain(|point| !points(interval).contains(point));
                } else {
                    set.insert(interval);
                    model.extend(points(interval));
                }
                let members: BTreeSet<i64> = set.iter().flat_map(points).collect();
                assert_eq!(members, model, "{set:?}");
                assert!(set.iter().all(|interval| !interval.is_empty()), "{set:?}");
                assert!(set.intervals.windows(2).all(|pair| pair[0].end_us < pair[1].start_us), "{set:?}");

                let asked = Interval::new(random.between(LOW, HIGH), random.between(LOW, HIGH));
                let gap = first_run(asked, |point| !model.contains(&point));
                assert_eq!(set.first_gap(&asked), gap, "{set:?} {asked:?}");
                let overlap = first_run(asked, |point| model.contains(&point));
                assert_eq!(set.first_overlap(&asked), overlap, "{set:?} {asked:?}");
            }
        }
    }

    #[test]
    fn multiples_of_a_width_around_and_inside() {
        let mut random = Random::new(8);
        for _ in 0..400 {
            let (width, interval) =
                (random.between(1, 5), Interval::new(random.between(LOW, HIGH), random.between(LOW, HIGH)));
            if interval.is_empty() {
                continue;
            }
            let multiples = |range: std::ops::RangeInclusive<i64>| range.filter(|at| at.rem_euclid(width) == 0);
            let around = interval.widened_to(width);
            assert_eq!(Some(around.start_us), multiples(-20..=interval.start_us).last());
            assert_eq!(Some(around.end_us), multiples(interval.end_us..=20).next());
            let inside = interval.narrowed_to(width);
            assert_eq!(Some(inside.start_us), multiples(interval.start_us..=20).next());
            assert_eq!(Some(inside.end_us), multiples(-20..=interval.end_us).last());
        }
        let always = Interval::new(i64::MIN, i64::MAX);
        assert_eq!(always.narrowed_to(7), always);
        assert!(always.widened_to(7).intersection(&always) == Some(always));
    }

    #[test]
    fn ends_of_the_number_line_work() {
        let mut set = IntervalSet::default();
        set.insert(Interval::new(i64::MIN, 0));
        assert_eq!(set.first_gap(&Interval::new(i64::MIN, 5)), Some(Interval::new(0, 5)));
        set.insert(Interval::new(0, i64::MAX));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Interval::new(i64::MIN, i64::MAX)]);
        assert_eq!(set.first_gap(&Interval::new(i64::MIN, i64::MAX)), None);
        set.remove(Interval::new(i64::MIN, i64::MAX));
        assert!(set.is_empty());
    }
}
