//! Functions and operators over regular expressions.

use super::{int, text, wrong_argument};
use crate::error::{Error, Result};
use crate::plan::Function;
use crate::regexp::{Haystack, Match, compile};
use crate::resolve::Proc;
use crate::value::Value;

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Flags without `g`, which some functions refuse.
fn without_global(flags: &str, name: &str) -> Result<String> {
    if flags.contains('g') {
        let error = wrong_argument(format!("{name}() does not support the \"global\" option"));
        return Err(if name == "regexp_match" {
            error.with_hint("Use the regexp_matches function instead.")
        } else {
            error
        });
    }
    Ok(flags.to_owned())
}

/// An argument that counts from one.
fn positive(values: &[Value], index: usize, name: &str) -> Result<usize> {
    let number = values.get(index).map_or(1, int);
    usize::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| wrong_argument(format!("invalid value for parameter \"{name}\": {number}")))
}

fn not_negative(values: &[Value], index: usize, name: &str) -> Result<usize> {
    let number = values.get(index).map_or(0, int);
    usize::try_from(number).map_err(|_| wrong_argument(format!("invalid value for parameter \"{name}\": {number}")))
}

/// Matches from a place on: all, or the first. Empty ones at the end and behind another do not split.
pub fn matches(
    haystack: &Haystack<'_>,
    (pattern, flags): (&str, &str),
    (from, all, splits): (usize, bool, bool),
) -> Result<Vec<Match>> {
    let regexp = compile(pattern, flags)?;
    let mut found = Vec::new();
    let (mut at, mut last_end) = (from, 0);
    while at <= haystack.len()
        && let Some(next) = regexp.find(haystack, at)?
    {
        let (start, end) = (next.start, next.end);
        if !splits || (start < haystack.len() && end > last_end) {
            found.push(next);
        }
        last_end = end;
        if !all {
            break;
        }
        at = if start == end { end + 1 } else { end };
    }
    Ok(found)
}

/// What the groups of a match have, or all of it.
pub fn groups(haystack: &Haystack<'_>, found: &Match) -> Value {
    if found.groups.is_empty() {
        return Value::array(vec![Value::text(haystack.part(found.start, found.end))]);
    }
    let items = found.groups.iter().map(|group| match group {
        Some((start, end)) => Value::text(haystack.part(*start, *end)),
        None => Value::Null,
    });
    Value::array(items.collect())
}

/// Pieces between matches.
pub fn split(whole: &str, pattern: &str, flags: &str, name: &str) -> Result<Vec<Value>> {
    let haystack = Haystack::new(whole);
    let flags = without_global(flags, name)?;
    let mut pieces = Vec::new();
    let mut from = 0;
    for found in matches(&haystack, (pattern, &flags), (0, true, true))? {
        pieces.push(Value::text(haystack.part(from, found.start)));
        from = found.end;
    }
    pieces.push(Value::text(haystack.part(from, haystack.len())));
    Ok(pieces)
}

