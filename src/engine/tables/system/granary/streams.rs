//! Streams: how events come in, how far that is, and what could not be taken in. Sinks: how far what goes out is.

use granary_catalog::{Object, SinkTarget, StreamIngest};

use super::{Rows, SystemContext, object_row, row};
use crate::access::Asker;
use crate::engine::freshness::sink_lag;
use crate::error::Result;

pub fn streams(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Stream(stream) = object else { continue };
        let kind = match &stream.ingest {
            StreamIngest::Push => "push",
            StreamIngest::Kafka { .. } => "kafka",
            StreamIngest::Postgres { .. } => "postgres",
        };
        let figures = context.tails.figures(stream.header.id).unwrap_or_default();
        let source = stream.backfill.and_then(|backfill| context.scope.snapshot.get(backfill.source));
        object_row!(context, rows, &stream.header,
            type: kind,
            timestamp: &stream.timestamp,
            deduplicate_by: stream.deduplicate_by.clone(),
            backfill_source: source.map(|source| source.name()),
            backfill_until: stream.backfill.map(|backfill| backfill.until_us),
            columns: stream.columns.len(),
            state: match &figures.reading {
                // one that is being paused still reads until its reader has stopped
                Some(reading) => reading.state.as_str(),
                None if stream.paused => "paused",
                None if figures.end_offset > 0 => "open",
                None => "empty",
            },
            first_offset: figures.first_offset,
            end_offset: figures.end_offset,
            flushed_offset: figures.flushed_offset,
            log_bytes: figures.log_bytes,
            last_error: figures.troubles.last().map(|(_, error)| error),
            last_error_at: figures.troubles.last().map(|(at_us, _)| at_us),
            events_per_second: figures.rate.per_second(context.now_us),
            newest_event: figures.newest_event.time_us(),
            newest_arrival: figures.newest_arrival_us,
            lag: figures.reading.and_then(|reading| reading.lag()),
            dead_letters: context.tails.dead_letters(stream.header.id).total,
        );
    }
    Ok(())
}

pub fn stream_partitions(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Stream(stream) = object else { continue };
        let reading = context.tails.figures(stream.header.id).and_then(|figures| figures.reading);
        for (partition, figures) in reading.into_iter().flat_map(|reading| reading.partitions) {
            row!(rows,
                schema: context.schema_of(&stream.header),
                stream: &stream.header.name,
                partition: partition,
                next_offset: figures.next_offset,
                high_watermark: figures.high_watermark,
                lag: figures.lag(),
            );
        }
    }
    Ok(())
}

/// Those of streams whose events may be read: payloads are what events are made of.
pub fn dead_letters(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    let asker = Asker::role(&context.facts.user);
    let access = asker.access(&context.scope.snapshot);
    for object in context.objects() {
        let Object::Stream(stream) = object else { continue };
        let columns = stream.columns.iter().map(|column| column.name.as_str());
        if access.check_select(object, columns).is_err() {
            continue;
        }
        for letter in context.tails.dead_letters(stream.header.id).newest {
            row!(rows,
                schema: context.schema_of(&stream.header),
                stream: &stream.header.name,
                partition: letter.partition,
                offset: letter.offset,
                timestamp: letter.time_us,
                reason: &letter.reason,
                payload: letter.payload.clone(),
                payload_bytes: letter.payload_bytes,
            );
        }
    }
    Ok(())
}

pub fn sinks(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for object in context.objects() {
        let Object::Sink(sink) = object else { continue };
        let SinkTarget::Kafka { options, .. } = &sink.target;
        let topic = options.iter().find(|(name, _)| name == "topic").map(|(_, topic)| topic.clone());
        let view = context.scope.snapshot.get(sink.view);
        let figures = context.tails.sink(sink.header.id).unwrap_or_default();
        object_row!(context, rows, &sink.header,
            type: "kafka",
            view: view.map(|view| view.name()),
            topic: topic,
            state: figures.state.as_str(),
            lag: sink_lag(&context.scope.snapshot, sink, &context.tails),
            position: figures.position,
            messages: figures.messages,
            last_error_at: figures.last_error.as_ref().map(|(at_us, _)| *at_us),
            last_error: figures.last_error.map(|(_, error)| error),
        );
    }
    Ok(())
}
