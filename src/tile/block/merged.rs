//! States that come from merging alone: those whose merging rounds (the moments, ewma) in the one order of
//! [`crate::tile::pyramid`], sketches from two halves of each window.

use std::rc::Rc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

use super::ItemForm;
use super::codes::{Codes, NO_CODE};
use super::kernel::KernelInput;
use super::output::Slots;
use super::pivot;
use super::ranges::{Ranges, SeenWindow};
use crate::error::{Error, Result};
use crate::row::{Value, array_of, values_of};
use crate::tile::arrow_state::states_from_arrays;
use crate::tile::codec::damaged;
use crate::tile::ewma::Ewma;
use crate::tile::moments::Moments;
use crate::tile::ordered::Order;
use crate::tile::partial::{Partial, moment};
use crate::tile::pyramid::{Folding, Pyramid, Spans};
use crate::tile::spec::PartialSpec;
use crate::tile::{AggregateFunction, output_type};

/// A column of numbers as floats.
#[derive(Debug)]
pub(super) struct Numbers {
    values: Vec<f64>,
    nulls: Option<NullBuffer>,
}

impl Numbers {
    /// Of rows.
    pub fn of(spec: &PartialSpec, column: &ArrayRef) -> Result<Numbers> {
        fn as_floats<T: ArrowPrimitiveType>(column: &ArrayRef, as_float: impl Fn(T::Native) -> f64) -> Vec<f64> {
            column.as_primitive::<T>().values().iter().map(|value| as_float(*value)).collect()
        }
        let values = match column.data_type() {
            DataType::Int16 => as_floats::<Int16Type>(column, f64::from),
            DataType::Int32 => as_floats::<Int32Type>(column, f64::from),
            DataType::Int64 => as_floats::<Int64Type>(column, |value| value as f64),
            DataType::Float32 => as_floats::<Float32Type>(column, f64::from),
            DataType::Float64 => as_floats::<Float64Type>(column, |value| value),
            DataType::Decimal128(_, _) => {
                let divisor = spec.decimal_divisor();
                as_floats::<Decimal128Type>(column, |value| value as f64 / divisor)
            }
            other => return Err(Error::internal(format!("{other} is no type of numbers"))),
        };
        Ok(Numbers { values, nulls: column.logical_nulls() })
    }

    pub fn at(&self, row: usize) -> Option<f64> {
        let is_null = self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        (!is_null).then(|| self.values[row])
    }

    pub fn iter(&self) -> impl Iterator<Item = Option<f64>> {
        (0..self.values.len()).map(|row| self.at(row))
    }
}

/// A state's column of tiles, whose cells are never NULL.
fn cells<T: ArrowPrimitiveType>(columns: &[ArrayRef], index: usize) -> Result<&[T::Native]> {
    let column = columns.get(index).and_then(|column| column.as_primitive_opt::<T>()).ok_or_else(damaged)?;
    if column.null_count() > 0 { Err(damaged()) } else { Ok(column.values()) }
}

/// States by the spans of time that all windows share.
#[derive(Debug)]
pub(super) struct Rounded<F: Folding> {
    spans: Rc<Spans>,
    pyramid: Pyramid<F>,
}

impl<F: Folding> Rounded<F> {
    pub fn new(spans: &Rc<Spans>, folding: F) -> Rounded<F> {
        Rounded { spans: Rc::clone(spans), pyramid: Pyramid::new(spans, folding) }
    }

    /// The functions' values; `value` gives them of a state.
    pub fn values(
        &mut self,
        functions: &[&AggregateFunction],
        ranges: &Ranges<'_>,
        value: impl Fn(&F::State, &AggregateFunction) -> Result<Option<f64>>,
    ) -> Result<Vec<ArrayRef>> {
        let mut outputs: Vec<Slots<f64>> = functions.iter().map(|_| Slots::new(ranges.len())).collect();
        let mut parts = Vec::new();
        for (number, run) in ranges.runs.iter().enumerate() {
            for SeenWindow { rows, items } in ranges.windows(run) {
                // the same items are merged in another order where the window ends at another time
                let mut rest = rows;
                while let Some(row) = rest.next() {
                    let same = rest.clone().take_while(|next| ranges.edges_us[*next] == ranges.edges_us[row]).count();
                    let rows = row..row + 1 + same;
                    rest = rows.end..rest.end;
                    self.spans.parts(number, &ranges.bounds(row), &items, &mut parts);
                    let state = self.pyramid.state(&self.spans, &parts)?;
                    for (function, output) in functions.iter().zip(&mut outputs) {
                        output.set_all(rows.clone(), value(&state, function)?);
                    }
                }
            }
        }
        Ok(outputs.into_iter().map(Slots::into_floats).collect())
    }
}

