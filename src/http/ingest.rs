//! The ingest server: events for streams, and rows for feature tables, in the JSON of Tecton's ingest API. When a request
//! is answered with 200 its records are durable and seen by every view: as after an INSERT, whose path they take.
//!
//! A request is: who asks (an API key, hence a role), the relations that it names, their records as rows, each relation's
//! rows held against it and its views, and only if all of them fit, or those that do not may be left out, kept.
//! `request` has the outer form and single records, `response` the answers.

mod request;
mod response;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response as HttpResponse;
use granary_catalog::Snapshot;
use tokio::sync::Semaphore;

use super::body::read_body;
use super::caller;
use super::listener::Peer;
use super::names::{relation_named, workspace_named};
use super::refusal::{Answered, Refusal};
use crate::audit::Actor;
use crate::error::{Error, Kind};
use crate::metrics;
use crate::session::{IngestCall, LeftOut, Push, Target};
use crate::time::Stopwatch;
use crate::warehouse::Warehouse;
use request::{Request, column_names, rows_of};
use response::{Outcome, RelationOutcome, refused};

/// Requests that are worked on at a time; one more is told to come again.
const MOST_REQUESTS: usize = 64;

/// See the module.
pub struct IngestServer {
    warehouse: Arc<Warehouse>,
    seats: Semaphore,
}

impl IngestServer {
    pub fn new(warehouse: Arc<Warehouse>) -> IngestServer {
        IngestServer { warehouse, seats: Semaphore::new(MOST_REQUESTS) }
    }

    pub async fn serve(&self, peer: Peer, headers: &HeaderMap, body: Body) -> HttpResponse {
        let watch = Stopwatch::start();
        let mut actor = Actor { client: peer.0.ip().to_string(), ..Actor::default() };
        let answer = match self.answered(headers, body, &mut actor).await {
            Ok(outcome) => outcome.into_response(),
            Err(refusal) => {
                self.warehouse.audit.refused(&actor, Some("ingest server"), &refusal.error).await;
                refused(refusal)
            }
        };
        let outcome = if answer.status().is_success() { metrics::Outcome::Answered } else { metrics::Outcome::Failed };
        metrics::ingested_http(watch.elapsed(), outcome);
        answer
    }

    /// `actor` becomes who asks, as far as it is known.
    async fn answered(&self, headers: &HeaderMap, body: Body, actor: &mut Actor) -> Answered<Outcome> {
        let _seat = self.seats.try_acquire().map_err(|_| {
            Error::new(Kind::TooManyConnections, "too many ingest requests are being answered")
                .with_hint("send it again later")
        })?;
        let snapshot = self.warehouse.catalog.snapshot();
        let role = caller::role_of(&snapshot, headers)?;
        actor.role.clone_from(&role);
        let body = read_body(body).await?;
        let request = Request::read(&body)?;
        actor.database = request.workspace()?.to_owned();
        drop(body);
        let warehouse = Arc::clone(&self.warehouse);
        // on the threads for queries, as a statement
        let work = async move { ingest(&warehouse, snapshot, &role, request).await };
        self.warehouse.engine.work(Box::pin(work)).await?
    }
}

async fn ingest(
    warehouse: &Arc<Warehouse>,
    snapshot: Arc<Snapshot>,
    role: &str,
    request: Request,
) -> Answered<Outcome> {
    let workspace = workspace_named(&snapshot, request.workspace()?)?;
    let (name, id) = (workspace.header.name.clone(), workspace.header.id);
    let mut call = IngestCall::begin(warehouse, Arc::clone(&snapshot), id, role);
    let (is_dry_run, is_partial) = (request.dry_run, request.partial);
    let mut named = Vec::new();
    for (relation, records) in request.into_records()? {
        let object = relation_named(&snapshot, workspace, ("stream or feature table", &relation))?;
        call.check_rights(object, column_names(&records))?;
        named.push((relation, object, Target::pushed(object)?, records));
    }
    let mut relations = Vec::with_capacity(named.len());
    for (relation, object, target, records) in named {
        let left_out: Arc<LeftOut> = Arc::default();
        let (rows, numbers) = rows_of(records, &target, &left_out)?;
        let push = Push { target, rows, numbers, left_out: Arc::clone(&left_out) };
        let rows = call.take(push).await?;
        relations.push(RelationOutcome { name: relation, object: Arc::clone(object), rows, faults: left_out.take() });
    }
    let refused = relations.iter().any(|relation| relation.faults.count > 0) && !is_partial;
    let outcome = Outcome { workspace: name, is_refused: refused, views: call.view_counts().to_vec(), relations };
    if !refused && !is_dry_run {
        call.commit().await.map_err(not_now)?;
    }
    Ok(outcome)
}

/// What a server has no room for now it may have later.
fn not_now(error: Error) -> Refusal {
    match error.sqlstate().starts_with("53") {
        true => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error),
        false => error.into(),
    }
}
