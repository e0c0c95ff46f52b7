//! Partial states as Arrow columns, as the offline tables keep them: readable types that every engine knows, lossless
//! both ways.
//!
//! | state | columns |
//! |---|---|
//! | count | `_count` |
//! | sum and avg of integers | `_count`, `_sum` Decimal(38, 0) |
//! | … of decimals | the same with the scale, and `_overflows`: how often 10^38 went over |
//! | … of floats | `_count`, `_sum` (numbers whose exact sum it is, and NaN or infinities), `_overflows` of 2^1024 |
//! | min, max | `_min` or `_max` |
//! | moments | `_count`, `_mean`, `_m2`, and for the shape `_m3`, `_m4` |
//! | first, last and their forms | `_rows`: list of (ts, arrival, value) |
//! | arg_max, arg_min | `_by`, `_ts`, `_arrival`, `_value` |
//! | count_distinct | `_values` |
//! | mode, entropy, top_k | `_counts`: list of (value, count) |
//! | approx_count_distinct, approx_percentile | `_sketch`, bytes |
//! | ewma | `_ts`, `_mean`, `_weight` |
//! | histogram | `_counts` |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::arg_extreme::ArgEntry;
use super::codec::{check, damaged};
use super::ewma::Ewma;
use super::exact_sum::{FloatSum, IntegerSum};
use super::moments::Moments;
use super::ordered::{Entry, Order};
use super::partial::{Partial, State};
use super::quantile::Quantile;
use super::sketch::Sketch;
use super::spec::{PartialSpec, StateKind};
use crate::error::{Error, Result};
use crate::row::{Reader, Value, array_of, value_at};

impl PartialSpec {
    /// The columns of this state, their names beginning with `name_prefix`.
    pub fn state_fields(&self, name_prefix: &str) -> Vec<Field> {
        let named =
            |(suffix, data_type): (&str, DataType)| Field::new(format!("{name_prefix}_{suffix}"), data_type, true);
        self.state_types().into_iter().map(named).collect()
    }

    fn state_types(&self) -> Vec<(&'static str, DataType)> {
        let input = self.input_type().clone();
        let (integer, float) = (DataType::Int64, DataType::Float64);
        let list_of = |data_type: &DataType| DataType::new_list(data_type.clone(), true);
        match self.kind {
            StateKind::Count => vec![("count", integer)],
            StateKind::IntegerSum => match input {
                DataType::Decimal128(_, scale) => {
                    vec![("count", integer.clone()), ("sum", DataType::Decimal128(38, scale)), ("overflows", integer)]
                }
                // 2^63 rows of 2^63 each are less than 10^38
                _ => vec![("count", integer), ("sum", DataType::Decimal128(38, 0))],
            },
            StateKind::FloatSum => vec![("count", integer.clone()), ("sum", list_of(&float)), ("overflows", integer)],
            StateKind::Extreme { greatest: false } => vec![("min", input)],
            StateKind::Extreme { greatest: true } => vec![("max", input)],
            StateKind::Moments { shape } => {
                let mut types = vec![("count", integer), ("mean", float.clone()), ("m2", float.clone())];
                if shape {
                    types.extend([("m3", float.clone()), ("m4", float)]);
                }
                types
            }
            StateKind::Ordered(_) => vec![("rows", list_of(&DataType::Struct(entry_fields(&input))))],
            StateKind::Set => vec![("values", list_of(&input))],
            StateKind::Counts => vec![("counts", list_of(&DataType::Struct(count_fields(&input))))],
            StateKind::Sketch { .. } | StateKind::Quantile => vec![("sketch", DataType::Binary)],
            StateKind::ArgExtreme { .. } => vec![
                ("by", self.input_types()[1].clone()),
                ("ts", timestamp_type()),
                ("arrival", integer),
                ("value", input),
            ],
            StateKind::Ewma { .. } => vec![("ts", timestamp_type()), ("mean", float.clone()), ("weight", float)],
            StateKind::Histogram { .. } => vec![("counts", list_of(&integer))],
        }
    }
}

fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn entry_fields(value: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("ts", timestamp_type(), true),
        Field::new("arrival", DataType::Int64, true),
        Field::new("value", value.clone(), true),
    ])
}

fn count_fields(value: &DataType) -> Fields {
    Fields::from(vec![Field::new("value", value.clone(), true), Field::new("count", DataType::Int64, true)])
}

