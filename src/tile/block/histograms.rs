//! Histograms over ranges whose ends ascend: what comes in is added to its bucket, what leaves is taken out again.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::ItemForm;
use super::flat::Flat;
use super::merged::Numbers;
use super::output::Lists;
use super::ranges::Ranges;
use crate::error::Result;
use crate::tile::codec::damaged;
use crate::tile::histogram::bucket_of;
use crate::tile::spec::PartialSpec;

/// Equally wide buckets between two bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub low: f64,
    pub high: f64,
    pub count: u32,
}

#[derive(Debug)]
pub(super) struct Histograms {
    buckets: usize,
    items: Items,
}

#[derive(Debug)]
enum Items {
    /// the bucket of each row that is not NULL
    Rows(Vec<Option<u32>>),
    /// no counts, or those of all buckets
    Tiles { flat: Flat, counts: Vec<i64> },
}

impl Histograms {
    pub fn new(spec: &PartialSpec, form: ItemForm, column: &ArrayRef, buckets: Buckets) -> Result<Histograms> {
        let Buckets { low, high, count } = buckets;
        let n_buckets = count as usize + 2;
        let items = match form {
            ItemForm::Rows => {
                let bucket = |value: f64| super::index(bucket_of(value, low, high, count));
                Items::Rows(Numbers::of(spec, column)?.iter().map(|value| value.map(bucket)).collect())
            }
            ItemForm::Tiles => {
                let flat = Flat::of_lists(column)?;
                let fits = |tile: usize| [0, n_buckets].contains(&flat.of(tile..tile + 1).len());
                if !(0..column.len()).all(fits) {
                    return Err(damaged());
                }
                let counts = flat.values.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.values().to_vec();
                Items::Tiles { flat, counts }
            }
        };
        Ok(Histograms { buckets: n_buckets, items })
    }

    pub fn values(&self, ranges: &Ranges<'_>) -> Result<ArrayRef> {
        let mut lists = Lists::new(ranges.len());
        let mut counts = vec![0_i64; self.buckets];
        // items that are not empty: without any there is no histogram
        let mut members = 0;
        for run in ranges.runs {
            let (mut low, mut high) = (run.items.start, run.items.start);
            for row in run.asked.clone() {
                let range = ranges.at(row);
                if range.is_empty() {
                    lists.push([])?;
                    continue;
                }
                (low..high.min(range.start)).for_each(|left| self.change(&mut counts, &mut members, left, -1));
                low = range.start;
                (high.max(low)..range.end).for_each(|entered| self.change(&mut counts, &mut members, entered, 1));
                high = range.end;
                let shown = if members > 0 { counts.as_slice() } else { &[] };
                lists.push(shown.iter().copied())?;
            }
            (low..high).for_each(|left| self.change(&mut counts, &mut members, left, -1));
        }
        lists.finish(|counts| Ok(Arc::new(Int64Array::from(counts))), ranges.after_start.clone())
    }

    fn change(&self, counts: &mut [i64], members: &mut i64, item: usize, sign: i64) {
        match &self.items {
            Items::Rows(buckets) => {
                if let Some(bucket) = buckets[item] {
                    counts[bucket as usize] += sign;
                    *members += sign;
                }
            }
            Items::Tiles { flat, counts: of_tiles } => {
                let of_tile = &of_tiles[flat.of(item..item + 1)];
                for (count, more) in counts.iter_mut().zip(of_tile) {
                    *count = count.wrapping_add(more.wrapping_mul(sign));
                }
                *members += if of_tile.is_empty() { 0 } else { sign };
            }
        }
    }
}
