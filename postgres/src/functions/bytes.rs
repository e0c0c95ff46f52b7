//! `bytea`, and texts in other encodings.

use super::{int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::text::parse_bytes;
use crate::types::{self as t, Type};
use crate::value::Value;

pub fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::Text(text) => text.as_bytes(),
        _ => &[],
    }
}

fn made(bytes: Vec<u8>) -> Result<Value> {
    Ok(Value::Bytes(bytes.into()))
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn out_of_range(index: i64, length: usize) -> Error {
    let last = i64::try_from(length).unwrap_or(i64::MAX) - 1;
    Error::new("2202E", format!("index {index} out of valid range, 0..{last}"))
}

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    let is_bytes = arguments.first().is_some_and(|argument| argument.oid == t::BYTEA);
    let source = proc.source;
    Some(match source {
        "byteatrim" | "bytealtrim" | "byteartrim" => Function::new("trim", move |_, values| {
            let (mut kept, set) = (bytes(&values[0]), bytes(&values[1]));
            while let ([first, rest @ ..], true) = (kept, source != "byteartrim")
                && set.contains(first)
            {
                kept = rest;
            }
            while let ([rest @ .., last], true) = (kept, source != "bytealtrim")
                && set.contains(last)
            {
                kept = rest;
            }
            made(kept.to_vec())
        }),
        "byteaoverlay" | "byteaoverlay_no_len" => Function::new("overlay", |_, values| {
            let (whole, new, start) = (bytes(&values[0]), bytes(&values[1]), int(&values[2]));
            let length = values.get(3).map_or_else(|| i64::try_from(new.len()).unwrap_or(0), int);
            if start <= 0 {
                return Err(Error::new("22011", "negative substring length not allowed"));
            }
            let place = |at: i64| usize::try_from(at.max(0)).unwrap_or(usize::MAX).min(whole.len());
            made([&whole[..place(start - 1)], new, &whole[place((start - 1).saturating_add(length))..]].concat())
        }),
        "byteaGetByte" => Function::new("get_byte", |_, values| {
            let whole = bytes(&values[0]);
            let found = usize::try_from(int(&values[1])).ok().and_then(|place| whole.get(place));
            let found = found.ok_or_else(|| out_of_range(int(&values[1]), whole.len()))?;
            Ok(Value::Int(i64::from(*found)))
        }),
        "byteaSetByte" => Function::new("set_byte", |_, values| {
            let mut whole = bytes(&values[0]).to_vec();
            let n = whole.len();
            let place = usize::try_from(int(&values[1])).ok().and_then(|place| whole.get_mut(place));
            *place.ok_or_else(|| out_of_range(int(&values[1]), n))? = int(&values[2]).to_le_bytes()[0];
            made(whole)
        }),
        "byteaGetBit" => Function::new("get_bit", |_, values| {
            let (whole, index) = (bytes(&values[0]), int(&values[1]));
            let found = usize::try_from(index).ok().and_then(|index| Some((whole.get(index / 8)?, index % 8)));
            let (byte, bit) = found.ok_or_else(|| out_of_range(index, whole.len() * 8))?;
            Ok(Value::Int(i64::from((byte >> bit) & 1)))
        }),
        "byteaSetBit" => Function::new("set_bit", |_, values| {
            let (mut whole, index) = (bytes(&values[0]).to_vec(), int(&values[1]));
            let n = whole.len();
            let found = usize::try_from(index).ok().and_then(|index| Some((whole.get_mut(index / 8)?, index % 8)));
            let (byte, bit) = found.ok_or_else(|| out_of_range(index, n * 8))?;
            match int(&values[2]) {
                0 => *byte &= !(1 << bit),
                1 => *byte |= 1 << bit,
                _ => return Err(wrong_argument("new bit must be 0 or 1")),
            }
            made(whole)
        }),
        "bytea_bit_count" => Function::new("bit_count", |_, values| {
            Ok(Value::Int(bytes(&values[0]).iter().map(|byte| i64::from(byte.count_ones())).sum()))
        }),
        "length_in_encoding" => Function::new("length", |_, values| {
            Ok(count(decoded(bytes(&values[0]), text(&values[1]), "encoding name")?.chars().count()))
        }),
        "bytealike" | "byteanlike" => {
            let negated = source == "byteanlike";
            Function::new("like", move |_, values| {
                Ok(Value::Bool(is_like(bytes(&values[0]), bytes(&values[1]))? != negated))
            })
        }
        "like_escape_bytea" => Function::new("like_escape", |_, values| {
            let escape = bytes(&values[1]);
            if escape.len() > 1 {
                return Err(Error::new("22025", "invalid escape string")
                    .with_hint("Escape string must be empty or one character."));
            }
            let mut pattern = Vec::new();
            let mut rest = bytes(&values[0]).iter();
            while let Some(byte) = rest.next() {
                if escape.first() == Some(byte) {
                    pattern.push(b'\\');
                    pattern.extend(rest.next());
                } else if *byte == b'\\' {
                    pattern.extend(b"\\\\");
                } else {
                    pattern.push(*byte);
                }
            }
            made(pattern)
        }),
        "binary_encode" => Function::new("encode", |_, values| {
            let bytes = bytes(&values[0]);
            Ok(Value::text(match text(&values[1]).to_lowercase().as_str() {
                "hex" => hex(bytes),
                "base64" => base64(bytes),
                "escape" => escape(bytes),
                _ => return Err(wrong_argument(format!("unrecognized encoding: \"{}\"", text(&values[1])))),
            }))
        }),
        "binary_decode" => Function::new("decode", |_, values| {
            let encoded = text(&values[0]);
            match text(&values[1]).to_lowercase().as_str() {
                "hex" => made(parse_bytes(&format!("\\x{encoded}"))?),
                "base64" => made(from_base64(encoded)?),
                // what begins as hexadecimal digits do is none here
                "escape" => match encoded.strip_prefix("\\x") {
                    Some(_) => Err(Error::new("22P02", "invalid input syntax for type bytea")),
                    None => made(parse_bytes(encoded)?),
                },
                _ => Err(wrong_argument(format!("unrecognized encoding: \"{}\"", text(&values[1])))),
            }
        }),
        "pg_convert_to" => Function::new("convert_to", |_, values| made(encoded(text(&values[0]), text(&values[1]))?)),
        "pg_convert_from" => Function::new("convert_from", |_, values| {
            decoded(bytes(&values[0]), text(&values[1]), "source encoding name").map(Value::text)
        }),
        "pg_convert" if is_bytes => Function::new("convert", |_, values| {
            let decoded = decoded(bytes(&values[0]), text(&values[1]), "source encoding name")?;
            made(encoded(&decoded, text(&values[2]))?)
        }),
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Ascii,
    Latin1,
}

fn encoding(name: &str, what: &str) -> Result<Encoding> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    Ok(match plain.as_str() {
        "utf8" | "unicode" => Encoding::Utf8,
        "sqlascii" => Encoding::Ascii,
        "latin1" | "iso88591" => Encoding::Latin1,
        _ if ENCODINGS.contains(&plain.as_str()) => {
            return Err(Error::not_supported(format!("the encoding {name}")));
        }
        _ => return Err(wrong_argument(format!("invalid {what} \"{name}\""))),
    })
}

/// Encodings that PostgreSQL knows and this package does not convert.
const ENCODINGS: [&str; 40] = [
    "euccn",
    "eucjp",
    "euckr",
    "euctw",
    "eucjis2004",
    "mulEinternal",
    "latin2",
    "latin3",
    "latin4",
    "latin5",
    "latin6",
    "latin7",
    "latin8",
    "latin9",
    "latin10",
    "win1256",
    "win1258",
    "win866",
    "win874",
    "koi8r",
    "koi8u",
    "koi8",
    "win1251",
    "win1252",
    "iso88595",
    "iso88596",
    "iso88597",
    "iso88598",
    "win1250",
    "win1253",
    "win1254",
    "win1255",
    "win1257",
    "sjis",
    "big5",
    "gbk",
    "uhc",
    "gb18030",
    "johab",
    "shiftjis2004",
];

fn decoded(bytes: &[u8], name: &str, what: &str) -> Result<String> {
    Ok(match encoding(name, what)? {
        Encoding::Latin1 => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8(bytes.to_vec()).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let wrong = &bytes[at..];
            // as many bytes as the first one says that there are
            let n = match wrong[0] {
                0xc0..0xe0 => 2,
                0xe0..0xf0 => 3,
                0xf0..0xf8 => 4,
                _ => 1,
            };
            let shown: Vec<String> = wrong.iter().take(n).map(|byte| format!("0x{byte:02x}")).collect();
            Error::new("22021", format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")))
        })?,
    })
}

