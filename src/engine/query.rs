//! From SQL text to a logical plan: names are looked up in the catalog, feature relations get their times, and
//! DataFusion's planner does the rest. The lookups may read the heads of files, so this part is async.

mod columns_read;
mod dataset_version;
mod distinct;
mod given;
mod labels;
mod lengths;
mod origins;
mod outline;
mod policies;
mod provider;
mod scope;
mod system_time;
mod table_function;
mod unqualified;
mod user_function;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::{TableProvider, ViewTable, provider_as_source};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::resolve::resolve_table_references;
use granary_catalog::{Catalog, Dataset, Object, ObjectId, ObjectKind, View};
use sqlparser::ast::{self, ObjectName, ObjectNamePart, Spanned, Visit, Visitor};

use super::error::{convert, placed};
use super::made_up::MadeUp;
use super::plans::output_schema;
use super::relation::{BoundView, CompositeRelation, FeatureRelation, ReadMode, check_called_in_place};
use super::rows::check_distinct;
use super::settled::{Purpose, Settled};
use super::{Engine, functions, tables};
use crate::access::{Asker, Readable};
use crate::error::{Error, Kind, Result};
use crate::monitor::MonitorStore;
use crate::offline::{OfflineStore, ReadVersions};
use crate::online::OnlineStore;
use crate::request_log::RequestLog;
use crate::row::{Value, type_name};

use columns_read::columns_read;
use provider::TableSources;
use tables::events::{EventTails, SeenEvents, StreamRows};
use tables::pending::TableWrite;
use tables::system::{SessionFacts, SystemContext};

use system_time::{ReadAt, Timed};

pub use dataset_version::dataset_call;
pub use given::GivenRelation;
pub use labels::{Labels, label_of, type_label};
pub use lengths::max_length;
pub(in crate::engine) use outline::{Outline, OutlineOf};
pub(in crate::engine) use policies::QueryReads;
pub use policies::{Passed, Passing, RowChecks, row_security_active, shown_expression};
pub use scope::{NameScope, schemas_of};
pub use system_time::{as_of_column, is_as_of_column};
pub use table_function::called_relations;
pub use user_function::is_built_in;

/// How deep views may stand on views, sources on sources.
const NESTING_LIMIT: usize = 64;

/// `SET from_source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FromSource {
    /// the store in a live workspace, the source in a development one
    #[default]
    Unset,
    On,
    Off,
}

/// A client's query as a plan.
pub struct LabeledPlan {
    pub plan: LogicalPlan,
    /// what its columns are to be called
    pub labels: Labels,
    /// in which type values of `$1`, `$2`, … are taken, and the OIDs of theirs, where it says so
    pub parameters: Option<Vec<(DataType, u32)>>,
}

/// Plans queries in one scope, at one time. Cheap to clone.
#[derive(Clone)]
pub struct QueryPlanner {
    pub engine: Arc<Engine>,
    pub catalog: Arc<Catalog>,
    pub offline: Arc<OfflineStore>,
    pub online: Arc<OnlineStore>,
    pub monitor: Arc<MonitorStore>,
    pub requests: Arc<RequestLog>,
    pub scope: NameScope,
    /// wall time of the statement, microseconds
    pub now_us: i64,
    pub from_source: FromSource,
    /// while a job runs: sources give only the rows of this range `[start, end)`
    pub source_range: Option<(i64, i64)>,
    /// rows that the open transaction has written, one entry a table
    pub pending: Arc<Vec<TableWrite>>,
    /// which state of the tables is read; None: the newest
    pub(in crate::engine) read_versions: Option<Arc<ReadVersions>>,
    /// what functions and system views are told of the session
    facts: Arc<SessionFacts>,
    /// relations of this statement alone, and their names in it
    given: Vec<GivenRelation>,
    /// types of $1, $2, … as far as the client has said them
    parameter_types: Vec<Option<DataType>>,
    /// their types and values; none while a statement is only described
    pub(super) parameter_values: Arc<[(DataType, Option<Value>)]>,
    /// of a stream: which of its rows its relation has
    pub(in crate::engine) stream_rows: StreamRows,
    pub(in crate::engine) tails: Arc<EventTails>,
    /// what the statement has found of the events of streams: every mention of one has the same
    pub(in crate::engine) seen_events: Arc<SeenEvents>,
    depth: usize,
    /// tables whose policies are being planned
    policing: Vec<ObjectId>,
    /// whether the rows are read FOR UPDATE or SHARE, and so have to be such as the asker might change
    locks_rows: bool,
    /// in a test: the rows of relations
    made_up: Option<Arc<MadeUp>>,
    /// relations have columns and no rows
    outlined: bool,
}

