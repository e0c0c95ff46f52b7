//! Stored queries after what they read has changed: they follow an object's name, and keep it from losing what they name.

use std::ops::ControlFlow;
use std::sync::Arc;

use granary_catalog::{Change, Object, ObjectId, Snapshot};
use granary_sql::name::{fold, quote};
use sqlparser::ast::{self, Spanned, Visit, Visitor};
use sqlparser::tokenizer::Location;

use super::context::StatementContext;
use super::policy;
use crate::engine::{NameScope, table_reference};
use crate::error::{Error, Kind, Result};

/// A piece of a text, by bytes, and what stands in its place.
type Edit = (usize, usize, String);

fn edited(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_unstable();
    edits.dedup();
    let mut text = text.to_owned();
    for (start, end, new) in edits.into_iter().rev() {
        text.replace_range(start..end, &new);
    }
    text
}

/// The byte of a place, both counted from the beginning.
fn offset(text: &str, place: Location) -> Option<usize> {
    let line_start = match place.line.checked_sub(2) {
        None => 0,
        Some(lines) => text.match_indices('\n').nth(usize::try_from(lines).ok()?)?.0 + 1,
    };
    let column = usize::try_from(place.column.checked_sub(1)?).ok()?;
    let line = &text[line_start..];
    Some(line_start + line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(column)?)
}

/// Where a stored text names relations, and what they are to be called.
struct Names<'a> {
    text: &'a str,
    scope: NameScope,
    /// the new name in full of a relation, if it has one
    renamed: &'a dyn Fn(&Object) -> Option<String>,
    edits: Vec<Edit>,
}

impl Visitor for Names<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<Error> {
        let ast::TableFactor::Table { name, alias, version, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let found = table_reference(name).and_then(|name| self.scope.relation(&name).ok().flatten());
        let Some(new) = found.and_then(|object| (self.renamed)(object)) else { return ControlFlow::Continue(()) };
        if version.is_some() || args.is_some() {
            return ControlFlow::Break(Error::not_supported("renaming what a stored query reads FOR SYSTEM_TIME"));
        }
        let span = name.span();
        if let (Some(start), Some(end)) = (offset(self.text, span.start), offset(self.text, span.end)) {
            let old = granary_sql::name::parts(name).pop().unwrap_or_default();
            let kept = if alias.is_none() { format!(" AS {}", quote(&old)) } else { String::new() };
            self.edits.push((start, end, format!("{new}{kept}")));
        }
        ControlFlow::Continue(())
    }
}

/// The text with new names for relations; `None` if it names none of them.
fn with_names(
    context: &StatementContext,
    object: &Object,
    text: &str,
    renamed: &dyn Fn(&Object) -> Option<String>,
) -> Result<Option<String>> {
    let mut scope = context.scope.clone();
    scope.mean(object.depends_on());
    edited_names(scope, text, renamed)
}

/// The same of a query that says relations in full.
pub fn names_in(
    context: &StatementContext,
    text: &str,
    renamed: &dyn Fn(&Object) -> Option<String>,
) -> Result<Option<String>> {
    edited_names(context.scope.clone(), text, renamed)
}

fn edited_names(scope: NameScope, text: &str, renamed: &dyn Fn(&Object) -> Option<String>) -> Result<Option<String>> {
    let parsed = granary_sql::parse(text)?;
    let Some(granary_sql::Statement::Query(query)) = parsed.first().map(|parsed| &parsed.statement) else {
        return Err(Error::internal("a stored query is none").with_detail(text));
    };
    let mut names = Names { text, scope, renamed, edits: Vec::new() };
    if let ControlFlow::Break(error) = query.ast.visit(&mut names) {
        return Err(error);
    }
    let edits = names.edits;
    Ok((!edits.is_empty()).then(|| edited(text, edits)))
}

/// Makes a query of the condition of an alert.
const SELECT: &str = "SELECT ";

/// What becomes of the queries that read some objects.
fn reworded(
    context: &StatementContext,
    readers: Vec<&Arc<Object>>,
    renamed: &dyn Fn(&Object) -> Option<String>,
) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for reader in readers {
        let (query, new) = match reader.as_ref() {
            Object::Alert(alert) => {
                let whole = format!("{SELECT}{}", alert.condition);
                let new = with_names(context, reader, &whole, renamed)?;
                (alert.condition.as_str(), new.and_then(|new| new.strip_prefix(SELECT).map(str::to_owned)))
            }
            other => match other.query() {
                Some(query) => (query, with_names(context, reader, query, renamed)?),
                None => continue,
            },
        };
        let Some(new) = new else { continue };
        let statement = reader.header().statement.replace(query, &new);
        changes.push(Change::Reword { id: reader.id(), statement, query: Some(new) });
    }
    Ok(changes)
}

