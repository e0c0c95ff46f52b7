//! What PostgreSQL knows of itself: types, settings of its build, locks that nobody holds.

use super::{int, text};
use crate::error::Error;
use crate::numeric::Numeric;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::{self as t, Type, format_type};
use crate::value::Value;
use crate::world::NameKind;

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    let first = arguments.first().cloned();
    let constant = |value: Value| Some(Function::new("constant", move |_, _| Ok(value.clone())));
    match proc.source {
        "format_type" => Some(Function::new("format_type", |_, values| {
            let Value::Int(oid) = values[0] else { return Ok(Value::Null) };
            let modifier = values[1].as_int().and_then(|modifier| i32::try_from(modifier).ok());
            Ok(Value::text(match (u32::try_from(oid).unwrap_or(0), modifier) {
                // without a modifier, the bare name
                (t::BPCHAR, None) => "character".to_owned(),
                (t::BPCHAR, Some(modifier)) if modifier < 0 => "bpchar".to_owned(),
                (oid, modifier) => format_type(oid, modifier),
            }))
        })),
        "pg_typeof" => {
            let data_type = first?;
            Some(Function::new("pg_typeof", move |_, _| Ok(Value::Int(i64::from(data_type.oid)))))
        }
        "PG_encoding_to_char" => Some(Function::new("pg_encoding_to_char", |_, values| {
            Ok(Value::text(match int(&values[0]) {
                0 => "SQL_ASCII",
                6 => "UTF8",
                8 => "LATIN1",
                _ => "",
            }))
        })),
        "PG_char_to_encoding" => Some(Function::new("pg_char_to_encoding", |_, values| {
            Ok(Value::Int(match text(&values[0]).to_ascii_uppercase().as_str() {
                "SQL_ASCII" => 0,
                "UTF8" | "UTF-8" | "UNICODE" => 6,
                "LATIN1" => 8,
                _ => -1,
            }))
        })),
        "pg_column_size" => Some(Function::new("pg_column_size", |_, values| {
            Ok(Value::Int(match &values[0] {
                Value::Bool(_) => 1,
                Value::Text(text) => i64::try_from(text.len()).unwrap_or(0) + 1,
                Value::Date(_) => 4,
                Value::Interval(_) | Value::Uuid(_) => 16,
                _ => 8,
            }))
        })),
        "pg_size_pretty" => {
            Some(Function::new("pg_size_pretty", |_, values| Ok(Value::text(pretty_size(int(&values[0]))))))
        }
        "pg_size_pretty_numeric" => Some(Function::new("pg_size_pretty", |_, values| {
            let Value::Numeric(number) = &values[0] else { return Ok(Value::Null) };
            const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
            let (mut size, mut unit) = (number.clone(), 0);
            let limit = Numeric::from(10_240_i64);
            let doubled = Numeric::from(20_479_i64);
            let by = |number: i64| Numeric::from(number);
            let mut is_doubled = false;
            let abs = |size: &Numeric| if size.is_negative() { size.negated() } else { size.clone() };
            while unit + 1 < UNITS.len() && abs(&size) >= if is_doubled { doubled.clone() } else { limit.clone() } {
                size = size.divide(&by(if is_doubled { 1024 } else { 512 }))?.truncated(0);
                is_doubled = true;
                unit += 1;
            }
            if is_doubled {
                let one = by(if size.is_negative() { -1 } else { 1 });
                size = size.add(&one)?.divide(&by(2))?.truncated(0);
            }
            Ok(Value::text(format!("{size} {}", UNITS[unit])))
        })),
        "pg_size_bytes" => Some(Function::new("pg_size_bytes", |_, values| {
            let whole = text(&values[0]);
            let wrong = || Error::new("22023", format!("invalid size: \"{whole}\""));
            let trimmed = whole.trim();
            let end = trimmed
                .char_indices()
                .find(|(at, c)| !(c.is_ascii_digit() || *c == '.' || (*at == 0 && matches!(c, '+' | '-'))))
                .map_or(trimmed.len(), |(at, _)| at);
            let number: Numeric = trimmed[..end].parse().map_err(|_| wrong())?;
            let unit = trimmed[end..].trim();
            let shift = match unit.to_ascii_lowercase().as_str() {
                "" | "b" | "bytes" => 0,
                "kb" => 10,
                "mb" => 20,
                "gb" => 30,
                "tb" => 40,
                "pb" => 50,
                _ => {
                    return Err(wrong()
                        .with_detail(format!("Invalid size unit: \"{unit}\"."))
                        .with_hint("Valid units are \"bytes\", \"B\", \"kB\", \"MB\", \"GB\", \"TB\", and \"PB\"."));
                }
            };
            let bytes = number.multiply(&Numeric::from(1_i64 << shift))?;
            bytes.to_i64().map(Value::Int).ok_or_else(|| Error::new("22003", "bigint out of range"))
        })),
        "to_regtype" | "to_regclass" | "to_regproc" | "to_regprocedure" | "to_regnamespace" | "to_regrole"
        | "to_regcollation" => {
            let oid = proc.result;
            Some(Function::new("to_reg", move |context, values| {
                match super::casts::reg_number(context.world, text(&values[0]), oid) {
                    Err(error) if matches!(error.sqlstate, "42704" | "42P01" | "42883" | "42725" | "3F000") => {
                        Ok(Value::Null)
                    }
                    other => other,
                }
            }))
        }
        "gen_random_uuid" => {
            Some(Function::new("gen_random_uuid", |_, _| Ok(Value::Uuid(*uuid::Uuid::new_v4().as_bytes()))))
        }
        // nobody else can hold these
        "pg_advisory_lock_int8"
        | "pg_advisory_lock_int4"
        | "pg_advisory_xact_lock_int8"
        | "pg_advisory_xact_lock_int4" => None,
        "pg_advisory_unlock_all" => constant(Value::text("")),
        "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" | "pg_is_in_backup" => {
            constant(Value::Bool(false))
        }
        "pg_get_ruledef"
        | "pg_get_ruledef_ext"
        | "pg_get_triggerdef"
        | "pg_get_triggerdef_ext"
        | "pg_get_statisticsobjdef_columns"
        | "pg_get_statisticsobjdef"
        | "pg_get_partkeydef"
        | "pg_get_partition_constraintdef"
        | "pg_get_function_sqlbody" => constant(Value::Null),
        "pg_sleep" => Some(Function::new("pg_sleep", |context, values| {
            // in short pieces, so that a cancel is seen
            let until = std::time::Instant::now()
                + std::time::Duration::from_secs_f64(super::float(&values[0]).clamp(0.0, 86_400.0 * 365.0));
            loop {
                context.world.check_stopped()?;
                let left = until.saturating_duration_since(std::time::Instant::now());
                if left.is_zero() {
                    return Ok(Value::text(""));
                }
                std::thread::sleep(left.min(std::time::Duration::from_millis(10)));
            }
        })),
        "acldefault_sql" => Some(Function::new("acldefault", |context, values| {
            let owner = u32::try_from(int(&values[1])).unwrap_or(0);
            let owner = context.world.name_of(NameKind::Role, owner).unwrap_or_else(|| owner.to_string());
            let (public, own) = match text(&values[0]) {
                "r" => ("", "arwdDxt"),
                "s" => ("", "rwU"),
                "d" => ("Tc", "CTc"),
                "f" => ("X", "X"),
                "l" | "T" => ("U", "U"),
                "n" => ("", "UC"),
                "t" => ("", "C"),
                "F" | "S" => ("", "U"),
                "L" => ("", "rw"),
                _ => return Ok(Value::array(Vec::new())),
            };
            let everybody = (!public.is_empty()).then(|| Value::text(format!("={public}/{owner}")));
            Ok(Value::array(everybody.into_iter().chain([Value::text(format!("{owner}={own}/{owner}"))]).collect()))
        })),
        "num_nulls" | "pg_num_nulls" => Some(Function::new("num_nulls", |_, values| {
            Ok(Value::Int(i64::try_from(values.iter().filter(|value| value.is_null()).count()).unwrap_or(0)))
        })),
        "num_nonnulls" | "pg_num_nonnulls" => Some(Function::new("num_nonnulls", |_, values| {
            Ok(Value::Int(i64::try_from(values.iter().filter(|value| !value.is_null()).count()).unwrap_or(0)))
        })),
        "pg_get_expr" | "pg_get_expr_ext" => Some(Function::new("pg_get_expr", |_, values| Ok(values[0].clone()))),
        "boolne" | "booleq" => None,
        "pg_input_is_valid" => None,
        "binary_upgrade_set_next_pg_type_oid" => {
            Some(Function::new("refused", |_, _| Err(Error::not_supported("a binary upgrade"))))
        }
        _ => None,
    }
}

/// In the largest unit that leaves more than ten.
fn pretty_size(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let limit = 10 * 1024;
    let (mut size, mut unit) = (bytes, 0);
    // one bit more is kept to round by
    let mut is_doubled = false;
    while unit + 1 < UNITS.len() && size.unsigned_abs() >= if is_doubled { 2 * limit - 1 } else { limit } {
        size = if is_doubled { size >> 10 } else { size >> 9 };
        is_doubled = true;
        unit += 1;
    }
    let shown = if is_doubled { (size + size.signum()) / 2 } else { size };
    format!("{shown} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::pretty_size;

    #[test]
    fn sizes_are_as_postgresql_shows_them() {
        // as PostgreSQL 15 answers
        for (bytes, shown) in [
            (0, "0 bytes"),
            (10_239, "10239 bytes"),
            (10_240, "10 kB"),
            (1_048_576, "1024 kB"),
            (123_456_789, "118 MB"),
            (-123_456_789, "-118 MB"),
            (10_485_248, "10 MB"),
        ] {
            assert_eq!(pretty_size(bytes), shown);
        }
    }
}
