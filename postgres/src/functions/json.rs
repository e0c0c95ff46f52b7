//! JSON: functions that make it, and operators that look into it.

pub mod records;

use std::sync::Arc;

use super::{casts, int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::execute::Context;
use crate::json::{Json, quote, raw};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};

/// A value of either type as JSON.
pub fn json_of(value: &Value) -> Option<Arc<Json>> {
    match value {
        Value::Jsonb(json) => Some(Arc::clone(json)),
        Value::Text(text) => Json::parse(text).map(Arc::new),
        _ => None,
    }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    let is_jsonb = arguments.first().is_some_and(|argument| argument.oid == t::JSONB);
    let types = arguments.to_vec();
    // what is found keeps the type of what it was found in
    let kept = move |json: Option<&Json>| {
        json.map_or(
            Value::Null,
            |json| if is_jsonb { Value::jsonb(json.clone()) } else { Value::text(json.to_string()) },
        )
    };
    let unquoted = |json: Option<&Json>| json.and_then(Json::unquoted).map_or(Value::Null, Value::text);
    let source = proc.source;
    Some(match source {
        "jsonb_object_field" => Function::new("json_field", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(json.field(text(&values[1])))))
        }),
        "jsonb_object_field_text" => Function::new("json_field_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(json.field(text(&values[1])))))
        }),
        "jsonb_array_element" => Function::new("json_item", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(json.item(int(&values[1])))))
        }),
        "jsonb_array_element_text" => Function::new("json_item_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(json.item(int(&values[1])))))
        }),
        "jsonb_extract_path" => Function::new("json_path", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(at_path(&json, &path(values)))))
        }),
        "jsonb_extract_path_text" => Function::new("json_path_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(at_path(&json, &path(values)))))
        }),
        // json keeps its text as it was
        "json_object_field" | "json_object_field_text" => Function::new("json_field", move |_, values| {
            Ok(as_written(raw::field(text(&values[0]), text(&values[1])), source.ends_with("text")))
        }),
        "json_array_element" | "json_array_element_text" => Function::new("json_item", move |_, values| {
            Ok(as_written(raw::item(text(&values[0]), int(&values[1])), source.ends_with("text")))
        }),
        "json_extract_path" | "json_extract_path_text" => Function::new("json_path", move |_, values| {
            let found = path(values).iter().try_fold(text(&values[0]).trim(), |whole, step| {
                raw::field(whole, step).or_else(|| raw::item(whole, step.parse().ok()?))
            });
            Ok(as_written(found, source.ends_with("text")))
        }),
        "jsonb_exists" => Function::new("jsonb_exists", |_, values| {
            Ok(Value::Bool(json_of(&values[0]).is_some_and(|json| has_key(&json, text(&values[1])))))
        }),
        "jsonb_exists_any" | "jsonb_exists_all" => {
            let all = source.ends_with("all");
            Function::new("jsonb_exists", move |_, values| {
                let Some(json) = json_of(&values[0]) else { return Ok(Value::Null) };
                let keys = values[1].as_array().cloned().unwrap_or_else(|| Arc::new(Array::of(Vec::new())));
                let mut keys = keys.items.iter().filter_map(Value::as_text);
                Ok(Value::Bool(if all {
                    keys.all(|key| has_key(&json, key))
                } else {
                    keys.any(|key| has_key(&json, key))
                }))
            })
        }
        "jsonb_contains" | "jsonb_contained" => {
            let is_turned = source == "jsonb_contained";
            Function::new("jsonb_contains", move |_, values| {
                let (Some(left), Some(right)) = (json_of(&values[0]), json_of(&values[1])) else {
                    return Ok(Value::Null);
                };
                Ok(Value::Bool(if is_turned { right.contains(&left) } else { left.contains(&right) }))
            })
        }
        "jsonb_concat" => Function::new("jsonb_concat", |_, values| {
            let (Some(left), Some(right)) = (json_of(&values[0]), json_of(&values[1])) else { return Ok(Value::Null) };
            let list = |json: &Json| match json {
                Json::List(items) => items.clone(),
                other => vec![other.clone()],
            };
            Ok(Value::jsonb(match (left.as_ref(), right.as_ref()) {
                (Json::Object(left), Json::Object(right)) => Json::object([left.clone(), right.clone()].concat()),
                (left, right) => Json::List([list(left), list(right)].concat()),
            }))
        }),
        "jsonb_delete" | "jsonb_delete_array" => Function::new("jsonb_delete", |_, values| {
            let Some(json) = json_of(&values[0]) else { return Ok(Value::Null) };
            let keys: Vec<&str> = match &values[1] {
                Value::Array(array) => array.items.iter().filter_map(Value::as_text).collect(),
                other => vec![text(other)],
            };
            Ok(Value::jsonb(match json.as_ref() {
                Json::Object(fields) => {
                    Json::Object(fields.iter().filter(|(key, _)| !keys.contains(&key.as_str())).cloned().collect())
                }
                Json::List(items) => Json::List(
                    items
                        .iter()
                        .filter(|item| !matches!(item, Json::Text(text) if keys.contains(&text.as_str())))
                        .cloned()
                        .collect(),
                ),
                _ => return Err(wrong_argument("cannot delete from scalar")),
            }))
        }),
        "jsonb_delete_idx" => Function::new("jsonb_delete", |_, values| {
            let Some(json) = json_of(&values[0]) else { return Ok(Value::Null) };
            let Json::List(items) = json.as_ref() else {
                return Err(wrong_argument(if matches!(json.as_ref(), Json::Object(_)) {
                    "cannot delete from object using integer index"
                } else {
                    "cannot delete from scalar"
                }));
            };
            let index = int(&values[1]);
            let place = if index < 0 {
                items.len().checked_sub(usize::try_from(-index).unwrap_or(usize::MAX))
            } else {
                usize::try_from(index).ok()
            };
            let kept = items.iter().enumerate().filter(|(at, _)| Some(*at) != place).map(|(_, item)| item.clone());
            Ok(Value::jsonb(Json::List(kept.collect())))
        }),
        "jsonb_delete_path" => Function::new("jsonb_delete_path", |_, values| {
            let Some(json) = json_of(&values[0]) else { return Ok(Value::Null) };
            let path = checked_path(&json, values, "cannot delete path in scalar")?;
            Ok(Value::jsonb(if path.is_empty() { json.as_ref().clone() } else { changed(&json, &path, &|_| None) }))
        }),
        "jsonb_set" | "jsonb_insert" => {
            let inserts = source == "jsonb_insert";
            Function::new("jsonb_set", move |_, values| {
                let (Some(json), Some(new)) = (json_of(&values[0]), json_of(&values[2])) else {
                    return Ok(Value::Null);
                };
                let flag = values.get(3).and_then(Value::as_bool);
                let path = checked_path(&json, &values[..2], "cannot set path in scalar")?;
                if path.is_empty() {
                    return Ok(values[0].clone());
                }
                Ok(Value::jsonb(if inserts {
                    inserted(&json, &path, &new, flag.unwrap_or(false))?
                } else {
                    set(&json, &path, &new, flag.unwrap_or(true))
                }))
            })
        }
        "jsonb_set_lax" => Function::new("jsonb_set_lax", |_, values| {
            if values[0].is_null() || values[1].is_null() || values.get(3).is_some_and(Value::is_null) {
                return Ok(Value::Null);
            }
            let treatment = match values.get(4) {
                None => "use_json_null",
                Some(Value::Null) => return Err(unknown_treatment()),
                Some(treatment) => text(treatment),
            };
            if !["delete_key", "return_target", "use_json_null", "raise_exception"].contains(&treatment) {
                return Err(unknown_treatment());
            }
            let Some(json) = json_of(&values[0]) else { return Ok(Value::Null) };
            let creates = values.get(3).and_then(Value::as_bool).unwrap_or(true);
            let new = json_of(&values[2]);
            let path = match (&new, treatment) {
                (None, "return_target") => return Ok(values[0].clone()),
                (None, "raise_exception") => {
                    return Err(Error::new("22004", "JSON value must not be null")
                        .with_detail("Exception was raised because null_value_treatment is \"raise_exception\".")
                        .with_hint("To avoid, either change the null_value_treatment argument or ensure that an SQL NULL is not passed."));
                }
                (None, "delete_key") => checked_path(&json, &values[..2], "cannot delete path in scalar")?,
                _ => checked_path(&json, &values[..2], "cannot set path in scalar")?,
            };
            Ok(Value::jsonb(match (new, treatment) {
                (None, "delete_key") => changed(&json, &path, &|_| None),
                (new, _) => set(&json, &path, new.as_deref().unwrap_or(&Json::Null), creates),
            }))
        }),
        "jsonb_pretty" => Function::new("jsonb_pretty", |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| Value::text(json.pretty(0))))
        }),
        "json_typeof" | "jsonb_typeof" => Function::new("json_typeof", |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| Value::text(json.type_name())))
        }),
        "json_array_length" | "jsonb_array_length" => {
            Function::new("json_array_length", |_, values| match json_of(&values[0]).as_deref() {
                Some(Json::List(items)) => Ok(count(items.len())),
                Some(Json::Object(_)) => Err(wrong_argument("cannot get array length of a non-array")),
                Some(_) => Err(wrong_argument("cannot get array length of a scalar")),
                None => Ok(Value::Null),
            })
        }
        "json_strip_nulls" | "jsonb_strip_nulls" => Function::new("json_strip_nulls", move |_, values| {
            let stripped = json_of(&values[0]).map(|json| without_nulls(&json));
            Ok(stripped
                .map_or(Value::Null, |json| if is_jsonb { Value::jsonb(json) } else { Value::text(compact(&json)) }))
        }),
        "to_json" | "row_to_json" | "array_to_json" | "row_to_json_pretty" | "array_to_json_pretty" => {
            let data_type = types[0].clone();
            Function::new("to_json", move |context, values| {
                let breaks_lines = values.get(1).and_then(Value::as_bool).unwrap_or(false);
                Ok(Value::text(to_text_in_lines(context, &values[0], &data_type, breaks_lines)?))
            })
        }
        "to_jsonb" => {
            let data_type = types[0].clone();
            Function::new("to_jsonb", move |context, values| {
                Ok(Value::jsonb(to_json(context, &values[0], &data_type)?))
            })
        }
        "json_build_array" | "json_build_array_noargs" => Function::new("json_build_array", move |context, values| {
            let items = values
                .iter()
                .zip(&types)
                .map(|(value, data_type)| to_text(context, value, data_type))
                .collect::<Result<Vec<_>>>()?;
            Ok(Value::text(format!("[{}]", items.join(", "))))
        }),
        "jsonb_build_array" | "jsonb_build_array_noargs" => {
            Function::new("jsonb_build_array", move |context, values| {
                let items = values
                    .iter()
                    .zip(&types)
                    .map(|(value, data_type)| to_json(context, value, data_type))
                    .collect::<Result<Vec<_>>>()?;
                Ok(Value::jsonb(Json::List(items)))
            })
        }
        "json_build_object" | "json_build_object_noargs" => {
            Function::new("json_build_object", move |context, values| {
                let mut fields = Vec::new();
                for (key, value) in pairs(values, &types)? {
                    fields.push(format!("{} : {}", quote(&key_of(context, key)?), to_text(context, value.0, value.1)?));
                }
                Ok(Value::text(format!("{{{}}}", fields.join(", "))))
            })
        }
        "jsonb_build_object" | "jsonb_build_object_noargs" => {
            Function::new("jsonb_build_object", move |context, values| {
                let mut fields = Vec::new();
                for (key, value) in pairs(values, &types)? {
                    fields.push((key_of(context, key)?, to_json(context, value.0, value.1)?));
                }
                Ok(Value::jsonb(Json::object(fields)))
            })
        }
        "json_object" | "jsonb_object" | "json_object_two_arg" | "jsonb_object_two_arg" => {
            let as_jsonb = source.starts_with("jsonb");
            Function::new("json_object", move |_, values| {
                let pairs = object_pairs(values)?;
                Ok(if as_jsonb {
                    Value::jsonb(Json::object(pairs))
                } else {
                    let fields: Vec<String> =
                        pairs.iter().map(|(key, value)| format!("{} : {value}", quote(key))).collect();
                    Value::text(format!("{{{}}}", fields.join(", ")))
                })
            })
        }
        _ => return None,
    })
}

