//! Row policies: which rows of a table its reader sees, and which rows may come into it.
//!
//! What policies say is planned as a query of its own, below a wall: no condition of the statement gets behind it, so that
//! none is ever evaluated for a row that is hidden. A policy whose names have come to mean something else is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::Column;
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use granary_catalog::{ObjectId, Policy, PolicyCommand, PolicyExpression, PolicyRead, Table};
use granary_sql::name::quote;
use sqlparser::ast::{self, Ident, VisitMut, VisitorMut};

use super::{GivenRelation, NameScope, QueryPlanner, table_reference, tables};
use crate::access::{Asker, bypasses_policies, memberships};
use crate::engine::plans::{output_schema, run};
use crate::engine::returned::memory_table;
use crate::engine::sealed::sealed;
use crate::error::{Error, Kind, Result};

/// What a query reads: columns of the rows that it is about, and of relations of the catalog.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::engine) struct QueryReads {
    pub own: BTreeSet<String>,
    pub others: BTreeMap<ObjectId, BTreeSet<String>>,
}

/// What new rows have to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passing {
    pub command: PolicyCommand,
    pub what: Passed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// WITH CHECK, or USING where that is not said
    Check,
    /// USING: who writes a row may see it
    Seen,
    /// the same of a row that is there, and that another would have met
    Met,
}

/// One of these has to hold; of none, none does.
type Condition<'p> = Vec<&'p PolicyExpression>;

/// The policies of a table that hold for who asks.
struct Holding<'t> {
    table: &'t Table,
    roles: BTreeSet<ObjectId>,
}

impl<'t> Holding<'t> {
    /// What permits a row to a command, and then what restricts it, by the name of the policy.
    fn conditions(&self, command: PolicyCommand, has_check: bool) -> Vec<(Option<&'t str>, Condition<'t>)> {
        let roles = &self.roles;
        let said = move |permissive: bool| {
            let of = move |policy: &&'t Policy| {
                policy.permissive == permissive
                    && (policy.command == PolicyCommand::All || policy.command == command)
                    && (policy.roles.is_empty() || policy.roles.iter().any(|role| roles.contains(role)))
            };
            let expression = move |policy: &'t Policy| {
                let check = policy.check.as_ref().filter(|_| has_check);
                Some((policy.name.as_str(), check.or(policy.using.as_ref())?))
            };
            self.table.policies.iter().filter(of).filter_map(expression)
        };
        let permitting = said(true).map(|(_, expression)| expression).collect();
        let restricting = said(false).map(|(name, expression)| (Some(name), vec![expression]));
        std::iter::once((None, permitting)).chain(restricting).collect()
    }
}

impl QueryPlanner {
    /// The rows of an ordinary table that the asker may see.
    pub(super) async fn readable_rows(&self, table: &Table) -> Result<Arc<dyn TableProvider>> {
        let rows = self.all_rows(table).await?;
        let commands: &[PolicyCommand] = match self.locks_rows {
            true => &[PolicyCommand::Select, PolicyCommand::Update],
            false => &[PolicyCommand::Select],
        };
        self.policed_rows(table, rows, commands).await
    }

    /// All rows of an ordinary table, for who keeps it.
    pub async fn all_rows(&self, table: &Table) -> Result<Arc<dyn TableProvider>> {
        tables::stored::table(self, table).await
    }

    /// Those of a table's rows that policies let the asker see, for all of these commands. Behind the table's columns
    /// there may be others.
    pub async fn policed_rows(
        &self,
        table: &Table,
        rows: Arc<dyn TableProvider>,
        commands: &[PolicyCommand],
    ) -> Result<Arc<dyn TableProvider>> {
        let Some(holding) = self.holding(table)? else { return Ok(rows) };
        let conditions: Vec<Condition<'_>> = commands
            .iter()
            .flat_map(|command| holding.conditions(*command, false))
            .map(|(_, condition)| condition)
            .collect();
        let schema = rows.schema();
        if conditions.iter().any(Vec::is_empty) {
            return Ok(Arc::new(EmptyTable::new(schema)));
        }
        let planner = self.policing(table, rows);
        let columns = schema.fields().iter().map(|field| column(table, field.name())).collect();
        let query = query_over(table, columns, Some(all_of(&conditions)?))?;
        let plan = planner.policed_plan(table, &query, conditions.iter().flatten().copied()).await?;
        Ok(Arc::new(PolicedRows::new(plan, &schema)?))
    }

