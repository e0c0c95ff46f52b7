//! Which of an input's stored rows are read as they are, and which by spans that were folded from them.

use std::ops::Range;
use std::sync::Arc;

use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use granary_catalog::{Interval, IntervalSet};

use super::exec::{Read, RowsInput};
use super::row_states::{RowStates, RowStatesExec};
use crate::engine::relation::RowLayout;
use crate::engine::tables::stored::{KeyValues, Pruned, Reach, StoredRows};
use crate::error::{Error, Result};
use crate::tile::stretches;

/// A row that becomes a state costs about as much as so many rows that are read as they are, and a span as so many.
const COST_OF_ROW_AS_STATE: f64 = 4.0;
const COST_OF_SPAN: f64 = 2.0;
/// Folded spans are read if that costs less than this part of what reading the rows does.
const WORTH_IT: f64 = 0.7;

/// The other way to read an input.
#[derive(Debug, Clone)]
pub struct SpanInput {
    pub rows: StoredRows,
    /// of the rows: their columns, if they are states already, else those that become states
    pub row_columns: Vec<usize>,
    pub as_states: Option<Arc<RowStates>>,
    /// of the spans
    pub span_columns: Vec<usize>,
    /// of the states
    pub read: Read,
}

/// An input with spans in the place of some rows.
pub struct WithSpans {
    pub input: RowsInput,
    pub read: Read,
    /// of the input's plan, the parts that give spans
    pub folded: Vec<Arc<dyn ExecutionPlan>>,
}

/// A stretch of time, and what is read of it.
#[derive(Debug, Clone)]
pub struct Piece {
    rows: StoredRows,
    columns: Vec<usize>,
    times: Range<i64>,
    as_states: Option<Arc<RowStates>>,
    /// of spans; 0 of rows
    width_us: i64,
}

/// The times that are asked for.
#[derive(Debug, Clone, Copy)]
pub struct AskedTimes {
    pub first_us: i64,
    pub last_us: i64,
    /// Whether keys count that have rows in no window.
    pub all_keys: bool,
}

impl SpanInput {
    /// The input with spans in it, if that is worth it.
    pub fn with_spans(&self, input: &RowsInput, asked: AskedTimes) -> Result<Option<WithSpans>> {
        let pieces = self.pieces(asked);
        if !self.is_worth_it(&pieces) {
            return Ok(None);
        }
        let plans = pieces.iter().map(Piece::plan).collect::<Result<Vec<_>>>()?;
        let folded = plans.iter().zip(&pieces).filter(|(_, piece)| piece.is_folded());
        let folded = folded.map(|(plan, _)| Arc::clone(plan)).collect();
        let stored = input.stored.as_ref().map(|stored| stored.of_pieces(pieces));
        let input = RowsInput {
            plan: one_after_the_other(plans)?,
            layout: RowLayout::Tiles,
            time: input.time,
            arrival: None,
            stored,
            spans: None,
        };
        Ok(Some(WithSpans { input, read: self.read.clone(), folded }))
    }

    fn is_worth_it(&self, pieces: &[Piece]) -> bool {
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return false };
        let plain = self.rows.estimated_rows(&(first.times.start..last.times.end), 0);
        let cost = |piece: &Piece| {
            let each = match (piece.is_folded(), &self.as_states) {
                (_, None) => 1.0,
                (true, Some(_)) => COST_OF_SPAN,
                (false, Some(_)) => COST_OF_ROW_AS_STATE,
            };
            each * piece.rows.estimated_rows(&piece.times, piece.width_us)
        };
        pieces.iter().any(|piece| piece.is_folded()) && pieces.iter().map(cost).sum::<f64>() < plain * WORTH_IT
    }

    /// Ascending, without overlap.
    fn pieces(&self, asked: AskedTimes) -> Vec<Piece> {
        let plan = self.read.answerer.plan();
        let mut pieces = Pieces { input: self, found: Vec::new() };
        // before this no row matters; a span that it cuts is not read
        let mut reached_us = match asked.all_keys {
            true => self.read.view.plan.timing.materialized_from(&self.read.view.plan.windows()).unwrap_or(i64::MIN),
            false => i64::MAX,
        };
        for stretch in stretches(&plan.timing, &plan.windows(), asked.first_us, asked.last_us) {
            let (start_us, end_us) = (stretch.bounds.start_us, stretch.bounds.end_us);
            if reached_us < start_us {
                pieces.add(i64::MAX, reached_us..start_us);
            }
            let start_us = if asked.all_keys { start_us.max(reached_us) } else { start_us };
            pieces.add(stretch.level_us.unwrap_or(0), start_us..end_us);
            if asked.all_keys {
                reached_us = reached_us.max(end_us);
            }
        }
        if asked.all_keys {
            // a row of the asked time itself may count
            pieces.add(0, reached_us..plan.timing.leading_edge(asked.last_us).saturating_add(1));
        }
        pieces.found
    }
}

