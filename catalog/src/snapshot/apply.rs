//! Changes applied to a snapshot, purely: commits, plans, transactions and tests all use this one function.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Snapshot;
use crate::audit::{Action, Effect};
use crate::change::Change;
use crate::collection::Collection;
use crate::dependency;
use crate::error::Error;
use crate::id::ObjectId;
use crate::object::{Definition, Grant, Header, Home, Object, ObjectKind, Policy, Role, Schema, Table, Workspace};

/// A new snapshot and what was done to get there.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) snapshot: Snapshot,
    pub(crate) effects: Vec<Effect>,
}

impl Snapshot {
    /// The snapshot after these changes, one version on, or the first reason why they cannot be made.
    ///
    /// Changes without an effect (putting what is already there) leave the version as it is.
    pub fn apply(&self, changes: &[Change]) -> Result<Snapshot, Error> {
        self.apply_recorded(changes).map(|applied| applied.snapshot)
    }

    pub(crate) fn apply_recorded(&self, changes: &[Change]) -> Result<Applied, Error> {
        let mut draft = Draft { snapshot: self.clone(), first_new: self.next_id, effects: Vec::new() };
        // Everything below sees the version that the changes make.
        draft.snapshot.version = self.version.next();
        for change in changes {
            draft.change(change)?;
        }
        if draft.effects.is_empty() {
            draft.snapshot.version = self.version;
        }
        Ok(Applied { snapshot: draft.snapshot, effects: draft.effects })
    }
}

struct Draft {
    snapshot: Snapshot,
    /// Ids from here on are free for the objects that the changes make, in any order.
    first_new: ObjectId,
    effects: Vec<Effect>,
}

