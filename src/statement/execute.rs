//! The one place that makes statements happen. What changes the catalog or a table is left in the context, for the
//! session to commit; what reads gives rows.

use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use granary_sql::statement::CopySource;
use granary_sql::{Parsed, Statement};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use super::copy::{CopyIn, CopyOut};
use super::{
    alert, alter, alter_table, api_key, backup, comment, copy, dataset, delete, drop, entity, expectation, explain,
    feature_service, feature_table, feature_view, forget, function, grant, index, job, lock, materialized_view,
    optimize, policy, realtime_view, refresh, replay, repository, rights, role, select, sequence, show, sink, source,
    stream, table, test, truncate, update, vacuum, verify, view, with, workspace,
};
use crate::engine::{CatalogQuery, Labels, LogicalPlan, ValueRows, bind_parameters, output_schema, run};
use crate::error::{Error, Kind, Result};
use crate::row::Value;

/// The rows of an answer, as they come.
pub type BatchStream = Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>;

/// What the command tag of an answer with rows begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsTag {
    /// `SELECT n`
    Select,
    Explain,
    Show,
    CreateApiKey,
    Backup,
    /// `INSERT 0 n`, of rows that RETURNING shows; so are the others
    Insert,
    Update,
    Delete,
    /// `COPY n`
    Copy,
    /// `FETCH n`, out of a cursor that is BINARY or not
    Fetch {
        binary: bool,
    },
}

impl RowsTag {
    /// The command tag after so many rows.
    pub fn complete(self, rows: u64) -> String {
        match self {
            RowsTag::Select => format!("SELECT {rows}"),
            RowsTag::Explain => "EXPLAIN".to_owned(),
            RowsTag::Show => "SHOW".to_owned(),
            RowsTag::Fetch { .. } => format!("FETCH {rows}"),
            RowsTag::Copy => format!("COPY {rows}"),
            RowsTag::CreateApiKey => "CREATE API KEY".to_owned(),
            RowsTag::Backup => "BACKUP".to_owned(),
            RowsTag::Insert => format!("INSERT 0 {rows}"),
            RowsTag::Update => format!("UPDATE {rows}"),
            RowsTag::Delete => format!("DELETE {rows}"),
        }
    }
}

/// What a statement answers.
pub enum Response {
    Rows {
        schema: SchemaRef,
        rows: BatchStream,
        tag: RowsTag,
    },
    /// rows of a lookup
    Found {
        schema: SchemaRef,
        rows: ValueRows,
    },
    /// rows in the form that COPY says
    CopyOut(CopyOut),
    /// the client is to send rows: the session's `copy_in` takes them
    CopyIn(CopyIn),
    Done {
        tag: String,
    },
    Empty,
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Response::Rows { schema, .. } | Response::Found { schema, .. } => write!(f, "Rows({schema:?})"),
            Response::CopyOut(copy) => write!(f, "CopyOut({:?})", copy.schema),
            Response::CopyIn(copy) => write!(f, "CopyIn({copy:?})"),
            Response::Done { tag } => write!(f, "Done({tag})"),
            Response::Empty => f.write_str("Empty"),
        }
    }
}

impl Response {
    pub fn done(tag: impl Into<String>) -> Response {
        Response::Done { tag: tag.into() }
    }

    /// Rows that are there already.
    pub fn batch(batch: RecordBatch, tag: RowsTag) -> Response {
        let schema = batch.schema();
        Response::Rows { schema, rows: futures::stream::once(async move { Ok(batch) }).boxed(), tag }
    }
}

/// The parameters of a statement: their types as far as they are known, and their values if it is to be run.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    pub types: Vec<Option<DataType>>,
    pub values: Vec<(DataType, Option<Value>)>,
    /// of types of PostgreSQL, where only the catalogs know them
    pub oids: Vec<u32>,
}

impl Parameters {
    /// Of a statement that is only described.
    pub fn of_types(types: Vec<Option<DataType>>) -> Parameters {
        Parameters { types, values: Vec::new(), oids: Vec::new() }
    }

