//! Rows of events of a joined view: one whose query reads other relations, too, which change. So its rows are made once,
//! as an event is taken in, and stored; nothing here computes them again.
//!
//! They are on their way as bytes beside their event, in column [`ROWS`] of the log's entries and of the tail:
//!
//! ```text
//! of every view that has made rows: values: its id, its fingerprint of storage, bytes of its rows
//! of every row: values: the columns of `row_schema(RowLayout::Events)` but for the arrival
//! ```
//!
//! The flusher writes them into a table of the view, under the offset behind them as application transaction. A row's
//! arrival is made of its event's offset and its place among the event's rows.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt;
use granary_catalog::Stream;

use super::event_rows::{ARRIVALS_OF_EVENT, first_arrival_of, made_rows_plan, stream_of};
use super::query::QueryPlanner;
use super::relation::{ARRIVAL, BoundView, RowLayout};
use super::rows::column;
use super::tables::events::{
    EventTable, ROWS, StreamRows, event_schema, events_of, from_offset, offsets_of, rows_field,
};
use super::tables::stored::version_table;
use crate::error::{Error, Kind, Result};
use crate::row::{Reader, Value, array_of, check_key_lengths, integers_of, put_values, values_of};

/// Events that make more bytes of rows are divided.
const MADE_BYTES: usize = 8 << 20;

/// So many events of the tail are read at a time.
const EVENTS_AT_ONCE: usize = 8192;
/// More bytes of rows than this are not kept from the check of a call until its events are appended.
const KEPT_BYTES: usize = 8 << 20;

/// What a joined view has made of events.
#[derive(Debug, Clone, Default)]
pub struct MadeRows {
    /// the bytes of the rows of each event
    pub rows: Vec<Vec<u8>>,
    /// how many they are
    pub count: u64,
}

/// What the joined views of a stream have made of the events of a call.
#[derive(Debug, Clone, Default)]
pub struct MadeOfCall {
    /// of each view, in the order of the events
    views: Vec<(Arc<BoundView>, Vec<Vec<u8>>)>,
    bytes: usize,
}

impl MadeOfCall {
    /// Adds what was made of the next events; nothing is kept of a call that makes too much.
    pub fn add(&mut self, made: Vec<(Arc<BoundView>, MadeRows)>) {
        let bytes = made.iter().flat_map(|(_, made)| &made.rows).map(|rows| rows.len() + size_of::<Vec<u8>>());
        self.bytes = self.bytes.saturating_add(bytes.sum());
        if self.bytes > KEPT_BYTES {
            self.views.clear();
            return;
        }
        for (view, made) in made {
            match self.views.iter_mut().find(|(known, _)| known.id == view.id) {
                Some((_, known)) => known.extend(made.rows),
                None => self.views.push((view, made.rows)),
            }
        }
    }

    /// What a view has made of `count` events from one on; None if that is not kept.
    pub fn of(&self, view: &BoundView, start: usize, count: usize) -> Option<Vec<Vec<u8>>> {
        let is_view = |known: &BoundView| (known.id, known.storage) == (view.id, view.storage);
        let (_, rows) = self.views.iter().find(|(known, _)| is_view(known))?;
        rows.get(start..start + count).map(<[Vec<u8>]>::to_vec)
    }
}

/// The rows that a joined view makes of events by the other relations as they are now. The events are in the stream's
/// columns, and whatever is behind these. Errors: the query's; 22003 for more rows of an event than there is room for.
pub async fn made_rows(planner: &QueryPlanner, view: &BoundView, events: &RecordBatch) -> Result<MadeRows> {
    let mut made = MadeRows::default();
    let mut parts = vec![(0, events.num_rows())];
    while let Some((start, count)) = parts.pop() {
        match made_part(planner, view, &events.slice(start, count)).await? {
            Some(part) => {
                made.rows.extend(part.rows);
                made.count += part.count;
            }
            None if count > 1 => parts.extend([(start + count / 2, count - count / 2), (start, count / 2)]),
            None => return Err(too_many_rows(view)),
        }
    }
    Ok(made)
}

fn too_many_rows(view: &BoundView) -> Error {
    let message = format!("an event has more rows in feature view \"{}\" than can be kept", view.name);
    Error::new(Kind::NumericValueOutOfRange, message)
        .with_detail(format!("There may be {ARRIVALS_OF_EVENT} rows of an event, and {MADE_BYTES} bytes."))
}

/// Plans a joined view's query over events, without running it.
pub async fn check_made_rows(planner: &QueryPlanner, view: &BoundView) -> Result<()> {
    let Some(stream) = stream_of(planner, view) else { return Ok(()) };
    let none = StreamRows::Given(stream.header.id, RecordBatch::new_empty(event_schema(stream)));
    let plan = made_rows_plan(&planner.clone().with_stream_rows(none), view, stream).await?;
    planner.engine.ordered_state(planner.now_us).create_physical_plan(&plan).await?;
    Ok(())
}

