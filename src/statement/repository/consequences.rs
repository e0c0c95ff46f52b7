//! What follows of a plan: jobs, about how many rows they read, and what its reader should know before.

use std::sync::Arc;

use granary_catalog::{
    FeatureView, GroupId, IntervalSet, ObjectId, ObjectKind, PlanAction, Snapshot, StoreKind, Trigger,
};
use granary_sql::timestamp::format_timestamp;

use super::compare::Compared;
use crate::engine::{BoundView, RowsRequest, estimated_rows, rows_plan};
use crate::error::Result;
use crate::statement::context::StatementContext;

/// Adds them to each change.
pub async fn add(context: &StatementContext, after: &Arc<Snapshot>, changes: &mut [Compared]) -> Result<()> {
    for change in changes.iter_mut() {
        let (id, action) = (change.id, change.planned.action);
        if context.scope.is_live()
            && let Some(view) = after.get_as::<FeatureView>(id)
            && matches!(action, PlanAction::Create | PlanAction::AddFeatures | PlanAction::Recreate)
            && (view.online || view.offline)
        {
            change.planned.jobs = jobs(view, action);
            if change.planned.jobs.is_some() {
                change.planned.estimated_rows = rows_of(context, after, view).await;
            }
        }
        if matches!(action, PlanAction::Drop | PlanAction::Recreate) {
            change.planned.warnings.extend(lost(context, id, action, &change.planned.kind));
            change.planned.warnings.extend(reached(context.snapshot(), after, id));
        }
    }
    Ok(())
}

fn jobs(view: &FeatureView, action: PlanAction) -> Option<String> {
    let name = &view.header.name;
    let what = match action {
        PlanAction::AddFeatures => "backfills the new features",
        _ => "backfills",
    };
    match view.trigger {
        Trigger::Scheduled => Some(format!("the scheduler {what}")),
        Trigger::Manual => Some(format!("REFRESH FEATURE VIEW {name} {what}")),
        Trigger::None => None,
    }
}

/// About how many rows the view's query reads, if its files say so.
async fn rows_of(context: &StatementContext, after: &Arc<Snapshot>, view: &FeatureView) -> Option<u64> {
    let mut planner = context.planner();
    planner.scope.snapshot = Arc::clone(after);
    let bound = BoundView::of_feature_view(view).ok()?;
    let plan = rows_plan(&planner, &bound, RowsRequest::Everything).await.ok()?;
    estimated_rows(&planner, &plan).await
}

/// The feature services that serve what is not there for a while.
fn reached(before: &Snapshot, after: &Snapshot, id: ObjectId) -> Option<String> {
    let services = after
        .dependents(id)
        .into_iter()
        .filter(|object| object.kind() == ObjectKind::FeatureService && before.get(object.id()).is_some());
    let mut names: Vec<&str> = services.map(|service| service.name()).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => None,
        [only] => Some(format!("feature service {only} serves it")),
        several => Some(format!("feature services {} serve it", several.join(", "))),
    }
}

/// What is stored of an object that goes.
fn lost(context: &StatementContext, id: ObjectId, action: PlanAction, kind: &str) -> Option<String> {
    let again = match action {
        PlanAction::Recreate if kind == "feature table" => "go, and nobody makes them again",
        PlanAction::Recreate => "go, and are computed again; until then nothing is served",
        _ => "go",
    };
    if kind == "feature table" {
        return Some(format!("the rows that users have written to it {again}"));
    }
    let ledger = context.warehouse.catalog.ledger();
    let view = context.snapshot().get_as::<FeatureView>(id)?;
    let groups = BoundView::of_feature_view(view).ok()?.group_numbers();
    let stored = groups.iter().flat_map(|group| StoreKind::ALL.map(|store| (GroupId::new(id, *group), store)));
    let ranges: Vec<IntervalSet> = stored.map(|(group, store)| ledger.ranges(group, store)).collect();
    let until = ranges.iter().flat_map(IntervalSet::iter).map(|range| range.end_us).max()?;
    Some(format!("its rows, materialized up to {}, {again}", format_timestamp(until)))
}
