//! A stream that captures a table of a PostgreSQL server: its rows at the moment at which a replication slot begins, then what
//! the slot has. What is kept beside the log, and what that promises, is in `ingest/capture`.

use std::sync::Arc;
use std::time::Duration;

use granary_catalog::{Stream, StreamIngest};

use super::images::{Images, PLACE, ROWS, is_new, of_snapshot};
use super::reader::{BATCH_BYTES, BATCH_MESSAGES, Reader, Trouble, WAIT};
use crate::capture::{Captured, Changes, Control, Dsn, Problem, Snapshot, System, Table};
use crate::engine::{PartitionFigures, ReadingState};
use crate::error::{Error, Kind, Result};
use crate::ingest::{Begun, Capture, ReadLog};
use crate::row::type_name;
use crate::time::Stopwatch;

/// So often the server is told what it may forget; what is kept of that is a file.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(2);
/// So often the server is asked how far its log is.
const LAG_INTERVAL: Duration = Duration::from_secs(1);
/// How often, and in what time, a slot is tried to be dropped: the server may not know yet that nobody reads it.
const DROP_TURNS: u32 = 20;
const DROP_TURN: Duration = Duration::from_millis(250);

impl From<Problem> for Trouble {
    fn from(problem: Problem) -> Trouble {
        match problem {
            Problem::Away(text) => Trouble::Away(text),
            Problem::Failed(text) => Trouble::Failed(text),
        }
    }
}

/// What is captured: names and forms.
struct Captures<'a> {
    dsn: Dsn,
    /// as the stream names it
    table: &'a str,
    /// None is one of the stream's own
    publication: Option<&'a str>,
    images: Images,
}

impl Captures<'_> {
    fn publication<'b>(&'b self, capture: &'b Capture) -> &'b str {
        self.publication.unwrap_or(&capture.slot)
    }

    fn columns(&self) -> Vec<String> {
        self.images.of_table().map(|column| column.name.clone()).collect()
    }
}

impl Reader {
    pub(super) fn read_table(&self, dsn: &str, publication: Option<&str>, table: &str) -> Result<(), Trouble> {
        let images = Images::new(&self.stream)?;
        let captures = Captures { dsn: Dsn::parse(dsn)?, table, publication, images };
        let ingest = &self.warehouse.ingest;
        let mut log = self.runtime.block_on(ingest.open_reading(&self.stream))?;
        if self.stream.paused {
            self.note(ReadingState::Paused, None);
            self.runtime.block_on(self.stop.cancelled());
            return Ok(());
        }
        let mut capture = self.capture(&captures, &log)?;
        self.slot.replace(Some(capture.slot.clone()));
        let mut control = self.wait(Control::connect(&captures.dsn))?;
        let system = self.wait(control.system())?;
        let found = self.wait(control.table(table))?;
        let found = found.ok_or_else(|| Trouble::Failed(format!("the server has no table {table}")))?;
        check_columns(&captures.images, &found)?;
        let mut begun = match capture.begun.clone() {
            Some(begun) => begun,
            None => self.begin(&captures, &mut capture, (&mut control, &system, &found), &log)?,
        };
        check_history(&begun, &system, &found)?;
        self.check_slot(&mut control, (&capture.slot, captures.publication(&capture)), &found, &begun)?;
        self.feed(&captures, &begun, &mut log)?;
        let from = log.positions.get(&PLACE).and_then(|place| u64::try_from(*place).ok()).unwrap_or(begun.lsn);
        let names = (capture.slot.as_str(), captures.publication(&capture));
        let mut changes = self.wait(Changes::open(&captures.dsn, names, &found, (from, begun.confirmed)))?;
        let (mut confirmed, mut asked) = (Stopwatch::start(), None::<Stopwatch>);
        while !self.stop.is_cancelled() {
            let read = self.runtime.block_on(changes.next(WAIT, BATCH_MESSAGES, BATCH_BYTES))?;
            let new: Vec<Captured> = read.into_iter().filter(|captured| is_new(captured, &log.positions)).collect();
            if !new.is_empty() {
                self.take(&captures.images, &mut log, &new)?;
                self.tell_truncates(&new);
            }
            if asked.is_none_or(|asked| asked.elapsed() >= LAG_INTERVAL) {
                asked = Some(Stopwatch::start());
                let end = self.wait(control.end())?;
                self.show_place(changes.given(), end);
            }
            if confirmed.elapsed() >= CONFIRM_INTERVAL && changes.given() > begun.confirmed {
                confirmed = Stopwatch::start();
                begun.confirmed = changes.given();
                capture.begun = Some(begun.clone());
                self.runtime.block_on(ingest.keep_capture(&log, &capture))?;
                changes.confirm(begun.confirmed);
            }
        }
        Ok(())
    }