pub fn function(proc: &Proc) -> Option<Function> {
    let matcher = |negated: bool, flags: &'static str| {
        Some(Function::new("regex", move |_, values| {
            Ok(Value::Bool(compile(text(&values[1]), flags)?.is_match(text(&values[0]))? != negated))
        }))
    };
    match proc.source {
        "textregexeq" | "nameregexeq" | "bpcharregexeq" => matcher(false, ""),
        "textregexne" | "nameregexne" | "bpcharregexne" => matcher(true, ""),
        "texticregexeq" | "nameicregexeq" | "bpcharicregexeq" => matcher(false, "i"),
        "texticregexne" | "nameicregexne" | "bpcharicregexne" => matcher(true, "i"),
        "textregexsubstr" => {
            Some(Function::new("substring", |_, values| substring(text(&values[0]), text(&values[1]))))
        }
        // `substring(text similar pattern escape character)`
        _ if proc.name == "substring" && proc.arguments == [crate::types::TEXT; 3] => {
            Some(Function::new("substring", |_, values| {
                substring(text(&values[0]), &similar(text(&values[1]), Some(text(&values[2])))?)
            }))
        }
        "similar_to_escape_1" | "similar_to_escape_2" => Some(Function::new("similar_to_escape", |_, values| {
            similar(text(&values[0]), values.get(1).map(text)).map(Value::text)
        })),
        "similar_escape" => Some(Function::new("similar_escape", |_, values| {
            if values[0].is_null() {
                return Ok(Value::Null);
            }
            similar(text(&values[0]), values.get(1).and_then(Value::as_text)).map(Value::text)
        })),
        "textregexreplace_noopt" | "textregexreplace" => Some(Function::new("regexp_replace", |_, values| {
            let flags = values.get(3).map_or("", text);
            if flags.starts_with(|c: char| c.is_ascii_digit()) {
                return Err(wrong_argument(format!("invalid regular expression option: \"{}\"", &flags[..1])).with_hint(
                    "If you meant to use regexp_replace() with a start parameter, cast the fourth argument to integer explicitly.",
                ));
            }
            let nth = usize::from(!flags.contains('g'));
            replaced(text(&values[0]), (text(&values[1]), &flags.replace('g', "")), text(&values[2]), (0, nth))
        })),
        "textregexreplace_extended" | "textregexreplace_extended_no_flags" | "textregexreplace_extended_no_n" => {
            Some(Function::new("regexp_replace", |_, values| {
                let start = positive(values, 3, "start")?;
                let flags = values.get(5).map_or("", text);
                // without a number, the flag says
                let nth = match values.get(4) {
                    Some(_) => not_negative(values, 4, "n")?,
                    None => usize::from(!flags.contains('g')),
                };
                let flags = flags.replace('g', "");
                replaced(text(&values[0]), (text(&values[1]), &flags), text(&values[2]), (start - 1, nth))
            }))
        }
        "regexp_match_no_flags" | "regexp_match" => Some(Function::new("regexp_match", |_, values| {
            let flags = without_global(values.get(2).map_or("", text), "regexp_match")?;
            let haystack = Haystack::new(text(&values[0]));
            let found = matches(&haystack, (text(&values[1]), &flags), (0, false, false))?;
            Ok(found.first().map_or(Value::Null, |found| groups(&haystack, found)))
        })),
        "regexp_split_to_array_no_flags" | "regexp_split_to_array" => {
            Some(Function::new("regexp_split_to_array", |_, values| {
                let flags = values.get(2).map_or("", text);
                split(text(&values[0]), text(&values[1]), flags, "regexp_split_to_array").map(Value::array)
            }))
        }
        "regexp_count_no_flags" | "regexp_count" | "regexp_count_no_start" => {
            Some(Function::new("regexp_count", |_, values| {
                let start = positive(values, 2, "start")?;
                let flags = without_global(values.get(3).map_or("", text), "regexp_count")?;
                let haystack = Haystack::new(text(&values[0]));
                Ok(count(matches(&haystack, (text(&values[1]), &flags), (start - 1, true, false))?.len()))
            }))
        }
        "regexp_like_no_flags" | "regexp_like" => Some(Function::new("regexp_like", |_, values| {
            let flags = without_global(values.get(2).map_or("", text), "regexp_like")?;
            compile(text(&values[1]), &flags)?.is_match(text(&values[0])).map(Value::Bool)
        })),
        "regexp_substr_no_start"
        | "regexp_substr"
        | "regexp_substr_no_n"
        | "regexp_substr_no_flags"
        | "regexp_substr_no_subexpr" => Some(Function::new("regexp_substr", |_, values| {
            let (start, nth) = (positive(values, 2, "start")?, positive(values, 3, "n")?);
            let group = not_negative(values, 5, "subexpr")?;
            let flags = without_global(values.get(4).map_or("", text), "regexp_substr")?;
            let haystack = Haystack::new(text(&values[0]));
            let found = matches(&haystack, (text(&values[1]), &flags), (start - 1, true, false))?;
            Ok(place_of(found.get(nth - 1), group)
                .map_or(Value::Null, |(start, end)| Value::text(haystack.part(start, end))))
        })),
        "regexp_instr"
        | "regexp_instr_no_start"
        | "regexp_instr_no_n"
        | "regexp_instr_no_endoption"
        | "regexp_instr_no_flags"
        | "regexp_instr_no_subexpr" => Some(Function::new("regexp_instr", |_, values| {
            let (start, nth) = (positive(values, 2, "start")?, positive(values, 3, "n")?);
            let end_option = values.get(4).map_or(0, int);
            if !matches!(end_option, 0 | 1) {
                return Err(wrong_argument(format!("invalid value for parameter \"endoption\": {end_option}")));
            }
            let group = not_negative(values, 6, "subexpr")?;
            let flags = without_global(values.get(5).map_or("", text), "regexp_instr")?;
            let haystack = Haystack::new(text(&values[0]));
            let found = matches(&haystack, (text(&values[1]), &flags), (start - 1, true, false))?;
            let place = place_of(found.get(nth - 1), group);
            Ok(place.map_or(Value::Int(0), |(start, end)| count(if end_option == 1 { end } else { start } + 1)))
        })),
        _ => None,
    }
}

