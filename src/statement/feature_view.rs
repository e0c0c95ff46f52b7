//! `CREATE FEATURE VIEW`: everything that the law says of a definition is checked here, once.

use arrow::datatypes::DataType;
use granary_catalog::{
    AggregateFunction, Change, Column, Entity, Feature, FeatureDefinition, FeatureView, LeadingEdge, ObjectId,
    ObjectKind, Stream, Trigger, ViewKind, Window,
};
use granary_sql::interval::format_interval;
use granary_sql::name::fold;
use granary_sql::statement::CreateFeatureView;
use granary_sql::{AggregateCall, Arguments, FeatureItem, Options, WindowRef};
use sqlparser::ast::{Expr, ObjectName, UnaryOperator, Value};

use super::context::{NewObject, StatementContext, check_options};
use super::select::{self, PlannedQuery};
use super::stream::is_same_family;
use super::types::type_name;
use crate::engine::{BoundView, RowsRequest, argument_type, check_time_type, rows_plan};
use crate::error::{Error, Kind, Result};
use crate::row::normalize_type;
use crate::tile::{FeatureInput, Timing, ViewPlan, window_label};

pub const OPTIONS: [&str; 14] = [
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
];

/// The schedule of a batch view that does not name one.
const DEFAULT_SCHEDULE_US: i64 = 86_400_000_000;
/// How many files a period of a view is cut into, unless it says so itself.
const DEFAULT_BUCKETS: u32 = 4;
const MAX_BUCKETS: i64 = 1024;
/// The precision of approx_count_distinct without one.
const DEFAULT_HLL_PRECISION: u8 = 8;
const DEFAULT_PERCENTILE_PRECISION: u32 = 100;
const MAX_LIST_LENGTH: u64 = 1000;
const MAX_HISTOGRAM_BUCKETS: u64 = 1000;

pub async fn create(context: &mut StatementContext, create: &CreateFeatureView) -> Result<()> {
    check_options(&create.options, &OPTIONS)?;
    let (entities, join_keys) = join_keys(context, &create.entities)?;
    let query = select::plan_definition(context, &create.query).await?;
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
    let view = FeatureView {
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
        leading_edge: LeadingEdge::WallClock,
        compaction: false,
        known_at: None,
        depends_on: query.depends_on.clone(),
    };
    check_plan(context, &view).await?;
    context.changes.push(Change::put(view));
    Ok(())
}

