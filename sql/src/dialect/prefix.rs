//! What begins an expression, where sqlparser reads less than PostgreSQL, or binds it differently.

use sqlparser::ast::{Expr, Ident, TrimWhereField, TypedString, UnaryOperator, Value, ValueWithSpan};
use sqlparser::dialect::Precedence;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

use super::{binding, call, marked};
use crate::grammar::keywords;
use crate::source::is_word;

/// `OPERATOR(schema.name) a`, as a call with the schema or NULL, the name, and the operand.
pub const PREFIX_OPERATOR: &str = "prefix operator";

/// Binds as a sign does: tighter than all operators but casts and subscripts.
const SIGN: u8 = 120;

pub fn parse(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let [first, second, third] = parser.peek_tokens_ref();
    let (first_token, second_token) = (&first.token, &second.token);
    let read: fn(&mut Parser) -> Result<Expr, ParserError> = match first_token {
        Token::Minus => |parser| sign(parser, UnaryOperator::Minus),
        Token::Plus => |parser| sign(parser, UnaryOperator::Plus),
        Token::Tilde => |parser| unary(parser, UnaryOperator::BitwiseNot),
        Token::AtSign => |parser| unary(parser, UnaryOperator::PGAbs),
        Token::PGSquareRoot => |parser| unary(parser, UnaryOperator::PGSquareRoot),
        Token::PGCubeRoot => |parser| unary(parser, UnaryOperator::PGCubeRoot),
        Token::ExclamationMark
        | Token::DoubleExclamationMark
        | Token::Sharp
        | Token::Ampersand
        | Token::Pipe
        | Token::StringConcat
        | Token::DoubleEq
        | Token::AtAt
        | Token::Question
        | Token::CustomBinaryOperator(_) => prefix_operator,
        Token::LParen if is_word(second_token, "values") || is_word(second_token, "table") => subquery,
        Token::LParen if *second_token == Token::LParen && opens_query(parser) => {
            return parser.maybe_parse(subquery).transpose();
        }
        Token::Word(word) if word.quote_style.is_none() && *second_token == Token::LParen => {
            match word.value.to_ascii_lowercase().as_str() {
                "trim" => trim,
                "substring" => return substring(parser).transpose(),
                "operator" => qualified_operator,
                "row" if third.token == Token::RParen => |parser| {
                    (0..3).for_each(|_| parser.advance_token());
                    Ok(call(vec![Ident::new("row")], Vec::new()))
                },
                // those of other databases have words in them
                "convert" | "try_cast" | "try_convert" | "safe_cast" | "struct" | "map" | "match" | "prior"
                | "lambda" | "ceil" | "floor" | "substr" => plain_call,
                _ => return None,
            }
        }
        Token::Word(_) if *second_token == Token::Period && is_plain_string(&parser.peek_nth_token_ref(3).token) => {
            typed_string
        }
        Token::Word(word) if is_plain_string(second_token) => {
            let suits = word.quote_style.is_some() || keywords::is_function_name(&word.value.to_ascii_lowercase());
            let is_own = matches!(word.keyword, Keyword::DATE | Keyword::DATETIME | Keyword::XML);
            if !suits || is_own {
                return None;
            }
            typed_string
        }
        Token::Word(word) if word.quote_style.is_none() && is_free_name(&word.value, second_token) => name,
        _ => return None,
    };
    Some(read(parser))
}

fn is_plain_string(token: &Token) -> bool {
    matches!(token, Token::SingleQuotedString(_) | Token::EscapedStringLiteral(_) | Token::DollarQuotedString(_))
}

/// Words that begin expressions in other databases, where they stand for a column.
fn is_free_name(word: &str, next: &Token) -> bool {
    const WORDS: [&str; 20] = [
        "array_agg",
        "convert",
        "ceil",
        "floor",
        "lambda",
        "map",
        "match",
        "prior",
        "struct",
        "substr",
        "try_cast",
        "try_convert",
        "safe_cast",
        "connect_by_root",
        "next",
        "exists",
        "position",
        "overlay",
        "trim",
        "substring",
    ];
    if word.eq_ignore_ascii_case("interval") {
        return !is_plain_string(next) && *next != Token::LParen;
    }
    let is_one = WORDS.iter().any(|own| word.eq_ignore_ascii_case(own));
    is_one && !matches!(next, Token::LParen | Token::Period | Token::LBracket)
}

fn name(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.parse_identifier().map(Expr::Identifier)
}

fn plain_call(parser: &mut Parser) -> Result<Expr, ParserError> {
    let token = parser.next_token();
    let Token::Word(word) = token.token else { return parser.expected("a function", token) };
    let name = Ident::with_span(token.span, word.value);
    parser.parse_function(vec![name].into())
}

/// Two signs print so that they are not read as one, or as a comment.
fn of_operand(op: UnaryOperator, operand: Expr) -> Expr {
    let is_sign = matches!(operand, Expr::UnaryOp { .. } | Expr::BinaryOp { .. });
    let expr = Box::new(if is_sign { Expr::Nested(Box::new(operand)) } else { operand });
    Expr::UnaryOp { op, expr }
}

fn sign(parser: &mut Parser, op: UnaryOperator) -> Result<Expr, ParserError> {
    parser.advance_token();
    parser.parse_subexpr(SIGN).map(|operand| of_operand(op, operand))
}

fn unary(parser: &mut Parser, op: UnaryOperator) -> Result<Expr, ParserError> {
    parser.advance_token();
    operand(parser).map(|operand| of_operand(op, operand))
}

/// What an operator before it takes.
fn operand(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.parse_subexpr(binding(Precedence::PgOther))
}

