//! Requests of the Postgres port that are logged. Those of the sample are answered by a lookup of the whole service, out of
//! which the client gets its columns, so that what is logged is what was served.

use std::sync::Arc;

use granary_catalog::Object;

use super::ValueRows;
use super::service::{ServedRows, ServiceLookup};
use super::vector::AskedRow;
use crate::engine::leading_edge::Moment;
use crate::engine::logged::{log_target, logs_requests};
use crate::engine::point_in_time::{MISSING, PRESENT};
use crate::engine::query::QueryPlanner;
use crate::error::Result;
use crate::request_log::{LogTarget, LoggedFeature, LoggedVector, RequestLog};
use crate::row::Value;

/// See the module.
#[derive(Debug)]
pub struct Logger {
    requests: Arc<RequestLog>,
    target: Arc<LogTarget>,
    lookup: ServiceLookup,
    /// by column that is shown, its place among keys, request columns and features
    places: Vec<usize>,
}

impl Logger {
    /// `None` if requests to the object are not logged.
    pub async fn of(planner: &QueryPlanner, object: &Object, places: &[usize]) -> Result<Option<Logger>> {
        if !logs_requests(object) {
            return Ok(None);
        }
        Ok(Some(Logger {
            requests: Arc::clone(&planner.requests),
            target: Arc::new(log_target(&planner.scope.snapshot, object)?),
            lookup: ServiceLookup::bind(planner, object).await?,
            places: places.to_vec(),
        }))
    }

    /// The answer, if any of its rows is logged.
    pub fn answer(&self, asked: &[AskedRow], now_us: i64) -> Result<Option<ValueRows>> {
        let sampled: Vec<usize> = (0..asked.len())
            .filter(|row| self.target.samples(&asked[*row].keys, &asked[*row].request, now_us))
            .collect();
        if sampled.is_empty() {
            return Ok(None);
        }
        let rows = self.lookup.answer(asked, Moment::from(now_us))?;
        let vectors = sampled.into_iter().map(|row| self.vector(&asked[row], &rows, row, now_us)).collect();
        self.requests.push(&self.target, vectors);
        Ok(Some(self.shown(asked, &rows)))
    }

    fn shown(&self, asked: &[AskedRow], rows: &ServedRows) -> ValueRows {
        let (n_keys, n_request) = (self.lookup.keys.len(), self.lookup.request.len());
        let column = |place: usize| -> Vec<Option<Value>> {
            if place < n_keys {
                asked.iter().map(|row| row.keys[place].clone()).collect()
            } else if place < n_keys + n_request {
                asked.iter().map(|row| row.request[place - n_keys].clone()).collect()
            } else {
                rows.columns[place - n_keys - n_request].clone()
            }
        };
        let columns: Vec<_> = self.places.iter().map(|place| column(*place)).collect();
        ValueRows::of_columns(&columns, asked.len())
    }

    fn vector(&self, asked: &AskedRow, rows: &ServedRows, row: usize, now_us: i64) -> LoggedVector {
        let first = self.lookup.keys.len() + self.lookup.request.len();
        let feature = |place: usize| {
            let read = self.lookup.features[place].read;
            let is_present = read.is_none_or(|read| rows.present[read][row]);
            let was_asked = self.places.contains(&(first + place));
            LoggedFeature {
                value: rows.columns[place][row].clone().filter(|_| was_asked),
                was_asked,
                effective_us: read.and_then(|read| rows.effective_us[read][row]),
                status: if is_present { PRESENT } else { MISSING },
            }
        };
        LoggedVector {
            time_us: now_us,
            door: "pg",
            asked: asked.keys.iter().chain(&asked.request).cloned().collect(),
            features: (0..self.lookup.features.len()).map(feature).collect(),
        }
    }
}
