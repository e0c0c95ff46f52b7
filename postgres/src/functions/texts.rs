//! Texts and bytes.

use md5::{Digest, Md5};
use regex::{Regex, RegexBuilder};

use super::{casts, int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::text::{quote_identifier, quote_literal};
use crate::types::{self as t, Type};
use crate::value::Value;

/// Longest text that a function makes.
const MOST_BYTES: usize = 256 << 20;

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::Bytes(bytes) => bytes,
        Value::Text(text) => text.as_bytes(),
        _ => &[],
    }
}

fn made(bytes: impl Into<std::sync::Arc<[u8]>>) -> Result<Value> {
    Ok(Value::Bytes(bytes.into()))
}

pub fn function(proc: &Proc, arguments: &[Type]) -> Option<Function> {
    let of_text = |call: fn(&str) -> String| {
        Some(Function::new("text", move |_, values| Ok(Value::text(call(text(&values[0]))))))
    };
    let types = arguments.to_vec();
    match proc.source {
        "textcat" => Some(Function::new("concat", |_, values| {
            Ok(Value::text(format!("{}{}", text(&values[0]), text(&values[1]))))
        })),
        "textanycat" | "anytextcat" => Some(Function::new("concat", move |context, values| {
            let side = |index: usize| casts::printed(context.world, &values[index], &types[index], context.clock);
            Ok(Value::text(format!("{}{}", side(0), side(1))))
        })),
        "byteacat" => Some(Function::new("concat", |_, values| made([bytes(&values[0]), bytes(&values[1])].concat()))),
        "textlen" => Some(Function::new("length", |_, values| Ok(count(text(&values[0]).chars().count())))),
        "bpcharlen" => {
            Some(Function::new("length", |_, values| Ok(count(text(&values[0]).trim_end_matches(' ').chars().count()))))
        }
        "byteaoctetlen" | "textoctetlen" | "bpcharoctetlen" => {
            Some(Function::new("octet_length", |_, values| Ok(count(bytes(&values[0]).len()))))
        }
        "bit_length" => Some(Function::new("bit_length", |_, values| Ok(count(bytes(&values[0]).len() * 8)))),
        "lower" => of_text(str::to_lowercase),
        "upper" => of_text(str::to_uppercase),
        "initcap" => of_text(|text| {
            let mut is_inside = false;
            let mut result = String::with_capacity(text.len());
            for character in text.chars() {
                if is_inside {
                    result.extend(character.to_lowercase())
                } else {
                    result.extend(character.to_uppercase())
                }
                is_inside = character.is_alphanumeric();
            }
            result
        }),
        "text_reverse" => of_text(|text| text.chars().rev().collect()),
        "btrim1" => of_text(|text| text.trim_matches(' ').to_owned()),
        "ltrim1" => of_text(|text| text.trim_start_matches(' ').to_owned()),
        "rtrim1" => of_text(|text| text.trim_end_matches(' ').to_owned()),
        "btrim" | "ltrim" | "rtrim" => {
            let source = proc.source;
            Some(Function::new("trim", move |_, values| {
                let characters: Vec<char> = text(&values[1]).chars().collect();
                let is_one = |character: char| characters.contains(&character);
                let whole = text(&values[0]);
                Ok(Value::text(match source {
                    "ltrim" => whole.trim_start_matches(is_one),
                    "rtrim" => whole.trim_end_matches(is_one),
                    _ => whole.trim_matches(is_one),
                }))
            }))
        }
        "quote_ident" => of_text(quote_identifier),
        "quote_literal" if proc.arguments == [t::TEXT] => of_text(quote_literal),
        "quote_literal" | "quote_nullable" => Some(Function::new("quote", move |context, values| {
            Ok(if values[0].is_null() {
                Value::text("NULL")
            } else {
                Value::text(quote_literal(&casts::printed(context.world, &values[0], &types[0], context.clock)))
            })
        })),
        "md5_text" | "md5_bytea" => {
            Some(Function::new("md5", |_, values| Ok(Value::text(hex(&Md5::digest(bytes(&values[0])))))))
        }
        "sha256_bytea" => {
            Some(Function::new("sha256", |_, values| made(sha2::Sha256::digest(bytes(&values[0])).to_vec())))
        }
        "sha512_bytea" => {
            Some(Function::new("sha512", |_, values| made(sha2::Sha512::digest(bytes(&values[0])).to_vec())))
        }
        "sha384_bytea" => {
            Some(Function::new("sha384", |_, values| made(sha2::Sha384::digest(bytes(&values[0])).to_vec())))
        }
        "sha224_bytea" => {
            Some(Function::new("sha224", |_, values| made(sha2::Sha224::digest(bytes(&values[0])).to_vec())))
        }
        "text_substr" | "text_substr_no_len" | "bytea_substr" | "bytea_substr_no_len" => {
            let is_bytes = proc.source.starts_with("bytea");
            Some(Function::new("substring", move |_, values| {
                let start = int(&values[1]);
                let end = match values.get(2) {
                    None => i64::MAX,
                    Some(length) => {
                        if int(length) < 0 {
                            return Err(Error::new("22011", "negative substring length not allowed"));
                        }
                        start.saturating_add(int(length))
                    }
                };
                let skip = usize::try_from((start - 1).max(0)).unwrap_or(usize::MAX);
                let take = usize::try_from(end.saturating_sub(start.max(1)).max(0)).unwrap_or(usize::MAX);
                if is_bytes {
                    return made(bytes(&values[0]).iter().copied().skip(skip).take(take).collect::<Vec<u8>>());
                }
                Ok(Value::text(text(&values[0]).chars().skip(skip).take(take).collect::<String>()))
            }))
        }
        "textregexsubstr" => Some(Function::new("substring", |_, values| {
            let pattern = regex(text(&values[1]), "")?;
            let found =
                pattern.captures(text(&values[0])).and_then(|found| found.get(usize::from(pattern.captures_len() > 1)));
            Ok(found.map_or(Value::Null, |found| Value::text(found.as_str())))
        })),
        "textpos" => Some(Function::new("position", |_, values| {
            let whole = text(&values[0]);
            Ok(count(whole.find(text(&values[1])).map_or(0, |at| whole[..at].chars().count() + 1)))
        })),
        "byteapos" => Some(Function::new("position", |_, values| {
            let (whole, part) = (bytes(&values[0]), bytes(&values[1]));
            let found =
                if part.is_empty() { Some(0) } else { whole.windows(part.len()).position(|window| window == part) };
            Ok(count(found.map_or(0, |at| at + 1)))
        })),
        "text_left" | "text_right" => {
            let is_left = proc.source == "text_left";
            Some(Function::new("left", move |_, values| {
                let characters: Vec<char> = text(&values[0]).chars().collect();
                let n = int(&values[1]);
                let kept = if n < 0 {
                    characters.len().saturating_sub(usize::try_from(-n).unwrap_or(usize::MAX))
                } else {
                    usize::try_from(n).unwrap_or(usize::MAX).min(characters.len())
                };
                let part = if is_left { &characters[..kept] } else { &characters[characters.len() - kept..] };
                Ok(Value::text(part.iter().collect::<String>()))
            }))
        }
        "lpad" | "rpad" => {
            let is_left = proc.source == "lpad";
            Some(Function::new("pad", move |_, values| {
                let whole: Vec<char> = text(&values[0]).chars().collect();
                let length = usize::try_from(int(&values[1]).max(0)).unwrap_or(0);
                check_size(length)?;
                let fill: Vec<char> = values.get(2).map_or(" ", text).chars().collect();
                if whole.len() >= length || fill.is_empty() {
                    return Ok(Value::text(whole.into_iter().take(length).collect::<String>()));
                }
                let pad: String = fill.iter().cycle().take(length - whole.len()).collect();
                let whole: String = whole.into_iter().collect();
                Ok(Value::text(if is_left { format!("{pad}{whole}") } else { format!("{whole}{pad}") }))
            }))
        }
        "repeat" => Some(Function::new("repeat", |_, values| {
            let times = usize::try_from(int(&values[1]).max(0)).unwrap_or(0);
            check_size(text(&values[0]).len().saturating_mul(times))?;
            Ok(Value::text(text(&values[0]).repeat(times)))
        })),
        "replace_text" => Some(Function::new("replace", |_, values| {
            let (whole, from, to) = (text(&values[0]), text(&values[1]), text(&values[2]));
            Ok(Value::text(if from.is_empty() { whole.to_owned() } else { whole.replace(from, to) }))
        })),
        "translate" => Some(Function::new("translate", |_, values| {
            let from: Vec<char> = text(&values[1]).chars().collect();
            let to: Vec<char> = text(&values[2]).chars().collect();
            let map = |character: char| match from.iter().position(|other| *other == character) {
                None => Some(character),
                Some(place) => to.get(place).copied(),
            };
            Ok(Value::text(text(&values[0]).chars().filter_map(map).collect::<String>()))
        })),
        "split_part" => Some(Function::new("split_part", |_, values| {
            let (whole, separator, n) = (text(&values[0]), text(&values[1]), int(&values[2]));
            if n == 0 {
                return Err(wrong_argument("field position must not be zero"));
            }
            let parts: Vec<&str> = if separator.is_empty() { vec![whole] } else { whole.split(separator).collect() };
            let place = if n > 0 {
                usize::try_from(n - 1).ok()
            } else {
                parts.len().checked_sub(usize::try_from(-n).unwrap_or(usize::MAX))
            };
            Ok(Value::text(place.and_then(|place| parts.get(place)).copied().unwrap_or_default()))
        })),
        "text_starts_with" => Some(Function::new("starts_with", |_, values| {
            Ok(Value::Bool(text(&values[0]).starts_with(text(&values[1]))))
        })),
        "ascii" => Some(Function::new("ascii", |_, values| {
            Ok(Value::Int(text(&values[0]).chars().next().map_or(0, |first| i64::from(u32::from(first)))))
        })),
        "chr" => Some(Function::new("chr", |_, values| {
            let code = u32::try_from(int(&values[0])).ok().and_then(char::from_u32);
            match code {
                Some('\0') => Err(Error::new("54000", "null character not permitted")),
                Some(character) => Ok(Value::text(character.to_string())),
                None => {
                    Err(Error::new("54000", format!("requested character too large for encoding: {}", int(&values[0]))))
                }
            }
        })),
        "textoverlay_no_len" | "textoverlay" | "overlay" => Some(Function::new("overlay", |_, values| {
            let whole: Vec<char> = text(&values[0]).chars().collect();
            let new = text(&values[1]);
            let start = int(&values[2]);
            if start <= 0 {
                return Err(Error::new("22011", "negative substring length not allowed"));
            }
            let length = values.get(3).map_or_else(|| i64::try_from(new.chars().count()).unwrap_or(0), int);
            let before = usize::try_from(start - 1).unwrap_or(usize::MAX).min(whole.len());
            let after =
                usize::try_from((start - 1).saturating_add(length).max(0)).unwrap_or(usize::MAX).min(whole.len());
            let left: String = whole[..before].iter().collect();
            let right: String = whole[after..].iter().collect();
            Ok(Value::text(format!("{left}{new}{right}")))
        })),
        "to_hex32" | "to_hex64" => {
            let is_short = proc.source == "to_hex32";
            Some(Function::new("to_hex", move |_, values| {
                let number = int(&values[0]);
                Ok(Value::text(if is_short { format!("{:x}", number as i32) } else { format!("{number:x}") }))
            }))
        }
        "binary_encode" => Some(Function::new("encode", |_, values| {
            let bytes = bytes(&values[0]);
            Ok(Value::text(match text(&values[1]).to_lowercase().as_str() {
                "hex" => hex(bytes),
                "base64" => base64(bytes),
                "escape" => escape(bytes),
                other => return Err(wrong_argument(format!("unrecognized encoding: \"{other}\""))),
            }))
        })),
        "binary_decode" => Some(Function::new("decode", |_, values| {
            let encoded = text(&values[0]);
            match text(&values[1]).to_lowercase().as_str() {
                "hex" => {
                    let value = crate::text::parse(
                        &format!("\\x{encoded}"),
                        &Type::of(t::BYTEA),
                        crate::datetime::Clock { now_us: 0, zone: crate::datetime::Zone::UTC },
                    )?;
                    Ok(value)
                }
                "base64" => made(from_base64(encoded).ok_or_else(|| wrong_argument("invalid base64 end sequence"))?),
                "escape" => crate::text::parse(
                    encoded,
                    &Type::of(t::BYTEA),
                    crate::datetime::Clock { now_us: 0, zone: crate::datetime::Zone::UTC },
                ),
                other => Err(wrong_argument(format!("unrecognized encoding: \"{other}\""))),
            }
        })),
        "pg_convert_to" => Some(Function::new("convert_to", |_, values| made(text(&values[0]).as_bytes().to_vec()))),
        "pg_convert_from" => Some(Function::new("convert_from", |_, values| {
            String::from_utf8(bytes(&values[0]).to_vec())
                .map(Value::text)
                .map_err(|_| Error::new("22021", "invalid byte sequence for encoding \"UTF8\""))
        })),
        "text_concat" => Some(Function::new("concat", move |context, values| {
            let parts = values.iter().zip(&types).filter(|(value, _)| !value.is_null());
            let parts: Vec<String> = parts.map(|(value, data_type)| plain(context, value, data_type)).collect();
            Ok(Value::text(parts.concat()))
        })),
        "text_concat_ws" => Some(Function::new("concat_ws", move |context, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let parts = values.iter().zip(&types).skip(1).filter(|(value, _)| !value.is_null());
            let parts: Vec<String> = parts.map(|(value, data_type)| plain(context, value, data_type)).collect();
            Ok(Value::text(parts.join(text(&values[0]))))
        })),
        "text_format" | "text_format_nv" => Some(Function::new("format", move |context, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            let shown: Vec<Option<String>> = values[1..]
                .iter()
                .zip(&types[1..])
                .map(|(value, data_type)| (!value.is_null()).then(|| plain(context, value, data_type)))
                .collect();
            format(text(&values[0]), &shown).map(Value::text)
        })),
        "textlike" | "namelike" | "bpcharlike" => like(false, false),
        "textnlike" | "namenlike" | "bpcharnlike" => like(true, false),
        "texticlike" | "nameiclike" | "bpchariclike" => like(false, true),
        "texticnlike" | "nameicnlike" | "bpcharicnlike" => like(true, true),
        "like_escape" => Some(Function::new("like_escape", |_, values| {
            let escape = text(&values[1]);
            let mut characters = escape.chars();
            let (first, rest) = (characters.next(), characters.next());
            if rest.is_some() {
                return Err(Error::new("22025", "invalid escape string")
                    .with_hint("Escape string must be empty or one character."));
            }
            let mut pattern = String::new();
            let mut rest = text(&values[0]).chars();
            while let Some(character) = rest.next() {
                if Some(character) == first {
                    pattern.push('\\');
                    pattern.extend(rest.next());
                } else if character == '\\' {
                    pattern.push_str("\\\\");
                } else {
                    pattern.push(character);
                }
            }
            Ok(Value::text(pattern))
        })),
        "textregexeq" | "nameregexeq" => matches(false, false),
        "textregexne" | "nameregexne" => matches(true, false),
        "texticregexeq" | "nameicregexeq" => matches(false, true),
        "texticregexne" | "nameicregexne" => matches(true, true),
        "similar_to_escape_1" | "similar_to_escape_2" => Some(Function::new("similar_to_escape", |_, values| {
            Ok(Value::text(similar(text(&values[0]), values.get(1).map_or("\\", text))))
        })),
        "textregexreplace_noopt" | "textregexreplace" => Some(Function::new("regexp_replace", |_, values| {
            let flags = values.get(3).map_or("", text);
            let pattern = regex(text(&values[1]), &flags.replace('g', ""))?;
            let replacement = replacement(text(&values[2]));
            let whole = text(&values[0]);
            Ok(Value::text(if flags.contains('g') {
                pattern.replace_all(whole, replacement.as_str())
            } else {
                pattern.replace(whole, replacement.as_str())
            }))
        })),
        "regexp_match_no_flags" | "regexp_match" => Some(Function::new("regexp_match", |_, values| {
            let pattern = regex(text(&values[1]), values.get(2).map_or("", text))?;
            Ok(pattern.captures(text(&values[0])).map_or(Value::Null, |found| groups(&found)))
        })),
        "regexp_split_to_array_no_flags" | "regexp_split_to_array" => {
            Some(Function::new("regexp_split_to_array", |_, values| {
                let pattern = regex(text(&values[1]), values.get(2).map_or("", text))?;
                Ok(Value::array(split(text(&values[0]), &pattern).into_iter().map(Value::text).collect()))
            }))
        }
        "regexp_count_no_flags" | "regexp_count" | "regexp_count_no_start" => {
            Some(Function::new("regexp_count", |_, values| {
                let pattern = regex(text(&values[1]), values.get(3).map_or("", text))?;
                let skip = usize::try_from(values.get(2).map_or(1, int) - 1).unwrap_or(0);
                let whole: String = text(&values[0]).chars().skip(skip).collect();
                Ok(count(pattern.find_iter(&whole).count()))
            }))
        }
        "regexp_like_no_flags" | "regexp_like" => Some(Function::new("regexp_like", |_, values| {
            Ok(Value::Bool(regex(text(&values[1]), values.get(2).map_or("", text))?.is_match(text(&values[0]))))
        })),
        "regexp_substr_no_start"
        | "regexp_substr"
        | "regexp_substr_no_n"
        | "regexp_substr_no_flags"
        | "regexp_substr_no_subexpr" => Some(Function::new("regexp_substr", |_, values| {
            let pattern = regex(text(&values[1]), values.get(4).map_or("", text))?;
            let skip = usize::try_from(values.get(2).map_or(1, int) - 1).unwrap_or(0);
            let whole: String = text(&values[0]).chars().skip(skip).collect();
            let nth = usize::try_from(values.get(3).map_or(1, int) - 1).unwrap_or(0);
            let group = usize::try_from(values.get(5).map_or(0, int)).unwrap_or(0);
            let found = pattern.captures_iter(&whole).nth(nth);
            Ok(found.and_then(|found| found.get(group).map(|found| Value::text(found.as_str()))).unwrap_or(Value::Null))
        })),
        "parse_ident" => Some(Function::new("parse_ident", |_, values| parse_ident(text(&values[0])))),
        "byteaGetByte" => Some(Function::new("get_byte", |_, values| {
            let index = usize::try_from(int(&values[1])).unwrap_or(usize::MAX);
            let found = bytes(&values[0]).get(index).map(|byte| Value::Int(i64::from(*byte)));
            found.ok_or_else(|| {
                Error::new(
                    "2202E",
                    format!(
                        "index {} out of valid range, 0..{}",
                        int(&values[1]),
                        bytes(&values[0]).len().wrapping_sub(1)
                    ),
                )
            })
        })),
        "unicode_normalize_func" | "unicode_is_normalized" => None,
        _ => None,
    }
}

