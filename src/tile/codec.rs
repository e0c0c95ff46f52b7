//! The byte format of partial states, as the online store keeps them.
//!
//! One format byte, one byte for the kind of state, then its fields, big-endian; of a state that is not known nothing. The bytes are a promise: whatever
//! changes here needs a new format byte and a reader for the old one. Damage is an error, never a panic.

use arrow::datatypes::DataType;

use super::arg_extreme::ArgEntry;
use super::distinct::{ValueCounts, ValueSet};
use super::ewma::Ewma;
use super::exact_sum::{FloatSum, IntegerSum, Specials};
use super::moments::Moments;
use super::ordered::{Entry, Order};
use super::partial::{Partial, State};
use super::quantile::Quantile;
use super::sketch::Sketch;
use super::spec::{PartialSpec, StateKind};
use crate::error::{Error, Kind, Result};
use crate::row::{Reader, Value, put_value};

const FORMAT: u8 = 1;

const NAN: u8 = 1;
const POSITIVE_INFINITY: u8 = 2;
const NEGATIVE_INFINITY: u8 = 4;

/// The byte that stands for the kind of state. A code is never used again for another kind.
fn kind_code(kind: StateKind) -> u8 {
    match kind {
        StateKind::Count => 1,
        StateKind::IntegerSum => 2,
        StateKind::FloatSum => 3,
        StateKind::Extreme { .. } => 4,
        StateKind::Moments { shape: false } => 5,
        StateKind::Moments { shape: true } => 6,
        StateKind::Ordered(_) => 7,
        StateKind::Set => 8,
        StateKind::Counts => 9,
        StateKind::Sketch { .. } => 10,
        StateKind::Quantile => 11,
        StateKind::ArgExtreme { .. } => 12,
        StateKind::Ewma { .. } => 13,
        StateKind::Histogram { .. } => 14,
    }
}

impl Partial {
    /// Appends the state's bytes.
    pub fn encode(&self, spec: &PartialSpec, out: &mut Vec<u8>) {
        if matches!(self.0, State::Unknown) {
            return;
        }
        out.extend_from_slice(&[FORMAT, kind_code(spec.kind)]);
        match &self.0 {
            State::Count(count) => put_i64(out, *count),
            State::Integer(IntegerSum { count, overflows, low }) => {
                put_i64(out, *count);
                put_i64(out, *overflows);
                out.extend_from_slice(&low.to_be_bytes());
            }
            State::Float(sum) => put_float_sum(out, &sum.canonical()),
            State::Extreme(value) => put_value(out, value.as_ref()),
            State::Moments(moments) => {
                put_i64(out, moments.count);
                put_f64s(out, &[moments.mean, moments.m2]);
                if let StateKind::Moments { shape: true } = spec.kind {
                    put_f64s(out, &[moments.m3, moments.m4]);
                }
            }
            State::Ordered(entries) => {
                put_length(out, entries.len());
                for entry in entries {
                    put_order(out, entry.order);
                    put_value(out, Some(&entry.value));
                }
            }
            State::Set(set) => {
                put_length(out, set.len());
                set.iter().for_each(|value| put_value(out, Some(value)));
            }
            State::Counts(counts) => {
                put_length(out, counts.len());
                for (value, count) in counts {
                    put_value(out, Some(value));
                    put_i64(out, *count);
                }
            }
            State::Sketch(sketch) => {
                let bytes = sketch.to_bytes();
                put_length(out, bytes.len());
                out.extend_from_slice(&bytes);
            }
            State::Quantile(quantile) => quantile.encode(out),
            State::Arg(None) => out.push(0),
            State::Arg(Some(entry)) => {
                out.push(1);
                put_value(out, Some(&entry.by));
                put_order(out, entry.order);
                put_value(out, Some(&entry.value));
            }
            State::Ewma(ewma) => {
                put_i64(out, ewma.reference_us);
                put_f64s(out, &[ewma.mean, ewma.weight]);
            }
            State::Histogram(counts) => {
                put_length(out, counts.len());
                counts.iter().for_each(|count| put_i64(out, *count));
            }
            State::Unknown => {}
        }
    }

