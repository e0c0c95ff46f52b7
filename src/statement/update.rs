//! `UPDATE t SET … [FROM …] [WHERE …] [RETURNING …]`: rows go, and others come in their place.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::PolicyCommand;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::changing::{Changed, Removing, Seen};
use super::context::StatementContext;
use super::execute::{Parameters, Response, RowsTag};
use super::returning::{Returned, Returning};
use super::table::{self, Call, CallRows};
use super::{policy, select};
use crate::engine::{LogicalPlan, OtherColumns, Passed, Passing, PlacedRows, bind_parameters, cast_batches, run};
use crate::error::{Error, Result};
use crate::warehouse::LockMode;

/// An UPDATE that is looked at.
pub struct PlannedUpdate {
    changed: Changed,
    rows: PlacedRows,
    /// places, the new values of all columns, and the columns of what the table is joined with
    plan: LogicalPlan,
    others: OtherColumns,
    pub returning: Option<Returning>,
}

impl PlannedUpdate {
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

    /// What is returned, for a description.
    pub async fn returned(
        &self,
        context: &StatementContext,
        parameters: &Parameters,
    ) -> Result<Option<(LogicalPlan, SchemaRef)>> {
        let Some(returning) = &self.returning else { return Ok(None) };
        let Returned { plan, schema } =
            returning.plan(context, &self.changed, (&self.others, parameters), Vec::new()).await?;
        Ok(Some((plan, schema)))
    }
}

fn check_form(update: &ast::Update) -> Result<()> {
    let unsupported = [
        (!update.table.joins.is_empty(), "a join in the place of the table"),
        (update.limit.is_some(), "LIMIT"),
        (!update.order_by.is_empty(), "ORDER BY"),
        (update.or.is_some(), "OR"),
        (update.output.is_some(), "OUTPUT"),
    ];
    match unsupported.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(Error::not_supported(format!("UPDATE with {what}"))),
        None => Ok(()),
    }
}

fn changed(context: &StatementContext, update: &ast::Update) -> Result<Changed> {
    check_form(update)?;
    let name = table::table_name(&update.table.relation)
        .ok_or_else(|| Error::not_supported("UPDATE of something other than a table"))?;
    Changed::new(table::writable(context, name, "UPDATE")?, &update.table.relation)
}

pub async fn plan(context: &StatementContext, update: &ast::Update, parameters: &Parameters) -> Result<PlannedUpdate> {
    let changed = changed(context, update)?;
    let others: &[ast::TableWithJoins] = match &update.from {
        Some(ast::UpdateTableFromKind::AfterSet(from) | ast::UpdateTableFromKind::BeforeSet(from)) => from,
        None => &[],
    };
    // only RETURNING shows them
    let joined = match &update.returning {
        Some(_) => joined_columns(context, others, parameters).await?,
        None => OtherColumns::new(),
    };
    let assigned = changed.assigned(context, &update.assignments)?;
    let columns = &changed.target.columns;
    let mut parameters = parameters.clone();
    let mut items = Vec::with_capacity(columns.len() + joined.len());
    for (place, column) in columns.iter().enumerate() {
        let value = assigned.iter().find(|(assigned, _)| *assigned == place).map(|(_, value)| value.clone());
        if let Some(value) = value.as_ref().filter(|_| column.declared.is_none()) {
            parameters.expect(value, &column.data_type);
        }
        items.push((value.unwrap_or_else(|| changed.column(column)), format!("@{place}")));
    }
    items.extend(shown(&joined));
    let mut query = changed.query(items, others, update.selection.as_ref())?;
    query.with.clone_from(&context.with);
    let rows = PlacedRows::of(&context.planner(), &changed.target.stored, &changed.target.nullable_schema()).await?;
    let commands = commands(PolicyCommand::Update, looks(update));
    let relations = vec![changed.policed(context, &rows, &commands).await?];
    let plan = select::plan_change(context, query, &parameters, (2, columns), relations).await?;
    let others = as_planned(joined, &plan, columns.len() + 2);
    let returning = Returning::of(&changed, update.returning.as_ref())?;
    Ok(PlannedUpdate { changed, rows, plan, others, returning })
}

/// Whether an UPDATE looks at the rows that it changes, beyond finding them.
fn looks(update: &ast::Update) -> bool {
    update.from.is_some()
        || update.selection.as_ref().is_some_and(policy::names_columns)
        || update.assignments.iter().any(|assignment| policy::names_columns(&assignment.value))
        || update.returning.iter().flatten().any(policy::returns_columns)
}

/// The commands whose policies say which rows a statement changes: who looks at rows needs to see them, too.
pub fn commands(own: PolicyCommand, looks: bool) -> Vec<PolicyCommand> {
    std::iter::once(own).chain(looks.then_some(PolicyCommand::Select)).collect()
}

