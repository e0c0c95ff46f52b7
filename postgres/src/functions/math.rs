//! Numbers.

mod degrees;

use bigdecimal::RoundingMode;

use super::{float, int, whole};
use crate::error::{Error, Result};
use crate::numeric::{Numeric, division_by_zero};
use crate::plan::Function;
use crate::resolve::{Operator, Proc};
use crate::types as t;
use crate::value::{Value, compare};

fn numeric(value: &Value) -> Numeric {
    match value {
        Value::Numeric(number) => number.clone(),
        Value::Int(number) => Numeric::from(*number),
        _ => Numeric::NaN,
    }
}

/// Arithmetic by the sign of the operator and what it gives.
pub fn operator(operator: &Operator) -> Option<Function> {
    let is_number = |oid: u32| matches!(oid, t::INT2 | t::INT4 | t::INT8 | t::FLOAT4 | t::FLOAT8 | t::NUMERIC);
    if !is_number(operator.result) || !is_number(operator.right) || (operator.left != 0 && !is_number(operator.left)) {
        return None;
    }
    let result = operator.result;
    Some(match (operator.name, result) {
        (name @ ("+" | "-"), _) if operator.left == 0 => {
            let negates = name == "-";
            Function::new("sign", move |_, values| match &values[0] {
                value if !negates => Ok(value.clone()),
                Value::Int(number) => whole(-i128::from(*number), result),
                Value::Float(number) => Ok(Value::Float(-number)),
                Value::Numeric(number) => Ok(Value::Numeric(number.negated())),
                _ => Ok(Value::Null),
            })
        }
        ("@", _) => Function::new("abs", move |_, values| absolute(&values[0], result)),
        (name, t::INT2 | t::INT4 | t::INT8) => {
            let operation: fn(i128, i128) -> Result<i128> = match name {
                "+" => |left, right| Ok(left + right),
                "-" => |left, right| Ok(left - right),
                "*" => |left, right| Ok(left * right),
                "/" => |left, right| if right == 0 { Err(division_by_zero()) } else { Ok(left / right) },
                "%" => |left, right| if right == 0 { Err(division_by_zero()) } else { Ok(left % right) },
                "&" => |left, right| Ok(left & right),
                "|" => |left, right| Ok(left | right),
                "#" => |left, right| Ok(left ^ right),
                "<<" => {
                    return Some(shift(result, |number, by| number.wrapping_shl(by)));
                }
                ">>" => {
                    return Some(shift(result, |number, by| number.wrapping_shr(by)));
                }
                "~" => return Some(Function::new("not", |_, values| Ok(Value::Int(!int(&values[0]))))),
                _ => return None,
            };
            Function::new(name, move |_, values| {
                whole(operation(i128::from(int(&values[0])), i128::from(int(&values[1])))?, result)
            })
        }
        (name, t::FLOAT4 | t::FLOAT8) => {
            let operation: fn(f64, f64) -> Result<f64> = match name {
                "+" => |left, right| Ok(left + right),
                "-" => |left, right| Ok(left - right),
                "*" => |left, right| Ok(left * right),
                "/" => |left, right| {
                    if right == 0.0 && !left.is_nan() { Err(division_by_zero()) } else { Ok(left / right) }
                },
                "^" => power,
                "|/" => return Some(Function::new("sqrt", |_, values| square_root(float(&values[0])))),
                "||/" => return Some(Function::new("cbrt", |_, values| Ok(Value::Float(float(&values[0]).cbrt())))),
                _ => return None,
            };
            let is_narrow = result == t::FLOAT4;
            Function::new(name, move |_, values| {
                let (left, right) = (float(&values[0]), float(&values[1]));
                let number = operation(left, right)?;
                let number = if is_narrow { f64::from(number as f32) } else { number };
                let is_finite = left.is_finite() && right.is_finite();
                let is_zero = match name {
                    "*" => left == 0.0 || right == 0.0,
                    "/" => left == 0.0 || right.is_infinite(),
                    _ => true,
                };
                checked(number, is_finite, is_zero).map(Value::Float)
            })
        }
        (name, t::NUMERIC) => {
            let operation: fn(&Numeric, &Numeric) -> Result<Numeric> = match name {
                "+" => Numeric::add,
                "-" => Numeric::subtract,
                "*" => Numeric::multiply,
                "/" => Numeric::divide,
                "%" => Numeric::remainder,
                "^" => Numeric::power,
                _ => return None,
            };
            Function::new(name, move |_, values| {
                Ok(Value::Numeric(operation(&numeric(&values[0]), &numeric(&values[1]))?))
            })
        }
        _ => return None,
    })
}

