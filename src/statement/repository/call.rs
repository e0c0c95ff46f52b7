//! `granary.plan(…)`, `granary.apply(…)` and `granary.test(…)` in FROM: found in a query, carried out once, and replaced
//! by the rows that they give.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt;
use granary_catalog::{Author, NewPlan, ObjectId, Plan, PlanId, Snapshot, Version};
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, TableAlias, TableFactor, Visit, VisitMut, Visitor,
    VisitorMut,
};
use tokio_util::sync::CancellationToken;

use super::planning::{objects_of, plan};
use super::texts::{File, Texts};
use super::{rows, testing};
use crate::engine::{rows_with_lists, with_lists};
use crate::error::{Error, Kind, Result};
use crate::statement::context::StatementContext;
use crate::statement::execute::{Parameters, answer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Plan,
    Apply,
    Test,
}

impl Function {
    const ALL: [Function; 3] = [Function::Plan, Function::Apply, Function::Test];

    fn word(self) -> &'static str {
        match self {
            Function::Plan => "plan",
            Function::Apply => "apply",
            Function::Test => "test",
        }
    }

    fn name(self) -> String {
        format!("granary.{}", self.word())
    }

    fn of(name: &ObjectName) -> Option<Function> {
        let parts = granary_sql::name::parts(name);
        let [schema, function] = parts.as_slice() else { return None };
        let known = Function::ALL.into_iter().find(|known| known.word() == function);
        known.filter(|_| schema == "granary")
    }

    /// The arguments, in order, and the types that they are cast to: `None` for one that may be of two.
    fn arguments(self) -> &'static [(&'static str, Option<&'static str>)] {
        match self {
            Function::Plan => &[
                ("definitions", None),
                ("paths", Some("text[]")),
                ("message", Some("text")),
                ("tests", Some("boolean")),
                ("suppress_recreates", Some("boolean")),
            ],
            Function::Apply => &[
                ("definitions", None),
                ("paths", Some("text[]")),
                ("message", Some("text")),
                ("tests", Some("boolean")),
                ("plan", Some("bigint")),
                ("suppress_recreates", Some("boolean")),
            ],
            Function::Test => &[("definitions", None), ("paths", Some("text[]")), ("name", Some("text"))],
        }
    }

    /// The relation that stands in the place of a call.
    fn relation(self) -> String {
        format!("granary.{}()", self.word())
    }
}

/// One call, with its arguments in their places.
struct Call {
    function: Function,
    arguments: Vec<Option<Expr>>,
}

/// Whether a query changes the workspace.
pub fn calls_apply(query: &Query) -> bool {
    called_in(query) == Some(Function::Apply)
}

/// The first such function that a query calls.
fn called_in(query: &Query) -> Option<Function> {
    struct Finder;
    impl Visitor for Finder {
        type Break = Function;

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Function> {
            let name = match factor {
                TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => name,
                _ => return ControlFlow::Continue(()),
            };
            Function::of(name).map_or(ControlFlow::Continue(()), ControlFlow::Break)
        }
    }
    match Visit::visit(query, &mut Finder) {
        ControlFlow::Break(function) => Some(function),
        ControlFlow::Continue(()) => None,
    }
}

/// The query over empty rows, for who only wants to know its columns.
pub fn described<'q>(context: &mut StatementContext, query: &'q Query) -> Result<Cow<'q, Query>> {
    let Some((call, query)) = taken(query)? else { return Ok(Cow::Borrowed(query)) };
    let name = call.function.relation();
    context.given.push(match call.function {
        Function::Plan | Function::Apply => rows::no_plan(name)?,
        Function::Test => rows::no_tests(name)?,
    });
    Ok(Cow::Owned(query))
}

/// Carries out the call of a query, and gives the query over its rows.
pub async fn with_answer<'q>(
    context: &mut StatementContext,
    query: &'q Query,
    parameters: &Parameters,
    cancel: &CancellationToken,
) -> Result<Cow<'q, Query>> {
    let Some((call, query)) = taken(query)? else { return Ok(Cow::Borrowed(query)) };
    let asked = Asked::of(context, &call, parameters, cancel).await?;
    let name = call.function.relation();
    let given = match call.function {
        Function::Plan => rows::of_plan(name, &asked.plan(context, false).await?.0)?,
        Function::Apply => {
            let plan = asked.apply(context).await?;
            rows::of_plan(name, &plan)?
        }
        Function::Test => {
            let tested = asked.test(context).await?;
            rows::of_tests(name, &tested)?
        }
    };
    context.given.push(given);
    Ok(Cow::Owned(query))
}

