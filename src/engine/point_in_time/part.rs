//! What was gathered, part by part, and of a part the next keys to be answered.
//!
//! Mostly the rows of a part are in memory at once. Those that come in order are taken key by key, and those of a key
//! with more rows than memory time by time.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::execution::memory_pool::{MemoryLimit, MemoryReservation};
use futures::TryStreamExt;

use super::blocks::BlockRows;
use super::collect::{Collected, Resources, batch_bytes};
use super::cursor::{Cursor, Form, Memory, Ordered};
use super::exec::{Read, RowsInput};
use super::kept::{Kept, NO_TIME};
use super::lifetime::{LifetimeOfKey, LifetimeRead};
use super::matching::Matching;
use super::parts::Parts;
use super::row_store::{RowStore, Section};
use super::stored::{StoredInput, StoredStreams};
use crate::error::{Error, Result};

/// About how many asked rows, and how many rows of inputs, are answered at once.
const BLOCK_ASKED: usize = 64 * 1024;
const BLOCK_ROWS: usize = 512 * 1024;
/// How many rows are read ahead of each stream that comes in order.
const STREAM_ROWS: usize = 32 * 1024;
/// A key with more rows than this in streams is answered time by time.
const MANY_ROWS_OF_KEY: usize = 2 * 1024 * 1024;

/// Everything that is read, by part.
pub struct Gathered {
    pub parts: Arc<Parts>,
    pub n_keys: usize,
    pub spine: Option<SpineRows>,
    pub inputs: Vec<InputRows>,
    pub described: Arc<[RowsInput]>,
    pub reads: Arc<[Read]>,
    pub resources: Resources,
    /// how many parts are answered side by side
    pub parallelism: usize,
    pub next_part: AtomicUsize,
}

/// The rows that ask.
pub struct SpineRows {
    pub kept: Arc<Kept>,
    pub collected: Collected,
}

/// The rows of an input.
pub struct InputRows {
    /// a column that orders rows of the same time
    pub tie: Option<usize>,
    pub matching: Arc<Matching>,
    pub source: InputSource,
}

pub enum InputSource {
    Collected(Collected),
    /// read when the part is answered
    Stored(StoredInput),
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered").field("parts", &self.parts.count()).field("n_keys", &self.n_keys).finish()
    }
}

impl Gathered {
    /// A part that nobody has answered yet. Each is given once, whoever asks.
    pub async fn next(&self) -> Result<Option<Part>> {
        loop {
            let part = self.next_part.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts.count() {
                return Ok(None);
            }
            let memory = self.resources.reservation("point-in-time join, a part");
            let n_keys = self.parts.n_keys(part, self.n_keys);
            let spine = match &self.spine {
                Some(spine) => {
                    let rows = self.load(part, &spine.collected, &spine.kept, None, &memory).await?;
                    if rows.is_empty() {
                        continue;
                    }
                    Some(rows)
                }
                None => None,
            };
            let mut inputs = Vec::with_capacity(self.inputs.len());
            for input in &self.inputs {
                inputs.push(self.input(part, input, &memory).await?);
            }
            return Ok(Some(Part {
                n_keys: n_keys + 1,
                spine,
                taken: inputs.iter().map(|_| None).collect(),
                inputs,
                described: Arc::clone(&self.described),
                reads: Arc::clone(&self.reads),
                next_key: 0,
                next_asked: None,
                lifetimes: Vec::new(),
                _memory: memory,
            }));
        }
    }

