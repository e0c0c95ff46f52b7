//! PostgreSQL's types as the wire knows them: OIDs, lengths, arrays, and which one an Arrow field is shown as.
//!
//! Only types that every PostgreSQL 15 has, so that no client ever needs to look a type up. Knows no values.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use granary_postgres::datetime::Zone;

use crate::error::{Error, Kind, Result};

/// Field metadata: the type to show instead of the natural one (`name`, `oid`, `regclass`, `text[]`).
pub const TYPE_KEY: &str = "pg.type";
/// Field metadata: the OID of the table that the column comes from.
pub const TABLE_OID_KEY: &str = "pg.table_oid";
/// Field metadata: the column's number in that table, from 1.
pub const COLUMN_KEY: &str = "pg.column";
/// Field metadata: `atttypmod`, where the Arrow type does not say it.
const MODIFIER_KEY: &str = "pg.modifier";

/// One row of `pg_type`, as far as bytes on the wire depend on it.
#[derive(Debug, PartialEq, Eq)]
pub struct PgType {
    pub oid: u32,
    pub name: &'static str,
    /// `pg_type.typlen`: bytes of a fixed-length type, -1 or -2 for a variable one
    pub length: i16,
    /// OID of the array over this type, 0 if there is none
    pub array: u32,
    /// how its values look
    pub form: Form,
}

/// How the values of a type look in both formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    /// unsigned, four bytes; as text a number, or a name where the source is text (`regclass`)
    Oid,
    Float4,
    Float8,
    Numeric,
    /// the same bytes in both formats
    Text,
    /// text whose binary format is not text
    TextOnly,
    Bytes,
    Date,
    Time,
    Timestamp,
    TimestampZoned,
    Interval,
    Uuid,
    Json,
    Jsonb,
    /// `int2vector`, `oidvector`: items apart by spaces, binary as an array whose first index is 0
    Vector {
        item: u32,
    },
}

const fn row(oid: u32, name: &'static str, length: i16, array: u32, form: Form) -> PgType {
    PgType { oid, name, length, array, form }
}

pub static BOOL: PgType = row(16, "bool", 1, 1000, Form::Bool);
pub static BYTEA: PgType = row(17, "bytea", -1, 1001, Form::Bytes);
pub static INT8: PgType = row(20, "int8", 8, 1016, Form::Int8);
pub static INT2: PgType = row(21, "int2", 2, 1005, Form::Int2);
pub static INT4: PgType = row(23, "int4", 4, 1007, Form::Int4);
pub static TEXT: PgType = row(25, "text", -1, 1009, Form::Text);
pub static FLOAT4: PgType = row(700, "float4", 4, 1021, Form::Float4);
pub static FLOAT8: PgType = row(701, "float8", 8, 1022, Form::Float8);
pub static DATE: PgType = row(1082, "date", 4, 1182, Form::Date);
pub static TIME: PgType = row(1083, "time", 8, 1183, Form::Time);
pub static TIMESTAMP: PgType = row(1114, "timestamp", 8, 1115, Form::Timestamp);
pub static TIMESTAMPTZ: PgType = row(1184, "timestamptz", 8, 1185, Form::TimestampZoned);
pub static INTERVAL: PgType = row(1186, "interval", 16, 1187, Form::Interval);
pub static NUMERIC: PgType = row(1700, "numeric", -1, 1231, Form::Numeric);
pub static JSONB: PgType = row(3802, "jsonb", -1, 3807, Form::Jsonb);

/// `unknown`: a parameter whose type the server shall find.
pub const UNKNOWN_OID: u32 = 705;

