//! `to_char` of numbers, and `to_number`.

use bigdecimal::RoundingMode;

use super::int;
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::value::Value;

pub fn function(proc: &Proc) -> Option<Function> {
    if proc.source == "numeric_to_number" {
        return Some(Function::new("to_number", |_, values| {
            read(values[0].as_text().unwrap_or_default(), values[1].as_text().unwrap_or_default())
        }));
    }
    // digits that a float has
    let digits = match proc.source {
        "int4_to_char" | "int8_to_char" | "numeric_to_char" => None,
        "float4_to_char" => Some(6),
        "float8_to_char" => Some(15),
        _ => return None,
    };
    Some(Function::new("to_char", move |_, values| {
        let number = match &values[0] {
            Value::Numeric(number) => number.clone(),
            Value::Float(number) => Numeric::of_float(*number, digits.unwrap_or(15)),
            other => Numeric::from(int(other)),
        };
        Ok(Value::text(shown(&number, values[1].as_text().unwrap_or_default(), digits)?))
    }))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// a digit, or a blank where it is a zero in front
    Nine,
    /// a digit
    Zero,
    Point,
    Group,
    Sign,
    Minus,
    Plus,
    SignHere,
    Currency,
    Brackets,
    Shift,
    Ordinal {
        upper: bool,
    },
    Text(String),
}

struct Template {
    parts: Vec<Part>,
    fills: bool,
    brackets: bool,
    shift: usize,
    roman: Option<bool>,
    has_exponent: bool,
}

