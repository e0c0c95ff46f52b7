//! What is served online beside what the offline store answers as of the same moment: the rows of `VERIFY`.
//!
//! Both sides are read as they are when the verification is opened, in streams: memory does not grow with the keys.

use std::collections::{BinaryHeap, HashSet};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::context::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, col};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use granary_sql::name::quote;
use granary_sql::timestamp::format_timestamp;

use super::into_datafusion;
use super::leading_edge::{Edge, Moment};
use super::plans::run;
use super::point_in_time::Lookup;
use super::query::{FromSource, QueryPlanner};
use super::relation::{BoundView, FeatureRelation, ReadMode};
use super::rows::stored_rows_plan;
use crate::error::{Error, Kind, Result};
use crate::online::OnlineReader;
use crate::row::{Key, Value, array_of, text_of, values_of};

/// The keys of a sample are all in memory.
const MOST_SAMPLED: usize = 1_000_000;
/// How many keys are asked for at a time.
const KEYS_AT_ONCE: usize = 8 * 1024;
/// The relation of the keys in the queries below; no object can have this name.
const KEYS: &str = "verified@keys";

/// The columns of the differences: the keys, the feature, and its two values as text.
pub fn differences_schema(view: &BoundView) -> SchemaRef {
    let mut fields: Vec<Field> =
        view.keys.iter().map(|key| Field::new(&key.name, key.data_type.clone(), false)).collect();
    fields.push(Field::new("feature", DataType::Utf8, false));
    fields.push(Field::new("online", DataType::Utf8, true));
    fields.push(Field::new("offline", DataType::Utf8, true));
    Arc::new(Schema::new(fields))
}

/// Both stores of a view at one moment.
pub struct Verification {
    view: Arc<BoundView>,
    now_us: i64,
    reader: OnlineReader,
    lookup: Lookup,
    state: SessionState,
    /// of keys and features as of now from the offline store
    replays: Vec<Replay>,
}

struct Replay {
    plan: LogicalPlan,
    /// whether keys that the online store has are left out: another replay has them
    only_offline: bool,
}

impl Verification {
    /// `relation`: the name of `view` in SQL. `sample`: at most so many keys, those of the smallest hashes. Errors: as of
    /// an AS OF over the view.
    pub async fn open(
        planner: &QueryPlanner,
        view: BoundView,
        relation: &str,
        sample: Option<u64>,
    ) -> Result<Verification> {
        let planner = planner.clone().with_from_source(FromSource::Off);
        let reader = planner.online.reader()?;
        let now = FeatureRelation::new(&planner, view.clone(), ReadMode::Now, false).await?;
        let columns: Vec<usize> = (0..view.output.fields().len()).collect();
        let lookup = Lookup::of(&now, &columns)
            .ok_or_else(|| Error::internal("a view of a live workspace is not read online"))?;
        let keys: Arc<dyn TableProvider> = match sample {
            None => online_keys(&reader, &view)?,
            Some(count) => sampled_keys(&planner, &reader, &view, count).await?,
        };
        // where windows end at the newest event, that is the time to ask for
        let now_us = lookup.asked_us(planner.now_us.into());
        let as_of = format!("{relation} FOR SYSTEM_TIME AS OF TIMESTAMPTZ '{}'", format_timestamp(now_us));
        let shown: Vec<String> =
            view.output.fields().iter().map(|field| format!("f.{}", quote(field.name()))).collect();
        let shown = shown.join(", ");
        let on: Vec<String> =
            view.keys.iter().map(|key| quote(&key.name)).map(|key| format!("f.{key} = s.{key}")).collect();
        let of_keys = format!("SELECT {shown} FROM {} AS s JOIN {as_of} AS f ON {}", quote(KEYS), on.join(" AND "));
        let with_keys = planner.clone().with_relation(KEYS.to_owned(), keys);
        let mut replays = vec![Replay { plan: with_keys.plan_query_text(&of_keys).await?, only_offline: false }];
        if sample.is_none() {
            let all = format!("SELECT {shown} FROM {as_of} AS f");
            replays.push(Replay { plan: planner.plan_query_text(&all).await?, only_offline: true });
        }
        let state = planner.state();
        Ok(Verification { view: Arc::new(view), now_us, reader, lookup, state, replays })
    }

