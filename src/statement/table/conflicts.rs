//! `INSERT … ON CONFLICT …` and `INSERT … RETURNING`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::PolicyCommand;
use granary_sql::name::{fold, quote};
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::{
    Call, ExistingKeys, INSERT, Target, UniqueKey, constant_insert, gather, inserted_passing, numbered, plan_insert,
    writable,
};
use crate::engine::{
    GivenRelation, LogicalPlan, OtherColumns, PLACE_FILE, PLACE_ROW, Passed, Passing, PlacedRows, bind_parameters,
    cast_batches, insert_input, memory_table, run,
};
use crate::error::{Error, Kind, Result};
use crate::statement::changing::{Changed, Removing, Seen, parse_query};
use crate::statement::context::StatementContext;
use crate::statement::execute::{Parameters, Response, RowsTag};
use crate::statement::returning::{Returned, Returning};
use crate::statement::select;
use crate::statement::update::{stored_types, updated_passing};

/// Rows that are looked at before they are written.
const MOST_BYTES: usize = 1 << 30;

/// An INSERT that returns rows, or that may meet others, looked at for its parameters and columns.
pub struct Planned {
    pub plans: Vec<LogicalPlan>,
    pub returned: Option<(LogicalPlan, SchemaRef)>,
}

pub async fn plan(context: &StatementContext, insert: &ast::Insert, parameters: &Parameters) -> Result<Planned> {
    let (target, plan) = plan_insert(context, insert, parameters).await?;
    let changed = changed(insert, target)?;
    let mut plans = vec![plan];
    if let Some(conflict) = on_conflict(insert)? {
        arbiters(&changed.target, conflict)?;
        if let ast::OnConflictAction::DoUpdate(update) = &conflict.action {
            let rows =
                PlacedRows::of(&context.planner(), &changed.target.stored, &changed.target.nullable_schema()).await?;
            plans.push(plan_update(context, (&changed, update), (rows, Vec::new()), parameters).await?);
        }
    }
    let returned = match Returning::of(&changed, insert.returning.as_ref())? {
        None => None,
        Some(returning) => {
            let none = OtherColumns::new();
            let Returned { plan, schema } = returning.plan(context, &changed, (&none, parameters), Vec::new()).await?;
            Some((plan, schema))
        }
    };
    Ok(Planned { plans, returned })
}

fn changed(insert: &ast::Insert, target: Target) -> Result<Changed> {
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(Error::not_supported("INSERT into something other than a table"));
    };
    Ok(Changed::inserted(target, name, insert.table_alias.as_ref().map(|alias| alias.alias.clone())))
}

fn on_conflict(insert: &ast::Insert) -> Result<Option<&ast::OnConflict>> {
    match &insert.on {
        None => Ok(None),
        Some(ast::OnInsert::OnConflict(conflict)) => Ok(Some(conflict)),
        Some(_) => Err(Error::new(Kind::Syntax, "INSERT has ON CONFLICT, not this")),
    }
}

/// The keys that a row must not share with another one to be inserted.
fn arbiters(target: &Target, conflict: &ast::OnConflict) -> Result<Vec<UniqueKey>> {
    let mut all = UniqueKey::all(target);
    if target.table.is_none() {
        return Err(Error::not_supported("INSERT … ON CONFLICT into something other than a table"));
    }
    match &conflict.conflict_target {
        None if matches!(conflict.action, ast::OnConflictAction::DoUpdate(_)) => {
            let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
            Err(Error::new(Kind::Syntax, message).with_hint("For example, ON CONFLICT (column_name)."))
        }
        None => Ok(all),
        Some(ast::ConflictTarget::Columns(columns)) => {
            let wanted: HashSet<String> = columns.iter().map(fold).collect();
            if let Some(missing) = wanted.iter().find(|name| target.columns.iter().all(|column| column.name != **name))
            {
                return Err(Error::new(Kind::UndefinedColumn, format!("column \"{missing}\" does not exist")));
            }
            all.retain(|key| key.columns.iter().cloned().collect::<HashSet<_>>() == wanted);
            if all.is_empty() {
                let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                return Err(Error::new(Kind::InvalidColumnReference, message));
            }
            Ok(all)
        }
        Some(ast::ConflictTarget::OnConstraint(name)) => {
            let name = granary_sql::name::parts(name).pop().unwrap_or_default();
            all.retain(|key| key.name == name && !key.is_index);
            if all.is_empty() {
                let message = format!("constraint \"{name}\" for table \"{}\" does not exist", target.name);
                return Err(Error::new(Kind::UndefinedObject, message));
            }
            Ok(all)
        }
    }
}

