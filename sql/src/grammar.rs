//! Whether a text follows PostgreSQL's grammar of queries and of statements that write rows, and where it does not.
//! It makes no tree: sqlparser does, which takes much that PostgreSQL refuses, and tells other places for errors.
//!
//! Each function reads what it is named after. What it does not know, such as XML, it does not judge.

mod dml;
mod expr;
mod from;
pub(crate) mod keywords;
mod query;
mod types;

use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace};

use crate::source::is_word;

/// How deep a text may nest and still be judged.
const DEPTH_LIMIT: usize = 400;

/// Why reading stopped.
pub(crate) enum Stop {
    /// at this token nothing that PostgreSQL knows goes on; an index into the tokens, or their number for the end
    Wrong(usize),
    /// a part of the grammar that is not known here
    Unknown,
}

type Check<T = ()> = Result<T, Stop>;

pub(crate) struct Reader<'t> {
    tokens: &'t [TokenWithSpan],
    /// indexes of those that are not blank, one for strings that go on in another line
    solid: Vec<usize>,
    at: usize,
    depth: usize,
}

/// What PostgreSQL would say of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    /// the index of the first token that cannot stand where it does; the number of tokens if the end cannot
    Wrong(usize),
    /// of a kind that is not known here, or with a part that is not
    Unknown,
}

pub(crate) fn judge(tokens: &[TokenWithSpan]) -> Verdict {
    let mut reader = Reader::new(tokens);
    let Some(start) = reader.start() else { return Verdict::Unknown };
    let read = match start {
        Start::Statement => reader.statement(),
        Start::Defined(at) => {
            let is_stored = reader.is_stored();
            reader.at = at;
            reader.query().and_then(|()| reader.behind_definition(is_stored))
        }
    };
    match read.and_then(|()| reader.expect_end()) {
        Ok(()) => Verdict::Right,
        Err(Stop::Unknown) => Verdict::Unknown,
        Err(Stop::Wrong(at)) => Verdict::Wrong(at),
    }
}

/// What is judged of a statement.
enum Start {
    Statement,
    /// the query behind AS, at this place
    Defined(usize),
}

impl<'t> Reader<'t> {
    fn new(tokens: &'t [TokenWithSpan]) -> Reader<'t> {
        let mut solid: Vec<usize> = Vec::with_capacity(tokens.len());
        let mut has_newline = false;
        for (index, token) in tokens.iter().enumerate() {
            if let Token::Whitespace(blank) = &token.token {
                has_newline |= matches!(blank, Whitespace::Newline | Whitespace::SingleLineComment { .. });
                continue;
            }
            let goes_on = has_newline
                && matches!(token.token, Token::SingleQuotedString(_))
                && solid.last().is_some_and(|last| is_string(&tokens[*last].token));
            has_newline = false;
            if !goes_on {
                solid.push(index);
            }
        }
        Reader { tokens, solid, at: 0, depth: 0 }
    }

    fn start(&self) -> Option<Start> {
        let heads = ["select", "values", "with", "table", "insert", "update", "delete"];
        if self.is(&Token::LParen) || heads.iter().any(|head| self.sees(head)) {
            return Some(Start::Statement);
        }
        if !self.sees("create") || self.kind_of_created().is_none() {
            return None;
        }
        let mut depth = 0_usize;
        for nth in 1..self.solid.len() {
            match self.token_at(nth) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth = depth.saturating_sub(1),
                Some(token) if depth == 0 && is_word(token, "as") => return Some(Start::Defined(nth + 1)),
                _ => {}
            }
        }
        None
    }

    /// Where VIEW or TABLE stands behind CREATE.
    fn kind_of_created(&self) -> Option<usize> {
        const BEFORE: [&str; 9] =
            ["or", "replace", "local", "global", "temp", "temporary", "unlogged", "materialized", "recursive"];
        let kind = (1..).find(|nth| !BEFORE.iter().any(|word| self.sees_nth(*nth, word)))?;
        (self.sees_nth(kind, "view") || self.sees_nth(kind, "table")).then_some(kind)
    }

    /// Whether its rows are stored when it is made.
    fn is_stored(&self) -> bool {
        let is_of_view = |kind: usize| self.sees_nth(kind, "view") && !self.sees_nth(kind - 1, "materialized");
        !self.kind_of_created().is_some_and(is_of_view)
    }

    /// `WITH [NO] DATA`, `WITH CHECK OPTION`.
    fn behind_definition(&mut self, is_stored: bool) -> Check {
        if self.take("with") {
            if is_stored {
                self.take("no");
                return self.expect("data");
            }
            let _ = self.take("local") || self.take("cascaded");
            self.expect("check")?;
            self.expect("option")?;
        }
        Ok(())
    }

    fn statement(&mut self) -> Check {
        self.deeper(|reader| {
            let start = reader.at;
            if reader.sees("with") {
                reader.with()?;
            }
            if reader.sees("insert") {
                reader.insert()
            } else if reader.sees("update") {
                reader.update()
            } else if reader.sees("delete") {
                reader.delete()
            } else if reader.sees("merge") {
                Err(Stop::Unknown)
            } else {
                reader.at = start;
                reader.query()
            }
        })
    }

    // Looking

