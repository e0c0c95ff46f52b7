//! `to_char` of numbers.

use bigdecimal::RoundingMode;

use super::int;
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::plan::Function;
use crate::resolve::Proc;
use crate::value::Value;

pub fn function(proc: &Proc) -> Option<Function> {
    if !matches!(proc.source, "int4_to_char" | "int8_to_char" | "float4_to_char" | "float8_to_char" | "numeric_to_char")
    {
        return None;
    }
    let digits = if proc.source == "float4_to_char" { 6 } else { 15 };
    Some(Function::new("to_char", move |_, values| {
        let number = match &values[0] {
            Value::Numeric(number) => number.clone(),
            Value::Float(number) => Numeric::of_float(*number, digits),
            other => Numeric::from(int(other)),
        };
        Ok(Value::text(shown(&number, values[1].as_text().unwrap_or_default())?))
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
}

fn template(text: &str) -> Result<Template> {
    let mut template = Template { parts: Vec::new(), fills: true, brackets: false, shift: 0, roman: None };
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
            (Some("EE"), _) => return Err(Error::not_supported("the pattern EEEE of to_char")),
            (_, '"') => {
                let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
                push(Part::Text(rest[1..end].to_owned()));
                (end + 1).min(rest.len())
            }
            (_, 'V' | 'v') => {
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
    Ok(template)
}

fn shown(number: &Numeric, text: &str) -> Result<String> {
    let template = template(text)?;
    if let Some(upper) = template.roman {
        return Ok(roman(number, upper, template.fills));
    }
    let is_digit = |part: &Part| matches!(part, Part::Nine | Part::Zero);
    let point = template.parts.iter().position(|part| *part == Part::Point);
    let n_before = template.parts[..point.unwrap_or(template.parts.len())].iter().filter(|part| is_digit(part)).count();
    let n_behind = point.map_or(0, |point| template.parts[point..].iter().filter(|part| is_digit(part)).count());
    let (digits, is_negative) = digits(number, n_behind, template.shift);
    let (before, behind) = digits.split_once('.').unwrap_or((&digits, ""));
    let before = if before == "0" { "" } else { before };
    let is_too_long = before.len() > n_before || number.finite().is_none();
    let has_sign =
        template.parts.iter().any(|part| matches!(part, Part::Sign | Part::Minus | Part::SignHere | Part::Plus));
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
    if n_behind == 0 && !whole.iter().any(|digit| *digit != ' ') && n_before > 0 {
        let last = whole.len() - 1;
        whole[last] = '0';
    }
    let last_kept = last_kept_digit(&template, point, &behind);
    let mut out = String::new();
    let own_sign = !has_sign && !template.brackets;
    let mut sign = if own_sign || template.brackets { Some(if is_negative { '-' } else { ' ' }) } else { None };
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
                    out.push(behind.get(n_fraction).copied().unwrap_or('0'));
                }
                n_fraction += 1;
            }
            Part::Point => {
                put_sign(&mut out, &mut sign);
                has_begun = true;
                is_behind = true;
                out.push('.');
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
            Part::Currency => {
                if template.fills {
                    out.push(' ');
                }
            }
            Part::Ordinal { upper } => {
                let ending = if is_negative { String::new() } else { ordinal(before) };
                out.push_str(&if *upper { ending.to_uppercase() } else { ending });
            }
            Part::Text(text) => out.push_str(text),
        }
    }
    put_sign(&mut out, &mut sign);
    if template.brackets {
        if is_negative {
            out.push('>');
        } else if template.fills {
            out.push(' ');
        }
    }
    Ok(out)
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
