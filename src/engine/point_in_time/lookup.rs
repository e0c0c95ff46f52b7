//! Answers as of now, out of the online store: a lookup a row, in any order of the spine.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use super::answer::{Answerer, Asked, KeyRows, Wanted, status};
use super::exec::sees_whole_time;
use super::item_spans::ItemReader;
use super::planner::single_partition;
use crate::engine::leading_edge::{Moment, ViewEdge};
use crate::engine::relation::{BoundView, FeatureRelation, RowsOrigin};
use crate::error::{Error, Kind, Result};
use crate::online::{Item, OnlineReader, OnlineStore, SpanPlan};
use crate::row::{Key, Reader, Value, array_of, put_value, values_of};
use crate::tile::{ViewKind, ViewPlan, attributes_hold};
use crate::trace;

/// See the module.
#[derive(Debug)]
pub struct OnlineLookupExec {
    /// None: all keys of the view
    spine: Option<(Arc<dyn ExecutionPlan>, usize)>,
    rows: Arc<LookupRows>,
    properties: Arc<PlanProperties>,
}

/// What is looked up, as of when, and the columns that come out.
#[derive(Debug)]
struct LookupRows {
    lookup: Lookup,
    now_us: i64,
    /// those of a spine first
    schema: SchemaRef,
}

impl OnlineLookupExec {
    /// Columns of `spine` from its number on are the keys; without a spine it is all keys. `schema`: the spine's columns
    /// before those, then the ones looked up.
    pub fn new(
        spine: Option<(Arc<dyn ExecutionPlan>, usize)>,
        lookup: Lookup,
        now_us: i64,
        schema: SchemaRef,
    ) -> OnlineLookupExec {
        OnlineLookupExec::of_rows(spine, Arc::new(LookupRows { lookup, now_us, schema }))
    }

    fn of_rows(spine: Option<(Arc<dyn ExecutionPlan>, usize)>, rows: Arc<LookupRows>) -> OnlineLookupExec {
        let partitions = spine.as_ref().map_or(1, |(spine, _)| spine.properties().partitioning.partition_count());
        let properties = single_partition(Arc::clone(&rows.schema))
            .with_partitioning(datafusion::physical_plan::Partitioning::UnknownPartitioning(partitions));
        OnlineLookupExec { spine, rows, properties: Arc::new(properties) }
    }
}

