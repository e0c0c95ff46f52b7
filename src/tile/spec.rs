//! Which state an aggregate function needs, over which types it works, and what type it gives.
//!
//! Functions that can share a state get the same [`PartialSpec`] and so are kept once: sum and avg; the variances
//! and standard deviations; skewness and kurtosis; every percentile; mode, entropy and top_k; bool_and and min.

use std::fmt;

use arrow::datatypes::DataType;

use super::AggregateFunction;
use super::ordered::{End, Keep};
use super::partial::Partial;
use crate::error::{Error, Kind, Result};
use crate::row::{Value, normalize_type};

/// The most values that last(x, n), top_k(x, k) and their like may keep.
pub(super) const MAX_LIST_LENGTH: u32 = 1000;
const MAX_HISTOGRAM_BUCKETS: u32 = 10_000;

/// What is remembered of the rows for one or more functions over the same inputs.
///
/// Two features share their state iff their specs are equal and their inputs are the same columns.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialSpec {
    pub(super) kind: StateKind,
    inputs: Vec<DataType>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum StateKind {
    Count,
    /// Exact sum of integers, and of decimals by their unscaled numbers.
    IntegerSum,
    FloatSum,
    Extreme {
        greatest: bool,
    },
    Moments {
        /// Also the third and fourth moment.
        shape: bool,
    },
    Ordered(Keep),
    Set,
    Counts,
    Sketch {
        precision: u8,
    },
    Quantile,
    ArgExtreme {
        greatest: bool,
    },
    Ewma {
        half_life_us: i64,
    },
    Histogram {
        low: f64,
        high: f64,
        buckets: u32,
    },
}

/// What a function asks of an input's type.
#[derive(Clone, Copy)]
enum Accepts {
    Anything,
    Scalars,
    Numbers,
    Ordered,
    Booleans,
}

impl Accepts {
    fn contains(self, data_type: &DataType) -> bool {
        // only the types in which columns are stored
        if normalize_type(data_type).as_ref() != Some(data_type) {
            return false;
        }
        match self {
            Accepts::Anything => true,
            Accepts::Scalars => !matches!(data_type, DataType::List(_)),
            Accepts::Numbers => is_number(data_type),
            Accepts::Ordered => !matches!(data_type, DataType::List(_) | DataType::Binary),
            Accepts::Booleans => matches!(data_type, DataType::Boolean),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Accepts::Anything => "the column's type cannot be stored; cast it to one that can, such as text",
            Accepts::Scalars => "it takes any type but arrays",
            Accepts::Numbers => "it takes numbers; cast the input, such as x::double precision",
            Accepts::Ordered => "it takes numbers, text, boolean, dates and times; cast the input, such as x::text",
            Accepts::Booleans => "it takes boolean; write a condition, such as x > 0",
        }
    }
}

fn is_number(data_type: &DataType) -> bool {
    is_integer(data_type) || matches!(data_type, DataType::Float32 | DataType::Float64 | DataType::Decimal128(_, _))
}

fn is_integer(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
}

impl PartialSpec {
    /// The state that `function` needs over inputs of these types (as [`normalize_type`] gives them).
    ///
    /// Errors: `UndefinedFunction` for a wrong number or type of inputs, `InvalidParameterValue` for a parameter of
    /// the function that is out of range.
    pub fn new(function: &AggregateFunction, input_types: &[DataType]) -> Result<PartialSpec> {
        check_inputs(function, input_types)?;
        check_parameters(function)?;
        Ok(PartialSpec { kind: state_kind(function, &input_types[0]), inputs: input_types.to_vec() })
    }

    /// The types of the inputs, in their order: one, or two for arg_max and arg_min (value, by).
    pub fn input_types(&self) -> &[DataType] {
        &self.inputs
    }

    /// The state of no rows at all.
    pub fn empty(&self) -> Partial {
        Partial::empty(self)
    }

    /// Whether merging rounds, so that the order matters.
    pub fn is_rounded(&self) -> bool {
        matches!(self.kind, StateKind::Moments { .. } | StateKind::Ewma { .. })
    }

    /// How many digits of the first input are after the decimal point.
    pub(super) fn scale(&self) -> i8 {
        match self.input_type() {
            DataType::Decimal128(_, scale) => *scale,
            _ => 0,
        }
    }

    /// What an unscaled decimal is divided by to be a float.
    pub(super) fn decimal_divisor(&self) -> f64 {
        10f64.powi(self.scale().into())
    }

    /// The first (mostly only) input's type.
    pub(super) fn input_type(&self) -> &DataType {
        &self.inputs[0]
    }
}