/// One cell of a state column.
enum Cell {
    One(Option<Value>),
    /// The structs of a list, each as its fields.
    Structs(Vec<Vec<Option<Value>>>),
}

/// The states as the columns of [`PartialSpec::state_fields`], a row each.
pub fn states_to_arrays(spec: &PartialSpec, states: &[Partial]) -> Result<Vec<ArrayRef>> {
    let rows: Vec<Vec<Cell>> = states.iter().map(|state| cells_of(&state.0, spec)).collect();
    let types = spec.state_types();
    if rows.iter().any(|row| row.len() != types.len()) {
        return Err(Error::internal("a partial aggregate does not fit its spec"));
    }
    let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
    let mut column = |data_type: &DataType| {
        let cells: Vec<Cell> = rows.iter_mut().filter_map(Iterator::next).collect();
        build_column(data_type, cells)
    };
    types.iter().map(|(_, data_type)| column(data_type)).collect()
}

/// The states back. `arrays` have the types and the order of [`PartialSpec::state_fields`], or types that say the same
/// (such as views instead of texts). Errors: `DataCorrupted`.
pub fn states_from_arrays(spec: &PartialSpec, arrays: &[ArrayRef]) -> Result<Vec<Partial>> {
    let columns = state_columns(spec, arrays)?;
    let rows = columns.first().map_or(0, |array| array.len());
    let state_at = |row: usize| {
        let cells = columns.iter().map(|array| cell_at(array, row)).collect::<Result<Vec<_>>>()?;
        let state = state_of(spec, cells)?;
        check(&state, spec)?;
        Ok(Partial(state))
    };
    (0..rows).map(state_at).collect()
}

/// The columns in the types of [`PartialSpec::state_fields`].
pub(super) fn state_columns(spec: &PartialSpec, arrays: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    let types = spec.state_types();
    if arrays.len() != types.len() {
        return Err(damaged().with_detail(format!("{} columns, not {}", arrays.len(), types.len())));
    }
    types.iter().zip(arrays).map(|((_, data_type), array)| as_type(data_type, array)).collect()
}

fn as_type(data_type: &DataType, array: &ArrayRef) -> Result<ArrayRef> {
    if same_shape(data_type, array.data_type()) {
        return Ok(Arc::clone(array));
    }
    let wrong = || damaged().with_detail(format!("a column has the type {}, not {data_type}", array.data_type()));
    cast(array, data_type).map_err(|error| wrong().with_source(error))
}

/// Equal but for the names and nullability of inner fields, which other writers choose otherwise.
fn same_shape(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(a), DataType::List(b)) => same_shape(a.data_type(), b.data_type()),
        (DataType::Struct(a), DataType::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_shape(a.data_type(), b.data_type()))
        }
        _ => expected == found,
    }
}

fn integer(value: i64) -> Cell {
    Cell::One(Some(Value::Int(value)))
}

fn float(value: f64) -> Cell {
    Cell::One(Some(Value::Float(value)))
}

fn list(values: impl Iterator<Item = Value>) -> Cell {
    Cell::One(Some(Value::List(values.map(Some).collect())))
}