pub async fn insert(
    context: &mut StatementContext,
    insert: &ast::Insert,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Response> {
    let ast::TableObject::TableName(name) = &insert.table else {
        return Err(Error::not_supported("INSERT into something other than a table"));
    };
    let changed = changed(insert, writable(context, name, INSERT)?)?;
    if changed.target.table.is_none() && insert.returning.is_some() {
        return Err(Error::not_supported("INSERT … RETURNING into something other than a table"));
    }
    let returning = Returning::of(&changed, insert.returning.as_ref())?;
    let rows = match constant_insert(context, insert, parameters)? {
        Some((_, rows)) => futures::stream::once(async move { Ok(rows) }).boxed(),
        None => {
            let (target, plan) = plan_insert(context, insert, parameters).await?;
            let plan =
                cast_batches(insert_input(bind_parameters(plan, &parameters.values)?)?, &target.nullable_schema())?;
            run(&context.planner().state(), &plan).await?.map_err(Error::from).boxed()
        }
    };
    let seen = returning.is_some().then(Arc::<Seen>::default);
    let passing = inserted_passing(insert);
    let call = match on_conflict(insert)? {
        None => Call { seen: seen.clone(), ..Call::plain(numbered(rows), passing) },
        Some(conflict) => {
            let proposed = proposed(context, &changed.target, numbered(rows), &passing).await?;
            let (rows, removing) = resolve(context, (&changed, conflict), proposed, parameters).await?;
            // each has passed what its command asks
            Call { seen: seen.clone(), removing, ..Call::plain(rows, Vec::new()) }
        }
    };
    let n_rows = gather(context, &changed.target, call, cancel).await?;
    let (Some(returning), Some(seen)) = (returning, seen) else {
        return Ok(Response::done(format!("INSERT 0 {n_rows}")));
    };
    let none = OtherColumns::new();
    let returned = returning.plan(context, &changed, (&none, parameters), seen.take()).await?;
    returned.response(context, RowsTag::Insert).await
}

/// All rows that are to be inserted, checked.
async fn proposed(
    context: &StatementContext,
    target: &Target,
    rows: super::CallStream,
    passing: &[Passing],
) -> Result<Vec<RecordBatch>> {
    let checks = Arc::new(super::Checks::new(context, target, None, passing)?);
    let mut rows = checks.applied_to(rows);
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = rows.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > MOST_BYTES {
            return Err(Error::new(Kind::OutOfMemory, "too many rows for ON CONFLICT"));
        }
        batches.push(batch);
    }
    Ok(batches)
}

/// A row that is there already, and the one that was to be inserted.
struct Met {
    place: (usize, u64),
    batch: usize,
    row: u32,
}

