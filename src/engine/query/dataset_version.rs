//! Which version of a dataset a query reads: `dataset('d', 2)`, or the newest as of a time.

use granary_catalog::{Dataset, DatasetVersion};
use granary_sql::timestamp::format_timestamp;
use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Spanned, TableFactor, TableFunctionArgs, Value,
};

use crate::engine::functions::session::parse_name;
use crate::error::{Error, Kind, Result};

/// The table function that reads a version by its number.
const FUNCTION: &str = "dataset";

/// What a call of the table function reads: the dataset's name, and a version's number. None if it is no such call.
pub fn dataset_call(factor: &TableFactor) -> Option<Result<(ObjectName, u64)>> {
    let TableFactor::Table { name, args: Some(TableFunctionArgs { args, .. }), .. } = factor else { return None };
    if super::table_reference(name)?.to_string() != FUNCTION {
        return None;
    }
    Some(read_arguments(name, args))
}

fn read_arguments(function: &ObjectName, args: &[FunctionArg]) -> Result<(ObjectName, u64)> {
    let constants: Vec<&Value> = args.iter().filter_map(constant).collect();
    let [Value::SingleQuotedString(name), Value::Number(number, _)] = constants.as_slice() else {
        let message = format!("{function}() takes the name of a dataset and the number of a version, as constants");
        return Err(Error::new(Kind::UndefinedFunction, message).with_hint("type dataset('d', 2)"));
    };
    let number = number
        .to_string()
        .parse()
        .map_err(|_| Error::new(Kind::InvalidParameterValue, format!("\"{number}\" is not the number of a version")))?;
    let reference = parse_name(name);
    let parts = [reference.catalog(), reference.schema(), Some(reference.table())].into_iter().flatten();
    let mut idents: Vec<Ident> = parts.map(|part| Ident::with_quote('"', part)).collect();
    if let Some(ident) = idents.last_mut() {
        ident.span = function.span();
    }
    Ok((ObjectName::from(idents), number))
}

fn constant(arg: &FunctionArg) -> Option<&Value> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => Some(&value.value),
        _ => None,
    }
}

/// The version of that number.
pub fn of_number(dataset: &Dataset, number: u64) -> Result<&DatasetVersion> {
    dataset.version(number).ok_or_else(|| {
        let name = &dataset.header.name;
        let newest = dataset.newest.number;
        Error::new(Kind::UndefinedObject, format!("dataset \"{name}\" has no version {number}"))
            .with_detail(format!("Its newest is version {newest}."))
            .with_hint(format!("SELECT version, created_at FROM granary.datasets WHERE name = '{name}'"))
    })
}

/// The version that was the newest at that time.
pub fn at_time(dataset: &Dataset, time_us: i64) -> Result<&DatasetVersion> {
    dataset.version_at(time_us).ok_or_else(|| {
        let name = &dataset.header.name;
        let time = format_timestamp(time_us);
        let first = dataset.versions().next().map(|version| format_timestamp(version.created_at_us));
        Error::new(Kind::UndefinedObject, format!("dataset \"{name}\" had no version at {time}"))
            .with_detail(format!("Its first was made at {}.", first.unwrap_or_default()))
            .with_hint(format!("SELECT version, created_at FROM granary.datasets WHERE name = '{name}'"))
    })
}
