//! The point-in-time join: exactly one row for every row of the spine, with the features of its key as of its time.
//!
//! `rule` finds joins with a feature relation and turns them into the one `node`; `planner` makes it executable;
//! `exec` runs it over rows of the past, `lookup` over the online store; `answer` turns a view's rows into values.

mod answer;
mod blocks;
mod collect;
mod exec;
mod gather;
mod history;
mod keys;
mod lookup;
mod materialized;
mod node;
mod planner;
mod row_groups;
mod row_store;
mod rule;
mod share;

pub use answer::Wanted;
pub use materialized::check_materialized;
pub use planner::{PointInTimePlanner, scan, single_partition};
pub use row_groups::RowGroups;
pub use rule::PointInTimeRule;
