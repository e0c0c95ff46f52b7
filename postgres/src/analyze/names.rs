//! What a name means: the columns of the SELECT around it, then those of the ones further out.

use sqlparser::ast::{self, Ident};

use super::{Analyzer, Meaning, Name, fold, place_of, place_of_ident};
use crate::error::{Error, Result};
use crate::plan::{Expr, ExprKind};
use crate::types::{self as t, Type};
use crate::value::Value;

/// A column of `*`: its label, its expression, the relation that it comes from and its number there.
pub struct Starred {
    pub name: String,
    pub expr: Expr,
    pub origin: (u32, i16),
}

impl Analyzer<'_> {
    pub(super) fn identifier(&mut self, ident: &Ident) -> Result<Expr> {
        let name = fold(ident);
        for index in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[index];
            if scope.is_hidden {
                continue;
            }
            let found: Vec<Meaning> = scope
                .names
                .iter()
                .filter(|entry| entry.name == name && !entry.is_merged)
                .map(|entry| entry.meaning.clone())
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(self.meant(index, one)),
                _ => {
                    return Err(Error::new("42702", format!("column reference \"{name}\" is ambiguous"))
                        .at(place_of_ident(ident)));
                }
            }
            if let Some(number) = self.table_oid(index, None, &name) {
                return Ok(number);
            }
            // the row itself
            if let Some(item) = scope.items.iter().position(|item| item.alias == name && !item.is_inside) {
                return Ok(self.whole_row(index, item));
            }
        }
        let error = Error::new("42703", format!("column \"{name}\" does not exist")).at(place_of_ident(ident));
        Err(match self.similar_column(None, &name) {
            Some(similar) => error.with_hint(format!("Perhaps you meant to reference the column \"{similar}\".")),
            None => error,
        })
    }

    /// The column that somebody may have meant by a name that there is not, if one is nearer than all others.
    fn similar_column(&self, alias: Option<&str>, name: &str) -> Option<String> {
        /// How many letters may differ, at most half of those of the name.
        const MOST_DIFFERENT: usize = 3;
        let mut nearest: (usize, Option<String>, usize) = (MOST_DIFFERENT.min(name.chars().count() / 2), None, 0);
        let items = self.scopes.iter().filter(|scope| !scope.is_hidden).flat_map(|scope| &scope.items);
        for item in items.filter(|item| alias.is_none_or(|alias| item.alias == alias)) {
            for column in &item.columns {
                let distance = letters_apart(name, &column.name);
                if distance < nearest.0 || (distance == nearest.0 && nearest.1.is_none()) {
                    nearest = (distance, Some(format!("{}.{}", item.alias, column.name)), 1);
                } else if distance == nearest.0 {
                    nearest.2 += 1;
                }
            }
        }
        nearest.1.filter(|_| nearest.2 == 1)
    }

    pub(super) fn compound(&mut self, idents: &[Ident]) -> Result<Expr> {
        let (qualifier, name) = idents.split_at(idents.len() - 1);
        let name_folded = fold(&name[0]);
        let (schema, alias) = match qualifier {
            [alias] => (None, fold(alias)),
            [schema, alias] | [_, schema, alias] => (Some(fold(schema)), fold(alias)),
            _ => {
                return Err(Error::new("42601", "improper qualified name (too many dotted names)")
                    .at(place_of_ident(&idents[0])));
            }
        };
        for index in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[index];
            if scope.is_hidden {
                continue;
            }
            let is_meant = |item: &super::Item| {
                item.alias == alias && schema.as_ref().is_none_or(|schema| item.schema.as_ref() == Some(schema))
            };
            let Some(item) = scope.items.iter().position(|item| !item.is_inside && is_meant(item)) else {
                if scope.items.iter().any(is_meant) {
                    return Err(out_of_reach(&alias).at(place_of_ident(&idents[0])));
                }
                continue;
            };
            if let Some(number) = self.table_oid(index, Some(item), &name_folded) {
                return Ok(number);
            }
            let scope = &self.scopes[index];
            let Some(column) = scope.items[item].columns.iter().position(|column| column.name == name_folded) else {
                let error = Error::new("42703", format!("column {alias}.{name_folded} does not exist"))
                    .at(place_of_ident(&idents[0]));
                return Err(match self.similar_column(Some(&alias), &name_folded) {
                    Some(similar) => {
                        error.with_hint(format!("Perhaps you meant to reference the column \"{similar}\"."))
                    }
                    None => error,
                });
            };
            let is_visible = scope
                .names
                .iter()
                .any(|entry| matches!(entry.meaning, Meaning::Column { item: other, .. } if other == item));
            if !is_visible && !scope.items[item].columns.is_empty() && scope.items[item].stands_for.is_none() {
                continue;
            }
            let meaning = scope.items[item].meaning(item, column);
            return Ok(self.meant(index, &meaning));
        }
        // a field of a column
        if let [column, field] = idents
            && let Ok(record) = self.identifier(column)
            && record.data_type.fields.is_some()
        {
            return self.field(record, &fold(field)).map_err(|error| error.at(place_of_ident(field)));
        }
        Err(Error::new("42P01", format!("missing FROM-clause entry for table \"{alias}\""))
            .at(place_of_ident(&idents[0])))
    }

    /// The system column `tableoid`, which every relation has.
    fn table_oid(&self, index: usize, item: Option<usize>, name: &str) -> Option<Expr> {
        if name != "tableoid" {
            return None;
        }
        let items = &self.scopes[index].items;
        let relation = |item: &super::Item| item.columns.first().map_or(0, |column| column.relation);
        let number = match item {
            Some(item) => relation(&items[item]),
            None => items.iter().map(relation).find(|number| *number != 0)?,
        };
        (number != 0).then(|| Expr::constant(Value::Int(i64::from(number)), Type::of(t::OID)))
    }

    pub(super) fn field(&mut self, record: Expr, name: &str) -> Result<Expr> {
        let fields = record.data_type.fields.clone();
        let Some(fields) = fields else {
            return Err(Error::new(
                "42809",
                format!(
                    "column notation .{name} applied to type {}, which is not a composite type",
                    record.data_type.name()
                ),
            ));
        };
        match fields.iter().position(|(field, _)| field == name) {
            Some(index) => {
                let data_type = fields[index].1.clone();
                Ok(Expr::new(ExprKind::Field { record: Box::new(record), index }, data_type))
            }
            None => Err(Error::new("42703", format!("could not identify column \"{name}\" in record data type"))),
        }
    }

    /// The expression of what a name means in the scope at `index`.
    fn meant(&mut self, index: usize, meaning: &Meaning) -> Expr {
        self.lowest_reference = self.lowest_reference.min(index);
        let level = self.scopes.len() - 1 - index;
        match meaning {
            Meaning::Column { item, column } => {
                let slot = self.slot(index, *item, *column);
                let data_type = self.scopes[index].items[*item].columns[*column].data_type.clone();
                Expr::new(ExprKind::Column { level, slot }, data_type)
            }
            Meaning::Expr(expr) => {
                let mut expr = expr.clone();
                shift(&mut expr, level);
                expr
            }
        }
    }

    fn slot(&mut self, index: usize, item: usize, column: usize) -> usize {
        let scope = &mut self.scopes[index];
        let column = &mut scope.items[item].columns[column];
        *column.slot.get_or_insert_with(|| {
            scope.n_slots += 1;
            scope.n_slots - 1
        })
    }

    fn whole_row(&mut self, index: usize, item: usize) -> Expr {
        let columns: Vec<(String, Type)> = self.scopes[index].items[item]
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.data_type.clone()))
            .collect();
        // the only column of a function stands for its row
        if self.scopes[index].items[item].is_value {
            let meaning = self.scopes[index].items[item].meaning(item, 0);
            return self.meant(index, &meaning);
        }
        let part = |analyzer: &mut Self, column| {
            let meaning = analyzer.scopes[index].items[item].meaning(item, column);
            analyzer.meant(index, &meaning)
        };
        let parts = (0..columns.len()).map(|column| part(self, column)).collect();
        Expr::new(ExprKind::Row(parts), Type::record(columns))
    }

    /// The columns of `*`, or of `alias.*`.
    pub(super) fn starred(&mut self, qualifier: Option<&ast::ObjectName>) -> Result<Vec<Starred>> {
        let index = self.scopes.len() - 1;
        let Some(qualifier) = qualifier else {
            let names: Vec<Name> = self.scopes[index].names.iter().filter(|name| !name.is_merged).cloned().collect();
            if names.is_empty() && self.scopes[index].items.is_empty() {
                return Err(Error::new("42601", "SELECT * with no tables specified is not valid"));
            }
            return Ok(names.into_iter().map(|name| self.star(index, name)).collect());
        };
        let (schema, alias) = super::split_name(qualifier)?;
        for index in (0..self.scopes.len()).rev() {
            let is_meant = |item: &super::Item| {
                item.alias == alias && schema.as_ref().is_none_or(|schema| item.schema.as_ref() == Some(schema))
            };
            if self.scopes[index].is_hidden {
                continue;
            }
            let is_named = |item: &super::Item| !item.is_inside && is_meant(item);
            let Some(item) = self.scopes[index].items.iter().position(is_named) else { continue };
            let names: Vec<String> =
                self.scopes[index].items[item].columns.iter().map(|column| column.name.clone()).collect();
            return Ok(names
                .into_iter()
                .enumerate()
                .map(|(column, name)| {
                    let meaning = self.scopes[index].items[item].meaning(item, column);
                    self.star(index, Name { name, meaning, is_merged: false })
                })
                .collect());
        }
        Err(Error::new("42P01", format!("missing FROM-clause entry for table \"{alias}\"")).at(place_of(qualifier)))
    }

    fn star(&mut self, index: usize, name: Name) -> Starred {
        let expr = self.meant(index, &name.meaning);
        let origin = match name.meaning {
            Meaning::Column { item, column } => {
                let column = &self.scopes[index].items[item].columns[column];
                (column.relation, column.number)
            }
            Meaning::Expr(_) => (0, 0),
        };
        Starred { name: name.name, expr, origin }
    }

    /// The relation and number of the column that an expression is, if it is one of this SELECT.
    pub(super) fn origin(&self, expr: &Expr) -> (u32, i16) {
        let ExprKind::Column { level: 0, slot } = expr.kind else { return (0, 0) };
        let Some(scope) = self.scopes.last() else { return (0, 0) };
        let columns = scope.items.iter().flat_map(|item| &item.columns);
        columns
            .into_iter()
            .find(|column| column.slot == Some(slot))
            .map_or((0, 0), |column| (column.relation, column.number))
    }
}

fn out_of_reach(alias: &str) -> Error {
    let detail =
        format!("There is an entry for table \"{alias}\", but it cannot be referenced from this part of the query.");
    Error::new("42P01", format!("invalid reference to FROM-clause entry for table \"{alias}\"")).with_detail(detail)
}

/// Makes references to this SELECT's row references to one so many levels further out.
pub fn shift(expr: &mut Expr, by: usize) {
    if let ExprKind::Column { level, .. } = &mut expr.kind {
        *level += by;
    }
    for part in expr.parts_mut() {
        shift(part, by);
    }
}

/// How many letters have to be put in, left out or replaced to make one name the other.
fn letters_apart(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut costs: Vec<usize> = (0..=right.len()).collect();
    for (row, letter) in left.chars().enumerate() {
        let mut before = std::mem::replace(&mut costs[0], row + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = before + usize::from(letter != *other);
            before = costs[column + 1];
            costs[column + 1] = replaced.min(before + 1).min(costs[column] + 1);
        }
    }
    costs[right.len()]
}
