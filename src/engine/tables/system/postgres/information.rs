//! `information_schema`: the same facts in the SQL standard's form.

use super::super::names::{columns as columns_of, format_type, type_of};
use super::super::rows::{Rows, row};
use super::{SystemContext, names, relations};
use crate::error::Result;

pub fn schemata(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let system = ["pg_catalog", "information_schema", "granary"];
    let system = system.into_iter().map(|name| (name.to_owned(), context.facts.user.clone()));
    let own = context.schemas().map(|schema| (schema.header.name.clone(), schema.header.owner.clone()));
    for (name, owner) in system.chain(own) {
        row!(rows, catalog_name: &context.facts.database, schema_name: name, schema_owner: owner);
    }
    Ok(())
}

pub fn tables(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for relation in relations() {
        row!(rows,
            table_catalog: &context.facts.database,
            table_schema: relation.schema,
            table_name: relation.name,
            table_type: "VIEW",
            is_insertable_into: "NO",
            is_typed: "NO",
        );
    }
    for (object, kind) in context.relations() {
        let (table_type, insertable) = match kind {
            "r" => ("BASE TABLE", "YES"),
            "f" => ("FOREIGN", "NO"),
            "m" => ("BASE TABLE", "NO"),
            _ => ("VIEW", "NO"),
        };
        row!(rows,
            table_catalog: &context.facts.database,
            table_schema: context.schema_name(object),
            table_name: object.name(),
            table_type: table_type,
            is_insertable_into: insertable,
            is_typed: "NO",
        );
    }
    Ok(())
}

pub fn views(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (object, _) in context.relations().filter(|(_, kind)| *kind == "v") {
        row!(rows,
            table_catalog: &context.facts.database,
            table_schema: context.schema_name(object),
            table_name: object.name(),
            view_definition: object.query(),
            check_option: "NONE",
            is_updatable: "NO",
            is_insertable_into: "NO",
        );
    }
    Ok(())
}

pub fn columns(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for relation in relations() {
        for (index, column) in relation.columns.iter().enumerate() {
            let spelled = column.type_name.strip_prefix('_').map(|item| format!("{item}[]"));
            let oid = names::type_oid(spelled.as_deref().unwrap_or(column.type_name)).unwrap_or(25);
            add(context, rows, relation.schema, relation.name, index + 1, column.name, !column.not_null, (oid, -1));
        }
    }
    for (object, _) in context.relations() {
        let schema = context.schema_name(object);
        for (index, column) in columns_of(&context.scope.snapshot, object).iter().enumerate() {
            let shown = type_of(&column.data_type);
            add(context, rows, &schema, object.name(), index + 1, &column.name, column.nullable, shown);
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn add(
    context: &SystemContext,
    rows: &mut Rows,
    schema: &str,
    table: &str,
    position: usize,
    name: &str,
    nullable: bool,
    (oid, modifier): (i64, i64),
) {
    let type_name = names::types().find(|row| row.oid == oid).map_or("text", |row| row.name);
    let is_array = type_name.starts_with('_');
    let data_type = if is_array { "ARRAY".to_owned() } else { format_type(oid, -1) };
    let numeric = (oid == 1700 && modifier >= 4).then(|| (((modifier - 4) >> 16) & 0xffff, (modifier - 4) & 0x7ff));
    let (precision, radix, scale) = match oid {
        21 => (Some(16), Some(2), Some(0)),
        23 => (Some(32), Some(2), Some(0)),
        20 => (Some(64), Some(2), Some(0)),
        700 => (Some(24), Some(2), None),
        701 => (Some(53), Some(2), None),
        1700 => (numeric.map(|(precision, _)| precision), Some(10), numeric.map(|(_, scale)| scale)),
        _ => (None, None, None),
    };
    let is_time = matches!(oid, 1083 | 1114 | 1184 | 1186);
    row!(rows,
        table_catalog: &context.facts.database,
        table_schema: schema,
        table_name: table,
        column_name: name,
        ordinal_position: position,
        is_nullable: if nullable { "YES" } else { "NO" },
        data_type: data_type,
        numeric_precision: precision,
        numeric_precision_radix: radix,
        numeric_scale: scale,
        datetime_precision: is_time.then_some(6),
        udt_catalog: &context.facts.database,
        udt_schema: "pg_catalog",
        udt_name: type_name,
        dtd_identifier: position.to_string(),
        is_self_referencing: "NO",
        is_identity: "NO",
        is_generated: "NEVER",
        is_updatable: "NO",
    );
}
