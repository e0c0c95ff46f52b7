//! `transformation('view', start, end)` and `partial_aggregates('view', start, end)` in FROM: the rows of a feature
//! view before they are aggregated, and half way.
//!
//! DataFusion's functions in FROM know no catalog, and none of their arguments may be a parameter. So each call becomes
//! a subquery over a relation of its own before the planner sees the statement, and that relation's plan is made here.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::TableSource;
use granary_catalog::{Object, Privilege};
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Statement, TableAlias, TableFactor, Value, ValueWithSpan,
    Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{QueryPlanner, at_node, table_reference};
use crate::engine::plans::time_value;
use crate::engine::relation::{BoundView, time_type};
use crate::engine::rows::{RowsRequest, transformation_plan};
use crate::engine::tiles::partial_aggregates_plan;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Transformation,
    PartialAggregates,
}

impl Function {
    fn of(name: &ObjectName) -> Option<Function> {
        match table_reference(name)? {
            TableReference::Bare { table } if table.as_ref() == "transformation" => Some(Function::Transformation),
            TableReference::Bare { table } if table.as_ref() == "partial_aggregates" => {
                Some(Function::PartialAggregates)
            }
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Function::Transformation => "transformation",
            Function::PartialAggregates => "partial_aggregates",
        }
    }

    fn synopsis(self) -> String {
        format!("{}('view', 'start', 'end')", self.name())
    }
}

/// One call in a statement.
#[derive(Debug)]
pub struct TableCall {
    function: Function,
    /// what the statement calls its rows now
    relation: String,
    view: ValueWithSpan,
    start: Expr,
    end: Expr,
}

/// Replaces every call; call number `i` is what relation number `i` stands for. Errors: 42883 for other arguments than
/// there are.
pub fn rewrite(statement: &mut Statement, text: &str) -> Result<Vec<TableCall>> {
    let mut rewriter = Rewriter { text, calls: Vec::new() };
    match statement.visit(&mut rewriter) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(rewriter.calls),
    }
}

/// The call that a relation of a rewritten statement stands for.
pub fn called<'a>(calls: &'a [TableCall], reference: &TableReference) -> Option<&'a TableCall> {
    let TableReference::Bare { table } = reference else { return None };
    calls.iter().find(|call| call.relation == table.as_ref())
}

/// The view that a FROM item calls a function on, if it does.
pub fn called_view(factor: &TableFactor) -> Option<ObjectName> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    Function::of(name)?;
    match args.args.first()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(view))) => name_of(&view.value),
        _ => None,
    }
}

/// A parameter that is a time is a timestamp, unless the client has said otherwise.
pub fn with_types_of_times(calls: &[TableCall], mut types: Vec<Option<DataType>>) -> Vec<Option<DataType>> {
    for index in calls.iter().flat_map(|call| [&call.start, &call.end]).filter_map(parameter_index) {
        if types.len() <= index {
            types.resize(index + 1, None);
        }
        types[index].get_or_insert_with(time_type);
    }
    types
}

fn parameter_index(expr: &Expr) -> Option<usize> {
    let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr else { return None };
    let number: u16 = name.strip_prefix('$')?.parse().ok()?;
    usize::from(number).checked_sub(1)
}

struct Rewriter<'a> {
    text: &'a str,
    calls: Vec<TableCall>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.replace(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Rewriter<'_> {
    fn replace(&mut self, factor: &mut TableFactor) -> Result<()> {
        let (called, alias, args, with_ordinality) = match factor {
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                (name, alias, &args.args, *with_ordinality)
            }
            TableFactor::Function { name, alias, args, with_ordinality, .. } => (name, alias, &*args, *with_ordinality),
            _ => return Ok(()),
        };
        let Some(function) = Function::of(called) else { return Ok(()) };
        if with_ordinality {
            return Err(Error::not_supported(format!("{} WITH ORDINALITY", function.name())));
        }
        let wrong = |message: String| {
            let error = Error::new(Kind::UndefinedFunction, message).with_hint(function.synopsis());
            at_node(&*called, error, self.text)
        };
        let args: Option<Vec<&Expr>> = args
            .iter()
            .map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
                _ => None,
            })
            .collect();
        let (view, start, end) = match args.as_deref() {
            Some([view, start, end]) => (*view, *start, *end),
            Some(args) => return Err(wrong(format!("{} takes 3 arguments, not {}", function.name(), args.len()))),
            None => return Err(wrong(format!("the arguments of {} have no names", function.name()))),
        };
        let Expr::Value(name @ ValueWithSpan { value: Value::SingleQuotedString(_), .. }) = view else {
            let message = format!("the first argument of {} is the name of a feature view, in quotes", function.name());
            let error = Error::new(Kind::InvalidParameterValue, message).with_hint(function.synopsis());
            return Err(at_node(view, error, self.text));
        };
        let relation = format!("{}({})", function.name(), self.calls.len() + 1);
        let subquery = subquery(&relation, &[start, end])?;
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(function.name()),
            columns: Vec::new(),
            at: None,
        });
        self.calls.push(TableCall { function, relation, view: name.clone(), start: start.clone(), end: end.clone() });
        *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        Ok(())
    }
}

