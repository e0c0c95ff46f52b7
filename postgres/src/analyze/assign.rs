//! Assignments to parts of a value: `SET a[1] = x`, which is an assignment of all of `a` with that part changed.

use sqlparser::ast::{self, FunctionArg, FunctionArgExpr};

use super::Analyzer;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::plan::{Expr, ExprKind, Function};
use crate::resolve::Context;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};

/// The column that is assigned to.
fn name_of(arguments: &[FunctionArg]) -> Option<String> {
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(first)) = arguments.first()? else { return None };
    match first {
        ast::Expr::Identifier(ident) => Some(super::fold(ident)),
        ast::Expr::Function(ast::Function { args: ast::FunctionArguments::List(list), .. }) => name_of(&list.args),
        _ => None,
    }
}

/// Most items that an array may have.
const MOST_ITEMS: i64 = 134_217_727;

impl Analyzer<'_> {
    /// The value before, the part's new value, then for each subscript its bounds and whether it is a slice.
    pub(super) fn assigned_part(&mut self, arguments: &[FunctionArg]) -> Result<Expr> {
        let values = arguments.iter().map(|argument| self.argument(argument)).collect::<Result<Vec<_>>>()?;
        let mut values = values.into_iter();
        let (Some(before), Some(value)) = (values.next(), values.next()) else {
            return Err(Error::new("42601", "syntax error"));
        };
        let subscripts: Vec<Expr> = values.collect();
        let is_slice = |triple: &[Expr]| {
            matches!(triple.get(2).map(|flag| &flag.kind), Some(ExprKind::Constant(Value::Bool(true))))
        };
        let has_slice = subscripts.chunks(3).any(is_slice);
        let whole = before.data_type.clone();
        if whole.oid == t::JSONB {
            if has_slice {
                return Err(Error::new("0A000", "jsonb subscript does not support slices"));
            }
            return self.assigned_json(before, value, subscripts);
        }
        let Some(element) = whole.element() else {
            let message = format!("cannot subscript type {} because it does not support subscripting", whole.name());
            return Err(Error::new("42804", message));
        };
        let target = if has_slice { whole.clone() } else { element };
        let from = value.data_type.name();
        let value = self.coerce(value, &target, Context::Assignment).map_err(|error| match error.sqlstate {
            "42846" => {
                let to = name_of(arguments).map_or_else(String::new, |name| format!(" to \"{name}\""));
                let message = format!(
                    "subscripted assignment{to} requires type {} but expression is of type {from}",
                    target.name()
                );
                Error::new("42804", message).with_hint("You will need to rewrite or cast the expression.")
            }
            _ => error,
        })?;
        let mut parts = vec![before, value];
        for triple in subscripts.chunks(3) {
            let own_slice = is_slice(triple);
            for bound in triple.iter().take(2) {
                let bound = self.coerce(bound.clone(), &Type::of(t::INT4), Context::Assignment)?;
                parts.push(bound);
            }
            // among slices a plain subscript ends one that begins at 1
            if has_slice && !own_slice {
                let last = parts.len() - 2;
                parts[last] = Expr::constant(Value::Int(1), Type::of(t::INT4));
            }
        }
        let missing: Vec<bool> = subscripts
            .chunks(3)
            .flat_map(|triple| triple.iter().take(2))
            .map(|bound| matches!(bound.kind, ExprKind::Constant(Value::Null)) && bound.data_type.oid == t::UNKNOWN)
            .collect();
        let function = Function::new("assign_part", move |_, values| assign(values, has_slice, &missing));
        let kind = ExprKind::Call { function, arguments: parts, is_strict: false, is_volatile: false };
        Ok(Expr::new(kind, whole))
    }

    fn assigned_json(&mut self, before: Expr, value: Expr, subscripts: Vec<Expr>) -> Result<Expr> {
        let whole = before.data_type.clone();
        let value = self.coerce(value, &whole, Context::Assignment)?;
        let mut parts = vec![before, value];
        for triple in subscripts.chunks(3) {
            let key = triple.get(1).cloned().ok_or_else(|| Error::new("42601", "syntax error"))?;
            let key = self.coerce(key, &Type::of(t::TEXT), Context::Explicit)?;
            parts.push(key);
        }
        let function = Function::new("assign_part_of_jsonb", |_, values| assign_json(values));
        let kind = ExprKind::Call { function, arguments: parts, is_strict: false, is_volatile: false };
        Ok(Expr::new(kind, whole))
    }
}