fn cells_of(state: &State, spec: &PartialSpec) -> Vec<Cell> {
    match state {
        State::Count(count) => vec![integer(*count)],
        State::Integer(sum) => {
            let mut cells = vec![integer(sum.count), Cell::One(Some(Value::Decimal(sum.low)))];
            if let DataType::Decimal128(_, _) = spec.input_type() {
                cells.push(integer(sum.overflows));
            }
            cells
        }
        State::Float(sum) => {
            let sum = sum.canonical();
            let numbers = sum.components().chain(sum.specials.values());
            vec![integer(sum.count), list(numbers.map(Value::Float)), integer(sum.overflows)]
        }
        State::Extreme(value) => vec![Cell::One(value.clone())],
        State::Moments(Moments { count, mean, m2, m3, m4 }) => {
            let mut cells = vec![integer(*count), float(*mean), float(*m2)];
            if let StateKind::Moments { shape: true } = spec.kind {
                cells.extend([float(*m3), float(*m4)]);
            }
            cells
        }
        State::Ordered(entries) => {
            let fields = |Entry { order, value }: &Entry| {
                vec![Some(Value::Int(order.ts_us)), Some(Value::Int(order.arrival)), Some(value.clone())]
            };
            vec![Cell::Structs(entries.iter().map(fields).collect())]
        }
        State::Set(set) => vec![list(set.iter().cloned())],
        State::Counts(counts) => {
            let fields = |(value, count): (&Value, &i64)| vec![Some(value.clone()), Some(Value::Int(*count))];
            vec![Cell::Structs(counts.iter().map(fields).collect())]
        }
        State::Sketch(sketch) => vec![Cell::One(Some(Value::Bytes(sketch.to_bytes().into())))],
        State::Quantile(quantile) => {
            let mut bytes = Vec::new();
            quantile.encode(&mut bytes);
            vec![Cell::One(Some(Value::Bytes(bytes.into())))]
        }
        State::Arg(None) => vec![Cell::One(None), Cell::One(None), Cell::One(None), Cell::One(None)],
        State::Arg(Some(entry)) => vec![
            Cell::One(Some(entry.by.clone())),
            integer(entry.order.ts_us),
            integer(entry.order.arrival),
            Cell::One(Some(entry.value.clone())),
        ],
        State::Ewma(ewma) => vec![integer(ewma.reference_us), float(ewma.mean), float(ewma.weight)],
        State::Histogram(counts) => vec![list(counts.iter().map(|count| Value::Int(*count)))],
        // has no columns: no table has states that nobody knows
        State::Unknown => Vec::new(),
    }
}

fn build_column(data_type: &DataType, cells: Vec<Cell>) -> Result<ArrayRef> {
    let struct_fields = match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some((item, fields)),
            _ => None,
        },
        _ => None,
    };
    let Some((item, fields)) = struct_fields else {
        let values = cells.iter().map(|cell| match cell {
            Cell::One(value) => value.as_ref(),
            Cell::Structs(_) => None,
        });
        return array_of(data_type, values);
    };
    let structs: Vec<Vec<Vec<Option<Value>>>> = cells
        .into_iter()
        .map(|cell| match cell {
            Cell::Structs(structs) => structs,
            Cell::One(_) => Vec::new(),
        })
        .collect();
    let offsets = OffsetBuffer::from_lengths(structs.iter().map(Vec::len));
    let columns = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            array_of(field.data_type(), structs.iter().flatten().map(|fields| fields[index].as_ref()))
        })
        .collect::<Result<Vec<_>>>()?;
    let could_not = |error| Error::internal("a state column could not be built").with_source(error);
    let items = StructArray::try_new(fields.clone(), columns, None).map_err(could_not)?;
    let lists = ListArray::try_new(Arc::clone(item), offsets, Arc::new(items), None).map_err(could_not)?;
    Ok(Arc::new(lists))
}

fn cell_at(array: &ArrayRef, row: usize) -> Result<Cell> {
    let is_list_of_structs =
        matches!(array.data_type(), DataType::List(item) if matches!(item.data_type(), DataType::Struct(_)));
    if !is_list_of_structs {
        return Ok(Cell::One(value_at(array.as_ref(), row)?));
    }
    if array.is_null(row) {
        return Ok(Cell::Structs(Vec::new()));
    }
    let items = array.as_list::<i32>().value(row);
    let items = items.as_struct();
    let fields = |index: usize| items.columns().iter().map(|column| value_at(column.as_ref(), index)).collect();
    Ok(Cell::Structs((0..items.len()).map(fields).collect::<Result<_>>()?))
}

/// Takes cells apart; anything unexpected is damage.
struct Cells(std::vec::IntoIter<Cell>);

impl Cells {
    fn structs(&mut self) -> Result<Vec<Vec<Option<Value>>>> {
        match self.0.next() {
            Some(Cell::Structs(structs)) => Ok(structs),
            _ => Err(damaged()),
        }
    }

    fn optional(&mut self) -> Result<Option<Value>> {
        match self.0.next() {
            Some(Cell::One(value)) => Ok(value),
            _ => Err(damaged()),
        }
    }

    fn integer(&mut self) -> Result<i64> {
        integer_in(self.optional()?)
    }

    fn float(&mut self) -> Result<f64> {
        self.optional()?.ok_or_else(damaged).and_then(float_in)
    }

    fn decimal(&mut self) -> Result<i128> {
        match self.optional()? {
            Some(Value::Decimal(value)) => Ok(value),
            _ => Err(damaged()),
        }
    }

