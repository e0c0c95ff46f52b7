//! Cursors: DECLARE, FETCH, MOVE and CLOSE. A cursor's rows come out of its query as they are asked for; those that may be
//! asked for again are kept in the memory of queries.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use granary_sql::name::fold;
use granary_sql::statement::{Close, Declare, Direction, Fetch};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;

use super::{Session, stoppable, until};
use crate::engine::HeldMemory;
use crate::error::{Error, Kind, Result};
use crate::statement::{BatchStream, Response, RowsTag};

/// The cursors of a session, by name.
#[derive(Default)]
pub struct Cursors {
    open: BTreeMap<String, SqlCursor>,
}

struct SqlCursor {
    schema: SchemaRef,
    rows: Arc<Mutex<CursorRows>>,
    binary: bool,
    hold: bool,
    /// its transaction was committed
    is_held: bool,
}

/// A cursor without SCROLL is read backward, too, as long as its rows are so few: PostgreSQL allows it where it costs
/// nothing.
const FEW_BYTES: usize = 1 << 20;

impl Cursors {
    pub fn schema(&self, name: &str) -> Option<(SchemaRef, bool)> {
        self.open.get(name).map(|cursor| (Arc::clone(&cursor.schema), cursor.binary))
    }

    /// False if there is none of that name.
    pub fn close(&mut self, name: &str) -> bool {
        self.open.remove(name).is_some()
    }

    pub fn close_all(&mut self) {
        self.open.clear();
    }

    /// What the transaction declared is over with it, but for what is to be held and was committed.
    pub fn end_transaction(&mut self, committed: bool) {
        self.open.retain(|_, cursor| cursor.is_held || (committed && cursor.hold));
        self.open.values_mut().for_each(|cursor| cursor.is_held = true);
    }

    fn get(&self, name: &str) -> Result<&SqlCursor> {
        self.open.get(name).ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> Error {
    Error::new(Kind::InvalidCursorName, format!("cursor \"{name}\" does not exist"))
}

/// Which rows may be asked for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    None,
    /// all, until there are many
    Few,
    All,
}

/// The rows of a cursor, and where it stands. Rows are counted from 1.
struct CursorRows {
    /// None: all have come
    stream: Option<BatchStream>,
    /// those that came and may be asked for, each with the number of the row before its first
    batches: VecDeque<(u64, RecordBatch)>,
    /// how many have come
    count: u64,
    keep: Keep,
    kept_bytes: usize,
    memory: HeldMemory,
    /// the row that was given last; 0: before the first
    position: u64,
    /// behind the last
    at_end: bool,
}

/// How many rows are to be given, and which way.
struct Motion {
    forward: bool,
    left: u64,
}

const ALL: u64 = u64::MAX;

impl CursorRows {
    /// Takes another batch from the query; false if there is none.
    async fn pull(&mut self) -> Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let Some(batch) = stream.next().await.transpose()? else {
            self.stream = None;
            return Ok(false);
        };
        let bytes = batch.get_array_memory_size();
        if self.keep == Keep::Few && self.kept_bytes + bytes > FEW_BYTES {
            self.keep = Keep::None;
            self.memory.shrink();
        }
        match self.keep {
            Keep::None => self.batches.clear(),
            Keep::Few | Keep::All => {
                self.memory.grow(bytes).map_err(|error| error.with_hint("declare the cursor with NO SCROLL"))?;
                self.kept_bytes += bytes;
            }
        }
        let before = self.count;
        self.count += batch.num_rows() as u64;
        self.batches.push_back((before, batch));
        Ok(true)
    }

    /// Up to `most` of the rows behind the position, in one piece.
    async fn next(&mut self, most: u64) -> Result<Option<RecordBatch>> {
        while self.position == self.count {
            if self.at_end || !self.pull().await? {
                return Ok(None);
            }
        }
        let (before, batch) = self.batch_of(self.position + 1)?;
        let offset = self.position - before;
        let length = most.min(batch.num_rows() as u64 - offset);
        let rows = batch.slice(to_usize(offset), to_usize(length));
        self.position += length;
        Ok(Some(rows))
    }