/// The rows to be written, and those that go for them.
async fn resolve(
    context: &StatementContext,
    (changed, conflict): (&Changed, &ast::OnConflict),
    proposed: Vec<RecordBatch>,
    parameters: &Parameters,
) -> Result<(super::CallStream, Option<Arc<Removing>>)> {
    let keys = arbiters(&changed.target, conflict)?;
    let mut existing = Vec::new();
    for key in &keys {
        existing.push((key, ExistingKeys::of(context, &changed.target, key).await?, HashSet::new()));
    }
    let updates = matches!(conflict.action, ast::OnConflictAction::DoUpdate(_));
    let second_time = || {
        Error::new(Kind::CardinalityViolation, "ON CONFLICT DO UPDATE command cannot affect row a second time")
            .with_hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            )
    };
    let (mut new, mut met, mut touched) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, batch) in proposed.iter().enumerate() {
        let found = existing.iter().map(|(key, ..)| key.keys(batch)).collect::<Result<Vec<_>>>()?;
        let mut inserted = Vec::new();
        for row in 0..batch.num_rows() {
            let own: Vec<Option<u128>> = found.iter().map(|keys| keys[row]).collect();
            let mut of_keys =
                existing.iter().zip(&own).filter_map(|((_, existing, seen), key)| Some((existing, seen, (*key)?)));
            let place = of_keys.clone().find_map(|(existing, _, key)| existing.places(key).next());
            let is_repeated = of_keys.any(|(_, seen, key)| seen.contains(&key));
            let row = u32::try_from(row).map_err(|_| Error::internal("a batch has too many rows"))?;
            match place {
                _ if is_repeated && updates => return Err(second_time()),
                Some(place) if updates && !touched.insert(place) => return Err(second_time()),
                Some(place) => met.push(Met { place, batch: number, row }),
                None if is_repeated => {}
                None => {
                    inserted.push(row);
                    for ((_, _, seen), key) in existing.iter_mut().zip(own) {
                        seen.extend(key);
                    }
                }
            }
        }
        new.push(take_record_batch(batch, &UInt32Array::from(inserted))?);
    }
    let new = futures::stream::iter(new.into_iter().map(Ok));
    let ast::OnConflictAction::DoUpdate(update) = &conflict.action else {
        return Ok((numbered(new.boxed()), None));
    };
    let Some((_, known, _)) = existing.first().filter(|_| !met.is_empty()) else {
        return Ok((numbered(new.boxed()), None));
    };
    let origins: HashSet<i32> = met.iter().filter_map(|met| i32::try_from(met.place.0).ok()).collect();
    let rows = known.rows().only(|origin| origins.contains(&origin));
    let excluded = excluded(&proposed, &met)?;
    check_met(context, changed, (rows.clone(), excluded.clone())).await?;
    let plan = plan_update(context, (changed, update), (rows.clone(), excluded), parameters).await?;
    let plan = bind_parameters(plan, &parameters.values)?;
    let schema = stored_types(&plan, changed.target.nullable_schema());
    let removing = Arc::new(Removing::new(rows));
    let (found, schema_of_new) = (Arc::clone(&removing), changed.target.nullable_schema());
    let updated = run(&context.planner().state(), &cast_batches(plan, &schema)?).await?.map_err(Error::from);
    let updated = updated.and_then(move |batch| {
        let rows = || -> Result<RecordBatch> {
            let rows = found.add(&batch)?;
            Ok(RecordBatch::try_new(Arc::clone(&schema_of_new), rows.columns()[2..].to_vec())?)
        };
        futures::future::ready(rows())
    });
    let checks = Arc::new(super::Checks::new(context, &changed.target, None, &updated_passing(true))?);
    let updated = checks.applied_to(numbered(updated.boxed()));
    Ok((numbered(new.chain(updated).boxed()), Some(removing)))
}

/// Refuses to meet rows that policies hide, whatever becomes of them: before a condition of the statement sees them.
async fn check_met(
    context: &StatementContext,
    changed: &Changed,
    (rows, excluded): (PlacedRows, Vec<RecordBatch>),
) -> Result<()> {
    let Some(table) = &changed.target.table else { return Ok(()) };
    let passing = [PolicyCommand::Update, PolicyCommand::Select].map(|command| Passing { command, what: Passed::Met });
    let Some(checks) = context.planner().row_checks(table, &passing)? else { return Ok(()) };
    let all = ast::DoUpdate { assignments: Vec::new(), selection: None };
    let plan = plan_update(context, (changed, &all), (rows, excluded), &Parameters::default()).await?;
    let schema = stored_types(&plan, changed.target.nullable_schema());
    let mut met = run(&context.planner().state(), &cast_batches(plan, &schema)?).await?;
    while let Some(batch) = met.try_next().await.map_err(Error::from)? {
        let columns = (2..batch.num_columns()).collect::<Vec<_>>();
        checks.check(&batch.project(&columns)?).await?;
    }
    Ok(())
}

