//! The operator: a spine sorted by (keys, time) meets the view's rows sorted by (keys, time, arrival).
//!
//! Both sides are read once, side by side; only the rows of the key at hand are in memory. Rows of NULL keys come
//! first in the spine and meet nothing.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{OwnedRow, Row, RowConverter};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::{StreamExt, TryStreamExt};
use granary_catalog::{Interval, IntervalSet};
use granary_sql::timestamp::format_timestamp;

use super::answer::{Answerer, Asked, KeyRows};
use super::history::History;
use super::planner::sees_whole_time;
use super::row_groups::{RowGroups, convert, end_of_run, key_converter};
use crate::engine::relation::{BoundView, FeatureRelation, RowLayout};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, values_of};
use crate::time::floor_us;

/// Who asks.
#[derive(Debug, Clone)]
pub enum Spine {
    /// Rows whose columns from `width` on are the keys and then the time, sorted by those.
    Rows { input: Arc<dyn ExecutionPlan>, width: usize },
    /// Every key that has a row by `time_us`.
    AllKeys { time_us: i64 },
    /// Every key, at all times of `[start_us, end_us)`.
    History { start_us: i64, end_us: i64 },
}

/// See the module.
#[derive(Debug)]
pub struct PointInTimeExec {
    spine: Spine,
    rows: Arc<dyn ExecutionPlan>,
    layout: RowLayout,
    answerer: Arc<Answerer>,
    view: Arc<BoundView>,
    origin: &'static str,
    materialized: Option<IntervalSet>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl PointInTimeExec {
    pub fn new(
        spine: Spine,
        rows: Arc<dyn ExecutionPlan>,
        layout: RowLayout,
        answerer: Arc<Answerer>,
        relation: &FeatureRelation,
        materialized: Option<IntervalSet>,
        schema: SchemaRef,
    ) -> PointInTimeExec {
        PointInTimeExec {
            spine,
            rows,
            layout,
            answerer,
            view: Arc::clone(&relation.view),
            origin: relation.origin.name(),
            materialized,
            properties: Arc::new(single_partition(schema)),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

/// Properties of an operator that gives one partition in no promised order.
pub fn single_partition(schema: SchemaRef) -> PlanProperties {
    PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    )
}

impl DisplayAs for PointInTimeExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PointInTimeExec: view={}, rows from {}", self.view.name, self.origin)?;
        match self.spine {
            Spine::Rows { .. } => Ok(()),
            Spine::AllKeys { time_us } => write!(f, ", all keys as of {}", format_timestamp(time_us)),
            Spine::History { start_us, end_us } => {
                write!(f, ", history from {} to {}", format_timestamp(start_us), format_timestamp(end_us))
            }
        }
    }
}

impl ExecutionPlan for PointInTimeExec {
    fn name(&self) -> &str {
        "PointInTimeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        match &self.spine {
            Spine::Rows { input, .. } => vec![input, &self.rows],
            Spine::AllKeys { .. } | Spine::History { .. } => vec![&self.rows],
        }
    }

