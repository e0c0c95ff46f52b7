//! `has_table_privilege` and its like: what a role may do, as clients of PostgreSQL ask.
//!
//! Each takes `[role,] object, privileges`; of several privileges one is enough.

use granary_catalog::{NameSpace, Object, Privilege, Role};

use super::session::{Arguments, class_oid, function_oid, int, schema_oid, string};
use crate::access::{Access, Asker};
use crate::engine::tables::system::names::{columns, object_of};
use crate::engine::tables::system::{self, SystemContext};
use crate::error::{Error, Kind, Result};
use crate::row::Value;

type Answer = Result<Option<Value>>;

/// `has_table_privilege`
pub fn of_table(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    of_relation(context, arguments, holds)
}

/// `has_any_column_privilege`
pub fn of_any_column(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    of_relation(context, arguments, |access, object, wanted| match wanted {
        Some(privilege) => access.holds(object, privilege, None) || access.columns(object, privilege).next().is_some(),
        None => access.owns(object),
    })
}

fn of_relation(
    context: &SystemContext,
    arguments: Arguments<'_>,
    holds: impl Fn(&Access<'_>, &Object, Option<Privilege>) -> bool,
) -> Answer {
    let Some((asker, [relation, wanted])) = split(context, arguments)? else { return Ok(None) };
    let oid = relation_oid(context, relation)?;
    let access = asker.access(&context.scope.snapshot);
    answer(wanted, |privilege| match object_of(&context.scope.snapshot, oid) {
        Some(object) => holds(&access, object, privilege),
        // a system view
        None => privilege == Some(Privilege::Select) && system::of_oid(oid).is_some(),
    })
}

/// `has_column_privilege`
pub fn of_column(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    let Some((asker, [relation, column, wanted])) = split(context, arguments)? else { return Ok(None) };
    let oid = relation_oid(context, relation)?;
    let access = asker.access(&context.scope.snapshot);
    let Some(object) = object_of(&context.scope.snapshot, oid) else {
        return answer(wanted, |privilege| privilege == Some(Privilege::Select));
    };
    let columns = columns(&context.scope.snapshot, object);
    let name = match column {
        Value::Int(number) => {
            let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
            match index.and_then(|index| columns.get(index)) {
                Some(column) => column.name.clone(),
                None => return Ok(None),
            }
        }
        other => {
            let name = text(other);
            if columns.iter().all(|column| column.name != name) {
                let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name());
                return Err(Error::new(Kind::UndefinedColumn, message));
            }
            name
        }
    };
    answer(wanted, |privilege| match privilege {
        Some(privilege) => access.holds(object, privilege, Some(&name)),
        None => access.owns(object),
    })
}

/// `has_schema_privilege`
pub fn of_schema(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    let Some((asker, [schema, wanted])) = split(context, arguments)? else { return Ok(None) };
    let oid = match schema {
        Value::Int(oid) => *oid,
        other => {
            let name = text(other);
            let missing = || Error::new(Kind::InvalidSchemaName, format!("schema \"{name}\" does not exist"));
            schema_oid(context, &name).ok_or_else(missing)?
        }
    };
    let access = asker.access(&context.scope.snapshot);
    answer(wanted, |privilege| match object_of(&context.scope.snapshot, oid) {
        Some(object) => holds(&access, object, privilege),
        // a system schema
        None => privilege == Some(Privilege::Usage),
    })
}

/// `has_database_privilege`
pub fn of_database(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    let Some((asker, [database, wanted])) = split(context, arguments)? else { return Ok(None) };
    let snapshot = &context.scope.snapshot;
    let found = match database {
        Value::Int(oid) => object_of(snapshot, *oid),
        other => {
            let name = text(other);
            let found = snapshot.find(NameSpace::Workspaces, &name).map(AsRef::as_ref);
            let missing = || Error::new(Kind::InvalidCatalogName, format!("database \"{name}\" does not exist"));
            Some(found.ok_or_else(missing)?)
        }
    };
    let Some(object) = found else { return Ok(None) };
    let access = asker.access(snapshot);
    answer(wanted, |privilege| holds(&access, object, privilege))
}

fn holds(access: &Access<'_>, object: &Object, privilege: Option<Privilege>) -> bool {
    match privilege {
        Some(privilege) => access.holds(object, privilege, None),
        None => access.owns(object),
    }
}

