//! Topics of Kafka: what a stream says of one (`options`), its messages (`topic`), and Avro in them (`avro`).
//!
//! The one owner of librdkafka. Which offsets are read is decided by who asks; nothing is committed to a group. Knows
//! neither catalog nor stores.

mod avro;
mod options;
mod topic;

pub use avro::AvroRows;
pub use options::{Format, Options, Start, is_secret};
pub use topic::{Message, Problem, Topic};