fn check_size(bytes: usize) -> Result<()> {
    if bytes > MOST_BYTES { Err(Error::new("54000", "requested length too large")) } else { Ok(()) }
}

/// As an output function prints it: `t` for true.
fn plain(context: &crate::execute::Context<'_>, value: &Value, data_type: &Type) -> String {
    casts::shown(context.world, value, data_type, context.clock).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// In lines of 76 characters.
fn base64(bytes: &[u8]) -> String {
    let mut encoded = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for (index, chunk) in bytes.chunks(3).enumerate() {
        if index > 0 && index % 19 == 0 {
            encoded.push('\n');
        }
        let word =
            chunk.iter().enumerate().fold(0_u32, |word, (place, byte)| word | (u32::from(*byte) << (16 - 8 * place)));
        for place in 0..4 {
            let digit = usize::try_from((word >> (18 - 6 * place)) & 63).unwrap_or(0);
            encoded.push(if place <= chunk.len() { char::from(BASE64[digit]) } else { '=' });
        }
    }
    encoded
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut word, mut n_digits) = (0_u32, 0);
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        if byte == b'=' {
            continue;
        }
        let digit = BASE64.iter().position(|other| *other == byte)?;
        word = (word << 6) | u32::try_from(digit).ok()?;
        n_digits += 1;
        if n_digits == 4 {
            decoded.extend(&word.to_be_bytes()[1..]);
            (word, n_digits) = (0, 0);
        }
    }
    match n_digits {
        0 => {}
        2 => decoded.push(u8::try_from(word >> 4).ok()?),
        3 => decoded.extend(&u16::try_from(word >> 2).ok()?.to_be_bytes()),
        _ => return None,
    }
    Some(decoded)
}

