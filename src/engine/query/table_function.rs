//! `transformation('view', start, end)` and `partial_aggregates('view', start, end)` in FROM: the rows of a feature
//! view before they are aggregated, and half way. `granary.drift('view', start, end, start, end)` and
//! `granary.dataset_drift('dataset', 'view')`: how far its features have gone. And `granary.upstream('object.column')` and
//! `granary.downstream(…)`: what a column is made of, and what is made of it.
//!
//! DataFusion's functions in FROM know no catalog, and none of their arguments may be a parameter. So each call becomes
//! a subquery over a relation of its own before the planner sees the statement, and that relation's plan is made here.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::TableSource;
use granary_catalog::{FeatureView, Interval, Object, ObjectKind, Privilege};
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Statement, TableAlias, TableFactor, Value, ValueWithSpan,
    Visit, VisitMut, Visitor, VisitorMut,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{QueryPlanner, at_node, table_reference};
use crate::engine::drift::{Compared, drift_table, served_features};
use crate::engine::lineage::{Direction, Start, reach_table};
use crate::engine::logged::logged_rows;
use crate::engine::plans::time_value;
use crate::engine::relation::{BoundView, time_type};
use crate::engine::rows::{RowsRequest, transformation_plan};
use crate::engine::tables::system::names;
use crate::engine::tiles::partial_aggregates_plan;
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Transformation,
    PartialAggregates,
    Drift,
    DatasetDrift,
    LoggedRequests,
    Upstream,
    Downstream,
}

impl Function {
    fn of(name: &ObjectName) -> Option<Function> {
        match table_reference(name)? {
            TableReference::Bare { table } => match table.as_ref() {
                "transformation" => Some(Function::Transformation),
                "partial_aggregates" => Some(Function::PartialAggregates),
                _ => None,
            },
            TableReference::Partial { schema, table } if schema.as_ref() == "granary" => match table.as_ref() {
                "drift" => Some(Function::Drift),
                "dataset_drift" => Some(Function::DatasetDrift),
                "logged_requests" => Some(Function::LoggedRequests),
                "upstream" => Some(Function::Upstream),
                "downstream" => Some(Function::Downstream),
                _ => None,
            },
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Function::Transformation => "transformation",
            Function::PartialAggregates => "partial_aggregates",
            Function::Drift => "drift",
            Function::DatasetDrift => "dataset_drift",
            Function::LoggedRequests => "logged_requests",
            Function::Upstream => "upstream",
            Function::Downstream => "downstream",
        }
    }

    /// How many names come first, and how many times behind them.
    fn arguments(self) -> (usize, usize) {
        match self {
            Function::Transformation | Function::PartialAggregates => (1, 2),
            Function::Drift => (1, 4),
            Function::DatasetDrift => (2, 0),
            Function::LoggedRequests | Function::Upstream | Function::Downstream => (1, 0),
        }
    }

    fn synopsis(self) -> String {
        match self {
            Function::Transformation | Function::PartialAggregates => {
                format!("{}('view', 'start', 'end')", self.name())
            }
            Function::Drift => "granary.drift('view', 'start', 'end', 'start', 'end')".to_owned(),
            Function::DatasetDrift => "granary.dataset_drift('dataset', 'view')".to_owned(),
            Function::LoggedRequests => "granary.logged_requests('service')".to_owned(),
            Function::Upstream | Function::Downstream => format!("granary.{}('object.column')", self.name()),
        }
    }
}

/// One call in a statement.
#[derive(Debug)]
pub struct TableCall {
    function: Function,
    /// what the statement calls its rows now
    relation: String,
    /// of relations
    names: Vec<ValueWithSpan>,
    times: Vec<Expr>,
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

/// The relations that a FROM item calls a function on, if it does.
pub fn called_relations(factor: &TableFactor) -> Vec<ObjectName> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return Vec::new() };
    let Some(function) = Function::of(name) else { return Vec::new() };
    if matches!(function, Function::Upstream | Function::Downstream) {
        return Vec::new(); // of the whole workspace
    }
    let names = args.args.iter().take(function.arguments().0).map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(name))) => name_of(&name.value),
        _ => None,
    });
    names.flatten().collect()
}

