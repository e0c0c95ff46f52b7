//! What must hold for every kind of object.

use arrow_schema::DataType;

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
        paused: false,
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
        cache_us: None,
        known_at: None,
        joins: false,
        paused: true,
        max_backfill_interval_us: Some(7),
        max_attempts: Some(3),
        expected_freshness_us: Some(7),
        quality: true,
        storage: None,
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
    let view = View {
        header: header(),
        query: "query".to_owned(),
        columns: Vec::new(),
        depends_on: vec![ObjectId(4)],
        security_invoker: false,
    };
    let key = ApiKey {
        header: Header::new(ObjectId(3), Home::Server, "name", "owner"),
        role: ObjectId(4),
        digest: SealedText::new("digest"),
        prefix: String::new(),
        created_at_us: 0,
    };
    let target = SinkTarget::Kafka { options: Vec::new(), secrets: Vec::new() };
    let sink = Sink { header: header(), view: ObjectId(4), stream: ObjectId(5), target, from_offset: 0 };
    let expectation = Expectation {
        header: header(),
        view: ObjectId(4),
        check: "rows() > 0".to_owned(),
        severity: Severity::Error,
        on_failure: OnFailure::Hold,
    };
    let alert = Alert {
        header: header(),
        condition: "true".to_owned(),
        for_us: 0,
        severity: AlertSeverity::Info,
        repeat: None,
        check_every_us: 1,
        actions: Vec::new(),
        paused: false,
        depends_on: vec![ObjectId(4)],
    };
    vec![
        source.into(),
        stream.into(),
        sink.into(),
        expectation.into(),
        alert.into(),
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
    let header = Header {
        grants: Some(vec![Grant { grantee: Some(ObjectId(6)), privilege: Privilege::Select, column: None }]),
        ..Header::new(ObjectId(3), Home::Server, "name", "owner")
    };
    let mut role =
        Object::from(Role { member_of: vec![ObjectId(4)], admin_of: vec![ObjectId(4)], ..Role::new(header) });
    role.remap(&mut |id| *id = id.after(1));
    assert_eq!(role.downcast::<Role>().unwrap().member_of, [ObjectId(5)]);
    assert_eq!(role.downcast::<Role>().unwrap().admin_of, [ObjectId(5)]);
    assert!(role.header().grants_to(ObjectId(7)));
    let mut dataset = Object::from(Dataset {
        header: Header::new(ObjectId(3), Home::Workspace(ObjectId(1)), "name", "owner"),
        newest: dataset_version(2, 20, 6),
        earlier: vec![dataset_version(1, 10, 4)],
    });
    dataset.remap(&mut |id| *id = id.after(1));
    let versions: Vec<&DatasetVersion> = dataset.downcast::<Dataset>().unwrap().versions().collect();
    assert_eq!([versions[0].inputs[0].id, versions[1].inputs[0].id], [ObjectId(5), ObjectId(7)]);
}

fn dataset_version(number: u64, created_at_us: i64, input: u64) -> DatasetVersion {
    DatasetVersion {
        number,
        query: "query".to_owned(),
        columns: Vec::new(),
        storage_id: number,
        rows: 0,
        bytes: 0,
        made_at: Version::ZERO,
        created_at_us,
        created_by: "ada".to_owned(),
        job: None,
        settings: Vec::new(),
        inputs: vec![DatasetInput {
            id: ObjectId(input),
            kind: ObjectKind::Table,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            definition: "CREATE TABLE t (a int)".to_owned(),
            revision: 1,
            rows_version: None,
        }],
    }
}

#[test]
fn a_version_of_a_dataset_is_found_by_number_and_by_time() {
    let dataset = Dataset {
        header: Header::new(ObjectId(3), Home::Workspace(ObjectId(1)), "name", "owner"),
        newest: dataset_version(3, 20, 4),
        earlier: vec![dataset_version(1, 10, 4), dataset_version(2, 20, 4)],
    };
    let number = |version: Option<&DatasetVersion>| version.map(|version| version.number);
    assert_eq!([0, 1, 3, 4].map(|wanted| number(dataset.version(wanted))), [None, Some(1), Some(3), None]);
    assert_eq!([9, 10, 19, 20].map(|at| number(dataset.version_at(at))), [None, Some(1), Some(1), Some(3)]);
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

/// What is stored of a function, as the first release with functions wrote it.
#[test]
fn a_stored_function_reads() {
    let stored = r#"{"function":{"header":{"id":7,"name":"ratio","home":{"schema":{"workspace":1,"schema":2}},
        "owner":"ada","created":3,"changed":3,"revision":1},"arguments":[{"name":"part","data_type":"Float64"},
        {"data_type":"Utf8"}],"returns":"Float64","body":"SELECT part","strict":false,"volatility":"immutable",
        "depends_on":[8]}}"#;
    let object: Object = serde_json::from_str(stored).unwrap();
    let function: &Function = object.downcast().unwrap();
    assert_eq!(function.arguments[1], FunctionArgument { name: None, data_type: DataType::Utf8 });
    assert_eq!((function.volatility, object.depends_on()), (Volatility::Immutable, vec![ObjectId(8)]));
}

/// The same of a sink.
#[test]
fn a_stored_sink_reads() {
    let stored = r#"{"sink":{"header":{"id":7,"name":"out","home":{"schema":{"workspace":1,"schema":2}},
        "owner":"ada","created":3,"changed":3,"revision":1},"view":8,"target":{"kafka":{"options":[["topic","t"]]}},
        "stream":9,"from_offset":5}}"#;
    let object: Object = serde_json::from_str(stored).unwrap();
    let sink: &Sink = object.downcast().unwrap();
    let target = SinkTarget::Kafka { options: vec![("topic".to_owned(), "t".to_owned())], secrets: Vec::new() };
    assert_eq!((&sink.target, sink.stream, sink.from_offset), (&target, ObjectId(9), 5));
    assert_eq!(object.depends_on(), [ObjectId(8)]);
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