    /// A parameter that stands for a value of a column has the column's type, if the client has said none.
    pub fn expect(&mut self, expr: &ast::Expr, data_type: &DataType) {
        let number = match expr {
            ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), .. }) => name,
            ast::Expr::Nested(inner) => return self.expect(inner, data_type),
            _ => return,
        };
        let place = number.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
        let Some(place) = place.filter(|place| *place < usize::from(u16::MAX)) else { return };
        if place >= self.types.len() {
            self.types.resize(place + 1, None);
        }
        self.types[place].get_or_insert_with(|| data_type.clone());
    }

    pub fn of_values(values: Vec<(DataType, Option<Value>)>) -> Parameters {
        Parameters {
            types: values.iter().map(|(data_type, _)| Some(data_type.clone())).collect(),
            values,
            oids: Vec::new(),
        }
    }
}

/// Carries out a statement that is neither about the session nor about its transaction. Its future is on the heap,
/// since it is as large as that of the largest statement.
pub fn execute<'a>(
    context: &'a mut StatementContext,
    parsed: &'a Parsed,
    parameters: &'a Parameters,
    cancel: &'a CancellationToken,
) -> BoxFuture<'a, Result<Response>> {
    async move {
        rights::check(context, &parsed.statement)?;
        let response = dispatch(context, parsed, parameters, cancel).await?;
        rights::check_changes(context, &parsed.statement)?;
        Ok(response)
    }
    .boxed()
}

/// Carries out an INSERT of rows that [`super::few_events`] has found.
pub async fn insert_few(
    context: &mut StatementContext,
    parsed: &Parsed,
    rows: (table::Target, RecordBatch),
    cancel: &CancellationToken,
) -> Result<Response> {
    rights::check(context, &parsed.statement)?;
    let n_rows = table::insert_constant(context, rows, cancel).await?;
    Ok(Response::done(format!("INSERT 0 {n_rows}")))
}

async fn dispatch(
    context: &mut StatementContext,
    parsed: &Parsed,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    match &parsed.statement {
        Statement::Query(query) => {
            let query = Box::pin(repository::with_answer(context, &query.ast, parameters, cancel)).await?;
            let (schema, rows) = answer(context, &query, parameters, cancel).await?;
            Ok(Response::Rows { schema, rows, tag: RowsTag::Select })
        }
        Statement::Explain(statement) => Box::pin(explain::explain(context, statement, parameters)).await,
        Statement::Refresh(statement) => {
            refresh::refresh(context, statement, cancel).await?;
            Ok(Response::done("REFRESH FEATURE VIEW"))
        }
        Statement::Replay(statement) => {
            replay::replay(context, statement, cancel).await?;
            Ok(Response::done("REPLAY STREAM"))
        }
        Statement::CreateDataset(create) => {
            let rows = Box::pin(dataset::create(context, create, cancel)).await?;
            Ok(Response::done(rows.map_or_else(|| "CREATE DATASET".to_owned(), |rows| format!("SELECT {rows}"))))
        }
        Statement::Optimize(statement) => {
            optimize::optimize(context, statement, cancel).await?;
            Ok(Response::done("OPTIMIZE"))
        }
        Statement::Vacuum(statement) => {
            vacuum::vacuum(context, statement, cancel).await?;
            Ok(Response::done("VACUUM"))
        }
        Statement::Backup(statement) => {
            Ok(Response::batch(Box::pin(backup::backup(context, statement, cancel)).await?, RowsTag::Backup))
        }
        Statement::Verify(statement) => {
            let (schema, rows) = Box::pin(verify::verify(context, statement)).await?;
            Ok(Response::Rows { schema, rows, tag: RowsTag::Select })
        }
        Statement::CheckAlert(statement) => {
            Ok(Response::batch(Box::pin(alert::check(context, statement)).await?, RowsTag::Select))
        }
        Statement::CancelJob(statement) => {
            job::cancel(context, statement)?;
            Ok(Response::done("CANCEL JOB"))
        }
        Statement::RetryJob(statement) => {
            job::retry(context, statement)?;
            Ok(Response::done("RETRY JOB"))
        }
        Statement::WaitForJob(statement) => {
            job::wait(context, statement).await?;
            Ok(Response::done("WAIT FOR JOB"))
        }
        Statement::CreateApiKey(create) => {
            Ok(Response::batch(api_key::create(context, create)?, RowsTag::CreateApiKey))
        }
        Statement::Copy(statement) => Box::pin(copy::copy(context, statement, cancel)).await,
        Statement::Declare(declare) => {
            let (schema, rows) = answer(context, &declare.query.ast, parameters, cancel).await?;
            Ok(Response::Rows { schema, rows, tag: RowsTag::Select })
        }
        Statement::ShowCreate(statement) => Ok(Response::batch(show::show_create(context, statement)?, RowsTag::Show)),
        Statement::Utility(granary_sql::statement::Utility::RefreshMaterializedView {
            concurrently,
            name,
            with_data,
        }) => {
            let refresh = (name, *with_data, *concurrently);
            Box::pin(materialized_view::refresh(context, refresh, cancel)).await?;
            Ok(Response::done("REFRESH MATERIALIZED VIEW"))
        }
        Statement::Postgres(statement) => postgres(context, &statement.ast, &parsed.text, parameters, cancel).await,
        other => {
            define(context, other).await?;
            Ok(Response::done(definition_tag(other, &parsed.text)))
        }
    }
}

