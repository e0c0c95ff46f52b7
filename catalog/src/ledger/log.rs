//! What attempts have said of themselves: a few lines each, durable as they are said.

use std::ops::{Bound, ControlFlow};

use serde::{Deserialize, Serialize};

use super::{Job, Ledger};
use crate::error::Error;
use crate::id::JobId;
use crate::store::{Order, Table};

/// Of one attempt. The last place is kept for how it ended.
pub(super) const MOST_LINES: u64 = 64;
/// Of a message; what is longer is cut.
const MOST_BYTES: usize = 2000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLog {
    pub job: JobId,
    pub attempt: u32,
    pub at_us: i64,
    pub level: LogLevel,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Info,
    Warning,
    Error,
}

impl LogLevel {
    pub const fn as_str(self) -> &'static str {
        match self {
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
        }
    }
}

impl JobLog {
    pub(super) fn new(job: &Job, at_us: i64, level: LogLevel, mut message: String) -> JobLog {
        if message.len() > MOST_BYTES {
            message.truncate(message.floor_char_boundary(MOST_BYTES));
            message.push('…');
        }
        JobLog { job: job.id, attempt: job.attempts, at_us, level, message }
    }
}

pub(super) fn key(job: &Job, line: u64) -> [u64; 3] {
    [job.id.0, u64::from(job.attempts), line.min(MOST_LINES - 1)]
}

impl Ledger {
    /// Adds a line to the log of the running attempt. Those beyond a limit are left out.
    pub fn log(&self, job: JobId, at_us: i64, level: LogLevel, message: String) -> Result<(), Error> {
        let _writer = self.writer();
        let job = self.active_job(job)?;
        let line = self.state().lines.get(&job.id).copied().unwrap_or(MOST_LINES);
        if line + 1 >= MOST_LINES {
            return Ok(());
        }
        let mut batch = self.store.batch();
        batch.put(Table::JobLogs, &key(&job, line), &JobLog::new(&job, at_us, level, message))?;
        batch.commit()?;
        self.change(|state| {
            state.lines.insert(job.id, line + 1);
        });
        Ok(())
    }

    /// What the attempts of a job have logged, in order.
    pub fn logs(&self, job: JobId) -> Result<Vec<JobLog>, Error> {
        let mut lines = Vec::new();
        let (first, last) = ([job.0], [job.0, u64::MAX, u64::MAX]);
        let range = (Bound::Included(first.as_slice()), Bound::Included(last.as_slice()));
        self.store.scan(Table::JobLogs, range, Order::Ascending, |line| {
            lines.push(line);
            ControlFlow::Continue(())
        })?;
        Ok(lines)
    }
}
