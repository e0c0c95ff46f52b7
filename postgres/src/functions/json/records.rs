//! Rows from JSON: `json_to_record` and its like.

use crate::error::{Error, Result};
use crate::execute::Context;
use crate::functions::casts;
use crate::json::{Json, raw};
use crate::plan::SetFunction;
use crate::text;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};

fn wrong(message: String) -> Error {
    Error::new("22023", message)
}

/// The function of that name, whose columns the query says.
pub fn function(name: &'static str, columns: Vec<(String, Type)>) -> SetFunction {
    let is_set = name.ends_with("recordset");
    SetFunction::new(name, move |context, values| {
        let whole = match &values[0] {
            Value::Null => return Ok(Vec::new()),
            Value::Jsonb(json) => json.to_string(),
            other => other.as_text().unwrap_or_default().to_owned(),
        };
        let whole = whole.trim();
        if !is_set {
            return record(context, whole, &columns).map(|record| vec![record]);
        }
        let items = raw::items(whole).ok_or_else(|| {
            let kind = if whole.starts_with('{') && name.starts_with("json_") { "an object" } else { "a non-array" };
            wrong(format!("cannot call {name} on {kind}"))
        })?;
        items
            .into_iter()
            .map(|item| {
                if raw::fields(item).is_none() {
                    return Err(wrong(format!("argument of {name} must be an array of objects")));
                }
                record(context, item, &columns)
            })
            .collect()
    })
}

fn record(context: &Context<'_>, text: &str, columns: &[(String, Type)]) -> Result<Value> {
    let fields = raw::fields(text).ok_or_else(|| {
        let kind = if text.starts_with('[') { "an array" } else { "a scalar" };
        wrong(format!("cannot call populate_composite on {kind}"))
    })?;
    let value = |(name, data_type): &(String, Type)| {
        let found = fields.iter().rev().find(|(key, _)| key == name);
        found.map_or(Ok(Value::Null), |(_, text)| value_of(context, text, data_type))
    };
    Ok(Value::record(columns.iter().map(value).collect::<Result<_>>()?))
}

/// A part of a JSON text as a value of the type.
fn value_of(context: &Context<'_>, json: &str, data_type: &Type) -> Result<Value> {
    if matches!(data_type.oid, t::JSON | t::JSONB) {
        return if json == "null" { Ok(Value::Null) } else { text::parse(json, data_type, context.clock) };
    }
    let Some(shown) = raw::unquoted(json) else { return Ok(Value::Null) };
    if let Some(element) = data_type.element()
        && !json.starts_with('"')
    {
        let parsed = Json::parse(json).filter(|json| matches!(json, Json::List(_)));
        let parsed = parsed.ok_or_else(|| Error::new("22P02", "expected JSON array"))?;
        let mut dimensions = Vec::new();
        let mut inner = &parsed;
        while let Json::List(items) = inner {
            dimensions.push((items.len(), 1));
            match items.first() {
                Some(first) => inner = first,
                None => break,
            }
        }
        let mut items = Vec::new();
        collect(context, &parsed, &element, dimensions.len(), &mut items)?;
        if items.len() != dimensions.iter().map(|(length, _)| length).product::<usize>() {
            return Err(Error::new("22P02", "malformed JSON array")
                .with_detail("Multidimensional arrays must have sub-arrays with matching dimensions."));
        }
        return Ok(Value::Array(if items.is_empty() { Array::of(items) } else { Array { dimensions, items } }.into()));
    }
    let plain = Type { modifier: -1, ..data_type.clone() };
    let value = casts::parameter(context.world, &shown, &plain)?;
    if data_type.modifier < 0 { Ok(value) } else { casts::fitted(value, data_type, false) }
}

fn collect(context: &Context<'_>, json: &Json, element: &Type, depth: usize, items: &mut Vec<Value>) -> Result<()> {
    match json {
        Json::List(parts) if depth > 0 => {
            parts.iter().try_for_each(|part| collect(context, part, element, depth - 1, items))
        }
        other => {
            items.push(value_of(context, &other.to_string(), element)?);
            Ok(())
        }
    }
}
