//! Functions of users, and the language that they are written in.

use granary_catalog::{Function, Object, Volatility};

use super::super::names::{oid_of, type_name, type_of};
use super::super::rows::{Rows, row};
use super::{SystemContext, acl};
use crate::error::Result;

/// `sql`, as in PostgreSQL.
const LANGUAGE_SQL: i64 = 14;

impl SystemContext {
    fn functions(&self) -> impl Iterator<Item = (&Object, &Function)> {
        self.objects().filter_map(|object| Some((object, object.downcast::<Function>()?)))
    }
}

pub fn pg_proc(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (object, function) in context.functions() {
        let types: Vec<i64> = function.arguments.iter().map(|argument| type_of(&argument.data_type).0).collect();
        let is_named = function.arguments.iter().any(|argument| argument.name.is_some());
        let names = function.arguments.iter().map(|argument| argument.name.clone().unwrap_or_default());
        row!(rows,
            oid: oid_of(object.id()),
            proname: object.name(),
            pronamespace: context.schema_oid(object),
            proowner: context.role_oid(&object.header().owner),
            prolang: LANGUAGE_SQL,
            procost: 100.0,
            prokind: "f",
            proisstrict: function.strict,
            provolatile: volatility_letter(function.volatility),
            proparallel: "u",
            pronargs: types.len(),
            prorettype: type_of(&function.returns).0,
            proargtypes: types,
            proargnames: is_named.then(|| names.collect::<Vec<_>>()),
            prosrc: &function.body,
            proacl: acl::of(&context.scope.snapshot, object),
        );
    }
    Ok(())
}

fn volatility_letter(volatility: Volatility) -> &'static str {
    match volatility {
        Volatility::Immutable => "i",
        Volatility::Stable => "s",
        Volatility::Volatile => "v",
    }
}

pub fn routines(context: &SystemContext, rows: &mut Rows) -> Result<()> {
    for (object, function) in context.functions() {
        row!(rows,
            specific_catalog: &context.facts.database,
            specific_schema: context.schema_name(object),
            specific_name: format!("{}_{}", object.name(), oid_of(object.id())),
            routine_catalog: &context.facts.database,
            routine_schema: context.schema_name(object),
            routine_name: object.name(),
            routine_type: "FUNCTION",
            data_type: type_name(&function.returns),
            routine_body: "SQL",
            routine_definition: &function.body,
            external_language: "SQL",
            parameter_style: "GENERAL",
            is_deterministic: if function.volatility == Volatility::Immutable { "YES" } else { "NO" },
            sql_data_access: "MODIFIES",
            is_null_call: if function.strict { "YES" } else { "NO" },
            security_type: "INVOKER",
        );
    }
    Ok(())
}

/// `a integer, text`: the arguments as CREATE FUNCTION says them.
pub fn arguments_text(function: &Function) -> String {
    let argument = |argument: &granary_catalog::FunctionArgument| match &argument.name {
        Some(name) => format!("{} {}", granary_sql::name::quote(name), type_name(&argument.data_type)),
        None => type_name(&argument.data_type),
    };
    function.arguments.iter().map(argument).collect::<Vec<_>>().join(", ")
}
