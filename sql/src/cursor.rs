//! What every statement's parser reads from: words, names, literals, and embedded SQL by way of sqlparser.
//! It holds sqlparser's own parser, so that one token position serves both grammars; all errors come out positioned.

mod diagnose;

use sqlparser::ast::{DataType, Expr, Ident, ObjectName, Query, SetExpr, Visit};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::dialect::GranaryDialect;
use crate::error::{ParseError, ParseErrorKind};
use crate::keyword;
use crate::limits::check_columns;
use crate::name;
use crate::reserved::misplaced_word;
use crate::source::{Source, is_word};
use crate::text::SqlText;

/// sqlparser's count of nested expressions, queries and table factors.
pub(crate) const RECURSION_LIMIT: usize = 50;

/// Whether a query inserts, updates, deletes, merges, or makes a table by SELECT … INTO; also in a WITH clause.
pub(crate) fn writes(query: &Query) -> bool {
    let body_writes = match &*query.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
        SetExpr::Select(select) => select.into.is_some(),
        _ => false,
    };
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    body_writes || tables.into_iter().any(|table| writes(&table.query))
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;

pub(crate) struct Cursor<'a> {
    source: &'a Source<'a>,
    dialect: &'a GranaryDialect,
    parser: Parser<'a>,
    /// Where the tokens end: the start of the semicolon or clause behind them, or the end of the text.
    end: Location,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(
        source: &'a Source<'a>,
        dialect: &'a GranaryDialect,
        tokens: Vec<TokenWithSpan>,
        end: Location,
    ) -> Cursor<'a> {
        let parser = Parser::new(dialect).with_recursion_limit(RECURSION_LIMIT).with_tokens_with_locations(tokens);
        Cursor { source, dialect, parser, end }
    }

    /// A cursor over the tokens from `start` to `end`, indexes into this one's.
    pub(crate) fn sub(&self, start: usize, end: usize) -> Cursor<'a> {
        let tokens = (start..end).map(|index| self.parser.token_at(index).clone()).collect();
        Cursor::new(self.source, self.dialect, tokens, self.location_at(end))
    }

    /// A cursor over the rest of the tokens, from `start` on.
    pub(crate) fn sub_from(&self, start: usize) -> Cursor<'a> {
        let mut end = start;
        while *self.token_at(end) != Token::EOF {
            end += 1;
        }
        self.sub(start, end)
    }

    // Looking

    pub(crate) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(crate) fn peek_nth(&self, nth: usize) -> &Token {
        &self.parser.peek_nth_token_ref(nth).token
    }

    /// Whether these words come next.
    pub(crate) fn sees(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(nth, word)| is_word(self.peek_nth(nth), word))
    }

    pub(crate) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// The index of the next token that is not blank.
    pub(crate) fn index(&self) -> usize {
        let mut index = self.parser.index();
        while matches!(self.parser.token_at(index).token, Token::Whitespace(_)) {
            index += 1;
        }
        index
    }

    pub(crate) fn token_at(&self, index: usize) -> &Token {
        &self.parser.token_at(index).token
    }

    /// Where the token at `index` begins.
    pub(crate) fn location_at(&self, index: usize) -> Location {
        let token = self.parser.token_at(index);
        if token.token == Token::EOF { self.end } else { token.span.start }
    }

    pub(crate) fn location(&self) -> Location {
        self.location_at(self.index())
    }

    /// Of the next token, in characters of the input from 1.
    pub(crate) fn position(&self) -> usize {
        self.source.position(self.location())
    }

    // Words and symbols

    pub(crate) fn advance(&mut self) {
        self.parser.advance_token();
    }

    /// Takes these words if they come next, all or none.
    pub(crate) fn take(&mut self, words: &[&str]) -> bool {
        let sees = self.sees(words);
        if sees {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        sees
    }

    pub(crate) fn expect(&mut self, words: &[&str]) -> Result<()> {
        for word in words {
            if !self.take(&[word]) {
                return Err(self.expected(&words.join(" ").to_uppercase()));
            }
        }
        Ok(())
    }

    pub(crate) fn take_symbol(&mut self, symbol: &Token) -> bool {
        self.parser.consume_token(symbol)
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &Token) -> Result<()> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.expected(&format!("\"{symbol}\""))) }
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.expected("end of statement")) }
    }

    // Names and literals

    /// A column or table name, canonical.
    pub(crate) fn name(&mut self) -> Result<Ident> {
        self.any_name("a name")
    }

    pub(crate) fn any_name(&mut self, what: &str) -> Result<Ident> {
        let found = self.parser.peek_token_ref().clone();
        let Token::Word(word) = found.token else {
            return Err(self.expected(what));
        };
        let ident = name::canonical(&word.into_ident(found.span));
        let was_quoted = self.source.cut(found.span.start, found.span.end).starts_with('"');
        if !was_quoted && keyword::is_reserved(&ident.value) {
            let hint = format!("{} is a reserved word: type {ident}", ident.value);
            return Err(self.expected(what).with_hint(hint));
        }
        self.advance();
        Ok(ident)
    }

    /// A name, or one of these reserved words, which comes out in upper case.
    pub(crate) fn name_or_word(&mut self, words: &[&str], what: &str) -> Result<Ident> {
        if words.iter().any(|word| self.sees(&[word]))
            && let TokenWithSpan { token: Token::Word(word), span } = self.parser.next_token()
        {
            return Ok(Ident::with_span(span, word.value.to_uppercase()));
        }
        self.any_name(what)
    }

    /// A word without quotes, reserved or not, in lower case.
    pub(crate) fn word(&mut self, what: &str) -> Result<String> {
        let word = match self.peek() {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            _ => return Err(self.expected(what)),
        };
        self.advance();
        Ok(word)
    }

    /// `[catalog.][schema.]name`, canonical.
    pub(crate) fn object_name(&mut self) -> Result<ObjectName> {
        let start = self.position();
        let mut parts = vec![self.name()?];
        while self.take_symbol(&Token::Period) {
            parts.push(self.name()?);
        }
        if parts.len() > 3 {
            let name = ObjectName::from(parts);
            let error = ParseError::new(
                ParseErrorKind::Syntax,
                format!("improper qualified name (too many dotted names): {name}"),
            );
            return Err(error.at(start).with_hint("name it as workspace.schema.name"));
        }
        Ok(ObjectName::from(parts))
    }

    /// A string literal's value.
    pub(crate) fn string(&mut self, what: &str) -> Result<String> {
        self.take_string().ok_or_else(|| self.expected(what))
    }

    pub(crate) fn take_string(&mut self) -> Option<String> {
        let text = match self.peek() {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) | Token::UnicodeStringLiteral(text) => {
                text.clone()
            }
            Token::DollarQuotedString(string) => string.value.clone(),
            _ => return None,
        };
        self.advance();
        Some(text)
    }

    /// A number as typed, with its sign.
    pub(crate) fn take_number(&mut self) -> Option<String> {
        let (sign, nth) = match self.peek() {
            Token::Minus => ("-", 1),
            Token::Plus => ("", 1),
            _ => ("", 0),
        };
        let Token::Number(digits, _) = self.peek_nth(nth) else {
            return None;
        };
        let number = format!("{sign}{digits}");
        (0..=nth).for_each(|_| self.advance());
        Some(number)
    }

    /// A whole number that is not negative.
    pub(crate) fn whole_number(&mut self, what: &str) -> Result<u64> {
        let Token::Number(digits, _) = self.peek() else {
            return Err(self.expected(what));
        };
        let Ok(number) = digits.parse() else {
            return Err(self.expected(what));
        };
        self.advance();
        Ok(number)
    }

    /// `item, …`
    pub(crate) fn list<T>(&mut self, item: impl Fn(&mut Cursor<'a>) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take_symbol(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(item, …)`
    pub(crate) fn parenthesized<T>(&mut self, item: impl Fn(&mut Cursor<'a>) -> Result<T>) -> Result<Vec<T>> {
        self.expect_symbol(&Token::LParen)?;
        let items = self.list(item)?;
        if !self.take_symbol(&Token::RParen) {
            return Err(self.expected("\",\" or \")\""));
        }
        Ok(items)
    }

    // Embedded SQL

    pub(crate) fn expression(&mut self) -> Result<SqlText<Expr>> {
        self.embedded(Parser::parse_expr)
    }

    pub(crate) fn data_type(&mut self) -> Result<SqlText<DataType>> {
        self.embedded(Parser::parse_data_type)
    }

    /// A query that only reads.
    pub(crate) fn query(&mut self) -> Result<SqlText<Box<Query>>> {
        let is_query = ["select", "with", "values", "table"].iter().any(|word| self.sees(&[word]));
        if !is_query && *self.peek() != Token::LParen {
            return Err(self.expected("a query").with_hint("type SELECT … FROM …"));
        }
        let start = self.position();
        let query = self.embedded(Parser::parse_query)?;
        if writes(&query.ast) {
            let error = ParseError::new(ParseErrorKind::FeatureNotSupported, "a query that writes cannot stand here");
            return Err(error.at(start).with_hint("type a SELECT"));
        }
        Ok(query)
    }

    /// What sqlparser reads from here, with its text.
    pub(crate) fn embedded<T: Visit>(
        &mut self,
        parse: impl FnOnce(&mut Parser<'a>) -> std::result::Result<T, ParserError>,
    ) -> Result<SqlText<T>> {
        let start = self.location();
        let first = self.index();
        match parse(&mut self.parser) {
            Ok(ast) => match misplaced_word(&ast) {
                Some(location) => Err(self.diagnose(first, self.source.unexpected(location))),
                None => {
                    check_columns(&ast).map_err(|error| error.at(self.source.position(start)))?;
                    Ok(SqlText::new(ast, self.source.cut(start, self.consumed_end())))
                }
            },
            Err(error) => Err(self.diagnose(first, self.translate(error))),
        }
    }

    /// The index of the last token that was taken; 0 if there is none.
    pub(crate) fn consumed_index(&self) -> usize {
        let is_solid = |index: &usize| !matches!(self.token_at(*index), Token::Whitespace(_) | Token::EOF);
        (0..self.parser.index()).rev().find(is_solid).unwrap_or(0)
    }

    fn consumed_end(&self) -> Location {
        self.parser.token_at(self.consumed_index()).span.end
    }

    /// What was taken since `start`, as typed, and the byte that it begins at.
    pub(crate) fn taken_since(&self, start: Location) -> (&'a str, usize) {
        (self.source.cut(start, self.consumed_end()), self.source.byte(start))
    }

    // Errors

    /// A syntax error at the next token.
    pub(crate) fn expected(&self, what: &str) -> ParseError {
        self.expected_at(self.index(), what)
    }

    pub(crate) fn expected_at(&self, index: usize, what: &str) -> ParseError {
        self.source.unexpected(self.location_at(index)).with_detail(format!("expected {what}"))
    }

    /// An error of any kind at the next token.
    pub(crate) fn error(&self, kind: ParseErrorKind, message: impl Into<String>) -> ParseError {
        ParseError::new(kind, message).at(self.position())
    }
}
