//! What clients of the feature server send, as JSON. Names of fields are read as `camelCase` and as `snake_case`; a
//! field that is not known is refused, so that no option is lost by a slip of the pen.

use std::time::Duration;

use granary_sql::timestamp::parse_timestamp;
use serde::Deserialize;

use crate::engine::Edge;
use crate::error::{Error, Kind};
use crate::http::json::{Named, null_is_default, present, read_json};
use crate::http::refusal::{Answered, Refusal};

/// Feature vectors that one request may ask for.
pub const MAX_BATCH_ROWS: usize = 1_000;
const WALL_CLOCK: &str = "WALL_CLOCK_TIME";
const LATEST_EVENT: &str = "LATEST_EVENT_TIME";
/// What a latency budget may be.
const BUDGET_MS: std::ops::RangeInclusive<u64> = 100..=2_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    params: Params,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Params {
    #[serde(alias = "workspace_name")]
    workspace_name: Option<String>,
    #[serde(alias = "feature_service_name")]
    feature_service_name: Option<String>,
    #[serde(alias = "join_key_map")]
    join_key_map: Option<Named>,
    #[serde(alias = "request_context_map")]
    request_context_map: Option<Named>,
    #[serde(alias = "request_data")]
    request_data: Option<Vec<RowParams>>,
    #[serde(default, alias = "metadata_options", deserialize_with = "null_is_default")]
    pub metadata_options: MetadataOptions,
    #[serde(default, alias = "allow_partial_results", deserialize_with = "null_is_default")]
    allow_partial_results: bool,
    #[serde(default, alias = "request_options", deserialize_with = "null_is_default")]
    pub request_options: RequestOptions,
}

/// One feature vector of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RowParams {
    #[serde(default, alias = "join_key_map", deserialize_with = "null_is_default")]
    pub join_key_map: Named,
    #[serde(default, alias = "request_context_map", deserialize_with = "null_is_default")]
    pub request_context_map: Named,
}

/// What is told of the features beside their values.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetadataOptions {
    #[serde(alias = "include_names")]
    pub include_names: bool,
    #[serde(alias = "include_data_types")]
    pub include_data_types: bool,
    #[serde(alias = "include_effective_times")]
    pub include_effective_times: bool,
    #[serde(alias = "include_slo_info")]
    pub include_slo_info: bool,
    #[serde(alias = "include_serving_status")]
    pub include_serving_status: bool,
    #[serde(alias = "include_feature_descriptions")]
    pub include_feature_descriptions: bool,
    #[serde(alias = "include_feature_tags")]
    pub include_feature_tags: bool,
}

impl MetadataOptions {
    /// Whether anything is told feature by feature.
    pub fn has_features(&self) -> bool {
        self.include_names
            || self.include_data_types
            || self.include_effective_times
            || self.include_serving_status
            || self.include_feature_descriptions
            || self.include_feature_tags
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestOptions {
    #[serde(alias = "read_from_cache")]
    read_from_cache: Option<bool>,
    #[serde(alias = "write_to_cache")]
    write_to_cache: Option<bool>,
    #[serde(alias = "ignore_extra_request_context_fields")]
    ignore_extra_request_context_fields: Option<bool>,
    #[serde(alias = "latency_budget_ms")]
    latency_budget_ms: Option<u64>,
    #[serde(alias = "coerce_null_counts_to_zero")]
    coerce_null_counts_to_zero: Option<bool>,
    #[serde(alias = "aggregation_leading_edge")]
    aggregation_leading_edge: Option<String>,
    #[serde(alias = "high_watermark_override")]
    high_watermark_override: Option<String>,
}

impl RequestOptions {
    pub fn reads_cache(&self) -> bool {
        self.read_from_cache.unwrap_or(true)
    }

    pub fn writes_cache(&self) -> bool {
        self.write_to_cache.unwrap_or(true)
    }

    pub fn ignores_extra_fields(&self) -> bool {
        self.ignore_extra_request_context_fields.unwrap_or(false)
    }

    pub fn has_zero_counts(&self) -> bool {
        self.coerce_null_counts_to_zero.unwrap_or(false)
    }

    /// Where the windows of tiled stream views end, if not where the views say.
    pub fn edge(&self) -> Answered<Option<Edge>> {
        let edge = match self.aggregation_leading_edge.as_deref() {
            None => None,
            Some(WALL_CLOCK) => Some(Edge::WallClock),
            Some(LATEST_EVENT) => Some(Edge::LatestEvent),
            Some(other) => {
                let message = format!("\"aggregationLeadingEdge\" is \"{other}\", not {WALL_CLOCK} or {LATEST_EVENT}");
                return Err(Refusal::bad_request(message));
            }
        };
        match (&self.high_watermark_override, edge) {
            (None, edge) => Ok(edge),
            (Some(_), Some(Edge::WallClock)) => {
                Err(Refusal::bad_request(format!("\"highWatermarkOverride\" is for {LATEST_EVENT}")))
            }
            (Some(text), _) => match parse_timestamp(text) {
                Ok(time_us) => Ok(Some(Edge::At(time_us))),
                Err(error) => Err(Refusal::bad_request(format!("\"highWatermarkOverride\": {error}"))),
            },
        }
    }

    pub fn latency_budget(&self) -> Option<Duration> {
        self.latency_budget_ms.map(Duration::from_millis)
    }
}

/// The kinds of requests; they take different fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    GetFeatures,
    GetFeaturesBatch,
    QueryFeatures,
    Metadata,
}

impl Params {
    /// Reads the body of a request, and refuses what this kind of request does not take.
    pub fn read(call: Call, body: &[u8]) -> Answered<Params> {
        let Envelope { params } = read_json(body)?;
        params.check(call)?;
        Ok(params)
    }

