//! Statements that are PostgreSQL's own: which ones reach sqlparser, and the words it must see differently.

pub(crate) mod queries;
mod sequence_options;

use sqlparser::ast;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Whitespace, Word};

use crate::cursor::{Cursor, Result, writes};
use crate::error::ParseErrorKind;
use crate::grammar::keywords::is_name_behind_period_only;
use crate::object_kind::ObjectKind;
use crate::option::closest;
use crate::source::is_word;
use crate::statement::Statement;
use crate::text::SqlText;

pub use sequence_options::identity_sequence;

/// The words that such a statement begins with. sqlparser reads those of other databases too;
/// they must stay syntax errors, as they are in PostgreSQL.
pub(crate) const HEADS: [&str; 33] = [
    "abort",
    "alter",
    "analyze",
    "begin",
    "call",
    "commit",
    "create",
    "deallocate",
    "delete",
    "discard",
    "drop",
    "end",
    "grant",
    "insert",
    "listen",
    "load",
    "lock",
    "merge",
    "notify",
    "release",
    "reset",
    "revoke",
    "rollback",
    "savepoint",
    "select",
    "set",
    "show",
    "start",
    "truncate",
    "unlisten",
    "update",
    "values",
    "with",
];

/// What PostgreSQL has, and neither sqlparser nor this warehouse.
const UNSUPPORTED: [&[&str]; 21] = [
    &["alter", "default", "privileges"],
    &["alter", "foreign"],
    &["alter", "publication"],
    &["alter", "subscription"],
    &["alter", "system"],
    &["commit", "prepared"],
    &["create", "aggregate"],
    &["create", "cast"],
    &["create", "event"],
    &["create", "foreign"],
    &["create", "language"],
    &["create", "publication"],
    &["create", "rule"],
    &["create", "statistics"],
    &["create", "subscription"],
    &["create", "tablespace"],
    &["drop", "owned"],
    &["import", "foreign"],
    &["prepare", "transaction"],
    &["reassign", "owned"],
    &["rollback", "prepared"],
];

/// The error of a statement that is PostgreSQL's and is not read.
pub(crate) fn check_supported(cursor: &Cursor) -> Result<()> {
    match UNSUPPORTED.into_iter().find(|words| cursor.sees(words)) {
        Some(words) => {
            let message = format!("{} is not supported", words.join(" ").to_uppercase());
            Err(cursor.error(ParseErrorKind::FeatureNotSupported, message))
        }
        None => Ok(()),
    }
}

/// The field that stands for all fields of a record, in `(f(x)).*`.
pub const ALL_FIELDS: &str = "*";

/// `(f(x)).*` becomes `(f(x))."*"`, which sqlparser reads.
fn name_stars(tokens: &mut [TokenWithSpan], solid: &[usize]) {
    for at in solid.windows(3) {
        let is_star = tokens[at[0]].token == Token::RParen
            && tokens[at[1]].token == Token::Period
            && tokens[at[2]].token == Token::Mul;
        if is_star {
            tokens[at[2]].token = Token::make_word(ALL_FIELDS, Some('"'));
        }
    }
}

/// `(a).order` becomes `(a)."order"`.
fn quote_fields(tokens: &mut [TokenWithSpan], solid: &[usize]) {
    for at in solid.windows(2) {
        if tokens[at[0]].token != Token::Period {
            continue;
        }
        if let Token::Word(word) = &mut tokens[at[1]].token
            && word.quote_style.is_none()
            && is_name_behind_period_only(&word.value.to_ascii_lowercase())
        {
            tokens[at[1]].token = Token::make_word(&word.value.to_ascii_lowercase(), Some('"'));
        }
    }
}

