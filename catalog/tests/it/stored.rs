//! Catalog files of every format ever released: each must open for ever and list the same.
//!
//! `tests/stored/format_<n>.redb` is a file as format n wrote it, `format_<n>.txt` what it lists. Running these tests
//! with `GRANARY_WRITE_STORED` set makes the newest file if it is missing, and writes every list anew: when an object
//! gets a field, the lists change and the files do not. A released file is never replaced.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use granary_catalog::*;

use crate::fixture::*;

const NEWEST: &str = "format_1_watched";

fn stored(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stored").join(file)
}

/// A catalog that uses everything the format has.
fn write(path: &Path) -> Snapshot {
    let catalog = Catalog::open(path).unwrap();
    catalog.commit(Version::ZERO, &author("shop"), shop()).unwrap();
    catalog.commit(Version(1), &author("everything else"), everything_else()).unwrap();
    let edits = vec![
        Change::Rename { id: SERVICE, to: "fraud_v1".to_owned() },
        Change::Reword { id: SPEND, statement: "CREATE …".to_owned(), query: Some("SELECT 1".to_owned()) },
        Change::SetComment { id: SPEND, comment: Some("what they spend".to_owned()) },
        Change::SetOwner { id: SPEND, owner: "risk".to_owned() },
        Change::SetTags { id: SPEND, tags: [("tier".to_owned(), "1".to_owned())].into() },
        Change::SetOptions { id: SPEND, options: vec![("schedule".to_owned(), "'1 day'".to_owned())] },
        Change::SetPreventDestroy { id: SPEND, prevent_destroy: true },
        Change::put(source(SOURCE, PUBLIC, "tx")),
        Change::put(view(ObjectId(100), PUBLIC, "short_lived", &[])),
        Change::Drop { id: ObjectId(100), cascade: false },
    ];
    catalog.commit(Version(2), &author("edits"), edits).unwrap();

    let plan = NewPlan {
        workspace: WORKSPACE,
        author: author("SELECT granary.plan(…)"),
        message: Some("more".to_owned()),
        files: vec![PlanFile { path: "a/b.sql".to_owned(), text: "CREATE …".to_owned() }],
        has_secrets: false,
        suppress_recreates: true,
        base: vec![(SPEND, Version(2))],
        changes: vec![PlannedChange {
            action: PlanAction::AddFeatures,
            kind: "feature view".to_owned(),
            schema: "public".to_owned(),
            name: "user_spend".to_owned(),
            renamed_from: Some("spend".to_owned()),
            properties: vec![ChangedProperty { name: "ttl".to_owned(), old: None, new: Some("'1 day'".to_owned()) }],
            reason: Some("spend_30d comes".to_owned()),
            jobs: Some("1 backfill".to_owned()),
            estimated_rows: Some(12),
            warnings: vec!["slow".to_owned()],
            file: Some("a/b.sql".to_owned()),
        }],
    };
    catalog.plans().add(plan).unwrap();

    let ledger = catalog.ledger();
    let job = |start_us, end_us| {
        let refresh = RefreshWork {
            view: SPEND,
            view_name: "user_spend".to_owned(),
            range: Interval::new(start_us, end_us),
            online: end_us > 0,
            offline: true,
            overwrite: false,
            groups: if end_us == 6 { vec![0, 2] } else { Vec::new() },
        };
        let request = NewJob::new(JobWork::Refresh(refresh), WORKSPACE, author("REFRESH FEATURE VIEW user_spend"));
        ledger.create_job(request).unwrap().id
    };
    let error = JobError { sqlstate: "58030".to_owned(), message: "disk full".to_owned() };
    let first = job(i64::MIN, 0);
    ledger.start_attempt(first, 10).unwrap();
    ledger.fail_attempt(first, error.clone(), 11, 12).unwrap();
    ledger.start_attempt(first, 12).unwrap();
    ledger.progress(first, 3, 2).unwrap();
    ledger.finish(first, Outcome::Succeeded, 13).unwrap();
    for (start_us, outcome) in [(5, Outcome::Succeeded), (7, Outcome::Failed(error.clone())), (8, Outcome::Cancelled)] {
        let id = job(start_us, start_us + 1);
        ledger.start_attempt(id, 20).unwrap();
        ledger.finish(id, outcome, 21).unwrap();
    }
    let (role, database, client) = ("ada".to_owned(), "granary".to_owned(), "127.0.0.1".to_owned());
    let refused = Record {
        kind: RecordKind::Refused,
        at_us: 40,
        statement: None,
        relation: None,
        error: Some(("28P01".to_owned(), "password authentication failed".to_owned())),
        rows: None,
        role,
        database,
        client,
    };
    let changed = Record {
        kind: RecordKind::Changed,
        statement: Some("DELETE FROM orders".to_owned()),
        relation: Some(("table".to_owned(), "orders".to_owned())),
        error: None,
        rows: Some((0, 3)),
        ..refused.clone()
    };
    catalog.records().add(vec![refused, changed]).unwrap();
    let joined = JobWork::Optimize(OptimizeWork { view: SERVICE, view_name: "fraud".to_owned() });
    let joined = ledger.create_job(NewJob::new(joined, WORKSPACE, author("OPTIMIZE FEATURE VIEW fraud")));
    ledger.start_attempt(joined.unwrap().id, 25).unwrap();
    ledger.finish(JobId(5), Outcome::Succeeded, 26).unwrap();
    job(100, 200);
    ledger.start_attempt(job(200, 300), 30).unwrap();
    for job in ledger.create_jobs(jobs_of_the_scheduler()).unwrap() {
        ledger.start_attempt(job.id, 50).unwrap();
        ledger.log(job.id, 51, LogLevel::Warning, "slow".to_owned()).unwrap();
        match job.request.trigger {
            JobTrigger::Scheduled => drop(ledger.fail_attempt(job.id, error.clone(), 52, 60).unwrap()),
            JobTrigger::Backfill => drop(ledger.finish(job.id, Outcome::Failed(error.clone()), 52).unwrap()),
            _ => drop(ledger.finish(job.id, Outcome::Succeeded, 52).unwrap()),
        }
    }
    Snapshot::clone(&catalog.snapshot())
}

