//! Reads `(name = value, …)`: any words for names, strings, numbers, words and lists for values.

use sqlparser::tokenizer::Token;

use super::{OptionEntry, OptionValue, Options};
use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};

/// `(name = value, …)`
pub(crate) fn parse_options(cursor: &mut Cursor) -> Result<Options> {
    if *cursor.peek_nth(1) == Token::RParen {
        cursor.expect_symbol(&Token::LParen)?;
        cursor.expect_symbol(&Token::RParen)?;
        return Ok(Options::default());
    }
    let entries = cursor.parenthesized(parse_option)?;
    for (index, entry) in entries.iter().enumerate() {
        if entries[..index].iter().any(|earlier| earlier.name == entry.name) {
            let message = format!("option \"{}\" is given more than once", entry.name);
            let mut error = ParseError::new(ParseErrorKind::Syntax, message);
            error.position = entry.position;
            return Err(error.with_hint(format!("keep one {}", entry.name)));
        }
    }
    Ok(Options { entries })
}

/// `name [=] value`, or `name` alone for true.
fn parse_option(cursor: &mut Cursor) -> Result<OptionEntry> {
    let position = Some(cursor.position());
    let name = parse_option_name(cursor)?;
    let has_equals = cursor.take_symbol(&Token::Eq);
    let value = match cursor.peek() {
        Token::Comma | Token::RParen if !has_equals => OptionValue::Bool(true),
        _ => parse_value(cursor)?,
    };
    Ok(OptionEntry { name, value, position })
}

/// Any word, reserved or not, dotted or quoted.
fn parse_option_name(cursor: &mut Cursor) -> Result<String> {
    if let Some(name) = cursor.take_string() {
        return Ok(name);
    }
    let mut name = String::new();
    loop {
        let Token::Word(word) = cursor.peek() else {
            return Err(cursor.expected("an option's name"));
        };
        let part = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() };
        name.push_str(&part);
        cursor.advance();
        if !cursor.take_symbol(&Token::Period) {
            return Ok(name);
        }
        name.push('.');
    }
}

fn parse_value(cursor: &mut Cursor) -> Result<OptionValue> {
    let is_typed_literal = ["interval", "timestamp", "timestamptz", "date"].iter().any(|word| cursor.sees(&[word]))
        && matches!(cursor.peek_nth(1), Token::SingleQuotedString(_));
    if is_typed_literal {
        cursor.advance();
    }
    if let Some(text) = cursor.take_string() {
        return Ok(OptionValue::String(text));
    }
    if let Some(number) = cursor.take_number() {
        return Ok(OptionValue::Number(number));
    }
    if cursor.take(&["array"]) || *cursor.peek() == Token::LBracket {
        cursor.expect_symbol(&Token::LBracket)?;
        let items = cursor.list(parse_scalar)?;
        cursor.expect_symbol(&Token::RBracket)?;
        return Ok(OptionValue::List(items));
    }
    if *cursor.peek() == Token::LParen {
        return parse_list(cursor);
    }
    parse_word(cursor)
}

fn parse_scalar(cursor: &mut Cursor) -> Result<OptionValue> {
    if let Some(text) = cursor.take_string() {
        return Ok(OptionValue::String(text));
    }
    match cursor.take_number() {
        Some(number) => Ok(OptionValue::Number(number)),
        None => parse_word(cursor),
    }
}

fn parse_word(cursor: &mut Cursor) -> Result<OptionValue> {
    let Token::Word(word) = cursor.peek() else {
        return Err(cursor.expected("an option's value"));
    };
    let value = match (word.quote_style, word.value.to_ascii_lowercase()) {
        (Some(_), _) => OptionValue::Ident(word.value.clone()),
        (None, lower) if lower == "true" => OptionValue::Bool(true),
        (None, lower) if lower == "false" => OptionValue::Bool(false),
        (None, lower) => OptionValue::Ident(lower),
    };
    cursor.advance();
    Ok(value)
}

/// `('a', 'b')` or `('a' = 'b')`
fn parse_list(cursor: &mut Cursor) -> Result<OptionValue> {
    let is_pairs = *cursor.peek_nth(2) == Token::Eq;
    if !is_pairs {
        return Ok(OptionValue::List(cursor.parenthesized(parse_scalar)?));
    }
    let pairs = cursor.parenthesized(|cursor| {
        let key = parse_option_name(cursor)?;
        cursor.expect_symbol(&Token::Eq)?;
        let value = match parse_scalar(cursor)? {
            OptionValue::String(text) | OptionValue::Number(text) | OptionValue::Ident(text) => text,
            other => other.to_string(),
        };
        Ok((key, value))
    })?;
    Ok(OptionValue::Pairs(pairs))
}
