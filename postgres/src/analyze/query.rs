//! Queries: WITH, SELECT, VALUES, set operations, ORDER BY and LIMIT.

use std::collections::HashSet;
use std::sync::Arc;

use sqlparser::ast::{self, LimitClause, OrderByKind, SetExpr, SetOperator as Operator};

use super::{Analyzer, Clause, Scope, fold, place_of_ident};
use crate::error::{Error, Result};
use crate::plan::{Body, Cte, Expr, Output, Query, SetOperator, SortKey};
use crate::resolve::{self, Context};
use crate::types::{self as t, Type};

/// Types that the columns of a query have to become.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'t> {
    pub types: &'t [Type],
    /// names of the columns that they are assigned to; None: both sides of a set operation have them
    pub columns: Option<&'t [String]>,
}

impl<'t> Wanted<'t> {
    pub fn in_common(types: &'t [Type]) -> Wanted<'t> {
        Wanted { types, columns: None }
    }

    pub(super) fn check_count(self, n_columns: usize) -> Result<()> {
        match self.columns {
            None if self.types.len() != n_columns => {
                Err(Error::new("42601", "each UNION query must have the same number of columns"))
            }
            Some(_) if self.types.len() < n_columns => {
                Err(Error::new("42601", "INSERT has more expressions than target columns"))
            }
            _ => Ok(()),
        }
    }
}

impl Analyzer<'_> {
    /// One column as it is wanted. Errors: 42804 if it is assigned to a column of a type that it does not become.
    pub(super) fn as_wanted(&mut self, expr: Expr, (wanted, index): (Wanted<'_>, usize)) -> Result<Expr> {
        let target = &wanted.types[index];
        let Some(columns) = wanted.columns else { return self.coerce(expr, target, Context::Implicit) };
        let from = expr.data_type.name();
        self.coerce(expr, target, Context::Assignment).map_err(|error| match error.sqlstate {
            "42846" => Error::new(
                "42804",
                format!(
                    "column \"{}\" is of type {} but expression is of type {from}",
                    columns[index],
                    t::format_type(target.oid, None)
                ),
            )
            .with_hint("You will need to rewrite or cast the expression."),
            _ => error,
        })
    }

    /// A query that stands in an expression.
    pub(super) fn subquery(&mut self, query: &ast::Query) -> Result<Arc<Query>> {
        let base = self.scopes.len();
        let (mut query, is_fixed) =
            self.watched(base, |analyzer| analyzer.deeper(|analyzer| analyzer.query(query, None)))?;
        query.id = self.new_id();
        query.is_fixed = is_fixed;
        Ok(Arc::new(query))
    }

    /// `wanted`: types that the columns have to become.
    pub(super) fn query(&mut self, query: &ast::Query, wanted: Option<Wanted<'_>>) -> Result<Query> {
        let keeps_unknown = std::mem::replace(&mut self.keeps_unknown, false);
        let made = self.query_inner(query, wanted);
        self.keeps_unknown = keeps_unknown;
        made
    }

    // locks are taken by nobody here: nothing can be changed
    fn query_inner(&mut self, query: &ast::Query, wanted: Option<Wanted<'_>>) -> Result<Query> {
        let n_ctes = self.ctes.len();
        let with = match &query.with {
            Some(with) => self.with(with)?,
            None => Vec::new(),
        };
        let keys: &[ast::OrderByExpr] = match query.order_by.as_ref().map(|order| &order.kind) {
            None => &[],
            Some(OrderByKind::Expressions(keys)) => keys,
            Some(OrderByKind::All(_)) => return Err(Error::new("42601", "ORDER BY ALL is not PostgreSQL")),
        };
        let (body, columns, order_by) = self.body(&query.body, keys, wanted)?;
        let (mut limit, mut offset) = (None, None);
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit: most, offset: skip, .. }) => {
                limit = most.as_ref().map(|most| self.limit(most, "LIMIT")).transpose()?;
                offset = skip.as_ref().map(|skip| self.limit(&skip.value, "OFFSET")).transpose()?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(Error::new("42601", "LIMIT #,# syntax is not supported")
                    .with_hint("Use separate LIMIT and OFFSET clauses."));
            }
        }
        let mut with_ties = false;
        if let Some(fetch) = &query.fetch {
            with_ties = fetch.with_ties;
            if with_ties && keys.is_empty() {
                return Err(Error::new("42601", "WITH TIES cannot be specified without ORDER BY clause"));
            }
            limit = Some(match &fetch.quantity {
                Some(quantity) => self.limit(quantity, "FETCH FIRST")?,
                None => Expr::constant(crate::Value::Int(1), Type::of(t::INT8)),
            });
        }
        self.ctes.truncate(n_ctes);
        let with = self.read_ctes(with);
        Ok(Query { id: 0, is_fixed: false, with, body, order_by, limit, offset, with_ties, columns })
    }

    fn limit(&mut self, expr: &ast::Expr, what: &str) -> Result<Expr> {
        // no column of the query can be named
        self.scopes.push(Scope { clause: Clause::Limit, ..Scope::default() });
        let limit = self.expr(expr);
        self.scopes.pop();
        let limit = limit.map_err(|error| match error.sqlstate {
            "42703" => Error::new("42P10", format!("argument of {what} must not contain variables")).at(error.place),
            _ => error,
        })?;
        self.coerce(limit, &Type::of(t::INT8), Context::Assignment)
    }

    /// Those that the query reads, or that one of these reads: others are not carried out.
    fn read_ctes(&mut self, with: Vec<(Cte, HashSet<usize>)>) -> Vec<Cte> {
        let mut kept = Vec::with_capacity(with.len());
        for (cte, reads) in with.into_iter().rev() {
            if self.read.contains(&cte.id) {
                self.read.extend(reads);
                kept.push(cte);
            }
        }
        kept.reverse();
        kept
    }

    /// One side of a set operation, as if it stood alone.
    pub(super) fn set_side(&mut self, body: &SetExpr) -> Result<Query> {
        let (body, columns, order_by) = self.body(body, &[], None)?;
        let (with, limit, offset) = (Vec::new(), None, None);
        Ok(Query { id: 0, is_fixed: false, with, body, order_by, limit, offset, with_ties: false, columns })
    }

    fn body(
        &mut self,
        body: &SetExpr,
        keys: &[ast::OrderByExpr],
        wanted: Option<Wanted<'_>>,
    ) -> Result<(Body, Vec<Output>, Vec<SortKey>)> {
        match body {
            SetExpr::Select(select) => self.select(select, keys, wanted),
            SetExpr::Query(inner) => {
                let inner = self.deeper(|analyzer| analyzer.query(inner, wanted))?;
                let columns = plain_outputs(&inner);
                let order_by = self.order_by_output(keys, &columns)?;
                Ok((Body::Query(Arc::new(inner)), columns, order_by))
            }
            SetExpr::Values(values) => {
                let (rows, columns) = self.values(values, wanted)?;
                let order_by = self.order_by_output(keys, &columns)?;
                Ok((Body::Values(rows), columns, order_by))
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (operator, word) = match op {
                    Operator::Union => (SetOperator::Union, "UNION"),
                    Operator::Intersect => (SetOperator::Intersect, "INTERSECT"),
                    Operator::Except | Operator::Minus => (SetOperator::Except, "EXCEPT"),
                };
                let (left, right) = self.sides(left, right, word, wanted)?;
                let mut columns = plain_outputs(&left);
                for (column, other) in columns.iter_mut().zip(&right.columns) {
                    if column.data_type.modifier != other.data_type.modifier {
                        column.data_type.modifier = -1;
                    }
                }
                let order_by = self.order_by_output(keys, &columns)?;
                let all = *set_quantifier == ast::SetQuantifier::All;
                Ok((Body::Set { operator, all, left: Arc::new(left), right: Arc::new(right) }, columns, order_by))
            }
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                let text = match &table.schema_name {
                    Some(schema) => format!("SELECT * FROM {schema}.{name}"),
                    None => format!("SELECT * FROM {name}"),
                };
                let parsed = crate::functions::sql::parse(&text)?;
                self.body(&parsed.body, keys, wanted)
            }
            _ => Err(Error::not_supported("a statement that writes inside of a query")),
        }
    }

    /// Both sides of a set operation, with columns of the types that they have in common.
    fn sides(
        &mut self,
        left: &SetExpr,
        right: &SetExpr,
        word: &str,
        wanted: Option<Wanted<'_>>,
    ) -> Result<(Query, Query)> {
        let as_query = |analyzer: &mut Self, body: &SetExpr, wanted: Option<Wanted<'_>>| {
            analyzer.deeper(|analyzer| {
                let (body, columns, order_by) = analyzer.body(body, &[], wanted)?;
                Ok(Query {
                    id: 0,
                    is_fixed: false,
                    with: Vec::new(),
                    body,
                    order_by,
                    limit: None,
                    offset: None,
                    with_ties: false,
                    columns,
                })
            })
        };
        // settled once to know the types, and again to have them; the marks of what was named stay the same
        let saved = (self.next_id, self.parameters.clone());
        let unknown = std::mem::replace(&mut self.keeps_unknown, true);
        let first =
            as_query(self, left, wanted).and_then(|left_query| Ok((left_query, as_query(self, right, wanted)?)));
        self.keeps_unknown = unknown;
        let (left_query, right_query) = first?;
        if left_query.columns.len() != right_query.columns.len() {
            let message = format!("each {word} query must have the same number of columns");
            return Err(Error::new("42601", message).at(first_place(right)));
        }
        let pairs = left_query.columns.iter().zip(&right_query.columns);
        let types = pairs
            .map(|(left, right)| resolve::common_type(&[left.data_type.clone(), right.data_type.clone()], word))
            .collect::<Result<Vec<_>>>()?;
        let matches =
            |query: &Query| query.columns.iter().zip(&types).all(|(column, common)| column.data_type.oid == common.oid);
        if matches(&left_query) && matches(&right_query) {
            return Ok((left_query, right_query));
        }
        (self.next_id, self.parameters) = saved;
        let types: Vec<Type> = types.into_iter().map(|data_type| Type { modifier: -1, ..data_type }).collect();
        let common = Some(Wanted::in_common(&types));
        let (left, right) = (as_query(self, left, common)?, as_query(self, right, common)?);
        match wanted {
            // constants of no type have their type in common first
            Some(wanted) if wanted.columns.is_some() => Err(Error::not_supported("INSERT of a UNION of these types")),
            _ => Ok((left, right)),
        }
    }

    fn values(&mut self, values: &ast::Values, wanted: Option<Wanted<'_>>) -> Result<(Vec<Vec<Expr>>, Vec<Output>)> {
        self.scopes.push(Scope { clause: Clause::Values, ..Scope::default() });
        let rows =
            values.rows.iter().map(|row| row.content.iter().map(|item| self.expr(item)).collect::<Result<Vec<_>>>());
        let rows = rows.collect::<Result<Vec<_>>>();
        let finished = rows.and_then(|rows| {
            let n_columns = rows.first().map_or(0, Vec::len);
            if rows.iter().any(|row| row.len() != n_columns) {
                let wrong = values.rows.iter().find(|row| row.content.len() != n_columns);
                let place = wrong.and_then(|row| row.content.first()).and_then(super::place_of);
                return Err(Error::new("42601", "VALUES lists must all be the same length").at(place));
            }
            let mut types = Vec::with_capacity(n_columns);
            for column in 0..n_columns {
                let own: Vec<Type> = rows.iter().map(|row| row[column].data_type.clone()).collect();
                let common = match wanted.and_then(|wanted| wanted.types.get(column)) {
                    Some(wanted) => wanted.clone(),
                    None if self.keeps_unknown && own.iter().all(|own| own.oid == t::UNKNOWN) => Type::of(t::UNKNOWN),
                    None => resolve::common_type(&own, "VALUES")?,
                };
                types.push(common);
            }
            if let Some(wanted) = wanted {
                wanted.check_count(n_columns)?;
            }
            let convert = |analyzer: &mut Self, row: Vec<Expr>| -> Result<Vec<Expr>> {
                row.into_iter()
                    .zip(&types)
                    .enumerate()
                    .map(|(column, (item, data_type))| match wanted {
                        Some(wanted) => analyzer.as_wanted(item, (wanted, column)),
                        None => analyzer.coerce(item, data_type, Context::Implicit),
                    })
                    .collect()
            };
            let rows = rows.into_iter().map(|row| convert(self, row)).collect::<Result<Vec<_>>>()?;
            let columns = types.iter().enumerate().map(|(index, data_type)| Output {
                name: format!("column{}", index + 1),
                data_type: data_type.clone(),
                relation: 0,
                number: 0,
            });
            Ok((rows, columns.collect()))
        });
        self.scopes.pop();
        finished
    }

    /// ORDER BY over what a query gives: names and numbers of its columns.
    fn order_by_output(&mut self, keys: &[ast::OrderByExpr], columns: &[Output]) -> Result<Vec<SortKey>> {
        keys.iter()
            .map(|key| {
                let column = match output_place(&key.expr, columns, "ORDER BY")? {
                    Some(column) => column,
                    None => {
                        return Err(match &key.expr {
                            ast::Expr::Identifier(ident) => {
                                Error::new("42703", format!("column \"{}\" does not exist", fold(ident)))
                                    .at(place_of_ident(ident))
                            }
                            _ => Error::new("0A000", "invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                                .with_detail("Only result column names can be used, not expressions or functions."),
                        });
                    }
                };
                Ok(sort_key(column, key))
            })
            .collect()
    }
}

