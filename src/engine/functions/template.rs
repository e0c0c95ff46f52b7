//! `render_template(template, name => value, …)`: a text out of a Jinja template and the values of a row.
//!
//! The values come as one struct; a call that names them is rewritten to that. A constant template is read when the
//! call is planned, for its errors, and once more when it is compiled.

mod compiled;

use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use granary_sql::name::{fold, quote_literal};
use sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Spanned, VisitMut, VisitorMut,
};

use crate::engine::error::{into_datafusion, placed};
use crate::error::{Error, Kind, Result};
use crate::row::{Value, normalize_type, type_name, values_of};
use compiled::{Template, Variable};

pub const NAME: &str = "render_template";
const SYNOPSIS: &str = "type render_template('… {{ name }} …', name => value, …)";

pub fn render_template() -> ScalarUDF {
    ScalarUDF::new_from_impl(RenderTemplate::new(None))
}

/// Puts the named values of every call into one struct. Errors, with their place in `text`: 42883 for values without
/// names, 42601 for a name that is given twice.
pub fn rewrite(node: &mut impl VisitMut, text: &str) -> Result<()> {
    match node.visit(&mut Rewriter { text }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter<'a> {
    text: &'a str,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let is_ours = matches!(function.name.0.as_slice(), [ObjectNamePart::Identifier(name)] if fold(name) == NAME);
        let FunctionArguments::List(list) = &mut function.args else { return ControlFlow::Continue(()) };
        if !is_ours {
            return ControlFlow::Continue(());
        }
        match named_values(list) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(placed(error, self.text, function.name.span().start)),
        }
    }
}

fn named_values(list: &mut FunctionArgumentList) -> Result<()> {
    let is_named = |arg: &FunctionArg| !matches!(arg, FunctionArg::Unnamed(_));
    match list.args.as_slice() {
        [FunctionArg::Unnamed(_)] => return Ok(()),
        [FunctionArg::Unnamed(_), only] if !is_named(only) => return Ok(()),
        [FunctionArg::Unnamed(_), rest @ ..] if rest.iter().all(is_named) => {}
        _ => {
            let message = "render_template takes a template and named values";
            return Err(Error::new(Kind::UndefinedFunction, message).with_hint(SYNOPSIS));
        }
    }
    let mut names: Vec<String> = Vec::new();
    let mut pairs: Vec<FunctionArg> = Vec::new();
    for arg in list.args.split_off(1) {
        let (name, value) = match arg {
            FunctionArg::Named { name, arg, .. } => (fold(&name), arg),
            FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), arg, .. } => (fold(&name), arg),
            _ => return Err(Error::new(Kind::Syntax, "a value of a template has a name").with_hint(SYNOPSIS)),
        };
        if names.contains(&name) {
            return Err(Error::new(Kind::Syntax, format!("argument name \"{name}\" used more than once")));
        }
        let literal = ast::Expr::value(ast::Value::SingleQuotedString(name.clone()));
        pairs.extend([FunctionArg::Unnamed(FunctionArgExpr::Expr(literal)), FunctionArg::Unnamed(value)]);
        names.push(name);
    }
    let args = FunctionArgumentList { duplicate_treatment: None, args: pairs, clauses: Vec::new() };
    let values = ast::Expr::Function(ast::Function {
        name: ObjectName::from(vec![Ident::new("named_struct")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    });
    list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(values)));
    Ok(())
}

/// With a template of its own it takes the values alone, else the template before them.
#[derive(Debug)]
struct RenderTemplate {
    signature: Signature,
    template: Option<Arc<Template>>,
}

impl RenderTemplate {
    fn new(template: Option<Arc<Template>>) -> RenderTemplate {
        RenderTemplate { signature: Signature::user_defined(Volatility::Immutable), template }
    }
}

/// Two templates of one text are the same.
impl PartialEq for RenderTemplate {
    fn eq(&self, other: &Self) -> bool {
        let text = |function: &RenderTemplate| function.template.as_ref().map(|template| template.text().to_owned());
        text(self) == text(other)
    }
}

impl Eq for RenderTemplate {}

impl Hash for RenderTemplate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.template.as_ref().map(|template| template.text()).hash(state);
    }
}

impl ScalarUDFImpl for RenderTemplate {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> DataFusionResult<Vec<DataType>> {
        let mut types = given.to_vec();
        if let (None, Some(template)) = (&self.template, types.first_mut()) {
            *template = DataType::Utf8;
        }
        Ok(types)
    }