/// The parts of a warehouse that reading needs.
#[derive(Clone)]
pub struct ReadStores {
    pub engine: Arc<Engine>,
    pub catalog: Arc<Catalog>,
    pub offline: Arc<OfflineStore>,
    pub online: Arc<OnlineStore>,
    pub monitor: Arc<MonitorStore>,
    pub requests: Arc<RequestLog>,
    pub tails: Arc<EventTails>,
}

impl QueryPlanner {
    pub fn new(stores: ReadStores, scope: NameScope, now_us: i64) -> Self {
        let ReadStores { engine, catalog, offline, online, monitor, requests, tails } = stores;
        QueryPlanner {
            engine,
            catalog,
            offline,
            online,
            monitor,
            requests,
            scope,
            now_us,
            from_source: FromSource::Unset,
            source_range: None,
            pending: Arc::default(),
            read_versions: None,
            facts: Arc::default(),
            given: Vec::new(),
            parameter_types: Vec::new(),
            parameter_values: Arc::default(),
            stream_rows: StreamRows::All,
            tails,
            seen_events: Arc::default(),
            depth: 0,
            policing: Vec::new(),
            locks_rows: false,
            made_up: None,
            outlined: false,
        }
    }

    pub fn with_pending(mut self, pending: Arc<Vec<TableWrite>>) -> Self {
        self.pending = pending;
        self
    }

    pub fn with_read_versions(mut self, versions: Option<Arc<ReadVersions>>) -> Self {
        self.read_versions = versions;
        self
    }

    pub fn with_facts(mut self, facts: Arc<SessionFacts>) -> Self {
        self.facts = facts;
        self
    }

    pub fn system_context(&self) -> SystemContext {
        SystemContext {
            scope: self.scope.clone(),
            catalog: Arc::clone(&self.catalog),
            monitor: Arc::clone(&self.monitor),
            facts: Arc::clone(&self.facts),
            tails: Arc::clone(&self.tails),
            now_us: self.now_us,
            planner: Arc::new(self.clone()),
        }
    }

    /// `values` is empty while a statement is only described.
    pub fn with_parameters(mut self, types: Vec<Option<DataType>>, values: &[(DataType, Option<Value>)]) -> Self {
        self.parameter_types = types;
        self.parameter_values = values.into();
        self
    }

    pub fn with_from_source(mut self, from_source: FromSource) -> Self {
        self.from_source = from_source;
        self
    }

    pub fn with_stream_rows(mut self, stream_rows: StreamRows) -> Self {
        self.stream_rows = stream_rows;
        self
    }

    pub fn with_source_range(mut self, range: Option<(i64, i64)>) -> Self {
        self.source_range = range;
        self
    }

    /// The state that this planner's plans run in.
    pub fn state(&self) -> SessionState {
        self.engine.state(self.now_us)
    }

    /// The planner of what stands below: one level deeper, and in nobody's name.
    pub(in crate::engine) fn nested(&self) -> Result<QueryPlanner> {
        self.nested_for(Asker::Server)
    }

    /// The planner of a view's query.
    pub(in crate::engine) fn nested_view(&self, view: &View) -> Result<QueryPlanner> {
        let owner = || view.header.owner.as_str().into();
        let asker = match &self.scope.asker {
            asker if view.security_invoker => asker.clone(),
            Asker::Role(_) | Asker::Owner(_) => Asker::Owner(owner()),
            Asker::Server | Asker::Maker(_) => Asker::Maker(owner()),
        };
        let mut nested = self.nested_for(asker)?;
        nested.scope.mean(view.depends_on.clone());
        Ok(nested)
    }

    fn nested_for(&self, asker: Asker) -> Result<QueryPlanner> {
        if self.depth >= NESTING_LIMIT {
            return Err(Error::new(
                Kind::StatementTooComplex,
                format!("views and sources stand on each other more than {NESTING_LIMIT} deep"),
            ));
        }
        let mut nested = self.clone();
        nested.depth += 1;
        // The right on what stands above was checked; what it reads was, when it was defined.
        nested.scope.asker = asker;
        Ok(nested)
    }

