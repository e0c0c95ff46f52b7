//! Text to statements: cuts the input, sends each statement to its parser, and checks that nothing is left over.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::cursor::{Cursor, Result};
use crate::dialect::GranaryDialect;
use crate::error::{ParseError, ParseErrorKind};
use crate::grammar::{self, Verdict};
use crate::head::created_kind;
use crate::limits::check_length;
use crate::object_kind::ObjectKind;
use crate::option::closest;
use crate::postgres;
use crate::rows::parse_constant_rows;
use crate::source::{Slice, Source, check_nesting};
use crate::statement::{self, Statement, role_membership, utility};
use crate::system_time;

/// A statement and where it came from. Two are equal if their statements are.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub statement: Statement,
    /// As typed, without the blanks and comments around it and without its semicolon.
    pub text: String,
    /// Byte offset of `text` in the input.
    pub offset: usize,
}

impl PartialEq for Parsed {
    fn eq(&self, other: &Parsed) -> bool {
        self.statement == other.statement
    }
}

/// The statements of a text, separated by semicolons; empty ones are skipped.
///
/// The first error anywhere refuses the whole text, as in PostgreSQL.
pub fn parse(text: &str) -> Result<Vec<Parsed>> {
    check_length(text)?;
    match parse_constant_rows(text, |head| parse_by_tokens(head).ok()) {
        Some(parsed) => Ok(parsed),
        None => parse_by_tokens(text),
    }
}

/// The same without a short cut.
pub(crate) fn parse_by_tokens(text: &str) -> Result<Vec<Parsed>> {
    let source = Source::tokenize(text)?;
    source.statements().iter().map(|slice| parse_slice(&source, slice)).collect()
}

fn parse_slice(source: &Source, slice: &Slice) -> Result<Parsed> {
    let mut tokens: Vec<TokenWithSpan> = source.tokens(slice.tokens.clone()).to_vec();
    let start = tokens[0].span.start;
    check_nesting(&tokens).map_err(|error| error.at(source.position(start)))?;
    let verdict = grammar::judge(&tokens);
    if let Verdict::Wrong(wrong) = verdict {
        let location = tokens.get(wrong).map_or(slice.end, |token| token.span.start);
        return Err(system_time::explain(source, source.unexpected(location)));
    }
    postgres::adapt(&mut tokens);
    let is_versioned = system_time::is_versioned(&tokens);
    let dialect = GranaryDialect::new(is_versioned, tokens.len());
    if is_versioned {
        tokens = system_time::adapt(source, &dialect, tokens, slice.end)?;
    }
    let mut cursor = Cursor::new(source, &dialect, tokens, slice.end);
    let mut parsed = parse_one(&mut cursor).map_err(|error| match (verdict, error.kind) {
        (Verdict::Right, ParseErrorKind::Syntax) if !is_versioned => unread(error),
        _ => system_time::explain(source, error),
    })?;
    // The tokens may have been said in other words; the text is the user's.
    parsed.text = source.text(slice).to_string();
    if let Statement::Postgres(statement) = &mut parsed.statement {
        statement.text.clone_from(&parsed.text);
    }
    Ok(parsed)
}

/// The error of a statement that is PostgreSQL's, and that sqlparser does not read.
fn unread(error: ParseError) -> ParseError {
    let place = error.message.strip_prefix("syntax error ").unwrap_or("here").to_owned();
    let made = ParseError::new(ParseErrorKind::FeatureNotSupported, format!("this syntax is not supported {place}"));
    match error.position {
        Some(position) => made.at(position),
        None => made,
    }
}

/// A statement that goes on to the end of the cursor.
pub(crate) fn parse_one(cursor: &mut Cursor) -> Result<Parsed> {
    let start = cursor.location();
    let statement = parse_statement(cursor)?;
    cursor.expect_end()?;
    let (text, offset) = cursor.taken_since(start);
    Ok(Parsed { statement, text: text.to_string(), offset })
}

