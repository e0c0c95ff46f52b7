//! `CANCEL JOB n` and `RETRY JOB n`.

use std::fmt::{self, Display};

use crate::cursor::{Cursor, Result};

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

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("cancel job 12", "CANCEL JOB 12");
        check("retry  job\n0", "RETRY JOB 0");
    }

    #[test]
    fn errors_have_places() {
        check_error("CANCEL JOB 'x'", "syntax error at or near \"'x'\"", 12);
        check_error("RETRY JOB 99999999999999999999", "syntax error at or near \"99999999999999999999\"", 11);
        check_error("CANCEL 12", "syntax error at or near \"12\"", 8);
    }
}
