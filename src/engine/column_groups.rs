//! Rows of a view that are stored in several tables, each with some of its columns, put together again.
//!
//! The tables were filled by the same query at different times. So for one key and time they have the same rows in the
//! same order, unless its source has changed since: a row that came late is in the younger tables alone. It stands
//! behind the others of its time then, and what the older tables have no value for is NULL, or the state of no rows.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, new_null_array};
use datafusion::arrow::compute::{concat, concat_batches, take};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use super::into_datafusion;
use super::point_in_time::RowGroups;
use super::relation::{ARRIVAL, BoundView, KNOWN_AT, RowLayout};
use super::reshaped::{Reshape, ReshapedTable};
use super::rows::column;
use crate::error::{Error, Result};
use crate::row::integers_of;
use crate::tile::states_to_arrays;

/// Says which table a row is of.
const GROUP: &str = "_group";
/// A batch has about as many rows.
const ROWS_AT_ONCE: usize = 8192;

/// The stored rows of one table.
#[derive(Debug, Clone)]
pub struct GroupRows {
    /// the view with its columns alone
    pub view: Arc<BoundView>,
    /// in the columns of its stored layout
    pub plan: LogicalPlan,
}

/// The rows of several tables as those of one, in the columns of the stored layout of `view`, which has the columns of all
/// of them. `state` must be the engine's ordered state.
pub fn merged_plan(view: &Arc<BoundView>, groups: &[GroupRows], state: SessionState) -> Result<LogicalPlan> {
    if let [only] = groups {
        return Ok(only.plan.clone());
    }
    let layout = view.stored_layout();
    let schema = view.row_schema(layout);
    let mut all: Option<LogicalPlanBuilder> = None;
    for (number, group) in (0_i32..).zip(groups) {
        let own = group.view.row_schema(layout);
        let value = |field: &Arc<Field>| match own.column_with_name(field.name()) {
            Some(_) => column(field.name()),
            None => cast(lit(ScalarValue::Null), field.data_type().clone()).alias(field.name()),
        };
        let columns = schema.fields().iter().map(value).chain([lit(number).alias(GROUP)]);
        let rows = LogicalPlanBuilder::from(group.plan.clone()).project(columns.collect::<Vec<_>>())?;
        all = Some(match all {
            None => rows,
            Some(so_far) => so_far.union(rows.build()?)?,
        });
    }
    let all = all.ok_or_else(|| Error::internal("stored rows of no table"))?;
    let mut order: Vec<Expr> = view.keys.iter().map(|key| column(&key.name)).collect();
    order.extend([column(view.time_column(layout)), column(GROUP)]);
    match layout {
        RowLayout::Events => order.push(column(ARRIVAL)),
        RowLayout::Tiles => order.extend(view.secondary.iter().map(|secondary| column(&secondary.name))),
    }
    let sorted = all.sort(order.into_iter().map(|expr| expr.sort(true, true)).collect::<Vec<_>>())?.build()?;
    let merger = Arc::new(Merger::new(view, groups)?);
    let table = ReshapedTable::new(merger, sorted, state);
    Ok(LogicalPlanBuilder::scan(view.name.as_str(), provider_as_source(Arc::new(table)), None)?.build()?)
}

/// How the rows of one key become those of the view.
struct Merger {
    view: Arc<BoundView>,
    schema: SchemaRef,
    n_groups: usize,
    /// the columns of the rows that say of two of them whether they are one
    alike: Vec<usize>,
    time: usize,
    arrival: Option<usize>,
    /// by column of the schema
    columns: Vec<Origin>,
}

/// Where a column comes from.
enum Origin {
    /// every table has it
    Shared,
    /// the tables count again
    Arrival,
    /// one table has it; `empty` is what it is where that has no row
    Group { group: usize, empty: ArrayRef },
}

/// A row of the view: of each table, the place of its own.
struct MergedRow {
    places: Vec<Option<u32>>,
    arrival: i64,
}

