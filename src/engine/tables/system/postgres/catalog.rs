//! Schemas, relations, columns, types, comments.

use granary_catalog::{Column, Identity, Object, Policy, PolicyCommand, PolicyExpression, RowSecurity, Schema, Table};

use super::super::rows::{Rows, row};
use super::super::views::view_text;
use super::names::{self, column_type, columns, oid_of, relation_kind};
use super::{GRANARY_OID, INFORMATION_SCHEMA_OID, PG_CATALOG_OID, SystemContext, relations, system_schema_oid};
use super::{acl, keys};
use crate::engine::query::shown_expression;
use crate::error::Result;

/// The access method of a table, "heap".
const HEAP: i64 = 2;
/// `pg_class`, `pg_namespace` and `pg_proc`, whose comments `pg_description` holds.
const CLASS_OF_RELATIONS: i64 = 1259;
const CLASS_OF_SCHEMAS: i64 = 2615;
const CLASS_OF_FUNCTIONS: i64 = 1255;
/// `pg_policy`
const CLASS_OF_POLICIES: i64 = 3256;

impl SystemContext {
    /// The workspace's relations with their kinds.
    pub fn relations(&self) -> impl Iterator<Item = (&Object, &'static str)> {
        self.objects().filter_map(|object| Some((object, relation_kind(object)?)))
    }

    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.objects().filter_map(|object| object.downcast::<Schema>())
    }

    pub fn schema_oid(&self, object: &Object) -> i64 {
        object.home().schema().map_or(0, oid_of)
    }

    pub fn schema_name(&self, object: &Object) -> String {
        self.scope.snapshot.schema_of(object).map_or_else(String::new, |schema| schema.header.name.clone())
    }
}

pub fn pg_namespace(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let own = names::FIRST_ROLE_OID;
    for (name, oid) in
        [("pg_catalog", PG_CATALOG_OID), ("information_schema", INFORMATION_SCHEMA_OID), ("granary", GRANARY_OID)]
    {
        row!(rows, oid: oid, nspname: name, nspowner: own);
    }
    for schema in context.schemas() {
        row!(rows,
            oid: oid_of(schema.header.id),
            nspname: &schema.header.name,
            nspowner: context.role_oid(&schema.header.owner),
            nspacl: context.scope.snapshot.get(schema.header.id).and_then(|object| acl::of(&context.scope.snapshot, object)),
        );
    }
    Ok(())
}

pub fn pg_class(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let own = names::FIRST_ROLE_OID;
    for relation in relations() {
        // Those of granary can be listed with \dt granary.*
        let is_view = view_text(relation).is_some()
            || (relation.schema == "information_schema" && !relation.name.starts_with("sql_"));
        let kind = if is_view { "v" } else { "r" };
        row!(rows,
            oid: relation.oid,
            relname: relation.name,
            relnamespace: system_schema_oid(relation.schema),
            relowner: own,
            relam: if kind == "r" { HEAP } else { 0 },
            relpersistence: "p",
            relkind: kind,
            relnatts: relation.columns.len(),
            relispopulated: true,
            relreplident: "n",
        );
    }
    keys::index_classes(context, rows);
    for (object, kind) in context.relations() {
        let (has_index, n_checks) = keys::counts(object);
        let is_populated = !matches!(object, Object::Table(Table { materialized: Some(materialized), .. }) if !materialized.is_populated);
        row!(rows,
            oid: oid_of(object.id()),
            relname: object.name(),
            relnamespace: context.schema_oid(object),
            relowner: context.role_oid(&object.header().owner),
            relam: if matches!(kind, "r" | "m") { HEAP } else { 0 },
            relhasindex: has_index,
            relchecks: n_checks,
            relhasrules: kind == "v",
            // Neither pages nor ctids exist here: zero keeps clients from splitting reads by them.
            relpages: 0,
            reltuples: -1.0,
            relpersistence: "p",
            relkind: kind,
            reltype: keys::row_type(object),
            relnatts: columns(&context.scope.snapshot, object).len(),
            relispopulated: is_populated,
            relrowsecurity: row_security(object).enabled,
            relforcerowsecurity: row_security(object).forced,
            reloptions: matches!(object, Object::View(view) if view.security_invoker)
                .then(|| vec!["security_invoker=true".to_owned()]),
            relreplident: if matches!(kind, "r" | "m") { "d" } else { "n" },
            relacl: acl::of(&context.scope.snapshot, object),
        );
    }
    Ok(())
}

fn row_security(object: &Object) -> RowSecurity {
    object.downcast::<Table>().map_or_else(RowSecurity::default, |table| table.row_security)
}

/// Each policy with its OID and its table.
fn policies(context: &SystemContext) -> impl Iterator<Item = (i64, &Object, &Policy)> {
    context.relations().flat_map(|(object, _)| {
        let policies = object.downcast::<Table>().map_or(&[][..], |table| &table.policies);
        policies.iter().map(move |policy| (keys::derived_oid(object, "policy", &policy.name), object, policy))
    })
}