    fn check(&self, call: Call) -> Answered<()> {
        let has_row = self.join_key_map.is_some() || self.request_context_map.is_some();
        match call {
            Call::GetFeatures | Call::QueryFeatures if self.request_data.is_some() => {
                return Err(Refusal::bad_request("\"requestData\" is for get-features-batch; ask with \"joinKeyMap\""));
            }
            Call::GetFeaturesBatch if has_row => {
                return Err(Refusal::bad_request(
                    "\"joinKeyMap\" and \"requestContextMap\" of a batch stand in the objects of \"requestData\"",
                ));
            }
            Call::GetFeaturesBatch if self.request_data.is_none() => {
                return Err(Refusal::bad_request("\"requestData\" is missing"));
            }
            Call::Metadata if has_row || self.request_data.is_some() => {
                return Err(Refusal::bad_request("metadata takes \"workspaceName\" and \"featureServiceName\" only"));
            }
            _ => {}
        }
        let rows = self.request_data.as_ref().map_or(0, Vec::len);
        if rows > MAX_BATCH_ROWS {
            let message = format!("\"requestData\" has {rows} rows, more than {MAX_BATCH_ROWS}");
            return Err(Error::new(Kind::ConfigurationLimitExceeded, message)
                .with_hint("ask for the rest in another request")
                .into());
        }
        let options = &self.request_options;
        options.edge()?;
        match options.latency_budget_ms {
            Some(budget) if !BUDGET_MS.contains(&budget) => Err(Refusal::bad_request(format!(
                "\"latencyBudgetMs\" must be from {} to {}, not {budget}",
                BUDGET_MS.start(),
                BUDGET_MS.end()
            ))),
            _ => Ok(()),
        }
    }

    pub fn workspace(&self) -> Answered<&str> {
        present(self.workspace_name.as_deref(), "workspaceName")
    }

    pub fn service(&self) -> Answered<&str> {
        present(self.feature_service_name.as_deref(), "featureServiceName")
    }

    /// Whether what is not ready in time is left out.
    pub fn allows_partial_results(&self) -> bool {
        self.allow_partial_results || self.request_options.latency_budget_ms.is_some()
    }

    /// What is asked for, one a feature vector.
    pub fn take_rows(&mut self) -> Vec<RowParams> {
        self.request_data.take().unwrap_or_else(|| {
            vec![RowParams {
                join_key_map: self.join_key_map.take().unwrap_or_default(),
                request_context_map: self.request_context_map.take().unwrap_or_default(),
            }]
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn refused(call: Call, body: &str) -> u16 {
        Params::read(call, body.as_bytes()).unwrap_err().into_response().status().as_u16()
    }

    #[test]
    fn both_spellings_of_a_field_are_read() {
        for body in [
            r#"{"params": {"workspaceName": "w", "featureServiceName": "s", "joinKeyMap": {"k": "1"},
                "requestOptions": {"latencyBudgetMs": 100, "readFromCache": false},
                "metadataOptions": {"includeNames": true}}}"#,
            r#"{"params": {"workspace_name": "w", "feature_service_name": "s", "join_key_map": {"k": "1"},
                "request_options": {"latency_budget_ms": 100, "read_from_cache": false},
                "metadata_options": {"include_names": true}}}"#,
        ] {
            let mut params = Params::read(Call::GetFeatures, body.as_bytes()).unwrap();
            assert_eq!((params.workspace().unwrap(), params.service().unwrap()), ("w", "s"));
            assert!(params.metadata_options.has_features() && params.allows_partial_results());
            assert!(!params.request_options.reads_cache() && params.request_options.writes_cache());
            assert_eq!(params.take_rows()[0].join_key_map["k"], "1");
        }
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let body = r#"{"params": {"joinKeyMap": null, "metadataOptions": null, "requestOptions": null,
            "allowPartialResults": null}}"#;
        let mut params = Params::read(Call::GetFeatures, body.as_bytes()).unwrap();
        assert!(!params.metadata_options.has_features() && !params.allows_partial_results());
        assert!(params.take_rows()[0].join_key_map.is_empty());
        assert!(params.workspace().is_err() && params.service().is_err());
    }

    #[test]
    fn what_does_not_belong_is_refused() {
        assert_eq!(refused(Call::GetFeatures, "{"), 400);
        assert_eq!(refused(Call::GetFeatures, "{}"), 400);
        assert_eq!(refused(Call::GetFeatures, r#"{"params": {"joinKeysMap": {}}}"#), 400);
        assert_eq!(refused(Call::GetFeatures, r#"{"params": {"requestData": []}}"#), 400);
        assert_eq!(refused(Call::GetFeaturesBatch, r#"{"params": {"joinKeyMap": {}}}"#), 400);
        assert_eq!(refused(Call::GetFeaturesBatch, r#"{"params": {}}"#), 400);
        assert_eq!(refused(Call::Metadata, r#"{"params": {"requestContextMap": {}}}"#), 400);
        for options in [r#"{"latencyBudgetMs": 99}"#, r#"{"latencyBudgetMs": 2001}"#, r#"{"highWatermarkOverride": 1}"#]
        {
            assert_eq!(refused(Call::GetFeatures, &format!(r#"{{"params": {{"requestOptions": {options}}}}}"#)), 400);
        }
    }

    #[test]
    fn a_batch_has_a_limit() {
        let rows = |count: usize| format!(r#"{{"params": {{"requestData": [{}]}}}}"#, vec!["{}"; count].join(","));
        assert!(Params::read(Call::GetFeaturesBatch, rows(MAX_BATCH_ROWS).as_bytes()).is_ok());
        assert_eq!(refused(Call::GetFeaturesBatch, &rows(MAX_BATCH_ROWS + 1)), 400);
    }
}
