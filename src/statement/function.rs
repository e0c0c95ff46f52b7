//! `CREATE FUNCTION`: its expression is planned once, for its type and its errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use granary_catalog::{Change, Function, FunctionArgument, Header, Object, ObjectKind, Privilege, Volatility};
use granary_sql::Signature;
use granary_sql::name::fold;
use granary_sql::statement::{self, CreateFunction};
use sqlparser::ast::ObjectName;

use super::context::{NewObject, StatementContext, check_options};
use super::select::{self, shift_text};
use super::types;
use crate::engine::is_built_in;
use crate::error::{Error, Kind, Result};
use crate::row::type_name;

pub fn create(context: &mut StatementContext, create: &CreateFunction) -> Result<()> {
    check_options(&create.options, &[])?;
    let (schema, name) = context.new_name(&create.name)?;
    let existing = context.existing(schema, ObjectKind::Function, &name).cloned();
    let (mut function, is_immutable) = definition(context, create, &name)?;
    if let Some(object) = existing
        && let Some(old) = object.downcast::<Function>()
        && !create.if_not_exists
    {
        check_existing(create, old, &function).map_err(|error| context.at(&create.name, error))?;
    } else if is_built_in(&context.planner(), &name) {
        let error = Error::new(Kind::DuplicateFunction, format!("function \"{name}\" already exists"));
        let error = error.with_detail("It is built in.").with_hint("give the new one another name");
        return Err(context.at(&create.name, error));
    }
    let header = context.new_header(NewObject {
        kind: ObjectKind::Function,
        name: &create.name,
        or_replace: create.or_replace,
        if_not_exists: create.if_not_exists,
        options: &create.options,
        comment: create.comment.clone(),
        statement: CreateFunction { or_replace: false, if_not_exists: false, ..create.clone() }.to_string(),
    })?;
    let Some(header) = header else { return Ok(()) };
    if let Some(existing) = context.snapshot().get(header.id).and_then(|object| object.downcast::<Function>()) {
        check_stored_values(context, existing, &function)?;
        if !is_immutable {
            check_realtime_views(context, existing)?;
        }
    }
    function.header = header;
    context.changes.push(Change::put(function));
    Ok(())
}

/// The function as it is written, with its expression checked, and whether its arguments alone decide its value.
fn definition(context: &StatementContext, create: &CreateFunction, name: &str) -> Result<(Function, bool)> {
    let mut arguments = Vec::with_capacity(create.arguments.len());
    for argument in &create.arguments {
        let data_type = types::data_type(&argument.data_type.ast)?;
        arguments.push(FunctionArgument { name: argument.name.as_ref().map(fold), data_type });
    }
    let body = create.body.query();
    let placed = |error| match &create.body {
        statement::FunctionBody::Query(text) => shift_text(context, text, 0, error),
        statement::FunctionBody::Return(expression) => shift_text(context, &expression.text, "SELECT ".len(), error),
    };
    let home = context.home(context.new_name(&create.name)?.0);
    let function = Function {
        header: Header::new(context.snapshot().next_id(), home, name, &context.role),
        arguments,
        returns: types::data_type(&create.returns.ast)?,
        depends_on: select::functions_called(context, &body)?,
        body,
        strict: create.strict,
        volatility: match create.volatility {
            Some(statement::Volatility::Immutable) => Volatility::Immutable,
            Some(statement::Volatility::Stable) => Volatility::Stable,
            Some(statement::Volatility::Volatile) | None => Volatility::Volatile,
        },
    };
    check_callees(context, &function)?;
    let is_immutable = context.planner().check_function(&function).map_err(placed)?;
    Ok((function, is_immutable))
}

/// The author must have the right to call what the function calls, which is known by its name ever after.
fn check_callees(context: &StatementContext, function: &Function) -> Result<()> {
    let mut names = BTreeSet::new();
    for object in function.depends_on.iter().filter_map(|id| context.snapshot().get(*id)) {
        context.scope.access().check(object, Privilege::Execute)?;
        if !names.insert(object.name()) {
            let what = format!("two functions \"{}\" of different schemas in the body of a function", object.name());
            return Err(Error::not_supported(what));
        }
    }
    Ok(())
}

