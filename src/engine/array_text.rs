//! PostgreSQL's text of an array, such as `{a,"b c",NULL}`, taken apart into its items.

use crate::error::{Error, Kind, Result};

/// The items of an array's text; None is NULL. Errors: 22P02 for malformed text, 0A000 for what lists cannot hold.
pub fn array_items(text: &str) -> Result<Vec<Option<String>>> {
    let malformed = |detail: &str| {
        Error::new(Kind::InvalidTextRepresentation, format!("malformed array literal: \"{text}\""))
            .with_detail(detail.to_owned())
    };
    let trimmed = text.trim();
    if trimmed.starts_with('[') {
        return Err(Error::not_supported("an array with lower bounds of its own"));
    }
    let Some(inside) = trimmed.strip_prefix('{') else {
        return Err(malformed("Array value must start with \"{\"."));
    };
    let mut rest = inside.chars().peekable();
    let mut items = Vec::new();
    loop {
        while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
        let mut item = String::new();
        let mut is_quoted = false;
        // what stands behind the last character that is not a blank
        let mut blanks = 0;
        let end = loop {
            let Some(next) = rest.next() else { return Err(malformed("Unexpected end of input.")) };
            match next {
                '{' => return Err(Error::not_supported("an array of arrays")),
                ',' | '}' => break next,
                '"' if is_quoted || !item.is_empty() => return Err(malformed("Unexpected array element.")),
                '"' => {
                    is_quoted = true;
                    loop {
                        match rest.next() {
                            None => return Err(malformed("Unexpected end of input.")),
                            Some('"') => break,
                            Some('\\') => item.extend(rest.next()),
                            Some(other) => item.push(other),
                        }
                    }
                }
                blank if blank.is_ascii_whitespace() => {
                    if !is_quoted {
                        item.push(blank);
                        blanks += 1;
                    }
                }
                _ if is_quoted => return Err(malformed("Unexpected array element.")),
                '\\' => {
                    item.extend(rest.next());
                    blanks = 0;
                }
                other => {
                    item.push(other);
                    blanks = 0;
                }
            }
        };
        // A blank is one byte.
        item.truncate(item.len() - blanks);
        match (is_quoted, item.as_str()) {
            (false, "") if end == '}' && items.is_empty() => {}
            (false, "") => return Err(malformed(&format!("Unexpected \"{end}\" character."))),
            (false, null) if null.eq_ignore_ascii_case("null") => items.push(None),
            _ => items.push(Some(item)),
        }
        if end == '}' {
            break;
        }
    }
    if rest.next().is_some() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_those_that_postgres_reads() {
        let items = |text: &str| {
            let items = array_items(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            items.into_iter().map(|item| item.unwrap_or_else(|| "(null)".to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(
            items(" {a,\"b c\",NULL,\"NULL\", d e ,\"q\\\"x\\\\\", f\\  } "),
            ["a", "b c", "(null)", "NULL", "d e", "q\"x\\", "f "]
        );
        assert_eq!(items("{}"), [""; 0]);
        assert_eq!(items("{ }"), [""; 0]);
        assert_eq!(items("{\"\"}"), [""]);
        for text in
            ["{a,b", "a,b", "{a,,b}", "{a,}", "{a\"b}", "{\"a\"b}", "{\"a\" \"b\"}", "{a} x", "", "{\"a}", "{a\\"]
        {
            let error = array_items(text).expect_err(text);
            assert_eq!(error.kind(), Kind::InvalidTextRepresentation, "{text}");
        }
        for text in ["{{1,2},{3,4}}", "[2:3]={1,2}"] {
            assert_eq!(array_items(text).expect_err(text).kind(), Kind::FeatureNotSupported, "{text}");
        }
    }
}