fn jobs_of_the_scheduler() -> Vec<NewJob> {
    let view_name = || "user_spend".to_owned();
    let refresh = |trigger, start_us, end_us| {
        let range = Interval::new(start_us, end_us);
        let (view, view_name) = (SPEND, view_name());
        let work =
            RefreshWork { view, view_name, range, online: true, offline: true, overwrite: false, groups: Vec::new() };
        let job = NewJob::new(JobWork::Refresh(work), WORKSPACE, author("schedule of user_spend"));
        NewJob { trigger, managed: true, max_attempts: 10, ..job }
    };
    let tasks = [MaintenanceTask::Optimize, MaintenanceTask::Vacuum, MaintenanceTask::Expire];
    let maintenance = tasks.map(|task| {
        let work = JobWork::Maintenance(MaintenanceWork { task, view: SPEND, view_name: view_name() });
        let job = NewJob::new(work, WORKSPACE, author("maintenance of user_spend"));
        NewJob { trigger: JobTrigger::Maintenance, managed: true, ..job }
    });
    let ranges = [refresh(JobTrigger::Scheduled, 400, 500), refresh(JobTrigger::Backfill, 500, 600)];
    ranges.into_iter().chain(maintenance).collect()
}

fn everything_else() -> Vec<Change> {
    let ids: Vec<ObjectId> = (0..25).map(|n| NEXT.after(n)).collect();
    let objects: Vec<Object> = vec![
        Workspace { live: false, applied_plan: Some(PlanId(7)), ..workspace(ids[0], "dev") }.into(),
        Secret { header: header(ids[1], Home::Workspace(WORKSPACE), "crm_dsn"), value: SealedText::new("c2VhbGVk") }
            .into(),
        Source {
            definition: SourceDefinition::Postgres {
                dsn: "secret:crm_dsn".to_owned(),
                table: "public.customers".to_owned(),
            },
            timestamp: None,
            data_delay_us: 3_600_000_000,
            depends_on: vec![ids[1]],
            ..source(ids[2], PUBLIC, "customers")
        }
        .into(),
        Source {
            definition: SourceDefinition::Query { sql: "SELECT * FROM transactions".to_owned() },
            depends_on: vec![SOURCE],
            ..source(ids[3], PUBLIC, "settled")
        }
        .into(),
        Source {
            definition: SourceDefinition::Files {
                format: FileFormat::Csv,
                paths: vec!["s3://bucket/a.csv".to_owned(), "/data/b.csv".to_owned()],
                declared: true,
                format_options: vec![("delimiter".to_owned(), ";".to_owned())],
            },
            columns: every_type(),
            ..source(ids[4], PUBLIC, "files")
        }
        .into(),
        stream(ids[5], "pushed", StreamIngest::Push, Some(Backfill { source: SOURCE, until_us: -1 })).into(),
        stream(
            ids[6],
            "kafka",
            StreamIngest::Kafka { options: vec![("topic".to_owned(), "tx".to_owned())], secrets: Vec::new() },
            None,
        )
        .into(),
        stream(
            ids[7],
            "captured",
            StreamIngest::Postgres {
                dsn: SealedText::new("secret:crm_dsn"),
                publication: Some("p".to_owned()),
                table: "t".to_owned(),
            },
            None,
        )
        .into(),
        FeatureView {
            kind: ViewKind::StreamContinuous,
            secondary_key: Some(Column::new("merchant", DataType::Utf8, true)),
            features: every_aggregate(),
            start_us: Some(-5),
            lifetime_start_us: Some(i64::MIN),
            ttl_us: Some(i64::MAX),
            trigger: Trigger::None,
            leading_edge: LeadingEdge::LatestEvent,
            compaction: true,
            known_at: Some("published_at".to_owned()),
            expected_freshness_us: Some(7_200_000_000),
            storage: Some(storage()),
            depends_on: vec![ids[5]],
            ..feature_view(ids[8], "live_spend")
        }
        .into(),
        FeatureTable {
            header: header(ids[9], PUBLIC, "user_embedding"),
            columns: vec![Column::new("user_id", DataType::Utf8, false), Column::new("vec", vector(), true)],
            entities: vec![ENTITY],
            join_keys: vec![Column::new("user_id", DataType::Utf8, false)],
            timestamp: "ts".to_owned(),
            features: vec![attribute("vec", vector())],
            start_us: None,
            ttl_us: Some(1),
            online: true,
            offline: true,
            buckets: 1,
        }
        .into(),
        RealtimeView {
            header: header(ids[10], PUBLIC, "amount_check"),
            join_keys: vec![Column::new("user_id", DataType::Utf8, false)],
            request: vec![Column::new("amount", DataType::Float64, true)],
            query: "SELECT amount > 3 * spend AS is_large FROM user_spend".to_owned(),
            features: vec![attribute("is_large", DataType::Boolean)],
            depends_on: vec![SPEND],
        }
        .into(),
        FeatureService {
            header: header(ids[11], PUBLIC, "score"),
            members: vec![ServiceMember {
                view: SPEND,
                alias: "payee".to_owned(),
                features: Some(vec!["spend".to_owned()]),
                keys: vec![("user_id".to_owned(), "payee_id".to_owned())],
            }],
            cache_us: Some(60_000_000),
            log_sample: Some(0.1),
        }
        .into(),
        Table::new(header(ids[12], PUBLIC, "labels"), vec![Column::new("label", DataType::Boolean, true)], 7).into(),
        view(ids[13], PUBLIC, "report", &[ids[12], SPEND]).into(),
        Dataset {
            header: header(ids[14], PUBLIC, "fraud_train_v1"),
            newest: DatasetVersion {
                number: 1,
                query: "SELECT …".to_owned(),
                columns: vec![Column::new("label", DataType::Boolean, true)],
                storage_id: 8,
                rows: 1_000,
                bytes: 0,
                made_at: Version(1),
                created_at_us: 0,
                created_by: String::new(),
                job: None,
                settings: Vec::new(),
                inputs: Vec::new(),
            },
            earlier: Vec::new(),
        }
        .into(),
        Role {
            superuser: true,
            bypass_rls: true,
            scram_verifier: Some(SealedText::new("SCRAM-SHA-256$4096:…")),
            member_of: vec![ROLE],
            ..role(ids[15], "grace")
        }
        .into(),
        ApiKey {
            header: header(ids[16], Home::Server, "scoring"),
            role: ids[15],
            digest: SealedText::new("2cf24dba"),
            prefix: String::new(),
            created_at_us: 0,
        }
        .into(),
        Function {
            header: header(ids[17], PUBLIC, "ratio"),
            arguments: vec![
                FunctionArgument { name: Some("part".to_owned()), data_type: DataType::Float64 },
                FunctionArgument { name: None, data_type: DataType::Float64 },
            ],
            returns: DataType::Float64,
            body: "SELECT part / $2".to_owned(),
            strict: true,
            volatility: Volatility::Immutable,
            depends_on: Vec::new(),
        }
        .into(),
        Sink {
            header: header(ids[18], PUBLIC, "spend_out"),
            view: ids[8],
            stream: ids[5],
            target: SinkTarget::Kafka {
                options: vec![("topic".to_owned(), "spend".to_owned())],
                secrets: vec![("sasl_password".to_owned(), SealedText::new("hush"))],
            },
            from_offset: 7,
        }
        .into(),
        constrained(ids[20], ids[21], ids[12]).into(),
        Test { header: header(ids[22], PUBLIC, "spends") }.into(),
        Sequence {
            header: header(ids[21], PUBLIC, "orders_id_seq"),
            storage_id: 10,
            data_type: "bigint".to_owned(),
            increment: 2,
            min_value: 1,
            max_value: i64::MAX,
            start: 1,
            cycle: false,
            owned_by: Some((ids[20], "id".to_owned())),
        }
        .into(),
        Expectation {
            header: header(ids[23], PUBLIC, "few_nulls"),
            view: ids[8],
            check: "null_share(amount) < 0.01".to_owned(),
            severity: Severity::Error,
            on_failure: OnFailure::Hold,
        }
        .into(),
        Alert {
            header: header(ids[24], PUBLIC, "stale"),
            condition: "(SELECT view FROM granary.freshness WHERE is_stale)".to_owned(),
            for_us: 60_000_000,
            severity: AlertSeverity::Critical,
            repeat: Some(AlertRepeat { every_us: 3_600_000_000, at_most: Some(3) }),
            check_every_us: 30_000_000,
            actions: vec![
                AlertAction::Webhook {
                    url: SealedText::new("https://hooks.example.com/secret"),
                    shown: "https://hooks.example.com/***".to_owned(),
                    headers: vec![("X-Key".to_owned(), SealedText::new("hush"))],
                },
                AlertAction::Email { to: vec!["ops@example.com".to_owned()] },
                AlertAction::Notify { channel: "ops".to_owned() },
            ],
            paused: true,
            depends_on: vec![ids[8]],
        }
        .into(),
    ];
    objects.into_iter().map(Change::Put).collect()
}

