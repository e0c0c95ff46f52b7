//! Rights on an object, each given to one role or to everybody.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;

/// One right, given once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// `None` is everybody, PUBLIC.
    pub grantee: Option<ObjectId>,
    pub privilege: Privilege,
    /// Only for this column of the relation; `None` is for all of it.
    #[serde(default)]
    pub column: Option<String>,
}

/// What a grant allows. Those from `Viewer` on are the predefined roles of a workspace: each is many rights in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    /// To name what is in a schema.
    Usage,
    /// To make relations and entities in a schema, schemas in a workspace.
    Create,
    Connect,
    /// To call a function.
    Execute,
    Viewer,
    Consumer,
    Operator,
    Editor,
    Owner,
}

impl Privilege {
    /// The predefined roles of a workspace.
    pub const WORKSPACE_ROLES: [Privilege; 5] =
        [Privilege::Owner, Privilege::Editor, Privilege::Operator, Privilege::Consumer, Privilege::Viewer];

    /// As GRANT says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Privilege::Select => "SELECT",
            Privilege::Insert => "INSERT",
            Privilege::Update => "UPDATE",
            Privilege::Delete => "DELETE",
            Privilege::Usage => "USAGE",
            Privilege::Create => "CREATE",
            Privilege::Connect => "CONNECT",
            Privilege::Execute => "EXECUTE",
            Privilege::Viewer => "viewer",
            Privilege::Consumer => "consumer",
            Privilege::Operator => "operator",
            Privilege::Editor => "editor",
            Privilege::Owner => "owner",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
