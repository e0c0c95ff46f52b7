//! A function that users have written in SQL, as one of DataFusion's: its expression takes its place where that costs
//! nothing, and is compiled for where it does not.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use granary_catalog::FunctionArgument;

use crate::engine::plans::scope_of;
use crate::engine::point_in_time::replace_columns;
use crate::error::{Error, Kind, Result};
use crate::row::type_name;

/// An expression with more nodes, its arguments' counted, is called instead of put in the call's place.
const LARGEST_INLINED: usize = 1000;
/// An expression may have so many nodes, those of the functions that it calls counted: what is called calls on.
const LARGEST_BODY: usize = 2000;

/// What a function is made of, once its expression is planned.
#[derive(Debug, Clone)]
pub struct PlannedBody {
    pub id: u64,
    pub name: String,
    pub arguments: Vec<FunctionArgument>,
    pub returns: DataType,
    /// of coerced types and of `returns`, over the columns of `schema`
    pub body: Expr,
    /// one column an argument
    pub schema: DFSchema,
}

#[derive(Debug, Clone)]
pub struct UserFunction {
    /// as statements call it
    called: String,
    planned: PlannedBody,
    /// by argument, its column and how often the expression names it
    columns: Vec<(Column, usize)>,
    size: usize,
    signature: Signature,
    compiled: Arc<dyn PhysicalExpr>,
    compiled_schema: SchemaRef,
}

impl UserFunction {
    /// Errors: 54001 for an expression that is too large.
    pub fn new(planned: PlannedBody, state: &SessionState) -> Result<UserFunction> {
        let size = nodes(&planned.body, LARGEST_BODY);
        if size > LARGEST_BODY {
            let message = format!("the expression of function {} is too large", planned.name);
            return Err(Error::new(Kind::StatementTooComplex, message)
                .with_detail("The expressions of the functions that it calls count, each time that they are called.")
                .with_hint("write it with fewer operations"));
        }
        let mut uses: HashMap<&Column, usize> = HashMap::new();
        count_columns(&planned.body, &mut uses)?;
        let columns = planned.schema.columns();
        let columns = columns.into_iter().map(|column| (column.clone(), uses.get(&column).copied().unwrap_or(0)));
        let columns = columns.collect();
        let mut signature = Signature::user_defined(volatility(&planned.body));
        let names: Option<Vec<String>> = planned.arguments.iter().map(|argument| argument.name.clone()).collect();
        if let Some(names) = names.filter(|names| !names.is_empty()) {
            signature = signature.with_parameter_names(names)?;
        }
        let compiled = state.create_physical_expr(planned.body.clone(), &planned.schema)?;
        let compiled_schema = Arc::clone(planned.schema.inner());
        let called = planned.name.clone();
        Ok(UserFunction { called, planned, columns, size, signature, compiled, compiled_schema })
    }

    /// The same under another name, such as one with its schema.
    pub fn called(mut self, name: &str) -> UserFunction {
        name.clone_into(&mut self.called);
        self
    }

    /// Whether its arguments alone decide its value.
    pub fn is_immutable(&self) -> bool {
        self.signature.volatility == Volatility::Immutable
    }

    /// The declared type of an argument.
    pub fn argument_type(&self, index: usize) -> Option<&DataType> {
        self.planned.arguments.get(index).map(|argument| &argument.data_type)
    }

    /// The expression, over the columns of this schema: one an argument.
    pub fn body(&self) -> (&Expr, &DFSchema) {
        (&self.planned.body, &self.planned.schema)
    }

    /// Whether the expression may stand in the place of a call: nothing is computed more often for it.
    fn is_inlined(&self, arguments: &[Expr]) -> bool {
        let is_cheap = |argument: &Expr, uses: usize| match argument {
            Expr::Column(_) | Expr::Literal(..) | Expr::OuterReferenceColumn(..) => true,
            argument => uses == 1 || uses == 0 && volatility(argument) != Volatility::Volatile,
        };
        let size = arguments.iter().fold(self.size, |size, argument| size + nodes(argument, LARGEST_INLINED));
        size <= LARGEST_INLINED
            && arguments.iter().zip(&self.columns).all(|(argument, (_, uses))| is_cheap(argument, *uses))
    }
}

