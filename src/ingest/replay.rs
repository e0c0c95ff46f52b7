//! Events put online once more, out of the log and the offline store: what is missing or damaged there is made good, what
//! is right stays as it is. Items have the same keys whenever they are put, so to replay twice is to replay once.

use std::sync::Arc;

use futures::TryStreamExt;
use granary_catalog::Stream;
use tokio_util::sync::CancellationToken;

use super::online::{item_rows, views_of};
use super::{Ingest, blocking, planner};
use crate::engine::{event_rows, first_offset_since, offset_of_arrival};
use crate::error::{Error, Kind, Result};

/// Where a replay begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayStart {
    First,
    Offset(u64),
    /// the first event of this time or later
    Time(i64),
}

impl Ingest {
    /// Puts the rows that the views over a stream make of its events, from `start` on, online again; gives how many. Events
    /// that come meanwhile are put by who takes them in. Durable at return.
    pub async fn replay(&self, stream: &Stream, start: ReplayStart, cancel: &CancellationToken) -> Result<u64> {
        let snapshot = self.stores.catalog.snapshot();
        let planner = planner(&self.stores, &snapshot, stream, self.clock.now_us())?;
        let from = match start {
            ReplayStart::First => Some(0),
            ReplayStart::Offset(offset) => Some(i64::try_from(offset).unwrap_or(i64::MAX)),
            ReplayStart::Time(time_us) => first_offset_since(&planner, stream, time_us).await?,
        };
        let Some(from) = from else { return Ok(0) };
        let mut count = 0;
        for (view, is_online) in views_of(&snapshot, stream)? {
            let Some(mut rows) = event_rows(&planner, &view).await?.filter(|_| is_online) else { continue };
            while let Some(batch) = rows.try_next().await? {
                if cancel.is_cancelled() {
                    return Err(Error::new(Kind::QueryCanceled, "canceling statement due to user request"));
                }
                let mut rows = item_rows(&view, &batch)?;
                rows.retain(|row| offset_of_arrival(row.sequence) >= from);
                count += rows.len() as u64;
                let (online, id) = (Arc::clone(&self.stores.online), view.id);
                // the spans of what was missing may have it: they go, and are made anew of the items
                blocking(move || online.put_items(id, rows, None)).await?;
            }
            let (online, id, spans) = (Arc::clone(&self.stores.online), view.id, view.item_spans());
            blocking(move || {
                online.keep_spans(id, spans.as_ref())?;
                online.sync()
            })
            .await?;
        }
        Ok(count)
    }
}
