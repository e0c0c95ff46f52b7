//! `safe_divide(a, b)`: a quotient that is NULL where the divisor is zero, as ratios of counts want it.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Float64Array};
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

pub fn safe_divide() -> ScalarUDF {
    let signature = Signature::exact(vec![DataType::Float64, DataType::Float64], Volatility::Immutable);
    ScalarUDF::new_from_impl(SafeDivide { signature })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SafeDivide {
    signature: Signature,
}

impl ScalarUDFImpl for SafeDivide {
    fn name(&self) -> &str {
        "safe_divide"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (dividends, divisors) = (arrays[0].as_primitive::<Float64Type>(), arrays[1].as_primitive::<Float64Type>());
        let quotients = dividends.iter().zip(divisors.iter()).map(|(dividend, divisor)| match (dividend, divisor) {
            (Some(dividend), Some(divisor)) if divisor != 0.0 => Some(dividend / divisor),
            _ => None,
        });
        Ok(ColumnarValue::Array(Arc::new(quotients.collect::<Float64Array>())))
    }
}