/// The rows that were not inserted, each with the place of the one that was there.
fn excluded(proposed: &[RecordBatch], met: &[Met]) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for (number, batch) in proposed.iter().enumerate() {
        let of_batch = || met.iter().filter(|met| met.batch == number);
        let rows = take_record_batch(batch, &UInt32Array::from_iter_values(of_batch().map(|met| met.row)))?;
        let files = of_batch().map(|met| i32::try_from(met.place.0).unwrap_or(i32::MAX));
        let numbers = of_batch().map(|met| met.place.1.cast_signed());
        let schema = with_places(&batch.schema());
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int32Array::from_iter_values(files)));
        columns.push(Arc::new(Int64Array::from_iter_values(numbers)));
        batches.push(RecordBatch::try_new(schema, columns)?);
    }
    Ok(batches)
}

fn with_places(schema: &SchemaRef) -> SchemaRef {
    let places = [Field::new(PLACE_FILE, DataType::Int32, false), Field::new(PLACE_ROW, DataType::Int64, false)];
    let own = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(own.chain(places).collect::<Vec<_>>()))
}

/// `SET …` of the rows that were there, which it sees beside `excluded`.
async fn plan_update(
    context: &StatementContext,
    (changed, update): (&Changed, &ast::DoUpdate),
    (rows, excluded): (PlacedRows, Vec<RecordBatch>),
    parameters: &Parameters,
) -> Result<LogicalPlan> {
    let assigned = changed.assigned(context, &update.assignments)?;
    let mut parameters = parameters.clone();
    let mut items = Vec::new();
    for (place, column) in changed.target.columns.iter().enumerate() {
        let value = assigned.iter().find(|(assigned, _)| *assigned == place).map(|(_, value)| value.clone());
        if let Some(value) = value.as_ref().filter(|_| column.declared.is_none()) {
            parameters.expect(value, &column.data_type);
        }
        items.push((value.unwrap_or_else(|| changed.column(column)), format!("@{place}")));
    }
    let excluded_name = format!("{}@excluded", changed.target.name);
    let alias = quote(&fold(&changed.alias));
    let join = format!(
        "SELECT 1 FROM {} AS excluded WHERE {alias}.\"{PLACE_FILE}\" = excluded.\"{PLACE_FILE}\" AND {alias}.\"{PLACE_ROW}\" = excluded.\"{PLACE_ROW}\"",
        quote(&excluded_name)
    );
    let joined = match *parse_query(&join)?.body {
        ast::SetExpr::Select(select) => select,
        _ => return Err(Error::internal("a query of rows that were met is none")),
    };
    let mut condition = joined.selection.clone();
    if let (Some(join), Some(own)) = (condition.take(), &update.selection) {
        let (left, right) = (Box::new(join), Box::new(ast::Expr::Nested(Box::new(own.clone()))));
        condition = Some(ast::Expr::BinaryOp { left, op: ast::BinaryOperator::And, right });
    } else {
        condition.clone_from(&joined.selection);
    }
    let query = changed.query(items, &joined.from, condition.as_ref())?;
    let excluded_schema = with_places(&changed.target.nullable_schema());
    let excluded =
        excluded.into_iter().map(|rows| RecordBatch::try_new(Arc::clone(&excluded_schema), rows.columns().to_vec()));
    let excluded = excluded.collect::<std::result::Result<Vec<_>, _>>()?;
    let columns = changed.target.columns.clone();
    let excluded = GivenRelation { name: excluded_name, rows: memory_table(excluded_schema, excluded)?, columns };
    let relations = vec![changed.placed(&rows), excluded];
    select::plan_change(context, query, &parameters, (2, &changed.target.columns), relations).await
}
