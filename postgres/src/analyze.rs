//! From a statement's syntax tree to a plan: names, types, operators and functions are settled as PostgreSQL settles them.

mod assign;
mod calls;
mod coerce;
mod expr;
mod frames;
mod from;
mod labels;
mod marks;
mod names;
mod operators;
mod query;
mod recursion;
mod select;

use std::collections::HashSet;
use std::sync::Arc;

use sqlparser::ast;

use crate::error::{Error, Result};
use crate::plan::{AggregateCall, Expr, Query, SetCall, WindowCall};
use crate::types::{self as t, Type};
use crate::world::World;

pub use labels::label_of;

/// A statement ready to be carried out.
#[derive(Debug, Clone)]
pub struct Analyzed {
    pub query: Arc<Query>,
    /// of `$1`, `$2`, …
    pub parameters: Vec<Type>,
}

/// How deep queries and expressions may stand in each other.
const DEPTH_LIMIT: usize = 200;

/// Settles a query. `declared`: types of parameters as far as the client has said them.
///
/// Errors: as PostgreSQL's, with their place; 42P01 also for relations that cannot be answered here.
pub fn analyze(query: &ast::Query, declared: &[Option<Type>], world: &dyn World) -> Result<Analyzed> {
    settle(query, None, declared, world)
}

/// The same of rows that are assigned to columns of these names and types, or to the first of them.
///
/// Errors: 42804 for what is no value of a column's type, 42601 if there are too many.
pub fn analyze_rows(
    query: &ast::Query,
    (columns, types): (&[String], &[Type]),
    declared: &[Option<Type>],
    world: &dyn World,
) -> Result<Analyzed> {
    settle(query, Some(query::Wanted { types, columns: Some(columns) }), declared, world)
}

fn settle(
    query: &ast::Query,
    wanted: Option<query::Wanted<'_>>,
    declared: &[Option<Type>],
    world: &dyn World,
) -> Result<Analyzed> {
    let mut analyzer = Analyzer {
        world,
        parameters: declared.to_vec(),
        scopes: Vec::new(),
        ctes: Vec::new(),
        next_id: 0,
        lowest_reference: usize::MAX,
        reads_cte: false,
        read: HashSet::new(),
        depth: 0,
        keeps_unknown: false,
    };
    let query = analyzer.query(query, wanted)?;
    let parameters = analyzer.parameters.into_iter().map(|parameter| parameter.unwrap_or(Type::of(t::TEXT))).collect();
    Ok(Analyzed { query: Arc::new(query), parameters })
}

struct Analyzer<'a> {
    world: &'a dyn World,
    parameters: Vec<Option<Type>>,
    scopes: Vec<Scope>,
    ctes: Vec<VisibleCte>,
    next_id: usize,
    /// the outermost scope that was named since somebody last looked
    lowest_reference: usize,
    reads_cte: bool,
    /// the queries of WITH that were named since somebody last looked
    read: HashSet<usize>,
    depth: usize,
    /// constants that nothing gives a type stay so: the other side of a UNION may
    keeps_unknown: bool,
}

/// A query of WITH that names can mean.
#[derive(Debug, Clone)]
struct VisibleCte {
    name: String,
    id: usize,
    columns: Vec<(String, Type)>,
}

/// What names mean in one SELECT.
#[derive(Default)]
struct Scope {
    items: Vec<Item>,
    names: Vec<Name>,
    n_slots: usize,
    /// while a subquery of FROM that may not see its neighbours is settled
    is_hidden: bool,
    clause: Clause,
    aggregates: Vec<AggregateCall>,
    windows: Vec<WindowCall>,
    sets: Vec<SetCall>,
    named_windows: Vec<(String, ast::WindowSpec)>,
    in_aggregate: bool,
}

/// What is being settled: not everything may stand everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Clause {
    #[default]
    From,
    On,
    Where,
    GroupBy,
    Having,
    Targets,
    OrderBy,
    Limit,
    Values,
}

