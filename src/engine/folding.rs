//! Rows of a view folded into states: its tiles, or longer spans of time that stand for rows or tiles where a long
//! window needs no more.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::point_in_time::RowGroups;
use super::relation::{ARRIVAL, BoundView, RowLayout, TILE, time_type};
use super::rows::BUCKET;
use crate::error::{Error, Result};
use crate::row::{Value, array_of, integers_of, value_at, values_of};
use crate::tile::{
    AggregateItems, Partial, RawRows, fold_level, level_rows, states_from_arrays, states_to_arrays, tile_rows,
};

/// A batch of states has about as many rows, unless it is of many more rows.
const STATES_AT_ONCE: usize = 8192;
const ROWS_AT_ONCE: usize = 128 * 1024;

/// What rows are folded into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fold {
    /// the view's tiles, out of its events
    Tiles,
    /// spans of the last of these widths, out of rows in this layout, by way of the others, as
    /// [`crate::tile::Timing::levels`] has them
    Spans { from: RowLayout, widths_us: Vec<i64> },
}

/// States, and how many rows they are of.
#[derive(Debug)]
pub struct Folded {
    pub states: RecordBatch,
    pub rows: usize,
}

/// The states of rows that come sorted by (bucket, keys, time, arrival), with the column [`BUCKET`]: in the columns of
/// [`folded_schema`].
pub fn folded(
    view: &Arc<BoundView>,
    fold: Fold,
    rows: SendableRecordBatchStream,
) -> DataFusionResult<BoxStream<'static, Result<Folded>>> {
    let groups = RowGroups::new(&view.key_types(), rows)?;
    let folder = Folder { view: Arc::clone(view), fold, schema: folded_schema(view) };
    let batches = futures::stream::try_unfold((folder, groups), |(folder, mut groups)| async move {
        let mut parts: Vec<RecordBatch> = Vec::new();
        let (mut states, mut rows) = (0, 0);
        while states < STATES_AT_ONCE && rows < ROWS_AT_ONCE {
            let Some((_, columns)) = groups.next().await? else { break };
            let of_key = folder.states_of_key(groups.schema(), &columns)?;
            rows += columns.first().map_or(0, |column| column.len());
            states += of_key.num_rows();
            parts.push(of_key);
        }
        let Some(first) = parts.first() else { return Ok(None) };
        let states = concat_batches(&first.schema(), &parts)
            .map_err(|error| Error::internal("states do not join").with_source(error))?;
        Ok(Some((Folded { states, rows }, (folder, groups))))
    });
    Ok(batches.boxed())
}

/// The columns of states: those of `row_schema(RowLayout::Tiles)` and the bucket.
pub fn folded_schema(view: &BoundView) -> SchemaRef {
    let mut fields: Vec<Field> =
        view.row_schema(RowLayout::Tiles).fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new(BUCKET, DataType::Int32, false));
    Arc::new(Schema::new(fields))
}

/// The states of every partial out of the columns of a view's tiles, or of its spans.
pub fn stored_states<'a>(view: &BoundView, column: &dyn Fn(&str) -> Result<&'a ArrayRef>) -> Result<Vec<Vec<Partial>>> {
    let are_stored = view.stored_layout() == RowLayout::Tiles;
    let states_of = |partial: usize| {
        if are_stored && view.partial_groups[partial].is_none() {
            // it only keeps its place
            return Ok(vec![Partial::unknown(); column(TILE)?.len()]);
        }
        let spec = &view.plan.partials[partial];
        let fields = spec.state_fields(&view.partial_names[partial]);
        let arrays = fields.iter().map(|field| column(field.name()).cloned()).collect::<Result<Vec<_>>>()?;
        states_from_arrays(spec, &arrays)
    };
    (0..view.plan.partials.len()).map(states_of).collect()
}

struct Folder {
    view: Arc<BoundView>,
    fold: Fold,
    schema: SchemaRef,
}

impl Folder {
    /// The states of one key, out of its rows in order of time and arrival.
    fn states_of_key(&self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let plan = &self.view.plan;
        let column = |name: &str| -> Result<&ArrayRef> {
            let index = schema
                .index_of(name)
                .map_err(|error| Error::internal(format!("rows lack column {name}")).with_source(error))?;
            Ok(&columns[index])
        };
        let items = match &self.fold {
            Fold::Tiles => tile_rows(plan, &self.raw_rows(&column)?)?,
            Fold::Spans { from, widths_us } => {
                let (first_us, longer) =
                    widths_us.split_first().ok_or_else(|| Error::internal("spans without a width"))?;
                let mut items = match from {
                    RowLayout::Events => level_rows(plan, &self.raw_rows(&column)?, *first_us)?,
                    RowLayout::Tiles => fold_level(plan, &self.items(&column)?, *first_us)?,
                };
                for width_us in longer {
                    items = fold_level(plan, &items, *width_us)?;
                }
                items
            }
        };
        self.batch(&items, columns, column(BUCKET)?)
    }

    fn secondary<'a>(&self, column: &dyn Fn(&str) -> Result<&'a ArrayRef>) -> Result<Option<Vec<Option<Value>>>> {
        let secondary = self.view.secondary.as_ref();
        secondary.map(|secondary| values_of(column(&secondary.name)?.as_ref())).transpose()
    }

    fn raw_rows<'a>(&self, column: &dyn Fn(&str) -> Result<&'a ArrayRef>) -> Result<RawRows> {
        let view = &self.view;
        Ok(RawRows {
            times: integers_of(column(&view.timestamp)?.as_ref())?,
            arrivals: integers_of(column(ARRIVAL)?.as_ref())?,
            secondary: self.secondary(column)?,
            inputs: view
                .partial_inputs
                .iter()
                .map(|taken| taken.iter().map(|&input| column(&view.inputs[input].name).cloned()).collect())
                .collect::<Result<_>>()?,
        })
    }

    fn items<'a>(&self, column: &dyn Fn(&str) -> Result<&'a ArrayRef>) -> Result<AggregateItems> {
        Ok(AggregateItems {
            times: integers_of(column(TILE)?.as_ref())?,
            secondary: self.secondary(column)?,
            partials: stored_states(&self.view, column)?,
        })
    }

    fn batch(&self, items: &AggregateItems, columns: &[ArrayRef], bucket: &ArrayRef) -> Result<RecordBatch> {
        let view = &self.view;
        let n_states = items.times.len();
        let repeated = |array: &ArrayRef, data_type: &DataType| -> Result<ArrayRef> {
            let value = value_at(array.as_ref(), 0)?;
            array_of(data_type, std::iter::repeat_n(value.as_ref(), n_states))
        };
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (key, array) in view.keys.iter().zip(columns) {
            arrays.push(repeated(array, &key.data_type)?);
        }
        if let (Some(secondary), Some(values)) = (&view.secondary, &items.secondary) {
            arrays.push(array_of(&secondary.data_type, values.iter().map(Option::as_ref))?);
        }
        let times: Vec<Value> = items.times.iter().map(|&time| Value::Int(time)).collect();
        arrays.push(array_of(&time_type(), times.iter().map(Some))?);
        for (spec, states) in view.plan.partials.iter().zip(&items.partials) {
            arrays.extend(states_to_arrays(spec, states)?);
        }
        arrays.push(repeated(bucket, &DataType::Int32)?);
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
            .map_err(|error| Error::internal("states do not fit their schema").with_source(error))
    }
}
