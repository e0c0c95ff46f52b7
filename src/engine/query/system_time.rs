//! Gives feature relations their times before DataFusion's planner sees a query.
//!
//! `v FOR SYSTEM_TIME AS OF e` becomes a relation of its own (`v@1`) with one column more, `_as_of_1`, which the
//! query must bind by equality; the condition `_as_of_1 = e` is added where the relation is joined. Wildcards leave
//! such columns out. A query without feature relations passes through untouched.

use std::collections::HashSet;
use std::ops::ControlFlow;

use granary_sql::{SystemTime, time_of};
use sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    Query, Select, SelectItem, SelectItemQualifiedWildcardKind, Statement, TableAlias, TableFactor, TableVersion,
    TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::dataset_version::dataset_call;
use crate::engine::relation::{EFFECTIVE_TIME, STATUS};
use crate::error::{Error, Kind, Result};

/// The feature relations that a rewritten statement reads as of a time.
#[derive(Debug, Default)]
pub struct SystemTimes {
    /// number `i + 1` stands behind the `@` of a relation's name
    pub relations: Vec<ReadAt>,
    /// the statement names a system column, so feature relations have them
    pub system_columns: bool,
}

/// How a relation with a system time is read.
#[derive(Debug)]
pub enum ReadAt {
    /// as of the value that its hidden column is bound to
    AsOf { time: Expr },
    /// all of its history between two constants
    Between { start: Expr, end: Expr },
    /// the version of a dataset that was the newest at a constant time
    DatasetAt { time: Expr },
    /// a version of a dataset
    DatasetVersion { number: u64 },
}

/// The hidden column that binds the time of relation number `number`.
pub fn as_of_column(number: usize) -> String {
    format!("_as_of_{number}")
}

pub fn is_as_of_column(name: &str) -> bool {
    name.strip_prefix("_as_of_").is_some_and(|number| number.parse::<usize>().is_ok())
}

/// Splits `v@1` into the name and the number.
pub fn split_versioned(name: &str) -> Option<(&str, usize)> {
    let (name, number) = name.rsplit_once('@')?;
    Some((name, number.parse().ok()?))
}

/// What a relation is that may have a system time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timed {
    Feature,
    Dataset,
}

/// Rewrites `statement` in place. `timed` says what a name stands for that may have a time.
pub fn rewrite(statement: &mut Statement, timed: &dyn Fn(&ObjectName) -> Result<Option<Timed>>) -> Result<SystemTimes> {
    let mut facts = Facts::default();
    let _ = statement.visit(&mut facts);
    let mut rewriter = Rewriter {
        times: SystemTimes { relations: Vec::new(), system_columns: facts.system_columns },
        ctes: facts.ctes,
        timed,
    };
    match statement.visit(&mut rewriter) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(rewriter.times),
    }
}

/// What must be known before the first change.
#[derive(Default)]
struct Facts {
    ctes: HashSet<String>,
    system_columns: bool,
}

