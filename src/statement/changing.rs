//! What UPDATE, DELETE and INSERT with conflicts have in common: a query of the rows that they are about, with their
//! places; which of them go; and the rows that RETURNING shows.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use granary_catalog::{Column, PolicyCommand};
use granary_sql::name::quote;
use sqlparser::ast;

use super::context::{Isolation, StatementContext};
use super::table::Target;
use crate::engine::{GivenRelation, PLACE_FILE, PLACE_ROW, PlacedRows, TableWrite};
use crate::error::{Error, Kind, Result};
use crate::offline::{Places, RowNumbers, changed_meanwhile};

/// Rows that go, as they are found.
#[derive(Debug)]
pub struct Removing {
    rows: PlacedRows,
    found: Mutex<HashMap<i32, RowNumbers>>,
}

impl Removing {
    pub fn new(rows: PlacedRows) -> Removing {
        Removing { rows, found: Mutex::default() }
    }

    fn found(&self) -> MutexGuard<'_, HashMap<i32, RowNumbers>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows of a batch that were not found before, and are now. Its first two columns are their places.
    pub fn add(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let files = batch.column(0).as_primitive_opt::<Int32Type>();
        let rows = batch.column(1).as_primitive_opt::<Int64Type>();
        let (Some(files), Some(rows)) = (files, rows) else {
            return Err(Error::internal("places of rows are no numbers"));
        };
        let mut found = self.found();
        let is_new = files
            .values()
            .iter()
            .zip(rows.values())
            .map(|(file, row)| Some(found.entry(*file).or_default().insert(row.unsigned_abs())));
        let is_new = BooleanArray::from_iter(is_new);
        if is_new.true_count() == batch.num_rows() {
            return Ok(batch.clone());
        }
        Ok(filter_record_batch(batch, &is_new)?)
    }

    /// Those of files, and those that the transaction holds.
    pub fn taken(&self) -> (Places, RowNumbers) {
        let (mut places, mut held) = (Places::new(), RowNumbers::default());
        for (file, rows) in self.found().iter() {
            match self.rows.path(*file) {
                Some(path) => places.insert(path.clone(), rows.clone()).map_or((), drop),
                None => held.extend(rows),
            }
        }
        (places, held)
    }

    pub fn count(&self) -> u64 {
        self.found().values().map(RowNumbers::count).sum()
    }
}

/// Refuses to take rows away that another transaction has changed since this one's snapshot.
pub async fn check_current(context: &StatementContext, write: &TableWrite) -> Result<()> {
    if context.isolation == Isolation::ReadCommitted || write.removed.is_empty() {
        return Ok(());
    }
    let newest = context.warehouse.offline.table(&write.table).await?;
    let Some(newest) = newest else { return Err(changed_meanwhile()) };
    let is_gone = |path: &PathBuf| path.starts_with(&newest.path) && newest.files.iter().all(|file| file.path != *path);
    if write.removed.keys().any(is_gone) { Err(changed_meanwhile()) } else { Ok(()) }
}

/// Rows as they were stored, for RETURNING.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Vec<RecordBatch>>);

/// What RETURNING keeps in memory.
const MOST_SEEN_BYTES: usize = 1 << 30;

impl Seen {
    pub fn add(&self, batch: RecordBatch) -> Result<RecordBatch> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(batch.clone());
        if seen.len().is_multiple_of(64)
            && seen.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() > MOST_SEEN_BYTES
        {
            return Err(Error::new(Kind::OutOfMemory, "too many rows for RETURNING"));
        }
        Ok(batch)
    }

    pub fn take(&self) -> Vec<RecordBatch> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A table of a statement that changes its rows, and the name that it has there.
pub struct Changed {
    pub target: Target,
    /// as the statement names it
    pub name: ast::ObjectName,
    pub alias: ast::Ident,
    has_alias: bool,
}

