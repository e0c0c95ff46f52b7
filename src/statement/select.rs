//! Queries: those that a definition stores, and those that a client asks.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use granary_catalog::{Column, ObjectId, ObjectKind};
use granary_sql::SqlText;
use sqlparser::ast::{self, ObjectName, Query, Visit, Visitor};

use super::context::StatementContext;
use super::execute::Parameters;
use crate::engine::{
    GivenRelation, LabeledPlan, Labels, LogicalPlan, OtherColumns, Purpose, QueryPlanner, called_relations,
    dataset_call, is_of_texts, is_system_schema, qualified_columns, table_reference,
};
use crate::error::{Error, Kind, Result};
use crate::metrics::Phase;
use crate::trace;

/// A query as it was typed.
pub type QueryText = SqlText<Box<Query>>;

/// A definition's query, planned once for its columns and what it reads.
pub struct PlannedQuery {
    pub plan: LogicalPlan,
    pub columns: Vec<Column>,
    pub depends_on: Vec<ObjectId>,
}

/// Plans the query of a source, view or feature view. Errors: as the query's own; 42P02 for one with parameters.
pub async fn plan_definition(context: &StatementContext, query: &QueryText) -> Result<PlannedQuery> {
    // The stored text is planned, not the tree, so that what works now works when it is read again.
    let plan = context.planner().plan_query_text(&query.text).await.map_err(|error| shift(context, query, error))?;
    crate::engine::check_names(&plan)?;
    if !crate::engine::parameter_types(&plan, &[])?.is_empty() {
        return Err(Error::new(Kind::UndefinedParameter, "a definition cannot have parameters, such as $1"));
    }
    let origins = context.planner().origins(&plan);
    let column = |(field, origin): (&FieldRef, Option<_>)| {
        let own = Column::new(field.name(), field.data_type().clone(), field.is_nullable());
        match origin {
            Some((_, _, Column { declared, max_length, .. })) => Column { declared, max_length, ..own },
            None => own,
        }
    };
    let columns = plan.schema().fields().iter().zip(origins).map(column).collect();
    Ok(PlannedQuery { plan, columns, depends_on: dependencies(context, query.ast.as_ref())? })
}

/// Plans the query of a table, view or materialized view, as PostgreSQL means it where it reads none but such relations.
pub async fn plan_relation(context: &StatementContext, query: &QueryText) -> Result<PlannedQuery> {
    let planner = context.planner();
    let settled =
        planner.settled_text(&query.text, Purpose::Store).await.map_err(|error| shift(context, query, error))?;
    let Some(plan) = settled else { return plan_definition(context, query).await };
    crate::engine::check_names(&plan)?;
    if !crate::engine::parameter_types(&plan, &[])?.is_empty() {
        return Err(Error::new(Kind::UndefinedParameter, "a definition cannot have parameters, such as $1"));
    }
    let column = |field: &FieldRef| {
        let own = Column::new(field.name(), field.data_type().clone(), true);
        let said = |key: &str| field.metadata().get(key);
        let is_declared = match field.data_type() {
            texts if is_of_texts(texts) => true,
            decimal => decimal.is_decimal() && said("pg.modifier").is_some_and(|modifier| modifier == "-1"),
        };
        let declared = said("pg.type").filter(|name| is_declared && *name != "_text").cloned();
        let length = said("pg.modifier").and_then(|modifier| modifier.parse::<u64>().ok()?.checked_sub(4));
        let max_length = length.filter(|_| matches!(declared.as_deref(), Some("varchar" | "bpchar")));
        Column { declared, max_length, ..own }
    };
    let columns = plan.schema().fields().iter().map(column).collect();
    Ok(PlannedQuery { plan, columns, depends_on: dependencies(context, query.ast.as_ref())? })
}

/// An error inside an embedded query is placed in the query's text; the client counts in the whole statement.
pub fn shift(context: &StatementContext, query: &QueryText, error: Error) -> Error {
    shift_text(context, &query.text, 0, error)
}

/// The same for an error in `text` behind so many characters that the client has not typed.
pub fn shift_text(context: &StatementContext, text: &str, untyped: usize, error: Error) -> Error {
    let (Some(position), Some(start)) = (error.position(), context.text.find(text)) else {
        return error;
    };
    let before = context.text[..start].chars().count();
    let position = usize::try_from(position).unwrap_or(0) + before;
    match u32::try_from(position.saturating_sub(untyped)) {
        Ok(position) => error.at(position),
        Err(_) => error,
    }
}

/// The functions of the catalog that the text of a function calls, each once. What does not read has none.
pub fn functions_called(context: &StatementContext, text: &str) -> Result<Vec<ObjectId>> {
    let parsed = granary_sql::parse(text).unwrap_or_default();
    let Some(granary_sql::Statement::Query(query)) = parsed.first().map(|parsed| &parsed.statement) else {
        return Ok(Vec::new());
    };
    let found = dependencies(context, query.ast.as_ref())?;
    let is_function =
        |id: &ObjectId| context.snapshot().get(*id).is_some_and(|object| object.kind() == ObjectKind::Function);
    Ok(found.into_iter().filter(is_function).collect())
}

/// Plans a statement that names one relation which is in no catalog, by its name and columns.
pub async fn plan_write(
    context: &StatementContext,
    statement: ast::Statement,
    parameters: &Parameters,
    (name, columns): (String, SchemaRef),
) -> Result<LogicalPlan> {
    planner_of(context, parameters).with_columns(name, columns).plan(statement, &context.text).await
}

