//! Kept rows as they come, divided into parts by key: in memory as long as there is some, else on disk.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{BatchCoalescer, concat_batches, take_record_batch};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, SpillFile, TaskContext};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::SpillMetrics;

use super::kept::{Kept, numbers_of};
use super::parts::Parts;
use crate::error::{Error, Result};

/// How many parts rows are spilled into.
pub const SPILLED_PARTS: u32 = 64;
/// Rows that are written, and read again, at a time: at most so many, of about so many bytes.
const SPILLED_ROWS: usize = 8192;
const SPILLED_BYTES: usize = 128 * 1024;
/// What a collector that spills holds of all parts together before it writes the largest.
const BUFFERED_BYTES: usize = 16 << 20;
/// Rows that are divided at once.
const CHUNK_ROWS: usize = 128 * 1024;

/// What collectors share: where they spill to, and what they count.
#[derive(Debug, Clone)]
pub struct Resources {
    pub context: Arc<TaskContext>,
    pub metrics: SpillMetrics,
}

impl Resources {
    /// The context for plans whose rows arrive in the order of their files. The plan was made so that no partition reads
    /// on in the files of another; whether one does is asked again when it runs, in the context that it runs in.
    pub fn in_file_order(&self) -> Arc<TaskContext> {
        let mut config = self.context.session_config().clone();
        config.options_mut().execution.enable_file_stream_work_stealing = false;
        Arc::new(TaskContext::default().with_session_config(config).with_runtime(self.context.runtime_env()))
    }

    /// For what cannot be spilled.
    pub fn reservation(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}

/// See the module.
pub struct RowCollector {
    resources: Resources,
    kept: Arc<Kept>,
    /// none while it is not known how many keys there will be
    parts: Option<Arc<Parts>>,
    memory: MemoryReservation,
    coalescer: BatchCoalescer,
    /// of one part after the other, if the parts are known; else as they came
    chunks: Vec<Chunk>,
    spill: Option<Spill>,
}

/// Rows of one part after the other.
struct Chunk {
    rows: RecordBatch,
    /// where each part begins, and one more
    starts: Vec<u32>,
}

impl Chunk {
    fn undivided(rows: RecordBatch) -> Chunk {
        Chunk { rows, starts: Vec::new() }
    }

    /// Divides rows into parts; inside of each they stay in their order.
    fn divided(rows: RecordBatch, parts: &Parts) -> Result<Chunk> {
        let numbers = numbers_of(&rows);
        let mut starts = vec![0_u32; parts.count() + 1];
        let of_rows: Vec<u32> = numbers.iter().map(|number| parts.part_of(*number) as u32).collect();
        for part in &of_rows {
            starts[*part as usize + 1] += 1;
        }
        for part in 0..parts.count() {
            starts[part + 1] += starts[part];
        }
        if parts.count() == 1 {
            return Ok(Chunk { rows, starts });
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; of_rows.len()];
        for (row, part) in (0..).zip(&of_rows) {
            let place = &mut next[*part as usize];
            order[*place as usize] = row;
            *place += 1;
        }
        let rows = take_record_batch(&rows, &UInt32Array::from(order)).map_err(could_not)?;
        Ok(Chunk { rows, starts })
    }

    fn rows_of(&self, part: usize) -> Range<usize> {
        self.starts[part] as usize..self.starts[part + 1] as usize
    }
}

/// Rows on their way to disk, by part.
struct Spill {
    manager: Arc<SpillManager>,
    parts: Arc<Parts>,
    buffers: Vec<Buffer>,
    buffered_bytes: usize,
    files: Vec<PartFiles>,
}

#[derive(Default)]
struct Buffer {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

#[derive(Default, Clone)]
struct PartFiles {
    files: Vec<Arc<dyn SpillFile>>,
    rows: usize,
    /// what the rows take in memory
    bytes: usize,
}

impl PartFiles {
    fn rows_at_once(&self) -> usize {
        (SPILLED_BYTES / (self.bytes / self.rows.max(1)).max(1)).clamp(1, SPILLED_ROWS)
    }
}

/// Everything that was collected, by part.
pub enum Collected {
    Memory(RowsInMemory),
    Disk(RowsOnDisk),
}

/// Chunks in the order in which their rows came.
pub struct RowsInMemory {
    chunks: Vec<Chunk>,
    _memory: Vec<MemoryReservation>,
}

/// Files in the order in which their rows came.
#[derive(Clone)]
pub struct RowsOnDisk {
    resources: Resources,
    manager: Arc<SpillManager>,
    parts: Vec<PartFiles>,
}

impl RowCollector {
    /// For rows that are in the form of `kept`.
    pub fn new(resources: &Resources, kept: &Arc<Kept>, parts: Option<Arc<Parts>>) -> RowCollector {
        let consumer = MemoryConsumer::new("point-in-time join").with_can_spill(true);
        RowCollector {
            memory: consumer.register(resources.context.memory_pool()),
            coalescer: BatchCoalescer::new(Arc::clone(kept.schema()), CHUNK_ROWS),
            kept: Arc::clone(kept),
            resources: resources.clone(),
            parts,
            chunks: Vec::new(),
            spill: None,
        }
    }

