//! Rows as they come, each with the number of its key: in memory as long as there is some, else on disk, in parts that
//! have all rows of a key and fit into memory one by one.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use datafusion::arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType, UInt32Type};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SpillFile, TaskContext};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::SpillMetrics;
use futures::TryStreamExt;

use super::keys::NO_KEY;
use super::row_store::{RowStore, RowStoreBuilder};
use crate::error::{Error, Result};

/// How many parts rows are spilled into.
pub const PARTS: usize = 64;
/// Rows that are written, and read again, at a time.
const SPILLED_ROWS: usize = 8192;
/// What a collector that spills holds of all parts together before it writes the largest.
const BUFFERED_BYTES: usize = 16 << 20;

/// The time of a row whose time is NULL: before all others.
pub const NO_TIME: i64 = i64::MIN;

/// What collectors share: where they spill to, and what they count.
#[derive(Debug, Clone)]
pub struct Resources {
    pub context: Arc<TaskContext>,
    pub metrics: SpillMetrics,
}

impl Resources {
    /// For what cannot be spilled.
    pub fn reservation(&self, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(self.context.memory_pool())
    }
}

/// See the module.
pub struct RowCollector {
    resources: Resources,
    schema: SchemaRef,
    time: usize,
    memory: MemoryReservation,
    held: RowStoreBuilder,
    spill: Option<Spill>,
}

/// Rows on their way to disk, by part.
struct Spill {
    manager: Arc<SpillManager>,
    buffers: Vec<Buffer>,
    buffered_bytes: usize,
    files: Vec<Vec<Arc<dyn SpillFile>>>,
}

#[derive(Default)]
struct Buffer {
    batches: Vec<RecordBatch>,
    bytes: usize,
}

/// Everything that was collected.
pub enum Collected {
    Memory(RowStoreBuilder, MemoryReservation),
    Parts(SpilledRows),
}

/// Files by part, in the order in which their rows came.
#[derive(Clone)]
pub struct SpilledRows {
    resources: Resources,
    manager: Arc<SpillManager>,
    schema: SchemaRef,
    time: usize,
    parts: Vec<Vec<Arc<dyn SpillFile>>>,
}

impl RowCollector {
    /// For rows of `schema`, whose time is in column `time`.
    pub fn new(resources: &Resources, schema: SchemaRef, time: usize) -> RowCollector {
        let consumer = MemoryConsumer::new("point-in-time join").with_can_spill(true);
        RowCollector {
            memory: consumer.register(resources.context.memory_pool()),
            held: RowStoreBuilder::new(Arc::clone(&schema)),
            resources: resources.clone(),
            schema,
            time,
            spill: None,
        }
    }

    /// Adds those rows of a batch that `keep` says; all, if it says nothing.
    pub fn push(&mut self, batch: RecordBatch, mut keys: Vec<u32>, keep: Option<&BooleanArray>) -> Result<()> {
        let batch = match keep {
            None => batch,
            Some(keep) => {
                let mut kept = keep.values().iter();
                keys.retain(|_| kept.next().unwrap_or(false));
                filter_record_batch(&batch, keep).map_err(could_not)?
            }
        };
        if self.spill.is_none() {
            let bytes = batch_bytes(&batch);
            if self.memory.try_grow(bytes).is_ok() {
                let times = times_of(&batch, self.time);
                return self.held.push(batch, &keys, &times);
            }
            self.spill_all()?;
        }
        match &mut self.spill {
            Some(spill) => spill.push(&batch, &keys),
            None => Err(Error::internal("rows were not spilled")),
        }
    }

    fn spill_all(&mut self) -> Result<()> {
        let held = std::mem::replace(&mut self.held, RowStoreBuilder::new(Arc::clone(&self.schema)));
        let mut spill = Spill::new(&self.resources, &self.schema);
        for (batch, keys) in held.into_chunks()? {
            spill.push(&batch, &keys)?;
        }
        self.memory.free();
        self.spill = Some(spill);
        Ok(())
    }

    pub fn is_spilled(&self) -> bool {
        self.spill.is_some()
    }

    /// Ends the collection; on disk if that is where the rest is.
    pub fn finish(mut self, on_disk: bool) -> Result<Collected> {
        if on_disk && self.spill.is_none() {
            self.spill_all()?;
        }
        match self.spill {
            None => Ok(Collected::Memory(self.held, self.memory)),
            Some(spill) => Ok(Collected::Parts(SpilledRows {
                resources: self.resources,
                manager: Arc::clone(&spill.manager),
                schema: self.schema,
                time: self.time,
                parts: spill.finish()?,
            })),
        }
    }
}

