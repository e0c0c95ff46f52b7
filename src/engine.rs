//! The query engine: DataFusion, made to know feature relations, and nothing of sessions or wires.
//!
//! `query` turns SQL into a plan, `tables` gives names a meaning, `relation` is a feature view as a table,
//! `point_in_time` the operator behind `FOR SYSTEM_TIME AS OF`, `rows` the view's own query.

mod activity;
mod arithmetic;
mod array_text;
mod catalog_query;
mod column_groups;
mod context;
mod drift;
mod error;
mod estimate;
mod event_program;
mod event_rows;
mod expiry;
mod explain;
mod folding;
mod freshness;
mod functions;
mod guarded;
mod joined_rows;
mod late;
mod leading_edge;
mod lineage;
mod literals;
mod logged;
mod made_up;
mod memory;
mod named_keys;
mod plans;
mod point_in_time;
mod profiled;
mod query;
mod readiness;
mod relation;
mod reshaped;
mod returned;
mod row_expression;
mod rows;
mod sealed;
mod serving;
mod settled;
mod tables;
mod threads;
mod tiles;
mod verify;
mod written;
mod yielding;

pub use activity::{Activity, ActivityEntry, ClientActivity};
pub use catalog_query::{
    CatalogQuery, PRINTED, SettingChange, as_declared, check_printed, converted, printed_value, sent_value, type_number,
};
pub use context::{Engine, EngineConfig};
pub use error::{convert, into_datafusion, placed};
pub use estimate::estimated_rows;
pub use event_program::EventProgram;
pub use event_rows::{
    EventForm, event_form, event_rows, event_rows_between, offset_of_arrival, rows_of_events, stream_of,
};
pub use expiry::{Expired, Expiry};
pub use explain::{ExplainOptions, explain, explain_lookup};
pub use folding::{Fold, Folded, folded, stored_states};
pub use freshness::{Freshness, alert_samples, samples};
pub use functions::sequence::{SessionSequences, sequence_named, with_sequence_name};
pub use functions::session::parse_name;
pub use joined_rows::{
    MadeOfCall, MadeRows, check_made_rows, few_at_once, made_rows, numbered, rows_as_made, with_made_rows,
};
pub use late::{LateRange, LateRows, Looked};
pub use leading_edge::{Edge, Moment, served_from_us};
pub use lineage::{Origin, Transformation, flat_lineage};
pub use logged::{log_differences, log_differences_schema, log_target, logs_requests};
pub use made_up::{MadeUp, own_columns};
pub use memory::HeldMemory;
pub use named_keys::named_keys;
pub use plans::{
    bind_parameters, cast_batches, constant_time, constant_values, insert_input, inserted, output_schema,
    parameter_oids, parameter_types, run, versions_read,
};
pub use point_in_time::RowGroups;
pub use profiled::{inspected, profiled_columns};
pub use query::{
    FromSource, GivenRelation, LabeledPlan, Labels, NameScope, Passed, Passing, QueryPlanner, ReadStores, RowChecks,
    called_relations, dataset_call, is_built_in, is_of_texts, max_length, schemas_of, table_reference, type_label,
};
pub use readiness::{Readiness, Ready};
pub use relation::{
    ARRIVAL, BoundView, Input, Interface, KNOWN_AT, RealtimeInput, RealtimeQuery, RowLayout, StorageChange,
    fingerprint_of, is_of_joined_view, next_storage, storage_kept_by_owner, time_type, view_of_table,
};
pub use returned::{OtherColumns, memory_table, qualified_columns, returned_rows, run_table};
pub use row_expression::RowExpression;
pub use rows::{
    BUCKET, RowsRequest, argument_type, check_names, count_rows, counted, has_rows_before, newest_arrival, query_plan,
    query_rows, rows_plan, sorted_stored_rows, stored_rows, stored_rows_after,
};
pub use serving::{AskedRow, ServedFeature, ServedRows, ServiceLookup, Serving, Shape, ValueRows, shown_name};
pub use settled::{Purpose, parameter_oid, rows_with_lists, with_lists};
pub use tables::events::{
    EventTails, OFFSET, ROWS, StreamRows, Tail, event_schema, events_table, from_offset, offsets_of, plain_events,
    rows_field, stream_of_table, taken_schema,
};
pub use tables::export::{ExportRequest, export};
pub use tables::figures::{Doing, StreamFigures};
pub use tables::files::{FileSourceRequest, bucket_error, check_time_type, infer_file_source, s3_store};
pub use tables::pending::{Staged, TableWrite};
pub use tables::reading::{DeadLetter, DeadLetters, PartitionFigures, Reading, ReadingState};
pub use tables::sinks::{SinkFigures, SinkState};
pub use tables::sources::{event_ids, events_between, first_offset_since, mirror_ids, newest_event_time};
pub use tables::stored::{
    KeyIndex, KeyIndexes, KeyValues, PLACE_FILE, PLACE_ROW, PlacedRows, Pruned, Reach, StoredRows, dataset_table,
    declared_columns, is_named_by_objects, keys_of, merged_rows, rows_in_order, sorted_rows, storage_of_table,
    table_id, tables_of,
};
pub use tables::system::names::columns as columns_of_relation;
pub use tables::system::{Samples, SessionFacts, ShownSetting, is_system_schema};
pub use tiles::tile_batches;
pub use verify::{Verification, differences_schema};
pub use written::WrittenRows;

pub use datafusion::datasource::TableProvider;
pub use datafusion::execution::SendableRecordBatchStream;
pub use datafusion::logical_expr::LogicalPlan;