/// The readers of an object follow it to another name or schema.
pub fn relation_renamed(
    context: &StatementContext,
    object: &Object,
    (schema, to): (&str, &str),
) -> Result<Vec<Change>> {
    let readers = context.snapshot().dependents(object.id());
    let id = object.id();
    let new = format!("{}.{}", quote(schema), quote(to));
    let renamed = |found: &Object| (found.id() == id).then(|| new.clone());
    let mut changes = reworded(context, readers, &renamed)?;
    changes.extend(policy::reworded(context, &renamed)?);
    Ok(changes)
}

/// The readers of all objects of a schema follow them.
pub fn schema_renamed(context: &StatementContext, schema: &Object, to: &str) -> Result<Vec<Change>> {
    let snapshot = context.snapshot();
    let reads = |object: &&Arc<Object>| object.query().is_some() || matches!(object.as_ref(), Object::Alert(_));
    let readers = snapshot.objects().filter(reads).collect();
    let renamed = |found: &Object| {
        (found.home().schema() == Some(schema.id())).then(|| format!("{}.{}", quote(to), quote(found.name())))
    };
    let mut changes = reworded(context, readers, &renamed)?;
    changes.extend(policy::reworded(context, &renamed)?);
    Ok(changes)
}

/// An expression over columns, one of which has another name.
pub fn column_renamed(text: &str, from: &str, to: &str) -> Result<String> {
    let mut expr = super::table::parse_expression(text)?;
    let rename = |name: &mut ast::Ident| {
        if fold(name) == from {
            *name = granary_sql::name::canonical(&ast::Ident::with_quote('"', to));
        }
    };
    let _ = ast::visit_expressions_mut(&mut expr, |expr| {
        match expr {
            ast::Expr::Identifier(name) => rename(name),
            ast::Expr::CompoundIdentifier(parts) => parts.last_mut().into_iter().for_each(rename),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    Ok(expr.to_string())
}

/// Refuses changes of a table after which a query that reads it would fail or give other columns.
pub async fn check_readers(
    context: &mut StatementContext,
    object: &Object,
    changes: &[Change],
    cascades: bool,
) -> Result<()> {
    let readers: Vec<Arc<Object>> = context
        .snapshot()
        .dependents(object.id())
        .into_iter()
        .filter(|reader| reader.query().is_some())
        .cloned()
        .collect();
    if readers.is_empty() {
        return Ok(());
    }
    let after: Arc<Snapshot> = Arc::new(context.snapshot().apply(changes)?);
    for reader in readers {
        let before = columns_of(context, context.snapshot(), &reader).await;
        let now = columns_of(context, &after, &reader).await;
        let (Ok(before), now) = (before, now) else { continue };
        let keeps = now.is_ok_and(|now| before.iter().all(|column| now.contains(column)));
        if keeps {
            continue;
        }
        if cascades {
            context.changes.push(Change::Drop { id: reader.id(), cascade: true });
            continue;
        }
        let (kind, name) = (reader.kind().as_str(), reader.name());
        let message =
            format!("cannot change columns of table \"{}\" because other objects depend on them", object.name());
        return Err(Error::new(Kind::DependentObjectsStillExist, message)
            .with_detail(format!("{kind} {name} depends on table {}", object.name()))
            .with_hint("drop it first, and make it anew afterwards"));
    }
    Ok(())
}

async fn columns_of(
    context: &StatementContext,
    snapshot: &Arc<Snapshot>,
    reader: &Object,
) -> Result<Vec<(String, arrow::datatypes::DataType)>> {
    let mut planner = context.planner();
    planner.scope.snapshot = Arc::clone(snapshot);
    planner.scope.asker = crate::access::Asker::Owner(reader.header().owner.as_str().into());
    planner.scope.mean(reader.depends_on());
    let plan = planner.plan_query_text(reader.query().unwrap_or_default()).await?;
    let columns = plan.schema().fields().iter();
    Ok(columns.map(|field| (field.name().clone(), field.data_type().clone())).collect())
}

/// The objects whose columns take numbers of a sequence.
pub fn users_of_sequence(snapshot: &Snapshot, sequence: ObjectId) -> Vec<granary_catalog::Table> {
    let tables = snapshot.all::<granary_catalog::Table>().into_iter();
    let uses = |column: &granary_catalog::Column| {
        column.default.as_ref().is_some_and(|default| default.sequence == Some(sequence))
    };
    tables.filter(|table| table.columns.iter().any(uses)).cloned().collect()
}
