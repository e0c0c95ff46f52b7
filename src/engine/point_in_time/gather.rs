//! Reads what a point-in-time join needs: first the spine, whose keys are numbered, then every input, of whose rows
//! only those count that have a key of the spine and a time that some window can reach.
//!
//! Everything is divided into parts by key, in memory or on disk. Whoever answers takes one part after the other.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::Wanted;
use super::collect::{Collected, Resources, RowCollector, SPILLED_PARTS, batch_bytes, joined};
use super::exec::{Figures, Read, RowsInput, Spine};
use super::kept::{Kept, NO_TIME, times_of};
use super::keys::{KeyIndex, NO_KEY};
use super::materialized::Materialized;
use super::parts::Parts;
use super::row_store::RowStore;
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
}

/// Everything that was read, by part.
pub struct Gathered {
    parts: Arc<Parts>,
    n_keys: usize,
    /// none where all keys are asked for
    spine: Option<Rows>,
    inputs: Vec<Rows>,
    next_part: AtomicUsize,
    figures: Figures,
}

/// The rows of the spine, or of an input.
struct Rows {
    kept: Arc<Kept>,
    /// a column that orders rows of the same time
    tie: Option<usize>,
    collected: Collected,
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("parts", &self.parts.count()).field("n_keys", &self.n_keys).finish()
    }
}

/// The rows for the keys of one part, and which of these come next.
pub struct Part {
    pub spine: Option<RowStore>,
    pub inputs: Vec<RowStore>,
    next_key: usize,
    _memory: MemoryReservation,
}

/// About how many asked rows, and how many rows of inputs, are answered at once.
const BLOCK_ASKED: usize = 64 * 1024;
const BLOCK_ROWS: usize = 512 * 1024;

impl Part {
    /// The keys to be answered next.
    pub fn next_block(&mut self) -> Option<Range<usize>> {
        let stores = || self.spine.iter().chain(&self.inputs);
        let n_keys = stores().map(RowStore::n_keys).next().unwrap_or(0);
        let start = self.next_key;
        let (mut n_asked, mut n_rows) = (0, 0);
        while self.next_key < n_keys && n_asked < BLOCK_ASKED && n_rows < BLOCK_ROWS {
            let key = self.next_key..self.next_key + 1;
            n_asked += self.spine.as_ref().map_or(1, |spine| spine.n_rows(&key));
            n_rows += self.inputs.iter().map(|input| input.n_rows(&key)).sum::<usize>();
            self.next_key += 1;
        }
        (start < self.next_key).then_some(start..self.next_key)
    }
}

impl Gathered {
    /// A part that nobody has answered yet. Each is given once, whoever asks.
    pub async fn next(&self) -> Result<Option<Part>> {
        let part = self.next_part.fetch_add(1, Ordering::Relaxed);
        if part >= self.parts.count() {
            return Ok(None);
        }
        let memory = self.figures.resources.reservation("point-in-time join, a part");
        let spine = match &self.spine {
            Some(spine) => Some(self.load(spine, part, &memory).await?),
            None => None,
        };
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            inputs.push(self.load(input, part, &memory).await?);
        }
        Ok(Some(Part { spine, inputs, next_key: 0, _memory: memory }))
    }

    async fn load(&self, rows: &Rows, part: usize, memory: &MemoryReservation) -> Result<RowStore> {
        let pieces = match &rows.collected {
            Collected::Memory(collected) => {
                let pieces = collected.part(part);
                // checked when everything had been gathered
                memory.grow(pieces.iter().map(batch_bytes).sum());
                pieces
            }
            Collected::Disk(collected) => {
                memory.try_grow(working_bytes(collected.bytes(part)))?;
                let mut pieces = Vec::new();
                for mut stream in collected.streams(part)? {
                    while let Some(batch) = stream.try_next().await? {
                        pieces.push(batch);
                    }
                }
                pieces
            }
        };
        let _timer = self.figures.order_time.timer();
        let in_part = |number| self.parts.in_part(part, number, self.n_keys);
        RowStore::of(&rows.kept, &pieces, self.parts.n_keys(part, self.n_keys), in_part, rows.tie)
    }
}

