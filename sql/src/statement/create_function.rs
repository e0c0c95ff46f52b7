//! `CREATE FUNCTION name(arguments) RETURNS type LANGUAGE sql AS 'SELECT expression' | RETURN expression`, as in
//! PostgreSQL. What the expression of an `AS` says is not read here: it is a text.

use std::fmt::{self, Display};

use sqlparser::ast::{DataType, Expr, Ident, ObjectName};
use sqlparser::tokenizer::Token;

use crate::clause::Printed;
use crate::cursor::{Cursor, Result};
use crate::error::{ParseError, ParseErrorKind};
use crate::head::{Head, parse_head, print_head};
use crate::name::quote_literal;
use crate::object_kind::ObjectKind;
use crate::option::{Options, join, parse_options};
use crate::signature::is_named;
use crate::text::SqlText;

#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunction {
    pub or_replace: bool,
    pub if_not_exists: bool,
    pub name: ObjectName,
    pub arguments: Vec<FunctionArgument>,
    pub returns: SqlText<DataType>,
    pub volatility: Option<Volatility>,
    /// NULL where an argument is NULL; the default is to look at the expression.
    pub strict: bool,
    pub options: Options,
    pub comment: Option<String>,
    pub body: FunctionBody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionArgument {
    pub name: Option<Ident>,
    pub data_type: SqlText<DataType>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FunctionBody {
    /// `AS 'SELECT …'`
    Query(String),
    /// `RETURN expression`
    Return(Box<SqlText<Expr>>),
}

const WORDS: &str = "LANGUAGE, IMMUTABLE, STABLE, VOLATILE, STRICT, WITH, COMMENT, AS or RETURN";

/// What PostgreSQL has for a function, and is refused here.
const UNSUPPORTED: [&[&str]; 8] = [
    &["window"],
    &["rows"],
    &["support"],
    &["transform"],
    &["security", "definer"],
    &["external", "security", "definer"],
    &["set"],
    &["begin", "atomic"],
];

/// What is read and changes nothing.
const WITHOUT_EFFECT: [&[&str]; 7] = [
    &["not", "leakproof"],
    &["leakproof"],
    &["parallel", "safe"],
    &["parallel", "unsafe"],
    &["parallel", "restricted"],
    &["security", "invoker"],
    &["external", "security", "invoker"],
];

/// What stands behind the arguments and the result, in any order.
#[derive(Default)]
struct Attributes {
    language: Option<String>,
    volatility: Option<Volatility>,
    strict: Option<bool>,
    options: Option<Options>,
    comment: Option<String>,
    body: Option<FunctionBody>,
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<CreateFunction> {
    let Head { or_replace, if_not_exists, name } = parse_head(cursor)?;
    let arguments = parse_arguments(cursor)?;
    if !cursor.take(&["returns"]) {
        let error = invalid(cursor, "function result type must be specified");
        return Err(error.with_hint("type RETURNS and a type behind the arguments"));
    }
    for words in [["setof"], ["table"], ["trigger"]] {
        if cursor.sees(&words) {
            let error = unsupported(cursor, &format!("RETURNS {}", words[0].to_uppercase()));
            return Err(error.with_hint("a function gives one value: name its type"));
        }
    }
    let returns = cursor.data_type()?;
    let mut attributes = Attributes::default();
    while !cursor.at_end() {
        attributes.parse_one(cursor)?;
    }
    let Attributes { language, volatility, strict, options, comment, body } = attributes;
    let Some(body) = body else { return Err(invalid(cursor, "no function body specified")) };
    if language.is_none() && matches!(body, FunctionBody::Query(_)) {
        return Err(invalid(cursor, "no language specified").with_hint("type LANGUAGE sql"));
    }
    let (strict, options) = (strict.unwrap_or(false), options.unwrap_or_default());
    Ok(CreateFunction {
        or_replace,
        if_not_exists,
        name,
        arguments,
        returns,
        volatility,
        strict,
        options,
        comment,
        body,
    })
}

/// `([argname] type, …)`
fn parse_arguments(cursor: &mut Cursor) -> Result<Vec<FunctionArgument>> {
    cursor.expect_symbol(&Token::LParen)?;
    if cursor.take_symbol(&Token::RParen) {
        return Ok(Vec::new());
    }
    let arguments = cursor.list(|cursor| Ok((cursor.position(), parse_argument(cursor)?)))?;
    if !cursor.take_symbol(&Token::RParen) {
        return Err(cursor.expected("\",\" or \")\""));
    }
    for (index, (position, argument)) in arguments.iter().enumerate() {
        let Some(name) = &argument.name else { continue };
        if arguments[..index].iter().any(|(_, earlier)| earlier.name.as_ref() == Some(name)) {
            let message = format!("parameter name \"{}\" used more than once", name.value);
            return Err(ParseError::new(ParseErrorKind::InvalidFunctionDefinition, message).at(*position));
        }
    }
    Ok(arguments.into_iter().map(|(_, argument)| argument).collect())
}

fn parse_argument(cursor: &mut Cursor) -> Result<FunctionArgument> {
    for mode in ["out", "inout", "variadic"] {
        if cursor.sees(&[mode]) && !matches!(cursor.peek_nth(1), Token::Comma | Token::RParen) {
            let error = unsupported(cursor, &format!("an argument that is {}", mode.to_uppercase()));
            return Err(error.with_hint("a function takes arguments and gives one value"));
        }
    }
    cursor.take(&["in"]);
    let name = if is_named(cursor) { Some(cursor.any_name("an argument's name")?) } else { None };
    let data_type = cursor.data_type()?;
    if cursor.sees(&["default"]) || *cursor.peek() == Token::Eq {
        let error = unsupported(cursor, "an argument with a DEFAULT");
        return Err(error.with_hint("leave it out, and give every argument"));
    }
    Ok(FunctionArgument { name, data_type })
}

impl Attributes {
    fn parse_one(&mut self, cursor: &mut Cursor) -> Result<()> {
        if let Some(words) = UNSUPPORTED.into_iter().find(|words| cursor.sees(words)) {
            return Err(unsupported(cursor, &format!("a function with {}", words.join(" ").to_uppercase())));
        }
        if WITHOUT_EFFECT.into_iter().any(|words| cursor.take(words)) {
            return Ok(());
        }
        if cursor.take(&["cost"]) {
            return match cursor.take_number() {
                Some(_) => Ok(()),
                None => Err(cursor.expected("a number")),
            };
        }
        let start = cursor.index();
        let is_new = if cursor.take(&["language"]) {
            self.language.replace(parse_language(cursor)?).is_none()
        } else if let Some(volatility) = take_volatility(cursor) {
            self.volatility.replace(volatility).is_none()
        } else if cursor.take(&["strict"]) || cursor.take(&["returns", "null", "on", "null", "input"]) {
            self.strict.replace(true).is_none()
        } else if cursor.take(&["called", "on", "null", "input"]) {
            self.strict.replace(false).is_none()
        } else if cursor.take(&["with"]) {
            self.options.replace(parse_options(cursor)?).is_none()
        } else if cursor.take(&["comment"]) {
            self.comment.replace(cursor.string("a comment in quotes")?).is_none()
        } else if cursor.take(&["as"]) {
            let body = cursor.string("the function's query in quotes")?;
            self.body.replace(FunctionBody::Query(body)).is_none()
        } else if cursor.take(&["return"]) {
            self.body.replace(FunctionBody::Return(Box::new(cursor.expression()?))).is_none()
        } else {
            return Err(cursor.expected(WORDS));
        };
        if is_new {
            return Ok(());
        }
        let error = cursor.expected_at(start, WORDS);
        let position = error.position;
        let error = ParseError::new(ParseErrorKind::Syntax, "conflicting or redundant options");
        Err(match position {
            Some(position) => error.at(position),
            None => error,
        })
    }
}

fn parse_language(cursor: &mut Cursor) -> Result<String> {
    let at = cursor.index();
    let language = match cursor.take_string() {
        Some(text) => text.to_lowercase(),
        None => cursor.any_name("a language")?.value,
    };
    if language == "sql" {
        return Ok(language);
    }
    let position = cursor.expected_at(at, "sql").position;
    let error = ParseError::new(
        ParseErrorKind::FeatureNotSupported,
        format!("a function in LANGUAGE {language} is not supported"),
    )
    .with_hint("write it as one expression in LANGUAGE sql");
    Err(match position {
        Some(position) => error.at(position),
        None => error,
    })
}

fn take_volatility(cursor: &mut Cursor) -> Option<Volatility> {
    let all = [Volatility::Immutable, Volatility::Stable, Volatility::Volatile];
    all.into_iter().find(|volatility| cursor.take(&[volatility.as_str()]))
}

fn unsupported(cursor: &Cursor, what: &str) -> ParseError {
    cursor.error(ParseErrorKind::FeatureNotSupported, format!("{what} is not supported"))
}

fn invalid(cursor: &Cursor, message: &str) -> ParseError {
    cursor.error(ParseErrorKind::InvalidFunctionDefinition, message)
}

impl Volatility {
    /// In lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Volatility::Immutable => "immutable",
            Volatility::Stable => "stable",
            Volatility::Volatile => "volatile",
        }
    }
}

