//! Stored rows on their way into the online store.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use crate::engine::{ARRIVAL, BoundView, Input, KNOWN_AT, RowGroups, RowLayout, stored_states};
use crate::error::{Error, Result};
use crate::online::{ItemRow, LatestRow, OnlineStore, SpanPlan};
use crate::row::{Key, Value, integers_of, put_values, values_of};
use crate::tile::Partial;

/// How many rows travel to the writing thread at once.
const ROWS_AT_ONCE: usize = 10_000;
/// How many such packs may wait for it.
const PACKS_WAITING: usize = 2;

/// What becomes of rows that the online store has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// nothing of the range was ever written: newer rows stay
    Add,
    /// afterwards the store has of the range what is written now, and nothing else
    Replace { start_us: i64, end_us: i64 },
}

/// Which rows can still be served.
#[derive(Debug, Clone, Copy)]
pub struct Useful {
    /// earlier ones cannot
    pub from_us: i64,
    /// nobody will ask about an earlier time
    pub now_us: i64,
}

/// A row for one of the two kinds of views.
enum OnlineRow {
    Latest(LatestRow),
    Item(ItemRow),
}

type Pack = Result<Vec<OnlineRow>>;

/// Writes all rows of `groups`, which are in the view's stored layout, and tells how many; to make them durable is the
/// caller's.
pub async fn write_rows(
    store: Arc<OnlineStore>,
    view: &Arc<BoundView>,
    groups: RowGroups,
    useful: Useful,
    mode: Mode,
) -> Result<u64> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Pack>(PACKS_WAITING);
    let writer = Writer { store, view: Arc::clone(view), spans: view.item_spans() };
    // The store blocks, so it has a thread of its own; an error on its way there ends a replacement before it removes.
    let writing = tokio::task::spawn_blocking(move || writer.write_packs(receiver, mode));
    let read = send_rows(view, groups, useful, &sender).await;
    let rows = match read {
        Ok(rows) => rows,
        Err(error) => {
            // If the other side has failed itself, its error is the one to tell.
            let _ = sender.send(Err(error)).await;
            0
        }
    };
    drop(sender);
    writing.await.map_err(|error| Error::internal("the writing thread died").with_source(error))??;
    Ok(rows)
}

struct Writer {
    store: Arc<OnlineStore>,
    view: Arc<BoundView>,
    spans: Option<SpanPlan>,
}

