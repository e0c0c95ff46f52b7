//! A typed column: of a source, a stream, a table, or a join key.

use arrow_schema::DataType;
use serde::{Deserialize, Serialize};

use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
    /// the most characters that a text may have
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u64>,
    /// PostgreSQL's name of the type that it was declared as, where Arrow has none of its own for it: `uuid`, `jsonb`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    /// what it has where nothing is said
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ColumnDefault>,
    /// what COMMENT ON COLUMN has said of it
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What a column has where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefault {
    /// An expression.
    pub text: String,
    /// Whose next number it is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<ObjectId>,
    /// GENERATED … AS IDENTITY.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identity {
    /// Nobody may say another value.
    Always,
    ByDefault,
}

impl Column {
    pub fn new(name: impl Into<String>, data_type: DataType, nullable: bool) -> Column {
        Column {
            name: name.into(),
            data_type,
            nullable,
            max_length: None,
            declared: None,
            default: None,
            comment: None,
        }
    }
}