    async fn input(&self, part: usize, input: &InputRows, memory: &MemoryReservation) -> Result<PartRows> {
        let cursor = |streams, form, scans| {
            let matching = Arc::clone(&input.matching);
            let order = Ordered { streams, form, scans, tie: input.tie };
            PartRows::InOrder(Cursor::new(order, matching, part, &self.resources))
        };
        let kept = &input.matching.kept;
        let collected = match &input.source {
            InputSource::Stored(stored) => {
                let StoredStreams { streams, scans } = stored.streams(part, &input.matching, &self.resources)?;
                return Ok(cursor(streams, Form::Plan, scans));
            }
            InputSource::Collected(collected) => collected,
        };
        // what others put in order meanwhile needs memory, too
        let share = self.share_bytes();
        match collected {
            Collected::Disk(rows) if working_bytes(rows.bytes(part)) > share => {
                let sorted = super::spill_sort::sorted(rows, part, kept, input.tie, share)?;
                Ok(cursor(vec![sorted], Form::Kept, Vec::new()))
            }
            collected => self.load(part, collected, kept, input.tie, memory).await.map(PartRows::Whole),
        }
    }

    /// What one input of one part may take, so that all inputs of the parts that are answered side by side leave as
    /// much of the memory for their sorts.
    fn share_bytes(&self) -> usize {
        match self.resources.context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => bytes / (2 * self.parallelism.max(1) * self.inputs.len().max(1)),
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        }
    }

    async fn load(
        &self,
        part: usize,
        collected: &Collected,
        kept: &Arc<Kept>,
        tie: Option<usize>,
        memory: &MemoryReservation,
    ) -> Result<RowStore> {
        let pieces = match collected {
            Collected::Memory(collected) => {
                let pieces = collected.part(part);
                // a small share of what is held anyway, which was checked when all had been gathered
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
        let in_part = |number| self.parts.in_part(part, number, self.n_keys);
        RowStore::of(kept, &pieces, self.parts.n_keys(part, self.n_keys) + 1, in_part, tie)
    }
}

/// What it takes to put rows of so many bytes in order.
pub fn working_bytes(bytes: usize) -> usize {
    bytes * 2
}

/// The rows for the keys of one part, and which of these come next.
pub struct Part {
    /// with the one that stands for rows without a key
    n_keys: usize,
    spine: Option<RowStore>,
    inputs: Vec<PartRows>,
    described: Arc<[RowsInput]>,
    reads: Arc<[Read]>,
    next_key: usize,
    /// of a key that is answered time by time, the asked rows that come next
    next_asked: Option<usize>,
    /// of that key, by read, what LIFETIME windows have behind them, if its rows come in order
    lifetimes: Vec<Option<LifetimeOfKey>>,
    /// by input: the rows of the next keys, if they come in order
    taken: Vec<Option<RowStore>>,
    _memory: MemoryReservation,
}

enum PartRows {
    Whole(RowStore),
    InOrder(Cursor),
}

/// What is answered at once.
pub struct Block<'a> {
    pub spine: Option<Section<'a>>,
    pub inputs: Vec<Section<'a>>,
    /// by read, what its LIFETIME windows have behind them in place of rows; none, if all rows are there
    pub lifetimes: &'a [Option<LifetimeOfKey>],
}

/// Some keys, or of one key some of the rows that ask.
#[derive(Debug, Clone)]
pub enum Next {
    Keys(Range<usize>),
    Asked { key: usize, rows: Range<usize> },
}