/// Says the same in words that sqlparser knows: ABORT is ROLLBACK, a USER is a ROLE (to sqlparser it is an
/// object of Snowflake's), `TABLE t` is `SELECT * FROM t`, ALTER TABLE works on views.
pub(crate) fn adapt(tokens: &mut Vec<TokenWithSpan>) {
    for token in tokens.iter_mut() {
        // `SELECT TOP 1` is not PostgreSQL's, so that TOP is a name.
        if let Token::Word(word) = &mut token.token
            && word.keyword == Keyword::TOP
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    let solid: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let Some(first) = solid.first().copied() else {
        return;
    };
    name_stars(tokens, &solid);
    quote_fields(tokens, &solid);
    queries::adapt(tokens);
    let solid: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let sees = |tokens: &[TokenWithSpan], nth: usize, word: &str| {
        solid.get(nth).is_some_and(|at| is_word(&tokens[*at].token, word))
    };
    if sees(tokens, 0, "abort") {
        tokens[first].token = word("ROLLBACK", Keyword::ROLLBACK);
    } else if sees(tokens, 0, "table") {
        let span = tokens[first].span;
        let start = [word("SELECT", Keyword::SELECT), Token::Mul, word("FROM", Keyword::FROM)];
        tokens.splice(first..=first, start.map(|token| TokenWithSpan { token, span }));
    } else if sees(tokens, 0, "begin") || sees(tokens, 0, "start") {
        drop_deferrable(tokens, &solid);
    } else if sees(tokens, 0, "create") && sees(tokens, 1, "unlogged") {
        tokens.remove(solid[1]);
    } else if let (true, Some(first)) = (sees(tokens, 0, "create"), data_clause(tokens, &solid)) {
        tokens.truncate(first);
    } else if sees(tokens, 0, "drop") && sees(tokens, 1, "index") && sees(tokens, 2, "concurrently") {
        tokens.remove(solid[2]);
    } else if (sees(tokens, 0, "create") || sees(tokens, 0, "alter") || sees(tokens, 0, "drop"))
        && (sees(tokens, 1, "user") || sees(tokens, 1, "role"))
    {
        tokens[solid[1]].token = word("ROLE", Keyword::ROLE);
        let encrypted =
            (2..solid.len()).find(|nth| sees(tokens, *nth, "encrypted") && sees(tokens, nth + 1, "password"));
        if let Some(nth) = encrypted {
            tokens.remove(solid[nth]);
        }
        join_negative_limit(tokens);
    } else if sees(tokens, 0, "grant") || sees(tokens, 0, "revoke") {
        adapt_granted(tokens, &solid);
    } else if sees(tokens, 0, "set") && (sees(tokens, 1, "transaction") || sees(tokens, 1, "session")) {
        drop_deferrable(tokens, &solid);
    } else if sees(tokens, 0, "insert") {
        drop_overriding(tokens, &solid);
    } else if sees(tokens, 0, "create") && (1..3).any(|nth| sees(tokens, nth, "sequence")) {
        let start = solid.iter().position(|at| is_word(&tokens[*at].token, "sequence")).unwrap_or(0);
        sequence_options::reorder(tokens, solid[start], tokens.len());
    } else if sees(tokens, 0, "create") && (1..4).any(|nth| sees(tokens, nth, "table")) {
        sequence_options::reorder_identity(tokens);
        type_named_columns(tokens);
        let solid: Vec<usize> =
            (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
        let sees = |tokens: &[TokenWithSpan], nth: usize, word: &str| {
            solid.get(nth).is_some_and(|at| is_word(&tokens[*at].token, word))
        };
        if solid.len() < 40 && (3..9).any(|nth| sees(tokens, nth, "like")) {
            drop_including(tokens, &solid);
        }
    } else if sees(tokens, 0, "alter") && sees(tokens, 1, "materialized") && sees(tokens, 2, "view") {
        adapt_set_schema(tokens, &solid);
        tokens[solid[2]].token = word("TABLE", Keyword::TABLE);
        tokens.remove(solid[1]);
    } else if sees(tokens, 0, "alter") && sees(tokens, 1, "table") {
        sequence_options::drop_name(tokens, &solid);
        sequence_options::reorder_identity(tokens);
        let solid: Vec<usize> =
            (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
        adapt_set_schema(tokens, &solid);
    } else if sees(tokens, 0, "alter") && sees(tokens, 1, "view") {
        let is_of_tables =
            |nth| sees(tokens, nth, "rename") || sees(tokens, nth, "owner") || (sees(tokens, nth, "alter"));
        if (3..solid.len()).any(is_of_tables) {
            tokens[solid[1]].token = word("TABLE", Keyword::TABLE);
        }
    } else if sees(tokens, 0, "alter") && sees(tokens, 1, "sequence") {
        let is_of_tables = |nth| {
            let is_set = sees(tokens, nth, "set") && sees(tokens, nth + 1, "schema");
            is_set || sees(tokens, nth, "rename") || sees(tokens, nth, "owner")
        };
        if (3..solid.len()).any(is_of_tables) {
            tokens[solid[1]].token = word("TABLE", Keyword::TABLE);
            adapt_set_schema(tokens, &solid);
        }
    }
}

/// `CONNECTION LIMIT -1`: sqlparser wants one token.
fn join_negative_limit(tokens: &mut Vec<TokenWithSpan>) {
    let minus = tokens.iter().position(|token| token.token == Token::Minus);
    if let Some(at) = minus
        && let Some(Token::Number(number, is_long)) = tokens.get(at + 1).map(|next| next.token.clone())
    {
        tokens[at].token = Token::Number(format!("-{number}"), is_long);
        tokens.remove(at + 1);
    }
}

/// `ON FEATURE VIEW v` is about the relation v, whatever its kind; a workspace is a database.
fn adapt_granted(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    // sqlparser takes all that come behind PUBLIC for it, too; no role has that name
    for token in tokens.iter_mut() {
        if let Token::Word(word) = &mut token.token
            && word.keyword == Keyword::PUBLIC
        {
            word.keyword = Keyword::NoKeyword;
        }
    }
    let word_at = |nth: usize| solid.get(nth).map(|at| &tokens[*at].token);
    let is = |nth: usize, word: &str| word_at(nth).is_some_and(|token| is_word(token, word));
    let Some(on) = (1..solid.len()).find(|nth| is(*nth, "on")) else {
        return;
    };
    let says = |kind: &ObjectKind| kind.words().split(' ').enumerate().all(|(nth, word)| is(on + 1 + nth, word));
    // sqlparser reads the arguments of a function itself
    let Some(kind) = ObjectKind::ALL.into_iter().find(says).filter(|kind| *kind != ObjectKind::Function) else {
        return;
    };
    let behind = on + 1 + kind.words().split(' ').count();
    // `ON source TO app` is about a relation of that name
    let is_name = matches!(word_at(behind), Some(Token::Word(_))) && !is(behind, "to") && !is(behind, "from");
    if !is_name {
        return;
    }
    if kind == ObjectKind::Workspace {
        tokens[solid[on + 1]].token = word("DATABASE", Keyword::DATABASE);
    } else {
        tokens.drain(solid[on + 1]..solid[behind]);
    }
}

/// Where `WITH [NO] DATA` begins at the end of `CREATE TABLE … AS query`: who makes the table looks at its text.
fn data_clause(tokens: &[TokenWithSpan], solid: &[usize]) -> Option<usize> {
    let says = |at: &usize, word: &str| is_word(&tokens[*at].token, word);
    match solid {
        [.., with, no, data] if says(with, "with") && says(no, "no") && says(data, "data") => Some(*with),
        [.., with, data] if says(with, "with") && says(data, "data") => Some(*with),
        _ => None,
    }
}

/// `CREATE TABLE t (a, b) AS query`: sqlparser wants types behind the names, which nobody looks at.
fn type_named_columns(tokens: &mut Vec<TokenWithSpan>) {
    let solid: Vec<usize> = (0..tokens.len()).filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_))).collect();
    let Some(open) = solid.iter().position(|at| tokens[*at].token == Token::LParen) else { return };
    if solid[..open].iter().any(|at| is_word(&tokens[*at].token, "as")) {
        return;
    }
    let mut names = Vec::new();
    let mut nth = open + 1;
    loop {
        match (solid.get(nth).map(|at| &tokens[*at].token), solid.get(nth + 1).map(|at| &tokens[*at].token)) {
            (Some(Token::Word(_)), Some(Token::Comma | Token::RParen)) => names.push(solid[nth]),
            _ => return,
        }
        nth += 2;
        if tokens[solid[nth - 1]].token == Token::RParen {
            break;
        }
    }
    if !solid.get(nth).is_some_and(|at| is_word(&tokens[*at].token, "as")) {
        return;
    }
    for name in names.into_iter().rev() {
        let span = tokens[name].span;
        let said = [Token::Whitespace(Whitespace::Space), word("TEXT", Keyword::TEXT)];
        tokens.splice(name + 1..name + 1, said.map(|token| TokenWithSpan { token, span }));
    }
}

