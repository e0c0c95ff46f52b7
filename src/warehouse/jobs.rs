//! Jobs that run in this process: how to stop each of them, and how to hear that something has become of one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use granary_catalog::{JobId, JobState, Ledger, ObjectId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// See the module.
#[derive(Debug)]
pub struct RunningJobs {
    running: Mutex<HashMap<JobId, CancellationToken>>,
    /// counts what has become of jobs
    changes: watch::Sender<u64>,
}

impl Default for RunningJobs {
    fn default() -> RunningJobs {
        RunningJobs { running: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl RunningJobs {
    /// Notes that a job runs here, so that it can be cancelled.
    pub fn started(&self, job: JobId, cancel: CancellationToken) {
        self.running().insert(job, cancel);
        self.has_changed();
    }

    /// To be said when the ledger knows how its attempt ended.
    pub fn ended(&self, job: JobId) {
        self.running().remove(&job);
        self.has_changed();
    }

    /// Tells who waits that the ledger says something new, or the catalog does that jobs hang on.
    pub fn has_changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears of changes from now on.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Asks a running job to stop; false if it does not run.
    pub fn cancel(&self, job: JobId) -> bool {
        match self.running().get(&job) {
            Some(cancel) => {
                cancel.cancel();
                true
            }
            None => false,
        }
    }

    /// Stops the jobs of a view that the scheduler runs, and comes back when they have ended.
    pub async fn end_scheduled(&self, ledger: &Ledger, view: ObjectId) {
        let mut changes = self.listen();
        loop {
            let is_of_view = |view_of: Option<(ObjectId, &str)>| view_of.is_some_and(|(of, _)| of == view);
            let active = ledger.active().into_iter();
            let running = active.filter(|job| job.request.managed && job.state == JobState::Running);
            let running: Vec<JobId> =
                running.filter(|job| is_of_view(job.request.work.view())).map(|job| job.id).collect();
            if running.is_empty() {
                return;
            }
            for job in running {
                self.cancel(job);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<JobId, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