    /// The rows that differ, in the columns of [`differences_schema`].
    pub fn differences(self) -> BoxStream<'static, Result<RecordBatch>> {
        let Verification { view, now_us, reader, lookup, state, replays } = self;
        let both = Arc::new((view, reader, lookup));
        let replayed = futures::stream::iter(replays).then(move |replay| {
            let (state, both) = (state.clone(), Arc::clone(&both));
            async move {
                let rows = run(&state, &replay.plan).await?;
                let differences = rows.map_err(Error::from).try_filter_map(move |batch| {
                    let (view, reader, lookup) = both.as_ref();
                    let compared = Comparison { view, reader, lookup, now_us }.of(&batch, replay.only_offline);
                    futures::future::ready(compared)
                });
                Ok::<_, Error>(differences)
            }
        });
        replayed.try_flatten().boxed()
    }
}

struct Comparison<'a> {
    view: &'a BoundView,
    reader: &'a OnlineReader,
    lookup: &'a Lookup,
    now_us: i64,
}

impl Comparison<'_> {
    /// The differences in a batch of replayed answers, if there are any.
    fn of(&self, replayed: &RecordBatch, only_offline: bool) -> Result<Option<RecordBatch>> {
        let n_keys = self.view.keys.len();
        let keys =
            replayed.columns()[..n_keys].iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
        let key_of = |row: usize| -> Vec<Option<Value>> { keys.iter().map(|values| values[row].clone()).collect() };
        let mut rows = Vec::with_capacity(replayed.num_rows());
        for row in 0..replayed.num_rows() {
            let is_online = match Key::encode(key_of(row).iter().map(Option::as_ref)) {
                Some(key) => only_offline && self.reader.has(self.view.id, &key)?,
                None => return Err(Error::internal("a key of a view is NULL")),
            };
            if !is_online {
                rows.push(row);
            }
        }
        let asked: Vec<Vec<Option<Value>>> = rows.iter().map(|row| key_of(*row)).collect();
        let moment = Moment { now_us: self.now_us, edge: Some(Edge::WallClock) };
        let served = self.lookup.columns(self.reader, asked.iter().map(Vec::as_slice), moment)?;
        let mut found = Found { keys: vec![Vec::new(); n_keys], texts: Default::default() };
        for column in n_keys..replayed.num_columns() {
            let field = self.view.output.field(column);
            let offline = values_of(replayed.column(column))?;
            for (online, row) in served[column].iter().zip(&rows) {
                let offline = &offline[*row];
                if online == offline {
                    continue;
                }
                found.keys.iter_mut().zip(&keys).for_each(|(found, values)| found.push(values[*row].clone()));
                let text = |value: &Option<Value>| {
                    value.as_ref().map(|value| Value::Text(text_of(value, field.data_type()).into()))
                };
                found.texts[0].push(Some(Value::Text(field.name().as_str().into())));
                found.texts[1].push(text(online));
                found.texts[2].push(text(offline));
            }
        }
        found.batch(self.view)
    }
}

/// Rows of differences, by column.
struct Found {
    keys: Vec<Vec<Option<Value>>>,
    texts: [Vec<Option<Value>>; 3],
}

impl Found {
    fn batch(&self, view: &BoundView) -> Result<Option<RecordBatch>> {
        if self.texts[0].is_empty() {
            return Ok(None);
        }
        let schema = differences_schema(view);
        let columns = self.keys.iter().chain(&self.texts).zip(schema.fields());
        let columns: Vec<ArrayRef> = columns
            .map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)))
            .collect::<Result<_>>()?;
        let batch = RecordBatch::try_new(schema, columns);
        batch.map(Some).map_err(|error| Error::internal("differences do not fit their schema").with_source(error))
    }
}

fn key_schema(view: &BoundView) -> SchemaRef {
    let field = |key: &granary_catalog::Column| Field::new(&key.name, key.data_type.clone(), true);
    Arc::new(Schema::new(view.keys.iter().map(field).collect::<Vec<_>>()))
}

fn batch_of_keys<'a>(schema: &SchemaRef, keys: impl Iterator<Item = &'a Key>) -> Result<RecordBatch> {
    let types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
    let mut columns: Vec<Vec<Value>> = vec![Vec::new(); types.len()];
    for key in keys {
        columns.iter_mut().zip(key.decode(&types)?).for_each(|(column, value)| column.push(value));
    }
    let arrays = columns.iter().zip(&types).map(|(values, data_type)| array_of(data_type, values.iter().map(Some)));
    RecordBatch::try_new(Arc::clone(schema), arrays.collect::<Result<Vec<_>>>()?)
        .map_err(|error| Error::internal("keys do not fit their schema").with_source(error))
}

