//! A sink: where the changed feature values of a view go.

use serde::{Deserialize, Serialize};

use super::reference::{Reference, Wanted};
use super::{Header, SealedText};
use crate::id::ObjectId;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sink {
    pub header: Header,
    pub view: ObjectId,
    pub target: SinkTarget,
    /// The stream that the view read when the sink was made.
    pub stream: ObjectId,
    /// The offset, in this stream, of the first event that it is told of.
    pub from_offset: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkTarget {
    Kafka {
        options: Vec<(String, String)>,
        /// Options that nobody is shown, such as passwords.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        secrets: Vec<(String, SealedText)>,
    },
}

impl Sink {
    pub(crate) fn references(&self) -> Vec<Reference> {
        vec![Reference { id: self.view, wanted: Wanted::Features }]
    }

    pub(crate) fn remap(&mut self, map: &mut dyn FnMut(&mut ObjectId)) {
        map(&mut self.view);
        map(&mut self.stream);
    }
}
