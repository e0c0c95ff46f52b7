//! The bucket of an entity key, as an expression of our own plans: stored files are bucketed by it.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::{Error, Result};
use crate::row::{Key, Value, bucket_of, values_of};

/// The bucket, among `buckets`, of the keys that `keys` give. Keys must not be NULL.
pub fn bucket_expr(buckets: u32, keys: Vec<Expr>) -> Expr {
    ScalarUDF::new_from_impl(BucketOf { buckets, signature: Signature::variadic_any(Volatility::Immutable) }).call(keys)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BucketOf {
    buckets: u32,
    signature: Signature,
}

impl ScalarUDFImpl for BucketOf {
    fn name(&self) -> &str {
        "bucket_of_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Int32)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        Ok(ColumnarValue::Array(self.buckets_of(&arrays, arguments.number_rows)?))
    }
}

impl BucketOf {
    fn buckets_of(&self, keys: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let columns: Vec<Vec<Option<Value>>> = keys.iter().map(|key| values_of(key.as_ref())).collect::<Result<_>>()?;
        let buckets = (0..rows).map(|row| {
            let key = Key::encode(columns.iter().map(|column| column.get(row).and_then(Option::as_ref)));
            let key = key.ok_or_else(|| Error::internal("a stored row has a NULL key"))?;
            i32::try_from(bucket_of(&key, self.buckets)).map_err(|_| Error::internal("too many buckets"))
        });
        Ok(Arc::new(Int32Array::from(buckets.collect::<Result<Vec<_>>>()?)))
    }
}
