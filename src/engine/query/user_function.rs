//! Functions of the catalog in a statement: which ones it calls, and what each one's text is as an expression.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue, TableReference};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{
    EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ScalarUDF, cast, when,
};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use granary_catalog::{Function, Object, ObjectId, Privilege};
use granary_sql::name::fold;
use sqlparser::ast::{
    self, FunctionArg, FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SetExpr, Visit, VisitMut, Visitor, VisitorMut,
};

use super::provider::TableSources;
use super::{NameScope, QueryPlanner, at_node, check_functions, lengths, parser_options};
use crate::engine::error::convert;
use crate::engine::functions;
use crate::engine::functions::user::{
    PlannedBody, UserFunction, check_expr_calls, is_assignable, is_text_constant, signature_text,
};
use crate::error::{Error, Kind, Result};
use crate::row::type_name;

/// Functions that are planned, by their objects: one that many call is planned once.
type Planned = HashMap<ObjectId, UserFunction>;

/// How functions' names are looked up: by the search path, or among those that a stored function is known to call.
type Lookup<'a> = &'a dyn Fn(&ObjectName) -> Result<Option<Arc<Object>>>;

impl NameScope {
    /// The function that a name stands for, if it is one of the catalog's.
    pub fn function(&self, name: &ObjectName) -> Result<Option<&Arc<Object>>> {
        let parts: Option<Vec<&Ident>> = name.0.iter().map(ObjectNamePart::as_ident).collect();
        let by_schema = |schema: &str, name: &Ident| {
            let schema = self.snapshot.schema(self.workspace, schema)?;
            self.snapshot.function(schema.header.id, &fold(name))
        };
        Ok(match parts.as_deref() {
            Some([name]) => self.search_path.iter().find_map(|schema| by_schema(schema, name)),
            Some([schema, name]) => by_schema(&fold(schema), name),
            Some([workspace, schema, name]) => {
                self.check_workspace(Some(&fold(workspace)))?;
                by_schema(&fold(schema), name)
            }
            _ => None,
        })
    }
}

impl QueryPlanner {
    /// Adds the functions of the catalog that a statement calls to its state; tells whether there are any. Errors:
    /// 42883 for another number of arguments, 42501 for one that the asker may not call; with their place in `text`.
    pub(super) fn register_functions(&self, node: &impl Visit, state: &mut SessionState, text: &str) -> Result<bool> {
        let mut calls = Calls { find: &|name| Ok(self.scope.function(name)?.cloned()), found: Vec::new() };
        calls.collect(node)?;
        let found = calls.found;
        let access = self.scope.access();
        let mut planned = Planned::new();
        for call in &found {
            access.check(&call.object, Privilege::Execute).map_err(|error| at_node(&call.name, error, text))?;
            self.register(call, state, text, &mut planned)?;
        }
        Ok(!found.is_empty())
    }

