//! What every object has, whatever it is: id, name, home, owner, comment, tags, versions, and its SQL text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Grant;
use crate::id::{ObjectId, Version};

/// The part that all objects share.
///
/// `created`, `changed` and `revision` are written by [`Snapshot::apply`](crate::Snapshot::apply); what a caller
/// puts there is ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub id: ObjectId,
    /// Case is already folded as PostgreSQL does it.
    pub name: String,
    pub home: Home,
    /// A role's name, or any text that says whom to ask. Where it names a role it follows the role's renames.
    pub owner: String,
    #[serde(default)]
    pub comment: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// A drop, also a cascading one, is refused while this is set.
    #[serde(default)]
    pub prevent_destroy: bool,
    /// Who else may do what with it, in order and each once. `None`: nothing was ever granted or revoked, and its kind
    /// says what everybody may.
    #[serde(default)]
    pub grants: Option<Vec<Grant>>,
    /// The `WITH (…)` options as typed, in the order typed.
    #[serde(default)]
    pub options: Vec<(String, String)>,
    /// Canonical SQL text, for `SHOW CREATE`. Never parsed again by this crate.
    #[serde(default)]
    pub statement: String,
    /// The version that made the object.
    pub created: Version,
    /// The version that last touched the object in any way.
    pub changed: Version,
    /// Starts at 1 and grows when a replacement changes the definition. Names, comments, owners, tags and options
    /// do not count: stored feature values stay valid through those.
    pub revision: u64,
}

impl Header {
    /// A header with nothing optional set.
    pub fn new(id: ObjectId, home: Home, name: impl Into<String>, owner: impl Into<String>) -> Header {
        Header {
            id,
            name: name.into(),
            home,
            owner: owner.into(),
            comment: None,
            tags: BTreeMap::new(),
            prevent_destroy: false,
            grants: None,
            options: Vec::new(),
            statement: String::new(),
            created: Version::ZERO,
            changed: Version::ZERO,
            revision: 0,
        }
    }

    /// Whether anything is granted to this very role.
    pub fn grants_to(&self, role: ObjectId) -> bool {
        self.grants.iter().flatten().any(|grant| grant.grantee == Some(role))
    }

    pub fn with_statement(mut self, statement: impl Into<String>) -> Header {
        self.statement = statement.into();
        self
    }
}

/// Where an object lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Home {
    /// Workspaces, roles and API keys belong to the server as a whole.
    Server,
    /// Schemas and secrets belong to a workspace.
    Workspace(ObjectId),
    /// Entities and relations belong to a schema. Its workspace is written here too because it never changes
    /// and nearly every reader needs it.
    Schema { workspace: ObjectId, schema: ObjectId },
}

impl Home {
    pub fn workspace(self) -> Option<ObjectId> {
        match self {
            Home::Server => None,
            Home::Workspace(workspace) | Home::Schema { workspace, .. } => Some(workspace),
        }
    }

    pub fn schema(self) -> Option<ObjectId> {
        match self {
            Home::Server | Home::Workspace(_) => None,
            Home::Schema { schema, .. } => Some(schema),
        }
    }

    /// The object that directly contains this place.
    pub(crate) fn container(self) -> Option<ObjectId> {
        self.schema().or(self.workspace())
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        match self {
            Home::Server => {}
            Home::Workspace(workspace) => map(workspace),
            Home::Schema { workspace, schema } => {
                map(workspace);
                map(schema);
            }
        }
    }
}

/// The sets inside which names are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameSpace {
    Workspaces,
    Roles,
    ApiKeys,
    /// The schemas of one workspace.
    Schemas(ObjectId),
    /// The secrets of one workspace.
    Secrets(ObjectId),
    /// The entities of one schema.
    Entities(ObjectId),
    /// The relations of one schema: everything that can stand in a FROM.
    Relations(ObjectId),
    /// The functions of one schema: none is overloaded.
    Functions(ObjectId),
    /// The sinks of one schema.
    Sinks(ObjectId),
    /// The tests of one schema.
    Tests(ObjectId),
    /// The expectations of one schema.
    Expectations(ObjectId),
    /// The alerts of one schema.
    Alerts(ObjectId),
}
