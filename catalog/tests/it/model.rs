//! Random changes against a simple model of the catalog: same answers, same refusals, the same after reopening, and
//! `apply` = `commit`.

use std::collections::{BTreeMap, BTreeSet};

use granary_catalog::*;

use crate::fixture::{author, entity, place, role, schema, view, workspace};
use crate::random::Random;

#[derive(Debug, Clone, PartialEq)]
struct Thing {
    kind: ObjectKind,
    home: Home,
    name: String,
    owner: String,
    comment: Option<String>,
    prevent_destroy: bool,
    needs: Vec<ObjectId>,
    member_of: Vec<ObjectId>,
}

/// Everything is found by looking at everything.
#[derive(Debug, Clone)]
struct Model {
    things: BTreeMap<ObjectId, Thing>,
    next: ObjectId,
    /// The ids given by the list of changes at hand.
    made: BTreeSet<ObjectId>,
}

type Refusal = &'static str;

impl Model {
    fn apply(&self, changes: &[Change]) -> Result<Model, Refusal> {
        let mut model = self.clone();
        model.made.clear();
        for change in changes {
            model.change(change)?;
        }
        Ok(model)
    }

    fn change(&mut self, change: &Change) -> Result<(), Refusal> {
        let id = change.id();
        if let Change::Put(object) = change {
            return self.put(object);
        }
        let mut thing = self.things.get(&id).ok_or("undefined")?.clone();
        match change {
            Change::Drop { cascade, .. } => return self.drop(id, &thing, *cascade),
            Change::Rename { to, .. } => {
                let old = std::mem::replace(&mut thing.name, to.clone());
                self.insert(id, thing.clone())?;
                self.follow(&thing, &old);
                return Ok(());
            }
            Change::SetComment { comment, .. } => thing.comment = comment.clone(),
            Change::SetOwner { owner, .. } => thing.owner = owner.clone(),
            Change::SetPreventDestroy { prevent_destroy, .. } => thing.prevent_destroy = *prevent_destroy,
            other => panic!("not generated: {other:?}"),
        }
        self.things.insert(id, thing);
        Ok(())
    }

    fn put(&mut self, object: &Object) -> Result<(), Refusal> {
        let (id, thing) = (object.id(), Thing::of(object));
        let existing = self.things.get(&id).cloned();
        if existing.is_none() && (self.made.contains(&id) || id < self.next) {
            return Err("undefined");
        }
        if let Some(existing) = &existing {
            if existing.kind != thing.kind {
                return Err("wrong kind");
            }
            if existing.home.workspace() != thing.home.workspace() {
                return Err("misplaced");
            }
        }
        if let Some(workspace) = thing.home.workspace() {
            self.expect(workspace, ObjectKind::Workspace)?;
        }
        if let Some(schema) = thing.home.schema() {
            let schema = self.expect(schema, ObjectKind::Schema)?;
            if schema.home.workspace() != thing.home.workspace() {
                return Err("misplaced");
            }
        }
        for needed in thing.needs.iter().filter(|&&needed| needed != id) {
            let needed = self.things.get(needed).ok_or("undefined")?;
            if needed.home.workspace() != thing.home.workspace() {
                return Err("other workspace");
            }
        }
        for &group in thing.member_of.iter().filter(|&&group| group != id) {
            self.expect(group, ObjectKind::Role)?;
        }
        for follow in [|thing: &Thing| thing.needs.clone(), |thing: &Thing| thing.member_of.clone()] {
            if self.reaches(&follow(&thing), id, follow, &mut BTreeSet::new()) {
                return Err("cycle");
            }
        }
        self.insert(id, thing.clone())?;
        match existing {
            Some(existing) => self.follow(&thing, &existing.name),
            None => {
                self.next = self.next.max(id.after(1));
                self.made.insert(id);
            }
        }
        Ok(())
    }

    fn insert(&mut self, id: ObjectId, thing: Thing) -> Result<(), Refusal> {
        let is_twin = |other: &Thing| other.name == thing.name && other.space() == thing.space();
        if self.things.iter().any(|(&other_id, other)| other_id != id && is_twin(other)) {
            return Err("duplicate");
        }
        self.things.insert(id, thing);
        Ok(())
    }

    /// What a role owns follows its new name.
    fn follow(&mut self, renamed: &Thing, old: &str) {
        if renamed.kind == ObjectKind::Role {
            for thing in self.things.values_mut().filter(|thing| thing.owner == old) {
                thing.owner = renamed.name.clone();
            }
        }
    }

    fn drop(&mut self, id: ObjectId, thing: &Thing, cascade: bool) -> Result<(), Refusal> {
        let dependents = self.dependents(id);
        if !cascade && !dependents.is_empty() {
            return Err("dependents");
        }
        let victims: BTreeSet<ObjectId> = dependents.into_iter().chain([id]).collect();
        if victims.iter().any(|victim| self.things[victim].prevent_destroy) {
            return Err("prevent destroy");
        }
        if thing.kind == ObjectKind::Role {
            if self.things.iter().any(|(&other, owned)| other != id && owned.owner == thing.name) {
                return Err("dependents");
            }
            for member in self.things.values_mut() {
                member.member_of.retain(|&group| group != id);
            }
        }
        self.things.retain(|id, _| !victims.contains(id));
        Ok(())
    }