    fn register(&self, call: &Call, state: &mut SessionState, text: &str, planned: &mut Planned) -> Result<()> {
        let Some(function) = call.object.downcast::<Function>() else {
            return Err(Error::internal("a function is not a function"));
        };
        call.check_arguments(function).map_err(|error| at_node(&call.name, error, text))?;
        let known = planned.get(&function.header.id).cloned();
        let own = match known {
            Some(own) => own,
            None => {
                let own = self.nested()?.planned_function(function, planned)?;
                planned.insert(function.header.id, own.clone());
                own
            }
        };
        // under the name by which DataFusion will ask for it, and no other
        let own = match call.name.0.as_slice() {
            [ObjectNamePart::Identifier(_)] => own,
            _ => own.called(&call.name.to_string()),
        };
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(own)))?;
        Ok(())
    }

    /// Plans the expression of a function that is stored, or about to be. Errors: as the expression's own, placed in
    /// its text; 0A000 for more than an expression; 42P13 for another type than the function is declared to give.
    /// Tells whether its arguments alone decide its value.
    pub fn check_function(&self, function: &Function) -> Result<bool> {
        let planned = self.nested()?.planned_function(function, &mut Planned::new())?;
        Ok(planned.is_immutable())
    }

    fn planned_function(&self, function: &Function, planned: &mut Planned) -> Result<UserFunction> {
        let text = function.body.as_str();
        let mut expr = body_expression(function)?;
        let name = &function.header.name;
        let schema = schema_of(function)?;
        if let ControlFlow::Break(error) = VisitMut::visit(&mut expr, &mut Numbered { function, text }) {
            return Err(error);
        }
        let mut state = self.state();
        lengths::rewrite(&mut expr);
        functions::template::rewrite(&mut expr, text)?;
        functions::session::register_called(&expr, &mut state, || self.system_context());
        let mut calls = Calls { find: &|name| Ok(self.callee(function, name)), found: Vec::new() };
        calls.collect(&expr)?;
        for call in &calls.found {
            self.register(call, &mut state, text, planned)?;
        }
        check_functions(&expr, &state, text)?;
        let provider = TableSources { state: &state, tables: HashMap::new() };
        let expr = SqlToRel::new_with_options(&provider, parser_options(&state))
            .sql_to_expr(expr, &schema, &mut PlannerContext::new())
            .map_err(|error| convert(error, Some(text)))?;
        check_is_scalar(&expr)?;
        check_expr_calls(&expr, &schema)?;
        let expr = self.typed(function, expr, &schema, &state)?;
        let body = analyzed(with_nulls(function, expr, &schema)?, &schema, &state)?;
        let (id, arguments) = (function.header.id.0, function.arguments.clone());
        let planned =
            PlannedBody { id, name: name.clone(), arguments, returns: function.returns.clone(), body, schema };
        UserFunction::new(planned, &state)
    }

    /// One of the functions that `function` is known to call: names that were looked up once mean the same ever after.
    fn callee(&self, function: &Function, name: &ObjectName) -> Option<Arc<Object>> {
        let called = fold(name.0.last()?.as_ident()?);
        let mut known = function.depends_on.iter().filter_map(|id| self.scope.snapshot.get(*id));
        known.find(|object| object.name() == called).cloned()
    }

    /// The expression in the type that the function is declared to give.
    fn typed(&self, function: &Function, expr: Expr, schema: &DFSchema, state: &SessionState) -> Result<Expr> {
        let found = analyzed(expr.clone(), schema, state)?.get_type(schema)?;
        let returns = &function.returns;
        if found == *returns {
            return Ok(expr);
        }
        if !is_text_constant(&expr) && !is_assignable(&found, returns) {
            return Err(return_mismatch(function).with_detail(format!("Actual return type is {}.", type_name(&found))));
        }
        Ok(cast(expr, returns.clone()))
    }
}

fn return_mismatch(function: &Function) -> Error {
    let message = format!("return type mismatch in function declared to return {}", type_name(&function.returns));
    Error::new(Kind::InvalidFunctionDefinition, message)
}

/// The arguments as columns, under the function's name.
fn schema_of(function: &Function) -> Result<DFSchema> {
    let relation = TableReference::bare(function.header.name.as_str());
    let fields = function.arguments.iter().enumerate().map(|(index, argument)| {
        let field = Field::new(argument_name(function, index), argument.data_type.clone(), true);
        (Some(relation.clone()), Arc::new(field))
    });
    Ok(DFSchema::new_with_metadata(fields.collect(), HashMap::new())?)
}

fn argument_name(function: &Function, index: usize) -> String {
    let named = function.arguments.get(index).and_then(|argument| argument.name.clone());
    named.unwrap_or_else(|| format!("${}", index + 1))
}

/// NULL where any argument is, if the function says so.
fn with_nulls(function: &Function, expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let is_null = schema.columns().into_iter().map(|column: Column| Expr::Column(column).is_null());
    match is_null.reduce(Expr::or) {
        Some(any_is_null) if function.strict => {
            let null = Expr::Literal(ScalarValue::try_from(&function.returns)?, None);
            Ok(when(any_is_null, null).otherwise(expr)?)
        }
        _ => Ok(expr),
    }
}