impl VisitorMut for Facts {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.ctes.extend(with.cte_tables.iter().map(|cte| folded(&cte.alias.name)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let last = match expr {
            Expr::Identifier(ident) => Some(&*ident),
            Expr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        if let Some(ident) = last
            && [STATUS, EFFECTIVE_TIME].contains(&ident.value.as_str())
        {
            self.system_columns = true;
        }
        ControlFlow::Continue(())
    }
}

fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

struct Rewriter<'a> {
    times: SystemTimes,
    ctes: HashSet<String>,
    timed: &'a dyn Fn(&ObjectName) -> Result<Option<Timed>>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        match self.rewrite_select(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// A feature relation in one FROM, and its columns that `*` must not show.
struct Found {
    alias: Ident,
    hidden: Vec<String>,
}

/// What one FROM adds up to.
#[derive(Default)]
struct Scope {
    found: Vec<Found>,
    /// every relation's alias, in order; None where a wildcard of it could not be written out
    aliases: Option<Vec<Ident>>,
    conditions: Vec<Expr>,
}

impl Rewriter<'_> {
    fn rewrite_select(&mut self, select: &mut Select) -> Result<()> {
        let mut scope = Scope { aliases: Some(Vec::new()), ..Scope::default() };
        for table in &mut select.from {
            self.rewrite_table(table, &mut scope)?;
        }
        for condition in scope.conditions.drain(..) {
            select.selection = Some(conjunction(select.selection.take(), condition));
        }
        if scope.found.iter().any(|found| !found.hidden.is_empty()) {
            select.projection = hide(std::mem::take(&mut select.projection), &scope)?;
        }
        Ok(())
    }

    fn rewrite_table(&mut self, table: &mut TableWithJoins, scope: &mut Scope) -> Result<()> {
        if let Some(condition) = self.rewrite_factor(&mut table.relation, scope)? {
            scope.conditions.push(condition);
        }
        for join in &mut table.joins {
            self.rewrite_join(join, scope)?;
        }
        Ok(())
    }

    fn rewrite_join(&mut self, join: &mut Join, scope: &mut Scope) -> Result<()> {
        let condition = self.rewrite_factor(&mut join.relation, scope)?;
        let constraint = match &mut join.join_operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => Some(constraint),
            _ => None,
        };
        if matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural)) {
            scope.aliases = None;
        }
        match (condition, constraint) {
            (None, _) => {}
            (Some(condition), Some(JoinConstraint::On(on))) => {
                *on = conjunction(Some(on.clone()), condition);
            }
            // The relation is total, so a condition on its time may as well stand in WHERE.
            (Some(condition), _) => scope.conditions.push(condition),
        }
        Ok(())
    }

    /// Renames a relation that has a time; gives the condition that binds it.
    fn rewrite_factor(&mut self, factor: &mut TableFactor, scope: &mut Scope) -> Result<Option<Expr>> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            self.rewrite_table(table_with_joins, scope)?;
            return Ok(None);
        }
        let time = time_of(factor);
        let call = dataset_call(factor).transpose()?;
        let TableFactor::Table { name, alias, version, args, .. } = factor else {
            note_alias(factor, scope);
            return Ok(None);
        };
        if let Some((dataset, number)) = call {
            if time.is_some() {
                return Err(Error::new(Kind::Syntax, "a version of a dataset has no FOR SYSTEM_TIME")
                    .with_hint("leave one of the two out"));
            }
            let function = last_ident(name).unwrap_or_else(|| Ident::new("dataset"));
            let alias_name = alias.as_ref().map_or(function, |alias| alias.name.clone());
            if let Some(aliases) = &mut scope.aliases {
                aliases.push(alias_name.clone());
            }
            (*name, *args) = (dataset, None);
            self.number(name, version, alias, &alias_name, ReadAt::DatasetVersion { number });
            return Ok(None);
        }
        let is_cte =
            matches!(name.0.as_slice(), [ObjectNamePart::Identifier(only)] if self.ctes.contains(&folded(only)));
        let timed = if is_cte { None } else { (self.timed)(name)? };
        if time.is_some() && timed.is_none() {
            return Err(Error::new(
                Kind::WrongObjectType,
                format!("\"{name}\" is not a feature relation or dataset, so it has no FOR SYSTEM_TIME"),
            )
            .with_hint("leave FOR SYSTEM_TIME out, or name a feature view, feature table or feature service"));
        }
        let alias_name = alias.as_ref().map(|alias| alias.name.clone()).or_else(|| last_ident(name));
        let alias_name = alias_name.ok_or_else(|| Error::not_supported("a relation named by a function"))?;
        if let Some(aliases) = &mut scope.aliases {
            aliases.push(alias_name.clone());
        }
        match (timed, time) {
            (None, _) | (Some(Timed::Dataset), None) => Ok(None),
            (Some(Timed::Dataset), Some(SystemTime::AsOf(time))) => {
                self.number(name, version, alias, &alias_name, ReadAt::DatasetAt { time });
                Ok(None)
            }
            (Some(Timed::Dataset), Some(SystemTime::Between { .. })) => {
                Err(Error::new(Kind::WrongObjectType, format!("\"{name}\" is a dataset, which has no history"))
                    .with_hint("read one of its versions: FOR SYSTEM_TIME AS OF a time, or dataset('name', 1)"))
            }
            (Some(Timed::Feature), time) => Ok(self.rewrite_feature(name, version, alias, (alias_name, time), scope)),
        }
    }

    /// The same for a feature relation, which is called `alias_name`.
    fn rewrite_feature(
        &mut self,
        name: &mut ObjectName,
        version: &mut Option<TableVersion>,
        alias: &mut Option<TableAlias>,
        (alias_name, time): (Ident, Option<SystemTime>),
        scope: &mut Scope,
    ) -> Option<Expr> {
        let mut hidden = Vec::new();
        if self.times.system_columns {
            hidden.extend([EFFECTIVE_TIME.to_owned(), STATUS.to_owned()]);
        }
        let condition = match time {
            None => None,
            Some(SystemTime::Between { start, end }) => {
                self.number(name, version, alias, &alias_name, ReadAt::Between { start, end });
                None
            }
            Some(SystemTime::AsOf(time)) => {
                let number = self.number(name, version, alias, &alias_name, ReadAt::AsOf { time: time.clone() });
                let column = as_of_column(number);
                let bound = Expr::CompoundIdentifier(vec![alias_name.clone(), Ident::with_quote('"', &column)]);
                hidden.push(column);
                Some(Expr::BinaryOp {
                    left: Box::new(bound),
                    op: BinaryOperator::Eq,
                    right: Box::new(Expr::Nested(Box::new(time))),
                })
            }
        };
        scope.found.push(Found { alias: alias_name, hidden });
        condition
    }
}

