//! `granary.audit_log`: who changed what and when, an object a row; who changed rows of tables, and started jobs; who was
//! refused what.

use std::collections::HashMap;

use granary_catalog::{Change, HistoryFilter, ObjectId, ObjectKind, Privilege};

use super::{Rows, SystemContext, row};
use crate::access::Asker;
use crate::error::Result;

pub fn audit_log(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    commits(context, rows)?;
    jobs(context, rows)?;
    records(context, rows)
}

fn commits(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    // Dropped objects are in no snapshot, so their workspace is learnt from the change that made them.
    let mut workspaces: HashMap<ObjectId, Option<ObjectId>> = HashMap::new();
    for entry in context.catalog.history(&HistoryFilter::default())? {
        for change in &entry.changes {
            if let Change::Put(object) = change {
                workspaces.insert(object.id(), object.home().workspace());
            }
        }
        for effect in &entry.effects {
            let home = workspaces.get(&effect.id).copied().flatten();
            // roles and keys belong to all workspaces
            let is_of_server = matches!(effect.kind, ObjectKind::Role | ObjectKind::ApiKey);
            if effect.id != context.scope.workspace && home != Some(context.scope.workspace) && !is_of_server {
                continue;
            }
            row!(rows,
                version: entry.version.0,
                at: entry.author.at_us,
                role: &entry.author.role,
                action: effect.action.as_str(),
                kind: effect.kind.as_str(),
                name: &effect.name,
                statement: &entry.author.statement,
            );
        }
    }
    Ok(())
}

fn jobs(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for job in super::jobs::jobs_of(context)? {
        let work = &job.request.work;
        row!(rows,
            at: job.created_at_us(),
            role: &job.request.author.role,
            action: "started",
            kind: format!("{} job", work.kind()),
            name: work.view().map(|(_, name)| name).or(work.dataset().map(|dataset| dataset.name.as_str())),
            statement: &job.request.author.statement,
        );
    }
    Ok(())
}

/// What others were refused, and which rows they changed, is shown to who owns the workspace; what was refused outside of
/// it, to superusers.
fn records(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let asker = Asker::role(&context.facts.user);
    let access = asker.access(&context.scope.snapshot);
    let is_owner = access.has_workspace_role(context.scope.workspace, &[Privilege::Owner]);
    let snapshot = &context.scope.snapshot;
    for record in context.catalog.records().all()? {
        let is_of_workspace = record.database == context.facts.database;
        let is_outside = || access.is_unlimited() && snapshot.workspace(&record.database).is_none();
        if !is_of_workspace && !is_outside() || !is_owner && record.role != context.facts.user {
            continue;
        }
        let (kind, name) = record.relation.unzip();
        let (sqlstate, message) = record.error.unzip();
        let (come, gone) = record.rows.unzip();
        row!(rows,
            at: record.at_us,
            role: record.role,
            action: record.kind.as_str(),
            kind: kind,
            name: name,
            statement: record.statement,
            client: record.client,
            sqlstate: sqlstate,
            message: message,
            rows_added: come,
            rows_removed: gone,
        );
    }
    Ok(())
}
