//! `CREATE FEATURE TABLE name (column type, …) ENTITY … TIMESTAMP …`: features that users write themselves.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::column::{Column, parse_columns};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};

#[derive(Debug, Clone, PartialEq)]
pub struct CreateFeatureTable {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// Join keys, time and features.
    pub columns: Vec<Column>,
    /// At least one.
    pub entities: Vec<ObjectName>,
    pub timestamp: Ident,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 4] = [Clause::Entity, Clause::Timestamp, Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateFeatureTable> {
    const KIND: &str = "feature table";
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let columns = parse_columns(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    clauses.need(cursor, Clause::Entity, KIND)?;
    clauses.need(cursor, Clause::Timestamp, KIND)?;
    let Some(timestamp) = clauses.timestamp else {
        return Err(cursor.expected("TIMESTAMP"));
    };
    let Clauses { entities, options, comment, .. } = clauses;
    Ok(CreateFeatureTable { or_replace, if_not_exists, name, columns, entities, timestamp, options, comment })
}

impl Display for CreateFeatureTable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::FeatureTable, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(format!("{head} ({})", join(&self.columns)));
        printed.line(format!("ENTITY {}", join(&self.entities)));
        printed.line(format!("TIMESTAMP {}", self.timestamp));
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "CREATE FEATURE TABLE t (id text, ts timestamptz, vec vector(384)) WITH (ttl = '30 days') TIMESTAMP ts ENTITY e",
            "CREATE FEATURE TABLE t (id text, ts timestamptz, vec vector(384))\n  ENTITY e\n  TIMESTAMP ts\n  WITH (ttl = '30 days')",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE FEATURE TABLE t (a int) TIMESTAMP a", "a feature table needs a clause ENTITY", 43);
        check_error("CREATE FEATURE TABLE t (a int NOT NULL)", "syntax error at or near \"NOT\"", 31);
    }
}
