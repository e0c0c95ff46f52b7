//! The profile of the rows of a run, in pieces of time that merge into the profile of the run, or of a period.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::compute::{sort_to_indices, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{Datelike, NaiveDate, NaiveTime};
use serde::{Deserialize, Serialize};

use super::column::ColumnProfile;
use super::distinct::Distinct;
use super::values::{Class, Values};
use crate::error::{Error, Result};
use crate::time::floor_us;

/// So many pieces at most, and profiles of columns in them: with more, pieces get wider.
const MOST_PIECES: usize = 100;
const MOST_COLUMNS: usize = 2_000;

/// How time is divided into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Division {
    /// of this width
    Periods(i64),
    Months,
    Years,
    /// one piece
    None,
}

impl Division {
    /// The next coarser one; `None` of one piece.
    fn coarser(self) -> Option<Division> {
        match self {
            Division::Periods(_) => Some(Division::Months),
            Division::Months => Some(Division::Years),
            Division::Years => Some(Division::None),
            Division::None => None,
        }
    }

    fn start_of(self, at_us: i64) -> i64 {
        match self {
            Division::Periods(width_us) => floor_us(at_us, width_us),
            Division::Months => month_of(at_us).map_or(i64::MIN, |(year, month)| first_of(year, month)),
            Division::Years => month_of(at_us).map_or(i64::MIN, |(year, _)| first_of(year, 1)),
            Division::None => i64::MIN,
        }
    }

    /// Where the piece ends that begins there.
    fn end_of(self, start_us: i64) -> i64 {
        match (self, month_of(start_us)) {
            (Division::Periods(width_us), _) => start_us.saturating_add(width_us),
            (Division::Months, Some((year, 12))) | (Division::Years, Some((year, _))) => first_of(year + 1, 1),
            (Division::Months, Some((year, month))) => first_of(year, month + 1),
            (Division::Months | Division::Years, None) | (Division::None, _) => i64::MAX,
        }
    }
}

/// The year and month of a time; `None` of one that no calendar has.
fn month_of(at_us: i64) -> Option<(i32, u32)> {
    chrono::DateTime::from_timestamp_micros(at_us).map(|time| (time.year(), time.month()))
}

fn first_of(year: i32, month: u32) -> i64 {
    let midnight = NaiveDate::from_ymd_opt(year, month, 1).map(|date| date.and_time(NaiveTime::MIN));
    midnight.map_or(i64::MAX, |midnight| midnight.and_utc().timestamp_micros())
}

/// What is known of rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowsProfile {
    pub rows: u64,
    pub keys: Distinct,
    /// by name, in the order of the rows
    pub columns: Vec<(String, ColumnProfile)>,
}

impl RowsProfile {
    fn new(columns: &[Profiled]) -> RowsProfile {
        let of = |column: &Profiled| (column.name.clone(), ColumnProfile::new(column.class));
        RowsProfile { rows: 0, keys: Distinct::default(), columns: columns.iter().map(of).collect() }
    }

    pub fn column(&self, name: &str) -> Option<&ColumnProfile> {
        self.columns.iter().find(|(known, _)| known == name).map(|(_, column)| column)
    }

    /// Columns that only the other has come behind. Errors: a column had another type.
    pub fn merge(&mut self, other: &RowsProfile) -> Result<()> {
        self.rows += other.rows;
        self.keys.merge(&other.keys)?;
        for (name, theirs) in &other.columns {
            match self.columns.iter_mut().find(|(known, _)| known == name) {
                Some((_, column)) => {
                    let named = |error: Error| Error::new(error.kind(), format!("\"{name}\": {}", error.message()));
                    column.merge(theirs).map_err(named)?;
                }
                None => self.columns.push((name.clone(), theirs.clone())),
            }
        }
        Ok(())
    }
}

/// A column that is profiled, and where it is in a batch.
#[derive(Debug, Clone)]
pub struct Profiled {
    pub name: String,
    pub index: usize,
    pub class: Class,
}

/// Where in batches is what a profile is made of.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    pub keys: Vec<usize>,
    /// the rows' times; None: all rows are one piece
    pub time: Option<usize>,
    pub columns: Vec<Profiled>,
    /// Whether its rows are to be counted: they are not if other batches have the same rows, with other columns.
    pub counts: bool,
}