impl DisplayAs for OnlineLookupExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnlineLookupExec: view={}", self.rows.lookup.view.name)?;
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
        Ok(Arc::new(OnlineLookupExec::of_rows(spine, Arc::clone(&self.rows))))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let (rows, schema) = (Arc::clone(&self.rows), self.schema());
        let Some((spine, width)) = &self.spine else {
            let batch = futures::stream::once(async move { Ok(rows.of_all_keys()?) });
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batch)));
        };
        let width = *width;
        // One snapshot for the whole statement, so that its rows agree with each other.
        let reader = rows.lookup.reader()?;
        let batches = spine
            .execute(partition, context)?
            .and_then(move |batch| futures::future::ready(rows.beside(&reader, &batch, width).map_err(Into::into)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

impl LookupRows {
    /// The rows of a spine, whose columns from `width` on are the keys, with what is looked up for them.
    fn beside(&self, reader: &OnlineReader, spine: &RecordBatch, width: usize) -> Result<RecordBatch> {
        let keys = spine.columns()[width..].iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
        let key_of = |row: usize| keys.iter().map(|values| values[row].clone()).collect();
        let keys: Vec<Vec<Option<Value>>> = (0..spine.num_rows()).map(key_of).collect();
        let columns = self.lookup.columns(reader, keys.iter().map(Vec::as_slice), self.now_us.into())?;
        self.batch(&spine.columns()[..width], &columns, keys.len())
    }

    fn of_all_keys(&self) -> Result<RecordBatch> {
        let (lookup, reader) = (&self.lookup, self.lookup.reader()?);
        let any = vec![None; lookup.view.keys.len()];
        let mut columns = vec![Vec::new(); lookup.answerer.n_wanted()];
        let (mut rows, mut read) = (0, StoredRows::default());
        for key in lookup.existing_keys(&reader, &any, self.now_us)? {
            lookup.answer(&reader, &key?, self.now_us.into(), &mut read, &mut columns)?;
            rows += 1;
        }
        self.batch(&[], &columns, rows)
    }

    fn batch(&self, before: &[ArrayRef], columns: &[Vec<Option<Value>>], rows: usize) -> Result<RecordBatch> {
        let fields = self.schema.fields().iter().skip(before.len());
        let arrays =
            fields.zip(columns).map(|(field, values)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
        let arrays = before.iter().cloned().map(Ok).chain(arrays).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .map_err(|error| Error::internal("answers do not fit their schema").with_source(error))
    }
}

/// Columns of one view, asked for by key.
#[derive(Debug)]
pub struct Lookup {
    view: Arc<BoundView>,
    store: Arc<OnlineStore>,
    answerer: Answerer,
    /// what may stand for many items
    spans: Option<SpanPlan>,
    /// where windows end, if that is not always now
    edge: Option<ViewEdge>,
}

impl Lookup {
    /// Of the relation's `columns`. `None` where its rows are not in the online store.
    pub fn of(relation: &FeatureRelation, columns: &[usize]) -> Option<Lookup> {
        let RowsOrigin::Online { store, edge } = &relation.origin else { return None };
        let wanted: Vec<Wanted> = columns.iter().map(|column| relation.wanted(*column)).collect();
        let answerer = Answerer::new(&relation.view, &wanted);
        let spans = relation.view.item_spans();
        let (view, store, edge) = (Arc::clone(&relation.view), Arc::clone(store), edge.clone());
        Some(Lookup { view, store, answerer, spans, edge })
    }

    /// By wanted column, a value for every key as of `now_us`.
    pub fn columns<'a>(
        &self,
        reader: &OnlineReader,
        keys: impl Iterator<Item = &'a [Option<Value>]>,
        moment: Moment,
    ) -> Result<Vec<Vec<Option<Value>>>> {
        let _reading = trace::store("online read", || self.view.name.clone()).entered();
        let mut out = vec![Vec::with_capacity(keys.size_hint().0); self.answerer.n_wanted()];
        let mut read = StoredRows::default();
        for key in keys {
            self.answer(reader, key, moment, &mut read, &mut out)?;
        }
        Ok(out)
    }

    /// How many columns it has.
    pub fn n_columns(&self) -> usize {
        self.answerer.n_wanted()
    }

    /// A key of the view, by its values, for [`Lookup::find`]. None if one is NULL, or where that needs none.
    pub fn key<'a>(&self, keys: &impl Fn(usize) -> Option<&'a Value>) -> Option<Key> {
        if self.is_of_one_row() { Key::encode((0..self.view.keys.len()).map(keys)) } else { None }
    }

    /// The view whose newest rows are looked for first.
    pub fn view_of_newest_rows(&self) -> Option<u64> {
        (!self.view.is_feature_table()).then_some(self.view.id)
    }

    /// What the store has for a key, also given by its values. Leaves the row's bytes in `read`.
    pub fn find<'a>(
        &self,
        reader: &OnlineReader,
        (key, keys): (Option<&Key>, &impl Fn(usize) -> Option<&'a Value>),
        moment: Moment,
        read: &mut StoredRows,
    ) -> Result<Found> {
        if self.is_of_one_row() {
            let now_us = moment.now_us;
            let time_us = key.is_some().then_some(now_us);
            let row = match key.filter(|key| key.length().is_ok()) {
                None => None,
                Some(key) => self.row(reader, key, now_us, read)?,
            };
            return Ok(Found::Row { row, time_us });
        }
        let asked: Vec<Option<Value>> = (0..self.view.keys.len()).map(|key| keys(key).cloned()).collect();
        let mut columns = vec![Vec::with_capacity(1); self.n_columns()];
        self.answer(reader, &asked, moment, read, &mut columns)?;
        Ok(Found::Values(columns.into_iter().map(|mut column| column.pop().flatten()).collect()))
    }

    /// One column of what was found.
    pub fn cell<'a>(
        &self,
        found: &'a Found,
        column: usize,
        keys: &impl Fn(usize) -> Option<&'a Value>,
        read: &'a StoredRows,
    ) -> Result<Cell<'a>> {
        let (row, time_us) = match found {
            Found::Values(values) => return Ok(Cell::Value(values[column].as_ref())),
            Found::Row { row, time_us } => (row, time_us),
        };
        Ok(match self.answerer.wanted()[column] {
            Wanted::Key(key) => Cell::Value(keys(key)),
            Wanted::AsOf | Wanted::ValidFrom => Cell::Time(*time_us),
            Wanted::ValidTo => Cell::Time(None),
            Wanted::EffectiveTime => Cell::Time(row.as_ref().map(|row| self.view.plan.timing.effective(row.ts_us))),
            Wanted::Status => Cell::Text(status(row.is_some())),
            Wanted::Feature(_) => match row {
                None => Cell::Value(None),
                Some(row) => read.value(row, self.answerer.attribute(column)?),
            },
        })
    }

    /// Whether a column is stored right behind the one before it, in a view of which one row answers.
    pub fn follows(&self, column: usize) -> Result<bool> {
        let are_features =
            matches!(self.answerer.wanted()[column - 1..=column], [Wanted::Feature(_), Wanted::Feature(_)]);
        Ok(self.is_of_one_row()
            && are_features
            && self.answerer.attribute(column)? == self.answerer.attribute(column - 1)? + 1)
    }

    /// The values of columns that follow each other, in the bytes of [`put_value`]; None if they do not stand together.
    pub fn stored<'a>(&self, found: &Found, columns: Range<usize>, read: &'a StoredRows) -> Result<Option<&'a [u8]>> {
        let Found::Row { row: Some(row), .. } = found else { return Ok(None) };
        Ok(read.values(row, self.answerer.attribute(columns.start)?, columns.len()))
    }

    pub fn view_name(&self) -> &str {
        &self.view.name
    }

    /// The newest state of the store.
    pub fn reader(&self) -> Result<OnlineReader> {
        self.store.reader()
    }

    /// The keys that the view has as of `now_us`, of those that are `bound` to these values where it says any.
    pub fn existing_keys<'a>(
        &'a self,
        reader: &'a OnlineReader,
        bound: &'a [Option<Value>],
        now_us: i64,
    ) -> Result<impl Iterator<Item = Result<Vec<Option<Value>>>> + 'a> {
        let types = self.view.key_types();
        let leading = Key::encode(bound.iter().map_while(|value| value.as_ref().map(Some)));
        let leading = leading.ok_or_else(|| Error::internal("the leading values of a key are NULL"))?;
        let keys = reader.keys_that_begin(self.view.id, &leading)?;
        let exists = move |key: Result<Key>| {
            let key: Vec<Option<Value>> = key?.decode(&types)?.into_iter().map(Some).collect();
            let is_asked = bound.iter().zip(&key).all(|(bound, value)| bound.is_none() || bound == value);
            Ok((is_asked && self.has_begun(reader, &key, now_us)?).then_some(key))
        };
        Ok(keys.filter_map(move |key| exists(key).transpose()))
    }

    /// Whether the key has rows by `now_us`: one of a bitemporal view that is known, one of a feature table whose time has
    /// come, and so one of a stream view, whose events may be of the future. What other views keep has begun.
    fn has_begun(&self, reader: &OnlineReader, key: &[Option<Value>], now_us: i64) -> Result<bool> {
        if self.view.known_at.is_none() && !self.view.kind().is_stream() {
            return Ok(true);
        }
        let Some(key) = Key::encode(key.iter().map(Option::as_ref)) else { return Ok(false) };
        if self.view.known_at.is_none() {
            let timing = &self.view.plan.timing;
            let end_us = match timing.kind {
                ViewKind::StreamTiled => timing.tile_anchor(now_us),
                _ => now_us.saturating_add(1),
            };
            let start_us = timing.materialized_from(&self.view.plan.windows()).unwrap_or(i64::MIN);
            let has_item = reader.newest_item(self.view.id, &key, start_us..end_us)?.is_some();
            return Ok(has_item || reader.latest(self.view.id, &key)?.is_some());
        }
        Ok(read_key(self, reader, &key, now_us)?.is_some())
    }

    /// Whether no more than one row of a key can answer.
    fn is_of_one_row(&self) -> bool {
        self.view.is_feature_table() || !self.view.is_kept_as_items()
    }

    /// The time that the view is asked for, whose windows may end at the newest event.
    pub fn asked_us(&self, moment: Moment) -> i64 {
        self.edge.as_ref().map_or(moment.now_us, |edge| edge.asked_us(moment))
    }

    /// Appends the answer for a key to `out`, by wanted column.
    fn answer(
        &self,
        reader: &OnlineReader,
        asked: &[Option<Value>],
        moment: Moment,
        read: &mut StoredRows,
        out: &mut [Vec<Option<Value>>],
    ) -> Result<()> {
        if self.is_of_one_row() {
            read.clear();
            let keys = |key: usize| asked[key].as_ref();
            let found = self.find(reader, (self.key(&keys).as_ref(), &keys), moment, read)?;
            for (column, out) in out.iter_mut().enumerate() {
                out.push(self.cell(&found, column, &keys, read)?.to_value()?);
            }
            return Ok(());
        }
        let key = Key::encode(asked.iter().map(Option::as_ref));
        let asked_us = self.asked_us(moment);
        // A NULL key has the defaults of a NULL time: no window is placed, no start is compared.
        let time = key.is_some().then_some(asked_us);
        // one that is longer than the store takes is nobody's
        let key = key.filter(|key| key.length().is_ok());
        let rows = match &key {
            None => None,
            Some(key) => read_key(self, reader, key, asked_us)?,
        };
        self.answerer.answer(rows.as_ref(), &Asked { keys: asked, times: &[time] }, out)?;
        if asked_us != moment.now_us && time.is_some() {
            // the lookup itself is as of now
            for (wanted, out) in self.answerer.wanted().iter().zip(out) {
                if let (Wanted::AsOf | Wanted::ValidFrom, Some(value)) = (wanted, out.last_mut()) {
                    *value = Some(Value::Int(moment.now_us));
                }
            }
        }
        Ok(())
    }

    /// The one row of a key that answers, if it does.
    fn row(&self, reader: &OnlineReader, key: &Key, now_us: i64, read: &mut StoredRows) -> Result<Option<FoundRow>> {
        let plan = &self.view.plan;
        let mut row = match self.view.is_feature_table() {
            true => None,
            false => reader.latest_bytes(self.view.id, key, &mut read.bytes)?,
        };
        if self.view.kind().is_stream() {
            // events are kept as items, since they may be of the future; they arrive behind the rows of a backfill
            let newest = reader.newest_item(self.view.id, key, needed(plan, now_us))?;
            if let Some(newest) = newest.filter(|newest| row.is_none_or(|(ts_us, _)| ts_us <= newest.time_us)) {
                row = Some((newest.time_us, read.bytes.len()));
                read.bytes.extend_from_slice(&newest.payload);
            }
        }
        let Some((ts_us, values_at)) = row.filter(|(ts_us, _)| attributes_hold(plan, *ts_us, now_us)) else {
            return Ok(None);
        };
        let first_place = read.places.len();
        Reader::new(read.bytes.get(values_at..).unwrap_or_default()).places(&mut read.places)?;
        Ok(Some(FoundRow { ts_us, values_at, places: first_place..read.places.len() }))
    }
}

