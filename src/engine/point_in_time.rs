//! The point-in-time join: exactly one row for every row of the spine, with the features of its key as of its time.
//!
//! `rule` finds joins with a feature relation and turns them into the one `node`; `planner` makes it executable;
//! `join` runs it over sorted rows, `lookup` over the online store; `answer` turns one key's rows into values.

mod answer;
mod history;
mod join;
mod lookup;
mod node;
mod planner;
mod row_groups;
mod rule;

pub use answer::Wanted;
pub use planner::{PointInTimePlanner, scan};
pub use row_groups::RowGroups;
pub use rule::PointInTimeRule;
