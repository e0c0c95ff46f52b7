//! The form of a lookup, read off the syntax tree alone.

use std::fmt;
use std::sync::LazyLock;

use sqlparser::ast::{
    self, BinaryOperator, CastKind, Expr, Ident, LimitClause, ObjectName, Query, Select, SelectItem, SetExpr,
    TableFactor,
};

use crate::engine::array_text::array_items;

/// `SELECT shown FROM relation WHERE conditions LIMIT limit`.
#[derive(Debug, Clone)]
pub struct Shape {
    pub relation: ObjectName,
    pub shown: Vec<Shown>,
    /// each column once, and what it may be
    pub conditions: Vec<(String, Vec<Term>)>,
    pub limit: Option<usize>,
    /// the parameters that are cast, and to what: those must be of that type
    pub casts: Vec<(usize, ast::DataType)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    All,
    Column { name: String, label: String },
}

/// One value, or the values of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    Text(String),
    Number(String),
    /// `$1` is 0
    Parameter(usize),
    /// `ANY($1)`
    Items(usize),
}

/// A query without anything that a lookup may not have.
static PLAIN: LazyLock<Option<(Query, TableFactor)>> = LazyLock::new(|| {
    let parsed = granary_sql::parse("SELECT 1 FROM t").ok()?.pop()?;
    let granary_sql::Statement::Query(query) = parsed.statement else { return None };
    let mut query = *query.ast;
    let select = select_of_mut(&mut query)?;
    select.projection.clear();
    let table = select.from.pop()?.relation;
    Some((query, table))
});

impl Shape {
    /// `None` for a query of any other form.
    pub fn of(query: &Query) -> Option<Shape> {
        let (plain, plain_table) = PLAIN.as_ref()?;
        let mut rest = query.clone();
        let limit_clause = rest.limit_clause.take();
        let select = select_of_mut(&mut rest)?;
        let (projection, mut from) = (std::mem::take(&mut select.projection), std::mem::take(&mut select.from));
        let selection = select.selection.take()?;
        if rest != *plain {
            return None;
        }
        let from = (from.len() == 1).then(|| from.pop()).flatten().filter(|from| from.joins.is_empty())?;
        let (relation, alias) = table_of(from.relation, plain_table)?;
        let called = match &alias {
            Some(alias) => name_of(alias),
            None => name_of(relation.0.last()?.as_ident()?),
        };
        let shown = projection.iter().map(|item| shown(item, &called)).collect::<Option<Vec<_>>>()?;
        let mut found = Conditions::default();
        found.add(&selection, &called)?;
        let limit = match &limit_clause {
            None => None,
            Some(LimitClause::LimitOffset { limit: Some(limit), offset: None, limit_by }) if limit_by.is_empty() => {
                match value_of(limit)? {
                    ast::Value::Number(number, _) => Some(number.to_string().parse().ok()?),
                    _ => return None,
                }
            }
            Some(_) => return None,
        };
        Some(Shape { relation, shown, conditions: found.conditions, limit, casts: found.casts })
    }
}

#[derive(Default)]
struct Conditions {
    conditions: Vec<(String, Vec<Term>)>,
    casts: Vec<(usize, ast::DataType)>,
}

impl Shape {
    /// The combinations of the values in the conditions; `items` tells how many an array parameter has.
    pub fn most_keys(&self, items: impl Fn(usize) -> usize) -> usize {
        let of_term = |term: &Term| if let Term::Items(number) = term { items(*number) } else { 1 };
        let of_column = |terms: &[Term]| terms.iter().map(of_term).fold(0, usize::saturating_add);
        self.conditions.iter().map(|(_, terms)| of_column(terms)).fold(1, usize::saturating_mul)
    }

    /// The conditions in SQL.
    pub fn conditions_text(&self) -> String {
        let conditions = self.conditions.iter().map(|(column, terms)| {
            let column = granary_sql::name::quote(column);
            match terms.as_slice() {
                [items @ Term::Items(_)] => format!("{column} = ANY ({items})"),
                [only] => format!("{column} = {only}"),
                terms => {
                    let terms: Vec<String> = terms.iter().map(Term::to_string).collect();
                    format!("{column} IN ({})", terms.join(", "))
                }
            }
        });
        conditions.collect::<Vec<_>>().join(" AND ")
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Term::Text(text) => write!(f, "{}", granary_sql::name::quote_literal(text)),
            Term::Number(number) => f.write_str(number),
            Term::Parameter(number) | Term::Items(number) => write!(f, "${}", number + 1),
        }
    }
}

