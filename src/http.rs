//! The HTTP door: what a load balancer asks. `/health`: the process lives. `/ready`: it takes statements, and does
//! not while it drains. Knows no SQL and holds no data.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// How long a slow client may hold up the stop.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Answers until `stop`. While `draining` is cancelled and `stop` is not, `/ready` answers 503.
pub async fn serve(listener: TcpListener, draining: CancellationToken, stop: CancellationToken) -> Result<()> {
    let serving = axum::serve(listener, routes(draining)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| Error::internal("the HTTP listener failed").with_source(error)),
        () = overdue => Ok(()),
    }
}

fn routes(draining: CancellationToken) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .with_state(draining)
}

async fn health() -> Response {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

async fn ready(State(draining): State<CancellationToken>) -> Response {
    if draining.is_cancelled() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping");
    }
    Json(json!({"status": "ready"})).into_response()
}

async fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "there are /health and /ready; SQL is spoken on the Postgres port")
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "ask with GET")
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
