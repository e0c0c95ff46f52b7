//! SQL type names as Arrow types.

use arrow::datatypes::{DataType, TimeUnit};
use granary_catalog::Column;
use granary_sql::name::fold;
use sqlparser::ast;

pub use crate::row::type_name;

use super::context::StatementContext;
use crate::engine::max_length;
use crate::error::{Error, Kind, Result};

/// The precision of `numeric` without one.
const NUMERIC_PRECISION: u8 = 38;
const NUMERIC_SCALE: i8 = 10;

/// The type that a name stands for, one of those that can be stored.
pub fn data_type(sql: &ast::DataType) -> Result<DataType> {
    use ast::DataType as Sql;
    Ok(match sql {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) => DataType::Int64,
        Sql::Real | Sql::Float4 => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 => DataType::Float64,
        Sql::Float(info) => match info {
            ast::ExactNumberInfo::Precision(precision) if *precision <= 24 => DataType::Float32,
            _ => DataType::Float64,
        },
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => numeric(*info)?,
        Sql::Text
        | Sql::Varchar(_)
        | Sql::CharacterVarying(_)
        | Sql::Char(_)
        | Sql::Character(_)
        | Sql::String(_)
        | Sql::Uuid
        | Sql::JSON
        | Sql::JSONB => DataType::Utf8,
        // kept as PostgreSQL prints them
        Sql::Interval { .. } | Sql::Time(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => DataType::Utf8,
        Sql::Bytea => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Time(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
            DataType::Time64(TimeUnit::Microsecond)
        }
        Sql::Timestamp(_, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
            DataType::Timestamp(TimeUnit::Microsecond, None)
        }
        Sql::Timestamp(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        Sql::Array(
            ast::ArrayElemTypeDef::SquareBracket(item, _)
            | ast::ArrayElemTypeDef::AngleBracket(item)
            | ast::ArrayElemTypeDef::Parenthesis(item),
        ) => match data_type(item)? {
            DataType::List(_) => return Err(Error::not_supported("an array of arrays")),
            item => DataType::new_list(item, true),
        },
        Sql::Custom(name, _) if is_named(name, "vector") => DataType::new_list(DataType::Float32, true),
        Sql::Custom(name, _) if PRINTED.iter().any(|own| is_named(name, own)) => DataType::Utf8,
        Sql::Custom(name, _) => {
            return Err(Error::new(Kind::UndefinedObject, format!("type \"{name}\" does not exist")));
        }
        other => return Err(Error::not_supported(format!("type {other}"))),
    })
}

/// Types without words of their own in the grammar whose values are kept as texts.
const PRINTED: [&str; 4] = ["name", "inet", "cidr", "timetz"];

/// PostgreSQL's name of a type whose values are kept as texts, or as arrays of them.
pub fn declared(sql: &ast::DataType) -> Option<String> {
    use ast::DataType as Sql;
    let name = match sql {
        Sql::Uuid => "uuid",
        Sql::JSON => "json",
        Sql::JSONB => "jsonb",
        Sql::Varchar(_) | Sql::CharacterVarying(_) => "varchar",
        Sql::Interval { .. } => "interval",
        Sql::Time(_, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz) => "timetz",
        Sql::Custom(name, _) => PRINTED.into_iter().find(|own| is_named(name, own))?,
        Sql::Array(
            ast::ArrayElemTypeDef::SquareBracket(item, _)
            | ast::ArrayElemTypeDef::AngleBracket(item)
            | ast::ArrayElemTypeDef::Parenthesis(item),
        ) => return declared(item).map(|item| format!("_{item}")),
        _ => return None,
    };
    Some(name.to_owned())
}

/// The same of a table's column: a `char(n)`, whose blanks are not kept, is one there.
pub fn declared_in_table(sql: &ast::DataType) -> Option<String> {
    match sql {
        ast::DataType::Char(_) | ast::DataType::Character(_) => Some("bpchar".to_owned()),
        _ => declared(sql),
    }
}

/// The type of a column whose numbers come from a sequence of its own.
pub fn serial(sql: &ast::DataType) -> Option<DataType> {
    let ast::DataType::Custom(name, _) = sql else { return None };
    match granary_sql::name::parts(name).last()?.as_str() {
        "smallserial" | "serial2" => Some(DataType::Int16),
        "serial" | "serial4" => Some(DataType::Int32),
        "bigserial" | "serial8" => Some(DataType::Int64),
        _ => None,
    }
}

fn is_named(name: &ast::ObjectName, wanted: &str) -> bool {
    granary_sql::name::parts(name).last().is_some_and(|last| last == wanted)
}

fn numeric(info: ast::ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match info {
        ast::ExactNumberInfo::None => return Ok(DataType::Decimal128(NUMERIC_PRECISION, NUMERIC_SCALE)),
        ast::ExactNumberInfo::Precision(precision) => (precision, 0),
        ast::ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let valid = (1..=u64::from(NUMERIC_PRECISION)).contains(&precision);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) if valid && scale >= 0 && scale.cast_unsigned() <= precision => {
            Ok(DataType::Decimal128(precision, scale))
        }
        _ => Err(Error::new(
            Kind::InvalidParameterValue,
            format!("numeric({precision}, {scale}) is out of range: precision 1 to 38, scale 0 to the precision"),
        )),
    }
}

/// Typed columns of our own statements.
pub fn columns(context: &StatementContext, columns: &[granary_sql::Column]) -> Result<Vec<Column>> {
    columns
        .iter()
        .map(|column| {
            let data_type = data_type(&column.data_type.ast).map_err(|error| context.at_ident(&column.name, error))?;
            let max_length = max_length(&column.data_type.ast);
            let declared = declared(&column.data_type.ast);
            Ok(Column { max_length, declared, ..Column::new(fold(&column.name), data_type, true) })
        })
        .collect()
}
