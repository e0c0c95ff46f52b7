//! `CREATE SEQUENCE`, `ALTER SEQUENCE`, and those of serial and identity columns.

use arrow::datatypes::DataType;
use granary_catalog::{Change, Column, Header, ObjectId, ObjectKind, Sequence, SequenceState, Table};
use granary_sql::name::fold;
use granary_sql::statement::{AlterSequence, SequenceChange};
use sqlparser::ast;

use super::context::{NewObject, StatementContext};
use super::table::{free_name, new_storage_id};
use super::types;
use crate::engine::sequence_named;
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
    check_owner(context, &sequence)?;
    context.changes.push(Change::put(sequence));
    Ok(())
}

pub fn alter(context: &mut StatementContext, alter: &AlterSequence) -> Result<()> {
    let found = match context.find(ObjectKind::Sequence, &alter.name) {
        Ok(found) => found,
        Err(error) if alter.if_exists && error.kind() == Kind::UndefinedTable => {
            context.notices.push(Error::new(error.kind(), format!("{}, skipping", error.message())));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let Some(before) = found.downcast::<Sequence>() else {
        return Err(Error::internal("a sequence is of another kind"));
    };
    let (mut said, mut data_type, mut restart) = (Said::default(), None, None);
    let mut sequence = before.clone();
    for change in &alter.changes {
        match change {
            SequenceChange::As(named) => data_type = Some(types::data_type(&named.ast)?),
            SequenceChange::Increment(value) => said.increment = Some(*value),
            SequenceChange::MinValue(value) => said.min_value = Some(*value),
            SequenceChange::MaxValue(value) => said.max_value = Some(*value),
            SequenceChange::Start(value) => said.start = Some(*value),
            SequenceChange::Cache(value) => said.cache = Some(*value),
            SequenceChange::Cycle(cycle) => said.cycle = Some(*cycle),
            SequenceChange::Restart(value) => restart = Some(*value),
            SequenceChange::OwnedBy(column) => {
                let is_identity = before.owned_by.as_ref().is_some_and(|(table, column)| {
                    let table = context.snapshot().get(*table).and_then(|object| object.downcast::<Table>());
                    let column = table.and_then(|table| table.columns.iter().find(|other| other.name == *column));
                    column.and_then(|column| column.default.as_ref()).is_some_and(|default| default.identity.is_some())
                });
                if is_identity {
                    let message = "cannot change ownership of identity sequence";
                    return Err(Error::new(Kind::FeatureNotSupported, message));
                }
                sequence.owned_by = column.as_ref().map(|column| owner(context, column)).transpose()?;
                check_owner(context, &sequence)?;
            }
        }
    }
    settle(&mut sequence, data_type.as_ref(), &said, Age::Old)?;
    let sequences = context.warehouse.catalog.sequences();
    let now = match restart {
        Some(value) => value.unwrap_or(sequence.start),
        None => sequences.state(before)?.last_value,
    };
    check_range("RESTART", now, &sequence)?;
    if restart.is_some() {
        // what nobody knows before the commit, and ROLLBACK takes back
        sequence.storage_id = new_storage_id()?;
        sequences.set(&sequence, SequenceState { last_value: now, is_called: false })?;
    }
    context.changes.push(Change::put(sequence));
    Ok(())
}

/// The table and column of `OWNED BY t.c`.
fn owner(context: &StatementContext, name: &ast::ObjectName) -> Result<(ObjectId, String)> {
    let mut parts = name.0.clone();
    let column = parts.pop().and_then(|part| part.as_ident().map(fold)).unwrap_or_default();
    let table = context.find(ObjectKind::Table, &ast::ObjectName(parts))?;
    let has_column = table.downcast::<Table>().is_some_and(|table| table.columns.iter().any(|own| own.name == column));
    if !has_column {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", table.name());
        return Err(Error::new(Kind::UndefinedColumn, message));
    }
    Ok((table.id(), column))
}

/// A sequence is in the schema of the table that it goes with, and of its owner.
fn check_owner(context: &StatementContext, sequence: &Sequence) -> Result<()> {
    let table = sequence.owned_by.as_ref().and_then(|(table, _)| context.snapshot().get(*table));
    let Some(table) = table else { return Ok(()) };
    let what = match table {
        table if table.header().owner != sequence.header.owner => "have same owner as",
        table if table.home() != sequence.header.home => "be in same schema as",
        _ => return Ok(()),
    };
    let message = format!("sequence must {what} table it is linked to");
    Err(Error::new(Kind::ObjectNotInPrerequisiteState, message))
}

/// The sequence of a column, named after it.
pub fn of_column(
    context: &StatementContext,
    table: &Header,
    (id, column): (ObjectId, &Column),
    options: &[ast::SequenceOptions],
) -> Result<Sequence> {
    let start = format!("{}_{}", table.name, column.name);
    let name = match granary_sql::identity_sequence(&context.text) {
        Some(name) => own_name(context, table, &name)?,
        None => free_name(&start, "seq", |name| context.is_relation_name(table.home, name)),
    };
    let header = Header::new(id, table.home, &name, &table.owner).with_statement(format!("CREATE SEQUENCE {name}"));
    let mut sequence = sequence(header, &column.data_type, options)?;
    sequence.owned_by = Some((table.id, column.name.clone()));
    Ok(sequence)
}

/// The name that `SEQUENCE NAME` says, which is in the table's schema.
fn own_name(context: &StatementContext, table: &Header, name: &ast::ObjectName) -> Result<String> {
    let parts = granary_sql::name::parts(name);
    let (name, schema) = (parts.last().cloned().unwrap_or_default(), parts.iter().rev().nth(1));
    let home = context.snapshot().get(table.id).and_then(|object| context.snapshot().schema_of(object));
    if schema.is_some_and(|schema| home.is_some_and(|home| home.header.name != *schema)) {
        let message = "sequence must be in same schema as table it is linked to";
        return Err(Error::new(Kind::ObjectNotInPrerequisiteState, message));
    }
    if context.is_relation_name(table.home, &name) {
        return Err(Error::new(Kind::DuplicateTable, format!("relation \"{name}\" already exists")));
    }
    Ok(name)
}

/// What is said of a sequence's numbers.
#[derive(Default)]
struct Said {
    increment: Option<i64>,
    /// within: none, which is what the type and the direction have
    min_value: Option<Option<i64>>,
    max_value: Option<Option<i64>>,
    start: Option<i64>,
    cache: Option<i64>,
    cycle: Option<bool>,
}

/// Whether a sequence had numbers before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Old,
}

fn sequence(header: Header, data_type: &DataType, options: &[ast::SequenceOptions]) -> Result<Sequence> {
    let mut said = Said::default();
    for option in options {
        match option {
            ast::SequenceOptions::IncrementBy(value, _) => said.increment = Some(number(value)?),
            ast::SequenceOptions::MinValue(value) => said.min_value = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::MaxValue(value) => said.max_value = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::StartWith(value, _) => said.start = Some(number(value)?),
            ast::SequenceOptions::Cache(value) => said.cache = Some(number(value)?),
            // sqlparser says it the other way round
            ast::SequenceOptions::Cycle(no) => said.cycle = Some(!no),
        }
    }
    let mut sequence = Sequence {
        header,
        storage_id: new_storage_id()?,
        data_type: "bigint".to_owned(),
        increment: 1,
        min_value: 1,
        max_value: i64::MAX,
        start: 1,
        cycle: false,
        owned_by: None,
    };
    settle(&mut sequence, Some(data_type), &said, Age::New)?;
    Ok(sequence)
}

fn wrong<T>(message: String) -> Result<T> {
    Err(Error::new(Kind::InvalidParameterValue, message))
}

/// The name of a type of numbers, its least and its greatest.
fn range_of(data_type: &DataType) -> Result<(&'static str, i64, i64)> {
    match data_type {
        DataType::Int16 => Ok(("smallint", i64::from(i16::MIN), i64::from(i16::MAX))),
        DataType::Int32 => Ok(("integer", i64::from(i32::MIN), i64::from(i32::MAX))),
        DataType::Int64 => Ok(("bigint", i64::MIN, i64::MAX)),
        _ => wrong("sequence type must be smallint, integer, or bigint".to_owned()),
    }
}

/// Makes a sequence what is said of it. Limits that were those of its type go with the type.
fn settle(sequence: &mut Sequence, data_type: Option<&DataType>, said: &Said, age: Age) -> Result<()> {
    let own = match sequence.data_type.as_str() {
        "smallint" => DataType::Int16,
        "integer" => DataType::Int32,
        _ => DataType::Int64,
    };
    let (_, old_min, old_max) = range_of(&own)?;
    let (name, min, max) = range_of(data_type.unwrap_or(&own))?;
    let increment = said.increment.unwrap_or(sequence.increment);
    if let Some(cache) = said.cache.filter(|cache| *cache < 1) {
        return wrong(format!("CACHE ({cache}) must be greater than zero"));
    }
    if increment == 0 {
        return wrong("INCREMENT must not be zero".to_owned());
    }
    let (default_min, default_max) = if increment > 0 { (1, max) } else { (min, -1) };
    let is_other_type = sequence.data_type != name;
    let limit = |said: Option<Option<i64>>, (own, old): (i64, i64), default: i64| match said {
        Some(value) => value.unwrap_or(default),
        None if age == Age::New || is_other_type && own == old => default,
        None => own,
    };
    let min_value = limit(said.min_value, (sequence.min_value, old_min), default_min);
    let max_value = limit(said.max_value, (sequence.max_value, old_max), default_max);
    if min_value < min || min_value > max {
        return wrong(format!("MINVALUE ({min_value}) is out of range for sequence data type {name}"));
    }
    if max_value < min || max_value > max {
        return wrong(format!("MAXVALUE ({max_value}) is out of range for sequence data type {name}"));
    }
    if min_value >= max_value {
        return wrong(format!("MINVALUE ({min_value}) must be less than MAXVALUE ({max_value})"));
    }
    let start = match said.start {
        Some(start) => start,
        None if age == Age::Old => sequence.start,
        None if increment > 0 => min_value,
        None => max_value,
    };
    name.clone_into(&mut sequence.data_type);
    (sequence.increment, sequence.min_value, sequence.max_value) = (increment, min_value, max_value);
    (sequence.start, sequence.cycle) = (start, said.cycle.unwrap_or(sequence.cycle));
    check_range("START", start, sequence)
}

fn check_range(what: &str, value: i64, sequence: &Sequence) -> Result<()> {
    let (min_value, max_value) = (sequence.min_value, sequence.max_value);
    if value < min_value {
        return wrong(format!("{what} value ({value}) cannot be less than MINVALUE ({min_value})"));
    }
    if value > max_value {
        return wrong(format!("{what} value ({value}) cannot be greater than MAXVALUE ({max_value})"));
    }
    Ok(())
}

fn number(expr: &ast::Expr) -> Result<i64> {
    let text = expr.to_string().replace(' ', "");
    text.parse().map_err(|_| Error::new(Kind::Syntax, format!("{text} is not a whole number")))
}

/// The sequence that an expression takes numbers of.
pub fn named_by(context: &StatementContext, expr: &ast::Expr) -> Result<Option<ObjectId>> {
    let Some(name) = sequence_named(expr) else { return Ok(None) };
    let reference = crate::engine::parse_name(&name);
    let found = context.scope.relation(&reference)?;
    match found {
        Some(object) if object.kind() == ObjectKind::Sequence => Ok(Some(object.id())),
        Some(_) => Err(Error::new(Kind::WrongObjectType, format!("\"{name}\" is not a sequence"))),
        None => Err(Error::new(Kind::UndefinedTable, format!("relation \"{name}\" does not exist"))),
    }
}