impl Changed {
    pub fn new(target: Target, factor: &ast::TableFactor) -> Result<Changed> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = factor else {
            return Err(Error::new(Kind::Syntax, format!("{factor} is not a table's name")));
        };
        let has_alias = alias.is_some();
        let alias = match alias {
            Some(alias) if alias.columns.is_empty() => alias.name.clone(),
            Some(alias) => return Err(Error::not_supported(format!("names of columns in {alias}"))),
            None => ast::Ident::with_quote('"', &target.name),
        };
        Ok(Changed { target, name: name.clone(), alias, has_alias })
    }

    /// The table of an INSERT.
    pub fn inserted(target: Target, name: &ast::ObjectName, alias: Option<ast::Ident>) -> Changed {
        let has_alias = alias.is_some();
        let alias = alias.unwrap_or_else(|| ast::Ident::with_quote('"', &target.name));
        Changed { target, name: name.clone(), alias, has_alias }
    }

    /// No object can have this name.
    pub fn planned_name(&self) -> String {
        format!("{}@placed", self.target.name)
    }

    /// Its rows, with their places, under that name.
    pub fn placed(&self, rows: &PlacedRows) -> GivenRelation {
        let (name, columns) = (self.planned_name(), self.target.columns.clone());
        GivenRelation { name, rows: Arc::new(rows.clone()), columns }
    }

    /// The same as far as policies let a statement of these commands see them.
    pub async fn policed(
        &self,
        context: &StatementContext,
        rows: &PlacedRows,
        commands: &[PolicyCommand],
    ) -> Result<GivenRelation> {
        let placed = self.placed(rows);
        let Some(table) = &self.target.table else { return Ok(placed) };
        let rows = context.planner().policed_rows(table, placed.rows, commands).await?;
        Ok(GivenRelation { rows, ..placed })
    }

    /// `SELECT places, columns FROM target, others WHERE condition`: the rows that a statement is about.
    pub fn query(
        &self,
        items: Vec<(ast::Expr, String)>,
        others: &[ast::TableWithJoins],
        condition: Option<&ast::Expr>,
    ) -> Result<ast::Query> {
        let alias = quoted(&self.alias);
        let text = format!(
            "SELECT {alias}.\"{PLACE_FILE}\", {alias}.\"{PLACE_ROW}\" FROM {} AS {alias}",
            quote(&self.planned_name())
        );
        let mut query = parse_query(&text)?;
        if let ast::SetExpr::Select(select) = query.body.as_mut() {
            let item = |(expr, name): (ast::Expr, String)| ast::SelectItem::ExprWithAlias {
                expr,
                alias: ast::Ident::with_quote('"', name),
            };
            select.projection.extend(items.into_iter().map(item));
            select.from.extend(others.iter().cloned());
            select.selection = condition.cloned();
        }
        self.unqualify(&mut query);
        Ok(query)
    }

    /// Takes the schema away from columns that are named with that of the table.
    pub fn unqualify(&self, node: &mut impl ast::VisitMut) {
        if self.has_alias {
            return;
        }
        let name: Vec<String> = granary_sql::name::parts(&self.name);
        let _ = ast::visit_expressions_mut(node, |expr| {
            if let ast::Expr::CompoundIdentifier(parts) = expr
                && parts.len() > 2
                && parts.len() == name.len() + 1
                && parts.iter().zip(&name).all(|(part, name)| granary_sql::name::fold(part) == *name)
            {
                parts.drain(..name.len() - 1);
            }
            ControlFlow::<()>::Continue(())
        });
    }

    /// A column of the table as an expression.
    pub fn column(&self, column: &Column) -> ast::Expr {
        let name = ast::Ident::with_quote('"', &column.name);
        ast::Expr::CompoundIdentifier(vec![ast::Ident::with_quote('"', granary_sql::name::fold(&self.alias)), name])
    }

    /// The place of a column that is assigned to.
    pub fn place_of(&self, context: &StatementContext, name: &ast::ObjectName) -> Result<usize> {
        let parts = granary_sql::name::parts(name);
        let column = parts.first().cloned().unwrap_or_default();
        let place = self.target.columns.iter().position(|known| known.name == column);
        place.filter(|_| parts.len() == 1).ok_or_else(|| {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", self.target.name);
            context.at(name, Error::new(Kind::UndefinedColumn, message))
        })
    }

    /// The values that assignments give, by the place of their column.
    pub fn assigned(
        &self,
        context: &StatementContext,
        assignments: &[ast::Assignment],
    ) -> Result<Vec<(usize, ast::Expr)>> {
        let mut values: Vec<(usize, ast::Expr)> = Vec::new();
        for assignment in assignments {
            let pairs: Vec<(&ast::ObjectName, ast::Expr)> = match &assignment.target {
                ast::AssignmentTarget::ColumnName(name) => vec![(name, assignment.value.clone())],
                ast::AssignmentTarget::Tuple(names) => {
                    names.iter().zip(parts_of_row(&assignment.value, names.len())?).collect()
                }
            };
            for (name, value) in pairs {
                let place = self.place_of(context, name)?;
                let column = &self.target.columns[place];
                if values.iter().any(|(known, _)| *known == place) {
                    let message = format!("multiple assignments to same column \"{}\"", column.name);
                    return Err(context.at(name, Error::new(Kind::Syntax, message)));
                }
                let value = if is_default(&value) { self.target.default_of(context.snapshot(), place)? } else { value };
                values.push((place, value));
            }
        }
        Ok(values)
    }
}

/// The values of a row, one for each of `wanted` columns.
fn parts_of_row(value: &ast::Expr, wanted: usize) -> Result<Vec<ast::Expr>> {
    let parts: Vec<ast::Expr> = match value {
        ast::Expr::Tuple(parts) => parts.clone(),
        ast::Expr::Nested(one) if wanted == 1 => vec![one.as_ref().clone()],
        ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("row") => {
            let ast::FunctionArguments::List(list) = &function.args else { return Ok(Vec::new()) };
            let value = |argument: &ast::FunctionArg| match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().filter_map(value).collect()
        }
        ast::Expr::Subquery(query) => {
            let n_items = match query.body.as_ref() {
                ast::SetExpr::Select(select) => select.projection.len(),
                _ => return Err(Error::not_supported("a row of such a subquery")),
            };
            let part = |kept: usize| {
                let mut query = query.clone();
                if let ast::SetExpr::Select(select) = query.body.as_mut() {
                    select.projection = vec![select.projection[kept].clone()];
                }
                ast::Expr::Subquery(query)
            };
            (0..n_items).map(part).collect()
        }
        _ => {
            let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
            return Err(Error::new(Kind::FeatureNotSupported, message));
        }
    };
    if parts.len() != wanted {
        return Err(Error::new(Kind::Syntax, "number of columns does not match number of values"));
    }
    Ok(parts)
}

/// The word DEFAULT in the place of a value.
pub fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(word)
        if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
}

/// An identifier so that it means the same wherever it stands.
fn quoted(ident: &ast::Ident) -> String {
    quote(&granary_sql::name::fold(ident))
}

pub fn parse_query(text: &str) -> Result<ast::Query> {
    match granary_sql::parse(text)?.into_iter().next().map(|parsed| parsed.statement) {
        Some(granary_sql::Statement::Query(query)) => Ok(*query.ast),
        _ => Err(Error::internal("a query is none").with_detail(text)),
    }
}