    /// Plans a stored query text; its columns have the names that a client would see.
    pub async fn plan_query_text(&self, sql: &str) -> Result<LogicalPlan> {
        let mut parsed = granary_sql::parse(sql)?;
        match (parsed.pop(), parsed.is_empty()) {
            (Some(granary_sql::Parsed { statement: granary_sql::Statement::Query(query), .. }), true) => {
                let mut statement = ast::Statement::Query(query.ast);
                let labels = Labels::take(&mut statement);
                named(self.plan(statement, sql).await?, &labels)
            }
            _ => Err(Error::internal("a stored query is not one query").with_detail(sql)),
        }
    }

    /// Plans a client's query; its columns are to be shown under the labels. `declared`: OIDs of types of parameters.
    pub async fn plan_labeled(
        &self,
        mut statement: ast::Statement,
        declared: &[u32],
        text: &str,
    ) -> Result<LabeledPlan> {
        if let ast::Statement::Query(query) = &statement
            && !query.locks.is_empty()
            && !self.locks_rows
        {
            let locking = QueryPlanner { locks_rows: true, ..self.clone() };
            return Box::pin(locking.plan_labeled(statement, declared, text)).await;
        }
        if let ast::Statement::Query(query) = &statement
            && let Some(settled) = Box::pin(self.settled(query, declared, (text, Purpose::Answer))).await?
        {
            let Settled { plan, labels, parameters } = settled;
            return Ok(LabeledPlan { plan, labels, parameters: Some(parameters) });
        }
        let labels = Labels::take(&mut statement);
        let plan = self.plan(statement, text).await?;
        let origins = self.origins(&plan).into_iter().map(|origin| origin.map(told).unwrap_or_default());
        let labels = labels.with_origins(origins.collect());
        Ok(LabeledPlan { plan, labels, parameters: None })
    }

    /// For each output column of a query, the relation's column that it is.
    pub fn origins(&self, plan: &LogicalPlan) -> Vec<Option<(ObjectId, usize, granary_catalog::Column)>> {
        let object_of = |name: &TableReference| self.scope.relation(name).ok().flatten();
        let is_view = |name: &TableReference| object_of(name).is_some_and(|object| object.kind() == ObjectKind::View);
        let found = origins::origins(plan, &is_view).into_iter().map(|origin| {
            let (relation, name) = origin?;
            let object = object_of(&relation)?;
            let columns = tables::system::names::columns(&self.scope.snapshot, object);
            let place = columns.iter().position(|column| column.name == name)?;
            Some((object.id(), place, columns.into_iter().nth(place)?))
        });
        found.collect()
    }

    /// Plans a statement that DataFusion knows; `text` is what the positions of its errors count in.
    pub async fn plan(&self, mut statement: ast::Statement, text: &str) -> Result<LogicalPlan> {
        unqualified::rewrite(&mut statement);
        let calls = table_function::rewrite(&mut statement, text)?;
        let times = system_time::rewrite(&mut statement, &|name| self.timed(name))?;
        for relation in &times.relations {
            if let ReadAt::AsOf { time } = relation {
                self.check_time(time, "FOR SYSTEM_TIME AS OF", text)?;
            }
        }
        distinct::rewrite(&mut statement);
        lengths::rewrite(&mut statement);
        functions::template::rewrite(&mut statement, text)?;
        let mut state = self.state();
        functions::session::register_called(&statement, &mut state, || self.system_context());
        let calls_users = self.register_functions(&statement, &mut state, text)?;
        check_functions(&statement, &state, text)?;
        let references = {
            let statement = datafusion::sql::parser::Statement::Statement(Box::new(statement.clone()));
            resolve_table_references(&statement, true).map_err(|error| convert(error, Some(text)))?.0
        };
        let mut tables = HashMap::with_capacity(references.len());
        let access = self.scope.access();
        // relations of which the columns that are named decide whether they may be read
        let mut limited: Vec<(Arc<Object>, Arc<dyn TableSource>)> = Vec::new();
        for reference in references {
            // A function in FROM is listed like a relation.
            let is_function = reference.schema().is_none() && state.table_functions().contains_key(reference.table());
            if is_function && self.scope.read_relation(&reference)?.is_none() {
                continue;
            }
            let object = self.original(&reference, &times)?;
            let readable = match &object {
                Some(object) => access.readable(object)?,
                None => Readable::Everything,
            };
            // on the heap: what opens a table's log has a large state
            let source = match table_function::called(&calls, &reference) {
                Some(call) => Box::pin(call.source(self, text)).await?,
                None => {
                    Box::pin(self.resolve(&reference, &times)).await.map_err(|error| locate(error, &reference, text))?
                }
            };
            if let (Some(object), Readable::SomeColumns) = (object, readable) {
                limited.push((object, Arc::clone(&source)));
            }
            tables.insert(reference, source);
        }
        let provider = TableSources { state: &state, tables };
        let planner = SqlToRel::new_with_options(&provider, parser_options(&state));
        let types = table_function::with_types_of_times(&calls, self.parameter_types.clone());
        let types = parameter_fields(&types);
        let mut context = PlannerContext::new().with_prepare_param_data_types(types);
        let plan = planner
            .sql_statement_to_plan_with_context(statement, &mut context)
            .map_err(|error| convert(error, Some(text)))?;
        if calls_users {
            functions::user::check_calls(&plan)?;
        }
        for (object, source) in limited {
            if let Some(named) = columns_read(&plan, &source)? {
                self.scope.check_select(&object, named.iter().map(String::as_str))?;
            }
        }
        Ok(plan)
    }

