//! What differs between a workspace and what it would be, object by object, in words.

use std::collections::HashMap;

use granary_catalog::{
    ChangedProperty, FeatureTable, FeatureView, Object, ObjectId, PlanAction, PlannedChange, Snapshot,
};
use granary_sql::declaration::{Property, properties};

use super::planning::{objects_of, stated};
use super::texts::Texts;
use crate::engine::{BoundView, StorageChange};
use crate::error::Result;
use crate::statement::context::StatementContext;

/// The change of one object.
pub struct Compared {
    pub id: ObjectId,
    pub planned: PlannedChange,
}

/// `declared`: the ids of the objects of the declarations, by their places.
pub fn changes(
    context: &StatementContext,
    texts: &Texts,
    declared: &[Option<ObjectId>],
    (before, after): (&Snapshot, &Snapshot),
) -> Result<Vec<Compared>> {
    let workspace = context.scope.workspace;
    let mut found = Vec::new();
    for object in objects_of(after, workspace).map(AsRef::as_ref) {
        let place = declared.iter().position(|id| *id == Some(object.id()));
        let file = place.map(|place| texts.declarations[place].place).map(|place| texts.shown(place));
        let planned = match before.get(object.id()) {
            None => Some(created(after, object)),
            Some(old) => changed(context, old, (after, object))?,
        };
        found.extend(planned.map(|planned| Compared { id: object.id(), planned: PlannedChange { file, ..planned } }));
    }
    let gone = objects_of(before, workspace).filter(|object| after.get(object.id()).is_none());
    for object in gone.map(AsRef::as_ref) {
        found.push(Compared { id: object.id(), planned: planned(before, object, PlanAction::Drop) });
    }
    // as they are carried out: what is made first, in the order of its making, and what goes last
    let mut depths = HashMap::new();
    found.sort_by_cached_key(|compared| {
        (compared.planned.action == PlanAction::Drop, depth(after, compared.id, &mut depths), compared.id)
    });
    Ok(found)
}

/// How many objects stand below this one, at most one on top of another.
fn depth(snapshot: &Snapshot, id: ObjectId, known: &mut HashMap<ObjectId, usize>) -> usize {
    if let Some(depth) = known.get(&id) {
        return *depth;
    }
    let below = snapshot.get(id).map(|object| object.depends_on()).unwrap_or_default();
    let own = below.into_iter().map(|id| 1 + depth(snapshot, id, known)).max().unwrap_or(0);
    known.insert(id, own);
    own
}

fn planned(snapshot: &Snapshot, object: &Object, action: PlanAction) -> PlannedChange {
    PlannedChange {
        action,
        kind: object.kind().as_str().to_owned(),
        schema: snapshot.schema_of(object).map_or_else(String::new, |schema| schema.header.name.clone()),
        name: object.name().to_owned(),
        renamed_from: None,
        properties: Vec::new(),
        reason: None,
        jobs: None,
        estimated_rows: None,
        warnings: Vec::new(),
        file: None,
    }
}

fn created(after: &Snapshot, object: &Object) -> PlannedChange {
    let own = stated(object).map(|statement| properties(&statement)).unwrap_or_default();
    let properties =
        own.into_iter().map(|Property { name, value }| ChangedProperty { name, old: None, new: Some(value) });
    PlannedChange { properties: properties.collect(), ..planned(after, object, PlanAction::Create) }
}