    /// What new rows of a table have to pass; None if the asker may write any.
    pub fn row_checks(&self, table: &Table, passings: &[Passing]) -> Result<Option<RowChecks>> {
        let Some(holding) = self.holding(table)? else { return Ok(None) };
        let mut checks = Vec::new();
        for Passing { command, what } in passings {
            for (policy, condition) in holding.conditions(*command, *what == Passed::Check) {
                checks.push(RowCheck {
                    policy: policy.map(str::to_owned),
                    is_met: *what == Passed::Met,
                    condition: condition.into_iter().cloned().collect(),
                });
            }
        }
        Ok(Some(RowChecks { planner: self.clone(), table: table.clone(), checks }))
    }

    /// Whether policies of a table hold for the asker: then errors tell nothing of its rows.
    pub fn is_policed(&self, table: &Table) -> bool {
        !matches!(self.holding(table), Ok(None))
    }

    /// The policies of a table that hold for the asker; None if it may see all rows. Errors: 42501 with `row_security` off,
    /// 42P17 for a policy that reads its own table.
    fn holding<'t>(&self, table: &'t Table) -> Result<Option<Holding<'t>>> {
        if !table.row_security.enabled {
            return Ok(None);
        }
        let name = &table.header.name;
        let for_others = || {
            let message = format!("reading table \"{name}\", which has row-level security, for others");
            Error::not_supported(message).with_hint("a role for whom its policies do not hold can own what reads it")
        };
        let snapshot = &self.scope.snapshot;
        let role = self.scope.asker.name().ok_or_else(for_others)?;
        if bypasses_policies(snapshot, role, table) {
            return Ok(None);
        }
        if matches!(self.scope.asker, Asker::Maker(_)) {
            return Err(for_others());
        }
        let roles = snapshot.role(role).map(|role| memberships(snapshot, role)).unwrap_or_default();
        if self.is_row_security_off() {
            let message = format!("query would be affected by row-level security policy for table \"{name}\"");
            let error = Error::new(Kind::InsufficientPrivilege, message);
            let owner = snapshot.role(&table.header.owner);
            return Err(match owner.is_some_and(|owner| roles.contains(&owner.header.id)) {
                true => error.with_hint(
                    "To disable the policy for the table's owner, use ALTER TABLE NO FORCE ROW LEVEL SECURITY.",
                ),
                false => error,
            });
        }
        if self.policing.contains(&table.header.id) {
            return Err(recursion(name));
        }
        Ok(Some(Holding { table, roles }))
    }

    fn is_row_security_off(&self) -> bool {
        let settings = (self.facts.settings)();
        settings.iter().any(|setting| setting.name == "row_security" && setting.stored == "off")
    }

    /// Plans what policies of a table say about `rows`: by names in full alone, whatever the session's are.
    fn policing(&self, table: &Table, rows: Arc<dyn TableProvider>) -> QueryPlanner {
        let mut planner = self.clone();
        planner.given = vec![GivenRelation { name: rows_name(table), rows, columns: table.columns.clone() }];
        planner.parameter_types = Vec::new();
        planner.parameter_values = Arc::default();
        planner.scope.search_path = Vec::new();
        planner.scope.meant = Vec::new();
        planner.policing.push(table.header.id);
        planner.locks_rows = false;
        planner
    }

    /// The plan of such a query, if its expressions mean what they meant.
    async fn policed_plan<'p>(
        &self,
        table: &Table,
        query: &ast::Query,
        expressions: impl Iterator<Item = &'p PolicyExpression>,
    ) -> Result<LogicalPlan> {
        let name = &table.header.name;
        let mut meant: BTreeMap<ObjectId, BTreeSet<String>> = BTreeMap::new();
        for read in expressions.flat_map(|expression| &expression.reads) {
            meant.entry(read.relation).or_default().extend(read.columns.iter().cloned());
        }
        let check = |reads: &QueryReads| match reads.others == meant {
            true => Ok(()),
            false => {
                let message = format!("a policy of table \"{name}\" has come to read something else");
                Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                    .with_hint("ALTER POLICY … USING (…) says anew what it is to read"))
            }
        };
        let plan = Box::pin(self.settled_under(query, &check)).await?;
        plan.ok_or_else(|| unplanned(name))
    }

    /// An expression of a policy as it is stored, with what its names mean now. Errors: those of the expression, with their
    /// place in `text`.
    pub async fn policy_expression(&self, table: &Table, mut expr: ast::Expr, text: &str) -> Result<PolicyExpression> {
        let rows: Arc<dyn TableProvider> =
            Arc::new(EmptyTable::new(Arc::new(Schema::new(table.columns.iter().map(nullable).collect::<Vec<_>>()))));
        let mut full = InFull { planner: self, table };
        if let ControlFlow::Break(error) = expr.visit(&mut full) {
            return Err(error);
        }
        let planner = self.policing(table, rows);
        let one = || vec![ast::Expr::value(ast::Value::Number("1".to_owned(), false))];
        let typed = query_over(table, one(), Some(ast::Expr::Nested(Box::new(expr.clone()))))?;
        let unplanned = || unplanned(&table.header.name);
        let meant = Box::pin(planner.settled_reads(&typed, text)).await.map_err(of_policy)?.ok_or_else(unplanned)?;
        let stored = expr.to_string();
        let query = query_over(table, one(), Some(ast::Expr::Nested(Box::new(parsed(&stored)?))))?;
        let reads = Box::pin(planner.settled_reads(&query, "")).await.map_err(of_policy)?.ok_or_else(unplanned)?;
        if reads != meant {
            return Err(Error::not_supported(format!("the expression {stored} in a policy")));
        }
        // what cannot be carried out is not found out by who reads
        Box::pin(planner.settled_under(&query, &|_| Ok(()))).await.map_err(of_policy)?.ok_or_else(unplanned)?;
        let others = reads.others.into_iter();
        let others = others.map(|(relation, columns)| PolicyRead { relation, columns: columns.into_iter().collect() });
        Ok(PolicyExpression { text: stored, columns: reads.own.into_iter().collect(), reads: others.collect() })
    }
}