/// `SET SCHEMA s` is a new name to sqlparser: this and the schema.
pub const SET_SCHEMA: &str = "set schema";

fn adapt_set_schema(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    let Some([set, schema, name]) = solid.last_chunk::<3>() else { return };
    if !is_word(&tokens[*set].token, "set") || !is_word(&tokens[*schema].token, "schema") {
        return;
    }
    let (name, span) = (tokens[*name].token.clone(), tokens[*schema].span);
    let quoted =
        Token::Word(Word { value: SET_SCHEMA.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword });
    let said = [word("RENAME", Keyword::RENAME), word("TO", Keyword::TO), quoted, Token::Period, name];
    let said = said.map(|token| TokenWithSpan { token, span });
    let (start, end) = (*set, *solid.last().unwrap_or(set));
    tokens.splice(start..=end, said);
}

/// What of another table comes along, `INCLUDING ALL`: who makes the table looks at its text.
fn drop_including(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    let says = |nth: &usize| {
        let token = &tokens[solid[*nth]].token;
        is_word(token, "including") || is_word(token, "excluding")
    };
    let found: Vec<usize> = (0..solid.len().saturating_sub(1)).filter(says).collect();
    for nth in found.into_iter().rev() {
        tokens.drain(solid[nth]..=solid[nth + 1]);
    }
}

