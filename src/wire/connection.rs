//! The loop of one logged-in connection: a message, its answer, the next; and what an error does to them.

use std::sync::Arc;

use bytes::BufMut;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::cancel::{Registration, shutting_down};
use super::description::Columns;
use super::encode::{Formats, Rows};
use super::frontend::{Message, Tag};
use super::input::Incoming;
use super::link::{Failure, Link, Outcome};
use super::output::{FIRST_BYTES, HIGH_WATER, Severity};
use super::portal::{Named, RowSource, Statement};
use crate::error::{Error, Kind, Result};
use crate::session::{NamedChange, Session, TransactionStatus};

pub struct Connection {
    pub link: Link,
    pub session: Session,
    pub registration: Registration,
    pub named: Named,
    /// the server wants to stop: idle connections end
    pub soft_stop: CancellationToken,
    pub most_message_bytes: usize,
    /// an extended message failed: everything up to the next Sync is discarded
    pub discarding: bool,
    /// extended messages came after the last Sync
    pub in_pipeline: bool,
}

/// How sending rows stopped.
pub enum Sent {
    /// as many as asked for; there may be more
    Suspended,
    All(u64),
}

impl Connection {
    /// Answers until the client leaves, the two lose each other or the server stops. The last words are in the
    /// outbox then.
    pub async fn serve(&mut self) {
        loop {
            if self.soft_stop.is_cancelled() && !self.in_pipeline {
                return self.last_words(&shutting_down());
            }
            let idle_limit = if self.in_pipeline { None } else { self.session.idle_limit() };
            let is_idle = !self.in_pipeline && self.session.transaction_status() == TransactionStatus::Idle;
            let incoming = tokio::select! {
                biased;
                incoming = self.link.inbox.next(self.most_message_bytes) => incoming,
                notification = self.session.notified(), if is_idle => {
                    self.link.out.notification(&notification);
                    match self.link.flush(None).await {
                        Ok(()) => continue,
                        Err(Failure::Shutdown) => return self.last_words(&shutting_down()),
                        Err(_) => return,
                    }
                }
                error = after(idle_limit) => return self.last_words(&error),
                () = self.soft_stop.cancelled(), if !self.in_pipeline => return self.last_words(&shutting_down()),
                () = self.link.hard_stop.cancelled() => return self.last_words(&shutting_down()),
            };
            let (tag, body) = match incoming {
                Ok(Incoming::Message(tag, _)) if tag.is_terminate() => return,
                Ok(Incoming::Message(tag, body)) => (tag, body),
                Ok(Incoming::Gone) => return,
                Err(error) => return self.last_words(&error),
            };
            if self.discarding && !tag.is_sync() {
                continue;
            }
            let outcome = match Message::read(tag, body) {
                Ok(message) => self.answer(message).await,
                Err(error) => Err(error.into()),
            };
            self.registration.end();
            let outcome = match outcome {
                Err(Failure::Statement(error)) => self.recover(tag, error).await,
                outcome => outcome,
            };
            let outcome = match outcome {
                Ok(()) if self.link.out.is_high() => self.link.flush(None).await,
                outcome => outcome,
            };
            match outcome {
                Ok(()) => {}
                Err(Failure::Gone) => return,
                Err(Failure::Shutdown) => return self.last_words(&shutting_down()),
                Err(Failure::Statement(error)) => return self.last_words(&error),
            }
        }
    }

    async fn answer(&mut self, message: Message) -> Outcome<()> {
        match message {
            Message::Query { sql } => {
                self.simple_query(&sql).await?;
                self.ready().await
            }
            Message::Sync => self.sync().await,
            Message::FunctionCall => Err(Error::not_supported("the function call message").into()),
            Message::Copy => Ok(()),
            Message::Flush => self.link.flush(None).await,
            Message::Terminate => unreachable!("serve ends the loop before"),
            Message::Parse { name, sql, parameter_oids } => {
                self.in_pipeline = true;
                self.parse(name, &sql, &parameter_oids).await
            }
            Message::Bind(bind) => {
                self.in_pipeline = true;
                self.bind(bind)
            }
            Message::Describe(target) => {
                self.in_pipeline = true;
                self.describe(&target)
            }
            Message::Execute { portal, max_rows } => {
                self.in_pipeline = true;
                self.execute(&portal, max_rows).await
            }
            Message::Close(target) => {
                self.in_pipeline = true;
                self.close(&target);
                Ok(())
            }
        }
    }

    /// Tells the client of a failed message and brings both to where they can go on.
    async fn recover(&mut self, tag: Tag, error: Error) -> Outcome<()> {
        if error.kind() == Kind::AdminShutdown {
            // somebody ended this very connection
            return Err(Failure::Statement(error));
        }
        self.report(&error);
        if tag.is_extended() {
            (self.discarding, self.in_pipeline) = (true, true);
            // the client may wait for this answer and never come to its Sync
            return self.link.flush(None).await;
        }
        self.end_pipeline(false).await;
        self.ready().await
    }

