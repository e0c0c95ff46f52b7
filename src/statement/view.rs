//! `CREATE VIEW`.

use granary_catalog::{Change, ObjectKind, View};
use granary_sql::SqlText;
use sqlparser::ast;

use super::context::{NewObject, StatementContext};
use super::select;
use crate::error::{Error, Result};

pub async fn create(context: &mut StatementContext, create: &ast::CreateView, statement: &str) -> Result<()> {
    if create.materialized {
        return Err(Error::not_supported("CREATE MATERIALIZED VIEW"));
    }
    if create.temporary {
        return Err(Error::not_supported("CREATE TEMPORARY VIEW"));
    }
    if !create.columns.is_empty() {
        return Err(
            Error::not_supported("CREATE VIEW with a list of columns").with_hint("name them with AS in the query")
        );
    }
    let query = SqlText::new(create.query.clone(), query_text(statement, &create.query));
    let planned = select::plan_definition(context, &query).await?;
    if create.or_replace
        && let Ok(object) = context.find(ObjectKind::View, &create.name)
        && let Some(existing) = object.downcast::<View>()
    {
        context.check_replaced_columns(&object, &existing.columns, &planned.columns)?;
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::View,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: format!("CREATE VIEW {} AS {}", create.name, query.text),
    })?;
    if let Some(header) = header {
        context.changes.push(Change::put(View {
            header,
            query: query.text,
            columns: planned.columns,
            depends_on: planned.depends_on,
        }));
    }
    Ok(())
}

/// The text behind the first AS of a statement that stands outside of parentheses and quotes. A query with
/// FOR SYSTEM_TIME does not print to something that parses, so its text is kept.
pub fn query_text(statement: &str, query: &ast::Query) -> String {
    let mut depth = 0;
    let mut quote = None;
    let mut word_start = None;
    for (at, character) in statement.char_indices() {
        let is_word = character.is_alphanumeric() || character == '_';
        if let (Some(start), false) = (word_start, is_word) {
            if depth == 0 && statement[start..at].eq_ignore_ascii_case("as") {
                return statement[at..].trim().to_owned();
            }
            word_start = None;
        }
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, _) if is_word && word_start.is_none() => word_start = Some(at),
            (None, _) => {}
        }
    }
    query.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_what_stands_behind_as() {
        for (statement, expected) in [
            ("CREATE VIEW v AS SELECT 1 AS a", "SELECT 1 AS a"),
            ("create table \"x as y\" (a int) as(select 1)", "(select 1)"),
            ("CREATE TABLE t AS WITH c AS (SELECT 1) SELECT * FROM c", "WITH c AS (SELECT 1) SELECT * FROM c"),
        ] {
            let parsed = granary_sql::parse("SELECT 1").expect("parses");
            let granary_sql::Statement::Query(query) = &parsed[0].statement else { panic!("a query") };
            assert_eq!(query_text(statement, &query.ast), expected);
        }
    }
}
