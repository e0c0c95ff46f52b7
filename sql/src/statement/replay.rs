//! `REPLAY STREAM s [FROM OFFSET n | FROM time]`: put events online once more.

use std::fmt::{self, Display};

use sqlparser::ast::{Expr, ObjectName};

use crate::cursor::{Cursor, Result};
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub enum ReplayStart {
    /// The first event that there is.
    First,
    Offset(u64),
    /// The first event of this time or later.
    Time(SqlText<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    pub stream: ObjectName,
    pub start: ReplayStart,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Replay> {
    cursor.expect(&["replay", "stream"])?;
    let stream = cursor.object_name()?;
    let start = if cursor.take(&["from", "offset"]) {
        ReplayStart::Offset(cursor.whole_number("an offset, as in granary.streams")?)
    } else if cursor.take(&["from"]) {
        ReplayStart::Time(cursor.expression()?)
    } else {
        ReplayStart::First
    };
    if !cursor.at_end() {
        return Err(cursor.expected("FROM OFFSET, FROM or end of statement"));
    }
    Ok(Replay { stream, start })
}

impl Display for Replay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "REPLAY STREAM {}", self.stream)?;
        match &self.start {
            ReplayStart::First => Ok(()),
            ReplayStart::Offset(offset) => write!(formatter, " FROM OFFSET {offset}"),
            ReplayStart::Time(time) => write!(formatter, " FROM {time}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("replay stream S", "REPLAY STREAM s");
        check("REPLAY STREAM public.s FROM OFFSET 12", "REPLAY STREAM public.s FROM OFFSET 12");
        check("REPLAY STREAM s FROM '2024-01-01'", "REPLAY STREAM s FROM '2024-01-01'");
        check("REPLAY STREAM s from now() - interval '1 day'", "REPLAY STREAM s FROM now() - interval '1 day'");
        check("REPLAY STREAM s FROM TIMESTAMP '2024-01-01'", "REPLAY STREAM s FROM TIMESTAMP '2024-01-01'");
    }

    #[test]
    fn errors_have_places() {
        check_error("REPLAY STREAM", "syntax error at end of input", 14);
        check_error("REPLAY STREAM s FROM OFFSET -1", "syntax error at or near \"-\"", 29);
        check_error("REPLAY STREAM s TO 5", "syntax error at or near \"TO\"", 17);
    }
}
