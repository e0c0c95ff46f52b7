//! The changes that turn one snapshot into another, in an order in which they can be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::change::Change;
use crate::id::ObjectId;
use crate::object::{Header, Object, ObjectKind};
use crate::snapshot::Snapshot;

/// What to change in `old` to get the objects of `new`, which was made from it.
///
/// Objects are told apart by id. Applying the result gives every object of `new` but for its version numbers and its
/// revision. The drop of an object that must not be destroyed is listed like any other, so applying it is refused.
pub fn diff(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let moved_away = moved_away(old, new);
    let mut changes: Vec<Change> =
        moved_away.iter().map(|(&id, name)| Change::Rename { id, to: name.clone() }).collect();
    // Roles come first: what they own follows their renames.
    let order = new.in_dependency_order();
    let (roles, others): (Vec<_>, Vec<_>) = order.into_iter().partition(|object| object.kind() == ObjectKind::Role);
    for object in roles.into_iter().chain(others) {
        match old.get(object.id()) {
            Some(before) => {
                let owner = owner_after_renames(&before.header().owner, old, new, &moved_away);
                changes.extend(edits(before, object, &owner));
            }
            None => changes.push(Change::Put(Object::clone(object))),
        }
    }
    // By now nothing that stays needs what goes.
    let dropped = old.in_dependency_order().into_iter().rev().map(|object| object.id());
    let dropped = dropped.filter(|&id| new.get(id).is_none());
    changes.extend(dropped.map(|id| Change::Drop { id, cascade: false }));
    changes
}

/// Objects of `old` whose names others have in `new`, with a name to wait under until they are renamed or dropped.
fn moved_away(old: &Snapshot, new: &Snapshot) -> BTreeMap<ObjectId, String> {
    let holders = new.objects().filter_map(|object| {
        let holder = old.find(object.kind().name_space(object.home())?, object.name())?;
        (holder.id() != object.id()).then(|| holder.id())
    });
    let holders: BTreeSet<ObjectId> = holders.collect();
    holders.into_iter().map(|id| (id, format!("_granary_moved_{id}"))).collect()
}

/// What an owner's name has become once the roles are renamed.
fn owner_after_renames(owner: &str, old: &Snapshot, new: &Snapshot, moved_away: &BTreeMap<ObjectId, String>) -> String {
    let Some(role) = old.role(owner) else {
        return owner.to_owned();
    };
    let id = role.header.id;
    match new.get(id) {
        Some(role) => role.name().to_owned(),
        None => moved_away.get(&id).map_or(owner, String::as_str).to_owned(),
    }
}

/// The changes of one object, as small as they can be told; `owner` is the old object's, brought up to date.
fn edits(old: &Arc<Object>, new: &Arc<Object>, owner: &str) -> Vec<Change> {
    let reworded = reworded(old, new);
    if old.home() != new.home() || !(reworded || old.same_definition(new)) {
        return vec![Change::Put(Object::clone(new))];
    }
    let id = new.id();
    let (before, after): (&Header, &Header) = (old.header(), new.header());
    let mut changes = Vec::new();
    if before.name != after.name {
        changes.push(Change::Rename { id, to: after.name.clone() });
    }
    if reworded || before.statement != after.statement {
        let query = if reworded { new.query().map(str::to_owned) } else { None };
        changes.push(Change::Reword { id, statement: after.statement.clone(), query });
    }
    if before.comment != after.comment {
        changes.push(Change::SetComment { id, comment: after.comment.clone() });
    }
    if owner != after.owner {
        changes.push(Change::SetOwner { id, owner: after.owner.clone() });
    }
    if before.tags != after.tags {
        changes.push(Change::SetTags { id, tags: after.tags.clone() });
    }
    if before.options != after.options {
        changes.push(Change::SetOptions { id, options: after.options.clone() });
    }
    if before.prevent_destroy != after.prevent_destroy {
        changes.push(Change::SetPreventDestroy { id, prevent_destroy: after.prevent_destroy });
    }
    if before.grants != after.grants {
        changes.push(Change::SetGrants { id, grants: after.grants.clone() });
    }
    changes
}

/// Whether only the query's text changed, and by no more than its words.
fn reworded(old: &Object, new: &Object) -> bool {
    if old.header().revision != new.header().revision || old.query() == new.query() {
        return false;
    }
    let mut aligned = old.clone();
    if let (Some(text), Some(query)) = (aligned.query_mut(), new.query()) {
        query.clone_into(text);
    }
    aligned.same_definition(new)
}