impl Merger {
    fn new(view: &Arc<BoundView>, groups: &[GroupRows]) -> Result<Merger> {
        let layout = view.stored_layout();
        let schema = view.row_schema(layout);
        let place = |name: &str| schema.index_of(name).map_err(|error| lost(name).with_source(error));
        let mut alike = view.secondary.iter().map(|secondary| place(&secondary.name)).collect::<Result<Vec<_>>>()?;
        if view.known_at.is_some() {
            alike.push(place(KNOWN_AT)?);
        }
        let of_groups: Vec<SchemaRef> = groups.iter().map(|group| group.view.row_schema(layout)).collect();
        let origin = |field: &Arc<Field>| -> Result<Origin> {
            let name = field.name();
            let mut having = of_groups.iter().enumerate().filter(|(_, schema)| schema.column_with_name(name).is_some());
            match (having.next(), having.next()) {
                _ if name == ARRIVAL => Ok(Origin::Arrival),
                (Some((group, _)), None) => {
                    let empty = match layout {
                        RowLayout::Tiles => value_of_no_row(view, name, field.data_type())?,
                        RowLayout::Events => new_null_array(field.data_type(), 1),
                    };
                    Ok(Origin::Group { group, empty })
                }
                (Some(_), Some(_)) => Ok(Origin::Shared),
                (None, _) => Err(lost(name)),
            }
        };
        Ok(Merger {
            n_groups: groups.len(),
            alike,
            time: place(view.time_column(layout))?,
            arrival: (layout == RowLayout::Events).then(|| place(ARRIVAL)).transpose()?,
            columns: schema.fields().iter().map(origin).collect::<Result<_>>()?,
            view: Arc::clone(view),
            schema,
        })
    }

    /// The rows of one key, which come by (time, table, arrival), with the table behind their columns.
    fn rows_of_key(&self, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let times = integers_of(columns[self.time].as_ref())?;
        let tables = columns.last().map(|tables| integers_of(tables.as_ref())).transpose()?.unwrap_or_default();
        let arrivals = self.arrival.map(|arrival| integers_of(columns[arrival].as_ref())).transpose()?;
        let alike = self.alike_rows(columns)?;
        let mut rows: Vec<MergedRow> = Vec::with_capacity(times.len());
        let mut start = 0;
        while start < times.len() {
            let end = start + times[start..].partition_point(|time_us| *time_us <= times[start]);
            self.merge_time(start..end, &tables, arrivals.as_deref(), alike.as_ref(), &mut rows)?;
            start = end;
        }
        let array = |(origin, column): (&Origin, &ArrayRef)| self.column_of(origin, column, &rows);
        let arrays = self.columns.iter().zip(columns).map(array).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::internal("rows of several tables do not fit").with_source(error))
    }

    fn alike_rows(&self, columns: &[ArrayRef]) -> Result<Option<Rows>> {
        if self.alike.is_empty() {
            return Ok(None);
        }
        let wanted: Vec<ArrayRef> = self.alike.iter().map(|index| Arc::clone(&columns[*index])).collect();
        let fields = wanted.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let converted = RowConverter::new(fields).and_then(|converter| converter.convert_columns(&wanted));
        converted.map(Some).map_err(|error| Error::internal("rows cannot be compared").with_source(error))
    }

    /// The first row of a table that is like another is the first one of another table that is.
    fn merge_time(
        &self,
        members: Range<usize>,
        tables: &[i64],
        arrivals: Option<&[i64]>,
        alike: Option<&Rows>,
        merged: &mut Vec<MergedRow>,
    ) -> Result<()> {
        let first = merged.len();
        for of_table in members.collect::<Vec<_>>().chunk_by(|a, b| tables[*a] == tables[*b]) {
            let table = usize::try_from(tables[of_table[0]]).unwrap_or(usize::MAX);
            if table >= self.n_groups {
                return Err(Error::internal("a row of no table"));
            }
            let key = |member: usize| alike.map_or(&[] as &[u8], |rows| rows.row(member).data());
            let is_first = merged.len() == first;
            let mut known: HashMap<&[u8], VecDeque<usize>> = HashMap::new();
            for (place, row) in merged.iter().enumerate().skip(first) {
                if let Some(member) = row.places.iter().flatten().next() {
                    known.entry(key(*member as usize)).or_default().push_back(place);
                }
            }
            for member in of_table {
                let place = u32::try_from(*member).map_err(|_| Error::internal("a key has too many rows"))?;
                let same = known.get_mut(key(*member)).and_then(VecDeque::pop_front);
                if let Some(same) = same {
                    merged[same].places[table] = Some(place);
                    continue;
                }
                let own = arrivals.map_or(0, |arrivals| arrivals[*member]);
                let arrival = match merged[first..].last() {
                    Some(last) if !is_first => last.arrival.saturating_add(1),
                    _ => own,
                };
                let mut places = vec![None; self.n_groups];
                places[table] = Some(place);
                merged.push(MergedRow { places, arrival });
            }
        }
        Ok(())
    }

    fn column_of(&self, origin: &Origin, column: &ArrayRef, rows: &[MergedRow]) -> Result<ArrayRef> {
        let taken = match origin {
            Origin::Arrival => return Ok(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.arrival)))),
            Origin::Shared => {
                let places = rows.iter().map(|row| row.places.iter().flatten().next().copied());
                take(column.as_ref(), &UInt32Array::from_iter(places), None)
            }
            Origin::Group { group, empty } => {
                let behind = u32::try_from(column.len()).map_err(|_| Error::internal("a key has too many rows"))?;
                let places = rows.iter().map(|row| row.places[*group].unwrap_or(behind));
                concat(&[column.as_ref(), empty.as_ref()])
                    .and_then(|column| take(column.as_ref(), &UInt32Array::from_iter_values(places), None))
            }
        };
        taken.map_err(|error| Error::internal("rows of several tables do not join").with_source(error))
    }
}

