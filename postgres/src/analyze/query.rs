//! Queries: WITH, SELECT, VALUES, set operations, ORDER BY and LIMIT.

use std::sync::Arc;

use sqlparser::ast::{self, GroupByExpr, LimitClause, OrderByKind, SelectItem, SetExpr, SetOperator as Operator};

use super::from::conjuncts;
use super::labels::label_of;
use super::{Analyzer, Clause, Scope, fold, place_of_ident};
use crate::error::{Error, Result};
use crate::plan::{Body, Distinct, Expr, ExprKind, From, Grouping, Output, Query, Select, SetOperator, SortKey};
use crate::resolve::{self, Context};
use crate::types::{self as t, Type};

/// Most sets that CUBE may make.
const MOST_GROUPING_SETS: usize = 4096;

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

    fn check_count(self, n_columns: usize) -> Result<()> {
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
    fn as_wanted(&mut self, expr: Expr, (wanted, index): (Wanted<'_>, usize)) -> Result<Expr> {
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
                let column = match output_place(&key.expr, columns)? {
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

    fn select(
        &mut self,
        select: &ast::Select,
        keys: &[ast::OrderByExpr],
        wanted: Option<Wanted<'_>>,
    ) -> Result<(Body, Vec<Output>, Vec<SortKey>)> {
        self.scopes.push(Scope::default());
        let made = self.select_in_scope(select, keys, wanted);
        self.scopes.pop();
        made
    }

    fn select_in_scope(
        &mut self,
        select: &ast::Select,
        keys: &[ast::OrderByExpr],
        wanted: Option<Wanted<'_>>,
    ) -> Result<(Body, Vec<Output>, Vec<SortKey>)> {
        if select.into.is_some() {
            return Err(Error::not_supported("SELECT INTO here"));
        }
        let mut from = self.from_clause(&select.from)?;
        self.named_windows(&select.named_window)?;
        let filter = match &select.selection {
            None => None,
            Some(condition) => {
                self.scope().clause = Clause::Where;
                let condition = self.expr(condition)?;
                Some(self.condition(condition, "WHERE")?)
            }
        };
        self.scope().clause = Clause::Targets;
        let (mut targets, mut columns) = self.targets(&select.projection)?;
        if let Some(wanted) = wanted {
            wanted.check_count(targets.len())?;
            for (index, (target, column)) in targets.iter_mut().zip(&mut columns).enumerate() {
                let expr = std::mem::replace(target, Self::truth(true));
                *target = self.as_wanted(expr, (wanted, index))?;
                column.data_type = target.data_type.clone();
            }
        } else if !self.keeps_unknown {
            for (target, column) in targets.iter_mut().zip(&mut columns) {
                let expr = std::mem::replace(target, Self::truth(true));
                *target = self.settled(expr)?;
                column.data_type = target.data_type.clone();
            }
        }
        let n_columns = targets.len();
        let (group_keys, sets) = self.group_by(&select.group_by, &targets, &columns)?;
        let having = match &select.having {
            None => None,
            Some(condition) => {
                self.scope().clause = Clause::Having;
                let condition = self.expr(condition)?;
                Some(self.condition(condition, "HAVING")?)
            }
        };
        let distinct = self.distinct(select.distinct.as_ref(), &mut targets, &columns)?;
        self.scope().clause = Clause::OrderBy;
        let order_by = self.sort_keys(keys, &mut targets, &columns)?;
        if matches!(distinct, Distinct::Rows(_)) && targets.len() > n_columns {
            return Err(Error::new("42P10", "for SELECT DISTINCT, ORDER BY expressions must appear in select list"));
        }
        if let Distinct::On(on) = &distinct {
            let first: Vec<usize> = order_by.iter().take(on.len()).map(|key| key.column).collect();
            if !order_by.is_empty()
                && !on.iter().all(|column| first.contains(column))
                && first.iter().any(|column| !on.contains(column))
            {
                return Err(Error::new(
                    "42P10",
                    "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
                ));
            }
        }
        let mut having = having;
        let is_grouped =
            !group_keys.is_empty() || !sets.is_empty() || having.is_some() || !self.scope().aggregates.is_empty();
        let mut windows = std::mem::take(&mut self.scope().windows);
        let mut set_calls = std::mem::take(&mut self.scope().sets);
        let grouping = if is_grouped {
            let aggregates = std::mem::take(&mut self.scope().aggregates);
            // what one key decides: all columns of a relation whose OID is a key
            let free = self.decided_slots(&group_keys);
            let is_free = |slot: usize| free.contains(&slot);
            for expr in targets.iter_mut().chain(&mut having) {
                self.over_groups(expr, &group_keys, &is_free)?;
            }
            for window in &mut windows {
                for expr in window.exprs_mut() {
                    self.over_groups(expr, &group_keys, &is_free)?;
                }
            }
            for call in &mut set_calls {
                for expr in &mut call.arguments {
                    self.over_groups(expr, &group_keys, &is_free)?;
                }
            }
            let sets = if sets.is_empty() { vec![(0..group_keys.len()).collect()] } else { sets };
            Some(Grouping { keys: group_keys, sets, aggregates, having })
        } else {
            None
        };
        if let Some(from) = &mut from {
            self.fill_slots(from);
        }
        let n_slots = self.scope().n_slots;
        let (from, filter) = push_filter(from, filter);
        let select = Select { n_slots, from, filter, grouping, windows, sets: set_calls, targets, distinct };
        Ok((Body::Select(Box::new(select)), columns, order_by))
    }

    /// Slots of relations of which a key is grouped by.
    fn decided_slots(&mut self, keys: &[Expr]) -> Vec<usize> {
        let key_slots: Vec<usize> = keys
            .iter()
            .filter_map(|key| match key.kind {
                ExprKind::Column { level: 0, slot } => Some(slot),
                _ => None,
            })
            .collect();
        let items = &self.scope().items;
        let decided = items.iter().filter(|item| {
            item.columns.iter().any(|column| {
                column.name == "oid"
                    && column.relation != 0
                    && column.slot.is_some_and(|slot| key_slots.contains(&slot))
            })
        });
        decided.flat_map(|item| item.columns.iter().filter_map(|column| column.slot)).collect()
    }

    fn targets(&mut self, projection: &[SelectItem]) -> Result<(Vec<Expr>, Vec<Output>)> {
        let mut targets = Vec::new();
        let mut columns = Vec::new();
        let mut add = |expr: Expr, name: String, (relation, number): (u32, i16)| {
            columns.push(Output { name, data_type: expr.data_type.clone(), relation, number });
            targets.push(expr);
        };
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    if let Some(record) = all_fields(expr) {
                        let record = self.expr(&record)?;
                        for (name, expr) in fields_of(record)? {
                            add(expr, name, (0, 0));
                        }
                        continue;
                    }
                    let made = self.expr(expr)?;
                    let origin = self.origin(&made);
                    add(made, label_of(expr), origin);
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    let made = self.expr(expr)?;
                    let origin = self.origin(&made);
                    add(made, fold(alias), origin);
                }
                SelectItem::Wildcard(options) => {
                    let place = super::place(options.wildcard_token.0.span);
                    for starred in self.starred(None).map_err(|error| error.at(place))? {
                        add(starred.expr, starred.name, starred.origin);
                    }
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let starred = match self.starred(Some(name)) {
                        Ok(starred) => starred,
                        Err(error) => {
                            // `column.*` of a record
                            let [ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { return Err(error) };
                            let record = self.identifier(ident).map_err(|_| error)?;
                            for (name, expr) in fields_of(record)? {
                                add(expr, name, (0, 0));
                            }
                            continue;
                        }
                    };
                    for starred in starred {
                        add(starred.expr, starred.name, starred.origin);
                    }
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::Expr(expr), _) => {
                    let record = self.expr(expr)?;
                    for (name, expr) in fields_of(record)? {
                        add(expr, name, (0, 0));
                    }
                }
                other => return Err(Error::not_supported(format!("{other} in a SELECT list"))),
            }
        }
        if targets.len() > 1664 {
            return Err(Error::new("54011", "target lists can have at most 1664 entries"));
        }
        Ok((targets, columns))
    }

    fn group_by(
        &mut self,
        group_by: &GroupByExpr,
        targets: &[Expr],
        columns: &[Output],
    ) -> Result<(Vec<Expr>, Vec<Vec<usize>>)> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(Error::new("42601", "GROUP BY ALL is not PostgreSQL 15"));
        };
        let is_distinct = matches!(exprs.first(), Some(ast::Expr::Function(first))
            if super::marks::is_marked(first, granary_sql::marks::DISTINCT_SETS));
        let exprs = &exprs[usize::from(is_distinct)..];
        if !modifiers.is_empty() {
            return Err(Error::not_supported("this GROUP BY"));
        }
        self.scope().clause = Clause::GroupBy;
        let mut keys: Vec<Expr> = Vec::new();
        // the cross product of what each item of GROUP BY says
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut has_sets = false;
        for expr in exprs {
            let choices: Vec<Vec<usize>> = match expr {
                ast::Expr::Rollup(groups) => {
                    has_sets = true;
                    let groups = self.key_groups(groups, &mut keys, (targets, columns))?;
                    (0..=groups.len()).rev().map(|length| groups[..length].concat()).collect()
                }
                ast::Expr::Cube(groups) => {
                    has_sets = true;
                    let groups = self.key_groups(groups, &mut keys, (targets, columns))?;
                    if groups.len() > 12 {
                        return Err(Error::new("54011", "CUBE is limited to 12 elements"));
                    }
                    let n_sets = 1_usize << groups.len();
                    let set = |bits: usize| {
                        let chosen = groups
                            .iter()
                            .enumerate()
                            .filter(|(index, _)| bits & (1 << (groups.len() - 1 - index)) != 0);
                        chosen.flat_map(|(_, group)| group.clone()).collect::<Vec<_>>()
                    };
                    (0..n_sets).rev().map(set).collect()
                }
                ast::Expr::GroupingSets(groups) => {
                    has_sets = true;
                    self.key_groups(groups, &mut keys, (targets, columns))?
                }
                ast::Expr::Tuple(items) => vec![
                    items
                        .iter()
                        .map(|item| self.group_key(item, &mut keys, (targets, columns)))
                        .collect::<Result<Vec<_>>>()?,
                ],
                other => vec![vec![self.group_key(other, &mut keys, (targets, columns))?]],
            };
            sets = sets.iter().flat_map(|set| choices.iter().map(|choice| [set.as_slice(), choice].concat())).collect();
            if sets.len() > MOST_GROUPING_SETS {
                return Err(Error::new(
                    "54001",
                    format!("too many grouping sets present (maximum {MOST_GROUPING_SETS})"),
                ));
            }
        }
        if is_distinct {
            let mut seen = std::collections::HashSet::new();
            sets.retain(|set| seen.insert(set.iter().copied().collect::<std::collections::BTreeSet<_>>()));
        }
        if has_sets || !exprs.is_empty() { Ok((keys, sets)) } else { Ok((keys, Vec::new())) }
    }

    fn key_groups(
        &mut self,
        groups: &[Vec<ast::Expr>],
        keys: &mut Vec<Expr>,
        outputs: (&[Expr], &[Output]),
    ) -> Result<Vec<Vec<usize>>> {
        let group = |analyzer: &mut Self, group: &[ast::Expr], keys: &mut Vec<Expr>| {
            group.iter().map(|item| analyzer.group_key(item, keys, outputs)).collect::<Result<Vec<_>>>()
        };
        groups.iter().map(|items| group(self, items, keys)).collect()
    }

    /// The number of a key, which is added if it is new. A bare name is a column of FROM, or else of the SELECT list.
    fn group_key(
        &mut self,
        expr: &ast::Expr,
        keys: &mut Vec<Expr>,
        (targets, columns): (&[Expr], &[Output]),
    ) -> Result<usize> {
        let key = match expr {
            ast::Expr::Identifier(ident) => match self.identifier(ident) {
                Ok(found) => found,
                Err(error) => {
                    let name = fold(ident);
                    let place = columns.iter().position(|column| column.name == name).ok_or(error)?;
                    targets[place].clone()
                }
            },
            ast::Expr::Value(value) if matches!(value.value, ast::Value::Number(..)) => {
                let place = output_place(expr, columns)?
                    .ok_or_else(|| Error::new("42601", "non-integer constant in GROUP BY"))?;
                targets[place].clone()
            }
            other => self.expr(other)?,
        };
        if has_aggregate(&key) {
            return Err(Error::new("42803", "aggregate functions are not allowed in GROUP BY"));
        }
        let key = self.settled(key)?;
        match keys.iter().position(|other| other.is_same(&key)) {
            Some(place) => Ok(place),
            None => {
                keys.push(key);
                Ok(keys.len() - 1)
            }
        }
    }

    fn distinct(
        &mut self,
        distinct: Option<&ast::Distinct>,
        targets: &mut Vec<Expr>,
        columns: &[Output],
    ) -> Result<Distinct> {
        match distinct {
            None | Some(ast::Distinct::All) => Ok(Distinct::No),
            Some(ast::Distinct::Distinct) => Ok(Distinct::Rows(columns.len())),
            Some(ast::Distinct::On(exprs)) => {
                self.scope().clause = Clause::OrderBy;
                let places =
                    exprs.iter().map(|expr| self.target_place(expr, targets, columns)).collect::<Result<Vec<_>>>()?;
                Ok(Distinct::On(places))
            }
        }
    }

    fn sort_keys(
        &mut self,
        keys: &[ast::OrderByExpr],
        targets: &mut Vec<Expr>,
        columns: &[Output],
    ) -> Result<Vec<SortKey>> {
        keys.iter().map(|key| Ok(sort_key(self.target_place(&key.expr, targets, columns)?, key))).collect()
    }

    /// The target that an expression of ORDER BY means: a label, a number, or an expression, which is added if it is new.
    fn target_place(&mut self, expr: &ast::Expr, targets: &mut Vec<Expr>, columns: &[Output]) -> Result<usize> {
        if let Some(place) = output_place(expr, columns)? {
            if let ast::Expr::Identifier(ident) = expr {
                let name = fold(ident);
                let others = columns.iter().enumerate().filter(|(_, column)| column.name == name);
                if !others.map(|(index, _)| index).all(|other| targets[other].is_same(&targets[place])) {
                    return Err(
                        Error::new("42702", format!("ORDER BY \"{name}\" is ambiguous")).at(place_of_ident(ident))
                    );
                }
            }
            return Ok(place);
        }
        let made = self.expr(expr)?;
        let made = self.settled(made)?;
        match targets.iter().position(|target| target.is_same(&made)) {
            Some(place) => Ok(place),
            None => {
                targets.push(made);
                Ok(targets.len() - 1)
            }
        }
    }
}

