//! One value of any of PostgreSQL's types, how two of them compare, and what equal ones hash to. The type itself is known
//! to whoever holds the value.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::json::Json;
use crate::numeric::Numeric;

/// A row of values.
pub type Row = Vec<Value>;

/// A value. `Int` is of every whole-number type and the `reg…` ones, `Text` of every type that is shown as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// a `real` is kept as the double that it equals
    Float(f64),
    Numeric(Numeric),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// days since 1970
    Date(i32),
    /// microseconds of the day
    Time(i64),
    /// the same, and seconds east of UTC
    TimeZoned(i64, i32),
    /// microseconds since 1970, with a zone or without
    Timestamp(i64),
    Interval(Interval),
    Uuid([u8; 16]),
    Jsonb(Arc<Json>),
    Array(Arc<Array>),
    Record(Arc<[Value]>),
}

/// An array: its dimensions, as lengths and first indexes, and its items row by row. Without dimensions it is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    pub dimensions: Vec<(usize, i32)>,
    pub items: Vec<Value>,
}

impl Array {
    pub fn of(items: Vec<Value>) -> Array {
        let dimensions = if items.is_empty() { Vec::new() } else { vec![(items.len(), 1)] };
        Array { dimensions, items }
    }

    /// Items of a vector type, which are counted from zero.
    pub fn vector(items: Vec<Value>) -> Array {
        Array { dimensions: vec![(items.len(), 0)], items }
    }
}

/// Months, days and microseconds, none of which is a fixed number of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub microseconds: i64,
}

impl Interval {
    /// How long it counts in comparisons: months of 30 days of 24 hours.
    pub fn span(self) -> i128 {
        let days = i128::from(self.months) * 30 + i128::from(self.days);
        days * 86_400_000_000 + i128::from(self.microseconds)
    }
}

impl Value {
    pub fn text(text: impl AsRef<str>) -> Value {
        Value::Text(Arc::from(text.as_ref()))
    }

    pub fn array(items: Vec<Value>) -> Value {
        Value::Array(Arc::new(Array::of(items)))
    }

    pub fn vector(items: Vec<Value>) -> Value {
        Value::Array(Arc::new(Array::vector(items)))
    }

    pub fn record(items: Vec<Value>) -> Value {
        Value::Record(items.into())
    }

    pub fn jsonb(json: Json) -> Value {
        Value::Jsonb(Arc::new(json))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&Arc<Array>> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// The order of two values of one type, NULLs last, NaN above all numbers.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    use Value::{Bool, Bytes, Date, Float, Int, Null, Numeric, Text, Time, TimeZoned, Timestamp, Uuid};
    match (left, right) {
        (Null, Null) => Ordering::Equal,
        (Null, _) => Ordering::Greater,
        (_, Null) => Ordering::Less,
        (Bool(left), Bool(right)) => left.cmp(right),
        (Int(left), Int(right)) => left.cmp(right),
        (Float(left), Float(right)) => compare_floats(*left, *right),
        (Numeric(left), Numeric(right)) => left.cmp(right),
        (Text(left), Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Bytes(left), Bytes(right)) => left.cmp(right),
        (Date(left), Date(right)) => left.cmp(right),
        (Time(left), Time(right)) | (Timestamp(left), Timestamp(right)) => left.cmp(right),
        (TimeZoned(left, left_zone), TimeZoned(right, right_zone)) => {
            let utc = |time: i64, zone: i32| time - i64::from(zone) * 1_000_000;
            utc(*left, *left_zone).cmp(&utc(*right, *right_zone)).then(right_zone.cmp(left_zone))
        }
        (Value::Interval(left), Value::Interval(right)) => left.span().cmp(&right.span()),
        (Uuid(left), Uuid(right)) => left.cmp(right),
        (Value::Jsonb(left), Value::Jsonb(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let items = compare_all(&left.items, &right.items);
            items.then_with(|| left.dimensions.cmp(&right.dimensions))
        }
        (Value::Record(left), Value::Record(right)) => compare_all(left, right),
        // values of two types never meet; a fixed order keeps sorts sound
        (left, right) => class(left).cmp(&class(right)),
    }
}

fn compare_all(left: &[Value], right: &[Value]) -> Ordering {
    let differing = left.iter().zip(right).map(|(left, right)| compare(left, right)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| left.len().cmp(&right.len()))
}

fn compare_floats(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

fn class(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) => 2,
        Value::Float(_) => 3,
        Value::Numeric(_) => 4,
        Value::Text(_) => 5,
        Value::Bytes(_) => 6,
        Value::Date(_) => 7,
        Value::Time(_) => 8,
        Value::TimeZoned(..) => 9,
        Value::Timestamp(_) => 10,
        Value::Interval(_) => 11,
        Value::Uuid(_) => 12,
        Value::Jsonb(_) => 13,
        Value::Array(_) => 14,
        Value::Record(_) => 15,
    }
}

/// A value as a key of a map: equal where [`compare`] finds no difference, so NULL equals NULL.
#[derive(Debug, Clone)]
pub struct Key(pub Vec<Value>);

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        compare_all(&self.0, &other.0).is_eq()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.iter().for_each(|value| hash(value, state));
    }
}

fn hash<H: Hasher>(value: &Value, state: &mut H) {
    class(value).hash(state);
    match value {
        Value::Null => {}
        Value::Bool(truth) => truth.hash(state),
        Value::Int(number) | Value::Time(number) | Value::Timestamp(number) => number.hash(state),
        Value::Float(number) => {
            let canonical = if *number == 0.0 {
                0.0
            } else if number.is_nan() {
                f64::NAN
            } else {
                *number
            };
            canonical.to_bits().hash(state);
        }
        Value::Numeric(number) => number.hash(state),
        Value::Text(text) => text.hash(state),
        Value::Bytes(bytes) => bytes.hash(state),
        Value::Date(days) => days.hash(state),
        Value::TimeZoned(time, zone) => (time - i64::from(*zone) * 1_000_000).hash(state),
        Value::Interval(interval) => interval.span().hash(state),
        Value::Uuid(bytes) => bytes.hash(state),
        Value::Jsonb(json) => json.to_string().hash(state),
        Value::Array(array) => array.items.iter().for_each(|item| hash(item, state)),
        Value::Record(items) => items.iter().for_each(|item| hash(item, state)),
    }
}