    /// The catalog's object behind a relation of a rewritten statement, if there is one.
    fn original(&self, reference: &TableReference, times: &system_time::SystemTimes) -> Result<Option<Arc<Object>>> {
        if let Some((name, _)) = self.versioned(reference, times) {
            return Ok(self.scope.read_relation(&with_table(reference, name))?.cloned());
        }
        if tables::system::is_system_schema(reference.schema())
            || tables::system::named(&self.scope.search_path, reference).is_some()
        {
            return Ok(None);
        }
        Ok(self.scope.read_relation(reference)?.cloned())
    }

    /// The name and the number of a relation that has a time of its own.
    fn versioned<'r>(
        &self,
        reference: &'r TableReference,
        times: &system_time::SystemTimes,
    ) -> Option<(&'r str, usize)> {
        let versioned = system_time::split_versioned(reference.table());
        versioned.filter(|(_, number)| (1..=times.relations.len()).contains(number))
    }

    /// Plans one expression over the columns of `schema`.
    pub fn plan_expression(&self, expr: ast::Expr, schema: &DFSchema, text: &str) -> Result<Expr> {
        let mut expr = expr;
        lengths::rewrite(&mut expr);
        let mut state = self.state();
        functions::template::rewrite(&mut expr, text)?;
        functions::session::register_called(&expr, &mut state, || self.system_context());
        let calls_users = self.register_functions(&expr, &mut state, text)?;
        check_functions(&expr, &state, text)?;
        let provider = TableSources { state: &state, tables: HashMap::new() };
        let planned = SqlToRel::new_with_options(&provider, parser_options(&state))
            .sql_to_expr(
                expr,
                schema,
                &mut PlannerContext::new().with_prepare_param_data_types(self.parameter_fields()),
            )
            .map_err(|error| convert(error, Some(text)))?;
        if calls_users {
            functions::user::check_expr_calls(&planned, schema)?;
        }
        Ok(planned)
    }

    fn parameter_fields(&self) -> Vec<Option<FieldRef>> {
        parameter_fields(&self.parameter_types)
    }

    /// Refuses a constant argument of `what` that is no time. One that stands on columns gets its type with them, in
    /// the plan.
    fn check_time(&self, time: &ast::Expr, what: &str, text: &str) -> Result<()> {
        let schema = DFSchema::empty();
        let planned = self.plan_expression(time.clone(), &schema, text);
        let Some(data_type) = planned.ok().and_then(|planned| planned.get_type(&schema).ok()) else { return Ok(()) };
        let is_time = matches!(data_type, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64);
        if is_time || data_type.is_string() || data_type.is_null() {
            return Ok(());
        }
        let error = Error::new(
            Kind::DatatypeMismatch,
            format!("argument of {what} must be type timestamp with time zone, not type {}", type_name(&data_type)),
        )
        .with_hint("write a time, such as '2024-01-31 10:00' or now(), or name a column of times");
        Err(placed(error, text, time.span().start))
    }

    /// What a name stands for that may have a system time.
    fn timed(&self, name: &ObjectName) -> Result<Option<Timed>> {
        let Some(reference) = table_reference(name) else { return Ok(None) };
        if tables::system::is_system_schema(reference.schema())
            || tables::system::named(&self.scope.search_path, &reference).is_some()
        {
            return Ok(None);
        }
        Ok(self.scope.read_relation(&reference)?.and_then(|object| match object.kind() {
            ObjectKind::FeatureView
            | ObjectKind::FeatureTable
            | ObjectKind::FeatureService
            | ObjectKind::RealtimeView => Some(Timed::Feature),
            ObjectKind::Dataset => Some(Timed::Dataset),
            _ => None,
        }))
    }

    async fn resolve(
        &self,
        reference: &TableReference,
        times: &system_time::SystemTimes,
    ) -> Result<Arc<dyn TableSource>> {
        if let Some(source) = self.given(reference) {
            return Ok(source);
        }
        if self.outlined {
            return self.outline_named(reference, times);
        }
        if let Some((name, number)) = self.versioned(reference, times) {
            let original = with_table(reference, name);
            let object = self.find(&original)?;
            let mode = match &times.relations[number - 1] {
                ReadAt::AsOf { .. } => ReadMode::AsOf { column: as_of_column(number) },
                ReadAt::Between { start, end } => self.history_mode(start, end).await?,
                ReadAt::DatasetAt { time } => {
                    let time = granary_sql::SqlText::new(time.clone(), time.to_string());
                    let time_us = super::plans::constant_time(self, &time).await?;
                    let version = dataset_version::at_time(dataset(&object)?, time_us)?;
                    return Ok(provider_as_source(tables::stored::dataset(self, version).await?));
                }
                ReadAt::DatasetVersion { number } => {
                    let version = dataset_version::of_number(dataset(&object)?, *number)?;
                    return Ok(provider_as_source(tables::stored::dataset(self, version).await?));
                }
            };
            return self.feature_relation(&object, mode, times.system_columns).await;
        }
        if let Some(provider) = tables::system::table(self, reference)? {
            return Ok(provider_as_source(provider));
        }
        let object = self.find(reference)?;
        match object.kind() {
            ObjectKind::FeatureView | ObjectKind::FeatureTable => {
                self.check_online(&object)?;
                self.feature_relation(&object, ReadMode::Now, times.system_columns).await
            }
            ObjectKind::FeatureService | ObjectKind::RealtimeView => {
                self.feature_relation(&object, ReadMode::Now, times.system_columns).await
            }
            _ => Ok(provider_as_source(self.provider(&object).await?)),
        }
    }

    async fn history_mode(&self, start: &ast::Expr, end: &ast::Expr) -> Result<ReadMode> {
        let constant = |expr: &ast::Expr| granary_sql::SqlText::new(expr.clone(), expr.to_string());
        let start_us = super::plans::constant_time(self, &constant(start)).await?;
        let end_us = super::plans::constant_time(self, &constant(end)).await?;
        if start_us >= end_us {
            return Err(Error::new(Kind::InvalidParameterValue, "FOR SYSTEM_TIME FROM must be before TO"));
        }
        Ok(ReadMode::History { start_us, end_us })
    }

    /// Types of parameters as far as they are known.
    pub(super) fn parameter_types(&self) -> &[Option<DataType>] {
        &self.parameter_types
    }

    /// A relation that is not kept online has no answer as of now, and must not look as if it had no data.
    pub(in crate::engine) fn check_online(&self, object: &Object) -> Result<()> {
        let (online, kind) = match object {
            Object::FeatureView(view) => (view.online, "FEATURE VIEW"),
            Object::FeatureTable(table) => (table.online, "FEATURE TABLE"),
            _ => return Ok(()),
        };
        if online || !self.scope.is_live() || self.from_source == FromSource::On {
            return Ok(());
        }
        let name = object.name();
        let message = format!("\"{name}\" is not kept in the online store, which answers as of now");
        Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
            .with_hint(format!("ALTER {kind} {name} SET (online = true), or read it FOR SYSTEM_TIME AS OF a time")))
    }

    fn find(&self, reference: &TableReference) -> Result<Arc<Object>> {
        let found = self.scope.read_relation(reference)?;
        found.cloned().ok_or_else(|| {
            Error::new(Kind::UndefinedTable, format!("relation \"{}\" does not exist", unquoted(reference)))
        })
    }

    async fn feature_relation(
        &self,
        object: &Arc<Object>,
        mode: ReadMode,
        system_columns: bool,
    ) -> Result<Arc<dyn TableSource>> {
        let view = match object.as_ref() {
            Object::FeatureView(view) => BoundView::of_feature_view(view)?,
            Object::FeatureTable(table) => BoundView::of_feature_table(table)?,
            Object::FeatureService(_) | Object::RealtimeView(_) if matches!(mode, ReadMode::History { .. }) => {
                let error = Error::not_supported(format!("the history of a {}", object.kind().as_str()));
                return Err(error.with_hint("read the histories of the feature views behind it, one by one"));
            }
            Object::FeatureService(_) | Object::RealtimeView(_) => {
                let relation = CompositeRelation::new(self, object, mode, system_columns).await?;
                return Ok(provider_as_source(Arc::new(relation)));
            }
            other => return Err(Error::not_supported(format!("reading a {}", other.kind().as_str()))),
        };
        let relation = FeatureRelation::new(self, view, mode, system_columns).await?;
        Ok(provider_as_source(Arc::new(relation)))
    }

    /// An ordinary relation: a source, a stream, a table, a view.
    pub async fn provider(&self, object: &Object) -> Result<Arc<dyn TableProvider>> {
        if let Some(rows) = self.outline(object).map_or_else(|| self.made_up(object), |outline| Ok(Some(outline)))? {
            return Ok(rows);
        }
        match object {
            Object::Source(source) => tables::sources::source_table(self, source).await,
            Object::Stream(stream) => tables::sources::stream_table(self, stream).await,
            Object::Table(table) if table.materialized.as_ref().is_some_and(|view| !view.is_populated) => {
                let message = format!("materialized view \"{}\" has not been populated", table.header.name);
                Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                    .with_hint("Use the REFRESH MATERIALIZED VIEW command."))
            }
            Object::Table(table) => self.readable_rows(table).await,
            Object::Dataset(dataset) => tables::stored::dataset(self, &dataset.newest).await,
            Object::Sequence(sequence) => tables::sequence::table(&self.system_context().catalog, sequence),
            Object::View(view) => {
                let nested = self.nested_view(view)?;
                let plan = match Box::pin(nested.plan_query_text(&view.query)).await {
                    // what only PostgreSQL has
                    Err(error) => match Box::pin(nested.settled_text(&view.query, Purpose::Store)).await? {
                        Some(plan) => plan,
                        None => return Err(error),
                    },
                    Ok(plan) => plan,
                };
                Ok(Arc::new(ViewTable::new(plan, None)))
            }
            other => Err(Error::not_supported(format!("reading a {}", other.kind().as_str()))
                .with_hint("read the feature views behind it")),
        }
    }

    /// Plans the stored query of an object of this owner, whose rows are for others, one level deeper. `read` is what its
    /// names mean.
    pub(super) async fn plan_nested(&self, sql: &str, owner: &str, read: Vec<ObjectId>) -> Result<LogicalPlan> {
        let mut nested = self.nested_for(Asker::Maker(owner.into()))?;
        nested.scope.mean(read);
        Box::pin(nested.plan_query_text(sql)).await
    }
}

