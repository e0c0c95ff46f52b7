//! THE aggregate algebra: the one implementation of every aggregate function and of every window rule.
//!
//! Point-in-time joins, materialization and the online store all call it, which is why they agree. It is pure: rows
//! and partial states of one entity come in, values go out. It must not know of tables, plans, stores or clocks.
//!
//! How the parts fit: a feature's function and input types give a [`PartialSpec`]; rows are folded into [`Partial`]
//! states, one a tile (or one a row for continuous windows); [`Timing`] says which of them an asked time sees;
//! [`evaluate_aggregates`] merges those and finishes each function. Attributes have no state, only a chosen row:
//! [`evaluate_attributes`].

mod arg_extreme;
mod arrow_state;
mod block;
mod codec;
mod distinct;
mod evaluate;
mod ewma;
mod exact_sum;
mod histogram;
mod history;
mod items;
mod levels;
mod lifetime;
mod moments;
mod ordered;
mod partial;
mod plan;
mod pyramid;
mod quantile;
mod sketch;
mod spec;
mod window;

#[cfg(test)]
mod tests;

pub use arrow_state::{states_from_arrays, states_to_arrays};
pub use block::{AskedBlock, BlockAnswers, ItemBlock, ItemForm, Run, evaluate_block};
pub use evaluate::{attributes_hold, empty_row, evaluate_aggregates, evaluate_attributes};
pub use history::change_times;
pub use items::{AggregateItems, RawRows, fold_level, fold_tiles, level_rows, raw_items, tile_rows};
pub use levels::{Stretch, item_levels, stretches, useful_levels};
pub use lifetime::LifetimeItems;
pub use moments::Moments;
pub use ordered::Order;
pub use partial::Partial;
pub use plan::{FeatureInput, FeaturePlan, OutputColumn, ViewPlan};
pub use quantile::{Place, float_of, ordinal};
pub use sketch::Sketch;
pub use spec::{PartialSpec, empty_value, is_list_valued, output_type};
pub use window::{Bounds, Timing, window_label};

pub use granary_catalog::object::{AggregateFunction, ViewKind, Window};
