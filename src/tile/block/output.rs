//! Arrays of answers under construction.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Float64Array, Int64Array, ListArray, UInt32Array, new_empty_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field};

use super::index;
use super::ranges::Edges;
use crate::error::{Error, Kind, Result};

/// A row each, all NULL at first.
#[derive(Debug)]
pub(super) struct Slots<T> {
    values: Vec<T>,
    is_set: Vec<bool>,
}

impl<T: Copy + Default> Slots<T> {
    pub fn new(rows: usize) -> Slots<T> {
        Slots { values: vec![T::default(); rows], is_set: vec![false; rows] }
    }

    pub fn set(&mut self, row: usize, value: T) {
        self.values[row] = value;
        self.is_set[row] = true;
    }

    /// NULL where there is no value.
    pub fn set_all(&mut self, rows: Range<usize>, value: Option<T>) {
        if let Some(value) = value {
            self.values[rows.clone()].fill(value);
            self.is_set[rows].fill(true);
        }
    }

    fn into_parts(self) -> (Vec<T>, Option<NullBuffer>) {
        let nulls = self.is_set.contains(&false).then(|| NullBuffer::from(self.is_set));
        (self.values, nulls)
    }
}

impl Slots<f64> {
    pub fn into_floats(self) -> ArrayRef {
        let (values, nulls) = self.into_parts();
        Arc::new(Float64Array::new(values.into(), nulls))
    }
}

impl Slots<i64> {
    pub fn into_integers(self) -> ArrayRef {
        let (values, nulls) = self.into_parts();
        Arc::new(Int64Array::new(values.into(), nulls))
    }
}

impl Slots<i128> {
    pub fn into_decimals(self, scale: i8) -> Result<ArrayRef> {
        let (values, nulls) = self.into_parts();
        let decimals = Decimal128Array::new(values.into(), nulls).with_precision_and_scale(38, scale);
        Ok(Arc::new(decimals.map_err(|error| Error::internal("a sum has no type").with_source(error))?))
    }
}

impl Slots<u32> {
    /// The rows of `array` that the slots name.
    pub fn take_from(self, array: &ArrayRef) -> Result<ArrayRef> {
        let (values, nulls) = self.into_parts();
        take_rows(array, &UInt32Array::new(values.into(), nulls))
    }
}

/// A list each, appended from the first row to the last.
#[derive(Debug)]
pub(super) struct Lists<T> {
    items: Vec<T>,
    ends: Vec<i32>,
}

impl<T> Lists<T> {
    pub fn new(rows: usize) -> Lists<T> {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Lists { items: Vec::new(), ends }
    }

    /// The next row's list.
    pub fn push(&mut self, items: impl IntoIterator<Item = T>) -> Result<()> {
        self.items.extend(items);
        let too_many =
            || Error::new(Kind::ConfigurationLimitExceeded, "the arrays of a block have more than 2^31 items");
        self.ends.push(i32::try_from(self.items.len()).map_err(|_| too_many())?);
        Ok(())
    }

    /// Lists of what `build` makes of all items.
    pub fn finish(self, build: impl FnOnce(Vec<T>) -> Result<ArrayRef>, valid: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(self.ends.into());
        list_of(build(self.items)?, offsets, valid)
    }
}

/// Lists, of the type `data_type`, of one value from each of `values`; NULL before the feature start.
pub(super) fn series(values: &[ArrayRef], data_type: &DataType, edges: &Edges<'_>) -> Result<ArrayRef> {
    let (rows, valid) = (edges.asked.len(), edges.after_start.clone());
    let arrays: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let all = match (arrays.as_slice(), data_type) {
        ([], DataType::List(item)) => new_empty_array(item.data_type()),
        _ => concat(&arrays).map_err(|error| Error::internal("a series could not be joined").with_source(error))?,
    };
    let mut lists = Lists::new(rows);
    for row in 0..rows {
        let is_valid = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
        let members = if is_valid { 0..values.len() } else { 0..0 };
        lists.push(members.map(|window| index(window * rows + row)))?;
    }
    lists.finish(|order| take_rows(&all, &UInt32Array::from(order)), valid)
}

pub(super) fn list_of(items: ArrayRef, offsets: OffsetBuffer<i32>, valid: Option<NullBuffer>) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let list = ListArray::try_new(field, offsets, items, valid)
        .map_err(|error| Error::internal("a list could not be built").with_source(error))?;
    Ok(Arc::new(list))
}

pub(super) fn take_rows(array: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef> {
    take(array.as_ref(), rows, None).map_err(|error| Error::internal("rows could not be taken").with_source(error))
}

/// Types that say the same, such as a list whose item has another name.
pub(super) fn as_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type {
        return Ok(array);
    }
    arrow::compute::cast(array.as_ref(), data_type)
        .map_err(|error| Error::internal("a feature has another type than declared").with_source(error))
}