fn escape(bytes: &[u8]) -> String {
    let escaped = |byte: &u8| match byte {
        b'\\' => "\\\\".to_owned(),
        0 | 128.. => format!("\\{byte:03o}"),
        other => char::from(*other).to_string(),
    };
    bytes.iter().map(escaped).collect()
}

/// PostgreSQL's `format`: %s, %I, %L, with positions and widths.
fn format(template: &str, values: &[Option<String>]) -> Result<String> {
    let mut result = String::new();
    let mut next = 0;
    let mut characters = template.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            result.push(character);
            continue;
        }
        if characters.peek() == Some(&'%') {
            characters.next();
            result.push('%');
            continue;
        }
        let (mut digits, mut left, mut position) = (String::new(), false, None);
        let kind = loop {
            match characters.next() {
                Some('$') => position = std::mem::take(&mut digits).parse::<usize>().ok(),
                Some('-') => left = true,
                Some(digit) if digit.is_ascii_digit() => digits.push(digit),
                Some(kind) => break kind,
                None => {
                    return Err(wrong_argument("unterminated format() type specifier")
                        .with_hint("For a single \"%\" use \"%%\"."));
                }
            }
        };
        let place = match position {
            Some(0) => return Err(wrong_argument("format specifies argument 0, but arguments are numbered from 1")),
            Some(position) => position - 1,
            None => next,
        };
        next = place + 1;
        let value = values.get(place).ok_or_else(|| wrong_argument("too few arguments for format()"))?;
        let shown = match (kind, value) {
            ('s', value) => value.clone().unwrap_or_default(),
            ('I', Some(value)) => quote_identifier(value),
            ('I', None) => return Err(Error::new("22004", "null values cannot be formatted as an SQL identifier")),
            ('L', Some(value)) => quote_literal(value),
            ('L', None) => "NULL".to_owned(),
            (other, _) => {
                return Err(wrong_argument(format!("unrecognized format() type specifier \"{other}\""))
                    .with_hint("For a single \"%\" use \"%%\"."));
            }
        };
        let width: usize = digits.parse().unwrap_or(0);
        check_size(width)?;
        let pad = " ".repeat(width.saturating_sub(shown.chars().count()));
        result.push_str(&if left { format!("{shown}{pad}") } else { format!("{pad}{shown}") });
    }
    Ok(result)
}

