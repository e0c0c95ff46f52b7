//! Row policies: which rows of a table who may see and write. What their expressions say is not known here.

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;

/// Whether policies hold for a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSecurity {
    pub enabled: bool,
    /// For the table's owner, too.
    #[serde(default)]
    pub forced: bool,
}

impl RowSecurity {
    pub(crate) fn is_off(&self) -> bool {
        *self == RowSecurity::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// One name a table.
    pub name: String,
    /// One that permits is enough; of those that restrict all must hold.
    pub permissive: bool,
    pub command: PolicyCommand,
    /// Empty: everybody, PUBLIC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<ObjectId>,
    /// Which rows there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub using: Option<PolicyExpression>,
    /// Which rows may come; where it is not said, those that USING says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<PolicyExpression>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The statements that a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyCommand {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

impl PolicyCommand {
    pub const fn as_str(self) -> &'static str {
        match self {
            PolicyCommand::All => "ALL",
            PolicyCommand::Select => "SELECT",
            PolicyCommand::Insert => "INSERT",
            PolicyCommand::Update => "UPDATE",
            PolicyCommand::Delete => "DELETE",
        }
    }
}

/// A condition, and what its names meant when it was made: one that has come to mean something else does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyExpression {
    /// Names of relations in it have their schema.
    pub text: String,
    /// The table's columns that it names, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// The relations that it reads, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<PolicyRead>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRead {
    pub relation: ObjectId,
    /// In order.
    pub columns: Vec<String>,
}

impl Policy {
    pub fn expressions(&self) -> impl Iterator<Item = &PolicyExpression> {
        self.using.iter().chain(&self.check)
    }

    pub fn expressions_mut(&mut self) -> impl Iterator<Item = &mut PolicyExpression> {
        self.using.iter_mut().chain(&mut self.check)
    }

    /// Whether it reads a relation beside its table.
    pub fn reads(&self, relation: ObjectId) -> bool {
        self.expressions().any(|expression| expression.reads.iter().any(|read| read.relation == relation))
    }

    pub fn names_column(&self, column: &str) -> bool {
        self.expressions().any(|expression| expression.columns.iter().any(|own| own == column))
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.roles.iter_mut().for_each(&mut *map);
        let reads = self.expressions_mut().flat_map(|expression| &mut expression.reads);
        reads.for_each(|read| map(&mut read.relation));
    }
}