fn parameter_fields(types: &[Option<DataType>]) -> Vec<Option<FieldRef>> {
    let field = |(index, data_type): (usize, &Option<DataType>)| -> Option<FieldRef> {
        let data_type = data_type.clone()?;
        Some(Arc::new(Field::new(format!("${}", index + 1), data_type, true)))
    };
    types.iter().enumerate().map(field).collect()
}

fn dataset(object: &Object) -> Result<&Dataset> {
    object.downcast().ok_or_else(|| {
        let message = format!("\"{}\" is a {}, not a dataset", object.name(), object.kind().as_str());
        Error::new(Kind::WrongObjectType, message)
    })
}

/// The plan with its columns under their labels.
pub(super) fn named(plan: LogicalPlan, labels: &Labels) -> Result<LogicalPlan> {
    let schema = labels.apply(&output_schema(&plan));
    let fields = || plan.schema().iter().zip(schema.fields());
    if fields().all(|((_, field), labeled)| field.name() == labeled.name()) {
        return Ok(plan);
    }
    check_distinct(schema.fields().iter().map(|field| field.name().as_str()).collect())?;
    let columns: Vec<Expr> = fields()
        .map(|((qualifier, field), labeled)| {
            Expr::Column(Column::new(qualifier.cloned(), field.name())).alias(labeled.name())
        })
        .collect();
    Ok(LogicalPlanBuilder::from(plan).project(columns)?.build()?)
}

