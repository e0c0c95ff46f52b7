//! SQL/JSON paths: from text to a tree and back.

pub mod execute;

use std::fmt::{self, Display};

use super::quote;
use crate::error::{Error, Result};
use crate::numeric::Numeric;

#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub is_strict: bool,
    pub node: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Root,
    Current,
    Last,
    Variable(String),
    Null,
    Bool(bool),
    Number(Numeric),
    Text(String),
    Access(Box<Node>, Step),
    /// `+`, `-`, `*`, `/`, `%`, comparisons, `&&` and `||`
    Binary(&'static str, Box<Node>, Box<Node>),
    /// `+` or `-`
    Sign(char, Box<Node>),
    Not(Box<Node>),
    IsUnknown(Box<Node>),
    Exists(Box<Node>),
    StartsWith(Box<Node>, Box<Node>),
    LikeRegex {
        value: Box<Node>,
        pattern: String,
        flags: String,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Key(String),
    AnyKey,
    AnyItem,
    Items(Vec<(Node, Option<Node>)>),
    /// from one depth to another; None is the last
    Depths(Option<u32>, Option<u32>),
    Method(&'static str, Option<String>),
    Filter(Box<Node>),
}

const METHODS: [&str; 8] = ["type", "size", "abs", "floor", "ceiling", "double", "datetime", "keyvalue"];

impl Node {
    fn priority(&self) -> u8 {
        match self {
            Node::Binary("||", ..) => 0,
            Node::Binary("&&", ..) => 1,
            Node::Binary("+" | "-", ..) => 3,
            Node::Binary("*" | "/" | "%", ..) => 4,
            Node::Binary(..) | Node::StartsWith(..) => 2,
            Node::Sign(..) => 5,
            _ => 6,
        }
    }

    fn is_predicate(&self) -> bool {
        match self {
            Node::Binary(name, ..) => !matches!(*name, "+" | "-" | "*" | "/" | "%"),
            Node::Not(_) | Node::IsUnknown(_) | Node::Exists(_) | Node::StartsWith(..) | Node::LikeRegex { .. } => true,
            _ => false,
        }
    }

    fn write(&self, out: &mut fmt::Formatter<'_>, has_brackets: bool) -> fmt::Result {
        let open = |out: &mut fmt::Formatter<'_>| if has_brackets { out.write_str("(") } else { Ok(()) };
        let close = |out: &mut fmt::Formatter<'_>| if has_brackets { out.write_str(")") } else { Ok(()) };
        match self {
            Node::Root => out.write_str("$"),
            Node::Current => out.write_str("@"),
            Node::Last => out.write_str("last"),
            Node::Variable(name) => write!(out, "${}", quote(name)),
            Node::Null => out.write_str("null"),
            Node::Bool(truth) => write!(out, "{truth}"),
            Node::Number(number) => write!(out, "{number}"),
            Node::Text(text) => out.write_str(&quote(text)),
            Node::Access(base, step) => {
                base.write(out, true)?;
                step.write(out)
            }
            Node::Binary(name, left, right) => {
                open(out)?;
                left.write(out, left.priority() <= self.priority())?;
                write!(out, " {name} ")?;
                right.write(out, right.priority() <= self.priority())?;
                close(out)
            }
            Node::Sign(sign, inner) => {
                open(out)?;
                write!(out, "{sign}")?;
                inner.write(out, inner.priority() <= self.priority())?;
                close(out)
            }
            Node::Not(inner) => {
                out.write_str("!(")?;
                inner.write(out, false)?;
                out.write_str(")")
            }
            Node::IsUnknown(inner) => {
                out.write_str("(")?;
                inner.write(out, false)?;
                out.write_str(") is unknown")
            }
            Node::Exists(inner) => {
                out.write_str("exists (")?;
                inner.write(out, false)?;
                out.write_str(")")
            }
            Node::StartsWith(value, start) => {
                open(out)?;
                value.write(out, value.priority() <= self.priority())?;
                out.write_str(" starts with ")?;
                start.write(out, start.priority() <= self.priority())?;
                close(out)
            }
            Node::LikeRegex { value, pattern, flags } => {
                open(out)?;
                value.write(out, value.priority() <= self.priority())?;
                write!(out, " like_regex {}", quote(pattern))?;
                if !flags.is_empty() {
                    write!(out, " flag \"{flags}\"")?;
                }
                close(out)
            }
        }
    }
}

impl Step {
    fn write(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => write!(out, ".{}", quote(key)),
            Step::AnyKey => out.write_str(".*"),
            Step::AnyItem => out.write_str("[*]"),
            Step::Items(items) => {
                out.write_str("[")?;
                for (index, (from, to)) in items.iter().enumerate() {
                    if index > 0 {
                        out.write_str(",")?;
                    }
                    from.write(out, false)?;
                    if let Some(to) = to {
                        out.write_str(" to ")?;
                        to.write(out, false)?;
                    }
                }
                out.write_str("]")
            }
            Step::Depths(Some(0), None) => out.write_str(".**"),
            Step::Depths(from, to) => {
                let shown = |depth: &Option<u32>| depth.map_or_else(|| "last".to_owned(), |depth| depth.to_string());
                if from == to {
                    write!(out, ".**{{{}}}", shown(from))
                } else {
                    write!(out, ".**{{{} to {}}}", shown(from), shown(to))
                }
            }
            Step::Method(name, argument) => {
                let argument = argument.as_deref().map_or_else(String::new, quote);
                write!(out, ".{name}({argument})")
            }
            Step::Filter(predicate) => {
                out.write_str("?(")?;
                predicate.write(out, false)?;
                out.write_str(")")
            }
        }
    }
}

impl Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_strict {
            formatter.write_str("strict ")?;
        }
        self.node.write(formatter, true)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// a name without quotes
    Word(String),
    Text(String),
    Number(String),
    /// `$name`
    Variable(String),
    Mark(&'static str),
}

const MARKS: [&str; 28] = [
    "**", "&&", "||", "==", "!=", "<>", "<=", ">=", "$", "@", ".", "*", "[", "]", "(", ")", "{", "}", "?", ",", "+",
    "-", "/", "%", "<", ">", "!", "=",
];

fn at_end() -> Error {
    Error::new("42601", "syntax error at end of jsonpath input")
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("/*") {
            rest =
                after.split_once("*/").ok_or_else(|| Error::new("42601", "unexpected end of comment"))?.1.trim_start();
            continue;
        }
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if first == '"' || (first == '$' && rest[1..].starts_with('"')) {
            let start = usize::from(first == '$');
            let (text, after) = quoted(&rest[start + 1..])?;
            tokens.push(if first == '$' { Token::Variable(text) } else { Token::Text(text) });
            rest = after.trim_start();
            continue;
        }
        if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let mut end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            if rest[end..].starts_with(['e', 'E']) {
                let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
                let digits = rest[end + 1 + sign..].find(|c: char| !c.is_ascii_digit());
                end = digits.map_or(rest.len(), |digits| end + 1 + sign + digits);
            }
            tokens.push(Token::Number(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
            continue;
        }
        if first == '$' && rest[1..].starts_with(is_name) {
            let end = rest[1..].find(|c| !is_name(c)).map_or(rest.len(), |end| end + 1);
            tokens.push(Token::Variable(rest[1..end].to_owned()));
            rest = rest[end..].trim_start();
            continue;
        }
        if is_name(first) {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = rest[end..].trim_start();
            continue;
        }
        let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
        let mark =
            mark.ok_or_else(|| Error::new("42601", format!("syntax error at or near \"{first}\" of jsonpath input")))?;
        rest = rest[mark.len()..].trim_start();
        tokens.push(Token::Mark(match mark {
            "<>" => "!=",
            "=" => "==",
            other => other,
        }));
    }
    Ok(tokens)
}

/// A text behind its first quote, and what follows it.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut end = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '"' => {
                end = Some(at);
                break;
            }
            _ => {}
        }
    }
    let end = end.ok_or_else(|| Error::new("42601", "unterminated quoted string at end of jsonpath input"))?;
    match super::Json::parse(&format!("\"{}\"", &text[..end])) {
        Some(super::Json::Text(inner)) => Ok((inner, &text[end + 1..])),
        _ => Ok((text[..end].replace('\\', ""), &text[end + 1..])),
    }
}

