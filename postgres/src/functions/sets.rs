//! Functions that give rows.

use super::{int, paths, regexps, text, wrong_argument};
use crate::builtin;
use crate::datetime;
use crate::error::{Error, Result};
use crate::json::{Json, raw};
use crate::numeric::Numeric;
use crate::plan::SetFunction;
use crate::regexp::Haystack;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};
use crate::world::World;

/// A function and the columns that it gives.
pub struct Set {
    pub function: SetFunction,
    pub columns: Columns,
}

pub enum Columns {
    /// one, named as whoever calls it says
    One(Type),
    Many(Vec<(String, Type)>),
}

impl Set {
    /// The type of a row where it is one value.
    pub fn row_type(&self) -> Type {
        match &self.columns {
            Columns::One(data_type) => data_type.clone(),
            Columns::Many(fields) => Type::record(fields.clone()),
        }
    }
}

/// Most rows that one call gives.
const MOST_ROWS: usize = 10_000_000;

pub fn function(world: &dyn World, proc: &Proc, arguments: &[Type], result: &Type) -> Option<Set> {
    let one = |function: SetFunction| Some(Set { function, columns: Columns::One(result.clone()) });
    // what its arguments of mode OUT and TABLE say
    let out: Vec<(String, Type)> = proc
        .argument_modes
        .iter()
        .zip(&proc.all_arguments)
        .zip(&proc.argument_names)
        .filter(|((mode, _), _)| matches!(mode, 'o' | 't' | 'b'))
        .map(|((_, oid), name)| (name.clone(), Type::of(*oid)))
        .collect();
    let many = |function: SetFunction| Some(Set { function, columns: Columns::Many(out.clone()) });
    if let Some(own) = world.function(proc) {
        // rows as an array of what they are
        let call = own.call;
        let function = SetFunction::new(own.name, move |context, values| match call(context, values)? {
            Value::Array(array) => Ok(array.items.clone()),
            Value::Null => Ok(Vec::new()),
            other => Ok(vec![other]),
        });
        return if out.len() > 1 { many(function) } else { one(function) };
    }
    match proc.source {
        "generate_series_int4" | "generate_series_step_int4" | "generate_series_int8" | "generate_series_step_int8" => {
            one(SetFunction::new("generate_series", |_, values| {
                let (start, stop, step) = (int(&values[0]), int(&values[1]), values.get(2).map_or(1, int));
                if step == 0 {
                    return Err(wrong_argument("step size cannot equal zero"));
                }
                let mut numbers = Vec::new();
                let mut at = Some(start);
                while let Some(number) = at.filter(|number| if step > 0 { *number <= stop } else { *number >= stop }) {
                    check(numbers.len())?;
                    numbers.push(Value::Int(number));
                    at = number.checked_add(step);
                }
                Ok(numbers)
            }))
        }
        "generate_series_numeric" | "generate_series_step_numeric" => {
            one(SetFunction::new("generate_series", |_, values| {
                let number = |value: &Value| match value {
                    Value::Numeric(number) => number.clone(),
                    _ => Numeric::NaN,
                };
                let (start, stop) = (number(&values[0]), number(&values[1]));
                let step = values.get(2).map_or(Numeric::from(1_i64), number);
                if step.is_zero() {
                    return Err(wrong_argument("step size cannot equal zero"));
                }
                if [&start, &stop, &step].iter().any(|number| number.finite().is_none()) {
                    return Err(wrong_argument("bounds and step size must be finite"));
                }
                let mut numbers = Vec::new();
                let mut at = start;
                while if step.is_negative() { at >= stop } else { at <= stop } {
                    check(numbers.len())?;
                    numbers.push(Value::Numeric(at.clone()));
                    at = at.add(&step)?;
                }
                Ok(numbers)
            }))
        }
        "generate_series_timestamp" | "generate_series_timestamptz" => {
            let is_zoned = proc.source.ends_with("tz");
            one(SetFunction::new("generate_series", move |context, values| {
                let (Value::Timestamp(start), Value::Timestamp(stop), Value::Interval(step)) =
                    (&values[0], &values[1], &values[2])
                else {
                    return Ok(Vec::new());
                };
                let span = step.span();
                if span == 0 {
                    return Err(wrong_argument("step size cannot equal zero"));
                }
                let mut times = Vec::new();
                let mut at = *start;
                while if span > 0 { at <= *stop } else { at >= *stop } {
                    check(times.len())?;
                    times.push(Value::Timestamp(at));
                    at = datetime::add_interval(at, *step, is_zoned.then_some(context.clock.zone))?;
                }
                Ok(times)
            }))
        }
        "generate_subscripts" | "generate_subscripts_nodir" => {
            one(SetFunction::new("generate_subscripts", |_, values| {
                let Value::Array(array) = &values[0] else { return Ok(Vec::new()) };
                let dimension =
                    usize::try_from(int(&values[1]) - 1).ok().and_then(|dimension| array.dimensions.get(dimension));
                let Some((length, lower)) = dimension else { return Ok(Vec::new()) };
                let mut places: Vec<Value> = (0..*length)
                    .map(|place| Value::Int(i64::from(*lower) + i64::try_from(place).unwrap_or(0)))
                    .collect();
                if values.get(2).and_then(Value::as_bool) == Some(true) {
                    places.reverse();
                }
                Ok(places)
            }))
        }
        "array_unnest" => {
            let element = arguments[0].element().unwrap_or(result.clone());
            let function = SetFunction::new("unnest", |_, values| match &values[0] {
                Value::Array(array) => Ok(array.items.clone()),
                _ => Ok(Vec::new()),
            });
            Some(Set { function, columns: Columns::One(element) })
        }
        "_pg_expandarray" => {
            let element = arguments[0].element()?;
            let function = SetFunction::new("_pg_expandarray", |_, values| {
                let Value::Array(array) = &values[0] else { return Ok(Vec::new()) };
                Ok(array
                    .items
                    .iter()
                    .zip(1..)
                    .map(|(item, n)| Value::record(vec![item.clone(), Value::Int(n)]))
                    .collect())
            });
            Some(Set {
                function,
                columns: Columns::Many(vec![("x".to_owned(), element), ("n".to_owned(), Type::of(t::INT4))]),
            })
        }
        "regexp_split_to_table_no_flags" | "regexp_split_to_table" => {
            one(SetFunction::new("regexp_split_to_table", |_, values| {
                let flags = values.get(2).map_or("", text);
                regexps::split(text(&values[0]), text(&values[1]), flags, "regexp_split_to_table")
            }))
        }
        "regexp_matches_no_flags" | "regexp_matches" => one(SetFunction::new("regexp_matches", |_, values| {
            let flags = values.get(2).map_or("", text);
            let (all, flags) = (flags.contains('g'), flags.replace('g', ""));
            let haystack = Haystack::new(text(&values[0]));
            let found = regexps::matches(&haystack, (text(&values[1]), &flags), (0, all, false))?;
            Ok(found.iter().map(|found| regexps::groups(&haystack, found)).collect())
        })),
        "text_to_table" | "text_to_table_null" => one(SetFunction::new("string_to_table", |_, values| {
            let whole = text(&values[0]);
            let null = values.get(2).and_then(Value::as_text);
            let parts: Vec<String> = match &values[1] {
                _ if values[0].is_null() || whole.is_empty() => Vec::new(),
                Value::Null => whole.chars().map(String::from).collect(),
                separator if text(separator).is_empty() => vec![whole.to_owned()],
                separator => whole.split(text(separator)).map(str::to_owned).collect(),
            };
            Ok(parts
                .into_iter()
                .map(|part| if Some(part.as_str()) == null { Value::Null } else { Value::text(part) })
                .collect())
        })),
        "json_array_elements" | "jsonb_array_elements" | "json_array_elements_text" | "jsonb_array_elements_text" => {
            let (as_text, is_jsonb) = (proc.source.ends_with("text"), proc.source.starts_with("jsonb"));
            let data_type = Type::of(if as_text {
                t::TEXT
            } else if is_jsonb {
                t::JSONB
            } else {
                t::JSON
            });
            let name = proc.name;
            let function = SetFunction::new("json_array_elements", move |_, values| {
                let wrong = |is_object: bool| {
                    wrong_argument(match (is_jsonb, is_object) {
                        (false, _) => {
                            format!("cannot call {name} on a {}", if is_object { "non-array" } else { "scalar" })
                        }
                        (true, true) => "cannot extract elements from an object".to_owned(),
                        (true, false) => "cannot extract elements from a scalar".to_owned(),
                    })
                };
                match &values[0] {
                    Value::Jsonb(json) => match json.as_ref() {
                        Json::List(items) => Ok(items.iter().map(|item| json_value(item, as_text, true)).collect()),
                        other => Err(wrong(matches!(other, Json::Object(_)))),
                    },
                    other => {
                        let whole = text(other).trim();
                        let items = raw::items(whole).ok_or_else(|| wrong(whole.starts_with('{')))?;
                        Ok(items.into_iter().map(|item| raw_value(item, as_text)).collect())
                    }
                }
            });
            Some(Set { function, columns: Columns::Many(vec![("value".to_owned(), data_type)]) })
        }
        "json_each" | "jsonb_each" | "json_each_text" | "jsonb_each_text" => {
            let (as_text, is_jsonb) = (proc.source.ends_with("text"), proc.source.starts_with("jsonb"));
            let name = proc.name;
            many(SetFunction::new("json_each", move |_, values| match &values[0] {
                Value::Jsonb(json) => match json.as_ref() {
                    Json::Object(fields) => Ok(fields
                        .iter()
                        .map(|(key, value)| Value::record(vec![Value::text(key), json_value(value, as_text, is_jsonb)]))
                        .collect()),
                    _ => Err(wrong_argument(format!("cannot call {name} on a non-object"))),
                },
                other => {
                    let whole = text(other).trim();
                    let fields = raw::fields(whole).ok_or_else(|| {
                        wrong_argument(if whole.starts_with('[') {
                            "cannot deconstruct an array as an object"
                        } else {
                            "cannot deconstruct a scalar"
                        })
                    })?;
                    Ok(fields
                        .into_iter()
                        .map(|(key, value)| Value::record(vec![Value::text(key), raw_value(value, as_text)]))
                        .collect())
                }
            }))
        }
        "json_object_keys" | "jsonb_object_keys" => {
            let name = proc.name;
            one(SetFunction::new("json_object_keys", move |_, values| {
                let wrong = |is_list: bool| {
                    wrong_argument(format!("cannot call {name} on {}", if is_list { "an array" } else { "a scalar" }))
                };
                match &values[0] {
                    Value::Jsonb(json) => match json.as_ref() {
                        Json::Object(fields) => Ok(fields.iter().map(|(key, _)| Value::text(key)).collect()),
                        other => Err(wrong(matches!(other, Json::List(_)))),
                    },
                    other => {
                        let whole = text(other).trim();
                        let fields = raw::fields(whole).ok_or_else(|| wrong(whole.starts_with('[')))?;
                        Ok(fields.into_iter().map(|(key, _)| Value::text(key)).collect())
                    }
                }
            }))
        }
        "jsonb_path_query" | "jsonb_path_query_tz" => one(SetFunction::new("jsonb_path_query", |context, values| {
            let found = paths::query(context, values)?;
            Ok(found.into_iter().map(Value::jsonb).collect())
        })),
        "aclexplode" => many(SetFunction::new("aclexplode", |context, values| {
            let Value::Array(array) = &values[0] else { return Ok(Vec::new()) };
            let mut rows = Vec::new();
            for item in &array.items {
                rows.extend(exploded(context.world, text(item))?);
            }
            Ok(rows)
        })),
        "pg_options_to_table" => many(SetFunction::new("pg_options_to_table", |_, values| {
            let Value::Array(array) = &values[0] else { return Ok(Vec::new()) };
            let option = |item: &Value| {
                let (name, value) = text(item)
                    .split_once('=')
                    .map_or((text(item), Value::Null), |(name, value)| (name, Value::text(value)));
                Value::record(vec![Value::text(name), value])
            };
            Ok(array.items.iter().map(option).collect())
        })),
        "pg_get_keywords" => many(SetFunction::new("pg_get_keywords", |_, _| {
            let table = builtin::table("pg_get_keywords").ok_or_else(|| Error::new("XX000", "a file of ours"))?;
            let row = |line: &str| {
                let fields = line.split('\t').enumerate().map(|(index, field)| match table.columns[index].1 {
                    "bool" => Value::Bool(field == "t"),
                    _ => Value::text(field),
                });
                Value::record(fields.collect())
            };
            Ok(table.lines().map(row).collect())
        })),
        // nothing here is partitioned
        "pg_partition_ancestors" | "pg_partition_tree" => one(SetFunction::new("none", |_, _| Ok(Vec::new()))),
        _ => None,
    }
}

