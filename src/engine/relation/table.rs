//! A feature view as a table of DataFusion.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType, provider_as_source};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use granary_catalog::{FeatureTable, Interval, IntervalSet, ObjectId, StoreKind};

use super::bindings::{Bindings, binding};
use super::bound_view::{BoundView, RowLayout, time_type};
use super::{EFFECTIVE_TIME, STATUS, VALID_FROM, VALID_TO};
use crate::engine::column_groups::{GroupRows, merged_plan};
use crate::engine::event_rows::{event_rows_plan, stream_of, together};
use crate::engine::into_datafusion;
use crate::engine::leading_edge::ViewEdge;
use crate::engine::point_in_time::{self, Wanted};
use crate::engine::query::{FromSource, QueryPlanner};
use crate::engine::rows::{RowsRequest, is_row_by_row, rows_plan, rows_without_arrival, sorted_plan, stored_plan};
use crate::engine::tables::events::StreamRows;
use crate::engine::tables::stored::StoredRows;
use crate::engine::tiles::tile_table;
use crate::error::{Error, Kind, Result};
use crate::online::OnlineStore;

/// As of when a feature relation is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadMode {
    /// as of the statement's wall time
    Now,
    /// as of the value that the query binds to the hidden column
    AsOf { column: String },
    /// all answers on `[start_us, end_us)`, each with the time for which it holds
    History { start_us: i64, end_us: i64 },
}

/// Where the rows behind the answers come from.
#[derive(Clone)]
pub enum RowsOrigin {
    Online {
        store: Arc<OnlineStore>,
        /// where windows end, if that is not always now
        edge: Option<ViewEdge>,
    },
    /// a plan of the view's rows, in `layout`
    Plan {
        plan: Box<LogicalPlan>,
        layout: RowLayout,
        state: Box<SessionState>,
        materialized: Option<IntervalSet>,
        /// the same rows, for who reads them file by file
        stored: Option<StoredRows>,
    },
    /// several tables, each with columns of its own: the rows of those that are needed
    Groups(Arc<StoredGroups>),
}

impl fmt::Debug for RowsOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl RowsOrigin {
    /// For EXPLAIN.
    pub fn name(&self) -> &'static str {
        match self {
            RowsOrigin::Online { .. } => "online store",
            RowsOrigin::Plan { materialized: Some(_), .. } | RowsOrigin::Groups(_) => "offline store",
            RowsOrigin::Plan { materialized: None, .. } => "source",
        }
    }
}

/// One feature view in one statement.
#[derive(Debug, Clone)]
pub struct FeatureRelation {
    pub view: Arc<BoundView>,
    pub mode: ReadMode,
    pub origin: RowsOrigin,
    /// wall time of the statement, microseconds
    pub now_us: i64,
    schema: SchemaRef,
}