/// What the store has for one key as of one time.
#[derive(Debug)]
pub enum Found {
    /// The row that answers, in a view of which only one can; no time for a NULL key.
    Row { row: Option<FoundRow>, time_us: Option<i64> },
    /// By wanted column.
    Values(Vec<Option<Value>>),
}

/// Where among the [`StoredRows`] a row is.
#[derive(Debug)]
pub struct FoundRow {
    ts_us: i64,
    values_at: usize,
    places: Range<usize>,
}

/// Rows as they are stored, one behind the other.
#[derive(Debug, Default)]
pub struct StoredRows {
    bytes: Vec<u8>,
    /// by row, where its values begin, and where the last one ends
    places: Vec<u32>,
}

impl StoredRows {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// A stored value; what was stored before the view had this attribute is NULL.
    fn value(&self, row: &FoundRow, attribute: usize) -> Cell<'_> {
        match self.places[row.places.clone()].get(attribute..attribute + 2) {
            Some(&[start, end]) => Cell::Stored(&self.bytes[row.values_at..][start as usize..end as usize]),
            _ => Cell::Value(None),
        }
    }

    /// Values that were stored one behind the other; None if some of them were not.
    fn values(&self, row: &FoundRow, attribute: usize, count: usize) -> Option<&[u8]> {
        let places = &self.places[row.places.clone()];
        let (start, end) = (*places.get(attribute)?, *places.get(attribute + count)?);
        Some(&self.bytes[row.values_at..][start as usize..end as usize])
    }
}

