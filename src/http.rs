//! The HTTP door: feature vectors for applications, events from them, what a load balancer asks (`/health`: the process lives; `/ready`: it
//! takes work, and does not while it drains), metrics, and a description of all that. Knows no SQL and holds no data.

mod body;
mod caller;
mod features;
mod ingest;
mod jobs;
mod json;
mod listener;
mod names;
mod refusal;
mod tls;
mod values;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use crate::error::{Error, Kind};
use crate::metrics;
use crate::priority::blocking;
use crate::trace;
use crate::warehouse::Warehouse;
use features::{Call, FeatureServer};
use ingest::IngestServer;
use jobs::{JobsServer, Order};
use refusal::{Refusal, json_response};

pub use features::FeatureLimits;
pub use listener::{Peer, Port};
pub use tls::{HTTP_PROTOCOLS, acceptor};
pub use tokio_rustls::TlsAcceptor;
pub use values::value_of;

/// How long a slow client may hold up the stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What the port allows its clients.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// open connections; one more is closed at once
    pub max_connections: usize,
    pub features: FeatureLimits,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits { max_connections: 1024, features: FeatureLimits { max_requests: 256, cache_bytes: 64 << 20 } }
    }
}

/// Answers until `stop`. While `draining` is cancelled and `stop` is not, `/ready` answers 503.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    warehouse: Arc<Warehouse>,
    limits: HttpLimits,
    draining: CancellationToken,
    stop: CancellationToken,
) {
    let ingest = Arc::new(IngestServer::new(Arc::clone(&warehouse)));
    let jobs = Arc::new(JobsServer::new(Arc::clone(&warehouse)));
    let features = Arc::new(FeatureServer::new(Arc::clone(&warehouse), limits.features));
    let router = routes(Door { features, ingest, jobs, warehouse, draining });
    let port = Port { router, tls, max_connections: limits.max_connections, stop_grace: STOP_GRACE };
    port.serve(listener, stop).await;
}

/// What all requests share.
#[derive(Clone)]
struct Door {
    features: Arc<FeatureServer>,
    ingest: Arc<IngestServer>,
    jobs: Arc<JobsServer>,
    warehouse: Arc<Warehouse>,
    draining: CancellationToken,
}

/// The calls of the feature server by their last step.
const CALLS: [(&str, Call); 4] = [
    ("get-features", Call::GetFeatures),
    ("get-features-batch", Call::GetFeaturesBatch),
    ("query-features", Call::QueryFeatures),
    ("metadata", Call::Metadata),
];
const FEATURE_SERVICE: &str = "/api/v1/feature-service/";
/// The calls of the jobs API by their last step.
const ORDERS: [(&str, Order); 6] = [
    ("submit-materialization-job", Order::Submit),
    ("get-materialization-job", Order::Get),
    ("list-materialization-jobs", Order::List),
    ("cancel-materialization-job", Order::Cancel),
    ("retry-materialization-job", Order::Retry),
    ("get-latest-ready-time", Order::ReadyTime),
];
const JOBS: &str = "/api/v1/jobs/";
const INGEST: &str = "/ingest";

fn routes(door: Door) -> Router {
    let mut router = Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/openapi.json", get(description));
    let ingest = async |State(door): State<Door>, Extension(peer): Extension<Peer>, headers: HeaderMap, body: Body| {
        door.ingest.serve(peer, &headers, body).await
    };
    router = router.route(INGEST, post(ingest));
    for (name, call) in CALLS {
        let handler =
            async move |State(door): State<Door>, Extension(peer): Extension<Peer>, headers: HeaderMap, body: Body| {
                door.features.serve(call, peer, &headers, body).await
            };
        router = router.route(&format!("{FEATURE_SERVICE}{name}"), post(handler));
    }
    for (name, order) in ORDERS {
        let handler =
            async move |State(door): State<Door>, Extension(peer): Extension<Peer>, headers: HeaderMap, body: Body| {
                door.jobs.serve(order, peer, &headers, body).await
            };
        router = router.route(&format!("{JOBS}{name}"), post(handler));
    }
    router.fallback(not_found).method_not_allowed_fallback(wrong_method).layer(from_fn(counted)).with_state(door)
}

/// Counts an answer. Of what is asked by POST there is a span.
async fn counted(request: Request, next: Next) -> Response {
    let span = match request.method() {
        &Method::POST => {
            let parent = request.headers().get("traceparent").and_then(|parent| parent.to_str().ok());
            trace::request(request.uri().path(), parent)
        }
        _ => Span::none(),
    };
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    metrics::answered_http(status);
    response
}

async fn health() -> Response {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn ready(State(door): State<Door>) -> Response {
    if door.draining.is_cancelled() {
        return Refusal::from(Error::new(Kind::AdminShutdown, "the server is stopping")).into_response();
    }
    Json(json!({"status": "ready"})).into_response()
}

async fn metrics_text(State(door): State<Door>) -> Response {
    // to look at the sizes of stores is to list their files
    let text = blocking(move || Ok(metrics::prometheus(door.warehouse.samples()))).await;
    match text {
        Ok(text) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => Refusal::from(error).into_response(),
    }
}

/// OpenAPI 3.1.
const DESCRIPTION: &str = include_str!("http/openapi.json");

async fn description() -> Response {
    json_response(DESCRIPTION)
}

async fn not_found(uri: Uri) -> Response {
    let error = Error::new(Kind::UndefinedObject, format!("there is nothing at {}", uri.path()))
        .with_hint("there are /health, /ready, /metrics, /openapi.json and what that describes; SQL is spoken on the Postgres port");
    Refusal::from(error).into_response()
}

async fn wrong_method(uri: Uri) -> Response {
    let path = uri.path();
    let is_post = path.starts_with(FEATURE_SERVICE) || path.starts_with(JOBS) || path == INGEST;
    let method = if is_post { "POST" } else { "GET" };
    let error = Error::new(Kind::FeatureNotSupported, format!("ask {} with {method}", uri.path()));
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_there_is_is_described() {
        let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = description["paths"].as_object().unwrap();
        let mut served = vec!["/health", "/ready", "/metrics", "/openapi.json", INGEST].into_iter().map(str::to_owned);
        let mut expected: Vec<String> =
            served.by_ref().chain(CALLS.map(|(name, _)| format!("{FEATURE_SERVICE}{name}"))).collect();
        expected.extend(ORDERS.map(|(name, _)| format!("{JOBS}{name}")));
        expected.sort_unstable();
        let mut described: Vec<String> = paths.keys().cloned().collect();
        described.sort_unstable();
        assert_eq!(described, expected);
        check_references(&description, &description);
    }

    /// Every `$ref` leads somewhere.
    fn check_references(whole: &serde_json::Value, part: &serde_json::Value) {
        match part {
            serde_json::Value::Object(members) => {
                if let Some(reference) = members.get("$ref") {
                    let pointer = reference.as_str().unwrap().trim_start_matches('#');
                    assert!(whole.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|member| check_references(whole, member));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| check_references(whole, item)),
            _ => {}
        }
    }
}