fn wrong(message: &str) -> Error {
    Error::new("2202E", message)
}

/// `missing`: which bounds are not said.
fn assign(values: &[Value], has_slice: bool, missing: &[bool]) -> Result<Value> {
    let empty = Array::of(Vec::new());
    let array = values[0].as_array().map_or(&empty, AsRef::as_ref);
    let mut bounds = Vec::with_capacity(missing.len() / 2);
    for (number, pair) in values[2..].chunks(2).enumerate() {
        let bound = |place: usize| match &pair[place] {
            Value::Int(bound) => Ok(Some(*bound)),
            _ if missing[2 * number + place] && (has_slice || place == 0) => Ok(None),
            _ => Err(Error::new("22004", "array subscript in assignment must not be null")),
        };
        bounds.push((bound(0)?, bound(1)?));
    }
    let (items, bounds) = if has_slice {
        // nothing is assigned
        let Some(source) = values[1].as_array() else { return Ok(values[0].clone()) };
        (source.items.clone(), bounds)
    } else {
        (vec![values[1].clone()], bounds.into_iter().map(|(_, at)| (at, at)).collect::<Vec<_>>())
    };
    let n_dimensions = array.dimensions.len();
    if n_dimensions == 0 {
        return new_array(items, &bounds);
    }
    if bounds.len() > n_dimensions || (!has_slice && bounds.len() != n_dimensions) {
        return Err(wrong("wrong number of array subscripts"));
    }
    let mut dimensions = array.dimensions.clone();
    let mut old = array.items.clone();
    let mut ranges = Vec::with_capacity(n_dimensions);
    for (dimension, (length, lower)) in array.dimensions.iter().enumerate() {
        let first = i64::from(*lower);
        let last = first + i64::try_from(*length).unwrap_or(i64::MAX) - 1;
        let (from, to) = bounds.get(dimension).copied().unwrap_or((None, None));
        let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
        if from > to {
            return Err(wrong("upper bound cannot be less than lower bound"));
        }
        let mut start = first;
        if n_dimensions == 1 {
            start = first.min(from);
            let end = last.max(to);
            check_size(end - start + 1)?;
            let before = usize::try_from(first - start).unwrap_or(0);
            old.splice(0..0, std::iter::repeat_n(Value::Null, before));
            let wanted = usize::try_from(end - start + 1).unwrap_or(0);
            old.resize(wanted, Value::Null);
            dimensions[0] = (wanted, i32::try_from(start).unwrap_or(1));
        } else if from < first || to > last {
            return Err(wrong("array subscript out of range"));
        }
        ranges.push((usize::try_from(from - start).unwrap_or(0), usize::try_from(to - start).unwrap_or(0)));
    }
    let mut places = vec![0_usize];
    for ((length, _), (from, to)) in dimensions.iter().zip(&ranges) {
        places = places.iter().flat_map(|place| (*from..=*to).map(move |offset| place * length + offset)).collect();
    }
    if places.len() > items.len() {
        return Err(wrong("source array too small"));
    }
    for (place, item) in places.into_iter().zip(items) {
        old[place] = item;
    }
    Ok(Value::Array(Array { dimensions, items: old }.into()))
}

fn check_size(n_items: i64) -> Result<()> {
    if n_items > MOST_ITEMS {
        return Err(Error::new("54000", format!("array size exceeds the maximum allowed ({MOST_ITEMS})")));
    }
    Ok(())
}

