//! Who may connect: roles, and API keys that stand in for them.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted};
use super::{Header, SealedText};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub header: Header,
    pub superuser: bool,
    pub login: bool,
    #[serde(default)]
    pub scram_verifier: Option<SealedText>,
    /// Dropping one of these roles ends the membership; it does not drop this role.
    #[serde(default)]
    pub member_of: Vec<ObjectId>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub header: Header,
    pub role: ObjectId,
    /// A digest of the key. The key itself is shown once and not kept.
    pub digest: SealedText,
}

impl Role {
    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.member_of.iter_mut().for_each(map);
    }
}

impl ApiKey {
    pub(crate) fn references(&self) -> Vec<Reference> {
        vec![Reference { id: self.role, wanted: Wanted::Role }]
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        map(&mut self.role);
    }
}
