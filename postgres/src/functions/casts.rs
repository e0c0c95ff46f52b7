//! Values of one type made values of another, and fitted to a type's modifier.

use super::{Kind, kind_of, text, times, whole};
use crate::datetime;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::numeric::Numeric;
use crate::plan::Function;
use crate::resolve::{self, Context as CastContext, Path};
use crate::text as texts;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};
use crate::world::{NameKind, World};

/// What makes a value of one type a value of the other; None if nothing does.
pub fn function(world: &dyn World, from: &Type, to: &Type) -> Option<Function> {
    let from = Type { oid: resolve::base_type(from.oid), ..from.clone() };
    let to = Type { oid: resolve::base_type(to.oid), ..to.clone() };
    if let (Some(from_item), Some(to_item)) = (from.element(), to.element()) {
        let items = if from_item.oid == to_item.oid
            || resolve::path(from_item.oid, to_item.oid, CastContext::Explicit) == Some(Path::Relabel)
        {
            Function::new("same", |_, values| Ok(values[0].clone()))
        } else {
            function(world, &from_item, &to_item)?
        };
        return Some(Function::new("cast_items", move |context, values| {
            let Value::Array(array) = &values[0] else { return Ok(Value::Null) };
            let cast = |item: &Value| {
                if item.is_null() { Ok(Value::Null) } else { (items.call)(context, std::slice::from_ref(item)) }
            };
            let items = array.items.iter().map(cast).collect::<Result<Vec<_>>>()?;
            Ok(Value::Array(Array { dimensions: array.dimensions.clone(), items }.into()))
        }));
    }
    let is_text = |oid: u32| matches!(kind_of(oid), Some(Kind::Text)) || matches!(oid, t::CSTRING | t::UNKNOWN);
    if t::REG_TYPES.contains(&to.oid) && is_text(from.oid) {
        return Some(Function::new("reg_of_text", move |context, values| {
            reg_number(context.world, text(&values[0]), to.oid)
        }));
    }
    if matches!(to.oid, t::BIT | t::VARBIT) && matches!(from.oid, t::INT4 | t::INT8) {
        let length = usize::try_from(to.modifier.max(1)).unwrap_or(1);
        return Some(Function::new("bits", move |_, values| {
            Ok(super::bits::of_number(super::int(&values[0]), length))
        }));
    }
    if matches!(from.oid, t::BIT | t::VARBIT) && matches!(to.oid, t::INT4 | t::INT8) {
        return Some(Function::new("bits_number", move |_, values| super::bits::to_number(text(&values[0]), to.oid)));
    }
    if from.oid == t::INET && to.oid == t::CIDR {
        return resolve::procs_named("cidr").find_map(super::network::function);
    }
    if matches!(from.oid, t::INET | t::CIDR) && matches!(to.oid, t::TEXT | t::VARCHAR | t::BPCHAR) {
        return resolve::procs_named("text")
            .filter(|proc| proc.source == "network_show")
            .find_map(super::network::function);
    }
    // what is kept as a text without being one is read from it
    let is_read = matches!(to.oid, t::INET | t::CIDR | t::BIT | t::VARBIT) && from.oid != to.oid;
    if is_text(to.oid) && !is_number_to_char(&from, &to) && !(is_read && kept_as_text(from.oid) != kept_as_text(to.oid))
    {
        return Some(Function::new("cast_to_text", move |context, values| {
            let printed = match to.oid {
                // only what becomes text has words for true and false
                t::NAME | t::CHAR => shown(context.world, &values[0], &from, context.clock).unwrap_or_default(),
                _ => printed(context.world, &values[0], &from, context.clock),
            };
            Ok(match to.oid {
                t::NAME if from.oid == t::BPCHAR => Value::text(texts::name_of(printed.trim_end_matches(' '))),
                t::NAME => Value::text(texts::name_of(&printed)),
                t::CHAR => Value::text(printed.chars().next().map_or_else(String::new, |first| first.to_string())),
                // blanks at the end of a character do not count as text
                _ if from.oid == t::BPCHAR && to.oid != t::BPCHAR => Value::text(printed.trim_end_matches(' ')),
                _ => Value::text(printed),
            })
        }));
    }
    if is_text(from.oid) || matches!(from.oid, t::JSON) {
        if from.oid == t::CHAR && to.oid == t::INT4 {
            return Some(Function::new("char_code", |_, values| {
                Ok(Value::Int(text(&values[0]).bytes().next().map_or(0, |byte| i64::from(i8::from_ne_bytes([byte])))))
            }));
        }
        return Some(Function::new("cast_from_text", move |context, values| {
            texts::parse(text(&values[0]), &to, context.clock)
        }));
    }
    let zoned = |oid: u32| oid == t::TIMESTAMPTZ;
    let (from_oid, to_oid) = (from.oid, to.oid);
    Some(match (from_oid, to_oid) {
        (t::BOOL, t::INT4) => {
            Function::new("bool_int4", |_, values| Ok(Value::Int(i64::from(values[0] == Value::Bool(true)))))
        }
        (t::INT4, t::BOOL) => Function::new("int4_bool", |_, values| Ok(Value::Bool(values[0] != Value::Int(0)))),
        (t::INT4, t::CHAR) => Function::new("int4_char", |_, values| {
            let code = u8::try_from(super::int(&values[0])).ok().filter(u8::is_ascii);
            let code = code.ok_or_else(|| Error::new("22003", "\"char\" out of range"))?;
            Ok(Value::text(if code == 0 { String::new() } else { char::from(code).to_string() }))
        }),
        (_, t::INT2 | t::INT4 | t::INT8) if kind_of(from_oid) == Some(Kind::Whole) => {
            Function::new("whole", move |_, values| whole(i128::from(super::int(&values[0])), to_oid))
        }
        (_, to) if kind_of(to) == Some(Kind::Whole) && kind_of(from_oid) == Some(Kind::Whole) => {
            Function::new("oid", |_, values| match super::int(&values[0]) {
                number if number > i64::from(u32::MAX) || number < i64::from(i32::MIN) => {
                    Err(Error::new("22003", "OID out of range"))
                }
                number if number < 0 => Ok(Value::Int(number + (1 << 32))),
                number => Ok(Value::Int(number)),
            })
        }
        (t::FLOAT4 | t::FLOAT8, t::INT2 | t::INT4 | t::INT8) => Function::new("float_whole", move |_, values| {
            let number = super::float(&values[0]).round_ties_even();
            let out_of_range = || Error::new("22003", format!("{} out of range", t::format_type(to_oid, None)));
            if !number.is_finite() || number.abs() > 9.3e18 {
                return Err(out_of_range());
            }
            whole(number as i128, to_oid)
        }),
        (t::NUMERIC, t::INT2 | t::INT4 | t::INT8) => Function::new("numeric_whole", move |_, values| {
            let Value::Numeric(number) = &values[0] else { return Ok(Value::Null) };
            match number {
                Numeric::NaN => {
                    return Err(Error::new("0A000", format!("cannot convert NaN to {}", t::format_type(to_oid, None))));
                }
                Numeric::Infinity | Numeric::NegativeInfinity => {
                    return Err(Error::new(
                        "0A000",
                        format!("cannot convert infinity to {}", t::format_type(to_oid, None)),
                    ));
                }
                Numeric::Finite(_) => {}
            }
            let number = number
                .to_i64()
                .ok_or_else(|| Error::new("22003", format!("{} out of range", t::format_type(to_oid, None))))?;
            whole(i128::from(number), to_oid)
        }),
        (_, t::NUMERIC) if kind_of(from_oid) == Some(Kind::Whole) => {
            Function::new("numeric", |_, values| Ok(Value::Numeric(Numeric::from(super::int(&values[0])))))
        }
        (t::FLOAT4, t::NUMERIC) => {
            Function::new("numeric", |_, values| Ok(Value::Numeric(Numeric::of_float(super::float(&values[0]), 6))))
        }
        (t::FLOAT8, t::NUMERIC) => {
            Function::new("numeric", |_, values| Ok(Value::Numeric(Numeric::of_float(super::float(&values[0]), 15))))
        }
        (_, t::FLOAT8) if kind_of(from_oid) == Some(Kind::Whole) => {
            Function::new("float8", |_, values| Ok(Value::Float(super::int(&values[0]) as f64)))
        }
        (_, t::FLOAT4) if kind_of(from_oid) == Some(Kind::Whole) => {
            Function::new("float4", |_, values| Ok(Value::Float(f64::from(super::int(&values[0]) as f32))))
        }
        (t::FLOAT4, t::FLOAT8) => Function::new("float8", |_, values| Ok(values[0].clone())),
        (t::FLOAT8, t::FLOAT4) => Function::new("float4", |_, values| narrow(super::float(&values[0]))),
        (t::NUMERIC, t::FLOAT8) => Function::new("float8", |_, values| match &values[0] {
            Value::Numeric(number) => {
                let float = number.to_f64();
                if number.finite().is_some() && (float.is_infinite() || (float == 0.0 && !number.is_zero())) {
                    let message = format!("\"{number}\" is out of range for type double precision");
                    return Err(Error::new("22003", message));
                }
                Ok(Value::Float(float))
            }
            _ => Ok(Value::Null),
        }),
        (t::NUMERIC, t::FLOAT4) => Function::new("float4", |_, values| match &values[0] {
            Value::Numeric(number) => narrow(number.to_f64()),
            _ => Ok(Value::Null),
        }),
        (t::DATE | t::TIMESTAMP | t::TIMESTAMPTZ, t::TIMESTAMP | t::TIMESTAMPTZ) => {
            Function::new("timestamp", move |context, values| {
                if let Value::Date(days) = values[0]
                    && days != i32::MAX
                    && days != i32::MIN
                    && !i64::from(days).checked_mul(datetime::DAY_US).is_some_and(datetime::is_in_range)
                {
                    return Err(Error::new("22008", "date out of range for timestamp"));
                }
                Ok(Value::Timestamp(times::moment(&values[0], zoned(from_oid), zoned(to_oid), context.clock)))
            })
        }
        (t::TIMESTAMP | t::TIMESTAMPTZ, t::DATE) => Function::new("date", move |context, values| {
            let local = times::moment(&values[0], zoned(from_oid), false, context.clock);
            Ok(match local {
                i64::MAX => Value::Date(i32::MAX),
                i64::MIN => Value::Date(i32::MIN),
                local => Value::Date(i32::try_from(local.div_euclid(datetime::DAY_US)).unwrap_or(i32::MAX)),
            })
        }),
        (t::TIMESTAMP | t::TIMESTAMPTZ, t::TIME) => Function::new("time", move |context, values| {
            let local = times::moment(&values[0], zoned(from_oid), false, context.clock);
            let is_endless = local == i64::MAX || local == i64::MIN;
            Ok(if is_endless { Value::Null } else { Value::Time(local.rem_euclid(datetime::DAY_US)) })
        }),
        (t::TIMESTAMPTZ, t::TIMETZ) => Function::new("timetz", |context, values| {
            let Value::Timestamp(utc) = values[0] else { return Ok(Value::Null) };
            if utc == i64::MAX || utc == i64::MIN {
                return Ok(Value::Null);
            }
            let offset = context.clock.zone.offset_at(utc);
            Ok(Value::TimeZoned(context.clock.zone.to_local(utc).rem_euclid(datetime::DAY_US), offset))
        }),
        (t::TIMETZ, t::TIME) => Function::new("time", |_, values| match values[0] {
            Value::TimeZoned(time, _) => Ok(Value::Time(time)),
            _ => Ok(Value::Null),
        }),
        (t::TIME, t::TIMETZ) => Function::new("timetz", |context, values| match values[0] {
            Value::Time(time) => Ok(Value::TimeZoned(time, context.clock.zone.offset_at(context.clock.now_us))),
            _ => Ok(Value::Null),
        }),
        (t::TIME, t::INTERVAL) => Function::new("interval", |_, values| match values[0] {
            Value::Time(time) => {
                Ok(Value::Interval(crate::value::Interval { microseconds: time, ..Default::default() }))
            }
            _ => Ok(Value::Null),
        }),
        (t::INTERVAL, t::TIME) => Function::new("time", |_, values| match &values[0] {
            Value::Interval(interval) => Ok(Value::Time(interval.microseconds.rem_euclid(datetime::DAY_US))),
            _ => Ok(Value::Null),
        }),
        (t::JSONB, t::JSON) => Function::new("json", |_, values| match &values[0] {
            Value::Jsonb(json) => Ok(Value::text(json.to_string())),
            _ => Ok(Value::Null),
        }),
        (t::JSONB, t::BOOL) => Function::new("bool", |_, values| match &values[0] {
            Value::Jsonb(json) => match json.as_ref() {
                Json::Bool(truth) => Ok(Value::Bool(*truth)),
                other => {
                    let name = if matches!(other, Json::Number(_)) { "numeric" } else { other.type_name() };
                    Err(Error::new("22023", format!("cannot cast jsonb {name} to type boolean")))
                }
            },
            _ => Ok(Value::Null),
        }),
        (t::JSONB, t::NUMERIC | t::INT2 | t::INT4 | t::INT8 | t::FLOAT4 | t::FLOAT8) => {
            let inner = function(world, &Type::of(t::NUMERIC), &to);
            Function::new("number", move |context, values| {
                let Value::Jsonb(json) = &values[0] else { return Ok(Value::Null) };
                let Json::Number(number) = json.as_ref() else {
                    let message =
                        format!("cannot cast jsonb {} to type {}", json.type_name(), t::format_type(to_oid, None));
                    return Err(Error::new("22023", message));
                };
                let number = Value::Numeric(number.clone());
                match &inner {
                    Some(inner) => (inner.call)(context, &[number]),
                    None => Ok(number),
                }
            })
        }
        _ => return None,
    })
}

