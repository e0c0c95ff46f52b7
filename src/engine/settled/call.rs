//! An expression that DataFusion has no equal of, as one function over the columns that it names: its rows are evaluated
//! one by one, as PostgreSQL would, unless `columns` can do it for all at once.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use granary_postgres::{Context, Type, Value as Pg, World, plan};

use super::{carry, columns};
use crate::engine::catalog_query::converted;
use crate::engine::into_datafusion;

pub struct Evaluation {
    /// differs between all
    number: usize,
    /// over columns 0, 1, … of the arguments
    expr: Arc<plan::Expr>,
    arguments: Vec<Type>,
    result: FieldRef,
    world: Arc<dyn World>,
    signature: Signature,
}

impl Evaluation {
    /// A call of it. `result`: the field that its values get, of the type in which they are wanted.
    pub fn call(
        (expr, is_volatile): (plan::Expr, bool),
        arguments: Vec<(Expr, Type)>,
        result: FieldRef,
        world: Arc<dyn World>,
    ) -> Expr {
        let (arguments, types): (Vec<Expr>, Vec<Type>) = arguments.into_iter().unzip();
        let volatility = if is_volatile { Volatility::Volatile } else { Volatility::Stable };
        let signature = match arguments.len() {
            0 => Signature::nullary(volatility),
            n => Signature::any(n, volatility),
        };
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let function = Evaluation { number, expr: Arc::new(expr), arguments: types, result, world, signature };
        ScalarUDF::new_from_impl(function).call(arguments)
    }
}

impl std::fmt::Debug for Evaluation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.expr.kind)
    }
}

impl PartialEq for Evaluation {
    fn eq(&self, other: &Evaluation) -> bool {
        self.number == other.number
    }
}

impl Eq for Evaluation {}

impl Hash for Evaluation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl ScalarUDFImpl for Evaluation {
    fn name(&self) -> &str {
        match &self.expr.kind {
            plan::ExprKind::Call { function, .. } => function.name,
            _ => "postgres",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    // Two of them may have one name and one list of arguments.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.schema_name().to_string()).collect();
        Ok(format!("{}#{}({})", self.name(), self.number, arguments.join(",")))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.data_type().clone())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::clone(&self.result))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let context = Context::new(self.world.as_ref(), Vec::new());
        let failed = |error| into_datafusion(converted(error, ""));
        let is_scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)))
            && self.signature.volatility != Volatility::Volatile;
        let n_rows = if is_scalar { 1 } else { arguments.number_rows };
        if !is_scalar
            && let Some(array) = columns::evaluate(&self.expr, &arguments.args, n_rows)
            && array.data_type() == self.result.data_type()
        {
            return Ok(ColumnarValue::Array(array));
        }
        let columns = arguments
            .args
            .iter()
            .zip(&self.arguments)
            .map(|(argument, data_type)| match argument {
                ColumnarValue::Array(array) => Ok((carry::values(array, data_type).map_err(failed)?, 1)),
                ColumnarValue::Scalar(scalar) => {
                    Ok((carry::values(&scalar.to_array()?, data_type).map_err(failed)?, 0))
                }
            })
            .collect::<Result<Vec<(Vec<Pg>, usize)>>>()?;
        let mut made = Vec::with_capacity(n_rows);
        let mut row = vec![Pg::Null; columns.len()];
        for number in 0..n_rows {
            for (place, (values, step)) in row.iter_mut().zip(&columns) {
                place.clone_from(&values[number * step]);
            }
            made.push(granary_postgres::evaluate(&self.expr, &row, &context).map_err(failed)?);
        }
        let array = carry::array(self.result.data_type(), &self.expr.data_type, &made, self.world.as_ref());
        let array = array.map_err(failed)?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}