    // The children are sorted by plan nodes that stand below already; nothing may re-partition or reorder them.
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false; self.children().len()]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false; self.children().len()]
    }

    fn required_input_ordering(&self) -> Vec<Option<datafusion::physical_expr::OrderingRequirements>> {
        self.children()
            .into_iter()
            .map(|child| {
                let order = child.properties().output_ordering()?.clone();
                Some(datafusion::physical_expr::OrderingRequirements::from(order))
            })
            .collect()
    }

    fn input_distribution_requirements(&self) -> datafusion::physical_plan::InputDistributionRequirements {
        let single = datafusion::physical_plan::Distribution::SinglePartition;
        datafusion::physical_plan::InputDistributionRequirements::new(vec![single; self.children().len()])
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let lost = || DataFusionError::Internal("a point-in-time join lost a child".into());
        let rows = children.pop().ok_or_else(lost)?;
        let spine = match &self.spine {
            Spine::Rows { width, .. } => Spine::Rows { input: children.pop().ok_or_else(lost)?, width: *width },
            other => other.clone(),
        };
        Ok(Arc::new(PointInTimeExec {
            spine,
            rows,
            layout: self.layout,
            answerer: Arc::clone(&self.answerer),
            view: Arc::clone(&self.view),
            origin: self.origin,
            materialized: self.materialized.clone(),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        debug_assert_eq!(partition, 0);
        let answers = Answers {
            answerer: Arc::clone(&self.answerer),
            view: Arc::clone(&self.view),
            schema: self.schema(),
            materialized: self.materialized.clone(),
            layout: self.layout,
        };
        let converter = key_converter(&self.view.key_types())?;
        let groups = RowGroups::new(&self.view.key_types(), self.rows.execute(0, Arc::clone(&context))?)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let stream = match &self.spine {
            Spine::Rows { input, width } => {
                let state = SpineJoin { answers, converter, groups, width: *width, current: None };
                let spine = input.execute(0, context)?;
                futures::stream::try_unfold((state, spine), |(mut state, mut spine)| async move {
                    let Some(batch) = spine.try_next().await? else { return Ok(None) };
                    let joined = state.join(&batch).await?;
                    Ok(Some((joined, (state, spine))))
                })
                .left_stream()
            }
            Spine::AllKeys { time_us } => {
                let batch_size = context.session_config().batch_size();
                let state = AllKeys { answers, groups, time_us: *time_us, batch_size };
                state.answers.check_scan(*time_us)?;
                futures::stream::try_unfold(state, |mut state| async move {
                    Ok(state.next_batch().await?.map(|batch| (batch, state)))
                })
                .left_stream()
                .right_stream()
            }
            Spine::History { start_us, end_us } => {
                let (start_us, end_us) = (*start_us, *end_us);
                answers.check_history(start_us, end_us)?;
                let batch_size = context.session_config().batch_size();
                let state = History { answers, groups, start_us, end_us, batch_size };
                futures::stream::try_unfold(state, |mut state| async move {
                    Ok(state.next_batch().await?.map(|batch| (batch, state)))
                })
                .right_stream()
                .right_stream()
            }
        };
        let stream = stream.map(move |batch: DataFusionResult<RecordBatch>| {
            if let Ok(batch) = &batch {
                metrics.record_output(batch.num_rows());
            }
            batch
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

/// What both kinds of spine need to answer.
pub struct Answers {
    answerer: Arc<Answerer>,
    view: Arc<BoundView>,
    schema: SchemaRef,
    materialized: Option<IntervalSet>,
    layout: RowLayout,
}

impl Answers {
    pub fn new_columns(&self) -> Vec<Vec<Option<Value>>> {
        vec![Vec::new(); self.n_answers()]
    }

    fn n_answers(&self) -> usize {
        self.answerer.n_wanted()
    }

    /// `before`: columns of the spine; behind them the answers.
    pub fn batch(&self, before: &[ArrayRef], answers: &[Vec<Option<Value>>], rows: usize) -> Result<RecordBatch> {
        let types: Vec<DataType> =
            self.schema.fields().iter().skip(before.len()).map(|field| field.data_type().clone()).collect();
        let mut columns = before.to_vec();
        columns.extend(self.answerer.arrays(&types, answers)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::internal("answers do not fit their schema").with_source(error))
    }

    /// Refuses to answer from a store that lacks a part of the needed range.
    fn check_materialized(&self, time_us: i64) -> Result<()> {
        let Some(materialized) = &self.materialized else { return Ok(()) };
        match self.answerer.plan().required_range([time_us]) {
            None => Ok(()),
            Some((start_us, end_us)) => self.check_range(materialized, start_us, end_us),
        }
    }

    pub fn answerer(&self) -> &Answerer {
        &self.answerer
    }

    pub fn n_keys(&self) -> usize {
        self.view.keys.len()
    }

    /// Reads the rows of one key.
    pub fn key_rows(&self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<KeyRows> {
        self.answerer.key_rows(self.layout, schema, columns)
    }

    fn check_history(&self, start_us: i64, end_us: i64) -> Result<()> {
        let Some(materialized) = &self.materialized else { return Ok(()) };
        match self.view.plan.required_range([start_us, end_us - 1]) {
            Some((start_us, end_us)) => self.check_range(materialized, start_us, end_us),
            None => Ok(()),
        }
    }

    fn check_scan(&self, time_us: i64) -> Result<()> {
        let Some(materialized) = &self.materialized else { return Ok(()) };
        let plan = &self.view.plan;
        let Some((_, end_us)) = plan.required_range([time_us]) else { return Ok(()) };
        let start_us = plan.timing.materialized_from(&plan.windows()).unwrap_or(i64::MIN);
        self.check_range(materialized, start_us, end_us)
    }

    fn check_range(&self, materialized: &IntervalSet, start_us: i64, end_us: i64) -> Result<()> {
        if start_us >= end_us {
            return Ok(());
        }
        match materialized.first_gap(&Interval::new(start_us, end_us)) {
            None => Ok(()),
            Some(gap) => Err(not_materialized(&self.view, gap)),
        }
    }
}

fn not_materialized(view: &BoundView, gap: Interval) -> Error {
    let timing = &view.plan.timing;
    let unit_us = if timing.schedule_us > 0 { timing.schedule_us } else { timing.interval_us.max(1) };
    let end_us = crate::time::ceil_us(gap.end_us, unit_us);
    let end = format_timestamp(end_us);
    let (since, command) = if gap.start_us == i64::MIN {
        ("its beginning".to_owned(), format!("REFRESH FEATURE VIEW {}", view.name))
    } else {
        let start = format_timestamp(floor_us(gap.start_us, unit_us));
        let command = format!("REFRESH FEATURE VIEW {} FROM '{start}' TO '{end}'", view.name);
        (start, command)
    };
    Error::new(
        Kind::ObjectNotInPrerequisiteState,
        format!("feature view \"{}\" is not materialized from {since} to {end}", view.name),
    )
    .with_hint(format!("{command}; or compute from the source: SET from_source = on"))
}

/// A spine of rows.
struct SpineJoin {
    answers: Answers,
    converter: RowConverter,
    groups: RowGroups,
    width: usize,
    /// the rows of the key that the last batch ended with: the next may go on with it
    current: Option<(OwnedRow, KeyRows)>,
}

impl SpineJoin {
    async fn join(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_keys = self.answers.view.keys.len();
        let keys = &batch.columns()[self.width..self.width + n_keys];
        let rows = convert(&self.converter, keys)?;
        let key_values = keys.iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
        let times = times_of(batch.column(self.width + n_keys))?;
        let mut out = self.answers.new_columns();
        let mut start = 0;
        while start < batch.num_rows() {
            let end = end_of_run(&rows, start);
            let run: Vec<Option<Value>> = key_values.iter().map(|values| values[start].clone()).collect();
            let is_null = run.iter().any(Option::is_none);
            if !is_null {
                for time in times[start..end].iter().flatten() {
                    self.answers.check_materialized(*time)?;
                }
                self.seek(&rows.row(start)).await?;
            }
            let found = match &self.current {
                Some((key, found)) if !is_null && key.row() == rows.row(start) => Some(found),
                _ => None,
            };
            self.answers.answerer.answer(found, &Asked { keys: &run, times: &times[start..end] }, &mut out)?;
            start = end;
        }
        self.answers.batch(&batch.columns()[..self.width], &out, batch.num_rows())
    }

    /// Reads on until the rows at hand are those of `key`, or of a later one.
    async fn seek(&mut self, key: &Row<'_>) -> Result<()> {
        while self.current.as_ref().is_none_or(|(current, _)| current.row() < *key) {
            match self.groups.next().await? {
                Some((found, columns)) => {
                    if found.row() < *key {
                        continue;
                    }
                    let rows = self.answers.answerer.key_rows(self.answers.layout, self.groups.schema(), &columns)?;
                    self.current = Some((found, rows));
                }
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

fn times_of(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    values_of(column.as_ref())?
        .into_iter()
        .map(|value| match value {
            None => Ok(None),
            Some(Value::Int(time)) => Ok(Some(time)),
            Some(other) => Err(Error::internal(format!("a spine's time is {other:?}"))),
        })
        .collect()
}

/// All keys at one time.
struct AllKeys {
    answers: Answers,
    groups: RowGroups,
    time_us: i64,
    batch_size: usize,
}

impl AllKeys {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut out = self.answers.new_columns();
        let mut answered = 0;
        while answered < self.batch_size {
            let Some((_, columns)) = self.groups.next().await? else { break };
            let rows = self.answers.answerer.key_rows(self.answers.layout, self.groups.schema(), &columns)?;
            if !self.exists(&rows) {
                continue;
            }
            let n_keys = self.answers.view.keys.len();
            let keys = columns[..n_keys]
                .iter()
                .map(|column| crate::row::value_at(column.as_ref(), 0))
                .collect::<Result<Vec<_>>>()?;
            let asked = Asked { keys: &keys, times: &[Some(self.time_us)] };
            self.answers.answerer.answer(Some(&rows), &asked, &mut out)?;
            answered += 1;
        }
        if answered == 0 { Ok(None) } else { self.answers.batch(&[], &out, answered).map(Some) }
    }

    /// Whether the key has an event between the first one that can matter and the asked time.
    fn exists(&self, rows: &KeyRows) -> bool {
        let plan = &self.answers.view.plan;
        let from_us = plan.timing.materialized_from(&plan.windows()).unwrap_or(i64::MIN);
        let times = match rows {
            KeyRows::Aggregates(items) => &items.times,
            KeyRows::Attributes { times, .. } => times,
        };
        let edge_us = plan.timing.leading_edge(self.time_us);
        let whole = sees_whole_time(plan.timing.kind);
        times.iter().any(|&time| time >= from_us && if whole { time <= self.time_us } else { time < edge_us })
    }
}
