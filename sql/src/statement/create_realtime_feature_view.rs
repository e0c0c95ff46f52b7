//! `CREATE REALTIME FEATURE VIEW name [REQUEST (…)] AS query`: features computed when they are asked for.

use std::fmt::{self, Display};

use sqlparser::ast::{ObjectName, Query};

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::column::Column;
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct CreateRealtimeFeatureView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// The columns that come with the question.
    pub request: Vec<Column>,
    pub options: Options,
    pub comment: Option<String>,
    pub query: SqlText<Box<Query>>,
}

const CLAUSES: [Clause; 3] = [Clause::Request, Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateRealtimeFeatureView> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.take(&["as"]) {
        return Err(unexpected(cursor, &CLAUSES, "AS").or_hint("type AS SELECT …"));
    }
    let query = cursor.query()?;
    let Clauses { request, options, comment, .. } = clauses;
    Ok(CreateRealtimeFeatureView { or_replace, if_not_exists, name, request, options, comment, query })
}

impl Display for CreateRealtimeFeatureView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::RealtimeFeatureView, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(head);
        if !self.request.is_empty() {
            printed.line(format!("REQUEST ({})", join(&self.request)));
        }
        printed.options(&self.options).comment(&self.comment).query(&self.query).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create realtime feature view r comment 'x' request (amount float8) as select amount > 3 from v",
            "CREATE REALTIME FEATURE VIEW r\n  REQUEST (amount float8)\n  COMMENT 'x'\nAS select amount > 3 from v",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE REALTIME FEATURE VIEW r ENTITY e AS SELECT 1", "syntax error at or near \"ENTITY\"", 32);
        check_error("CREATE REALTIME FEATURE VIEW r AS DELETE FROM t", "syntax error at or near \"DELETE\"", 35);
    }
}