/// Whether an INSERT says `OVERRIDING SYSTEM VALUE`.
pub fn overrides_identity(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().take(200).map(str::to_lowercase).collect();
    words.windows(3).any(|three| three[0] == "overriding" && three[1] == "system" && three[2] == "value")
}

fn drop_overriding(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    let says = |nth: usize, word: &str| solid.get(nth).is_some_and(|at| is_word(&tokens[*at].token, word));
    let found =
        (0..solid.len()).find(|nth| says(*nth, "overriding") && says(nth + 1, "system") && says(nth + 2, "value"));
    if let Some(nth) = found {
        tokens.drain(solid[nth]..=solid[nth + 2]);
    }
}

/// `[NOT] DEFERRABLE` of a transaction changes nothing here, and sqlparser does not read it.
fn drop_deferrable(tokens: &mut Vec<TokenWithSpan>, solid: &[usize]) {
    let Some(nth) = solid.iter().position(|at| is_word(&tokens[*at].token, "deferrable")) else {
        return;
    };
    let mut from = nth;
    if from > 1 && is_word(&tokens[solid[from - 1]].token, "not") {
        from -= 1;
    }
    if from > 1 && tokens[solid[from - 1]].token == Token::Comma {
        from -= 1;
    } else if solid.get(nth + 1).is_some_and(|at| tokens[*at].token == Token::Comma) {
        tokens.drain(solid[from]..=solid[nth + 1]);
        return;
    }
    tokens.drain(solid[from]..=solid[nth]);
}

fn word(value: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: value.to_string(), quote_style: None, keyword })
}

/// What to type for a kind of object that nobody knows: `CREATE FEATRE VIEW`.
fn kind_hint(cursor: &Cursor) -> Option<String> {
    const KINDS: [&str; 19] = [
        "api",
        "database",
        "dataset",
        "entity",
        "feature",
        "function",
        "index",
        "materialized",
        "policy",
        "realtime",
        "role",
        "schema",
        "secret",
        "source",
        "stream",
        "table",
        "user",
        "view",
        "workspace",
    ];
    let is_ddl = ["create", "alter", "drop"].iter().any(|head| cursor.sees(&[head]));
    let Token::Word(kind) = cursor.peek_nth(1) else {
        return None;
    };
    match kind.value.to_lowercase().as_str() {
        _ if !is_ddl => None,
        "feature" => Some("the kinds are FEATURE VIEW, FEATURE TABLE and FEATURE SERVICE".to_string()),
        "realtime" => Some("the kind is REALTIME FEATURE VIEW".to_string()),
        "api" => Some("the kind is API KEY".to_string()),
        word if KINDS.contains(&word) => None,
        word => closest(word, &KINDS).map(|near| format!("did you mean {}?", near.to_uppercase())),
    }
}

