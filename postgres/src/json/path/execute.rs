//! What a path finds in a value.

use bigdecimal::RoundingMode;

use super::{Node, Path, Step};
use crate::datetime::{self, Clock};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::numeric::Numeric;
use crate::regexp;
use crate::types::{self as t, Type};
use crate::value::{Value, compare};

/// What a path gives on its way.
#[derive(Debug, Clone)]
enum Item {
    Json(Json),
    /// of `datetime()`: a value and its type
    Time(Value, u32),
}

struct Surroundings<'p> {
    root: &'p Json,
    variables: &'p Json,
    is_strict: bool,
    clock: Clock,
}

/// What names stand for at a place in a path.
#[derive(Clone, Copy)]
struct Here<'h> {
    current: Option<&'h Item>,
    /// of the list whose items are looked for
    last: Option<i64>,
}

/// Errors: those of SQL/JSON, and 42704 for a variable that there is not.
pub fn query(path: &Path, root: &Json, variables: &Json, clock: Clock) -> Result<Vec<Json>> {
    let surroundings = Surroundings { root, variables, is_strict: path.is_strict, clock };
    let found = surroundings.items(&path.node, Here { current: None, last: None })?;
    Ok(found.into_iter().map(|item| surroundings.json(item)).collect())
}

/// Whether an error is one that a path may keep to itself.
pub fn is_silent(error: &Error) -> bool {
    error.sqlstate.starts_with("2203") || matches!(error.sqlstate, "22012" | "22003" | "22007" | "22P02" | "22008")
}

fn wrong(sqlstate: &'static str, message: impl Into<String>) -> Error {
    Error::new(sqlstate, message)
}