    /// Adds those rows of a batch that `keep` says; all, if it says nothing.
    pub fn push(&mut self, rows: RecordBatch, keep: Option<&BooleanArray>) -> Result<()> {
        match keep {
            None => self.coalescer.push_batch(rows),
            Some(keep) => self.coalescer.push_batch_with_filter(rows, keep),
        }
        .map_err(could_not)?;
        self.take_chunks()
    }

    fn take_chunks(&mut self) -> Result<()> {
        while let Some(rows) = self.coalescer.next_completed_batch() {
            if self.spill.is_none() && self.memory.try_grow(batch_bytes(&rows)).is_err() {
                self.spill_all()?;
            }
            match (&mut self.spill, &self.parts) {
                (Some(spill), _) => spill.push(&rows)?,
                (None, Some(parts)) => self.chunks.push(Chunk::divided(rows, parts)?),
                (None, None) => self.chunks.push(Chunk::undivided(rows)),
            }
        }
        Ok(())
    }

    fn spill_all(&mut self) -> Result<()> {
        let parts = self.parts.get_or_insert_with(|| Arc::new(Parts::Modulo { count: SPILLED_PARTS }));
        let mut spill = Spill::new(&self.resources, &self.kept, parts);
        for chunk in std::mem::take(&mut self.chunks) {
            spill.push(&chunk.rows)?;
        }
        self.memory.free();
        self.spill = Some(spill);
        Ok(())
    }

    /// All rows have come. Says into which parts they are divided, if they already are.
    pub fn end(&mut self) -> Result<Option<&Arc<Parts>>> {
        self.coalescer.finish_buffered_batch().map_err(could_not)?;
        self.take_chunks()?;
        Ok(self.parts.as_ref())
    }

    /// About how much memory the rows of a part take; nothing, while parts are not known.
    pub fn bytes_of(&self, part: usize) -> usize {
        let of_chunk = |chunk: &Chunk| match chunk.starts.is_empty() {
            true => 0,
            false => batch_bytes(&chunk.rows) / chunk.rows.num_rows().max(1) * chunk.rows_of(part).len(),
        };
        self.chunks.iter().map(of_chunk).sum()
    }

    pub fn is_spilled(&self) -> bool {
        self.spill.is_some()
    }