/// Several collections of the same rows, one behind the other.
pub fn joined(collected: Vec<Collected>) -> Result<Collected> {
    let mut all: Option<Collected> = None;
    for next in collected {
        all = Some(match (all, next) {
            (None, next) => next,
            (Some(Collected::Memory(mut rows, memory)), Collected::Memory(more, held)) => {
                rows.append(more)?;
                memory.grow(held.free());
                Collected::Memory(rows, memory)
            }
            (Some(Collected::Parts(mut rows)), Collected::Parts(more)) => {
                for (files, more) in rows.parts.iter_mut().zip(more.parts) {
                    files.extend(more);
                }
                Collected::Parts(rows)
            }
            _ => return Err(Error::internal("rows are in memory and on disk")),
        });
    }
    all.ok_or_else(|| Error::internal("nothing was collected"))
}

impl Spill {
    fn new(resources: &Resources, schema: &SchemaRef) -> Spill {
        let mut fields = schema.fields().to_vec();
        fields.push(Arc::new(Field::new("_key_number", DataType::UInt32, false)));
        let schema = Arc::new(Schema::new(fields));
        let manager = SpillManager::new(resources.context.runtime_env(), resources.metrics.clone(), schema);
        Spill {
            manager: Arc::new(manager),
            buffers: (0..PARTS).map(|_| Buffer::default()).collect(),
            buffered_bytes: 0,
            files: vec![Vec::new(); PARTS],
        }
    }

    fn push(&mut self, batch: &RecordBatch, keys: &[u32]) -> Result<()> {
        let mut columns = batch.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from(keys.to_vec())) as ArrayRef);
        let batch = RecordBatch::try_new(Arc::clone(self.manager.schema()), columns).map_err(could_not)?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); PARTS];
        for (row, key) in (0..).zip(keys) {
            rows[part_of(*key)].push(row);
        }
        for (part, rows) in rows.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let taken = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(could_not)?;
            let bytes = batch_bytes(&taken);
            self.buffers[part].batches.push(taken);
            self.buffers[part].bytes += bytes;
            self.buffered_bytes += bytes;
        }
        while self.buffered_bytes > BUFFERED_BYTES {
            let largest = (0..PARTS).max_by_key(|part| self.buffers[*part].bytes).unwrap_or_default();
            self.write(largest)?;
        }
        Ok(())
    }

    fn write(&mut self, part: usize) -> Result<()> {
        let Buffer { batches, bytes } = std::mem::take(&mut self.buffers[part]);
        self.buffered_bytes -= bytes;
        if !batches.is_empty() {
            let whole = concat_batches(self.manager.schema(), &batches).map_err(could_not)?;
            let batches: Vec<RecordBatch> = (0..whole.num_rows())
                .step_by(SPILLED_ROWS)
                .map(|start| whole.slice(start, SPILLED_ROWS.min(whole.num_rows() - start)))
                .collect();
            self.files[part].extend(self.manager.spill_record_batch_and_finish(&batches, "point-in-time join")?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Vec<Arc<dyn SpillFile>>>> {
        (0..PARTS).try_for_each(|part| self.write(part))?;
        Ok(self.files)
    }
}

/// Rows without a key are in the first part.
fn part_of(key: u32) -> usize {
    if key == NO_KEY { 0 } else { key as usize % PARTS }
}

/// How many keys a part has at most, of `n_keys`.
pub fn keys_of_part(n_keys: usize) -> usize {
    n_keys.div_ceil(PARTS)
}

impl SpilledRows {
    /// The rows of a part, by keys numbered from 0 below [`keys_of_part`]; behind those, the rows without key.
    pub async fn load(&self, part: usize, n_keys: usize, memory: &MemoryReservation) -> Result<RowStore> {
        let mut rows = RowStoreBuilder::new(Arc::clone(&self.schema));
        for file in &self.parts[part] {
            let mut batches = self.manager.read_spill_as_stream(Arc::clone(file), None)?;
            while let Some(mut batch) = batches.try_next().await? {
                let numbers = batch.remove_column(self.schema.fields().len());
                let number = |key: &u32| if *key == NO_KEY { NO_KEY } else { *key / PARTS as u32 };
                let keys: Vec<u32> = numbers.as_primitive::<UInt32Type>().values().iter().map(number).collect();
                memory.try_grow(batch_bytes(&batch))?;
                let times = times_of(&batch, self.time);
                rows.push(batch, &keys, &times)?;
            }
        }
        rows.finish(keys_of_part(n_keys))
    }

    /// A reservation for the rows of one part at a time.
    pub fn reservation(&self) -> MemoryReservation {
        self.resources.reservation("point-in-time join, a part")
    }
}

/// A column of times as microseconds.
pub fn times_of(batch: &RecordBatch, column: usize) -> Vec<i64> {
    let times = batch.column(column).as_primitive::<TimestampMicrosecondType>();
    if times.null_count() == 0 {
        return times.values().to_vec();
    }
    times.iter().map(|time| time.unwrap_or(NO_TIME)).collect()
}

/// The bytes of a batch's rows, with their place, number and time.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let arrays = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or_default());
    arrays.sum::<usize>() + batch.num_rows() * (size_of::<u32>() * 2 + size_of::<i64>())
}

fn could_not(error: datafusion::arrow::error::ArrowError) -> Error {
    Error::internal("rows could not be collected").with_source(error)
}