    fn dependents(&self, id: ObjectId) -> BTreeSet<ObjectId> {
        let mut found = BTreeSet::from([id]);
        loop {
            let uses_found = |thing: &Thing| {
                let home = thing.home.schema().or(thing.home.workspace());
                thing.needs.iter().chain(&home).any(|used| found.contains(used))
            };
            let more = self.things.iter().filter(|(_, thing)| uses_found(thing)).map(|(&id, _)| id);
            let more: BTreeSet<ObjectId> = more.chain(found.iter().copied()).collect();
            if more == found {
                found.remove(&id);
                return found;
            }
            found = more;
        }
    }

    fn reaches(
        &self,
        from: &[ObjectId],
        to: ObjectId,
        follow: fn(&Thing) -> Vec<ObjectId>,
        seen: &mut BTreeSet<ObjectId>,
    ) -> bool {
        from.iter()
            .any(|&id| id == to || (seen.insert(id) && self.reaches(&follow(&self.things[&id]), to, follow, seen)))
    }

    fn expect(&self, id: ObjectId, kind: ObjectKind) -> Result<&Thing, Refusal> {
        let thing = self.things.get(&id).ok_or("undefined")?;
        if thing.kind == kind { Ok(thing) } else { Err("wrong kind") }
    }
}

impl Thing {
    fn of(object: &Object) -> Thing {
        let header = object.header();
        let member_of = object.downcast::<Role>().map(|role| role.member_of.clone());
        Thing {
            kind: object.kind(),
            home: header.home,
            name: header.name.clone(),
            owner: header.owner.clone(),
            comment: header.comment.clone(),
            prevent_destroy: header.prevent_destroy,
            needs: object.depends_on(),
            member_of: member_of.unwrap_or_default(),
        }
    }

    /// What the name must be unique in.
    fn space(&self) -> (Home, &'static str) {
        let set = match self.kind {
            kind if kind.is_relation() => "relations",
            kind => kind.as_str(),
        };
        (self.home, set)
    }
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::UndefinedObject { .. } => "undefined",
        Error::WrongKind { .. } => "wrong kind",
        Error::Misplaced { .. } => "misplaced",
        Error::OtherWorkspace { .. } => "other workspace",
        Error::DependencyCycle { .. } => "cycle",
        Error::DuplicateObject { .. } => "duplicate",
        Error::DependentObjects { .. } => "dependents",
        Error::PreventDestroy { .. } => "prevent destroy",
        other => panic!("unexpected: {other:?}"),
    }
}

/// A change that has a fair chance to be possible.
fn random_change(random: &mut Random, snapshot: &Snapshot) -> Change {
    let ids: Vec<ObjectId> = snapshot.objects().map(|object| object.id()).collect();
    let make = ids.len() < 6 || random.one_in(3);
    if make {
        let id = snapshot.next_id();
        let kind = match random.below(10) {
            0 => ObjectKind::Workspace,
            1 | 2 => ObjectKind::Schema,
            3 | 4 => ObjectKind::Role,
            5 => ObjectKind::Entity,
            _ => ObjectKind::View,
        };
        return Change::Put(random_object(random, snapshot, id, kind));
    }
    // Now and then one that was dropped.
    let id =
        if random.one_in(12) { ObjectId(random.next() % snapshot.next_id().0) } else { ids[random.below(ids.len())] };
    match random.below(8) {
        0 | 1 => {
            let kind = snapshot.get(id).map_or(ObjectKind::View, |object| object.kind());
            Change::Put(random_object(random, snapshot, id, kind))
        }
        2 => Change::Drop { id, cascade: random.one_in(2) },
        3 | 4 => Change::Rename { id, to: random_name(random) },
        5 => Change::SetComment { id, comment: Some(random_name(random)) },
        6 => Change::SetOwner { id, owner: random_name(random) },
        _ => Change::SetPreventDestroy { id, prevent_destroy: random.one_in(3) },
    }
}

fn random_object(random: &mut Random, snapshot: &Snapshot, id: ObjectId, kind: ObjectKind) -> Object {
    let name = random_name(random);
    let workspace_id = random_id(random, snapshot, ObjectKind::Workspace);
    let schema_id = random_id(random, snapshot, ObjectKind::Schema);
    let inside = match snapshot.get_as::<Schema>(schema_id) {
        // Mostly the workspace the schema is in.
        Some(schema) if !random.one_in(15) => schema.header.home.workspace().unwrap(),
        _ => workspace_id,
    };
    let home = Home::Schema { workspace: inside, schema: schema_id };
    let mut object = match kind {
        ObjectKind::Workspace => workspace(id, &name).into(),
        ObjectKind::Schema => schema(id, workspace_id, &name).into(),
        ObjectKind::Entity => entity(id, home, &name).into(),
        ObjectKind::Role => {
            let mut role = role(id, &name);
            let groups = random.below(3);
            role.member_of = (0..groups).map(|_| random_id(random, snapshot, ObjectKind::Role)).collect();
            role.into()
        }
        _ => {
            let needed = random.below(3);
            let needs: Vec<ObjectId> = (0..needed).map(|_| random_id(random, snapshot, ObjectKind::View)).collect();
            Object::from(view(id, home, &name, &needs))
        }
    };
    object.header_mut().owner = random_name(random);
    object
}

