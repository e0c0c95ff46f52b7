//! SELECT: its targets, groups, DISTINCT, and what it is sorted by.

use sqlparser::ast::{self, GroupByExpr, SelectItem};

use super::from::conjuncts;
use super::labels::label_of;
use super::query::{Wanted, output_place, sort_key};
use super::{Analyzer, Clause, Scope, fold, place_of_ident};
use crate::error::{Error, Result};
use crate::plan::{Body, Distinct, Expr, ExprKind, From, Grouping, Output, Select, SortKey};
use crate::types::Type;

/// Most sets that CUBE may make.
const MOST_GROUPING_SETS: usize = 4096;

impl Analyzer<'_> {
    pub(super) fn select(
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

    pub(super) fn select_in_scope(
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

    /// Slots of relations whose primary key is grouped by: it decides them.
    pub(super) fn decided_slots(&mut self, keys: &[Expr]) -> Vec<usize> {
        let key_slots: Vec<usize> = keys
            .iter()
            .filter_map(|key| match key.kind {
                ExprKind::Column { level: 0, slot } => Some(slot),
                _ => None,
            })
            .collect();
        let items = &self.scope().items;
        let decided = items.iter().filter(|item| {
            let is_grouped_by = |place: &usize| item.columns[*place].slot.is_some_and(|slot| key_slots.contains(&slot));
            !item.key.is_empty() && item.key.iter().all(is_grouped_by)
        });
        decided.flat_map(|item| item.columns.iter().filter_map(|column| column.slot)).collect()
    }

    pub(super) fn targets(&mut self, projection: &[SelectItem]) -> Result<(Vec<Expr>, Vec<Output>)> {
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

    pub(super) fn group_by(
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

    pub(super) fn key_groups(
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
    pub(super) fn group_key(
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
                let place = output_place(expr, columns, "GROUP BY")?
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

    pub(super) fn distinct(
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

    pub(super) fn sort_keys(
        &mut self,
        keys: &[ast::OrderByExpr],
        targets: &mut Vec<Expr>,
        columns: &[Output],
    ) -> Result<Vec<SortKey>> {
        keys.iter().map(|key| Ok(sort_key(self.target_place(&key.expr, targets, columns)?, key))).collect()
    }

    /// The target that an expression of ORDER BY means: a label, a number, or an expression, which is added if it is new.
    pub(super) fn target_place(
        &mut self,
        expr: &ast::Expr,
        targets: &mut Vec<Expr>,
        columns: &[Output],
    ) -> Result<usize> {
        if let Some(place) = output_place(expr, columns, "ORDER BY")? {
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
