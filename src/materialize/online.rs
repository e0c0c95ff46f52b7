//! Stored rows on their way into the online store.

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

use crate::engine::{ARRIVAL, BoundView, RowGroups, RowLayout};
use crate::error::{Error, Result};
use crate::online::{ItemRow, LatestRow, OnlineStore};
use crate::row::{Key, Value, put_values, values_of};
use crate::tile::{Partial, states_from_arrays};

/// How many rows go into one transaction of the online store.
const ROWS_AT_ONCE: usize = 10_000;

/// Where rows for the online store gather until there are enough for a transaction.
pub struct OnlineWriter<'a> {
    store: &'a OnlineStore,
    view: &'a BoundView,
    /// rows before it can never be served again
    useful_from_us: i64,
    latest: Vec<LatestRow>,
    items: Vec<ItemRow>,
    written: u64,
}

impl<'a> OnlineWriter<'a> {
    pub fn new(store: &'a OnlineStore, view: &'a BoundView, useful_from_us: i64) -> Self {
        OnlineWriter { store, view, useful_from_us, latest: Vec::new(), items: Vec::new(), written: 0 }
    }

    /// Writes all rows of `groups`, which are in the view's stored layout.
    pub async fn write_all(
        mut self,
        groups: &mut RowGroups,
        cancel: &tokio_util::sync::CancellationToken,
    ) -> Result<u64> {
        while let Some((_, columns)) = groups.next().await? {
            if cancel.is_cancelled() {
                return Err(super::run::cancelled());
            }
            self.add_key(groups.schema(), &columns)?;
            if self.latest.len() + self.items.len() >= ROWS_AT_ONCE {
                self.flush()?;
            }
        }
        self.flush()?;
        self.store.sync()?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<()> {
        self.written += (self.latest.len() + self.items.len()) as u64;
        if !self.latest.is_empty() {
            self.store.put_latest(self.view.id, std::mem::take(&mut self.latest))?;
        }
        if !self.items.is_empty() {
            self.store.put_items(self.view.id, std::mem::take(&mut self.items))?;
        }
        Ok(())
    }

    fn add_key(&mut self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<()> {
        let view = self.view;
        let layout = view.stored_layout();
        let values = |name: &str| -> Result<Vec<Option<Value>>> {
            let index = schema
                .index_of(name)
                .map_err(|error| Error::internal(format!("rows lack {name}")).with_source(error))?;
            values_of(columns[index].as_ref())
        };
        let keys = columns[..view.keys.len()]
            .iter()
            .map(|column| crate::row::value_at(column.as_ref(), 0))
            .collect::<Result<Vec<_>>>()?;
        let key = Key::encode(keys.iter().map(Option::as_ref))
            .ok_or_else(|| Error::internal("a stored row has a NULL key"))?;
        let times = integers(values(view.time_column(layout))?)?;
        if layout == RowLayout::Tiles {
            return self.add_tiles(&key, &times, schema, columns, &values);
        }
        let arrivals = integers(values(ARRIVAL)?)?;
        let inputs = view.inputs.iter().map(|input| values(&input.name)).collect::<Result<Vec<_>>>()?;
        let row_values = |row: usize| -> Vec<Option<Value>> { inputs.iter().map(|input| input[row].clone()).collect() };
        if !view.kind().has_aggregates() {
            // Sorted by time and arrival, so the last is the newest.
            let last = times.len() - 1;
            if times[last] >= self.useful_from_us {
                self.latest.push(LatestRow {
                    key,
                    ts_us: times[last],
                    arrival: arrivals[last],
                    effective_us: view.plan.timing.effective(times[last]),
                    values: row_values(last),
                });
            }
            return Ok(());
        }
        let secondary = match &view.secondary {
            Some(column) => Some(values(&column.name)?),
            None => None,
        };
        for row in 0..times.len() {
            if times[row] < self.useful_from_us {
                continue;
            }
            let mut payload = Vec::new();
            put_values(&mut payload, &row_values(row));
            self.items.push(ItemRow {
                key: key.clone(),
                time_us: times[row],
                sequence: arrivals[row],
                secondary: secondary.as_ref().and_then(|values| values[row].clone()),
                payload,
            });
        }
        Ok(())
    }

    fn add_tiles(
        &mut self,
        key: &Key,
        times: &[i64],
        schema: &SchemaRef,
        columns: &[ArrayRef],
        values: &dyn Fn(&str) -> Result<Vec<Option<Value>>>,
    ) -> Result<()> {
        let view = self.view;
        let mut partials: Vec<Vec<Partial>> = Vec::with_capacity(view.plan.partials.len());
        for (spec, name) in view.plan.partials.iter().zip(&view.partial_names) {
            let states = spec
                .state_fields(name)
                .iter()
                .map(|field| {
                    let index = schema
                        .index_of(field.name())
                        .map_err(|error| Error::internal("a state column is lost").with_source(error))?;
                    Ok(ArrayRef::clone(&columns[index]))
                })
                .collect::<Result<Vec<_>>>()?;
            partials.push(states_from_arrays(spec, &states)?);
        }
        let secondary = match &view.secondary {
            Some(column) => Some(values(&column.name)?),
            None => None,
        };
        for (row, &time_us) in times.iter().enumerate() {
            if time_us < self.useful_from_us {
                continue;
            }
            self.items.push(ItemRow {
                key: key.clone(),
                time_us,
                sequence: 0,
                secondary: secondary.as_ref().and_then(|values| values[row].clone()),
                payload: payload_of_tile(view, &partials, row),
            });
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

fn integers(values: Vec<Option<Value>>) -> Result<Vec<i64>> {
    values
        .into_iter()
        .map(|value| match value {
            Some(Value::Int(value)) => Ok(value),
            other => Err(Error::internal(format!("a stored time or arrival is {other:?}"))),
        })
        .collect()
}