impl Draft {
    fn change(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Put(object) => self.put(object),
            Change::Drop { id, cascade } => self.drop(*id, *cascade),
            Change::Rename { id, to } => self.rename(*id, to),
            Change::Reword { id, statement, query } => self.reword(*id, statement, query.as_deref()),
            Change::SetComment { id, comment } => self.alter(*id, |header| header.comment.clone_from(comment)),
            Change::SetOwner { id, owner } => self.alter(*id, |header| header.owner.clone_from(owner)),
            Change::SetTags { id, tags } => self.alter(*id, |header| header.tags.clone_from(tags)),
            Change::SetOptions { id, options } => self.alter(*id, |header| header.options.clone_from(options)),
            Change::SetPreventDestroy { id, prevent_destroy } => {
                self.alter(*id, |header| header.prevent_destroy = *prevent_destroy)
            }
            Change::SetGrants { id, grants } => {
                check_grantees(&self.snapshot.objects, grants.as_deref())?;
                self.alter(*id, |header| header.grants.clone_from(grants))
            }
        }
    }

    fn put(&mut self, object: &Object) -> Result<(), Error> {
        let existing = self.existing(object)?;
        check_home(&self.snapshot.objects, object, existing.as_deref())?;
        check_references(&self.snapshot.objects, object)?;
        check_grantees(&self.snapshot.objects, object.header().grants.as_deref())?;
        check_policies(&self.snapshot.objects, object)?;
        let version = self.snapshot.version;
        let mut object = object.clone();
        let Some(existing) = existing else {
            let header = object.header_mut();
            (header.created, header.changed, header.revision) = (version, version, 1);
            if !header.id.is_temporary() {
                self.snapshot.next_id = self.snapshot.next_id.max(header.id.after(1));
            }
            return self.insert(object, Action::Created);
        };
        let redefined = !existing.same_definition(&object);
        let header = object.header_mut();
        header.created = existing.header().created;
        header.changed = existing.header().changed;
        header.revision = existing.header().revision + u64::from(redefined);
        if object == *existing {
            return Ok(());
        }
        object.header_mut().changed = version;
        let new_name = object.name().to_owned();
        self.insert(object, Action::Replaced)?;
        self.follow_role_name(&existing, &new_name)
    }

    /// The object that this one replaces; `None` if its id is a new one.
    fn existing(&self, object: &Object) -> Result<Option<Arc<Object>>, Error> {
        let id = object.id();
        let Some(existing) = self.snapshot.get(id).cloned() else {
            // An id that was given once and whose object is gone is never given again.
            let was_made = |effect: &Effect| effect.id == id && effect.action == Action::Created;
            let is_new = id >= self.first_new && !self.effects.iter().any(was_made);
            return if is_new { Ok(None) } else { Err(Error::UndefinedObject { id }) };
        };
        if existing.kind() != object.kind() {
            return Err(Error::WrongKind { object: existing.full_name(), wanted: object.kind().as_str() });
        }
        Ok(Some(existing))
    }

    fn rename(&mut self, id: ObjectId, to: &str) -> Result<(), Error> {
        let existing = self.require(id)?;
        if existing.name() == to {
            return Ok(());
        }
        let mut object = Object::clone(&existing);
        let header = object.header_mut();
        to.clone_into(&mut header.name);
        header.changed = self.snapshot.version;
        self.insert(object, Action::Renamed)?;
        self.follow_role_name(&existing, to)
    }

    /// What a role owns, it still owns after a rename.
    fn follow_role_name(&mut self, old: &Object, new_name: &str) -> Result<(), Error> {
        if old.kind() != ObjectKind::Role || old.name() == new_name {
            return Ok(());
        }
        for id in owned_by(&self.snapshot.objects, old.name()) {
            self.alter(id, |header| new_name.clone_into(&mut header.owner))?;
        }
        Ok(())
    }

    fn reword(&mut self, id: ObjectId, statement: &str, query: Option<&str>) -> Result<(), Error> {
        let mut object = Object::clone(&*self.require(id)?);
        statement.clone_into(&mut object.header_mut().statement);
        if let Some(query) = query {
            let full_name = object.full_name();
            let text = object.query_mut().ok_or(Error::NoQuery { object: full_name })?;
            query.clone_into(text);
        }
        self.replace(object)
    }

    fn alter(&mut self, id: ObjectId, edit: impl FnOnce(&mut Header)) -> Result<(), Error> {
        let mut object = Object::clone(&*self.require(id)?);
        edit(object.header_mut());
        self.replace(object)
    }

    /// Puts an edited copy in place of the object, unless nothing was edited.
    fn replace(&mut self, mut object: Object) -> Result<(), Error> {
        if *self.require(object.id())? == object {
            return Ok(());
        }
        object.header_mut().changed = self.snapshot.version;
        self.insert(object, Action::Altered)
    }

    fn drop(&mut self, id: ObjectId, cascade: bool) -> Result<(), Error> {
        let object = self.require(id)?;
        let dependents: Vec<Arc<Object>> =
            dependency::dependents(&self.snapshot.objects, id).into_iter().cloned().collect();
        if !cascade && !dependents.is_empty() {
            return Err(needed(&object, &dependents));
        }
        // Dependents go first, so that every step of the record makes sense by itself.
        let victims: Vec<Arc<Object>> = dependents.into_iter().rev().chain([Arc::clone(&object)]).collect();
        self.end_policies(&object, &victims, cascade)?;
        if let Some(kept) = victims.iter().find(|victim| victim.header().prevent_destroy) {
            return Err(Error::PreventDestroy { object: kept.full_name() });
        }
        for victim in victims {
            if victim.kind() == ObjectKind::Role {
                self.end_role(&victim)?;
            }
            self.snapshot.objects.remove(victim.id());
            self.record(&victim, Action::Dropped);
        }
        Ok(())
    }

    /// Policies of other tables that read what goes keep it from going, or go with it.
    fn end_policies(&mut self, object: &Object, victims: &[Arc<Object>], cascade: bool) -> Result<(), Error> {
        let is_victim = |id: ObjectId| victims.iter().any(|victim| victim.id() == id);
        let loses = |policy: &Policy| victims.iter().any(|victim| policy.reads(victim.id()));
        let tables = self.snapshot.objects.iter().filter_map(|object| object.downcast::<Table>());
        let losing = tables.filter(|table| !is_victim(table.header.id) && table.policies.iter().any(loses));
        let losing: Vec<Table> = losing.cloned().collect();
        if !cascade && !losing.is_empty() {
            let tables: Vec<Arc<Object>> = losing.into_iter().map(|table| Arc::new(table.into())).collect();
            return Err(needed(object, &tables));
        }
        for mut table in losing {
            table.policies.retain(|policy| !loses(policy));
            self.replace(table.into())?;
        }
        Ok(())
    }

    /// A role that owns something or was granted a right is not dropped, whatever the cascade; memberships in it end.
    fn end_role(&mut self, role: &Object) -> Result<(), Error> {
        let objects = &self.snapshot.objects;
        let owned = owned_by(objects, role.name()).into_iter().filter(|&id| id != role.id());
        let granted = objects.iter().filter(|object| object.header().grants_to(role.id())).map(|object| object.id());
        let has_policy = |object: &&Arc<Object>| {
            let table = object.downcast::<Table>();
            table.is_some_and(|table| table.policies.iter().any(|policy| policy.roles.contains(&role.id())))
        };
        let of_policies = objects.iter().filter(has_policy).map(|object| object.id());
        let needing: BTreeSet<ObjectId> = owned.chain(granted).chain(of_policies).collect();
        let needing: Vec<Arc<Object>> = needing.into_iter().filter_map(|id| objects.get(id)).cloned().collect();
        if !needing.is_empty() {
            return Err(needed(role, &needing));
        }
        let members: Vec<Role> = objects.iter().filter_map(|object| object.downcast::<Role>()).cloned().collect();
        for mut member in members.into_iter().filter(|member| member.member_of.contains(&role.id())) {
            member.member_of.retain(|&id| id != role.id());
            member.admin_of.retain(|&id| id != role.id());
            self.replace(member.into())?;
        }
        Ok(())
    }

    fn insert(&mut self, object: Object, action: Action) -> Result<(), Error> {
        let object = Arc::new(object);
        self.snapshot.objects.insert(Arc::clone(&object))?;
        self.record(&object, action);
        Ok(())
    }

    fn record(&mut self, object: &Object, action: Action) {
        self.effects.push(Effect { id: object.id(), kind: object.kind(), name: object.name().to_owned(), action });
    }

    fn require(&self, id: ObjectId) -> Result<Arc<Object>, Error> {
        self.snapshot.get(id).cloned().ok_or(Error::UndefinedObject { id })
    }
}

