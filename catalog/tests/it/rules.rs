//! Which changes are refused, and what the others do beyond the obvious.

use std::collections::BTreeMap;

use granary_catalog::*;

use crate::fixture::*;

fn refused(changes: &[Change]) -> Error {
    shop_snapshot().apply(changes).expect_err("the changes are refused")
}

#[test]
fn relations_share_one_name_space_and_entities_have_their_own() {
    let taken = refused(&[Change::put(view(NEXT, PUBLIC, "transactions", &[]))]);
    assert!(matches!(&taken, Error::DuplicateObject { existing } if existing.kind == ObjectKind::Source), "{taken:?}");
    assert_eq!(taken.to_string(), "source \"transactions\" already exists");
    let fine = shop_snapshot().apply(&[Change::put(entity(NEXT, PUBLIC, "transactions"))]);
    assert!(fine.is_ok());
    let taken = refused(&[Change::put(entity(NEXT, PUBLIC, "customer"))]);
    assert!(matches!(taken, Error::DuplicateObject { .. }));
}

#[test]
fn the_same_name_is_free_in_another_schema() {
    let elsewhere = Home::Schema { workspace: WORKSPACE, schema: NEXT };
    let snapshot = shop_snapshot().apply(&[
        Change::put(schema(NEXT, WORKSPACE, "lab")),
        Change::put(source(NEXT.after(1), elsewhere, "transactions")),
    ]);
    let snapshot = snapshot.unwrap();
    assert_eq!(snapshot.relation(NEXT, "transactions").unwrap().id(), NEXT.after(1));
    assert_eq!(snapshot.relation(SCHEMA, "transactions").unwrap().id(), SOURCE);
}

#[test]
fn a_rename_may_not_take_a_name_in_use() {
    let error = refused(&[Change::Rename { id: SPEND, to: "fraud".to_owned() }]);
    assert!(matches!(error, Error::DuplicateObject { .. }));
}

#[test]
fn what_others_need_is_dropped_only_with_them() {
    let error = refused(&[Change::Drop { id: SOURCE, cascade: false }]);
    let Error::DependentObjects { object, dependents } = &error else { panic!("{error:?}") };
    assert_eq!(object.to_string(), "source \"transactions\"");
    assert_eq!(names(dependents), ["user_spend", "fraud"]);

    let snapshot = shop_snapshot().apply(&[Change::Drop { id: SOURCE, cascade: true }]).unwrap();
    assert!([SOURCE, SPEND, SERVICE].iter().all(|&id| snapshot.get(id).is_none()));
    assert!(snapshot.get(ENTITY).is_some());
}

#[test]
fn a_schema_goes_with_what_lives_in_it() {
    let error = refused(&[Change::Drop { id: SCHEMA, cascade: false }]);
    assert!(matches!(error, Error::DependentObjects { dependents, .. } if dependents.len() == 4));
    let snapshot = shop_snapshot().apply(&[Change::Drop { id: WORKSPACE, cascade: true }]).unwrap();
    assert_eq!(snapshot.objects().map(|object| object.id()).collect::<Vec<_>>(), [ROLE]);
}

#[test]
fn prevent_destroy_stops_a_cascade_too() {
    let protect = Change::SetPreventDestroy { id: SERVICE, prevent_destroy: true };
    let error = refused(&[protect.clone(), Change::Drop { id: SOURCE, cascade: true }]);
    assert!(matches!(error, Error::PreventDestroy { object } if object.name == "fraud"));
    let error = refused(&[protect, Change::Drop { id: SERVICE, cascade: false }]);
    assert!(matches!(error, Error::PreventDestroy { .. }));
}

