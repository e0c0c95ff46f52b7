//! Ranges of a view that jobs have begun and not done, or given up.

use serde::{Deserialize, Serialize};

use super::{Interval, IntervalSet, Job, JobState, JobWork, Ledger};
use crate::error::Error;
use crate::id::ObjectId;
use crate::store::{Batch, Table};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unfinished {
    pub view: ObjectId,
    /// An attempt that did not succeed may have left rows of these behind.
    #[serde(default)]
    pub tried: IntervalSet,
    /// The scheduler's jobs for these have failed for good, or were cancelled: it makes no others.
    #[serde(default)]
    pub given_up: IntervalSet,
}

impl Unfinished {
    fn none(view: ObjectId) -> Unfinished {
        Unfinished { view, tried: IntervalSet::default(), given_up: IntervalSet::default() }
    }

    /// Notes what a job has come to, which has ended or whose attempt has.
    pub(super) fn note(&mut self, job: &Job, range: Interval) {
        if job.state == JobState::Succeeded {
            self.tried.remove(range);
            self.given_up.remove(range);
            return;
        }
        if job.attempts > 0 {
            self.tried.insert(range);
        }
        if job.state.has_ended() && job.request.is_scheduled() {
            self.given_up.insert(range);
        }
    }

    pub(super) fn put(&self, batch: &mut Batch<'_>) -> Result<(), Error> {
        batch.put(Table::Unfinished, &[self.view.0], self)
    }
}

/// A record of the job's view after this job, if it changes it.
pub(super) fn noted(known: Option<&Unfinished>, job: &Job) -> Option<Unfinished> {
    let JobWork::Refresh(refresh) = &job.request.work else { return None };
    let before = known.cloned().unwrap_or_else(|| Unfinished::none(refresh.view));
    let mut after = before.clone();
    after.note(job, refresh.range);
    (after != before).then_some(after)
}

impl Ledger {
    /// Whether an attempt that did not succeed may have left rows of this range behind.
    pub fn was_tried(&self, view: ObjectId, range: Interval) -> bool {
        let state = self.state();
        state.unfinished.get(&view).is_some_and(|unfinished| unfinished.tried.first_overlap(&range).is_some())
    }

    /// What of a view the scheduler leaves to others: its jobs for it have failed for good, or were cancelled.
    pub fn given_up(&self, view: ObjectId) -> IntervalSet {
        self.state().unfinished.get(&view).map(|unfinished| unfinished.given_up.clone()).unwrap_or_default()
    }

    /// Puts what this job leaves undone into the batch; to be shown when that is committed.
    pub(super) fn note_unfinished(
        &self,
        batch: &mut Batch<'_>,
        job: &Job,
    ) -> Result<Option<(ObjectId, Unfinished)>, Error> {
        let Some((view, _)) = job.request.work.view() else { return Ok(None) };
        let Some(after) = noted(self.state().unfinished.get(&view), job) else { return Ok(None) };
        after.put(batch)?;
        Ok(Some((view, after)))
    }
}
