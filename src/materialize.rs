//! One range of one feature view, from its query into both stores, as a job that the ledger records.
//! `job` is the frame that all jobs have, `quality` what it says of its rows before they count.
//!
//! The order is what makes a job safe to kill and to run again: the offline table changes in one commit, the online
//! rows are read back from it and written with fixed keys, and only then does the ledger say that the range is done.
//!
//! `feature_table` brings rows into both stores that users write, `forget` takes those of some keys out of them, and
//! `expire` those out of the online store that nobody can see any more.

mod expectation;
mod expire;
mod feature_table;
mod fill;
mod forget;
mod job;
mod join_groups;
mod online;
mod quality;
mod range;
mod reach_back;
mod run;
mod spans;

pub use expectation::Condition;
pub use expire::expire;
pub use feature_table::{after_change, append, catch_up};
pub use forget::{Forgetting, forget};
pub use job::{Wait, attempt, cancelled, log, run_job};
pub use join_groups::{Joining, join_groups};
pub use quality::figures_text;
pub use range::{RangeRequest, ResolvedRange, resolve_range};
pub use reach_back::reach_back;
pub use run::{Materialization, groups_to_note, register, run, run_again, work_of};