/// The function of users that a call is of.
pub fn user_function(function: &ScalarUDF) -> Option<&UserFunction> {
    function.inner().downcast_ref::<UserFunction>()
}

/// Refuses calls with arguments that PostgreSQL would not cast by itself to the declared types.
pub fn check_calls(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        let schema = scope_of(node);
        node.apply_expressions(|expr| {
            Ok(match check_expr_calls(expr, &schema) {
                Ok(()) => TreeNodeRecursion::Continue,
                Err(error) => {
                    refused.get_or_insert(error);
                    TreeNodeRecursion::Stop
                }
            })
        })
    })?;
    refused.map_or(Ok(()), Err)
}

/// The same in one expression over the columns of `schema`.
pub fn check_expr_calls(expr: &Expr, schema: &DFSchema) -> Result<()> {
    let mut refused = None;
    expr.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr
            && let Some(function) = user_function(&call.func)
            && let Some(error) = function.refusal(&call.args, schema)
        {
            refused = Some(error);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    refused.map_or(Ok(()), Err)
}

impl UserFunction {
    fn refusal(&self, arguments: &[Expr], schema: &DFSchema) -> Option<Error> {
        let types: Vec<Option<DataType>> = arguments.iter().map(|argument| argument.get_type(schema).ok()).collect();
        let fits = |((argument, given), declared): ((&Expr, &Option<DataType>), &FunctionArgument)| match given {
            // what is not known yet is told later
            None => true,
            Some(given) => is_text_constant(argument) || is_implicit(given, &declared.data_type),
        };
        if arguments.iter().zip(&types).zip(&self.planned.arguments).all(fits) {
            return None;
        }
        let types: Vec<String> = types.iter().map(|given| given.as_ref().map_or_else(String::new, type_name)).collect();
        let message = format!("function {}({}) does not exist", self.planned.name, types.join(", "));
        Some(Error::new(Kind::UndefinedFunction, message).with_hint(format!(
            "it is {}: cast the arguments to these types",
            signature_text(&self.planned.name, &self.planned.arguments)
        )))
    }
}

/// `name(type, …)`, as PostgreSQL names a function.
pub fn signature_text(name: &str, arguments: &[FunctionArgument]) -> String {
    let types: Vec<String> = arguments.iter().map(|argument| type_name(&argument.data_type)).collect();
    format!("{name}({})", types.join(", "))
}

/// A constant in quotes is of any type that reads it; a parameter of whatever its client sends.
pub fn is_text_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.data_type().is_string(),
        Expr::Placeholder(placeholder) => placeholder.field.is_none(),
        Expr::Alias(alias) => is_text_constant(&alias.expr),
        _ => false,
    }
}

/// Whether a value of one type is taken as one of another without a word. A constant of whole numbers has the widest
/// type here, so all of them are taken for one another; one that is too large is an error when it is computed.
fn is_implicit(given: &DataType, declared: &DataType) -> bool {
    use DataType::{Date32, Date64, Dictionary, FixedSizeList, LargeList, List, Null, Timestamp};
    match (given, declared) {
        (given, declared) if given == declared => true,
        (Null, _) => true,
        (Dictionary(_, given), declared) => is_implicit(given, declared),
        (given, declared) if given.is_string() && declared.is_string() => true,
        (given, declared) if given.is_binary() && declared.is_binary() => true,
        (given, declared) if given.is_integer() => declared.is_numeric(),
        (given, declared) if given.is_decimal() => declared.is_decimal() || declared.is_floating(),
        (given, declared) if given.is_floating() => declared.is_floating(),
        (Date32 | Date64 | Timestamp(..), Timestamp(..)) => true,
        (Date64, Date32) => true,
        (List(given) | LargeList(given) | FixedSizeList(given, _), List(declared)) => {
            is_implicit(given.data_type(), declared.data_type())
        }
        _ => false,
    }
}

