//! What the ingest server answers, as the clients of Tecton's read it: counts of each view, or errors of records.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use granary_catalog::Object;
use serde_json::{Value as Json, json};

use crate::error::{Error, Kind};
use crate::http::refusal::{Refusal, json_response};
use crate::ingest::ViewCount;
use crate::session::{Fault, Faults};

/// What became of a request.
pub struct Outcome {
    pub workspace: String,
    /// some records do not fit, and so nothing is stored
    pub is_refused: bool,
    /// the views over its streams
    pub views: Vec<ViewCount>,
    pub relations: Vec<RelationOutcome>,
}

pub struct RelationOutcome {
    /// as the request names it
    pub name: String,
    pub object: Arc<Object>,
    pub rows: u64,
    pub faults: Faults,
}

/// The request as a whole is refused.
pub fn refused(refusal: Refusal) -> Response {
    let kind = match refusal.status {
        StatusCode::UNAUTHORIZED => "AuthenticationError",
        StatusCode::FORBIDDEN => "AuthorizationError",
        StatusCode::TOO_MANY_REQUESTS => "ResourceExhaustedError",
        status if status.is_server_error() => "InternalServerError",
        _ => "RequestValidationError",
    };
    let error = json!({"errorMessage": refusal.error.message(), "errorType": kind});
    refusal.response_with([("requestError", error)])
}

impl Outcome {
    pub fn into_response(self) -> Response {
        let errors: Vec<Json> = self.relations.iter().flat_map(RelationOutcome::errors).collect();
        let count: u64 = self.relations.iter().map(|relation| relation.faults.count).sum();
        if self.is_refused {
            let message = match count {
                1 => "1 record does not fit: none is stored".to_owned(),
                _ => format!("{count} records do not fit: none is stored"),
            };
            let refusal = Refusal::from(Error::new(Kind::InvalidParameterValue, message));
            return refusal.response_with([("recordErrors", Json::Array(errors)), ("recordErrorCount", json!(count))]);
        }
        let mut body = json!({
            "workspaceName": self.workspace,
            "ingestMetrics": {"featureViewIngestMetrics": self.metrics()},
        });
        if count > 0 {
            body["recordErrors"] = Json::Array(errors);
            body["recordErrorCount"] = json!(count);
        }
        json_response(body.to_string())
    }

    /// Of each view over the streams, then of each feature table.
    fn metrics(&self) -> Vec<Json> {
        let metrics = |name: &str, id: u64, online: u64, offline: u64| {
            json!({
                "featureViewName": name,
                "featureViewId": id.to_string(),
                "onlineRecordIngestCount": online.to_string(),
                "offlineRecordIngestCount": offline.to_string(),
            })
        };
        let of_view = |count: &ViewCount| {
            let online = if count.is_online { count.rows } else { 0 };
            metrics(&count.view.name, count.view.id, online, count.rows)
        };
        let of_table = |relation: &RelationOutcome| {
            let Object::FeatureTable(table) = relation.object.as_ref() else { return None };
            let rows = |is_kept: bool| if is_kept { relation.rows } else { 0 };
            Some(metrics(&table.header.name, table.header.id.0, rows(table.online), rows(table.offline)))
        };
        self.views.iter().map(of_view).chain(self.relations.iter().filter_map(of_table)).collect()
    }
}

impl RelationOutcome {
    /// One for each record that does not fit, with its number among those of its relation, counted from one.
    fn errors(&self) -> impl Iterator<Item = Json> + '_ {
        self.faults.first.iter().map(|Fault { number, refused }| {
            let mut shown = json!({
                "pushSourceName": self.name,
                "position": number,
                "errorType": "RecordValidationError",
                "errorMessage": refused.error.message(),
                "sqlstate": refused.error.sqlstate(),
            });
            if let Some(view) = &refused.view {
                shown["featureViewName"] = json!(view);
            }
            if let Some(hint) = refused.error.hint() {
                shown["hint"] = json!(hint);
            }
            shown
        })
    }
}