fn new_array(mut items: Vec<Value>, bounds: &[(Option<i64>, Option<i64>)]) -> Result<Value> {
    let mut dimensions = Vec::with_capacity(bounds.len());
    let mut n_items = 1_i64;
    for bound in bounds {
        let (Some(from), Some(to)) = *bound else {
            return Err(wrong("array slice subscript must provide both boundaries").with_detail(
                "When assigning to a slice of an empty array value, slice boundaries must be fully specified.",
            ));
        };
        if from > to {
            return Err(wrong("upper bound cannot be less than lower bound"));
        }
        n_items = n_items.saturating_mul(to - from + 1);
        check_size(n_items)?;
        dimensions.push((usize::try_from(to - from + 1).unwrap_or(0), i32::try_from(from).unwrap_or(1)));
    }
    let n_items = usize::try_from(n_items).unwrap_or(0);
    if n_items > items.len() {
        return Err(wrong("source array too small"));
    }
    items.truncate(n_items);
    Ok(Value::Array(Array { dimensions, items }.into()))
}

fn assign_json(values: &[Value]) -> Result<Value> {
    let mut path = Vec::with_capacity(values.len() - 2);
    for key in &values[2..] {
        match key.as_text() {
            Some(key) => path.push(key.to_owned()),
            None => return Err(Error::new("22004", "jsonb subscript in assignment must not be null")),
        }
    }
    let new = match &values[1] {
        Value::Jsonb(json) => json.as_ref().clone(),
        _ => Json::Null,
    };
    match &values[0] {
        Value::Jsonb(json) => assigned(json, (&path, 0), new).map(Value::jsonb),
        _ => created(&path, new).map(Value::jsonb),
    }
}

/// What a path leads through where there is nothing yet.
fn created(path: &[String], new: Json) -> Result<Json> {
    let Some((key, rest)) = path.split_first() else { return Ok(new) };
    let inner = created(rest, new)?;
    match key.parse::<i32>() {
        Ok(index) => {
            let index = usize::try_from(index).map_err(|_| out_of_range(1, key))?;
            check_size(i64::try_from(index).unwrap_or(i64::MAX))?;
            let mut items = vec![Json::Null; index];
            items.push(inner);
            Ok(Json::List(items))
        }
        Err(_) => Ok(Json::object(vec![(key.clone(), inner)])),
    }
}

fn out_of_range(position: usize, key: &str) -> Error {
    Error::new("22023", format!("path element at position {position} is out of range: {key}"))
}

fn assigned(json: &Json, (path, depth): (&[String], usize), new: Json) -> Result<Json> {
    let Some(key) = path.get(depth) else { return Ok(new) };
    match json {
        Json::Object(fields) => {
            let mut fields = fields.clone();
            match fields.iter_mut().find(|(own, _)| own == key) {
                Some((_, value)) => *value = assigned(value, (path, depth + 1), new)?,
                None => fields.push((key.clone(), created(&path[depth + 1..], new)?)),
            }
            Ok(Json::object(fields))
        }
        Json::List(items) => {
            let index: i64 = key.parse::<i32>().map(i64::from).map_err(|_| {
                Error::new("22P02", format!("path element at position {} is not an integer: \"{key}\"", depth + 1))
            })?;
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if index < 0 { index + length } else { index };
            let index = usize::try_from(index).map_err(|_| out_of_range(depth + 1, key))?;
            check_size(i64::try_from(index).unwrap_or(i64::MAX))?;
            let mut items = items.clone();
            if index < items.len() {
                items[index] = assigned(&items[index], (path, depth + 1), new)?;
            } else {
                items.resize(index, Json::Null);
                items.push(created(&path[depth + 1..], new)?);
            }
            Ok(Json::List(items))
        }
        _ => Err(Error::new("22023", "cannot replace existing key")
            .with_detail("The path assumes key is a composite object, but it is a scalar value.")),
    }
}