/// Texts that are none, by what they are.
fn kept_as_text(oid: u32) -> u8 {
    match oid {
        t::INET | t::CIDR => 1,
        t::BIT | t::VARBIT => 2,
        _ => 0,
    }
}

fn is_number_to_char(from: &Type, to: &Type) -> bool {
    to.oid == t::CHAR && from.oid == t::INT4
}

fn narrow(number: f64) -> Result<Value> {
    let narrow = number as f32;
    if narrow.is_infinite() && number.is_finite() {
        return Err(Error::new("22003", "value out of range: overflow"));
    }
    if narrow == 0.0 && number != 0.0 {
        return Err(Error::new("22003", "value out of range: underflow"));
    }
    Ok(Value::Float(f64::from(narrow)))
}

/// A value as text, `reg…` numbers as names, `t` and `f` as the words that a cast makes of them.
pub fn printed(world: &dyn World, value: &Value, data_type: &Type, clock: datetime::Clock) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        other => shown(world, other, data_type, clock).unwrap_or_default(),
    }
}

/// A value as its output function prints it, `reg…` numbers as names, also inside of arrays and records.
pub fn shown(world: &dyn World, value: &Value, data_type: &Type, clock: datetime::Clock) -> Option<String> {
    if let (Value::Int(number), true) = (value, t::REG_TYPES.contains(&data_type.oid)) {
        return Some(reg_name(world, *number, data_type.oid));
    }
    if let (Value::Array(array), Some(element)) = (value, data_type.element())
        && t::REG_TYPES.contains(&element.oid)
    {
        let items = array
            .items
            .iter()
            .map(|item| shown(world, item, &element, clock).map_or(Value::Null, Value::text))
            .collect();
        let named = Value::Array(Array { dimensions: array.dimensions.clone(), items }.into());
        return texts::format(&named, &Type::of(t::TEXT_ARRAY), clock);
    }
    if let (Value::Record(items), Some(fields)) = (value, &data_type.fields)
        && fields.iter().any(|(_, field)| t::REG_TYPES.contains(&field.oid))
    {
        let named = items.iter().zip(fields.iter()).map(|(item, (_, field))| {
            if t::REG_TYPES.contains(&field.oid) {
                shown(world, item, field, clock).map_or(Value::Null, Value::text)
            } else {
                item.clone()
            }
        });
        return texts::format(&Value::record(named.collect()), data_type, clock);
    }
    texts::format(value, data_type, clock)
}

