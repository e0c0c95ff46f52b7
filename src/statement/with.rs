//! `WITH … INSERT|UPDATE|DELETE`, and queries that change rows in their WITH. The parts that change rows are carried out
//! first, each over what was there before the statement; what they return is a relation that the rest may name.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use futures::TryStreamExt;
use granary_sql::name::fold;
use sqlparser::ast::{self, SetExpr};
use std::sync::Arc;

use super::context::StatementContext;
use super::execute::Response;
use crate::engine::{GivenRelation, memory_table};
use crate::error::{Error, Kind, Result};

/// A statement with WITH, divided into what is carried out one after the other.
pub struct Divided {
    pub parts: Vec<Part>,
    pub statement: ast::Statement,
    /// what an UPDATE or DELETE may name; others have theirs in themselves
    pub with: Option<ast::With>,
}

/// A query of WITH that changes rows.
pub struct Part {
    name: String,
    columns: Vec<String>,
    pub statement: ast::Statement,
    pub with: Option<ast::With>,
}

/// None: nothing of it changes rows.
pub fn divided(query: &ast::Query) -> Result<Option<Divided>> {
    let mut query = query.clone();
    let mut with = query.with.take();
    let ctes = with.as_mut().map(|with| std::mem::take(&mut with.cte_tables)).unwrap_or_default();
    let mut parts = Vec::new();
    for cte in ctes {
        let own = match &mut with {
            Some(with) if changes(&cte.query.body) => with.clone(),
            Some(with) => {
                with.cte_tables.push(cte);
                continue;
            }
            None => continue,
        };
        let (statement, with) = bound(*cte.query, own)?;
        let columns = cte.alias.columns.iter().map(|column| fold(&column.name)).collect();
        parts.push(Part { name: fold(&cte.alias.name), columns, statement, with });
    }
    let is_main = changes(&query.body);
    if parts.is_empty() && !is_main {
        return Ok(None);
    }
    let with = with.filter(|with| !with.cte_tables.is_empty());
    if is_main {
        let own = with.unwrap_or_else(|| ast::With {
            with_token: ast::helpers::attached_token::AttachedToken::empty(),
            recursive: false,
            cte_tables: Vec::new(),
        });
        let (statement, with) = bound(query, own)?;
        return Ok(Some(Divided { parts, statement, with }));
    }
    query.with = with;
    Ok(Some(Divided { parts, statement: ast::Statement::Query(Box::new(query)), with: None }))
}

fn changes(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_))
}

/// The statement of a query that changes rows, with what it may name.
fn bound(query: ast::Query, mut with: ast::With) -> Result<(ast::Statement, Option<ast::With>)> {
    if let Some(own) = query.with {
        with.recursive |= own.recursive;
        with.cte_tables.extend(own.cte_tables);
    }
    let with = (!with.cte_tables.is_empty()).then_some(with);
    match *query.body {
        SetExpr::Insert(ast::Statement::Insert(mut insert)) => {
            if let (Some(source), Some(mut with)) = (&mut insert.source, with) {
                if let Some(own) = source.with.take() {
                    with.recursive |= own.recursive;
                    with.cte_tables.extend(own.cte_tables);
                }
                source.with = Some(with);
            }
            Ok((ast::Statement::Insert(insert), None))
        }
        SetExpr::Update(statement) | SetExpr::Delete(statement) => Ok((statement, with)),
        _ => Err(Error::not_supported("MERGE")),
    }
}

impl Part {
    /// What it returns, as a relation under its name.
    pub fn given(&self, schema: Option<&SchemaRef>, rows: Vec<RecordBatch>) -> Result<Option<GivenRelation>> {
        let Some(schema) = schema else { return Ok(None) };
        if self.columns.len() > schema.fields().len() {
            let (name, n_columns) = (&self.name, schema.fields().len());
            let message = format!(
                "WITH query \"{name}\" has {n_columns} columns available but {} columns specified",
                self.columns.len()
            );
            return Err(Error::new(Kind::InvalidColumnReference, message));
        }
        let field = |(place, field): (usize, &Arc<Field>)| {
            let name = self.columns.get(place).unwrap_or(field.name());
            field.as_ref().clone().with_name(name).with_nullable(true)
        };
        let schema = Arc::new(Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()));
        let rows = rows.into_iter().map(|rows| RecordBatch::try_new(Arc::clone(&schema), rows.columns().to_vec()));
        let rows = rows.collect::<std::result::Result<Vec<_>, _>>()?;
        let rows = memory_table(schema, rows)?;
        Ok(Some(GivenRelation { name: self.name.clone(), rows, columns: Vec::new() }))
    }

    /// The same of its answer.
    pub async fn answered(&self, answer: Response) -> Result<Option<GivenRelation>> {
        match answer {
            Response::Rows { schema, rows, .. } => {
                let rows = rows.try_collect().await?;
                self.given(Some(&schema), rows)
            }
            _ => Ok(None),
        }
    }

    /// Refuses to read what returns nothing.
    pub fn check_returned(&self, context: &StatementContext, statement: &ast::Statement) -> Result<()> {
        if context.given.iter().any(|given| given.name == self.name) {
            return Ok(());
        }
        let names = ast::visit_relations(statement, |name| {
            let parts = granary_sql::name::parts(name);
            let is_it = parts.len() == 1 && parts[0] == self.name;
            if is_it { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        });
        if names.is_continue() {
            return Ok(());
        }
        Err(Error::new(
            Kind::FeatureNotSupported,
            format!("WITH query \"{}\" does not have a RETURNING clause", self.name),
        ))
    }
}
