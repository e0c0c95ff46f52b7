//! The partial state of aggregate functions over some rows: fold rows in, merge states, finish to a value.
//!
//! A state means nothing without its [`PartialSpec`], which stands beside it and is passed to every method.

use std::sync::Arc;

use arrow::datatypes::DataType;

use super::AggregateFunction;
use super::arg_extreme::{self, ArgEntry};
use super::block::{bigint_out_of_range, numeric_out_of_range};
use super::distinct::{self, ValueCounts, ValueSet, canonical};
use super::ewma::Ewma;
use super::exact_sum::{FloatSum, IntegerSum};
use super::histogram::bucket_of;
use super::moments::Moments;
use super::ordered::{Entry, Order};
use super::quantile::Quantile;
use super::sketch::Sketch;
use super::spec::{PartialSpec, StateKind, empty_value};
use crate::error::{Error, Result};
use crate::row::Value;

/// The state of one [`PartialSpec`] over a multiset of rows. Merging is commutative and associative: bit for bit,
/// but for the variances, skewness, kurtosis and ewma, where it is so up to rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Partial(pub(super) State);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    Count(i64),
    Integer(IntegerSum),
    Float(FloatSum),
    Extreme(Option<Value>),
    Moments(Moments),
    /// Ascending.
    Ordered(Vec<Entry>),
    Set(ValueSet),
    Counts(ValueCounts),
    Sketch(Sketch),
    Quantile(Quantile),
    Arg(Option<Box<ArgEntry>>),
    Ewma(Ewma),
    /// No counts at all, or one for every bucket and both outsides.
    Histogram(Vec<i64>),
    /// Of rows that nobody has looked at: whatever is merged with it is not known either.
    Unknown,
}

impl Partial {
    pub(super) fn empty(spec: &PartialSpec) -> Partial {
        Partial(match spec.kind {
            StateKind::Count => State::Count(0),
            StateKind::IntegerSum => State::Integer(IntegerSum::default()),
            StateKind::FloatSum => State::Float(FloatSum::default()),
            StateKind::Extreme { .. } => State::Extreme(None),
            StateKind::Moments { .. } => State::Moments(Moments::default()),
            StateKind::Ordered(_) => State::Ordered(Vec::new()),
            StateKind::Set => State::Set(ValueSet::new()),
            StateKind::Counts => State::Counts(ValueCounts::new()),
            StateKind::Sketch { .. } => State::Sketch(Sketch::default()),
            StateKind::Quantile => State::Quantile(Quantile::default()),
            StateKind::ArgExtreme { .. } => State::Arg(None),
            StateKind::Ewma { .. } => State::Ewma(Ewma::default()),
            StateKind::Histogram { .. } => State::Histogram(Vec::new()),
        })
    }

    /// Folds one row in. `inputs` are as many and of the types that the spec says; a row with a NULL among them is
    /// ignored.
    pub fn update(&mut self, spec: &PartialSpec, inputs: &[Option<Value>], order: Order) -> Result<()> {
        match inputs {
            _ if inputs.len() != spec.input_types().len() => Err(mismatch("inputs", spec)),
            [Some(value)] => self.update_one(spec, value, order),
            [Some(value), Some(by)] => self.update_two(spec, value, by, order),
            _ => Ok(()),
        }
    }

    fn update_one(&mut self, spec: &PartialSpec, value: &Value, order: Order) -> Result<()> {
        match (&mut self.0, spec.kind) {
            (State::Count(count), StateKind::Count) => *count = count.saturating_add(1),
            (State::Integer(sum), StateKind::IntegerSum) => sum.update(unscaled(value, spec)?),
            (State::Float(sum), StateKind::FloatSum) => sum.update(number(value, spec)?),
            (State::Extreme(extreme), StateKind::Extreme { greatest }) => merge_extreme(extreme, value, greatest),
            (State::Moments(moments), StateKind::Moments { shape }) => {
                moments.merge(&Moments::of(number(value, spec)?), shape);
            }
            (State::Ordered(entries), StateKind::Ordered(keep)) => {
                keep.merge(entries, &[Entry { order, value: value.clone() }]);
            }
            (State::Set(set), StateKind::Set) => {
                if !set.contains(value) {
                    set.insert(canonical(value));
                }
            }
            (State::Counts(counts), StateKind::Counts) => distinct::add_count(counts, value, 1),
            (State::Sketch(sketch), StateKind::Sketch { precision }) => sketch.update(value, precision)?,
            (State::Quantile(quantile), StateKind::Quantile) => quantile.update(number(value, spec)?),
            (State::Ewma(ewma), StateKind::Ewma { half_life_us }) => {
                ewma.merge(&Ewma::of(number(value, spec)?, order.ts_us), half_life_us);
            }
            (State::Histogram(counts), StateKind::Histogram { low, high, buckets }) => {
                counts.resize(buckets as usize + 2, 0);
                let count = &mut counts[bucket_of(number(value, spec)?, low, high, buckets)];
                *count = count.saturating_add(1);
            }
            _ => return Err(mismatch("state", spec)),
        }
        Ok(())
    }

