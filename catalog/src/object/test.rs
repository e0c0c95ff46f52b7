//! A test: what definitions are to make of rows that are made up. Its statement says all of it; it keeps nothing from
//! being dropped, since it names what it reads and is run by whoever asks.

use serde::{Deserialize, Serialize};

use super::Header;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Test {
    pub header: Header,
}
