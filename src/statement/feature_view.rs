//! `CREATE FEATURE VIEW`: everything that the law says of a definition is checked here, once.

mod aggregate;
mod times;
mod window;

use std::collections::BTreeSet;

use arrow::datatypes::DataType;
use futures::TryStreamExt;
use granary_catalog::{
    AggregateFunction, Change, Column, Entity, Feature, FeatureDefinition, FeatureView, GroupId, Object, ObjectId,
    ObjectKind, StoreKind, Trigger, Window,
};
use granary_sql::interval::format_interval;
use granary_sql::name::fold;
use granary_sql::statement::CreateFeatureView;
use granary_sql::{Arguments, FeatureItem, OptionEntry, OptionValue, Options, Statement};
use sqlparser::ast::ObjectName;

use super::context::{NewObject, StatementContext, check_options};
use super::select::{self, PlannedQuery};
use super::stream::is_same_family;
use super::types::type_name;
use crate::engine::{
    BoundView, EventForm, Interface, RowLayout, RowsRequest, StorageChange, argument_type, check_made_rows,
    check_time_type, event_form, event_rows, events_between, made_rows, next_storage, rows_plan, storage_kept_by_owner,
};
use crate::error::{Error, Kind, Result};
use crate::offline::{self, Layout};
use crate::row::normalize_type;
use crate::tile::{FeatureInput, ViewPlan, window_label};
use aggregate::function;
use times::Times;
use window::window;

pub const OPTIONS: [&str; 20] = [
    "schedule",
    "aggregation_interval",
    "data_delay",
    "start",
    "lifetime_start",
    "ttl",
    "trigger",
    "online",
    "offline",
    "unfiltered",
    "buckets",
    "compaction",
    "leading_edge",
    "known_at",
    "cache",
    PAUSED,
    "max_backfill_interval",
    "max_attempts",
    "quality",
    "expected_freshness",
];

/// The option that says that the scheduler leaves the view alone.
pub const PAUSED: &str = "paused";
/// After so many failures a job of the scheduler has failed, unless the view says otherwise.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 10;
const MOST_ATTEMPTS: i64 = 1000;

/// How many files a period of a view is cut into, unless it says so itself.
const DEFAULT_BUCKETS: u32 = 4;
const MAX_BUCKETS: i64 = 1024;

