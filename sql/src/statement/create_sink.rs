//! `CREATE SINK name FROM view TO KAFKA (…)`: where changed feature values go.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::object_kind::ObjectKind;
use crate::option::{Options, parse_options};

#[derive(Debug, Clone, PartialEq)]
pub enum SinkTarget {
    Kafka(Options),
    /// Sessions that LISTEN.
    Channel(Ident),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateSink {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub view: ObjectName,
    pub target: SinkTarget,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateSink> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    cursor.expect(&["from"])?;
    let view = cursor.object_name()?;
    cursor.expect(&["to"])?;
    let target = if cursor.take(&["kafka"]) {
        SinkTarget::Kafka(parse_options(cursor)?)
    } else if cursor.take(&["channel"]) {
        SinkTarget::Channel(cursor.name()?)
    } else {
        return Err(cursor
            .expected("KAFKA (…) or CHANNEL")
            .with_hint("type TO KAFKA (brokers '…', topic '…', format json)"));
    };
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateSink { or_replace, if_not_exists, name, view, target, options, comment })
}

impl Display for CreateSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::new(print_head(ObjectKind::Sink, self.or_replace, self.if_not_exists, &self.name));
        printed.line(format!("FROM {}", self.view));
        printed.line(match &self.target {
            SinkTarget::Kafka(options) => format!("TO KAFKA {options}"),
            SinkTarget::Channel(name) => format!("TO CHANNEL {name}"),
        });
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create or replace sink S from public.V to kafka (brokers 'k:9092', topic 't', format json) comment 'x' with (owner = 'me')",
            "CREATE OR REPLACE SINK s\n  FROM public.v\n  TO KAFKA (brokers = 'k:9092', topic = 't', format = json)\n  \
             WITH (owner = 'me')\n  COMMENT 'x'",
        );
        check("CREATE SINK s FROM v TO CHANNEL C", "CREATE SINK s\n  FROM v\n  TO CHANNEL c");
        check("DROP SINK IF EXISTS s", "DROP SINK IF EXISTS s");
        check("SHOW CREATE SINK s", "SHOW CREATE SINK s");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE SINK s TO KAFKA (topic 't')", "syntax error at or near \"TO\"", 15);
        check_error("CREATE SINK s FROM v TO FILE 'x'", "syntax error at or near \"FILE\"", 25);
        check_error("CREATE SINK s FROM v TO CHANNEL c TIMESTAMP t", "syntax error at or near \"TIMESTAMP\"", 35);
    }
}