/// The type of `function`'s values over inputs of these types. Errors as [`PartialSpec::new`].
pub fn output_type(function: &AggregateFunction, input_types: &[DataType]) -> Result<DataType> {
    check_inputs(function, input_types)?;
    check_parameters(function)?;
    let input = &input_types[0];
    Ok(match function {
        AggregateFunction::Count | AggregateFunction::CountDistinct | AggregateFunction::ApproxCountDistinct { .. } => {
            DataType::Int64
        }
        AggregateFunction::Sum => match input {
            DataType::Decimal128(_, scale) => DataType::Decimal128(38, *scale),
            _ if is_integer(input) => DataType::Int64,
            _ => DataType::Float64,
        },
        AggregateFunction::Avg
        | AggregateFunction::VarPop
        | AggregateFunction::VarSamp
        | AggregateFunction::StddevPop
        | AggregateFunction::StddevSamp
        | AggregateFunction::ApproxPercentile { .. }
        | AggregateFunction::Entropy
        | AggregateFunction::Skewness
        | AggregateFunction::Kurtosis
        | AggregateFunction::Ewma { .. } => DataType::Float64,
        AggregateFunction::Min
        | AggregateFunction::Max
        | AggregateFunction::Last
        | AggregateFunction::First
        | AggregateFunction::Mode
        | AggregateFunction::ArgMax
        | AggregateFunction::ArgMin => input.clone(),
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => DataType::Boolean,
        AggregateFunction::LastN { .. }
        | AggregateFunction::FirstN { .. }
        | AggregateFunction::LastDistinct { .. }
        | AggregateFunction::FirstDistinct { .. }
        | AggregateFunction::TopK { .. } => DataType::new_list(input.clone(), true),
        AggregateFunction::Histogram { .. } => DataType::new_list(DataType::Int64, true),
    })
}

/// Whether the function gives an array whatever its input is (last(x) of an array column does not count).
pub fn is_list_valued(function: &AggregateFunction) -> bool {
    matches!(
        function,
        AggregateFunction::LastN { .. }
            | AggregateFunction::FirstN { .. }
            | AggregateFunction::LastDistinct { .. }
            | AggregateFunction::FirstDistinct { .. }
            | AggregateFunction::TopK { .. }
            | AggregateFunction::Histogram { .. }
    )
}

/// The value over an empty window: 0 for the counts, {} for what is list-valued, else NULL.
pub fn empty_value(function: &AggregateFunction) -> Option<Value> {
    match function {
        AggregateFunction::Count | AggregateFunction::CountDistinct | AggregateFunction::ApproxCountDistinct { .. } => {
            Some(Value::Int(0))
        }
        _ if is_list_valued(function) => Some(Value::List([].into())),
        _ => None,
    }
}

fn state_kind(function: &AggregateFunction, input: &DataType) -> StateKind {
    let ordered = |end, limit, distinct| StateKind::Ordered(Keep { end, limit, distinct });
    match *function {
        AggregateFunction::Count => StateKind::Count,
        AggregateFunction::Sum | AggregateFunction::Avg => match input {
            DataType::Float32 | DataType::Float64 => StateKind::FloatSum,
            _ => StateKind::IntegerSum,
        },
        // false < true
        AggregateFunction::Min | AggregateFunction::BoolAnd => StateKind::Extreme { greatest: false },
        AggregateFunction::Max | AggregateFunction::BoolOr => StateKind::Extreme { greatest: true },
        AggregateFunction::VarPop
        | AggregateFunction::VarSamp
        | AggregateFunction::StddevPop
        | AggregateFunction::StddevSamp => StateKind::Moments { shape: false },
        AggregateFunction::Skewness | AggregateFunction::Kurtosis => StateKind::Moments { shape: true },
        AggregateFunction::Last => ordered(End::Latest, 1, false),
        AggregateFunction::First => ordered(End::Earliest, 1, false),
        AggregateFunction::LastN { n } => ordered(End::Latest, n, false),
        AggregateFunction::FirstN { n } => ordered(End::Earliest, n, false),
        AggregateFunction::LastDistinct { n } => ordered(End::Latest, n, true),
        AggregateFunction::FirstDistinct { n } => ordered(End::Earliest, n, true),
        AggregateFunction::CountDistinct => StateKind::Set,
        AggregateFunction::Mode | AggregateFunction::Entropy | AggregateFunction::TopK { .. } => StateKind::Counts,
        AggregateFunction::ApproxCountDistinct { precision } => StateKind::Sketch { precision },
        // the state is good for every fraction, and better than any `precision` asked for
        AggregateFunction::ApproxPercentile { .. } => StateKind::Quantile,
        AggregateFunction::ArgMax => StateKind::ArgExtreme { greatest: true },
        AggregateFunction::ArgMin => StateKind::ArgExtreme { greatest: false },
        AggregateFunction::Ewma { half_life_us } => StateKind::Ewma { half_life_us },
        AggregateFunction::Histogram { low, high, buckets } => StateKind::Histogram { low, high, buckets },
    }
}