/// The expression with all of DataFusion's casts, and our operators.
fn analyzed(expr: Expr, schema: &DFSchema, state: &SessionState) -> Result<Expr> {
    let schema = Arc::new(schema.clone());
    let empty = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema });
    let plan = LogicalPlanBuilder::from(empty).project([expr.alias("value")])?.build()?;
    match state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})? {
        LogicalPlan::Projection(projection) => match projection.expr.into_iter().next() {
            Some(expr) => Ok(expr.unalias()),
            None => Err(Error::internal("a projection was analyzed to nothing")),
        },
        _ => Err(Error::internal("a projection was analyzed to something else")),
    }
}

fn check_is_scalar(expr: &Expr) -> Result<()> {
    let mut refused = None;
    expr.apply(|expr| {
        refused = match expr {
            Expr::AggregateFunction(_) => Some("an aggregate function"),
            Expr::WindowFunction(_) => Some("a window function"),
            Expr::Unnest(_) => Some("unnest"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    refused.map_or(Ok(()), |what| Err(more_than_expression(what)))
}

fn more_than_expression(what: &str) -> Error {
    Error::not_supported(format!("{what} in the body of a function"))
        .with_hint("a function is one expression over its arguments: SELECT expression")
}

/// The one expression of a function's text.
fn body_expression(function: &Function) -> Result<ast::Expr> {
    let text = function.body.as_str();
    let mut parsed = granary_sql::parse(text)?;
    let query = match (parsed.pop(), parsed.is_empty()) {
        (Some(granary_sql::Parsed { statement: granary_sql::Statement::Query(query), .. }), true) => query,
        (None, _) => {
            let detail = "Function's final statement must be SELECT.";
            return Err(return_mismatch(function).with_detail(detail));
        }
        (Some(_), true) => return Err(more_than_expression("a statement other than SELECT")),
        (Some(_), false) => return Err(more_than_expression("more than one statement")),
    };
    let select = only_select(&query.ast).map_err(more_than_expression)?;
    let expr = match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => expr.clone(),
        [other] => return Err(at_node(other, more_than_expression("*"), text)),
        _ => {
            let detail = "Final statement must return exactly one column.";
            return Err(return_mismatch(function).with_detail(detail));
        }
    };
    match expr.visit(&mut Subqueries) {
        ControlFlow::Continue(()) => Ok(expr),
        ControlFlow::Break(()) => Err(at_node(&expr, more_than_expression("a subquery"), text)),
    }
}

/// The SELECT, or what is more than one without clauses.
fn only_select(query: &Query) -> std::result::Result<&Select, &'static str> {
    let SetExpr::Select(select) = query.body.as_ref() else { return Err("anything but a plain SELECT") };
    let has_group = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
    };
    let clauses = [
        (query.with.is_some(), "WITH"),
        (query.order_by.is_some(), "ORDER BY"),
        (query.limit_clause.is_some() || query.fetch.is_some(), "LIMIT"),
        (!query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty(), "such a clause"),
        (!select.from.is_empty() || !select.lateral_views.is_empty(), "FROM"),
        (select.selection.is_some(), "WHERE"),
        (has_group, "GROUP BY"),
        (select.having.is_some(), "HAVING"),
        (select.distinct.is_some(), "DISTINCT"),
        (select.top.is_some() || select.into.is_some() || !select.named_window.is_empty(), "such a clause"),
        (select.qualify.is_some() || !select.sort_by.is_empty() || !select.cluster_by.is_empty(), "such a clause"),
    ];
    match clauses.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(what),
        None => Ok(select),
    }
}

struct Subqueries;

impl Visitor for Subqueries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

/// `$1` becomes the column of the first argument.
struct Numbered<'a> {
    function: &'a Function,
    text: &'a str,
}

impl VisitorMut for Numbered<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Value(value) = &*expr else { return ControlFlow::Continue(()) };
        let ast::Value::Placeholder(placeholder) = &value.value else { return ControlFlow::Continue(()) };
        let number: Option<usize> = placeholder.strip_prefix('$').and_then(|number| number.parse().ok());
        let index = number.and_then(|number| number.checked_sub(1));
        let Some(index) = index.filter(|index| *index < self.function.arguments.len()) else {
            let error = Error::new(Kind::UndefinedParameter, format!("there is no parameter {placeholder}"));
            return ControlFlow::Break(at_node(&*expr, error, self.text));
        };
        let ident = |name: &str| Ident { quote_style: Some('"'), ..Ident::with_span(value.span, name) };
        let (relation, column) = (ident(&self.function.header.name), ident(&argument_name(self.function, index)));
        *expr = ast::Expr::CompoundIdentifier(vec![relation, column]);
        ControlFlow::Continue(())
    }
}

