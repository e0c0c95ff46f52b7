//! `INSERT INTO t (…) VALUES (…), …` of many rows that are constants, read in one pass over the text: as sqlparser reads it,
//! without a token for every sign. Whatever else is found is left to sqlparser: there is one grammar, and this a short cut.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{Expr, Parens, SetExpr, Statement as Ast, UnaryOperator, Value, ValueWithSpan, Values};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::parser::Parsed;
use crate::statement::Statement;

/// Values in one row; where there are more, sqlparser's reader counts them.
const MOST_VALUES: usize = 1000;
const PLACEHOLDER_ROW: &str = "(NULL)";

/// The one statement of such a text. `parse` reads its head.
pub(crate) fn parse_constant_rows(text: &str, parse: impl FnOnce(&str) -> Option<Vec<Parsed>>) -> Option<Vec<Parsed>> {
    let head_end = end_of_values(text)?;
    let mut reader = Reader::new(text, head_end)?;
    let rows = reader.rows()?;
    let end = reader.at;
    reader.finish()?;
    let mut parsed = parse(&[&text[..head_end], PLACEHOLDER_ROW].concat())?;
    let [Parsed { statement: Statement::Postgres(statement), text: typed, offset }] = parsed.as_mut_slice() else {
        return None;
    };
    let Ast::Insert(insert) = statement.ast.as_mut() else { return None };
    match insert.source.as_mut()?.body.as_mut() {
        SetExpr::Values(Values { explicit_row: false, rows: placeholder, .. }) => *placeholder = rows,
        _ => return None,
    }
    text[*offset..end].clone_into(typed);
    statement.text.clone_from(typed);
    Some(parsed)
}

/// Where the word VALUES ends, if the text begins with INSERT and nothing but names, signs and blanks stands between.
fn end_of_values(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let mut words = 0;
    while at < bytes.len() {
        match bytes[at] {
            byte if is_blank(byte) => at += 1,
            b'.' | b',' | b'(' | b')' if words > 0 => at += 1,
            b'"' if words > 0 => at += 2 + bytes[at + 1..].iter().position(|byte| *byte == b'"')?,
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                let length = bytes[at..].iter().take_while(|byte| is_of_word(**byte)).count();
                let word = &text[at..at + length];
                at += length;
                words += 1;
                if words == 1 && !word.eq_ignore_ascii_case("insert") {
                    return None;
                }
                if word.eq_ignore_ascii_case("values") {
                    return Some(at);
                }
            }
            _ => return None,
        }
    }
    None
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    location: Location,
    /// up to which byte `location` is of
    located: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, at: usize) -> Option<Reader<'a>> {
        let reader = Reader { text, bytes: text.as_bytes(), at, location: Location::new(1, 1), located: 0 };
        // what begins like one may be a comment
        (!text.as_bytes()[at..].is_empty()).then_some(reader)
    }

    fn rows(&mut self) -> Option<Vec<Parens<Vec<Expr>>>> {
        let mut rows = Vec::new();
        let mut n_values = 0;
        loop {
            self.skip_blanks();
            let opening_token = self.sign(b'(', Token::LParen)?;
            let mut content = Vec::with_capacity(n_values);
            loop {
                self.skip_blanks();
                content.push(self.value()?);
                self.skip_blanks();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
            }
            let closing_token = self.sign(b')', Token::RParen)?;
            n_values = content.len();
            if n_values > MOST_VALUES {
                return None;
            }
            rows.push(Parens { opening_token, content, closing_token });
            let end = self.at;
            self.skip_blanks();
            if self.peek() != Some(b',') {
                self.at = end;
                return Some(rows);
            }
            self.at += 1;
        }
    }

    /// Behind the rows only a semicolon may follow.
    fn finish(mut self) -> Option<()> {
        self.skip_blanks();
        if self.peek() == Some(b';') {
            self.at += 1;
            self.skip_blanks();
        }
        (self.at == self.bytes.len()).then_some(())
    }

    fn value(&mut self) -> Option<Expr> {
        let start = self.at;
        let begin = self.location();
        let value = match self.peek()? {
            b'-' => {
                self.at += 1;
                // blanks may stand between, and another minus sign begins a comment
                self.peek().filter(u8::is_ascii_digit)?;
                let expr = Box::new(self.value()?);
                return Some(Expr::UnaryOp { op: UnaryOperator::Minus, expr });
            }
            b'\'' => Value::SingleQuotedString(self.quoted()?),
            b'$' => {
                self.at += 1;
                self.digits()?;
                Value::Placeholder(self.text[start..self.at].to_owned())
            }
            byte if byte.is_ascii_digit() => {
                self.digits()?;
                if self.peek() == Some(b'.') {
                    self.at += 1;
                    self.digits()?;
                }
                Value::Number(self.text[start..self.at].to_owned(), false)
            }
            byte if byte.is_ascii_alphabetic() => {
                self.at += self.bytes[start..].iter().take_while(|byte| is_of_word(**byte)).count();
                match &self.text[start..self.at] {
                    word if word.eq_ignore_ascii_case("null") => Value::Null,
                    word if word.eq_ignore_ascii_case("true") => Value::Boolean(true),
                    word if word.eq_ignore_ascii_case("false") => Value::Boolean(false),
                    _ => return None,
                }
            }
            _ => return None,
        };
        // a longer number, a cast or the like
        let ends = self.peek().is_some_and(|byte| is_blank(byte) || matches!(byte, b',' | b')'));
        ends.then(|| Expr::Value(ValueWithSpan { value, span: Span::new(begin, self.location()) }))
    }

    fn digits(&mut self) -> Option<()> {
        let length = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += length;
        (length > 0).then_some(())
    }

    /// What stands between quotes. A backslash is left to who knows what it means.
    fn quoted(&mut self) -> Option<String> {
        let mut content = String::new();
        loop {
            // behind the opening quote, or the second one of two
            self.at += 1;
            let length = self.bytes[self.at..].iter().position(|byte| matches!(byte, b'\'' | b'\\'))?;
            content.push_str(&self.text[self.at..self.at + length]);
            self.at += length;
            if self.bytes[self.at] == b'\\' {
                return None;
            }
            self.at += 1;
            if self.peek() != Some(b'\'') {
                return Some(content);
            }
            content.push('\'');
        }
    }

    fn sign(&mut self, byte: u8, token: Token) -> Option<AttachedToken> {
        self.peek().filter(|found| *found == byte)?;
        let start = self.location();
        self.at += 1;
        Some(AttachedToken(TokenWithSpan::new(token, Span::new(start, self.location()))))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// Of the next byte: lines and characters, from 1.
    fn location(&mut self) -> Location {
        for byte in &self.bytes[self.located..self.at] {
            match byte {
                b'\n' => self.location = Location::new(self.location.line + 1, 1),
                // the later bytes of a character
                0x80..=0xbf => {}
                _ => self.location.column += 1,
            }
        }
        self.located = self.at;
        self.location
    }
}