/// Takes in the rows of a run as they come, in any order.
#[derive(Debug)]
pub struct Profiler {
    /// of the batches that come next
    shape: Shape,
    /// of all batches so far
    columns: Vec<Profiled>,
    /// of the shape's columns, among all
    places: Vec<usize>,
    division: Division,
    pieces: BTreeMap<i64, RowsProfile>,
}

impl Profiler {
    /// `width_us`: of a piece, unless the run has too many of them.
    pub fn new(shape: Shape, width_us: i64) -> Profiler {
        let division = if shape.time.is_some() { Division::Periods(width_us) } else { Division::None };
        let columns = shape.columns.clone();
        Profiler { places: (0..columns.len()).collect(), columns, shape, division, pieces: BTreeMap::new() }
    }

    /// Of rows without a time.
    pub fn timeless(columns: Vec<Profiled>) -> Profiler {
        Profiler::new(Shape { columns, counts: true, ..Shape::default() }, i64::MAX)
    }

    /// Batches of another shape come next.
    pub fn go_on_with(&mut self, shape: Shape) {
        self.places.clear();
        for column in &shape.columns {
            let known = self.columns.iter().position(|known| known.name == column.name);
            self.places.push(known.unwrap_or(self.columns.len()));
            if known.is_none() {
                self.columns.push(column.clone());
                let of_none = || (column.name.clone(), ColumnProfile::new(column.class));
                self.pieces.values_mut().for_each(|piece| piece.columns.push(of_none()));
            }
        }
        self.shape = shape;
    }

    pub fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let Some(time) = self.shape.time else { return self.add_stretches(batch, &[(0, batch.num_rows(), 0)]) };
        let starts = self.starts(batch, time)?;
        if starts.is_sorted() {
            return self.add_stretches(batch, &stretches(&starts));
        }
        let failed = |error| Error::internal("rows to be profiled").with_source(error);
        let order = sort_to_indices(&Int64Array::from(starts), None, None).map_err(failed)?;
        let sorted = take_record_batch(batch, &order).map_err(failed)?;
        let starts = self.starts(&sorted, time)?;
        self.add_stretches(&sorted, &stretches(&starts))
    }

    /// For each row, where its piece begins.
    fn starts(&self, batch: &RecordBatch, time: usize) -> Result<Vec<i64>> {
        let times = batch.column(time);
        let us = match times.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(times) => times.values(),
            None => times.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::internal("a time of a row"))?.values(),
        };
        Ok(us.iter().map(|us| self.division.start_of(*us)).collect())
    }

    fn add_stretches(&mut self, batch: &RecordBatch, stretches: &[(usize, usize, i64)]) -> Result<()> {
        let mut hashes = vec![0; batch.num_rows()];
        for key in &self.shape.keys {
            let values = batch.column(*key);
            Values::of(values, Class::of(values.data_type()))?.mix_into(&mut hashes)?;
        }
        let values = self.shape.columns.iter().map(|column| Values::of(batch.column(column.index), column.class));
        let values = values.collect::<Result<Vec<Values>>>()?;
        for (from, to, start) in stretches {
            let piece = self.pieces.entry(*start).or_insert_with(|| RowsProfile::new(&self.columns));
            if self.shape.counts {
                piece.rows += (to - from) as u64;
            }
            hashes[*from..*to].iter().try_for_each(|hash| piece.keys.add(*hash))?;
            for (place, values) in self.places.iter().zip(&values) {
                piece.columns[*place].1.add(values, *from..*to)?;
            }
        }
        while self.pieces.len() > MOST_PIECES || self.pieces.len() * self.columns.len().max(1) > MOST_COLUMNS {
            match self.division.coarser() {
                Some(division) => self.widen(division)?,
                None => break,
            }
        }
        Ok(())
    }

    fn widen(&mut self, division: Division) -> Result<()> {
        self.division = division;
        for (start, piece) in std::mem::take(&mut self.pieces) {
            match self.pieces.entry(division.start_of(start)) {
                std::collections::btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(piece);
                }
                std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().merge(&piece)?,
            }
        }
        Ok(())
    }

    /// The profile of all rows.
    pub fn whole(&self) -> Result<RowsProfile> {
        let mut whole = RowsProfile::new(&self.columns);
        self.pieces.values().try_for_each(|piece| whole.merge(piece))?;
        Ok(whole)
    }

    /// The pieces, ascending: `[start, end)`, cut by the run's own range.
    pub fn into_pieces(self, start_us: i64, end_us: i64) -> Vec<Piece> {
        let division = self.division;
        let cut = |(start, profile): (i64, RowsProfile)| Piece {
            start_us: start.max(start_us),
            end_us: division.end_of(start).min(end_us),
            profile,
        };
        self.pieces.into_iter().map(cut).collect()
    }
}