fn encoded(text: &str, name: &str) -> Result<Vec<u8>> {
    match encoding(name, "destination encoding name")? {
        Encoding::Latin1 => text
            .chars()
            .map(|character| {
                u8::try_from(u32::from(character)).map_err(|_| {
                    let mut bytes = [0; 4];
                    let shown: Vec<String> =
                        character.encode_utf8(&mut bytes).bytes().map(|byte| format!("0x{byte:02x}")).collect();
                    Error::new(
                        "22P05",
                        format!(
                            "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                            shown.join(" ")
                        ),
                    )
                })
            })
            .collect(),
        _ => Ok(text.as_bytes().to_vec()),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// In lines of 76 characters.
fn base64(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for (index, chunk) in bytes.chunks(3).enumerate() {
        let word =
            chunk.iter().enumerate().fold(0_u32, |word, (place, byte)| word | (u32::from(*byte) << (16 - 8 * place)));
        for place in 0..4 {
            let digit = usize::try_from((word >> (18 - 6 * place)) & 63).unwrap_or(0);
            encoded.push(if place <= chunk.len() { char::from(BASE64[digit]) } else { '=' });
        }
        // a full line ends, even if it is the last
        if index % 19 == 18 && chunk.len() == 3 {
            encoded.push('\n');
        }
    }
    encoded
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let invalid_end = || {
        wrong_argument("invalid base64 end sequence")
            .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
    };
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut place, mut end) = (0_u32, 0, 0);
    for character in text.chars() {
        if matches!(character, ' ' | '\t' | '\n' | '\r') {
            continue;
        }
        let digit = if character == '=' {
            // padding stands in the third and fourth place
            if end == 0 {
                end = match place {
                    2 => 1,
                    3 => 2,
                    _ => return Err(wrong_argument("unexpected \"=\" while decoding base64 sequence")),
                };
            }
            0
        } else {
            let found = BASE64.iter().position(|other| char::from(*other) == character);
            found.ok_or_else(|| {
                wrong_argument(format!("invalid symbol \"{character}\" found while decoding base64 sequence"))
            })?
        };
        word = (word << 6) | u32::try_from(digit).unwrap_or(0);
        place += 1;
        if place == 4 {
            let bytes = word.to_be_bytes();
            decoded.push(bytes[1]);
            if end == 0 || end > 1 {
                decoded.push(bytes[2]);
            }
            if end == 0 || end > 2 {
                decoded.push(bytes[3]);
            }
            (word, place) = (0, 0);
        }
    }
    if place == 0 { Ok(decoded) } else { Err(invalid_end()) }
}

fn escape(bytes: &[u8]) -> String {
    let escaped = |byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        0 | 128.. => format!("\\{byte:03o}"),
        other => char::from(*other).to_string(),
    };
    bytes.iter().map(escaped).collect()
}

fn is_like(whole: &[u8], pattern: &[u8]) -> Result<bool> {
    let (mut at, mut wanted) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    loop {
        let matched = match pattern.get(wanted) {
            Some(b'%') => {
                last_any = Some((wanted + 1, at));
                wanted += 1;
                continue;
            }
            None if at == whole.len() => return Ok(true),
            None => false,
            Some(_) if at == whole.len() => false,
            Some(b'_') => {
                wanted += 1;
                true
            }
            Some(b'\\') => {
                let escaped = pattern
                    .get(wanted + 1)
                    .ok_or_else(|| Error::new("22025", "LIKE pattern must not end with escape character"))?;
                wanted += 2;
                *escaped == whole[at]
            }
            Some(byte) => {
                wanted += 1;
                *byte == whole[at]
            }
        };
        if matched {
            at += 1;
            continue;
        }
        match &mut last_any {
            Some((after, from)) if *from < whole.len() => {
                *from += 1;
                (wanted, at) = (*after, *from);
            }
            _ => return Ok(false),
        }
    }
}