/// Statements that define feature objects: they only leave changes.
pub async fn define(context: &mut StatementContext, statement: &Statement) -> Result<()> {
    match statement {
        Statement::CreateEntity(create) => entity::create(context, create),
        Statement::CreateSource(create) => source::create(context, create).await,
        Statement::CreateStream(create) => stream::create(context, create),
        Statement::CreateSink(create) => sink::create(context, create),
        Statement::CreateExpectation(create) => expectation::create(context, create),
        Statement::CreateAlert(create) => Box::pin(alert::create(context, create)).await,
        Statement::CreateFeatureView(create) => feature_view::create(context, create).await,
        Statement::CreateFeatureTable(create) => feature_table::create(context, create),
        Statement::CreateFeatureService(create) => feature_service::create(context, create),
        Statement::CreateRealtimeFeatureView(create) => realtime_view::create(context, create),
        Statement::CreateFunction(create) => function::create(context, create),
        Statement::CreateTest(create) => test::create(context, create),
        Statement::CreateWorkspace(create) => workspace::create(context, create),
        Statement::Drop(statement) => drop::drop(context, statement),
        Statement::Alter(statement) => alter::alter(context, statement).await,
        Statement::AlterSequence(statement) => sequence::alter(context, statement),
        Statement::CommentOn(statement) => comment::comment(context, statement),
        Statement::CreateSecret(_) => Err(Error::not_supported("CREATE SECRET")),
        Statement::GrantRole(grant) => role::grant(context, grant),
        Statement::RevokeRole(revoke) => role::revoke(context, revoke),
        Statement::Utility(utility) => Err(Error::not_supported(first_words(&utility.to_string()))),
        other => Err(Error::internal(format!("{} does not define anything", first_words(&other.to_string())))),
    }
}

/// What a statement that changes something is called; `None` for one that does not.
pub fn writing_word(statement: &Statement) -> Option<String> {
    match statement {
        Statement::Query(query) => repository::calls_apply(&query.ast).then(|| "granary.apply".to_owned()),
        Statement::Explain(_) | Statement::ShowCreate(_) | Statement::Verify(_) | Statement::WaitForJob(_) => None,
        Statement::Utility(granary_sql::statement::Utility::RefreshMaterializedView { .. }) => {
            Some("REFRESH MATERIALIZED VIEW".to_owned())
        }
        Statement::Utility(_) | Statement::Declare(_) | Statement::Fetch(_) | Statement::Close(_) => None,
        Statement::Copy(copy) => match &copy.source {
            CopySource::Relation { .. } => copy.is_from.then(|| "COPY FROM".to_owned()),
            CopySource::Query(query) => {
                Some(writing_query(&query.ast)).filter(|word| *word != "SELECT").map(str::to_owned)
            }
        },
        Statement::Postgres(statement) => match statement.ast.as_ref() {
            ast::Statement::Lock(_) => None,
            ast::Statement::Query(query) => Some(writing_query(query).to_owned()),
            ast::Statement::Insert(_) => Some("INSERT".to_owned()),
            ast::Statement::Update(_) => Some("UPDATE".to_owned()),
            ast::Statement::Delete(_) => Some("DELETE".to_owned()),
            ast::Statement::Truncate(_) => Some("TRUNCATE TABLE".to_owned()),
            ast::Statement::CreateTable(table) if table.query.is_some() => Some("CREATE TABLE AS".to_owned()),
            ast::Statement::CreateTable(_) => Some("CREATE TABLE".to_owned()),
            ast::Statement::CreateView(_) => Some("CREATE VIEW".to_owned()),
            other => Some(first_words(&other.to_string())),
        },
        other => Some(first_words(&other.to_string())),
    }
}

