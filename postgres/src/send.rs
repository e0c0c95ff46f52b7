//! Values in the binary format, as PostgreSQL's send functions write them and its receive functions read them.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, Signed};

use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::types::{self as t, Type};
use crate::value::{Array, Value};

const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = 946_684_800_000_000;

/// Appends a value that is not NULL. Errors: 42883 for a type without a binary format here.
pub fn send(value: &Value, data_type: &Type, out: &mut Vec<u8>) -> Result<()> {
    let oid = crate::resolve::base_type(data_type.oid);
    match value {
        Value::Null => return Err(Error::new("XX000", "NULL has no bytes")),
        Value::Bool(truth) => out.push(u8::from(*truth)),
        Value::Int(number) => match oid {
            t::INT2 => out.extend(narrow::<i16>(*number)?.to_be_bytes()),
            t::INT4 => out.extend(narrow::<i32>(*number)?.to_be_bytes()),
            t::INT8 | t::XID8 => out.extend(number.to_be_bytes()),
            _ => out.extend(narrow::<u32>(*number)?.to_be_bytes()),
        },
        Value::Float(number) if oid == t::FLOAT4 => out.extend((*number as f32).to_be_bytes()),
        Value::Float(number) => out.extend(number.to_be_bytes()),
        Value::Numeric(number) => send_numeric(number, out),
        Value::Text(_) if matches!(oid, t::INET | t::CIDR | t::BIT | t::VARBIT | t::ACLITEM | t::TID | t::PG_LSN) => {
            return Err(no_binary(data_type));
        }
        Value::Text(text) => out.extend(text.as_bytes()),
        Value::Bytes(bytes) => out.extend(bytes.iter()),
        Value::Date(days) => {
            let shifted = if matches!(*days, i32::MAX | i32::MIN) { *days } else { days.saturating_sub(EPOCH_DAYS) };
            out.extend(shifted.to_be_bytes());
        }
        Value::Time(time) => out.extend(time.to_be_bytes()),
        Value::TimeZoned(time, zone) => {
            out.extend(time.to_be_bytes());
            out.extend((-zone).to_be_bytes());
        }
        Value::Timestamp(time) => {
            let shifted = if matches!(*time, i64::MAX | i64::MIN) { *time } else { time.saturating_sub(EPOCH_US) };
            out.extend(shifted.to_be_bytes());
        }
        Value::Interval(interval) => {
            out.extend(interval.microseconds.to_be_bytes());
            out.extend(interval.days.to_be_bytes());
            out.extend(interval.months.to_be_bytes());
        }
        Value::Uuid(bytes) => out.extend(bytes),
        Value::Jsonb(json) => {
            out.push(1);
            out.extend(json.to_string().as_bytes());
        }
        Value::Array(array) => {
            let element = data_type.element().ok_or_else(|| no_binary(data_type))?;
            send_array(array, &element, out)?;
        }
        Value::Record(items) => {
            let fields = data_type.fields.clone().ok_or_else(|| no_binary(data_type))?;
            out.extend(narrow::<i32>(i64::try_from(items.len()).unwrap_or(0))?.to_be_bytes());
            for (item, (_, field)) in items.iter().zip(fields.iter()) {
                out.extend(field.oid.to_be_bytes());
                send_sized(item, field, out)?;
            }
        }
    }
    Ok(())
}

fn no_binary(data_type: &Type) -> Error {
    Error::new("42883", format!("no binary output function available for type {}", data_type.name()))
}

fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T> {
    T::try_from(number).map_err(|_| Error::new("22003", "a number is out of range of its type"))
}