/// The blanks that sqlparser has one reading of.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\t')
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::parse_by_tokens;

    fn short_cut(text: &str) -> Option<Vec<Parsed>> {
        parse_constant_rows(text, |head| parse_by_tokens(head).ok())
    }

    /// Read as sqlparser reads it, down to the places; `None` if it is not read at all.
    fn check(text: &str) -> bool {
        let Some(short) = short_cut(text) else { return false };
        let long = parse_by_tokens(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(format!("{short:#?}"), format!("{long:#?}"), "{text}");
        true
    }

    #[test]
    fn constant_rows_are_read_as_sqlparser_reads_them() {
        for text in [
            "INSERT INTO t VALUES (1, 'a', NULL)",
            "insert into s.t (a, \"B c\", d) values (1, -2.5, TRUE), ($1, 'it''s', false);",
            "  INSERT INTO t\n VALUES\n ( 1 ,\n'ä\nb' ) ,\n\t( 2 , 'c' )\n ;  ",
            "INSERT INTO t (\"\u{fc}\", b) VALUES ('\u{fc}\u{1f600}', 1), ('', 00.10)",
            "INSERT INTO t VALUES ('')",
            "INSERT INTO t VALUES ('''')",
            "INSERT INTO t AS values VALUES (1)",
        ] {
            assert!(check(text) || text.contains(" AS "), "{text}");
        }
    }

    #[test]
    fn what_is_more_is_left_to_sqlparser() {
        for text in [
            "INSERT INTO t SELECT 1",
            "INSERT INTO t VALUES (1), (1 + 1)",
            "INSERT INTO t VALUES (1::bigint)",
            "INSERT INTO t VALUES (1e5)",
            "INSERT INTO t VALUES (1.)",
            "INSERT INTO t VALUES (1_000)",
            "INSERT INTO t VALUES (0x1f)",
            "INSERT INTO t VALUES (--1\n1)",
            "INSERT INTO t VALUES (- 1)",
            "INSERT INTO t VALUES ('a' 'b')",
            "INSERT INTO t VALUES ('a\\n')",
            "INSERT INTO t VALUES (E'a')",
            "INSERT INTO t VALUES (now())",
            "INSERT INTO t VALUES (DEFAULT)",
            "INSERT INTO t VALUES ()",
            "INSERT INTO t VALUES (1",
            "INSERT INTO t VALUES (1,)",
            "INSERT INTO t VALUES (1) RETURNING a",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO t VALUES (1); SELECT 1",
            "INSERT INTO t VALUES (1);;",
            "INSERT INTO t VALUES ($1, $a)",
            "INSERT INTO t /* VALUES */ VALUES (1)",
            "WITH a AS (SELECT 1) INSERT INTO t VALUES (1)",
            "SELECT 1",
            "",
        ] {
            assert!(short_cut(text).is_none(), "{text}");
        }
    }

    /// Random texts of pieces that could be mistaken for each other.
    #[test]
    fn no_text_is_read_in_two_ways() {
        const PIECES: [&str; 38] = [
            "INSERT", "INTO", "t", "\"a b\"", "VALUES", "values", "VALUE", "(", ")", ",", "1", "2.5", ".5", "1e3", "-",
            "--", "'a'", "''", "'", "\\", "$1", "$$", "NULL", "true", "::int", " ", "\n", "\r\n", ";", "a", ".",
            "\u{e4}", "x'1'", "e'1'", "/*", "*/", "DEFAULT", "AS",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut below = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % n as u64) as usize
        };
        let mut read = 0;
        for _ in 0..200_000 {
            let mut text = String::from("INSERT INTO t VALUES (1");
            if below(2) == 0 {
                text = String::from("INSERT INTO ");
            }
            for _ in 0..below(8) {
                text.push_str(PIECES[below(PIECES.len())]);
                if below(3) == 0 {
                    text.push(' ');
                }
            }
            if below(2) == 0 {
                text.push(')');
            }
            read += usize::from(check(&text));
        }
        assert!(read > 1_000, "only {read} texts were read");
    }
}