fn like(negated: bool, ignores_case: bool) -> Option<Function> {
    Some(Function::new("like", move |_, values| {
        let (mut whole, mut pattern) = (text(&values[0]).to_owned(), text(&values[1]).to_owned());
        if ignores_case {
            (whole, pattern) = (whole.to_lowercase(), pattern.to_lowercase());
        }
        let whole: Vec<char> = whole.chars().collect();
        let pattern = pattern_of(&pattern)?;
        Ok(Value::Bool(is_like(&whole, &pattern) != negated))
    }))
}

enum Wanted {
    Any,
    One,
    Exactly(char),
}

fn pattern_of(pattern: &str) -> Result<Vec<Wanted>> {
    let mut wanted = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        wanted.push(match character {
            '%' => Wanted::Any,
            '_' => Wanted::One,
            '\\' => Wanted::Exactly(
                characters
                    .next()
                    .ok_or_else(|| Error::new("22025", "LIKE pattern must not end with escape character"))?,
            ),
            other => Wanted::Exactly(other),
        });
    }
    Ok(wanted)
}

/// Going back to the last `%` where it does not go on.
fn is_like(whole: &[char], pattern: &[Wanted]) -> bool {
    let (mut at, mut wanted) = (0, 0);
    let mut last_any: Option<(usize, usize)> = None;
    while at < whole.len() {
        match pattern.get(wanted) {
            Some(Wanted::Any) => {
                last_any = Some((wanted, at));
                wanted += 1;
                continue;
            }
            Some(Wanted::One) => {}
            Some(Wanted::Exactly(character)) if *character == whole[at] => {}
            _ => match &mut last_any {
                Some((any, from)) => {
                    *from += 1;
                    (wanted, at) = (*any + 1, *from);
                    continue;
                }
                None => return false,
            },
        }
        at += 1;
        wanted += 1;
    }
    pattern[wanted..].iter().all(|wanted| matches!(wanted, Wanted::Any))
}

