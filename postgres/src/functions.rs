//! What carries out operators and functions. Each file knows the functions of one kind of value, by the names that
//! `pg_proc.prosrc` has for them.

pub mod aggregates;
mod arrays;
pub mod casts;
mod json;
mod math;
mod number_format;
pub mod sets;
pub mod sql;
mod system;
mod texts;
mod times;

use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::{Operator, Proc, proc_of};
use crate::types::{self as t, Type};
use crate::value::{Value, compare};
use crate::world::World;

/// A function whose arguments are of these types; None if it is not carried out here.
pub fn scalar(world: &dyn World, proc: &Proc, arguments: &[Type], result: &Type) -> Option<Function> {
    world
        .function(proc)
        .or_else(|| math::function(proc))
        .or_else(|| number_format::function(proc))
        .or_else(|| texts::function(proc, arguments))
        .or_else(|| times::function(proc, arguments))
        .or_else(|| arrays::function(proc, arguments, result))
        .or_else(|| json::function(proc, arguments))
        .or_else(|| system::function(proc, arguments))
        .or_else(|| comparison_function(proc, arguments))
}

/// An operator between operands of these types.
pub fn operator(world: &dyn World, operator: &Operator, arguments: &[Type]) -> Option<Function> {
    let compared = match operator.name {
        _ if operator.result != t::BOOL || arguments.len() != 2 => None,
        "=" => Some(Comparison::Equal),
        "<>" => Some(Comparison::NotEqual),
        "<" => Some(Comparison::Less),
        "<=" => Some(Comparison::LessOrEqual),
        ">" => Some(Comparison::Greater),
        ">=" => Some(Comparison::GreaterOrEqual),
        _ => None,
    };
    if let Some(comparison) = compared {
        return comparison.function(&arguments[0], &arguments[1]);
    }
    let proc = proc_of(operator.function)?;
    math::operator(operator).or_else(|| scalar(world, proc, arguments, &Type::of(operator.result)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }

    fn function(self, left: &Type, right: &Type) -> Option<Function> {
        let (left, right) = (kind_of(left.oid)?, kind_of(right.oid)?);
        if left == right {
            // the name tells joins that equal values are equal keys
            let name = if self == Comparison::Equal { "equal" } else { self.name() };
            return Some(Function::new(name, move |_, values| {
                Ok(Value::Bool(self.holds(compare(&values[0], &values[1]))))
            }));
        }
        let common = match (left, right) {
            (Kind::Date | Kind::Timestamp | Kind::Zoned, Kind::Date | Kind::Timestamp | Kind::Zoned) => {
                if left == Kind::Zoned || right == Kind::Zoned { Kind::Zoned } else { Kind::Timestamp }
            }
            _ => return None,
        };
        Some(Function::new(self.name(), move |context, values| {
            let moment = |value: &Value, kind: Kind| {
                times::moment(value, kind == Kind::Zoned, common == Kind::Zoned, context.clock)
            };
            Ok(Value::Bool(self.holds(moment(&values[0], left).cmp(&moment(&values[1], right)))))
        }))
    }

    fn name(self) -> &'static str {
        match self {
            Comparison::Equal => "eq",
            Comparison::NotEqual => "ne",
            Comparison::Less => "lt",
            Comparison::LessOrEqual => "le",
            Comparison::Greater => "gt",
            Comparison::GreaterOrEqual => "ge",
        }
    }
}

/// Types whose values compare with each other as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Whole,
    Float,
    Numeric,
    Text,
    Bytes,
    Date,
    Time,
    TimeZoned,
    Timestamp,
    Zoned,
    Interval,
    Uuid,
    Jsonb,
    Array,
    Record,
}

fn kind_of(oid: u32) -> Option<Kind> {
    Some(match oid {
        t::BOOL => Kind::Bool,
        t::INT2 | t::INT4 | t::INT8 | t::OID | t::XID | t::CID | t::XID8 => Kind::Whole,
        oid if t::REG_TYPES.contains(&oid) => Kind::Whole,
        t::FLOAT4 | t::FLOAT8 => Kind::Float,
        t::NUMERIC => Kind::Numeric,
        t::TEXT
        | t::NAME
        | t::VARCHAR
        | t::BPCHAR
        | t::CHAR
        | t::ACLITEM
        | t::INET
        | t::CIDR
        | t::BIT
        | t::VARBIT
        | t::TID
        | t::PG_LSN => Kind::Text,
        t::BYTEA => Kind::Bytes,
        t::DATE => Kind::Date,
        t::TIME => Kind::Time,
        t::TIMETZ => Kind::TimeZoned,
        t::TIMESTAMP => Kind::Timestamp,
        t::TIMESTAMPTZ => Kind::Zoned,
        t::INTERVAL => Kind::Interval,
        t::UUID => Kind::Uuid,
        t::JSONB => Kind::Jsonb,
        t::RECORD => Kind::Record,
        oid if Type::of(oid).is_array() => Kind::Array,
        _ => return None,
    })
}

/// Comparisons called by name, such as `int4eq(1, 2)`.
fn comparison_function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    if proc.result != t::BOOL || arguments.len() != 2 {
        return None;
    }
    let source = proc.source;
    let comparison = [
        ("eq", Comparison::Equal),
        ("ne", Comparison::NotEqual),
        ("lt", Comparison::Less),
        ("le", Comparison::LessOrEqual),
        ("gt", Comparison::Greater),
        ("ge", Comparison::GreaterOrEqual),
    ];
    let (_, comparison) = comparison.into_iter().find(|(suffix, _)| source.ends_with(suffix))?;
    comparison.function(&arguments[0], &arguments[1])
}

// What functions find in their arguments. A strict function never sees NULL, and types were settled before.

fn text(value: &Value) -> &str {
    value.as_text().unwrap_or_default()
}

fn int(value: &Value) -> i64 {
    value.as_int().unwrap_or_default()
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(number) => *number,
        _ => 0.0,
    }
}

fn wrong_argument(what: impl std::fmt::Display) -> Error {
    Error::new("22023", what.to_string())
}

/// A whole number within a type. Errors: 22003.
fn whole(number: i128, oid: u32) -> Result<Value> {
    let (least, most) = match oid {
        t::INT2 => (i128::from(i16::MIN), i128::from(i16::MAX)),
        t::INT4 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    match i64::try_from(number) {
        Ok(number) if (least..=most).contains(&i128::from(number)) => Ok(Value::Int(number)),
        _ => Err(Error::new("22003", format!("{} out of range", t::format_type(oid, None)))),
    }
}