static OTHERS: [PgType; 41] = [
    row(18, "char", 1, 1002, Form::Text),
    row(19, "name", 64, 1003, Form::Text),
    row(22, "int2vector", -1, 1006, Form::Vector { item: 21 }),
    row(24, "regproc", 4, 1008, Form::Oid),
    row(26, "oid", 4, 1028, Form::Oid),
    row(27, "tid", 6, 1010, Form::TextOnly),
    row(28, "xid", 4, 1011, Form::Oid),
    row(29, "cid", 4, 1012, Form::Oid),
    row(30, "oidvector", -1, 1013, Form::Vector { item: 26 }),
    row(114, "json", -1, 199, Form::Json),
    row(142, "xml", -1, 143, Form::Text),
    row(194, "pg_node_tree", -1, 0, Form::Text),
    row(650, "cidr", -1, 651, Form::TextOnly),
    row(UNKNOWN_OID, "unknown", -2, 0, Form::Text),
    row(869, "inet", -1, 1041, Form::TextOnly),
    row(1033, "aclitem", 12, 1034, Form::TextOnly),
    row(1042, "bpchar", -1, 1014, Form::Text),
    row(1043, "varchar", -1, 1015, Form::Text),
    row(1790, "refcursor", -1, 2201, Form::Text),
    row(2202, "regprocedure", 4, 2207, Form::Oid),
    row(2203, "regoper", 4, 2208, Form::Oid),
    row(2204, "regoperator", 4, 2209, Form::Oid),
    row(2205, "regclass", 4, 2210, Form::Oid),
    row(2206, "regtype", 4, 2211, Form::Oid),
    row(2249, "record", -1, 2287, Form::TextOnly),
    row(2275, "cstring", -2, 1263, Form::Text),
    row(2278, "void", 4, 0, Form::Text),
    row(2950, "uuid", 16, 2951, Form::Uuid),
    row(3220, "pg_lsn", 8, 3221, Form::TextOnly),
    row(3734, "regconfig", 4, 3735, Form::Oid),
    row(3769, "regdictionary", 4, 3770, Form::Oid),
    row(4089, "regnamespace", 4, 4090, Form::Oid),
    row(4096, "regrole", 4, 4097, Form::Oid),
    row(4191, "regcollation", 4, 4192, Form::Oid),
    row(790, "money", 8, 791, Form::TextOnly),
    row(1266, "timetz", 12, 1270, Form::TextOnly),
    row(1560, "bit", -1, 1561, Form::TextOnly),
    row(1562, "varbit", -1, 1563, Form::TextOnly),
    row(4072, "jsonpath", -1, 4073, Form::TextOnly),
    row(5069, "xid8", 8, 271, Form::TextOnly),
    row(2277, "anyarray", -1, 0, Form::TextOnly),
];

static COMMON: [&PgType; 15] = [
    &INT8,
    &TEXT,
    &FLOAT8,
    &TIMESTAMPTZ,
    &INT4,
    &BOOL,
    &NUMERIC,
    &TIMESTAMP,
    &DATE,
    &INT2,
    &FLOAT4,
    &BYTEA,
    &JSONB,
    &TIME,
    &INTERVAL,
];

/// What a column or parameter is shown as: a type, or an array over one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShownType {
    pub item: &'static PgType,
    pub is_array: bool,
    /// of the session, where a text says none
    pub zone: Zone,
}

impl ShownType {
    pub const fn scalar(item: &'static PgType) -> Self {
        ShownType { item, is_array: false, zone: Zone::UTC }
    }

    pub fn in_zone(self, zone: Zone) -> ShownType {
        ShownType { zone, ..self }
    }

    pub fn oid(self) -> u32 {
        if self.is_array { self.item.array } else { self.item.oid }
    }

    pub fn length(self) -> i16 {
        if self.is_array { -1 } else { self.item.length }
    }

    /// The type behind an OID that a client named; 0 and `unknown` are none.
    pub fn of_oid(oid: u32) -> Option<ShownType> {
        all().find_map(|item| {
            if item.oid == oid {
                Some(ShownType { item, is_array: false, zone: Zone::UTC })
            } else if item.array == oid && oid != 0 {
                Some(ShownType { item, is_array: true, zone: Zone::UTC })
            } else {
                None
            }
        })
    }

