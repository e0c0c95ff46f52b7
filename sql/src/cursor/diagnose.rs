//! Finds the real error of a text that sqlparser refused, and the place that it means.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::Token;

use super::Cursor;
use crate::error::ParseError;
use crate::reserved::misplaced_word;
use crate::source::is_word;

impl Cursor<'_> {
    /// The real error of a failed statement. Where a parenthesis could begin a subquery or something else,
    /// sqlparser tries both and reports the last; the error inside the subquery is the one to tell.
    pub(super) fn diagnose(&self, first: usize, error: ParseError) -> ParseError {
        let Some(reported) = error.position else {
            return error;
        };
        let mut found: Option<(usize, usize, ParseError)> = None;
        for (open, close) in self.subqueries(first).into_iter().rev() {
            // An outer query fails with its inner one.
            if found.as_ref().is_some_and(|(inner, _, _)| (open..close).contains(inner)) {
                continue;
            }
            let mut inside = self.sub(open + 1, close);
            let outcome = inside.parser.parse_query();
            let failure = match outcome {
                Ok(query) if inside.at_end() => match misplaced_word(&query) {
                    Some(location) => self.source.unexpected(location),
                    None => continue,
                },
                Ok(_) => inside.expected("\")\""),
                Err(error) => inside.translate(error),
            };
            found = Some((open, close, failure));
        }
        match found {
            Some((open, _, inner)) if reported >= self.source.position(self.location_at(open)) => inner,
            _ => error,
        }
    }

    /// The parentheses from `first` on that hold a query, as indexes of their ends.
    fn subqueries(&self, first: usize) -> Vec<(usize, usize)> {
        const MOST: usize = 100;
        let (mut open, mut found) = (Vec::new(), Vec::new());
        let mut index = first;
        loop {
            match self.token_at(index) {
                Token::LParen => open.push(index),
                Token::RParen => found.extend(open.pop().map(|start| (start, index))),
                Token::EOF => break,
                _ => {}
            }
            index += 1;
        }
        found.extend(open.into_iter().map(|start| (start, index)));
        found.retain(|(start, _)| {
            let next = (start + 1..index).map(|next| self.token_at(next));
            let mut solid = next.filter(|token| !matches!(token, Token::Whitespace(_)));
            solid.next().is_some_and(|token| ["select", "with", "values"].iter().any(|word| is_word(token, word)))
        });
        found.sort_unstable();
        found.truncate(MOST);
        found
    }

    pub(super) fn translate(&self, error: ParserError) -> ParseError {
        if self.dialect.is_exhausted() {
            return self.source.translate(ParserError::RecursionLimitExceeded, self.location(), self.end);
        }
        if let ParserError::ParserError(text) = &error
            && text.starts_with("Expected an expression, found: ")
        {
            // This one error of sqlparser's gives the place of the token behind the one it speaks of.
            let wrong = self.parser.get_current_index();
            return self.expected_at(self.solid_before(wrong), "an expression");
        }
        let reached = self.location_at(self.reached(&error));
        self.source.translate(error, reached, self.end)
    }

    /// The token at or before `index` that is not blank.
    fn solid_before(&self, index: usize) -> usize {
        let is_solid = |index: &usize| !matches!(self.token_at(*index), Token::Whitespace(_));
        (0..=index).rev().find(is_solid).unwrap_or(0)
    }

    /// The token that an error without a place speaks of: the nearest one behind that reads as it says.
    fn reached(&self, error: &ParserError) -> usize {
        let current = self.parser.get_current_index();
        let ParserError::ParserError(text) = error else {
            return current;
        };
        let Some((_, found)) = text.rsplit_once(", found: ") else {
            return current;
        };
        let is_found = |index: &usize| self.token_at(*index).to_string() == found;
        (current.saturating_sub(8)..=current).rev().find(is_found).unwrap_or(current)
    }
}