fn matches(negated: bool, ignores_case: bool) -> Option<Function> {
    Some(Function::new("regex", move |_, values| {
        let pattern = regex(text(&values[1]), if ignores_case { "i" } else { "" })?;
        Ok(Value::Bool(pattern.is_match(text(&values[0])) != negated))
    }))
}

/// A regular expression of PostgreSQL's advanced kind, as far as the regex crate has it. Errors: 2201B, 22023.
pub fn regex(pattern: &str, flags: &str) -> Result<Regex> {
    let mut pattern = pattern;
    let mut is_literal = false;
    if let Some(rest) = pattern.strip_prefix("***=") {
        (pattern, is_literal) = (rest, true);
    } else if let Some(rest) = pattern.strip_prefix("***:") {
        pattern = rest;
    }
    let translated = if is_literal {
        regex::escape(pattern)
    } else {
        pattern
            .replace("[[:<:]]", r"\b")
            .replace("[[:>:]]", r"\b")
            .replace(r"\m", r"\b")
            .replace(r"\M", r"\b")
            .replace(r"\y", r"\b")
            .replace(r"\Z", r"\z")
    };
    let mut builder = RegexBuilder::new(&translated);
    builder.dot_matches_new_line(true).size_limit(10 << 20);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'c' => builder.case_insensitive(false),
            'n' | 'm' => builder.multi_line(true).dot_matches_new_line(false),
            's' => builder.dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            'e' | 't' => &mut builder,
            other => return Err(wrong_argument(format!("invalid regular expression option: \"{other}\""))),
        };
    }
    builder.build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::new("2201B", format!("invalid regular expression: {reason}"))
    })
}

