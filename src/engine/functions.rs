//! SQL functions that DataFusion lacks or has under another name, and those that only our own plans call.

mod bucket;
mod privileges;
mod safe_divide;
pub mod sequence;
pub mod session;
mod sum;
pub mod template;
pub mod user;

use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub use bucket::bucket_expr;

/// Adds those that users may call.
pub fn register(builder: &mut SessionStateBuilder) {
    let random = datafusion::functions::string::uuid().as_ref().clone().with_aliases(["gen_random_uuid"]);
    let functions = [safe_divide::safe_divide(), random, template::render_template()];
    let known: &mut Option<Vec<Arc<ScalarUDF>>> = builder.scalar_functions();
    known.get_or_insert_default().extend(functions.map(Arc::new));
    let known: &mut Option<Vec<Arc<AggregateUDF>>> = builder.aggregate_functions();
    // The last of a name is the one that is called.
    known.get_or_insert_default().push(Arc::new(sum::sum()));
}
