//! `REFRESH FEATURE VIEW`.

use std::sync::Arc;

use granary_catalog::{
    Author, FeatureView, Interval, Job, JobId, JobWork, NewJob, ObjectId, ObjectKind, RefreshWork, Trigger,
};
use granary_sql::SqlText;
use granary_sql::statement::{Refresh, RefreshStores};
use granary_sql::timestamp::parse_timestamp;
use sqlparser::ast::Expr;
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use crate::engine::{BoundView, StreamRows, constant_time};
use crate::error::{Error, Kind, Result};
use crate::materialize::{self, Materialization, RangeRequest, resolve_range};

/// Runs the refresh as a job and waits for its end; with NOWAIT only a notice tells its number.
pub async fn refresh(context: &mut StatementContext, refresh: &Refresh, cancel: &CancellationToken) -> Result<()> {
    let object = context.find(ObjectKind::FeatureView, &refresh.view)?;
    let view: &FeatureView = object.downcast().ok_or_else(|| Error::internal("a feature view is not one"))?;
    check(context, view, refresh.stores)?;
    let bound = Arc::new(BoundView::of_feature_view(view)?);
    // a stream's events come into the stores by themselves; what is materialized is its mirror
    let planner = match view.kind.is_stream() {
        true => context.planner().with_stream_rows(StreamRows::Mirror),
        false => context.planner(),
    };
    let request = RangeRequest {
        start_us: bound_time(context, refresh.from.as_ref()).await?,
        end_us: bound_time(context, refresh.to.as_ref()).await?,
    };
    let range = resolve_range(&planner, &bound, request, context.now_us).await?;
    if let Some(notice) = &range.notice {
        context.notices.push(Error::new(Kind::InvalidParameterValue, notice.clone()));
    }
    let work = Materialization {
        view: bound,
        workspace: context.scope.workspace,
        range,
        online: view.online && refresh.stores != RefreshStores::OfflineOnly,
        offline: view.offline && refresh.stores != RefreshStores::OnlineOnly,
        overwrite: refresh.overwrite,
        author: Author { role: context.role.clone(), at_us: context.now_us, statement: context.text.clone() },
    };
    let warehouse = Arc::clone(&context.warehouse);
    let job = materialize::register(&warehouse, &work)?;
    let started = job.id;
    // The job has a task of its own, so that it ends in the ledger whatever becomes of the session.
    let token = if refresh.nowait { CancellationToken::new() } else { cancel.child_token() };
    let task = context
        .warehouse
        .engine
        .threads()
        .spawn(async move { materialize::run(&warehouse, planner, work, job, token).await });
    if refresh.nowait {
        let started = Error::new(Kind::SuccessfulCompletion, format!("job {started} has started"));
        context.notices.push(started.with_hint("granary.jobs tells what becomes of it"));
        return Ok(());
    }
    task.await.map_err(|error| Error::internal("a job's task died").with_source(error))??;
    tell_failures(context, view.header.id, started)
}

/// Tells of the expectations that a run which counts does not meet.
fn tell_failures(context: &mut StatementContext, view: ObjectId, job: JobId) -> Result<()> {
    let run = context.warehouse.monitor.run(view.0, job.0)?;
    for result in run.iter().flat_map(|run| &run.results).filter(|result| result.ok == Some(false)) {
        let message = format!("expectation \"{}\" does not hold: {}", result.name, result.check);
        let told = Error::new(Kind::CheckViolation, message).with_detail(materialize::figures_text(result));
        context.notices.push(told);
    }
    Ok(())
}

/// A refresh that is left to the scheduler, which starts it soon and tries it again if it fails.
pub struct Submission<'a> {
    pub view: &'a FeatureView,
    pub range: RangeRequest,
    pub stores: RefreshStores,
    pub overwrite: bool,
    pub max_attempts: u32,
}

/// Puts the job into the queue. Errors: those of REFRESH before it begins.
pub async fn submit(context: &StatementContext, submission: Submission<'_>) -> Result<Job> {
    let Submission { view, range, stores, overwrite, max_attempts } = submission;
    check(context, view, stores)?;
    let bound = Arc::new(BoundView::of_feature_view(view)?);
    let planner = match view.kind.is_stream() {
        true => context.planner().with_stream_rows(StreamRows::Mirror),
        false => context.planner(),
    };
    let range = resolve_range(&planner, &bound, range, context.now_us).await?;
    let work = JobWork::Refresh(RefreshWork {
        view: view.header.id,
        view_name: view.header.name.clone(),
        range: Interval::new(range.start_us, range.end_us),
        online: view.online && stores != RefreshStores::OfflineOnly,
        offline: view.offline && stores != RefreshStores::OnlineOnly,
        overwrite,
        groups: materialize::groups_to_note(view.group_numbers()),
    });
    let author = Author { role: context.role.clone(), at_us: context.now_us, statement: context.text.clone() };
    let request = NewJob { managed: true, max_attempts, ..NewJob::new(work, context.scope.workspace, author) };
    let job = context.warehouse.catalog.ledger().create_job(request)?;
    context.warehouse.jobs.has_changed();
    Ok(job)
}

fn check(context: &StatementContext, view: &FeatureView, stores: RefreshStores) -> Result<()> {
    let name = &view.header.name;
    if !context.scope.is_live() {
        return Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            "a development workspace computes on demand and never materializes",
        )
        .with_hint("read the view directly, or REFRESH it in a live workspace"));
    }
    if view.trigger == Trigger::None {
        return Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            format!("feature view \"{name}\" has trigger = none, so it is never materialized"),
        )
        .with_hint(format!("ALTER FEATURE VIEW {name} SET (trigger = manual)")));
    }
    let wanted = match stores {
        RefreshStores::Both => view.online || view.offline,
        RefreshStores::OnlineOnly => view.online,
        RefreshStores::OfflineOnly => view.offline,
    };
    if wanted {
        return Ok(());
    }
    Err(Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("feature view \"{name}\" is not kept in the store that this would write"),
    )
    .with_hint(format!("ALTER FEATURE VIEW {name} SET (online = true, offline = true)")))
}

/// The time that a bound's constant expression says.
pub async fn bound_time(context: &StatementContext, expr: Option<&SqlText<Expr>>) -> Result<Option<i64>> {
    let Some(expr) = expr else { return Ok(None) };
    if let Expr::Value(value) = &expr.ast
        && let sqlparser::ast::Value::SingleQuotedString(text) = &value.value
    {
        let time = parse_timestamp(text).map_err(|error| {
            let message = format!("invalid input syntax for type timestamp with time zone: \"{text}\"");
            context.at(&expr.ast, Error::new(Kind::InvalidDatetimeFormat, message).with_detail(error.to_string()))
        })?;
        return Ok(Some(time));
    }
    constant_time(&context.planner(), expr).await.map(Some)
}
