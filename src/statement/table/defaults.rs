//! What columns have where nothing is said: in INSERT, which says it in its own words, and in COPY.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Column, Identity, Sequence, Snapshot};
use granary_sql::name::quote;
use sqlparser::ast;

use super::{CallRows, CallStream, Target};
use crate::engine::{Labels, RowExpression, with_sequence_name};
use crate::error::{Error, Kind, Result};
use crate::statement::changing::{is_default, parse_query};
use crate::statement::context::StatementContext;
use crate::statement::execute::Parameters;
use crate::statement::select;

/// An expression that the catalog keeps.
pub fn parse_expression(text: &str) -> Result<ast::Expr> {
    let query = parse_query(&format!("SELECT {text}"))?;
    let item = match *query.body {
        ast::SetExpr::Select(select) => select.projection.into_iter().next(),
        _ => None,
    };
    match item {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(Error::internal("a stored expression is none").with_detail(text)),
    }
}

/// The expression of a column's default; NULL if it has none.
pub fn default_expression(snapshot: &Snapshot, column: &Column) -> Result<ast::Expr> {
    let null = || ast::Expr::Value(ast::Value::Null.with_empty_span());
    let Some(default) = &column.default else { return Ok(null()) };
    // its sequence may have another name by now
    let sequence =
        default.sequence.and_then(|id| snapshot.get(id)).filter(|object| object.downcast::<Sequence>().is_some());
    match sequence {
        Some(sequence) => {
            let schema = snapshot.schema_of(sequence).map_or("public", |schema| schema.header.name.as_str());
            let name = format!("{}.{}", quote(schema), quote(sequence.name()));
            Ok(with_sequence_name(parse_expression(&default.text)?, &name))
        }
        None => parse_expression(&default.text),
    }
}

impl Target {
    /// What stands in the place of a column's value that is not said.
    pub fn default_of(&self, snapshot: &Snapshot, place: usize) -> Result<ast::Expr> {
        default_expression(snapshot, &self.columns[place])
    }

    fn has_defaults(&self) -> bool {
        self.columns.iter().any(|column| column.default.is_some())
    }
}

/// The defaults of some columns.
pub struct Defaults {
    schema: SchemaRef,
    columns: Vec<(usize, RowExpression)>,
}

impl Defaults {
    /// Of the columns at the places that are wanted.
    pub fn of(context: &StatementContext, target: &Target, wanted: impl Fn(usize) -> bool) -> Result<Defaults> {
        let mut columns = Vec::new();
        let nothing: SchemaRef = Arc::new(Schema::empty());
        for (place, column) in target.columns.iter().enumerate() {
            if column.default.is_some() && wanted(place) {
                let expr = target.default_of(context.snapshot(), place)?;
                let of = (target.name.as_str(), &nothing);
                columns.push((place, RowExpression::of(&context.planner(), expr, of, Some(&column.data_type))?));
            }
        }
        Ok(Defaults { schema: target.nullable_schema(), columns })
    }

    /// Rows with the defaults in their columns.
    pub fn put_into(self, rows: CallStream) -> CallStream {
        if self.columns.is_empty() {
            return rows;
        }
        rows.and_then(move |CallRows { rows, numbers }| {
            let filled = || -> Result<RecordBatch> {
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                let none = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
                let mut arrays = rows.columns().to_vec();
                for (place, default) in &self.columns {
                    arrays[*place] = default.values(&none)?;
                }
                Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
            };
            futures::future::ready(filled().map(|rows| CallRows { rows, numbers }))
        })
        .boxed()
    }
}

