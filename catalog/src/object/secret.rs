//! A secret of a workspace, such as a connection string that sources name as `secret:<name>`.

use serde::{Deserialize, Serialize};

use super::{Header, SealedText};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    pub header: Header,
    pub value: SealedText,
}
