//! SQL functions that DataFusion lacks or has under another name, and those that only our own plans call.

mod bucket;

use datafusion::execution::SessionStateBuilder;

pub use bucket::bucket_expr;

/// Adds those that users may call.
pub fn register(_builder: &mut SessionStateBuilder) {}
