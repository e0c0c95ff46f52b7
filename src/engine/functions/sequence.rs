//! nextval, currval, lastval and setval. What a session was given last is its own; the numbers are everybody's.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use granary_catalog::{Object, Sequence, SequenceState};
use sqlparser::ast;

use super::session::{Arguments, int, parse_name, string};
use crate::engine::tables::system::SystemContext;
use crate::engine::tables::system::names::object_of;
use crate::error::{Error, Kind, Result};
use crate::row::Value;

/// Those that give another number each time.
pub const VOLATILE: [&str; 2] = ["nextval", "setval"];

/// What a session was given last.
#[derive(Debug, Default)]
pub struct SessionSequences(Mutex<Given>);

#[derive(Debug, Default)]
struct Given {
    /// by what the sequence's numbers are kept under
    values: HashMap<u64, i64>,
    last: Option<u64>,
}

impl SessionSequences {
    fn given(&self) -> MutexGuard<'_, Given> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn found<'c>(context: &'c SystemContext, arguments: Arguments<'_>) -> Result<Option<&'c Sequence>> {
    if matches!(arguments.first(), None | Some(None)) {
        return Ok(None);
    }
    let by_oid = match arguments.first() {
        Some(Some(Value::Int(oid))) => object_of(&context.scope.snapshot, *oid),
        _ => None,
    };
    let name = string(arguments, 0).unwrap_or_default();
    let object = match by_oid {
        Some(object) => Some(object),
        None => context.scope.relation(&parse_name(&name))?.map(AsRef::as_ref),
    };
    match object {
        Some(Object::Sequence(sequence)) => Ok(Some(sequence)),
        Some(object) => Err(Error::new(Kind::WrongObjectType, format!("\"{}\" is not a sequence", object.name()))),
        None => Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}

pub fn next(context: &SystemContext, arguments: Arguments<'_>) -> Result<Option<Value>> {
    let Some(sequence) = found(context, arguments)? else { return Ok(None) };
    let name = &sequence.header.name;
    let Some(value) = context.catalog.sequences().next(sequence)? else {
        let (end, limit) = match sequence.increment > 0 {
            true => ("maximum", sequence.max_value),
            false => ("minimum", sequence.min_value),
        };
        let message = format!("nextval: reached {end} value of sequence \"{name}\" ({limit})");
        return Err(Error::new(Kind::SequenceLimitExceeded, message));
    };
    let mut given = context.facts.sequences.given();
    given.values.insert(sequence.storage_id, value);
    given.last = Some(sequence.storage_id);
    Ok(Some(Value::Int(value)))
}

pub fn current(context: &SystemContext, arguments: Arguments<'_>) -> Result<Option<Value>> {
    let Some(sequence) = found(context, arguments)? else { return Ok(None) };
    let value = context.facts.sequences.given().values.get(&sequence.storage_id).copied();
    let name = &sequence.header.name;
    let missing = || {
        let message = format!("currval of sequence \"{name}\" is not yet defined in this session");
        Error::new(Kind::ObjectNotInPrerequisiteState, message)
    };
    value.map(|value| Some(Value::Int(value))).ok_or_else(missing)
}

pub fn last(context: &SystemContext, _: Arguments<'_>) -> Result<Option<Value>> {
    let given = context.facts.sequences.given();
    let value = given.last.and_then(|last| given.values.get(&last)).copied();
    let missing = || Error::new(Kind::ObjectNotInPrerequisiteState, "lastval is not yet defined in this session");
    value.map(|value| Some(Value::Int(value))).ok_or_else(missing)
}

pub fn set(context: &SystemContext, arguments: Arguments<'_>) -> Result<Option<Value>> {
    let (Some(sequence), Some(value)) = (found(context, arguments)?, int(arguments, 1)) else { return Ok(None) };
    if !(sequence.min_value..=sequence.max_value).contains(&value) {
        let (name, min, max) = (&sequence.header.name, sequence.min_value, sequence.max_value);
        let message = format!("setval: value {value} is out of bounds for sequence \"{name}\" ({min}..{max})");
        return Err(Error::new(Kind::NumericValueOutOfRange, message));
    }
    let is_called = !matches!(arguments.get(2), Some(Some(Value::Bool(false))));
    context.catalog.sequences().set(sequence, SequenceState { last_value: value, is_called })?;
    if is_called {
        context.facts.sequences.given().values.insert(sequence.storage_id, value);
    }
    Ok(Some(Value::Int(value)))
}

/// The argument of a call of nextval that is written out, `'s'` or `'s'::regclass`: a name.
fn written_out(expr: &ast::Expr) -> Option<&str> {
    let ast::Expr::Function(function) = expr else { return None };
    let name = function.name.to_string();
    if !name.trim_start_matches("pg_catalog.").eq_ignore_ascii_case("nextval") {
        return None;
    }
    let ast::FunctionArguments::List(list) = &function.args else { return None };
    let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))) = list.args.first() else { return None };
    let mut argument = argument;
    while let ast::Expr::Cast { expr, .. } | ast::Expr::Nested(expr) = argument {
        argument = expr;
    }
    match argument {
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

/// The name of the sequence that an expression takes numbers of.
pub fn sequence_named(expr: &ast::Expr) -> Option<String> {
    let mut name = None;
    let _ = ast::visit_expressions(expr, |expr| {
        name = written_out(expr).map(str::to_owned).or(name.take());
        ControlFlow::<()>::Continue(())
    });
    name
}

/// The same expression with another name in such calls.
pub fn with_sequence_name(mut expr: ast::Expr, name: &str) -> ast::Expr {
    let _ = ast::visit_expressions_mut(&mut expr, |expr| {
        if written_out(expr).is_some()
            && let ast::Expr::Function(function) = expr
            && let ast::FunctionArguments::List(list) = &mut function.args
        {
            let literal = ast::Value::SingleQuotedString(name.to_owned()).with_empty_span();
            list.args[0] = ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(ast::Expr::Value(literal)));
        }
        ControlFlow::<()>::Continue(())
    });
    expr
}
