//! Reads what a point-in-time join needs: first the spine, whose keys are numbered, then every input, of whose rows
//! only those count that have a key of the spine and a time that some window can reach.
//!
//! Everything is divided into parts by key, in memory or on disk. Whoever answers takes one part after the other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use datafusion::arrow::array::RecordBatch;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::Wanted;
use super::collect::{Resources, RowCollector, SPILLED_PARTS, joined};
use super::exec::{Figures, Read, RowsInput, Spine};
use super::kept::{Kept, NO_TIME, times_of};
use super::keys::KeyIndex;
use super::matching::Matching;
use super::materialized::Materialized;
use super::part::{Gathered, InputRows, InputSource, NO_TIMES, SpineRows, working_bytes};
use super::parts::Parts;
use super::spans::{AskedTimes, WithSpans};
use super::stored::{StoredInput, rows_of};
use crate::error::{Error, Result};

/// What is to be read.
pub struct Gathering {
    pub spine: Spine,
    pub inputs: Vec<RowsInput>,
    pub reads: Arc<[Read]>,
    pub figures: Figures,
    pub resources: Resources,
    /// how many will answer side by side
    pub parallelism: usize,
    /// parts of inputs' plans that give spans of time
    pub scans_of_spans: Vec<Arc<dyn ExecutionPlan>>,
}

/// The rows that ask, and the first and the last time that they ask for; the first is the greater if there is none.
struct SpineRead {
    spine: RowCollector,
    kept: Arc<Kept>,
    first_us: i64,
    last_us: i64,
}

/// The rows of one input by partition, as far as they are read before anything is answered.
enum Input {
    Collected(Arc<Matching>, Vec<RowCollector>),
    Stored(Arc<Matching>, StoredInput),
}

impl Gathering {
    pub async fn run(mut self) -> Result<Arc<Gathered>> {
        let reads = Arc::clone(&self.reads);
        let first = reads.first().ok_or_else(|| Error::internal("a point-in-time join without a view"))?;
        let memory = self.resources.reservation("point-in-time join, its keys");
        let n_columns = first.view.keys.len();
        let types = first.view.key_types();
        match self.spine.clone() {
            Spine::Rows { input, width } => {
                let buckets =
                    self.inputs.iter().filter_map(|input| input.stored.as_ref()).map(StoredInput::bucket_count);
                // one bucket is read by one task
                let buckets = buckets.max().filter(|count| *count as usize >= self.parallelism);
                let mut keys = KeyIndex::new(&types, buckets, memory)?;
                let SpineRead { mut spine, kept, first_us, last_us } =
                    self.read_spine(&input, width, n_columns, &mut keys).await?;
                keys.seal()?;
                self.use_spans(AskedTimes { first_us, last_us, all_keys: false })?;
                let parts = match (spine.end()?, buckets) {
                    (Some(parts), _) => Arc::clone(parts),
                    (None, None) => Arc::new(Parts::of_keys(keys.len(), self.parallelism)),
                    (None, Some(count)) => Arc::new(Parts::of_buckets(&keys, count)?),
                };
                let inputs = self.read_inputs(keys, n_columns, self.reach(first_us, last_us), &parts).await?;
                self.gathered(Some((spine, kept)), inputs, &parts)
            }
            Spine::AllKeys { time_us } => {
                Materialized::of(first).check_scan(time_us)?;
                self.use_spans(AskedTimes { first_us: time_us, last_us: time_us, all_keys: true })?;
                self.gather_all_keys(KeyIndex::new(&types, None, memory)?, n_columns).await
            }
            Spine::History { start_us, end_us } => {
                Materialized::of(first).check_history(start_us, end_us)?;
                self.gather_all_keys(KeyIndex::new(&types, None, memory)?, n_columns).await
            }
        }
    }