/// What a query does that changes something.
fn writing_query(query: &ast::Query) -> &'static str {
    match query.body.as_ref() {
        ast::SetExpr::Insert(_) => "INSERT",
        ast::SetExpr::Update(_) => "UPDATE",
        ast::SetExpr::Delete(_) => "DELETE",
        _ if select::into_table(query).is_some() => "SELECT INTO",
        _ => {
            let parts = query.with.iter().flat_map(|with| &with.cte_tables);
            let words = parts.map(|part| writing_query(&part.query));
            words.into_iter().find(|word| *word != "SELECT").unwrap_or("SELECT")
        }
    }
}

/// The name of a statement in an error.
pub fn first_words(text: &str) -> String {
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_uppercase()
}

/// `ALTER VIEW` is read as ALTER TABLE, and so are others.
fn alter_tag(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().skip(1).take(2).map(str::to_uppercase).collect();
    match words.as_slice() {
        [first, second] if first == "MATERIALIZED" => format!("ALTER {first} {second}"),
        [first, ..] => format!("ALTER {first}"),
        [] => "ALTER TABLE".to_owned(),
    }
}

/// The command tag. A workspace is a database if the client says so.
fn definition_tag(statement: &Statement, text: &str) -> String {
    let is_database = text.split_whitespace().nth(1).is_some_and(|word| word.eq_ignore_ascii_case("database"));
    let kind = |kind: granary_sql::ObjectKind| match kind {
        granary_sql::ObjectKind::Workspace if is_database => "DATABASE".to_owned(),
        kind => kind.to_string(),
    };
    match statement {
        Statement::CreateEntity(_) => "CREATE ENTITY".to_owned(),
        Statement::CreateSource(_) => "CREATE SOURCE".to_owned(),
        Statement::CreateStream(_) => "CREATE STREAM".to_owned(),
        Statement::CreateSink(_) => "CREATE SINK".to_owned(),
        Statement::CreateTest(_) => "CREATE TEST".to_owned(),
        Statement::CreateExpectation(_) => "CREATE EXPECTATION".to_owned(),
        Statement::CreateAlert(_) => "CREATE ALERT".to_owned(),
        Statement::CreateFeatureView(_) => "CREATE FEATURE VIEW".to_owned(),
        Statement::CreateFeatureTable(_) => "CREATE FEATURE TABLE".to_owned(),
        Statement::CreateFeatureService(_) => "CREATE FEATURE SERVICE".to_owned(),
        Statement::CreateRealtimeFeatureView(_) => "CREATE REALTIME FEATURE VIEW".to_owned(),
        Statement::CreateFunction(_) => "CREATE FUNCTION".to_owned(),
        Statement::CreateWorkspace(_) => format!("CREATE {}", kind(granary_sql::ObjectKind::Workspace)),
        Statement::Drop(drop) => format!("DROP {}", kind(drop.kind)),
        Statement::Alter(alter) => format!("ALTER {}", kind(alter.kind)),
        Statement::AlterSequence(_) => "ALTER SEQUENCE".to_owned(),
        Statement::CommentOn(_) => "COMMENT".to_owned(),
        Statement::GrantRole(_) => "GRANT ROLE".to_owned(),
        Statement::RevokeRole(_) => "REVOKE ROLE".to_owned(),
        other => first_words(&other.to_string()),
    }
}

