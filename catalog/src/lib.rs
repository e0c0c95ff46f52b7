//! The registry of a feature warehouse: named, versioned objects with stable ids and dependencies, atomic durable
//! commits, their history, and the ledger of background jobs. All of it in one redb file.
//!
//! It knows no SQL (texts are kept, never parsed), no query engine, no clock and no network, and everything in it is
//! synchronous. [`Catalog`] owns the file, [`Snapshot`] is what readers see, [`Change`] is the only way to edit.

mod audit;
mod catalog;
mod change;
mod collection;
mod dependency;
mod diff;
mod error;
mod id;
mod ledger;
mod migrate;
pub mod object;
mod plans;
mod record;
mod sequences;
mod snapshot;
mod store;
#[cfg(test)]
mod testing;

pub use audit::{Action, Effect, Entry, HistoryFilter};
pub use catalog::{Catalog, Step};
pub use change::{Author, Change};
pub use diff::diff;
pub use error::{Error, ObjectName};
pub use id::{JobId, ObjectId, PlanId, Version};
pub use ledger::{
    DatasetWork, FoldedSpans, ForgetWork, Gap, GroupId, Interval, IntervalSet, Job, JobAttempt, JobError, JobFilter,
    JobLog, JobState, JobTrigger, JobWork, Ledger, LogLevel, MaintenanceTask, MaintenanceWork, NewJob, OptimizeWork,
    Outcome, RefreshWork, StoreKind,
};
pub use object::{
    AggregateFunction, Alert, AlertAction, AlertRepeat, AlertSeverity, ApiKey, Backfill, Column, ColumnDefault,
    ColumnGroup, Constraint, ConstraintKind, Dataset, DatasetInput, DatasetVersion, Definition, Entity, Expectation,
    Feature, FeatureDefinition, FeatureService, FeatureTable, FeatureView, FileFormat, Function, FunctionArgument,
    Grant, Header, Home, Identity, Index, LeadingEdge, Materialized, NameSpace, Object, ObjectKind, OnCommit,
    OnFailure, Policy, PolicyCommand, PolicyExpression, PolicyRead, PredefinedRole, Privilege, Reach, RealtimeView,
    RelativeSpan, Role, RowSecurity, Schema, SealedText, Secret, Sequence, SequenceState, SeriesWindows, ServiceMember,
    Severity, Sink, SinkTarget, Source, SourceDefinition, StoredColumn, StoredValue, Stream, StreamIngest, Table, Test,
    Trigger, View, ViewKind, ViewStorage, Volatility, Window, Workspace,
};
pub use plans::{ChangedProperty, NewPlan, Plan, PlanAction, PlanFile, PlannedChange, Plans};
pub use record::{Record, RecordKind, Records};
pub use sequences::Sequences;
pub use snapshot::Snapshot;
pub use store::Image;
