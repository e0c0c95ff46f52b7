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
    let header = context.new_header(NewObject {
        kind: ObjectKind::Entity,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: create.to_string(),
    })?;
    if let Some(header) = header {
        context.changes.push(Change::put(Entity { header, join_keys }));
    }
    Ok(())
}
