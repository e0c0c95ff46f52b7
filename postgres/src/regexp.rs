//! PostgreSQL's regular expressions, of the advanced kind: the longest match of those that begin first, or the shortest if
//! the expression prefers it, and the same for its parts from left to right.

mod matcher;
mod parser;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// A set of characters.
#[derive(Debug, Clone, Default, PartialEq)]
struct Class {
    ranges: Vec<(char, char)>,
    named: Vec<Named>,
    negated: bool,
}

/// A class of characters that has a name; negated as in `\D`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Named {
    name: &'static str,
    negated: bool,
}

impl Named {
    fn has(self, character: char) -> bool {
        let has = match self.name {
            "alpha" => character.is_alphabetic(),
            "alnum" => character.is_alphanumeric(),
            "digit" => character.is_ascii_digit(),
            "xdigit" => character.is_ascii_hexdigit(),
            "lower" => character.is_lowercase(),
            "upper" => character.is_uppercase(),
            "space" => character.is_whitespace(),
            "blank" => matches!(character, ' ' | '\t'),
            "punct" => character.is_ascii_punctuation(),
            "cntrl" => character.is_control(),
            "graph" => !character.is_whitespace() && !character.is_control(),
            "print" => !character.is_control(),
            "word" => character.is_alphanumeric() || character == '_',
            _ => false,
        };
        has != self.negated
    }
}

impl Class {
    fn has(&self, character: char, ignores_case: bool) -> bool {
        let plain = |character: char| {
            self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&character))
                || self.named.iter().any(|named| named.has(character))
        };
        let has =
            plain(character) || (ignores_case && (plain(lower(character)) || character.to_uppercase().any(plain)));
        has != self.negated
    }
}

fn lower(character: char) -> char {
    character.to_lowercase().next().unwrap_or(character)
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Empty,
    Char(char),
    Class(Class),
    /// any but a line break, if it says so
    Any {
        but_newline: bool,
    },
    Concat(Vec<Node>),
    Alternatives(Vec<Node>),
    Repeat {
        inner: Box<Node>,
        least: u32,
        most: Option<u32>,
    },
    Group {
        number: Option<usize>,
        inner: Box<Node>,
    },
    BackReference(usize),
    LineStart,
    LineEnd,
    TextStart,
    TextEnd,
    WordStart,
    WordEnd,
    WordEdge {
        negated: bool,
    },
    Look {
        inner: Box<Node>,
        ahead: bool,
        negated: bool,
    },
}

/// Whether a part takes as much as it can, or as little; None if it does not care.
type Prefers = Option<bool>;

#[derive(Debug, Clone, PartialEq)]
struct Node {
    /// differs between all of an expression
    id: usize,
    kind: Kind,
    prefers_longest: Prefers,
    /// whether groups or references stand in it
    has_groups: bool,
}

/// A regular expression ready to be used.
#[derive(Debug)]
pub struct Regexp {
    root: Node,
    pub n_groups: usize,
    ignores_case: bool,
    by_line: bool,
    /// what finds where a match begins, where the regex crate can
    fast: Option<Regex>,
}

/// A text to search, by its characters.
pub struct Haystack<'t> {
    text: &'t str,
    characters: Vec<char>,
    /// of each character, and of the end
    offsets: Vec<usize>,
}

impl<'t> Haystack<'t> {
    pub fn new(text: &'t str) -> Haystack<'t> {
        let offsets = text.char_indices().map(|(offset, _)| offset).chain([text.len()]).collect();
        Haystack { text, characters: text.chars().collect(), offsets }
    }

    pub fn len(&self) -> usize {
        self.characters.len()
    }

    /// The characters from one place to another.
    pub fn part(&self, from: usize, to: usize) -> &'t str {
        &self.text[self.offsets[from]..self.offsets[to]]
    }
}

/// Where a match and its groups stand, in characters.
#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    pub start: usize,
    pub end: usize,
    pub groups: Vec<Option<(usize, usize)>>,
}

/// Errors: 2201B for the pattern, 22023 for a flag.
pub fn compile(pattern: &str, flags: &str) -> Result<Arc<Regexp>> {
    const MOST_KEPT: usize = 64;
    thread_local! {
        static KEPT: RefCell<HashMap<(String, String), Arc<Regexp>>> = RefCell::default();
    }
    let key = (pattern.to_owned(), flags.to_owned());
    if let Some(found) = KEPT.with_borrow(|kept| kept.get(&key).cloned()) {
        return Ok(found);
    }
    let compiled = Arc::new(parser::parse(pattern, flags)?);
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&compiled));
    });
    Ok(compiled)
}