    /// By the name in `pg.type`; `_text` and `text[]` both mean an array.
    pub fn of_name(name: &str) -> Option<ShownType> {
        let (item_name, is_array) = match (name.strip_suffix("[]"), name.strip_prefix('_')) {
            (Some(item), _) | (None, Some(item)) => (item, true),
            (None, None) => (name.trim_matches('"'), false),
        };
        let item = all().find(|item| item.name == item_name)?;
        if is_array && item.array == 0 {
            return None;
        }
        Some(ShownType { item, is_array, zone: Zone::UTC })
    }

    /// How values of an Arrow type are shown where nothing else is said.
    pub fn of_data_type(data_type: &DataType) -> Result<ShownType> {
        let item = match data_type {
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => &TEXT,
            DataType::Boolean => &BOOL,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => &INT2,
            DataType::UInt16 | DataType::Int32 => &INT4,
            DataType::UInt32 | DataType::Int64 => &INT8,
            DataType::UInt64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => &NUMERIC,
            DataType::Float16 | DataType::Float32 => &FLOAT4,
            DataType::Float64 => &FLOAT8,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => &BYTEA,
            DataType::Date32 | DataType::Date64 => &DATE,
            DataType::Time32(_) | DataType::Time64(_) => &TIME,
            DataType::Timestamp(_, None) => &TIMESTAMP,
            DataType::Timestamp(_, Some(_)) => &TIMESTAMPTZ,
            DataType::Interval(_) | DataType::Duration(_) => &INTERVAL,
            DataType::Struct(_) | DataType::Map(..) => &JSONB,
            DataType::Dictionary(_, value) => return ShownType::of_data_type(value),
            DataType::RunEndEncoded(_, value) => return ShownType::of_data_type(value.data_type()),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _)
            | DataType::ListView(field)
            | DataType::LargeListView(field) => {
                return Ok(array_over(ShownType::of_data_type(field.data_type())?));
            }
            DataType::Union(..) => {
                return Err(Error::not_supported(format!("a result column of type {data_type}")));
            }
        };
        Ok(ShownType::scalar(item))
    }
}

/// Lists of lists may be ragged, which no PostgreSQL array is: they are shown as JSON, as lists of structs are.
fn array_over(item: ShownType) -> ShownType {
    if item.is_array || item.item == &JSONB { ShownType::scalar(&JSONB) } else { ShownType { is_array: true, ..item } }
}

fn all() -> impl Iterator<Item = &'static PgType> {
    COMMON.iter().copied().chain(OTHERS.iter())
}

/// The Arrow type in which parameters of a type that a client declared travel; `None` leaves it to the session, as does a
/// type that only the catalogs know.
pub fn parameter_data_type(oid: u32) -> Option<DataType> {
    if oid == 0 || oid == UNKNOWN_OID {
        return None;
    }
    let shown = ShownType::of_oid(oid)?;
    let item = match shown.item.form {
        Form::Bool => DataType::Boolean,
        Form::Int2 => DataType::Int16,
        Form::Int4 => DataType::Int32,
        Form::Int8 => DataType::Int64,
        Form::Oid if matches!(shown.item.name, "oid" | "xid" | "cid") => DataType::Int64,
        Form::Float4 => DataType::Float32,
        Form::Float8 => DataType::Float64,
        Form::Numeric => DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE),
        Form::Text | Form::Json | Form::Jsonb | Form::Uuid => DataType::Utf8,
        Form::Bytes => DataType::Binary,
        Form::Date => DataType::Date32,
        Form::Time => DataType::Time64(TimeUnit::Microsecond),
        Form::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Form::TimestampZoned => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Form::Interval => DataType::Duration(TimeUnit::Microsecond),
        Form::Oid | Form::TextOnly | Form::Vector { .. } => return None,
    };
    Some(if shown.is_array { DataType::new_list(item, true) } else { item })
}

/// A `numeric` parameter says nothing of its scale before its value is there; this is what is planned with.
pub const NUMERIC_PRECISION: u8 = 38;
pub const NUMERIC_SCALE: i8 = 10;

