//! Whether two queries give the same rows, but for columns that one of them has more: told from their syntax trees, so
//! that it is true whatever is in the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use granary_sql::Statement;
use granary_sql::name::fold;
use sqlparser::ast::{self, Expr, GroupByExpr, SelectItem, SetExpr, Visit, Visitor};

use crate::error::{Error, Result};

/// Functions that make several rows of one.
const MANY_ROWS: [&str; 15] = [
    "unnest",
    "explode",
    "generate_series",
    "generate_subscripts",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "json_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "json_each",
    "jsonb_each",
    "json_object_keys",
    "jsonb_object_keys",
];

/// Why the rows of a query may be others than those of an older one; `None`: they are the same, and columns of one name
/// have the same values. It is a clause.
pub fn changed_rows(old: &str, new: &str) -> Result<Option<String>> {
    if old == new {
        return Ok(None);
    }
    let (old, new) = (parsed(old)?, parsed(new)?);
    if old.to_string() == new.to_string() {
        return Ok(None);
    }
    let reason = match (select_of(&old), select_of(&new)) {
        (Some(old_select), Some(new_select)) => {
            let list = changed_list(&old_select.projection, new_select);
            if without_list(&old) == without_list(&new) { list } else { Some("its query reads other rows".to_owned()) }
        }
        _ => Some("its query changes, and is not one plain SELECT".to_owned()),
    };
    Ok(reason)
}

fn parsed(text: &str) -> Result<ast::Query> {
    let only = granary_sql::parse(text)?.into_iter().next().map(|parsed| parsed.statement);
    match only {
        Some(Statement::Query(query)) => Ok(*query.ast),
        _ => Err(Error::internal("a stored query is no query").with_detail(text)),
    }
}

fn select_of(query: &ast::Query) -> Option<&ast::Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// All of a query but its list of columns.
fn without_list(query: &ast::Query) -> String {
    let mut query = query.clone();
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection.clear();
    }
    query.to_string()
}

/// What a new list of columns may change of the rows, where all else stays.
fn changed_list(old: &[SelectItem], new: &ast::Select) -> Option<String> {
    let (old, listed) = (by_name(old), by_name(&new.projection));
    let (Some(old), Some(listed)) = (old, listed) else {
        return Some("its query has a column without a name".to_owned());
    };
    for (name, item) in &old {
        match listed.get(name) {
            Some(now) if !is_same(item, now) => {
                return Some(format!("its query computes \"{name}\" otherwise"));
            }
            None if is_wildcard(item) => return Some("its query selects other columns than all".to_owned()),
            _ => {}
        }
    }
    let kept: Vec<&SelectItem> =
        listed.iter().filter(|(name, _)| old.contains_key(*name)).map(|(_, item)| *item).collect();
    let differing: BTreeMap<&String, &SelectItem> = (listed.iter().filter(|(name, _)| !old.contains_key(*name)))
        .chain(old.iter().filter(|(name, _)| !listed.contains_key(*name)))
        .map(|(name, item)| (name, *item))
        .collect();
    if differing.is_empty() {
        return None;
    }
    if differing.values().any(|item| is_wildcard(item)) {
        return Some("its query selects other columns than all".to_owned());
    }
    if new.distinct.is_some() {
        return Some("its query is a SELECT DISTINCT, so its columns decide its rows".to_owned());
    }
    if differing.values().any(|item| makes_many_rows(item)) {
        return Some("a column that its query gains or loses makes several rows of one".to_owned());
    }
    let is_grouped = match &new.group_by {
        GroupByExpr::All(_) => return Some("its query groups by all of its columns".to_owned()),
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    };
    // a column beside aggregates is an error without GROUP BY, so that no aggregate has come or gone
    if !is_grouped && !kept.iter().any(|item| is_plain_column(item)) {
        return Some("its query changes, and none of its columns is one that it reads".to_owned());
    }
    let mut clauses = Names::default();
    let _ = new.group_by.visit(&mut clauses);
    let _ = new.having.visit(&mut clauses);
    let _ = new.qualify.visit(&mut clauses);
    let _ = new.named_window.visit(&mut clauses);
    if clauses.has_numbers {
        return Some("its query groups by the numbers of its columns".to_owned());
    }
    let named = differing.keys().find(|name| clauses.names.contains(**name));
    named.map(|name| format!("its query groups or filters by \"{name}\", which it gains or loses"))
}

