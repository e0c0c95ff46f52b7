//! A workspace (a database to a Postgres client) and the schemas inside it.

use serde::{Deserialize, Serialize};

use super::Header;
use crate::id::PlanId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workspace {
    pub header: Header,
    /// A live workspace materializes and serves; a development one computes on demand.
    pub live: bool,
    /// The plan that was applied to it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_plan: Option<PlanId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    pub header: Header,
}
