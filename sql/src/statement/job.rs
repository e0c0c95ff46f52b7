//! `CANCEL JOB n`, `RETRY JOB n` and `WAIT FOR JOB n [TIMEOUT interval]`.

use std::fmt::{self, Display};

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::interval::Interval;
use crate::window::parse_duration;

/// A job by its number in `granary.jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelJob {
    pub job: u64,
}

/// A job by its number in `granary.jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryJob {
    pub job: u64,
}

/// Until a job has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitForJob {
    pub job: u64,
    /// Longer than zero; without it, as long as it takes.
    pub timeout: Option<Interval>,
}

pub(crate) fn parse_wait(cursor: &mut Cursor) -> Result<WaitForJob> {
    cursor.expect(&["wait", "for", "job"])?;
    let job = parse_number(cursor)?;
    let timeout = if cursor.take(&["timeout"]) { Some(parse_timeout(cursor)?) } else { None };
    if !cursor.at_end() {
        return Err(cursor.expected("TIMEOUT or end of statement"));
    }
    Ok(WaitForJob { job, timeout })
}

fn parse_timeout(cursor: &mut Cursor) -> Result<Interval> {
    let position = cursor.position();
    let timeout = parse_duration(cursor)?;
    if timeout.microseconds <= 0 {
        let error = cursor.error(ParseErrorKind::InvalidParameter, "a timeout must be longer than zero");
        return Err(error.at(position).with_hint("TIMEOUT '10 minutes'"));
    }
    Ok(timeout)
}

pub(crate) fn parse_cancel(cursor: &mut Cursor) -> Result<CancelJob> {
    cursor.expect(&["cancel", "job"])?;
    Ok(CancelJob { job: parse_number(cursor)? })
}

pub(crate) fn parse_retry(cursor: &mut Cursor) -> Result<RetryJob> {
    cursor.expect(&["retry", "job"])?;
    Ok(RetryJob { job: parse_number(cursor)? })
}

fn parse_number(cursor: &mut Cursor) -> Result<u64> {
    let number = cursor.whole_number("a job's number");
    number.map_err(|error| error.with_hint("find it with SELECT * FROM granary.jobs"))
}

impl Display for CancelJob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CANCEL JOB {}", self.job)
    }
}

impl Display for RetryJob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RETRY JOB {}", self.job)
    }
}

impl Display for WaitForJob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "WAIT FOR JOB {}", self.job)?;
        match &self.timeout {
            Some(timeout) => write!(formatter, " TIMEOUT {timeout}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("cancel job 12", "CANCEL JOB 12");
        check("retry  job\n0", "RETRY JOB 0");
        check("wait for job 3", "WAIT FOR JOB 3");
        check("wait for job 3 timeout '90 s'", "WAIT FOR JOB 3 TIMEOUT '90 s'");
    }

    #[test]
    fn errors_have_places() {
        check_error("CANCEL JOB 'x'", "syntax error at or near \"'x'\"", 12);
        check_error("RETRY JOB 99999999999999999999", "syntax error at or near \"99999999999999999999\"", 11);
        check_error("WAIT FOR JOB 1 TIMEOUT '0'", "a timeout must be longer than zero", 24);
        check_error("WAIT FOR JOB 1 NOW", "syntax error at or near \"NOW\"", 16);
        check_error("CANCEL 12", "syntax error at or near \"12\"", 8);
    }
}