/// The call in a query, and the query without it. Errors: several, or arguments that there are not.
fn taken(query: &Query) -> Result<Option<(Call, Query)>> {
    // nearly every query has none: it is looked at, and not copied
    if called_in(query).is_none() {
        return Ok(None);
    }
    let mut query = query.clone();
    let mut taker = Taker { call: None };
    match VisitMut::visit(&mut query, &mut taker) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(taker.call.map(|call| (call, query))),
    }
}

struct Taker {
    call: Option<Call>,
}

impl VisitorMut for Taker {
    type Break = Error;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        match self.take(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Taker {
    fn take(&mut self, factor: &mut TableFactor) -> Result<()> {
        let (name, alias, args) = match factor {
            TableFactor::Table { name, alias, args: Some(args), .. } => (&*name, alias, &args.args),
            TableFactor::Function { name, alias, args, .. } => (&*name, alias, &*args),
            _ => return Ok(()),
        };
        let Some(function) = Function::of(name) else { return Ok(()) };
        if self.call.is_some() {
            return Err(Error::not_supported(format!(
                "a statement that calls {} and another such function",
                function.name()
            )));
        }
        let call = Call { function, arguments: placed(function, args)? };
        let alias = alias.take().unwrap_or_else(|| TableAlias {
            explicit: true,
            name: Ident::new(function.word()),
            columns: Vec::new(),
            at: None,
        });
        // parameters stay in it, so that they are the statement's
        let conditions: Vec<String> = call
            .arguments
            .iter()
            .zip(function.arguments())
            .filter_map(|(argument, (_, type_name))| {
                let argument = argument.as_ref()?;
                let type_name = type_name.unwrap_or("text");
                let is_parameter = argument.to_string().contains('$');
                is_parameter.then(|| format!("((({argument})::{type_name}) IS NULL) IS NOT NULL"))
            })
            .collect();
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let text = format!("SELECT * FROM \"{}\"{filter}", function.relation());
        let subquery = query_of(&text)?;
        *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
        self.call = Some(call);
        Ok(())
    }
}

fn query_of(text: &str) -> Result<Box<Query>> {
    let parsed = granary_sql::parse(text)?.pop().map(|parsed| parsed.statement);
    match parsed {
        Some(granary_sql::Statement::Query(query)) => Ok(query.ast),
        _ => Err(Error::internal("the query of a call is not one").with_detail(text.to_owned())),
    }
}

/// The arguments in the order of the function's own; `None` where one is not given.
fn placed(function: Function, args: &[FunctionArg]) -> Result<Vec<Option<Expr>>> {
    let known = function.arguments();
    let mut arguments: Vec<Option<Expr>> = vec![None; known.len()];
    let undefined = |message: String| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        Error::new(Kind::UndefinedFunction, message)
            .with_hint(format!("its arguments are {}, by place or as name => value", names.join(", ")))
    };
    for (place, arg) in args.iter().enumerate() {
        let named = |name: &Ident| {
            let name = granary_sql::name::fold(name);
            known.iter().position(|(own, _)| *own == name)
        };
        let (place, value) = match arg {
            FunctionArg::Unnamed(value) => (Some(place), value),
            FunctionArg::Named { name, arg, .. } => (named(name), arg),
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (named(name), arg),
            other @ FunctionArg::ExprNamed { .. } => {
                return Err(undefined(format!("{} does not take {other}", function.name())));
            }
        };
        let FunctionArgExpr::Expr(value) = value else {
            return Err(undefined(format!("{} does not take {value}", function.name())));
        };
        match place.and_then(|place| arguments.get_mut(place)) {
            Some(argument) if argument.is_none() => *argument = Some(value.clone()),
            _ => return Err(undefined(format!("{} does not take {arg}", function.name()))),
        }
    }
    Ok(arguments)
}

/// What a call asks for.
#[derive(Debug, Default)]
struct Asked {
    files: Option<Vec<File>>,
    message: Option<String>,
    runs_tests: bool,
    suppresses_recreates: bool,
    plan: Option<PlanId>,
    test: Option<String>,
}

impl Asked {
    /// Evaluates the arguments, as a query of one row.
    async fn of(
        context: &mut StatementContext,
        call: &Call,
        parameters: &Parameters,
        cancel: &CancellationToken,
    ) -> Result<Asked> {
        let mut asked = Asked { runs_tests: true, ..Asked::default() };
        let given = call.arguments.iter().zip(call.function.arguments());
        let given: Vec<(&str, String)> = given
            .filter_map(|(argument, (name, type_name))| {
                let argument = argument.as_ref()?;
                Some((*name, type_name.map_or_else(|| argument.to_string(), |cast| format!("({argument})::{cast}"))))
            })
            .collect();
        if given.is_empty() {
            return asked.checked(call.function);
        }
        let items: Vec<String> = given.iter().map(|(name, value)| format!("{value} AS {name}")).collect();
        let query = query_of(&format!("SELECT {}", items.join(", ")))?;
        let (_, rows) = Box::pin(answer(context, &query, parameters, cancel)).await?;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let row = batches.iter().find(|batch| batch.num_rows() == 1);
        let row = row.ok_or_else(|| Error::internal("arguments that are not one row"))?;
        let row = rows_with_lists(row, &with_lists(&row.schema()))?;
        let (mut texts, mut paths) = (None, None);
        for ((name, _), array) in given.iter().zip(row.columns()) {
            if array.is_null(0) {
                continue;
            }
            match *name {
                "definitions" => texts = Some(texts_of(array)?),
                "paths" => paths = Some(texts_of(array)?),
                "message" => asked.message = texts_of(array)?.pop(),
                "name" => asked.test = texts_of(array)?.pop(),
                "tests" => asked.runs_tests = array.as_boolean_opt().is_none_or(|tests| tests.value(0)),
                "suppress_recreates" => {
                    asked.suppresses_recreates = array.as_boolean_opt().is_some_and(|said| said.value(0));
                }
                "plan" => {
                    let id = array.as_primitive_opt::<Int64Type>().map(|ids| ids.value(0));
                    asked.plan = id.and_then(|id| u64::try_from(id).ok()).map(PlanId);
                    if asked.plan.is_none() {
                        return Err(undefined_plan(&format!("{id:?}")));
                    }
                }
                _ => return Err(Error::internal(format!("an argument {name}"))),
            }
        }
        asked.files = match (texts, paths) {
            (Some(texts), Some(paths)) if texts.len() == paths.len() => {
                Some(paths.into_iter().zip(texts).map(|(path, text)| File { path, text }).collect())
            }
            (Some(texts), None) => Some(texts.into_iter().map(|text| File { path: String::new(), text }).collect()),
            (None, None) => None,
            _ => {
                let message = "there must be as many paths as definitions";
                return Err(Error::new(Kind::InvalidParameterValue, message));
            }
        };
        asked.checked(call.function)
    }

