//! What clients know objects by: OIDs that stay the same for ever, and PostgreSQL's names of types.

use datafusion::arrow::datatypes::DataType;
use granary_catalog::{Column, Object, ObjectId, Snapshot, Table};

use crate::engine::relation::Interface;
use crate::engine::tables::sequence;

/// OIDs from here on are of the catalog's objects; PostgreSQL too starts users' objects here.
const FIRST_OBJECT_OID: i64 = 16_384;

pub const PG_CATALOG_OID: i64 = 11;
pub const INFORMATION_SCHEMA_OID: i64 = 13_207;
pub const GRANARY_OID: i64 = 14_401;
/// Of the extension whose members are what PostgreSQL has no statements for.
pub const EXTENSION_OID: i64 = 14_402;

const TEXT_ARRAY: i64 = 1009;
const BPCHAR: i64 = 1042;
const VARCHAR: i64 = 1043;

/// PostgreSQL's own roles, with its OIDs. Of those that read and write files of the server one can be a member.
pub const PREDEFINED_ROLES: [(i64, &str); 12] = [
    (3373, "pg_monitor"),
    (3374, "pg_read_all_settings"),
    (3375, "pg_read_all_stats"),
    (3377, "pg_stat_scan_tables"),
    (4200, "pg_signal_backend"),
    (4544, "pg_checkpoint"),
    (4569, "pg_read_server_files"),
    (4570, "pg_write_server_files"),
    (4571, "pg_execute_server_program"),
    (6171, "pg_database_owner"),
    (6181, "pg_read_all_data"),
    (6182, "pg_write_all_data"),
];

/// The first superuser, who owns what is there from the beginning: PostgreSQL's has this OID, too.
pub const FIRST_ROLE_OID: i64 = 10;
/// As `server.rs` makes it.
const FIRST_ROLE: ObjectId = ObjectId(3);

/// An object's OID: its id is never given to another object, so neither is the OID.
pub fn oid_of(id: ObjectId) -> i64 {
    if id == FIRST_ROLE {
        return FIRST_ROLE_OID;
    }
    FIRST_OBJECT_OID.saturating_add(i64::try_from(id.0).unwrap_or(i64::MAX))
}

/// The object of an OID.
pub fn object_of(snapshot: &Snapshot, oid: i64) -> Option<&Object> {
    let id = match oid {
        FIRST_ROLE_OID => FIRST_ROLE,
        oid => ObjectId(u64::try_from(oid.checked_sub(FIRST_OBJECT_OID)?).ok()?),
    };
    snapshot.get(id).map(AsRef::as_ref)
}

/// `pg_class.relkind`. What users write to is a table, what a query defines is a view, and what only stands for
/// data elsewhere (sources, streams) is a foreign table; so `\dt` lists tables and feature tables, `\dv` the views,
/// `\d` all of them.
pub fn relation_kind(object: &Object) -> Option<&'static str> {
    Some(match object {
        Object::Table(Table { materialized: Some(_), .. }) => "m",
        Object::Table(_) | Object::FeatureTable(_) => "r",
        Object::Sequence(_) => "S",
        Object::Source(_) | Object::Stream(_) => "f",
        Object::FeatureView(_) | Object::FeatureService(_) | Object::RealtimeView(_) | Object::View(_) => "v",
        Object::Dataset(_) => "m",
        _ => return None,
    })
}

