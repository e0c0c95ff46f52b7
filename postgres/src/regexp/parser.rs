//! From text to a regular expression.

use super::{Class, Kind, Named, Node, Prefers, Regexp, invalid};
use crate::error::{Error, Result};

/// What flags and options say.
#[derive(Debug, Clone, Copy)]
struct Options {
    ignores_case: bool,
    /// `.` and negated brackets match no line break
    stops_at_newline: bool,
    /// `^` and `$` match at line breaks
    by_line: bool,
    is_expanded: bool,
    is_literal: bool,
    is_advanced: bool,
}

impl Options {
    /// None if there is no such option.
    fn set(&mut self, flag: char) -> Result<Option<()>> {
        match flag {
            'i' => self.ignores_case = true,
            'c' => self.ignores_case = false,
            'n' | 'm' => (self.stops_at_newline, self.by_line) = (true, true),
            'p' => (self.stops_at_newline, self.by_line) = (true, false),
            'w' => (self.stops_at_newline, self.by_line) = (false, true),
            's' => (self.stops_at_newline, self.by_line) = (false, false),
            'x' => self.is_expanded = true,
            't' => self.is_expanded = false,
            'q' => (self.is_literal, self.is_advanced) = (true, false),
            'e' => self.is_advanced = false,
            'b' => return Err(Error::not_supported("a basic regular expression")),
            _ => return Ok(None),
        }
        Ok(Some(()))
    }
}

pub fn parse(pattern: &str, flags: &str) -> Result<Regexp> {
    let mut options = Options {
        ignores_case: false,
        stops_at_newline: false,
        by_line: false,
        is_expanded: false,
        is_literal: false,
        is_advanced: true,
    };
    for flag in flags.chars() {
        options
            .set(flag)?
            .ok_or_else(|| Error::new("22023", format!("invalid regular expression option: \"{flag}\"")))?;
    }
    let mut rest = pattern;
    if let Some(after) = rest.strip_prefix("***") {
        match after.chars().next() {
            Some('=') => options.is_literal = true,
            Some(':') => (options.is_literal, options.is_advanced) = (false, true),
            _ => return Err(invalid("quantifier operand invalid")),
        }
        rest = &after[1..];
    }
    if !options.is_literal
        && options.is_advanced
        && let Some(inner) = rest.strip_prefix("(?")
        && inner.starts_with(|c: char| c.is_ascii_alphabetic())
    {
        let end = inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len());
        if !inner[end..].starts_with(')') {
            return Err(invalid("invalid embedded option"));
        }
        for flag in inner[..end].chars() {
            options.set(flag)?.ok_or_else(|| invalid("invalid embedded option"))?;
        }
        rest = &inner[end + 1..];
    }
    let mut parser = Parser {
        characters: rest.chars().collect(),
        at: 0,
        options,
        n_groups: 0,
        closed: Vec::new(),
        next_id: 0,
        depth: 0,
    };
    let root = if options.is_literal {
        let parts: Vec<Node> =
            parser.characters.clone().into_iter().map(|character| parser.node(Kind::Char(character), None)).collect();
        parser.concat(parts)
    } else {
        let root = parser.alternatives(true)?;
        if parser.at < parser.characters.len() {
            return Err(invalid("parentheses () not balanced"));
        }
        root
    };
    Ok(Regexp::new(root, parser.n_groups, options.ignores_case, options.by_line))
}

struct Parser {
    characters: Vec<char>,
    at: usize,
    options: Options,
    n_groups: usize,
    /// groups that references may name
    closed: Vec<usize>,
    next_id: usize,
    depth: usize,
}

const DEPTH_LIMIT: usize = 200;

impl Parser {
    fn node(&mut self, kind: Kind, prefers_longest: Prefers) -> Node {
        let has_groups = match &kind {
            Kind::Concat(parts) | Kind::Alternatives(parts) => parts.iter().any(|part| part.has_groups),
            Kind::Repeat { inner, .. } => inner.has_groups,
            Kind::Group { number, inner } => number.is_some() || inner.has_groups,
            Kind::BackReference(_) => true,
            _ => false,
        };
        self.next_id += 1;
        Node { id: self.next_id, kind, prefers_longest, has_groups }
    }

