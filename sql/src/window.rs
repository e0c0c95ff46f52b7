//! Aggregation windows: `(LAST '7 days' OFFSET '-7 days')`, `(LIFETIME)`, `(SERIES FROM … TO … SIZE … STEP …)`, and their names.
//! Whether a window fits its view's tiles is not known here.

use std::fmt::{self, Display};

use sqlparser::ast::Ident;
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::interval::{Interval, parse_interval};
use crate::option::interval_error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// The time up to the edge; `offset` (not above 0) moves it into the past.
    Last { size: Interval, offset: Option<Interval> },
    /// From the view's `lifetime_start` to the edge.
    Lifetime,
    /// Windows of `size` from `from` to `to`, both not above 0, each `step` after the one before.
    Series { from: Interval, to: Interval, size: Interval, step: Interval },
}

impl Display for Window {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Last { size, offset: None } => write!(formatter, "(LAST {size})"),
            Window::Last { size, offset: Some(offset) } => write!(formatter, "(LAST {size} OFFSET {offset})"),
            Window::Lifetime => write!(formatter, "(LIFETIME)"),
            Window::Series { from, to, size, step } => {
                write!(formatter, "(SERIES FROM {from} TO {to} SIZE {size} STEP {step})")
            }
        }
    }
}

/// What stands after OVER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WindowRef {
    Named(Ident),
    Inline(Window),
}

impl Display for WindowRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowRef::Named(name) => write!(formatter, "{name}"),
            WindowRef::Inline(window) => write!(formatter, "{window}"),
        }
    }
}

/// `name AS (window)` of a WINDOW clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedWindow {
    pub name: Ident,
    pub window: Window,
}

impl Display for NamedWindow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} AS {}", self.name, self.window)
    }
}

pub(crate) fn parse_window_ref(cursor: &mut Cursor) -> Result<WindowRef> {
    if *cursor.peek() == Token::LParen {
        return Ok(WindowRef::Inline(parse_window(cursor)?));
    }
    match cursor.any_name("a window, such as (LAST '7 days')") {
        Ok(name) => Ok(WindowRef::Named(name)),
        Err(error) => Err(error.with_hint("type OVER (LAST '7 days'), or OVER and the name of a WINDOW")),
    }
}

pub(crate) fn parse_named_window(cursor: &mut Cursor) -> Result<NamedWindow> {
    let name = cursor.name()?;
    cursor.expect(&["as"])?;
    Ok(NamedWindow { name, window: parse_window(cursor)? })
}

/// `(…)`
fn parse_window(cursor: &mut Cursor) -> Result<Window> {
    cursor.expect_symbol(&Token::LParen)?;
    let window = if cursor.take(&["last"]) {
        parse_last(cursor)?
    } else if cursor.take(&["lifetime"]) {
        Window::Lifetime
    } else if cursor.take(&["series"]) {
        parse_series(cursor)?
    } else {
        let hint = "type (LAST '7 days'), (LIFETIME) or (SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day')";
        return Err(cursor.expected("LAST, LIFETIME or SERIES").with_hint(hint));
    };
    cursor.expect_symbol(&Token::RParen)?;
    Ok(window)
}

fn parse_last(cursor: &mut Cursor) -> Result<Window> {
    let position = cursor.position();
    let size = parse_duration(cursor)?;
    if size.microseconds <= 0 {
        return Err(refuse(position, "window size must be above zero", "LAST '7 days'"));
    }
    if !cursor.take(&["offset"]) {
        return Ok(Window::Last { size, offset: None });
    }
    let position = cursor.position();
    let offset = parse_duration(cursor)?;
    if offset.microseconds > 0 {
        let hint = format!("OFFSET '-{}'", offset.text);
        return Err(refuse(position, "window offset must not be above zero", &hint));
    }
    Ok(Window::Last { size, offset: Some(offset) })
}

fn parse_series(cursor: &mut Cursor) -> Result<Window> {
    const EXAMPLE: &str = "SERIES FROM '-7 days' TO '0' SIZE '1 day' STEP '1 day'";
    cursor.expect(&["from"])?;
    let start = cursor.position();
    let from = parse_duration(cursor)?;
    cursor.expect(&["to"])?;
    let to = parse_duration(cursor)?;
    if from.microseconds >= to.microseconds || to.microseconds > 0 {
        return Err(refuse(start, "a series must begin before it ends, and end at '0' or before", EXAMPLE));
    }
    cursor.expect(&["size"])?;
    let sizes = cursor.position();
    let size = parse_duration(cursor)?;
    cursor.expect(&["step"])?;
    let step = parse_duration(cursor)?;
    if size.microseconds <= 0 || step.microseconds <= 0 {
        return Err(refuse(sizes, "the size and the step of a series must be above zero", EXAMPLE));
    }
    // Below zero both ends fit into 64 bits, and so does their distance.
    if size.microseconds > to.microseconds.saturating_sub(from.microseconds) {
        return Err(refuse(sizes, "the size of a series' window must not be longer than the series", EXAMPLE));
    }
    Ok(Window::Series { from, to, size, step })
}

fn refuse(position: usize, message: &str, hint: &str) -> ParseError {
    ParseError::new(ParseErrorKind::InvalidParameter, message).at(position).with_hint(hint)
}

/// `'7 days'` or `INTERVAL '7 days'`
pub(crate) fn parse_duration(cursor: &mut Cursor) -> Result<Interval> {
    cursor.take(&["interval"]);
    let position = cursor.position();
    let Some(text) = cursor.take_string() else {
        return Err(cursor.expected("an interval").with_hint("type it in quotes, as '7 days'"));
    };
    parse_interval(&text).map_err(|error| interval_error(error).at(position))
}
