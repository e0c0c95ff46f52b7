//! The query of a realtime feature view, taken apart: the relations in its FROM, and one expression a feature.
//!
//! An expression is planned once with all of DataFusion's coercions, over the columns of those relations, the request
//! columns and the time. What stands behind the columns is bound later, by whoever reads the view.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, TableReference};
use datafusion::logical_expr::{EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Volatility};
use granary_catalog::Column;
use sqlparser::ast::{
    self, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, Spanned, TableFactor,
    TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};

use super::bound_view::time_type;
use super::interface::Interface;
use crate::engine::error::placed;
use crate::engine::query::{QueryPlanner, label_of, table_reference};
use crate::error::{Error, Kind, Result};

/// The function, and the column that it is planned as.
const REQUEST_TIMESTAMP: &str = "request_timestamp";
/// The relation that request columns and the time are columns of; it may be typed, too: `request.amount`.
const REQUEST: &str = "request";

/// The time of a request, as an expression's column.
pub fn time_column() -> datafusion::common::Column {
    request_column(REQUEST_TIMESTAMP)
}

/// A request column, as an expression's column.
pub fn request_column(name: &str) -> datafusion::common::Column {
    datafusion::common::Column::new(Some(REQUEST), name)
}

/// Refuses `request_timestamp()` where there is no request.
pub fn check_called_in_place(function: &str) -> Result<()> {
    if function != REQUEST_TIMESTAMP {
        return Ok(());
    }
    let message = "request_timestamp() is called outside of a realtime feature view";
    Err(Error::new(Kind::InvalidObjectDefinition, message)
        .with_hint("write now(), or the column of the time that features are read AS OF"))
}

/// One relation of the FROM.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: ObjectName,
    pub alias: String,
}

/// One feature: its name, its expression, and that as typed.
#[derive(Debug, Clone)]
struct Output {
    name: String,
    expr: ast::Expr,
    sql: String,
}

/// The query, of which nothing is known but that it has the form of a realtime view's.
#[derive(Debug, Clone)]
pub struct RealtimeQuery {
    pub inputs: Vec<Input>,
    outputs: Vec<Output>,
    text: String,
}

/// A feature as it is planned: over the columns of `RealtimeQuery::schema`.
#[derive(Debug, Clone)]
pub struct RealtimeFeature {
    pub column: Column,
    pub sql: String,
    pub(in crate::engine) expr: Expr,
}

impl RealtimeQuery {
    /// Errors: 0A000 for everything but `SELECT expression, … FROM view, …`, with the place in `sql`.
    pub fn parse(sql: &str) -> Result<RealtimeQuery> {
        let mut parsed = granary_sql::parse(sql)?;
        let (Some(granary_sql::Parsed { statement: granary_sql::Statement::Query(query), .. }), true) =
            (parsed.pop(), parsed.is_empty())
        else {
            return Err(Error::internal("a realtime view's query is not one query").with_detail(sql));
        };
        let place = Place { text: sql };
        let select = place.only_select(&query.ast)?;
        let inputs = select.from.iter().map(|table| place.input(table)).collect::<Result<Vec<_>>>()?;
        let mut aliases = vec![REQUEST];
        for input in &inputs {
            if aliases.contains(&input.alias.as_str()) {
                let message = format!("table name \"{}\" specified more than once", input.alias);
                let error = Error::new(Kind::DuplicateObject, message);
                return Err(place.at(&input.name, error.with_hint("give it an alias of its own")));
            }
            aliases.push(&input.alias);
        }
        let mut outputs: Vec<Output> = Vec::with_capacity(select.projection.len());
        for item in &select.projection {
            let output = place.output(item)?;
            if outputs.iter().any(|other| other.name == output.name) {
                let message = format!("feature \"{}\" is given more than once", output.name);
                let error = Error::new(Kind::DuplicateColumn, message);
                return Err(place.at(item, error.with_hint("give the features different names with AS")));
            }
            outputs.push(output);
        }
        Ok(RealtimeQuery { inputs, outputs, text: sql.to_owned() })
    }

    /// The error, with the place in the query's text of what it is about.
    pub fn at(&self, node: &impl Spanned, error: Error) -> Error {
        Place { text: &self.text }.at(node, error)
    }

