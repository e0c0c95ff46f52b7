//! Who may do what, and with which keys; neither digests nor verifiers.

use granary_catalog::{ApiKey, Role};

use super::{Rows, SystemContext, row};
use crate::access::grants_of;
use crate::error::Result;

pub fn api_keys(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let snapshot = &context.scope.snapshot;
    for key in snapshot.all::<ApiKey>() {
        let role = snapshot.get_as::<Role>(key.role);
        row!(rows,
            name: &key.header.name,
            role: role.map(|role| &role.header.name),
            prefix: &key.prefix,
            created_at: key.created_at_us,
            owner: &key.header.owner,
            description: key.header.comment.clone(),
        );
    }
    Ok(())
}

/// Rights on the workspace and on what is in it, a right and a grantee a row.
pub fn grants(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let snapshot = &context.scope.snapshot;
    let workspace = snapshot.get(context.scope.workspace).map(AsRef::as_ref);
    for object in workspace.into_iter().chain(context.objects()) {
        for grant in grants_of(object) {
            let grantee = match grant.grantee {
                None => "PUBLIC",
                Some(id) => snapshot.get(id).map_or("", |role| role.name()),
            };
            row!(rows,
                grantee: grantee,
                privilege: grant.privilege.as_str(),
                kind: object.kind().as_str(),
                schema: object.home().schema().map(|_| context.schema_of(object.header())),
                object: object.name(),
                column: grant.column.clone(),
            );
        }
    }
    Ok(())
}

/// Roles and what they are members of: the predefined ones of the workspace are rights on it, and so among the grants.
pub fn roles(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for role in context.scope.snapshot.all::<Role>() {
        let predefined = role.predefined.iter().map(|predefined| predefined.as_str().to_owned());
        row!(rows,
            name: &role.header.name,
            login: role.login,
            superuser: role.superuser,
            member_of: context.names_of(&role.member_of).into_iter().chain(predefined).collect::<Vec<_>>(),
            admin_of: context.names_of(&role.admin_of),
            description: role.header.comment.clone(),
        );
    }
    Ok(())
}