impl FunctionBody {
    /// The query whose one column is the function's value.
    pub fn query(&self) -> String {
        match self {
            FunctionBody::Query(query) => query.clone(),
            FunctionBody::Return(expression) => format!("SELECT {expression}"),
        }
    }
}

impl Display for FunctionArgument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name} {}", self.data_type),
            None => write!(formatter, "{}", self.data_type),
        }
    }
}

impl Display for CreateFunction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = print_head(ObjectKind::Function, self.or_replace, self.if_not_exists, &self.name);
        let mut printed = Printed::new(format!("{head}({})", join(&self.arguments)));
        printed.line(format!("RETURNS {}", self.returns)).line("LANGUAGE sql".to_string());
        if let Some(volatility) = self.volatility {
            printed.line(volatility.as_str().to_uppercase());
        }
        if self.strict {
            printed.line("STRICT".to_string());
        }
        printed.options(&self.options).comment(&self.comment);
        match &self.body {
            FunctionBody::Query(query) => printed.query(&in_quotes(query)),
            FunctionBody::Return(expression) => printed.line(format!("RETURN {expression}")),
        };
        printed.write(formatter)
    }
}

/// A query with quotes of its own reads better between dollars.
fn in_quotes(query: &str) -> String {
    match query.contains('\'') && !query.contains('$') {
        true => format!("$${query}$$"),
        false => quote_literal(query),
    }
}