impl Part {
    /// What is to be answered next; [`Part::block`] has the rows.
    pub async fn next(&mut self) -> Result<Option<Next>> {
        self.taken.iter_mut().for_each(|taken| *taken = None);
        if self.next_asked.is_some() {
            return self.next_times().await;
        }
        if self.next_key >= self.n_keys {
            return Ok(None);
        }
        for cursor in cursors(&mut self.inputs) {
            cursor.fill(STREAM_ROWS).await?;
        }
        let start = self.next_key;
        let complete = loop {
            let complete = cursors(&mut self.inputs).filter_map(|cursor| cursor.complete_below()).min();
            let complete = complete.map_or(self.n_keys, |key| key as usize);
            if complete > start {
                break complete;
            }
            let n_buffered: usize = cursors(&mut self.inputs).map(|cursor| cursor.n_buffered()).sum();
            let memory = self.read_on(start).await?;
            let is_full = matches!(memory, Memory::Full(_));
            if self.spine.is_some() && (is_full || n_buffered > MANY_ROWS_OF_KEY) {
                self.next_asked = Some(0);
                self.lifetimes = self.reads.iter().map(|read| self.lifetime_of(read)).collect();
                return self.next_times().await;
            }
            memory.or_fail()?;
        };
        let (mut end, mut n_asked, mut n_rows) = (start, 0, 0);
        while end < complete && n_asked < BLOCK_ASKED && n_rows < BLOCK_ROWS {
            let key = end..end + 1;
            n_asked += self.spine.as_ref().map_or(1, |spine| spine.n_rows(&key));
            n_rows += self.inputs.iter().map(|input| input.n_rows(&key)).sum::<usize>();
            end += 1;
        }
        for (input, taken) in self.inputs.iter_mut().zip(&mut self.taken) {
            if let PartRows::InOrder(cursor) = input {
                *taken = Some(cursor.take_below(number(start)?, number(end)?)?);
            }
        }
        self.next_key = end;
        Ok(Some(Next::Keys(start..end)))
    }

    /// Of the next key, rows that ask for times up to which its rows are in memory.
    async fn next_times(&mut self) -> Result<Option<Next>> {
        let (key, reads) = (self.next_key, Arc::clone(&self.reads));
        let first = self.next_asked.unwrap_or(0);
        let times = match &self.spine {
            Some(spine) => spine.section(key..key + 1).times.to_vec(),
            None => return Err(Error::internal("a key without rows that ask is answered at once")),
        };
        if first >= times.len() {
            self.skip_key().await?;
            (self.next_asked, self.next_key) = (None, key + 1);
            self.lifetimes.clear();
            return Box::pin(self.next()).await;
        }
        let until = loop {
            let complete = cursors(&mut self.inputs).map(|cursor| cursor.complete_until(key as u32)).min();
            let complete = complete.unwrap_or(i64::MAX);
            let is_ready = |time_us: &i64| *time_us == NO_TIME || reach(&reads, *time_us).end <= complete;
            let ready = times[first..].iter().take(BLOCK_ASKED).take_while(|time_us| is_ready(time_us)).count();
            if ready > 0 {
                break first + ready;
            }
            self.forget_before(number(key)?, times[first])?;
            self.read_on(key).await?.or_fail()?;
        };
        for (input, taken) in self.inputs.iter_mut().zip(&mut self.taken) {
            if let PartRows::InOrder(cursor) = input {
                *taken = Some(cursor.rows_of(number(key)?, &(i64::MIN..i64::MAX))?);
            }
        }
        self.next_asked = Some(until);
        Ok(Some(Next::Asked { key, rows: first..until }))
    }

    /// What LIFETIME windows of a read will have behind them, if its rows come in order.
    fn lifetime_of(&self, read: &Read) -> Option<LifetimeOfKey> {
        match self.inputs[read.input] {
            PartRows::InOrder(_) => LifetimeRead::of(read).map(LifetimeOfKey::new),
            PartRows::Whole(_) => None,
        }
    }

    /// Forgets rows of a key that no answer at `time_us` or later depends on, once they are merged where that is enough.
    fn forget_before(&mut self, key: u32, time_us: i64) -> Result<()> {
        for (index, input) in self.inputs.iter_mut().enumerate() {
            let PartRows::InOrder(cursor) = input else { continue };
            let mut from_us = i64::MAX;
            for (read, lifetime) in self.reads.iter().zip(&mut self.lifetimes).filter(|(read, _)| read.input == index) {
                if let Some(lifetime) = lifetime {
                    let complete_us = cursor.complete_until(key);
                    let rows = cursor.rows_of(key, &lifetime.unmerged(time_us, complete_us))?;
                    let rows = BlockRows::of_read(read, &self.described[index], rows.section(0..1))?;
                    lifetime.merge(read, &rows, time_us, complete_us)?;
                }
                let newest = |end_us| cursor.newest_before(key, end_us, read.of_view);
                from_us = from_us.min(first_needed(read, lifetime.as_ref(), time_us, newest));
            }
            cursor.drop_before(key, from_us);
        }
        Ok(())
    }

