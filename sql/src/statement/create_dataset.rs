//! `CREATE DATASET name AS query`: rows kept as they are, with the definitions that made them.

use std::fmt::{self, Display};

use sqlparser::ast::{ObjectName, Query};

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::Options;
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct CreateDataset {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub options: Options,
    pub comment: Option<String>,
    pub query: SqlText<Box<Query>>,
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateDataset> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.take(&["as"]) {
        return Err(unexpected(cursor, &CLAUSES, "AS").or_hint("type AS SELECT …"));
    }
    let query = cursor.query()?;
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateDataset { or_replace, if_not_exists, name, options, comment, query })
}

impl Display for CreateDataset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Dataset, self.or_replace, self.if_not_exists, &self.name);
        Printed::new(head).options(&self.options).comment(&self.comment).query(&self.query).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "CREATE DATASET d COMMENT 'x' AS SELECT l.*, f.* FROM labels l JOIN v FOR SYSTEM_TIME AS OF l.ts AS f ON f.id = l.id",
            "CREATE DATASET d\n  COMMENT 'x'\nAS SELECT l.*, f.* FROM labels l JOIN v FOR SYSTEM_TIME AS OF l.ts AS f ON f.id = l.id",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE DATASET d SELECT 1", "syntax error at or near \"SELECT\"", 18);
    }
}
