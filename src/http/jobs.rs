//! The jobs API: materialization jobs over HTTP, for schedulers such as Airflow, in the JSON of Tecton's jobs API. Each
//! call is what a statement does: REFRESH FEATURE VIEW, CANCEL JOB, RETRY JOB, or a look at `granary.jobs` and
//! `granary.ready`.

use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response as HttpResponse};
use granary_catalog::{Job, JobAttempt, JobFilter, JobId, JobState, Object, Snapshot, Workspace};
use granary_sql::statement::RefreshStores;
use granary_sql::timestamp::parse_timestamp;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::Semaphore;

use super::body::read_body;
use super::caller;
use super::json::{null_is_default, present, read_json};
use super::listener::Peer;
use super::names::{relation_named, workspace_named};
use super::refusal::{Answered, Refusal, json_response};
use crate::audit::Actor;
use crate::engine::Readiness;
use crate::error::{Error, Kind};
use crate::materialize::RangeRequest;
use crate::session::{JobsCall, Submission};
use crate::statement::DEFAULT_MAX_ATTEMPTS;
use crate::warehouse::Warehouse;

/// Requests that are worked on at a time; one more is told to come again.
const MOST_REQUESTS: usize = 16;
/// Jobs of one list.
const MOST_LISTED: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Submit,
    Get,
    List,
    Cancel,
    Retry,
    ReadyTime,
}

/// Fields may be written in snake_case, as Tecton's clients do, and in camelCase. A field that a call has no use for is
/// refused by it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    workspace: Option<String>,
    #[serde(alias = "featureView")]
    feature_view: Option<String>,
    #[serde(alias = "featureService")]
    feature_service: Option<String>,
    #[serde(alias = "startTime")]
    start_time: Option<String>,
    #[serde(alias = "endTime")]
    end_time: Option<String>,
    online: Option<bool>,
    offline: Option<bool>,
    #[serde(deserialize_with = "null_is_default")]
    overwrite: bool,
    #[serde(alias = "useTectonManagedRetries")]
    use_tecton_managed_retries: Option<bool>,
    #[serde(alias = "jobId")]
    job_id: Option<Number>,
}

/// A number, or its digits as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

/// See the module.
pub struct JobsServer {
    warehouse: Arc<Warehouse>,
    seats: Semaphore,
}

impl JobsServer {
    pub fn new(warehouse: Arc<Warehouse>) -> JobsServer {
        JobsServer { warehouse, seats: Semaphore::new(MOST_REQUESTS) }
    }

    pub async fn serve(&self, order: Order, peer: Peer, headers: &HeaderMap, body: Body) -> HttpResponse {
        let mut actor = Actor { client: peer.0.ip().to_string(), ..Actor::default() };
        match self.answered(order, headers, body, &mut actor).await {
            Ok(answer) => json_response(answer.to_string()),
            Err(refusal) => {
                self.warehouse.audit.refused(&actor, Some("jobs API"), &refusal.error).await;
                refusal.into_response()
            }
        }
    }

    /// `actor` becomes who asks, as far as it is known.
    async fn answered(&self, order: Order, headers: &HeaderMap, body: Body, actor: &mut Actor) -> Answered<Json> {
        let _seat = self.seats.try_acquire().map_err(|_| {
            Error::new(Kind::TooManyConnections, "too many requests about jobs are being answered")
                .with_hint("send it again later")
        })?;
        let snapshot = self.warehouse.catalog.snapshot();
        let role = caller::role_of(&snapshot, headers)?;
        actor.role.clone_from(&role);
        let request: Request = read_json(&read_body(body).await?)?;
        actor.database = present(request.workspace.as_deref(), "workspace")?.to_owned();
        let warehouse = Arc::clone(&self.warehouse);
        // on the threads for queries, as a statement
        let work = async move { answer(&warehouse, &snapshot, &role, order, &request).await };
        self.warehouse.engine.work(Box::pin(work)).await?
    }
}

async fn answer(
    warehouse: &Arc<Warehouse>,
    snapshot: &Arc<Snapshot>,
    role: &str,
    order: Order,
    request: &Request,
) -> Answered<Json> {
    let workspace = workspace_named(snapshot, present(request.workspace.as_deref(), "workspace")?)?;
    let text = match order {
        Order::Submit => format!("submit-materialization-job {}", request.feature_view.as_deref().unwrap_or_default()),
        _ => "jobs API".to_owned(),
    };
    let call = JobsCall::begin(warehouse, Arc::clone(snapshot), workspace.header.id, role, text)?;
    let told = |job: &Job| told(warehouse, snapshot, job);
    match order {
        Order::Submit => {
            let object = view_named(snapshot, workspace, request)?;
            let job = call.submit(request.submission(object)?).await?;
            Ok(json!({"job": told(&job)?}))
        }
        Order::Get => Ok(json!({"job": told(&call.job(request.job()?)?)?})),
        Order::Cancel => Ok(json!({"job": told(&call.cancel(request.job()?)?)?})),
        Order::Retry => Ok(json!({"job": told(&call.retry(request.job()?)?)?})),
        Order::List => {
            let object = view_named(snapshot, workspace, request)?;
            JobsCall::view(object)?;
            let filter = JobFilter { view: Some(object.id()), limit: MOST_LISTED, ..JobFilter::default() };
            let jobs = warehouse.catalog.ledger().list(&filter).map_err(Error::from)?;
            Ok(json!({"jobs": jobs.iter().map(told).collect::<Answered<Vec<Json>>>()?}))
        }
        Order::ReadyTime => ready_time(warehouse, snapshot, workspace, request),
    }
}