async fn postgres(
    context: &mut StatementContext,
    statement: &ast::Statement,
    text: &str,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    match statement {
        ast::Statement::CreateTable(create) => {
            let rows = table::create(context, create, text, cancel).await?;
            let rows = rows.filter(|_| !view::is_without_data(text));
            let tag = if create.query.is_some() { "CREATE TABLE AS" } else { "CREATE TABLE" };
            Ok(Response::done(rows.map_or_else(|| tag.to_owned(), |rows| format!("SELECT {rows}"))))
        }
        ast::Statement::CreateView(create) if create.materialized => {
            let rows = materialized_view::create(context, create, text, cancel).await?;
            let rows = rows.filter(|_| !view::is_without_data(text));
            Ok(Response::done(
                rows.map_or_else(|| "CREATE MATERIALIZED VIEW".to_owned(), |rows| format!("SELECT {rows}")),
            ))
        }
        ast::Statement::Query(query) => match select::into_table(query) {
            Some((create, query)) => {
                let statement = format!("CREATE TABLE {} AS {query}", create.name);
                let rows = table::create(context, &create, &statement, cancel).await?;
                Ok(Response::done(format!("SELECT {}", rows.unwrap_or(0))))
            }
            None => match with::divided(query)? {
                Some(divided) => Box::pin(one_by_one(context, divided, (text, parameters), cancel)).await,
                None => Err(Error::new(
                    Kind::FeatureNotSupported,
                    "WITH clause containing a data-modifying statement must be at the top level",
                )),
            },
        },
        ast::Statement::Truncate(truncate) => {
            truncate::truncate(context, truncate).await?;
            Ok(Response::done("TRUNCATE TABLE"))
        }
        ast::Statement::AlterTable(alter) => {
            Box::pin(alter_table::alter(context, alter, cancel)).await?;
            Ok(Response::done(alter_tag(text)))
        }
        ast::Statement::CreatePolicy(create) => {
            Box::pin(policy::create(context, create)).await?;
            Ok(Response::done("CREATE POLICY"))
        }
        ast::Statement::AlterPolicy(alter) => {
            Box::pin(policy::alter(context, alter)).await?;
            Ok(Response::done("ALTER POLICY"))
        }
        ast::Statement::DropPolicy(drop) => {
            policy::drop(context, drop).await?;
            Ok(Response::done("DROP POLICY"))
        }
        ast::Statement::AlterSchema(alter) => {
            alter_table::alter_schema(context, alter)?;
            Ok(Response::done("ALTER SCHEMA"))
        }
        ast::Statement::AlterIndex { name, operation: ast::AlterIndexOperation::RenameIndex { index_name } } => {
            index::rename(context, name, index_name).await?;
            Ok(Response::done("ALTER INDEX"))
        }
        ast::Statement::CreateIndex(create) => {
            index::create(context, create, cancel).await?;
            Ok(Response::done("CREATE INDEX"))
        }
        ast::Statement::CreateSequence { temporary, if_not_exists, name, data_type, sequence_options, owned_by } => {
            let new = sequence::NewSequence {
                is_temporary: *temporary,
                if_not_exists: *if_not_exists,
                name,
                data_type: data_type.as_ref(),
                options: sequence_options,
                owned_by: owned_by.as_ref(),
            };
            sequence::create(context, &new, text)?;
            Ok(Response::done("CREATE SEQUENCE"))
        }
        ast::Statement::Lock(lock) => {
            lock::lock(context, lock).await?;
            Ok(Response::done("LOCK TABLE"))
        }
        ast::Statement::Drop { object_type: ast::ObjectType::Index, names, if_exists, .. } => {
            index::drop(context, names, *if_exists).await?;
            Ok(Response::done("DROP INDEX"))
        }
        ast::Statement::CreateView(create) => {
            view::create(context, create, text).await?;
            Ok(Response::done("CREATE VIEW"))
        }
        ast::Statement::CreateSchema { schema_name, if_not_exists, .. } => {
            workspace::create_schema(context, schema_name, *if_not_exists)?;
            Ok(Response::done("CREATE SCHEMA"))
        }
        ast::Statement::Insert(insert) => table::insert(context, insert, parameters, cancel).await,
        ast::Statement::CreateRole(create) => {
            role::create(context, create)?;
            Ok(Response::done("CREATE ROLE"))
        }
        ast::Statement::AlterRole { name, operation } => {
            role::alter(context, name, operation)?;
            Ok(Response::done("ALTER ROLE"))
        }
        ast::Statement::Drop { object_type: ast::ObjectType::Role, names, if_exists, .. } => {
            role::drop(context, names, *if_exists)?;
            Ok(Response::done("DROP ROLE"))
        }
        ast::Statement::Grant(grant) => {
            grant::grant(context, grant)?;
            Ok(Response::done("GRANT"))
        }
        ast::Statement::Revoke(revoke) => {
            grant::revoke(context, revoke)?;
            Ok(Response::done("REVOKE"))
        }
        ast::Statement::Delete(delete) if forget::forgets(context, delete) => {
            let keys = Box::pin(forget::forget(context, delete, parameters, cancel)).await?;
            Ok(Response::done(format!("DELETE {keys}")))
        }
        ast::Statement::Delete(delete) => Box::pin(delete::delete(context, delete, parameters, cancel)).await,
        ast::Statement::Update(update) => Box::pin(update::update(context, update, parameters, cancel)).await,
        ast::Statement::Drop { object_type, names, if_exists, cascade, .. } => {
            let (if_exists, cascade) = (*if_exists, *cascade);
            drop::drop_postgres(context, object_type, names, if_exists, cascade).await?;
            Ok(Response::done(format!("DROP {object_type}")))
        }
        other => {
            table::check_written(context, other)?;
            Err(Error::not_supported(first_words(&other.to_string())))
        }
    }
}