fn as_written(found: Option<&str>, as_text: bool) -> Value {
    match found {
        None => Value::Null,
        Some(found) if as_text => raw::unquoted(found).map_or(Value::Null, Value::text),
        Some(found) => Value::text(found),
    }
}

fn unknown_treatment() -> Error {
    wrong_argument(
        "null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"",
    )
}

/// Keys and values of two arrays, or of one that has them in turn. Errors: 2202E, 22004.
fn object_pairs(values: &[Value]) -> Result<Vec<(String, Json)>> {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_else(|| Arc::new(Array::of(Vec::new())));
    let wrong = |message: &str| Error::new("2202E", message);
    let keys = array(&values[0]);
    let (keys, others): (Vec<Value>, Vec<Value>) = match values.get(1) {
        Some(others) => {
            let others = array(others);
            if keys.dimensions.len() > 1 || others.dimensions.len() > 1 {
                return Err(wrong("wrong number of array subscripts"));
            }
            if keys.items.len() != others.items.len() {
                return Err(wrong("mismatched array dimensions"));
            }
            (keys.items.clone(), others.items.clone())
        }
        None => {
            match keys.dimensions.as_slice() {
                [] => {}
                [(length, _)] if length % 2 == 1 => return Err(wrong("array must have even number of elements")),
                [_] => {}
                [_, (2, _)] => {}
                [_, _] => return Err(wrong("array must have two columns")),
                _ => return Err(wrong("wrong number of array subscripts")),
            }
            keys.items.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip()
        }
    };
    keys.into_iter()
        .zip(others)
        .map(|(key, value)| {
            let key = key.as_text().ok_or_else(|| Error::new("22004", "null value not allowed for object key"))?;
            Ok((key.to_owned(), value.as_text().map_or(Json::Null, |text| Json::Text(text.to_owned()))))
        })
        .collect()
}