fn select_of_mut(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// The name of a table, and its alias without columns.
fn table_of(mut table: TableFactor, plain: &TableFactor) -> Option<(ObjectName, Option<Ident>)> {
    let (TableFactor::Table { name, alias, .. }, TableFactor::Table { name: plain_name, .. }) = (&mut table, plain)
    else {
        return None;
    };
    let name = std::mem::replace(name, plain_name.clone());
    let alias = alias.take();
    if table != *plain {
        return None;
    }
    match alias {
        None => Some((name, None)),
        Some(alias) if alias.columns.is_empty() => Some((name, Some(alias.name))),
        Some(_) => None,
    }
}

fn shown(item: &SelectItem, called: &str) -> Option<Shown> {
    match item {
        SelectItem::Wildcard(options) if *options == ast::WildcardAdditionalOptions::default() => Some(Shown::All),
        SelectItem::UnnamedExpr(expr) => {
            let name = column_of(expr, called)?;
            Some(Shown::Column { label: name.clone(), name })
        }
        SelectItem::ExprWithAlias { expr, alias } => {
            Some(Shown::Column { name: column_of(expr, called)?, label: name_of(alias) })
        }
        _ => None,
    }
}

/// As PostgreSQL reads it.
fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

fn column_of(expr: &Expr, called: &str) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(name_of(ident)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, column] if name_of(table) == called => Some(name_of(column)),
            _ => None,
        },
        Expr::Nested(inner) => column_of(inner, called),
        _ => None,
    }
}

impl Conditions {
    fn add(&mut self, expr: &Expr, called: &str) -> Option<()> {
        let (column, terms) = match expr {
            Expr::Nested(inner) => return self.add(inner, called),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.add(left, called)?;
                return self.add(right, called);
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (self.term(left), self.term(right)) {
                (None, Some(term)) => (column_of(left, called)?, vec![term]),
                (Some(term), None) => (column_of(right, called)?, vec![term]),
                _ => return None,
            },
            Expr::InList { expr, list, negated: false } => {
                (column_of(expr, called)?, list.iter().map(|item| self.term(item)).collect::<Option<Vec<_>>>()?)
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                let right = match right.as_ref() {
                    Expr::Nested(inner) => inner.as_ref(),
                    right => right,
                };
                (column_of(left, called)?, self.items(right)?)
            }
            _ => return None,
        };
        // two conditions on one column are for a planner
        if self.conditions.iter().any(|(known, _)| *known == column) {
            return None;
        }
        self.conditions.push((column, terms));
        Some(())
    }

    /// What an array has: a parameter, `ARRAY[…]`, or a text such as `'{1,2}'`, in which NULL is what no key is.
    fn items(&mut self, expr: &Expr) -> Option<Vec<Term>> {
        if let Expr::Array(ast::Array { elem, .. }) = expr {
            return elem.iter().map(|item| self.term(item)).collect();
        }
        match self.term(expr)? {
            Term::Parameter(number) => Some(vec![Term::Items(number)]),
            // one that is malformed is for a planner, which says so
            Term::Text(text) => Some(array_items(&text).ok()?.into_iter().flatten().map(Term::Text).collect()),
            _ => None,
        }
    }

    fn term(&mut self, expr: &Expr) -> Option<Term> {
        if let Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            array: false,
            format: None,
        } = expr
        {
            let Some(Term::Parameter(number)) = term_of(expr) else { return None };
            self.casts.push((number, data_type.clone()));
            return Some(Term::Parameter(number));
        }
        term_of(expr)
    }
}

fn value_of(expr: &Expr) -> Option<&ast::Value> {
    match expr {
        Expr::Value(value) => Some(&value.value),
        _ => None,
    }
}