fn recursion(table: &str) -> Error {
    let message = format!("infinite recursion detected in policy for relation \"{table}\"");
    Error::new(Kind::InvalidObjectDefinition, message)
}

fn unplanned(table: &str) -> Error {
    Error::not_supported(format!("a policy of table \"{table}\" that is not about tables alone")).with_hint(
        "policies read columns of PostgreSQL's types, tables, views, sources, streams and datasets, and call functions of PostgreSQL",
    )
}

/// An error about a WHERE that nobody has typed.
fn of_policy(error: Error) -> Error {
    let said = error.message();
    let message = said.replace("argument of WHERE", "argument of POLICY");
    let message = message.replace("not allowed in WHERE", "not allowed in policy expressions");
    if message == said {
        return error;
    }
    let made = Error::new(error.kind(), message);
    match error.position() {
        Some(position) => made.at(position),
        None => made,
    }
}

/// No object can have this name.
fn rows_name(table: &Table) -> String {
    format!("{}@policed", table.header.name)
}

fn nullable(column: &granary_catalog::Column) -> Field {
    Field::new(&column.name, column.data_type.clone(), true)
}

fn column(table: &Table, name: &str) -> ast::Expr {
    let parts = [table.header.name.as_str(), name];
    ast::Expr::CompoundIdentifier(parts.map(|part| Ident::with_quote('"', part)).to_vec())
}

/// `SELECT items FROM table WHERE condition`.
fn query_over(table: &Table, items: Vec<ast::Expr>, condition: Option<ast::Expr>) -> Result<ast::Query> {
    let text = format!("SELECT 1 FROM {} AS {}", quote(&rows_name(table)), quote(&table.header.name));
    let mut query = parsed_query(&text)?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items.into_iter().map(ast::SelectItem::UnnamedExpr).collect();
        select.selection = condition;
    }
    Ok(query)
}

fn parsed_query(text: &str) -> Result<ast::Query> {
    match granary_sql::parse(text)?.into_iter().next().map(|parsed| parsed.statement) {
        Some(granary_sql::Statement::Query(query)) => Ok(*query.ast),
        _ => Err(Error::internal("a query is none").with_detail(text)),
    }
}

