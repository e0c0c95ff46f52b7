//! `sum`, which never wraps: it adds up in a wider type, and a total that its own type cannot hold is an error.
//! What DataFusion's function does otherwise, it does here.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

use crate::engine::arithmetic::out_of_range;
use crate::engine::into_datafusion;

pub fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(CheckedSum { inner: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Sum,
}

/// The type to add values of `data_type` in; None where a sum of its own type cannot wrap.
fn wider(data_type: &DataType) -> Option<DataType> {
    /// Enough digits for ten thousand million values.
    const HEADROOM: u8 = 10;
    match data_type {
        integer if integer.is_integer() => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal128(precision, scale) if precision + HEADROOM > DECIMAL128_MAX_PRECISION => {
            Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale))
        }
        _ => None,
    }
}

fn cast(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    Ok(cast_with_options(array, data_type, &options)?)
}

impl CheckedSum {
    /// What the accumulator inside is made with, and the types that it works in.
    fn widened<T>(
        args: AccumulatorArgs<'_>,
        make: impl Fn(AccumulatorArgs<'_>) -> Result<T>,
        wrap: impl Fn(T, Types) -> T,
    ) -> Result<T> {
        let Some(wide) = wider(args.expr_fields[0].data_type()) else { return make(args) };
        let field: FieldRef = Arc::new(Field::new(args.name, wide.clone(), true));
        let types = Types { wide, result: args.return_field.data_type().clone() };
        let inner = make(AccumulatorArgs { return_field: Arc::clone(&field), expr_fields: &[field], ..args })?;
        Ok(wrap(inner, types))
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(wide) = wider(args.input_fields[0].data_type()) else { return self.inner.state_fields(args) };
        let field: FieldRef = Arc::new(Field::new(args.name, wide, true));
        self.inner.state_fields(StateFieldsArgs { return_field: Arc::clone(&field), input_fields: &[field], ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Self::widened(args, |args| self.inner.accumulator(args), |inner, types| Box::new(Widened { inner, types }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Self::widened(
            args,
            |args| self.inner.create_sliding_accumulator(args),
            |inner, types| Box::new(Widened { inner, types }),
        )
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Self::widened(
            args,
            |args| self.inner.create_groups_accumulator(args),
            |inner, types| Box::new(Widened { inner, types }),
        )
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }
}

#[derive(Debug)]
struct Types {
    wide: DataType,
    result: DataType,
}

impl Types {
    fn widen(&self, values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        values.iter().map(|values| cast(values, &self.wide)).collect()
    }

    fn narrow(&self, total: &ArrayRef) -> Result<ArrayRef> {
        cast(total, &self.result).map_err(|_| into_datafusion(out_of_range(&self.result)))
    }
}

/// An accumulator of the wider type, for values and totals of narrower ones. Its states are of the wider type.
#[derive(Debug)]
struct Widened<T> {
    inner: T,
    types: Types,
}

impl Accumulator for Widened<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&self.types.widen(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&self.types.widen(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.types.narrow(&self.inner.evaluate()?.to_array()?)?;
        ScalarValue::try_from_array(&total, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

impl GroupsAccumulator for Widened<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        n_groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(&self.types.widen(values)?, group_indices, filter, n_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.types.narrow(&self.inner.evaluate(emit_to)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], n_groups: usize) -> Result<()> {
        self.inner.merge_batch(states, group_indices, n_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&self.types.widen(values)?, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}
