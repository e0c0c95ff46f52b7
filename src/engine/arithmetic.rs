//! Arithmetic on integers as PostgreSQL's: a result that its type cannot hold is an error, never a wrapped number.
//!
//! DataFusion's operators wrap, those of its constant folding too. So behind type coercion they become functions of
//! ours, which call Arrow's checked kernels. Only operators on two integers of one type are touched,
//! and casts to integers, which round as PostgreSQL's do.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum, Scalar};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use super::into_datafusion;
use crate::error::{Error, Kind};
use crate::row::type_name;

/// Runs behind type coercion, which gives both sides one type.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let check = |plan: LogicalPlan| {
            let inputs = merge_schema(&plan.inputs());
            let schema = if plan.inputs().is_empty() { plan.schema().as_ref().clone() } else { inputs };
            plan.map_expressions(|expr| checked(expr, &schema))
        };
        plan.transform_up_with_subqueries(check).map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

/// The expression, over columns of `schema` and of coerced types, with arithmetic that does not wrap.
pub fn checked(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let function = Operation::of(op);
            let is_integer = |side: &Expr| side.get_type(schema).is_ok_and(|side| side.is_integer());
            match function {
                Some(operation) if is_integer(&left) && left.get_type(schema)? == right.get_type(schema)? => {
                    Ok(Transformed::yes(operation.call(vec![*left, *right])))
                }
                _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
            }
        }
        Expr::Negative(inner) if inner.get_type(schema).is_ok_and(|inner| inner.is_signed_integer()) => {
            Ok(Transformed::yes(Operation::Negate.call(vec![*inner])))
        }
        Expr::Cast(cast) if cast.field.data_type().is_integer() => Ok(match cast.expr.get_type(schema) {
            Ok(DataType::Decimal128(precision, scale)) if scale > 0 => {
                let whole = Box::new(datafusion::logical_expr::cast(*cast.expr, DataType::Decimal128(precision, 0)));
                Transformed::yes(Expr::Cast(Cast { expr: whole, field: cast.field }))
            }
            Ok(DataType::Float32 | DataType::Float64) => {
                let whole = Box::new(Operation::Round.call(vec![*cast.expr]));
                Transformed::yes(Expr::Cast(Cast { expr: whole, field: cast.field }))
            }
            _ => Transformed::no(Expr::Cast(cast)),
        }),
        other => Ok(Transformed::no(other)),
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Negate,
    /// a float to the nearest whole number, before a cast that would cut
    Round,
}

impl Operation {
    fn of(operator: Operator) -> Option<Operation> {
        Some(match operator {
            Operator::Plus => Operation::Add,
            Operator::Minus => Operation::Subtract,
            Operator::Multiply => Operation::Multiply,
            Operator::Divide => Operation::Divide,
            _ => return None,
        })
    }

    fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Negate => "(-)",
            Operation::Round => "rint",
        }
    }

    fn call(self, arguments: Vec<Expr>) -> Expr {
        static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 6]> = LazyLock::new(|| {
            use Operation::{Add, Divide, Multiply, Negate, Round, Subtract};
            [Add, Subtract, Multiply, Divide, Negate, Round].map(|operation| {
                let n_arguments = if matches!(operation, Negate | Round) { 1 } else { 2 };
                let signature = Signature::any(n_arguments, Volatility::Immutable);
                Arc::new(ScalarUDF::new_from_impl(CheckedOperator { operation, signature }))
            })
        });
        Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(&FUNCTIONS[self as usize]), arguments))
    }

    fn apply(self, left: &dyn Datum, right: Option<&dyn Datum>) -> Result<ArrayRef, ArrowError> {
        match (self, right) {
            (Operation::Add, Some(right)) => numeric::add(left, right),
            (Operation::Subtract, Some(right)) => numeric::sub(left, right),
            (Operation::Multiply, Some(right)) => numeric::mul(left, right),
            (Operation::Divide, Some(right)) => numeric::div(left, right),
            (Operation::Negate, _) => numeric::neg(left.get().0),
            (Operation::Round, _) => Ok(round(left.get().0)),
            (_, None) => Err(ArrowError::InvalidArgumentError("an operator without its right side".to_owned())),
        }
    }
}

/// Halves go to the even number, as in PostgreSQL.
fn round(floats: &dyn Array) -> ArrayRef {
    match floats.as_primitive_opt::<Float32Type>() {
        Some(floats) => Arc::new(floats.unary::<_, Float32Type>(f32::round_ties_even)),
        None => Arc::new(floats.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even)),
    }
}

/// One operator on integers, as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedOperator {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedOperator {
    fn name(&self) -> &str {
        self.operation.symbol()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    // The name of the operator's column must stay what it was.
    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(match arguments {
            [left, right] => {
                format!("{} {} {}", left.schema_name(), self.operation.symbol(), right.schema_name())
            }
            _ if self.operation == Operation::Round => arguments[0].schema_name().to_string(),
            _ => format!("(- {})", arguments[0].schema_name()),
        })
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), arguments.arg_fields[0].data_type().clone(), nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let data_type = arguments.args[0].data_type();
        let sides = arguments
            .args
            .iter()
            .map(|argument| -> Result<Box<dyn Datum>> {
                Ok(match argument {
                    ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
                    ColumnarValue::Scalar(scalar) => Box::new(Scalar::new(scalar.to_array()?)),
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let result = self.operation.apply(sides[0].as_ref(), sides.get(1).map(AsRef::as_ref));
        let array = result.map_err(|error| match error {
            ArrowError::ArithmeticOverflow(_) => into_datafusion(out_of_range(&data_type)),
            other => other.into(),
        })?;
        Ok(if is_scalar {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

/// 22003, in PostgreSQL's words.
pub fn out_of_range(data_type: &DataType) -> Error {
    let name = if data_type == &DataType::UInt64 { "bigint".to_owned() } else { type_name(data_type) };
    Error::new(Kind::NumericValueOutOfRange, format!("{name} out of range"))
}