    /// Up to `most` of the rows before the position, the nearest first.
    fn prior(&mut self, most: u64) -> Result<Option<RecordBatch>> {
        let last = if std::mem::take(&mut self.at_end) { self.position } else { self.position.saturating_sub(1) };
        if last == 0 {
            self.position = 0;
            return Ok(None);
        }
        let (before, batch) = self.batch_of(last)?;
        let length = most.min(last - before);
        let rows = (0..length).map(|nth| u32::try_from(last - 1 - before - nth).expect("a batch has fewer rows"));
        let rows = take_record_batch(batch, &UInt32Array::from_iter_values(rows))
            .map_err(|error| Error::internal("rows of a cursor").with_source(error))?;
        self.position = last - length + 1;
        Ok(Some(rows))
    }

    fn batch_of(&self, row: u64) -> Result<(u64, &RecordBatch)> {
        let found = self.batches.iter().rev().find(|(before, _)| *before < row);
        let (before, batch) = found.ok_or_else(only_forward)?;
        Ok((*before, batch))
    }

    fn check_backward(&self) -> Result<()> {
        if self.keep == Keep::None { Err(only_forward()) } else { Ok(()) }
    }

    /// Goes where the rows begin, as PostgreSQL does: some directions are a way that is gone without giving rows, and
    /// then rows. `gives`: that of FETCH, not of MOVE.
    async fn start(&mut self, direction: Direction, gives: bool) -> Result<Motion> {
        let is_on_row = self.position > 0 && !self.at_end;
        Ok(match direction {
            Direction::Forward(None) => Motion { forward: true, left: ALL },
            Direction::Backward(None) => Motion { forward: false, left: ALL },
            Direction::Forward(Some(0)) | Direction::Backward(Some(0)) | Direction::Relative(0) => {
                if gives && is_on_row {
                    self.skip(false, 1).await?;
                }
                Motion { forward: true, left: u64::from(is_on_row && gives) }
            }
            Direction::Forward(Some(count)) => Motion { forward: count > 0, left: count.unsigned_abs() },
            Direction::Backward(Some(count)) => Motion { forward: count < 0, left: count.unsigned_abs() },
            Direction::Absolute(0) => {
                self.rewind()?;
                Motion { forward: true, left: 0 }
            }
            Direction::Absolute(place) if place > 0 => {
                let (before, here) = (place.unsigned_abs() - 1, self.position + u64::from(self.at_end));
                if before < here {
                    self.rewind()?;
                }
                self.skip(true, before - self.position).await?;
                Motion { forward: true, left: 1 }
            }
            Direction::Absolute(place) => {
                self.skip(true, ALL).await?;
                self.skip(false, place.unsigned_abs() - 1).await?;
                Motion { forward: false, left: 1 }
            }
            Direction::Relative(places) => {
                self.skip(places > 0, places.unsigned_abs() - 1).await?;
                Motion { forward: places > 0, left: 1 }
            }
        })
    }

    fn rewind(&mut self) -> Result<()> {
        if self.position > 0 || self.at_end {
            self.check_backward()?;
        }
        (self.position, self.at_end) = (0, false);
        Ok(())
    }

    /// Goes over rows; gives their number.
    async fn skip(&mut self, forward: bool, count: u64) -> Result<u64> {
        let mut motion = Motion { forward, left: count };
        let mut skipped = 0;
        while let Some(rows) = self.step(&mut motion).await? {
            skipped += rows.num_rows() as u64;
        }
        Ok(skipped)
    }

    /// The next rows of a motion; at its end the position is behind or before all if there were too few.
    async fn step(&mut self, motion: &mut Motion) -> Result<Option<RecordBatch>> {
        if motion.left == 0 {
            return Ok(None);
        }
        let rows = if motion.forward {
            self.next(motion.left).await?
        } else {
            self.check_backward()?;
            self.prior(motion.left)?
        };
        match &rows {
            Some(rows) if motion.left != ALL => motion.left -= rows.num_rows() as u64,
            Some(_) => {}
            None => {
                motion.left = 0;
                self.at_end = motion.forward;
            }
        }
        Ok(rows)
    }
}

fn only_forward() -> Error {
    Error::new(Kind::ObjectNotInPrerequisiteState, "cursor can only scan forward")
        .with_hint("Declare it with SCROLL option to enable backward scan.")
}

/// Of what is in memory.
fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("a batch is in memory")
}

