//! One item of a FEATURES clause: an aggregate, its window, its name.
//! Which aggregates there are, and of which types, is not known here.

use std::fmt::{self, Display};

use sqlparser::ast::{Expr, Ident};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::interval::interval_label;
use crate::name::quote_literal;
use crate::option::join;
use crate::text::SqlText;
use crate::window::{Window, WindowRef, parse_window_ref};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arguments {
    /// `count(*)`
    Star,
    List(Vec<SqlText<Expr>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateCall {
    pub name: Ident,
    pub arguments: Arguments,
    pub distinct: bool,
    /// The condition of `FILTER (WHERE …)`.
    pub filter: Option<SqlText<Expr>>,
}

impl Display for AggregateCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        match &self.arguments {
            Arguments::Star => write!(formatter, "{}(*)", self.name)?,
            Arguments::List(list) => write!(formatter, "{}({distinct}{})", self.name, join(list))?,
        }
        match &self.filter {
            Some(condition) => write!(formatter, " FILTER (WHERE {condition})"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureItem {
    pub function: AggregateCall,
    pub window: WindowRef,
    pub alias: Ident,
    pub comment: Option<String>,
}

impl Display for FeatureItem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} OVER {} AS {}", self.function, self.window, self.alias)?;
        match &self.comment {
            Some(comment) => write!(formatter, " COMMENT {}", quote_literal(comment)),
            None => Ok(()),
        }
    }
}

/// `(item, …)`; no alias twice.
pub(crate) fn parse_features(cursor: &mut Cursor) -> Result<Vec<FeatureItem>> {
    let items = cursor.parenthesized(parse_item)?;
    for (index, (position, item)) in items.iter().enumerate() {
        if items[..index].iter().any(|(_, earlier)| earlier.alias == item.alias) {
            let message = format!("feature \"{}\" specified more than once", item.alias.value);
            let error = ParseError::new(ParseErrorKind::DuplicateColumn, message).at(*position);
            return Err(error.with_hint(format!("give it another name, such as AS {}_2", item.alias.value)));
        }
    }
    Ok(items.into_iter().map(|(_, item)| item).collect())
}

/// With the position of its alias.
fn parse_item(cursor: &mut Cursor) -> Result<(usize, FeatureItem)> {
    let function = parse_call(cursor)?;
    if !cursor.take(&["over"]) {
        let hint = format!("type {function} OVER (LAST '7 days') AS name");
        return Err(cursor.expected("OVER").with_hint(hint));
    }
    let window = parse_window_ref(cursor)?;
    if !cursor.take(&["as"]) {
        let hint = format!("name the feature: AS {}", suggested_alias(&function, &window));
        return Err(cursor.expected("AS").with_hint(hint));
    }
    let position = cursor.position();
    let alias = cursor.any_name("a feature's name")?;
    let comment = if cursor.take(&["comment"]) { Some(cursor.string("a comment in quotes")?) } else { None };
    Ok((position, FeatureItem { function, window, alias, comment }))
}

/// `name(* | [DISTINCT] argument, …) [FILTER (WHERE condition)]`
fn parse_call(cursor: &mut Cursor) -> Result<AggregateCall> {
    let name = cursor.any_name("an aggregate, such as count(*)")?;
    cursor.expect_symbol(&Token::LParen)?;
    let mut distinct = false;
    let arguments = if cursor.take_symbol(&Token::Mul) {
        Arguments::Star
    } else {
        distinct = cursor.take(&["distinct"]);
        if !distinct {
            cursor.take(&["all"]);
        }
        if *cursor.peek() == Token::RParen {
            return Err(cursor.expected("an argument").with_hint(format!("type {name}(column)")));
        }
        Arguments::List(cursor.list(Cursor::expression)?)
    };
    if !cursor.take_symbol(&Token::RParen) {
        return Err(cursor.expected("\",\" or \")\""));
    }
    let mut filter = None;
    if cursor.take(&["filter"]) {
        cursor.expect_symbol(&Token::LParen)?;
        cursor.expect(&["where"])?;
        filter = Some(cursor.expression()?);
        cursor.expect_symbol(&Token::RParen)?;
    }
    Ok(AggregateCall { name, arguments, distinct, filter })
}

/// `sum_amount_7d`
fn suggested_alias(function: &AggregateCall, window: &WindowRef) -> String {
    let argument = match &function.arguments {
        Arguments::List(list) => list.first().map(|first| &first.ast),
        Arguments::Star => None,
    };
    let column = match argument {
        Some(Expr::Identifier(ident)) => format!("_{}", ident.value.to_lowercase()),
        _ => String::new(),
    };
    let window = match window {
        WindowRef::Named(name) => name.value.clone(),
        WindowRef::Inline(Window::Lifetime) => "lifetime".to_string(),
        WindowRef::Inline(Window::Last { size, .. } | Window::Series { size, .. }) => interval_label(size.microseconds),
    };
    format!("{}{column}_{window}", function.name.value)
}