    fn checked(self, function: Function) -> Result<Asked> {
        let wrong = match (function, &self.files, self.plan) {
            (Function::Plan, None, _) => "granary.plan needs definitions",
            (Function::Apply, None, None) => "granary.apply needs definitions, or the number of a plan",
            (Function::Apply, None, Some(_)) if self.suppresses_recreates => {
                "whether rows are kept is said when the plan is made, not when its number is applied"
            }
            (Function::Apply, Some(_), Some(_)) => "granary.apply takes definitions or the number of a plan, not both",
            _ => return Ok(self),
        };
        Err(Error::new(Kind::InvalidParameterValue, wrong))
    }

    /// Makes a plan, and keeps it.
    async fn plan(&self, context: &mut StatementContext, is_to_be_applied: bool) -> Result<(Plan, Arc<Snapshot>)> {
        let texts = Texts::read(self.files.clone().unwrap_or_default())?;
        context.suppresses_recreates = self.suppresses_recreates;
        let planned = plan(context, &texts, is_to_be_applied).await;
        context.suppresses_recreates = false;
        let planned = planned?;
        if self.runs_tests {
            testing::failed(&testing::run_tests(context, &planned.snapshot, &texts, None).await?)?;
        }
        let (files, has_secrets) = texts.kept();
        let new = NewPlan {
            workspace: context.scope.workspace,
            author: Author {
                role: context.role.clone(),
                at_us: context.now_us,
                statement: format!("SELECT granary.{}(…)", if is_to_be_applied { "apply" } else { "plan" }),
            },
            message: self.message.clone(),
            files,
            has_secrets,
            suppress_recreates: self.suppresses_recreates,
            base: changes_of(context),
            changes: planned.changes.clone(),
        };
        let plan = context.warehouse.catalog.plans().add(new)?;
        if is_to_be_applied {
            let before = Arc::clone(context.snapshot());
            context.changes = planned.catalog_changes(&before, context.scope.workspace, plan.id);
        }
        Ok((plan, planned.snapshot))
    }

