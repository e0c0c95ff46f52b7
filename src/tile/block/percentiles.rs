//! approx_percentile over ranges whose ends ascend. As long as every value is known exactly, a tree of counts over the
//! sorted values of a run takes in what comes into the range and gives up what leaves it, and finds the value of any
//! rank; states that have forgotten single values are merged from two halves.

use std::ops::Range;

use arrow::array::ArrayRef;

use super::merged::{Numbers, first, unknown};
use super::output::Slots;
use super::ranges::{Ranges, SeenWindow};
use super::{ItemForm, Run, index, pivot};
use crate::error::Result;
use crate::tile::AggregateFunction;
use crate::tile::arrow_state::states_from_arrays;
use crate::tile::codec::damaged;
use crate::tile::partial::{Partial, State};
use crate::tile::pyramid::Folding;
use crate::tile::quantile::{MAX_BUCKETS, Place, Quantile, float_of, ordinal, position_of};
use crate::tile::spec::PartialSpec;

#[derive(Debug)]
pub(super) struct Percentiles {
    items: Items,
    /// by run; `None` where a state has forgotten single values
    sorted: Vec<Option<Sorted>>,
}

#[derive(Debug)]
enum Items {
    Rows(Numbers),
    Tiles(Vec<Quantile>),
}

/// The values of one run's items.
#[derive(Debug)]
struct Sorted {
    /// the distinct values, ascending, as ordinals
    ordinals: Vec<i64>,
    /// which of the run's octaves each of them is in
    octaves: Vec<u32>,
    /// what the items have: the place of a value, and how often
    entries: Vec<(u32, i64)>,
    /// where the entries of each item begin, and one more
    starts: Vec<u32>,
}

impl Percentiles {
    pub fn new(spec: &PartialSpec, form: ItemForm, columns: &[ArrayRef], runs: &[Run]) -> Result<Percentiles> {
        let quantile = |partial: Partial| match partial.0 {
            State::Quantile(quantile) => Ok(quantile),
            _ => Err(damaged()),
        };
        let items = match form {
            ItemForm::Rows => Items::Rows(Numbers::of(spec, first(columns)?)?),
            ItemForm::Tiles => {
                Items::Tiles(states_from_arrays(spec, columns)?.into_iter().map(quantile).collect::<Result<_>>()?)
            }
        };
        let sorted = runs.iter().map(|run| Sorted::new(&items, run.items.clone())).collect();
        Ok(Percentiles { items, sorted })
    }

    pub fn values(&self, functions: &[&AggregateFunction], ranges: &Ranges<'_>) -> Result<Vec<ArrayRef>> {
        let fraction = |function: &&AggregateFunction| match function {
            AggregateFunction::ApproxPercentile { p, .. } => Ok(*p),
            _ => Err(unknown(function)),
        };
        let fractions = functions.iter().map(fraction).collect::<Result<Vec<f64>>>()?;
        let mut outputs: Vec<Slots<f64>> = functions.iter().map(|_| Slots::new(ranges.len())).collect();
        for (run, sorted) in ranges.runs.iter().zip(&self.sorted) {
            let mut answer = |rows: Range<usize>, value: &dyn Fn(f64) -> Option<f64>| {
                fractions.iter().zip(&mut outputs).for_each(|(p, output)| output.set_all(rows.clone(), value(*p)));
            };
            let windows = ranges.windows(run);
            match sorted {
                Some(sorted) => sorted.answer(run.items.start, &windows, &mut answer),
                None => pivot::fold(&self.items, &windows, |rows, quantile| {
                    answer(rows, &|p| quantile.percentile(p));
                    Ok(())
                })?,
            }
        }
        Ok(outputs.into_iter().map(Slots::into_floats).collect())
    }
}

impl Folding for Items {
    type State = Quantile;

    fn empty(&self) -> Quantile {
        Quantile::default()
    }

    fn add(&self, state: &mut Quantile, item: usize) -> Result<()> {
        match self {
            Items::Rows(numbers) => numbers.at(item).into_iter().for_each(|value| state.update(value)),
            Items::Tiles(tiles) => state.merge(&tiles[item]),
        }
        Ok(())
    }

    fn merge(&self, state: &mut Quantile, other: &Quantile) -> Result<()> {
        state.merge(other);
        Ok(())
    }
}

