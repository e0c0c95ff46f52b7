//! approx_percentile over ranges whose ends ascend. A tree of counts over the sorted values of a run takes in what comes
//! into the range, gives up what leaves it, and finds the value of any rank. How coarse [`Quantile`] would be for the
//! values in the range is known from how many groups of them there are on each level of coarseness. Only where stored
//! states have forgotten single values, they are merged from two halves.

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
use crate::tile::quantile::{Coarse, MAX_BUCKETS, Place, Quantile, float_of, ordinal, position_of};
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
    /// which of `octaves` each of them is in
    octave_of: Vec<u32>,
    octaves: Vec<Octave>,
    /// what the items have: the place of a value, and how often
    entries: Vec<(u32, i64)>,
    /// where the entries of each item begin, and one more
    starts: Vec<u32>,
}

/// The values of a run that are in one octave.
#[derive(Debug)]
struct Octave {
    /// the place of its least value
    first: usize,
    /// by level of coarseness, by value: the number of the group that it falls into. Without the finest level, where
    /// each value stands alone; none at all where the whole octave is fine enough
    levels: Vec<Vec<u32>>,
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
        let mut octave_of = Vec::with_capacity(ordinals.len());
        let mut octaves = Vec::new();
        let mut first = 0;
        for members in ordinals.chunk_by(|a, b| position_of(*a) == position_of(*b)) {
            octave_of.extend(std::iter::repeat_n(index(octaves.len()), members.len()));
            octaves.push(Octave { first, levels: levels_of(members) });
            first += members.len();
        }
        let place_of = |value: i64| index(ordinals.partition_point(|ordinal| *ordinal < value));
        let entries = values.into_iter().map(|(value, count)| (place_of(value), count)).collect();
        Some(Sorted { ordinals, octave_of, octaves, entries, starts })
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
            answer(rows.clone(), &|p| counted.percentile(p));
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

/// The levels of coarseness of an octave, up to the first that is always fine enough.
fn levels_of(members: &[i64]) -> Vec<Vec<u32>> {
    let mut levels: Vec<Vec<u32>> = Vec::new();
    let mut n_groups = members.len();
    let mut dropped_bits = 0;
    while n_groups > MAX_BUCKETS {
        dropped_bits += 1;
        let mut groups = Vec::with_capacity(members.len());
        for same in members.chunk_by(|a, b| a >> dropped_bits == b >> dropped_bits) {
            let number = groups.last().map_or(0, |last| last + 1);
            groups.extend(std::iter::repeat_n(number, same.len()));
        }
        let n_coarser = groups.last().map_or(0, |last| *last as usize + 1);
        // bits that tell no values apart make no level of their own
        if n_coarser < n_groups {
            n_groups = n_coarser;
            levels.push(groups);
        }
    }
    levels
}

/// The values of one range.
struct Counted<'a> {
    sorted: &'a Sorted,
    /// by the place of a value
    counts: Vec<i64>,
    /// sums of counts: a Fenwick tree
    tree: Vec<i64>,
    total: i64,
    octaves: Vec<CountedOctave>,
}

/// Which groups of an octave are in the range.
struct CountedOctave {
    /// by level, the finest too: how many groups
    n_groups: Vec<usize>,
    /// by level, without the finest, by group: how many groups of the next finer level
    members: Vec<Vec<u32>>,
}

impl<'a> Counted<'a> {
    fn new(sorted: &'a Sorted) -> Counted<'a> {
        let n_groups = |groups: &Vec<u32>| groups.last().map_or(0, |last| *last as usize + 1);
        let octave = |octave: &Octave| CountedOctave {
            n_groups: vec![0; octave.levels.len() + 1],
            members: octave.levels.iter().map(|groups| vec![0; n_groups(groups)]).collect(),
        };
        Counted {
            sorted,
            counts: vec![0; sorted.ordinals.len()],
            tree: vec![0; sorted.ordinals.len() + 1],
            total: 0,
            octaves: sorted.octaves.iter().map(octave).collect(),
        }
    }

    fn change(&mut self, place: u32, by: i64) {
        let place = place as usize;
        let was_there = self.counts[place] > 0;
        self.counts[place] += by;
        self.total += by;
        let is_there = self.counts[place] > 0;
        if was_there != is_there {
            self.change_groups(place, is_there);
        }
        let mut node = place + 1;
        while node < self.tree.len() {
            self.tree[node] += by;
            node += node & node.wrapping_neg();
        }
    }

    /// A value has come, or is gone; and with it maybe its group on coarser and coarser levels.
    fn change_groups(&mut self, place: usize, is_there: bool) {
        let number = self.sorted.octave_of[place] as usize;
        let Octave { first, levels } = &self.sorted.octaves[number];
        let CountedOctave { n_groups, members } = &mut self.octaves[number];
        let step = |count: usize| if is_there { count + 1 } else { count - 1 };
        n_groups[0] = step(n_groups[0]);
        for ((groups, members), n_groups) in levels.iter().zip(members).zip(&mut n_groups[1..]) {
            let members = &mut members[groups[place - first] as usize];
            if is_there {
                *members += 1;
            } else {
                *members -= 1;
            }
            let was_or_is_alone = *members == u32::from(is_there);
            if !was_or_is_alone {
                return;
            }
            *n_groups = step(*n_groups);
        }
    }

    fn percentile(&self, p: f64) -> Option<f64> {
        let place = Place::of(p, self.total)?;
        Some(place.between(|rank| self.value_at(rank)))
    }

    /// The value of a rank, from 0 on, in ascending order.
    fn value_at(&self, rank: i64) -> f64 {
        let place = self.place_at(rank);
        let number = self.sorted.octave_of[place] as usize;
        let Octave { first, levels } = &self.sorted.octaves[number];
        let is_fine_enough = |n_groups: &usize| *n_groups <= MAX_BUCKETS;
        let level = self.octaves[number].n_groups.iter().position(is_fine_enough).unwrap_or(levels.len());
        let Some(groups) = level.checked_sub(1).map(|level| &levels[level]) else {
            return float_of(self.sorted.ordinals[place]);
        };
        let group = groups[place - first];
        let start = first + groups.partition_point(|other| *other < group);
        let end = first + groups.partition_point(|other| *other <= group);
        let (before, after) = (self.rank_of(start), self.rank_of(end));
        let (least, greatest) = (self.place_at(before), self.place_at(after - 1));
        let bucket = Coarse {
            count: after - before,
            least: self.sorted.ordinals[least],
            least_count: self.counts[least],
            greatest: self.sorted.ordinals[greatest],
            greatest_count: self.counts[greatest],
        };
        bucket.value_at(rank - before)
    }

    fn place_at(&self, rank: i64) -> usize {
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
        node
    }

    /// How many values there are before a place.
    fn rank_of(&self, place: usize) -> i64 {
        let mut rank = 0;
        let mut node = place;
        while node > 0 {
            rank += self.tree[node];
            node &= node - 1;
        }
        rank
    }
}
