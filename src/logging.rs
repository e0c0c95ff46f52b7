//! The process's log and spans: where lines go, in which form, and whether spans are sent.

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogForm, log_filter, log_form, trace_settings};
use crate::error::Result;
use crate::trace::{self, Exporter};

/// As long as it is held, spans are sent, if they are at all.
pub struct Logging {
    _exporter: Option<Exporter>,
}

/// Begins to log to stderr, and to send spans if a collector is set. Must be called in a runtime, once. Errors: a setting
/// of the environment that is wrong.
pub fn begin() -> Result<Logging> {
    let exporter = trace_settings()?.map(|settings| trace::export(&settings)).transpose()?;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        // where nobody reads the log any more, to say so there would end who says it
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log_form()? {
        LogForm::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogForm::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    };
    let filter = EnvFilter::new(format!("{},{}=off", log_filter(), trace::TARGET));
    let spans = exporter.as_ref().map(Exporter::layer);
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(Logging { _exporter: exporter })
}
