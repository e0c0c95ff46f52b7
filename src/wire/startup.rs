//! From the first byte to a logged-in user: negotiation, cancel requests, the start-up message, SCRAM.
//!
//! Nothing here trusts its peer: packets are small, waiting is limited by the caller, and what is told of users is
//! the same whether they exist or not.

use bytes::{BufMut, Bytes};

use super::frontend::Body;
use super::input::Inbox;
use super::output::{Outbox, put_text};
use super::scram::{self, Exchange, MockSecret};
use super::tls::Writing;
use crate::error::{Error, Kind, Result};

/// As PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`: nobody who has not logged in may make us keep more.
pub const MOST_BYTES: usize = 10_000;
/// A client may ask for TLS and for GSSAPI before it starts; more is a game.
const MOST_NEGOTIATIONS: usize = 2;

const CANCEL_REQUEST: i32 = 80_877_102;
pub const SSL_REQUEST: i32 = 80_877_103;
const GSS_ENC_REQUEST: i32 = 80_877_104;
const PROTOCOL_3_0: i32 = 3 << 16;

/// What a new connection wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    Start(Start),
    Cancel {
        process_id: i32,
        secret: i32,
    },
    /// nothing that could be answered
    Nothing,
}

/// The start-up message, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub struct Start {
    pub user: String,
    pub database: String,
    /// settings: other parameters of the message, and those in its `options`
    pub options: Vec<(String, String)>,
}

/// Answers negotiations until the client says what it wants.
pub async fn open(inbox: &mut Inbox, out: &mut Outbox, socket: &mut Writing) -> Result<Opening> {
    for _ in 0..=MOST_NEGOTIATIONS {
        // a length that cannot be is most likely no PostgreSQL client at all: like PostgreSQL, say nothing
        let Ok(Some((code, packet))) = inbox.startup_packet(MOST_BYTES).await else {
            return Ok(Opening::Nothing);
        };
        match code {
            SSL_REQUEST | GSS_ENC_REQUEST => {
                out.raw(b'N');
                if flush(out, socket).await.is_err() {
                    return Ok(Opening::Nothing);
                }
            }
            CANCEL_REQUEST => return Ok(read_cancel(packet)),
            version => return read_start(version, packet, out).map(Opening::Start),
        }
    }
    Ok(Opening::Nothing)
}

fn read_cancel(packet: Bytes) -> Opening {
    let mut body = Body(packet);
    match (body.i32(), body.i32()) {
        (Ok(process_id), Ok(secret)) if body.0.is_empty() => Opening::Cancel { process_id, secret },
        _ => Opening::Nothing,
    }
}

fn read_start(version: i32, packet: Bytes, out: &mut Outbox) -> Result<Start> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != PROTOCOL_3_0 >> 16 {
        return Err(Error::new(
            Kind::FeatureNotSupported,
            format!("unsupported frontend protocol {}.{minor}: server supports 3.0 to 3.0", major as u16),
        ));
    }
    let layout =
        || Error::new(Kind::ProtocolViolation, "invalid startup packet layout: expected terminator as last byte");
    let mut body = Body(packet);
    let mut parameters = Vec::new();
    loop {
        let name = body.text().map_err(|_| layout())?;
        if name.is_empty() {
            break;
        }
        parameters.push((name, body.text().map_err(|_| layout())?));
    }
    if !body.0.is_empty() {
        return Err(layout());
    }
    let unknown: Vec<&str> =
        parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_.")).collect();
    if minor != 0 || !unknown.is_empty() {
        out.small(b'v', |body| {
            body.put_i32(PROTOCOL_3_0);
            body.put_u32(u32::try_from(unknown.len()).expect("a small packet"));
            unknown.iter().for_each(|name| put_text(body, name));
        });
    }
    start_of(parameters)
}

fn start_of(parameters: Vec<(String, String)>) -> Result<Start> {
    let (mut user, mut database, mut options) = (String::new(), String::new(), Vec::new());
    for (name, value) in parameters {
        match name.as_str() {
            "user" => user = value,
            "database" => database = value,
            "options" => options.extend(read_options(&value)?),
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(Error::not_supported("the replication protocol")),
            extension if extension.starts_with("_pq_.") => {}
            _ => options.push((name, value)),
        }
    }
    if user.is_empty() {
        return Err(Error::new(Kind::InvalidAuthorization, "no PostgreSQL user name specified in startup packet"));
    }
    if database.is_empty() {
        database.clone_from(&user);
    }
    Ok(Start { user, database, options })
}

/// The command-line settings in `options`: `-c name=value`, `-cname=value`, `--name=value`; a backslash keeps the
/// next character, and in `--` names `-` stands for `_`.
fn read_options(text: &str) -> Result<Vec<(String, String)>> {
    let mut words = split_words(text).into_iter();
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let invalid = || {
            let message = format!("invalid command-line argument for server process: {word}");
            Error::new(Kind::Syntax, message).with_hint("-c name=value")
        };
        let setting = if word == "-c" {
            words.next().ok_or_else(invalid)?
        } else if let Some(setting) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            setting.to_owned()
        } else {
            return Err(invalid());
        };
        let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
        options.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(options)
}

fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character.is_ascii_whitespace() {
            words.extend(word.take());
        } else {
            let kept = if character == '\\' { characters.next() } else { Some(character) };
            word.get_or_insert_default().extend(kept);
        }
    }
    words.extend(word);
    words
}

/// Lets the user prove the password by SCRAM; `stored` is the role's verifier. `None`: the client has gone, as psql
/// does when it has no password yet.
pub async fn authenticate(
    inbox: &mut Inbox,
    out: &mut Outbox,
    socket: &mut Writing,
    login: &LoginProof<'_>,
) -> Result<Option<()>> {
    out.small(b'R', |body| {
        body.put_i32(10);
        put_text(body, scram::MECHANISM);
        body.put_u8(0);
    });
    let Some(packet) = asked(inbox, out, socket).await? else { return Ok(None) };
    let exchange = Exchange::new(login.user, login.stored, login.mock_secret);
    let (server_first, challenged) = exchange.challenge(packet)?;
    out.small(b'R', |body| {
        body.put_i32(11);
        body.extend_from_slice(server_first.as_bytes());
    });
    let Some(packet) = asked(inbox, out, socket).await? else { return Ok(None) };
    let server_final = challenged.verify(&packet)?;
    out.small(b'R', |body| {
        body.put_i32(12);
        body.extend_from_slice(server_final.as_bytes());
    });
    put_trusted(out);
    Ok(Some(()))
}

/// The client is who it says.
pub fn put_trusted(out: &mut Outbox) {
    out.small(b'R', |body| body.put_i32(0));
}

/// Who claims to be whom.
pub struct LoginProof<'a> {
    pub user: &'a str,
    pub stored: Option<&'a str>,
    pub mock_secret: &'a MockSecret,
}

async fn asked(inbox: &mut Inbox, out: &mut Outbox, socket: &mut Writing) -> Result<Option<Bytes>> {
    if flush(out, socket).await.is_err() {
        return Ok(None);
    }
    inbox.password_packet(MOST_BYTES).await
}

/// Sends everything; the caller limits the time.
pub async fn flush(out: &mut Outbox, socket: &mut Writing) -> std::io::Result<()> {
    while !out.is_empty() {
        out.write_some(socket).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(version: i32, packet: &[u8]) -> std::result::Result<Start, String> {
        read_start(version, Bytes::copy_from_slice(packet), &mut Outbox::default())
            .map_err(|error| format!("{} {}", error.sqlstate(), error.message()))
    }

    #[test]
    fn a_start_is_taken_apart() {
        let packet = b"user\0ada\0application_name\0psql\0options\0-c a=1 --b-c=x\\ y -cd=\0\0";
        let pairs = [("application_name", "psql"), ("a", "1"), ("b_c", "x y"), ("d", "")];
        let expected = Start {
            user: "ada".into(),
            database: "ada".into(),
            options: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        };
        assert_eq!(start(PROTOCOL_3_0, packet), Ok(expected));
    }

    #[test]
    fn bad_starts_are_told_apart() {
        let error = |version, packet: &[u8]| start(version, packet).expect_err("bad");
        assert!(error(2 << 16, b"\0").starts_with("0A000 unsupported frontend protocol 2.0"));
        assert!(error(PROTOCOL_3_0, b"user\0ada\0").starts_with("08P01"));
        assert!(error(PROTOCOL_3_0, b"user\0ada").starts_with("08P01"));
        assert!(error(PROTOCOL_3_0, b"user\0ada\0\0x").starts_with("08P01"));
        assert!(error(PROTOCOL_3_0, b"\0").starts_with("28000"));
        assert!(error(PROTOCOL_3_0, b"user\0ada\0replication\0database\0\0").starts_with("0A000"));
        assert!(error(PROTOCOL_3_0, b"user\0ada\0options\0-x 1\0\0").starts_with("42601"));
    }

    #[test]
    fn a_newer_minor_version_is_negotiated_down() {
        let mut out = Outbox::default();
        let packet = Bytes::from_static(b"user\0ada\0_pq_.x\x001\0\0");
        assert!(read_start(PROTOCOL_3_0 + 2, packet, &mut out).is_ok());
        assert!(!out.is_empty());
    }

    #[test]
    fn a_cancel_needs_process_id_and_secret() {
        let cancel = |bytes: &'static [u8]| read_cancel(Bytes::from_static(bytes));
        assert_eq!(cancel(b"\0\0\0\x01\0\0\0\x02"), Opening::Cancel { process_id: 1, secret: 2 });
        assert_eq!(cancel(b"\0\0\0\x01\0\0\0"), Opening::Nothing);
        assert_eq!(cancel(b"\0\0\0\x01\0\0\0\x02\x03"), Opening::Nothing);
    }
}
