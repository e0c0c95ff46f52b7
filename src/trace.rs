//! Where the time of a statement goes: phases, as histograms that are always kept, and as spans of OpenTelemetry that are
//! sent to a collector if there is one.
//!
//! A span is a span of `tracing` of the target [`TARGET`], which logs leave out. Without a collector none is made: a
//! statement is then asked once whether spans are wanted, and no more.

mod export;
mod parent;

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tracing::{Instrument, Span};

use crate::metrics::{self, Phase};
use crate::time::Stopwatch;
pub use export::{Exporter, export};
pub use parent::Parent;

/// What spans are told apart by from lines of the log.
pub const TARGET: &str = "granary_trace";

/// Whether spans are sent anywhere.
pub fn is_on() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// The span of a statement, whose text is without secrets. Who sent it may have put the span that it belongs to into a
/// comment, `/* traceparent='00-…-…-01' */`, in the text or beside it: `parent`.
pub fn statement(text: &str, role: &str, workspace: &str, parent: Option<Parent>) -> Span {
    if !is_on() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "statement",
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        db.system.name = "granary",
        db.namespace = workspace,
        db.query.text = text,
        db.response.status_code = tracing::field::Empty,
        user.name = role,
    );
    if let Some(parent) = Parent::of_comment(text).or(parent) {
        parent.of(&span);
    }
    span
}

/// The span of a request over HTTP. `traceparent`: the header of that name.
pub fn request(path: &str, traceparent: Option<&str>) -> Span {
    if !is_on() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = path,
        otel.kind = "server",
        http.request.method = "POST",
        http.route = path,
        http.response.status_code = tracing::field::Empty,
    );
    if let Some(parent) = traceparent.and_then(Parent::of_header) {
        parent.of(&span);
    }
    span
}

/// The span of an attempt of a job.
pub fn job(id: u64, kind: &str, of: &str) -> Span {
    if !is_on() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        parent: None,
        "job",
        otel.name = kind,
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        granary.job.id = id,
        granary.job.of = of,
        db.response.status_code = tracing::field::Empty,
    )
}

/// Says of a span how it ended, if it did as an error.
pub fn ended<T>(span: &Span, result: &crate::error::Result<T>) {
    if let Err(error) = result
        && !span.is_none()
    {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", error.message());
        span.record("db.response.status_code", error.sqlstate());
    }
}

fn span_of(phase: Phase) -> Span {
    tracing::info_span!(target: TARGET, "phase", otel.name = phase.as_str())
}

/// Does what is a phase of the current span.
pub async fn phase<T>(phase: Phase, work: impl Future<Output = T>) -> T {
    let watch = Stopwatch::start();
    let done = work.instrument(span_of(phase)).await;
    metrics::phase_took(phase, watch.elapsed());
    done
}

/// The same of work that does not wait.
pub fn phase_at_once<T>(phase: Phase, work: impl FnOnce() -> T) -> T {
    let watch = Stopwatch::start();
    let done = span_of(phase).in_scope(work);
    metrics::phase_took(phase, watch.elapsed());
    done
}

/// The span of what a store does for the current span: `what`, with the table or views that it is of. None where nobody
/// asks for spans.
pub fn store(what: &'static str, of: impl FnOnce() -> String) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "store", otel.name = what, granary.store.of = of())
}

/// Rows whose coming is a phase of the current span, from now until the last of them, or until nobody wants them any more.
pub struct PhaseRows<S> {
    rows: S,
    phase: Phase,
    span: Span,
    statement: Span,
    watch: Stopwatch,
}

impl<S> PhaseRows<S> {
    pub fn new(phase: Phase, rows: S) -> PhaseRows<S> {
        PhaseRows { rows, phase, span: span_of(phase), statement: Span::current(), watch: Stopwatch::start() }
    }
}

impl<S, T> Stream for PhaseRows<S>
where
    S: Stream<Item = crate::error::Result<T>> + Unpin,
{
    type Item = crate::error::Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let polled = this.span.in_scope(|| Pin::new(&mut this.rows).poll_next(context));
        if let Poll::Ready(Some(row)) = &polled {
            ended(&this.statement, row);
        }
        polled
    }
}

impl<S> Drop for PhaseRows<S> {
    fn drop(&mut self) {
        metrics::phase_took(self.phase, self.watch.elapsed());
    }
}