    fn bytes(&mut self) -> Result<Arc<[u8]>> {
        match self.optional()? {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(damaged()),
        }
    }

    fn list(&mut self) -> Result<Vec<Value>> {
        match self.optional()? {
            Some(Value::List(values)) => values.iter().map(|value| value.clone().ok_or_else(damaged)).collect(),
            _ => Err(damaged()),
        }
    }
}

fn integer_in(value: Option<Value>) -> Result<i64> {
    match value {
        Some(Value::Int(value)) => Ok(value),
        _ => Err(damaged()),
    }
}

fn float_in(value: Value) -> Result<f64> {
    match value {
        Value::Float(value) => Ok(value),
        _ => Err(damaged()),
    }
}

fn state_of(spec: &PartialSpec, cells: Vec<Cell>) -> Result<State> {
    let mut cells = Cells(cells.into_iter());
    Ok(match spec.kind {
        StateKind::Count => State::Count(cells.integer()?),
        StateKind::IntegerSum => {
            let (count, low) = (cells.integer()?, cells.decimal()?);
            let is_decimal = matches!(spec.input_type(), DataType::Decimal128(_, _));
            let overflows = if is_decimal { cells.integer()? } else { 0 };
            State::Integer(IntegerSum { count, overflows, low })
        }
        StateKind::FloatSum => {
            let count = cells.integer()?;
            let components = cells.list()?.into_iter().map(float_in).collect::<Result<Vec<_>>>()?;
            State::Float(FloatSum::from_parts(count, cells.integer()?, components))
        }
        StateKind::Extreme { .. } => State::Extreme(cells.optional()?),
        StateKind::Moments { shape } => {
            let (count, mean, m2) = (cells.integer()?, cells.float()?, cells.float()?);
            let (m3, m4) = if shape { (cells.float()?, cells.float()?) } else { (0.0, 0.0) };
            State::Moments(Moments { count, mean, m2, m3, m4 })
        }
        StateKind::Ordered(_) => {
            let entries = cells.structs()?.into_iter().map(entry_of).collect::<Result<_>>()?;
            State::Ordered(entries)
        }
        StateKind::Set => State::Set(cells.list()?.into_iter().collect()),
        StateKind::Counts => State::Counts(cells.structs()?.into_iter().map(count_of).collect::<Result<_>>()?),
        StateKind::Sketch { precision } => State::Sketch(Sketch::from_bytes(&cells.bytes()?, precision)?),
        StateKind::Quantile => State::Quantile(quantile_of(&cells.bytes()?)?),
        StateKind::ArgExtreme { .. } => State::Arg(arg_entry_of(&mut cells)?),
        StateKind::Ewma { .. } => {
            State::Ewma(Ewma { reference_us: cells.integer()?, mean: cells.float()?, weight: cells.float()? })
        }
        StateKind::Histogram { .. } => {
            let counts = cells.list()?.into_iter().map(|count| integer_in(Some(count)));
            State::Histogram(counts.collect::<Result<_>>()?)
        }
    })
}

fn entry_of(fields: Vec<Option<Value>>) -> Result<Entry> {
    let [ts, arrival, value] = <[_; 3]>::try_from(fields).map_err(|_| damaged())?;
    let order = Order { ts_us: integer_in(ts)?, arrival: integer_in(arrival)? };
    Ok(Entry { order, value: value.ok_or_else(damaged)? })
}

fn count_of(fields: Vec<Option<Value>>) -> Result<(Value, i64)> {
    let [value, count] = <[_; 2]>::try_from(fields).map_err(|_| damaged())?;
    Ok((value.ok_or_else(damaged)?, integer_in(count)?))
}

fn quantile_of(bytes: &[u8]) -> Result<Quantile> {
    let mut reader = Reader::new(bytes);
    let quantile = Quantile::decode(&mut reader)?;
    if reader.is_empty() { Ok(quantile) } else { Err(damaged()) }
}

fn arg_entry_of(cells: &mut Cells) -> Result<Option<Box<ArgEntry>>> {
    let Some(by) = cells.optional()? else { return Ok(None) };
    let order = Order { ts_us: cells.integer()?, arrival: cells.integer()? };
    let value = cells.optional()?.ok_or_else(damaged)?;
    Ok(Some(Box::new(ArgEntry { by, order, value })))
}
