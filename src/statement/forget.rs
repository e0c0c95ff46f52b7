//! `DELETE FROM feature_view | feature_table WHERE key = …`: the right to be forgotten.

use std::collections::HashSet;
use std::sync::Arc;

use granary_catalog::{Author, Object};
use granary_sql::name::quote;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::StatementContext;
use super::execute::Parameters;
use super::select;
use super::table::table_name;
use crate::engine::{BoundView, LogicalPlan, bind_parameters, declared_columns, named_keys, table_reference};
use crate::error::{Error, Kind, Result};
use crate::materialize::{self, Forgetting};

/// Whether a DELETE is from a feature view or a feature table: then it forgets keys, as a job.
pub fn forgets(context: &StatementContext, delete: &ast::Delete) -> bool {
    target(context, delete)
        .is_some_and(|(object, _)| matches!(*object, Object::FeatureView(_) | Object::FeatureTable(_)))
}

/// The object that is deleted from, and its place in the statement.
fn target(context: &StatementContext, delete: &ast::Delete) -> Option<(Arc<Object>, ast::TableFactor)> {
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = from.as_slice() else { return None };
    let reference = table_reference(table_name(&from.relation)?)?;
    let object = context.scope.relation(&reference).ok().flatten()?;
    Some((Arc::clone(object), from.relation.clone()))
}

/// The keys are those of a query: `SELECT * FROM columns WHERE …`, which is planned and never run.
pub async fn plan_forget(
    context: &StatementContext,
    delete: &ast::Delete,
    parameters: &Parameters,
) -> Result<LogicalPlan> {
    let (object, factor) = target(context, delete).ok_or_else(|| Error::internal("a DELETE from nothing"))?;
    let unsupported = [
        (delete.using.is_some(), "USING"),
        (delete.returning.is_some(), "RETURNING"),
        (delete.limit.is_some(), "LIMIT"),
        (!delete.order_by.is_empty(), "ORDER BY"),
        (delete.selection.is_none(), "all keys"),
    ];
    if let Some((_, what)) = unsupported.iter().find(|(is_there, _)| *is_there) {
        let (kind, name) = (object.kind().as_str(), object.name());
        return Err(
            Error::not_supported(format!("DELETE from {kind} \"{name}\" with {what}")).with_hint(hint(&object)?)
        );
    }
    let columns = match object.as_ref() {
        Object::FeatureTable(table) => declared_columns(table),
        _ => bound(&object)?.output,
    };
    // no object can have this name
    let planned_name = format!("{}@keys", object.name());
    let shown_name = match &factor {
        ast::TableFactor::Table { alias: Some(alias), .. } => alias.name.to_string(),
        _ => quote(object.name()),
    };
    let text = format!("SELECT * FROM {} AS {shown_name}", quote(&planned_name));
    let parsed = granary_sql::parse(&text)?.into_iter().next().map(|parsed| parsed.statement);
    let Some(granary_sql::Statement::Query(query)) = parsed else {
        return Err(Error::internal("a query of keys is no query"));
    };
    let mut query = query.ast;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.selection.clone_from(&delete.selection);
    }
    select::plan_write(context, ast::Statement::Query(query), parameters, (planned_name, columns)).await
}

fn bound(object: &Object) -> Result<BoundView> {
    match object {
        Object::FeatureView(view) => BoundView::of_feature_view(view),
        Object::FeatureTable(table) => BoundView::of_feature_table(table),
        _ => Err(Error::internal("keys of something else than features")),
    }
}

fn hint(object: &Object) -> Result<String> {
    let keys: Vec<String> = bound(object)?.keys.iter().map(|key| format!("{} = …", quote(&key.name))).collect();
    Ok(format!("name values of all its join keys: WHERE {}", keys.join(" AND ")))
}

/// Forgets the keys that the condition names; gives how many of them had anything.
pub async fn forget(
    context: &StatementContext,
    delete: &ast::Delete,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<u64> {
    let plan = bind_parameters(plan_forget(context, delete, parameters).await?, &parameters.values)?;
    let (object, _) = target(context, delete).ok_or_else(|| Error::internal("a DELETE from nothing"))?;
    let (kind, name) = (object.kind().as_str(), object.name());
    if matches!(*object, Object::FeatureView(_)) && !context.scope.is_live() {
        return Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            "a development workspace computes on demand and never materializes: there is nothing to forget",
        )
        .with_hint("delete the rows in the sources"));
    }
    let view = Arc::new(bound(&object)?);
    let Some(keys) = named_keys(&context.planner(), &view, &plan)? else {
        let what = format!("DELETE from {kind} \"{name}\" by anything but values of all its join keys");
        return Err(Error::not_supported(what).with_hint(hint(&object)?));
    };
    let keys: HashSet<_> = keys.into_iter().collect();
    if keys.is_empty() {
        return Ok(0);
    }
    let statement = format!("DELETE FROM {} WHERE … ({} keys)", quote(name), keys.len());
    let author = Author { role: context.role.clone(), at_us: context.now_us, statement };
    let forgetting = Forgetting { view, workspace: context.scope.workspace, keys, author };
    materialize::forget(&context.warehouse, forgetting, cancel.child_token()).await
}
