//! Ranges of a view that jobs have begun and not done, or given up.

use serde::{Deserialize, Serialize};

use super::{Interval, IntervalSet, Job, JobState, JobWork, Ledger};
use crate::error::Error;
use crate::id::{JobId, ObjectId};
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

    /// Takes back what the scheduler has not begun for a view, and what it has given up: it is to look at the view anew.
    pub fn ask_again(&self, view: ObjectId, at_us: i64) -> Result<(), Error> {
        let _writer = self.writer();
        let waits = |job: &&Job| job.works_on(view) && job.request.managed && job.state == JobState::Queued;
        let queued: Vec<JobId> = self.active().iter().filter(waits).map(|job| job.id).collect();
        let known = self.state().unfinished.get(&view).cloned();
        let after = known.map(|known| Unfinished { given_up: IntervalSet::default(), ..known });
        if queued.is_empty() && after.as_ref() == self.state().unfinished.get(&view) {
            return Ok(());
        }
        let mut batch = self.store.batch();
        let gone = self.withdraw(&mut batch, &queued, "the view has other groups of columns now", at_us)?;
        if let Some(after) = &after {
            after.put(&mut batch)?;
        }
        batch.commit()?;
        self.change(|state| {
            state.unfinished.extend(after.map(|after| (view, after)));
            gone.iter().for_each(|job| drop(state.active.remove(job)));
        });
        Ok(())
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