pub(crate) fn parse(cursor: &mut Cursor) -> Result<Statement> {
    let hint = kind_hint(cursor);
    let statement = cursor.embedded(|parser| parser.parse_statement());
    let statement = statement.map_err(|error| match hint {
        Some(hint) => error.or_hint(hint),
        None => error,
    })?;
    let text = statement.text;
    Ok(match statement.ast {
        ast::Statement::Query(query) if !writes(&query) => Statement::Query(SqlText::new(query, text)),
        ast::Statement::CreateRole(mut role) => {
            // CREATE USER is CREATE ROLE … LOGIN.
            let is_user = text.split_whitespace().nth(1).is_some_and(|second| second.eq_ignore_ascii_case("user"));
            if is_user && role.login.is_none() {
                role.login = Some(true);
            }
            Statement::Postgres(SqlText::new(Box::new(ast::Statement::CreateRole(role)), text))
        }
        other => Statement::Postgres(SqlText::new(Box::new(other), text)),
    })
}

#[cfg(test)]
mod tests {
    use crate::Statement;
    use crate::statement::tests::check_error;
    use sqlparser::ast;

    fn postgres(text: &str) -> ast::Statement {
        match crate::parse(text).unwrap().remove(0).statement {
            Statement::Postgres(statement) => *statement.ast,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_user_is_a_role_that_logs_in() {
        let ast::Statement::CreateRole(user) = postgres("CREATE USER app PASSWORD 'x'") else { panic!() };
        assert_eq!(user.login, Some(true));
        let ast::Statement::CreateRole(role) = postgres("CREATE ROLE app") else { panic!() };
        assert_eq!(role.login, None);
        assert!(matches!(postgres("DROP USER app"), ast::Statement::Drop { object_type: ast::ObjectType::Role, .. }));
        assert!(matches!(postgres("ALTER USER app PASSWORD 'y'"), ast::Statement::AlterRole { .. }));
    }

    #[test]
    fn rights_are_on_relations_of_every_kind() {
        for (text, read) in [
            ("GRANT SELECT ON FEATURE VIEW v, w TO a", "GRANT SELECT ON v, w TO a"),
            ("REVOKE ALL ON realtime feature view s.v FROM a", "REVOKE ALL ON s.v FROM a"),
            ("GRANT SELECT ON source TO a", "GRANT SELECT ON source TO a"),
            ("GRANT CONNECT ON WORKSPACE prod TO a", "GRANT CONNECT ON DATABASE prod TO a"),
            ("GRANT SELECT ON t TO PUBLIC, a", "GRANT SELECT ON t TO PUBLIC, a"),
        ] {
            assert_eq!(postgres(text).to_string(), read);
        }
    }

    #[test]
    fn queries_that_write_are_not_queries() {
        for text in [
            "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
            "WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a",
            "SELECT * INTO u FROM t",
        ] {
            assert!(matches!(postgres(text), ast::Statement::Query(_)), "{text}");
        }
    }

    #[test]
    fn abort_is_rollback() {
        assert!(matches!(postgres("ABORT"), ast::Statement::Rollback { .. }));
    }

    #[test]
    fn words_are_said_so_that_they_are_read() {
        for text in [
            "ALTER VIEW v RENAME TO w",
            "ALTER VIEW v OWNER TO a",
            "CREATE UNLOGGED TABLE t (a int)",
            "CREATE USER a WITH ENCRYPTED PASSWORD 'x'",
            "CREATE ROLE a CONNECTION LIMIT -1",
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
            "BEGIN NOT DEFERRABLE, READ ONLY",
            "START TRANSACTION READ ONLY NOT DEFERRABLE",
            "CREATE TABLE t AS SELECT 1 WITH DATA",
        ] {
            let parsed = crate::parse(text).unwrap();
            assert_eq!(parsed[0].text, text);
            assert!(matches!(parsed[0].statement, Statement::Postgres(_)), "{text}");
        }
        for text in ["TABLE t", "TABLE a.t ORDER BY b LIMIT 1", "SELECT top FROM top"] {
            assert!(matches!(crate::parse(text).unwrap()[0].statement, Statement::Query(_)), "{text}");
        }
    }

    #[test]
    fn what_is_not_read_says_so() {
        check_error("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION is not supported", 1);
    }

    #[test]
    fn statements_of_other_databases_are_errors() {
        for text in ["USE x", "KILL 1", "PRAGMA a", "DESCRIBE t", "CACHE TABLE t", "ATTACH DATABASE 'x' AS y"] {
            let word = text.split(' ').next().unwrap();
            check_error(text, &format!("syntax error at or near \"{word}\""), 1);
        }
    }
}
