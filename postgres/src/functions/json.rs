//! JSON: functions that make it, and operators that look into it.

use std::sync::Arc;

use super::{casts, int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::execute::Context;
use crate::json::{Json, quote};
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
        "json_object_field" | "jsonb_object_field" => Function::new("json_field", move |_, values| {
            // json keeps its text as it was
            if !is_jsonb && let Some(found) = raw_field(text(&values[0]), text(&values[1])) {
                return Ok(Value::text(found));
            }
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(json.field(text(&values[1])))))
        }),
        "json_object_field_text" | "jsonb_object_field_text" => Function::new("json_field_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(json.field(text(&values[1])))))
        }),
        "json_array_element" | "jsonb_array_element" => Function::new("json_item", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(json.item(int(&values[1])))))
        }),
        "json_array_element_text" | "jsonb_array_element_text" => Function::new("json_item_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(json.item(int(&values[1])))))
        }),
        "json_extract_path" | "jsonb_extract_path" => Function::new("json_path", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| kept(at_path(&json, &path(values)))))
        }),
        "json_extract_path_text" | "jsonb_extract_path_text" => Function::new("json_path_text", move |_, values| {
            Ok(json_of(&values[0]).map_or(Value::Null, |json| unquoted(at_path(&json, &path(values)))))
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
                return Err(wrong_argument("cannot delete from object using integer index"));
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
            let path = path(values);
            Ok(Value::jsonb(changed(&json, &path, &|_| None)))
        }),
        "jsonb_set" | "jsonb_insert" => {
            let inserts = source == "jsonb_insert";
            Function::new("jsonb_set", move |_, values| {
                let (Some(json), Some(new)) = (json_of(&values[0]), json_of(&values[2])) else {
                    return Ok(Value::Null);
                };
                let flag = values.get(3).and_then(Value::as_bool);
                let path: Vec<String> = path(&values[..2]);
                Ok(Value::jsonb(if inserts {
                    inserted(&json, &path, &new, flag.unwrap_or(false))
                } else {
                    set(&json, &path, &new, flag.unwrap_or(true))
                }))
            })
        }
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
            Function::new("to_json", move |context, values| Ok(Value::text(to_text(context, &values[0], &data_type)?)))
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
        "json_object" | "jsonb_object" => {
            let as_jsonb = source == "jsonb_object";
            Function::new("json_object", move |_, values| {
                let array = values[0].as_array().cloned().unwrap_or_else(|| Arc::new(Array::of(Vec::new())));
                if array.items.len() % 2 != 0 && array.dimensions.len() <= 1 {
                    return Err(Error::new("2202E", "array must have even number of elements"));
                }
                let mut fields = Vec::new();
                for pair in array.items.chunks(2) {
                    let key = pair[0]
                        .as_text()
                        .ok_or_else(|| Error::new("22004", "null value not allowed for object key"))?;
                    fields.push((
                        key.to_owned(),
                        pair.get(1).and_then(Value::as_text).map_or(Json::Null, |text| Json::Text(text.to_owned())),
                    ));
                }
                Ok(if as_jsonb {
                    Value::jsonb(Json::object(fields))
                } else {
                    let fields: Vec<String> =
                        fields.iter().map(|(key, value)| format!("{} : {value}", quote(key))).collect();
                    Value::text(format!("{{{}}}", fields.join(", ")))
                })
            })
        }
        _ => return None,
    })
}

/// A field of `json`, as it was written.
fn raw_field(whole: &str, name: &str) -> Option<String> {
    let json = Json::parse(whole)?;
    let wanted = json.field(name)?;
    // what has no blanks inside was written as it is printed
    matches!(wanted, Json::Text(_) | Json::Null | Json::Bool(_)).then(|| wanted.to_string()).or_else(|| {
        let shown = compact(wanted);
        whole.contains(&shown).then_some(shown)
    })
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
    if values.len() % 2 != 0 {
        return Err(Error::new("22023", "argument list must have even number of elements")
            .with_hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let typed: Vec<Typed<'v>> = values.iter().zip(types).collect();
    Ok(typed.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

fn key_of(context: &Context<'_>, (value, data_type): Typed<'_>) -> Result<String> {
    casts::shown(context.world, value, data_type, context.clock)
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

fn inserted(json: &Json, path: &[String], new: &Json, after: bool) -> Json {
    let Some((last, parent)) = path.split_last() else { return json.clone() };
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
    if parent.is_empty() { add(json).unwrap_or(Json::Null) } else { changed(json, parent, &add) }
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