/// What it takes to put rows of so many bytes in order.
fn working_bytes(bytes: usize) -> usize {
    bytes * 2
}

impl Gathering {
    pub async fn run(self) -> Result<Arc<Gathered>> {
        let first = self.reads.first().ok_or_else(|| Error::internal("a point-in-time join without a view"))?;
        let memory = self.resources.reservation("point-in-time join, its keys");
        let mut keys = KeyIndex::new(&first.view.key_types(), None, memory)?;
        let n_columns = first.view.keys.len();
        match self.spine.clone() {
            Spine::Rows { input, width } => {
                let (mut spine, kept, reach) = self.read_spine(&input, width, n_columns, &mut keys).await?;
                keys.seal()?;
                let n_keys = keys.len();
                let parts = match spine.end()? {
                    Some(parts) => Arc::clone(parts),
                    None => Arc::new(Parts::of_keys(n_keys, self.parallelism)),
                };
                let inputs = self.read_inputs(keys, n_columns, reach, &parts).await?;
                self.gathered(Some((spine, kept)), inputs, parts, n_keys)
            }
            Spine::AllKeys { time_us } => {
                Materialized::of(first).check_scan(time_us)?;
                self.gather_all_keys(keys, n_columns).await
            }
            Spine::History { start_us, end_us } => {
                Materialized::of(first).check_history(start_us, end_us)?;
                self.gather_all_keys(keys, n_columns).await
            }
        }
    }

    /// The spine, and for every input the times that its answers can depend on.
    async fn read_spine(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        width: usize,
        n_columns: usize,
        keys: &mut KeyIndex,
    ) -> Result<(RowCollector, Arc<Kept>, Vec<Range<i64>>)> {
        let _timer = self.figures.spine_time.timer();
        let time = width + n_columns;
        let shown = |column: usize| {
            let wanted = self.reads.iter().flat_map(|read| read.answerer.wanted());
            column < width || wanted.into_iter().any(|wanted| *wanted == Wanted::Key(column - width))
        };
        let kept = Arc::new(Kept::of(&input.schema(), time, shown));
        let mut spine = RowCollector::new(&self.resources, &kept, None);
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        let mut batches = in_order(input, &self.resources)?;
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
        let mut reach = vec![i64::MAX..i64::MIN; self.inputs.len()];
        if first_us <= last_us {
            for read in self.reads.iter() {
                let reached = read.answerer.plan().reach(first_us, last_us);
                let so_far = &mut reach[read.input];
                *so_far = so_far.start.min(reached.start)..so_far.end.max(reached.end);
            }
        }
        Ok((spine, kept, reach))
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
    ) -> Result<Vec<(Arc<Kept>, Vec<RowCollector>)>> {
        let keys = Arc::new(keys);
        let mut tasks = JoinSet::new();
        let mut inputs = Vec::new();
        for (number, (input, reach)) in self.inputs.iter().zip(reach).enumerate() {
            let kept = self.kept_of(number, n_columns);
            for partition in 0..input.plan.output_partitioning().partition_count() {
                let rows = input.plan.execute(partition, Arc::clone(&self.resources.context))?;
                let collector = RowCollector::new(&self.resources, &kept, Some(Arc::clone(parts)));
                let matching = Matching {
                    keys: Arc::clone(&keys),
                    n_columns,
                    time: input.time,
                    reach: reach.clone(),
                    kept: Arc::clone(&kept),
                    figures: self.figures.clone(),
                };
                tasks.spawn(async move { Ok::<_, Error>((number, partition, matching.collect(rows, collector).await?)) });
            }
            inputs.push((kept, Vec::new()));
        }
        let mut found = Vec::new();
        while let Some(done) = tasks.join_next().await {
            found.push(done.map_err(|error| Error::internal("a task that reads rows died").with_source(error))??);
        }
        found.sort_by_key(|(number, partition, _)| (*number, *partition));
        found.into_iter().for_each(|(number, _, collector)| inputs[number].1.push(collector));
        Ok(inputs)
    }