/// A path whose steps into lists are numbers. Errors: 22023, 22P02, 22004.
fn checked_path(json: &Json, values: &[Value], scalar: &str) -> Result<Vec<String>> {
    if let Value::Array(array) = &values[1] {
        if array.dimensions.len() > 1 {
            return Err(Error::new("2202E", "wrong number of array subscripts"));
        }
        if let Some(place) = array.items.iter().position(Value::is_null) {
            return Err(Error::new("22004", format!("path element at position {} is null", place + 1)));
        }
    }
    if !matches!(json, Json::List(_) | Json::Object(_)) {
        return Err(wrong_argument(scalar));
    }
    let path = path(values);
    let mut at = Some(json);
    for (place, step) in path.iter().enumerate() {
        at = match at {
            Some(Json::List(_)) => {
                let index: i64 = step.parse().map_err(|_| {
                    let message = format!("path element at position {} is not an integer: \"{step}\"", place + 1);
                    Error::new("22P02", message)
                })?;
                at.and_then(|list| list.item(index))
            }
            Some(other) => other.field(step),
            None => None,
        };
    }
    Ok(path)
}

/// Without blanks.
fn compact(json: &Json) -> String {
    match json {
        Json::List(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(",")),
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{}", quote(key), compact(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}

type Typed<'v> = (&'v Value, &'v Type);

fn pairs<'v>(values: &'v [Value], types: &'v [Type]) -> Result<Vec<(Typed<'v>, Typed<'v>)>> {
    if !values.len().is_multiple_of(2) {
        return Err(Error::new("22023", "argument list must have even number of elements")
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let typed: Vec<Typed<'v>> = values.iter().zip(types).collect();
    Ok(typed.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

fn key_of(context: &Context<'_>, (value, data_type): Typed<'_>) -> Result<String> {
    (!value.is_null())
        .then(|| casts::printed(context.world, value, data_type, context.clock))
        .ok_or_else(|| Error::new("22023", "argument 1 cannot be null").with_hint("Object keys should be text."))
}

fn path(values: &[Value]) -> Vec<String> {
    match &values[1] {
        Value::Array(array) => array.items.iter().map(|item| text(item).to_owned()).collect(),
        _ => values[1..].iter().map(|value| text(value).to_owned()).collect(),
    }
}

fn at_path<'j>(json: &'j Json, path: &[String]) -> Option<&'j Json> {
    path.iter().try_fold(json, |json, step| match json {
        Json::Object(_) => json.field(step),
        Json::List(_) => json.item(step.parse().ok()?),
        _ => None,
    })
}

fn has_key(json: &Json, key: &str) -> bool {
    match json {
        Json::Object(_) => json.field(key).is_some(),
        Json::List(items) => items.iter().any(|item| matches!(item, Json::Text(text) if text == key)),
        Json::Text(text) => text == key,
        _ => false,
    }
}

fn place_in(items: &[Json], step: &str) -> Option<usize> {
    let index: i64 = step.parse().ok()?;
    if index < 0 { items.len().checked_sub(usize::try_from(-index).ok()?) } else { usize::try_from(index).ok() }
}

/// With what stands at the path changed, or taken out if `change` gives none.
fn changed(json: &Json, path: &[String], change: &dyn Fn(&Json) -> Option<Json>) -> Json {
    let [step, rest @ ..] = path else { return change(json).unwrap_or(Json::Null) };
    let inner = |value: &Json| if rest.is_empty() { change(value) } else { Some(changed(value, rest, change)) };
    match json {
        Json::Object(fields) => Json::Object(
            fields
                .iter()
                .filter_map(|(key, value)| {
                    let value = if key == step { inner(value)? } else { value.clone() };
                    Some((key.clone(), value))
                })
                .collect(),
        ),
        Json::List(items) => {
            let place = place_in(items, step);
            Json::List(
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(at, item)| if Some(at) == place { inner(item) } else { Some(item.clone()) })
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

fn set(json: &Json, path: &[String], new: &Json, creates: bool) -> Json {
    if at_path(json, path).is_some() {
        return changed(json, path, &|_| Some(new.clone()));
    }
    let Some((last, parent)) = path.split_last().filter(|_| creates) else { return json.clone() };
    if at_path(json, parent).is_none() {
        return json.clone();
    }
    let add = |parent: &Json| {
        Some(match parent {
            Json::Object(fields) => Json::object([fields.clone(), vec![(last.clone(), new.clone())]].concat()),
            Json::List(items) if last.starts_with('-') => Json::List([vec![new.clone()], items.clone()].concat()),
            Json::List(items) => Json::List([items.clone(), vec![new.clone()]].concat()),
            other => other.clone(),
        })
    };
    if parent.is_empty() { add(json).unwrap_or(Json::Null) } else { changed(json, parent, &add) }
}

/// Errors: 22023 if the object has such a key.
fn inserted(json: &Json, path: &[String], new: &Json, after: bool) -> Result<Json> {
    let Some((last, parent)) = path.split_last() else { return Ok(json.clone()) };
    if matches!(at_path(json, parent), Some(Json::Object(_))) && at_path(json, path).is_some() {
        return Err(wrong_argument("cannot replace existing key")
            .with_hint("Try using the function jsonb_set to replace key value."));
    }
    let add = |parent: &Json| {
        Some(match parent {
            Json::Object(fields) if parent.field(last).is_none() => {
                Json::object([fields.clone(), vec![(last.clone(), new.clone())]].concat())
            }
            Json::List(items) => {
                let place = place_in(items, last)
                    .map_or(if last.starts_with('-') { 0 } else { items.len() }, |place| {
                        (place + usize::from(after)).min(items.len())
                    });
                let mut items = items.clone();
                items.insert(place, new.clone());
                Json::List(items)
            }
            other => other.clone(),
        })
    };
    Ok(if parent.is_empty() { add(json).unwrap_or(Json::Null) } else { changed(json, parent, &add) })
}

fn without_nulls(json: &Json) -> Json {
    match json {
        Json::Object(fields) => Json::Object(
            fields
                .iter()
                .filter(|(_, value)| *value != Json::Null)
                .map(|(key, value)| (key.clone(), without_nulls(value)))
                .collect(),
        ),
        Json::List(items) => Json::List(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// A value as `jsonb`.
pub fn to_json(context: &Context<'_>, value: &Value, data_type: &Type) -> Result<Json> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) if !t::REG_TYPES.contains(&data_type.oid) => Json::Number((*number).into()),
        Value::Float(number) if number.is_finite() => {
            let shown = crate::text::format(value, data_type, context.clock).unwrap_or_default();
            Json::Number(shown.parse()?)
        }
        Value::Numeric(number) if number.finite().is_some() => Json::Number(number.clone()),
        Value::Jsonb(json) => json.as_ref().clone(),
        Value::Text(text) if data_type.oid == t::JSON => Json::parse(text).unwrap_or(Json::Null),
        Value::Array(array) => {
            let element = data_type.element().unwrap_or(Type::of(t::TEXT));
            let items = array.items.iter().map(|item| to_json(context, item, &element)).collect::<Result<Vec<_>>>()?;
            nested(&array.dimensions, items)
        }
        Value::Record(items) => {
            let mut fields = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let (name, field_type) = field_of(data_type, index);
                fields.push((name, to_json(context, item, &field_type)?));
            }
            Json::object(fields)
        }
        other => Json::Text(as_word(context, other, data_type)),
    })
}

/// Times as ISO 8601 has them.
fn as_word(context: &Context<'_>, value: &Value, data_type: &Type) -> String {
    let shown = casts::shown(context.world, value, data_type, context.clock).unwrap_or_default();
    match value {
        Value::Timestamp(_) => {
            let shown = shown.replacen(' ', "T", 1);
            if data_type.oid == t::TIMESTAMPTZ && !shown[11.min(shown.len())..].contains(':') || shown.len() < 19 {
                shown
            } else if data_type.oid == t::TIMESTAMPTZ
                && shown.ends_with(|c: char| c.is_ascii_digit())
                && shown[shown.len().saturating_sub(3)..].starts_with(['+', '-'])
            {
                shown + ":00"
            } else {
                shown
            }
        }
        _ => shown,
    }
}

fn field_of(data_type: &Type, index: usize) -> (String, Type) {
    let field = data_type.fields.as_ref().and_then(|fields| fields.get(index).cloned());
    field.unwrap_or_else(|| (format!("f{}", index + 1), Type::of(t::TEXT)))
}

fn nested(dimensions: &[(usize, i32)], items: Vec<Json>) -> Json {
    match dimensions {
        [] | [_] => Json::List(items),
        [(length, _), inner @ ..] => {
            let size = (items.len() / (*length).max(1)).max(1);
            Json::List(items.chunks(size).map(|part| nested(inner, part.to_vec())).collect())
        }
    }
}

/// The same, with items or fields in lines of their own.
fn to_text_in_lines(context: &Context<'_>, value: &Value, data_type: &Type, breaks_lines: bool) -> Result<String> {
    if !breaks_lines {
        return to_text(context, value, data_type);
    }
    Ok(match value {
        Value::Array(array) if array.dimensions.len() <= 1 => {
            let element = data_type.element().unwrap_or(Type::of(t::TEXT));
            let items = array.items.iter().map(|item| to_text(context, item, &element)).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(",\n "))
        }
        Value::Record(items) => {
            let mut fields = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let (name, field_type) = field_of(data_type, index);
                fields.push(format!("{}:{}", quote(&name), to_text(context, item, &field_type)?));
            }
            format!("{{{}}}", fields.join(",\n "))
        }
        other => to_text(context, other, data_type)?,
    })
}

/// A value as `json`: fields in their order, twice if they are there twice.
pub fn to_text(context: &Context<'_>, value: &Value, data_type: &Type) -> Result<String> {
    Ok(match value {
        Value::Text(text) if data_type.oid == t::JSON => text.to_string(),
        Value::Jsonb(json) => json.to_string(),
        Value::Array(array) if array.dimensions.len() <= 1 => {
            let element = data_type.element().unwrap_or(Type::of(t::TEXT));
            let items = array.items.iter().map(|item| to_text(context, item, &element)).collect::<Result<Vec<_>>>()?;
            format!("[{}]", items.join(","))
        }
        Value::Record(items) => {
            let mut fields = Vec::new();
            for (index, item) in items.iter().enumerate() {
                let (name, field_type) = field_of(data_type, index);
                fields.push(format!("{}:{}", quote(&name), to_text(context, item, &field_type)?));
            }
            format!("{{{}}}", fields.join(","))
        }
        other => compact(&to_json(context, other, data_type)?),
    })
}