/// Where the columns of a query begin.
pub(super) fn first_place(body: &SetExpr) -> Option<(u64, u64)> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => super::place_of(expr),
            ast::SelectItem::Wildcard(options) => super::place(options.wildcard_token.0.span),
            _ => None,
        },
        SetExpr::Values(values) => values.rows.first()?.content.first().and_then(super::place_of),
        SetExpr::Query(query) => first_place(&query.body),
        SetExpr::SetOperation { left, .. } => first_place(left),
        _ => None,
    }
}

/// The output column that a bare name or number means. Errors: 42P10, 42702.
pub(super) fn output_place(expr: &ast::Expr, columns: &[Output], clause: &str) -> Result<Option<usize>> {
    match expr {
        ast::Expr::Identifier(ident) => {
            let name = fold(ident);
            let mut found =
                columns.iter().enumerate().filter(|(_, column)| column.name == name).map(|(index, _)| index);
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some(one), None) => Ok(Some(one)),
                // equal columns are told apart by whoever compares the expressions
                (Some(one), Some(_)) => Ok(Some(one)),
            }
        }
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => match digits.parse::<usize>() {
                Ok(number) if (1..=columns.len()).contains(&number) => Ok(Some(number - 1)),
                Ok(number) => Err(Error::new("42P10", format!("{clause} position {number} is not in select list"))
                    .at(super::place_of(expr))),
                Err(_) => Err(Error::new("42601", format!("non-integer constant in {clause}"))),
            },
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

pub(super) fn sort_key(column: usize, key: &ast::OrderByExpr) -> SortKey {
    let descending = key.options.asc == Some(false);
    SortKey { column, descending, nulls_first: key.options.nulls_first.unwrap_or(descending) }
}

fn plain_outputs(query: &Query) -> Vec<Output> {
    query.columns.iter().map(|column| Output { relation: 0, number: 0, ..column.clone() }).collect()
}

pub(super) fn renamed_columns(query: &Query, renamed: &[String], name: &str) -> Result<Vec<(String, Type)>> {
    if renamed.len() > query.columns.len() {
        return Err(Error::new(
            "42P10",
            format!(
                "WITH query \"{name}\" has {} columns available but {} columns specified",
                query.columns.len(),
                renamed.len()
            ),
        ));
    }
    let columns = query.columns.iter().enumerate();
    Ok(columns
        .map(|(index, column)| (renamed.get(index).unwrap_or(&column.name).clone(), column.data_type.clone()))
        .collect())
}