    /// The rows by `parts`, on disk if that is where the rest is.
    pub fn finish(mut self, parts: &Arc<Parts>, on_disk: bool) -> Result<Collected> {
        self.end()?;
        let divided = self.parts.is_some();
        self.parts.get_or_insert_with(|| Arc::clone(parts));
        if on_disk && self.spill.is_none() {
            self.spill_all()?;
        }
        if let Some(spill) = self.spill {
            let manager = Arc::clone(&spill.manager);
            return Ok(Collected::Disk(RowsOnDisk { resources: self.resources, manager, parts: spill.finish()? }));
        }
        let mut chunks = self.chunks;
        if !divided {
            let undivided = chunks.into_iter();
            chunks = undivided.map(|chunk| Chunk::divided(chunk.rows, parts)).collect::<Result<_>>()?;
        }
        Ok(Collected::Memory(RowsInMemory { chunks, _memory: vec![self.memory] }))
    }
}

/// Several collections of the same rows, one behind the other.
pub fn joined(collected: Vec<Collected>) -> Result<Collected> {
    let mut all: Option<Collected> = None;
    for next in collected {
        all = Some(match (all, next) {
            (None, next) => next,
            (Some(Collected::Memory(mut rows)), Collected::Memory(more)) => {
                rows.chunks.extend(more.chunks);
                rows._memory.extend(more._memory);
                Collected::Memory(rows)
            }
            (Some(Collected::Disk(mut rows)), Collected::Disk(more)) => {
                for (files, more) in rows.parts.iter_mut().zip(more.parts) {
                    files.files.extend(more.files);
                    files.bytes += more.bytes;
                    files.rows += more.rows;
                }
                Collected::Disk(rows)
            }
            _ => return Err(Error::internal("rows are in memory and on disk")),
        });
    }
    all.ok_or_else(|| Error::internal("nothing was collected"))
}

impl Spill {
    fn new(resources: &Resources, kept: &Kept, parts: &Arc<Parts>) -> Spill {
        let schema = Arc::clone(kept.schema());
        let manager = SpillManager::new(resources.context.runtime_env(), resources.metrics.clone(), schema);
        Spill {
            manager: Arc::new(manager),
            buffers: (0..parts.count()).map(|_| Buffer::default()).collect(),
            files: vec![PartFiles::default(); parts.count()],
            parts: Arc::clone(parts),
            buffered_bytes: 0,
        }
    }

    fn push(&mut self, rows: &RecordBatch) -> Result<()> {
        let mut of_parts: Vec<Vec<u32>> = vec![Vec::new(); self.parts.count()];
        for (row, number) in (0..).zip(numbers_of(rows)) {
            of_parts[self.parts.part_of(*number)].push(row);
        }
        for (part, of_part) in of_parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let taken = take_record_batch(rows, &UInt32Array::from(of_part)).map_err(could_not)?;
            let bytes = batch_bytes(&taken);
            self.files[part].bytes += bytes;
            self.files[part].rows += taken.num_rows();
            self.buffers[part].batches.push(taken);
            self.buffers[part].bytes += bytes;
            self.buffered_bytes += bytes;
        }
        while self.buffered_bytes > BUFFERED_BYTES {
            let largest = (0..self.buffers.len()).max_by_key(|part| self.buffers[*part].bytes).unwrap_or_default();
            self.write(largest)?;
        }
        Ok(())
    }

    fn write(&mut self, part: usize) -> Result<()> {
        let Buffer { batches, bytes } = std::mem::take(&mut self.buffers[part]);
        self.buffered_bytes -= bytes;
        if !batches.is_empty() {
            let whole = concat_batches(self.manager.schema(), &batches).map_err(could_not)?;
            let at_once = self.files[part].rows_at_once();
            let batches: Vec<RecordBatch> = (0..whole.num_rows())
                .step_by(at_once)
                .map(|start| whole.slice(start, at_once.min(whole.num_rows() - start)))
                .collect();
            let file = self.manager.spill_record_batch_and_finish(&batches, "point-in-time join")?;
            self.files[part].files.extend(file);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<PartFiles>> {
        (0..self.buffers.len()).try_for_each(|part| self.write(part))?;
        Ok(self.files)
    }
}

impl RowsInMemory {
    /// The rows of a part, in the order in which they came.
    pub fn part(&self, part: usize) -> Vec<RecordBatch> {
        let pieces = self.chunks.iter().map(|chunk| (chunk, chunk.rows_of(part)));
        pieces
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(chunk, rows)| chunk.rows.slice(rows.start, rows.len()))
            .collect()
    }
}

impl RowsOnDisk {
    /// What the rows of a part take in memory.
    pub fn bytes(&self, part: usize) -> usize {
        self.parts[part].bytes
    }

    /// About how many rows of a part are read at a time.
    pub fn rows_at_once(&self, part: usize) -> usize {
        self.parts[part].rows_at_once()
    }

    /// The rows of a part, file by file, in the order in which they came.
    pub fn streams(&self, part: usize) -> Result<Vec<SendableRecordBatchStream>> {
        let files = self.parts[part].files.iter();
        files.map(|file| Ok(self.manager.read_spill_as_stream(Arc::clone(file), None)?)).collect()
    }

    pub fn resources(&self) -> &Resources {
        &self.resources
    }
}

/// The bytes of a batch's rows.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default()).sum()
}

fn could_not(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::internal("rows could not be collected").with_source(error)
}
