//! What the names in a request mean.

use std::sync::Arc;

use granary_catalog::{Object, Snapshot, Workspace};

use crate::access::PUBLIC_SCHEMA;
use crate::error::{Error, Kind, Result};

/// Errors: 3D000.
pub fn workspace_named<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Workspace> {
    snapshot
        .workspace(name)
        .ok_or_else(|| Error::new(Kind::InvalidCatalogName, format!("workspace \"{name}\" does not exist")))
}

/// `name` is a relation of schema public, or `schema.name`; `what` is wanted of it. Errors: 42P01.
pub fn relation_named<'a>(
    snapshot: &'a Snapshot,
    workspace: &Workspace,
    (what, name): (&str, &str),
) -> Result<&'a Arc<Object>> {
    let relation = |schema: &str, name: &str| {
        let schema = snapshot.schema(workspace.header.id, schema)?;
        snapshot.relation(schema.header.id, name)
    };
    let found = relation(PUBLIC_SCHEMA, name).or_else(|| {
        let (schema, name) = name.split_once('.')?;
        relation(schema, name)
    });
    found.ok_or_else(|| {
        let message = format!("{what} \"{name}\" does not exist in workspace \"{}\"", workspace.header.name);
        Error::new(Kind::UndefinedTable, message)
    })
}