/// Where the columns of a query begin.
pub(super) fn first_place(body: &SetExpr) -> Option<(u64, u64)> {
    match body {
        SetExpr::Select(select) => match select.projection.first()? {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => super::place_of(expr),
            SelectItem::Wildcard(options) => super::place(options.wildcard_token.0.span),
            _ => None,
        },
        SetExpr::Values(values) => values.rows.first()?.content.first().and_then(super::place_of),
        SetExpr::Query(query) => first_place(&query.body),
        SetExpr::SetOperation { left, .. } => first_place(left),
        _ => None,
    }
}

fn has_aggregate(expr: &Expr) -> bool {
    matches!(expr.kind, ExprKind::Aggregate(_)) || expr.parts().into_iter().any(has_aggregate)
}

/// The record of `(record).*`.
fn all_fields(expr: &ast::Expr) -> Option<ast::Expr> {
    let ast::Expr::CompoundFieldAccess { root, access_chain } = expr else { return None };
    let (last, chain) = access_chain.split_last()?;
    match last {
        ast::AccessExpr::Dot(ast::Expr::Identifier(ident)) if ident.value == granary_sql::ALL_FIELDS => {}
        _ => return None,
    }
    if chain.is_empty() {
        return Some(root.as_ref().clone());
    }
    Some(ast::Expr::CompoundFieldAccess { root: root.clone(), access_chain: chain.to_vec() })
}

