//! `REPLAY STREAM`: its events online once more.

use std::sync::Arc;

use granary_catalog::{ObjectKind, Stream};
use granary_sql::statement::{Replay, ReplayStart as Typed};
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use super::refresh::bound_time;
use crate::error::{Error, Kind, Result};
use crate::ingest::ReplayStart;

/// Waits for its end; a notice tells how many rows of views it has put.
pub async fn replay(context: &mut StatementContext, replay: &Replay, cancel: &CancellationToken) -> Result<()> {
    let object = context.find(ObjectKind::Stream, &replay.stream)?;
    let stream: &Stream = object.downcast().ok_or_else(|| Error::internal("a stream is not a stream"))?;
    if !context.scope.is_live() {
        let message = "a development workspace computes on demand and keeps nothing online";
        return Err(
            Error::new(Kind::ObjectNotInPrerequisiteState, message).with_hint("replay the stream of a live workspace")
        );
    }
    let start = match &replay.start {
        Typed::First => ReplayStart::First,
        Typed::Offset(offset) => ReplayStart::Offset(*offset),
        Typed::Time(time) => {
            let time_us = bound_time(context, Some(time)).await?;
            ReplayStart::Time(time_us.ok_or_else(|| Error::internal("a time is none"))?)
        }
    };
    let (ingest, stream, token) = (Arc::clone(&context.warehouse.ingest), stream.clone(), cancel.child_token());
    // a task of its own, so that a batch that is being put is put
    let task = context.warehouse.engine.threads().spawn(async move { ingest.replay(&stream, start, &token).await });
    let rows = task.await.map_err(|error| Error::internal("the task of a replay died").with_source(error))??;
    let told = format!("{rows} rows of feature views were put online");
    context.notices.push(Error::new(Kind::SuccessfulCompletion, told));
    Ok(())
}
