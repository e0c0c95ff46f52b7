//! Refusals and changes of rows, on their way into the catalog's file. A thread writes them, many in one commit, so that
//! who is refused very often costs little; who reports one waits until it is durable.

use std::sync::Arc;
use std::thread::JoinHandle;

use granary_catalog::{Catalog, Record, RecordKind};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Kind, Result};
use crate::time::Clock;

/// So many records wait to be written, then those who have more wait, too.
const MOST_WAITING: usize = 1_024;
/// Of texts that a client has sent, so much is kept.
const MOST_TEXT_BYTES: usize = 10_000;

/// Who does something, and from where.
#[derive(Debug, Clone, Default)]
pub struct Actor {
    pub role: String,
    /// the workspace's name
    pub database: String,
    /// the client's address; empty if it is not known
    pub client: String,
}

/// Writes records.
pub struct Audit {
    clock: Clock,
    /// `None` when it ends
    sender: Option<mpsc::Sender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

struct Waiting {
    record: Record,
    written: oneshot::Sender<()>,
}

impl Audit {
    pub fn start(catalog: Arc<Catalog>, clock: Clock) -> Result<Audit> {
        let (sender, receiver) = mpsc::channel(MOST_WAITING);
        let writer = std::thread::Builder::new()
            .name("granary-audit".to_owned())
            .spawn(move || write(&catalog, receiver))
            .map_err(|error| Error::new(Kind::OutOfMemory, "could not start a thread").with_source(error))?;
        Ok(Audit { clock, sender: Some(sender), writer: Some(writer) })
    }

    /// Records an error that refuses somebody something; other errors are none of the audit's. `statement` has no secrets.
    pub async fn refused(&self, actor: &Actor, statement: Option<&str>, error: &Error) {
        if !is_refusal(error.kind()) {
            return;
        }
        let refusal = (error.sqlstate().to_owned(), shortened(error.message()));
        let record = self.record(RecordKind::Refused, actor, statement);
        self.add([Record { error: Some(refusal), ..record }]).await;
    }

    /// Records that rows of a relation, a kind and a name, have come and gone.
    pub async fn changed(&self, actor: &Actor, statement: &str, changes: Vec<((String, String), (u64, u64))>) {
        let records = changes.into_iter().map(|(relation, rows)| {
            let record = self.record(RecordKind::Changed, actor, Some(statement));
            Record { relation: Some(relation), rows: Some(rows), ..record }
        });
        self.add(records).await;
    }

    fn record(&self, kind: RecordKind, actor: &Actor, statement: Option<&str>) -> Record {
        Record {
            kind,
            at_us: self.clock.now_us(),
            role: shortened(&actor.role),
            database: shortened(&actor.database),
            client: actor.client.clone(),
            statement: statement.map(shortened),
            relation: None,
            error: None,
            rows: None,
        }
    }

    async fn add(&self, records: impl IntoIterator<Item = Record>) {
        let Some(sender) = &self.sender else { return };
        let mut all_written = Vec::new();
        for record in records {
            let (written, is_written) = oneshot::channel();
            // the writer lives as long as its sender
            if sender.send(Waiting { record, written }).await.is_ok() {
                all_written.push(is_written);
            }
        }
        for written in all_written {
            // an error was logged where it came up
            let _ = written.await;
        }
    }
}

impl Drop for Audit {
    /// Waits for the writer, which holds the catalog's file.
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writer of the audit log has panicked");
        }
    }
}

fn is_refusal(kind: Kind) -> bool {
    matches!(kind, Kind::InvalidAuthorization | Kind::InvalidPassword | Kind::InsufficientPrivilege)
}

fn shortened(text: &str) -> String {
    match text.len() > MOST_TEXT_BYTES {
        true => format!("{}…", &text[..text.floor_char_boundary(MOST_TEXT_BYTES)]),
        false => text.to_owned(),
    }
}

fn write(catalog: &Catalog, mut receiver: mpsc::Receiver<Waiting>) {
    let mut waiting = Vec::new();
    while receiver.blocking_recv_many(&mut waiting, MOST_WAITING) > 0 {
        let (records, callers): (Vec<_>, Vec<_>) = waiting.drain(..).map(|one| (one.record, one.written)).unzip();
        let count = records.len();
        if let Err(error) = catalog.records().add(records) {
            tracing::error!(count, %error, "refusals and changes of rows could not be written to the audit log");
        }
        for caller in callers {
            // who has gone needs no answer
            let _ = caller.send(());
        }
    }
}
