//! Who may do what: one role in one snapshot of the catalog. Every refusal is made here, and logged here.
//!
//! A role may do what it was granted, what roles that it is a member of may do, and everything with objects that any of
//! these own. The predefined roles of a workspace stand for many rights in it; a superuser may do everything. Nothing
//! else is allowed, but for what everybody may do with a new workspace and its schema `public`, as in PostgreSQL.
//!
//! It knows no SQL and no plans: callers say which object, and which of its columns.

mod api_key;
mod hba;
mod verifier;

use std::collections::BTreeSet;
use std::sync::Arc;

use granary_catalog::{Grant, Object, ObjectId, ObjectKind, PredefinedRole, Privilege, Role, Snapshot, Table};

use crate::error::{Error, Kind, Result};

pub use api_key::{NewApiKey, hexadecimal, role_of_api_key};
pub use hba::{HostRules, Knock, Method};
pub use verifier::{
    ITERATIONS, SALT_BYTES, ScramVerifier, check_password, make_verifier, parse_verifier, random_bytes,
};

/// The schema that every workspace begins with.
pub const PUBLIC_SCHEMA: &str = "public";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asker {
    /// The server itself, for jobs, and for what stands behind a relation: who may read a view need not have a right
    /// on what it reads.
    Server,
    Role(Arc<str>),
    /// What a view stands on: its owner's rights count, as far as policies let the owner see rows.
    Owner(Arc<str>),
    /// What is computed for whoever may read it, of all rows that there are: its owner must be somebody for whom no
    /// policies hold.
    Maker(Arc<str>),
}

impl Asker {
    pub fn role(name: &str) -> Asker {
        Asker::Role(name.into())
    }

    /// The role in whose name something is asked; None of the server.
    pub fn name(&self) -> Option<&str> {
        match self {
            Asker::Server => None,
            Asker::Role(name) | Asker::Owner(name) | Asker::Maker(name) => Some(name),
        }
    }

    /// What the asker may do in this snapshot.
    pub fn access<'a>(&'a self, snapshot: &'a Snapshot) -> Access<'a> {
        match self {
            Asker::Server | Asker::Owner(_) | Asker::Maker(_) => {
                Access { snapshot, role: "", roles: BTreeSet::new(), is_unlimited: true }
            }
            Asker::Role(name) => {
                let own = snapshot.role(name);
                Access {
                    snapshot,
                    role: name,
                    roles: own.map(|own| memberships(snapshot, own)).unwrap_or_default(),
                    is_unlimited: own.is_some_and(|own| own.superuser),
                }
            }
        }
    }
}

/// Refuses a role that may not read these columns of a relation, or not connect to the workspace that it is in: what a
/// session checks when it begins and when it reads, for those who have no session.
pub fn check_read<'c>(
    snapshot: &Snapshot,
    role: &str,
    object: &Object,
    columns: impl IntoIterator<Item = &'c str>,
) -> Result<()> {
    let asker = Asker::role(role);
    let access = asker.access(snapshot);
    if let Some(workspace) = object.home().workspace().and_then(|workspace| snapshot.get(workspace)) {
        access.check_connect(workspace)?;
    }
    access.check_select(object, columns)
}

/// One asker's rights in one snapshot. A role that was dropped has none.
#[derive(Debug)]
pub struct Access<'a> {
    snapshot: &'a Snapshot,
    role: &'a str,
    /// the role and all that it is a member of, directly or not
    roles: BTreeSet<ObjectId>,
    is_unlimited: bool,
}

/// What may be read of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readable {
    Everything,
    /// the columns that a statement names decide
    SomeColumns,
}