    /// Reads past the rows of the next key.
    async fn skip_key(&mut self) -> Result<()> {
        let key = number(self.next_key)?;
        loop {
            for cursor in cursors(&mut self.inputs) {
                cursor.drop_before(key, i64::MAX);
            }
            if cursors(&mut self.inputs).all(|cursor| cursor.is_beyond(key)) {
                return Ok(());
            }
            self.read_on(self.next_key).await?.or_fail()?;
        }
    }

    /// Reads on where the rows of a key are known up to the earliest time, so that no input is far ahead of another.
    async fn read_on(&mut self, key: usize) -> Result<Memory> {
        let key = number(key)?;
        let until = cursors(&mut self.inputs).map(|cursor| cursor.complete_until(key)).min();
        for cursor in cursors(&mut self.inputs) {
            if Some(cursor.complete_until(key)) == until
                && let Memory::Full(error) = cursor.read_on(key).await?
            {
                return Ok(Memory::Full(error));
            }
        }
        Ok(Memory::Enough)
    }

    /// The rows of what [`Part::next`] has named.
    pub fn block(&self, next: &Next) -> Block<'_> {
        let keys = match next {
            Next::Keys(keys) => keys.clone(),
            Next::Asked { key, .. } => *key..*key + 1,
        };
        let spine = self.spine.as_ref().map(|spine| spine.section(keys.clone()));
        let spine = match next {
            Next::Keys(_) => spine,
            Next::Asked { rows, .. } => spine.map(|spine| spine.only(rows.clone())),
        };
        let inputs = self.inputs.iter().zip(&self.taken);
        let inputs = inputs.filter_map(|(input, taken)| match input {
            PartRows::Whole(rows) => Some(rows.section(keys.clone())),
            PartRows::InOrder(_) => taken.as_ref().map(|rows| rows.section(0..keys.len())),
        });
        Block { spine, inputs: inputs.collect(), lifetimes: &self.lifetimes }
    }
}

/// Begins behind its end, so that joined to another range it is that.
pub const NO_TIMES: Range<i64> = Range { start: i64::MAX, end: i64::MIN };

/// The times of rows that answers at `time_us` can depend on.
fn reach(reads: &[Read], time_us: i64) -> Range<i64> {
    let reaches = reads.iter().map(|read| read.answerer.plan().reach(time_us, time_us));
    let all = reaches.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end));
    all.unwrap_or(NO_TIMES)
}

/// The time of the first row that an answer at `time_us` or later depends on; `newest` gives that of the newest row
/// before a time.
fn first_needed(read: &Read, lifetime: Option<&LifetimeOfKey>, time_us: i64, newest: impl Fn(i64) -> i64) -> i64 {
    if let Some(lifetime) = lifetime {
        return lifetime.first_needed(time_us);
    }
    let reach = read.answerer.plan().reach(time_us, time_us);
    match read.view.kind().has_aggregates() || read.known_at.is_some() {
        true => reach.start,
        // only the newest row answers
        false => reach.start.max(newest(reach.end)),
    }
}

impl PartRows {
    /// How many rows a key has, as far as that is known.
    fn n_rows(&self, key: &Range<usize>) -> usize {
        match self {
            PartRows::Whole(rows) => rows.n_rows(key),
            PartRows::InOrder(_) => 0,
        }
    }
}

fn cursors(inputs: &mut [PartRows]) -> impl Iterator<Item = &mut Cursor> {
    inputs.iter_mut().filter_map(|input| match input {
        PartRows::Whole(_) => None,
        PartRows::InOrder(cursor) => Some(cursor),
    })
}

fn number(key: usize) -> Result<u32> {
    u32::try_from(key).map_err(|_| Error::internal("more than four thousand million keys"))
}
