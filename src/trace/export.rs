//! Sends spans to a collector by OTLP.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::TARGET;
use crate::config::TraceSettings;
use crate::error::{Error, Kind, Result};

/// Spans go out until it is dropped, which waits for the last of them.
pub struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// Begins to send spans, on the threads of the current runtime. A collector that is not there is told of in the log; nobody
/// waits for it.
pub fn export(settings: &TraceSettings) -> Result<Exporter> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(settings.endpoint.as_str()).build();
    let exporter = exporter.map_err(|error| {
        let message = format!("OTEL_EXPORTER_OTLP_ENDPOINT \"{}\" cannot be used: {error}", settings.endpoint);
        Error::new(Kind::InvalidParameterValue, message)
            .with_hint("write it as http://127.0.0.1:4317")
            .with_source(error)
    })?;
    // who calls decides for what belongs to his spans
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.share)));
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(Resource::builder().with_service_name(settings.service.clone()).build())
        .build();
    let tracer = provider.tracer("granary");
    Ok(Exporter { provider, tracer })
}

impl Exporter {
    /// What takes spans, and nothing else.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let spans = Targets::new().with_target(TARGET, LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(spans)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}