    /// Parts in a row prefer what the first of them prefers that does. Each tail is a node of its own.
    fn concat(&mut self, parts: Vec<Node>) -> Node {
        let mut parts = parts.into_iter().rev();
        let Some(mut tail) = parts.next() else { return self.node(Kind::Empty, None) };
        for part in parts {
            let prefers = part.prefers_longest.or(tail.prefers_longest);
            tail = self.node(Kind::Concat(vec![part, tail]), prefers);
        }
        tail
    }

    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let n = wanted.chars().count();
        let found =
            self.characters.get(self.at..self.at + n).is_some_and(|next| next.iter().copied().eq(wanted.chars()));
        if found {
            self.at += n;
        }
        found
    }

    /// Over comments, and over blanks if they do not count.
    fn skip(&mut self) {
        loop {
            if self.options.is_advanced && self.take("(?#") {
                while self.peek().is_some_and(|character| character != ')') {
                    self.at += 1;
                }
                self.at += 1;
            } else if self.options.is_expanded && self.peek().is_some_and(char::is_whitespace) {
                self.at += 1;
            } else if self.options.is_expanded && self.peek() == Some('#') {
                while self.peek().is_some_and(|character| character != '\n') {
                    self.at += 1;
                }
            } else {
                return;
            }
        }
    }

    fn alternatives(&mut self, captures: bool) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(invalid("regular expression is too complex"));
        }
        let mut branches = vec![self.branch(captures)?];
        while self.peek() == Some('|') {
            self.at += 1;
            branches.push(self.branch(captures)?);
        }
        self.depth -= 1;
        if branches.len() == 1 {
            return Ok(branches.remove(0));
        }
        Ok(self.node(Kind::Alternatives(branches), Some(true)))
    }

    fn branch(&mut self, captures: bool) -> Result<Node> {
        let mut parts = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                None | Some('|') => break,
                Some(')') if self.depth > 1 || self.options.is_advanced => break,
                Some(_) => {}
            }
            let atom = self.atom(captures)?;
            let quantified = self.quantified(atom)?;
            parts.push(quantified);
        }
        Ok(self.concat(parts))
    }

    fn quantified(&mut self, atom: Node) -> Result<Node> {
        self.skip();
        let is_constraint = matches!(
            atom.kind,
            Kind::LineStart
                | Kind::LineEnd
                | Kind::TextStart
                | Kind::TextEnd
                | Kind::WordStart
                | Kind::WordEnd
                | Kind::WordEdge { .. }
                | Kind::Look { .. }
        );
        let mut is_exact = false;
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') if self.characters.get(self.at + 1).is_some_and(char::is_ascii_digit) => {
                self.at += 1;
                let least = self.count()?;
                let most = if self.take(",") {
                    if self.peek().is_some_and(|character| character.is_ascii_digit()) {
                        Some(self.count()?)
                    } else {
                        None
                    }
                } else {
                    is_exact = true;
                    Some(least)
                };
                if self.peek() != Some('}') {
                    return Err(invalid(if self.peek().is_none() {
                        "braces {} not balanced"
                    } else {
                        "invalid repetition count(s)"
                    }));
                }
                if most.is_some_and(|most| most < least) {
                    return Err(invalid("invalid repetition count(s)"));
                }
                (least, most)
            }
            _ => return Ok(atom),
        };
        if is_constraint {
            return Err(invalid("quantifier operand invalid"));
        }
        self.at += 1;
        let is_lazy = self.options.is_advanced && self.take("?");
        self.skip();
        if matches!(self.peek(), Some('*' | '+' | '?'))
            || (self.peek() == Some('{') && self.characters.get(self.at + 1).is_some_and(char::is_ascii_digit))
        {
            return Err(invalid("quantifier operand invalid"));
        }
        let prefers = if is_exact { atom.prefers_longest } else { Some(!is_lazy) };
        Ok(self.node(Kind::Repeat { inner: Box::new(atom), least, most }, prefers))
    }

    fn count(&mut self) -> Result<u32> {
        const MOST: u32 = 255;
        let mut number = 0;
        while let Some(digit) = self.peek().and_then(|character| character.to_digit(10)) {
            number = number * 10 + digit;
            self.at += 1;
            if number > MOST {
                return Err(invalid("invalid repetition count(s)"));
            }
        }
        Ok(number)
    }

    fn atom(&mut self, captures: bool) -> Result<Node> {
        let character = self.peek().unwrap_or_default();
        self.at += 1;
        let kind = match character {
            '(' => return self.group(captures),
            '*' | '+' | '?' => return Err(invalid("quantifier operand invalid")),
            '{' if self.peek().is_some_and(|next| next.is_ascii_digit()) => {
                return Err(invalid("quantifier operand invalid"));
            }
            '^' => Kind::LineStart,
            '$' => Kind::LineEnd,
            '.' => Kind::Any { but_newline: self.options.stops_at_newline },
            '[' if self.take("[:<:]]") => Kind::WordStart,
            '[' if self.take("[:>:]]") => Kind::WordEnd,
            '[' => {
                let class = self.bracket()?;
                // one character that is its own set
                Kind::Class(class)
            }
            '\\' => return self.escape(),
            other => Kind::Char(other),
        };
        Ok(self.node(kind, None))
    }

    fn group(&mut self, captures: bool) -> Result<Node> {
        let look = [("?=", true, false), ("?!", true, true), ("?<=", false, false), ("?<!", false, true)];
        if self.options.is_advanced {
            for (start, ahead, negated) in look {
                if self.take(start) {
                    let inner = self.alternatives(false)?;
                    self.close()?;
                    return Ok(self.node(Kind::Look { inner: Box::new(inner), ahead, negated }, None));
                }
            }
            if self.take("?:") {
                let inner = self.alternatives(captures)?;
                self.close()?;
                let prefers = inner.prefers_longest;
                return Ok(self.node(Kind::Group { number: None, inner: Box::new(inner) }, prefers));
            }
            if self.peek() == Some('?') {
                return Err(invalid("quantifier operand invalid"));
            }
        }
        let number = captures.then(|| {
            self.n_groups += 1;
            self.n_groups
        });
        let inner = self.alternatives(captures)?;
        self.close()?;
        self.closed.extend(number);
        let prefers = inner.prefers_longest;
        Ok(self.node(Kind::Group { number, inner: Box::new(inner) }, prefers))
    }

    fn close(&mut self) -> Result<()> {
        if self.take(")") { Ok(()) } else { Err(invalid("parentheses () not balanced")) }
    }

    fn escape(&mut self) -> Result<Node> {
        let Some(character) = self.peek() else { return Err(invalid("invalid escape \\ sequence")) };
        if !self.options.is_advanced || !character.is_alphanumeric() {
            self.at += 1;
            return Ok(self.node(Kind::Char(character), None));
        }
        if let Some(named) = shorthand(character) {
            self.at += 1;
            return Ok(self.node(Kind::Class(Class { named: vec![named], ..Class::default() }), None));
        }
        let constraint = match character {
            'A' => Some(Kind::TextStart),
            'Z' => Some(Kind::TextEnd),
            'm' => Some(Kind::WordStart),
            'M' => Some(Kind::WordEnd),
            'y' => Some(Kind::WordEdge { negated: false }),
            'Y' => Some(Kind::WordEdge { negated: true }),
            _ => None,
        };
        if let Some(constraint) = constraint {
            self.at += 1;
            return Ok(self.node(constraint, None));
        }
        if matches!(character, '1'..='9') {
            let mut end = self.at;
            while self.characters.get(end).is_some_and(char::is_ascii_digit) {
                end += 1;
            }
            let digits: String = self.characters[self.at..end].iter().collect();
            let number = digits.parse::<usize>().unwrap_or(usize::MAX);
            // one digit is always a reference, more are if there is such a group
            if digits.len() == 1 || number <= self.n_groups {
                if !self.closed.contains(&number) {
                    return Err(invalid("invalid backreference number"));
                }
                self.at = end;
                return Ok(self.node(Kind::BackReference(number), None));
            }
        }
        let character = self.character_escape()?;
        Ok(self.node(Kind::Char(character), None))
    }

    /// The character that an escape behind its backslash stands for.
    fn character_escape(&mut self) -> Result<char> {
        let wrong = || invalid("invalid escape \\ sequence");
        let character = self.peek().ok_or_else(wrong)?;
        self.at += 1;
        Ok(match character {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'c' => {
                let control = self.peek().ok_or_else(wrong)?;
                self.at += 1;
                char::from_u32(u32::from(control) & 0x1f).ok_or_else(wrong)?
            }
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'u' => self.digits(16, 4, 4)?,
            'U' => self.digits(16, 8, 8)?,
            'x' => self.digits(16, 1, 255)?,
            '0'..='7' => {
                self.at -= 1;
                self.digits(8, 1, 3)?
            }
            other if other.is_alphanumeric() => return Err(wrong()),
            other => other,
        })
    }

    fn digits(&mut self, base: u32, least: usize, most: usize) -> Result<char> {
        let (mut code, mut n) = (0_u32, 0);
        while n < most
            && let Some(digit) = self.peek().and_then(|character| character.to_digit(base))
        {
            code = code.saturating_mul(base).saturating_add(digit);
            self.at += 1;
            n += 1;
        }
        if n < least {
            return Err(invalid("invalid escape \\ sequence"));
        }
        char::from_u32(code).ok_or_else(|| invalid("invalid escape \\ sequence"))
    }

    /// Behind `[`.
    fn bracket(&mut self) -> Result<Class> {
        let unbalanced = || invalid("brackets [] not balanced");
        let mut class = Class { negated: self.take("^"), ..Class::default() };
        let mut is_first = true;
        loop {
            let character = self.peek().ok_or_else(unbalanced)?;
            if character == ']' && !is_first {
                self.at += 1;
                break;
            }
            is_first = false;
            let first = match self.bracket_item(&mut class)? {
                None => {
                    // a set is no end of a range
                    if self.peek() == Some('-') && self.characters.get(self.at + 1).is_some_and(|next| *next != ']') {
                        return Err(invalid("invalid character range"));
                    }
                    continue;
                }
                Some(first) => first,
            };
            let is_range =
                self.peek() == Some('-') && self.characters.get(self.at + 1).is_some_and(|next| *next != ']');
            if !is_range {
                if first == '-'
                    && self.peek().is_some_and(|next| next != ']')
                    && class.ranges.len() > usize::from(class.negated)
                    && self.at > 1
                {
                    // a dash in the middle is no character
                    let before = self.characters.get(self.at.wrapping_sub(2)).copied();
                    if !matches!(before, Some('[' | '^')) {
                        return Err(invalid("invalid character range"));
                    }
                }
                class.ranges.push((first, first));
                continue;
            }
            self.at += 1;
            let last = self.bracket_item(&mut class)?.ok_or_else(|| invalid("invalid character range"))?;
            if last < first {
                return Err(invalid("invalid character range"));
            }
            class.ranges.push((first, last));
        }
        if class.negated && self.options.stops_at_newline {
            class.ranges.push(('\n', '\n'));
        }
        Ok(class)
    }

    /// One character, or None if a whole set was added.
    fn bracket_item(&mut self, class: &mut Class) -> Result<Option<char>> {
        let unbalanced = || invalid("brackets [] not balanced");
        for (start, end) in [("[:", ":]"), ("[.", ".]"), ("[=", "=]")] {
            if !self.take(start) {
                continue;
            }
            let mut name = String::new();
            while !self.take(end) {
                name.push(self.peek().ok_or_else(unbalanced)?);
                self.at += 1;
            }
            if start == "[:" {
                const NAMES: [&str; 13] = [
                    "alpha", "alnum", "digit", "xdigit", "lower", "upper", "space", "blank", "punct", "cntrl", "graph",
                    "print", "word",
                ];
                let name = NAMES.into_iter().find(|own| *own == name);
                let name = name.ok_or_else(|| invalid("invalid character class"))?;
                // letters of both cases are one where case does not count
                let name = if self.options.ignores_case && matches!(name, "lower" | "upper") { "alpha" } else { name };
                class.named.push(Named { name, negated: false });
                return Ok(None);
            }
            let mut characters = name.chars();
            return match (characters.next(), characters.next()) {
                (Some(character), None) => Ok(Some(character)),
                _ => Err(invalid("invalid collating element")),
            };
        }
        let character = self.peek().ok_or_else(unbalanced)?;
        self.at += 1;
        if character == '\\' && self.options.is_advanced {
            let escaped = self.peek().ok_or_else(unbalanced)?;
            if let Some(named) = shorthand(escaped) {
                self.at += 1;
                class.named.push(named);
                return Ok(None);
            }
            if !escaped.is_alphanumeric() {
                self.at += 1;
                return Ok(Some(escaped));
            }
            return self.character_escape().map(Some);
        }
        Ok(Some(character))
    }
}

fn shorthand(character: char) -> Option<Named> {
    let (name, negated) = match character {
        'd' => ("digit", false),
        'D' => ("digit", true),
        's' => ("space", false),
        'S' => ("space", true),
        'w' => ("word", false),
        'W' => ("word", true),
        _ => return None,
    };
    Some(Named { name, negated })
}
