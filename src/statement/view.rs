//! `CREATE VIEW`.

use granary_catalog::{Change, Column, ObjectKind, View};
use granary_sql::SqlText;
use granary_sql::name::quote;
use sqlparser::ast;

use super::context::{NewObject, StatementContext};
use super::select;
use crate::error::{Error, Kind, Result};

pub async fn create(context: &mut StatementContext, create: &ast::CreateView, statement: &str) -> Result<()> {
    if data_clause(statement).is_some() {
        return Err(Error::new(Kind::Syntax, "syntax error at or near \"WITH\""));
    }
    let security_invoker = security_invoker(&create.options)?;
    let typed = query_text(statement, &create.query);
    let (planned, text) = plan_named(context, (&create.query, &typed), &create.columns).await?;
    let reads_temporary = planned.depends_on.iter().any(|id| id.is_temporary());
    let is_temporary = create.temporary || context.is_temporary_name(&create.name) || reads_temporary;
    if reads_temporary && !create.temporary {
        let message = format!("view \"{}\" will be a temporary view", create.name);
        context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
    }
    if create.or_replace
        && let Ok(object) = context.find(ObjectKind::View, &create.name)
        && let Some(existing) = object.downcast::<View>()
    {
        context.check_replaced_columns(&object, &existing.columns, &planned.columns)?;
    }
    let new = NewObject {
        kind: ObjectKind::View,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: match security_invoker {
            true => format!("CREATE VIEW {} WITH (security_invoker = true) AS {text}", create.name),
            false => format!("CREATE VIEW {} AS {text}", create.name),
        },
    };
    let header = if is_temporary { context.new_temporary_header(new)? } else { context.new_header(new)? };
    if let Some(header) = header {
        context.changes.push(Change::put(View {
            header,
            query: text,
            columns: planned.columns,
            depends_on: planned.depends_on,
            security_invoker,
        }));
    }
    Ok(())
}

/// Whether `WITH (security_invoker)` is said.
fn security_invoker(options: &ast::CreateTableOptions) -> Result<bool> {
    let (ast::CreateTableOptions::With(options) | ast::CreateTableOptions::Options(options)) = options else {
        return Ok(false);
    };
    let mut said = false;
    for option in options {
        let value = match option {
            ast::SqlOption::Ident(name) if name.value.eq_ignore_ascii_case("security_invoker") => "true".to_owned(),
            ast::SqlOption::KeyValue { key, value } if key.value.eq_ignore_ascii_case("security_invoker") => {
                value.to_string().trim_matches('\'').to_lowercase()
            }
            _ => continue,
        };
        said = granary_sql::boolean(&value).ok_or_else(|| {
            let message = format!("invalid value for boolean option \"security_invoker\": {value}");
            Error::new(Kind::InvalidParameterValue, message)
        })?;
    }
    Ok(said)
}

/// A query whose first columns have these names, and its text.
pub async fn plan_named(
    context: &StatementContext,
    (query, typed): (&Box<ast::Query>, &str),
    names: &[ast::ViewColumnDef],
) -> Result<(select::PlannedQuery, String)> {
    let plain = SqlText::new(query.clone(), typed.to_owned());
    if names.is_empty() {
        return Ok((select::plan_relation(context, &plain).await?, typed.to_owned()));
    }
    // all have one, most likely: then those of the query need not differ
    let text = with_columns(typed, names, &[])?;
    let named = SqlText::new(query.clone(), text.clone());
    if let Ok(planned) = select::plan_relation(context, &named).await {
        return Ok((planned, text));
    }
    let n_columns = match query.body.as_ref() {
        // whatever they are called
        ast::SetExpr::Select(select) if !select.projection.iter().any(is_wildcard) => Some(select.projection.len()),
        _ => None,
    };
    let too_many = || Error::new(Kind::Syntax, "CREATE VIEW specifies more column names than columns");
    if n_columns.is_some_and(|n_columns| names.len() > n_columns) {
        return Err(too_many());
    }
    let planned = select::plan_relation(context, &plain).await?;
    if names.len() > planned.columns.len() {
        return Err(too_many());
    }
    let text = with_columns(typed, names, &planned.columns)?;
    let named = SqlText::new(query.clone(), text.clone());
    Ok((select::plan_relation(context, &named).await?, text))
}

fn is_wildcard(item: &ast::SelectItem) -> bool {
    matches!(item, ast::SelectItem::Wildcard(_) | ast::SelectItem::QualifiedWildcard(..))
}

/// The query with these names for its first columns.
fn with_columns(query: &str, names: &[ast::ViewColumnDef], columns: &[Column]) -> Result<String> {
    if names.is_empty() {
        return Ok(query.to_owned());
    }
    let own = names.iter().map(|named| granary_sql::name::fold(&named.name));
    let rest = columns.iter().skip(names.len()).map(|column| column.name.clone());
    let names: Vec<String> = own.chain(rest).map(|name| quote(&name)).collect();
    Ok(format!("SELECT * FROM ({query}) AS q ({})", names.join(", ")))
}

/// What stands at the end of `CREATE … AS query WITH [NO] DATA`.
fn data_clause(text: &str) -> Option<(&str, bool)> {
    let mut words: Vec<&str> = text.split_whitespace().rev().take(3).collect();
    words.reverse();
    let says = |words: &[&str], clause: &[&str]| {
        words.len() == clause.len() && words.iter().zip(clause).all(|(word, said)| word.eq_ignore_ascii_case(said))
    };
    let last = words.len().saturating_sub(2);
    let (first, is_filled) = match () {
        () if says(&words, &["with", "no", "data"]) => (words[0], false),
        () if says(&words[last..], &["with", "data"]) => (words[last], true),
        () => return None,
    };
    // words are pieces of the text, from its end
    let start = text.rfind(first)?;
    Some((text[..start].trim_end(), is_filled))
}

fn without_data_clause(text: &str) -> &str {
    let text = text.trim();
    data_clause(text).map_or(text, |(query, _)| query)
}

/// Whether a statement ends with `WITH NO DATA`.
pub fn is_without_data(statement: &str) -> bool {
    data_clause(statement).is_some_and(|(_, is_filled)| !is_filled)
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
                return without_data_clause(&statement[at..]).to_owned();
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