fn shift(result: u32, operation: fn(i64, u32) -> i64) -> Function {
    Function::new("shift", move |_, values| {
        let by = u32::try_from(int(&values[1]).rem_euclid(if result == t::INT8 { 64 } else { 32 })).unwrap_or(0);
        let moved = operation(int(&values[0]), by);
        Ok(Value::Int(match result {
            t::INT2 => i64::from(moved as i16),
            t::INT4 => i64::from(moved as i32),
            _ => moved,
        }))
    })
}

fn absolute(value: &Value, result: u32) -> Result<Value> {
    Ok(match value {
        Value::Int(number) => whole(i128::from(*number).abs(), result)?,
        Value::Float(number) => Value::Float(number.abs()),
        Value::Numeric(number) => Value::Numeric(if number.is_negative() { number.negated() } else { number.clone() }),
        _ => Value::Null,
    })
}

fn square_root(number: f64) -> Result<Value> {
    if number < 0.0 {
        return Err(Error::new("2201F", "cannot take square root of a negative number"));
    }
    Ok(Value::Float(number.sqrt()))
}

fn power(base: f64, exponent: f64) -> Result<f64> {
    if base == 0.0 && exponent < 0.0 {
        return Err(Error::new("2201F", "zero raised to a negative power is undefined"));
    }
    if base < 0.0 && exponent.fract() != 0.0 && exponent.is_finite() {
        return Err(Error::new("2201F", "a negative number raised to a non-integer power yields a complex result"));
    }
    let is_finite = base.is_finite() && exponent.is_finite();
    checked(base.powf(exponent), is_finite, base == 0.0 || !is_finite)
}