/// A table with all that a table can have.
fn constrained(id: ObjectId, sequence: ObjectId, read: ObjectId) -> Table {
    let default = ColumnDefault {
        text: "nextval('orders_id_seq'::regclass)".to_owned(),
        sequence: Some(sequence),
        identity: Some(Identity::Always),
    };
    let (declared, comment) = (Some("int8".to_owned()), Some("a number".to_owned()));
    let number = Column { default: Some(default), declared, comment, ..Column::new("id", DataType::Int64, false) };
    let mut table = Table::new(header(id, PUBLIC, "orders"), vec![number], 9);
    let columns = vec!["id".to_owned()];
    let kinds = [
        ConstraintKind::PrimaryKey { columns: columns.clone() },
        ConstraintKind::Unique { columns: columns.clone() },
        ConstraintKind::Check { text: "id > 0".to_owned() },
    ];
    table.constraints = kinds.into_iter().map(|kind| Constraint { name: format!("{kind:?}"), kind }).collect();
    let definition = "USING btree (id)".to_owned();
    let of_index = columns.clone();
    table.indexes = vec![Index { name: "orders_ix".to_owned(), columns: of_index, unique: true, definition }];
    table.materialized =
        Some(Materialized { query: "SELECT 1 AS id".to_owned(), depends_on: vec![read], is_populated: true });
    table.on_commit = Some(OnCommit::DeleteRows);
    table.row_security = RowSecurity { enabled: true, forced: true };
    let expression = PolicyExpression {
        text: "id IN (SELECT x.label FROM public.labels AS x)".to_owned(),
        columns,
        reads: vec![PolicyRead { relation: read, columns: vec!["label".to_owned()] }],
    };
    table.policies = vec![Policy {
        name: "own".to_owned(),
        permissive: false,
        command: PolicyCommand::Update,
        roles: vec![ROLE],
        using: Some(expression.clone()),
        check: Some(expression),
        comment: Some("about own".to_owned()),
    }];
    table
}