fn invalid(reason: &str) -> Error {
    Error::new("2201B", format!("invalid regular expression: {reason}"))
}

impl Regexp {
    fn new(root: Node, n_groups: usize, ignores_case: bool, by_line: bool) -> Regexp {
        let mut pattern = String::new();
        let fast = translate(&root, by_line, &mut pattern)
            .and_then(|()| RegexBuilder::new(&pattern).case_insensitive(ignores_case).size_limit(1 << 20).build().ok());
        Regexp { root, n_groups, ignores_case, by_line, fast }
    }

    pub fn is_match(&self, text: &str) -> Result<bool> {
        match &self.fast {
            Some(fast) => Ok(fast.is_match(text)),
            None => Ok(self.find(&Haystack::new(text), 0)?.is_some()),
        }
    }

    /// The first match from a place on. Errors: 54000 if it takes too long to find.
    pub fn find(&self, haystack: &Haystack<'_>, from: usize) -> Result<Option<Match>> {
        let mut from = from;
        if let Some(fast) = &self.fast {
            let Some(found) = fast.find_at(haystack.text, haystack.offsets[from]) else { return Ok(None) };
            from = haystack.offsets.partition_point(|offset| *offset < found.start());
        }
        let mut matcher = matcher::Matcher::new(self, &haystack.characters);
        for start in from..=haystack.len() {
            if let Some(found) = matcher.match_at(start)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The same language for the regex crate; None if it has no such thing.
fn translate(node: &Node, by_line: bool, out: &mut String) -> Option<()> {
    match &node.kind {
        Kind::Empty => out.push_str("(?:)"),
        Kind::Char(character) => out.push_str(&regex::escape(&character.to_string())),
        Kind::Class(class) => {
            // sets are those of `Named::has`
            out.push_str(if class.negated { "[^" } else { "[" });
            for (first, last) in &class.ranges {
                out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(*first), u32::from(*last)));
            }
            for named in &class.named {
                let (set, complement) = match named.name {
                    "alpha" => ("\\p{Alphabetic}", "\\P{Alphabetic}"),
                    "alnum" => ("[\\p{Alphabetic}\\p{N}]", "[^\\p{Alphabetic}\\p{N}]"),
                    "digit" => ("0-9", "[^0-9]"),
                    "xdigit" => ("0-9A-Fa-f", "[^0-9A-Fa-f]"),
                    "lower" => ("\\p{Lowercase}", "\\P{Lowercase}"),
                    "upper" => ("\\p{Uppercase}", "\\P{Uppercase}"),
                    "space" => ("\\p{White_Space}", "\\P{White_Space}"),
                    "word" => ("[\\p{Alphabetic}\\p{N}_]", "[^\\p{Alphabetic}\\p{N}_]"),
                    _ => return None,
                };
                out.push_str(if named.negated { complement } else { set });
            }
            if class.ranges.is_empty() && class.named.is_empty() {
                return None;
            }
            out.push(']');
        }
        Kind::Any { but_newline: true } => out.push_str("[^\\n]"),
        Kind::Any { .. } => out.push_str("(?s:.)"),
        Kind::Concat(parts) => parts.iter().try_for_each(|part| translate(part, by_line, out))?,
        Kind::Alternatives(parts) => {
            out.push_str("(?:");
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                translate(part, by_line, out)?;
            }
            out.push(')');
        }
        Kind::Repeat { inner, least, most } => {
            out.push_str("(?:");
            translate(inner, by_line, out)?;
            out.push(')');
            match most {
                None => out.push_str(&format!("{{{least},}}")),
                Some(most) => out.push_str(&format!("{{{least},{most}}}")),
            }
        }
        Kind::Group { inner, .. } => {
            out.push_str("(?:");
            translate(inner, by_line, out)?;
            out.push(')');
        }
        Kind::LineStart => out.push_str(if by_line { "(?m:^)" } else { "\\A" }),
        Kind::LineEnd => out.push_str(if by_line { "(?m:$)" } else { "\\z" }),
        Kind::TextStart => out.push_str("\\A"),
        Kind::TextEnd => out.push_str("\\z"),
        Kind::BackReference(_) | Kind::Look { .. } | Kind::WordStart | Kind::WordEnd | Kind::WordEdge { .. } => {
            return None;
        }
    }
    Some(())
}