fn ready_time(
    warehouse: &Warehouse,
    snapshot: &Arc<Snapshot>,
    workspace: &Workspace,
    request: &Request,
) -> Answered<Json> {
    let named = match (&request.feature_view, &request.feature_service) {
        (Some(view), None) => ("feature view", view.as_str()),
        (None, Some(service)) => ("feature service", service.as_str()),
        _ => return Err(Refusal::bad_request("one of \"feature_view\" and \"feature_service\" is wanted")),
    };
    let object = relation_named(snapshot, workspace, named)?;
    let now_us = warehouse.clock.now_us();
    let readiness = Readiness { snapshot, ledger: warehouse.catalog.ledger(), now_us };
    match (readiness.of(object)?, object.as_ref(), named.0) {
        (Some(ready), Object::FeatureView(_), "feature view")
        | (Some(ready), Object::FeatureService(_), "feature service") => Ok(json!({
            "online_latest_ready_time": ready.online_us.map(time),
            "offline_latest_ready_time": ready.offline_us.map(time),
        })),
        _ => {
            let message = format!("\"{}\" is a {}, not a {}", object.name(), object.kind().as_str(), named.0);
            Err(Error::new(Kind::WrongObjectType, message).into())
        }
    }
}

fn view_named<'a>(snapshot: &'a Snapshot, workspace: &Workspace, request: &Request) -> Answered<&'a Arc<Object>> {
    let name = present(request.feature_view.as_deref(), "feature_view")?;
    Ok(relation_named(snapshot, workspace, ("feature view", name))?)
}

impl Request {
    fn submission<'a>(&self, object: &'a Object) -> Answered<Submission<'a>> {
        let view = JobsCall::view(object)?;
        let stores = match (self.online.unwrap_or(view.online), self.offline.unwrap_or(view.offline)) {
            (true, true) => RefreshStores::Both,
            (true, false) => RefreshStores::OnlineOnly,
            (false, true) => RefreshStores::OfflineOnly,
            (false, false) => return Err(Refusal::bad_request("neither \"online\" nor \"offline\" is wanted")),
        };
        let bound = |text: &Option<String>, field: &str| match text {
            None => Ok(None),
            Some(text) => parse_timestamp(text)
                .map(Some)
                .map_err(|error| Refusal::bad_request(format!("\"{field}\" is not a time: {error}"))),
        };
        let retries = self.use_tecton_managed_retries.unwrap_or(true);
        Ok(Submission {
            view,
            range: RangeRequest {
                start_us: bound(&self.start_time, "start_time")?,
                end_us: bound(&self.end_time, "end_time")?,
            },
            stores,
            overwrite: self.overwrite,
            max_attempts: if retries { view.max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS) } else { 1 },
        })
    }

    fn job(&self) -> Answered<JobId> {
        match &self.job_id {
            None => Err(Refusal::bad_request("\"job_id\" is missing")),
            Some(Number::Number(number)) => Ok(JobId(*number)),
            Some(Number::Text(text)) => text
                .parse()
                .map(JobId)
                .map_err(|_| Refusal::bad_request(format!("\"job_id\" is not a job's number: \"{text}\""))),
        }
    }
}

/// A job as clients know it; numbers of jobs are texts.
fn told(warehouse: &Warehouse, snapshot: &Snapshot, job: &Job) -> Answered<Json> {
    let attempts = warehouse.catalog.ledger().attempts(job.id).map_err(Error::from)?;
    let refresh = job.request.work.refresh();
    let workspace = snapshot.get(job.request.workspace).map(|workspace| workspace.name().to_owned());
    let bounded = |time_us: i64| (time_us != i64::MIN).then(|| time(time_us));
    let last_us = attempts.iter().filter_map(|attempt| attempt.finished_at_us.or(Some(attempt.started_at_us))).max();
    Ok(json!({
        "id": job.id.to_string(),
        "workspace": workspace,
        "feature_view": job.request.work.view().map(|(_, name)| name),
        "state": state_of(job.state),
        "online": refresh.is_some_and(|refresh| refresh.online),
        "offline": refresh.is_some_and(|refresh| refresh.offline),
        "start_time": refresh.and_then(|refresh| bounded(refresh.range.start_us)),
        "end_time": refresh.map(|refresh| time(refresh.range.end_us)),
        "created_at": time(job.created_at_us()),
        "updated_at": time(job.finished_at_us.or(last_us).unwrap_or(job.created_at_us())),
        "next_attempt_at": job.next_attempt_at_us.map(time),
        "job_type": job.request.work.kind(),
        "trigger": job.request.trigger.as_str(),
        "attempts": attempts.iter().map(told_attempt).collect::<Vec<_>>(),
        "error": job.error.as_ref().map(|error| json!({"sqlstate": error.sqlstate, "message": error.message})),
    }))
}

fn told_attempt(attempt: &JobAttempt) -> Json {
    let state = match attempt.state {
        JobState::Queued => "PENDING",
        JobState::Running => "RUNNING",
        JobState::Succeeded => "SUCCESS",
        JobState::Failed => "ERROR",
        JobState::Cancelled => "CANCELLED",
    };
    json!({
        "id": format!("{}.{}", attempt.job, attempt.attempt),
        "state": state,
        "created_at": time(attempt.started_at_us),
        "updated_at": time(attempt.finished_at_us.unwrap_or(attempt.started_at_us)),
        "error": attempt.error.as_ref().map(|error| &error.message),
    })
}

fn state_of(state: JobState) -> &'static str {
    match state {
        JobState::Queued | JobState::Running => "RUNNING",
        JobState::Succeeded => "SUCCESS",
        JobState::Failed => "FAILURE",
        JobState::Cancelled => "MANUALLY_CANCELLED",
    }
}

/// RFC 3339.
fn time(time_us: i64) -> String {
    granary_sql::timestamp::format_timestamp(time_us).replacen(' ', "T", 1).replacen("+00", "Z", 1)
}
