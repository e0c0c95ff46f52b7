//! Jobs and their attempts: what background work was asked for and how it went.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Interval;
use crate::change::Author;
use crate::id::{JobId, ObjectId};

/// A job that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    #[serde(flatten)]
    pub work: JobWork,
    pub workspace: ObjectId,
    /// Whoever asked; `at_us` is when the job was made.
    pub author: Author,
    #[serde(default)]
    pub trigger: JobTrigger,
    /// Its attempts are started by the scheduler, also those after a restart; else by whoever asked for it.
    #[serde(default)]
    pub managed: bool,
    /// After so many failures it has failed.
    #[serde(default = "one")]
    pub max_attempts: u32,
}

fn one() -> u32 {
    1
}

impl NewJob {
    /// A job whose one attempt whoever asked for it starts.
    pub fn new(work: JobWork, workspace: ObjectId, author: Author) -> NewJob {
        NewJob { work, workspace, author, trigger: JobTrigger::Manual, managed: false, max_attempts: one() }
    }

    /// A job that the scheduler has made for a view's range, and would make again.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.managed && matches!(self.trigger, JobTrigger::Scheduled | JobTrigger::Backfill)
    }
}

/// Why there is a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobTrigger {
    /// Somebody asked for it.
    #[default]
    Manual,
    /// A period has ended.
    Scheduled,
    /// Periods of the past are missing.
    Backfill,
    /// The stores are to be kept in order.
    Maintenance,
}

impl JobTrigger {
    pub const fn as_str(self) -> &'static str {
        match self {
            JobTrigger::Manual => "manual",
            JobTrigger::Scheduled => "scheduled",
            JobTrigger::Backfill => "backfill",
            JobTrigger::Maintenance => "maintenance",
        }
    }
}

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobWork {
    Refresh(RefreshWork),
    Dataset(DatasetWork),
    Forget(ForgetWork),
    Optimize(OptimizeWork),
    Maintenance(MaintenanceWork),
}

/// Materializes a range of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshWork {
    pub view: ObjectId,
    /// Kept beside the id because the job outlives the view.
    pub view_name: String,
    /// The start may be `i64::MIN`: everything up to the end.
    pub range: Interval,
    pub online: bool,
    pub offline: bool,
    /// Do ranges again that are materialized already.
    pub overwrite: bool,
    /// The groups of columns that the view had; none: the one that every view begins with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u64>,
}

/// Makes a version of a dataset, which need not exist before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetWork {
    pub schema: ObjectId,
    pub name: String,
    pub version: u64,
}

/// Removes everything of some keys from a feature view or feature table. Which keys is not written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetWork {
    pub view: ObjectId,
    /// Kept beside the id because the job outlives the view.
    pub view_name: String,
    /// How many keys were named.
    pub keys: u64,
}

/// Puts the groups of columns of a view's stored rows into one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptimizeWork {
    pub view: ObjectId,
    /// Kept beside the id because the job outlives the view.
    pub view_name: String,
}

/// Keeps what a view or feature table has stored in order. No answer changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceWork {
    pub task: MaintenanceTask,
    pub view: ObjectId,
    /// Kept beside the id because the job outlives the view.
    pub view_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenanceTask {
    /// Merges files.
    Optimize,
    /// Removes files that no version needs.
    Vacuum,
    /// Removes rows from the online store that no answer can see.
    Expire,
}

impl MaintenanceTask {
    pub const fn as_str(self) -> &'static str {
        match self {
            MaintenanceTask::Optimize => "optimize",
            MaintenanceTask::Vacuum => "vacuum",
            MaintenanceTask::Expire => "expire",
        }
    }
}

impl JobWork {
    pub const fn kind(&self) -> &'static str {
        match self {
            JobWork::Refresh(_) => "refresh",
            JobWork::Dataset(_) => "dataset",
            JobWork::Forget(_) => "forget",
            JobWork::Optimize(_) => "optimize",
            JobWork::Maintenance(work) => work.task.as_str(),
        }
    }

    pub fn refresh(&self) -> Option<&RefreshWork> {
        match self {
            JobWork::Refresh(refresh) => Some(refresh),
            JobWork::Dataset(_) | JobWork::Forget(_) | JobWork::Optimize(_) | JobWork::Maintenance(_) => None,
        }
    }

    pub fn dataset(&self) -> Option<&DatasetWork> {
        match self {
            JobWork::Dataset(dataset) => Some(dataset),
            JobWork::Refresh(_) | JobWork::Forget(_) | JobWork::Optimize(_) | JobWork::Maintenance(_) => None,
        }
    }

    /// The view or feature table that it is about, and its name.
    pub fn view(&self) -> Option<(ObjectId, &str)> {
        match self {
            JobWork::Refresh(refresh) => Some((refresh.view, &refresh.view_name)),
            JobWork::Forget(forget) => Some((forget.view, &forget.view_name)),
            JobWork::Optimize(optimize) => Some((optimize.view, &optimize.view_name)),
            JobWork::Maintenance(work) => Some((work.view, &work.view_name)),
            JobWork::Dataset(_) => None,
        }
    }
}

