//! Cursors: `DECLARE … CURSOR FOR query`, `FETCH` and `MOVE`, `CLOSE`.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, Query};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct Declare {
    pub name: Ident,
    pub binary: bool,
    /// None: not said.
    pub scroll: Option<bool>,
    /// It outlives its transaction.
    pub hold: bool,
    pub query: SqlText<Box<Query>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    pub is_move: bool,
    pub direction: Direction,
    pub name: Ident,
}

/// Which rows, in the four ways that all words for them come down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// None: all that there are.
    Forward(Option<i64>),
    Backward(Option<i64>),
    /// Counted from the first, or with a sign from the last.
    Absolute(i64),
    Relative(i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// None: all of them.
    pub name: Option<Ident>,
}

pub(crate) fn parse_declare(cursor: &mut Cursor) -> Result<Declare> {
    cursor.expect(&["declare"])?;
    let name = cursor.any_name("a cursor's name")?;
    let (mut binary, mut scroll, mut insensitive) = (false, None, None);
    loop {
        if cursor.take(&["binary"]) {
            binary = true;
        } else if let Some(said) = take_switch(cursor, &["no", "scroll"], &["scroll"]) {
            check_agrees(cursor, scroll.replace(!said), !said, "SCROLL and NO SCROLL")?;
        } else if let Some(said) = take_switch(cursor, &["insensitive"], &["asensitive"]) {
            // every cursor reads the rows as they were when it was declared
            check_agrees(cursor, insensitive.replace(said), said, "INSENSITIVE and ASENSITIVE")?;
        } else {
            break;
        }
    }
    cursor.expect(&["cursor"])?;
    let hold = cursor.take(&["with", "hold"]);
    if !hold {
        cursor.take(&["without", "hold"]);
    }
    cursor.expect(&["for"])?;
    Ok(Declare { name, binary, scroll, hold, query: cursor.query()? })
}

/// True for the first words, false for the others.
fn take_switch(cursor: &mut Cursor, on: &[&str], off: &[&str]) -> Option<bool> {
    if cursor.take(on) {
        return Some(true);
    }
    cursor.take(off).then_some(false)
}

fn check_agrees(cursor: &Cursor, before: Option<bool>, now: bool, both: &str) -> Result<()> {
    match before {
        Some(before) if before != now => {
            Err(cursor.error(ParseErrorKind::InvalidCursorDefinition, format!("cannot specify both {both}")))
        }
        _ => Ok(()),
    }
}

/// FETCH or MOVE.
pub(crate) fn parse_fetch(cursor: &mut Cursor) -> Result<Fetch> {
    let is_move = cursor.take(&["move"]);
    if !is_move {
        cursor.expect(&["fetch"])?;
    }
    // any of the words may be a cursor's name, too, if it is the last one
    let direction = match *cursor.peek_nth(1) == Token::EOF {
        true => Direction::Forward(Some(1)),
        false => parse_direction(cursor)?,
    };
    if !cursor.take(&["from"]) {
        cursor.take(&["in"]);
    }
    Ok(Fetch { is_move, direction, name: cursor.any_name("a cursor's name")? })
}

fn parse_direction(cursor: &mut Cursor) -> Result<Direction> {
    const WORDS: [(&str, Direction); 5] = [
        ("next", Direction::Forward(Some(1))),
        ("prior", Direction::Backward(Some(1))),
        ("first", Direction::Absolute(1)),
        ("last", Direction::Absolute(-1)),
        ("all", Direction::Forward(None)),
    ];
    if let Some((_, direction)) = WORDS.into_iter().find(|(word, _)| cursor.take(&[word])) {
        return Ok(direction);
    }
    if cursor.take(&["absolute"]) {
        return Ok(Direction::Absolute(signed(cursor)?));
    }
    if cursor.take(&["relative"]) {
        return Ok(Direction::Relative(signed(cursor)?));
    }
    if cursor.take(&["forward"]) {
        return Ok(Direction::Forward(count(cursor)?));
    }
    if cursor.take(&["backward"]) {
        return Ok(Direction::Backward(count(cursor)?));
    }
    match is_number(cursor) {
        true => Ok(Direction::Forward(Some(signed(cursor)?))),
        false => Ok(Direction::Forward(Some(1))),
    }
}

fn count(cursor: &mut Cursor) -> Result<Option<i64>> {
    if cursor.take(&["all"]) {
        return Ok(None);
    }
    if is_number(cursor) { signed(cursor).map(Some) } else { Ok(Some(1)) }
}

