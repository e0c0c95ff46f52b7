//! Questions about who needs whom: what falls with an object, and whether a definition would need itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::collection::Collection;
use crate::error::{Error, ObjectName};
use crate::id::ObjectId;
use crate::object::Object;

/// Everything that directly or indirectly uses the object or lives in it, nearest first.
pub(crate) fn dependents(objects: &Collection, id: ObjectId) -> Vec<&Arc<Object>> {
    let mut seen = BTreeSet::from([id]);
    let mut found = Vec::new();
    let mut queue = VecDeque::from([id]);
    while let Some(used) = queue.pop_front() {
        for user in objects.users(used) {
            if seen.insert(user) {
                found.push(objects.get(user).expect("users are objects of the collection"));
                queue.push_back(user);
            }
        }
    }
    found
}

/// Every object after all that it needs, belongs to and lives in. Terminates on cycles too, though there are none.
pub(crate) fn in_dependency_order(objects: &Collection) -> Vec<&Arc<Object>> {
    enum Visit<'a> {
        Enter(&'a Arc<Object>),
        Leave(&'a Arc<Object>),
    }
    let mut entered = BTreeSet::new();
    let mut order = Vec::with_capacity(objects.len());
    for root in objects.iter() {
        let mut stack = vec![Visit::Enter(root)];
        while let Some(visit) = stack.pop() {
            match visit {
                Visit::Enter(object) => {
                    if entered.insert(object.id()) {
                        stack.push(Visit::Leave(object));
                        let needed =
                            needs(object).into_iter().chain(memberships(object)).chain(object.home().container());
                        stack.extend(needed.filter_map(|id| objects.get(id)).map(Visit::Enter));
                    }
                }
                Visit::Leave(object) => order.push(object),
            }
        }
    }
    order
}

/// Refuses an object that would need itself through what it refers to. `object` may stand in for an older one with
/// the same id; `references` tells what a definition refers to.
pub(crate) fn refuse_cycle(
    objects: &Collection,
    object: &Object,
    references: fn(&Object) -> Vec<ObjectId>,
) -> Result<(), Error> {
    // Which object led to each one seen, to tell the path afterwards.
    let mut reached_from: BTreeMap<ObjectId, ObjectId> = BTreeMap::new();
    let mut stack: Vec<(ObjectId, ObjectId)> = references(object).into_iter().map(|id| (object.id(), id)).collect();
    while let Some((from, id)) = stack.pop() {
        if id == object.id() {
            return Err(Error::DependencyCycle { path: path(objects, object, from, &reached_from) });
        }
        if reached_from.contains_key(&id) {
            continue;
        }
        reached_from.insert(id, from);
        if let Some(next) = objects.get(id) {
            stack.extend(references(next).into_iter().map(|used| (id, used)));
        }
    }
    Ok(())
}

/// From the object over what it needs back to itself.
fn path(
    objects: &Collection,
    object: &Object,
    last: ObjectId,
    reached_from: &BTreeMap<ObjectId, ObjectId>,
) -> Vec<ObjectName> {
    let mut path = vec![object.full_name()];
    let mut id = last;
    while id != object.id() {
        path.push(objects.get(id).expect("the walk only passes objects").full_name());
        id = reached_from[&id];
    }
    path.push(object.full_name());
    path.reverse();
    path
}

pub(crate) fn needs(object: &Object) -> Vec<ObjectId> {
    object.depends_on()
}

/// The roles a role is a member of, and nothing for other objects.
pub(crate) fn memberships(object: &Object) -> Vec<ObjectId> {
    match object {
        Object::Role(role) => role.member_of.clone(),
        _ => Vec::new(),
    }
}