/// A parameter that is a time is a timestamp, unless the client has said otherwise.
pub fn with_types_of_times(calls: &[TableCall], mut types: Vec<Option<DataType>>) -> Vec<Option<DataType>> {
    for index in calls.iter().flat_map(|call| &call.times).filter_map(parameter_index) {
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
        let (n_names, n_times) = function.arguments();
        let (names, times) = match args.as_deref() {
            Some(args) if args.len() == n_names + n_times => args.split_at(n_names),
            Some(args) => {
                let message = format!("{} takes {} arguments, not {}", function.name(), n_names + n_times, args.len());
                return Err(wrong(message));
            }
            None => return Err(wrong(format!("the arguments of {} have no names", function.name()))),
        };
        let named = |name: &&Expr| match name {
            Expr::Value(name @ ValueWithSpan { value: Value::SingleQuotedString(_), .. }) => Ok(name.clone()),
            _ => {
                let what = match function {
                    Function::DatasetDrift => "a relation",
                    Function::LoggedRequests => "a feature service",
                    Function::Upstream | Function::Downstream => "an object, or of a column of one",
                    _ => "a feature view",
                };
                let place = if n_names == 1 { "the first argument" } else { "each argument" };
                let message = format!("{place} of {} is the name of {what}, in quotes", function.name());
                let error = Error::new(Kind::InvalidParameterValue, message).with_hint(function.synopsis());
                Err(at_node(*name, error, self.text))
            }
        };
        let names = names.iter().map(named).collect::<Result<Vec<ValueWithSpan>>>()?;
        let relation = format!("{}({})", function.name(), self.calls.len() + 1);
        let subquery = subquery(&relation, times)?;
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(function.name()),
            columns: Vec::new(),
            at: None,
        });
        let times = times.iter().map(|time| (*time).clone()).collect();
        self.calls.push(TableCall { function, relation, names, times });
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
        let in_place = |error: Error| at_node(self.name(), error.without_position(), text);
        let plan = match self.function {
            Function::Transformation => {
                let view = self.view(planner).map_err(in_place)?;
                let range = self.times(planner, text).await?.map(range_of);
                transformation_plan(planner, &view, range.unwrap_or(RowsRequest::Everything)).await?
            }
            Function::PartialAggregates => {
                let view = self.view(planner).map_err(in_place)?;
                let range = self.times(planner, text).await?.map(range_of);
                partial_aggregates_plan(planner, &Arc::new(view), range)
                    .await
                    .map_err(|error| at_node(self.name(), error, text))?
            }
            Function::Drift => {
                let object = self.feature_view(planner, 0).map_err(in_place)?;
                let view =
                    object.downcast::<FeatureView>().ok_or_else(|| Error::internal("a feature view is not one"))?;
                let period =
                    |period: Option<&[i64; 2]>| period.map_or(Interval::new(0, 0), |[a, b]| Interval::new(*a, *b));
                let times = self.times(planner, text).await?.unwrap_or_default();
                let (baseline, current) = (period(times.first()), period(times.get(1)));
                let compared = Compared::Periods { view: Arc::new(view.clone()), baseline, current };
                return Ok(provider_as_source(drift_table(planner, compared)?));
            }
            Function::LoggedRequests => {
                let service = planner.find(&self.reference(0).map_err(in_place)?).map_err(in_place)?;
                planner.scope.access().check(&service, Privilege::Select).map_err(in_place)?;
                return Ok(provider_as_source(logged_rows(planner, &service).await.map_err(in_place)?));
            }
            Function::Upstream | Function::Downstream => {
                let start = self.start(planner).map_err(in_place)?;
                let direction = match self.function {
                    Function::Upstream => Direction::Upstream,
                    _ => Direction::Downstream,
                };
                return Ok(provider_as_source(reach_table(planner, &start, direction)?));
            }
            Function::DatasetDrift => {
                let compared = self.served(planner).map_err(in_place)?;
                return Ok(provider_as_source(drift_table(planner, compared)?));
            }
        };
        Ok(provider_as_source(Arc::new(ViewTable::new(plan, None))))
    }

    /// What the error of a call is about.
    fn name(&self) -> &ValueWithSpan {
        &self.names[0]
    }

    fn reference(&self, place: usize) -> Result<TableReference> {
        let name = &self.names[place].value;
        name_of(name).as_ref().and_then(table_reference).ok_or_else(|| {
            Error::new(Kind::InvalidName, format!("{name} is not a name")).with_hint(self.function.synopsis())
        })
    }

    /// `'object'`, `'object.column'`, or either behind a schema: a column of an object goes before an object of a schema.
    fn start(&self, planner: &QueryPlanner) -> Result<Start> {
        let whole = self.reference(0)?;
        if let Some((relation, column)) = parent_of(&whole)
            && let Ok(Some(object)) = planner.scope.relation(&relation)
        {
            let columns = names::columns(&planner.scope.snapshot, object);
            if columns.iter().any(|known| known.name == column) || is_time_of(object, &column) {
                return Ok(Start { object: object.id(), column: Some(column) });
            }
            if planner.scope.read_relation(&whole)?.is_none() {
                let message = format!("column \"{column}\" of relation \"{}\" does not exist", object.name());
                return Err(Error::new(Kind::UndefinedColumn, message));
            }
        }
        Ok(Start { object: planner.find(&whole)?.id(), column: None })
    }

    fn feature_view(&self, planner: &QueryPlanner, place: usize) -> Result<Arc<Object>> {
        let object = planner.find(&self.reference(place)?)?;
        planner.scope.access().check(&object, Privilege::Select)?;
        match object.as_ref() {
            Object::FeatureView(_) => Ok(object),
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

    fn view(&self, planner: &QueryPlanner) -> Result<BoundView> {
        match self.feature_view(planner, 0)?.as_ref() {
            Object::FeatureView(view) => BoundView::of_feature_view(view),
            _ => Err(Error::internal("a feature view is not one")),
        }
    }

    /// The rights on both are looked at when they are read.
    fn served(&self, planner: &QueryPlanner) -> Result<Compared> {
        let (dataset, served) = (self.reference(0)?, self.reference(1)?);
        let object = planner.find(&dataset)?;
        if object.kind() != ObjectKind::Dataset {
            let message = format!("\"{}\" is a {}, not a dataset", object.name(), object.kind().as_str());
            return Err(Error::new(Kind::WrongObjectType, message).with_hint(self.function.synopsis()));
        }
        let access = planner.scope.access();
        access.check(&object, Privilege::Select)?;
        let relation = planner.find(&served)?;
        access.check(&relation, Privilege::Select)?;
        let features = served_features(planner, &relation)?;
        Ok(Compared::Served { dataset: dataset.to_quoted_string(), served: served.to_quoted_string(), features })
    }

    /// The ranges `[start, end)` in order. None while the statement is only described, and has parameters.
    async fn times(&self, planner: &QueryPlanner, text: &str) -> Result<Option<Vec<[i64; 2]>>> {
        if planner.is_outlined() || planner.parameter_values.is_empty() && self.times.iter().any(has_parameter) {
            return Ok(None);
        }
        let mut times = Vec::with_capacity(self.times.len());
        for argument in &self.times {
            planner.check_time(argument, self.function.name(), text)?;
            let value = time_value(planner, argument, text).await?;
            times.push(value.ok_or_else(|| {
                let message = format!("a time of {} must not be NULL", self.function.name());
                at_node(argument, Error::new(Kind::NullValueNotAllowed, message), text)
            })?);
        }
        let (ranges, _) = times.as_chunks::<2>();
        if let Some(empty) = ranges.iter().position(|[start_us, end_us]| start_us >= end_us) {
            let message = format!("the start of {} must be before its end", self.function.name());
            return Err(at_node(&self.times[2 * empty], Error::new(Kind::InvalidParameterValue, message), text));
        }
        Ok(Some(ranges.to_vec()))
    }
}

/// `a.b.c` as column c of `a.b`.
fn parent_of(name: &TableReference) -> Option<(TableReference, String)> {
    match name {
        TableReference::Bare { .. } => None,
        TableReference::Partial { schema, table } => Some((TableReference::bare(schema.as_ref()), table.to_string())),
        TableReference::Full { catalog, schema, table } => {
            Some((TableReference::partial(catalog.as_ref(), schema.as_ref()), table.to_string()))
        }
    }
}

/// The time of a feature view is no column of its relation.
fn is_time_of(object: &Object, column: &str) -> bool {
    matches!(object, Object::FeatureView(view) if view.timestamp == column)
}

fn range_of(ranges: Vec<[i64; 2]>) -> RowsRequest {
    match ranges.first() {
        Some([start_us, end_us]) => RowsRequest::Range { start_us: *start_us, end_us: *end_us },
        None => RowsRequest::Everything,
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
