//! The input text with its tokens and their places: bytes to cut text out, characters to report positions.
//! It cuts the input into statements and knows nothing of what they mean.

use std::ops::Range;

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use crate::dialect::GranaryDialect;
use crate::error::{ParseError, ParseErrorKind};

/// Parentheses and brackets may be nested this deep. sqlparser's own limit counts expressions and
/// queries, but not nested data types.
const MAX_NESTING: usize = 100;
/// Set operations in one statement; their tree is as deep as they are many.
const MAX_SET_OPERATIONS: usize = 500;
/// `ARRAY<…>` and `STRUCT<…>` in one statement: nested types are not counted by sqlparser.
const MAX_ANGLE_TYPES: usize = 50;

/// The longest that a name can be.
const MAX_NAME_BYTES: usize = 63;

/// Where a token begins.
#[derive(Debug, Clone, Copy)]
struct Place {
    location: Location,
    byte: usize,
    /// From 0.
    character: usize,
}

pub(crate) struct Source<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
    /// One for each token, in order, and one for the end of the text.
    places: Vec<Place>,
}

/// One statement among the tokens of a source, without blanks and comments around it.
pub(crate) struct Slice {
    pub(crate) tokens: Range<usize>,
    /// Byte offsets into the source.
    pub(crate) bytes: Range<usize>,
    /// Where the token behind it begins: a semicolon, or the end of the text.
    pub(crate) end: Location,
}

