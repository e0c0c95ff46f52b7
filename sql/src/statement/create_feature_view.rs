//! `CREATE FEATURE VIEW name ENTITY … TIMESTAMP … [FEATURES (…)] AS query`: features computed from sources.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName, Query};

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::feature::FeatureItem;
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};
use crate::text::SqlText;
use crate::window::NamedWindow;

#[derive(Debug, Clone, PartialEq)]
pub struct CreateFeatureView {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// At least one.
    pub entities: Vec<ObjectName>,
    pub timestamp: Ident,
    /// The secondary key.
    pub aggregate_by: Option<Ident>,
    /// Without them, the columns of the query are the features.
    pub features: Option<Vec<FeatureItem>>,
    pub windows: Vec<NamedWindow>,
    pub options: Options,
    pub comment: Option<String>,
    pub query: SqlText<Box<Query>>,
}

const CLAUSES: [Clause; 7] = [
    Clause::Entity,
    Clause::Timestamp,
    Clause::AggregateBy,
    Clause::Features,
    Clause::Window,
    Clause::With,
    Clause::Comment,
];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateFeatureView> {
    const KIND: &str = "feature view";
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.sees(&["as"]) {
        let hint = "clauses go between the name and AS SELECT …";
        return Err(unexpected(cursor, &CLAUSES, "AS").or_hint(hint));
    }
    clauses.need(cursor, Clause::Entity, KIND)?;
    clauses.need(cursor, Clause::Timestamp, KIND)?;
    let Some(timestamp) = clauses.timestamp else {
        return Err(cursor.expected("TIMESTAMP"));
    };
    cursor.take(&["as"]);
    let query = cursor.query()?;
    Ok(CreateFeatureView {
        or_replace,
        if_not_exists,
        name,
        entities: clauses.entities,
        timestamp,
        aggregate_by: clauses.aggregate_by,
        features: clauses.features,
        windows: clauses.windows,
        options: clauses.options,
        comment: clauses.comment,
        query,
    })
}

impl Display for CreateFeatureView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::FeatureView, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(head);
        printed.line(format!("ENTITY {}", join(&self.entities)));
        printed.line(format!("TIMESTAMP {}", self.timestamp));
        if let Some(column) = &self.aggregate_by {
            printed.line(format!("AGGREGATE BY {column}"));
        }
        if let Some(features) = &self.features {
            let items: Vec<String> = features.iter().map(FeatureItem::to_string).collect();
            printed.line(format!("FEATURES (\n    {}\n  )", items.join(",\n    ")));
        }
        if !self.windows.is_empty() {
            printed.line(format!("WINDOW {}", join(&self.windows)));
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
            "create feature view v with (online) timestamp ts features (COUNT(*) over (last '1 hour') as C, \
             avg(distinct a + 1) filter (where a > 1) over w as sum comment 'x') entity e, f window w as (lifetime) \
             aggregate by m as select * from t",
            "CREATE FEATURE VIEW v\n  ENTITY e, f\n  TIMESTAMP ts\n  AGGREGATE BY m\n  FEATURES (\n    \
             count(*) OVER (LAST '1 hour') AS c,\n    \
             avg(DISTINCT a + 1) FILTER (WHERE a > 1) OVER w AS sum COMMENT 'x'\n  )\n  \
             WINDOW w AS (LIFETIME)\n  WITH (online = true)\nAS select * from t",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE FEATURE VIEW v TIMESTAMP ts AS SELECT 1", "a feature view needs a clause ENTITY", 36);
        check_error("CREATE FEATURE VIEW v ENTITY e AS SELECT 1", "a feature view needs a clause TIMESTAMP", 32);
        check_error("CREATE FEATURE VIEW v ENTITY e ENTITY f", "ENTITY is given more than once", 32);
        check_error(
            "CREATE FEATURE VIEW v ENTITY e TIMESTAMP t FEATURES (sum(a) OVER (LAST '1 month') AS b) AS SELECT 1",
            "a fixed duration is needed, and \"1 month\" is not one",
            72,
        );
        check_error(
            "CREATE FEATURE VIEW v ENTITY e TIMESTAMP t FEATURES (sum(a) OVER (LAST '1 day')) AS SELECT 1",
            "syntax error at or near \")\"",
            80,
        );
    }
}
