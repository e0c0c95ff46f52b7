//! `CREATE WORKSPACE`, `CREATE DATABASE`, `CREATE SCHEMA`.

use granary_catalog::{Change, Header, Home, ObjectKind, Schema, Workspace};
use granary_sql::statement::{CreateWorkspace, WorkspaceMode};
use sqlparser::ast;

use super::context::{StatementContext, apply_common_options, check_options};
use crate::error::{Error, Kind, Result};

/// The schema that every workspace begins with.
pub const PUBLIC: &str = crate::access::PUBLIC_SCHEMA;

pub fn create(context: &mut StatementContext, create: &CreateWorkspace) -> Result<()> {
    check_options(&create.options, &[])?;
    let name = context.qualified(&create.name)?.name;
    if context.snapshot().workspace(&name).is_some() && create.if_not_exists {
        context
            .notices
            .push(Error::new(Kind::DuplicateDatabase, format!("workspace \"{name}\" already exists, skipping")));
        return Ok(());
    }
    if create.or_replace {
        return Err(Error::not_supported("CREATE OR REPLACE WORKSPACE"));
    }
    let id = context.snapshot().next_id();
    let anew = CreateWorkspace { if_not_exists: false, ..create.clone() };
    let mut header = Header::new(id, Home::Server, &name, &context.role).with_statement(anew.to_string());
    header.comment.clone_from(&create.comment);
    apply_common_options(&mut header, &create.options)?;
    let schema = Header::new(id.after(1), Home::Workspace(id), PUBLIC, &context.role);
    let live = create.mode == WorkspaceMode::Live;
    context.changes.push(Change::put(Workspace { header, live, applied_plan: None }));
    context.changes.push(Change::put(Schema { header: schema }));
    Ok(())
}

pub fn create_schema(context: &mut StatementContext, name: &ast::SchemaName, if_not_exists: bool) -> Result<()> {
    let name = match name {
        ast::SchemaName::Simple(name) => context.qualified(name)?.name,
        _ => return Err(Error::not_supported("CREATE SCHEMA AUTHORIZATION")),
    };
    if name.starts_with("pg_") || name == "granary" || name == "information_schema" {
        return Err(Error::new(Kind::InvalidName, format!("schema name \"{name}\" is reserved")));
    }
    if if_not_exists && context.snapshot().schema(context.scope.workspace, &name).is_some() {
        context.notices.push(Error::new(Kind::DuplicateSchema, format!("schema \"{name}\" already exists, skipping")));
        return Ok(());
    }
    let home = Home::Workspace(context.scope.workspace);
    let statement = format!("CREATE SCHEMA {}", ast::Ident::with_quote('"', &name));
    let header = Header::new(context.snapshot().next_id(), home, name, &context.role).with_statement(statement);
    context.changes.push(Change::put(Schema { header }));
    Ok(())
}

/// The kind of our catalog that an SQL word means in DROP and COMMENT ON.
pub fn kind_of(kind: granary_sql::ObjectKind) -> ObjectKind {
    use granary_sql::ObjectKind as Sql;
    match kind {
        Sql::Entity => ObjectKind::Entity,
        Sql::Source => ObjectKind::Source,
        Sql::Stream => ObjectKind::Stream,
        Sql::Sink => ObjectKind::Sink,
        Sql::Expectation => ObjectKind::Expectation,
        Sql::Alert => ObjectKind::Alert,
        Sql::FeatureView => ObjectKind::FeatureView,
        Sql::FeatureTable => ObjectKind::FeatureTable,
        Sql::RealtimeFeatureView => ObjectKind::RealtimeView,
        Sql::FeatureService => ObjectKind::FeatureService,
        Sql::Workspace => ObjectKind::Workspace,
        Sql::Dataset => ObjectKind::Dataset,
        Sql::Secret => ObjectKind::Secret,
        Sql::ApiKey => ObjectKind::ApiKey,
        Sql::Function => ObjectKind::Function,
        Sql::Test => ObjectKind::Test,
    }
}