/// `has_function_privilege`; what is built in may be called by everybody.
pub fn of_function(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    let Some((asker, [function, wanted])) = split(context, arguments)? else { return Ok(None) };
    let oid = match function {
        Value::Int(oid) => Some(*oid),
        other => function_oid(context, &text(other)),
    };
    let access = asker.access(&context.scope.snapshot);
    let object = oid.and_then(|oid| object_of(&context.scope.snapshot, oid));
    answer(wanted, |privilege| match (object, privilege) {
        (Some(object), Some(privilege)) => access.holds(object, privilege, None),
        (_, privilege) => privilege == Some(Privilege::Execute),
    })
}

/// `pg_has_role`
pub fn of_role(context: &SystemContext, arguments: Arguments<'_>) -> Answer {
    let Some((asker, [role, _])) = split(context, arguments)? else { return Ok(None) };
    let name = role_name(context, role)?;
    let snapshot = &context.scope.snapshot;
    let member = snapshot.role(&name).is_some_and(|role| asker.access(snapshot).is_member(role));
    Ok(Some(Value::Bool(member)))
}

/// Who is meant, and the other arguments; `None` if one of them is NULL.
fn split<'a, const COUNT: usize>(
    context: &SystemContext,
    arguments: Arguments<'a>,
) -> Result<Option<(Asker, [&'a Value; COUNT])>> {
    let Some(given) = arguments.iter().map(Option::as_ref).collect::<Option<Vec<&Value>>>() else { return Ok(None) };
    let (asker, rest) = match given.len().checked_sub(COUNT) {
        Some(0) => (Asker::role(&context.facts.user), given.as_slice()),
        Some(1) => (Asker::role(&role_name(context, given[0])?), &given[1..]),
        _ => return Err(Error::new(Kind::UndefinedFunction, format!("this takes {COUNT} or {} arguments", COUNT + 1))),
    };
    let rest = rest.try_into().map_err(|_| Error::internal("arguments of a function were counted wrong"))?;
    Ok(Some((asker, rest)))
}

fn role_name(context: &SystemContext, role: &Value) -> Result<String> {
    let snapshot = &context.scope.snapshot;
    let named = match role {
        Value::Int(oid) => object_of(snapshot, *oid).and_then(|object| object.downcast::<Role>()),
        other => snapshot.role(&text(other)),
    };
    let name = text(role);
    match named {
        Some(role) => Ok(role.header.name.clone()),
        // everybody: a role in no other
        None if name == "public" => Ok(name),
        // whoever has that OID has no rights
        None if matches!(role, Value::Int(_)) => Ok(String::new()),
        None => Err(Error::new(Kind::UndefinedObject, format!("role \"{name}\" does not exist"))),
    }
}

fn relation_oid(context: &SystemContext, relation: &Value) -> Result<i64> {
    if let Value::Int(oid) = relation {
        return Ok(*oid);
    }
    let name = text(relation);
    let missing = || Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"));
    int(&[Some(relation.clone())], 0).or_else(|| class_oid(context, &name)).ok_or_else(missing)
}

fn text(value: &Value) -> String {
    string(&[Some(value.clone())], 0).unwrap_or_default()
}

/// Whether one of the privileges of a list is held; `None` stands for one that only owners have.
fn answer(wanted: &Value, holds: impl Fn(Option<Privilege>) -> bool) -> Answer {
    let list = text(wanted);
    for word in list.split(',').map(str::trim) {
        let privilege = match word.to_ascii_uppercase().as_str() {
            "SELECT" => Some(Privilege::Select),
            "INSERT" => Some(Privilege::Insert),
            "UPDATE" => Some(Privilege::Update),
            "DELETE" => Some(Privilege::Delete),
            "USAGE" => Some(Privilege::Usage),
            "CREATE" => Some(Privilege::Create),
            "CONNECT" => Some(Privilege::Connect),
            "EXECUTE" => Some(Privilege::Execute),
            "TRUNCATE" | "REFERENCES" | "TRIGGER" | "TEMPORARY" | "TEMP" => None,
            granted if granted.ends_with(" WITH GRANT OPTION") => None,
            _ => {
                return Err(Error::new(
                    Kind::InvalidParameterValue,
                    format!("unrecognized privilege type: \"{word}\""),
                ));
            }
        };
        if holds(privilege) {
            return Ok(Some(Value::Bool(true)));
        }
    }
    Ok(Some(Value::Bool(false)))
}