/// Whether PostgreSQL casts a function's value to the type that it is declared to give.
pub fn is_assignable(value: &DataType, declared: &DataType) -> bool {
    use DataType::{Date32, Date64, Timestamp};
    match (value, declared) {
        (value, declared) if is_implicit(value, declared) => true,
        (value, declared) if value.is_numeric() && declared.is_numeric() => true,
        (Timestamp(..), Date32 | Date64) => true,
        (DataType::List(value), DataType::List(declared)) => is_assignable(value.data_type(), declared.data_type()),
        (value, declared) => declared.is_string() && !value.is_nested(),
    }
}

/// How many nodes an expression has, those of called functions of users counted; more than `limit` if more.
fn nodes(expr: &Expr, limit: usize) -> usize {
    let mut found = 0;
    // The closure gives no error.
    let _ = expr.apply(|expr| {
        found += match expr {
            Expr::ScalarFunction(call) => 1 + user_function(&call.func).map_or(0, |function| function.size),
            _ => 1,
        };
        Ok(if found > limit { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}

fn count_columns<'e>(expr: &'e Expr, uses: &mut HashMap<&'e Column, usize>) -> Result<()> {
    expr.apply(|expr| {
        if let Expr::Column(column) = expr {
            *uses.entry(column).or_default() += 1;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// That of what is called most freely in an expression.
pub fn volatility(expr: &Expr) -> Volatility {
    let mut found = Volatility::Immutable;
    // The closure gives no error.
    let _ = expr.apply(|expr| {
        if let Expr::ScalarFunction(call) = expr {
            found = match (found, call.func.signature().volatility) {
                (Volatility::Volatile, _) | (_, Volatility::Volatile) => Volatility::Volatile,
                (Volatility::Stable, _) | (_, Volatility::Stable) => Volatility::Stable,
                _ => Volatility::Immutable,
            };
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

// The same function of the same statement; another definition of it is another expression.
impl PartialEq for UserFunction {
    fn eq(&self, other: &Self) -> bool {
        self.planned.id == other.planned.id && self.planned.body == other.planned.body
    }
}

impl Eq for UserFunction {}

impl Hash for UserFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.planned.id.hash(state);
    }
}

impl ScalarUDFImpl for UserFunction {
    fn name(&self) -> &str {
        &self.called
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let declared = &self.planned.arguments;
        if given.len() != declared.len() {
            return Err(DataFusionError::Plan(format!("{} takes {} arguments", self.planned.name, declared.len())));
        }
        Ok(declared.iter().map(|argument| argument.data_type.clone()).collect())
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(self.planned.returns.clone())
    }

    fn simplify(&self, arguments: Vec<Expr>, _info: &SimplifyContext) -> DataFusionResult<ExprSimplifyResult> {
        if !self.is_inlined(&arguments) {
            return Ok(ExprSimplifyResult::Original(arguments));
        }
        let columns = self.columns.iter().map(|(column, _)| column.clone());
        let by_column: HashMap<Column, Expr> = columns.zip(arguments).collect();
        Ok(ExprSimplifyResult::Simplified(replace_columns(&self.planned.body, &by_column)?))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let is_constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let is_constant = is_constant && self.signature.volatility != Volatility::Volatile;
        let rows = if is_constant { 1 } else { arguments.number_rows };
        let columns = arguments.args.into_iter().map(|argument| argument.into_array(rows));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.collect::<DataFusionResult<_>>()?;
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.compiled_schema), columns, &options)?;
        let values = self.compiled.evaluate(&batch)?.into_array(rows)?;
        match is_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?)),
            false => Ok(ColumnarValue::Array(values)),
        }
    }
}