fn parsed(text: &str) -> Result<ast::Expr> {
    let item = match *parsed_query(&format!("SELECT {text}"))?.body {
        ast::SetExpr::Select(select) => select.projection.into_iter().next(),
        _ => None,
    };
    match item {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(Error::internal("a stored expression is none").with_detail(text)),
    }
}

/// An expression of a policy as PostgreSQL shows it: operators in parentheses.
pub fn shown_expression(text: &str) -> String {
    match parsed(text) {
        Ok(ast::Expr::BinaryOp { .. }) => format!("({text})"),
        _ => text.to_owned(),
    }
}

fn joined(exprs: Vec<ast::Expr>, op: &ast::BinaryOperator) -> ast::Expr {
    let nested = |expr| Box::new(ast::Expr::Nested(Box::new(expr)));
    let both = |left, right| ast::Expr::BinaryOp { left: nested(left), op: op.clone(), right: nested(right) };
    exprs.into_iter().reduce(both).unwrap_or_else(|| ast::Expr::value(ast::Value::Boolean(false)))
}

fn any_of<'p>(condition: impl IntoIterator<Item = &'p PolicyExpression>) -> Result<ast::Expr> {
    let exprs = condition.into_iter().map(|expression| parsed(&expression.text)).collect::<Result<_>>()?;
    Ok(joined(exprs, &ast::BinaryOperator::Or))
}

fn all_of(conditions: &[Condition<'_>]) -> Result<ast::Expr> {
    let exprs = conditions.iter().map(|condition| any_of(condition.iter().copied())).collect::<Result<_>>()?;
    Ok(joined(exprs, &ast::BinaryOperator::And))
}

/// Gives relations of an expression their names in full, whatever the search path will be.
struct InFull<'a> {
    planner: &'a QueryPlanner,
    table: &'a Table,
}

