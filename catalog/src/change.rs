//! The one way to change a catalog: a list of edits, and who makes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ObjectId;
use crate::object::{Grant, Object};

/// One edit. A list of them is applied in order, all or nothing.
///
/// Objects that the list makes are numbered by the caller from [`Snapshot::next_id`](crate::Snapshot::next_id) of the
/// snapshot it works on, so that later edits of the list can refer to them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "lists of changes are short, and most of them are Put")]
pub enum Change {
    /// Makes the object, or replaces the one with its id, name included.
    Put(Object),
    Drop {
        id: ObjectId,
        /// Also drops whatever depends on it or lives in it; otherwise such objects make the drop fail.
        cascade: bool,
    },
    /// Gives the object another name. Texts that mention the old one are the caller's to follow up, with `Reword`.
    Rename {
        id: ObjectId,
        to: String,
    },
    /// Says the same in other words, because a name in the text changed: the object's revision stays.
    Reword {
        id: ObjectId,
        statement: String,
        /// The new text of the query, for objects that are defined by one.
        query: Option<String>,
    },
    SetComment {
        id: ObjectId,
        comment: Option<String>,
    },
    SetOwner {
        id: ObjectId,
        owner: String,
    },
    SetTags {
        id: ObjectId,
        tags: BTreeMap<String, String>,
    },
    SetOptions {
        id: ObjectId,
        options: Vec<(String, String)>,
    },
    SetPreventDestroy {
        id: ObjectId,
        prevent_destroy: bool,
    },
    /// All grants of the object, in order.
    SetGrants {
        id: ObjectId,
        grants: Option<Vec<Grant>>,
    },
}

impl Change {
    /// `Put` of any kind of object.
    pub fn put(object: impl Into<Object>) -> Change {
        Change::Put(object.into())
    }

    /// The object the change is about.
    pub fn id(&self) -> ObjectId {
        match self {
            Change::Put(object) => object.id(),
            Change::Drop { id, .. }
            | Change::Rename { id, .. }
            | Change::Reword { id, .. }
            | Change::SetComment { id, .. }
            | Change::SetOwner { id, .. }
            | Change::SetTags { id, .. }
            | Change::SetOptions { id, .. }
            | Change::SetPreventDestroy { id, .. }
            | Change::SetGrants { id, .. } => *id,
        }
    }

    /// Shows every id in the change to `map`, which may change it.
    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        match self {
            Change::Put(object) => object.remap(map),
            Change::Drop { id, .. }
            | Change::Rename { id, .. }
            | Change::Reword { id, .. }
            | Change::SetComment { id, .. }
            | Change::SetOwner { id, .. }
            | Change::SetTags { id, .. }
            | Change::SetOptions { id, .. }
            | Change::SetPreventDestroy { id, .. } => map(id),
            Change::SetGrants { id, grants } => {
                map(id);
                grants.iter_mut().flatten().filter_map(|grant| grant.grantee.as_mut()).for_each(map);
            }
        }
    }

    /// The change without secret texts, as the history keeps it.
    pub(crate) fn redacted(&self) -> Change {
        match self {
            Change::Put(object) => Change::Put(object.redacted()),
            other => other.clone(),
        }
    }
}

/// Who makes a commit or asks for a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    pub role: String,
    /// Wall time in microseconds, from the caller's clock.
    pub at_us: i64,
    /// The statement's text. It is kept for ever, so the caller leaves passwords and secrets out of it.
    pub statement: String,
}