/// None if they are more bytes than are made at once.
async fn made_part(planner: &QueryPlanner, view: &BoundView, events: &RecordBatch) -> Result<Option<MadeRows>> {
    let stream = stream_of(planner, view).ok_or_else(|| Error::internal("a joined view without a stream"))?;
    let given = StreamRows::Given(stream.header.id, numbered(&event_schema(stream), events)?);
    let planner = planner.clone().with_stream_rows(given);
    let plan = made_rows_plan(&planner, view, stream).await?;
    let state = planner.engine.ordered_state(planner.now_us);
    let physical = state.create_physical_plan(&plan).await?;
    let mut batches = execute_stream(physical, state.task_ctx())?;
    let width = view.row_schema(RowLayout::Events).fields().len() - 1;
    // of each event the rows with their places in its lists
    let mut of_events: Vec<Vec<(i64, Vec<u8>)>> = vec![Vec::new(); events.num_rows()];
    let (mut bytes, mut count) = (0, 0);
    while let Some(batch) = batches.try_next().await? {
        let keys: Vec<&ArrayRef> = batch.columns().iter().take(view.keys.len()).collect();
        check_key_lengths(&keys)?;
        let columns = batch.columns().iter().take(width);
        let columns = columns.map(|column| values_of(column.as_ref())).collect::<Result<Vec<_>>>()?;
        let offsets = integers_of(batch.column(width).as_ref())?;
        let places = batch.columns().get(width + 1).map(|places| integers_of(places.as_ref())).transpose()?;
        for (row, offset) in offsets.iter().enumerate() {
            let of_event = usize::try_from(*offset).ok().and_then(|event| of_events.get_mut(event));
            let of_event = of_event.ok_or_else(|| Error::internal("a row of an event that was not given"))?;
            let values: Vec<Option<Value>> = columns.iter().map(|column| column[row].clone()).collect();
            let mut encoded = Vec::new();
            put_values(&mut encoded, &values);
            bytes += encoded.len();
            count += 1;
            of_event.push((places.as_ref().map_or(0, |places| places[row]), encoded));
            if of_event.len() as i64 > ARRIVALS_OF_EVENT {
                return Err(too_many_rows(view));
            }
        }
        if bytes > MADE_BYTES {
            return Ok(None);
        }
    }
    let joined = |mut rows: Vec<(i64, Vec<u8>)>| {
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().flat_map(|(_, encoded)| encoded).collect()
    };
    Ok(Some(MadeRows { rows: of_events.into_iter().map(joined).collect(), count }))
}

/// The events in the columns of `schema`, which is their stream's [`event_schema`], with their places in the batch as
/// offsets.
pub fn numbered(schema: &SchemaRef, events: &RecordBatch) -> Result<RecordBatch> {
    let count = i64::try_from(events.num_rows()).map_err(|_| Error::internal("more rows than can be numbered"))?;
    let mut columns: Vec<ArrayRef> = events.columns().iter().take(schema.fields().len() - 1).cloned().collect();
    columns.push(Arc::new(Int64Array::from_iter_values(0..count)));
    RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|error| Error::internal("events do not fit their stream").with_source(error))
}

/// Events with what views have made of them in column [`ROWS`], behind their other columns.
pub fn with_made_rows(events: &RecordBatch, made: &[(Arc<BoundView>, Vec<Vec<u8>>)]) -> Result<RecordBatch> {
    let of_event = |event: usize| {
        let mut bytes = Vec::new();
        for (view, rows) in made {
            let values = [
                Some(Value::Int(view.id.cast_signed())),
                Some(Value::Int(view.storage.cast_signed())),
                Some(Value::Bytes(rows[event].as_slice().into())),
            ];
            put_values(&mut bytes, &values);
        }
        bytes
    };
    let rows = BinaryArray::from_iter_values((0..events.num_rows()).map(of_event));
    let mut fields = events.schema_ref().fields().to_vec();
    fields.push(Arc::new(rows_field()));
    let mut columns = events.columns().to_vec();
    columns.push(Arc::new(rows));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal("events and their rows").with_source(error))
}

/// What was made of events, as rows.
pub struct StoredRowsOfEvents {
    /// in the columns of `row_schema(RowLayout::Events)`
    pub rows: RecordBatch,
    /// the places of the events of which the view has made nothing, not even no rows: it came later
    pub lacking: Vec<usize>,
}

