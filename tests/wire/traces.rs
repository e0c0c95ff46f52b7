//! Spans of a server, as a collector of OpenTelemetry gets them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::server::Server;

/// What has come, and by which service.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attributes.iter().find(|attribute| attribute.key == "service.name");
            let service = service.and_then(|service| text(service.value.as_ref()?.value.as_ref()?)).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().expect("no panic").extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Collector {
    /// Listens; gives the address.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let address = listener.local_addr().expect("an address");
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        format!("http://{address}")
    }

    fn all(&self) -> Vec<Span> {
        self.0.lock().expect("no panic").iter().map(|(_, span)| span.clone()).collect()
    }

    /// Waits for a statement's span.
    async fn statement(&self, text: &str) -> Span {
        let begun = Instant::now();
        loop {
            if let Some(span) = self.all().into_iter().find(|span| attribute(span, "db.query.text") == text) {
                return span;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "no span of {text}");
            tokio::task::yield_now().await;
        }
    }

    fn below(&self, parent: &Span) -> Vec<Span> {
        let mut below = self.all();
        below.retain(|span| span.parent_span_id == parent.span_id);
        below.sort_by_key(|span| span.start_time_unix_nano);
        below
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|found| text(found.value.as_ref()?.value.as_ref()?)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_jobs_and_requests_are_spans_with_their_phases() {
    let collector = Collector::default();
    let endpoint = collector.listen().await;
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_SERVICE_NAME", "features"),
        // so that nothing waits for long
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    let server = Server::start_with(&["--http", "127.0.0.1:0"], &environment);
    let client = server.connect().await;
    let query = "SELECT sum(i) FROM generate_series(1, 1000) AS g(i)";
    client.query_one(query, &[]).await.expect("answers");
    let span = collector.statement(query).await;
    assert_eq!(attribute(&span, "db.system.name"), "granary");
    assert_eq!(attribute(&span, "user.name"), "granary");
    assert!(span.parent_span_id.is_empty(), "nobody has asked for more");
    let phases: Vec<String> = collector.below(&span).into_iter().map(|span| span.name).collect();
    for phase in ["plan", "execute", "commit"] {
        assert!(phases.iter().any(|known| known == phase), "{phase} in {phases:?}");
    }
    assert!(collector.0.lock().expect("no panic").iter().all(|(service, _)| service == "features"));

    // a failure has its SQLSTATE, and a secret is in no span
    let failing = "SELECT 1 / 0 AS failing";
    client.batch_execute(failing).await.expect_err("fails");
    let failed = collector.statement(failing).await;
    assert_eq!(attribute(&failed, "db.response.status_code"), "22012");
    assert_eq!(failed.status.expect("a status").code, 2);
    client.batch_execute("CREATE ROLE app LOGIN PASSWORD 'very secret'").await.expect("creates");

    // who calls says to what it belongs
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let comment = |flags: &str| format!("/*traceparent='00-{trace}-{parent}-{flags}'*/");
    client.batch_execute(&format!("SELECT 'of a trace' {}", comment("01"))).await.expect("answers");
    // the text of a statement that is prepared is all that was sent
    let prepared = format!("SELECT 'prepared' {}", comment("01"));
    client.query(&prepared, &[]).await.expect("answers");
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for text in ["SELECT 'of a trace'", &prepared] {
        let span = collector.statement(text).await;
        let of = (hexadecimal(&span.trace_id), hexadecimal(&span.parent_span_id));
        assert_eq!(of, (trace.to_owned(), parent.to_owned()), "{text}");
    }
    // and whether it is sent at all
    client.batch_execute(&format!("SELECT 'not sampled' {}", comment("00"))).await.expect("answers");

    client
        .batch_execute(
            "CREATE ENTITY thing (k text); CREATE TABLE t (k text, ts timestamptz, v bigint);
             INSERT INTO t VALUES ('a', '2024-01-01', 1); CREATE SOURCE source AS SELECT * FROM t TIMESTAMP ts;
             CREATE FEATURE VIEW v ENTITY thing TIMESTAMP ts WITH (start = '2024-01-01', trigger = manual)
               AS SELECT k, ts, v FROM source;
             REFRESH FEATURE VIEW v FROM '2024-01-01' TO '2024-01-02'",
        )
        .await
        .expect("declares");
    // what the stores do is below what asks for it
    let looked_up = "SELECT v FROM v WHERE k = $1";
    client.query_one(looked_up, &[&"a"]).await.expect("answers");
    let past = "SELECT v FROM v FOR SYSTEM_TIME AS OF '2024-01-02' WHERE k = 'a'";
    client.query_one(past, &[]).await.expect("answers");
    client.batch_execute("SELECT 'the last'").await.expect("answers");
    collector.statement("SELECT 'the last'").await;
    let all = collector.all();
    let of_stores = |span: &Span| {
        let below = collector.below(span).into_iter();
        let below = below.flat_map(|span| [vec![span.clone()], collector.below(&span)].concat());
        let told =
            below.filter(|span| attribute(span, "granary.store.of").starts_with('v') || span.name == "catalog commit");
        told.map(|span| span.name).collect::<std::collections::BTreeSet<String>>()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(of_stores(&collector.statement(looked_up).await), set(&["online read"]));
    assert_eq!(of_stores(&collector.statement(past).await), set(&["offline read"]));
    let refresh = all.iter().find(|span| span.name == "refresh").expect("a job");
    let expected = set(&["offline commit", "offline read", "offline write", "online write"]);
    assert!(of_stores(refresh).is_superset(&expected), "{:?}", of_stores(refresh));
    assert!(all.iter().any(|span| span.name == "catalog commit"));
    assert!(all.iter().any(|span| span.name == "refresh" && attribute(span, "granary.job.of") == "v"), "{all:?}");
    assert!(!format!("{all:?}").contains("very secret"));
    assert!(!all.iter().any(|span| attribute(span, "db.query.text").contains("not sampled")));
}

/// A collector that is away costs nothing but its spans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_collector() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listens");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let server = Server::start_with(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]);
    let client = server.connect().await;
    for n in 0..200 {
        let row = client.query_one(&format!("SELECT {n}"), &[]).await.expect("answers");
        assert_eq!(row.get::<_, i32>(0), n);
    }
}

/// A setting that means nothing is said at the start, not in silence.
#[test]
fn wrong_settings_do_not_start() {
    for (name, value, said) in [
        ("OTEL_TRACES_SAMPLER_ARG", "often", "OTEL_TRACES_SAMPLER_ARG is \"often\""),
        ("GRANARY_LOG_FORMAT", "xml", "GRANARY_LOG_FORMAT is \"xml\""),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_granary"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
            .env(name, value)
            .output()
            .expect("runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(said), "{told}");
    }
}
