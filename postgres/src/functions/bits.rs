//! Bit strings: `bit` and `bit varying`. Values are kept as their texts.

use super::{int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::types::{self as t, Type};
use crate::value::Value;

/// Reads `101`, `B101` or `X1F`. Errors: 22P02.
pub fn parse(text: &str) -> Result<Value> {
    if let Some(digits) = text.strip_prefix(['x', 'X']) {
        let mut bits = String::with_capacity(digits.len() * 4);
        for digit in digits.chars() {
            let value = digit
                .to_digit(16)
                .ok_or_else(|| Error::new("22P02", format!("\"{digit}\" is not a valid hexadecimal digit")))?;
            bits.push_str(&format!("{value:04b}"));
        }
        return Ok(Value::text(bits));
    }
    let digits = text.strip_prefix(['b', 'B']).unwrap_or(text);
    if let Some(wrong) = digits.chars().find(|digit| !matches!(digit, '0' | '1')) {
        return Err(Error::new("22P02", format!("\"{wrong}\" is not a valid binary digit")));
    }
    Ok(Value::text(digits))
}

/// The last bits of a number, its sign in front if there are more.
pub fn of_number(number: i64, length: usize) -> Value {
    let bit = |place: usize| if place < 64 { (number >> place) & 1 } else { i64::from(number < 0) };
    Value::text((0..length).rev().map(|place| if bit(place) == 1 { '1' } else { '0' }).collect::<String>())
}

/// Errors: 22003 if there are too many of them.
pub fn to_number(bits: &str, data_type: u32) -> Result<Value> {
    let most = if data_type == t::INT4 { 32 } else { 64 };
    if bits.len() > most {
        return Err(Error::new("22003", format!("{} out of range", t::format_type(data_type, None))));
    }
    let number = bits.bytes().fold(0_u64, |number, bit| (number << 1) | u64::from(bit == b'1'));
    Ok(Value::Int(if most == 32 { i64::from(number as u32 as i32) } else { number.cast_signed() }))
}

fn pieces(values: &[Value], substring: &str) -> Result<(String, String)> {
    let start = int(&values[2]);
    let length = values.get(3).map_or(i64::try_from(substring.len()).unwrap_or(0), int);
    if start <= 0 || length < 0 {
        return Err(Error::new("22011", "negative substring length not allowed"));
    }
    let whole = text(&values[0]);
    let place = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(whole.len());
    Ok((whole[..place(start - 1)].to_owned(), whole[place((start - 1).saturating_add(length))..].to_owned()))
}

fn out_of_range(index: i64, length: usize) -> Error {
    let last = i64::try_from(length).unwrap_or(i64::MAX) - 1;
    Error::new("2202E", format!("bit index {index} out of valid range (0..{last})"))
}

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    if !arguments.first().is_some_and(|argument| matches!(argument.oid, t::BIT | t::VARBIT)) {
        return None;
    }
    let source = proc.source;
    Some(match source {
        "bit_and" | "bit_or" | "bitxor" => Function::new("bits", move |_, values| {
            let (left, right) = (text(&values[0]), text(&values[1]));
            if left.len() != right.len() {
                let name = match source {
                    "bit_and" => "AND",
                    "bit_or" => "OR",
                    _ => "XOR",
                };
                return Err(Error::new("22026", format!("cannot {name} bit strings of different sizes")));
            }
            let bits = left.bytes().zip(right.bytes()).map(|(left, right)| {
                let (left, right) = (left == b'1', right == b'1');
                let bit = match source {
                    "bit_and" => left && right,
                    "bit_or" => left || right,
                    _ => left != right,
                };
                if bit { '1' } else { '0' }
            });
            Ok(Value::text(bits.collect::<String>()))
        }),
        "bitnot" => Function::new("bits", |_, values| {
            Ok(Value::text(text(&values[0]).chars().map(|bit| if bit == '1' { '0' } else { '1' }).collect::<String>()))
        }),
        "bitshiftleft" | "bitshiftright" => Function::new("bits", move |_, values| {
            let bits = text(&values[0]);
            let by = if source == "bitshiftleft" { int(&values[1]) } else { -int(&values[1]) };
            let n = usize::try_from(by.unsigned_abs()).unwrap_or(usize::MAX).min(bits.len());
            let zeros = "0".repeat(n);
            Ok(Value::text(if by >= 0 {
                format!("{}{zeros}", &bits[n..])
            } else {
                format!("{zeros}{}", &bits[..bits.len() - n])
            }))
        }),
        "bitcat" => {
            Function::new("bits", |_, values| Ok(Value::text(format!("{}{}", text(&values[0]), text(&values[1])))))
        }
        "bitsubstr" | "bitsubstr_no_len" => Function::new("substring", |_, values| {
            let (bits, start) = (text(&values[0]), int(&values[1]));
            let end = match values.get(2).map(int) {
                None => i64::MAX,
                Some(length) if length < 0 => {
                    return Err(Error::new("22011", "negative substring length not allowed"));
                }
                Some(length) => start.saturating_add(length),
            };
            let place = |at: i64| usize::try_from((at - 1).max(0)).unwrap_or(usize::MAX).min(bits.len());
            Ok(Value::text(bits.get(place(start)..place(end)).unwrap_or("")))
        }),
        "bitlength" => Function::new("length", |_, values| {
            Ok(Value::Int(i64::try_from(text(&values[0]).len()).unwrap_or(i64::MAX)))
        }),
        "bitoctetlength" => Function::new("octet_length", |_, values| {
            Ok(Value::Int(i64::try_from(text(&values[0]).len().div_ceil(8)).unwrap_or(i64::MAX)))
        }),
        "bitposition" => Function::new("position", |_, values| {
            let found = text(&values[0]).find(text(&values[1]));
            Ok(Value::Int(found.map_or(0, |at| i64::try_from(at + 1).unwrap_or(0))))
        }),
        "bitoverlay" | "bitoverlay_no_len" => Function::new("overlay", |_, values| {
            let (before, after) = pieces(values, text(&values[1]))?;
            Ok(Value::text(format!("{before}{}{after}", text(&values[1]))))
        }),
        "bitgetbit" => Function::new("get_bit", |_, values| {
            let bits = text(&values[0]);
            let found = usize::try_from(int(&values[1])).ok().and_then(|place| bits.as_bytes().get(place));
            let found = found.ok_or_else(|| out_of_range(int(&values[1]), bits.len()))?;
            Ok(Value::Int(i64::from(*found == b'1')))
        }),
        "bitsetbit" => Function::new("set_bit", |_, values| {
            let mut bits: Vec<char> = text(&values[0]).chars().collect();
            let n = bits.len();
            let place = usize::try_from(int(&values[1])).ok().and_then(|place| bits.get_mut(place));
            let place = place.ok_or_else(|| out_of_range(int(&values[1]), n))?;
            *place = match int(&values[2]) {
                0 => '0',
                1 => '1',
                _ => return Err(wrong_argument("new bit must be 0 or 1")),
            };
            Ok(Value::text(bits.into_iter().collect::<String>()))
        }),
        "bit_bit_count" => Function::new("bit_count", |_, values| {
            let n = text(&values[0]).bytes().filter(|bit| *bit == b'1').count();
            Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
        }),
        _ => return None,
    })
}
