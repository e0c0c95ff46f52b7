//! Who asks: one client's settings, transaction and prepared statements. [`Session::execute`] is the whole pipeline:
//! text → statement → plan → response; read it and you know the way of every statement.

mod cursors;
mod describe;
mod ingest;
mod isolation;
mod jobs;
mod listening;
mod parameters;
mod prepared;
mod serve;
mod settings;
mod temporary;
mod transaction;
mod variables;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use granary_catalog::{ObjectId, Role, Workspace};
use granary_postgres::datetime::Zone;
use granary_sql::{Parsed, Statement, without_secrets};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::access::Asker;
use crate::audit::Actor;
use crate::engine::{ActivityEntry, ClientActivity, SessionFacts, SessionSequences};
use crate::error::{Error, Kind, Result};
use crate::metrics::{self, Phase};
use crate::row::Value;
use crate::statement::{self, Parameters, StatementContext};
use crate::trace::{self, Parent, PhaseRows};
use crate::warehouse::{Listener, Warehouse};

pub use crate::statement::Submission;
pub use crate::statement::{
    BatchStream, CallRows, CallStream, CopyForm, CopyFormat, CopyIn, CopyOut, Fault, Faults, Header, LeftOut,
    NullFields, Response, RowsTag, Target,
};
pub use crate::warehouse::Notification;
pub use ingest::{IngestCall, Push};
pub use jobs::JobsCall;
pub use transaction::TransactionStatus;

use cursors::Cursors;
use describe::describe;
pub use describe::{DeclaredTypes, Description};
use serve::PreparedLookup;
use settings::Settings;
use transaction::{Temporary, Transaction};

/// A value for `$n`, in a type of its own.
pub type Parameter = (DataType, Option<Value>);

/// A statement that is parsed and described. It is planned again for every execution, since names and the time of
/// "now" may have changed.
#[derive(Debug, Clone)]
pub struct Prepared(Arc<PreparedInner>);

#[derive(Debug)]
struct PreparedInner {
    parsed: Option<Arc<Parsed>>,
    text: Arc<str>,
    /// without passwords and the like
    shown: Arc<str>,
    description: Description,
    /// if it has the form of a lookup
    lookup: Option<PreparedLookup>,
}

impl Prepared {
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    pub fn is_empty(&self) -> bool {
        self.0.parsed.is_none()
    }
}

/// A message beside the answer.
#[derive(Debug)]
pub struct Notice {
    /// `NOTICE` or `WARNING`
    pub severity: &'static str,
    pub error: Error,
}

/// What the client has done to its prepared statements by SQL.
#[derive(Debug, Clone)]
pub enum NamedChange {
    Prepared(String, Prepared),
    Deallocated(String),
    DeallocatedAll,
}

/// Who connects, and to what.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub database: String,
    /// settings given with the connection
    pub options: Vec<(String, String)>,
    pub process_id: i32,
    pub peer: SocketAddr,
    /// cancelled by who ends the connection
    pub ended: CancellationToken,
}

/// One client's connection.
pub struct Session {
    warehouse: Arc<Warehouse>,
    user: String,
    database: String,
    workspace: ObjectId,
    process_id: i32,
    client: String,
    settings: Settings,
    transaction: Transaction,
    notices: Vec<Notice>,
    cursors: Cursors,
    /// by name, whether prepared by SQL or by a message
    prepared: HashMap<String, Prepared>,
    named_changes: Vec<NamedChange>,
    activity: ActivityEntry,
    /// objects that only this session sees
    temporary: Temporary,
    sequences: Arc<SessionSequences>,
    /// once it has listened to a channel
    listener: Option<Listener>,
    /// when what was executed last has to have ended
    running_until: Option<tokio::time::Instant>,
    /// of spans: what the last text of statements says of itself
    parent: Option<Parent>,
}

