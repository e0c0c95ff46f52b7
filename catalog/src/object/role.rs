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
    /// Row policies do not hold for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bypass_rls: bool,
    #[serde(default)]
    pub scram_verifier: Option<SealedText>,
    /// Dropping one of these roles ends the membership; it does not drop this role.
    #[serde(default)]
    pub member_of: Vec<ObjectId>,
    /// Those of `member_of` that this role may grant on.
    #[serde(default)]
    pub admin_of: Vec<ObjectId>,
    /// Roles of the server that are always there; none of them is an object.
    #[serde(default)]
    pub predefined: Vec<PredefinedRole>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredefinedRole {
    ReadServerFiles,
    WriteServerFiles,
}

impl PredefinedRole {
    pub const ALL: [PredefinedRole; 2] = [PredefinedRole::ReadServerFiles, PredefinedRole::WriteServerFiles];

    /// Its name, as PostgreSQL has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            PredefinedRole::ReadServerFiles => "pg_read_server_files",
            PredefinedRole::WriteServerFiles => "pg_write_server_files",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    pub header: Header,
    pub role: ObjectId,
    /// A digest of the key. The key itself is shown once and not kept.
    pub digest: SealedText,
    /// How the key begins: enough to find it by, and for people to tell keys apart.
    #[serde(default)]
    pub prefix: String,
    /// Wall time in microseconds.
    #[serde(default)]
    pub created_at_us: i64,
}

impl Role {
    /// One that may do nothing yet, not even log in.
    pub fn new(header: Header) -> Role {
        Role {
            header,
            superuser: false,
            login: false,
            bypass_rls: false,
            scram_verifier: None,
            member_of: Vec::new(),
            admin_of: Vec::new(),
            predefined: Vec::new(),
        }
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.member_of.iter_mut().chain(&mut self.admin_of).for_each(map);
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
