//! Statements as they may be kept and shown: what is secret in them is blanked.

use std::borrow::Cow;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::source::{Source, is_word};

const BLANK: &str = "'***'";
/// In place of a text that says a secret and cannot be read.
const UNREADABLE: &str = "(a statement with a secret that cannot be read)";

/// The text with `'***'` for passwords (`PASSWORD 'x'`), for the values of secrets (`CREATE SECRET s AS 'x'`), for options
/// of streams and sinks that are secret (`sasl_password = 'x'`), and for connections, which may have one (`FROM POSTGRES 'x'`).
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    if !may_have_secrets(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let Ok(source) = Source::tokenize(text) else { return Cow::Borrowed(UNREADABLE) };
    let mut blanked = String::with_capacity(text.len());
    let mut kept = 0;
    for slice in source.statements() {
        let tokens = source.tokens(slice.tokens.clone());
        let solid: Vec<_> = tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
        let begins = |words: &[&str]| {
            words.len() <= solid.len() && words.iter().zip(&solid).all(|(word, token)| is_word(&token.token, word))
        };
        let is_secret = begins(&["create", "secret"]) || begins(&["create", "or", "replace", "secret"]);
        let is_of =
            |kind| begins(&["create", kind]) || begins(&["create", "or", "replace", kind]) || begins(&["alter", kind]);
        let is_stream = is_of("stream") || is_of("sink");
        for (nth, token) in solid.iter().enumerate() {
            let behind_password = nth > 0 && is_word(&solid[nth - 1].token, "password");
            let of_secret_option = || is_stream && is_option_of(&solid[..nth]);
            let of_connection = || {
                let is_postgres =
                    |word: &TokenWithSpan| is_word(&word.token, "postgres") || is_word(&word.token, "postgresql");
                begins(&["create"]) && nth > 1 && is_postgres(solid[nth - 1]) && is_word(&solid[nth - 2].token, "from")
            };
            if is_string(&token.token) && (is_secret || behind_password || of_secret_option() || of_connection()) {
                blanked.push_str(&text[kept..source.byte(token.span.start)]);
                blanked.push_str(BLANK);
                kept = source.byte(token.span.end);
            }
        }
    }
    blanked.push_str(&text[kept..]);
    Cow::Owned(blanked)
}

fn may_have_secrets(text: &[u8]) -> bool {
    let begins =
        |at: usize, word: &[u8]| text.get(at..at + word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word));
    text.iter().enumerate().any(|(at, byte)| match byte.to_ascii_lowercase() {
        b'p' => begins(at, b"password") || begins(at, b"postgres"),
        b's' => begins(at, b"secret"),
        b'k' => begins(at, b"key"),
        _ => false,
    })
}

/// Whether the tokens end with the name of a secret option, and maybe an equals sign.
fn is_option_of(before: &[&TokenWithSpan]) -> bool {
    let before = match before {
        [names @ .., last] if last.token == Token::Eq => names,
        names => names,
    };
    let Some(TokenWithSpan { token: Token::Word(name), .. }) = before.last() else { return false };
    let name = name.value.to_ascii_lowercase();
    let is_pem_of_key = || match before {
        [.., key, _, _] => name == "pem" && is_word(&key.token, "key"),
        _ => false,
    };
    name == "ssl_key"
        || name.contains("password")
        || name.contains("secret")
        || name.ends_with("key.pem")
        || is_pem_of_key()
}

fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blanked_and_nothing_else() {
        for (text, shown) in [
            ("CREATE ROLE a LOGIN PASSWORD 'x''y' SUPERUSER", "CREATE ROLE a LOGIN PASSWORD '***' SUPERUSER"),
            (
                "alter user a encrypted password\n e'x'; SELECT 'x'",
                "alter user a encrypted password\n '***'; SELECT 'x'",
            ),
            ("ALTER ROLE ä PASSWORD $$x$$", "ALTER ROLE ä PASSWORD '***'"),
            (
                "CREATE STREAM s (a text) FROM KAFKA (topic 't', sasl_password = 'x', sasl.password 'y') TIMESTAMP a",
                "CREATE STREAM s (a text) FROM KAFKA (topic 't', sasl_password = '***', sasl.password '***') TIMESTAMP a",
            ),
            (
                "CREATE OR REPLACE STREAM s (a text) FROM KAFKA (ssl_key 'x', ssl.key.pem = 'y', \"ssl.key.password\" 'z', key = 'a')",
                "CREATE OR REPLACE STREAM s (a text) FROM KAFKA (ssl_key '***', ssl.key.pem = '***', \"ssl.key.password\" '***', key = 'a')",
            ),
            (
                "CREATE SINK s FROM v TO KAFKA (topic 't', sasl_password = 'x')",
                "CREATE SINK s FROM v TO KAFKA (topic 't', sasl_password = '***')",
            ),
            ("SELECT 1 FROM t WHERE password = 'x'", "SELECT 1 FROM t WHERE password = 'x'"),
            ("ALTER ROLE a PASSWORD NULL", "ALTER ROLE a PASSWORD NULL"),
            ("CREATE SECRET s AS 'x' COMMENT 'y'", "CREATE SECRET s AS '***' COMMENT '***'"),
            ("create or replace secret s AS 'x'", "create or replace secret s AS '***'"),
            ("SELECT 'password', secret FROM t", "SELECT 'password', secret FROM t"),
            ("CREATE TABLE secret AS SELECT 'x'", "CREATE TABLE secret AS SELECT 'x'"),
            ("ALTER ROLE a PASSWORD 'x", UNREADABLE),
            ("SELECT 'x", "SELECT 'x"),
            (
                "CREATE STREAM s (a text) FROM POSTGRES 'postgres://u:x@h/d' TABLE 't' TIMESTAMP a",
                "CREATE STREAM s (a text) FROM POSTGRES '***' TABLE 't' TIMESTAMP a",
            ),
            ("create source s from postgresql $$host=h$$ table t", "create source s from postgresql '***' table t"),
            ("SELECT postgres FROM postgres", "SELECT postgres FROM postgres"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