impl Clause {
    fn words(self) -> &'static str {
        match self {
            Clause::From => "functions in FROM",
            Clause::On => "JOIN conditions",
            Clause::Where => "WHERE",
            Clause::GroupBy => "GROUP BY",
            Clause::Having => "HAVING",
            Clause::Targets => "SELECT",
            Clause::OrderBy => "ORDER BY",
            Clause::Limit => "LIMIT",
            Clause::Values => "VALUES",
        }
    }
}

/// One relation of FROM.
struct Item {
    schema: Option<String>,
    alias: String,
    columns: Vec<ItemColumn>,
    /// places of the columns that decide all others
    key: Vec<usize>,
    /// whether its rows are single values, of a function
    is_value: bool,
    /// of the alias of a join: what its columns are
    stands_for: Option<Vec<Meaning>>,
    /// inside of a join that has an alias, where nobody can name it
    is_inside: bool,
}

impl Item {
    /// What a column of it means; `item` is its place.
    fn meaning(&self, item: usize, column: usize) -> Meaning {
        match &self.stands_for {
            Some(meanings) => meanings[column].clone(),
            None => Meaning::Column { item, column },
        }
    }
}

struct ItemColumn {
    name: String,
    data_type: Type,
    /// where the SELECT's row has it, if anybody has named it
    slot: Option<usize>,
    relation: u32,
    number: i16,
}

/// A column that can be named, in the order of `*`.
#[derive(Clone)]
struct Name {
    name: String,
    meaning: Meaning,
    /// only with its qualifier: its namesake of a USING stands for both
    is_merged: bool,
}

#[derive(Clone)]
enum Meaning {
    Column {
        item: usize,
        column: usize,
    },
    /// of USING
    Expr(Expr),
}

impl Analyzer<'_> {
    fn new_id(&mut self) -> usize {
        self.next_id += 1;
        self.next_id
    }

    fn scope(&mut self) -> &mut Scope {
        self.scopes.last_mut().expect("a scope is open while names are settled")
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_LIMIT {
            return Err(Error::new("54001", "stack depth limit exceeded"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    /// What `inner` gives, and whether it names nothing outside of scopes from `base` on.
    fn watched<T>(&mut self, base: usize, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<(T, bool)> {
        let (lowest, reads_cte) =
            (std::mem::replace(&mut self.lowest_reference, usize::MAX), std::mem::take(&mut self.reads_cte));
        let result = inner(self);
        let is_fixed = self.lowest_reference >= base && !self.reads_cte;
        self.lowest_reference = self.lowest_reference.min(lowest);
        self.reads_cte |= reads_cte;
        Ok((result?, is_fixed))
    }
}

/// Where a part of the statement stands.
fn place_of(node: &impl ast::Spanned) -> Option<(u64, u64)> {
    place(node.span())
}

fn place_of_ident(ident: &ast::Ident) -> Option<(u64, u64)> {
    place(ident.span)
}

fn place(span: sqlparser::tokenizer::Span) -> Option<(u64, u64)> {
    (span.start.line > 0).then_some((span.start.line, span.start.column))
}

/// A name as PostgreSQL folds it.
fn fold(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The last name of a qualified one, and its schema.
fn split_name(name: &ast::ObjectName) -> Result<(Option<String>, String)> {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|part| match part {
            ast::ObjectNamePart::Identifier(ident) => Ok(fold(ident)),
            ast::ObjectNamePart::Function(_) => Err(Error::new("42601", "syntax error in a name")),
        })
        .collect::<Result<_>>()?;
    match parts.as_slice() {
        [name] => Ok((None, name.clone())),
        [schema, name] | [_, schema, name] => Ok((Some(schema.clone()), name.clone())),
        _ => Err(Error::new("42601", format!("improper qualified name (too many dotted names): {}", parts.join(".")))),
    }
}

/// Whether a relation of that name is read anywhere in it.
fn names_relation(body: &ast::SetExpr, name: &str) -> bool {
    let found = ast::visit_relations(body, |relation| {
        let is_it = matches!(split_name(relation), Ok((None, other)) if other == name);
        if is_it { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    found.is_break()
}
