//! A batch source: where historical rows come from.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Column, Header};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub header: Header,
    pub definition: SourceDefinition,
    pub columns: Vec<Column>,
    /// The column that holds the event time, if the rows have one.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// How long after their event time rows may still arrive.
    #[serde(default)]
    pub data_delay_us: i64,
    #[serde(default)]
    pub depends_on: Vec<ObjectId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceDefinition {
    Files {
        format: FileFormat,
        paths: Vec<String>,
        /// The statement listed the columns; otherwise they were read from the files.
        declared: bool,
        #[serde(default)]
        format_options: Vec<(String, String)>,
    },
    Query {
        sql: String,
    },
    Postgres {
        /// A connection string, or `secret:<name>`.
        dsn: String,
        table: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    Parquet,
    Csv,
    Json,
    Delta,
}

impl Source {
    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Anything, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