pub async fn create(context: &mut StatementContext, create: &CreateFeatureView) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let (entities, join_keys) = join_keys(context, &create.entities)?;
    let mut query = select::plan_definition(context, &create.query).await?;
    query.depends_on = with_functions(context, create, &query.depends_on)?;
    check_columns(context, create, &query, &join_keys)?;
    let is_stream = reads_stream(context, &query.depends_on)?;
    let times = Times::of(context, create, &query, is_stream)?;
    let secondary_key = secondary_key(context, create, &query)?;
    let features = match &create.features {
        None => attributes(context, create, &query, &join_keys)?,
        Some(items) => aggregates(context, create, items, &query, &times, secondary_key.as_ref())?,
    };
    check_names(context, create, &features, &join_keys, secondary_key.as_ref())?;
    let header = context.new_header(NewObject {
        kind: ObjectKind::FeatureView,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateFeatureView { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    let Some(header) = header else { return Ok(()) };
    let options = &create.options;
    let trigger = match options.choice("trigger", &["scheduled", "manual", "none"])? {
        Some("manual") => Trigger::Manual,
        Some("none") => Trigger::None,
        _ => Trigger::Scheduled,
    };
    let mut view = FeatureView {
        header,
        kind: times.kind,
        entities,
        join_keys,
        timestamp: fold(&create.timestamp),
        secondary_key,
        features,
        query: create.query.text.clone(),
        schedule_us: times.schedule_us,
        aggregation_interval_us: times.interval_us,
        data_delay_us: times.delay_us,
        start_us: times.start_us,
        lifetime_start_us: times.lifetime_start_us,
        ttl_us: times.ttl_us,
        trigger,
        online: options.bool("online")?.unwrap_or(true),
        offline: options.bool("offline")?.unwrap_or(true),
        unfiltered: options.bool("unfiltered")?.unwrap_or(false),
        buckets: buckets(options)?,
        leading_edge: times.leading_edge,
        compaction: times.compaction,
        cache_us: cache_age(options)?,
        known_at: known_at(&create.options, &query)?,
        joins: false,
        paused: options.bool(PAUSED)?.unwrap_or(false),
        max_backfill_interval_us: max_backfill_interval(options, &times)?,
        max_attempts: max_attempts(options)?,
        expected_freshness_us: expected_freshness(options, &times)?,
        quality: options.bool("quality")?.unwrap_or(true),
        storage: None,
        depends_on: query.depends_on.clone(),
    };
    view.joins = joins(context, &view).await?;
    let replaced = context.snapshot().get_as::<FeatureView>(view.header.id).cloned();
    if let Some(replaced) = &replaced {
        view.storage = next_storage(replaced, &view)?;
        keep_by_owner(context, replaced, &mut view)?;
        tell_what_is_missing(context, replaced, &view)?;
    }
    let bound = BoundView::of_feature_view(&view)?;
    check_plan(context, &bound).await?;
    if let Some(existing) = context.snapshot().get(view.header.id) {
        context.check_replaced_interface(existing, &Interface::of_view(&bound))?;
    }
    context.changes.push(Change::put(view));
    Ok(())
}

/// Keeps the rows that the view had, if that is asked for and they would go. Errors: 42P16 if they cannot be those of the new
/// definition. Who may say so is looked at when it is applied.
fn keep_by_owner(context: &StatementContext, replaced: &FeatureView, view: &mut FeatureView) -> Result<()> {
    if !context.suppresses_recreates || !context.scope.is_live() {
        return Ok(());
    }
    let StorageChange::Recreate { reason } = StorageChange::between(replaced, view)? else { return Ok(()) };
    let stream = |view: &FeatureView| context.snapshot().stream_among(&view.depends_on).map(|stream| stream.header.id);
    let kept = match stream(replaced) == stream(view) {
        true => storage_kept_by_owner(replaced, view)?,
        false => Err("it reads another stream".to_owned()),
    };
    match kept {
        Ok(storage) => {
            view.storage = Some(storage);
            Ok(())
        }
        Err(why) => {
            let message = format!("the rows of feature view \"{}\" cannot be kept: {why}", view.header.name);
            let error = Error::new(Kind::InvalidTableDefinition, message);
            let detail =
                format!("They would go because {reason}; --suppress-recreates keeps only rows that are stored alike.");
            Err(error.with_detail(detail).with_hint("plan without it, or define the view under another name"))
        }
    }
}

/// Says of features that rows were stored without how they come to be stored.
fn tell_what_is_missing(context: &mut StatementContext, replaced: &FeatureView, view: &FeatureView) -> Result<()> {
    let id = view.header.id;
    let ledger = context.warehouse.catalog.ledger();
    let has_rows = [StoreKind::Offline, StoreKind::Online].into_iter().any(|store| {
        replaced.group_numbers().iter().any(|group| !ledger.ranges(GroupId::new(id, *group), store).is_empty())
    });
    let StorageChange::NewGroup { features } = StorageChange::between(replaced, view)? else { return Ok(()) };
    if has_rows {
        let name = &view.header.name;
        let told = match features.as_slice() {
            [only] => format!("feature \"{only}\" is not stored yet"),
            several => format!("{} features are not stored yet: {}", several.len(), several.join(", ")),
        };
        let told = Error::new(Kind::SuccessfulCompletion, told);
        context.notices.push(told.with_hint(format!("REFRESH FEATURE VIEW {name}, which makes nothing else anew")));
    }
    Ok(())
}

/// What the query reads, and the functions that the features call besides.
fn with_functions(context: &StatementContext, create: &CreateFeatureView, read: &[ObjectId]) -> Result<Vec<ObjectId>> {
    let mut all: BTreeSet<ObjectId> = read.iter().copied().collect();
    for item in create.features.iter().flatten() {
        if let Arguments::List(list) = &item.function.arguments {
            for argument in list {
                all.extend(select::dependencies(context, &argument.ast)?);
            }
        }
        if let Some(filter) = &item.function.filter {
            all.extend(select::dependencies(context, &filter.ast)?);
        }
    }
    Ok(all.into_iter().collect())
}

/// Whether the rows that the view makes of events are to be stored as they come. A query that can make none may read a
/// backfill.
async fn joins(context: &StatementContext, view: &FeatureView) -> Result<bool> {
    let Some(stream) = context.snapshot().stream_among(&view.depends_on) else { return Ok(false) };
    match event_form(&context.planner(), &BoundView::of_feature_view(view)?, stream).await {
        Ok(form) => Ok(form == EventForm::Joined),
        Err(error) if error.kind() == Kind::FeatureNotSupported && stream.backfill.is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Plans the view's rows as a job would, so that what cannot run is refused now.
async fn check_plan(context: &StatementContext, view: &BoundView) -> Result<()> {
    let planner = context.planner();
    if view.joins {
        check_made_rows(&planner, view).await?;
        offline::check_columns(&view.row_schema(RowLayout::Events), &Layout::Plain)?;
    }
    let plan = rows_plan(&planner, view, RowsRequest::Everything).await?;
    planner.state().optimize(&plan)?;
    // events that are there already were not checked against it
    let snapshot = context.snapshot();
    let stream = snapshot.stream_among(&view.depends_on).filter(|_| context.scope.is_live());
    let Some(stream) = stream.filter(|stream| context.warehouse.ingest.has_events(stream.header.id)) else {
        return Ok(());
    };
    if view.joins {
        if let Some(mut events) = events_between(&planner, stream, 0, i64::MAX.cast_unsigned()).await? {
            while let Some(batch) = events.try_next().await? {
                made_rows(&planner, view, &batch).await?;
            }
        }
    } else if let Some(mut rows) = event_rows(&planner, view).await? {
        while rows.try_next().await?.is_some() {}
    }
    Ok(())
}

/// The entities and all their join keys, in order.
pub fn join_keys(context: &StatementContext, names: &[ObjectName]) -> Result<(Vec<ObjectId>, Vec<Column>)> {
    let mut ids = Vec::new();
    let mut keys: Vec<Column> = Vec::new();
    for name in names {
        let object = context.find(ObjectKind::Entity, name)?;
        let entity: &Entity = object.downcast().ok_or_else(|| Error::internal("an entity is not an entity"))?;
        ids.push(entity.header.id);
        for key in &entity.join_keys {
            match keys.iter().find(|known| known.name == key.name) {
                None => keys.push(key.clone()),
                Some(known) if known.data_type == key.data_type => {}
                Some(known) => {
                    let error = Error::new(
                        Kind::DatatypeMismatch,
                        format!(
                            "join key \"{}\" is {} in one entity and {} in another",
                            key.name,
                            type_name(&known.data_type),
                            type_name(&key.data_type)
                        ),
                    );
                    return Err(context.at(name, error));
                }
            }
        }
    }
    Ok((ids, keys))
}

pub fn key_type_error(key: &Column, found: &DataType) -> Error {
    Error::new(
        Kind::DatatypeMismatch,
        format!(
            "column \"{}\" is {}, but join key \"{}\" of the entity is {}",
            key.name,
            type_name(found),
            key.name,
            type_name(&key.data_type)
        ),
    )
    .with_hint(format!(
        "cast it in the query: CAST({} AS {}) AS {}",
        key.name,
        type_name(&key.data_type),
        key.name
    ))
}

fn column<'a>(query: &'a PlannedQuery, name: &str) -> Option<&'a Column> {
    query.columns.iter().find(|column| column.name == name)
}

fn missing(query: &PlannedQuery, name: &str, role: &str) -> Error {
    let names: Vec<&str> = query.columns.iter().map(|column| column.name.as_str()).collect();
    Error::new(Kind::UndefinedColumn, format!("the query has no column \"{name}\", {role}"))
        .with_detail(format!("Its columns are: {}.", names.join(", ")))
        .with_hint(format!("add it to the SELECT, or name another column with AS {name}"))
}

fn check_columns(
    context: &StatementContext,
    create: &CreateFeatureView,
    query: &PlannedQuery,
    join_keys: &[Column],
) -> Result<()> {
    for key in join_keys {
        let found =
            column(query, &key.name).ok_or_else(|| missing(query, &key.name, "a join key of the view's entity"))?;
        if !is_same_family(&found.data_type, &key.data_type) {
            return Err(key_type_error(key, &found.data_type));
        }
    }
    let name = fold(&create.timestamp);
    let found = column(query, &name)
        .ok_or_else(|| context.at_ident(&create.timestamp, missing(query, &name, "the view's TIMESTAMP")))?;
    check_time_type(&name, &found.data_type, "the query").map_err(|error| context.at_ident(&create.timestamp, error))
}

/// The column that says since when a row is known.
fn known_at(options: &Options, query: &PlannedQuery) -> Result<Option<String>> {
    let Some(name) = options.string("known_at")? else { return Ok(None) };
    let position = options.get("known_at").and_then(|option| option.position);
    let placed = |error: Error| match position.and_then(|position| u32::try_from(position).ok()) {
        Some(position) => error.at(position),
        None => error,
    };
    let found = column(query, &name).ok_or_else(|| placed(missing(query, &name, "named by known_at")))?;
    check_time_type(&name, &found.data_type, "the query").map_err(placed)?;
    Ok(Some(name))
}

fn reads_stream(context: &StatementContext, depends_on: &[ObjectId]) -> Result<bool> {
    let read = || depends_on.iter().filter_map(|id| context.snapshot().get(*id));
    let streams = read().filter(|object| object.kind() == ObjectKind::Stream).count();
    for object in read() {
        match object.kind() {
            ObjectKind::Source | ObjectKind::Stream | ObjectKind::Table | ObjectKind::View | ObjectKind::Function => {}
            // as it is when an event comes
            ObjectKind::FeatureTable if streams > 0 => {}
            other => {
                return Err(Error::new(
                    Kind::WrongObjectType,
                    format!("a feature view cannot read the {} \"{}\"", other.as_str(), object.name()),
                )
                .with_hint(
                    "a feature view reads sources, streams, tables and views, one over a stream feature tables, too",
                ));
            }
        }
    }
    if streams > 1 {
        return Err(Error::not_supported("a feature view over several streams"));
    }
    Ok(streams == 1)
}

/// An option that must be longer than nothing.
pub fn positive_interval(options: &Options, name: &str) -> Result<Option<i64>> {
    match options.interval(name)? {
        Some(interval) if interval.microseconds <= 0 => {
            Err(Error::new(Kind::InvalidParameterValue, format!("{name} must be longer than zero")))
        }
        Some(interval) => Ok(Some(interval.microseconds)),
        None => Ok(None),
    }
}

const SHORTEST_CACHE_US: i64 = 1_000_000;
const LONGEST_CACHE_US: i64 = 86_400_000_000;

/// How long answers may be given again.
pub fn cache_age(options: &Options) -> Result<Option<i64>> {
    match positive_interval(options, "cache")? {
        Some(age_us) if !(SHORTEST_CACHE_US..=LONGEST_CACHE_US).contains(&age_us) => {
            Err(Error::new(Kind::InvalidParameterValue, "cache must be from 1 second to 24 hours"))
        }
        age => Ok(age),
    }
}

pub fn buckets(options: &Options) -> Result<u32> {
    match options.integer("buckets")? {
        None => Ok(DEFAULT_BUCKETS),
        Some(buckets) if (1..=MAX_BUCKETS).contains(&buckets) => {
            u32::try_from(buckets).map_err(|_| Error::internal("a checked number does not fit"))
        }
        Some(_) => Err(Error::new(Kind::InvalidParameterValue, format!("buckets must be from 1 to {MAX_BUCKETS}"))),
    }
}

/// The longest range of one job of the past: a period, or several.
fn max_backfill_interval(options: &Options, times: &Times) -> Result<Option<i64>> {
    let Some(longest_us) = positive_interval(options, "max_backfill_interval")? else { return Ok(None) };
    match times.period_us() {
        period_us if longest_us < period_us => Err(Error::new(
            Kind::InvalidParameterValue,
            format!("max_backfill_interval is shorter than a period of the view, {}", format_interval(period_us)),
        )),
        _ => Ok(Some(longest_us)),
    }
}

/// How old what the view knows may become: between two periods a view is as old as one of them, and as long as its job takes.
fn expected_freshness(options: &Options, times: &Times) -> Result<Option<i64>> {
    let Some(expected_us) = positive_interval(options, "expected_freshness")? else { return Ok(None) };
    let period_us = times.period_us();
    if period_us > 1 && expected_us < period_us.saturating_mul(2) {
        let message =
            format!("expected_freshness is shorter than two periods of the view, each {}", format_interval(period_us));
        return Err(Error::new(Kind::InvalidParameterValue, message));
    }
    Ok(Some(expected_us))
}

fn max_attempts(options: &Options) -> Result<Option<u32>> {
    match options.integer("max_attempts")? {
        None => Ok(None),
        Some(attempts) if (1..=MOST_ATTEMPTS).contains(&attempts) => {
            Ok(Some(u32::try_from(attempts).map_err(|_| Error::internal("a checked number does not fit"))?))
        }
        Some(_) => {
            Err(Error::new(Kind::InvalidParameterValue, format!("max_attempts must be from 1 to {MOST_ATTEMPTS}")))
        }
    }
}

/// Stops the scheduler from making and starting jobs of the view, or lets it go on. Its own statement says so, too.
pub fn pause(context: &mut StatementContext, object: &Object, own: Statement, paused: bool) -> Result<()> {
    let view: &FeatureView = object.downcast().ok_or_else(|| Error::internal("a feature view is not one"))?;
    let Statement::CreateFeatureView(mut create) = own else {
        return Err(Error::internal("a feature view was made by another statement"));
    };
    create.options.entries.retain(|entry| entry.name != PAUSED);
    if paused {
        let value = OptionValue::Bool(true);
        create.options.entries.push(OptionEntry { name: PAUSED.to_owned(), value, position: None });
    }
    let mut view = FeatureView { paused, ..view.clone() };
    let options = create.options.entries.iter();
    view.header.options = options.map(|entry| (entry.name.clone(), entry.value.to_string())).collect();
    view.header.statement = create.to_string();
    context.changes.push(Change::put(view));
    Ok(())
}

fn secondary_key(
    context: &StatementContext,
    create: &CreateFeatureView,
    query: &PlannedQuery,
) -> Result<Option<Column>> {
    let Some(ident) = &create.aggregate_by else { return Ok(None) };
    let name = fold(ident);
    if create.features.is_none() {
        let error = Error::new(Kind::InvalidObjectDefinition, "AGGREGATE BY is for a view with FEATURES");
        return Err(context.at_ident(ident, error));
    }
    let found = column(query, &name)
        .ok_or_else(|| context.at_ident(ident, missing(query, &name, "the AGGREGATE BY column")))?;
    match normalize_type(&found.data_type) {
        Some(data_type) if !data_type.is_nested() => Ok(Some(Column::new(name, data_type, true))),
        _ => {
            let message = format!("column \"{name}\" has type {}, which cannot be a key", type_name(&found.data_type));
            Err(context.at_ident(ident, Error::new(Kind::DatatypeMismatch, message)))
        }
    }
}

fn attributes(
    context: &StatementContext,
    create: &CreateFeatureView,
    query: &PlannedQuery,
    join_keys: &[Column],
) -> Result<Vec<Feature>> {
    let timestamp = fold(&create.timestamp);
    let mut features = Vec::new();
    for column in &query.columns {
        if column.name == timestamp || join_keys.iter().any(|key| key.name == column.name) {
            continue;
        }
        let data_type = normalize_type(&column.data_type).ok_or_else(|| {
            Error::not_supported(format!("feature \"{}\" of type {}", column.name, type_name(&column.data_type)))
        })?;
        features.push(Feature {
            name: column.name.clone(),
            data_type,
            comment: None,
            definition: FeatureDefinition::Attribute { column: column.name.clone() },
        });
    }
    if features.is_empty() {
        let error = Error::new(
            Kind::InvalidObjectDefinition,
            "the query has no column besides keys and time, so the view has no feature",
        )
        .with_hint("add columns to the SELECT, or declare aggregates with FEATURES (…)");
        return Err(context.at(&create.name, error));
    }
    Ok(features)
}

fn aggregates(
    context: &StatementContext,
    create: &CreateFeatureView,
    items: &[FeatureItem],
    query: &PlannedQuery,
    times: &Times,
    secondary: Option<&Column>,
) -> Result<Vec<Feature>> {
    let planner = context.planner();
    let mut features = Vec::with_capacity(items.len());
    let mut inputs = Vec::with_capacity(items.len());
    for item in items {
        let window = window(context, create, item, times)?;
        let (function, arguments) =
            function(&item.function).map_err(|error| context.at_ident(&item.function.name, error))?;
        let mut input_types = Vec::new();
        for argument in &arguments {
            let counted = matches!(function, AggregateFunction::Count);
            let found = argument_type(&planner, argument, query.plan.schema());
            let data_type = match found {
                // Of a counted value only its presence matters, so any type will do.
                Err(error) if counted && error.kind() == Kind::FeatureNotSupported => DataType::Boolean,
                other => other.map_err(|error| in_feature(context, item, error))?,
            };
            input_types.push(if counted { DataType::Boolean } else { data_type });
        }
        let filter = item.function.filter.as_ref().map(|filter| filter.text.clone());
        if let Some(filter) = &filter {
            let data_type = argument_type(&planner, filter, query.plan.schema())
                .map_err(|error| in_feature(context, item, error))?;
            if data_type != DataType::Boolean {
                let message = format!("argument of FILTER must be type boolean, not type {}", type_name(&data_type));
                return Err(in_feature(context, item, Error::new(Kind::DatatypeMismatch, message)));
            }
        }
        let stored = if arguments.is_empty() { vec![DataType::Boolean] } else { input_types.clone() };
        let input =
            FeatureInput { function: function.clone(), inputs: stored.into_iter().enumerate().collect(), window };
        // Planned alone for a clear place of the error; the type that counts comes with it.
        let secondary_type = secondary.map(|column| column.data_type.clone());
        let (plan, _) = ViewPlan::for_features(times.timing(), secondary_type, std::slice::from_ref(&input))
            .map_err(|error| in_feature(context, item, error))?;
        let data_type = plan.features.first().map(|feature| feature.data_type.clone());
        features.push(Feature {
            name: fold(&item.alias),
            data_type: data_type.ok_or_else(|| Error::internal("a planned feature has no type"))?,
            comment: item.comment.clone(),
            definition: FeatureDefinition::Aggregate { function, inputs: arguments, input_types, filter, window },
        });
        inputs.push(input);
    }
    if features.is_empty() {
        return Err(Error::new(Kind::InvalidObjectDefinition, "FEATURES () is empty"));
    }
    Ok(features)
}

/// An error inside an argument has a place in the argument's own text: the feature's name is a better one.
fn in_feature(context: &StatementContext, item: &FeatureItem, error: Error) -> Error {
    context.at_ident(&item.function.name, error.without_position())
}

fn check_names(
    context: &StatementContext,
    create: &CreateFeatureView,
    features: &[Feature],
    join_keys: &[Column],
    secondary: Option<&Column>,
) -> Result<()> {
    let mut names: Vec<String> = join_keys.iter().map(|key| key.name.clone()).collect();
    if let Some(secondary) = secondary {
        let mut windows: Vec<Window> = Vec::new();
        for window in features.iter().filter_map(Feature::window) {
            if !windows.contains(window) {
                windows.push(*window);
                names.push(format!("{}_keys_{}", secondary.name, window_label(window)));
            }
        }
    }
    for feature in features {
        if names.contains(&feature.name) {
            let error = Error::new(
                Kind::DuplicateColumn,
                format!("column name \"{}\" is used more than once in the view", feature.name),
            )
            .with_hint("give the feature another name with AS");
            return Err(context.at(&create.name, error));
        }
        if feature.name.starts_with('_') {
            let error = Error::new(
                Kind::InvalidName,
                format!("feature name \"{}\" begins with _, which system columns do", feature.name),
            );
            return Err(context.at(&create.name, error));
        }
        names.push(feature.name.clone());
    }
    Ok(())
}