impl FeatureRelation {
    pub async fn new(
        planner: &QueryPlanner,
        view: BoundView,
        mode: ReadMode,
        system_columns: bool,
    ) -> Result<FeatureRelation> {
        let origin = origin(planner, &view, &mode).await?;
        let mut fields: Vec<Field> = view.output.fields().iter().map(|field| field.as_ref().clone()).collect();
        if system_columns {
            fields.push(Field::new(EFFECTIVE_TIME, time_type(), true));
            fields.push(Field::new(STATUS, DataType::Utf8, false));
        }
        match &mode {
            ReadMode::Now => {}
            ReadMode::AsOf { column } => fields.push(Field::new(column, time_type(), true)),
            ReadMode::History { .. } => {
                fields.push(Field::new(VALID_FROM, time_type(), false));
                fields.push(Field::new(VALID_TO, time_type(), false));
            }
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(FeatureRelation { view: Arc::new(view), mode, origin, now_us: planner.now_us, schema })
    }

    pub fn key_index(&self, name: &str) -> Option<usize> {
        self.view.keys.iter().position(|key| key.name == name)
    }

    /// The hidden column of the time, if the query must bind one.
    pub fn as_of_column(&self) -> Option<&str> {
        match &self.mode {
            ReadMode::Now | ReadMode::History { .. } => None,
            ReadMode::AsOf { column } => Some(column),
        }
    }

    /// The type of a column that can be bound; None for every other.
    pub fn bindable_type(&self, name: &str) -> Option<DataType> {
        if self.as_of_column() == Some(name) {
            return Some(time_type());
        }
        self.key_index(name).map(|index| self.view.keys[index].data_type.clone())
    }

    /// What column number `index` of the schema is.
    pub fn wanted(&self, index: usize) -> Wanted {
        let n_keys = self.view.keys.len();
        let n_outputs = self.view.output.fields().len();
        if index < n_keys {
            return Wanted::Key(index);
        }
        if index < n_outputs {
            return Wanted::Feature(index - n_keys);
        }
        match self.schema.field(index).name().as_str() {
            EFFECTIVE_TIME => Wanted::EffectiveTime,
            STATUS => Wanted::Status,
            VALID_FROM => Wanted::ValidFrom,
            VALID_TO => Wanted::ValidTo,
            _ => Wanted::AsOf,
        }
    }

    /// The error of a relation whose time the query leaves open.
    pub fn unbound_time(&self) -> Error {
        let keys: Vec<&str> = self.view.keys.iter().map(|key| key.name.as_str()).collect();
        let on: Vec<String> = keys.iter().map(|key| format!("f.{key} = l.{key}")).collect();
        Error::new(
            Kind::InvalidParameterValue,
            format!(
                "the time of \"{}\" varies by row, but its join keys ({}) are not all bound by equality",
                self.view.name,
                keys.join(", ")
            ),
        )
        .with_hint(format!(
            "join it on all of them: … JOIN {} FOR SYSTEM_TIME AS OF l.ts AS f ON {}",
            self.view.name,
            on.join(" AND ")
        ))
    }
}

/// Whether rows come from the source, not from a store. Errors: 55000 where there is no store, but one is wanted.
pub fn is_on_demand(planner: &QueryPlanner) -> Result<bool> {
    let live = planner.scope.is_live();
    match planner.from_source {
        FromSource::On => Ok(true),
        FromSource::Off if !live => Err(Error::new(
            Kind::ObjectNotInPrerequisiteState,
            "a development workspace has no stores, so from_source cannot be off",
        )
        .with_hint("SET from_source = on")),
        FromSource::Off => Ok(false),
        FromSource::Unset => Ok(!live),
    }
}

async fn origin(planner: &QueryPlanner, view: &BoundView, mode: &ReadMode) -> Result<RowsOrigin> {
    if planner.is_made_up() && view.is_feature_table() {
        return Err(Error::not_supported("a test that reads a feature table"));
    }
    let live = planner.scope.is_live();
    let on_demand = is_on_demand(planner)?;
    if *mode == ReadMode::Now && live && planner.from_source != FromSource::On {
        let stream = stream_of(planner, view).map(|stream| stream.header.id);
        let edge = stream.and_then(|stream| ViewEdge::of(view, stream, &planner.tails));
        return Ok(RowsOrigin::Online { store: Arc::clone(&planner.online), edge });
    }
    if on_demand && view.query.is_some() {
        if let Some(origin) = on_demand_with_events(planner, view).await? {
            return Ok(origin);
        }
        let plan = Box::new(rows_without_arrival(planner, view, RowsRequest::Everything).await?);
        let state = Box::new(match is_row_by_row(&plan) {
            true => planner.engine.split_state(planner.now_us),
            false => planner.engine.ordered_state(planner.now_us),
        });
        return Ok(RowsOrigin::Plan { plan, layout: RowLayout::Events, state, materialized: None, stored: None });
    }
    check_offline(planner, view)?;
    let mut groups = Vec::with_capacity(view.groups.len());
    let events = event_rows_plan(planner, view).await?;
    for group in view.by_group() {
        let stored = if events.is_none() { Some(StoredRows::open(planner, &group).await?) } else { None };
        let plan = stored_plan(planner, &group).await?;
        // last: who drops a table forgets its ranges before
        let materialized = materialized(planner, view, &group.group_numbers());
        groups.push(StoredGroup { rows: GroupRows { view: Arc::new(group), plan }, materialized, stored });
    }
    let state = planner.engine.split_state(planner.now_us);
    let is_merged = groups.len() > 1 || events.is_some();
    let ordered = is_merged.then(|| planner.engine.ordered_state(planner.now_us));
    let groups = StoredGroups { groups, events, state, ordered };
    if groups.groups.len() > 1 {
        return Ok(RowsOrigin::Groups(Arc::new(groups)));
    }
    let (layout, numbers) = (view.stored_layout(), view.group_numbers());
    let ChosenRows { plan, materialized, stored } = groups.rows_of(view, &numbers)?;
    let state = Box::new(groups.state);
    Ok(RowsOrigin::Plan { plan: Box::new(plan), layout, state, materialized: Some(materialized), stored })
}

/// The tables of a view's stored rows.
pub struct StoredGroups {
    groups: Vec<StoredGroup>,
    /// rows of events, which no table has yet, in the columns of the whole view
    events: Option<LogicalPlan>,
    pub state: SessionState,
    /// in which the order of rows is kept, where they are more than those of one table
    ordered: Option<SessionState>,
}

struct StoredGroup {
    rows: GroupRows,
    materialized: IntervalSet,
    stored: Option<StoredRows>,
}

/// The rows of some tables.
pub struct ChosenRows {
    pub plan: LogicalPlan,
    /// where all of them have rows
    pub materialized: IntervalSet,
    /// the same rows, if they are those of files, for who reads them file by file
    pub stored: Option<StoredRows>,
}

impl StoredGroups {
    /// The groups that are read for these outputs, by their places behind the keys.
    pub fn needed_for(&self, view: &BoundView, outputs: impl IntoIterator<Item = usize>) -> Vec<u64> {
        let mut needed = view.groups_of(outputs);
        if view.kind().has_aggregates() {
            return needed;
        }
        // attributes are chosen as a row: one that only another group has is the newest all the same, once that group is
        // filled where these are
        let is_needed = |group: &&StoredGroup| needed.contains(&group.rows.view.group_id().group);
        let ranges = self.groups.iter().filter(is_needed).map(|group| group.materialized.clone());
        let Some(common) = ranges.reduce(|common, ranges| common.common(&ranges)) else { return needed };
        let others = self.groups.iter().filter(|group| group.materialized.common(&common) == common);
        let others: Vec<u64> = others.map(|group| group.rows.view.group_id().group).collect();
        needed.extend(others);
        needed
    }