fn term_of(expr: &Expr) -> Option<Term> {
    match value_of(expr)? {
        ast::Value::SingleQuotedString(text) => Some(Term::Text(text.clone())),
        ast::Value::Number(number, _) => Some(Term::Number(number.to_string())),
        ast::Value::Placeholder(name) => {
            let number: usize = name.strip_prefix('$')?.parse().ok()?;
            number.checked_sub(1).filter(|number| *number < 65_535).map(Term::Parameter)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(sql: &str) -> Option<Shape> {
        let parsed = granary_sql::parse(sql).unwrap().pop().unwrap();
        let granary_sql::Statement::Query(query) = parsed.statement else { panic!("{sql} is no query") };
        Shape::of(&query.ast)
    }

    fn column(name: &str, label: &str) -> Shown {
        Shown::Column { name: name.to_owned(), label: label.to_owned() }
    }

    #[test]
    fn lookups_are_recognised() {
        let all = shape("SELECT * FROM public.Spend WHERE user_id = $1").unwrap();
        assert_eq!(all.relation.to_string(), "public.Spend");
        assert_eq!(all.shown, [Shown::All]);
        assert_eq!(all.conditions, [("user_id".to_owned(), vec![Term::Parameter(0)])]);
        assert_eq!(all.limit, None);

        let some = shape(
            "SELECT s.a, \"B\" AS Label, (_status) FROM spend AS s WHERE (s.k IN ('x', $2)) AND 5 = n AND m = ANY($3) LIMIT 7",
        )
        .unwrap();
        assert_eq!(some.shown, [column("a", "a"), column("B", "label"), column("_status", "_status")]);
        let conditions = [
            ("k".to_owned(), vec![Term::Text("x".to_owned()), Term::Parameter(1)]),
            ("n".to_owned(), vec![Term::Number("5".to_owned())]),
            ("m".to_owned(), vec![Term::Items(2)]),
        ];
        assert_eq!(some.conditions, conditions);
        assert_eq!(some.limit, Some(7));

        let items = shape("SELECT * FROM v WHERE k = ANY(ARRAY[1, $1]) AND m = ANY ('{a,NULL,\"b c\"}')").unwrap();
        let conditions = [
            ("k".to_owned(), vec![Term::Number("1".to_owned()), Term::Parameter(0)]),
            ("m".to_owned(), vec![Term::Text("a".to_owned()), Term::Text("b c".to_owned())]),
        ];
        assert_eq!(items.conditions, conditions);

        let cast = shape("SELECT * FROM v WHERE k = $2::bigint AND m = ANY (CAST($1 AS text[]))").unwrap();
        let conditions = [("k".to_owned(), vec![Term::Parameter(1)]), ("m".to_owned(), vec![Term::Items(0)])];
        assert_eq!(cast.conditions, conditions);
        let casts: Vec<String> = cast.casts.iter().map(|(number, to)| format!("{number} {to}")).collect();
        assert_eq!(casts, ["1 BIGINT", "0 TEXT[]"]);
    }

    #[test]
    fn everything_else_is_for_a_planner() {
        for sql in [
            "SELECT 1",
            "SELECT * FROM v",
            "SELECT a + 1 FROM v WHERE k = $1",
            "SELECT DISTINCT a FROM v WHERE k = $1",
            "SELECT count(*) FROM v WHERE k = $1",
            "SELECT a FROM v WHERE k = $1 ORDER BY a",
            "SELECT a FROM v WHERE k = $1 OFFSET 1",
            "SELECT a FROM v WHERE k = $1 LIMIT $2",
            "SELECT a FROM v WHERE k = $1 FOR UPDATE",
            "SELECT a FROM v WHERE k = $1 OR k = $2",
            "SELECT a FROM v WHERE k = $1 AND k = $2",
            "SELECT a FROM v WHERE k > $1",
            "SELECT a FROM v WHERE NOT k = $1",
            "SELECT a FROM v WHERE k NOT IN ($1)",
            "SELECT a FROM v WHERE k <> ALL($1)",
            "SELECT a FROM v WHERE k = 'a'::text",
            "SELECT a FROM v WHERE k = ($1 + 1)::bigint",
            "SELECT a FROM v WHERE k = a",
            "SELECT a FROM v WHERE k = NULL",
            "SELECT a FROM v WHERE k = $1 GROUP BY a",
            "SELECT a FROM v WHERE k = $1 UNION ALL SELECT a FROM v WHERE k = $1",
            "SELECT a FROM v, w WHERE k = $1",
            "SELECT a FROM v JOIN w ON true WHERE k = $1",
            "SELECT a FROM v(1) WHERE k = $1",
            "SELECT a FROM v AS w(b) WHERE k = $1",
            "SELECT a FROM v FOR SYSTEM_TIME AS OF '2024-01-01' WHERE k = $1",
            "SELECT a FROM v TABLESAMPLE SYSTEM (1) WHERE k = $1",
            "SELECT w.a FROM v WHERE k = $1",
            "WITH w AS (SELECT 1) SELECT a FROM v WHERE k = $1",
            "SELECT a FROM (SELECT 1 AS a) AS v WHERE k = $1",
        ] {
            assert!(shape(sql).is_none(), "{sql}");
        }
    }
}
