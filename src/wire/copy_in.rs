//! COPY … FROM STDIN: the client's messages into rows, while the session takes them.
//!
//! Rows travel in batches through a short queue, so that a client is read no faster than its rows are put away.

mod lines;
mod rows;
mod tuples;

use bytes::{BufMut, Bytes};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::frontend::{Body, Tag};
use super::input::{Inbox, Incoming};
use super::link::{Failure, Outcome};
use crate::error::{Error, Kind, Result};
use crate::session::{CallRows, CopyForm, CopyIn};
use rows::CopyRows;

pub use lines::fields_of_line;

/// How many batches may wait for the session.
const BATCHES_WAITING: usize = 2;

impl Connection {
    /// Asks the client for its rows and takes them; gives the command tag.
    pub async fn copy_in(&mut self, copy: CopyIn, token: &CancellationToken) -> Outcome<String> {
        self.put_notices();
        let n_columns = u16::try_from(copy.columns.len())
            .map_err(|_| Error::new(Kind::ConfigurationLimitExceeded, "more columns than COPY can name"))?;
        let format = u8::from(copy.format == CopyForm::Binary);
        self.link.out.message(b'G', |body| {
            // and so is every column
            body.put_u8(format);
            body.put_u16(n_columns);
            (0..n_columns).for_each(|_| body.put_u16(format.into()));
            Ok(())
        })?;
        self.link.flush(Some(token)).await?;
        let reader = CopyRows::new(&copy, self.session.zone())?;
        let (sender, receiver) = tokio::sync::mpsc::channel(BATCHES_WAITING);
        let batches = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|batch| (batch, receiver))
        });
        let hard_stop = self.link.hard_stop.clone();
        let loaded = {
            let mut loading = self.session.copy_in(copy, batches.boxed(), token.clone());
            let feeding = feed(&mut self.link.inbox, reader, sender, self.most_message_bytes);
            let mut feeding = std::pin::pin!(feeding);
            let mut fed = false;
            loop {
                tokio::select! {
                    biased;
                    loaded = &mut loading => break loaded,
                    result = &mut feeding, if !fed => {
                        result?;
                        fed = true;
                    }
                    () = hard_stop.cancelled(), if !token.is_cancelled() => token.cancel(),
                }
            }
        };
        loaded.map_err(|error| self.failure_of(token, error))
    }
}

/// Reads the client's rows to their end. An error of theirs goes to whoever takes the rows, who fails with it.
async fn feed(
    inbox: &mut Inbox,
    mut reader: CopyRows,
    sender: Sender<Result<CallRows>>,
    most_message_bytes: usize,
) -> Outcome<()> {
    loop {
        let (tag, body) = match inbox.next(most_message_bytes).await {
            Ok(Incoming::Message(tag, body)) => (tag, body),
            Ok(Incoming::Gone) => return Err(Failure::Gone),
            Err(error) => return Err(Failure::Statement(error)),
        };
        if tag.is_terminate() {
            return Err(Failure::Gone);
        }
        let (result, is_last) = take(&mut reader, tag, body);
        let batches = match result {
            Ok(batches) => batches,
            Err(error) => {
                // without a taker the rows have failed already
                let _ = sender.send(Err(error)).await;
                return Ok(());
            }
        };
        for batch in batches {
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// The batches that a message completes, and whether it was the last one.
fn take(reader: &mut CopyRows, tag: Tag, body: Bytes) -> (Result<Vec<CallRows>>, bool) {
    match tag.byte() {
        b'd' => (reader.push(&body), false),
        b'c' => (reader.finish(), true),
        b'f' => {
            let reason = Body(body).text();
            let failed = |reason| Error::new(Kind::QueryCanceled, format!("COPY from stdin failed: {reason}"));
            (reason.and_then(|reason| Err(failed(reason))), true)
        }
        // a client that does not know that it copies: its Sync comes once more behind the data
        b'H' | b'S' => (Ok(Vec::new()), false),
        other => {
            let message = format!("unexpected message type 0x{other:02X} during COPY from stdin");
            (Err(Error::new(Kind::ProtocolViolation, message)), true)
        }
    }
}