/// What policies ask of the rows that an UPDATE leaves.
pub fn updated_passing(looks: bool) -> Vec<Passing> {
    let check = Passing { command: PolicyCommand::Update, what: Passed::Check };
    let seen = Passing { command: PolicyCommand::Select, what: Passed::Seen };
    std::iter::once(check).chain(looks.then_some(seen)).collect()
}

/// The columns of what a table is joined with.
pub async fn joined_columns(
    context: &StatementContext,
    others: &[ast::TableWithJoins],
    parameters: &Parameters,
) -> Result<OtherColumns> {
    if others.is_empty() {
        return Ok(OtherColumns::new());
    }
    let mut query = super::changing::parse_query("SELECT * FROM t")?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.from = others.to_vec();
    }
    query.with.clone_from(&context.with);
    select::columns_of(context, query, parameters).await
}

/// Columns in the types that they have in a plan, from its n-th column on.
pub fn as_planned(columns: OtherColumns, plan: &LogicalPlan, first: usize) -> OtherColumns {
    let types = plan.schema().fields().iter().skip(first).map(|field| field.data_type().clone());
    columns
        .into_iter()
        .zip(types)
        .map(|((relation, field), data_type)| (relation, field.with_data_type(data_type)))
        .collect()
}

/// These columns, to be selected under names of their own.
pub fn shown(columns: &OtherColumns) -> impl Iterator<Item = (ast::Expr, String)> {
    columns.iter().enumerate().map(|(number, (relation, field))| {
        let parts = relation.iter().chain([field.name()]).map(|part| ast::Ident::with_quote('"', part));
        (ast::Expr::CompoundIdentifier(parts.collect()), format!("@@{number}"))
    })
}

pub async fn update(
    context: &mut StatementContext,
    update: &ast::Update,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    let target = changed(context, update)?.target;
    table::lock(context, &target, LockMode::Modify).await?;
    let planned = plan(context, update, parameters).await?;
    let PlannedUpdate { changed, rows, plan, others, returning } = planned;
    let target = &changed.target;
    let plan = bind_parameters(plan, &parameters.values)?;
    let n_columns = target.columns.len();
    let schema = stored_types(&plan, target.nullable_schema());
    let removing = Arc::new(Removing::new(rows));
    let beside = Arc::new(Seen::default());
    let (found, seen_beside, keeps) = (Arc::clone(&removing), Arc::clone(&beside), returning.is_some());
    let new_schema = target.nullable_schema();
    let batches = run(&context.planner().state(), &cast_batches(plan, &schema)?).await?.map_err(Error::from);
    let new = batches.and_then(move |batch| {
        let new = || -> Result<RecordBatch> {
            let rows = found.add(&batch)?;
            if keeps {
                seen_beside.add(columns_from(&rows, n_columns + 2)?)?;
            }
            let columns = rows.columns()[2..n_columns + 2].to_vec();
            Ok(RecordBatch::try_new(Arc::clone(&new_schema), columns)?)
        };
        futures::future::ready(new())
    });
    let numbered = new.map_ok(|rows| CallRows { numbers: (1..=rows.num_rows() as u64).collect(), rows }).boxed();
    let seen = keeps.then(Arc::<Seen>::default);
    let passing = updated_passing(looks(update));
    let call = Call { removing: Some(removing), seen: seen.clone(), ..Call::plain(numbered, passing) };
    let n_rows = table::gather(context, target, call, cancel).await?;
    let (Some(returning), Some(seen)) = (returning, seen) else {
        return Ok(Response::done(format!("UPDATE {n_rows}")));
    };
    let rows = side_by_side(seen.take(), beside.take())?;
    let returned = returning.plan(context, &changed, (&others, parameters), rows).await?;
    returned.response(context, RowsTag::Update).await
}

/// The columns of a plan, of which those behind the places are cast to the types of the table.
pub fn stored_types(plan: &LogicalPlan, own: SchemaRef) -> SchemaRef {
    let fields = plan.schema().fields().iter().enumerate().map(|(place, field)| {
        let data_type = match place.checked_sub(2).and_then(|place| own.fields().get(place)) {
            Some(own) => own.data_type(),
            None => field.data_type(),
        };
        Field::new(field.name(), DataType::clone(data_type), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub fn columns_from(batch: &RecordBatch, first: usize) -> Result<RecordBatch> {
    let columns: Vec<usize> = (first..batch.num_columns()).collect();
    Ok(batch.project(&columns)?)
}

/// Rows with others beside them: as many, in the same order.
pub fn side_by_side(own: Vec<RecordBatch>, beside: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let pairs = own.into_iter().zip(beside);
    pairs
        .map(|(own, beside)| {
            let fields = own.schema().fields().iter().chain(beside.schema().fields()).cloned().collect::<Vec<_>>();
            let columns = own.columns().iter().chain(beside.columns()).cloned().collect();
            Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
        })
        .collect()
}
