//! What is asked: one file per object or verb. Each turns a parsed statement and a snapshot into changes of the
//! catalog, a plan of rows, a write or a job; `execute` is the one place that makes them happen.

mod alter;
mod alter_table;
mod api_key;
mod changing;
mod comment;
mod context;
mod copy;
mod dataset;
mod delete;
mod drop;
mod entity;
mod execute;
mod explain;
mod feature_service;
mod feature_table;
mod feature_view;
mod follow;
mod forget;
mod function;
mod grant;
mod index;
mod lock;
mod materialized_view;
mod optimize;
mod policy;
mod realtime_view;
mod refresh;
mod replay;
mod returning;
mod rights;
mod role;
mod select;
mod sequence;
mod show;
mod sink;
mod source;
mod stored;
mod stream;
mod table;
mod truncate;
mod types;
mod update;
mod vacuum;
mod verify;
mod view;
mod with;
mod workspace;

pub use api_key::schema as api_key_schema;
pub use context::{Isolation, StatementContext, Writing};
pub use copy::{CopyForm, CopyFormat, CopyIn, CopyOut, Header, NullFields, copy_rows};
pub use delete::plan as plan_delete;
pub use execute::{
    BatchStream, Parameters, Response, RowsTag, after_commit, catalog_query, execute, insert_few, writing_word,
};
pub use explain::explain_schema;
pub use forget::{forgets, plan_forget};
pub use select::{plan_labeled, plan_query};
pub use sink::sink_options;
pub use stream::{COMMIT_TIME, LSN, OP, topic_options};
pub use table::{Call, CallRows, CallStream, Fault, Faults, LeftOut, Target, gather};
pub use table::{constant_insert, few_events, object_of_rows, plan_insert, plan_returning_insert, schema_of};
pub use update::plan as plan_update;
pub use verify::verify_schema;
pub use with::{Divided, divided};