/// One value of an answer, where it is.
#[derive(Debug, Clone, Copy)]
pub enum Cell<'a> {
    /// In the bytes of [`put_value`].
    Stored(&'a [u8]),
    Value(Option<&'a Value>),
    Time(Option<i64>),
    Text(&'static str),
}

impl Cell<'_> {
    pub fn to_value(self) -> Result<Option<Value>> {
        Ok(match self {
            Cell::Stored(bytes) => Reader::new(bytes).value()?,
            Cell::Value(value) => value.cloned(),
            Cell::Time(time_us) => time_us.map(Value::Int),
            Cell::Text(text) => Some(Value::Text(text.into())),
        })
    }

    /// Appends it in the bytes of [`put_value`].
    pub fn put(self, out: &mut Vec<u8>) {
        match self {
            Cell::Stored(bytes) => out.extend_from_slice(bytes),
            Cell::Value(value) => put_value(out, value),
            Cell::Time(time_us) => put_value(out, time_us.map(Value::Int).as_ref()),
            Cell::Text(text) => put_value(out, Some(&Value::Text(text.into()))),
        }
    }
}

/// The rows of one key that can matter at `now_us`, of a view of which several can; None for a key without any.
fn read_key(
    Lookup { view, answerer, spans, .. }: &Lookup,
    reader: &OnlineReader,
    key: &Key,
    now_us: i64,
) -> Result<Option<KeyRows>> {
    if let Some(spans) = spans
        && reader.spans_form(view.id, key)? == Some(spans.form)
    {
        let mut items = ItemReader::new(view, answerer, reader, key);
        items.read_spans(spans, now_us)?;
        return Ok(items.finish()?.map(KeyRows::Aggregates));
    }
    let range = needed(&view.plan, now_us);
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
    let mut items = ItemReader::new(view, answerer, reader, key);
    stored.into_iter().try_for_each(|item| items.add(item))?;
    Ok(items.finish()?.map(KeyRows::Aggregates))
}

/// The items of a bitemporal view, which are rows, that are known by `now_us`.
fn known_items(view: &BoundView, items: Vec<Item>, now_us: i64) -> Result<Vec<Item>> {
    let mut known = Vec::with_capacity(items.len());
    for item in items {
        // the values of its inputs, of as many as the view had, and then since when it is known
        let values = Reader::new(&item.payload).values()?;
        let Some(Some(Value::Int(known_us))) = values.last() else {
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