/// Errors: 22P02, 42601.
pub fn parse(text: &str) -> Result<Path> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(Error::new("22P02", format!("invalid input syntax for type jsonpath: \"{text}\"")));
    }
    let mut parser = Parser { tokens, at: 0, in_filter: 0, in_subscript: 0, depth: 0 };
    let is_strict = match parser.tokens.first() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("strict") => {
            parser.at = 1;
            true
        }
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("lax") => {
            parser.at = 1;
            false
        }
        _ => false,
    };
    let node = parser.either(0)?;
    if parser.at < parser.tokens.len() {
        return Err(parser.unexpected());
    }
    Ok(Path { is_strict, node })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    in_filter: usize,
    in_subscript: usize,
    depth: usize,
}

const DEPTH_LIMIT: usize = 200;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, mark: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Mark(own)) if *own == mark);
        self.at += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(own)) if own.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn unexpected(&self) -> Error {
        let shown = match self.peek() {
            None => return at_end(),
            Some(Token::Word(word) | Token::Text(word) | Token::Number(word)) => word.clone(),
            Some(Token::Variable(word)) => format!("${word}"),
            Some(Token::Mark(mark)) => (*mark).to_owned(),
        };
        // the end is as near as a last word
        if self.at + 1 >= self.tokens.len() && matches!(self.peek(), Some(Token::Word(_))) {
            return at_end();
        }
        Error::new("42601", format!("syntax error at or near \"{shown}\" of jsonpath input"))
    }

    fn expect(&mut self, mark: &str) -> Result<()> {
        if self.take(mark) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// An expression or a predicate whose operators bind at least so tightly.
    fn either(&mut self, least: u8) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(Error::new("54001", "stack depth limit exceeded"));
        }
        let mut left = self.unary()?;
        loop {
            let (name, priority) = match self.peek() {
                Some(Token::Mark(name @ "||")) => (*name, 0),
                Some(Token::Mark(name @ "&&")) => (*name, 1),
                Some(Token::Mark(name @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) => (*name, 2),
                Some(Token::Mark(name @ ("+" | "-"))) => (*name, 3),
                Some(Token::Mark(name @ ("*" | "/" | "%"))) => (*name, 4),
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("starts") => ("starts", 2),
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("like_regex") => ("like_regex", 2),
                _ => break,
            };
            if priority < least || (priority < 2 && !left.is_predicate()) || (priority >= 2 && left.is_predicate()) {
                break;
            }
            self.at += 1;
            left = match name {
                "starts" => {
                    if !self.take_word("with") {
                        return Err(self.unexpected());
                    }
                    let start = self.unary()?;
                    Node::StartsWith(Box::new(left), Box::new(start))
                }
                "like_regex" => self.like_regex(left)?,
                name => {
                    let right = self.either(priority + 1)?;
                    if (priority < 2) != right.is_predicate() {
                        return Err(self.unexpected());
                    }
                    Node::Binary(name, Box::new(left), Box::new(right))
                }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn like_regex(&mut self, value: Node) -> Result<Node> {
        let Some(Token::Text(pattern)) = self.peek().cloned() else { return Err(self.unexpected()) };
        self.at += 1;
        let mut given = String::new();
        if self.take_word("flag") {
            let Some(Token::Text(flags)) = self.peek().cloned() else { return Err(self.unexpected()) };
            self.at += 1;
            given = flags;
        }
        if let Some(wrong) = given.chars().find(|flag| !"ismxq".contains(*flag)) {
            return Err(Error::new("42601", "invalid input syntax for type jsonpath")
                .with_detail(format!("Unrecognized flag character \"{wrong}\" in LIKE_REGEX predicate.")));
        }
        let flags: String = "ismxq".chars().filter(|flag| given.contains(*flag)).collect();
        if flags.contains('x') {
            return Err(Error::new("0A000", "XQuery \"x\" flag (expanded regular expressions) is not implemented"));
        }
        Ok(Node::LikeRegex { value: Box::new(value), pattern, flags })
    }

    fn unary(&mut self) -> Result<Node> {
        for sign in ['+', '-'] {
            if self.take(if sign == '+' { "+" } else { "-" }) {
                let inner = self.unary()?;
                return Ok(match (sign, inner) {
                    ('-', Node::Number(number)) => Node::Number(number.negated()),
                    ('+', Node::Number(number)) => Node::Number(number),
                    (sign, inner) => Node::Sign(sign, Box::new(inner)),
                });
            }
        }
        if self.take("!") {
            let inner = if self.take("(") {
                let inner = self.either(0)?;
                self.expect(")")?;
                inner
            } else {
                self.unary()?
            };
            return Ok(Node::Not(Box::new(inner)));
        }
        if matches!(self.tokens.get(self.at + 1), Some(Token::Mark("("))) && self.take_word("exists") {
            self.at += 1;
            let inner = self.either(0)?;
            self.expect(")")?;
            return Ok(Node::Exists(Box::new(inner)));
        }
        let mut node = self.primary()?;
        loop {
            let step = if self.take(".") {
                self.member()?
            } else if self.take("[") {
                self.items()?
            } else if self.take("?") {
                self.expect("(")?;
                self.in_filter += 1;
                let predicate = self.either(0)?;
                self.in_filter -= 1;
                if !predicate.is_predicate() {
                    return Err(self.unexpected());
                }
                self.expect(")")?;
                Step::Filter(Box::new(predicate))
            } else {
                return Ok(node);
            };
            node = Node::Access(Box::new(node), step);
        }
    }

    fn primary(&mut self) -> Result<Node> {
        let token = self.peek().cloned().ok_or_else(at_end)?;
        self.at += 1;
        Ok(match token {
            Token::Mark("$") => Node::Root,
            Token::Mark("@") if self.in_filter == 0 => {
                return Err(Error::new("42601", "@ is not allowed in root expressions"));
            }
            Token::Mark("@") => Node::Current,
            Token::Variable(name) => Node::Variable(name),
            Token::Text(text) => Node::Text(text),
            Token::Number(digits) => Node::Number(digits.parse().map_err(|_| self.unexpected())?),
            Token::Mark("(") => {
                let inner = self.either(0)?;
                self.expect(")")?;
                if inner.is_predicate() && self.take_word("is") {
                    if !self.take_word("unknown") {
                        return Err(self.unexpected());
                    }
                    return Ok(Node::IsUnknown(Box::new(inner)));
                }
                inner
            }
            Token::Word(word) => match word.as_str() {
                "null" => Node::Null,
                "true" => Node::Bool(true),
                "false" => Node::Bool(false),
                "last" if self.in_subscript == 0 => {
                    return Err(Error::new("42601", "LAST is allowed only in array subscripts"));
                }
                "last" => Node::Last,
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            },
            Token::Mark(_) => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    fn member(&mut self) -> Result<Step> {
        if self.take("**") {
            if !self.take("{") {
                return Ok(Step::Depths(Some(0), None));
            }
            let from = self.level()?;
            let to = if self.take_word("to") { self.level()? } else { from };
            self.expect("}")?;
            return Ok(Step::Depths(from, to));
        }
        if self.take("*") {
            return Ok(Step::AnyKey);
        }
        let token = self.peek().cloned().ok_or_else(at_end)?;
        let name = match token {
            Token::Word(word) => word,
            Token::Text(text) => {
                self.at += 1;
                return Ok(Step::Key(text));
            }
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        let method = METHODS.into_iter().find(|method| *method == name);
        if let Some(method) = method
            && self.take("(")
        {
            let argument = match self.peek().cloned() {
                Some(Token::Text(text)) if method == "datetime" => {
                    self.at += 1;
                    Some(text)
                }
                _ => None,
            };
            self.expect(")")?;
            return Ok(Step::Method(method, argument));
        }
        Ok(Step::Key(name))
    }

    fn level(&mut self) -> Result<Option<u32>> {
        if self.take_word("last") {
            return Ok(None);
        }
        let Some(Token::Number(digits)) = self.peek().cloned() else { return Err(self.unexpected()) };
        self.at += 1;
        digits.parse().map(Some).map_err(|_| self.unexpected())
    }

    fn items(&mut self) -> Result<Step> {
        if self.take("*") {
            self.expect("]")?;
            return Ok(Step::AnyItem);
        }
        let mut items = Vec::new();
        self.in_subscript += 1;
        loop {
            let from = self.either(3)?;
            let to = if self.take_word("to") { Some(self.either(3)?) } else { None };
            items.push((from, to));
            if !self.take(",") {
                break;
            }
        }
        self.in_subscript -= 1;
        self.expect("]")?;
        Ok(Step::Items(items))
    }
}
