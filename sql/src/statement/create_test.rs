//! `CREATE TEST name GIVEN relation AS (query) … EXPECT (query) RETURNS (query)`: what definitions make of rows that
//! are made up.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName, Query};
use sqlparser::tokenizer::Token;

use crate::clause::{Clause, Clauses, Printed, unexpected};
use crate::cursor::{Cursor, Result};
use crate::head::{Head, parse_head, print_head};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::{Options, join};
use crate::text::SqlText;

/// The rows that a relation has while the test runs.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenRows {
    pub relation: ObjectName,
    /// Which columns the query has; without a list those of the relation, in order.
    pub columns: Option<Vec<Ident>>,
    pub query: SqlText<Box<Query>>,
}

/// What the tested query is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// These rows and no others; their order counts if it is said to.
    Rows {
        query: SqlText<Box<Query>>,
        in_order: bool,
    },
    Nothing,
    /// An error, with this SQLSTATE if one is said.
    Error(Option<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTest {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    /// A relation that is read and not given is empty.
    pub given: Vec<GivenRows>,
    /// The text of the time that it is.
    pub at: Option<String>,
    pub query: SqlText<Box<Query>>,
    pub expected: Expected,
    pub options: Options,
    pub comment: Option<String>,
}

const CLAUSES: [Clause; 2] = [Clause::With, Clause::Comment];
const SYNOPSIS: &str = "a test is: [GIVEN relation AS (query), …] [AT 'time'] EXPECT (query) RETURNS (query)";

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateTest> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let given = if cursor.take(&["given"]) { cursor.list(parse_given)? } else { Vec::new() };
    let at = parse_at(cursor)?;
    if !cursor.take(&["expect"]) {
        return Err(cursor.expected("GIVEN, AT or EXPECT").with_hint(SYNOPSIS));
    }
    let query = parse_query(cursor)?;
    let expected = if cursor.take(&["returns", "nothing"]) {
        Expected::Nothing
    } else if cursor.take(&["returns"]) {
        let query = parse_query(cursor)?;
        Expected::Rows { query, in_order: cursor.take(&["in", "order"]) }
    } else if cursor.take(&["fails"]) {
        Expected::Error(cursor.take_string())
    } else {
        return Err(cursor.expected("RETURNS (query), RETURNS NOTHING or FAILS").with_hint(SYNOPSIS));
    };
    let mut clauses = Clauses::default();
    clauses.parse(cursor, &CLAUSES)?;
    if !cursor.at_end() {
        return Err(unexpected(cursor, &CLAUSES, "end of statement"));
    }
    let Clauses { options, comment, .. } = clauses;
    Ok(CreateTest { or_replace, if_not_exists, name, given, at, query, expected, options, comment })
}

fn parse_given(cursor: &mut Cursor) -> Result<GivenRows> {
    let relation = cursor.object_name()?;
    let columns = if *cursor.peek() == Token::LParen { Some(cursor.parenthesized(Cursor::name)?) } else { None };
    cursor.expect(&["as"])?;
    Ok(GivenRows { relation, columns, query: parse_query(cursor)? })
}

fn parse_at(cursor: &mut Cursor) -> Result<Option<String>> {
    if !cursor.take(&["at"]) {
        return Ok(None);
    }
    cursor.take(&["timestamp"]);
    let position = cursor.position();
    let at = cursor.string("a timestamp in quotes")?;
    match crate::timestamp::parse_timestamp(&at) {
        Ok(_) => Ok(Some(at)),
        Err(error) => Err(crate::option::timestamp_error(error).at(position)),
    }
}

/// `(query)`
fn parse_query(cursor: &mut Cursor) -> Result<SqlText<Box<Query>>> {
    cursor.expect_symbol(&Token::LParen)?;
    let query = cursor.query()?;
    cursor.expect_symbol(&Token::RParen)?;
    Ok(query)
}

impl Display for GivenRows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.relation)?;
        if let Some(columns) = &self.columns {
            write!(formatter, " ({})", join(columns))?;
        }
        write!(formatter, " AS ({})", self.query)
    }
}

impl Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Rows { query, in_order } => {
                write!(formatter, "RETURNS ({query}){}", if *in_order { " IN ORDER" } else { "" })
            }
            Expected::Nothing => formatter.write_str("RETURNS NOTHING"),
            Expected::Error(None) => formatter.write_str("FAILS"),
            Expected::Error(Some(sqlstate)) => write!(formatter, "FAILS {}", quote_literal(sqlstate)),
        }
    }
}

impl Display for CreateTest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = Printed::new(print_head(ObjectKind::Test, self.or_replace, self.if_not_exists, &self.name));
        if !self.given.is_empty() {
            let given: Vec<String> = self.given.iter().map(GivenRows::to_string).collect();
            printed.line(format!("GIVEN {}", given.join(",\n    ")));
        }
        if let Some(at) = &self.at {
            printed.line(format!("AT {}", quote_literal(at)));
        }
        printed.line(format!("EXPECT ({})", self.query));
        printed.line(self.expected.to_string());
        printed.options(&self.options).comment(&self.comment).write(formatter)
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create test T given tx (user_id, Ts) as (values ('u', '2024-01-01')), s.m as (select 1) at timestamp '2024-01-02' \
             expect (select * from v where user_id = 'u') returns (values ('u', 1)) in order comment 'x' with (owner = 'me')",
            "CREATE TEST t\n  GIVEN tx (user_id, ts) AS (values ('u', '2024-01-01')),\n    s.m AS (select 1)\n  \
             AT '2024-01-02'\n  EXPECT (select * from v where user_id = 'u')\n  RETURNS (values ('u', 1)) IN ORDER\n  \
             WITH (owner = 'me')\n  COMMENT 'x'",
        );
        check("CREATE TEST t EXPECT (TABLE v) RETURNS NOTHING", "CREATE TEST t\n  EXPECT (TABLE v)\n  RETURNS NOTHING");
        check(
            "CREATE OR REPLACE TEST t EXPECT (SELECT 1/0) FAILS '22012'",
            "CREATE OR REPLACE TEST t\n  EXPECT (SELECT 1/0)\n  FAILS '22012'",
        );
        check("DROP TEST IF EXISTS t", "DROP TEST IF EXISTS t");
        check("SHOW CREATE TEST t", "SHOW CREATE TEST t");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE TEST t RETURNS (SELECT 1)", "syntax error at or near \"RETURNS\"", 15);
        check_error("CREATE TEST t EXPECT SELECT 1", "syntax error at or near \"SELECT\"", 22);
        check_error("CREATE TEST t EXPECT (SELECT 1)", "syntax error at end of input", 32);
        check_error("CREATE TEST t GIVEN s (VALUES (1))", "syntax error at or near \"(\"", 31);
    }
}
