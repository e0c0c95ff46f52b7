//! Which jobs a view is owed: from what is complete by now, what is materialized, and what others have been given to do.
//! Pure: no clock, no store. Nothing is remembered from one time to the next, so that a downtime is caught up, and a
//! clock that goes back owes nothing twice.

use granary_catalog::{Interval, IntervalSet, Job, JobTrigger, ObjectId};

use crate::time::{ceil_us, floor_us};

/// About so many jobs do what is missing of the past, and what a downtime has left behind.
const CHUNKS: i64 = 10;
/// So many jobs of a view wait or run at most; those of new periods do not count those of the past.
const MOST_WAITING: usize = 16;

/// What the scheduler has to know of a feature view.
#[derive(Debug, Clone)]
pub struct ScheduledView {
    pub id: ObjectId,
    pub is_stream: bool,
    /// ranges begin and end at its multiples
    pub period_us: i64,
    /// how long after its end a period is complete
    pub delay_us: i64,
    /// `i64::MIN`: there is no beginning
    pub first_us: i64,
    /// nothing is materialized from here on; `i64::MAX` for batch views
    pub until_us: i64,
    pub online: bool,
    pub offline: bool,
    /// the longest range of the past for one job
    pub max_backfill_us: Option<i64>,
    /// trigger = scheduled
    pub is_scheduled: bool,
    pub is_paused: bool,
    /// of all its features
    pub done_online: IntervalSet,
    pub done_offline: IntervalSet,
    pub given_up: IntervalSet,
    /// the end of what any of its features is materialized for: what is later is new, also if a new feature lacks the past
    pub reached_us: Option<i64>,
}

/// A job that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwedJob {
    pub range: Interval,
    pub online: bool,
    pub offline: bool,
    pub trigger: JobTrigger,
}

impl ScheduledView {
    /// The end of the last period that is complete at `now_us`.
    pub fn complete_until_us(&self, now_us: i64) -> i64 {
        let complete_us = floor_us(now_us.saturating_sub(self.delay_us), self.period_us);
        match self.until_us {
            i64::MAX => complete_us,
            until_us => complete_us.min(ceil_us(until_us, self.period_us)),
        }
    }

    /// When the next period will be complete, if there is one.
    pub fn next_complete_us(&self, now_us: i64) -> Option<i64> {
        let next_us = self.complete_until_us(now_us).saturating_add(self.period_us);
        let is_wanted = self.makes_jobs() && next_us <= self.until_us.saturating_add(self.period_us - 1);
        is_wanted.then(|| next_us.saturating_add(self.delay_us))
    }

    pub fn makes_jobs(&self) -> bool {
        self.is_scheduled && !self.is_paused && (self.online || self.offline)
    }

    /// The jobs to be made at `now_us`, in the order in which they are to be done. `jobs`: those that have not ended.
    pub fn owed(&self, now_us: i64, jobs: &[&Job]) -> Vec<OwedJob> {
        let span = Interval::new(self.first_us, self.complete_until_us(now_us));
        if !self.makes_jobs() || span.is_empty() {
            return Vec::new();
        }
        let own = || jobs.iter().filter(|job| job.request.work.view().is_some_and(|(view, _)| view == self.id));
        let worked_on: IntervalSet = own().filter_map(|job| Some(job.request.work.refresh()?.range)).collect();
        let missing = |is_kept: bool, done: &IntervalSet| {
            let mut missing: IntervalSet = is_kept.then_some(span).into_iter().collect();
            [done, &self.given_up, &worked_on].into_iter().for_each(|known| remove(&mut missing, known));
            missing
        };
        let (online, offline) = (missing(self.online, &self.done_online), missing(self.offline, &self.done_offline));
        // what is after all of these is new
        let known = [&self.done_online, &self.done_offline, &self.given_up, &worked_on];
        let ends = known.into_iter().filter_map(|set| set.iter().last()).map(|last| last.end_us);
        let ends = ends.chain(self.reached_us);
        let frontier_us = ends.max().unwrap_or(i64::MAX);

        let mut forward = Vec::new();
        let mut backward = Vec::new();
        for (online, offline, stretch) in by_stores(&online, &offline) {
            let owed = |trigger| move |range| OwedJob { range, online, offline, trigger };
            let new = Interval::new(stretch.start_us.max(frontier_us), stretch.end_us);
            if !new.is_empty() {
                forward.extend(self.forward_chunks(new).into_iter().map(owed(JobTrigger::Scheduled)));
            }
            let past = Interval::new(stretch.start_us, stretch.end_us.min(frontier_us));
            if !past.is_empty() {
                backward.push((past, owed(JobTrigger::Backfill)));
            }
        }
        let periods: i64 = backward.iter().map(|(past, _)| self.periods(*past)).fold(0, i64::saturating_add);
        let width_us = self.width_us(periods, self.max_backfill_us);
        let mut backward: Vec<OwedJob> = backward
            .into_iter()
            .flat_map(|(past, owed)| self.backward_chunks(past, width_us).into_iter().map(owed))
            .collect();
        backward.sort_by_key(|job| std::cmp::Reverse(job.range.end_us));

        forward.sort_by_key(|job| job.range.start_us);
        let n_forward = own().filter(|job| job.request.trigger == JobTrigger::Scheduled).count();
        forward.truncate(MOST_WAITING.saturating_sub(n_forward));
        backward.truncate(MOST_WAITING.saturating_sub(own().count()));
        forward.append(&mut backward);
        forward
    }