    /// What is kept of the capture; without a beginning if there is nothing that goes on.
    fn capture(&self, captures: &Captures<'_>, log: &ReadLog) -> Result<Capture, Trouble> {
        let ingest = &self.warehouse.ingest;
        let kept = self.runtime.block_on(ingest.capture(log))?;
        let is_begun = !log.positions.is_empty();
        let (table, columns) = (captures.table.to_owned(), captures.columns());
        let new = match kept {
            Some(kept) if is_begun || kept.table == table && kept.columns == columns => return Ok(kept),
            None if is_begun => {
                let message = "what is kept of the capture is gone: nobody knows which slot it reads";
                return Err(Error::new(Kind::DataCorrupted, message).with_hint(ANEW).into());
            }
            // the same slot's name: what is there of it is dropped
            Some(kept) => Capture::new(kept.slot, table, columns),
            None => {
                let random =
                    getrandom::u32().map_err(|error| Error::internal(format!("no random numbers: {error}")))?;
                Capture::new(format!("granary_{}_{random:08x}", self.stream.header.id.0), table, columns)
            }
        };
        self.runtime.block_on(ingest.keep_capture(log, &new))?;
        Ok(new)
    }

    /// Makes the slot, and spools what the table has at that moment.
    fn begin(
        &self,
        captures: &Captures<'_>,
        capture: &mut Capture,
        (control, system, table): (&mut Control, &System, &Table),
        log: &ReadLog,
    ) -> Result<Begun, Trouble> {
        let ingest = &self.warehouse.ingest;
        self.wait(control.drop_slot(&capture.slot))?;
        // before the slot, which sees what there was when a change was made
        if captures.publication.is_none() {
            self.wait(control.publish(table, &capture.slot))?;
        }
        let filter = self.published(control, captures.publication(capture), table)?;
        let part = (table, filter.as_deref());
        let mut snapshot = self.wait(Snapshot::begin(&captures.dsn, &capture.slot, part, &capture.columns))?;
        let mut spool = ingest.spool(log)?;
        loop {
            let rows = self.wait(snapshot.next())?;
            if rows.is_empty() {
                break;
            }
            rows.iter().try_for_each(|row| spool.add(row))?;
        }
        let begun = Begun {
            system: system.identifier.clone(),
            timeline: system.timeline,
            table_id: table.id,
            lsn: snapshot.lsn,
            time_us: snapshot.time_us,
            confirmed: snapshot.lsn,
            rows: spool.rows,
            bytes: spool.bytes,
        };
        spool.finish()?;
        capture.begun = Some(begun.clone());
        self.runtime.block_on(ingest.keep_capture(log, capture))?;
        Ok(begun)
    }

