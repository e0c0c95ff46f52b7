//! What is asked: one file per object or verb. Each turns a parsed statement and a snapshot into changes of the
//! catalog, a plan of rows, a write or a job; `execute` is the one place that makes them happen.

mod alter;
mod api_key;
mod comment;
mod context;
mod copy;
mod dataset;
mod drop;
mod entity;
mod execute;
mod explain;
mod feature_service;
mod feature_table;
mod feature_view;
mod forget;
mod function;
mod grant;
mod optimize;
mod realtime_view;
mod refresh;
mod replay;
mod rights;
mod role;
mod select;
mod show;
mod sink;
mod source;
mod stored;
mod stream;
mod table;
mod types;
mod vacuum;
mod verify;
mod view;
mod workspace;

pub use api_key::schema as api_key_schema;
pub use context::{StatementContext, Writing};
pub use copy::{CopyForm, CopyFormat, CopyIn, copy_rows};
pub use execute::{BatchStream, Parameters, Response, RowsTag, after_commit, execute, insert_few};
pub use explain::explain_schema;
pub use forget::{forgets, plan_forget};
pub use select::plan_labeled;
pub use sink::sink_options;
pub use stream::{COMMIT_TIME, LSN, OP, topic_options};
pub use table::{Call, CallRows, CallStream, Fault, Faults, LeftOut, Target, gather};
pub use table::{
    constant_insert, feature_table, few_events, is_stored, plan_insert, schema_of, schema_of_table, stream_of_events,
    table_of,
};
pub use verify::verify_schema;
