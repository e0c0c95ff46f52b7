//! The catalog at one version: immutable, cheap to share, with every way to find an object. It does no I/O.

mod apply;

use std::fmt;
use std::sync::Arc;

use crate::collection::Collection;
use crate::error::Error;
use crate::id::{ObjectId, Version};
use crate::object::{
    ApiKey, Definition, Entity, Header, NameSpace, Object, ObjectKind, Role, Schema, Secret, Stream, Workspace,
};

pub(crate) use apply::Applied;

/// Names are looked up as they are stored: the caller has folded their case.
#[derive(Clone)]
pub struct Snapshot {
    version: Version,
    next_id: ObjectId,
    objects: Collection,
}

impl Snapshot {
    /// A catalog with nothing in it.
    pub fn empty() -> Snapshot {
        Snapshot { version: Version::ZERO, next_id: ObjectId::FIRST, objects: Collection::default() }
    }

    /// Puts stored objects together again.
    pub(crate) fn restore(
        version: Version,
        next_id: ObjectId,
        objects: impl IntoIterator<Item = Object>,
    ) -> Result<Snapshot, Error> {
        let mut snapshot = Snapshot { version, next_id, ..Snapshot::empty() };
        for object in objects {
            if object.kind().name_space(object.home()).is_none() {
                return Err(Error::Misplaced { object: object.full_name() });
            }
            snapshot.objects.insert(Arc::new(object))?;
        }
        Ok(snapshot)
    }

    /// The same with a session's temporary objects. Those are left out whose home is gone.
    pub fn with_temporary(&self, objects: &[Arc<Object>]) -> Snapshot {
        let mut snapshot = self.clone();
        for object in objects {
            // a name is taken only by another temporary object, of the same list
            let _ = snapshot.objects.insert(Arc::clone(object));
        }
        snapshot
    }

    /// The temporary objects, in the order in which they were made.
    pub fn temporary(&self) -> Vec<Arc<Object>> {
        let all = self.objects.iter().filter(|object| object.id().is_temporary());
        all.cloned().collect()
    }

    /// The id for the next new temporary object.
    pub fn next_temporary_id(&self) -> ObjectId {
        let last = self.objects.iter().last().map(|object| object.id());
        last.filter(|id| id.is_temporary()).map_or(ObjectId::FIRST_TEMPORARY, |id| id.after(1))
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// The id for the next new object.
    pub fn next_id(&self) -> ObjectId {
        self.next_id
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(id)
    }

    /// The object with this id, if it is of this kind: `snapshot.get_as::<FeatureView>(id)`.
    pub fn get_as<T: Definition>(&self, id: ObjectId) -> Option<&T> {
        self.get(id).and_then(|object| object.downcast())
    }

    /// The stream among what something depends on.
    pub fn stream_among(&self, depends_on: &[ObjectId]) -> Option<&Stream> {
        depends_on.iter().find_map(|id| self.get_as(*id))
    }

    /// Whether this is a live workspace.
    pub fn is_live(&self, workspace: Option<ObjectId>) -> bool {
        workspace.and_then(|id| self.get_as::<Workspace>(id)).is_some_and(|workspace| workspace.live)
    }

    pub fn find(&self, name_space: NameSpace, name: &str) -> Option<&Arc<Object>> {
        self.objects.find(name_space, name)
    }

    pub fn workspace(&self, name: &str) -> Option<&Workspace> {
        self.find_as(NameSpace::Workspaces, name)
    }

    pub fn schema(&self, workspace: ObjectId, name: &str) -> Option<&Schema> {
        self.find_as(NameSpace::Schemas(workspace), name)
    }

    /// Whatever has this name among the things that can stand in a FROM.
    pub fn relation(&self, schema: ObjectId, name: &str) -> Option<&Arc<Object>> {
        self.find(NameSpace::Relations(schema), name)
    }

    pub fn entity(&self, schema: ObjectId, name: &str) -> Option<&Entity> {
        self.find_as(NameSpace::Entities(schema), name)
    }

    pub fn function(&self, schema: ObjectId, name: &str) -> Option<&Arc<Object>> {
        self.find(NameSpace::Functions(schema), name)
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.find_as(NameSpace::Roles, name)
    }

    pub fn secret(&self, workspace: ObjectId, name: &str) -> Option<&Secret> {
        self.find_as(NameSpace::Secrets(workspace), name)
    }

    pub fn api_key(&self, name: &str) -> Option<&ApiKey> {
        self.find_as(NameSpace::ApiKeys, name)
    }

    fn find_as<T: Definition>(&self, name_space: NameSpace, name: &str) -> Option<&T> {
        self.find(name_space, name).and_then(|object| object.downcast())
    }

    /// All objects, in the order they were made.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.iter()
    }

    /// The objects of one name space, in name order: the relations of a schema, the schemas of a workspace.
    pub fn objects_in(&self, name_space: NameSpace) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.named(name_space)
    }

    /// All objects of one kind, ordered by workspace, schema and name.
    pub fn all<T: Definition>(&self) -> Vec<&T> {
        let mut found: Vec<&T> = self.objects().filter_map(|object| object.downcast()).collect();
        found.sort_by_cached_key(|object| self.path(object.header()));
        found
    }

    /// All objects of one kind, ordered by workspace, schema and name.
    pub fn of_kind(&self, kind: ObjectKind) -> Vec<&Arc<Object>> {
        let mut found: Vec<_> = self.objects().filter(|object| object.kind() == kind).collect();
        found.sort_by_cached_key(|object| self.path(object.header()));
        found
    }

    /// The workspace an object lives in; a workspace, role or API key lives in none.
    pub fn workspace_of(&self, object: &Object) -> Option<&Workspace> {
        self.get_as(object.home().workspace()?)
    }

    pub fn schema_of(&self, object: &Object) -> Option<&Schema> {
        self.get_as(object.home().schema()?)
    }

    /// Everything that cannot be without this object, directly or not, what lives in it included; nearest first.
    /// The object itself is not in the list.
    pub fn dependents(&self, id: ObjectId) -> Vec<&Arc<Object>> {
        crate::dependency::dependents(&self.objects, id)
    }

    /// Every object after all that it needs and lives in.
    pub(crate) fn in_dependency_order(&self) -> Vec<&Arc<Object>> {
        crate::dependency::in_dependency_order(&self.objects)
    }

    /// Workspace, schema and name, as far as the object has them.
    fn path(&self, header: &Header) -> Vec<String> {
        let homes = [header.home.workspace(), header.home.schema()];
        let homes = homes.into_iter().flatten().filter_map(|id| self.get(id));
        homes.map(|home| home.name()).chain([header.name.as_str()]).map(str::to_owned).collect()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Snapshot");
        debug.field("version", &self.version).field("objects", &self.len()).finish_non_exhaustive()
    }
}

/// Two snapshots are equal if they are at the same version with the same objects.
impl PartialEq for Snapshot {
    fn eq(&self, other: &Snapshot) -> bool {
        self.version == other.version && self.next_id == other.next_id && self.objects().eq(other.objects())
    }
}
