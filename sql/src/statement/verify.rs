//! `VERIFY FEATURE VIEW v [SAMPLE n]`: compare what is served with what a replay gives.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;

use crate::cursor::{Cursor, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    pub view: ObjectName,
    /// How many keys; without it, all.
    pub sample: Option<u64>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Verify> {
    cursor.expect(&["verify", "feature", "view"])?;
    let view = cursor.object_name()?;
    let sample = if cursor.take(&["sample"]) { Some(cursor.whole_number("a number of keys")?) } else { None };
    if !cursor.at_end() {
        return Err(cursor.expected("SAMPLE or end of statement"));
    }
    Ok(Verify { view, sample })
}

impl Display for Verify {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VERIFY FEATURE VIEW {}", self.view)?;
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
    }

    #[test]
    fn errors_have_places() {
        check_error("VERIFY FEATURE VIEW v SAMPLE -1", "syntax error at or near \"-\"", 30);
        check_error("VERIFY FEATURE VIEW v SAMPLE 1.5", "syntax error at or near \"1.5\"", 30);
    }
}