impl Session {
    /// The columns of a cursor and whether it is BINARY, as a portal of that name has them.
    pub fn cursor_schema(&self, name: &str) -> Option<(SchemaRef, bool)> {
        self.cursors.schema(name)
    }

    /// A portal of that name is closed; it need not exist.
    pub fn close_cursor(&mut self, name: &str) {
        self.cursors.close(name);
    }

    /// Refuses a DECLARE before its query is looked at.
    pub(super) fn check_declare(&self, declare: &Declare) -> Result<()> {
        if !declare.hold && !self.transaction.is_open() {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            return Err(Error::new(Kind::NoActiveTransaction, message));
        }
        let name = fold(&declare.name);
        if self.cursors.open.contains_key(&name) {
            return Err(Error::new(Kind::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        Ok(())
    }

    pub(super) fn open_cursor(&mut self, declare: &Declare, schema: SchemaRef, rows: BatchStream) -> Response {
        let keep = match declare.scroll {
            Some(true) => Keep::All,
            Some(false) => Keep::None,
            None => Keep::Few,
        };
        let rows = CursorRows {
            stream: Some(rows),
            batches: VecDeque::new(),
            count: 0,
            keep,
            kept_bytes: 0,
            memory: self.warehouse.engine.hold("rows of a cursor"),
            position: 0,
            at_end: false,
        };
        let Declare { binary, hold, .. } = *declare;
        // without a transaction around it the statement was its own
        let is_held = !self.transaction.is_open();
        let cursor = SqlCursor { schema, rows: Arc::new(Mutex::new(rows)), binary, hold, is_held };
        self.cursors.open.insert(fold(&declare.name), cursor);
        Response::done("DECLARE CURSOR")
    }

    /// FETCH and MOVE.
    pub(super) async fn fetch(&mut self, fetch: &Fetch, cancel: &CancellationToken) -> Result<Response> {
        let cursor = self.cursors.get(&fold(&fetch.name))?;
        let rows = Arc::clone(&cursor.rows).try_lock_owned().map_err(|_| {
            let message = format!("cursor \"{}\" is being read by another portal", fold(&fetch.name));
            Error::new(Kind::ObjectInUse, message)
        })?;
        let (schema, binary) = (Arc::clone(&cursor.schema), cursor.binary);
        let (deadline, token) = (self.deadline(), cancel.child_token());
        let direction = fetch.direction;
        if fetch.is_move {
            let moving = moved(rows, direction);
            let count = stoppable(moving, cancel, &token, deadline).await?;
            return Ok(Response::done(format!("MOVE {count}")));
        }
        let starting = async move {
            let mut rows = rows;
            let motion = rows.start(direction, true).await?;
            Ok((rows, motion))
        };
        let (rows, motion) = stoppable(starting, cancel, &token, deadline).await?;
        let rows = futures::stream::unfold(Some((rows, motion)), |state| async move {
            let (mut rows, mut motion) = state?;
            match rows.step(&mut motion).await {
                Ok(batch) => batch.map(|batch| (Ok(batch), Some((rows, motion)))),
                Err(error) => Some((Err(error), None)),
            }
        });
        let rows = match deadline {
            Some(deadline) => until(rows.boxed(), deadline),
            None => rows.boxed(),
        };
        Ok(Response::Rows { schema, rows, tag: RowsTag::Fetch { binary } })
    }

    /// CLOSE.
    pub(super) fn close_named(&mut self, close: &Close) -> Result<Response> {
        match &close.name {
            None => {
                self.cursors.close_all();
                Ok(Response::done("CLOSE CURSOR ALL"))
            }
            Some(name) if self.cursors.close(&fold(name)) => Ok(Response::done("CLOSE CURSOR")),
            Some(name) => Err(missing(&fold(name))),
        }
    }
}

/// MOVE; gives how many rows it went over, where it ends counted as one.
async fn moved(mut rows: OwnedMutexGuard<CursorRows>, direction: Direction) -> Result<u64> {
    let is_on_row = rows.position > 0 && !rows.at_end;
    if matches!(direction, Direction::Forward(Some(0)) | Direction::Backward(Some(0)) | Direction::Relative(0)) {
        return Ok(u64::from(is_on_row));
    }
    let motion = rows.start(direction, false).await?;
    rows.skip(motion.forward, motion.left).await
}
