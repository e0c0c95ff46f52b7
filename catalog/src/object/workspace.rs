//! A workspace (a database to a Postgres client) and the schemas inside it.

use serde::{Deserialize, Serialize};

use super::Header;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    pub header: Header,
    /// A live workspace materializes and serves; a development one computes on demand.
    pub live: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub header: Header,
}
