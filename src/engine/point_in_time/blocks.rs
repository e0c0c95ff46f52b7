//! Answers blocks of keys: takes their rows out of what was gathered, in order, and puts the answers beside the spine.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::SchemaRef;

use super::answer::{MISSING, PRESENT, Wanted};
use super::exec::{Read, RowsInput, Spine, sees_whole_time};
use super::history::stretches;
use super::kept::NO_TIME;
use super::lifetime::LifetimeOfKey;
use super::part::Block;
use super::row_store::{Section, take_rows};
use crate::engine::relation::{BoundView, RowLayout, time_type};
use crate::error::{Error, Result};
use crate::tile::{AskedBlock, BlockAnswers, ItemBlock, ItemForm, Run};

/// What is asked of the rows.
pub struct Questions {
    pub asked: Spine,
    pub inputs: Arc<[RowsInput]>,
    pub reads: Arc<[Read]>,
    pub schema: SchemaRef,
}

/// The rows of an input, or of one of the views that share it, for a block of keys, in order.
pub struct BlockRows<'a> {
    section: Section<'a>,
    input: &'a RowsInput,
    /// of the section only these, by their places
    only: Option<Vec<u32>>,
    pub times: Cow<'a, [i64]>,
    /// where each key's rows begin, and one more
    bounds: Vec<usize>,
    pub arrivals: Vec<i64>,
    /// columns already taken
    taken: RefCell<HashMap<usize, ArrayRef>>,
}

impl<'a> BlockRows<'a> {
    fn of(input: &'a RowsInput, mut section: Section<'a>) -> Result<BlockRows<'a>> {
        let arrivals = match input.arrival {
            Some(column) => crate::row::integers_of(section.column(column)?.as_ref())?,
            None => section.arrivals(),
        };
        let times = Cow::Borrowed(section.times);
        let bounds = std::mem::take(&mut section.bounds);
        Ok(BlockRows { section, input, only: None, times, bounds, arrivals, taken: RefCell::default() })
    }

    /// Those of one read.
    pub fn of_read(read: &Read, input: &'a RowsInput, section: Section<'a>) -> Result<BlockRows<'a>> {
        let rows = BlockRows::of(input, section)?;
        match read.of_view {
            None => Ok(rows),
            Some(column) => rows.where_true(column),
        }
    }

    pub fn layout(&self) -> RowLayout {
        self.input.layout
    }

    /// Those rows for which a boolean column is true.
    fn where_true(&self, column: usize) -> Result<BlockRows<'a>> {
        let column = self.column(column)?;
        let is_true = column.as_boolean();
        let wanted = |row: usize| is_true.is_valid(row) && is_true.value(row);
        let mut before = Vec::with_capacity(is_true.len() + 1);
        let mut only = Vec::new();
        for row in 0..is_true.len() {
            before.push(only.len());
            if wanted(row) {
                only.push(u32::try_from(row).map_err(|_| Error::internal("a block is too large"))?);
            }
        }
        before.push(only.len());
        Ok(BlockRows {
            section: self.section.clone(),
            input: self.input,
            times: only.iter().map(|row| self.times[*row as usize]).collect(),
            bounds: self.bounds.iter().map(|bound| before[*bound]).collect(),
            arrivals: only.iter().map(|row| self.arrivals[*row as usize]).collect(),
            only: Some(only),
            taken: RefCell::default(),
        })
    }

    fn column(&self, index: usize) -> Result<ArrayRef> {
        if index == self.input.time {
            return Ok(timestamps(&self.times, None));
        }
        if let Some(column) = self.taken.borrow().get(&index) {
            return Ok(Arc::clone(column));
        }
        let column = match &self.only {
            None => self.section.column(index)?,
            Some(only) => self.section.column_at(index, only.iter().map(|row| Some(*row)))?,
        };
        self.taken.borrow_mut().insert(index, Arc::clone(&column));
        Ok(column)
    }

    /// The values of a column in some rows, NULL where there is none.
    pub fn column_at(&self, index: usize, rows: impl Iterator<Item = Option<u32>>) -> Result<ArrayRef> {
        if index == self.input.time {
            let times = rows.map(|row| row.map(|row| self.times[row as usize]));
            let times = TimestampMicrosecondArray::from_iter(times).with_data_type(time_type());
            return Ok(Arc::new(times));
        }
        match &self.only {
            None => self.section.column_at(index, rows),
            Some(only) => self.section.column_at(index, rows.map(|row| row.map(|row| only[row as usize]))),
        }
    }

    /// A column, one value a run.
    fn first_of_runs(&self, runs: &[Run], index: usize) -> Result<ArrayRef> {
        self.column_at(index, runs.iter().map(|run| u32::try_from(run.items.start).ok()))
    }

    fn answers(&self, read: &Read, asked: &AskedBlock<'_>, lifetime: Option<&LifetimeOfKey>) -> Result<BlockAnswers> {
        if let Some(lifetime) = lifetime {
            return lifetime.answers(read, self, asked);
        }
        let mut answers = read.answerer.answer_block(&self.items(read)?, asked)?;
        if let Some(chosen) = &answers.chosen {
            let attributes = read.columns.iter().flatten();
            let columns = attributes.map(|column| self.column_at(*column, chosen.iter()));
            answers.columns = columns.collect::<Result<_>>()?;
        }
        Ok(answers)
    }

    /// Of attributes without their values: only those of rows that answer are taken, afterwards.
    pub fn items(&self, read: &Read) -> Result<ItemBlock<'_>> {
        let columns = if read.view.kind().has_aggregates() { read.columns.as_slice() } else { &[] };
        let columns = columns
            .iter()
            .map(|columns| columns.iter().map(|column| self.column(*column)).collect::<Result<Vec<_>>>())
            .collect::<Result<Vec<_>>>()?;
        Ok(ItemBlock {
            form: match self.input.layout {
                RowLayout::Events => ItemForm::Rows,
                RowLayout::Tiles => ItemForm::Tiles,
            },
            times: &self.times,
            arrivals: &self.arrivals,
            known_at: read.known_at.map(|column| self.column(column)).transpose()?,
            secondary: read.secondary.map(|column| self.column(column)).transpose()?,
            columns,
        })
    }

    /// Since when each row is known, of a bitemporal view.
    pub fn known_at(&self, read: &Read) -> Result<Option<Vec<i64>>> {
        read.known_at.map(|column| crate::row::integers_of(self.column(column)?.as_ref())).transpose()
    }
}