/// One column of a result as its clients are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub table_oid: u32,
    pub number: i16,
    pub shown: ShownType,
    /// `pg_attribute.atttypmod`: precision and scale of a numeric, else -1
    pub modifier: i32,
}

impl Column {
    pub fn of_field(field: &Field) -> Result<Column> {
        let metadata = field.metadata();
        let shown = match metadata.get(TYPE_KEY) {
            None => ShownType::of_data_type(field.data_type())?,
            Some(name) => {
                ShownType::of_name(name).ok_or_else(|| Error::not_supported(format!("a column of type {name}")))?
            }
        };
        let number = |key: &str| metadata.get(key).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
        Ok(Column {
            name: field.name().clone(),
            table_oid: number(TABLE_OID_KEY),
            number: i16::try_from(number(COLUMN_KEY)).unwrap_or(0),
            shown,
            modifier: match metadata.get(MODIFIER_KEY).and_then(|modifier| modifier.parse().ok()) {
                Some(modifier) => modifier,
                None if shown.item == &NUMERIC => numeric_modifier(field.data_type()),
                None => -1,
            },
        })
    }
}

/// All columns of a result, within what the protocol can count.
pub fn columns_of(schema: &Schema) -> Result<Vec<Column>> {
    const MOST: usize = i16::MAX as usize;
    if schema.fields().len() > MOST {
        return Err(Error::new(
            Kind::StatementTooComplex,
            format!("a result can have at most {MOST} columns, not {}", schema.fields().len()),
        ));
    }
    schema.fields().iter().map(|field| Column::of_field(field)).collect()
}

fn numeric_modifier(data_type: &DataType) -> i32 {
    let (precision, scale) = match data_type {
        DataType::UInt64 => (20, 0),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => (i32::from(*p), i32::from(*s)),
        DataType::Dictionary(_, value) => return numeric_modifier(value),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            return numeric_modifier(field.data_type());
        }
        _ => return -1,
    };
    // as make_numeric_typmod() in PostgreSQL 15, where a scale has eleven bits and a sign
    ((precision << 16) | (scale & 0x7ff)) + 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_oids_find_the_same_type() {
        for item in all() {
            assert_eq!(ShownType::of_oid(item.oid), Some(ShownType::scalar(item)), "{}", item.name);
            assert_eq!(ShownType::of_name(item.name), Some(ShownType::scalar(item)), "{}", item.name);
            if item.array != 0 {
                let array = ShownType { item, is_array: true, zone: Zone::UTC };
                assert_eq!(ShownType::of_oid(item.array), Some(array));
                assert_eq!(ShownType::of_name(&format!("{}[]", item.name)), Some(array));
                assert_eq!(ShownType::of_name(&format!("_{}", item.name)), Some(array));
            }
        }
        assert_eq!(ShownType::of_oid(0), None);
        assert_eq!(ShownType::of_oid(600), None);
    }

    #[test]
    fn lists_are_arrays_unless_nested() {
        let list = |item| DataType::new_list(item, true);
        assert_eq!(ShownType::of_data_type(&list(DataType::Int64)).expect("shown").oid(), 1016);
        assert_eq!(ShownType::of_data_type(&list(list(DataType::Int64))).expect("shown").oid(), 3802);
    }

    #[test]
    fn numeric_modifiers_are_postgresqls() {
        assert_eq!(numeric_modifier(&DataType::Decimal128(10, 2)), 655_366);
        assert_eq!(numeric_modifier(&DataType::Decimal128(5, -2)), 329_730);
        assert_eq!(numeric_modifier(&DataType::Int64), -1);
    }

    #[test]
    fn metadata_rules_what_a_column_is_shown_as() {
        let metadata = [(TYPE_KEY, "name"), (TABLE_OID_KEY, "1259"), (COLUMN_KEY, "2")];
        let field = Field::new("relname", DataType::Utf8, false)
            .with_metadata(metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let column = Column::of_field(&field).expect("known");
        assert_eq!((column.shown.oid(), column.shown.length()), (19, 64));
        assert_eq!((column.table_oid, column.number, column.modifier), (1259, 2, -1));
    }
}