/// An INSERT that says a value, or where it comes from, of all columns that have one by default. Rows of VALUES may be
/// shorter than the table.
pub async fn with_columns(
    context: &StatementContext,
    insert: &ast::Insert,
    target: &Target,
    parameters: &Parameters,
) -> Result<ast::Insert> {
    let mut insert = insert.clone();
    let own_identity = granary_sql::overrides_identity(&context.text);
    if insert.source.is_none() {
        let mut query = parse_query("VALUES (DEFAULT)")?;
        if let ast::SetExpr::Values(values) = query.body.as_mut() {
            values.rows[0].content = vec![ast::Expr::Identifier("DEFAULT".into()); target.columns.len()];
        }
        insert.source = Some(Box::new(query));
    }
    let named = |column: &Column| ast::ObjectName::from(ast::Ident::with_quote('"', &column.name));
    check_names(context, &insert.columns, target)?;
    let Some(source) = insert.source.as_mut() else { return Ok(insert) };
    // two of its columns may have one name
    let mut query = ast::Statement::Query(source.clone());
    Labels::take(&mut query);
    if let ast::Statement::Query(query) = query {
        *source = query;
    }
    if let ast::SetExpr::Values(values) = source.body.as_mut() {
        let n_values = check_rows(context, &insert.columns, values, target)?;
        if n_values < target.columns.len() && insert.columns.is_empty() {
            insert.columns = target.columns[..n_values].iter().map(named).collect();
        }
        let places = places(&insert.columns, target);
        for row in &mut values.rows {
            for (value, place) in row.content.iter_mut().zip(&places) {
                if let (true, Some(place)) = (is_default(value), place) {
                    *value = target.default_of(context.snapshot(), *place)?;
                } else if let Some(place) = place {
                    check_identity(&target.columns[*place], own_identity)?;
                }
            }
        }
        for (place, column) in missing(&places, target) {
            insert.columns.push(named(column));
            for row in &mut values.rows {
                row.content.push(target.default_of(context.snapshot(), place)?);
            }
        }
        return Ok(insert);
    }
    if !target.has_defaults() {
        return Ok(insert);
    }
    let n_columns = match insert.columns.len() {
        0 => select::plan_labeled(context, source.clone(), parameters).await?.0.schema().fields().len(),
        n_columns => n_columns,
    };
    if insert.columns.is_empty() {
        insert.columns = target.columns.iter().take(n_columns).map(named).collect();
    }
    let places = places(&insert.columns, target);
    places.iter().flatten().try_for_each(|place| check_identity(&target.columns[*place], own_identity))?;
    let missing: Vec<(usize, &Column)> = missing(&places, target).collect();
    if missing.is_empty() {
        return Ok(insert);
    }
    let names: Vec<String> = (0..n_columns).map(|number| quote(&format!("@{number}"))).collect();
    let mut query =
        parse_query(&format!("SELECT {} FROM (SELECT 1) AS \"@source\" ({})", names.join(", "), names.join(", ")))?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        for (place, _) in &missing {
            let value = target.default_of(context.snapshot(), *place)?;
            select.projection.push(ast::SelectItem::ExprWithAlias {
                expr: value,
                alias: ast::Ident::with_quote('"', format!("@default{place}")),
            });
        }
        if let Some(ast::TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
        {
            std::mem::swap(subquery, source);
        }
    }
    insert.columns.extend(missing.iter().map(|(_, column)| named(column)));
    insert.source = Some(Box::new(query));
    Ok(insert)
}

/// Refuses columns that are not there, or named twice.
fn check_names(context: &StatementContext, names: &[ast::ObjectName], target: &Target) -> Result<()> {
    let mut seen = Vec::new();
    for name in names {
        let column = granary_sql::name::parts(name).pop().unwrap_or_default();
        if target.columns.iter().all(|known| known.name != column) {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", target.name);
            return Err(context.at(name, Error::new(Kind::UndefinedColumn, message)));
        }
        if seen.contains(&column) {
            let message = format!("column \"{column}\" specified more than once");
            return Err(context.at(name, Error::new(Kind::DuplicateColumn, message)));
        }
        seen.push(column);
    }
    Ok(())
}

/// The columns that are not named and have something by default.
fn missing<'t>(places: &[Option<usize>], target: &'t Target) -> impl Iterator<Item = (usize, &'t Column)> {
    let places = places.to_vec();
    let all = target.columns.iter().enumerate();
    all.filter(move |(place, column)| column.default.is_some() && !places.contains(&Some(*place)))
}

/// The places of the named columns; of all, if none is named.
fn places(names: &[ast::ObjectName], target: &Target) -> Vec<Option<usize>> {
    if names.is_empty() {
        return (0..target.columns.len()).map(Some).collect();
    }
    let place = |name: &ast::ObjectName| {
        let name = granary_sql::name::parts(name).pop()?;
        target.columns.iter().position(|column| column.name == name)
    };
    names.iter().map(place).collect()
}

fn check_identity(column: &Column, overrides: bool) -> Result<()> {
    let is_always = column.default.as_ref().is_some_and(|default| default.identity == Some(Identity::Always));
    if !is_always || overrides {
        return Ok(());
    }
    let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
    Err(Error::new(Kind::GeneratedAlways, message)
        .with_detail(format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name))
        .with_hint("Use OVERRIDING SYSTEM VALUE to override."))
}

/// Gives the number of values of each row.
fn check_rows(
    context: &StatementContext,
    names: &[ast::ObjectName],
    values: &ast::Values,
    target: &Target,
) -> Result<usize> {
    let Some(longest) = values.rows.iter().max_by_key(|row| row.content.len()) else { return Ok(0) };
    let n_values = longest.content.len();
    let n_columns = if names.is_empty() { target.columns.len() } else { names.len() };
    if n_values > n_columns {
        let error = Error::new(Kind::Syntax, "INSERT has more expressions than target columns");
        return Err(context.at(&longest.content[n_columns], error));
    }
    if values.rows.iter().any(|row| row.content.len() != n_values) {
        return Err(Error::new(Kind::Syntax, "VALUES lists must all be the same length"));
    }
    if n_values < n_columns && !names.is_empty() {
        let error = Error::new(Kind::Syntax, "INSERT has more target columns than expressions");
        return Err(context.at(&names[n_values], error));
    }
    Ok(n_values)
}
