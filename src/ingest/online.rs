//! The rows that views make of events, as items of the online store.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use granary_catalog::{FeatureView, Snapshot, Stream};

use crate::engine::{ARRIVAL, BoundView, KNOWN_AT};
use crate::error::{Error, Result};
use crate::online::ItemRow;
use crate::row::{Key, Value, integers_of, put_values, values_of};

/// The views of a live workspace that a stream's events go into.
pub fn views_of(snapshot: &Snapshot, stream: &Stream) -> Result<Vec<(Arc<BoundView>, bool)>> {
    if !snapshot.is_live(stream.header.home.workspace()) {
        return Ok(Vec::new());
    }
    let reads = |view: &&FeatureView| view.kind.is_stream() && view.depends_on.contains(&stream.header.id);
    let bound = |view: &FeatureView| Ok((Arc::new(BoundView::of_feature_view(view)?), view.online));
    snapshot.all::<FeatureView>().into_iter().filter(reads).map(bound).collect()
}

/// The name under which the online store keeps up to which event it has the rows of a view.
pub fn events_mark(view: &BoundView) -> String {
    format!("{}/events", view.offline_table())
}

/// `batch` has the columns of `row_schema(RowLayout::Events)`.
pub fn item_rows(view: &BoundView, batch: &RecordBatch) -> Result<Vec<ItemRow>> {
    let column = |name: &str| -> Result<&ArrayRef> {
        batch.column_by_name(name).ok_or_else(|| Error::internal(format!("rows lack column {name}")))
    };
    let values = |name: &str| values_of(column(name)?.as_ref());
    let keys = view.keys.iter().map(|key| values(&key.name)).collect::<Result<Vec<_>>>()?;
    let secondary = view.secondary.as_ref().map(|secondary| values(&secondary.name)).transpose()?;
    let times = integers_of(column(&view.timestamp)?.as_ref())?;
    let arrivals = integers_of(column(ARRIVAL)?.as_ref())?;
    let mut inputs = view.inputs.iter().map(|input| values(&input.name)).collect::<Result<Vec<_>>>()?;
    if view.known_at.is_some() {
        inputs.push(values(KNOWN_AT)?);
    }
    let mut rows = Vec::with_capacity(times.len());
    let mut stored: Vec<Option<Value>> = Vec::with_capacity(inputs.len());
    for row in 0..times.len() {
        let key = Key::encode(keys.iter().map(|values| values[row].as_ref()));
        let key = key.ok_or_else(|| Error::internal("a row of an event has a NULL key"))?;
        stored.clear();
        stored.extend(inputs.iter().map(|values| values[row].clone()));
        let mut payload = Vec::new();
        put_values(&mut payload, &stored);
        rows.push(ItemRow {
            key,
            time_us: times[row],
            sequence: arrivals[row],
            secondary: secondary.as_ref().and_then(|values| values[row].clone()),
            payload,
        });
    }
    Ok(rows)
}