/// Whether the new definition may stand in the place of the old one, as in PostgreSQL; there is one of a name.
fn check_existing(create: &CreateFunction, old: &Function, new: &Function) -> Result<()> {
    let name = &old.header.name;
    let types = |function: &Function| -> Vec<_> {
        function.arguments.iter().map(|argument| argument.data_type.clone()).collect()
    };
    if types(old) != types(new) {
        return Err(Error::not_supported(format!("a second function \"{name}\" with other arguments"))
            .with_hint(format!("give it another name, or DROP FUNCTION {name} first")));
    }
    if !create.or_replace {
        let message = format!("function \"{name}\" already exists with same argument types");
        return Err(Error::new(Kind::DuplicateFunction, message).with_hint("type CREATE OR REPLACE FUNCTION"));
    }
    let hint = format!("use DROP FUNCTION {} first", signature_of(old));
    if old.returns != new.returns {
        let message = "cannot change return type of existing function";
        return Err(Error::new(Kind::InvalidFunctionDefinition, message).with_hint(hint));
    }
    let renamed =
        old.arguments.iter().zip(&new.arguments).find(|(old, new)| old.name.is_some() && old.name != new.name);
    if let Some((FunctionArgument { name: Some(name), .. }, _)) = renamed {
        let message = format!("cannot change name of input parameter \"{name}\"");
        return Err(Error::new(Kind::InvalidFunctionDefinition, message).with_hint(hint));
    }
    Ok(())
}

/// What a feature view has stored was computed by the old definition, and no refresh would compute it anew.
fn check_stored_values(context: &StatementContext, old: &Function, new: &Function) -> Result<()> {
    let is_same = old.body == new.body && old.strict == new.strict && old.depends_on == new.depends_on;
    if is_same || !context.scope.is_live() {
        return Ok(());
    }
    let message = format!("cannot change function \"{}\" because feature views store what it gives", old.header.name);
    let hint = "make a new function under another name, and CREATE OR REPLACE the views with it";
    refuse_for(context, old, ObjectKind::FeatureView, message, hint)
}

/// A realtime feature view gives the same again for the same values, so what it calls does.
fn check_realtime_views(context: &StatementContext, old: &Function) -> Result<()> {
    let message = format!(
        "function \"{}\" must give the same again for the same values because realtime feature views call it",
        old.header.name
    );
    refuse_for(context, old, ObjectKind::RealtimeView, message, "make a new function under another name")
}

/// The error of a change that objects of this kind do not bear, if any depends on the function.
fn refuse_for(
    context: &StatementContext,
    function: &Function,
    kind: ObjectKind,
    message: String,
    hint: &str,
) -> Result<()> {
    let dependents = context.snapshot().dependents(function.header.id);
    let dependents = dependents.into_iter().filter(|object| object.kind() == kind);
    let names: Vec<String> = dependents.map(|object| format!("{} \"{}\"", kind.as_str(), object.name())).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::DependentObjectsStillExist, message)
        .with_detail(format!("These depend on it: {}.", names.join(", ")))
        .with_hint(hint))
}

fn signature_of(function: &Function) -> String {
    let types: Vec<String> = function.arguments.iter().map(|argument| type_name(&argument.data_type)).collect();
    format!("{}({})", function.header.name, types.join(", "))
}

/// The function that a statement names, with or without its arguments.
pub fn find(context: &StatementContext, name: &ObjectName, signature: Option<&Signature>) -> Result<Arc<Object>> {
    let object = context.find(ObjectKind::Function, name)?;
    let (Some(Signature(given)), Some(function)) = (signature, object.downcast::<Function>()) else {
        return Ok(object);
    };
    let given = given.iter().map(|given| types::data_type(&given.ast)).collect::<Result<Vec<_>>>()?;
    if given.iter().eq(function.arguments.iter().map(|argument| &argument.data_type)) {
        return Ok(object);
    }
    let given: Vec<String> = given.iter().map(type_name).collect();
    let message = format!("function {}({}) does not exist", function.header.name, given.join(", "));
    let error = Error::new(Kind::UndefinedFunction, message);
    Err(context.at(name, error.with_hint(format!("there is {}", signature_of(function)))))
}
