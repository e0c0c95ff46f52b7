//! Operators behind an operand, where sqlparser reads other ones than PostgreSQL, or binds them differently.

use sqlparser::ast::{BinaryOperator, Expr, Ident, Value};
use sqlparser::dialect::Precedence;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::{binding, call, marked};
use crate::source::is_word;

/// `a BETWEEN SYMMETRIC b AND c`, as a call with the three of them.
pub const SYMMETRIC: &str = "between symmetric";

/// How tightly a word binds that PostgreSQL has for an operator; 0 for any other, which sqlparser may have for one.
pub fn precedence_of_word(parser: &Parser, word: &str) -> Option<u8> {
    let of = |precedence| Some(binding(precedence));
    let next = &parser.peek_nth_token_ref(1).token;
    match word {
        "and" | "or" | "is" | "collate" => None,
        "isnull" | "notnull" => of(Precedence::Is),
        "between" | "in" | "like" | "ilike" | "similar" => None,
        "not" => {
            let is_infix = ["between", "in", "like", "ilike", "similar"].iter().any(|word| is_word(next, word));
            if is_infix { None } else { Some(0) }
        }
        "at" if is_word(next, "time") => None,
        "overlaps" => None,
        "operator" if *next == Token::LParen => of(Precedence::PgOther),
        _ => Some(0),
    }
}

/// What comes behind `left`, if it is one of those.
pub fn parse(parser: &mut Parser, left: &Expr) -> Option<Result<Expr, ParserError>> {
    let [first, second, _, begins] = parser.peek_tokens_ref();
    // sqlparser knows SELECT and WITH behind ANY
    if ["values", "table"].iter().any(|word| is_word(&begins.token, word))
        && ["any", "some", "all"].iter().any(|word| is_word(&second.token, word))
        && let Some(operator) = super::comparison(&first.token)
    {
        parser.advance_token();
        return Some(super::parse_quantifier(parser, left, operator));
    }
    let negated = is_word(&first.token, "not");
    let (word, skipped) = if negated { (&second.token, 2) } else { (&first.token, 1) };
    let is = |name| is_word(word, name);
    let read: fn(&mut Parser, &Expr, bool) -> Result<Expr, ParserError> = if is("between") {
        parse_between
    } else if is("like") {
        parse_like
    } else if is("ilike") {
        parse_ilike
    } else if is("similar") {
        parse_similar
    } else if is("isnull") && !negated {
        |_, left, _| Ok(Expr::IsNull(Box::new(left.clone())))
    } else if is("notnull") && !negated {
        |_, left, _| Ok(Expr::IsNotNull(Box::new(left.clone())))
    } else if matches!(word, Token::DoubleEq | Token::ExclamationMark | Token::DoubleExclamationMark) && !negated {
        let name = word.to_string();
        parser.advance_token();
        return Some(custom(parser, left, name));
    } else {
        return None;
    };
    (0..skipped).for_each(|_| parser.advance_token());
    Some(read(parser, left, negated))
}

/// An operator that PostgreSQL's lexer knows, and nothing else.
fn custom(parser: &mut Parser, left: &Expr, name: String) -> Result<Expr, ParserError> {
    let right = parser.parse_subexpr(binding(Precedence::PgOther))?;
    let op = BinaryOperator::PGCustomBinaryOperator(vec![name]);
    Ok(Expr::BinaryOp { left: Box::new(left.clone()), op, right: Box::new(right) })
}

fn parse_between(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    let is_next = |parser: &Parser, word| is_word(&parser.peek_token_ref().token, word);
    let symmetric = is_next(parser, "symmetric");
    if symmetric || is_next(parser, "asymmetric") {
        parser.advance_token();
    }
    // comparisons, but no logic
    let low = parser.parse_subexpr(binding(Precedence::UnaryNot))?;
    parser.expect_keyword_is(Keyword::AND)?;
    let high = parser.parse_subexpr(binding(Precedence::Between))?;
    if !symmetric {
        let (expr, low, high) = (Box::new(left.clone()), Box::new(low), Box::new(high));
        return Ok(Expr::Between { expr, negated, low, high });
    }
    let name = if negated { format!("not {SYMMETRIC}") } else { SYMMETRIC.to_owned() };
    Ok(call(vec![marked(&name)], vec![left.clone(), low, high]))
}

fn parse_like(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    let operator = if negated { BinaryOperator::PGNotLikeMatch } else { BinaryOperator::PGLikeMatch };
    if let Some(quantified) = quantified(parser, left, operator)? {
        return Ok(quantified);
    }
    let (pattern, escape_char) = pattern(parser)?;
    Ok(Expr::Like { negated, any: false, expr: Box::new(left.clone()), pattern: Box::new(pattern), escape_char })
}

fn parse_ilike(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    let operator = if negated { BinaryOperator::PGNotILikeMatch } else { BinaryOperator::PGILikeMatch };
    if let Some(quantified) = quantified(parser, left, operator)? {
        return Ok(quantified);
    }
    let (pattern, escape_char) = pattern(parser)?;
    Ok(Expr::ILike { negated, any: false, expr: Box::new(left.clone()), pattern: Box::new(pattern), escape_char })
}

fn parse_similar(parser: &mut Parser, left: &Expr, negated: bool) -> Result<Expr, ParserError> {
    parser.expect_keyword_is(Keyword::TO)?;
    let pattern = parser.parse_subexpr(binding(Precedence::Like))?;
    let left = Box::new(left.clone());
    if !parser.parse_keyword(Keyword::ESCAPE) {
        return Ok(Expr::SimilarTo { negated, expr: left, pattern: Box::new(pattern), escape_char: None });
    }
    match parser.parse_subexpr(binding(Precedence::Like))? {
        Expr::Value(escape) if matches!(escape.value, Value::SingleQuotedString(_)) => {
            Ok(Expr::SimilarTo { negated, expr: left, pattern: Box::new(pattern), escape_char: Some(escape) })
        }
        escape => {
            let op = if negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
            let right = call(own("similar_to_escape"), vec![pattern, escape]);
            Ok(Expr::BinaryOp { left, op, right: Box::new(right) })
        }
    }
}

/// A pattern, and how it escapes if that is a constant; any other way is a call around the pattern.
fn pattern(parser: &mut Parser) -> Result<(Expr, Option<sqlparser::ast::ValueWithSpan>), ParserError> {
    let binds = binding(Precedence::Like);
    let pattern = parser.parse_subexpr(binds)?;
    if !parser.parse_keyword(Keyword::ESCAPE) {
        return Ok((pattern, None));
    }
    match parser.parse_subexpr(binds)? {
        Expr::Value(escape) if matches!(escape.value, Value::SingleQuotedString(_)) => Ok((pattern, Some(escape))),
        escape => Ok((call(own("like_escape"), vec![pattern, escape]), None)),
    }
}

fn own(name: &str) -> Vec<Ident> {
    vec![Ident::new("pg_catalog"), Ident::new(name)]
}

/// `LIKE ANY (…)`
fn quantified(parser: &mut Parser, left: &Expr, compare_op: BinaryOperator) -> Result<Option<Expr>, ParserError> {
    let is_one = ["any", "some", "all"].iter().any(|word| is_word(&parser.peek_token_ref().token, word));
    if !is_one {
        return Ok(None);
    }
    super::parse_quantifier(parser, left, compare_op).map(Some)
}
