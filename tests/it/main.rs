//! Tests that look inside: laws against a brute force, crashes, and the tidiness of the tree.

mod asking;
mod backup;
mod crash;
mod groups;
mod groups_crash;
mod item_spans;
mod joined_crash;
mod kafka;
mod laws;
mod oracle;
#[path = "../support/postgres.rs"]
mod postgres;
mod postgres_capture;
mod quality_crash;
mod random;
#[path = "../support/ready.rs"]
mod ready;
mod replay;
mod rows;
mod rows_crash;
mod scheduler;
mod scheduler_crash;
mod services;
mod sinks;
mod spans;
mod storage;
mod stream_crash;
mod stream_repeats;
mod streams;
mod table_crash;
mod tables;
mod tidy;
mod world;