/// `None`: nothing that anybody would see.
fn changed(
    context: &StatementContext,
    old: &Object,
    (after, new): (&Snapshot, &Object),
) -> Result<Option<PlannedChange>> {
    let properties = changed_properties(after, old, new);
    let renamed_from = (old.name() != new.name()).then(|| old.name().to_owned());
    if properties.is_empty() && renamed_from.is_none() {
        return Ok(None);
    }
    let (mut action, mut reason) = match &renamed_from {
        Some(_) => (PlanAction::Rename, None),
        None => (PlanAction::Update, None),
    };
    if context.scope.is_live() {
        match (old, new) {
            (Object::FeatureView(old), Object::FeatureView(new)) => match StorageChange::between(old, new)? {
                StorageChange::Same => {
                    let come = features_that_come(old, new);
                    if !come.is_empty() {
                        (action, reason) = (PlanAction::AddFeatures, Some(come.join(", ")));
                    }
                }
                StorageChange::KeptByOwner { reason: because } => {
                    reason = Some(format!("kept by --suppress-recreates, although {because}"));
                }
                StorageChange::NewGroup { features } => {
                    (action, reason) = (PlanAction::AddFeatures, Some(features.join(", ")));
                }
                StorageChange::Recreate { reason: because } => {
                    (action, reason) = (PlanAction::Recreate, Some(because));
                }
            },
            (Object::FeatureTable(old), Object::FeatureTable(new)) if !keeps_rows(old, new)? => {
                (action, reason) = (PlanAction::Recreate, Some("its columns or keys change".to_owned()));
            }
            _ => {}
        }
    }
    Ok(Some(PlannedChange { properties, renamed_from, reason, ..planned(after, new, action) }))
}

fn features_that_come(old: &FeatureView, new: &FeatureView) -> Vec<String> {
    let is_new = |name: &String| old.feature(name).is_none();
    new.features.iter().map(|feature| feature.name.clone()).filter(is_new).collect()
}

fn keeps_rows(old: &FeatureTable, new: &FeatureTable) -> Result<bool> {
    Ok(BoundView::of_feature_table(old)?.storage == BoundView::of_feature_table(new)?.storage)
}

/// What is said of both and differs; then what no statement says.
fn changed_properties(snapshot: &Snapshot, old: &Object, new: &Object) -> Vec<ChangedProperty> {
    let said = |object: &Object| stated(object).map(|statement| properties(&statement)).unwrap_or_default();
    let (was, is) = (said(old), said(new));
    let mut changed = Vec::new();
    for Property { name, value } in &was {
        let now = is.iter().find(|property| property.name == *name).map(|property| &property.value);
        if now != Some(value) {
            changed.push(ChangedProperty { name: name.clone(), old: Some(value.clone()), new: now.cloned() });
        }
    }
    for Property { name, value } in is.iter().filter(|property| was.iter().all(|known| known.name != property.name)) {
        changed.push(ChangedProperty { name: name.clone(), old: None, new: Some(value.clone()) });
    }
    let (before, after) = (old.header(), new.header());
    let mut unsaid = |name: &str, old: Option<String>, new: Option<String>| {
        let is_told = changed.iter().any(|property| property.name == name);
        if old != new && !is_told {
            changed.push(ChangedProperty { name: name.to_owned(), old, new });
        }
    };
    unsaid("comment", before.comment.clone(), after.comment.clone());
    unsaid("owner", Some(before.owner.clone()), Some(after.owner.clone()));
    unsaid("grants", grants(snapshot, old), grants(snapshot, new));
    unsaid("columns", columns(old), columns(new));
    changed
}

/// `SELECT (a) to app, …`
fn grants(snapshot: &Snapshot, object: &Object) -> Option<String> {
    let grants = object.header().grants.as_ref()?;
    let shown = grants.iter().map(|grant| {
        let role =
            grant.grantee.map(|id| snapshot.get(id).map_or_else(|| id.to_string(), |role| role.name().to_owned()));
        let column = grant.column.as_ref().map_or_else(String::new, |column| format!(" ({column})"));
        format!("{}{column} to {}", grant.privilege, role.as_deref().unwrap_or("PUBLIC"))
    });
    Some(shown.collect::<Vec<_>>().join(", "))
}

/// Of what takes its columns from somewhere else.
fn columns(object: &Object) -> Option<String> {
    let columns = match object {
        Object::Source(source) => &source.columns,
        Object::View(view) => &view.columns,
        _ => return None,
    };
    let shown = columns
        .iter()
        .map(|column| format!("{} {}", column.name, crate::statement::types::type_name(&column.data_type)));
    Some(shown.collect::<Vec<_>>().join(", "))
}