#[test]
fn a_cycle_is_refused_with_its_path() {
    let (first, second, third) = (NEXT, NEXT.after(1), NEXT.after(2));
    let error = refused(&[
        Change::put(view(first, PUBLIC, "a", &[])),
        Change::put(view(second, PUBLIC, "b", &[SOURCE, first])),
        Change::put(view(third, PUBLIC, "c", &[second])),
        Change::put(view(first, PUBLIC, "a", &[third])),
    ]);
    let Error::DependencyCycle { path } = &error else { panic!("{error:?}") };
    assert_eq!(names(path), ["a", "c", "b", "a"]);
    let error = refused(&[Change::put(view(NEXT, PUBLIC, "self", &[NEXT]))]);
    assert!(matches!(error, Error::DependencyCycle { path } if names(&path) == ["self", "self"]));
}

#[test]
fn roles_cannot_be_members_of_each_other() {
    let mut member = role(NEXT, "bob");
    member.member_of = vec![ROLE];
    let mut group = role(ROLE, "ada");
    group.member_of = vec![NEXT];
    let error = refused(&[Change::put(member), Change::put(group)]);
    assert!(matches!(error, Error::DependencyCycle { .. }));
}

#[test]
fn a_reference_must_lead_to_the_right_kind() {
    let error = refused(&[Change::put(service(NEXT, "wrong", &[SOURCE]))]);
    assert_eq!(error.to_string(), "source \"transactions\" is not a feature view");
    let error = refused(&[Change::put(service(NEXT, "nothing", &[ObjectId(99)]))]);
    assert!(matches!(error, Error::UndefinedObject { id: ObjectId(99) }));
}

#[test]
fn nothing_reaches_into_another_workspace() {
    let (other, inside) = (NEXT, NEXT.after(1));
    let error = refused(&[
        Change::put(workspace(other, "dev")),
        Change::put(schema(inside, other, "public")),
        Change::put(view(NEXT.after(2), Home::Schema { workspace: other, schema: inside }, "spy", &[SOURCE])),
    ]);
    assert!(matches!(error, Error::OtherWorkspace { dependency, .. } if dependency.name == "transactions"));
}

#[test]
fn a_home_must_suit_the_kind_and_stay_in_its_workspace() {
    let error = refused(&[Change::put(schema(NEXT, SCHEMA, "not in a workspace"))]);
    assert!(matches!(error, Error::WrongKind { .. }), "{error:?}");
    let error = refused(&[Change::put(view(NEXT, Home::Server, "nowhere", &[]))]);
    assert!(matches!(error, Error::Misplaced { .. }));
    let (other, inside) = (NEXT, NEXT.after(1));
    let moved = Home::Schema { workspace: other, schema: inside };
    let error = refused(&[
        Change::put(workspace(other, "dev")),
        Change::put(schema(inside, other, "public")),
        Change::put(source(SOURCE, moved, "transactions")),
    ]);
    assert!(matches!(error, Error::Misplaced { .. }), "{error:?}");
    let mixed = Home::Schema { workspace: other, schema: SCHEMA };
    let error = refused(&[Change::put(workspace(other, "dev")), Change::put(source(NEXT.after(1), mixed, "mixed"))]);
    assert!(matches!(error, Error::Misplaced { .. }), "{error:?}");
}

#[test]
fn a_replacement_keeps_the_kind() {
    let error = refused(&[Change::put(view(SOURCE, PUBLIC, "transactions", &[]))]);
    assert_eq!(error.to_string(), "source \"transactions\" is not a view");
}

#[test]
fn an_id_is_never_given_again() {
    let snapshot = shop_snapshot().apply(&[Change::Drop { id: SERVICE, cascade: false }]).unwrap();
    assert_eq!(snapshot.next_id(), NEXT);
    let error = snapshot.apply(&[Change::put(service(SERVICE, "fraud", &[SPEND]))]).unwrap_err();
    assert!(matches!(error, Error::UndefinedObject { id: SERVICE }));
}