    /// All rows of every input, whose keys are numbered as they come.
    async fn gather_all_keys(&self, mut keys: KeyIndex, n_columns: usize) -> Result<Arc<Gathered>> {
        let parts = Arc::new(Parts::Modulo { count: SPILLED_PARTS });
        let mut inputs = Vec::new();
        for (number, input) in self.inputs.iter().enumerate() {
            let kept = self.kept_of(number, n_columns);
            let mut collector = RowCollector::new(&self.resources, &kept, Some(Arc::clone(&parts)));
            let mut batches = in_order(&input.plan, &self.resources)?;
            while let Some(batch) = batches.next().await? {
                self.figures.rows_read.add(batch.num_rows());
                self.figures.rows_kept.add(batch.num_rows());
                let _timer = self.figures.match_time.timer();
                let numbers = keys.number(&batch.columns()[..n_columns])?;
                collector.push(kept.keep(&batch, numbers, times_of(&batch, input.time))?, None)?;
            }
            inputs.push((kept, vec![collector]));
        }
        self.gathered(None, inputs, parts, keys.len())
    }

    /// All in memory, if all of it is and there is memory to answer in; else all on disk.
    fn gathered(
        &self,
        spine: Option<(RowCollector, Arc<Kept>)>,
        inputs: Vec<(Arc<Kept>, Vec<RowCollector>)>,
        parts: Arc<Parts>,
        n_keys: usize,
    ) -> Result<Arc<Gathered>> {
        let mut collectors = spine.iter().map(|(spine, _)| spine).chain(inputs.iter().flat_map(|(_, parts)| parts));
        let on_disk = collectors.any(RowCollector::is_spilled);
        let spine = match spine {
            Some((collector, kept)) => {
                Some(Rows { kept, tie: None, collected: collector.finish(&parts, on_disk)? })
            }
            None => None,
        };
        let inputs = inputs
            .into_iter()
            .zip(&self.inputs)
            .map(|((kept, collectors), input)| {
                let finished = collectors.into_iter().map(|collector| collector.finish(&parts, on_disk));
                Ok(Rows { kept, tie: input.arrival, collected: joined(finished.collect::<Result<Vec<_>>>()?)? })
            })
            .collect::<Result<Vec<_>>>()?;
        let (next_part, figures) = (AtomicUsize::new(0), self.figures.clone());
        Ok(Arc::new(Gathered { parts, n_keys, spine, inputs, next_part, figures }))
    }
}

/// What a task needs to find the rows of one input that are asked for.
struct Matching {
    keys: Arc<KeyIndex>,
    n_columns: usize,
    time: usize,
    reach: Range<i64>,
    kept: Arc<Kept>,
    figures: Figures,
}

impl Matching {
    async fn collect(
        self,
        mut rows: SendableRecordBatchStream,
        mut collector: RowCollector,
    ) -> Result<RowCollector> {
        while let Some(batch) = {
            let _timer = self.figures.scan_time.timer();
            rows.try_next().await?
        } {
            self.figures.rows_read.add(batch.num_rows());
            let _timer = self.figures.match_time.timer();
            let numbers = self.keys.find(&batch.columns()[..self.n_columns])?;
            let times = times_of(&batch, self.time);
            let is_wanted = |row: usize| numbers[row] != NO_KEY && self.reach.contains(&times[row]);
            let wanted = BooleanBuffer::collect_bool(batch.num_rows(), is_wanted);
            let n_wanted = wanted.count_set_bits();
            self.figures.rows_kept.add(n_wanted);
            if n_wanted > 0 {
                let all = n_wanted == batch.num_rows();
                let wanted = BooleanArray::new(wanted, None);
                collector.push(self.kept.keep(&batch, numbers, times)?, (!all).then_some(&wanted))?;
            }
        }
        Ok(collector)
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

fn in_order(plan: &Arc<dyn ExecutionPlan>, resources: &Resources) -> Result<InOrder> {
    let mut tasks = JoinSet::new();
    let mut partitions = Vec::new();
    for partition in 0..plan.output_partitioning().partition_count() {
        let rows = plan.execute(partition, Arc::clone(&resources.context))?;
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