impl RefreshWork {
    pub fn groups(&self) -> &[u64] {
        if self.groups.is_empty() { &[0] } else { &self.groups }
    }

    /// The stores the job writes to.
    pub fn stores(&self) -> impl Iterator<Item = StoreKind> {
        let (offline, online) = (self.offline, self.online);
        StoreKind::ALL.into_iter().filter(move |store| match store {
            StoreKind::Offline => offline,
            StoreKind::Online => online,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    /// What was asked for; it never changes.
    pub request: NewJob,
    pub state: JobState,
    /// When the first attempt started.
    #[serde(default)]
    pub started_at_us: Option<i64>,
    /// `None` while the job has not ended, and for a job that a crash ended: nobody saw when.
    #[serde(default)]
    pub finished_at_us: Option<i64>,
    #[serde(default)]
    pub rows_read: u64,
    #[serde(default)]
    pub rows_written: u64,
    /// Why the job, or its latest attempt, failed.
    #[serde(default)]
    pub error: Option<JobError>,
    /// How many attempts were started.
    #[serde(default)]
    pub attempts: u32,
    /// How many attempts ended with an error of their own, since the job was made or retried.
    #[serde(default)]
    pub failures: u32,
    /// Of a queued job that failed: it is not tried before.
    #[serde(default)]
    pub next_attempt_at_us: Option<i64>,
    /// Of a refresh: how many rows the view's query had in its range.
    #[serde(default)]
    pub source_rows: Option<u64>,
}

impl Job {
    pub fn created_at_us(&self) -> i64 {
        self.request.author.at_us
    }

    /// Whether it changes the stored rows of that view.
    pub(crate) fn works_on(&self, view: ObjectId) -> bool {
        !matches!(self.request.work, JobWork::Maintenance(_)) && self.is_about(view)
    }

    fn is_about(&self, view: ObjectId) -> bool {
        self.request.work.view().is_some_and(|(of, _)| of == view)
    }

    /// Whether the scheduler has made it and has not begun it: it gives way to others that are about the same.
    pub(crate) fn gives_way(&self) -> bool {
        self.request.is_scheduled() && self.state == JobState::Queued
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobAttempt {
    pub job: JobId,
    /// 1 for the first attempt.
    pub attempt: u32,
    pub started_at_us: i64,
    #[serde(default)]
    pub finished_at_us: Option<i64>,
    /// Never `Queued`.
    pub state: JobState,
    #[serde(default)]
    pub error: Option<JobError>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    pub sqlstate: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl JobState {
    pub const fn as_str(self) -> &'static str {
        match self {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Succeeded => "succeeded",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    pub fn has_ended(self) -> bool {
        match self {
            JobState::Queued | JobState::Running => false,
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => true,
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed(JobError),
    Cancelled,
}

impl Outcome {
    pub(crate) fn state(&self) -> JobState {
        match self {
            Outcome::Succeeded => JobState::Succeeded,
            Outcome::Failed(_) => JobState::Failed,
            Outcome::Cancelled => JobState::Cancelled,
        }
    }

    pub(crate) fn error(self) -> Option<JobError> {
        match self {
            Outcome::Failed(error) => Some(error),
            Outcome::Succeeded | Outcome::Cancelled => None,
        }
    }
}

/// Which jobs to list, newest first. The default is all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobFilter {
    pub workspace: Option<ObjectId>,
    pub view: Option<ObjectId>,
    pub state: Option<JobState>,
    /// Only jobs older than this one: the last of the page before.
    pub before: Option<JobId>,
    pub limit: usize,
}

impl Default for JobFilter {
    fn default() -> JobFilter {
        JobFilter { workspace: None, view: None, state: None, before: None, limit: usize::MAX }
    }
}

impl JobFilter {
    pub(crate) fn admits(&self, job: &Job) -> bool {
        self.workspace.is_none_or(|workspace| workspace == job.request.workspace)
            && self.view.is_none_or(|view| job.is_about(view))
            && self.state.is_none_or(|state| state == job.state)
    }
}

/// One of the two stores that a view is materialized into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    Offline,
    Online,
}

impl StoreKind {
    pub const ALL: [StoreKind; 2] = [StoreKind::Offline, StoreKind::Online];

    pub const fn as_str(self) -> &'static str {
        match self {
            StoreKind::Offline => "offline",
            StoreKind::Online => "online",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
