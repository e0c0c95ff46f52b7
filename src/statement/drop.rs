//! `DROP` of every kind.

use std::sync::Arc;

use granary_catalog::{Change, Object, ObjectKind};
use granary_sql::statement::Drop;
use sqlparser::ast::{self, ObjectName};

use super::context::StatementContext;
use super::function;
use super::workspace::kind_of;
use crate::error::{Error, Kind, Result};

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
pub fn drop_postgres(
    context: &mut StatementContext,
    kind: &ast::ObjectType,
    names: &[ObjectName],
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    let kind = match kind {
        ast::ObjectType::Table => ObjectKind::Table,
        ast::ObjectType::View => ObjectKind::View,
        ast::ObjectType::Schema => ObjectKind::Schema,
        ast::ObjectType::Database => ObjectKind::Workspace,
        other => return Err(Error::not_supported(format!("DROP {other}"))),
    };
    drop_all(context, kind, names, if_exists, cascade)
}

fn drop_all(
    context: &mut StatementContext,
    kind: ObjectKind,
    names: &[ObjectName],
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    for name in names {
        let found = context.find(kind, name);
        drop_found(context, found, if_exists, cascade)?;
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
            context.changes.push(Change::Drop { id: object.id(), cascade: cascade || is_empty });
        }
        Err(error) if if_exists && is_undefined(&error) => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
        }
        Err(error) => return Err(error),
    }
    Ok(())
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
