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
use granary_catalog::{Object, Snapshot, Workspace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::caller;
use super::refusal::{Answered, Refusal, json_response};
use crate::access::Asker;
use crate::engine::{AskedRow, NameScope};
use crate::error::{Error, Kind, Result};
use crate::metrics::{Door, Outcome};
use crate::row::{Value, array_of};
use crate::time::Stopwatch;
use crate::warehouse::Warehouse;
use answer::{Answer, Ask, answer};
use bound::BoundService;
use cache::ServingCache;
use json::put_value;
use request::Params;
use response::{Response, metadata_of};

pub use request::Call;

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
    /// by workspace, then by the name that clients say
    bound: RwLock<HashMap<String, HashMap<String, Arc<BoundService>>>>,
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
        caller::check_read(&snapshot, &role, &bound.object, bound.columns())?;
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
        let ask = Ask::new(asked.collect::<Answered<_>>()?, &params, self.warehouse.clock.now_us());
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
        let now_us = self.warehouse.clock.now_us();
        let given = bound.some_keys(&row)?;
        let open: Vec<usize> = (0..given.len()).filter(|key| given[*key].is_none()).collect();
        // the keys behind what is open may be many, so that they are listed where threads may block
        let lister = Arc::clone(bound);
        let keys = tokio::task::spawn_blocking(move || lister.keys_like(&given, MAX_QUERY_ROWS, now_us)).await;
        let keys = keys.map_err(|error| Error::internal("a list of keys ended by a panic").with_source(error))??;
        let rows: Vec<AskedRow> =
            keys.iter().map(|keys| AskedRow { keys: keys.clone(), request: request.clone() }).collect();
        let answer = match rows.is_empty() {
            true => Answer::of_nothing(bound),
            false => answer(bound, &self.cache, Ask::new(rows, &params, now_us), seat).await?,
        };
        let shown = shown_keys(bound, &keys, &open)?;
        Ok(Response::new(bound, &answer, &params, watch.elapsed()).rows_of_keys(&shown, &open))
    }

    /// The service of that name, bound to this snapshot. Errors: 3D000, 3F000, 42P01, and those of binding.
    async fn service(&self, snapshot: &Arc<Snapshot>, workspace: &str, name: &str) -> Result<Arc<BoundService>> {
        if let Some(bound) = self.known(workspace, name).filter(|bound| bound.version == snapshot.version()) {
            return Ok(bound);
        }
        let found = snapshot
            .workspace(workspace)
            .ok_or_else(|| Error::new(Kind::InvalidCatalogName, format!("workspace \"{workspace}\" does not exist")))?;
        let object = named(snapshot, found, name);
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                self.forget(workspace, name);
                return Err(error);
            }
        };
        let scope = NameScope {
            snapshot: Arc::clone(snapshot),
            workspace: found.header.id,
            search_path: vec![PUBLIC.to_owned()],
            // what was bound is for all; the caller's rights are looked at with each request
            asker: Asker::Server,
        };
        let bound = Arc::new(BoundService::bind(&self.warehouse, scope, object).await?);
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(workspace.to_owned()).or_default().insert(name.to_owned(), Arc::clone(&bound));
        Ok(bound)
    }

    fn known(&self, workspace: &str, name: &str) -> Option<Arc<BoundService>> {
        let all = self.bound.read().unwrap_or_else(PoisonError::into_inner);
        all.get(workspace)?.get(name).cloned()
    }

    fn forget(&self, workspace: &str, name: &str) {
        let mut all = self.bound.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = all.get_mut(workspace) {
            names.remove(name);
        }
    }
}

/// Where services are looked for that are named without a schema.
const PUBLIC: &str = "public";

/// `name` is a relation of schema public, or `schema.name`.
fn named<'a>(snapshot: &'a Snapshot, workspace: &Workspace, name: &str) -> Result<&'a Arc<Object>> {
    let relation = |schema: &str, name: &str| {
        let schema = snapshot.schema(workspace.header.id, schema)?;
        snapshot.relation(schema.header.id, name)
    };
    let found = relation(PUBLIC, name).or_else(|| {
        let (schema, name) = name.split_once('.')?;
        relation(schema, name)
    });
    found.ok_or_else(|| {
        let message = format!("feature service \"{name}\" does not exist in workspace \"{}\"", workspace.header.name);
        Error::new(Kind::UndefinedTable, message)
    })
}

/// The values of the keys that were left open, as an array of JSON a row.
fn shown_keys(bound: &BoundService, keys: &[Vec<Option<Value>>], open: &[usize]) -> Result<Vec<Vec<u8>>> {
    let column = |key: &usize| array_of(&bound.keys[*key].data_type, keys.iter().map(|values| values[*key].as_ref()));
    let columns = open.iter().map(column).collect::<Result<Vec<_>>>()?;
    let shown = |row| {
        let mut out = vec![b'['];
        for (number, column) in columns.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            put_value(&mut out, column, row)?;
        }
        out.push(b']');
        Ok(out)
    };
    (0..keys.len()).map(shown).collect()
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
