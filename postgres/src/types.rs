//! PostgreSQL's types: what `pg_type` says of them, their spellings, and which one a spelling means.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::builtin;
use crate::error::{Error, Result};

/// A type with its modifier; `record` types know their fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Type {
    pub oid: u32,
    /// `atttypmod`: -1 for none
    pub modifier: i32,
    /// of a record: names and types
    pub fields: Option<Arc<Vec<(String, Type)>>>,
}

impl Type {
    pub const fn of(oid: u32) -> Type {
        Type { oid, modifier: -1, fields: None }
    }

    pub const fn with_modifier(oid: u32, modifier: i32) -> Type {
        Type { oid, modifier, fields: None }
    }

    pub fn record(fields: Vec<(String, Type)>) -> Type {
        Type { oid: RECORD, modifier: -1, fields: Some(Arc::new(fields)) }
    }

    /// PostgreSQL's name of it, as `format_type` has it.
    pub fn name(&self) -> String {
        format_type(self.oid, None)
    }

    pub fn row(&self) -> Option<&'static TypeRow> {
        type_row(self.oid)
    }

    pub fn is_array(&self) -> bool {
        self.element().is_some()
    }

    /// What an array is over; vectors are arrays here.
    pub fn element(&self) -> Option<Type> {
        let row = self.row()?;
        let is_array = row.category == 'A';
        is_array.then(|| Type::with_modifier(row.element, self.modifier))
    }

    pub fn array(&self) -> Option<Type> {
        let array = self.row()?.array;
        (array != 0).then(|| Type::with_modifier(array, self.modifier))
    }
}

macro_rules! oids {
    ($($name:ident = $oid:literal),* $(,)?) => { $(pub const $name: u32 = $oid;)* };
}

oids! {
    BOOL = 16, BYTEA = 17, CHAR = 18, NAME = 19, INT8 = 20, INT2 = 21, INT2VECTOR = 22, INT4 = 23, REGPROC = 24, TEXT = 25,
    OID = 26, XID = 28, CID = 29, OIDVECTOR = 30, JSON = 114, XML = 142, PG_NODE_TREE = 194, CIDR = 650, FLOAT4 = 700,
    FLOAT8 = 701, UNKNOWN = 705, INET = 869, MONEY = 790, TEXT_ARRAY = 1009, NAME_ARRAY = 1003, OID_ARRAY = 1028,
    ACLITEM = 1033, ACLITEM_ARRAY = 1034, BPCHAR = 1042, VARCHAR = 1043, DATE = 1082, TIME = 1083, TIMESTAMP = 1114, TIMESTAMPTZ = 1184,
    INTERVAL = 1186, TIMETZ = 1266, BIT = 1560, VARBIT = 1562, NUMERIC = 1700, REFCURSOR = 1790, REGPROCEDURE = 2202,
    REGOPER = 2203, REGOPERATOR = 2204, REGCLASS = 2205, REGTYPE = 2206, RECORD = 2249, CSTRING = 2275, ANY = 2276,
    ANYARRAY = 2277, VOID = 2278, ANYELEMENT = 2283, ANYNONARRAY = 2776, UUID = 2950, ANYENUM = 3500, JSONB = 3802,
    ANYRANGE = 3831, ANYCOMPATIBLE = 5077, ANYCOMPATIBLEARRAY = 5078, ANYCOMPATIBLENONARRAY = 5079, REGCONFIG = 3734,
    REGDICTIONARY = 3769, REGNAMESPACE = 4089, REGROLE = 4096, REGCOLLATION = 4191, XID8 = 5069, TID = 27, PG_LSN = 3220,
    RECORD_ARRAY = 2287, INT4_ARRAY = 1007, INT2_ARRAY = 1005, JSONPATH = 4072,
}

/// The `reg…` types: numbers that are shown as names.
pub const REG_TYPES: [u32; 11] = [
    REGPROC,
    REGPROCEDURE,
    REGOPER,
    REGOPERATOR,
    REGCLASS,
    REGTYPE,
    REGNAMESPACE,
    REGROLE,
    REGCOLLATION,
    REGCONFIG,
    REGDICTIONARY,
];

pub fn is_polymorphic(oid: u32) -> bool {
    [ANYELEMENT, ANYARRAY, ANYNONARRAY, ANYENUM, ANYRANGE, ANYCOMPATIBLE, ANYCOMPATIBLEARRAY, ANYCOMPATIBLENONARRAY]
        .contains(&oid)
}

/// One row of `pg_type`.
#[derive(Debug)]
pub struct TypeRow {
    pub oid: u32,
    pub name: String,
    pub length: i16,
    pub kind: char,
    pub category: char,
    pub is_preferred: bool,
    pub element: u32,
    pub array: u32,
    pub namespace: u32,
    pub relation: u32,
}

