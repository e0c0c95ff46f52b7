//! Parts of a JSON text as they were written. The text was checked before.

use super::Json;

/// The members of an object, in their order, each key as it is meant; None if it is no object.
pub fn fields(text: &str) -> Option<Vec<(String, &str)>> {
    let mut rest = text.trim_start().strip_prefix('{')?.trim_start();
    let mut fields = Vec::new();
    while !rest.starts_with('}') {
        rest = rest.trim_start_matches(',').trim_start();
        let end = value_end(rest)?;
        let key = match Json::parse(&rest[..end])? {
            Json::Text(key) => key,
            _ => return None,
        };
        rest = rest[end..].trim_start().strip_prefix(':')?.trim_start();
        let end = value_end(rest)?;
        fields.push((key, &rest[..end]));
        rest = rest[end..].trim_start();
    }
    Some(fields)
}

/// The items of a list; None if it is no list.
pub fn items(text: &str) -> Option<Vec<&str>> {
    let mut rest = text.trim_start().strip_prefix('[')?.trim_start();
    let mut items = Vec::new();
    while !rest.starts_with(']') {
        rest = rest.trim_start_matches(',').trim_start();
        let end = value_end(rest)?;
        items.push(&rest[..end]);
        rest = rest[end..].trim_start();
    }
    Some(items)
}

/// A member of an object, the last of its name.
pub fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    fields(text)?.into_iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// An item of a list, from the end if negative.
pub fn item(text: &str, index: i64) -> Option<&str> {
    let items = items(text)?;
    let index = if index < 0 { index + i64::try_from(items.len()).ok()? } else { index };
    items.get(usize::try_from(index).ok()?).copied()
}

/// A text without its quotes, anything else as it was written; None for null.
pub fn unquoted(text: &str) -> Option<String> {
    if text.trim() == "null" {
        return None;
    }
    match text.starts_with('"').then(|| Json::parse(text)) {
        Some(Some(Json::Text(text))) => Some(text),
        _ => Some(text.to_owned()),
    }
}

/// Where the value that the text begins with ends.
fn value_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        if in_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    in_text = false;
                    if depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    Some(bytes.len())
}
