//! What names in a FROM can mean besides feature relations: sources, stored tables, system views.

pub mod events;
pub mod export;
pub mod figures;
pub mod files;
pub mod pending;
pub mod reading;
pub mod sequence;
pub mod sinks;
pub mod sources;
pub mod stored;
pub mod system;
