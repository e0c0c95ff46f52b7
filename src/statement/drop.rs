//! `DROP` of every kind.

use std::sync::Arc;

use granary_catalog::{Change, Column, Object, ObjectKind, Sequence, Table};
use granary_sql::statement::Drop;
use sqlparser::ast::{self, ObjectName};

use super::context::StatementContext;
use super::follow::users_of_sequence;
use super::workspace::kind_of;
use super::{function, policy};
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

pub fn drop(context: &mut StatementContext, drop: &Drop) -> Result<()> {
    let kind = kind_of(drop.kind);
    for (name, signature) in drop.names.iter().zip(&drop.signatures) {
        let found = match kind {
            ObjectKind::Function => function::find(context, name, signature.as_ref()),
            _ => context.find(kind, name),
        };
        drop_found(context, found, drop.if_exists, drop.cascade)?;
    }
    Ok(())
}

/// `DROP TABLE|VIEW|SCHEMA`, which sqlparser reads.
pub async fn drop_postgres(
    context: &mut StatementContext,
    kind: &ast::ObjectType,
    names: &[ObjectName],
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    let is_materialized = matches!(kind, ast::ObjectType::MaterializedView);
    let kind = match kind {
        ast::ObjectType::Table | ast::ObjectType::MaterializedView => ObjectKind::Table,
        ast::ObjectType::Sequence => ObjectKind::Sequence,
        ast::ObjectType::View => ObjectKind::View,
        ast::ObjectType::Schema => ObjectKind::Schema,
        ast::ObjectType::Database => ObjectKind::Workspace,
        other => return Err(Error::not_supported(format!("DROP {other}"))),
    };
    for name in names {
        let found = context.find(kind, name).and_then(|object| check_kind(context, object, is_materialized, name));
        let found = found.map_err(|error| match is_materialized && error.kind() == Kind::UndefinedTable {
            true => Error::new(error.kind(), error.message().replacen("table", "materialized view", 1)),
            false => error,
        });
        if let Ok(object) = &found {
            if let Some(table) = object.downcast::<Table>() {
                context.lock(&table.clone(), LockMode::Alter).await?;
            }
            if let Some(sequence) = object.downcast::<Sequence>() {
                drop_defaults(context, sequence, cascade)?;
            }
        }
        drop_found(context, found, if_exists, cascade)?;
    }
    Ok(())
}

/// A materialized view is a table to the catalog, and none to PostgreSQL.
fn check_kind(
    context: &StatementContext,
    object: Arc<Object>,
    is_materialized: bool,
    name: &ObjectName,
) -> Result<Arc<Object>> {
    let Some(table) = object.downcast::<Table>() else { return Ok(object) };
    let (wrong, hint) = match (table.materialized.is_some(), is_materialized) {
        (true, false) => ("table", "Use DROP MATERIALIZED VIEW to remove a materialized view."),
        (false, true) => ("materialized view", "Use DROP TABLE to remove a table."),
        _ => return Ok(object),
    };
    let message = format!("\"{}\" is not a {wrong}", object.name());
    Err(context.at(name, Error::new(Kind::WrongObjectType, message).with_hint(hint)))
}

/// Columns that take their numbers from a sequence keep it from being dropped, or lose their default.
fn drop_defaults(context: &mut StatementContext, sequence: &Sequence, cascade: bool) -> Result<()> {
    let id = sequence.header.id;
    for mut table in users_of_sequence(context.snapshot(), id) {
        let uses = |column: &&mut Column| column.default.as_ref().is_some_and(|default| default.sequence == Some(id));
        let name = table.header.name.clone();
        for column in table.columns.iter_mut().filter(|column| uses(column)) {
            if !cascade {
                let sequence = &sequence.header.name;
                let message = format!("cannot drop sequence {sequence} because other objects depend on it");
                let detail =
                    format!("default value for column {} of table {name} depends on sequence {sequence}", column.name);
                return Err(Error::new(Kind::DependentObjectsStillExist, message)
                    .with_detail(detail)
                    .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
            }
            column.default = None;
            let message = format!("drop cascades to default value for column {} of table {name}", column.name);
            context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
        }
        context.changes.push(Change::put(table));
    }
    Ok(())
}

fn drop_found(
    context: &mut StatementContext,
    found: Result<Arc<Object>>,
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    match found {
        Ok(object) => {
            if object.id() == context.scope.workspace {
                return Err(Error::new(Kind::ObjectInUse, "cannot drop the currently open workspace")
                    .with_hint("connect to another one first"));
            }
            // A workspace that holds nothing but its schemas is empty.
            let is_empty = object.kind() == ObjectKind::Workspace
                && context.snapshot().dependents(object.id()).iter().all(|inner| inner.kind() == ObjectKind::Schema);
            // a table's own sequences go with it
            let is_of_own = object.kind() == ObjectKind::Table
                && context.snapshot().dependents(object.id()).iter().all(|inner| inner.kind() == ObjectKind::Sequence);
            // what was named before may have taken it along
            if context.snapshot().apply(&context.changes)?.get(object.id()).is_none() {
                return Ok(());
            }
            let readers = policy::readers(context.snapshot(), object.id());
            if let (Some((policy, table)), false) = (readers.first(), cascade) {
                let what = format!("{} {}", object.kind().as_str(), object.name());
                let message = format!("cannot drop {what} because other objects depend on it");
                return Err(Error::new(Kind::DependentObjectsStillExist, message)
                    .with_detail(format!("policy {policy} on table {table} depends on {what}"))
                    .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
            }
            if cascade {
                notice_cascade(context, &object);
                for (policy, table) in readers {
                    let message = format!("drop cascades to policy {policy} on table {table}");
                    context.notices.push(Error::new(Kind::SuccessfulCompletion, message));
                }
            }
            context.changes.push(Change::Drop { id: object.id(), cascade: cascade || is_empty || is_of_own });
        }
        Err(error) if if_exists && is_undefined(&error) => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Says what goes along.
fn notice_cascade(context: &mut StatementContext, object: &Object) {
    let dependents = context.snapshot().dependents(object.id());
    let others = dependents.into_iter().filter(|other| other.kind() != ObjectKind::Sequence);
    let others: Vec<String> = others.map(|other| format!("{} {}", other.kind().as_str(), other.name())).collect();
    let notice = match others.as_slice() {
        [] => return,
        [only] => Error::new(Kind::SuccessfulCompletion, format!("drop cascades to {only}")),
        all => {
            let lines: Vec<String> = all.iter().map(|other| format!("drop cascades to {other}")).collect();
            let message = format!("drop cascades to {} other objects", all.len());
            Error::new(Kind::SuccessfulCompletion, message).with_detail(lines.join("\n"))
        }
    };
    context.notices.push(notice);
}

fn is_undefined(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::UndefinedTable
            | Kind::UndefinedObject
            | Kind::UndefinedFunction
            | Kind::InvalidCatalogName
            | Kind::InvalidSchemaName
    )
}
