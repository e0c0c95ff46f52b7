//! The values of items behind each other: one of each row, any number of each tile.

use std::ops::Range;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::OffsetBuffer;

use crate::error::{Error, Result};
use crate::tile::codec::damaged;

#[derive(Debug)]
pub(super) struct Flat {
    pub values: ArrayRef,
    /// where the values of each tile begin, and one more; rows have one each
    offsets: Option<OffsetBuffer<i32>>,
}

impl Flat {
    pub fn of_rows(values: &ArrayRef) -> Flat {
        Flat { values: ArrayRef::clone(values), offsets: None }
    }

    /// A list of each tile.
    pub fn of_lists(lists: &ArrayRef) -> Result<Flat> {
        let lists = lists.as_list_opt::<i32>().ok_or_else(damaged)?;
        if lists.null_count() > 0 || lists.values().null_count() > 0 {
            return Err(damaged());
        }
        Ok(Flat { values: ArrayRef::clone(lists.values()), offsets: Some(lists.offsets().clone()) })
    }

    /// Of lists of structs, the field with the number `field`.
    pub fn of_fields(lists: &ArrayRef, field: usize) -> Result<Flat> {
        let Flat { values, offsets } = Flat::of_lists(lists)?;
        let structs = values.as_struct_opt().ok_or_else(damaged)?;
        let column = structs.columns().get(field).ok_or_else(|| Error::internal("a state lacks a field"))?;
        if column.null_count() > 0 {
            return Err(damaged());
        }
        Ok(Flat { values: ArrayRef::clone(column), offsets })
    }

    /// The values of a range of items.
    pub fn of(&self, items: Range<usize>) -> Range<usize> {
        match &self.offsets {
            None => items,
            Some(offsets) => offsets[items.start] as usize..offsets[items.end] as usize,
        }
    }
}
