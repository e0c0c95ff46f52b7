//! What has changed in one table, in the order of the commits: read from a slot on, with the place of each change.

use std::sync::Arc;
use std::time::Duration;

use pgwire_replication::{ReplicationClient, ReplicationEvent};

use super::pgoutput::{Field, Message, decode};
use super::session::{Lsn, answered, identifier};
use super::{Dsn, Problem, Result, Table};

/// Between 1970, from which the house counts, and 2000, from which the server does.
const EPOCH_US: i64 = 946_684_800_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// not changed: it was there at the beginning
    Snapshot,
    Insert,
    Update,
    Delete,
}

impl Op {
    pub fn as_str(self) -> &'static str {
        match self {
            Op::Snapshot => "snapshot",
            Op::Insert => "insert",
            Op::Update => "update",
            Op::Delete => "delete",
        }
    }
}

/// A row as it is after a change, or was before a delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub columns: Arc<Vec<String>>,
    pub values: Vec<Field>,
    /// of the commit
    pub lsn: Lsn,
    pub time_us: i64,
    /// the how manieth change of its transaction, or row of the snapshot, it is, from 1 on
    pub number: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Captured {
    Change(Change),
    /// All changes before are those of whole transactions, and the next ones come behind this place.
    Commit(Lsn),
    /// All rows were removed at once.
    Truncate(Lsn),
}

impl Captured {
    fn size(&self) -> usize {
        let Captured::Change(change) = self else { return 0 };
        let size = |field: &Field| if let Field::Text(text) = field { text.len() } else { 0 };
        change.values.iter().map(size).sum()
    }
}

struct Transaction {
    lsn: Lsn,
    time_us: i64,
    changes: i64,
}

/// See the module.
pub struct Changes {
    client: ReplicationClient,
    table: u32,
    columns: Option<Arc<Vec<String>>>,
    transaction: Option<Transaction>,
    /// all that is before was given
    given: Lsn,
}

impl Changes {
    /// Reads a slot from a place on; up to `confirmed` the server may forget.
    pub async fn open(
        dsn: &Dsn,
        (slot, publication): (&str, &str),
        table: &Table,
        (from, confirmed): (Lsn, Lsn),
    ) -> Result<Changes> {
        let mut config = dsn.config();
        config.slot = slot.to_owned();
        config.publication = identifier(publication).into();
        let config = config.with_start_lsn(from.into()).with_ack_lsn(confirmed.into());
        let mut client = ReplicationClient::connect(config).await?;
        answered(client.wait_started()).await?;
        Ok(Changes { client, table: table.id, columns: None, transaction: None, given: confirmed.max(from) })
    }

    /// What comes in some time: no more than so many changes, or bytes of them but for the last.
    pub async fn next(&mut self, wait: Duration, most: usize, most_bytes: usize) -> Result<Vec<Captured>> {
        let (mut captured, mut bytes) = (Vec::new(), 0);
        let mut wait = wait;
        while captured.len() < most && bytes < most_bytes {
            let Ok(event) = tokio::time::timeout(wait, self.client.recv()).await else { break };
            let event = event?.ok_or_else(|| Problem::Away("the server has ended the connection".to_owned()))?;
            if let Some(next) = self.take(event)? {
                bytes += next.size();
                captured.push(next);
                // what is there already, and no more
                wait = Duration::from_millis(1);
            }
        }
        Ok(captured)
    }

    /// The place up to which everything was given by [`Changes::next`].
    pub fn given(&self) -> Lsn {
        self.given
    }

    /// Lets the server forget what is before a place.
    pub fn confirm(&self, lsn: Lsn) {
        self.client.update_applied_lsn(lsn.into());
    }

    fn take(&mut self, event: ReplicationEvent) -> Result<Option<Captured>> {
        Ok(match event {
            ReplicationEvent::Begin { final_lsn, commit_time_micros, .. } => {
                let time_us = commit_time_micros.saturating_add(EPOCH_US);
                self.transaction = Some(Transaction { lsn: final_lsn.as_u64(), time_us, changes: 0 });
                None
            }
            ReplicationEvent::Commit { end_lsn, .. } => {
                self.transaction = None;
                self.given = self.given.max(end_lsn.as_u64());
                Some(Captured::Commit(end_lsn.as_u64()))
            }
            ReplicationEvent::KeepAlive { wal_end, .. } => {
                if self.transaction.is_none() {
                    self.given = self.given.max(wal_end.as_u64());
                }
                None
            }
            ReplicationEvent::XLogData { data, .. } => self.message(decode(data)?)?,
            _ => None,
        })
    }

    fn message(&mut self, message: Message) -> Result<Option<Captured>> {
        let (relation, op, values) = match message {
            Message::Relation { id, columns } => {
                if id == self.table {
                    self.columns = Some(Arc::new(columns));
                }
                return Ok(None);
            }
            Message::Truncate { relations } => {
                let lsn = self.transaction.as_ref().map(|transaction| transaction.lsn);
                return Ok(lsn.filter(|_| relations.contains(&self.table)).map(Captured::Truncate));
            }
            Message::Other => return Ok(None),
            Message::Insert { relation, new } => (relation, Op::Insert, new),
            Message::Update { relation, old, new } => (relation, Op::Update, with_old(new, old)),
            Message::Delete { relation, old } => (relation, Op::Delete, old),
        };
        if relation != self.table {
            return Ok(None);
        }
        let out_of_order = || Problem::Failed("the server sent a change outside of a transaction".to_owned());
        let columns = self.columns.clone().ok_or_else(out_of_order)?;
        let transaction = self.transaction.as_mut().ok_or_else(out_of_order)?;
        transaction.changes += 1;
        let Transaction { lsn, time_us, changes } = *transaction;
        Ok(Some(Captured::Change(Change { op, columns, values, lsn, time_us, number: changes })))
    }
}

/// What is not sent again was in the row before, if that was sent whole.
fn with_old(new: Vec<Field>, old: Option<Vec<Field>>) -> Vec<Field> {
    let Some(old) = old else { return new };
    let value = |(new, old): (Field, Field)| match (new, old) {
        (Field::Unchanged, Field::Text(old)) => Field::Text(old),
        (new, _) => new,
    };
    new.into_iter().zip(old).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_sent_again_is_taken_from_before() {
        let text = |text: &'static str| Field::Text(text.into());
        let new = vec![text("a"), Field::Unchanged, Field::Unchanged, Field::Null];
        let old = vec![text("b"), text("c"), Field::Null, text("d")];
        let whole = with_old(new.clone(), Some(old));
        assert_eq!(whole, [text("a"), text("c"), Field::Unchanged, Field::Null]);
        assert_eq!(with_old(new.clone(), None), new);
    }
}