/// All keys that the online store has of the view, as they come.
fn online_keys(reader: &OnlineReader, view: &BoundView) -> Result<Arc<dyn TableProvider>> {
    let schema = key_schema(view);
    let keys = Arc::new(OnlineKeys { reader: reader.clone(), view: view.id, schema: Arc::clone(&schema) });
    Ok(Arc::new(StreamingTable::try_new(schema, vec![keys])?))
}

struct OnlineKeys {
    reader: OnlineReader,
    view: u64,
    schema: SchemaRef,
}

impl fmt::Debug for OnlineKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineKeys").field("view", &self.view).finish_non_exhaustive()
    }
}

impl PartitionStream for OnlineKeys {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.schema);
        let batches = match self.reader.keys(self.view) {
            Err(error) => futures::stream::once(futures::future::ready(Err(into_datafusion(error)))).boxed(),
            Ok(keys) => {
                let schema = Arc::clone(&schema);
                let batch = move |keys: Vec<Result<Key>>| -> DataFusionResult<RecordBatch> {
                    let keys = keys.into_iter().collect::<Result<Vec<Key>>>().map_err(into_datafusion)?;
                    batch_of_keys(&schema, keys.iter()).map_err(into_datafusion)
                };
                futures::stream::iter(keys).chunks(KEYS_AT_ONCE).map(batch).boxed()
            }
        };
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

/// The keys of either store with the smallest hashes.
async fn sampled_keys(
    planner: &QueryPlanner,
    reader: &OnlineReader,
    view: &BoundView,
    count: u64,
) -> Result<Arc<dyn TableProvider>> {
    let count = usize::try_from(count).ok().filter(|count| *count <= MOST_SAMPLED).ok_or_else(|| {
        Error::new(Kind::ConfigurationLimitExceeded, format!("a sample has at most {MOST_SAMPLED} keys"))
            .with_hint("leave SAMPLE out to compare all keys")
    })?;
    let mut sample = Sample { count, keys: BinaryHeap::new(), known: HashSet::new() };
    for key in reader.keys(view.id)? {
        sample.offer(key?);
    }
    let keys = view.keys.iter().map(|key| col(datafusion::common::Column::from_name(&key.name)));
    let stored = LogicalPlanBuilder::from(stored_rows_plan(planner, view, (i64::MIN, i64::MAX)).await?)
        .project(keys)?
        .build()?;
    let mut stored = run(&planner.state(), &stored).await?;
    while let Some(batch) = stored.try_next().await? {
        let columns = batch.columns().iter().map(|key| values_of(key.as_ref())).collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let key = Key::encode(columns.iter().map(|values| values[row].as_ref()));
            sample.offer(key.ok_or_else(|| Error::internal("a stored row has a NULL key"))?);
        }
    }
    let schema = key_schema(view);
    let batch = batch_of_keys(&schema, sample.known.iter())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

/// The keys of the smallest hashes among those that were offered.
struct Sample {
    count: usize,
    /// the greatest hash on top
    keys: BinaryHeap<(u64, Key)>,
    known: HashSet<Key>,
}

impl Sample {
    fn offer(&mut self, key: Key) {
        let hash = key.stable_hash();
        let is_full = self.keys.len() >= self.count;
        if is_full && self.keys.peek().is_none_or(|(greatest, _)| hash >= *greatest) || self.known.contains(&key) {
            return;
        }
        if is_full && let Some((_, dropped)) = self.keys.pop() {
            self.known.remove(&dropped);
        }
        self.known.insert(key.clone());
        self.keys.push((hash, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_the_same_in_any_order() {
        let key = |number: i64| Key::encode([Some(&Value::Int(number))]).expect("not null");
        let sample = |numbers: Vec<i64>| {
            let mut sample = Sample { count: 10, keys: BinaryHeap::new(), known: HashSet::new() };
            numbers.into_iter().for_each(|number| sample.offer(key(number)));
            assert_eq!(sample.keys.len(), sample.known.len());
            sample.known
        };
        let forth = sample((0..1000).chain(0..500).collect());
        assert_eq!(forth.len(), 10);
        assert_eq!(forth, sample((0..1000).rev().collect()));
        assert_eq!(sample((0..3).collect()).len(), 3);
    }
}
