//! `DELETE FROM t [USING …] [WHERE …] [RETURNING …]` of ordinary tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use granary_catalog::{Column, PolicyCommand};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::changing::{Changed, Removing, Seen, check_current};
use super::context::StatementContext;
use super::execute::{Parameters, Response, RowsTag};
use super::returning::{Returned, Returning};
use super::table::{self, DELETE};
use super::update::{as_planned, columns_from, commands, joined_columns, shown};
use super::{policy, select};
use crate::engine::{LogicalPlan, OtherColumns, PlacedRows, TableWrite, bind_parameters, run};
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

/// A DELETE that is looked at.
pub struct PlannedDelete {
    changed: Changed,
    rows: PlacedRows,
    /// places; behind them, if rows are returned, all columns of the table and of what it is joined with
    plan: LogicalPlan,
    others: OtherColumns,
    pub returning: Option<Returning>,
}

impl PlannedDelete {
    pub fn plan(&self) -> &LogicalPlan {
        &self.plan
    }

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

fn changed(context: &StatementContext, delete: &ast::Delete) -> Result<Changed> {
    let unsupported = [
        (delete.limit.is_some(), "LIMIT"),
        (!delete.order_by.is_empty(), "ORDER BY"),
        (delete.output.is_some(), "OUTPUT"),
    ];
    if let Some((_, what)) = unsupported.iter().find(|(is_there, _)| *is_there) {
        return Err(Error::not_supported(format!("DELETE with {what}")));
    }
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = from.as_slice() else {
        return Err(Error::new(Kind::Syntax, "DELETE is from one table"));
    };
    let name = table::table_name(&from.relation).filter(|_| from.joins.is_empty());
    let name = name.ok_or_else(|| Error::not_supported("DELETE from something other than a table"))?;
    Changed::new(table::writable(context, name, DELETE)?, &from.relation)
}

pub async fn plan(context: &StatementContext, delete: &ast::Delete, parameters: &Parameters) -> Result<PlannedDelete> {
    let changed = changed(context, delete)?;
    let others = delete.using.as_deref().unwrap_or_default();
    let returning = Returning::of(&changed, delete.returning.as_ref())?;
    let (mut items, mut joined) = (Vec::new(), OtherColumns::new());
    if returning.is_some() {
        let own = changed.target.columns.iter().enumerate();
        items.extend(own.map(|(place, column)| (changed.column(column), format!("@{place}"))));
        joined = joined_columns(context, others, parameters).await?;
        items.extend(shown(&joined));
    }
    let mut query = changed.query(items, others, delete.selection.as_ref())?;
    query.with.clone_from(&context.with);
    let rows = PlacedRows::of(&context.planner(), &changed.target.stored, &changed.target.nullable_schema()).await?;
    let looks = !others.is_empty()
        || delete.selection.as_ref().is_some_and(policy::names_columns)
        || delete.returning.iter().flatten().any(policy::returns_columns);
    let commands = commands(PolicyCommand::Delete, looks);
    let relations = vec![changed.policed(context, &rows, &commands).await?];
    let own: &[Column] = if returning.is_some() { &changed.target.columns } else { &[] };
    let plan = select::plan_change(context, query, parameters, (2, own), relations).await?;
    let others = as_planned(joined, &plan, own.len() + 2);
    Ok(PlannedDelete { changed, rows, plan, others, returning })
}

pub async fn delete(
    context: &mut StatementContext,
    delete: &ast::Delete,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    let target = changed(context, delete)?.target;
    table::lock(context, &target, LockMode::Modify).await?;
    let PlannedDelete { changed, rows, plan, others, returning } = plan(context, delete, parameters).await?;
    let plan = bind_parameters(plan, &parameters.values)?;
    let removing = Removing::new(rows);
    let seen = Seen::default();
    let mut batches = run(&context.planner().state(), &plan).await?.map_err(Error::from);
    while let Some(batch) = batches.try_next().await? {
        if cancel.is_cancelled() {
            return Err(Error::new(Kind::QueryCanceled, "canceling statement due to user request"));
        }
        let found = removing.add(&batch)?;
        if returning.is_some() {
            seen.add(columns_from(&found, 2)?)?;
        }
    }
    let (removed, removed_held) = removing.taken();
    let table = changed.target.stored.clone();
    let write = TableWrite { table, removed: Arc::new(removed), removed_held, ..TableWrite::default() };
    check_current(context, &write).await?;
    context.writes.push(write);
    let Some(returning) = returning else {
        return Ok(Response::done(format!("DELETE {}", removing.count())));
    };
    let returned = returning.plan(context, &changed, (&others, parameters), seen.take()).await?;
    returned.response(context, RowsTag::Delete).await
}