impl Access<'_> {
    /// A superuser, or the server itself.
    pub fn is_unlimited(&self) -> bool {
        self.is_unlimited
    }

    /// What may be read of a relation; nothing at all is an error.
    pub fn readable(&self, object: &Object) -> Result<Readable> {
        self.check_usage(object)?;
        if self.holds(object, Privilege::Select, None) {
            return Ok(Readable::Everything);
        }
        match self.columns(object, Privilege::Select).next() {
            Some(_) => Ok(Readable::SomeColumns),
            None => Err(self.denied(object, "SELECT")),
        }
    }

    /// Refuses to read these columns of a relation. Whoever names none, as `count(*)` does, needs a right on any.
    pub fn check_select<'c>(&self, object: &Object, columns: impl IntoIterator<Item = &'c str>) -> Result<()> {
        self.check_usage(object)?;
        self.check_columns(object, Privilege::Select, columns)
    }

    /// Refuses to write to a relation: to these columns of it, or to all of it if none is named.
    pub fn check_write<'c>(
        &self,
        object: &Object,
        privilege: Privilege,
        columns: impl IntoIterator<Item = &'c str>,
    ) -> Result<()> {
        self.check_usage(object)?;
        let columns: Vec<&str> = columns.into_iter().collect();
        if columns.is_empty() { self.check(object, privilege) } else { self.check_columns(object, privilege, columns) }
    }

    /// Refuses whoever lacks a right on all of the relation.
    pub fn check(&self, object: &Object, privilege: Privilege) -> Result<()> {
        self.check_usage(object)?;
        if self.holds(object, privilege, None) { Ok(()) } else { Err(self.denied(object, privilege.as_str())) }
    }

    fn check_columns<'c>(
        &self,
        object: &Object,
        privilege: Privilege,
        columns: impl IntoIterator<Item = &'c str>,
    ) -> Result<()> {
        if self.holds(object, privilege, None) {
            return Ok(());
        }
        let granted: BTreeSet<&str> = self.columns(object, privilege).collect();
        let all_granted = columns.into_iter().all(|column| granted.contains(column));
        if all_granted && !granted.is_empty() { Ok(()) } else { Err(self.denied(object, privilege.as_str())) }
    }

    /// Refuses to look into the schema that an object lives in.
    fn check_usage(&self, object: &Object) -> Result<()> {
        let schema = object.home().schema().and_then(|schema| self.snapshot.get(schema));
        match schema {
            Some(schema) if !self.holds(schema, Privilege::Usage, None) => Err(self.denied(schema, "USAGE")),
            _ => Ok(()),
        }
    }

    /// Refuses to make something in a schema, or a schema in a workspace.
    pub fn check_create(&self, container: &Object) -> Result<()> {
        match self.holds(container, Privilege::Create, None) {
            true => Ok(()),
            false => Err(self.denied(container, "CREATE")),
        }
    }

    pub fn may_connect(&self, workspace: &Object) -> bool {
        self.holds(workspace, Privilege::Connect, None)
    }

    pub fn check_connect(&self, workspace: &Object) -> Result<()> {
        if self.may_connect(workspace) {
            return Ok(());
        }
        let message = format!("permission denied for database \"{}\"", workspace.name());
        let error = self.refuse(message, workspace.name(), "CONNECT");
        Err(error.with_detail("User does not have CONNECT privilege."))
    }

    /// Refuses to change or drop an object.
    pub fn check_manage(&self, object: &Object, action: &str) -> Result<()> {
        match self.may_manage(object) {
            true => Ok(()),
            false => Err(self.not_owner(object, action)),
        }
    }

    /// Refuses to start, tend or stop the jobs of an object.
    pub fn check_operate(&self, object: &Object, action: &str) -> Result<()> {
        let in_workspace = object.home().workspace().is_some_and(|workspace| self.may_operate_in(workspace));
        match in_workspace || self.may_manage(object) {
            true => Ok(()),
            false => Err(self.not_owner(object, action)),
        }
    }

    /// Whether the asker may tend everybody's jobs in a workspace.
    pub fn may_operate_in(&self, workspace: ObjectId) -> bool {
        self.has_workspace_role(workspace, &[Privilege::Operator, Privilege::Editor, Privilege::Owner])
    }

    /// Refuses to give or take rights on an object.
    pub fn check_grant(&self, object: &Object, action: &str) -> Result<()> {
        let in_workspace =
            workspace_of(object).is_some_and(|workspace| self.has_workspace_role(workspace, &[Privilege::Owner]));
        match in_workspace || self.owns(object) {
            true => Ok(()),
            false => Err(self.denied(object, action)),
        }
    }

    /// Refuses what only superusers may do; `message` says so in the words of the statement.
    pub fn check_superuser(&self, message: impl Into<String>, action: &str) -> Result<()> {
        if self.is_unlimited {
            return Ok(());
        }
        Err(self.refuse(message.into(), "server", action))
    }

    /// Refuses to give something to a role that the asker does not belong to.
    pub fn check_member(&self, role: &Role, action: &str) -> Result<()> {
        if self.is_member(role) {
            return Ok(());
        }
        Err(self.refuse(format!("must be member of role \"{}\"", role.header.name), &role.header.name, action))
    }

    /// Whether the asker is the role, or belongs to it.
    pub fn is_member(&self, role: &Role) -> bool {
        self.is_unlimited || self.roles.contains(&role.header.id)
    }

    /// Refuses to grant membership in a role, or to act in its name.
    pub fn check_admin(&self, role: &Role, action: &str) -> Result<()> {
        let of_role =
            |id: &ObjectId| self.snapshot.get_as::<Role>(*id).is_some_and(|own| own.admin_of.contains(&role.header.id));
        if self.is_unlimited || (!role.superuser && self.roles.iter().any(of_role)) {
            return Ok(());
        }
        let name = &role.header.name;
        let message = match role.superuser {
            true => "must be superuser to alter superusers".to_owned(),
            false => format!("must have admin option on role \"{name}\""),
        };
        Err(self.refuse(message, name, action))
    }

    /// Refuses files of the server; `what` ends the message, such as `COPY to a file`.
    pub fn check_server_files(&self, needed: PredefinedRole, what: &str) -> Result<()> {
        let has =
            |id: &ObjectId| self.snapshot.get_as::<Role>(*id).is_some_and(|role| role.predefined.contains(&needed));
        if self.is_unlimited || self.roles.iter().any(has) {
            return Ok(());
        }
        let name = needed.as_str();
        let message = format!("must be superuser or have privileges of the {name} role to {what}");
        Err(self
            .refuse(message, "files of the server", what)
            .with_hint(format!("a superuser can GRANT {name} TO {}", granary_sql::name::quote(self.role))))
    }

    /// Whether the asker has a right on all of the object, or on this column of it.
    pub fn holds(&self, object: &Object, privilege: Privilege, column: Option<&str>) -> bool {
        if self.owns(object) {
            return true;
        }
        let fits = |grant: &Grant| {
            grant.privilege == privilege
                && self.is_grantee(grant)
                && grant.column.as_deref().is_none_or(|granted| Some(granted) == column)
        };
        grants_of(object).iter().any(fits)
            || workspace_of(object).is_some_and(|workspace| self.has_workspace_role(workspace, roles_with(privilege)))
    }

    /// The columns that the asker has a right on one by one.
    pub fn columns<'o>(&self, object: &'o Object, privilege: Privilege) -> impl Iterator<Item = &'o str> {
        let own = grants_of(object).iter().filter(move |grant| grant.privilege == privilege && self.is_grantee(grant));
        own.filter_map(|grant| grant.column.as_deref())
    }

    fn is_grantee(&self, grant: &Grant) -> bool {
        grant.grantee.is_none_or(|grantee| self.roles.contains(&grantee))
    }

    pub fn owns(&self, object: &Object) -> bool {
        let owner = || self.snapshot.role(&object.header().owner);
        self.is_unlimited || owner().is_some_and(|owner| self.roles.contains(&owner.header.id))
    }

    fn may_manage(&self, object: &Object) -> bool {
        // an editor edits what is in a workspace, not the workspace
        let roles: &[Privilege] = match object.kind() {
            ObjectKind::Workspace => &[Privilege::Owner],
            _ => &[Privilege::Owner, Privilege::Editor],
        };
        self.owns(object) || workspace_of(object).is_some_and(|workspace| self.has_workspace_role(workspace, roles))
    }

    /// Whether the asker has one of these predefined roles. Who owns a workspace is its owner in this sense, too.
    pub fn has_workspace_role(&self, workspace: ObjectId, roles: &[Privilege]) -> bool {
        if self.is_unlimited {
            return true;
        }
        let Some(workspace) = self.snapshot.get(workspace) else { return false };
        self.owns(workspace) && !roles.is_empty()
            || grants_of(workspace).iter().any(|grant| roles.contains(&grant.privilege) && self.is_grantee(grant))
    }

    fn denied(&self, object: &Object, action: &str) -> Error {
        let message = format!("permission denied for {} {}", kind_of(object), object.name());
        self.refuse(message, object.name(), action)
    }

    fn not_owner(&self, object: &Object, action: &str) -> Error {
        let message = format!("must be owner of {} {}", kind_of(object), object.name());
        self.refuse(message, object.name(), action)
    }

    fn refuse(&self, message: String, object: &str, action: &str) -> Error {
        tracing::info!(role = self.role, object, action, "refused: {message}");
        Error::new(Kind::InsufficientPrivilege, message)
    }
}

