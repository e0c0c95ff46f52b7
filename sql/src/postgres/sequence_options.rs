//! Options of a sequence come in any order; sqlparser reads them in one.

use sqlparser::ast::ObjectName;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};

use crate::source::is_word;

/// The words that options begin with, in sqlparser's order.
const ORDER: [&str; 9] = ["as", "increment", "minvalue", "maxvalue", "start", "cache", "cycle", "restart", "owned"];

/// Brings the options among `tokens[start..end]` into that order.
pub fn reorder(tokens: &mut Vec<TokenWithSpan>, start: usize, end: usize) {
    let begins = |at: usize| {
        let token = &tokens[at].token;
        if is_word(token, "no") {
            let next = (at + 1..end).find(|next| !matches!(tokens[*next].token, Token::Whitespace(_)));
            return next.and_then(|next| rank(&tokens[next].token));
        }
        let before = (start..at).rev().find(|before| !matches!(tokens[*before].token, Token::Whitespace(_)));
        let is_negated = before.is_some_and(|before| is_word(&tokens[before].token, "no"));
        if is_negated { None } else { rank(token) }
    };
    // the name of a sequence may be such a word
    let first = (start..end).skip(1).find(|at| begins(*at).is_some());
    let Some(first) = first else { return };
    let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
    for at in first..end {
        match begins(at) {
            Some(rank) => options.push((rank, vec![tokens[at].clone()])),
            None => {
                if let Some((_, option)) = options.last_mut() {
                    option.push(tokens[at].clone());
                }
            }
        }
    }
    let space = |span| TokenWithSpan { token: Token::Whitespace(sqlparser::tokenizer::Whitespace::Space), span };
    options.sort_by_key(|(rank, _)| *rank);
    let ordered = options.into_iter().flat_map(|(_, option)| {
        let span = option[0].span;
        option.into_iter().chain([space(span)])
    });
    let ordered: Vec<TokenWithSpan> = ordered.collect();
    tokens.splice(first..end, ordered);
}

fn rank(token: &Token) -> Option<usize> {
    ORDER.iter().position(|word| is_word(token, word))
}

/// The same of those behind `AS IDENTITY (`.
pub fn reorder_identity(tokens: &mut Vec<TokenWithSpan>) {
    let mut at = 0;
    while at < tokens.len() {
        if is_word(&tokens[at].token, "identity") {
            let open = (at + 1..tokens.len()).find(|next| !matches!(tokens[*next].token, Token::Whitespace(_)));
            let open = open.filter(|open| tokens[*open].token == Token::LParen);
            let close = open.and_then(|open| (open..tokens.len()).find(|at| tokens[*at].token == Token::RParen));
            if let (Some(open), Some(close)) = (open, close) {
                reorder(tokens, open, close);
            }
        }
        at += 1;
    }
}

/// The name in `ADD GENERATED … AS IDENTITY (SEQUENCE NAME s)` of an ALTER TABLE: sqlparser does not keep it.
pub fn identity_sequence(text: &str) -> Option<ObjectName> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().ok()?;
    let solid: Vec<Token> = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let nth = name_place(&solid.iter().collect::<Vec<_>>())?;
    let mut parts = Vec::new();
    let mut at = nth + 2;
    while let Some(Token::Word(word)) = solid.get(at) {
        parts.push(crate::name::canonical(&word.to_ident(Span::empty())));
        if solid.get(at + 1) != Some(&Token::Period) {
            break;
        }
        at += 2;
    }
    Some(ObjectName::from(parts))
}

/// Where such a name is said.
fn name_place(solid: &[&Token]) -> Option<usize> {
    let words = |nth: usize| is_word(solid[nth], "sequence") && is_word(solid[nth + 1], "name");
    let is_in_options = |nth: usize| {
        let open = solid[..nth].iter().rposition(|token| **token == Token::LParen);
        open.is_some_and(|open| open > 0 && is_word(solid[open - 1], "identity"))
    };
    (1..solid.len().saturating_sub(2)).find(|nth| words(*nth) && is_in_options(*nth))
}

/// Takes the name out of the options.
pub fn drop_name(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    let all: Vec<&Token> = solid.iter().map(|at| &tokens[*at].token).collect();
    let Some(nth) = name_place(&all) else { return };
    let mut last = nth + 2;
    while all.get(last + 1) == Some(&&Token::Period) && last + 2 < all.len() {
        last += 2;
    }
    // all the options may be the name
    let is_all = all[nth - 1] == &Token::LParen && all.get(last + 1) == Some(&&Token::RParen);
    let (first, last) = if is_all { (nth - 1, last + 1) } else { (nth, last) };
    tokens.drain(solid[first]..=solid[last]);
}
