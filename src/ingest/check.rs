//! Events before they are stored: a view whose query fails on them, or makes a key that cannot be kept, refuses them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use granary_catalog::{Snapshot, Stream};

use super::{Ingest, planner_of_view};
use crate::engine::{BoundView, MadeRows, made_rows, numbered};
use crate::error::{Error, Kind, Result};
use crate::row::check_key_lengths;

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

/// By joined view.
type Made = Vec<(Arc<BoundView>, MadeRows)>;

impl Ingest {
    /// Refuses events, in the stream's columns, that some view of the stream cannot take; gives how many rows each view
    /// has of them, and what joined views have made.
    pub async fn check(
        &self,
        snapshot: &Arc<Snapshot>,
        stream: &Stream,
        events: &RecordBatch,
    ) -> Result<(Vec<ViewCount>, Made), Refused> {
        let (mut counts, mut made_of_events) = (Vec::new(), Vec::new());
        if events.num_rows() == 0 {
            return Ok((counts, made_of_events));
        }
        let now_us = self.clock.now_us();
        let views = self.compiled.of(&self.stores, snapshot, stream, now_us).await?;
        let events = numbered(&views.schema, events)?;
        for view in &views.views {
            let rows = if view.view.joins {
                let planner = planner_of_view(&self.stores, snapshot, stream, &view.view, now_us)?;
                made_rows(&planner, &view.view, &events).await.map(|made| {
                    let count = made.count;
                    made_of_events.push((Arc::clone(&view.view), made));
                    count
                })
            } else {
                match views.rows(&self.stores, view, &events, now_us).await {
                    Ok(rows) => rows.iter().try_for_each(|rows| check_keys(&view.view, rows)).map(|()| count(&rows)),
                    Err(error) => Err(error),
                }
            };
            let rows = rows.map_err(|error| {
                let is_ours = matches!(error.kind(), Kind::FeatureNotSupported | Kind::Internal);
                Refused { view: (!is_ours).then(|| view.view.name.clone()), error }
            })?;
            counts.push(ViewCount { view: Arc::clone(&view.view), is_online: view.is_online, rows });
        }
        Ok((counts, made_of_events))
    }
}

fn count(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|rows| rows.num_rows() as u64).sum()
}

/// Refuses keys that the online store cannot take.
fn check_keys(view: &BoundView, rows: &RecordBatch) -> Result<()> {
    let key = |key: &granary_catalog::Column| {
        rows.column_by_name(&key.name).ok_or_else(|| Error::internal(format!("rows lack column {}", key.name)))
    };
    check_key_lengths(&view.keys.iter().map(key).collect::<Result<Vec<_>>>()?)
}