pub fn function(proc: &Proc) -> Option<Function> {
    let result = proc.result;
    let of_float = |call: fn(f64) -> Result<f64>| {
        Some(Function::new("float", move |_, values| call(float(&values[0])).map(Value::Float)))
    };
    let of_numeric = |call: fn(&Numeric) -> Result<Numeric>| {
        Some(Function::new("numeric", move |_, values| call(&numeric(&values[0])).map(Value::Numeric)))
    };
    match proc.source {
        "int2abs" | "int4abs" | "int8abs" | "float4abs" | "float8abs" | "numeric_abs" => {
            Some(Function::new("abs", move |_, values| absolute(&values[0], result)))
        }
        "dround" => of_float(|number| Ok(number.round_ties_even())),
        "dtrunc" => of_float(|number| Ok(number.trunc())),
        "dceil" => of_float(|number| Ok(number.ceil())),
        "dfloor" => of_float(|number| Ok(number.floor())),
        "dsign" => of_float(|number| Ok(if number == 0.0 { 0.0 } else { number.signum() })),
        "dsqrt" => Some(Function::new("sqrt", |_, values| square_root(float(&values[0])))),
        "dcbrt" => of_float(|number| Ok(number.cbrt())),
        "dexp" => of_float(|number| checked(number.exp(), number.is_finite(), number.is_infinite())),
        "dlog1" => of_float(|number| logarithm(number).map(f64::ln)),
        "dlog10" => of_float(|number| logarithm(number).map(f64::log10)),
        "dsin" => of_float(|number| angle(number).map(f64::sin)),
        "dcos" => of_float(|number| angle(number).map(f64::cos)),
        "dtan" => of_float(|number| angle(number).map(f64::tan)),
        "dcot" => of_float(|number| Ok(1.0 / angle(number)?.tan())),
        "dsind" => of_float(|number| angle(number).map(degrees::sine)),
        "dcosd" => of_float(|number| angle(number).map(degrees::cosine)),
        "dtand" => of_float(|number| angle(number).map(degrees::tangent)),
        "dcotd" => of_float(|number| angle(number).map(degrees::cotangent)),
        "dasind" => {
            of_float(|number| if number.abs() > 1.0 { Err(out_of_range()) } else { Ok(degrees::arc_sine(number)) })
        }
        "dacosd" => {
            of_float(|number| if number.abs() > 1.0 { Err(out_of_range()) } else { Ok(degrees::arc_cosine(number)) })
        }
        "datand" => of_float(|number| Ok(degrees::arc_tangent(number))),
        "datan2d" => Some(Function::new("atan2d", |_, values| {
            Ok(Value::Float(degrees::of_arc_tangent(float(&values[0]).atan2(float(&values[1])))))
        })),
        "dasinh" => of_float(|number| Ok(number.asinh())),
        "dacosh" => of_float(|number| if number < 1.0 { Err(out_of_range()) } else { Ok(number.acosh()) }),
        "datanh" => of_float(|number| match number {
            number if number.abs() > 1.0 => Err(out_of_range()),
            1.0 => Ok(f64::INFINITY),
            -1.0 => Ok(f64::NEG_INFINITY),
            number => Ok(number.atanh()),
        }),
        "dasin" => of_float(|number| {
            if number.abs() > 1.0 { Err(Error::new("22003", "input is out of range")) } else { Ok(number.asin()) }
        }),
        "dacos" => of_float(|number| {
            if number.abs() > 1.0 { Err(Error::new("22003", "input is out of range")) } else { Ok(number.acos()) }
        }),
        "datan" => of_float(|number| Ok(number.atan())),
        "dsinh" => of_float(|number| Ok(number.sinh())),
        "dcosh" => of_float(|number| Ok(number.cosh())),
        "dtanh" => of_float(|number| Ok(number.tanh())),
        "degrees" => of_float(|number| Ok(number.to_degrees())),
        "radians" => of_float(|number| Ok(number.to_radians())),
        "datan2" => {
            Some(Function::new("atan2", |_, values| Ok(Value::Float(float(&values[0]).atan2(float(&values[1]))))))
        }
        "dpow" => {
            Some(Function::new("power", |_, values| power(float(&values[0]), float(&values[1])).map(Value::Float)))
        }
        "dpi" => Some(Function::new("pi", |_, _| Ok(Value::Float(std::f64::consts::PI)))),
        "drandom" => Some(Function::new("random", |_, _| {
            let bits = uuid::Uuid::new_v4().as_u128() >> 64;
            let bits = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0) >> 11;
            Ok(Value::Float(bits as f64 / (1_u64 << 53) as f64))
        })),
        "numeric_round" | "numeric_trunc" => {
            let truncates = proc.source == "numeric_trunc";
            Some(Function::new("round", move |_, values| {
                let scale = values.get(1).map_or(0, int).clamp(-2000, 2000);
                let number = numeric(&values[0]);
                Ok(Value::Numeric(if truncates { number.truncated(scale) } else { number.rounded(scale) }))
            }))
        }
        // the forms with one argument are written in SQL there
        "round" | "trunc" if proc.arguments == [t::NUMERIC] => {
            let truncates = proc.source == "trunc";
            Some(Function::new("round", move |_, values| {
                let number = numeric(&values[0]);
                Ok(Value::Numeric(if truncates { number.truncated(0) } else { number.rounded(0) }))
            }))
        }
        "numeric_ceil" => of_numeric(|number| Ok(number.whole(RoundingMode::Ceiling))),
        "numeric_floor" => of_numeric(|number| Ok(number.whole(RoundingMode::Floor))),
        "numeric_sign" => of_numeric(|number| {
            if matches!(number, Numeric::NaN) {
                return Ok(Numeric::NaN);
            }
            Ok(Numeric::from(if number.is_zero() {
                0_i64
            } else if number.is_negative() {
                -1
            } else {
                1
            }))
        }),
        "numeric_sqrt" => of_numeric(Numeric::square_root),
        "numeric_exp" => of_numeric(Numeric::exponential),
        "numeric_ln" => of_numeric(Numeric::natural_logarithm),
        "log10" | "log" if proc.arguments == [t::NUMERIC] => {
            of_numeric(|number| number.logarithm(&Numeric::from(10_i64)))
        }
        _ if matches!(proc.name, "log" | "log10") && proc.arguments == [t::NUMERIC] => {
            of_numeric(|number| number.logarithm(&Numeric::from(10_i64)))
        }
        "numeric_log" => Some(Function::new("log", |_, values| {
            numeric(&values[1]).logarithm(&numeric(&values[0])).map(Value::Numeric)
        })),
        "numeric_gcd" => Some(Function::new("gcd", |_, values| {
            Ok(Value::Numeric(numeric(&values[0]).greatest_divisor(&numeric(&values[1]))))
        })),
        "numeric_lcm" => Some(Function::new("lcm", |_, values| {
            numeric(&values[0]).least_multiple(&numeric(&values[1])).map(Value::Numeric)
        })),
        "numeric_power" => Some(Function::new("power", |_, values| {
            numeric(&values[0]).power(&numeric(&values[1])).map(Value::Numeric)
        })),
        "numeric_mod" => Some(Function::new("mod", |_, values| {
            numeric(&values[0]).remainder(&numeric(&values[1])).map(Value::Numeric)
        })),
        "numeric_div_trunc" => Some(Function::new("div", |_, values| {
            numeric(&values[0]).divide(&numeric(&values[1])).map(|quotient| Value::Numeric(quotient.truncated(0)))
        })),
        "numeric_scale" => Some(Function::new("scale", |_, values| Ok(Value::Int(numeric(&values[0]).scale())))),
        "numeric_min_scale" => {
            Some(Function::new("min_scale", |_, values| Ok(Value::Int(trimmed(&numeric(&values[0])).scale()))))
        }
        "numeric_trim_scale" => of_numeric(|number| Ok(trimmed(number))),
        "int2mod" | "int4mod" | "int8mod" => Some(Function::new("mod", |_, values| match int(&values[1]) {
            0 => Err(division_by_zero()),
            divisor => Ok(Value::Int(int(&values[0]).wrapping_rem(divisor))),
        })),
        "int4gcd" | "int8gcd" => Some(Function::new("gcd", move |_, values| {
            whole(i128::from(gcd(int(&values[0]), int(&values[1]))), result)
        })),
        "int4lcm" | "int8lcm" => Some(Function::new("lcm", move |_, values| {
            let (left, right) = (int(&values[0]), int(&values[1]));
            if left == 0 || right == 0 {
                return Ok(Value::Int(0));
            }
            whole((i128::from(left) / i128::from(gcd(left, right)) * i128::from(right)).abs(), result)
        })),
        "numeric_fac" => Some(Function::new("factorial", |_, values| {
            let number = int(&values[0]);
            if number < 0 {
                return Err(Error::new("22003", "factorial of a negative number is undefined"));
            }
            if number > 32177 {
                return Err(Error::new("22003", "value overflows numeric format"));
            }
            let mut result = Numeric::from(1_i64);
            for factor in 2..=number {
                result = result.multiply(&Numeric::from(factor))?;
            }
            Ok(Value::Numeric(result))
        })),
        "width_bucket_numeric" | "width_bucket_float8" => Some(Function::new("width_bucket", |_, values| {
            let count = int(&values[3]);
            if count <= 0 {
                return Err(Error::new("2201G", "count must be greater than zero"));
            }
            let exact = |value: &Value| match value {
                Value::Float(number) => Numeric::of_float(*number, 17),
                other => numeric(other),
            };
            let (operand, low, high) = (exact(&values[0]), exact(&values[1]), exact(&values[2]));
            if [&operand, &low, &high].iter().any(|number| matches!(number, Numeric::NaN)) {
                return Err(Error::new("2201G", "operand, lower bound, and upper bound cannot be NaN"));
            }
            if low.finite().is_none() || high.finite().is_none() {
                return Err(Error::new("2201G", "lower and upper bounds must be finite"));
            }
            if low == high {
                return Err(Error::new("2201G", "lower bound cannot equal upper bound"));
            }
            let bucket = match operand {
                Numeric::Infinity => {
                    if low < high {
                        count + 1
                    } else {
                        0
                    }
                }
                Numeric::NegativeInfinity => {
                    if low < high {
                        0
                    } else {
                        count + 1
                    }
                }
                operand => operand.bucket(&low, &high, count).unwrap_or(0),
            };
            whole(i128::from(bucket), t::INT4)
        })),
        "width_bucket_array" => Some(Function::new("width_bucket", |_, values| {
            let Value::Array(array) = &values[1] else { return Ok(Value::Null) };
            if array.dimensions.len() > 1 {
                return Err(Error::new("2202E", "thresholds must be one-dimensional array"));
            }
            if array.items.iter().any(Value::is_null) {
                return Err(Error::new("22004", "thresholds array must not contain NULLs"));
            }
            let place = array.items.partition_point(|item| compare(item, &values[0]).is_le());
            Ok(Value::Int(i64::try_from(place).unwrap_or(i64::MAX)))
        })),
        "setseed" => Some(Function::new("setseed", |_, values| {
            let seed = float(&values[0]);
            if !(-1.0..=1.0).contains(&seed) {
                let shown = crate::text::format_float(seed, false);
                return Err(super::wrong_argument(format!("setseed parameter {shown} is out of allowed range [-1,1]")));
            }
            Ok(Value::text(""))
        })),
        _ => None,
    }
}