impl Sorted {
    fn new(items: &Items, run: Range<usize>) -> Option<Sorted> {
        // ordinals first, their places once all are known
        let mut values: Vec<(i64, i64)> = Vec::with_capacity(run.len());
        let mut starts = Vec::with_capacity(run.len() + 1);
        starts.push(0);
        for item in run {
            match items {
                Items::Rows(numbers) => {
                    let finite = numbers.at(item).filter(|value| value.is_finite());
                    values.extend(finite.map(|value| (ordinal(value), 1)));
                }
                Items::Tiles(tiles) => values.extend(tiles[item].exact_counts()?),
            }
            starts.push(index(values.len()));
        }
        let mut ordinals: Vec<i64> = values.iter().map(|(ordinal, _)| *ordinal).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        let mut octaves = Vec::with_capacity(ordinals.len());
        for (place, value) in ordinals.iter().enumerate() {
            let is_next = place > 0 && position_of(ordinals[place - 1]) != position_of(*value);
            octaves.push(octaves.last().map_or(0, |octave| octave + u32::from(is_next)));
        }
        let place_of = |value: i64| index(ordinals.partition_point(|ordinal| *ordinal < value));
        let entries = values.into_iter().map(|(value, count)| (place_of(value), count)).collect();
        Some(Sorted { ordinals, octaves, entries, starts })
    }

    /// `first_item`: where the run begins in the block.
    fn answer(
        &self,
        first_item: usize,
        windows: &[SeenWindow],
        answer: &mut impl FnMut(Range<usize>, &dyn Fn(f64) -> Option<f64>),
    ) {
        let mut counted = Counted::new(self);
        let (mut low, mut high) = (0, 0);
        for SeenWindow { rows, items } in windows {
            let (start, end) = (items.start - first_item, items.end - first_item);
            self.entries_of(low..high.min(start)).for_each(|(place, count)| counted.change(*place, -count));
            low = start;
            self.entries_of(high.max(low)..end).for_each(|(place, count)| counted.change(*place, *count));
            high = end;
            if counted.n_coarse == 0 {
                answer(rows.clone(), &|p| counted.percentile(p));
            } else {
                let quantile = counted.quantile();
                answer(rows.clone(), &|p| quantile.percentile(p));
            }
        }
    }

    /// Of items by their place in the run; none of a range that ends before it starts.
    fn entries_of(&self, items: Range<usize>) -> impl Iterator<Item = &(u32, i64)> {
        let entries = if items.start < items.end {
            self.starts[items.start] as usize..self.starts[items.end] as usize
        } else {
            0..0
        };
        self.entries[entries].iter()
    }
}

/// The values of one range.
struct Counted<'a> {
    sorted: &'a Sorted,
    /// by the place of a value
    counts: Vec<i64>,
    /// sums of counts: a Fenwick tree
    tree: Vec<i64>,
    total: i64,
    /// by octave, how many distinct values there are, and how many octaves have more than are kept apart
    distinct: Vec<usize>,
    n_coarse: usize,
}

impl<'a> Counted<'a> {
    fn new(sorted: &'a Sorted) -> Counted<'a> {
        let n_values = sorted.ordinals.len();
        let n_octaves = sorted.octaves.last().map_or(0, |last| *last as usize + 1);
        Counted {
            sorted,
            counts: vec![0; n_values],
            tree: vec![0; n_values + 1],
            total: 0,
            distinct: vec![0; n_octaves],
            n_coarse: 0,
        }
    }

    fn change(&mut self, place: u32, by: i64) {
        let place = place as usize;
        let before = self.counts[place];
        self.counts[place] += by;
        self.total += by;
        let distinct = &mut self.distinct[self.sorted.octaves[place] as usize];
        if before == 0 {
            *distinct += 1;
            self.n_coarse += usize::from(*distinct == MAX_BUCKETS + 1);
        } else if self.counts[place] == 0 {
            self.n_coarse -= usize::from(*distinct == MAX_BUCKETS + 1);
            *distinct -= 1;
        }
        let mut node = place + 1;
        while node < self.tree.len() {
            self.tree[node] += by;
            node += node & node.wrapping_neg();
        }
    }

    fn percentile(&self, p: f64) -> Option<f64> {
        let place = Place::of(p, self.total)?;
        Some(place.between(|rank| self.value_at(rank)))
    }

    /// The value of a rank, from 0 on, in ascending order.
    fn value_at(&self, rank: i64) -> f64 {
        let mut rest = rank;
        let mut node = 0;
        let mut step = self.tree.len().next_power_of_two() / 2;
        while step > 0 {
            let next = node + step;
            if next < self.tree.len() && self.tree[next] <= rest {
                rest -= self.tree[next];
                node = next;
            }
            step /= 2;
        }
        float_of(self.sorted.ordinals[node])
    }

    fn quantile(&self) -> Quantile {
        let counts = self.sorted.ordinals.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        Quantile::of_counts(counts.map(|(ordinal, count)| (*ordinal, *count)))
    }
}
