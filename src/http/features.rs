//! The feature server: feature vectors by service and key over HTTP, in the JSON that clients of Tecton's feature server
//! speak.
//!
//! A request is: who asks (an API key, hence a role), which service (bound once for each version of the catalog), which
//! rows, the answer out of cache and store, and its JSON. `request` and `response` hold the outer form, `values` and
//! `json` single values, `bound` what is served, `answer` how.

mod answer;
mod bound;
mod cache;
mod fragment;
mod json;
mod request;
mod response;
mod values;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response as HttpResponse};
use futures::StreamExt;
use granary_catalog::{Object, ObjectId, Snapshot, Workspace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller;
use super::refusal::{Answered, Refusal, json_response};
use crate::access::{Asker, PUBLIC_SCHEMA};
use crate::engine::{AskedRow, NameScope};
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
pub use values::value_of;

/// The longest request.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Of one that is too long, so much is read before it is refused.
const MAX_DRAINED_BYTES: usize = 64 << 20;
/// How long a client may take to send one.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
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

    pub async fn serve(&self, call: Call, headers: &HeaderMap, body: Body) -> HttpResponse {
        self.answered(call, headers, body).await.unwrap_or_else(IntoResponse::into_response)
    }

    async fn answered(&self, call: Call, headers: &HeaderMap, body: Body) -> Answered<HttpResponse> {
        let watch = Stopwatch::start();
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| {
            Error::new(Kind::TooManyConnections, "too many requests are being answered").with_hint("ask again later")
        })?;
        let snapshot = self.warehouse.catalog.snapshot();
        let role = caller::role_of(&snapshot, headers)?;
        let body = tokio::time::timeout(BODY_TIMEOUT, read_body(body)).await.map_err(|_| {
            let message = format!("the request was not sent within {} seconds", BODY_TIMEOUT.as_secs());
            Refusal::new(StatusCode::REQUEST_TIMEOUT, Error::new(Kind::QueryCanceled, message))
        })??;
        let params = Params::read(call, &body)?;
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
        let ask = Ask::new(asked.collect::<Answered<_>>()?, &params, now_us, n_forgotten);
        let answer = answer(bound, &self.cache, ask, seat).await?;
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
        let answer = answer(bound, &self.cache, Ask::new(rows, &params, now_us, n_forgotten), seat).await?;
        Ok(Response::new(bound, &answer, &params, watch.elapsed()).rows_of_keys(&keys, &open))
    }

    /// The service of that name, bound to this snapshot. Errors: 3D000, 42P01, and those of binding.
    async fn service(&self, snapshot: &Arc<Snapshot>, workspace: &str, name: &str) -> Result<Arc<BoundService>> {
        let found = snapshot
            .workspace(workspace)
            .ok_or_else(|| Error::new(Kind::InvalidCatalogName, format!("workspace \"{workspace}\" does not exist")))?;
        let object = named(snapshot, found, name)?;
        let known = self.bound.read().unwrap_or_else(PoisonError::into_inner).get(&object.id()).cloned();
        if let Some(bound) = known.filter(|bound| bound.version == snapshot.version()) {
            return Ok(bound);
        }
        let scope = NameScope {
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

/// `name` is a relation of schema public, or `schema.name`.
fn named<'a>(snapshot: &'a Snapshot, workspace: &Workspace, name: &str) -> Result<&'a Arc<Object>> {
    let relation = |schema: &str, name: &str| {
        let schema = snapshot.schema(workspace.header.id, schema)?;
        snapshot.relation(schema.header.id, name)
    };
    let found = relation(PUBLIC_SCHEMA, name).or_else(|| {
        let (schema, name) = name.split_once('.')?;
        relation(schema, name)
    });
    found.ok_or_else(|| {
        let message = format!("feature service \"{name}\" does not exist in workspace \"{}\"", workspace.header.name);
        Error::new(Kind::UndefinedTable, message)
    })
}

/// The whole body, if it is not too long. A little more than that is read all the same: a client that is still sending
/// when its connection is closed does not see the answer.
async fn read_body(body: Body) -> Answered<Vec<u8>> {
    let mut whole = Vec::new();
    let mut length = 0;
    let mut stream = body.into_data_stream();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| Refusal::bad_request(format!("the request broke off: {error}")))?;
        length += bytes.len();
        if length <= MAX_BODY_BYTES {
            whole.extend_from_slice(&bytes);
        } else if length > MAX_DRAINED_BYTES {
            break;
        }
    }
    if length > MAX_BODY_BYTES {
        let message = format!("the request is longer than {MAX_BODY_BYTES} bytes");
        let error = Error::new(Kind::ConfigurationLimitExceeded, message).with_hint("ask for fewer rows at a time");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
    }
    Ok(whole)
}