static ROWS: LazyLock<Vec<TypeRow>> = LazyLock::new(|| {
    let table = builtin::table("pg_type").expect("a file of ours");
    let column = |name| table.column(name).expect("a column of ours");
    let places = [
        "oid",
        "typname",
        "typlen",
        "typtype",
        "typcategory",
        "typispreferred",
        "typelem",
        "typarray",
        "typnamespace",
        "typrelid",
    ]
    .map(column);
    table
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let field = |n: usize| fields[places[n]];
            let first = |n: usize| field(n).chars().next().unwrap_or(' ');
            TypeRow {
                oid: field(0).parse().expect("an OID"),
                name: field(1).to_owned(),
                length: field(2).parse().expect("a length"),
                kind: first(3),
                category: first(4),
                is_preferred: field(5) == "t",
                element: field(6).parse().expect("an OID"),
                array: field(7).parse().expect("an OID"),
                namespace: field(8).parse().expect("an OID"),
                relation: field(9).parse().expect("an OID"),
            }
        })
        .collect()
});

static BY_OID: LazyLock<HashMap<u32, &'static TypeRow>> =
    LazyLock::new(|| ROWS.iter().map(|row| (row.oid, row)).collect());
static BY_NAME: LazyLock<HashMap<&'static str, &'static TypeRow>> =
    LazyLock::new(|| ROWS.iter().map(|row| (row.name.as_str(), row)).collect());

pub fn type_row(oid: u32) -> Option<&'static TypeRow> {
    BY_OID.get(&oid).copied()
}

pub fn type_named(name: &str) -> Option<&'static TypeRow> {
    BY_NAME.get(name).copied()
}

pub fn all_types() -> &'static [TypeRow] {
    &ROWS
}

/// How SQL spells types whose names in `pg_type` are others.
const SPELLINGS: [(&str, u32); 15] = [
    ("boolean", BOOL),
    ("character", BPCHAR),
    ("\"char\"", CHAR),
    ("real", FLOAT4),
    ("double precision", FLOAT8),
    ("smallint", INT2),
    ("integer", INT4),
    ("bigint", INT8),
    ("time without time zone", TIME),
    ("time with time zone", TIMETZ),
    ("timestamp without time zone", TIMESTAMP),
    ("timestamp with time zone", TIMESTAMPTZ),
    ("bit varying", VARBIT),
    ("character varying", VARCHAR),
    ("interval", INTERVAL),
];

/// PostgreSQL's `format_type(oid, modifier)`.
pub fn format_type(oid: u32, modifier: Option<i32>) -> String {
    if oid == 0 {
        return "-".to_owned();
    }
    let Some(row) = type_row(oid) else { return "???".to_owned() };
    if row.category == 'A' && row.element != 0 && row.length == -1 && row.name.starts_with('_') || oid == RECORD_ARRAY {
        return format!("{}[]", format_type(row.element, modifier));
    }
    // with a modifier that says nothing, types which SQL spells with one are called by their own names
    match (oid, modifier) {
        (BPCHAR, Some(-1)) => return "bpchar".to_owned(),
        (BIT, Some(-1)) => return "\"bit\"".to_owned(),
        _ => {}
    }
    let modifier = modifier.unwrap_or(-1);
    let precision = |n: i32| if n >= 0 { format!("({n})") } else { String::new() };
    match oid {
        BPCHAR if modifier < 0 => "character".to_owned(),
        BPCHAR => format!("character({})", modifier - 4),
        VARCHAR if modifier >= 4 => format!("character varying({})", modifier - 4),
        BIT if modifier >= 0 => format!("bit({modifier})"),
        VARBIT if modifier >= 0 => format!("bit varying({modifier})"),
        NUMERIC if modifier >= 4 => {
            let packed = modifier - 4;
            format!("numeric({},{})", (packed >> 16) & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024)
        }
        TIME => format!("time{} without time zone", precision(modifier)),
        TIMETZ => format!("time{} with time zone", precision(modifier)),
        TIMESTAMP => format!("timestamp{} without time zone", precision(modifier)),
        TIMESTAMPTZ => format!("timestamp{} with time zone", precision(modifier)),
        INTERVAL if modifier >= 0 => interval_name(modifier),
        _ => match SPELLINGS.iter().find(|(_, spelled)| *spelled == oid) {
            Some((spelling, _)) => (*spelling).to_owned(),
            None if matches!(oid, NUMERIC | BIT) => row.name.clone(),
            None if row.namespace != PG_CATALOG => format!("information_schema.{}", row.name),
            None => crate::text::quote_identifier(&row.name),
        },
    }
}