/// The name of a `reg…` number; the number itself if nothing has it.
pub fn reg_name(world: &dyn World, number: i64, oid: u32) -> String {
    if number == 0 {
        return "-".to_owned();
    }
    let own = u32::try_from(number).unwrap_or(0);
    let name = match oid {
        t::REGCLASS => world.name_of(NameKind::Relation, own),
        t::REGNAMESPACE => world.name_of(NameKind::Schema, own),
        t::REGROLE => world.name_of(NameKind::Role, own),
        t::REGTYPE => t::type_row(own).map(|_| t::format_type(own, None)),
        t::REGPROC => resolve::proc_of(own).map(|proc| texts::quote_identifier(proc.name)),
        t::REGPROCEDURE => resolve::proc_of(own).map(|proc| {
            let arguments: Vec<String> =
                proc.arguments.iter().map(|argument| t::format_type(*argument, None)).collect();
            format!("{}({})", texts::quote_identifier(proc.name), arguments.join(","))
        }),
        t::REGCOLLATION => {
            COLLATIONS.iter().find(|(number, _)| *number == own).map(|(_, name)| texts::quote_identifier(name))
        }
        _ => None,
    };
    name.unwrap_or_else(|| number.to_string())
}

const COLLATIONS: [(u32, &str); 4] = [(100, "default"), (950, "C"), (951, "POSIX"), (962, "ucs_basic")];