impl Session {
    /// Errors: `InvalidCatalogName` (3D000) if there is no such workspace, `InvalidAuthorization` for a role that may
    /// not log in.
    pub async fn start(warehouse: Arc<Warehouse>, login: Login) -> Result<Session> {
        let snapshot = warehouse.catalog.snapshot();
        let role: &Role = snapshot.role(&login.user).filter(|role| role.login).ok_or_else(|| {
            Error::new(Kind::InvalidAuthorization, format!("role \"{}\" is not permitted to log in", login.user))
        })?;
        let workspace: &Workspace = snapshot.workspace(&login.database).ok_or_else(|| {
            Error::new(Kind::InvalidCatalogName, format!("database \"{}\" does not exist", login.database))
                .with_hint("a database is a workspace: \\l lists them, CREATE WORKSPACE makes one")
        })?;
        if let Some(object) = snapshot.get(workspace.header.id) {
            Asker::role(&login.user).access(&snapshot).check_connect(object)?;
        }
        let mut settings = Settings::default();
        settings.force("is_superuser", if role.superuser { "on" } else { "off" });
        settings.force("scheduler", if warehouse.schedules { "on" } else { "off" });
        settings.force("session_authorization", &login.user);
        for (name, value) in &login.options {
            // What a client asks for at the start must not keep it out: an unknown name is an error in PostgreSQL too.
            settings.set(name, value)?;
        }
        settings.take_changed();
        let now_us = warehouse.clock.now_us();
        let client = login.peer.ip().to_string();
        let activity = warehouse.activity.enter(
            login.process_id,
            ClientActivity {
                workspace: workspace.header.id,
                database: login.database.clone(),
                user: login.user.clone(),
                client: client.clone(),
                application_name: settings.application_name().to_owned(),
                state: "idle",
                query: "".into(),
                connected_us: now_us,
                query_start_us: None,
                state_change_us: now_us,
                running: None,
                ended: login.ended,
            },
        );
        Ok(Session {
            user: login.user,
            database: login.database,
            workspace: workspace.header.id,
            process_id: login.process_id,
            client,
            settings,
            transaction: Transaction::default(),
            notices: Vec::new(),
            cursors: Cursors::default(),
            prepared: HashMap::new(),
            named_changes: Vec::new(),
            activity,
            temporary: Vec::new(),
            sequences: Arc::default(),
            listener: None,
            running_until: None,
            parent: None,
            warehouse,
        })
    }

    /// The zone of times that say none, and in which they are shown.
    pub fn zone(&self) -> Zone {
        self.settings.zone()
    }

    /// What the client is told after its log-in.
    pub fn parameter_statuses(&self) -> Vec<(String, String)> {
        self.settings.reported()
    }

