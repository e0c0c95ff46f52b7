//! Rows of an input that come in the order of their keys, so that of a part only some keys are in memory at a time:
//! out of sorted files, or out of a sort on disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::TryStreamExt;

use super::collect::{Resources, batch_bytes};
use super::kept::{kept_times_of, numbers_of};
use super::matching::Matching;
use super::row_store::RowStore;
use super::stored::StoredScan;
use crate::error::{Error, Kind, Result};

/// Several streams of rows, each ascending by key; of one key, those of a stream are before those of the next.
pub struct Cursor {
    streams: Vec<SortedStream>,
    matching: Arc<Matching>,
    part: usize,
    tie: Option<usize>,
    memory: MemoryReservation,
    _scans: Vec<StoredScan>,
}

/// What a cursor goes through.
pub struct Ordered {
    pub streams: Vec<SendableRecordBatchStream>,
    pub form: Form,
    /// what the streams read
    pub scans: Vec<StoredScan>,
    /// a column that orders rows of the same time
    pub tie: Option<usize>,
}

/// Rows of one stream, in kept form, with the numbers that their keys have in the part.
struct SortedStream {
    rows: SendableRecordBatchStream,
    form: Form,
    buffered: VecDeque<RecordBatch>,
    n_buffered: usize,
    /// of the newest buffered row: the number of its key, and its time
    last: Option<(u32, i64)>,
    is_done: bool,
}

/// What a stream gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// the input's own rows
    Plan,
    /// kept rows, with the numbers that their keys have in the join
    Kept,
}

/// Whether there was memory for what has been read.
#[derive(Debug)]
#[must_use]
pub enum Memory {
    Enough,
    /// It was read all the same, and counts; who cannot make room for it fails with this.
    Full(Error),
}

impl Memory {
    pub fn or_fail(self) -> Result<()> {
        match self {
            Memory::Enough => Ok(()),
            Memory::Full(error) => Err(error),
        }
    }
}

impl Cursor {
    pub fn new(ordered: Ordered, matching: Arc<Matching>, part: usize, resources: &Resources) -> Cursor {
        let stream = |rows| SortedStream {
            rows,
            form: ordered.form,
            buffered: VecDeque::new(),
            n_buffered: 0,
            last: None,
            is_done: false,
        };
        Cursor {
            streams: ordered.streams.into_iter().map(stream).collect(),
            matching,
            part,
            tie: ordered.tie,
            memory: resources.reservation("point-in-time join, rows in order"),
            _scans: ordered.scans,
        }
    }