/// The rows that a joined view has made of events, which have offsets.
pub fn rows_as_made(view: &BoundView, events: &RecordBatch) -> Result<StoredRowsOfEvents> {
    let offsets = offsets_of(events)?.values();
    let made = events.column_by_name(ROWS).and_then(|rows| rows.as_binary_opt::<i32>());
    let schema = view.row_schema(RowLayout::Events);
    let arrival = schema.index_of(ARRIVAL).map_err(|_| Error::internal("rows of events without an arrival"))?;
    let mut columns: Vec<Vec<Option<Value>>> = vec![Vec::new(); schema.fields().len()];
    let mut lacking = Vec::new();
    for (event, offset) in offsets.iter().enumerate() {
        let bytes = made.filter(|made| made.is_valid(event)).map(|made| made.value(event));
        let Some(rows) = bytes.map(|bytes| rows_of_view(view, bytes)).transpose()?.flatten() else {
            lacking.push(event);
            continue;
        };
        let mut reader = Reader::new(&rows);
        for place in 0.. {
            if reader.is_empty() {
                break;
            }
            let mut values = reader.values()?;
            if values.len() + 1 != columns.len() {
                return Err(damaged());
            }
            values.insert(arrival, Some(Value::Int(first_arrival_of(*offset)? + place)));
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        }
    }
    let arrays = columns.iter().zip(schema.fields());
    let arrays = arrays.map(|(values, field)| array_of(field.data_type(), values.iter().map(Option::as_ref)));
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let rows = RecordBatch::try_new(schema, arrays).map_err(|error| damaged().with_source(error))?;
    Ok(StoredRowsOfEvents { rows, lacking })
}

/// A batch of the tail in parts whose rows are read together.
pub fn few_at_once(events: &RecordBatch) -> impl Iterator<Item = RecordBatch> {
    let starts = (0..events.num_rows()).step_by(EVENTS_AT_ONCE);
    starts.map(|start| events.slice(start, EVENTS_AT_ONCE.min(events.num_rows() - start)))
}

fn rows_of_view(view: &BoundView, bytes: &[u8]) -> Result<Option<Arc<[u8]>>> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.values()?.as_slice() {
            [Some(Value::Int(id)), Some(Value::Int(storage)), Some(Value::Bytes(rows))] => {
                if (id.cast_unsigned(), storage.cast_unsigned()) == (view.id, view.storage) {
                    return Ok(Some(Arc::clone(rows)));
                }
            }
            _ => return Err(damaged()),
        }
    }
    Ok(None)
}

fn damaged() -> Error {
    Error::new(Kind::DataCorrupted, "rows that were made of an event cannot be read")
}

/// The rows that a joined view has made of its stream's events, in the columns of `row_schema(RowLayout::Events)`; None if
/// the stream never had any. Errors: 55000 while those of events that were there before the view are not made.
pub async fn joined_rows_plan(
    planner: &QueryPlanner,
    view: &BoundView,
    stream: &Stream,
) -> Result<Option<LogicalPlan>> {
    let Some(events) = events_of(planner, stream).await? else { return Ok(None) };
    let (name, schema) = (view.events_table(), view.row_schema(RowLayout::Events));
    let stored = planner.offline.table_since(&name, &name).await?;
    let known = stored.as_ref().and_then(|(_, end)| *end).and_then(|end| u64::try_from(end).ok()).unwrap_or(0);
    if known < events.flushed {
        return Err(not_made_yet(view));
    }
    let mut tail = Vec::with_capacity(events.taken.len());
    for batch in &events.taken {
        for events in few_at_once(&from_offset(batch, known)?) {
            let made = rows_as_made(view, &events)?;
            if !made.lacking.is_empty() {
                return Err(not_made_yet(view));
            }
            tail.push(made.rows);
        }
    }
    let stored = stored.map(|(table, _)| version_table(&name, Arc::clone(&schema), table));
    let table = Arc::new(EventTable::of_rows(stream.header.id, schema, stored, tail));
    let mut rows = LogicalPlanBuilder::scan(name, provider_as_source(table), None)?;
    if known > events.end {
        // what was flushed since the statement has looked at the events
        let end = i64::try_from(events.end).map_err(|_| Error::internal("offsets have run out"))?;
        rows = rows.filter(column(ARRIVAL).lt(lit(first_arrival_of(end)?)))?;
    }
    Ok(Some(rows.build()?))
}

