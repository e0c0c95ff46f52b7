//! SQL functions that DataFusion lacks or has under another name, and those that only our own plans call.

mod bucket;
mod safe_divide;
pub mod session;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;

pub use bucket::bucket_expr;

/// Adds those that users may call.
pub fn register(builder: &mut SessionStateBuilder) {
    let random = datafusion::functions::string::uuid().as_ref().clone().with_aliases(["gen_random_uuid"]);
    let functions = [safe_divide::safe_divide(), random];
    let known: &mut Option<Vec<Arc<ScalarUDF>>> = builder.scalar_functions();
    known.get_or_insert_default().extend(functions.map(Arc::new));
}
