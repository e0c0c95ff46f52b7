//! One statement of the language, whichever grammar it comes from. Each of our own is a file in `statement/`.

pub mod alter;
pub mod alter_sequence;
pub mod backup;
pub mod comment_on;
pub mod copy;
pub mod create_alert;
pub mod create_api_key;
pub mod create_dataset;
pub mod create_entity;
pub mod create_expectation;
pub mod create_feature_service;
pub mod create_feature_table;
pub mod create_feature_view;
pub mod create_function;
pub mod create_realtime_feature_view;
pub mod create_secret;
pub mod create_sink;
pub mod create_source;
pub mod create_stream;
pub mod create_test;
pub mod create_workspace;
pub mod drop;
pub mod explain;
pub mod fetch;
pub mod job;
pub mod optimize;
pub mod prepare;
pub mod refresh;
pub mod replay;
pub mod role_membership;
pub mod show_create;
pub mod utility;
pub mod vacuum;
pub mod verify;

use std::fmt::{self, Display};

use sqlparser::ast;

use crate::text::SqlText;

pub use alter::{Alter, AlterAction};
pub use alter_sequence::{AlterSequence, SequenceChange};
pub use backup::Backup;
pub use comment_on::{CommentOn, CommentTarget};
pub use copy::{Copy, CopyOption, CopySource, CopyTarget, CopyValue};
pub use create_alert::{AlertAction, AlertSeverity, CheckAlert, CreateAlert, Repeat};
pub use create_api_key::CreateApiKey;
pub use create_dataset::CreateDataset;
pub use create_entity::CreateEntity;
pub use create_expectation::{CreateExpectation, OnFailure, Severity};
pub use create_feature_service::{CreateFeatureService, KeyRename, ServiceMember};
pub use create_feature_table::CreateFeatureTable;
pub use create_feature_view::CreateFeatureView;
pub use create_function::{CreateFunction, FunctionArgument, FunctionBody, Volatility};
pub use create_realtime_feature_view::CreateRealtimeFeatureView;
pub use create_secret::CreateSecret;
pub use create_sink::{CreateSink, SinkTarget};
pub use create_source::{CreateSource, FileFormat, SourceOrigin};
pub use create_stream::{CreateStream, StreamOrigin};
pub use create_test::{CreateTest, Expected, GivenRows};
pub use create_workspace::{CreateWorkspace, WorkspaceMode};
pub use drop::Drop;
pub use explain::{Explain, ExplainFormat};
pub use fetch::{Close, Declare, Direction, Fetch};
pub use job::{CancelJob, RetryJob, WaitForJob};
pub use optimize::{Optimize, StoredKind};
pub use prepare::{Execute, Prepare};
pub use refresh::{Refresh, RefreshStores};
pub use replay::{Replay, ReplayStart};
pub use role_membership::{GrantRole, RevokeRole};
pub use show_create::ShowCreate;
pub use utility::Utility;
pub use vacuum::{Vacuum, VacuumOption};
pub use verify::Verify;

#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    CreateEntity(CreateEntity),
    CreateSource(CreateSource),
    CreateStream(CreateStream),
    CreateSink(CreateSink),
    CreateExpectation(CreateExpectation),
    CreateAlert(CreateAlert),
    CreateFeatureView(CreateFeatureView),
    CreateFeatureTable(CreateFeatureTable),
    CreateRealtimeFeatureView(CreateRealtimeFeatureView),
    CreateFeatureService(CreateFeatureService),
    CreateWorkspace(CreateWorkspace),
    CreateDataset(CreateDataset),
    CreateSecret(CreateSecret),
    CreateApiKey(CreateApiKey),
    CreateFunction(CreateFunction),
    CreateTest(CreateTest),
    Refresh(Refresh),
    Replay(Replay),
    Optimize(Optimize),
    Vacuum(Vacuum),
    Backup(Backup),
    Verify(Verify),
    CheckAlert(CheckAlert),
    CancelJob(CancelJob),
    RetryJob(RetryJob),
    WaitForJob(WaitForJob),
    Drop(Drop),
    Alter(Alter),
    AlterSequence(AlterSequence),
    CommentOn(CommentOn),
    Copy(Copy),
    Declare(Declare),
    Fetch(Fetch),
    Close(Close),
    Prepare(Prepare),
    Execute(Execute),
    ShowCreate(ShowCreate),
    Explain(Explain),
    GrantRole(GrantRole),
    RevokeRole(RevokeRole),
    /// What PostgreSQL has and sqlparser does not.
    Utility(Utility),
    /// A query that only reads.
    Query(SqlText<Box<ast::Query>>),
    /// Everything that sqlparser reads as PostgreSQL's.
    Postgres(SqlText<Box<ast::Statement>>),
}