    /// How many periods a range has; one without a beginning counts as one.
    pub fn periods(&self, range: Interval) -> i64 {
        if range.start_us == i64::MIN {
            return 1;
        }
        let (start_us, end_us) = (floor_us(range.start_us, self.period_us), ceil_us(range.end_us, self.period_us));
        end_us.saturating_sub(start_us) / self.period_us
    }

    /// The width of jobs that do so many periods together, whole periods.
    fn width_us(&self, periods: i64, longest_us: Option<i64>) -> i64 {
        let periods = match longest_us {
            Some(longest_us) => longest_us / self.period_us,
            None => periods.saturating_add(CHUNKS - 1) / CHUNKS,
        };
        periods.max(1).saturating_mul(self.period_us)
    }

    /// Oldest first: one job a period, or several periods each if many were missed.
    fn forward_chunks(&self, range: Interval) -> Vec<Interval> {
        if range.start_us == i64::MIN {
            return vec![range];
        }
        let longest_us = self.max_backfill_us.unwrap_or(i64::MAX).max(self.period_us);
        let width_us = self.width_us(self.periods(range), None).min(floor_us(longest_us, self.period_us));
        let mut chunks = Vec::new();
        let mut start_us = range.start_us;
        while start_us < range.end_us && chunks.len() < MOST_WAITING {
            let end_us = floor_us(start_us, self.period_us).saturating_add(width_us).min(range.end_us);
            chunks.push(Interval::new(start_us, end_us));
            start_us = end_us;
        }
        chunks
    }

    /// Newest first.
    fn backward_chunks(&self, range: Interval, width_us: i64) -> Vec<Interval> {
        let mut chunks = Vec::new();
        let mut end_us = range.end_us;
        while range.start_us < end_us && chunks.len() < MOST_WAITING {
            let start_us = match range.start_us {
                i64::MIN => i64::MIN,
                first_us => ceil_us(end_us, self.period_us).saturating_sub(width_us).max(first_us),
            };
            chunks.push(Interval::new(start_us, end_us));
            end_us = start_us;
        }
        chunks
    }
}

fn remove(set: &mut IntervalSet, removed: &IntervalSet) {
    removed.iter().for_each(|interval| set.remove(interval));
}

/// Stretches with the stores that lack them, online and offline.
fn by_stores(online: &IntervalSet, offline: &IntervalSet) -> Vec<(bool, bool, Interval)> {
    let both: IntervalSet =
        online.iter().flat_map(|stretch| offline.intersection(&stretch).iter().collect::<Vec<_>>()).collect();
    let (mut only_online, mut only_offline) = (online.clone(), offline.clone());
    remove(&mut only_online, &both);
    remove(&mut only_offline, &both);
    let stretches =
        |set: IntervalSet, online, offline| set.iter().map(|stretch| (online, offline, stretch)).collect::<Vec<_>>();
    [stretches(both, true, true), stretches(only_online, true, false), stretches(only_offline, false, true)].concat()
}

#[cfg(test)]
mod tests {
    use granary_catalog::{Author, JobId, JobWork, NewJob, RefreshWork};

    use super::*;

    const DAY: i64 = 86_400_000_000;
    const HOUR: i64 = DAY / 24;