fn not_made_yet(view: &BoundView) -> Error {
    let message = format!("the rows of feature view \"{}\" of earlier events are not made yet", view.name);
    Error::new(Kind::ObjectNotInPrerequisiteState, message)
        .with_hint("wait for it; if that does not help, last_error of granary.streams says why")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringArray;
    use datafusion::arrow::datatypes::{DataType, Field};
    use granary_catalog::{Column, Feature, FeatureDefinition, FeatureTable, Header, Home, ObjectId, Version};

    use super::super::tables::events::OFFSET;
    use super::*;

    /// Keys, a time and an attribute are enough of a view for its rows.
    fn view(name: &str) -> Arc<BoundView> {
        let header = Header {
            id: ObjectId(7),
            name: name.to_owned(),
            home: Home::Server,
            owner: String::new(),
            comment: None,
            tags: Default::default(),
            prevent_destroy: false,
            grants: None,
            options: Vec::new(),
            statement: String::new(),
            created: Version(1),
            changed: Version(1),
            revision: 1,
        };
        let attribute = Feature {
            name: name.to_owned(),
            data_type: DataType::Int64,
            comment: None,
            definition: FeatureDefinition::Attribute { column: name.to_owned() },
        };
        let table = FeatureTable {
            header,
            columns: vec![Column::new(name, DataType::Int64, true)],
            entities: Vec::new(),
            join_keys: vec![Column::new("k", DataType::Utf8, false)],
            timestamp: "ts".to_owned(),
            features: vec![attribute],
            start_us: None,
            ttl_us: None,
            online: true,
            offline: true,
            buckets: 1,
        };
        Arc::new(BoundView::of_feature_table(&table).expect("a view"))
    }

    fn events() -> RecordBatch {
        let fields = vec![Field::new("text", DataType::Utf8, true), Field::new(OFFSET, DataType::Int64, false)];
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["x", "y", "z"])), Arc::new(Int64Array::from(vec![4, 5, 9]))];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
    }

    fn row(key: &str, time_us: i64, value: Option<i64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let values = [Some(Value::Text(key.into())), Some(Value::Int(time_us)), value.map(Value::Int)];
        put_values(&mut bytes, &values);
        bytes
    }

    /// What the first release with joined views has written of one row; never to be changed.
    const GOLDEN: &str =
        "0000000303000000000000000703fffffffffffffffe07000000140000000306000000016103000000000000000100";

    #[test]
    fn rows_come_back_with_their_places() {
        let (first, second) = (view("v"), view("other"));
        let rows = vec![[row("a", 1, Some(-1)), row("b", -5, None)].concat(), Vec::new(), row("c", 2, Some(3))];
        let made = with_made_rows(&events(), &[(Arc::clone(&first), rows)]).expect("made");
        let back = rows_as_made(&first, &made).expect("reads");
        assert!(back.lacking.is_empty());
        let arrivals = integers_of(back.rows.column_by_name(ARRIVAL).expect("arrivals").as_ref()).expect("integers");
        let first_of = |offset| first_arrival_of(offset).expect("an arrival");
        assert_eq!(arrivals, [first_of(4), first_of(4) + 1, first_of(9)]);
        let values =
            |name: &str| values_of(back.rows.column_by_name(name).expect("a column").as_ref()).expect("values");
        assert_eq!(values("v"), [Some(Value::Int(-1)), None, Some(Value::Int(3))]);
        assert_eq!(values("k"), ["a", "b", "c"].map(|key| Some(Value::Text(key.into()))));
        // a view of another form, or that came later, has made nothing, which is not the same as no rows
        assert_eq!(rows_as_made(&second, &made).expect("reads").lacking, [0, 1, 2]);
        assert_eq!(rows_as_made(&first, &events()).expect("reads").lacking, [0, 1, 2]);
    }

    #[test]
    fn bytes_are_a_promise() {
        let of_view = BoundView { storage: u64::MAX - 1, ..view("v").as_ref().clone() };
        let of_view = Arc::new(of_view);
        let events = events().slice(0, 1);
        let made = with_made_rows(&events, &[(Arc::clone(&of_view), vec![row("a", 1, None)])]).expect("made");
        let bytes = made.column_by_name(ROWS).expect("rows").as_binary::<i32>().value(0).to_vec();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        for end in 1..bytes.len() {
            assert_eq!(rows_of_view(&of_view, &bytes[..end]).expect_err("cut").kind(), Kind::DataCorrupted);
        }
    }

    #[test]
    fn what_a_call_made_is_kept_in_the_order_of_its_events() {
        let known = view("v");
        let part = |rows: &[&[u8]]| MadeRows { rows: rows.iter().map(|row| row.to_vec()).collect(), count: 0 };
        let mut made = MadeOfCall::default();
        made.add(vec![(Arc::clone(&known), part(&[b"a", b""]))]);
        made.add(Vec::new());
        made.add(vec![(Arc::clone(&known), part(&[b"c"]))]);
        assert_eq!(made.of(&known, 1, 2), Some(vec![b"".to_vec(), b"c".to_vec()]));
        assert_eq!(made.of(&known, 2, 2), None);
        assert_eq!(made.of(&view("other"), 0, 1), None);
        made.add(vec![(Arc::clone(&known), part(&[&vec![0; KEPT_BYTES]]))]);
        assert_eq!(made.of(&known, 0, 1), None);
    }
}
