//! `CREATE ENTITY`.

use arrow::datatypes::DataType;
use granary_catalog::{Change, Entity, ObjectKind};
use granary_sql::statement::CreateEntity;

use super::context::{NewObject, StatementContext, check_options};
use super::types;
use crate::error::{Error, Kind, Result};

pub fn create(context: &mut StatementContext, create: &CreateEntity) -> Result<()> {
    check_options(&create.options, &[])?;
    let join_keys = types::columns(context, &create.columns)?;
    for (key, column) in join_keys.iter().zip(&create.columns) {
        if matches!(key.data_type, DataType::List(_)) {
            let error = Error::new(Kind::DatatypeMismatch, format!("join key \"{}\" is an array", key.name))
                .with_hint("a join key has a scalar type, such as text or bigint");
            return Err(context.at_ident(&column.name, error));
        }
    }
    if create.or_replace
        && let Ok(object) = context.find(ObjectKind::Entity, &create.name)
        && let Some(existing) = object.downcast::<Entity>()
    {
        context.check_replaced_columns(&object, &existing.join_keys, &join_keys)?;
        if existing.join_keys != join_keys {
            // A key more is as much of a change as a key less.
            context.check_replaced_columns(&object, &join_keys, &existing.join_keys)?;
        }
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::Entity,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateEntity { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    if let Some(header) = header {
        context.changes.push(Change::put(Entity { header, join_keys }));
    }
    Ok(())
}