/// The columns of a relation, as a client that reads or writes it sees them.
pub fn columns(snapshot: &Snapshot, object: &Object) -> Vec<Column> {
    match object {
        Object::Source(source) => source.columns.clone(),
        Object::Stream(stream) => stream.columns.clone(),
        Object::Table(table) => table.columns.clone(),
        Object::View(view) => view.columns.clone(),
        Object::Dataset(dataset) => dataset.newest.columns.clone(),
        Object::FeatureTable(table) => table.columns.clone(),
        Object::Sequence(_) => sequence::columns(),
        Object::FeatureView(_) | Object::RealtimeView(_) | Object::FeatureService(_) => {
            Interface::of(snapshot, object).map(Interface::into_columns).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// The same of a column, which may have a length.
pub fn column_type(column: &Column) -> (i64, i64) {
    let declared = column.declared.as_ref().and_then(|declared| type_oid(declared));
    match (type_of(&column.data_type), column.max_length) {
        // a query's number of digits is nobody's declaration
        ((1700, _), _) if declared == Some(1700) => (1700, -1),
        ((25 | TEXT_ARRAY, _), None) if declared.is_some() => (declared.unwrap_or(25), -1),
        ((25, _), Some(length)) => {
            let is_padded = declared == Some(BPCHAR);
            (if is_padded { BPCHAR } else { VARCHAR }, i64::try_from(length).unwrap_or(0) + 4)
        }
        (own, _) => own,
    }
}

/// `pg_type.oid` and `atttypmod` of a column's type. A numeric's modifier is its precision and scale.
pub fn type_of(data_type: &DataType) -> (i64, i64) {
    let oid = match data_type {
        DataType::Boolean => 16,
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => 21,
        DataType::UInt16 | DataType::Int32 => 23,
        DataType::UInt32 | DataType::Int64 => 20,
        DataType::UInt64 => return (1700, (20 << 16) + 4),
        // declared as numeric and no more
        DataType::Decimal128(38, 10) => 1700,
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            return (1700, ((i64::from(*p) << 16) | (i64::from(*s) & 0x7ff)) + 4);
        }
        DataType::Float16 | DataType::Float32 => 700,
        DataType::Float64 => 701,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => 17,
        DataType::Date32 | DataType::Date64 => 1082,
        DataType::Time32(_) | DataType::Time64(_) => 1083,
        DataType::Timestamp(_, None) => 1114,
        DataType::Timestamp(_, Some(_)) => 1184,
        DataType::Duration(_) | DataType::Interval(_) => 1186,
        DataType::Struct(_) | DataType::Map(..) => 3802,
        DataType::Dictionary(_, value) => return type_of(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let (item, modifier) = type_of(item.data_type());
            return (array_of(item), modifier);
        }
        _ => 25,
    };
    (oid, -1)
}

fn array_of(item: i64) -> i64 {
    types().find(|row| row.oid == item).map_or(3802, |row| row.array)
}

/// PostgreSQL's name of a column's type, such as `timestamp with time zone`.
pub fn type_name(data_type: &DataType) -> String {
    let (oid, modifier) = type_of(data_type);
    format_type(oid, modifier)
}

/// One row of `pg_type`.
#[derive(Debug, Clone, Copy)]
pub struct TypeRow {
    pub oid: i64,
    pub name: &'static str,
    pub element: i64,
    pub array: i64,
    /// all fields of the list, for the relation itself
    pub line: &'static str,
}

const TYPES: &str = include_str!("postgres_types.tsv");

/// The types of PostgreSQL 15: no others are ever sent, so no client has to look one up.
pub fn types() -> impl Iterator<Item = TypeRow> {
    TYPES.lines().map(|line| {
        let field = |n: usize| line.split('\t').nth(n).unwrap_or_default();
        let number = |n: usize| field(n).parse().unwrap_or(0);
        TypeRow { oid: number(0), name: field(1), element: number(8), array: number(9), line }
    })
}

/// The other names of types.
const SPELLINGS: [(&str, &str); 16] = [
    ("bool", "boolean"),
    ("bpchar", "character"),
    ("char", "\"char\""),
    ("float4", "real"),
    ("float8", "double precision"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("time", "time without time zone"),
    ("timetz", "time with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("varbit", "bit varying"),
    ("varchar", "character varying"),
    ("int4", "int"),
    ("numeric", "decimal"),
];

/// PostgreSQL's `format_type`.
pub fn format_type(oid: i64, modifier: i64) -> String {
    let Some(row) = types().find(|row| row.oid == oid) else {
        return if oid == 0 { "-".to_owned() } else { "???".to_owned() };
    };
    if let Some(item) = row.name.strip_prefix('_').filter(|_| row.element != 0) {
        let item = types().find(|row| row.name == item).map_or(0, |row| row.oid);
        return format!("{}[]", format_type(item, modifier));
    }
    let name = SPELLINGS.iter().find(|(name, _)| *name == row.name).map_or(row.name, |(_, shown)| shown);
    match (row.name, modifier - 4) {
        ("numeric", typmod) if typmod >= 0 => {
            // the scale has eleven bits and a sign
            let scale = ((typmod & 0x7ff) ^ 1024) - 1024;
            format!("numeric({},{scale})", (typmod >> 16) & 0xffff)
        }
        ("varchar" | "bpchar", length) if length >= 0 => format!("{name}({length})"),
        _ => name.to_owned(),
    }
}

/// The OID of a type by any of its names.
pub fn type_oid(name: &str) -> Option<i64> {
    let name = name.trim().trim_start_matches("pg_catalog.").to_lowercase();
    let name = name.split('(').next().unwrap_or_default().trim();
    if let Some(item) = name.strip_suffix("[]") {
        return type_oid(item).map(array_of);
    }
    let name = name.trim_matches('"');
    let name = SPELLINGS.iter().find(|(_, shown)| *shown == name).map_or(name, |(name, _)| name);
    types().find(|row| row.name == name).map(|row| row.oid)
}