fn stream(id: ObjectId, name: &str, ingest: StreamIngest, backfill: Option<Backfill>) -> Stream {
    Stream {
        header: header(id, PUBLIC, name),
        columns: vec![Column::new("tx_id", DataType::Utf8, false)],
        timestamp: "ts".to_owned(),
        deduplicate_by: vec!["tx_id".to_owned()],
        ingest,
        backfill,
        paused: false,
        depends_on: Vec::new(),
    }
}

fn storage() -> ViewStorage {
    let column = |value, group, dropped| StoredColumn { value, group, dropped };
    let amount = || StoredValue::Argument {
        sql: Some("amount".to_owned()),
        filter: Some("amount > 100".to_owned()),
        counted: false,
        data_type: DataType::Float64,
    };
    let state = StoredValue::State {
        function: AggregateFunction::ApproxPercentile { p: 0.1 + 0.2, precision: 200 },
        inputs: vec!["amount".to_owned()],
        input_types: vec![DataType::Float64],
        filter: None,
    };
    ViewStorage {
        groups: vec![ColumnGroup { number: 0, fingerprint: u64::MAX }, ColumnGroup { number: 2, fingerprint: 7 }],
        next_group: 3,
        columns: vec![
            column(amount(), Some(0), true),
            column(StoredValue::Column { column: "plan".to_owned(), data_type: DataType::Utf8 }, None, true),
            column(state, Some(2), false),
            column(amount(), Some(2), false),
        ],
        kept_by_owner: false,
    }
}