struct Pieces<'a> {
    input: &'a SpanInput,
    found: Vec<Piece>,
}

impl Pieces<'_> {
    /// Adds a stretch in which spans of at most this width may be read: the longest that are there.
    fn add(&mut self, widest_us: i64, times: Range<i64>) {
        let n_levels = self.input.rows.spans().iter().take_while(|spans| spans.width_us <= widest_us).count();
        self.add_by_level(n_levels, times);
    }

    fn add_by_level(&mut self, n_levels: usize, times: Range<i64>) {
        if times.start >= times.end {
            return;
        }
        let Some(level) = n_levels.checked_sub(1) else { return self.push(None, times) };
        let spans = &self.input.rows.spans()[level];
        let whole = Interval::new(times.start, times.end).narrowed_to(spans.width_us);
        let covered: IntervalSet =
            if whole.is_empty() { IntervalSet::default() } else { spans.covered.intersection(&whole) };
        let mut reached_us = times.start;
        for part in covered.iter() {
            self.add_by_level(level, reached_us..part.start_us);
            self.push(Some(level), part.start_us..part.end_us);
            reached_us = part.end_us;
        }
        self.add_by_level(level, reached_us..times.end);
    }

    fn push(&mut self, level: Option<usize>, times: Range<i64>) {
        let SpanInput { rows, row_columns, as_states, span_columns, .. } = self.input;
        if let Some(last) = self.found.last_mut()
            && level.is_none()
            && !last.is_folded()
            && last.times.end == times.start
        {
            last.times.end = times.end;
            return;
        }
        self.found.push(match level {
            None => Piece {
                rows: rows.clone(),
                columns: row_columns.clone(),
                times,
                as_states: as_states.clone(),
                width_us: 0,
            },
            Some(level) => Piece {
                rows: rows.spans()[level].rows.clone(),
                columns: span_columns.clone(),
                times,
                as_states: None,
                width_us: rows.spans()[level].width_us,
            },
        });
    }
}

impl Piece {
    /// All rows of an input, as they are.
    pub fn all(rows: StoredRows, columns: Vec<usize>) -> Piece {
        Piece { rows, columns, times: i64::MIN..i64::MAX, as_states: None, width_us: 0 }
    }

    /// Whether it is spans of time, not rows.
    pub fn is_folded(&self) -> bool {
        self.width_us > 0
    }

    /// Whether it is a stretch of its rows only.
    fn is_part(&self) -> bool {
        self.times != (i64::MIN..i64::MAX)
    }

    /// What a bucket has of it, one partition a file, by time; `times` and `keys` are wanted.
    pub fn in_bucket(
        &self,
        bucket: u32,
        times: &Range<i64>,
        keys: Vec<KeyValues>,
    ) -> Result<(Arc<dyn ExecutionPlan>, Pruned)> {
        let times = times.start.max(self.times.start)..times.end.min(self.times.end);
        let reach = Reach { times, bucket: Some(bucket), keys, row_by_row: self.is_part() };
        let (plan, pruned) = self.rows.files_in_order(&self.columns, &reach)?;
        Ok((self.exactly(plan)?, pruned))
    }

    /// All of it in one partition, the rows of each key in order.
    fn plan(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let reach = Reach { times: self.times.clone(), row_by_row: self.is_part(), ..Reach::EVERYTHING };
        let (plan, _) = self.rows.plan(&self.columns, &reach)?;
        let plan = self.exactly(plan)?;
        Ok(match plan.output_partitioning().partition_count() {
            1 => plan,
            _ => Arc::new(CoalescePartitionsExec::new(plan)),
        })
    }

    fn exactly(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.rows.within(plan, &self.times)?;
        Ok(match &self.as_states {
            None => plan,
            Some(states) => Arc::new(RowStatesExec::new(plan, Arc::clone(states))),
        })
    }
}

fn one_after_the_other(mut plans: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
    match plans.len() {
        0 => Err(Error::internal("an input without any time")),
        1 => Ok(plans.remove(0)),
        _ => Ok(UnionExec::try_new(plans)?),
    }
}
