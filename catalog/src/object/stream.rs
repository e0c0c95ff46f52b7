//! A stream: events as they happen, how they come in, and the historical mirror behind them.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Header, SealedText};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub header: Header,
    pub columns: Vec<Column>,
    pub timestamp: String,
    /// Columns that together tell an event apart; empty if every event counts.
    #[serde(default)]
    pub deduplicate_by: Vec<String>,
    pub ingest: StreamIngest,
    #[serde(default)]
    pub backfill: Option<Backfill>,
    /// No events come in.
    #[serde(default)]
    pub paused: bool,
    /// What the ingest needs besides the mirror, such as the secret of a connection.
    #[serde(default)]
    pub depends_on: Vec<ObjectId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamIngest {
    /// INSERT, COPY or HTTP.
    Push,
    Kafka {
        options: Vec<(String, String)>,
        /// Options that nobody is shown, such as passwords.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<(String, SealedText)>,
    },
    Postgres {
        /// A connection string.
        dsn: SealedText,
        /// None is one that the stream has for itself.
        publication: Option<String>,
        table: String,
    },
}

/// Rows before `until_us` come from `source`, rows from it on come from the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    pub source: ObjectId,
    pub until_us: i64,
}

impl Stream {
    pub(crate) fn references(&self) -> Vec<Reference> {
        let mirror = self.backfill.iter().map(|backfill| Reference { id: backfill.source, wanted: Wanted::Source });
        mirror.chain(each(Wanted::Anything, &self.depends_on)).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        if let Some(backfill) = &mut self.backfill {
            map(&mut backfill.source);
        }
        self.depends_on.iter_mut().for_each(map);
    }
}