#[cfg(test)]
mod tests {
    use crate::statement::tests::{check, check_error};

    #[test]
    fn prints_canonically() {
        check(
            "create or replace function S.Ratio(a float8, int[], in \"B\" double precision, timestamp with time zone) \
             returns float8 immutable strict language 'SQL' parallel safe cost 10 with (owner = 'me') comment 'x' \
             as $$ select a / 'x' $$",
            "CREATE OR REPLACE FUNCTION s.ratio(a float8, int[], \"B\" double precision, timestamp with time zone)\n  \
             RETURNS float8\n  LANGUAGE sql\n  IMMUTABLE\n  STRICT\n  WITH (owner = 'me')\n  COMMENT 'x'\n\
             AS $$ select a / 'x' $$",
        );
        check(
            "create function one() returns int called on null input as 'select $1' language sql",
            "CREATE FUNCTION one()\n  RETURNS int\n  LANGUAGE sql\nAS 'select $1'",
        );
        check(
            "create function twice(int) returns int return $1 * 2",
            "CREATE FUNCTION twice(int)\n  RETURNS int\n  LANGUAGE sql\n  RETURN $1 * 2",
        );
        check("alter function twice(n int, text) owner to ada", "ALTER FUNCTION twice(int, text) OWNER TO ada");
        check("drop function if exists twice(int), one() cascade", "DROP FUNCTION IF EXISTS twice(int), one() CASCADE");
        check("drop function twice restrict", "DROP FUNCTION twice");
        check("comment on function twice(int) is 'x'", "COMMENT ON FUNCTION twice(int) IS 'x'");
        check("show create function twice", "SHOW CREATE FUNCTION twice");
    }

    #[test]
    fn errors_have_places() {
        check_error("CREATE FUNCTION f() LANGUAGE sql AS 'SELECT 1'", "function result type must be specified", 21);
        check_error("CREATE FUNCTION f() RETURNS int AS 'SELECT 1'", "no language specified", 46);
        check_error("CREATE FUNCTION f() RETURNS int LANGUAGE sql", "no function body specified", 45);
        check_error(
            "CREATE FUNCTION f(a int, a text) RETURNS int RETURN 1",
            "parameter name \"a\" used more than once",
            26,
        );
        check_error(
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS ''",
            "a function in LANGUAGE plpgsql is not supported",
            42,
        );
        check_error("CREATE FUNCTION f() RETURNS SETOF int RETURN 1", "RETURNS SETOF is not supported", 29);
        check_error(
            "CREATE FUNCTION f(OUT a int) RETURNS int RETURN 1",
            "an argument that is OUT is not supported",
            19,
        );
        check_error(
            "CREATE FUNCTION f(a int DEFAULT 1) RETURNS int RETURN a",
            "an argument with a DEFAULT is not supported",
            25,
        );
        check_error("CREATE FUNCTION f() RETURNS int STRICT STRICT RETURN 1", "conflicting or redundant options", 40);
        check_error("CREATE FUNCTION f() RETURNS int SET a = 1 RETURN 1", "a function with SET is not supported", 33);
        check_error("CREATE FUNCTION f() RETURNS int GLORIOUS", "syntax error at or near \"GLORIOUS\"", 33);
    }
}
