//! A set of objects with its indexes: by id, by name, and who uses whom. It refuses duplicate names and nothing else;
//! which changes make sense is decided above it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, ObjectName};
use crate::id::ObjectId;
use crate::object::{NameSpace, Object};

type Names = BTreeMap<Arc<str>, ObjectId>;

/// Cloning shares the objects and the names of every name space until one of them changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collection {
    objects: BTreeMap<ObjectId, Arc<Object>>,
    names: BTreeMap<NameSpace, Arc<Names>>,
    /// (used, user) for every reference and for every home.
    users: BTreeSet<(ObjectId, ObjectId)>,
}

impl Collection {
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    pub(crate) fn find(&self, name_space: NameSpace, name: &str) -> Option<&Arc<Object>> {
        let id = self.names.get(&name_space)?.get(name)?;
        Some(self.objects.get(id).expect("every name belongs to an object"))
    }

    /// All objects, in the order they were made.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// The objects of one name space, in name order.
    pub(crate) fn named(&self, name_space: NameSpace) -> impl Iterator<Item = &Arc<Object>> {
        let ids = self.names.get(&name_space).into_iter().flat_map(|names| names.values());
        ids.map(|id| self.objects.get(id).expect("every name belongs to an object"))
    }

    /// The objects that directly depend on this one or live in it.
    pub(crate) fn users(&self, id: ObjectId) -> impl Iterator<Item = ObjectId> {
        let pairs = self.users.range((id, ObjectId(0))..=(id, ObjectId(u64::MAX)));
        pairs.map(|&(_, user)| user)
    }

    /// Adds the object, in place of the one that has its id. On an error nothing has changed.
    ///
    /// The object's home must be of the right sort for its kind.
    pub(crate) fn insert(&mut self, object: Arc<Object>) -> Result<(), Error> {
        let name_space = name_space(&object);
        if let Some(existing) = self.find(name_space, object.name())
            && existing.id() != object.id()
        {
            return Err(Error::DuplicateObject { existing: existing.full_name() });
        }
        self.remove(object.id());
        let names = self.names.entry(name_space).or_default();
        Arc::make_mut(names).insert(object.name().into(), object.id());
        self.users.extend(used_by(&object).map(|used| (used, object.id())));
        self.objects.insert(object.id(), object);
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: ObjectId) -> Option<Arc<Object>> {
        let object = self.objects.remove(&id)?;
        let name_space = name_space(&object);
        let names = self.names.get_mut(&name_space).expect("every object has a name");
        Arc::make_mut(names).remove(object.name());
        if names.is_empty() {
            self.names.remove(&name_space);
        }
        for used in used_by(&object) {
            self.users.remove(&(used, id));
        }
        Some(object)
    }
}

impl Object {
    pub(crate) fn full_name(&self) -> ObjectName {
        ObjectName { kind: self.kind(), name: self.name().to_owned() }
    }
}

fn name_space(object: &Object) -> NameSpace {
    let name_space = object.kind().name_space(object.home());
    name_space.expect("homes are checked before an object gets here")
}

fn used_by(object: &Object) -> impl Iterator<Item = ObjectId> {
    object.depends_on().into_iter().chain(object.home().container())
}