impl Display for Statement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statement::CreateEntity(statement) => statement.fmt(formatter),
            Statement::CreateSource(statement) => statement.fmt(formatter),
            Statement::CreateStream(statement) => statement.fmt(formatter),
            Statement::CreateSink(statement) => statement.fmt(formatter),
            Statement::CreateExpectation(statement) => statement.fmt(formatter),
            Statement::CreateAlert(statement) => statement.fmt(formatter),
            Statement::CreateFeatureView(statement) => statement.fmt(formatter),
            Statement::CreateFeatureTable(statement) => statement.fmt(formatter),
            Statement::CreateRealtimeFeatureView(statement) => statement.fmt(formatter),
            Statement::CreateFeatureService(statement) => statement.fmt(formatter),
            Statement::CreateWorkspace(statement) => statement.fmt(formatter),
            Statement::CreateDataset(statement) => statement.fmt(formatter),
            Statement::CreateSecret(statement) => statement.fmt(formatter),
            Statement::CreateApiKey(statement) => statement.fmt(formatter),
            Statement::CreateFunction(statement) => statement.fmt(formatter),
            Statement::CreateTest(statement) => statement.fmt(formatter),
            Statement::Refresh(statement) => statement.fmt(formatter),
            Statement::Replay(statement) => statement.fmt(formatter),
            Statement::Optimize(statement) => statement.fmt(formatter),
            Statement::Vacuum(statement) => statement.fmt(formatter),
            Statement::Backup(statement) => statement.fmt(formatter),
            Statement::Verify(statement) => statement.fmt(formatter),
            Statement::CheckAlert(statement) => statement.fmt(formatter),
            Statement::CancelJob(statement) => statement.fmt(formatter),
            Statement::RetryJob(statement) => statement.fmt(formatter),
            Statement::WaitForJob(statement) => statement.fmt(formatter),
            Statement::Drop(statement) => statement.fmt(formatter),
            Statement::Alter(statement) => statement.fmt(formatter),
            Statement::AlterSequence(statement) => statement.fmt(formatter),
            Statement::CommentOn(statement) => statement.fmt(formatter),
            Statement::Copy(statement) => statement.fmt(formatter),
            Statement::Declare(statement) => statement.fmt(formatter),
            Statement::Fetch(statement) => statement.fmt(formatter),
            Statement::Close(statement) => statement.fmt(formatter),
            Statement::Prepare(statement) => statement.fmt(formatter),
            Statement::Execute(statement) => statement.fmt(formatter),
            Statement::ShowCreate(statement) => statement.fmt(formatter),
            Statement::Explain(statement) => statement.fmt(formatter),
            Statement::GrantRole(statement) => statement.fmt(formatter),
            Statement::RevokeRole(statement) => statement.fmt(formatter),
            Statement::Utility(statement) => statement.fmt(formatter),
            Statement::Query(statement) => statement.fmt(formatter),
            Statement::Postgres(statement) => statement.fmt(formatter),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Parses a text, compares its print, and parses that again.
    #[track_caller]
    pub(crate) fn check(text: &str, printed: &str) {
        let parsed = crate::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(parsed.len(), 1, "{text}");
        assert_eq!(parsed[0].statement.to_string(), printed);
        let again = crate::parse(printed).unwrap_or_else(|error| panic!("{printed}: {error:?}"));
        assert_eq!(again[0].statement, parsed[0].statement);
    }

    #[track_caller]
    pub(crate) fn check_error(text: &str, message: &str, position: usize) {
        let error = crate::parse(text).expect_err(text);
        assert_eq!((error.message.as_str(), error.position), (message, Some(position)), "{error:?}");
    }
}