/// Where a match, or one of its groups, stands.
fn place_of(found: Option<&Match>, group: usize) -> Option<(usize, usize)> {
    let found = found?;
    match group.checked_sub(1) {
        None => Some((found.start, found.end)),
        Some(group) => found.groups.get(group).copied().flatten(),
    }
}

/// The first group, or all that matches.
fn substring(whole: &str, pattern: &str) -> Result<Value> {
    let haystack = Haystack::new(whole);
    let found = compile(pattern, "")?.find(&haystack, 0)?;
    let place = found.as_ref().and_then(|found| match found.groups.first() {
        Some(group) => *group,
        None => Some((found.start, found.end)),
    });
    Ok(place.map_or(Value::Null, |(start, end)| Value::text(haystack.part(start, end))))
}

/// With the nth match replaced, or all of them if it is 0.
fn replaced(
    whole: &str,
    (pattern, flags): (&str, &str),
    replacement: &str,
    (start, nth): (usize, usize),
) -> Result<Value> {
    let regexp = compile(pattern, flags)?;
    let haystack = Haystack::new(whole);
    let mut result = String::new();
    let (mut at, mut copied, mut n) = (start, 0, 0);
    while at <= haystack.len()
        && let Some(found) = regexp.find(&haystack, at)?
    {
        n += 1;
        at = if found.start == found.end { found.end + 1 } else { found.end };
        if nth > 0 && n != nth {
            continue;
        }
        result.push_str(haystack.part(copied, found.start));
        put_replacement(&mut result, replacement, &haystack, &found);
        copied = found.end;
        if nth > 0 {
            break;
        }
    }
    result.push_str(haystack.part(copied, haystack.len()));
    Ok(Value::text(result))
}

/// `\1` is a group, `\&` all that matched, `\\` a backslash.
fn put_replacement(result: &mut String, replacement: &str, haystack: &Haystack<'_>, found: &Match) {
    let mut characters = replacement.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        match characters.next() {
            Some('&') => result.push_str(haystack.part(found.start, found.end)),
            Some(digit @ '1'..='9') => {
                let group = digit.to_digit(10).and_then(|digit| usize::try_from(digit).ok()).unwrap_or(0);
                if let Some((start, end)) = place_of(Some(found), group) {
                    result.push_str(haystack.part(start, end));
                }
            }
            Some('\\') | None => result.push('\\'),
            Some(other) => {
                result.push('\\');
                result.push(other);
            }
        }
    }
}

/// A pattern of SIMILAR TO as a regular expression. `None` for the escape: a backslash. Errors: 22025, 2200C.
fn similar(pattern: &str, escape: Option<&str>) -> Result<String> {
    let escape = match escape {
        None => Some('\\'),
        Some(escape) => {
            let mut characters = escape.chars();
            let first = characters.next();
            if characters.next().is_some() {
                return Err(Error::new("22025", "invalid escape string")
                    .with_hint("Escape string must be empty or one character."));
            }
            first
        }
    };
    let mut result = String::from("^(?:");
    let mut characters = pattern.chars();
    let (mut in_class, mut n_separators) = (false, 0);
    while let Some(character) = characters.next() {
        match character {
            other if Some(other) == escape => match characters.next() {
                None => {
                    return Err(Error::new("22025", "LIKE pattern must not end with escape character"));
                }
                Some('"') if !in_class => {
                    result.push_str(match n_separators {
                        0 => "){1,1}?(",
                        1 => "){1,1}(?:",
                        _ => {
                            return Err(Error::new(
                                "2200C",
                                "SQL regular expression may not contain more than two escape-double-quote separators",
                            ));
                        }
                    });
                    n_separators += 1;
                }
                Some(next) => {
                    result.push('\\');
                    result.push(next);
                }
            },
            ']' if in_class => {
                in_class = false;
                result.push(']');
            }
            '\\' => result.push_str("\\\\"),
            other if in_class => result.push(other),
            '[' => {
                in_class = true;
                result.push('[');
                let rest = characters.as_str();
                let (lead, after) = match rest.strip_prefix("^]") {
                    Some(after) => ("^]", after),
                    None => rest.strip_prefix(']').map_or(("", rest), |after| ("]", after)),
                };
                result.push_str(lead);
                characters = after.chars();
            }
            '%' => result.push_str(".*"),
            '_' => result.push('.'),
            '(' => result.push_str("(?:"),
            '.' | '^' | '$' => {
                result.push('\\');
                result.push(character);
            }
            other => result.push(other),
        }
    }
    result.push_str(")$");
    Ok(result)
}