impl Writer {
    fn write_packs(&self, mut packs: tokio::sync::mpsc::Receiver<Pack>, mode: Mode) -> Result<()> {
        let rows = std::iter::from_fn(move || packs.blocking_recv()).flat_map(|pack| match pack {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
        let (store, id) = (&self.store, self.view.id);
        match (self.view.is_kept_as_items(), mode) {
            (true, Mode::Replace { start_us, end_us }) => {
                let rows = rows.map(|row| row.and_then(item));
                store.replace_items(id, start_us..end_us, rows, self.spans.as_ref())
            }
            (false, Mode::Replace { .. }) => store.replace_latest(id, rows.map(|row| row.and_then(latest))),
            (_, Mode::Add) => self.add_rows(rows),
        }
    }

    fn add_rows(&self, rows: impl Iterator<Item = Result<OnlineRow>>) -> Result<()> {
        let (store, id, spans) = (&self.store, self.view.id, self.spans.as_ref());
        let (mut newest, mut items) = (Vec::new(), Vec::new());
        for row in rows {
            match row? {
                OnlineRow::Latest(row) => newest.push(row),
                OnlineRow::Item(row) => items.push(row),
            }
            if newest.len() + items.len() >= ROWS_AT_ONCE {
                store.put_latest(id, std::mem::take(&mut newest))?;
                store.put_items(id, std::mem::take(&mut items), spans)?;
            }
        }
        store.put_latest(id, newest)?;
        store.put_items(id, items, spans)
    }
}

fn item(row: OnlineRow) -> Result<ItemRow> {
    match row {
        OnlineRow::Item(row) => Ok(row),
        OnlineRow::Latest(_) => Err(Error::internal("an attribute row among the items of a view")),
    }
}

fn latest(row: OnlineRow) -> Result<LatestRow> {
    match row {
        OnlineRow::Latest(row) => Ok(row),
        OnlineRow::Item(_) => Err(Error::internal("an item among the attribute rows of a view")),
    }
}

async fn send_rows(
    view: &BoundView,
    mut groups: RowGroups,
    useful: Useful,
    sender: &tokio::sync::mpsc::Sender<Pack>,
) -> Result<u64> {
    let mut n_rows = 0;
    let mut reader = RowReader { view, useful, rows: Vec::new() };
    while let Some((_, columns)) = groups.next().await? {
        reader.add_key(groups.schema(), &columns)?;
        if reader.rows.len() >= ROWS_AT_ONCE {
            n_rows += reader.rows.len() as u64;
            if sender.send(Ok(std::mem::take(&mut reader.rows))).await.is_err() {
                // The writer has ended early, with an error of its own.
                return Ok(n_rows);
            }
        }
    }
    n_rows += reader.rows.len() as u64;
    let _ = sender.send(Ok(reader.rows)).await;
    Ok(n_rows)
}

/// Turns stored rows, key by key, into rows of the online store.
struct RowReader<'a> {
    view: &'a BoundView,
    useful: Useful,
    rows: Vec<OnlineRow>,
}

impl RowReader<'_> {
    fn add_key(&mut self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<()> {
        let view = self.view;
        let layout = view.stored_layout();
        let column = |name: &str| -> Result<&ArrayRef> {
            let index = schema
                .index_of(name)
                .map_err(|error| Error::internal(format!("rows lack {name}")).with_source(error))?;
            Ok(&columns[index])
        };
        let values = |name: &str| values_of(column(name)?.as_ref());
        let keys = columns[..view.keys.len()]
            .iter()
            .map(|column| crate::row::value_at(column.as_ref(), 0))
            .collect::<Result<Vec<_>>>()?;
        let key = Key::encode(keys.iter().map(Option::as_ref))
            .ok_or_else(|| Error::internal("a stored row has a NULL key"))?;
        let times = integers_of(column(view.time_column(layout))?.as_ref())?;
        if layout == RowLayout::Tiles {
            return self.add_tiles(&key, &times, &column);
        }
        let arrivals = integers_of(column(ARRIVAL)?.as_ref())?;
        // one that is stored no more keeps its place
        let input = |input: &Input| input.group.map(|_| values(&input.name)).transpose();
        let inputs = view.inputs.iter().map(input).collect::<Result<Vec<_>>>()?;
        let row_values = |row: usize| -> Vec<Option<Value>> {
            inputs.iter().map(|input| input.as_ref().and_then(|input| input[row].clone())).collect()
        };
        let known_at = match &view.known_at {
            Some(_) => Some(integers_of(column(KNOWN_AT)?.as_ref())?),
            None => None,
        };
        if !view.is_kept_as_items() {
            // Sorted by time and arrival, so the last is the newest.
            let last = times.len() - 1;
            if times[last] >= self.useful.from_us {
                self.rows.push(OnlineRow::Latest(LatestRow {
                    key,
                    ts_us: times[last],
                    arrival: arrivals[last],
                    effective_us: view.plan.timing.effective(times[last]),
                    values: row_values(last),
                }));
            }
            return Ok(());
        }
        let secondary = match &view.secondary {
            Some(column) => Some(values(&column.name)?),
            None => None,
        };
        let first = match &known_at {
            Some(known_at) if !view.kind().has_aggregates() => self.newest_known(known_at),
            _ => 0,
        };
        for row in first..times.len() {
            if times[row] < self.useful.from_us {
                continue;
            }
            let mut values = row_values(row);
            values.extend(known_at.as_ref().map(|known_at| Some(Value::Int(known_at[row]))));
            let mut payload = Vec::new();
            put_values(&mut payload, &values);
            self.rows.push(OnlineRow::Item(ItemRow {
                key: key.clone(),
                time_us: times[row],
                sequence: arrivals[row],
                secondary: secondary.as_ref().and_then(|values| values[row].clone()),
                payload,
            }));
        }
        Ok(())
    }

    /// The last row that is known by now: of attributes, no earlier one answers any more.
    fn newest_known(&self, known_at: &[i64]) -> usize {
        known_at.iter().rposition(|known_us| *known_us <= self.useful.now_us).unwrap_or(0)
    }

    fn add_tiles<'b>(&mut self, key: &Key, times: &[i64], column: &dyn Fn(&str) -> Result<&'b ArrayRef>) -> Result<()> {
        let view = self.view;
        let partials = stored_states(view, column)?;
        let secondary = match &view.secondary {
            Some(secondary) => Some(values_of(column(&secondary.name)?.as_ref())?),
            None => None,
        };
        for (row, &time_us) in times.iter().enumerate() {
            if time_us < self.useful.from_us {
                continue;
            }
            self.rows.push(OnlineRow::Item(ItemRow {
                key: key.clone(),
                time_us,
                sequence: 0,
                secondary: secondary.as_ref().and_then(|values| values[row].clone()),
                payload: payload_of_tile(view, &partials, row),
            }));
        }
        Ok(())
    }
}

/// The states of one tile, each behind its length, so that a reader can skip what it does not need.
fn payload_of_tile(view: &BoundView, partials: &[Vec<Partial>], row: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut state = Vec::new();
    for (spec, states) in view.plan.partials.iter().zip(partials) {
        state.clear();
        states[row].encode(spec, &mut state);
        let length = u32::try_from(state.len()).expect("a state larger than 4 GiB cannot have been stored");
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&state);
    }
    payload
}
