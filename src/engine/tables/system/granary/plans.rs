//! Plans of repositories, their files, and which of them were applied.

use granary_catalog::{Change, HistoryFilter, Object, Plan, PlanId, Version};

use super::{Rows, SystemContext, row};
use crate::error::Result;

fn plans_of(context: &SystemContext) -> Result<Vec<Plan>> {
    Ok(context.catalog.plans().list(context.scope.workspace)?)
}

/// One commit that applied a plan.
struct Applied {
    plan: PlanId,
    version: Version,
    at_us: i64,
    role: String,
}

/// Newest first.
fn applied(context: &SystemContext) -> Result<Vec<Applied>> {
    let filter = HistoryFilter { object: Some(context.scope.workspace), ..HistoryFilter::default() };
    let mut found = Vec::new();
    for entry in context.catalog.history(&filter)? {
        let plan = entry.changes.iter().find_map(|change| match change {
            Change::Put(Object::Workspace(workspace)) if workspace.header.id == context.scope.workspace => {
                workspace.applied_plan
            }
            _ => None,
        });
        let (version, at_us, role) = (entry.version, entry.author.at_us, entry.author.role);
        found.extend(plan.map(|plan| Applied { plan, version, at_us, role }));
    }
    Ok(found)
}

pub fn plans(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let applied = applied(context)?;
    for plan in plans_of(context)? {
        let done = applied.iter().find(|applied| applied.plan == plan.id);
        row!(rows,
            plan: plan.id.0,
            created_at: plan.new.author.at_us,
            role: &plan.new.author.role,
            message: plan.new.message.as_ref(),
            changes: plan.new.changes.len(),
            applied_at: done.map(|done| done.at_us),
            applied_version: done.map(|done| done.version.0),
            suppress_recreates: plan.new.suppress_recreates,
        );
    }
    Ok(())
}

pub fn plan_changes(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for plan in plans_of(context)? {
        for change in &plan.new.changes {
            row!(rows,
                plan: plan.id.0,
                action: change.action.as_str(),
                kind: &change.kind,
                schema: &change.schema,
                name: &change.name,
                renamed_from: change.renamed_from.as_ref(),
                changes: change.properties_json(),
                reason: change.reason.as_ref(),
                jobs: change.jobs.as_ref(),
                estimated_rows: change.estimated_rows,
                warnings: change.warnings.clone(),
                file: change.file.as_ref(),
            );
        }
    }
    Ok(())
}

pub fn plan_files(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for plan in plans_of(context)? {
        for file in &plan.new.files {
            row!(rows, plan: plan.id.0, path: &file.path, text: &file.text);
        }
    }
    Ok(())
}

pub fn applies(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let plans = plans_of(context)?;
    for Applied { plan, version, at_us, role } in applied(context)? {
        let known = plans.iter().find(|known| known.id == plan);
        row!(rows,
            version: version.0,
            plan: plan.0,
            applied_at: at_us,
            role: role,
            message: known.and_then(|known| known.new.message.as_ref()),
            changes: known.map_or(0, |known| known.new.changes.len()),
        );
    }
    Ok(())
}

/// Tests as they are declared; `granary.test()` runs them.
pub fn tests(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        if let Object::Test(test) = object {
            super::object_row!(context, rows, &test.header, statement: &test.header.statement);
        }
    }
    Ok(())
}
