//! What a diff says, and that it can be applied.

use granary_catalog::*;

use crate::fixture::*;

/// The diff over these changes, which must lead to the same objects.
fn diff_of(changes: &[Change]) -> Vec<Change> {
    let old = shop_snapshot();
    let new = old.apply(changes).unwrap();
    let found = diff(&old, &new);
    let reached = old.apply(&found).unwrap();
    let names = |snapshot: &Snapshot| -> Vec<(ObjectId, String)> {
        snapshot.objects().map(|object| (object.id(), object.name().to_owned())).collect()
    };
    assert_eq!(names(&reached), names(&new));
    assert!(diff(&reached, &new).is_empty());
    found
}

#[test]
fn nothing_changed_is_no_change() {
    let snapshot = shop_snapshot();
    assert!(diff(&snapshot, &snapshot).is_empty());
}

#[test]
fn small_edits_stay_small() {
    let edits = [
        Change::Rename { id: SERVICE, to: "fraud_v2".to_owned() },
        Change::Reword { id: SPEND, statement: "s".to_owned(), query: Some("SELECT 1".to_owned()) },
        Change::SetComment { id: SPEND, comment: Some("c".to_owned()) },
        Change::SetOwner { id: SOURCE, owner: "risk".to_owned() },
        Change::SetOptions { id: SOURCE, options: vec![("a".to_owned(), "b".to_owned())] },
    ];
    let mut found = diff_of(&edits);
    assert_eq!(found.len(), edits.len());
    for edit in &edits {
        found.retain(|change| change != edit);
    }
    assert_eq!(found, []);
}

#[test]
fn a_new_definition_is_put_as_a_whole() {
    let mut longer = feature_view(SPEND, "user_spend");
    longer.ttl_us = Some(9);
    let found = diff_of(&[Change::put(longer)]);
    assert!(matches!(found.as_slice(), [Change::Put(Object::FeatureView(view))] if view.ttl_us == Some(9)));
}

#[test]
fn made_in_the_order_of_need_and_dropped_against_it() {
    let (first, second) = (NEXT, NEXT.after(1));
    let found = diff_of(&[
        Change::put(view(first, PUBLIC, "first", &[])),
        Change::put(view(second, PUBLIC, "second", &[])),
        Change::put(view(first, PUBLIC, "first", &[second])),
        Change::Drop { id: SOURCE, cascade: true },
    ]);
    let ids: Vec<ObjectId> = found.iter().map(Change::id).collect();
    assert_eq!(ids, [second, first, SERVICE, SPEND, SOURCE]);
}

#[test]
fn names_can_be_swapped_and_taken_over() {
    let rename = |id, to: &str| Change::Rename { id, to: to.to_owned() };
    diff_of(&[rename(SPEND, "x"), rename(SOURCE, "user_spend"), rename(SPEND, "transactions")]);
    diff_of(&[Change::Drop { id: SERVICE, cascade: false }, Change::put(service(NEXT, "fraud", &[SPEND]))]);
}

#[test]
fn renamed_roles_keep_what_they_own() {
    let old = shop_snapshot().apply(&[Change::put(role(NEXT, "bob"))]).unwrap();
    let rename = |id, to: &str| Change::Rename { id, to: to.to_owned() };
    let new = old.apply(&[rename(ROLE, "x"), rename(NEXT, "ada"), rename(ROLE, "bob")]).unwrap();
    assert_eq!(new.get(SPEND).unwrap().header().owner, "bob");
    let reached = old.apply(&diff(&old, &new)).unwrap();
    assert_eq!(reached.get(SPEND).unwrap().header().owner, "bob");
    assert!(diff(&reached, &new).is_empty());
}

#[test]
fn a_protected_object_is_listed_but_not_dropped() {
    let protect = Change::SetPreventDestroy { id: SERVICE, prevent_destroy: true };
    let old = shop_snapshot().apply(&[protect]).unwrap();
    let unprotect = Change::SetPreventDestroy { id: SERVICE, prevent_destroy: false };
    let new = old.apply(&[unprotect, Change::Drop { id: SERVICE, cascade: false }]).unwrap();
    let found = diff(&old, &new);
    assert_eq!(found, [Change::Drop { id: SERVICE, cascade: false }]);
    assert!(matches!(old.apply(&found), Err(Error::PreventDestroy { .. })));
}