/// Whether two columns of one name are computed alike.
fn is_same(old: &SelectItem, new: &SelectItem) -> bool {
    let names = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(vec![fold(name)]),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => Some(names.iter().map(fold).collect()),
        _ => None,
    };
    match (names(old), names(new)) {
        (Some(old), Some(new)) => old == new,
        _ => old.to_string() == new.to_string(),
    }
}

/// The columns of a list by their names; a wildcard stands for itself. `None` if two have the same one.
fn by_name(list: &[SelectItem]) -> Option<BTreeMap<String, &SelectItem>> {
    let mut items = BTreeMap::new();
    for item in list {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => fold(alias),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => fold(name),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => fold(parts.last()?),
            other => other.to_string(),
        };
        if items.insert(name, item).is_some() {
            return None;
        }
    }
    Some(items)
}

fn is_wildcard(item: &SelectItem) -> bool {
    !matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
}

fn is_plain_column(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        _ => true,
    }
}

fn makes_many_rows(item: &SelectItem) -> bool {
    let mut functions = Functions::default();
    let _ = item.visit(&mut functions);
    functions.0.iter().any(|name| MANY_ROWS.contains(&name.as_str()))
}

/// The names of the functions that are called.
#[derive(Default)]
struct Functions(BTreeSet<String>);

impl Visitor for Functions {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr {
            self.0.extend(function.name.0.last().and_then(ast::ObjectNamePart::as_ident).map(fold));
        }
        ControlFlow::Continue(())
    }
}

/// The names and numbers that stand alone.
#[derive(Default)]
struct Names {
    names: BTreeSet<String>,
    has_numbers: bool,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) => {
                self.names.insert(fold(name));
            }
            Expr::Value(ast::ValueWithSpan { value: ast::Value::Number(..), .. }) => self.has_numbers = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(old: &str, new: &str) -> Option<String> {
        changed_rows(old, new).expect("are queries")
    }

    #[test]
    fn columns_may_come_go_and_move() {
        for (old, new) in [
            ("SELECT k, ts, a FROM t WHERE a > 1", "SELECT k, ts, a, b FROM t WHERE a > 1"),
            ("SELECT k, ts, a FROM t", "SELECT b + 1 AS b, ts, k FROM t"),
            ("SELECT k, ts, a FROM t", "select  K, ts, (SELECT max(x) FROM u) AS m from t"),
            ("SELECT k, ts, sum(a) AS a FROM t GROUP BY k, ts", "SELECT k, ts, max(b) AS b FROM t GROUP BY k, ts"),
            ("SELECT * FROM t", "SELECT *, a + 1 AS more FROM t"),
            ("SELECT k, ts FROM t UNION ALL SELECT k, ts FROM u", "SELECT k, ts FROM t UNION  ALL SELECT k, ts FROM u"),
        ] {
            assert_eq!(reason(old, new), None, "{old}\n{new}");
        }
    }

    #[test]
    fn whatever_may_change_rows_is_found() {
        for (old, new, why) in [
            ("SELECT k, ts FROM t", "SELECT k, ts FROM t WHERE k > 1", "reads other rows"),
            ("SELECT k, ts FROM t", "SELECT k, ts, a FROM u", "reads other rows"),
            ("SELECT k, ts, a FROM t", "SELECT k, ts, a + 1 AS a FROM t", "computes \"a\" otherwise"),
            ("SELECT DISTINCT k, ts FROM t", "SELECT DISTINCT k, ts, a FROM t", "DISTINCT"),
            ("SELECT k, ts, l FROM t", "SELECT k, ts, l, unnest(l) AS item FROM t", "several rows"),
            (
                "SELECT k, ts, max(a) AS a FROM t GROUP BY 1, 2",
                "SELECT k, ts, b, max(a) AS a FROM t GROUP BY 1, 2",
                "numbers",
            ),
            (
                "SELECT 1 AS k, now() AS ts FROM t",
                "SELECT 1 AS k, now() AS ts, count(*) AS n FROM t",
                "none of its columns",
            ),
            ("SELECT * FROM t", "SELECT k, ts, a FROM t", "than all"),
            ("SELECT k, ts FROM t", "SELECT k, ts, u.* FROM t", "than all"),
            (
                "SELECT k, ts, count(*) AS n FROM t GROUP BY k, ts, city",
                "SELECT k, ts, lower(city) AS city, count(*) AS n FROM t GROUP BY k, ts, city",
                "by \"city\"",
            ),
            ("SELECT k, ts FROM t UNION ALL SELECT k, ts FROM u", "SELECT k, ts, a FROM t", "not one plain"),
        ] {
            let found = reason(old, new);
            assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{old}\n{new}\n{found:?}");
        }
    }
}