/// Plans a query of rows that change: its columns from `n_before` on are assigned to `columns`.
pub async fn plan_change(
    context: &StatementContext,
    query: ast::Query,
    parameters: &Parameters,
    (n_before, columns): (usize, &[Column]),
    relations: Vec<GivenRelation>,
) -> Result<LogicalPlan> {
    let planner = planner_of(context, parameters).with_given(relations);
    let n_behind = match query.body.as_ref() {
        ast::SetExpr::Select(select) => select.projection.len().saturating_sub(n_before + columns.len()),
        _ => 0,
    };
    let places = (n_before, columns, n_behind);
    match planner.settled_change(&query, places, &declared(parameters), &context.text).await? {
        Some(plan) => Ok(plan),
        None => planner.plan(ast::Statement::Query(Box::new(query)), &context.text).await,
    }
}

/// Plans a query over a relation of its own; None if only the engine knows what it calls.
pub async fn plan_settled(
    context: &StatementContext,
    query: &Query,
    parameters: &Parameters,
    relation: GivenRelation,
) -> Result<Option<LabeledPlan>> {
    let planner = planner_of(context, parameters).with_given([relation]);
    let settled = planner.settled(query, &declared(parameters), (&context.text, Purpose::Answer)).await?;
    Ok(settled.map(|settled| LabeledPlan {
        plan: settled.plan,
        labels: settled.labels,
        parameters: Some(settled.parameters),
    }))
}

/// The columns that `SELECT *` from these has, with the names of their relations.
pub async fn columns_of(
    context: &StatementContext,
    query: ast::Query,
    parameters: &Parameters,
) -> Result<OtherColumns> {
    let planner = planner_of(context, parameters);
    let plan = planner.plan(ast::Statement::Query(Box::new(query)), &context.text).await?;
    Ok(qualified_columns(&plan))
}

/// What `SELECT … INTO t` makes, and the query without the INTO.
pub fn into_table(query: &Query) -> Option<(ast::CreateTable, Box<Query>)> {
    let mut query = Box::new(query.clone());
    let ast::SetExpr::Select(select) = query.body.as_mut() else { return None };
    let into = select.into.take()?;
    let create = ast::helpers::stmt_create_table::CreateTableBuilder::new(into.name)
        .temporary(into.temporary)
        .query(Some(query.clone()))
        .build();
    Some((create, query))
}

/// Plans a client's query, with the labels that its columns are shown under.
pub async fn plan_labeled(
    context: &StatementContext,
    query: Box<Query>,
    parameters: &Parameters,
) -> Result<(LogicalPlan, Labels)> {
    let LabeledPlan { plan, labels, .. } = plan_query(context, query, parameters).await?;
    Ok((plan, labels))
}

/// The same, with what is known of its parameters.
pub async fn plan_query(context: &StatementContext, query: Box<Query>, parameters: &Parameters) -> Result<LabeledPlan> {
    let planner = planner_of(context, parameters);
    let declared = declared(parameters);
    let planning = planner.plan_labeled(ast::Statement::Query(query), &declared, &context.text);
    trace::phase(Phase::Plan, planning).await
}

/// Plans rows for these columns of a table, or the first of them, as PostgreSQL assigns them; None if only the engine
/// knows what they are made of.
pub async fn plan_rows(
    context: &StatementContext,
    query: &Query,
    columns: &[Column],
    parameters: &Parameters,
) -> Result<Option<LogicalPlan>> {
    let planner = planner_of(context, parameters);
    planner.settled_rows(query, columns, &declared(parameters), &context.text).await
}

/// OIDs of the types of parameters, 0 where they are not known.
fn declared(parameters: &Parameters) -> Vec<u32> {
    let known = |(index, data_type): (usize, &Option<DataType>)| match parameters.oids.get(index) {
        Some(oid) if *oid != 0 => *oid,
        _ => data_type.as_ref().map_or(0, crate::engine::parameter_oid),
    };
    parameters.types.iter().enumerate().map(known).collect()
}

fn planner_of(context: &StatementContext, parameters: &Parameters) -> QueryPlanner {
    context.planner().with_parameters(parameters.types.clone(), &parameters.values)
}

/// The catalog's objects that a query reads and the functions that it calls, each once.
pub fn dependencies(context: &StatementContext, node: &impl Visit) -> Result<Vec<ObjectId>> {
    let mut reader = Dependencies { context, found: BTreeSet::new() };
    match node.visit(&mut reader) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(reader.found.into_iter().collect()),
    }
}

struct Dependencies<'a> {
    context: &'a StatementContext,
    found: BTreeSet<ObjectId>,
}

impl Visitor for Dependencies<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<Error> {
        for relation in called_relations(factor) {
            self.pre_visit_relation(&relation)?;
        }
        match dataset_call(factor) {
            Some(Ok((dataset, _))) => self.pre_visit_relation(&dataset),
            // Planning has refused it already.
            Some(Err(_)) | None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        match self.context.scope.function(&function.name) {
            Ok(found) => {
                self.found.extend(found.map(|object| object.id()));
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Error> {
        let Some(reference) = table_reference(relation) else { return ControlFlow::Continue(()) };
        if is_system_schema(reference.schema()) {
            return ControlFlow::Continue(());
        }
        match self.context.scope.relation(&reference) {
            Ok(Some(object)) => {
                self.found.insert(object.id());
                ControlFlow::Continue(())
            }
            // A common table expression, or a name that planning has refused already.
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}
