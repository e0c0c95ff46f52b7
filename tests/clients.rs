//! Real clients against the real server, by themselves and in comparison with PostgreSQL 15; and readers of its Delta
//! tables. `tests/clients/install.sh` gets those that are not Rust; without them the tests fail, they do not skip.

#[path = "clients/alerts.rs"]
mod alerts;
#[path = "clients/dbt.rs"]
mod dbt;
#[path = "clients/differences.rs"]
mod differences;
#[path = "clients/matrix.rs"]
mod matrix;
#[path = "support/postgres.rs"]
mod postgres;
#[path = "clients/quality.rs"]
mod quality;
#[path = "wire/client.rs"]
mod raw;
#[path = "clients/replay.rs"]
mod replay;
#[path = "clients/s3.rs"]
mod s3;
#[path = "clients/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::SystemTime;

use server::{PASSWORD, Server, USER};
use tokio_postgres::SimpleQueryMessage;

const SETUP: &str = include_str!("clients/setup.sql");

fn psql(server: &Server, arguments: &[&str]) -> Output {
    Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-U", USER, "-d", USER, "-v", "VERBOSITY=verbose"])
        .args(["-p", &server.address.port().to_string()])
        .args(arguments)
        .env("PGPASSWORD", PASSWORD)
        .output()
        .expect("psql starts: it is in Debian's postgresql-client")
}

/// What psql prints; it must not print an error.
fn shown(server: &Server, command: &str) -> String {
    let output = psql(server, &["-c", command]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("ERROR"), "{command}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn with_objects() -> Server {
    let server = Server::start(&[]);
    for statement in SETUP.lines() {
        shown(&server, statement);
    }
    server
}

/// Where the tools are that install.sh has got.
fn tools() -> &'static PathBuf {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let cache =
            std::env::var_os("GRANARY_TEST_CACHE").map_or_else(|| root.join("target/test-tools"), PathBuf::from);
        let output = Command::new(root.join("tests/clients/install.sh")).arg(&cache).output().expect("a shell");
        assert!(output.status.success(), "install.sh: {}", String::from_utf8_lossy(&output.stderr));
        cache
    })
}

#[test]
fn psql_describes_what_there_is() {
    let server = with_objects();
    let all = shown(&server, "\\d");
    for name in ["rides", "fares", "ride_source", "driver_fares", "ride_stream"] {
        assert!(all.contains(name), "\\d lacks {name}: {all}");
    }
    let tables = shown(&server, "\\dt");
    assert!(tables.contains("rides") && !tables.contains("driver_fares"), "{tables}");
    let views = shown(&server, "\\dv");
    assert!(views.contains("driver_fares") && views.contains("fares"), "{views}");
    let view = shown(&server, "\\d driver_fares");
    assert!(view.contains("fares_1d") && view.contains("double precision"), "{view}");
    let view = shown(&server, "\\d+ driver_fares");
    assert!(view.contains("fares of a day") && view.contains("View definition"), "{view}");
    let table = shown(&server, "\\d rides");
    assert!(table.contains("timestamp with time zone"), "{table}");
    for command in
        ["\\d ride_source", "\\d ride_stream", "\\d fares", "\\d+ rides", "\\dt+", "\\conninfo", "\\df", "\\di"]
    {
        shown(&server, command);
    }
    assert!(shown(&server, "\\l").contains("granary"));
    assert!(shown(&server, "\\dn").contains("public"));
    assert!(shown(&server, "\\du").contains("granary"));
    assert!(shown(&server, "\\dt granary.*").contains("audit_log"));
}

