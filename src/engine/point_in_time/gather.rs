//! Reads what a point-in-time join needs: first the spine, whose keys are numbered, then every input, of whose rows
//! only those count that have a key of the spine and a time that some window can reach.
//!
//! All of it is in memory, or all of it on disk in parts by key.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::TryStreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::collect::{Collected, NO_TIME, PARTS, Resources, RowCollector, SpilledRows, joined, keys_of_part, times_of};
use super::exec::{Figures, Read, RowsInput, Spine};
use super::keys::{KeyIndex, NO_KEY};
use super::materialized::Materialized;
use super::row_store::RowStore;
use crate::error::{Error, Result};

/// What is to be read.
pub struct Gathering {
    pub spine: Spine,
    pub inputs: Vec<RowsInput>,
    pub reads: Arc<[Read]>,
    pub figures: Figures,
    pub resources: Resources,
}

/// Everything that was read.
pub enum Gathered {
    InMemory(Part),
    OnDisk(PartsOnDisk),
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Gathered::InMemory(_) => "in memory",
            Gathered::OnDisk(_) => "on disk",
        })
    }
}

/// The spine's rows (none where all keys are asked for) and the inputs' for some keys, and the blocks in which they
/// are answered.
pub struct Part {
    pub spine: Option<RowStore>,
    pub inputs: Vec<RowStore>,
    blocks: Vec<Range<usize>>,
    next_block: AtomicUsize,
    _memory: Vec<MemoryReservation>,
}

/// About how many asked rows, and how many rows of inputs, make a block.
const BLOCK_ASKED: usize = 64 * 1024;
const BLOCK_ROWS: usize = 512 * 1024;

impl Part {
    fn new(spine: Option<RowStore>, inputs: Vec<RowStore>, n_keys: usize, memory: Vec<MemoryReservation>) -> Part {
        let mut blocks = Vec::new();
        let (mut start, mut n_asked, mut n_rows) = (0, 0, 0);
        // behind the last key are the rows without one
        for key in 0..=n_keys {
            let of_key = key..key + 1;
            n_asked += spine.as_ref().map_or(1, |spine| spine.n_rows(&of_key));
            n_rows += inputs.iter().map(|input| input.n_rows(&of_key)).sum::<usize>();
            if n_asked >= BLOCK_ASKED || n_rows >= BLOCK_ROWS || key == n_keys {
                blocks.push(start..key + 1);
                (start, n_asked, n_rows) = (key + 1, 0, 0);
            }
        }
        Part { spine, inputs, blocks, next_block: AtomicUsize::new(0), _memory: memory }
    }

    /// The keys to be answered next. Each is given once, whoever asks.
    pub fn next_block(&self) -> Option<Range<usize>> {
        self.blocks.get(self.next_block.fetch_add(1, Ordering::Relaxed)).cloned()
    }

    pub fn is_done(&self) -> bool {
        self.next_block.load(Ordering::Relaxed) >= self.blocks.len()
    }
}

/// Parts that are loaded one after the other.
pub struct PartsOnDisk {
    spine: Option<SpilledRows>,
    inputs: Vec<SpilledRows>,
    n_keys: usize,
    next_part: AtomicUsize,
}

impl PartsOnDisk {
    /// Each is given once, whoever asks.
    pub async fn next(&self) -> Result<Option<Part>> {
        let part = self.next_part.fetch_add(1, Ordering::Relaxed);
        if part >= PARTS {
            return Ok(None);
        }
        let mut memory = Vec::new();
        let mut load = async |rows: &SpilledRows| {
            let held = rows.reservation();
            let loaded = rows.load(part, self.n_keys, &held).await;
            memory.push(held);
            loaded
        };
        let spine = match &self.spine {
            Some(spine) => Some(load(spine).await?),
            None => None,
        };
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            inputs.push(load(input).await?);
        }
        Ok(Some(Part::new(spine, inputs, keys_of_part(self.n_keys), memory)))
    }
}

impl Gathering {
    pub async fn run(self) -> Result<Arc<Gathered>> {
        let first = self.reads.first().ok_or_else(|| Error::internal("a point-in-time join without a view"))?;
        let memory = self.resources.reservation("point-in-time join, its keys");
        let mut keys = KeyIndex::new(&first.view.key_types(), memory)?;
        let n_columns = first.view.keys.len();
        let (spine, inputs, n_keys) = match self.spine.clone() {
            Spine::Rows { input, width } => {
                let (spine, reach) = self.read_spine(&input, width, n_columns, &mut keys).await?;
                let n_keys = keys.len();
                let inputs = self.read_inputs(Arc::new(keys), n_columns, reach).await?;
                (Some(spine), inputs, n_keys)
            }
            Spine::AllKeys { time_us } => {
                Materialized::of(first).check_scan(time_us)?;
                let inputs = self.number_inputs(&mut keys, n_columns).await?;
                (None, inputs, keys.len())
            }
            Spine::History { start_us, end_us } => {
                Materialized::of(first).check_history(start_us, end_us)?;
                let inputs = self.number_inputs(&mut keys, n_columns).await?;
                (None, inputs, keys.len())
            }
        };
        let _timer = self.figures.group_time.timer();
        gathered(spine, inputs, n_keys).map(Arc::new)
    }

