//! Small objects to build catalogs from.

use std::path::PathBuf;

use arrow_schema::DataType;
use granary_catalog::*;
use tempfile::TempDir;

/// The objects of [`shop`], by the ids they get.
pub const WORKSPACE: ObjectId = ObjectId(1);
pub const SCHEMA: ObjectId = ObjectId(2);
pub const ROLE: ObjectId = ObjectId(3);
pub const ENTITY: ObjectId = ObjectId(4);
pub const SOURCE: ObjectId = ObjectId(5);
pub const SPEND: ObjectId = ObjectId(6);
pub const SERVICE: ObjectId = ObjectId(7);
pub const NEXT: ObjectId = ObjectId(8);

pub const PUBLIC: Home = Home::Schema { workspace: WORKSPACE, schema: SCHEMA };

/// A workspace with one feature service over one feature view over one source.
pub fn shop() -> Vec<Change> {
    vec![
        Change::put(workspace(WORKSPACE, "prod")),
        Change::put(schema(SCHEMA, WORKSPACE, "public")),
        Change::put(role(ROLE, "ada")),
        Change::put(Entity {
            header: Header::new(ENTITY, PUBLIC, "customer", "ada"),
            join_keys: vec![Column::new("user_id", DataType::Utf8, false)],
        }),
        Change::put(source(SOURCE, PUBLIC, "transactions")),
        Change::put(feature_view(SPEND, "user_spend")),
        Change::put(service(SERVICE, "fraud", &[SPEND])),
    ]
}

pub fn header(id: ObjectId, home: Home, name: &str) -> Header {
    Header::new(id, home, name, "ada").with_statement(format!("CREATE … {name}"))
}

pub fn workspace(id: ObjectId, name: &str) -> Workspace {
    Workspace { header: header(id, Home::Server, name), live: true, applied_plan: None }
}

pub fn schema(id: ObjectId, workspace: ObjectId, name: &str) -> Schema {
    Schema { header: header(id, Home::Workspace(workspace), name) }
}

pub fn role(id: ObjectId, name: &str) -> Role {
    Role { login: true, ..Role::new(Header::new(id, Home::Server, name, name)) }
}

pub fn entity(id: ObjectId, home: Home, name: &str) -> Entity {
    Entity { header: header(id, home, name), join_keys: vec![Column::new("id", DataType::Int64, false)] }
}

pub fn source(id: ObjectId, home: Home, name: &str) -> Source {
    Source {
        header: header(id, home, name),
        definition: SourceDefinition::Files {
            format: FileFormat::Parquet,
            paths: vec![format!("/data/{name}/*.parquet")],
            declared: false,
            format_options: Vec::new(),
        },
        columns: vec![Column::new("user_id", DataType::Utf8, false)],
        timestamp: Some("ts".to_owned()),
        data_delay_us: 0,
        depends_on: Vec::new(),
    }
}

pub fn view(id: ObjectId, home: Home, name: &str, depends_on: &[ObjectId]) -> View {
    View {
        header: header(id, home, name),
        query: format!("SELECT {name}"),
        columns: Vec::new(),
        depends_on: depends_on.to_vec(),
        security_invoker: false,
    }
}

pub fn feature_view(id: ObjectId, name: &str) -> FeatureView {
    let feature = |name: &str, function, window| Feature {
        name: name.to_owned(),
        data_type: DataType::Float64,
        comment: None,
        definition: FeatureDefinition::Aggregate {
            function,
            inputs: vec!["amount".to_owned()],
            input_types: vec![DataType::Float64],
            filter: None,
            window,
        },
    };
    FeatureView {
        header: header(id, PUBLIC, name),
        kind: ViewKind::BatchAggregates,
        entities: vec![ENTITY],
        join_keys: vec![Column::new("user_id", DataType::Utf8, false)],
        timestamp: "ts".to_owned(),
        secondary_key: None,
        features: vec![
            feature("spend", AggregateFunction::Sum, Window::Last { size_us: 7, offset_us: -2 }),
            feature("p9", AggregateFunction::ApproxPercentile { p: 0.9, precision: 200 }, Window::Lifetime),
        ],
        query: "SELECT user_id, ts, amount FROM transactions".to_owned(),
        schedule_us: Some(1),
        aggregation_interval_us: Some(1),
        data_delay_us: 0,
        start_us: None,
        lifetime_start_us: None,
        ttl_us: None,
        trigger: Trigger::Scheduled,
        online: true,
        offline: true,
        unfiltered: false,
        buckets: 4,
        leading_edge: LeadingEdge::WallClock,
        compaction: false,
        cache_us: None,
        known_at: None,
        joins: false,
        paused: false,
        max_backfill_interval_us: None,
        max_attempts: None,
        expected_freshness_us: None,
        quality: true,
        storage: None,
        depends_on: vec![SOURCE],
    }
}

pub fn service(id: ObjectId, name: &str, views: &[ObjectId]) -> FeatureService {
    let member = |&view| ServiceMember { view, alias: format!("member_{view}"), features: None, keys: Vec::new() };
    FeatureService {
        header: header(id, PUBLIC, name),
        members: views.iter().map(member).collect(),
        cache_us: None,
        log_sample: None,
    }
}

pub fn author(statement: &str) -> Author {
    Author { role: "ada".to_owned(), at_us: 1_700_000_000_000_000, statement: statement.to_owned() }
}

/// A snapshot of [`shop`].
pub fn shop_snapshot() -> Snapshot {
    Snapshot::empty().apply(&shop()).unwrap()
}

/// A folder that goes away with the test, and a catalog's path in it.
pub struct Place {
    _folder: TempDir,
    pub path: PathBuf,
}

pub fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("catalog.redb");
    Place { _folder: folder, path }
}

/// A catalog with [`shop`] in it, at version 1.
pub fn shop_catalog() -> (Place, Catalog) {
    let place = place();
    let catalog = Catalog::open(&place.path).unwrap();
    catalog.commit(Version::ZERO, &author("shop"), shop()).unwrap();
    (place, catalog)
}

pub fn names(objects: &[ObjectName]) -> Vec<&str> {
    objects.iter().map(|object| object.name.as_str()).collect()
}
