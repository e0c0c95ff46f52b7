//! A feature view as the engine sees it: its columns, the plan of its aggregates, and the layout of its stored rows.
//! [`FeatureRelation`] is the same as a table of DataFusion: read as of now, or as of a time that the query binds.

//! [`CompositeRelation`] is several of them as one: a feature service or a realtime view.

mod bindings;
mod bound_view;
mod columns;
mod composite;
mod groups;
mod interface;
mod query_change;
mod realtime;
mod storage_change;
mod table;

pub use bindings::{Bindings, binding, column_of};
pub use bound_view::{
    ARRIVAL, BoundView, Input, InputSql, KNOWN_AT, RowLayout, TILE, is_of_joined_view, time_type, view_of_table,
};
pub use composite::{CompositeRelation, Place};
pub use interface::Interface;
pub use realtime::{
    Input as RealtimeInput, RealtimeQuery, check_called_in_place, request_column, time_column as request_time_column,
};
pub use storage_change::{StorageChange, fingerprint_of, next_storage, storage_kept_by_owner};
pub use table::{ChosenRows, FeatureRelation, ReadMode, RowsOrigin, in_layout, is_on_demand, materialized};

/// System column: when the row that answered took effect.
pub const EFFECTIVE_TIME: &str = "_effective_time";
/// System column: `PRESENT` or `MISSING_DATA`.
pub const STATUS: &str = "_status";
/// In a history: when a row begins to be the answer, inclusive.
pub const VALID_FROM: &str = "_valid_from";
/// In a history: when it ends to be, exclusive.
pub const VALID_TO: &str = "_valid_to";
