//! WITH: queries that names can mean, those among them that name themselves, and SEARCH and CYCLE of these.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use granary_sql::marks;
use sqlparser::ast::{self, SetExpr, SetOperator as Operator, Visit, Visitor};

use super::query::{Wanted, renamed_columns};
use super::{Analyzer, VisibleCte, fold, names_relation, place_of, place_of_ident};
use crate::error::{Error, Result};
use crate::plan::{Cte, Expr, ExprKind, Function, Query};
use crate::types::{self as t, Type};
use crate::value::Value;

/// Calls that paths are made with, of arrays of records, which no operator of PostgreSQL's tables takes.
const APPEND: &str = "append to path";
const IS_ON: &str = "is on path";

/// One of those calls.
pub(super) fn path_call(name: &str, arguments: Vec<Expr>) -> Option<Expr> {
    let data_type = arguments.first()?.data_type.clone();
    let (function, data_type) = match name {
        APPEND => {
            let append = |values: &[Value]| {
                let mut items = values[0].as_array().map_or_else(Vec::new, |path| path.items.clone());
                items.push(values[1].clone());
                Value::array(items)
            };
            (Function::new("append_to_path", move |_, values| Ok(append(values))), data_type)
        }
        IS_ON => {
            let is_on = |values: &[Value]| {
                let is_equal = |item: &Value| crate::value::compare(item, &values[1]).is_eq();
                values[0].as_array().is_some_and(|path| path.items.iter().any(is_equal))
            };
            (Function::new("is_on_path", move |_, values| Ok(Value::Bool(is_on(values)))), Type::of(t::BOOL))
        }
        _ => return None,
    };
    let kind = ExprKind::Call { function, arguments, is_strict: false, is_volatile: false };
    Some(Expr::new(kind, data_type))
}

/// The two terms of a recursive query, whether equal rows stay, and the names of its columns.
type Terms = (Query, Query, bool, Vec<String>);

/// The columns that a query of WITH is given, and what SEARCH and CYCLE add.
#[derive(Default)]
struct Columns {
    renamed: Vec<ast::Ident>,
    search: Option<Search>,
    cycle: Option<Cycle>,
}

struct Search {
    is_depth: bool,
    by: Vec<ast::Ident>,
    set: ast::Ident,
}

struct Cycle {
    by: Vec<ast::Ident>,
    set: ast::Ident,
    to: String,
    default: String,
    using: ast::Ident,
}

impl Columns {
    fn of(alias: &ast::TableAlias) -> Columns {
        let mut columns = Columns::default();
        let mut names = alias.columns.iter().map(|column| &column.name).peekable();
        let is_mark = |name: &ast::Ident| name.quote_style.is_some() && name.value.contains(' ');
        while let Some(name) = names.next() {
            let mark = if is_mark(name) { name.value.as_str() } else { "" };
            let mut rest = || {
                let mut found = Vec::new();
                while let Some(name) = names.next_if(|name| !is_mark(name)) {
                    found.push(name.clone());
                }
                found
            };
            match mark {
                marks::SEARCH_DEPTH | marks::SEARCH_BREADTH => {
                    let by = rest();
                    names.next();
                    let Some(set) = names.next().cloned() else { break };
                    columns.search = Some(Search { is_depth: mark == marks::SEARCH_DEPTH, by, set });
                }
                marks::CYCLE => {
                    let by = rest();
                    names.next();
                    let Some(set) = names.next().cloned() else { break };
                    let (mut to, mut default) = ("true".to_owned(), "false".to_owned());
                    if names.next_if(|name| name.value == marks::CYCLE_TO).is_some() {
                        to = names.next().map_or(to, |name| name.value.clone());
                        names.next();
                        default = names.next().map_or(default, |name| name.value.clone());
                    }
                    names.next();
                    let Some(using) = names.next().cloned() else { break };
                    columns.cycle = Some(Cycle { by, set, to, default, using });
                }
                _ => columns.renamed.push(name.clone()),
            }
        }
        columns
    }
}

