//! Events before they are stored: a view whose query fails on them, or makes a key that cannot be kept, refuses them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use granary_catalog::{Snapshot, Stream};

use super::online::{item_rows, views_of};
use super::planner;
use crate::engine::{BoundView, QueryPlanner, ReadStores, event_schema, rows_of_events};
use crate::error::{Error, Kind, Result};

/// Why events are refused.
#[derive(Debug)]
pub struct Refused {
    /// the name of the feature view that cannot take them, if it is one
    pub view: Option<String>,
    pub error: Error,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused { view: None, error }
    }
}

/// How many rows a view makes of events.
#[derive(Debug, Clone)]
pub struct ViewCount {
    pub view: Arc<BoundView>,
    pub is_online: bool,
    pub rows: u64,
}

/// Refuses events, in the stream's columns, that some view cannot take.
pub async fn check(
    stores: &ReadStores,
    snapshot: &Arc<Snapshot>,
    stream: &Stream,
    events: &RecordBatch,
    now_us: i64,
) -> Result<Vec<ViewCount>, Refused> {
    let mut counts = Vec::new();
    if events.num_rows() == 0 {
        return Ok(counts);
    }
    let events = numbered(stream, events)?;
    let planner = planner(stores, snapshot, stream, now_us)?;
    for (view, is_online) in views_of(snapshot, stream)? {
        match rows_that_fit(&planner, &view, events.clone()).await {
            Ok(rows) => counts.push(ViewCount { view, is_online, rows }),
            Err(error) => {
                let is_ours = matches!(error.kind(), Kind::FeatureNotSupported | Kind::Internal);
                return Err(Refused { view: (!is_ours).then(|| view.name.clone()), error });
            }
        }
    }
    Ok(counts)
}

/// With offsets that are only good for telling them apart.
fn numbered(stream: &Stream, events: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = events.columns().to_vec();
    let count = i64::try_from(events.num_rows()).map_err(|_| Error::internal("more rows than can be numbered"))?;
    columns.push(Arc::new(Int64Array::from_iter_values(0..count)) as ArrayRef);
    RecordBatch::try_new(event_schema(stream), columns)
        .map_err(|error| Error::internal("events do not fit their stream").with_source(error))
}

async fn rows_that_fit(planner: &QueryPlanner, view: &BoundView, events: RecordBatch) -> Result<u64> {
    let mut count = 0;
    for rows in rows_of_events(planner, view, events).await? {
        for row in item_rows(view, &rows)? {
            row.key.length()?;
        }
        count += rows.num_rows() as u64;
    }
    Ok(count)
}