    fn view() -> ScheduledView {
        ScheduledView {
            id: ObjectId(7),
            is_stream: false,
            period_us: DAY,
            delay_us: HOUR,
            first_us: 0,
            until_us: i64::MAX,
            online: true,
            offline: true,
            max_backfill_us: None,
            is_scheduled: true,
            is_paused: false,
            done_online: IntervalSet::default(),
            done_offline: IntervalSet::default(),
            given_up: IntervalSet::default(),
            reached_us: None,
        }
    }

    fn days(from: i64, to: i64) -> Interval {
        Interval::new(from * DAY, to * DAY)
    }

    fn set(ranges: &[(i64, i64)]) -> IntervalSet {
        ranges.iter().map(|&(from, to)| days(from, to)).collect()
    }

    fn done(ranges: &[(i64, i64)]) -> ScheduledView {
        ScheduledView { done_online: set(ranges), done_offline: set(ranges), ..view() }
    }

    fn job(from: i64, to: i64, trigger: JobTrigger) -> Job {
        let (range, view_name) = (days(from, to), String::new());
        let work = RefreshWork {
            view: ObjectId(7),
            view_name,
            range,
            online: true,
            offline: true,
            overwrite: false,
            groups: Vec::new(),
        };
        let author = Author { role: String::new(), at_us: 0, statement: String::new() };
        let request = NewJob::new(JobWork::Refresh(work), ObjectId(1), author);
        Job::queued(JobId(1), NewJob { trigger, managed: true, ..request })
    }

    /// What is owed, in days, as `trigger from..to stores`.
    fn owed(view: &ScheduledView, now_us: i64, jobs: &[Job]) -> Vec<String> {
        let jobs: Vec<&Job> = jobs.iter().collect();
        let shown = |us: i64| if us == i64::MIN { "ever".to_owned() } else { (us / DAY).to_string() };
        let owed = view.owed(now_us, &jobs);
        let stores = |job: &OwedJob| match (job.online, job.offline) {
            (true, true) => "",
            (true, false) => " online",
            (false, true) => " offline",
            (false, false) => " nowhere",
        };
        let tell = |job: &OwedJob| {
            let (start, end) = (shown(job.range.start_us), shown(job.range.end_us));
            format!("{} {start}..{end}{}", job.trigger.as_str(), stores(job))
        };
        owed.iter().map(tell).collect()
    }

    #[test]
    fn a_new_view_is_backfilled_in_ten_jobs_recent_first() {
        let jobs = owed(&view(), 100 * DAY + HOUR, &[]);
        assert_eq!((jobs.len(), jobs[0].as_str(), jobs[9].as_str()), (10, "backfill 90..100", "backfill 0..10"));
        let jobs = owed(&view(), 95 * DAY + HOUR, &[]);
        assert_eq!((jobs.len(), jobs[0].as_str(), jobs[9].as_str()), (10, "backfill 85..95", "backfill 0..5"));
        assert_eq!(owed(&view(), 3 * DAY + HOUR, &[]), ["backfill 2..3", "backfill 1..2", "backfill 0..1"]);
    }

    #[test]
    fn a_period_is_owed_when_it_is_complete_and_its_delay_is_over() {
        let view = done(&[(0, 5)]);
        assert!(owed(&view, 6 * DAY + HOUR - 1, &[]).is_empty());
        assert_eq!(owed(&view, 6 * DAY + HOUR, &[]), ["scheduled 5..6"]);
        assert_eq!(view.next_complete_us(6 * DAY), Some(6 * DAY + HOUR));
        assert_eq!(view.next_complete_us(6 * DAY + HOUR), Some(7 * DAY + HOUR));
        // the same again while a job is about it
        assert!(owed(&view, 6 * DAY + HOUR, &[job(5, 6, JobTrigger::Scheduled)]).is_empty());
        // a clock that goes back
        assert!(owed(&view, 2 * DAY, &[]).is_empty());
    }

    #[test]
    fn what_a_downtime_has_left_is_caught_up_oldest_first() {
        let view = done(&[(0, 5)]);
        assert_eq!(owed(&view, 8 * DAY + HOUR, &[]), ["scheduled 5..6", "scheduled 6..7", "scheduled 7..8"]);
        let jobs = owed(&view, 30 * DAY + HOUR, &[]);
        assert_eq!((jobs.len(), jobs[0].as_str(), jobs[8].as_str()), (9, "scheduled 5..8", "scheduled 29..30"));
    }