/// Errors: 42601 for patterns that do not go together.
fn checked(template: &Template) -> Result<()> {
    let wrong = |message: &str| Err(Error::new("42601", message));
    let mut seen: Vec<&Part> = Vec::new();
    let mut has_brackets = false;
    for part in &template.parts {
        let has = |part: &Part| seen.contains(&part);
        match part {
            Part::Brackets => {
                if has(&Part::Sign) || has(&Part::Minus) || has(&Part::Plus) || has(&Part::SignHere) {
                    return wrong("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together");
                }
                has_brackets = true;
            }
            Part::Nine if has_brackets => return wrong("\"9\" must be ahead of \"PR\""),
            Part::Zero if has_brackets => return wrong("\"0\" must be ahead of \"PR\""),
            Part::Point if has(&Part::Shift) => return wrong("cannot use \"V\" and decimal point together"),
            Part::Point if has(&Part::Point) => return wrong("multiple decimal points"),
            Part::Shift if has(&Part::Point) => return wrong("cannot use \"V\" and decimal point together"),
            Part::Sign if has(&Part::Sign) => return wrong("cannot use \"S\" twice"),
            Part::Sign if has_brackets || has(&Part::Minus) || has(&Part::Plus) || has(&Part::SignHere) => {
                return wrong("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
            }
            Part::Minus if has(&Part::Sign) => return wrong("cannot use \"S\" and \"MI\" together"),
            Part::Plus if has(&Part::Sign) => return wrong("cannot use \"S\" and \"PL\" together"),
            Part::SignHere if has(&Part::Sign) => return wrong("cannot use \"S\" and \"SG\" together"),
            _ => {}
        }
        seen.push(part);
    }
    Ok(())
}

fn template(text: &str) -> Result<Template> {
    let mut template =
        Template { parts: Vec::new(), fills: true, brackets: false, shift: 0, roman: None, has_exponent: false };
    let mut in_shift = false;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let upper = rest.get(..2).map(str::to_ascii_uppercase);
        let mut push = |part| template.parts.push(part);
        let taken = match (upper.as_deref(), first) {
            (Some("FM"), _) => {
                template.fills = false;
                2
            }
            (Some("PR"), _) => {
                push(Part::Brackets);
                template.brackets = true;
                2
            }
            (Some("MI"), _) => {
                push(Part::Minus);
                2
            }
            (Some("PL"), _) => {
                push(Part::Plus);
                2
            }
            (Some("SG"), _) => {
                push(Part::SignHere);
                2
            }
            (Some("TH"), _) => {
                push(Part::Ordinal { upper: first == 'T' });
                2
            }
            (Some("RN"), _) => {
                template.roman = Some(first == 'R');
                2
            }
            (Some("EE"), _) if rest.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("EEEE")) => {
                if template.has_exponent {
                    return Err(Error::new("42601", "cannot use \"EEEE\" twice"));
                }
                let is_plain = |part: &Part| matches!(part, Part::Nine | Part::Zero | Part::Point | Part::Text(_));
                if !template.parts.iter().all(is_plain) || !template.fills {
                    return Err(Error::new("42601", "\"EEEE\" is incompatible with other formats")
                        .with_detail("\"EEEE\" may only be used together with digit and decimal point patterns."));
                }
                template.has_exponent = true;
                4
            }
            _ if template.has_exponent => {
                return Err(Error::new("42601", "\"EEEE\" must be the last pattern used"));
            }
            (_, '"') => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
                push(Part::Text(rest[1..end].to_owned()));
                (end + 1).min(rest.len())
            }
            (_, 'V' | 'v') => {
                push(Part::Shift);
                in_shift = true;
                1
            }
            (_, other) => {
                let part = match other {
                    '9' => Part::Nine,
                    '0' => Part::Zero,
                    '.' | 'D' | 'd' => Part::Point,
                    ',' | 'G' | 'g' => Part::Group,
                    'S' | 's' => Part::Sign,
                    'L' | 'l' => Part::Currency,
                    other => Part::Text(other.to_string()),
                };
                if in_shift && matches!(part, Part::Nine | Part::Zero) {
                    template.shift += 1;
                }
                template.parts.push(part);
                other.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    checked(&template)?;
    Ok(template)
}

fn shown(number: &Numeric, text: &str, float_digits: Option<usize>) -> Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let template = template(text)?;
    if let Some(upper) = template.roman {
        return Ok(roman(number, upper, template.fills));
    }
    let is_digit = |part: &Part| matches!(part, Part::Nine | Part::Zero);
    let point = template.parts.iter().position(|part| *part == Part::Point);
    let n_before = template.parts[..point.unwrap_or(template.parts.len())].iter().filter(|part| is_digit(part)).count();
    let n_behind = point.map_or(0, |point| template.parts[point..].iter().filter(|part| is_digit(part)).count());
    if template.has_exponent {
        // a float is rounded as it is, halves to even digits
        if let (Some(_), true) = (float_digits, number.finite().is_some()) {
            let shown = format!("{:.n_behind$e}", number.to_f64());
            let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
            let exponent: i64 = exponent.parse().unwrap_or(0);
            let sign = if mantissa.starts_with('-') { "" } else { " " };
            return Ok(format!("{sign}{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()));
        }
        return Ok(scientific(number, n_before, n_behind));
    }
    if matches!(number, Numeric::NaN) && n_before >= 3 {
        return Ok(if template.fills { format!(" {:>n_before$}", "NaN") } else { "NaN".to_owned() });
    }
    let n_behind = match float_digits {
        Some(most) => {
            let n_whole = digits(number, 0, template.shift).0.len();
            n_behind.min(most.saturating_sub(n_whole))
        }
        None => n_behind,
    };
    let (digits, is_negative) = digits(number, n_behind, template.shift);
    let (before, behind) = digits.split_once('.').unwrap_or((&digits, ""));
    let before = if before == "0" { "" } else { before };
    let is_too_long = before.len() > n_before || number.finite().is_none();
    let has_sign = template.parts.iter().any(|part| matches!(part, Part::Sign | Part::Minus | Part::SignHere));
    // digits of the whole part, with blanks for those in front
    let mut whole: Vec<char> =
        if is_too_long { vec!['#'; n_before] } else { format!("{before:>n_before$}").chars().collect() };
    let behind: Vec<char> = if is_too_long { vec!['#'; n_behind] } else { behind.chars().collect() };
    let whole_parts: Vec<&Part> =
        template.parts[..point.unwrap_or(template.parts.len())].iter().filter(|part| is_digit(part)).collect();
    if let Some(first_zero) = whole_parts.iter().position(|part| **part == Part::Zero) {
        whole[first_zero..].iter_mut().filter(|digit| **digit == ' ').for_each(|digit| *digit = '0');
    }
    // a number without a fraction has at least one digit
    let is_plain_zero = !template.fills && number.is_zero();
    if (n_behind == 0 || is_plain_zero) && !whole.iter().any(|digit| *digit != ' ') && n_before > 0 {
        let last = whole.len() - 1;
        whole[last] = '0';
    }
    let last_kept = last_kept_digit(&template, point, &behind);
    let mut out = String::new();
    // without digits there is nothing that a sign stands at
    let has_digits = n_before + n_behind > 0 || point.is_some();
    let own_sign = !has_sign && !template.brackets && has_digits;
    let mut sign =
        if own_sign || (template.brackets && has_digits) { Some(if is_negative { '-' } else { ' ' }) } else { None };
    let sign_at_front = template.parts.iter().take_while(|part| !is_digit(part)).any(|part| *part == Part::Sign);
    if sign_at_front {
        sign = Some(if is_negative { '-' } else { '+' });
    }
    let brackets = template.brackets;
    let put_sign = |out: &mut String, sign: &mut Option<char>| {
        let Some(shown) = sign.take() else { return };
        let shown = if brackets && shown == '-' { '<' } else { shown };
        if shown != ' ' || template.fills {
            out.push(shown);
        }
    };
    let (mut n_whole, mut n_fraction, mut is_behind, mut has_begun) = (0, 0, false, false);
    for part in &template.parts {
        match part {
            Part::Nine | Part::Zero if !is_behind => {
                let digit = whole[n_whole];
                n_whole += 1;
                if digit == ' ' {
                    if template.fills {
                        out.push(' ');
                    }
                } else {
                    if !has_begun {
                        put_sign(&mut out, &mut sign);
                        has_begun = true;
                    }
                    out.push(digit);
                }
            }
            Part::Nine | Part::Zero => {
                if n_fraction < last_kept {
                    out.extend(behind.get(n_fraction));
                }
                n_fraction += 1;
            }
            Part::Point => {
                put_sign(&mut out, &mut sign);
                has_begun = true;
                is_behind = true;
                if n_behind > 0 || n_before == 0 {
                    out.push('.');
                }
            }
            Part::Group => {
                if has_begun {
                    out.push(',');
                } else if template.fills {
                    out.push(' ');
                }
            }
            Part::Sign if sign_at_front && !has_begun => {}
            Part::Sign => out.push(if is_negative { '-' } else { '+' }),
            Part::SignHere => out.push(if is_negative { '-' } else { '+' }),
            Part::Minus if is_negative => out.push('-'),
            Part::Plus if !is_negative => out.push('+'),
            Part::Minus | Part::Plus => {
                if template.fills {
                    out.push(' ');
                }
            }
            Part::Brackets | Part::Shift => {}
            Part::Currency => {
                if template.fills {
                    out.push(' ');
                }
            }
            Part::Ordinal { upper } => {
                let ending = if is_negative || is_too_long { String::new() } else { ordinal(before) };
                out.push_str(&if *upper { ending.to_uppercase() } else { ending });
            }
            Part::Text(text) => out.push_str(text),
        }
    }
    put_sign(&mut out, &mut sign);
    if template.brackets && has_digits {
        if is_negative {
            out.push('>');
        } else if template.fills {
            out.push(' ');
        }
    }
    Ok(out)
}

/// With an exponent of two digits or more.
fn scientific(number: &Numeric, n_before: usize, n_behind: usize) -> String {
    let Some(finite) = number.finite() else {
        return format!(" {}.{}", "#".repeat(n_before), "#".repeat(n_behind + 4));
    };
    let (unscaled, scale) = finite.as_bigint_and_exponent();
    let sign = if number.is_negative() { '-' } else { ' ' };
    let mut exponent = i64::try_from(unscaled.magnitude().to_string().len()).unwrap_or(0) - 1 - scale;
    let mantissa = |exponent: i64| {
        let shifted = finite.abs() * bigdecimal::BigDecimal::new(1.into(), exponent);
        let behind = i64::try_from(n_behind).unwrap_or(0);
        shifted.with_scale_round(behind, RoundingMode::HalfUp).to_plain_string()
    };
    if number.is_zero() {
        exponent = 0;
    }
    let mut digits = mantissa(exponent);
    if digits.split('.').next().is_some_and(|whole| whole.len() > 1) {
        exponent += 1;
        digits = mantissa(exponent);
    }
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{digits}e{exponent_sign}{:02}", exponent.abs())
}

/// `to_number`. Errors: 22P02, 0A000.
fn read(text: &str, pattern: &str) -> Result<Value> {
    let template = template(pattern)?;
    if template.roman.is_some() {
        return Err(Error::new("0A000", "\"RN\" not supported for input"));
    }
    if template.has_exponent {
        return Err(Error::new("0A000", "\"EEEE\" not supported for input"));
    }
    let is_digit = |part: &Part| matches!(part, Part::Nine | Part::Zero);
    let point = template.parts.iter().position(|part| *part == Part::Point);
    let n_behind = template.parts[point.unwrap_or(template.parts.len())..].iter().filter(|part| is_digit(part)).count();
    let has_own_sign = template.parts.iter().any(|part| matches!(part, Part::Sign));
    let has_sign_part = template.parts.iter().any(|part| matches!(part, Part::Plus | Part::Minus));
    let characters: Vec<char> = text.chars().collect();
    let (mut at, mut is_negative, mut has_sign) = (0, false, false);
    let (mut number, mut has_point, mut n_fraction) = (String::new(), false, 0);
    let is_data = |character: char| character.is_ascii_digit() || matches!(character, '.' | ',' | '+' | '-');
    for part in &template.parts {
        let Some(mut character) = characters.get(at).copied() else { break };
        match part {
            Part::Nine | Part::Zero | Part::Point | Part::Sign => {
                if character == ' ' {
                    at += 1;
                    character = characters.get(at).copied().unwrap_or_default();
                }
                if number.is_empty()
                    && !has_sign
                    && (matches!(character, '+' | '-') || (template.brackets && character == '<'))
                {
                    (is_negative, has_sign) = (character != '+', true);
                    at += 1;
                    if *part == Part::Sign {
                        continue;
                    }
                    character = characters.get(at).copied().unwrap_or_default();
                }
                let mut was_read = false;
                if character.is_ascii_digit() {
                    if has_point && n_fraction == n_behind {
                        continue;
                    }
                    number.push(character);
                    n_fraction += usize::from(has_point);
                    was_read = true;
                } else if point.is_some() && !has_point && character == '.' {
                    number.push('.');
                    (has_point, was_read) = (true, true);
                }
                // a sign may stand behind the last digit
                let behind = if was_read { at + 1 } else { at };
                if !has_sign && !number.is_empty() && !has_sign_part {
                    let sign = characters.get(behind).copied().filter(|sign| matches!(sign, '+' | '-'));
                    if let Some(sign) = sign.filter(|_| has_own_sign || !was_read) {
                        (is_negative, has_sign) = (sign == '-', true);
                        at = behind;
                    }
                }
                if !was_read && *part == Part::Sign && !has_sign {
                    continue;
                }
                at += 1;
            }
            Part::Group => {
                if character == ',' {
                    at += 1;
                }
            }
            Part::Currency => at += usize::from(!is_data(character)),
            Part::Ordinal { .. } => at += 2,
            Part::Minus | Part::Plus | Part::SignHere => match character {
                '-' if *part != Part::Plus => (is_negative, has_sign, at) = (true, true, at + 1),
                '+' if *part != Part::Minus => (has_sign, at) = (true, at + 1),
                other => at += usize::from(!is_data(other)),
            },
            Part::Text(_) => at += usize::from(!is_data(character)),
            Part::Brackets | Part::Shift => {}
        }
    }
    let digits = number.trim_end_matches('.');
    if !digits.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err(Error::new("22P02", "invalid input syntax for type numeric: \" \""));
    }
    let parsed: Numeric = format!("{}{digits}", if is_negative { "-" } else { "" }).parse()?;
    if template.shift == 0 {
        return Ok(Value::Numeric(parsed));
    }
    let by = Numeric::scaled(1, -i64::try_from(template.shift).unwrap_or(0));
    parsed.divide(&by).map(Value::Numeric)
}

/// How many digits behind the point are shown: with FM, zeros at the end are not where the pattern has a 9.
fn last_kept_digit(template: &Template, point: Option<usize>, behind: &[char]) -> usize {
    let Some(point) = point else { return 0 };
    let parts: Vec<&Part> =
        template.parts[point..].iter().filter(|part| matches!(part, Part::Nine | Part::Zero)).collect();
    if template.fills {
        return parts.len();
    }
    let last_zero = parts.iter().rposition(|part| **part == Part::Zero).map_or(0, |place| place + 1);
    let last_digit = behind.iter().rposition(|digit| *digit != '0').map_or(0, |place| place + 1);
    last_zero.max(last_digit)
}

/// The digits of a number rounded to so many behind the point, after it was shifted, and whether it is negative.
fn digits(number: &Numeric, n_behind: usize, shift: usize) -> (String, bool) {
    let Some(finite) = number.finite() else {
        return ("0".to_owned(), number.is_negative());
    };
    let shifted = finite * bigdecimal::BigDecimal::new(1.into(), -i64::try_from(shift).unwrap_or(0));
    let rounded = shifted.with_scale_round(i64::try_from(n_behind).unwrap_or(0), RoundingMode::HalfUp);
    let text = rounded.abs().to_plain_string();
    let is_negative = number.is_negative() && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    (text, is_negative)
}

fn ordinal(digits: &str) -> String {
    let last = digits.bytes().last().unwrap_or(b'0');
    let is_teen = digits.len() > 1 && digits.as_bytes()[digits.len() - 2] == b'1';
    match last {
        b'1' if !is_teen => "st",
        b'2' if !is_teen => "nd",
        b'3' if !is_teen => "rd",
        _ => "th",
    }
    .to_owned()
}

fn roman(number: &Numeric, upper: bool, fills: bool) -> String {
    const WIDTH: usize = 15;
    const DIGITS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let Some(mut rest) = number.to_i64().filter(|number| (1..4000).contains(number)) else {
        return "#".repeat(WIDTH);
    };
    let mut text = String::new();
    for (value, digit) in DIGITS {
        while rest >= value {
            text.push_str(digit);
            rest -= value;
        }
    }
    let text = if upper { text } else { text.to_lowercase() };
    if fills { format!("{text:>WIDTH$}") } else { text }
}