fn needed(object: &Object, dependents: &[Arc<Object>]) -> Error {
    Error::DependentObjects {
        object: object.full_name(),
        dependents: dependents.iter().map(|dependent| dependent.full_name()).collect(),
    }
}

fn owned_by(objects: &Collection, owner: &str) -> Vec<ObjectId> {
    let owned = objects.iter().filter(|object| object.header().owner == owner);
    owned.map(|object| object.id()).collect()
}

/// The home must exist, suit the kind, and lie in the workspace the object was made in.
fn check_home(objects: &Collection, object: &Object, existing: Option<&Object>) -> Result<(), Error> {
    let home = object.home();
    let misplaced = || Error::Misplaced { object: object.full_name() };
    object.kind().name_space(home).ok_or_else(misplaced)?;
    if existing.is_some_and(|existing| existing.home().workspace() != home.workspace()) {
        return Err(misplaced());
    }
    match home {
        Home::Server => Ok(()),
        Home::Workspace(workspace) => require_as::<Workspace>(objects, workspace).map(drop),
        Home::Schema { workspace, schema } => {
            require_as::<Workspace>(objects, workspace)?;
            let schema = require_as::<Schema>(objects, schema)?;
            if schema.header.home == Home::Workspace(workspace) { Ok(()) } else { Err(misplaced()) }
        }
    }
}

/// What the object refers to must exist, be of the right kind, in the same workspace, and not lead back to it.
fn check_references(objects: &Collection, object: &Object) -> Result<(), Error> {
    for reference in object.references() {
        if reference.id == object.id() {
            // Found below, with its path.
            continue;
        }
        let used = objects.get(reference.id).ok_or(Error::UndefinedObject { id: reference.id })?;
        if !reference.wanted.admits(used.kind()) {
            return Err(Error::WrongKind { object: used.full_name(), wanted: reference.wanted.describe() });
        }
        if used.home().workspace() != object.home().workspace() {
            return Err(Error::OtherWorkspace { object: object.full_name(), dependency: used.full_name() });
        }
    }
    for role in dependency::memberships(object) {
        if role != object.id() {
            require_as::<Role>(objects, role)?;
        }
    }
    dependency::refuse_cycle(objects, object, dependency::needs)?;
    dependency::refuse_cycle(objects, object, dependency::memberships)
}

/// Rights are given to roles that exist.
fn check_grantees(objects: &Collection, grants: Option<&[Grant]>) -> Result<(), Error> {
    let grantees = grants.unwrap_or_default().iter().filter_map(|grant| grant.grantee);
    for role in grantees {
        require_as::<Role>(objects, role)?;
    }
    Ok(())
}

/// What policies name exists.
fn check_policies(objects: &Collection, object: &Object) -> Result<(), Error> {
    let Some(table) = object.downcast::<Table>() else { return Ok(()) };
    for policy in &table.policies {
        for role in &policy.roles {
            require_as::<Role>(objects, *role)?;
        }
        for read in policy.expressions().flat_map(|expression| &expression.reads) {
            objects.get(read.relation).ok_or(Error::UndefinedObject { id: read.relation })?;
        }
    }
    Ok(())
}

fn require_as<T: Definition>(objects: &Collection, id: ObjectId) -> Result<&T, Error> {
    let object = objects.get(id).ok_or(Error::UndefinedObject { id })?;
    object.downcast().ok_or_else(|| Error::WrongKind { object: object.full_name(), wanted: T::KIND.as_str() })
}