fn is_number(cursor: &Cursor) -> bool {
    matches!(cursor.peek(), Token::Number(..) | Token::Plus | Token::Minus)
}

/// As far as 32 bits go, as in PostgreSQL.
fn signed(cursor: &mut Cursor) -> Result<i64> {
    let error = cursor.expected("a whole number");
    let number = cursor.take_number().and_then(|number| number.parse::<i32>().ok());
    number.map(i64::from).ok_or(error)
}

pub(crate) fn parse_close(cursor: &mut Cursor) -> Result<Close> {
    cursor.expect(&["close"])?;
    let name = if cursor.take(&["all"]) { None } else { Some(cursor.any_name("a cursor's name")?) };
    Ok(Close { name })
}

impl Display for Declare {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Declare { name, query, .. } = self;
        let binary = if self.binary { " BINARY" } else { "" };
        let scroll = match self.scroll {
            Some(true) => " SCROLL",
            Some(false) => " NO SCROLL",
            None => "",
        };
        let hold = if self.hold { " WITH HOLD" } else { "" };
        write!(formatter, "DECLARE {name}{binary}{scroll} CURSOR{hold} FOR {query}")
    }
}

impl Display for Fetch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_move { "MOVE " } else { "FETCH " })?;
        match self.direction {
            Direction::Forward(None) => formatter.write_str("ALL")?,
            Direction::Forward(Some(count)) => write!(formatter, "{count}")?,
            Direction::Backward(None) => formatter.write_str("BACKWARD ALL")?,
            Direction::Backward(Some(count)) => write!(formatter, "BACKWARD {count}")?,
            Direction::Absolute(place) => write!(formatter, "ABSOLUTE {place}")?,
            Direction::Relative(places) => write!(formatter, "RELATIVE {places}")?,
        }
        write!(formatter, " FROM {}", self.name)
    }
}

impl Display for Close {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "CLOSE {name}"),
            None => formatter.write_str("CLOSE ALL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("declare C cursor for select 1", "DECLARE c CURSOR FOR select 1");
        check(
            "declare c no scroll insensitive binary cursor with hold for values (1)",
            "DECLARE c BINARY NO SCROLL CURSOR WITH HOLD FOR values (1)",
        );
        check("DECLARE c SCROLL CURSOR WITHOUT HOLD FOR TABLE t", "DECLARE c SCROLL CURSOR FOR TABLE t");
        for (typed, printed) in [
            ("fetch c", "FETCH 1 FROM c"),
            ("fetch next", "FETCH 1 FROM next"),
            ("FETCH FROM c", "FETCH 1 FROM c"),
            ("FETCH NEXT IN c", "FETCH 1 FROM c"),
            ("FETCH -3 c", "FETCH -3 FROM c"),
            ("FETCH ALL c", "FETCH ALL FROM c"),
            ("FETCH FORWARD c", "FETCH 1 FROM c"),
            ("FETCH FORWARD ALL FROM c", "FETCH ALL FROM c"),
            ("FETCH BACKWARD 2 FROM c", "FETCH BACKWARD 2 FROM c"),
            ("FETCH PRIOR FROM c", "FETCH BACKWARD 1 FROM c"),
            ("FETCH FIRST FROM c", "FETCH ABSOLUTE 1 FROM c"),
            ("FETCH LAST FROM c", "FETCH ABSOLUTE -1 FROM c"),
            ("MOVE RELATIVE -2 IN c", "MOVE RELATIVE -2 FROM c"),
            ("MOVE BACKWARD ALL c", "MOVE BACKWARD ALL FROM c"),
            ("close C", "CLOSE c"),
            ("CLOSE ALL", "CLOSE ALL"),
        ] {
            check(typed, printed);
        }
    }

    #[test]
    fn errors_have_places() {
        check_error("FETCH", "syntax error at end of input", 6);
        check_error("FETCH ABSOLUTE x FROM c", "syntax error at or near \"x\"", 16);
        check_error("FETCH 3000000000 FROM c", "syntax error at or near \"3000000000\"", 7);
        check_error("DECLARE c SCROLL NO SCROLL CURSOR FOR SELECT 1", "cannot specify both SCROLL and NO SCROLL", 28);
        check_error("MOVE", "syntax error at end of input", 5);
    }
}