    fn update_two(&mut self, spec: &PartialSpec, value: &Value, by: &Value, order: Order) -> Result<()> {
        match (&mut self.0, spec.kind) {
            (State::Arg(best), StateKind::ArgExtreme { greatest }) => {
                let entry = ArgEntry { by: canonical(by), order, value: value.clone() };
                arg_extreme::merge(best, &entry, greatest);
                Ok(())
            }
            _ => Err(mismatch("state", spec)),
        }
    }

    /// The state of rows that were stored before their view had it. Its value is NULL, whatever the function.
    pub fn unknown() -> Partial {
        Partial(State::Unknown)
    }

    /// Makes this the state of both multisets of rows. They may overlap in time in any way.
    pub fn merge(&mut self, spec: &PartialSpec, other: &Partial) -> Result<()> {
        if matches!((&self.0, &other.0), (State::Unknown, _) | (_, State::Unknown)) {
            self.0 = State::Unknown;
            return Ok(());
        }
        match (&mut self.0, &other.0, spec.kind) {
            (State::Count(count), State::Count(other), _) => *count = count.saturating_add(*other),
            (State::Integer(sum), State::Integer(other), _) => sum.merge(other),
            (State::Float(sum), State::Float(other), _) => sum.merge(other),
            (State::Extreme(extreme), State::Extreme(other), StateKind::Extreme { greatest }) => {
                if let Some(other) = other {
                    merge_extreme(extreme, other, greatest);
                }
            }
            (State::Moments(moments), State::Moments(other), StateKind::Moments { shape }) => {
                moments.merge(other, shape);
            }
            (State::Ordered(entries), State::Ordered(others), StateKind::Ordered(keep)) => keep.merge(entries, others),
            (State::Set(set), State::Set(other), _) => {
                for value in other {
                    if !set.contains(value) {
                        set.insert(value.clone());
                    }
                }
            }
            (State::Counts(counts), State::Counts(other), _) => {
                for (value, count) in other {
                    distinct::add_count(counts, value, *count);
                }
            }
            (State::Sketch(sketch), State::Sketch(other), StateKind::Sketch { precision }) => {
                sketch.merge(other, precision)?;
            }
            (State::Quantile(quantile), State::Quantile(other), _) => quantile.merge(other),
            (State::Arg(best), State::Arg(other), StateKind::ArgExtreme { greatest }) => {
                if let Some(other) = other {
                    arg_extreme::merge(best, other, greatest);
                }
            }
            (State::Ewma(ewma), State::Ewma(other), StateKind::Ewma { half_life_us }) => {
                ewma.merge(other, half_life_us);
            }
            (State::Histogram(counts), State::Histogram(others), _) => {
                counts.resize(counts.len().max(others.len()), 0);
                for (count, other) in counts.iter_mut().zip(others) {
                    *count = count.saturating_add(*other);
                }
            }
            _ => return Err(mismatch("state", spec)),
        }
        Ok(())
    }

