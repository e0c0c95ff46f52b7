//! `CREATE SEQUENCE`, and those of serial and identity columns.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use granary_catalog::{Change, Column, Header, ObjectId, ObjectKind, Sequence};
use granary_sql::name::fold;
use sqlparser::ast;

use super::context::{NewObject, StatementContext};
use super::table::{free_name, new_storage_id};
use super::types;
use crate::error::{Error, Kind, Result};

/// What `CREATE SEQUENCE` says.
pub struct NewSequence<'a> {
    pub is_temporary: bool,
    pub if_not_exists: bool,
    pub name: &'a ast::ObjectName,
    pub data_type: Option<&'a ast::DataType>,
    pub options: &'a [ast::SequenceOptions],
    pub owned_by: Option<&'a ast::ObjectName>,
}

pub fn create(context: &mut StatementContext, new: &NewSequence<'_>, statement: &str) -> Result<()> {
    let data_type = match new.data_type {
        None => DataType::Int64,
        Some(data_type) => types::data_type(data_type)?,
    };
    let owned_by = match new.owned_by {
        Some(column) if !column.to_string().eq_ignore_ascii_case("none") => Some(owner(context, column)?),
        _ => None,
    };
    let new_object = NewObject {
        kind: ObjectKind::Sequence,
        name: new.name,
        or_replace: false,
        if_not_exists: new.if_not_exists,
        options: &granary_sql::Options::default(),
        comment: None,
        statement: statement.to_owned(),
    };
    let header = match new.is_temporary || context.is_temporary_name(new.name) {
        true => context.new_temporary_header(new_object)?,
        false => context.new_header(new_object)?,
    };
    let Some(header) = header else { return Ok(()) };
    let mut sequence = sequence(header, &data_type, new.options)?;
    sequence.owned_by = owned_by;
    context.changes.push(Change::put(sequence));
    Ok(())
}

/// The table and column of `OWNED BY t.c`.
fn owner(context: &StatementContext, name: &ast::ObjectName) -> Result<(ObjectId, String)> {
    let mut parts = name.0.clone();
    let column = parts.pop().and_then(|part| part.as_ident().map(fold)).unwrap_or_default();
    let table = context.find(ObjectKind::Table, &ast::ObjectName(parts))?;
    Ok((table.id(), column))
}

/// The sequence of a column, named after it.
pub fn of_column(
    context: &StatementContext,
    table: &Header,
    (id, column): (ObjectId, &Column),
    options: &[ast::SequenceOptions],
) -> Result<Sequence> {
    let start = format!("{}_{}", table.name, column.name);
    let name = free_name(&start, "seq", |name| context.is_relation_name(table.home, name));
    let header = Header::new(id, table.home, &name, &table.owner).with_statement(format!("CREATE SEQUENCE {name}"));
    let mut sequence = sequence(header, &column.data_type, options)?;
    sequence.owned_by = Some((table.id, column.name.clone()));
    Ok(sequence)
}

fn sequence(header: Header, data_type: &DataType, options: &[ast::SequenceOptions]) -> Result<Sequence> {
    let (name, min, max) = match data_type {
        DataType::Int16 => ("smallint", i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => ("integer", i64::from(i32::MIN), i64::from(i32::MAX)),
        DataType::Int64 => ("bigint", i64::MIN, i64::MAX),
        _ => {
            let message = "sequence type must be smallint, integer, or bigint";
            return Err(Error::new(Kind::InvalidParameterValue, message));
        }
    };
    let wrong = |message: String| Err(Error::new(Kind::InvalidParameterValue, message));
    let (mut increment, mut min_value, mut max_value, mut start, mut cycle) = (1, None, None, None, false);
    for option in options {
        match option {
            ast::SequenceOptions::IncrementBy(value, _) => increment = number(value)?,
            ast::SequenceOptions::MinValue(value) => min_value = value.as_ref().map(number).transpose()?,
            ast::SequenceOptions::MaxValue(value) => max_value = value.as_ref().map(number).transpose()?,
            ast::SequenceOptions::StartWith(value, _) => start = Some(number(value)?),
            ast::SequenceOptions::Cache(value) => {
                let cache = number(value)?;
                if cache < 1 {
                    return wrong(format!("CACHE ({cache}) must be greater than zero"));
                }
            }
            // sqlparser says it the other way round
            ast::SequenceOptions::Cycle(no) => cycle = !no,
        }
    }
    if increment == 0 {
        return wrong("INCREMENT must not be zero".to_owned());
    }
    let (default_min, default_max) = if increment > 0 { (1, max) } else { (min, -1) };
    let (min_value, max_value) = (min_value.unwrap_or(default_min), max_value.unwrap_or(default_max));
    if min_value < min || min_value > max {
        return wrong(format!("MINVALUE ({min_value}) is out of range for sequence data type {name}"));
    }
    if max_value < min || max_value > max {
        return wrong(format!("MAXVALUE ({max_value}) is out of range for sequence data type {name}"));
    }
    if min_value >= max_value {
        return wrong(format!("MINVALUE ({min_value}) must be less than MAXVALUE ({max_value})"));
    }
    let start = start.unwrap_or(if increment > 0 { min_value } else { max_value });
    if start < min_value {
        return wrong(format!("START value ({start}) cannot be less than MINVALUE ({min_value})"));
    }
    if start > max_value {
        return wrong(format!("START value ({start}) cannot be greater than MAXVALUE ({max_value})"));
    }
    let (storage_id, data_type) = (new_storage_id()?, name.to_owned());
    Ok(Sequence { header, storage_id, data_type, increment, min_value, max_value, start, cycle, owned_by: None })
}

fn number(expr: &ast::Expr) -> Result<i64> {
    let text = expr.to_string().replace(' ', "");
    text.parse().map_err(|_| Error::new(Kind::Syntax, format!("{text} is not a whole number")))
}

/// The sequence that an expression takes numbers of.
pub fn named_by(context: &StatementContext, expr: &ast::Expr) -> Result<Option<ObjectId>> {
    let mut name = None;
    let _ = ast::visit_expressions(expr, |expr| {
        if let ast::Expr::Function(function) = expr
            && function.name.to_string().eq_ignore_ascii_case("nextval")
            && let ast::FunctionArguments::List(list) = &function.args
            && let Some(ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))) = list.args.first()
        {
            let mut argument = argument;
            while let ast::Expr::Cast { expr, .. } | ast::Expr::Nested(expr) = argument {
                argument = expr;
            }
            if let ast::Expr::Value(value) = argument
                && let ast::Value::SingleQuotedString(text) = &value.value
            {
                name = Some(text.clone());
            }
        }
        ControlFlow::<()>::Continue(())
    });
    let Some(name) = name else { return Ok(None) };
    let reference = crate::engine::parse_name(&name);
    let found = context.scope.relation(&reference)?;
    match found {
        Some(object) if object.kind() == ObjectKind::Sequence => Ok(Some(object.id())),
        Some(_) => Err(Error::new(Kind::WrongObjectType, format!("\"{name}\" is not a sequence"))),
        None => Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}
