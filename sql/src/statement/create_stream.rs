//! `CREATE STREAM name (column type, …) FROM PUSH | KAFKA (…) | POSTGRES …`: where events come from as they happen.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};

use crate::clause::{Backfill, Clause, Clauses, Printed, unexpected};
use crate::column::{Column, parse_columns};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::{Options, join, parse_options};
use crate::statement::create_source::parse_foreign_table;

#[derive(Debug, Clone, PartialEq)]
pub enum StreamOrigin {
    /// INSERT, COPY or HTTP.
    Push,
    Kafka(Options),
    /// Changes captured from a table.
    Postgres {
        connection: String,
        publication: Option<Ident>,
        table: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateStream {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub columns: Vec<Column>,
    pub origin: StreamOrigin,
    pub timestamp: Ident,
    /// The columns that tell events apart; empty if every event counts.
    pub deduplicate_by: Vec<Ident>,
    pub backfill: Option<Backfill>,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 5] =
    [Clause::Timestamp, Clause::DeduplicateBy, Clause::Backfill, Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateStream> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let columns = parse_columns(cursor)?;
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.take(&["from"]) {
        let error = cursor.expected("FROM PUSH, FROM KAFKA (…) or FROM POSTGRES '…'");
        return Err(error.with_hint("type FROM PUSH for events that arrive by INSERT or HTTP"));
    }
    let origin = parse_origin(cursor)?;
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    clauses.need(cursor, Clause::Timestamp, "stream")?;
    let Some(timestamp) = clauses.timestamp else {
        return Err(cursor.expected("TIMESTAMP"));
    };
    Ok(CreateStream {
        or_replace,
        if_not_exists,
        name,
        columns,
        origin,
        timestamp,
        deduplicate_by: clauses.deduplicate_by,
        backfill: clauses.backfill,
        options: clauses.options,
        comment: clauses.comment,
    })
}

fn parse_origin(cursor: &mut Cursor) -> Result<StreamOrigin> {
    if cursor.take(&["push"]) {
        return Ok(StreamOrigin::Push);
    }
    if cursor.take(&["kafka"]) {
        return Ok(StreamOrigin::Kafka(parse_options(cursor)?));
    }
    if !cursor.take(&["postgres"]) && !cursor.take(&["postgresql"]) {
        return Err(cursor.expected("PUSH, KAFKA or POSTGRES"));
    }
    let connection = cursor.string("a connection in quotes, such as 'secret:name'")?;
    let publication = if cursor.take(&["publication"]) { Some(cursor.name()?) } else { None };
    cursor.expect(&["table"])?;
    Ok(StreamOrigin::Postgres { connection, publication, table: parse_foreign_table(cursor)? })
}

impl Display for StreamOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamOrigin::Push => write!(formatter, "PUSH"),
            StreamOrigin::Kafka(options) => write!(formatter, "KAFKA {options}"),
            StreamOrigin::Postgres { connection, publication, table } => {
                write!(formatter, "POSTGRES {}", quote_literal(connection))?;
                if let Some(publication) = publication {
                    write!(formatter, " PUBLICATION {publication}")?;
                }
                write!(formatter, " TABLE {}", quote_literal(table))
            }
        }
    }
}

impl Display for CreateStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Stream, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(format!("{head} ({})", join(&self.columns)));
        printed.line(format!("FROM {}", self.origin));
        printed.line(format!("TIMESTAMP {}", self.timestamp));
        if !self.deduplicate_by.is_empty() {
            printed.line(format!("DEDUPLICATE BY ({})", join(&self.deduplicate_by)));
        }
        if let Some(Backfill { source, until }) = &self.backfill {
            let until = until.as_ref().map(|until| format!(" UNTIL {}", quote_literal(until)));
            printed.line(format!("BACKFILL FROM {source}{}", until.unwrap_or_default()));
        }
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "CREATE STREAM s (a text, ts timestamptz) FROM KAFKA (brokers 'k:9092', topic 't', format json) \
             BACKFILL FROM past UNTIL '2024-06-01' DEDUPLICATE BY (a, ts) TIMESTAMP ts",
            "CREATE STREAM s (a text, ts timestamptz)\n  FROM KAFKA (brokers = 'k:9092', topic = 't', format = json)\n  \
             TIMESTAMP ts\n  DEDUPLICATE BY (a, ts)\n  BACKFILL FROM past UNTIL '2024-06-01'",
        );
        check(
            "CREATE STREAM s (a text) TIMESTAMP a FROM POSTGRES 'secret:x' PUBLICATION P TABLE t",
            "CREATE STREAM s (a text)\n  FROM POSTGRES 'secret:x' PUBLICATION p TABLE 't'\n  TIMESTAMP a",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE STREAM s (a text) FROM PUSH", "a stream needs a clause TIMESTAMP", 35);
        check_error("CREATE STREAM s (a text) FROM FILE 'x'", "syntax error at or near \"FILE\"", 31);
        check_error(
            "CREATE STREAM s (a text) FROM PUSH TIMESTAMP a BACKFILL FROM p UNTIL '2024-02-30'",
            "date/time field value out of range: \"2024-02-30\"",
            70,
        );
    }
}