/// `\1` as the regex crate has it.
fn replacement(text: &str) -> String {
    let mut result = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => result.push_str("$$"),
            '\\' => match characters.next() {
                Some('&') => result.push_str("${0}"),
                Some(digit) if digit.is_ascii_digit() => result.push_str(&format!("${{{digit}}}")),
                Some('\\') | None => result.push('\\'),
                Some(other) => {
                    result.push('\\');
                    result.push(other);
                }
            },
            other => result.push(other),
        }
    }
    result
}

/// What the groups of a match have, or all of it.
pub fn groups(found: &regex::Captures<'_>) -> Value {
    let from = usize::from(found.len() > 1);
    let items =
        (from..found.len()).map(|index| found.get(index).map_or(Value::Null, |group| Value::text(group.as_str())));
    Value::array(items.collect())
}

/// Pieces between matches; an empty match splits behind a character.
pub fn split(whole: &str, pattern: &Regex) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut from = 0;
    for found in pattern.find_iter(whole) {
        if found.end() == 0 || (found.is_empty() && found.start() >= whole.len()) {
            continue;
        }
        pieces.push(whole[from..found.start()].to_owned());
        from = found.end();
    }
    pieces.push(whole[from..].to_owned());
    pieces
}

/// A pattern of SIMILAR TO as a regular expression.
fn similar(pattern: &str, escape: &str) -> String {
    let escape = escape.chars().next();
    let mut result = String::from("^(?:");
    let mut characters = pattern.chars();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            other if Some(other) == escape => {
                if let Some(next) = characters.next() {
                    result.push_str(&regex::escape(&next.to_string()));
                }
            }
            '%' if !in_class => result.push_str(".*"),
            '_' if !in_class => result.push('.'),
            '.' | '^' | '$' if !in_class => {
                result.push('\\');
                result.push(character);
            }
            '[' => {
                in_class = true;
                result.push('[');
            }
            ']' => {
                in_class = false;
                result.push(']');
            }
            other => result.push(other),
        }
    }
    result.push_str(")$");
    result
}

fn parse_ident(spelled: &str) -> Result<Value> {
    let wrong = || wrong_argument(format!("string is not a valid identifier: \"{spelled}\""));
    let mut parts = Vec::new();
    let mut rest = spelled.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.chars();
            loop {
                match characters.next().ok_or_else(wrong)? {
                    '"' if characters.as_str().starts_with('"') => {
                        characters.next();
                        name.push('"');
                    }
                    '"' => break,
                    other => name.push(other),
                }
            }
            rest = characters.as_str();
            parts.push(name);
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(wrong());
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() => break,
            None => return Err(wrong()),
        }
    }
    Ok(Value::array(parts.into_iter().map(Value::text).collect()))
}