fn check(n_rows: usize) -> Result<()> {
    if n_rows >= MOST_ROWS {
        return Err(Error::new("53200", "out of memory")
            .with_detail(format!("A function gives at most {MOST_ROWS} rows here.")));
    }
    Ok(())
}

fn raw_value(written: &str, as_text: bool) -> Value {
    if as_text { raw::unquoted(written).map_or(Value::Null, Value::text) } else { Value::text(written) }
}

fn json_value(json: &Json, as_text: bool, is_jsonb: bool) -> Value {
    match (as_text, is_jsonb) {
        (true, _) => json.unquoted().map_or(Value::Null, Value::text),
        (false, true) => Value::jsonb(json.clone()),
        (false, false) => Value::text(json.to_string()),
    }
}

/// The letters of privileges in an access list.
pub const PRIVILEGES: [(char, &str); 15] = [
    ('a', "INSERT"),
    ('r', "SELECT"),
    ('w', "UPDATE"),
    ('d', "DELETE"),
    ('D', "TRUNCATE"),
    ('x', "REFERENCES"),
    ('t', "TRIGGER"),
    ('X', "EXECUTE"),
    ('U', "USAGE"),
    ('C', "CREATE"),
    ('T', "TEMPORARY"),
    ('c', "CONNECT"),
    ('s', "SET"),
    ('A', "ALTER SYSTEM"),
    ('m', "MAINTAIN"),
];

