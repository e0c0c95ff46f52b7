//! `CREATE MATERIALIZED VIEW` and `REFRESH MATERIALIZED VIEW`: a table that a query fills.

use granary_catalog::{Change, Materialized, Object, ObjectKind, Table};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::context::{NewObject, StatementContext};
use super::table::{self, Declared};
use super::view;
use crate::access::Asker;
use crate::engine::Purpose;
use crate::error::{Error, Kind, Result};
use crate::warehouse::LockMode;

/// Gives the number of its rows; `None` if it was there already.
pub async fn create(
    context: &mut StatementContext,
    create: &ast::CreateView,
    statement: &str,
    cancel: &CancellationToken,
) -> Result<Option<u64>> {
    if create.or_replace {
        return Err(Error::new(Kind::Syntax, "CREATE OR REPLACE is not for materialized views"));
    }
    let text = view::query_text(statement, &create.query);
    let (planned, text) = view::plan_named(context, (&create.query, &text), &create.columns).await?;
    let columns = table::columns_of(&planned)?;
    let new = NewObject {
        kind: ObjectKind::Table,
        name: &create.name,
        or_replace: false,
        if_not_exists: create.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: format!("CREATE MATERIALIZED VIEW {} AS {text}", create.name),
    };
    let declared = Declared { columns, ..Declared::default() };
    let Some(mut own) = table::make_table(context, new, (declared, false))? else { return Ok(None) };
    let is_populated = !view::is_without_data(statement);
    own.materialized = Some(Materialized { query: text, depends_on: planned.depends_on, is_populated });
    context.changes.push(Change::put(own.clone()));
    match is_populated {
        true => table::fill_table(context, &own, planned.plan, cancel).await.map(Some),
        false => Ok(Some(0)),
    }
}

pub async fn refresh(
    context: &mut StatementContext,
    (name, with_data, concurrently): (&ast::ObjectName, bool, bool),
    cancel: &CancellationToken,
) -> Result<()> {
    let found = context.find(ObjectKind::Table, name);
    let wrong = || Error::new(Kind::FeatureNotSupported, format!("\"{name}\" is not a materialized view"));
    let object = found.map_err(|error| match error.kind() {
        Kind::UndefinedTable => {
            context.at(name, Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist")))
        }
        _ => wrong(),
    })?;
    let Object::Table(own) = object.as_ref() else { return Err(wrong()) };
    let Some(materialized) = &own.materialized else { return Err(wrong()) };
    if concurrently && !with_data {
        return Err(Error::new(Kind::Syntax, "REFRESH options CONCURRENTLY and WITH NO DATA cannot be used together"));
    }
    if concurrently && !materialized.is_populated {
        let message = "CONCURRENTLY cannot be used when the materialized view is not populated";
        return Err(Error::new(Kind::FeatureNotSupported, message));
    }
    context.lock(own, LockMode::Alter).await?;
    let mut planner = context.planner();
    // with its owner's rights, whose name only the owner itself has
    let owner = own.header.owner.as_str().into();
    planner.scope.asker = if own.header.owner == context.role { Asker::Owner(owner) } else { Asker::Maker(owner) };
    planner.scope.mean(materialized.depends_on.clone());
    let plan = match planner.settled_text(&materialized.query, Purpose::Store).await? {
        Some(plan) => plan,
        None => planner.plan_query_text(&materialized.query).await?,
    };
    let filled = Materialized { is_populated: with_data, ..materialized.clone() };
    let own = Table { storage_id: table::new_storage_id()?, materialized: Some(filled), ..own.clone() };
    context.changes.push(Change::put(own.clone()));
    if with_data {
        table::fill_table(context, &own, plan, cancel).await?;
    }
    Ok(())
}
