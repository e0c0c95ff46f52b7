//! An alert: a condition that is looked at again and again, and who is told while it holds. What it has found and told is
//! not here: that makes no versions of the catalog.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted, each};
use super::{Header, SealedText};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    pub header: Header,
    /// A boolean in SQL, or a query in parentheses.
    pub condition: String,
    /// How long it must hold before anybody is told.
    pub for_us: i64,
    pub severity: AlertSeverity,
    pub repeat: Option<AlertRepeat>,
    pub check_every_us: i64,
    pub actions: Vec<AlertAction>,
    /// It is not looked at by itself.
    #[serde(default)]
    pub paused: bool,
    /// What the condition reads.
    pub depends_on: Vec<ObjectId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    Info,
    #[default]
    Warning,
    Critical,
}

/// How often an alert that goes on is told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertRepeat {
    pub every_us: i64,
    /// None: as long as it goes on.
    pub at_most: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertAction {
    /// A request of HTTP.
    Webhook {
        url: SealedText,
        /// The URL as anybody may see it.
        shown: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        headers: Vec<(String, SealedText)>,
    },
    /// Addresses.
    Email { to: Vec<String> },
    /// Sessions that LISTEN to a channel.
    Notify { channel: String },
}

impl AlertSeverity {
    pub const fn as_str(self) -> &'static str {
        match self {
            AlertSeverity::Info => "info",
            AlertSeverity::Warning => "warning",
            AlertSeverity::Critical => "critical",
        }
    }
}

impl AlertAction {
    pub const fn as_str(&self) -> &'static str {
        match self {
            AlertAction::Webhook { .. } => "webhook",
            AlertAction::Email { .. } => "email",
            AlertAction::Notify { .. } => "notify",
        }
    }

    /// Whom it tells, as anybody may see it.
    pub fn target(&self) -> String {
        match self {
            AlertAction::Webhook { shown, .. } => shown.clone(),
            AlertAction::Email { to } => to.join(", "),
            AlertAction::Notify { channel } => channel.clone(),
        }
    }

    pub(crate) fn redact(&mut self) {
        if let AlertAction::Webhook { url, headers, .. } = self {
            *url = SealedText::redacted();
            headers.iter_mut().for_each(|(_, value)| *value = SealedText::redacted());
        }
    }
}

impl Alert {
    pub(crate) fn references(&self) -> Vec<Reference> {
        each(Wanted::Anything, &self.depends_on).collect()
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        self.depends_on.iter_mut().for_each(map);
    }
}