impl Analyzer<'_> {
    /// Each with the ones that it reads.
    pub(super) fn with(&mut self, with: &ast::With) -> Result<Vec<(Cte, HashSet<usize>)>> {
        let tables = &with.cte_tables;
        for (index, cte) in tables.iter().enumerate() {
            let name = fold(&cte.alias.name);
            if tables[..index].iter().any(|other| fold(&other.alias.name) == name) {
                let message = format!("WITH query name \"{name}\" specified more than once");
                return Err(Error::new("42712", message).at(place_of_ident(&cte.alias.name)));
            }
        }
        let mut made = Vec::new();
        for index in if with.recursive { in_order(tables)? } else { (0..tables.len()).collect() } {
            let cte = &tables[index];
            let name = fold(&cte.alias.name);
            let read_before = std::mem::take(&mut self.read);
            let id = self.new_id();
            let columns = Columns::of(&cte.alias);
            let renamed: Vec<String> = columns.renamed.iter().map(fold).collect();
            let recursive = if with.recursive { self.recursive(cte, (&name, id), &renamed, &columns)? } else { None };
            let (query, recursive, names) = match recursive {
                Some((start, step, all, names)) => (start, Some((Arc::new(step), !all)), names),
                None => {
                    if columns.search.is_some() || columns.cycle.is_some() {
                        return Err(
                            Error::new("42601", "WITH query is not recursive").at(place_of_ident(&cte.alias.name))
                        );
                    }
                    (self.deeper(|analyzer| analyzer.query(&cte.query, None))?, None, renamed)
                }
            };
            let columns =
                renamed_columns(&query, &names, &name).map_err(|error| error.at(place_of_ident(&cte.alias.name)))?;
            self.ctes.push(VisibleCte { name, id, columns });
            let reads = std::mem::replace(&mut self.read, read_before);
            made.push((Cte { id, query: Arc::new(query), recursive }, reads));
        }
        Ok(made)
    }

    /// None: the query does not name itself.
    fn recursive(
        &mut self,
        cte: &ast::Cte,
        (name, id): (&str, usize),
        renamed: &[String],
        own: &Columns,
    ) -> Result<Option<Terms>> {
        if !names_relation(&cte.query.body, name) {
            return Ok(None);
        }
        let recursion = |message: String| Error::new("42P19", message);
        let place = place_of_ident(&cte.alias.name);
        let SetExpr::SetOperation { left, op: Operator::Union, set_quantifier, right } = cte.query.body.as_ref() else {
            let message = format!(
                "recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term"
            );
            return Err(recursion(message).at(place));
        };
        if references(left.as_ref(), name).next().is_some() {
            let message =
                format!("recursive reference to query \"{name}\" must not appear within its non-recursive term");
            return Err(recursion(message).at(references(left.as_ref(), name).next()));
        }
        let unimplemented = |what: &str, place| {
            Err(Error::new("0A000", format!("{what} in a recursive query is not implemented")).at(place))
        };
        let query = cte.query.as_ref();
        if let Some(order) = &query.order_by {
            return unimplemented("ORDER BY", place_of(order));
        }
        if let Some(ast::LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
            match (offset, limit) {
                (Some(offset), _) => return unimplemented("OFFSET", place_of(&offset.value)),
                (_, Some(limit)) => return unimplemented("LIMIT", place_of(limit)),
                _ => {}
            }
        }
        if query.fetch.is_some() {
            return unimplemented("LIMIT", None);
        }
        if !query.locks.is_empty() {
            return unimplemented("FOR UPDATE/SHARE", None);
        }
        check_step(right, name)?;
        let n_ctes = self.ctes.len();
        let outer = match &query.with {
            Some(with) => {
                let made = self.with(with)?;
                self.read.extend(made.iter().flat_map(|(_, reads)| reads.iter().copied()));
                made.into_iter().map(|(cte, _)| cte).collect()
            }
            None => Vec::new(),
        };
        let mut start = self.deeper(|analyzer| analyzer.query(&plain(left), None))?;
        let plain_columns = renamed_columns(&start, renamed, name).map_err(|error| error.at(place))?;
        let mut names: Vec<String> = plain_columns.iter().map(|(name, _)| name.clone()).collect();
        let mut step = right.as_ref().clone();
        if own.search.is_some() || own.cycle.is_some() {
            let (first, next) = self.traversed((left, right), (name, &names), own)?;
            for added in own
                .search
                .iter()
                .map(|search| &search.set)
                .chain(own.cycle.iter().flat_map(|cycle| [&cycle.set, &cycle.using]))
            {
                if names.contains(&fold(added)) {
                    let what = if own.search.as_ref().is_some_and(|search| search.set == *added) {
                        "search sequence"
                    } else if own.cycle.as_ref().is_some_and(|cycle| cycle.set == *added) {
                        "cycle mark"
                    } else {
                        "cycle path"
                    };
                    let message =
                        format!("{what} column name \"{}\" already used in WITH query column list", fold(added));
                    return Err(Error::new("42601", message).at(place_of_ident(added)));
                }
                names.push(fold(added));
            }
            start = self.deeper(|analyzer| analyzer.query(&first, None))?;
            step = SetExpr::Query(Box::new(next));
        }
        start.with.splice(0..0, outer);
        let columns = renamed_columns(&start, &names, name)?;
        let types: Vec<Type> = columns.iter().map(|(_, data_type)| data_type.clone()).collect();
        self.ctes.push(VisibleCte { name: name.to_owned(), id, columns });
        let made = self.recursive_term(&step, name, &types, (left, right));
        self.ctes.truncate(n_ctes);
        let step = made?;
        Ok(Some((start, step, *set_quantifier == ast::SetQuantifier::All, names)))
    }

    /// Errors: 42804 if it would change a column's type.
    fn recursive_term(
        &mut self,
        step: &SetExpr,
        name: &str,
        types: &[Type],
        (left, right): (&SetExpr, &SetExpr),
    ) -> Result<Query> {
        let saved = (self.next_id, self.parameters.clone());
        let unknown = std::mem::replace(&mut self.keeps_unknown, true);
        let free = self.deeper(|analyzer| analyzer.set_side(step));
        self.keeps_unknown = unknown;
        let free = free?;
        if free.columns.len() != types.len() {
            return Err(Error::new("42601", "each UNION query must have the same number of columns")
                .at(super::query::first_place(right)));
        }
        for (index, (own, start)) in free.columns.iter().zip(types).enumerate() {
            let pair = [start.clone(), own.data_type.clone()];
            let overall = crate::resolve::common_type(&pair, "UNION")?;
            if overall.oid != start.oid {
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                    index + 1,
                    start.name(),
                    overall.name()
                );
                return Err(Error::new("42804", message)
                    .with_hint("Cast the output of the non-recursive term to the correct type.")
                    .at(super::query::first_place(left)));
            }
        }
        (self.next_id, self.parameters) = saved;
        self.deeper(|analyzer| analyzer.query(&plain(step), Some(Wanted::in_common(types))))
    }

    /// The terms with the columns of SEARCH and CYCLE.
    fn traversed(
        &mut self,
        (left, right): (&SetExpr, &SetExpr),
        (name, columns): (&str, &[String]),
        own: &Columns,
    ) -> Result<(ast::Query, ast::Query)> {
        let quoted = |name: &str| granary_sql::name::quote(name);
        let list = |names: &[ast::Ident], prefix: &str| -> String {
            let names: Vec<String> = names.iter().map(|name| format!("{prefix}{}", quoted(&fold(name)))).collect();
            names.join(", ")
        };
        let by = own.search.iter().flat_map(|search| search.by.iter().map(|by| (by, "search")));
        let by = by.chain(own.cycle.iter().flat_map(|cycle| cycle.by.iter().map(|by| (by, "cycle"))));
        for (column, what) in by {
            if !columns.contains(&fold(column)) {
                let message = format!("{what} column \"{}\" not in WITH query column list", fold(column));
                return Err(Error::new("42601", message).at(place_of_ident(column)));
            }
        }
        let names: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
        let names = names.join(", ");
        let (mut first, mut next) = (names.clone(), names.clone());
        // what the rows before have, which the recursive term gives along
        let mut carried: Vec<(String, String)> = Vec::new();
        let mut condition = String::new();
        if let Some(search) = &own.search {
            let set = quoted(&fold(&search.set));
            let key = list(&search.by, "");
            if search.is_depth {
                first += &format!(", array[row({key})] as {set}");
                next += &format!(", \"{APPEND}\"(\"search before\", row({key})) as {set}");
            } else {
                first += &format!(", row(0::bigint, {key}) as {set}");
                next += &format!(", row((\"search before\").f1 + 1, {key}) as {set}");
            }
            carried.push((set, "search before".to_owned()));
        }
        if let Some(cycle) = &own.cycle {
            let (set, using) = (quoted(&fold(&cycle.set)), quoted(&fold(&cycle.using)));
            let key = list(&cycle.by, "");
            let (to, default) = (&cycle.to, &cycle.default);
            first += &format!(", {default} as {set}, array[row({key})] as {using}");
            next += &format!(
                ", case when \"{IS_ON}\"(\"path before\", row({key})) then {to} else {default} end as {set}, \
                 \"{APPEND}\"(\"path before\", row({key})) as {using}"
            );
            condition = format!(" where \"mark before\" <> {to}");
            carried.push((set, "mark before".to_owned()));
            carried.push((using, "path before".to_owned()));
        }
        let parse = crate::functions::sql::parse;
        let inner = format!("\"term\" ({names}");
        let mut start = parse(&format!("select {first} from (select 1) as {inner})"))?;
        let added: String = carried.iter().map(|(_, before)| format!(", \"{before}\"")).collect();
        let mut step = parse(&format!("select {next} from (select 1) as {inner}{added}){condition}"))?;
        put_inside(&mut start, plain(left));
        let SetExpr::Select(select) = right else {
            return Err(Error::new(
                "0A000",
                "with a SEARCH or CYCLE clause, the right side of the UNION must be a SELECT",
            ));
        };
        let mut select = select.clone();
        let alias = alias_in(&select.from, name).ok_or_else(|| {
            let message = "with a SEARCH or CYCLE clause, the recursive reference to WITH query must be at the top level of its right-hand SELECT";
            Error::new("0A000", message)
        })?;
        let carried: Vec<String> =
            carried.iter().map(|(own, before)| format!("{}.{own} as \"{before}\"", quoted(&alias))).collect();
        let given = parse(&format!("select {}", carried.join(", ")))?;
        if let SetExpr::Select(given) = given.body.as_ref() {
            select.projection.extend(given.projection.iter().cloned());
        }
        put_inside(&mut step, plain(&SetExpr::Select(select)));
        Ok((start, step))
    }
}

