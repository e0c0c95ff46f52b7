//! `CREATE SOURCE name FROM … | AS query`: where batch rows come from.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName, Query, SetExpr};
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::column::{Column, parse_columns};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};
use crate::source::is_word;
use crate::text::SqlText;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    Parquet,
    Csv,
    Json,
    Delta,
    Iceberg,
}

impl FileFormat {
    pub const ALL: [FileFormat; 5] =
        [FileFormat::Parquet, FileFormat::Csv, FileFormat::Json, FileFormat::Delta, FileFormat::Iceberg];

    /// In lower case, as in SQL.
    pub fn word(self) -> &'static str {
        match self {
            FileFormat::Parquet => "parquet",
            FileFormat::Csv => "csv",
            FileFormat::Json => "json",
            FileFormat::Delta => "delta",
            FileFormat::Iceberg => "iceberg",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum SourceOrigin {
    /// A path, or a pattern of paths, local or in an object store.
    Files {
        format: FileFormat,
        path: String,
    },
    /// A table by its name in that database.
    Postgres {
        connection: String,
        table: String,
    },
    Query(SqlText<Box<Query>>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// The declared schema; without one, that of the data.
    pub columns: Option<Vec<Column>>,
    pub origin: SourceOrigin,
    pub timestamp: Option<Ident>,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 3] = [Clause::Timestamp, Clause::With, Clause::Comment];

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateSource> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let columns = if *cursor.peek() == Token::LParen { Some(parse_columns(cursor)?) } else { None };
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    let origin = if cursor.take(&["as"]) {
        let position = cursor.index();
        let query = parse_query_and_clauses(cursor, &mut clauses)?;
        // printed with clauses behind it, SELECT of nothing would take them for columns
        if matches!(query.ast.body.as_ref(), SetExpr::Select(select) if select.projection.is_empty()) {
            return Err(cursor.expected_at(position, "a query with columns"));
        }
        SourceOrigin::Query(query)
    } else if cursor.take(&["from"]) {
        let origin = parse_origin(cursor)?;
        clauses.parse(cursor, &CLAUSES)?;
        origin
    } else {
        let hint = format!("type CREATE SOURCE {name} FROM PARQUET 'path' TIMESTAMP ts");
        return Err(cursor.expected("FROM or AS").with_hint(hint));
    };
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    let Clauses { timestamp, options, comment, .. } = clauses;
    Ok(CreateSource { or_replace, if_not_exists, name, columns, origin, timestamp, options, comment })
}

fn parse_origin(cursor: &mut Cursor) -> Result<SourceOrigin> {
    if cursor.take(&["postgres"]) || cursor.take(&["postgresql"]) {
        let connection = cursor.string("a connection in quotes, such as 'secret:name'")?;
        cursor.expect(&["table"])?;
        return Ok(SourceOrigin::Postgres { connection, table: parse_foreign_table(cursor)? });
    }
    match FileFormat::ALL.into_iter().find(|format| cursor.sees(&[format.word()])) {
        Some(format) => {
            cursor.advance();
            Ok(SourceOrigin::Files { format, path: cursor.string("a path in quotes")? })
        }
        None => {
            let error = cursor.expected("PARQUET, CSV, JSON, DELTA, ICEBERG or POSTGRES");
            Err(error.with_hint("type FROM PARQUET 'path', or AS SELECT … over other sources"))
        }
    }
}

/// A table's name in another database: `'public.customers'`, or without quotes.
pub(crate) fn parse_foreign_table(cursor: &mut Cursor) -> Result<String> {
    match cursor.take_string() {
        Some(table) => Ok(table),
        None => Ok(cursor.object_name()?.to_string()),
    }
}

/// A query with clauses behind it. sqlparser would take `FROM t TIMESTAMP ts` for an alias,
/// so the clauses are found first: the first place from which clauses alone reach the end of the statement,
/// and before which there is a whole query.
fn parse_query_and_clauses<'a>(cursor: &mut Cursor<'a>, clauses: &mut Clauses) -> Result<SqlText<Box<Query>>> {
    let start = cursor.index();
    let mut failure = None;
    let ends = clause_starts(cursor, start);
    for end in ends {
        let mut behind = cursor.sub_from(end);
        let mut found = Clauses::default();
        let has_clauses = found.parse(&mut behind, &CLAUSES).is_ok() && behind.at_end();
        if !has_clauses {
            continue;
        }
        let mut inside = cursor.sub(start, end);
        match inside.query().and_then(|query| inside.expect_end().map(|()| query)) {
            Ok(query) => {
                while cursor.index() < end {
                    cursor.advance();
                }
                clauses.parse(cursor, &CLAUSES)?;
                return Ok(query);
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    match cursor.query() {
        Ok(query) => Ok(query),
        Err(error) => Err(failure.unwrap_or(error)),
    }
}

/// Where a clause may begin, outside of parentheses.
fn clause_starts(cursor: &Cursor, start: usize) -> Vec<usize> {
    let (mut depth, mut index, mut found) = (0usize, start, Vec::new());
    loop {
        let token = cursor.token_at(index);
        match token {
            Token::EOF => return found,
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ if ["timestamp", "with", "comment"].iter().any(|word| is_word(token, word)) => found.push(index),
            _ => {}
        }
        index += 1;
    }
}

impl Display for CreateSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = print_head(ObjectKind::Source, self.or_replace, self.if_not_exists, &self.name);
        if let Some(columns) = &self.columns {
            head = format!("{head} ({})", join(columns));
        }
        let mut printed = Printed::new(head);
        match &self.origin {
            SourceOrigin::Files { format, path } => {
                printed.line(format!("FROM {} {}", format.word().to_uppercase(), quote_literal(path)));
            }
            SourceOrigin::Postgres { connection, table } => {
                printed.line(format!("FROM POSTGRES {} TABLE {}", quote_literal(connection), quote_literal(table)));
            }
            SourceOrigin::Query(query) => {
                printed.query(query);
            }
        }
        if let Some(timestamp) = &self.timestamp {
            printed.line(format!("TIMESTAMP {timestamp}"));
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
            "create source s (a int, b text) from csv 'x.csv' with (header = true, delimiter = ';') timestamp TS",
            "CREATE SOURCE s (a int, b text)\n  FROM CSV 'x.csv'\n  TIMESTAMP ts\n  WITH (header = true, delimiter = ';')",
        );
        check(
            "CREATE SOURCE c FROM POSTGRES 'secret:dsn' TABLE public.customers TIMESTAMP updated_at",
            "CREATE SOURCE c\n  FROM POSTGRES 'secret:dsn' TABLE 'public.customers'\n  TIMESTAMP updated_at",
        );
    }

    #[test]
    fn clauses_follow_a_query() {
        check("CREATE SOURCE s AS SELECT * FROM t TIMESTAMP ts", "CREATE SOURCE s\nAS SELECT * FROM t\n  TIMESTAMP ts");
        check(
            "CREATE SOURCE s AS SELECT a, timestamp AS with_time FROM t x WHERE b = TIMESTAMP '2024-01-01' TIMESTAMP timestamp WITH (data_delay = '1 hour')",
            "CREATE SOURCE s\nAS SELECT a, timestamp AS with_time FROM t x WHERE b = TIMESTAMP '2024-01-01'\n  TIMESTAMP timestamp\n  WITH (data_delay = '1 hour')",
        );
        check(
            "CREATE SOURCE s TIMESTAMP ts AS WITH a AS (SELECT 1 AS ts) SELECT ts FROM a ORDER BY ts DESC",
            "CREATE SOURCE s\nAS WITH a AS (SELECT 1 AS ts) SELECT ts FROM a ORDER BY ts DESC\n  TIMESTAMP ts",
        );
        check(
            "CREATE SOURCE s AS SELECT * FROM t ORDER BY timestamp desc",
            "CREATE SOURCE s\nAS SELECT * FROM t ORDER BY timestamp desc",
        );
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE SOURCE s", "syntax error at end of input", 16);
        check_error("CREATE SOURCE s TIMESTAMP ts AS SELECT", "syntax error at or near \"SELECT\"", 33);
        check_error("CREATE SOURCE s FROM xml 'a'", "syntax error at or near \"xml\"", 22);
        check_error("CREATE SOURCE s AS SELECT a FROM WHERE x TIMESTAMP ts", "syntax error at or near \"WHERE\"", 34);
        check_error(
            "CREATE SOURCE s FROM PARQUET 'a' TIMESTAMP a TIMESTAMP b",
            "TIMESTAMP is given more than once",
            46,
        );
    }
}
