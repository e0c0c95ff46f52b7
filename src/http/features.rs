//! The feature server: feature vectors by service and key over HTTP, in the JSON that clients of Tecton's feature server
//! speak.
//!
//! A request is: who asks (an API key, hence a role), which service (bound once for each version of the catalog), which
//! rows, the answer out of cache and store, and its JSON. `request` and `response` hold the outer form, `json` single
//! values, `bound` what is served, `answer` how.

mod answer;
mod bound;
mod cache;
mod fragment;
mod json;
mod logger;
mod request;
mod response;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response as HttpResponse};
use granary_catalog::{ObjectId, Snapshot};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::read_body;
use super::caller;
use super::listener::Peer;
use super::names::{relation_named, workspace_named};
use super::refusal::{Answered, json_response};
use crate::access::{Asker, PUBLIC_SCHEMA};
use crate::audit::Actor;
use crate::engine::{AskedRow, Moment, NameScope};
use crate::error::{Error, Kind, Result};
use crate::metrics::{Door, Outcome};
use crate::time::Stopwatch;
use crate::warehouse::Warehouse;
use answer::{Ask, answer};
use bound::BoundService;
use cache::ServingCache;
use request::Params;
use response::{Response, metadata_of};

pub use request::Call;

/// The rows of one answer to query-features.
const MAX_QUERY_ROWS: usize = 10_000;

/// What the feature server may use.
#[derive(Debug, Clone, Copy)]
pub struct FeatureLimits {
    /// requests that are answered at a time; one more is told to come again
    pub max_requests: usize,
    /// memory of the serving cache
    pub cache_bytes: u64,
}

/// See the module.
pub struct FeatureServer {
    warehouse: Arc<Warehouse>,
    seats: Arc<Semaphore>,
    cache: Arc<ServingCache>,
    bound: RwLock<HashMap<ObjectId, Arc<BoundService>>>,
}

impl FeatureServer {
    pub fn new(warehouse: Arc<Warehouse>, limits: FeatureLimits) -> FeatureServer {
        FeatureServer {
            warehouse,
            seats: Arc::new(Semaphore::new(limits.max_requests)),
            cache: Arc::new(ServingCache::new(limits.cache_bytes)),
            bound: RwLock::default(),
        }
    }

    pub async fn serve(&self, call: Call, peer: Peer, headers: &HeaderMap, body: Body) -> HttpResponse {
        let mut actor = Actor { client: peer.0.ip().to_string(), ..Actor::default() };
        match self.answered(call, headers, body, &mut actor).await {
            Ok(response) => response,
            Err(refusal) => {
                self.warehouse.audit.refused(&actor, Some("feature server"), &refusal.error).await;
                refusal.into_response()
            }
        }
    }