    /// Reads what `encode` wrote with the same spec. Errors: `DataCorrupted`.
    pub fn decode(spec: &PartialSpec, bytes: &[u8]) -> Result<Partial> {
        if bytes.is_empty() {
            return Ok(Partial::unknown());
        }
        let mut reader = Reader::new(bytes);
        let partial = Partial::read(spec, &mut reader)?;
        if reader.is_empty() { Ok(partial) } else { Err(damaged()) }
    }

    /// Reads one state from the front of `reader`.
    pub fn read(spec: &PartialSpec, reader: &mut Reader<'_>) -> Result<Partial> {
        if reader.u8()? != FORMAT || reader.u8()? != kind_code(spec.kind) {
            return Err(damaged());
        }
        let state = read_state(spec, reader)?;
        check(&state, spec)?;
        Ok(Partial(state))
    }
}

fn read_state(spec: &PartialSpec, reader: &mut Reader<'_>) -> Result<State> {
    Ok(match spec.kind {
        StateKind::Count => State::Count(reader.i64()?),
        StateKind::IntegerSum => {
            State::Integer(IntegerSum { count: reader.i64()?, overflows: reader.i64()?, low: reader.i128()? })
        }
        StateKind::FloatSum => State::Float(read_float_sum(reader)?),
        StateKind::Extreme { .. } => State::Extreme(reader.value()?),
        StateKind::Moments { shape } => {
            let (count, mean, m2) = (reader.i64()?, reader.f64()?, reader.f64()?);
            let (m3, m4) = if shape { (reader.f64()?, reader.f64()?) } else { (0.0, 0.0) };
            State::Moments(Moments { count, mean, m2, m3, m4 })
        }
        StateKind::Ordered(_) => {
            let count = reader.length()?;
            let entry = |_| Ok(Entry { order: read_order(reader)?, value: read_value(reader)? });
            State::Ordered((0..count).map(entry).collect::<Result<_>>()?)
        }
        StateKind::Set => {
            let count = reader.length()?;
            State::Set((0..count).map(|_| read_value(reader)).collect::<Result<ValueSet>>()?)
        }
        StateKind::Counts => {
            let count = reader.length()?;
            let pair = |_| Ok((read_value(reader)?, reader.i64()?));
            State::Counts((0..count).map(pair).collect::<Result<ValueCounts>>()?)
        }
        StateKind::Sketch { precision } => {
            let length = reader.length()?;
            State::Sketch(Sketch::from_bytes(reader.take(length)?, precision)?)
        }
        StateKind::Quantile => State::Quantile(Quantile::decode(reader)?),
        StateKind::ArgExtreme { .. } => match reader.u8()? {
            0 => State::Arg(None),
            1 => {
                let by = read_value(reader)?;
                let order = read_order(reader)?;
                State::Arg(Some(Box::new(ArgEntry { by, order, value: read_value(reader)? })))
            }
            _ => return Err(damaged()),
        },
        StateKind::Ewma { .. } => {
            State::Ewma(Ewma { reference_us: reader.i64()?, mean: reader.f64()?, weight: reader.f64()? })
        }
        StateKind::Histogram { .. } => {
            let count = reader.length()?;
            State::Histogram((0..count).map(|_| reader.i64()).collect::<Result<_>>()?)
        }
    })
}