fn text(value: &str) -> Expr {
    Expr::Value(ValueWithSpan::from(Value::SingleQuotedString(value.to_owned())))
}

fn prefix_operator(parser: &mut Parser) -> Result<Expr, ParserError> {
    let token = parser.next_token();
    let name = token.token.to_string();
    let operand = operand(parser)?;
    let mark = Ident { span: token.span, ..marked(PREFIX_OPERATOR) };
    Ok(call(vec![mark], vec![Expr::Value(Value::Null.into()), text(&name), operand]))
}

fn qualified_operator(parser: &mut Parser) -> Result<Expr, ParserError> {
    let span = parser.next_token().span;
    parser.advance_token();
    let mut schema = None;
    let mut name = parser.next_token().token.to_string();
    while parser.consume_token(&Token::Period) {
        schema = Some(std::mem::replace(&mut name, parser.next_token().token.to_string()));
    }
    parser.expect_token(&Token::RParen)?;
    let operand = operand(parser)?;
    let schema = schema.map_or(Expr::Value(Value::Null.into()), |schema| text(&schema.to_lowercase()));
    let mark = Ident { span, ..marked(PREFIX_OPERATOR) };
    Ok(call(vec![mark], vec![schema, text(&name), operand]))
}

fn subquery(parser: &mut Parser) -> Result<Expr, ParserError> {
    parser.expect_token(&Token::LParen)?;
    let query = parser.parse_query()?;
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Subquery(query))
}

/// Whether a query begins behind the parentheses that come next.
fn opens_query(parser: &Parser) -> bool {
    let depth = (0..).take_while(|nth| parser.peek_nth_token_ref(*nth).token == Token::LParen).count();
    let first = &parser.peek_nth_token_ref(depth).token;
    ["select", "with", "values", "table"].iter().any(|word| is_word(first, word))
}

fn typed_string(parser: &mut Parser) -> Result<Expr, ParserError> {
    let data_type = parser.parse_data_type()?;
    let value = parser.parse_value()?;
    Ok(Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false }))
}

/// `TRIM([BOTH | LEADING | TRAILING] [[characters] FROM] text)`, or with arguments.
fn trim(parser: &mut Parser) -> Result<Expr, ParserError> {
    (0..2).for_each(|_| parser.advance_token());
    let trim_where = match parser.parse_one_of_keywords(&[Keyword::BOTH, Keyword::LEADING, Keyword::TRAILING]) {
        Some(Keyword::LEADING) => Some(TrimWhereField::Leading),
        Some(Keyword::TRAILING) => Some(TrimWhereField::Trailing),
        Some(_) => Some(TrimWhereField::Both),
        None => None,
    };
    let mut what = None;
    let mut expr = None;
    if !parser.parse_keyword(Keyword::FROM) {
        let first = parser.parse_expr()?;
        if parser.parse_keyword(Keyword::FROM) {
            what = Some(Box::new(first));
        } else {
            expr = Some(first);
        }
    }
    let expr = Box::new(match expr {
        Some(expr) => expr,
        None => parser.parse_expr()?,
    });
    let trim_characters = match parser.consume_token(&Token::Comma) {
        true => Some(parser.parse_comma_separated(Parser::parse_expr)?),
        false => None,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(Expr::Trim { expr, trim_where, trim_what: what, trim_characters })
}

/// `SUBSTRING(text [FROM n] [FOR n])`, with arguments, or `SUBSTRING(text SIMILAR pattern ESCAPE escape)`, which is a call
/// with the three. None: a call with none, or with names.
fn substring(parser: &mut Parser) -> Result<Option<Expr>, ParserError> {
    if parser.peek_nth_token_ref(2).token == Token::RParen {
        return plain_call(parser).map(Some);
    }
    if matches!(parser.peek_nth_token_ref(3).token, Token::RArrow | Token::Assignment) {
        return plain_call(parser).map(Some);
    }
    (0..2).for_each(|_| parser.advance_token());
    let expr = Box::new(parser.parse_subexpr(binding(Precedence::Between)).and_then(|left| {
        // SIMILAR would be read as an operator
        if is_word(&parser.peek_token_ref().token, "similar") && !is_word(&parser.peek_nth_token_ref(1).token, "to") {
            return Ok(left);
        }
        rest_of_expr(parser, left)
    })?);
    let mut special = false;
    let (mut from, mut length) = (None, None);
    if is_word(&parser.peek_token_ref().token, "similar") {
        parser.advance_token();
        special = true;
        from = Some(Box::new(parser.parse_expr()?));
        parser.expect_keyword_is(Keyword::ESCAPE)?;
        length = Some(Box::new(parser.parse_expr()?));
    } else if parser.consume_token(&Token::Comma) {
        special = true;
        from = Some(Box::new(parser.parse_expr()?));
        if parser.consume_token(&Token::Comma) {
            length = Some(Box::new(parser.parse_expr()?));
        }
    } else {
        loop {
            if from.is_none() && parser.parse_keyword(Keyword::FROM) {
                from = Some(Box::new(parser.parse_expr()?));
            } else if length.is_none() && parser.parse_keyword(Keyword::FOR) {
                length = Some(Box::new(parser.parse_expr()?));
            } else {
                break;
            }
        }
    }
    parser.expect_token(&Token::RParen)?;
    Ok(Some(Expr::Substring { expr, substring_from: from, substring_for: length, special, shorthand: false }))
}

/// The operators that bind less tightly than those that have been read.
fn rest_of_expr(parser: &mut Parser, mut left: Expr) -> Result<Expr, ParserError> {
    loop {
        let binds = parser.get_next_precedence()?;
        if binds == 0 {
            return Ok(left);
        }
        left = parser.parse_infix(left, binds)?;
    }
}