const PG_CATALOG: u32 = 11;

const INTERVAL_FIELDS: [(i32, &str); 13] = [
    (0x0004, "year"),
    (0x0002, "month"),
    (0x0006, "year to month"),
    (0x0008, "day"),
    (0x0400, "hour"),
    (0x0800, "minute"),
    (0x1000, "second"),
    (0x0408, "day to hour"),
    (0x0c08, "day to minute"),
    (0x1c08, "day to second"),
    (0x0c00, "hour to minute"),
    (0x1c00, "hour to second"),
    (0x1800, "minute to second"),
];

/// Fields that an interval is limited to, and its precision.
fn interval_name(modifier: i32) -> String {
    let precision = modifier & 0xffff;
    let fields = INTERVAL_FIELDS.iter().find(|(bits, _)| *bits == (modifier >> 16) & 0x7fff);
    let fields = fields.map_or_else(String::new, |(_, words)| format!(" {words}"));
    if precision == 0xffff { format!("interval{fields}") } else { format!("interval{fields}({precision})") }
}

/// The bits of fields such as `day to second`.
pub fn interval_fields(words: &str) -> Option<i32> {
    INTERVAL_FIELDS.iter().find(|(_, own)| *own == words).map(|(bits, _)| *bits)
}

/// An interval of these fields, or all, with so many digits of a second. Errors: 22023.
pub fn interval_type(fields: Option<i32>, precision: Option<i32>) -> Result<Type> {
    let precision = match precision {
        Some(precision) if precision < 0 => {
            return Err(Error::new("22023", format!("INTERVAL({precision}) precision must not be negative")));
        }
        Some(precision) => precision.min(6),
        None => 0xffff,
    };
    Ok(Type::with_modifier(INTERVAL, (fields.unwrap_or(0x7fff) << 16) | precision))
}

/// The type that a spelling means, with its modifier: `numeric(10,2)[]`, `pg_catalog."char"`, `timestamp(3) with time zone`.
/// Errors: 42704 if there is none, 22023 for a modifier that it cannot have.
pub fn parse_type(spelling: &str) -> Result<Type> {
    let undefined = || {
        let name = spelling.trim().split('(').next().unwrap_or_default();
        Error::new("42704", format!("type \"{name}\" does not exist"))
    };
    let mut text = spelling.trim();
    if let Some(rest) = text.strip_prefix("pg_catalog.") {
        text = rest;
    }
    if let Some(rest) = text.strip_prefix("information_schema.") {
        let row = type_named(rest).ok_or_else(undefined)?;
        return Ok(Type::of(row.oid));
    }
    if let Some(item) = text.strip_suffix(']') {
        let item = item.trim_end_matches(|character: char| character.is_ascii_digit());
        let item = item.strip_suffix('[').ok_or_else(undefined)?;
        let item = parse_type(item).map_err(|error| if error.sqlstate == "42704" { undefined() } else { error })?;
        // an array of arrays is an array
        return if item.is_array() { Ok(item) } else { item.array().ok_or_else(undefined) };
    }
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return Ok(Type::of(type_named(quoted).ok_or_else(undefined)?.oid));
    }
    let lower = text.to_lowercase();
    let (word, arguments, rest) = match (lower.find('('), lower.find(')')) {
        (Some(open), Some(close)) if open < close => (
            lower[..open].trim().to_owned(),
            Some(lower[open + 1..close].to_owned()),
            lower[close + 1..].trim().to_owned(),
        ),
        _ => (lower.clone(), None, String::new()),
    };
    let word = if rest.is_empty() { word } else { format!("{word} {rest}") };
    let word: String = word.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(fields) = word.strip_prefix("interval ") {
        let fields = interval_fields(fields).ok_or_else(undefined)?;
        return interval_type(Some(fields), modifiers(arguments.as_deref())?.first().copied());
    }
    let oid = match word.as_str() {
        "int" => INT4,
        "decimal" | "dec" => NUMERIC,
        "float" => match arguments.as_deref().map(str::parse::<u32>) {
            Some(Ok(0)) => return Err(Error::new("22023", "precision for type float must be at least 1 bit")),
            Some(Ok(54..)) => return Err(Error::new("22023", "precision for type float must be less than 54 bits")),
            Some(Ok(1..=24)) => return Ok(Type::of(FLOAT4)),
            _ => return Ok(Type::of(FLOAT8)),
        },
        "char" | "character" | "bpchar" | "national character" | "nchar" => {
            let length = match (&arguments, word.as_str()) {
                (Some(_), _) => modifiers(arguments.as_deref())?[0],
                (None, "bpchar") => return Ok(Type::of(BPCHAR)),
                (None, _) => 1,
            };
            return Ok(Type::with_modifier(BPCHAR, check_length(length, "character")? + 4));
        }
        "varchar" | "character varying" | "char varying" | "nvarchar" => {
            return match modifiers(arguments.as_deref())?.first() {
                Some(length) => Ok(Type::with_modifier(VARCHAR, check_length(*length, "varchar")? + 4)),
                None => Ok(Type::of(VARCHAR)),
            };
        }
        "timestamptz" | "timestamp with time zone" => TIMESTAMPTZ,
        "timetz" | "time with time zone" => TIMETZ,
        "timestamp" | "timestamp without time zone" => TIMESTAMP,
        "time" | "time without time zone" => TIME,
        "bit" => BIT,
        "serial" => INT4,
        "bigserial" => INT8,
        "smallserial" => INT2,
        other => match SPELLINGS.iter().find(|(name, _)| *name == other) {
            Some((_, oid)) => *oid,
            None => type_named(other).filter(|row| row.namespace == PG_CATALOG).ok_or_else(undefined)?.oid,
        },
    };
    let numbers = modifiers(arguments.as_deref())?;
    let modifier = match (oid, numbers.as_slice()) {
        (_, []) if oid == BIT => 1,
        (_, []) => -1,
        (NUMERIC, [precision]) => numeric_modifier(*precision, 0)?,
        (NUMERIC, [precision, scale]) => numeric_modifier(*precision, *scale)?,
        (TIME | TIMETZ | TIMESTAMP | TIMESTAMPTZ, [precision]) if *precision >= 0 => (*precision).min(6),
        (INTERVAL, [precision]) => return interval_type(None, Some(*precision)),
        (BIT | VARBIT, [length]) => *length,
        _ => {
            return Err(Error::new("42601", format!("type modifier is not allowed for type \"{word}\"")));
        }
    };
    Ok(Type::with_modifier(oid, modifier))
}

