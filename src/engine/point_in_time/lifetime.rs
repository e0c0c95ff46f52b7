//! The LIFETIME windows of a view for one key that is answered time by time: apart from its other windows, so that
//! rows which these have left need not stay.

use std::ops::Range;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute::concat;

use super::blocks::BlockRows;
use super::exec::Read;
use super::kept::NO_TIME;
use crate::engine::relation::RowLayout;
use crate::error::{Error, Result};
use crate::row::{array_of, values_of};
use crate::tile::{
    AggregateItems, AskedBlock, BlockAnswers, ItemBlock, ItemForm, LifetimeItems, OutputColumn, RawRows, Run, ViewKind,
    ViewPlan, Window, evaluate_block, raw_items, states_from_arrays, states_to_arrays, tile_rows,
};

/// Some features of a read.
#[derive(Debug)]
struct Features {
    plan: ViewPlan,
    /// for each of the plan's partials, its place in the read's plan
    partials: Vec<usize>,
}

/// A read whose features are divided into those over LIFETIME and the others.
#[derive(Debug)]
pub struct LifetimeRead {
    lifetime: Features,
    others: Option<Features>,
    /// by output column of the read's plan
    is_lifetime: Vec<bool>,
}

impl LifetimeRead {
    /// `None` if it has no LIFETIME window.
    pub fn of(read: &Read) -> Option<LifetimeRead> {
        let plan = read.answerer.plan();
        let is_lifetime = |index: &usize| plan.features[*index].window == Window::Lifetime;
        let (lifetime, others): (Vec<usize>, Vec<usize>) = (0..plan.features.len()).partition(is_lifetime);
        let features = |places: Vec<usize>| {
            let (plan, partials) = plan.with_features(places);
            Features { plan, partials }
        };
        let of_lifetime = |column: OutputColumn| match column {
            OutputColumn::Keys { window } => window == Window::Lifetime,
            OutputColumn::Feature { index } => is_lifetime(&index),
        };
        (!lifetime.is_empty()).then(|| LifetimeRead {
            lifetime: features(lifetime),
            others: (!others.is_empty()).then(|| features(others)),
            is_lifetime: plan.output_columns().into_iter().map(of_lifetime).collect(),
        })
    }
}

/// What has been merged of a key.
#[derive(Debug)]
pub struct LifetimeOfKey {
    read: LifetimeRead,
    merged: LifetimeItems,
}

impl LifetimeOfKey {
    /// Nothing has been merged yet.
    pub fn new(read: LifetimeRead) -> LifetimeOfKey {
        LifetimeOfKey { merged: LifetimeItems::new(&read.lifetime.plan), read }
    }

    /// The time of the first row that an answer at `asked_us` or later depends on.
    pub fn first_needed(&self, asked_us: i64) -> i64 {
        let others = self.read.others.as_ref();
        let of_others = others.map_or(i64::MAX, |others| others.plan.reach(asked_us, asked_us).start);
        of_others.min(self.merged.until_us())
    }

    /// The times of rows that are to be merged before `asked_us` is answered, if all before `complete_us` are there.
    pub fn unmerged(&self, asked_us: i64, complete_us: i64) -> Range<i64> {
        let until_us = LifetimeItems::settled_until(&self.read.lifetime.plan.timing, asked_us, complete_us);
        self.merged.until_us()..until_us
    }

    /// Merges the rows of [`LifetimeOfKey::unmerged`].
    pub fn merge(&mut self, read: &Read, rows: &BlockRows<'_>, asked_us: i64, complete_us: i64) -> Result<()> {
        let Range { end: mut until_us, .. } = self.unmerged(asked_us, complete_us);
        let plan = &self.read.lifetime.plan;
        if let Some(known_at) = rows.known_at(read)? {
            // what is behind a row that was not known yet waits for it
            let unknown = known_at.iter().zip(&*rows.times).find(|(known_us, _)| **known_us > asked_us);
            if let Some((_, time_us)) = unknown {
                until_us = LifetimeItems::settled_until(&plan.timing, asked_us, until_us.min(*time_us));
            }
        }
        let found = places(&rows.times, self.merged.until_us()..until_us);
        let items = self.items(read, rows, &found.collect::<Vec<_>>())?;
        self.merged.merge(plan, items, until_us)
    }

    /// The answers of a read for the one key that is asked.
    pub fn answers(&self, read: &Read, rows: &BlockRows<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
        let lifetime = self.lifetime_answers(read, rows, asked)?;
        let Some(others) = &self.read.others else { return Ok(lifetime) };
        let items = rows.items(read)?;
        let columns = others.partials.iter().map(|partial| items.columns[*partial].clone()).collect();
        let others = evaluate_block(&others.plan, &ItemBlock { columns, ..items }, asked)?;
        let (mut of_lifetime, mut of_others) = (lifetime.columns.into_iter(), others.columns.into_iter());
        let next = |is_lifetime: &bool| match is_lifetime {
            true => of_lifetime.next(),
            false => of_others.next(),
        };
        let columns: Option<Vec<ArrayRef>> = self.read.is_lifetime.iter().map(next).collect();
        Ok(BlockAnswers {
            columns: columns.ok_or_else(|| Error::internal("a feature was not evaluated"))?,
            present: lifetime.present.iter().zip(&others.present).map(|(a, b)| *a || *b).collect(),
            chosen: None,
        })
    }

