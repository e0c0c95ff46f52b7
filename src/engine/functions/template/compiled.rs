//! One template, read by minijinja: what it may do, what a value is in it, and its errors as ours. A template reads
//! nothing but its values, and has limits on its size, its steps and what it writes.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::datatypes::DataType;
use granary_sql::name::quote;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior};

use crate::error::{Error, Kind, Result};
use crate::row::{Value, float_text, text_of};

/// Of a template's text and of what it renders, bytes.
const LARGEST_TEXT: usize = 1 << 20;
/// How many steps a template may take for one row; 64 bytes that it makes or reads are a step, too.
const STEPS: u64 = 100_000;
/// How deep calls may go, such as those of a recursive loop.
const DEPTH: usize = 100;

const TEMPLATE: &str = "template";

/// What a template may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// one that [`crate::row::normalize_type`] gives
    pub data_type: DataType,
}

#[derive(Debug)]
pub struct Template {
    text: String,
    environment: Environment<'static>,
}

impl Template {
    /// Errors: 22023 for a syntax error, with its line; 54001 for a text that is too long.
    pub fn new(text: &str) -> Result<Template> {
        if text.len() > LARGEST_TEXT {
            let message = format!("a template has more than {LARGEST_TEXT} bytes");
            return Err(Error::new(Kind::StatementTooComplex, message).with_hint("shorten it"));
        }
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_formatter(write_value);
        environment.set_fuel(Some(STEPS));
        environment.set_recursion_limit(DEPTH);
        environment.remove_global("debug");
        environment.add_template_owned(TEMPLATE, text.to_owned()).map_err(ours)?;
        Ok(Template { text: text.to_owned(), environment })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Refuses a template that names what it is not given, or what there is not. It is tried out for the latter, with
    /// values of no meaning, and whatever else goes wrong then may go well with others.
    pub fn check(&self, given: &[Variable]) -> Result<()> {
        let template = self.environment.get_template(TEMPLATE).map_err(ours)?;
        let globals: BTreeSet<&str> = self.environment.globals().map(|(name, _)| name).collect();
        let is_given = |name: &str| globals.contains(name) || given.iter().any(|variable| variable.name == name);
        let undeclared: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        if let Some(missing) = undeclared.iter().find(|name| !is_given(name)) {
            return Err(self.missing(missing, given));
        }
        for sample in [sample as fn(&DataType) -> minijinja::Value, |_: &DataType| minijinja::Value::from(())] {
            let values = given.iter().map(|variable| (variable.name.clone(), sample(&variable.data_type)));
            let values: BTreeMap<String, minijinja::Value> = values.collect();
            if let Err(error) = template.render(values)
                && is_of_names(error.kind())
            {
                return Err(ours(error));
            }
        }
        Ok(())
    }

    /// Errors: 22023 for what goes wrong with these values, with its line; 54001 for a limit.
    pub fn render<'v>(&self, values: impl Iterator<Item = (&'v Variable, Option<&'v Value>)>) -> Result<String> {
        let values: BTreeMap<String, minijinja::Value> =
            values.map(|(variable, value)| (variable.name.clone(), value_in(value, &variable.data_type))).collect();
        let template = self.environment.get_template(TEMPLATE).map_err(ours)?;
        let rendered = template.render(values).map_err(ours)?;
        if rendered.len() > LARGEST_TEXT {
            let message = format!("a template renders more than {LARGEST_TEXT} bytes");
            return Err(Error::new(Kind::StatementTooComplex, message).with_hint("leave some of it out"));
        }
        Ok(rendered)
    }

    fn missing(&self, name: &str, given: &[Variable]) -> Error {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let names_it = |line: &str| line.split(|character| !is_word(character)).any(|word| word == name);
        let line = self.text.lines().position(names_it).map_or(1, |index| index + 1);
        let message = format!("template line {line}: variable \"{name}\" is not given");
        let names: Vec<&str> = given.iter().map(|variable| variable.name.as_str()).collect();
        let detail = match names.is_empty() {
            true => "No variables are given.".to_owned(),
            false => format!("These are given: {}.", names.join(", ")),
        };
        Error::new(Kind::InvalidParameterValue, message)
            .with_detail(detail)
            .with_hint(format!("give it: {} => value", quote(name)))
    }
}

fn is_of_names(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::TemplateNotFound
            | ErrorKind::TooManyArguments
            | ErrorKind::MissingArgument
    )
}

/// A value as templates have it. Whole numbers are numbers without a point, whatever their type; a numeric is a float,
/// as arithmetic and comparisons want it; what templates have no type for is its text.
fn value_in(value: Option<&Value>, data_type: &DataType) -> minijinja::Value {
    let Some(value) = value else { return minijinja::Value::from(()) };
    match (value, data_type) {
        (Value::Bool(value), _) => minijinja::Value::from(*value),
        (Value::Int(value), data_type) if data_type.is_integer() => minijinja::Value::from(*value),
        (Value::Float(value), DataType::Float32) => float_in(shortest(*value)),
        (Value::Float(value), _) => float_in(*value),
        (Value::Decimal(value), DataType::Decimal128(_, 0)) => minijinja::Value::from(*value),
        (Value::Decimal(_), data_type) => match text_of(value, data_type).parse() {
            Ok(float) => float_in(float),
            Err(_) => minijinja::Value::from(text_of(value, data_type)),
        },
        (Value::Text(text), _) => minijinja::Value::from(text.as_ref()),
        (Value::List(items), DataType::List(item)) => {
            items.iter().map(|value| value_in(value.as_ref(), item.data_type())).collect()
        }
        (value, data_type) => minijinja::Value::from(text_of(value, data_type)),
    }
}

/// The float of eight bytes that has the digits of one of four.
fn shortest(value: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, reason = "it was one of four bytes")]
    let short = value as f32;
    short.to_string().parse().unwrap_or(value)
}

/// Whole numbers that PostgreSQL writes without an exponent are written as such in lists, too.
fn float_in(value: f64) -> minijinja::Value {
    let is_whole = value.fract() == 0.0 && value.abs() < 1e15 && !(value == 0.0 && value.is_sign_negative());
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
    match is_whole {
        true => minijinja::Value::from(value as i64),
        false => minijinja::Value::from(value),
    }
}

fn sample(data_type: &DataType) -> minijinja::Value {
    match data_type {
        DataType::Boolean => minijinja::Value::from(true),
        DataType::List(item) => [sample(item.data_type())].into_iter().collect(),
        data_type if data_type.is_numeric() => minijinja::Value::from(1),
        _ => minijinja::Value::from("1"),
    }
}

/// NULL is no text, as in SQL's `concat`; numbers and booleans are written as PostgreSQL casts them to text.
fn write_value(out: &mut Output, state: &mut State, value: &minijinja::Value) -> Result<(), minijinja::Error> {
    let text = match value.kind() {
        ValueKind::None => return Ok(()),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(float) => float_text(float),
            Err(_) => return minijinja::escape_formatter(out, state, value),
        },
        _ => return minijinja::escape_formatter(out, state, value),
    };
    Ok(out.write_str(&text)?)
}

fn ours(error: minijinja::Error) -> Error {
    let line = error.line().map_or_else(String::new, |line| format!(" line {line}"));
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.kind() {
        ErrorKind::OutOfFuel => {
            let message = format!("template{line}: it takes more than {STEPS} steps");
            let detail = "A step is an operation, or 64 bytes that the template makes.";
            Error::new(Kind::StatementTooComplex, message).with_detail(detail).with_hint("loop over less")
        }
        _ => Error::new(Kind::InvalidParameterValue, format!("template{line}: {what}")),
    }
}
