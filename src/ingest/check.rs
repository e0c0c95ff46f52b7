//! Events before they are stored: a view whose query fails on one, or a key that cannot be kept, refuses all of the call.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::FutureExt;
use futures::future::BoxFuture;
use granary_catalog::{Snapshot, Stream};

use super::online::{item_rows, views_of};
use super::planner;
use crate::engine::{BoundView, QueryPlanner, ReadStores, event_schema, rows_of_events};
use crate::error::{Error, Kind, Result};

/// Refuses events, in the stream's columns, that some view cannot take. `first` is the number of the first in the call,
/// counted from one.
pub async fn check(
    stores: &ReadStores,
    snapshot: &Arc<Snapshot>,
    stream: &Stream,
    (events, first): (&RecordBatch, u64),
    now_us: i64,
) -> Result<()> {
    if events.num_rows() == 0 {
        return Ok(());
    }
    let events = numbered(stream, events)?;
    let planner = planner(stores, snapshot, stream, now_us)?;
    for (view, _) in views_of(snapshot, stream)? {
        if let Err(error) = rows_fit(&planner, &view, events.clone()).await {
            let place = first + first_bad(&planner, &view, events.clone()).await as u64;
            return Err(refused(error, &view, place));
        }
    }
    Ok(())
}

fn refused(error: Error, view: &BoundView, place: u64) -> Error {
    match error.kind() {
        Kind::FeatureNotSupported | Kind::Internal => error,
        _ => error.with_detail(format!("Event {place} does not fit feature view \"{}\". None is stored.", view.name)),
    }
}

/// With offsets that are only good for telling them apart.
fn numbered(stream: &Stream, events: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = events.columns().to_vec();
    let count = i64::try_from(events.num_rows()).map_err(|_| Error::internal("more rows than can be numbered"))?;
    columns.push(Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef);
    RecordBatch::try_new(event_schema(stream), columns)
        .map_err(|error| Error::internal("events do not fit their stream").with_source(error))
}

async fn rows_fit(planner: &QueryPlanner, view: &BoundView, events: RecordBatch) -> Result<()> {
    for rows in rows_of_events(planner, view, events).await? {
        for row in item_rows(view, &rows)? {
            row.key.length()?;
        }
    }
    Ok(())
}

/// The place of the first event that does not fit by itself, by halves.
fn first_bad<'a>(planner: &'a QueryPlanner, view: &'a BoundView, events: RecordBatch) -> BoxFuture<'a, usize> {
    async move {
        let half = events.num_rows() / 2;
        if half == 0 {
            return 0;
        }
        match rows_fit(planner, view, events.slice(0, half)).await {
            Err(_) => first_bad(planner, view, events.slice(0, half)).await,
            Ok(()) => half + first_bad(planner, view, events.slice(half, events.num_rows() - half)).await,
        }
    }
    .boxed()
}
