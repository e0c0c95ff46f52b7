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
use crate::engine::event_rows::{event_rows_plan, stream_of, together};
use crate::engine::into_datafusion;
use crate::engine::leading_edge::ViewEdge;
use crate::engine::point_in_time::{self, Wanted};
use crate::engine::query::{FromSource, QueryPlanner};
use crate::engine::rows::{RowsRequest, is_row_by_row, rows_plan, rows_without_arrival, sorted_plan, stored_rows_plan};
use crate::engine::tables::events::StreamRows;
use crate::engine::tables::stored::StoredRows;
use crate::engine::tiles::TileTable;
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
            RowsOrigin::Plan { materialized: Some(_), .. } => "offline store",
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
    let state = Box::new(planner.engine.split_state(planner.now_us));
    let materialized = Some(materialized(planner, view));
    let layout = view.stored_layout();
    let plan = stored_rows_plan(planner, view).await?;
    if let Some(events) = event_rows_plan(planner, view).await? {
        let plan = Box::new(together(plan, in_layout(planner, view, events)?, &view.row_schema(layout))?);
        return Ok(RowsOrigin::Plan { plan, layout, state, materialized, stored: None });
    }
    let stored = Some(StoredRows::open(planner, view).await?);
    Ok(RowsOrigin::Plan { plan: Box::new(plan), layout, state, materialized, stored })
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

/// Rows of events as the view's offline table would have them.
pub fn in_layout(planner: &QueryPlanner, view: &BoundView, events: LogicalPlan) -> Result<LogicalPlan> {
    match view.stored_layout() {
        RowLayout::Events => Ok(events),
        RowLayout::Tiles => {
            let state = planner.engine.ordered_state(planner.now_us);
            let tiles = TileTable::new(Arc::new(view.clone()), sorted_plan(view, events)?, state);
            Ok(LogicalPlanBuilder::scan("events", provider_as_source(Arc::new(tiles)), None)?.build()?)
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
/// materialize from it; a feature table has none at all.
pub fn materialized(planner: &QueryPlanner, view: &BoundView) -> IntervalSet {
    let mut ranges = planner.catalog.ledger().ranges(ObjectId(view.id), StoreKind::Offline);
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
