//! Texts and bytes.

use md5::{Digest, Md5};

use super::bytes::{bytes, hex};
use super::{casts, int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::resolve::Proc;
use crate::text::{quote_identifier, quote_literal};
use crate::types::{self as t, Type};
use crate::value::Value;
use unicode_normalization::UnicodeNormalization;

/// Longest text that a function makes.
const MOST_BYTES: usize = 256 << 20;

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
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
        // those of one argument are written in SQL there
        _ if proc.name == "bit_length" => {
            let scale = if matches!(arguments[0].oid, t::BIT | t::VARBIT) { 1 } else { 8 };
            Some(Function::new("bit_length", move |_, values| Ok(count(bytes(&values[0]).len() * scale))))
        }
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
            let code = u32::try_from(int(&values[0]));
            let code = code.map_err(|_| wrong_argument("character number must be positive"))?;
            match char::from_u32(code) {
                Some('\0') => Err(Error::new("54000", "null character not permitted")),
                Some(character) => Ok(Value::text(character.to_string())),
                None if code > 0x10_ffff => {
                    Err(Error::new("54000", format!("requested character too large for encoding: {code}")))
                }
                None => Err(Error::new("54000", format!("requested character not valid for encoding: {code}"))),
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
        "parse_ident" => Some(Function::new("parse_ident", |_, values| {
            parse_ident(text(&values[0]), values.get(1).and_then(Value::as_bool).unwrap_or(true))
        })),
        "unistr" => Some(Function::new("unistr", |_, values| unistr(text(&values[0])).map(Value::text))),
        "unicode_normalize_func" => Some(Function::new("normalize", |_, values| {
            normalized(text(&values[0]), values.get(1).map_or("NFC", text)).map(Value::text)
        })),
        "unicode_is_normalized" => Some(Function::new("is_normalized", |_, values| {
            Ok(Value::Bool(normalized(text(&values[0]), values.get(1).map_or("NFC", text))? == text(&values[0])))
        })),
        "to_ascii_default" | "to_ascii_enc" | "to_ascii_encname" => Some(Function::new("to_ascii", |_, _| {
            Err(Error::new("0A000", "encoding conversion from UTF8 to ASCII not supported"))
        })),
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

/// PostgreSQL's `format`: %s, %I, %L, with positions and widths.
fn format(template: &str, values: &[Option<String>]) -> Result<String> {
    let unterminated =
        || wrong_argument("unterminated format() type specifier").with_hint("For a single \"%\" use \"%%\".");
    let mut result = String::new();
    let mut next = 0;
    let mut characters = template.chars().peekable();
    // `1$`, or a number alone
    let digits = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>| -> Result<Option<usize>> {
        let mut digits = String::new();
        while let Some(digit) = characters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse::<i32>().map_err(|_| Error::new("22003", "number is out of range"))?;
        Ok(digits.parse().ok())
    };
    let numbered = |position: usize| {
        position
            .checked_sub(1)
            .ok_or_else(|| wrong_argument("format specifies argument 0, but arguments are numbered from 1"))
    };
    while let Some(character) = characters.next() {
        if character != '%' {
            result.push(character);
            continue;
        }
        if characters.next_if_eq(&'%').is_some() {
            result.push('%');
            continue;
        }
        characters.peek().ok_or_else(unterminated)?;
        let (mut position, mut width, mut left) = (None, None, false);
        let first = digits(&mut characters)?;
        let has_position = first.is_some() && characters.next_if_eq(&'$').is_some();
        if has_position {
            position = first.map(numbered).transpose()?;
        } else if let Some(first) = first {
            width = Some(i64::try_from(first).unwrap_or(0));
        }
        if width.is_none() {
            while characters.next_if_eq(&'-').is_some() {
                left = true;
            }
            if characters.next_if_eq(&'*').is_some() {
                let own = digits(&mut characters)?;
                let place = match own {
                    Some(own) => {
                        characters
                            .next_if_eq(&'$')
                            .ok_or_else(|| wrong_argument("width argument position must be ended by \"$\""))?;
                        numbered(own)?
                    }
                    None => next,
                };
                next = place + 1;
                let value = values.get(place).ok_or_else(|| wrong_argument("too few arguments for format()"))?;
                let value = value.as_deref().unwrap_or("0").trim().parse::<i32>();
                let value = value.map_err(|_| {
                    let shown = values[place].clone().unwrap_or_default();
                    Error::new("22P02", format!("invalid input syntax for type integer: \"{shown}\""))
                })?;
                width = Some(i64::from(value));
            } else if let Some(own) = digits(&mut characters)? {
                width = Some(i64::try_from(own).unwrap_or(0));
            }
        }
        let kind = characters.next().ok_or_else(unterminated)?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(wrong_argument(format!("unrecognized format() type specifier \"{kind}\""))
                .with_hint("For a single \"%\" use \"%%\"."));
        }
        let place = position.unwrap_or(next);
        next = place + 1;
        let value = values.get(place).ok_or_else(|| wrong_argument("too few arguments for format()"))?;
        let shown = match (kind, value) {
            ('s', value) => value.clone().unwrap_or_default(),
            ('I', Some(value)) => quote_identifier(value),
            ('I', None) => return Err(Error::new("22004", "null values cannot be formatted as an SQL identifier")),
            (_, Some(value)) => quote_literal(value),
            (_, None) => "NULL".to_owned(),
        };
        let width = width.unwrap_or(0);
        let wanted = usize::try_from(width.unsigned_abs()).unwrap_or(0);
        check_size(wanted)?;
        let pad = " ".repeat(wanted.saturating_sub(shown.chars().count()));
        result.push_str(&if left || width < 0 { format!("{shown}{pad}") } else { format!("{pad}{shown}") });
    }
    Ok(result)
}

/// Reads `\XXXX`, `\+XXXXXX`, `\uXXXX` and `\UXXXXXXXX`. Errors: 42601.
fn unistr(text: &str) -> Result<String> {
    let invalid = || {
        Error::new("42601", "invalid Unicode escape")
            .with_hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.")
    };
    let wrong_pair = || Error::new("42601", "invalid Unicode surrogate pair");
    let mut result = String::new();
    let mut high: Option<u32> = None;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first != '\\' || rest[1..].starts_with('\\') {
            if high.is_some() {
                return Err(wrong_pair());
            }
            result.push(first);
            rest = &rest[if first == '\\' { 2 } else { first.len_utf8() }..];
            continue;
        }
        let (skip, n) = match rest.as_bytes().get(1) {
            Some(b'+') => (2, 6),
            Some(b'u') => (2, 4),
            Some(b'U') => (2, 8),
            _ => (1, 4),
        };
        let digits = rest.get(skip..skip + n).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let code = u32::from_str_radix(digits.ok_or_else(invalid)?, 16).map_err(|_| invalid())?;
        rest = &rest[skip + n..];
        let code = match (high.take(), code) {
            (None, 0xd800..0xdc00) => {
                high = Some(code);
                continue;
            }
            (Some(high), 0xdc00..0xe000) => 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00),
            (Some(_), _) | (None, 0xdc00..0xe000) => return Err(wrong_pair()),
            (None, code) => code,
        };
        let character = char::from_u32(code).filter(|character| *character != '\0');
        result.push(
            character.ok_or_else(|| {
                Error::new("42601", "invalid Unicode code point: ".to_owned() + &format!("{code:04X}"))
            })?,
        );
    }
    if high.is_some() { Err(wrong_pair()) } else { Ok(result) }
}

