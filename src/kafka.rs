//! Topics of Kafka: what a stream says of one (`options`), its messages (`topic`), and Avro in them (`avro`); what goes into
//! one (`sender`).
//!
//! The one owner of librdkafka. Which offsets are read is decided by who asks; nothing is committed to a group. Knows
//! neither catalog nor stores.

mod avro;
mod client;
mod options;
mod sender;
mod topic;

pub use avro::AvroRows;
pub use client::is_secret;
pub use options::{Format, Options, Start};
pub use sender::{Sender, SinkOptions};
pub use topic::{Message, Problem, Topic};