    /// `actor` becomes who asks, as far as it is known.
    async fn answered(&self, call: Call, headers: &HeaderMap, body: Body, actor: &mut Actor) -> Answered<HttpResponse> {
        let watch = Stopwatch::start();
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| {
            Error::new(Kind::TooManyConnections, "too many requests are being answered").with_hint("ask again later")
        })?;
        let snapshot = self.warehouse.catalog.snapshot();
        let role = caller::role_of(&snapshot, headers)?;
        actor.role.clone_from(&role);
        let body = read_body(body).await?;
        let params = Params::read(call, &body)?;
        actor.database = params.workspace()?.to_owned();
        let bound = self.service(&snapshot, params.workspace()?, params.service()?).await?;
        caller::check_read(&snapshot, &role, &bound.object, bound.columns.iter().map(String::as_str))?;
        let answered = match call {
            Call::Metadata => return Ok(json_response(metadata_of(&bound).to_string())),
            Call::GetFeatures | Call::GetFeaturesBatch => self.get_features(call, &bound, params, seat, watch).await,
            Call::QueryFeatures => self.query_features(&bound, params, seat, watch).await,
        };
        let outcome = if answered.is_ok() { Outcome::Answered } else { Outcome::Failed };
        bound.metrics.served(Door::Http, watch.elapsed(), outcome);
        answered.map(json_response)
    }

    async fn get_features(
        &self,
        call: Call,
        bound: &Arc<BoundService>,
        mut params: Params,
        seat: OwnedSemaphorePermit,
        watch: Stopwatch,
    ) -> Answered<Vec<u8>> {
        let ignores_extra_fields = params.request_options.ignores_extra_fields();
        let rows = params.take_rows();
        let asked = rows.iter().map(|row| bound.asked_row(row, ignores_extra_fields));
        let (now_us, n_forgotten) = (self.warehouse.clock.now_us(), self.warehouse.n_forgotten());
        let moment = Moment { now_us, edge: params.request_options.edge()? };
        let asked = asked.collect::<Answered<Vec<AskedRow>>>()?;
        let sampled = logger::sampled(bound, &asked, now_us);
        let answer = answer(bound, &self.cache, Ask::new(asked, &params, moment, n_forgotten), seat).await?;
        logger::log(&self.warehouse.requests, bound, sampled, &answer, now_us)?;
        let response = Response::new(bound, &answer, &params, watch.elapsed());
        Ok(match call {
            Call::GetFeaturesBatch => response.batch(rows.len()),
            _ => response.single(),
        })
    }

    /// A row for each key that exists, of those that fit the join keys that are given.
    async fn query_features(
        &self,
        bound: &Arc<BoundService>,
        mut params: Params,
        seat: OwnedSemaphorePermit,
        watch: Stopwatch,
    ) -> Answered<Vec<u8>> {
        let row = params.take_rows().pop().unwrap_or_default();
        let request = bound.request_values(&row, params.request_options.ignores_extra_fields())?;
        let (now_us, n_forgotten) = (self.warehouse.clock.now_us(), self.warehouse.n_forgotten());
        let given = bound.some_keys(&row)?;
        let open: Vec<usize> = (0..given.len()).filter(|key| given[*key].is_none()).collect();
        // the keys behind what is open may be many, so that they are listed where threads may block; the seat is given
        // back when that ends, also if nobody waits any more
        let lister = Arc::clone(bound);
        let list = tokio::task::spawn_blocking(move || (lister.keys_like(&given, MAX_QUERY_ROWS, now_us), seat));
        let listed = tokio::time::timeout(answer::LONGEST, list).await;
        let listed = listed.map_err(|_| answer::not_ready().with_hint("give more of the join keys"))?;
        let (keys, seat) =
            listed.map_err(|error| Error::internal("a list of keys ended by a panic").with_source(error))?;
        let keys = keys?;
        let rows: Vec<AskedRow> =
            keys.iter().map(|keys| AskedRow { keys: keys.clone(), request: request.clone() }).collect();
        let moment = Moment { now_us, edge: params.request_options.edge()? };
        let sampled = logger::sampled(bound, &rows, now_us);
        let answer = answer(bound, &self.cache, Ask::new(rows, &params, moment, n_forgotten), seat).await?;
        logger::log(&self.warehouse.requests, bound, sampled, &answer, now_us)?;
        Ok(Response::new(bound, &answer, &params, watch.elapsed()).rows_of_keys(&keys, &open))
    }

    /// The service of that name, bound to this snapshot. Errors: 3D000, 42P01, and those of binding.
    async fn service(&self, snapshot: &Arc<Snapshot>, workspace: &str, name: &str) -> Result<Arc<BoundService>> {
        let found = workspace_named(snapshot, workspace)?;
        let object = relation_named(snapshot, found, ("feature service", name))?;
        let known = self.bound.read().unwrap_or_else(PoisonError::into_inner).get(&object.id()).cloned();
        if let Some(bound) = known.filter(|bound| bound.version == snapshot.version()) {
            return Ok(bound);
        }
        let scope = NameScope {
            meant: Vec::new(),
            process_id: 0,
            snapshot: Arc::clone(snapshot),
            workspace: found.header.id,
            search_path: vec![PUBLIC_SCHEMA.to_owned()],
            // what was bound is for all; the caller's rights are looked at with each request
            asker: Asker::Server,
        };
        let bound = Arc::new(BoundService::bind(&self.warehouse, scope, object).await?);
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|id, _| snapshot.get(*id).is_some());
        all.insert(object.id(), Arc::clone(&bound));
        Ok(bound)
    }
}