impl<'a> Source<'a> {
    pub(crate) fn tokenize(text: &'a str) -> Result<Source<'a>, ParseError> {
        let mut tokens = Vec::new();
        let dialect = GranaryDialect::new(false, 0);
        let outcome = Tokenizer::new(&dialect, text).tokenize_with_location_into_buf(&mut tokens);
        let places = places(text, &tokens);
        let mut source = Source { text, tokens, places };
        match outcome {
            Ok(()) => {
                source.check_tokens()?;
                source.truncate_names();
                Ok(source)
            }
            Err(error) => Err(source.lexical_error(&error.message)),
        }
    }

    /// Errors: 42601 for what PostgreSQL does not take for a token.
    fn check_tokens(&self) -> Result<(), ParseError> {
        for (index, TokenWithSpan { token, span }) in self.tokens.iter().enumerate() {
            let typed = || self.text.get(self.places[index].byte..self.places[index + 1].byte).unwrap_or_default();
            let wrong = |what: &str, near: &str| {
                let error = ParseError::new(ParseErrorKind::Syntax, format!("{what} at or near \"{near}\""));
                Err(error.at(self.position(span.start)))
            };
            match token {
                Token::Number(..) | Token::HexStringLiteral(_) => {
                    let next = self.tokens.get(index + 1).map(|next| &next.token);
                    let junk = matches!(next, Some(Token::Word(word)) if word.quote_style.is_none());
                    let is_junk = match token {
                        Token::Number(..) => junk || typed().contains(['_', 'l', 'L']),
                        _ => typed().starts_with('0'),
                    };
                    if is_junk {
                        let end = self.places[index + 1 + usize::from(junk)].byte;
                        let near = self.text.get(self.places[index].byte..end).unwrap_or_default();
                        return wrong("trailing junk after numeric literal", near);
                    }
                }
                Token::Placeholder(name)
                    if name.strip_prefix('$').is_some_and(|name| {
                        name.starts_with(|first: char| first.is_ascii_digit())
                            && !name.bytes().all(|byte| byte.is_ascii_digit())
                    }) =>
                {
                    return wrong("trailing junk after parameter", typed());
                }
                Token::Word(word) if word.quote_style == Some('"') && word.value.is_empty() => {
                    return wrong("zero-length delimited identifier", "\"\"");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Names are cut as PostgreSQL cuts them.
    fn truncate_names(&mut self) {
        for token in &mut self.tokens {
            if let Token::Word(word) = &mut token.token
                && word.value.len() > MAX_NAME_BYTES
            {
                let end = (0..=MAX_NAME_BYTES).rev().find(|end| word.value.is_char_boundary(*end)).unwrap_or(0);
                word.value.truncate(end);
            }
        }
    }

    pub(crate) fn tokens(&self, range: Range<usize>) -> &[TokenWithSpan] {
        &self.tokens[range]
    }

    /// The statements of the text; empty ones are left out.
    pub(crate) fn statements(&self) -> Vec<Slice> {
        let mut slices = Vec::new();
        let mut start = 0;
        for end in 0..=self.tokens.len() {
            let ends = match self.tokens.get(end) {
                Some(token) => token.token == Token::SemiColon,
                None => true,
            };
            if ends {
                slices.extend(self.slice(start..end));
                start = end + 1;
            }
        }
        slices
    }

    fn slice(&self, range: Range<usize>) -> Option<Slice> {
        let is_solid = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
        let tokens = self.tokens.get(range.clone())?;
        let first = range.start + tokens.iter().position(is_solid)?;
        let last = range.start + tokens.iter().rposition(is_solid)?;
        Some(Slice {
            tokens: first..last + 1,
            bytes: self.places[first].byte..self.places[last + 1].byte,
            end: self.places[range.end].location,
        })
    }

    /// The statement as typed.
    pub(crate) fn text(&self, slice: &Slice) -> &'a str {
        self.text.get(slice.bytes.clone()).unwrap_or_default()
    }

    fn place(&self, location: Location) -> Place {
        let index = self.places.partition_point(|place| place.location < location);
        self.places[index.min(self.places.len() - 1)]
    }

    pub(crate) fn byte(&self, location: Location) -> usize {
        self.place(location).byte
    }

    /// Counted in characters from 1.
    pub(crate) fn position(&self, location: Location) -> usize {
        self.place(location).character + 1
    }

    /// The text from the start of one token to the start of another.
    pub(crate) fn cut(&self, start: Location, end: Location) -> &'a str {
        let (start, end) = (self.place(start).byte, self.place(end).byte);
        self.text.get(start..end).unwrap_or_default()
    }

    /// The token that begins at `location`, as it was typed.
    fn typed(&self, location: Location) -> Option<&'a str> {
        let index = self.places.partition_point(|place| place.location < location);
        let (place, next) = (self.places.get(index)?, self.places.get(index + 1)?);
        self.text.get(place.byte..next.byte)
    }

    /// Whether the token at a position, in characters from 1, is this word.
    pub(crate) fn reads_at(&self, position: Option<usize>, word: &str) -> bool {
        let Some(position) = position else {
            return false;
        };
        let index = self.places.partition_point(|place| place.character + 1 < position);
        self.tokens.get(index).is_some_and(|token| is_word(&token.token, word))
    }

    /// `syntax error at or near …`, as PostgreSQL words it.
    pub(crate) fn unexpected(&self, location: Location) -> ParseError {
        let message = match self.typed(location) {
            Some(typed) => format!("syntax error at or near \"{typed}\""),
            None => "syntax error at end of input".to_string(),
        };
        ParseError::new(ParseErrorKind::Syntax, message).at(self.position(location))
    }

    /// sqlparser's error in the words of PostgreSQL. `reached` is where it stood when it gave up,
    /// for the errors that do not say where they are; `end` is the end of the statement.
    pub(crate) fn translate(&self, error: ParserError, reached: Location, end: Location) -> ParseError {
        let text = match error {
            ParserError::RecursionLimitExceeded => return too_complex().at(self.position(reached)),
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        };
        let (text, location) = split_location(&text);
        let Some((expected, found)) = text.strip_prefix("Expected: ").and_then(|rest| rest.rsplit_once(", found: "))
        else {
            let error = self.unexpected(location.unwrap_or(reached));
            return error.with_detail(lower_first(text));
        };
        let location = location.unwrap_or(if found == "EOF" { end } else { reached });
        self.unexpected(location).with_detail(format!("expected {expected}"))
    }

    /// A text that cannot even be cut into tokens: the trouble begins where the last token ends.
    fn lexical_error(&self, message: &str) -> ParseError {
        let start = self.tokens.last().map_or(Location::new(1, 1), |token| token.span.end);
        let place = self.places[self.places.len() - 1];
        let rest = self.text.get(place.byte..).unwrap_or_default();
        let what = if message.contains("dollar") {
            "unterminated dollar-quoted string"
        } else if rest.starts_with("/*") {
            "unterminated /* comment"
        } else if rest.starts_with('"') {
            "unterminated quoted identifier"
        } else if message.starts_with("Unterminated") {
            "unterminated quoted string"
        } else {
            "syntax error"
        };
        let near: String = rest.chars().take(40).collect();
        let error = ParseError::new(ParseErrorKind::Syntax, format!("{what} at or near \"{near}\""));
        error.at(self.position(start))
    }
}

/// `end` as the location of the end of a text that `tokens` covers up to some point.
fn places(text: &str, tokens: &[TokenWithSpan]) -> Vec<Place> {
    let mut places = Vec::with_capacity(tokens.len() + 1);
    let mut here = Place { location: Location::new(1, 1), byte: 0, character: 0 };
    let mut characters = text.chars();
    for token in tokens {
        places.push(Place { location: token.span.start, ..here });
        while here.location < token.span.end {
            let Some(character) = characters.next() else {
                break;
            };
            here.byte += character.len_utf8();
            here.character += 1;
            if character == '\n' {
                here.location = Location::new(here.location.line + 1, 1);
            } else {
                here.location.column += 1;
            }
        }
    }
    places.push(here);
    places
}

/// Where a place of sqlparser's, such as the start of an identifier's span, is in the input: in characters from 1.
/// None for the empty place of something that was not parsed.
pub fn position_of(text: &str, place: Location) -> Option<usize> {
    let (line, column) = (usize::try_from(place.line).ok()?, usize::try_from(place.column).ok()?);
    let before = text.split_inclusive('\n').take(line.checked_sub(1)?);
    let before: usize = before.map(|line| line.chars().count()).sum();
    Some(before + column)
}

pub(crate) fn too_complex() -> ParseError {
    ParseError::new(ParseErrorKind::TooComplex, "statement is nested too deeply")
        .with_hint("split it with WITH, a view or a temporary table")
}

/// Refuses what would exhaust the stack before sqlparser could notice.
pub(crate) fn check_nesting(tokens: &[TokenWithSpan]) -> Result<(), ParseError> {
    let (mut depth, mut set_operations, mut angles) = (0usize, 0usize, 0usize);
    let mut intervals = 0usize;
    let mut last: Option<&Token> = None;
    for TokenWithSpan { token, .. } in tokens {
        match token {
            Token::Whitespace(_) => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Lt if last.is_some_and(is_type_word) => angles += 1,
            Token::Word(_) if is_word(token, "union") => set_operations += 1,
            Token::Word(_) if is_word(token, "except") => set_operations += 1,
            Token::Word(_) if is_word(token, "intersect") => set_operations += 1,
            // `INTERVAL INTERVAL …` is never right, and each one is a call deeper.
            Token::Word(_) if is_word(token, "interval") => {
                let is_repeated = last.is_some_and(|last| is_word(last, "interval"));
                intervals += usize::from(is_repeated);
            }
            _ => {}
        }
        let too_deep = depth > MAX_NESTING || angles > MAX_ANGLE_TYPES || intervals > 0;
        if too_deep || set_operations > MAX_SET_OPERATIONS {
            return Err(too_complex());
        }
        last = Some(token);
    }
    Ok(())
}

fn is_type_word(token: &Token) -> bool {
    ["array", "struct", "map"].iter().any(|word| is_word(token, word))
}

/// Whether a token is this unquoted word, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

/// Cuts ` at Line: 1, Column: 5` off the end of one of sqlparser's messages.
fn split_location(text: &str) -> (&str, Option<Location>) {
    let Some((head, tail)) = text.rsplit_once(" at Line: ") else {
        return (text, None);
    };
    let location = tail
        .split_once(", Column: ")
        .and_then(|(line, column)| Some(Location::new(line.parse().ok()?, column.parse().ok()?)));
    match location {
        Some(location) => (head, Some(location)),
        None => (text, None),
    }
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_cut_at_semicolons_and_trimmed() {
        let text = "; select 1 ;\n-- nothing\n; select 'ü;' /* end */";
        let source = Source::tokenize(text).unwrap();
        let cut: Vec<&str> = source.statements().iter().map(|slice| source.text(slice)).collect();
        assert_eq!(cut, ["select 1", "select 'ü;'"]);
    }

    #[test]
    fn positions_count_characters() {
        let source = Source::tokenize("select 'äöü',\n x").unwrap();
        let last = source.tokens.last().unwrap().span.start;
        assert_eq!(source.position(last), 16);
        assert_eq!(source.typed(last), Some("x"));
    }

    #[test]
    fn places_of_identifiers_are_positions() {
        let text = "SELECT 'ü'\nFROM ä\n, tbl";
        let source = Source::tokenize(text).unwrap();
        for token in &source.tokens {
            assert_eq!(position_of(text, token.span.start), Some(source.position(token.span.start)));
        }
        assert_eq!(position_of(text, Location::empty()), None);
    }

    #[test]
    fn what_cannot_be_cut_into_tokens() {
        let check = |text: &str, message: &str, position: usize| {
            let error = Source::tokenize(text).err().unwrap();
            assert_eq!((error.message.as_str(), error.position), (message, Some(position)));
        };
        check("select 'a", "unterminated quoted string at or near \"'a\"", 8);
        check("select \"a", "unterminated quoted identifier at or near \"\"a\"", 8);
        check("select /* a", "unterminated /* comment at or near \"/* a\"", 8);
        check("select $$ a", "unterminated dollar-quoted string at or near \"$$ a\"", 8);
    }
}
