//! DEDUPLICATE BY: of the events that agree in these columns the first one counts, whether it came by itself or is a row
//! of the mirror.
//!
//! The online store keeps for each event what it is known by and its number: its offset and one, or 0 for a row of the
//! mirror. Whoever claims first has it for good, so a replay of the log decides as the first time. Events that come again
//! are in the log, and nowhere else. A mark says up to which offset the claims of what is in the offline store are durable.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use futures::TryStreamExt;
use granary_catalog::{ObjectId, Snapshot, Stream};

use super::{blocking, planner};
use crate::engine::{ReadStores, event_ids, events_table, mirror_ids, offsets_of};
use crate::error::{Error, Result};
use crate::online::OnlineStore;
use crate::row::{Key, Value, canonical_bits, put_values, values_of};

/// Of rows of the mirror.
const OF_MIRROR: u64 = 0;

/// The name under which the online store keeps up to which offset it has the claims.
pub fn claims_mark(stream: ObjectId) -> String {
    format!("{}/claims", events_table(stream))
}

/// The events that are the first of their kind.
pub fn first_ones(online: &OnlineStore, stream: &Stream, events: RecordBatch) -> Result<RecordBatch> {
    if stream.deduplicate_by.is_empty() || events.num_rows() == 0 {
        return Ok(events);
    }
    let claims = claims_of_events(stream, &events)?;
    let numbers: Vec<u64> = claims.iter().map(|(_, number)| *number).collect();
    let holders = online.claim(stream.header.id.0, claims)?;
    let is_first: BooleanArray = holders.iter().zip(&numbers).map(|(holder, number)| Some(holder == number)).collect();
    filter_record_batch(&events, &is_first)
        .map_err(|error| Error::internal("events cannot be left out").with_source(error))
}

/// Claims what a crash, or a store that is new, has left out, for the events before offset `end` and for the mirror.
pub async fn catch_up(
    stores: &ReadStores,
    snapshot: &Arc<Snapshot>,
    stream: &Stream,
    end: u64,
    now_us: i64,
) -> Result<()> {
    if stream.deduplicate_by.is_empty() {
        return Ok(());
    }
    let mark = claims_mark(stream.header.id);
    let known = stores.online.mark(&mark)?;
    if known.is_some_and(|known| known >= end) {
        return Ok(());
    }
    let planner = planner(stores, snapshot, stream, now_us)?;
    if let Some(mut ids) = event_ids(&planner, stream, known.unwrap_or(0)).await? {
        while let Some(batch) = ids.try_next().await? {
            claim(stores, stream, claims_of_events(stream, &batch)?).await?;
        }
    }
    if known.is_none() {
        claim_mirror(stores, snapshot, stream, now_us).await?;
    }
    let online = Arc::clone(&stores.online);
    blocking(move || {
        online.sync()?;
        online.set_marks(&[(mark, Some(end))])?;
        online.sync()
    })
    .await
}

/// Claims what the mirror has for it, as far as no event has it; durable at return.
pub async fn claim_mirror(stores: &ReadStores, snapshot: &Arc<Snapshot>, stream: &Stream, now_us: i64) -> Result<()> {
    if stream.deduplicate_by.is_empty() {
        return Ok(());
    }
    let planner = planner(stores, snapshot, stream, now_us)?;
    let Some(mut ids) = mirror_ids(&planner, stream).await? else { return Ok(()) };
    while let Some(batch) = ids.try_next().await? {
        let keys = keys_of(stream, &batch)?;
        claim(stores, stream, keys.into_iter().map(|key| (key, OF_MIRROR)).collect()).await?;
    }
    let online = Arc::clone(&stores.online);
    blocking(move || online.sync()).await
}

async fn claim(stores: &ReadStores, stream: &Stream, claims: Vec<(Key, u64)>) -> Result<()> {
    let (online, owner) = (Arc::clone(&stores.online), stream.header.id.0);
    blocking(move || online.claim(owner, claims).map(drop)).await
}

fn claims_of_events(stream: &Stream, events: &RecordBatch) -> Result<Vec<(Key, u64)>> {
    let numbers = offsets_of(events)?.values().iter().map(|offset| offset.cast_unsigned() + 1);
    Ok(keys_of(stream, events)?.into_iter().zip(numbers).collect())
}

/// What each event is known by. A NULL is a value like any other, as for GROUP BY.
fn keys_of(stream: &Stream, events: &RecordBatch) -> Result<Vec<Key>> {
    let column = |name: &String| {
        let column = events.column_by_name(name);
        values_of(column.ok_or_else(|| Error::internal(format!("events lack column {name}")))?.as_ref())
    };
    let columns = stream.deduplicate_by.iter().map(column).collect::<Result<Vec<_>>>()?;
    let key = |row: usize| {
        let values: Vec<Option<Value>> = columns.iter().map(|column| column[row].clone().map(canonical)).collect();
        let mut bytes = Vec::new();
        put_values(&mut bytes, &values);
        Key::from_bytes(&bytes)
    };
    Ok((0..events.num_rows()).map(key).collect())
}

fn canonical(value: Value) -> Value {
    match value {
        Value::Float(value) => Value::Float(f64::from_bits(canonical_bits(value))),
        value => value,
    }
}
