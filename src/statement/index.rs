//! `CREATE INDEX` and `DROP INDEX`. An index is a definition; a unique one is also a rule for the rows of its table.

use std::sync::Arc;

use granary_catalog::{Change, Index, Object, ObjectKind, Table};
use granary_sql::name::fold;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use super::table::{self, free_name};
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

pub async fn create(
    context: &mut StatementContext,
    create: &ast::CreateIndex,
    _cancel: &CancellationToken,
) -> Result<()> {
    if let Some(reference) = crate::engine::table_reference(&create.table_name) {
        context.scope.relation(&reference)?;
    }
    let target = table::writable(context, &create.table_name, "index")?;
    let Some(own) = target.table.clone() else { return Err(Error::not_supported("an index of such a relation")) };
    context.lock(&own, LockMode::Alter).await?;
    let mut columns = Vec::new();
    for column in &create.columns {
        columns.push(match &column.column.expr {
            ast::Expr::Identifier(name) => {
                let name = fold(name);
                if own.columns.iter().all(|known| known.name != name) {
                    return Err(Error::new(Kind::UndefinedColumn, format!("column \"{name}\" does not exist")));
                }
                name
            }
            other if create.unique => return Err(Error::not_supported(format!("a unique index over {other}"))),
            other => other.to_string(),
        });
    }
    if create.unique && create.predicate.is_some() {
        return Err(Error::not_supported("a unique index with WHERE"));
    }
    if create.unique && create.nulls_distinct == Some(false) {
        return Err(Error::not_supported("a unique index with NULLS NOT DISTINCT"));
    }
    let home = own.header.home;
    let taken = |context: &StatementContext, name: &str| context.is_relation_name(home, name);
    let name = match &create.name {
        Some(name) => granary_sql::name::parts(name).pop().unwrap_or_default(),
        None => {
            let of_columns: Vec<&str> =
                columns.iter().map(|name| if name.contains('(') { "expr" } else { name.as_str() }).collect();
            free_name(&format!("{}_{}", own.header.name, of_columns.join("_")), "idx", |name| taken(context, name))
        }
    };
    if taken(context, &name) {
        let message = format!("relation \"{name}\" already exists");
        if create.if_not_exists {
            context.notices.push(Error::new(Kind::DuplicateTable, format!("{message}, skipping")));
            return Ok(());
        }
        return Err(Error::new(Kind::DuplicateTable, message));
    }
    let method = create.using.as_ref().map_or("btree".to_owned(), |method| method.to_string().to_lowercase());
    let listed: Vec<String> = create.columns.iter().map(ToString::to_string).collect();
    let mut definition = format!("USING {method} ({})", listed.join(", "));
    if let Some(predicate) = &create.predicate {
        definition.push_str(&format!(" WHERE {predicate}"));
    }
    let mut changed = own.as_ref().clone();
    changed.indexes.push(Index { name: name.clone(), columns, unique: create.unique, definition });
    if create.unique {
        table::check_existing(context, &changed, &name).await?;
    }
    context.changes.push(Change::put(changed));
    Ok(())
}

/// The table that has an index of that name.
fn find(context: &StatementContext, name: &ast::ObjectName) -> Result<(Arc<Object>, String)> {
    let qualified = context.qualified(name)?;
    let schemas = match &qualified.schema {
        Some(schema) => vec![context.scope.schema_named(schema)],
        None => context.scope.relation_path(),
    };
    for schema in schemas {
        let Some(schema) = context.snapshot().schema(context.scope.workspace, &schema) else { continue };
        let relations = context.snapshot().objects_in(granary_catalog::NameSpace::Relations(schema.header.id));
        for object in relations {
            let Some(table) = object.downcast::<Table>() else { continue };
            if let Some(constraint) = table.constraints.iter().find(|known| known.name == qualified.name) {
                if constraint.columns().is_empty() {
                    continue;
                }
                let (index, table) = (&qualified.name, &table.header.name);
                let message =
                    format!("cannot drop index {index} because constraint {index} on table {table} requires it");
                return Err(Error::new(Kind::DependentObjectsStillExist, message)
                    .with_hint(format!("You can drop constraint {index} on table {table} instead.")));
            }
            if table.indexes.iter().any(|index| index.name == qualified.name) {
                return Ok((Arc::clone(object), qualified.name));
            }
        }
    }
    Err(Error::new(Kind::UndefinedObject, format!("index \"{}\" does not exist", qualified.name)))
}

pub async fn drop(context: &mut StatementContext, names: &[ast::ObjectName], if_exists: bool) -> Result<()> {
    for name in names {
        let (object, index) = match find(context, name) {
            Ok(found) => found,
            Err(error) if if_exists && error.kind() == Kind::UndefinedObject => {
                context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
                continue;
            }
            Err(error) => return Err(error),
        };
        change(context, &object, |table| table.indexes.retain(|known| known.name != index)).await?;
    }
    Ok(())
}

/// `ALTER INDEX … RENAME TO`.
pub async fn rename(context: &mut StatementContext, name: &ast::ObjectName, to: &ast::ObjectName) -> Result<()> {
    let (object, index) = find(context, name)?;
    let to = granary_sql::name::parts(to).pop().unwrap_or_default();
    if context.is_relation_name(object.home(), &to) {
        return Err(Error::new(Kind::DuplicateTable, format!("relation \"{to}\" already exists")));
    }
    change(context, &object, |table| {
        table.indexes.iter_mut().filter(|known| known.name == index).for_each(|known| to.clone_into(&mut known.name));
    })
    .await
}

async fn change(context: &mut StatementContext, object: &Object, edit: impl FnOnce(&mut Table)) -> Result<()> {
    assert_eq!(object.kind(), ObjectKind::Table, "only tables have indexes");
    let Some(table) = object.downcast::<Table>() else { return Ok(()) };
    context.scope.access().check_manage(object, "change an index")?;
    context.lock(table, LockMode::Alter).await?;
    let mut table = table.clone();
    edit(&mut table);
    context.changes.push(Change::put(table));
    Ok(())
}