/// The rows of `grantee=letters/grantor`.
fn exploded(world: &dyn World, item: &str) -> Result<Vec<Value>> {
    let malformed = || wrong_argument(format!("malformed access list item: \"{item}\""));
    let (grantee, rest) = item.split_once('=').ok_or_else(malformed)?;
    let (letters, grantor) = rest.split_once('/').ok_or_else(malformed)?;
    let number = |name: &str| -> Result<Value> {
        if name.is_empty() {
            return Ok(Value::Int(0));
        }
        let found = world.number_of(crate::world::NameKind::Role, name)?;
        Ok(Value::Int(found.map_or(0, i64::from)))
    };
    let (grantor, grantee) = (number(grantor)?, number(grantee)?);
    let mut rows = Vec::new();
    let mut letters = letters.chars().peekable();
    while let Some(letter) = letters.next() {
        let is_grantable = letters.next_if_eq(&'*').is_some();
        let (_, privilege) = PRIVILEGES.iter().find(|(own, _)| *own == letter).ok_or_else(malformed)?;
        rows.push(Value::record(vec![
            grantor.clone(),
            grantee.clone(),
            Value::text(privilege),
            Value::Bool(is_grantable),
        ]));
    }
    Ok(rows)
}

/// Rows as a [`World`] gives them.
pub fn rows(rows: Vec<Vec<Value>>) -> Value {
    Value::Array(std::sync::Arc::new(Array::of(rows.into_iter().map(Value::record).collect())))
}
