//! `VERIFY FEATURE VIEW`: what is served beside what a replay gives. `VERIFY FEATURE SERVICE … LOG`: the same of what was served. No
//! rows are the promise.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use granary_catalog::{Job, JobFilter, JobId, JobState, Object, ObjectId, ObjectKind};
use granary_sql::statement::Verify;

use super::context::StatementContext;
use super::execute::BatchStream;
use crate::engine::{BoundView, Verification, differences_schema, log_differences, log_differences_schema};
use crate::error::{Error, Kind, Result};

/// The view, or the feature table, that a VERIFY names.
fn found(context: &StatementContext, verify: &Verify) -> Result<(BoundView, bool)> {
    let kind = ObjectKind::FeatureView;
    let object = match context.find(kind, &verify.view) {
        Err(error) if error.kind() == Kind::WrongObjectType => {
            context.find(ObjectKind::FeatureTable, &verify.view).map_err(|_| error)?
        }
        found => found?,
    };
    match object.as_ref() {
        Object::FeatureView(view) => Ok((BoundView::of_feature_view(view)?, view.online)),
        Object::FeatureTable(table) => Ok((BoundView::of_feature_table(table)?, table.online)),
        _ => Err(Error::internal("a feature view is not one")),
    }
}

/// The columns of the answer.
pub fn verify_schema(context: &StatementContext, verify: &Verify) -> Result<SchemaRef> {
    if verify.is_log {
        let service = context.find(ObjectKind::FeatureService, &verify.view)?;
        return log_differences_schema(context.snapshot(), &service);
    }
    Ok(differences_schema(&found(context, verify)?.0))
}

/// Compares the two stores as they are now.
pub async fn verify(context: &StatementContext, verify: &Verify) -> Result<(SchemaRef, BatchStream)> {
    if verify.is_log {
        let service = context.find(ObjectKind::FeatureService, &verify.view)?;
        let schema = log_differences_schema(context.snapshot(), &service)?;
        let (planner, name) = (context.planner(), verify.view.to_string());
        let differences = log_differences(&planner, &service, &name, verify.sample).await?;
        return Ok((Arc::clone(&schema), context.warehouse.engine.stream(schema, differences)));
    }
    let (view, online) = found(context, verify)?;
    let (id, name) = (view.id, view.name.clone());
    if !context.scope.is_live() || !online {
        let message = format!("\"{name}\" is not kept in the online store, so there is nothing to verify");
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
            .with_hint("VERIFY compares what is served in a live workspace with a replay"));
    }
    let schema = differences_schema(&view);
    // no write stands between the two stores while both are opened
    let writing = context.warehouse.writing(id);
    let _no_writes = writing.lock().await;
    let last_job = idle_since(context, id, &name)?;
    let verification = Verification::open(&context.planner(), view, &verify.view.to_string(), verify.sample).await?;
    if idle_since(context, id, &name)? != last_job {
        return Err(busy(&name));
    }
    let differences = context.warehouse.engine.stream(Arc::clone(&schema), verification.differences());
    Ok((schema, differences))
}

/// The same twice: no job has begun in between.
type Idle = (Option<JobId>, Vec<(JobId, u32)>);

/// The view's last job, and how often those were begun that have not ended. Errors: `ObjectInUse` while one of them
/// runs, since a job writes one store after the other.
fn idle_since(context: &StatementContext, view: u64, name: &str) -> Result<Idle> {
    let filter = JobFilter { view: Some(ObjectId(view)), limit: 1, ..JobFilter::default() };
    let ledger = context.warehouse.catalog.ledger();
    let last = ledger.list(&filter)?.pop();
    let is_of_view = |job: &Job| job.request.work.view().is_some_and(|(of, _)| of == ObjectId(view));
    let active: Vec<Job> = ledger.active().into_iter().filter(is_of_view).collect();
    if active.iter().any(|job| job.state == JobState::Running) {
        return Err(busy(name));
    }
    Ok((last.map(|job| job.id), active.iter().map(|job| (job.id, job.attempts)).collect()))
}

fn busy(name: &str) -> Error {
    Error::new(Kind::ObjectInUse, format!("a job is writing to \"{name}\""))
        .with_hint("verify it when the job has ended: SELECT * FROM granary.jobs")
}