    /// Leaves the changes of a plan in the context.
    async fn apply(&self, context: &mut StatementContext) -> Result<Plan> {
        let workspace = context.snapshot().get(context.scope.workspace).cloned();
        let workspace = workspace.ok_or_else(|| Error::internal("a session without a workspace"))?;
        let access = context.scope.access();
        if !access.is_unlimited() {
            use granary_catalog::Privilege;
            if !access.has_workspace_role(workspace.id(), &[Privilege::Owner, Privilege::Editor]) {
                access.check_manage(&workspace, "apply a plan to")?;
            }
        }
        let Some(id) = self.plan else { return Ok(self.plan(context, true).await?.0) };
        let kept = context.warehouse.catalog.plans().get(id)?;
        let kept = kept.filter(|plan| plan.new.workspace == context.scope.workspace);
        let kept = kept.ok_or_else(|| undefined_plan(&id.to_string()))?;
        if kept.new.has_secrets {
            let message = format!("plan {id} has secrets, which are not kept");
            return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message)
                .with_hint("apply its definitions instead of its number"));
        }
        if kept.new.base != changes_of(context) {
            let message = format!("the workspace has changed since plan {id} was made");
            return Err(Error::new(Kind::SerializationFailure, message).with_hint("plan again"));
        }
        let files = kept.new.files.iter().map(|file| File { path: file.path.clone(), text: file.text.clone() });
        let again = Asked {
            files: Some(files.collect()),
            message: self.message.clone().or(kept.new.message),
            runs_tests: self.runs_tests,
            suppresses_recreates: kept.new.suppress_recreates,
            ..Asked::default()
        };
        let (plan, _) = again.plan(context, true).await?;
        if plan.new.changes != kept.new.changes {
            let message = format!("plan {id} would do something else now: what it reads has changed");
            context.changes.clear();
            return Err(Error::new(Kind::SerializationFailure, message).with_hint("plan again"));
        }
        Ok(plan)
    }

    async fn test(&self, context: &mut StatementContext) -> Result<Vec<testing::Tested>> {
        let only = self.test.as_deref();
        let Some(files) = &self.files else {
            let snapshot = Arc::clone(context.snapshot());
            return testing::run_tests(context, &snapshot, &Texts::default(), only).await;
        };
        let texts = Texts::read(files.clone())?;
        let planned = plan(context, &texts, false).await?;
        testing::run_tests(context, &planned.snapshot, &texts, only).await
    }
}

fn undefined_plan(id: &str) -> Error {
    Error::new(Kind::UndefinedObject, format!("plan {id} does not exist"))
        .with_hint("granary.plans lists those of this workspace")
}

/// A text, or the texts of an array.
fn texts_of(array: &Arc<dyn Array>) -> Result<Vec<String>> {
    let texts = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(0),
        _ => Arc::clone(array),
    };
    let texts = arrow::compute::cast(&texts, &DataType::Utf8).map_err(Error::from)?;
    let texts = texts.as_string::<i32>();
    if texts.null_count() > 0 {
        return Err(Error::new(Kind::NullValueNotAllowed, "neither definitions nor paths may be NULL"));
    }
    Ok(texts.iter().flatten().map(str::to_owned).collect())
}

/// The workspace's objects, and when each was changed last.
fn changes_of(context: &StatementContext) -> Vec<(ObjectId, Version)> {
    let objects = objects_of(context.snapshot(), context.scope.workspace);
    objects.map(|object| (object.id(), object.header().changed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(sql: &str) -> Result<Option<(Call, Query)>> {
        taken(&query_of(sql).unwrap())
    }

    #[test]
    fn calls_are_found_wherever_they_stand() {
        for sql in [
            "SELECT * FROM granary.plan('x')",
            "SELECT a FROM (SELECT name AS a FROM granary.plan($1, paths => $2) p WHERE true) q ORDER BY 1",
            "WITH p AS (SELECT * FROM granary.plan(definitions => 'x')) SELECT count(*) FROM p",
        ] {
            let (call, query) = call(sql).unwrap().unwrap();
            assert_eq!(call.function, Function::Plan);
            assert!(call.arguments[0].is_some() && !query.to_string().contains("granary.plan('"), "{query}");
        }
        assert!(call("SELECT * FROM granary.jobs").unwrap().is_none());
        assert!(call("SELECT * FROM plan('x')").unwrap().is_none());
        assert!(calls_apply(&query_of("SELECT * FROM granary.apply(plan => 3)").unwrap()));
        assert!(!calls_apply(&query_of("SELECT * FROM granary.plan('granary.apply()')").unwrap()));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for sql in [
            "SELECT * FROM granary.plan('x', nothing => 1)",
            "SELECT * FROM granary.plan('x', definitions => 'y')",
            "SELECT * FROM granary.plan('a', ARRAY['b'], 'c', true, true, 'd')",
            "SELECT * FROM granary.plan('x'), granary.plan('y')",
        ] {
            assert!(call(sql).is_err(), "{sql}");
        }
    }
}