fn attribute(name: &str, data_type: DataType) -> Feature {
    Feature {
        name: name.to_owned(),
        data_type,
        comment: Some(format!("about {name}")),
        definition: FeatureDefinition::Attribute { column: name.to_owned() },
    }
}

fn vector() -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 384)
}

/// The Arrow types that SQL types become. Arrow does not promise its serialized form, so it is pinned here.
fn every_type() -> Vec<Column> {
    let text = || Arc::new(Field::new("item", DataType::Utf8, true));
    let types = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(38, 10),
        DataType::Utf8,
        DataType::LargeUtf8,
        DataType::Utf8View,
        DataType::Binary,
        DataType::Date32,
        DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        DataType::Interval(arrow_schema::IntervalUnit::MonthDayNano),
        DataType::List(text()),
        DataType::LargeList(text()),
        DataType::Struct(vec![Field::new("a", DataType::Int64, false)].into()),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        vector(),
    ];
    let columns = types.into_iter().enumerate();
    columns.map(|(n, data_type)| Column::new(format!("c{n}"), data_type, n % 2 == 0)).collect()
}

fn every_aggregate() -> Vec<Feature> {
    use AggregateFunction::*;
    let functions = [
        Count,
        Sum,
        Avg,
        Min,
        Max,
        VarPop,
        VarSamp,
        StddevPop,
        StddevSamp,
        Last,
        First,
        LastN { n: 10 },
        FirstN { n: 10 },
        LastDistinct { n: 10 },
        FirstDistinct { n: 1000 },
        CountDistinct,
        ApproxCountDistinct { precision: 8 },
        ApproxPercentile { p: 0.1 + 0.2, precision: 200 },
        BoolAnd,
        BoolOr,
        Mode,
        ArgMax,
        ArgMin,
        Entropy,
        Skewness,
        Kurtosis,
        Ewma { half_life_us: 1 },
        TopK { k: 3 },
        Histogram { low: f64::NEG_INFINITY, high: 1e300, buckets: 10 },
    ];
    let windows = [
        Window::Last { size_us: 3_600_000_000, offset_us: -3_600_000_000 },
        Window::Lifetime,
        Window::Series { from_us: -7, to_us: 0, size_us: 2, step_us: 1 },
    ];
    let features = functions.into_iter().enumerate().map(|(n, function)| Feature {
        name: format!("f{n}"),
        data_type: DataType::Float64,
        comment: None,
        definition: FeatureDefinition::Aggregate {
            function,
            inputs: vec!["amount".to_owned()],
            input_types: vec![DataType::Float64],
            filter: (n == 0).then(|| "amount > 100".to_owned()),
            window: windows[n % windows.len()],
        },
    });
    features.collect()
}

