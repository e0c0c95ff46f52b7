//! Text that must not show up in logs: secrets, password verifiers, key digests.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text whose `Debug` form hides it. Read it with [`SealedText::expose`].
///
/// It is stored as given: who needs it encrypted at rest hands over the ciphertext.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedText(String);

impl SealedText {
    pub fn new(text: impl Into<String>) -> SealedText {
        SealedText(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the history keeps in place of the text.
    pub(crate) fn redacted() -> SealedText {
        SealedText(String::new())
    }
}

impl fmt::Debug for SealedText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealedText(…)")
    }
}
