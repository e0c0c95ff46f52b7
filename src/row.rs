//! Values, entity keys and feature rows outside of Arrow: one small value type and its byte formats.
//!
//! What is stored per key (online rows, partial aggregates) goes through here; what is computed in bulk stays in
//! Arrow arrays. A value does not carry its type: the schema beside it does. Knows nothing of stores or engines.

mod arrays;
mod codec;
mod key;
mod text;
mod type_name;

pub use arrays::{array_of, integers_of, normalize_type, value_at, values_of};
pub use codec::{Reader, ValueRef, put_value, put_values};
pub use key::{Key, bucket_of, check_key_lengths};
pub use text::{float_text, text_of};
pub use type_name::type_name;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// One SQL value that is not NULL (NULL is `Option::None` around it).
///
/// `Int` holds every integer type, dates (days), times and timestamps (microseconds); `Decimal` the unscaled
/// number. Equality, order and hash are PostgreSQL's: all NaN are equal and greater than any number, -0 equals 0.
#[derive(Debug, Clone)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Decimal(i128),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    List(Arc<[Option<Value>]>),
}

impl Value {
    fn rank(&self) -> u8 {
        match self {
            Value::Bool(_) => 0,
            Value::Int(_) => 1,
            Value::Float(_) => 2,
            Value::Decimal(_) => 3,
            Value::Text(_) => 4,
            Value::Bytes(_) => 5,
            Value::List(_) => 6,
        }
    }
}

/// PostgreSQL's order of double precision: NaN above everything, -0 equal to 0.
pub fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => compare_floats(*a, *b),
            (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Bool(value) => value.hash(state),
            Value::Int(value) => value.hash(state),
            Value::Float(value) => canonical_bits(*value).hash(state),
            Value::Decimal(value) => value.hash(state),
            Value::Text(value) => value.hash(state),
            Value::Bytes(value) => value.hash(state),
            Value::List(values) => values.hash(state),
        }
    }
}

/// The bits of a float with one NaN and one zero.
pub fn canonical_bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}