/// A statement whose WITH changes rows, or that changes rows itself.
async fn one_by_one(
    context: &mut StatementContext,
    divided: with::Divided,
    (text, parameters): (&str, &Parameters),
    cancel: &CancellationToken,
) -> Result<Response> {
    for part in &divided.parts {
        context.with.clone_from(&part.with);
        let answer = Box::pin(postgres(context, &part.statement, text, parameters, cancel)).await?;
        context.given.extend(part.answered(answer).await?);
        part.check_returned(context, &divided.statement)?;
    }
    context.with = divided.with;
    match &divided.statement {
        ast::Statement::Query(query) => {
            let (schema, rows) = answer(context, query, parameters, cancel).await?;
            Ok(Response::Rows { schema, rows, tag: RowsTag::Select })
        }
        changing => Box::pin(postgres(context, changing, text, parameters, cancel)).await,
    }
}

/// A query that reads nothing but the catalogs; None for every other one. `declared`: OIDs of types of parameters.
pub fn catalog_query(context: &StatementContext, query: &ast::Query, declared: &[u32]) -> Option<Result<CatalogQuery>> {
    CatalogQuery::of(&context.planner(), query, declared, &context.text)
}

/// Carried out on a thread of its own, since it may take its time without a place to wait.
async fn answer_from_catalog(
    context: &mut StatementContext,
    query: CatalogQuery,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<(SchemaRef, BatchStream)> {
    let (values, stop) = (parameters.values.clone(), cancel.clone());
    let work = tokio::task::spawn_blocking(move || (query.schema(), query.run(&values, stop)));
    let (schema, found) = work.await.map_err(|error| Error::internal("a catalog query").with_source(error))?;
    let (batch, changes) = found?;
    context.setting_changes.extend(changes);
    Ok((schema, futures::stream::iter([Ok(batch)]).boxed()))
}

/// The rows of a client's query, and the columns that they are shown in.
pub async fn answer(
    context: &mut StatementContext,
    query: &ast::Query,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<(SchemaRef, BatchStream)> {
    if let Some(found) = catalog_query(context, query, &parameters.oids) {
        let n_parameters = found.as_ref().map_or(0, |found| found.parameters().len());
        if n_parameters > parameters.values.len() {
            let message = format!("there is no parameter ${}", parameters.values.len() + 1);
            return Err(Error::new(Kind::UndefinedParameter, message));
        }
        return answer_from_catalog(context, found?, parameters, cancel).await;
    }
    let (plan, labels) = select::plan_labeled(context, Box::new(query.clone()), parameters).await?;
    rows_of_plan(context, bind_parameters(plan, &parameters.values)?, &labels).await
}

/// The rows of a plan, and the columns that they are shown in.
pub async fn rows_of_plan(
    context: &StatementContext,
    plan: LogicalPlan,
    labels: &Labels,
) -> Result<(SchemaRef, BatchStream)> {
    let schema = labels.apply(&output_schema(&plan));
    let rows = run(&context.planner().state(), &plan).await?;
    Ok((schema, rows.map_err(Error::from).boxed()))
}