    /// What the expressions can name: the columns of the inputs by their aliases, the request columns, the time.
    /// `inputs` are those of the FROM, in its order.
    fn schema(&self, inputs: &[Interface], request: &[Column]) -> Result<DFSchema> {
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = Vec::new();
        let mut add = |relation: &str, column: &Column| {
            let field = Field::new(&column.name, column.data_type.clone(), true);
            fields.push((Some(TableReference::bare(relation)), Arc::new(field)));
        };
        for (input, interface) in self.inputs.iter().zip(inputs) {
            interface.keys.iter().chain(&interface.features).for_each(|column| add(&input.alias, column));
        }
        request.iter().for_each(|column| add(REQUEST, column));
        add(REQUEST, &Column::new(REQUEST_TIMESTAMP, time_type(), true));
        Ok(DFSchema::new_with_metadata(fields, HashMap::new())?)
    }

    /// Plans the expressions. Errors: 42703 and what else is wrong with them, with the place in the query's text;
    /// 0A000 for aggregates, windows, subqueries and functions that do not give the same again.
    pub fn plan(
        &self,
        planner: &QueryPlanner,
        inputs: &[Interface],
        request: &[Column],
    ) -> Result<Vec<RealtimeFeature>> {
        let schema = self.schema(inputs, request)?;
        let place = Place { text: &self.text };
        let mut exprs = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let mut expr = output.expr.clone();
            place.check_subqueries(&expr)?;
            if let ControlFlow::Break(error) = VisitMut::visit(&mut expr, &mut Requests) {
                return Err(place.at(&output.expr, error));
            }
            let planned = planner.plan_expression(expr, &schema, &self.text)?;
            check_row_by_row(&planned).map_err(|error| place.at(&output.expr, error))?;
            exprs.push(planned.alias(&output.name));
        }
        let empty = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(schema) });
        let plan = LogicalPlanBuilder::from(empty).project(exprs)?.build()?;
        let state = planner.state();
        let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
        let LogicalPlan::Projection(projection) = plan else {
            return Err(Error::internal("a projection was analyzed to something else"));
        };
        let schema = Arc::clone(projection.input.schema());
        let feature = |(output, expr): (&Output, Expr)| {
            let column = Column::new(&output.name, expr.get_type(&schema)?, true);
            Ok(RealtimeFeature { column, sql: output.sql.clone(), expr: expr.unalias() })
        };
        self.outputs.iter().zip(projection.expr).map(feature).collect()
    }
}

/// Functions whose answer is not decided by their arguments would differ between training and serving.
fn check_row_by_row(expr: &Expr) -> Result<()> {
    let mut refused = None;
    expr.apply(|expr| {
        refused = match expr {
            Expr::AggregateFunction(_) => Some(not_row_by_row("aggregate functions", AGGREGATE_HINT)),
            Expr::WindowFunction(_) => Some(not_row_by_row("window functions", AGGREGATE_HINT)),
            Expr::Unnest(_) => Some(not_row_by_row("unnest", "a realtime feature view has one row for each request")),
            Expr::Placeholder(placeholder) => {
                let message = format!("a definition cannot have parameters, such as {}", placeholder.id);
                Some(Error::new(Kind::UndefinedParameter, message).with_hint("declare it with REQUEST (name type)"))
            }
            Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
                let what = format!("{}(), which does not give the same again for the same values,", call.func.name());
                Some(not_row_by_row(&what, "for the time of the request, write request_timestamp()"))
            }
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    })?;
    refused.map_or(Ok(()), Err)
}

const AGGREGATE_HINT: &str = "aggregate in a feature view, and read that";

fn not_row_by_row(what: &str, hint: &str) -> Error {
    Error::new(Kind::FeatureNotSupported, format!("{what} cannot stand in a realtime feature view")).with_hint(hint)
}

/// `request_timestamp()` becomes a column.
struct Requests;

impl VisitorMut for Requests {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let named = table_reference(&function.name)
            .is_some_and(|name| name.table() == REQUEST_TIMESTAMP && name.schema().is_none());
        if !named {
            return ControlFlow::Continue(());
        }
        let is_empty = match &function.args {
            ast::FunctionArguments::None => true,
            ast::FunctionArguments::List(list) => list.args.is_empty(),
            ast::FunctionArguments::Subquery(_) => false,
        };
        if !is_empty {
            let error = Error::new(Kind::UndefinedFunction, "request_timestamp() has no arguments");
            return ControlFlow::Break(error.with_hint("write request_timestamp()"));
        }
        let ident = |name: &str| Ident::with_span(function.name.span(), name);
        *expr = ast::Expr::CompoundIdentifier(vec![ident(REQUEST), ident(REQUEST_TIMESTAMP)]);
        ControlFlow::Continue(())
    }
}

