//! `SHOW CREATE kind name`: the statement that makes a feature object what it is.

use std::fmt::{self, Display};

use sqlparser::ast::ObjectName;

use crate::cursor::{Cursor, Result};
use crate::object_kind::ObjectKind;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShowCreate {
    pub kind: ObjectKind,
    pub name: ObjectName,
}

pub(crate) fn parse(cursor: &mut Cursor, kind: ObjectKind) -> Result<ShowCreate> {
    cursor.expect(&["show", "create"])?;
    ObjectKind::take(cursor);
    Ok(ShowCreate { kind, name: cursor.object_name()? })
}

impl Display for ShowCreate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SHOW CREATE {} {}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("show create feature service public.Fraud", "SHOW CREATE FEATURE SERVICE public.fraud");
        check("SHOW CREATE ENTITY e", "SHOW CREATE ENTITY e");
    }

    #[test]
    fn errors_have_places() {
        check_error("SHOW CREATE FEATURE VIEW", "syntax error at end of input", 25);
        check_error("SHOW CREATE ENTITY e f", "syntax error at or near \"f\"", 22);
    }
}
