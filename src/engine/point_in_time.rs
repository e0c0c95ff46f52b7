//! The point-in-time join: exactly one row for every row of the spine, with the features of its key as of its time.
//!
//! `rule` finds joins with a feature relation and turns them into the one `node`; `planner` makes it executable;
//! `exec` runs it over rows of the past, `lookup` over the online store; `answer` turns a view's rows into values.

mod answer;
mod blocks;
mod collect;
mod cursor;
mod exec;
mod gather;
mod history;
mod item_spans;
mod kept;
mod keys;
mod lifetime;
mod lookup;
mod matching;
mod materialized;
mod node;
mod part;
mod parts;
mod planner;
mod row_groups;
mod row_states;
mod row_store;
mod rule;
mod share;
mod spans;
mod spill_sort;
mod stored;

pub use answer::{MISSING, PRESENT, Wanted};
pub use lookup::{Cell, Found, Lookup, StoredRows};
pub use materialized::check_materialized;
pub use node::{RelationRead, read_over};
pub use planner::{MAX_CONSTANT_KEYS, PointInTimePlanner, scan, single_partition};
pub use row_groups::RowGroups;
pub use rule::PointInTimeRule;
pub use share::{columns_of, replace_columns};
