//! Counters of what the server does for its clients and by itself: statements and their phases, attempts of jobs, backups.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::{Histogram, Metric, Sample, add_histogram, count_of, outcome_label, sample, seconds};

/// What a statement goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// text to statements
    Parse,
    /// parameters and columns, for a client that asks for them first
    Describe,
    /// a query to a plan
    Plan,
    /// rows, from the first to the last that the client takes
    Execute,
    /// what it has changed into the catalog and the stores
    Commit,
}

impl Phase {
    const ALL: [Phase; 5] = [Phase::Parse, Phase::Describe, Phase::Plan, Phase::Execute, Phase::Commit];

    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Parse => "parse",
            Phase::Describe => "describe",
            Phase::Plan => "plan",
            Phase::Execute => "execute",
            Phase::Commit => "commit",
        }
    }
}

/// How an attempt of a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    Succeeded,
    Failed,
    Cancelled,
}

impl Ended {
    const fn as_str(self) -> &'static str {
        match self {
            Ended::Succeeded => "succeeded",
            Ended::Failed => "failed",
            Ended::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Default)]
struct Attempts {
    count: AtomicU64,
    microseconds: AtomicU64,
}

struct Work {
    answered: AtomicU64,
    failed: AtomicU64,
    phases: [Histogram; Phase::ALL.len()],
    /// by kind of job
    attempts: RwLock<BTreeMap<(&'static str, Ended), Attempts>>,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    /// 0: none since the start
    last_backup_us: AtomicI64,
}

static WORK: Work = Work {
    answered: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    phases: [const { Histogram::new() }; Phase::ALL.len()],
    attempts: RwLock::new(BTreeMap::new()),
    rows_read: AtomicU64::new(0),
    rows_written: AtomicU64::new(0),
    last_backup_us: AtomicI64::new(0),
};

static STATEMENTS: Metric = Metric {
    name: "granary_statements_total",
    kind: "counter",
    help: "Statements that clients of SQL have sent, by outcome.",
};
static PHASES: Metric = Metric {
    name: "granary_statement_phase_seconds",
    kind: "histogram",
    help: "How long statements took, by phase; not of those that are looked up without a plan.",
};
static ATTEMPTS: Metric = Metric {
    name: "granary_job_attempts_total",
    kind: "counter",
    help: "Attempts of jobs that have ended since the start, by kind and outcome.",
};
static ATTEMPT_SECONDS: Metric = Metric {
    name: "granary_job_seconds_total",
    kind: "counter",
    help: "How long attempts of jobs took together, by kind and outcome.",
};
static JOB_ROWS_READ: Metric =
    Metric { name: "granary_job_rows_read_total", kind: "counter", help: "Rows that jobs have read from sources." };
static JOB_ROWS_WRITTEN: Metric =
    Metric { name: "granary_job_rows_written_total", kind: "counter", help: "Rows that jobs have written to stores." };
static LAST_BACKUP: Metric = Metric {
    name: "granary_last_backup_timestamp_seconds",
    kind: "gauge",
    help: "The moment of the last backup since the start, in seconds since 1970; 0 if there was none.",
};
static BUILD: Metric = Metric { name: "granary_build_info", kind: "gauge", help: "1, with the program's version." };

pub fn statement_ended(is_answered: bool) {
    let counter = if is_answered { &WORK.answered } else { &WORK.failed };
    counter.fetch_add(1, Ordering::Relaxed);
}

pub fn phase_took(phase: Phase, elapsed: Duration) {
    WORK.phases[phase as usize].add(elapsed);
}

/// An attempt of a job has ended.
pub fn attempt_ended(kind: &'static str, ended: Ended, elapsed: Duration) {
    let add = |attempts: &Attempts| {
        attempts.count.fetch_add(1, Ordering::Relaxed);
        attempts.microseconds.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    };
    if let Some(known) = WORK.attempts.read().unwrap_or_else(PoisonError::into_inner).get(&(kind, ended)) {
        return add(known);
    }
    add(WORK.attempts.write().unwrap_or_else(PoisonError::into_inner).entry((kind, ended)).or_default());
}

/// Rows of a job.
pub fn job_moved(read: u64, written: u64) {
    WORK.rows_read.fetch_add(read, Ordering::Relaxed);
    WORK.rows_written.fetch_add(written, Ordering::Relaxed);
}

pub fn backed_up(taken_us: i64) {
    WORK.last_backup_us.store(taken_us, Ordering::Relaxed);
}

pub(super) fn add_samples(samples: &mut Vec<Sample>) {
    samples.push(sample(&BUILD, None, vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0));
    for (outcome, count) in [("answered", &WORK.answered), ("failed", &WORK.failed)] {
        samples.push(sample(&STATEMENTS, None, vec![outcome_label(outcome)], count_of(count)));
    }
    for phase in Phase::ALL {
        let labels = vec![("phase", phase.as_str().to_owned())];
        add_histogram(samples, &PHASES, (None, labels), &WORK.phases[phase as usize]);
    }
    let attempts = WORK.attempts.read().unwrap_or_else(PoisonError::into_inner);
    let labels = |(kind, ended): &(&str, Ended)| vec![("kind", (*kind).to_owned()), outcome_label(ended.as_str())];
    for (name, attempts) in attempts.iter() {
        samples.push(sample(&ATTEMPTS, None, labels(name), count_of(&attempts.count)));
    }
    for (name, attempts) in attempts.iter() {
        let took = seconds(attempts.microseconds.load(Ordering::Relaxed));
        samples.push(sample(&ATTEMPT_SECONDS, None, labels(name), took));
    }
    samples.push(sample(&JOB_ROWS_READ, None, Vec::new(), count_of(&WORK.rows_read)));
    samples.push(sample(&JOB_ROWS_WRITTEN, None, Vec::new(), count_of(&WORK.rows_written)));
    let last_backup = WORK.last_backup_us.load(Ordering::Relaxed) as f64 / 1e6;
    samples.push(sample(&LAST_BACKUP, None, Vec::new(), last_backup));
}
