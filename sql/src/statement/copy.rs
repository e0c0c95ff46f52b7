//! `COPY … FROM | TO …`: PostgreSQL's statement in its newer form, its older and its oldest. All of them come out as one
//! list of options; what those mean is not known here.

use std::fmt::{self, Display};

use sqlparser::ast::{Ident, ObjectName, Query};
use sqlparser::tokenizer::Token;

use crate::cursor::{Cursor, Result};
use crate::error::ParseErrorKind;
use crate::name::quote_literal;
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct Copy {
    pub source: CopySource,
    /// FROM: the source is what rows go to.
    pub is_from: bool,
    pub target: CopyTarget,
    pub options: Vec<CopyOption>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum CopySource {
    Query(SqlText<Box<Query>>),
    /// No columns: all of them.
    Relation {
        name: ObjectName,
        columns: Vec<Ident>,
    },
}

/// Where rows come from or go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyTarget {
    /// STDIN or STDOUT: PostgreSQL takes either for both.
    Client,
    File(String),
    Program(String),
}

#[derive(Debug, Clone)]
pub struct CopyOption {
    /// In lower case.
    pub name: String,
    pub value: CopyValue,
    /// In characters of the input from 1.
    pub position: usize,
}

/// Places do not count.
impl PartialEq for CopyOption {
    fn eq(&self, other: &CopyOption) -> bool {
        (&self.name, &self.value) == (&other.name, &other.value)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyValue {
    None,
    /// A word, a number or a string.
    Text(String),
    Columns(Vec<Ident>),
    /// `*`
    All,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Copy> {
    cursor.expect(&["copy"])?;
    let mut options = Vec::new();
    let source = if *cursor.peek() == Token::LParen {
        cursor.advance();
        let query = parse_query(cursor)?;
        cursor.expect_symbol(&Token::RParen)?;
        CopySource::Query(query)
    } else {
        take_word_option(cursor, "binary", &mut options);
        let name = cursor.object_name()?;
        let has_columns = *cursor.peek() == Token::LParen;
        let columns = if has_columns { cursor.parenthesized(Cursor::name)? } else { Vec::new() };
        CopySource::Relation { name, columns }
    };
    let is_from = matches!(source, CopySource::Relation { .. }) && cursor.take(&["from"]);
    if !is_from {
        cursor.expect(&["to"])?;
    }
    let target = parse_target(cursor)?;
    let position = cursor.position();
    if cursor.take(&["using", "delimiters"]) || cursor.take(&["delimiters"]) {
        let value = CopyValue::Text(cursor.string("a delimiter in quotes")?);
        options.push(CopyOption { name: "delimiter".to_owned(), value, position });
    }
    let has_with = cursor.take(&["with"]);
    if *cursor.peek() == Token::LParen {
        options.extend(cursor.parenthesized(parse_option)?);
    } else {
        while let Some(option) = parse_old_option(cursor)? {
            options.push(option);
        }
        if has_with && options.is_empty() && !cursor.at_end() {
            return Err(cursor.expected("an option"));
        }
    }
    if cursor.sees(&["where"]) {
        let (kind, message) = match is_from {
            true => (ParseErrorKind::FeatureNotSupported, "COPY FROM with WHERE is not supported"),
            false => (ParseErrorKind::Syntax, "WHERE clause not allowed with COPY TO"),
        };
        return Err(cursor.error(kind, message));
    }
    Ok(Copy { source, is_from, target, options })
}

fn parse_query(cursor: &mut Cursor) -> Result<SqlText<Box<Query>>> {
    if let Some(word) = ["insert", "update", "delete"].into_iter().find(|word| cursor.sees(&[word])) {
        let message = format!("COPY of {} with RETURNING is not supported", word.to_uppercase());
        return Err(cursor.error(ParseErrorKind::FeatureNotSupported, message));
    }
    cursor.query()
}

fn parse_target(cursor: &mut Cursor) -> Result<CopyTarget> {
    if cursor.take(&["stdin"]) || cursor.take(&["stdout"]) {
        return Ok(CopyTarget::Client);
    }
    if cursor.take(&["program"]) {
        return Ok(CopyTarget::Program(cursor.string("a command in quotes")?));
    }
    Ok(CopyTarget::File(cursor.string("STDIN, STDOUT or a file in quotes")?))
}

/// `name [value]`
fn parse_option(cursor: &mut Cursor) -> Result<CopyOption> {
    let position = cursor.position();
    let name = match cursor.peek() {
        Token::Word(word) if word.quote_style.is_some() => word.value.clone(),
        Token::Word(word) => word.value.to_ascii_lowercase(),
        _ => return Err(cursor.expected("an option")),
    };
    cursor.advance();
    let value = match cursor.peek() {
        Token::Comma | Token::RParen => CopyValue::None,
        Token::Mul => {
            cursor.advance();
            CopyValue::All
        }
        Token::LParen => CopyValue::Columns(cursor.parenthesized(Cursor::name)?),
        Token::Word(word) => {
            let quoted = word.quote_style.is_some();
            let text = if quoted { word.value.clone() } else { word.value.to_ascii_lowercase() };
            cursor.advance();
            CopyValue::Text(text)
        }
        _ => match cursor.take_string().or_else(|| cursor.take_number()) {
            Some(text) => CopyValue::Text(text),
            None => return Err(cursor.expected("a value")),
        },
    };
    Ok(CopyOption { name, value, position })
}

fn take_word_option(cursor: &mut Cursor, word: &str, options: &mut Vec<CopyOption>) -> bool {
    let position = cursor.position();
    let takes = cursor.take(&[word]);
    if takes {
        let name = "format".to_owned();
        options.push(CopyOption { name, value: CopyValue::Text(word.to_owned()), position });
    }
    takes
}

/// One of those that stand without parentheses, in the words of the newer form.
fn parse_old_option(cursor: &mut Cursor) -> Result<Option<CopyOption>> {
    let position = cursor.position();
    let mut formats = Vec::new();
    if take_word_option(cursor, "binary", &mut formats) || take_word_option(cursor, "csv", &mut formats) {
        return Ok(formats.pop());
    }
    let option = |name: &str, value| Ok(Some(CopyOption { name: name.to_owned(), value, position }));
    for name in ["freeze", "header"] {
        if cursor.take(&[name]) {
            return option(name, CopyValue::None);
        }
    }
    for name in ["delimiter", "null", "quote", "escape"] {
        if cursor.take(&[name]) {
            cursor.take(&["as"]);
            return option(name, CopyValue::Text(cursor.string("a text in quotes")?));
        }
    }
    if cursor.take(&["encoding"]) {
        return option("encoding", CopyValue::Text(cursor.string("an encoding in quotes")?));
    }
    if cursor.take(&["force", "quote"]) {
        let value = match cursor.take_symbol(&Token::Mul) {
            true => CopyValue::All,
            false => CopyValue::Columns(cursor.list(Cursor::name)?),
        };
        return option("force_quote", value);
    }
    if cursor.take(&["force", "not", "null"]) {
        return option("force_not_null", CopyValue::Columns(cursor.list(Cursor::name)?));
    }
    if cursor.take(&["force", "null"]) {
        return option("force_null", CopyValue::Columns(cursor.list(Cursor::name)?));
    }
    Ok(None)
}

fn names(columns: &[Ident]) -> String {
    columns.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ")
}

impl Display for CopyOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !text.is_empty();
        match is_plain(&self.name) {
            true => formatter.write_str(&self.name.to_uppercase())?,
            false => write!(formatter, "\"{}\"", self.name.replace('"', "\"\""))?,
        }
        match &self.value {
            CopyValue::None => Ok(()),
            CopyValue::Text(text) if is_plain(text) && self.name == "format" => write!(formatter, " {text}"),
            CopyValue::Text(text) => write!(formatter, " {}", quote_literal(text)),
            CopyValue::Columns(columns) => write!(formatter, " ({})", names(columns)),
            CopyValue::All => formatter.write_str(" *"),
        }
    }
}

impl Display for Copy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            CopySource::Query(query) => write!(formatter, "COPY ({query})")?,
            CopySource::Relation { name, columns } if columns.is_empty() => write!(formatter, "COPY {name}")?,
            CopySource::Relation { name, columns } => write!(formatter, "COPY {name} ({})", names(columns))?,
        }
        formatter.write_str(if self.is_from { " FROM " } else { " TO " })?;
        match &self.target {
            CopyTarget::Client => formatter.write_str(if self.is_from { "STDIN" } else { "STDOUT" })?,
            CopyTarget::File(path) => write!(formatter, "{}", quote_literal(path))?,
            CopyTarget::Program(command) => write!(formatter, "PROGRAM {}", quote_literal(command))?,
        }
        if self.options.is_empty() {
            return Ok(());
        }
        let options: Vec<String> = self.options.iter().map(CopyOption::to_string).collect();
        write!(formatter, " ({})", options.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check("copy T to stdout", "COPY t TO STDOUT");
        check("COPY s.t (a, \"B\") FROM stdout", "COPY s.t (a, \"B\") FROM STDIN");
        check("copy (select 1) to '/x.parquet'", "COPY (select 1) TO '/x.parquet'");
        check("copy t to stdout with (format 'csv', header)", "COPY t TO STDOUT (FORMAT csv, HEADER)");
        check(
            "COPY t TO STDOUT (FORCE_QUOTE (a, b), force_quote *, header match, delimiter E'\\t', header 1)",
            "COPY t TO STDOUT (FORCE_QUOTE (a, b), FORCE_QUOTE *, HEADER 'match', DELIMITER '\t', HEADER '1')",
        );
        check("copy binary t from stdin", "COPY t FROM STDIN (FORMAT binary)");
        check("copy t to stdin with binary", "COPY t TO STDOUT (FORMAT binary)");
        check("copy t to stdout using delimiters '|'", "COPY t TO STDOUT (DELIMITER '|')");
        check(
            "COPY t TO STDOUT CSV HEADER QUOTE AS '''' FORCE QUOTE a, b NULL 'x'",
            "COPY t TO STDOUT (FORMAT csv, HEADER, QUOTE '''', FORCE_QUOTE (a, b), NULL 'x')",
        );
        check("COPY t FROM STDIN CSV FORCE NOT NULL a", "COPY t FROM STDIN (FORMAT csv, FORCE_NOT_NULL (a))");
        check("COPY t FROM PROGRAM 'x' (freeze)", "COPY t FROM PROGRAM 'x' (FREEZE)");
    }

    #[test]
    fn errors_have_places() {
        check_error("COPY t", "syntax error at end of input", 7);
        check_error("COPY t TO STDOUT ()", "syntax error at or near \")\"", 19);
        check_error("COPY (SELECT 1) FROM STDIN", "syntax error at or near \"FROM\"", 17);
        check_error("COPY t TO STDOUT nonsense", "syntax error at or near \"nonsense\"", 18);
        check_error("COPY t TO STDOUT WHERE a", "WHERE clause not allowed with COPY TO", 18);
        check_error("COPY t FROM STDIN WHERE a", "COPY FROM with WHERE is not supported", 19);
    }
}