/// Everything a catalog knows, as text. Debug output hides secret texts, so they are told apart.
fn list(catalog: &Catalog) -> String {
    let snapshot = catalog.snapshot();
    let mut text = String::new();
    writeln!(text, "version {} next id {}", snapshot.version(), snapshot.next_id()).unwrap();
    for object in snapshot.objects() {
        writeln!(text, "{object:?}").unwrap();
        let sealed = match &**object {
            Object::Secret(secret) => Some(&secret.value),
            Object::ApiKey(key) => Some(&key.digest),
            Object::Role(role) => role.scram_verifier.as_ref(),
            _ => None,
        };
        if let Some(sealed) = sealed {
            writeln!(text, "  {}", sealed.expose()).unwrap();
        }
    }
    for entry in catalog.history(&HistoryFilter::default()).unwrap() {
        writeln!(text, "{entry:?}").unwrap();
    }
    let ledger = catalog.ledger();
    for job in ledger.list(&JobFilter::default()).unwrap() {
        writeln!(text, "{job:?}").unwrap();
        for line in ledger.logs(job.id).unwrap() {
            writeln!(text, "{line:?}").unwrap();
        }
        for attempt in ledger.attempts(job.id).unwrap() {
            writeln!(text, "  {attempt:?}").unwrap();
        }
    }
    for record in catalog.records().all().unwrap() {
        writeln!(text, "{record:?}").unwrap();
    }
    for plan in catalog.plans().list(WORKSPACE).unwrap() {
        writeln!(text, "{plan:?}").unwrap();
    }
    for store in StoreKind::ALL {
        writeln!(text, "{store} {:?}", ledger.ranges(SPEND, store)).unwrap();
        writeln!(text, "  {:?}", ledger.ranges(GroupId::new(SPEND, 2), store)).unwrap();
    }
    text
}

fn assert_same(found: &str, expected: &str) {
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.lines().count(), expected.lines().count());
}

#[test]
fn everything_comes_back_as_it_was_committed() {
    let place = place();
    let written = write(&place.path);
    let catalog = Catalog::open(&place.path).unwrap();
    assert_eq!(*catalog.snapshot(), written);
    let kinds: BTreeSet<ObjectKind> = written.objects().map(|object| object.kind()).collect();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ObjectKind::ALL);
}

#[test]
fn files_of_every_format_open_and_list_the_same() {
    let writes = std::env::var_os("GRANARY_WRITE_STORED").is_some();
    let newest = stored(&format!("{NEWEST}.redb"));
    if writes && !newest.exists() {
        let place = place();
        write(&place.path);
        // The unused pages of a young file would make up nearly all of it.
        redb::Database::open(&place.path).unwrap().compact().unwrap();
        std::fs::copy(&place.path, &newest).unwrap();
    }
    assert!(newest.exists());
    for file in std::fs::read_dir(stored("")).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_none_or(|extension| extension != "redb") {
            continue;
        }
        let copy = place();
        std::fs::copy(&file, &copy.path).unwrap();
        let catalog = Catalog::open(&copy.path).unwrap();
        assert_eq!(catalog.ledger().interrupted_at_open().len(), 2, "two jobs were in flight");
        let listed = list(&catalog);
        if writes {
            std::fs::write(file.with_extension("txt"), &listed).unwrap();
        }
        assert_same(&listed, &std::fs::read_to_string(file.with_extension("txt")).unwrap());
        drop(catalog);
        // And once more, after whatever opening it rewrote.
        assert_same(&list(&Catalog::open(&copy.path).unwrap()), &listed);
    }
}
