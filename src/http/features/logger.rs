//! Requests to the feature server that are logged: what is answered, out of store or cache, as values again.

use std::sync::Arc;

use arrow::datatypes::DataType;
use granary_catalog::{Object, Snapshot};

use super::answer::Answer;
use super::bound::{BoundService, Part};
use crate::engine::{AskedRow, Interface, log_target, logs_requests};
use crate::error::{Error, Result};
use crate::http::values::value_of;
use crate::request_log::{LogTarget, LoggedFeature, LoggedVector, RequestLog};

/// Where requests to a service are logged, and in which part of it each column of the log is.
#[derive(Debug)]
pub struct RequestLogger {
    target: Arc<LogTarget>,
    /// by feature of the service, as it was declared
    features: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    part: usize,
    index: usize,
    data_type: DataType,
}

/// Rows that are to be logged, by their number in the request.
pub type Sampled = Vec<(usize, AskedRow)>;

impl RequestLogger {
    /// `None` if requests to the object are not logged.
    pub fn of(
        snapshot: &Snapshot,
        object: &Object,
        interface: &Interface,
        parts: &[Part],
    ) -> Result<Option<RequestLogger>> {
        if !logs_requests(object) {
            return Ok(None);
        }
        let place = |name: &str| {
            let of_part = |(part, bound): (usize, &Part)| {
                let features = bound.lookup.features.iter();
                let index =
                    features.clone().position(|feature| format!("{}__{}", feature.view, feature.feature) == name)?;
                Some(Place { part, index, data_type: bound.lookup.features[index].data_type.clone() })
            };
            let found = parts.iter().enumerate().find_map(of_part);
            found.ok_or_else(|| Error::internal(format!("feature {name} of a service is in no part of it")))
        };
        let features = interface.features.iter().map(|feature| place(&feature.name)).collect::<Result<_>>()?;
        Ok(Some(RequestLogger { target: Arc::new(log_target(snapshot, object)?), features }))
    }
}

/// The rows of a request that are to be logged.
pub fn sampled(bound: &BoundService, asked: &[AskedRow], now_us: i64) -> Sampled {
    let Some(logger) = &bound.log else { return Vec::new() };
    let is_sampled = |(_, row): &(usize, &AskedRow)| logger.target.samples(&row.keys, &row.request, now_us);
    asked.iter().enumerate().filter(is_sampled).map(|(number, row)| (number, row.clone())).collect()
}

/// Puts them into the queue. What was not ready in time was not served, and is not among what was asked for.
pub fn log(requests: &RequestLog, bound: &BoundService, sampled: Sampled, answer: &Answer, now_us: i64) -> Result<()> {
    let Some(logger) = bound.log.as_ref().filter(|_| !sampled.is_empty()) else { return Ok(()) };
    let feature = |place: &Place, row: usize| -> Result<LoggedFeature> {
        let Some(fragment) = &answer.parts[place.part][row].fragment else {
            return Ok(LoggedFeature { value: None, was_asked: false, effective_us: None, status: "MISSING_DATA" });
        };
        let json = serde_json::from_slice(fragment.value(place.index))
            .map_err(|error| Error::internal("an answer is not JSON").with_source(error))?;
        Ok(LoggedFeature {
            value: value_of(&json, &place.data_type)?,
            was_asked: true,
            effective_us: fragment.effective_us(place.index),
            status: if fragment.is_present(place.index) { "PRESENT" } else { "MISSING_DATA" },
        })
    };
    let vector = |(row, asked): (usize, AskedRow)| -> Result<LoggedVector> {
        Ok(LoggedVector {
            time_us: now_us,
            door: "http",
            asked: asked.keys.into_iter().chain(asked.request).collect(),
            features: logger.features.iter().map(|place| feature(place, row)).collect::<Result<_>>()?,
        })
    };
    let vectors = sampled.into_iter().map(vector).collect::<Result<_>>()?;
    requests.push(&logger.target, vectors);
    Ok(())
}