    fn token_at(&self, at: usize) -> Option<&'t Token> {
        self.solid.get(at).map(|index| &self.tokens[*index].token)
    }

    fn peek(&self) -> Option<&'t Token> {
        self.token_at(self.at)
    }

    fn peek_nth(&self, nth: usize) -> Option<&'t Token> {
        self.token_at(self.at + nth)
    }

    fn is(&self, token: &Token) -> bool {
        self.peek() == Some(token)
    }

    fn is_nth(&self, nth: usize, token: &Token) -> bool {
        self.peek_nth(nth) == Some(token)
    }

    fn sees(&self, word: &str) -> bool {
        self.sees_nth(0, word)
    }

    fn sees_nth(&self, nth: usize, word: &str) -> bool {
        self.peek_nth(nth).is_some_and(|token| is_word(token, word))
    }

    fn sees_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.sees(word))
    }

    /// The next word in lower case, if it has no quotes.
    fn word(&self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_lowercase()),
            _ => None,
        }
    }

    fn is_name(&self, nth: usize, suits: fn(&str) -> bool) -> bool {
        match self.peek_nth(nth) {
            Some(Token::Word(word)) => word.quote_style.is_some() || suits(&word.value.to_ascii_lowercase()),
            _ => false,
        }
    }

    // Taking

    fn wrong<T>(&self) -> Check<T> {
        Err(Stop::Wrong(self.solid.get(self.at).copied().unwrap_or(self.tokens.len())))
    }

    fn expect_end(&self) -> Check {
        if self.at >= self.solid.len() { Ok(()) } else { self.wrong() }
    }

    fn take(&mut self, word: &str) -> bool {
        let sees = self.sees(word);
        self.at += usize::from(sees);
        sees
    }

    fn expect(&mut self, word: &str) -> Check {
        if self.take(word) { Ok(()) } else { self.wrong() }
    }

    fn take_sign(&mut self, sign: &Token) -> bool {
        let is = self.is(sign);
        self.at += usize::from(is);
        is
    }

    fn expect_sign(&mut self, sign: &Token) -> Check {
        if self.take_sign(sign) { Ok(()) } else { self.wrong() }
    }

    fn column_name(&mut self) -> Check {
        self.expect_name(keywords::is_column_name)
    }

    fn any_name(&mut self) -> Check {
        self.expect_name(|_| true)
    }

    fn expect_name(&mut self, suits: fn(&str) -> bool) -> Check {
        if self.is_name(0, suits) {
            self.at += 1;
            return Ok(());
        }
        self.wrong()
    }

    fn qualified_name(&mut self) -> Check {
        self.column_name()?;
        while self.take_sign(&Token::Period) {
            self.any_name()?;
        }
        Ok(())
    }

    fn whole_number(&mut self) -> Check {
        match self.peek() {
            Some(Token::Number(digits, _)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.at += 1;
                Ok(())
            }
            _ => self.wrong(),
        }
    }

    /// `item, …`
    fn list(&mut self, item: impl Fn(&mut Self) -> Check) -> Check {
        item(self)?;
        while self.take_sign(&Token::Comma) {
            item(self)?;
        }
        Ok(())
    }

    /// `(item, …)`
    fn parenthesized(&mut self, item: impl Fn(&mut Self) -> Check) -> Check {
        self.expect_sign(&Token::LParen)?;
        self.list(item)?;
        self.expect_sign(&Token::RParen)
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Check<T>) -> Check<T> {
        if self.depth >= DEPTH_LIMIT {
            return Err(Stop::Unknown);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
    )
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::check_error;

    #[test]
    fn errors_stand_where_postgresql_has_them() {
        for (text, near, position) in [
            ("select case from t", "from", 13),
            ("select a < b = k from o", "=", 14),
            ("select a between 1 and 2 between 3 and 4", "between", 26),
            ("select 'a' 'b' as ab", "'b'", 12),
            ("select * from t order id", "id", 23),
            ("select count(distinct *) from t", "*", 23),
            ("select distinct on () id from t", ")", 21),
            ("select nullif(1)", ")", 16),
            ("select array[1][1]", "[", 16),
            ("select a month from t", "month", 10),
            ("insert t values (1)", "t", 8),
            ("delete t", "t", 8),
            ("create view v as select 1 with no data", "no", 32),
        ] {
            check_error(text, &format!("syntax error at or near \"{near}\""), position);
        }
        check_error("select * from t join u", "syntax error at end of input", 23);
        check_error("select 1_000", "trailing junk after numeric literal at or near \"1_000\"", 8);
        check_error("select 0x10 as x", "trailing junk after numeric literal at or near \"0x10\"", 8);
        check_error("select $1a", "trailing junk after parameter at or near \"$1a\"", 8);
        check_error("select \"\"", "zero-length delimited identifier at or near \"\"\"\"", 8);
    }

    #[test]
    fn what_sqlparser_does_not_read_is_not_supported() {
        for text in ["insert into t (n[1]) values (1)", "update t set a = 1 where current of c"] {
            assert_eq!(crate::parse(text).unwrap_err().kind.sqlstate(), "0A000", "{text}");
        }
    }

    #[test]
    fn long_names_are_cut() {
        let long = "\u{e4}".repeat(40);
        let parsed = crate::parse(&format!("select {long}")).unwrap().remove(0);
        let crate::Statement::Query(query) = parsed.statement else { panic!() };
        assert_eq!(query.ast.to_string(), format!("SELECT {}", "\u{e4}".repeat(31)));
    }
}