impl Questions {
    /// The answers for some keys of a part.
    pub fn answer(&self, block: Block<'_>) -> Result<RecordBatch> {
        let inputs = self
            .inputs
            .iter()
            .zip(block.inputs)
            .map(|(input, section)| BlockRows::of(input, section).map(Rc::new))
            .collect::<Result<Vec<_>>>()?;
        // of inputs that several views share, each has its own rows
        let inputs = self
            .reads
            .iter()
            .map(|read| match read.of_view {
                None => Ok(Rc::clone(&inputs[read.input])),
                Some(column) => inputs[read.input].where_true(column).map(Rc::new),
            })
            .collect::<Result<Vec<_>>>()?;
        match (&self.asked, block.spine) {
            (Spine::Rows { width, .. }, Some(spine)) => self.answer_spine(&spine, *width, &inputs, block.lifetimes),
            (Spine::AllKeys { time_us }, _) => self.answer_all_keys(*time_us, &inputs),
            (Spine::History { start_us, end_us }, _) => self.answer_history(*start_us..*end_us, &inputs),
            (Spine::Rows { .. }, None) => Err(Error::internal("the spine was not read")),
        }
    }

    fn answer_spine(
        &self,
        spine: &Section<'_>,
        width: usize,
        of_reads: &[Rc<BlockRows<'_>>],
        lifetimes: &[Option<LifetimeOfKey>],
    ) -> Result<RecordBatch> {
        let known: Vec<bool> = spine.times.iter().map(|time_us| *time_us != NO_TIME).collect();
        let known = known.contains(&false).then(|| NullBuffer::from(known));
        let mut columns = (0..width).map(|column| spine.column(column)).collect::<Result<Vec<_>>>()?;
        for (number, (read, rows)) in self.reads.iter().zip(of_reads).enumerate() {
            let runs: Vec<Run> = spine
                .bounds
                .windows(2)
                .zip(rows.bounds.windows(2))
                .filter(|(asked, _)| asked[0] < asked[1])
                .map(|(asked, items)| Run { asked: asked[0]..asked[1], items: items[0]..items[1] })
                .collect();
            let asked = AskedBlock { times: spine.times, known: known.as_ref(), runs: &runs };
            let lifetime = lifetimes.get(number).and_then(Option::as_ref);
            let answers = rows.answers(read, &asked, lifetime)?;
            let key = |index: usize| spine.column(width + index);
            columns.extend(self.columns_of(read, &answers, &asked, rows, key)?);
        }
        self.batch(columns, spine.len())
    }

    /// The wanted columns of one view.
    fn columns_of(
        &self,
        read: &Read,
        answers: &BlockAnswers,
        asked: &AskedBlock<'_>,
        rows: &BlockRows<'_>,
        key: impl Fn(usize) -> Result<ArrayRef>,
    ) -> Result<Vec<ArrayRef>> {
        let answerer = &read.answerer;
        let column = |wanted: &Wanted, place: &Option<usize>| match wanted {
            Wanted::Key(index) => key(*index),
            Wanted::Feature(_) => {
                let place = place.ok_or_else(|| Error::internal("a wanted feature was not evaluated"))?;
                Ok(Arc::clone(&answers.columns[place]))
            }
            // a history puts in until when
            Wanted::AsOf | Wanted::ValidFrom | Wanted::ValidTo => Ok(timestamps(asked.times, asked.known.cloned())),
            Wanted::EffectiveTime => {
                let effective = answerer.effective_times(answers, asked.times, &rows.times);
                Ok(timestamps(&effective, Some(NullBuffer::from(answers.present.clone()))))
            }
            Wanted::Status => {
                let status = |present: &bool| Some(if *present { PRESENT } else { MISSING });
                Ok(Arc::new(answers.present.iter().map(status).collect::<StringArray>()) as ArrayRef)
            }
        };
        answerer.wanted().iter().zip(answerer.places()).map(|(wanted, place)| column(wanted, place)).collect()
    }

    /// The one view that is read without a spine, and its rows.
    fn only<'a, 'b>(&'a self, inputs: &'b [Rc<BlockRows<'a>>]) -> Result<(&'a Read, &'b BlockRows<'a>)> {
        match (self.reads.as_ref(), inputs) {
            ([read], [rows]) => Ok((read, rows)),
            _ => Err(Error::internal("a scan of all keys reads one view")),
        }
    }

    fn answer_all_keys(&self, time_us: i64, inputs: &[Rc<BlockRows<'_>>]) -> Result<RecordBatch> {
        let (read, rows) = self.only(inputs)?;
        let known_at = rows.known_at(read)?;
        let is_known = |row: &usize| known_at.as_ref().is_none_or(|known_at| known_at[*row] <= time_us);
        let known_times = |items: &[usize]| (items[0]..items[1]).filter(is_known).map(|row| rows.times[row]);
        let runs: Vec<Run> = rows
            .bounds
            .windows(2)
            .filter(|items| exists(&read.view, known_times(items), time_us))
            .enumerate()
            .map(|(place, items)| Run { asked: place..place + 1, items: items[0]..items[1] })
            .collect();
        let times = vec![time_us; runs.len()];
        let asked = AskedBlock { times: &times, known: None, runs: &runs };
        let answers = rows.answers(read, &asked, None)?;
        let columns = self.columns_of(read, &answers, &asked, rows, |index| rows.first_of_runs(&runs, index))?;
        self.batch(columns, runs.len())
    }

    fn answer_history(&self, range: Range<i64>, inputs: &[Rc<BlockRows<'_>>]) -> Result<RecordBatch> {
        let (read, rows) = self.only(inputs)?;
        let known_at = rows.known_at(read)?;
        let mut runs = Vec::new();
        let mut times = Vec::new();
        for items in rows.bounds.windows(2).filter(|items| items[0] < items[1]) {
            let known_at = known_at.as_ref().map(|known_at| &known_at[items[0]..items[1]]);
            let changes = read.answerer.change_times(&rows.times[items[0]..items[1]], known_at, range.clone());
            runs.push(Run { asked: times.len()..times.len() + changes.len(), items: items[0]..items[1] });
            times.extend(changes);
        }
        let asked = AskedBlock { times: &times, known: None, runs: &runs };
        let answers = rows.answers(read, &asked, None)?;
        let stretches = stretches(&read.answerer, &answers, &asked, range.end)?;
        let askers: Vec<u32> = runs
            .iter()
            .enumerate()
            .flat_map(|(run, asked)| std::iter::repeat_n(u32::try_from(run).unwrap_or(u32::MAX), asked.asked.len()))
            .collect();
        let key = |index: usize| take_rows(&rows.first_of_runs(&runs, index)?, &askers);
        let kept: Vec<u32> = stretches.iter().map(|stretch| stretch.first).collect();
        let ends: Vec<i64> = stretches.iter().map(|stretch| stretch.end_us).collect();
        let columns = self.columns_of(read, &answers, &asked, rows, key)?;
        let columns = read
            .answerer
            .wanted()
            .iter()
            .zip(&columns)
            .map(|(wanted, column)| match wanted {
                Wanted::ValidTo => Ok(timestamps(&ends, None)),
                _ => take_rows(column, &kept),
            })
            .collect::<Result<Vec<_>>>()?;
        self.batch(columns, kept.len())
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::internal("answers do not fit their schema").with_source(error))
    }
}

fn timestamps(times: &[i64], valid: Option<NullBuffer>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::new(times.to_vec().into(), valid).with_data_type(time_type()))
}

/// Whether a key with rows at `times` has an event between the first one that can matter and the asked time.
fn exists(view: &BoundView, mut times: impl Iterator<Item = i64>, asked_us: i64) -> bool {
    let plan = &view.plan;
    let from_us = plan.timing.materialized_from(&plan.windows()).unwrap_or(i64::MIN);
    let edge_us = plan.timing.leading_edge(asked_us);
    let whole = sees_whole_time(plan.timing.kind);
    times.any(|time| time >= from_us && if whole { time <= asked_us } else { time < edge_us })
}