fn send_sized(value: &Value, data_type: &Type, out: &mut Vec<u8>) -> Result<()> {
    if value.is_null() {
        out.extend((-1_i32).to_be_bytes());
        return Ok(());
    }
    let start = out.len();
    out.extend([0; 4]);
    send(value, data_type, out)?;
    let length = narrow::<i32>(i64::try_from(out.len() - start - 4).unwrap_or(i64::MAX))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn send_array(array: &Array, element: &Type, out: &mut Vec<u8>) -> Result<()> {
    let count = |n: usize| narrow::<i32>(i64::try_from(n).unwrap_or(i64::MAX));
    out.extend(count(array.dimensions.len())?.to_be_bytes());
    out.extend(i32::from(array.items.iter().any(Value::is_null)).to_be_bytes());
    out.extend(element.oid.to_be_bytes());
    for (length, lower) in &array.dimensions {
        out.extend(count(*length)?.to_be_bytes());
        out.extend(lower.to_be_bytes());
    }
    array.items.iter().try_for_each(|item| send_sized(item, element, out))
}

/// Groups of four decimal digits, with the weight of the first, the sign and how many digits are shown behind the point.
fn send_numeric(number: &Numeric, out: &mut Vec<u8>) {
    let header = |groups: &[i16], weight: i16, sign: u16, scale: u16, out: &mut Vec<u8>| {
        out.extend(u16::try_from(groups.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(weight.to_be_bytes());
        out.extend(sign.to_be_bytes());
        out.extend(scale.to_be_bytes());
        groups.iter().for_each(|group| out.extend(group.to_be_bytes()));
    };
    match number {
        Numeric::NaN => header(&[], 0, 0xc000, 0, out),
        Numeric::Infinity => header(&[], 0, 0xd000, 0x20, out),
        Numeric::NegativeInfinity => header(&[], 0, 0xf000, 0x20, out),
        Numeric::Finite(finite) => {
            let (groups, weight) = groups_of(finite);
            let sign = if finite.is_negative() { 0x4000 } else { 0 };
            header(&groups, weight, sign, u16::try_from(number.scale()).unwrap_or(u16::MAX), out);
        }
    }
}

fn groups_of(number: &BigDecimal) -> (Vec<i16>, i16) {
    let (digits, scale): (BigInt, i64) = number.abs().into_bigint_and_scale();
    let scale = usize::try_from(scale.max(0)).unwrap_or(0);
    let text = digits.to_string();
    let text = format!("{text:0>width$}", width = scale + 1);
    let (whole, fraction) = text.split_at(text.len() - scale);
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
    let mut weight = i16::try_from(whole.len() / 4).unwrap_or(i16::MAX) - 1;
    let all = whole + &fraction;
    let mut groups: Vec<i16> = (0..all.len()).step_by(4).map(|at| all[at..at + 4].parse().unwrap_or(0)).collect();
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    (groups, weight)
}

/// Reads a value. Errors: 22P03 for bytes that are none of the type, 42883 for a type without a binary format here.
pub fn receive(bytes: &[u8], data_type: &Type) -> Result<Value> {
    let oid = crate::resolve::base_type(data_type.oid);
    let mut reader = Reader { rest: bytes };
    let value = match oid {
        t::BOOL => Value::Bool(reader.take::<1>()?[0] != 0),
        t::INT2 => Value::Int(i16::from_be_bytes(reader.take()?).into()),
        t::INT4 => Value::Int(i32::from_be_bytes(reader.take()?).into()),
        t::INT8 | t::XID8 => Value::Int(i64::from_be_bytes(reader.take()?)),
        t::OID | t::XID | t::CID => Value::Int(u32::from_be_bytes(reader.take()?).into()),
        oid if t::REG_TYPES.contains(&oid) => Value::Int(u32::from_be_bytes(reader.take()?).into()),
        t::FLOAT4 => Value::Float(f32::from_be_bytes(reader.take()?).into()),
        t::FLOAT8 => Value::Float(f64::from_be_bytes(reader.take()?)),
        t::NUMERIC => Value::Numeric(reader.numeric()?),
        t::BYTEA => return Ok(Value::Bytes(bytes.into())),
        t::DATE => {
            let days = i32::from_be_bytes(reader.take()?);
            Value::Date(if matches!(days, i32::MAX | i32::MIN) { days } else { days.saturating_add(EPOCH_DAYS) })
        }
        t::TIME => Value::Time(i64::from_be_bytes(reader.take()?)),
        t::TIMETZ => {
            let time = i64::from_be_bytes(reader.take()?);
            Value::TimeZoned(time, -i32::from_be_bytes(reader.take()?))
        }
        t::TIMESTAMP | t::TIMESTAMPTZ => {
            let time = i64::from_be_bytes(reader.take()?);
            Value::Timestamp(if matches!(time, i64::MAX | i64::MIN) { time } else { time.saturating_add(EPOCH_US) })
        }
        t::INTERVAL => {
            let microseconds = i64::from_be_bytes(reader.take()?);
            let days = i32::from_be_bytes(reader.take()?);
            Value::Interval(crate::value::Interval { months: i32::from_be_bytes(reader.take()?), days, microseconds })
        }
        t::UUID => Value::Uuid(reader.take()?),
        t::JSONB => {
            let [version] = reader.take()?;
            if version != 1 {
                return Err(Error::new("XX000", format!("unsupported jsonb version number {version}")));
            }
            let json = crate::json::Json::parse(text_of(reader.rest)?);
            return json.map(Value::jsonb).ok_or_else(|| Error::new("22P02", "invalid input syntax for type json"));
        }
        t::TEXT
        | t::NAME
        | t::VARCHAR
        | t::BPCHAR
        | t::CHAR
        | t::JSON
        | t::XML
        | t::UNKNOWN
        | t::CSTRING
        | t::REFCURSOR => {
            return Ok(Value::text(text_of(bytes)?));
        }
        _ => match data_type.element() {
            Some(element) => reader.array(&element)?,
            None => {
                return Err(Error::new(
                    "42883",
                    format!("no binary input function available for type {}", data_type.name()),
                ));
            }
        },
    };
    if reader.rest.is_empty() { Ok(value) } else { Err(malformed()) }
}

fn too_short() -> Error {
    Error::new("08P01", "insufficient data left in message")
}

fn malformed() -> Error {
    Error::new("22P03", "incorrect binary data format")
}

fn text_of(bytes: &[u8]) -> Result<&str> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Error::new("22021", "invalid byte sequence for encoding \"UTF8\""))?;
    if text.contains('\0') {
        Err(Error::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"))
    } else {
        Ok(text)
    }
}

struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(too_short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, length: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(too_short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn numeric(&mut self) -> Result<Numeric> {
        let n_groups = usize::from(u16::from_be_bytes(self.take()?));
        let weight = i16::from_be_bytes(self.take()?);
        let sign = u16::from_be_bytes(self.take()?);
        let scale = i64::from(u16::from_be_bytes(self.take()?) & 0x3fff);
        match sign {
            0 | 0x4000 => {}
            0xc000 => return Ok(Numeric::NaN),
            0xd000 => return Ok(Numeric::Infinity),
            0xf000 => return Ok(Numeric::NegativeInfinity),
            _ => return Err(Error::new("22P03", "invalid sign in external \"numeric\" value")),
        }
        let mut digits = String::with_capacity(n_groups * 4 + 1);
        digits.push('0');
        for _ in 0..n_groups {
            let group = u16::from_be_bytes(self.take()?);
            if group > 9999 {
                return Err(Error::new("22P03", "invalid digit in external \"numeric\" value"));
            }
            digits.push_str(&format!("{group:04}"));
        }
        let digits: BigInt = digits.parse().map_err(|_| malformed())?;
        let behind = 4 * (i64::try_from(n_groups).unwrap_or(0) - 1 - i64::from(weight));
        let number = BigDecimal::new(if sign == 0 { digits } else { -digits }, behind);
        Ok(Numeric::Finite(number).rounded(scale))
    }

    fn array(&mut self, element: &Type) -> Result<Value> {
        let n_dimensions = u32::from_be_bytes(self.take()?);
        if n_dimensions > 6 {
            return Err(Error::new(
                "54000",
                format!("number of array dimensions ({n_dimensions}) exceeds the maximum allowed (6)"),
            ));
        }
        self.take::<4>()?;
        let own = u32::from_be_bytes(self.take()?);
        if own != element.oid {
            return Err(Error::new("42804", "wrong element type"));
        }
        let mut dimensions = Vec::new();
        let mut n_items = 1_usize;
        for _ in 0..n_dimensions {
            let length = usize::try_from(i32::from_be_bytes(self.take()?)).map_err(|_| malformed())?;
            dimensions.push((length, i32::from_be_bytes(self.take()?)));
            n_items = n_items.checked_mul(length).ok_or_else(malformed)?;
        }
        if n_dimensions == 0 || n_items == 0 {
            return Ok(Value::array(Vec::new()));
        }
        // each item has a length word at least
        if n_items > self.rest.len() / 4 {
            return Err(malformed());
        }
        let mut items = Vec::with_capacity(n_items);
        for _ in 0..n_items {
            let length = i32::from_be_bytes(self.take()?);
            items.push(match usize::try_from(length) {
                Ok(length) => receive(self.bytes(length)?, element)?,
                Err(_) => Value::Null,
            });
        }
        Ok(Value::Array(std::sync::Arc::new(Array { dimensions, items })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::{Clock, Zone};

    const CLOCK: Clock = Clock { now_us: 0, zone: Zone::UTC };

    #[test]
    fn what_is_sent_is_received() {
        for (text, type_name) in [
            ("t", "bool"),
            ("-7", "int2"),
            ("1.5", "float4"),
            ("Infinity", "float8"),
            ("NaN", "numeric"),
            ("é", "text"),
            ("\\x00ff", "bytea"),
            ("infinity", "date"),
            ("2024-01-31 10:00:00.5", "timestamp"),
            ("-infinity", "timestamptz"),
            ("1 year -2 days +03:00:00", "interval"),
            ("10:00:00+02", "timetz"),
            ("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "uuid"),
            ("{\"a\": 1}", "jsonb"),
            ("{{1,NULL},{3,4}}", "int4[]"),
            ("[0:1]={a,b}", "text[]"),
        ] {
            let data_type = crate::types::parse_type(type_name).expect(type_name);
            let value = crate::text::parse(text, &data_type, CLOCK).expect(text);
            let mut bytes = Vec::new();
            send(&value, &data_type, &mut bytes).expect("sent");
            let back = receive(&bytes, &data_type).expect("received");
            assert_eq!(crate::text::format(&back, &data_type, CLOCK).as_deref(), Some(text));
            bytes.push(0);
            let is_text = matches!(type_name, "text" | "bytea" | "jsonb");
            assert!(is_text || receive(&bytes, &data_type).is_err(), "{type_name} with a byte more");
        }
    }

    #[test]
    fn numerics_are_groups_of_four_digits() {
        // as PostgreSQL 15 sends them
        for (text, bytes) in [
            ("0", vec![0, 0, 0, 0, 0, 0, 0, 0]),
            ("1.50", vec![0, 2, 0, 0, 0, 0, 0, 2, 0, 1, 0x13, 0x88]),
            ("-12345", vec![0, 2, 0, 1, 0x40, 0, 0, 0, 0, 1, 0x09, 0x29]),
            ("0.0001", vec![0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1]),
        ] {
            let mut out = Vec::new();
            send(&Value::Numeric(text.parse().expect("a number")), &Type::of(t::NUMERIC), &mut out).expect("sent");
            assert_eq!(out, bytes, "{text}");
            let back = receive(&out, &Type::of(t::NUMERIC)).expect("received");
            assert_eq!(crate::text::format(&back, &Type::of(t::NUMERIC), CLOCK).as_deref(), Some(text));
        }
    }
}