    /// The spine, and for every input the times that its answers can depend on.
    async fn read_spine(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        width: usize,
        n_columns: usize,
        keys: &mut KeyIndex,
    ) -> Result<(RowCollector, Vec<Range<i64>>)> {
        let _timer = self.figures.spine_time.timer();
        let time = width + n_columns;
        let mut spine = RowCollector::new(&self.resources, input.schema(), time);
        let (mut first_us, mut last_us) = (i64::MAX, i64::MIN);
        let mut batches = in_order(input, &self.resources)?;
        while let Some(batch) = batches.next().await? {
            self.figures.spine_rows.add(batch.num_rows());
            let numbers = keys.number(&batch.columns()[width..time])?;
            let times: Vec<i64> = times_of(&batch, time).into_iter().filter(|time_us| *time_us != NO_TIME).collect();
            for read in self.reads.iter() {
                Materialized::of(read).check_all(&times)?;
            }
            first_us = times.iter().copied().fold(first_us, i64::min);
            last_us = times.iter().copied().fold(last_us, i64::max);
            spine.push(batch, numbers, None)?;
        }
        let mut reach = vec![i64::MAX..i64::MIN; self.inputs.len()];
        if first_us <= last_us {
            for read in self.reads.iter() {
                let reached = read.answerer.plan().reach(first_us, last_us);
                let so_far = &mut reach[read.input];
                *so_far = so_far.start.min(reached.start)..so_far.end.max(reached.end);
            }
        }
        Ok((spine, reach))
    }

    /// Of every input the rows that some asked row can reach, by partition.
    async fn read_inputs(
        &self,
        keys: Arc<KeyIndex>,
        n_columns: usize,
        reach: Vec<Range<i64>>,
    ) -> Result<Vec<Vec<RowCollector>>> {
        let _timer = self.figures.rows_time.timer();
        let mut tasks = JoinSet::new();
        for (number, (input, reach)) in self.inputs.iter().zip(reach).enumerate() {
            for partition in 0..input.plan.output_partitioning().partition_count() {
                let mut rows = input.plan.execute(partition, Arc::clone(&self.resources.context))?;
                let mut collector = RowCollector::new(&self.resources, input.plan.schema(), input.time);
                let (keys, figures) = (Arc::clone(&keys), self.figures.clone());
                let (time, reach) = (input.time, reach.clone());
                tasks.spawn(async move {
                    while let Some(batch) = rows.try_next().await? {
                        figures.rows_read.add(batch.num_rows());
                        let numbers = keys.find(&batch.columns()[..n_columns])?;
                        let wanted = times_of(&batch, time)
                            .into_iter()
                            .zip(&numbers)
                            .map(|(time_us, key)| *key != NO_KEY && reach.contains(&time_us));
                        let wanted = BooleanArray::from_iter(wanted.map(Some));
                        let n_wanted = wanted.true_count();
                        figures.rows_kept.add(n_wanted);
                        if n_wanted > 0 {
                            let all = n_wanted == batch.num_rows();
                            collector.push(batch, numbers, (!all).then_some(&wanted))?;
                        }
                    }
                    Ok::<_, Error>((number, partition, collector))
                });
            }
        }
        let mut found = Vec::new();
        while let Some(done) = tasks.join_next().await {
            found.push(done.map_err(|error| Error::internal("a task that reads rows died").with_source(error))??);
        }
        found.sort_by_key(|(number, partition, _)| (*number, *partition));
        let mut inputs: Vec<Vec<RowCollector>> = self.inputs.iter().map(|_| Vec::new()).collect();
        found.into_iter().for_each(|(number, _, collector)| inputs[number].push(collector));
        Ok(inputs)
    }

    /// All rows of every input, whose keys are numbered as they come.
    async fn number_inputs(&self, keys: &mut KeyIndex, n_columns: usize) -> Result<Vec<Vec<RowCollector>>> {
        let _timer = self.figures.rows_time.timer();
        let mut inputs = Vec::new();
        for input in &self.inputs {
            let mut collector = RowCollector::new(&self.resources, input.plan.schema(), input.time);
            let mut batches = in_order(&input.plan, &self.resources)?;
            while let Some(batch) = batches.next().await? {
                self.figures.rows_read.add(batch.num_rows());
                self.figures.rows_kept.add(batch.num_rows());
                let numbers = keys.number(&batch.columns()[..n_columns])?;
                collector.push(batch, numbers, None)?;
            }
            inputs.push(vec![collector]);
        }
        Ok(inputs)
    }
}

/// All in memory, if all of it is; else all on disk, so that there is memory to answer in.
fn gathered(spine: Option<RowCollector>, inputs: Vec<Vec<RowCollector>>, n_keys: usize) -> Result<Gathered> {
    let mut collectors = spine.iter().chain(inputs.iter().flatten());
    let on_disk = collectors.any(RowCollector::is_spilled);
    let spine = spine.map(|spine| spine.finish(on_disk)).transpose()?;
    let inputs = inputs
        .into_iter()
        .map(|parts| joined(parts.into_iter().map(|part| part.finish(on_disk)).collect::<Result<Vec<_>>>()?))
        .collect::<Result<Vec<_>>>()?;
    if on_disk {
        let parts = |collected| match collected {
            Collected::Parts(rows) => Ok(rows),
            Collected::Memory(..) => Err(Error::internal("rows are in memory that should be on disk")),
        };
        return Ok(Gathered::OnDisk(PartsOnDisk {
            spine: spine.map(parts).transpose()?,
            inputs: inputs.into_iter().map(parts).collect::<Result<_>>()?,
            n_keys,
            next_part: AtomicUsize::new(0),
        }));
    }
    let mut memory = Vec::new();
    let mut store = |collected| match collected {
        Collected::Memory(rows, held) => {
            memory.push(held);
            rows.finish(n_keys)
        }
        Collected::Parts(_) => Err(Error::internal("rows are on disk that should be in memory")),
    };
    let spine = spine.map(&mut store).transpose()?;
    let inputs = inputs.into_iter().map(&mut store).collect::<Result<Vec<_>>>()?;
    Ok(Gathered::InMemory(Part::new(spine, inputs, n_keys, memory)))
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