    /// Of each group, the rows of its table.
    pub fn plans(&self) -> impl Iterator<Item = &LogicalPlan> {
        self.groups.iter().map(|group| &group.rows.plan)
    }

    /// The rows of the groups with these numbers, with those of events, in the columns of these groups.
    pub fn rows_of(&self, view: &BoundView, numbers: &[u64]) -> Result<ChosenRows> {
        let is_chosen = |group: &&StoredGroup| numbers.contains(&group.rows.view.group_id().group);
        let chosen: Vec<&StoredGroup> = self.groups.iter().filter(is_chosen).collect();
        let Some((first, others)) = chosen.split_first() else {
            return Err(Error::internal("a view without stored columns"));
        };
        let materialized =
            others.iter().fold(first.materialized.clone(), |common, group| common.common(&group.materialized));
        let of_all = Arc::new(view.of_groups(numbers));
        let mut plan = first.rows.plan.clone();
        if let Some(ordered) = self.ordered.as_ref().filter(|_| !others.is_empty()) {
            let rows: Vec<GroupRows> = chosen.iter().map(|group| group.rows.clone()).collect();
            plan = merged_plan(&of_all, &rows, ordered.clone())?;
        }
        if let (Some(events), Some(ordered)) = (&self.events, &self.ordered) {
            let events = in_layout(&of_all, events.clone(), ordered.clone())?;
            plan = together(plan, events, &of_all.row_schema(of_all.stored_layout()))?;
        }
        let stored = if others.is_empty() { first.stored.clone() } else { None };
        Ok(ChosenRows { plan, materialized, stored })
    }
}

/// Rows of a stream view from its stream, if that has events: they say themselves in which order they arrived.
async fn on_demand_with_events(planner: &QueryPlanner, view: &BoundView) -> Result<Option<RowsOrigin>> {
    let events = match event_rows_plan(planner, view).await {
        Ok(Some(events)) => events,
        Ok(None) => return Ok(None),
        // its rows are computed whole
        Err(error) if error.kind() == Kind::FeatureNotSupported => return Ok(None),
        Err(error) => return Err(error),
    };
    let mirror = planner.clone().with_stream_rows(StreamRows::Mirror);
    let mirror = rows_plan(&mirror, view, RowsRequest::Everything).await?;
    let (layout, state) = (RowLayout::Events, Box::new(planner.engine.ordered_state(planner.now_us)));
    let plan = Box::new(together(mirror, events, &view.row_schema(layout))?);
    Ok(Some(RowsOrigin::Plan { plan, layout, state, materialized: None, stored: None }))
}

/// Rows of events as the view's offline table would have them. `ordered`: a state in which the order of rows is kept.
pub fn in_layout(view: &BoundView, events: LogicalPlan, ordered: SessionState) -> Result<LogicalPlan> {
    match view.stored_layout() {
        RowLayout::Events => Ok(events),
        RowLayout::Tiles => {
            let tiles = tile_table(Arc::new(view.clone()), sorted_plan(view, events)?, ordered);
            Ok(LogicalPlanBuilder::scan("events", provider_as_source(tiles), None)?.build()?)
        }
    }
}

/// A feature table that is kept online alone knows its newest rows only. In a development workspace all are kept.
fn check_offline(planner: &QueryPlanner, view: &BoundView) -> Result<()> {
    let table = planner.scope.snapshot.get_as::<FeatureTable>(ObjectId(view.id));
    if table.is_none_or(|table| table.offline) || !planner.scope.is_live() {
        return Ok(());
    }
    let name = &view.name;
    let message = format!("\"{name}\" is not kept in the offline store, which answers for other times than now");
    Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
        .with_hint(format!("read it as of now: SELECT … FROM {name} WHERE …")))
}

/// The ranges that the offline store answers for. From its cut-over on a stream has no mirror, so there is nothing to
/// materialize from it; a feature table has none at all. `groups`: of columns, all of which are asked for.
pub fn materialized(planner: &QueryPlanner, view: &BoundView, groups: &[u64]) -> IntervalSet {
    let mut ranges = planner.catalog.ledger().ranges_of_all(ObjectId(view.id), groups, StoreKind::Offline);
    if view.kind().is_stream() {
        let until_us =
            stream_of(planner, view).and_then(|stream| stream.backfill).map_or(i64::MIN, |backfill| backfill.until_us);
        ranges.insert(Interval::new(until_us, i64::MAX));
    }
    ranges
}

#[async_trait]
impl TableProvider for FeatureRelation {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let binds = |filter: &&Expr| match binding(filter, &|name: &str| self.bindable_type(name)) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(binds).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns: Vec<usize> = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let bindings = Bindings::of(filters, |name| self.bindable_type(name));
        let partitions = state.config().target_partitions();
        point_in_time::scan(self, &columns, &bindings, partitions).await.map_err(into_datafusion)
    }
}
