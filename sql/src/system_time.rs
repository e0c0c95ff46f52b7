//! `FOR SYSTEM_TIME AS OF t` and `FOR SYSTEM_TIME FROM a TO b` behind a table's name.
//! sqlparser knows only the first; the second is handed to it as the first with a call in place of the time,
//! and `time_of` turns that back, so that nobody else sees the call.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, TableFactor, TableVersion};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Word};

use crate::cursor::{Cursor, Result};
use crate::dialect::GranaryDialect;
use crate::error::ParseError;
use crate::source::{Source, is_word, too_complex};

/// The call that stands for `FROM a TO b`.
const HISTORY: &str = "granary_history";

/// Tables that one statement may read at a time: each costs a pass over the tokens behind it.
const MAX_TIMES: usize = 500;

/// The time that a table is read at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a statement has a few of them")]
pub enum SystemTime {
    AsOf(Expr),
    /// `[start, end)`
    Between {
        start: Expr,
        end: Expr,
    },
}

/// What `FOR SYSTEM_TIME` says of a table; None if the table is read as of now.
pub fn time_of(table: &TableFactor) -> Option<SystemTime> {
    let TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } = table else {
        return None;
    };
    Some(match history_of(time) {
        Some((start, end)) => SystemTime::Between { start: start.clone(), end: end.clone() },
        None => SystemTime::AsOf(time.clone()),
    })
}

fn history_of(time: &Expr) -> Option<(&Expr, &Expr)> {
    let Expr::Function(function) = time else {
        return None;
    };
    let is_history = function.name.0.len() == 1 && function.name.to_string() == HISTORY;
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(start)), FunctionArg::Unnamed(FunctionArgExpr::Expr(end))]
            if is_history =>
        {
            Some((start, end))
        }
        _ => None,
    }
}

/// Whether a statement reads a table at a time.
pub(crate) fn is_versioned(tokens: &[TokenWithSpan]) -> bool {
    (0..tokens.len()).any(|index| is_system_time(tokens, index))
}

/// Whether `FOR SYSTEM_TIME` stands at `index`.
fn is_system_time(tokens: &[TokenWithSpan], index: usize) -> bool {
    is_word(&tokens[index].token, "for")
        && solid(tokens, index, 1).is_some_and(|next| is_word(&tokens[next].token, "system_time"))
}

/// The index of the nth token after `index` that is not blank.
fn solid(tokens: &[TokenWithSpan], index: usize, nth: usize) -> Option<usize> {
    let is_solid = |position: &usize| !matches!(tokens[*position].token, Token::Whitespace(_));
    (index + 1..tokens.len()).filter(is_solid).nth(nth - 1)
}

/// The tokens as sqlparser can read them. All places stay as they are in the text.
pub(crate) fn adapt(
    source: &Source,
    dialect: &GranaryDialect,
    mut tokens: Vec<TokenWithSpan>,
    end: Location,
) -> Result<Vec<TokenWithSpan>> {
    let times = (0..tokens.len()).filter(|index| is_system_time(&tokens, *index)).count();
    if times > MAX_TIMES {
        return Err(too_complex().at(source.position(tokens[0].span.start)));
    }
    free_alias_words(&mut tokens);
    // From the back, so that times inside of times are done first and indexes in front stay right.
    for index in (0..tokens.len()).rev() {
        if !is_system_time(&tokens, index) {
            continue;
        }
        let next = solid(&tokens, index, 2);
        let is_word_at = |at: Option<usize>, word| at.is_some_and(|at: usize| is_word(&tokens[at].token, word));
        if is_word_at(next, "as") && is_word_at(solid(&tokens, index, 3), "of") {
            continue;
        }
        match next.filter(|next| is_word(&tokens[*next].token, "from")) {
            Some(from) => rewrite_history(source, dialect, &mut tokens, from, end)?,
            None => {
                let location = next.map_or(end, |next| tokens[next].span.start);
                let error = source.unexpected(location).with_detail("expected AS OF or FROM");
                return Err(
                    error.with_hint("type FOR SYSTEM_TIME AS OF '2024-01-31', or FROM '2024-01-01' TO '2024-02-01'")
                );
            }
        }
    }
    Ok(tokens)
}

/// Adds what to type to the error of an alias in front of the time.
pub(crate) fn explain(source: &Source, error: ParseError) -> ParseError {
    if source.reads_at(error.position, "system_time") {
        error.with_hint("the alias comes after the time: v FOR SYSTEM_TIME AS OF t AS f")
    } else {
        error
    }
}

/// With table versions on, sqlparser takes AT, BEFORE and CHANGES for versions of other databases; here they are aliases.
fn free_alias_words(tokens: &mut [TokenWithSpan]) {
    for index in 0..tokens.len() {
        let follows_zone = solid(tokens, index, 1)
            .is_some_and(|next| is_word(&tokens[next].token, "time") || is_word(&tokens[next].token, "local"));
        if let Token::Word(word) = &mut tokens[index].token {
            let is_at = word.keyword == Keyword::AT && !follows_zone;
            if is_at || matches!(word.keyword, Keyword::BEFORE | Keyword::CHANGES) {
                word.keyword = Keyword::NoKeyword;
            }
        }
    }
}

/// `FROM a TO b` at `from` becomes `AS OF granary_history(a, b)`.
fn rewrite_history(
    source: &Source,
    dialect: &GranaryDialect,
    tokens: &mut Vec<TokenWithSpan>,
    from: usize,
    end: Location,
) -> Result<()> {
    let stop = group_end(tokens, from + 1);
    let stop_location = tokens.get(stop).map_or(end, |token| token.span.start);
    let mut cursor = Cursor::new(source, dialect, tokens[from + 1..stop].to_vec(), stop_location);
    cursor.expression()?;
    let to = from + 1 + cursor.index();
    if !cursor.take(&["to"]) {
        let error = cursor.expected("TO and the end of the time");
        return Err(error.with_hint("type FOR SYSTEM_TIME FROM '2024-01-01' TO '2024-02-01'"));
    }
    cursor.expression()?;
    let close = from + 1 + cursor.consumed_index();
    let span_from = tokens[from].span;
    let span_close = tokens[close].span;
    let at = |token, span| TokenWithSpan { token, span };
    let word = |value: &str, keyword| Token::Word(Word { value: value.to_string(), quote_style: None, keyword });
    tokens.insert(close + 1, at(Token::RParen, span_close));
    tokens[to].token = Token::Comma;
    tokens.splice(
        from..=from,
        [
            at(word("AS", Keyword::AS), span_from),
            at(word("OF", Keyword::OF), span_from),
            at(word(HISTORY, Keyword::NoKeyword), span_from),
            at(Token::LParen, span_from),
        ],
    );
    Ok(())
}

/// Where the parentheses around `start` close, or the next table is read at a time: the expressions end before.
fn group_end(tokens: &[TokenWithSpan], start: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(start) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => return index,
            Token::RParen => depth -= 1,
            Token::Word(_) if depth == 0 && is_system_time(tokens, index) => return index,
            _ => {}
        }
    }
    tokens.len()
}
