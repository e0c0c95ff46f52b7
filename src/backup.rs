//! Backups of a whole data folder, taken while the server works, in a folder or an object store; and what is made of them.
//!
//! * **Consistent**: everything in a backup is of one moment ([`cut`]), as if the server had been killed then. A server on
//!   a restored folder begins as it does after a crash.
//! * **Whole or not there**: a backup is its manifest, and that is written last. A restored folder gets its name last.
//! * **Only what is new is copied**: files of the offline store never change, so those that an earlier backup has are
//!   named by the manifest, and stay where they are.
//! * **Checked**: the manifest has a checksum of each file, and one of itself.

mod cut;
mod manifest;
mod restore;
mod take;
mod target;

pub use manifest::Manifest;
pub use restore::{Checked, restore, verify};
pub use take::{Taken, take};
pub use target::Target;