    /// Reads spans of time in the place of rows where that is worth it.
    fn use_spans(&mut self, asked: AskedTimes) -> Result<()> {
        if asked.first_us > asked.last_us {
            return Ok(());
        }
        let mut reads = self.reads.to_vec();
        for (number, input) in self.inputs.iter_mut().enumerate() {
            let Some(spans) = input.spans.clone() else { continue };
            if let Some(WithSpans { input: with_spans, read, folded }) = spans.with_spans(input, asked)? {
                *input = with_spans;
                self.scans_of_spans.extend(folded);
                // such an input is of one view alone
                let of_input = reads.iter_mut().filter(|read| read.input == number);
                of_input.for_each(|known| *known = Read { input: number, ..read.clone() });
            }
        }
        self.reads = reads.into();
        Ok(())
    }

    /// For every input the times that answers from `first_us` to `last_us` can depend on.
    fn reach(&self, first_us: i64, last_us: i64) -> Vec<Range<i64>> {
        let mut reach = vec![NO_TIMES; self.inputs.len()];
        if first_us <= last_us {
            for read in self.reads.iter() {
                let reached = read.answerer.plan().reach(first_us, last_us);
                let so_far = &mut reach[read.input];
                *so_far = so_far.start.min(reached.start)..so_far.end.max(reached.end);
            }
        }
        reach
    }

    async fn read_spine(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        width: usize,
        n_columns: usize,
        keys: &mut KeyIndex,
    ) -> Result<SpineRead> {
        let _timer = self.figures.spine_time.timer();
        let time = width + n_columns;
        let shown = |column: usize| {
            let wanted = self.reads.iter().flat_map(|read| read.answerer.wanted());
            column < width || wanted.into_iter().any(|wanted| *wanted == Wanted::Key(column - width))
        };
        let kept = Arc::new(Kept::of(&input.schema(), time, shown));
        let mut spine = RowCollector::new(&self.resources, &kept, None);
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        let mut batches = in_order(input, &self.resources.context)?;
        while let Some(batch) = batches.next().await? {
            self.figures.spine_rows.add(batch.num_rows());
            let numbers = keys.number(&batch.columns()[width..time])?;
            let times = times_of(&batch, time);
            let known: Vec<i64> = times.iter().copied().filter(|time_us| *time_us != NO_TIME).collect();
            for read in self.reads.iter() {
                Materialized::of(read).check_all(&known)?;
            }
            first_us = known.iter().copied().fold(first_us, i64::min);
            last_us = known.iter().copied().fold(last_us, i64::max);
            spine.push(kept.keep(&batch, numbers, times)?, None)?;
        }
        Ok(SpineRead { spine, kept, first_us, last_us })
    }

    /// The columns of an input that are kept; with the keys, if no spine has them.
    fn kept_of(&self, number: usize, n_columns: usize) -> Arc<Kept> {
        let input = &self.inputs[number];
        let has_spine = matches!(self.spine, Spine::Rows { .. });
        let is_read = |column: usize| {
            let mut reads = self.reads.iter().filter(|read| read.input == number);
            reads.any(|read| {
                read.of_view == Some(column)
                    || read.secondary == Some(column)
                    || read.known_at == Some(column)
                    || read.columns.iter().flatten().any(|known| *known == column)
            })
        };
        let wanted =
            |column: usize| is_read(column) || input.arrival == Some(column) || (!has_spine && column < n_columns);
        Arc::new(Kept::of(&input.plan.schema(), input.time, wanted))
    }