/// What every later step relies on; also asked of states that come from offline tables.
pub(super) fn check(state: &State, spec: &PartialSpec) -> Result<()> {
    let fits = |value: &Value| is_of_type(value, spec.input_type());
    let sound = match (state, spec.kind) {
        (State::Count(count), _) => *count >= 0,
        (State::Integer(sum), _) => sum.is_sound(),
        (State::Float(sum), _) => sum.count >= 0,
        (State::Moments(moments), _) => moments.count >= 0,
        (State::Extreme(extreme), _) => extreme.iter().all(fits),
        (State::Ordered(entries), StateKind::Ordered(keep)) => {
            let values_fit = entries.iter().all(|entry| fits(&entry.value));
            entries.len() <= keep.limit as usize && entries.is_sorted() && values_fit
        }
        (State::Set(set), _) => set.iter().all(fits),
        (State::Counts(counts), _) => counts.iter().all(|(value, count)| fits(value) && *count > 0),
        (State::Arg(best), _) => best.iter().all(|entry| {
            fits(&entry.value) && spec.input_types().get(1).is_some_and(|data_type| is_of_type(&entry.by, data_type))
        }),
        (State::Ewma(ewma), _) => ewma.is_sound(),
        (State::Histogram(counts), StateKind::Histogram { buckets, .. }) => {
            (counts.is_empty() || counts.len() == buckets as usize + 2) && counts.iter().all(|count| *count >= 0)
        }
        _ => true,
    };
    if sound { Ok(()) } else { Err(damaged()) }
}

fn is_of_type(value: &Value, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Value::Bool(_), DataType::Boolean)
        | (Value::Float(_), DataType::Float32 | DataType::Float64)
        | (Value::Decimal(_), DataType::Decimal128(_, _))
        | (Value::Text(_), DataType::Utf8)
        | (Value::Bytes(_), DataType::Binary)
        | (Value::Int(_), DataType::Int64 | DataType::Timestamp(_, _) | DataType::Time64(_)) => true,
        (Value::Int(value), DataType::Int32 | DataType::Date32) => i32::try_from(*value).is_ok(),
        (Value::Int(value), DataType::Int16) => i16::try_from(*value).is_ok(),
        (Value::List(items), DataType::List(field)) => {
            items.iter().flatten().all(|item| is_of_type(item, field.data_type()))
        }
        _ => false,
    }
}

fn put_float_sum(out: &mut Vec<u8>, sum: &FloatSum) {
    let Specials { nan, positive_infinity, negative_infinity } = sum.specials;
    let flag = |seen: bool, bit: u8| if seen { bit } else { 0 };
    put_i64(out, sum.count);
    put_i64(out, sum.overflows);
    out.push(flag(nan, NAN) | flag(positive_infinity, POSITIVE_INFINITY) | flag(negative_infinity, NEGATIVE_INFINITY));
    let components: Vec<f64> = sum.components().collect();
    put_length(out, components.len());
    put_f64s(out, &components);
}

fn read_float_sum(reader: &mut Reader<'_>) -> Result<FloatSum> {
    let (count, overflows, flags) = (reader.i64()?, reader.i64()?, reader.u8()?);
    let components = (0..reader.length()?).map(|_| reader.f64()).collect::<Result<Vec<_>>>()?;
    if flags > (NAN | POSITIVE_INFINITY | NEGATIVE_INFINITY) || !components.iter().all(|number| number.is_finite()) {
        return Err(damaged());
    }
    let mut sum = FloatSum::from_parts(count, overflows, components);
    sum.specials = Specials {
        nan: flags & NAN != 0,
        positive_infinity: flags & POSITIVE_INFINITY != 0,
        negative_infinity: flags & NEGATIVE_INFINITY != 0,
    };
    Ok(sum)
}

fn put_order(out: &mut Vec<u8>, order: Order) {
    put_i64(out, order.ts_us);
    put_i64(out, order.arrival);
}

fn read_order(reader: &mut Reader<'_>) -> Result<Order> {
    Ok(Order { ts_us: reader.i64()?, arrival: reader.i64()? })
}

fn read_value(reader: &mut Reader<'_>) -> Result<Value> {
    reader.value()?.ok_or_else(damaged)
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_f64s(out: &mut Vec<u8>, values: &[f64]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_be_bytes()));
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a state of 4 G values does not fit one stored row");
    out.extend_from_slice(&length.to_be_bytes());
}

pub(super) fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "a stored partial aggregate is damaged")
        .with_hint("rebuild the view with REFRESH FEATURE VIEW … OVERWRITE")
}
