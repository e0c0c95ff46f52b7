//! Finding objects in a snapshot.

use granary_catalog::*;

use crate::fixture::*;

#[test]
fn names_lead_to_objects() {
    let snapshot = shop_snapshot();
    let workspace = snapshot.workspace("prod").unwrap();
    let schema = snapshot.schema(workspace.header.id, "public").unwrap();
    let view = snapshot.relation(schema.header.id, "user_spend").unwrap();
    assert_eq!(view.kind(), ObjectKind::FeatureView);
    assert_eq!(view.downcast::<FeatureView>().unwrap().longest_reach(), Reach::Unbounded);
    assert!(view.downcast::<Source>().is_none());
    assert_eq!(snapshot.entity(SCHEMA, "customer").unwrap().join_keys[0].name, "user_id");
    assert_eq!(snapshot.role("ada").unwrap().header.id, ROLE);
    assert!(snapshot.workspace("PROD").is_none(), "case is the caller's");
    assert!(snapshot.relation(SCHEMA, "customer").is_none());
    assert!(snapshot.relation(WORKSPACE, "user_spend").is_none());
    assert_eq!(snapshot.workspace_of(view).unwrap().header.id, WORKSPACE);
    assert_eq!(snapshot.schema_of(view).unwrap().header.id, SCHEMA);
}

#[test]
fn lists_are_in_name_order() {
    let snapshot = shop_snapshot().apply(&[
        Change::put(schema(NEXT, WORKSPACE, "alpha")),
        Change::put(source(NEXT.after(1), Home::Schema { workspace: WORKSPACE, schema: NEXT }, "zebra")),
        Change::put(source(NEXT.after(2), PUBLIC, "apples")),
    ]);
    let snapshot = snapshot.unwrap();
    let relations: Vec<_> = snapshot.objects_in(NameSpace::Relations(SCHEMA)).map(|object| object.name()).collect();
    assert_eq!(relations, ["apples", "fraud", "transactions", "user_spend"]);
    let sources: Vec<_> = snapshot.all::<Source>().iter().map(|source| source.header.name.as_str()).collect();
    assert_eq!(sources, ["zebra", "apples", "transactions"], "schema alpha comes before schema public");
    let schemas: Vec<_> = snapshot.of_kind(ObjectKind::Schema).iter().map(|schema| schema.name()).collect();
    assert_eq!(schemas, ["alpha", "public"]);
}

#[test]
fn dependents_are_told_nearest_first() {
    let snapshot = shop_snapshot();
    let dependents = |id| snapshot.dependents(id).iter().map(|object| object.id()).collect::<Vec<_>>();
    assert_eq!(dependents(SOURCE), [SPEND, SERVICE]);
    assert_eq!(dependents(ENTITY), [SPEND, SERVICE]);
    assert_eq!(dependents(SERVICE), []);
    assert_eq!(dependents(WORKSPACE), [SCHEMA, ENTITY, SOURCE, SPEND, SERVICE]);
}