/// Reads the form of the query; its errors have their place in the text.
struct Place<'a> {
    text: &'a str,
}

impl Place<'_> {
    fn at(&self, node: &impl Spanned, error: Error) -> Error {
        placed(error, self.text, node.span().start)
    }

    fn only_select<'a>(&self, query: &'a Query) -> Result<&'a Select> {
        let refuse = |what: &str| {
            not_row_by_row(what, "its query is SELECT expression AS name, … FROM view, …: one row for each request")
        };
        if query.with.is_some() {
            return Err(refuse("WITH"));
        }
        if query.order_by.is_some() {
            return Err(refuse("ORDER BY"));
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            return Err(refuse("LIMIT"));
        }
        let has_more = !query.locks.is_empty() || query.for_clause.is_some() || !query.pipe_operators.is_empty();
        let SetExpr::Select(select) = query.body.as_ref() else {
            return Err(refuse("anything but a plain SELECT"));
        };
        if let Some(condition) = &select.selection {
            let error = not_row_by_row("WHERE", "write CASE WHEN condition THEN value END in the expression");
            return Err(self.at(condition, error));
        }
        if !matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty())
        {
            return Err(refuse("GROUP BY"));
        }
        for (is_there, what) in [
            (select.distinct.is_some(), "DISTINCT"),
            (select.having.is_some(), "HAVING"),
            (select.qualify.is_some(), "QUALIFY"),
            (!select.named_window.is_empty(), "WINDOW"),
            (select.into.is_some(), "INTO"),
            (has_more || !select.lateral_views.is_empty() || select.top.is_some(), "this clause"),
        ] {
            if is_there {
                return Err(refuse(what));
            }
        }
        Ok(select)
    }

    fn input(&self, table: &TableWithJoins) -> Result<Input> {
        if let Some(join) = table.joins.first() {
            let hint = "list the views with commas: keys of one name are one key";
            return Err(self.at(&join.relation, not_row_by_row("JOIN", hint)));
        }
        let hint = "name feature views, feature tables and realtime feature views";
        let TableFactor::Table { name, alias, args: None, version, sample: None, .. } = &table.relation else {
            return Err(self.at(&table.relation, not_row_by_row("such a FROM", hint)));
        };
        if version.is_some() {
            let hint = "leave it out: the view is read as of the time of the request";
            return Err(self.at(name, not_row_by_row("FOR SYSTEM_TIME", hint)));
        }
        let alias = match alias {
            Some(alias) if !alias.columns.is_empty() => {
                return Err(self.at(name, not_row_by_row("an alias with a list of columns", hint)));
            }
            Some(alias) => Some(&alias.name),
            None => name.0.last().and_then(ObjectNamePart::as_ident),
        };
        let alias = alias.ok_or_else(|| self.at(name, not_row_by_row("such a FROM", hint)))?;
        Ok(Input { name: name.clone(), alias: granary_sql::name::fold(alias) })
    }

    fn output(&self, item: &SelectItem) -> Result<Output> {
        let (name, expr) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (granary_sql::name::fold(alias), expr),
            SelectItem::UnnamedExpr(expr) => (label_of(expr), expr),
            other => return Err(self.at(other, not_row_by_row("*", "list the expressions: each is a feature"))),
        };
        if name.starts_with(['?', '_']) {
            let error = Error::new(Kind::InvalidName, "a feature of a realtime feature view needs a name");
            return Err(
                self.at(expr, error.with_hint(format!("give it one that begins with a letter: {expr} AS name")))
            );
        }
        Ok(Output { name, expr: expr.clone(), sql: expr.to_string() })
    }

    fn check_subqueries(&self, expr: &ast::Expr) -> Result<()> {
        struct Subqueries;
        impl Visitor for Subqueries {
            type Break = ();

            fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
                ControlFlow::Break(())
            }
        }
        match expr.visit(&mut Subqueries) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                let hint = "list the view in FROM, and name its features";
                Err(self.at(expr, not_row_by_row("a subquery", hint)))
            }
        }
    }
}