pub fn pg_policy(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (oid, table, policy) in policies(context) {
        let roles = match policy.roles.as_slice() {
            [] => vec![0],
            roles => roles.iter().map(|role| oid_of(*role)).collect(),
        };
        let shown = |expression: &PolicyExpression| shown_expression(&expression.text);
        row!(rows,
            oid: oid,
            polname: &policy.name,
            polrelid: oid_of(table.id()),
            polcmd: match policy.command {
                PolicyCommand::All => "*",
                PolicyCommand::Select => "r",
                PolicyCommand::Insert => "a",
                PolicyCommand::Update => "w",
                PolicyCommand::Delete => "d",
            },
            polpermissive: policy.permissive,
            polroles: roles,
            polqual: policy.using.as_ref().map(shown),
            polwithcheck: policy.check.as_ref().map(shown),
        );
    }
    Ok(())
}

struct ColumnRow<'a> {
    relation: i64,
    number: usize,
    name: &'a str,
    type_oid: i64,
    modifier: i64,
    not_null: bool,
    has_default: bool,
    /// a or d of an identity column, else nothing
    identity: &'static str,
}

fn add_column(rows: &mut Rows, column: &ColumnRow<'_>) {
    let row = names::types().find(|row| row.oid == column.type_oid);
    let field = |n: usize| row.and_then(|row| row.line.split('\t').nth(n)).unwrap_or_default();
    row!(rows,
        attrelid: column.relation,
        attname: column.name,
        atttypid: column.type_oid,
        attstattarget: -1,
        attlen: field(2).parse::<i64>().unwrap_or(-1),
        attnum: column.number,
        attcacheoff: -1,
        atttypmod: column.modifier,
        attbyval: field(3) == "t",
        attalign: field(14),
        attstorage: field(15),
        attnotnull: column.not_null,
        atthasdef: column.has_default,
        attidentity: column.identity,
        attislocal: true,
        attcollation: field(16).parse::<i64>().unwrap_or(0),
    );
}

pub fn pg_attribute(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for relation in relations() {
        for (index, column) in relation.columns.iter().enumerate() {
            let type_oid = names::type_oid(&spelled(column.type_name)).unwrap_or(25);
            add_column(
                rows,
                &ColumnRow {
                    relation: relation.oid,
                    number: index + 1,
                    name: column.name,
                    type_oid,
                    modifier: -1,
                    not_null: column.not_null,
                    has_default: false,
                    identity: "",
                },
            );
        }
    }
    let of_objects =
        context.relations().map(|(object, _)| (oid_of(object.id()), columns(&context.scope.snapshot, object)));
    for (relation, own) in of_objects.chain(keys::index_columns(context)) {
        for (column, number) in own.iter().zip(1..) {
            add_column(rows, &described(relation, number, column));
        }
    }
    Ok(())
}

fn described(relation: i64, number: usize, column: &Column) -> ColumnRow<'_> {
    let (type_oid, modifier) = column_type(column);
    let identity = column.default.as_ref().and_then(|default| default.identity);
    ColumnRow {
        relation,
        number,
        name: &column.name,
        type_oid,
        modifier,
        not_null: !column.nullable,
        has_default: column.default.is_some() && identity.is_none(),
        identity: match identity {
            Some(Identity::Always) => "a",
            Some(Identity::ByDefault) => "d",
            None => "",
        },
    }
}

fn spelled(type_name: &str) -> String {
    type_name.strip_prefix('_').map_or_else(|| type_name.to_owned(), |item| format!("{item}[]"))
}

pub fn pg_description(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Some(comment) = &object.header().comment else { continue };
        let class = match object {
            Object::Schema(_) => CLASS_OF_SCHEMAS,
            Object::Function(_) => CLASS_OF_FUNCTIONS,
            _ => CLASS_OF_RELATIONS,
        };
        row!(rows, objoid: oid_of(object.id()), classoid: class, objsubid: 0, description: comment);
    }
    for (oid, _, policy) in policies(context) {
        let Some(comment) = &policy.comment else { continue };
        row!(rows, objoid: oid, classoid: CLASS_OF_POLICIES, objsubid: 0, description: comment);
    }
    for (object, _) in context.relations() {
        for (index, column) in columns(&context.scope.snapshot, object).iter().enumerate() {
            let Some(comment) = feature_comment(object, &column.name) else { continue };
            row!(rows,
                objoid: oid_of(object.id()),
                classoid: CLASS_OF_RELATIONS,
                objsubid: index + 1,
                description: comment,
            );
        }
    }
    Ok(())
}

/// What is said about a column: only features have comments.
pub fn feature_comment<'a>(object: &'a Object, column: &str) -> Option<&'a String> {
    let columns: &[Column] = match object {
        Object::Table(table) => &table.columns,
        Object::View(view) => &view.columns,
        Object::Source(source) => &source.columns,
        Object::Stream(stream) => &stream.columns,
        Object::FeatureTable(table) => &table.columns,
        _ => &[],
    };
    let own = columns.iter().find(|own| own.name == column).and_then(|own| own.comment.as_ref());
    if own.is_some() {
        return own;
    }
    let feature = match object {
        Object::FeatureView(view) => view.feature(column),
        Object::FeatureTable(table) => table.feature(column),
        Object::RealtimeView(view) => view.feature(column),
        _ => None,
    };
    feature?.comment.as_ref()
}

pub fn pg_foreign_table(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (object, _) in context.relations().filter(|(_, kind)| *kind == "f") {
        row!(rows, ftrelid: oid_of(object.id()), ftserver: super::server::FOREIGN_SERVER);
    }
    Ok(())
}