/// A query of nothing but this.
pub(super) fn plain(body: &SetExpr) -> ast::Query {
    ast::Query {
        with: None,
        body: Box::new(body.clone()),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// Makes a query the one that stands in another's FROM.
fn put_inside(outer: &mut ast::Query, inner: ast::Query) {
    if let SetExpr::Select(select) = outer.body.as_mut()
        && let Some(ast::TableFactor::Derived { subquery, .. }) =
            select.from.first_mut().map(|table| &mut table.relation)
    {
        **subquery = inner;
    }
}

/// What a query of WITH is called in FROM.
fn alias_in(tables: &[ast::TableWithJoins], name: &str) -> Option<String> {
    let factors = tables
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    factors.into_iter().find_map(|factor| match factor {
        ast::TableFactor::Table { name: own, alias, args: None, .. } if is_name(own, name) => {
            Some(alias.as_ref().map_or_else(|| name.to_owned(), |alias| fold(&alias.name)))
        }
        _ => None,
    })
}

fn is_name(relation: &ast::ObjectName, name: &str) -> bool {
    matches!(super::split_name(relation), Ok((None, own)) if own == name)
}

/// Where a relation of that name is read.
fn references(tree: &impl Visit, name: &str) -> impl Iterator<Item = (u64, u64)> {
    let mut found = Vec::new();
    let _ = ast::visit_relations(tree, |relation| {
        if is_name(relation, name) {
            found.extend(place_of(relation));
        }
        ControlFlow::<()>::Continue(())
    });
    found.into_iter()
}

/// Errors: 42P19 if the query is named where it cannot be, 0A000 never.
fn check_step(step: &SetExpr, name: &str) -> Result<()> {
    let wrong = |what: &str, place: Option<(u64, u64)>| {
        let message = format!("recursive reference to query \"{name}\" must not appear {what}");
        Err(Error::new("42P19", message).at(place))
    };
    if let Some(place) = below(step, name, "INTERSECT") {
        return wrong("within INTERSECT", Some(place));
    }
    if let Some(place) = below(step, name, "EXCEPT") {
        return wrong("within EXCEPT", Some(place));
    }
    let mut finder = Subqueries { name, found: None };
    let _ = step.visit(&mut finder);
    if let Some(place) = finder.found {
        return wrong("within a subquery", Some(place));
    }
    if let Some(place) = below_outer_join(step, name) {
        return wrong("within an outer join", Some(place));
    }
    let mut all = references(step, name);
    all.next();
    if let Some(place) = all.next() {
        return wrong("more than once", Some(place));
    }
    if let SetExpr::Select(select) = step {
        let mut finder = Aggregates { found: None };
        for part in &select.projection {
            let _ = part.visit(&mut finder);
        }
        let _ = select.having.visit(&mut finder);
        if let Some(place) = finder.found {
            let message = "aggregate functions are not allowed in a recursive query's recursive term";
            return Err(Error::new("42P19", message).at(Some(place)));
        }
    }
    Ok(())
}

/// The first mention in a set operation of that kind.
fn below(body: &SetExpr, name: &str, what: &str) -> Option<(u64, u64)> {
    match body {
        SetExpr::SetOperation { left, op, right, set_quantifier } => {
            let is_all = *set_quantifier == ast::SetQuantifier::All;
            match op {
                Operator::Intersect if what == "INTERSECT" && is_all => references(body, name).next(),
                Operator::Except if what == "EXCEPT" && is_all => references(body, name).next(),
                Operator::Except if what == "EXCEPT" => {
                    references(right.as_ref(), name).next().or(below(left, name, what))
                }
                _ => below(left, name, what).or(below(right, name, what)),
            }
        }
        SetExpr::Query(query) => below(&query.body, name, what),
        _ => None,
    }
}

fn below_outer_join(body: &SetExpr, name: &str) -> Option<(u64, u64)> {
    let SetExpr::Select(select) = body else { return None };
    select.from.iter().find_map(|table| outer_join(table, name))
}

fn outer_join(table: &ast::TableWithJoins, name: &str) -> Option<(u64, u64)> {
    use ast::JoinOperator as J;
    let nested = |factor: &ast::TableFactor| match factor {
        ast::TableFactor::NestedJoin { table_with_joins, .. } => outer_join(table_with_joins, name),
        _ => None,
    };
    let mut before: Vec<&ast::TableFactor> = vec![&table.relation];
    if let Some(found) = nested(&table.relation) {
        return Some(found);
    }
    for join in &table.joins {
        let on_left = || before.iter().find_map(|factor| references(*factor, name).next());
        let on_right = || references(&join.relation, name).next();
        let found = match join.join_operator {
            J::Left(_) | J::LeftOuter(_) => on_right(),
            J::Right(_) | J::RightOuter(_) => on_left(),
            J::FullOuter(_) => on_left().or(on_right()),
            _ => nested(&join.relation),
        };
        if found.is_some() {
            return found;
        }
        before.push(&join.relation);
    }
    None
}

/// Mentions in queries that stand in expressions.
struct Subqueries<'n> {
    name: &'n str,
    found: Option<(u64, u64)>,
}

impl Visitor for Subqueries<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let query = match expr {
            ast::Expr::Subquery(query) | ast::Expr::Exists { subquery: query, .. } => query,
            ast::Expr::InSubquery { subquery, .. } => subquery,
            _ => return ControlFlow::Continue(()),
        };
        self.found = self.found.or(references(query.as_ref(), self.name).next());
        if self.found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Aggregates that are not of a query inside.
struct Aggregates {
    found: Option<(u64, u64)>,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &ast::Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Function(function) = expr
            && function.over.is_none()
            && let Ok((_, name)) = super::split_name(&function.name)
            && crate::resolve::procs_named(&name).any(|proc| proc.kind == 'a')
        {
            self.found = place_of(&function.name);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// The queries of WITH RECURSIVE, each behind those that it names. Errors: 0A000 if two name each other.
fn in_order(tables: &[ast::Cte]) -> Result<Vec<usize>> {
    let names: Vec<String> = tables.iter().map(|cte| fold(&cte.alias.name)).collect();
    let needs: Vec<Vec<usize>> = tables
        .iter()
        .enumerate()
        .map(|(index, cte)| {
            let is_named =
                |other: &usize| *other != index && references(cte.query.as_ref(), &names[*other]).next().is_some();
            (0..tables.len()).filter(is_named).collect()
        })
        .collect();
    let mut order: Vec<usize> = Vec::with_capacity(tables.len());
    while order.len() < tables.len() {
        let is_ready =
            |index: &usize| !order.contains(index) && needs[*index].iter().all(|other| order.contains(other));
        match (0..tables.len()).find(is_ready) {
            Some(index) => order.push(index),
            None => {
                let stuck = (0..tables.len()).find(|index| !order.contains(index)).unwrap_or(0);
                return Err(Error::new("0A000", "mutual recursion between WITH items is not implemented")
                    .at(place_of_ident(&tables[stuck].alias.name)));
            }
        }
    }
    Ok(order)
}
