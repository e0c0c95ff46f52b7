//! `DROP` of every kind.

use granary_catalog::{Change, ObjectKind};
use granary_sql::statement::Drop;
use sqlparser::ast::{self, ObjectName};

use super::context::StatementContext;
use super::workspace::kind_of;
use crate::error::{Error, Kind, Result};

pub fn drop(context: &mut StatementContext, drop: &Drop) -> Result<()> {
    drop_all(context, kind_of(drop.kind), &drop.names, drop.if_exists, drop.cascade)
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
        match context.find(kind, name) {
            Ok(object) => {
                if object.id() == context.scope.workspace {
                    return Err(Error::new(Kind::ObjectInUse, "cannot drop the currently open workspace")
                        .with_hint("connect to another one first"));
                }
                // A workspace that holds nothing but its schemas is empty.
                let is_empty = object.kind() == ObjectKind::Workspace
                    && context
                        .snapshot()
                        .dependents(object.id())
                        .iter()
                        .all(|inner| inner.kind() == ObjectKind::Schema);
                context.changes.push(Change::Drop { id: object.id(), cascade: cascade || is_empty });
            }
            Err(error) if if_exists && is_undefined(&error) => {
                context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_undefined(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::UndefinedTable | Kind::UndefinedObject | Kind::InvalidCatalogName | Kind::InvalidSchemaName
    )
}
