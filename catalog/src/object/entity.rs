//! An entity: the thing features describe, and the typed columns that identify it.

use serde::{Deserialize, Serialize};

use super::{Column, Header};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    pub header: Header,
    pub join_keys: Vec<Column>,
}