    /// Reads until each stream has so many rows, or has ended, or memory is full.
    pub async fn fill(&mut self, n_rows: usize) -> Result<()> {
        for stream in &mut self.streams {
            while stream.n_buffered < n_rows && !stream.is_done {
                if let Memory::Full(_) = stream.read(&self.matching, self.part, &self.memory).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads on in the streams that have not yet gone beyond `key`.
    pub async fn read_on(&mut self, key: u32) -> Result<Memory> {
        for stream in self.streams.iter_mut().filter(|stream| !stream.is_beyond(key)) {
            if let Memory::Full(error) = stream.read(&self.matching, self.part, &self.memory).await? {
                return Ok(Memory::Full(error));
            }
        }
        Ok(Memory::Enough)
    }

    /// All rows of keys below this one are buffered; `None` if there are no others.
    pub fn complete_below(&self) -> Option<u32> {
        self.streams.iter().filter(|stream| !stream.is_done).map(|stream| stream.last.map_or(0, |(key, _)| key)).min()
    }

    /// All rows of `key` before this time are buffered.
    pub fn complete_until(&self, key: u32) -> i64 {
        let of_stream = |stream: &SortedStream| match stream.last {
            _ if stream.is_beyond(key) => i64::MAX,
            Some((last, time_us)) if last == key => time_us,
            _ => i64::MIN,
        };
        self.streams.iter().map(of_stream).min().unwrap_or(i64::MAX)
    }

    pub fn is_beyond(&self, key: u32) -> bool {
        self.streams.iter().all(|stream| stream.is_beyond(key))
    }

    pub fn n_buffered(&self) -> usize {
        self.streams.iter().map(|stream| stream.n_buffered).sum()
    }

    /// The buffered rows of keys `first..end`, which are the first ones, as a store of `end - first` keys.
    pub fn take_below(&mut self, first: u32, end: u32) -> Result<RowStore> {
        let mut pieces = Vec::new();
        for stream in &mut self.streams {
            stream.take_below(end, &mut pieces);
        }
        let store = self.store_of(&pieces, first, end);
        self.memory.shrink(pieces.iter().map(batch_bytes).sum::<usize>().min(self.memory.size()));
        store
    }

    /// The buffered rows of one key, the first one, in a stretch of time; they stay.
    pub fn rows_of(&self, key: u32, times: &Range<i64>) -> Result<RowStore> {
        let mut pieces = Vec::new();
        for batch in self.streams.iter().flat_map(|stream| &stream.buffered) {
            let n_of_key = numbers_of(batch).partition_point(|number| *number <= key);
            let of_key = &kept_times_of(batch)[..n_of_key];
            let start = of_key.partition_point(|time_us| *time_us < times.start);
            let end = of_key.partition_point(|time_us| *time_us < times.end).max(start);
            pieces.push(batch.slice(start, end - start));
        }
        self.store_of(&pieces, key, key + 1)
    }

    /// The time of the newest buffered row of `key` before `end_us`, of those for which the column `of_view` is true;
    /// `i64::MIN` if there is none.
    pub fn newest_before(&self, key: u32, end_us: i64, of_view: Option<usize>) -> i64 {
        let of_view = of_view.and_then(|column| self.matching.kept.place(column).ok());
        let newest_of_batch = |batch: &RecordBatch| {
            let (numbers, times) = (numbers_of(batch), kept_times_of(batch));
            let is_of_view = |row: usize| {
                let column = of_view.map(|column| batch.column(column).as_boolean());
                column.is_none_or(|column| column.is_valid(row) && column.value(row))
            };
            (0..batch.num_rows())
                .rev()
                .find(|row| numbers[*row] == key && times[*row] < end_us && is_of_view(*row))
                .map(|row| times[row])
        };
        let newest_of_stream = |stream: &SortedStream| stream.buffered.iter().rev().find_map(newest_of_batch);
        self.streams.iter().filter_map(newest_of_stream).max().unwrap_or(i64::MIN)
    }

    /// Forgets buffered rows of `key` before `time_us`.
    pub fn drop_before(&mut self, key: u32, time_us: i64) {
        for stream in &mut self.streams {
            let freed = stream.drop_before(key, time_us);
            self.memory.shrink(freed.min(self.memory.size()));
        }
    }

    fn store_of(&self, pieces: &[RecordBatch], first: u32, end: u32) -> Result<RowStore> {
        let _timer = self.matching.figures.order_time.timer();
        RowStore::of(&self.matching.kept, pieces, (end - first) as usize, |number| number - first, self.tie)
    }
}

impl SortedStream {
    async fn read(&mut self, matching: &Matching, part: usize, memory: &MemoryReservation) -> Result<Memory> {
        let batch = {
            let _timer = matching.figures.scan_time.timer();
            self.rows.try_next().await?
        };
        let Some(batch) = batch else {
            self.is_done = true;
            return Ok(Memory::Enough);
        };
        let kept = match self.form {
            Form::Plan => {
                let Some(matched) = matching.find(&batch, |number| matching.in_part(part, number))? else {
                    return Ok(Memory::Enough);
                };
                match matched.wanted {
                    None => matched.rows,
                    Some(wanted) => filter_record_batch(&matched.rows, &wanted)
                        .map_err(|error| Error::internal("rows could not be filtered").with_source(error))?,
                }
            }
            Form::Kept => matching.kept.renumbered(&batch, |number| matching.in_part(part, number))?,
        };
        let numbers = numbers_of(&kept);
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(Memory::Enough) };
        let follows = self.last.is_none_or(|(before, _)| before <= *first);
        if !follows || !numbers.is_sorted() {
            return Err(Error::new(Kind::DataCorrupted, "stored rows are not in the order of their keys")
                .with_hint("rewrite them: OPTIMIZE the feature view, or SET from_source = on"));
        }
        let times = kept_times_of(&kept);
        self.last = Some((*last, times[times.len() - 1]));
        let bytes = batch_bytes(&kept);
        self.n_buffered += kept.num_rows();
        self.buffered.push_back(kept);
        match memory.try_grow(bytes) {
            Ok(()) => Ok(Memory::Enough),
            Err(error) => {
                // the batch is here and must not be lost
                memory.grow(bytes);
                Ok(Memory::Full(error.into()))
            }
        }
    }

    fn is_beyond(&self, key: u32) -> bool {
        self.is_done || self.last.is_some_and(|(last, _)| last > key)
    }

    fn take_below(&mut self, end: u32, pieces: &mut Vec<RecordBatch>) {
        while let Some(batch) = self.buffered.pop_front() {
            let n_below = numbers_of(&batch).partition_point(|number| *number < end);
            self.n_buffered -= n_below;
            if n_below == batch.num_rows() {
                pieces.push(batch);
                continue;
            }
            if n_below > 0 {
                pieces.push(batch.slice(0, n_below));
            }
            self.buffered.push_front(batch.slice(n_below, batch.num_rows() - n_below));
            return;
        }
    }

    fn drop_before(&mut self, key: u32, time_us: i64) -> usize {
        let mut freed = 0;
        while let Some(batch) = self.buffered.pop_front() {
            let (numbers, times) = (numbers_of(&batch), kept_times_of(&batch));
            let is_old = |row: &usize| numbers[*row] == key && times[*row] < time_us;
            let n_old = (0..batch.num_rows()).take_while(is_old).count();
            self.n_buffered -= n_old;
            if n_old == batch.num_rows() {
                freed += batch_bytes(&batch);
                continue;
            }
            freed += batch_bytes(&batch.slice(0, n_old));
            self.buffered.push_front(batch.slice(n_old, batch.num_rows() - n_old));
            break;
        }
        freed
    }
}
