//! Text constants that become another type are read as PostgreSQL reads them, before DataFusion would fold them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;
use granary_sql::timestamp::{TimestampError, parse_timestamp};

use super::into_datafusion;
use crate::error::{Error, Kind};
use crate::row::type_name;

/// Runs behind type coercion, which makes casts out of comparisons such as `ts > '2024-01-01 10:00'`.
#[derive(Debug)]
pub struct TextLiterals;

impl AnalyzerRule for TextLiterals {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let read = |plan: LogicalPlan| {
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

fn read_cast(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = &expr else { return Ok(Transformed::no(expr)) };
    let Expr::Literal(scalar, metadata) = inner.as_ref() else { return Ok(Transformed::no(expr)) };
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