impl fmt::Debug for Merger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Merger({})", self.view.name)
    }
}

impl Reshape for Merger {
    fn name(&self) -> &'static str {
        "MergedExec"
    }

    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (view, groups) = (&self.view.name, self.n_groups);
        match format {
            DisplayFormatType::TreeRender => write!(f, "view={view}\ngroups={groups}"),
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "MergedExec: {view} from {groups} groups of columns")
            }
        }
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn stream(self: Arc<Self>, rows: SendableRecordBatchStream) -> DataFusionResult<SendableRecordBatchStream> {
        let schema = Arc::clone(&self.schema);
        let groups = RowGroups::new(&self.view.key_types(), rows)?;
        let batches = futures::stream::try_unfold((self, groups), |(merger, mut groups)| async move {
            let (mut parts, mut n_rows): (Vec<RecordBatch>, usize) = (Vec::new(), 0);
            while n_rows < ROWS_AT_ONCE {
                let Some((_, columns)) = groups.next().await? else { break };
                let part = merger.rows_of_key(&columns)?;
                n_rows += part.num_rows();
                parts.push(part);
            }
            if parts.is_empty() {
                return Ok(None);
            }
            let rows = concat_batches(&merger.schema, &parts)
                .map_err(|error| Error::internal("rows do not join").with_source(error))?;
            Ok::<_, Error>(Some((rows, (merger, groups))))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.map_err(into_datafusion))))
    }
}

fn lost(name: &str) -> Error {
    Error::internal(format!("stored rows lack column {name}"))
}

/// What a column is where there is no row: the state of no rows, or NULL.
fn value_of_no_row(view: &BoundView, name: &str, data_type: &DataType) -> Result<ArrayRef> {
    for (spec, prefix) in view.plan.partials.iter().zip(&view.partial_names) {
        if let Some(place) = spec.state_fields(prefix).iter().position(|field| field.name() == name) {
            let arrays = states_to_arrays(spec, &[spec.empty()])?;
            return arrays.into_iter().nth(place).ok_or_else(|| lost(name));
        }
    }
    Ok(new_null_array(data_type, 1))
}

/// A column of rows that no table has.
pub fn absent(view: &BoundView, name: &str, data_type: &DataType) -> Result<Expr> {
    let value = value_of_no_row(view, name, data_type)?;
    Ok(lit(ScalarValue::try_from_array(&value, 0)?).alias(name))
}
