//! `granary.audit_log`: who changed what and when, an object a row.

use std::collections::HashMap;

use granary_catalog::{Change, HistoryFilter, ObjectId, ObjectKind};

use super::{Rows, SystemContext, row};
use crate::error::Result;

pub fn audit_log(context: &SystemContext, rows: &mut Rows) -> Result<()> {
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