/// `SELECT * FROM "relation"`. Arguments with parameters stay in it, in a condition that always holds, so that the plan
/// has the statement's parameters.
fn subquery(relation: &str, arguments: &[&Expr]) -> Result<Box<sqlparser::ast::Query>> {
    let conditions: Vec<String> = arguments
        .iter()
        .filter(|argument| has_parameter(argument))
        .map(|argument| format!("(({argument}) IS NULL) IS NOT NULL"))
        .collect();
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let sql = format!("SELECT * FROM \"{relation}\"{filter}");
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(&sql).and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| Error::new(Kind::Syntax, "an argument does not read").with_source(error))
}

fn has_parameter(expr: &Expr) -> bool {
    struct Parameters;
    impl Visitor for Parameters {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Parameters).is_break()
}

/// The name in a string: `'view'`, `'schema.view'`, `'"View"'`.
fn name_of(value: &Value) -> Option<ObjectName> {
    let Value::SingleQuotedString(text) = value else { return None };
    let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?;
    let name = parser.parse_object_name(false).ok()?;
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(name)
}

impl TableCall {
    /// The rows of the call.
    pub async fn source(&self, planner: &QueryPlanner, text: &str) -> Result<Arc<dyn TableSource>> {
        let view = self.view(planner).map_err(|error| at_node(&self.view, error.without_position(), text))?;
        let request = self.request(planner, text).await?;
        let plan = match self.function {
            Function::Transformation => {
                transformation_plan(planner, &view, request.unwrap_or(RowsRequest::Everything)).await?
            }
            Function::PartialAggregates => partial_aggregates_plan(planner, &Arc::new(view), request)
                .await
                .map_err(|error| at_node(&self.view, error, text))?,
        };
        Ok(provider_as_source(Arc::new(ViewTable::new(plan, None))))
    }

    fn view(&self, planner: &QueryPlanner) -> Result<BoundView> {
        let reference = name_of(&self.view.value).as_ref().and_then(table_reference).ok_or_else(|| {
            Error::new(Kind::InvalidName, format!("{} is not a name", self.view.value))
                .with_hint(self.function.synopsis())
        })?;
        let object = planner.find(&reference)?;
        planner.scope.access().check(&object, Privilege::Select)?;
        match object.as_ref() {
            Object::FeatureView(view) => BoundView::of_feature_view(view),
            other => {
                let message = format!(
                    "{} is about feature views, and \"{}\" is a {}",
                    self.function.name(),
                    other.name(),
                    other.kind().as_str()
                );
                Err(Error::new(Kind::WrongObjectType, message).with_hint("name a feature view"))
            }
        }
    }

    /// None while the statement is only described, and has parameters.
    async fn request(&self, planner: &QueryPlanner, text: &str) -> Result<Option<RowsRequest>> {
        let arguments = [&self.start, &self.end];
        if planner.parameter_values.is_empty() && arguments.iter().any(|argument| has_parameter(argument)) {
            return Ok(None);
        }
        let mut times = [0; 2];
        for (time_us, argument) in times.iter_mut().zip(arguments) {
            planner.check_time(argument, self.function.name(), text)?;
            let value = time_value(planner, argument, text).await?;
            *time_us = value.ok_or_else(|| {
                let message = format!("a time of {} must not be NULL", self.function.name());
                at_node(argument, Error::new(Kind::NullValueNotAllowed, message), text)
            })?;
        }
        let [start_us, end_us] = times;
        if start_us >= end_us {
            let message = format!("the start of {} must be before its end", self.function.name());
            return Err(at_node(&self.start, Error::new(Kind::InvalidParameterValue, message), text));
        }
        Ok(Some(RowsRequest::Range { start_us, end_us }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_string() {
        let parts = |text: &str| {
            let name = name_of(&Value::SingleQuotedString(text.to_owned()))?;
            table_reference(&name).map(|name| name.to_vec())
        };
        assert_eq!(parts("User_Spend"), Some(vec!["user_spend".to_owned()]));
        assert_eq!(parts("risk.\"User Spend\""), Some(vec!["risk".to_owned(), "User Spend".to_owned()]));
        for text in ["", "a b", "a, b", "a.b; DROP TABLE t", "1", "f(x)"] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