    #[test]
    fn gaps_are_filled_after_what_is_new_and_not_where_the_scheduler_has_given_up() {
        let view = ScheduledView { given_up: set(&[(3, 4), (8, 9)]), ..done(&[(2, 3), (5, 7)]) };
        let expected = ["scheduled 9..10", "backfill 7..8", "backfill 4..5", "backfill 1..2", "backfill 0..1"];
        assert_eq!(owed(&view, 10 * DAY + HOUR, &[]), expected);
    }

    #[test]
    fn a_view_without_a_beginning_is_backfilled_by_one_job() {
        let endless = ScheduledView { first_us: i64::MIN, ..view() };
        assert_eq!(owed(&endless, 10 * DAY + HOUR, &[]), ["backfill ever..10"]);
        assert_eq!(
            owed(&endless, 11 * DAY + HOUR, &[job(0, 10, JobTrigger::Backfill)]),
            ["scheduled 10..11", "backfill ever..0"]
        );
    }

    #[test]
    fn a_new_feature_lacks_the_past_and_new_periods_do_not_wait_for_it() {
        let view = ScheduledView { reached_us: Some(5 * DAY), ..view() };
        let owed = owed(&view, 7 * DAY + HOUR, &[]);
        assert_eq!(owed[..3], ["scheduled 5..6", "scheduled 6..7", "backfill 4..5"]);
    }

    #[test]
    fn only_the_store_that_lacks_a_range_gets_it() {
        let view = ScheduledView { done_online: IntervalSet::default(), ..done(&[(0, 5)]) };
        let expected = ["scheduled 5..6", "backfill 4..5 online", "backfill 3..4 online"];
        assert_eq!(owed(&view, 6 * DAY + HOUR, &[])[..3], expected);
        let offline_only = ScheduledView { online: false, ..view };
        assert_eq!(owed(&offline_only, 6 * DAY + HOUR, &[]), ["scheduled 5..6 offline"]);
        assert!(owed(&ScheduledView { offline: false, ..offline_only }, 6 * DAY + HOUR, &[]).is_empty());
    }

    #[test]
    fn no_job_is_longer_than_the_option_says_and_few_wait_at_a_time() {
        let view = ScheduledView { max_backfill_us: Some(2 * DAY + 1), ..view() };
        let jobs = owed(&view, 100 * DAY + HOUR, &[]);
        assert_eq!((jobs.len(), jobs[0].as_str(), jobs[15].as_str()), (16, "backfill 98..100", "backfill 68..70"));
        let waiting: Vec<Job> = (0..15).map(|n| job(98 - n * 2, 100 - n * 2, JobTrigger::Backfill)).collect();
        assert_eq!(owed(&view, 101 * DAY + HOUR, &waiting), ["scheduled 100..101", "backfill 68..70"]);
    }

    #[test]
    fn a_stream_is_owed_its_mirror_alone() {
        let stream = ScheduledView {
            is_stream: true,
            period_us: DAY,
            delay_us: 0,
            until_us: 2 * DAY + HOUR,
            first_us: i64::MIN,
            ..view()
        };
        assert_eq!(owed(&stream, 2 * DAY + HOUR, &[]), ["backfill ever..2"]);
        assert_eq!(stream.next_complete_us(2 * DAY + HOUR), Some(3 * DAY));
        let later = ScheduledView { done_online: set(&[(0, 2)]), done_offline: set(&[(0, 2)]), ..stream };
        assert_eq!(owed(&ScheduledView { first_us: 0, ..later.clone() }, 9 * DAY, &[]), ["scheduled 2..3"]);
        assert_eq!(later.next_complete_us(3 * DAY), None);
    }

    #[test]
    fn who_is_paused_or_not_scheduled_is_owed_nothing() {
        let now_us = 9 * DAY;
        assert!(owed(&ScheduledView { is_paused: true, ..view() }, now_us, &[]).is_empty());
        assert!(owed(&ScheduledView { is_scheduled: false, ..view() }, now_us, &[]).is_empty());
        assert_eq!(ScheduledView { is_paused: true, ..view() }.next_complete_us(now_us), None);
    }

    #[test]
    fn ends_of_time_do_no_harm() {
        for now_us in [i64::MIN, -DAY, 0, i64::MAX] {
            for first_us in [i64::MIN, i64::MIN / 2, 0, i64::MAX] {
                let view = ScheduledView { first_us, ..view() };
                view.owed(now_us, &[]);
                view.next_complete_us(now_us);
            }
        }
    }
}