    pub fn take_changed_parameters(&mut self) -> Vec<(String, String)> {
        self.settings.take_changed()
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub fn take_named_changes(&mut self) -> Vec<NamedChange> {
        std::mem::take(&mut self.named_changes)
    }

    pub fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// The client gets all that it asked for: `pg_stat_activity` shows it waiting.
    pub fn rest(&self) {
        let state = match self.transaction.status() {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InTransaction => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
        self.activity.rest(state, self.settings.application_name(), self.warehouse.clock.now_us());
    }

    /// The statements of a text. More than one make up an implicit transaction.
    pub fn split(&mut self, sql: &str) -> Result<Vec<Parsed>> {
        // what is between statements is of none of them
        self.parent = if trace::is_on() { Parent::of_comment(sql) } else { None };
        let pieces = trace::phase_at_once(Phase::Parse, || granary_sql::parse(sql))?;
        if pieces.len() > 1 {
            self.transaction.begin_implicit();
        }
        Ok(pieces)
    }

    /// Describes a statement that is the whole text of a message.
    pub fn prepare_parsed(&mut self, parsed: Parsed) -> BoxFuture<'_, Result<Prepared>> {
        async move {
            let text: Arc<str> = parsed.text.as_str().into();
            let shown = self.begin(&text);
            let described =
                self.describe_statement((text, Arc::clone(&shown)), Some(parsed), DeclaredTypes::none()).await;
            self.audited(&shown, described).await
        }
        .boxed()
    }

    // Futures of statements are large, and every frame up to the connection's would hold them: they are on the heap.

    /// Parses and describes one statement. Errors: `Syntax` for several.
    pub fn prepare<'a>(&'a mut self, sql: &'a str, declared: &'a DeclaredTypes) -> BoxFuture<'a, Result<Prepared>> {
        self.prepare_statement(sql, declared).boxed()
    }

    async fn prepare_statement(&mut self, sql: &str, declared: &DeclaredTypes) -> Result<Prepared> {
        self.parent = None;
        let text: Arc<str> = sql.into();
        let shown = self.begin(&text);
        let mut parsed = trace::phase_at_once(Phase::Parse, || granary_sql::parse(sql))?;
        if parsed.len() > 1 {
            return Err(Error::new(Kind::Syntax, "cannot insert multiple commands into a prepared statement"));
        }
        let described = self.describe_statement((text, Arc::clone(&shown)), parsed.pop(), declared).await;
        self.audited(&shown, described).await
    }

    /// Who the session is, for the audit log.
    fn actor(&self) -> Actor {
        Actor { role: self.user.clone(), database: self.database.clone(), client: self.client.clone() }
    }

    /// Notes a refusal before the client hears of it.
    async fn audited<T>(&self, shown: &str, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            self.warehouse.audit.refused(&self.actor(), Some(shown), error).await;
        }
        done
    }

    /// Notes that a statement is being read; gives its text without what is secret.
    fn begin(&self, text: &Arc<str>) -> Arc<str> {
        let shown = match without_secrets(text) {
            Cow::Borrowed(_) => Arc::clone(text),
            Cow::Owned(without) => without.into(),
        };
        self.activity.begin(&shown, self.warehouse.clock.now_us(), None);
        shown
    }

    async fn describe_statement(
        &mut self,
        (text, shown): (Arc<str>, Arc<str>),
        parsed: Option<Parsed>,
        declared: &DeclaredTypes,
    ) -> Result<Prepared> {
        let Some(parsed) = parsed.map(Arc::new) else {
            let description = Description::of(Vec::new(), None);
            return Ok(Prepared(Arc::new(PreparedInner { parsed: None, text, shown, description, lookup: None })));
        };
        self.check_not_failed(&parsed.statement)?;
        if let Some(description) = self.describe_named(&parsed.statement) {
            return Ok(Prepared(Arc::new(PreparedInner {
                parsed: Some(parsed),
                text,
                shown,
                description,
                lookup: None,
            })));
        }
        self.check_shown(&parsed.statement)?;
        let lookup = self.prepare_lookup(&parsed.statement, &text, &declared.types).await?;
        let description = match lookup.as_ref().and_then(PreparedLookup::description) {
            Some(description) => description,
            None => {
                let (context, types) = (self.context(&text), declared.clone());
                match &parsed.statement {
                    // what is planned is planned apart from the threads that listen to clients
                    Statement::Query(_) | Statement::Declare(_) | Statement::Postgres(_) => {
                        let statement = Arc::clone(&parsed);
                        let work =
                            async move { trace::phase(Phase::Describe, describe(context, &statement, &types)).await };
                        self.warehouse.engine.work(Box::pin(work)).await??
                    }
                    _ => describe(context, &parsed, &types).await?,
                }
            }
        };
        Ok(Prepared(Arc::new(PreparedInner { parsed: Some(parsed), text, shown, description, lookup })))
    }

    /// Carries out a prepared statement. Returns soon after `cancel` is cancelled, with `QueryCanceled`.
    pub async fn execute(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<Parameter>,
        cancel: &CancellationToken,
    ) -> Result<Response> {
        self.activity.begin(&prepared.0.shown, self.warehouse.clock.now_us(), Some(cancel));
        self.running_until = None;
        let span = trace::statement(&prepared.0.shown, &self.user, &self.database, self.parent);
        let found = span.in_scope(|| self.look_up_at_once(&prepared.0, &parameters));
        let executed = match found.transpose() {
            Some(found) => found,
            None => self.execute_statement(prepared, parameters, cancel.clone()).instrument(span.clone()).boxed().await,
        };
        trace::ended(&span, &executed);
        metrics::statement_ended(executed.is_ok());
        self.audited(&prepared.0.shown, executed).await
    }

    async fn execute_statement(
        &mut self,
        prepared: &Prepared,
        parameters: Vec<Parameter>,
        cancel: CancellationToken,
    ) -> Result<Response> {
        let Some(parsed) = &prepared.0.parsed else { return Ok(Response::Empty) };
        self.check_not_failed(&parsed.statement)?;
        match &parsed.statement {
            Statement::Declare(declare) => self.check_declare(declare)?,
            Statement::Fetch(fetch) => return self.fetch(fetch, &cancel).await,
            Statement::Close(close) => return self.close_named(close),
            Statement::Prepare(statement) => return self.prepare_named(statement).await,
            Statement::Execute(statement) => return self.execute_named(statement, &cancel).await,
            Statement::Explain(explain) if let Statement::Execute(statement) = &explain.statement.statement => {
                return self.explain_named(explain, statement, &cancel).await;
            }
            _ => {}
        }
        if let Some(response) = self.execute_own(&parsed.statement).await? {
            return Ok(response);
        }
        let outside = match &parsed.statement {
            Statement::Refresh(_) => Some("REFRESH FEATURE VIEW"),
            Statement::Replay(_) => Some("REPLAY STREAM"),
            Statement::CreateDataset(_) => Some("CREATE DATASET"),
            Statement::Optimize(_) => Some("OPTIMIZE"),
            Statement::Vacuum(_) => Some("VACUUM"),
            Statement::Backup(_) => Some("BACKUP"),
            Statement::Postgres(statement) => match statement.ast.as_ref() {
                ast::Statement::Delete(delete) if statement::forgets(&self.context(&prepared.0.text), delete) => {
                    Some("DELETE from a feature relation")
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(statement) = outside {
            self.leave_transaction(statement).await?;
        }
        if let Some(response) = self.look_up(&prepared.0, &parameters).await? {
            return Ok(response);
        }
        self.transaction.begin_statement(&self.warehouse, &self.temporary);
        self.check_read_only(&parsed.statement)?;
        let mut context = self.context(&prepared.0.text);
        // what a query reads is of one moment; a job reads what it has written
        if outside.is_none() && matches!(&parsed.statement, Statement::Query(_) | Statement::Postgres(_)) {
            let reads_now = || self.warehouse.offline.read_versions();
            context.read_versions.get_or_insert_with(reads_now);
        }
        let token = cancel.child_token();
        let deadline = self.deadline();
        self.running_until = deadline;
        let mut parameters = Parameters::of_values(parameters);
        parameters.oids.clone_from(&prepared.description().parameter_oids);
        if let Some(rows) = statement::few_events(&context, &parsed.statement, &parameters) {
            let inserted = statement::insert_few(&mut context, parsed, rows, &token);
            let response = stoppable(async { Ok(inserted.await) }, &cancel, &token, deadline).await?;
            self.notices.extend(notices_of(&mut context));
            let response = response?;
            self.keep(context).await?;
            return Ok(response);
        }
        // apart from the threads that listen to clients; boxed, since the futures of all statements are one large one
        let (statement, stop) = (Arc::clone(parsed), token.clone());
        let work = self.warehouse.engine.work(Box::pin(async move {
            let response = statement::execute(&mut context, &statement, &parameters, &stop).await;
            (context, response)
        }));
        let (mut context, response) = stoppable(work, &cancel, &token, deadline).await?;
        self.notices.extend(notices_of(&mut context));
        let response = response?;
        for change in std::mem::take(&mut context.setting_changes) {
            self.settings.set(&change.name, &change.value)?;
        }
        trace::phase(Phase::Commit, self.keep(context)).await?;
        let response = match response {
            Response::Rows { schema, rows, tag } => {
                Response::Rows { schema, rows: Box::pin(PhaseRows::new(Phase::Execute, rows)), tag }
            }
            Response::CopyOut(copy) => {
                let rows = Box::pin(PhaseRows::new(Phase::Execute, copy.rows));
                Response::CopyOut(CopyOut { rows, ..copy })
            }
            response => response,
        };
        Ok(match (response, deadline) {
            (Response::Rows { schema, rows, .. }, _) if let Statement::Declare(declare) = &parsed.statement => {
                self.open_cursor(declare, schema, rows)
            }
            (Response::Rows { schema, rows, tag }, Some(deadline)) => {
                Response::Rows { schema, rows: until(rows, deadline), tag }
            }
            (Response::CopyOut(copy), Some(deadline)) => {
                Response::CopyOut(CopyOut { rows: until(copy.rows, deadline), ..copy })
            }
            (response, _) => response,
        })
    }

    /// Takes the rows that [`Response::CopyIn`] asked for; gives the command tag. Nothing is kept of rows that end with an
    /// error. Returns soon after `cancel` is cancelled, with `QueryCanceled`.
    pub fn copy_in<'a>(
        &'a mut self,
        copy: CopyIn,
        rows: CallStream,
        cancel: CancellationToken,
    ) -> BoxFuture<'a, Result<String>> {
        let shown = without_secrets(&copy.text).into_owned();
        async move {
            let copied = self.copy_rows(copy, rows, cancel).boxed().await;
            self.audited(&shown, copied).await
        }
        .boxed()
    }

    async fn copy_rows(&mut self, copy: CopyIn, rows: CallStream, cancel: CancellationToken) -> Result<String> {
        let mut context = self.context(&copy.text);
        let token = cancel.child_token();
        let deadline = self.deadline();
        let stop = token.clone();
        let work = self.warehouse.engine.work(Box::pin(async move {
            let count = statement::copy_rows(&mut context, &copy, rows, &stop).await;
            (context, count)
        }));
        let (mut context, count) = stoppable(work, &cancel, &token, deadline).await?;
        self.notices.extend(notices_of(&mut context));
        let count = count?;
        self.keep(context).await?;
        Ok(format!("COPY {count}"))
    }

    /// When the rows of what was executed last have to be sent; the error of who is not ready then.
    pub fn running_until(&self) -> Option<(tokio::time::Instant, Error)> {
        self.running_until.map(|until| (until, canceled("canceling statement due to statement timeout")))
    }

    /// How long the client may be silent between statements, and what it is told then.
    pub fn idle_limit(&self) -> Option<(std::time::Duration, Error)> {
        let (setting, kind, name) = match self.transaction.status() {
            TransactionStatus::Idle => ("idle_session_timeout", Kind::IdleSessionTimeout, "idle-session"),
            _ => ("idle_in_transaction_session_timeout", Kind::IdleInTransactionTimeout, "idle-in-transaction"),
        };
        let limit_ms = self.settings.milliseconds_of(setting)?;
        let message = format!("terminating connection due to {name} timeout");
        Some((std::time::Duration::from_millis(limit_ms), Error::new(kind, message)))
    }

    /// When a statement that begins now has to have ended.
    fn deadline(&self) -> Option<tokio::time::Instant> {
        let timeout = self.settings.statement_timeout_ms().map(std::time::Duration::from_millis);
        timeout.map(|timeout| tokio::time::Instant::now() + timeout)
    }

    /// Makes way for a statement whose writes no ROLLBACK takes back: it cannot stand in a transaction block, and what came
    /// before it in the same message is committed.
    async fn leave_transaction(&mut self, statement: &str) -> Result<()> {
        if self.transaction.is_explicit() {
            let message = format!("{statement} cannot run inside a transaction block");
            return Err(Error::new(Kind::ActiveTransaction, message).with_hint("COMMIT first"));
        }
        let was_open = self.transaction.is_open();
        self.commit_transaction().await?;
        if was_open {
            self.transaction.begin_implicit();
        }
        Ok(())
    }

    /// Takes what a statement wants changed into the transaction, or commits it at once.
    async fn keep(&mut self, context: StatementContext) -> Result<()> {
        let StatementContext { scope, changes, writes, text, pending, .. } = context;
        // so that adding to it copies nothing
        drop(pending);
        if changes.is_empty() && writes.is_empty() {
            return Ok(());
        }
        // The history is kept for ever.
        self.transaction.add(&scope.snapshot, changes, writes, without_secrets(&text).into_owned())?;
        if self.transaction.is_open() {
            return Ok(());
        }
        self.commit_transaction().await
    }

    /// Commits what is open, and takes over what it leaves of temporary objects.
    async fn commit_transaction(&mut self) -> Result<()> {
        let wishes = self.transaction.take_wishes();
        let committed = self.transaction.commit(&self.warehouse, self.actor()).boxed().await?;
        temporary::take_over(self, committed).boxed().await?;
        self.fulfil(wishes);
        Ok(())
    }

    fn context(&self, text: &str) -> StatementContext {
        let search_path = self.settings.search_path(&self.user);
        let mut scope = self.warehouse.scope(self.workspace, search_path, Asker::role(&self.user));
        scope.process_id = self.process_id;
        if let Some(working) = self.transaction.working() {
            scope.snapshot = working;
        } else if !self.temporary.is_empty() {
            scope.snapshot = Arc::new(scope.snapshot.with_temporary(&self.temporary));
        }
        StatementContext {
            warehouse: Arc::clone(&self.warehouse),
            scope,
            role: self.user.clone(),
            now_us: self.transaction.now_us().unwrap_or_else(|| self.warehouse.clock.now_us()),
            from_source: self.settings.from_source(),
            text: text.to_owned(),
            changes: Vec::new(),
            writes: Vec::new(),
            pending: self.transaction.pending(),
            read_versions: self.transaction.read_versions(),
            locks: self.transaction.locks(&self.warehouse),
            isolation: self.transaction.isolation(),
            changed: self.transaction.changed(),
            notices: Vec::new(),
            setting_changes: Vec::new(),
            writing: self.settings.writing(),
            view_counts: Vec::new(),
            facts: self.facts(),
            with: None,
            redefined: Arc::default(),
            suppresses_recreates: false,
            given: Vec::new(),
        }
    }

    fn facts(&self) -> Arc<SessionFacts> {
        let settings = self.settings.clone();
        Arc::new(SessionFacts {
            user: self.user.clone(),
            database: self.database.clone(),
            process_id: self.process_id,
            client: self.client.clone(),
            settings: Arc::new(move || settings.all()),
            activity: Arc::clone(&self.warehouse.activity),
            expiry: Arc::clone(&self.warehouse.expiry),
            late: Arc::clone(&self.warehouse.late),
            alerts: Some(Arc::clone(&self.warehouse.alerts)),
            sequences: Arc::clone(&self.sequences),
            samples: self.warehouse.samples_reader(),
            zone: self.settings.zone(),
        })
    }

    fn check_not_failed(&self, statement: &Statement) -> Result<()> {
        if self.transaction.status() != TransactionStatus::Failed || transaction::ends_transaction(statement) {
            return Ok(());
        }
        Err(Error::new(
            Kind::InFailedTransaction,
            "current transaction is aborted, commands ignored until end of transaction block",
        ))
    }

    /// An error happened: an open transaction can only be rolled back now.
    pub fn fail_transaction(&mut self) {
        self.transaction.fail();
        if !self.transaction.is_open() {
            self.cursors.end_transaction(false);
        }
    }

    /// At Sync, or at the end of a simple query: nothing inside of BEGIN … COMMIT.
    pub async fn end_implicit_transaction(&mut self, commit: bool) -> Result<()> {
        if self.transaction.is_explicit() || !self.transaction.is_open() {
            return Ok(());
        }
        self.cursors.end_transaction(commit);
        if commit {
            return self.commit_transaction().await;
        }
        self.transaction.rollback();
        Ok(())
    }

    /// Rolls back what is open.
    pub async fn close(mut self) {
        self.transaction.rollback();
        temporary::drop_all(&mut self).boxed().await;
    }
}