fn normalized(text: &str, form: &str) -> Result<String> {
    Ok(match form.to_ascii_uppercase().as_str() {
        "NFC" => text.nfc().collect(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        "NFKD" => text.nfkd().collect(),
        _ => return Err(wrong_argument(format!("invalid normalization form: {form}"))),
    })
}

fn like(negated: bool, ignores_case: bool) -> Option<Function> {
    Some(Function::new("like", move |_, values| {
        let (mut whole, mut pattern) = (text(&values[0]).to_owned(), text(&values[1]).to_owned());
        if ignores_case {
            (whole, pattern) = (whole.to_lowercase(), pattern.to_lowercase());
        }
        let whole: Vec<char> = whole.chars().collect();
        Ok(Value::Bool(is_like(&whole, &pattern_of(&pattern))? != negated))
    }))
}

enum Wanted {
    Any,
    One,
    Exactly(char),
    /// a backslash at the end, which is only wrong once it is reached
    Broken,
}

fn pattern_of(pattern: &str) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        wanted.push(match character {
            '%' => Wanted::Any,
            '_' => Wanted::One,
            '\\' => characters.next().map_or(Wanted::Broken, Wanted::Exactly),
            other => Wanted::Exactly(other),
        });
    }
    wanted
}

/// Going back to the last `%` where it does not go on.
fn is_like(whole: &[char], pattern: &[Wanted]) -> Result<bool> {
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
            Some(Wanted::Broken) => {
                return Err(Error::new("22025", "LIKE pattern must not end with escape character"));
            }
            Some(Wanted::Exactly(character)) if *character == whole[at] => {}
            _ => match &mut last_any {
                Some((any, from)) => {
                    *from += 1;
                    (wanted, at) = (*any + 1, *from);
                    continue;
                }
                None => return Ok(false),
            },
        }
        at += 1;
        wanted += 1;
    }
    Ok(pattern[wanted..].iter().all(|wanted| matches!(wanted, Wanted::Any)))
}

/// Errors: 22023, as PostgreSQL's.
fn parse_ident(spelled: &str, is_strict: bool) -> Result<Value> {
    let wrong = |detail: Option<&str>| {
        let error = wrong_argument(format!("string is not a valid identifier: \"{spelled}\""));
        detail.map_or(error.clone(), |detail| error.with_detail(detail))
    };
    let mut parts = Vec::new();
    let mut rest = spelled.trim_start();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut characters = quoted.chars();
            loop {
                match characters.next().ok_or_else(|| wrong(Some("String has unclosed double quotes.")))? {
                    '"' if characters.as_str().starts_with('"') => {
                        characters.next();
                        name.push('"');
                    }
                    '"' => break,
                    other => name.push(other),
                }
            }
            rest = characters.as_str();
            if name.is_empty() {
                return Err(wrong(Some("Quoted identifier must not be empty.")));
            }
            parts.push(name);
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
                return Err(wrong(None));
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(after) => rest = after.trim_start(),
            None if rest.is_empty() || !is_strict => break,
            None => return Err(wrong(None)),
        }
    }
    Ok(Value::array(parts.into_iter().map(Value::text).collect()))
}