/// A call of a function of the catalog.
struct Call {
    name: ObjectName,
    object: Arc<Object>,
    /// by argument, the name that the call gives it
    given: Vec<Option<String>>,
}

impl Call {
    fn check_arguments(&self, function: &Function) -> Result<()> {
        let name = &function.header.name;
        let undefined = |message: String| {
            let hint = format!("it is {}", signature_text(name, &function.arguments));
            Err(Error::new(Kind::UndefinedFunction, message).with_hint(hint))
        };
        if self.given.len() != function.arguments.len() {
            return undefined(format!("function {name} with {} arguments does not exist", self.given.len()));
        }
        let mut named: Vec<&str> = Vec::new();
        for given in &self.given {
            let Some(given) = given else {
                if named.is_empty() {
                    continue;
                }
                return Err(Error::new(Kind::Syntax, "positional argument cannot follow named argument"));
            };
            if named.contains(&given.as_str()) {
                return Err(Error::new(Kind::Syntax, format!("argument name \"{given}\" used more than once")));
            }
            let place = function.arguments.iter().position(|argument| argument.name.as_ref() == Some(given));
            let is_positional = place.is_some_and(|place| self.given.get(place).is_some_and(Option::is_none));
            if place.is_none() || is_positional {
                return undefined(format!("function {name} has no argument \"{given}\" to give"));
            }
            named.push(given);
        }
        // DataFusion takes names where all arguments have one
        let has_all_names = function.arguments.iter().all(|argument| argument.name.is_some());
        match named.is_empty() || has_all_names {
            true => Ok(()),
            false => {
                Err(Error::not_supported(format!("names in a call of {name}, whose arguments do not all have one")))
            }
        }
    }
}

/// The name that a call gives an argument.
fn name_of(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Named { name, .. } | FunctionArg::ExprNamed { name: ast::Expr::Identifier(name), .. } => {
            Some(fold(name))
        }
        FunctionArg::ExprNamed { name, .. } => Some(name.to_string()),
        FunctionArg::Unnamed(_) => None,
    }
}

/// The calls of functions of the catalog.
struct Calls<'a> {
    find: Lookup<'a>,
    found: Vec<Call>,
}

impl Calls<'_> {
    fn collect(&mut self, node: &impl Visit) -> Result<()> {
        match node.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }
}

impl Visitor for Calls<'_> {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &ast::TableFactor) -> ControlFlow<Error> {
        let (ast::TableFactor::Table { name, args: Some(_), .. } | ast::TableFactor::Function { name, .. }) = factor
        else {
            return ControlFlow::Continue(());
        };
        match (self.find)(name) {
            Ok(Some(object)) => {
                let error = Error::not_supported(format!("function {} in FROM", object.name()));
                ControlFlow::Break(error.with_hint(format!("it gives one value: SELECT {}(…)", object.name())))
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        match (self.find)(&function.name) {
            Ok(Some(object)) => {
                let given = match &function.args {
                    FunctionArguments::List(list) => list.args.iter().map(name_of).collect(),
                    FunctionArguments::None | FunctionArguments::Subquery(_) => Vec::new(),
                };
                self.found.push(Call { name: function.name.clone(), object, given });
                ControlFlow::Continue(())
            }
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Whether a function of the engine, or a word that is called like one, has the name.
pub fn is_built_in(planner: &QueryPlanner, name: &str) -> bool {
    let state = planner.state();
    let is_known = state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name)
        || state.window_functions().contains_key(name)
        || state.higher_order_functions().contains_key(name)
        || state.table_functions().contains_key(name);
    is_known
        || functions::session::is_named(name)
        || ["grouping", "unnest", "request_timestamp", "transformation", "partial_aggregates", "dataset"]
            .contains(&name)
}