fn canceled(message: &str) -> Error {
    Error::new(Kind::QueryCanceled, message)
}

/// Does the work unless it is cancelled, or its time is over; then `token` tells what it has begun.
async fn stoppable<T>(
    work: impl Future<Output = Result<T>>,
    cancel: &CancellationToken,
    token: &CancellationToken,
    deadline: Option<tokio::time::Instant>,
) -> Result<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(canceled("canceling statement due to user request")),
        () = wait(deadline) => {
            token.cancel();
            Err(canceled("canceling statement due to statement timeout"))
        }
        done = work => done,
    }
}

async fn wait(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn notices_of(context: &mut StatementContext) -> impl Iterator<Item = Notice> + use<> {
    std::mem::take(&mut context.notices).into_iter().map(|error| Notice { severity: "NOTICE", error })
}

/// The rows up to the statement's deadline, then its error.
fn until(rows: BatchStream, deadline: tokio::time::Instant) -> BatchStream {
    let timeout = canceled("canceling statement due to statement timeout");
    let sleep = Box::pin(tokio::time::sleep_until(deadline));
    let rows = futures::stream::unfold((rows, sleep, Some(timeout)), |(mut rows, mut sleep, timeout)| async move {
        let timeout = timeout?;
        tokio::select! {
            biased;
            () = sleep.as_mut() => Some((Err(timeout), (rows, sleep, None))),
            next = rows.next() => next.map(|batch| (batch, (rows, sleep, Some(timeout)))),
        }
    });
    Box::pin(rows)
}