    /// Of every input the rows that some asked row can reach, by partition.
    async fn read_inputs(
        &self,
        keys: KeyIndex,
        n_columns: usize,
        reach: Vec<Range<i64>>,
        parts: &Arc<Parts>,
    ) -> Result<Vec<Input>> {
        let keys = Arc::new(keys);
        let in_file_order = self.resources.in_file_order();
        let mut tasks = JoinSet::new();
        let mut inputs = Vec::new();
        for (number, (input, reach)) in self.inputs.iter().zip(reach).enumerate() {
            let matching = Arc::new(Matching {
                n_keys: keys.len(),
                keys: Arc::clone(&keys),
                parts: Arc::clone(parts),
                n_columns,
                time: input.time,
                reach,
                kept: self.kept_of(number, n_columns),
                figures: self.figures.clone(),
            });
            let in_order = input.stored.as_ref().filter(|stored| parts.are_buckets(stored.bucket_count()));
            if let Some(stored) = in_order {
                inputs.push(Input::Stored(matching, stored.clone()));
                continue;
            }
            for partition in 0..input.plan.output_partitioning().partition_count() {
                let rows = input.plan.execute(partition, Arc::clone(&in_file_order))?;
                let collector = RowCollector::new(&self.resources, &matching.kept, Some(Arc::clone(parts)));
                let collected = collect(Arc::clone(&matching), rows, collector);
                tasks.spawn(async move { Ok::<_, Error>((number, partition, collected.await?)) });
            }
            inputs.push(Input::Collected(matching, Vec::new()));
        }
        let mut found = Vec::new();
        while let Some(done) = tasks.join_next().await {
            found.push(done.map_err(|error| Error::internal("a task that reads rows died").with_source(error))??);
        }
        found.sort_by_key(|(number, partition, _)| (*number, *partition));
        for (number, _, collector) in found {
            if let Input::Collected(_, collectors) = &mut inputs[number] {
                collectors.push(collector);
            }
        }
        Ok(inputs)
    }

    /// All rows of every input, whose keys are numbered as they come.
    async fn gather_all_keys(&self, mut keys: KeyIndex, n_columns: usize) -> Result<Arc<Gathered>> {
        let parts = Arc::new(Parts::Modulo { count: SPILLED_PARTS });
        let mut collected = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let kept = self.kept_of(number, n_columns);
            let mut collector = RowCollector::new(&self.resources, &kept, Some(Arc::clone(&parts)));
            let mut batches = in_order(&input.plan, &self.resources.in_file_order())?;
            while let Some(batch) = batches.next().await? {
                self.figures.rows_read.add(batch.num_rows());
                self.figures.rows_kept.add(batch.num_rows());
                let _timer = self.figures.match_time.timer();
                let numbers = keys.number(&batch.columns()[..n_columns])?;
                collector.push(kept.keep(&batch, numbers, times_of(&batch, input.time))?, None)?;
            }
            collected.push((kept, collector));
        }
        let keys = Arc::new(keys);
        let inputs = collected.into_iter().zip(&self.inputs).map(|((kept, collector), input)| {
            let matching = Matching {
                n_keys: keys.len(),
                keys: Arc::clone(&keys),
                parts: Arc::clone(&parts),
                n_columns,
                time: input.time,
                reach: i64::MIN..i64::MAX,
                kept,
                figures: self.figures.clone(),
            };
            Input::Collected(Arc::new(matching), vec![collector])
        });
        self.gathered(None, inputs.collect(), &parts)
    }

    /// All in memory, if all of it is and there is memory to answer in; else all on disk.
    fn gathered(
        &self,
        mut spine: Option<(RowCollector, Arc<Kept>)>,
        mut inputs: Vec<Input>,
        parts: &Arc<Parts>,
    ) -> Result<Arc<Gathered>> {
        let n_keys = inputs.iter().map(|input| input.matching().n_keys).max().unwrap_or(0);
        let mut collectors: Vec<&mut RowCollector> = spine.iter_mut().map(|(spine, _)| spine).collect();
        collectors.extend(inputs.iter_mut().flat_map(Input::collectors));
        let mut on_disk = false;
        for collector in &mut collectors {
            collector.end()?;
            on_disk |= collector.is_spilled();
        }
        for plan in &self.scans_of_spans {
            self.figures.spans_read.add(rows_of(plan));
        }
        on_disk = on_disk || !self.has_memory_to_answer(&collectors, parts);
        let spine = match spine {
            Some((collector, kept)) => Some(SpineRows { kept, collected: collector.finish(parts, on_disk)? }),
            None => None,
        };
        let finish = |(input, described): (Input, &RowsInput)| {
            let (matching, source) = match input {
                Input::Stored(matching, stored) => (matching, InputSource::Stored(stored)),
                Input::Collected(matching, collectors) => {
                    let finished = collectors.into_iter().map(|collector| collector.finish(parts, on_disk));
                    (matching, InputSource::Collected(joined(finished.collect::<Result<Vec<_>>>()?)?))
                }
            };
            Ok(InputRows { tie: described.arrival, matching, source })
        };
        Ok(Arc::new(Gathered {
            parts: Arc::clone(parts),
            n_keys,
            spine,
            inputs: inputs.into_iter().zip(&self.inputs).map(finish).collect::<Result<Vec<_>>>()?,
            described: self.inputs.clone().into(),
            reads: Arc::clone(&self.reads),
            resources: self.resources.clone(),
            parallelism: self.parallelism,
            next_part: AtomicUsize::new(0),
        }))
    }

    /// Whether the largest parts can be put in order beside everything that is held.
    fn has_memory_to_answer(&self, collectors: &[&mut RowCollector], parts: &Parts) -> bool {
        let bytes_of = |part: usize| collectors.iter().map(|collector| collector.bytes_of(part)).sum::<usize>();
        let largest = (0..parts.count()).map(bytes_of).max().unwrap_or(0);
        let side_by_side = self.parallelism.min(parts.count());
        let memory = self.resources.reservation("point-in-time join, parts");
        memory.try_grow(working_bytes(largest) * side_by_side).is_ok()
    }
}

