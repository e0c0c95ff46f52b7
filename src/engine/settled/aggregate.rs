//! An aggregate that DataFusion has no equal of: it keeps the arguments of all rows of a group, and makes its value of them
//! at the end.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::concat;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use granary_postgres::plan::AggregateCall;
use granary_postgres::{Context, Row, Type, World};

use super::carry;
use crate::engine::catalog_query::converted;
use crate::engine::into_datafusion;

/// What all of its groups share.
struct Shared {
    /// over columns 0, 1, … of the arguments
    call: AggregateCall,
    arguments: Vec<(Type, DataType)>,
    result: (Type, FieldRef),
    world: Arc<dyn World>,
}

pub struct Collected {
    shared: Arc<Shared>,
    signature: Signature,
}

/// The aggregate; its arguments are of these types, each in the Arrow type that carries it.
pub fn collected(
    call: AggregateCall,
    arguments: Vec<(Type, DataType)>,
    result: (Type, FieldRef),
    world: Arc<dyn World>,
) -> AggregateUDF {
    let signature = Signature::any(arguments.len(), Volatility::Immutable);
    AggregateUDF::new_from_impl(Collected { shared: Arc::new(Shared { call, arguments, result, world }), signature })
}

impl std::fmt::Debug for Collected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.shared.call.function.name)
    }
}

impl PartialEq for Collected {
    fn eq(&self, other: &Collected) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for Collected {}

impl Hash for Collected {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
    }
}

impl AggregateUDFImpl for Collected {
    fn name(&self) -> &str {
        self.shared.call.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.shared.result.1.data_type().clone())
    }

    fn return_field(&self, _: &[FieldRef]) -> Result<FieldRef> {
        Ok(Arc::clone(&self.shared.result.1))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |(number, (_, data_type)): (usize, &(Type, DataType))| -> FieldRef {
            Arc::new(Field::new_list(
                format!("{}[{number}]", args.name),
                Field::new_list_field(data_type.clone(), true),
                true,
            ))
        };
        Ok(self.shared.arguments.iter().enumerate().map(field).collect())
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let columns = vec![Vec::new(); self.shared.arguments.len()];
        Ok(Box::new(Rows { shared: Arc::clone(&self.shared), columns }))
    }
}

struct Rows {
    shared: Arc<Shared>,
    /// by argument, what came of it
    columns: Vec<Vec<ArrayRef>>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "rows of {}", self.shared.call.function.name)
    }
}

impl Rows {
    fn column(&self, index: usize) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.columns[index].iter().map(AsRef::as_ref).collect();
        match parts.as_slice() {
            [] => Ok(datafusion::arrow::array::new_empty_array(&self.shared.arguments[index].1)),
            parts => Ok(concat(parts)?),
        }
    }
}

impl Accumulator for Rows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for (column, values) in self.columns.iter_mut().zip(values) {
            // a slice would keep all of its batch
            let own = datafusion::arrow::compute::take(
                values,
                &datafusion::arrow::array::UInt64Array::from_iter_values(0..values.len() as u64),
                None,
            )?;
            column.push(own);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let failed = |error| into_datafusion(converted(error, ""));
        let mut columns = Vec::with_capacity(self.columns.len());
        for (index, (data_type, _)) in self.shared.arguments.iter().enumerate() {
            columns.push(carry::values(&self.column(index)?, data_type).map_err(failed)?.into_iter());
        }
        let n_rows = columns.first().map_or(0, ExactSizeIterator::len);
        let row = |_| columns.iter_mut().map(|column| column.next().unwrap_or(granary_postgres::Value::Null)).collect();
        let rows: Vec<Row> = (0..n_rows).map(row).collect();
        let context = Context::new(self.shared.world.as_ref(), Vec::new());
        let value = granary_postgres::aggregate(&self.shared.call, &rows, &context).map_err(failed)?;
        let (data_type, field) = &self.shared.result;
        let array = carry::array(field.data_type(), data_type, &[value], self.shared.world.as_ref()).map_err(failed)?;
        ScalarValue::try_from_array(&array, 0)
    }

    fn size(&self) -> usize {
        let arrays = self.columns.iter().flatten().map(|array| array.get_array_memory_size()).sum::<usize>();
        size_of_val(self) + arrays
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        (0..self.columns.len())
            .map(|index| {
                let items = self.column(index)?;
                let field = Arc::new(Field::new_list_field(items.data_type().clone(), true));
                let list = ListArray::try_new(field, OffsetBuffer::from_lengths([items.len()]), items, None)?;
                Ok(ScalarValue::List(Arc::new(list)))
            })
            .collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for (column, lists) in self.columns.iter_mut().zip(states) {
            let lists = lists.as_list::<i32>();
            column.extend((0..lists.len()).filter(|row| !lists.is_null(*row)).map(|row| lists.value(row)));
        }
        Ok(())
    }
}