/// The object's kind as PostgreSQL's messages call it.
fn kind_of(object: &Object) -> &'static str {
    match object.kind() {
        ObjectKind::Workspace => "database",
        kind => kind.as_str(),
    }
}

const fn to_everybody(privilege: Privilege) -> Grant {
    Grant { grantee: None, privilege, column: None }
}

/// The rights on an object as they are in force: those granted, or what a new object of its kind begins with.
pub fn grants_of(object: &Object) -> &[Grant] {
    static OF_WORKSPACE: [Grant; 1] = [to_everybody(Privilege::Connect)];
    static OF_PUBLIC: [Grant; 1] = [to_everybody(Privilege::Usage)];
    static OF_FUNCTION: [Grant; 1] = [to_everybody(Privilege::Execute)];
    match (&object.header().grants, object) {
        (Some(grants), _) => grants,
        (None, Object::Workspace(_)) => &OF_WORKSPACE,
        (None, Object::Schema(schema)) if schema.header.name == PUBLIC_SCHEMA => &OF_PUBLIC,
        (None, Object::Function(_)) => &OF_FUNCTION,
        (None, _) => &[],
    }
}

/// The predefined roles that a right on everything in their workspace comes with.
fn roles_with(privilege: Privilege) -> &'static [Privilege] {
    const EDITORS: &[Privilege] = &[Privilege::Owner, Privilege::Editor];
    const READERS: &[Privilege] = &[Privilege::Owner, Privilege::Editor, Privilege::Consumer];
    match privilege {
        Privilege::Select | Privilege::Execute => READERS,
        Privilege::Insert | Privilege::Update | Privilege::Delete | Privilege::Create => EDITORS,
        Privilege::Usage | Privilege::Connect => &Privilege::WORKSPACE_ROLES,
        Privilege::Viewer | Privilege::Consumer | Privilege::Operator | Privilege::Editor | Privilege::Owner => &[],
    }
}

/// The workspace that an object is, or lives in.
fn workspace_of(object: &Object) -> Option<ObjectId> {
    match object {
        Object::Workspace(workspace) => Some(workspace.header.id),
        other => other.home().workspace(),
    }
}

/// Whether the policies of a table do not hold for a role. One that was dropped is bound by them.
pub fn bypasses_policies(snapshot: &Snapshot, role: &str, table: &Table) -> bool {
    let Some(role) = snapshot.role(role) else { return false };
    if role.superuser || role.bypass_rls {
        return true;
    }
    let owner = snapshot.role(&table.header.owner);
    let owns = owner.is_some_and(|owner| memberships(snapshot, role).contains(&owner.header.id));
    owns && !table.row_security.forced
}

/// The role and all roles that it is a member of, directly or not.
pub fn memberships(snapshot: &Snapshot, role: &Role) -> BTreeSet<ObjectId> {
    let mut found = BTreeSet::new();
    let mut queue = vec![role.header.id];
    while let Some(id) = queue.pop() {
        if found.insert(id) {
            queue.extend(snapshot.get_as::<Role>(id).into_iter().flat_map(|role| role.member_of.iter().copied()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