impl Input {
    fn matching(&self) -> &Arc<Matching> {
        match self {
            Input::Collected(matching, _) | Input::Stored(matching, _) => matching,
        }
    }

    fn collectors(&mut self) -> impl Iterator<Item = &mut RowCollector> {
        let collectors = match self {
            Input::Collected(_, collectors) => Some(collectors.iter_mut()),
            Input::Stored(..) => None,
        };
        collectors.into_iter().flatten()
    }
}

/// The rows of one partition that are asked for.
async fn collect(
    matching: Arc<Matching>,
    mut rows: SendableRecordBatchStream,
    mut collector: RowCollector,
) -> Result<RowCollector> {
    loop {
        let batch = {
            let _timer = matching.figures.scan_time.timer();
            rows.try_next().await?
        };
        let Some(batch) = batch else { return Ok(collector) };
        if let Some(matched) = matching.find(&batch, |number| number)? {
            let _timer = matching.figures.match_time.timer();
            collector.push(matched.rows, matched.wanted.as_ref())?;
        }
    }
}

/// The partitions of a plan one after the other; the later ones work ahead a little meanwhile.
struct InOrder {
    /// first to last
    partitions: std::vec::IntoIter<mpsc::Receiver<Result<RecordBatch>>>,
    current: Option<mpsc::Receiver<Result<RecordBatch>>>,
    _tasks: JoinSet<()>,
}

/// How many batches a partition may be ahead.
const AHEAD: usize = 16;

fn in_order(plan: &Arc<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> Result<InOrder> {
    let mut tasks = JoinSet::new();
    let mut partitions = Vec::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let rows = plan.execute(partition, Arc::clone(context))?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        tasks.spawn(send_all(rows, sender));
        partitions.push(receiver);
    }
    Ok(InOrder { partitions: partitions.into_iter(), current: None, _tasks: tasks })
}

async fn send_all(mut rows: SendableRecordBatchStream, sender: mpsc::Sender<Result<RecordBatch>>) {
    loop {
        let (batch, is_last) = match rows.try_next().await {
            Ok(Some(batch)) => (Ok(batch), false),
            Ok(None) => return,
            Err(error) => (Err(error.into()), true),
        };
        // nobody may wait for it any more
        if sender.send(batch).await.is_err() || is_last {
            return;
        }
    }
}

impl InOrder {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(current) = &mut self.current
                && let Some(batch) = current.recv().await
            {
                return batch.map(Some);
            }
            match self.partitions.next() {
                Some(next) => self.current = Some(next),
                None => return Ok(None),
            }
        }
    }
}