fn parser_options(state: &SessionState) -> ParserOptions {
    ParserOptions::from(&state.config_options().sql_parser)
}

fn with_table(reference: &TableReference, table: &str) -> TableReference {
    match (reference.catalog(), reference.schema()) {
        (Some(catalog), Some(schema)) => TableReference::full(catalog, schema, table),
        (None, Some(schema)) => TableReference::partial(schema, table),
        _ => TableReference::bare(table),
    }
}

fn unquoted(reference: &TableReference) -> String {
    [reference.catalog(), reference.schema(), Some(reference.table())]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(".")
}

/// A text, or an array of them: Arrow says nothing of what they are.
pub fn is_of_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => *item.data_type() == DataType::Utf8,
        data_type => *data_type == DataType::Utf8,
    }
}

/// What the wire tells of a relation's column.
fn told((relation, place, column): (ObjectId, usize, granary_catalog::Column)) -> Vec<(&'static str, String)> {
    let mut told = vec![
        ("pg.table_oid", tables::system::names::oid_of(relation).to_string()),
        ("pg.column", (place + 1).to_string()),
    ];
    if let Some(declared) = column.declared.filter(|_| is_of_texts(&column.data_type)) {
        told.push(("pg.type", declared));
        if let Some(length) = column.max_length {
            told.push(("pg.modifier", (length + 4).to_string()));
        }
    }
    told
}

