//! Answers as of now, out of the online store: a lookup a row, in any order of the spine.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use super::answer::{Answerer, Asked, KeyRows, Wanted};
use super::exec::sees_whole_time;
use super::planner::single_partition;
use crate::engine::relation::{BoundView, FeatureRelation, RowLayout, RowsOrigin};
use crate::error::{Error, Kind, Result};
use crate::online::{Item, OnlineReader, OnlineStore};
use crate::row::{Key, Reader, Value, values_of};
use crate::tile::{AggregateItems, Order, ViewKind, ViewPlan, fold_tiles};

/// See the module.
#[derive(Debug)]
pub struct OnlineLookupExec {
    /// None: all keys of the view
    spine: Option<(Arc<dyn ExecutionPlan>, usize)>,
    lookup: Arc<Lookup>,
    properties: Arc<PlanProperties>,
}

impl OnlineLookupExec {
    /// Columns of `spine` from `width` on are the keys.
    pub fn new(
        spine: Arc<dyn ExecutionPlan>,
        width: usize,
        store: Arc<OnlineStore>,
        answerer: Arc<Answerer>,
        relation: &FeatureRelation,
        schema: SchemaRef,
    ) -> OnlineLookupExec {
        Self::with_spine(Some((spine, width)), store, answerer, relation, schema)
    }

    pub fn over_all_keys(
        store: Arc<OnlineStore>,
        answerer: Arc<Answerer>,
        relation: &FeatureRelation,
        schema: SchemaRef,
    ) -> OnlineLookupExec {
        Self::with_spine(None, store, answerer, relation, schema)
    }

    fn with_spine(
        spine: Option<(Arc<dyn ExecutionPlan>, usize)>,
        store: Arc<OnlineStore>,
        answerer: Arc<Answerer>,
        relation: &FeatureRelation,
        schema: SchemaRef,
    ) -> OnlineLookupExec {
        let lookup = Lookup { view: Arc::clone(&relation.view), store, answerer, now_us: relation.now_us, schema };
        let partitions = spine.as_ref().map_or(1, |(spine, _)| spine.properties().partitioning.partition_count());
        let mut properties = single_partition(Arc::clone(&lookup.schema));
        properties =
            properties.with_partitioning(datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions));
        OnlineLookupExec { spine, lookup: Arc::new(lookup), properties: Arc::new(properties) }
    }
}