    /// The value of `function`, one of those that `spec` was made for. `None` is NULL.
    ///
    /// Errors: `NumericValueOutOfRange` where a sum does not fit its type.
    pub fn finish(&self, spec: &PartialSpec, function: &AggregateFunction) -> Result<Option<Value>> {
        let value = match (&self.0, function) {
            (State::Unknown, _) => return Ok(None),
            (State::Count(count), AggregateFunction::Count) => Some(Value::Int(*count)),
            (State::Integer(sum), AggregateFunction::Sum) => integer_sum(sum, spec)?,
            (State::Integer(sum), AggregateFunction::Avg) => sum.average(spec.scale()).map(Value::Float),
            (State::Float(sum), AggregateFunction::Sum) => sum.sum().map(Value::Float),
            (State::Float(sum), AggregateFunction::Avg) => sum.average().map(Value::Float),
            (
                State::Extreme(extreme),
                AggregateFunction::Min
                | AggregateFunction::Max
                | AggregateFunction::BoolAnd
                | AggregateFunction::BoolOr,
            ) => extreme.clone(),
            (State::Moments(moments), _) => {
                moment(moments, function).ok_or_else(|| mismatch("function", spec))?.map(Value::Float)
            }
            (State::Ordered(entries), AggregateFunction::Last | AggregateFunction::First) => {
                entries.first().map(|entry| entry.value.clone())
            }
            (
                State::Ordered(entries),
                AggregateFunction::LastN { .. }
                | AggregateFunction::FirstN { .. }
                | AggregateFunction::LastDistinct { .. }
                | AggregateFunction::FirstDistinct { .. },
            ) => Some(list(entries.iter().map(|entry| entry.value.clone()))),
            (State::Set(set), AggregateFunction::CountDistinct) => Some(Value::Int(length(set.len()))),
            (State::Counts(counts), AggregateFunction::Mode) => distinct::mode(counts),
            (State::Counts(counts), AggregateFunction::Entropy) => distinct::entropy(counts).map(Value::Float),
            (State::Counts(counts), AggregateFunction::TopK { k }) => Some(list(distinct::top(counts, *k as usize))),
            (State::Sketch(sketch), AggregateFunction::ApproxCountDistinct { .. }) => {
                Some(Value::Int(sketch.estimate()))
            }
            (State::Quantile(quantile), AggregateFunction::ApproxPercentile { p, .. }) => {
                quantile.percentile(*p).map(Value::Float)
            }
            (State::Arg(best), AggregateFunction::ArgMax | AggregateFunction::ArgMin) => {
                best.as_ref().map(|entry| entry.value.clone())
            }
            (State::Ewma(ewma), AggregateFunction::Ewma { .. }) => ewma.value().map(Value::Float),
            (State::Histogram(counts), AggregateFunction::Histogram { .. }) => {
                Some(list(counts.iter().map(|count| Value::Int(*count))))
            }
            _ => return Err(mismatch("function", spec)),
        };
        debug_assert!(value.is_some() || empty_value(function).is_none(), "{function:?} is never NULL");
        Ok(value)
    }
}

/// The value of a function of moments; `None` for other functions.
pub(super) fn moment(moments: &Moments, function: &AggregateFunction) -> Option<Option<f64>> {
    Some(match function {
        AggregateFunction::VarPop => moments.variance_population(),
        AggregateFunction::VarSamp => moments.variance_sample(),
        AggregateFunction::StddevPop => moments.variance_population().map(f64::sqrt),
        AggregateFunction::StddevSamp => moments.variance_sample().map(f64::sqrt),
        AggregateFunction::Skewness => moments.skewness(),
        AggregateFunction::Kurtosis => moments.kurtosis(),
        _ => return None,
    })
}

fn integer_sum(sum: &IntegerSum, spec: &PartialSpec) -> Result<Option<Value>> {
    if sum.count == 0 {
        return Ok(None);
    }
    if matches!(spec.input_type(), DataType::Decimal128(_, _)) {
        let total = sum.sum().ok_or_else(numeric_out_of_range)?;
        return Ok(Some(Value::Decimal(total)));
    }
    let total = sum.sum().and_then(|total| i64::try_from(total).ok());
    let total = total.ok_or_else(bigint_out_of_range)?;
    Ok(Some(Value::Int(total)))
}

fn merge_extreme(extreme: &mut Option<Value>, value: &Value, greatest: bool) {
    let wins = extreme.as_ref().is_none_or(|extreme| if greatest { value > extreme } else { value < extreme });
    if wins {
        *extreme = Some(canonical(value));
    }
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value::List(values.into_iter().map(Some).collect::<Arc<[_]>>())
}

fn length(length: usize) -> i64 {
    i64::try_from(length).expect("memory is smaller than that")
}

/// An integer, or a decimal without its scale.
fn unscaled(value: &Value, spec: &PartialSpec) -> Result<i128> {
    match value {
        Value::Int(value) => Ok(i128::from(*value)),
        Value::Decimal(value) => Ok(*value),
        _ => Err(mismatch("value", spec)),
    }
}

/// Any number as a float.
fn number(value: &Value, spec: &PartialSpec) -> Result<f64> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Int(value) => Ok(*value as f64),
        Value::Decimal(value) => Ok(*value as f64 / spec.decimal_divisor()),
        _ => Err(mismatch("value", spec)),
    }
}

fn mismatch(what: &str, spec: &PartialSpec) -> Error {
    Error::internal(format!("the {what} of a partial aggregate does not fit {:?}", spec.kind))
}
