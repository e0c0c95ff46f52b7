//! Statements as they may be kept and shown: what is secret in them is blanked.

use std::borrow::Cow;

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::source::{Source, is_word};

const BLANK: &str = "'***'";
/// In place of a text that says a secret and cannot be read.
const UNREADABLE: &str = "(a statement with a secret that cannot be read)";

/// The text with `'***'` for passwords (`PASSWORD 'x'`), for the values of secrets (`CREATE SECRET s AS 'x'`), for options
/// of streams and sinks that are secret (`sasl_password = 'x'`), for connections, which may have one (`FROM POSTGRES 'x'`), and
/// for headers of an alert's webhook; of its URL all that may let somebody in.
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
        let is_alert = begins(&["create"]) && is_of("alert");
        for (nth, token) in solid.iter().enumerate() {
            let behind_password = nth > 0 && is_word(&solid[nth - 1].token, "password");
            let of_secret_option = || is_stream && is_option_of(&solid[..nth]);
            let of_connection = || {
                let is_postgres =
                    |word: &TokenWithSpan| is_word(&word.token, "postgres") || is_word(&word.token, "postgresql");
                begins(&["create"]) && nth > 1 && is_postgres(solid[nth - 1]) && is_word(&solid[nth - 2].token, "from")
            };
            let blank = if !is_string(&token.token) {
                None
            } else if is_secret || behind_password || of_secret_option() || of_connection() {
                Some(BLANK.to_owned())
            } else if is_alert {
                blank_of_alert(&solid, nth)
            } else {
                None
            };
            if let Some(blank) = blank {
                blanked.push_str(&text[kept..source.byte(token.span.start)]);
                blanked.push_str(&blank);
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
        b'w' => begins(at, b"webhook"),
        _ => false,
    })
}

/// What is shown of a webhook's URL: where it leads to. User, path and query may be secret.
pub fn masked_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    let path = if path.is_empty() || path == "/" { path } else { MASKED_PATH };
    format!("{scheme}{host}{path}")
}

/// In the place of a path that is not shown.
const MASKED_PATH: &str = "/***";

/// Whether a URL is one that [`masked_url`] has taken something out of.
pub fn is_masked_url(url: &str) -> bool {
    url.ends_with(MASKED_PATH) || url.contains("://***@")
}

/// What stands for a string of an alert, if it is secret: a URL behind WEBHOOK, a header's value.
fn blank_of_alert(solid: &[&TokenWithSpan], nth: usize) -> Option<String> {
    let before = &solid[..nth];
    let last = before.last()?;
    if is_word(&last.token, "webhook") {
        let url = match &solid[nth].token {
            Token::SingleQuotedString(url) => masked_url(url),
            _ => return Some(BLANK.to_owned()),
        };
        return Some(crate::name::quote_literal(&url));
    }
    // in the parentheses behind HEADERS
    let opened = before.iter().rposition(|token| token.token == Token::LParen)?;
    let of_headers = opened.checked_sub(1).is_some_and(|word| is_word(&before[word].token, "headers"));
    (of_headers && last.token == Token::Eq && !before[opened..].iter().any(|token| token.token == Token::RParen))
        .then(|| BLANK.to_owned())
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
            (
                "CREATE ALERT a WHEN x = 'y' DO WEBHOOK 'https://u:p@h:1/services/T0/x?q=''' HEADERS ('A' = 'b', 'C' = 'd'), EMAIL 'a@b'",
                "CREATE ALERT a WHEN x = 'y' DO WEBHOOK 'https://***@h:1/***' HEADERS ('A' = '***', 'C' = '***'), EMAIL 'a@b'",
            ),
            (
                "create or replace alert a when headers = 'x' do webhook e'https://h'",
                "create or replace alert a when headers = 'x' do webhook '***'",
            ),
            ("CREATE ALERT a WHEN true DO WEBHOOK 'http://h:1/'", "CREATE ALERT a WHEN true DO WEBHOOK 'http://h:1/'"),
            ("SELECT webhook 'x'", "SELECT webhook 'x'"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }
}