#[test]
fn only_a_new_definition_raises_the_revision() {
    let revision = |snapshot: &Snapshot| snapshot.get(SPEND).unwrap().header().revision;
    let snapshot = shop_snapshot();
    assert_eq!(revision(&snapshot), 1);
    let same = Change::put(feature_view(SPEND, "user_spend"));
    let unchanged = snapshot.apply(&[same]).unwrap();
    assert_eq!(unchanged, snapshot, "putting what is there does nothing");

    let edited = snapshot.apply(&[
        Change::Rename { id: SPEND, to: "spend".to_owned() },
        Change::Reword {
            id: SPEND,
            statement: "CREATE FEATURE VIEW spend …".to_owned(),
            query: Some("SELECT user_id, ts, amount FROM tx".to_owned()),
        },
        Change::SetComment { id: SPEND, comment: Some("what they spend".to_owned()) },
        Change::SetOwner { id: SPEND, owner: "risk team".to_owned() },
        Change::SetTags { id: SPEND, tags: BTreeMap::from([("tier".to_owned(), "1".to_owned())]) },
        Change::SetOptions { id: SPEND, options: vec![("online".to_owned(), "true".to_owned())] },
        Change::SetPreventDestroy { id: SPEND, prevent_destroy: true },
    ]);
    let edited = edited.unwrap();
    assert_eq!(revision(&edited), 1);
    let header = edited.get(SPEND).unwrap().header();
    assert_eq!((header.created, header.changed), (Version(1), Version(2)));
    assert_eq!(edited.get(SPEND).unwrap().query(), Some("SELECT user_id, ts, amount FROM tx"));

    let mut longer = edited.get_as::<FeatureView>(SPEND).unwrap().clone();
    longer.ttl_us = Some(5);
    let edited = edited.apply(&[Change::put(longer)]).unwrap();
    assert_eq!(revision(&edited), 2);
    assert_eq!(edited.get(SPEND).unwrap().header().created, Version(1));
}

#[test]
fn only_queries_can_be_reworded_with_a_query() {
    let reword = |query: Option<&str>| Change::Reword {
        id: ENTITY,
        statement: "CREATE ENTITY customer (user_id text)".to_owned(),
        query: query.map(str::to_owned),
    };
    assert!(shop_snapshot().apply(&[reword(None)]).is_ok());
    assert!(matches!(refused(&[reword(Some("SELECT"))]), Error::NoQuery { .. }));
}

#[test]
fn what_a_role_owns_follows_its_name_and_keeps_it_alive() {
    let rename = Change::Rename { id: ROLE, to: "lovelace".to_owned() };
    let snapshot = shop_snapshot().apply(&[rename]).unwrap();
    assert!(snapshot.objects().all(|object| object.header().owner == "lovelace"));
    let error = snapshot.apply(&[Change::Drop { id: ROLE, cascade: true }]).unwrap_err();
    assert!(matches!(error, Error::DependentObjects { dependents, .. } if dependents.len() == 6));
}

#[test]
fn dropping_a_role_ends_memberships_and_needs_a_cascade_for_its_keys() {
    let mut member = role(NEXT.after(1), "bob");
    member.member_of = vec![NEXT, ROLE];
    let key = ApiKey {
        header: header(NEXT.after(2), Home::Server, "scoring"),
        role: NEXT,
        digest: SealedText::new("digest"),
        prefix: String::new(),
        created_at_us: 0,
    };
    let snapshot = shop_snapshot().apply(&[Change::put(role(NEXT, "readers")), Change::put(member), Change::put(key)]);
    let snapshot = snapshot.unwrap();
    let error = snapshot.apply(&[Change::Drop { id: NEXT, cascade: false }]).unwrap_err();
    assert!(matches!(error, Error::DependentObjects { dependents, .. } if names(&dependents) == ["scoring"]));
    let snapshot = snapshot.apply(&[Change::Drop { id: NEXT, cascade: true }]).unwrap();
    assert_eq!(snapshot.role("bob").unwrap().member_of, [ROLE]);
    assert!(snapshot.api_key("scoring").is_none());
}

