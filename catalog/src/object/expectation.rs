//! An expectation: what a run of a feature view must be like, and what becomes of it if it is not.

use serde::{Deserialize, Serialize};

use super::Header;
use super::reference::{Reference, Wanted};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    pub header: Header,
    pub view: ObjectId,
    /// A condition over the figures of a run, in SQL.
    pub check: String,
    pub severity: Severity,
    pub on_failure: OnFailure,
}

/// How bad a failure is, for who looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    #[default]
    Warning,
    Error,
}

/// What a failure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// it is told
    #[default]
    Warn,
    /// the run ends as failed, before any of its rows counts
    Hold,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl OnFailure {
    pub const fn as_str(self) -> &'static str {
        match self {
            OnFailure::Warn => "warn",
            OnFailure::Hold => "hold",
        }
    }
}

impl Expectation {
    pub(crate) fn references(&self) -> Vec<Reference> {
        vec![Reference { id: self.view, wanted: Wanted::Features }]
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        map(&mut self.view);
    }
}
