//! The columnar form of each kind of state.

use std::rc::Rc;

use arrow::array::ArrayRef;

use super::distinct_rows::DistinctRows;
use super::extremes::Extremes;
use super::histograms::{Buckets, Histograms};
use super::merged::{AnyItems, EwmaItems, MomentItems, Rounded};
use super::percentiles::Percentiles;
use super::positions::Positions;
use super::ranges::Ranges;
use super::sums::{Counts, FloatSums, IntegerSums};
use super::tallies::Tallies;
use super::{ItemForm, Run};
use crate::error::{Error, Result};
use crate::tile::arrow_state::state_columns;
use crate::tile::pyramid::Spans;
use crate::tile::spec::{PartialSpec, StateKind};
use crate::tile::{AggregateFunction, ViewKind, ViewPlan};

/// What all kernels of a block are made from.
#[derive(Debug)]
pub(super) struct KernelInput<'a> {
    pub form: ItemForm,
    /// event times of rows, anchors of tiles
    pub times: &'a [i64],
    pub runs: &'a [Run],
}

/// One for each of the plan's partials, good for all windows.
#[derive(Debug)]
pub(super) struct Kernels(Vec<Kernel>);

#[derive(Debug)]
enum Kernel {
    Count(Counts),
    Integer(IntegerSums),
    Float(FloatSums),
    Extreme(Extremes),
    Position(Positions),
    DistinctRows(DistinctRows),
    Tally(Tallies),
    Histogram(Histograms),
    Moments(Rounded<MomentItems>),
    Ewma(Rounded<EwmaItems>),
    Percentiles(Percentiles),
    Any(AnyItems),
}

impl Kernels {
    /// `columns` are by partial.
    pub fn new(plan: &ViewPlan, input: &KernelInput<'_>, columns: &[Vec<ArrayRef>]) -> Result<Kernels> {
        if columns.len() != plan.partials.len() {
            return Err(Error::internal("the items of a block are not those of its view's plan"));
        }
        let is_rounded = plan.partials.iter().any(PartialSpec::is_rounded);
        let spans = is_rounded.then(|| Rc::new(spans_of(plan, input)));
        let kernels = plan.partials.iter().zip(columns).map(|(spec, columns)| {
            let columns = match input.form {
                ItemForm::Rows => columns.clone(),
                ItemForm::Tiles => state_columns(spec, columns)?,
            };
            Kernel::new(spec, input, &columns, spans.as_ref())
        });
        Ok(Kernels(kernels.collect::<Result<_>>()?))
    }

    /// By function, the values of one partial.
    pub fn values(
        &mut self,
        plan: &ViewPlan,
        partial: usize,
        functions: &[&AggregateFunction],
        ranges: &Ranges<'_>,
    ) -> Result<Vec<ArrayRef>> {
        self.0[partial].values(&plan.partials[partial], functions, ranges)
    }
}

/// The spans by which states are merged: rows of tiled views make up tiles first.
fn spans_of(plan: &ViewPlan, input: &KernelInput<'_>) -> Spans {
    let is_tiled = matches!(plan.timing.kind, ViewKind::BatchAggregates | ViewKind::StreamTiled);
    let tiles = (is_tiled && input.form == ItemForm::Rows).then_some(plan.timing.interval_us);
    let runs = input.runs.iter().map(|run| run.items.clone());
    Spans::new(tiles.into_iter().chain(plan.timing.levels()), input.times, runs)
}

impl Kernel {
    fn new(
        spec: &PartialSpec,
        input: &KernelInput<'_>,
        columns: &[ArrayRef],
        spans: Option<&Rc<Spans>>,
    ) -> Result<Kernel> {
        let form = input.form;
        let first = columns.first().ok_or_else(|| Error::internal("an aggregate has no column"))?;
        let spans = || spans.ok_or_else(|| Error::internal("a block has no spans of time"));
        Ok(match spec.kind {
            StateKind::Count => Kernel::Count(Counts::new(form, columns)?),
            StateKind::IntegerSum => match IntegerSums::new(form, columns)? {
                Some(sums) => Kernel::Integer(sums),
                None => Kernel::Any(AnyItems::new(spec, form, columns)?),
            },
            StateKind::FloatSum => Kernel::Float(FloatSums::new(form, columns, input.runs)?),
            StateKind::Extreme { greatest } => Kernel::Extreme(Extremes::new(first, greatest)?),
            StateKind::ArgExtreme { greatest } => Kernel::Extreme(Extremes::beside(form, columns, greatest)?),
            StateKind::Ordered(keep) if keep.distinct => {
                Kernel::DistinctRows(DistinctRows::new(form, first, keep, input.runs)?)
            }
            StateKind::Ordered(keep) => Kernel::Position(Positions::new(form, first, keep)?),
            StateKind::Set => Kernel::Tally(Tallies::of_values(form, first)?),
            StateKind::Counts => Kernel::Tally(Tallies::of_counts(form, first)?),
            StateKind::Histogram { low, high, buckets } => {
                let buckets = Buckets { low, high, count: buckets };
                Kernel::Histogram(Histograms::new(spec, form, first, buckets)?)
            }
            StateKind::Moments { shape } => {
                Kernel::Moments(Rounded::new(spans()?, MomentItems::new(spec, form, columns, shape)?))
            }
            StateKind::Ewma { half_life_us } => {
                Kernel::Ewma(Rounded::new(spans()?, EwmaItems::new(spec, input, columns, half_life_us)?))
            }
            StateKind::Quantile => Kernel::Percentiles(Percentiles::new(spec, form, columns, input.runs)?),
            StateKind::Sketch { .. } => Kernel::Any(AnyItems::new(spec, form, columns)?),
        })
    }

    fn values(
        &mut self,
        spec: &PartialSpec,
        functions: &[&AggregateFunction],
        ranges: &Ranges<'_>,
    ) -> Result<Vec<ArrayRef>> {
        // features that are the same function of one state and one window
        let same = |values: ArrayRef| functions.iter().map(|_| ArrayRef::clone(&values)).collect();
        match self {
            Kernel::Count(counts) => Ok(same(counts.values(ranges))),
            Kernel::Integer(sums) => functions.iter().map(|function| sums.values(spec, function, ranges)).collect(),
            Kernel::Float(sums) => sums.values(functions, ranges),
            Kernel::Extreme(extremes) => extremes.values(ranges).map(same),
            Kernel::Position(positions) => {
                functions.iter().map(|function| positions.values(function, ranges)).collect()
            }
            Kernel::DistinctRows(rows) => rows.values(ranges).map(same),
            Kernel::Tally(tallies) => tallies.values(functions, ranges),
            Kernel::Histogram(histograms) => histograms.values(ranges).map(same),
            Kernel::Moments(moments) => moments.values(functions, ranges, MomentItems::value),
            Kernel::Ewma(ewma) => ewma.values(functions, ranges, EwmaItems::value),
            Kernel::Percentiles(percentiles) => percentiles.values(functions, ranges),
            Kernel::Any(items) => items.values(functions, ranges),
        }
    }
}