/// Plans the view's rows as a job would, so that what cannot run is refused now.
async fn check_plan(context: &StatementContext, view: &FeatureView) -> Result<()> {
    let bound = BoundView::of_feature_view(view)?;
    let planner = context.planner();
    let plan = rows_plan(&planner, &bound, RowsRequest::Everything).await?;
    planner.state().optimize(&plan)?;
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

fn reads_stream(context: &StatementContext, depends_on: &[ObjectId]) -> Result<bool> {
    let mut streams = 0;
    for id in depends_on {
        let Some(object) = context.snapshot().get(*id) else { continue };
        match object.kind() {
            ObjectKind::Stream => streams += 1,
            ObjectKind::Source | ObjectKind::Table | ObjectKind::View => {}
            other => {
                return Err(Error::new(
                    Kind::WrongObjectType,
                    format!("a feature view cannot read the {} \"{}\"", other.as_str(), object.name()),
                )
                .with_hint("a feature view reads sources, streams, tables and views"));
            }
        }
    }
    if streams > 1 {
        return Err(Error::not_supported("a feature view over several streams"));
    }
    Ok(streams == 1 || depends_on.iter().any(|id| context.snapshot().get_as::<Stream>(*id).is_some()))
}

/// Everything about time that the options say.
struct Times {
    kind: ViewKind,
    schedule_us: Option<i64>,
    interval_us: Option<i64>,
    delay_us: i64,
    start_us: Option<i64>,
    lifetime_start_us: Option<i64>,
    ttl_us: Option<i64>,
}

impl Times {
    fn of(
        context: &StatementContext,
        create: &CreateFeatureView,
        query: &PlannedQuery,
        is_stream: bool,
    ) -> Result<Times> {
        let options = &create.options;
        for later in ["compaction", "known_at"] {
            if options.get(later).is_some() {
                return Err(Error::not_supported(format!("option {later}")));
            }
        }
        if options.choice("leading_edge", &["wall_clock", "latest_event"])? == Some("latest_event") {
            return Err(Error::not_supported("leading_edge = latest_event"));
        }
        let schedule_us = positive_interval(options, "schedule")?;
        let interval_us = positive_interval(options, "aggregation_interval")?;
        let ttl_us = positive_interval(options, "ttl")?;
        let has_features = create.features.is_some();
        let kind = match (is_stream, has_features) {
            (false, false) => ViewKind::BatchAttributes,
            (false, true) => ViewKind::BatchAggregates,
            (true, false) => ViewKind::StreamAttributes,
            (true, true) if interval_us.is_some() => ViewKind::StreamTiled,
            (true, true) => ViewKind::StreamContinuous,
        };
        let schedule_us = if is_stream { schedule_us } else { Some(schedule_us.unwrap_or(DEFAULT_SCHEDULE_US)) };
        let interval_us = if kind == ViewKind::BatchAggregates { interval_us.or(schedule_us) } else { interval_us };
        if !has_features && interval_us.is_some() {
            return Err(misplaced("aggregation_interval", "a view with FEATURES"));
        }
        if has_features && ttl_us.is_some() {
            return Err(misplaced("ttl", "a view without FEATURES, since windows end by themselves"));
        }
        if let (ViewKind::BatchAggregates, Some(interval), Some(schedule)) = (kind, interval_us, schedule_us)
            && schedule % interval != 0
        {
            return Err(not_a_multiple("schedule", schedule, "the aggregation interval", interval));
        }
        let lifetime_start_us = options.timestamp_us("lifetime_start")?;
        if let (Some(start), Some(interval)) = (lifetime_start_us, interval_us)
            && start.rem_euclid(interval) != 0
        {
            return Err(Error::new(
                Kind::InvalidParameterValue,
                format!("lifetime_start is not a multiple of the aggregation interval, {}", format_interval(interval)),
            ));
        }
        let delay_us = match options.interval("data_delay")? {
            Some(delay) if delay.microseconds < 0 => {
                return Err(Error::new(Kind::InvalidParameterValue, "data_delay must not be negative"));
            }
            Some(delay) => delay.microseconds,
            None => super::source::longest_delay(context, &query.depends_on),
        };
        Ok(Times {
            kind,
            schedule_us,
            interval_us,
            delay_us: if is_stream { 0 } else { delay_us },
            start_us: options.timestamp_us("start")?,
            lifetime_start_us,
            ttl_us,
        })
    }

    fn timing(&self) -> Timing {
        Timing {
            kind: self.kind,
            interval_us: self.interval_us.unwrap_or(0),
            schedule_us: self.schedule_us.unwrap_or(0),
            delay_us: self.delay_us,
            start_us: self.start_us,
            lifetime_start_us: self.lifetime_start_us,
            ttl_us: self.ttl_us,
            compaction: false,
        }
    }
}

fn misplaced(option: &str, place: &str) -> Error {
    Error::new(Kind::InvalidParameterValue, format!("option {option} is for {place}"))
}

fn not_a_multiple(what: &str, length_us: i64, of: &str, unit_us: i64) -> Error {
    Error::new(
        Kind::InvalidParameterValue,
        format!("{what} {} is not a multiple of {of}, {}", format_interval(length_us), format_interval(unit_us)),
    )
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

pub fn buckets(options: &Options) -> Result<u32> {
    match options.integer("buckets")? {
        None => Ok(DEFAULT_BUCKETS),
        Some(buckets) if (1..=MAX_BUCKETS).contains(&buckets) => {
            u32::try_from(buckets).map_err(|_| Error::internal("a checked number does not fit"))
        }
        Some(_) => Err(Error::new(Kind::InvalidParameterValue, format!("buckets must be from 1 to {MAX_BUCKETS}"))),
    }
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

fn window(context: &StatementContext, create: &CreateFeatureView, item: &FeatureItem, times: &Times) -> Result<Window> {
    let declared = match &item.window {
        WindowRef::Inline(window) => window,
        WindowRef::Named(name) => {
            let found = create.windows.iter().find(|window| fold(&window.name) == fold(name));
            &found
                .ok_or_else(|| {
                    let error = Error::new(Kind::UndefinedObject, format!("window \"{}\" does not exist", fold(name)))
                        .with_hint(format!("declare it: WINDOW {} AS (LAST '7 days')", fold(name)));
                    context.at_ident(name, error)
                })?
                .window
        }
    };
    let window = match declared {
        granary_sql::Window::Last { size, offset } => Window::Last {
            size_us: size.microseconds,
            offset_us: offset.as_ref().map_or(0, |offset| offset.microseconds),
        },
        granary_sql::Window::Lifetime => Window::Lifetime,
        granary_sql::Window::Series { from, to, size, step } => Window::Series {
            from_us: from.microseconds,
            to_us: to.microseconds,
            size_us: size.microseconds,
            step_us: step.microseconds,
        },
    };
    check_window(&window, times).map_err(|error| context.at_ident(&item.function.name, error))?;
    Ok(window)
}

fn check_window(window: &Window, times: &Times) -> Result<()> {
    let wrong = |message: String| Err(Error::new(Kind::InvalidParameterValue, message));
    match *window {
        Window::Last { size_us, offset_us } => {
            if size_us <= 0 {
                return wrong("a window must be longer than zero".to_owned());
            }
            if offset_us > 0 {
                return wrong("a window's OFFSET must not be positive: it moves the window into the past".to_owned());
            }
        }
        Window::Lifetime => {}
        Window::Series { from_us, to_us, size_us, step_us } => {
            if size_us <= 0 || step_us <= 0 {
                return wrong("SIZE and STEP of a series must be longer than zero".to_owned());
            }
            if from_us >= to_us || to_us > 0 {
                return wrong("a series goes FROM an earlier TO a later time, both at or before now".to_owned());
            }
            if window.series_len() == 0 {
                return wrong("a series must be long enough for one window: SIZE is longer than FROM … TO".to_owned());
            }
        }
    }
    let tiled = matches!(times.kind, ViewKind::BatchAggregates | ViewKind::StreamTiled);
    if let (true, Window::Lifetime, None, Some(start), Some(interval)) =
        (tiled, window, times.lifetime_start_us, times.start_us, times.interval_us)
        && start.rem_euclid(interval) != 0
    {
        return Err(Error::new(
            Kind::InvalidParameterValue,
            format!(
                "LIFETIME begins at start, which is not a multiple of the aggregation interval, {}",
                format_interval(interval)
            ),
        )
        .with_hint("set lifetime_start to a multiple of it"));
    }
    if let (true, Some(interval)) = (tiled, times.interval_us)
        && let Some(length) = window.lengths_us().into_iter().find(|length| length % interval != 0)
    {
        return Err(not_a_multiple("window length or offset", length, "the aggregation interval", interval)
            .with_hint("use multiples of aggregation_interval, or set a smaller one"));
    }
    Ok(())
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

/// The function that a call names, with its parameters, and the texts of its column arguments.
fn function(call: &AggregateCall) -> Result<(AggregateFunction, Vec<String>)> {
    let name = fold(&call.name);
    let arguments = match &call.arguments {
        Arguments::Star if name == "count" && !call.distinct => return Ok((AggregateFunction::Count, Vec::new())),
        Arguments::Star => return Err(no_function(&format!("{name}(*)"))),
        Arguments::List(arguments) => arguments,
    };
    if call.distinct && name != "count" {
        return Err(Error::not_supported(format!("{name}(DISTINCT …)")));
    }
    let parameters = Parameters { name: &name, arguments };
    let plain = |function| parameters.exactly(1).map(|()| (function, 1));
    let (function, columns) = match name.as_str() {
        "count" if call.distinct => plain(AggregateFunction::CountDistinct)?,
        "count" => plain(AggregateFunction::Count)?,
        "sum" => plain(AggregateFunction::Sum)?,
        "avg" | "mean" => plain(AggregateFunction::Avg)?,
        "min" => plain(AggregateFunction::Min)?,
        "max" => plain(AggregateFunction::Max)?,
        "var_pop" => plain(AggregateFunction::VarPop)?,
        "var_samp" | "variance" => plain(AggregateFunction::VarSamp)?,
        "stddev_pop" => plain(AggregateFunction::StddevPop)?,
        "stddev_samp" | "stddev" => plain(AggregateFunction::StddevSamp)?,
        "last" if arguments.len() == 1 => (AggregateFunction::Last, 1),
        "first" if arguments.len() == 1 => (AggregateFunction::First, 1),
        "last" => (AggregateFunction::LastN { n: parameters.length()? }, 1),
        "first" => (AggregateFunction::FirstN { n: parameters.length()? }, 1),
        "last_distinct" => (AggregateFunction::LastDistinct { n: parameters.length()? }, 1),
        "first_distinct" => (AggregateFunction::FirstDistinct { n: parameters.length()? }, 1),
        "count_distinct" => plain(AggregateFunction::CountDistinct)?,
        "approx_count_distinct" => {
            let precision = parameters.optional_integer(1, 4, 16)?;
            let precision = precision.map_or(Ok(DEFAULT_HLL_PRECISION), u8::try_from);
            let precision = precision.map_err(|_| Error::internal("a checked number does not fit"))?;
            (AggregateFunction::ApproxCountDistinct { precision }, 1)
        }
        "approx_percentile" => (parameters.percentile()?, 1),
        "median" => {
            parameters.exactly(1)?;
            (AggregateFunction::ApproxPercentile { p: 0.5, precision: DEFAULT_PERCENTILE_PRECISION }, 1)
        }
        "bool_and" | "every" => plain(AggregateFunction::BoolAnd)?,
        "bool_or" => plain(AggregateFunction::BoolOr)?,
        "mode" => plain(AggregateFunction::Mode)?,
        "arg_max" | "max_by" => parameters.exactly(2).map(|()| (AggregateFunction::ArgMax, 2))?,
        "arg_min" | "min_by" => parameters.exactly(2).map(|()| (AggregateFunction::ArgMin, 2))?,
        "entropy" => plain(AggregateFunction::Entropy)?,
        "skewness" => plain(AggregateFunction::Skewness)?,
        "kurtosis" => plain(AggregateFunction::Kurtosis)?,
        "ewma" => (AggregateFunction::Ewma { half_life_us: parameters.half_life()? }, 1),
        "top_k" => (AggregateFunction::TopK { k: parameters.length()? }, 1),
        "histogram" => (parameters.histogram()?, 1),
        _ => return Err(no_function(&name)),
    };
    Ok((function, arguments[..columns].iter().map(|argument| argument.text.clone()).collect()))
}

fn no_function(name: &str) -> Error {
    Error::new(Kind::UndefinedFunction, format!("feature aggregate {name} does not exist"))
        .with_hint("see the list of aggregates: count, sum, avg, min, max, stddev, last, first, approx_percentile, …")
}

/// Constants among the arguments of a call.
struct Parameters<'a> {
    name: &'a str,
    arguments: &'a [granary_sql::SqlText<Expr>],
}

impl Parameters<'_> {
    fn exactly(&self, n: usize) -> Result<()> {
        if self.arguments.len() == n { Ok(()) } else { Err(self.wrong(&format!("takes {n} argument(s)"))) }
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(Kind::InvalidParameterValue, format!("{} {what}", self.name))
    }

    fn number(&self, index: usize) -> Result<Option<f64>> {
        let Some(argument) = self.arguments.get(index) else { return Ok(None) };
        match number_of(&argument.ast) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(&format!("takes a number as argument {}, not {argument}", index + 1))),
        }
    }

    fn optional_integer(&self, index: usize, least: u64, most: u64) -> Result<Option<u64>> {
        if self.arguments.is_empty() || self.arguments.len() > index + 1 {
            return Err(self.wrong(&format!("takes up to {} arguments", index + 1)));
        }
        let Some(number) = self.number(index)? else { return Ok(None) };
        let is_whole = number.fract() == 0.0 && number >= least as f64 && number <= most as f64;
        if !is_whole {
            return Err(self.wrong(&format!("takes a whole number from {least} to {most} as argument {}", index + 1)));
        }
        Ok(Some(number as u64))
    }

    /// `n` of the n-forms.
    fn length(&self) -> Result<u32> {
        self.exactly(2)?;
        let n = self.optional_integer(1, 1, MAX_LIST_LENGTH)?.unwrap_or(1);
        u32::try_from(n).map_err(|_| Error::internal("a checked number does not fit"))
    }

    fn percentile(&self) -> Result<AggregateFunction> {
        if !(2..=3).contains(&self.arguments.len()) {
            return Err(self.wrong("takes a column, a number from 0 to 1, and perhaps a precision"));
        }
        let p = self.number(1)?.filter(|p| (0.0..=1.0).contains(p));
        let p = p.ok_or_else(|| self.wrong("takes a number from 0 to 1 as argument 2"))?;
        let precision = self.optional_integer(2, 20, 10_000)?;
        let precision = precision.and_then(|precision| u32::try_from(precision).ok());
        Ok(AggregateFunction::ApproxPercentile { p, precision: precision.unwrap_or(DEFAULT_PERCENTILE_PRECISION) })
    }

    fn half_life(&self) -> Result<i64> {
        self.exactly(2)?;
        let text = self.arguments.get(1).and_then(|argument| text_of(&argument.ast));
        let text = text.ok_or_else(|| self.wrong("takes an interval as argument 2, such as '1 day'"))?;
        let interval = granary_sql::interval::parse_interval(&text)
            .map_err(|error| self.wrong(&format!("takes an interval as argument 2: {error}")))?;
        if interval.microseconds <= 0 {
            return Err(self.wrong("takes a half-life longer than zero"));
        }
        Ok(interval.microseconds)
    }

    fn histogram(&self) -> Result<AggregateFunction> {
        self.exactly(4)?;
        let (low, high) = (self.number(1)?, self.number(2)?);
        let buckets = self.optional_integer(3, 1, MAX_HISTOGRAM_BUCKETS)?;
        match (low, high, buckets.and_then(|buckets| u32::try_from(buckets).ok())) {
            (Some(low), Some(high), Some(buckets)) if low < high => {
                Ok(AggregateFunction::Histogram { low, high, buckets })
            }
            _ => Err(self.wrong("takes a low bound below its high bound")),
        }
    }
}

fn number_of(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.to_string().parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(-number_of(expr)?),
        Expr::UnaryOp { op: UnaryOperator::Plus, expr } | Expr::Nested(expr) => number_of(expr),
        _ => None,
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Interval(interval) => text_of(&interval.value),
        Expr::Nested(expr) => text_of(expr),
        _ => None,
    }
}
