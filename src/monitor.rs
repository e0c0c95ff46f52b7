//! Data quality: what the rows of a run are like, kept as figures and as sketches that merge.
//!
//! A [`Profiler`] takes in rows as they pass; its states depend on the rows alone, not on their order or batches (but for
//! rounding, and for which rare values an inexact count keeps). [`drift()`] compares two profiles, [`MonitorStore`] keeps
//! them. Knows arrays and numbers of views; neither catalog nor queries. One of the few modules that may use `redb`.

mod column;
mod distinct;
mod drift;
mod exact;
mod frequencies;
mod numbers;
mod profile;
mod record;
mod store;
mod values;

pub use column::{Body, ColumnProfile};
pub use drift::{Drift, drift};
pub use profile::{Piece, Profiled, Profiler, RowsProfile, Shape};
pub use record::{ColumnFigures, ExpectationResult, QUANTILES, RunRecord, TOP_VALUES};
pub use store::{KEPT_DAYS, MonitorStore};
pub use values::Class;