    /// Puts what is spooled and not in the log yet there.
    fn feed(&self, captures: &Captures<'_>, begun: &Begun, log: &mut ReadLog) -> Result<(), Trouble> {
        let ingest = &self.warehouse.ingest;
        let mut taken = log.positions.get(&ROWS).copied().unwrap_or(0);
        let first = u64::try_from(taken).map_err(|_| Error::internal("a negative number of rows"))?;
        if first < begun.rows {
            let mut spooled = ingest.spooled(log, begun, first)?;
            let columns = Arc::new(captures.columns());
            let (mut batch, mut bytes) = (Vec::new(), 0);
            loop {
                if self.stop.is_cancelled() {
                    return Err(Trouble::Stopped);
                }
                let row = spooled.next()?;
                let is_last = row.is_none();
                if let Some(row) = row {
                    taken += 1;
                    bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
                    batch.push(of_snapshot(&columns, row, (begun.lsn, begun.time_us), taken));
                }
                if is_last || batch.len() == BATCH_MESSAGES || bytes >= BATCH_BYTES {
                    self.take(&captures.images, log, &batch)?;
                    (batch, bytes) = (Vec::new(), 0);
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(ingest.remove_spool(log)?)
    }

    /// The condition of a publication on the table's rows.
    fn published(&self, control: &mut Control, publication: &str, table: &Table) -> Result<Option<String>, Trouble> {
        self.wait(control.published(table, publication))?.ok_or_else(|| {
            let name = &table.name;
            Trouble::Failed(format!(
                "there is no publication {publication}, or it does not have table {name} by this name"
            ))
        })
    }

    /// Refuses a slot that does not have everything that is still to be read.
    fn check_slot(
        &self,
        control: &mut Control,
        (slot, publication): (&str, &str),
        table: &Table,
        begun: &Begun,
    ) -> Result<(), Trouble> {
        let found = self.wait(control.slot(slot))?;
        let what = match found {
            None => "is gone from the server",
            Some(found) if found.is_lost => "was invalidated by the server, which has removed what was to be read next",
            Some(found) if found.confirmed > begun.confirmed => "was moved on by somebody else",
            Some(_) => return self.published(control, publication, table).map(drop),
        };
        Err(Trouble::Failed(format!("replication slot {slot} {what}: changes may be missing; {ANEW}")))
    }

    /// Rows that are removed all at once are no events, and nobody should have to find out.
    fn tell_truncates(&self, captured: &[Captured]) {
        for captured in captured {
            if let Captured::Truncate(lsn) = captured {
                let text = format!("the table was truncated at {lsn}: there are no events of that");
                tracing::warn!(stream = self.stream.header.name, lsn, "the table of a stream was truncated");
                self.warehouse.ingest.note_untold(self.stream.header.id, text);
            }
        }
    }

    /// How far it is, in bytes of the server's log.
    fn show_place(&self, given: u64, end: u64) {
        let at = |lsn: u64| i64::try_from(lsn).ok();
        let figures = PartitionFigures { next_offset: at(given), high_watermark: at(end) };
        self.warehouse.ingest.note_reading(self.stream.header.id, |reading| {
            reading.state = ReadingState::Reading;
            reading.partitions.insert(PLACE, figures);
        });
        if let Some(lag) = figures.lag() {
            self.metrics.lags(PLACE, lag);
        }
    }

    /// What the server answers, if nobody stops the reader before.
    fn wait<T>(&self, asked: impl Future<Output = Result<T, Problem>>) -> Result<T, Trouble> {
        let answer = self.runtime.block_on(self.stop.run_until_cancelled(asked));
        answer.ok_or(Trouble::Stopped)?.map_err(Trouble::from)
    }

    /// Of a stream that is gone, or is another one now, the server keeps nothing.
    pub(super) fn let_go(&self) {
        let Some(slot) = self.slot.take() else { return };
        let StreamIngest::Postgres { dsn, publication, .. } = &self.stream.ingest else { return };
        let snapshot = self.warehouse.catalog.snapshot();
        let now = snapshot.get_as::<Stream>(self.stream.header.id);
        if now.is_some_and(|now| matches!(now.ingest, StreamIngest::Postgres { .. })) {
            return;
        }
        let Ok(dsn) = Dsn::parse(dsn.expose()) else { return };
        let dropped = self.runtime.block_on(drop_slot(&dsn, &slot, publication.is_none()));
        if let Err(problem) = dropped {
            let (Problem::Away(error) | Problem::Failed(error)) = problem;
            let stream = &self.stream.header.name;
            tracing::warn!(stream, slot, error, "the replication slot of a stream that is gone could not be dropped");
        }
    }
}

const ANEW: &str = "DROP STREAM and CREATE STREAM begin anew with the rows that the table has now";

async fn drop_slot(dsn: &Dsn, slot: &str, has_publication: bool) -> Result<(), Problem> {
    let mut control = Control::connect(dsn).await?;
    let mut dropped = control.drop_slot(slot).await;
    for _ in 0..DROP_TURNS {
        if !matches!(dropped, Err(Problem::Away(_))) {
            break;
        }
        tokio::time::sleep(DROP_TURN).await;
        dropped = control.drop_slot(slot).await;
    }
    dropped?;
    if has_publication { control.unpublish(slot).await } else { Ok(()) }
}

/// Refuses another server, or another table, than that whose places are kept.
fn check_history(begun: &Begun, system: &System, table: &Table) -> Result<(), Trouble> {
    let what = if begun.system != system.identifier {
        format!("the server is another one: its system identifier is {}, not {}", system.identifier, begun.system)
    } else if begun.timeline != system.timeline {
        format!("the server's history has branched: its timeline is {}, not {}", system.timeline, begun.timeline)
    } else if system.end < begun.confirmed {
        "the server's log ends before what was read of it".to_owned()
    } else if begun.table_id != table.id {
        format!("table {} is another one: it was made anew", table.name)
    } else {
        return Ok(());
    };
    Err(Trouble::Failed(format!("{what}; {ANEW}")))
}

/// Refuses a table that lacks columns of the stream, or has them in types that cannot become the stream's.
fn check_columns(images: &Images, table: &Table) -> Result<(), Trouble> {
    for column in images.of_table() {
        let Some((_, found)) = table.columns.iter().find(|(name, _)| *name == column.name) else {
            let (name, table) = (&column.name, &table.name);
            return Err(Trouble::Failed(format!("table {table} has no column \"{name}\", which the stream has")));
        };
        if !can_become(found, &column.data_type) {
            let (name, to) = (&column.name, type_name(&column.data_type));
            return Err(Trouble::Failed(format!(
                "column \"{name}\" is {found} in the table, which cannot become {to}"
            )));
        }
    }
    Ok(())
}

/// Whether texts of a type of PostgreSQL may be values of a column's type. Anything may be a text.
fn can_become(found: &str, wanted: &arrow::datatypes::DataType) -> bool {
    use arrow::datatypes::DataType;
    const WHOLE: [&str; 4] = ["int2", "int4", "int8", "oid"];
    const REAL: [&str; 3] = ["float4", "float8", "numeric"];
    match wanted {
        DataType::Boolean => found == "bool",
        wanted if wanted.is_integer() => WHOLE.contains(&found),
        wanted if wanted.is_numeric() => WHOLE.contains(&found) || REAL.contains(&found),
        DataType::Timestamp(_, _) => ["timestamptz", "timestamp", "date"].contains(&found),
        DataType::Date32 => found == "date",
        DataType::Time64(_) => found == "time",
        DataType::Binary => found == "bytea",
        DataType::List(item) => found.strip_prefix('_').is_some_and(|found| can_become(found, item.data_type())),
        _ => true,
    }
}