    fn lifetime_answers(&self, read: &Read, rows: &BlockRows<'_>, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
        let plan = &self.read.lifetime.plan;
        let last_us = asked.times.last().copied().unwrap_or(NO_TIME);
        let end_us = plan.timing.bounds(&Window::Lifetime, last_us).end_us;
        let behind: Vec<usize> = places(&rows.times, self.merged.until_us()..end_us).collect();
        let Some(known_at) = rows.known_at(read)? else {
            return self.evaluate(self.items(read, rows, &behind)?, asked);
        };
        // asked times between which no row becomes known are answered together
        let mut since_us: Vec<i64> = behind.iter().map(|row| known_at[*row]).collect();
        since_us.sort_unstable();
        let n_known = |asked_us: &i64| since_us.partition_point(|known_us| known_us <= asked_us);
        let mut parts = Vec::new();
        let mut first = 0;
        for together in asked.times.chunk_by(|a, b| n_known(a) == n_known(b)) {
            let known: Vec<usize> = behind.iter().copied().filter(|row| known_at[*row] <= together[0]).collect();
            let valid = asked.known.map(|known| known.slice(first, together.len()));
            let runs = [Run { asked: 0..together.len(), items: 0..0 }];
            let asked = AskedBlock { times: together, known: valid.as_ref(), runs: &runs };
            parts.push(self.evaluate(self.items(read, rows, &known)?, &asked)?);
            first += together.len();
        }
        joined(&parts)
    }

    /// Of what was merged and `rest`, to which both `asked` and the one run of it belong.
    fn evaluate(&self, rest: AggregateItems, asked: &AskedBlock<'_>) -> Result<BlockAnswers> {
        let plan = &self.read.lifetime.plan;
        let items = self.merged.with(plan, rest);
        let secondary = items.secondary.as_ref().zip(plan.secondary_key.as_ref());
        let secondary = secondary.map(|(keys, data_type)| array_of(data_type, keys.iter().map(Option::as_ref)));
        let columns = plan.partials.iter().zip(&items.partials).map(|(spec, states)| states_to_arrays(spec, states));
        let n_items = items.times.len();
        let block = ItemBlock {
            form: ItemForm::Tiles,
            times: &items.times,
            arrivals: &vec![0; n_items],
            known_at: None,
            secondary: secondary.transpose()?,
            columns: columns.collect::<Result<_>>()?,
        };
        let runs = [Run { asked: 0..asked.len(), items: 0..n_items }];
        evaluate_block(plan, &block, &AskedBlock { runs: &runs, ..*asked })
    }

    /// Some rows, ascending, as items of the plan.
    fn items(&self, read: &Read, rows: &BlockRows<'_>, wanted: &[usize]) -> Result<AggregateItems> {
        let Features { plan, partials } = &self.read.lifetime;
        let column = |index: usize| {
            let wanted = wanted.iter().map(|row| u32::try_from(*row).ok());
            rows.column_at(index, wanted)
        };
        let columns =
            partials.iter().map(|partial| read.columns[*partial].iter().map(|index| column(*index)).collect());
        let columns = columns.collect::<Result<Vec<Vec<ArrayRef>>>>()?;
        let secondary = read.secondary.map(|index| values_of(column(index)?.as_ref())).transpose()?;
        let times: Vec<i64> = wanted.iter().map(|row| rows.times[*row]).collect();
        if rows.layout() == RowLayout::Tiles {
            let states = plan.partials.iter().zip(&columns).map(|(spec, arrays)| states_from_arrays(spec, arrays));
            return Ok(AggregateItems { times, secondary, partials: states.collect::<Result<_>>()? });
        }
        let arrivals = wanted.iter().map(|row| rows.arrivals[*row]).collect();
        let raw = RawRows { times, arrivals, secondary, inputs: columns };
        match plan.timing.kind {
            ViewKind::StreamContinuous => raw_items(plan, &raw),
            _ => tile_rows(plan, &raw),
        }
    }
}

/// The rows of some times.
fn places(row_times: &[i64], times: Range<i64>) -> Range<usize> {
    let start = row_times.partition_point(|time_us| *time_us < times.start);
    let end = row_times.partition_point(|time_us| *time_us < times.end);
    start..end.max(start)
}

/// The answers of several blocks, one behind the other.
fn joined(parts: &[BlockAnswers]) -> Result<BlockAnswers> {
    let n_columns = parts.first().map_or(0, |part| part.columns.len());
    let columns = (0..n_columns).map(|column| {
        let arrays: Vec<_> = parts.iter().map(|part| part.columns[column].as_ref()).collect();
        concat(&arrays).map_err(|error| Error::internal("answers do not join").with_source(error))
    });
    Ok(BlockAnswers {
        columns: columns.collect::<Result<_>>()?,
        present: parts.iter().flat_map(|part| part.present.iter().copied()).collect(),
        chosen: None,
    })
}