fn parse_statement(cursor: &mut Cursor) -> Result<Statement> {
    if cursor.sees(&["create"])
        && let Some(kind) = created_kind(cursor)
    {
        return parse_create(cursor, kind);
    }
    if let Some(utility) = utility::parse(cursor)? {
        return Ok(Statement::Utility(utility));
    }
    if cursor.sees(&["drop"])
        && let Some(kind) = ObjectKind::see(cursor, 1)
    {
        return statement::drop::parse(cursor, kind).map(Statement::Drop);
    }
    if cursor.sees(&["alter"])
        && let Some(kind) = ObjectKind::see(cursor, 1)
    {
        return statement::alter::parse(cursor, kind).map(Statement::Alter);
    }
    if cursor.sees(&["alter", "sequence"]) {
        return statement::alter_sequence::parse(cursor).map(Statement::AlterSequence);
    }
    if cursor.sees(&["show", "create"])
        && let Some(kind) = ObjectKind::see(cursor, 2)
    {
        return statement::show_create::parse(cursor, kind).map(Statement::ShowCreate);
    }
    postgres::check_supported(cursor)?;
    match head_word(cursor).as_str() {
        "refresh" => statement::refresh::parse(cursor).map(Statement::Refresh),
        "replay" => statement::replay::parse(cursor).map(Statement::Replay),
        "optimize" => statement::optimize::parse(cursor).map(Statement::Optimize),
        "backup" => statement::backup::parse(cursor).map(Statement::Backup),
        "vacuum" => statement::vacuum::parse(cursor).map(Statement::Vacuum),
        "verify" => statement::verify::parse(cursor).map(Statement::Verify),
        "check" => statement::create_alert::parse_check(cursor).map(Statement::CheckAlert),
        "cancel" => statement::job::parse_cancel(cursor).map(Statement::CancelJob),
        "retry" => statement::job::parse_retry(cursor).map(Statement::RetryJob),
        "wait" => statement::job::parse_wait(cursor).map(Statement::WaitForJob),
        "comment" => statement::comment_on::parse(cursor).map(Statement::CommentOn),
        "declare" => statement::fetch::parse_declare(cursor).map(Statement::Declare),
        "fetch" | "move" => statement::fetch::parse_fetch(cursor).map(Statement::Fetch),
        "close" => statement::fetch::parse_close(cursor).map(Statement::Close),
        "prepare" => statement::prepare::parse_prepare(cursor).map(Statement::Prepare),
        "execute" => statement::prepare::parse_execute(cursor).map(Statement::Execute),
        "copy" => statement::copy::parse(cursor).map(Statement::Copy),
        "explain" => statement::explain::parse(cursor).map(Statement::Explain),
        "grant" if role_membership::is_of_roles(cursor, "to") => {
            role_membership::parse_grant(cursor).map(Statement::GrantRole)
        }
        "revoke" if role_membership::is_of_roles(cursor, "from") => {
            role_membership::parse_revoke(cursor).map(Statement::RevokeRole)
        }
        word if postgres::HEADS.contains(&word) || *cursor.peek() == Token::LParen => postgres::parse(cursor),
        _ => Err(unknown_statement(cursor)),
    }
}

/// The first word in lower case; empty if it is not one.
fn head_word(cursor: &Cursor) -> String {
    match cursor.peek() {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        _ => String::new(),
    }
}

fn unknown_statement(cursor: &Cursor) -> ParseError {
    const OURS: [&str; 20] = [
        "create", "refresh", "replay", "optimize", "vacuum", "verify", "cancel", "retry", "comment", "copy", "declare",
        "fetch", "move", "close", "prepare", "execute", "explain", "wait", "backup", "check",
    ];
    let error = cursor.expected("a statement");
    let known: Vec<&str> = postgres::HEADS.into_iter().chain(OURS).collect();
    match closest(&head_word(cursor), &known) {
        Some(word) => error.with_hint(format!("did you mean {}?", word.to_uppercase())),
        None => error,
    }
}

fn parse_create(cursor: &mut Cursor, kind: ObjectKind) -> Result<Statement> {
    Ok(match kind {
        ObjectKind::Entity => Statement::CreateEntity(statement::create_entity::parse(cursor)?),
        ObjectKind::Source => Statement::CreateSource(statement::create_source::parse(cursor)?),
        ObjectKind::Stream => Statement::CreateStream(statement::create_stream::parse(cursor)?),
        ObjectKind::Sink => Statement::CreateSink(statement::create_sink::parse(cursor)?),
        ObjectKind::FeatureView => Statement::CreateFeatureView(statement::create_feature_view::parse(cursor)?),
        ObjectKind::FeatureTable => Statement::CreateFeatureTable(statement::create_feature_table::parse(cursor)?),
        ObjectKind::RealtimeFeatureView => {
            Statement::CreateRealtimeFeatureView(statement::create_realtime_feature_view::parse(cursor)?)
        }
        ObjectKind::FeatureService => {
            Statement::CreateFeatureService(statement::create_feature_service::parse(cursor)?)
        }
        ObjectKind::Workspace => Statement::CreateWorkspace(statement::create_workspace::parse(cursor)?),
        ObjectKind::Dataset => Statement::CreateDataset(statement::create_dataset::parse(cursor)?),
        ObjectKind::Secret => Statement::CreateSecret(statement::create_secret::parse(cursor)?),
        ObjectKind::Function => Statement::CreateFunction(statement::create_function::parse(cursor)?),
        ObjectKind::Expectation => Statement::CreateExpectation(statement::create_expectation::parse(cursor)?),
        ObjectKind::Alert => Statement::CreateAlert(statement::create_alert::parse(cursor)?),
        ObjectKind::ApiKey => Statement::CreateApiKey(statement::create_api_key::parse(cursor)?),
        ObjectKind::Test => Statement::CreateTest(statement::create_test::parse(cursor)?),
    })
}
