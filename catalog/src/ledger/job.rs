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
}

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobWork {
    Refresh(RefreshWork),
    Dataset(DatasetWork),
    Forget(ForgetWork),
    Optimize(OptimizeWork),
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

impl JobWork {
    pub const fn kind(&self) -> &'static str {
        match self {
            JobWork::Refresh(_) => "refresh",
            JobWork::Dataset(_) => "dataset",
            JobWork::Forget(_) => "forget",
            JobWork::Optimize(_) => "optimize",
        }
    }

    pub fn refresh(&self) -> Option<&RefreshWork> {
        match self {
            JobWork::Refresh(refresh) => Some(refresh),
            JobWork::Dataset(_) | JobWork::Forget(_) | JobWork::Optimize(_) => None,
        }
    }

    pub fn dataset(&self) -> Option<&DatasetWork> {
        match self {
            JobWork::Dataset(dataset) => Some(dataset),
            JobWork::Refresh(_) | JobWork::Forget(_) | JobWork::Optimize(_) => None,
        }
    }

    /// The view or feature table whose stored rows it changes, and its name.
    pub fn view(&self) -> Option<(ObjectId, &str)> {
        match self {
            JobWork::Refresh(refresh) => Some((refresh.view, &refresh.view_name)),
            JobWork::Forget(forget) => Some((forget.view, &forget.view_name)),
            JobWork::Optimize(optimize) => Some((optimize.view, &optimize.view_name)),
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
}

impl Job {
    pub fn created_at_us(&self) -> i64 {
        self.request.author.at_us
    }

    /// Whether it changes the stored rows of that view.
    pub(crate) fn works_on(&self, view: ObjectId) -> bool {
        self.request.work.view().is_some_and(|(of, _)| of == view)
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
            && self.view.is_none_or(|view| job.works_on(view))
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