/// The moments of items.
#[derive(Debug)]
pub(super) struct MomentItems {
    shape: bool,
    items: RowsOr<Moments>,
}

/// Numbers of rows, or states of tiles.
#[derive(Debug)]
enum RowsOr<T> {
    Rows(Numbers),
    Tiles(Vec<T>),
}

impl MomentItems {
    pub fn new(spec: &PartialSpec, form: ItemForm, columns: &[ArrayRef], shape: bool) -> Result<MomentItems> {
        if form == ItemForm::Rows {
            return Ok(MomentItems { shape, items: RowsOr::Rows(Numbers::of(spec, first(columns)?)?) });
        }
        let counts = cells::<Int64Type>(columns, 0)?;
        let mut tiles: Vec<Moments> =
            counts.iter().map(|count| Moments { count: *count, ..Moments::default() }).collect();
        if counts.iter().any(|count| *count < 0) {
            return Err(damaged());
        }
        let mut fill = |column: usize, field: fn(&mut Moments) -> &mut f64| -> Result<()> {
            let cells = cells::<Float64Type>(columns, column)?;
            tiles.iter_mut().zip(cells).for_each(|(moments, cell)| *field(moments) = *cell);
            Ok(())
        };
        fill(1, |moments| &mut moments.mean)?;
        fill(2, |moments| &mut moments.m2)?;
        if shape {
            fill(3, |moments| &mut moments.m3)?;
            fill(4, |moments| &mut moments.m4)?;
        }
        Ok(MomentItems { shape, items: RowsOr::Tiles(tiles) })
    }

    pub fn value(moments: &Moments, function: &AggregateFunction) -> Result<Option<f64>> {
        moment(moments, function).ok_or_else(|| unknown(function))
    }
}

impl Folding for MomentItems {
    type State = Moments;

    fn empty(&self) -> Moments {
        Moments::default()
    }

    fn add(&self, state: &mut Moments, item: usize) -> Result<()> {
        match &self.items {
            RowsOr::Rows(numbers) => {
                if let Some(value) = numbers.at(item) {
                    state.merge(&Moments::of(value), self.shape);
                }
            }
            RowsOr::Tiles(tiles) => state.merge(&tiles[item], self.shape),
        }
        Ok(())
    }

    fn merge(&self, state: &mut Moments, other: &Moments) -> Result<()> {
        state.merge(other, self.shape);
        Ok(())
    }
}

/// The weighted means of items.
#[derive(Debug)]
pub(super) struct EwmaItems {
    half_life_us: i64,
    /// of rows
    times: Vec<i64>,
    items: RowsOr<Ewma>,
}

impl EwmaItems {
    pub fn new(
        spec: &PartialSpec,
        input: &KernelInput<'_>,
        columns: &[ArrayRef],
        half_life_us: i64,
    ) -> Result<EwmaItems> {
        if input.form == ItemForm::Rows {
            let items = RowsOr::Rows(Numbers::of(spec, first(columns)?)?);
            return Ok(EwmaItems { half_life_us, times: input.times.to_vec(), items });
        }
        let times = cells::<TimestampMicrosecondType>(columns, 0)?;
        let means = cells::<Float64Type>(columns, 1)?;
        let weights = cells::<Float64Type>(columns, 2)?;
        let tile = |((reference_us, mean), weight): ((&i64, &f64), &f64)| {
            let ewma = Ewma { reference_us: *reference_us, mean: *mean, weight: *weight };
            if ewma.is_sound() { Ok(ewma) } else { Err(damaged()) }
        };
        let tiles = times.iter().zip(means).zip(weights).map(tile).collect::<Result<_>>()?;
        Ok(EwmaItems { half_life_us, times: Vec::new(), items: RowsOr::Tiles(tiles) })
    }