impl DisplayAs for OnlineLookupExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnlineLookupExec: view={}", self.lookup.view.name)?;
        if self.spine.is_none() {
            write!(f, ", all keys")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for OnlineLookupExec {
    fn name(&self) -> &str {
        "OnlineLookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.spine.iter().map(|(spine, _)| spine).collect()
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
        let spine = match (&self.spine, children.pop()) {
            (Some((_, width)), Some(spine)) => Some((spine, *width)),
            (None, None) => None,
            _ => return Err(DataFusionError::Internal("an online lookup has its one child".into())),
        };
        let partitions = spine.as_ref().map_or(1, |(spine, _)| spine.properties().partitioning.partition_count());
        let properties = single_partition(Arc::clone(&self.lookup.schema))
            .with_partitioning(datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions));
        Ok(Arc::new(OnlineLookupExec { spine, lookup: Arc::clone(&self.lookup), properties: Arc::new(properties) }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let lookup = Arc::clone(&self.lookup);
        let schema = Arc::clone(&lookup.schema);
        let Some((spine, width)) = &self.spine else {
            let batch = futures::stream::once(async move { Ok(lookup.all_keys()?) });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batch)));
        };
        let width = *width;
        // One snapshot for the whole statement, so that its rows agree with each other.
        let reader = lookup.store.reader()?;
        let batches = spine
            .execute(partition, context)?
            .and_then(move |batch| futures::future::ready(lookup.join(&reader, &batch, width).map_err(Into::into)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

/// Columns of one view, asked for by key.
#[derive(Debug)]
pub struct Lookup {
    view: Arc<BoundView>,
    store: Arc<OnlineStore>,
    answerer: Arc<Answerer>,
    now_us: i64,
    schema: SchemaRef,
}

impl Lookup {
    /// Of the relation's `columns`, shown as `schema` says. `None` where its rows are not in the online store.
    pub fn of(relation: &FeatureRelation, columns: &[usize], schema: SchemaRef) -> Option<Lookup> {
        let RowsOrigin::Online(store) = &relation.origin else { return None };
        let wanted: Vec<Wanted> = columns.iter().map(|column| relation.wanted(*column)).collect();
        let answerer = Arc::new(Answerer::new(&relation.view, &wanted));
        let (view, store) = (Arc::clone(&relation.view), Arc::clone(store));
        Some(Lookup { view, store, answerer, now_us: relation.now_us, schema })
    }

    /// By wanted column, a value for every key as of `now_us`.
    pub fn columns<'a>(
        &self,
        reader: &OnlineReader,
        keys: impl Iterator<Item = &'a [Option<Value>]>,
        now_us: i64,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        let mut out = vec![Vec::with_capacity(keys.size_hint().0); self.answerer.n_wanted()];
        for key in keys {
            self.answer(reader, key, now_us, &mut out)?;
        }
        Ok(out)
    }

    pub fn view_name(&self) -> &str {
        &self.view.name
    }

    pub fn store(&self) -> &Arc<OnlineStore> {
        &self.store
    }

    /// The keys that the view has as of `now_us`, of those that are `bound` to these values where it says any.
    pub fn existing_keys(
        &self,
        reader: &OnlineReader,
        bound: &[Option<Value>],
        now_us: i64,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        let types = self.view.key_types();
        let leading = bound.iter().take_while(|value| value.is_some()).map(Option::as_ref);
        let Some(leading) = Key::encode(leading) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for key in reader.keys_that_begin(self.view.id, &leading)? {
            let key: Vec<Option<Value>> = key?.decode(&types)?.into_iter().map(Some).collect();
            let is_asked = bound.iter().zip(&key).all(|(bound, value)| bound.is_none() || bound == value);
            if is_asked && self.has_begun(reader, &key, now_us)? {
                found.push(key);
            }
        }
        Ok(found)
    }

    fn join(&self, reader: &OnlineReader, batch: &RecordBatch, width: usize) -> Result<RecordBatch> {
        let keys = batch.columns()[width..].iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
        let mut out = vec![Vec::with_capacity(batch.num_rows()); self.answerer.n_wanted()];
        for row in 0..batch.num_rows() {
            let asked: Vec<Option<Value>> = keys.iter().map(|values| values[row].clone()).collect();
            self.answer(reader, &asked, self.now_us, &mut out)?;
        }
        self.batch(&batch.columns()[..width], out, batch.num_rows())
    }

    fn all_keys(&self) -> Result<RecordBatch> {
        let reader = self.store.reader()?;
        let types = self.view.key_types();
        let mut out = vec![Vec::new(); self.answerer.n_wanted()];
        let mut rows = 0;
        for key in reader.keys(self.view.id)? {
            let asked: Vec<Option<Value>> = key?.decode(&types)?.into_iter().map(Some).collect();
            if !self.has_begun(&reader, &asked, self.now_us)? {
                continue;
            }
            self.answer(&reader, &asked, self.now_us, &mut out)?;
            rows += 1;
        }
        self.batch(&[], out, rows)
    }

    /// Whether the key has rows by `now_us`: one of a bitemporal view that is known, one of a feature table whose time has
    /// come. What other views keep has begun.
    fn has_begun(&self, reader: &OnlineReader, key: &[Option<Value>], now_us: i64) -> Result<bool> {
        if self.view.known_at.is_none() && !self.view.is_feature_table() {
            return Ok(true);
        }
        let Some(key) = Key::encode(key.iter().map(Option::as_ref)) else { return Ok(false) };
        if self.view.is_feature_table() {
            let start_us = self.view.plan.timing.start_us.unwrap_or(i64::MIN);
            let begun = start_us..now_us.saturating_add(1);
            return Ok(reader.newest_item(self.view.id, &key, begun)?.is_some());
        }
        Ok(read_key(&self.view, &self.answerer, reader, &key, now_us)?.is_some())
    }

    fn answer(
        &self,
        reader: &OnlineReader,
        asked: &[Option<Value>],
        now_us: i64,
        out: &mut [Vec<Option<Value>>],
    ) -> Result<()> {
        let key = Key::encode(asked.iter().map(Option::as_ref));
        // A NULL key has the defaults of a NULL time: no window is placed, no start is compared.
        let time = key.is_some().then_some(now_us);
        if !self.view.is_kept_as_items() {
            let latest = match &key {
                None => None,
                Some(key) => reader.latest(self.view.id, key)?.map(|latest| (latest.ts_us, latest.values)),
            };
            return self.answerer.answer_latest(latest.as_ref(), asked, time, out);
        }
        let rows = match &key {
            None => None,
            Some(key) => read_key(&self.view, &self.answerer, reader, key, now_us)?,
        };
        self.answerer.answer(rows.as_ref(), &Asked { keys: asked, times: &[time] }, out)
    }

    fn batch(&self, before: &[ArrayRef], answers: Vec<Vec<Option<Value>>>, rows: usize) -> Result<RecordBatch> {
        let types: Vec<DataType> =
            self.schema.fields().iter().skip(before.len()).map(|field| field.data_type().clone()).collect();
        let mut columns = before.to_vec();
        columns.extend(self.answerer.arrays(&types, &answers)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| Error::internal("answers do not fit their schema").with_source(error))
    }
}

/// The rows of one key that can matter at `now_us`, out of the online store; None for a key without any.
pub fn read_key(
    view: &BoundView,
    answerer: &Answerer,
    reader: &OnlineReader,
    key: &Key,
    now_us: i64,
) -> Result<Option<KeyRows>> {
    if !view.is_kept_as_items() {
        let Some(latest) = reader.latest(view.id, key)? else { return Ok(None) };
        return Ok(Some(answerer.attribute_rows(vec![latest.ts_us], &[latest.values])));
    }
    let range = needed(&view.plan, now_us);
    if view.is_feature_table() {
        let Some(newest) = reader.newest_item(view.id, key, range)? else { return Ok(None) };
        let values = Reader::new(&newest.payload).values()?;
        return Ok(Some(answerer.attribute_rows(vec![newest.time_us], &[values])));
    }
    let mut stored = reader.items(view.id, key, range)?;
    if view.known_at.is_some() {
        stored = known_items(view, stored, now_us)?;
    }
    if stored.is_empty() {
        return Ok(None);
    }
    if !view.kind().has_aggregates() {
        let rows = stored.iter().map(|item| Reader::new(&item.payload).values()).collect::<Result<Vec<_>>>()?;
        return Ok(Some(answerer.attribute_rows(stored.iter().map(|item| item.time_us).collect(), &rows)));
    }
    let mut items = AggregateItems {
        times: Vec::with_capacity(stored.len()),
        secondary: view.secondary.as_ref().map(|_| Vec::with_capacity(stored.len())),
        partials: vec![Vec::with_capacity(stored.len()); answerer.plan().partials.len()],
    };
    for item in stored {
        let states = match view.stored_layout() {
            RowLayout::Tiles => answerer.partials_of_payload(&item.payload)?,
            RowLayout::Events => {
                let order = Order { ts_us: item.time_us, arrival: item.sequence };
                answerer.partials_of_event(&item.payload, order)?
            }
        };
        items.times.push(item.time_us);
        if let Some(secondary) = &mut items.secondary {
            secondary.push(item.secondary);
        }
        for (partials, state) in items.partials.iter_mut().zip(states) {
            partials.push(state);
        }
    }
    let is_tiled = matches!(view.kind(), ViewKind::BatchAggregates | ViewKind::StreamTiled);
    if is_tiled && view.stored_layout() == RowLayout::Events {
        items = fold_tiles(answerer.plan(), &items)?;
    }
    Ok(Some(KeyRows::Aggregates(items)))
}

/// The items of a bitemporal view, which are rows, that are known by `now_us`.
fn known_items(view: &BoundView, items: Vec<Item>, now_us: i64) -> Result<Vec<Item>> {
    let mut known = Vec::with_capacity(items.len());
    for item in items {
        // the values of its inputs, and then since when it is known
        let values = Reader::new(&item.payload).values()?;
        let Some(Some(Value::Int(known_us))) = values.get(view.inputs.len()) else {
            return Err(Error::new(Kind::DataCorrupted, format!("an item of \"{}\" has no known time", view.name)));
        };
        if *known_us <= now_us {
            known.push(item);
        }
    }
    Ok(known)
}

/// The event times, or tile starts, that some window of the plan reads at `now_us`.
fn needed(plan: &ViewPlan, now_us: i64) -> Range<i64> {
    match plan.required_range([now_us]) {
        Some((start_us, end_us)) => start_us..end_us,
        None => {
            let end_us = if sees_whole_time(plan.timing.kind) { now_us.saturating_add(1) } else { now_us };
            i64::MIN..end_us
        }
    }
}
