//! Small statements of PostgreSQL's that sqlparser does not read and clients send.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName};

use crate::cursor::{Cursor, Result};
use crate::name::quote_literal;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Utility {
    Checkpoint,
    /// `REFRESH MATERIALIZED VIEW`
    RefreshMaterializedView {
        concurrently: bool,
        name: ObjectName,
        with_data: bool,
    },
    /// `ALTER DATABASE name` and what follows, as typed: settings of PostgreSQL's own.
    AlterDatabase {
        name: Ident,
        action: String,
    },
    /// An anonymous block.
    Do {
        language: Option<Ident>,
        body: String,
    },
    /// `SET CONSTRAINTS …`: constraints are never deferred here.
    SetConstraints {
        text: String,
    },
    ResetSessionAuthorization,
    /// ANALYZE, REINDEX, CLUSTER: the statement as typed; storage keeps itself.
    Maintenance {
        text: String,
    },
}

/// Reads one, if the cursor is at one.
pub(crate) fn parse(cursor: &mut Cursor) -> Result<Option<Utility>> {
    if cursor.take(&["checkpoint"]) {
        return Ok(Some(Utility::Checkpoint));
    }
    if cursor.take(&["refresh", "materialized", "view"]) {
        return parse_refresh(cursor).map(Some);
    }
    if super::alter::is_database_setting(cursor) {
        cursor.take(&["alter", "database"]);
        let name = cursor.name()?;
        return Ok(Some(Utility::AlterDatabase { name, action: rest(cursor) }));
    }
    if cursor.take(&["do"]) {
        return parse_do(cursor).map(Some);
    }
    if cursor.take(&["reset", "session", "authorization"]) {
        return Ok(Some(Utility::ResetSessionAuthorization));
    }
    if cursor.sees(&["set", "constraints"]) {
        return Ok(Some(Utility::SetConstraints { text: rest(cursor) }));
    }
    if ["analyze", "analyse", "reindex", "cluster"].iter().any(|word| cursor.sees(&[word])) {
        return Ok(Some(Utility::Maintenance { text: rest(cursor) }));
    }
    Ok(None)
}

/// Everything up to the end of the statement, as typed.
fn rest(cursor: &mut Cursor) -> String {
    let start = cursor.location();
    if cursor.at_end() {
        return String::new();
    }
    while !cursor.at_end() {
        cursor.advance();
    }
    cursor.taken_since(start).0.to_string()
}

/// After `REFRESH MATERIALIZED VIEW`: `[CONCURRENTLY] name [WITH [NO] DATA]`
fn parse_refresh(cursor: &mut Cursor) -> Result<Utility> {
    let concurrently = cursor.take(&["concurrently"]);
    let name = cursor.object_name()?;
    let with_data = !cursor.take(&["with", "no", "data"]);
    if with_data {
        cursor.take(&["with", "data"]);
    }
    Ok(Utility::RefreshMaterializedView { concurrently, name, with_data })
}

/// After `DO`: `[LANGUAGE name] 'body' [LANGUAGE name]`
fn parse_do(cursor: &mut Cursor) -> Result<Utility> {
    let mut language = if cursor.take(&["language"]) { Some(cursor.name()?) } else { None };
    let body = cursor.string("a block in quotes")?;
    if language.is_none() && cursor.take(&["language"]) {
        language = Some(cursor.name()?);
    }
    Ok(Utility::Do { language, body })
}

impl Display for Utility {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Utility::Checkpoint => write!(formatter, "CHECKPOINT"),
            Utility::RefreshMaterializedView { concurrently, name, with_data } => {
                let concurrently = if *concurrently { "CONCURRENTLY " } else { "" };
                let data = if *with_data { "" } else { " WITH NO DATA" };
                write!(formatter, "REFRESH MATERIALIZED VIEW {concurrently}{name}{data}")
            }
            Utility::AlterDatabase { name, action } => {
                write!(formatter, "ALTER DATABASE {name} {action}")
            }
            Utility::Do { language: None, body } => write!(formatter, "DO {}", quote_literal(body)),
            Utility::Do { language: Some(language), body } => {
                write!(formatter, "DO LANGUAGE {language} {}", quote_literal(body))
            }
            Utility::ResetSessionAuthorization => write!(formatter, "RESET SESSION AUTHORIZATION"),
            Utility::SetConstraints { text } | Utility::Maintenance { text } => formatter.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("checkpoint", "CHECKPOINT");
        check(
            "REFRESH MATERIALIZED VIEW CONCURRENTLY m WITH NO DATA",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY m WITH NO DATA",
        );
        check("ALTER DATABASE d SET timezone TO 'UTC'", "ALTER DATABASE d SET timezone TO 'UTC'");
        check("DO $$ BEGIN END $$ LANGUAGE plpgsql", "DO LANGUAGE plpgsql ' BEGIN END '");
        check("REINDEX TABLE t", "REINDEX TABLE t");
        check("SET CONSTRAINTS ALL DEFERRED", "SET CONSTRAINTS ALL DEFERRED");
        check("reset session authorization", "RESET SESSION AUTHORIZATION");
    }

    #[test]
    fn errors_have_places() {
        check_error("DO 1", "syntax error at or near \"1\"", 4);
        check_error("CHECKPOINT x", "syntax error at or near \"x\"", 12);
    }
}