fn gcd(left: i64, right: i64) -> i64 {
    let (mut left, mut right) = (i128::from(left), i128::from(right));
    while right != 0 {
        (left, right) = (right, left % right);
    }
    i64::try_from(left.abs()).unwrap_or(i64::MAX)
}

fn out_of_range() -> Error {
    Error::new("22003", "input is out of range")
}

/// Errors: 22003 for an endless one.
fn angle(number: f64) -> Result<f64> {
    if number.is_infinite() { Err(out_of_range()) } else { Ok(number) }
}

/// Errors: 22003 where finite operands have made something that is not.
fn checked(result: f64, is_finite: bool, is_zero: bool) -> Result<f64> {
    if result.is_infinite() && is_finite {
        return Err(Error::new("22003", "value out of range: overflow"));
    }
    if result == 0.0 && !is_zero {
        return Err(Error::new("22003", "value out of range: underflow"));
    }
    Ok(result)
}

fn trimmed(number: &Numeric) -> Numeric {
    match number.finite() {
        Some(finite) => {
            Numeric::Finite(finite.normalized()).rounded(finite.normalized().fractional_digit_count().max(0))
        }
        None => number.clone(),
    }
}

fn logarithm(number: f64) -> Result<f64> {
    if number == 0.0 {
        return Err(Error::new("2201E", "cannot take logarithm of zero"));
    }
    if number < 0.0 {
        return Err(Error::new("2201E", "cannot take logarithm of a negative number"));
    }
    Ok(number)
}