/// Mostly the id of an object of this kind, if there is one.
fn random_id(random: &mut Random, snapshot: &Snapshot, kind: ObjectKind) -> ObjectId {
    let of_kind = snapshot.of_kind(kind);
    if of_kind.is_empty() || random.one_in(25) {
        return ObjectId(random.next() % (snapshot.next_id().0 + 1));
    }
    of_kind[random.below(of_kind.len())].id()
}

fn random_name(random: &mut Random) -> String {
    ["a", "b", "c", "d", "e", "f"][random.below(6)].to_owned()
}

fn check(model: &Model, snapshot: &Snapshot) {
    let things: BTreeMap<ObjectId, Thing> = snapshot.objects().map(|object| (object.id(), Thing::of(object))).collect();
    assert_eq!(things, model.things);
    assert_eq!(snapshot.next_id(), model.next);
    for object in snapshot.objects() {
        let space = object.kind().name_space(object.home()).unwrap();
        assert_eq!(snapshot.find(space, object.name()).unwrap().id(), object.id());
        let dependents = snapshot.dependents(object.id()).into_iter().map(|dependent| dependent.id());
        assert_eq!(dependents.collect::<BTreeSet<_>>(), model.dependents(object.id()));
    }
}

/// The objects without what a diff does not carry over.
fn contents(snapshot: &Snapshot) -> Vec<Object> {
    let objects = snapshot.objects().map(|object| {
        let mut object = Object::clone(object);
        let header = object.header_mut();
        (header.created, header.changed, header.revision) = (Version::ZERO, Version::ZERO, 0);
        object
    });
    objects.collect()
}

fn check_diff(old: &Snapshot, new: &Snapshot) {
    let changes = diff(old, new);
    match old.apply(&changes) {
        Ok(reached) => assert_eq!(contents(&reached), contents(new), "{changes:#?}"),
        Err(Error::PreventDestroy { .. }) => {
            let kept = |object: &Object| object.header().prevent_destroy && new.get(object.id()).is_none();
            assert!(old.objects().any(|object| kept(object)));
        }
        Err(error) => panic!("{error}: {changes:#?}"),
    }
    assert!(diff(new, new).is_empty());
}

#[test]
fn random_changes_do_what_the_model_does() {
    let mut outcomes: BTreeMap<Refusal, usize> = BTreeMap::new();
    for seed in 0..25 {
        let mut random = Random::new(seed);
        let place = place();
        let mut catalog = Catalog::open(&place.path).unwrap();
        let mut model = Model { things: BTreeMap::new(), next: ObjectId::FIRST, made: BTreeSet::new() };
        let mut earlier = catalog.snapshot();
        for _ in 0..60 {
            let before = catalog.snapshot();
            // Each change of a list is made up with those before it in view.
            let mut working = Snapshot::clone(&before);
            let mut changes = Vec::new();
            for _ in 0..=random.below(4) {
                let change = random_change(&mut random, &working);
                working = working.apply(std::slice::from_ref(&change)).unwrap_or(working);
                changes.push(change);
            }
            let expected = model.apply(&changes);
            let applied = before.apply(&changes);
            let committed = catalog.commit(before.version(), &author("random"), changes.clone());
            match expected {
                Ok(expected) => {
                    model = expected;
                    let committed = committed.unwrap();
                    assert_eq!(*committed, applied.unwrap());
                    assert_eq!(committed, catalog.snapshot());
                    check(&model, &committed);
                    *outcomes.entry("done").or_default() += 1;
                }
                Err(expected) => {
                    assert_eq!(applied.as_ref().map_err(refusal), Err(expected), "{changes:#?}");
                    assert_eq!(committed.as_ref().map_err(refusal), Err(expected));
                    assert_eq!(catalog.snapshot(), before);
                    *outcomes.entry(expected).or_default() += 1;
                }
            }
            if random.one_in(8) {
                let before = catalog.snapshot();
                drop(catalog);
                catalog = Catalog::open(&place.path).unwrap();
                assert_eq!(catalog.snapshot(), before);
            }
            if random.one_in(4) {
                check_diff(&earlier, &catalog.snapshot());
                earlier = catalog.snapshot();
            }
        }
        let entries = catalog.history(&HistoryFilter::default()).unwrap();
        let versions: Vec<u64> = entries.iter().rev().map(|entry| entry.version.0).collect();
        assert_eq!(versions, (1..=catalog.snapshot().version().0).collect::<Vec<_>>());
    }
    // The generator must keep reaching every rule.
    let reached = ["done", "undefined", "other workspace", "cycle", "duplicate", "dependents", "prevent destroy"];
    for outcome in reached {
        assert!(outcomes.get(outcome).is_some_and(|&count| count >= 5), "{outcome}: {outcomes:?}");
    }
}