impl Rewriter<'_> {
    /// Makes a relation with a time one of its own, under the name that the query calls it.
    fn number(
        &mut self,
        name: &mut ObjectName,
        version: &mut Option<TableVersion>,
        alias: &mut Option<TableAlias>,
        alias_name: &Ident,
        read_at: ReadAt,
    ) -> usize {
        self.times.relations.push(read_at);
        let number = self.times.relations.len();
        rename(name, number);
        *version = None;
        if alias.is_none() {
            *alias = Some(TableAlias { explicit: true, name: alias_name.clone(), columns: vec![], at: None });
        }
        number
    }
}

fn note_alias(factor: &TableFactor, scope: &mut Scope) {
    let alias = match factor {
        TableFactor::Derived { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::Function { alias, .. } => alias.as_ref(),
        _ => None,
    };
    match (alias, &mut scope.aliases) {
        (Some(alias), Some(aliases)) => aliases.push(alias.name.clone()),
        _ => scope.aliases = None,
    }
}

fn last_ident(name: &ObjectName) -> Option<Ident> {
    match name.0.last()? {
        ObjectNamePart::Identifier(ident) => Some(ident.clone()),
        ObjectNamePart::Function(_) => None,
    }
}

fn rename(name: &mut ObjectName, number: usize) {
    if let Some(ObjectNamePart::Identifier(ident)) = name.0.last_mut() {
        ident.value = format!("{}@{number}", folded(ident));
        ident.quote_style = Some('"');
    }
}

fn conjunction(left: Option<Expr>, right: Expr) -> Expr {
    match left {
        None => right,
        Some(left) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(left))),
            op: BinaryOperator::And,
            right: Box::new(right),
        },
    }
}

/// The projection with hidden columns left out of its wildcards.
fn hide(projection: Vec<SelectItem>, scope: &Scope) -> Result<Vec<SelectItem>> {
    let mut items = Vec::with_capacity(projection.len());
    for item in projection {
        match item {
            SelectItem::Wildcard(options) => {
                let columns: Vec<&String> = scope.found.iter().flat_map(|found| &found.hidden).collect();
                let unique: HashSet<&String> = columns.iter().copied().collect();
                if unique.len() == columns.len() {
                    items.push(SelectItem::Wildcard(excluding(options, columns)));
                    continue;
                }
                let Some(aliases) = &scope.aliases else {
                    return Err(Error::not_supported("* over several feature relations together with system columns")
                        .with_hint("list the columns, or write alias.* for each relation"));
                };
                items.extend(aliases.iter().map(|alias| qualified(alias, options.clone(), scope)));
            }
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                match last_ident(&name) {
                    Some(alias) if name.0.len() == 1 => items.push(qualified(&alias, options, scope)),
                    _ => items.push(SelectItem::QualifiedWildcard(
                        SelectItemQualifiedWildcardKind::ObjectName(name),
                        options,
                    )),
                }
            }
            other => items.push(other),
        }
    }
    Ok(items)
}

fn qualified(alias: &Ident, options: WildcardAdditionalOptions, scope: &Scope) -> SelectItem {
    let found = scope.found.iter().find(|found| folded(&found.alias) == folded(alias));
    let options = match found {
        Some(found) if !found.hidden.is_empty() => excluding(options, found.hidden.iter().collect()),
        _ => options,
    };
    SelectItem::QualifiedWildcard(
        SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![alias.clone()])),
        options,
    )
}

fn excluding(mut options: WildcardAdditionalOptions, columns: Vec<&String>) -> WildcardAdditionalOptions {
    let names = columns.into_iter().map(|column| ObjectName::from(vec![Ident::with_quote('"', column)])).collect();
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    options
}
