//! How much one text may ask for: what is beyond is refused before it takes memory or time without end.

use std::ops::ControlFlow;

use sqlparser::ast::{Query, Select, SetExpr, Visit, Visitor};

use crate::error::{ParseError, ParseErrorKind};

/// Words, signs and blanks of one text; each takes some 250 bytes until its statement is read.
const MAX_TOKENS: usize = 2_000_000;
/// Columns that a SELECT or VALUES may name, as in PostgreSQL.
const MAX_COLUMNS: usize = 1664;

pub(crate) fn check_length(text: &str) -> Result<(), ParseError> {
    // no token is shorter than a byte
    if text.len() <= MAX_TOKENS || count_tokens(text.as_bytes()) <= MAX_TOKENS {
        return Ok(());
    }
    let message = format!("the text has more than {MAX_TOKENS} words, signs and blanks");
    Err(ParseError::new(ParseErrorKind::TooComplex, message)
        .with_hint("send values as parameters, rows with COPY … FROM STDIN"))
}

/// Counts tokens without making them. A backslash is read as if it escaped nothing, which may cut a text where it does
/// not end.
fn count_tokens(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while let [first, behind @ ..] = rest {
        let behind_quote = |quote: &[u8]| {
            let end = behind.windows(quote.len()).position(|bytes| bytes == quote);
            end.map_or(behind.len(), |end| end + quote.len())
        };
        let more = match first {
            b'\'' | b'"' => {
                let mut end = behind_quote(&[*first]);
                // a quote that stands twice stands for itself
                while behind.get(end) == Some(first) {
                    let next = behind[end + 1..].iter().position(|byte| byte == first);
                    end = next.map_or(behind.len(), |next| end + next + 2);
                }
                end
            }
            b'-' if behind.starts_with(b"-") => behind_quote(b"\n"),
            b'/' if behind.starts_with(b"*") => behind_quote(b"*/"),
            b'$' => match behind.iter().position(|byte| !is_of_word(*byte)) {
                Some(end) if behind[end] == b'$' => {
                    let tag = &rest[..end + 2];
                    let text = &behind[end + 1..];
                    let length = text.windows(tag.len()).position(|bytes| bytes == tag);
                    end + 1 + length.map_or(text.len(), |length| length + tag.len())
                }
                _ => 0,
            },
            byte if is_of_word(*byte) => behind.iter().take_while(|byte| is_of_word(**byte)).count(),
            _ => 0,
        };
        count += 1;
        rest = &behind[more..];
    }
    count
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

pub(crate) fn check_columns(tree: &impl Visit) -> Result<(), ParseError> {
    match tree.visit(&mut Width) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            let message = format!("target lists can have at most {MAX_COLUMNS} entries");
            Err(ParseError::new(ParseErrorKind::TooManyColumns, message))
        }
    }
}

struct Width;

impl Visitor for Width {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        match query.body.as_ref() {
            SetExpr::Values(values) if values.rows.iter().any(|row| row.len() > MAX_COLUMNS) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.projection.len() > MAX_COLUMNS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<&'static str> {
        crate::parse(text).err().map(|error| error.kind.sqlstate())
    }

    #[test]
    fn tokens_are_counted_as_they_are_cut() {
        let cases = [
            ("SELECT a1,b FROM t", 9),
            ("'a b' \"c d\"", 3),
            ("a -- b c\nd", 4),
            ("/* a b */c", 2),
            ("$$a b$$ $x$ a $$ b $x$", 3),
            ("$1,$2", 5),
            ("'it''s' 'x' ''''", 5),
            ("'it''s", 1),
            ("grün", 1),
        ];
        for (text, count) in cases {
            assert_eq!(count_tokens(text.as_bytes()), count, "{text}");
        }
    }

    #[test]
    fn long_texts_may_have_long_values_but_not_many() {
        let long = "x ".repeat(MAX_TOKENS);
        for text in [format!("SELECT '{long}'"), format!("SELECT $${long}$$"), format!("SELECT 1 /* {long} */")] {
            assert_eq!(kind(&text), None);
        }
        assert_eq!(kind(&format!("SELECT '{}", "''".repeat(MAX_TOKENS))), Some("42601"));
        assert_eq!(kind(&format!("SELECT 1 IN (1{})", ",1".repeat(MAX_TOKENS))), Some("54001"));
        assert_eq!(kind(&long), Some("54001"));
    }

    #[test]
    fn columns_have_a_limit() {
        let ones = |count: usize| vec!["1"; count].join(",");
        for from in ["SELECT ", "CREATE VIEW v AS SELECT ", "SELECT * FROM (SELECT ", "SELECT 1 UNION ALL SELECT "] {
            let end = if from.contains('(') { ") AS s" } else { "" };
            assert_eq!(kind(&format!("{from}{}{end}", ones(MAX_COLUMNS))), None, "{from}");
            assert_eq!(kind(&format!("{from}{}{end}", ones(MAX_COLUMNS + 1))), Some("54011"), "{from}");
        }
        assert_eq!(kind(&format!("VALUES ({})", ones(MAX_COLUMNS + 1))), Some("54011"));
    }
}
