//! The history of the catalog: one entry per commit, with who, when, what was asked and what was done.

use serde::{Deserialize, Serialize};

use crate::change::{Author, Change};
use crate::id::{ObjectId, Version};
use crate::object::ObjectKind;

/// One commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub version: Version,
    pub author: Author,
    /// What was asked, with secret texts blanked.
    pub changes: Vec<Change>,
    /// What was done, in order: also what a cascade dropped and what a role's rename touched.
    pub effects: Vec<Effect>,
    /// The next free id after the commit.
    pub(crate) next_id: ObjectId,
}

impl Entry {
    pub fn touches(&self, id: ObjectId) -> bool {
        self.effects.iter().any(|effect| effect.id == id)
    }
}

/// What happened to one object. The name is the one it had after the change, or last had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    pub id: ObjectId,
    pub kind: ObjectKind,
    pub name: String,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    Created,
    Replaced,
    Altered,
    Renamed,
    Dropped,
}

impl Action {
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::Created => "created",
            Action::Replaced => "replaced",
            Action::Altered => "altered",
            Action::Renamed => "renamed",
            Action::Dropped => "dropped",
        }
    }
}

/// Which commits to tell about. The default is all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Only versions after this one.
    pub after: Version,
    /// Only versions up to this one.
    pub until: Version,
    /// Only commits that touched this object.
    pub object: Option<ObjectId>,
    pub limit: usize,
}

impl Default for HistoryFilter {
    fn default() -> HistoryFilter {
        HistoryFilter { after: Version::ZERO, until: Version(u64::MAX), object: None, limit: usize::MAX }
    }
}