/// The number that the text of a `reg…` type means. Errors: 42P01, 42704, 42883, 3F000.
pub fn reg_number(world: &dyn World, spelled: &str, oid: u32) -> Result<Value> {
    let trimmed = spelled.trim();
    if trimmed == "-" {
        return Ok(Value::Int(0));
    }
    if !trimmed.is_empty() && trimmed.bytes().all(|byte| byte.is_ascii_digit()) {
        return texts::parse(trimmed, &Type::of(t::OID), world.clock());
    }
    let plain = trimmed.strip_prefix("pg_catalog.").unwrap_or(trimmed);
    let unquoted = if plain.starts_with('"') { plain.trim_matches('"').to_owned() } else { plain.to_lowercase() };
    let undefined = |sqlstate, what: &str| Error::new(sqlstate, format!("{what} \"{trimmed}\" does not exist"));
    let found = match oid {
        t::REGCLASS => world.number_of(NameKind::Relation, trimmed)?.ok_or_else(|| undefined("42P01", "relation"))?,
        t::REGNAMESPACE => world.number_of(NameKind::Schema, trimmed)?.ok_or_else(|| undefined("3F000", "schema"))?,
        t::REGROLE => world.number_of(NameKind::Role, trimmed)?.ok_or_else(|| undefined("42704", "role"))?,
        t::REGTYPE => t::parse_type(trimmed)?.oid,
        t::REGPROC => {
            let mut found = resolve::procs_named(&unquoted);
            let first = found.next().ok_or_else(|| undefined("42883", "function"))?;
            if found.next().is_some() {
                return Err(Error::new("42725", format!("more than one function named \"{trimmed}\"")));
            }
            first.oid
        }
        t::REGPROCEDURE => {
            let (name, arguments) = unquoted
                .strip_suffix(')')
                .and_then(|text| text.split_once('('))
                .ok_or_else(|| Error::new("22P02", "expected a left parenthesis"))?;
            let arguments = arguments.split(',').map(str::trim).filter(|argument| !argument.is_empty());
            let arguments = arguments.map(|argument| Ok(t::parse_type(argument)?.oid)).collect::<Result<Vec<u32>>>()?;
            let found = resolve::procs_named(name.trim()).find(|proc| proc.arguments == arguments);
            found.ok_or_else(|| undefined("42883", "function"))?.oid
        }
        t::REGCOLLATION => {
            COLLATIONS.iter().find(|(_, name)| *name == unquoted).ok_or_else(|| undefined("42704", "collation"))?.0
        }
        _ => return Err(Error::not_supported(format!("input of type {}", t::format_type(oid, None)))),
    };
    Ok(Value::Int(i64::from(found)))
}