    fn return_type(&self, _arguments: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Utf8)
    }

    /// Here the call is looked at: it is the first that sees a constant and the names of the values.
    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DataFusionResult<FieldRef> {
        if self.template.is_none() {
            let values = args.arg_fields.get(1).map(|field| field.data_type());
            let variables = variables(values).map_err(into_datafusion)?;
            if let Some(Some(ScalarValue::Utf8(Some(text)))) = args.scalar_arguments.first() {
                let template = Template::new(text).map_err(into_datafusion)?;
                template.check(&variables).map_err(into_datafusion)?;
            }
        }
        Ok(Arc::new(Field::new(NAME, DataType::Utf8, true)))
    }

    fn simplify(&self, mut arguments: Vec<Expr>, _info: &SimplifyContext) -> DataFusionResult<ExprSimplifyResult> {
        let text = match arguments.first() {
            Some(Expr::Literal(ScalarValue::Utf8(Some(text)), _)) if self.template.is_none() => text,
            _ => return Ok(ExprSimplifyResult::Original(arguments)),
        };
        let template = Arc::new(Template::new(text).map_err(into_datafusion)?);
        let function = ScalarUDF::new_from_impl(RenderTemplate::new(Some(template)));
        let call = ScalarFunction::new_udf(Arc::new(function), arguments.split_off(1));
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(call)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let is_constant = arguments.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { arguments.number_rows };
        let mut columns = arguments.args.into_iter().map(|argument| argument.into_array(rows));
        let templates = match &self.template {
            Some(_) => None,
            None => columns.next().transpose()?,
        };
        let values = Rows::new(columns.next().transpose()?)?;
        let texts: ArrayRef = Arc::new(match (&self.template, templates) {
            (Some(template), _) => values.render_all(template, rows)?,
            (None, Some(templates)) => values.render_each(&templates, rows)?,
            (None, None) => return Err(into_datafusion(Error::internal("a call without a template"))),
        });
        match is_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)),
            false => Ok(ColumnarValue::Array(texts)),
        }
    }
}

/// The names and types of a struct's values. Errors: 42883 for anything else, 0A000 for types that have no value here.
fn variables(values: Option<&DataType>) -> Result<Vec<Variable>> {
    let fields: &Fields = match values {
        None => return Ok(Vec::new()),
        Some(DataType::Struct(fields)) => fields,
        Some(other) => {
            let message = format!("function render_template(text, {}) does not exist", type_name(other));
            return Err(Error::new(Kind::UndefinedFunction, message).with_hint(SYNOPSIS));
        }
    };
    let variable = |field: &FieldRef| match normalize_type(field.data_type()) {
        Some(data_type) => Ok(Variable { name: field.name().clone(), data_type }),
        None if field.data_type().is_null() => Ok(Variable { name: field.name().clone(), data_type: DataType::Utf8 }),
        None => {
            let what = format!("a value of type {} in a template", type_name(field.data_type()));
            Err(Error::not_supported(what).with_hint(format!("cast it: {} => …::text", quote_literal(field.name()))))
        }
    };
    fields.iter().map(variable).collect()
}

/// The values of a batch, by variable and by row.
struct Rows {
    variables: Vec<Variable>,
    columns: Vec<Vec<Option<Value>>>,
}

impl Rows {
    fn new(values: Option<ArrayRef>) -> Result<Rows> {
        let variables = variables(values.as_ref().map(|values| values.data_type()))?;
        let column = |(variable, array): (&Variable, &ArrayRef)| match array.data_type() == &variable.data_type {
            true => values_of(array.as_ref()),
            false => {
                let array = cast(array, &variable.data_type)
                    .map_err(|error| Error::internal("a value of a template").with_source(error))?;
                values_of(array.as_ref())
            }
        };
        let arrays = values.as_ref().map_or(&[] as &[ArrayRef], |values| values.as_struct().columns());
        let columns = variables.iter().zip(arrays).map(column).collect::<Result<_>>()?;
        Ok(Rows { variables, columns })
    }

    fn render(&self, template: &Template, row: usize) -> Result<String> {
        let values = self.columns.iter().map(|column| column.get(row).and_then(Option::as_ref));
        template.render(self.variables.iter().zip(values))
    }

    fn render_all(&self, template: &Template, rows: usize) -> Result<datafusion::arrow::array::StringArray> {
        let mut texts = StringBuilder::new();
        for row in 0..rows {
            texts.append_value(self.render(template, row)?);
        }
        Ok(texts.finish())
    }

    /// A template for each row; the same one as before is not read again.
    fn render_each(&self, templates: &ArrayRef, rows: usize) -> Result<datafusion::arrow::array::StringArray> {
        let templates = templates.as_string::<i32>();
        let mut last: Option<Template> = None;
        let mut texts = StringBuilder::new();
        for row in 0..rows {
            if templates.is_null(row) {
                texts.append_null();
                continue;
            }
            let template = match last.take().filter(|last| last.text() == templates.value(row)) {
                Some(template) => template,
                None => {
                    let template = Template::new(templates.value(row))?;
                    template.check(&self.variables)?;
                    template
                }
            };
            texts.append_value(self.render(&template, row)?);
            last = Some(template);
        }
        Ok(texts.finish())
    }
}