/// A parsed name as a folded reference; None for names that no relation can have.
pub fn table_reference(name: &ObjectName) -> Option<TableReference> {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) if ident.quote_style.is_none() => Some(ident.value.to_lowercase()),
            ObjectNamePart::Identifier(ident) => Some(ident.value.clone()),
            ObjectNamePart::Function(_) => None,
        })
        .collect::<Option<_>>()?;
    match parts.as_slice() {
        [table] => Some(TableReference::bare(table.as_str())),
        [schema, table] => Some(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => Some(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())),
        _ => None,
    }
}

/// An error with the place of what it is about.
fn at_node(node: &impl Spanned, error: Error, text: &str) -> Error {
    placed(error, text, node.span().start)
}

/// Gives an error about a relation the place where the text first names it.
fn locate(error: Error, reference: &TableReference, text: &str) -> Error {
    if error.position().is_some() || error.kind() != Kind::UndefinedTable {
        return error;
    }
    let name = reference.table();
    let lowered = text.to_lowercase();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let found = lowered.match_indices(&name.to_lowercase()).map(|(at, _)| at).find(|&at| {
        let before = lowered[..at].chars().next_back();
        let after = lowered[at + name.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    });
    match found.and_then(|at| u32::try_from(lowered[..at].chars().count() + 1).ok()) {
        Some(position) => error.at(position),
        None => error,
    }
}

/// Refuses functions that do not exist, with their place, before the planner says so less clearly.
fn check_functions(node: &impl Visit, state: &SessionState, text: &str) -> Result<()> {
    let mut check = FunctionCheck { state, text };
    match node.visit(&mut check) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct FunctionCheck<'a> {
    state: &'a SessionState,
    text: &'a str,
}

impl Visitor for FunctionCheck<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let Some(ObjectNamePart::Identifier(ident)) = function.name.0.last() else {
            return ControlFlow::Continue(());
        };
        let name = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
        let known = self.state.scalar_functions().contains_key(&name)
            || self.state.aggregate_functions().contains_key(&name)
            || self.state.window_functions().contains_key(&name)
            || self.state.higher_order_functions().contains_key(&name)
            || self.state.table_functions().contains_key(&name)
            || name == "grouping"
            || name == "unnest"
            || function.name.0.len() > 1 && self.state.scalar_functions().contains_key(&function.name.to_string());
        if known {
            return ControlFlow::Continue(());
        }
        let in_granary = table_reference(&function.name).is_some_and(|name| name.schema() == Some("granary"));
        let error = if let Err(error) = check_called_in_place(&name) {
            error
        } else if in_granary && tables::system::LATER.contains(&name.as_str()) {
            Error::not_supported(format!("granary.{name}"))
        } else {
            Error::new(Kind::UndefinedFunction, format!("function {name} does not exist"))
                .with_hint("check the name and the types of its arguments")
        };
        ControlFlow::Break(placed(error, self.text, function.name.span().start))
    }
}
