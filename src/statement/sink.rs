//! `CREATE SINK`: where the changed values of a view over a stream go.

use granary_catalog::{Change, FeatureView, Object, ObjectKind, Sink, SinkTarget};
use granary_sql::statement::{CreateSink, SinkTarget as Typed};
use granary_sql::without_secrets;

use super::context::{NewObject, StatementContext, check_options};
use super::stream::kept_options;
use crate::error::{Error, Kind, Result};
use crate::kafka::SinkOptions;

pub fn create(context: &mut StatementContext, create: &CreateSink) -> Result<()> {
    check_options(&create.options, &[])?;
    let object = found(context, create)?;
    let view: &FeatureView = object.downcast().ok_or_else(|| Error::internal("a feature view is not one"))?;
    let stream = context.snapshot().stream_among(&view.depends_on);
    let Some(stream) = stream.filter(|_| view.kind.is_stream()) else {
        return Err(Error::not_supported("CREATE SINK FROM a feature view that does not read a stream"));
    };
    if !view.online {
        let message = format!("feature view \"{}\" is not kept online, so it has no values to send", view.header.name);
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
            .with_hint(format!("ALTER FEATURE VIEW {} SET (online = true)", view.header.name)));
    }
    let target = match &create.target {
        Typed::Channel(_) => return Err(Error::not_supported("CREATE SINK … TO CHANNEL")),
        Typed::Kafka(typed) => {
            let (options, secrets) = kept_options(typed, "TO KAFKA")?;
            SinkTarget::Kafka { options, secrets }
        }
    };
    let options = sink_options(&target)?;
    options.check_client()?;
    let from_offset = match options.from_earliest {
        true => 0,
        false => context.warehouse.ingest.end(stream.header.id),
    };
    let (view, stream) = (view.header.id, stream.header.id);
    let anew = CreateSink { or_replace: false, if_not_exists: false, ..create.clone() };
    let header = context.new_header(NewObject {
        kind: ObjectKind::Sink,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: without_secrets(&anew.to_string()).into_owned(),
    })?;
    if let Some(header) = header {
        // one that goes on goes on where it was
        let before = context.snapshot().get_as::<Sink>(header.id).filter(|before| before.stream == stream);
        let from_offset = before.map_or(from_offset, |before| before.from_offset);
        context.changes.push(Change::put(Sink { header, view, stream, target, from_offset }));
    }
    Ok(())
}

/// The view that is named. What else has features is for a later release.
fn found(context: &StatementContext, create: &CreateSink) -> Result<std::sync::Arc<Object>> {
    let later = [ObjectKind::FeatureTable, ObjectKind::FeatureService, ObjectKind::RealtimeView];
    match context.find(ObjectKind::FeatureView, &create.view) {
        Err(error) if error.kind() == Kind::WrongObjectType => {
            match later.into_iter().find(|kind| context.find(*kind, &create.view).is_ok()) {
                Some(kind) => Err(Error::not_supported(format!("CREATE SINK FROM a {}", kind.as_str()))),
                None => Err(error),
            }
        }
        found => found,
    }
}

/// What a sink says of its topic.
pub fn sink_options(target: &SinkTarget) -> Result<SinkOptions> {
    let SinkTarget::Kafka { options, secrets } = target;
    let shown = options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let sealed = secrets.iter().map(|(name, value)| (name.as_str(), value.expose()));
    SinkOptions::of(shown.chain(sealed))
}
