//! What must hold for every kind of object.

use super::*;
use crate::id::Version;

/// One object of each kind that refers to others, with every reference set.
fn referring() -> Vec<Object> {
    let home = Home::Schema { workspace: ObjectId(1), schema: ObjectId(2) };
    let header = || Header::new(ObjectId(3), home, "name", "owner");
    let source = Source {
        header: header(),
        definition: SourceDefinition::Query { sql: "query".to_owned() },
        columns: Vec::new(),
        timestamp: None,
        data_delay_us: 0,
        depends_on: vec![ObjectId(4), ObjectId(5)],
    };
    let stream = Stream {
        header: header(),
        columns: Vec::new(),
        timestamp: "ts".to_owned(),
        deduplicate_by: Vec::new(),
        ingest: StreamIngest::Push,
        backfill: Some(Backfill { source: ObjectId(4), until_us: 0 }),
        depends_on: vec![ObjectId(5)],
    };
    let feature_table = FeatureTable {
        header: header(),
        columns: Vec::new(),
        entities: vec![ObjectId(4), ObjectId(5)],
        join_keys: Vec::new(),
        timestamp: "ts".to_owned(),
        features: Vec::new(),
        start_us: None,
        ttl_us: None,
        online: false,
        offline: false,
        buckets: 1,
    };
    let feature_view = FeatureView {
        header: header(),
        kind: ViewKind::BatchAttributes,
        entities: vec![ObjectId(4)],
        join_keys: Vec::new(),
        timestamp: "ts".to_owned(),
        secondary_key: None,
        features: Vec::new(),
        query: "query".to_owned(),
        schedule_us: None,
        aggregation_interval_us: None,
        data_delay_us: 0,
        start_us: None,
        lifetime_start_us: None,
        ttl_us: None,
        trigger: Trigger::Manual,
        online: false,
        offline: false,
        unfiltered: false,
        buckets: 1,
        leading_edge: LeadingEdge::WallClock,
        compaction: false,
        known_at: None,
        depends_on: vec![ObjectId(5)],
    };
    let member = |view| ServiceMember { view, alias: "alias".to_owned(), features: None, keys: Vec::new() };
    let service = FeatureService {
        header: header(),
        members: vec![member(ObjectId(4)), member(ObjectId(5))],
        cache_us: None,
        log_sample: None,
    };
    let realtime_view = RealtimeView {
        header: header(),
        join_keys: Vec::new(),
        request: Vec::new(),
        query: "query".to_owned(),
        features: Vec::new(),
        depends_on: vec![ObjectId(4)],
    };
    let view = View { header: header(), query: "query".to_owned(), columns: Vec::new(), depends_on: vec![ObjectId(4)] };
    let key = ApiKey {
        header: Header::new(ObjectId(3), Home::Server, "name", "owner"),
        role: ObjectId(4),
        digest: SealedText::new("digest"),
    };
    vec![
        source.into(),
        stream.into(),
        feature_table.into(),
        feature_view.into(),
        service.into(),
        realtime_view.into(),
        view.into(),
        key.into(),
    ]
}

#[test]
fn remap_reaches_every_id() {
    for object in referring() {
        let shifted = |id: ObjectId| id.after(100);
        let mut mapped = object.clone();
        mapped.remap(&mut |id| *id = shifted(*id));
        assert_eq!(mapped.id(), shifted(object.id()));
        assert_eq!(mapped.home().workspace(), object.home().workspace().map(shifted));
        assert_eq!(mapped.home().schema(), object.home().schema().map(shifted));
        let expected: Vec<ObjectId> = object.depends_on().into_iter().map(shifted).collect();
        assert!(!expected.is_empty());
        assert_eq!(mapped.depends_on(), expected, "{}", object.kind());
    }
}

#[test]
fn remap_reaches_ids_that_are_no_dependencies() {
    let mut role = Object::from(Role {
        header: Header::new(ObjectId(3), Home::Server, "name", "owner"),
        superuser: false,
        login: false,
        scram_verifier: None,
        member_of: vec![ObjectId(4)],
    });
    role.remap(&mut |id| *id = id.after(1));
    assert_eq!(role.downcast::<Role>().unwrap().member_of, [ObjectId(5)]);
    let mut dataset = Object::from(Dataset {
        header: Header::new(ObjectId(3), Home::Workspace(ObjectId(1)), "name", "owner"),
        query: "query".to_owned(),
        columns: Vec::new(),
        storage_id: 0,
        rows: 0,
        made_at: Version::ZERO,
        lineage: vec![ObjectId(4)],
        definitions: Vec::new(),
    });
    dataset.remap(&mut |id| *id = id.after(1));
    assert_eq!(dataset.downcast::<Dataset>().unwrap().lineage, [ObjectId(5)]);
}

#[test]
fn each_kind_has_one_sort_of_home() {
    let homes =
        [Home::Server, Home::Workspace(ObjectId(1)), Home::Schema { workspace: ObjectId(1), schema: ObjectId(2) }];
    for &kind in ObjectKind::ALL {
        let fitting = homes.iter().filter(|&&home| kind.name_space(home).is_some());
        assert_eq!(fitting.count(), 1, "{kind}");
    }
}

#[test]
fn a_name_is_no_part_of_the_definition() {
    let before = referring().remove(0);
    let mut after = before.clone();
    after.header_mut().name = "other".to_owned();
    after.header_mut().comment = Some("comment".to_owned());
    assert!(before.same_definition(&after));
    *after.query_mut().unwrap() = "other".to_owned();
    assert!(!before.same_definition(&after));
}