#[test]
fn psql_shows_labels_and_where_an_error_is() {
    let server = Server::start(&[]);
    let row = shown(&server, "SELECT 1, 1, 'a'::text, count(*), CASE WHEN true THEN 1 END");
    let header = row.lines().next().expect("a header");
    let labels: Vec<&str> = header.split('|').map(str::trim).collect();
    assert_eq!(labels, ["?column?", "?column?", "text", "count", "case"]);
    let output = psql(&server, &["-c", "SELECT *\nFROM nowhere"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("42P01") && errors.contains("LINE 2: FROM nowhere"), "{errors}");
    for (statement, state) in
        [("SELECT 1/0", "22012"), ("SELECT 'x'::int", "22P02"), ("SELECT 'x'::timestamptz", "22007")]
    {
        let output = psql(&server, &["-c", statement]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(state), "{statement}: {errors}");
    }
}

#[test]
fn now_is_the_warehouses_time() {
    let server = Server::start(&["--now", "2014-01-01"]);
    assert!(shown(&server, "SELECT now()").contains("2014-01-01"));
    assert!(shown(&server, "SELECT current_timestamp").contains("2014-01-01"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_works() {
    let server = with_objects();
    let mut client = server.connect().await;
    let at: SystemTime = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_704_103_200);
    let statement = client.prepare("SELECT driver, fare, at FROM rides WHERE id = $1").await.expect("prepared");
    for _ in 0..3 {
        let row = client.query_one(&statement, &[&1_i64]).await.expect("a row");
        assert_eq!((row.get::<_, &str>(0), row.get::<_, f64>(1), row.get::<_, SystemTime>(2)), ("ann", 10.5, at));
    }
    let row = client.query_one("SELECT id FROM rides WHERE driver = $1 AND at = $2", &[&"ann", &at]).await;
    assert_eq!(row.expect("a row").get::<_, i64>(0), 1);
    let sql = "SELECT true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 'ä', ARRAY[1, 2]::int8[], NULL::text";
    let row = client.query_one(sql, &[]).await.expect("a row");
    assert!(row.get::<_, bool>(0));
    assert_eq!((row.get::<_, i16>(1), row.get::<_, i32>(2), row.get::<_, i64>(3)), (1, 2, 3));
    assert_eq!((row.get::<_, f32>(4), row.get::<_, f64>(5), row.get::<_, &str>(6)), (1.5, 2.5, "ä"));
    assert_eq!((row.get::<_, Vec<i64>>(7), row.get::<_, Option<&str>>(8)), (vec![1, 2], None));

    let transaction = client.transaction().await.expect("BEGIN");
    let portal = transaction.bind("SELECT value FROM generate_series(1, 5) AS g (value)", &[]).await.expect("a portal");
    let mut counts = Vec::new();
    for _ in 0..3 {
        counts.push(transaction.query_portal(&portal, 2).await.expect("rows").len());
    }
    assert_eq!(counts, [2, 2, 1]);
    transaction
        .execute("INSERT INTO rides VALUES ($1, $2, $3, $4)", &[&9_i64, &"eve", &1.0_f64, &at])
        .await
        .expect("in");
    transaction.rollback().await.expect("ROLLBACK");
    let row = client.query_one("SELECT count(*) FROM rides WHERE driver = 'eve'", &[]).await.expect("a row");
    assert_eq!((row.columns()[0].name(), row.get::<_, i64>(0)), ("count", 0));
    let messages = client.simple_query("SELECT 1; SELECT 2").await.expect("rows");
    assert_eq!(messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count(), 2);
}

fn run(program: &mut Command) {
    let output = program.output().expect("the program starts");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program:?}\n{out}\n{errors}");
}

#[test]
fn psycopg_works() {
    let server = with_objects();
    let port = server.address.port();
    let dsn = format!("host=127.0.0.1 port={port} user={USER} password='{PASSWORD}' dbname={USER}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/with_psycopg.py");
    run(Command::new(tools().join("venv/bin/python")).arg(script).arg(dsn));
}

#[test]
fn pgjdbc_works() {
    let server = with_objects();
    let classes = tools().join("classes");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/Jdbc.java");
    run(Command::new("javac").arg("-d").arg(&classes).arg(source));
    let path = format!("{}:/usr/share/java/postgresql.jar", classes.display());
    let url = format!("jdbc:postgresql://127.0.0.1:{}/{USER}", server.address.port());
    run(Command::new("java").args(["-cp", &path, "Jdbc", &url, USER, PASSWORD]));
}

/// What tecton-client is served: three features of a driver, `ann` with two rides in the last week.
const SERVED: [&str; 12] = [
    "CREATE TABLE rides (driver text, fare double precision, at timestamptz)",
    "INSERT INTO rides VALUES ('ann', 10.5, '2024-01-01 10:00+00'), ('ann', 3.0, '2024-01-02 09:00+00'), \
     ('bob', 7.25, '2024-01-01 11:00+00')",
    "CREATE SOURCE ride_source TIMESTAMP at AS SELECT driver, at, fare FROM rides",
    "CREATE ENTITY driver (driver text)",
    "CREATE FEATURE VIEW driver_fares ENTITY driver TIMESTAMP at FEATURES (count(*) OVER (LAST '7 days') AS rides, \
     sum(fare) OVER (LAST '7 days') AS fares COMMENT 'of a week') \
     WITH (trigger = manual, tags = ('team' = 'rides')) AS SELECT driver, at, fare FROM ride_source",
    "REFRESH FEATURE VIEW driver_fares",
    "CREATE REALTIME FEATURE VIEW fare_check REQUEST (fare float8) AS SELECT fare > f.fares AS is_dear \
     FROM driver_fares f",
    "CREATE FEATURE SERVICE driver AS driver_fares (rides, fares), fare_check",
    "CREATE FEATURE SERVICE cached AS driver_fares WITH (cache = '1 hour')",
    "CREATE ROLE app",
    "CREATE ROLE other",
    "GRANT SELECT ON driver, cached TO app",
];

/// The key that a role was given.
fn api_key(server: &Server, role: &str) -> String {
    let output = psql(server, &["-At", "-c", &format!("CREATE API KEY FOR {role}")]);
    let text = String::from_utf8(output.stdout).expect("text");
    let key = text.split(['|', '\n']).find(|value| value.starts_with("granary_"));
    key.unwrap_or_else(|| panic!("no key in {text}, {}", String::from_utf8_lossy(&output.stderr))).to_owned()
}

fn tecton_client_works_with(scheme: &str, arguments: &[&str], certificate: &str) {
    let options = [&["--http", "127.0.0.1:0", "--now", "2024-01-05"], arguments].concat();
    let server = Server::start(&options);
    for statement in SERVED {
        shown(&server, statement);
    }
    let url = format!("{scheme}://{}", server.http_address());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/with_tecton.py");
    let keys = [api_key(&server, "app"), api_key(&server, "other")];
    run(Command::new(tools().join("venv/bin/python")).args([script, &url]).args(keys).arg(certificate));
}

#[test]
fn tecton_client_works() {
    tecton_client_works_with("http", &[], "");
}

/// Makes a certificate of 127.0.0.1 in a folder, and its key, which are believed by who is given the certificate.
fn certificate(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    let (certificate, key) = (path("certificate.pem"), path("key.pem"));
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "1"])
        .args(["-subj", "/CN=granary", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate]));
    (certificate, key)
}