    /// An ERROR and what it does to the transaction; notices that came before it are shown before it.
    fn report(&mut self, error: &Error) {
        if error.kind() == Kind::Internal {
            tracing::error!(process_id = self.registration.process_id(), ?error, "a statement failed inside");
        }
        self.named.portals.clear();
        self.session.fail_transaction();
        self.put_notices();
        self.link.out.error(Severity::Error, error);
    }

    fn last_words(&mut self, error: &Error) {
        self.link.out.drop_unfinished();
        self.link.out.error(Severity::Fatal, error);
    }

    async fn sync(&mut self) -> Outcome<()> {
        let failed = self.discarding;
        self.end_pipeline(!failed).await;
        self.ready().await
    }

    /// The implicit transaction ends; a commit that fails is one more error.
    async fn end_pipeline(&mut self, commit: bool) {
        (self.discarding, self.in_pipeline) = (false, false);
        if let Err(error) = self.session.end_implicit_transaction(commit).await {
            self.report(&error);
        }
        self.forget_portals_when_idle();
    }

    pub fn forget_portals_when_idle(&mut self) {
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.named.portals.clear();
        }
    }

    /// ReadyForQuery, with everything that waited for it.
    async fn ready(&mut self) -> Outcome<()> {
        for (name, value) in self.session.take_changed_parameters() {
            self.link.out.parameter_status(&name, &value);
        }
        self.put_notices();
        if self.session.transaction_status() == TransactionStatus::Idle {
            while let Some(notification) = self.session.take_notification() {
                self.link.out.notification(&notification);
            }
        }
        self.put_ready();
        self.link.flush(None).await
    }

    pub fn put_ready(&mut self) {
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => b'I',
            TransactionStatus::InTransaction => b'T',
            TransactionStatus::Failed => b'E',
        };
        self.session.rest();
        self.link.out.small(b'Z', |body| body.put_u8(status));
    }

    pub fn put_notices(&mut self) {
        for notice in self.session.take_notices() {
            self.link.out.notice(notice.severity, &notice.error);
        }
    }

    /// A command without rows is done: what it changed here, and its tag.
    pub fn put_done(&mut self, tag: &str) -> Result<()> {
        for change in self.session.take_named_changes() {
            match change {
                NamedChange::DeallocatedAll => self.named.statements.clear(),
                NamedChange::Deallocated(name) => drop(self.named.statements.remove(&name)),
                NamedChange::Prepared(name, prepared) => {
                    let statement = Statement::new(prepared, &[])?;
                    self.named.statements.insert(name, Arc::new(statement));
                }
            }
        }
        self.put_notices();
        self.link.out.command_complete(tag);
        Ok(())
    }

    pub fn put_row_description(&mut self, columns: &Columns, formats: &Formats) -> Result<()> {
        self.link.out.message(b'T', |body| {
            columns.describe(formats, body);
            Ok(())
        })
    }

    /// Sends at most `most` rows, the first ones early so that the client reads them while others are written; never holds
    /// more than a batch and a full outbox.
    pub async fn send_rows(&mut self, rows: &mut RowSource, most: u64, token: &CancellationToken) -> Outcome<Sent> {
        let mut sent = 0;
        let mut high_water = FIRST_BYTES;
        loop {
            if sent == most {
                return Ok(Sent::Suspended);
            }
            if let Some(batch) = &mut rows.batch {
                sent += batch.write(most - sent, high_water, &mut rows.shape, &mut self.link.out)?;
                let is_worth_it = high_water == HIGH_WATER || batch.left() as u64 >= sent;
                if self.link.out.len() >= high_water && is_worth_it {
                    match self.session.running_until() {
                        None => self.link.flush(Some(token)).await?,
                        // who does not read is not waited for longer than a statement may take
                        Some((until, error)) => {
                            match tokio::time::timeout_at(until, self.link.flush(Some(token))).await {
                                Ok(flushed) => flushed?,
                                Err(_) => return Err(error.into()),
                            }
                        }
                    }
                }
                if batch.left() == 0 {
                    rows.batch = None;
                }
                high_water = HIGH_WATER;
                continue;
            }
            let Some(stream) = &mut rows.stream else { return Ok(Sent::All(sent)) };
            match self.link.attend_or_drop(token, stream.next()).await? {
                None => return Ok(Sent::All(sent)),
                Some(batch) => {
                    rows.batch = Some(Rows::new(&batch?, &rows.columns, &rows.formats)?);
                }
            }
        }
    }
}

/// The error that comes when the time is over; never without one.
async fn after(limit: Option<(std::time::Duration, Error)>) -> Error {
    match limit {
        None => std::future::pending().await,
        Some((duration, error)) => {
            tokio::time::sleep(duration).await;
            error
        }
    }
}
