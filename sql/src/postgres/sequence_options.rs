//! Options of a sequence come in any order; sqlparser reads them in one.

use sqlparser::tokenizer::{Token, TokenWithSpan};

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