impl Surroundings<'_> {
    fn json(&self, item: Item) -> Json {
        match item {
            Item::Json(json) => json,
            Item::Time(value, oid) => {
                let shown = crate::text::format(&value, &Type::of(oid), self.clock).unwrap_or_default();
                Json::Text(shown.replacen(' ', "T", 1))
            }
        }
    }

    fn items(&self, node: &Node, here: Here<'_>) -> Result<Vec<Item>> {
        let one = |json: Json| Ok(vec![Item::Json(json)]);
        match node {
            Node::Root => one(self.root.clone()),
            Node::Current => Ok(here.current.cloned().into_iter().collect()),
            Node::Last => one(Json::Number(Numeric::from(here.last.unwrap_or(0)))),
            Node::Variable(name) => {
                let found = self.variables.field(name);
                let found =
                    found.ok_or_else(|| wrong("42704", format!("could not find jsonpath variable \"{name}\"")))?;
                one(found.clone())
            }
            Node::Null => one(Json::Null),
            Node::Bool(truth) => one(Json::Bool(*truth)),
            Node::Number(number) => one(Json::Number(number.clone())),
            Node::Text(text) => one(Json::Text(text.clone())),
            Node::Access(base, step) => {
                let mut found = Vec::new();
                for item in self.items(base, here)? {
                    self.step(step, item, !self.is_strict, here, &mut found)?;
                }
                Ok(found)
            }
            Node::Binary(name @ ("+" | "-" | "*" | "/" | "%"), left, right) => {
                let operand = |node: &Node, side: &str| -> Result<Numeric> {
                    match self.unwrapped(node, here)?.as_slice() {
                        [Item::Json(Json::Number(number))] => Ok(number.clone()),
                        _ => Err(wrong(
                            "22038",
                            format!("{side} operand of jsonpath operator {name} is not a single numeric value"),
                        )),
                    }
                };
                let (left, right) = (operand(left, "left")?, operand(right, "right")?);
                one(Json::Number(match *name {
                    "+" => left.add(&right)?,
                    "-" => left.subtract(&right)?,
                    "*" => left.multiply(&right)?,
                    "/" => left.divide(&right)?,
                    _ => left.remainder(&right)?,
                }))
            }
            Node::Sign(sign, inner) => self
                .unwrapped(inner, here)?
                .into_iter()
                .map(|item| match item {
                    Item::Json(Json::Number(number)) => {
                        Ok(Item::Json(Json::Number(if *sign == '-' { number.negated() } else { number })))
                    }
                    _ => {
                        Err(wrong("2203B", format!("operand of unary jsonpath operator {sign} is not a numeric value")))
                    }
                })
                .collect(),
            predicate => one(self.holds(predicate, here)?.map_or(Json::Null, Json::Bool)),
        }
    }

    /// Lists give their items where the path is lax.
    fn unwrapped(&self, node: &Node, here: Here<'_>) -> Result<Vec<Item>> {
        let items = self.items(node, here)?;
        if self.is_strict {
            return Ok(items);
        }
        Ok(items
            .into_iter()
            .flat_map(|item| match item {
                Item::Json(Json::List(items)) => items.into_iter().map(Item::Json).collect(),
                other => vec![other],
            })
            .collect())
    }

    fn step(&self, step: &Step, item: Item, unwraps: bool, here: Here<'_>, found: &mut Vec<Item>) -> Result<()> {
        let takes_lists = matches!(step, Step::AnyItem | Step::Items(_) | Step::Depths(..))
            || matches!(step, Step::Method("type" | "size", _));
        if let Item::Json(Json::List(items)) = &item
            && unwraps
            && !takes_lists
        {
            return items.iter().try_for_each(|item| self.step(step, Item::Json(item.clone()), false, here, found));
        }
        match step {
            Step::Key(key) => match &item {
                Item::Json(Json::Object(_)) => match self.field(&item, key) {
                    Some(value) => found.push(Item::Json(value)),
                    None if self.is_strict => {
                        return Err(wrong("2203A", format!("JSON object does not contain key \"{key}\"")));
                    }
                    None => {}
                },
                _ if self.is_strict => {
                    return Err(wrong("2203A", "jsonpath member accessor can only be applied to an object"));
                }
                _ => {}
            },
            Step::AnyKey => match item {
                Item::Json(Json::Object(fields)) => {
                    found.extend(fields.into_iter().map(|(_, value)| Item::Json(value)))
                }
                _ if self.is_strict => {
                    return Err(wrong("2203C", "jsonpath wildcard member accessor can only be applied to an object"));
                }
                _ => {}
            },
            Step::AnyItem => match item {
                Item::Json(Json::List(items)) => found.extend(items.into_iter().map(Item::Json)),
                _ if self.is_strict => {
                    return Err(wrong("22039", "jsonpath wildcard array accessor can only be applied to an array"));
                }
                other => found.push(other),
            },
            Step::Items(ranges) => {
                let items = match item {
                    Item::Json(Json::List(items)) => items.into_iter().map(Item::Json).collect(),
                    _ if self.is_strict => {
                        return Err(wrong("22039", "jsonpath array accessor can only be applied to an array"));
                    }
                    other => vec![other],
                };
                self.ranges(ranges, &items, here, found)?;
            }
            Step::Depths(from, to) => {
                if let Item::Json(json) = &item {
                    depths(json, 0, (*from, *to), found);
                }
            }
            Step::Filter(predicate) => {
                let inner = Here { current: Some(&item), ..here };
                if self.holds(predicate, inner)? == Some(true) {
                    found.push(item);
                }
            }
            Step::Method(name, argument) => found.extend(self.method(name, argument.as_deref(), item)?),
        }
        Ok(())
    }

    fn field(&self, item: &Item, key: &str) -> Option<Json> {
        match item {
            Item::Json(json) => json.field(key).cloned(),
            Item::Time(..) => None,
        }
    }

    fn ranges(
        &self,
        ranges: &[(Node, Option<Node>)],
        items: &[Item],
        here: Here<'_>,
        found: &mut Vec<Item>,
    ) -> Result<()> {
        let n = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let here = Here { last: Some(n - 1), ..here };
        let index = |node: &Node| -> Result<i64> {
            match self.items(node, here)?.as_slice() {
                [Item::Json(Json::Number(number))] => number
                    .truncated(0)
                    .to_i64()
                    .filter(|index| i32::try_from(*index).is_ok())
                    .ok_or_else(|| wrong("22033", "jsonpath array subscript is out of integer range")),
                _ => Err(wrong("22033", "jsonpath array subscript is not a single numeric value")),
            }
        };
        for (from, to) in ranges {
            let from = index(from)?;
            let to = to.as_ref().map_or(Ok(from), &index)?;
            if self.is_strict && (from < 0 || from > to || to >= n) {
                return Err(wrong("22033", "jsonpath array subscript is out of bounds"));
            }
            for place in from.max(0)..=to.min(n - 1) {
                found.extend(usize::try_from(place).ok().and_then(|place| items.get(place)).cloned());
            }
        }
        Ok(())
    }

    fn method(&self, name: &str, argument: Option<&str>, item: Item) -> Result<Vec<Item>> {
        let one = |json: Json| Ok(vec![Item::Json(json)]);
        match (name, item) {
            ("type", item) => one(Json::Text(match &item {
                Item::Json(json) => json.type_name().to_owned(),
                Item::Time(_, oid) => t::format_type(*oid, None),
            })),
            ("size", Item::Json(Json::List(items))) => {
                one(Json::Number(Numeric::from(i64::try_from(items.len()).unwrap_or(i64::MAX))))
            }
            ("size", _) if self.is_strict => {
                Err(wrong("22039", "jsonpath item method .size() can only be applied to an array"))
            }
            ("size", _) => one(Json::Number(Numeric::from(1_i64))),
            ("abs", Item::Json(Json::Number(number))) => {
                one(Json::Number(if number.is_negative() { number.negated() } else { number }))
            }
            ("floor", Item::Json(Json::Number(number))) => one(Json::Number(number.whole(RoundingMode::Floor))),
            ("ceiling", Item::Json(Json::Number(number))) => one(Json::Number(number.whole(RoundingMode::Ceiling))),
            ("double", Item::Json(Json::Number(number))) => one(Json::Number(number)),
            ("double", Item::Json(Json::Text(text))) => {
                let invalid = || {
                    wrong(
                        "22036",
                        "string argument of jsonpath item method .double() is not a valid representation of a double precision number",
                    )
                };
                let value = crate::text::parse(&text, &Type::of(t::FLOAT8), self.clock).map_err(|_| invalid())?;
                let shown = crate::text::format(&value, &Type::of(t::FLOAT8), self.clock).unwrap_or_default();
                let number: Numeric = shown.parse().map_err(|_| invalid())?;
                if number.finite().is_none() {
                    return Err(wrong("22036", "NaN or Infinity is not allowed for jsonpath item method .double()"));
                }
                one(Json::Number(number))
            }
            ("double", _) => {
                Err(wrong("22036", "jsonpath item method .double() can only be applied to a string or numeric value"))
            }
            ("abs" | "floor" | "ceiling", _) => {
                Err(wrong("22036", format!("jsonpath item method .{name}() can only be applied to a numeric value")))
            }
            ("keyvalue", Item::Json(Json::Object(fields))) => Ok(fields
                .into_iter()
                .map(|(key, value)| {
                    Item::Json(Json::object(vec![
                        ("id".to_owned(), Json::Number(Numeric::from(0_i64))),
                        ("key".to_owned(), Json::Text(key)),
                        ("value".to_owned(), value),
                    ]))
                })
                .collect()),
            ("keyvalue", _) => Err(wrong("2203C", "jsonpath item method .keyvalue() can only be applied to an object")),
            ("datetime", Item::Json(Json::Text(text))) => {
                if argument.is_some() {
                    return Err(Error::not_supported("a template of the jsonpath method datetime()"));
                }
                let (value, oid) = self.time_of(&text).ok_or_else(|| {
                    wrong("22007", format!("datetime format is not recognized: \"{text}\""))
                        .with_hint("Use a datetime template argument to specify the input data format.")
                })?;
                Ok(vec![Item::Time(value, oid)])
            }
            _ => Err(wrong("22007", "jsonpath item method .datetime() can only be applied to a string")),
        }
    }

    /// A date, a time or both, with a zone or without, in ISO 8601.
    fn time_of(&self, text: &str) -> Option<(Value, u32)> {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let has_zone = |clock: &str| clock.contains(['+', '-']);
        if shape == "0000-00-00" {
            return datetime::parse_date(text, self.clock).ok().map(|days| (Value::Date(days), t::DATE));
        }
        if shape.starts_with("00:00:00") {
            let zoned = has_zone(&shape);
            let (time, zone) = datetime::parse_time(text, zoned, self.clock).ok()?;
            return Some(if zoned { (Value::TimeZoned(time, zone), t::TIMETZ) } else { (Value::Time(time), t::TIME) });
        }
        if shape.starts_with("0000-00-00 00:00:00") || shape.starts_with("0000-00-00T00:00:00") {
            let zoned = has_zone(&shape[10..]);
            let time = datetime::parse_timestamp(text, zoned, self.clock).ok()?;
            return Some((Value::Timestamp(time), if zoned { t::TIMESTAMPTZ } else { t::TIMESTAMP }));
        }
        None
    }

    /// None for unknown.
    fn holds(&self, predicate: &Node, here: Here<'_>) -> Result<Option<bool>> {
        // what fails in a predicate is not known
        let silent = |found: Result<Vec<Item>>| match found {
            Ok(items) => Ok(Some(items)),
            Err(error) if is_silent(&error) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(match predicate {
            Node::Binary("&&", left, right) => match self.holds(left, here)? {
                Some(false) => Some(false),
                left => match (left, self.holds(right, here)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), right) => right,
                    _ => None,
                },
            },
            Node::Binary("||", left, right) => match self.holds(left, here)? {
                Some(true) => Some(true),
                left => match (left, self.holds(right, here)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), right) => right,
                    _ => None,
                },
            },
            Node::Not(inner) => self.holds(inner, here)?.map(|truth| !truth),
            Node::IsUnknown(inner) => Some(self.holds(inner, here)?.is_none()),
            Node::Exists(inner) => silent(self.items(inner, here))?.map(|items| !items.is_empty()),
            Node::Binary(name, left, right) => {
                let (Some(left), Some(right)) =
                    (silent(self.unwrapped(left, here))?, silent(self.unwrapped(right, here))?)
                else {
                    return Ok(None);
                };
                self.any(&left, &right, |left, right| self.compared(name, left, right))?
            }
            Node::StartsWith(value, start) => {
                let (Some(values), Some(starts)) =
                    (silent(self.unwrapped(value, here))?, silent(self.items(start, here))?)
                else {
                    return Ok(None);
                };
                self.any(&values, &starts, |value, start| {
                    Ok(match (value, start) {
                        (Item::Json(Json::Text(value)), Item::Json(Json::Text(start))) => {
                            Some(value.starts_with(start.as_str()))
                        }
                        _ => None,
                    })
                })?
            }
            Node::LikeRegex { value, pattern, flags } => {
                let Some(values) = silent(self.unwrapped(value, here))? else { return Ok(None) };
                // lines are told apart unless a flag says so
                let mut own: String = flags.chars().filter(|flag| matches!(flag, 'i' | 'q')).collect();
                if !flags.contains('q') {
                    match (flags.contains('s'), flags.contains('m')) {
                        (false, false) => own.push('p'),
                        (false, true) => own.push('n'),
                        (true, true) => own.push('w'),
                        (true, false) => {}
                    }
                }
                let regexp = regexp::compile(pattern, &own)?;
                self.any(&values, &[Item::Json(Json::Null)], |value, _| match value {
                    Item::Json(Json::Text(value)) => regexp.is_match(value).map(Some),
                    _ => Ok(None),
                })?
            }
            other => match self.items(other, here)?.as_slice() {
                [Item::Json(Json::Bool(truth))] => Some(*truth),
                _ => None,
            },
        })
    }

    /// Whether a pair holds; a strict path wants to know of all.
    fn any(
        &self,
        left: &[Item],
        right: &[Item],
        holds: impl Fn(&Item, &Item) -> Result<Option<bool>>,
    ) -> Result<Option<bool>> {
        let (mut is_unknown, mut is_found) = (false, false);
        for left in left {
            for right in right {
                match holds(left, right)? {
                    None if self.is_strict => return Ok(None),
                    None => is_unknown = true,
                    Some(true) if !self.is_strict => return Ok(Some(true)),
                    Some(true) => is_found = true,
                    Some(false) => {}
                }
            }
        }
        Ok(if is_found {
            Some(true)
        } else if is_unknown {
            None
        } else {
            Some(false)
        })
    }

    fn compared(&self, name: &str, left: &Item, right: &Item) -> Result<Option<bool>> {
        let order = match (left, right) {
            (Item::Json(Json::Null), Item::Json(Json::Null)) => std::cmp::Ordering::Equal,
            (Item::Json(Json::Null), _) | (_, Item::Json(Json::Null)) => return Ok(Some(name == "!=")),
            (Item::Json(left @ Json::Bool(_)), Item::Json(right @ Json::Bool(_)))
            | (Item::Json(left @ Json::Number(_)), Item::Json(right @ Json::Number(_)))
            | (Item::Json(left @ Json::Text(_)), Item::Json(right @ Json::Text(_))) => left.cmp(right),
            (Item::Time(left, left_type), Item::Time(right, right_type)) => {
                if left_type == right_type {
                    compare(left, right)
                } else {
                    let is_local = |oid: u32| matches!(oid, t::DATE | t::TIMESTAMP);
                    if !is_local(*left_type) || !is_local(*right_type) {
                        return Ok(None);
                    }
                    let moment = |value: &Value| crate::functions::moment_of(value, self.clock);
                    moment(left).cmp(&moment(right))
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(match name {
            "==" => order.is_eq(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            _ => order.is_ge(),
        }))
    }
}

/// All values in it between two depths; no end is the deepest.
fn depths(json: &Json, depth: u32, (from, to): (Option<u32>, Option<u32>), found: &mut Vec<Item>) {
    let is_leaf = !matches!(json, Json::List(_) | Json::Object(_));
    let is_deep_enough = from.map_or(is_leaf, |from| depth >= from);
    if is_deep_enough && to.is_none_or(|to| depth <= to) {
        found.push(Item::Json(json.clone()));
    }
    if to.is_some_and(|to| depth >= to) {
        return;
    }
    match json {
        Json::List(items) => items.iter().for_each(|item| depths(item, depth + 1, (from, to), found)),
        Json::Object(fields) => fields.iter().for_each(|(_, value)| depths(value, depth + 1, (from, to), found)),
        _ => {}
    }
}