#[test]
fn tecton_client_works_encrypted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = certificate(folder.path());
    tecton_client_works_with("https", &["--tls-cert", &certificate, "--tls-key", &key], &certificate);
}

const STORED: [&str; 6] = [
    "CREATE TABLE payments AS SELECT 'u' || value % 7 AS user_id, to_timestamp(1704067200 + value * 600) AS ts, \
     value % 100 AS amount FROM generate_series(1, 8000) AS g (value)",
    "CREATE ENTITY customer (user_id text)",
    "CREATE SOURCE payments_source AS SELECT * FROM payments TIMESTAMP ts",
    "CREATE FEATURE VIEW newest ENTITY customer TIMESTAMP ts WITH (start = '2024-01-01', buckets = 2, online = false) \
     AS SELECT user_id, ts, amount FROM payments_source",
    "REFRESH FEATURE VIEW newest FROM '2024-01-01' TO '2024-01-10'",
    "REFRESH FEATURE VIEW newest FROM '2024-01-10' TO '2024-02-26'",
];

#[test]
fn others_read_and_rewrite_the_offline_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let start = || Server::start(&["--data", folder.path().to_str().expect("UTF-8"), "--now", "2024-03-01"]);
    let answers = |server: &Server| {
        let at = ["2024-01-09 12:00", "2024-02-01", "2024-02-25"];
        let select = |at: &str| format!("SELECT * FROM newest FOR SYSTEM_TIME AS OF '{at}' ORDER BY user_id");
        at.map(|at| shown(server, &select(at)))
    };
    let server = start();
    for statement in STORED {
        shown(&server, statement);
    }
    let before = answers(&server);
    assert!(before[2].contains("(7 rows)"), "{}", before[2]);
    let said = shown(&server, "SELECT count(*) || ',' || sum(amount) AS said FROM payments");
    let said = said.lines().nth(2).expect("a row").trim().to_owned();
    drop(server);

    let offline = folder.path().join("offline");
    let tables =
        std::fs::read_dir(&offline).expect("the offline store").map(|entry| entry.expect("a table").file_name());
    let tables: Vec<String> = tables.map(|table| format!("{}={said}", table.to_string_lossy())).collect();
    assert_eq!(tables.len(), 2, "a table and a view: {tables:?}");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/with_delta.py");
    run(Command::new(tools().join("venv/bin/python")).arg(script).arg(&offline).args(tables));

    // delta-rs does not keep the order of the files that it merges, and we cope
    let server = start();
    assert_eq!(answers(&server), before);
    shown(&server, "OPTIMIZE newest");
    shown(&server, "VACUUM RETAIN '0'");
    assert_eq!(answers(&server), before);
}