fn fields_of(record: Expr) -> Result<Vec<(String, Expr)>> {
    let Some(fields) = record.data_type.fields.clone() else {
        return Err(Error::new("42809", format!("type {} is not composite", record.data_type.name())));
    };
    let field = |index: usize, data_type: &Type| {
        Expr::new(ExprKind::Field { record: Box::new(record.clone()), index }, data_type.clone())
    };
    Ok(fields.iter().enumerate().map(|(index, (name, data_type))| (name.clone(), field(index, data_type))).collect())
}

/// The output column that a bare name or number means. Errors: 42P10, 42702.
fn output_place(expr: &ast::Expr, columns: &[Output]) -> Result<Option<usize>> {
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
                Ok(number) => Err(Error::new("42P10", format!("ORDER BY position {number} is not in select list"))
                    .at(super::place_of(expr))),
                Err(_) => Err(Error::new("42601", "non-integer constant in ORDER BY")),
            },
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

fn sort_key(column: usize, key: &ast::OrderByExpr) -> SortKey {
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

/// Gives the conditions of WHERE to the join that they can be part of.
fn push_filter(from: Option<From>, filter: Option<Expr>) -> (Option<From>, Option<Expr>) {
    match (from, filter) {
        (Some(From::Inner { inputs, mut conditions }), Some(filter)) => {
            conditions.extend(conjuncts(filter));
            (Some(From::Inner { inputs, conditions }), None)
        }
        (Some(from), Some(filter)) => (Some(From::Inner { inputs: vec![from], conditions: conjuncts(filter) }), None),
        (from, filter) => (from, filter),
    }
}