fn modifiers(arguments: Option<&str>) -> Result<Vec<i32>> {
    let Some(arguments) = arguments else { return Ok(Vec::new()) };
    let number = |text: &str| {
        text.trim().parse().map_err(|_| Error::new("22023", "type modifiers must be simple constants or identifiers"))
    };
    arguments.split(',').map(number).collect()
}

fn check_length(length: i32, name: &str) -> Result<i32> {
    if length < 1 {
        return Err(Error::new("22023", format!("length for type {name} must be at least 1")));
    }
    if length > 10_485_760 {
        return Err(Error::new("22023", format!("length for type {name} cannot exceed 10485760")));
    }
    Ok(length)
}

/// `atttypmod` of a numeric.
pub fn numeric_modifier(precision: i32, scale: i32) -> Result<i32> {
    if !(1..=1000).contains(&precision) {
        return Err(Error::new("22023", format!("NUMERIC precision {precision} must be between 1 and 1000")));
    }
    if !(-1000..=1000).contains(&scale) {
        return Err(Error::new("22023", format!("NUMERIC scale {scale} must be between -1000 and 1000")));
    }
    Ok(((precision << 16) | (scale & 0x7ff)) + 4)
}

/// Precision and scale of a numeric's modifier.
pub fn numeric_digits(modifier: i32) -> Option<(i32, i32)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    Some(((packed >> 16) & 0xffff, ((packed & 0x7ff) ^ 1024) - 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_mean_types_and_back() {
        for (spelling, formatted) in [
            ("int", "integer"),
            ("pg_catalog.int4", "integer"),
            ("Numeric(10,2)", "numeric(10,2)"),
            ("decimal(5, -2)[]", "numeric(5,-2)[]"),
            ("varchar(20)", "character varying(20)"),
            ("char", "character(1)"),
            ("\"char\"", "\"char\""),
            ("timestamp(3) with time zone", "timestamp(3) with time zone"),
            ("timestamptz", "timestamp with time zone"),
            ("float(3)", "real"),
            ("text[][]", "text[]"),
            ("int2vector", "int2vector"),
            ("_text", "text[]"),
            ("interval(3)", "interval(3)"),
            ("double   precision", "double precision"),
        ] {
            let parsed = parse_type(spelling).expect(spelling);
            assert_eq!(format_type(parsed.oid, Some(parsed.modifier)), formatted, "{spelling}");
        }
        assert_eq!(parse_type("nosuch").expect_err("no type").sqlstate, "42704");
        assert_eq!(parse_type("numeric(0)").expect_err("no precision").sqlstate, "22023");
    }
}
