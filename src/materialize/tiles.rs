//! Rows of a view's query on their way into its offline table: events as they are, or folded into tiles.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::engine::{ARRIVAL, BUCKET, BoundView, RowLayout, time_type};
use crate::error::{Error, Result};
use crate::row::{Value, array_of, integers_of, value_at, values_of};
use crate::tile::{AggregateItems, RawRows, states_to_arrays, tile_rows};

/// Builds the batches of one view's offline table.
#[derive(Debug)]
pub struct TileBuilder {
    view: Arc<BoundView>,
    schema: SchemaRef,
}

impl TileBuilder {
    pub fn new(view: Arc<BoundView>) -> TileBuilder {
        let mut fields: Vec<Field> =
            view.row_schema(RowLayout::Tiles).fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.push(Field::new(BUCKET, DataType::Int32, false));
        TileBuilder { view, schema: Arc::new(Schema::new(fields)) }
    }

    /// The tiles of one key, out of its rows in order of time and arrival.
    pub fn tiles_of_key(&self, schema: &SchemaRef, columns: &[ArrayRef]) -> Result<RecordBatch> {
        let view = &self.view;
        let column = |name: &str| -> Result<&ArrayRef> {
            let index = schema.index_of(name).map_err(|error| lost(name).with_source(error))?;
            Ok(&columns[index])
        };
        let rows = RawRows {
            times: integers_of(column(&view.timestamp)?.as_ref())?,
            arrivals: integers_of(column(ARRIVAL)?.as_ref())?,
            secondary: match &view.secondary {
                Some(secondary) => Some(values_of(column(&secondary.name)?.as_ref())?),
                None => None,
            },
            inputs: view
                .partial_inputs
                .iter()
                .map(|taken| taken.iter().map(|&input| column(&view.inputs[input].name).cloned()).collect())
                .collect::<Result<_>>()?,
        };
        let items = tile_rows(&view.plan, &rows)?;
        self.batch(&items, columns, column(BUCKET)?)
    }

    fn batch(&self, items: &AggregateItems, columns: &[ArrayRef], bucket: &ArrayRef) -> Result<RecordBatch> {
        let view = &self.view;
        let n_tiles = items.times.len();
        let repeated = |array: &ArrayRef, data_type: &DataType| -> Result<ArrayRef> {
            let value = value_at(array.as_ref(), 0)?;
            array_of(data_type, std::iter::repeat_n(value.as_ref(), n_tiles))
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
            .map_err(|error| Error::internal("tiles do not fit their schema").with_source(error))
    }
}

fn lost(name: &str) -> Error {
    Error::internal(format!("rows lack column {name}"))
}
