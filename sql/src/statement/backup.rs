//! `BACKUP TO 'place' [KEEP n]`: a copy of everything, where it can be restored from.

use std::fmt::{self, Display};

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::name::quote_literal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// A path or URL.
    pub to: String,
    /// How many backups stay there, this one among them, at least one; without it, all.
    pub keep: Option<u64>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Backup> {
    cursor.expect(&["backup", "to"])?;
    let to = cursor.string("a path or URL in quotes")?;
    let keep = if cursor.take(&["keep"]) { Some(parse_keep(cursor)?) } else { None };
    if !cursor.at_end() {
        return Err(cursor.expected("KEEP or end of statement"));
    }
    Ok(Backup { to, keep })
}

fn parse_keep(cursor: &mut Cursor) -> Result<u64> {
    let position = cursor.position();
    match cursor.whole_number("a number of backups")? {
        0 => Err(cursor.error(ParseErrorKind::InvalidParameter, "at least one backup is kept").at(position)),
        keep => Ok(keep),
    }
}

impl Display for Backup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BACKUP TO {}", quote_literal(&self.to))?;
        match self.keep {
            Some(keep) => write!(formatter, " KEEP {keep}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("backup to '/b'", "BACKUP TO '/b'");
        check("BACKUP TO 's3://it''s/x' keep 7", "BACKUP TO 's3://it''s/x' KEEP 7");
    }

    #[test]
    fn errors_have_places() {
        check_error("BACKUP '/b'", "syntax error at or near \"'/b'\"", 8);
        check_error("BACKUP TO b", "syntax error at or near \"b\"", 11);
        check_error("BACKUP TO '/b' KEEP 0", "at least one backup is kept", 21);
        check_error("BACKUP TO '/b' FOR EVER", "syntax error at or near \"FOR\"", 16);
    }
}