/// The rows of a stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    pub start_us: i64,
    pub end_us: i64,
    pub profile: RowsProfile,
}

/// Neighbouring rows of one piece: from, to, its start.
fn stretches(starts: &[i64]) -> Vec<(usize, usize, i64)> {
    let mut from = 0;
    let of_chunk = |chunk: &[i64]| {
        let stretch = (from, from + chunk.len(), chunk[0]);
        from += chunk.len();
        stretch
    };
    starts.chunk_by(|a, b| a == b).map(of_chunk).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    type Row = (i64, u8, Option<i32>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let keys: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, key, _)| format!("k{key}"))));
        let times: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(hour, ..)| hour * HOUR_US)));
        let values: ArrayRef =
            rows.iter().map(|(.., value)| value.map(f64::from)).collect::<Float64Array>().into_array();
        RecordBatch::try_from_iter_with_nullable([("k", keys, false), ("t", times, false), ("v", values, true)])
            .unwrap()
    }

    trait IntoArray {
        fn into_array(self) -> ArrayRef;
    }

    impl IntoArray for Float64Array {
        fn into_array(self) -> ArrayRef {
            Arc::new(self)
        }
    }

    fn profiler() -> Profiler {
        let column = Profiled { name: "v".into(), index: 2, class: Class::Number };
        Profiler::new(Shape { keys: vec![0], time: Some(1), columns: vec![column], counts: true }, 24 * HOUR_US)
    }

    proptest! {
        #[test]
        fn rows_in_any_order_and_batches_make_the_same_pieces(
            rows in prop::collection::vec((-5_000_i64..40_000, 0_u8..50, prop::option::of(-9_i32..9)), 1..300),
            cut in 0_usize..300,
        ) {
            let mut at_once = profiler();
            at_once.add(&batch(&rows)).unwrap();
            let mut reversed = rows.clone();
            reversed.reverse();
            let (first, second) = reversed.split_at(cut.min(rows.len()));
            let mut in_two = profiler();
            in_two.add(&batch(first)).unwrap();
            in_two.add(&batch(second)).unwrap();
            // the same rows again, as batches that have another column of them
            let other = Profiled { name: "w".into(), index: 2, class: Class::Number };
            let shape = Shape { keys: vec![0], time: Some(1), columns: vec![other], counts: false };
            at_once.go_on_with(shape.clone());
            at_once.add(&batch(&reversed)).unwrap();
            in_two.go_on_with(shape);
            in_two.add(&batch(&rows)).unwrap();
            let whole = at_once.whole().unwrap();
            let counts = |name: &str| whole.column(name).map(|column| (column.rows, column.nulls, column.zeros()));
            prop_assert_eq!(counts("v"), counts("w"));
            prop_assert_eq!(whole.rows, rows.len() as u64);
            let keys: std::collections::BTreeSet<u8> = rows.iter().map(|(_, key, _)| *key).collect();
            prop_assert_eq!(whole.keys.count(), keys.len() as u64);
            let nulls = rows.iter().filter(|(.., value)| value.is_none()).count();
            prop_assert_eq!(whole.column("v").unwrap().nulls, nulls as u64);
            let (pieces, others) = (at_once.into_pieces(i64::MIN, i64::MAX), in_two.into_pieces(i64::MIN, i64::MAX));
            prop_assert_eq!(pieces.len(), others.len());
            prop_assert!(pieces.len() <= MOST_PIECES);
            for (piece, other) in pieces.iter().zip(&others) {
                prop_assert_eq!((piece.start_us, piece.end_us), (other.start_us, other.end_us));
                let within = rows.iter().filter(|(hour, ..)| (piece.start_us..piece.end_us).contains(&(hour * HOUR_US)));
                prop_assert_eq!(piece.profile.rows, within.count() as u64);
                let (a, b) = (piece.profile.column("v").unwrap(), other.profile.column("v").unwrap());
                prop_assert_eq!((a.rows, a.nulls, a.zeros(), a.distinct()), (b.rows, b.nulls, b.zeros(), b.distinct()));
                prop_assert_eq!(a.top(5), b.top(5));
            }
        }
    }
}
