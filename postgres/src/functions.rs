//! What carries out operators and functions. Each file knows the functions of one kind of value, by the names that
//! `pg_proc.prosrc` has for them.

pub mod aggregates;
mod arrays;
pub mod bits;
mod bytes;
pub mod casts;
pub mod json;
mod math;
pub mod network;
mod number_format;
mod paths;
mod regexps;
pub mod sets;
pub mod sql;
mod system;
mod texts;
mod times;

use std::cmp::Ordering;

use crate::error::{Error, Result};
use crate::execute::Context;
use crate::plan::Function;
use crate::resolve::{self, Operator, Proc, proc_of};
use crate::types::{self as t, Type};
use crate::value::{Value, compare};
use crate::world::World;

/// A function whose arguments are of these types; None if it is not carried out here.
pub fn scalar(world: &dyn World, proc: &Proc, arguments: &[Type], result: &Type) -> Option<Function> {
    let function = world
        .function(proc)
        .or_else(|| math::function(proc))
        .or_else(|| number_format::function(proc))
        .or_else(|| bits::function(proc, arguments))
        .or_else(|| network::function(proc))
        .or_else(|| bytes::function(proc, arguments))
        .or_else(|| regexps::function(proc))
        .or_else(|| texts::function(proc, arguments))
        .or_else(|| times::function(proc, arguments))
        .or_else(|| arrays::function(proc, arguments, result))
        .or_else(|| json::function(proc, arguments))
        .or_else(|| paths::function(proc))
        .or_else(|| system::function(proc, arguments))
        .or_else(|| by_name(world, proc, arguments, result))?;
    Some(Function { source: proc.source, ..function })
}

/// An operator between operands of these types.
pub fn operator(world: &dyn World, operator: &Operator, arguments: &[Type]) -> Option<Function> {
    if let Some(comparison) = Comparison::of(operator) {
        return comparison.function(&arguments[0], &arguments[1]);
    }
    let proc = proc_of(operator.function)?;
    match math::operator(operator) {
        Some(function) => Some(Function { source: proc.source, ..function }),
        None => scalar(world, proc, arguments, &Type::of(operator.result)),
    }
}

/// What carries out operators, casts and comparisons when it is called by its own name, such as `int4pl(1, 2)`.
fn by_name(world: &dyn World, proc: &Proc, arguments: &[Type], result: &Type) -> Option<Function> {
    if let Some(operator) = resolve::operator_of(proc.oid) {
        return match Comparison::of(operator) {
            Some(comparison) => comparison.function(&arguments[0], &arguments[1]),
            None => math::operator(operator),
        };
    }
    if resolve::is_cast(proc.oid) {
        return match arguments {
            [from] => casts::function(world, from, result),
            [from, _, ..] if from.oid == result.oid => {
                let data_type = result.clone();
                Some(Function::new("fit", move |_, values| {
                    let modifier = i32::try_from(int(&values[1])).unwrap_or(-1);
                    if modifier < 0 {
                        return Ok(values[0].clone());
                    }
                    let is_explicit = values.get(2).and_then(Value::as_bool).unwrap_or(true);
                    casts::fitted(values[0].clone(), &Type { modifier, ..data_type.clone() }, is_explicit)
                }))
            }
            _ => None,
        };
    }
    let [left, right] = arguments else { return None };
    if proc.result == t::INT4 && proc.source.contains("cmp") {
        let order = order_of(left, right)?;
        return Some(Function::new("compare", move |context, values| Ok(Value::Int(order(context, values) as i64))));
    }
    let is_larger = proc.source.ends_with("larger");
    if (is_larger || proc.source.ends_with("smaller")) && left.oid == right.oid {
        let order = order_of(left, right)?;
        return Some(Function::new("extreme", move |context, values| {
            let order = order(context, values);
            let first = if is_larger { order.is_gt() } else { order.is_lt() };
            Ok(values[usize::from(!first)].clone())
        }));
    }
    None
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

type Order = Box<dyn Fn(&Context<'_>, &[Value]) -> Ordering + Send + Sync>;

/// How values of two types compare.
fn order_of(left: &Type, right: &Type) -> Option<Order> {
    let (left_kind, right_kind) = (kind_of(left.oid)?, kind_of(right.oid)?);
    if left_kind == right_kind {
        return Some(match left_kind {
            // blanks at the end do not count
            Kind::Text if (left.oid == t::BPCHAR || right.oid == t::BPCHAR) && !are_padded_alike(left, right) => {
                Box::new(|_, values| {
                    let trimmed = |value| text(value).trim_end_matches(' ').as_bytes();
                    trimmed(&values[0]).cmp(trimmed(&values[1]))
                })
            }
            Kind::Text if left.oid == t::INET || left.oid == t::CIDR => {
                Box::new(|_, values| network::compare(text(&values[0]), text(&values[1])))
            }
            _ => Box::new(|_, values| compare(&values[0], &values[1])),
        });
    }
    let is_time = |kind| matches!(kind, Kind::Date | Kind::Timestamp | Kind::Zoned);
    if !is_time(left_kind) || !is_time(right_kind) {
        return None;
    }
    let is_zoned = left_kind == Kind::Zoned || right_kind == Kind::Zoned;
    Some(Box::new(move |context, values| {
        let moment = |value: &Value, kind: Kind| times::moment(value, kind == Kind::Zoned, is_zoned, context.clock);
        moment(&values[0], left_kind).cmp(&moment(&values[1], right_kind))
    }))
}

/// Whether values of both have as many blanks as there is room for.
fn are_padded_alike(left: &Type, right: &Type) -> bool {
    left.oid == right.oid && left.modifier == right.modifier && left.modifier >= 0
}

impl Comparison {
    fn of(operator: &Operator) -> Option<Comparison> {
        if operator.result != t::BOOL || operator.left == 0 {
            return None;
        }
        Some(match operator.name {
            "=" => Comparison::Equal,
            "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, order: Ordering) -> bool {
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
        let order = order_of(left, right)?;
        let is_one_of = |oids: &[u32]| oids.contains(&left.oid) || oids.contains(&right.oid);
        // the name tells joins that equal values are equal keys, and others that values compare as they are
        let name = if is_one_of(&[t::INET, t::CIDR]) || (is_one_of(&[t::BPCHAR]) && !are_padded_alike(left, right)) {
            "compared"
        } else if self == Comparison::Equal && kind_of(left.oid) == kind_of(right.oid) {
            "equal"
        } else {
            self.name()
        };
        Some(Function::new(name, move |context, values| Ok(Value::Bool(self.holds(order(context, values))))))
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

/// A date or local timestamp in microseconds.
pub fn moment_of(value: &Value, clock: crate::datetime::Clock) -> i64 {
    times::moment(value, false, false, clock)
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