fn accepted_inputs(function: &AggregateFunction) -> &'static [Accepts] {
    match function {
        AggregateFunction::Count | AggregateFunction::Last | AggregateFunction::First => &[Accepts::Anything],
        AggregateFunction::Sum
        | AggregateFunction::Avg
        | AggregateFunction::VarPop
        | AggregateFunction::VarSamp
        | AggregateFunction::StddevPop
        | AggregateFunction::StddevSamp
        | AggregateFunction::ApproxPercentile { .. }
        | AggregateFunction::Skewness
        | AggregateFunction::Kurtosis
        | AggregateFunction::Ewma { .. }
        | AggregateFunction::Histogram { .. } => &[Accepts::Numbers],
        AggregateFunction::Min | AggregateFunction::Max => &[Accepts::Ordered],
        AggregateFunction::LastN { .. }
        | AggregateFunction::FirstN { .. }
        | AggregateFunction::LastDistinct { .. }
        | AggregateFunction::FirstDistinct { .. }
        | AggregateFunction::CountDistinct
        | AggregateFunction::ApproxCountDistinct { .. }
        | AggregateFunction::Mode
        | AggregateFunction::Entropy
        | AggregateFunction::TopK { .. } => &[Accepts::Scalars],
        AggregateFunction::BoolAnd | AggregateFunction::BoolOr => &[Accepts::Booleans],
        AggregateFunction::ArgMax | AggregateFunction::ArgMin => &[Accepts::Anything, Accepts::Ordered],
    }
}

fn check_inputs(function: &AggregateFunction, input_types: &[DataType]) -> Result<()> {
    let accepted = accepted_inputs(function);
    let undefined = || {
        let types: Vec<String> = input_types.iter().map(|data_type| SqlType(data_type).to_string()).collect();
        let call = format!("{}({})", function.name(), types.join(", "));
        Error::new(Kind::UndefinedFunction, format!("aggregate function {call} does not exist"))
    };
    if accepted.len() != input_types.len() {
        let expected = accepted.len();
        return Err(undefined().with_hint(format!("{} takes {expected} input column(s)", function.name())));
    }
    match accepted.iter().zip(input_types).find(|(accepts, data_type)| !accepts.contains(data_type)) {
        Some((accepts, _)) => Err(undefined().with_hint(accepts.hint())),
        None => Ok(()),
    }
}

fn check_parameters(function: &AggregateFunction) -> Result<()> {
    let name = function.name();
    let in_range = |parameter: &str, value: f64, least: f64, most: f64| {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        let message = format!("{parameter} of {name} must be between {least} and {most}, not {value}");
        Err(Error::new(Kind::InvalidParameterValue, message))
    };
    match *function {
        AggregateFunction::LastN { n }
        | AggregateFunction::FirstN { n }
        | AggregateFunction::LastDistinct { n }
        | AggregateFunction::FirstDistinct { n } => in_range("n", n.into(), 1.0, MAX_LIST_LENGTH.into()),
        AggregateFunction::TopK { k } => in_range("k", k.into(), 1.0, MAX_LIST_LENGTH.into()),
        AggregateFunction::ApproxCountDistinct { precision } => in_range("precision", precision.into(), 4.0, 16.0),
        AggregateFunction::ApproxPercentile { p, .. } => in_range("the fraction", p, 0.0, 1.0),
        AggregateFunction::Ewma { half_life_us } if half_life_us <= 0 => {
            Err(Error::new(Kind::InvalidParameterValue, "half_life of ewma must be longer than zero"))
        }
        AggregateFunction::Histogram { low, high, buckets } => {
            in_range("buckets", buckets.into(), 1.0, MAX_HISTOGRAM_BUCKETS.into())?;
            if low.is_finite() && high.is_finite() && low != high {
                return Ok(());
            }
            let message = format!("the bounds of histogram must be two different finite numbers, not {low} and {high}");
            Err(Error::new(Kind::InvalidParameterValue, message))
        }
        _ => Ok(()),
    }
}

/// A type as PostgreSQL names it, for error messages.
pub(super) struct SqlType<'a>(pub &'a DataType);

impl fmt::Display for SqlType<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            DataType::Boolean => formatter.write_str("boolean"),
            DataType::Int16 => formatter.write_str("smallint"),
            DataType::Int32 => formatter.write_str("integer"),
            DataType::Int64 => formatter.write_str("bigint"),
            DataType::Float32 => formatter.write_str("real"),
            DataType::Float64 => formatter.write_str("double precision"),
            DataType::Decimal128(precision, scale) => write!(formatter, "numeric({precision},{scale})"),
            DataType::Utf8 => formatter.write_str("text"),
            DataType::Binary => formatter.write_str("bytea"),
            DataType::Date32 => formatter.write_str("date"),
            DataType::Time64(_) => formatter.write_str("time"),
            DataType::Timestamp(_, None) => formatter.write_str("timestamp"),
            DataType::Timestamp(_, Some(_)) => formatter.write_str("timestamptz"),
            DataType::List(field) => write!(formatter, "{}[]", SqlType(field.data_type())),
            other => write!(formatter, "{other}"),
        }
    }
}