/// The value of a parameter from its text.
pub fn parameter(world: &dyn World, printed: &str, data_type: &Type) -> Result<Value> {
    let oid = resolve::base_type(data_type.oid);
    if t::REG_TYPES.contains(&oid) {
        return reg_number(world, printed, oid);
    }
    texts::parse(printed, &Type::of(oid), world.clock())
}

/// A value as a modifier of its type lets it be: cut or refused, rounded, padded.
pub fn fitted(value: Value, data_type: &Type, is_explicit: bool) -> Result<Value> {
    if let (Value::Array(array), Some(element)) = (&value, data_type.element()) {
        let items =
            array.items.iter().map(|item| fitted(item.clone(), &element, is_explicit)).collect::<Result<_>>()?;
        return Ok(Value::Array(Array { dimensions: array.dimensions.clone(), items }.into()));
    }
    let length = usize::try_from(data_type.modifier - 4).unwrap_or(0);
    Ok(match (&value, data_type.oid) {
        (Value::Text(text), t::VARCHAR | t::BPCHAR) => {
            let n = text.chars().count();
            let name = t::format_type(data_type.oid, Some(data_type.modifier));
            if n > length {
                let kept: String = text.chars().take(length).collect();
                let is_blank = text.chars().skip(length).all(|character| character == ' ');
                if !is_explicit && !is_blank {
                    return Err(Error::new("22001", format!("value too long for type {name}")));
                }
                return Ok(Value::text(kept));
            }
            if data_type.oid == t::BPCHAR { Value::text(format!("{text}{}", " ".repeat(length - n))) } else { value }
        }
        (Value::Numeric(number), t::NUMERIC) => match t::numeric_digits(data_type.modifier) {
            Some((precision, scale)) => Value::Numeric(number.fitted(precision, scale)?),
            None => value,
        },
        (Value::Timestamp(time), _) if *time != i64::MAX && *time != i64::MIN => {
            Value::Timestamp(rounded(*time, data_type.modifier))
        }
        (Value::Time(time), _) => Value::Time(rounded(*time, data_type.modifier)),
        (Value::TimeZoned(time, zone), _) => Value::TimeZoned(rounded(*time, data_type.modifier), *zone),
        (Value::Interval(interval), _) => {
            let precision = data_type.modifier & 0xffff;
            let cut = datetime::without_fields(*interval, data_type.modifier);
            let microseconds = if precision <= 6 { rounded(cut.microseconds, precision) } else { cut.microseconds };
            Value::Interval(crate::value::Interval { microseconds, ..cut })
        }
        (Value::Text(bits), t::BIT | t::VARBIT) => {
            let wanted = usize::try_from(data_type.modifier).unwrap_or(0);
            match (data_type.oid, bits.len().cmp(&wanted)) {
                (_, std::cmp::Ordering::Equal) => value,
                (t::BIT, order) if is_explicit => {
                    Value::text(if order.is_gt() { bits[..wanted].to_owned() } else { format!("{bits:0<wanted$}") })
                }
                (t::BIT, _) => {
                    return Err(Error::new(
                        "22026",
                        format!("bit string length {} does not match type bit({wanted})", bits.len()),
                    ));
                }
                (_, std::cmp::Ordering::Greater) if is_explicit => Value::text(&bits[..wanted]),
                (_, std::cmp::Ordering::Greater) => {
                    return Err(Error::new("22001", format!("bit string too long for type bit varying({wanted})")));
                }
                _ => value,
            }
        }
        _ => value,
    })
}

/// To so many digits of a second.
fn rounded(time_us: i64, digits: i32) -> i64 {
    let step = 10_i64.pow(u32::try_from(6 - digits.clamp(0, 6)).unwrap_or(0));
    if step == 1 { time_us } else { (time_us + time_us.signum() * (step / 2)) / step * step }
}
