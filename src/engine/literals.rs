//! Text constants that become another type are read as PostgreSQL reads them, before DataFusion would fold them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use granary_sql::timestamp::{TimestampError, parse_timestamp};

use super::array_text::array_items;
use super::into_datafusion;
use crate::error::{Error, Kind};
use crate::row::type_name;

/// Runs behind type coercion, which makes casts out of comparisons such as `ts > '2024-01-01 10:00'`.
#[derive(Debug)]
pub struct TextLiterals;

impl AnalyzerRule for TextLiterals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let read = |plan: LogicalPlan| {
            let schema = match plan.inputs().as_slice() {
                [] => plan.schema().as_ref().clone(),
                inputs => merge_schema(inputs),
            };
            let read_cast = |expr: Expr| read_cast(expr, &schema);
            let has_names =
                matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_));
            if !has_names {
                return plan.map_expressions(|expr| expr.transform_up(read_cast));
            }
            // A column without AS is named after its expression, and keeps that name.
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expr.transform_up(read_cast)?.update_data(|expr| name.restore(expr)))
            })
        };
        plan.transform_up_with_subqueries(read).map(|transformed| transformed.data)
    }

    fn name(&self) -> &'static str {
        "text_literals"
    }
}

fn read_cast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = &expr else { return Ok(Transformed::no(expr)) };
    let Expr::Literal(scalar, metadata) = inner.as_ref() else {
        // DataFusion would make an array of one item, the text as it is.
        if matches!(field.data_type(), DataType::List(_)) && inner.get_type(schema).is_ok_and(|from| from.is_string()) {
            return Err(into_datafusion(Error::not_supported("a cast of text that is not a constant to an array")));
        }
        return Ok(Transformed::no(expr));
    };
    let (ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text))) =
        scalar
    else {
        return Ok(Transformed::no(expr));
    };
    let value = read(text, scalar, field.data_type()).map_err(into_datafusion)?;
    Ok(Transformed::yes(Expr::Literal(value, metadata.clone())))
}

fn read(text: &str, scalar: &ScalarValue, data_type: &DataType) -> Result<ScalarValue, Error> {
    if let DataType::Timestamp(unit, zone) = data_type {
        let time_us = parse_timestamp(text).map_err(|error| time_error(text, data_type, &error))?;
        let in_unit = match unit {
            TimeUnit::Second => Some(time_us.div_euclid(1_000_000)),
            TimeUnit::Millisecond => Some(time_us.div_euclid(1000)),
            TimeUnit::Microsecond => Some(time_us),
            TimeUnit::Nanosecond => time_us.checked_mul(1000),
        };
        let out_of_range = || Error::new(Kind::DatetimeFieldOverflow, format!("timestamp out of range: \"{text}\""));
        let time = Some(in_unit.ok_or_else(out_of_range)?);
        let zone = zone.clone();
        return Ok(match unit {
            TimeUnit::Second => ScalarValue::TimestampSecond(time, zone),
            TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(time, zone),
            TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(time, zone),
            TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(time, zone),
        });
    }
    if data_type.is_binary()
        && let Some(digits) = text.strip_prefix("\\x")
    {
        let bytes = hex(digits).ok_or_else(|| {
            Error::new(Kind::InvalidTextRepresentation, format!("invalid hexadecimal data: \"{text}\""))
        })?;
        return Ok(ScalarValue::Binary(Some(bytes)).cast_to(data_type)?);
    }
    if let DataType::List(item) = data_type {
        let items = array_items(text)?;
        let read_item = |item_text: &Option<String>| match item_text {
            Some(text) => read(text, &ScalarValue::from(text.as_str()), item.data_type()),
            None => Ok(ScalarValue::try_from(item.data_type())?),
        };
        let values = items.iter().map(read_item).collect::<Result<Vec<_>, Error>>()?;
        let list = ScalarValue::List(ScalarValue::new_list(&values, item.data_type(), true));
        return Ok(list.cast_to(data_type)?);
    }
    if data_type.is_floating() && is_too_large(text, data_type) {
        let message = format!("\"{text}\" is out of range for type {}", type_name(data_type));
        return Err(Error::new(Kind::NumericValueOutOfRange, message));
    }
    let trimmed = if data_type.is_numeric() { ScalarValue::from(text.trim()) } else { scalar.clone() };
    trimmed.cast_to(data_type).map_err(|error| {
        let kind = match data_type {
            DataType::Date32 | DataType::Date64 | DataType::Time32(_) | DataType::Time64(_) => {
                Kind::InvalidDatetimeFormat
            }
            DataType::Interval(_) | DataType::Duration(_) => Kind::InvalidDatetimeFormat,
            _ => Kind::InvalidTextRepresentation,
        };
        let whole_number = text.trim().trim_start_matches(['-', '+']);
        if data_type.is_integer() && !whole_number.is_empty() && whole_number.bytes().all(|byte| byte.is_ascii_digit())
        {
            let message = format!("value \"{text}\" is out of range for type {}", type_name(data_type));
            return Error::new(Kind::NumericValueOutOfRange, message);
        }
        Error::new(kind, format!("invalid input syntax for type {}: \"{text}\"", type_name(data_type)))
            .with_source(error)
    })
}

/// Whether digits make a number that the type only has as an infinity.
fn is_too_large(text: &str, data_type: &DataType) -> bool {
    let is_infinite = match data_type {
        DataType::Float32 => text.trim().parse::<f32>().is_ok_and(f32::is_infinite),
        _ => text.trim().parse::<f64>().is_ok_and(f64::is_infinite),
    };
    is_infinite && text.contains(|character: char| character.is_ascii_digit())
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || digits.len() % 2 == 1 {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn time_error(text: &str, data_type: &DataType, error: &TimestampError) -> Error {
    match error {
        TimestampError::Syntax(_) => Error::new(
            Kind::InvalidDatetimeFormat,
            format!("invalid input syntax for type {}: \"{text}\"", type_name(data_type)),
        )
        .with_hint(error.hint()),
        _ => Error::new(Kind::DatetimeFieldOverflow, error.to_string()),
    }
}
