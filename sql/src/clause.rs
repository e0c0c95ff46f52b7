//! The clauses that definitions share, in any order, each at most once.
//! A statement says which it allows and which it needs; what they mean is not known here.

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::column::{Column, parse_columns};
use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::feature::{FeatureItem, parse_features};
use crate::option::{Options, closest, parse_options};
use crate::window::{NamedWindow, parse_named_window};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clause {
    Entity,
    Timestamp,
    AggregateBy,
    Features,
    Window,
    Request,
    DeduplicateBy,
    Backfill,
    With,
    Comment,
}

impl Clause {
    /// How it begins.
    fn words(self) -> &'static [&'static str] {
        match self {
            Clause::Entity => &["entity"],
            Clause::Timestamp => &["timestamp"],
            Clause::AggregateBy => &["aggregate", "by"],
            Clause::Features => &["features"],
            Clause::Window => &["window"],
            Clause::Request => &["request"],
            Clause::DeduplicateBy => &["deduplicate", "by"],
            Clause::Backfill => &["backfill", "from"],
            Clause::With => &["with"],
            Clause::Comment => &["comment"],
        }
    }

    fn title(self) -> String {
        self.words().join(" ").to_uppercase()
    }

    fn example(self) -> &'static str {
        match self {
            Clause::Entity => "ENTITY customer",
            Clause::Timestamp => "TIMESTAMP ts",
            Clause::AggregateBy => "AGGREGATE BY merchant",
            Clause::Features => "FEATURES (count(*) OVER (LAST '1 day') AS count_1d)",
            Clause::Window => "WINDOW week AS (LAST '7 days')",
            Clause::Request => "REQUEST (amount float8)",
            Clause::DeduplicateBy => "DEDUPLICATE BY (id)",
            Clause::Backfill => "BACKFILL FROM source",
            Clause::With => "WITH (owner = 'me')",
            Clause::Comment => "COMMENT 'text'",
        }
    }
}

/// The source that a stream's past comes from, and up to when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    pub source: ObjectName,
    /// The timestamp's text.
    pub until: Option<String>,
}

#[derive(Default)]
pub(crate) struct Clauses {
    /// Those that were there, in order.
    given: Vec<Clause>,
    pub(crate) entities: Vec<ObjectName>,
    pub(crate) timestamp: Option<Ident>,
    pub(crate) aggregate_by: Option<Ident>,
    pub(crate) features: Option<Vec<FeatureItem>>,
    pub(crate) windows: Vec<NamedWindow>,
    pub(crate) request: Vec<Column>,
    pub(crate) deduplicate_by: Vec<Ident>,
    pub(crate) backfill: Option<Backfill>,
    pub(crate) options: Options,
    pub(crate) comment: Option<String>,
}

impl Clauses {
    /// Reads the allowed clauses that come next.
    pub(crate) fn parse(&mut self, cursor: &mut Cursor, allowed: &[Clause]) -> Result<()> {
        while let Some(clause) = allowed.iter().copied().find(|clause| cursor.sees(clause.words())) {
            if self.given.contains(&clause) {
                let message = format!("{} is given more than once", clause.title());
                return Err(cursor
                    .error(ParseErrorKind::Syntax, message)
                    .with_hint(format!("keep one {}", clause.title())));
            }
            self.given.push(clause);
            cursor.take(clause.words());
            self.parse_body(cursor, clause)?;
        }
        Ok(())
    }

    fn parse_body(&mut self, cursor: &mut Cursor, clause: Clause) -> Result<()> {
        match clause {
            Clause::Entity => self.entities = cursor.list(Cursor::object_name)?,
            Clause::Timestamp => self.timestamp = Some(cursor.any_name("the name of the time column")?),
            Clause::AggregateBy => self.aggregate_by = Some(cursor.any_name("a column's name")?),
            Clause::Features => self.features = Some(parse_features(cursor)?),
            Clause::Window => self.windows = parse_windows(cursor)?,
            Clause::Request => self.request = parse_columns(cursor)?,
            Clause::DeduplicateBy => self.deduplicate_by = cursor.parenthesized(Cursor::name)?,
            Clause::Backfill => self.backfill = Some(parse_backfill(cursor)?),
            Clause::With => self.options = parse_options(cursor)?,
            Clause::Comment => self.comment = Some(cursor.string("a comment in quotes")?),
        }
        Ok(())
    }