#[test]
fn changes_are_applied_all_or_none() {
    let before = shop_snapshot();
    let error = before.apply(&[
        Change::SetComment { id: SPEND, comment: Some("new".to_owned()) },
        Change::Drop { id: SOURCE, cascade: false },
    ]);
    assert!(error.is_err());
    assert_eq!(before, shop_snapshot());
}

#[test]
fn what_is_granted_to_a_role_keeps_it_alive_and_leaves_definitions_alone() {
    let grant = Grant { grantee: Some(NEXT), privilege: Privilege::Select, column: Some("spend".to_owned()) };
    let grants = Change::SetGrants { id: SPEND, grants: Some(vec![grant.clone()]) };
    let before = shop_snapshot().apply(&[Change::put(role(NEXT, "readers"))]).unwrap();
    let after = before.apply(std::slice::from_ref(&grants)).unwrap();
    let header = after.get(SPEND).unwrap().header();
    assert_eq!((header.grants.as_deref(), header.revision), (Some([grant].as_slice()), 1));
    let drop = Change::Drop { id: NEXT, cascade: true };
    assert!(matches!(after.apply(std::slice::from_ref(&drop)), Err(Error::DependentObjects { .. })));
    let revoke = Change::SetGrants { id: SPEND, grants: Some(Vec::new()) };
    assert!(after.apply(&[revoke, drop.clone()]).is_ok());
    let gone = before.apply(&[drop]).unwrap();
    assert!(matches!(gone.apply(&[grants]), Err(Error::UndefinedObject { id: NEXT })));
    assert_eq!(before.apply(&diff(&before, &after)).unwrap().get(SPEND).unwrap().header().grants, header.grants);
}

/// `labels`, of which the policy of `orders` reads a column.
fn with_policy() -> (Snapshot, ObjectId, ObjectId) {
    let (labels, orders) = (NEXT, NEXT.after(1));
    let column = |name: &str| vec![Column::new(name, arrow_schema::DataType::Int64, true)];
    let read = PolicyRead { relation: labels, columns: vec!["l".to_owned()] };
    let expression = PolicyExpression { text: "…".to_owned(), columns: vec!["o".to_owned()], reads: vec![read] };
    let mut table = Table::new(header(orders, PUBLIC, "orders"), column("o"), 2);
    table.policies = vec![Policy {
        name: "own".to_owned(),
        permissive: true,
        command: PolicyCommand::All,
        roles: vec![ROLE],
        using: Some(expression),
        check: None,
        comment: None,
    }];
    let labels_table = Table::new(header(labels, PUBLIC, "labels"), column("l"), 1);
    (shop_snapshot().apply(&[Change::put(labels_table), Change::put(table)]).unwrap(), labels, orders)
}

#[test]
fn what_a_policy_reads_is_kept_or_takes_the_policy_along() {
    let (snapshot, labels, orders) = with_policy();
    let refused = snapshot.apply(&[Change::Drop { id: labels, cascade: false }]).expect_err("it is read");
    assert_eq!(refused.to_string(), "table \"labels\" is needed by table \"orders\"");
    let after = snapshot.apply(&[Change::Drop { id: labels, cascade: true }]).unwrap();
    assert!(after.get_as::<Table>(orders).unwrap().policies.is_empty());
}

#[test]
fn a_role_that_a_policy_is_for_is_kept() {
    let (snapshot, _, orders) = with_policy();
    let refused = snapshot.apply(&[Change::Drop { id: ROLE, cascade: true }]).expect_err("a policy names it");
    assert!(refused.to_string().contains("table \"orders\""), "{refused}");
    let mut table = snapshot.get_as::<Table>(orders).unwrap().clone();
    table.policies[0].roles = vec![NEXT.after(9)];
    assert!(matches!(snapshot.apply(&[Change::put(table)]), Err(Error::UndefinedObject { .. })));
}