    pub fn value(ewma: &Ewma, function: &AggregateFunction) -> Result<Option<f64>> {
        match function {
            AggregateFunction::Ewma { .. } => Ok(ewma.value()),
            _ => Err(unknown(function)),
        }
    }
}

impl Folding for EwmaItems {
    type State = Ewma;

    fn empty(&self) -> Ewma {
        Ewma::default()
    }

    fn add(&self, state: &mut Ewma, item: usize) -> Result<()> {
        match &self.items {
            RowsOr::Rows(numbers) => {
                if let Some(value) = numbers.at(item) {
                    state.merge(&Ewma::of(value, self.times[item]), self.half_life_us);
                }
            }
            RowsOr::Tiles(tiles) => state.merge(&tiles[item], self.half_life_us),
        }
        Ok(())
    }

    fn merge(&self, state: &mut Ewma, other: &Ewma) -> Result<()> {
        state.merge(other, self.half_life_us);
        Ok(())
    }
}

/// Any states that are the same in whatever order they are merged: sketches, and sums of very long decimals.
#[derive(Debug)]
pub(super) struct AnyItems {
    spec: PartialSpec,
    items: AnyForm,
}

#[derive(Debug)]
enum AnyForm {
    Rows { codes: Vec<u32>, dictionary: Vec<Option<Value>> },
    Tiles(Vec<Partial>),
}

impl AnyItems {
    pub fn new(spec: &PartialSpec, form: ItemForm, columns: &[ArrayRef]) -> Result<AnyItems> {
        let items = match form {
            ItemForm::Rows => {
                let Codes { codes, dictionary } = Codes::of(first(columns)?)?;
                AnyForm::Rows { codes, dictionary: values_of(dictionary.as_ref())? }
            }
            ItemForm::Tiles => AnyForm::Tiles(states_from_arrays(spec, columns)?),
        };
        Ok(AnyItems { spec: spec.clone(), items })
    }

    pub fn values(&self, functions: &[&AggregateFunction], ranges: &Ranges<'_>) -> Result<Vec<ArrayRef>> {
        let empty = |function: &&AggregateFunction| -> Vec<Option<Value>> {
            let value = |row| if ranges.is_before_start(row) { None } else { crate::tile::empty_value(function) };
            (0..ranges.len()).map(value).collect()
        };
        let mut outputs: Vec<Vec<Option<Value>>> = functions.iter().map(empty).collect();
        for run in ranges.runs {
            pivot::fold(self, &ranges.windows(run), |rows, state| {
                for (function, output) in functions.iter().zip(&mut outputs) {
                    output[rows.clone()].fill(state.finish(&self.spec, function)?);
                }
                Ok(())
            })?;
        }
        let array = |(function, values): (&&AggregateFunction, Vec<Option<Value>>)| {
            array_of(&output_type(function, self.spec.input_types())?, values.iter().map(Option::as_ref))
        };
        functions.iter().zip(outputs).map(array).collect()
    }
}

impl Folding for AnyItems {
    type State = Partial;

    fn empty(&self) -> Partial {
        self.spec.empty()
    }

    fn add(&self, state: &mut Partial, item: usize) -> Result<()> {
        match &self.items {
            AnyForm::Rows { codes, dictionary } => {
                let code = codes[item];
                if code == NO_CODE {
                    return Ok(());
                }
                // these states do not look at the order
                let order = Order { ts_us: 0, arrival: 0 };
                state.update(&self.spec, &dictionary[code as usize..=code as usize], order)
            }
            AnyForm::Tiles(states) => state.merge(&self.spec, &states[item]),
        }
    }

    fn merge(&self, state: &mut Partial, other: &Partial) -> Result<()> {
        state.merge(&self.spec, other)
    }
}

pub(super) fn first(columns: &[ArrayRef]) -> Result<&ArrayRef> {
    columns.first().ok_or_else(|| Error::internal("an aggregate has no column"))
}

pub(super) fn unknown(function: &AggregateFunction) -> Error {
    Error::internal(format!("{} is no function of its state", function.name()))
}
