//! `pg_catalog` and `information_schema`, as far as clients ask for what a feature warehouse has.

mod acl;
mod catalog;
mod extension;
mod functions;
mod keys;
mod server;

use super::SystemContext;
use super::layout::{Relation, relations};
use super::names::{self, GRANARY_OID, INFORMATION_SCHEMA_OID, PG_CATALOG_OID};
use super::rows::Rows;
use crate::error::Result;

pub use catalog::feature_comment;
pub use functions::arguments_text;
pub use keys::{constraint_definition, index_definition, index_name, index_named, serial_sequence};

type Fill = fn(&SystemContext, &mut Rows) -> Result<()>;

/// The relations that have rows.
fn filler(relation: &Relation) -> Option<Fill> {
    Some(match (relation.schema, relation.name) {
        ("pg_catalog", "pg_attribute") => catalog::pg_attribute,
        ("pg_catalog", "pg_attrdef") => keys::pg_attrdef,
        ("pg_catalog", "pg_collation") => server::pg_collation,
        ("pg_catalog", "pg_constraint") => keys::pg_constraint,
        ("pg_catalog", "pg_depend") => keys::pg_depend,
        ("pg_catalog", "pg_index") => keys::pg_index,
        ("pg_catalog", "pg_type") => keys::pg_type,
        ("pg_catalog", "pg_rewrite") => keys::pg_rewrite,
        ("pg_catalog", "pg_sequence") => keys::pg_sequence,
        ("pg_catalog", "pg_auth_members") => server::pg_auth_members,
        ("pg_catalog", "pg_class") => catalog::pg_class,
        ("pg_catalog", "pg_database") => server::pg_database,
        ("pg_catalog", "pg_description") => catalog::pg_description,
        ("pg_catalog", "pg_extension") => extension::pg_extension,
        ("pg_catalog", "pg_init_privs") => server::pg_init_privs,
        ("pg_catalog", "pg_foreign_server") => server::pg_foreign_server,
        ("pg_catalog", "pg_foreign_table") => catalog::pg_foreign_table,
        ("pg_catalog", "pg_policy") => catalog::pg_policy,
        ("pg_catalog", "pg_proc") => functions::pg_proc,
        ("information_schema", "routines") => functions::routines,
        ("pg_catalog", "pg_namespace") => catalog::pg_namespace,
        ("pg_catalog", "pg_authid") => server::pg_authid,
        ("pg_catalog", "pg_settings") => server::pg_settings,
        ("pg_catalog", "pg_stat_activity") => server::pg_stat_activity,
        ("pg_catalog", "pg_tablespace") => server::pg_tablespace,
        _ => return None,
    })
}

pub fn fill(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    match filler(rows.relation) {
        Some(fill) => fill(context, rows),
        None => Ok(()),
    }
}

/// The OID of a system schema.
fn system_schema_oid(schema: &str) -> i64 {
    match schema {
        "pg_catalog" => PG_CATALOG_OID,
        "information_schema" => INFORMATION_SCHEMA_OID,
        _ => GRANARY_OID,
    }
}