impl InFull<'_> {
    fn named(&self, name: &mut ast::ObjectName, alias: &mut Option<ast::TableAlias>) -> Result<()> {
        let scope = &self.planner.scope;
        let Some(reference) = table_reference(name) else { return Ok(()) };
        let (schema, own) = match tables::system::named(&scope.search_path, &reference) {
            Some(relation) => (relation.schema.to_owned(), relation.name.to_owned()),
            None => {
                // what there is not is told by who plans
                let Some(object) = scope.relation(&reference)? else { return Ok(()) };
                if object.id() == self.table.header.id {
                    return Err(recursion(object.name()));
                }
                if object.id().is_temporary() {
                    return Err(Error::not_supported("a policy that reads a temporary relation"));
                }
                (scope.schema_name_of(object), object.name().to_owned())
            }
        };
        if alias.is_none() {
            let called = Ident::with_quote('"', reference.table());
            let name = granary_sql::name::canonical(&called);
            *alias = Some(ast::TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        let parts = [schema, own].map(|part| granary_sql::name::canonical(&Ident::with_quote('"', part)));
        *name = ast::ObjectName::from(parts.to_vec());
        Ok(())
    }
}

impl VisitorMut for InFull<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        match query.with {
            Some(_) => ControlFlow::Break(Error::not_supported("WITH in a policy")),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Error> {
        let ast::TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        match self.named(name, alias) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        match expr {
            ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Placeholder(name), .. }) => {
                let message = format!("there is no parameter {name}");
                ControlFlow::Break(Error::new(Kind::UndefinedParameter, message))
            }
            ast::Expr::Function(function) => match self.planner.scope.function(&function.name) {
                Ok(None) => ControlFlow::Continue(()),
                Ok(Some(object)) => {
                    let what = format!("function {}, which is a user's, in a policy", object.name());
                    ControlFlow::Break(Error::not_supported(what))
                }
                Err(error) => ControlFlow::Break(error),
            },
            // whatever columns there will be
            ast::Expr::Exists { subquery, .. } => {
                if let ast::SetExpr::Select(select) = subquery.body.as_mut()
                    && let [ast::SelectItem::Wildcard(_)] = select.projection.as_slice()
                {
                    let one = ast::Expr::value(ast::Value::Number("1".to_owned(), false));
                    select.projection = vec![ast::SelectItem::UnnamedExpr(one)];
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What a statement's new rows have to pass.
#[derive(Clone)]
pub struct RowChecks {
    planner: QueryPlanner,
    table: Table,
    checks: Vec<RowCheck>,
}

#[derive(Clone)]
struct RowCheck {
    /// the one that restricts
    policy: Option<String>,
    is_met: bool,
    condition: Vec<PolicyExpression>,
}

impl RowChecks {
    /// Refuses rows, which have the table's columns, if one of them does not pass.
    pub async fn check(&self, rows: &RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if let Some(check) = self.checks.iter().find(|check| check.condition.is_empty()) {
            return Err(self.refused(check));
        }
        let schema = Arc::new(Schema::new(self.table.columns.iter().map(nullable).collect::<Vec<_>>()));
        let rows = RecordBatch::try_new(Arc::clone(&schema), rows.columns().to_vec())?;
        let planner = self.planner.policing(&self.table, memory_table(schema, vec![rows.clone()])?);
        let passes =
            |check: &RowCheck| Ok(ast::Expr::IsTrue(Box::new(ast::Expr::Nested(Box::new(any_of(&check.condition)?)))));
        let query = query_over(&self.table, self.checks.iter().map(passes).collect::<Result<_>>()?, None)?;
        let expressions = self.checks.iter().flat_map(|check| &check.condition);
        let plan = planner.policed_plan(&self.table, &query, expressions).await?;
        let mut answers = run(&planner.state(), &plan).await?;
        let mut n_answered = 0;
        while let Some(answer) = answers.try_next().await.map_err(Error::from)? {
            n_answered += answer.num_rows();
            let passed: Option<Vec<&BooleanArray>> =
                answer.columns().iter().map(|column| column.as_boolean_opt()).collect();
            let passed = passed.ok_or_else(|| Error::internal("a policy does not say yes or no"))?;
            let fails = |row: usize| passed.iter().position(|passed| passed.is_null(row) || !passed.value(row));
            if let Some(failed) = (0..answer.num_rows()).find_map(fails) {
                return Err(self.refused(&self.checks[failed]));
            }
        }
        match n_answered == rows.num_rows() {
            true => Ok(()),
            false => Err(Error::internal("policies did not look at all rows")),
        }
    }

    fn refused(&self, check: &RowCheck) -> Error {
        let of_policy = check.policy.as_ref().map_or_else(String::new, |name| format!(" \"{name}\""));
        let using = if check.is_met { " (USING expression)" } else { "" };
        let table = &self.table.header.name;
        let message = format!("new row violates row-level security policy{of_policy}{using} for table \"{table}\"");
        Error::new(Kind::InsufficientPrivilege, message)
    }
}

/// Whether policies of a table hold for who asks.
pub fn row_security_active(scope: &NameScope, table: &Table) -> bool {
    let holds = |role| table.row_security.enabled && !bypasses_policies(&scope.snapshot, role, table);
    scope.asker.name().is_some_and(holds)
}

/// The rows that are left, as a relation that nothing gets behind: it takes no conditions, and tells no statistics.
struct PolicedRows {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl PolicedRows {
    /// `plan` has the columns of `schema` under names of its own.
    fn new(plan: LogicalPlan, schema: &SchemaRef) -> Result<PolicedRows> {
        let own = plan.schema().iter().zip(schema.fields());
        let columns: Vec<Expr> = own
            .map(|((qualifier, field), wanted)| {
                let column = Expr::Column(Column::new(qualifier.cloned(), field.name()));
                match field.data_type() == wanted.data_type() {
                    true => column.alias(wanted.name()),
                    false => cast(column, wanted.data_type().clone()).alias(wanted.name()),
                }
            })
            .collect();
        let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
        Ok(PolicedRows { schema: output_schema(&plan), plan })
    }
}

impl fmt::Debug for PolicedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicedRows")
    }
}

#[async_trait]
impl TableProvider for PolicedRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[datafusion::logical_expr::Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let plan = match projection {
            None => self.plan.clone(),
            Some(columns) => {
                let column = |place: &usize| Expr::Column(Column::from(self.plan.schema().qualified_field(*place)));
                LogicalPlanBuilder::from(self.plan.clone()).project(columns.iter().map(column))?.build()?
            }
        };
        Ok(sealed(state.create_physical_plan(&plan).await?))
    }
}
