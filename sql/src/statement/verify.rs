//! `VERIFY FEATURE VIEW v [SAMPLE n]`: compare what is served with what a replay gives. `VERIFY FEATURE SERVICE s LOG [SAMPLE n]`: the
//! same of what was served and logged.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;

use crate::cursor::{Cursor, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    pub view: ObjectName,
    /// It is a feature service, of which what was logged is compared.
    pub is_log: bool,
    /// How many keys, or logged requests; without it, all.
    pub sample: Option<u64>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Verify> {
    cursor.expect(&["verify", "feature"])?;
    let is_log = cursor.take(&["service"]);
    if !is_log {
        cursor.expect(&["view"])?;
    }
    let view = cursor.object_name()?;
    if is_log {
        cursor.expect(&["log"])?;
    }
    let what = if is_log { "a number of requests" } else { "a number of keys" };
    let sample = if cursor.take(&["sample"]) { Some(cursor.whole_number(what)?) } else { None };
    if !cursor.at_end() {
        return Err(cursor.expected("SAMPLE or end of statement"));
    }
    Ok(Verify { view, is_log, sample })
}

impl Display for Verify {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_log {
            true => write!(formatter, "VERIFY FEATURE SERVICE {} LOG", self.view)?,
            false => write!(formatter, "VERIFY FEATURE VIEW {}", self.view)?,
        }
        match self.sample {
            Some(sample) => write!(formatter, " SAMPLE {sample}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("verify feature view a.V sample 1000", "VERIFY FEATURE VIEW a.v SAMPLE 1000");
        check("VERIFY FEATURE VIEW v", "VERIFY FEATURE VIEW v");
        check("verify feature service S log sample 10", "VERIFY FEATURE SERVICE s LOG SAMPLE 10");
        check("VERIFY FEATURE SERVICE a.s LOG", "VERIFY FEATURE SERVICE a.s LOG");
    }

    #[test]
    fn errors_have_places() {
        check_error("VERIFY FEATURE VIEW v SAMPLE -1", "syntax error at or near \"-\"", 30);
        check_error("VERIFY FEATURE SERVICE s SAMPLE 1", "syntax error at or near \"SAMPLE\"", 26);
        check_error("VERIFY FEATURE VIEW v SAMPLE 1.5", "syntax error at or near \"1.5\"", 30);
    }
}
