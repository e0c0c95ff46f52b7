//! Column statistics of a Parquet file in Delta's JSON, from the file's own footer.
//!
//! A bound that is not certain is left out, never guessed: floats have none (Parquet's do not tell of NaN, which is
//! the greatest), nor has a year that the text form has no room for.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use chrono::{DateTime, Datelike as _, NaiveDate};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use crate::error::{Error, Result};
use crate::row::{Value, values_of};

/// 1970-01-01, counted from 0001-01-01 as day 1.
const EPOCH_DAY: i32 = 719_163;

struct Bounds {
    min: Option<Value>,
    max: Option<Value>,
    nulls: Option<u64>,
}

/// `{"numRecords":…,"minValues":{…},"maxValues":{…},"nullCount":{…}}` of all scalar columns.
pub(super) fn delta_statistics(schema: &Schema, metadata: &ParquetMetaData) -> Result<String> {
    let mut min_values = Vec::new();
    let mut max_values = Vec::new();
    let mut null_counts = Vec::new();
    for field in schema.fields() {
        if matches!(field.data_type(), DataType::List(_) | DataType::Struct(_)) {
            continue;
        }
        let bounds = bounds(field.name(), schema, metadata)?;
        let name = serde_json::to_string(field.name()).expect("text is JSON");
        let add = |to: &mut Vec<String>, value: Option<Value>| {
            if let Some(text) = value.and_then(|value| json_of(&value, field.data_type())) {
                to.push(format!("{name}:{text}"));
            }
        };
        add(&mut min_values, bounds.min);
        add(&mut max_values, bounds.max);
        null_counts.extend(bounds.nulls.map(|nulls| format!("{name}:{nulls}")));
    }
    Ok(format!(
        r#"{{"numRecords":{},"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
        metadata.file_metadata().num_rows(),
        min_values.join(","),
        max_values.join(","),
        null_counts.join(",")
    ))
}

fn bounds(name: &str, schema: &Schema, metadata: &ParquetMetaData) -> Result<Bounds> {
    let groups = metadata.row_groups();
    let read = || -> Result<_, ParquetError> {
        let converter = StatisticsConverter::try_new(name, schema, metadata.file_metadata().schema_descr())?;
        let nulls = converter.row_group_null_counts(groups)?;
        Ok((converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?, nulls))
    };
    let (mins, maxs, nulls) =
        read().map_err(|error| Error::internal("statistics just written cannot be read").with_source(error))?;
    // a row group without a bound is harmless only if it has no value at all
    let certain = groups
        .iter()
        .zip(&nulls)
        .zip((0..groups.len()).map(|group| mins.is_valid(group) && maxs.is_valid(group)))
        .all(|((group, nulls), known)| known || nulls == u64::try_from(group.num_rows()).ok());
    let nulls = nulls.iter().sum::<Option<u64>>();
    if !certain {
        return Ok(Bounds { min: None, max: None, nulls });
    }
    let min = values_of(&mins)?.into_iter().flatten().min();
    let max = values_of(&maxs)?.into_iter().flatten().max();
    Ok(Bounds { min, max, nulls })
}

fn json_of(value: &Value, data_type: &DataType) -> Option<String> {
    Some(match (value, data_type) {
        (Value::Int(days), DataType::Date32) => {
            let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(*days).ok()?.checked_add(EPOCH_DAY)?)?;
            (1..=9999).contains(&date.year()).then(|| date.format("\"%Y-%m-%d\"").to_string())?
        }
        (Value::Int(time_us), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let time = DateTime::from_timestamp_micros(*time_us)?;
            let form = if zone.is_some() { "\"%Y-%m-%dT%H:%M:%S%.6fZ\"" } else { "\"%Y-%m-%dT%H:%M:%S%.6f\"" };
            (1..=9999).contains(&time.year()).then(|| time.format(form).to_string())?
        }
        (Value::Int(number), _) => number.to_string(),
        (Value::Decimal(unscaled), DataType::Decimal128(_, scale)) => {
            decimal_text(*unscaled, usize::try_from(*scale).ok()?)
        }
        (Value::Text(text), _) => serde_json::to_string(text.as_ref()).ok()?,
        _ => return None,
    })
}

fn decimal_text(unscaled: i128, scale: usize) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_deltas_text_form() {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let local = DataType::Timestamp(TimeUnit::Microsecond, None);
        let check = |value: Value, data_type: &DataType, expected: Option<&str>| {
            assert_eq!(json_of(&value, data_type).as_deref(), expected);
        };
        check(Value::Int(-1), &utc, Some("\"1969-12-31T23:59:59.999999Z\""));
        check(Value::Int(1_000_001), &local, Some("\"1970-01-01T00:00:01.000001\""));
        check(Value::Int(i64::MAX), &utc, None);
        check(Value::Int(-1), &DataType::Date32, Some("\"1969-12-31\""));
        check(Value::Int(i64::from(i32::MAX)), &DataType::Date32, None);
        check(Value::Float(0.5), &DataType::Float64, None);
        check(Value::Decimal(-5), &DataType::Decimal128(10, 2), Some("-0.05"));
        check(Value::Decimal(12345), &DataType::Decimal128(10, 2), Some("123.45"));
        check(Value::Decimal(7), &DataType::Decimal128(20, 0), Some("7"));
        check(Value::Text("a\"b".into()), &DataType::Utf8, Some(r#""a\"b""#));
        check(Value::Bool(true), &DataType::Boolean, None);
    }
}
