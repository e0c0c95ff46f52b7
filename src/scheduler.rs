//! The scheduler: jobs are made when periods are complete, and begun in order.
//!
//! What is to be done is found anew each time (`due`), from the ledger and the catalog; which of it is done now `queue`
//! decides. Neither knows a clock or a store. `driver` is what has both. `maintenance` looks from time to time what would
//! do the stores good.

mod driver;
mod due;
mod late;
mod maintenance;
mod queue;
mod steady;

pub use driver::run;
pub use due::{OwedJob, ScheduledView};
pub use maintenance::keep;
pub use queue::{Limits, Turns, next_attempt_us, next_jobs, wait_us};
pub use steady::SteadyTime;
