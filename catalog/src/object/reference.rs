//! A reference from one object to another, and what kind of object it must lead to.

use super::ObjectKind;
use crate::id::ObjectId;

/// One object needs another: the other cannot be dropped alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) id: ObjectId,
    pub(crate) wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Anything,
    Entity,
    Source,
    /// Something that has features: a feature view, a feature table or a realtime view.
    Features,
    Role,
    Function,
}

impl Wanted {
    pub(crate) fn admits(self, kind: ObjectKind) -> bool {
        match self {
            Wanted::Anything => true,
            Wanted::Entity => kind == ObjectKind::Entity,
            Wanted::Source => kind == ObjectKind::Source,
            Wanted::Features => {
                matches!(kind, ObjectKind::FeatureView | ObjectKind::FeatureTable | ObjectKind::RealtimeView)
            }
            Wanted::Role => kind == ObjectKind::Role,
            Wanted::Function => kind == ObjectKind::Function,
        }
    }

    pub(crate) fn describe(self) -> &'static str {
        match self {
            Wanted::Anything => "object",
            Wanted::Entity => "entity",
            Wanted::Source => "source",
            Wanted::Features => "feature view",
            Wanted::Role => "role",
            Wanted::Function => "function",
        }
    }
}

pub(crate) fn each(wanted: Wanted, ids: &[ObjectId]) -> impl Iterator<Item = Reference> + '_ {
    ids.iter().map(move |&id| Reference { id, wanted })
}
