//! Functions and operators over SQL/JSON paths.

use super::{json, text, wrong_argument};
use crate::error::{Error, Result};
use crate::execute::Context;
use crate::json::Json;
use crate::json::path::{execute, parse};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::value::Value;

/// What the path of the second argument finds in the first. Silent, it finds nothing where it fails.
pub fn query(context: &Context<'_>, values: &[Value]) -> Result<Vec<Json>> {
    Ok(found(context, values, is_silent(values))?.unwrap_or_default())
}

fn is_silent(values: &[Value]) -> bool {
    values.get(3).and_then(Value::as_bool).unwrap_or(false)
}

/// None if it failed silently.
fn found(context: &Context<'_>, values: &[Value], silent: bool) -> Result<Option<Vec<Json>>> {
    let path = parse(text(&values[1]))?;
    let root = json::json_of(&values[0]).unwrap_or_else(|| std::sync::Arc::new(Json::Null));
    let variables = values.get(2).and_then(json::json_of);
    if variables.as_deref().is_some_and(|variables| !matches!(variables, Json::Object(_))) {
        return Err(wrong_argument("\"vars\" argument is not an object")
            .with_detail("Jsonpath parameters should be encoded as key-value pairs of \"vars\" object."));
    }
    let none = Json::Null;
    match execute::query(&path, &root, variables.as_deref().unwrap_or(&none), context.clock) {
        Ok(found) => Ok(Some(found)),
        Err(error) if silent && execute::is_silent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn function(proc: &Proc) -> Option<Function> {
    let source = proc.source.trim_end_matches("_tz");
    Some(match source {
        "jsonb_path_exists" | "jsonb_path_exists_opr" => {
            let is_operator = source.ends_with("opr");
            Function::new("jsonb_path_exists", move |context, values| {
                let found = found(context, values, is_operator || is_silent(values))?;
                Ok(found.map_or(Value::Null, |found| Value::Bool(!found.is_empty())))
            })
        }
        "jsonb_path_match" | "jsonb_path_match_opr" => {
            let is_operator = source.ends_with("opr");
            Function::new("jsonb_path_match", move |context, values| {
                let silent = is_operator || is_silent(values);
                let found = found(context, values, silent)?;
                match found.as_deref() {
                    Some([Json::Bool(truth)]) => Ok(Value::Bool(*truth)),
                    Some([Json::Null]) => Ok(Value::Null),
                    _ if silent => Ok(Value::Null),
                    _ => Err(Error::new("22038", "single boolean result is expected")),
                }
            })
        }
        "jsonb_path_query_array" => Function::new("jsonb_path_query_array", |context, values| {
            Ok(Value::jsonb(Json::List(query(context, values)?)))
        }),
        "jsonb_path_query_first" => Function::new("jsonb_path_query_first", |context, values| {
            Ok(query(context, values)?.into_iter().next().map_or(Value::Null, Value::jsonb))
        }),
        _ => return None,
    })
}