    /// The error of a definition that lacks a clause, at the next token.
    pub(crate) fn need(&self, cursor: &Cursor, clause: Clause, kind: &str) -> Result<()> {
        if self.given.contains(&clause) {
            return Ok(());
        }
        let message = format!("a {kind} needs a clause {}", clause.title());
        Err(cursor.error(ParseErrorKind::Syntax, message).with_hint(format!("add {}", clause.example())))
    }
}

fn parse_windows(cursor: &mut Cursor) -> Result<Vec<NamedWindow>> {
    let windows = cursor.list(|cursor| Ok((cursor.position(), parse_named_window(cursor)?)))?;
    for (index, (position, window)) in windows.iter().enumerate() {
        if windows[..index].iter().any(|(_, earlier)| earlier.name == window.name) {
            let message = format!("window \"{}\" is already defined", window.name.value);
            return Err(ParseError::new(ParseErrorKind::Syntax, message)
                .at(*position)
                .with_hint("give it another name"));
        }
    }
    Ok(windows.into_iter().map(|(_, window)| window).collect())
}

/// After `BACKFILL FROM`: `source [UNTIL 'timestamp']`
fn parse_backfill(cursor: &mut Cursor) -> Result<Backfill> {
    let source = cursor.object_name()?;
    if !cursor.take(&["until"]) {
        return Ok(Backfill { source, until: None });
    }
    cursor.take(&["timestamp"]);
    let position = cursor.position();
    let until = cursor.string("a timestamp in quotes")?;
    match crate::timestamp::parse_timestamp(&until) {
        Ok(_) => Ok(Backfill { source, until: Some(until) }),
        Err(error) => Err(crate::option::timestamp_error(error).at(position)),
    }
}

/// The error of a word that begins no clause: what may follow (`ENTITY, TIMESTAMP or AS`), and what was likely meant.
pub(crate) fn unexpected(cursor: &Cursor, allowed: &[Clause], last: &str) -> ParseError {
    let titles: Vec<String> = allowed.iter().map(|clause| clause.title()).collect();
    let error = cursor.expected(&format!("{} or {last}", titles.join(", ")));
    let words: Vec<&str> = allowed.iter().filter_map(|clause| clause.words().first().copied()).collect();
    match cursor.peek() {
        Token::Word(word) => match closest(&word.value.to_lowercase(), &words) {
            Some(near) if !word.value.eq_ignore_ascii_case(near) => {
                error.with_hint(format!("did you mean {}?", near.to_uppercase()))
            }
            _ => error,
        },
        _ => error,
    }
}

/// The parts of a statement's print that come from clauses.
pub(crate) struct Printed(Vec<String>);

impl Printed {
    pub(crate) fn new(head: String) -> Printed {
        Printed(vec![head])
    }

    pub(crate) fn line(&mut self, line: String) -> &mut Printed {
        self.0.push(line);
        self
    }

    pub(crate) fn options(&mut self, options: &Options) -> &mut Printed {
        if !options.is_empty() {
            self.0.push(format!("WITH {options}"));
        }
        self
    }

    pub(crate) fn comment(&mut self, comment: &Option<String>) -> &mut Printed {
        if let Some(comment) = comment {
            self.0.push(format!("COMMENT {}", crate::name::quote_literal(comment)));
        }
        self
    }

    /// The last line, at the margin.
    pub(crate) fn query(&mut self, query: &impl std::fmt::Display) -> &mut Printed {
        let last = self.0.pop().unwrap_or_default();
        self.0.push(format!("{last}\nAS {query}"));
        self
    }

    pub(crate) fn write(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join("\n  "))
    }
}
