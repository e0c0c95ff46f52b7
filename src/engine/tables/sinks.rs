//! What is known of sinks, for those who look: how far each is, and why it is no further.

use std::sync::PoisonError;

use granary_catalog::ObjectId;

use super::events::EventTails;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SinkState {
    /// not connected yet
    #[default]
    Connecting,
    Sending,
    /// the brokers do not answer; they are asked again and again
    Reconnecting,
    /// something must be done about the last error; it is tried again and again
    Failing,
}

impl SinkState {
    pub fn as_str(self) -> &'static str {
        match self {
            SinkState::Connecting => "connecting",
            SinkState::Sending => "sending",
            SinkState::Reconnecting => "reconnecting",
            SinkState::Failing => "failing",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct SinkFigures {
    pub state: SinkState,
    /// Behind the last event, of the view's stream, whose messages brokers have acknowledged.
    pub position: Option<u64>,
    /// that were acknowledged since the sink began here
    pub messages: u64,
    /// until all is well again
    pub last_error: Option<(i64, String)>,
}

impl EventTails {
    pub fn sink(&self, sink: ObjectId) -> Option<SinkFigures> {
        self.3.lock().unwrap_or_else(PoisonError::into_inner).get(&sink.0).cloned()
    }

    pub fn note_sink(&self, sink: ObjectId, change: impl FnOnce(&mut SinkFigures)) {
        change(self.3.lock().unwrap_or_else(PoisonError::into_inner).entry(sink.0).or_default());
    }

    pub fn close_sink(&self, sink: ObjectId) {
        self.3.lock().unwrap_or_else(PoisonError::into_inner).remove(&sink.0);
    }
}
